/* Every kernel of every instruction set, between guard pages: each buffer ends where an unmapped page begins (mode END) or
 * begins where one ends (mode START), so that one byte read or written outside is a fault. Sizes run over 1..97 and so
 * straddle every vector width; buffers that end at a page begin at every odd offset. The results are compared with plain
 * double arithmetic. */
#define _GNU_SOURCE
#include "guarded.h"

#include <math.h>

/* ---- Kernels -------------------------------------------------------------------------------------------------- */

static void test_matmul(const sc_kernels *k, size_t M, size_t K, size_t N, size_t G, bool exact)
{
    used = 0;
    const test_matrix w = matrix(k, K, N, G, false);
    const sc_matrix w_paired = paired(k, &w);
    float *plain = buffer(G * N), *a[MAX_ROWS], *out[MAX_ROWS], *init[MAX_ROWS];
    const float *bias = packed_row(k, plain, N, G);
    const size_t packed = k->packed_floats(1, N, G);
    rows_of(a, M, K);
    rows_of(out, M, exact ? N : packed);
    rows_of(init, M, packed);
    sc_matmul call = {.rows = M, .a = (const float *const *)a, .w = &w.packed, .bias = bias, .out = out, .exact = exact};
    enum { WITH_BIAS, WITH_INIT, PAIRED_WITH_INIT, ALONE, PAIRED_ALONE, WAYS };
    for (int way = 0; way < WAYS; way++) {
        const bool with_init = way == WITH_INIT || way == PAIRED_WITH_INIT;
        call.w = way == PAIRED_WITH_INIT || way == PAIRED_ALONE ? &w_paired : &w.packed;
        call.bias = way == WITH_BIAS ? bias : NULL;
        call.init = with_init ? (const float *const *)init : NULL;
        k->matmul(&call);
        for (size_t m = 0; m < M; m++) {
            for (size_t c = 0; c < G * N; c++) {
                const size_t place = packed_place(k, c % N, c / N, G);
                const double start = (double)(with_init ? init[m][place] : way == WITH_BIAS ? plain[c] : 0.0f);
                near(start + dot(a[m], &w, c), out[m][place], "matmul", k->isa, M, K, N);
            }
        }
    }
}

/* Products with a matrix as it lies: the bits of the packed one, in each of its two ways to lie. */
static void test_plain(const sc_kernels *k, size_t M, size_t K, size_t N)
{
    used = 0;
    const test_matrix w = matrix(k, K, N, 1, false);
    const size_t ld = N + 5, ld_transposed = K + 3, columns = k->packed_floats(1, N, 1);
    float *zeros = buffer(columns), *b = buffer((K - 1) * ld + N), *transposed = buffer((N - 1) * ld_transposed + K);
    float *a[MAX_ROWS], *expected[MAX_ROWS], *out[MAX_ROWS];
    memset(zeros, 0, columns * sizeof *zeros);
    for (size_t i = 0; i < K; i++) {
        for (size_t n = 0; n < N; n++) {
            b[i * ld + n] = transposed[n * ld_transposed + i] = w.source[i * N + n];
        }
    }
    rows_of(a, M, K);
    rows_of(expected, M, N);
    rows_of(out, M, N);
    k->matmul(&(sc_matmul){.rows = M, .a = (const float *const *)a, .w = &w.packed, .bias = zeros, .out = expected, .exact = true});
    for (int way = 0; way < 2; way++) {
        sc_plain call = {.rows = M, .a = (const float *const *)a, .b = way == 0 ? b : transposed, .ld = way == 0 ? ld : ld_transposed, .K = K,
                         .N = N, .out = out};
        (way == 0 ? k->times : k->times_transposed)(&call);
        for (size_t m = 0; m < M; m++) {
            CHECK(memcmp(out[m], expected[m], N * sizeof(float)) == 0, "%s: way %d, rows %zu, K %zu, N %zu: row %zu", k->isa, way, M, K, N, m);
            memset(out[m], 0, N * sizeof(float));
        }
    }
}

/* Additive scores are the product of the tanh's with w, bit for bit. */
static void test_additive(const sc_kernels *k, size_t K, size_t N)
{
    used = 0;
    const size_t ld = K + 3;
    const test_matrix w = matrix(k, K, 1, 1, false);
    float *zeros = buffer(k->packed_floats(1, 1, 1)), *a = buffer(K), *b = buffer((N - 1) * ld + K), *sums = buffer(N * K);
    float *column = buffer(K), *out = buffer(N), single, *expected = &single;
    memset(zeros, 0, k->packed_floats(1, 1, 1) * sizeof *zeros);
    memcpy(column, w.source, K * sizeof *column);
    for (size_t n = 0; n < N; n++) {
        for (size_t i = 0; i < K; i++) {
            sums[n * K + i] = 1.75f * (a[i] + b[n * ld + i]);
        }
    }
    k->activate((sc_activation_spec){.kind = SC_TANH}, sums, N * K);
    k->additive(&(sc_additive){.a = a, .w = column, .b = b, .ld = ld, .K = K, .N = N, .scale = 1.75f, .out = out});
    for (size_t n = 0; n < N; n++) {
        const float *row = sums + n * K;
        k->matmul(&(sc_matmul){.rows = 1, .a = &row, .w = &w.packed, .bias = zeros, .out = &expected, .exact = true});
        CHECK(memcmp(expected, out + n, sizeof single) == 0, "%s: K %zu, N %zu: score %zu", k->isa, K, N, n);
    }
}

/* x.W + b + h.U of gate g and unit n, the input's share first */
typedef struct sums {
    const test_matrix *w, *u;
    const float *b, *x, *h;
} sums;

static double input_sum(const sums *s, size_t g, size_t n)
{
    const size_t column = g * s->w->packed.units + n;
    return (double)s->b[column] + dot(s->x, s->w, column);
}

static double sum_of(const sums *s, size_t g, size_t n)
{
    return input_sum(s, g, n) + dot(s->h, s->u, g * s->w->packed.units + n);
}

enum cell { LSTM, GRU, RNN };

/* A step, fused from x and again from hoisted sums: both must give the same bits. The state before has S values: another number
 * than H where an LSTM's is projected. */
static void test_step(const sc_kernels *k, enum cell cell, size_t M, size_t I, size_t H, size_t S)
{
    used = 0;
    const size_t G = cell == LSTM ? 4 : cell == GRU ? 3 : 1;
    const size_t packed = k->packed_floats(1, H, G), padded = k->packed_floats(1, H, 1);
    const test_matrix w = matrix(k, I, H, G, false), u = matrix(k, S, H, G, false);
    const sc_matrix u_paired = paired(k, &u);
    float *b = buffer(G * H), *bn = buffer(H);
    const float *bias = packed_row(k, b, H, G), *recurrent_bias = packed_row(k, bn, H, 1);
    float *x[MAX_ROWS], *h[MAX_ROWS], *next[MAX_ROWS], *again[MAX_ROWS], *c[MAX_ROWS], *xw[MAX_ROWS];
    rows_of(x, M, I);
    rows_of(h, M, S);
    rows_of(next, M, H);
    rows_of(again, M, H);
    rows_of(c, M, padded);
    rows_of(xw, M, packed);
    float before[MAX_ROWS][128];
    for (size_t m = 0; m < M; m++) {
        memcpy(before[m], c[m], padded * sizeof(float));
    }
    sc_step step = {.rows = M, .x = (const float *const *)x, .w = &w.packed, .bias = bias, .h = (const float *const *)h,
                    .u = &u.packed, .scratch = buffer(8 * padded), .recurrent_bias = recurrent_bias, .h_next = next,
                    .c = c, .activation = {.kind = SC_TANH}};
    void (*run)(const sc_step *) = cell == LSTM ? k->lstm_step : cell == GRU ? k->gru_step : k->rnn_step;
    run(&step);
    for (size_t m = 0; m < M; m++) {
        const sums s = {.w = &w, .u = &u, .b = b, .x = x[m], .h = h[m]};
        for (size_t n = 0; n < H; n++) {
            double expected = tanh(sum_of(&s, 0, n));
            if (cell == LSTM) {
                const double state = sigmoid(sum_of(&s, 1, n)) * (double)before[m][n] +
                                     sigmoid(sum_of(&s, 0, n)) * tanh(sum_of(&s, 2, n));
                near(state, c[m][n], "lstm c", k->isa, M, I, H);
                expected = sigmoid(sum_of(&s, 3, n)) * tanh(state);
            } else if (cell == GRU) {
                const double z = sigmoid(sum_of(&s, 1, n));
                const double hidden = (double)bn[n] + dot(h[m], &u, 2 * H + n);
                const double candidate = tanh(input_sum(&s, 2, n) + sigmoid(sum_of(&s, 0, n)) * hidden);
                expected = (1 - z) * candidate + z * (double)h[m][n];
            }
            near(expected, next[m][n], "step h", k->isa, M, I, H);
        }
        memcpy(c[m], before[m], padded * sizeof(float));
    }
    k->matmul(&(sc_matmul){.rows = M, .a = (const float *const *)x, .w = &w.packed, .bias = bias, .out = xw});
    step.xw = (const float *const *)xw;
    step.x = NULL;
    step.h_next = again;
    for (int way = 0; way < 4; way++) { /* hoisted, paired, backwards: the same bits as fused */
        step.u = way % 2 == 0 ? &u.packed : &u_paired;
        step.backward = way >= 2;
        run(&step);
        for (size_t m = 0; m < M; m++) {
            CHECK(memcmp(next[m], again[m], H * sizeof(float)) == 0, "%s: way %d differs, H %zu", k->isa, way, H);
            memcpy(c[m], before[m], padded * sizeof(float));
        }
    }
}

/* Every kind of normalisation, with weights and without, in place and not. */
static void test_normalize(const sc_kernels *k, size_t n)
{
    for (int kind = SC_LAYER_NORM; kind <= SC_UNIT_NORM; kind++) {
        used = 0;
        float *x = buffer(n), *y = buffer(n), *w = buffer(n), *b = buffer(n);
        double mean = 0, squares = 0, variance = 0;
        for (size_t i = 0; i < n; i++) {
            mean += (double)x[i] / (double)n;
            squares += (double)x[i] * (double)x[i];
        }
        for (size_t i = 0; i < n; i++) {
            variance += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
        }
        const double about = kind == SC_RMS_NORM ? squares / (double)n : variance;
        const double scale = kind == SC_UNIT_NORM ? 1 / fmax(sqrt(squares), 0.1) : 1 / sqrt(about + 0.1);
        sc_normalize call = {.kind = (sc_norm)kind, .epsilon = 0.1, .n = n, .x = x, .y = y, .w = w, .b = b};
        k->normalize(&call);
        call = (sc_normalize){.kind = (sc_norm)kind, .epsilon = 0.1, .n = n, .x = x, .y = x};
        for (size_t i = 0; i < n; i++) {
            const double d = ((double)x[i] - (kind == SC_LAYER_NORM ? mean : 0)) * scale;
            near(d * (double)w[i] + (double)b[i], y[i], "normalize", k->isa, 1, (size_t)kind, n);
            y[i] = (float)d;
        }
        k->normalize(&call);
        for (size_t i = 0; i < n; i++) {
            near((double)y[i], x[i], "normalize in place", k->isa, 1, (size_t)kind, n);
        }
    }
}

/* Every activation: in bounds, and each element as it is alone (softmax: sums to 1 and keeps the order). */
static void test_activate(const sc_kernels *k, size_t n)
{
    for (int kind = 0; kind < SC_ACTIVATIONS; kind++) {
        used = 0;
        const sc_activation_spec activation = {.kind = (enum sc_activation)kind, .alpha = 0.3f, .beta = 0.5f};
        float *x = buffer(n), *single = buffer(1);
        float before[128];
        memcpy(before, x, n * sizeof(float));
        k->activate(activation, x, n);
        double total = 0;
        for (size_t i = 0; i < n; i++) {
            total += (double)x[i];
            *single = before[i];
            k->activate(activation, single, 1);
            CHECK(kind >= SC_SOFTMAX || memcmp(single, &x[i], sizeof(float)) == 0, "%s: activation %d, element %zu of %zu",
                  k->isa, kind, i, n);
            CHECK(kind != SC_SOFTMAX || i == 0 || (x[i] > x[i - 1]) == (before[i] > before[i - 1]), "softmax's order");
        }
        if (kind == SC_SOFTMAX) {
            near(1, (float)total, "softmax", k->isa, 1, 0, n);
        }
    }
}

/* A buffer of n doubles. */
static double *doubles(size_t n)
{
    double *memory = (double *)(void *)buffer(2 * n);
    for (size_t i = 0; i < n; i++) {
        memory[i] = (double)(int)(next_value++ % 251) / 3 - 40;
    }
    return memory;
}

/* A frame of the best path, to the bit: every third from a tag that is forbidden. */
static void test_viterbi(const sc_kernels *k, size_t n)
{
    used = 0;
    const test_matrix w = matrix(k, n, n, 1, false);
    const float *x = buffer(n);
    double *best = doubles(n), *next = doubles(k->packed_floats(1, n, 1));
    best[n / 2] = n % 3 == 0 ? -INFINITY : best[n / 2];
    k->viterbi(&(sc_viterbi){.w = &w.packed, .best = best, .x = x, .next = next});
    for (size_t j = 0; j < n; j++) {
        double expected = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            expected = fmax(expected, best[i] + (double)w.source[i * n + j]);
        }
        expected += (double)x[j];
        CHECK(memcmp(&expected, &next[j], sizeof expected) == 0, "%s viterbi, tag %zu of %zu: expected %.17g, found %.17g",
              k->isa, j, n, expected, next[j]);
    }
}

/* The greatest wherever it stands, of equal ones the first; NaN and infinities anywhere. */
static void test_extremes(const sc_kernels *k, size_t n)
{
    static const float odd[] = {0.0f, -0.0f, 9.0f, -9.0f, INFINITY, -INFINITY, NAN};
    for (size_t way = 0; way < 16; way++) {
        used = 0;
        float *x = buffer(n), least = INFINITY, greatest = -INFINITY;
        for (size_t i = 0; i < 2 && way < 14; i++) { /* the same in two places */
            x[random_below(n)] = odd[way % 7];
        }
        for (size_t i = 0; i < n && way == 15; i++) {
            x[i] = -INFINITY;
        }
        size_t first = 0;
        bool numbers = true;
        for (size_t i = 0; i < n; i++) {
            numbers = numbers && !isnan(x[i]);
            least = fminf(least, x[i]);
            first = x[i] > greatest ? i : first;
            greatest = fmaxf(greatest, x[i]);
        }
        const sc_extremes e = k->extremes(x, n);
        CHECK(e.numbers == numbers && e.least == least && e.greatest == greatest, "%s: way %zu of %zu: %g to %g", k->isa, way, n,
              (double)e.least, (double)e.greatest);
        CHECK(e.first == first || (isnan(x[0]) && greatest == -INFINITY), "%s: way %zu of %zu: %zu, expected %zu", k->isa, way, n, e.first, first);
        for (int counts = 0; counts < 2 && numbers && fabsf(least) < INFINITY && greatest < INFINITY; counts++) {
            double share = 0;
            for (size_t i = 0; i < n; i++) {
                share += x[i] < x[n / 2] ? 0 : counts ? 1 : (double)x[i];
            }
            const double found = k->share_from(x, n, x[n / 2], counts);
            CHECK(fabs(found - share) <= 1e-12 * (double)n && (!counts || found == share), "%s: way %zu of %zu: %g, expected %g", k->isa, way, n, found,
                  share);
        }
        for (size_t from = 0, to; numbers && from <= n; from = to + 1) {
            const float limit = way % 2 == 0 ? 0.2f : -INFINITY;
            to = from;
            while (to < n && !(x[to] > limit)) {
                to++;
            }
            CHECK(k->next_above(x, n, from, limit) == to, "%s: way %zu of %zu: %zu, expected %zu", k->isa, way, n,
                  k->next_above(x, n, from, limit), to);
        }
    }
}

int main(void)
{
    static const size_t some_rows[] = {1, 2, 3, 5, 6, 7, MAX_ROWS}, some_inputs[] = {1, 7, 33};
    map_slots();
    for (size_t i = 0; i < sc_isa_count(); i++) {
        const sc_kernels *k = sc_kernels_find(sc_isa_name(i));
        for (mode = END; mode <= START; mode++) {
            for (size_t n = 1; n <= 97; n++) {
                const size_t M = some_rows[n % 7], I = some_inputs[n % 3];
                for (size_t G = 1; G <= 4; G++) {
                    test_matmul(k, M, I, n, G, false);
                    test_matmul(k, 1, n, n % 13 + 1, G, false);
                }
                test_transposed(k, I, n);
                test_transposed(k, n, I);
                for (size_t other = 0; other < 3; other++) {
                    test_plain(k, M, some_inputs[other], n);
                    test_plain(k, M, n, some_inputs[other]);
                    test_additive(k, some_inputs[other], n);
                    test_additive(k, n, some_inputs[other]);
                }
                test_plain(k, 1, n, 97 - n + 1);
                test_matmul(k, M, I, n, 1, true);
                test_matmul(k, 1, I, n, 1, true);
                for (int cell = LSTM; cell <= RNN; cell++) {
                    test_step(k, (enum cell)cell, 1, I, n, n);
                    test_step(k, (enum cell)cell, M, I, n, n);
                    test_step(k, (enum cell)cell, some_rows[(n + 3) % 7], n, 97 - n + 1, 97 - n + 1);
                }
                test_step(k, LSTM, 1, I, n, n % 19 + 1);
                test_step(k, LSTM, M, I, n, 97 - n + 1);
                test_activate(k, n);
                test_normalize(k, n);
                test_viterbi(k, n);
                test_extremes(k, n);
                test_extremes(k, 17 * n);
            }
        }
        printf("%s: kernels stay in bounds\n", k->isa);
    }
    printf("test_kernels: all passed\n");
    return 0;
}
