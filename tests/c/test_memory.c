/* Models in memory, and the memory of models: files that are no files, allocators that fail at every call, that are
 * half there or that misalign, files of several graphs, and plans that are freed before their streams. */
#include "check.h"
#include "ledger.h"
#include "small_model.h"

static const char small_graph[] = SMALL_GRAPH;

/* The bytes of a model file, as exactly as many. */
static char *model_bytes(const char *path, const char *graph, size_t *size)
{
    char buffer[1 << 14];
    OK(sc_file_write(path, graph, strlen(graph), small_tensors(0), SMALL_TENSORS, &error));
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL, "%s", path);
    *size = fread(buffer, 1, sizeof buffer, file);
    CHECK(*size > 0 && *size < sizeof buffer, "%zu bytes", *size);
    fclose(file);
    return exact_copy(buffer, *size);
}

static sc_stream *make_stream(const sc_plan *plan)
{
    sc_stream *stream = NULL;
    OK(sc_stream_create(plan, 1, &stream, &error));
    return stream;
}

static const float x[][SMALL_IN] = {{1, -2, 3}, {0.5f, 0.25f, -1}, {-3, 0, 2}};
#define FRAMES (sizeof x / sizeof *x)

static sc_array frame_in(size_t t)
{
    return (sc_array){(void *)x[t], 2, {1, SMALL_IN}};
}

static sc_array frame_out(float *y)
{
    return (sc_array){y, 2, {1, SMALL_OUT}};
}

/* What the model makes of the frames. */
static void expected_frames(const char *bytes, size_t size, float y[FRAMES][SMALL_OUT])
{
    sc_plan *plan = NULL;
    OK(sc_plan_open_memory(bytes, size, NULL, &plan, &error));
    const sc_array in = {(void *)x, 3, {1, FRAMES, SMALL_IN}}, out = {y, 3, {1, FRAMES, SMALL_OUT}};
    OK(sc_plan_run(plan, &in, &out, &error));
    sc_plan_free(plan);
}

/* ---- Files in memory ------------------------------------------------------------------------------------------- */

static void refuse(const char *bytes, size_t size, sc_status expected, const char *cause)
{
    char *copy = exact_copy(bytes, size);
    sc_plan *plan = NULL;
    REFUSED(expected, cause, sc_plan_open_memory(copy, size, NULL, &plan, &error));
    CHECK(plan == NULL, "a plan of what was refused");
    free(copy);
}

static void test_bad_files(const char *path)
{
    size_t size;
    char *good = model_bytes(path, small_graph, &size);
    for (size_t bytes = 0; bytes < size; bytes++) {
        refuse(good, bytes, SC_BAD_FILE, bytes < 8 ? "memory: truncated" : "truncated");
    }
    static const char *const foreign[] = {"\x89HDF\r\n\x1a\n and so on", "PK\3\4 and a good many more",
                                          "\x80\2}q\0...........",       "GGUF\3\0\0\0........",
                                          "{\"format\": \"seqcore\"}",   "\x93NUMPY\1\0v\0{......"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        refuse(foreign[i], 16, SC_BAD_FILE, "not a safetensors file");
    }
    refuse("\2\0\0\0\0\0\0\0{}", 10, SC_BAD_FILE, "not a seqcore model file");
    refuse("\2\0\0\0\0\0\0\0[]", 10, SC_BAD_FILE, "does not begin with '{'");
    size_t newer_size;
    char *newer = model_bytes(path, SMALL_GRAPH_OF("2", "", SMALL_OUTPUT), &newer_size);
    refuse(newer, newer_size, SC_UNSUPPORTED, "written for a newer seqcore");
    free(newer);
    char *longer = malloc(size + 8);
    CHECK(longer != NULL, "%zu", size);
    memcpy(longer, good, size);
    memset(longer + size, 0, 8);
    refuse(longer, size + 8, SC_BAD_FILE, "data that belongs to no tensor");
    free(longer);
    free(good);
}

static void test_misaligned(const char *path)
{
    size_t size;
    char *good = model_bytes(path, small_graph, &size), *memory = malloc(size + 8);
    sc_plan *plan = NULL;
    sc_file *file = NULL;
    CHECK(memory != NULL, "%zu", size);
    for (size_t by = 1; by < 8; by++) {
        memcpy(memory + by, good, size);
        REFUSED(SC_BAD_ARGUMENT, "misaligned", sc_plan_open_memory(memory + by, size, NULL, &plan, &error));
        REFUSED(SC_BAD_ARGUMENT, "a name: misaligned", sc_file_open_memory(memory + by, size, "a name", &file, &error));
    }
    CHECK(plan == NULL && file == NULL, "something was made");
    free(memory);
    free(good);
}

/* Any byte changed: refused, or a plan that steps. Names and weights are nobody's to check. */
static void test_damaged_files(const char *path)
{
    size_t size, plans = 0;
    char *bytes = model_bytes(path, small_graph, &size);
    static const char changes[] = {1, 2, 16, (char)0x80};
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(bytes[i] ^ changes[i % sizeof changes]);
        char *copy = exact_copy(bytes, size);
        sc_plan *plan = NULL;
        sc_stream *stream = NULL;
        if (sc_plan_open_memory(copy, size, NULL, &plan, NULL) == SC_OK) {
            free(copy); /* not needed any more */
            copy = NULL;
            plans++;
            if (sc_stream_create(plan, 1, &stream, NULL) == SC_OK) {
                float y[SMALL_OUT];
                const sc_array in = frame_in(0), out = frame_out(y);
                sc_stream_step(stream, &in, &out, NULL);
            }
        }
        sc_stream_free(stream);
        sc_plan_free(plan);
        free(copy);
        bytes[i] = (char)(bytes[i] ^ changes[i % sizeof changes]);
    }
    CHECK(plans > 900, "only %zu", plans); /* the weights alone are more */
    free(bytes);
}

/* ---- Allocators ------------------------------------------------------------------------------------------------ */

static sc_options options_of(ledger *l)
{
    return (sc_options){.threads = 1, .allocator = {.allocate = allocate, .release = release, .context = l}};
}

/* All that a program does with a model; returns how many of its calls had no memory. */
static size_t use_everything(const char *bytes, size_t size, const char *path, float expected[FRAMES][SMALL_OUT],
                             ledger *l)
{
    const sc_options options = options_of(l);
    sc_plan *plan = NULL, *from_file = NULL;
    sc_stream *stream = NULL;
    sc_pool *pool = NULL;
    sc_stream_id ids[2];
    float y[FRAMES][SMALL_OUT], step[2][SMALL_OUT];
    size_t failures = 0;
    TWICE(sc_plan_open_memory(bytes, size, &options, &plan, &error));
    TWICE(sc_plan_open(path, &options, &from_file, &error));
    const sc_array all_in = {(void *)x, 3, {1, FRAMES, SMALL_IN}}, all_out = {y, 3, {1, FRAMES, SMALL_OUT}};
    TWICE(sc_plan_run(plan, &all_in, &all_out, &error));
    CHECK(memcmp(y, expected, sizeof y) == 0, "run");
    TWICE(sc_stream_create(plan, 1, &stream, &error));
    TWICE(sc_pool_create(from_file, 2, &pool, &error));
    TWICE(sc_pool_open(pool, &ids[0], &error));
    TWICE(sc_pool_open(pool, &ids[1], &error));
    for (size_t t = 0; t < FRAMES; t++) {
        const sc_array in = frame_in(t), out = frame_out(step[0]);
        TWICE(sc_stream_step(stream, &in, &out, &error));
        CHECK(memcmp(step[0], expected[t], sizeof step[0]) == 0, "frame %zu of the stream", t);
        const float both[2][SMALL_IN] = {{x[t][0], x[t][1], x[t][2]}, {x[t][0], x[t][1], x[t][2]}};
        const sc_array in2 = {(void *)both, 2, {2, SMALL_IN}}, out2 = {step, 2, {2, SMALL_OUT}};
        TWICE(sc_pool_step(pool, ids, 2, &in2, &out2, &error));
        for (size_t m = 0; m < 2; m++) {
            CHECK(memcmp(step[m], expected[t], sizeof step[m]) == 0, "frame %zu of the pool", t);
        }
    }
    const size_t saved_bytes = sc_plan_saved_bytes(plan, 1);
    char *saved = malloc(saved_bytes);
    CHECK(saved != NULL, "%zu", saved_bytes);
    TWICE(sc_stream_save(stream, saved, saved_bytes, &error));
    TWICE(sc_pool_load(pool, ids[0], saved, saved_bytes, &error));
    TWICE(sc_pool_close(pool, ids[1], &error));
    free(saved);
    sc_stream_free(stream);
    sc_plan_free(plan);
    sc_plan_free(from_file); /* before its pool */
    sc_pool_free(pool);
    CHECK(l->live == 0, "fail_at %zu: %zu allocations were not released", l->fail_at, l->live);
    return failures;
}

static void test_every_allocation_fails(const char *path)
{
    size_t size;
    char *bytes = model_bytes(path, small_graph, &size);
    float expected[FRAMES][SMALL_OUT];
    expected_frames(bytes, size, expected);
    ledger all = {0};
    CHECK(use_everything(bytes, size, path, expected, &all) == 0, "no failure was ordered");
    CHECK(all.calls > 50, "only %zu", all.calls);
    for (size_t n = 1; n <= all.calls; n++) {
        ledger one = {.fail_at = n};
        CHECK(use_everything(bytes, size, path, expected, &one) == 1, "call %zu of %zu", n, all.calls);
    }
    free(bytes);
}

/* A plan of such a graph needs every allocation, and fails without it. */
static void every_allocation_of_a_plan_fails(const char *path, const char *graph)
{
    size_t size, calls = 1;
    char *bytes = model_bytes(path, graph, &size);
    for (size_t n = 0; n <= calls; n++) {
        ledger l = {.fail_at = n};
        const sc_options options = options_of(&l);
        sc_plan *plan = NULL;
        sc_error error;
        const sc_status status = sc_plan_open_memory(bytes, size, &options, &plan, &error);
        CHECK(status == (n == 0 ? SC_OK : SC_NO_MEMORY), "call %zu of %zu: %d", n, calls, (int)status);
        calls = n == 0 ? l.calls : calls;
        sc_plan_free(plan);
        CHECK(l.live == 0, "call %zu: %zu allocations were not released", n, l.live);
    }
    CHECK(calls > 10, "only %zu", calls);
    free(bytes);
}

#define LSTM_OF_IDS(weights, attrs) \
    "{\"format\": \"seqcore\", \"version\": 1," \
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"int64\", \"shape\": [null]}]," \
    "\"nodes\": [{\"op\": \"lstm\", \"layer\": \"lstm\", \"inputs\": [\"x\"], \"outputs\": [\"y\"]," \
    " \"weights\": {\"W\": \"lstm.W\", \"U\": \"lstm.U\", \"b\": \"lstm.b\"" weights "}," \
    " \"attrs\": {\"units\": 5, \"one_hot\": 4, \"activation\": [\"tanh\", 0, 0]," \
    " \"recurrent_activation\": [\"sigmoid\", 0, 0], \"reverse\": false, \"realign\": false," \
    " \"return_sequences\": true" attrs "}}], \"outputs\": [{\"name\": \"y\", \"value\": \"y\"}]}"

/* What a plan makes of weights for ids takes memory of its own for a while, and what is normalised is put together. */
static void test_every_allocation_of_a_cell_fails(const char *path)
{
    every_allocation_of_a_plan_fails(path, LSTM_OF_IDS("", ""));
    every_allocation_of_a_plan_fails(
        path, LSTM_OF_IDS(", \"input_scale\": \"lstm.b\", \"input_offset\": \"lstm.b\","
                          " \"recurrent_scale\": \"lstm.b\", \"recurrent_offset\": \"lstm.b\"",
                          ", \"layer_norm\": \"products\", \"epsilon\": 0.1"));
    every_allocation_of_a_plan_fails(path, LSTM_OF_IDS(", \"gate_scale\": \"lstm.b\", \"gate_offset\": \"lstm.b\"",
                                                       ", \"layer_norm\": \"gates\", \"epsilon\": 0.1, \"clip\": 1"));
}

/* A stream's steps ask for no memory at all, nor do those of a pool after the first of so many rows. */
static void test_steps_allocate_nothing(const char *path)
{
    size_t size;
    char *bytes = model_bytes(path, small_graph, &size);
    ledger l = {0};
    const sc_options options = options_of(&l);
    sc_plan *plan = NULL;
    sc_pool *pool = NULL;
    sc_stream_id id;
    float y[SMALL_OUT];
    const sc_array in = frame_in(0), out = frame_out(y);
    OK(sc_plan_open_memory(bytes, size, &options, &plan, &error));
    sc_stream *stream = make_stream(plan);
    OK(sc_pool_create(plan, 4, &pool, &error));
    const size_t before = l.calls;
    for (int t = 0; t < 20; t++) {
        OK(sc_stream_step(stream, &in, &out, &error));
        OK(sc_pool_open(pool, &id, &error));
        OK(sc_pool_step(pool, &id, 1, &in, &out, &error));
        OK(sc_pool_close(pool, id, &error));
    }
    CHECK(l.calls == before, "%zu allocations in steps", l.calls - before);
    sc_stream_free(stream);
    sc_pool_free(pool);
    sc_plan_free(plan);
    free(bytes);
}

static void test_bad_allocators(const char *path)
{
    size_t size;
    char *bytes = model_bytes(path, small_graph, &size);
    ledger l = {.off = 16};
    sc_options options = options_of(&l);
    sc_plan *plan = NULL;
    REFUSED(SC_NO_MEMORY, "memory", sc_plan_open_memory(bytes, size, &options, &plan, &error));
    REFUSED(SC_NO_MEMORY, "memory", sc_plan_open(path, &options, &plan, &error));
    CHECK(plan == NULL && l.calls > 0 && l.live == 0, "misaligned memory is given back");
    for (int half = 0; half < 2; half++) {
        options = options_of(&l);
        if (half == 0) {
            options.allocator.allocate = NULL;
        } else {
            options.allocator.release = NULL;
        }
        REFUSED(SC_BAD_ARGUMENT, "both of its functions", sc_plan_open_memory(bytes, size, &options, &plan, &error));
        REFUSED(SC_BAD_ARGUMENT, "both of its functions", sc_plan_open(path, &options, &plan, &error));
        REFUSED(SC_BAD_ARGUMENT, "both of its functions",
                sc_plan_create(small_graph, sizeof small_graph - 1, small_tensors(0), SMALL_TENSORS, &options, &plan,
                               &error));
    }
    CHECK(plan == NULL, "a plan of half an allocator");
    free(bytes);
}

/* Packed weights that are used where they lie: mapped, in memory, and in memory that is not aligned enough for that. */
static void test_in_place(const char *path)
{
    sc_plan *plan = NULL;
    size_t size;
    char *plain = model_bytes(path, small_graph, &size);
    float expected[FRAMES][SMALL_OUT], y[SMALL_OUT];
    expected_frames(plain, size, expected);
    OK(sc_plan_open_memory(plain, size, NULL, &plan, &error));
    const size_t floats = sc_plan_packed_floats(plan);
    float *packed = malloc(floats * sizeof *packed);
    CHECK(packed != NULL && sc_plan_bytes_in_place(plan) == 0, "%zu", floats);
    OK(sc_plan_copy_packed(plan, packed, floats, &error));
    const char *name = sc_plan_packed_name(plan);
    sc_tensor all[1 + SMALL_TENSORS] = {{.name = name, .rank = 1, .shape = {floats}, .data = packed}};
    memcpy(all + 1, small_tensors(0), SMALL_TENSORS * sizeof *all);
    OK(sc_file_write(path, small_graph, sizeof small_graph - 1, all, 1 + SMALL_TENSORS, &error));
    sc_plan_free(plan);
    free(plain);
    free(packed);
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL, "%s", path);
    _Alignas(64) static char bytes[1 << 16];
    size = fread(bytes, 1, sizeof bytes - 8, file);
    fclose(file);
    for (size_t where = 0; where < 3; where++) {
        ledger l = {0};
        sc_options *options = malloc(sizeof *options);
        CHECK(options != NULL, "options");
        *options = options_of(&l);
        options->in_place = 1;
        if (where == 0) {
            OK(sc_plan_open(path, options, &plan, &error));
        } else {
            memmove(bytes + 8 * (where - 1), bytes, size);
            OK(sc_plan_open_memory(bytes + 8 * (where - 1), size, options, &plan, &error));
        }
        free(options); /* nobody needs them any more */
        CHECK((sc_plan_bytes_in_place(plan) > 0) == (where < 2), "%zu: %zu", where, sc_plan_bytes_in_place(plan));
        sc_stream *stream = make_stream(plan);
        sc_plan_free(plan);
        for (size_t t = 0; t < FRAMES; t++) {
            const sc_array in = frame_in(t), out = frame_out(y);
            OK(sc_stream_step(stream, &in, &out, &error));
            CHECK(memcmp(y, expected[t], sizeof y) == 0, "%zu, frame %zu", where, t);
        }
        sc_stream_free(stream);
        CHECK(l.live == 0, "%zu: %zu allocations were not released", where, l.live);
    }
}

/* ---- Files of several graphs ----------------------------------------------------------------------------------- */

#define HIDDEN_GRAPH SMALL_GRAPH_OF("1", "", "{\"name\": \"hidden\", \"value\": \"lstm\"}")
#define OTHER_GRAPH \
    "{\"format\": \"seqcore\", \"version\": 1, \"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\"," \
    " \"shape\": [2]}], \"nodes\": [{\"op\": \"dense\", \"layer\": \"d\", \"inputs\": [\"x\"], \"outputs\": [\"d\"]," \
    " \"weights\": {\"W\": \"a.W\", \"b\": \"z.b\"}, \"attrs\": {\"units\": 1, \"activation\": [\"linear\", 0, 0]}}]," \
    " \"outputs\": [{\"name\": \"d\", \"value\": \"d\"}]}"
#define TEXT(name, text) {name, text, sizeof text - 1}

static const sc_named_text part_texts[] = {
    TEXT("__assets__", "{\"words\": 1}"), TEXT("__graph__.other", OTHER_GRAPH), TEXT("__graph__", SMALL_GRAPH),
    TEXT("__graph__.hidden", HIDDEN_GRAPH),
};
#define PART_TEXTS (sizeof part_texts / sizeof *part_texts)

/* The small model with its packed weights, and tensors of another graph before and behind its own in the alphabet. */
static void write_parts(const char *path)
{
    static const float other[] = {2, -1, 0.5f};
    sc_tensor all[3 + SMALL_TENSORS] = {{.name = "__packed__"},
                                        {.name = "z.b", .rank = 1, .shape = {1}, .data = other + 2},
                                        {.name = "a.W", .rank = 2, .shape = {2, 1}, .data = other}};
    memcpy(all + 3, small_tensors(0), SMALL_TENSORS * sizeof *all);
    sc_plan *plan = NULL; /* of the main graph and its tensors alone, which know nothing of others */
    OK(sc_plan_create(small_graph, sizeof small_graph - 1, all + 3, SMALL_TENSORS, NULL, &plan, &error));
    const size_t floats = sc_plan_packed_floats(plan);
    float *packed = malloc(floats * sizeof *packed);
    CHECK(packed != NULL, "memory");
    OK(sc_plan_copy_packed(plan, packed, floats, &error));
    all[0] = (sc_tensor){.name = sc_plan_packed_name(plan), .rank = 1, .shape = {floats}, .data = packed};
    OK(sc_file_write_texts(path, part_texts, PART_TEXTS, all, 3 + SMALL_TENSORS, &error));
    sc_plan_free(plan);
    free(packed);
}

/* The plan of a part, from the file or from its bytes. */
static sc_plan *open_part(const char *path, const void *bytes, size_t size, const sc_options *options)
{
    sc_plan *plan = NULL;
    if (bytes == NULL) {
        OK(sc_plan_open(path, options, &plan, &error));
    } else {
        OK(sc_plan_open_memory(bytes, size, options, &plan, &error));
    }
    return plan;
}

static void check_small(const char *graph, const sc_plan *found, size_t width)
{
    float expected[FRAMES * SMALL_UNITS], y[FRAMES * SMALL_UNITS];
    sc_plan *plan = NULL;
    const sc_array in = {(void *)x, 3, {1, FRAMES, SMALL_IN}}, wanted = {expected, 3, {1, FRAMES, width}};
    const sc_array out = {y, 3, {1, FRAMES, width}};
    OK(sc_plan_create(graph, strlen(graph), small_tensors(0), SMALL_TENSORS, NULL, &plan, &error));
    OK(sc_plan_run(plan, &in, &wanted, &error));
    OK(sc_plan_run(found, &in, &out, &error));
    CHECK(memcmp(y, expected, FRAMES * width * sizeof *y) == 0, "another result");

    char state[1 << 10]; /* its fingerprint is that of a plan that never saw the others' tensors */
    const size_t size = sc_plan_saved_bytes(plan, 1);
    CHECK(size <= sizeof state, "%zu", size);
    sc_stream *from = make_stream(plan), *to = make_stream(found);
    OK(sc_stream_save(from, state, size, &error));
    OK(sc_stream_load(to, state, size, &error));
    sc_stream_free(from);
    sc_stream_free(to);
    sc_plan_free(plan);
}

/* Of the file, or of its bytes: the main graph, one of the same layers, and one of others. */
static void check_parts(const char *path, const void *bytes, size_t size, int in_place)
{
    ledger l = {0};
    sc_options options = options_of(&l);
    options.in_place = in_place;
    sc_plan *plan = open_part(path, bytes, size, &options);
    check_small(SMALL_GRAPH, plan, SMALL_OUT);
    CHECK((sc_plan_bytes_in_place(plan) > 0) == in_place, "%zu", sc_plan_bytes_in_place(plan));
    sc_plan_free(plan);
    options.part = "hidden"; /* what is packed is not its own, though it is the same */
    plan = open_part(path, bytes, size, &options);
    check_small(HIDDEN_GRAPH, plan, SMALL_UNITS);
    CHECK(sc_plan_bytes_in_place(plan) == 0, "%zu", sc_plan_bytes_in_place(plan));
    sc_plan_free(plan);
    options.part = "other";
    plan = open_part(path, bytes, size, &options);
    float pair[2] = {3, 4}, y;
    const sc_array in = {pair, 2, {1, 2}}, out = {&y, 2, {1, 1}};
    OK(sc_plan_run(plan, &in, &out, &error));
    CHECK(y == 3 * 2 - 4 + 0.5f, "%g", y);
    sc_plan_free(plan);
    CHECK(l.live == 0, "%zu allocations were not released", l.live);
}

static void refuse_parts(const char *path, const void *bytes, size_t size)
{
    static const char *const absent[][2] = {
        {"", "\"__graph__.\""}, {"hidde", "\"__graph__.hidde\""}, {"hiddens", "\"__graph__.hiddens\""},
        {"__graph__", "no such part"}, {"__graph__.hidden", "no such part"}, {"a\nb", "\"__graph__.a?b\""},
    };
    sc_plan *plan = NULL;
    ledger l = {0};
    sc_options options = options_of(&l);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        options.part = absent[i][0];
        REFUSED(SC_BAD_FILE, absent[i][1], sc_plan_open(path, &options, &plan, &error));
        REFUSED(SC_BAD_FILE, path, sc_plan_open(path, &options, &plan, &error));
        REFUSED(SC_BAD_FILE, "memory: no tensor", sc_plan_open_memory(bytes, size, &options, &plan, &error));
    }
    options.part = "hidden";
    REFUSED(SC_BAD_ARGUMENT, "part 'hidden'",
            sc_plan_create(small_graph, sizeof small_graph - 1, small_tensors(0), SMALL_TENSORS, &options, &plan, &error));
    CHECK(l.live == 0, "%zu allocations were not released", l.live);
}

static void test_parts(const char *path)
{
    write_parts(path);
    _Alignas(64) static char bytes[1 << 16];
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL, "%s", path);
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (int in_place = 0; in_place < 2; in_place++) {
        check_parts(path, NULL, 0, in_place);
        check_parts(path, bytes, size, in_place);
    }
    refuse_parts(path, bytes, size);
}

/* What was made of a plan keeps what it needs of it, whatever goes first. */
static void test_plan_goes_first(const char *path)
{
    size_t size;
    char *bytes = model_bytes(path, small_graph, &size);
    float expected[FRAMES][SMALL_OUT], y[SMALL_OUT];
    expected_frames(bytes, size, expected);
    ledger l = {0};
    const sc_options options = options_of(&l);
    sc_plan *plan = NULL;
    sc_pool *pool = NULL;
    sc_stream_id id;
    OK(sc_plan_open_memory(bytes, size, &options, &plan, &error));
    free(bytes);
    sc_stream *first = make_stream(plan), *second = make_stream(plan);
    OK(sc_pool_create(plan, 1, &pool, &error));
    sc_plan_free(plan);
    OK(sc_pool_open(pool, &id, &error));
    for (size_t t = 0; t < FRAMES; t++) {
        const sc_array in = frame_in(t), out = frame_out(y);
        if (t < 2) {
            OK(sc_stream_step(first, &in, &out, &error));
            CHECK(memcmp(y, expected[t], sizeof y) == 0, "first, frame %zu", t);
        }
        if (t == 1) {
            sc_stream_free(first);
        }
        OK(sc_stream_step(second, &in, &out, &error));
        CHECK(memcmp(y, expected[t], sizeof y) == 0, "second, frame %zu", t);
        OK(sc_pool_step(pool, &id, 1, &in, &out, &error));
        CHECK(memcmp(y, expected[t], sizeof y) == 0, "pool, frame %zu", t);
    }
    sc_pool_free(pool);
    CHECK(l.live > 0, "a stream is still there");
    sc_stream_free(second);
    CHECK(l.live == 0, "%zu allocations were not released", l.live);
}

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: test_memory a-file-to-write");
    const char *path = arguments[1];
    test_bad_files(path);
    test_misaligned(path);
    test_damaged_files(path);
    test_every_allocation_fails(path);
    test_every_allocation_of_a_cell_fails(path);
    test_steps_allocate_nothing(path);
    test_bad_allocators(path);
    test_in_place(path);
    test_parts(path);
    test_plan_goes_first(path);
    printf("test_memory: all passed\n");
    return 0;
}
