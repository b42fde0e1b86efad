/* Ops that compute every element alone, from it and weights that repeat along axes: affine, prelu; and clipped_relu.
 * Elementwise functions with two constants or fewer are activations (activations.h). */
#include "plan.h"

#include <math.h>
#include <string.h>

static sc_status same_infer(const sc_node *node, const sc_spread *spread, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank < 2) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must be (batch, ..., features), found %zu axes",
                       node->layer, node->op->name, in[0].rank);
    }
    out[0] = in[0];
    return sc_spread_fits(node, spread, &in[0], error);
}

/* ---- Weights that repeat -------------------------------------------------------------------------------------- */

typedef struct spread_params {
    sc_axes axes;
    sc_spread spread;
    const float *w[SC_SPREAD_WEIGHTS];
} spread_params;

static sc_status spread_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    spread_params *p = sc_new_params(builder, node, sizeof *p);
    return p == NULL ? sc_no_memory(builder) : sc_attr_axes(builder, node, attributes, &p->axes);
}

static sc_status spread_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    return same_infer(node, &((const spread_params *)node->params)->spread, in, out, error);
}

static const char *spread_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    const bool varies = ((const spread_params *)node->params)->spread.size[1] > 1;
    return in[0] == SC_MOVING && varies ? "its weights differ from frame to frame" : NULL;
}

/* y[i] of n elements from x[i] and weights w[k][i*step]: step is 1, or 0 for weights that are the same for all. */
typedef void (*part_function)(float *y, const float *x, size_t n, const float *const *w, size_t step);

/* Calls each() for stretches of elements that have all weights or one of each. */
static void for_parts(const sc_node *node, sc_frame *frame, part_function each)
{
    const spread_params *p = node->params;
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t rows = frame->rows * shape->dim[0], last = shape->rank - 1;
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    size_t n = 1, d = last + 1; /* axes d .. last are a stretch: all of them vary, or none does */
    while (d > 1 && (p->spread.size[d - 1] > 1) == (p->spread.size[last] > 1)) {
        n *= shape->dim[--d];
    }
    size_t outer = 1, step[SC_MAX_RANK] = {0}, count = p->spread.size[last] > 1 ? n : 1;
    for (size_t k = d; k-- > 1; outer *= shape->dim[k], count *= p->spread.size[k]) {
        step[k] = p->spread.size[k] > 1 ? count : 0;
    }
    for (size_t m = 0; m < rows; m++) {
        for (size_t i = 0; i < outer; i++, x += n, y += n) {
            size_t at = 0, left = i;
            for (size_t k = d; k-- > 1; left /= shape->dim[k]) {
                at += left % shape->dim[k] * step[k];
            }
            const float *w[SC_SPREAD_WEIGHTS];
            for (size_t k = 0; k < SC_SPREAD_WEIGHTS; k++) {
                w[k] = p->w[k] != NULL ? p->w[k] + at : NULL;
            }
            each(y, x, n, w, p->spread.size[last] > 1);
        }
    }
}

/* ---- affine ----------------------------------------------------------------------------------------------------- */

static sc_status affine_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    static const char *const roles[] = {"c", "W", "b", NULL};
    spread_params *p = node->params;
    return sc_spread_weights(builder, node, &p->axes, &in[0], roles, p->w, &p->spread);
}

/* y = (x - c) W + b: the difference first, so that a mean that is large beside the deviations does not cancel */
static void affine_part(float *y, const float *x, size_t n, const float *const *w, size_t step)
{
    const float *c = w[0], *scale = w[1], *b = w[2];
    if (step == 0) {
        const float c0 = *c, scale0 = *scale, b0 = *b;
        for (size_t i = 0; i < n; i++) {
            y[i] = (x[i] - c0) * scale0 + b0;
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = (x[i] - c[i]) * scale[i] + b[i];
    }
}

static void affine_run(const sc_node *node, sc_frame *frame)
{
    for_parts(node, frame, affine_part);
}

const sc_op sc_op_affine = {.name = "affine", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = spread_parse,
                            .infer = spread_infer, .pack = affine_pack, .run = affine_run, .moves = spread_moves};

/* ---- prelu ------------------------------------------------------------------------------------------------------ */

static sc_status prelu_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    static const char *const roles[] = {"alpha", NULL};
    spread_params *p = node->params;
    return sc_spread_weights(builder, node, &p->axes, &in[0], roles, p->w, &p->spread);
}

/* y = x if x > 0, else alpha x */
static void prelu_part(float *y, const float *x, size_t n, const float *const *w, size_t step)
{
    const float *alpha = w[0];
    if (step == 0) {
        const float alpha0 = *alpha;
        for (size_t i = 0; i < n; i++) {
            y[i] = x[i] > 0.0f ? x[i] : alpha0 * x[i];
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] > 0.0f ? x[i] : alpha[i] * x[i];
    }
}

static void prelu_run(const sc_node *node, sc_frame *frame)
{
    for_parts(node, frame, prelu_part);
}

const sc_op sc_op_prelu = {.name = "prelu", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = spread_parse,
                           .infer = spread_infer, .pack = prelu_pack, .run = prelu_run, .moves = spread_moves};

/* ---- clipped_relu ------------------------------------------------------------------------------------------------ */

typedef struct clipped_relu_params {
    float slope, threshold, most;
} clipped_relu_params;

static sc_status clipped_relu_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    clipped_relu_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    double slope = 0, threshold = 0, most = INFINITY;
    sc_status status = sc_attr_number(builder, node, attributes, "negative_slope", 0, &slope);
    if (status == SC_OK) {
        status = sc_attr_number(builder, node, attributes, "threshold", 0, &threshold);
    }
    const sc_json *max_value = sc_json_get(attributes, "max_value");
    if (status == SC_OK && (max_value == NULL || max_value->type != SC_JSON_NULL)) {
        status = sc_attr_number(builder, node, attributes, "max_value", 0, &most);
    }
    *p = (clipped_relu_params){.slope = (float)slope, .threshold = (float)threshold, .most = (float)most};
    return status;
}

static sc_status clipped_relu_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    static const sc_spread none = {{0}, 0};
    return same_infer(node, &none, in, out, error);
}

/* y = min(x, max_value) if x > threshold, else negative_slope (x - threshold). NaN stays; minus infinity gives 0 without a
 * slope. */
static void clipped_relu_run(const sc_node *node, sc_frame *frame)
{
    const clipped_relu_params p = *(const clipped_relu_params *)node->params;
    const size_t size = frame->rows * sc_shape_size(sc_in_shape(node, frame, 0), 0);
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    for (size_t i = 0; i < size; i++) {
        const float above = x[i] > p.most ? p.most : x[i], far = p.slope * (x[i] - p.threshold);
        const float below = p.slope > 0.0f || x[i] != x[i] ? far : 0.0f;
        y[i] = x[i] > p.threshold ? above : below;
    }
}

const sc_op sc_op_clipped_relu = {.name = "clipped_relu", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                  .parse = clipped_relu_parse, .infer = clipped_relu_infer, .run = clipped_relu_run,
                                  .moves = sc_moves_along};
