/* Decoding at its edges: scores that are none, options and sizes that fit nothing, models that cannot. What decoding
 * computes: test_decode.c; contexts: test_contexts.c. */
#define _GNU_SOURCE /* feenableexcept */
#include "decoder_model.h"

#include <fenv.h>

#define OPTIONS &(sc_options){.isa = "scalar", .threads = 1}

/* ---- Tables of scores ------------------------------------------------------------------------------------------- */

/* A decoder of V tokens whose scores are `table`, (V + 1, V): behind the start token V comes the last row. */
static sc_plan *table_plan(size_t V, const float *table)
{
    decoder d = decoder_make(MARKOV, V, 1, false);
    memcpy(d.table, table, (V + 1) * V * sizeof *table);
    sc_plan *plan = decoder_plan(&d, OPTIONS);
    decoder_free(&d);
    return plan;
}

#define MOST 64

typedef struct given {
    int64_t ids[MOST], lengths[MOST], ended[MOST];
    double scores[MOST];
} given;

static given answer;

static sc_decoded to(size_t results)
{
    memset(&answer, 0xA5, sizeof answer);
    return (sc_decoded){.results = results,
                        .ids = answer.ids,
                        .lengths = answer.lengths,
                        .ended = answer.ended,
                        .scores = answer.scores};
}

static void check_ids(const char *what, size_t at, const int64_t *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CHECK(answer.ids[at + i] == expected[i], "%s: token %zu is %lld, expected %lld", what, i,
              (long long)answer.ids[at + i], (long long)expected[i]);
    }
}

static const int64_t starts[] = {2, 2, 2, 2};

/* Of equal scores the smaller token of the earlier beam. */
static void test_ties(void)
{
    const float equal[4 * 3] = {0};
    sc_plan *plan = table_plan(3, equal);
    const int64_t start[] = {3};
    sc_decoding q = {.rows = 1, .start = start, .max_length = 3, .end = -1, .width = 1};
    sc_decoded d = to(1);
    OK(sc_plan_decode(plan, &q, &d, &error));
    check_ids("greedy", 0, (int64_t[]){0, 0, 0}, 3);
    q.width = 4;
    d = to(4);
    OK(sc_plan_decode(plan, &q, &d, &error));
    /* steps: 0 1 2 | 00 01 02 10 | 000 001 002 010 */
    check_ids("beams", 0, (int64_t[]){0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 0}, 12);
    for (size_t i = 0; i < 4; i++) {
        CHECK(answer.scores[i] == answer.scores[0] && answer.ended[i] == 0 && answer.lengths[i] == 3, "result %zu", i);
    }
    q.end = 2; /* what ends among the four best is a result: 2, then 02 and 12, then 002, 012 */
    q.max_length = 2;
    d = to(4);
    q.length_penalty = 1; /* scores are all log(1/3): the one that was found first stands first */
    OK(sc_plan_decode(plan, &q, &d, &error));
    check_ids("ends", 0, (int64_t[]){2, 2, 0, 0, 0, 1, 0, 2}, 8);
    CHECK(answer.lengths[0] == 1 && answer.ended[0] == 1 && answer.ended[1] == 0 && answer.ended[3] == 1, "%lld",
          (long long)answer.lengths[0]);
    sc_plan_free(plan);
}

/* Among many that are nearly alike, and come the worst first, none of the best is passed over. */
static void test_scores_that_are_close(void)
{
    enum { MANY = 40, BEST = 3 };
    for (int kind = SC_LOGITS; kind <= SC_LOG_PROBABILITIES; kind++) {
        for (size_t way = 0; way < 3; way++) {
            const float steps[] = {1e-3f, 1e-6f, 1.2e-7f};
            float table[(MANY + 1) * MANY];
            for (size_t i = 0; i < (MANY + 1) * MANY; i++) {
                const float more = (float)(i % MANY) * steps[way];
                table[i] = kind == SC_PROBABILITIES ? 0.5f + more : kind == SC_LOGITS ? 1.0f + more : more - 1.0f;
            }
            sc_plan *plan = table_plan(MANY, table);
            const int64_t start[] = {MANY};
            const sc_decoding q = {
                .rows = 1, .start = start, .max_length = 1, .end = -1, .width = BEST, .scores = (sc_scores)kind};
            const sc_decoded d = to(BEST);
            OK(sc_plan_decode(plan, &q, &d, &error));
            CHECK(answer.scores[0] > answer.scores[1] || way > 0, "kind %d", kind);
            for (size_t i = 0; i < BEST && way < 2; i++) {
                CHECK(answer.ids[i] == (int64_t)(MANY - 1 - i), "kind %d, steps of %g: result %zu is %lld", kind,
                      (double)steps[way], i, (long long)answer.ids[i]);
            }
            sc_plan_free(plan);
        }
    }
}

/* A search goes on while something longer may still be better, and no further: behind the other token the scores are
 * none. */
static void test_when_a_search_ends(void)
{
    /* tokens: 0 goes on, 1 ends, 2 is impossible; behind 0 nearly only 0 */
    const float inf = INFINITY, table[4 * 3] = {-1e-4f, -9.2f, -inf, 0, 0, 0, 0, 0, 0, -1.35f, -0.3f, -inf};
    sc_plan *plan = table_plan(3, table);
    const int64_t start[] = {3};
    sc_decoding q = {.rows = 1,
                     .start = start,
                     .max_length = 10,
                     .end = 1,
                     .width = 2,
                     .scores = SC_LOG_PROBABILITIES,
                     .length_penalty = 1};
    sc_decoded d = to(1);
    OK(sc_plan_decode(plan, &q, &d, &error));
    CHECK(answer.lengths[0] == 10 && fabs(answer.scores[0] + 0.1351) < 1e-3, "ten tokens are better: %g",
          answer.scores[0]);
    q.length_penalty = 0;
    d = to(1);
    OK(sc_plan_decode(plan, &q, &d, &error));
    CHECK(answer.lengths[0] == 1 && answer.ids[0] == 1, "one is: %lld", (long long)answer.lengths[0]);
    sc_plan_free(plan);
    const float none[4 * 3] = {NAN, 0, 0, 0, 0, 0, 0, 0, 0, -1.35f, -0.3f, -inf};
    plan = table_plan(3, none);
    for (int i = 0; i < 2; i++) {
        q.length_penalty = -i;
        d = to(1);
        OK(sc_plan_decode(plan, &q, &d, &error));
        CHECK(answer.lengths[0] == 1 && answer.ended[0] == 1, "penalty %d", -i);
    }
    d = to(2);
    REFUSED(SC_BAD_SCORES, "row 0, token 1", sc_plan_decode(plan, &q, &d, &error)); /* a second result is wanted */
    sc_plan_free(plan);
}

/* Rows of scores, the only one that counts being that of the start token; what each kind of scores makes of it. */
static void test_scores_that_are_no_choice(void)
{
    enum { ALL, LOGITS = 1 << SC_LOGITS, PROBABILITIES = 1 << SC_PROBABILITIES, LOGS = 1 << SC_LOG_PROBABILITIES };
    const float inf = INFINITY;
    static const char *const kinds[] = {"logits", "probabilities", "log-probabilities"};
    const struct {
        float scores[3];
        int legal; /* for which kinds */
        int64_t best;
    } cases[] = {
        {{NAN, 1, 0}, 0, 0},
        {{0.5f, NAN, 0}, 0, 0},
        {{0, 0, NAN}, 0, 0},
        {{-inf, NAN, -inf}, 0, 0},
        {{inf, 0, 0}, 0, 0},
        {{0, 0.1f, inf}, 0, 0},
        {{-inf, -inf, -inf}, 0, 0},
        {{-inf, -inf, -700}, LOGITS | LOGS, 2},
        {{-inf, -inf, 0}, LOGITS | LOGS, 2},
        {{-inf, 0.25f, -inf}, LOGITS, 1},
        {{0, 0, 0}, LOGITS | LOGS, 0},
        {{0, 0, 1}, LOGITS | PROBABILITIES, 2},
        {{0.25f, 0.5f, 0.25f}, LOGITS | PROBABILITIES, 1},
        {{-0.25f, 0.5f, 0.75f}, LOGITS, 2},
        {{-0.0f, 0.5f, 0.5f}, LOGITS | PROBABILITIES, 1},
        {{0, 1.5f, 0}, LOGITS, 1},
        {{3e38f, -3e38f, 0}, LOGITS, 0},
        {{-1, -2, -0.5f}, LOGITS | LOGS, 2},
        {{1e-40f, 0, 0}, LOGITS | LOGS, 0},
        {{-3e38f, -3.1e38f, -3.2e38f}, LOGITS | LOGS, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float table[4 * 3];
        for (size_t row = 0; row < 4; row++) { /* the second token is drawn by harmless ones */
            for (size_t v = 0; v < 3; v++) {
                table[row * 3 + v] = row == 3 ? cases[i].scores[v] : 0;
            }
        }
        table[0] = table[4] = table[8] = 1; /* of every kind but log-probabilities */
        sc_plan *plan = table_plan(3, table);
        const int64_t start[] = {0, 3, 1};
        static const double uniforms[3 * 2] = {0};
        for (int kind = SC_LOGITS; kind <= SC_LOG_PROBABILITIES; kind++) {
            for (int way = 0; way < 4; way++) { /* greedy without scores and with them, a search, a draw */
                sc_decoding q = {.rows = 3,
                                 .start = start,
                                 .max_length = 1,
                                 .end = -1,
                                 .width = way >= 2 ? 2 : 1,
                                 .scores = (sc_scores)kind,
                                 .uniforms = way == 3 ? uniforms : NULL,
                                 .temperature = 1,
                                 .top_p = 1};
                q.rows = kind == SC_LOG_PROBABILITIES ? 1 : 3;
                q.start = kind == SC_LOG_PROBABILITIES ? start + 1 : start;
                const size_t row = kind == SC_LOG_PROBABILITIES ? 0 : 1;
                sc_decoded d = to(q.width);
                d.scores = way == 0 ? NULL : d.scores;
                sc_error error = {.status = SC_OK};
                const sc_status status = sc_plan_decode(plan, &q, &d, &error);
                CHECK((status == SC_OK) == (cases[i].legal >> kind & 1), "case %zu, %s, way %d: %s", i, kinds[kind],
                      way, status != SC_OK ? error.message : "");
                if (status != SC_OK) {
                    CHECK(status == SC_BAD_SCORES, "case %zu: status %d", i, (int)status);
                    check_message(&error, row == 0 ? "row 0, token 0" : "row 1, token 0");
                } else if (way < 3) {
                    CHECK(answer.ids[row * q.width] == cases[i].best, "case %zu, %s, way %d: %lld", i, kinds[kind], way,
                          (long long)answer.ids[row * q.width]);
                }
                CHECK(status != SC_OK || d.scores == NULL || !isnan(answer.scores[row * q.width]),
                      "case %zu: a score is NaN", i);
            }
        }
        sc_plan_free(plan);
    }
}

/* Prefixes: one that ends, one as long as a result, one whose token is impossible. */
static void test_prefixes(void)
{
    const float inf = INFINITY, table[4 * 3] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 2, 1, -inf};
    sc_plan *plan = table_plan(3, table);
    const int64_t start[] = {3, 3, 3}, prefix[] = {1, 2, 1, 1, 1, 1, 2, 0, 0};
    for (size_t width = 1; width <= 3; width += 2) {
        sc_decoding q = {
            .rows = 3, .start = start, .max_length = 3, .end = 2, .width = width, .prefix_size = 3, .prefix = prefix};
        sc_decoded d = to(1);
        OK(sc_plan_decode(plan, &q, &d, &error));
        check_ids("prefixes", 0, (int64_t[]){1, 2, 2, 1, 1, 1, 2, 2, 2}, 9);
        CHECK(answer.lengths[0] == 2 && answer.ended[0] == 1, "it ends in its prefix: %lld",
              (long long)answer.lengths[0]);
        CHECK(answer.lengths[1] == 3 && answer.ended[1] == 0, "a prefix is all: %lld", (long long)answer.lengths[1]);
        CHECK(answer.lengths[2] == 1 && answer.ended[2] == 1 && answer.scores[2] == -inf, "impossible: %g",
              answer.scores[2]);
        REFUSED(SC_BAD_SHAPE, "the prefix has 3 tokens, a result 2 at most",
                (q.max_length = 2, sc_plan_decode(plan, &q, &d, &error)));
        q.max_length = 3;
        for (int64_t wrong = -1; wrong <= 4; wrong += 5) {
            const int64_t lengths[] = {0, 3, wrong};
            q.prefix_lengths = lengths;
            REFUSED(SC_BAD_SHAPE, "the prefix of row 2 has length", sc_plan_decode(plan, &q, &d, &error));
        }
        const int64_t lengths[] = {0, 1, 2},
                      wrong[] = {-7, 3, 9, 1, 9, 9, 1, 1, 9}; /* what is past a length is not read */
        q.prefix = wrong;
        q.prefix_lengths = lengths;
        OK(sc_plan_decode(plan, &q, &d, &error));
        check_ids("lengths", 0, (int64_t[]){0, 0, 0, 1, 1, 1, 1, 1, 1}, 9);
        q.prefix_lengths = NULL;
        REFUSED(SC_BAD_INDEX, "the prefix of row 0 has token -7, expected 0 to 2",
                sc_plan_decode(plan, &q, &d, &error));
        q.prefix = NULL;
        REFUSED(SC_BAD_SHAPE, "prefix", sc_plan_decode(plan, &q, &d, &error));
    }
    sc_plan_free(plan);
}

static void test_options(void)
{
    float table[3 * 2] = {0};
    sc_plan *plan = table_plan(2, table);
    double uniforms[8] = {0};
    const sc_decoding good = {
        .rows = 2, .start = starts, .max_length = 2, .end = 1, .width = 2, .temperature = 1, .top_p = 1};
    const size_t most = (size_t)UINT32_MAX;
#define WRONG(status, cause, ...)                                                                                      \
    do {                                                                                                               \
        sc_decoding q = good;                                                                                          \
        sc_decoded d = to(2);                                                                                          \
        __VA_ARGS__;                                                                                                   \
        REFUSED(status, cause, sc_plan_decode(plan, &q, &d, &error));                                                  \
    } while (0)
    WRONG(SC_BAD_ARGUMENT, "NULL", q.start = NULL);
    WRONG(SC_BAD_ARGUMENT, "NULL", d.ids = NULL);
    WRONG(SC_BAD_ARGUMENT, "NULL", d.lengths = NULL);
    WRONG(SC_BAD_ARGUMENT, "rows", q.rows = 0);
    WRONG(SC_BAD_ARGUMENT, "rows", q.rows = most + 1);
    WRONG(SC_BAD_ARGUMENT, "rows", q.rows = SIZE_MAX);
    WRONG(SC_BAD_ARGUMENT, "width", q.width = 0);
    WRONG(SC_BAD_ARGUMENT, "max_length", q.max_length = 0);
    WRONG(SC_BAD_ARGUMENT, "max_length", q.max_length = SIZE_MAX);
    WRONG(SC_BAD_ARGUMENT, "too large together", q.max_length = most; q.width = most);
    WRONG(SC_BAD_ARGUMENT, "too large together", q.rows = q.max_length = q.width = most);
    WRONG(SC_BAD_ARGUMENT, "rows", q.rows = 1 << 16; q.width = 1 << 16; q.max_length = 1);
    WRONG(SC_BAD_ARGUMENT, "results", d.results = 0);
    WRONG(SC_BAD_ARGUMENT, "results", d.results = 3);
    WRONG(SC_BAD_ARGUMENT, "results", d.results = 1; q.uniforms = uniforms);
    WRONG(SC_BAD_ARGUMENT, "end", q.end = -2);
    WRONG(SC_BAD_INDEX, "end is 2, expected", q.end = 2);
    WRONG(SC_BAD_ARGUMENT, "scores", q.scores = (sc_scores)3);
    WRONG(SC_BAD_ARGUMENT, "scores", q.scores = (sc_scores)-1);
    WRONG(SC_BAD_ARGUMENT, "length_penalty", q.length_penalty = NAN);
    WRONG(SC_BAD_ARGUMENT, "length_penalty", q.length_penalty = INFINITY);
    WRONG(SC_BAD_INDEX, "start of row 1 is 3, expected 0 to 2", q.start = ((const int64_t[]){2, 3}));
    WRONG(SC_BAD_INDEX, "start of row 0 is -1, expected 0 to 2", q.start = ((const int64_t[]){-1, 2}));
    WRONG(SC_BAD_ARGUMENT, "temperature", q.uniforms = uniforms; q.temperature = 0);
    WRONG(SC_BAD_ARGUMENT, "temperature", q.uniforms = uniforms; q.temperature = NAN);
    WRONG(SC_BAD_ARGUMENT, "temperature", q.uniforms = uniforms; q.temperature = INFINITY);
    WRONG(SC_BAD_ARGUMENT, "top_p", q.uniforms = uniforms; q.top_p = 0);
    WRONG(SC_BAD_ARGUMENT, "top_p", q.uniforms = uniforms; q.top_p = 1.0001);
    WRONG(SC_BAD_ARGUMENT, "top_p", q.uniforms = uniforms; q.top_p = NAN);
    static const double strange[] = {1, -0.25, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        uniforms[7] = strange[i];
        WRONG(SC_BAD_ARGUMENT, "uniforms", q.uniforms = uniforms);
    }
    uniforms[7] = 0;
    WRONG(SC_BAD_ARGUMENT, "beam search has no final states", d.states = (const sc_array[]){{0}});
    /* what is written lies apart from all that is read, and from each other */
    int64_t shared[16] = {0};
    WRONG(SC_BAD_SHAPE, "overlap", q.start = shared; d.ids = shared);
    WRONG(SC_BAD_SHAPE, "overlap", q.prefix = shared; q.prefix_size = 2; d.ids = shared + 3);
    WRONG(SC_BAD_SHAPE, "overlap", q.prefix = answer.ids; q.prefix_size = 1; q.prefix_lengths = shared;
          d.lengths = shared);
    WRONG(SC_BAD_SHAPE, "overlap", d.ids = shared; d.lengths = shared + 7);
    WRONG(SC_BAD_SHAPE, "overlap", d.ended = shared; d.lengths = shared + 3);
    WRONG(SC_BAD_SHAPE, "overlap", d.scores = (double *)(void *)answer.ids);
    WRONG(SC_BAD_SHAPE, "overlap", q.uniforms = uniforms; d.scores = uniforms + 7);
    REFUSED(SC_BAD_ARGUMENT, "NULL", sc_plan_decode(NULL, &good, &(sc_decoded){0}, &error));
    REFUSED(SC_BAD_ARGUMENT, "NULL", sc_plan_decode(plan, NULL, &(sc_decoded){0}, &error));
    REFUSED(SC_BAD_ARGUMENT, "NULL", sc_plan_decode(plan, &good, NULL, &error));
    sc_decoded d = to(2);
    OK(sc_plan_decode(plan, &good, &d, &error));
    sc_plan_free(plan);
}

/* ---- Sizes ------------------------------------------------------------------------------------------------------ */

/* One token, one step, no end, more beams than there are tokens. */
static void test_small_sizes(void)
{
    const float one[2] = {-3, 5}, two[3 * 2] = {0};
    const int64_t start[] = {1};
    for (size_t width = 1; width <= 3; width += 2) {
        for (int64_t end = -1; end <= 0; end++) {
            sc_plan *plan = table_plan(1, one);
            sc_decoding q = {
                .rows = 1, .start = start, .max_length = 3, .end = end, .width = width, .length_penalty = 1};
            sc_decoded d = to(width);
            OK(sc_plan_decode(plan, &q, &d, &error));
            check_ids("one token", 0, (int64_t[]){0, 0, 0}, 3);
            CHECK(answer.lengths[0] == (end < 0 ? 3 : 1) && answer.ended[0] == (end == 0) && answer.scores[0] == 0,
                  "width %zu: %lld", width, (long long)answer.lengths[0]);
            for (size_t i = 1; i < width; i++) {
                CHECK(answer.lengths[i] == 0 && answer.ended[i] == 0 && answer.scores[i] == -INFINITY, "result %zu", i);
            }
            sc_plan_free(plan);
        }
    }
    sc_plan *plan = table_plan(2, two);
    sc_decoding q = {.rows = 1, .start = start, .max_length = 1, .end = -1, .width = 5};
    sc_decoded d = to(5);
    OK(sc_plan_decode(plan, &q, &d, &error));
    check_ids("one step", 0, (int64_t[]){0, 1, 0, 0, 0}, 5);
    CHECK(answer.lengths[1] == 1 && answer.lengths[2] == 0, "two tokens are two results");
    sc_plan_free(plan);
}

/* The history of a search grows with its results: one that may be very long, and is not, needs no memory for that. */
static void test_long_results(void)
{
    enum { LONG = 100000 };
    const float table[3 * 2] = {0, -1, 0, -1, -1, 0};
    int64_t *ids = malloc(2 * LONG * sizeof *ids), lengths[2];
    CHECK(ids != NULL, "memory");
    sc_plan *plan = table_plan(2, table);
    const int64_t start[] = {2};
    sc_decoding q = {.rows = 1, .start = start, .max_length = LONG, .end = 1, .width = 2};
    const sc_decoded d = {.results = 2, .ids = ids, .lengths = lengths};
    OK(sc_plan_decode(plan, &q, &d, &error));
    CHECK(lengths[0] == 1 && ids[0] == 1 && ids[LONG - 1] == 1, "%lld", (long long)lengths[0]);
    q.end = -1;
    OK(sc_plan_decode(plan, &q, &d, &error));
    CHECK(lengths[0] == LONG && ids[0] == 1 && ids[1] == 0 && ids[LONG - 1] == 0, "%lld", (long long)lengths[0]);
    sc_plan_free(plan);
    free(ids);
}

/* A host that rounds in another direction, and wants to be told of what is no number, gets the same results, and its
 * mode back. */
static void test_modes_of_the_host(void)
{
    float table[4 * 3];
    for (size_t i = 0; i < 12; i++) {
        table[i] = (float)random_below(1000) / 333.0f;
    }
    static double uniforms[2 * 3 * 6];
    for (size_t i = 0; i < 36; i++) {
        uniforms[i] = (double)(i * 7 % 36) / 36;
    }
    sc_plan *plan = table_plan(3, table);
    const int64_t start[] = {3, 0};
    for (int way = 0; way < 3; way++) {
        const sc_decoding q = {.rows = 2,
                               .start = start,
                               .max_length = 6,
                               .end = 2,
                               .width = way == 0 ? 1 : 3,
                               .length_penalty = 0.7,
                               .uniforms = way == 2 ? uniforms : NULL,
                               .temperature = 0.7,
                               .top_p = 0.8};
        sc_decoded d = to(q.width);
        OK(sc_plan_decode(plan, &q, &d, &error));
        const given expected = answer;
        static const int directions[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
        for (size_t i = 0; i < 3; i++) {
            d = to(q.width);
            fesetround(directions[i]);
#if defined(__GLIBC__)
            feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
#endif
            sc_error error;
            const sc_status status = sc_plan_decode(plan, &q, &d, &error);
            const int direction = fegetround();
#if defined(__GLIBC__)
            fedisableexcept(FE_ALL_EXCEPT);
#endif
            fesetround(FE_TONEAREST);
            CHECK(status == SC_OK && direction == directions[i], "way %d", way);
            CHECK(memcmp(&answer, &expected, sizeof answer) == 0, "way %d, direction %zu", way, i);
        }
    }
    sc_plan_free(plan);
}

/* ---- Models that cannot ----------------------------------------------------------------------------------------- */

#define ONE_INPUT(dtype, shape)                                                                                        \
    "\"inputs\": [{\"name\": \"t\", \"kind\": \"data\", \"dtype\": \"" dtype "\", \"shape\": " shape "}],"
#define EMBED(rows, units)                                                                                             \
    "{\"op\": \"embedding\", \"layer\": \"e\", \"inputs\": [\"t\"], \"outputs\": [\"e\"], \"weights\": {\"W\": "       \
    "\"W\"},"                                                                                                          \
    " \"attrs\": {\"rows\": " rows ", \"units\": " units "}}"
#define GRAPH(inputs, nodes, value)                                                                                    \
    "{\"format\": \"seqcore\", \"version\": 1, " inputs "\"nodes\": [" nodes                                           \
    "], \"outputs\": [{\"name\": \"y\", \"value\": \"" value "\"}]}"

static sc_plan *plan_of(const char *graph, size_t rows, size_t units)
{
    static float table[64];
    const sc_tensor tensors[] = {{.name = "W", .rank = 2, .shape = {rows, units}, .data = table}};
    sc_plan *plan = NULL;
    OK(sc_plan_create(graph, strlen(graph), tensors, 1, OPTIONS, &plan, &error));
    return plan;
}

static void test_models_that_cannot(void)
{
    const struct {
        const char *graph;
        size_t rows, units;
        sc_status status;
        const char *cause;
    } cases[] = {
        {GRAPH(ONE_INPUT("int64", "[null]"), EMBED("2", "4"), "e"), 2, 4, SC_UNSUPPORTED,
         "gives scores of 4 tokens, and takes 2"},
        {GRAPH(ONE_INPUT("int64", "[null, 2]"), EMBED("4", "4"), "e"), 4, 4, SC_UNSUPPORTED, "cannot be fed tokens"},
        {GRAPH(ONE_INPUT("float32", "[null, 3]"),
               "{\"op\": \"activation\", \"layer\": \"a\", \"inputs\": [\"t\"], \"outputs\": [\"a\"],"
               " \"attrs\": {\"activation\": [\"tanh\", 0, 0]}}",
               "a"),
         1, 1, SC_UNSUPPORTED, "cannot be fed tokens"},
        {GRAPH(ONE_INPUT("int64", "[null]"),
               "{\"op\": \"repeat\", \"layer\": \"r\", \"inputs\": [\"t\"], \"outputs\": [\"r\"],"
               " \"attrs\": {\"axis\": 1, \"repeats\": 2}}",
               "r"),
         1, 1, SC_UNSUPPORTED, "cannot be stepped"},
        {GRAPH(ONE_INPUT("int64", "[null]"),
               EMBED("4", "4") ",{\"op\": \"argmax\", \"layer\": \"a\", \"inputs\": [\"e\"], \"outputs\": [\"a\"],"
                               " \"attrs\": {\"axis\": 2, \"keepdims\": false, \"function\": \"max\"}}",
               "a"),
         4, 4, SC_UNSUPPORTED, "gives no scores"},
        {GRAPH(ONE_INPUT("int64", "[null]"),
               EMBED("4", "4") ",{\"op\": \"expand\", \"layer\": \"x\", \"inputs\": [\"e\"], \"outputs\": [\"x\"],"
                               " \"attrs\": {\"axis\": 2}},{\"op\": \"repeat\", \"layer\": \"r\", \"inputs\": [\"x\"], "
                               "\"outputs\": [\"r\"],"
                               " \"attrs\": {\"axis\": 2, \"repeats\": 2}}",
               "r"),
         4, 4, SC_UNSUPPORTED, "gives no scores"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_plan *plan = plan_of(cases[i].graph, cases[i].rows, cases[i].units);
        const sc_decoding q = {.rows = 1, .start = (const int64_t[]){0}, .max_length = 1, .end = -1, .width = 1};
        const sc_decoded d = to(1);
        REFUSED(cases[i].status, cases[i].cause, sc_plan_decode(plan, &q, &d, &error));
        float x[4] = {0}, y[4];
        const sc_feedback f = {.rows = 1, .history = x, .history_size = 1, .steps = 1, .out = y};
        if (i != 2) {
            REFUSED(SC_UNSUPPORTED, "cannot be", sc_plan_feed_back(plan, &f, &error));
        } else {
            OK(sc_plan_feed_back(plan, &f, &error));
        }
        sc_plan_free(plan);
    }
}

int main(void)
{
    test_ties();
    test_scores_that_are_close();
    test_when_a_search_ends();
    test_scores_that_are_no_choice();
    test_prefixes();
    test_options();
    test_small_sizes();
    test_long_results();
    test_modes_of_the_host();
    test_models_that_cannot();
    printf("test_decode_calls: all passed\n");
    return 0;
}
