/* Contexts that are not what the model has, what a stream with contexts keeps, ids that go astray, and memory that is
 * not there, of streams and of decoding. Every refusal is followed by a look at what it must have left alone. What is
 * computed: test_decode_streams.c. */
#include "decoder_model.h"
#include "ledger.h"

#define OPTIONS &(sc_options){.isa = "scalar", .threads = 1}

static const int64_t starts[] = {2, 2};

/* Where tokens go. */
static sc_decoded to(size_t results)
{
    static int64_t ids[64], lengths[64];
    memset(ids, 0xA5, sizeof ids);
    return (sc_decoded){.results = results, .ids = ids, .lengths = lengths};
}

/* Ids that a node moves are checked where they are read: the call fails as a whole, and a stream has its states again,
 * those that the graph carries on too. */
static void test_ids_that_stray(void)
{
    static const char graph[] =
        "{\"format\": \"seqcore\", \"version\": 1, \"inputs\": [{\"name\": \"t\", \"kind\": \"data\", \"dtype\": "
        "\"int64\", \"shape\": [1]},"
        "{\"name\": \"s\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [1, 3], \"next\": \"s_next\"}],"
        "\"nodes\": [{\"op\": \"repeat\", \"layer\": \"r\", \"inputs\": [\"t\"], \"outputs\": [\"r\"], \"attrs\": "
        "{\"axis\": 1, \"repeats\": 1}},"
        "{\"op\": \"embedding\", \"layer\": \"e\", \"inputs\": [\"r\"], \"outputs\": [\"e\"], \"weights\": {\"W\": "
        "\"W\"}, \"attrs\": {\"rows\": 2, \"units\": 3}},"
        "{\"op\": \"add\", \"layer\": \"a\", \"inputs\": [\"e\", \"s\"], \"outputs\": [\"a\"]}],"
        "\"outputs\": [{\"name\": \"y\", \"value\": \"a\"}, {\"name\": \"s_next\", \"value\": \"a\"}]}";
    const float table[] = {0, 0, 1, 0, 1, 0}; /* behind token 0 comes 2, which is no row */
    const sc_tensor tensors[] = {{.name = "W", .rank = 2, .shape = {2, 3}, .data = table}};
    sc_plan *plan = NULL;
    OK(sc_plan_create(graph, sizeof graph - 1, tensors, 1, OPTIONS, &plan, &error));
    const int64_t start[] = {1, 0};
    sc_decoding q = {.rows = 2, .start = start, .max_length = 3, .end = -1, .width = 1};
    sc_decoded d = to(1);
    REFUSED(SC_BAD_INDEX, "id 2 in row 1, expected 0 to 1", sc_plan_decode(plan, &q, &d, &error));
    q.rows = 1;
    OK(sc_plan_decode(plan, &q, &d, &error));
    CHECK(d.ids[0] == 1 && d.ids[1] == 1 && d.ids[2] == 1, "%lld", (long long)d.ids[0]);
    sc_stream *stream = NULL;
    OK(sc_stream_create(plan, 2, &stream, &error));
    int64_t ids[2] = {0, 1};
    float y[2][1][3], state[2][1][3];
    const sc_array in = {ids, 2, {2, 1}}, out = {y, 3, {2, 1, 3}}, s = {state, 3, {2, 1, 3}};
    OK(sc_stream_step(stream, &in, &out, &error));
    OK(sc_stream_step(stream, &in, &out, &error));
    CHECK(y[0][0][2] == 2 && y[1][0][1] == 2, "sums are carried on: %g, %g", (double)y[0][0][2], (double)y[1][0][1]);
    ids[1] = 7;
    REFUSED(SC_BAD_INDEX, "id 7 in row 1", sc_stream_step(stream, &in, &out, &error));
    OK(sc_stream_get_state(stream, 0, &s, &error));
    CHECK(state[0][0][2] == 2 && state[1][0][1] == 2, "nothing has changed: %g, %g", (double)state[0][0][2],
          (double)state[1][0][1]);
    sc_stream_free(stream);
    sc_plan_free(plan);
}

/* ---- Contexts --------------------------------------------------------------------------------------------------- */

#define H 3
#define FRAMES 4

static float context[2][FRAMES][H], mask[2][FRAMES];
static int64_t ends[] = {4, 2};

static sc_plan *attending(enum decoder_kind kind)
{
    random_state = 77;
    decoder d = decoder_make(kind, 3, H, false);
    sc_plan *plan = decoder_plan(&d, OPTIONS);
    decoder_free(&d);
    for (size_t i = 0; i < 2 * FRAMES * H; i++) {
        context[i / H / FRAMES][i / H % FRAMES][i % H] = (float)random_below(2001) / 1000.0f - 1.0f;
        mask[i / H / FRAMES][i / H % FRAMES] = 1;
    }
    return plan;
}

/* A step of two rows; returns its first score. */
static float step(sc_stream *stream, size_t frames)
{
    static float scores[2][3], weights[2 * 64], y[2][H];
    const int64_t ids[] = {3, 1};
    const sc_array in = {(void *)(uintptr_t)ids, 1, {2}};
    const sc_array out[] = {{scores, 2, {2, 3}}, {weights, 2, {2, frames}}, {y, 2, {2, H}}};
    OK(sc_stream_step(stream, &in, out, &error));
    return scores[0][0];
}

/* Every wrong context is refused, by a stream that has none yet and stays so, by one that has one and keeps it, and by
 * decoding. */
static void test_wrong_contexts(void)
{
    sc_plan *plan = attending(ATTENDING);
    const sc_array good[4] = {{0}, {context, 3, {2, FRAMES, H}}, {ends, 1, {2}}, {mask, 2, {2, FRAMES}}};
    static int64_t wrong_ends[][2] = {{5, 1}, {1, 5}, {-1, 1}, {INT64_MAX, 0}, {0, INT64_MIN}};
    const struct {
        size_t place;
        sc_array given;
        sc_status status;
        const char *cause;
    } cases[] = {
        {CONTEXT, {NULL, 3, {2, FRAMES, H}}, SC_BAD_ARGUMENT, "context 'c' is missing"},
        {CONTEXT, {context, 2, {2, FRAMES * H}}, SC_BAD_SHAPE, "context 'c' must have shape (?, ?, 3), found (2, 12)"},
        {CONTEXT, {context, 4, {2, FRAMES, H, 1}}, SC_BAD_SHAPE, "found (2, 4, 3, 1)"},
        {CONTEXT, {context, 0, {2}}, SC_BAD_SHAPE, "context 'c' must have shape"},
        {CONTEXT, {context, SIZE_MAX, {2, FRAMES, H}}, SC_BAD_SHAPE, "found rank"},
        {CONTEXT, {context, 3, {2, FRAMES, H - 1}}, SC_BAD_SHAPE, "found (2, 4, 2)"},
        {CONTEXT, {context, 3, {1, FRAMES, H}}, SC_BAD_SHAPE, "context 'c' has 1 rows, expected 2"},
        {CONTEXT, {context, 3, {3, 2, H}}, SC_BAD_SHAPE, "has 3 rows, expected 2"},
        {CONTEXT, {context, 3, {0, FRAMES, H}}, SC_BAD_SHAPE, "has 0 rows, expected 2"},
        {CONTEXT, {context, 3, {2, SIZE_MAX / 2, H}}, SC_BAD_SHAPE, "too large"},
        {CONTEXT, {context, 3, {2, (size_t)1 << 43, H}}, SC_BAD_SHAPE, "too large"},
        {CONTEXT_LENGTHS, {ends, 2, {2, 1}}, SC_BAD_SHAPE, "lengths of context 'c' must have shape (2,), found (2, 1)"},
        {CONTEXT_LENGTHS, {ends, 1, {1}}, SC_BAD_SHAPE, "found (1,)"},
        {CONTEXT_LENGTHS, {ends, 0, {0}}, SC_BAD_SHAPE, "lengths of context 'c'"},
        {CONTEXT_LENGTHS, {wrong_ends[0], 1, {2}}, SC_BAD_SHAPE, "row 0 has length 5, expected 0 to 4"},
        {CONTEXT_LENGTHS, {wrong_ends[1], 1, {2}}, SC_BAD_SHAPE, "row 1 has length 5"},
        {CONTEXT_LENGTHS, {wrong_ends[2], 1, {2}}, SC_BAD_SHAPE, "row 0 has length -1"},
        {CONTEXT_LENGTHS, {wrong_ends[3], 1, {2}}, SC_BAD_SHAPE, "row 0 has length"},
        {CONTEXT_LENGTHS, {wrong_ends[4], 1, {2}}, SC_BAD_SHAPE, "row 1 has length"},
        {CONTEXT_MASK,
         {mask, 2, {2, FRAMES + 1}},
         SC_BAD_SHAPE,
         "the mask of context 'c' must have shape (2, 4), found (2, 5)"},
        {CONTEXT_MASK, {mask, 1, {8}}, SC_BAD_SHAPE, "found (8,)"},
    };
    sc_stream *without = NULL, *with = NULL;
    OK(sc_stream_create(plan, 2, &without, &error));
    OK(sc_stream_create(plan, 2, &with, &error));
    OK(sc_stream_set_context(with, good, &error));
    const float expected = step(with, FRAMES);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_array given[4];
        memcpy(given, good, sizeof given);
        given[cases[i].place] = cases[i].given;
        REFUSED(cases[i].status, cases[i].cause, sc_stream_set_context(with, given, &error));
        REFUSED(cases[i].status, cases[i].cause, sc_stream_set_context(without, given, &error));
        OK(sc_stream_reset(with, &error));
        CHECK(step(with, FRAMES) == expected, "case %zu: another context", i);
        float y[2][3];
        const int64_t ids[] = {3, 1};
        const sc_array in = {(void *)(uintptr_t)ids, 1, {2}}, out[3] = {{y, 2, {2, 3}}};
        REFUSED(SC_BAD_STATE, "the stream has no context yet: 'c'", sc_stream_step(without, &in, out, &error));
        const sc_decoding q = {.rows = 2, .inputs = given, .start = starts, .max_length = 2, .end = -1, .width = 2};
        const sc_decoded d = to(1);
        REFUSED(cases[i].status, cases[i].cause, sc_plan_decode(plan, &q, &d, &error));
    }
    const sc_decoding q = {.rows = 2, .start = starts, .max_length = 2, .end = -1, .width = 2};
    const sc_decoded d = to(1);
    REFUSED(SC_BAD_ARGUMENT, "context 'c' is missing", sc_plan_decode(plan, &q, &d, &error));
    REFUSED(SC_BAD_ARGUMENT, "NULL", sc_stream_set_context(with, NULL, &error));
    REFUSED(SC_BAD_ARGUMENT, "NULL", sc_stream_set_context(NULL, good, &error));
    sc_pool *pool = NULL;
    REFUSED(SC_UNSUPPORTED, "has contexts, such as 'c'", sc_pool_create(plan, 2, &pool, &error));
    sc_stream_free(without);
    sc_stream_free(with);
    sc_plan_free(plan);
}

/* A stream gets one context after another, of any size; its states stay, its saved state is that alone, and outputs are
 * as large as the context makes them. */
static void test_contexts_change(void)
{
    for (int kind = ATTENDING; kind <= FED; kind++) {
        sc_plan *plan = attending((enum decoder_kind)kind);
        static const size_t sizes[] = {3, 60, 0, 1, 60, 2};
        static float large[2][64][H];
        for (size_t i = 0; i < 2 * 64 * H; i++) {
            large[i / H / 64][i / H % 64][i % H] = (float)random_below(2001) / 1000.0f - 1.0f;
        }
        sc_stream *stream = NULL, *other = NULL;
        OK(sc_stream_create(plan, 2, &stream, &error));
        OK(sc_stream_create(plan, 2, &other, &error));
        sc_info info;
        OK(sc_stream_output_info(stream, 1, &info, &error));
        CHECK(info.shape[info.rank - 1] == SC_UNKNOWN, "before there is a context");
        const size_t bytes = sc_plan_saved_bytes(plan, 2);
        char *saved = malloc(bytes), *again = malloc(bytes);
        CHECK(saved != NULL && again != NULL, "memory");
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            sc_array given[4] = {{0}, {large, 3, {2, sizes[i], H}}};
            char *copy = exact_copy(large, 2 * sizes[i] * H * sizeof(float));
            given[CONTEXT].data = copy;
            OK(sc_stream_save(stream, saved, bytes, &error));
            OK(sc_stream_set_context(stream, given, &error));
            OK(sc_stream_save(stream, again, bytes, &error));
            CHECK(memcmp(saved, again, bytes) == 0, "a context is no state");
            OK(sc_stream_set_context(other, given, &error));
            OK(sc_stream_load(other, saved, bytes, &error));
            free(copy); /* the streams have copies of their own */
            OK(sc_stream_output_info(stream, 1, &info, &error));
            CHECK(info.shape[info.rank - 1] == sizes[i] && info.shape[0] == SC_UNKNOWN, "%zu frames: %zu", sizes[i],
                  info.shape[info.rank - 1]);
            for (int t = 0; t < 3; t++) {
                float a = 0, b = 0;
                if (kind == ATTENDING) {
                    a = step(stream, sizes[i]);
                    b = step(other, sizes[i]);
                } else {
                    float scores[2][1][3], weights[2][64], y[2][H], *first = scores[0][0];
                    const int64_t ids[] = {3, 1};
                    const sc_array in = {(void *)(uintptr_t)ids, 2, {2, 1}};
                    const sc_array out[] = {{scores, 3, {2, 1, 3}}, {weights, 3, {2, 1, sizes[i]}}, {y, 3, {2, 1, H}}};
                    OK(sc_stream_step(stream, &in, out, &error));
                    a = first[0];
                    OK(sc_stream_step(other, &in, out, &error));
                    b = first[0];
                }
                CHECK(a == b && isfinite(a), "%zu frames, step %d: %g and %g", sizes[i], t, (double)a, (double)b);
            }
        }
        free(saved);
        free(again);
        sc_stream_free(other);
        sc_stream_free(stream);
        sc_plan_free(plan);
    }
}

/* ---- No memory -------------------------------------------------------------------------------------------------- */

/* Streams with contexts, and decoding in all its ways; what it gives is in `found`. Returns how many calls
 * had no memory. */
static size_t use_everything(ledger *l, double found[5])
{
    static float weights[2 * 3 * 20 * FRAMES], y[2 * 3 * 20 * H];
    static const double uniforms[2 * 3 * 20] = {0.5, 0.7, 0.1};
    const sc_options options = {.isa = "scalar", .threads = 1, .allocator = {allocate, release, l}};
    size_t failures = 0;
    random_state = 77;
    decoder model = decoder_make(FED, 3, H, true);
    sc_plan *plan = NULL;
    TWICE(decoder_try_plan(&model, &options, &plan, &error));
    decoder_free(&model);
    const sc_array given[4] = {{0}, {context, 3, {2, FRAMES, H}}, {ends, 1, {2}}, {mask, 2, {2, FRAMES}}};
    const sc_array shorter[4] = {{0}, {context, 3, {2, 2, H}}};
    sc_stream *stream = NULL;
    TWICE(sc_stream_create(plan, 2, &stream, &error));
    const int64_t ids[] = {3, 1};
    const sc_array in = {(void *)(uintptr_t)ids, 2, {2, 1}};
    float scores[2][1][3];
    for (int turn = 0; turn < 2; turn++) {
        const size_t frames = turn == 0 ? FRAMES : 2;
        TWICE(sc_stream_set_context(stream, turn == 0 ? given : shorter, &error));
        const sc_array out[] = {{scores, 3, {2, 1, 3}}, {weights, 3, {2, 1, frames}}, {y, 3, {2, 1, H}}};
        TWICE(sc_stream_step(stream, &in, out, &error));
        found[turn] = (double)scores[1][0][2];
    }
    void *const extras[] = {weights, y};
    static int64_t tokens[2 * 3 * 20], lengths[2 * 3];
    for (int way = 0; way < 3;
         way++) { /* greedy, a search that outgrows its first history, a draw that leaves out some */
        const sc_decoding q = {.rows = 2,
                               .inputs = given,
                               .start = starts,
                               .max_length = 20,
                               .end = -1,
                               .width = way == 0 ? 1 : 3,
                               .uniforms = way == 2 ? uniforms : NULL,
                               .temperature = 1,
                               .top_p = 0.9};
        const sc_decoded d = {.results = way == 0 ? 1 : 3, .ids = tokens, .lengths = lengths, .extras = extras};
        TWICE(sc_plan_decode(plan, &q, &d, &error));
        found[2 + way] = 0;
        for (size_t i = 0; i < 2 * 20; i++) {
            found[2 + way] = fmod(found[2 + way] * 3, 1000003) + (double)tokens[i];
        }
    }
    sc_plan_free(plan); /* before its stream */
    sc_stream_free(stream);
    CHECK(l->live == 0, "allocation %zu: %zu were not released", l->fail_at, l->live);
    return failures;
}

static void test_every_allocation_fails(void)
{
    ledger all = {0};
    double expected[5];
    CHECK(use_everything(&all, expected) == 0 && all.calls > 50, "%zu", all.calls);
    for (size_t n = 1; n <= all.calls; n++) {
        ledger one = {.fail_at = n};
        double found[5];
        CHECK(use_everything(&one, found) == 1, "allocation %zu of %zu", n, all.calls);
        CHECK(memcmp(found, expected, sizeof found) == 0, "allocation %zu", n);
    }
}

int main(void)
{
    test_ids_that_stray();
    test_wrong_contexts();
    test_contexts_change();
    test_every_allocation_fails();
    printf("test_contexts: all passed\n");
    return 0;
}
