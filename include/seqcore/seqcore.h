/* seqcore: trained recurrent networks on a CPU. This is the whole C API.
 *
 * A plan is an immutable, packed model: any number of threads may run one plan at the same time.
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
    SC_UNSUPPORTED   /* understood, and not available */
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

/* ---- Processor -------------------------------------------------------------------------------- */

typedef struct sc_cpu {
    const char *isa; /* the best table that this processor and SEQCORE_ISA allow: "scalar", "avx2", "avx512" */
    int avx2, fma, avx512; /* what the processor and the operating system offer, before SEQCORE_ISA */
    int avx512_vnni, avx512_bf16, amx_int8, amx_bf16;
    size_t l1d_bytes, l2_bytes, l3_bytes; /* of one core's caches; 0 where unknown */
    int cores;                            /* that this process may use (affinity) */
    int openmp;                           /* whether this build can use more than one thread */
} sc_cpu;

/* Facts about this processor. SEQCORE_ISA is read once, at the first call. Never fails, thread-safe. */
const sc_cpu *sc_cpu_info(void);

/* The instruction sets that a plan can be made for here, best first; SEQCORE_ISA does not cap this list. */
size_t sc_isa_count(void);
const char *sc_isa_name(size_t index); /* NULL past the end */

/* How many threads a plan may use when its options do not say. Initially OMP_NUM_THREADS, else the cores
 * that this process may use. `threads` below 1 is SC_BAD_ARGUMENT. */
sc_status sc_set_num_threads(int threads, sc_error *error);
int sc_get_num_threads(void);

/* ---- Model files: safetensors, with the graph as JSON in the U8 tensor "__graph__" -------------- */

typedef struct sc_file sc_file;

/* Reads a model file and checks all of it. Free with sc_file_close, which ends the tensors too. */
sc_status sc_file_open(const char *path, sc_file **file, sc_error *error);
void sc_file_close(sc_file *file); /* NULL is allowed */
/* The graph's JSON text (not NUL-terminated). */
const char *sc_file_graph(const sc_file *file, size_t *bytes);
/* All tensors but the graph, in the file's order. Valid until sc_file_close. */
const sc_tensor *sc_file_tensors(const sc_file *file, size_t *count);
/* Writes a model file: a temporary file beside `path`, then a rename, so that a failure loses nothing. */
sc_status sc_file_write(const char *path, const char *graph, size_t graph_bytes, const sc_tensor *tensors,
                        size_t count, sc_error *error);

/* ---- Plans -------------------------------------------------------------------------------------- */

typedef struct sc_plan sc_plan;

typedef struct sc_options {
    const char *isa;  /* NULL: the best one; else a table's name */
    int threads;      /* 0: sc_get_num_threads() at each call; else at most this many; never more than cores or 64 */
    int team;         /* 0: as the work asks for; else every run uses `threads` threads in teams of so many (sc_schedule) */
    int shapes_only;  /* 1: the tensors may be missing; the plan knows shapes but cannot run */
} sc_options;

/* Packs a graph (docs/design.md, "The lowered graph") and its tensors into a plan. Copies what it keeps.
 * `options` may be NULL. Free with sc_plan_free. */
sc_status sc_plan_create(const char *graph, size_t graph_bytes, const sc_tensor *tensors, size_t count,
                         const sc_options *options, sc_plan **plan, sc_error *error);
/* The same from a model file. */
sc_status sc_plan_open(const char *path, const sc_options *options, sc_plan **plan, sc_error *error);
void sc_plan_free(sc_plan *plan); /* NULL is allowed; no call may be running */

/* An argument of a run: caller's memory, with its actual shape. data NULL leaves out an optional input. */
typedef struct sc_array {
    void *data;
    size_t rank;
    size_t shape[SC_MAX_RANK];
} sc_array;

/* Inputs and outputs are numbered in the order of the graph's lists. Optional inputs (lengths, initial states) are
 * inputs like the others; NULL data leaves them out. */
size_t sc_plan_inputs(const sc_plan *plan);
size_t sc_plan_outputs(const sc_plan *plan);
sc_dtype sc_plan_input_dtype(const sc_plan *plan, size_t input);
const char *sc_plan_isa(const sc_plan *plan);
/* Bytes of packed weights. */
size_t sc_plan_bytes(const sc_plan *plan);
/* How a run is spread over threads: teams of `team` threads divide the rows, the members of a team divide the units of each
 * layer, or its branches. */
typedef struct sc_schedule {
    size_t threads, team;
} sc_schedule;
/* The schedule of the next run of `batch` rows whose longest sequence has `time` frames. */
sc_schedule sc_plan_schedule(const sc_plan *plan, size_t batch, size_t time);
/* Threads that took part in the last run that ended; 0 before the first. */
size_t sc_plan_last_threads(const sc_plan *plan);

/* The inferred shape of a named value: SC_UNKNOWN for the batch and for a free time axis. */
#define SC_UNKNOWN ((size_t)-1)
sc_status sc_plan_value_shape(const sc_plan *plan, const char *value, size_t *rank, size_t shape[SC_MAX_RANK],
                              sc_error *error);

/* Fills in rank and shape of every output for inputs of these shapes. Data pointers are read for NULL only. */
sc_status sc_plan_output_shapes(const sc_plan *plan, const sc_array *inputs, sc_array *outputs, sc_error *error);

/* Runs the plan: inputs[sc_plan_inputs()] to outputs[sc_plan_outputs()], which must have exactly the shapes that
 * sc_plan_output_shapes gives and overlap no input. Thread-safe. At most one parallel region, none of it per step;
 * scratch comes from a pool that the plan owns. On failure the outputs' contents are undefined. */
sc_status sc_plan_run(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, sc_error *error);

/* Nodes of the plan's graph, in their order, and the layer to which each belongs. */
size_t sc_plan_nodes(const sc_plan *plan);
const char *sc_plan_node_layer(const sc_plan *plan, size_t node);
/* Runs like sc_plan_run, on one thread, and adds to seconds[sc_plan_nodes()] the time that each node took. */
sc_status sc_plan_profile(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, double *seconds,
                          sc_error *error);

#ifdef __cplusplus
}
#endif
#endif
