/* What the files of the recurrent layers share: recurrent.c and recurrent_cell.c read and pack them, recurrent_run.c runs
 * their time loop over the rows of recurrent_rows.c. */
#ifndef SC_RECURRENT_H
#define SC_RECURRENT_H

#include "plan.h"

enum sc_rnn_cell { SC_SIMPLE_RNN, SC_GRU, SC_LSTM };

/* The weights of a layer, or those of a range of its units, which one worker of several computes. */
typedef struct sc_rnn_weights {
    size_t first, units;         /* the range */
    size_t out_first, out_units; /* ... and of h: the same, or a range of the columns of p */
    sc_matrix w, u;              /* all gates; of a reset-before GRU: r and z */
    sc_matrix w_n, u_n;          /* reset-before GRU: n */
    sc_matrix p;                 /* LSTM with a projection: plain, (H, P) */
    const float *bias, *bias_n;
    const float *recurrent_bias; /* reset-after GRU: n's, plain */
    const float *peepholes;      /* LSTM: of i, f and o, as a row of 3 gates; or NULL */
    const float *table, *table_n; /* of ids, in place of w, w_n and their biases: rows of b + W, packed */
    size_t row_floats, row_n_floats; /* floats of a packed row of w and of w_n, or of the tables */
} sc_rnn_weights;

typedef struct sc_rnn_params {
    enum sc_rnn_cell cell;
    size_t inputs, units; /* I, H */
    bool ids;             /* the input is numbers of rows of W */
    size_t outputs;       /* of h: H, or P with a projection */
    bool projects;        /* h = (o * tanh(c)) . p */
    bool reset_after, reverse, realign, sequences;
    bool zero_output;    /* a masked frame's output is zero, not that of the frame before */
    size_t mask;         /* number of the input that is the mask */
    bool keeps_output;   /* steps can be masked: a row keeps its last output too */
    bool reset_before;   /* a GRU whose step is two products; all others are one step kernel */
    sc_activation_spec activation; /* SimpleRNN's */
    const sc_cell *full;   /* what the cell is beyond the plain one, NULL: nothing. A reset-before GRU always has one */
    float projection_clip; /* of h; INFINITY: none */
    const float *input_scale, *input_offset; /* LSTM with normalised products: those of x.W, as rows of 4 gates */
    sc_rnn_weights weights; /* of all units */
    size_t padded, padded_out; /* units and outputs rounded up to whole vectors */
} sc_rnn_params;

/* Units that only one worker can compute: those of a panel of every matrix. A plain one's is four vectors wide. */
static inline size_t sc_rnn_panel(const sc_rnn_params *p, const sc_kernels *kernels)
{
    return kernels->width * (p->cell == SC_SIMPLE_RNN || p->reset_before ? 4 : 1);
}

static inline bool sc_rnn_whole_rows(const sc_rnn_params *p)
{
    return p->full != NULL && p->full->whole_rows;
}

static inline bool sc_rnn_norm_products(const sc_rnn_params *p)
{
    return p->full != NULL && p->full->norm == SC_NORM_PRODUCTS;
}

/* The c of a row that keeps its state, behind its h: step.c begins every array on a line of its own. */
static inline float *sc_rnn_kept_c(const sc_rnn_params *p, float *state)
{
    return state + (p->padded_out + 15) / 16 * 16;
}

/* The last output of a row that keeps it, behind its h and c. */
static inline float *sc_rnn_kept_output(const sc_rnn_params *p, float *state)
{
    return sc_rnn_kept_c(p, state) + (p->cell == SC_LSTM ? (p->padded + 15) / 16 * 16 : 0);
}

/* The tensors that only a cell beyond the plain one has. */
typedef struct sc_rnn_cell_tensors {
    const float *peepholes;
    const float *norm[4];  /* scale and offset of x.W and of h.U, or of the gates */
    const float *state[2]; /* ... and of c */
    bool all;              /* none is missing, as in a plan of shapes only */
} sc_rnn_cell_tensors;

/* recurrent_cell.c: what a cell is beyond the plain one. Reads and checks it, once the parameters of all cells are read; */
sc_status sc_rnn_cell_parse(sc_builder *, sc_node *, const sc_json *attributes);
/* ... finds its tensors; */
sc_status sc_rnn_cell_find(sc_builder *, const sc_node *, sc_rnn_cell_tensors *);
/* ... packs them, all of which are there. *bias, the tensor b, becomes what the sums begin with. */
sc_status sc_rnn_cell_pack(sc_builder *, const sc_node *, const sc_rnn_cell_tensors *, const float **bias);

/* Bytes of scratch of one worker for so many rows of so many frames. */
size_t sc_rnn_scratch(const sc_rnn_params *p, size_t rows, size_t time, bool masked);
/* Runs the layer for the frame's rows, alone or as one of the frame's team. */
void sc_rnn_run(const sc_node *node, sc_frame *frame);

#endif
