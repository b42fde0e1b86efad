/* What a call works in: the shapes of all values for its inputs' shapes, where each value lies, and the workers' memory. */
#ifndef SC_WORKSPACE_H
#define SC_WORKSPACE_H

#include "plan.h"

struct sc_workspace {
    size_t turn;             /* calls so far */
    size_t batch, time, limit; /* of the call that the schedule was made for, */
    sc_schedule schedule;    /* ... with 0 threads before the first */
    bool ready;              /* the layout below belongs to `key` */
    size_t *key;             /* per input: present, then its dims for one row; then the block's rows */
    size_t block_rows;
    sc_shape *shapes;        /* per value, for one row */
    sc_shape *inputs;        /* of one node */
    size_t *live;            /* place_values: values that are alive, by offset */
    size_t *offsets;         /* per value: bytes into a worker's memory, or SC_NONE when it lies elsewhere */
    size_t block_bytes;      /* of a worker: values, then scratch */
    size_t scratch;          /* its offset */
    size_t *ends;            /* per value: the most that these lengths can be; SC_NONE when the call has none */
    void **data;             /* per worker and value */
    sc_frame frame;          /* worker 0's, */
    bool bound;              /* ... when it and worker 0's data are those of the layout */
    sc_seat *seats;          /* per worker: one in its team, one in the part of it that shares a node */
    size_t data_workers;
    char *memory;
    size_t memory_bytes;
    sc_stray stray;          /* of the call */
    /* Of a step (stream.c): */
    sc_array *arrays;        /* the graph's inputs for one frame */
    sc_array *outputs;       /* ... and its outputs, where some are carried on */
    struct sc_port *ports;   /* the caller's outputs, with the sizes that they have */
    char *side;              /* what is carried on, before the step and, from `carried_out` on, after it; then copies of contexts */
    size_t carried_out;
    const sc_array *given;   /* the contexts as they were given, by the graph's inputs; NULL before (contexts.c) */
    size_t *copies;          /* per step->given: where its copies lie in `side`; SC_NONE where there are none */
    bool shared;             /* rows have another's contexts: */
    size_t *sources;         /* ... each one's row of them; */
    size_t *held;            /* ... whose copies a row has, SC_NONE for none */
    char **states;           /* the state of each row */
    char *before;            /* ... as it was before a step that may fail; NULL where none can */
};

/* A workspace from the pool, or a new one; NULL when there is no memory. */
sc_workspace *sc_workspace_take(const sc_plan *plan, sc_workspaces *pool);
void sc_workspace_free(const sc_allocator *allocator, sc_workspace *space); /* NULL is allowed */
void sc_workspace_give(const sc_plan *plan, sc_workspaces *pool, sc_workspace *space);

/* Makes the layout for these inputs, if it is not the one that the workspace has. `rows`: of the worker with the most. */
sc_status sc_workspace_prepare(const sc_plan *plan, sc_workspace *space, const sc_array *inputs, size_t batch, size_t rows,
                               sc_error *error);

/* Memory for so many workers, kept for the next call. */
sc_status sc_workspace_reserve(const sc_plan *plan, sc_workspace *space, size_t workers, sc_error *error);

#endif
