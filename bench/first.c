/* Opens a model file and makes one prediction: what a program pays before its first result. streams/cold_start.py
 * compiles it, runs it and knows what it measures.
 *
 *   first FILE IN_PLACE TIME FEATURES UNITS
 *
 * IN_PLACE 1 maps the packed weights of the file. Prints the monotonic clock's ns at the prediction, and then what the
 * system says about the process, where it does. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "seqcore/seqcore.h"

static void print_status(void)
{
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        fputs(line, stdout);
    }
    if (file != NULL) {
        fclose(file);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: first FILE IN_PLACE TIME FEATURES UNITS\n");
        return 2;
    }
    const sc_options options = {.threads = 1, .in_place = argv[2][0] == '1'};
    const size_t time = strtoul(argv[3], NULL, 10), features = strtoul(argv[4], NULL, 10);
    const size_t units = strtoul(argv[5], NULL, 10);
    sc_error error;
    sc_plan *plan;
    if (sc_plan_open(argv[1], &options, &plan, &error) != SC_OK) {
        fprintf(stderr, "first: %s\n", error.message);
        return 1;
    }
    /* lengths and initial states, which follow x, are left out */
    sc_array *inputs = calloc(sc_plan_inputs(plan), sizeof *inputs);
    float *x = calloc(time * features, sizeof *x), *y = calloc(time * units, sizeof *y);
    if (inputs == NULL || x == NULL || y == NULL) {
        fprintf(stderr, "first: no memory\n");
        return 1;
    }
    inputs[0] = (sc_array){.data = x, .rank = 3, .shape = {1, time, features}};
    const sc_array output = {.data = y, .rank = 3, .shape = {1, time, units}};
    if (sc_plan_run(plan, inputs, &output, &error) != SC_OK) {
        fprintf(stderr, "first: %s\n", error.message);
        return 1;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    print_status();
    sc_plan_free(plan);
    free(inputs);
    free(x);
    free(y);
    return 0;
}
