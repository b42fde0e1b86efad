/* What a call may cost besides arithmetic: no allocation and no parallel region per time step, and none at all for memory
 * in a call whose shapes were seen before. The linker sends the allocator and the OpenMP runtime through the counters here
 * (-Wl,--wrap=malloc and so on: tests/c_programs.py). */
#include "check.h"

static size_t allocations, regions;

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
void __real_GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void __wrap_GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);

void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    allocations++;
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    allocations++;
    return __real_realloc(memory, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    allocations++;
    return __real_aligned_alloc(alignment, bytes);
}

void __wrap_GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags)
{
    regions++;
    __real_GOMP_parallel(work, data, threads, flags);
}

#define I 24
#define H 48
#define B 8

/* Two LSTMs and a reset-before GRU on top of each other: fused, hoisted and generic paths. */
static const char graph[] =
    "{\"format\": \"seqcore\", \"version\": 1,"
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 24]}],"
    "\"nodes\": ["
    "{\"op\": \"lstm\", \"layer\": \"a\", \"inputs\": [\"x\"], \"outputs\": [\"a\"],"
    " \"weights\": {\"W\": \"W\", \"U\": \"U\", \"b\": \"b\"},"
    " \"attrs\": {\"units\": 48, \"activation\": [\"tanh\", 0, 0], \"recurrent_activation\": [\"sigmoid\", 0, 0],"
    " \"reverse\": false, \"realign\": false, \"return_sequences\": true}},"
    "{\"op\": \"lstm\", \"layer\": \"c\", \"inputs\": [\"a\"], \"outputs\": [\"c\"],"
    " \"weights\": {\"W\": \"U\", \"U\": \"U\", \"b\": \"b\"},"
    " \"attrs\": {\"units\": 48, \"activation\": [\"tanh\", 0, 0], \"recurrent_activation\": [\"hard_sigmoid\", 0.2, 0.5],"
    " \"reverse\": true, \"realign\": true, \"return_sequences\": true}},"
    "{\"op\": \"gru\", \"layer\": \"d\", \"inputs\": [\"c\"], \"outputs\": [\"d\"],"
    " \"weights\": {\"W\": \"V\", \"U\": \"V\", \"b\": \"e\"},"
    " \"attrs\": {\"units\": 48, \"activation\": [\"tanh\", 0, 0], \"recurrent_activation\": [\"sigmoid\", 0, 0],"
    " \"reset_after\": false, \"reverse\": false, \"realign\": false, \"return_sequences\": true}}],"
    "\"outputs\": [{\"name\": \"d\", \"value\": \"d\"}]}";

static size_t run(const sc_plan *plan, size_t rows, size_t frames, size_t *regions_used)
{
    static float x[B * 1000 * I], y[B * 1000 * H];
    const sc_array in = {.data = x, .rank = 3, .shape = {rows, frames, I}};
    const sc_array out = {.data = y, .rank = 3, .shape = {rows, frames, H}};
    sc_error error;
    const size_t before = allocations, regions_before = regions;
    CHECK(sc_plan_run(plan, &in, &out, &error) == SC_OK, "%s", error.message);
    *regions_used = regions - regions_before;
    return allocations - before;
}

int main(void)
{
    static float weights[4 * H * H];
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        weights[i] = (float)(i % 251) / 2510.0f - 0.05f;
    }
    const sc_tensor tensors[] = {
        {.name = "W", .rank = 2, .shape = {I, 4 * H}, .data = weights},
        {.name = "U", .rank = 2, .shape = {H, 4 * H}, .data = weights},
        {.name = "V", .rank = 2, .shape = {H, 3 * H}, .data = weights},
        {.name = "b", .rank = 1, .shape = {4 * H}, .data = weights},
        {.name = "e", .rank = 1, .shape = {3 * H}, .data = weights},
    };
    static const sc_options ways[] = {{.threads = 1}, {.threads = 2}, {.threads = 2, .team = 2}};
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        const sc_options options = ways[way];
        sc_plan *plan = NULL;
        sc_error error;
        CHECK(sc_plan_create(graph, sizeof graph - 1, tensors, 5, &options, &plan, &error) == SC_OK, "%s", error.message);
        for (size_t rows = 1; rows <= B; rows += B - 1) {
            size_t short_regions = 0, long_regions = 0, none = 0;
            run(plan, rows, 10, &none); /* wakes the team */
            const size_t first = run(plan, rows, 20, &short_regions);
            const size_t longer = run(plan, rows, 1000, &long_regions);
            CHECK(longer <= first + 1, "%zu allocations for 20 frames, %zu for 1000", first, longer);
            CHECK(long_regions <= 1, "%zu parallel regions for 1000 frames", long_regions);
            CHECK(run(plan, rows, 1000, &long_regions) == 0, "a warm call allocates");
            CHECK(long_regions == (size_t)(sc_plan_last_threads(plan) > 1), "%zu regions", long_regions);
            if (options.team == 2 || rows > 1) { /* whether one row takes two threads is the schedule's to say */
                CHECK(long_regions == (options.threads == 2) || !sc_cpu_info()->openmp, "%zu regions", long_regions);
            }
        }
        sc_plan_free(plan);
    }
    CHECK(allocations > 0, "the counters are not linked in");
    printf("test_counts: all passed, %zu regions seen\n", regions);
    return 0;
}
