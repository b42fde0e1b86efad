/* Decoding beside streams that are stepped one by one, bit for bit: extras, final states and scores of whatever was
 * decoded, alone and in a batch, on any number of threads. And contexts of streams, beside runs. What decoding
 * computes: test_decode.c. */
#include "decoder_model.h"

#define V 9
#define H 13
#define FRAMES 6
#define ROWS 5
#define T 8
#define WIDTH 4

/* More outputs: the context itself, which so has other readers than the attention; the greatest score, of int64; and
 * two states whose batch is axis 1 */
#define BEST                                                                                                           \
    ",{\"op\": \"argmax\", \"layer\": \"best\", \"inputs\": [\"scores\"], \"outputs\": [\"best\"], \"attrs\": "        \
    "{\"axis\": 2, \"keepdims\": false, \"function\": \"max\"}}"
#define STACKED                                                                                                        \
    ",{\"op\": \"stack\", \"layer\": \"states\", \"inputs\": [\"h\", \"h_next\"], \"outputs\": [\"states\"]}"
#define OUTPUT(name) ",{\"name\": \"" name "_out\", \"value\": \"" name "\"}"

static float context[ROWS][FRAMES][H], mask[ROWS][FRAMES];
static int64_t ends[ROWS] = {6, 0, 3, 1, 6};
static const int64_t start[ROWS] = {V, V, 0, 3, V};
static const sc_array inputs[8] = {[CONTEXT] = {context, 3, {ROWS, FRAMES, H}},
                                   [CONTEXT_LENGTHS] = {ends, 1, {ROWS}},
                                   [CONTEXT_MASK] = {mask, 2, {ROWS, FRAMES}}};

#define MOST_OUTPUTS 8
#define MOST_STATES 4
#define EXTRA_FLOATS (FRAMES * H) /* of the largest extra */

static sc_plan *make_plan(enum decoder_kind kind, bool echoes, const sc_options *options)
{
    random_state = 12345; /* the same weights for every plan */
    decoder d = decoder_make(kind, V, H, kind == ATTENDING);
    d.nodes = !echoes ? NULL : kind == FED ? BEST STACKED : BEST;
    d.outputs = !echoes             ? NULL
                : kind == FED       ? OUTPUT("best") OUTPUT("states") OUTPUT("c")
                : kind == ATTENDING ? OUTPUT("best") OUTPUT("c")
                                    : OUTPUT("best");
    sc_plan *plan = decoder_plan(&d, options);
    decoder_free(&d);
    return plan;
}

/* ---- Everything that a call gives ------------------------------------------------------------------------------- */

typedef struct given {
    int64_t ids[ROWS * WIDTH * T], lengths[ROWS * WIDTH], ended[ROWS * WIDTH];
    double scores[ROWS * WIDTH];
    char extras[MOST_OUTPUTS][ROWS * WIDTH * T * EXTRA_FLOATS * sizeof(float)];
    float states[MOST_STATES][ROWS * WIDTH * H];
} given;

static size_t row_bytes(const sc_info *info)
{
    size_t bytes = info->dtype == SC_I64 ? sizeof(int64_t) : sizeof(float);
    for (size_t d = 0; d < info->rank; d++) {
        bytes *= info->shape[d] == SC_UNKNOWN ? d == 0 || info->shape[0] != SC_UNKNOWN ? 1 : FRAMES : info->shape[d];
    }
    return bytes;
}

/* Decodes `rows` of the rows from the first on. */
static given *decoded(const sc_plan *plan, const sc_decoding *base, size_t first, size_t rows, size_t results)
{
    given *g = malloc(sizeof *g);
    CHECK(g != NULL, "memory");
    memset(g, 0xA5, sizeof *g);
    sc_array moved[8];
    memcpy(moved, inputs, sizeof moved);
    for (size_t i = CONTEXT; i <= CONTEXT_MASK; i++) {
        moved[i].shape[0] = rows;
    }
    moved[CONTEXT].data = context[first];
    moved[CONTEXT_LENGTHS].data = ends + first;
    moved[CONTEXT_MASK].data = mask[first];
    sc_decoding q = *base;
    q.rows = rows;
    q.inputs = moved;
    q.start = start + first;
    q.uniforms = base->uniforms != NULL ? base->uniforms + first * q.width * q.max_length : NULL;
    void *extras[MOST_OUTPUTS];
    for (size_t i = 0; i < MOST_OUTPUTS; i++) {
        extras[i] = g->extras[i];
    }
    sc_array states[MOST_STATES];
    for (size_t i = 0; i < sc_plan_step_states(plan); i++) {
        sc_info info;
        OK(sc_plan_step_state_info(plan, i, &info, &error));
        states[i] = (sc_array){g->states[i], info.rank + 1, {rows, q.width}};
        memcpy(states[i].shape + 2, info.shape + 1, (info.rank - 1) * sizeof(size_t));
    }
    const bool search = q.width > 1 && q.uniforms == NULL;
    const sc_decoded to = {.results = results,
                           .ids = g->ids,
                           .lengths = g->lengths,
                           .ended = g->ended,
                           .scores = g->scores,
                           .extras = extras,
                           .states = search ? NULL : states};
    OK(sc_plan_decode(plan, &q, &to, &error));
    return g;
}

/* ---- A stream that is fed what was decoded ---------------------------------------------------------------------- */

/* Result `number` of a row, token by token, through a stream: what came beside each, and what is left. */
static void check_result(const sc_plan *plan, const given *g, const sc_decoding *q, size_t results, size_t row,
                         size_t number)
{
    const size_t at = row * results + number, outputs = sc_plan_step_outputs(plan), length = (size_t)g->lengths[at];
    sc_stream *stream = NULL;
    OK(sc_stream_create(plan, 1, &stream, &error));
    sc_array mine[8];
    memcpy(mine, inputs, sizeof mine);
    for (size_t i = CONTEXT; i <= CONTEXT_MASK; i++) {
        mine[i].shape[0] = 1;
    }
    mine[CONTEXT].data = context[row];
    mine[CONTEXT_LENGTHS].data = ends + row;
    mine[CONTEXT_MASK].data = mask[row];
    OK(sc_stream_set_context(stream, mine, &error));
    double sum = 0;
    for (size_t t = 0; t < q->max_length; t++) {
        static char y[MOST_OUTPUTS][EXTRA_FLOATS * sizeof(float)];
        const int64_t token = t == 0 ? start[row] : g->ids[at * q->max_length + t - 1];
        sc_info in;
        OK(sc_plan_step_input_info(plan, 0, &in, &error));
        const sc_array x = {(void *)(uintptr_t)&token, in.rank, {1, 1}};
        sc_array out[MOST_OUTPUTS];
        memset(y, 0, sizeof y);
        for (size_t i = 0; i < outputs; i++) {
            sc_info info;
            OK(sc_stream_output_info(stream, i, &info, &error));
            out[i] = (sc_array){y[i], info.rank, {0}};
            for (size_t d = 0; d < info.rank; d++) {
                out[i].shape[d] = info.shape[d] == SC_UNKNOWN ? 1 : info.shape[d];
            }
        }
        if (t < length) {
            OK(sc_stream_step(stream, &x, out, &error));
            double logs[V];
            for (size_t v = 0; v < V; v++) {
                logs[v] = (double)((float *)(void *)y[0])[v];
            }
            decoder_logs(logs, V);
            sum += logs[g->ids[at * q->max_length + t]];
        }
        for (size_t i = 1; i < outputs; i++) {
            sc_info info;
            OK(sc_stream_output_info(stream, i, &info, &error));
            const size_t bytes = row_bytes(&info);
            CHECK(bytes <= sizeof y[i] && memcmp(g->extras[i - 1] + (at * q->max_length + t) * bytes, y[i], bytes) == 0,
                  "row %zu, result %zu, token %zu of %zu: extra '%s'", row, number, t, length, info.name);
        }
    }
    CHECK(fabs(g->scores[at] - sum) < 1e-4, "row %zu, result %zu: %g, expected %g", row, number, g->scores[at], sum);
    for (size_t i = 0; (q->width == 1 || q->uniforms != NULL) && i < sc_plan_step_states(plan); i++) {
        sc_info info;
        OK(sc_plan_step_state_info(plan, i, &info, &error));
        float state[H];
        sc_array to = {state, info.rank, {1, info.shape[1], info.shape[2]}};
        OK(sc_stream_get_state(stream, i, &to, &error));
        CHECK(memcmp(g->states[i] + at * H, state, sizeof state) == 0, "row %zu, result %zu: state '%s'", row, number,
              info.name);
    }
    sc_stream_free(stream);
}

typedef struct way {
    const char *name;
    size_t width, results;
    bool draws;
} way;

static const way ways[] = {{"greedy", 1, 1, false}, {"beams", WIDTH, 3, false}, {"draws", WIDTH, WIDTH, true}};

static sc_decoding ask(const way *w)
{
    static double uniforms[ROWS * WIDTH * T];
    for (size_t i = 0; i < ROWS * WIDTH * T; i++) {
        uniforms[i] = (double)(i * 7919 % 1009) / 1009;
    }
    return (sc_decoding){.max_length = T,
                         .end = 1,
                         .width = w->width,
                         .uniforms = w->draws ? uniforms : NULL,
                         .temperature = 1.5,
                         .top_p = 1};
}

static void test_extras_and_states(const char *isa)
{
    for (int kind = PLAIN; kind <= FED; kind++) {
        for (int echoes = 0; echoes < 2; echoes++) {
            sc_plan *plan = make_plan((enum decoder_kind)kind, echoes, &(sc_options){.isa = isa, .threads = 1});
            for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                const way *w = &ways[i];
                const sc_decoding q = ask(w);
                given *g = decoded(plan, &q, 0, ROWS, w->results);
                size_t shorter = 0;
                for (size_t row = 0; row < ROWS; row++) {
                    for (size_t number = 0; number < w->results; number++) {
                        check_result(plan, g, &q, w->results, row, number);
                        shorter += g->lengths[row * w->results + number] < T;
                    }
                }
                CHECK(shorter > 0 || w->width == 1, "%s: nothing ended", w->name);
                free(g);
            }
            sc_plan_free(plan);
        }
    }
}

/* A row is what it is alone. */
static void check_alone(const sc_plan *plan, const given *g, const sc_decoding *q, size_t results, size_t row)
{
    given *alone = decoded(plan, q, row, 1, results);
    const size_t at = row * results, tokens = results * T;
    CHECK(memcmp(alone->ids, g->ids + at * T, tokens * sizeof *g->ids) == 0 &&
              memcmp(alone->lengths, g->lengths + at, results * sizeof *g->lengths) == 0 &&
              memcmp(alone->scores, g->scores + at, results * sizeof *g->scores) == 0,
          "row %zu", row);
    for (size_t k = 1; k < sc_plan_step_outputs(plan); k++) {
        sc_info info;
        OK(sc_plan_step_output_info(plan, k, &info, &error));
        const size_t bytes = tokens * row_bytes(&info);
        CHECK(memcmp(alone->extras[k - 1], g->extras[k - 1] + row * bytes, bytes) == 0, "row %zu, extra '%s'", row,
              info.name);
    }
    free(alone);
}

/* ... and what it is on any number of threads. */
static void test_rows_are_independent(const char *isa)
{
    static const sc_options options[] = {{.threads = 1}, {.threads = 2, .team = 1}, {.threads = 2, .team = 2}};
    for (int kind = PLAIN; kind <= FED; kind++) {
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            const sc_decoding q = ask(&ways[i]);
            const size_t results = ways[i].results;
            given *all = NULL;
            for (size_t o = 0; o < sizeof options / sizeof *options; o++) {
                sc_options own = options[o];
                own.isa = isa;
                sc_plan *plan = make_plan((enum decoder_kind)kind, true, &own);
                given *g = decoded(plan, &q, 0, ROWS, results);
                for (size_t row = 0; row < ROWS && o == 0; row++) {
                    check_alone(plan, g, &q, results, row);
                }
                CHECK(o == 0 || memcmp(all, g, sizeof *g) == 0, "%s, kind %d: threads %d, team %d", ways[i].name, kind,
                      own.threads, own.team);
                free(o == 0 ? NULL : g);
                all = o == 0 ? g : all;
                sc_plan_free(plan);
            }
            free(all);
        }
    }
}

/* A plan with a context runs over whole sequences as any other: the context is an input, and each frame what a step
 * gives. */
static void test_runs(const char *isa)
{
    sc_plan *plan = make_plan(ATTENDING, true, &(sc_options){.isa = isa, .threads = 1});
    static int64_t tokens[ROWS][T], best[ROWS][T];
    static float scores[ROWS][T][V], weights[ROWS][T][FRAMES], y[ROWS][T][H], echo[ROWS][FRAMES][H];
    for (size_t i = 0; i < ROWS * T; i++) {
        tokens[i / T][i % T] = (int64_t)(i * 7 % V);
    }
    sc_array in[4];
    memcpy(in, inputs, sizeof in);
    in[TOKENS] = (sc_array){tokens, 2, {ROWS, T}};
    const sc_array out[] = {{scores, 3, {ROWS, T, V}},
                            {weights, 3, {ROWS, T, FRAMES}},
                            {y, 3, {ROWS, T, H}},
                            {best, 2, {ROWS, T}},
                            {echo, 3, {ROWS, FRAMES, H}}};
    OK(sc_plan_run(plan, in, out, &error));
    CHECK(memcmp(echo, context, sizeof echo) == 0, "the context comes out as it went in");
    sc_stream *stream = NULL;
    OK(sc_stream_create(plan, ROWS, &stream, &error));
    OK(sc_stream_set_context(stream, in, &error));
    for (size_t t = 0; t < T; t++) {
        int64_t x[ROWS], b[ROWS];
        float s[ROWS][V], w[ROWS][FRAMES], h[ROWS][H];
        for (size_t m = 0; m < ROWS; m++) {
            x[m] = tokens[m][t];
        }
        const sc_array frame = {x, 1, {ROWS}};
        const sc_array step[] = {
            {s, 2, {ROWS, V}}, {w, 2, {ROWS, FRAMES}}, {h, 2, {ROWS, H}}, {b, 1, {ROWS}}, {echo, 3, {ROWS, FRAMES, H}}};
        OK(sc_stream_step(stream, &frame, step, &error));
        for (size_t m = 0; m < ROWS; m++) {
            CHECK(memcmp(s[m], scores[m][t], sizeof s[m]) == 0 && memcmp(w[m], weights[m][t], sizeof w[m]) == 0 &&
                      memcmp(h[m], y[m][t], sizeof h[m]) == 0 && b[m] == best[m][t],
                  "row %zu, frame %zu", m, t);
        }
    }
    sc_stream_free(stream);
    sc_plan_free(plan);
}

/* ---- Vectors ---------------------------------------------------------------------------------------------------- */

/* x (B, T, H) -> SimpleRNN -> attention over the context: as large as x. */
static const char vectors[] =
    "{\"format\": \"seqcore\", \"version\": 1, \"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": "
    "\"float32\", \"shape\": [null, 13]},"
    "{\"name\": \"c\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 13], \"context\": true},"
    "{\"name\": \"c:lengths\", \"kind\": \"lengths\", \"of\": \"c\"},{\"name\": \"c:mask\", \"kind\": \"mask\", "
    "\"of\": \"c\"}],"
    "\"nodes\": [{\"op\": \"simple_rnn\", \"layer\": \"rnn\", \"inputs\": [\"x\"], \"outputs\": [\"h\"],"
    " \"weights\": {\"W\": \"U\", \"U\": \"U\", \"b\": \"b\"}, \"attrs\": {\"units\": 13, \"activation\": [\"tanh\", "
    "0, 0],"
    " \"reverse\": false, \"realign\": false, \"return_sequences\": true}},"
    "{\"op\": \"attention\", \"layer\": \"look\", \"inputs\": [\"h\", \"c\", null, null, \"c:mask\"], \"lengths\": "
    "[null, \"c:lengths\", null, null, null],"
    " \"outputs\": [\"a\", \"w\"], \"weights\": {}, \"attrs\": {\"score\": \"dot\", \"scale\": 1, \"heads\": 0,"
    " \"causal\": false, \"masking\": \"zero\", \"shared\": false}},"
    "{\"op\": \"add\", \"layer\": \"sum\", \"inputs\": [\"a\", \"h\"], \"outputs\": [\"sum\"]}],"
    "\"outputs\": [{\"name\": \"y\", \"value\": \"sum\"}, {\"name\": \"w\", \"value\": \"w\"}]}";

static sc_plan *make_vectors(const sc_options *options)
{
    random_state = 999;
    float *U = decoder_weights(H * H, 0.9f), *b = decoder_weights(H, 0.5f);
    const sc_tensor tensors[] = {{.name = "U", .rank = 2, .shape = {H, H}, .data = U},
                                 {.name = "b", .rank = 1, .shape = {H}, .data = b}};
    sc_plan *plan = NULL;
    OK(sc_plan_create(vectors, sizeof vectors - 1, tensors, 2, options, &plan, &error));
    free(U);
    free(b);
    return plan;
}

/* Frames that are fed back are those that a stream gives which is fed its own output, rows with histories of their own.
 */
static void test_feed_back(const char *isa)
{
    enum { KNOWN = 5 };
    static const int64_t known[ROWS] = {5, 1, 3, 2, 5};
    static float history[ROWS][KNOWN][H], first[ROWS][H], out[ROWS][T][H], state[ROWS][H];
    for (size_t i = 0; i < ROWS * KNOWN * H; i++) {
        history[i / H / KNOWN][i / H % KNOWN][i % H] = (float)random_below(2001) / 1000.0f - 1.0f;
        first[i / H / KNOWN][i % H] = 0.25f;
    }
    sc_plan *plan = make_vectors(&(sc_options){.isa = isa, .threads = 1});
    const sc_array states = {first, 2, {ROWS, H}}, final_states = {state, 2, {ROWS, H}};
    for (int with = 0; with < 2; with++) {
        const sc_feedback q = {.rows = ROWS,
                               .inputs = inputs,
                               .states = with ? &states : NULL,
                               .history_size = KNOWN,
                               .history = &history[0][0][0],
                               .history_lengths = with ? known : NULL,
                               .steps = T,
                               .out = &out[0][0][0],
                               .final_states = &final_states};
        memset(out, 0xA5, sizeof out);
        OK(sc_plan_feed_back(plan, &q, &error));
        for (size_t m = 0; m < ROWS; m++) {
            sc_stream *stream = NULL;
            OK(sc_stream_create(plan, 1, &stream, &error));
            const sc_array mine[] = {
                {0}, {context[m], 3, {1, FRAMES, H}}, {ends + m, 1, {1}}, {mask[m], 2, {1, FRAMES}}};
            const sc_array one = {first[m], 2, {1, H}};
            OK(sc_stream_set_context(stream, mine, &error));
            if (with) {
                OK(sc_stream_set_state(stream, 0, &one, &error));
            }
            const size_t frames = with ? (size_t)known[m] : KNOWN;
            float y[H], w[FRAMES], found[H];
            for (size_t t = 0; t < frames + T - 1; t++) {
                const float *x = t < frames ? history[m][t] : out[m][t - frames];
                const sc_array in = {(void *)(uintptr_t)x, 2, {1, H}}, to[] = {{y, 2, {1, H}}, {w, 2, {1, FRAMES}}};
                OK(sc_stream_step(stream, &in, to, &error));
                CHECK(t + 1 < frames || memcmp(y, out[m][t + 1 - frames], sizeof y) == 0, "row %zu, frame %zu", m, t);
            }
            const sc_array get = {found, 2, {1, H}}; /* the last frame has been made, and is not fed */
            OK(sc_stream_get_state(stream, 0, &get, &error));
            CHECK(memcmp(found, state[m], sizeof found) == 0, "row %zu: state", m);
            sc_stream_free(stream);
        }
    }
    sc_plan_free(plan);
}

int main(void)
{
    for (size_t i = 0; i < ROWS * FRAMES * H; i++) {
        context[i / H / FRAMES][i / H % FRAMES][i % H] = (float)random_below(2001) / 1000.0f - 1.0f;
        mask[i / H / FRAMES][i / H % FRAMES] = i / H % 5 != 2;
    }
    for (size_t i = 0; i < sc_isa_count(); i++) {
        test_extras_and_states(sc_isa_name(i));
        test_rows_are_independent(sc_isa_name(i));
        test_runs(sc_isa_name(i));
        test_feed_back(sc_isa_name(i));
    }
    printf("test_decode_streams: all passed\n");
    return 0;
}
