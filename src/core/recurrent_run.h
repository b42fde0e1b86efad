/* What the two files of a recurrent layer's time loop share: recurrent_run.c, and recurrent_rows.c, which knows rows, their
 * order and their masks. */
#ifndef SC_RECURRENT_RUN_H
#define SC_RECURRENT_RUN_H

#include "recurrent.h"

/* Offsets into a worker's scratch. R rows, S frames hoisted at a time (0: fused). */
typedef struct rnn_layout {
    size_t stretch; /* S */
    size_t order, lengths, ends, x, h, h_next, c, xw, xw_n, gates, candidate, reset, own_cells, all_cells; /* arrays of R */
    size_t list_a, list_out;             /* arrays of S * R */
    size_t row, zeros, states, cells, sums, sums_n, cell; /* floats */
    size_t z, z_n, reset_h;              /* floats of the cells that no step kernel finishes */
    size_t unprojected;                  /* floats */
    size_t steps;                        /* R * T numbers, with a mask */
    size_t bytes;
} rnn_layout;

/* Everything that the time loop works on. Arrays of rows are in the order of processing: longest first. */
typedef struct rnn_run {
    const sc_rnn_params *p;
    sc_rnn_weights own; /* the units that this worker computes */
    const sc_kernels *kernels;
    sc_team *team;
    rnn_layout layout;
    size_t rows, T;
    const sc_node *node;
    sc_frame *frame;
    const float *input; /* (rows, T, I), or ids (rows, T) */
    float *output;      /* (rows, T, outputs), or NULL when no sequence is wanted */
    size_t *order;      /* row of the block */
    size_t *lengths;    /* steps of each row; this and all that follows in the order of processing */
    size_t *ends;       /* frames of each row: the same without a mask */
    const float *mask;  /* (rows, T), or NULL */
    uint32_t *steps;    /* with a mask: T numbers a row, of which the first so many say which of its frames they are */
    const float **x, **h, **xw, **xw_n;
    float **h_next, **c; /* from the worker's first unit (h_next: output) on */
    float **made;        /* where the cell goes: h_next, or what is then projected */
    const float **list_a;
    float **list_out;
    float *sums, *sums_n, *zeros;
    float *states; /* the team's */
    char *scratch;
    size_t turn;   /* the frame's */
    bool backward; /* the step sweeps the weights from the last panel to the first, as every other one */
} rnn_run;

/* order, ends and lengths of the rows: longest first, rows of one length in their own order; with a mask their steps. */
void sc_rnn_sort_rows(rnn_run *r, const int64_t *lengths);
/* The last states of this worker's units, what masked frames put out, and zeros past each row's end. */
void sc_rnn_finish(const rnn_run *r, const sc_node *node, const sc_frame *frame);

/* The frame that the n-th of a row of so many is. */
static inline size_t frame_of(const rnn_run *r, size_t end, size_t n)
{
    return r->p->reverse ? end - 1 - n : n;
}

/* The frame that row m (in the order of processing) reads in step s, and the one to which its output belongs. */
static inline size_t frame_in(const rnn_run *r, size_t m, size_t s)
{
    return frame_of(r, r->ends[m], r->mask != NULL ? r->steps[m * r->T + s] : s);
}

static inline size_t frame_out(const rnn_run *r, size_t m, size_t s)
{
    return r->p->realign ? frame_in(r, m, s) : r->mask != NULL ? r->steps[m * r->T + s] : s;
}

#endif
