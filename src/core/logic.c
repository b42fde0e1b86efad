/* Truth: compare, logical, where. True is any number but 0, a NaN too (a denormal is 0); what is made here is 1 or 0. Values
 * meet as they do in a merge. */
#include "merges.h"

#include <math.h>
#include <string.h>

/* ---- compare ---------------------------------------------------------------------------------------------------- */

enum comparison { EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };

/* Two values, or one and a number. Integers are compared with the number itself: it is `whole`, or lies between that and the
 * next one. */
typedef struct compare_params {
    int function;
    bool has_number, ids;
    float number;
    int64_t whole;
    int order; /* of `whole` and the number: -1 where it is less, 1 where it is greater, else 0 */
} compare_params;

SC_MERGE(equal, a == b)
SC_MERGE(not_equal, a != b)
SC_MERGE(less, a < b)
SC_MERGE(less_equal, a <= b)
SC_MERGE(greater, a > b)
SC_MERGE(greater_equal, a >= b)

static void set_number(compare_params *p, double number)
{
    const double limit = 9223372036854775808.0; /* 2^63 */
    p->number = (float)number;
    if (number >= limit || number < -limit) {
        p->whole = number > 0 ? INT64_MAX : INT64_MIN;
        p->order = number > 0 ? -1 : 1;
    } else if (number == number) {
        p->whole = (int64_t)floor(number);
        p->order = number != floor(number) ? -1 : 0;
    }
}

static sc_status compare_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal", NULL};
    compare_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    double number = 0;
    sc_status status = sc_attr_choice(builder, node, attributes, "function", names, &p->function);
    if (status == SC_OK) {
        status = sc_attr_real(builder, node, attributes, "number", &p->has_number, &number);
    }
    if (status != SC_OK) {
        return status;
    }
    p->ids = builder->plan->values[node->inputs[0]].dtype == SC_I64;
    set_number(p, number);
    const size_t count = p->has_number ? 1 : 2;
    return node->n_inputs == count && node->inputs[count - 1] != SC_NONE && !(p->ids && !p->has_number)
               ? SC_OK
               : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (compare): it compares two values of float32, or one value "
                         "with a number", node->layer);
}

/* Which comparisons hold of what is less, equal, greater, or neither, beside NaN */
static const bool holds[][4] = {[EQUAL] = {0, 1, 0, 0}, [NOT_EQUAL] = {1, 0, 1, 1}, [LESS] = {1, 0, 0, 0},
                                [LESS_EQUAL] = {1, 1, 0, 0}, [GREATER] = {0, 0, 1, 0}, [GREATER_EQUAL] = {0, 1, 1, 0}};

static void compare_ids(const compare_params *p, float *y, const int64_t *x, size_t n)
{
    const bool *of_order = holds[p->function];
    for (size_t i = 0; i < n; i++) {
        const int order = x[i] < p->whole ? -1 : x[i] > p->whole ? 1 : p->order;
        y[i] = p->number == p->number ? of_order[order + 1] : of_order[3];
    }
}

static void compare_run(const sc_node *node, sc_frame *frame)
{
    static sc_merge_function *const functions[] = {[EQUAL] = equal, [NOT_EQUAL] = not_equal, [LESS] = less,
                                                   [LESS_EQUAL] = less_equal, [GREATER] = greater,
                                                   [GREATER_EQUAL] = greater_equal};
    const compare_params *p = node->params;
    const size_t size = frame->rows * sc_shape_size(&frame->shapes[node->outputs[0]], 0);
    float *y = sc_out(node, frame, 0);
    if (p->ids) {
        compare_ids(p, y, (const int64_t *)(const void *)sc_in(node, frame, 0), size);
        return;
    }
    sc_merge(node, frame, functions[p->function]);
    if (p->has_number) {
        functions[p->function](y, &p->number, size, 0);
    }
}

const sc_op sc_op_compare = {.name = "compare", .min_inputs = 1, .max_inputs = 2, .outputs = 1, .any_dtype = true,
                             .is_mask = true, .broadcasts = true, .parse = compare_parse, .infer = sc_merge_infer,
                             .run = compare_run, .moves = sc_moves_together};

/* ---- logical ---------------------------------------------------------------------------------------------------- */

enum connective { AND, OR, XOR, NOT };

SC_MERGE(both, a != 0.0f && b != 0.0f)
SC_MERGE(either, a != 0.0f || b != 0.0f)
SC_MERGE(one, (a != 0.0f) != (b != 0.0f))

static sc_status logical_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"and", "or", "xor", "not", NULL};
    int *function = sc_new_params(builder, node, sizeof *function);
    if (function == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_choice(builder, node, attributes, "function", names, function);
    const size_t count = *function == NOT ? 1 : 2;
    return status != SC_OK || (node->n_inputs == count && node->inputs[count - 1] != SC_NONE)
               ? status
               : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (logical): it takes two values, and one for not", node->layer);
}

static void logical_run(const sc_node *node, sc_frame *frame)
{
    static sc_merge_function *const functions[] = {[AND] = both, [OR] = either, [XOR] = one, [NOT] = equal};
    const int function = *(const int *)node->params;
    const float zero = 0.0f;
    sc_merge(node, frame, functions[function]);
    if (function == NOT) { /* x == 0 */
        equal(sc_out(node, frame, 0), &zero, frame->rows * sc_shape_size(&frame->shapes[node->outputs[0]], 0), 0);
    }
}

const sc_op sc_op_logical = {.name = "logical", .min_inputs = 1, .max_inputs = 2, .outputs = 1, .is_mask = true,
                             .broadcasts = true, .parse = logical_parse, .infer = sc_merge_infer, .run = logical_run,
                             .moves = sc_moves_together};

/* ---- where ------------------------------------------------------------------------------------------------------ */

/* A condition, and what is taken where it is true and where it is not: values, or numbers. */
typedef struct where_params {
    size_t input[3]; /* condition, a, b: the number of the input, or SC_NONE for a number */
    float number[3];
} where_params;

static sc_status where_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const keys[] = {NULL, "a", "b"};
    where_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    size_t count = 1;
    bool there = true;
    for (size_t k = 1; k < 3; k++) {
        bool has_number = false;
        double number = 0;
        const sc_status status = sc_attr_real(builder, node, attributes, keys[k], &has_number, &number);
        if (status != SC_OK) {
            return status;
        }
        p->number[k] = (float)number;
        p->input[k] = has_number ? SC_NONE : count++;
    }
    for (size_t i = 0; i < node->n_inputs; i++) {
        there = there && node->inputs[i] != SC_NONE;
    }
    return there && node->n_inputs == count
               ? SC_OK
               : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (where): it takes a condition, and a value for each of a and "
                         "b that is no number: %zu values, found %zu", node->layer, count, node->n_inputs);
}

/* y = a where the condition is not 0, else b: what is not taken has no part in it */
static void choose(float *y, size_t n, const float *const x[3], const size_t step[3])
{
    for (size_t i = 0; i < n; i++) {
        const float a = x[1][step[1] ? i : 0], b = x[2][step[2] ? i : 0];
        y[i] = x[0][step[0] ? i : 0] != 0.0f ? a : b;
    }
}

static void where_run(const sc_node *node, sc_frame *frame)
{
    const where_params *p = node->params;
    const sc_shape *whole = &frame->shapes[node->outputs[0]];
    const size_t last = whole->rank - 1, size = sc_shape_size(whole, 0);
    size_t stride[3][SC_MAX_RANK] = {{0}}, runs = frame->rows, n = whole->dim[last];
    const float *from[3];
    bool repeats = false;
    for (size_t k = 0; k < 3; k++) {
        from[k] = p->input[k] != SC_NONE ? sc_in(node, frame, p->input[k]) : &p->number[k];
        if (p->input[k] != SC_NONE) {
            repeats = sc_merge_strides(whole, sc_in_shape(node, frame, p->input[k]), stride[k]) != size || repeats;
        }
    }
    for (size_t d = 0; d < last; d++) {
        runs *= whole->dim[d];
    }
    if (!repeats) { /* all in one piece */
        n *= runs;
        runs = n > 0;
    }
    float *y = sc_out(node, frame, 0);
    for (size_t i = 0; i < runs; i++, y += n) {
        const float *x[3];
        size_t step[3];
        for (size_t k = 0; k < 3; k++) {
            step[k] = repeats ? stride[k][last] : p->input[k] != SC_NONE;
            x[k] = from[k] + sc_offset(whole, last, stride[k], i);
        }
        choose(y, n, x, step);
    }
}

const sc_op sc_op_where = {.name = "where", .min_inputs = 1, .max_inputs = 3, .outputs = 1, .broadcasts = true,
                           .parse = where_parse, .infer = sc_merge_infer, .run = where_run, .moves = sc_moves_together};
