/* Which token a row of scores chooses: the best, the best few, or one that is drawn. */
#ifndef SC_CHOICE_H
#define SC_CHOICE_H

#include "kernels.h"

#include <seqcore/seqcore.h>

/* A token that may come next. */
typedef struct sc_candidate {
    double sum;  /* log-probability of the whole sequence with it */
    size_t beam; /* which it goes on from */
    int64_t token;
} sc_candidate;

/* The best so far, at most `most`: a heap, the worst of them first, until it is sorted. The greater sum is better, then
 * the earlier beam, then the smaller token. */
typedef struct sc_best {
    sc_candidate *at;
    size_t count, most;
} sc_best;

void sc_best_add(sc_best *best, sc_candidate candidate);
/* Into descending order; nothing can be added any more. */
void sc_best_sort(sc_best *best);

/* Scores that one can choose by: no NaN, not infinite, one of them above -infinity; probabilities from 0 to 1 and one
 * of them above 0, log-probabilities to 0, both but for rounding. `first`: the first of the greatest. */
bool sc_scores_fit(const sc_kernels *kernels, sc_scores kind, const float *scores, size_t V, size_t *first);
/* The same, without `first`; logits become log-probabilities. */
bool sc_scores_to_logs(const sc_kernels *kernels, sc_scores kind, float *scores, size_t V);
/* The log-probability of a token, of scores that sc_scores_to_logs has made. */
double sc_score_of(sc_scores kind, const float *scores, int64_t token);
/* Adds all tokens that are possible and among the best, going on from a beam of that log-probability. */
void sc_best_add_all(sc_best *best, const sc_kernels *kernels, sc_scores kind, const float *scores, size_t V,
                     double sum, size_t beam);

/* How a token is drawn: sc_decoding says what each means. */
typedef struct sc_draw {
    double uniform, temperature, top_p;
    size_t top_k;
    float *weights; /* room for V */
} sc_draw;

/* The token that is drawn by scores that fit, the greatest of which is that of `first`. */
int64_t sc_choose_drawn(const sc_kernels *kernels, sc_scores kind, const float *scores, size_t V, size_t first,
                        const sc_draw *draw);

#endif
