/* Several values become one, element by element: add, multiply, average, subtract, divide, remainder, maximum, minimum. Axes of
 * size 1 repeat, but the batch; a value of fewer axes gets some of size 1 after its batch, as in Keras. */
#include "merges.h"

#include <math.h>
#include <string.h>

sc_status sc_merge_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    out[0] = (sc_shape){0};
    for (size_t i = 0; i < node->n_inputs; i++) {
        out[0].rank = in[i].rank > out[0].rank ? in[i].rank : out[0].rank;
    }
    for (size_t d = 0; d < out[0].rank; d++) {
        out[0].dim[d] = sc_aligned(&in[0], out[0].rank, d);
    }
    for (size_t i = 1; i < node->n_inputs; i++) {
        bool fits = in[i].rank > 0; /* it is there */
        for (size_t d = 0; d < out[0].rank; d++) {
            const size_t a = out[0].dim[d], b = sc_aligned(&in[i], out[0].rank, d);
            fits = fits && (a == b || a == SC_UNKNOWN || b == SC_UNKNOWN || (d > 0 && (a == 1 || b == 1)));
            out[0].dim[d] = a == 1 && d > 0 ? b : a == SC_UNKNOWN && b != 1 ? b : a;
        }
        if (!fits) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the shapes of inputs 1 and %zu do not fit each other",
                           node->layer, node->op->name, i + 1);
        }
    }
    return SC_OK;
}

SC_MERGE(sum, a + b)
SC_MERGE(difference, a - b)
SC_MERGE(product, a * b)
SC_MERGE(quotient, a / b)
SC_MERGE(larger, b > a || b != b ? b : a) /* a NaN of either stays */
SC_MERGE(smaller, b < a || b != b ? b : a)

/* y = x: the first value */
static void first(float *y, const float *x, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i * step];
    }
}

size_t sc_merge_strides(const sc_shape *whole, const sc_shape *shape, size_t *stride)
{
    size_t size = 1;
    for (size_t d = whole->rank; d-- > 0;) {
        const size_t own = sc_aligned(shape, whole->rank, d);
        stride[d] = own == 1 && d > 0 ? 0 : size;
        size *= own;
    }
    return size;
}

/* Merges x into all of y, repeating it along the axes where its size is 1. */
static void merge_into(float *y, const sc_shape *whole, size_t rows, const float *x, const sc_shape *shape,
                       sc_merge_function *function)
{
    size_t stride[SC_MAX_RANK] = {0}, runs = rows;
    const size_t size = sc_merge_strides(whole, shape, stride);
    if (size == sc_shape_size(whole, 0)) {
        function(y, x, rows * size, 1);
        return;
    }
    const size_t last = whole->rank - 1, n = whole->dim[last]; /* rank is at least 2: all of a batch alone have one size */
    for (size_t d = 0; d < last; d++) {
        runs *= whole->dim[d];
    }
    for (size_t i = 0; i < runs; i++) {
        function(y + i * n, x + sc_offset(whole, last, stride, i), n, stride[last]);
    }
}

void sc_merge(const sc_node *node, sc_frame *frame, sc_merge_function *function)
{
    const sc_shape *whole = &frame->shapes[node->outputs[0]];
    for (size_t i = 0; i < node->n_inputs; i++) {
        merge_into(sc_out(node, frame, 0), whole, frame->rows, sc_in(node, frame, i), sc_in_shape(node, frame, i),
                   i == 0 ? first : function);
    }
}

static void add_run(const sc_node *node, sc_frame *frame)
{
    sc_merge(node, frame, sum);
}

static void multiply_run(const sc_node *node, sc_frame *frame)
{
    sc_merge(node, frame, product);
}

static void average_run(const sc_node *node, sc_frame *frame)
{
    sc_merge(node, frame, sum);
    const float count = (float)node->n_inputs;
    quotient(sc_out(node, frame, 0), &count, frame->rows * sc_shape_size(&frame->shapes[node->outputs[0]], 0), 0);
}

static void subtract_run(const sc_node *node, sc_frame *frame)
{
    sc_merge(node, frame, difference);
}

static void divide_run(const sc_node *node, sc_frame *frame)
{
    sc_merge(node, frame, quotient);
}

static void maximum_run(const sc_node *node, sc_frame *frame)
{
    sc_merge(node, frame, larger);
}

static void minimum_run(const sc_node *node, sc_frame *frame)
{
    sc_merge(node, frame, smaller);
}

/* ---- remainder -------------------------------------------------------------------------------------------------- */

/* a - q b, q = a/b rounded: exact towards zero, and down but for the sum of the remainder towards zero and b */
enum rounding { TRUNC, FLOOR };

static float cut(float a, float b)
{
    return (float)fmod((double)a, (double)b); /* float32 has the remainder of two of its numbers; a denormal is 0 */
}

/* With the sign of b, 0 too */
static float floored(float a, float b)
{
    const float r = cut(a, b);
    return r == 0.0f ? copysignf(0.0f, b) : (r < 0.0f) != (b < 0.0f) ? r + b : r;
}

SC_MERGE(rest_cut, cut(a, b))
SC_MERGE(rest_floored, floored(a, b))

static sc_status remainder_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"trunc", "floor", NULL};
    int *rounding = sc_new_params(builder, node, sizeof *rounding);
    return rounding != NULL ? sc_attr_choice(builder, node, attributes, "rounding", names, rounding) : sc_no_memory(builder);
}

static void remainder_run(const sc_node *node, sc_frame *frame)
{
    static sc_merge_function *const functions[] = {[TRUNC] = rest_cut, [FLOOR] = rest_floored};
    sc_merge(node, frame, functions[*(const int *)node->params]);
}

/* ---- With masks ---------------------------------------------------------------------------------------------------- */

/* Two values and their masks (B, T), or none. A frame that counts in one of them only is that one's; in neither, zeros of a
 * product and else the first's: Keras 3. */
typedef struct masked_params {
    int function;
} masked_params;

enum masked_function { MULTIPLY, MAXIMUM, MINIMUM };

static sc_status masked_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"multiply", "maximum", "minimum", NULL};
    masked_params *p = sc_new_params(builder, node, sizeof *p);
    return p != NULL ? sc_attr_choice(builder, node, attributes, "function", names, &p->function) : sc_no_memory(builder);
}

static sc_status masked_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    sc_node values = *node;
    values.n_inputs = 2;
    const sc_status status = sc_merge_infer(&values, in, out, error);
    if (status != SC_OK) {
        return status;
    }
    for (size_t i = 2; i < node->n_inputs; i++) {
        const sc_shape *of = &in[i - 2];
        const size_t frames = out[0].rank > 1 ? of->dim[1] : 0;
        if (node->inputs[i] != SC_NONE &&
            (of->rank != out[0].rank || of->rank < 3 || in[i].rank != 2 || in[i].dim[0] != of->dim[0] ||
             (in[i].dim[1] != frames && in[i].dim[1] != SC_UNKNOWN && frames != SC_UNKNOWN))) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input %zu is no mask (batch, time) of input %zu", node->layer,
                           node->op->name, i + 1, i - 1);
        }
    }
    return SC_OK;
}

static const char *masked_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    sc_node values = *node;
    values.n_inputs = 2;
    const char *why = sc_moves_together(plan, &values, in, out);
    const bool fits = sc_mask_moves_with(node, in, 2, 0) && sc_mask_moves_with(node, in, 3, 1);
    return why != NULL || fits ? why : "the mask of a value does not move with it";
}

/* One frame of `whole`, as if it were a value of its own */
static sc_shape frame_of(const sc_shape *shape, size_t rank)
{
    sc_shape one = {.rank = rank};
    for (size_t d = 0; d < rank; d++) {
        one.dim[d] = d < 2 ? 1 : sc_aligned(shape, rank, d);
    }
    return one;
}

static void masked_run(const sc_node *node, sc_frame *frame)
{
    static sc_merge_function *const functions[] = {[MULTIPLY] = product, [MAXIMUM] = larger, [MINIMUM] = smaller};
    const enum masked_function function = (enum masked_function)((const masked_params *)node->params)->function;
    const sc_shape *whole = &frame->shapes[node->outputs[0]];
    const float *mask[2] = {sc_in(node, frame, 2), sc_in(node, frame, 3)};
    float *y = sc_out(node, frame, 0);
    if (mask[0] == NULL && mask[1] == NULL) {
        merge_into(y, whole, frame->rows, sc_in(node, frame, 0), sc_in_shape(node, frame, 0), first);
        merge_into(y, whole, frame->rows, sc_in(node, frame, 1), sc_in_shape(node, frame, 1), functions[function]);
        return;
    }
    const size_t rank = whole->rank, rows = frame->rows * whole->dim[0], T = whole->dim[1]; /* masked values have time */
    const sc_shape of_y = frame_of(whole, rank);
    const size_t size = sc_shape_size(&of_y, 0);
    sc_shape of[2];
    size_t frames[2];
    for (size_t i = 0; i < 2; i++) {
        of[i] = frame_of(sc_in_shape(node, frame, i), rank);
        frames[i] = sc_aligned(sc_in_shape(node, frame, i), rank, 1);
    }
    for (size_t i = 0; i < rows * T; i++, y += size) {
        const float *x[2];
        bool counts[2];
        for (size_t k = 0; k < 2; k++) {
            const size_t at = frames[k] == 1 ? i / T : i;
            x[k] = sc_in(node, frame, k) + at * sc_shape_size(&of[k], 0);
            counts[k] = mask[k] == NULL || mask[k][at] != 0.0f;
        }
        if (counts[0] || (!counts[1] && function != MULTIPLY)) {
            merge_into(y, &of_y, 1, x[0], &of[0], first);
            if (counts[0] && counts[1]) {
                merge_into(y, &of_y, 1, x[1], &of[1], functions[function]);
            }
        } else if (counts[1]) {
            merge_into(y, &of_y, 1, x[1], &of[1], first);
        } else {
            memset(y, 0, size * sizeof(float));
        }
    }
}

/* ---- The ops ------------------------------------------------------------------------------------------------------ */

const sc_op sc_op_add = {.name = "add", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .broadcasts = true,
                         .infer = sc_merge_infer, .run = add_run, .moves = sc_moves_together};
const sc_op sc_op_multiply = {.name = "multiply", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .broadcasts = true,
                              .infer = sc_merge_infer, .run = multiply_run, .moves = sc_moves_together};
const sc_op sc_op_average = {.name = "average", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .broadcasts = true,
                             .infer = sc_merge_infer, .run = average_run, .moves = sc_moves_together};
const sc_op sc_op_subtract = {.name = "subtract", .min_inputs = 2, .max_inputs = 2, .outputs = 1, .broadcasts = true,
                              .infer = sc_merge_infer, .run = subtract_run, .moves = sc_moves_together};
const sc_op sc_op_divide = {.name = "divide", .min_inputs = 2, .max_inputs = 2, .outputs = 1, .broadcasts = true,
                            .infer = sc_merge_infer, .run = divide_run, .moves = sc_moves_together};
const sc_op sc_op_remainder = {.name = "remainder", .min_inputs = 2, .max_inputs = 2, .outputs = 1, .broadcasts = true,
                               .parse = remainder_parse, .infer = sc_merge_infer, .run = remainder_run,
                               .moves = sc_moves_together};
const sc_op sc_op_maximum = {.name = "maximum", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .broadcasts = true,
                             .infer = sc_merge_infer, .run = maximum_run, .moves = sc_moves_together};
const sc_op sc_op_minimum = {.name = "minimum", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .broadcasts = true,
                             .infer = sc_merge_infer, .run = minimum_run, .moves = sc_moves_together};
const sc_op sc_op_masked_merge = {.name = "masked_merge", .min_inputs = 2, .max_inputs = 4, .outputs = 1, .broadcasts = true,
                                  .masks = 3 << 2, .parse = masked_parse, .infer = masked_infer, .run = masked_run,
                                  .moves = masked_moves};
