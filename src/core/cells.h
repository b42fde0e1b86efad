/* LSTM, GRU and SimpleRNN: one step of each, as equations over vectors. Part of kernels_body.h, whose sweeps give the sums;
 * written once for every instruction set. First the cells with their default activations, finished straight from a tile's
 * sums; then the same with any activations, and the reset-before GRU. */
#ifndef SC_CELLS_H
#define SC_CELLS_H

/* ---- Cells with their default activations, finished tile by tile ---------------------------------- */

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

/* h.U of a step's tile into `h`, and b + x.W, computed into `x` where it is not given: x_rows[n] points to row n's. */
SC_INLINE void step_sums(const sc_step *s, const tile *t, float *x, float *h, const float *x_rows[SC_TILE])
{
    if (s->xw == NULL) {
        tile_chain(t, x, s->x, s->w, s->bias);
    }
    for (size_t n = 0; n < tile_count(t); n++) {
        x_rows[n] = s->xw == NULL ? x + n * SC_SUMS : s->xw[tile_row(t, n)] + tile_panel(t, n) * t->full * SC_V;
    }
    tile_halves(t, h, s->h, s->u);
}

SC_INLINE vf sum_at(const float *x, const float *h, size_t v)
{
    return vf_add(vf_load(x + v * SC_V), vf_load(h + v * SC_V));
}

static void lstm_tile(const void *call, const tile *t)
{
    const sc_step *s = call;
    _Alignas(64) float sums_x[SC_TILE * SC_SUMS], sums_h[SC_TILE * SC_SUMS];
    const float *x_rows[SC_TILE];
    step_sums(s, t, sums_x, sums_h, x_rows);
    for (size_t n = 0; n < tile_count(t); n++) {
        const float *x = x_rows[n], *h = sums_h + n * SC_SUMS;
        const vf z[SC_GATES] = {sum_at(x, h, 0), sum_at(x, h, 1), sum_at(x, h, 2), sum_at(x, h, 3)};
        const size_t row = tile_row(t, n);
        lstm_finish(z, s->c[row], s->h_next[row], tile_panel(t, n), s->u->units);
    }
}

static void lstm_step(const sc_step *s)
{
    for_tiles(s, lstm_tile, s->rows, s->u->units, 4, s->backward);
}

static void gru_tile(const void *call, const tile *t)
{
    const sc_step *s = call;
    _Alignas(64) float sums_x[SC_TILE * SC_SUMS], sums_h[SC_TILE * SC_SUMS];
    const float *x_rows[SC_TILE];
    step_sums(s, t, sums_x, sums_h, x_rows);
    for (size_t n = 0; n < tile_count(t); n++) {
        const float *x = x_rows[n], *h = sums_h + n * SC_SUMS;
        const size_t row = tile_row(t, n), block = tile_panel(t, n);
        const vf hidden = vf_add(vf_load(s->recurrent_bias + block * SC_V), vf_load(h + 2 * SC_V));
        const vf z[SC_GATES] = {sum_at(x, h, 0), sum_at(x, h, 1), vf_load(x + 2 * SC_V), hidden};
        gru_finish(z, s->h[row] + s->first, s->h_next[row], block, s->u->units);
    }
}

static void gru_step(const sc_step *s)
{
    for_tiles(s, gru_tile, s->rows, s->u->units, 3, s->backward);
}

/* h = activation(b + x.W + h.U). tanh is applied here, any other activation to the finished row: softmax needs all of it. */
static void rnn_tile(const void *call, const tile *t)
{
    const sc_step *s = call;
    _Alignas(64) float sums_x[SC_TILE * SC_SUMS], sums_h[SC_TILE * SC_SUMS];
    const float *x_rows[SC_TILE];
    step_sums(s, t, sums_x, sums_h, x_rows);
    for (size_t n = 0; n < tile_count(t); n++) {
        float *to = s->h_next[tile_row(t, n)];
        for (size_t v = 0; v < t->vectors; v++) {
            const vf z = sum_at(x_rows[n], sums_h + n * SC_SUMS, v);
            store_units(to, tile_panel(t, n) * SC_GATES + v, s->u->units, s->activation.kind == SC_TANH ? vf_tanh(z) : z);
        }
    }
}

static void rnn_step(const sc_step *s)
{
    for_tiles(s, rnn_tile, s->rows, s->u->units, 1, s->backward);
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
        gru_state(z + SC_V, 3 * SC_V, s->scratch, s->h[m] + s->first, s->h_next[m], H);
    }
}

/* r = act(b_r + x.W_r + h.U_r)   u likewise; r*h goes into the candidate's matmul */
static void reset_before_gates(const sc_reset_before *s)
{
    const size_t H = s->units, blocks = blocks_of(H);
    for (size_t m = 0; m < s->rows; m++) {
        float *z = s->gates[m], *reset_h = s->reset_h[m] + s->first;
        const float *h = s->h[m] + s->first;
        if (s->recurrent_activation.kind == SC_SOFTMAX) {
            activate_gate(s->recurrent_activation, z, 0, 2, H, s->scratch);
            activate_gate(s->recurrent_activation, z, 1, 2, H, s->scratch);
        } else {
            activate(s->recurrent_activation, z, 2 * blocks * SC_V);
        }
        for (size_t j = 0; j < blocks; j++) {
            store_units(reset_h, j, H, vf_mul(vf_load(z + j * 2 * SC_V), load_units(h, j, H)));
        }
    }
}

/* n = act(b_n + x.W_n + (r*h).U_n) */
static void reset_before_state(const sc_reset_before *s)
{
    for (size_t m = 0; m < s->rows; m++) {
        activate(s->activation, s->candidate[m], s->units);
        gru_state(s->gates[m] + SC_V, 2 * SC_V, s->candidate[m], s->h[m] + s->first, s->h_next[m], s->units);
    }
}

#endif
