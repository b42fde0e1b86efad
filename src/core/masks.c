/* Masks: values (B, T) of 0 and 1 that say which frames count. They are made here; the recurrent layers, the masked mean and
 * attention read them. An input of the graph that is a mask may be absent at a call: then every frame counts. */
#include "plan.h"

#include <float.h>
#include <string.h>

sc_status sc_mask_fits(const sc_node *node, size_t mask, const sc_shape *in, sc_error *error)
{
    if (mask >= node->n_inputs || node->inputs[mask] == SC_NONE) {
        return SC_OK;
    }
    bool fits = in[mask].rank == 2;
    for (size_t d = 0; fits && d < 2; d++) {
        const size_t found = in[mask].dim[d], expected = in[0].dim[d];
        fits = found == expected || found == SC_UNKNOWN || expected == SC_UNKNOWN;
    }
    return fits ? SC_OK
                : sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the mask must be (batch, time) of the input, found %s",
                          node->layer, node->op->name, sc_shape_text(in[mask].rank, in[mask].dim).text);
}

/* ---- From ids and features ---------------------------------------------------------------------------------- */

static sc_status mask_ids_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank < 2) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must be ids (batch, time), found %zu axes", node->layer,
                       node->op->name, in[0].rank);
    }
    out[0] = in[0];
    return SC_OK;
}

/* mask = (id != 0) */
static void mask_ids_run(const sc_node *node, sc_frame *frame)
{
    const size_t size = frame->rows * sc_shape_size(sc_in_shape(node, frame, 0), 0);
    const int64_t *ids = frame->data[node->inputs[0]];
    float *mask = sc_out(node, frame, 0);
    for (size_t i = 0; i < size; i++) {
        mask[i] = ids[i] != 0 ? 1.0f : 0.0f;
    }
}

typedef struct frames_params {
    float value;
} frames_params;

static sc_status frames_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    frames_params *params = sc_new_params(builder, node, sizeof *params);
    if (params == NULL) {
        return sc_no_memory(builder);
    }
    double value = 0.0;
    const sc_status status = sc_attr_number(builder, node, attributes, "value", -FLT_MAX, &value);
    params->value = (float)value;
    return status;
}

static sc_status frames_rank(const sc_node *node, const sc_shape *in, sc_error *error)
{
    return in[0].rank > 2 ? SC_OK
                          : sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must be (batch, time, ..., features), found %zu "
                                    "axes", node->layer, node->op->name, in[0].rank);
}

static sc_status mask_frames_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    out[0] = in[0];
    out[0].rank--;
    return frames_rank(node, in, error);
}

static sc_status masking_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    out[0] = in[0];
    return frames_rank(node, in, error);
}

/* Whether any feature is not `value`; a NaN is none. */
static bool counts(const float *x, size_t features, float value)
{
    for (size_t i = 0; i < features; i++) {
        if (x[i] != value) {
            return true;
        }
    }
    return false;
}

/* mask = any(x != value) over the features */
static void mask_frames_run(const sc_node *node, sc_frame *frame)
{
    const size_t F = sc_in_shape(node, frame, 0)->dim[sc_in_shape(node, frame, 0)->rank - 1];
    const size_t frames = frame->rows * sc_shape_size(&frame->shapes[node->outputs[0]], 0);
    const float value = ((const frames_params *)node->params)->value, *x = sc_in(node, frame, 0);
    float *mask = sc_out(node, frame, 0);
    for (size_t i = 0; i < frames; i++) {
        mask[i] = counts(x + i * F, F, value) ? 1.0f : 0.0f;
    }
}

/* y = x * any(x != value) */
static void masking_run(const sc_node *node, sc_frame *frame)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t F = shape->dim[shape->rank - 1], size = frame->rows * sc_shape_size(shape, 0);
    const float value = ((const frames_params *)node->params)->value, *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    for (size_t at = 0; at < size; at += F) {
        if (counts(x + at, F, value)) {
            memcpy(y + at, x + at, F * sizeof(float));
        } else {
            memset(y + at, 0, F * sizeof(float));
        }
    }
}

/* ---- From masks --------------------------------------------------------------------------------------------- */

typedef struct merge_params {
    bool all;
} merge_params;

static sc_status mask_merge_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    merge_params *params = sc_new_params(builder, node, sizeof *params);
    return params != NULL ? sc_attr_bool(builder, node, attributes, "all", &params->all) : sc_no_memory(builder);
}

static sc_status mask_merge_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    out[0] = in[0];
    for (size_t i = 0; i < node->n_inputs; i++) {
        const size_t a = out[0].dim[1], b = in[i].dim[1];
        const bool fits = a == b || a == SC_UNKNOWN || b == SC_UNKNOWN || a == 1 || b == 1; /* one for all frames */
        if (in[i].rank != 2 || in[i].dim[0] != in[0].dim[0] || !fits) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): masks 1 and %zu are not of the same frames", node->layer,
                           node->op->name, i + 1);
        }
        out[0].dim[1] = a == 1 || (a == SC_UNKNOWN && b != 1) ? b : a;
    }
    return SC_OK;
}

/* mask = any(masks), or all(masks) */
static void mask_merge_run(const sc_node *node, sc_frame *frame)
{
    const bool all = ((const merge_params *)node->params)->all;
    const sc_shape *shape = &frame->shapes[node->outputs[0]];
    const size_t T = shape->dim[1], size = frame->rows * sc_shape_size(shape, 0);
    float *mask = sc_out(node, frame, 0);
    for (size_t i = 0; i < size; i++) {
        bool counted = all;
        for (size_t k = 0; k < node->n_inputs; k++) {
            const float *given = sc_in(node, frame, k);
            const size_t at = sc_in_shape(node, frame, k)->dim[1] == 1 ? i / T : i;
            const bool frame_counts = given == NULL || given[at] != 0.0f;
            counted = all ? counted && frame_counts : counted || frame_counts;
        }
        mask[i] = counted ? 1.0f : 0.0f;
    }
}

/* The mask of one frame for all goes with any other. */
static const char *mask_merge_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    bool found = false;
    out[0] = SC_WHOLE;
    for (size_t i = 0; i < node->n_inputs; i++) {
        const size_t mask = node->inputs[i];
        if (in[i] == SC_WHOLE && plan->shapes[mask].dim[1] == 1) {
            continue;
        }
        if (found && in[i] != out[0]) {
            return "it joins the masks of a sequence and of what is none";
        }
        found = true;
        out[0] = in[i];
    }
    return NULL;
}

/* a (B, T1, ...), b (B, T2, ...), the mask of a or none, that of b or none -> (B, T1+T2) */
static sc_status mask_concat_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    bool fits = in[0].rank >= 2 && in[1].rank >= 2 && in[0].dim[0] == in[1].dim[0];
    for (size_t i = 2; fits && i < node->n_inputs; i++) {
        const size_t frames = in[i - 2].dim[1];
        fits = node->inputs[i] == SC_NONE ||
               (in[i].rank == 2 && in[i].dim[0] == in[0].dim[0] &&
                (in[i].dim[1] == frames || in[i].dim[1] == SC_UNKNOWN || frames == SC_UNKNOWN));
    }
    if (!fits) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): inputs must be two sequences and their masks (batch, time)",
                       node->layer, node->op->name);
    }
    const bool known = in[0].dim[1] != SC_UNKNOWN && in[1].dim[1] != SC_UNKNOWN;
    out[0] = (sc_shape){.rank = 2, .dim = {in[0].dim[0], known ? in[0].dim[1] + in[1].dim[1] : SC_UNKNOWN}};
    return SC_OK;
}

/* mask = [mask of a, mask of b], ones where one is absent */
static void mask_concat_run(const sc_node *node, sc_frame *frame)
{
    const size_t rows = frame->rows * sc_in_shape(node, frame, 0)->dim[0];
    float *mask = sc_out(node, frame, 0);
    for (size_t m = 0; m < rows; m++) {
        for (size_t i = 0; i < 2; i++) {
            const size_t T = sc_in_shape(node, frame, i)->dim[1];
            const float *given = sc_in(node, frame, 2 + i);
            for (size_t t = 0; t < T; t++) {
                *mask++ = given == NULL || given[m * T + t] != 0.0f ? 1.0f : 0.0f;
            }
        }
    }
}

static const char *mask_concat_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0] == in[1] ? in[0] : SC_LAST;
    const bool fits = sc_mask_moves_with(node, in, 2, 0) && sc_mask_moves_with(node, in, 3, 1);
    const bool moves = in[0] == SC_MOVING || in[1] == SC_MOVING || out[0] == SC_FOLDED;
    return moves ? "it joins sequences end to end" : fits ? NULL : "the mask of a value does not move with it";
}

const sc_op sc_op_mask_ids = {.name = "mask_ids", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .ids = true, .is_mask = true,
                              .infer = mask_ids_infer, .run = mask_ids_run, .moves = sc_moves_along};
const sc_op sc_op_mask_frames = {.name = "mask_frames", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .is_mask = true,
                                 .parse = frames_parse, .infer = mask_frames_infer, .run = mask_frames_run,
                                 .moves = sc_moves_along};
const sc_op sc_op_masking = {.name = "masking", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = frames_parse,
                             .infer = masking_infer, .run = masking_run, .moves = sc_moves_along};
const sc_op sc_op_mask_merge = {.name = "mask_merge", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .masks = UINT32_MAX,
                                .is_mask = true, .parse = mask_merge_parse, .infer = mask_merge_infer, .run = mask_merge_run,
                                .moves = mask_merge_moves};
const sc_op sc_op_mask_concat = {.name = "mask_concat", .min_inputs = 2, .max_inputs = 4, .outputs = 1, .masks = 3 << 2,
                                 .is_mask = true, .infer = mask_concat_infer, .run = mask_concat_run,
                                 .moves = mask_concat_moves};
