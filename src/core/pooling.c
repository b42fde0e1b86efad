/* Pooling over time: the maximum or the average of each window, of a number of parts of a row, and of a whole row.
 * Every sum and maximum goes by time, ascending; channels do not know of each other. */
#include "window.h"

#include <math.h>
#include <string.h>

/* y[c] = max(y[c], x[c]); a NaN stays */
static void take_max(float *y, const float *x, size_t C)
{
    for (size_t c = 0; c < C; c++) {
        y[c] = x[c] > y[c] || x[c] != x[c] ? x[c] : y[c];
    }
}

static void add_frame(float *y, const float *x, size_t C)
{
    for (size_t c = 0; c < C; c++) {
        y[c] += x[c];
    }
}

static void divide(float *y, size_t count, size_t C)
{
    for (size_t c = 0; c < C; c++) {
        y[c] /= (float)count;
    }
}

/* ---- Windows --------------------------------------------------------------------------------------------- */

typedef struct pool_params {
    sc_window window;
    bool counts_padding; /* an average is over padding too, as far as it goes */
} pool_params;

static sc_status pool1d_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    const bool average = node->op == &sc_op_avg_pool1d;
    pool_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_window *w = &p->window;
    sc_status status = SC_OK;
    w->dilation = 1; /* graphs of before these three were there have none of them */
    if (!average && sc_json_get(attributes, "dilation") != NULL) {
        status = sc_attr_size(builder, node, attributes, "dilation", 1, &w->dilation);
    }
    if (status == SC_OK && sc_json_get(attributes, "ceil_mode") != NULL) {
        status = sc_attr_bool(builder, node, attributes, "ceil_mode", &w->ceil);
    }
    if (status == SC_OK && average && sc_json_get(attributes, "count_include_pad") != NULL) {
        status = sc_attr_bool(builder, node, attributes, "count_include_pad", &p->counts_padding);
    }
    if (status == SC_OK) {
        status = sc_window_parse(builder, node, attributes, "pool_size", w);
    }
    const size_t span = sc_window_span(w);
    if (status == SC_OK && (w->padding == SC_CAUSAL || w->left >= span || w->right >= span)) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): padding must be valid, same, or two numbers of frames less "
                       "than a window's, %zu", node->layer, node->op->name, span);
    }
    if (status == SC_OK && (w->ceil || p->counts_padding) && w->padding != SC_EXPLICIT) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): ceil_mode and count_include_pad need padding of two numbers",
                       node->layer, node->op->name);
    }
    return status;
}

/* A row of no frames has no window, whatever its padding. */
static size_t pool1d_frames(const sc_node *node, size_t n)
{
    return n > 0 ? sc_window_frames(&((const pool_params *)node->params)->window, n) : 0;
}

static sc_status pool1d_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    return sc_time_infer(node, pool1d_frames, in[0].dim[2], in, out, error);
}

/* The frames of window t that lie within a row of n: from, from + dilation, ... below `to`. Padding is no frame; with a
 * dilation there may be none at all. */
static void pool1d_window(const sc_window *w, size_t n, size_t t, size_t *from, size_t *to)
{
    const size_t left = sc_window_left(w, n), start = t * w->stride, end = start + sc_window_span(w) - left;
    const size_t skipped = start < left ? (left - start + w->dilation - 1) / w->dilation : 0;
    *from = start + skipped * w->dilation - left;
    *to = end < n ? end : n;
}

static void max_pool1d_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const sc_window *w = &((const pool_params *)node->params)->window;
    const size_t C = sc_in_shape(node, frame, 0)->dim[2];
    for (size_t t = 0; t < made; t++, y += C) {
        size_t from, to;
        pool1d_window(w, n, t, &from, &to);
        for (size_t c = 0; c < C; c++) {
            y[c] = -INFINITY;
        }
        for (size_t i = from; i < to; i += w->dilation) {
            take_max(y, x + i * C, C);
        }
    }
}

static void avg_pool1d_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const pool_params *p = node->params;
    const sc_window *w = &p->window;
    const size_t C = sc_in_shape(node, frame, 0)->dim[2], padded = w->left + n + w->right;
    for (size_t t = 0; t < made; t++, y += C) {
        size_t from, to;
        pool1d_window(w, n, t, &from, &to);
        memcpy(y, x + from * C, C * sizeof(float));
        for (size_t i = from + 1; i < to; i++) {
            add_frame(y, x + i * C, C);
        }
        const size_t start = t * w->stride, all = padded - start < w->size ? padded - start : w->size;
        divide(y, p->counts_padding ? all : to - from, C);
    }
}

static void max_pool1d_run(const sc_node *node, sc_frame *frame)
{
    sc_time_run(node, frame, pool1d_frames, max_pool1d_row);
}

static void avg_pool1d_run(const sc_node *node, sc_frame *frame)
{
    sc_time_run(node, frame, pool1d_frames, avg_pool1d_row);
}

static const char *pool1d_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "it pools over frames that are still to come" : NULL;
}

const sc_op sc_op_max_pool1d = {.name = "max_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .maps_lengths = true,
                                .parse = pool1d_parse, .infer = pool1d_infer, .run = max_pool1d_run,
                                .moves = pool1d_moves};
const sc_op sc_op_avg_pool1d = {.name = "avg_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .maps_lengths = true,
                                .parse = pool1d_parse, .infer = pool1d_infer, .run = avg_pool1d_run,
                                .moves = pool1d_moves};

/* ---- Parts of a row ---------------------------------------------------------------------------------------- */

typedef struct adaptive_params {
    int function;
    size_t n;
} adaptive_params;

static sc_status adaptive_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"mean", "max", NULL};
    adaptive_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_choice(builder, node, attributes, "function", names, &p->function);
    return status == SC_OK ? sc_attr_size(builder, node, attributes, "n", 1, &p->n) : status;
}

/* (B, T, C) -> (B, n, C) */
static sc_status adaptive_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank != 3) {
        return sc_rank_error(node, "(batch, time, channels)", &in[0], error);
    }
    out[0] = in[0];
    out[0].dim[1] = ((const adaptive_params *)node->params)->n;
    return SC_OK;
}

/* floor(i T/n), of an i T that may be past all sizes */
static size_t part_of(size_t i, size_t T, size_t n)
{
    return i * (T / n) + i * (T % n) / n;
}

/* y[i] = mean or maximum of x[t], floor(i T/n) <= t < ceil((i + 1) T/n), T a row's own frames, t ascending; zeros for T = 0 */
static void adaptive_run(const sc_node *node, sc_frame *frame)
{
    const adaptive_params *p = node->params;
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t rows = frame->rows * shape->dim[0], most = shape->dim[1], C = shape->dim[2], n = p->n;
    const int64_t *lengths = sc_lengths(node, frame);
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    memset(y, 0, rows * n * C * sizeof(float));
    for (size_t m = 0; m < rows; m++, x += most * C) {
        const size_t T = lengths != NULL ? (size_t)lengths[m] : most;
        for (size_t i = 0; i < n; i++, y += C) {
            const size_t first = part_of(i, T, n), last = part_of(i + 1, T, n), end = last + ((i + 1) * (T % n) % n > 0);
            for (size_t t = first; t < end; t++) {
                if (t == first) {
                    memcpy(y, x + t * C, C * sizeof(float));
                } else {
                    (p->function == 0 ? add_frame : take_max)(y, x + t * C, C);
                }
            }
            if (p->function == 0 && T > 0) {
                divide(y, end - first, C);
            }
        }
    }
}

static const char *adaptive_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "it pools over the whole sequence" : NULL;
}

const sc_op sc_op_adaptive_pool1d = {.name = "adaptive_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                     .parse = adaptive_parse, .infer = adaptive_infer, .run = adaptive_run,
                                     .moves = adaptive_moves};

/* ---- Whole rows -------------------------------------------------------------------------------------------- */

static sc_status global_pool_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank != 3) {
        return sc_rank_error(node, "(batch, time, channels)", &in[0], error);
    }
    out[0] = (sc_shape){.rank = 2, .dim = {in[0].dim[0], in[0].dim[2]}};
    return SC_OK;
}

/* (B, T, C) and a mask (B, T) or none -> (B, C) */
static sc_status global_avg_pool1d_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const sc_status status = global_pool_infer(node, in, out, error);
    return status == SC_OK ? sc_mask_fits(node, 1, in, error) : status;
}

/* mean over the row's frames that the mask does not leave out, t ascending. Zeros for a row of no frames; 0/0 for one whose
 * frames are all left out, as in Keras. */
static void global_avg_pool1d_run(const sc_node *node, sc_frame *frame)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t rows = frame->rows * shape->dim[0], T = shape->dim[1], C = shape->dim[2];
    const int64_t *lengths = sc_lengths(node, frame);
    const float *mask = sc_in(node, frame, 1);
    for (size_t m = 0; m < rows; m++) {
        const float *x = sc_in(node, frame, 0) + m * T * C;
        float *y = sc_out(node, frame, 0) + m * C;
        const size_t n = lengths != NULL ? (size_t)lengths[m] : T;
        size_t count = 0;
        memset(y, 0, C * sizeof(float));
        for (size_t t = 0; t < n; t++) {
            if (mask == NULL || mask[m * T + t] != 0.0f) {
                add_frame(y, x + t * C, C);
                count++;
            }
        }
        if (n > 0) {
            divide(y, count, C);
        }
    }
}

/* maximum over the row's frames; zeros for no frame */
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
            take_max(y, x + t * C, C);
        }
    }
}

static const char *global_pool_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING || !sc_mask_moves_with(node, in, 1, 0) ? "it pools over the whole sequence" : NULL;
}

const sc_op sc_op_global_avg_pool1d = {.name = "global_avg_pool1d", .min_inputs = 1, .max_inputs = 2, .outputs = 1,
                                       .masks = 1u << 1, .infer = global_avg_pool1d_infer, .run = global_avg_pool1d_run,
                                       .moves = global_pool_moves};
const sc_op sc_op_global_max_pool1d = {.name = "global_max_pool1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                       .infer = global_pool_infer, .run = global_max_pool1d_run,
                                       .moves = global_pool_moves};
