/* The layers without weights: pooling over all time, merging, moving and activating; and the table of all ops.
 * Every function works on `rows` rows that do not know of each other. */
#include "plan.h"

#include <string.h>

static size_t sum_known(size_t a, size_t b)
{
    return a == SC_UNKNOWN || b == SC_UNKNOWN ? SC_UNKNOWN : a + b;
}

static sc_status rank_error(const sc_node *node, const char *expected, const sc_shape *found, sc_error *error)
{
    return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must be %s, found %zu axes", node->layer, node->op->name,
                   expected, found->rank);
}

/* ---- Global pooling ------------------------------------------------------------------------------------ */

static sc_status global_pool_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank != 3) {
        return rank_error(node, "(batch, time, channels)", &in[0], error);
    }
    out[0] = (sc_shape){.rank = 2, .dim = {in[0].dim[0], in[0].dim[2]}};
    return SC_OK;
}

/* mean over the row's frames, t ascending; zeros for no frame */
static void global_avg_pool1d_run(const sc_node *node, sc_frame *frame)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t rows = frame->rows * shape->dim[0], T = shape->dim[1], C = shape->dim[2];
    const int64_t *lengths = sc_lengths(node, frame);
    for (size_t m = 0; m < rows; m++) {
        const float *x = sc_in(node, frame, 0) + m * T * C;
        float *y = sc_out(node, frame, 0) + m * C;
        const size_t n = lengths != NULL ? (size_t)lengths[m] : T;
        memset(y, 0, C * sizeof(float));
        for (size_t t = 0; t < n; t++) {
            for (size_t c = 0; c < C; c++) {
                y[c] += x[t * C + c];
            }
        }
        for (size_t c = 0; c < C && n > 0; c++) {
            y[c] /= (float)n;
        }
    }
}

/* maximum over the row's frames (a NaN stays); zeros for no frame */
static void global_max_pool1d_run(const sc_node *node, sc_frame *frame)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t rows = frame->rows * shape->dim[0], T = shape->dim[1], C = shape->dim[2];
    const int64_t *lengths = sc_lengths(node, frame);
    for (size_t m = 0; m < rows; m++) {
        const float *x = sc_in(node, frame, 0) + m * T * C;
        float *y = sc_out(node, frame, 0) + m * C;
        const size_t n = lengths != NULL ? (size_t)lengths[m] : T;
        if (n == 0) {
            memset(y, 0, C * sizeof(float));
            continue;
        }
        memcpy(y, x, C * sizeof(float));
        for (size_t t = 1; t < n; t++) {
            for (size_t c = 0; c < C; c++) {
                const float value = x[t * C + c];
                y[c] = value > y[c] || value != value ? value : y[c];
            }
        }
    }
}

static const char *global_pool_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "it pools over the whole sequence" : NULL;
}

/* ---- Views ------------------------------------------------------------------------------------------------ */

static sc_status flatten_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)node;
    (void)error;
    out[0] = (sc_shape){.rank = 2, .dim = {in[0].dim[0], sc_shape_size(&in[0], 1)}};
    return SC_OK;
}

static const char *flatten_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "it joins all frames of the sequence" : NULL;
}

/* (B, T, ...) -> (B*T, ...) */
static sc_status fold_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank < 2) {
        return rank_error(node, "(batch, time, ...)", &in[0], error);
    }
    out[0].rank = in[0].rank - 1;
    const sc_shape both = {.rank = 2, .dim = {in[0].dim[0], in[0].dim[1]}};
    out[0].dim[0] = sc_shape_size(&both, 0);
    for (size_t i = 1; i < out[0].rank; i++) {
        out[0].dim[i] = in[0].dim[i + 1];
    }
    return SC_OK;
}

/* (B*T, ...), like (B, T, ...) -> (B, T, ...) */
static sc_status unfold_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const sc_shape both = {.rank = 2, .dim = {in[1].dim[0], in[1].dim[1]}};
    if (in[1].rank < 2 || in[0].rank < 1 || in[0].rank + 1 > SC_MAX_RANK || sc_shape_size(&both, 0) != in[0].dim[0]) {
        return rank_error(node, "a folded value and the value that was folded", &in[0], error);
    }
    out[0].rank = in[0].rank + 1;
    out[0].dim[0] = in[1].dim[0];
    out[0].dim[1] = in[1].dim[1];
    for (size_t i = 1; i < in[0].rank; i++) {
        out[0].dim[i + 1] = in[0].dim[i];
    }
    return SC_OK;
}

static const char *fold_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0] == SC_MOVING ? SC_FOLDED : in[0];
    return NULL;
}

static const char *unfold_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0] == SC_FOLDED ? in[1] : in[0];
    const bool moves = in[1] == SC_MOVING || in[1] == SC_FOLDED;
    return in[0] != SC_MOVING && (in[0] == SC_FOLDED) == moves ? NULL : "it unfolds what was not folded";
}

/* ---- Concatenate -------------------------------------------------------------------------------------------- */

typedef struct concat_params {
    size_t axis;
} concat_params;

static sc_status concat_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    concat_params *params = sc_new_params(builder, node, sizeof *params);
    if (params == NULL) {
        return sc_no_memory(builder);
    }
    const sc_json *axis = sc_json_get(attributes, "axis");
    const size_t rank = builder->plan->shapes[node->inputs[0]].rank;
    const double number = axis != NULL && axis->type == SC_JSON_NUMBER ? axis->number : 0;
    const double from_start = number < 0 ? number + (double)rank : number;
    if (!(from_start >= 1 && from_start < (double)rank) || from_start != (double)(size_t)from_start) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (concat): axis must name an axis of %zu but not the batch",
                       node->layer, rank);
    }
    params->axis = (size_t)from_start;
    /* Rows of different lengths cannot be joined end to end by axis alone. */
    if (params->axis == 1 && rank > 2) {
        for (size_t i = 0; i < node->n_lengths; i++) {
            if (node->lengths[i] != SC_NONE) {
                node->refuses_lengths = true;
            }
        }
    }
    return SC_OK;
}

static sc_status concat_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const size_t axis = ((const concat_params *)node->params)->axis;
    out[0] = in[0];
    for (size_t i = 1; i < node->n_inputs; i++) {
        bool fits = in[i].rank == in[0].rank;
        for (size_t d = 0; fits && d < in[0].rank; d++) {
            if (d == axis) {
                out[0].dim[d] = sum_known(out[0].dim[d], in[i].dim[d]);
            } else if (in[i].dim[d] != out[0].dim[d]) {
                fits = in[i].dim[d] == SC_UNKNOWN || out[0].dim[d] == SC_UNKNOWN;
                out[0].dim[d] = out[0].dim[d] == SC_UNKNOWN ? in[i].dim[d] : out[0].dim[d];
            }
        }
        if (!fits) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (concat): inputs 1 and %zu differ in an axis other than %zu",
                           node->layer, i + 1, axis);
        }
    }
    return SC_OK;
}

static const char *concat_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    const char *why = sc_moves_together(plan, node, in, out);
    for (size_t i = 0; why == NULL && out[0] == SC_MOVING && i < node->n_inputs; i++) {
        why = in[i] != SC_MOVING ? "it joins a sequence with what is none" : NULL;
    }
    const bool along_time = ((const concat_params *)node->params)->axis == 1;
    return why == NULL && out[0] == SC_MOVING && along_time ? "it joins sequences end to end" : why;
}

static void concat_run(const sc_node *node, sc_frame *frame)
{
    const size_t axis = ((const concat_params *)node->params)->axis;
    const sc_shape *whole = &frame->shapes[node->outputs[0]];
    const size_t inner = sc_shape_size(whole, axis); /* floats of one outer position of the output */
    size_t outer = frame->rows;
    for (size_t d = 0; d < axis; d++) {
        outer *= whole->dim[d];
    }
    float *to = sc_out(node, frame, 0);
    for (size_t i = 0; i < node->n_inputs; i++) {
        const size_t part = sc_shape_size(sc_in_shape(node, frame, i), axis);
        const float *from = sc_in(node, frame, i);
        for (size_t n = 0; n < outer; n++) {
            memcpy(to + n * inner, from + n * part, part * sizeof(float));
        }
        to += part;
    }
}

/* ---- Add, multiply, average ----------------------------------------------------------------------------------- */

/* Equal shapes, or 1 against any size in a non-batch axis (the ranks are equal). */
static sc_status merge_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    out[0] = in[0];
    if (in[0].rank < 2) {
        return rank_error(node, "(batch, ..., features)", &in[0], error);
    }
    for (size_t i = 1; i < node->n_inputs; i++) {
        bool fits = in[i].rank == in[0].rank;
        for (size_t d = 0; fits && d < in[0].rank; d++) {
            const size_t a = out[0].dim[d], b = in[i].dim[d];
            fits = a == b || a == SC_UNKNOWN || b == SC_UNKNOWN || (d > 0 && (a == 1 || b == 1));
            out[0].dim[d] = a == 1 && d > 0 ? b : a == SC_UNKNOWN && b != 1 ? b : a;
        }
        if (!fits) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the shapes of inputs 1 and %zu do not fit each other",
                           node->layer, node->op->name, i + 1);
        }
    }
    return SC_OK;
}

/* y[i] = y[i] + x[i*step], or the product: step is 1, or 0 for a value that repeats */
static void merge_run_of(float *y, const float *x, size_t n, size_t step, bool product)
{
    if (product) {
        for (size_t i = 0; i < n; i++) {
            y[i] *= x[i * step];
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            y[i] += x[i * step];
        }
    }
}

/* Copies x over y (first), or merges it into y, repeating x in the axes where its size is 1. */
static void merge_into(float *y, const sc_shape *whole, size_t rows, const float *x, const sc_shape *shape, bool first,
                       bool product)
{
    const size_t rank = whole->rank; /* at least 2: merge_infer */
    size_t stride[SC_MAX_RANK], step = 1, outer = rows;
    for (size_t d = rank; d-- > 0;) {
        stride[d] = shape->dim[d] == 1 && d > 0 ? 0 : step;
        step *= shape->dim[d];
        outer *= d < rank - 1 ? whole->dim[d] : 1;
    }
    const size_t n = whole->dim[rank - 1], last = stride[rank - 1];
    for (size_t i = 0; i < outer; i++) {
        size_t at = 0, left = i;
        for (size_t d = rank - 1; d-- > 1;) {
            at += left % whole->dim[d] * stride[d];
            left /= whole->dim[d];
        }
        at += left * stride[0];
        if (first) {
            for (size_t k = 0; k < n; k++) {
                y[i * n + k] = x[at + k * last];
            }
        } else {
            merge_run_of(y + i * n, x + at, n, last, product);
        }
    }
}

static void merge(const sc_node *node, sc_frame *frame, bool product)
{
    const sc_shape *whole = &frame->shapes[node->outputs[0]];
    for (size_t i = 0; i < node->n_inputs; i++) {
        merge_into(sc_out(node, frame, 0), whole, frame->rows, sc_in(node, frame, i), sc_in_shape(node, frame, i), i == 0,
                   product);
    }
}

static void add_run(const sc_node *node, sc_frame *frame)
{
    merge(node, frame, false);
}

static void multiply_run(const sc_node *node, sc_frame *frame)
{
    merge(node, frame, true);
}

static void average_run(const sc_node *node, sc_frame *frame)
{
    merge(node, frame, false);
    const size_t size = frame->rows * sc_shape_size(&frame->shapes[node->outputs[0]], 0);
    float *y = sc_out(node, frame, 0);
    for (size_t i = 0; i < size; i++) {
        y[i] /= (float)node->n_inputs;
    }
}

/* ---- Activation ------------------------------------------------------------------------------------------------ */

static sc_status activation_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    sc_activation_spec *params = sc_new_params(builder, node, sizeof *params);
    if (params == NULL) {
        return sc_no_memory(builder);
    }
    return sc_attr_activation(builder, node, attributes, "activation", params);
}

static sc_status same_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank < 2) {
        return rank_error(node, "(batch, ..., features)", &in[0], error);
    }
    out[0] = in[0];
    return SC_OK;
}

static void activation_run(const sc_node *node, sc_frame *frame)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t n = shape->dim[shape->rank - 1], size = frame->rows * sc_shape_size(shape, 0);
    const sc_activation_spec *activation = node->params;
    float *y = sc_out(node, frame, 0);
    memcpy(y, sc_in(node, frame, 0), size * sizeof(float));
    for (size_t at = 0; at < size; at += n) {
        frame->kernels->activate(*activation, y + at, n);
    }
}

/* ---- Stacked states ---------------------------------------------------------------------------------------------- */

typedef struct select_params {
    size_t index;
} select_params;

static sc_status select_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    select_params *params = sc_new_params(builder, node, sizeof *params);
    if (params == NULL) {
        return sc_no_memory(builder);
    }
    return sc_attr_size(builder, node, attributes, "index", 0, &params->index);
}

/* (n, B, H) -> (B, H) */
static sc_status select_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank != 3 || ((const select_params *)node->params)->index >= in[0].dim[0]) {
        return rank_error(node, "(layers, batch, units) with the layer that is selected", &in[0], error);
    }
    out[0] = (sc_shape){.rank = 2, .dim = {1, in[0].dim[2]}};
    return SC_OK;
}

static void select_run(const sc_node *node, sc_frame *frame)
{
    const size_t H = sc_in_shape(node, frame, 0)->dim[2];
    const float *x = sc_in(node, frame, 0);
    if (x == NULL) { /* an absent state is zero */
        memset(sc_out(node, frame, 0), 0, frame->rows * H * sizeof(float));
        return;
    }
    const size_t first = ((const select_params *)node->params)->index * frame->batch + frame->row;
    memcpy(sc_out(node, frame, 0), x + first * H, frame->rows * H * sizeof(float));
}

/* n values (B, H) -> (n, B, H) */
static sc_status stack_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    for (size_t i = 0; i < node->n_inputs; i++) {
        if (in[i].rank != 2 || in[i].dim[0] != 1 || in[i].dim[1] != in[0].dim[1]) {
            return rank_error(node, "(batch, units), of the same units as the others", &in[i], error);
        }
    }
    out[0] = (sc_shape){.rank = 3, .dim = {node->n_inputs, 1, in[0].dim[1]}};
    return SC_OK;
}

static void stack_run(const sc_node *node, sc_frame *frame)
{
    const size_t H = sc_in_shape(node, frame, 0)->dim[1];
    for (size_t i = 0; i < node->n_inputs; i++) {
        float *to = sc_out(node, frame, 0) + (i * frame->batch + frame->row) * H;
        memcpy(to, sc_in(node, frame, i), frame->rows * H * sizeof(float));
    }
}

/* ---- The table ---------------------------------------------------------------------------------------------------- */

static const sc_op global_avg_pool1d = {.name = "global_avg_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                        .infer = global_pool_infer, .run = global_avg_pool1d_run,
                                        .moves = global_pool_moves};
static const sc_op global_max_pool1d = {.name = "global_max_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                        .infer = global_pool_infer, .run = global_max_pool1d_run,
                                        .moves = global_pool_moves};
static const sc_op flatten = {.name = "flatten", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .view = true,
                              .refuses_lengths = true, .infer = flatten_infer,
                              .moves = flatten_moves};
static const sc_op fold = {.name = "fold", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .view = true,
                           .infer = fold_infer,
                           .moves = fold_moves};
static const sc_op unfold = {.name = "unfold", .min_inputs = 2, .max_inputs = 2, .outputs = 1, .view = true,
                             .infer = unfold_infer,
                             .moves = unfold_moves};
static const sc_op concat = {.name = "concat", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1,
                             .parse = concat_parse, .infer = concat_infer, .run = concat_run,
                             .moves = concat_moves};
static const sc_op add = {.name = "add", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .infer = merge_infer,
                          .run = add_run,
                          .moves = sc_moves_together};
static const sc_op multiply = {.name = "multiply", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1,
                               .infer = merge_infer, .run = multiply_run,
                               .moves = sc_moves_together};
static const sc_op average = {.name = "average", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1,
                              .infer = merge_infer, .run = average_run,
                              .moves = sc_moves_together};
static const sc_op activation = {.name = "activation", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                 .parse = activation_parse, .infer = same_infer, .run = activation_run,
                                 .moves = sc_moves_along};
static const sc_op select_op = {.name = "select", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .states = true,
                                .parse = select_parse, .infer = select_infer, .run = select_run,
                                .moves = sc_moves_along};
static const sc_op stack = {.name = "stack", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .infer = stack_infer,
                            .run = stack_run,
                            .moves = sc_moves_together};

const sc_op *sc_op_find(const char *name)
{
    static const sc_op *const ops[] = {
        &sc_op_embedding, &sc_op_dense, &sc_op_simple_rnn, &sc_op_gru, &sc_op_lstm, &sc_op_conv1d, &sc_op_max_pool1d,
        &sc_op_mask_ids, &sc_op_mask_frames, &sc_op_masking, &sc_op_mask_merge,
        &global_avg_pool1d, &global_max_pool1d, &flatten, &fold, &unfold, &concat, &add, &multiply, &average, &activation,
        &select_op, &stack, &sc_op_attention, &sc_op_batch_matmul, &sc_op_dot,
    };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i]->name, name) == 0) {
            return ops[i];
        }
    }
    return NULL;
}
