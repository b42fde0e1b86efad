/* Measures what one instruction set can do on this machine, and prints it as JSON: multiply-adds, reads at each level
 * of the memory, and the project's own activations. limits.py compiles it once for each set and knows what the figures
 * mean. No figure of the library is taken here.
 *
 *   cc <flags of the set> -DPROBE_SIMD='"simd_<isa>.h"' probe.c -lpthread -o probe;   probe L1_BYTES L2_BYTES THREADS
 *
 * A figure is the best of several runs of some milliseconds, with 1 thread and, where THREADS says so, with 2 at once,
 * each on memory of its own; figures of 2 threads are sums. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include PROBE_SIMD
#include "vecmath.h"

#define RUNS 6              /* of a figure, each in another place of the memory */
#define RUN_SECONDS 2e-3
#define MOST_THREADS 2
#define LARGEST ((size_t)64 << 20)  /* bytes: past L2, and of most machines' L3 past one core's share */
#define PAGE ((size_t)2 << 20)
#define UNROLL _Pragma("GCC unroll 16")

typedef struct task {
    float *memory;  /* this thread's, LARGEST bytes */
    float *data;    /* the place in it that is used, */
    size_t floats;  /* and for reads how much, a multiple of 16 vectors */
    size_t repeats;
    int core;       /* its own, or -1: two threads of some milliseconds are easily left on one core */
    float sink;     /* what was computed, so that it must be */
    double from, to;
} task;

typedef void (*workload)(task *);

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Workloads ------------------------------------------------------------------------------------------------- */

#define CHAINS 12 /* latency 4 at 2 a cycle wants 8; 12 and their operands still fit 16 registers */

/* acc = acc*a + b, in registers: CHAINS multiply-adds of a vector a repeat. */
static void multiply_add(task *t)
{
    const vf a = vf_load(t->data), b = vf_load(t->data + SC_V);
    vf acc[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++) {
        acc[i] = vf_set((float)i);
    }
    for (size_t r = 0; r < t->repeats; r++) {
        UNROLL for (int i = 0; i < CHAINS; i++) {
            acc[i] = vf_fma(acc[i], a, b);
        }
    }
    UNROLL for (int i = 1; i < CHAINS; i++) {
        acc[0] = vf_add(acc[0], acc[i]);
    }
    t->sink = vf_sum(acc[0]);
}

#define STREAM 16 /* loads of one turn of the loop */
#define SUMS 8
#define BLOCK ((size_t)4 << 10) /* floats that are read upwards in either direction: 16 KiB; smaller ones are slower */

SC_INLINE void add_stream(vf acc[SUMS], const float *p)
{
    UNROLL for (int i = 0; i < STREAM; i++) {
        acc[i % SUMS] = vf_add(acc[i % SUMS], vf_load(p + i * SC_V));
    }
}

/* Reads the whole set once a repeat, block by block, always upwards or, alternating, every second time from the last
 * block to the first: past a cache, what was read last is still there when the direction turns. */
SC_INLINE void read_set(task *t, const bool alternating)
{
    vf acc[SUMS];
    UNROLL for (int i = 0; i < SUMS; i++) {
        acc[i] = vf_set(0.0f);
    }
    const size_t blocks = (t->floats + BLOCK - 1) / BLOCK;
    for (size_t r = 0; r < t->repeats; r++) {
        for (size_t n = 0; n < blocks; n++) {
            const size_t first = (alternating && r % 2 == 1 ? blocks - 1 - n : n) * BLOCK;
            const size_t end = first + BLOCK < t->floats ? first + BLOCK : t->floats;
            for (size_t k = first; k < end; k += STREAM * SC_V) {
                add_stream(acc, t->data + k);
            }
        }
    }
    UNROLL for (int i = 1; i < SUMS; i++) {
        acc[0] = vf_add(acc[0], acc[i]);
    }
    t->sink = vf_sum(acc[0]);
}

static void read_cyclic(task *t)
{
    read_set(t, false);
}

static void read_alternating(task *t)
{
    read_set(t, true);
}

/* From the sum of a gate to the new state, each repeat waiting for the one before: nothing but latency. The other gates
 * of the cell are ready by then, so constants stand for them. */
#define LATENCY(name, expression) \
    static void name(task *t) \
    { \
        const vf a = vf_load(t->data), b = vf_load(t->data + SC_V); \
        vf h = a; \
        for (size_t r = 0; r < t->repeats; r++) { \
            h = expression; \
        } \
        t->sink = vf_sum(vf_add(h, b)); \
    }
LATENCY(lstm_latency, vf_mul(a, vf_tanh(vf_fma(vf_sigmoid(h), a, b))))
LATENCY(gru_latency, vf_fma(a, vf_tanh(vf_fma(vf_sigmoid(h), a, b)), b))
LATENCY(tanh_latency, vf_tanh(h))

/* Cells of CELLS vectors of units, one after the other and independent of each other, all in L1: sums of four gates,
 * then cell and hidden state. */
#define CELLS 16

static void lstm_cells(task *t)
{
    float *z = t->data, *c = z + 4 * CELLS * SC_V, *h = c + CELLS * SC_V;
    for (size_t r = 0; r < t->repeats; r++) {
        for (size_t j = 0; j < CELLS * SC_V; j += SC_V) {
            const vf i = vf_sigmoid(vf_load(z + 4 * j)), f = vf_sigmoid(vf_load(z + 4 * j + SC_V));
            const vf g = vf_tanh(vf_load(z + 4 * j + 2 * SC_V)), o = vf_sigmoid(vf_load(z + 4 * j + 3 * SC_V));
            const vf state = vf_fma(f, vf_load(c + j), vf_mul(i, g));
            vf_store(c + j, state);
            vf_store(h + j, vf_mul(o, vf_tanh(state)));
        }
    }
    t->sink = h[0];
}

static void gru_cells(task *t)
{
    float *z = t->data, *h = z + 4 * CELLS * SC_V;
    for (size_t r = 0; r < t->repeats; r++) {
        for (size_t j = 0; j < CELLS * SC_V; j += SC_V) {
            const vf reset = vf_sigmoid(vf_load(z + 4 * j)), update = vf_sigmoid(vf_load(z + 4 * j + SC_V));
            const vf n = vf_tanh(vf_fma(reset, vf_load(z + 4 * j + 2 * SC_V), vf_load(z + 4 * j + 3 * SC_V)));
            const vf fresh = vf_mul(vf_sub(vf_set(1.0f), update), n);
            vf_store(h + j, vf_fma(update, vf_load(h + j), fresh));
        }
    }
    t->sink = h[0];
}

static void rnn_cells(task *t)
{
    float *z = t->data, *h = z + 4 * CELLS * SC_V;
    for (size_t r = 0; r < t->repeats; r++) {
        for (size_t j = 0; j < CELLS * SC_V; j += SC_V) {
            vf_store(h + j, vf_tanh(vf_load(z + j)));
        }
    }
    t->sink = h[0];
}

/* ---- Timing ---------------------------------------------------------------------------------------------------- */

static struct {
    workload work;
    atomic_int waiting; /* threads that have not started */
} team;

/* All start when the last one is there. */
static void *worker(void *argument)
{
    task *t = argument;
#if defined(__linux__)
    if (t->core >= 0) {
        cpu_set_t own;
        CPU_ZERO(&own);
        CPU_SET(t->core, &own);
        pthread_setaffinity_np(pthread_self(), sizeof own, &own); /* refused: the scheduler decides */
    }
#endif
    atomic_fetch_sub(&team.waiting, 1);
    while (atomic_load(&team.waiting) > 0) {
    }
    t->from = now();
    team.work(t);
    t->to = now();
    return NULL;
}

/* Seconds from the first thread's start to the last one's end. */
static double run(workload work, task *tasks, int threads, size_t repeats)
{
    pthread_t ids[MOST_THREADS];
    team.work = work;
    atomic_store(&team.waiting, threads);
    for (int i = 0; i < threads; i++) {
        tasks[i].repeats = repeats;
    }
    for (int i = 1; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, worker, &tasks[i]) != 0) {
            perror("pthread_create");
            exit(1);
        }
    }
    worker(&tasks[0]);
    double from = tasks[0].from, to = tasks[0].to;
    for (int i = 1; i < threads; i++) {
        pthread_join(ids[i], NULL);
        from = tasks[i].from < from ? tasks[i].from : from;
        to = tasks[i].to > to ? tasks[i].to : to;
    }
    return to - from;
}

/* Moves what fits to the i-th place of RUNS: which lines share a set of L2 depends on the physical pages. */
static void place(task *tasks, int threads, size_t i)
{
    const size_t apart = LARGEST / RUNS / sizeof(float);
    for (int n = 0; n < threads; n++) {
        tasks[n].data = tasks[n].memory + (tasks[n].floats <= apart ? i * apart : 0);
    }
}

/* Best seconds of one repeat. */
static double repeat_seconds(workload work, task *tasks, int threads)
{
    size_t repeats = 1;
    double seconds = run(work, tasks, threads, repeats);
    while (seconds < RUN_SECONDS / 2) {
        const double more = seconds > 1e-7 ? RUN_SECONDS / seconds : 100.0;
        repeats *= more < 2.0 ? 2 : more > 100.0 ? 100 : (size_t)more;
        seconds = run(work, tasks, threads, repeats);
    }
    repeats += repeats % 2; /* as many sweeps down as up */
    double best = seconds;
    for (size_t i = 0; i < RUNS; i++) {
        place(tasks, threads, i);
        seconds = run(work, tasks, threads, repeats) / (double)repeats;
        best = seconds < best ? seconds : best;
    }
    place(tasks, threads, 0);
    return best;
}

/* A host that has let both cores of an idle guest share one of its own takes a while to part them: until then, or three
 * seconds, two threads take twice as long as one. */
static void wake(task *tasks, int threads)
{
    const size_t repeats = 1 << 20;
    const double alone = run(multiply_add, tasks, 1, repeats), end = now() + 3.0;
    while (run(multiply_add, tasks, threads, repeats) > 1.15 * alone && now() < end) {
    }
}

/* ---- The report -------------------------------------------------------------------------------------------------- */

/* The i-th core that this process may use; -1 where the system does not say. */
static int core_of(int i)
{
#if defined(__linux__)
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) {
        for (int core = 0; core < CPU_SETSIZE; core++) {
            if (CPU_ISSET(core, &cores) && i-- == 0) {
                return core;
            }
        }
    }
#endif
    (void)i;
    return -1;
}

/* Memory in huge pages where the system has them, so that no table of pages limits what is read. */
static float *memory(void)
{
    float *data = aligned_alloc(PAGE, LARGEST);
    if (data == NULL) {
        perror("aligned_alloc");
        exit(1);
    }
#if defined(MADV_HUGEPAGE)
    madvise(data, LARGEST, MADV_HUGEPAGE); /* refused: pages stay small */
#endif
    for (size_t i = 0; i < LARGEST / sizeof(float); i++) {
        data[i] = 0.5f; /* written, or all pages are the one page of zeros */
    }
    return data;
}

static void print_reads(task *tasks, int threads, size_t l1, size_t l2)
{
    const size_t sets[] = {l1 / 2, l1, l1 / 3 * 4, 2 * l1, 4 * l1, l2 / 2, l2, 2 * l2, 4 * l2, 16 * l2, LARGEST};
    const workload orders[] = {read_cyclic, read_alternating};
    const size_t unit = STREAM * SC_V * sizeof(float);
    printf("\"reads\": [");
    for (size_t k = 0; k < 2 * sizeof sets / sizeof sets[0]; k++) {
        const size_t wanted = sets[k / 2], bytes = (wanted < LARGEST ? wanted : LARGEST) / unit * unit;
        for (int i = 0; i < threads; i++) {
            tasks[i].floats = bytes / sizeof(float);
        }
        const double seconds = repeat_seconds(orders[k % 2], tasks, threads);
        printf("%s{\"bytes\": %zu, \"order\": \"%s\", \"gb_s\": %.2f}", k == 0 ? "" : ", ", bytes,
               k % 2 == 0 ? "cyclic" : "alternating", 1e-9 * (double)bytes * threads / seconds);
    }
    printf("]");
}

static void print_cells(task *tasks)
{
    const struct {
        const char *name;
        workload latency, cells;
    } all[] = {
        {"LSTM", lstm_latency, lstm_cells},
        {"GRU", gru_latency, gru_cells},
        {"RNN", tanh_latency, rnn_cells},
    };
    const int n = sizeof all / sizeof all[0];
    printf("\"latency_ns\": {");
    for (int i = 0; i < n; i++) {
        printf("%s\"%s\": %.3f", i == 0 ? "" : ", ", all[i].name, 1e9 * repeat_seconds(all[i].latency, tasks, 1));
    }
    printf("}, \"vector_ns\": {");
    for (int i = 0; i < n; i++) {
        const double seconds = repeat_seconds(all[i].cells, tasks, 1);
        printf("%s\"%s\": %.3f", i == 0 ? "" : ", ", all[i].name, 1e9 * seconds / CELLS);
    }
    printf("}");
}

int main(int argc, char **argv)
{
    const size_t l1 = argc == 4 ? strtoul(argv[1], NULL, 10) : 0, l2 = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    const int threads = argc == 4 ? atoi(argv[3]) : 0;
    if (l1 < 16384 || l2 < l1 || threads < 1 || threads > MOST_THREADS) {
        fprintf(stderr, "usage: %s L1_BYTES L2_BYTES THREADS, 16384 <= L1 <= L2, 1 or %d threads\n", argv[0],
                MOST_THREADS);
        return 2;
    }
    task tasks[MOST_THREADS] = {{0}};
    for (int i = 0; i < threads; i++) {
        tasks[i].data = tasks[i].memory = memory();
        tasks[i].core = threads > 1 ? core_of(i) : -1;
    }
    printf("{\"lanes\": %d, ", SC_V);
    print_cells(tasks);
    printf(", \"threads\": {");
    for (int n = 1; n <= threads; n++) {
        if (n > 1) {
            wake(tasks, n);
        }
        const double flops = 2.0 * CHAINS * SC_V * n;
        const double rate = 1e-9 * flops / repeat_seconds(multiply_add, tasks, n);
        printf("%s\"%d\": {\"gflop_s\": %.2f, ", n == 1 ? "" : ", ", n, rate);
        print_reads(tasks, n, l1, l2);
        printf("}");
    }
    printf("}}\n");
    for (int i = 0; i < threads; i++) {
        free(tasks[i].memory);
    }
    return 0;
}
