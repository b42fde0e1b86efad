/* The contract that each instruction set fills in: struct sc_kernels.
 *
 * A kernel reads row pointers, packed matrices and nothing else; it knows no graph, no thread and no allocation.
 * Every output element is the same few chains of fused multiply-adds in ascending k, whatever tile computes it: that is why
 * a row has the same bits in every batch. From a bias it is one chain; a recurrent sum is two, the halves of k, added
 * together and then to what the input gave, if it gave any. Kernels only assume what is stated here; they cannot fail.
 *
 * A packed matrix holds K rows of G gates times N units, in vectors of `width` lanes (V):
 *
 *   gated, G > 1:  panel j = units j*V .. j*V+V-1, all gates:   data[j][k][g][v] = source[k][g*N + j*V + v]
 *   plain, G = 1:  panel j = 4 vectors of V columns (the last panel fewer):  data[j][k][i][v] = source[k][(4*j + i)*V + v]
 *
 * Of a paired matrix row k stands in place 2k and row ceil(K/2) + k in place 2k + 1: a recurrent sum, which is two chains over
 * the halves of k, then reads one stream and not two. Only recurrent sums are made of one.
 *
 * Lanes past N are 0. "Packed order" of a row of results is the order of one k: [panel][gate or vector][lane];
 * for a plain matrix that is the natural order. */
#ifndef SC_KERNELS_H
#define SC_KERNELS_H

#include "activation_kind.h"
#include "common.h"

typedef struct sc_matrix {
    const float *data; /* 64-byte aligned */
    size_t rows;       /* K */
    size_t units;      /* N */
    size_t gates;      /* G */
    bool paired;
} sc_matrix;

/* An activation with its parameters: docs/design.md, "Activations". */
typedef struct sc_activation_spec {
    enum sc_activation kind;
    float alpha, beta;
} sc_activation_spec;

/* out[m] = bias + a[m] . w in one chain, or, without a bias, [init[m] +] (a[m] . w in two halves), for m < rows, in packed order. */
typedef struct sc_matmul {
    size_t rows;              /* M */
    const float *const *a;    /* M pointers to K values */
    const sc_matrix *w;
    const float *bias;        /* of every row, packed order with padding, or NULL */
    const float *const *init; /* without a bias: M pointers to rows in packed order with padding, or NULL */
    float *const *out;        /* M pointers; may be the rows of init */
    bool backward;            /* from the last panel to the first: the same sums */
    bool exact;               /* write only N values of a plain row; otherwise whole vectors, padding included */
} sc_matmul;

/* Products of M rows with a matrix b that lies as it is, which few rows are quicker with. One chain from 0 for each element: the bits
 * of a matmul with a bias of zeros. */
typedef struct sc_plain {
    size_t rows;           /* M */
    const float *const *a; /* M pointers to K values */
    const float *b;        /* K rows of N values; of times_transposed N rows of K values */
    size_t ld;             /* from one row of b to the next */
    size_t K, N;
    float *const *out;     /* M pointers to N values */
} sc_plain;

/* out[n] = sum over k of w[k] tanh(scale (a[k] + b[n][k])), one chain from 0: additive scores of an attention. */
typedef struct sc_additive {
    const float *a, *w; /* K values */
    const float *b;     /* N rows of K values, `ld` floats apart */
    size_t ld, K, N;
    float scale;
    float *out;         /* N values */
} sc_additive;

/* out[m][n] = bias[n] + sum over k of a[m*K + k][n] * w[k][n] for m < rows, in one chain: each column by itself. */
typedef struct sc_depthwise {
    size_t rows;           /* M */
    const float *const *a; /* M x K pointers to N values */
    const sc_matrix *w;    /* plain */
    const float *bias;     /* packed order with padding */
    float *const *out;     /* M pointers to N values */
} sc_depthwise;

/* What is normalised before the activations of an LSTM (docs/design.md, "Cells in full"), and where c is. */
typedef enum sc_cell_norm { SC_NORM_NOTHING, SC_NORM_PRODUCTS, SC_NORM_GATES } sc_cell_norm;
typedef enum sc_state_norm { SC_STATE_AS_IT_IS, SC_STATE_KEPT, SC_STATE_OUTPUT } sc_state_norm;

/* What a cell makes of its sums, where that is more than sigmoid and tanh. */
typedef struct sc_cell {
    sc_activation_spec gates[5]; /* LSTM: i f g o, and what c goes through (SC_SHOWN); GRU: r z n */
    float clip, cell_clip;       /* of the sums that activations take, of c; INFINITY: none */
    bool coupled;                /* LSTM: f = 1 - i */
    bool replaces;               /* GRU: z is n's share of the state and not h's */
    bool whole_rows;             /* LSTM, GRU: a softmax or a norm looks at all units */
    sc_cell_norm norm;
    sc_state_norm state_norm;
    double epsilon;
    const float *scale, *offset;             /* of h.U or of the gates, packed order of 4 gates; of h.U no offset */
    const float *state_scale, *state_offset; /* of c, one value a unit */
} sc_cell;

#define SC_SHOWN 4 /* number of the activation that an LSTM's c goes through */

/* One time step of a cell for M rows at once: sums and cell tile by tile, in L1. */
typedef struct sc_step {
    size_t rows; /* M */
    /* The input's share, b + x.W: given either as xw (M rows in packed order), or computed here from x. */
    const float *const *xw;
    const float *const *x; /* M pointers to I values; NULL when xw is given */
    const sc_matrix *w;
    const float *bias; /* packed order */
    const float *const *h; /* M pointers to K values: the state before, all units of it */
    const sc_matrix *u;    /* K rows; its units may be a range of the layer's, as those of all that follows */
    size_t first;          /* ... and begin at this one */
    const float *recurrent_bias; /* GRU: b of n's recurrent part, padded to whole vectors */
    float *const *h_next;  /* M pointers: the state after; no overlap with h, but that of a single row may be h */
    float *const *c;       /* LSTM: M pointers to the cell state, padded to whole vectors, updated in place */
    float *scratch;        /* of 8 times the units, rounded up to whole vectors: for a single row, and of a cell of whole rows */
    bool backward;         /* from the last panel to the first: the same sums */
    sc_activation_spec activation; /* SimpleRNN */
    const sc_cell *cell;      /* NULL: LSTM and GRU have sigmoid and tanh. Of a SimpleRNN only the clip is read */
    const float *peepholes;   /* LSTM: of i, f and o, packed order of 3 gates; NULL: none */
    float *const *z;          /* whole rows: M rows for sums, packed order; xw is given then, of products already normalised */
} sc_step;

/* The two halves of a reset-before GRU: z holds the gates r and z (2 gates, packed), then n (plain). */
typedef struct sc_reset_before {
    size_t rows, units, first; /* as in sc_step */
    float *const *gates;    /* M rows, 2 gates: sums in, activated gates out */
    float *const *candidate; /* M rows, plain: sum in (second half) */
    const float *const *h;
    float *const *reset_h;  /* M rows of all units: r * h (written by the first half) */
    float *const *h_next;
    const sc_cell *cell;
    float *scratch;         /* units, rounded up to whole vectors */
} sc_reset_before;

/* Statistics of n elements, and what they make of them: y = (x - mean) scale w + b (reductions.h says which). */
typedef enum sc_norm { SC_LAYER_NORM, SC_VARIANCE_NORM, SC_RMS_NORM, SC_UNIT_NORM } sc_norm;

typedef struct sc_normalize {
    sc_norm kind;
    double epsilon;
    size_t n;           /* at least 1 */
    const float *x;
    float *y;           /* may be x */
    const float *w, *b; /* n values; NULL: 1 and 0 */
} sc_normalize;

/* Rows of four gates in packed order, in place, as SC_LAYER_NORM: each gate by itself, or all `together`. */
typedef struct sc_gate_norm {
    size_t rows, units; /* M; of a gate, at least 1 */
    float *const *z;    /* M rows, whose lanes past the units are 0 */
    const float *w, *b; /* 4 gates in packed order */
    const float *const *each_b; /* M rows in the place of b, or NULL */
    bool together;
    double epsilon;
} sc_gate_norm;

/* A frame of the best path through N tags: next[n] = (maximum over k of best[k] + w[k][n]) + x[n], in double precision. The
 * same bits in every table, where nothing is NaN or +inf. */
typedef struct sc_viterbi {
    const sc_matrix *w;  /* plain, N x N */
    const double *best;  /* N values */
    const float *x;      /* N values */
    double *next;        /* N values, padded to whole vectors of floats; no overlap with best */
} sc_viterbi;

/* The least and the greatest of some floats, and where the greatest first stands; of NaN nothing but that there is one. */
typedef struct sc_extremes {
    float least, greatest; /* of none: infinity, -infinity */
    size_t first;
    bool numbers; /* none is NaN */
} sc_extremes;

typedef struct sc_kernels {
    const char *isa;
    size_t width; /* V */

    size_t (*packed_floats)(size_t rows, size_t units, size_t gates);
    /* source: rows x ld, gate g of unit n in column g*units + n. */
    void (*pack)(float *data, const float *source, size_t ld, size_t rows, size_t units, size_t gates, bool paired);
    /* A plain matrix from its transpose, units x ld: element k of unit n in column k. */
    void (*pack_transposed)(float *data, const float *source, size_t ld, size_t rows, size_t units);

    void (*matmul)(const sc_matmul *);
    void (*depthwise)(const sc_depthwise *);
    void (*times)(const sc_plain *);            /* out[m][n] = sum over k of a[m][k] * b[k][n] */
    void (*times_transposed)(const sc_plain *); /* out[m][n] = sum over k of a[m][k] * b[n][k] */
    void (*additive)(const sc_additive *);
    void (*lstm_step)(const sc_step *);
    void (*gru_step)(const sc_step *); /* reset-after */
    void (*rnn_step)(const sc_step *);
    void (*reset_before_gates)(const sc_reset_before *);
    void (*reset_before_state)(const sc_reset_before *);

    /* x[i] = activation(x[i]), i < n; softmax and log_softmax over all n. */
    void (*activate)(sc_activation_spec activation, float *x, size_t n);
    void (*normalize)(const sc_normalize *);
    void (*normalize_gates)(const sc_gate_norm *);
    void (*viterbi)(const sc_viterbi *);
    sc_extremes (*extremes)(const float *x, size_t n);
    /* The first i from `from` on with x[i] > limit, or n. No element is NaN. */
    size_t (*next_above)(const float *x, size_t n, size_t from, float limit);
    /* The sum of the elements that are `least` or more, or their number, in double precision. No element is NaN. */
    double (*share_from)(const float *x, size_t n, float least, bool counts);
} sc_kernels;

extern const sc_kernels sc_kernels_scalar;
#if defined(SC_HAVE_AVX2)
extern const sc_kernels sc_kernels_avx2;
#endif
#if defined(SC_HAVE_AVX512)
extern const sc_kernels sc_kernels_avx512;
#endif

/* The table of that name if it is built and the processor has it (SEQCORE_ISA does not cap this), else NULL. */
const sc_kernels *sc_kernels_find(const char *isa);

#endif
