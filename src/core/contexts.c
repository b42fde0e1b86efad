/* Contexts: what a whole sequence has once, the frames that an attention looks at. Their lengths and masks go along.
 *
 * Rows may share one: sources[row] is its row. Ops that read a context by sc_context_row find it where it is; for
 * others every row of a step has a copy, which is made when its source changes. */
#include "live.h"

#include <string.h>

#define MOST_ELEMENTS                                                                                                  \
    ((size_t)1 << 44) /* of all copies of a context: keeps sums and products of sizes far from overflow */

/* ---- What is given ---------------------------------------------------------------------------------------------- */

static sc_status check_context(const sc_live *r, const sc_port *port, const sc_array *found, size_t *batch,
                               sc_error *error)
{
    if (found->data == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "context '%s' is missing", port->info.name);
    }
    bool fits = found->rank == port->info.rank;
    size_t count = r->count;
    for (size_t d = 0; fits && d < found->rank; d++) {
        fits = port->info.shape[d] == SC_UNKNOWN || port->info.shape[d] == found->shape[d];
    }
    if (!fits) {
        return sc_fail(error, SC_BAD_SHAPE, "context '%s' must have shape %s, found %s", port->info.name,
                       sc_shape_text(port->info.rank, port->info.shape).text,
                       sc_shape_text(found->rank, found->shape).text);
    }
    *batch = *batch == SC_UNKNOWN ? found->shape[0] : *batch;
    if (found->shape[0] != *batch) {
        return sc_fail(error, SC_BAD_SHAPE, "context '%s' has %zu rows, expected %zu", port->info.name, found->shape[0],
                       *batch);
    }
    for (size_t d = 1; fits && d < found->rank; d++) {
        fits = sc_mul(count, found->shape[d] > 0 ? found->shape[d] : 1, &count) && count <= MOST_ELEMENTS;
    }
    return fits ? SC_OK
                : sc_fail(error, SC_BAD_SHAPE, "context '%s' is too large for %zu rows", port->info.name, r->count);
}

/* What is about a context: its lengths (B,) or its mask (B, T). */
static sc_status check_about(const sc_port *port, const char *what, const sc_array *context, const sc_array *found,
                             size_t rank, sc_error *error)
{
    const size_t *expected = context->shape;
    if (found->data == NULL || (found->rank == rank && memcmp(found->shape, expected, rank * sizeof *expected) == 0)) {
        return SC_OK;
    }
    return sc_fail(error, SC_BAD_SHAPE, "%s of context '%s' must have shape %s, found %s", what, port->info.name,
                   sc_shape_text(rank, expected).text, sc_shape_text(found->rank, found->shape).text);
}

sc_status sc_live_check_contexts(const sc_live *r, const sc_array *inputs, size_t *rows, sc_error *error)
{
    const sc_step_plan *step = r->plan->step;
    for (size_t i = 0; i < step->n_contexts; i++) {
        const sc_port *port = &step->contexts[i];
        const sc_array *context = &inputs[port->place];
        sc_status status = check_context(r, port, context, rows, error);
        if (status == SC_OK && port->lengths != SC_NONE) {
            status = check_about(port, "lengths", context, &inputs[port->lengths], 1, error);
        }
        if (status == SC_OK && port->mask != SC_NONE) {
            status = check_about(port, "the mask", context, &inputs[port->mask], 2, error);
        }
        if (status != SC_OK) {
            return status;
        }
    }
    return SC_OK;
}

size_t sc_given_bytes(const sc_plan *plan, const sc_array *given, size_t place)
{
    size_t bytes = given[place].data != NULL ? sc_element_bytes(&plan->values[plan->inputs[place]]) : 0;
    for (size_t d = 0; bytes > 0 && d < given[place].rank; d++) {
        bytes *= given[place].shape[d];
    }
    return bytes;
}

sc_status sc_live_context(const sc_live *r, sc_workspace *space, const sc_array *inputs, size_t rows, sc_error *error)
{
    const sc_plan *plan = r->plan;
    const sc_step_plan *step = plan->step;
    space->given = NULL;
    sc_status status = sc_live_check_contexts(r, inputs, &rows, error);
    for (size_t i = 0; status == SC_OK && i < step->n_given; i++) {
        space->arrays[step->given[i].place] = inputs[step->given[i].place];
    }
    if (status == SC_OK) {
        status = sc_live_lay_out(r, space, error);
    }
    if (status == SC_OK) {
        status = sc_call_lengths(plan, space, space->arrays, rows, error);
    }
    if (status == SC_OK) {
        status = sc_call_ids(plan, space, space->arrays, rows, true, error);
    }
    if (status == SC_OK) {
        space->given = inputs;
        space->shared = false;
        for (size_t m = 0; m < r->count; m++) {
            space->held[m] = SC_NONE;
        }
    }
    return status;
}

/* ---- Whose it is ------------------------------------------------------------------------------------------------ */

/* Row m gets a copy of its source's row of all that is copied. */
static void copy_row(const sc_live *r, sc_workspace *space, size_t m, size_t source)
{
    const sc_plan *plan = r->plan;
    for (size_t i = 0; i < plan->step->n_given; i++) {
        const sc_given *g = &plan->step->given[i];
        const size_t bytes = sc_shape_size(&space->shapes[g->value], 0) * sc_element_bytes(&plan->values[g->value]);
        if (space->copies[i] != SC_NONE && bytes > 0) {
            memcpy(space->side + space->copies[i] + m * bytes,
                   (const char *)space->given[g->place].data + source * bytes, bytes);
        }
    }
    space->held[m] = source;
}

void sc_live_share(const sc_live *r, sc_workspace *space, const size_t *sources, size_t rows)
{
    bool own = true;
    for (size_t m = 0; m < rows; m++) {
        own = own && sources[m] == m;
        space->sources[m] = sources[m];
    }
    for (size_t m = 0; m < rows && !own; m++) {
        if (space->held[m] != sources[m]) {
            copy_row(r, space, m, sources[m]);
        }
    }
    for (size_t i = 0; i < r->plan->step->n_given; i++) {
        const size_t place = r->plan->step->given[i].place;
        const bool copied = !own && space->copies[i] != SC_NONE;
        space->arrays[place].data = copied ? space->side + space->copies[i] : space->given[place].data;
    }
    space->shared = !own;
}
