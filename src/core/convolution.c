/* Convolution over time: conv1d, depthwise_conv1d and conv1d_transpose.
 * All but the depthwise are the kernels' matmul over row pointers: a window of frames is one row, contiguous in memory as it
 * stands wherever it needs no padding, and gathered else. A transposed convolution is a convolution for each of its phases.
 * Every output is one chain of multiply-adds from the bias, by time and then channels, in a run as in a step. */
#include "window.h"

#include <string.h>

#define CHUNK 128 /* windows that one call of a kernel gets: its pointers lie on the stack */

/* ---- Frames of a window ------------------------------------------------------------------------------------ */

/* Where the frames of a row are: in the row itself, with zeros outside of it; or, in a step, in what is kept of it. */
typedef struct source {
    const float *x;
    size_t n, left;    /* frames of x, after so many of zeros */
    const float *ring; /* of a step: the `kept` frames before x, which is one; else NULL */
    size_t oldest, kept;
} source;

/* Frame `at` of a row, counted with its zeros; `zeros` are a frame of them */
static const float *frame_at(const source *s, size_t C, size_t at, const float *zeros)
{
    if (s->ring != NULL) { /* at: frames after the oldest */
        const size_t place = s->oldest + at < s->kept ? s->oldest + at : s->oldest + at - s->kept;
        return at < s->kept ? s->ring + place * C : s->x;
    }
    return at < s->left || at - s->left >= s->n ? zeros : s->x + (at - s->left) * C;
}

/* The window from frame `start`: `taps` frames, `dilation` apart, of C channels each, of which c from `first` on. It is read
 * where it lies when that is in one piece, else gathered in `strip`. */
static const float *window_at(const source *s, size_t start, size_t taps, size_t dilation, size_t C, size_t first, size_t c,
                              const float *zeros, float *strip)
{
    const bool whole = s->ring == NULL && c == C && dilation == 1 && start >= s->left && start - s->left + taps <= s->n;
    if (whole) {
        return s->x + (start - s->left) * C;
    }
    for (size_t i = 0; i < taps; i++) {
        memcpy(strip + i * c, frame_at(s, C, start + i * dilation, zeros) + first, c * sizeof(float));
    }
    return strip;
}

static void activate_rows(const sc_frame *frame, sc_activation_spec activation, float *const *out, size_t rows, size_t F)
{
    for (size_t m = 0; m < rows && activation.kind != SC_LINEAR; m++) {
        frame->kernels->activate(activation, out[m], F);
    }
}

/* ---- Conv1D and DepthwiseConv1D ---------------------------------------------------------------------------- */

typedef struct conv_params {
    sc_window window;
    size_t filters, groups, channels; /* channels: of the whole input */
    size_t multiplier;                /* depthwise_conv1d: filters of a channel; else 0 */
    sc_activation_spec activation;
    bool by_channel;    /* a group is one channel of several: all are computed at once */
    sc_matrix *w;       /* one per group; by_channel: one, of k rows of all filters */
    const float **bias; /* likewise */
    const float *zeros; /* a frame */
} conv_params;

static sc_status conv_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    conv_params *p = node->params;
    sc_window *w = &p->window;
    sc_status status = sc_attr_size(builder, node, attributes, "dilation", 1, &w->dilation);
    if (status == SC_OK) {
        status = sc_window_parse(builder, node, attributes, "kernel_size", w);
    }
    if (status == SC_OK && w->padding == SC_EXPLICIT && w->left + 1 == sc_window_span(w) && w->right == 0) {
        w->padding = SC_CAUSAL; /* in other words */
    }
    return status == SC_OK ? sc_attr_activation(builder, node, attributes, "activation", &p->activation) : status;
}

static sc_status conv1d_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    conv_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = conv_parse(builder, node, attributes);
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "filters", 1, &p->filters);
    }
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "groups", 1, &p->groups);
    }
    if (status == SC_OK && p->filters % p->groups != 0) {
        status = sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (conv1d): %zu filters do not divide into %zu groups",
                         node->layer, p->filters, p->groups);
    }
    return status;
}

static sc_status depthwise_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    conv_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = conv_parse(builder, node, attributes);
    return status == SC_OK ? sc_attr_size(builder, node, attributes, "multiplier", 1, &p->multiplier) : status;
}

static size_t conv_frames(const sc_node *node, size_t n)
{
    return sc_window_frames(&((const conv_params *)node->params)->window, n);
}

static sc_status channels_error(const sc_node *node, size_t found, size_t expected, const char *more, sc_error *error)
{
    return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input has %zu channels, expected %s%zu", node->layer, node->op->name,
                   found, more, expected);
}

static sc_status conv1d_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const conv_params *p = node->params;
    const size_t channels = in[0].dim[2];
    if (in[0].rank == 3 && channels != SC_UNKNOWN && p->w != NULL && channels != p->channels) {
        return channels_error(node, channels, p->channels, "", error);
    }
    if (in[0].rank == 3 && channels != SC_UNKNOWN && channels % p->groups != 0) {
        return channels_error(node, channels, p->groups, "a multiple of the groups, ", error);
    }
    return sc_time_infer(node, conv_frames, p->filters, in, out, error);
}

static sc_status depthwise_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const conv_params *p = node->params;
    const size_t channels = in[0].dim[2];
    size_t filters = SC_UNKNOWN;
    if (in[0].rank == 3 && channels != SC_UNKNOWN) {
        if ((p->w != NULL && channels != p->channels) || channels == 0 || !sc_mul(channels, p->multiplier, &filters)) {
            return channels_error(node, channels, p->w != NULL ? p->channels : 1, p->w != NULL ? "" : "at least ", error);
        }
    }
    return sc_time_infer(node, conv_frames, filters, in, out, error);
}

static sc_status conv_pack_matrices(sc_builder *builder, conv_params *p, const float *w, const float *b)
{
    const size_t k = p->window.size, F = p->filters, per_group = p->channels / p->groups;
    p->by_channel = p->groups == p->channels && p->channels > 1;
    const size_t matrices = p->by_channel ? 1 : p->groups, units = F / matrices;
    sc_matrix *packed = sc_plan_alloc(builder->plan, matrices, sizeof *packed);
    p->bias = sc_plan_alloc(builder->plan, matrices, sizeof *p->bias);
    p->zeros = sc_plan_alloc(builder->plan, p->channels, sizeof(float));
    if (packed == NULL || p->bias == NULL || p->zeros == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = SC_OK;
    for (size_t g = 0; g < matrices && status == SC_OK; g++) {
        status = sc_pack_matrix(builder, w + g * units, F, k * per_group, units, 1, &packed[g]);
        if (status == SC_OK) {
            status = sc_pack_row(builder, b + g * units, units, 1, &p->bias[g]);
        }
    }
    p->w = packed;
    return status;
}

static sc_status conv_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    conv_params *p = node->params;
    const bool depthwise = p->multiplier > 0, known = in[0].dim[2] != SC_UNKNOWN;
    const size_t k = p->window.size;
    p->channels = in[0].dim[2];
    if (depthwise) {
        p->groups = p->channels;
        p->filters = known ? p->channels * p->multiplier : SC_UNKNOWN;
    }
    const size_t per_group = known ? p->channels / p->groups : SC_UNKNOWN;
    const size_t grouped[] = {k, per_group, p->filters}, by_channel[] = {k, p->channels, p->multiplier};
    const float *w = NULL, *b = NULL;
    sc_status status = sc_weight(builder, node, "W", 3, depthwise ? by_channel : grouped, &w);
    if (status == SC_OK) {
        status = sc_weight(builder, node, "b", 1, &p->filters, &b);
    }
    if (status != SC_OK || w == NULL || b == NULL) {
        return status;
    }
    if (!known) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): the number of channels is not fixed", node->layer,
                       node->op->name);
    }
    return conv_pack_matrices(builder, p, w, b);
}

/* What a chunk needs: the windows of a group, gathered; by_channel, where the frames of its windows are, and these themselves
 * where each channel has several filters. */
typedef struct conv_layout {
    size_t strip, frames, bytes;
} conv_layout;

static conv_layout layout_of(const conv_params *p)
{
    conv_layout l = {0};
    const size_t k = p->window.size, C = p->channels;
    if (!p->by_channel) {
        l.strip = sc_reserve(&l.bytes, CHUNK * k * (C / p->groups), sizeof(float));
        return l;
    }
    l.frames = sc_reserve(&l.bytes, CHUNK * k, sizeof(float *));
    l.strip = sc_reserve(&l.bytes, p->filters > C ? CHUNK * k * p->filters : 0, sizeof(float));
    return l;
}

static size_t conv_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)in;
    (void)rows;
    return layout_of(node->params).bytes;
}

/* The first frame of a source's window of that number */
static size_t start_of(const conv_params *p, const source *s, size_t number)
{
    return s->ring == NULL ? number * p->window.stride : 0;
}

/* y[t, f] = b[f] + sum over i of x[t*stride + i*dilation - left, f / multiplier] * W[i, f] */
static void convolve_channels(const conv_params *p, sc_frame *frame, const source *const *s, size_t first, size_t rows,
                              float *const *out)
{
    const size_t C = p->channels, F = p->filters, k = p->window.size, multiplier = F / C;
    const conv_layout l = layout_of(p);
    const float **a = (const float **)(void *)(frame->scratch + l.frames);
    float *strip = (float *)(void *)(frame->scratch + l.strip);
    for (size_t m = 0; m < rows; m++) {
        for (size_t i = 0; i < k; i++) {
            const float *x = frame_at(s[m], C, start_of(p, s[m], first + m) + i * p->window.dilation, p->zeros);
            if (multiplier == 1) {
                a[m * k + i] = x;
                continue;
            }
            float *repeated = strip + (m * k + i) * F;
            for (size_t c = 0; c < C; c++) {
                for (size_t j = 0; j < multiplier; j++) {
                    repeated[c * multiplier + j] = x[c];
                }
            }
            a[m * k + i] = repeated;
        }
    }
    frame->kernels->depthwise(&(sc_depthwise){.rows = rows, .a = a, .w = &p->w[0], .bias = p->bias[0], .out = out});
}

/* y[t, f] = b[f] + sum over i, c of x[t*stride + i*dilation - left, c] * W[i, c, f], within each group */
static void convolve_groups(const conv_params *p, sc_frame *frame, const source *const *s, size_t first, size_t rows,
                            float *const *out)
{
    const size_t c = p->channels / p->groups, units = p->filters / p->groups, K = p->window.size * c;
    float *strip = (float *)(void *)frame->scratch;
    const float *a[CHUNK];
    float *to[CHUNK];
    for (size_t g = 0; g < p->groups; g++) {
        for (size_t m = 0; m < rows; m++) {
            a[m] = window_at(s[m], start_of(p, s[m], first + m), p->window.size, p->window.dilation, p->channels, g * c, c,
                             p->zeros, strip + m * K);
            to[m] = out[m] + g * units;
        }
        frame->kernels->matmul(&(sc_matmul){.rows = rows, .a = a, .w = &p->w[g], .bias = p->bias[g], .out = to, .exact = true});
    }
}

/* Windows first, first + 1, ... of the sources; the only one of each in a step */
static void convolve(const conv_params *p, sc_frame *frame, const source *const *s, size_t first, size_t rows,
                     float *const *out)
{
    (p->by_channel ? convolve_channels : convolve_groups)(p, frame, s, first, rows, out);
    activate_rows(frame, p->activation, out, rows, p->filters);
}

static void conv_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const conv_params *p = node->params;
    const source row = {.x = x, .n = n, .left = sc_window_left(&p->window, n)};
    const source *s[CHUNK];
    float *out[CHUNK];
    const size_t end = sc_part(&frame->team, made, 1);
    for (size_t first = sc_part(&frame->team, made, 0); first < end; first += CHUNK) {
        const size_t rows = end - first < CHUNK ? end - first : CHUNK;
        for (size_t m = 0; m < rows; m++) {
            s[m] = &row;
            out[m] = y + (first + m) * p->filters;
        }
        convolve(p, frame, s, first, rows, out);
    }
}

static const char *conv_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    const sc_window *w = &((const conv_params *)node->params)->window;
    out[0] = in[0];
    if (in[0] != SC_MOVING || (w->padding == SC_CAUSAL && w->stride == 1) || (sc_window_span(w) == 1 && w->stride == 1 && w->padding != SC_EXPLICIT)) {
        return NULL;
    }
    return w->stride > 1 ? "it makes fewer frames than it takes (strides)" : "its padding is not causal: it waits for later frames";
}

static size_t conv_keeps(const sc_node *node, sc_kept kept[SC_MAX_KEPT])
{
    const conv_params *p = node->params;
    const size_t past = sc_window_span(&p->window) - 1;
    kept[0] = (sc_kept){.name = "frames", .frames = past, .size = p->channels, .room = p->channels};
    return past > 0;
}

/* One frame of each row, which ends the window of the frames that are kept, and then takes the oldest one's place. */
static void conv_step(const sc_node *node, sc_frame *frame)
{
    const conv_params *p = node->params;
    const size_t C = p->channels, kept = sc_window_span(&p->window) - 1;
    source sources[CHUNK];
    const source *s[CHUNK];
    float *out[CHUNK];
    const size_t end = sc_part(&frame->team, frame->rows, 1);
    for (size_t first = sc_part(&frame->team, frame->rows, 0); first < end; first += CHUNK) {
        const size_t rows = end - first < CHUNK ? end - first : CHUNK;
        for (size_t m = 0; m < rows; m++) {
            float *ring = sc_row_state(node, frame, first + m);
            sources[m] = (source){.x = sc_in(node, frame, 0) + (first + m) * C, .n = 1, .ring = ring,
                                  .oldest = *sc_ring_start(ring, kept, C), .kept = kept};
            s[m] = &sources[m];
            out[m] = sc_out(node, frame, 0) + (first + m) * p->filters;
        }
        convolve(p, frame, s, 0, rows, out);
        for (size_t m = 0; m < rows; m++) {
            float *ring = sc_row_state(node, frame, first + m);
            const size_t oldest = sources[m].oldest;
            memcpy(ring + oldest * C, sources[m].x, C * sizeof(float));
            *sc_ring_start(ring, kept, C) = oldest + 1 < kept ? oldest + 1 : 0;
        }
    }
}

static void conv_run(const sc_node *node, sc_frame *frame)
{
    if (sc_row_state(node, frame, 0) != NULL) {
        conv_step(node, frame);
        return;
    }
    sc_time_run(node, frame, conv_frames, conv_row);
}

const sc_op sc_op_conv1d = {.name = "conv1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .maps_lengths = true,
                            .parse = conv1d_parse, .infer = conv1d_infer, .pack = conv_pack, .scratch = conv_scratch,
                            .run = conv_run, .moves = conv_moves, .keeps = conv_keeps, .divides = true};
const sc_op sc_op_depthwise_conv1d = {.name = "depthwise_conv1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                      .maps_lengths = true, .parse = depthwise_parse, .infer = depthwise_infer,
                                      .pack = conv_pack, .scratch = conv_scratch, .run = conv_run, .moves = conv_moves,
                                      .keeps = conv_keeps, .divides = true};

/* ---- Conv1DTranspose ---------------------------------------------------------------------------------------- */

/* Frame t of the input adds x[t].W[j] to frame t*stride + j*dilation - crop of the output. So output frame q*stride + r - crop
 * is the sum over taps j = r + i*stride of x[q - i*dilation].W[j], as stride or dilation is 1: phase r is a convolution. */
typedef struct transpose_params {
    size_t size, stride, dilation, filters, channels;
    size_t crop, tail; /* frames cut at the start; frames out after the place of the last frame in */
    sc_activation_spec activation;
    size_t phases;     /* that have taps; those of other frames are the bias */
    sc_matrix *w;      /* of each phase, its taps by time: j descending */
    const float *bias, *zeros;
} transpose_params;

static sc_status transpose_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    transpose_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const struct {
        const char *key;
        size_t least, *value;
    } sizes[] = {{"filters", 1, &p->filters}, {"kernel_size", 1, &p->size}, {"strides", 1, &p->stride},
                 {"dilation", 1, &p->dilation}, {"crop", 0, &p->crop}, {"tail", 0, &p->tail}};
    sc_status status = sc_attr_activation(builder, node, attributes, "activation", &p->activation);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && status == SC_OK; i++) {
        status = sc_attr_size(builder, node, attributes, sizes[i].key, sizes[i].least, sizes[i].value);
    }
    if (status == SC_OK && p->stride > 1 && p->dilation > 1) {
        status = sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (conv1d_transpose): strides or dilation must be 1",
                         node->layer);
    }
    p->phases = p->stride < p->size ? p->stride : p->size;
    return status;
}

/* (n - 1)*stride + tail; no frame of none */
static size_t transpose_frames(const sc_node *node, size_t n)
{
    const transpose_params *p = node->params;
    size_t frames = 0;
    if (n == 0) {
        return 0;
    }
    return n != SC_UNKNOWN && sc_mul(n - 1, p->stride, &frames) && sc_add(frames, p->tail, &frames) ? frames : SC_UNKNOWN;
}

static sc_status transpose_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const transpose_params *p = node->params;
    if (in[0].rank == 3 && in[0].dim[2] != SC_UNKNOWN && p->w != NULL && in[0].dim[2] != p->channels) {
        return channels_error(node, in[0].dim[2], p->channels, "", error);
    }
    return sc_time_infer(node, transpose_frames, p->filters, in, out, error);
}

static size_t phase_taps(const transpose_params *p, size_t phase)
{
    return (p->size - 1 - phase) / p->stride + 1;
}

/* The rows of W (k, C, F) that belong to a phase, in the order of a window over x */
static sc_status transpose_pack_phases(sc_builder *builder, transpose_params *p, const float *w, float *taps)
{
    const size_t tap = p->channels * p->filters;
    sc_status status = SC_OK;
    for (size_t r = 0; r < p->phases && status == SC_OK; r++) {
        const size_t count = phase_taps(p, r);
        for (size_t i = 0; i < count; i++) {
            memcpy(taps + i * tap, w + (r + (count - 1 - i) * p->stride) * tap, tap * sizeof(float));
        }
        status = sc_pack_matrix(builder, taps, p->filters, count * p->channels, p->filters, 1, &p->w[r]);
    }
    return status;
}

static sc_status transpose_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    transpose_params *p = node->params;
    const size_t C = p->channels = in[0].dim[2], F = p->filters;
    const float *w = NULL, *b = NULL;
    sc_status status = sc_weight(builder, node, "W", 3, (size_t[]){p->size, C, F}, &w);
    if (status == SC_OK) {
        status = sc_weight(builder, node, "b", 1, &F, &b);
    }
    if (status != SC_OK || w == NULL || b == NULL) {
        return status;
    }
    if (C == SC_UNKNOWN) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (conv1d_transpose): the number of channels is not fixed",
                       node->layer);
    }
    const sc_allocator *allocator = &builder->plan->allocator;
    float *taps = sc_allocate(allocator, (phase_taps(p, 0) * C * F + 1) * sizeof(float)); /* C may be 0 */
    p->w = sc_plan_alloc(builder->plan, p->phases, sizeof *p->w);
    p->zeros = sc_plan_alloc(builder->plan, C, sizeof(float));
    status = taps != NULL && p->w != NULL && p->zeros != NULL ? transpose_pack_phases(builder, p, w, taps)
                                                              : sc_no_memory(builder);
    sc_release(allocator, taps);
    return status == SC_OK ? sc_pack_row(builder, b, F, 1, &p->bias) : status;
}

static size_t transpose_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)in;
    (void)rows;
    const transpose_params *p = node->params;
    size_t bytes = 0;
    sc_reserve(&bytes, CHUNK * phase_taps(p, 0) * p->channels, sizeof(float));
    return bytes;
}

/* Phase r of the places q, q + 1, ... of x: those of their output frames that the row has */
static void transpose_phase(const transpose_params *p, sc_frame *frame, const float *x, size_t n, float *y, size_t made,
                            size_t q, size_t places, size_t r)
{
    const size_t C = p->channels, F = p->filters, taps = r < p->phases ? phase_taps(p, r) : 0;
    const source s = {.x = x, .n = n, .left = taps > 0 ? (taps - 1) * p->dilation : 0};
    float *strip = (float *)(void *)frame->scratch;
    const float *a[CHUNK];
    float *out[CHUNK];
    size_t rows = 0;
    for (size_t m = 0; m < places; m++) {
        const size_t at = (q + m) * p->stride + r;
        if (at < p->crop || at - p->crop >= made) {
            continue;
        }
        out[rows] = y + (at - p->crop) * F;
        if (taps == 0) {
            memcpy(out[rows], p->bias, F * sizeof(float));
        } else {
            a[rows] = window_at(&s, q + m, taps, p->dilation, C, 0, C, p->zeros, strip + rows * taps * C);
        }
        rows++;
    }
    if (taps > 0 && rows > 0) {
        frame->kernels->matmul(&(sc_matmul){.rows = rows, .a = a, .w = &p->w[r], .bias = p->bias, .out = out, .exact = true});
    }
    activate_rows(frame, p->activation, out, rows, F);
}

static void transpose_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const transpose_params *p = node->params;
    const size_t begin = p->crop / p->stride, places = made > 0 ? (p->crop + made - 1) / p->stride + 1 - begin : 0;
    const size_t end = begin + sc_part(&frame->team, places, 1);
    for (size_t q = begin + sc_part(&frame->team, places, 0); q < end; q += CHUNK) {
        for (size_t r = 0; r < p->stride; r++) {
            transpose_phase(p, frame, x, n, y, made, q, end - q < CHUNK ? end - q : CHUNK, r);
        }
    }
}

static void transpose_run(const sc_node *node, sc_frame *frame)
{
    sc_time_run(node, frame, transpose_frames, transpose_row);
}

static const char *transpose_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "a frame that it makes waits for later ones, or it makes more than it takes" : NULL;
}

const sc_op sc_op_conv1d_transpose = {.name = "conv1d_transpose", .min_inputs = 1, .max_inputs = 1, .outputs = 1,
                                      .maps_lengths = true, .parse = transpose_parse, .infer = transpose_infer,
                                      .pack = transpose_pack, .scratch = transpose_scratch, .run = transpose_run,
                                      .moves = transpose_moves, .divides = true};
