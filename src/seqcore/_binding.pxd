# What the binding uses of include/seqcore/seqcore.h, which documents it.
from libc.stdint cimport int64_t, uint64_t

cdef extern from "seqcore/seqcore.h" nogil:
    enum: SC_MAX_RANK
    size_t SC_UNKNOWN

    ctypedef enum sc_status:
        SC_OK
        SC_NO_MEMORY
        SC_BAD_ARGUMENT
        SC_BAD_FILE
        SC_BAD_GRAPH
        SC_BAD_WEIGHTS
        SC_BAD_SHAPE
        SC_BAD_INDEX
        SC_UNSUPPORTED
        SC_BAD_STATE
        SC_BAD_STREAM
        SC_BUSY
        SC_FULL
        SC_BAD_SCORES

    ctypedef struct sc_error:
        sc_status status
        char message[512]

    ctypedef enum sc_dtype:
        SC_F32
        SC_I64

    ctypedef struct sc_tensor:
        const char *name
        sc_dtype dtype
        size_t rank
        size_t shape[6]
        const void *data

    ctypedef struct sc_cpu:
        const char *isa
        int avx2, fma, avx512, avx512_vnni, avx512_bf16, amx_int8, amx_bf16
        size_t l1d_bytes, l2_bytes, l3_bytes
        int cores
        int openmp

    ctypedef struct sc_options:
        const char *isa
        int threads
        int team
        int shapes_only
        int in_place

    ctypedef struct sc_array:
        void *data
        size_t rank
        size_t shape[6]

    ctypedef struct sc_info:
        const char *name
        sc_dtype dtype
        int optional
        size_t rank
        size_t shape[6]

    ctypedef uint64_t sc_stream_id

    ctypedef struct sc_plan:
        pass
    ctypedef struct sc_stream:
        pass
    ctypedef struct sc_pool:
        pass
    ctypedef struct sc_file:
        pass

    const sc_cpu *sc_cpu_info()
    size_t sc_isa_count()
    const char *sc_isa_name(size_t index)
    sc_status sc_set_num_threads(int threads, sc_error *error)
    int sc_get_num_threads()

    sc_status sc_file_open(const char *path, sc_file **file, sc_error *error)
    void sc_file_close(sc_file *file)
    ctypedef struct sc_named_text:
        const char *name
        const char *text
        size_t bytes
    const sc_named_text *sc_file_texts(const sc_file *file, size_t *count)
    const sc_tensor *sc_file_tensors(const sc_file *file, size_t *count)
    sc_status sc_file_write_texts(const char *path, const sc_named_text *texts, size_t n_texts,
                                  const sc_tensor *tensors, size_t n_tensors, sc_error *error)

    sc_status sc_plan_create(const char *graph, size_t graph_bytes, const sc_tensor *tensors, size_t count,
                             const sc_options *options, sc_plan **plan, sc_error *error)
    void sc_plan_free(sc_plan *plan)
    size_t sc_plan_inputs(const sc_plan *plan)
    size_t sc_plan_outputs(const sc_plan *plan)
    sc_dtype sc_plan_input_dtype(const sc_plan *plan, size_t index)
    sc_dtype sc_plan_output_dtype(const sc_plan *plan, size_t index)
    const char *sc_plan_isa(const sc_plan *plan)
    size_t sc_plan_bytes(const sc_plan *plan)
    ctypedef struct sc_schedule:
        size_t threads
        size_t team
    sc_schedule sc_plan_schedule(const sc_plan *plan, size_t batch, size_t time)
    size_t sc_plan_last_threads(const sc_plan *plan)
    sc_status sc_plan_value_shape(const sc_plan *plan, const char *value, size_t *rank, size_t *shape, sc_error *error)
    sc_status sc_plan_output_shapes(const sc_plan *plan, const sc_array *inputs, sc_array *outputs, sc_error *error)
    size_t sc_plan_nodes(const sc_plan *plan)
    const char *sc_plan_node_layer(const sc_plan *plan, size_t node)
    sc_status sc_plan_profile(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, double *seconds,
                              sc_error *error)
    sc_status sc_plan_run(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, sc_error *error)

    sc_status sc_file_map(const char *path, sc_file **file, sc_error *error)
    size_t sc_plan_bytes_in_place(const sc_plan *plan)
    const char *sc_plan_packed_name(const sc_plan *plan)
    size_t sc_plan_packed_floats(const sc_plan *plan)
    sc_status sc_plan_copy_packed(const sc_plan *plan, float *to, size_t floats, sc_error *error)

    sc_status sc_plan_check_step(const sc_plan *plan, sc_error *error)
    size_t sc_plan_step_inputs(const sc_plan *plan)
    size_t sc_plan_step_outputs(const sc_plan *plan)
    size_t sc_plan_step_states(const sc_plan *plan)
    size_t sc_plan_step_contexts(const sc_plan *plan)
    sc_status sc_plan_step_context_info(const sc_plan *plan, size_t context, sc_info *info, sc_error *error)
    sc_status sc_plan_step_output_sizes(const sc_plan *plan, const sc_array *inputs, size_t output, sc_info *info,
                                        sc_error *error)
    sc_status sc_plan_step_input_info(const sc_plan *plan, size_t input, sc_info *info, sc_error *error)
    sc_status sc_plan_step_output_info(const sc_plan *plan, size_t output, sc_info *info, sc_error *error)
    sc_status sc_plan_step_state_info(const sc_plan *plan, size_t state, sc_info *info, sc_error *error)
    size_t sc_plan_saved_bytes(const sc_plan *plan, size_t rows)

    sc_status sc_stream_create(const sc_plan *plan, size_t rows, sc_stream **stream, sc_error *error)
    void sc_stream_free(sc_stream *stream)
    sc_status sc_stream_step(sc_stream *stream, const sc_array *inputs, const sc_array *outputs, sc_error *error)
    sc_status sc_stream_set_context(sc_stream *stream, const sc_array *inputs, sc_error *error)
    sc_status sc_stream_output_info(sc_stream *stream, size_t output, sc_info *info, sc_error *error)
    sc_status sc_stream_reset(sc_stream *stream, sc_error *error)
    sc_status sc_stream_get_state(sc_stream *stream, size_t state, const sc_array *to, sc_error *error)
    sc_status sc_stream_set_state(sc_stream *stream, size_t state, const sc_array *source, sc_error *error)
    sc_status sc_stream_save(sc_stream *stream, void *to, size_t size, sc_error *error)
    sc_status sc_stream_load(sc_stream *stream, const void *source, size_t size, sc_error *error)

    sc_status sc_pool_create(const sc_plan *plan, size_t capacity, sc_pool **pool, sc_error *error)
    void sc_pool_free(sc_pool *pool)
    size_t sc_pool_count(const sc_pool *pool)
    sc_status sc_pool_open(sc_pool *pool, sc_stream_id *id, sc_error *error)
    sc_status sc_pool_close(sc_pool *pool, sc_stream_id id, sc_error *error)
    sc_status sc_pool_step(sc_pool *pool, const sc_stream_id *ids, size_t count, const sc_array *inputs,
                           const sc_array *outputs, sc_error *error)
    sc_status sc_pool_reset(sc_pool *pool, sc_stream_id id, sc_error *error)
    sc_status sc_pool_get_state(sc_pool *pool, sc_stream_id id, size_t state, const sc_array *to, sc_error *error)
    sc_status sc_pool_set_state(sc_pool *pool, sc_stream_id id, size_t state, const sc_array *source, sc_error *error)
    sc_status sc_pool_save(sc_pool *pool, sc_stream_id id, void *to, size_t size, sc_error *error)
    sc_status sc_pool_load(sc_pool *pool, sc_stream_id id, const void *source, size_t size, sc_error *error)

    ctypedef enum sc_scores:
        SC_LOGITS
        SC_PROBABILITIES
        SC_LOG_PROBABILITIES

    ctypedef struct sc_decoding:
        size_t rows
        const sc_array *inputs
        const sc_array *states
        const int64_t *start
        size_t max_length
        int64_t end
        sc_scores scores
        size_t prefix_size
        const int64_t *prefix
        const int64_t *prefix_lengths
        size_t width
        double length_penalty
        const double *uniforms
        double temperature
        size_t top_k
        double top_p

    ctypedef struct sc_decoded:
        size_t results
        int64_t *ids
        int64_t *lengths
        int64_t *ended
        double *scores
        void **extras
        const sc_array *states

    ctypedef struct sc_feedback:
        size_t rows
        const sc_array *inputs
        const sc_array *states
        size_t history_size
        const float *history
        const int64_t *history_lengths
        size_t steps
        float *out
        const sc_array *final_states

    sc_status sc_plan_decode(const sc_plan *plan, const sc_decoding *decoding, const sc_decoded *decoded,
                             sc_error *error)
    sc_status sc_plan_feed_back(const sc_plan *plan, const sc_feedback *feedback, sc_error *error)
