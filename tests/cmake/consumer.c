/* A user's program, in C and in C++ alike: writes a model file, opens it, runs it on two threads, checks the numbers and prints
 * what the library is. It sees the installed header only. */
#include <seqcore/seqcore.h>

#include <stdio.h>
#include <string.h>

/* y[t] = y[t-1] + x[t][0] + x[t][1], from y[-1] = h0 */
static const char graph[] =
    "{\"format\": \"seqcore\", \"version\": 1,"
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 2]},"
    "             {\"name\": \"rnn:h0\", \"kind\": \"state\", \"shape\": [1]}],"
    "\"nodes\": [{\"op\": \"simple_rnn\", \"layer\": \"rnn\", \"inputs\": [\"x\", \"rnn:h0\"], \"outputs\": [\"rnn\"],"
    " \"weights\": {\"W\": \"W\", \"U\": \"U\", \"b\": \"b\"}, \"attrs\": {\"units\": 1,"
    " \"activation\": [\"linear\", 0, 0], \"reverse\": false, \"realign\": false, \"return_sequences\": true}}],"
    "\"outputs\": [{\"name\": \"rnn\", \"value\": \"rnn\"}]}";

static int fail(const char *what, const sc_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 1;
}

int main(int count, char **arguments)
{
    static const float one_one[] = {1, 1}, one[] = {1}, zero[] = {0};
    const sc_tensor tensors[] = {{"W", SC_F32, 2, {2, 1}, one_one}, {"U", SC_F32, 2, {1, 1}, one}, {"b", SC_F32, 1, {1}, zero}};
    float x[2][3][2] = {{{1, 2}, {3, 4}, {5, 6}}, {{1, 0}, {0, 1}, {9, 9}}}, h0[2] = {100, 0}, y[2][3];
    const float expected[2][3] = {{103, 110, 121}, {1, 2, 20}};
    const sc_array in[] = {{x, 3, {2, 3, 2}}, {h0, 2, {2, 1}}}, out = {y, 3, {2, 3, 1}};
    sc_options options;
    sc_plan *plan = NULL;
    sc_error error;

    if (count != 2) {
        fprintf(stderr, "usage: consumer FILE\n");
        return 2;
    }
    memset(&options, 0, sizeof options);
    options.threads = 2;
    options.team = 1; /* both threads, however little there is to do */
    if (sc_file_write(arguments[1], graph, sizeof graph - 1, tensors, 3, &error) != SC_OK) {
        return fail("sc_file_write", &error);
    }
    if (sc_plan_open(arguments[1], &options, &plan, &error) != SC_OK) {
        return fail("sc_plan_open", &error);
    }
    if (sc_plan_run(plan, in, &out, &error) != SC_OK) {
        return fail("sc_plan_run", &error);
    }
    sc_plan_free(plan);
    if (memcmp(y, expected, sizeof y) != 0) {
        fprintf(stderr, "found %g %g %g %g %g %g\n", y[0][0], y[0][1], y[0][2], y[1][0], y[1][1], y[1][2]);
        return 1;
    }
    printf("version %d.%d.%d openmp %d isas", SC_VERSION_MAJOR, SC_VERSION_MINOR, SC_VERSION_PATCH, sc_cpu_info()->openmp);
    for (size_t i = 0; i < sc_isa_count(); i++) {
        printf(" %s", sc_isa_name(i));
    }
    printf("\n");
    return 0;
}
