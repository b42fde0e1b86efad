# Steps for Python, a part of _binding.pyx: streams, pools, and what a step takes and gives. No logic; seqcore/stream.py
# has what users see.

cdef class Port:
    """An input, an output or a state array of a step: its name, and its shape with None for the rows."""
    cdef readonly str name
    cdef readonly tuple shape
    cdef readonly bint ids

    def __repr__(self):
        return f"Port({self.name!r}, {self.shape})"

    cdef int typenum(self) noexcept:
        return cnp.NPY_INT64 if self.ids else cnp.NPY_FLOAT32


cdef Port port_of(sc_info *info):
    cdef Port port = Port.__new__(Port)
    cdef size_t d
    port.name = info.name.decode()
    port.shape = tuple([None if info.shape[d] == SC_UNKNOWN else info.shape[d] for d in range(info.rank)])
    port.ids = info.dtype == SC_I64
    return port


cdef class Steps:
    """What a step of a plan takes, gives and keeps: lists of `Port`.

    Raises
    ------
    UnsupportedLayerError
        The plan cannot be stepped; the message names the layer.
    """
    cdef Plan plan
    cdef readonly list inputs, outputs, states, contexts
    cdef int type_in, type_out, rank_out
    cdef bint single
    cdef size_t dims_out[6]

    def __cinit__(self, Plan plan not None):
        cdef sc_error error
        cdef sc_info info
        cdef size_t i
        raise_status(sc_plan_check_step(plan.plan, &error), &error)
        self.plan = plan
        self.inputs, self.outputs, self.states, self.contexts = [], [], [], []
        for i in range(sc_plan_step_inputs(plan.plan)):
            raise_status(sc_plan_step_input_info(plan.plan, i, &info, &error), &error)
            self.inputs.append(port_of(&info))
            self.type_in = type_of(info.dtype)
        for i in range(sc_plan_step_contexts(plan.plan)):
            raise_status(sc_plan_step_context_info(plan.plan, i, &info, &error), &error)
            self.contexts.append(port_of(&info))
        for i in range(sc_plan_step_states(plan.plan)):
            raise_status(sc_plan_step_state_info(plan.plan, i, &info, &error), &error)
            self.states.append(port_of(&info))
        for i in range(sc_plan_step_outputs(plan.plan)):
            raise_status(sc_plan_step_output_info(plan.plan, i, &info, &error), &error)
            self.outputs.append(port_of(&info))
        sized = [info.shape[i] for i in range(info.rank)].count(SC_UNKNOWN) == 1  # the rows alone
        self.single = len(self.inputs) == 1 and len(self.outputs) == 1 and sized
        self.rank_out = <int>info.rank
        self.type_out = type_of(info.dtype)
        self.dims_out = info.shape

    cdef bint takes(self, x) noexcept:
        """Whether the core can read the only input where it is; its shape is the core's to check."""
        return (self.single and type(x) is cnp.ndarray and cnp.PyArray_TYPE(<cnp.ndarray>x) == self.type_in
                and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>x) and cnp.PyArray_NDIM(<cnp.ndarray>x) <= SC_MAX_RANK)

    cdef cnp.ndarray result(self, size_t rows):
        """A fresh array for the only output."""
        cdef cnp.npy_intp dims[6]
        cdef int d
        for d in range(self.rank_out):
            dims[d] = rows if self.dims_out[d] == SC_UNKNOWN else self.dims_out[d]
        return cnp.PyArray_EMPTY(self.rank_out, dims, self.type_out, 0)

    cdef bint gives(self, out) noexcept:
        """Whether the core can write the only output there."""
        return (type(out) is cnp.ndarray and cnp.PyArray_TYPE(<cnp.ndarray>out) == self.type_out
                and cnp.PyArray_ISCARRAY(<cnp.ndarray>out) and cnp.PyArray_NDIM(<cnp.ndarray>out) <= SC_MAX_RANK)


cdef class _Arrays:
    """The arguments of a step as C reads them."""
    cdef sc_array *items
    cdef sc_array *outputs
    cdef list kept

    def __cinit__(self, Steps steps, list inputs, list out):
        cdef size_t i
        self.items = <sc_array *>PyMem_Malloc((len(inputs) + len(out) + 1) * sizeof(sc_array))
        if self.items == NULL:
            raise MemoryError()
        if len(inputs) != len(steps.inputs) or len(out) != len(steps.outputs):
            raise ShapeError(f"expected {len(steps.inputs)} inputs and {len(steps.outputs)} outputs")
        for i in range(<size_t>len(inputs)):
            check_array(inputs[i], (<Port>steps.inputs[i]).typenum(), "an input")
            describe(&self.items[i], inputs[i])
        self.outputs = self.items + len(inputs)
        for i in range(<size_t>len(out)):
            check_array(out[i], (<Port>steps.outputs[i]).typenum(), "an output")
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out[i]):
                raise ShapeError("an output is read-only")
            describe(&self.outputs[i], out[i])
        self.kept = [inputs, out]

    def __dealloc__(self):
        PyMem_Free(self.items)


# Multiply-adds of a step from which on it lets other Python threads run: below, giving up the interpreter's lock and
# waiting for it again would take longer than the step.
cdef enum: LEAST_RELEASE = 100_000


cdef class StreamCore:
    """Rows that keep their state from one frame to the next: `sc_stream`."""
    cdef sc_stream *stream
    cdef readonly object model
    cdef readonly Steps steps
    cdef readonly size_t rows
    cdef bint releases

    def __cinit__(self, model, size_t batch_size=1):
        cdef sc_error error
        cdef sc_status status
        cdef Plan plan = model.plan_for_steps()
        cdef size_t rows = batch_size
        self.model = model
        self.steps = Steps(plan)
        self.rows = rows
        self.releases = sc_plan_bytes(plan.plan) / 4 * rows > LEAST_RELEASE
        with nogil:
            status = sc_stream_create(plan.plan, rows, &self.stream, &error)
        raise_status(status, &error)

    def __dealloc__(self):
        sc_stream_free(self.stream)

    def step(self, x, *others, out=None):
        """Take the next frame of every row.

        Parameters
        ----------
        x : array_like
            (batch, features) floats or (batch,) ids: an input of the model without its time axis, also where that
            stands before the batch. An input that has none is given whole at every step.
        *others : array_like
            The model's further inputs.
        out : ndarray, or tuple of them, optional
            Where results go: C-contiguous, of exactly the dtype and the shape, overlapping no input. With it, and
            arrays that need no conversion, a step allocates nothing.

        Returns
        -------
        ndarray, or tuple of ndarray
            float32, int64 of indices, (batch, ...): what the model gives at this frame, bit for bit; `out` itself
            where it is given.

        Raises
        ------
        ShapeError, DtypeError, IdRangeError
            The state is then as it was before.
        StreamError
            Another thread is using the stream.
        """
        cdef sc_array input_, output
        cdef sc_error error
        cdef sc_status status
        cdef cnp.ndarray y
        if others or not self.steps.takes(x) or not (out is None or self.steps.gives(out)):
            return self.step_any((x, *others), out)
        y = self.steps.result(self.rows) if out is None else out
        describe(&input_, x)
        describe(&output, y)
        if self.releases:
            with nogil:
                status = sc_stream_step(self.stream, &input_, &output, &error)
        else:
            status = sc_stream_step(self.stream, &input_, &output, &error)
        if status != SC_OK:
            raise_status(status, &error)
        return y

    def step_arrays(self, list inputs not None, list out not None):
        """Take a step on arrays that the core can use where they are."""
        cdef _Arrays arrays = _Arrays(self.steps, inputs, out)
        cdef sc_error error
        cdef sc_status status
        with nogil:
            status = sc_stream_step(self.stream, arrays.items, arrays.outputs, &error)
        raise_status(status, &error)

    def set_context_arrays(self, list inputs not None):
        """Give the contexts and their lengths, at their places among the plan's inputs; they are copied."""
        cdef _List given = contexts_of(self.steps.plan, inputs)
        cdef sc_error error
        cdef sc_status status
        with nogil:
            status = sc_stream_set_context(self.stream, given.items, &error)
        raise_status(status, &error)

    def output_shape(self, size_t output):
        """The shape of an output of a step, with the sizes that follow from the contexts."""
        cdef sc_error error
        cdef sc_info info
        raise_status(sc_stream_output_info(self.stream, output, &info, &error), &error)
        return tuple([self.rows if info.shape[d] == SC_UNKNOWN else info.shape[d] for d in range(info.rank)])

    def reset(self):
        """Begin every row anew, with a state of zeros."""
        cdef sc_error error
        raise_status(sc_stream_reset(self.stream, &error), &error)

    def get_arrays(self, list to not None):
        """Copy the whole state. Nobody steps it meanwhile: a step begins with the interpreter's lock held."""
        cdef sc_array array
        cdef sc_error error
        cdef size_t i
        for i in range(<size_t>len(to)):
            check_array(to[i], cnp.NPY_FLOAT32, "a state")
            describe(&array, to[i])
            raise_status(sc_stream_get_state(self.stream, i, &array, &error), &error)

    def set_arrays(self, list source not None):
        """Set the whole state, as `get_arrays` copies it."""
        cdef sc_array array
        cdef sc_error error
        cdef size_t i
        for i in range(<size_t>len(source)):
            check_array(source[i], cnp.NPY_FLOAT32, "a state")
            describe(&array, source[i])
            raise_status(sc_stream_set_state(self.stream, i, &array, &error), &error)

    def save_state(self):
        """Return the state as bytes: `load_state`, of any stream of this model with as many rows, takes it up."""
        cdef sc_error error
        cdef bytearray saved = bytearray(sc_plan_saved_bytes(self.steps.plan.plan, self.rows))
        cdef char *to = saved
        raise_status(sc_stream_save(self.stream, to, len(saved), &error), &error)
        return bytes(saved)

    def load_state(self, const unsigned char[::1] data not None):
        """Take up a state that `save_state` returned, here, in another process or on another machine.

        Raises
        ------
        StateError
            It is damaged, or that of another model; nothing has changed then.
        """
        cdef sc_error error
        cdef const unsigned char *start = &data[0] if data.shape[0] > 0 else <const unsigned char *>b""
        raise_status(sc_stream_load(self.stream, start, data.shape[0], &error), &error)


cdef sc_stream_id id_of(id_) except? 0:
    """An id as C has it. Floats are none: rounded, they may be another stream. What is no id is 0, as none is."""
    number = PyNumber_Index(id_)
    return number if 0 < number < 2**64 else 0


cdef class PoolCore:
    """Rows that come and go, stepped together: `sc_pool`."""
    cdef sc_pool *pool
    cdef readonly object model
    cdef readonly Steps steps
    cdef readonly size_t capacity

    def __cinit__(self, model, size_t capacity):
        cdef sc_error error
        cdef sc_status status
        cdef Plan plan = model.plan_for_steps()
        self.model = model
        self.steps = Steps(plan)
        self.capacity = capacity
        with nogil:
            status = sc_pool_create(plan.plan, capacity, &self.pool, &error)
        raise_status(status, &error)

    def __dealloc__(self):
        sc_pool_free(self.pool)

    def __len__(self):
        return sc_pool_count(self.pool)

    def open(self):
        """Open a stream with a state of zeros.

        Returns
        -------
        int
            Its id: positive, and no other stream's of this pool, also after it is closed.

        Raises
        ------
        StreamError
            As many streams are open as the pool has room for.
        """
        cdef sc_error error
        cdef sc_stream_id id_ = 0
        raise_status(sc_pool_open(self.pool, &id_, &error), &error)
        return id_

    def close(self, id_):
        """Close a stream; its id means nothing from now on.

        Raises
        ------
        StreamError
            It is closed already, or in use.
        """
        cdef sc_error error
        raise_status(sc_pool_close(self.pool, id_of(id_), &error), &error)

    def reset(self, id_):
        """Begin a stream anew, with a state of zeros."""
        cdef sc_error error
        raise_status(sc_pool_reset(self.pool, id_of(id_), &error), &error)

    def step_arrays(self, cnp.ndarray ids not None, list inputs not None, list out not None):
        """Take a step of the streams ``ids`` (uint64) on arrays that the core can use where they are."""
        cdef _Arrays arrays = _Arrays(self.steps, inputs, out)
        cdef sc_error error
        cdef sc_status status
        cdef const sc_stream_id *numbers
        cdef size_t count = cnp.PyArray_SIZE(ids)
        if cnp.PyArray_TYPE(ids) != cnp.NPY_UINT64 or not cnp.PyArray_ISCARRAY_RO(ids):
            raise DtypeError("ids must be a C-contiguous uint64 array")
        numbers = <const sc_stream_id *>cnp.PyArray_DATA(ids)
        with nogil:
            status = sc_pool_step(self.pool, numbers, count, arrays.items, arrays.outputs, &error)
        raise_status(status, &error)

    def get_arrays(self, id_, list to not None):
        """Copy a stream's whole state. Nobody steps it meanwhile: a step begins with the interpreter's lock held."""
        cdef sc_stream_id number = id_of(id_)
        cdef sc_array array
        cdef sc_error error
        cdef size_t i
        for i in range(<size_t>len(to)):
            check_array(to[i], cnp.NPY_FLOAT32, "a state")
            describe(&array, to[i])
            raise_status(sc_pool_get_state(self.pool, number, i, &array, &error), &error)

    def set_arrays(self, id_, list source not None):
        """Set a stream's whole state, as `get_arrays` copies it."""
        cdef sc_stream_id number = id_of(id_)
        cdef sc_array array
        cdef sc_error error
        cdef size_t i
        for i in range(<size_t>len(source)):
            check_array(source[i], cnp.NPY_FLOAT32, "a state")
            describe(&array, source[i])
            raise_status(sc_pool_set_state(self.pool, number, i, &array, &error), &error)

    def save_state(self, id_):
        """Return a stream's state as bytes, which a stream of one row or any pool of this model takes up."""
        cdef sc_error error
        cdef bytearray saved = bytearray(sc_plan_saved_bytes(self.steps.plan.plan, 1))
        cdef char *to = saved
        raise_status(sc_pool_save(self.pool, id_of(id_), to, len(saved), &error), &error)
        return bytes(saved)

    def load_state(self, id_, const unsigned char[::1] data not None):
        """Take up a state that `save_state` returned.

        Raises
        ------
        StateError
            It is damaged, or that of another model; nothing has changed then.
        """
        cdef sc_error error
        cdef const unsigned char *start = &data[0] if data.shape[0] > 0 else <const unsigned char *>b""
        raise_status(sc_pool_load(self.pool, id_of(id_), start, data.shape[0], &error), &error)
