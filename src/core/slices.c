/* What picks, repeats or reorders the elements of a value: permute, repeat, slice, index. Axes count from the start, the batch
 * is never one of them. Along time a row is as if it were alone: its positions from the end count from its own. */
#include "plan.h"

#include <string.h>

/* Lengths of a node that leaves the frames as they are: those behind it are those before it. */
static void keep_lengths(sc_builder *builder, const sc_node *node)
{
    if (node->lengths_out != SC_NONE) {
        sc_value *values = builder->plan->values;
        values[node->lengths_out].root = values[node->lengths[0]].root;
    }
}

/* ---- Permute ------------------------------------------------------------------------------------------------------ */

typedef struct permute_params {
    size_t from[SC_MAX_RANK]; /* of each axis of the output: that of the input */
} permute_params;

static sc_status permute_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    permute_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const size_t rank = builder->plan->shapes[node->inputs[0]].rank;
    const sc_json *dims = sc_json_get(attributes, "dims");
    bool fits = rank >= 2 && dims != NULL && dims->type == SC_JSON_ARRAY && dims->count == rank - 1;
    bool taken[SC_MAX_RANK] = {false};
    const sc_json *dim = fits ? dims->child : NULL;
    for (size_t d = 1; fits && d < rank; d++, dim = dim->next) {
        fits = sc_json_size(dim, &p->from[d]) && p->from[d] >= 1 && p->from[d] < rank && !taken[p->from[d]];
        if (fits) {
            taken[p->from[d]] = true;
        }
    }
    node->refuses_lengths = p->from[1] != 1;
    return fits ? SC_OK
                : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (permute): dims must be every axis of %zu but the batch, once",
                          node->layer, rank);
}

static sc_status permute_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)error;
    const permute_params *p = node->params;
    out[0] = in[0];
    for (size_t d = 1; d < in[0].rank; d++) {
        out[0].dim[d] = in[0].dim[p->from[d]];
    }
    return SC_OK;
}

static const char *permute_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && ((const permute_params *)node->params)->from[1] != 1 ? "it moves the time axis" : NULL;
}

/* n elements that lie `stride` apart */
static void gather(void *to, const void *from, size_t n, size_t stride, size_t bytes)
{
    if (bytes == sizeof(float)) {
        float *y = to;
        const float *x = from;
        for (size_t k = 0; k < n; k++) {
            y[k] = x[k * stride];
        }
        return;
    }
    int64_t *y = to;
    const int64_t *x = from;
    for (size_t k = 0; k < n; k++) {
        y[k] = x[k * stride];
    }
}

static void permute_run(const sc_node *node, sc_frame *frame)
{
    const permute_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0), *whole = &frame->shapes[node->outputs[0]];
    size_t stride[SC_MAX_RANK], last = whole->rank - 1;
    for (size_t d = 0; d <= last; d++) {
        stride[d] = sc_shape_size(in, p->from[d] + 1);
    }
    const size_t n = whole->dim[last], runs = sc_runs_before(frame, whole, last), bytes = sc_in_bytes(node, frame);
    const char *x = frame->data[node->inputs[0]];
    char *y = frame->data[node->outputs[0]];
    for (size_t i = 0; i < runs; i++, y += n * bytes) {
        gather(y, x + sc_offset(whole, last, stride, i) * bytes, n, stride[last], bytes);
    }
}

/* ---- Repeat ------------------------------------------------------------------------------------------------------- */

typedef struct repeat_params {
    size_t axis, repeats;
} repeat_params;

static sc_status repeat_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    repeat_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_axis(builder, node, attributes, builder->plan->shapes[node->inputs[0]].rank, &p->axis);
    if (p->axis != 1) {
        keep_lengths(builder, node);
    }
    return status == SC_OK ? sc_attr_size(builder, node, attributes, "repeats", 1, &p->repeats) : status;
}

static sc_status repeat_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const repeat_params *p = node->params;
    out[0] = in[0];
    size_t *dim = &out[0].dim[p->axis];
    return *dim == SC_UNKNOWN || sc_mul(*dim, p->repeats, dim)
               ? SC_OK
               : sc_fail(error, SC_BAD_SHAPE, "layer '%s' (repeat): its output is too large", node->layer);
}

static const char *repeat_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && ((const repeat_params *)node->params)->axis == 1 ? "it makes more frames than it takes" : NULL;
}

/* y[.., i*repeats + r, ..] = x[.., i, ..] */
static void repeat_run(const sc_node *node, sc_frame *frame)
{
    const repeat_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const size_t runs = sc_runs_before(frame, in, p->axis + 1);
    const size_t n = sc_shape_size(in, p->axis + 1) * sc_in_bytes(node, frame); /* bytes of a slice */
    const char *x = frame->data[node->inputs[0]];
    char *y = frame->data[node->outputs[0]];
    for (size_t i = 0; i < runs; i++, x += n) {
        for (size_t r = 0; r < p->repeats; r++, y += n) {
            memcpy(y, x, n);
        }
    }
    const int64_t *lengths = sc_lengths(node, frame);
    int64_t *lengths_out = lengths != NULL && node->lengths_out != SC_NONE ? frame->data[node->lengths_out] : NULL;
    for (size_t m = 0; p->axis == 1 && lengths_out != NULL && m < frame->rows; m++) {
        lengths_out[m] = lengths[m] * (int64_t)p->repeats;
    }
}

/* ---- Slice -------------------------------------------------------------------------------------------------------- */

typedef struct slice_params {
    size_t axis;
    int64_t start, stop, step;
    bool has_start, has_stop;
} slice_params;

/* Null or a whole number */
static sc_status slice_bound(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, bool *has,
                             int64_t *value)
{
    const sc_json *found = sc_json_get(attributes, key);
    *has = found == NULL || found->type != SC_JSON_NULL;
    return *has ? sc_attr_integer(builder, node, attributes, key, value) : SC_OK;
}

static sc_status slice_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    slice_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = sc_attr_axis(builder, node, attributes, builder->plan->shapes[node->inputs[0]].rank, &p->axis);
    if (status == SC_OK) {
        status = slice_bound(builder, node, attributes, "start", &p->has_start, &p->start);
    }
    if (status == SC_OK) {
        status = slice_bound(builder, node, attributes, "stop", &p->has_stop, &p->stop);
    }
    if (status == SC_OK) {
        status = sc_attr_integer(builder, node, attributes, "step", &p->step);
    }
    if (status == SC_OK && p->step == 0) {
        status = sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (slice): step must not be 0", node->layer);
    }
    /* From near the end to near the start: a shorter row may give more frames than the longest one, for which there is room. */
    const bool low_from_end = p->step > 0 ? p->has_start && p->start < 0 : p->has_stop && p->stop < 0;
    const bool high_from_start = p->step > 0 ? p->has_stop && p->stop >= 0 : p->has_start && p->start >= 0;
    node->refuses_lengths = p->axis == 1 && low_from_end && high_from_start;
    if (p->axis != 1) {
        keep_lengths(builder, node);
    }
    return status;
}

/* A bound as Python reads it, of `n` positions: negative ones count from the end, and none lies outside. */
static int64_t bound(int64_t value, int64_t n, int64_t least, int64_t most)
{
    const int64_t from_start = value < 0 ? value + n : value;
    return from_start < least ? least : from_start > most ? most : from_start;
}

/* How many of `size` positions x[start:stop:step] takes, and the first of them */
static size_t slice_count(const slice_params *p, size_t size, size_t *first)
{
    const int64_t n = (int64_t)size, least = p->step > 0 ? 0 : -1, most = p->step > 0 ? n : n - 1;
    const int64_t start = p->has_start ? bound(p->start, n, least, most) : p->step > 0 ? least : most;
    const int64_t stop = p->has_stop ? bound(p->stop, n, least, most) : p->step > 0 ? most : least;
    const int64_t span = p->step > 0 ? stop - start : start - stop, stride = p->step > 0 ? p->step : -p->step;
    *first = span > 0 ? (size_t)start : 0;
    return span > 0 ? (size_t)((span - 1) / stride + 1) : 0;
}

static sc_status slice_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)error;
    const slice_params *p = node->params;
    out[0] = in[0];
    size_t first = 0, *dim = &out[0].dim[p->axis];
    *dim = *dim != SC_UNKNOWN ? slice_count(p, *dim, &first) : SC_UNKNOWN;
    return SC_OK;
}

static const char *slice_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && ((const slice_params *)node->params)->axis == 1 ? "it takes some frames of the sequence" : NULL;
}

/* y[.., i, ..] = x[.., first + i*step, ..]; frames past a row's new end are 0 */
static void slice_run(const sc_node *node, sc_frame *frame)
{
    const slice_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0), *whole = &frame->shapes[node->outputs[0]];
    const size_t size = in->dim[p->axis], room = whole->dim[p->axis];
    const size_t n = sc_shape_size(in, p->axis + 1) * sc_in_bytes(node, frame); /* bytes of a position */
    const size_t runs = sc_runs_before(frame, in, p->axis);
    const int64_t *lengths = p->axis == 1 ? sc_lengths(node, frame) : NULL; /* then a run is a row */
    int64_t *lengths_out = lengths != NULL && node->lengths_out != SC_NONE ? frame->data[node->lengths_out] : NULL;
    const char *x = frame->data[node->inputs[0]];
    char *y = frame->data[node->outputs[0]];
    for (size_t m = 0; m < runs; m++, x += size * n, y += room * n) {
        size_t first = 0;
        const size_t count = slice_count(p, lengths != NULL ? (size_t)lengths[m] : size, &first);
        for (size_t i = 0; i < count; i++) {
            memcpy(y + i * n, x + (size_t)((int64_t)first + (int64_t)i * p->step) * n, n);
        }
        memset(y + count * n, 0, (room - count) * n);
        if (lengths_out != NULL) {
            lengths_out[m] = (int64_t)count;
        }
    }
}

/* ---- Index -------------------------------------------------------------------------------------------------------- */

typedef struct index_params {
    size_t axis;
    int64_t index; /* negative ones count from the end */
} index_params;

static sc_status index_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    index_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_axis(builder, node, attributes, builder->plan->shapes[node->inputs[0]].rank, &p->axis);
    return status == SC_OK ? sc_attr_integer(builder, node, attributes, "index", &p->index) : status;
}

/* Where it lies among `size` positions, or SC_NONE */
static size_t index_of(const index_params *p, size_t size)
{
    const int64_t from_start = p->index < 0 ? p->index + (int64_t)size : p->index;
    return from_start >= 0 && from_start < (int64_t)size ? (size_t)from_start : SC_NONE;
}

static sc_status index_error(const sc_node *node, size_t size, sc_error *error)
{
    const index_params *p = node->params;
    return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (index): there is no position %lld in axis %zu of size %zu", node->layer,
                   (long long)p->index, p->axis, size);
}

/* Of a time axis, where rows may end anywhere, any size will do. */
static sc_status index_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const index_params *p = node->params;
    const size_t size = in[0].dim[p->axis];
    const bool time = p->axis == 1 && node->n_lengths > 0;
    if (!time && size != SC_UNKNOWN && index_of(p, size) == SC_NONE) {
        return index_error(node, size, error);
    }
    out[0] = (sc_shape){.rank = in[0].rank - 1};
    for (size_t d = 0; d < out[0].rank; d++) {
        out[0].dim[d] = in[0].dim[d + (d >= p->axis)];
    }
    return SC_OK;
}

static sc_status index_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    const index_params *p = node->params;
    const size_t size = in[0].dim[p->axis];
    return size != SC_UNKNOWN && index_of(p, size) == SC_NONE ? index_error(node, size, builder->error) : SC_OK;
}

/* The last frame of those so far is the one that came. */
static const char *index_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    const index_params *p = node->params;
    const bool frames = in[0] == SC_MOVING && p->axis == 1;
    out[0] = frames ? SC_LAST : in[0];
    return frames && p->index != -1 ? "it takes one frame of the sequence, and not the last" : NULL;
}

/* y = x[.., index, ..]; zeros of a row that has no such frame */
static void index_run(const sc_node *node, sc_frame *frame)
{
    const index_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const size_t size = in->dim[p->axis], runs = sc_runs_before(frame, in, p->axis);
    const size_t n = sc_shape_size(in, p->axis + 1) * sc_in_bytes(node, frame); /* bytes of a position */
    const int64_t *lengths = p->axis == 1 ? sc_lengths(node, frame) : NULL; /* then a run is a row */
    const char *x = frame->data[node->inputs[0]];
    char *y = frame->data[node->outputs[0]];
    for (size_t m = 0; m < runs; m++, x += size * n, y += n) {
        const size_t at = index_of(p, lengths != NULL ? (size_t)lengths[m] : size);
        if (at == SC_NONE) {
            memset(y, 0, n);
        } else {
            memcpy(y, x + at * n, n);
        }
    }
}

/* ---- The ops ------------------------------------------------------------------------------------------------------ */

const sc_op sc_op_permute = {.name = "permute", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .carries = true,
                             .parse = permute_parse, .infer = permute_infer, .run = permute_run, .moves = permute_moves};
const sc_op sc_op_repeat = {.name = "repeat", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .carries = true,
                            .maps_lengths = true, .parse = repeat_parse, .infer = repeat_infer, .run = repeat_run,
                            .moves = repeat_moves};
const sc_op sc_op_slice = {.name = "slice", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .carries = true,
                           .maps_lengths = true, .parse = slice_parse, .infer = slice_infer, .run = slice_run,
                           .moves = slice_moves};
const sc_op sc_op_index = {.name = "index", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .carries = true,
                           .parse = index_parse, .infer = index_infer, .pack = index_pack, .run = index_run,
                           .moves = index_moves};
