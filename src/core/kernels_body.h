/* Sweeps and cell steps of every instruction set, written once over simd_<isa>.h; packing is in plain.h.
 *
 * A kernels_<isa>.c includes its simd header, defines
 *   SC_ISA            the suffix of the table: avx512
 *   SC_TILE_ROWS      rows of a register tile, 2, 3 or 6: SC_TILE_ROWS * 4 accumulators + operands fit the register file
 *   SC_CELLS          cells finished at once, 1, 2 or 4: as many as the registers hold
 *   SC_SINGLE_PANELS  panels that a single row sweeps at once, so that enough accumulators hide the FMA's latency
 * and includes this file, which ends in the table.
 *
 * All arithmetic on weights is in the sweeps: functions of fixed numbers of rows and vectors that keep their sums in
 * registers and leave them in memory, in L1. Each stands alone, not inlined, so that its loop has all the registers.
 * What follows a sweep (bias, activations, state) is written for any number of rows, once. */
#include "activations.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

#define SC_GATES 4 /* vectors of a panel at most */
#define SC_TILE SC_TILE_ROWS
#define SC_SUMS (SC_GATES * SC_V) /* floats of a tile row's sums */

#define SC_JOIN_(a, b) a##b
#define SC_JOIN(a, b) SC_JOIN_(a, b)

static size_t blocks_of(size_t n)
{
    return (n + SC_V - 1) / SC_V;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

#include "plain.h"

/* ---- Sweeps -------------------------------------------------------------------------------------- */

/* acc[p + m][v] += sum over k in [from, to) of a[m][k] * panel_p[k][v], k ascending: `rows` rows by `panels` panels (one of
 * the two is 1) of `vectors` vectors. `panel` points to k = from, and the next k stands `step` floats behind. The
 * `const int`s are compile-time constants at every call. */
SC_INLINE void sweep(vf acc[SC_TILE][SC_GATES], const int rows, const int panels, const int vectors,
                     const float *const *a, size_t from, size_t to, const float *panel, size_t step, size_t stride)
{
    const float *row[SC_TILE];
    SC_UNROLL for (int m = 0; m < rows; m++) {
        row[m] = a[m];
    }
    for (size_t k = from; k < to; k++, panel += step) {
        SC_UNROLL for (int p = 0; p < panels; p++) {
            vf b[SC_GATES];
            SC_UNROLL for (int v = 0; v < vectors; v++) {
                b[v] = vf_load(panel + (size_t)p * stride + (size_t)(v * SC_V));
            }
            SC_UNROLL for (int m = 0; m < rows; m++) {
                const vf s = vf_bcast(row[m] + k);
                SC_UNROLL for (int v = 0; v < vectors; v++) {
                    acc[p + m][v] = vf_fma(s, b[v], acc[p + m][v]);
                }
            }
        }
    }
}

SC_INLINE void clear(vf acc[SC_TILE][SC_GATES], const int count, const int vectors)
{
    SC_UNROLL for (int n = 0; n < count; n++) {
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            acc[n][v] = vf_set(0.0f);
        }
    }
}

SC_INLINE void store(float *sums, vf acc[SC_TILE][SC_GATES], const int count, const int vectors)
{
    SC_UNROLL for (int n = 0; n < count; n++) {
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            vf_store(sums + n * SC_SUMS + v * SC_V, acc[n][v]);
        }
    }
}

/* sums[p + m] = bias + a[m] . panel_p, one chain */
SC_INLINE void chain(float *sums, const float *const *a, size_t K, const float *panel, size_t stride, const float *bias,
                     const int rows, const int panels, const int vectors)
{
    vf acc[SC_TILE][SC_GATES];
    SC_UNROLL for (int p = 0; p < panels; p++) {
        SC_UNROLL for (int m = 0; m < rows; m++) {
            SC_UNROLL for (int v = 0; v < vectors; v++) {
                acc[p + m][v] = vf_load(bias + (p * vectors + v) * SC_V);
            }
        }
    }
    sweep(acc, rows, panels, vectors, a, 0, K, panel, (size_t)vectors * SC_V, stride);
    store(sums, acc, rows * panels, vectors);
}

/* a[m] . panel_p as two chains: k < ceil(K/2) into sums[p + m], the others `apart` floats behind. Half the length is half
 * the wait of a few accumulators on the FMA's latency, and less than half the rounding error. A small tile runs both chains
 * at once; a large one, that fills the registers with one, runs them in turn: the sums are the same. Those of several rows
 * are added where they are used, as here that would wait for the last of them; those of a single row are added here. */
SC_INLINE void halves(float *sums, size_t apart, const float *const *a, size_t K, const float *panel, size_t stride,
                      const bool paired, const int rows, const int panels, const int vectors)
{
    const size_t half = (K + 1) / 2, row = (size_t)vectors * SC_V;
    const size_t step = paired ? 2 * row : row;
    const float *second = panel + (paired ? row : half * row);
    const int count = rows * panels;
    const bool at_once = 2 * count * vectors <= SC_TILE_ROWS * SC_GATES || rows == 1;
    vf acc[SC_TILE][SC_GATES], other[SC_TILE][SC_GATES];
    clear(acc, count, vectors);
    clear(other, count, vectors);
    if (at_once) {
        for (size_t k = 0; k < K - half; k++, panel += step, second += step) {
            sweep(acc, rows, panels, vectors, a, k, k + 1, panel, step, stride);
            sweep(other, rows, panels, vectors, a, half + k, half + k + 1, second, step, stride);
        }
        sweep(acc, rows, panels, vectors, a, K - half, half, panel, step, stride); /* K odd: one more */
        if (rows == 1) {
            SC_UNROLL for (int n = 0; n < count; n++) {
                SC_UNROLL for (int v = 0; v < vectors; v++) {
                    acc[n][v] = vf_add(acc[n][v], other[n][v]);
                }
            }
            store(sums, acc, count, vectors);
            return;
        }
        store(sums, acc, count, vectors);
    } else {
        sweep(acc, rows, panels, vectors, a, 0, half, panel, step, stride);
        store(sums, acc, count, vectors);
        sweep(other, rows, panels, vectors, a, half, K, second, step, stride);
    }
    store(sums + apart, other, count, vectors);
}

typedef void (*chain_function)(float *, const float *const *, size_t, const float *, size_t, const float *);
typedef void (*halves_function)(float *, size_t, const float *const *, size_t, const float *, size_t);

#define SC_SWEEP(rows, panels, vectors) \
    static SC_NOINLINE void chain_##rows##_##panels##_##vectors(float *sums, const float *const *a, size_t K, \
                                                                const float *panel, size_t stride, const float *bias) \
    { \
        chain(sums, a, K, panel, stride, bias, rows, panels, vectors); \
    } \
    SC_HALVES(halves, false, rows, panels, vectors) \
    SC_HALVES(paired, true, rows, panels, vectors)
#define SC_HALVES(name, paired, rows, panels, vectors) \
    static SC_NOINLINE void name##_##rows##_##panels##_##vectors(float *sums, size_t apart, const float *const *a, size_t K, \
                                                                 const float *panel, size_t stride) \
    { \
        halves(sums, apart, a, K, panel, stride, paired, rows, panels, vectors); \
    }
#define SC_NOINLINE __attribute__((noinline))

/* For each number of vectors: one row over SC_SINGLE_PANELS panels (entry 0), and 1 .. SC_TILE_ROWS rows over one. */
#if SC_TILE_ROWS == 6
#define SC_SWEEPS(vectors) \
    SC_SWEEP(1, 2, vectors) SC_SWEEP(1, 1, vectors) SC_SWEEP(2, 1, vectors) SC_SWEEP(3, 1, vectors) \
    SC_SWEEP(4, 1, vectors) SC_SWEEP(5, 1, vectors) SC_SWEEP(6, 1, vectors)
#define SC_SWEEP_ROW(kind, vectors) \
    {kind##_1_2_##vectors, kind##_1_1_##vectors, kind##_2_1_##vectors, kind##_3_1_##vectors, kind##_4_1_##vectors, \
     kind##_5_1_##vectors, kind##_6_1_##vectors}
#elif SC_TILE_ROWS == 3
#define SC_SWEEPS(vectors) SC_SWEEP(1, 1, vectors) SC_SWEEP(2, 1, vectors) SC_SWEEP(3, 1, vectors)
#define SC_SWEEP_ROW(kind, vectors) {kind##_1_1_##vectors, kind##_1_1_##vectors, kind##_2_1_##vectors, kind##_3_1_##vectors}
#else
#define SC_SWEEPS(vectors) SC_SWEEP(1, 1, vectors) SC_SWEEP(2, 1, vectors)
#define SC_SWEEP_ROW(kind, vectors) {kind##_1_1_##vectors, kind##_1_1_##vectors, kind##_2_1_##vectors}
#endif
SC_SWEEPS(1)
SC_SWEEPS(2)
SC_SWEEPS(3)
SC_SWEEPS(4)

static const chain_function chains[SC_GATES][SC_TILE_ROWS + 1] = {SC_SWEEP_ROW(chain, 1), SC_SWEEP_ROW(chain, 2),
                                                                  SC_SWEEP_ROW(chain, 3), SC_SWEEP_ROW(chain, 4)};
static const halves_function halved[2][SC_GATES][SC_TILE_ROWS + 1] = {
    {SC_SWEEP_ROW(halves, 1), SC_SWEEP_ROW(halves, 2), SC_SWEEP_ROW(halves, 3), SC_SWEEP_ROW(halves, 4)},
    {SC_SWEEP_ROW(paired, 1), SC_SWEEP_ROW(paired, 2), SC_SWEEP_ROW(paired, 3), SC_SWEEP_ROW(paired, 4)},
};

/* ---- Tiles ---------------------------------------------------------------------------------------- */

/* A tile: rows m .. m+rows-1 over panel j, or the single row m over panels j .. j+panels-1; its entry in the tables. */
typedef struct tile {
    size_t m, j, rows, panels, vectors, full; /* full: vectors of all panels but perhaps the last */
} tile;

static size_t tile_count(const tile *t)
{
    return t->rows * t->panels;
}

/* The row and the panel of the tile's n-th sums. */
static size_t tile_row(const tile *t, size_t n)
{
    return t->m + (t->rows > 1 ? n : 0);
}

static size_t tile_panel(const tile *t, size_t n)
{
    return t->j + (t->rows > 1 ? 0 : n);
}

static size_t entry(const tile *t)
{
    return t->panels > 1 ? 0 : t->rows;
}

static void tile_chain(const tile *t, float *sums, const float *const *a, const sc_matrix *w, const float *bias)
{
    const size_t offset = t->j * t->full * SC_V;
    chains[t->vectors - 1][entry(t)](sums, a + t->m, w->rows, w->data + offset * w->rows, t->full * SC_V * w->rows,
                                     bias + offset);
}

static void tile_halves(const tile *t, float *sums, size_t apart, const float *const *a, const sc_matrix *w)
{
    const size_t offset = t->j * t->full * SC_V;
    halved[w->paired][t->vectors - 1][entry(t)](sums, apart, a + t->m, w->rows, w->data + offset * w->rows, t->full * SC_V * w->rows);
}

/* Calls finish(call, tile) over all rows and units. A panel stays outside and the rows run inside, so that weights larger
 * than a cache are read once per call and not once per tile of rows. Rows are split evenly over the passes: a last pass of
 * one row would read the panel again for little. A single row takes SC_SINGLE_PANELS panels at once while it can, but for a
 * paired matrix, which comes from L2: there one stream is faster.
 * `backward` starts from the last panel: a step that sweeps against the one before it finds in the caches what that read
 * last. The last panel of a plain matrix may have fewer vectors. */
SC_INLINE void for_tiles(const void *call, void (*finish)(const void *, const tile *), size_t rows, const sc_matrix *w,
                         bool backward)
{
    const bool plain = w->gates == 1; /* no division by a variable: a small step would feel it */
    const size_t vectors = plain ? SC_GATES : w->gates, blocks = blocks_of(w->units);
    const size_t panels = plain ? blocks / SC_GATES : blocks, rest = plain ? blocks % SC_GATES : 0;
    const size_t groups = rows == 1 && !w->paired ? panels / SC_SINGLE_PANELS : 0, grouped = groups * SC_SINGLE_PANELS;
    const size_t stops = groups + panels - grouped + (rest > 0), passes = (rows + SC_TILE_ROWS - 1) / SC_TILE_ROWS;
    for (size_t i = 0; i < stops; i++) {
        const size_t stop = backward ? stops - 1 - i : i;
        tile t = {.rows = rows, .panels = 1, .vectors = vectors, .full = vectors};
        if (stop < groups) {
            t.j = stop * SC_SINGLE_PANELS;
            t.panels = SC_SINGLE_PANELS;
            finish(call, &t);
            continue;
        }
        t.j = grouped + stop - groups;
        t.vectors = t.j < panels ? vectors : rest;
        if (passes == 1) {
            finish(call, &t);
            continue;
        }
        for (size_t pass = 0; pass < passes; pass++) {
            t.m = pass * rows / passes;
            t.rows = (pass + 1) * rows / passes - t.m;
            finish(call, &t);
        }
    }
}

/* ---- Matmul ------------------------------------------------------------------------------------- */

static void matmul_tile(const void *call, const tile *t)
{
    const sc_matmul *s = call;
    _Alignas(64) float sums[2 * SC_TILE * SC_SUMS];
    float *second = sums + SC_TILE * SC_SUMS;
    if (s->bias != NULL) {
        tile_chain(t, sums, s->a, s->w, s->bias);
    } else {
        tile_halves(t, sums, SC_TILE * SC_SUMS, s->a, s->w);
    }
    for (size_t n = 0; n < tile_count(t); n++) {
        const size_t m = tile_row(t, n), first = tile_panel(t, n) * t->full * SC_V;
        for (size_t v = 0; v < t->vectors; v++) {
            const size_t column = first + v * SC_V;
            vf sum = vf_load(sums + n * SC_SUMS + v * SC_V);
            if (s->bias == NULL && t->rows > 1) {
                sum = vf_add(sum, vf_load(second + n * SC_SUMS + v * SC_V));
            }
            if (s->init != NULL) {
                sum = vf_add(vf_load(s->init[m] + column), sum);
            }
            if (s->exact && column + SC_V > s->w->units) {
                vf_storen(s->out[m] + column, sum, s->w->units - column);
            } else {
                vf_store(s->out[m] + column, sum);
            }
        }
    }
}

static void matmul(const sc_matmul *s)
{
    for_tiles(s, matmul_tile, s->rows, s->w, s->backward);
}

/* ---- Depthwise ------------------------------------------------------------------------------------ */

/* Row m, the columns of one panel; `n` of them in its last vector */
SC_INLINE void depthwise_panel(const sc_depthwise *s, size_t m, size_t column, const float *panel, const int vectors, size_t n)
{
    const size_t K = s->w->rows;
    const float *const *a = s->a + m * K;
    vf acc[SC_GATES];
    SC_UNROLL for (int v = 0; v < vectors; v++) {
        acc[v] = vf_load(s->bias + column + v * SC_V);
    }
    for (size_t k = 0; k < K; k++, panel += vectors * SC_V) {
        const float *x = a[k] + column;
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            const vf values = v < vectors - 1 || n == SC_V ? vf_load(x + v * SC_V) : vf_loadn(x + v * SC_V, n);
            acc[v] = vf_fma(values, vf_load(panel + v * SC_V), acc[v]);
        }
    }
    float *y = s->out[m] + column;
    SC_UNROLL for (int v = 0; v < vectors; v++) {
        if (v < vectors - 1 || n == SC_V) {
            vf_store(y + v * SC_V, acc[v]);
        } else {
            vf_storen(y + v * SC_V, acc[v], n);
        }
    }
}

static void depthwise(const sc_depthwise *s)
{
    const size_t N = s->w->units, K = s->w->rows, blocks = blocks_of(N);
    for (size_t first = 0; first < blocks; first += SC_GATES) {
        const size_t vectors = min_size(SC_GATES, blocks - first), column = first * SC_V;
        const size_t n = min_size(SC_V, N - column - (vectors - 1) * SC_V);
        const float *panel = s->w->data + first * SC_V * K;
        for (size_t m = 0; m < s->rows; m++) {
            if (vectors == 4 && n == SC_V) {
                depthwise_panel(s, m, column, panel, 4, SC_V);
            } else if (vectors == 4) {
                depthwise_panel(s, m, column, panel, 4, n);
            } else if (vectors == 3) {
                depthwise_panel(s, m, column, panel, 3, n);
            } else if (vectors == 2) {
                depthwise_panel(s, m, column, panel, 2, n);
            } else {
                depthwise_panel(s, m, column, panel, 1, n);
            }
        }
    }
}

/* ---- Viterbi -------------------------------------------------------------------------------------- */

/* The columns of one panel, k ascending. All accumulators together hide the wait of each maximum for the one before. */
SC_INLINE void viterbi_panel(const sc_viterbi *s, size_t column, const float *panel, const int vectors)
{
    const size_t N = s->w->units, half = SC_V / 2;
    vd acc[2 * SC_GATES];
    SC_UNROLL for (int v = 0; v < 2 * vectors; v++) {
        acc[v] = vd_set(-INFINITY);
    }
    for (size_t k = 0; k < s->w->rows; k++, panel += vectors * SC_V) {
        const vd best = vd_set(s->best[k]);
        SC_UNROLL for (int v = 0; v < 2 * vectors; v++) {
            acc[v] = vd_max(vd_add(best, vd_of(panel + (size_t)v * half)), acc[v]);
        }
    }
    SC_UNROLL for (int v = 0; v < 2 * vectors; v++) {
        const size_t at = column + (size_t)v * half, left = at < N ? N - at : 0;
        const vd x = left >= half ? vd_of(s->x + at) : vd_ofn(left > 0 ? s->x + at : s->x, left);
        vd_store(s->next + at, vd_add(acc[v], x));
    }
}

static void viterbi(const sc_viterbi *s)
{
    const size_t blocks = blocks_of(s->w->units);
    for (size_t first = 0; first < blocks; first += SC_GATES) {
        const float *panel = s->w->data + first * SC_V * s->w->rows;
        switch (min_size(SC_GATES, blocks - first)) {
        case 4: viterbi_panel(s, first * SC_V, panel, 4); break;
        case 3: viterbi_panel(s, first * SC_V, panel, 3); break;
        case 2: viterbi_panel(s, first * SC_V, panel, 2); break;
        default: viterbi_panel(s, first * SC_V, panel, 1);
        }
    }
}

#include "reductions.h"

/* ---- Activations over an array ------------------------------------------------------------------- */

#define SC_ACTIVATE_CASE(kind_, expression) \
    case kind_: \
        for (; i + SC_V <= n; i += SC_V) { \
            const vf z = vf_load(x + i); \
            vf_store(x + i, expression); \
        } \
        break;

static void activate(sc_activation_spec activation, float *x, size_t n)
{
    const vf alpha = vf_set(activation.alpha), beta = vf_set(activation.beta);
    if (activation.kind >= SC_SOFTMAX) {
        softmax(x, n, activation.kind == SC_LOG_SOFTMAX);
        return;
    }
    if (activation.kind == SC_LINEAR) {
        return;
    }
    size_t i = 0;
    switch (activation.kind) { /* the hot ones have a loop of their own */
        SC_ACTIVATE_CASE(SC_TANH, vf_tanh(z))
        SC_ACTIVATE_CASE(SC_SIGMOID, vf_sigmoid(z))
        SC_ACTIVATE_CASE(SC_RELU, vf_activate(SC_RELU, alpha, beta, z))
    default:
        for (; i + SC_V <= n; i += SC_V) {
            vf_store(x + i, vf_activate(activation.kind, alpha, beta, vf_load(x + i)));
        }
    }
    if (i < n) {
        vf_storen(x + i, vf_activate(activation.kind, alpha, beta, vf_loadn(x + i, n - i)), n - i);
    }
}

#include "cells.h"

/* ---- The table -------------------------------------------------------------------------------------- */

#define SC_TEXT_(a) #a
#define SC_TEXT(a) SC_TEXT_(a)

const sc_kernels SC_JOIN(sc_kernels_, SC_ISA) = {
    .isa = SC_TEXT(SC_ISA),
    .width = SC_V,
    .packed_floats = packed_floats,
    .pack = pack,
    .pack_transposed = pack_transposed,
    .matmul = matmul,
    .depthwise = depthwise,
    .times = times,
    .times_transposed = times_transposed,
    .additive = additive,
    .lstm_step = lstm_step,
    .gru_step = gru_step,
    .rnn_step = rnn_step,
    .reset_before_gates = reset_before_gates,
    .reset_before_state = reset_before_state,
    .activate = activate,
    .normalize = normalize,
    .normalize_gates = normalize_gates,
    .viterbi = viterbi,
    .extremes = extremes,
    .next_above = next_above,
    .share_from = share_from,
};
