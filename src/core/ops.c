/* Activations and functions of single elements; and the table of all ops.
 * Every function works on `rows` rows that do not know of each other. */
#include "plan.h"

#include <math.h>
#include <string.h>

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

enum unary_function {
    ABS, NEGATIVE, SQUARE, SQRT, RSQRT, RECIPROCAL, LOG, EXP, SIN, COS, FLOOR, CEIL, ROUND, TRUNC, SIGN, ERF, LOG1P, EXPM1
};

static sc_status unary_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"abs", "negative", "square", "sqrt", "rsqrt", "reciprocal", "log", "exp", "sin",
                                        "cos", "floor", "ceil", "round", "trunc", "sign", "erf", "log1p", "expm1", NULL};
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

/* y = f(x), element by element: roots and quotients are rounded correctly, exp is the kernels', and what else has no exact
 * result is the C library's. Halves are rounded to even; NaN has the sign 0, as in torch. */
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
    case EXP:
        memcpy(y, x, size * sizeof(float));
        frame->kernels->activate((sc_activation_spec){.kind = SC_EXPONENTIAL}, y, size);
        break;
    case SIN: SC_MAP(sinf(x[i]));
    case COS: SC_MAP(cosf(x[i]));
    case FLOOR: SC_MAP(floorf(x[i]));
    case CEIL: SC_MAP(ceilf(x[i]));
    case ROUND: SC_MAP(rintf(x[i]));
    case TRUNC: SC_MAP(truncf(x[i]));
    case SIGN: SC_MAP((float)((x[i] > 0.0f) - (x[i] < 0.0f)));
    case ERF: SC_MAP(erff(x[i]));
    case LOG1P: SC_MAP(log1pf(x[i]));
    case EXPM1: SC_MAP(expm1f(x[i]));
    }
}

/* ---- Power -------------------------------------------------------------------------------------------------------- */

static sc_status power_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    float *exponent = sc_new_params(builder, node, sizeof *exponent);
    if (exponent == NULL) {
        return sc_no_memory(builder);
    }
    bool given = false;
    double value = 0;
    const sc_status status = sc_attr_real(builder, node, attributes, "exponent", &given, &value);
    *exponent = (float)value;
    return status != SC_OK || given ? status
                                    : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (power): its exponent must be a number",
                                              node->layer);
}

/* y = x^e in double precision, rounded once. As in torch, squares are products and e = 1/2 is the root. */
static void power_run(const sc_node *node, sc_frame *frame)
{
    const float exponent = *(const float *)node->params;
    const size_t size = frame->rows * sc_shape_size(sc_in_shape(node, frame, 0), 0);
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    switch (exponent == 2.0f ? SQUARE : exponent == 0.5f ? SQRT : EXP) {
    case SQUARE: SC_MAP(x[i] * x[i]);
    case SQRT: SC_MAP(sqrtf(x[i]));
    default: SC_MAP((float)pow((double)x[i], (double)exponent));
    }
}

#undef SC_MAP

/* ---- The table ---------------------------------------------------------------------------------------------------- */

static const sc_op activation = {.name = "activation", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                 .parse = activation_parse, .infer = same_infer, .run = activation_run,
                                 .moves = sc_moves_along};
static const sc_op unary = {.name = "unary", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = unary_parse,
                            .infer = unary_infer, .run = unary_run, .moves = sc_moves_along};
static const sc_op power = {.name = "power", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = power_parse,
                            .infer = unary_infer, .run = power_run, .moves = sc_moves_along};

const sc_op *sc_op_find(const char *name)
{
    static const sc_op *const ops[] = {
        &sc_op_embedding, &sc_op_one_hot, &sc_op_dense, &sc_op_simple_rnn, &sc_op_gru, &sc_op_lstm, &activation, &unary, &power,
        &sc_op_conv1d, &sc_op_depthwise_conv1d, &sc_op_conv1d_transpose,
        &sc_op_max_pool1d, &sc_op_avg_pool1d, &sc_op_global_avg_pool1d, &sc_op_global_max_pool1d, &sc_op_pad1d,
        &sc_op_positions,
        &sc_op_adaptive_pool1d,
        &sc_op_mask_ids, &sc_op_mask_frames, &sc_op_masking, &sc_op_mask_merge, &sc_op_mask_concat,
        &sc_op_flatten, &sc_op_fold, &sc_op_unfold, &sc_op_reshape, &sc_op_expand, &sc_op_concat, &sc_op_select, &sc_op_stack,
        &sc_op_batch_first, &sc_op_batch_second, &sc_op_argmax, &sc_op_topk, &sc_op_cast,
        &sc_op_permute, &sc_op_repeat, &sc_op_slice, &sc_op_index,
        &sc_op_add, &sc_op_multiply, &sc_op_average, &sc_op_subtract, &sc_op_divide, &sc_op_remainder,
        &sc_op_maximum, &sc_op_minimum, &sc_op_masked_merge, &sc_op_reduce, &sc_op_compare, &sc_op_logical, &sc_op_where, &sc_op_constant, &sc_op_cumsum,
        &sc_op_affine, &sc_op_prelu, &sc_op_clipped_relu, &sc_op_normalize, &sc_op_softmax,
        &sc_op_attention, &sc_op_batch_matmul, &sc_op_dot, &sc_op_crf,
    };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i]->name, name) == 0) {
            return ops[i];
        }
    }
    return NULL;
}
