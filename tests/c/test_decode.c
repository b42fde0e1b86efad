/* What decoding computes, beside the same models in double precision (decoder_model.h), all sequences that there are,
 * and streams that are stepped one by one. What a careless caller gets: test_decode_calls.c. */
#include "decoder_model.h"

#define MOST_V 12
#define MOST_T 10
#define MOST_ROWS 7
#define MOST_WIDTH 30
#define TOLERANCE 2e-5 /* of a score: a sum of at most 10 log-probabilities of float32 */

static size_t compared; /* results that were the expected ones, token by token */

/* ---- A call, and what came of it -------------------------------------------------------------------------------- */

/* A decoder's plan, and contexts of its rows. */
typedef struct setting {
    decoder model;
    sc_plan *plan;
    size_t rows, frames;
    float context[MOST_ROWS][MOST_FRAMES * MOST_UNITS]; /* the first rows * frames * H of them, row by row */
    int64_t lengths[MOST_ROWS];
    float mask[MOST_ROWS * MOST_FRAMES];
    sc_array inputs[8];
} setting;

static float *context_of(setting *s, size_t row)
{
    return &s->context[0][0] + row * s->frames * s->model.H;
}

static setting *setting_make(enum decoder_kind kind, size_t V, size_t H, bool additive, size_t rows, size_t frames,
                             const sc_options *options)
{
    setting *s = calloc(1, sizeof *s);
    CHECK(s != NULL && rows <= MOST_ROWS && frames <= MOST_FRAMES && V <= MOST_V, "setting");
    s->model = decoder_make(kind, V, H, additive);
    s->plan = decoder_plan(&s->model, options);
    s->rows = rows;
    s->frames = frames;
    for (size_t i = 0; i < rows * frames * H; i++) {
        s->context[0][i] = (float)random_below(2001) / 1000.0f - 1.0f;
    }
    for (size_t m = 0; m < rows; m++) {
        s->lengths[m] = (int64_t)random_below(frames + 1);
    }
    for (size_t i = 0; i < rows * frames; i++) {
        s->mask[i] = random_below(3) > 0;
    }
    s->inputs[CONTEXT] = (sc_array){s->context, 3, {rows, frames, H}};
    if (random_below(3) > 0) {
        s->inputs[CONTEXT_LENGTHS] = (sc_array){s->lengths, 1, {rows}};
    }
    if (random_below(3) == 0) {
        s->inputs[CONTEXT_MASK] = (sc_array){s->mask, 2, {rows, frames}};
    }
    return s;
}

static void setting_free(setting *s)
{
    sc_plan_free(s->plan);
    decoder_free(&s->model);
    free(s);
}

/* What a row begins with, in double precision. */
static memory begin(setting *s, size_t row)
{
    memory m = {.context = context_of(s, row),
                .frames = s->inputs[CONTEXT_LENGTHS].data != NULL ? (size_t)s->lengths[row] : s->frames};
    m.mask = s->inputs[CONTEXT_MASK].data != NULL ? s->mask + row * s->frames : NULL;
    return m;
}

/* Room for all that a call can give. */
typedef struct given {
    int64_t ids[MOST_ROWS * MOST_WIDTH * MOST_T], lengths[MOST_ROWS * MOST_WIDTH], ended[MOST_ROWS * MOST_WIDTH];
    double scores[MOST_ROWS * MOST_WIDTH];
} given;

static given *decoded(const sc_plan *plan, const sc_decoding *q, size_t results)
{
    given *g = malloc(sizeof *g);
    CHECK(g != NULL, "memory");
    memset(g, 0xA5, sizeof *g);
    const sc_decoded to = {
        .results = results, .ids = g->ids, .lengths = g->lengths, .ended = g->ended, .scores = g->scores};
    OK(sc_plan_decode(plan, q, &to, &error));
    return g;
}

static const int64_t *ids_of(const given *g, const sc_decoding *q, size_t results, size_t row, size_t number)
{
    return g->ids + (row * results + number) * q->max_length;
}

/* ---- In double precision ---------------------------------------------------------------------------------------- */

typedef struct sequence {
    int64_t ids[MOST_T];
    size_t length;
    double sum, score;
    bool ended;
} sequence;

static double ranked(const sc_decoding *q, const sequence *s)
{
    return s->sum / pow((double)s->length, q->length_penalty);
}

static int64_t forced(const sc_decoding *q, size_t row, size_t t)
{
    const size_t length = q->prefix_lengths != NULL ? (size_t)q->prefix_lengths[row] : q->prefix_size;
    return t < length ? q->prefix[row * q->prefix_size + t] : -1;
}

/* log-probabilities of the token behind a sequence, from its beginning */
static void logs_behind(setting *s, const sc_decoding *q, size_t row, const sequence *before, double *logs)
{
    memory m = begin(s, row);
    for (size_t t = 0; t <= before->length; t++) {
        decoder_step(&s->model, &m, t == 0 ? q->start[row] : before->ids[t - 1], logs, NULL);
    }
    decoder_logs(logs, s->model.V);
}

static sequence longer(const sequence *before, int64_t token, double log, const sc_decoding *q)
{
    sequence s = *before;
    s.ids[s.length++] = token;
    s.sum += log;
    s.ended = token == q->end;
    s.score = ranked(q, &s);
    return s;
}

/* The true score of what was found is the one that is given, and that of the expected sequence; which it is, unless
 * float32 cannot tell the two apart. */
static void same(setting *s, const sequence *expected, const given *g, const sc_decoding *q, size_t results, size_t row,
                 size_t number)
{
    const size_t at = row * results + number;
    const int64_t *ids = ids_of(g, q, results, row, number);
    CHECK(g->lengths[at] >= 1 && (size_t)g->lengths[at] <= q->max_length, "row %zu, result %zu: %lld tokens", row,
          number, (long long)g->lengths[at]);
    sequence found = {.length = 0};
    bool exact = (size_t)g->lengths[at] == expected->length;
    for (size_t t = 0; t < q->max_length; t++) {
        const bool there = t < (size_t)g->lengths[at];
        double logs[MOST_V];
        CHECK(there ? ids[t] >= 0 && (size_t)ids[t] < s->model.V : ids[t] == (q->end >= 0 ? q->end : 0),
              "row %zu, result %zu, token %zu: %lld", row, number, t, (long long)ids[t]);
        CHECK(!there || (!found.ended && (forced(q, row, t) < 0 || forced(q, row, t) == ids[t])),
              "row %zu, result %zu, token %zu", row, number, t);
        exact = exact && (!there || ids[t] == expected->ids[t]);
        if (there) {
            logs_behind(s, q, row, &found, logs);
            found = longer(&found, ids[t], logs[ids[t]], q);
        }
    }
    const double most = TOLERANCE * (1 + fabs(expected->score));
    CHECK((g->ended[at] != 0) == found.ended && (found.ended || found.length == q->max_length),
          "row %zu, result %zu: ended %lld", row, number, (long long)g->ended[at]);
    CHECK(fabs(g->scores[at] - found.score) <= most, "row %zu, result %zu: %.9g, expected %.9g", row, number,
          g->scores[at], found.score);
    CHECK(exact || fabs(found.score - expected->score) <= most,
          "row %zu, result %zu: another sequence, of %.9g, not of %.9g", row, number, found.score, expected->score);
    compared += exact;
}

/* No sequence twice. */
static void all_differ(const given *g, const sc_decoding *q, size_t results, size_t row)
{
    for (size_t i = 0; i < results; i++) {
        for (size_t k = 0; k < i; k++) {
            const size_t first = row * results + k, second = row * results + i;
            CHECK(g->lengths[first] != g->lengths[second] || g->lengths[second] == 0 ||
                      memcmp(ids_of(g, q, results, row, k), ids_of(g, q, results, row, i),
                             q->max_length * sizeof(int64_t)) != 0,
                  "row %zu: results %zu and %zu are the same", row, k, i);
        }
    }
}

/* ---- Greedy ----------------------------------------------------------------------------------------------------- */

static sequence best_chain(setting *s, const sc_decoding *q, size_t row)
{
    sequence chain = {.length = 0};
    double logs[MOST_V];
    while (chain.length < q->max_length && !chain.ended) {
        logs_behind(s, q, row, &chain, logs);
        int64_t best = forced(q, row, chain.length);
        for (size_t v = 0; v < s->model.V && (best < 0 || forced(q, row, chain.length) < 0); v++) {
            best = best < 0 || logs[v] > logs[best] ? (int64_t)v : best;
        }
        chain = longer(&chain, best, logs[best], q);
    }
    return chain;
}

/* Prefixes of lengths of their own, and every row's start token; the last token ends, or none. */
typedef struct question {
    sc_decoding q;
    int64_t start[MOST_ROWS], prefix[MOST_ROWS * MOST_T], prefix_lengths[MOST_ROWS];
} question;

static void ask(question *a, setting *s, size_t max_length, size_t width)
{
    const size_t V = s->model.V;
    memset(a, 0, sizeof *a);
    a->q = (sc_decoding){.rows = s->rows,
                         .inputs = s->inputs,
                         .start = a->start,
                         .max_length = max_length,
                         .width = width,
                         .end = random_below(4) > 0 ? (int64_t)random_below(V) : -1,
                         .prefix = a->prefix,
                         .prefix_size = random_below(max_length + 1)};
    for (size_t m = 0; m < s->rows; m++) {
        a->start[m] = (int64_t)(random_below(2) ? V : random_below(V));
        a->prefix_lengths[m] = (int64_t)random_below(a->q.prefix_size + 1);
        for (size_t t = 0; t < a->q.prefix_size; t++) {
            a->prefix[m * a->q.prefix_size + t] = (int64_t)random_below(V);
        }
    }
    a->q.prefix_lengths = random_below(3) > 0 ? a->prefix_lengths : NULL;
    if (random_below(3) == 0) {
        a->q.prefix_size = 0;
        a->q.prefix = NULL;
        a->q.prefix_lengths = NULL;
    }
}

static void test_greedy(const char *isa)
{
    for (int turn = 0; turn < 60; turn++) {
        const enum decoder_kind kind = (enum decoder_kind)(turn % 4);
        setting *s =
            setting_make(kind, 2 + random_below(MOST_V - 1), 1 + random_below(20), turn % 8 > 3,
                         1 + random_below(MOST_ROWS), random_below(9), &(sc_options){.isa = isa, .threads = 1});
        question a;
        ask(&a, s, 1 + random_below(MOST_T), 1);
        given *g = decoded(s->plan, &a.q, 1);
        for (size_t m = 0; m < s->rows; m++) {
            const sequence expected = best_chain(s, &a.q, m);
            same(s, &expected, g, &a.q, 1, m, 0);
        }
        free(g);
        setting_free(s);
    }
}

/* ---- Beams ------------------------------------------------------------------------------------------------------ */

static int better(const void *a, const void *b)
{
    const sequence *x = a, *y = b;
    return x->score > y->score ? -1 : x->score < y->score;
}

/* Every sequence behind `before`, with its score. */
static void enumerate(setting *s, const sc_decoding *q, size_t row, const sequence *before, sequence *all,
                      size_t *count)
{
    double logs[MOST_V];
    if (before->ended || before->length == q->max_length) {
        all[(*count)++] = *before;
        return;
    }
    logs_behind(s, q, row, before, logs);
    for (size_t v = 0; v < s->model.V; v++) {
        const sequence next = longer(before, (int64_t)v, logs[v], q);
        enumerate(s, q, row, &next, all, count);
    }
}

/* A beam as wide as all there is finds the best sequences of all, in their order. */
static void test_wide_beams_find_the_best(const char *isa)
{
    for (int turn = 0; turn < 40; turn++) {
        const size_t V = 2 + random_below(2), T = 1 + random_below(V == 2 ? 5 : 4);
        const size_t width = (size_t)pow((double)V, (double)(T - 1)), results = 1 + random_below(width);
        setting *s = setting_make((enum decoder_kind)(turn % 4), V, 3 + random_below(6), false, 2, 3,
                                  &(sc_options){.isa = isa, .threads = 1});
        int64_t start[2] = {(int64_t)V, 0};
        const double penalties[] = {0, 1, 0.6, -0.5};
        sc_decoding q = {.rows = 2,
                         .inputs = s->inputs,
                         .start = start,
                         .max_length = T,
                         .width = width,
                         .end = turn % 5 == 0 ? -1 : 0,
                         .length_penalty = penalties[turn % 4]};
        given *g = decoded(s->plan, &q, results);
        for (size_t m = 0; m < 2; m++) {
            sequence all[512], nothing = {.length = 0};
            size_t count = 0;
            enumerate(s, &q, m, &nothing, all, &count);
            CHECK(count <= 512, "%zu", count);
            qsort(all, count, sizeof *all, better);
            for (size_t i = 0; i < results; i++) {
                const sequence none = {.score = -INFINITY};
                if (i < count) {
                    same(s, &all[i], g, &q, results, m, i);
                } else {
                    CHECK(g->lengths[m * results + i] == 0 && g->scores[m * results + i] == none.score,
                          "result %zu of %zu", i, count);
                }
            }
        }
        free(g);
        setting_free(s);
    }
}

static int higher(const void *a, const void *b)
{
    const sequence *x = a, *y = b;
    return x->sum > y->sum ? -1 : x->sum < y->sum;
}

/* A beam search as it is defined, without an early end: all candidates of all beams, the width best that do not end go
 * on, and what ends among the width best is a result. Returns how many results there are; none where float32 may choose
 * another candidate. */
static size_t search(setting *s, const sc_decoding *q, size_t row, sequence *results)
{
    static sequence beams[MOST_WIDTH], candidates[MOST_WIDTH * MOST_V];
    size_t alive = 1, found = 0;
    beams[0] = (sequence){.length = 0};
    for (size_t t = 0; t < q->max_length && alive > 0; t++) {
        size_t count = 0;
        for (size_t k = 0; k < alive; k++) {
            double logs[MOST_V];
            logs_behind(s, q, row, &beams[k], logs);
            const int64_t only = forced(q, row, t);
            for (size_t v = 0; v < s->model.V; v++) {
                if (only < 0 || only == (int64_t)v) {
                    candidates[count++] = longer(&beams[k], (int64_t)v, logs[v], q);
                }
            }
        }
        qsort(candidates, count, sizeof *candidates, higher);
        alive = 0;
        for (size_t i = 0; i < count; i++) {
            const bool on = !candidates[i].ended && alive < q->width;
            if (candidates[i].ended ? i < q->width : on && t + 1 == q->max_length) {
                results[found++] = candidates[i];
            }
            if (on) {
                beams[alive++] = candidates[i];
            }
            const bool last = i + 1 == q->width || (on && alive == q->width);
            for (size_t k = i + 1; last && k < count; k++) {
                if (candidates[i].sum - candidates[k].sum < TOLERANCE) {
                    return SIZE_MAX;
                }
            }
        }
    }
    qsort(results, found, sizeof *results, better);
    return found;
}

static void test_beams(const char *isa)
{
    for (int turn = 0; turn < 150; turn++) {
        setting *s =
            setting_make((enum decoder_kind)(turn % 4), 1 + random_below(MOST_V), 1 + random_below(20), turn % 8 > 3,
                         1 + random_below(MOST_ROWS), random_below(9), &(sc_options){.isa = isa, .threads = 1});
        question a;
        ask(&a, s, 1 + random_below(MOST_T), 2 + random_below(MOST_WIDTH / 2));
        const double penalties[] = {0, 1, 0.7, -0.4, 2};
        a.q.length_penalty = penalties[random_below(5)];
        const size_t results = 1 + random_below(a.q.width);
        given *g = decoded(s->plan, &a.q, results);
        for (size_t m = 0; m < s->rows; m++) {
            static sequence all[MOST_WIDTH * MOST_T];
            const size_t found = search(s, &a.q, m, all);
            all_differ(g, &a.q, results, m);
            for (size_t i = 0; i < results && found < SIZE_MAX && i < found; i++) {
                same(s, &all[i], g, &a.q, results, m, i);
            }
            for (size_t i = found; i < results; i++) {
                CHECK(g->lengths[m * results + i] == 0 && g->scores[m * results + i] == -INFINITY &&
                          g->ended[m * results + i] == 0,
                      "turn %d: result %zu of %zu", turn, i, found);
            }
        }
        free(g);
        setting_free(s);
    }
}

/* ---- Sampling --------------------------------------------------------------------------------------------------- */

/* The token that a number from 0 to 1 draws, and how far it is from drawing another one. */
static int64_t drawn(const double *logs, size_t V, const sc_decoding *q, double uniform, double *margin)
{
    double p[MOST_V], total = 0, sum = 0;
    size_t order[MOST_V];
    bool kept[MOST_V] = {false};
    double most_likely = -INFINITY;
    for (size_t v = 0; v < V; v++) {
        most_likely = fmax(most_likely, logs[v]);
    }
    for (size_t v = 0; v < V; v++) {
        p[v] = exp((logs[v] - most_likely) / q->temperature);
        total += p[v];
        order[v] = v;
        for (size_t i = v; i > 0 && p[order[i]] > p[order[i - 1]]; i--) {
            const size_t other = order[i - 1];
            order[i - 1] = order[i];
            order[i] = other;
        }
    }
    const size_t most = q->top_k > 0 && q->top_k < V ? q->top_k : V;
    *margin = 1;
    double among = 0, rest = 0;
    for (size_t i = 0; i < most; i++) {
        among += p[order[i]];
    }
    if (most < V) {
        *margin = fmin(*margin, (p[order[most - 1]] - p[order[most]]) / total);
    }
    for (size_t i = 0; i < most; i++) {
        *margin = fmin(*margin, fabs(sum / among - q->top_p) < 1e-300 ? 1 : i > 0 ? fabs(sum / among - q->top_p) : 1);
        if (i > 0 && sum >= q->top_p * among) {
            break;
        }
        kept[order[i]] = true;
        sum += p[order[i]];
    }
    total = sum;
    sum = 0;
    for (size_t v = 0; v < V; v++) {
        rest = sum;
        sum += kept[v] ? p[v] : 0;
        if (sum / total > uniform) {
            *margin = fmin(*margin, fmin(sum / total - uniform, v > 0 && rest > 0 ? uniform - rest / total : 1));
            return (int64_t)v;
        }
    }
    *margin = 0;
    return -1;
}

static void test_sampling(const char *isa)
{
    size_t tokens = 0;
    for (int turn = 0; turn < 80; turn++) {
        setting *s =
            setting_make((enum decoder_kind)(turn % 4), 1 + random_below(MOST_V), 1 + random_below(20), turn % 8 > 3,
                         1 + random_below(MOST_ROWS), random_below(9), &(sc_options){.isa = isa, .threads = 1});
        question a;
        const size_t width = 1 + random_below(6);
        ask(&a, s, 1 + random_below(MOST_T), width);
        static double uniforms[MOST_ROWS * MOST_WIDTH * MOST_T];
        for (size_t i = 0; i < sizeof uniforms / sizeof *uniforms; i++) {
            uniforms[i] = (double)random_below(1000003) / 1000003;
        }
        const double temperatures[] = {1, 0.5, 2.5, 1e-300, 1e300};
        a.q.uniforms = uniforms;
        a.q.temperature = temperatures[random_below(5)];
        a.q.top_k = random_below(3) > 0 ? random_below(s->model.V + 2) : 0;
        a.q.top_p = random_below(2) ? 1 : (double)(1 + random_below(100)) / 100;
        given *g = decoded(s->plan, &a.q, width);
        for (size_t at = 0; at < s->rows * width; at++) {
            sequence chain = {.length = 0};
            const size_t row = at / width;
            const int64_t *ids = ids_of(g, &a.q, width, row, at % width);
            while (chain.length < a.q.max_length && !chain.ended) {
                double logs[MOST_V], margin = 1;
                logs_behind(s, &a.q, row, &chain, logs);
                int64_t token = forced(&a.q, row, chain.length);
                token = token < 0 ? drawn(logs, s->model.V, &a.q, uniforms[at * a.q.max_length + chain.length], &margin)
                                  : token;
                if (margin > 1e-5) { /* what float32 cannot change */
                    CHECK(ids[chain.length] == token, "turn %d, row %zu, token %zu: %lld, expected %lld", turn, row,
                          chain.length, (long long)ids[chain.length], (long long)token);
                    tokens++;
                }
                chain = longer(&chain, ids[chain.length], logs[ids[chain.length]], &a.q);
            }
            same(s, &chain, g, &a.q, width, row, at % width);
        }
        free(g);
        setting_free(s);
    }
    CHECK(tokens > 1000, "%zu", tokens);
}

int main(void)
{
    for (size_t i = 0; i < sc_isa_count(); i++) {
        const char *isa = sc_isa_name(i);
        test_greedy(isa);
        test_wide_beams_find_the_best(isa);
        test_beams(isa);
        test_sampling(isa);
        printf("%s: passed, %zu results\n", isa, compared);
        CHECK(compared > 2000, "%zu", compared);
        compared = 0;
    }
    printf("test_decode: all passed\n");
    return 0;
}
