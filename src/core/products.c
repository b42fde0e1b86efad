/* Products of two values of a row: batch_matmul, and dot, which names the axes that it sums over. The second value of
 * each row stands for the weights: packed, or as it lies where the first has few vectors. */
#include "products.h"
#include "plan.h"

#include <math.h>
#include <string.h>

#define CHUNK SC_PRODUCT_CHUNK
#define MOST_INVERSE 1e7 /* of a norm: Keras's 1 / epsilon */

typedef struct product_params {
    int axes[2]; /* summed over; negative ones count from the end */
    bool normalize, vectors;
    const sc_kernels *kernels;
} product_params;

/* `count` vectors of K floats: where the next vector and the next float stand. */
typedef struct operand {
    size_t count, size, step, stride;
    size_t rest; /* axis of the vectors; 0 for a single one */
} operand;

/* What axis is summed over; false when it is none of the last two, or the batch. A value of two axes is one vector. */
static bool operand_of(const sc_shape *shape, int axis, operand *o)
{
    const size_t rank = shape->rank, summed = axis < 0 ? rank - (size_t)-axis : (size_t)axis;
    if ((axis < 0 && (size_t)-axis > rank) || summed < 1 || summed + 2 < rank || summed >= rank) {
        return false;
    }
    const size_t K = shape->dim[summed];
    if (rank == 2) {
        *o = (operand){.count = 1, .size = K, .step = K, .stride = 1};
    } else if (summed == rank - 1) {
        *o = (operand){.count = shape->dim[rank - 2], .size = K, .step = K, .stride = 1, .rest = rank - 2};
    } else {
        const size_t count = shape->dim[rank - 1];
        *o = (operand){.count = count, .size = K, .step = 1, .stride = count, .rest = rank - 1};
    }
    return true;
}

/* ---- Building --------------------------------------------------------------------------------------------- */

/* A row's own end is its end in the output's second axis, or nowhere. */
static void refuse_lengths(const sc_builder *builder, sc_node *node)
{
    const product_params *p = node->params;
    const sc_shape *shape = &builder->plan->shapes[node->inputs[0]];
    operand a;
    const bool kept = operand_of(shape, p->axes[0], &a) && (shape->rank > 3 || a.rest == 1);
    for (size_t i = 0; i < node->n_lengths; i++) {
        node->refuses_lengths = node->refuses_lengths || (node->lengths[i] != SC_NONE && (i > 0 || !kept));
    }
}

static product_params *new_params(sc_builder *builder, sc_node *node)
{
    product_params *p = sc_new_params(builder, node, sizeof *p);
    if (p != NULL) {
        *p = (product_params){.axes = {-1, -2}, .kernels = builder->plan->kernels};
    }
    return p;
}

static sc_status batch_matmul_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    (void)attributes;
    if (new_params(builder, node) == NULL) {
        return sc_no_memory(builder);
    }
    refuse_lengths(builder, node);
    return SC_OK;
}

static sc_status dot_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    product_params *p = new_params(builder, node);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    p->vectors = true;
    const sc_json *axes = sc_json_get(attributes, "axes");
    const sc_json *axis = axes != NULL && axes->type == SC_JSON_ARRAY && axes->count == 2 ? axes->child : NULL;
    for (size_t i = 0; i < 2; i++, axis = axis->next) {
        const double number = axis != NULL && axis->type == SC_JSON_NUMBER ? axis->number : 0;
        if (!(number >= -2 && number <= 2) || number != (double)(int)number || number == 0) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (dot): axes must be two of 1, 2, -1 and -2",
                           node->layer);
        }
        p->axes[i] = (int)number;
    }
    refuse_lengths(builder, node);
    return sc_attr_bool(builder, node, attributes, "normalize", &p->normalize);
}

static bool agree(size_t a, size_t b)
{
    return a == b || a == SC_UNKNOWN || b == SC_UNKNOWN;
}

/* batch_matmul: a (B,...,M,K), b (B,...,K,N) -> (B,...,M,N)
 * dot:          a (B,K) or (B,M,K) or (B,K,M), b likewise -> (B,M,N), without M or N where there is none, or (B,1) */
static sc_status product_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const product_params *p = node->params;
    const sc_shape *a = &in[0], *b = &in[1];
    operand x, y;
    const bool ranks = p->vectors ? a->rank <= 3 && b->rank <= 3 : a->rank >= 3 && a->rank == b->rank;
    if (!ranks || !operand_of(a, p->axes[0], &x) || !operand_of(b, p->axes[1], &y)) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): its inputs of %zu and %zu axes have no product over axes "
                       "%d and %d", node->layer, node->op->name, a->rank, b->rank, p->axes[0], p->axes[1]);
    }
    bool fits = agree(x.size, y.size) && agree(a->dim[0], b->dim[0]);
    for (size_t d = 1; d + 2 < a->rank; d++) {
        fits = fits && agree(a->dim[d], b->dim[d]);
    }
    if (!fits) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the shapes of its inputs do not fit each other: %s and %s",
                       node->layer, node->op->name, sc_shape_text(a->rank, a->dim).text,
                       sc_shape_text(b->rank, b->dim).text);
    }
    out[0] = (sc_shape){.rank = a->rank > 2 ? a->rank - 2 : 1};
    memcpy(out[0].dim, a->dim, out[0].rank * sizeof(size_t));
    if (x.rest > 0) {
        out[0].dim[out[0].rank++] = x.count;
    }
    if (y.rest > 0 || x.rest == 0) {
        out[0].dim[out[0].rank++] = y.count;
    }
    return SC_OK;
}

static sc_status product_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    const product_params *p = node->params;
    operand x, y;
    if (operand_of(&in[0], p->axes[0], &x) && operand_of(&in[1], p->axes[1], &y) && y.size != SC_UNKNOWN &&
        y.count != SC_UNKNOWN) { /* what it works, for each vector of a */
        builder->plan->work += (double)y.size * (double)y.count;
    }
    return SC_OK;
}

/* ---- Running ---------------------------------------------------------------------------------------------- */

typedef struct places {
    size_t packed, zeros, rows, norms, bytes;
} places;

static bool packs(const operand *a)
{
    return a->count >= SC_PACKED_FROM;
}

static places product_layout(const product_params *p, const operand *a, const operand *b)
{
    places at = {0};
    at.packed = sc_reserve(&at.bytes, packs(a) ? p->kernels->packed_floats(b->size, b->count, 1) : 0, sizeof(float));
    at.zeros = sc_reserve(&at.bytes, packs(a) ? p->kernels->packed_floats(1, b->count, 1) : 0, sizeof(float));
    at.rows = sc_reserve(&at.bytes, a->stride == 1 ? 0 : CHUNK * a->size, sizeof(float));
    at.norms = sc_reserve(&at.bytes, p->normalize ? b->count : 0, sizeof(float));
    return at;
}

static size_t product_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)rows;
    const product_params *p = node->params;
    operand a = {0}, b = {0};
    operand_of(&in[0], p->axes[0], &a); /* as infer found */
    operand_of(&in[1], p->axes[1], &b);
    return product_layout(p, &a, &b).bytes;
}

/* 1 / |x|, at most 1e7; k ascending */
static float inverse_norm(const float *x, const operand *o)
{
    double sum = 0.0;
    for (size_t k = 0; k < o->size; k++) {
        sum += (double)x[k * o->stride] * (double)x[k * o->stride];
    }
    const double inverse = 1.0 / sqrt(sum);
    return (float)(inverse < MOST_INVERSE ? inverse : sum != sum ? sum : MOST_INVERSE);
}

/* y = a . b for at most CHUNK vectors of a, that follow each other; `packed`: of b, if it is packed. */
static void multiply(const sc_kernels *kernels, const operand *b, const float *w, const sc_matrix *packed,
                     const float *zeros, size_t count, const float *x, float *y)
{
    if (packed != NULL) {
        sc_product(kernels, packed, zeros, count, x, b->size, y, b->count);
        return;
    }
    const float *a[CHUNK];
    float *out[CHUNK];
    for (size_t m = 0; m < count; m++) {
        a[m] = x + m * b->size;
        out[m] = y + m * b->count;
    }
    const bool transposed = b->stride == 1;
    const sc_plain call = {
        .rows = count, .a = a, .b = w, .ld = transposed ? b->step : b->stride, .K = b->size, .N = b->count, .out = out};
    (transposed ? kernels->times_transposed : kernels->times)(&call);
}

static void pack_operand(const sc_kernels *kernels, const operand *b, const float *w, float *packed)
{
    if (b->stride == 1) {
        kernels->pack_transposed(packed, w, b->step, b->size, b->count);
    } else {
        kernels->pack(packed, w, b->stride, b->size, b->count, 1, false);
    }
}

/* y = a . b of one row, frame by frame of whatever stands before the last two axes */
static void product(const product_params *p, const operand *a, const operand *b, const float *x, const float *w, float *y,
                    char *scratch, const places *at)
{
    float *rows = (float *)(void *)(scratch + at->rows), *norms = (float *)(void *)(scratch + at->norms);
    const float *zeros = (const float *)(const void *)(scratch + at->zeros);
    const sc_matrix packed = {
        .data = (float *)(void *)(scratch + at->packed), .rows = b->size, .units = b->count, .gates = 1};
    if (packs(a)) {
        pack_operand(p->kernels, b, w, (float *)(void *)(scratch + at->packed));
    }
    for (size_t n = 0; n < b->count && p->normalize; n++) {
        norms[n] = inverse_norm(w + n * b->step, b);
    }
    for (size_t first = 0; first < a->count; first += CHUNK) {
        const size_t count = a->count - first < CHUNK ? a->count - first : CHUNK;
        const float *from = x + first * a->step;
        float *to = y + first * b->count;
        for (size_t k = 0; k < a->size && a->stride != 1; k++) {
            for (size_t m = 0; m < count; m++) {
                rows[m * a->size + k] = from[k * a->stride + m];
            }
        }
        multiply(p->kernels, b, w, packs(a) ? &packed : NULL, zeros, count, a->stride == 1 ? from : rows, to);
        for (size_t m = 0; m < count && p->normalize; m++) {
            const float norm = inverse_norm(from + m * a->step, a);
            for (size_t n = 0; n < b->count; n++) {
                to[m * b->count + n] *= norm * norms[n];
            }
        }
    }
}

static void product_run(const sc_node *node, sc_frame *frame)
{
    const product_params *p = node->params;
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    operand a = {0}, b = {0};
    operand_of(shape, p->axes[0], &a);
    operand_of(sc_in_shape(node, frame, 1), p->axes[1], &b);
    const places at = product_layout(p, &a, &b);
    memset(frame->scratch + at.zeros, 0, at.rows - at.zeros);
    size_t each = shape->dim[0]; /* products of a row */
    for (size_t d = 1; d + 2 < shape->rank; d++) {
        each *= shape->dim[d];
    }
    const size_t products = frame->rows * each, end = sc_part(&frame->team, products, 1);
    for (size_t i = sc_part(&frame->team, products, 0); i < end; i++) {
        const size_t x = sc_context_row(node, frame, 0, i / each) * each + i % each;
        const size_t w = sc_context_row(node, frame, 1, i / each) * each + i % each;
        product(p, &a, &b, sc_in(node, frame, 0) + x * a.count * a.size, sc_in(node, frame, 1) + w * b.count * b.size,
                sc_out(node, frame, 0) + i * a.count * b.count, frame->scratch, &at);
    }
}

/* ---- Steps ------------------------------------------------------------------------------------------------ */

/* Frames of the first value, which each take all of the second; or of both, before their last two axes. */
static const char *product_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    const product_params *p = node->params;
    const sc_shape *shape = &plan->shapes[node->inputs[0]];
    operand a = {0};
    operand_of(shape, p->axes[0], &a);
    const bool any = in[0] == SC_MOVING || in[1] == SC_MOVING, folded = in[0] == SC_FOLDED || in[1] == SC_FOLDED;
    if (!any && (!folded || in[0] == in[1])) {
        out[0] = in[0] == in[1] ? in[0] : SC_LAST;
        return NULL;
    }
    const bool over_frames = shape->rank > 3 && in[0] == in[1];
    const bool over_first = in[0] == SC_MOVING && in[1] == SC_WHOLE && shape->rank == 3 && a.rest == 1;
    out[0] = SC_MOVING;
    return over_frames || over_first ? NULL : "it takes the whole sequence";
}

const sc_op sc_op_batch_matmul = {.name = "batch_matmul", .min_inputs = 2, .max_inputs = 2, .outputs = 1, .divides = true,
                                  .lengths_apart = true, .contexts = 1u << 0 | 1u << 1, .parse = batch_matmul_parse, .infer = product_infer,
                                  .pack = product_pack, .scratch = product_scratch, .run = product_run,
                                  .moves = product_moves};
const sc_op sc_op_dot = {.name = "dot", .min_inputs = 2, .max_inputs = 2, .outputs = 1, .divides = true,
                         .lengths_apart = true, .contexts = 1u << 0 | 1u << 1, .parse = dot_parse, .infer = product_infer, .pack = product_pack, .scratch = product_scratch,
                         .run = product_run, .moves = product_moves};
