/* Attention: each frame of a query takes the mean of the value's frames, weighed by the softmax of its scores with
 * their keys. The keys and values of a row and head are packed once and multiplied by all frames of its query; a query
 * of few frames multiplies them as they lie. Projections, and the layers that are made of them (MultiHeadAttention),
 * are dense nodes around this one. */
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
    size_t features; /* of additive scores, which have a weight for each: */
    const float *w;
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
    if (p->w != NULL && q->dim[2] != p->features) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (attention): its query must have %zu features, found %zu",
                       node->layer, p->features, q->dim[2]);
    }
    out[0] = (sc_shape){.rank = 3, .dim = {q->dim[0], q->dim[1], v->dim[2]}};
    if (node->outputs[1] != SC_NONE) {
        out[1] = p->heads > 0 ? (sc_shape){.rank = 4, .dim = {q->dim[0], heads, q->dim[1], v->dim[1]}}
                              : (sc_shape){.rank = 3, .dim = {q->dim[0], q->dim[1], v->dim[1]}};
    }
    return SC_OK;
}

/* The weights of additive scores: W, or its one number for all features. */
static sc_status keep_weights(sc_builder *builder, sc_node *node, size_t features)
{
    attention_params *p = node->params;
    const float *source = NULL;
    const sc_status status = sc_weight(builder, node, "W", 1, (size_t[]){p->shared ? 1 : features}, &source);
    if (status != SC_OK || source == NULL) {
        return status;
    }
    if (features == SC_UNKNOWN || features > MOST_FEATURES) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (attention): its query must have a fixed number of "
                       "features, at most 2^20", node->layer);
    }
    bool fresh = true;
    const sc_packing packing = {.source = source, .ld = features, .rows = 1};
    float *w = sc_packed_room(builder, p->shared ? NULL : &packing, features, &fresh);
    if (w == NULL) {
        return sc_no_memory(builder);
    }
    for (size_t i = 0; i < features && fresh; i++) {
        w[i] = source[p->shared ? 0 : i];
    }
    p->w = w;
    p->features = features;
    return SC_OK;
}

static sc_status attention_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    const attention_params *p = node->params;
    const size_t D = in[QUERY].dim[2], Dv = in[VALUE].dim[2], Tv = in[VALUE].dim[1];
    const sc_status status = p->score == ADDITIVE ? keep_weights(builder, node, D) : SC_OK;
    if (D != SC_UNKNOWN && Dv != SC_UNKNOWN) { /* what it works, for each frame of the query */
        builder->plan->work += (Tv != SC_UNKNOWN ? (double)Tv : USUAL_FRAMES) * ((double)D + (double)Dv);
    }
    return status;
}

/* ---- Running ---------------------------------------------------------------------------------------------- */

typedef struct places {
    size_t keys, values, zeros, scores, bytes;
} places;

/* Whether keys and values are packed: a query of few frames multiplies them as they lie, to the same bits. */
static bool packs(size_t Tq)
{
    return Tq >= SC_PACKED_FROM;
}

static places attention_layout(const attention_params *p, size_t Tq, size_t D, size_t Dv, size_t Tv)
{
    const size_t d = D / heads_of(p), dv = Dv / heads_of(p);
    places at = {0};
    at.keys =
        sc_reserve(&at.bytes, packs(Tq) && p->score == DOT ? p->kernels->packed_floats(d, Tv, 1) : 0, sizeof(float));
    at.values = sc_reserve(&at.bytes, packs(Tq) ? p->kernels->packed_floats(Tv, dv, 1) : 0, sizeof(float));
    at.zeros = sc_reserve(&at.bytes, packs(Tq) ? p->kernels->packed_floats(1, Tv > dv ? Tv : dv, 1) : 0, sizeof(float));
    at.scores = sc_reserve(&at.bytes, CHUNK * Tv, sizeof(float));
    return at;
}

static size_t attention_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)rows;
    return attention_layout(node->params, in[QUERY].dim[1], in[QUERY].dim[2], in[VALUE].dim[2], in[VALUE].dim[1]).bytes;
}

/* The keys and values of one head of a row, */
typedef struct attention {
    const attention_params *p;
    const float *k, *v;      /* the first frames, */
    size_t k_step, v_step;   /* ... and from one to the next */
    size_t values;           /* frames that there are */
    size_t d, dv;            /* features of the head */
    const float *value_mask; /* or NULL */
    const float *zeros;      /* NULL: they are not packed */
    sc_matrix packed_keys, packed_values;
} attention;

/* ... and the frames of queries that look at them: of this row's, or one of each row that shares them. */
typedef struct queries {
    size_t count;
    const float *q[CHUNK];
    float *scores[CHUNK], *y[CHUNK];
    size_t place[CHUNK]; /* in its sequence */
    bool masked[CHUNK];
} queries;

/* s_ij = scale q_i . k_j, or sum over d of w_d tanh(scale (q_id + k_jd)) */
static void score(const attention *a, const queries *q)
{
    const attention_params *p = a->p;
    if (p->score == ADDITIVE) {
        for (size_t i = 0; i < q->count; i++) {
            p->kernels->additive(&(sc_additive){.a = q->q[i],
                                                .w = p->w,
                                                .b = a->k,
                                                .ld = a->k_step,
                                                .K = a->d,
                                                .N = a->values,
                                                .scale = p->scale,
                                                .out = q->scores[i]});
        }
        return;
    }
    if (a->zeros != NULL) {
        p->kernels->matmul(&(sc_matmul){
            .rows = q->count, .a = q->q, .w = &a->packed_keys, .bias = a->zeros, .out = q->scores, .exact = true});
    } else {
        p->kernels->times_transposed(&(sc_plain){
            .rows = q->count, .a = q->q, .b = a->k, .ld = a->k_step, .K = a->d, .N = a->values, .out = q->scores});
    }
    for (size_t i = 0; i < q->count && p->scale != 1.0f; i++) {
        float *s = q->scores[i];
        for (size_t j = 0; j < a->values; j++) {
            s[j] *= p->scale;
        }
    }
}

/* Scores become weights: those that a frame of the query may not see are hidden, then softmax. */
static void weigh(const attention *a, size_t place, bool masked, float *s)
{
    const int masking = a->p->masking;
    const size_t end = masking != SUBTRACT && masked           ? 0
                       : a->p->causal && place + 1 < a->values ? place + 1
                                                               : a->values;
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

/* y_i = sum over j of softmax_j(s_ij) v_j */
static void attend(const attention *a, const queries *q)
{
    score(a, q);
    for (size_t i = 0; i < q->count; i++) {
        weigh(a, q->place[i], q->masked[i], q->scores[i]);
    }
    const float *const *weights = (const float *const *)q->scores;
    if (a->zeros != NULL) {
        a->p->kernels->matmul(&(sc_matmul){
            .rows = q->count, .a = weights, .w = &a->packed_values, .bias = a->zeros, .out = q->y, .exact = true});
    } else {
        a->p->kernels->times(&(sc_plain){
            .rows = q->count, .a = weights, .b = a->v, .ld = a->v_step, .K = a->values, .N = a->dv, .out = q->y});
    }
    for (size_t i = 0; i < q->count && a->p->masking == SUBTRACT; i++) {
        if (q->masked[i]) {
            memset(q->y[i], 0, a->dv * sizeof(float));
        }
    }
}

static size_t end_of(const int64_t *lengths, size_t m, size_t frames)
{
    return lengths != NULL && (size_t)lengths[m] < frames ? (size_t)lengths[m] : frames;
}

/* What head h of row m looks at; packed into scratch where that is worth it. */
static attention look_at(const sc_node *node, const sc_frame *frame, size_t m, size_t h, const places *at)
{
    const attention_params *p = node->params;
    const sc_kernels *kernels = p->kernels;
    const sc_shape *query = sc_in_shape(node, frame, QUERY), *value = sc_in_shape(node, frame, VALUE);
    const size_t Tv = value->dim[1], D = query->dim[2], Dv = value->dim[2];
    const float *key = sc_in(node, frame, KEY), *v = sc_in(node, frame, VALUE),
                *value_mask = sc_in(node, frame, VALUE_MASK);
    attention a = {.p = p, .k_step = D, .v_step = Dv, .d = D / heads_of(p), .dv = Dv / heads_of(p)};
    const size_t value_row = sc_context_row(node, frame, VALUE, m), key_row = sc_context_row(node, frame, KEY, m);
    a.k = (key != NULL ? key + key_row * Tv * D : v + value_row * Tv * D) + h * a.d;
    a.v = v + value_row * Tv * Dv + h * a.dv;
    a.values = end_of(sc_lengths_of(node, frame, VALUE), m, Tv);
    a.values = end_of(sc_lengths_of(node, frame, KEY), m, a.values);
    a.value_mask = value_mask != NULL ? value_mask + sc_context_row(node, frame, VALUE_MASK, m) * Tv : NULL;
    if (packs(query->dim[1])) {
        float *keys = (float *)(void *)(frame->scratch + at->keys),
              *values = (float *)(void *)(frame->scratch + at->values);
        if (p->score == DOT) {
            kernels->pack_transposed(keys, a.k, D, a.d, a.values);
        }
        kernels->pack(values, a.v, Dv, a.values, a.dv, 1, false);
        a.packed_keys = (sc_matrix){.data = keys, .rows = a.d, .units = a.values, .gates = 1};
        a.packed_values = (sc_matrix){.data = values, .rows = a.values, .units = a.dv, .gates = 1};
        a.zeros = (const float *)(const void *)(frame->scratch + at->zeros);
    }
    return a;
}

/* Whether a row of a step looks at what the row before it looks at: then one pass over that serves both. */
static bool shares(const sc_node *node, const sc_frame *frame, size_t m)
{
    bool all = true;
    for (size_t i = VALUE; i < node->n_inputs && all; i++) {
        all = i == QUERY_MASK || node->inputs[i] == SC_NONE || frame->plan->values[node->inputs[i]].mapped;
    }
    return all && frame->sources[m] == frame->sources[m - 1];
}

/* Frame i of row m for head h: what it is, and where its results go. */
static void add_query(const sc_node *node, const sc_frame *frame, size_t m, size_t h, size_t i, const places *at,
                      queries *q)
{
    const size_t Tq = sc_in_shape(node, frame, QUERY)->dim[1], D = sc_in_shape(node, frame, QUERY)->dim[2];
    const size_t Tv = sc_in_shape(node, frame, VALUE)->dim[1], Dv = sc_in_shape(node, frame, VALUE)->dim[2];
    const size_t heads = heads_of(node->params), n = q->count++;
    const float *mask = sc_in(node, frame, QUERY_MASK);
    float *wanted = sc_out(node, frame, 1);
    q->q[n] = sc_in(node, frame, QUERY) + (m * Tq + i) * D + h * (D / heads);
    q->y[n] = sc_out(node, frame, 0) + (m * Tq + i) * Dv + h * (Dv / heads);
    q->scores[n] = wanted != NULL ? wanted + ((m * heads + h) * Tq + i) * Tv
                                  : (float *)(void *)(frame->scratch + at->scores) + n * Tv;
    q->place[n] = i;
    q->masked[n] = mask != NULL && mask[m * Tq + i] == 0.0f;
}

/* Head h of rows [m, end), which look at the same. Frames past the end of their sequence, or with nothing to look at,
 * give zeros. */
static void attend_rows(const sc_node *node, const sc_frame *frame, size_t m, size_t end, size_t h, const places *at)
{
    const attention a = look_at(node, frame, m, h, at);
    const size_t Tq = sc_in_shape(node, frame, QUERY)->dim[1], Tv = sc_in_shape(node, frame, VALUE)->dim[1];
    const bool wanted = sc_out(node, frame, 1) != NULL;
    queries q;
    q.count = 0;
    for (; m < end; m++) {
        const size_t frames = a.values > 0 ? end_of(sc_lengths_of(node, frame, QUERY), m, Tq) : 0;
        for (size_t i = 0; i < Tq; i++) {
            add_query(node, frame, m, h, i, at, &q);
            const size_t n = q.count - 1, from = i < frames ? a.values : 0;
            if (wanted) {
                memset(q.scores[n] + from, 0, (Tv - from) * sizeof(float));
            }
            if (i >= frames) {
                memset(q.y[n], 0, a.dv * sizeof(float));
                q.count--;
            } else if (q.count == CHUNK) {
                attend(&a, &q);
                q.count = 0;
            }
        }
    }
    if (q.count > 0) {
        attend(&a, &q);
    }
}

static void attention_run(const sc_node *node, sc_frame *frame)
{
    const attention_params *p = node->params;
    const sc_shape *query = sc_in_shape(node, frame, QUERY), *value = sc_in_shape(node, frame, VALUE);
    const size_t rows = frame->rows * query->dim[0], heads = heads_of(p);
    const places at = attention_layout(p, query->dim[1], query->dim[2], value->dim[2], value->dim[1]);
    const bool by_head = frame->sources != NULL; /* rows that share what they look at then stand side by side */
    memset(frame->scratch + at.zeros, 0, at.scores - at.zeros);
    const size_t end = sc_part(&frame->team, rows * heads, 1);
    for (size_t n = sc_part(&frame->team, rows * heads, 0), next; n < end; n = next) {
        const size_t m = by_head ? n % rows : n / heads, h = by_head ? n / rows : n % heads;
        next = n + 1;
        while (by_head && next < end && next % rows > 0 && shares(node, frame, next % rows)) {
            next++;
        }
        attend_rows(node, frame, m, m + next - n, h, &at);
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
