/* The layers that look up or multiply every frame alone: Embedding, and Dense, which is the kernels' matmul over row
 * pointers. */
#include "plan.h"

#include <string.h>

#define CHUNK 128 /* rows that one matmul call gets: its pointers lie on the stack */

/* ---- Embedding -------------------------------------------------------------------------------------- */

typedef struct embedding_params {
    size_t rows, units;
    const float *table;
} embedding_params;

static sc_status embedding_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    embedding_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_size(builder, node, attributes, "rows", 1, &p->rows);
    return status == SC_OK ? sc_attr_size(builder, node, attributes, "units", 1, &p->units) : status;
}

/* ids (B, ...) -> (B, ..., units) */
static sc_status embedding_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank + 1 > SC_MAX_RANK) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (embedding): ids have %zu axes", node->layer, in[0].rank);
    }
    out[0] = in[0];
    out[0].dim[out[0].rank++] = ((const embedding_params *)node->params)->units;
    return SC_OK;
}

static sc_status embedding_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    (void)in;
    embedding_params *p = node->params;
    const float *source = NULL;
    const sc_status status = sc_weight(builder, node, "W", 2, (size_t[]){p->rows, p->units}, &source);
    if (status != SC_OK || source == NULL) {
        return status;
    }
    bool fresh = true;
    const sc_packing packing = {.source = source, .ld = p->units, .rows = p->rows};
    float *table = sc_packed_room(builder, &packing, p->rows * p->units, &fresh);
    if (table == NULL) {
        return sc_no_memory(builder);
    }
    if (fresh) {
        memcpy(table, source, p->rows * p->units * sizeof(float));
    }
    p->table = table;
    return SC_OK;
}

size_t sc_embedding_rows(const sc_node *node)
{
    return ((const embedding_params *)node->params)->rows;
}

/* y[i] = W[id_i]; sc_plan_run has checked every id up to the rows' ends, and past them stand zeros */
static void embedding_run(const sc_node *node, sc_frame *frame)
{
    const embedding_params *p = node->params;
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const int64_t *lengths = sc_lengths(node, frame);
    const size_t rows = frame->rows * shape->dim[0], size = sc_shape_size(shape, 1), bytes = p->units * sizeof(float);
    const int64_t *ids = (const int64_t *)(const void *)sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    for (size_t m = 0; m < rows; m++, ids += size, y += size * p->units) {
        const size_t end = lengths != NULL ? (size_t)lengths[m] * sc_shape_size(shape, 2) : size;
        for (size_t i = 0; i < end; i++) {
            memcpy(y + i * p->units, p->table + (size_t)ids[i] * p->units, bytes);
        }
        memset(y + end * p->units, 0, (size - end) * bytes);
    }
}

const sc_op sc_op_embedding = {.name = "embedding", .ids = true, .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                               .parse = embedding_parse, .infer = embedding_infer, .pack = embedding_pack,
                               .run = embedding_run, .moves = sc_moves_along};

/* ---- Dense -------------------------------------------------------------------------------------------- */

typedef struct dense_params {
    size_t units;
    sc_activation_spec activation;
    sc_matrix w;
    const float *bias;
} dense_params;

static sc_status dense_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    dense_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_size(builder, node, attributes, "units", 1, &p->units);
    return status == SC_OK ? sc_attr_activation(builder, node, attributes, "activation", &p->activation) : status;
}

/* (..., I) -> (..., N) */
static sc_status dense_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const dense_params *p = node->params;
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
    const size_t features = in[0].dim[in[0].rank - 1];
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
    status = sc_pack_matrix(builder, w, p->units, features, p->units, 1, &p->w);
    return status == SC_OK ? sc_pack_row(builder, b, p->units, 1, &p->bias) : status;
}

/* y = activation(x.W + b) for every (row, ...) position */
static void dense_run(const sc_node *node, sc_frame *frame)
{
    const dense_params *p = node->params;
    const sc_shape *shape = sc_in_shape(node, frame, 0);
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

const sc_op sc_op_dense = {.name = "dense", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = dense_parse,
                           .infer = dense_infer, .pack = dense_pack, .run = dense_run,
                           .moves = sc_moves_along, .divides = true};
