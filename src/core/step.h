/* What a step of a plan takes and gives, worked out once when the plan is made: which values move with the frames, their shapes
 * for one frame, and where each node keeps its state. */
#ifndef SC_STEP_H
#define SC_STEP_H

#include "plan.h"

/* An array of the state, of one row: `frames` x `size` floats, or `size` where frames is 0. In the row's memory it lies at `at`
 * (bytes); frames lie in a ring, the oldest at the position that the 64 bytes behind them hold. */
typedef struct sc_state {
    const char *name;
    size_t frames, size;
    sc_shape shape; /* without the batch */
    size_t at;
    const float *first; /* `size` floats that a new row has there, where it is no zeros: the network's own initial state */
} sc_state;

/* An input or output as the caller of a step sees it. */
typedef struct sc_port {
    sc_info info;
    size_t batch_axis;
    size_t row_bytes;  /* of one row; SC_UNKNOWN where a context's frames are among its axes */
    size_t place;      /* in the graph's list of inputs, or of outputs */
    size_t lengths, mask; /* of a context: their places among the graph's inputs, or SC_NONE */
    size_t table_rows; /* of an input of ids: they must be below the rows of every embedding that reads them */
} sc_port;

/* An input that is given once for a whole sequence: a context, its lengths or its mask. */
typedef struct sc_given {
    size_t place, value; /* in the graph's list of inputs; its number */
} sc_given;

/* An input that an output becomes in the next step. */
typedef struct sc_carried {
    size_t input, output;   /* their places in the graph's lists */
    size_t at, bytes;       /* in a row's state; of a row */
} sc_carried;

struct sc_step_plan {
    sc_status status; /* SC_OK, or why it cannot be stepped: */
    char why[sizeof(((sc_error *)0)->message)];
    sc_port *inputs, *outputs; /* the caller's: without contexts, and without what is carried on */
    size_t n_inputs, n_outputs;
    sc_port *contexts;
    size_t n_contexts;
    sc_given *given;
    size_t n_given;
    sc_carried *carried;
    size_t n_carried;
    bool *is_carried;   /* per output of the graph */
    sc_state *states;
    size_t n_states;
    size_t row_bytes;   /* of a row's state */
    size_t state_floats; /* of its arrays */
    sc_array *arrays;   /* the plan's inputs for one row and one frame; no data, but where an input is required */
};

/* Fills in plan->step. Fails only for want of memory: a plan that cannot be stepped is one all the same. */
sc_status sc_step_plan_make(sc_plan *plan, sc_error *error);

#endif
