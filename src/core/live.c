/* Rows of streams, pools and decoded sequences.
 *
 * They are rows of memory (step->row_bytes each) and workspaces that are laid out for single frames. A step points
 * every row at its state; nothing is copied together or apart but what the graph itself carries from an output to an
 * input. */
#include "live.h"

#include <string.h>

#define MOST_ROWS ((size_t)1 << 31)

/* ---- Workspaces ------------------------------------------------------------------------------------------------- */

/* The outputs with the sizes that they have with these contexts. */
static void resolve_outputs(const sc_live *r, sc_workspace *space)
{
    const sc_plan *plan = r->plan;
    for (size_t i = 0; i < plan->step->n_outputs; i++) {
        sc_port *port = &space->ports[i];
        *port = plan->step->outputs[i];
        const sc_shape *shape = &space->shapes[plan->outputs[port->place].value];
        const sc_value *value = &plan->values[plan->outputs[port->place].value];
        port->row_bytes = sc_shape_size(shape, 0) * sc_element_bytes(value);
        /* the port lacks the time axis that moves: of size 1, and no other axis can be unknown before it */
        const size_t gone = shape->rank - port->info.rank;
        for (size_t d = port->info.rank; d-- > 0;) {
            if (d != port->batch_axis) {
                port->info.shape[d] = shape->dim[d + gone];
            }
        }
    }
}

/* The places of what a step needs beside a workspace's own memory: what is carried on, before and after it, and copies
 * of contexts. Neither counts nor sizes can overflow: states were allocated for as many rows, and contexts were
 * checked. */
static size_t place_side(const sc_live *r, sc_workspace *space)
{
    const sc_step_plan *step = r->plan->step;
    size_t bytes = 0;
    for (size_t i = 0; i < 2 * step->n_carried; i++) {
        space->carried_out = i == step->n_carried ? bytes : space->carried_out;
        sc_reserve(&bytes, r->count, step->carried[i % step->n_carried].bytes);
    }
    for (size_t i = 0; i < step->n_given; i++) {
        const sc_given *g = &step->given[i];
        const sc_value *value = &r->plan->values[g->value];
        const bool copied = !value->mapped && space->arrays[g->place].data != NULL;
        const size_t row = copied ? sc_shape_size(&space->shapes[g->value], 0) * sc_element_bytes(value) : 0;
        space->copies[i] = copied ? sc_reserve(&bytes, r->count, row) : SC_NONE;
    }
    return bytes;
}

sc_status sc_live_lay_out(const sc_live *r, sc_workspace *space, sc_error *error)
{
    const sc_plan *plan = r->plan;
    for (size_t v = 0; v < plan->n_values; v++) {
        space->ends[v] = SC_NONE; /* a step has no lengths, but those of contexts */
    }
    sc_call c = {.plan = plan, .inputs = space->arrays, .space = space, .batch = r->count};
    sc_status status = sc_workspace_prepare(plan, space, c.inputs, c.batch, c.batch, error);
    if (status != SC_OK) {
        return status;
    }
    resolve_outputs(r, space);
    const bool beside =
        plan->step->n_carried + plan->step->n_given > 0; /* perhaps of no bytes, and somewhere all the same */
    const size_t bytes = place_side(r, space);
    sc_release(&plan->allocator, space->side);
    space->side = beside ? sc_allocate(&plan->allocator, bytes) : NULL;
    if (beside && space->side == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
    }
    sc_call_schedule(&c, 1);
    status = sc_workspace_reserve(plan, space, c.schedule.threads, error);
    sc_call_finish(&c);
    return status;
}

/* Room in a workspace for what a step needs beside it; and its layout, if the plan has no contexts, which decide it. */
static sc_status prepare(const sc_live *r, sc_workspace *space, sc_error *error)
{
    const sc_plan *plan = r->plan;
    const sc_step_plan *step = plan->step;
    space->arrays = sc_allocate(&plan->allocator, plan->n_inputs * sizeof *space->arrays);
    space->outputs = sc_allocate(&plan->allocator, plan->n_outputs * sizeof *space->outputs);
    space->ports = sc_allocate(&plan->allocator, plan->n_outputs * sizeof *space->ports);
    space->states = sc_allocate(&plan->allocator, r->count * sizeof *space->states);
    space->before = plan->checks_ids ? sc_allocate(&plan->allocator, r->count * step->row_bytes) : NULL;
    bool made = space->arrays != NULL && space->outputs != NULL && space->ports != NULL && space->states != NULL &&
                (!plan->checks_ids || space->before != NULL);
    if (made && plan->has_contexts) {
        space->copies = sc_allocate(&plan->allocator, step->n_given * sizeof *space->copies);
        space->sources = sc_allocate(&plan->allocator, r->count * sizeof *space->sources);
        space->held = sc_allocate(&plan->allocator, r->count * sizeof *space->held);
        made = space->copies != NULL && space->sources != NULL && space->held != NULL;
    }
    if (!made) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
    }
    memcpy(space->arrays, step->arrays, plan->n_inputs * sizeof *space->arrays);
    for (size_t i = 0; i < step->n_inputs; i++) {
        space->arrays[step->inputs[i].place].data = space; /* present; each step says where */
    }
    for (size_t i = 0; i < step->n_carried; i++) {
        space->arrays[step->carried[i].input].data = space;
    }
    return plan->has_contexts ? SC_OK : sc_live_lay_out(r, space, error);
}

sc_status sc_live_take(sc_live *r, sc_workspace **space, sc_error *error)
{
    *space = sc_workspace_take(r->plan, &r->workspaces);
    if (*space == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
    }
    const sc_status status = (*space)->states == NULL ? prepare(r, *space, error) : SC_OK;
    if (status != SC_OK) {
        sc_workspace_free(&r->plan->allocator, *space);
        *space = NULL;
    }
    return status;
}

void sc_live_give(sc_live *r, sc_workspace *space)
{
    sc_workspace_give(r->plan, &r->workspaces, space);
}

sc_status sc_live_make(sc_live *r, const sc_plan *plan, const char *what, size_t count, sc_error *error)
{
    r->plan = (sc_plan *)plan; /* only the count of its users changes */
    sc_status status = sc_plan_check_step(plan, error);
    if (status != SC_OK) {
        return status;
    }
    if (count < 1 || count > MOST_ROWS) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s must be from 1 to %zu, found %zu", what, MOST_ROWS, count);
    }
    r->count = count;
    r->alone = sc_plan_rows_alone(plan, 1);
    r->memory = sc_allocate_zeros(&plan->allocator, count, plan->step->row_bytes);
    if (r->memory == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for the state of %zu rows", count);
    }
    sc_workspace *space;
    status = sc_live_take(r, &space, error);
    if (status == SC_OK) {
        sc_live_give(r, space); /* a first step then finds one */
    }
    return status;
}

/* The first states that a caller gives of so many rows. */
static sc_status set_states(const sc_plan *plan, char *const *rows, size_t count, const sc_array *states,
                            sc_error *error)
{
    sc_status status = SC_OK;
    for (size_t i = 0; states != NULL && status == SC_OK && i < plan->step->n_states; i++) {
        status = states[i].data != NULL ? sc_state_set(plan, rows, count, i, &states[i], error) : SC_OK;
    }
    return status;
}

sc_status sc_live_begin(sc_live *r, const sc_plan *plan, size_t rows, size_t each, const sc_array *inputs,
                        const sc_array *states, sc_workspace **space, sc_error *error)
{
    sc_status status = sc_live_make(r, plan, "rows (times width)", rows * each, error);
    if (status == SC_OK && plan->has_contexts && inputs == NULL) {
        status = sc_fail(error, SC_BAD_ARGUMENT, "context '%s' is missing", plan->step->contexts[0].info.name);
    }
    if (status == SC_OK) {
        status = sc_live_take(r, space, error);
    }
    if (status == SC_OK && plan->has_contexts) {
        status = sc_live_context(r, *space, inputs, rows, error);
    }
    for (size_t m = 0; status == SC_OK && m < rows; m++) {
        (*space)->states[m] = sc_live_row(r, m * each);
        sc_state_begin(plan, (*space)->states[m]);
    }
    return status == SC_OK ? set_states(plan, (*space)->states, rows, states, error) : status;
}

size_t sc_live_extents(const sc_live *r, size_t rows, const sc_array *inputs, const sc_array *states, sc_extent *to)
{
    const sc_step_plan *step = r->plan->step;
    size_t count = 0;
    for (size_t i = 0; i < step->n_given; i++) {
        const sc_given *g = &step->given[i];
        to[count++] = (sc_extent){r->plan->values[g->value].name, inputs[g->place].data,
                                  sc_given_bytes(r->plan, inputs, g->place), false};
    }
    for (size_t i = 0; states != NULL && i < step->n_states; i++) {
        to[count++] = (sc_extent){step->states[i].name, states[i].data, rows * sc_state_bytes(r->plan, i), false};
    }
    return count;
}

sc_status sc_check_apart(const sc_extent *all, size_t count, sc_error *error)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < count && all[i].written && all[i].at != NULL; k++) {
            if (k != i && all[k].at != NULL && sc_overlap(all[i].at, all[i].bytes, all[k].at, all[k].bytes)) {
                return sc_fail(error, SC_BAD_SHAPE, "the memory of '%s' overlaps that of '%s'", all[i].name,
                               all[k].name);
            }
        }
    }
    return SC_OK;
}

void sc_live_free(sc_live *r)
{
    sc_workspaces_free(r->plan, &r->workspaces);
    sc_release(&r->plan->allocator, r->memory);
}

/* ---- A step ----------------------------------------------------------------------------------------------------- */

static sc_status wrong_array(const char *what, const sc_port *port, const sc_array *found, size_t rows, sc_error *error)
{
    sc_info info = port->info;
    info.shape[port->batch_axis] = rows;
    if (found->rank == info.rank && memcmp(found->shape, info.shape, info.rank * sizeof(size_t)) == 0) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s '%s' of a step has no memory", what, info.name);
    }
    return sc_fail(error, SC_BAD_SHAPE, "%s '%s' of a step must have shape %s, found %s", what, info.name,
                   sc_shape_text(info.rank, info.shape).text, sc_shape_text(found->rank, found->shape).text);
}

static bool fits(const sc_port *port, const sc_array *found, size_t rows)
{
    bool same = found->rank == port->info.rank && (found->data != NULL || rows == 0);
    for (size_t d = 0; same && d < port->info.rank; d++) {
        same = found->shape[d] == (d == port->batch_axis ? rows : port->info.shape[d]);
    }
    return same;
}

sc_status sc_live_check(const sc_live *r, const sc_port *ports, size_t rows, const sc_array *inputs, const sc_array *outputs,
                        sc_error *error)
{
    const sc_step_plan *step = r->plan->step;
    for (size_t i = 0; i < step->n_inputs; i++) {
        const sc_port *port = &step->inputs[i];
        if (!fits(port, &inputs[i], rows)) {
            return wrong_array("input", port, &inputs[i], rows, error);
        }
        if (port->table_rows != SC_NONE) {
            const size_t count = rows * (port->row_bytes / sizeof(int64_t));
            const size_t bad = sc_bad_id(inputs[i].data, count, port->table_rows);
            if (bad < count) {
                return sc_fail(error, SC_BAD_INDEX, "input '%s': id %lld in row %zu, expected 0 to %zu", port->info.name,
                               (long long)((const int64_t *)inputs[i].data)[bad], bad * rows / count, port->table_rows - 1);
            }
        }
    }
    for (size_t i = 0; i < step->n_outputs; i++) {
        const sc_port *port = &ports[i];
        if (!fits(port, &outputs[i], rows)) {
            return wrong_array("output", port, &outputs[i], rows, error);
        }
        for (size_t k = 0; k < step->n_inputs; k++) {
            if (sc_overlap(outputs[i].data, rows * port->row_bytes, inputs[k].data, rows * step->inputs[k].row_bytes)) {
                return sc_fail(error, SC_BAD_SHAPE, "output '%s' overlaps input '%s'", port->info.name,
                               step->inputs[k].info.name);
            }
        }
        for (size_t k = 0; k < i; k++) {
            if (sc_overlap(outputs[i].data, rows * port->row_bytes, outputs[k].data, rows * ports[k].row_bytes)) {
                return sc_fail(error, SC_BAD_SHAPE, "outputs '%s' and '%s' overlap", ports[k].info.name,
                               port->info.name);
            }
        }
    }
    return SC_OK;
}

/* Copies the rows at `states` to `kept`, or back. */
static void copy_rows(const sc_live *r, char **states, size_t rows, char *kept, bool back)
{
    const size_t bytes = r->plan->step->row_bytes;
    for (size_t m = 0; m < rows; m++) {
        memcpy(back ? states[m] : kept + m * bytes, back ? kept + m * bytes : states[m], bytes);
    }
}

/* Where the graph's inputs and outputs lie: the caller's, and those of what is carried on, which are gathered from the rows. */
static const sc_array *place_arrays(const sc_live *r, sc_workspace *space, char **states, size_t rows, const sc_array *inputs,
                                    const sc_array *outputs)
{
    const sc_step_plan *step = r->plan->step;
    for (size_t i = 0; i < step->n_inputs; i++) {
        space->arrays[step->inputs[i].place].data = inputs[i].data;
    }
    if (step->n_carried == 0) {
        return outputs;
    }
    size_t in = 0, out = space->carried_out;
    for (size_t i = 0; i < step->n_outputs; i++) {
        space->outputs[step->outputs[i].place] = outputs[i];
    }
    for (size_t i = 0; i < step->n_carried; i++) {
        const sc_carried *carried = &step->carried[i];
        char *to = space->side + sc_reserve(&in, r->count, carried->bytes);
        for (size_t m = 0; m < rows; m++) {
            memcpy(to + m * carried->bytes, states[m] + carried->at, carried->bytes);
        }
        space->arrays[carried->input].data = to;
        space->outputs[carried->output].data = space->side + sc_reserve(&out, r->count, carried->bytes);
    }
    return space->outputs;
}

static void carry_on(const sc_live *r, const sc_workspace *space, char **states, size_t rows)
{
    const sc_step_plan *step = r->plan->step;
    for (size_t i = 0; i < step->n_carried; i++) {
        const sc_carried *carried = &step->carried[i];
        const char *from = space->outputs[carried->output].data;
        for (size_t m = 0; m < rows; m++) {
            memcpy(states[m] + carried->at, from + m * carried->bytes, carried->bytes);
        }
    }
}

sc_status sc_live_step(const sc_live *r, sc_workspace *space, char **states, size_t rows, const sc_array *inputs,
                       const sc_array *outputs, sc_error *error)
{
    sc_call c;
    c.plan = r->plan;
    c.outputs = place_arrays(r, space, states, rows, inputs, outputs);
    c.inputs = space->arrays;
    c.states = states;
    c.sources = space->shared ? space->sources : NULL;
    c.space = space;
    c.batch = rows;
    c.seconds = NULL;
    c.claimed = 0;
    c.schedule.threads = c.schedule.team = 1;
    if (rows > r->alone) {
        sc_call_schedule(&c, 1);
    }
    if (space->before != NULL) {
        copy_rows(r, states, rows, space->before, false);
    }
    const sc_status status = sc_call_execute(&c, error);
    sc_call_finish(&c);
    if (status != SC_OK && space->before != NULL) {
        copy_rows(r, states, rows, space->before, true);
    }
    if (status == SC_OK) {
        carry_on(r, space, states, rows);
    }
    return status;
}
