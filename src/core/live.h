/* Rows that keep their state from one frame to the next, and a step of some of them: what streams, pools and decoding share. */
#ifndef SC_LIVE_H
#define SC_LIVE_H

#include "call.h"
#include "state.h"

typedef struct sc_live {
    sc_plan *plan;
    size_t count;      /* rows */
    size_t alone;      /* rows whose step one thread takes, whatever else happens */
    char *memory;      /* their states, step->row_bytes each */
    sc_workspaces workspaces;
} sc_live;

/* Rows in the state in which every sequence begins; `what` names their number in messages. After a failure too, sc_live_free takes
 * back what there is. A workspace is made ready as well, but for a plan that needs a context first. */
sc_status sc_live_make(sc_live *r, const sc_plan *plan, const char *what, size_t count, sc_error *error);
void sc_live_free(sc_live *r);

static inline char *sc_live_row(const sc_live *r, size_t row)
{
    return r->memory + row * r->plan->step->row_bytes;
}

/* A workspace for steps of these rows. Its `states` has room for a pointer to each. */
sc_status sc_live_take(sc_live *r, sc_workspace **space, sc_error *error);
void sc_live_give(sc_live *r, sc_workspace *space);

/* The same for a call that makes sequences itself: `each` rows for every row of the call, the first of which gets the
 * state that the caller gives, and the contexts, which must live as long. After a failure too, a workspace that is not
 * NULL is the caller's to give back. */
sc_status sc_live_begin(sc_live *r, const sc_plan *plan, size_t rows, size_t each, const sc_array *inputs,
                        const sc_array *states, sc_workspace **space, sc_error *error);
/* A part of a caller's memory; NULL where there is none. */
typedef struct sc_extent {
    const char *name;
    const void *at;
    size_t bytes;
    bool written;
} sc_extent;
/* Those that sc_live_begin was given: how many at most; the number of them. */
static inline size_t sc_live_extents_most(const sc_plan *plan)
{
    return plan->step->n_given + plan->step->n_states;
}
size_t sc_live_extents(const sc_live *r, size_t rows, const sc_array *inputs, const sc_array *states, sc_extent *to);
/* That none that is written overlaps another one. */
sc_status sc_check_apart(const sc_extent *all, size_t count, sc_error *error);

/* Lays out a workspace for single frames of any number of these rows; space->arrays has the shapes. */
sc_status sc_live_lay_out(const sc_live *r, sc_workspace *space, sc_error *error);

/* ---- contexts.c: of inputs[sc_plan_inputs()] the contexts, their lengths and their masks ---- */

/* Whether they have the shapes that they must have, and `rows` rows; SC_UNKNOWN: as many as the first of them. */
sc_status sc_live_check_contexts(const sc_live *r, const sc_array *inputs, size_t *rows, sc_error *error);
/* Bytes of one of them, once it is checked; 0 of what is left out. */
size_t sc_given_bytes(const sc_plan *plan, const sc_array *given, size_t place);
/* They become those of the steps to come, row i for row i, and must live as long; `rows` as above. */
sc_status sc_live_context(const sc_live *r, sc_workspace *space, const sc_array *inputs, size_t rows, sc_error *error);
/* Which row of them belongs to each of the rows of the steps to come. */
void sc_live_share(const sc_live *r, sc_workspace *space, const size_t *sources, size_t rows);

/* ---- Steps ---- */

/* Whether a step's arguments have the shapes that they must have, ids are rows of their tables, and nothing overlaps. `ports`: of the
 * outputs, with all sizes known: the workspace's, or the plan's where it has no contexts. */
sc_status sc_live_check(const sc_live *r, const sc_port *ports, size_t rows, const sc_array *inputs, const sc_array *outputs,
                        sc_error *error);
/* One frame of the rows at `states`. The arrays have been checked; when it fails all the same, no state has changed. */
sc_status sc_live_step(const sc_live *r, sc_workspace *space, char **states, size_t rows, const sc_array *inputs,
                       const sc_array *outputs, sc_error *error);

#endif
