/* Cells in full, of every instruction set, between guard pages as in test_kernels.c: each option of an sc_cell against plain double
 * arithmetic, and a cell that says no more than the plain one against that, to the bit. */
#define _GNU_SOURCE
#include "guarded.h"

#define MOST 97

/* ---- What an sc_cell means ----------------------------------------------------------------------------------- */

/* Activation k of n sums, which are clipped before. */
static void activated(const sc_cell *cell, size_t k, double *z, size_t n)
{
    const sc_activation_spec a = cell->gates[k];
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        z[i] = k < SC_SHOWN ? fmax(-(double)cell->clip, fmin((double)cell->clip, z[i])) : z[i];
        total += exp(z[i]);
    }
    for (size_t i = 0; i < n; i++) {
        switch (a.kind) {
        case SC_TANH: z[i] = tanh(z[i]); break;
        case SC_SIGMOID: z[i] = sigmoid(z[i]); break;
        case SC_RELU: z[i] = fmax(z[i], 0); break;
        case SC_HARD_SIGMOID: z[i] = fmax(0, fmin(1, (double)a.alpha * z[i] + (double)a.beta)); break;
        case SC_SOFTMAX: z[i] = exp(z[i]) / total; break;
        default: CHECK(a.kind == SC_LINEAR, "%d", (int)a.kind);
        }
    }
}

static void normalised(double *z, size_t n, double epsilon, const float *scale, const float *offset)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++) {
        mean += z[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        variance += (z[i] - mean) * (z[i] - mean) / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        z[i] = (z[i] - mean) / sqrt(variance + epsilon) * (double)scale[i] + (double)offset[i];
    }
}

/* What the weights of a norm and of peepholes are before they are packed. */
typedef struct plain_weights {
    float *scale, *offset, *state_scale, *state_offset, *peepholes, *zeros;
} plain_weights;

static void lstm_of(const sc_cell *cell, const plain_weights *w, size_t H, const double *x, const double *h, double *c,
                    double *next)
{
    double z[4 * MOST], shown[MOST];
    const bool products = cell->norm == SC_NORM_PRODUCTS;
    for (size_t i = 0; i < 4 * H; i++) {
        z[i] = products ? h[i] : x[i] + h[i];
    }
    for (size_t g = 0; g < 4 && cell->norm == SC_NORM_GATES; g++) {
        normalised(z + g * H, H, cell->epsilon, w->scale + g * H, w->offset + g * H);
    }
    if (products) {
        normalised(z, 4 * H, cell->epsilon, w->scale, w->zeros);
    }
    for (size_t i = 0; i < 4 * H; i++) {
        z[i] += products ? x[i] : 0;
        z[i] += i < 2 * H && w->peepholes != NULL ? (double)w->peepholes[i] * c[i % H] : 0;
    }
    for (size_t g = 0; g < 3; g++) {
        activated(cell, g, z + g * H, H);
    }
    for (size_t n = 0; n < H; n++) {
        c[n] = (cell->coupled ? 1 - z[n] : z[H + n]) * c[n] + z[n] * z[2 * H + n];
    }
    if (cell->state_norm == SC_STATE_KEPT) {
        normalised(c, H, cell->epsilon, w->state_scale, w->state_offset);
    }
    for (size_t n = 0; n < H; n++) {
        c[n] = shown[n] = fmax(-(double)cell->cell_clip, fmin((double)cell->cell_clip, c[n]));
        z[3 * H + n] += w->peepholes != NULL ? (double)w->peepholes[2 * H + n] * c[n] : 0;
    }
    activated(cell, 3, z + 3 * H, H);
    if (cell->state_norm == SC_STATE_OUTPUT) {
        normalised(shown, H, cell->epsilon, w->state_scale, w->state_offset);
    }
    activated(cell, SC_SHOWN, shown, H);
    for (size_t n = 0; n < H; n++) {
        next[n] = z[3 * H + n] * shown[n];
    }
}

/* `hidden`: h.U, and for n with its bias; where h is reset before, n's is not known yet and comes as `candidate`. */
static void gru_of(const sc_cell *cell, size_t H, const double *x, const double *hidden, const double *candidate, const float *h,
                   double *next)
{
    double r[MOST], z[MOST], n[MOST];
    for (size_t i = 0; i < H; i++) {
        r[i] = x[i] + hidden[i];
        z[i] = x[H + i] + hidden[H + i];
    }
    activated(cell, 0, r, H);
    activated(cell, 1, z, H);
    for (size_t i = 0; i < H; i++) {
        n[i] = candidate != NULL ? candidate[i] : x[2 * H + i] + r[i] * hidden[2 * H + i];
    }
    activated(cell, 2, n, H);
    for (size_t i = 0; i < H; i++) {
        next[i] = cell->replaces ? (1 - z[i]) * (double)h[i] + z[i] * n[i] : (1 - z[i]) * n[i] + z[i] * (double)h[i];
    }
}

/* ---- The cells that are tried -------------------------------------------------------------------------------- */

#define SIGMOID {.kind = SC_SIGMOID}
#define TANH {.kind = SC_TANH}
#define HARD {.kind = SC_HARD_SIGMOID, .alpha = 0.2f, .beta = 0.5f}
#define RELU {.kind = SC_RELU}
#define SOFTMAX {.kind = SC_SOFTMAX}
#define LINEAR {.kind = SC_LINEAR}
#define NO_CLIP .clip = INFINITY, .cell_clip = INFINITY

typedef struct tried {
    bool peepholes;
    sc_cell cell;
} tried;

static const tried lstms[] = {
    {false, {.gates = {SIGMOID, SIGMOID, TANH, SIGMOID, TANH}, NO_CLIP}}, /* the plain one, */
    {false, {.gates = {SIGMOID, SIGMOID, TANH, SIGMOID, TANH}, NO_CLIP, .whole_rows = true}}, /* ... and row by row */
    {true, {.gates = {SIGMOID, SIGMOID, TANH, SIGMOID, TANH}, NO_CLIP}},
    {true, {.gates = {HARD, TANH, RELU, LINEAR, SIGMOID}, .clip = 0.1f, .cell_clip = 0.2f, .coupled = true}},
    {true, {.gates = {SIGMOID, SOFTMAX, TANH, SIGMOID, SOFTMAX}, .clip = 0.2f, .cell_clip = 0.1f, .whole_rows = true}},
    {true, {.gates = {SOFTMAX, SIGMOID, SOFTMAX, SOFTMAX, RELU}, NO_CLIP, .whole_rows = true}},
    {false, {.gates = {SIGMOID, HARD, TANH, SIGMOID, TANH}, .clip = 1.5f, .cell_clip = INFINITY, .whole_rows = true,
             .norm = SC_NORM_PRODUCTS}},
    {false, {.gates = {SIGMOID, SIGMOID, TANH, SIGMOID, TANH}, .clip = INFINITY, .cell_clip = 0.5f, .whole_rows = true,
             .norm = SC_NORM_PRODUCTS, .state_norm = SC_STATE_OUTPUT}},
    {false, {.gates = {SIGMOID, SIGMOID, TANH, SIGMOID, TANH}, .clip = INFINITY, .cell_clip = 0.5f, .whole_rows = true,
             .norm = SC_NORM_GATES, .state_norm = SC_STATE_KEPT}},
    {false, {.gates = {SIGMOID, SIGMOID, TANH, SIGMOID, SOFTMAX}, NO_CLIP, .whole_rows = true, .norm = SC_NORM_GATES,
             .state_norm = SC_STATE_OUTPUT, .coupled = true}},
};

static const sc_cell grus[] = {
    {.gates = {SIGMOID, SIGMOID, TANH}, NO_CLIP}, /* the plain one, */
    {.gates = {SIGMOID, SIGMOID, TANH}, NO_CLIP, .whole_rows = true}, /* ... and row by row */
    {.gates = {SIGMOID, SIGMOID, TANH}, NO_CLIP, .replaces = true},
    {.gates = {HARD, TANH, RELU}, .clip = 0.1f, .cell_clip = INFINITY, .replaces = true},
    {.gates = {SOFTMAX, SIGMOID, TANH}, .clip = 0.2f, .cell_clip = INFINITY, .whole_rows = true},
    {.gates = {SIGMOID, SOFTMAX, SOFTMAX}, NO_CLIP, .whole_rows = true, .replaces = true},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Steps ------------------------------------------------------------------------------------------------------ */

/* Rows of both kinds of cell, their step, and what their sums are in double. */
typedef struct steps {
    size_t M, I, H, G;
    test_matrix w, u;
    float *x[MAX_ROWS], *h[MAX_ROWS], *next[MAX_ROWS], *c[MAX_ROWS], *xw[MAX_ROWS], *z[MAX_ROWS], c_before[MAX_ROWS][128];
    float *b, *bn;
    sc_step step;
} steps;

static void set_up(steps *t, const sc_kernels *k, size_t M, size_t I, size_t H, size_t G)
{
    const size_t padded = k->packed_floats(1, H, 1), packed = k->packed_floats(1, H, G);
    used = 0;
    *t = (steps){.M = M, .I = I, .H = H, .G = G, .w = matrix(k, I, H, G, false), .u = matrix(k, H, H, G, false)};
    t->b = buffer(G * H);
    t->bn = buffer(H);
    rows_of(t->x, M, I);
    rows_of(t->h, M, H);
    rows_of(t->next, M, H);
    rows_of(t->c, M, padded);
    rows_of(t->xw, M, packed);
    rows_of(t->z, M, packed);
    for (size_t m = 0; m < M; m++) {
        memcpy(t->c_before[m], t->c[m], padded * sizeof(float));
    }
    t->step = (sc_step){.rows = M, .x = (const float *const *)t->x, .w = &t->w.packed, .bias = packed_row(k, t->b, H, G),
                        .h = (const float *const *)t->h, .u = &t->u.packed, .recurrent_bias = packed_row(k, t->bn, H, 1),
                        .h_next = t->next, .c = t->c, .scratch = buffer(8 * padded)};
}

/* Points the step at sums that are made before it, as a cell of whole rows wants them. */
static void hoist(steps *t, const sc_kernels *k)
{
    k->matmul(&(sc_matmul){.rows = t->M, .a = t->step.x, .w = t->step.w, .bias = t->step.bias, .out = t->xw});
    t->step.xw = (const float *const *)t->xw;
    t->step.z = t->z;
}

static void run(steps *t, const sc_kernels *k, const sc_cell *cell)
{
    t->step.cell = cell;
    for (size_t m = 0; m < t->M; m++) {
        memcpy(t->c[m], t->c_before[m], k->packed_floats(1, t->H, 1) * sizeof(float));
    }
    (t->G == 4 ? k->lstm_step : k->gru_step)(&t->step);
}

/* b + x.W and h.U of row m, all gates; of a GRU's n the latter with its bias */
static void sums_of(const steps *t, size_t m, double *x, double *h)
{
    for (size_t i = 0; i < t->G * t->H; i++) {
        x[i] = (double)t->b[i] + dot(t->x[m], &t->w, i);
        h[i] = dot(t->h[m], &t->u, i) + (t->G == 3 && i >= 2 * t->H ? (double)t->bn[i - 2 * t->H] : 0);
    }
}

static void compare_lstm(const steps *t, const sc_kernels *k, const sc_cell *cell, const plain_weights *own, size_t number)
{
    for (size_t m = 0; m < t->M; m++) {
        double x[4 * MOST], h[4 * MOST], c[MOST], next[MOST];
        sums_of(t, m, x, h);
        for (size_t n = 0; n < t->H; n++) {
            c[n] = (double)t->c_before[m][n];
        }
        lstm_of(cell, own, t->H, x, h, c, next);
        for (size_t n = 0; n < t->H; n++) {
            near(c[n], t->c[m][n], "lstm c", k->isa, t->M, number, t->H);
            near(next[n], t->next[m][n], "lstm h", k->isa, t->M, number, t->H);
        }
    }
}

/* The step's results must be those of the plain cell, to the bit. */
static void like_plain(steps *t, const sc_kernels *k, const sc_cell *cell)
{
    float h[MAX_ROWS][128], c[MAX_ROWS][128];
    run(t, k, NULL);
    for (size_t m = 0; m < t->M; m++) {
        memcpy(h[m], t->next[m], t->H * sizeof(float));
        memcpy(c[m], t->c[m], t->H * sizeof(float));
        memset(t->next[m], 0, t->H * sizeof(float));
    }
    run(t, k, cell);
    for (size_t m = 0; m < t->M; m++) {
        CHECK(memcmp(h[m], t->next[m], t->H * sizeof(float)) == 0, "%s: h of %zu units, %zu gates", k->isa, t->H, t->G);
        CHECK(t->G == 3 || memcmp(c[m], t->c[m], t->H * sizeof(float)) == 0, "%s: c of %zu units", k->isa, t->H);
    }
}

static void test_lstm(const sc_kernels *k, size_t M, size_t I, size_t H, size_t number)
{
    steps t;
    set_up(&t, k, M, I, H, 4);
    /* few units may be equal: an epsilon keeps what is compared from being noise */
    sc_cell cell = lstms[number].cell;
    plain_weights own = {.scale = buffer(4 * H), .offset = buffer(4 * H), .state_scale = buffer(H), .state_offset = buffer(H),
                         .peepholes = lstms[number].peepholes ? buffer(3 * H) : NULL, .zeros = buffer(4 * H)};
    memset(own.zeros, 0, 4 * H * sizeof(float));
    cell.epsilon = 0.01;
    cell.scale = packed_row(k, own.scale, H, 4);
    cell.offset = packed_row(k, own.offset, H, 4);
    cell.state_scale = own.state_scale;
    cell.state_offset = own.state_offset;
    t.step.peepholes = own.peepholes != NULL ? packed_row(k, own.peepholes, H, 3) : NULL;
    if (!cell.whole_rows) {
        run(&t, k, &cell);
        compare_lstm(&t, k, &cell, &own, number);
    }
    hoist(&t, k);
    run(&t, k, &cell);
    compare_lstm(&t, k, &cell, &own, number);
    if (number < 2) {
        like_plain(&t, k, &cell);
    }
}

static void test_gru(const sc_kernels *k, size_t M, size_t I, size_t H, size_t number)
{
    steps t;
    set_up(&t, k, M, I, H, 3);
    const sc_cell *cell = &grus[number];
    for (int hoisted = cell->whole_rows; hoisted < 2; hoisted++) {
        if (hoisted) {
            hoist(&t, k);
        }
        run(&t, k, cell);
        for (size_t m = 0; m < M; m++) {
            double x[3 * MOST], h[3 * MOST], next[MOST];
            sums_of(&t, m, x, h);
            gru_of(cell, H, x, h, NULL, t.h[m], next);
            for (size_t n = 0; n < H; n++) {
                near(next[n], t.next[m][n], "gru h", k->isa, M, number, H);
            }
        }
    }
    if (number < 2) {
        like_plain(&t, k, cell);
    }
}

/* The two halves of a GRU that resets h before its product. */
static void test_reset_before(const sc_kernels *k, size_t M, size_t H, size_t number)
{
    used = 0;
    const sc_cell *cell = &grus[number];
    float *gates[MAX_ROWS], *candidate[MAX_ROWS], *h[MAX_ROWS], *reset_h[MAX_ROWS], *next[MAX_ROWS];
    float gates_before[MAX_ROWS][2 * 128], candidate_before[MAX_ROWS][128];
    rows_of(gates, M, k->packed_floats(1, H, 2));
    rows_of(candidate, M, k->packed_floats(1, H, 1));
    rows_of(h, M, H);
    rows_of(reset_h, M, H);
    rows_of(next, M, H);
    for (size_t m = 0; m < M; m++) {
        memcpy(gates_before[m], gates[m], k->packed_floats(1, H, 2) * sizeof(float));
        memcpy(candidate_before[m], candidate[m], H * sizeof(float));
    }
    const sc_reset_before call = {.rows = M, .units = H, .gates = gates, .candidate = candidate, .h = (const float *const *)h,
                                  .reset_h = reset_h, .h_next = next, .cell = cell, .scratch = buffer(k->packed_floats(1, H, 1))};
    k->reset_before_gates(&call);
    k->reset_before_state(&call);
    for (size_t m = 0; m < M; m++) {
        double sums[2 * MOST], zeros[2 * MOST] = {0}, n[MOST], r[MOST], expected[MOST];
        for (size_t i = 0; i < H; i++) {
            sums[i] = r[i] = (double)gates_before[m][packed_place(k, i, 0, 2)];
            sums[H + i] = (double)gates_before[m][packed_place(k, i, 1, 2)];
            n[i] = (double)candidate_before[m][i];
        }
        activated(cell, 0, r, H);
        gru_of(cell, H, sums, zeros, n, h[m], expected);
        for (size_t i = 0; i < H; i++) {
            near(r[i] * (double)h[m][i], reset_h[m][i], "reset_before r*h", k->isa, M, number, H);
            near(expected[i], next[m][i], "reset_before h", k->isa, M, number, H);
        }
    }
}

/* Gates far from zero, and first vectors far from the rest: neither may cost digits. */
static void test_norm(const sc_kernels *k, size_t H, bool together, float far, float first)
{
    used = 0;
    const size_t packed = k->packed_floats(1, H, 4);
    float *plain = buffer(4 * H), *scale = buffer(4 * H), *offset = buffer(4 * H);
    for (size_t i = 0; i < 4 * H; i++) {
        plain[i] += far + (i % H < 16 ? first : 0);
    }
    float *z[2] = {packed_row(k, plain, H, 4), packed_row(k, plain, H, 4)};
    const float *b[2] = {packed_row(k, offset, H, 4), packed_row(k, scale, H, 4)};
    k->normalize_gates(&(sc_gate_norm){.rows = 1, .units = H, .z = z, .w = packed_row(k, scale, H, 4), .b = b[0],
                                       .together = together, .epsilon = 1e-6});
    k->normalize_gates(&(sc_gate_norm){.rows = 1, .units = H, .z = z + 1, .w = packed_row(k, scale, H, 4), .each_b = b,
                                       .together = together, .epsilon = 1e-6});
    CHECK(memcmp(z[0], z[1], packed * sizeof(float)) == 0, "%s: %zu units: the same rows", k->isa, H);
    double expected[4 * MOST];
    for (size_t i = 0; i < 4 * H; i++) {
        expected[i] = (double)plain[i];
    }
    for (size_t g = 0; g < (together ? 1 : 4); g++) {
        normalised(expected + g * H, together ? 4 * H : H, 1e-6, scale + g * H, offset + g * H);
    }
    for (size_t i = 0; i < 4 * H; i++) {
        near(expected[i], z[0][packed_place(k, i % H, i / H, 4)], "normalize_gates", k->isa, together, (size_t)far, H);
    }
}

/* One pass would cancel: the first vectors alone are far from all others, in a wide layer. */
static void test_far_guess(const sc_kernels *k)
{
    enum { WIDE = 3000 };
    static double expected[4 * WIDE];
    used = 0;
    float *plain = buffer(4 * WIDE), *scale = buffer(4 * WIDE), *offset = buffer(4 * WIDE);
    for (size_t i = 0; i < 4 * WIDE; i++) {
        plain[i] += i % WIDE < k->width ? 1000 : 0;
        scale[i] = 1;
        expected[i] = (double)plain[i];
    }
    float *z = packed_row(k, plain, WIDE, 4);
    k->normalize_gates(&(sc_gate_norm){.rows = 1, .units = WIDE, .z = &z, .w = packed_row(k, scale, WIDE, 4),
                                       .b = packed_row(k, offset, WIDE, 4), .together = true, .epsilon = 1e-6});
    normalised(expected, 4 * WIDE, 1e-6, scale, offset);
    for (size_t i = 0; i < 4 * WIDE; i++) {
        const float found = z[packed_place(k, i % WIDE, i / WIDE, 4)];
        CHECK(fabs(expected[i] - (double)found) <= 5e-7 * (1 + fabs(expected[i])), "%s: %.9g, expected %.9g", k->isa, (double)found,
              expected[i]);
    }
}

int main(void)
{
    static const size_t some_rows[] = {1, 2, 3, 5, 6, 7, MAX_ROWS}, some_inputs[] = {1, 7, 33};
    map_slots();
    for (size_t i = 0; i < sc_isa_count(); i++) {
        const sc_kernels *k = sc_kernels_find(sc_isa_name(i));
        for (mode = END; mode <= START; mode++) {
            test_far_guess(k);
            for (size_t n = 1; n <= MOST; n += n < 34 ? 1 : 5) {
                const size_t M = some_rows[n % 7], I = some_inputs[n % 3];
                for (size_t number = 0; number < COUNT(lstms); number++) {
                    test_lstm(k, 1, I, n, number);
                    test_lstm(k, M, I, n, number);
                }
                for (size_t number = 0; number < COUNT(grus); number++) {
                    test_gru(k, 1, I, n, number);
                    test_gru(k, M, I, n, number);
                    test_reset_before(k, M, n, number);
                }
                for (int together = 0; together < 2; together++) {
                    test_norm(k, n, together, 0, 0);
                    test_norm(k, n, together, 100, 0);
                    test_norm(k, n, together, 0, 10);
                    test_norm(k, n, together, -100, 1000);
                }
            }
        }
        printf("%s: cells stay in bounds\n", k->isa);
    }
    printf("test_cells: all passed\n");
    return 0;
}
