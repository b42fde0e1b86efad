/* One plan run and decoded with, one stream stepped and one pool used by several threads at once, each call with a team
 * of its own: meant for a race detector, which knows no OpenMP. So the core is built without it, and sc_parallel is
 * replaced by plain threads
 * (-Wl,--wrap=sc_parallel); everything else is what a user runs. Results are compared with those of one thread, bit for
 * bit. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "fpmode.h"
#include "threads.h"

#include <pthread.h>

#define I 8
#define H 16
#define B 5
#define T 6
#define CALLERS 4
#define STREAMS 6

/* ---- A team of plain threads -------------------------------------------------------------------------------- */

typedef void (*work_function)(void *context, size_t worker, size_t workers);

typedef struct seat {
    work_function work;
    void *context;
    size_t worker, workers;
} seat;

static atomic_size_t teams; /* of more than one */

static void *sit(void *argument)
{
    const seat *s = argument;
    const sc_fp_mode before = sc_enter_fp_mode();
    s->work(s->context, s->worker, s->workers);
    sc_leave_fp_mode(before);
    return NULL;
}

void __wrap_sc_parallel(int threads, work_function work, void *context);

void __wrap_sc_parallel(int threads, work_function work, void *context)
{
    pthread_t others[16];
    seat seats[16];
    CHECK(threads >= 1 && threads <= 16, "%d threads", threads);
    atomic_fetch_add(&teams, threads > 1);
    for (int i = 0; i < threads; i++) {
        seats[i] = (seat){work, context, (size_t)i, (size_t)threads};
        CHECK(i == 0 || pthread_create(&others[i], NULL, sit, &seats[i]) == 0, "pthread_create");
    }
    sit(&seats[0]);
    for (int i = 1; i < threads; i++) {
        pthread_join(others[i], NULL);
    }
}

static void in_callers(void *(*work)(void *), void *argument)
{
    pthread_t callers[CALLERS];
    for (size_t i = 0; i < CALLERS; i++) {
        CHECK(pthread_create(&callers[i], NULL, work, argument) == 0, "pthread_create");
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
    }
}

/* ---- Plans -------------------------------------------------------------------------------------------------- */

#define RNN(op, layer, input, W, U, b, more) \
    "{\"op\": \"" op "\", \"layer\": \"" layer "\", \"inputs\": [\"" input "\"], \"outputs\": [\"" layer "\"]," \
    " \"weights\": {\"W\": \"" W "\", \"U\": \"" U "\", \"b\": \"" b "\"}," \
    " \"attrs\": {\"units\": 16, \"activation\": [\"tanh\", 0, 0], \"recurrent_activation\": [\"sigmoid\", 0, 0]," \
    " \"return_sequences\": true, " more "}}"
#define FORWARD "\"reverse\": false, \"realign\": false"
#define BACKWARD "\"reverse\": true, \"realign\": true"
#define GRAPH(nodes, output) \
    "{\"format\": \"seqcore\", \"version\": 1," \
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 8]}]," \
    "\"nodes\": [" nodes "], \"outputs\": [{\"name\": \"y\", \"value\": \"" output "\"}]}"

/* Frames of which every feature is 0.5 do not count. */
#define MASK \
    "{\"op\": \"mask_frames\", \"layer\": \"m\", \"inputs\": [\"x\"], \"outputs\": [\"m\"]," \
    " \"attrs\": {\"value\": 0.5}},"
#define MASKED(input) input "\", null, null, \"m"
#define FILLED ", \"zero_output_for_mask\": false"
#define PROJECTED ", \"projection\": 16"
#define WITH_P(bias) bias "\", \"P\": \"P"

/* Two directions side by side, one masked, then a layer that divides its units and meets twice a step; so does one that projects */
static const char branches[] = GRAPH(
    MASK RNN("lstm", "f", "x", "W", "U", WITH_P("b"), FORWARD PROJECTED) ","
    RNN("lstm", "r", MASKED("x"), "W", "U", "b", BACKWARD FILLED) ","
    "{\"op\": \"add\", \"layer\": \"s\", \"inputs\": [\"f\", \"r\"], \"outputs\": [\"s\"]},"
    RNN("gru", "g", "s\", null, \"m", "V", "V", "e", FORWARD FILLED ", \"reset_after\": false"), "g");
static const char chain[] = GRAPH(
    MASK RNN("lstm", "f", MASKED("x"), "W", "U", WITH_P("b"), FORWARD FILLED PROJECTED) ","
    RNN("gru", "g", "f", "V", "V", "e", FORWARD ", \"reset_after\": false"), "g");

static sc_plan *make(const char *graph, int threads, int team)
{
    static float weights[4 * H * H];
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        weights[i] = (float)(i % 251) / 1255.0f - 0.1f;
    }
    const sc_tensor tensors[] = {
        {.name = "W", .rank = 2, .shape = {I, 4 * H}, .data = weights},
        {.name = "U", .rank = 2, .shape = {H, 4 * H}, .data = weights},
        {.name = "P", .rank = 2, .shape = {H, H}, .data = weights},
        {.name = "V", .rank = 2, .shape = {H, 3 * H}, .data = weights},
        {.name = "b", .rank = 1, .shape = {4 * H}, .data = weights},
        {.name = "e", .rank = 1, .shape = {3 * H}, .data = weights},
        {.name = "E", .rank = 2, .shape = {7, I}, .data = weights},
        {.name = "D", .rank = 2, .shape = {H, 7}, .data = weights},
        {.name = "f", .rank = 1, .shape = {7}, .data = weights},
    };
    const sc_options options = {.threads = threads, .team = team, .isa = "scalar"}; /* narrow panels: every layer has several */
    sc_plan *plan = NULL;
    sc_error error;
    CHECK(sc_plan_create(graph, strlen(graph), tensors, sizeof tensors / sizeof *tensors, &options, &plan, &error) ==
              SC_OK,
          "%s", error.message);
    return plan;
}

static const float *input(size_t rows, size_t frames)
{
    static float x[B * T * I];
    if (x[0] == 0.0f) { /* by the first caller, alone */
        for (size_t i = 0; i < B * T * I; i++) {
            x[i] = i / I % 4 == 2 ? 0.5f : (float)(1 + i * 7919 % 101) / 101.0f;
        }
    }
    CHECK(rows * frames * I <= B * T * I, "%zu", rows);
    return x;
}

static void run(const sc_plan *plan, size_t rows, float *y)
{
    const sc_array in = {.data = (void *)(uintptr_t)input(rows, T), .rank = 3, .shape = {rows, T, I}};
    const sc_array out = {.data = y, .rank = 3, .shape = {rows, T, H}};
    sc_error error;
    CHECK(sc_plan_run(plan, &in, &out, &error) == SC_OK, "%s", error.message);
}

typedef struct expectation {
    const sc_plan *plan;
    float y[B * T * H];
} expectation;

static void *run_often(void *argument)
{
    const expectation *e = argument;
    for (size_t i = 0; i < 12; i++) {
        float y[B * T * H];
        const size_t rows = 1 + i % B;
        run(e->plan, rows, y);
        CHECK(memcmp(y, e->y, rows * T * H * sizeof *y) == 0, "%zu rows", rows);
    }
    return NULL;
}

static void test_plans(void)
{
    static const int ways[][2] = {{1, 1}, {4, 1}, {4, 2}, {3, 3}, {4, 4}, {5, 5}};
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        expectation e;
        sc_plan *one = make(branches, 1, 0), *plan = make(branches, ways[way][0], ways[way][1]);
        run(one, B, e.y);
        e.plan = plan;
        const size_t before = atomic_load(&teams);
        in_callers(run_often, &e);
        CHECK((atomic_load(&teams) > before) == (ways[way][0] > 1), "threads %d: no team", ways[way][0]);
        sc_plan_free(one);
        sc_plan_free(plan);
    }
}

/* ---- Streams and pools: each step takes the same frame, so that what counts is how many were taken ------------------ */

static size_t saved_bytes;

/* The state after so many steps of one row, on one thread. */
static void *state_after(const sc_plan *plan, size_t steps)
{
    sc_error error;
    sc_stream *stream = NULL;
    float y[H];
    const sc_array in = {.data = (void *)(uintptr_t)input(1, 1), .rank = 2, .shape = {1, I}};
    const sc_array out = {.data = y, .rank = 2, .shape = {1, H}};
    CHECK(sc_stream_create(plan, 1, &stream, &error) == SC_OK, "%s", error.message);
    for (size_t i = 0; i < steps; i++) {
        CHECK(sc_stream_step(stream, &in, &out, &error) == SC_OK, "%s", error.message);
    }
    void *saved = malloc(saved_bytes);
    CHECK(saved != NULL && sc_stream_save(stream, saved, saved_bytes, &error) == SC_OK, "%s", error.message);
    sc_stream_free(stream);
    return saved;
}

typedef struct shared_stream {
    sc_stream *stream;
    atomic_size_t steps;
} shared_stream;

static void *step_often(void *argument)
{
    shared_stream *s = argument;
    void *saved = malloc(saved_bytes);
    float y[H];
    const sc_array in = {.data = (void *)(uintptr_t)input(1, 1), .rank = 2, .shape = {1, I}};
    const sc_array out = {.data = y, .rank = 2, .shape = {1, H}};
    for (size_t i = 0; i < 40; i++) {
        sc_error error;
        sc_status status = sc_stream_step(s->stream, &in, &out, &error);
        CHECK(status == SC_OK || status == SC_BUSY, "%s", error.message);
        atomic_fetch_add(&s->steps, status == SC_OK);
        status = sc_stream_save(s->stream, saved, saved_bytes, &error);
        CHECK(status == SC_OK || status == SC_BUSY, "%s", error.message);
    }
    free(saved);
    return NULL;
}

static void test_stream(const sc_plan *one, const sc_plan *plan)
{
    sc_error error;
    shared_stream s = {.stream = NULL};
    CHECK(sc_stream_create(plan, 1, &s.stream, &error) == SC_OK, "%s", error.message);
    in_callers(step_often, &s);
    void *expected = state_after(one, s.steps), *found = malloc(saved_bytes);
    CHECK(found != NULL && sc_stream_save(s.stream, found, saved_bytes, &error) == SC_OK, "%s", error.message);
    CHECK(s.steps > 0 && memcmp(found, expected, saved_bytes) == 0, "after %zu steps", (size_t)s.steps);
    free(found);
    free(expected);
    sc_stream_free(s.stream);
}

typedef struct shared_pool {
    sc_pool *pool;
    sc_stream_id ids[STREAMS];
    atomic_size_t steps[STREAMS], callers;
} shared_pool;

/* Some of the streams as one batch. */
static void step_some(shared_pool *s, size_t first, size_t count)
{
    sc_stream_id ids[B];
    float x[B * I], y[B * H];
    for (size_t i = 0; i < count; i++) {
        ids[i] = s->ids[(first + i) % STREAMS];
        memcpy(x + i * I, input(1, 1), I * sizeof *x);
    }
    const sc_array in = {.data = x, .rank = 2, .shape = {count, I}}, out = {.data = y, .rank = 2, .shape = {count, H}};
    sc_error error;
    const sc_status status = sc_pool_step(s->pool, ids, count, &in, &out, &error);
    CHECK(status == SC_OK || status == SC_BUSY, "%s", error.message);
    for (size_t i = 0; status == SC_OK && i < count; i++) {
        atomic_fetch_add(&s->steps[(first + i) % STREAMS], 1);
    }
}

static void *use_pool(void *argument)
{
    shared_pool *s = argument;
    const size_t caller = atomic_fetch_add(&s->callers, 1);
    for (size_t i = 0; i < 40; i++) {
        sc_error error;
        step_some(s, caller * 5 + i * 3, 1 + (caller + i) % B);
        /* with room for one stream of each caller there is always room: nobody has two */
        sc_stream_id own = 0;
        CHECK(sc_pool_open(s->pool, &own, &error) == SC_OK, "%s", error.message);
        CHECK(sc_pool_count(s->pool) > STREAMS, "%zu", sc_pool_count(s->pool));
        CHECK(sc_pool_reset(s->pool, own, &error) == SC_OK, "%s", error.message);
        CHECK(sc_pool_close(s->pool, own, &error) == SC_OK, "%s", error.message);
        CHECK(sc_pool_reset(s->pool, own, &error) == SC_BAD_STREAM, "it is closed");
    }
    return NULL;
}

static void test_pool(const sc_plan *one, const sc_plan *plan)
{
    sc_error error;
    shared_pool s = {.pool = NULL};
    CHECK(sc_pool_create(plan, STREAMS + CALLERS, &s.pool, &error) == SC_OK, "%s", error.message);
    for (size_t i = 0; i < STREAMS; i++) {
        CHECK(sc_pool_open(s.pool, &s.ids[i], &error) == SC_OK, "%s", error.message);
    }
    in_callers(use_pool, &s);
    CHECK(sc_pool_count(s.pool) == STREAMS, "%zu", sc_pool_count(s.pool));
    for (size_t i = 0; i < STREAMS; i++) {
        void *expected = state_after(one, s.steps[i]), *found = malloc(saved_bytes);
        CHECK(found != NULL && sc_pool_save(s.pool, s.ids[i], found, saved_bytes, &error) == SC_OK, "%s", error.message);
        CHECK(s.steps[i] > 0 && memcmp(found, expected, saved_bytes) == 0, "after %zu steps", (size_t)s.steps[i]);
        free(found);
        free(expected);
    }
    sc_pool_free(s.pool);
}

/* As many callers as places, each with one stream at most: opening can never fail. */
static void *open_and_close(void *pool)
{
    for (size_t i = 0; i < 20000; i++) {
        sc_stream_id id = 0;
        sc_error error;
        CHECK(sc_pool_open(pool, &id, &error) == SC_OK, "%s", error.message);
        CHECK(sc_pool_close(pool, id, &error) == SC_OK, "%s", error.message);
    }
    return NULL;
}

static void test_full_pool(const sc_plan *one)
{
    sc_error error;
    sc_pool *pool = NULL;
    CHECK(sc_pool_create(one, CALLERS, &pool, &error) == SC_OK, "%s", error.message);
    in_callers(open_and_close, pool);
    CHECK(sc_pool_count(pool) == 0, "%zu", sc_pool_count(pool));
    sc_pool_free(pool);
}

/* ---- Decoding: all callers decode with one plan, each with results of its own ----------------------------------- */

#define V 7
#define TOKENS 6
#define WIDTH 3

/* Tokens -> embedding -> LSTM -> attention over a context -> scores, and what was attended as an input of the next step
 */
static const char decoder[] =
    "{\"format\": \"seqcore\", \"version\": 1, \"inputs\": ["
    "{\"name\": \"t\", \"kind\": \"data\", \"dtype\": \"int64\", \"shape\": [1]},"
    "{\"name\": \"c\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 16], \"context\": true},"
    "{\"name\": \"n\", \"kind\": \"lengths\", \"of\": \"c\"},"
    "{\"name\": \"h\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [16], \"next\": \"h_next\"},"
    "{\"name\": \"s\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [16], \"next\": \"s_next\"}], \"nodes\": "
    "["
    "{\"op\": \"embedding\", \"layer\": \"e\", \"inputs\": [\"t\"], \"outputs\": [\"e\"], \"weights\": {\"W\": \"E\"}, "
    "\"attrs\": {\"rows\": 7, \"units\": 8}},"
    "{\"op\": \"lstm\", \"layer\": \"l\", \"inputs\": [\"e\", \"h\", \"s\"], \"outputs\": [\"y\", \"h_next\", "
    "\"s_next\"],"
    " \"weights\": {\"W\": \"W\", \"U\": \"U\", \"b\": \"b\"}, \"attrs\": {\"units\": 16, \"activation\": [\"tanh\", "
    "0, 0],"
    " \"recurrent_activation\": [\"sigmoid\", 0, 0], \"return_sequences\": true, " FORWARD "}},"
    "{\"op\": \"attention\", \"layer\": \"a\", \"inputs\": [\"y\", \"c\"], \"lengths\": [null, \"n\"], \"outputs\": "
    "[\"a\", null], \"weights\": {},"
    " \"attrs\": {\"score\": \"dot\", \"scale\": 1, \"heads\": 2, \"causal\": false, \"masking\": \"zero\"}},"
    "{\"op\": \"dense\", \"layer\": \"d\", \"inputs\": [\"a\"], \"outputs\": [\"d\"], \"weights\": {\"W\": \"D\", "
    "\"b\": \"f\"},"
    " \"attrs\": {\"units\": 7, \"activation\": [\"linear\", 0, 0]}}], \"outputs\": [{\"name\": \"d\", \"value\": "
    "\"d\"},"
    "{\"name\": \"h_next\", \"value\": \"h_next\"}, {\"name\": \"s_next\", \"value\": \"s_next\"}]}";

typedef struct decoding {
    const sc_plan *plan;
    int64_t ids[B * WIDTH * TOKENS];
    double scores[B * WIDTH];
} decoding;

static void decode(const sc_plan *plan, decoding *d)
{
    static const int64_t start[B] = {0}, ends[B] = {3, 0, 2, 3, 1};
    int64_t lengths[B * WIDTH];
    const sc_array inputs[5] = {{0}, {(void *)(uintptr_t)input(B, T), 3, {B, 3, H}}, {(void *)(uintptr_t)ends, 1, {B}}};
    const sc_decoding q = {.rows = B, .inputs = inputs, .start = start, .max_length = TOKENS, .end = 3, .width = WIDTH};
    const sc_decoded to = {.results = WIDTH, .ids = d->ids, .lengths = lengths, .scores = d->scores};
    sc_error error;
    CHECK(sc_plan_decode(plan, &q, &to, &error) == SC_OK, "%s", error.message);
}

static void *decode_often(void *argument)
{
    const decoding *expected = argument;
    for (size_t i = 0; i < 6; i++) {
        decoding found;
        decode(expected->plan, &found);
        CHECK(memcmp(found.ids, expected->ids, sizeof found.ids) == 0 &&
                  memcmp(found.scores, expected->scores, sizeof found.scores) == 0,
              "turn %zu", i);
    }
    return NULL;
}

static void test_decoding(void)
{
    static const int ways[][2] = {{1, 1}, {4, 1}, {4, 2}, {3, 3}};
    sc_plan *one = make(decoder, 1, 0);
    decoding expected;
    decode(one, &expected);
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        sc_plan *plan = make(decoder, ways[way][0], ways[way][1]);
        expected.plan = plan;
        const size_t before = atomic_load(&teams);
        in_callers(decode_often, &expected);
        CHECK((atomic_load(&teams) > before) == (ways[way][0] > 1), "threads %d: no team", ways[way][0]);
        sc_plan_free(plan);
    }
    sc_plan_free(one);
}

int main(void)
{
    static const int ways[][2] = {{1, 1}, {3, 1}, {3, 3}, {4, 2}};
    input(1, 1);
    test_plans();
    sc_plan *one = make(chain, 1, 0);
    saved_bytes = sc_plan_saved_bytes(one, 1);
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        sc_plan *plan = make(chain, ways[way][0], ways[way][1]);
        test_stream(one, plan);
        test_pool(one, plan);
        sc_plan_free(plan);
    }
    test_full_pool(one);
    test_decoding();
    sc_plan_free(one);
    printf("test_races: all passed\n");
    return 0;
}
