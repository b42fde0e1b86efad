/* Sequences of tokens that a plan makes itself: greedy, beam search, sampling.
 *
 * A row of the call has `width` slots, each the memory of one state. A slot that is alive holds a sequence that goes on; a step takes
 * all that are alive, one behind the other, and no others. In a beam search a slot's successors take over its state: the first its
 * memory, any other a copy in the memory of a slot that has none. What was chosen, and by whom, is kept for every step
 * (slot -> token, the slot before), and results are read backwards out of that. */
#include "choice.h"
#include "live.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The end of a sequence: its last token and the slot that this was chosen for. */
typedef struct result {
    size_t length, slot;
    int64_t token;
    double sum, score;
    bool ended;
} result;

/* What a slot chose at a step, and for which slot of the step before it stands now. */
typedef struct choice {
    int64_t token;
    size_t parent;
} choice;

typedef struct session {
    const sc_decoding *q;
    const sc_decoded *to;
    const sc_plan *plan;
    const sc_port *input;
    sc_live live;
    sc_workspace *space;
    size_t slots, V;
    bool beams;        /* a search; else every slot goes its own way */
    bool sums;         /* somebody wants log-probabilities */
    char **memory;     /* per slot: its state */
    size_t *alive;     /* slots that go on, in ascending order */
    size_t n_alive;
    double *sum;       /* per slot: its log-probability */
    result *results;   /* `width` per row, the best first */
    size_t *n_results; /* per row */
    choice *history;   /* per step and slot */
    char **extras;     /* per other output: per step and slot */
    int64_t *tokens;   /* what the step is fed, */
    sc_array *outputs; /* ... and gives: of those that are alive, in their order */
    size_t *sources, *shared; /* the row of each of them; the sources that the workspace has */
    size_t n_shared;
    sc_candidate *best;   /* of one row and step */
    sc_candidate *next;
    sc_weight_of *weights;
    bool *taken;
    char **moved;
} session;

/* ---- Beginning ---------------------------------------------------------------------------------------------------- */

static sc_status bad(sc_error *error, const char *what)
{
    return sc_fail(error, SC_BAD_ARGUMENT, "sc_plan_decode: %s", what);
}

static sc_status check_options(const sc_decoding *q, const sc_decoded *to, sc_error *error)
{
    if (q->start == NULL || to->ids == NULL || to->lengths == NULL) {
        return bad(error, "start, ids and lengths must not be NULL");
    }
    if (q->rows < 1 || q->width < 1 || q->max_length < 1 || q->rows > UINT32_MAX || q->width > UINT32_MAX ||
        q->max_length > UINT32_MAX) {
        return bad(error, "rows, width and max_length must be from 1 to 2^32 - 1");
    }
    if (to->results < 1 || to->results > q->width || (q->uniforms != NULL && to->results != q->width)) {
        return bad(error, "results must be from 1 to width, and width when sampling");
    }
    if (q->end < -1 || (unsigned)q->scores > SC_LOG_PROBABILITIES || !isfinite(q->length_penalty)) {
        return bad(error, "end, scores or length_penalty is outside its range");
    }
    if (q->prefix_size > q->max_length || (q->prefix_size > 0 && q->prefix == NULL)) {
        return sc_fail(error, SC_BAD_SHAPE, "the prefix has %zu tokens, a result %zu at most", q->prefix_size, q->max_length);
    }
    if (q->uniforms != NULL && !(q->temperature > 0 && isfinite(q->temperature) && q->top_p > 0 && q->top_p <= 1)) {
        return bad(error, "temperature must be above 0, and top_p above 0 and at most 1");
    }
    size_t count = 0;
    if (!sc_mul(q->rows * q->width, q->max_length, &count) || count > (size_t)1 << 40) {
        return bad(error, "rows, width and max_length are too large together");
    }
    for (size_t i = 0; q->uniforms != NULL && i < count; i++) {
        if (!(q->uniforms[i] >= 0 && q->uniforms[i] < 1)) {
            return bad(error, "uniforms must be from 0 to below 1");
        }
    }
    if (to->states != NULL && q->width > 1 && q->uniforms == NULL) {
        return bad(error, "a beam search has no final states");
    }
    return SC_OK;
}

/* That a step takes one token of a row and gives scores of V. */
static sc_status check_plan(session *s, sc_error *error)
{
    const sc_step_plan *step = s->plan->step;
    if (step->n_inputs != 1 || step->inputs[0].info.dtype != SC_I64 || step->inputs[0].row_bytes != sizeof(int64_t)) {
        return sc_fail(error, SC_UNSUPPORTED, "the model cannot be fed tokens: a step takes %zu inputs, '%s' first", step->n_inputs,
                       step->n_inputs > 0 ? step->inputs[0].info.name : "");
    }
    if (step->n_outputs < 1 || step->outputs[0].info.dtype != SC_F32) {
        return sc_fail(error, SC_UNSUPPORTED, "the model's first output gives no scores");
    }
    s->input = &step->inputs[0];
    if (s->plan->has_contexts && s->q->inputs == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "the model has a context, '%s', which is missing", step->contexts[0].info.name);
    }
    return SC_OK;
}

/* Every token that is fed from outside must be one of the input's. */
static sc_status check_tokens(const session *s, sc_error *error)
{
    const sc_decoding *q = s->q;
    const size_t rows = s->input->table_rows;
    if (q->end >= 0 && (uint64_t)q->end >= s->V) {
        return sc_fail(error, SC_BAD_INDEX, "end is %lld, expected 0 to %zu", (long long)q->end, s->V - 1);
    }
    for (size_t m = 0; m < q->rows; m++) {
        if ((uint64_t)q->start[m] >= rows) {
            return sc_fail(error, SC_BAD_INDEX, "start of row %zu is %lld, expected 0 to %zu", m, (long long)q->start[m], rows - 1);
        }
        const int64_t length = q->prefix_lengths != NULL ? q->prefix_lengths[m] : (int64_t)q->prefix_size;
        if (length < 0 || (uint64_t)length > q->prefix_size) {
            return sc_fail(error, SC_BAD_SHAPE, "the prefix of row %zu has length %lld, expected 0 to %zu", m, (long long)length,
                           q->prefix_size);
        }
        const size_t bad_at = sc_bad_id(q->prefix + m * q->prefix_size, (size_t)length, s->V);
        if (bad_at < (size_t)length) {
            return sc_fail(error, SC_BAD_INDEX, "the prefix of row %zu has token %lld, expected 0 to %zu", m,
                           (long long)q->prefix[m * q->prefix_size + bad_at], s->V - 1);
        }
    }
    return s->V <= rows ? SC_OK
                        : sc_fail(error, SC_UNSUPPORTED, "the model gives scores of %zu tokens, and takes %zu: what it says it "
                                  "cannot be fed", s->V, rows);
}

/* Memory of the session; in the plan's allocator, released by finish. */
static void *get(session *s, size_t count, size_t size, bool *made)
{
    void *memory = *made ? sc_allocate_zeros(&s->plan->allocator, count > 0 ? count : 1, size) : NULL;
    *made = memory != NULL;
    return memory;
}

static sc_status allocate(session *s, sc_error *error)
{
    const sc_decoding *q = s->q;
    const sc_step_plan *step = s->plan->step;
    const size_t W = q->width, cells = s->slots * q->max_length;
    bool made = true;
    s->memory = get(s, s->slots, sizeof *s->memory, &made);
    s->alive = get(s, s->slots, sizeof *s->alive, &made);
    s->sum = get(s, s->slots, sizeof *s->sum, &made);
    s->results = get(s, s->slots, sizeof *s->results, &made);
    s->n_results = get(s, q->rows, sizeof *s->n_results, &made);
    s->history = get(s, cells, sizeof *s->history, &made);
    s->extras = get(s, step->n_outputs, sizeof *s->extras, &made);
    s->tokens = get(s, s->slots, sizeof *s->tokens, &made);
    s->outputs = get(s, step->n_outputs, sizeof *s->outputs, &made);
    s->sources = get(s, s->slots, sizeof *s->sources, &made);
    s->shared = get(s, s->slots, sizeof *s->shared, &made);
    s->best = get(s, W, (W + 1) * sizeof *s->best, &made);
    s->next = get(s, W, sizeof *s->next, &made);
    s->taken = get(s, W, sizeof *s->taken, &made);
    s->moved = get(s, W, sizeof *s->moved, &made);
    s->weights = get(s, q->uniforms != NULL ? s->V : 0, sizeof *s->weights, &made);
    for (size_t i = 0; made && i < step->n_outputs; i++) {
        const sc_port *port = &s->space->ports[i];
        s->outputs[i] = (sc_array){.rank = port->info.rank};
        memcpy(s->outputs[i].shape, port->info.shape, sizeof port->info.shape);
        s->outputs[i].data = get(s, s->slots, port->row_bytes > 0 ? port->row_bytes : 1, &made);
        if (i > 0 && s->to->extras != NULL && s->to->extras[i - 1] != NULL && made) {
            s->extras[i] = get(s, cells, port->row_bytes > 0 ? port->row_bytes : 1, &made);
        }
    }
    return made ? SC_OK : sc_fail(error, SC_NO_MEMORY, "out of memory for %zu sequences of %zu tokens", s->slots, q->max_length);
}

static void finish(session *s)
{
    const sc_allocator *allocator = &s->plan->allocator;
    for (size_t i = 0; i < s->plan->step->n_outputs; i++) {
        if (s->outputs != NULL) {
            sc_release(allocator, s->outputs[i].data);
        }
        if (s->extras != NULL) {
            sc_release(allocator, s->extras[i]);
        }
    }
    void *const own[] = {(void *)s->memory, (void *)s->moved, s->alive, s->sum, s->results, s->n_results, s->history, (void *)s->extras, s->tokens, s->outputs,
                         s->sources, s->shared, s->best, s->next, s->taken, s->weights};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        sc_release(allocator, own[i]);
    }
    if (s->space != NULL) {
        sc_live_give(&s->live, s->space);
    }
    sc_live_free(&s->live);
}

/* Every row's first slot gets the row's initial state; where all slots begin at once, the others a copy. */
static sc_status begin_states(session *s, sc_error *error)
{
    const size_t W = s->q->width, rows = s->q->rows;
    for (size_t m = 0; m < rows; m++) {
        s->memory[m] = sc_live_row(&s->live, m * W);
        sc_state_begin(s->plan, s->memory[m]);
    }
    for (size_t i = 0; s->q->states != NULL && i < s->plan->step->n_states; i++) {
        const sc_status status =
            s->q->states[i].data != NULL ? sc_state_set(s->plan, s->memory, rows, i, &s->q->states[i], error) : SC_OK;
        if (status != SC_OK) {
            return status;
        }
    }
    for (size_t slot = 0; slot < s->slots; slot++) {
        s->memory[slot] = sc_live_row(&s->live, slot);
        if (slot % W == 0 || !s->beams) {
            memcpy(s->memory[slot], sc_live_row(&s->live, slot / W * W), s->plan->step->row_bytes);
            s->history[slot].token = s->q->start[slot / W]; /* what the first step is fed; then it is written over */
            s->alive[s->n_alive++] = slot;
        }
    }
    return SC_OK;
}

static sc_status begin(session *s, sc_error *error)
{
    sc_status status = sc_live_make(&s->live, s->plan, "rows times width", s->slots, error);
    if (status == SC_OK) {
        status = check_plan(s, error);
    }
    if (status == SC_OK) {
        status = sc_live_take(&s->live, &s->space, error);
        s->space = status == SC_OK ? s->space : NULL;
    }
    size_t batch = s->q->rows;
    if (status == SC_OK && s->plan->has_contexts) {
        status = sc_live_context(&s->live, s->space, s->q->inputs, &batch, error);
        if (status == SC_OK && batch != s->q->rows) {
            status = sc_fail(error, SC_BAD_SHAPE, "the contexts have %zu rows, expected %zu", batch, s->q->rows);
        }
    }
    if (status == SC_OK) {
        s->V = s->space->ports[0].row_bytes / sizeof(float);
        status = s->V > 0 ? check_tokens(s, error) : sc_fail(error, SC_UNSUPPORTED, "the model gives no scores");
    }
    if (status == SC_OK) {
        status = allocate(s, error);
    }
    return status == SC_OK ? begin_states(s, error) : status;
}

/* ---- Results ------------------------------------------------------------------------------------------------------ */

static double ranked(const sc_decoding *q, double sum, size_t length)
{
    return q->length_penalty != 0 ? sum / pow((double)length, q->length_penalty) : sum;
}

/* Puts a result among the best `width` of its row; of equal ones, what was found first stands first. */
static void note(session *s, size_t row, result found)
{
    const size_t W = s->q->width;
    result *list = s->results + row * W;
    size_t *count = &s->n_results[row];
    found.score = ranked(s->q, found.sum, found.length);
    size_t at = *count;
    while (at > 0 && list[at - 1].score < found.score) {
        at--;
    }
    if (at == W) {
        return;
    }
    *count += *count < W;
    memmove(list + at + 1, list + at, (*count - 1 - at) * sizeof *list);
    list[at] = found;
}

/* Whether nothing that has the sum now, and goes on, can still get among a row's results. A sum only falls. */
static bool decided(const session *s, size_t row, double sum, size_t length)
{
    const sc_decoding *q = s->q;
    if (s->n_results[row] < s->to->results) {
        return false;
    }
    const size_t most = q->length_penalty > 0 ? q->max_length : length + 1;
    return s->results[row * q->width + s->to->results - 1].score >= ranked(q, sum, most);
}

static void write_result(const session *s, size_t row, size_t number, const result *found)
{
    const sc_decoding *q = s->q;
    const size_t T = q->max_length, at = row * s->to->results + number;
    int64_t *ids = s->to->ids + at * T;
    const size_t length = found != NULL ? found->length : 0;
    for (size_t t = length; t < T; t++) {
        ids[t] = q->end >= 0 ? q->end : 0;
    }
    s->to->lengths[at] = (int64_t)length;
    if (s->to->ended != NULL) {
        s->to->ended[at] = found != NULL && found->ended;
    }
    if (s->to->scores != NULL) {
        s->to->scores[at] = found != NULL ? found->score : -INFINITY;
    }
    size_t slot = found != NULL ? found->slot : 0;
    for (size_t t = length; t-- > 0;) {
        ids[t] = t + 1 == length ? found->token : ids[t];
        for (size_t i = 1; i < s->plan->step->n_outputs; i++) {
            const size_t bytes = s->space->ports[i].row_bytes;
            if (s->extras[i] != NULL) {
                memcpy((char *)s->to->extras[i - 1] + (at * T + t) * bytes, s->extras[i] + (t * s->slots + slot) * bytes, bytes);
            }
        }
        if (t > 0) {
            const choice *before = &s->history[(t - 1) * s->slots + slot];
            ids[t - 1] = before->token;
            slot = before->parent;
        }
    }
    for (size_t i = 1; i < s->plan->step->n_outputs; i++) {
        const size_t bytes = s->space->ports[i].row_bytes;
        if (s->extras[i] != NULL) {
            memset((char *)s->to->extras[i - 1] + (at * T + length) * bytes, 0, (T - length) * bytes);
        }
    }
}

static sc_status write_states(const session *s, sc_error *error)
{
    for (size_t i = 0; s->to->states != NULL && i < s->plan->step->n_states; i++) {
        sc_info info;
        sc_status status = sc_plan_step_state_info(s->plan, i, &info, error);
        const sc_array *to = &s->to->states[i];
        sc_array flat = {.data = to->data, .rank = info.rank};
        memcpy(flat.shape, info.shape, sizeof info.shape);
        flat.shape[0] = s->slots; /* (rows, results, ...) */
        bool fits = to->rank == info.rank + 1 && to->shape[0] == s->q->rows && to->shape[1] == s->q->width;
        fits = fits && memcmp(to->shape + 2, info.shape + 1, (info.rank - 1) * sizeof(size_t)) == 0;
        if (status == SC_OK && !fits) {
            status = sc_fail(error, SC_BAD_SHAPE, "final state '%s' must have shape (rows, results, ...)", info.name);
        }
        if (status == SC_OK) {
            status = sc_state_get(s->plan, s->memory, s->slots, i, &flat, error);
        }
        if (status != SC_OK) {
            return status;
        }
    }
    return SC_OK;
}

/* ---- A step ------------------------------------------------------------------------------------------------------- */

static sc_status no_choice(const session *s, size_t slot, size_t t, sc_error *error)
{
    return sc_fail(error, SC_BAD_SCORES, "row %zu, token %zu: the scores of '%s' are no choice (NaN, +infinity, below 0 where they are "
                   "probabilities, or nothing above -infinity)", slot / s->q->width, t, s->space->ports[0].info.name);
}

/* The token that is forced on a row at step t, or -1. */
static int64_t forced(const session *s, size_t row, size_t t)
{
    const sc_decoding *q = s->q;
    const size_t length = q->prefix_lengths != NULL ? (size_t)q->prefix_lengths[row] : q->prefix_size;
    return t < length ? q->prefix[row * q->prefix_size + t] : -1;
}

/* Feeds every slot that is alive its last token. */
static sc_status feed(session *s, size_t t, sc_error *error)
{
    const size_t n = s->n_alive, W = s->q->width;
    bool same = n == s->n_shared && t > 0;
    for (size_t i = 0; i < n; i++) {
        const size_t slot = s->alive[i];
        s->tokens[i] = s->history[(t > 0 ? t - 1 : 0) * s->slots + slot].token;
        s->space->states[i] = s->memory[slot];
        s->sources[i] = slot / W;
        same = same && s->shared[i] == s->sources[i];
    }
    if (s->plan->has_contexts && !same) {
        memcpy(s->shared, s->sources, n * sizeof *s->shared);
        s->n_shared = n;
        sc_live_share(&s->live, s->space, s->shared, n);
    }
    const sc_array input = {.data = s->tokens, .rank = 1, .shape = {n}};
    const sc_status status = sc_live_step(&s->live, s->space, s->space->states, n, &input, s->outputs, error);
    for (size_t k = 1; status == SC_OK && k < s->plan->step->n_outputs; k++) {
        const size_t bytes = s->space->ports[k].row_bytes;
        for (size_t i = 0; s->extras[k] != NULL && i < n; i++) {
            memcpy(s->extras[k] + (t * s->slots + s->alive[i]) * bytes, (const char *)s->outputs[k].data + i * bytes, bytes);
        }
    }
    return status;
}

/* Greedy and sampling: the i-th of those that are alive chooses for itself. */
static sc_status choose_alone(session *s, size_t t, size_t i, sc_error *error)
{
    const sc_decoding *q = s->q;
    const size_t slot = s->alive[i];
    float *scores = (float *)s->outputs[0].data + i * s->V;
    int64_t token = forced(s, slot / q->width, t);
    const size_t best = sc_choose_best(scores, s->V); /* as they are: logarithms may make different ones equal */
    bool fits = best < s->V;
    if (fits && (s->sums || q->uniforms != NULL)) {
        fits = sc_log_probabilities(s->plan->kernels, q->scores, scores, s->V);
    }
    if (!fits) {
        return no_choice(s, slot, t, error);
    }
    if (token < 0 && q->uniforms != NULL) {
        const sc_draw draw = {.uniform = q->uniforms[slot * q->max_length + t], .temperature = q->temperature, .top_k = q->top_k,
                              .top_p = q->top_p, .weights = s->weights};
        token = (int64_t)sc_choose_drawn(scores, s->V, &draw);
    }
    token = token < 0 ? (int64_t)best : token;
    s->sum[slot] += s->sums ? (double)scores[token] : 0;
    s->history[t * s->slots + slot] = (choice){token, slot};
    return SC_OK;
}

static sc_status go_alone(session *s, size_t t, sc_error *error)
{
    const sc_decoding *q = s->q;
    size_t kept = 0;
    for (size_t i = 0; i < s->n_alive; i++) {
        const size_t slot = s->alive[i];
        const sc_status status = choose_alone(s, t, i, error);
        if (status != SC_OK) {
            return status;
        }
        const int64_t token = s->history[t * s->slots + slot].token;
        const bool ended = token == q->end;
        if (!ended && t + 1 < q->max_length) {
            s->alive[kept++] = slot;
            continue;
        }
        result found = {.length = t + 1, .slot = slot, .token = token, .sum = s->sum[slot], .ended = ended};
        found.score = ranked(q, found.sum, found.length);
        s->results[slot] = found; /* each slot is a result, in its place */
        s->n_results[slot / q->width] = q->width;
    }
    s->n_alive = kept;
    return SC_OK;
}

static int by_place(const void *a, const void *b)
{
    return sc_stands_before(a, b) ? -1 : sc_stands_before(b, a);
}

/* All candidates of a row whose slots are alive[first, last): the best first. */
static sc_status candidates(session *s, size_t row, size_t t, size_t first, size_t last, size_t *count, sc_error *error)
{
    const sc_decoding *q = s->q;
    const int64_t token = forced(s, row, t);
    *count = 0;
    for (size_t i = first; i < last; i++) {
        const size_t slot = s->alive[i];
        float *scores = (float *)s->outputs[0].data + i * s->V;
        if (!sc_log_probabilities(s->plan->kernels, q->scores, scores, s->V)) {
            return no_choice(s, slot, t, error);
        }
        if (token >= 0) {
            s->best[(*count)++] = (sc_candidate){s->sum[slot] + (double)scores[token], slot % q->width, token};
        } else { /* one of them may be `end` */
            *count += sc_choose_several(scores, s->V, q->width + 1, s->sum[slot], slot % q->width, s->best + *count);
        }
    }
    qsort(s->best, *count, sizeof *s->best, by_place);
    return SC_OK;
}

/* The slots of a row become those of its `count` successors: the first of a slot takes over the memory of its state, any other gets
 * a copy in memory that nobody goes on in. */
static void succeed(session *s, size_t row, size_t t, size_t count)
{
    const size_t W = s->q->width;
    char **memory = s->memory + row * W;
    memset(s->taken, 0, W * sizeof *s->taken);
    memset((void *)s->moved, 0, W * sizeof *s->moved);
    for (size_t k = 0; k < count; k++) {
        const size_t beam = s->next[k].beam;
        s->moved[k] = s->taken[beam] ? NULL : memory[beam];
        s->taken[beam] = true;
        s->sum[row * W + k] = s->next[k].sum;
        s->history[t * s->slots + row * W + k] = (choice){s->next[k].token, row * W + beam};
    }
    size_t spare = 0;
    for (size_t k = 0; k < W; k++) {
        if (s->moved[k] != NULL) {
            continue;
        }
        while (s->taken[spare]) {
            spare++;
        }
        s->taken[spare] = true;
        s->moved[k] = memory[spare];
        if (k < count) {
            memcpy(s->moved[k], memory[s->next[k].beam], s->plan->step->row_bytes);
        }
    }
    memcpy((void *)memory, (const void *)s->moved, W * sizeof *memory);
}

/* What becomes of a row's candidates: results, and s->next. Returns how many go on. */
static size_t search(session *s, size_t row, size_t t, size_t count)
{
    const sc_decoding *q = s->q;
    size_t going = 0;
    for (size_t i = 0; i < count; i++) {
        const sc_candidate *c = &s->best[i];
        const bool ended = c->token == q->end, on = !ended && going < q->width;
        if (on) {
            s->next[going++] = *c;
        }
        if (ended ? i < q->width : on && t + 1 == q->max_length) {
            note(s, row, (result){.length = t + 1, .slot = row * q->width + c->beam, .token = c->token, .sum = c->sum,
                                  .ended = ended});
        }
    }
    const bool over = going == 0 || t + 1 == q->max_length || decided(s, row, s->next[0].sum, t + 1);
    return over ? 0 : going;
}

static sc_status go_together(session *s, size_t t, sc_error *error)
{
    const size_t W = s->q->width;
    size_t kept = 0, *next = s->sources;
    for (size_t first = 0, last; first < s->n_alive; first = last) {
        const size_t row = s->alive[first] / W;
        for (last = first; last < s->n_alive && s->alive[last] / W == row; last++) {
        }
        size_t count = 0;
        const sc_status status = candidates(s, row, t, first, last, &count, error);
        if (status != SC_OK) {
            return status;
        }
        const size_t going = search(s, row, t, count);
        if (going > 0) {
            succeed(s, row, t, going);
        }
        for (size_t k = 0; k < going; k++) {
            next[kept++] = row * W + k;
        }
    }
    memcpy(s->alive, next, kept * sizeof *next);
    s->n_alive = kept;
    return SC_OK;
}

static sc_status decode(session *s, sc_error *error)
{
    sc_status status = begin(s, error);
    for (size_t t = 0; status == SC_OK && s->n_alive > 0; t++) {
        status = feed(s, t, error);
        if (status == SC_OK) {
            status = s->beams ? go_together(s, t, error) : go_alone(s, t, error);
        }
    }
    for (size_t i = 0; status == SC_OK && i < s->q->rows * s->to->results; i++) {
        const size_t row = i / s->to->results, number = i % s->to->results;
        write_result(s, row, number, number < s->n_results[row] ? &s->results[row * s->q->width + number] : NULL);
    }
    return status == SC_OK ? write_states(s, error) : status;
}

sc_status sc_plan_decode(const sc_plan *plan, const sc_decoding *decoding, const sc_decoded *decoded, sc_error *error)
{
    if (plan == NULL || decoding == NULL || decoded == NULL) {
        return bad(error, "plan, decoding and decoded must not be NULL");
    }
    sc_status status = sc_plan_check_step(plan, error);
    if (status == SC_OK) {
        status = check_options(decoding, decoded, error);
    }
    if (status != SC_OK) {
        return status;
    }
    session s = {.q = decoding, .to = decoded, .plan = plan, .slots = decoding->rows * decoding->width,
                 .beams = decoding->width > 1 && decoding->uniforms == NULL, .live = {.plan = (sc_plan *)plan}};
    s.sums = s.beams || decoded->scores != NULL;
    status = decode(&s, error);
    finish(&s);
    return status;
}
