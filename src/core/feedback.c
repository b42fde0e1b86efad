/* Sequences of vectors that a plan makes itself: what a step gives is what the next one is fed. Rows whose history is
 * shorter begin earlier; a row that has all its frames is not computed any more. */
#include "live.h"

#include <string.h>

typedef struct sc_feeding {
    const sc_feedback *q;
    const sc_plan *plan;
    sc_live live;
    sc_workspace *space;
    void *block;   /* what follows */
    char **states; /* per row */
    size_t *alive, n_alive;
    float *x; /* what a step is fed: of those that are alive */
    sc_array *outputs;
    size_t size; /* floats of a frame */
} sc_feeding;

static size_t history_of(const sc_feedback *q, size_t row)
{
    return q->history_lengths != NULL ? (size_t)q->history_lengths[row] : q->history_size;
}

static sc_status check(const sc_feedback *q, sc_error *error)
{
    if (q->history == NULL || q->out == NULL || q->rows < 1 || q->rows > UINT32_MAX || q->steps < 1 ||
        q->steps > UINT32_MAX || q->history_size < 1 || q->history_size > UINT32_MAX) {
        return sc_fail(error, SC_BAD_ARGUMENT,
                       "sc_plan_feed_back: history and out must not be NULL, rows, history_size and steps from 1 "
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

/* That a step takes one vector of a row. */
static sc_status check_input(const sc_plan *plan, sc_error *error)
{
    const sc_step_plan *step = plan->step;
    return step->n_inputs == 1 && step->inputs[0].info.dtype == SC_F32 && step->inputs[0].batch_axis == 0
               ? SC_OK
               : sc_fail(error, SC_UNSUPPORTED,
                         "the model cannot be fed its own output: a step takes %zu inputs, and not one of "
                         "float32 (batch, ...) alone",
                         step->n_inputs);
}

/* ... and gives one as large. */
static sc_status check_output(sc_feeding *s, sc_error *error)
{
    const sc_step_plan *step = s->plan->step;
    const sc_port *input = &step->inputs[0], *output = s->space->ports;
    s->size = input->row_bytes / sizeof(float);
    if (step->n_outputs > 0 && output->info.dtype == SC_F32 && output->batch_axis == 0 &&
        output->row_bytes == input->row_bytes) {
        return SC_OK;
    }
    return sc_fail(error, SC_UNSUPPORTED,
                   "the model cannot be fed its own output: its input is %s, its first output %s",
                   sc_shape_text(input->info.rank, input->info.shape).text,
                   step->n_outputs > 0 ? sc_shape_text(output->info.rank, output->info.shape).text : "missing");
}

static sc_status check_states(const sc_feeding *s, sc_error *error)
{
    sc_status status = SC_OK;
    for (size_t i = 0; s->q->final_states != NULL && status == SC_OK && i < s->plan->step->n_states; i++) {
        const sc_array *state = &s->q->final_states[i];
        status = state->data != NULL ? sc_state_check(s->plan, s->q->rows, i, state, error) : SC_OK;
    }
    return status;
}

/* That nothing that is written overlaps anything else. */
static sc_status check_apart(const sc_feeding *s, sc_error *error)
{
    const sc_feedback *q = s->q;
    const sc_step_plan *step = s->plan->step;
    sc_extent *all =
        sc_allocate_zeros(&s->plan->allocator, 3 + sc_live_extents_most(s->plan) + step->n_states, sizeof *all);
    if (all == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for %zu sequences", q->rows);
    }
    size_t count = 0;
    all[count++] = (sc_extent){"out", q->out, q->rows * q->steps * s->size * sizeof *q->out, true};
    all[count++] = (sc_extent){"history", q->history, q->rows * q->history_size * s->size * sizeof *q->history, false};
    all[count++] = (sc_extent){"history_lengths", q->history_lengths, q->rows * sizeof *q->history_lengths, false};
    for (size_t i = 0; q->final_states != NULL && i < step->n_states; i++) {
        all[count++] =
            (sc_extent){step->states[i].name, q->final_states[i].data, q->rows * sc_state_bytes(s->plan, i), true};
    }
    count += sc_live_extents(&s->live, q->rows, q->inputs, q->states, all + count);
    const sc_status status = sc_check_apart(all, count, error);
    sc_release(&s->plan->allocator, all);
    return status;
}

static void take(sc_feeding *s, sc_arena *arena)
{
    const size_t rows = s->q->rows, n_outputs = s->plan->step->n_outputs;
    s->states = sc_arena_take(arena, rows, sizeof *s->states);
    s->alive = sc_arena_take(arena, rows, sizeof *s->alive);
    s->x = sc_arena_take(arena, rows, s->size * sizeof *s->x);
    s->outputs = sc_arena_take(arena, n_outputs, sizeof *s->outputs);
    for (size_t i = 0; i < n_outputs; i++) {
        void *data = sc_arena_take(arena, rows, s->space->ports[i].row_bytes);
        if (s->outputs != NULL) {
            s->outputs[i] = (sc_array){.data = data};
        }
    }
}

static sc_status allocate(sc_feeding *s, sc_error *error)
{
    sc_arena arena = {.block = NULL};
    take(s, &arena);
    s->block = sc_arena_make(&arena, &s->plan->allocator);
    if (s->block == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for %zu sequences", s->q->rows);
    }
    take(s, &arena);
    return SC_OK;
}

static sc_status begin(sc_feeding *s, sc_error *error)
{
    sc_status status = check_input(s->plan, error);
    if (status == SC_OK) {
        status = sc_live_begin(&s->live, s->plan, s->q->rows, 1, s->q->inputs, s->q->states, &s->space, error);
    }
    if (status == SC_OK) {
        status = check_output(s, error);
    }
    if (status == SC_OK) {
        status = check_states(s, error);
    }
    if (status == SC_OK) {
        status = check_apart(s, error);
    }
    if (status == SC_OK) {
        status = allocate(s, error);
    }
    for (size_t m = 0; status == SC_OK && m < s->q->rows; m++) {
        s->states[m] = sc_live_row(&s->live, m);
        s->alive[s->n_alive++] = m;
    }
    return status;
}

/* Step t: a row is fed frame t of its history, or what it gave before. */
static sc_status feed(sc_feeding *s, size_t t, sc_error *error)
{
    const sc_feedback *q = s->q;
    const size_t n = s->n_alive, size = s->size;
    for (size_t i = 0; i < n; i++) {
        const size_t row = s->alive[i], known = history_of(q, row);
        const float *from =
            t < known ? q->history + (row * q->history_size + t) * size : q->out + (row * q->steps + t - known) * size;
        memcpy(s->x + i * size, from, size * sizeof *from);
        s->space->states[i] = s->states[row];
    }
    if (s->plan->has_contexts) {
        sc_live_share(&s->live, s->space, s->alive, n);
    }
    const sc_array input = {.data = s->x, .rank = 1, .shape = {n}};
    return sc_live_step(&s->live, s->space, s->space->states, n, &input, s->outputs, error);
}

/* Keeps what the rows gave that are past their history. */
static void keep(sc_feeding *s, size_t t)
{
    const sc_feedback *q = s->q;
    size_t kept = 0;
    for (size_t i = 0; i < s->n_alive; i++) {
        const size_t row = s->alive[i], known = history_of(q, row),
                     made = t + 1 - known; /* a number only from the last of them on */
        if (t + 1 >= known) {
            memcpy(q->out + (row * q->steps + made) * s->size, (const float *)s->outputs[0].data + i * s->size,
                   s->size * sizeof(float));
        }
        if (t + 1 < known || made + 1 < q->steps) {
            s->alive[kept++] = row;
        }
    }
    s->n_alive = kept;
}

static sc_status feed_back(sc_feeding *s, sc_error *error)
{
    sc_status status = begin(s, error);
    for (size_t t = 0; status == SC_OK && s->n_alive > 0; t++) {
        status = feed(s, t, error);
        if (status == SC_OK) {
            keep(s, t);
        }
    }
    for (size_t i = 0; status == SC_OK && s->q->final_states != NULL && i < s->plan->step->n_states; i++) {
        if (s->q->final_states[i].data != NULL) {
            status = sc_state_get(s->plan, s->states, s->q->rows, i, &s->q->final_states[i], error);
        }
    }
    return status;
}

static void finish(sc_feeding *s)
{
    sc_release(&s->plan->allocator, s->block);
    if (s->space != NULL) {
        sc_live_give(&s->live, s->space);
    }
    sc_live_free(&s->live);
}

sc_status sc_plan_feed_back(const sc_plan *plan, const sc_feedback *feedback, sc_error *error)
{
    if (plan == NULL || feedback == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_plan_feed_back: plan and feedback must not be NULL");
    }
    sc_status status = sc_plan_check_step(plan, error);
    if (status == SC_OK) {
        status = check(feedback, error);
    }
    if (status != SC_OK) {
        return status;
    }
    sc_feeding s = {.q = feedback, .plan = plan, .live = {.plan = (sc_plan *)plan}};
    status = feed_back(&s, error);
    finish(&s);
    return status;
}
