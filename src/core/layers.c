/* What treats every frame alone and has weights, or takes ids: Embedding, one-hot vectors, Dense, which is the kernels'
 * matmul over row pointers, and constants. */
#include "plan.h"

#include <string.h>

#define CHUNK 128 /* rows that one matmul call gets: its pointers lie on the stack */

/* ---- Embedding, one-hot ----------------------------------------------------------------------------- */

typedef struct embedding_params {
    size_t units;
    const float *table;
} embedding_params;

static sc_status embedding_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    embedding_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_size(builder, node, attributes, "rows", 1, &node->id_rows);
    return status == SC_OK ? sc_attr_size(builder, node, attributes, "units", 1, &p->units) : status;
}

/* ids (B, ...) -> (B, ..., size) */
static sc_status vectors_of_ids(const sc_node *node, const sc_shape *in, size_t size, sc_shape *out, sc_error *error)
{
    if (in[0].rank + 1 > SC_MAX_RANK) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): ids have %zu axes", node->layer, node->op->name, in[0].rank);
    }
    out[0] = in[0];
    out[0].dim[out[0].rank++] = size;
    return SC_OK;
}

/* ids (B, ...) -> (B, ..., units) */
static sc_status embedding_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    return vectors_of_ids(node, in, ((const embedding_params *)node->params)->units, out, error);
}

static sc_status embedding_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    (void)in;
    embedding_params *p = node->params;
    const size_t rows = node->id_rows;
    const float *source = NULL;
    const sc_status status = sc_weight(builder, node, "W", 2, (size_t[]){rows, p->units}, &source);
    if (status != SC_OK || source == NULL) {
        return status;
    }
    bool fresh = true;
    const sc_packing packing = {.source = source, .ld = p->units, .rows = rows};
    float *table = sc_packed_room(builder, &packing, rows * p->units, &fresh);
    if (table == NULL) {
        return sc_no_memory(builder);
    }
    if (fresh) {
        memcpy(table, source, rows * p->units * sizeof(float));
    }
    p->table = table;
    return SC_OK;
}

/* y[i] = table[id_i] up to the rows' ends, and past them zeros; of no table, one-hot vectors. */
static void take_rows(const sc_node *node, sc_frame *frame, const float *table, size_t stride, size_t units)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const int64_t *lengths = sc_lengths(node, frame);
    const size_t rows = frame->rows * shape->dim[0], size = sc_shape_size(shape, 1);
    const int64_t *ids = (const int64_t *)(const void *)sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    for (size_t m = 0; m < rows; m++, ids += size, y += size * units) {
        const size_t end = lengths != NULL ? (size_t)lengths[m] * sc_shape_size(shape, 2) : size;
        memset(y + (table != NULL ? end * units : 0), 0, (size - (table != NULL ? end : 0)) * units * sizeof(float));
        for (size_t i = 0; i < end; i++) {
            const size_t row = sc_id_row(node, frame, m / shape->dim[0], ids[i]);
            if (table != NULL) {
                memcpy(y + i * units, table + row * stride, units * sizeof(float));
            } else {
                y[i * units + row] = 1.0f;
            }
        }
    }
}

static void embedding_run(const sc_node *node, sc_frame *frame)
{
    const embedding_params *p = node->params;
    take_rows(node, frame, p->table, p->units, p->units);
}

const sc_op sc_op_embedding = {.name = "embedding", .ids = true, .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                               .parse = embedding_parse, .infer = embedding_infer, .pack = embedding_pack,
                               .run = embedding_run, .moves = sc_moves_along};

static sc_status one_hot_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    return sc_attr_size(builder, node, attributes, "depth", 1, &node->id_rows);
}

/* ids (B, ...) -> (B, ..., depth) */
static sc_status one_hot_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    return vectors_of_ids(node, in, node->id_rows, out, error);
}

static void one_hot_run(const sc_node *node, sc_frame *frame)
{
    take_rows(node, frame, NULL, 0, node->id_rows);
}

const sc_op sc_op_one_hot = {.name = "one_hot", .ids = true, .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                             .parse = one_hot_parse, .infer = one_hot_infer, .run = one_hot_run, .moves = sc_moves_along};

/* ---- Dense -------------------------------------------------------------------------------------------- */

typedef struct dense_params {
    size_t units;
    sc_activation_spec activation;
    sc_matrix w;
    const float *bias;
    const float *table; /* of ids: row k is b + W[k] */
    size_t stride;      /* ... from one row to the next */
} dense_params;

static sc_status dense_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    dense_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = sc_attr_one_hot(builder, node, attributes);
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "units", 1, &p->units);
    }
    node->divides = node->id_rows == 0;
    return status == SC_OK ? sc_attr_activation(builder, node, attributes, "activation", &p->activation) : status;
}

/* (..., I) -> (..., N) */
static sc_status dense_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const dense_params *p = node->params;
    if (node->id_rows > 0) {
        return vectors_of_ids(node, in, p->units, out, error);
    }
    if (in[0].rank < 2) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (dense): input must be (batch, ..., features), found %zu axes",
                       node->layer, in[0].rank);
    }
    const size_t features = in[0].dim[in[0].rank - 1];
    if (p->w.data != NULL && features != p->w.rows && features != SC_UNKNOWN) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (dense): input must have %zu features, found %zu", node->layer,
                       p->w.rows, features);
    }
    out[0] = in[0];
    out[0].dim[out[0].rank - 1] = p->units;
    return SC_OK;
}

static sc_status dense_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    dense_params *p = node->params;
    const size_t features = node->id_rows > 0 ? node->id_rows : in[0].dim[in[0].rank - 1];
    const float *w = NULL, *b = NULL;
    sc_status status = sc_weight(builder, node, "W", 2, (size_t[]){features, p->units}, &w);
    if (status == SC_OK) {
        status = sc_weight(builder, node, "b", 1, &p->units, &b);
    }
    if (status != SC_OK || w == NULL || b == NULL) {
        return status;
    }
    if (features == SC_UNKNOWN) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (dense): the number of input features is not fixed",
                       node->layer);
    }
    if (node->id_rows > 0) {
        p->stride = builder->plan->kernels->packed_floats(1, p->units, 1);
        return sc_pack_table(builder, w, b, p->units, features, p->units, 1, NULL, &p->table);
    }
    status = sc_pack_matrix(builder, w, p->units, features, p->units, 1, &p->w);
    return status == SC_OK ? sc_pack_row(builder, b, p->units, 1, &p->bias) : status;
}

/* y = activation(b + W[id]) */
static void dense_of_ids(const sc_node *node, sc_frame *frame)
{
    const dense_params *p = node->params;
    take_rows(node, frame, p->table, p->stride, p->units);
    const size_t positions = frame->rows * sc_shape_size(sc_in_shape(node, frame, 0), 0);
    float *y = sc_out(node, frame, 0);
    for (size_t m = 0; m < positions && p->activation.kind != SC_LINEAR; m++, y += p->units) {
        frame->kernels->activate(p->activation, y, p->units);
    }
}

/* y = activation(x.W + b) for every (row, ...) position */
static void dense_run(const sc_node *node, sc_frame *frame)
{
    const dense_params *p = node->params;
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    if (node->id_rows > 0) {
        dense_of_ids(node, frame);
        return;
    }
    const size_t I = p->w.rows, N = p->units;
    sc_shape positions = *shape;
    positions.rank--;
    const size_t M = frame->rows * sc_shape_size(&positions, 0);
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    const float *a[CHUNK];
    float *out[CHUNK];
    const size_t end = sc_part(&frame->team, M, 1);
    for (size_t first = sc_part(&frame->team, M, 0); first < end; first += CHUNK) {
        const size_t rows = end - first < CHUNK ? end - first : CHUNK;
        for (size_t m = 0; m < rows; m++) {
            a[m] = x + (first + m) * I;
            out[m] = y + (first + m) * N;
        }
        frame->kernels->matmul(&(sc_matmul){.rows = rows, .a = a, .w = &p->w, .bias = p->bias, .out = out, .exact = true});
        for (size_t m = 0; m < rows && p->activation.kind != SC_LINEAR; m++) {
            frame->kernels->activate(p->activation, out[m], N);
        }
    }
}

const sc_op sc_op_dense = {.name = "dense", .one_hot = true, .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                           .parse = dense_parse, .infer = dense_infer, .pack = dense_pack, .run = dense_run,
                           .moves = sc_moves_along, .divides = true};

/* ---- Constant ----------------------------------------------------------------------------------------- */

/* W, of these axes, for every row of the input; of which nothing is read but how many they are. */
typedef struct constant_params {
    size_t rank, dim[SC_MAX_RANK]; /* without the batch */
    size_t size;
    const float *data; /* NULL in a plan of shapes only */
} constant_params;

static sc_status constant_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    constant_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_json *shape = sc_json_get(attributes, "shape");
    bool fits = shape != NULL && shape->type == SC_JSON_ARRAY && shape->count >= 1 && shape->count < SC_MAX_RANK;
    p->size = 1;
    for (const sc_json *size = fits ? shape->child : NULL; fits && size != NULL; size = size->next) {
        size_t *dim = &p->dim[p->rank++];
        fits = sc_json_size(size, dim) && *dim >= 1 && *dim <= (size_t)1 << 24 && sc_mul(p->size, *dim, &p->size) &&
               p->size <= (size_t)1 << 40;
    }
    return fits ? SC_OK
                : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (constant): shape must be a list of 1 to %d sizes from 1, "
                          "without the batch", node->layer, SC_MAX_RANK - 1);
}

static sc_status constant_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)error;
    const constant_params *p = node->params;
    out[0] = (sc_shape){.rank = 1 + p->rank, .dim = {in[0].dim[0]}};
    memcpy(out[0].dim + 1, p->dim, p->rank * sizeof *p->dim);
    return SC_OK;
}

static sc_status constant_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    (void)in;
    constant_params *p = node->params;
    const float *source = NULL;
    const sc_status status = sc_weight(builder, node, "W", p->rank, p->dim, &source);
    if (status != SC_OK || source == NULL) {
        return status;
    }
    bool fresh = true;
    const sc_packing packing = {.source = source, .ld = p->size, .rows = 1};
    float *data = sc_packed_room(builder, &packing, p->size, &fresh);
    if (data == NULL) {
        return sc_no_memory(builder);
    }
    if (fresh) {
        memcpy(data, source, p->size * sizeof(float));
    }
    p->data = data;
    return SC_OK;
}

static void constant_run(const sc_node *node, sc_frame *frame)
{
    const constant_params *p = node->params;
    const size_t rows = frame->rows * sc_in_shape(node, frame, 0)->dim[0];
    float *y = sc_out(node, frame, 0);
    for (size_t m = 0; m < rows; m++) {
        memcpy(y + m * p->size, p->data, p->size * sizeof(float));
    }
}

/* Whatever comes, it is the same; of folded frames there is one for each. */
static const char *constant_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0] == SC_FOLDED ? SC_FOLDED : SC_WHOLE;
    return NULL;
}

static size_t maker(const sc_plan *plan, size_t value) /* behind views */
{
    return value != SC_NONE ? plan->values[plan->values[value].root].producer : SC_NONE;
}

bool sc_is_constant(const sc_plan *plan, size_t value)
{
    const size_t producer = maker(plan, value);
    return producer != SC_NONE && plan->nodes[producer].op == &sc_op_constant;
}

const float *sc_constant_of(const sc_plan *plan, size_t value, size_t count)
{
    const constant_params *p = sc_is_constant(plan, value) ? plan->nodes[maker(plan, value)].params : NULL;
    return p != NULL && p->size == count ? p->data : NULL;
}

const sc_op sc_op_constant = {.name = "constant", .any_dtype = true, .counts_rows = true, .min_inputs = 1, .max_inputs = 1,
                              .outputs = 1, .parse = constant_parse, .infer = constant_infer, .pack = constant_pack,
                              .run = constant_run, .moves = constant_moves};
