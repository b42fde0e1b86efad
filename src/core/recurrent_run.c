/* The time loop of the recurrent layers.
 *
 * A mask takes frames out of a row: its steps are the frames that count, as if there were no others, and what a masked frame puts
 * out is filled in at the end.
 *
 * It runs inside one call. Rows are taken longest first, so that the rows still running are always a prefix: ragged
 * batches shrink as rows end, and no work is done on padding. A row's state never moves: pointers do.
 *
 * The input's share, b + x.W, does not depend on the state. For few rows it is computed ahead for a stretch of time
 * ("hoisted"), so that one pass over W serves many frames; for many rows each step computes its own ("fused"). Both give
 * the same sums in the same order. Where the input is ids, for one-hot vectors, it is a row of a table, and nothing is computed.
 *
 * With a projection a cell's o*tanh(c) goes into scratch, and the state is its product with P: two halves of k, as h.U.
 *
 * A team of workers divides the units: each computes its own range of them for all rows, from its own columns of the
 * weights, and all meet after every step, because the next one needs the whole state; with a projection also before it, which
 * needs all units. */
#include "recurrent_run.h"

#include <math.h>
#include <string.h>

#define FUSE_ROWS 8                  /* from so many rows on, W is used often enough within one step; */
#define FUSE_ROWS_LARGE 64           /* ... from so many, where W and U together come slowly */
#define HOIST_BYTES ((size_t)128 << 10) /* of hoisted sums at a time: a part of L2, */
#define HOIST_PART 4                    /* ... or this part of U, past which reading W anew costs more than the sums' room */

/* ---- Scratch ---------------------------------------------------------------------------------------------- */

static rnn_layout rnn_layout_of(const sc_rnn_params *p, size_t R, size_t T, bool masked)
{
    rnn_layout l = {0};
    const sc_rnn_weights *w = &p->weights;
    const size_t row = w->row_floats + w->row_n_floats;
    const bool large = (p->inputs + p->outputs) * row * sizeof(float) > SC_LARGE_WEIGHTS;
    const size_t fuse_rows = large ? FUSE_ROWS_LARGE : FUSE_ROWS;
    const bool sums_first = p->reset_before || sc_rnn_whole_rows(p); /* and then the cell */
    if (R > 0 && !p->ids && (sums_first || (R < fuse_rows && T > 1))) {
        const size_t part = p->outputs * row * sizeof(float) / HOIST_PART;
        const size_t fits = (part > HOIST_BYTES ? part : HOIST_BYTES) / (sizeof(float) * R * row);
        l.stretch = fits < 1 ? 1 : fits > T ? T : fits;
    }
    size_t *bytes = &l.bytes;
    l.order = sc_reserve(bytes, R, sizeof(size_t));
    l.lengths = sc_reserve(bytes, R, sizeof(size_t));
    l.ends = sc_reserve(bytes, R, sizeof(size_t));
    l.x = sc_reserve(bytes, R, sizeof(float *));
    l.h = sc_reserve(bytes, R, sizeof(float *));
    l.h_next = sc_reserve(bytes, R, sizeof(float *));
    l.c = sc_reserve(bytes, R, sizeof(float *));
    l.xw = sc_reserve(bytes, R, sizeof(float *));
    l.xw_n = sc_reserve(bytes, R, sizeof(float *));
    l.zeros = sc_reserve(bytes, p->padded_out, sizeof(float));
    l.states = sc_reserve(bytes, 2 * R * p->padded_out, sizeof(float));
    l.cells = sc_reserve(bytes, p->cell == SC_LSTM ? R * p->padded : 0, sizeof(float));
    l.row = sc_reserve(bytes, 8 * p->padded, sizeof(float));
    l.list_a = sc_reserve(bytes, l.stretch * R, sizeof(float *));
    l.list_out = sc_reserve(bytes, l.stretch * R, sizeof(float *));
    l.sums = sc_reserve(bytes, l.stretch * R * w->row_floats, sizeof(float));
    l.sums_n = sc_reserve(bytes, l.stretch * R * w->row_n_floats, sizeof(float));
    l.steps = sc_reserve(bytes, masked ? R * T : 0, sizeof(uint32_t));
    if (sums_first) {
        l.gates = sc_reserve(bytes, R, sizeof(float *));
        l.z = sc_reserve(bytes, R * w->row_floats, sizeof(float));
    }
    if (p->reset_before) {
        l.candidate = sc_reserve(bytes, R, sizeof(float *));
        l.reset = sc_reserve(bytes, R, sizeof(float *));
        l.z_n = sc_reserve(bytes, R * w->row_n_floats, sizeof(float));
        l.reset_h = sc_reserve(bytes, R * p->padded, sizeof(float));
        l.cell = sc_reserve(bytes, p->padded, sizeof(float));
    }
    if (p->projects) {
        l.own_cells = sc_reserve(bytes, R, sizeof(float *));
        l.all_cells = sc_reserve(bytes, R, sizeof(float *));
        l.unprojected = sc_reserve(bytes, R * p->padded, sizeof(float));
    }
    return l;
}

size_t sc_rnn_scratch(const sc_rnn_params *p, size_t rows, size_t time, bool masked)
{
    return rnn_layout_of(p, rows, time, masked).bytes;
}

/* ---- Running ------------------------------------------------------------------------------------------------ */

static void *at(const rnn_run *r, size_t offset)
{
    return r->scratch + offset;
}

static const float *columns_of_row(const float *row, size_t gates, size_t first)
{
    return row != NULL ? row + first * gates : NULL;
}

/* The matrix of columns [first, first + units) of every gate; `first` begins a panel. */
static sc_matrix columns(const sc_matrix *m, size_t first, size_t units)
{
    sc_matrix part = *m;
    part.data = columns_of_row(m->data, m->gates * m->rows, first);
    part.units = units;
    return part;
}

/* What one of the team's workers computes: whole panels, as many as the others' or one more. */
static sc_rnn_weights share(const sc_rnn_params *p, const sc_kernels *kernels, const sc_team *team)
{
    const sc_rnn_weights *all = &p->weights;
    const size_t panel = sc_rnn_panel(p, kernels), panels = (p->units + panel - 1) / panel;
    const size_t first = sc_part(team, panels, 0) * panel, end = sc_part(team, panels, 1) * panel;
    sc_rnn_weights w = {.first = first, .units = (end < p->units ? end : p->units) - first};
    w.out_first = w.first;
    w.out_units = w.units;
    if (p->projects) {
        const size_t wide = 4 * kernels->width, wides = (p->outputs + wide - 1) / wide, out_end = sc_part(team, wides, 1) * wide;
        w.out_first = sc_part(team, wides, 0) * wide;
        w.out_units = (out_end < p->outputs ? out_end : p->outputs) - w.out_first;
        w.p = columns(&all->p, w.out_first, w.out_units);
    }
    w.w = columns(&all->w, first, w.units);
    w.table = columns_of_row(all->table, all->u.gates, first);
    w.u = columns(&all->u, first, w.units);
    w.bias = columns_of_row(all->bias, all->u.gates, first);
    w.recurrent_bias = columns_of_row(all->recurrent_bias, 1, first);
    w.peepholes = columns_of_row(all->peepholes, 3, first);
    w.row_floats = kernels->packed_floats(1, w.units, all->u.gates);
    if (all->u_n.data != NULL) {
        w.w_n = columns(&all->w_n, first, w.units);
        w.table_n = columns_of_row(all->table_n, 1, first);
        w.u_n = columns(&all->u_n, first, w.units);
        w.bias_n = columns_of_row(all->bias_n, 1, first);
        w.row_n_floats = kernels->packed_floats(1, w.units, 1);
    }
    return w;
}

static const float *x_of(const rnn_run *r, size_t m, size_t s)
{
    return r->input + (r->order[m] * r->T + frame_in(r, m, s)) * r->p->inputs;
}

/* The input's share of an id: a row of the table, from the worker's first unit on. */
static void point_to_id(const rnn_run *r, size_t m, size_t s)
{
    const size_t row = r->order[m], T = r->T;
    const int64_t id = ((const int64_t *)(const void *)r->input)[row * T + frame_in(r, m, s)];
    const size_t k = sc_id_row(r->node, r->frame, row / sc_in_shape(r->node, r->frame, 0)->dim[0], id);
    r->xw[m] = r->own.table + k * r->p->weights.row_floats;
    if (r->own.table_n != NULL) {
        r->xw_n[m] = r->own.table_n + k * r->p->weights.row_n_floats;
    }
}

/* sums[s][m] = b + x.W for the frames of steps [from, to) of the rows that run then; or its norm, where products are normalised */
static void hoist(rnn_run *r, size_t active, size_t from, size_t to)
{
    const sc_rnn_weights *w = &r->own;
    size_t n = 0;
    for (size_t s = from; s < to; s++) {
        for (size_t m = 0; m < active && r->lengths[m] > s; m++, n++) {
            r->list_a[n] = x_of(r, m, s);
            r->list_out[n] = r->sums + ((s - from) * r->rows + m) * w->row_floats;
        }
    }
    r->kernels->matmul(&(sc_matmul){.rows = n, .a = r->list_a, .w = &w->w, .bias = w->bias, .out = r->list_out});
    if (sc_rnn_norm_products(r->p)) {
        r->kernels->normalize_gates(&(sc_gate_norm){.rows = n, .units = w->units, .z = r->list_out, .w = r->p->input_scale,
                                                    .b = r->p->input_offset, .together = true, .epsilon = r->p->full->epsilon});
    }
    if (w->row_n_floats == 0) {
        return;
    }
    for (size_t s = from, i = 0; s < to; s++) {
        for (size_t m = 0; m < active && r->lengths[m] > s; m++, i++) {
            r->list_out[i] = r->sums_n + ((s - from) * r->rows + m) * w->row_n_floats;
        }
    }
    r->kernels->matmul(&(sc_matmul){.rows = n, .a = r->list_a, .w = &w->w_n, .bias = w->bias_n, .out = r->list_out});
}

static void run_step_kernel(const sc_kernels *kernels, enum sc_rnn_cell cell, const sc_step *step)
{
    switch (cell) {
    case SC_LSTM: kernels->lstm_step(step); break;
    case SC_GRU: kernels->gru_step(step); break;
    case SC_SIMPLE_RNN: kernels->rnn_step(step); break;
    }
}

static void step_by_kernel(rnn_run *r, size_t active)
{
    const sc_rnn_params *p = r->p;
    const sc_rnn_weights *w = &r->own;
    const sc_step step = {.rows = active,
                          .xw = r->layout.stretch > 0 || p->ids ? r->xw : NULL,
                          .x = r->x,
                          .w = &w->w,
                          .bias = w->bias,
                          .h = r->h,
                          .u = &w->u,
                          .first = w->first,
                          .recurrent_bias = w->recurrent_bias,
                          .h_next = r->made,
                          .c = r->c,
                          .scratch = at(r, r->layout.row),
                          .backward = r->backward,
                          .activation = p->activation,
                          .cell = p->full,
                          .peepholes = w->peepholes,
                          .z = sc_rnn_whole_rows(p) ? at(r, r->layout.gates) : NULL};
    run_step_kernel(r->kernels, p->cell, &step);
}

static void step_reset_before(rnn_run *r, size_t active)
{
    const sc_rnn_params *p = r->p;
    const sc_rnn_weights *w = &r->own;
    float *const *gates = at(r, r->layout.gates), *const *candidate = at(r, r->layout.candidate);
    float *const *reset = at(r, r->layout.reset);
    r->kernels->matmul(&(sc_matmul){.rows = active, .a = r->h, .w = &w->u, .init = r->xw, .out = gates,
                                    .backward = r->backward});
    const sc_reset_before cell = {.rows = active,
                                  .units = w->units,
                                  .first = w->first,
                                  .gates = gates,
                                  .candidate = candidate,
                                  .h = r->h,
                                  .reset_h = reset,
                                  .h_next = r->h_next,
                                  .cell = p->full,
                                  .scratch = at(r, r->layout.cell)};
    r->kernels->reset_before_gates(&cell);
    sc_meet(r->team); /* the candidate needs r*h of all units */
    r->kernels->matmul(&(sc_matmul){.rows = active, .a = (const float *const *)reset, .w = &w->u_n, .init = r->xw_n,
                                    .out = candidate, .backward = r->backward});
    r->kernels->reset_before_state(&cell);
}

/* Points the step's arrays at step s; `from`: the first step whose sums are hoisted. */
static void point(rnn_run *r, size_t active, size_t s, size_t from)
{
    const sc_rnn_params *p = r->p;
    for (size_t m = 0; m < active; m++) {
        if (p->ids) {
            point_to_id(r, m, s);
        } else if (r->layout.stretch > 0) {
            const size_t n = (s - from) * r->rows + m;
            r->xw[m] = r->sums + n * r->own.row_floats;
            if (r->own.row_n_floats > 0) {
                r->xw_n[m] = r->sums_n + n * r->own.row_n_floats;
            }
        } else {
            r->x[m] = x_of(r, m, s);
        }
        r->h_next[m] = (r->output != NULL ? r->output + (r->order[m] * r->T + frame_out(r, m, s)) * p->outputs
                                          : r->states + (m * 2 + s % 2) * p->padded_out) + r->own.out_first;
    }
}

/* h = (o*tanh(c)) . P for so many rows, of whole units; clipped, where it is. NaN stays. */
static void project(const sc_kernels *kernels, const sc_matrix *p, size_t rows, const float *const *cells, float *const *h,
                    bool backward, float clip)
{
    kernels->matmul(&(sc_matmul){.rows = rows, .a = cells, .w = p, .out = h, .backward = backward, .exact = true});
    for (size_t m = 0; m < rows && clip < INFINITY; m++) {
        float *row = h[m];
        for (size_t n = 0; n < p->units; n++) {
            row[n] = row[n] > clip ? clip : row[n] < -clip ? -clip : row[n];
        }
    }
}

static void run_steps(rnn_run *r)
{
    const sc_rnn_params *p = r->p;
    const size_t longest = r->rows > 0 ? r->lengths[0] : 0;
    size_t active = r->rows, from = 0;
    for (size_t s = 0; s < longest; s++) {
        while (r->lengths[active - 1] <= s) {
            active--;
        }
        if (r->layout.stretch > 0 && (s == 0 || s == from + r->layout.stretch)) {
            from = s;
            hoist(r, active, s, s + r->layout.stretch < longest ? s + r->layout.stretch : longest);
        }
        point(r, active, s, from);
        r->backward = (s + r->turn) % 2 == 1;
        if (p->reset_before) {
            step_reset_before(r, active);
        } else {
            step_by_kernel(r, active);
        }
        if (p->projects) {
            sc_meet(r->team); /* the projection needs all units */
            project(r->kernels, &r->own.p, active, at(r, r->layout.all_cells), r->h_next, r->backward, p->projection_clip);
        }
        for (size_t m = 0; m < active; m++) {
            r->h[m] = r->h_next[m] - r->own.out_first;
        }
        if (s + 1 < longest) {
            sc_meet(r->team);
        }
    }
}

static void set_up(rnn_run *r, const sc_node *node, const sc_frame *frame)
{
    const sc_rnn_params *p = r->p;
    const rnn_layout *l = &r->layout;
    r->own = share(p, r->kernels, r->team);
    r->order = at(r, l->order);
    r->lengths = at(r, l->lengths);
    r->x = at(r, l->x);
    r->h = at(r, l->h);
    r->h_next = at(r, l->h_next);
    r->made = p->projects ? at(r, l->own_cells) : r->h_next;
    r->c = at(r, l->c);
    r->xw = at(r, l->xw);
    r->xw_n = at(r, l->xw_n);
    r->list_a = at(r, l->list_a);
    r->list_out = at(r, l->list_out);
    r->sums = at(r, l->sums);
    r->sums_n = at(r, l->sums_n);
    r->zeros = at(r, l->zeros);
    r->states = (float *)(void *)(frame->team_scratch + l->states);
    r->ends = at(r, l->ends);
    r->steps = at(r, l->steps);
    sc_rnn_sort_rows(r, sc_lengths(node, frame));
    memset(r->zeros, 0, p->padded_out * sizeof(float));
    const float *h0 = sc_in(node, frame, 1), *c0 = p->cell == SC_LSTM ? sc_in(node, frame, 2) : NULL;
    float *cells = at(r, l->cells), *z = at(r, l->z), *z_n = at(r, l->z_n);
    float *reset_h = (float *)(void *)(frame->team_scratch + l->reset_h);
    float *unprojected = (float *)(void *)(frame->team_scratch + l->unprojected);
    for (size_t m = 0; m < r->rows; m++) {
        const size_t row = r->order[m];
        float *state = sc_row_state(node, frame, row);
        r->h[m] = state != NULL ? state : h0 != NULL ? h0 + row * p->outputs : r->zeros;
        if (p->cell == SC_LSTM && state != NULL) {
            r->c[m] = sc_rnn_kept_c(p, state) + r->own.first; /* in place */
        } else if (p->cell == SC_LSTM) {
            r->c[m] = cells + m * p->padded;
            memset(r->c[m], 0, p->padded * sizeof(float));
            if (c0 != NULL) {
                memcpy(r->c[m], c0 + row * p->units + r->own.first, r->own.units * sizeof(float));
            }
        }
        if (p->reset_before || sc_rnn_whole_rows(p)) {
            ((float **)at(r, l->gates))[m] = z + m * r->own.row_floats;
        }
        if (p->reset_before) {
            ((float **)at(r, l->candidate))[m] = z_n + m * r->own.row_n_floats;
            ((float **)at(r, l->reset))[m] = reset_h + m * p->padded;
        }
        if (p->projects) {
            ((float **)at(r, l->all_cells))[m] = unprojected + m * p->padded;
            r->made[m] = unprojected + m * p->padded + r->own.first;
        }
    }
}

/* One frame of rows that keep their states, by one worker, of a cell that needs no sums of before: nothing is left of the
 * time loop.
 * The scratch is a part of what rnn_layout_of asks for. */
static void step_one(const sc_node *node, sc_frame *frame)
{
    const sc_rnn_params *p = node->params;
    const sc_rnn_weights *w = &p->weights;
    const size_t I = p->inputs, H = p->units, N = p->outputs, R = frame->capacity, rows = frame->rows;
    size_t bytes = 0;
    const float **x = (const float **)(void *)(frame->scratch + sc_reserve(&bytes, R, sizeof *x));
    const float **h = (const float **)(void *)(frame->scratch + sc_reserve(&bytes, R, sizeof *h));
    float **h_next = (float **)(void *)(frame->scratch + sc_reserve(&bytes, R, sizeof *h_next));
    float **c = (float **)(void *)(frame->scratch + sc_reserve(&bytes, R, sizeof *c));
    float **cells = h_next, *unprojected = NULL;
    if (p->projects) {
        cells = (float **)(void *)(frame->scratch + sc_reserve(&bytes, R, sizeof *cells));
        unprojected = (float *)(void *)(frame->scratch + sc_reserve(&bytes, R * p->padded, sizeof(float)));
    }
    const float *input = sc_in(node, frame, 0);
    const int64_t *ids = (const int64_t *)(const void *)input;
    float *y = sc_out(node, frame, 0);
    for (size_t m = 0; m < rows; m++) {
        float *state = (float *)(void *)(frame->states[m] + node->state);
        x[m] = p->ids ? w->table + sc_id_row(node, frame, m, ids[m]) * w->row_floats : input + m * I;
        h[m] = state;
        h_next[m] = rows == 1 ? state : y + m * N; /* a single row in place: the next step then waits for no copy */
        c[m] = sc_rnn_kept_c(p, state);
        if (p->projects) {
            cells[m] = unprojected + m * p->padded;
        }
    }
    sc_step step; /* field by field: clearing the whole first takes longer than a small step */
    step.rows = rows;
    step.xw = p->ids ? x : NULL;
    step.x = x;
    step.w = &w->w;
    step.bias = w->bias;
    step.h = h;
    step.u = &w->u;
    step.first = 0;
    step.recurrent_bias = w->recurrent_bias;
    step.h_next = cells;
    step.c = c;
    step.scratch = (float *)(void *)(frame->scratch + bytes);
    step.backward = frame->turn % 2 == 1;
    step.activation = p->activation;
    step.cell = p->full;
    step.peepholes = w->peepholes;
    run_step_kernel(frame->kernels, p->cell, &step);
    if (p->projects) {
        project(frame->kernels, &w->p, rows, (const float *const *)cells, h_next, step.backward,
                p->projection_clip);
    }
    float *last_h = sc_out(node, frame, 1), *last_c = sc_out(node, frame, 2);
    for (size_t m = 0; m < rows; m++) {
        memcpy(rows == 1 ? y : (float *)h[m], h_next[m], N * sizeof(float));
        if (last_h != NULL) {
            memcpy(last_h + m * N, h_next[m], N * sizeof(float));
        }
        if (last_c != NULL) {
            memcpy(last_c + m * H, c[m], H * sizeof(float));
        }
    }
}

void sc_rnn_run(const sc_node *node, sc_frame *frame)
{
    const sc_rnn_params *p = node->params;
    const float *mask = sc_in(node, frame, p->mask);
    if (sc_row_state(node, frame, 0) != NULL && sc_out(node, frame, 0) != NULL && frame->team.members == 1 && mask == NULL &&
        !p->reset_before && !sc_rnn_whole_rows(p)) {
        step_one(node, frame);
        return;
    }
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    rnn_run r = {.p = p,
                 .kernels = frame->kernels,
                 .team = &frame->team,
                 .node = node,
                 .frame = frame,
                 .rows = frame->rows * shape->dim[0],
                 .T = shape->dim[1],
                 .input = sc_in(node, frame, 0),
                 .mask = mask,
                 .turn = frame->turn,
                 .scratch = frame->scratch};
    r.output = r.p->sequences ? sc_out(node, frame, 0) : NULL;
    if (r.rows == 0) {
        return;
    }
    r.layout = rnn_layout_of(r.p, frame->capacity * shape->dim[0], r.T, mask != NULL);
    set_up(&r, node, frame);
    run_steps(&r);
    sc_rnn_finish(&r, node, frame);
}
