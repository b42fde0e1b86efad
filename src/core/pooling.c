/* Pooling over time: the maximum or the average of each window, and of a whole row.
 * Every sum and maximum goes by time, ascending; channels do not know of each other. */
#include "window.h"

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

static sc_status pool1d_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    sc_window *w = sc_new_params(builder, node, sizeof *w);
    if (w == NULL) {
        return sc_no_memory(builder);
    }
    w->dilation = 1;
    const sc_status status = sc_window_parse(builder, node, attributes, "pool_size", w);
    return status == SC_OK && w->padding == SC_CAUSAL
               ? sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): padding must be valid or same", node->layer,
                         node->op->name)
               : status;
}

static size_t pool1d_frames(const sc_node *node, size_t n)
{
    return sc_window_frames(node->params, n);
}

static sc_status pool1d_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    return sc_time_infer(node, pool1d_frames, in[0].dim[2], in, out, error);
}

/* The frames [from, to) of window t that lie within a row of n: at least one. Padding is no frame. */
static void pool1d_window(const sc_window *w, size_t n, size_t t, size_t *from, size_t *to)
{
    const size_t left = sc_window_left(w, n), start = t * w->stride, end = start + w->size - left;
    *from = start < left ? 0 : start - left;
    *to = end < n ? end : n;
}

static void max_pool1d_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const size_t C = sc_in_shape(node, frame, 0)->dim[2];
    for (size_t t = 0; t < made; t++, y += C) {
        size_t from, to;
        pool1d_window(node->params, n, t, &from, &to);
        memcpy(y, x + from * C, C * sizeof(float));
        for (size_t i = from + 1; i < to; i++) {
            take_max(y, x + i * C, C);
        }
    }
}

static void avg_pool1d_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const size_t C = sc_in_shape(node, frame, 0)->dim[2];
    for (size_t t = 0; t < made; t++, y += C) {
        size_t from, to;
        pool1d_window(node->params, n, t, &from, &to);
        memcpy(y, x + from * C, C * sizeof(float));
        for (size_t i = from + 1; i < to; i++) {
            add_frame(y, x + i * C, C);
        }
        divide(y, to - from, C);
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
    const sc_shape *mask = node->n_inputs > 1 && node->inputs[1] != SC_NONE ? &in[1] : NULL;
    if (status != SC_OK || mask == NULL) {
        return status;
    }
    bool fits = mask->rank == 2;
    for (size_t d = 0; fits && d < 2; d++) {
        fits = mask->dim[d] == in[0].dim[d] || mask->dim[d] == SC_UNKNOWN || in[0].dim[d] == SC_UNKNOWN;
    }
    return fits ? SC_OK
                : sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the mask must be (batch, time) of the input, found %s",
                          node->layer, node->op->name, sc_shape_text(mask->rank, mask->dim).text);
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
