/* Attention: each frame of a query takes the mean of the value's frames, weighed by the softmax of its scores with their
 * keys. The keys and values of a row and head are packed once and multiplied by all frames of its query. Projections, and
 * the layers that are made of them (MultiHeadAttention), are dense nodes around this one. */
#include "plan.h"
#include "products.h"

#include <float.h>
#include <string.h>

#define CHUNK SC_PRODUCT_CHUNK
#define MOST_FEATURES ((size_t)1 << 20) /* of additive scores: their weights may be one number in the file */
#define USUAL_FRAMES 64.0               /* of a value, where only a call tells: for the choice of threads */
#define HIDDEN (-0.7f * FLT_MAX)        /* a masked score, whatever it was: far below others, and finite */
#define LESS 1e9f                       /* or so much less than it was */

enum input { QUERY, VALUE, KEY, QUERY_MASK, VALUE_MASK, INPUTS };
enum score { DOT, ADDITIVE };

/* What a mask does. docs/design.md, "Attention": */
enum masking { SUBTRACT, REPLACE, ZERO };

typedef struct attention_params {
    int score, masking;
    size_t heads; /* 0: one, which is no axis of the scores */
    float scale;
    bool causal, shared;
    sc_matrix w; /* of additive scores: a column */
    const sc_kernels *kernels;
} attention_params;

static size_t heads_of(const attention_params *p)
{
    return p->heads > 0 ? p->heads : 1;
}

/* ---- Building --------------------------------------------------------------------------------------------- */

static sc_status attention_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const scores[] = {"dot", "additive", NULL};
    static const char *const maskings[] = {"subtract", "replace", "zero", NULL};
    attention_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    p->kernels = builder->plan->kernels;
    sc_status status = sc_attr_choice(builder, node, attributes, "score", scores, &p->score);
    if (status == SC_OK) {
        status = sc_attr_choice(builder, node, attributes, "masking", maskings, &p->masking);
    }
    if (status == SC_OK) {
        status = sc_attr_size(builder, node, attributes, "heads", 0, &p->heads);
    }
    if (status == SC_OK) {
        double scale = 0.0;
        status = sc_attr_number(builder, node, attributes, "scale", -FLT_MAX, &scale);
        p->scale = (float)scale;
    }
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "causal", &p->causal);
    }
    if (status == SC_OK && p->score == ADDITIVE) {
        status = sc_attr_bool(builder, node, attributes, "shared", &p->shared);
    }
    if (status == SC_OK && p->score == ADDITIVE && p->heads > 0) {
        status = sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (attention): additive scores have no heads", node->layer);
    }
    if (status == SC_OK && node->outputs[0] == SC_NONE) {
        status = sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (attention): its first output has no name", node->layer);
    }
    return status;
}

static bool agree(size_t a, size_t b)
{
    return a == b || a == SC_UNKNOWN || b == SC_UNKNOWN;
}

static bool divide(size_t features, size_t heads)
{
    return features == SC_UNKNOWN || features % heads == 0;
}

/* query (B,Tq,D), value (B,Tv,Dv), key (B,Tv,D), masks (B,Tq) and (B,Tv) -> (B,Tq,Dv), scores (B,[heads],Tq,Tv) */
static sc_status attention_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    static const char *const names[] = {"query", "value", "key", "query mask", "value mask"};
    const attention_params *p = node->params;
    const size_t heads = heads_of(p);
    const bool has_key = node->n_inputs > KEY && node->inputs[KEY] != SC_NONE;
    const sc_shape *q = &in[QUERY], *v = &in[VALUE], *k = has_key ? &in[KEY] : v;
    for (size_t i = 0; i < node->n_inputs; i++) {
        if (node->inputs[i] == SC_NONE) {
            continue;
        }
        const bool mask = i == QUERY_MASK || i == VALUE_MASK;
        const size_t frames = i == QUERY || i == QUERY_MASK ? q->dim[1] : v->dim[1];
        if (in[i].rank != (mask ? 2u : 3u)) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (attention): its %s must be (batch, time%s), found %zu axes",
                           node->layer, names[i], mask ? "" : ", features", in[i].rank);
        }
        if (!agree(in[i].dim[0], q->dim[0]) || !agree(in[i].dim[1], frames)) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (attention): its %s has %zu frames, expected %zu", node->layer,
                           names[i], in[i].dim[1], frames);
        }
    }
    if (!agree(q->dim[2], k->dim[2])) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (attention): its query has %zu features, its key %zu", node->layer,
                       q->dim[2], k->dim[2]);
    }
    if (!divide(q->dim[2], heads) || !divide(k->dim[2], heads) || !divide(v->dim[2], heads)) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (attention): its features do not divide into %zu heads", node->layer,
                       heads);
    }
    if (p->w.data != NULL && q->dim[2] != p->w.rows) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (attention): its query must have %zu features, found %zu",
                       node->layer, p->w.rows, q->dim[2]);
    }
    out[0] = (sc_shape){.rank = 3, .dim = {q->dim[0], q->dim[1], v->dim[2]}};
    if (node->outputs[1] != SC_NONE) {
        out[1] = p->heads > 0 ? (sc_shape){.rank = 4, .dim = {q->dim[0], heads, q->dim[1], v->dim[1]}}
                              : (sc_shape){.rank = 3, .dim = {q->dim[0], q->dim[1], v->dim[1]}};
    }
    return SC_OK;
}

/* The weights of additive scores as a column: W, or its one number for all features. */
static sc_status pack_column(sc_builder *builder, sc_node *node, size_t features)
{
    attention_params *p = node->params;
    const float *w = NULL;
    const sc_status status = sc_weight(builder, node, "W", 1, (size_t[]){p->shared ? 1 : features}, &w);
    if (status != SC_OK || w == NULL) {
        return status;
    }
    if (features == SC_UNKNOWN || features > MOST_FEATURES) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (attention): its query must have a fixed number of "
                       "features, at most 2^20", node->layer);
    }
    if (p->shared) {
        float *all = sc_plan_alloc(builder->plan, features, sizeof *all);
        if (all == NULL) {
            return sc_no_memory(builder);
        }
        for (size_t i = 0; i < features; i++) {
            all[i] = w[0];
        }
        w = all;
    }
    return sc_pack_matrix(builder, w, 1, features, 1, 1, &p->w);
}

static sc_status attention_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    const attention_params *p = node->params;
    const size_t D = in[QUERY].dim[2], Dv = in[VALUE].dim[2], Tv = in[VALUE].dim[1];
    const sc_status status = p->score == ADDITIVE ? pack_column(builder, node, D) : SC_OK;
    if (D != SC_UNKNOWN && Dv != SC_UNKNOWN) { /* what it works, for each frame of the query */
        builder->plan->work += (Tv != SC_UNKNOWN ? (double)Tv : USUAL_FRAMES) * ((double)D + (double)Dv);
    }
    return status;
}

/* ---- Running ---------------------------------------------------------------------------------------------- */

typedef struct places {
    size_t keys, values, zeros, scores, sums, bytes;
} places;

static places attention_layout(const attention_params *p, size_t D, size_t Dv, size_t Tv)
{
    const size_t d = D / heads_of(p), dv = Dv / heads_of(p);
    places at = {0};
    at.keys = sc_reserve(&at.bytes, p->score == DOT ? p->kernels->packed_floats(d, Tv, 1) : 0, sizeof(float));
    at.values = sc_reserve(&at.bytes, p->kernels->packed_floats(Tv, dv, 1), sizeof(float));
    at.zeros = sc_reserve(&at.bytes, p->kernels->packed_floats(1, Tv > dv ? Tv : dv, 1) + p->kernels->width, sizeof(float));
    at.scores = sc_reserve(&at.bytes, CHUNK * Tv, sizeof(float));
    at.sums = sc_reserve(&at.bytes, p->score == ADDITIVE ? CHUNK * D : 0, sizeof(float));
    return at;
}

static size_t attention_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)rows;
    return attention_layout(node->params, in[QUERY].dim[2], in[VALUE].dim[2], in[VALUE].dim[1]).bytes;
}

/* One head of one row: */
typedef struct attention {
    const attention_params *p;
    const float *q, *k, *v;                /* the first frames, */
    size_t q_step, v_step;                 /* ... and from one to the next; a key has the query's */
    size_t queries, values;                /* frames that there are */
    size_t d, dv;                          /* features of the head */
    const float *query_mask, *value_mask;  /* or NULL */
    sc_matrix packed_keys, packed_values;
    const float *zeros;
    float *sums;
} attention;

/* s_j = sum over d of W_d tanh(scale (q_d + k_jd)) */
static void additive_scores(const attention *a, const float *q, float *s)
{
    const float scale = a->p->scale;
    for (size_t first = 0; first < a->values; first += CHUNK) {
        const size_t count = a->values - first < CHUNK ? a->values - first : CHUNK;
        for (size_t j = 0; j < count; j++) {
            const float *k = a->k + (first + j) * a->q_step;
            for (size_t i = 0; i < a->d; i++) {
                a->sums[j * a->d + i] = scale * (q[i] + k[i]);
            }
        }
        a->p->kernels->activate((sc_activation_spec){.kind = SC_TANH}, a->sums, count * a->d);
        sc_product(a->p->kernels, &a->p->w, a->zeros, count, a->sums, a->d, s + first, 1);
    }
}

/* s_ij = scale q_i . k_j */
static void dot_scores(const attention *a, size_t first, size_t count, float *scores, size_t step)
{
    sc_product(a->p->kernels, &a->packed_keys, a->zeros, count, a->q + first * a->q_step, a->q_step, scores, step);
    for (size_t i = 0; i < count && a->p->scale != 1.0f; i++) {
        for (size_t j = 0; j < a->values; j++) {
            scores[i * step + j] *= a->p->scale;
        }
    }
}

/* Scores become weights: those that frame i of the query may not see are hidden, then softmax. */
static void weigh(const attention *a, size_t i, float *s)
{
    const int masking = a->p->masking;
    const bool blind = masking != SUBTRACT && a->query_mask != NULL && a->query_mask[i] == 0.0f;
    const size_t end = blind ? 0 : a->p->causal && i + 1 < a->values ? i + 1 : a->values;
    bool sees = false;
    for (size_t j = 0; j < end && a->value_mask != NULL; j++) {
        const bool seen = a->value_mask[j] != 0.0f;
        s[j] = seen ? s[j] : masking == SUBTRACT ? s[j] - LESS : HIDDEN;
        sees = sees || seen;
    }
    for (size_t j = end; j < a->values; j++) {
        s[j] = masking == SUBTRACT ? s[j] - LESS : HIDDEN;
    }
    if (masking == ZERO && !sees && (a->value_mask != NULL || end == 0)) {
        memset(s, 0, a->values * sizeof(float));
    } else {
        a->p->kernels->activate((sc_activation_spec){.kind = SC_SOFTMAX}, s, a->values);
    }
}

/* y_i = sum over j of softmax_j(s_ij) v_j for frames [first, first + count) of the query */
static void attend(const attention *a, size_t first, size_t count, float *scores, size_t scores_step, float *y,
                   size_t y_step)
{
    if (a->p->score == DOT) {
        dot_scores(a, first, count, scores, scores_step);
    }
    for (size_t i = 0; i < count; i++) {
        if (a->p->score == ADDITIVE) {
            additive_scores(a, a->q + (first + i) * a->q_step, scores + i * scores_step);
        }
        weigh(a, first + i, scores + i * scores_step);
    }
    sc_product(a->p->kernels, &a->packed_values, a->zeros, count, scores, scores_step, y, y_step);
    for (size_t i = 0; i < count && a->p->masking == SUBTRACT && a->query_mask != NULL; i++) {
        if (a->query_mask[first + i] == 0.0f) {
            memset(y + i * y_step, 0, a->dv * sizeof(float));
        }
    }
}

static size_t end_of(const int64_t *lengths, size_t m, size_t frames)
{
    return lengths != NULL && (size_t)lengths[m] < frames ? (size_t)lengths[m] : frames;
}

/* What head h of row m reads; its keys and values are packed into scratch. */
static attention begin(const sc_node *node, const sc_frame *frame, size_t m, size_t h, const places *at)
{
    const attention_params *p = node->params;
    const sc_kernels *kernels = p->kernels;
    const sc_shape *query = sc_in_shape(node, frame, QUERY), *value = sc_in_shape(node, frame, VALUE);
    const size_t Tq = query->dim[1], Tv = value->dim[1], D = query->dim[2], Dv = value->dim[2];
    const float *key = sc_in(node, frame, KEY), *v = sc_in(node, frame, VALUE);
    const float *query_mask = sc_in(node, frame, QUERY_MASK), *value_mask = sc_in(node, frame, VALUE_MASK);
    attention a = {.p = p, .q_step = D, .v_step = Dv, .d = D / heads_of(p), .dv = Dv / heads_of(p)};
    a.q = sc_in(node, frame, QUERY) + m * Tq * D + h * a.d;
    const size_t value_row = sc_context_row(node, frame, VALUE, m), key_row = sc_context_row(node, frame, KEY, m);
    a.k = (key != NULL ? key + key_row * Tv * D : v + value_row * Tv * D) + h * a.d;
    a.v = v + value_row * Tv * Dv + h * a.dv;
    a.queries = end_of(sc_lengths_of(node, frame, QUERY), m, Tq);
    a.values = end_of(sc_lengths_of(node, frame, VALUE), m, Tv);
    a.values = end_of(sc_lengths_of(node, frame, KEY), m, a.values);
    a.query_mask = query_mask != NULL ? query_mask + m * Tq : NULL;
    a.value_mask = value_mask != NULL ? value_mask + sc_context_row(node, frame, VALUE_MASK, m) * Tv : NULL;
    a.zeros = (const float *)(const void *)(frame->scratch + at->zeros);
    a.sums = (float *)(void *)(frame->scratch + at->sums);
    float *keys = (float *)(void *)(frame->scratch + at->keys), *values = (float *)(void *)(frame->scratch + at->values);
    if (p->score == DOT) {
        kernels->pack_transposed(keys, a.k, D, a.d, a.values);
    }
    kernels->pack(values, a.v, Dv, a.values, a.dv, 1, false);
    a.packed_keys = (sc_matrix){.data = keys, .rows = a.d, .units = a.values, .gates = 1};
    a.packed_values = (sc_matrix){.data = values, .rows = a.values, .units = a.dv, .gates = 1};
    return a;
}

static void attention_run(const sc_node *node, sc_frame *frame)
{
    const attention_params *p = node->params;
    const sc_shape *query = sc_in_shape(node, frame, QUERY), *value = sc_in_shape(node, frame, VALUE);
    const size_t rows = frame->rows * query->dim[0], heads = heads_of(p);
    const size_t Tq = query->dim[1], Tv = value->dim[1], Dv = value->dim[2];
    const places at = attention_layout(p, query->dim[2], Dv, Tv);
    float *wanted = sc_out(node, frame, 1);
    memset(frame->scratch + at.zeros, 0, at.scores - at.zeros);
    const size_t end = sc_part(&frame->team, rows * heads, 1);
    for (size_t n = sc_part(&frame->team, rows * heads, 0); n < end; n++) {
        const size_t m = n / heads, h = n % heads;
        const attention a = begin(node, frame, m, h, &at);
        const size_t made = a.values > 0 ? a.queries : 0; /* with nothing to look at, zeros */
        float *y = sc_out(node, frame, 0) + m * Tq * Dv + h * a.dv;
        for (size_t first = 0; first < made; first += CHUNK) {
            const size_t count = made - first < CHUNK ? made - first : CHUNK;
            float *scores = wanted != NULL ? wanted + (n * Tq + first) * Tv : (float *)(void *)(frame->scratch + at.scores);
            attend(&a, first, count, scores, Tv, y + first * Dv, Dv);
            for (size_t i = 0; i < count && wanted != NULL; i++) {
                memset(scores + i * Tv + a.values, 0, (Tv - a.values) * sizeof(float));
            }
        }
        for (size_t i = made; i < Tq; i++) {
            memset(y + i * Dv, 0, a.dv * sizeof(float));
        }
        if (wanted != NULL) {
            memset(wanted + (n * Tq + made) * Tv, 0, (Tq - made) * Tv * sizeof(float));
        }
    }
}

/* ---- Steps ------------------------------------------------------------------------------------------------ */

/* A query may move over a value that does not: each of its frames looks at all of that. */
static const char *attention_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    const attention_params *p = node->params;
    bool whole = true;
    for (size_t i = 0; i < node->n_inputs; i++) {
        const bool of_query = i == QUERY || i == QUERY_MASK;
        if (in[i] == SC_FOLDED || (in[i] == SC_MOVING && (!of_query || in[QUERY] != SC_MOVING))) {
            return "it looks at the whole sequence";
        }
        whole = whole && (in[i] == SC_WHOLE || of_query);
    }
    if (!sc_mask_moves_with(node, in, QUERY_MASK, QUERY) || !sc_mask_moves_with(node, in, VALUE_MASK, VALUE)) {
        return "the mask of a value does not move with it";
    }
    if (in[QUERY] == SC_MOVING && (!whole || p->causal)) {
        return p->causal ? "what a frame may look at depends on its place" : "it looks at what stands after the last frame";
    }
    if (in[QUERY] == SC_MOVING && node->outputs[1] != SC_NONE && p->heads > 0) {
        return "its scores have the heads before time";
    }
    out[0] = out[1] = in[QUERY] == SC_MOVING ? SC_MOVING : whole && in[QUERY] == SC_WHOLE ? SC_WHOLE : SC_LAST;
    return NULL;
}

const sc_op sc_op_attention = {.name = "attention", .min_inputs = 2, .max_inputs = INPUTS, .outputs = 2, .divides = true,
                               .lengths_apart = true, .masks = 1u << QUERY_MASK | 1u << VALUE_MASK,
                               .contexts = 1u << VALUE | 1u << KEY | 1u << VALUE_MASK,
                               .parse = attention_parse, .infer = attention_infer, .pack = attention_pack,
                               .scratch = attention_scratch, .run = attention_run, .moves = attention_moves};
