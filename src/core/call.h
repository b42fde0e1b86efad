/* One call as its workers see it: a run of whole sequences (run.c) or a step of streams (stream.c), whose arguments have been
 * checked; workers.c executes it. */
#ifndef SC_CALL_H
#define SC_CALL_H

#include "workspace.h"

typedef struct sc_call {
    const sc_plan *plan;
    const sc_array *inputs, *outputs; /* in the order of the graph; of a step, of one frame */
    char **states;           /* of a step: each row's state, */
    const size_t *sources;   /* ... and its row of the contexts that rows share; NULL: its own */
    sc_workspace *space;     /* laid out for these inputs */
    size_t batch;
    sc_schedule schedule;
    double *seconds;         /* of each node, to be added to; NULL when nobody asks */
    size_t claimed;          /* threads, of those that the process shares out: sc_threads_claim */
    size_t workers;          /* that the team had */
} sc_call;

/* Chooses call->schedule for so many frames, and claims its threads; sc_call_finish gives them back. */
void sc_call_schedule(sc_call *call, size_t time);
static inline void sc_call_finish(const sc_call *call)
{
    sc_threads_release(call->claimed);
}

/* run.c: which lengths a call has whose inputs fit the graph, and that every node can serve them. */
sc_status sc_call_lengths(const sc_plan *plan, sc_workspace *space, const sc_array *inputs, size_t batch, sc_error *error);

/* ... and that ids are rows of the tables that read them; of contexts alone, if asked. */
sc_status sc_call_ids(const sc_plan *plan, const sc_workspace *space, const sc_array *inputs, size_t batch, bool contexts,
                      sc_error *error);

/* Executes the call. Fails for want of memory, before anything is computed; or for an id that a node made and that is no
 * row of its table: then the outputs, and the states of a step, are undefined. */
sc_status sc_call_execute(sc_call *call, sc_error *error);

/* Whether two pieces of memory share a byte. */
static inline bool sc_overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    const uintptr_t first = (uintptr_t)a, second = (uintptr_t)b;
    return first < second + b_bytes && second < first + a_bytes;
}

#endif
