/* Which token a row of scores chooses. Nothing here knows sequences; decode.c and beam.c do. */
#include "choice.h"

#include <math.h>
#include <string.h>

#define MOST_PROBABILITY 1.001f /* 1 and what a sum of float32 exponentials may be off */

/* ---- The best few ------------------------------------------------------------------------------------------------ */

static bool stands_before(const sc_candidate *a, const sc_candidate *b)
{
    if (a->sum != b->sum) {
        return a->sum > b->sum;
    }
    return a->beam != b->beam ? a->beam < b->beam : a->token < b->token;
}

/* Puts a candidate at `place`, whose own may be lost, or below: the worst of `count` stays first. */
static void sift(sc_candidate *at, size_t count, size_t place, sc_candidate candidate)
{
    for (size_t child = 2 * place + 1; child < count; child = 2 * place + 1) {
        child += child + 1 < count && stands_before(&at[child], &at[child + 1]);
        if (!stands_before(&candidate, &at[child])) {
            break;
        }
        at[place] = at[child];
        place = child;
    }
    at[place] = candidate;
}

void sc_best_add(sc_best *best, sc_candidate candidate)
{
    if (best->count == best->most) {
        if (stands_before(&candidate, &best->at[0])) {
            sift(best->at, best->count, 0, candidate);
        }
        return;
    }
    size_t place = best->count++;
    for (; place > 0 && stands_before(&best->at[(place - 1) / 2], &candidate); place = (place - 1) / 2) {
        best->at[place] = best->at[(place - 1) / 2];
    }
    best->at[place] = candidate;
}

void sc_best_sort(sc_best *best)
{
    for (size_t count = best->count; count > 1; count--) { /* the worst goes to the end */
        const sc_candidate worst = best->at[0];
        sift(best->at, count - 1, 0, best->at[count - 1]);
        best->at[count - 1] = worst;
    }
}

/* ---- Scores ----------------------------------------------------------------------------------------------------- */

bool sc_scores_fit(const sc_kernels *kernels, sc_scores kind, const float *scores, size_t V, size_t *first)
{
    const sc_extremes e = kernels->extremes(scores, V);
    *first = e.first;
    if (!e.numbers || !(e.greatest < INFINITY) || !(e.greatest > -INFINITY)) {
        return false;
    }
    if (kind == SC_PROBABILITIES) {
        return e.least >= 0 && e.greatest > 0 && e.greatest <= MOST_PROBABILITY;
    }
    return kind == SC_LOGITS || e.greatest <= MOST_PROBABILITY - 1;
}

bool sc_scores_to_logs(const sc_kernels *kernels, sc_scores kind, float *scores, size_t V)
{
    size_t first;
    if (kind != SC_LOGITS) {
        return sc_scores_fit(kernels, kind, scores, V, &first);
    }
    kernels->activate((sc_activation_spec){.kind = SC_LOG_SOFTMAX}, scores, V);
    return scores[0] == scores[0]; /* of what does not fit, all are NaN */
}

static double log_of(sc_scores kind, float score)
{
    return (double)(kind == SC_PROBABILITIES ? logf(score) : score);
}

double sc_score_of(sc_scores kind, const float *scores, int64_t token)
{
    return log_of(kind, scores[token]);
}

/* A score such that none up to it has a log-probability above `log`, though it may be less than it could be. */
static float limit_of(sc_scores kind, double log)
{
    if (kind == SC_PROBABILITIES) { /* 0 is the least, and no candidate */
        return log < 0 ? (float)(exp(log) * (1 - 1e-6)) : (float)(1 - 1e-6);
    }
    const float nearest =
        log > -3e38 ? (float)log : -INFINITY; /* of NaN too: the difference of two sums of -infinity */
    return nextafterf(nearest, -INFINITY);
}

void sc_best_add_all(sc_best *best, const sc_kernels *kernels, sc_scores kind, const float *scores, size_t V,
                     double sum, size_t beam)
{
    for (size_t v = 0;; v++) {
        const bool full = best->count == best->most;
        const float none = kind == SC_PROBABILITIES ? 0 : -INFINITY;
        v = kernels->next_above(scores, V, v, full ? limit_of(kind, best->at[0].sum - sum) : none);
        if (v == V) {
            return;
        }
        sc_best_add(best, (sc_candidate){.sum = sum + log_of(kind, scores[v]), .beam = beam, .token = (int64_t)v});
    }
}

/* ---- A draw ----------------------------------------------------------------------------------------------------- */

/* w_v = p_v^(1/temperature), of the best token 1 */
static void weigh(const sc_kernels *kernels, sc_scores kind, const float *scores, size_t V, size_t first,
                  const sc_draw *draw)
{
    /* a float that 0 can be multiplied by, and with which nothing but 0 becomes 0 before it is an exponent */
    const float inverse = (float)(1 / (draw->temperature < 1e-30  ? 1e-30
                                       : draw->temperature > 1e30 ? 1e30
                                                                  : draw->temperature));
    float *w = draw->weights;
    if (kind == SC_PROBABILITIES) {
        for (size_t v = 0; v < V; v++) {
            w[v] = logf(scores[v] / scores[first]) * inverse;
        }
    } else {
        for (size_t v = 0; v < V; v++) {
            w[v] = (scores[v] - scores[first]) * inverse;
        }
    }
    kernels->activate((sc_activation_spec){.kind = SC_EXPONENTIAL}, w, V);
}

/* Leaves the fewest largest weights that make up `wanted` together, of equal ones the first; all others become 0. Which
 * is the least of them is found by halving the floats from 0 to 2, whose bits are ordered as they are. */
static void keep_largest(const sc_kernels *kernels, float *w, size_t V, double wanted, bool counts)
{
    uint32_t enough = 0, less = 0x40000000;
    float least = 0;
    while (less - enough > 1) {
        const uint32_t middle = enough + (less - enough) / 2;
        memcpy(&least, &middle, sizeof least);
        if (kernels->share_from(w, V, least, counts) >= wanted) {
            enough = middle;
        } else {
            less = middle;
        }
    }
    float above;
    memcpy(&least, &enough, sizeof least);
    memcpy(&above, &less, sizeof above);
    double share = kernels->share_from(w, V, above, counts);
    for (size_t v = 0; v < V; v++) {
        const bool last = w[v] == least && share < wanted;
        share += !last ? 0 : counts ? 1 : (double)w[v];
        w[v] = w[v] > least || last ? w[v] : 0;
    }
}

/* The token is the first, by number, at which the sum of the weights exceeds uniform times the whole: the last that has
 * at most so much before it. */
int64_t sc_choose_drawn(const sc_kernels *kernels, sc_scores kind, const float *scores, size_t V, size_t first,
                        const sc_draw *draw)
{
    const float *w = draw->weights;
    weigh(kernels, kind, scores, V, first, draw);
    if (draw->top_k > 0 && draw->top_k < V) {
        keep_largest(kernels, draw->weights, V, (double)draw->top_k, true);
    }
    if (draw->top_p < 1) {
        keep_largest(kernels, draw->weights, V, draw->top_p * kernels->share_from(w, V, 0, false), false);
    }
    const double most = draw->uniform * kernels->share_from(w, V, 0, false);
    double sum = 0;
    size_t drawn = first;
    for (size_t v = 0; v < V && sum <= most; v++) {
        drawn = w[v] > 0 ? v : drawn;
        sum += (double)w[v];
    }
    return (int64_t)drawn;
}
