/* What a step of a plan takes and gives. A value moves when it has a frame for every frame of the inputs; each op says how its
 * outputs move when its inputs do, or why they cannot (sc_op.moves). What an op keeps between steps gets its place in a row's
 * state here; stream.c owns the rows. */
#include "step.h"

#include <stdio.h>
#include <string.h>

#define MOST_STATE_BYTES ((size_t)1 << 40) /* of a row: keeps sums and products far from overflow */

/* ---- How ops move ------------------------------------------------------------------------------------------- */

const char *sc_moves_along(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    (void)node;
    out[0] = in[0];
    return NULL;
}

/* All alike; or with a sequence what has one frame for all of its own, or no time axis: missing axes come after the batch. */
const char *sc_moves_together(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    size_t rank = 0;
    bool moving = false, folded = false;
    out[0] = in[0];
    for (size_t i = 0; i < node->n_inputs; i++) {
        const size_t axes = plan->shapes[node->inputs[i]].rank;
        rank = axes > rank ? axes : rank;
        moving = moving || in[i] == SC_MOVING;
        folded = folded || in[i] == SC_FOLDED;
        out[0] = in[i] != out[0] ? SC_LAST : out[0];
    }
    for (size_t i = 0; i < node->n_inputs; i++) {
        const sc_shape *shape = &plan->shapes[node->inputs[i]];
        const bool repeats = shape->rank < rank || (rank > 2 && shape->dim[1] == 1);
        const bool frames = in[i] == SC_MOVING ? shape->rank == rank : in[i] == SC_WHOLE && repeats;
        if ((moving && !frames) || (folded && in[i] != SC_FOLDED)) {
            return "it joins a sequence with what is none";
        }
    }
    out[0] = moving ? SC_MOVING : out[0];
    return NULL;
}

bool sc_mask_moves_with(const sc_node *node, const sc_motion *in, size_t mask, size_t of)
{
    return mask >= node->n_inputs || node->inputs[mask] == SC_NONE || in[mask] == in[of];
}

/* ---- The plan's step ---------------------------------------------------------------------------------------- */

/* What the pass over the graph works with. */
typedef struct survey {
    sc_plan *plan;
    sc_step_plan *step;
    sc_motion *motion; /* per value */
    sc_shape *shapes;  /* per value: of one row and one frame */
    sc_motion *in;     /* of one node's inputs */
    sc_shape *in_shapes;
} survey;

/* Whether an input has a time axis that steps go along: features (B, T, F, ...) and ids (B, T, ...), or with T before B. */
static bool has_time(const sc_plan *plan, size_t value)
{
    const sc_value *v = &plan->values[value];
    return v->kind == SC_DATA && !v->context && v->next == NULL && plan->shapes[value].rank >= (v->dtype == SC_I64 ? 2 : 3);
}

/* Inputs with time move; but what has a single frame beside longer ones is one for all of theirs. A graph that says itself what
 * is carried from step to step is run once for each, on single frames. */
static void survey_inputs(survey *s)
{
    bool longer = false;
    for (size_t i = 0; i < s->plan->n_inputs; i++) {
        const size_t value = s->plan->inputs[i];
        const size_t time = sc_time_axis(&s->plan->values[value]);
        longer = longer || (has_time(s->plan, value) && s->plan->shapes[value].dim[time] != 1);
    }
    for (size_t i = 0; i < s->plan->n_inputs; i++) {
        const size_t value = s->plan->inputs[i], time = sc_time_axis(&s->plan->values[value]);
        s->shapes[value] = s->plan->shapes[value];
        s->motion[value] = SC_WHOLE;
        if (s->plan->values[value].kind == SC_MASK) { /* a step has none; it would be about the same frames */
            const size_t of = s->plan->values[value].of;
            s->shapes[value].dim[1] = s->shapes[of].dim[1];
            s->motion[value] = s->motion[of];
        }
        if (has_time(s->plan, value) && (s->plan->shapes[value].dim[time] != 1 || !longer)) {
            s->motion[value] = s->plan->carries ? SC_WHOLE : SC_MOVING;
            s->shapes[value].dim[time] = 1;
        }
    }
}

/* A plan that cannot be stepped is no failure: it says so when somebody wants to. */
static void refuse(sc_step_plan *step, const sc_node *node, const char *why)
{
    sc_error error;
    step->status = sc_fail(&error, SC_UNSUPPORTED, "the model cannot be stepped: layer '%s' (%s): %s", node->layer,
                           node->op->name, why);
    memcpy(step->why, error.message, sizeof step->why);
}

static void survey_node(survey *s, const sc_node *node)
{
    for (size_t i = 0; i < node->n_inputs; i++) {
        const size_t value = node->inputs[i];
        s->in[i] = value != SC_NONE ? s->motion[value] : SC_WHOLE;
        s->in_shapes[i] = value != SC_NONE ? s->shapes[value] : (sc_shape){0};
    }
    sc_motion out[3] = {SC_WHOLE, SC_WHOLE, SC_WHOLE};
    const char *why = node->op->moves != NULL ? node->op->moves(s->plan, node, s->in, out) : "steps of it are not known";
    for (size_t i = 0; why == NULL && i < node->n_inputs; i++) {
        const bool moves = (s->in[i] == SC_MOVING || s->in[i] == SC_FOLDED) && !node->op->counts_rows;
        why = moves && out[0] == SC_WHOLE ? "it joins a sequence with what is none" : NULL;
    }
    if (why != NULL) {
        refuse(s->step, node, why);
        return;
    }
    sc_shape shapes[3] = {{0}, {0}, {0}};
    sc_error error;
    if (node->op->infer(node, s->in_shapes, shapes, &error) != SC_OK) {
        refuse(s->step, node, "it cannot take a single frame");
        return;
    }
    for (size_t i = 0; i < 3; i++) {
        if (node->outputs[i] == SC_NONE) {
            continue;
        }
        if (sc_shape_size(&shapes[i], 0) == SC_UNKNOWN && !s->plan->has_contexts) {
            refuse(s->step, node, "its output has an axis of unknown size that is not time");
            return;
        }
        const size_t axes = out[i] == SC_MOVING ? 3 : out[i] == SC_FOLDED ? 2 : 0;
        if (shapes[i].rank < axes && s->plan->values[node->outputs[i]].dtype == SC_F32 && !node->op->is_mask) {
            refuse(s->step, node, "its output has no axis but batch and time"); /* softmax would go over time */
            return;
        }
        s->shapes[node->outputs[i]] = shapes[i];
        s->motion[node->outputs[i]] = out[i];
    }
}

/* A name of two parts, in plan memory. */
static const char *joined(sc_plan *plan, const char *first, const char *second)
{
    const size_t length = strlen(first) + strlen(second) + 2;
    char *name = sc_plan_alloc(plan, length, 1);
    if (name != NULL) {
        snprintf(name, length, "%s:%s", first, second);
    }
    return name;
}

/* Gives what a node keeps a place in the row; false when there is no memory. */
static bool place_state(survey *s, sc_node *node)
{
    node->state = SC_NONE;
    sc_kept kept[SC_MAX_KEPT];
    const bool moving = node->n_inputs > 0 && node->inputs[0] != SC_NONE && s->motion[node->inputs[0]] == SC_MOVING;
    const size_t count = moving && node->op->keeps != NULL ? node->op->keeps(node, kept) : 0;
    sc_step_plan *step = s->step;
    const char *name = node->outputs[0] != SC_NONE ? s->plan->values[node->outputs[0]].name : node->layer;
    for (size_t i = 0; i < count; i++) {
        const size_t rows = kept[i].frames > 0 ? kept[i].frames : 1;
        const size_t at = sc_reserve(&step->row_bytes, rows * kept[i].room, sizeof(float));
        if (kept[i].frames > 0) {
            sc_reserve(&step->row_bytes, 1, sizeof(size_t)); /* sc_ring_start */
        }
        node->state = i == 0 ? at : node->state;
        sc_state *state = &step->states[step->n_states++];
        *state = (sc_state){.name = joined(s->plan, name, kept[i].name), .frames = kept[i].frames, .size = kept[i].size,
                            .shape = {.rank = 1, .dim = {kept[i].size}}, .at = at};
        if (kept[i].frames > 0) {
            state->shape = (sc_shape){.rank = 2, .dim = {kept[i].frames, kept[i].size}};
        }
        const size_t first = kept[i].first < node->n_inputs ? kept[i].first : 0;
        if (first > 0) {
            state->first = sc_constant_of(s->plan, node->inputs[first], kept[i].size);
        }
        step->state_floats += rows * kept[i].size;
        if (step->row_bytes > MOST_STATE_BYTES) {
            refuse(step, node, "its state is too large");
            return true;
        }
        if (state->name == NULL) {
            return false;
        }
    }
    return true;
}

/* A value as the caller of a step sees it: where it moves, without its time axis. */
static sc_port visible(const survey *s, size_t value, const char *name)
{
    const sc_value *v = &s->plan->values[value];
    const sc_shape *shape = &s->shapes[value];
    const size_t size = sc_shape_size(shape, 0);
    sc_port port = {.info = {.name = name, .dtype = v->dtype},
                    .row_bytes = size != SC_UNKNOWN ? size * sc_element_bytes(v) : SC_UNKNOWN};
    for (size_t d = 0; d < shape->rank; d++) {
        if (d == sc_time_axis(v) && s->motion[value] == SC_MOVING) {
            continue;
        }
        if (d == v->batch_axis) {
            port.batch_axis = port.info.rank;
        }
        port.info.shape[port.info.rank++] = d == v->batch_axis ? SC_UNKNOWN : shape->dim[d];
    }
    return port;
}

/* The least table among those of which a value's memory has the ids. */
static size_t table_rows(const sc_plan *plan, size_t value)
{
    size_t least = SC_NONE;
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        if (node->id_rows > 0 && plan->values[node->inputs[0]].root == value) {
            least = node->id_rows < least ? node->id_rows : least;
        }
    }
    return least;
}

static void refuse_input(survey *s, size_t value, const char *why)
{
    if (s->step->status == SC_OK) {
        s->step->status = SC_UNSUPPORTED;
        snprintf(s->step->why, sizeof s->step->why, "the model cannot be stepped: input '%s' %s", s->plan->values[value].name, why);
    }
}

/* The elements of a row; SC_UNKNOWN where a size is, or where they are more than a row's state can be. */
static size_t row_elements(const sc_shape *shape)
{
    size_t count = 1;
    for (size_t d = 0; d < shape->rank; d++) {
        if (shape->dim[d] == SC_UNKNOWN || !sc_mul(count, shape->dim[d], &count) || count > MOST_STATE_BYTES) {
            return SC_UNKNOWN;
        }
    }
    return count;
}

/* An input that is an output of the step before: its place in a row's state. */
static void place_carried(survey *s, size_t place)
{
    const sc_plan *plan = s->plan;
    sc_step_plan *step = s->step;
    const size_t value = plan->inputs[place], output = plan->values[value].next_output,
                 made = plan->outputs[output].value;
    const sc_shape *shape = &s->shapes[value];
    if (s->shapes[made].rank != shape->rank ||
        memcmp(s->shapes[made].dim, shape->dim, shape->rank * sizeof(size_t)) != 0) {
        refuse_input(s, value, "is carried on from an output of another shape");
        return;
    }
    const size_t size = row_elements(shape);
    if (size == SC_UNKNOWN || step->row_bytes + size * sizeof(float) > MOST_STATE_BYTES) {
        refuse_input(s, value, "is carried on, and its size is not known, or too large");
        return;
    }
    const size_t at = sc_reserve(&step->row_bytes, size, sizeof(float));
    step->carried[step->n_carried++] = (sc_carried){.input = place, .output = output, .at = at, .bytes = size * sizeof(float)};
    step->is_carried[output] = true;
    sc_state *state = &step->states[step->n_states++];
    *state = (sc_state){.name = plan->values[value].name, .size = size, .at = at, .shape = {.rank = shape->rank - 1}};
    memcpy(state->shape.dim, shape->dim + 1, state->shape.rank * sizeof(size_t));
    step->state_floats += size;
}

/* The place of the input of that kind which is about an input: its lengths or its mask. */
static size_t place_about(const sc_plan *plan, size_t value, sc_kind kind)
{
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const sc_value *v = &plan->values[plan->inputs[i]];
        if (v->kind == kind && v->of == value) {
            return i;
        }
    }
    return SC_NONE;
}

static void list_context(survey *s, size_t place)
{
    const sc_plan *plan = s->plan;
    sc_step_plan *step = s->step;
    sc_port *port = &step->contexts[step->n_contexts++];
    *port = visible(s, plan->inputs[place], plan->values[plan->inputs[place]].name);
    port->place = place;
    port->lengths = place_about(plan, plan->inputs[place], SC_LENGTHS);
    port->mask = place_about(plan, plan->inputs[place], SC_MASK);
    const size_t places[] = {place, port->lengths, port->mask};
    for (size_t i = 0; i < 3; i++) {
        if (places[i] != SC_NONE) {
            step->given[step->n_given++] = (sc_given){places[i], plan->inputs[places[i]]};
        }
    }
}

static void list_inputs(survey *s)
{
    const sc_plan *plan = s->plan;
    sc_step_plan *step = s->step;
    bool moving = plan->carries;
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const size_t value = plan->inputs[i];
        const sc_value *v = &plan->values[value];
        if (v->kind != SC_DATA) {
            continue;
        }
        moving = moving || s->motion[value] == SC_MOVING;
        step->arrays[i].rank = s->shapes[value].rank;
        memcpy(step->arrays[i].shape, s->shapes[value].dim, sizeof step->arrays[i].shape);
        if (v->context) {
            list_context(s, i);
            continue;
        }
        if (v->next != NULL) {
            place_carried(s, i);
            continue;
        }
        if (sc_shape_size(&s->shapes[value], 0) == SC_UNKNOWN) {
            refuse_input(s, value, "has an axis of unknown size that is not time");
        }
        sc_port *port = &step->inputs[step->n_inputs++];
        *port = visible(s, value, v->name);
        port->place = i;
        port->table_rows = table_rows(plan, value);
    }
    if (!moving && step->status == SC_OK) {
        step->status = SC_UNSUPPORTED;
        snprintf(step->why, sizeof step->why, "the model cannot be stepped: none of its inputs has a time axis");
    }
}

static void list_outputs(survey *s)
{
    const sc_plan *plan = s->plan;
    sc_step_plan *step = s->step;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const size_t value = plan->outputs[i].value;
        if (!step->is_carried[i]) {
            step->outputs[step->n_outputs] = visible(s, value, plan->outputs[i].name);
            step->outputs[step->n_outputs++].place = i;
        }
        const bool folded = s->motion[value] == SC_FOLDED || s->shapes[value].dim[plan->values[value].batch_axis] != 1;
        if (folded && step->status == SC_OK) { /* also what no step moves: its rows are not those of the stream */
            refuse(step, &plan->nodes[plan->values[value].producer], "its output is folded, and an output of the model");
        }
    }
}

static sc_status no_memory(sc_error *error)
{
    return sc_fail(error, SC_NO_MEMORY, "out of memory while the plan was built");
}

static bool make(survey *s)
{
    sc_plan *plan = s->plan;
    survey_inputs(s);
    for (size_t n = 0; n < plan->n_nodes && s->step->status == SC_OK; n++) {
        survey_node(s, &plan->nodes[n]);
    }
    for (size_t n = 0; n < plan->n_nodes; n++) {
        plan->nodes[n].state = SC_NONE;
        if (s->step->status == SC_OK && !place_state(s, &plan->nodes[n])) {
            return false;
        }
    }
    if (s->step->status == SC_OK) {
        list_inputs(s);
    }
    if (s->step->status == SC_OK) {
        list_outputs(s);
    }
    return true;
}

sc_status sc_step_plan_make(sc_plan *plan, sc_error *error)
{
    size_t most = 1;
    for (size_t n = 0; n < plan->n_nodes; n++) {
        most = plan->nodes[n].n_inputs > most ? plan->nodes[n].n_inputs : most;
    }
    sc_step_plan *step = plan->step = sc_plan_alloc(plan, 1, sizeof *step);
    if (step == NULL) {
        return no_memory(error);
    }
    step->inputs = sc_plan_alloc(plan, plan->n_inputs, sizeof *step->inputs);
    step->outputs = sc_plan_alloc(plan, plan->n_outputs, sizeof *step->outputs);
    step->contexts = sc_plan_alloc(plan, plan->n_inputs, sizeof *step->contexts);
    step->given = sc_plan_alloc(plan, plan->n_inputs, sizeof *step->given);
    step->carried = sc_plan_alloc(plan, plan->n_inputs, sizeof *step->carried);
    step->is_carried = sc_plan_alloc(plan, plan->n_outputs, sizeof *step->is_carried);
    step->states = sc_plan_alloc(plan, SC_MAX_KEPT * plan->n_nodes + plan->n_inputs, sizeof *step->states);
    step->arrays = sc_plan_alloc(plan, plan->n_inputs, sizeof *step->arrays);
    survey s = {.plan = plan, .step = step};
    const sc_allocator *allocator = &plan->allocator;
    s.motion = sc_allocate_zeros(allocator, plan->n_values, sizeof *s.motion);
    s.shapes = sc_allocate_zeros(allocator, plan->n_values, sizeof *s.shapes);
    s.in = sc_allocate_zeros(allocator, most, sizeof *s.in);
    s.in_shapes = sc_allocate_zeros(allocator, most, sizeof *s.in_shapes);
    const bool made = step->inputs != NULL && step->outputs != NULL && step->states != NULL && step->arrays != NULL &&
                      step->contexts != NULL && step->given != NULL && step->carried != NULL &&
                      step->is_carried != NULL && s.motion != NULL && s.shapes != NULL && s.in != NULL &&
                      s.in_shapes != NULL && make(&s);
    sc_release(allocator, s.motion);
    sc_release(allocator, s.shapes);
    sc_release(allocator, s.in);
    sc_release(allocator, s.in_shapes);
    return made ? SC_OK : no_memory(error);
}

/* ---- What it tells ------------------------------------------------------------------------------------------ */

sc_status sc_plan_check_step(const sc_plan *plan, sc_error *error)
{
    if (plan == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan must not be NULL");
    }
    if (!plan->runnable) {
        return sc_fail(error, SC_BAD_WEIGHTS, "the plan was made for shapes only and has no weights");
    }
    return plan->step->status == SC_OK ? SC_OK : sc_fail(error, plan->step->status, "%s", plan->step->why);
}

static bool steps(const sc_plan *plan)
{
    return plan != NULL && plan->step->status == SC_OK;
}

size_t sc_plan_step_inputs(const sc_plan *plan)
{
    return steps(plan) ? plan->step->n_inputs : 0;
}

size_t sc_plan_step_outputs(const sc_plan *plan)
{
    return steps(plan) ? plan->step->n_outputs : 0;
}

size_t sc_plan_step_contexts(const sc_plan *plan)
{
    return steps(plan) ? plan->step->n_contexts : 0;
}

size_t sc_plan_step_states(const sc_plan *plan)
{
    return steps(plan) ? plan->step->n_states : 0;
}

static sc_status check_number(const sc_plan *plan, const char *what, size_t number, size_t count, const sc_info *info,
                              sc_error *error)
{
    if (plan == NULL || info == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan and info must not be NULL");
    }
    return number < count ? SC_OK : sc_fail(error, SC_BAD_ARGUMENT, "a step has %zu %s; there is none %zu", count, what, number);
}

sc_status sc_plan_step_input_info(const sc_plan *plan, size_t input, sc_info *info, sc_error *error)
{
    const sc_status status = check_number(plan, "inputs", input, sc_plan_step_inputs(plan), info, error);
    if (status == SC_OK) {
        *info = plan->step->inputs[input].info;
    }
    return status;
}

sc_status sc_plan_step_output_info(const sc_plan *plan, size_t output, sc_info *info, sc_error *error)
{
    const sc_status status = check_number(plan, "outputs", output, sc_plan_step_outputs(plan), info, error);
    if (status == SC_OK) {
        *info = plan->step->outputs[output].info;
    }
    return status;
}

sc_status sc_plan_step_context_info(const sc_plan *plan, size_t context, sc_info *info, sc_error *error)
{
    const sc_status status = check_number(plan, "contexts", context, sc_plan_step_contexts(plan), info, error);
    if (status == SC_OK) {
        *info = plan->step->contexts[context].info;
    }
    return status;
}

sc_status sc_plan_step_state_info(const sc_plan *plan, size_t state, sc_info *info, sc_error *error)
{
    const sc_status status = check_number(plan, "states", state, sc_plan_step_states(plan), info, error);
    if (status == SC_OK) {
        const sc_state *s = &plan->step->states[state];
        *info = (sc_info){.name = s->name, .rank = 1 + s->shape.rank, .shape = {SC_UNKNOWN}};
        memcpy(info->shape + 1, s->shape.dim, s->shape.rank * sizeof(size_t));
    }
    return status;
}
