/* The C API of plans: a model file opened and run from C, refusals that leave nothing behind, and one plan run by several
 * threads at once. What the numbers mean is tested from Python; here a SimpleRNN that adds up its input is enough. */
#include "check.h"

#include <math.h>
#include <pthread.h>

#define GRAPH(attributes, outputs) \
    "{\"format\": \"seqcore\", \"version\": 1," \
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 2]}," \
    "             {\"name\": \"x:lengths\", \"kind\": \"lengths\", \"of\": \"x\"}," \
    "             {\"name\": \"rnn:h0\", \"kind\": \"state\", \"shape\": [1]}]," \
    "\"nodes\": [{\"op\": \"simple_rnn\", \"layer\": \"rnn\", \"inputs\": [\"x\", \"rnn:h0\"], \"lengths\": \"x:lengths\"," \
    " \"outputs\": [\"rnn\"], \"weights\": {\"W\": \"W\", \"U\": \"U\", \"b\": \"b\"}," \
    " \"attrs\": {" attributes "\"reverse\": false, \"realign\": false, \"return_sequences\": true}}]," \
    "\"outputs\": [" outputs "]}"
#define GOOD_ATTRIBUTES "\"units\": 1, \"activation\": [\"linear\", 0, 0],"
#define GOOD_OUTPUTS "{\"name\": \"rnn\", \"value\": \"rnn\", \"lengths\": \"x:lengths\"}"

static const float one_one[] = {1, 1}, one[] = {1}, zero[] = {0};
static const sc_tensor tensors[] = {
    {.name = "W", .rank = 2, .shape = {2, 1}, .data = one_one},
    {.name = "U", .rank = 2, .shape = {1, 1}, .data = one},
    {.name = "b", .rank = 1, .shape = {1}, .data = zero},
};

static void refuse(const char *graph, size_t count, sc_status expected, const char *cause)
{
    sc_plan *plan = NULL;
    sc_error error = {.status = SC_OK};
    const sc_status status = sc_plan_create(graph, strlen(graph), tensors, count, NULL, &plan, &error);
    CHECK(status == expected && plan == NULL, "status %d, message %s", (int)status, error.message);
    check_message(&error, cause);
}

static sc_plan *good_plan(void)
{
    static const char graph[] = GRAPH(GOOD_ATTRIBUTES, GOOD_OUTPUTS);
    sc_plan *plan = NULL;
    sc_error error;
    CHECK(sc_plan_create(graph, sizeof graph - 1, tensors, 3, NULL, &plan, &error) == SC_OK, "%s", error.message);
    return plan;
}

static void test_run(const sc_plan *plan)
{
    float x[2][3][2] = {{{1, 2}, {3, 4}, {5, 6}}, {{1, 0}, {0, 1}, {9, 9}}}, h0[2] = {100, 0}, y[2][3];
    int64_t lengths[] = {3, 2};
    const float expected[2][3] = {{103, 110, 121}, {1, 2, 0}};
    const sc_array in[] = {{.data = x, .rank = 3, .shape = {2, 3, 2}},
                           {.data = lengths, .rank = 1, .shape = {2}},
                           {.data = h0, .rank = 2, .shape = {2, 1}}};
    sc_array out = {0};
    sc_error error;
    CHECK(sc_plan_inputs(plan) == 3 && sc_plan_outputs(plan) == 1, "inputs and outputs");
    CHECK(sc_plan_output_shapes(plan, in, &out, &error) == SC_OK, "%s", error.message);
    CHECK(out.rank == 3 && out.shape[0] == 2 && out.shape[1] == 3 && out.shape[2] == 1, "shape");
    out.data = y;
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_OK, "%s", error.message);
    CHECK(memcmp(y, expected, sizeof y) == 0, "%g %g %g %g %g %g", (double)y[0][0], (double)y[0][1], (double)y[0][2],
          (double)y[1][0], (double)y[1][1], (double)y[1][2]);
}

static void test_bad_calls(const sc_plan *plan)
{
    float x[12] = {0}, y[6];
    int64_t lengths[] = {3, 4};
    sc_array in[] = {{.data = x, .rank = 3, .shape = {2, 3, 2}}, {.data = NULL}, {.data = NULL}};
    sc_array out = {.data = y, .rank = 3, .shape = {2, 3, 1}};
    sc_error error;
    CHECK(sc_plan_run(NULL, in, &out, &error) == SC_BAD_ARGUMENT, "NULL plan");
    CHECK(sc_plan_run(plan, NULL, &out, &error) == SC_BAD_ARGUMENT, "NULL inputs");
    CHECK(sc_plan_run(plan, in, &out, NULL) == SC_OK, "no error is asked for");
    in[0].data = NULL;
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "NULL data");
    check_message(&error, "input 'x' is missing");
    in[0].data = x;
    in[1] = (sc_array){.data = lengths, .rank = 1, .shape = {2}};
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "a length past the end");
    check_message(&error, "row 1 has length 4, expected 0 to 3");
    in[1].data = NULL;
    out.shape[1] = 4;
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "output of another shape");
    check_message(&error, "output 'rnn' must have shape (2, 3, 1), found (2, 4, 1)");
    out.rank = SC_MAX_RANK + 1; /* there is no such axis to read */
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "output of no rank");
    check_message(&error, "found rank 7");
    out.rank = 3;
    out.shape[1] = 3;
    out.data = x + 6;
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "overlap");
    check_message(&error, "overlaps input 'x'");
    out.data = y;
    in[0].shape[2] = 3;
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "features");
    check_message(&error, "size 2 in axis 2, found 3");
    /* A shape whose bytes do not fit in an address space, hidden behind a size of 0 */
    in[0] = (sc_array){.data = x, .rank = 3, .shape = {(size_t)1 << 40, (size_t)1 << 40, 2}};
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "huge");
    in[0].shape[0] = 0;
    out.shape[0] = 0;
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_BAD_SHAPE, "huge and empty");
    in[0].shape[1] = out.shape[1] = 7;
    CHECK(sc_plan_run(plan, in, &out, &error) == SC_OK, "empty: %s", error.message);
}

static void test_bad_graphs(void)
{
    refuse("{}", 3, SC_BAD_GRAPH, "not of format seqcore");
    refuse("[1, 2", 3, SC_BAD_GRAPH, "the graph");
    refuse(GRAPH("\"units\": 0, \"activation\": [\"linear\", 0, 0],", GOOD_OUTPUTS), 3, SC_BAD_GRAPH, "'units'");
    refuse(GRAPH("\"units\": 1e30, \"activation\": [\"linear\", 0, 0],", GOOD_OUTPUTS), 3, SC_BAD_GRAPH, "'units'");
    refuse(GRAPH("\"units\": 1,", GOOD_OUTPUTS), 3, SC_BAD_GRAPH, "'activation'");
    refuse(GRAPH("\"units\": 1, \"activation\": [\"sine\", 0, 0],", GOOD_OUTPUTS), 3, SC_UNSUPPORTED, "'sine'");
    refuse(GRAPH("\"units\": 7, \"activation\": [\"linear\", 0, 0],", GOOD_OUTPUTS), 3, SC_BAD_SHAPE, "(batch, 7)");
    refuse(GRAPH(GOOD_ATTRIBUTES, GOOD_OUTPUTS), 2, SC_BAD_WEIGHTS, "weight 'b' is missing");
    refuse(GRAPH(GOOD_ATTRIBUTES, "{\"name\": \"y\", \"value\": \"y\"}"), 3, SC_BAD_GRAPH, "'y'");
    refuse(GRAPH(GOOD_ATTRIBUTES, "{\"name\": \"y\", \"value\": \"rnn:h0\"}"), 3, SC_BAD_GRAPH, "'rnn:h0'");
    static const float five[5] = {1};
    const sc_tensor wrong[] = {{.name = "W", .rank = 2, .shape = {5, 1}, .data = five}, tensors[1], tensors[2]};
    sc_plan *none = NULL;
    sc_error error;
    const char *good = GRAPH(GOOD_ATTRIBUTES, GOOD_OUTPUTS);
    CHECK(sc_plan_create(good, strlen(good), wrong, 3, NULL, &none, &error) == SC_BAD_WEIGHTS, "W of another shape");
    check_message(&error, "weight 'W' must be float32 of shape (2, 1), found (5, 1)");
    refuse(GRAPH(GOOD_ATTRIBUTES, "{\"value\": \"rnn\"}"), 3, SC_BAD_GRAPH, "an output of the graph has no name");
    /* Every byte of a good graph lost or changed: refused or still a plan, never a crash */
    static const char graph[] = GRAPH(GOOD_ATTRIBUTES, GOOD_OUTPUTS);
    for (int round = 0; round < 20000; round++) {
        char text[sizeof graph + 64];
        memcpy(text, graph, sizeof graph);
        const size_t bytes = damage(text, sizeof graph - 1);
        char *copy = exact_copy(text, bytes);
        sc_plan *plan = NULL;
        if (sc_plan_create(copy, bytes, tensors, 3, NULL, &plan, NULL) == SC_OK) {
            sc_plan_free(plan);
        }
        free(copy);
    }
}

/* x (T, B, 2) of rows that end, and ids (T, B): the larger feature's number, the ids backwards, and a table's rows for
 * these. */
static const char turned_graph[] =
    "{\"format\": \"seqcore\", \"version\": 1, \"inputs\": ["
    "{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 2], \"batch_axis\": 1},"
    "{\"name\": \"n\", \"kind\": \"lengths\", \"of\": \"x\"},"
    "{\"name\": \"ids\", \"kind\": \"data\", \"dtype\": \"int64\", \"shape\": [null], \"batch_axis\": 1}], \"nodes\": ["
    "{\"op\": \"batch_first\", \"layer\": \"a\", \"inputs\": [\"x\"], \"lengths\": \"n\", \"outputs\": [\"a\"]},"
    "{\"op\": \"argmax\", \"layer\": \"b\", \"inputs\": [\"a\"], \"lengths\": \"n\", \"outputs\": [\"b\"],"
    " \"attrs\": {\"axis\": 2, \"keepdims\": false, \"function\": \"max\"}},"
    "{\"op\": \"batch_second\", \"layer\": \"c\", \"inputs\": [\"b\"], \"lengths\": \"n\", \"outputs\": [\"c\"]},"
    "{\"op\": \"batch_first\", \"layer\": \"d\", \"inputs\": [\"ids\"], \"outputs\": [\"d\"]},"
    "{\"op\": \"slice\", \"layer\": \"e\", \"inputs\": [\"d\"], \"outputs\": [\"e\"],"
    " \"attrs\": {\"axis\": 1, \"start\": null, \"stop\": null, \"step\": -1}},"
    "{\"op\": \"embedding\", \"layer\": \"f\", \"inputs\": [\"e\"], \"outputs\": [\"f\"], \"weights\": {\"W\": \"W\"},"
    " \"attrs\": {\"rows\": 2, \"units\": 1}}], \"outputs\": ["
    "{\"name\": \"c\", \"value\": \"c\", \"lengths\": \"n\"}, {\"name\": \"e\", \"value\": \"e\"},"
    "{\"name\": \"f\", \"value\": \"f\"}]}";

static void test_batches_in_axis_1(void)
{
    const float x[3][2][2] = {{{1, 2}, {2, 1}}, {{3, 3}, {0, 1}}, {{-2, -1}, {0, 9}}};
    const int64_t n[] = {3, 2}, ids[3][2] = {{0, 1}, {1, 1}, {0, 0}}, expected[3][2] = {{1, 0}, {0, 1}, {1, 0}};
    const int64_t backwards[2][3] = {{0, 1, 0}, {0, 1, 1}};
    sc_plan *plan = NULL;
    sc_error error;
    sc_info info;
    const sc_status made = sc_plan_create(turned_graph, sizeof turned_graph - 1, tensors, 3, NULL, &plan, &error);
    CHECK(made == SC_OK, "%s", error.message);
    CHECK(sc_plan_output_dtype(plan, 0) == SC_I64 && sc_plan_output_dtype(plan, 1) == SC_I64, "of int64");
    CHECK(sc_plan_output_dtype(plan, 2) == SC_F32 && sc_plan_output_dtype(plan, 3) == SC_F32, "of float32, or none");
    CHECK(sc_plan_output_dtype(NULL, 0) == SC_F32, "no plan");
    CHECK(sc_plan_output_info(plan, 0, &info, &error) == SC_OK, "%s", error.message);
    CHECK(info.dtype == SC_I64 && info.rank == 2 && info.shape[0] == SC_UNKNOWN && info.shape[1] == SC_UNKNOWN, "time and batch");
    CHECK(sc_plan_input_info(plan, 0, &info, &error) == SC_OK && info.rank == 3 && info.shape[1] == SC_UNKNOWN, "x");
    char *memory[] = {exact_copy(x, sizeof x), exact_copy(n, sizeof n), exact_copy(ids, sizeof ids),
                      exact_copy(ids, sizeof ids), exact_copy(ids, sizeof ids), exact_copy(x, 6 * sizeof(float))};
    const sc_array in[] = {{memory[0], 3, {3, 2, 2}}, {memory[1], 1, {2}}, {memory[2], 2, {3, 2}}};
    const sc_array out[] = {{memory[3], 2, {3, 2}}, {memory[4], 2, {2, 3}}, {memory[5], 3, {2, 3, 1}}};
    CHECK(sc_plan_run(plan, in, out, &error) == SC_OK, "%s", error.message);
    CHECK(memcmp(memory[3], expected, sizeof expected) == 0, "argmax");
    CHECK(memcmp(memory[4], backwards, sizeof backwards) == 0, "ids");
    /* 6 numbers are 12 times 4 bytes */
    sc_array overlapping[] = {out[0], {memory[3] + 5 * sizeof(int64_t), 2, {2, 3}}, out[2]};
    CHECK(sc_plan_run(plan, in, overlapping, &error) == SC_BAD_SHAPE, "overlap");
    check_message(&error, "outputs 'c' and 'e' overlap");
    ((int64_t *)(void *)memory[2])[3] = 2;
    CHECK(sc_plan_run(plan, in, out, &error) == SC_BAD_INDEX, "an id");
    check_message(&error, "layer 'f' (embedding): id 2 in row 1, expected 0 to 1");
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
        free(memory[i]);
    }
    sc_plan_free(plan);
}

static void *call_often(void *plan)
{
    for (int i = 0; i < 2000; i++) {
        test_run(plan);
    }
    return NULL;
}

static void test_threads(sc_plan *plan)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, call_often, plan) == 0, "pthread_create");
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void test_file(const char *path)
{
    static const char graph[] = GRAPH(GOOD_ATTRIBUTES, GOOD_OUTPUTS);
    sc_plan *plan = NULL;
    sc_error error;
    CHECK(sc_file_write(path, graph, sizeof graph - 1, tensors, 3, &error) == SC_OK, "%s", error.message);
    CHECK(sc_plan_open(path, NULL, &plan, &error) == SC_OK, "%s", error.message);
    test_run(plan);
    sc_plan_free(plan);
    CHECK(sc_plan_open("no such file", NULL, &plan, &error) == SC_BAD_FILE, "missing file");
    check_message(&error, "no such file");
}

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: test_plan a-file-to-write");
    sc_plan *plan = good_plan();
    test_run(plan);
    test_bad_calls(plan);
    test_threads(plan);
    sc_plan_free(plan);
    sc_plan_free(NULL);
    test_bad_graphs();
    test_batches_in_axis_1();
    test_file(arguments[1]);
    printf("test_plan: all passed\n");
    return 0;
}
