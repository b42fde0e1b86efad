/* Which token a row of scores chooses: the best, the best few, or one that is drawn. */
#ifndef SC_CHOICE_H
#define SC_CHOICE_H

#include "kernels.h"

#include <seqcore/seqcore.h>

/* A token that may come next. */
typedef struct sc_candidate {
    double sum;    /* log-probability of the whole sequence with it */
    size_t beam;   /* which it goes on from */
    int64_t token;
} sc_candidate;

/* A token and what it weighs against the others. */
typedef struct sc_weight_of {
    double weight;
    size_t token;
} sc_weight_of;

/* How one is drawn: sc_decoding says what each means. */
typedef struct sc_draw {
    double uniform, temperature, top_p;
    size_t top_k;
    sc_weight_of *weights; /* room for V */
} sc_draw;

/* The first of the greatest of V scores; V when they are no choice: one is NaN or +infinity, or all are -infinity. */
size_t sc_choose_best(const float *scores, size_t V);

/* Scores of the kind become log-probabilities, in place; false when they are no choice. */
bool sc_log_probabilities(const sc_kernels *kernels, sc_scores kind, float *scores, size_t V);

/* The `most` best of V log-probabilities, the first of equal ones, added to `sum`: in descending order. Returns how many there are:
 * -infinity is no candidate. */
size_t sc_choose_several(const float *logs, size_t V, size_t most, double sum, size_t beam, sc_candidate *best);

/* Whether a stands before b: the greater sum, then the earlier beam, then the smaller token. */
bool sc_stands_before(const sc_candidate *a, const sc_candidate *b);

/* The token that is drawn by log-probabilities. */
size_t sc_choose_drawn(const float *logs, size_t V, const sc_draw *draw);

#endif
