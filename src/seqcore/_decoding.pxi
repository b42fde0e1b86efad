# Sequences that a plan makes itself, for Python, a part of _binding.pyx. No logic; seqcore/generation.py has what users
# see.

cdef class _List:
    """Arrays, or None, as a list of C's; it keeps the arrays alive."""
    cdef sc_array *items
    cdef list kept

    def __cinit__(self, list arrays, list typenums, str what):
        cdef size_t i
        self.kept = arrays
        self.items = <sc_array *>PyMem_Malloc((len(arrays) + 1) * sizeof(sc_array))
        if self.items == NULL:
            raise MemoryError()
        memset(self.items, 0, (len(arrays) + 1) * sizeof(sc_array))
        for i in range(<size_t>len(arrays)):
            if arrays[i] is not None:
                check_array(arrays[i], typenums[i], what)
                describe(&self.items[i], arrays[i])

    def __dealloc__(self):
        PyMem_Free(self.items)


cdef list input_types(Plan plan):
    return [type_of(sc_plan_input_dtype(plan.plan, i)) for i in range(plan.n_inputs)]


cdef _List contexts_of(Plan plan, list inputs):
    """The contexts and their lengths, at their places among the plan's inputs."""
    if <size_t>len(inputs) != plan.n_inputs:
        raise ShapeError(f"expected {plan.n_inputs} inputs, None for what is no context; found {len(inputs)}")
    return _List(inputs, input_types(plan), "a context")


cdef _List floats_of(list arrays):
    return _List(arrays, [cnp.NPY_FLOAT32] * len(arrays), "a state")


cdef void *data_of(cnp.ndarray array, int typenum, tuple shape, str what) except? NULL:
    """The data of an array of this dtype and shape; NULL for None."""
    if array is None:
        return NULL
    if cnp.PyArray_TYPE(array) != typenum or not cnp.PyArray_ISCARRAY_RO(array) or (<object>array).shape != shape:
        raise ShapeError(f"{what} must be a C-contiguous array of shape {shape}; found {array.dtype}, "
                         f"{(<object>array).shape}")
    return cnp.PyArray_DATA(array)


cdef cnp.ndarray fresh(tuple shape, int typenum):
    cdef cnp.npy_intp dims[8]
    cdef int d
    for d in range(len(shape)):
        dims[d] = shape[d]
    return cnp.PyArray_EMPTY(len(shape), dims, typenum, 0)


cdef cnp.ndarray fresh_output(Steps steps, size_t output, _List contexts, tuple rows):
    """A fresh array for an output of so many rows, whose other sizes may follow from the contexts.

    Wherever the output has its batch, the only size that is unknown, the array has its rows first.
    """
    cdef sc_info info
    cdef sc_error error
    cdef size_t d
    raise_status(sc_plan_step_output_sizes(steps.plan.plan, contexts.items, output, &info, &error), &error)
    shape = rows + tuple([info.shape[d] for d in range(info.rank) if info.shape[d] != SC_UNKNOWN])
    return fresh(shape, type_of(info.dtype))


def decode_tokens(Steps steps not None, list contexts not None, list states, cnp.ndarray start not None,
                  size_t max_length, object end, int scores, cnp.ndarray prefix, cnp.ndarray prefix_lengths,
                  size_t width, double length_penalty, size_t results, cnp.ndarray uniforms, double temperature,
                  size_t top_k, double top_p, list extras not None, bint with_scores, bint with_states):
    """Let a plan make sequences of tokens: `sc_plan_decode`, which says what everything means.

    Parameters
    ----------
    contexts : list
        As many as the plan has inputs; None for what is no context.
    states : list or None
        One array, or None, for each of ``steps.states``.
    start : (B,) int64
    end : int
        -1 for none.
    prefix : (B, n) int64, or None
    prefix_lengths : (B,) int64, or None
    uniforms : (B, width, max_length) float64, or None
    extras : list of bool
        Which of the outputs behind the first are wanted.

    Returns
    -------
    ids, lengths, ended, scores, extras, states
        (B, results, ...) each; None for what is not wanted.
    """
    cdef _List given = contexts_of(steps.plan, contexts), first = None, last = None
    cdef sc_decoding q
    cdef sc_decoded to
    cdef sc_error error
    cdef sc_status status
    cdef size_t rows = cnp.PyArray_SIZE(start), i
    cdef cnp.ndarray array
    cdef void **places
    memset(&q, 0, sizeof(q))
    memset(&to, 0, sizeof(to))
    q.rows, q.inputs, q.max_length, q.end, q.scores = rows, given.items, max_length, end, <sc_scores>scores
    q.start = <const int64_t *>data_of(start, cnp.NPY_INT64, (rows,), "start")
    if states is not None:
        first = floats_of(states)
        if len(states) != len(steps.states):
            raise ShapeError(f"expected {len(steps.states)} states; found {len(states)}")
        q.states = first.items
    if prefix is not None:
        q.prefix_size = cnp.PyArray_DIM(prefix, 1) if cnp.PyArray_NDIM(prefix) == 2 else 0
        q.prefix = <const int64_t *>data_of(prefix, cnp.NPY_INT64, (rows, q.prefix_size), "prefix")
        q.prefix_lengths = <const int64_t *>data_of(prefix_lengths, cnp.NPY_INT64, (rows,), "prefix_lengths")
    q.width, q.length_penalty = width, length_penalty
    q.uniforms = <const double *>data_of(uniforms, cnp.NPY_FLOAT64, (rows, width, max_length), "uniforms")
    q.temperature, q.top_k, q.top_p = temperature, top_k, top_p

    ids = fresh((rows, results, max_length), cnp.NPY_INT64)
    lengths, ended = fresh((rows, results), cnp.NPY_INT64), fresh((rows, results), cnp.NPY_INT64)
    scored = fresh((rows, results), cnp.NPY_FLOAT64) if with_scores else None
    made = [fresh_output(steps, 1 + i, given, (rows, results, max_length)) if wanted else None
            for i, wanted in enumerate(extras)]
    finals = None
    if with_states:
        finals = [fresh((rows, results, *port.shape[1:]), cnp.NPY_FLOAT32) for port in steps.states]
        last = floats_of(finals)
        to.states = last.items
    to.results = results
    to.ids = <int64_t *>cnp.PyArray_DATA(ids)
    to.lengths, to.ended = <int64_t *>cnp.PyArray_DATA(lengths), <int64_t *>cnp.PyArray_DATA(ended)
    if with_scores:
        to.scores = <double *>cnp.PyArray_DATA(<cnp.ndarray>scored)
    if len(made) + 1 != len(steps.outputs):
        raise ShapeError(f"expected {len(steps.outputs) - 1} extras; found {len(made)}")
    places = <void **>PyMem_Malloc((len(made) + 1) * sizeof(void *))
    if places == NULL:
        raise MemoryError()
    try:
        for i in range(<size_t>len(made)):
            array = made[i]
            places[i] = cnp.PyArray_DATA(array) if array is not None else NULL
        to.extras = places
        with nogil:
            status = sc_plan_decode(steps.plan.plan, &q, &to, &error)
        raise_status(status, &error)
    finally:
        PyMem_Free(places)
    return ids, lengths, ended, scored, made, finals


def feed_back(Steps steps not None, list contexts not None, list states, cnp.ndarray history not None,
              cnp.ndarray lengths, size_t count, bint with_states):
    """Let a plan make vectors, fed its own last output: `sc_plan_feed_back`.

    Parameters
    ----------
    contexts, states
        As of `decode_tokens`.
    history : (B, n, F...) float32
    lengths : (B,) int64, or None
    count : int
        Frames to make.

    Returns
    -------
    out : (B, count, F...) float32
    states : list of ndarray, or None
    """
    cdef _List given = contexts_of(steps.plan, contexts), first = None, last = None
    cdef sc_feedback q
    cdef sc_error error
    cdef sc_status status
    cdef tuple frame = (<Port>steps.inputs[0]).shape[1:] if len(steps.inputs) == 1 else ()
    cdef size_t rows, known
    if cnp.PyArray_NDIM(history) != 2 + len(frame):
        raise ShapeError(f"the history must have shape {('rows', 'frames', *frame)}; found {(<object>history).shape}")
    rows, known = cnp.PyArray_DIM(history, 0), cnp.PyArray_DIM(history, 1)
    memset(&q, 0, sizeof(q))
    q.rows, q.inputs, q.history_size, q.steps = rows, given.items, known, count
    q.history = <const float *>data_of(history, cnp.NPY_FLOAT32, (rows, known, *frame), "the history")
    q.history_lengths = <const int64_t *>data_of(lengths, cnp.NPY_INT64, (rows,), "lengths")
    if states is not None:
        first = floats_of(states)
        if len(states) != len(steps.states):
            raise ShapeError(f"expected {len(steps.states)} states; found {len(states)}")
        q.states = first.items
    out = fresh((rows, count, *frame), cnp.NPY_FLOAT32)
    q.out = <float *>cnp.PyArray_DATA(out)
    finals = None
    if with_states:
        finals = [fresh((rows, *port.shape[1:]), cnp.NPY_FLOAT32) for port in steps.states]
        last = floats_of(finals)
        q.final_states = last.items
    with nogil:
        status = sc_plan_feed_back(steps.plan.plan, &q, &error)
    raise_status(status, &error)
    return out, finals
