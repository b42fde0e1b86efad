/* Sequences of tokens that a plan makes itself: greedy and sampling; a search over beams is in beam.c.
 *
 * A row of the call has `width` slots, each the memory of one state. A slot that is alive holds a sequence that goes
 * on; a step takes all that are alive, one behind the other, and no others. */
#include "decode.h"
#include "fpmode.h"

#include <math.h>
#include <string.h>

/* ---- What is asked ---------------------------------------------------------------------------------------------- */

static sc_status bad(sc_error *error, const char *what)
{
    return sc_fail(error, SC_BAD_ARGUMENT, "sc_plan_decode: %s", what);
}

static sc_status check_draw(const sc_decoding *q, const sc_decoded *to, size_t count, sc_error *error)
{
    if (to->results != q->width) {
        return bad(error, "results must be width when sampling");
    }
    if (!(q->temperature > 0 && isfinite(q->temperature) && q->top_p > 0 && q->top_p <= 1)) {
        return bad(error, "temperature must be above 0, and top_p above 0 and at most 1");
    }
    for (size_t i = 0; i < count; i++) {
        if (!(q->uniforms[i] >= 0 && q->uniforms[i] < 1)) {
            return bad(error, "uniforms must be from 0 to below 1");
        }
    }
    return SC_OK;
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
    size_t count = 0;
    if (!sc_mul(q->rows * q->width, q->max_length, &count) || count > (size_t)1 << 40) {
        return bad(error, "rows, width and max_length are too large together");
    }
    if (to->results < 1 || to->results > q->width) {
        return bad(error, "results must be from 1 to width");
    }
    if (q->end < -1 || (unsigned)q->scores > SC_LOG_PROBABILITIES || !isfinite(q->length_penalty)) {
        return bad(error, "end, scores or length_penalty is outside its range");
    }
    if (q->prefix_size > q->max_length || (q->prefix_size > 0 && q->prefix == NULL)) {
        return sc_fail(error, SC_BAD_SHAPE, "the prefix has %zu tokens, a result %zu at most", q->prefix_size,
                       q->max_length);
    }
    if (to->states != NULL && q->width > 1 && q->uniforms == NULL) {
        return bad(error, "a beam search has no final states");
    }
    return q->uniforms != NULL ? check_draw(q, to, count, error) : SC_OK;
}

/* That a step takes one token of a row. */
static sc_status check_input(const sc_plan *plan, sc_error *error)
{
    const sc_step_plan *step = plan->step;
    if (step->n_inputs != 1 || step->inputs[0].info.dtype != SC_I64 || step->inputs[0].row_bytes != sizeof(int64_t)) {
        return sc_fail(error, SC_UNSUPPORTED,
                       "the model cannot be fed tokens: a step takes %zu inputs, and not one token of a row alone",
                       step->n_inputs);
    }
    return SC_OK;
}

/* ... and that its first output is the scores of V, each of which it can be fed. */
static sc_status check_scores(sc_decode *s, size_t table_rows, sc_error *error)
{
    const sc_port *port = s->ports;
    const size_t rank = s->n_outputs > 0 ? port->info.rank : 0;
    s->V = rank >= 2 && port->batch_axis == 0 && port->info.dtype == SC_F32 ? port->info.shape[rank - 1] : 0;
    if (s->V == 0 || port->row_bytes != s->V * sizeof(float)) {
        return sc_fail(error, SC_UNSUPPORTED,
                       "the model gives no scores: its first output must be float32 (batch, tokens), found %s",
                       rank > 0 ? sc_shape_text(rank, port->info.shape).text : "none");
    }
    return s->V <= table_rows ? SC_OK
                              : sc_fail(error, SC_UNSUPPORTED,
                                        "the model gives scores of %zu tokens, and takes %zu: what it says it "
                                        "cannot be fed",
                                        s->V, table_rows);
}

/* Every token that is fed from outside must be one of the input's. */
static sc_status check_tokens(const sc_decode *s, size_t table_rows, sc_error *error)
{
    const sc_decoding *q = s->q;
    if (q->end >= 0 && (uint64_t)q->end >= s->V) {
        return sc_fail(error, SC_BAD_INDEX, "end is %lld, expected 0 to %zu", (long long)q->end, s->V - 1);
    }
    for (size_t m = 0; m < q->rows; m++) {
        if ((uint64_t)q->start[m] >= table_rows) {
            return sc_fail(error, SC_BAD_INDEX, "start of row %zu is %lld, expected 0 to %zu", m,
                           (long long)q->start[m], table_rows - 1);
        }
        const int64_t length = q->prefix_lengths != NULL ? q->prefix_lengths[m] : (int64_t)q->prefix_size;
        if (length < 0 || (uint64_t)length > q->prefix_size) {
            return sc_fail(error, SC_BAD_SHAPE, "the prefix of row %zu has length %lld, expected 0 to %zu", m,
                           (long long)length, q->prefix_size);
        }
        const int64_t *prefix = q->prefix_size > 0 ? q->prefix + m * q->prefix_size : NULL;
        const size_t bad_at = sc_bad_id(prefix, (size_t)length, s->V);
        if (bad_at < (size_t)length) {
            return sc_fail(error, SC_BAD_INDEX, "the prefix of row %zu has token %lld, expected 0 to %zu", m,
                           (long long)prefix[bad_at], s->V - 1);
        }
    }
    return SC_OK;
}

/* A final state (rows, results, ...) as that of so many slots. */
static sc_array of_slots(const sc_decode *s, const sc_array *state)
{
    sc_array flat = {.data = state->data, .rank = state->rank - 1, .shape = {s->slots}};
    for (size_t d = 1; d < flat.rank; d++) {
        flat.shape[d] = state->shape[d + 1];
    }
    return flat;
}

static sc_status check_states(const sc_decode *s, sc_error *error)
{
    for (size_t i = 0; s->to->states != NULL && i < s->plan->step->n_states; i++) {
        const sc_array *state = &s->to->states[i];
        if (state->data == NULL) {
            continue;
        }
        if (state->rank < 2 || state->rank > SC_MAX_RANK || state->shape[0] != s->q->rows ||
            state->shape[1] != s->q->width) {
            return sc_fail(error, SC_BAD_SHAPE, "final state '%s' must have shape (%zu, %zu, ...), found %s",
                           s->plan->step->states[i].name, s->q->rows, s->q->width,
                           sc_shape_text(state->rank, state->shape).text);
        }
        const sc_array flat = of_slots(s, state);
        const sc_status status = sc_state_check(s->plan, s->slots, i, &flat, error);
        if (status != SC_OK) {
            return status;
        }
    }
    return SC_OK;
}

/* That nothing that is written overlaps anything else. */
static sc_status check_apart(const sc_decode *s, sc_error *error)
{
    const sc_decoding *q = s->q;
    const sc_decoded *to = s->to;
    const size_t results = q->rows * to->results, tokens = results * q->max_length;
    const sc_step_plan *step = s->plan->step;
    sc_extent *all = sc_allocate_zeros(&s->plan->allocator,
                                       8 + s->n_outputs + sc_live_extents_most(s->plan) + step->n_states, sizeof *all);
    if (all == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for %zu outputs", s->n_outputs);
    }
    const sc_extent own[] = {
        {"ids", to->ids, tokens * sizeof *to->ids, true},
        {"lengths", to->lengths, results * sizeof *to->lengths, true},
        {"ended", to->ended, results * sizeof *to->ended, true},
        {"scores", to->scores, results * sizeof *to->scores, true},
        {"start", q->start, q->rows * sizeof *q->start, false},
        {"prefix", q->prefix, q->rows * q->prefix_size * sizeof *q->prefix, false},
        {"prefix_lengths", q->prefix_lengths, q->rows * sizeof *q->prefix_lengths, false},
        {"uniforms", q->uniforms, q->rows * q->width * q->max_length * sizeof *q->uniforms, false},
    };
    size_t count = sizeof own / sizeof *own;
    memcpy(all, own, sizeof own);
    for (size_t i = 1; i < s->n_outputs; i++) {
        if (sc_decode_wants(s, i)) {
            all[count++] = (sc_extent){s->ports[i].info.name, to->extras[i - 1], tokens * s->ports[i].row_bytes, true};
        }
    }
    for (size_t i = 0; to->states != NULL && i < step->n_states; i++) {
        all[count++] =
            (sc_extent){step->states[i].name, to->states[i].data, s->slots * sc_state_bytes(s->plan, i), true};
    }
    count += sc_live_extents(&s->live, q->rows, q->inputs, q->states, all + count);
    const sc_status status = sc_check_apart(all, count, error);
    sc_release(&s->plan->allocator, all);
    return status;
}

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

static void take(sc_decode *s, sc_arena *arena)
{
    const sc_decoding *q = s->q;
    s->memory = sc_arena_take(arena, s->slots, sizeof *s->memory);
    s->last = sc_arena_take(arena, s->slots, sizeof *s->last);
    s->sum = sc_arena_take(arena, s->slots, sizeof *s->sum);
    s->alive = sc_arena_take(arena, s->slots, sizeof *s->alive);
    s->tokens = sc_arena_take(arena, s->slots, sizeof *s->tokens);
    s->sources = sc_arena_take(arena, s->slots, sizeof *s->sources);
    s->weights = sc_arena_take(arena, q->uniforms != NULL ? s->V : 0, sizeof *s->weights);
    s->outputs = sc_arena_take(arena, s->n_outputs, sizeof *s->outputs);
    for (size_t i = 0; i < s->n_outputs; i++) {
        void *data = sc_arena_take(arena, s->slots, s->ports[i].row_bytes);
        if (s->outputs != NULL) {
            s->outputs[i] = (sc_array){.data = data, .rank = s->ports[i].info.rank};
        }
    }
    if (q->width > 1 && q->uniforms == NULL) {
        sc_beams_take(s, arena);
    }
}

static sc_status allocate(sc_decode *s, sc_error *error)
{
    sc_arena arena = {.block = NULL};
    take(s, &arena);
    s->block = sc_arena_make(&arena, &s->plan->allocator);
    if (s->block == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for %zu sequences", s->slots);
    }
    take(s, &arena);
    return SC_OK;
}

/* Every row's first slot has the row's initial state; where all slots begin at once, the others get a copy. */
static void begin_slots(sc_decode *s)
{
    const size_t W = s->q->width;
    if (s->beams != NULL) {
        sc_beams_begin(s);
    }
    s->n_alive = 0;
    for (size_t slot = 0; slot < s->slots; slot++) {
        const size_t first = slot / W * W;
        s->memory[slot] = sc_live_row(&s->live, slot);
        s->sum[slot] = 0;
        if (slot > first && s->beams != NULL) {
            continue;
        }
        if (slot > first) {
            memcpy(s->memory[slot], s->memory[first], s->plan->step->row_bytes);
        }
        s->last[slot] = s->q->start[slot / W];
        s->alive[s->n_alive++] = slot;
    }
}

static sc_status begin(sc_decode *s, sc_error *error)
{
    sc_status status = check_input(s->plan, error);
    if (status != SC_OK) {
        return status;
    }
    const size_t rows = s->plan->step->inputs[0].table_rows, table_rows = rows != SC_NONE ? rows : INT64_MAX;
    status = sc_live_begin(&s->live, s->plan, s->q->rows, s->q->width, s->q->inputs, s->q->states, &s->space, error);
    if (status == SC_OK) {
        s->ports = s->space->ports;
        s->n_outputs = s->plan->step->n_outputs;
        status = check_scores(s, table_rows, error);
    }
    if (status == SC_OK) {
        status = check_tokens(s, table_rows, error);
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
    if (status == SC_OK) {
        begin_slots(s);
    }
    return status;
}

static void finish(sc_decode *s)
{
    if (s->beams != NULL && s->block != NULL) {
        sc_beams_free(s);
    }
    sc_release(&s->plan->allocator, s->block);
    if (s->space != NULL) {
        sc_live_give(&s->live, s->space);
    }
    sc_live_free(&s->live);
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

double sc_decode_ranked(const sc_decoding *q, double sum, size_t length)
{
    return q->length_penalty != 0 ? sum / pow((double)length, q->length_penalty) : sum;
}

void sc_decode_end(const sc_decode *s, size_t number, size_t length, bool ended, double score)
{
    const size_t T = s->q->max_length;
    for (size_t t = length; t < T; t++) {
        s->to->ids[number * T + t] = s->q->end >= 0 ? s->q->end : 0;
    }
    for (size_t i = 1; i < s->n_outputs; i++) {
        const size_t bytes = s->ports[i].row_bytes;
        if (sc_decode_wants(s, i)) {
            memset((char *)s->to->extras[i - 1] + (number * T + length) * bytes, 0, (T - length) * bytes);
        }
    }
    s->to->lengths[number] = (int64_t)length;
    if (s->to->ended != NULL) {
        s->to->ended[number] = ended;
    }
    if (s->to->scores != NULL) {
        s->to->scores[number] = score;
    }
}

/* A value whose batch is not axis 0 has a row's parts as far apart as there are rows. */
void sc_decode_take_extra(const sc_decode *s, size_t output, size_t i, char *to)
{
    const sc_port *port = &s->ports[output];
    size_t parts = 1;
    for (size_t d = 0; d < port->batch_axis; d++) {
        parts *= port->info.shape[d];
    }
    const size_t part = parts > 0 ? port->row_bytes / parts : 0;
    for (size_t n = 0; n < parts && part > 0; n++) {
        memcpy(to + n * part, (const char *)s->outputs[output].data + (n * s->n_alive + i) * part, part);
    }
}

static sc_status write_states(const sc_decode *s, sc_error *error)
{
    sc_status status = SC_OK;
    for (size_t i = 0; s->to->states != NULL && status == SC_OK && i < s->plan->step->n_states; i++) {
        if (s->to->states[i].data != NULL) {
            const sc_array flat = of_slots(s, &s->to->states[i]);
            status = sc_state_get(s->plan, s->memory, s->slots, i, &flat, error);
        }
    }
    return status;
}

/* ---- Steps ------------------------------------------------------------------------------------------------------ */

sc_status sc_decode_no_choice(const sc_decode *s, size_t slot, size_t t, sc_error *error)
{
    static const char *const kinds[] = {"logits", "probabilities", "log-probabilities"};
    return sc_fail(error, SC_BAD_SCORES,
                   "row %zu, token %zu: the scores of '%s' are no %s to choose by (NaN, infinite, outside their "
                   "range, or none of them possible)",
                   slot / s->q->width, t, s->ports[0].info.name, kinds[s->q->scores]);
}

int64_t sc_decode_forced(const sc_decode *s, size_t row, size_t t)
{
    const sc_decoding *q = s->q;
    const size_t length = q->prefix_lengths != NULL ? (size_t)q->prefix_lengths[row] : q->prefix_size;
    return t < length ? q->prefix[row * q->prefix_size + t] : -1;
}

/* Feeds every slot that is alive its last token. */
static sc_status feed(sc_decode *s, sc_error *error)
{
    const size_t n = s->n_alive;
    for (size_t i = 0; i < n; i++) {
        const size_t slot = s->alive[i];
        s->tokens[i] = s->last[slot];
        s->space->states[i] = s->memory[slot];
        s->sources[i] = slot / s->q->width;
    }
    if (s->plan->has_contexts) {
        sc_live_share(&s->live, s->space, s->sources, n);
    }
    const sc_array input = {.data = s->tokens, .rank = 1, .shape = {n}};
    return sc_live_step(&s->live, s->space, s->space->states, n, &input, s->outputs, error);
}

/* The i-th of those that are alive chooses its token. */
static sc_status choose(sc_decode *s, size_t t, size_t i, sc_error *error)
{
    const sc_decoding *q = s->q;
    const sc_kernels *kernels = s->plan->kernels;
    const size_t slot = s->alive[i];
    float *scores = sc_decode_scores(s, i);
    size_t first;
    if (!sc_scores_fit(kernels, q->scores, scores, s->V, &first)) {
        return sc_decode_no_choice(s, slot, t, error);
    }
    int64_t token = sc_decode_forced(s, slot / q->width, t);
    if (token < 0 && q->uniforms != NULL) {
        const sc_draw draw = {.uniform = q->uniforms[slot * q->max_length + t],
                              .temperature = q->temperature,
                              .top_k = q->top_k,
                              .top_p = q->top_p,
                              .weights = s->weights};
        token = sc_choose_drawn(kernels, q->scores, scores, s->V, first, &draw);
    }
    s->last[slot] = token < 0 ? (int64_t)first : token;
    if (s->sums) {
        sc_scores_to_logs(kernels, q->scores, scores, s->V);
        s->sum[slot] += sc_score_of(q->scores, scores, s->last[slot]);
    }
    return SC_OK;
}

/* Every slot that is alive goes its own way, and is a result in its place. */
static sc_status step_alone(sc_decode *s, size_t t, sc_error *error)
{
    const sc_decoding *q = s->q;
    size_t kept = 0;
    for (size_t i = 0; i < s->n_alive; i++) {
        const size_t slot = s->alive[i];
        const sc_status status = choose(s, t, i, error);
        if (status != SC_OK) {
            return status;
        }
        for (size_t k = 1; k < s->n_outputs; k++) {
            if (sc_decode_wants(s, k)) {
                sc_decode_take_extra(s, k, i,
                                     (char *)s->to->extras[k - 1] + (slot * q->max_length + t) * s->ports[k].row_bytes);
            }
        }
        s->to->ids[slot * q->max_length + t] = s->last[slot];
        const bool ended = s->last[slot] == q->end;
        if (!ended && t + 1 < q->max_length) {
            s->tokens[kept++] = (int64_t)slot; /* they are fed, and the list of those that are alive is still read */
        } else {
            sc_decode_end(s, slot, t + 1, ended, sc_decode_ranked(q, s->sum[slot], t + 1));
        }
    }
    for (size_t i = 0; i < kept; i++) {
        s->alive[i] = (size_t)s->tokens[i];
    }
    s->n_alive = kept;
    return SC_OK;
}

static sc_status decode(sc_decode *s, sc_error *error)
{
    sc_status status = begin(s, error);
    for (size_t t = 0; status == SC_OK && s->n_alive > 0; t++) {
        status = feed(s, error);
        if (status == SC_OK) {
            status = s->beams != NULL ? sc_beams_step(s, t, error) : step_alone(s, t, error);
        }
    }
    if (status == SC_OK && s->beams != NULL) {
        sc_beams_write(s);
    }
    return status == SC_OK ? write_states(s, error) : status;
}

sc_status sc_plan_decode(const sc_plan *plan, const sc_decoding *decoding, const sc_decoded *decoded, sc_error *error)
{
    if (plan == NULL || decoding == NULL || decoded == NULL) {
        return bad(error, "plan, decoding and decoded must not be NULL");
    }
    const sc_fp_mode before = sc_enter_fp_mode(); /* choices too depend on nothing but the scores */
    sc_status status = sc_plan_check_step(plan, error);
    if (status == SC_OK) {
        status = check_options(decoding, decoded, error);
    }
    if (status == SC_OK) {
        sc_decode s = {.q = decoding,
                       .to = decoded,
                       .plan = plan,
                       .slots = decoding->rows * decoding->width,
                       .live = {.plan = (sc_plan *)plan},
                       .sums = decoded->scores != NULL};
        status = decode(&s, error);
        finish(&s);
    }
    sc_leave_fp_mode(before);
    return status;
}
