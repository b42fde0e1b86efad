/* The inside of a plan, shared by plan.c and graph.c (build it), workers.c (executes it) and the files of ops.
 *
 * A plan is a list of nodes over numbered values. Nothing in it changes after sc_plan_create but the pool of workspaces
 * and a few counts, which are atomic. All its memory hangs on one list of blocks, freed together. */
#ifndef SC_PLAN_H
#define SC_PLAN_H

#include "activation_kind.h"
#include "common.h"
#include "json.h"
#include "kernels.h"
#include "threads.h"

#include <stdatomic.h>

#define SC_LARGE_WEIGHTS ((size_t)12 << 20) /* bytes of weights that come slowly: more than the last cache gives one core */
#define SC_NONE ((size_t)-1) /* no such value, input or output */

/* The shape of a value for ONE row of the graph's batch: dim[batch axis] is 1, or T for a folded value.
 * SC_UNKNOWN where an axis is known only at a call. */
typedef struct sc_shape {
    size_t rank;
    size_t dim[SC_MAX_RANK];
} sc_shape;

typedef enum sc_kind { SC_DATA, SC_LENGTHS, SC_STATE, SC_MASK } sc_kind;

typedef struct sc_value {
    const char *name;
    sc_kind kind;
    sc_dtype dtype;
    size_t batch_axis; /* 0; more as in torch's (time, batch, features) and (layers, batch, units): in the caller's memory alone */
    size_t input;      /* number of the graph input, or SC_NONE */
    size_t of;         /* lengths and masks that are a graph input: the input whose time axis they are about */
    size_t producer;   /* number of the node, or SC_NONE */
    size_t root;       /* a view's storage; itself when it is no view */
    size_t last_use;   /* number of the last node that reads this root */
    size_t output;     /* number of the graph output whose memory this root uses, or SC_NONE */
    /* Of a data input, in steps alone: */
    bool context;      /* given once for a whole sequence */
    bool mapped;       /* ... and, as its mask may be, read only by ops that find a row's own by sc_context_row: rows share it */
    const char *next;  /* the name of the output that it is in the next step; NULL: the caller gives it */
    size_t next_output; /* ... and its number */
} sc_value;

typedef struct sc_frame sc_frame;
typedef struct sc_node sc_node;
typedef struct sc_builder sc_builder;

/* How a value behaves when the frames of a sequence come one at a time. */
typedef enum sc_motion {
    SC_WHOLE,  /* does not depend on them */
    SC_MOVING, /* (B, T, ...): each frame makes one of it */
    SC_FOLDED, /* (B*T, ...): the same, folded */
    SC_LAST    /* no time axis: what stands after the last frame */
} sc_motion;

/* An array of floats that a node keeps between two steps, for one row: `frames` x `size`, the last frames of its input, or `size`
 * where frames is 0. */
#define SC_MAX_KEPT 3
typedef struct sc_kept {
    const char *name;
    size_t frames, size;
    size_t room;  /* floats that a value of `size` takes in memory */
    size_t first; /* number of the input that it is at first, where a constant is that input; 0: none */
} sc_kept;

/* What an operation can do. All functions get a node whose earlier stages have succeeded. */
typedef struct sc_op {
    const char *name;
    size_t min_inputs, max_inputs; /* max SC_NONE: any number */
    size_t outputs;
    bool view;         /* output 0 is input 0 under another shape */
    bool maps_lengths; /* the node may have lengths_out */
    bool states;       /* input 0 (select) or the later ones (recurrent) may be a state that is absent at a call */
    bool ids;             /* reads int64 */
    bool one_hot;         /* input 0 may be ids in place of the one-hot vectors of them: sc_attr_one_hot */
    bool any_dtype;       /* reads float32 or int64 */
    bool counts_rows;     /* reads of input 0 how many rows it has, and no number */
    bool carries;         /* only moves elements, of either dtype, which all inputs and output 0 share */
    uint32_t gives_ids;   /* bit i: output i is int64 */
    size_t batch_in, batch_out; /* the batch axis of what it reads, and gives */
    bool is_mask;         /* output 0 is a mask: (B, T) that moves is one number a step */
    uint32_t contexts;    /* bit i: input i is read by sc_context_row */
    uint32_t masks;       /* bit i: input i is a mask. An input of the graph that is one may be absent at a call: sc_in() is NULL,
                           * and every frame counts */
    bool broadcasts;   /* inputs without lengths may have one frame for all of the others', or no time axis (merges) */
    bool refuses_lengths; /* cannot serve rows of different lengths */
    bool lengths_apart;   /* the inputs need not end at the same frames: sc_lengths_of() each */
    bool divides;      /* run may be called by all members of frame->team at once, and divides the work among them;
                        * a node can be an exception */
    /* Reads attributes into node->params. */
    sc_status (*parse)(sc_builder *, sc_node *, const sc_json *attributes);
    /* The shapes of the outputs from those of the inputs (for one row); axes may be SC_UNKNOWN. */
    sc_status (*infer)(const sc_node *, const sc_shape *inputs, sc_shape *outputs, sc_error *);
    /* Checks the weights' shapes against the attributes and the inputs' shapes, and packs them. NULL: no weights. */
    sc_status (*pack)(sc_builder *, sc_node *, const sc_shape *inputs);
    /* Bytes of scratch for blocks of at most `rows` rows. NULL: none. */
    size_t (*scratch)(const sc_node *, const sc_shape *inputs, size_t rows);
    /* Computes the outputs for the frame's rows. NULL for views. In a step, input 0 may be one frame of many: then
     * sc_row_state() is what the node keeps of those before. */
    void (*run)(const sc_node *, sc_frame *);
    /* How the outputs move when the inputs do (SC_WHOLE for an absent one): NULL, or why the node cannot be stepped. Without
     * this function no node of the op can. */
    const char *(*moves)(const sc_plan *, const sc_node *, const sc_motion *inputs, sc_motion outputs[3]);
    /* What a node keeps whose input 0 is SC_MOVING: how many arrays, at most SC_MAX_KEPT. NULL: nothing. */
    size_t (*keeps)(const sc_node *, sc_kept kept[SC_MAX_KEPT]);
} sc_op;

struct sc_node {
    const sc_op *op;
    const char *layer;
    size_t *inputs;      /* values; SC_NONE where absent */
    size_t n_inputs;
    size_t outputs[3];   /* values; SC_NONE where not wanted */
    size_t *lengths;     /* lengths values of the inputs (n_lengths = 0, 1, or n_inputs of several); SC_NONE where absent */
    size_t n_lengths;
    size_t lengths_out;  /* lengths value, or SC_NONE */
    bool refuses_lengths, divides; /* the op's, or narrower */
    size_t id_rows;      /* input 0 is ids, numbers of so many rows of a table; 0: it is none */
    bool checks_ids;     /* ... which are no input's, as those are checked before: sc_id_row */
    size_t stage;        /* nodes of one stage do not need each other */
    size_t state;        /* bytes from a row's state to this node's part of it; SC_NONE where it keeps nothing (step.c) */
    /* For the choice of threads: */
    double work;         /* multiply-adds of one row, */
    bool per_frame;      /* ... for each frame of it */
    size_t swept;        /* bytes of weights that every time step reads anew, */
    size_t panels;       /* ... in so many parts that go to one worker each, */
    size_t meetings;     /* ... which then meet so often */
    void *params;        /* the op's own */
    const sc_json *weights;
};

typedef struct sc_block {
    struct sc_block *next;
} sc_block;

typedef struct sc_workspace sc_workspace;
typedef struct sc_step_plan sc_step_plan;

#define SC_IDLE_WORKSPACES 64
/* A pool: workspaces that no call uses, in places that are taken and given by one exchange (workspace.c). */
typedef struct sc_workspaces {
    _Atomic(sc_workspace *) idle[SC_IDLE_WORKSPACES];
} sc_workspaces;

/* Axes of inputs that are equally long, and how long they may be (sizes.c). */
typedef struct sc_size_axis {
    size_t value, axis; /* a data input; its axis, the batch included */
} sc_size_axis;

typedef struct sc_size_rule {
    sc_size_axis *axes;
    size_t n_axes;
    size_t least, most, multiple;
    size_t longest; /* an input of whole numbers (B,), the greatest of which is that size; or SC_NONE */
} sc_size_rule;

struct sc_plan {
    sc_allocator allocator;
    atomic_size_t users; /* the caller, and every stream and pool */
    const sc_kernels *kernels;
    sc_json_document *document; /* owns every name */
    sc_block *blocks;           /* all other memory */
    size_t bytes;               /* of weights */
    int threads;                /* 0: the default of the process */
    int team;                   /* 0: chosen for each call */
    bool runnable;
    double work;                /* multiply-adds of one row and frame */

    size_t *names;   /* hash table: number of a value + 1, or 0 */
    size_t name_mask;
    sc_value *values;
    sc_shape *shapes; /* symbolic, one per value */
    size_t n_values;
    sc_node *nodes;
    size_t n_nodes;
    size_t *inputs; /* values */
    size_t n_inputs;
    sc_size_rule *rules;
    size_t n_rules;
    struct sc_output {
        size_t value;
        size_t lengths; /* value, or SC_NONE */
        const char *name;
    } *outputs;
    size_t n_outputs;
    size_t *outside; /* values that lie in the caller's memory, and lengths, with their views; first those that a step has */
    size_t n_outside, n_outside_step;
    bool has_contexts, carries; /* inputs that are a context, or become an output's value from step to step */
    bool copies; /* an output does not lie where a node wrote it */
    bool checks_ids; /* a node checks ids itself (sc_stray) */

    atomic_size_t last_threads; /* of the last run that ended */
    sc_workspaces workspaces;   /* of its runs */
    sc_step_plan *step;         /* step.c */
    struct sc_piece *packed;    /* all packed weights, in the order in which they were packed (packed.c) */
    size_t n_packed;
    char packed_name[32];       /* what a table packs, only it can read */
    uint64_t packed_order;      /* of which piece each node got of them */
    size_t bytes_in_place;
    sc_file *file;              /* mapped, where the packed weights lie in it */
    uint64_t fingerprint[2];    /* of the graph's text and all tensors that it names */
};

#define SC_NODE_TENSORS 12

/* What parse and pack work with. */
struct sc_builder {
    sc_plan *plan;
    const sc_tensor **tensors; /* by name */
    size_t n_tensors;
    const float *in_place; /* packed weights that need not be made; NULL: none */
    size_t floats_in_place, used_in_place;
    uint64_t order_in_place; /* what packed_order must become */
    const sc_node *reads; /* the node that is being packed, */
    const sc_tensor *read[SC_NODE_TENSORS]; /* ... and tensors that it read */
    size_t n_read;
    size_t *places, place_mask; /* hash table of the plan's packed pieces: number + 1, or 0 (packed.c) */
    sc_error *error;
};

/* What of a source is packed, and how: matrices of sc_kernels.pack, or with no gates rows of `ld` floats as they are. */
typedef struct sc_packing {
    const float *source;
    size_t ld, rows, units, gates;
    bool paired;
    const float *plus; /* added to every row, or NULL */
} sc_packing;

/* Zeroed memory that lives as long as the plan, 64-byte aligned; NULL when there is none. */
void *sc_plan_alloc(sc_plan *plan, size_t count, size_t size);

/* ---- Building: what an op asks of its node (attributes.c) ---- */

/* Some axes of a value. */
typedef struct sc_axes {
    size_t count, at[SC_MAX_RANK];
} sc_axes;

#define SC_SPREAD_WEIGHTS 3 /* of a node, at most */

/* The common shape of weights that repeat along the axes of a value: per axis 1 or the axis's size. */
typedef struct sc_spread {
    size_t size[SC_MAX_RANK], count;
} sc_spread;

sc_status sc_no_memory(sc_builder *);
/* node->params, zeroed; NULL when there is no memory. */
void *sc_new_params(sc_builder *, sc_node *, size_t size);
/* The number of `text` in a NULL-terminated list, or -1. */
int sc_index_of(const char *text, const char *const *names);

/* Attributes: each fails with the layer's name when it is absent or of another kind. */
sc_status sc_attr_size(sc_builder *, const sc_node *, const sc_json *attributes, const char *key, size_t min, size_t *value);
sc_status sc_attr_integer(sc_builder *, const sc_node *, const sc_json *attributes, const char *key, int64_t *value);
/* "axis": from 1, as the batch is none, and below `limit`. */
sc_status sc_attr_axis(sc_builder *, const sc_node *, const sc_json *attributes, size_t limit, size_t *axis);
sc_status sc_attr_bool(sc_builder *, const sc_node *, const sc_json *attributes, const char *key, bool *value);
/* A number from `min` to FLT_MAX. */
sc_status sc_attr_number(sc_builder *, const sc_node *, const sc_json *attributes, const char *key, double min, double *value);
/* Any number of float32, infinite ones and NaN as the strings "inf", "-inf" and "nan"; or null, which is not `given`. */
sc_status sc_attr_real(sc_builder *, const sc_node *, const sc_json *attributes, const char *key, bool *given, double *value);
/* "axes" of input 0, negative from the end, in ascending order; never the batch. */
sc_status sc_attr_axes(sc_builder *, const sc_node *, const sc_json *attributes, sc_axes *axes);
/* One of `names` (NULL-terminated): its number. */
sc_status sc_attr_choice(sc_builder *, const sc_node *, const sc_json *attributes, const char *key,
                         const char *const *names, int *value);
sc_status sc_attr_activation(sc_builder *, const sc_node *, const sc_json *attributes, const char *key,
                             sc_activation_spec *value);
/* The same of what was found under that key; NULL for nothing. */
sc_status sc_attr_activation_of(sc_builder *, const sc_node *, const sc_json *found, const char *key, sc_activation_spec *value);

/* "one_hot", where there is any: node->id_rows, which input 0 must be ids for. */
sc_status sc_attr_one_hot(sc_builder *, sc_node *, const sc_json *attributes);

/* Where the tensor of that name stands in builder->tensors, or SC_NONE. */
size_t sc_tensor_place(const sc_builder *, const char *name);
/* The tensor of a weight's role, of exactly this shape (SC_UNKNOWN: any size). In a plan of shapes only, *data is NULL when
 * the tensor is missing. */
sc_status sc_weight(sc_builder *, const sc_node *, const char *role, size_t rank, const size_t *shape, const float **data);
/* The weights of these roles (NULL-terminated), each with one axis for every one of `axes`, of size 1 or the input's, copied
 * into plan memory in their common shape. In a plan of shapes only they are NULL when one is missing. */
sc_status sc_spread_weights(sc_builder *, const sc_node *, const sc_axes *axes, const sc_shape *in, const char *const *roles,
                            const float **data, sc_spread *spread);
/* Whether an input has the axes that such weights have; before they are known, nothing is wrong. */
sc_status sc_spread_fits(const sc_node *, const sc_spread *spread, const sc_shape *in, sc_error *);
/* packed.c: room for so many floats of packed weights, of which *fresh tells whether they must be made; NULL without memory. What
 * another node has packed of the same tensor in the same way is not made again. `packing` NULL: made for this node alone. */
float *sc_packed_room(sc_builder *, const sc_packing *packing, size_t floats, bool *fresh);

/* Packs columns [column, column + gates*units) of a rows x ld matrix into plan memory. */
sc_status sc_pack_matrix(sc_builder *, const float *source, size_t ld, size_t rows, size_t units, size_t gates,
                         sc_matrix *matrix);
/* The same for a matrix of recurrent sums, which may be paired. */
sc_status sc_pack_recurrent(sc_builder *, const float *source, size_t ld, size_t rows, size_t units, size_t gates,
                            sc_matrix *matrix);
/* bias + each row of such a matrix, in packed order: row k is what bias + x.W is of the k-th one-hot vector x, bit for bit
 * where W is finite; each packed_floats(1, units, gates) behind the one before. They are normalised as `norm` says (but for its
 * rows) if it is not NULL, and then made for this node alone. */
sc_status sc_pack_table(sc_builder *, const float *source, const float *bias, size_t ld, size_t rows, size_t units,
                        size_t gates, const sc_gate_norm *norm, const float **table);
/* A row of gates*units values in packed order, as one row of such a matrix. */
sc_status sc_pack_row(sc_builder *, const float *source, size_t units, size_t gates, const float **row);

/* ---- Running: what an op sees ---------------------------------------------------------------------- */

/* An id that is no row of its table, found while a call runs: the first that a worker reports. */
typedef struct sc_stray {
    atomic_size_t node; /* number of the node that read it; SC_NONE: all ids are rows */
    size_t row;
    int64_t id;
} sc_stray;

/* One block of rows, executed by one worker. */
struct sc_frame {
    const sc_plan *plan;
    const sc_kernels *kernels;
    size_t row;           /* number of the block's first row */
    size_t rows;          /* rows of the graph's batch in this block */
    size_t capacity;      /* rows of the largest block: what scratch was asked for */
    size_t batch;         /* rows of the whole call: the stride of values whose batch axis is 1 */
    const sc_shape *shapes; /* of every value, for one row */
    void **data;          /* of every value: the block's first row (batch axis 1: the first layer's) */
    char *memory;         /* of the team: where the values lie that are not the caller's */
    size_t turn;          /* odd in every other call: weights are swept against the call before, whose end is in the caches */
    char *scratch;        /* at least what the op asked for */
    char *team_scratch;   /* that of the team's first member */
    char **states;        /* of a step: the state of each of the block's rows; else NULL */
    const size_t *sources; /* of a step: the row of the contexts that each of the block's rows has; NULL: its own */
    sc_stray *stray;      /* of the call */
    sc_team team;         /* who runs this node together; each member has a frame of its own */
};

static inline const float *sc_in(const sc_node *node, const sc_frame *frame, size_t i)
{
    return i < node->n_inputs && node->inputs[i] != SC_NONE ? (const float *)frame->data[node->inputs[i]] : NULL;
}

static inline float *sc_out(const sc_node *node, const sc_frame *frame, size_t i)
{
    return node->outputs[i] != SC_NONE ? (float *)frame->data[node->outputs[i]] : NULL;
}

static inline const sc_shape *sc_in_shape(const sc_node *node, const sc_frame *frame, size_t i)
{
    return &frame->shapes[node->inputs[i]];
}

static inline size_t sc_element_bytes(const sc_value *value)
{
    return value->dtype == SC_I64 ? sizeof(int64_t) : sizeof(float);
}

/* Bytes of an element of input 0. */
static inline size_t sc_in_bytes(const sc_node *node, const sc_frame *frame)
{
    return sc_element_bytes(&frame->plan->values[node->inputs[0]]);
}

/* Which axis time is, of a value that has any: the first but the batch. */
static inline size_t sc_time_axis(const sc_value *value)
{
    return value->batch_axis == 0 ? 1 : 0;
}

/* The lengths of the block's rows in input i, or NULL when all rows are whole. */
static inline const int64_t *sc_lengths_of(const sc_node *node, const sc_frame *frame, size_t i)
{
    return i < node->n_lengths && node->lengths[i] != SC_NONE ? (const int64_t *)frame->data[node->lengths[i]] : NULL;
}

/* Those of input 0, which are those of all where the op does not set lengths_apart. */
static inline const int64_t *sc_lengths(const sc_node *node, const sc_frame *frame)
{
    return sc_lengths_of(node, frame, 0);
}

/* What the node keeps of row m of the block between two steps; NULL where there is no such thing. */
static inline float *sc_row_state(const sc_node *node, const sc_frame *frame, size_t m)
{
    return frame->states != NULL && node->state != SC_NONE ? (float *)(void *)(frame->states[m] + node->state) : NULL;
}

/* Which row of input i belongs to row m of the block: another one where rows share a context. */
static inline size_t sc_context_row(const sc_node *node, const sc_frame *frame, size_t i, size_t m)
{
    const bool mapped = frame->sources != NULL && i < node->n_inputs && node->inputs[i] != SC_NONE &&
                        frame->plan->values[node->inputs[i]].mapped;
    return mapped ? frame->sources[m] : m;
}

/* Where a row's kept frames, `count` of `size` floats, have the position of the oldest. */
static inline size_t *sc_ring_start(float *frames, size_t count, size_t size)
{
    return (size_t *)(void *)(frames + (count * size + 15) / 16 * 16);
}

/* The product of dims [from, rank), SC_UNKNOWN when one is unknown. Never overflows: shapes are checked when inferred. */
size_t sc_shape_size(const sc_shape *shape, size_t from);

/* A shape that an op cannot take. */
sc_status sc_rank_error(const sc_node *node, const char *expected, const sc_shape *found, sc_error *error);

/* Positions over the axes before `axis`, of a block: how many runs of the axes from there on a value has. */
static inline size_t sc_runs_before(const sc_frame *frame, const sc_shape *shape, size_t axis)
{
    size_t runs = frame->rows;
    for (size_t d = 0; d < axis; d++) {
        runs *= shape->dim[d];
    }
    return runs;
}

/* Where the i-th position over the axes [0, axes) of `whole` lies in a value of these strides; axis 0 counts on from row to row. */
static inline size_t sc_offset(const sc_shape *whole, size_t axes, const size_t *stride, size_t i)
{
    size_t at = 0;
    for (size_t d = axes; d-- > 1;) {
        at += i % whole->dim[d] * stride[d];
        i /= whole->dim[d];
    }
    return axes > 0 ? at + i * stride[0] : at;
}

/* Reserves room for `count` elements in a scratch layout of `*bytes` so far: its offset, a multiple of 64. An op's scratch()
 * and run() go through the same layout function, so that they cannot disagree. */
static inline size_t sc_reserve(size_t *bytes, size_t count, size_t size)
{
    const size_t at = *bytes;
    *bytes += (count * size + 63) / 64 * 64;
    return at;
}

/* graph.c: fills in the plan from the graph and the builder's tensors. */
sc_status sc_graph_read(sc_builder *builder, const sc_json *graph);
/* The number of the value of that name, or SC_NONE. */
size_t sc_plan_find(const sc_plan *plan, const char *name);

/* sc_op.moves of several ops (step.c): elementwise in all axes but the last, of one input; of several, which may repeat. */
const char *sc_moves_along(const sc_plan *, const sc_node *, const sc_motion *inputs, sc_motion outputs[3]);
const char *sc_moves_together(const sc_plan *, const sc_node *, const sc_motion *inputs, sc_motion outputs[3]);
/* Whether input `mask`, where it is there, comes with the frames of input `of`, of which it tells which count. */
bool sc_mask_moves_with(const sc_node *, const sc_motion *inputs, size_t mask, size_t of);

/* masks.c: whether input `mask`, where it is there, is (batch, time) of input 0. */
sc_status sc_mask_fits(const sc_node *, size_t mask, const sc_shape *inputs, sc_error *);

/* roles.c: what an input is in steps; of all, once the graph's outputs are known: what is carried on, and what rows may share. */
sc_status sc_role_read(sc_builder *, const sc_json *entry, sc_value *value);
sc_status sc_roles_find(sc_builder *);

/* sizes.c: reads one rule of the graph's list; checks the shapes of a call's inputs, which fit the graph otherwise. */
sc_status sc_size_rule_read(sc_builder *, const sc_json *entry);
sc_status sc_size_rules_check(const sc_plan *, const sc_array *inputs, sc_error *);

/* The ops, by name; NULL when there is none. */
const sc_op *sc_op_find(const char *name);
extern const sc_op sc_op_lstm, sc_op_gru, sc_op_simple_rnn; /* recurrent.c */
extern const sc_op sc_op_positions; /* places.c */
extern const sc_op sc_op_mask_ids, sc_op_mask_frames, sc_op_masking, sc_op_mask_merge, sc_op_mask_concat; /* masks.c */
extern const sc_op sc_op_affine, sc_op_prelu, sc_op_clipped_relu; /* elementwise.c */
extern const sc_op sc_op_normalize, sc_op_softmax; /* norms.c */
extern const sc_op sc_op_embedding, sc_op_one_hot, sc_op_dense, sc_op_constant; /* layers.c */
extern const sc_op sc_op_conv1d, sc_op_depthwise_conv1d, sc_op_conv1d_transpose; /* convolution.c */
extern const sc_op sc_op_max_pool1d, sc_op_avg_pool1d, sc_op_adaptive_pool1d, sc_op_global_avg_pool1d,
    sc_op_global_max_pool1d; /* pooling.c */
extern const sc_op sc_op_pad1d; /* window.c */
extern const sc_op sc_op_flatten, sc_op_fold, sc_op_unfold, sc_op_reshape, sc_op_expand, sc_op_concat, sc_op_select,
    sc_op_stack, sc_op_batch_first, sc_op_batch_second; /* shapes.c */
extern const sc_op sc_op_permute, sc_op_repeat, sc_op_slice, sc_op_index; /* slices.c */
extern const sc_op sc_op_add, sc_op_multiply, sc_op_average, sc_op_subtract, sc_op_divide, sc_op_remainder,
    sc_op_maximum, sc_op_minimum, sc_op_masked_merge; /* merges.c */
extern const sc_op sc_op_reduce, sc_op_cumsum; /* reduce.c */
extern const sc_op sc_op_compare, sc_op_logical, sc_op_where; /* logic.c */
extern const sc_op sc_op_argmax, sc_op_topk, sc_op_cast; /* indices.c */
extern const sc_op sc_op_attention, sc_op_batch_matmul, sc_op_dot; /* attention.c, products.c */
extern const sc_op sc_op_crf; /* crf.c */

/* schedule.c: the most threads that a call may use; whether it has work for more than one; its schedule with at most `limit`. */
int sc_plan_limit(const sc_plan *plan);
bool sc_plan_divides(const sc_plan *plan, size_t batch, size_t time);
size_t sc_plan_rows_alone(const sc_plan *plan, size_t time); /* rows that one thread takes, whatever else happens */
sc_schedule sc_plan_schedule_of(const sc_plan *plan, size_t batch, size_t time, size_t limit);

/* What a value is in every row, `count` floats, if it is a constant, or a view of one; else NULL. */
const float *sc_constant_of(const sc_plan *plan, size_t value, size_t count);
bool sc_is_constant(const sc_plan *plan, size_t value);

/* The first id of `count` that is no row of a table of `rows`; `count` when there is none. */
static inline size_t sc_bad_id(const int64_t *ids, size_t count, size_t rows)
{
    size_t i = 0;
    while (i < count && (uint64_t)ids[i] < rows) { /* negative ones too */
        i++;
    }
    return i;
}

/* workers.c: notes an id that is no row; the call will fail. */
void sc_report_id(const sc_node *node, sc_frame *frame, size_t row, int64_t id);

/* The row of the node's table that an id of the block's row m names. Where it is none the call fails, or nobody will look at what
 * becomes of it, as behind the end of a row; either way it must not be read. */
static inline size_t sc_id_row(const sc_node *node, sc_frame *frame, size_t m, int64_t id)
{
    if ((uint64_t)id < node->id_rows) {
        return (size_t)id;
    }
    if (node->checks_ids) {
        sc_report_id(node, frame, frame->row + m, id);
    }
    return 0;
}

/* workspace.c: frees what a pool holds. */
void sc_workspaces_free(const sc_plan *plan, sc_workspaces *pool);

#endif
