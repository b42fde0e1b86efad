/* Cells in full (docs/design.md): any activations, clips, peepholes, coupled gates, layer norm; and the reset-before
 * GRU. Included by cells.h, whose steps end here when an sc_cell says more than sigmoid and tanh.
 *
 * One epilogue serves them all. It reads slots: of every row and panel four vectors, SC_SUMS from one to the next. For
 * most cells these are a tile's sums, in L1 (or a single row's, in scratch), and everything happens between a load and a
 * store. A softmax or a norm needs all units first: then the slots are a whole row, which is normalised in place between
 * the same functions. */
#ifndef SC_CELLS_FULL_H
#define SC_CELLS_FULL_H

/* Slots, and what becomes of them. */
typedef struct cells {
    const sc_step *s;
    const sc_cell *cell;
    const tile *t;
    float *z;           /* LSTM: i f g o; GRU: r z, b + h.U of n, b + x.W of n */
    const float *shown; /* what an LSTM's activation h takes, of the single row; NULL: c */
    unsigned made;      /* bit k: gate k went through its activation as a row */
} cells;

SC_INLINE float *slot(const cells *w, size_t n, const size_t k)
{
    return w->z + n * SC_SUMS + k * SC_V;
}

SC_INLINE float *c_of(const cells *w, size_t n)
{
    return w->s->c[tile_row(w->t, n)] + tile_panel(w->t, n) * SC_V;
}

SC_INLINE void store_next(const cells *w, size_t n, vf h)
{
    store_units(w->s->h_next[tile_row(w->t, n)], tile_panel(w->t, n), w->s->u->units, h);
}

/* ---- Activations ---------------------------------------------------------------------------------- */

/* Not inlined: what is rare stays out of the code of what is not. */
static SC_NOINLINE void activate_vectors(sc_activation_spec activation, float *x)
{
    vf z[SC_CELLS];
    if (activation.kind != SC_SIGMOID && activation.kind != SC_TANH) {
        activate(activation, x, SC_CELLS * SC_V);
        return;
    }
    SC_EACH(SC_CELLS) z[e] = vf_load(x + e * SC_V);
    if (activation.kind == SC_TANH) {
        vf_tanhs(z, SC_CELLS);
    } else {
        vf_sigmoids(z, SC_CELLS);
    }
    SC_EACH(SC_CELLS) vf_store(x + e * SC_V, z[e]);
}

/* Whether activation k takes a sum, which is clipped; c, which an LSTM's last one takes, is not, as in ONNX Runtime. */
SC_INLINE bool clips(const sc_cell *cell, const size_t k)
{
    return k != SC_SHOWN && cell->clip < INFINITY;
}

/* z = activation k of z, clipped. `usual`, sigmoid or tanh, is what it nearly always is. */
SC_INLINE void finish_gate(const sc_cell *cell, const size_t k, vf *z, const int count, const enum sc_activation usual)
{
    const sc_activation_spec activation = cell->gates[k];
    if (clips(cell, k)) {
        SC_EACH(count) z[e] = sc_clamp(z[e], -cell->clip, cell->clip);
    }
    if (activation.kind == usual && usual == SC_TANH) {
        vf_tanhs(z, count);
    } else if (activation.kind == usual) {
        vf_sigmoids(z, count);
    } else if (activation.kind != SC_LINEAR) {
        _Alignas(64) float some[SC_CELLS * SC_V];
        SC_EACH(SC_CELLS) vf_store(some + e * SC_V, z[e < count ? e : 0]);
        activate_vectors(activation, some);
        SC_EACH(count) z[e] = vf_load(some + e * SC_V);
    }
}

/* x, every `step`-th vector of a row, clipped and through activation k, which may look at all units; by way of
 * `scratch`. */
static void activate_row(const sc_cell *cell, size_t k, float *x, size_t step, size_t units, float *scratch)
{
    const size_t blocks = blocks_of(units);
    for (size_t j = 0; j < blocks; j++) {
        const vf z = vf_load(x + j * step);
        vf_store(scratch + j * SC_V, clips(cell, k) ? sc_clamp(z, -cell->clip, cell->clip) : z);
    }
    activate(cell->gates[k], scratch, units);
    for (size_t j = 0; j < blocks; j++) {
        vf_store(x + j * step, vf_load(scratch + j * SC_V));
    }
}

static bool over_units(const sc_cell *cell, size_t k)
{
    return cell->gates[k].kind >= SC_SOFTMAX;
}

/* ---- LSTM ----------------------------------------------------------------------------------------- */

/* z_k + p_k*c; the rows of peepholes are those of i, f and o. */
SC_INLINE vf with_peephole(const cells *w, size_t n, const size_t k, vf z, vf c)
{
    const float *p = w->s->peepholes + (tile_panel(w->t, n) * 3 + (k == 3 ? 2 : k)) * SC_V;
    return vf_fma(vf_load(p), c, z);
}

/* i, f and o = sigmoid(clip(z_k + p_k*c)), g = tanh(clip(z_g)), with the cell's own activations in their place */
SC_INLINE void lstm_gate(const cells *w, size_t first, const size_t k, vf *z, const vf *c, const int count)
{
    SC_EACH(count) z[e] = vf_load(slot(w, first + (size_t)e, k));
    if (w->made >> k & 1) {
        return;
    }
    if (w->s->peepholes != NULL && k != 2) {
        SC_EACH(count) z[e] = with_peephole(w, first + (size_t)e, k, z[e], c[e]);
    }
    finish_gate(w->cell, k, z, count, k == 2 ? SC_TANH : SC_SIGMOID);
}

SC_INLINE vf clip_c(const sc_cell *cell, vf c)
{
    return cell->cell_clip < INFINITY ? sc_clamp(c, -cell->cell_clip, cell->cell_clip) : c;
}

/* c = f*c + i*g, clipped; coupled gates: f = 1 - i. A c that is normalised is clipped behind that. */
SC_INLINE void lstm_update_finish(const cells *w, size_t first, const int count)
{
    vf i[SC_AT_ONCE], f[SC_AT_ONCE], g[SC_AT_ONCE], c[SC_AT_ONCE];
    const bool last = w->cell->state_norm != SC_STATE_KEPT;
    SC_EACH(count) c[e] = vf_load(c_of(w, first + (size_t)e));
    lstm_gate(w, first, 0, i, c, count);
    lstm_gate(w, first, 2, g, c, count);
    if (w->cell->coupled) {
        SC_EACH(count) f[e] = vf_sub(vf_set(1.0f), i[e]);
    } else {
        lstm_gate(w, first, 1, f, c, count);
    }
    SC_EACH(count) c[e] = vf_fma(f[e], c[e], vf_mul(i[e], g[e]));
    SC_EACH(count) vf_store(c_of(w, first + (size_t)e), last ? clip_c(w->cell, c[e]) : c[e]);
}

/* h = o*tanh(c): c, or what it shows */
SC_INLINE void lstm_output_finish(const cells *w, size_t first, const int count)
{
    vf o[SC_AT_ONCE], c[SC_AT_ONCE];
    SC_EACH(count) c[e] = vf_load(c_of(w, first + (size_t)e));
    lstm_gate(w, first, 3, o, c, count);
    if (w->shown != NULL) {
        SC_EACH(count) c[e] = vf_load(w->shown + tile_panel(w->t, first + (size_t)e) * SC_V);
    }
    if (!(w->made >> SC_SHOWN & 1)) {
        finish_gate(w->cell, SC_SHOWN, c, count, SC_TANH);
    }
    SC_EACH(count) store_next(w, first + (size_t)e, vf_mul(o[e], c[e]));
}

SC_FINISH_ALL(lstm_update, cells)
SC_FINISH_ALL(lstm_output, cells)

static void lstm_full_finish_all(const step_tile *tile)
{
    const cells w = {.s = tile->s, .cell = tile->s->cell, .t = tile->t, .z = tile->h};
    for (size_t n = 0; n < tile_count(w.t); n++) {
        SC_EACH(4) vf_store(slot(&w, n, (size_t)e), sum_of(tile, n, (size_t)e));
    }
    lstm_update_finish_all(&w);
    lstm_output_finish_all(&w);
}

/* Gate k of a whole row, where its activation looks at all units. */
static void lstm_row_gate(cells *w, size_t k)
{
    const size_t units = w->s->u->units;
    if (!over_units(w->cell, k)) {
        return;
    }
    for (size_t j = 0; w->s->peepholes != NULL && k != 2 && j < blocks_of(units); j++) {
        float *z = slot(w, j, k);
        vf_store(z, with_peephole(w, j, k, vf_load(z), vf_load(c_of(w, j))));
    }
    activate_row(w->cell, k, slot(w, 0, k), SC_SUMS, units, w->s->scratch);
    w->made |= 1u << k;
}

/* c, which is normalised in its place, or for h alone, in `shown`; and what a softmax makes of it. */
static void lstm_row_state(cells *w, float *shown)
{
    const sc_cell *cell = w->cell;
    const size_t units = w->s->u->units, blocks = blocks_of(units);
    float *c = c_of(w, 0);
    sc_normalize norm = {.kind = SC_LAYER_NORM, .epsilon = cell->epsilon, .n = units, .x = c, .y = c, .w = cell->state_scale,
                         .b = cell->state_offset};
    if (cell->state_norm == SC_STATE_KEPT) {
        normalize(&norm);
        for (size_t j = 0; j < blocks; j++) {
            vf_store(c + j * SC_V, clip_c(cell, vf_load(c + j * SC_V)));
        }
    }
    if (cell->state_norm == SC_STATE_OUTPUT) {
        norm.y = shown;
        normalize(&norm);
        w->shown = shown;
    } else if (over_units(cell, SC_SHOWN)) {
        memcpy(shown, c, blocks * SC_V * sizeof(float));
        w->shown = shown;
    }
    if (over_units(cell, SC_SHOWN)) {
        activate_row(cell, SC_SHOWN, shown, SC_V, units, w->s->scratch);
        w->made |= 1u << SC_SHOWN;
    }
}

#define SC_ROWS 4 /* that go through a norm one behind the other, as it waits for its own sums; they are in L1 then */

/* `count` rows from `first` on, whose sums are there. */
static void lstm_some_rows(const sc_step *s, size_t first, size_t count)
{
    const sc_cell *cell = s->cell;
    const bool products = cell->norm == SC_NORM_PRODUCTS;
    const size_t blocks = blocks_of(s->u->units);
    tile rows[SC_ROWS];
    cells each[SC_ROWS];
    for (size_t i = 0; i < count; i++) {
        rows[i] = (tile){.m = first + i, .rows = 1, .panels = blocks, .vectors = 4, .full = 4};
        each[i] = (cells){.s = s, .cell = cell, .t = &rows[i], .z = s->z[first + i]};
    }
    if (cell->norm != SC_NORM_NOTHING) {
        normalize_gates(&(sc_gate_norm){.rows = count, .units = s->u->units, .z = s->z + first, .w = cell->scale, .b = cell->offset,
                                        .each_b = products ? s->xw + first : NULL, .together = products,
                                        .epsilon = cell->epsilon});
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < 3; k++) {
            lstm_row_gate(&each[i], k);
        }
        lstm_update_finish_all(&each[i]);
    }
    for (size_t i = 0; i < count; i++) {
        lstm_row_state(&each[i], s->scratch + (1 + i) * blocks * SC_V);
    }
    for (size_t i = 0; i < count; i++) {
        lstm_row_gate(&each[i], 3);
        lstm_output_finish_all(&each[i]);
    }
}

/* Cells that need all sums of a row: z = (b + x.W) + h.U, or of products that are normalised only h.U. */
static void lstm_rows(const sc_step *s)
{
    const bool products = s->cell->norm == SC_NORM_PRODUCTS;
    matmul(&(sc_matmul){.rows = s->rows, .a = s->h, .w = s->u, .init = products ? NULL : s->xw, .out = s->z,
                        .backward = s->backward});
    for (size_t m = 0; m < s->rows; m += SC_ROWS) {
        lstm_some_rows(s, m, min_size(SC_ROWS, s->rows - m));
    }
}

/* ---- GRU ------------------------------------------------------------------------------------------ */

/* h = (1 - z)*n + z*h, written so that z = 1 keeps h exactly; or with n and h the other way round */
SC_INLINE vf gru_next(const sc_cell *cell, vf z, vf n, vf h)
{
    const vf rest = vf_sub(vf_set(1.0f), z);
    return cell->replaces ? vf_fma(z, n, vf_mul(rest, h)) : vf_fma(z, h, vf_mul(rest, n));
}

/* n's sum, x_n + r*(b + h_n) with r = sigmoid(clip(z_r)), into its slot */
SC_INLINE void gru_reset_finish(const cells *w, size_t first, const int count)
{
    vf r[SC_AT_ONCE];
    SC_EACH(count) r[e] = vf_load(slot(w, first + (size_t)e, 0));
    if (!(w->made & 1)) {
        finish_gate(w->cell, 0, r, count, SC_SIGMOID);
    }
    SC_EACH(count) {
        float *n = slot(w, first + (size_t)e, 2);
        vf_store(n, vf_fma(r[e], vf_load(n), vf_load(slot(w, first + (size_t)e, 3))));
    }
}

/* z = sigmoid(clip(z_z)), n = tanh(clip(its sum)), and the state of both */
SC_INLINE void gru_next_finish(const cells *w, size_t first, const int count)
{
    vf z[SC_AT_ONCE], n[SC_AT_ONCE];
    SC_EACH(count) z[e] = vf_load(slot(w, first + (size_t)e, 1));
    if (!(w->made >> 1 & 1)) {
        finish_gate(w->cell, 1, z, count, SC_SIGMOID);
    }
    SC_EACH(count) n[e] = vf_load(slot(w, first + (size_t)e, 2));
    if (!(w->made >> 2 & 1)) {
        finish_gate(w->cell, 2, n, count, SC_TANH);
    }
    SC_EACH(count) {
        const float *row = w->s->h[tile_row(w->t, first + (size_t)e)] + w->s->first;
        const vf h = load_units(row, tile_panel(w->t, first + (size_t)e), w->s->u->units);
        store_next(w, first + (size_t)e, gru_next(w->cell, z[e], n[e], h));
    }
}

SC_FINISH_ALL(gru_reset, cells)
SC_FINISH_ALL(gru_next, cells)

static void gru_full_finish_all(const step_tile *tile)
{
    const cells w = {.s = tile->s, .cell = tile->s->cell, .t = tile->t, .z = tile->h};
    for (size_t n = 0; n < tile_count(w.t); n++) {
        const vf hidden = vf_add(vf_load(tile->s->recurrent_bias + tile_panel(w.t, n) * SC_V), h_of(tile, n, 2));
        SC_EACH(2) vf_store(slot(&w, n, (size_t)e), sum_of(tile, n, (size_t)e));
        vf_store(slot(&w, n, 2), hidden);
        vf_store(slot(&w, n, 3), vf_load(x_of(tile, n) + 2 * SC_V));
    }
    gru_reset_finish_all(&w);
    gru_next_finish_all(&w);
}

static void gru_row_gate(cells *w, size_t k)
{
    if (over_units(w->cell, k)) {
        activate_row(w->cell, k, slot(w, 0, k), SC_SUMS, w->s->u->units, w->s->scratch);
        w->made |= 1u << k;
    }
}

/* Cells that need all sums of a row. Its slots are in scratch, behind a gate's room. */
static void gru_rows(const sc_step *s)
{
    const size_t blocks = blocks_of(s->u->units);
    matmul(&(sc_matmul){.rows = s->rows, .a = s->h, .w = s->u, .out = s->z, .backward = s->backward});
    for (size_t m = 0; m < s->rows; m++) {
        const tile row = {.m = m, .rows = 1, .panels = blocks, .vectors = 3, .full = 3};
        cells w = {.s = s, .cell = s->cell, .t = &row, .z = s->scratch + blocks * SC_V};
        for (size_t j = 0; j < blocks; j++) {
            const float *x = s->xw[m] + j * 3 * SC_V, *h = s->z[m] + j * 3 * SC_V;
            SC_EACH(2) vf_store(slot(&w, j, (size_t)e), vf_add(vf_load(x + e * SC_V), vf_load(h + e * SC_V)));
            vf_store(slot(&w, j, 2), vf_add(vf_load(s->recurrent_bias + j * SC_V), vf_load(h + 2 * SC_V)));
            vf_store(slot(&w, j, 3), vf_load(x + 2 * SC_V));
        }
        gru_row_gate(&w, 0);
        gru_row_gate(&w, 1);
        gru_reset_finish_all(&w);
        gru_row_gate(&w, 2);
        gru_next_finish_all(&w);
    }
}

/* ---- GRU that resets h before its product --------------------------------------------------------- */

typedef struct resets {
    const sc_reset_before *s;
    const tile *t; /* a whole row */
    unsigned made; /* as in cells */
} resets;

SC_INLINE float *pair_of(const resets *w, size_t n) /* r and z */
{
    return w->s->gates[w->t->m] + n * 2 * SC_V;
}

/* r = sigmoid(clip(z_r))   z likewise; r*h goes into the candidate's matmul */
SC_INLINE void reset_gates_finish(const resets *w, size_t first, const int count)
{
    const sc_reset_before *s = w->s;
    vf gate[2][SC_AT_ONCE];
    for (size_t k = 0; k < 2; k++) {
        SC_EACH(count) gate[k][e] = vf_load(pair_of(w, first + (size_t)e) + k * SC_V);
        if (!(w->made >> k & 1)) {
            finish_gate(s->cell, k, gate[k], count, SC_SIGMOID);
        }
    }
    SC_EACH(count) {
        const size_t j = first + (size_t)e;
        const vf h = load_units(s->h[w->t->m] + s->first, j, s->units);
        vf_store(pair_of(w, j) + SC_V, gate[1][e]);
        store_units(s->reset_h[w->t->m] + s->first, j, s->units, vf_mul(gate[0][e], h));
    }
}

/* n = tanh(clip(b_n + x.W_n + (r*h).U_n)), and the state */
SC_INLINE void reset_state_finish(const resets *w, size_t first, const int count)
{
    const sc_reset_before *s = w->s;
    vf n[SC_AT_ONCE];
    SC_EACH(count) n[e] = vf_load(s->candidate[w->t->m] + (first + (size_t)e) * SC_V);
    if (!(w->made >> 2 & 1)) {
        finish_gate(s->cell, 2, n, count, SC_TANH);
    }
    SC_EACH(count) {
        const size_t j = first + (size_t)e;
        const vf h = load_units(s->h[w->t->m] + s->first, j, s->units), z = vf_load(pair_of(w, j) + SC_V);
        store_units(s->h_next[w->t->m], j, s->units, gru_next(s->cell, z, n[e], h));
    }
}

SC_FINISH_ALL(reset_gates, resets)
SC_FINISH_ALL(reset_state, resets)

static void reset_before_gates(const sc_reset_before *s)
{
    for (size_t m = 0; m < s->rows; m++) {
        const tile row = {.m = m, .rows = 1, .panels = blocks_of(s->units)};
        resets w = {.s = s, .t = &row};
        for (size_t k = 0; k < 2; k++) {
            if (over_units(s->cell, k)) {
                activate_row(s->cell, k, s->gates[m] + k * SC_V, 2 * SC_V, s->units, s->scratch);
                w.made |= 1u << k;
            }
        }
        reset_gates_finish_all(&w);
    }
}

static void reset_before_state(const sc_reset_before *s)
{
    for (size_t m = 0; m < s->rows; m++) {
        const tile row = {.m = m, .rows = 1, .panels = blocks_of(s->units)};
        resets w = {.s = s, .t = &row};
        if (over_units(s->cell, 2)) {
            activate_row(s->cell, 2, s->candidate[m], SC_V, s->units, s->scratch);
            w.made |= 1u << 2;
        }
        reset_state_finish_all(&w);
    }
}

#endif
