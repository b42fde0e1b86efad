/* Values of int64 that ops make: argmax and topk over one axis; and cast, between the two dtypes. Elements are compared by their
 * bits, so that neither the treatment of denormals nor NaN makes an order anything but one: -0 is 0, and a NaN is the greatest. */
#include "plan.h"

#include <string.h>

/* The place of a number among all others: the same for equal ones, INT32_MAX for NaN. */
static int32_t order_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int32_t magnitude = bits & INT32_MAX;
    if (magnitude > 0x7f800000) {
        return INT32_MAX;
    }
    return bits < 0 ? -magnitude : magnitude;
}

/* ---- Argmax ------------------------------------------------------------------------------------------------------- */

enum arg_function { ARG_MAX, ARG_MIN };

typedef struct argmax_params {
    size_t axis;
    bool keepdims;
    int function;
} argmax_params;

static sc_status argmax_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"max", "min", NULL};
    argmax_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = sc_attr_axis(builder, node, attributes, builder->plan->shapes[node->inputs[0]].rank, &p->axis);
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "keepdims", &p->keepdims);
    }
    return status == SC_OK ? sc_attr_choice(builder, node, attributes, "function", names, &p->function) : status;
}

static sc_status argmax_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)error;
    const argmax_params *p = node->params;
    out[0] = (sc_shape){0};
    for (size_t d = 0; d < in[0].rank; d++) {
        if (d != p->axis || p->keepdims) {
            out[0].dim[out[0].rank++] = d == p->axis ? 1 : in[0].dim[d];
        }
    }
    return SC_OK;
}

static const char *argmax_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && ((const argmax_params *)node->params)->axis == 1 ? "it needs the whole sequence" : NULL;
}

/* The first of the greatest, or of the least, of `count` elements `stride` apart. A NaN is further out than all numbers. */
static size_t first_of(enum arg_function function, const float *x, size_t count, size_t stride)
{
    size_t first = 0;
    int32_t best = INT32_MIN;
    for (size_t i = 0; i < count; i++) {
        const int32_t order = order_of(x[i * stride]);
        const int32_t key = function == ARG_MIN && order != INT32_MAX ? -order : order;
        if (key > best) {
            best = key;
            first = i;
        }
    }
    return first;
}

/* y = the position of the greatest along the axis: of a row's own frames; 0 of none */
static void argmax_run(const sc_node *node, sc_frame *frame)
{
    const argmax_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const size_t size = in->dim[p->axis], n = sc_shape_size(in, p->axis + 1), runs = sc_runs_before(frame, in, p->axis);
    const int64_t *lengths = p->axis == 1 ? sc_lengths(node, frame) : NULL; /* then a run is a row */
    const float *x = sc_in(node, frame, 0);
    int64_t *y = frame->data[node->outputs[0]];
    for (size_t m = 0; m < runs; m++, x += size * n, y += n) {
        const size_t count = lengths != NULL ? (size_t)lengths[m] : size;
        for (size_t k = 0; k < n; k++) {
            y[k] = (int64_t)first_of((enum arg_function)p->function, x + k, count, n);
        }
    }
}

/* ---- Topk --------------------------------------------------------------------------------------------------------- */

typedef struct topk_params {
    size_t k, axis;
    bool largest;
} topk_params;

static sc_status topk_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    topk_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = sc_attr_size(builder, node, attributes, "k", 1, &p->k);
    if (status == SC_OK) {
        status = sc_attr_axis(builder, node, attributes, builder->plan->shapes[node->inputs[0]].rank, &p->axis);
    }
    node->refuses_lengths = p->axis == 1;
    return status == SC_OK ? sc_attr_bool(builder, node, attributes, "largest", &p->largest) : status;
}

static sc_status topk_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const topk_params *p = node->params;
    const size_t size = in[0].dim[p->axis];
    if (size < p->k) { /* SC_UNKNOWN is more than any */
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (topk): axis %zu has %zu elements, of which it takes %zu", node->layer,
                       p->axis, size, p->k);
    }
    out[0] = in[0];
    out[0].dim[p->axis] = p->k;
    out[1] = out[0];
    return SC_OK;
}

static const char *topk_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = out[1] = in[0];
    return in[0] == SC_MOVING && ((const topk_params *)node->params)->axis == 1 ? "it needs the whole sequence" : NULL;
}

typedef struct candidate {
    int32_t key; /* greater ones come first, */
    size_t at;   /* ... and of equal ones the lower */
} candidate;

static bool comes_before(const candidate *a, const candidate *b)
{
    return a->key != b->key ? a->key > b->key : a->at < b->at;
}

/* Lets the root of a heap of `count`, in which none comes before those below it, sink to its place. */
static void sink(candidate *heap, size_t count)
{
    const candidate moved = heap[0];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && comes_before(&heap[child], &heap[child + 1])) {
            child++;
        }
        if (!comes_before(&moved, &heap[child])) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* Lets one more rise into it. */
static void rise(candidate *heap, size_t count, candidate added)
{
    size_t at = count;
    while (at > 0 && comes_before(&heap[(at - 1) / 2], &added)) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = added;
}

/* The first k of `size` elements `stride` apart, in order: a heap of the best so far, its last at the root. */
static void choose(const topk_params *p, candidate *heap, const float *x, size_t size, size_t stride)
{
    for (size_t i = 0; i < size; i++) {
        const int32_t order = order_of(x[i * stride]);
        const candidate found = {.key = p->largest ? order : -order, .at = i};
        if (i < p->k) {
            rise(heap, i, found);
        } else if (comes_before(&found, &heap[0])) {
            heap[0] = found;
            sink(heap, p->k);
        }
    }
    for (size_t left = p->k - 1; left > 0; left--) { /* the last of those left goes behind them */
        const candidate last = heap[0];
        heap[0] = heap[left];
        sink(heap, left);
        heap[left] = last;
    }
}

static size_t topk_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)in;
    (void)rows;
    size_t bytes = 0;
    sc_reserve(&bytes, ((const topk_params *)node->params)->k, sizeof(candidate));
    return bytes;
}

static void topk_run(const sc_node *node, sc_frame *frame)
{
    const topk_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const size_t size = in->dim[p->axis], n = sc_shape_size(in, p->axis + 1), runs = sc_runs_before(frame, in, p->axis);
    candidate *heap = (candidate *)(void *)frame->scratch;
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    int64_t *indices = node->outputs[1] != SC_NONE ? frame->data[node->outputs[1]] : NULL;
    for (size_t m = 0; m < runs; m++) {
        for (size_t j = 0; j < n; j++) {
            choose(p, heap, x + m * size * n + j, size, n);
            for (size_t i = 0; i < p->k; i++) {
                const size_t to = (m * p->k + i) * n + j;
                if (y != NULL) {
                    y[to] = x[(m * size + heap[i].at) * n + j];
                }
                if (indices != NULL) {
                    indices[to] = (int64_t)heap[i].at;
                }
            }
        }
    }
}

/* ---- Cast --------------------------------------------------------------------------------------------------------- */

/* The dtype of the output is the attribute's. */
static sc_status cast_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"float32", "int64", NULL};
    int dtype = 0;
    const sc_status status = sc_attr_choice(builder, node, attributes, "dtype", names, &dtype);
    if (status == SC_OK) {
        builder->plan->values[node->outputs[0]].dtype = (sc_dtype)dtype;
    }
    return status;
}

static sc_status cast_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)node;
    (void)error;
    out[0] = in[0];
    return SC_OK;
}

/* Towards zero; 0 of NaN, and of what int64 does not hold */
static int64_t whole_of(float x)
{
    return x >= -0x1p63f && x < 0x1p63f ? (int64_t)x : 0;
}

static void cast_run(const sc_node *node, sc_frame *frame)
{
    const size_t size = frame->rows * sc_shape_size(sc_in_shape(node, frame, 0), 0);
    const sc_dtype from = frame->plan->values[node->inputs[0]].dtype, to = frame->plan->values[node->outputs[0]].dtype;
    const void *x = frame->data[node->inputs[0]];
    void *y = frame->data[node->outputs[0]];
    if (from == to) {
        memcpy(y, x, size * sc_in_bytes(node, frame));
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (to == SC_I64) {
            ((int64_t *)y)[i] = whole_of(((const float *)x)[i]);
        } else {
            ((float *)y)[i] = (float)((const int64_t *)x)[i];
        }
    }
}

const sc_op sc_op_argmax = {.name = "argmax", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .gives_ids = 1,
                            .parse = argmax_parse, .infer = argmax_infer, .run = argmax_run, .moves = argmax_moves};
const sc_op sc_op_topk = {.name = "topk", .min_inputs = 1, .max_inputs = 1, .outputs = 2, .gives_ids = 1 << 1,
                          .parse = topk_parse, .infer = topk_infer, .scratch = topk_scratch, .run = topk_run,
                          .moves = topk_moves};
const sc_op sc_op_cast = {.name = "cast", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .carries = true,
                          .parse = cast_parse, .infer = cast_infer, .run = cast_run, .moves = sc_moves_along};
