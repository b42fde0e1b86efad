/* Streams and pools: what they compute, and what a careless caller gets instead of a crash. Every refusal is followed
 * by a look at what it must have left alone. Models in memory and allocators: test_memory.c. What a layer's numbers
 * mean is tested from Python. */
#include "check.h"
#include "small_model.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define T 40
#define ROWS 3

/* Two outputs, in the second graph */
#define TWO_OUTPUTS SMALL_OUTPUT ", {\"name\": \"h\", \"value\": \"lstm\"}"
static const char small_graph[] = SMALL_GRAPH, two_graph[] = SMALL_GRAPH_OF("1", "", TWO_OUTPUTS);

static sc_plan *make_plan(const char *graph, uint32_t weights, const sc_options *options)
{
    sc_plan *plan = NULL;
    OK(sc_plan_create(graph, strlen(graph), small_tensors(weights), SMALL_TENSORS, options, &plan, &error));
    return plan;
}

static sc_stream *make_stream(const sc_plan *plan, size_t rows)
{
    sc_stream *stream = NULL;
    OK(sc_stream_create(plan, rows, &stream, &error));
    return stream;
}

static sc_pool *make_pool(const sc_plan *plan, size_t capacity)
{
    sc_pool *pool = NULL;
    OK(sc_pool_create(plan, capacity, &pool, &error));
    return pool;
}

static sc_array frame_in(const float *x, size_t rows)
{
    return (sc_array){(void *)x, 2, {rows, SMALL_IN}};
}

static sc_array frame_out(float *y, size_t rows)
{
    return (sc_array){y, 2, {rows, SMALL_OUT}};
}

static void step(sc_stream *stream, const float *x, float *y)
{
    const sc_array in = frame_in(x, sc_stream_rows(stream)), out = frame_out(y, sc_stream_rows(stream));
    OK(sc_stream_step(stream, &in, &out, &error));
}

/* Frame t of a row. */
static const float *frame(size_t row, size_t t)
{
    static float all[16][T][SMALL_IN];
    if (all[0][0][0] == 0.0f) {
        for (size_t i = 0; i < sizeof all / sizeof(float); i++) {
            ((float *)all)[i] = small_number(5000 + (uint32_t)i);
        }
    }
    return all[row][t];
}

/* ---- What steps compute ------------------------------------------------------------------------------------------ */

static void test_steps_are_a_run(const char *isa)
{
    sc_plan *plan = make_plan(small_graph, 0, &(sc_options){.isa = isa});
    sc_stream *stream = make_stream(plan, ROWS);
    float x[ROWS][T][SMALL_IN], expected[ROWS][T][SMALL_OUT], one[ROWS][SMALL_IN], y[ROWS][SMALL_OUT];
    for (size_t m = 0; m < ROWS; m++) {
        memcpy(x[m], frame(m, 0), sizeof x[m]);
    }
    const sc_array in = {x, 3, {ROWS, T, SMALL_IN}}, out = {expected, 3, {ROWS, T, SMALL_OUT}};
    OK(sc_plan_run(plan, &in, &out, &error));
    for (int again = 0; again < 2; again++) {
        for (size_t t = 0; t < T; t++) {
            for (size_t m = 0; m < ROWS; m++) {
                memcpy(one[m], x[m][t], sizeof one[m]);
            }
            step(stream, one[0], y[0]);
            for (size_t m = 0; m < ROWS; m++) {
                CHECK(memcmp(y[m], expected[m][t], sizeof y[m]) == 0, "%s: row %zu, frame %zu", isa, m, t);
            }
        }
        OK(sc_stream_reset(stream, &error));
    }
    sc_stream_free(stream);
    sc_plan_free(plan);
}

/* Streams of a pool that come and go, a changing set in a changing order at each step, against one stream for each. */
static void test_pool_is_solo(const char *isa)
{
    enum { CAPACITY = 7 };
    sc_plan *plan = make_plan(small_graph, 0, &(sc_options){.isa = isa});
    sc_pool *pool = make_pool(plan, CAPACITY);
    sc_stream *solo[CAPACITY] = {NULL};
    sc_stream_id ids[CAPACITY] = {0};
    for (size_t turn = 0; turn < 400; turn++) {
        size_t order[CAPACITY], count = 0;
        for (size_t k = 0; k < CAPACITY; k++) {
            if (ids[k] == 0 && random_below(3) == 0) {
                OK(sc_pool_open(pool, &ids[k], &error));
                solo[k] = make_stream(plan, 1);
            } else if (ids[k] != 0 && random_below(15) == 0) {
                OK(sc_pool_close(pool, ids[k], &error));
                sc_stream_free(solo[k]);
                ids[k] = 0;
            }
            if (ids[k] != 0 && random_below(4) > 0) {
                order[count++] = k;
            }
        }
        sc_stream_id chosen[CAPACITY];
        float x[CAPACITY][SMALL_IN], y[CAPACITY][SMALL_OUT], expected[SMALL_OUT];
        for (size_t i = 0; i < count; i++) {
            const size_t other = i + random_below(count - i), k = order[other];
            order[other] = order[i];
            order[i] = k;
            chosen[i] = ids[k];
            memcpy(x[i], frame(k, turn % T), sizeof x[i]);
        }
        const sc_array in = frame_in(x[0], count), out = frame_out(y[0], count);
        OK(sc_pool_step(pool, chosen, count, &in, &out, &error));
        for (size_t i = 0; i < count; i++) {
            step(solo[order[i]], x[i], expected);
            CHECK(memcmp(y[i], expected, sizeof expected) == 0, "%s: turn %zu, stream %zu", isa, turn, order[i]);
        }
    }
    for (size_t k = 0; k < CAPACITY; k++) {
        sc_stream_free(ids[k] != 0 ? solo[k] : NULL);
    }
    sc_pool_free(pool);
    sc_plan_free(plan);
}

/* A sequence that is saved in one plan goes on in another of the same file: a stream, in a pool, by its arrays. */
static void test_save_and_load(const char *path, const char *isa)
{
    const sc_options options = {.isa = isa};
    sc_plan *first = NULL, *second = NULL;
    OK(sc_file_write(path, small_graph, sizeof small_graph - 1, small_tensors(0), SMALL_TENSORS, &error));
    OK(sc_plan_open(path, &options, &first, &error));
    OK(sc_plan_open(path, &options, &second, &error));
    for (size_t start = 0; start < 9; start++) { /* the ring of the convolution begins elsewhere each time */
        const size_t bytes = sc_plan_saved_bytes(first, 1);
        char *saved = malloc(bytes), *again = malloc(bytes);
        sc_stream *from = make_stream(first, 1), *to = make_stream(second, 1), *by_arrays = make_stream(second, 1);
        sc_pool *pool = make_pool(second, 2);
        sc_stream_id id = 0;
        float y[4][SMALL_OUT];
        CHECK(saved != NULL && again != NULL, "%zu", bytes);
        OK(sc_pool_open(pool, &id, &error));
        OK(sc_pool_open(pool, &id, &error));
        for (size_t t = 0; t < start; t++) {
            step(from, frame(0, t), y[0]);
        }
        for (size_t t = 0; t < 3; t++) { /* what they did before must not matter */
            step(to, frame(1, t), y[1]);
            step(by_arrays, frame(1, t), y[2]);
            const sc_array in = frame_in(frame(1, t), 1), out = frame_out(y[3], 1);
            OK(sc_pool_step(pool, &id, 1, &in, &out, &error));
        }
        OK(sc_stream_save(from, saved, bytes, &error));
        OK(sc_stream_load(to, saved, bytes, &error));
        OK(sc_pool_load(pool, id, saved, bytes, &error));
        OK(sc_pool_save(pool, id, again, bytes, &error));
        CHECK(memcmp(saved, again, bytes) == 0, "saved again at %zu", start);
        for (size_t i = 0; i < sc_plan_step_states(first); i++) {
            float memory[16];
            sc_info info;
            OK(sc_plan_step_state_info(first, i, &info, &error));
            const sc_array array = {memory, info.rank, {1, info.shape[1], info.shape[2]}};
            OK(sc_stream_get_state(from, i, &array, &error));
            OK(sc_stream_set_state(by_arrays, i, &array, &error));
        }
        for (size_t t = start; t < start + 6; t++) {
            step(from, frame(0, t), y[0]);
            step(to, frame(0, t), y[1]);
            step(by_arrays, frame(0, t), y[2]);
            const sc_array in = frame_in(frame(0, t), 1), out = frame_out(y[3], 1);
            OK(sc_pool_step(pool, &id, 1, &in, &out, &error));
            for (size_t k = 1; k < 4; k++) {
                CHECK(memcmp(y[0], y[k], sizeof y[0]) == 0, "saved at %zu, frame %zu, copy %zu", start, t, k);
            }
        }
        sc_stream_free(from);
        sc_stream_free(to);
        sc_stream_free(by_arrays);
        sc_pool_free(pool);
        free(saved);
        free(again);
    }
    sc_plan_free(first);
    sc_plan_free(second);
}

static void test_infos(const sc_plan *plan)
{
    static const struct {
        const char *name;
        size_t rank, shape[3];
    } states[] = {{"conv:frames", 3, {SC_UNKNOWN, SMALL_KERNEL - 1, SMALL_IN}},
                  {"lstm:h", 2, {SC_UNKNOWN, SMALL_UNITS, 0}},
                  {"lstm:c", 2, {SC_UNKNOWN, SMALL_UNITS, 0}}};
    sc_info info;
    CHECK(sc_plan_step_inputs(plan) == 1 && sc_plan_step_outputs(plan) == 1 && sc_plan_step_states(plan) == 3,
          "numbers");
    OK(sc_plan_step_input_info(plan, 0, &info, &error));
    CHECK(strcmp(info.name, "x") == 0 && info.rank == 2 && info.shape[0] == SC_UNKNOWN && info.shape[1] == SMALL_IN,
          "x");
    OK(sc_plan_step_output_info(plan, 0, &info, &error));
    CHECK(strcmp(info.name, "y") == 0 && info.rank == 2 && info.shape[0] == SC_UNKNOWN && info.shape[1] == SMALL_OUT,
          "y");
    for (size_t i = 0; i < 3; i++) {
        OK(sc_plan_step_state_info(plan, i, &info, &error));
        CHECK(strcmp(info.name, states[i].name) == 0 && info.dtype == SC_F32 && info.rank == states[i].rank &&
                  memcmp(info.shape, states[i].shape, info.rank * sizeof(size_t)) == 0, "%s", info.name);
    }
    REFUSED(SC_BAD_ARGUMENT, "there is none 1", sc_plan_step_input_info(plan, 1, &info, &error));
    REFUSED(SC_BAD_ARGUMENT, "there is none 1", sc_plan_step_output_info(plan, 1, &info, &error));
    REFUSED(SC_BAD_ARGUMENT, "there is none 3", sc_plan_step_state_info(plan, 3, &info, &error));
    CHECK(sc_plan_saved_bytes(plan, (size_t)-1) == 0, "too many rows to save");
}

/* ---- What is refused --------------------------------------------------------------------------------------------- */

static void test_null_handles(const sc_plan *plan)
{
    sc_plan *made = NULL;
    sc_file *file = NULL;
    sc_stream *stream = NULL;
    sc_pool *pool = NULL;
    sc_stream_id id = 1;
    sc_array a = {0};
    sc_info info;
    size_t n = 1, shape[SC_MAX_RANK];
    double seconds[8];
    char bytes[256];
    float memory[1];
    const char *cause = "must not be NULL";
#define NULLED(call) REFUSED(SC_BAD_ARGUMENT, cause, call)
    NULLED(sc_file_open(NULL, &file, &error));
    NULLED(sc_file_open("path", NULL, &error));
    NULLED(sc_file_map(NULL, &file, &error));
    NULLED(sc_file_map("path", NULL, &error));
    NULLED(sc_file_open_memory(NULL, 8, NULL, &file, &error));
    NULLED(sc_file_open_memory(bytes, 8, NULL, NULL, &error));
    NULLED(sc_file_write(NULL, "{}", 2, NULL, 0, &error));
    NULLED(sc_file_write("path", NULL, 0, NULL, 0, &error));
    NULLED(sc_file_write("path", "{}", 2, NULL, 1, &error));
    NULLED(sc_file_write_texts(NULL, NULL, 0, NULL, 0, &error));
    NULLED(sc_file_write_texts("path", NULL, 1, NULL, 0, &error));
    CHECK(sc_file_graph(NULL, &n) == NULL && n == 0 && sc_file_tensors(NULL, &n) == NULL && n == 0, "no file");
    n = 1;
    CHECK(sc_file_text(NULL, "__graph__", &n) == NULL && n == 0 && sc_file_texts(NULL, &n) == NULL && n == 0, "no file");
    NULLED(sc_plan_create(NULL, 0, NULL, 0, NULL, &made, &error));
    NULLED(sc_plan_create("{}", 2, NULL, 1, NULL, &made, &error));
    NULLED(sc_plan_create("{}", 2, NULL, 0, NULL, NULL, &error));
    NULLED(sc_plan_open(NULL, NULL, &made, &error));
    NULLED(sc_plan_open_memory(NULL, 8, NULL, &made, &error));
    NULLED(sc_plan_run(NULL, &a, &a, &error));
    NULLED(sc_plan_run(plan, NULL, &a, &error));
    NULLED(sc_plan_run(plan, &a, NULL, &error));
    NULLED(sc_plan_profile(NULL, &a, &a, seconds, &error));
    NULLED(sc_plan_profile(plan, &a, &a, NULL, &error));
    NULLED(sc_plan_copy_packed(NULL, memory, 1, &error));
    NULLED(sc_plan_copy_packed(plan, NULL, 1, &error));
    NULLED(sc_plan_output_shapes(NULL, &a, &a, &error));
    NULLED(sc_plan_value_shape(NULL, "x", &n, shape, &error));
    NULLED(sc_plan_value_shape(plan, NULL, &n, shape, &error));
    NULLED(sc_plan_check_step(NULL, &error));
    NULLED(sc_plan_step_input_info(NULL, 0, &info, &error));
    NULLED(sc_plan_step_output_info(plan, 0, NULL, &error));
    NULLED(sc_plan_step_state_info(NULL, 0, &info, &error));
    NULLED(sc_stream_create(NULL, 1, &stream, &error));
    NULLED(sc_stream_create(plan, 1, NULL, &error));
    NULLED(sc_stream_step(NULL, &a, &a, &error));
    NULLED(sc_stream_reset(NULL, &error));
    NULLED(sc_stream_get_state(NULL, 0, &a, &error));
    NULLED(sc_stream_set_state(NULL, 0, &a, &error));
    NULLED(sc_stream_save(NULL, bytes, sizeof bytes, &error));
    NULLED(sc_stream_load(NULL, bytes, sizeof bytes, &error));
    NULLED(sc_pool_create(NULL, 1, &pool, &error));
    NULLED(sc_pool_create(plan, 1, NULL, &error));
    NULLED(sc_pool_open(NULL, &id, &error));
    NULLED(sc_pool_close(NULL, id, &error));
    NULLED(sc_pool_step(NULL, &id, 1, &a, &a, &error));
    NULLED(sc_pool_reset(NULL, id, &error));
    NULLED(sc_pool_get_state(NULL, id, 0, &a, &error));
    NULLED(sc_pool_set_state(NULL, id, 0, &a, &error));
    NULLED(sc_pool_save(NULL, id, bytes, sizeof bytes, &error));
    NULLED(sc_pool_load(NULL, id, bytes, sizeof bytes, &error));
#undef NULLED
    REFUSED(SC_BAD_ARGUMENT, "must be given", sc_plan_input_info(NULL, 0, &info, &error));
    REFUSED(SC_BAD_ARGUMENT, "must be given", sc_plan_output_info(plan, 0, NULL, &error));
    CHECK(made == NULL && file == NULL && stream == NULL && pool == NULL && id == 1, "nothing was made");
    CHECK(sc_plan_inputs(NULL) + sc_plan_outputs(NULL) + sc_plan_bytes(NULL) + sc_plan_nodes(NULL) +
                  sc_plan_last_threads(NULL) + sc_plan_step_inputs(NULL) + sc_plan_step_outputs(NULL) +
                  sc_plan_step_states(NULL) + sc_plan_saved_bytes(NULL, 1) + sc_stream_rows(NULL) +
                  sc_pool_capacity(NULL) + sc_pool_count(NULL) + sc_plan_schedule(NULL, 1, 1).threads +
                  sc_plan_bytes_in_place(NULL) + sc_plan_packed_floats(NULL) == 0,
          "numbers of nothing");
    CHECK(sc_plan_isa(NULL) == NULL && sc_plan_packed_name(NULL) == NULL &&
              sc_plan_node_layer(NULL, 0) == NULL, "names of nothing");
    CHECK(sc_plan_input_dtype(NULL, 0) == SC_F32 && sc_isa_name(sc_isa_count()) == NULL, "nothing");
    CHECK(sc_stream_step(NULL, NULL, NULL, NULL) == SC_BAD_ARGUMENT, "no error is asked for");
    sc_file_close(NULL);
    sc_plan_free(NULL);
    sc_stream_free(NULL);
    sc_pool_free(NULL);
}

static void test_sizes_of_streams_and_pools(const sc_plan *plan)
{
    sc_stream *stream = NULL;
    sc_pool *pool = NULL;
    REFUSED(SC_BAD_ARGUMENT, "must be from 1", sc_stream_create(plan, 0, &stream, &error));
    REFUSED(SC_BAD_ARGUMENT, "must be from 1", sc_stream_create(plan, (size_t)-1, &stream, &error));
    REFUSED(SC_BAD_ARGUMENT, "must be from 1", sc_pool_create(plan, 0, &pool, &error));
    REFUSED(SC_BAD_ARGUMENT, "must be from 1", sc_pool_create(plan, (size_t)-1, &pool, &error));
    sc_plan *shapes = make_plan(small_graph, 0, &(sc_options){.shapes_only = 1});
    REFUSED(SC_BAD_WEIGHTS, "has no weights", sc_stream_create(shapes, 1, &stream, &error));
    REFUSED(SC_BAD_WEIGHTS, "has no weights", sc_pool_create(shapes, 1, &pool, &error));
    sc_plan_free(shapes);
    sc_plan *whole = make_plan(SMALL_GRAPH_OF("1", ", {\"op\": \"global_avg_pool1d\", \"layer\": \"mean\","
                               " \"inputs\": [\"dense\"], \"outputs\": [\"mean\"], \"attrs\": {}}",
                               "{\"name\": \"y\", \"value\": \"mean\"}"), 0, NULL);
    REFUSED(SC_UNSUPPORTED, "layer 'mean'", sc_plan_check_step(whole, &error));
    REFUSED(SC_UNSUPPORTED, "layer 'mean'", sc_stream_create(whole, 1, &stream, &error));
    REFUSED(SC_UNSUPPORTED, "layer 'mean'", sc_pool_create(whole, 1, &pool, &error));
    CHECK(sc_plan_step_inputs(whole) + sc_plan_step_outputs(whole) + sc_plan_step_states(whole) == 0 &&
              sc_plan_saved_bytes(whole, 1) == 0 && stream == NULL && pool == NULL, "numbers");
    sc_plan_free(whole);
}

/* Steps whose arrays are wrong, by a stream or (stream NULL) by a pool, of the graph with two outputs. */
static sc_status wrong_step(sc_stream *stream, sc_pool *pool, const sc_stream_id *ids, const sc_array *in,
                            const sc_array *out, sc_error *error)
{
    return stream != NULL ? sc_stream_step(stream, in, out, error) : sc_pool_step(pool, ids, ROWS, in, out, error);
}

static void check_wrong_steps(sc_stream *stream, sc_pool *pool, const sc_stream_id *ids)
{
    float memory[ROWS * (SMALL_IN + SMALL_OUT + SMALL_UNITS)] = {0};
    float *const y = memory + ROWS * SMALL_IN, *const h = y + ROWS * SMALL_OUT;
    const sc_array in = frame_in(memory, ROWS), out[2] = {frame_out(y, ROWS), {h, 2, {ROWS, SMALL_UNITS}}};
    sc_array bad = in, worse[2] = {out[0], out[1]};
#define WRONG(expected, cause) REFUSED(expected, cause, wrong_step(stream, pool, ids, &bad, worse, &error))
    REFUSED(SC_BAD_ARGUMENT, "must not be NULL", wrong_step(stream, pool, ids, NULL, out, &error));
    REFUSED(SC_BAD_ARGUMENT, "must not be NULL", wrong_step(stream, pool, ids, &in, NULL, &error));
    for (size_t rank = 0; rank <= SC_MAX_RANK + 1; rank++) { /* one more than a rank can be */
        bad.rank = rank;
        if (rank != 2) {
            WRONG(SC_BAD_SHAPE,
                  rank <= SC_MAX_RANK ? "must have shape (3, 3), found (" : "must have shape (3, 3), found rank 7");
        }
    }
    bad = in;
    bad.shape[0] = ROWS + 1;
    WRONG(SC_BAD_SHAPE, "found (4, 3)");
    bad.shape[0] = ROWS;
    bad.shape[1] = (size_t)-1;
    WRONG(SC_BAD_SHAPE, "input 'x'");
    bad = (sc_array){0};
    WRONG(SC_BAD_SHAPE, "input 'x'");
    bad = in;
    bad.data = NULL;
    WRONG(SC_BAD_ARGUMENT, "input 'x' of a step has no memory");
    bad = in;
    worse[1].shape[1] = SMALL_UNITS - 1;
    WRONG(SC_BAD_SHAPE, "output 'h' of a step must have shape (3, 5), found (3, 4)");
    worse[1] = out[1];
    worse[0].data = NULL;
    WRONG(SC_BAD_ARGUMENT, "output 'y' of a step has no memory");
    worse[0].data = memory + ROWS * SMALL_IN - 1;
    WRONG(SC_BAD_SHAPE, "output 'y' overlaps input 'x'");
    worse[0].data = memory;
    WRONG(SC_BAD_SHAPE, "output 'y' overlaps input 'x'");
    worse[0].data = h + 1;
    WRONG(SC_BAD_SHAPE, "outputs 'y' and 'h' overlap");
#undef WRONG
    /* Each beside the other is all right, and nothing is left busy */
    OK(wrong_step(stream, pool, ids, &in, out, &error));
}

static void check_wrong_states(sc_stream *stream)
{
    float memory[ROWS * 2 * SMALL_IN] = {0};
    sc_array a = {memory, 2, {ROWS, SMALL_UNITS}};
    for (int set = 0; set < 2; set++) {
        sc_status (*const use)(sc_stream *, size_t, const sc_array *, sc_error *) =
            set ? sc_stream_set_state : sc_stream_get_state;
        REFUSED(SC_BAD_ARGUMENT, "there is none 3", use(stream, 3, &a, &error));
        REFUSED(SC_BAD_ARGUMENT, "there is none", use(stream, (size_t)-1, &a, &error));
        REFUSED(SC_BAD_ARGUMENT, "no memory", use(stream, 1, NULL, &error));
        REFUSED(SC_BAD_SHAPE, "state 'conv:frames' must have shape (3, 2, 3)", use(stream, 0, &a, &error));
        a.shape[0] = ROWS - 1;
        REFUSED(SC_BAD_SHAPE, "state 'lstm:c' must have shape (3, 5), found (2, 5)", use(stream, 2, &a, &error));
        a.shape[0] = ROWS;
        a.rank = SC_MAX_RANK + 1;
        REFUSED(SC_BAD_SHAPE, "state 'lstm:h'", use(stream, 1, &a, &error));
        a.rank = 2;
        a.data = NULL;
        REFUSED(SC_BAD_ARGUMENT, "no memory", use(stream, 1, &a, &error));
        a.data = memory;
    }
}

/* Whatever is refused leaves the state as it was. */
static void test_wrong_arrays(void)
{
    sc_plan *plan = make_plan(two_graph, 0, NULL);
    sc_stream *stream = make_stream(plan, ROWS), *other = make_stream(plan, ROWS);
    sc_pool *pool = make_pool(plan, ROWS);
    sc_stream_id ids[ROWS];
    const size_t bytes = sc_plan_saved_bytes(plan, ROWS), one = sc_plan_saved_bytes(plan, 1);
    const size_t row = one - sc_plan_saved_bytes(plan, 0);
    char *before = malloc(bytes), *after = malloc(bytes);
    CHECK(before != NULL && after != NULL, "%zu", bytes);
    for (size_t i = 0; i < ROWS; i++) {
        OK(sc_pool_open(pool, &ids[i], &error));
    }
    check_wrong_steps(stream, NULL, NULL);
    check_wrong_steps(NULL, pool, ids);
    /* each has taken one frame of zeros by now, as `other` does here */
    const float zeros[ROWS][SMALL_IN] = {{0}};
    float y[ROWS][SMALL_OUT], h[ROWS][SMALL_UNITS];
    const sc_array in = frame_in(zeros[0], ROWS), out[2] = {frame_out(y[0], ROWS), {h, 2, {ROWS, SMALL_UNITS}}};
    OK(sc_stream_step(other, &in, out, &error));
    check_wrong_states(stream);
    OK(sc_stream_save(stream, before, bytes, &error));
    OK(sc_stream_save(other, after, bytes, &error));
    CHECK(memcmp(before, after, bytes) == 0, "the state of the stream");
    for (size_t i = 0; i < ROWS; i++) {
        OK(sc_pool_save(pool, ids[i], after, one, &error));
        CHECK(memcmp(before + bytes - row, after + one - row, row) == 0, "the state of stream %zu", i);
    }
    for (size_t size = 0; size < bytes + 20; size++) {
        if (size != bytes) {
            REFUSED(SC_BAD_STATE, "bytes", sc_stream_save(stream, after, size, &error));
        }
    }
    REFUSED(SC_BAD_ARGUMENT, "no memory", sc_stream_save(stream, NULL, bytes, &error));
    REFUSED(SC_BAD_ARGUMENT, "no memory", sc_stream_load(stream, NULL, bytes, &error));
    free(before);
    free(after);
    sc_stream_free(stream);
    sc_stream_free(other);
    sc_pool_free(pool);
    sc_plan_free(plan);
}

static void test_ids(const sc_plan *plan)
{
    enum { CAPACITY = 3 };
    sc_pool *pool = make_pool(plan, CAPACITY);
    sc_stream_id ids[CAPACITY], extra = 77;
    const float x[CAPACITY + 1][SMALL_IN] = {{1, 2, 3}};
    float y[CAPACITY + 1][SMALL_OUT];
    char bytes[256];
    const sc_array none = {0};
#define STEP(chosen, count) sc_pool_step(pool, chosen, count, &(sc_array){(void *)x, 2, {count, SMALL_IN}}, \
                                         &(sc_array){y, 2, {count, SMALL_OUT}}, &error)
    REFUSED(SC_BAD_STREAM, "never opened", STEP((&(sc_stream_id){1}), 1));
    for (size_t i = 0; i < CAPACITY; i++) {
        OK(sc_pool_open(pool, &ids[i], &error));
        CHECK(ids[i] != 0 && sc_pool_count(pool) == i + 1, "%zu open", sc_pool_count(pool));
    }
    REFUSED(SC_FULL, "its capacity is 3", sc_pool_open(pool, &extra, &error));
    CHECK(extra == 77 && sc_pool_count(pool) == CAPACITY && sc_pool_capacity(pool) == CAPACITY, "still full");
    OK(STEP(ids, CAPACITY));
    const sc_stream_id wrong[] = {0, 1, ids[0] + CAPACITY, ids[0] ^ (uint64_t)1 << 32, ids[0] ^ (uint64_t)1 << 63,
                                  ids[0] & UINT32_MAX, UINT64_MAX, ids[0] - (ids[0] & UINT32_MAX)};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const sc_stream_id id = wrong[i];
        const sc_stream_id mixed[] = {ids[1], id, ids[2]};
        REFUSED(SC_BAD_STREAM, "closed, or never opened", STEP(mixed, 3));
        REFUSED(SC_BAD_STREAM, "never opened", sc_pool_close(pool, id, &error));
        REFUSED(SC_BAD_STREAM, "never opened", sc_pool_reset(pool, id, &error));
        REFUSED(SC_BAD_STREAM, "never opened", sc_pool_get_state(pool, id, 0, &none, &error));
        REFUSED(SC_BAD_STREAM, "never opened", sc_pool_set_state(pool, id, 0, &none, &error));
        REFUSED(SC_BAD_STREAM, "never opened", sc_pool_save(pool, id, bytes, sizeof bytes, &error));
        REFUSED(SC_BAD_STREAM, "never opened", sc_pool_load(pool, id, bytes, sizeof bytes, &error));
    }
    const sc_stream_id twice[] = {ids[0], ids[1], ids[0], ids[2]};
    REFUSED(SC_BUSY, "twice", STEP(twice, 3));
    REFUSED(SC_BUSY, "twice", STEP(twice, 4));
    OK(STEP(ids, CAPACITY)); /* nobody was left busy */
    OK(sc_pool_step(pool, NULL, 0, &(sc_array){y, 2, {0, SMALL_IN}}, &(sc_array){y, 2, {0, SMALL_OUT}}, &error));
    REFUSED(SC_BAD_SHAPE, "input 'x'", sc_pool_step(pool, NULL, 0, &none, &none, &error));
    /* A closed stream's id fits no later one in its place, however often it is opened. */
    const sc_stream_id closed = ids[1];
    for (int again = 0; again < 100; again++) {
        const sc_stream_id stale = ids[1];
        OK(sc_pool_close(pool, stale, &error));
        REFUSED(SC_BAD_STREAM, "closed", sc_pool_close(pool, stale, &error));
        REFUSED(SC_BAD_STREAM, "closed", STEP(ids, CAPACITY));
        OK(sc_pool_open(pool, &ids[1], &error));
        CHECK(ids[1] != stale && ids[1] != closed, "an id came back");
        REFUSED(SC_BAD_STREAM, "closed", STEP(&stale, 1));
    }
    OK(STEP(ids, CAPACITY));
#undef STEP
    sc_pool_free(pool);
}

/* What a stream and a pool say to such a state; theirs is as it was then. */
static void check_bad_state(sc_stream *stream, sc_pool *pool, sc_stream_id id, const char *bytes, size_t size,
                            const char *cause)
{
    float before[SMALL_UNITS], after[SMALL_UNITS];
    char *copy = exact_copy(bytes, size);
    const sc_array h = {before, 2, {1, SMALL_UNITS}}, h_after = {after, 2, {1, SMALL_UNITS}};
    OK(sc_stream_get_state(stream, 1, &h, &error));
    REFUSED(SC_BAD_STATE, cause, sc_stream_load(stream, copy, size, &error));
    REFUSED(SC_BAD_STATE, cause, sc_pool_load(pool, id, copy, size, &error));
    OK(sc_stream_get_state(stream, 1, &h_after, &error));
    CHECK(memcmp(before, after, sizeof before) == 0, "the stream's state has changed");
    OK(sc_pool_get_state(pool, id, 1, &h_after, &error));
    CHECK(memcmp(before, after, sizeof before) == 0, "the pool's state has changed");
    free(copy);
}

static void test_bad_states(const sc_plan *plan)
{
    sc_plan *others[] = {make_plan(two_graph, 0, NULL), make_plan(small_graph, 1, NULL)}; /* graph, weights */
    sc_stream *stream = make_stream(plan, 1);
    sc_pool *pool = make_pool(plan, 1);
    sc_stream_id id;
    char bytes[512] = {0};
    float y[ROWS][SMALL_OUT];
    const size_t size = sc_plan_saved_bytes(plan, 1);
    CHECK(size + 64 <= sizeof bytes && sc_plan_saved_bytes(plan, 2) <= sizeof bytes, "%zu", size);
    OK(sc_pool_open(pool, &id, &error));
    for (size_t t = 0; t < 3; t++) {
        step(stream, frame(0, t), y[0]);
        const sc_array in = frame_in(frame(0, t), 1), out = frame_out(y[0], 1);
        OK(sc_pool_step(pool, &id, 1, &in, &out, &error));
    }
    for (size_t k = 0; k < 2; k++) {
        sc_stream *other = make_stream(others[k], 1);
        OK(sc_stream_save(other, bytes, size, &error));
        check_bad_state(stream, pool, id, bytes, size, "another model");
        sc_stream_free(other);
        sc_plan_free(others[k]);
    }
    sc_stream *two = make_stream(plan, 2);
    OK(sc_stream_save(two, bytes, sc_plan_saved_bytes(plan, 2), &error));
    check_bad_state(stream, pool, id, bytes, sc_plan_saved_bytes(plan, 2), "has 2 rows, expected 1");
    sc_stream_free(two);
    sc_stream *saved = make_stream(plan, 1);
    step(saved, frame(1, 0), y[0]);
    OK(sc_stream_save(saved, bytes, size, &error));
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] = (char)(bytes[i] ^ 1 << bit);
            check_bad_state(stream, pool, id, bytes, size, "state");
            bytes[i] = (char)(bytes[i] ^ 1 << bit);
        }
        check_bad_state(stream, pool, id, bytes, i, "state");
    }
    check_bad_state(stream, pool, id, bytes, size + 1, "bytes, found");
    check_bad_state(stream, pool, id, bytes, size + 64, "bytes, found");
    OK(sc_stream_load(stream, bytes, size, &error)); /* the undamaged one */
    OK(sc_pool_load(pool, id, bytes, size, &error));
    sc_stream_free(saved);
    sc_stream_free(stream);
    sc_pool_free(pool);
}

/* ---- Several threads --------------------------------------------------------------------------------------------- */

#define TURNS 3000        /* at least, */
#define MOST_TURNS 300000 /* and on until the threads have got into each other's way */
#define THREADS 3

typedef struct shared {
    sc_stream *stream;
    sc_pool *pool;
    sc_stream_id ids[2];
    size_t number, steps, pool_steps; /* that were not refused */
} shared;

static atomic_size_t refused[2]; /* steps of the stream, of the pool */

static bool taken(sc_status status, size_t which)
{
    CHECK(status == SC_OK || status == SC_BUSY, "status %d", (int)status);
    refused[which] += status == SC_BUSY;
    return status == SC_OK;
}

/* Always the same frame, so that the state tells how many steps there were. Now and then a look at the state. */
static void *contend(void *context)
{
    shared *s = context;
    const float x[2][SMALL_IN] = {{0.5f, -1, 2}, {0.5f, -1, 2}};
    float y[2][SMALL_OUT], h[SMALL_UNITS];
    const sc_array in = frame_in(x[0], 1), out = frame_out(y[0], 1), in2 = frame_in(x[0], 2), out2 = frame_out(y[0], 2);
    const sc_array state = {h, 2, {1, SMALL_UNITS}};
    for (size_t turn = 0; turn < TURNS || (turn < MOST_TURNS && refused[0] * refused[1] == 0); turn++) {
        s->steps += taken(sc_stream_step(s->stream, &in, &out, NULL), 0);
        s->pool_steps += taken(sc_pool_step(s->pool, s->ids, 2, &in2, &out2, NULL), 1);
        if (turn % 16 == s->number) {
            sc_stream_id mine;
            taken(sc_stream_get_state(s->stream, 1, &state, NULL), 0);
            taken(sc_pool_get_state(s->pool, s->ids[1], 1, &state, NULL), 1);
            OK(sc_pool_open(s->pool, &mine, &error));
            OK(sc_pool_step(s->pool, &mine, 1, &in, &out, &error));
            OK(sc_pool_close(s->pool, mine, &error));
        }
    }
    return NULL;
}

static void test_threads(const sc_plan *plan)
{
    shared all[THREADS] = {{.stream = make_stream(plan, 1), .pool = make_pool(plan, 2 + THREADS)}};
    pthread_t threads[THREADS];
    size_t steps = 0, pool_steps = 0;
    OK(sc_pool_open(all[0].pool, &all[0].ids[0], &error));
    OK(sc_pool_open(all[0].pool, &all[0].ids[1], &error));
    for (size_t i = 0; i < THREADS; i++) {
        all[i] = all[0];
        all[i].number = i;
        all[i].steps = all[i].pool_steps = 0;
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, contend, &all[i]) == 0, "pthread_create");
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        steps += all[i].steps;
        pool_steps += all[i].pool_steps;
    }
    CHECK(steps >= TURNS / 2 && pool_steps >= TURNS / 2, "%zu, %zu", steps, pool_steps);
    sc_stream *alone = make_stream(plan, 1);
    const float x[] = {0.5f, -1, 2};
    float y[SMALL_OUT], last[3][SMALL_OUT];
    for (size_t k = 0; k < 3; k++) {
        OK(sc_stream_reset(alone, &error));
        for (size_t t = 0; t < (k == 0 ? steps : pool_steps) + 1; t++) {
            step(alone, x, y);
        }
        const sc_array in = frame_in(x, 1), out = frame_out(last[k], 1);
        if (k == 0) {
            OK(sc_stream_step(all[0].stream, &in, &out, &error));
        } else {
            OK(sc_pool_step(all[0].pool, &all[0].ids[k - 1], 1, &in, &out, &error));
        }
        CHECK(memcmp(y, last[k], sizeof y) == 0, "%zu of three after %zu and %zu steps", k, steps, pool_steps);
    }
    CHECK(sc_pool_count(all[0].pool) == 2, "%zu open", sc_pool_count(all[0].pool));
    sc_stream_free(alone);
    sc_stream_free(all[0].stream);
    sc_pool_free(all[0].pool);
}

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: test_streams a-file-to-write");
    sc_plan *plan = make_plan(small_graph, 0, NULL);
    for (size_t i = 0; i < sc_isa_count(); i++) {
        test_steps_are_a_run(sc_isa_name(i));
        test_pool_is_solo(sc_isa_name(i));
        test_save_and_load(arguments[1], sc_isa_name(i));
    }
    test_infos(plan);
    test_null_handles(plan);
    test_sizes_of_streams_and_pools(plan);
    test_wrong_arrays();
    test_ids(plan);
    test_bad_states(plan);
    test_threads(plan);
    sc_plan_free(plan);
    printf("test_streams: all passed\n");
    return 0;
}
