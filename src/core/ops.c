/* Pooling over all time, activations and functions of single elements; and the table of all ops.
 * Every function works on `rows` rows that do not know of each other. */
#include "plan.h"

#include <math.h>
#include <string.h>

/* ---- Global pooling ------------------------------------------------------------------------------------ */

static sc_status global_pool_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank != 3) {
        return sc_rank_error(node, "(batch, time, channels)", &in[0], error);
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
        return sc_rank_error(node, "(batch, ..., features)", &in[0], error);
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

/* ---- Unary -------------------------------------------------------------------------------------------------------- */

enum unary_function { ABS, NEGATIVE, SQUARE, SQRT, RSQRT, RECIPROCAL, LOG };

static sc_status unary_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"abs", "negative", "square", "sqrt", "rsqrt", "reciprocal", "log", NULL};
    int *function = sc_new_params(builder, node, sizeof *function);
    return function != NULL ? sc_attr_choice(builder, node, attributes, "function", names, function) : sc_no_memory(builder);
}

static sc_status unary_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)node;
    (void)error;
    out[0] = in[0];
    return SC_OK;
}

#define SC_MAP(expression) \
    for (size_t i = 0; i < size; i++) { \
        y[i] = (expression); \
    } \
    break

/* y = f(x), element by element: roots and quotients are rounded correctly, the logarithm is the C library's. */
static void unary_run(const sc_node *node, sc_frame *frame)
{
    const size_t size = frame->rows * sc_shape_size(sc_in_shape(node, frame, 0), 0);
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    switch ((enum unary_function)*(const int *)node->params) {
    case ABS: SC_MAP(fabsf(x[i]));
    case NEGATIVE: SC_MAP(-x[i]);
    case SQUARE: SC_MAP(x[i] * x[i]);
    case SQRT: SC_MAP(sqrtf(x[i]));
    case RSQRT: SC_MAP(1 / sqrtf(x[i]));
    case RECIPROCAL: SC_MAP(1 / x[i]);
    case LOG: SC_MAP(logf(x[i]));
    }
}

#undef SC_MAP

/* ---- The table ---------------------------------------------------------------------------------------------------- */

static const sc_op global_avg_pool1d = {.name = "global_avg_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                        .infer = global_pool_infer, .run = global_avg_pool1d_run,
                                        .moves = global_pool_moves};
static const sc_op global_max_pool1d = {.name = "global_max_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                        .infer = global_pool_infer, .run = global_max_pool1d_run,
                                        .moves = global_pool_moves};
static const sc_op activation = {.name = "activation", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                 .parse = activation_parse, .infer = same_infer, .run = activation_run,
                                 .moves = sc_moves_along};
static const sc_op unary = {.name = "unary", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = unary_parse,
                            .infer = unary_infer, .run = unary_run, .moves = sc_moves_along};

const sc_op *sc_op_find(const char *name)
{
    static const sc_op *const ops[] = {
        &sc_op_embedding, &sc_op_dense, &sc_op_simple_rnn, &sc_op_gru, &sc_op_lstm, &sc_op_conv1d, &sc_op_max_pool1d,
        &sc_op_mask_ids, &sc_op_mask_frames, &sc_op_masking, &sc_op_mask_merge, &sc_op_mask_concat,
        &global_avg_pool1d, &global_max_pool1d, &activation, &unary,
        &sc_op_flatten, &sc_op_fold, &sc_op_unfold, &sc_op_reshape, &sc_op_expand, &sc_op_concat, &sc_op_select, &sc_op_stack,
        &sc_op_permute, &sc_op_repeat, &sc_op_slice, &sc_op_index,
        &sc_op_add, &sc_op_multiply, &sc_op_average, &sc_op_subtract, &sc_op_divide, &sc_op_maximum, &sc_op_minimum,
        &sc_op_masked_merge, &sc_op_reduce,
    };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i]->name, name) == 0) {
            return ops[i];
        }
    }
    return NULL;
}
