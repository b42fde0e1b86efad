# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The compiled core for Python: arrays in, arrays out, statuses as exceptions. No logic.

Every array that reaches C is checked here for dtype, order and alignment, so that no caller, however wrong, can make
the core read or write where it must not. What shapes mean is the plan's business.
"""

import os

cimport numpy as cnp
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.number cimport PyNumber_Index
from libc.string cimport memset

import numpy as np

from .errors import (
    DtypeError,
    GraphError,
    IdRangeError,
    ModelFileError,
    OptionError,
    ScoresError,
    ShapeError,
    StateError,
    StreamError,
    UnsupportedLayerError,
    WeightsError,
)

cnp.import_array()

_EXCEPTIONS = {
    SC_NO_MEMORY: MemoryError,
    SC_BAD_ARGUMENT: OptionError,
    SC_BAD_FILE: ModelFileError,
    SC_BAD_GRAPH: GraphError,
    SC_BAD_WEIGHTS: WeightsError,
    SC_BAD_SHAPE: ShapeError,
    SC_BAD_INDEX: IdRangeError,
    SC_UNSUPPORTED: UnsupportedLayerError,
    SC_BAD_STATE: StateError,
    SC_BAD_STREAM: StreamError,
    SC_BUSY: StreamError,
    SC_FULL: StreamError,
    SC_BAD_SCORES: ScoresError,
}


cdef int raise_status(sc_status status, sc_error *error) except -1:
    """The one place where a status becomes an exception."""
    if status != SC_OK:
        raise _EXCEPTIONS[status](error.message.decode("utf-8", "replace"))
    return 0


cdef int check_array(cnp.ndarray array, int typenum, what) except -1:
    """An array that C can read where it lies: dtype, native byte order, C order, aligned, a rank that C knows."""
    if array is None:
        raise DtypeError(f"{what} is missing")
    if not cnp.PyArray_EquivTypenums(cnp.PyArray_TYPE(array), typenum) or not cnp.PyArray_ISCARRAY_RO(array):
        expected = "float32" if typenum == cnp.NPY_FLOAT32 else "int64"
        raise DtypeError(f"{what} must be a C-contiguous, aligned {expected} array; found {array.dtype}")
    if cnp.PyArray_NDIM(array) > SC_MAX_RANK:
        raise ShapeError(f"{what} has {cnp.PyArray_NDIM(array)} axes; at most {SC_MAX_RANK} are known")
    return 0


cdef int type_of(sc_dtype dtype) noexcept nogil:
    """NumPy's number of a dtype of the core."""
    return cnp.NPY_INT64 if dtype == SC_I64 else cnp.NPY_FLOAT32


cdef void describe(sc_array *to, cnp.ndarray array) noexcept:
    cdef int d
    to.data = cnp.PyArray_DATA(array)
    to.rank = cnp.PyArray_NDIM(array)
    for d in range(cnp.PyArray_NDIM(array)):
        to.shape[d] = cnp.PyArray_DIM(array, d)


cdef class _Tensors:
    """A dict of arrays as C's list of tensors; it keeps the arrays and their names alive."""
    cdef sc_tensor *items
    cdef size_t count
    cdef list kept

    def __cinit__(self, dict tensors):
        cdef cnp.ndarray array
        cdef sc_tensor *item
        cdef int d
        self.kept = []
        self.items = <sc_tensor *>PyMem_Malloc((len(tensors) + 1) * sizeof(sc_tensor))
        if self.items == NULL:
            raise MemoryError()
        for name, value in tensors.items():
            array = value
            ids = array is not None and cnp.PyArray_EquivTypenums(cnp.PyArray_TYPE(array), cnp.NPY_INT64)
            typenum = cnp.NPY_INT64 if ids else cnp.NPY_FLOAT32
            check_array(array, typenum, f"tensor {name!r}")
            encoded = name.encode()
            self.kept.append((encoded, array))
            item = &self.items[self.count]
            item.name = encoded
            item.dtype = SC_I64 if typenum == cnp.NPY_INT64 else SC_F32
            item.rank = cnp.PyArray_NDIM(array)
            item.data = cnp.PyArray_DATA(array)
            for d in range(cnp.PyArray_NDIM(array)):
                item.shape[d] = cnp.PyArray_DIM(array, d)
            self.count += 1

    def __dealloc__(self):
        PyMem_Free(self.items)


cdef class Plan:
    """A packed, immutable model; any number of threads may run it at once.

    Parameters
    ----------
    graph : bytes
        The lowered graph as JSON (docs/design.md).
    tensors : dict of str to ndarray
        C-contiguous float32 weights by the names that the graph gives them. Copied.
    isa : str, optional
        A table's name; the best one otherwise.
    threads : int
        The most that a call may use; 0 for the process's default.
    team : int
        0 for a schedule chosen for each call; otherwise every call uses `threads` threads in teams of `team`.
    shapes_only : bool
        Whether tensors may be missing; such a plan cannot run.
    in_place : bool
        Whether packed weights among the tensors (`packed`) are used where they lie; the plan then keeps the tensors.

    Raises
    ------
    GraphError, WeightsError, UnsupportedLayerError, ShapeError, OptionError
    """
    cdef sc_plan *plan
    cdef readonly str isa
    cdef readonly size_t nbytes
    cdef size_t n_inputs, n_outputs
    cdef int first_type, result_type
    cdef _Tensors kept

    def __cinit__(self, bytes graph, dict tensors, *, isa=None, int threads=0, int team=0, bint shapes_only=False,
                  bint in_place=False):
        cdef _Tensors list_ = _Tensors(tensors)
        cdef bytes name = isa.encode() if isa is not None else b""
        cdef sc_options options
        cdef sc_error error
        cdef sc_status status
        cdef const char *text = graph
        cdef size_t size = len(graph)
        memset(&options, 0, sizeof(sc_options))
        if isa is not None:
            options.isa = name
        options.threads = threads
        options.team = team
        options.shapes_only = shapes_only
        options.in_place = in_place
        with nogil:
            status = sc_plan_create(text, size, list_.items, list_.count, &options, &self.plan, &error)
        raise_status(status, &error)
        self.kept = list_ if in_place else None
        self.isa = sc_plan_isa(self.plan).decode()
        self.nbytes = sc_plan_bytes(self.plan)
        self.n_inputs = sc_plan_inputs(self.plan)
        self.n_outputs = sc_plan_outputs(self.plan)
        self.first_type = type_of(sc_plan_input_dtype(self.plan, 0))
        self.result_type = type_of(sc_plan_output_dtype(self.plan, 0))

    def __dealloc__(self):
        sc_plan_free(self.plan)

    @property
    def output_dtypes(self):
        """The dtype of each output: float32, or int64 of indices."""
        return tuple([cnp.PyArray_DescrFromType(type_of(sc_plan_output_dtype(self.plan, i)))
                      for i in range(self.n_outputs)])

    @property
    def nbytes_in_place(self):
        """Bytes of packed weights that lie in the tensors' memory."""
        return sc_plan_bytes_in_place(self.plan)

    def packed(self):
        """The packed weights as one tensor, name and array, which `in_place` plans of this instruction set use."""
        cdef cnp.npy_intp count = sc_plan_packed_floats(self.plan)
        cdef cnp.ndarray array = cnp.PyArray_EMPTY(1, &count, cnp.NPY_FLOAT32, 0)
        cdef sc_error error
        raise_status(sc_plan_copy_packed(self.plan, <float *>cnp.PyArray_DATA(array), count, &error), &error)
        return sc_plan_packed_name(self.plan).decode(), array

    def value_shape(self, str value):
        """The inferred shape of a value of the graph: None for the batch and a free time axis."""
        cdef sc_error error
        cdef size_t rank = 0, d
        cdef size_t shape[6]
        cdef bytes name = value.encode()
        raise_status(sc_plan_value_shape(self.plan, name, &rank, shape, &error), &error)
        return tuple([None if shape[d] == SC_UNKNOWN else shape[d] for d in range(rank)])

    def schedule(self, size_t batch, size_t time):
        """Threads that a call of `batch` rows and `time` frames would use, and how many of them share a layer."""
        cdef sc_schedule schedule = sc_plan_schedule(self.plan, batch, time)
        return schedule.threads, schedule.team

    @property
    def last_threads(self):
        """Threads that took part in the last run that ended; 0 before the first."""
        return sc_plan_last_threads(self.plan)

    def run_one(self, x, out=None):
        """Run a plan of one required input and one output on arrays that the core can use where they are.

        Parameters
        ----------
        x : ndarray
            Input 0; all others are left out.
        out : ndarray, optional
            Where the result goes.

        Returns
        -------
        ndarray or None
            The output. None: nothing was done, because an argument has to be converted or refused; `run` tells why.

        Raises
        ------
        ShapeError, IdRangeError, UnsupportedLayerError
        """
        cdef sc_array arrays[8]
        cdef sc_array result
        cdef sc_error error
        cdef sc_status status
        cdef size_t i
        cdef int d
        cdef cnp.npy_intp dims[6]
        cdef cnp.ndarray array, y
        if self.n_inputs > 8 or self.n_outputs != 1 or type(x) is not cnp.ndarray:
            return None
        array = x
        if (cnp.PyArray_TYPE(array) != self.first_type or not cnp.PyArray_ISCARRAY_RO(array)
                or cnp.PyArray_NDIM(array) > SC_MAX_RANK):
            return None
        describe(&arrays[0], array)
        for i in range(1, self.n_inputs):
            arrays[i].data = NULL
            arrays[i].rank = 0
        if out is None:
            raise_status(sc_plan_output_shapes(self.plan, arrays, &result, &error), &error)
            for d in range(<int>result.rank):
                dims[d] = result.shape[d]
            y = cnp.PyArray_EMPTY(<int>result.rank, dims, self.result_type, 0)
            result.data = cnp.PyArray_DATA(y)
        else:
            if type(out) is not cnp.ndarray:
                return None
            y = out
            if (cnp.PyArray_TYPE(y) != self.result_type or not cnp.PyArray_ISCARRAY(y)
                    or cnp.PyArray_NDIM(y) > SC_MAX_RANK):
                return None
            describe(&result, y)
        with nogil:
            status = sc_plan_run(self.plan, arrays, &result, &error)
        raise_status(status, &error)
        return y

    def node_layers(self):
        """The layer of each node of the graph, in order."""
        return [sc_plan_node_layer(self.plan, i).decode() for i in range(sc_plan_nodes(self.plan))]

    def run(self, list inputs, list out=None, cnp.ndarray seconds=None):
        """Run the plan.

        Parameters
        ----------
        inputs : list of ndarray or None
            C-contiguous float32 or int64, in the order of the graph's inputs; None leaves out a length or a state.
        out : list of ndarray, optional
            Writeable and C-contiguous, of exactly the outputs' dtypes and shapes.
        seconds : ndarray, optional
            Writeable float64, one for each node: what each took is added, and the run uses one thread.

        Returns
        -------
        list of ndarray
            `out`, or fresh arrays.

        Raises
        ------
        ShapeError, IdRangeError, DtypeError, UnsupportedLayerError, OptionError
        """
        cdef sc_array *arrays
        cdef sc_array *results
        cdef sc_error error
        cdef sc_status status
        cdef size_t i
        cdef int d
        cdef cnp.ndarray array
        cdef int typenum
        cdef cnp.npy_intp dims[6]
        cdef double *times = NULL
        if seconds is not None:
            if (cnp.PyArray_TYPE(seconds) != cnp.NPY_FLOAT64 or not cnp.PyArray_ISCARRAY(seconds)
                    or <size_t>cnp.PyArray_SIZE(seconds) != sc_plan_nodes(self.plan)):
                raise DtypeError("seconds must be a writeable float64 array, one for each node")
            times = <double *>cnp.PyArray_DATA(seconds)
        if <size_t>len(inputs) != self.n_inputs or (out is not None and <size_t>len(out) != self.n_outputs):
            raise ShapeError(f"expected {self.n_inputs} inputs and {self.n_outputs} outputs")
        arrays = <sc_array *>PyMem_Malloc((self.n_inputs + self.n_outputs) * sizeof(sc_array))
        if arrays == NULL:
            raise MemoryError()
        results = arrays + self.n_inputs
        try:
            for i in range(self.n_inputs):
                if inputs[i] is None:
                    arrays[i].data = NULL
                    arrays[i].rank = 0
                    continue
                array = inputs[i]
                check_array(array, type_of(sc_plan_input_dtype(self.plan, i)), "an input")
                describe(&arrays[i], array)
            if out is None:
                raise_status(sc_plan_output_shapes(self.plan, arrays, results, &error), &error)
                out = []
                for i in range(self.n_outputs):
                    for d in range(<int>results[i].rank):
                        dims[d] = results[i].shape[d]
                    typenum = type_of(sc_plan_output_dtype(self.plan, i))
                    array = cnp.PyArray_EMPTY(<int>results[i].rank, dims, typenum, 0)
                    results[i].data = cnp.PyArray_DATA(array)
                    out.append(array)
            else:
                for i in range(self.n_outputs):
                    array = out[i]
                    check_array(array, type_of(sc_plan_output_dtype(self.plan, i)), "an output")
                    if not cnp.PyArray_ISWRITEABLE(array):
                        raise ShapeError("an output is read-only")
                    describe(&results[i], array)
            with nogil:
                if times == NULL:
                    status = sc_plan_run(self.plan, arrays, results, &error)
                else:
                    status = sc_plan_profile(self.plan, arrays, results, times, &error)
            raise_status(status, &error)
        finally:
            PyMem_Free(arrays)
        return out


include "_streams.pxi"
include "_decoding.pxi"


# ---- The process ----------------------------------------------------------------------------------------------------


def cpu_info():
    """Facts about this processor and about what this build makes of it.

    Returns
    -------
    dict
        isa (the instruction set in use, capped by SEQCORE_ISA), isas (all that can be chosen here, best first), what
        the processor offers (avx2, avx512, ...), bytes of one core's caches, cores, openmp.
    """
    cdef const sc_cpu *cpu = sc_cpu_info()
    return {
        "isa": cpu.isa.decode(),
        "isas": [sc_isa_name(i).decode() for i in range(sc_isa_count())],
        "avx2": bool(cpu.avx2),
        "fma": bool(cpu.fma),
        "avx512": bool(cpu.avx512),
        "avx512_vnni": bool(cpu.avx512_vnni),
        "avx512_bf16": bool(cpu.avx512_bf16),
        "amx_int8": bool(cpu.amx_int8),
        "amx_bf16": bool(cpu.amx_bf16),
        "l1d_bytes": cpu.l1d_bytes,
        "l2_bytes": cpu.l2_bytes,
        "l3_bytes": cpu.l3_bytes,
        "cores": cpu.cores,
        "openmp": bool(cpu.openmp),
    }


def set_num_threads(n):
    """Set how many threads a call may use where its model does not say.

    Parameters
    ----------
    n : int
        1 or more.

    Raises
    ------
    OptionError
    """
    cdef sc_error error
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 0 < n < 65536:
        raise OptionError(f"threads must be a whole number from 1 to 65535; found {n!r}")
    raise_status(sc_set_num_threads(n, &error), &error)


def get_num_threads():
    """Threads that a call may use: set_num_threads, else OMP_NUM_THREADS, else the cores of this process."""
    return sc_get_num_threads()


cdef class _File:
    """An open model file: the owner of the memory that its tensors point to."""
    cdef sc_file *file

    def __dealloc__(self):
        sc_file_close(self.file)


def read_model_file(path, bint mapped=False):
    """Read a model file, or map it.

    Returns
    -------
    texts : dict of str to bytes
        "__graph__", which every file has, further graphs "__graph__.<part>", and "__assets__".
    tensors : dict of str to ndarray
        Read-only arrays over one piece of memory, which lives as long as one of them.

    Raises
    ------
    ModelFileError
    """
    cdef _File owner = _File()
    cdef sc_error error
    cdef sc_status status
    cdef size_t count = 0, i
    cdef int d
    cdef const sc_named_text *found
    cdef const sc_tensor *tensors
    cdef cnp.npy_intp dims[6]
    cdef cnp.ndarray array
    cdef bytes name = os.fsencode(path)
    cdef const char *text = name
    with nogil:
        if mapped:
            status = sc_file_map(text, &owner.file, &error)
        else:
            status = sc_file_open(text, &owner.file, &error)
    raise_status(status, &error)
    found = sc_file_texts(owner.file, &count)
    texts = {}
    for i in range(count):
        texts[found[i].name.decode()] = found[i].text[:found[i].bytes]
    tensors = sc_file_tensors(owner.file, &count)
    result = {}
    for i in range(count):
        for d in range(<int>tensors[i].rank):
            dims[d] = tensors[i].shape[d]
        array = cnp.PyArray_SimpleNewFromData(
            <int>tensors[i].rank, dims, cnp.NPY_FLOAT32 if tensors[i].dtype == SC_F32 else cnp.NPY_INT64,
            <void *>tensors[i].data)
        cnp.set_array_base(array, owner)
        array.setflags(write=False)
        result[tensors[i].name.decode()] = array
    return texts, result


cdef class _Texts:
    """A dict of bytes as C's list of texts; it keeps them and their names alive."""
    cdef sc_named_text *items
    cdef size_t count
    cdef list kept

    def __cinit__(self, dict texts):
        cdef bytes encoded, text
        self.kept = []
        self.items = <sc_named_text *>PyMem_Malloc((len(texts) + 1) * sizeof(sc_named_text))
        if self.items == NULL:
            raise MemoryError()
        for name, text in texts.items():
            encoded = name.encode()
            self.kept.append((encoded, text))
            self.items[self.count].name = encoded
            self.items[self.count].text = text
            self.items[self.count].bytes = len(text)
            self.count += 1

    def __dealloc__(self):
        PyMem_Free(self.items)


def write_model_file(path, dict texts, dict tensors):
    """Write a model file, replacing an old one only when all of it is written.

    Parameters
    ----------
    path : str or path-like
    texts : dict of str to bytes
        As `read_model_file` returns them, in the order of the file.
    tensors : dict of str to ndarray

    Raises
    ------
    ModelFileError, OptionError
    """
    cdef _Texts texts_ = _Texts(texts)
    cdef _Tensors tensors_ = _Tensors(tensors)
    cdef sc_error error
    cdef sc_status status
    cdef bytes name = os.fsencode(path)
    cdef const char *path_ = name
    with nogil:
        status = sc_file_write_texts(path_, texts_.items, texts_.count, tensors_.items, tensors_.count, &error)
    raise_status(status, &error)
