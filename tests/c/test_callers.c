/* Many threads of a host call one plan at once: together their teams stay within sc_get_num_threads(), and each result is that
 * of a call alone. The linker sends GOMP_parallel through the sum here (-Wl,--wrap). */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

#define CALLERS 6
#define THREADS 4
#define CALLS 60
#define UNITS 128
#define B 8
#define T 12

static atomic_size_t now, most, regions;

void __real_GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);
void __wrap_GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);

void __wrap_GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags)
{
    const size_t sum = atomic_fetch_add(&now, threads) + threads;
    size_t before = atomic_load(&most);
    while (sum > before && !atomic_compare_exchange_weak(&most, &before, sum)) {
    }
    atomic_fetch_add(&regions, 1);
    __real_GOMP_parallel(work, data, threads, flags);
    atomic_fetch_sub(&now, threads);
}

static const char graph[] =
    "{\"format\": \"seqcore\", \"version\": 1,"
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 128]}],"
    "\"nodes\": [{\"op\": \"lstm\", \"layer\": \"a\", \"inputs\": [\"x\"], \"outputs\": [\"a\"],"
    " \"weights\": {\"W\": \"W\", \"U\": \"W\", \"b\": \"b\"},"
    " \"attrs\": {\"units\": 128, \"activation\": [\"tanh\", 0, 0], \"recurrent_activation\": [\"sigmoid\", 0, 0],"
    " \"reverse\": false, \"realign\": false, \"return_sequences\": true}}],"
    "\"outputs\": [{\"name\": \"a\", \"value\": \"a\"}]}";

static float x[B * T * UNITS], expected[B * T * UNITS];
static pthread_barrier_t start;

static void run(const sc_plan *plan, float *y)
{
    const sc_array in = {.data = x, .rank = 3, .shape = {B, T, UNITS}}, out = {.data = y, .rank = 3, .shape = {B, T, UNITS}};
    sc_error error;
    CHECK(sc_plan_run(plan, &in, &out, &error) == SC_OK, "%s", error.message);
}

static void *call_often(void *plan)
{
    float *y = malloc(sizeof expected);
    CHECK(y != NULL, "%zu", sizeof expected);
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < CALLS; i++) {
        run(plan, y);
        CHECK(memcmp(y, expected, sizeof expected) == 0, "call %zu", i);
    }
    free(y);
    return NULL;
}

int main(void)
{
    static float weights[UNITS * 4 * UNITS];
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        weights[i] = (float)(i % 251) / 2510.0f - 0.05f;
    }
    for (size_t i = 0; i < B * T * UNITS; i++) {
        x[i] = (float)(i % 101) / 101.0f;
    }
    const sc_tensor tensors[] = {{.name = "W", .rank = 2, .shape = {UNITS, 4 * UNITS}, .data = weights},
                                 {.name = "b", .rank = 1, .shape = {4 * UNITS}, .data = weights}};
    sc_plan *plan = NULL;
    sc_error error;
    CHECK(sc_set_num_threads(THREADS, &error) == SC_OK, "%s", error.message);
    CHECK(sc_plan_create(graph, sizeof graph - 1, tensors, 2, NULL, &plan, &error) == SC_OK, "%s", error.message);
    run(plan, expected);
    const size_t alone = sc_plan_last_threads(plan);
    CHECK(alone > 1 && alone == most, "a call alone has %zu threads, of %d", alone, THREADS);
    pthread_t callers[CALLERS];
    CHECK(pthread_barrier_init(&start, NULL, CALLERS) == 0, "pthread_barrier_init");
    for (size_t i = 0; i < CALLERS; i++) {
        CHECK(pthread_create(&callers[i], NULL, call_often, plan) == 0, "pthread_create");
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
    }
    CHECK(most <= THREADS, "%zu threads in teams at once, of %d", (size_t)most, THREADS);
    CHECK(now == 0 && regions > 1, "%zu regions", (size_t)regions);
    run(plan, expected);
    CHECK(sc_plan_last_threads(plan) == alone, "%zu threads after the crowd, %zu before", sc_plan_last_threads(plan), alone);
    sc_plan_free(plan);
    printf("test_callers: all passed, %zu teams\n", (size_t)regions);
    return 0;
}
