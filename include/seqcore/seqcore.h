/* seqcore: trained recurrent networks on a CPU. This is the whole C API.
 *
 * A plan is an immutable, packed model: any number of threads may run one plan at the same time. A stream is the state of
 * sequences whose frames arrive one at a time; a pool is many streams that are stepped together. There is nothing to
 * initialise and nothing to shut down.
 * Every function that can fail returns an sc_status and, when `error` is not NULL, writes one line there
 * that names the layer or file, what was expected and what was found. Nothing here prints or aborts.
 *
 * Arrays are row-major ("C order") and contiguous; sizes are in elements unless a name says bytes.
 * B batch, T time, I input features, H hidden units, G gates.
 */
#ifndef SEQCORE_H
#define SEQCORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) || !defined(__GNUC__)
#define SC_API
#else
#define SC_API __attribute__((visibility("default")))
#endif

/* The version of this header. Within a major version (a minor one before 1.0) a program runs with any newer library. */
#define SC_VERSION_MAJOR 0
#define SC_VERSION_MINOR 3
#define SC_VERSION_PATCH 0
/* The version of the library: "0.3.0". */
SC_API const char *sc_version(void);

#define SC_MAX_RANK 6

typedef enum sc_status {
    SC_OK = 0,
    SC_NO_MEMORY,    /* an allocation failed; nothing was changed */
    SC_BAD_ARGUMENT, /* a NULL or an option outside its range */
    SC_BAD_FILE,     /* not a model file, truncated, or one that lies about itself */
    SC_BAD_GRAPH,    /* the graph contradicts itself or names what does not exist */
    SC_BAD_WEIGHTS,  /* a tensor is missing or has the wrong shape or type */
    SC_BAD_SHAPE,    /* an input, output or length has the wrong rank, size or combination, or overlaps another */
    SC_BAD_INDEX,    /* a token id is outside its range */
    SC_UNSUPPORTED,  /* understood, and not available */
    SC_BAD_STATE,    /* a saved state is damaged, or of another model */
    SC_BAD_STREAM,   /* no such stream in the pool: closed, or never opened */
    SC_BUSY,         /* another call is using the stream; nothing was changed */
    SC_FULL,         /* the pool has no room for another stream */
    SC_BAD_SCORES    /* the scores of a decoded sequence are no numbers to choose by */
} sc_status;

typedef struct sc_error {
    sc_status status;
    char message[512]; /* UTF-8, always NUL-terminated */
} sc_error;

typedef enum sc_dtype { SC_F32 = 0, SC_I64 = 1 } sc_dtype;

/* A named, read-only array. The data is borrowed for the duration of the call that takes it. */
typedef struct sc_tensor {
    const char *name;
    sc_dtype dtype;
    size_t rank;
    size_t shape[SC_MAX_RANK];
    const void *data;
} sc_tensor;

/* The memory of a plan and of all that is made of it: its workspaces, streams and pools. Zeros: the C library's. Functions may
 * be called from any thread. (OpenMP's runtime, which plans of more than one thread use, has memory of its own.) */
typedef struct sc_allocator {
    void *(*allocate)(void *context, size_t alignment, size_t bytes); /* NULL when there is none; bytes > 0 */
    void (*release)(void *context, void *memory);                    /* never NULL */
    void *context;
} sc_allocator;

/* ---- Processor -------------------------------------------------------------------------------- */

typedef struct sc_cpu {
    const char *isa; /* the best table that this processor and SEQCORE_ISA allow: "scalar", "avx2", "avx512" */
    int avx2, fma, avx512; /* what the processor and the operating system offer, before SEQCORE_ISA */
    int avx512_vnni, avx512_bf16, amx_int8, amx_bf16;
    size_t l1d_bytes, l2_bytes, l3_bytes; /* of one core's caches; 0 where unknown */
    int cores;                            /* that this process may use: affinity and cgroup quota, at the first call */
    int openmp;                           /* whether this build can use more than one thread */
} sc_cpu;

/* Facts about this processor. SEQCORE_ISA is read once, at the first call. Never fails, thread-safe. */
SC_API const sc_cpu *sc_cpu_info(void);

/* The instruction sets that a plan can be made for here, best first; SEQCORE_ISA does not cap this list. */
SC_API size_t sc_isa_count(void);
SC_API const char *sc_isa_name(size_t index); /* NULL past the end */

/* How many threads the calls of this process may use together when a plan's options do not say: OMP_NUM_THREADS, else the
 * cores that the process may use, until it is set; less while omp_set_num_threads (or threadpoolctl) asks for less. A call
 * takes of them what other calls leave, at least one. `threads` below 1 is SC_BAD_ARGUMENT. */
SC_API sc_status sc_set_num_threads(int threads, sc_error *error);
SC_API int sc_get_num_threads(void);

/* ---- Model files: safetensors, with texts as U8 tensors ------------------------------------------ */

typedef struct sc_file sc_file;

/* A text of a model file, not NUL-terminated. Every file has "__graph__", the graph as JSON. It may have further graphs over the
 * same tensors, "__graph__.<part>" (a name of letters, digits and _), of which sc_options.part chooses one; and "__assets__", what a
 * model keeps beside its weights, which this library carries and does not read (256 MiB at most). Nothing else is a text. */
typedef struct sc_named_text {
    const char *name;
    const char *text;
    size_t bytes;
} sc_named_text;

/* Reads a model file and checks all of it. Free with sc_file_close, which ends the tensors too. */
SC_API sc_status sc_file_open(const char *path, sc_file **file, sc_error *error);
/* The same, mapped and not read: see sc_options.in_place. */
SC_API sc_status sc_file_map(const char *path, sc_file **file, sc_error *error);
SC_API void sc_file_close(sc_file *file); /* NULL is allowed */
/* The same over bytes in memory, aligned to 8, which the file borrows until sc_file_close. `label` names them in messages;
 * NULL: "memory". */
SC_API sc_status sc_file_open_memory(const void *bytes, size_t size, const char *label, sc_file **file, sc_error *error);
/* The text of that name (not NUL-terminated), NULL if the file has none; sc_file_graph: of "__graph__". Valid until sc_file_close,
 * as all that a file gives. */
SC_API const char *sc_file_text(const sc_file *file, const char *name, size_t *bytes);
SC_API const char *sc_file_graph(const sc_file *file, size_t *bytes);
/* All texts, and all other tensors, in the file's order. */
SC_API const sc_named_text *sc_file_texts(const sc_file *file, size_t *count);
SC_API const sc_tensor *sc_file_tensors(const sc_file *file, size_t *count);
/* Writes a model file: a temporary file beside `path`, then a rename, so that a failure loses nothing. */
SC_API sc_status sc_file_write(const char *path, const char *graph, size_t graph_bytes, const sc_tensor *tensors,
                               size_t count, sc_error *error);
/* The same with other texts than the graph alone; "__graph__" is among them. */
SC_API sc_status sc_file_write_texts(const char *path, const sc_named_text *texts, size_t n_texts, const sc_tensor *tensors,
                                     size_t n_tensors, sc_error *error);

/* ---- Plans -------------------------------------------------------------------------------------- */

typedef struct sc_plan sc_plan;

typedef struct sc_options {
    const char *isa;  /* NULL: the best one; else a table's name */
    int threads;      /* 0: sc_get_num_threads() at each call; else at most this many; never more than cores or 64 */
    int team;         /* 0: as the work asks for; else every run uses `threads` threads in teams of so many (sc_schedule) */
    int shapes_only;  /* 1: the tensors may be missing; the plan knows shapes but cannot run */
    const char *precision;  /* NULL or "float32" */
    sc_allocator allocator; /* zeros: the C library's */
    int in_place; /* 1: packed weights among the tensors (sc_plan_packed_name) are used where they lie. The tensors' memory must
                   * then outlive the plan; sc_plan_open maps the file, so that all processes that open it share one copy.
                   * Whoever truncates a mapped file kills its readers: replace it by rename, as sc_file_write does. */
    const char *part; /* of a model file with several graphs: "encoder" for "__graph__.encoder"; NULL: the main one, "__graph__".
                       * One that the file has not is SC_BAD_FILE. Packed weights in a file are those of the main graph. */
} sc_options;

/* Packs a graph (docs/design.md, "The lowered graph") and its tensors into a plan. Copies what it keeps; tensors that the graph
 * does not name are left alone. `options` may be NULL. Free with sc_plan_free. */
SC_API sc_status sc_plan_create(const char *graph, size_t graph_bytes, const sc_tensor *tensors, size_t count,
                                const sc_options *options, sc_plan **plan, sc_error *error);
/* The same from a model file, and from one in memory: aligned to 8 bytes, and not needed any more afterwards. */
SC_API sc_status sc_plan_open(const char *path, const sc_options *options, sc_plan **plan, sc_error *error);
SC_API sc_status sc_plan_open_memory(const void *bytes, size_t size, const sc_options *options, sc_plan **plan, sc_error *error);
/* NULL is allowed; no call may be running. Streams and pools keep what they need of the plan until they are freed. */
SC_API void sc_plan_free(sc_plan *plan);

/* An argument of a run: caller's memory, with its actual shape. data NULL leaves out an optional input. */
typedef struct sc_array {
    void *data;
    size_t rank;
    size_t shape[SC_MAX_RANK];
} sc_array;

/* Inputs and outputs are numbered in the order of the graph's lists. Optional inputs (lengths, masks, initial states) are
 * inputs like the others; NULL data leaves them out. */
SC_API size_t sc_plan_inputs(const sc_plan *plan);
SC_API size_t sc_plan_outputs(const sc_plan *plan);
SC_API sc_dtype sc_plan_input_dtype(const sc_plan *plan, size_t input);
/* Nearly always SC_F32; an output of indices is SC_I64, and its memory is of int64_t. */
SC_API sc_dtype sc_plan_output_dtype(const sc_plan *plan, size_t output);
/* What an input or an output is. `shape` has SC_UNKNOWN for the batch and for axes whose size a call decides. The name lives as
 * long as the plan. A number past the last is SC_BAD_ARGUMENT. */
#define SC_UNKNOWN ((size_t)-1)
typedef struct sc_info {
    const char *name;
    sc_dtype dtype;
    int optional; /* lengths, masks and initial states */
    size_t rank;
    size_t shape[SC_MAX_RANK];
} sc_info;
SC_API sc_status sc_plan_input_info(const sc_plan *plan, size_t input, sc_info *info, sc_error *error);
SC_API sc_status sc_plan_output_info(const sc_plan *plan, size_t output, sc_info *info, sc_error *error);
SC_API const char *sc_plan_isa(const sc_plan *plan);
/* Bytes of packed weights. */
SC_API size_t sc_plan_bytes(const sc_plan *plan);
/* Those of them that lie in the tensors' memory: sc_options.in_place. */
SC_API size_t sc_plan_bytes_in_place(const sc_plan *plan);
/* The packed weights as one tensor of that name and sc_plan_packed_floats() floats, to be written into a model file first among
 * its float tensors. They serve plans of the same instruction set over the same graph and tensors; any other plan ignores
 * them. */
SC_API const char *sc_plan_packed_name(const sc_plan *plan);
SC_API size_t sc_plan_packed_floats(const sc_plan *plan);
SC_API sc_status sc_plan_copy_packed(const sc_plan *plan, float *to, size_t floats, sc_error *error);
/* How a run is spread over threads: teams of `team` threads divide the rows, the members of a team divide the units of each
 * layer, or its branches. */
typedef struct sc_schedule {
    size_t threads, team;
} sc_schedule;
/* The schedule of the next run of `batch` rows whose longest sequence has `time` frames. */
SC_API sc_schedule sc_plan_schedule(const sc_plan *plan, size_t batch, size_t time);
/* Threads that took part in the last run that ended; 0 before the first. */
SC_API size_t sc_plan_last_threads(const sc_plan *plan);

/* The inferred shape of a named value: SC_UNKNOWN for the batch and for a free time axis. */
SC_API sc_status sc_plan_value_shape(const sc_plan *plan, const char *value, size_t *rank, size_t shape[SC_MAX_RANK],
                                     sc_error *error);

/* Fills in rank and shape of every output for inputs of these shapes. Data pointers are read for NULL only. */
SC_API sc_status sc_plan_output_shapes(const sc_plan *plan, const sc_array *inputs, sc_array *outputs, sc_error *error);

/* Runs the plan: inputs[sc_plan_inputs()] to outputs[sc_plan_outputs()], which must have exactly the shapes that
 * sc_plan_output_shapes gives and overlap no input. Thread-safe. At most one parallel region, none of it per step;
 * scratch comes from a pool that the plan owns. On failure the outputs' contents are undefined. */
SC_API sc_status sc_plan_run(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, sc_error *error);

/* Nodes of the plan's graph, in their order, and the layer to which each belongs. */
SC_API size_t sc_plan_nodes(const sc_plan *plan);
SC_API const char *sc_plan_node_layer(const sc_plan *plan, size_t node);
/* Runs like sc_plan_run, on one thread, and adds to seconds[sc_plan_nodes()] the time that each node took. */
SC_API sc_status sc_plan_profile(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, double *seconds,
                                 sc_error *error);

/* ---- Steps: sequences whose frames arrive one at a time ------------------------------------------- */

/* What a step of a plan takes and gives. Its inputs are the plan's without lengths, masks and initial states, and without the time axis:
 * (rows, features) for (batch, time, features) or (time, batch, features), (rows,) for ids (batch, time); an input that has
 * no time axis, or a single frame beside longer inputs, is given whole at every step. Its outputs are all of the plan's,
 * without the time axis where they have it. Frame t gives what a run over frames 0..t gives at t, bit for bit.
 *
 * The state between two steps is a list of float32 arrays (rows, ...) in the order of the graph: h and c of a recurrent layer,
 * (rows, units), and the last frames of a convolution, (rows, frames, channels), oldest first. An array's name is the layer's,
 * then ":h", ":c" or ":frames".
 *
 * SC_UNSUPPORTED names the layer that cannot be stepped, and why; the numbers are 0 then. */
SC_API sc_status sc_plan_check_step(const sc_plan *plan, sc_error *error);
SC_API size_t sc_plan_step_inputs(const sc_plan *plan);
SC_API size_t sc_plan_step_outputs(const sc_plan *plan);
SC_API size_t sc_plan_step_states(const sc_plan *plan);
/* Contexts are inputs that the graph marks so: what a whole sequence has once, such as the frames that an attention looks at, with
 * the batch as axis 0. They, and where there are any their lengths and their masks, which are optional, are given by
 * sc_stream_set_context, or to sc_plan_decode. */
SC_API size_t sc_plan_step_contexts(const sc_plan *plan);
SC_API sc_status sc_plan_step_context_info(const sc_plan *plan, size_t context, sc_info *info, sc_error *error);
SC_API sc_status sc_plan_step_input_info(const sc_plan *plan, size_t input, sc_info *info, sc_error *error);
SC_API sc_status sc_plan_step_output_info(const sc_plan *plan, size_t output, sc_info *info, sc_error *error);
SC_API sc_status sc_plan_step_state_info(const sc_plan *plan, size_t state, sc_info *info, sc_error *error);
/* As sc_plan_step_output_info, with the sizes that follow from these contexts: of inputs[sc_plan_inputs()] theirs are read. */
SC_API sc_status sc_plan_step_output_sizes(const sc_plan *plan, const sc_array *inputs, size_t output, sc_info *info,
                                           sc_error *error);
/* Bytes of the saved state of so many rows. */
SC_API size_t sc_plan_saved_bytes(const sc_plan *plan, size_t rows);

/* The state of `rows` sequences that advance together. A step allocates nothing, takes no lock and makes no system call as
 * long as it runs on one thread: with sc_options.threads 1, or where there is too little work to divide. One thread at a time:
 * a second one gets SC_BUSY. */
typedef struct sc_stream sc_stream;

/* Every sequence begins with a state of zeros, or with the initial states that the network has of its own. */
SC_API sc_status sc_stream_create(const sc_plan *plan, size_t rows, sc_stream **stream, sc_error *error);
SC_API void sc_stream_free(sc_stream *stream); /* NULL is allowed; no call may be running */
SC_API size_t sc_stream_rows(const sc_stream *stream);

/* Takes the next frame of every row. The arrays have exactly the shapes of the plan's step; outputs may not overlap each other
 * or an input. When it fails, no state has changed. */
SC_API sc_status sc_stream_step(sc_stream *stream, const sc_array *inputs, const sc_array *outputs, sc_error *error);
/* Gives the contexts, their lengths and their masks: of inputs[sc_plan_inputs()] those entries are read, and copied. Each has
 * the stream's rows. Before, a stream of a plan with contexts cannot be stepped (SC_BAD_STATE); states stay as they are. When it fails,
 * the stream has the contexts that it had. */
SC_API sc_status sc_stream_set_context(sc_stream *stream, const sc_array *inputs, sc_error *error);
/* As sc_plan_step_output_info, with the sizes that follow from the contexts. */
SC_API sc_status sc_stream_output_info(sc_stream *stream, size_t output, sc_info *info, sc_error *error);
/* Every row begins anew. */
SC_API sc_status sc_stream_reset(sc_stream *stream, sc_error *error);
/* Reads or writes one array of the state. */
SC_API sc_status sc_stream_get_state(sc_stream *stream, size_t state, const sc_array *to, sc_error *error);
SC_API sc_status sc_stream_set_state(sc_stream *stream, size_t state, const sc_array *from, sc_error *error);
/* The whole state as sc_plan_saved_bytes(plan, rows) bytes, which another process, another instruction set or a pool can take up.
 * They carry a fingerprint of graph and weights: those of another model are SC_BAD_STATE. */
SC_API sc_status sc_stream_save(sc_stream *stream, void *to, size_t size, sc_error *error);
SC_API sc_status sc_stream_load(sc_stream *stream, const void *from, size_t size, sc_error *error);

/* Up to `capacity` sequences that come, advance and go one by one. A step takes any of them, once each, as one batch: the
 * weights are read once for all, and each gives what it would give alone, bit for bit. Memory is bounded by the capacity. Any
 * thread may call anything at any time: steps over different streams run side by side, a stream in use is SC_BUSY. */
typedef struct sc_pool sc_pool;
typedef uint64_t sc_stream_id; /* of a pool's stream: never 0, and none's again in its pool after it was closed */

SC_API sc_status sc_pool_create(const sc_plan *plan, size_t capacity, sc_pool **pool, sc_error *error);
SC_API void sc_pool_free(sc_pool *pool); /* NULL is allowed; no call may be running */
SC_API size_t sc_pool_capacity(const sc_pool *pool);
SC_API size_t sc_pool_count(const sc_pool *pool); /* streams that are open */

/* A stream in that state; SC_FULL when `capacity` are open. */
SC_API sc_status sc_pool_open(sc_pool *pool, sc_stream_id *id, sc_error *error);
SC_API sc_status sc_pool_close(sc_pool *pool, sc_stream_id id, sc_error *error);
/* Row i of inputs and outputs is the next frame of stream ids[i]. */
SC_API sc_status sc_pool_step(sc_pool *pool, const sc_stream_id *ids, size_t count, const sc_array *inputs,
                              const sc_array *outputs, sc_error *error);
/* As of a sc_stream of one row, whose arrays and saved bytes these are. */
SC_API sc_status sc_pool_reset(sc_pool *pool, sc_stream_id id, sc_error *error);
SC_API sc_status sc_pool_get_state(sc_pool *pool, sc_stream_id id, size_t state, const sc_array *to, sc_error *error);
SC_API sc_status sc_pool_set_state(sc_pool *pool, sc_stream_id id, size_t state, const sc_array *from, sc_error *error);
SC_API sc_status sc_pool_save(sc_pool *pool, sc_stream_id id, void *to, size_t size, sc_error *error);
SC_API sc_status sc_pool_load(sc_pool *pool, sc_stream_id id, const void *from, size_t size, sc_error *error);

/* ---- Decoding: sequences that a plan makes itself, fed its own last output ----------------------------- */

/* What the first output of a plan's step gives of every token. */
typedef enum sc_scores { SC_LOGITS = 0, SC_PROBABILITIES, SC_LOG_PROBABILITIES } sc_scores;

/* A step of the plan takes one token of every row, ids (rows) or (rows, 1), and gives V scores first; whatever else it needs are
 * contexts and states. Token t of a result is chosen by the scores that the plan gives when it is fed token t - 1; it is fed
 * `start` first. The log-probability of a result is the sum of its tokens', forced ones and `end` included. */
typedef struct sc_decoding {
    size_t rows;
    const sc_array *inputs;        /* [sc_plan_inputs()]: the contexts, their lengths and masks are read. NULL: the plan has none */
    const sc_array *states;        /* [sc_plan_step_states()], (rows, ...) each; data NULL, or NULL: as every sequence begins */
    const int64_t *start;          /* (rows) */
    size_t max_length;             /* tokens of a result at most, from 1; forced ones and `end` count */
    int64_t end;                   /* the token that ends a result, also where it is forced; -1: none does */
    sc_scores scores;              /* probabilities are from 0 to 1, log-probabilities to 0, both but for rounding */
    size_t prefix_size;            /* the first tokens of a result may be forced: */
    const int64_t *prefix;         /* (rows, prefix_size) */
    const int64_t *prefix_lengths; /* (rows), 0 to prefix_size; NULL: all are prefix_size */
    /* Width 1 takes the best token of every step (the first of equal ones). More make a beam search: of all candidates of a step,
     * the width best that are not `end` go on, and what ends among the width best of all is a result. Of equal ones the earlier beam's
     * is better, then the smaller token. Results are ranked by
     * log-probability / length^length_penalty; what has not ended at max_length is one too. The search ends when nothing that
     * goes on could still be among the results. */
    size_t width;
    double length_penalty;
    /* Sampling instead: `width` results for each row, of which token t is the one at which the cumulated probability exceeds
     * uniforms[row][result][t]. Probabilities are p^(1/temperature); of them the top_k largest (0: all), and of these the fewest
     * largest that make up top_p of their sum (1: all). NULL: no sampling. */
    const double *uniforms; /* (rows, width, max_length), each from 0 to below 1 */
    double temperature;     /* above 0 */
    size_t top_k;
    double top_p;           /* above 0, to 1 */
} sc_decoding;

/* Where the results go; any pointer but ids and lengths may be NULL. Nothing of it overlaps anything else of the call. */
typedef struct sc_decoded {
    size_t results;    /* of a row, the best first: 1 to width; of sampling width */
    int64_t *ids;      /* (rows, results, max_length); `end` behind a result's end, or 0 where there is none */
    int64_t *lengths;  /* (rows, results): tokens, `end` included; 0 where a beam search found fewer results */
    int64_t *ended;    /* (rows, results): 1 where the last token is `end`, else 0 */
    double *scores;    /* (rows, results): log-probability / length^length_penalty; -infinity where there is no result */
    void *const *extras; /* [sc_plan_step_outputs() - 1]: what the other outputs of the step gave when token t was chosen, (rows,
                            results, max_length, ...) of their dtype, 0 behind the end; NULL: not wanted */
    const sc_array *states; /* [sc_plan_step_states()], (rows, results, ...) each: when the last token was chosen, which then has
                               not been fed; data NULL: not wanted. Of width 1 and of sampling alone */
} sc_decoded;

/* One call for the whole batch. A row's result depends on no other row, and rows that have ended are not computed any more. The
 * plan may serve other calls at the same time. SC_BAD_SCORES names the row and token whose scores are none to choose by: one is NaN,
 * +infinity or outside its range, or none is possible. On failure the results' contents are undefined. */
SC_API sc_status sc_plan_decode(const sc_plan *plan, const sc_decoding *decoding, const sc_decoded *decoded, sc_error *error);

/* The same for vectors: a step takes (rows, F...) floats, and its first output is as large; it is the next input. */
typedef struct sc_feedback {
    size_t rows;
    const sc_array *inputs, *states; /* as in sc_decoding */
    size_t history_size;             /* frames that are fed first, at least one a row: */
    const float *history;            /* (rows, history_size, F...) */
    const int64_t *history_lengths;  /* (rows), 1 to history_size; NULL: all are history_size */
    size_t steps;                    /* frames to make, from 1 */
    float *out;                      /* (rows, steps, F...): the first is what the last of the history gives */
    const sc_array *final_states;    /* [sc_plan_step_states()], (rows, ...) each; data NULL, or NULL: not wanted. The last frame of
                                      * `out` has been made, and not been fed */
} sc_feedback;
SC_API sc_status sc_plan_feed_back(const sc_plan *plan, const sc_feedback *feedback, sc_error *error);

#ifdef __cplusplus
}
#endif
#endif
