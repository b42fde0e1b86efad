/* The layers with windows and tables: Embedding, Dense, Conv1D, MaxPooling1D.
 * Dense and Conv1D are the kernels' matmul over row pointers; a window of frames is one row, contiguous in memory as it
 * stands wherever it needs no padding. */
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
    float *table = sc_packed_room(builder, p->rows * p->units, &fresh);
    if (table == NULL) {
        return sc_no_memory(builder);
    }
    if (fresh) {
        memcpy(table, source, p->rows * p->units * sizeof(float));
    }
    p->table = table;
    builder->plan->bytes += p->rows * p->units * sizeof(float);
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

/* ---- Windows over time ----------------------------------------------------------------------------------- */

enum padding { VALID, SAME, CAUSAL };

typedef struct window {
    size_t size, stride, dilation;
    int padding;
} window;

static sc_status window_parse(sc_builder *builder, sc_node *node, const sc_json *attributes, const char *size_key,
                              window *w)
{
    static const char *const paddings[] = {"valid", "same", "causal", NULL};
    sc_status status = sc_attr_size(builder, node, attributes, size_key, 1, &w->size);
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "strides", 1, &w->stride);
    }
    if (status == SC_OK) {
        status = sc_attr_choice(builder, node, attributes, "padding", paddings, &w->padding);
    }
    if (status == SC_OK && w->stride == 1 && w->padding != VALID && node->lengths_out != SC_NONE) {
        /* as many frames out as in: the lengths out are the lengths in, so that branches can be merged again */
        sc_value *values = builder->plan->values;
        values[node->lengths_out].root = values[node->lengths[0]].root;
    }
    return status;
}

static size_t window_span(const window *w)
{
    return (w->size - 1) * w->dilation + 1;
}

/* Frames out of n frames in. valid: the windows that fit; same and causal: ceil(n / stride) */
static size_t window_frames(const window *w, size_t n)
{
    const size_t span = window_span(w);
    if (n == SC_UNKNOWN) {
        return SC_UNKNOWN;
    }
    if (w->padding == VALID) {
        return n < span ? 0 : (n - span) / w->stride + 1;
    }
    return n == 0 ? 0 : (n - 1) / w->stride + 1;
}

/* Zero frames before the first. Keras's rule: "same" pads total = max((out-1)*stride + span - n, 0), half before */
static size_t window_left(const window *w, size_t n)
{
    if (w->padding == VALID || n == 0) {
        return 0;
    }
    if (w->padding == CAUSAL) {
        return window_span(w) - 1;
    }
    const size_t covered = (window_frames(w, n) - 1) * w->stride + window_span(w);
    return covered > n ? (covered - n) / 2 : 0;
}

static sc_status window_infer(const sc_node *node, const window *w, size_t channels, const sc_shape *in, sc_shape *out,
                              sc_error *error)
{
    if (in[0].rank != 3) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must be (batch, time, channels), found %zu axes",
                       node->layer, node->op->name, in[0].rank);
    }
    out[0] = (sc_shape){.rank = 3, .dim = {in[0].dim[0], window_frames(w, in[0].dim[1]), channels}};
    return SC_OK;
}

/* Calls each(node, frame, row's input, n frames, row's output, n' frames) for every row, each as long as it is; frames past
 * the end are zeroed and the rows' new lengths written. */
static void window_run(const sc_node *node, sc_frame *frame, const window *w,
                       void (*each)(const sc_node *, sc_frame *, const float *, size_t, float *, size_t))
{
    const sc_shape *shape = sc_in_shape(node, frame, 0), *whole = &frame->shapes[node->outputs[0]];
    const size_t rows = frame->rows * shape->dim[0], T = shape->dim[1], C = shape->dim[2];
    const size_t frames = whole->dim[1], F = whole->dim[2];
    const int64_t *lengths = sc_lengths(node, frame);
    int64_t *lengths_out = lengths != NULL && node->lengths_out != SC_NONE ? frame->data[node->lengths_out] : NULL;
    for (size_t m = 0; m < rows; m++) {
        const size_t n = lengths != NULL ? (size_t)lengths[m] : T;
        const size_t made = window_frames(w, n);
        float *y = sc_out(node, frame, 0) + m * frames * F;
        each(node, frame, sc_in(node, frame, 0) + m * T * C, n, y, made);
        if (frame->team.member > 0) {
            continue;
        }
        memset(y + made * F, 0, (frames - made) * F * sizeof(float));
        if (lengths_out != NULL && lengths_out != lengths) {
            lengths_out[m] = (int64_t)made;
        }
    }
}

/* ---- Conv1D ------------------------------------------------------------------------------------------------- */

typedef struct conv1d_params {
    window window;
    size_t filters, groups, channels; /* channels: of the whole input */
    sc_activation_spec activation;
    sc_matrix *w;       /* one per group */
    const float **bias; /* likewise */
} conv1d_params;

static sc_status conv1d_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    conv1d_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = window_parse(builder, node, attributes, "kernel_size", &p->window);
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "dilation", 1, &p->window.dilation);
    }
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "filters", 1, &p->filters);
    }
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "groups", 1, &p->groups);
    }
    if (status == SC_OK) {
        status = sc_attr_activation(builder, node, attributes, "activation", &p->activation);
    }
    if (status == SC_OK && p->filters % p->groups != 0) {
        status = sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (conv1d): %zu filters do not divide into %zu groups",
                         node->layer, p->filters, p->groups);
    }
    return status;
}

static sc_status conv1d_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const conv1d_params *p = node->params;
    const size_t channels = in[0].dim[2];
    if (in[0].rank == 3 && channels != SC_UNKNOWN &&
        (channels % p->groups != 0 || (p->w != NULL && channels != p->channels))) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (conv1d): input has %zu channels, expected %zu (%zu groups)",
                       node->layer, channels, p->w != NULL ? p->channels : p->groups, p->groups);
    }
    return window_infer(node, &p->window, p->filters, in, out, error);
}

static sc_status conv1d_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    conv1d_params *p = node->params;
    const size_t k = p->window.size, F = p->filters, units = F / p->groups;
    const float *w = NULL, *b = NULL;
    p->channels = in[0].dim[2];
    const size_t per_group = p->channels == SC_UNKNOWN ? SC_UNKNOWN : p->channels / p->groups;
    sc_status status = sc_weight(builder, node, "W", 3, (size_t[]){k, per_group, F}, &w);
    if (status == SC_OK) {
        status = sc_weight(builder, node, "b", 1, &F, &b);
    }
    if (status != SC_OK || w == NULL || b == NULL) {
        return status;
    }
    if (p->channels == SC_UNKNOWN) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (conv1d): the number of channels is not fixed", node->layer);
    }
    sc_matrix *matrices = sc_plan_alloc(builder->plan, p->groups, sizeof *matrices);
    p->bias = sc_plan_alloc(builder->plan, p->groups, sizeof *p->bias);
    if (matrices == NULL || p->bias == NULL) {
        return sc_no_memory(builder);
    }
    for (size_t g = 0; g < p->groups && status == SC_OK; g++) {
        status = sc_pack_matrix(builder, w + g * units, F, k * per_group, units, 1, &matrices[g]);
        if (status == SC_OK) {
            status = sc_pack_row(builder, b + g * units, units, 1, &p->bias[g]);
        }
    }
    p->w = matrices;
    return status;
}

/* The rows that a chunk must gather: a window that is padded, spread or of one group is not contiguous in the input. */
static size_t conv1d_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)rows;
    const conv1d_params *p = node->params;
    size_t bytes = 0;
    sc_reserve(&bytes, CHUNK * p->window.size * (in[0].dim[2] / p->groups), sizeof(float));
    return bytes;
}

/* The window that starts at frame `start` (counted with the padding: `left` frames before the first), channels of group g */
static void gather(const conv1d_params *p, float *to, const float *x, size_t n, size_t start, size_t left, size_t g)
{
    const size_t C = p->channels, c = C / p->groups;
    for (size_t i = 0; i < p->window.size; i++, to += c) {
        const size_t at = start + i * p->window.dilation;
        if (at < left || at - left >= n) {
            memset(to, 0, c * sizeof(float));
        } else {
            memcpy(to, x + (at - left) * C + g * c, c * sizeof(float));
        }
    }
}

/* y[t, f] = activation(b[f] + sum over i, c of x[t*stride + i*dilation - left, c] * W[i, c, f]), within each group */
static void conv1d_each(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const conv1d_params *p = node->params;
    const window *w = &p->window;
    const size_t C = p->channels, F = p->filters, units = F / p->groups, K = w->size * (C / p->groups);
    const size_t left = window_left(w, n);
    float *strip = (float *)(void *)frame->scratch;
    const float *a[CHUNK];
    float *out[CHUNK];
    const size_t end = sc_part(&frame->team, made, 1);
    for (size_t first = sc_part(&frame->team, made, 0); first < end; first += CHUNK) {
        const size_t rows = end - first < CHUNK ? end - first : CHUNK;
        for (size_t g = 0; g < p->groups; g++) {
            for (size_t m = 0; m < rows; m++) {
                const size_t start = (first + m) * w->stride;
                const bool whole = p->groups == 1 && w->dilation == 1 && start >= left && start - left + w->size <= n;
                if (!whole) {
                    gather(p, strip + m * K, x, n, start, left, g);
                }
                a[m] = whole ? x + (start - left) * C : strip + m * K;
                out[m] = y + (first + m) * F + g * units;
            }
            frame->kernels->matmul(&(sc_matmul){.rows = rows, .a = a, .w = &p->w[g], .bias = p->bias[g], .out = out,
                                                .exact = true});
        }
        for (size_t m = 0; m < rows && p->activation.kind != SC_LINEAR; m++) {
            frame->kernels->activate(p->activation, y + (first + m) * F, F);
        }
    }
}

static const char *conv1d_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    const window *w = &((const conv1d_params *)node->params)->window;
    out[0] = in[0];
    if (in[0] != SC_MOVING || (w->padding == CAUSAL && w->stride == 1) || (window_span(w) == 1 && w->stride == 1)) {
        return NULL;
    }
    return w->stride > 1 ? "it makes fewer frames than it takes (strides)" : "its padding is not causal: it waits for later frames";
}

static size_t conv1d_keeps(const sc_node *node, sc_kept kept[SC_MAX_KEPT])
{
    const conv1d_params *p = node->params;
    const size_t past = window_span(&p->window) - 1;
    kept[0] = (sc_kept){.name = "frames", .frames = past, .size = p->channels, .room = p->channels};
    return past > 0;
}

/* A row's past frames, in a ring: the oldest stands at *oldest, and the frame that comes takes its place. */
typedef struct past_frames {
    float *ring;
    size_t *oldest, count;
} past_frames;

static past_frames past_of(const conv1d_params *p, float *state)
{
    const size_t count = window_span(&p->window) - 1;
    return (past_frames){.ring = state, .oldest = sc_ring_start(state, count, p->channels), .count = count};
}

/* The window that ends in frame x, channels of group g */
static void gather_step(const conv1d_params *p, float *to, const past_frames *past, const float *x, size_t g)
{
    const size_t C = p->channels, c = C / p->groups;
    for (size_t i = 0; i < p->window.size; i++, to += c) {
        const size_t age = i * p->window.dilation; /* frames after the oldest */
        const size_t place = *past->oldest + age < past->count ? *past->oldest + age : *past->oldest + age - past->count;
        memcpy(to, (age < past->count ? past->ring + place * C : x) + g * c, c * sizeof(float));
    }
}

/* One frame of each row, which ends the window of the frames that are kept. */
static void conv1d_step(const sc_node *node, sc_frame *frame)
{
    const conv1d_params *p = node->params;
    const size_t C = p->channels, F = p->filters, units = F / p->groups, K = p->window.size * (C / p->groups);
    float *strip = (float *)(void *)frame->scratch;
    const float *a[CHUNK];
    float *out[CHUNK];
    past_frames past[CHUNK];
    const size_t end = sc_part(&frame->team, frame->rows, 1);
    for (size_t first = sc_part(&frame->team, frame->rows, 0); first < end; first += CHUNK) {
        const size_t rows = end - first < CHUNK ? end - first : CHUNK;
        const float *x = sc_in(node, frame, 0) + first * C;
        float *y = sc_out(node, frame, 0) + first * F;
        for (size_t m = 0; m < rows; m++) {
            past[m] = past_of(p, sc_row_state(node, frame, first + m));
            a[m] = strip + m * K;
        }
        for (size_t g = 0; g < p->groups; g++) {
            for (size_t m = 0; m < rows; m++) {
                gather_step(p, strip + m * K, &past[m], x + m * C, g);
                out[m] = y + m * F + g * units;
            }
            frame->kernels->matmul(&(sc_matmul){.rows = rows, .a = a, .w = &p->w[g], .bias = p->bias[g], .out = out,
                                                .exact = true});
        }
        for (size_t m = 0; m < rows; m++) {
            if (p->activation.kind != SC_LINEAR) {
                frame->kernels->activate(p->activation, y + m * F, F);
            }
            memcpy(past[m].ring + *past[m].oldest * C, x + m * C, C * sizeof(float));
            *past[m].oldest = *past[m].oldest + 1 < past[m].count ? *past[m].oldest + 1 : 0;
        }
    }
}

static void conv1d_run(const sc_node *node, sc_frame *frame)
{
    if (sc_row_state(node, frame, 0) != NULL) {
        conv1d_step(node, frame);
        return;
    }
    window_run(node, frame, &((const conv1d_params *)node->params)->window, conv1d_each);
}

const sc_op sc_op_conv1d = {.name = "conv1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .maps_lengths = true,
                            .parse = conv1d_parse, .infer = conv1d_infer, .pack = conv1d_pack, .scratch = conv1d_scratch,
                            .run = conv1d_run, .moves = conv1d_moves, .keeps = conv1d_keeps, .divides = true};

/* ---- MaxPooling1D --------------------------------------------------------------------------------------------- */

static sc_status max_pool1d_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    window *w = sc_new_params(builder, node, sizeof *w);
    if (w == NULL) {
        return sc_no_memory(builder);
    }
    w->dilation = 1;
    const sc_status status = window_parse(builder, node, attributes, "pool_size", w);
    return status == SC_OK && w->padding == CAUSAL
               ? sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (max_pool1d): padding must be valid or same", node->layer)
               : status;
}

static sc_status max_pool1d_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    return window_infer(node, node->params, in[0].dim[2], in, out, error);
}

/* y[t, c] = max over the window's frames that exist (padding is no candidate; a NaN stays) */
static void max_pool1d_each(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const window *w = node->params;
    const size_t C = sc_in_shape(node, frame, 0)->dim[2], left = window_left(w, n);
    for (size_t t = 0; t < made; t++, y += C) {
        const size_t start = t * w->stride;
        const size_t from = start < left ? 0 : start - left;
        const size_t to = start + w->size - left < n ? start + w->size - left : n;
        memcpy(y, x + from * C, C * sizeof(float));
        for (size_t i = from + 1; i < to; i++) {
            for (size_t c = 0; c < C; c++) {
                const float value = x[i * C + c];
                y[c] = value > y[c] || value != value ? value : y[c];
            }
        }
    }
}

static const char *max_pool1d_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "it pools over frames that are still to come" : NULL;
}

static void max_pool1d_run(const sc_node *node, sc_frame *frame)
{
    window_run(node, frame, node->params, max_pool1d_each);
}

const sc_op sc_op_max_pool1d = {.name = "max_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .maps_lengths = true,
                                .parse = max_pool1d_parse, .infer = max_pool1d_infer, .run = max_pool1d_run,
                                .moves = max_pool1d_moves};
