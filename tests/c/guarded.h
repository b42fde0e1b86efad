/* Buffers between guard pages, and packed matrices and rows in them: what tests of kernels share. */
#ifndef GUARDED_H
#define GUARDED_H

#include "check.h"

#include "kernels.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 96
#define SLOT_BYTES ((size_t)1 << 19)
#define MAX_ROWS 13

enum mode { END, START };

static char *slots[SLOTS];
static size_t used;
static enum mode mode;
static unsigned next_value;

static inline void map_slots(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < SLOTS; i++) {
        char *memory = mmap(NULL, SLOT_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED, "mmap");
        slots[i] = memory + page;
        CHECK(mprotect(slots[i], SLOT_BYTES, PROT_READ | PROT_WRITE) == 0, "mprotect");
    }
}

/* A buffer of exactly n floats; values repeat every 251, so that swapped blocks cannot hide. */
static inline float *buffer(size_t n)
{
    CHECK(used < SLOTS && n * sizeof(float) <= SLOT_BYTES, "%zu floats", n);
    char *slot = slots[used++];
    float *memory = (float *)(void *)(mode == END ? slot + SLOT_BYTES - n * sizeof(float) : slot);
    for (size_t i = 0; i < n; i++) {
        memory[i] = (float)(int)(next_value++ % 251) / 500.0f - 0.25f;
    }
    return memory;
}

static inline void rows_of(float **rows, size_t M, size_t n)
{
    for (size_t m = 0; m < M; m++) {
        rows[m] = buffer(n);
    }
}

static inline void near(double expected, float found, const char *what, const char *isa, size_t M, size_t K, size_t N)
{
    CHECK(fabs(expected - (double)found) <= 2e-5 * (1 + fabs(expected)), "%s %s rows %zu K %zu N %zu: expected %.9g, found %.9g",
          isa, what, M, K, N, expected, (double)found);
}

/* ---- Packed matrices and what they mean ------------------------------------------------------------------- */

typedef struct test_matrix {
    float *source; /* K x (G*N) */
    sc_matrix packed;
} test_matrix;

static inline test_matrix matrix(const sc_kernels *k, size_t K, size_t N, size_t G, bool paired)
{
    test_matrix t;
    t.source = buffer(K * G * N);
    float *data = buffer(k->packed_floats(K, N, G));
    k->pack(data, t.source, G * N, K, N, G, paired);
    t.packed = (sc_matrix){.data = data, .rows = K, .units = N, .gates = G, .paired = paired};
    return t;
}

/* Packing a transpose is packing. */
static inline void test_transposed(const sc_kernels *k, size_t K, size_t N)
{
    used = 0;
    const size_t floats = k->packed_floats(K, N, 1);
    const test_matrix t = matrix(k, K, N, 1, false);
    float *transpose = buffer(N * (K + 3)), *data = buffer(floats); /* rows of K + 3, of which K are read */
    for (size_t n = 0; n < N; n++) {
        for (size_t i = 0; i < K; i++) {
            transpose[n * (K + 3) + i] = t.source[i * N + n];
        }
    }
    k->pack_transposed(data, transpose, K + 3, K, N);
    CHECK(memcmp(data, t.packed.data, floats * sizeof(float)) == 0, "%s transposed %zu x %zu", k->isa, K, N);
}

/* The same matrix, paired. */
static inline sc_matrix paired(const sc_kernels *k, const test_matrix *t)
{
    sc_matrix m = t->packed;
    float *data = buffer(k->packed_floats(m.rows, m.units, m.gates));
    k->pack(data, t->source, m.gates * m.units, m.rows, m.units, m.gates, true);
    m.data = data;
    m.paired = true;
    return m;
}

/* A row of G*N values in packed order, and the same values in plain order. */
static inline float *packed_row(const sc_kernels *k, float *plain, size_t N, size_t G)
{
    float *row = buffer(k->packed_floats(1, N, G));
    k->pack(row, plain, G * N, 1, N, G, false);
    return row;
}

static inline size_t packed_place(const sc_kernels *k, size_t n, size_t g, size_t G)
{
    const size_t V = k->width;
    return G == 1 ? n : (n / V * G + g) * V + n % V;
}

/* sum over k of a[k] * w[k][column] */
static inline double dot(const float *a, const test_matrix *w, size_t column)
{
    const size_t ld = w->packed.gates * w->packed.units;
    double sum = 0;
    for (size_t i = 0; i < w->packed.rows; i++) {
        sum += (double)a[i] * (double)w->source[i * ld + column];
    }
    return sum;
}

static inline double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

#endif
