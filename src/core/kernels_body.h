/* Packing, matmul tiles and cell steps of every instruction set, written once over simd_<isa>.h.
 *
 * A kernels_<isa>.c includes its simd header, defines
 *   SC_ISA            the suffix of the table: avx512
 *   SC_TILE_ROWS      rows of a register tile, 1..6: SC_TILE_ROWS * 4 accumulators + operands fit the register file
 *   SC_SINGLE_PANELS  panels that a single row sweeps at once, so that enough accumulators hide the FMA's latency
 * and includes this file, which ends in the table. The tile functions are templates: their `const int` parameters are
 * compile-time constants at every call, so that the accumulators live in registers. */
#include "activations.h"
#include "kernels.h"

#include <math.h>

#define SC_GATES 4 /* vectors of a panel at most, and accumulators of a row and panel */
#define SC_TILE (SC_TILE_ROWS > SC_SINGLE_PANELS ? SC_TILE_ROWS : SC_SINGLE_PANELS)
#define SC_UNROLL _Pragma("GCC unroll 16")

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

/* ---- Packing ------------------------------------------------------------------------------------ */

static size_t packed_floats(size_t rows, size_t units, size_t gates)
{
    return rows * gates * blocks_of(units) * SC_V;
}

static void pack(float *data, const float *source, size_t ld, size_t rows, size_t units, size_t gates)
{
    const size_t blocks = blocks_of(units);
    const size_t panel_blocks = gates == 1 ? SC_GATES : 1;
    for (size_t first = 0; first < blocks; first += panel_blocks) {
        const size_t end = min_size(first + panel_blocks, blocks);
        for (size_t k = 0; k < rows; k++) {
            for (size_t block = first; block < end; block++) {
                for (size_t g = 0; g < gates; g++) {
                    for (size_t v = 0; v < SC_V; v++) {
                        const size_t n = block * SC_V + v;
                        *data++ = n < units ? source[k * ld + g * units + n] : 0.0f;
                    }
                }
            }
        }
    }
}

/* ---- The register tile -------------------------------------------------------------------------- */

/* acc[p + m][v] += sum over k in [from, to) of a[m][k] * panel_p[k][v], k ascending: `rows` rows by `panels` panels (one of
 * the two is 1) of `vectors` vectors. */
SC_INLINE void sweep(vf acc[SC_TILE][SC_GATES], const int rows, const int panels, const int vectors,
                     const float *const *a, size_t from, size_t to, const float *panel, size_t stride)
{
    const float *row[SC_TILE];
    SC_UNROLL for (int m = 0; m < rows; m++) {
        row[m] = a[m];
    }
    const size_t step = (size_t)vectors * SC_V;
    panel += from * step;
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

/* acc = the sum over all k, as two chains, k < ceil(K/2) and the others, that are added at the end. Half the length is half
 * the wait of a few accumulators on the FMA's latency, and less than half the rounding error. A small tile runs both chains
 * at once; a large one, that fills the registers with one, runs them in turn: the sums are the same. */
SC_INLINE void sweep_halves(vf acc[SC_TILE][SC_GATES], const int rows, const int panels, const int vectors,
                            const float *const *a, size_t K, const float *panel, size_t stride)
{
    const size_t half = (K + 1) / 2;
    const int count = rows * panels;
    clear(acc, count, vectors);
    if (2 * count * vectors <= SC_TILE_ROWS * SC_GATES || count == 1) {
        vf other[SC_TILE][SC_GATES];
        clear(other, count, vectors);
        for (size_t k = 0; k < K - half; k++) {
            sweep(acc, rows, panels, vectors, a, k, k + 1, panel, stride);
            sweep(other, rows, panels, vectors, a, half + k, half + k + 1, panel, stride);
        }
        sweep(acc, rows, panels, vectors, a, K - half, half, panel, stride); /* K odd: one more */
        SC_UNROLL for (int n = 0; n < count; n++) {
            SC_UNROLL for (int v = 0; v < vectors; v++) {
                acc[n][v] = vf_add(acc[n][v], other[n][v]);
            }
        }
        return;
    }
    _Alignas(64) float first[SC_TILE][SC_GATES * SC_V];
    sweep(acc, rows, panels, vectors, a, 0, half, panel, stride);
    SC_UNROLL for (int n = 0; n < count; n++) {
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            vf_store(first[n] + v * SC_V, acc[n][v]);
        }
    }
    clear(acc, count, vectors);
    sweep(acc, rows, panels, vectors, a, half, K, panel, stride);
    SC_UNROLL for (int n = 0; n < count; n++) {
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            acc[n][v] = vf_add(vf_load(first[n] + v * SC_V), acc[n][v]);
        }
    }
}

/* acc = bias + x.W, one chain */
SC_INLINE void sweep_from_bias(vf acc[SC_TILE][SC_GATES], const int rows, const int panels, const int vectors,
                               const float *bias, const float *const *a, size_t K, const float *panel, size_t stride)
{
    SC_UNROLL for (int p = 0; p < panels; p++) {
        SC_UNROLL for (int m = 0; m < rows; m++) {
            SC_UNROLL for (int v = 0; v < vectors; v++) {
                acc[p + m][v] = vf_load(bias + (p * vectors + v) * SC_V);
            }
        }
    }
    sweep(acc, rows, panels, vectors, a, 0, K, panel, stride);
}

/* Calls tile(s, first row, first panel, rows, panels) with constant rows and panels over all rows and panels [0, count).
 * A panel stays outside and the rows run inside, so that weights larger than a cache are read once per call and not once
 * per tile of rows. Rows are split evenly over the passes: a last pass of one row would read the panel again for little. */
#define SC_TILE_CASE(n, tile, s, m, j) \
    case n: \
        tile(s, m, j, n, 1); \
        break;
#if SC_TILE_ROWS >= 6
#define SC_TILE_CASES(tile, s, m, j) \
    SC_TILE_CASE(2, tile, s, m, j) \
    SC_TILE_CASE(3, tile, s, m, j) \
    SC_TILE_CASE(4, tile, s, m, j) \
    SC_TILE_CASE(5, tile, s, m, j) \
    SC_TILE_CASE(6, tile, s, m, j)
#elif SC_TILE_ROWS == 3
#define SC_TILE_CASES(tile, s, m, j) SC_TILE_CASE(2, tile, s, m, j) SC_TILE_CASE(3, tile, s, m, j)
#else
#define SC_TILE_CASES(tile, s, m, j) SC_TILE_CASE(2, tile, s, m, j)
#endif

#define SC_FOR_TILES(tile, s, total_rows, from, to) \
    do { \
        const size_t passes_ = ((total_rows) + SC_TILE_ROWS - 1) / SC_TILE_ROWS; \
        size_t j_ = (from); \
        if ((total_rows) == 1) { \
            for (; j_ + SC_SINGLE_PANELS <= (to); j_ += SC_SINGLE_PANELS) { \
                tile(s, 0, j_, 1, SC_SINGLE_PANELS); \
            } \
        } \
        for (; j_ < (to); j_++) { \
            for (size_t pass_ = 0; pass_ < passes_; pass_++) { \
                const size_t m_ = pass_ * (total_rows) / passes_; \
                switch ((pass_ + 1) * (total_rows) / passes_ - m_) { \
                case 1: \
                    tile(s, m_, j_, 1, 1); \
                    break; \
                    SC_TILE_CASES(tile, s, m_, j_) \
                } \
            } \
        } \
    } while (0)

/* ---- Matmul ------------------------------------------------------------------------------------- */

/* Panels j .. j+panels-1, each of `vectors` vectors. From the bias the sum is one chain; onto init rows it is two halves. */
SC_INLINE void matmul_tile(const sc_matmul *s, size_t m, size_t j, const int rows, const int panels, const int vectors)
{
    const size_t full = s->w->gates == 1 ? SC_GATES : s->w->gates; /* vectors of all panels but perhaps the last */
    const size_t offset = j * full * SC_V, K = s->w->rows, stride = full * SC_V * K;
    const float *panel = s->w->data + offset * K;
    vf acc[SC_TILE][SC_GATES];
    if (s->init == NULL) {
        sweep_from_bias(acc, rows, panels, vectors, s->bias + offset, s->a + m, K, panel, stride);
    } else {
        sweep_halves(acc, rows, panels, vectors, s->a + m, K, panel, stride);
    }
    SC_UNROLL for (int p = 0; p < panels; p++) {
        SC_UNROLL for (int i = 0; i < rows; i++) {
            const size_t first = offset + (size_t)(p * vectors * SC_V);
            float *to = s->out[m + (size_t)i] + first;
            SC_UNROLL for (int v = 0; v < vectors; v++) {
                const size_t column = first + (size_t)(v * SC_V);
                vf sum = acc[p + i][v];
                if (s->init != NULL) {
                    sum = vf_add(vf_load(s->init[m + (size_t)i] + column), sum);
                }
                if (s->exact && column + SC_V > s->w->units) {
                    vf_storen(to + v * SC_V, sum, s->w->units - column);
                } else {
                    vf_store(to + v * SC_V, sum);
                }
            }
        }
    }
}

#define SC_MATMUL_OF(vectors) \
    SC_INLINE void matmul_tile_##vectors(const sc_matmul *s, size_t m, size_t j, const int rows, const int panels) \
    { \
        matmul_tile(s, m, j, rows, panels, vectors); \
    } \
    static void matmul_##vectors(const sc_matmul *s, size_t from, size_t to) \
    { \
        SC_FOR_TILES(matmul_tile_##vectors, s, s->rows, from, to); \
    }
SC_MATMUL_OF(1)
SC_MATMUL_OF(2)
SC_MATMUL_OF(3)
SC_MATMUL_OF(4)

static void matmul_panels(const sc_matmul *s, size_t vectors, size_t from, size_t to)
{
    switch (vectors) {
    case 1: matmul_1(s, from, to); break;
    case 2: matmul_2(s, from, to); break;
    case 3: matmul_3(s, from, to); break;
    case 4: matmul_4(s, from, to); break;
    }
}

static void matmul(const sc_matmul *s)
{
    if (s->rows == 0) {
        return;
    }
    const size_t blocks = blocks_of(s->w->units);
    if (s->w->gates > 1) {
        matmul_panels(s, s->w->gates, 0, blocks);
    } else {
        matmul_panels(s, SC_GATES, 0, blocks / SC_GATES);
        matmul_panels(s, blocks % SC_GATES, blocks / SC_GATES, (blocks + SC_GATES - 1) / SC_GATES);
    }
}

/* ---- Activations over an array ------------------------------------------------------------------- */

/* softmax(x)_i = exp(x_i - max x) / sum over j of exp(x_j - max x). Lane v sums x_v, x_{v+V}, ... and the lanes are added last:
 * the order depends on n alone. */
static void softmax(float *x, size_t n)
{
    const vf lowest = vf_set(-INFINITY);
    vf top = lowest;
    size_t i = 0;
    for (; i + SC_V <= n; i += SC_V) {
        top = vf_max(top, vf_load(x + i));
    }
    float highest = vf_hmax(top);
    for (; i < n; i++) {
        highest = x[i] > highest ? x[i] : highest;
    }
    const vf shift = vf_set(highest);
    vf total = vf_set(0.0f);
    for (i = 0; i + SC_V <= n; i += SC_V) {
        const vf e = vf_exp(vf_sub(vf_load(x + i), shift));
        vf_store(x + i, e);
        total = vf_add(total, e);
    }
    float rest = 0.0f;
    if (i < n) {
        vf_storen(x + i, vf_exp(vf_sub(vf_loadn(x + i, n - i), shift)), n - i);
        for (size_t k = i; k < n; k++) {
            rest += x[k];
        }
    }
    const vf sum = vf_set(vf_sum(total) + rest);
    for (i = 0; i + SC_V <= n; i += SC_V) {
        vf_store(x + i, vf_div(vf_load(x + i), sum));
    }
    if (i < n) {
        vf_storen(x + i, vf_div(vf_loadn(x + i, n - i), sum), n - i);
    }
}

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
    if (activation.kind == SC_SOFTMAX) {
        softmax(x, n);
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

/* ---- Cells with their default activations, finished in registers ---------------------------------- */

/* Stores the lanes of block j that are units. */
SC_INLINE void store_units(float *row, size_t j, size_t units, vf value)
{
    const size_t left = units - j * SC_V;
    if (left >= SC_V) {
        vf_store(row + j * SC_V, value);
    } else {
        vf_storen(row + j * SC_V, value, left);
    }
}

SC_INLINE vf load_units(const float *row, size_t j, size_t units)
{
    const size_t left = units - j * SC_V;
    return left >= SC_V ? vf_load(row + j * SC_V) : vf_loadn(row + j * SC_V, left);
}

/* i = sigmoid(z_i)   f = sigmoid(z_f)   g = tanh(z_g)   o = sigmoid(z_o)
 * c = f*c + i*g
 * h = o*tanh(c) */
SC_INLINE void lstm_finish(const vf z[SC_GATES], float *c_row, float *h_row, size_t j, size_t units)
{
    const vf i = vf_sigmoid(z[0]);
    const vf f = vf_sigmoid(z[1]);
    const vf g = vf_tanh(z[2]);
    const vf o = vf_sigmoid(z[3]);
    const vf c = vf_fma(f, vf_load(c_row + j * SC_V), vf_mul(i, g));
    vf_store(c_row + j * SC_V, c);
    store_units(h_row, j, units, vf_mul(o, vf_tanh(c)));
}

/* r = sigmoid(z_r)   u = sigmoid(z_z)   n = tanh(x_n + r*h_n)
 * h = (1 - u)*n + u*h: written so that u = 1 keeps h exactly */
SC_INLINE void gru_finish(const vf z[SC_GATES], const float *h_before, float *h_row, size_t j, size_t units)
{
    const vf r = vf_sigmoid(z[0]);
    const vf u = vf_sigmoid(z[1]);
    const vf n = vf_tanh(vf_fma(r, z[3], z[2]));
    const vf h = load_units(h_before, j, units);
    store_units(h_row, j, units, vf_fma(u, h, vf_mul(vf_sub(vf_set(1.0f), u), n)));
}

/* The sums of a step's tile in memory: x[n] is b + x.W and h[n] is h.U of tile row n. In memory, so that one copy of the
 * activations' code serves every row: its cost is hidden behind the sweep, that of its size would not be. */
typedef struct tile_sums {
    _Alignas(64) float x[SC_TILE][SC_GATES * SC_V];
    _Alignas(64) float h[SC_TILE][SC_GATES * SC_V];
} tile_sums;

SC_INLINE void store_tile(float sums[SC_TILE][SC_GATES * SC_V], vf acc[SC_TILE][SC_GATES], const int count, const int vectors)
{
    SC_UNROLL for (int n = 0; n < count; n++) {
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            vf_store(sums[n] + v * SC_V, acc[n][v]);
        }
    }
}

/* b + x.W of the tile, given or computed here, and h.U; x_rows[n] points to tile row n's share of the input. */
SC_INLINE void step_sums(const sc_step *s, size_t m, size_t j, const int rows, const int panels, const int vectors,
                         size_t full, tile_sums *sums, const float *x_rows[SC_TILE])
{
    const size_t offset = j * full * SC_V, H = s->u->rows;
    vf acc[SC_TILE][SC_GATES];
    if (s->xw == NULL) {
        const size_t I = s->w->rows;
        sweep_from_bias(acc, rows, panels, vectors, s->bias + offset, s->x + m, I, s->w->data + offset * I,
                        full * SC_V * I);
        store_tile(sums->x, acc, rows * panels, vectors);
    }
    SC_UNROLL for (int p = 0; p < panels; p++) {
        SC_UNROLL for (int i = 0; i < rows; i++) {
            x_rows[p + i] = s->xw == NULL ? sums->x[p + i] : s->xw[m + (size_t)i] + offset + (size_t)(p * vectors * SC_V);
        }
    }
    sweep_halves(acc, rows, panels, vectors, s->h + m, H, s->u->data + offset * H, full * SC_V * H);
    store_tile(sums->h, acc, rows * panels, vectors);
}

SC_INLINE vf sum_at(const float *x, const float *h, int v)
{
    return vf_add(vf_load(x + v * SC_V), vf_load(h + v * SC_V));
}

SC_INLINE void lstm_tile(const sc_step *s, size_t m, size_t j, const int rows, const int panels)
{
    tile_sums sums;
    const float *x[SC_TILE];
    step_sums(s, m, j, rows, panels, 4, 4, &sums, x);
    for (int n = 0; n < rows * panels; n++) {
        const vf z[SC_GATES] = {sum_at(x[n], sums.h[n], 0), sum_at(x[n], sums.h[n], 1), sum_at(x[n], sums.h[n], 2),
                                sum_at(x[n], sums.h[n], 3)};
        const size_t row = m + (size_t)(rows > 1 ? n : 0), block = j + (size_t)(rows > 1 ? 0 : n);
        lstm_finish(z, s->c[row], s->h_next[row], block, s->u->units);
    }
}

static void lstm_step(const sc_step *s)
{
    SC_FOR_TILES(lstm_tile, s, s->rows, 0, blocks_of(s->u->units));
}

SC_INLINE void gru_tile(const sc_step *s, size_t m, size_t j, const int rows, const int panels)
{
    tile_sums sums;
    const float *x[SC_TILE];
    step_sums(s, m, j, rows, panels, 3, 3, &sums, x);
    for (int n = 0; n < rows * panels; n++) {
        const size_t row = m + (size_t)(rows > 1 ? n : 0), block = j + (size_t)(rows > 1 ? 0 : n);
        const vf z[SC_GATES] = {sum_at(x[n], sums.h[n], 0), sum_at(x[n], sums.h[n], 1), vf_load(x[n] + 2 * SC_V),
                                vf_add(vf_load(s->recurrent_bias + block * SC_V), vf_load(sums.h[n] + 2 * SC_V))};
        gru_finish(z, s->h[row], s->h_next[row], block, s->u->units);
    }
}

static void gru_step(const sc_step *s)
{
    SC_FOR_TILES(gru_tile, s, s->rows, 0, blocks_of(s->u->units));
}

/* h = activation(b + x.W + h.U): a panel is 4 blocks of units, the last one `vectors`. tanh is applied here, any other
 * activation to the finished row: softmax needs all of it. */
SC_INLINE void rnn_tile(const sc_step *s, size_t m, size_t j, const int rows, const int panels, const int vectors)
{
    tile_sums sums;
    const float *x[SC_TILE];
    step_sums(s, m, j, rows, panels, vectors, SC_GATES, &sums, x);
    for (int n = 0; n < rows * panels; n++) {
        float *to = s->h_next[m + (size_t)(rows > 1 ? n : 0)];
        const size_t block = (j + (size_t)(rows > 1 ? 0 : n)) * SC_GATES;
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            const vf z = sum_at(x[n], sums.h[n], v);
            store_units(to, block + (size_t)v, s->u->units, s->activation.kind == SC_TANH ? vf_tanh(z) : z);
        }
    }
}

#define SC_RNN_OF(vectors) \
    SC_INLINE void rnn_tile_##vectors(const sc_step *s, size_t m, size_t j, const int rows, const int panels) \
    { \
        rnn_tile(s, m, j, rows, panels, vectors); \
    } \
    static void rnn_##vectors(const sc_step *s, size_t from, size_t to) \
    { \
        SC_FOR_TILES(rnn_tile_##vectors, s, s->rows, from, to); \
    }
SC_RNN_OF(1)
SC_RNN_OF(2)
SC_RNN_OF(3)
SC_RNN_OF(4)

static void rnn_step(const sc_step *s)
{
    const size_t blocks = blocks_of(s->u->units);
    const size_t panels = blocks / SC_GATES;
    rnn_4(s, 0, panels);
    switch (blocks % SC_GATES) {
    case 1: rnn_1(s, panels, panels + 1); break;
    case 2: rnn_2(s, panels, panels + 1); break;
    case 3: rnn_3(s, panels, panels + 1); break;
    }
    if (s->activation.kind != SC_TANH) {
        for (size_t m = 0; m < s->rows; m++) {
            activate(s->activation, s->h_next[m], s->u->units);
        }
    }
}

/* ---- Cells with any activations -------------------------------------------------------------------- */

/* Activates gate g of a packed row of `gates` gates. Softmax runs over the units of the gate, so that the row's padding and
 * the other gates must stay out: the gate passes through `scratch`, as every gate does here. */
static void activate_gate(sc_activation_spec activation, float *row, size_t g, size_t gates, size_t units, float *scratch)
{
    const size_t blocks = blocks_of(units);
    for (size_t j = 0; j < blocks; j++) {
        vf_store(scratch + j * SC_V, vf_load(row + (j * gates + g) * SC_V));
    }
    activate(activation, scratch, units);
    for (size_t j = 0; j < blocks; j++) {
        vf_store(row + (j * gates + g) * SC_V, vf_load(scratch + j * SC_V));
    }
}

static void lstm_cell(const sc_cell *s)
{
    const size_t H = s->units, blocks = blocks_of(H);
    for (size_t m = 0; m < s->rows; m++) {
        float *z = s->z[m], *c_row = s->c[m], *h_row = s->h_next[m];
        for (size_t g = 0; g < 4; g++) {
            activate_gate(g == 2 ? s->activation : s->recurrent_activation, z, g, 4, H, s->scratch);
        }
        for (size_t j = 0; j < blocks; j++) {
            const float *i = z + j * 4 * SC_V, *f = i + SC_V, *g = f + SC_V;
            const vf c = vf_fma(vf_load(f), vf_load(c_row + j * SC_V), vf_mul(vf_load(i), vf_load(g)));
            vf_store(c_row + j * SC_V, c);
            vf_store(s->scratch + j * SC_V, c);
        }
        activate(s->activation, s->scratch, H);
        for (size_t j = 0; j < blocks; j++) {
            const vf o = vf_load(z + (j * 4 + 3) * SC_V);
            store_units(h_row, j, H, vf_mul(o, vf_load(s->scratch + j * SC_V)));
        }
    }
}

/* h = (1 - u)*n + u*h */
static void gru_state(const float *u, size_t u_stride, const float *n, const float *h, float *h_next, size_t units)
{
    for (size_t j = 0; j < blocks_of(units); j++) {
        const vf z = vf_load(u + j * u_stride);
        const vf kept = vf_mul(vf_sub(vf_set(1.0f), z), vf_load(n + j * SC_V));
        store_units(h_next, j, units, vf_fma(z, load_units(h, j, units), kept));
    }
}

static void gru_cell(const sc_cell *s)
{
    const size_t H = s->units, blocks = blocks_of(H);
    for (size_t m = 0; m < s->rows; m++) {
        float *z = s->z[m];
        const float *x = s->xw[m];
        for (size_t j = 0; j < blocks; j++) {
            for (size_t g = 0; g < 2; g++) {
                const size_t at = (j * 3 + g) * SC_V;
                vf_store(z + at, vf_add(vf_load(x + at), vf_load(z + at)));
            }
        }
        activate_gate(s->recurrent_activation, z, 0, 3, H, s->scratch);
        activate_gate(s->recurrent_activation, z, 1, 3, H, s->scratch);
        for (size_t j = 0; j < blocks; j++) {
            const size_t at = j * 3 * SC_V;
            vf_store(s->scratch + j * SC_V,
                     vf_fma(vf_load(z + at), vf_load(z + at + 2 * SC_V), vf_load(x + at + 2 * SC_V)));
        }
        activate(s->activation, s->scratch, H);
        gru_state(z + SC_V, 3 * SC_V, s->scratch, s->h[m], s->h_next[m], H);
    }
}

/* r = act(b_r + x.W_r + h.U_r)   u likewise; r*h goes into the candidate's matmul */
static void reset_before_gates(const sc_reset_before *s)
{
    const size_t H = s->units, blocks = blocks_of(H);
    for (size_t m = 0; m < s->rows; m++) {
        float *z = s->gates[m];
        if (s->recurrent_activation.kind == SC_SOFTMAX) {
            activate_gate(s->recurrent_activation, z, 0, 2, H, s->scratch);
            activate_gate(s->recurrent_activation, z, 1, 2, H, s->scratch);
        } else {
            activate(s->recurrent_activation, z, 2 * blocks * SC_V);
        }
        for (size_t j = 0; j < blocks; j++) {
            store_units(s->reset_h[m], j, H, vf_mul(vf_load(z + j * 2 * SC_V), load_units(s->h[m], j, H)));
        }
    }
}

/* n = act(b_n + x.W_n + (r*h).U_n) */
static void reset_before_state(const sc_reset_before *s)
{
    for (size_t m = 0; m < s->rows; m++) {
        activate(s->activation, s->candidate[m], s->units);
        gru_state(s->gates[m] + SC_V, 2 * SC_V, s->candidate[m], s->h[m], s->h_next[m], s->units);
    }
}

/* ---- The table -------------------------------------------------------------------------------------- */

#define SC_TEXT_(a) #a
#define SC_TEXT(a) SC_TEXT_(a)

const sc_kernels SC_JOIN(sc_kernels_, SC_ISA) = {
    .isa = SC_TEXT(SC_ISA),
    .width = SC_V,
    .packed_floats = packed_floats,
    .pack = pack,
    .matmul = matmul,
    .lstm_step = lstm_step,
    .gru_step = gru_step,
    .rnn_step = rnn_step,
    .lstm_cell = lstm_cell,
    .gru_cell = gru_cell,
    .reset_before_gates = reset_before_gates,
    .reset_before_state = reset_before_state,
    .activate = activate,
};
