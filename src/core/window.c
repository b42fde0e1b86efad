/* Where windows over time lie, and what ops that change the time axis have in common; and the op that only changes it,
 * pad1d. What is done in a window is convolution.c's and pooling.c's business. */
#include "window.h"

#include <inttypes.h>
#include <string.h>

#define MOST_PADDING ((int64_t)1 << 24)

/* ---- Windows ---------------------------------------------------------------------------------------------- */

sc_status sc_window_parse(sc_builder *builder, sc_node *node, const sc_json *attributes, const char *size_key, sc_window *w)
{
    static const char *const paddings[] = {"valid", "same", "causal", NULL};
    sc_status status = sc_attr_size(builder, node, attributes, size_key, 1, &w->size);
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "strides", 1, &w->stride);
    }
    const sc_json *padding = sc_json_get(attributes, "padding");
    if (status == SC_OK && padding != NULL && padding->type == SC_JSON_ARRAY) {
        w->padding = SC_EXPLICIT;
        const size_t most = (size_t)MOST_PADDING;
        const bool pair = padding->count == 2 && sc_json_size(padding->child, &w->left) &&
                          sc_json_size(padding->child->next, &w->right) && w->left <= most && w->right <= most;
        status = pair ? SC_OK
                      : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): attribute 'padding' must be a name, or two whole "
                                "numbers up to 2^24", node->layer, node->op->name);
    } else if (status == SC_OK) {
        status = sc_attr_choice(builder, node, attributes, "padding", paddings, &w->padding);
    }
    const bool as_many = w->padding == SC_EXPLICIT ? w->left + w->right + 1 == sc_window_span(w) : w->padding != SC_VALID;
    if (status == SC_OK && w->stride == 1 && as_many) {
        sc_lengths_stay(builder, node);
    }
    return status;
}

/* floor((n + left + right - span) / stride) + 1, with `ceil` rounded up: torch's rule */
static size_t explicit_frames(const sc_window *w, size_t n)
{
    const size_t span = sc_window_span(w);
    size_t room = 0;
    if (!sc_add(n, w->left + w->right + (w->ceil ? w->stride - 1 : 0), &room)) {
        return SC_UNKNOWN;
    }
    const size_t frames = room < span ? 0 : (room - span) / w->stride + 1;
    return frames > 0 && w->ceil && (frames - 1) * w->stride >= n + w->left ? frames - 1 : frames;
}

size_t sc_window_frames(const sc_window *w, size_t n)
{
    const size_t span = sc_window_span(w);
    if (n == SC_UNKNOWN) {
        return SC_UNKNOWN;
    }
    if (w->padding == SC_EXPLICIT) {
        return explicit_frames(w, n);
    }
    if (w->padding == SC_VALID) {
        return n < span ? 0 : (n - span) / w->stride + 1;
    }
    return n == 0 ? 0 : (n - 1) / w->stride + 1;
}

/* Keras's rule: "same" pads total = max((out-1)*stride + span - n, 0), half before */
size_t sc_window_left(const sc_window *w, size_t n)
{
    if (w->padding == SC_EXPLICIT || w->padding == SC_VALID || n == 0) {
        return w->left;
    }
    if (w->padding == SC_CAUSAL) {
        return sc_window_span(w) - 1;
    }
    const size_t covered = (sc_window_frames(w, n) - 1) * w->stride + sc_window_span(w);
    return covered > n ? (covered - n) / 2 : 0;
}

/* ---- Ops that change the time axis ------------------------------------------------------------------------- */

void sc_lengths_stay(sc_builder *builder, const sc_node *node)
{
    if (node->lengths_out != SC_NONE) {
        sc_value *values = builder->plan->values;
        values[node->lengths_out].root = values[node->lengths[0]].root;
    }
}

sc_status sc_time_infer(const sc_node *node, sc_frames_of *frames_of, size_t channels, const sc_shape *in, sc_shape *out,
                        sc_error *error)
{
    if (in[0].rank != 3) {
        return sc_rank_error(node, "(batch, time, channels)", &in[0], error);
    }
    const size_t frames = frames_of(node, in[0].dim[1]);
    if (frames == SC_UNKNOWN && in[0].dim[1] != SC_UNKNOWN) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): %zu frames are too many", node->layer, node->op->name,
                       in[0].dim[1]);
    }
    out[0] = (sc_shape){.rank = 3, .dim = {in[0].dim[0], frames, channels}};
    return SC_OK;
}

void sc_time_run(const sc_node *node, sc_frame *frame, sc_frames_of *frames_of, sc_run_row *run_row)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0), *whole = &frame->shapes[node->outputs[0]];
    const size_t rows = frame->rows * shape->dim[0], T = shape->dim[1], C = shape->dim[2];
    const size_t frames = whole->dim[1], F = whole->dim[2];
    const int64_t *lengths = sc_lengths(node, frame);
    int64_t *lengths_out = lengths != NULL && node->lengths_out != SC_NONE ? frame->data[node->lengths_out] : NULL;
    for (size_t m = 0; m < rows; m++) {
        const size_t n = lengths != NULL ? (size_t)lengths[m] : T;
        const size_t made = frames_of(node, n);
        float *y = sc_out(node, frame, 0) + m * frames * F;
        run_row(node, frame, sc_in(node, frame, 0) + m * T * C, n, y, made);
        if (frame->team.member > 0) {
            continue;
        }
        memset(y + made * F, 0, (frames - made) * F * sizeof(float));
        if (lengths_out != NULL && lengths_out != lengths) {
            lengths_out[m] = (int64_t)made;
        }
    }
}

/* ---- Padding and cropping ------------------------------------------------------------------------------------ */

/* What stands in the frames that are added: zeros, a number, or frames of the row itself: the row turned round at its first
 * and last frame, that frame, or the row from its other end on. */
enum pad_mode { PAD_ZERO, PAD_CONSTANT, PAD_REFLECT, PAD_REPLICATE, PAD_CIRCULAR };

typedef struct pad_params {
    int64_t left, right; /* frames; below 0: frames cut */
    int mode;
    float value;
} pad_params;

static sc_status pad1d_mode(sc_builder *builder, const sc_node *node, const sc_json *attributes, pad_params *p)
{
    static const char *const modes[] = {"zero", "constant", "reflect", "replicate", "circular", NULL};
    if (sc_json_get(attributes, "mode") == NULL) { /* graphs of before there were modes */
        return SC_OK;
    }
    sc_status status = sc_attr_choice(builder, node, attributes, "mode", modes, &p->mode);
    bool given = true;
    double value = 0;
    if (status == SC_OK && p->mode == PAD_CONSTANT) {
        status = sc_attr_real(builder, node, attributes, "value", &given, &value);
    }
    p->value = (float)value;
    if (status == SC_OK && (!given || (p->mode > PAD_CONSTANT && (p->left < 0 || p->right < 0)))) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (pad1d): %s", node->layer,
                       given ? "frames are cut with the modes zero and constant alone" : "its value must be a number");
    }
    return status;
}

static sc_status pad1d_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    pad_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = sc_attr_integer(builder, node, attributes, "left", &p->left);
    if (status == SC_OK) {
        status = sc_attr_integer(builder, node, attributes, "right", &p->right);
    }
    if (status == SC_OK && (imaxabs(p->left) > MOST_PADDING || imaxabs(p->right) > MOST_PADDING)) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (pad1d): left and right must be whole numbers up to 2^24",
                       node->layer);
    }
    if (status == SC_OK) {
        status = pad1d_mode(builder, node, attributes, p);
    }
    if (status == SC_OK && p->left + p->right == 0) {
        sc_lengths_stay(builder, node);
    }
    return status;
}

static size_t pad1d_frames(const sc_node *node, size_t n)
{
    const pad_params *p = node->params;
    if (n > (size_t)(INT64_MAX - 2 * MOST_PADDING)) { /* SC_UNKNOWN too */
        return SC_UNKNOWN;
    }
    const int64_t frames = (int64_t)n + p->left + p->right;
    return frames > 0 && !(n == 0 && p->mode > PAD_CONSTANT) ? (size_t)frames : 0;
}

/* A whole sequence has the frames that are asked of it, once; a row that ends before may not. */
static sc_status pad1d_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const pad_params *p = node->params;
    const size_t most = (size_t)(p->left > p->right ? p->left : p->right), T = in[0].dim[1];
    const size_t least = p->mode == PAD_REFLECT && most > 0 ? most + 1 : p->mode == PAD_CIRCULAR ? most : 0;
    if (in[0].rank == 3 && T != SC_UNKNOWN && T < least) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (pad1d): to add %zu frames at an end, expected at least %zu frames, "
                       "found %zu", node->layer, most, least, T);
    }
    return sc_time_infer(node, pad1d_frames, in[0].dim[2], in, out, error);
}

static void fill(float *y, float value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = value;
    }
}

/* Which of a row's n frames, from 1 on, stands at place `at` of a row without end. */
static size_t frame_for(enum pad_mode mode, int64_t at, int64_t n)
{
    const int64_t period = mode == PAD_REFLECT && n > 1 ? 2 * (n - 1) : n;
    const int64_t place = (at % period + period) % period;
    if (mode == PAD_REPLICATE) {
        return (size_t)(at < 0 ? 0 : at < n ? at : n - 1);
    }
    return (size_t)(place < n ? place : period - place);
}

/* y[t] = x[t - left], or what the mode says where the row has no such frame */
static void pad1d_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made)
{
    const pad_params *p = node->params;
    const size_t C = sc_in_shape(node, frame, 0)->dim[2];
    const size_t cut = p->left < 0 ? (size_t)-p->left : 0, zeros = p->left > 0 ? (size_t)p->left : 0;
    const size_t before = zeros < made ? zeros : made;
    const size_t left_over = n > cut ? n - cut : 0, room = made - before;
    const size_t kept = left_over < room ? left_over : room;
    for (size_t t = 0; p->mode > PAD_CONSTANT && t < made; t++) {
        memcpy(y + t * C, x + frame_for((enum pad_mode)p->mode, (int64_t)t - p->left, (int64_t)n) * C, C * sizeof(float));
    }
    if (p->mode > PAD_CONSTANT) {
        return;
    }
    fill(y, p->value, before * C);
    if (kept > 0) {
        memcpy(y + before * C, x + cut * C, kept * C * sizeof(float));
    }
    fill(y + (before + kept) * C, p->value, (room - kept) * C);
}

static void pad1d_run(const sc_node *node, sc_frame *frame)
{
    sc_time_run(node, frame, pad1d_frames, pad1d_row);
}

static const char *pad1d_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    const pad_params *p = node->params;
    out[0] = in[0];
    return in[0] == SC_MOVING && (p->left != 0 || p->right != 0) ? "it adds or cuts frames at the ends of the sequence" : NULL;
}

const sc_op sc_op_pad1d = {.name = "pad1d", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .maps_lengths = true,
                           .parse = pad1d_parse, .infer = pad1d_infer, .run = pad1d_run, .moves = pad1d_moves};
