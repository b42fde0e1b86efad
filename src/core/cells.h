/* LSTM, GRU and SimpleRNN: one step of each, as equations over vectors. Part of kernels_body.h, whose sweeps give the sums;
 * written once for every instruction set. First the cells with their default activations, finished straight from a tile's
 * sums; then the steps. All else that cells can be, and the reset-before GRU, is in cells_full.h. */
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

/* What a tile of a step works with: h.U of every row (or panel, of a single row), SC_SUMS from one to the next, and the
 * input's share b + x.W likewise, where the step is not given it. */
typedef struct step_tile {
    const sc_step *s;
    const tile *t;
    float *x, *h;
    bool single; /* a single row, whose h.U is whole; otherwise there are two halves, SC_APART from one to the other */
} step_tile;

#define SC_APART (SC_TILE * SC_SUMS)

static void step_sums(const step_tile *w)
{
    if (w->s->xw == NULL) {
        tile_chain(w->t, w->x, w->s->x, w->s->w, w->s->bias);
    }
    tile_halves(w->t, w->h, SC_APART, w->s->h, w->s->u);
}

/* b + x.W of the tile's n-th row or panel */
SC_INLINE const float *x_of(const step_tile *w, size_t n)
{
    return w->s->xw == NULL ? w->x + n * SC_SUMS
                            : w->s->xw[tile_row(w->t, n)] + tile_panel(w->t, n) * w->t->full * SC_V;
}

/* h.U of its gate (or vector) v */
SC_INLINE vf h_of(const step_tile *w, size_t n, size_t v)
{
    const float *h = w->h + n * SC_SUMS + v * SC_V;
    return w->single ? vf_load(h) : vf_add(vf_load(h), vf_load(h + SC_APART));
}

/* z = (b + x.W) + h.U of gate (or vector) v */
SC_INLINE vf sum_of(const step_tile *w, size_t n, size_t v)
{
    return vf_add(vf_load(x_of(w, n) + v * SC_V), h_of(w, n, v));
}

SC_INLINE void store_state(const step_tile *w, size_t n, vf h)
{
    store_units(w->s->h_next[tile_row(w->t, n)], tile_panel(w->t, n), w->s->u->units, h);
}

/* i = sigmoid(z_i)   f = sigmoid(z_f)   g = tanh(z_g)   o = sigmoid(z_o)
 * c = f*c + i*g
 * h = o*tanh(c) */
SC_INLINE void lstm_finish(const step_tile *w, size_t first, const int count)
{
    vf i[SC_AT_ONCE], f[SC_AT_ONCE], g[SC_AT_ONCE], o[SC_AT_ONCE], c[SC_AT_ONCE];
    SC_EACH(count) i[e] = sum_of(w, first + e, 0);
    vf_sigmoids(i, count);
    SC_EACH(count) g[e] = sum_of(w, first + e, 2);
    vf_tanhs(g, count);
    SC_EACH(count) f[e] = sum_of(w, first + e, 1);
    vf_sigmoids(f, count);
    SC_EACH(count) {
        float *at = w->s->c[tile_row(w->t, first + e)] + tile_panel(w->t, first + e) * SC_V;
        c[e] = vf_fma(f[e], vf_load(at), vf_mul(i[e], g[e]));
        vf_store(at, c[e]);
    }
    SC_EACH(count) o[e] = sum_of(w, first + e, 3);
    vf_sigmoids(o, count);
    vf_tanhs(c, count);
    SC_EACH(count) store_state(w, first + e, vf_mul(o[e], c[e]));
}

/* r = sigmoid(z_r)   u = sigmoid(z_z)   n = tanh(x_n + r*(b + h_n))
 * h = (1 - u)*n + u*h: written so that u = 1 keeps h exactly */
SC_INLINE void gru_finish(const step_tile *w, size_t first, const int count)
{
    vf r[SC_AT_ONCE], u[SC_AT_ONCE], n[SC_AT_ONCE];
    SC_EACH(count) r[e] = sum_of(w, first + e, 0);
    vf_sigmoids(r, count);
    SC_EACH(count) {
        const vf bias = vf_load(w->s->recurrent_bias + tile_panel(w->t, first + e) * SC_V);
        const vf hidden = vf_add(bias, h_of(w, first + e, 2));
        n[e] = vf_fma(r[e], hidden, vf_load(x_of(w, first + e) + 2 * SC_V));
    }
    SC_EACH(count) u[e] = sum_of(w, first + e, 1);
    vf_sigmoids(u, count);
    vf_tanhs(n, count);
    SC_EACH(count) {
        const float *row = w->s->h[tile_row(w->t, first + e)] + w->s->first;
        const vf before = load_units(row, tile_panel(w->t, first + e), w->s->u->units);
        store_state(w, first + e, vf_fma(u[e], before, vf_mul(vf_sub(vf_set(1.0f), u[e]), n[e])));
    }
}

/* All rows or panels of a tile, up to SC_CELLS at once and as evenly as they go. */
#define SC_FINISH_ALL(cell, tiles) \
    static void cell##_finish_all(const tiles *w) \
    { \
        const size_t all = tile_count(w->t), groups = (all + SC_CELLS - 1) / SC_CELLS; \
        for (size_t group = 0, n = 0; group < groups; group++) { \
            const size_t end = groups == 1 ? all : (group + 1) * all / groups, count = end - n; \
            if (SC_CELLS >= 4 && count == 4) { \
                cell##_finish(w, n, 4); \
            } else if (SC_CELLS >= 3 && count == 3) { \
                cell##_finish(w, n, 3); \
            } else if (SC_CELLS >= 2 && count == 2) { \
                cell##_finish(w, n, 2); \
            } else { \
                cell##_finish(w, n, 1); \
            } \
            n = end; \
        } \
    }
SC_FINISH_ALL(lstm, step_tile)
SC_FINISH_ALL(gru, step_tile)

/* h = activation(b + x.W + h.U). tanh is applied here, any other activation to the finished row: softmax needs all of it. */
static void rnn_finish_all(const step_tile *w)
{
    const size_t blocks = blocks_of(w->s->u->units);
    const bool apply = w->s->activation.kind == SC_TANH;
    const float clip = w->s->cell != NULL ? w->s->cell->clip : INFINITY;
    for (size_t n = 0; n < tile_count(w->t); n++) {
        const size_t first = tile_panel(w->t, n) * SC_GATES, count = min_size(SC_GATES, blocks - first);
        float *row = w->s->h_next[tile_row(w->t, n)];
        vf z[SC_GATES];
        SC_EACH(SC_GATES) z[e] = sum_of(w, n, (size_t)e < count ? (size_t)e : 0);
        if (clip < INFINITY) {
            SC_EACH(SC_GATES) z[e] = sc_clamp(z[e], -clip, clip);
        }
        for (int v = 0; apply && v < SC_GATES; v += SC_CELLS) {
            vf_tanhs(z + v, SC_CELLS);
        }
        for (size_t v = 0; v < count; v++) {
            store_units(row, first + v, w->s->u->units, z[v]);
        }
    }
}

#include "cells_full.h"

/* ---- Steps ---------------------------------------------------------------------------------------- */

#define SC_STEP_TILE(cell) \
    static void cell##_tile(const void *call, const tile *t) \
    { \
        _Alignas(64) float x[SC_TILE * SC_SUMS], h[2 * SC_APART]; \
        const step_tile w = {.s = call, .t = t, .x = x, .h = h, .single = t->rows == 1}; \
        step_sums(&w); \
        cell##_finish_all(&w); \
    }
SC_STEP_TILE(lstm)
SC_STEP_TILE(gru)
SC_STEP_TILE(rnn)
SC_STEP_TILE(lstm_full)
SC_STEP_TILE(gru_full)

static size_t row_panels(const sc_step *s)
{
    const size_t blocks = blocks_of(s->u->units);
    return s->u->gates == 1 ? (blocks + SC_GATES - 1) / SC_GATES : blocks;
}

/* Where a single row's sums go: half of the scratch for x, half for h, from panel j on. */
static step_tile row_tile(const sc_step *s, const tile *t)
{
    float *x = s->scratch + t->j * SC_SUMS;
    return (step_tile){.s = s, .t = t, .x = x, .h = x + row_panels(s) * SC_SUMS, .single = true};
}

static void row_sums(const void *call, const tile *t)
{
    const step_tile w = row_tile(call, t);
    step_sums(&w);
}

/* A single row of one or two panels, whole in one function: the sums need not leave the registers, and nothing is called. */
#define SC_STEP_ROW(cell, count, gates_) \
    static SC_NOINLINE void cell##_row_##count(const sc_step *s) \
    { \
        _Alignas(64) float x[count * SC_SUMS], h[count * SC_SUMS]; \
        const tile t = {.rows = 1, .panels = count, .vectors = gates_, .full = gates_}; \
        const step_tile w = {.s = s, .t = &t, .x = x, .h = h, .single = true}; \
        if (s->xw == NULL) { \
            chain(x, s->x, s->w->rows, s->w->data, gates_ * SC_V * s->w->rows, s->bias, 1, count, gates_); \
        } \
        halves(h, 0, s->h, s->u->rows, s->u->data, gates_ * SC_V * s->u->rows, false, 1, count, gates_); \
        cell##_finish(&w, 0, count); \
    }
SC_STEP_ROW(lstm, 1, 4)
SC_STEP_ROW(gru, 1, 3)
#if SC_SINGLE_PANELS == 2
SC_STEP_ROW(lstm, 2, 4)
SC_STEP_ROW(gru, 2, 3)
#else
#define lstm_row_2 lstm_row_1 /* never called: two panels do not fit the registers */
#define gru_row_2 gru_row_1
#endif

/* A single row has all its sums made first: between the sweeps, the wait for a cell would not be hidden. */
SC_INLINE void step(const sc_step *s, void (*tile_of)(const void *, const tile *),
                    void (*finish_all)(const step_tile *))
{
    if (s->rows > 1) {
        for_tiles(s, tile_of, s->rows, s->u, s->backward);
        return;
    }
    for_tiles(s, row_sums, 1, s->u, s->backward);
    const size_t vectors = s->u->gates == 1 ? SC_GATES : s->u->gates;
    const tile whole = {.rows = 1, .panels = row_panels(s), .vectors = vectors, .full = vectors};
    const step_tile w = row_tile(s, &whole);
    finish_all(&w);
}

/* Not in a part of a larger layer: it may be paired, and have no units at all. */
SC_INLINE bool fits_registers(const sc_step *s)
{
    return s->rows == 1 && s->u->units > 0 && s->u->units <= SC_SINGLE_PANELS * SC_V && !s->u->paired;
}

static void lstm_step(const sc_step *s)
{
    if (s->cell != NULL) {
        if (s->cell->whole_rows) {
            lstm_rows(s);
        } else {
            step(s, lstm_full_tile, lstm_full_finish_all);
        }
        return;
    }
    if (fits_registers(s)) {
        (s->u->units <= SC_V ? lstm_row_1 : lstm_row_2)(s);
        return;
    }
    step(s, lstm_tile, lstm_finish_all);
}

static void gru_step(const sc_step *s)
{
    if (s->cell != NULL) {
        if (s->cell->whole_rows) {
            gru_rows(s);
        } else {
            step(s, gru_full_tile, gru_full_finish_all);
        }
        return;
    }
    if (fits_registers(s)) {
        (s->u->units <= SC_V ? gru_row_1 : gru_row_2)(s);
        return;
    }
    step(s, gru_tile, gru_finish_all);
}

static void rnn_step(const sc_step *s)
{
    step(s, rnn_tile, rnn_finish_all);
    if (s->activation.kind != SC_TANH) {
        for (size_t m = 0; m < s->rows; m++) {
            activate(s->activation, s->h_next[m], s->u->units);
        }
    }
}

#endif
