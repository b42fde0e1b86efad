/* The recurrent layers: SimpleRNN, LSTM and GRU over whole sequences, one direction of one layer per node. Here a node is read,
 * checked and packed; what cells are beyond the plain ones is read in recurrent_cell.c, the time loop is in recurrent_run.c. */
#include "recurrent.h"

#include <math.h>

static sc_status rnn_parse(sc_builder *builder, sc_node *node, const sc_json *attributes, enum sc_rnn_cell cell)
{
    sc_rnn_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    p->cell = cell;
    p->mask = cell == SC_LSTM ? 3 : 2;
    sc_status status = sc_attr_one_hot(builder, node, attributes);
    p->ids = node->id_rows > 0;
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "units", 1, &p->units);
    }
    p->outputs = p->units;
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "reverse", &p->reverse);
    }
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "realign", &p->realign);
    }
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "return_sequences", &p->sequences);
    }
    if (status == SC_OK) {
        status = sc_attr_activation(builder, node, attributes, "activation", &p->activation);
    }
    if (status == SC_OK && cell == SC_GRU) {
        status = sc_attr_bool(builder, node, attributes, "reset_after", &p->reset_after);
        p->reset_before = !p->reset_after;
    }
    const size_t mask = p->mask < node->n_inputs ? node->inputs[p->mask] : SC_NONE;
    if (status == SC_OK && mask != SC_NONE) {
        status = sc_attr_bool(builder, node, attributes, "zero_output_for_mask", &p->zero_output);
        /* what the caller masks, no step has */
        p->keeps_output = builder->plan->values[mask].kind != SC_MASK && !p->zero_output;
    }
    return status == SC_OK ? sc_rnn_cell_parse(builder, node, attributes) : status;
}

static sc_status lstm_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    sc_status status = rnn_parse(builder, node, attributes, SC_LSTM);
    size_t projection = 0;
    if (status == SC_OK && sc_json_get(attributes, "projection") != NULL) {
        status = sc_attr_size(builder, node, attributes, "projection", 0, &projection);
    }
    if (status != SC_OK) {
        return status;
    }
    if (projection == 0 && sc_json_get(node->weights, "P") != NULL) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): weight 'P' is named, but there is no attribute 'projection'",
                       node->layer, node->op->name);
    }
    sc_rnn_params *p = node->params;
    p->projects = projection > 0;
    p->outputs = p->projects ? projection : p->units;
    if (!p->projects && p->projection_clip < INFINITY) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): attribute 'projection_clip', but there is no 'projection'",
                       node->layer, node->op->name);
    }
    return SC_OK;
}

static sc_status gru_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    return rnn_parse(builder, node, attributes, SC_GRU);
}

static sc_status simple_rnn_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    return rnn_parse(builder, node, attributes, SC_SIMPLE_RNN);
}

static bool same_or_unknown(size_t a, size_t b)
{
    return a == b || a == SC_UNKNOWN || b == SC_UNKNOWN;
}

/* x (B, T, I) or ids (B, T), h0 (B, H), [c0 (B, H)], mask (B, T) -> y (B, T, H) or (B, H), h (B, H), [c (B, H)]; with a projection
 * y and all h are as wide as that */
static sc_status rnn_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const sc_rnn_params *p = node->params;
    if (in[0].rank != (p->ids ? 2 : 3)) {
        return sc_rank_error(node, p->ids ? "ids (batch, time)" : "(batch, time, features)", &in[0], error);
    }
    if (p->weights.u.data != NULL && !p->ids && in[0].dim[2] != p->inputs && in[0].dim[2] != SC_UNKNOWN) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must have %zu features, found %zu", node->layer,
                       node->op->name, p->inputs, in[0].dim[2]);
    }
    const sc_shape state = {.rank = 2, .dim = {in[0].dim[0], p->outputs}}, cell = {.rank = 2, .dim = {in[0].dim[0], p->units}};
    for (size_t i = 1; i < node->n_inputs; i++) {
        if (i == p->mask) {
            break;
        }
        const sc_shape *is = i == 1 ? &state : &cell;
        if (node->inputs[i] != SC_NONE &&
            (in[i].rank != 2 || in[i].dim[1] != is->dim[1] || (in[i].dim[0] != is->dim[0] && is->dim[0] != SC_UNKNOWN))) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): an initial state must be (batch, %zu)", node->layer,
                           node->op->name, is->dim[1]);
        }
    }
    const sc_shape *mask = p->mask < node->n_inputs && node->inputs[p->mask] != SC_NONE ? &in[p->mask] : NULL;
    if (mask != NULL && (mask->rank != 2 || mask->dim[0] != in[0].dim[0] || !same_or_unknown(mask->dim[1], in[0].dim[1]))) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): its mask must be (batch, time) like its input, found %s", node->layer,
                       node->op->name, sc_shape_text(mask->rank, mask->dim).text);
    }
    if (mask != NULL && in[0].dim[1] > UINT32_MAX && in[0].dim[1] != SC_UNKNOWN) { /* the run numbers steps so */
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): more than 2^32 masked frames", node->layer, node->op->name);
    }
    out[0] = p->sequences ? (sc_shape){.rank = 3, .dim = {in[0].dim[0], in[0].dim[1], p->outputs}} : state;
    out[1] = state;
    out[2] = cell;
    return SC_OK;
}

/* What gives the input's share of a step: W, or rows of b + W. */
static sc_status pack_input(sc_builder *builder, const sc_rnn_params *p, const float *w, const float *b, size_t ld, size_t gates,
                            sc_matrix *matrix, const float **table)
{
    const bool norm = sc_rnn_norm_products(p);
    const sc_gate_norm input = {.units = p->units, .w = p->input_scale, .b = p->input_offset, .together = true,
                                .epsilon = norm ? p->full->epsilon : 0.0};
    return p->ids ? sc_pack_table(builder, w, b, ld, p->inputs, p->units, gates, norm ? &input : NULL, table)
                  : sc_pack_matrix(builder, w, ld, p->inputs, p->units, gates, matrix);
}

/* A reset-before GRU needs r before it can form n's sum: its matrices come apart as (r, z) and n. */
static sc_status pack_reset_before(sc_builder *builder, sc_rnn_params *p, const float *w, const float *u, const float *b)
{
    const size_t H = p->units, ld = 3 * H;
    sc_status status = pack_input(builder, p, w, b, ld, 2, &p->weights.w, &p->weights.table);
    if (status == SC_OK) {
        status = pack_input(builder, p, w + 2 * H, b + 2 * H, ld, 1, &p->weights.w_n, &p->weights.table_n);
    }
    if (status == SC_OK) {
        status = sc_pack_recurrent(builder, u, ld, H, H, 2, &p->weights.u);
    }
    if (status == SC_OK) {
        status = sc_pack_recurrent(builder, u + 2 * H, ld, H, H, 1, &p->weights.u_n);
    }
    if (status == SC_OK && !p->ids) {
        status = sc_pack_row(builder, b, H, 2, &p->weights.bias);
    }
    return status == SC_OK && !p->ids ? sc_pack_row(builder, b + 2 * H, H, 1, &p->weights.bias_n) : status;
}

/* The tensors of a layer; `own` is that of its kind alone, bn or P. NULL for those that are missing in a plan of shapes only. */
typedef struct rnn_tensors {
    const float *w, *u, *b, *own;
} rnn_tensors;

static sc_status find_tensors(sc_builder *builder, const sc_node *node, size_t I, size_t G, rnn_tensors *t)
{
    const sc_rnn_params *p = node->params;
    const size_t H = p->units, GH = G * H;
    sc_status status = sc_weight(builder, node, "W", 2, (size_t[]){I, GH}, &t->w);
    if (status == SC_OK) {
        status = sc_weight(builder, node, "U", 2, (size_t[]){p->outputs, GH}, &t->u);
    }
    if (status == SC_OK) {
        status = sc_weight(builder, node, "b", 1, &GH, &t->b);
    }
    if (status == SC_OK && p->reset_after) {
        status = sc_weight(builder, node, "bn", 1, &H, &t->own);
    }
    if (status == SC_OK && p->projects) {
        status = sc_weight(builder, node, "P", 2, (size_t[]){H, p->outputs}, &t->own);
    }
    return status;
}

static sc_status rnn_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    sc_rnn_params *p = node->params;
    const size_t H = p->units, I = p->ids ? node->id_rows : in[0].dim[2];
    const size_t G = p->cell == SC_LSTM ? 4 : p->cell == SC_GRU ? 3 : 1, GH = G * H;
    rnn_tensors t = {NULL, NULL, NULL, NULL};
    sc_rnn_cell_tensors cell;
    sc_status status = find_tensors(builder, node, I, G, &t);
    if (status == SC_OK) {
        status = sc_rnn_cell_find(builder, node, &cell);
    }
    if (status != SC_OK || t.w == NULL || t.u == NULL || t.b == NULL || ((p->reset_after || p->projects) && t.own == NULL) ||
        !cell.all) {
        return status;
    }
    if (I == SC_UNKNOWN) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): the number of input features is not fixed",
                       node->layer, node->op->name);
    }
    p->inputs = I;
    p->weights.units = H;
    p->weights.out_units = p->outputs;
    node->swept = (p->outputs * G * H + (p->projects ? H * p->outputs : 0)) * sizeof(float);
    const sc_kernels *kernels = builder->plan->kernels;
    const size_t panel = sc_rnn_panel(p, kernels);
    node->panels = (H + panel - 1) / panel;
    node->meetings = p->projects || p->reset_before ? 2 : 1;
    p->padded = kernels->packed_floats(1, H, 1);
    p->padded_out = kernels->packed_floats(1, p->outputs, 1);
    if (p->reset_before) {
        p->weights.row_floats = kernels->packed_floats(1, H, 2);
        p->weights.row_n_floats = p->padded;
        return pack_reset_before(builder, p, t.w, t.u, t.b);
    }
    p->weights.row_floats = kernels->packed_floats(1, H, G);
    status = sc_rnn_cell_pack(builder, node, &cell, &t.b);
    if (status == SC_OK) {
        status = pack_input(builder, p, t.w, t.b, GH, G, &p->weights.w, &p->weights.table);
    }
    if (status == SC_OK) {
        status = sc_pack_recurrent(builder, t.u, GH, p->outputs, H, G, &p->weights.u);
    }
    if (status == SC_OK && !p->ids) {
        status = sc_pack_row(builder, t.b, H, G, &p->weights.bias);
    }
    if (status == SC_OK && p->projects) {
        status = sc_pack_recurrent(builder, t.own, p->outputs, H, p->outputs, 1, &p->weights.p);
    }
    return status == SC_OK && p->reset_after ? sc_pack_row(builder, t.own, H, 1, &p->weights.recurrent_bias) : status;
}

static size_t rnn_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    const sc_rnn_params *p = node->params;
    const bool masked = p->mask < node->n_inputs && node->inputs[p->mask] != SC_NONE;
    return sc_rnn_scratch(p, rows * in[0].dim[0], in[0].dim[1], masked);
}

/* Whether an initial state is absent, an input of the graph, moved from there, or a constant: then a stream has the state. What
 * is moved from a constant is no number that a stream could begin with. */
static bool given_at_the_call(const sc_plan *plan, size_t state)
{
    if (sc_is_constant(plan, state)) {
        return true;
    }
    while (state != SC_NONE && plan->values[state].kind != SC_STATE) {
        const size_t producer = plan->values[state].producer;
        const sc_node *node = producer != SC_NONE ? &plan->nodes[producer] : NULL;
        if (node == NULL || node->n_inputs != 1 || !(node->op->view || node->op->carries)) {
            return false;
        }
        state = node->inputs[0];
    }
    return true;
}

static const char *rnn_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    const sc_rnn_params *p = node->params;
    if (!sc_mask_moves_with(node, in, p->mask, 0)) {
        return "its mask does not come with the frames";
    }
    bool last = false;
    for (size_t i = 1; i < node->n_inputs; i++) {
        last = last || in[i] == SC_LAST;
    }
    if (in[0] != SC_MOVING) {
        out[0] = out[1] = out[2] = in[0] == SC_WHOLE && last ? SC_LAST : in[0];
        return NULL;
    }
    if (p->reverse) {
        return "it reads its sequence from the end";
    }
    for (size_t i = 1; i < node->n_inputs && i < p->mask; i++) {
        if (!given_at_the_call(plan, node->inputs[i])) {
            return "its initial state is computed by another layer";
        }
    }
    out[0] = p->sequences ? SC_MOVING : SC_LAST;
    out[1] = out[2] = SC_LAST;
    return NULL;
}

static size_t rnn_keeps(const sc_node *node, sc_kept kept[SC_MAX_KEPT])
{
    const sc_rnn_params *p = node->params;
    size_t count = 0;
    kept[count++] = (sc_kept){.name = "h", .size = p->outputs, .room = p->padded_out, .first = 1};
    if (p->cell == SC_LSTM) {
        kept[count++] = (sc_kept){.name = "c", .size = p->units, .room = p->padded, .first = 2};
    }
    if (p->keeps_output) {
        kept[count++] = (sc_kept){.name = "output", .size = p->outputs, .room = p->padded_out};
    }
    return count;
}

const sc_op sc_op_lstm = {.name = "lstm", .one_hot = true, .min_inputs = 1, .max_inputs = 4, .outputs = 3, .states = true,
                          .masks = 1 << 3, .parse = lstm_parse, .infer = rnn_infer, .pack = rnn_pack, .scratch = rnn_scratch,
                          .run = sc_rnn_run, .moves = rnn_moves, .keeps = rnn_keeps, .divides = true};
const sc_op sc_op_gru = {.name = "gru", .one_hot = true, .min_inputs = 1, .max_inputs = 3, .outputs = 2, .states = true,
                         .masks = 1 << 2, .parse = gru_parse, .infer = rnn_infer, .pack = rnn_pack, .scratch = rnn_scratch,
                         .run = sc_rnn_run, .moves = rnn_moves, .keeps = rnn_keeps, .divides = true};
const sc_op sc_op_simple_rnn = {.name = "simple_rnn", .one_hot = true, .min_inputs = 1, .max_inputs = 3, .outputs = 2,
                                .states = true, .masks = 1 << 2, .parse = simple_rnn_parse, .infer = rnn_infer,
                                .pack = rnn_pack, .scratch = rnn_scratch, .run = sc_rnn_run, .moves = rnn_moves,
                                .keeps = rnn_keeps, .divides = true};
