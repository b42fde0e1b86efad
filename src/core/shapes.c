/* Values under another shape, joined or stacked: views, concat, and values whose batch is behind. Nothing is computed here; what
 * picks, repeats or moves elements is in slices.c. */
#include "window.h"

#include <string.h>

static size_t sum_known(size_t a, size_t b)
{
    return a == SC_UNKNOWN || b == SC_UNKNOWN ? SC_UNKNOWN : a + b;
}

/* ---- Views ------------------------------------------------------------------------------------------------ */

static sc_status flatten_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)node;
    (void)error;
    out[0] = (sc_shape){.rank = 2, .dim = {in[0].dim[0], sc_shape_size(&in[0], 1)}};
    return SC_OK;
}

static const char *flatten_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "it joins all frames of the sequence" : NULL;
}

/* (B, T, ...) -> (B*T, ...) */
static sc_status fold_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank < 2) {
        return sc_rank_error(node, "(batch, time, ...)", &in[0], error);
    }
    out[0].rank = in[0].rank - 1;
    const sc_shape both = {.rank = 2, .dim = {in[0].dim[0], in[0].dim[1]}};
    out[0].dim[0] = sc_shape_size(&both, 0);
    for (size_t i = 1; i < out[0].rank; i++) {
        out[0].dim[i] = in[0].dim[i + 1];
    }
    return SC_OK;
}

/* (B*T, ...), like (B, T, ...) -> (B, T, ...) */
static sc_status unfold_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const sc_shape both = {.rank = 2, .dim = {in[1].dim[0], in[1].dim[1]}};
    if (in[1].rank < 2 || in[0].rank < 1 || in[0].rank + 1 > SC_MAX_RANK || sc_shape_size(&both, 0) != in[0].dim[0]) {
        return sc_rank_error(node, "a folded value and the value that was folded", &in[0], error);
    }
    out[0].rank = in[0].rank + 1;
    out[0].dim[0] = in[1].dim[0];
    out[0].dim[1] = in[1].dim[1];
    for (size_t i = 1; i < in[0].rank; i++) {
        out[0].dim[i + 1] = in[0].dim[i];
    }
    return SC_OK;
}

static const char *fold_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0] == SC_MOVING ? SC_FOLDED : in[0];
    return NULL;
}

static const char *unfold_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0] == SC_FOLDED ? in[1] : in[0];
    const bool moves = in[1] == SC_MOVING || in[1] == SC_FOLDED;
    return in[0] != SC_MOVING && (in[0] == SC_FOLDED) == moves ? NULL : "it unfolds what was not folded";
}

/* ---- Reshape, expand -------------------------------------------------------------------------------------------- */

typedef struct reshape_params {
    size_t keep;              /* leading axes that stay, the batch among them; */
    size_t rank;              /* the others become so many */
    size_t dim[SC_MAX_RANK];  /* of these sizes; SC_UNKNOWN, at most once, is what is left */
    sc_shape from;            /* what the others must be; rank 0: anything */
} reshape_params;

/* Sizes from 1; -1, which is SC_UNKNOWN then, where `unknown` is more than 0. */
static bool read_sizes(const sc_json *list, size_t most, size_t unknown, size_t *dim, size_t *rank)
{
    bool fits = list != NULL && list->type == SC_JSON_ARRAY && list->count <= most;
    for (const sc_json *size = fits ? list->child : NULL; fits && size != NULL; size = size->next) {
        size_t *to = &dim[(*rank)++];
        if (size->type == SC_JSON_NUMBER && size->number == -1) {
            *to = SC_UNKNOWN;
            fits = unknown-- > 0;
        } else {
            fits = sc_json_size(size, to) && *to >= 1 && *to <= (size_t)1 << 32;
        }
    }
    return fits;
}

static sc_status reshape_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    reshape_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_size(builder, node, attributes, "keep", 1, &p->keep);
    if (status != SC_OK) {
        return status;
    }
    const size_t rank = builder->plan->shapes[node->inputs[0]].rank;
    const sc_json *from = sc_json_get(attributes, "sizes");
    bool fits = p->keep <= rank && read_sizes(sc_json_get(attributes, "shape"), SC_MAX_RANK - p->keep, 1, p->dim, &p->rank);
    if (fits && (from == NULL || from->type != SC_JSON_NULL)) {
        fits = read_sizes(from, SC_MAX_RANK - p->keep, 0, p->from.dim, &p->from.rank) && p->keep + p->from.rank == rank;
    }
    return fits ? SC_OK
                : sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (reshape): of an input of %zu axes, keep must be some, sizes "
                          "null or those of the others, and shape a list of sizes from 1, at most one of them -1, with no "
                          "more than %d axes in all", node->layer, rank, SC_MAX_RANK);
}

/* The product of sizes that are known; false when one is not, or it is past all memory. */
static bool known_product(const size_t *dim, size_t count, size_t *product)
{
    *product = 1;
    bool known = true;
    for (size_t i = 0; i < count; i++) {
        known = known && dim[i] != SC_UNKNOWN && sc_mul(*product, dim[i], product);
    }
    return known;
}

static sc_status reshape_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const reshape_params *p = node->params;
    out[0] = (sc_shape){.rank = p->keep + p->rank};
    memcpy(out[0].dim, in[0].dim, p->keep * sizeof *out[0].dim);
    size_t left = SC_NONE, to = 1, from = 1;
    bool fits = true;
    for (size_t i = 0; i < p->rank; i++) {
        out[0].dim[p->keep + i] = p->dim[i];
        left = p->dim[i] == SC_UNKNOWN ? p->keep + i : left;
        fits = fits && (p->dim[i] == SC_UNKNOWN || sc_mul(to, p->dim[i], &to));
    }
    bool known = true;
    for (size_t d = p->keep; d < in[0].rank; d++) {
        known = known && in[0].dim[d] != SC_UNKNOWN;
        fits = fits && (p->from.rank == 0 || in[0].dim[d] == SC_UNKNOWN || in[0].dim[d] == p->from.dim[d - p->keep]);
        fits = fits && (!known || sc_mul(from, in[0].dim[d], &from));
    }
    if (fits && known && left != SC_NONE) {
        out[0].dim[left] = from / to;
    }
    fits = fits && (!known || (left != SC_NONE ? from % to == 0 : from == to));
    return fits ? SC_OK
                : sc_fail(error, SC_BAD_SHAPE, "layer '%s' (reshape): a row of shape %s does not divide into %s", node->layer,
                          sc_shape_text(in[0].rank - 1, in[0].dim + 1).text,
                          sc_shape_text(out[0].rank - 1, out[0].dim + 1).text);
}

/* A target that begins with the time axis as it is keeps it: whatever the number of frames then is, in a step too. */
static sc_status reshape_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    reshape_params *p = node->params;
    if (p->keep == 1 && p->rank > 0 && in[0].rank > 1) {
        size_t from = 0, to = 0;
        const bool same = p->dim[0] != SC_UNKNOWN && p->dim[0] == in[0].dim[1];
        const bool rest = p->dim[0] == SC_UNKNOWN && known_product(p->dim + 1, p->rank - 1, &to) &&
                          known_product(in[0].dim + 2, in[0].rank - 2, &from) && from == to;
        if (same || rest) {
            p->keep++;
            p->rank--;
            p->from.rank -= p->from.rank > 0;
            memmove(p->from.dim, p->from.dim + 1, p->from.rank * sizeof *p->from.dim);
            memmove(p->dim, p->dim + 1, p->rank * sizeof *p->dim);
        }
    }
    node->refuses_lengths = p->keep == 1;
    if (p->keep > 1) {
        sc_lengths_stay(builder, node);
    }
    return SC_OK;
}

static const char *reshape_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && ((const reshape_params *)node->params)->keep == 1 ? "it joins or divides frames" : NULL;
}

/* A new axis of size 1 */
static sc_status expand_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    size_t *axis = sc_new_params(builder, node, sizeof *axis);
    if (axis == NULL) {
        return sc_no_memory(builder);
    }
    const sc_status status = sc_attr_axis(builder, node, attributes, builder->plan->shapes[node->inputs[0]].rank + 1, axis);
    node->refuses_lengths = *axis == 1;
    return status;
}

static sc_status expand_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const size_t axis = *(const size_t *)node->params;
    if (in[0].rank + 1 > SC_MAX_RANK) {
        return sc_rank_error(node, "of fewer axes", &in[0], error);
    }
    out[0] = (sc_shape){.rank = in[0].rank + 1};
    for (size_t d = 0; d < out[0].rank; d++) {
        out[0].dim[d] = d == axis ? 1 : in[0].dim[d - (d > axis)];
    }
    return SC_OK;
}

static const char *expand_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && *(const size_t *)node->params == 1 ? "it moves the time axis" : NULL;
}

/* ---- Concatenate -------------------------------------------------------------------------------------------- */

typedef struct concat_params {
    size_t axis;
} concat_params;

static sc_status concat_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    concat_params *params = sc_new_params(builder, node, sizeof *params);
    if (params == NULL) {
        return sc_no_memory(builder);
    }
    const sc_json *axis = sc_json_get(attributes, "axis");
    const size_t rank = builder->plan->shapes[node->inputs[0]].rank;
    const double number = axis != NULL && axis->type == SC_JSON_NUMBER ? axis->number : 0;
    const double from_start = number < 0 ? number + (double)rank : number;
    if (!(from_start >= 1 && from_start < (double)rank) || from_start != (double)(size_t)from_start) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (concat): axis must name an axis of %zu but not the batch",
                       node->layer, rank);
    }
    params->axis = (size_t)from_start;
    /* Rows of different lengths cannot be joined end to end by axis alone. */
    if (params->axis == 1) {
        for (size_t i = 0; i < node->n_lengths; i++) {
            if (node->lengths[i] != SC_NONE) {
                node->refuses_lengths = true;
            }
        }
    }
    return SC_OK;
}

static sc_status concat_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const size_t axis = ((const concat_params *)node->params)->axis;
    out[0] = in[0];
    for (size_t i = 1; i < node->n_inputs; i++) {
        bool fits = in[i].rank == in[0].rank;
        for (size_t d = 0; fits && d < in[0].rank; d++) {
            if (d == axis) {
                out[0].dim[d] = sum_known(out[0].dim[d], in[i].dim[d]);
            } else if (in[i].dim[d] != out[0].dim[d]) {
                fits = in[i].dim[d] == SC_UNKNOWN || out[0].dim[d] == SC_UNKNOWN;
                out[0].dim[d] = out[0].dim[d] == SC_UNKNOWN ? in[i].dim[d] : out[0].dim[d];
            }
        }
        if (!fits) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (concat): inputs 1 and %zu differ in an axis other than %zu",
                           node->layer, i + 1, axis);
        }
    }
    return SC_OK;
}

static const char *concat_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    const char *why = sc_moves_together(plan, node, in, out);
    for (size_t i = 0; why == NULL && out[0] == SC_MOVING && i < node->n_inputs; i++) {
        why = in[i] != SC_MOVING ? "it joins a sequence with what is none" : NULL;
    }
    const bool along_time = ((const concat_params *)node->params)->axis == 1;
    return why == NULL && out[0] == SC_MOVING && along_time ? "it joins sequences end to end" : why;
}

static void concat_run(const sc_node *node, sc_frame *frame)
{
    const size_t axis = ((const concat_params *)node->params)->axis;
    const sc_shape *whole = &frame->shapes[node->outputs[0]];
    const size_t bytes = sc_in_bytes(node, frame), inner = sc_shape_size(whole, axis) * bytes; /* of one outer position */
    const size_t outer = sc_runs_before(frame, whole, axis);
    char *to = frame->data[node->outputs[0]];
    for (size_t i = 0; i < node->n_inputs; i++) {
        const size_t part = sc_shape_size(sc_in_shape(node, frame, i), axis) * bytes;
        const char *from = frame->data[node->inputs[i]];
        for (size_t n = 0; n < outer; n++) {
            memcpy(to + n * inner, from + n * part, part);
        }
        to += part;
    }
}

/* ---- The batch behind other axes --------------------------------------------------------------------------------- */

typedef struct select_params {
    size_t index;
} select_params;

static sc_status select_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    select_params *params = sc_new_params(builder, node, sizeof *params);
    if (params == NULL) {
        return sc_no_memory(builder);
    }
    return sc_attr_size(builder, node, attributes, "index", 0, &params->index);
}

/* (n, B, H) -> (B, H) */
static sc_status select_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank != 3 || ((const select_params *)node->params)->index >= in[0].dim[0]) {
        return sc_rank_error(node, "(layers, batch, units) with the layer that is selected", &in[0], error);
    }
    out[0] = (sc_shape){.rank = 2, .dim = {1, in[0].dim[2]}};
    return SC_OK;
}

static void select_run(const sc_node *node, sc_frame *frame)
{
    const size_t bytes = sc_in_shape(node, frame, 0)->dim[2] * sc_in_bytes(node, frame);
    const char *x = frame->data[node->inputs[0]];
    char *y = frame->data[node->outputs[0]];
    if (x == NULL) { /* an absent state is zero */
        memset(y, 0, frame->rows * bytes);
        return;
    }
    const size_t first = ((const select_params *)node->params)->index * frame->batch + frame->row;
    memcpy(y, x + first * bytes, frame->rows * bytes);
}

static const char *select_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return in[0] == SC_MOVING ? "it takes one frame of the sequence" : NULL;
}

/* n values (B, H) -> (n, B, H) */
static sc_status stack_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    for (size_t i = 0; i < node->n_inputs; i++) {
        if (in[i].rank != 2 || in[i].dim[0] != 1 || in[i].dim[1] != in[0].dim[1]) {
            return sc_rank_error(node, "(batch, units), of the same units as the others", &in[i], error);
        }
    }
    out[0] = (sc_shape){.rank = 3, .dim = {node->n_inputs, 1, in[0].dim[1]}};
    return SC_OK;
}

/* Numbers (B, T) that move would become units. */
static const char *stack_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    const char *why = sc_moves_together(plan, node, in, out);
    return why == NULL && out[0] == SC_MOVING ? "it stacks sequences" : why;
}

static void stack_run(const sc_node *node, sc_frame *frame)
{
    const size_t bytes = sc_in_shape(node, frame, 0)->dim[1] * sc_in_bytes(node, frame);
    char *y = frame->data[node->outputs[0]];
    for (size_t i = 0; i < node->n_inputs; i++) {
        memcpy(y + (i * frame->batch + frame->row) * bytes, frame->data[node->inputs[i]], frame->rows * bytes);
    }
}

/* (n, B, ...) <-> (B, n, ...): the batch changes places with what stands before it, one axis or several. */
typedef struct swap_params {
    size_t axis; /* of the batch in the caller's memory */
} swap_params;

static sc_status swap_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    swap_params *params = sc_new_params(builder, node, sizeof *params);
    if (params == NULL) {
        return sc_no_memory(builder);
    }
    params->axis = 1;
    if (sc_json_get(attributes, "axis") != NULL) {
        const sc_status status = sc_attr_axis(builder, node, attributes, SC_MAX_RANK, &params->axis);
        if (status != SC_OK) {
            return status;
        }
    }
    sc_value *values = builder->plan->values;
    if (node->op->batch_in == 0) {
        values[node->outputs[0]].batch_axis = params->axis;
    } else if (values[node->inputs[0]].batch_axis != params->axis) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): input '%s' has its batch in axis %zu, not %zu",
                       node->layer, node->op->name, values[node->inputs[0]].name, values[node->inputs[0]].batch_axis,
                       params->axis);
    }
    return SC_OK;
}

static sc_status swap_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const size_t axis = ((const swap_params *)node->params)->axis, before = node->op->batch_in != 0 ? axis : 0;
    if (in[0].rank <= axis || in[0].dim[before] != 1) {
        return sc_rank_error(node, before > 0 ? "(n, batch, ...)" : "(batch, n, ...), not folded, with as many axes as are "
                             "turned", &in[0], error);
    }
    const size_t after = axis - before;
    out[0] = (sc_shape){.rank = in[0].rank};
    for (size_t d = 0, to = 0; d < in[0].rank; d++) {
        if (d != before) {
            to += to == after;
            out[0].dim[to++] = in[0].dim[d];
        }
    }
    out[0].dim[after] = 1;
    return SC_OK;
}

/* Copies between (n, B, ...), whose parts of a row lie apart by the batch of the call, and a block's (B, n, ...). */
static void swap_run(const sc_node *node, sc_frame *frame)
{
    const bool first = node->op->batch_in == 1;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const size_t axis = ((const swap_params *)node->params)->axis;
    const size_t bytes = sc_shape_size(in, axis + 1) * sc_in_bytes(node, frame);
    size_t n = 1;
    for (size_t d = 0; d <= axis; d++) {
        n *= in->dim[d]; /* the batch's is 1 */
    }
    const char *x = frame->data[node->inputs[0]];
    char *y = frame->data[node->outputs[0]];
    if (bytes == 0) {
        return;
    }
    if (x == NULL) { /* an absent state is zero */
        memset(y, 0, frame->rows * n * bytes);
        return;
    }
    for (size_t m = 0; m < frame->rows; m++) {
        for (size_t i = 0; i < n; i++) {
            const size_t inside = (m * n + i) * bytes, outside = (i * frame->batch + frame->row + m) * bytes;
            memcpy(y + (first ? inside : outside), x + (first ? outside : inside), bytes);
        }
    }
}

/* ---- The ops ------------------------------------------------------------------------------------------------------ */

const sc_op sc_op_flatten = {.name = "flatten", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .view = true,
                             .refuses_lengths = true, .infer = flatten_infer, .moves = flatten_moves};
const sc_op sc_op_fold = {.name = "fold", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .view = true, .infer = fold_infer,
                          .moves = fold_moves};
const sc_op sc_op_unfold = {.name = "unfold", .min_inputs = 2, .max_inputs = 2, .outputs = 1, .view = true,
                            .infer = unfold_infer, .moves = unfold_moves};
const sc_op sc_op_reshape = {.name = "reshape", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .view = true,
                             .maps_lengths = true, .parse = reshape_parse, .infer = reshape_infer, .pack = reshape_pack,
                             .moves = reshape_moves};
const sc_op sc_op_expand = {.name = "expand", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .view = true,
                            .parse = expand_parse, .infer = expand_infer, .moves = expand_moves};
const sc_op sc_op_concat = {.name = "concat", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .carries = true,
                            .parse = concat_parse, .infer = concat_infer, .run = concat_run, .moves = concat_moves};
const sc_op sc_op_select = {.name = "select", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .states = true,
                            .carries = true, .batch_in = 1, .parse = select_parse, .infer = select_infer,
                            .run = select_run, .moves = select_moves};
const sc_op sc_op_stack = {.name = "stack", .min_inputs = 1, .max_inputs = SC_NONE, .outputs = 1, .carries = true,
                           .batch_out = 1, .infer = stack_infer, .run = stack_run, .moves = stack_moves};
const sc_op sc_op_batch_first = {.name = "batch_first", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .states = true,
                                 .carries = true, .batch_in = 1, .parse = swap_parse, .infer = swap_infer,
                                 .run = swap_run, .moves = sc_moves_along};
const sc_op sc_op_batch_second = {.name = "batch_second", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .carries = true,
                                  .batch_out = 1, .parse = swap_parse, .infer = swap_infer, .run = swap_run,
                                  .moves = sc_moves_along};
