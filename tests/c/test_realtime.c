/* A step in a thread that has deadlines: no allocation, no lock, no OpenMP and no system call. The linker sends the first three
 * through the counters here (-Wl,--wrap: tests/test_c.py); for the last, steps run in a process that the kernel kills at its
 * first system call (seccomp's strict mode allows read, write and exit). The same counters show that all memory of a plan and of
 * what is made of it comes from the caller's allocator, goes back, and may run out at any point. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/seccomp.h>
#endif

#define STEPS 10000
#define NO_SECCOMP 77

/* ---- Counters ------------------------------------------------------------------------------------------------ */

static size_t allocations, locks, regions;

#define COUNT(counter, type, name, parameters, arguments) \
    type __real_##name parameters; \
    type __wrap_##name parameters; \
    type __wrap_##name parameters \
    { \
        counter++; \
        return __real_##name arguments; \
    }

COUNT(allocations, void *, malloc, (size_t bytes), (bytes))
COUNT(allocations, void *, calloc, (size_t count, size_t bytes), (count, bytes))
COUNT(allocations, void *, realloc, (void *memory, size_t bytes), (memory, bytes))
COUNT(allocations, void *, aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes))
COUNT(allocations, int, posix_memalign, (void **to, size_t alignment, size_t bytes), (to, alignment, bytes))
COUNT(allocations, char *, strdup, (const char *text), (text))
COUNT(allocations, void, free, (void *memory), (memory))
COUNT(locks, int, pthread_mutex_lock, (pthread_mutex_t * m), (m))
COUNT(locks, int, pthread_rwlock_rdlock, (pthread_rwlock_t * l), (l))
COUNT(locks, int, pthread_rwlock_wrlock, (pthread_rwlock_t * l), (l))
COUNT(locks, int, pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m))
COUNT(locks, int, pthread_cond_signal, (pthread_cond_t * c), (c))
COUNT(locks, int, pthread_cond_broadcast, (pthread_cond_t * c), (c))
COUNT(regions, void, GOMP_parallel, (void (*work)(void *), void *data, unsigned threads, unsigned flags),
      (work, data, threads, flags))

/* ---- Models --------------------------------------------------------------------------------------------------- */

#define LSTM(layer, input, W, U, b, units) \
    "{\"op\": \"lstm\", \"layer\": \"" layer "\", \"inputs\": [\"" input "\"], \"outputs\": [\"" layer "\"]," \
    " \"weights\": {\"W\": \"" W "\", \"U\": \"" U "\", \"b\": \"" b "\"}," \
    " \"attrs\": {\"units\": " units ", \"activation\": [\"tanh\", 0, 0], \"recurrent_activation\": [\"sigmoid\", 0, 0]," \
    " \"reverse\": false, \"realign\": false, \"return_sequences\": true}}"
#define GRAPH(input, nodes, output) \
    "{\"format\": \"seqcore\", \"version\": 1," \
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", " input "}]," \
    "\"nodes\": [" nodes "], \"outputs\": [{\"name\": \"y\", \"value\": \"" output "\"}]}"

static const char lstm[] = GRAPH("\"dtype\": \"float32\", \"shape\": [null, 16]", LSTM("a", "x", "W", "U", "b", "16"), "a");
static const char large[] = GRAPH("\"dtype\": \"float32\", \"shape\": [null, 320]", LSTM("a", "x", "L", "L", "bL", "320"), "a");
static const char words[] = GRAPH(
    "\"dtype\": \"int64\", \"shape\": [null]",
    "{\"op\": \"embedding\", \"layer\": \"e\", \"inputs\": [\"x\"], \"outputs\": [\"e\"], \"weights\": {\"W\": \"E\"},"
    " \"attrs\": {\"rows\": 64, \"units\": 16}},"
    "{\"op\": \"conv1d\", \"layer\": \"c\", \"inputs\": [\"e\"], \"outputs\": [\"c\"],"
    " \"weights\": {\"W\": \"C\", \"b\": \"bC\"},"
    " \"attrs\": {\"filters\": 16, \"kernel_size\": 3, \"strides\": 1, \"dilation\": 2, \"groups\": 1,"
    " \"padding\": \"causal\", \"activation\": [\"relu\", 0, 0]}},"
    LSTM("a", "c", "W", "U", "b", "16") "," LSTM("s", "a", "W", "U", "b", "16") ","
    "{\"op\": \"dense\", \"layer\": \"d\", \"inputs\": [\"s\"], \"outputs\": [\"d\"], \"weights\": {\"W\": \"D\", \"b\": \"bD\"},"
    " \"attrs\": {\"units\": 5, \"activation\": [\"softmax\", 0, 0]}}", "d");

static const char one_hot[] = GRAPH("\"dtype\": \"int64\", \"shape\": [null]",
                                    LSTM("a", "x", "H", "U", "b", "16, \"one_hot\": 64"), "a");
/* One token a step; what the LSTM and the attention keep is carried on by the graph. */
static const char attending[] =
    "{\"format\": \"seqcore\", \"version\": 1, \"inputs\": ["
    "{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"int64\", \"shape\": []},"
    "{\"name\": \"c\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 16], \"context\": true},"
    "{\"name\": \"h\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [16], \"next\": \"h_next\"},"
    "{\"name\": \"s\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [16], \"next\": \"s_next\"}], \"nodes\": ["
    "{\"op\": \"embedding\", \"layer\": \"e\", \"inputs\": [\"x\"], \"outputs\": [\"e\"], \"weights\": {\"W\": \"E\"},"
    " \"attrs\": {\"rows\": 64, \"units\": 16}},"
    "{\"op\": \"expand\", \"layer\": \"t\", \"inputs\": [\"e\"], \"outputs\": [\"t\"], \"attrs\": {\"axis\": 1}},"
    "{\"op\": \"lstm\", \"layer\": \"l\", \"inputs\": [\"t\", \"h\", \"s\"], \"outputs\": [\"y\", \"h_next\", \"s_next\"],"
    " \"weights\": {\"W\": \"W\", \"U\": \"U\", \"b\": \"b\"}, \"attrs\": {\"units\": 16, \"activation\": [\"tanh\", 0, 0],"
    " \"recurrent_activation\": [\"sigmoid\", 0, 0], \"return_sequences\": true, \"reverse\": false, \"realign\": false}},"
    "{\"op\": \"attention\", \"layer\": \"a\", \"inputs\": [\"y\", \"c\"], \"outputs\": [\"a\", null], \"weights\": {},"
    " \"attrs\": {\"score\": \"dot\", \"scale\": 1, \"heads\": 0, \"causal\": false, \"masking\": \"zero\"}},"
    "{\"op\": \"flatten\", \"layer\": \"f\", \"inputs\": [\"a\"], \"outputs\": [\"f\"]},"
    "{\"op\": \"dense\", \"layer\": \"d\", \"inputs\": [\"f\"], \"outputs\": [\"d\"], \"weights\": {\"W\": \"D\", \"b\": \"bD\"},"
    " \"attrs\": {\"units\": 5, \"activation\": [\"softmax\", 0, 0]}}], \"outputs\": [{\"name\": \"d\", \"value\": \"d\"},"
    "{\"name\": \"h_next\", \"value\": \"h_next\"}, {\"name\": \"s_next\", \"value\": \"s_next\"}]}";

static float weights[320 * 4 * 320];
static const sc_tensor tensors[] = {
    {.name = "W", .rank = 2, .shape = {16, 64}, .data = weights},   {.name = "U", .rank = 2, .shape = {16, 64}, .data = weights},
    {.name = "b", .rank = 1, .shape = {64}, .data = weights},       {.name = "L", .rank = 2, .shape = {320, 1280}, .data = weights},
    {.name = "bL", .rank = 1, .shape = {1280}, .data = weights},    {.name = "E", .rank = 2, .shape = {64, 16}, .data = weights},
    {.name = "C", .rank = 3, .shape = {3, 16, 16}, .data = weights}, {.name = "bC", .rank = 1, .shape = {16}, .data = weights},
    {.name = "H", .rank = 2, .shape = {64, 64}, .data = weights},
    {.name = "D", .rank = 2, .shape = {16, 5}, .data = weights},    {.name = "bD", .rank = 1, .shape = {5}, .data = weights},
};
#define N_TENSORS (sizeof tensors / sizeof tensors[0])

static const struct model {
    const char *name, *graph;
    int threads;
    size_t features, units; /* features 0: ids */
    bool context;           /* there is one; then no pool can step it */
} models[] = {
    {"LSTM", lstm, 1, 16, 16, false},
    {"LSTM of default threads", lstm, 0, 16, 16, false},
    {"LSTM that other threads could share", large, 1, 320, 320, false},
    {"embedding, causal convolution, LSTMs and Dense", words, 1, 0, 5, false},
    {"the same of default threads", words, 0, 0, 5, false},
    {"LSTM over ids for one-hot vectors", one_hot, 1, 0, 16, false},
    {"LSTM with attention over a context, fed what it carries on", attending, 1, 0, 5, true},
};

#define ROWS 3
static float features[ROWS * 320], y[ROWS * 320], state[ROWS * 320];
static int64_t ids[ROWS];
static unsigned char saved[1 << 16];

static sc_array frame(const struct model *m, size_t rows, size_t number)
{
    if (m->features == 0) {
        for (size_t i = 0; i < rows; i++) {
            ids[i] = (int64_t)((number * 7 + i) % 64);
        }
        return (sc_array){.data = ids, .rank = 1, .shape = {rows}};
    }
    for (size_t i = 0; i < rows * m->features; i++) {
        features[i] = (float)((number + i) % 17) / 17.0f - 0.5f;
    }
    return (sc_array){.data = features, .rank = 2, .shape = {rows, m->features}};
}

/* The inputs of a graph, but for the first: a context of so many frames, and what is carried on. */
static void other_inputs(sc_array *inputs)
{
    static float context[ROWS * 7 * 16], carried[ROWS * 16];
    for (size_t i = 0; i < ROWS * 7 * 16; i++) {
        context[i] = (float)(i % 13) / 13.0f - 0.5f;
    }
    inputs[1] = (sc_array){context, 3, {ROWS, 7, 16}};
    inputs[2] = inputs[3] = (sc_array){carried, 2, {ROWS, 16}};
}

/* ---- What a step may not do ------------------------------------------------------------------------------------- */

typedef struct prepared {
    const struct model *model;
    sc_plan *plan;
    sc_stream *stream;
    sc_pool *pool;
    sc_stream_id ids[ROWS];
    sc_array states[8]; /* where get_state writes, shapes and all */
} prepared;

static uint64_t mixed(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ at[i]) * 0x100000001B3u;
    }
    return hash;
}

/* Steps, and everything else that a thread with deadlines may call; returns a hash of all that came out. */
static uint64_t work(const prepared *p, size_t steps)
{
    uint64_t hash = 0xCBF29CE484222325u ^ sc_stream_reset(p->stream, NULL);
    for (size_t i = 0; i < ROWS; i++) {
        hash = (hash ^ sc_pool_reset(p->pool, p->ids[i], NULL)) * 31;
    }
    const sc_array out = {.data = y, .rank = 2, .shape = {ROWS, p->model->units}};
    for (size_t i = 0; i < steps; i++) {
        const sc_array in = frame(p->model, ROWS, i);
        hash = (hash ^ sc_stream_step(p->stream, &in, &out, NULL)) * 31;
        hash = mixed(hash, y, 4 * p->model->units);
        if (i % 16 == 0) {
            hash = (hash ^ sc_pool_step(p->pool, p->ids, ROWS, &in, &out, NULL)) * 31;
            hash = mixed(hash, y, 4 * p->model->units);
        }
    }
    for (size_t i = 0; i < sc_plan_step_states(p->plan); i++) {
        hash = (hash ^ sc_stream_get_state(p->stream, i, &p->states[i], NULL)) * 31;
        hash = mixed(hash, state, sizeof state);
        hash = (hash ^ sc_stream_set_state(p->stream, i, &p->states[i], NULL)) * 31;
    }
    const size_t bytes = sc_plan_saved_bytes(p->plan, ROWS);
    hash = (hash ^ sc_stream_save(p->stream, saved, bytes, NULL)) * 31;
    hash = mixed(hash, saved, bytes);
    hash = (hash ^ sc_stream_load(p->stream, saved, bytes, NULL)) * 31;
    sc_error error; /* a refusal writes a line, and does no more than that */
    hash = (hash ^ sc_stream_save(p->stream, saved, 0, &error)) * 31;
    return (hash ^ sc_pool_reset(p->pool, 0, &error)) * 31;
}

static prepared prepare(const struct model *m, const sc_allocator *allocator, sc_status *status)
{
    prepared p = {.model = m};
    sc_options options = {.threads = m->threads};
    if (allocator != NULL) {
        options.allocator = *allocator;
    }
    sc_error error;
    *status = sc_plan_create(m->graph, strlen(m->graph), tensors, N_TENSORS, &options, &p.plan, &error);
    if (*status == SC_OK) {
        *status = sc_stream_create(p.plan, ROWS, &p.stream, &error);
    }
    if (*status == SC_OK && m->context) {
        sc_array inputs[4];
        other_inputs(inputs);
        *status = sc_stream_set_context(p.stream, inputs, &error);
    }
    if (*status == SC_OK && !m->context) {
        *status = sc_pool_create(p.plan, ROWS, &p.pool, &error);
    }
    CHECK(*status == SC_OK || (*status == SC_NO_MEMORY && allocator != NULL), "%s: %s", m->name, error.message);
    for (size_t i = 0; *status == SC_OK && !m->context && i < ROWS; i++) {
        CHECK(sc_pool_open(p.pool, &p.ids[i], &error) == SC_OK, "%s", error.message);
    }
    for (size_t i = 0; *status == SC_OK && i < sc_plan_step_states(p.plan); i++) {
        sc_info info;
        CHECK(i < 8 && sc_plan_step_state_info(p.plan, i, &info, &error) == SC_OK, "%s", error.message);
        p.states[i] = (sc_array){.data = state, .rank = info.rank};
        memcpy(p.states[i].shape, info.shape, sizeof info.shape);
        p.states[i].shape[0] = ROWS;
    }
    return p;
}

static void release(prepared *p)
{
    sc_plan_free(p->plan); /* first: what is made of it keeps it */
    sc_stream_free(p->stream);
    sc_pool_free(p->pool);
}

/* Runs `work` where every system call kills. The word that comes back is its result. */
static bool without_system_calls(const prepared *p, size_t steps, uint64_t *word)
{
    int ends[2];
    CHECK(pipe(ends) == 0, "pipe");
    const pid_t child = fork();
    CHECK(child >= 0, "fork");
    if (child == 0) {
        work(p, 10); /* warm: the stack's pages, and symbols that are bound at their first call */
#if defined(SECCOMP_MODE_STRICT)
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
            _exit(NO_SECCOMP);
        }
#else
        _exit(NO_SECCOMP);
#endif
        const uint64_t result = work(p, steps);
        const long written = write(ends[1], &result, sizeof result);
        syscall(SYS_exit, written == sizeof result ? 0 : 1);
    }
    close(ends[1]);
    const bool came = read(ends[0], word, sizeof *word) == sizeof *word;
    close(ends[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child, "waitpid");
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP) {
        return false;
    }
    CHECK(!WIFSIGNALED(status), "%s: a step made a system call: killed by signal %d", p->model->name, WTERMSIG(status));
    CHECK(came && WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %d", p->model->name, status);
    return true;
}

/* That the trap is armed: one call of another kind, and the child is dead. */
static void check_trap(void)
{
    const pid_t child = fork();
    if (child == 0) {
#if defined(SECCOMP_MODE_STRICT)
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0) {
            syscall(SYS_getppid);
            syscall(SYS_exit, 1);
        }
#endif
        _exit(NO_SECCOMP);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "waitpid");
    CHECK(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP), "status %d", status);
}

static bool test_steps(const struct model *m)
{
    sc_status status;
    prepared p = prepare(m, NULL, &status);
    const size_t steps = m->features > 100 ? STEPS / 10 : STEPS;
    uint64_t found = 0;
    const size_t before[] = {allocations, locks, regions};
    CHECK(before[0] > 0, "the counters are not linked in");
    const uint64_t expected = work(&p, steps);
    CHECK(allocations == before[0], "%s: %zu allocations", m->name, allocations - before[0]);
    CHECK(locks == before[1], "%s: %zu locks", m->name, locks - before[1]);
    CHECK(regions == before[2], "%s: %zu regions", m->name, regions - before[2]);
    const bool available = without_system_calls(&p, steps, &found);
    CHECK(!available || found == expected, "%s: other results without system calls", m->name);
    release(&p);
    return available;
}

/* ---- The caller's memory ---------------------------------------------------------------------------------------- */

typedef struct purse {
    size_t taken, out, left; /* left: allocations until there is no memory */
} purse;

static void *purse_allocate(void *context, size_t alignment, size_t bytes)
{
    purse *p = context;
    CHECK(alignment == 64 && bytes > 0, "%zu bytes at %zu", bytes, alignment);
    if (p->left == 0) {
        return NULL;
    }
    p->left--;
    p->taken++;
    p->out++;
    void *memory = __real_aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    CHECK(memory != NULL, "%zu bytes", bytes);
    return memset(memory, 0xA5, bytes);
}

static void purse_release(void *context, void *memory)
{
    purse *p = context;
    CHECK(memory != NULL && p->out > 0, "released twice, or nothing");
    p->out--;
    __real_free(memory);
}

/* A run of a few frames; it may find no memory. */
static sc_status run(const prepared *p)
{
    static float x[4 * ROWS * 320], out[4 * ROWS * 320];
    static int64_t tokens[4 * ROWS];
    const struct model *m = p->model;
    sc_array in[4] = {{.data = x, .rank = 3, .shape = {ROWS, 4, m->features}}}, results[3] = {{.rank = 0}};
    if (m->features == 0) {
        in[0] = (sc_array){.data = tokens, .rank = m->context ? 1 : 2, .shape = {ROWS, 4}};
    }
    if (m->context) {
        other_inputs(in);
    }
    const sc_status status = sc_plan_output_shapes(p->plan, in, results, NULL);
    for (size_t i = 0; i < 3; i++) {
        results[i].data = out + i * ROWS * 320;
    }
    return status == SC_OK ? sc_plan_run(p->plan, in, results, NULL) : status;
}

/* All from a purse of so much; returns how many allocations it took, 0 when they were too few. */
static size_t all_from(const struct model *m, size_t left)
{
    purse money = {.left = left};
    const sc_allocator allocator = {purse_allocate, purse_release, &money};
    const size_t before = allocations;
    sc_status status;
    prepared p = prepare(m, &allocator, &status);
    if (status == SC_OK) {
        status = run(&p);
        CHECK(status == SC_OK || status == SC_NO_MEMORY, "%s: status %d", m->name, (int)status);
        work(&p, 4);
    }
    release(&p);
    CHECK(allocations == before, "%s: the C library was asked for memory %zu times", m->name, allocations - before);
    CHECK(money.out == 0, "%s: %zu pieces are lost, of %zu", m->name, money.out, money.taken);
    return status == SC_OK ? money.taken : 0;
}

static void test_allocator(const struct model *m)
{
    const size_t needed = all_from(m, SIZE_MAX);
    CHECK(needed > 20, "%s: %zu allocations", m->name, needed);
    for (size_t left = 0; left < needed; left++) {
        CHECK(all_from(m, left) == 0, "%s: %zu allocations of %zu were enough", m->name, left, needed);
    }
    CHECK(all_from(m, needed) == needed, "%s: not the same again", m->name);
}

/* A plan from a file and from memory has what it needs to read them from there too. */
static void test_allocator_of_files(const char *path)
{
    sc_error error;
    CHECK(sc_file_write(path, words, strlen(words), tensors, N_TENSORS, &error) == SC_OK, "%s", error.message);
    static _Alignas(8) char bytes[4 << 20];
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL, "%s", path);
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    CHECK(size > 0 && size < sizeof bytes, "%zu", size);
    fclose(file);
    for (int from_memory = 0; from_memory < 2; from_memory++) {
        sc_status status = SC_NO_MEMORY;
        size_t left = 0;
        for (; status == SC_NO_MEMORY; left++) {
            purse money = {.left = left};
            const sc_options options = {.threads = 1, .allocator = {purse_allocate, purse_release, &money}};
            sc_plan *plan = NULL;
            const size_t before = allocations;
            status = from_memory ? sc_plan_open_memory(bytes, size, &options, &plan, &error)
                                 : sc_plan_open(path, &options, &plan, &error);
            CHECK(status == SC_OK || status == SC_NO_MEMORY, "%d: %s", (int)status, error.message);
            sc_plan_free(plan);
            CHECK(allocations == before, "the C library was asked for memory %zu times", allocations - before);
            CHECK(money.out == 0, "%zu pieces are lost, of %zu", money.out, money.taken);
        }
        CHECK(left > 20, "%zu allocations", left);
    }
}

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: test_realtime a-file-to-write");
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        weights[i] = (float)(i % 251) / 2510.0f - 0.05f;
    }
    check_trap();
    bool available = true;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        available = test_steps(&models[i]) && available;
    }
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        test_allocator(&models[i]);
    }
    test_allocator_of_files(arguments[1]);
    printf("test_realtime: all passed%s\n", available ? "" : ", seccomp is not available");
    return 0;
}
