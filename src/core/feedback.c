/* Sequences of vectors that a plan makes itself: what a step gives is what the next one is fed. Rows whose history is shorter begin
 * earlier; a row that has all its frames is not computed any more. */
#include "live.h"

#include <string.h>

typedef struct session {
    const sc_feedback *q;
    const sc_plan *plan;
    sc_live live;
    sc_workspace *space;
    char **states;     /* per row */
    size_t *alive, n_alive, *shared, n_shared;
    float *x;          /* what a step is fed: of those that are alive */
    sc_array *outputs;
    size_t size;       /* floats of a frame */
} session;

static size_t history_of(const sc_feedback *q, size_t row)
{
    return q->history_lengths != NULL ? (size_t)q->history_lengths[row] : q->history_size;
}

static sc_status check(const sc_feedback *q, sc_error *error)
{
    if (q->history == NULL || q->out == NULL || q->rows < 1 || q->rows > UINT32_MAX || q->steps < 1 || q->steps > UINT32_MAX ||
        q->history_size < 1 || q->history_size > UINT32_MAX) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_plan_feed_back: history and out must not be NULL, rows, history_size and steps from 1 "
                       "to 2^32 - 1");
    }
    for (size_t m = 0; q->history_lengths != NULL && m < q->rows; m++) {
        if (q->history_lengths[m] < 1 || (uint64_t)q->history_lengths[m] > q->history_size) {
            return sc_fail(error, SC_BAD_SHAPE, "the history of row %zu has length %lld, expected 1 to %zu", m,
                           (long long)q->history_lengths[m], q->history_size);
        }
    }
    return SC_OK;
}

static sc_status check_plan(session *s, sc_error *error)
{
    const sc_step_plan *step = s->plan->step;
    if (step->n_inputs != 1 || step->inputs[0].info.dtype != SC_F32 || step->n_outputs < 1 ||
        step->outputs[0].info.dtype != SC_F32 || s->space->ports[0].row_bytes != step->inputs[0].row_bytes) {
        return sc_fail(error, SC_UNSUPPORTED, "the model cannot be fed its own output: a step takes %zu inputs, and gives '%s' of "
                       "another size", step->n_inputs, step->n_outputs > 0 ? step->outputs[0].info.name : "");
    }
    s->size = step->inputs[0].row_bytes / sizeof(float);
    return SC_OK;
}

static void *get(const session *s, size_t count, size_t size, bool *made)
{
    void *memory = *made ? sc_allocate_zeros(&s->plan->allocator, count > 0 ? count : 1, size > 0 ? size : 1) : NULL;
    *made = memory != NULL;
    return memory;
}

static sc_status allocate(session *s, sc_error *error)
{
    const size_t rows = s->q->rows, n_outputs = s->plan->step->n_outputs;
    bool made = true;
    s->states = get(s, rows, sizeof *s->states, &made);
    s->alive = get(s, rows, sizeof *s->alive, &made);
    s->shared = get(s, rows, sizeof *s->shared, &made);
    s->x = get(s, rows, s->size * sizeof *s->x, &made);
    s->outputs = get(s, n_outputs, sizeof *s->outputs, &made);
    for (size_t i = 0; made && i < n_outputs; i++) {
        s->outputs[i].data = get(s, rows, s->space->ports[i].row_bytes, &made);
    }
    return made ? SC_OK : sc_fail(error, SC_NO_MEMORY, "out of memory for %zu sequences", rows);
}

static sc_status begin_states(session *s, sc_error *error)
{
    sc_status status = SC_OK;
    for (size_t m = 0; m < s->q->rows; m++) {
        s->states[m] = sc_live_row(&s->live, m);
        s->alive[m] = m;
        sc_state_begin(s->plan, s->states[m]);
    }
    s->n_alive = s->q->rows;
    for (size_t i = 0; status == SC_OK && s->q->states != NULL && i < s->plan->step->n_states; i++) {
        const sc_array *given = &s->q->states[i];
        status = given->data != NULL ? sc_state_set(s->plan, s->states, s->q->rows, i, given, error) : SC_OK;
    }
    return status;
}

static sc_status begin(session *s, sc_error *error)
{
    sc_status status = sc_live_make(&s->live, s->plan, "rows", s->q->rows, error);
    if (status == SC_OK) {
        status = sc_live_take(&s->live, &s->space, error);
        s->space = status == SC_OK ? s->space : NULL;
    }
    size_t batch = s->q->rows;
    if (status == SC_OK && s->plan->has_contexts) {
        status = s->q->inputs != NULL ? sc_live_context(&s->live, s->space, s->q->inputs, &batch, error)
                                      : sc_fail(error, SC_BAD_ARGUMENT, "the model has a context, '%s', which is missing",
                                                s->plan->step->contexts[0].info.name);
    }
    if (status == SC_OK && batch != s->q->rows) {
        status = sc_fail(error, SC_BAD_SHAPE, "the contexts have %zu rows, expected %zu", batch, s->q->rows);
    }
    if (status == SC_OK) {
        status = check_plan(s, error);
    }
    if (status == SC_OK) {
        status = allocate(s, error);
    }
    return status == SC_OK ? begin_states(s, error) : status;
}

/* Step t: a row is fed frame t of its history, or what it gave before. */
static sc_status feed(session *s, size_t t, sc_error *error)
{
    const sc_feedback *q = s->q;
    const size_t n = s->n_alive, size = s->size;
    for (size_t i = 0; i < n; i++) {
        const size_t row = s->alive[i], known = history_of(q, row);
        const float *from = t < known ? q->history + (row * q->history_size + t) * size : q->out + (row * q->steps + t - known) * size;
        memcpy(s->x + i * size, from, size * sizeof *from);
        s->space->states[i] = s->states[row];
    }
    if (s->plan->has_contexts && n != s->n_shared) { /* rows only go */
        memcpy(s->shared, s->alive, n * sizeof *s->shared);
        s->n_shared = n;
        sc_live_share(&s->live, s->space, s->shared, n);
    }
    const sc_array input = {.data = s->x, .rank = 1, .shape = {n}};
    return sc_live_step(&s->live, s->space, s->space->states, n, &input, s->outputs, error);
}

/* Keeps what the rows gave that are past their history. */
static void keep(session *s, size_t t)
{
    const sc_feedback *q = s->q;
    size_t kept = 0;
    for (size_t i = 0; i < s->n_alive; i++) {
        const size_t row = s->alive[i], made = t + 1 - history_of(q, row); /* huge before the history's end */
        if (t + 1 >= history_of(q, row)) {
            memcpy(q->out + (row * q->steps + made) * s->size, (const float *)s->outputs[0].data + i * s->size,
                   s->size * sizeof(float));
        }
        if (t + 1 < history_of(q, row) || made + 1 < q->steps) {
            s->alive[kept++] = row;
        }
    }
    s->n_alive = kept;
}

static sc_status feed_back(session *s, sc_error *error)
{
    sc_status status = begin(s, error);
    for (size_t t = 0; status == SC_OK && s->n_alive > 0; t++) {
        status = feed(s, t, error);
        if (status == SC_OK) {
            keep(s, t);
        }
    }
    for (size_t i = 0; status == SC_OK && s->q->final_states != NULL && i < s->plan->step->n_states; i++) {
        status = sc_state_get(s->plan, s->states, s->q->rows, i, &s->q->final_states[i], error);
    }
    return status;
}

static void finish(session *s)
{
    const sc_allocator *allocator = &s->plan->allocator;
    for (size_t i = 0; s->outputs != NULL && i < s->plan->step->n_outputs; i++) {
        sc_release(allocator, s->outputs[i].data);
    }
    void *const own[] = {(void *)s->states, s->alive, s->shared, s->x, s->outputs};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        sc_release(allocator, own[i]);
    }
    if (s->space != NULL) {
        sc_live_give(&s->live, s->space);
    }
    sc_live_free(&s->live);
}

sc_status sc_plan_feed_back(const sc_plan *plan, const sc_feedback *feedback, sc_error *error)
{
    if (plan == NULL || feedback == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan and feedback must not be NULL");
    }
    sc_status status = sc_plan_check_step(plan, error);
    if (status == SC_OK) {
        status = check(feedback, error);
    }
    if (status != SC_OK) {
        return status;
    }
    session s = {.q = feedback, .plan = plan, .live = {.plan = (sc_plan *)plan}};
    status = feed_back(&s, error);
    finish(&s);
    return status;
}
