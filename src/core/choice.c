/* Which token a row of scores chooses. Nothing here knows sequences; decode.c does. */
#include "choice.h"

#include <math.h>
#include <stdlib.h>

#define LANES 16 /* independent maxima, so that the compiler can compare a vector at a time */

size_t sc_choose_best(const float *scores, size_t V)
{
    float most[LANES];
    bool numbers = true;
    for (size_t i = 0; i < LANES; i++) {
        most[i] = -INFINITY;
    }
    for (size_t v = 0; v < V; v++) {
        const float x = scores[v];
        most[v % LANES] = x > most[v % LANES] ? x : most[v % LANES];
        numbers &= x < INFINITY; /* false of NaN too */
    }
    float best = most[0];
    for (size_t i = 1; i < LANES; i++) {
        best = most[i] > best ? most[i] : best;
    }
    size_t v = 0;
    while (numbers && v < V && scores[v] != best) {
        v++;
    }
    return numbers && best > -INFINITY ? v : V;
}

bool sc_log_probabilities(const sc_kernels *kernels, sc_scores kind, float *scores, size_t V)
{
    const size_t best = sc_choose_best(scores, V);
    if (best == V) {
        return false;
    }
    if (kind == SC_LOGITS) {
        kernels->activate((sc_activation_spec){.kind = SC_LOG_SOFTMAX}, scores, V);
    }
    bool positive = kind != SC_PROBABILITIES || scores[best] > 0;
    for (size_t v = 0; v < V && kind == SC_PROBABILITIES; v++) {
        positive &= scores[v] >= 0;
        scores[v] = logf(scores[v]);
    }
    return positive;
}

bool sc_stands_before(const sc_candidate *a, const sc_candidate *b)
{
    if (a->sum != b->sum) {
        return a->sum > b->sum;
    }
    return a->beam != b->beam ? a->beam < b->beam : a->token < b->token;
}

size_t sc_choose_several(const float *logs, size_t V, size_t most, double sum, size_t beam, sc_candidate *best)
{
    size_t count = 0;
    float least = -INFINITY; /* that still counts, once there are enough */
    for (size_t v = 0; v < V; v++) {
        if (!(logs[v] > least)) {
            continue;
        }
        size_t at = count < most ? count++ : most - 1;
        const sc_candidate made = {.sum = sum + (double)logs[v], .beam = beam, .token = (int64_t)v};
        for (; at > 0 && logs[best[at - 1].token] < logs[v]; at--) {
            best[at] = best[at - 1];
        }
        best[at] = made;
        least = count == most ? logs[best[most - 1].token] : -INFINITY;
    }
    return count;
}

static int by_weight(const void *a, const void *b)
{
    const sc_weight_of *x = a, *y = b;
    if (x->weight != y->weight) {
        return x->weight > y->weight ? -1 : 1;
    }
    return x->token < y->token ? -1 : x->token > y->token;
}

static int by_token(const void *a, const void *b)
{
    const sc_weight_of *x = a, *y = b;
    return x->token < y->token ? -1 : x->token > y->token;
}

/* w_v = p_v^(1/temperature), of the best token 1; of them the top_k largest, of these the fewest that make up top_p. The token is
 * the first, by number, at which the sum of w exceeds uniform times the whole. */
size_t sc_choose_drawn(const float *logs, size_t V, const sc_draw *draw)
{
    sc_weight_of *w = draw->weights;
    const double most = (double)logs[sc_choose_best(logs, V)];
    size_t count = V;
    for (size_t v = 0; v < V; v++) {
        w[v] = (sc_weight_of){exp(((double)logs[v] - most) / draw->temperature), v};
    }
    if ((draw->top_k > 0 && draw->top_k < V) || draw->top_p < 1) {
        qsort(w, V, sizeof *w, by_weight);
        count = draw->top_k > 0 && draw->top_k < V ? draw->top_k : V;
        double total = 0, sum = 0;
        for (size_t i = 0; i < count; i++) {
            total += w[i].weight;
        }
        for (size_t i = 0; i < count && draw->top_p < 1; i++) {
            sum += w[i].weight;
            count = sum >= draw->top_p * total ? i + 1 : count;
        }
        qsort(w, count, sizeof *w, by_token);
    }
    double total = 0, sum = 0;
    for (size_t i = 0; i < count; i++) {
        total += w[i].weight;
    }
    size_t drawn = count;
    for (size_t i = 0; i < count; i++) { /* the last that has at most so much before it */
        drawn = w[i].weight > 0 && sum <= draw->uniform * total ? i : drawn;
        sum += w[i].weight;
    }
    return w[drawn].token;
}
