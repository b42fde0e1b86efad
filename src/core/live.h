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

/* The contexts of the steps to come, and their lengths: those entries of inputs[sc_plan_inputs()], which must live as long. The
 * batch of all is `batch`. */
sc_status sc_live_context(const sc_live *r, sc_workspace *space, const sc_array *inputs, size_t *batch, sc_error *error);
/* Which row of the contexts belongs to each of the rows of the steps to come; it must live as long. NULL: row i to row i. */
void sc_live_share(const sc_live *r, sc_workspace *space, const size_t *sources, size_t rows);

/* Whether a step's arguments have the shapes that they must have, ids are rows of their tables, and nothing overlaps. `ports`: of the
 * outputs, with all sizes known: the workspace's, or the plan's where it has no contexts. */
sc_status sc_live_check(const sc_live *r, const sc_port *ports, size_t rows, const sc_array *inputs, const sc_array *outputs,
                        sc_error *error);
/* One frame of the rows at `states`. The arrays have been checked; when it fails all the same, no state has changed. */
sc_status sc_live_step(const sc_live *r, sc_workspace *space, char **states, size_t rows, const sc_array *inputs,
                       const sc_array *outputs, sc_error *error);

#endif
