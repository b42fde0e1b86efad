/* The recurrent layers: SimpleRNN, LSTM and GRU over whole sequences, one direction of one layer per node.
 *
 * The time loop runs here, inside one call. Rows are taken longest first, so that the rows still running are always a
 * prefix: ragged batches shrink as rows end, and no work is done on padding. A row's state never moves: pointers do.
 *
 * The input's share, b + x.W, does not depend on the state. For few rows it is computed ahead for a stretch of time
 * ("hoisted"), so that one pass over W serves many frames; for many rows each step computes its own ("fused"). Both give
 * the same sums in the same order. */
#include "plan.h"

#include <string.h>

#define FUSE_ROWS 8                  /* from so many rows on, W is used often enough within one step */
#define HOIST_BYTES ((size_t)128 << 10) /* of hoisted sums at a time: a part of L2 */

enum cell { SIMPLE_RNN, GRU, LSTM };

typedef struct rnn_params {
    enum cell cell;
    size_t inputs, units; /* I, H */
    bool reset_after, reverse, realign, sequences;
    bool by_step_kernel; /* the step kernel finishes the cell; otherwise matmul, then the cell kernel */
    sc_activation_spec activation, recurrent_activation;
    sc_matrix w, u;           /* all gates; of a reset-before GRU: r and z */
    sc_matrix w_n, u_n;       /* reset-before GRU: n */
    const float *bias, *bias_n;
    const float *recurrent_bias; /* reset-after GRU: n's, plain; */
    const float *recurrent_row;  /* ... and as one row of 3 gates (0, 0, n's), where the cell is not finished by the step kernel */
    size_t row_floats, row_n_floats; /* floats of a packed row of w and of w_n */
    size_t padded; /* H rounded up to whole vectors */
} rnn_params;

/* ---- Building ------------------------------------------------------------------------------------------ */

static sc_status rnn_parse(sc_builder *builder, sc_node *node, const sc_json *attributes, enum cell cell)
{
    rnn_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    p->cell = cell;
    sc_status status = sc_attr_size(builder, node, attributes, "units", 1, &p->units);
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "reverse", &p->reverse);
    }
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "realign", &p->realign);
    }
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "return_sequences", &p->sequences);
    }
    if (status == SC_OK) {
        status = sc_attr_activation(builder, node, attributes, "activation", &p->activation);
    }
    if (status == SC_OK && cell != SIMPLE_RNN) {
        status = sc_attr_activation(builder, node, attributes, "recurrent_activation", &p->recurrent_activation);
    }
    if (status == SC_OK && cell == GRU) {
        status = sc_attr_bool(builder, node, attributes, "reset_after", &p->reset_after);
    }
    const bool defaults = p->activation.kind == SC_TANH && p->recurrent_activation.kind == SC_SIGMOID;
    p->by_step_kernel = cell == SIMPLE_RNN || (defaults && (cell == LSTM || p->reset_after));
    return status;
}

static sc_status lstm_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    return rnn_parse(builder, node, attributes, LSTM);
}

static sc_status gru_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    return rnn_parse(builder, node, attributes, GRU);
}

static sc_status simple_rnn_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    return rnn_parse(builder, node, attributes, SIMPLE_RNN);
}

/* x (B, T, I), h0 (B, H), [c0 (B, H)] -> y (B, T, H) or (B, H), h (B, H), [c (B, H)] */
static sc_status rnn_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const rnn_params *p = node->params;
    if (in[0].rank != 3) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must be (batch, time, features), found %zu axes",
                       node->layer, node->op->name, in[0].rank);
    }
    if (p->u.data != NULL && in[0].dim[2] != p->inputs && in[0].dim[2] != SC_UNKNOWN) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must have %zu features, found %zu", node->layer,
                       node->op->name, p->inputs, in[0].dim[2]);
    }
    const sc_shape state = {.rank = 2, .dim = {in[0].dim[0], p->units}};
    for (size_t i = 1; i < node->n_inputs; i++) {
        if (node->inputs[i] != SC_NONE &&
            (in[i].rank != 2 || in[i].dim[1] != p->units || (in[i].dim[0] != state.dim[0] && state.dim[0] != SC_UNKNOWN))) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): an initial state must be (batch, %zu)", node->layer,
                           node->op->name, p->units);
        }
    }
    out[0] = p->sequences ? (sc_shape){.rank = 3, .dim = {in[0].dim[0], in[0].dim[1], p->units}} : state;
    out[1] = out[2] = state;
    return SC_OK;
}

/* A reset-before GRU needs r before it can form n's sum: its matrices come apart as (r, z) and n. */
static sc_status pack_reset_before(sc_builder *builder, rnn_params *p, const float *w, const float *u, const float *b)
{
    const size_t H = p->units, ld = 3 * H;
    sc_status status = sc_pack_matrix(builder, w, ld, p->inputs, H, 2, &p->w);
    if (status == SC_OK) {
        status = sc_pack_matrix(builder, w + 2 * H, ld, p->inputs, H, 1, &p->w_n);
    }
    if (status == SC_OK) {
        status = sc_pack_matrix(builder, u, ld, H, H, 2, &p->u);
    }
    if (status == SC_OK) {
        status = sc_pack_matrix(builder, u + 2 * H, ld, H, H, 1, &p->u_n);
    }
    if (status == SC_OK) {
        status = sc_pack_row(builder, b, H, 2, &p->bias);
    }
    return status == SC_OK ? sc_pack_row(builder, b + 2 * H, H, 1, &p->bias_n) : status;
}

static sc_status pack_recurrent_bias(sc_builder *builder, rnn_params *p, const float *bn)
{
    const size_t H = p->units;
    sc_status status = sc_pack_row(builder, bn, H, 1, &p->recurrent_bias);
    if (status != SC_OK || p->by_step_kernel) {
        return status;
    }
    float *row = sc_plan_alloc(builder->plan, 3 * H, sizeof(float));
    if (row == NULL) {
        return sc_no_memory(builder);
    }
    memcpy(row + 2 * H, bn, H * sizeof(float));
    return sc_pack_row(builder, row, H, 3, &p->recurrent_row);
}

static sc_status rnn_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    rnn_params *p = node->params;
    const size_t H = p->units, I = in[0].dim[2], G = p->cell == LSTM ? 4 : p->cell == GRU ? 3 : 1, GH = G * H;
    const bool reset_after = p->cell == GRU && p->reset_after;
    const float *w = NULL, *u = NULL, *b = NULL, *bn = NULL;
    sc_status status = sc_weight(builder, node, "W", 2, (size_t[]){I, GH}, &w);
    if (status == SC_OK) {
        status = sc_weight(builder, node, "U", 2, (size_t[]){H, GH}, &u);
    }
    if (status == SC_OK) {
        status = sc_weight(builder, node, "b", 1, &GH, &b);
    }
    if (status == SC_OK && reset_after) {
        status = sc_weight(builder, node, "bn", 1, &H, &bn);
    }
    if (status != SC_OK || w == NULL || u == NULL || b == NULL || (reset_after && bn == NULL)) {
        return status;
    }
    if (I == SC_UNKNOWN) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): the number of input features is not fixed",
                       node->layer, node->op->name);
    }
    p->inputs = I;
    const sc_kernels *kernels = builder->plan->kernels;
    p->padded = kernels->packed_floats(1, H, 1);
    if (p->cell == GRU && !p->reset_after) {
        p->row_floats = kernels->packed_floats(1, H, 2);
        p->row_n_floats = p->padded;
        return pack_reset_before(builder, p, w, u, b);
    }
    p->row_floats = kernels->packed_floats(1, H, G);
    status = sc_pack_matrix(builder, w, GH, I, H, G, &p->w);
    if (status == SC_OK) {
        status = sc_pack_matrix(builder, u, GH, H, H, G, &p->u);
    }
    if (status == SC_OK) {
        status = sc_pack_row(builder, b, H, G, &p->bias);
    }
    return status == SC_OK && reset_after ? pack_recurrent_bias(builder, p, bn) : status;
}

/* ---- Scratch ---------------------------------------------------------------------------------------------- */

/* Offsets into a worker's scratch. R rows, S frames hoisted at a time (0: fused). */
typedef struct rnn_layout {
    size_t stretch; /* S */
    size_t order, lengths, x, h, h_next, c, xw, xw_n, gates, candidate, reset; /* arrays of R */
    size_t list_a, list_out;             /* arrays of S * R */
    size_t zeros, states, cells, sums, sums_n, cell; /* floats */
    size_t z, z_n, reset_h;              /* floats of the cells that no step kernel finishes */
    size_t bytes;
} rnn_layout;

static rnn_layout rnn_layout_of(const rnn_params *p, size_t R, size_t T)
{
    rnn_layout l = {0};
    const size_t row = p->row_floats + p->row_n_floats;
    if (R > 0 && (!p->by_step_kernel || (R < FUSE_ROWS && T > 1))) {
        const size_t fits = HOIST_BYTES / (sizeof(float) * R * row);
        l.stretch = fits < 1 ? 1 : fits > T ? T : fits;
    }
    size_t *bytes = &l.bytes;
    l.order = sc_reserve(bytes, R, sizeof(size_t));
    l.lengths = sc_reserve(bytes, R, sizeof(size_t));
    l.x = sc_reserve(bytes, R, sizeof(float *));
    l.h = sc_reserve(bytes, R, sizeof(float *));
    l.h_next = sc_reserve(bytes, R, sizeof(float *));
    l.c = sc_reserve(bytes, R, sizeof(float *));
    l.xw = sc_reserve(bytes, R, sizeof(float *));
    l.xw_n = sc_reserve(bytes, R, sizeof(float *));
    l.zeros = sc_reserve(bytes, p->padded, sizeof(float));
    l.states = sc_reserve(bytes, 2 * R * p->padded, sizeof(float));
    l.cells = sc_reserve(bytes, p->cell == LSTM ? R * p->padded : 0, sizeof(float));
    l.list_a = sc_reserve(bytes, l.stretch * R, sizeof(float *));
    l.list_out = sc_reserve(bytes, l.stretch * R, sizeof(float *));
    l.sums = sc_reserve(bytes, l.stretch * R * p->row_floats, sizeof(float));
    l.sums_n = sc_reserve(bytes, l.stretch * R * p->row_n_floats, sizeof(float));
    if (!p->by_step_kernel) {
        l.gates = sc_reserve(bytes, R, sizeof(float *));
        l.candidate = sc_reserve(bytes, R, sizeof(float *));
        l.reset = sc_reserve(bytes, R, sizeof(float *));
        l.z = sc_reserve(bytes, R * p->row_floats, sizeof(float));
        l.z_n = sc_reserve(bytes, R * p->row_n_floats, sizeof(float));
        l.reset_h = sc_reserve(bytes, R * p->padded, sizeof(float));
        l.cell = sc_reserve(bytes, p->padded, sizeof(float));
    }
    return l;
}

static size_t rnn_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    return rnn_layout_of(node->params, rows * in[0].dim[0], in[0].dim[1]).bytes;
}

/* ---- Running ------------------------------------------------------------------------------------------------ */

/* Everything that the time loop works on. Arrays of rows are in the order of processing: longest first. */
typedef struct rnn_run {
    const rnn_params *p;
    const sc_kernels *kernels;
    rnn_layout layout;
    size_t rows, T;
    const float *input; /* (rows, T, I) */
    float *output;      /* (rows, T, H), or NULL when no sequence is wanted */
    size_t *order;      /* row of the block */
    size_t *lengths;    /* in the order of processing */
    const float **x, **h, **xw, **xw_n;
    float **h_next, **c;
    const float **list_a;
    float **list_out;
    float *sums, *sums_n, *states, *zeros;
    char *scratch;
} rnn_run;

static void *at(const rnn_run *r, size_t offset)
{
    return r->scratch + offset;
}

/* order and lengths: longest first, rows of one length in their own order */
static void sort_rows(rnn_run *r, const int64_t *lengths)
{
    for (size_t m = 0; m < r->rows; m++) {
        const size_t n = lengths != NULL ? (size_t)lengths[m] : r->T;
        size_t place = m;
        for (; place > 0 && r->lengths[place - 1] < n; place--) {
            r->lengths[place] = r->lengths[place - 1];
            r->order[place] = r->order[place - 1];
        }
        r->lengths[place] = n;
        r->order[place] = m;
    }
}

/* The frame that row m (in the order of processing) reads in step s, and the one to which its output belongs. */
static size_t frame_in(const rnn_run *r, size_t m, size_t s)
{
    return r->p->reverse ? r->lengths[m] - 1 - s : s;
}

static size_t frame_out(const rnn_run *r, size_t m, size_t s)
{
    return r->p->realign ? frame_in(r, m, s) : s;
}

static const float *x_of(const rnn_run *r, size_t m, size_t s)
{
    return r->input + (r->order[m] * r->T + frame_in(r, m, s)) * r->p->inputs;
}

/* sums[s][m] = b + x.W for the frames of steps [from, to) of the rows that run then */
static void hoist(rnn_run *r, size_t active, size_t from, size_t to)
{
    const rnn_params *p = r->p;
    size_t n = 0;
    for (size_t s = from; s < to; s++) {
        for (size_t m = 0; m < active && r->lengths[m] > s; m++, n++) {
            r->list_a[n] = x_of(r, m, s);
            r->list_out[n] = r->sums + ((s - from) * r->rows + m) * p->row_floats;
        }
    }
    r->kernels->matmul(&(sc_matmul){.rows = n, .a = r->list_a, .w = &p->w, .bias = p->bias, .out = r->list_out});
    if (p->row_n_floats == 0) {
        return;
    }
    for (size_t s = from, i = 0; s < to; s++) {
        for (size_t m = 0; m < active && r->lengths[m] > s; m++, i++) {
            r->list_out[i] = r->sums_n + ((s - from) * r->rows + m) * p->row_n_floats;
        }
    }
    r->kernels->matmul(&(sc_matmul){.rows = n, .a = r->list_a, .w = &p->w_n, .bias = p->bias_n, .out = r->list_out});
}

/* A step of a cell that its step kernel finishes. */
static void step_by_kernel(rnn_run *r, size_t active, bool backward)
{
    const rnn_params *p = r->p;
    const sc_step step = {.rows = active,
                          .xw = r->layout.stretch > 0 ? r->xw : NULL,
                          .x = r->x,
                          .w = &p->w,
                          .bias = p->bias,
                          .h = r->h,
                          .u = &p->u,
                          .recurrent_bias = p->recurrent_bias,
                          .h_next = r->h_next,
                          .c = r->c,
                          .backward = backward,
                          .activation = p->activation};
    switch (p->cell) {
    case LSTM: r->kernels->lstm_step(&step); break;
    case GRU: r->kernels->gru_step(&step); break;
    case SIMPLE_RNN: r->kernels->rnn_step(&step); break;
    }
}

static void step_reset_before(rnn_run *r, size_t active)
{
    const rnn_params *p = r->p;
    float *const *gates = at(r, r->layout.gates), *const *candidate = at(r, r->layout.candidate);
    float *const *reset = at(r, r->layout.reset);
    r->kernels->matmul(&(sc_matmul){.rows = active, .a = r->h, .w = &p->u, .init = r->xw, .out = gates});
    const sc_reset_before cell = {.rows = active,
                                  .units = p->units,
                                  .gates = gates,
                                  .candidate = candidate,
                                  .h = r->h,
                                  .reset_h = reset,
                                  .h_next = r->h_next,
                                  .activation = p->activation,
                                  .recurrent_activation = p->recurrent_activation,
                                  .scratch = at(r, r->layout.cell)};
    r->kernels->reset_before_gates(&cell);
    r->kernels->matmul(&(sc_matmul){.rows = active, .a = (const float *const *)reset, .w = &p->u_n, .init = r->xw_n,
                                    .out = candidate});
    r->kernels->reset_before_state(&cell);
}

/* A step of an LSTM or a reset-after GRU with other activations: the sums first, then the cell. */
static void step_any(rnn_run *r, size_t active)
{
    const rnn_params *p = r->p;
    float *const *z = at(r, r->layout.gates);
    r->kernels->matmul(&(sc_matmul){.rows = active, .a = r->h, .w = &p->u, .init = p->cell == LSTM ? r->xw : r->xw_n,
                                    .out = z});
    const sc_cell cell = {.rows = active,
                          .units = p->units,
                          .z = z,
                          .xw = r->xw,
                          .h = r->h,
                          .h_next = r->h_next,
                          .c = r->c,
                          .activation = p->activation,
                          .recurrent_activation = p->recurrent_activation,
                          .scratch = at(r, r->layout.cell)};
    (p->cell == LSTM ? r->kernels->lstm_cell : r->kernels->gru_cell)(&cell);
}

/* Points the step's arrays at step s; `from`: the first step whose sums are hoisted. */
static void point(rnn_run *r, size_t active, size_t s, size_t from)
{
    const rnn_params *p = r->p;
    for (size_t m = 0; m < active; m++) {
        if (r->layout.stretch > 0) {
            const size_t n = (s - from) * r->rows + m;
            r->xw[m] = r->sums + n * p->row_floats;
            if (p->row_n_floats > 0) {
                r->xw_n[m] = r->sums_n + n * p->row_n_floats;
            }
        } else {
            r->x[m] = x_of(r, m, s);
        }
        r->h_next[m] = r->output != NULL ? r->output + (r->order[m] * r->T + frame_out(r, m, s)) * p->units
                                         : r->states + (m * 2 + s % 2) * p->padded;
    }
}

static void run_steps(rnn_run *r)
{
    const rnn_params *p = r->p;
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
        if (p->by_step_kernel) {
            step_by_kernel(r, active, s % 2 == 1);
        } else if (p->cell == GRU && !p->reset_after) {
            step_reset_before(r, active);
        } else {
            step_any(r, active);
        }
        for (size_t m = 0; m < active; m++) {
            r->h[m] = r->h_next[m];
        }
    }
}

static void set_up(rnn_run *r, const sc_node *node, const sc_frame *frame)
{
    const rnn_params *p = r->p;
    const rnn_layout *l = &r->layout;
    r->order = at(r, l->order);
    r->lengths = at(r, l->lengths);
    r->x = at(r, l->x);
    r->h = at(r, l->h);
    r->h_next = at(r, l->h_next);
    r->c = at(r, l->c);
    r->xw = at(r, l->xw);
    r->xw_n = at(r, l->xw_n);
    r->list_a = at(r, l->list_a);
    r->list_out = at(r, l->list_out);
    r->sums = at(r, l->sums);
    r->sums_n = at(r, l->sums_n);
    r->states = at(r, l->states);
    r->zeros = at(r, l->zeros);
    sort_rows(r, sc_lengths(node, frame));
    memset(r->zeros, 0, p->padded * sizeof(float));
    const float *h0 = sc_in(node, frame, 1), *c0 = sc_in(node, frame, 2);
    float *cells = at(r, l->cells), *z = at(r, l->z), *z_n = at(r, l->z_n), *reset_h = at(r, l->reset_h);
    for (size_t m = 0; m < r->rows; m++) {
        const size_t row = r->order[m];
        r->h[m] = h0 != NULL ? h0 + row * p->units : r->zeros;
        if (p->cell == LSTM) {
            r->c[m] = cells + m * p->padded;
            memset(r->c[m], 0, p->padded * sizeof(float));
            if (c0 != NULL) {
                memcpy(r->c[m], c0 + row * p->units, p->units * sizeof(float));
            }
        }
        if (!p->by_step_kernel) {
            ((float **)at(r, l->gates))[m] = z + m * p->row_floats;
            ((float **)at(r, l->candidate))[m] = z_n + m * p->row_n_floats;
            ((float **)at(r, l->reset))[m] = reset_h + m * p->padded;
            r->xw_n[m] = p->recurrent_row; /* of a reset-before GRU: set anew at every step */
        }
    }
}

/* The last states, and zeros past each row's end. */
static void finish(const rnn_run *r, const sc_node *node, const sc_frame *frame)
{
    const size_t H = r->p->units, bytes = H * sizeof(float);
    float *y = r->p->sequences ? NULL : sc_out(node, frame, 0);
    float *h = sc_out(node, frame, 1), *c = sc_out(node, frame, 2);
    for (size_t m = 0; m < r->rows; m++) {
        const size_t row = r->order[m], n = r->lengths[m];
        if (y != NULL) {
            memcpy(y + row * H, r->h[m], bytes);
        }
        if (h != NULL) {
            memcpy(h + row * H, r->h[m], bytes);
        }
        if (c != NULL) {
            memcpy(c + row * H, r->c[m], bytes);
        }
        if (r->output != NULL) {
            memset(r->output + (row * r->T + n) * H, 0, (r->T - n) * bytes);
        }
    }
}

static void rnn_run_node(const sc_node *node, sc_frame *frame)
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    rnn_run r = {.p = node->params,
                 .kernels = frame->kernels,
                 .rows = frame->rows * shape->dim[0],
                 .T = shape->dim[1],
                 .input = sc_in(node, frame, 0),
                 .scratch = frame->scratch};
    r.output = r.p->sequences ? sc_out(node, frame, 0) : NULL;
    if (r.rows == 0) {
        return;
    }
    r.layout = rnn_layout_of(r.p, frame->capacity * shape->dim[0], r.T);
    set_up(&r, node, frame);
    run_steps(&r);
    finish(&r, node, frame);
}

const sc_op sc_op_lstm = {.name = "lstm", .min_inputs = 1, .max_inputs = 3, .outputs = 3, .states = true,
                          .parse = lstm_parse, .infer = rnn_infer, .pack = rnn_pack, .scratch = rnn_scratch,
                          .run = rnn_run_node};
const sc_op sc_op_gru = {.name = "gru", .min_inputs = 1, .max_inputs = 2, .outputs = 2, .states = true, .parse = gru_parse,
                         .infer = rnn_infer, .pack = rnn_pack, .scratch = rnn_scratch, .run = rnn_run_node};
const sc_op sc_op_simple_rnn = {.name = "simple_rnn", .min_inputs = 1, .max_inputs = 2, .outputs = 2, .states = true,
                                .parse = simple_rnn_parse, .infer = rnn_infer, .pack = rnn_pack, .scratch = rnn_scratch,
                                .run = rnn_run_node};
