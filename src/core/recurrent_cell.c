/* What a recurrent cell is beyond the plain one (docs/design.md, "Cells in full"): activations of its own for every gate, clips,
 * peepholes, coupled gates, layer norm. Read, checked and packed here; computed in cells_full.h. */
#include "recurrent.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { RNN = 1 << SC_SIMPLE_RNN, GRU = 1 << SC_GRU, LSTM = 1 << SC_LSTM };

/* What is said of other cells, or without what it belongs to, is an error: it would have no effect. */
static const struct {
    const char *key;
    unsigned cells;
    const char *needs; /* another attribute, or NULL */
} options[] = {
    {"clip", RNN | GRU | LSTM, NULL},      {"gate_activations", GRU | LSTM, NULL}, {"update_keeps", GRU, NULL},
    {"cell_clip", LSTM, NULL},             {"projection_clip", LSTM, NULL},        {"input_forget", LSTM, NULL},
    {"layer_norm", LSTM, NULL},            {"norm_state", LSTM, "layer_norm"},     {"epsilon", LSTM, "layer_norm"},
};

static const char *const norms[] = {"none", "products", "gates", NULL}, *const states[] = {"none", "kept", "output", NULL};
/* scale and offset of sc_cell_norm, and of c */
static const char *const of_products[] = {"input_scale", "input_offset", "recurrent_scale", "recurrent_offset", NULL};
static const char *const of_gates[] = {"gate_scale", "gate_offset", NULL};
static const char *const of_state[] = {"state_scale", "state_offset", NULL};
static const char *const of_no_norm[] = {NULL};

static const char *const *norm_roles(sc_cell_norm norm)
{
    return norm == SC_NORM_PRODUCTS ? of_products : norm == SC_NORM_GATES ? of_gates : of_no_norm;
}

static sc_status refuse(sc_builder *builder, const sc_node *node, const char *what, const char *name, const char *why)
{
    return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): %s '%s' %s", node->layer, node->op->name, what, name, why);
}

static sc_status check_options(sc_builder *builder, const sc_node *node, const sc_json *attributes)
{
    const sc_rnn_params *p = node->params;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (sc_json_get(attributes, options[i].key) == NULL) {
            continue;
        }
        if (!(options[i].cells >> p->cell & 1)) {
            return refuse(builder, node, "attribute", options[i].key, "is none of this cell's");
        }
        if (options[i].needs != NULL && sc_json_get(attributes, options[i].needs) == NULL) {
            return refuse(builder, node, "attribute", options[i].key, "has no meaning without 'layer_norm'");
        }
    }
    return SC_OK;
}

static bool has_peepholes(const sc_node *node)
{
    return sc_json_get(node->weights, "peepholes") != NULL;
}

/* Weights that are named and would not be read. */
static sc_status check_weights(sc_builder *builder, const sc_node *node, const sc_cell *cell)
{
    const sc_rnn_params *p = node->params;
    const char *const *const roles[] = {of_products, of_gates, of_state};
    const bool read[] = {cell->norm == SC_NORM_PRODUCTS, cell->norm == SC_NORM_GATES, cell->state_norm != SC_STATE_AS_IT_IS};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; roles[i][k] != NULL && !read[i]; k++) {
            if (sc_json_get(node->weights, roles[i][k]) != NULL) {
                return refuse(builder, node, "weight", roles[i][k], "is named, but no norm reads it");
            }
        }
    }
    if (!has_peepholes(node)) {
        return SC_OK;
    }
    if (p->cell != SC_LSTM) {
        return refuse(builder, node, "weight", "peepholes", "is none of this cell's");
    }
    return cell->norm == SC_NORM_NOTHING
               ? SC_OK
               : refuse(builder, node, "weight", "peepholes", "and 'layer_norm' exclude each other");
}

/* A limit above 0, and no denormal, which the workers would take for 0; infinite where there is none. */
static sc_status read_clip(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, float *clip)
{
    const sc_json *found = sc_json_get(attributes, key);
    *clip = INFINITY;
    if (found == NULL) {
        return SC_OK;
    }
    if (found->type != SC_JSON_NUMBER || !(found->number >= (double)FLT_MIN && found->number <= (double)FLT_MAX)) {
        return refuse(builder, node, "attribute", key, "must be a normal float32 number above 0");
    }
    *clip = (float)found->number;
    return SC_OK;
}

/* Activations by the letters of their gates; `activation` and `recurrent_activation` are those of the others. */
static sc_status read_activations(sc_builder *builder, const sc_node *node, const sc_json *attributes, sc_cell *cell)
{
    const sc_rnn_params *p = node->params;
    const char *const letters = p->cell == SC_LSTM ? "ifgoh" : "rzn", *const inner = p->cell == SC_LSTM ? "gh" : "n";
    sc_activation_spec recurrent;
    sc_status status = sc_attr_activation(builder, node, attributes, "recurrent_activation", &recurrent);
    for (size_t k = 0; letters[k] != '\0'; k++) {
        cell->gates[k] = strchr(inner, letters[k]) != NULL ? p->activation : recurrent;
    }
    const sc_json *given = sc_json_get(attributes, "gate_activations");
    if (status == SC_OK && given != NULL && given->type != SC_JSON_OBJECT) {
        return refuse(builder, node, "attribute", "gate_activations", "must be an object: a gate's letter -> [kind, alpha, beta]");
    }
    for (const sc_json *gate = given != NULL ? given->child : NULL; gate != NULL && status == SC_OK; gate = gate->next) {
        const char *place = strlen(gate->key) == 1 ? strchr(letters, gate->key[0]) : NULL;
        if (place == NULL) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): attribute 'gate_activations': '%s' is no gate; the "
                           "cell's are the letters %s", node->layer, node->op->name, gate->key, letters);
        }
        const char key[] = {'g', 'a', 't', 'e', ' ', gate->key[0], '\0'};
        status = sc_attr_activation_of(builder, node, gate, key, &cell->gates[place - letters]);
    }
    return status;
}

/* f of coupled gates is 1 - i: an activation of its own, or a norm over its sums too, would have no meaning. */
static sc_status check_coupled(sc_builder *builder, const sc_node *node, const sc_json *attributes, const sc_cell *cell)
{
    if (cell->coupled && sc_json_get(sc_json_get(attributes, "gate_activations"), "f") != NULL) {
        return refuse(builder, node, "attribute", "gate_activations", "has an f, which with 'input_forget' is 1 - i");
    }
    if (cell->coupled && cell->norm == SC_NORM_PRODUCTS) {
        return refuse(builder, node, "attribute", "input_forget", "leaves no f for 'layer_norm' \"products\"");
    }
    return SC_OK;
}

static sc_status read_norm(sc_builder *builder, const sc_node *node, const sc_json *attributes, sc_cell *cell)
{
    int norm = SC_NORM_NOTHING, state = SC_STATE_AS_IT_IS;
    if (sc_json_get(attributes, "layer_norm") == NULL) {
        return SC_OK;
    }
    sc_status status = sc_attr_choice(builder, node, attributes, "layer_norm", norms, &norm);
    if (status == SC_OK && norm == SC_NORM_NOTHING) {
        return refuse(builder, node, "attribute", "layer_norm", "must be \"products\" or \"gates\", or absent");
    }
    if (status == SC_OK) {
        status = sc_attr_number(builder, node, attributes, "epsilon", 0, &cell->epsilon);
    }
    if (status == SC_OK && sc_json_get(attributes, "norm_state") != NULL) {
        status = sc_attr_choice(builder, node, attributes, "norm_state", states, &state);
    }
    cell->norm = (sc_cell_norm)norm;
    cell->state_norm = (sc_state_norm)state;
    return status;
}

/* Which of the cell's activations look at all units. */
static bool over_units(const sc_cell *cell, size_t gates)
{
    for (size_t k = 0; k < gates; k++) {
        if (cell->gates[k].kind >= SC_SOFTMAX) {
            return true;
        }
    }
    return false;
}

/* Whether the cell is the one that its step kernel is made for. */
static bool is_plain(const sc_rnn_params *p, const sc_node *node, const sc_cell *cell)
{
    static const enum sc_activation usual[2][5] = {{SC_SIGMOID, SC_SIGMOID, SC_TANH},
                                                   {SC_SIGMOID, SC_SIGMOID, SC_TANH, SC_SIGMOID, SC_TANH}};
    bool plain = cell->clip == INFINITY && cell->cell_clip == INFINITY && !cell->coupled && !cell->replaces &&
                 cell->norm == SC_NORM_NOTHING && !has_peepholes(node) && !p->reset_before;
    for (size_t k = 0; plain && p->cell != SC_SIMPLE_RNN && k < (p->cell == SC_LSTM ? 5u : 3u); k++) {
        plain = cell->gates[k].kind == usual[p->cell == SC_LSTM][k];
    }
    return plain;
}

sc_status sc_rnn_cell_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    sc_rnn_params *p = node->params;
    sc_cell *cell = sc_plan_alloc(builder->plan, 1, sizeof *cell);
    if (cell == NULL) {
        return sc_no_memory(builder);
    }
    bool keeps = true;
    sc_status status = check_options(builder, node, attributes);
    if (status == SC_OK) {
        status = read_clip(builder, node, attributes, "clip", &cell->clip);
    }
    if (status == SC_OK) {
        status = read_clip(builder, node, attributes, "cell_clip", &cell->cell_clip);
    }
    if (status == SC_OK) {
        status = read_clip(builder, node, attributes, "projection_clip", &p->projection_clip);
    }
    if (status == SC_OK && p->cell != SC_SIMPLE_RNN) {
        status = read_activations(builder, node, attributes, cell);
    }
    if (status == SC_OK && sc_json_get(attributes, "input_forget") != NULL) {
        status = sc_attr_bool(builder, node, attributes, "input_forget", &cell->coupled);
    }
    if (status == SC_OK && sc_json_get(attributes, "update_keeps") != NULL) {
        status = sc_attr_bool(builder, node, attributes, "update_keeps", &keeps);
    }
    cell->replaces = !keeps;
    if (status == SC_OK) {
        status = read_norm(builder, node, attributes, cell);
    }
    if (status == SC_OK) {
        status = check_coupled(builder, node, attributes, cell);
    }
    if (status == SC_OK) {
        status = check_weights(builder, node, cell);
    }
    if (status != SC_OK) {
        return status;
    }
    const bool softmax = p->cell == SC_SIMPLE_RNN ? p->activation.kind >= SC_SOFTMAX
                                                  : over_units(cell, p->cell == SC_LSTM ? 5 : 3);
    node->divides = !softmax && cell->norm == SC_NORM_NOTHING;
    cell->whole_rows = p->cell != SC_SIMPLE_RNN && !p->reset_before && !node->divides;
    p->full = is_plain(p, node, cell) ? NULL : cell;
    return SC_OK;
}

/* ---- Weights ---------------------------------------------------------------------------------------- */

/* The tensors of these roles, of one size; `all` no more, where one is missing in a plan of shapes only. */
static sc_status find(sc_builder *builder, const sc_node *node, const char *const *roles, size_t size,
                      const float **found, bool *all)
{
    sc_status status = SC_OK;
    for (size_t k = 0; roles[k] != NULL && status == SC_OK; k++) {
        status = sc_weight(builder, node, roles[k], 1, &size, &found[k]);
        *all = *all && found[k] != NULL;
    }
    return status;
}

/* (b + what is added to LN(x.W)) + what is added to LN(h.U): all of it goes to the input's share. Its product begins
 * with zeros. */
static sc_status pack_products(sc_builder *builder, sc_rnn_params *p, sc_cell *cell, const float *const norm[4],
                               const float **bias)
{
    const size_t H = p->units;
    float *offset = sc_plan_alloc(builder->plan, 4 * H, sizeof(float));
    float *zeros = sc_plan_alloc(builder->plan, 4 * H, sizeof(float));
    if (offset == NULL || zeros == NULL) {
        return sc_no_memory(builder);
    }
    for (size_t i = 0; i < 4 * H; i++) {
        offset[i] = ((*bias)[i] + norm[1][i]) + norm[3][i];
    }
    *bias = zeros;
    sc_status status = sc_pack_row(builder, norm[0], H, 4, &p->input_scale);
    if (status == SC_OK) {
        status = sc_pack_row(builder, offset, H, 4, &p->input_offset);
    }
    return status == SC_OK ? sc_pack_row(builder, norm[2], H, 4, &cell->scale) : status;
}

sc_status sc_rnn_cell_find(sc_builder *builder, const sc_node *node, sc_rnn_cell_tensors *own)
{
    const sc_rnn_params *p = node->params;
    *own = (sc_rnn_cell_tensors){.all = true};
    if (p->full == NULL) {
        return SC_OK;
    }
    const char *const *const of_norm = norm_roles(p->full->norm);
    const bool peeps = has_peepholes(node), state = p->full->state_norm != SC_STATE_AS_IT_IS;
    sc_status status = peeps ? sc_weight(builder, node, "peepholes", 2, (size_t[]){3, p->units}, &own->peepholes) : SC_OK;
    own->all = !peeps || own->peepholes != NULL;
    if (status == SC_OK) {
        status = find(builder, node, of_norm, 4 * p->units, own->norm, &own->all);
    }
    return status == SC_OK && state ? find(builder, node, of_state, p->units, own->state, &own->all) : status;
}

sc_status sc_rnn_cell_pack(sc_builder *builder, const sc_node *node, const sc_rnn_cell_tensors *own, const float **bias)
{
    sc_rnn_params *p = node->params;
    sc_cell *cell = (sc_cell *)p->full; /* the plan's, which does not run yet */
    const size_t H = p->units;
    sc_status status = SC_OK;
    if (own->peepholes != NULL) {
        status = sc_pack_row(builder, own->peepholes, H, 3, &p->weights.peepholes);
    }
    if (status == SC_OK && cell != NULL && cell->norm == SC_NORM_PRODUCTS) {
        status = pack_products(builder, p, cell, own->norm, bias);
    } else if (status == SC_OK && cell != NULL && cell->norm == SC_NORM_GATES) {
        status = sc_pack_row(builder, own->norm[0], H, 4, &cell->scale);
        status = status == SC_OK ? sc_pack_row(builder, own->norm[1], H, 4, &cell->offset) : status;
    }
    if (status == SC_OK && own->state[0] != NULL) {
        status = sc_pack_row(builder, own->state[0], H, 1, &cell->state_scale);
        status = status == SC_OK ? sc_pack_row(builder, own->state[1], H, 1, &cell->state_offset) : status;
    }
    return status;
}
