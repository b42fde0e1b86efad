/* Times single steps of a model's stream from C: one row, one thread. streams/native.py compiles and runs it.
 *
 *   step FILE STEPS TIMES
 *
 * prints the mean ns of STEPS steps in a loop that looks at no clock, and the median ns between two looks at the clock
 * with nothing between; writes the ns of STEPS single steps, the clock in them, to the file TIMES as uint32. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "seqcore/seqcore.h"

#define FRAMES 64   /* different ones, over and over */
#define WARM 20000  /* steps before the first that counts */
#define LOOKS 100001

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void check(sc_status status, const sc_error *error)
{
    if (status != SC_OK) {
        fprintf(stderr, "step: %s\n", error->message);
        exit(1);
    }
}

static void *memory(size_t count, size_t size)
{
    void *place = calloc(count, size);
    if (place == NULL) {
        fprintf(stderr, "step: no memory\n");
        exit(1);
    }
    return place;
}

/* The numbers between -1 and 1 of a generator of Lehmer's. */
static float next_number(uint64_t *seed)
{
    *seed = *seed * 48271 % 2147483647;
    return (float)*seed / 1073741824.0f - 1.0f;
}

/* One row of the step's only input or output, in memory of its own. */
static sc_array row_of(sc_info info, size_t rows)
{
    sc_array array = {.rank = 2, .shape = {1, info.shape[1]}};
    array.data = memory(rows * info.shape[1], sizeof(float));
    return array;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t clock_cost(void)
{
    static int64_t looks[LOOKS];
    for (size_t i = 0; i < LOOKS; i++) {
        const int64_t start = now();
        looks[i] = now() - start;
    }
    qsort(looks, LOOKS, sizeof looks[0], by_value);
    return looks[LOOKS / 2];
}

int main(int argc, char **argv)
{
    const size_t steps = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    if (steps == 0) {
        fprintf(stderr, "usage: step FILE STEPS TIMES\n");
        return 2;
    }
    const sc_options options = {.threads = 1};
    sc_error error;
    sc_plan *plan;
    sc_stream *stream;
    sc_info in, out;
    check(sc_plan_open(argv[1], &options, &plan, &error), &error);
    check(sc_plan_check_step(plan, &error), &error);
    check(sc_plan_step_input_info(plan, 0, &in, &error), &error);
    check(sc_plan_step_output_info(plan, 0, &out, &error), &error);
    check(sc_stream_create(plan, 1, &stream, &error), &error);

    sc_array frames[FRAMES];
    frames[0] = row_of(in, FRAMES);
    float *x = frames[0].data;
    uint64_t seed = 1;
    for (size_t i = 0; i < FRAMES * in.shape[1]; i++) {
        x[i] = next_number(&seed);
    }
    for (size_t i = 1; i < FRAMES; i++) {
        frames[i] = frames[0];
        frames[i].data = x + i * in.shape[1];
    }
    const sc_array result = row_of(out, 1);
    uint32_t *times = memory(steps, sizeof *times);
    for (size_t i = 0; i < steps; i++) {
        times[i] = 1; /* its pages are there before they are needed */
    }

    for (size_t i = 0; i < WARM; i++) {
        check(sc_stream_step(stream, &frames[i % FRAMES], &result, &error), &error);
    }
    const int64_t begin = now();
    for (size_t i = 0; i < steps; i++) {
        check(sc_stream_step(stream, &frames[i % FRAMES], &result, &error), &error);
    }
    const double mean = (double)(now() - begin) / (double)steps;
    for (size_t i = 0; i < steps; i++) {
        const int64_t start = now();
        const sc_status status = sc_stream_step(stream, &frames[i % FRAMES], &result, &error);
        times[i] = (uint32_t)(now() - start);
        check(status, &error);
    }
    printf("%.3f %lld\n", mean, (long long)clock_cost());

    FILE *file = fopen(argv[3], "wb");
    if (file == NULL || fwrite(times, sizeof *times, steps, file) != steps || fclose(file) != 0) {
        fprintf(stderr, "step: cannot write %s\n", argv[3]);
        return 1;
    }
    sc_stream_free(stream);
    sc_plan_free(plan);
    free(times);
    free(result.data);
    free(x);
    return 0;
}
