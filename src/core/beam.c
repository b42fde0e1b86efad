/* A search over beams: the slots of a row are its beams. A slot's successors take over its state: the first its memory,
 * any other a copy in the memory of a slot that has none. What was chosen, and by whom, is kept for every step (slot ->
 * token, the slot before), and results are read backwards out of that. */
#include "decode.h"

#include <math.h>
#include <string.h>

#define FIRST_STEPS 16 /* that the history has room for, at first */

/* The end of a sequence: its last token and the slot that this was chosen for. */
typedef struct result {
    size_t length, slot;
    int64_t token;
    double score;
    bool ended;
} result;

/* What a slot chose at a step, and for which slot of the step before it stands now. */
typedef struct choice {
    int64_t token;
    size_t parent;
} choice;

struct sc_beams {
    result *results;   /* `width` per row, the best first */
    size_t *n_results; /* per row */
    sc_best best;      /* candidates of a row and step: W that go on, and before them one that ends from each of W */
    sc_candidate *next;
    bool *taken; /* of a row's slots, while their memory is handed on */
    char **moved;
    size_t steps;    /* that there is room for */
    choice *history; /* per step and slot */
    char **extras;   /* per output: per step and slot; NULL where nobody wants it */
};

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

void sc_beams_take(sc_decode *s, sc_arena *arena)
{
    const size_t W = s->q->width;
    sc_beams *b = s->beams = sc_arena_take(arena, 1, sizeof *b);
    sc_beams unplaced;
    b = b != NULL ? b : &unplaced;
    b->results = sc_arena_take(arena, s->slots, sizeof *b->results);
    b->n_results = sc_arena_take(arena, s->q->rows, sizeof *b->n_results);
    b->best.at = sc_arena_take(arena, 2 * W, sizeof *b->best.at);
    b->next = sc_arena_take(arena, W, sizeof *b->next);
    b->taken = sc_arena_take(arena, W, sizeof *b->taken);
    b->moved = sc_arena_take(arena, W, sizeof *b->moved);
    b->extras = sc_arena_take(arena, s->n_outputs, sizeof *b->extras);
}

void sc_beams_begin(sc_decode *s)
{
    sc_beams *b = s->beams;
    b->steps = 0;
    b->history = NULL;
    b->best.most = 2 * s->q->width;
    memset(b->n_results, 0, s->q->rows * sizeof *b->n_results);
    for (size_t i = 0; i < s->n_outputs; i++) {
        b->extras[i] = NULL;
    }
}

void sc_beams_free(const sc_decode *s)
{
    sc_release(&s->plan->allocator, s->beams->history);
    for (size_t i = 0; i < s->n_outputs; i++) {
        sc_release(&s->plan->allocator, s->beams->extras[i]);
    }
}

/* Memory of `bytes` for each of so many steps, with what the first `known` had. */
static bool lengthen(const sc_decode *s, void **memory, size_t known, size_t steps, size_t bytes)
{
    size_t all = 0;
    char *longer = sc_mul(steps, bytes, &all) ? sc_allocate(&s->plan->allocator, all) : NULL;
    if (longer == NULL) {
        return false;
    }
    if (known > 0) {
        memcpy(longer, *memory, known * bytes);
    }
    sc_release(&s->plan->allocator, *memory);
    *memory = longer;
    return true;
}

/* Room for step t: few results are as long as they may be. */
static sc_status reserve(sc_decode *s, size_t t, sc_error *error)
{
    sc_beams *b = s->beams;
    if (t < b->steps) {
        return SC_OK;
    }
    const size_t wanted = b->steps > 0 ? 2 * b->steps : FIRST_STEPS;
    const size_t steps = wanted < s->q->max_length ? wanted : s->q->max_length;
    void *history = b->history;
    bool made = lengthen(s, &history, b->steps, steps, s->slots * sizeof *b->history);
    b->history = history;
    for (size_t i = 1; i < s->n_outputs && made; i++) {
        size_t bytes = 0;
        void *extras = b->extras[i];
        made = !sc_decode_wants(s, i) ||
               (sc_mul(s->slots, s->ports[i].row_bytes, &bytes) && lengthen(s, &extras, b->steps, steps, bytes));
        b->extras[i] = extras;
    }
    b->steps = made ? steps : b->steps;
    return made ? SC_OK : sc_fail(error, SC_NO_MEMORY, "out of memory for %zu beams of %zu tokens", s->slots, steps);
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

/* Puts a result among the best `width` of its row; of equal ones, what was found first stands first. */
static void note(sc_decode *s, size_t row, const sc_candidate *c, size_t length, bool ended)
{
    const size_t W = s->q->width;
    result *list = s->beams->results + row * W;
    size_t *count = &s->beams->n_results[row];
    const double score = sc_decode_ranked(s->q, c->sum, length);
    size_t at = *count;
    while (at > 0 && list[at - 1].score < score) {
        at--;
    }
    if (at == W) {
        return;
    }
    *count += *count < W;
    memmove(list + at + 1, list + at, (*count - 1 - at) * sizeof *list);
    list[at] = (result){.length = length, .slot = row * W + c->beam, .token = c->token, .score = score, .ended = ended};
}

/* Whether nothing that has the sum now, and goes on, can still get among a row's results. A sum only falls. */
static bool decided(const sc_decode *s, size_t row, double sum, size_t length)
{
    const sc_decoding *q = s->q;
    if (s->beams->n_results[row] < s->to->results) {
        return false;
    }
    const size_t best_length = q->length_penalty > 0 ? q->max_length : length + 1;
    return s->beams->results[row * q->width + s->to->results - 1].score >= sc_decode_ranked(q, sum, best_length);
}

static void write_result(const sc_decode *s, size_t number, const result *found)
{
    const sc_beams *b = s->beams;
    const size_t T = s->q->max_length;
    int64_t token = found->token;
    size_t slot = found->slot;
    for (size_t t = found->length; t-- > 0;) {
        s->to->ids[number * T + t] = token;
        for (size_t i = 1; i < s->n_outputs; i++) {
            const size_t bytes = s->ports[i].row_bytes;
            if (b->extras[i] != NULL && bytes > 0) {
                memcpy((char *)s->to->extras[i - 1] + (number * T + t) * bytes,
                       b->extras[i] + (t * s->slots + slot) * bytes, bytes);
            }
        }
        if (t > 0) {
            const choice *before = &b->history[(t - 1) * s->slots + slot];
            token = before->token;
            slot = before->parent;
        }
    }
    sc_decode_end(s, number, found->length, found->ended, found->score);
}

void sc_beams_write(const sc_decode *s)
{
    const size_t results = s->to->results;
    for (size_t number = 0; number < s->q->rows * results; number++) {
        const size_t row = number / results, place = number % results;
        if (place < s->beams->n_results[row]) {
            write_result(s, number, &s->beams->results[row * s->q->width + place]);
        } else {
            sc_decode_end(s, number, 0, false, -INFINITY);
        }
    }
}

/* ---- A step ----------------------------------------------------------------------------------------------------- */

/* The candidates of a row whose slots are alive[first, last): the best of them, in descending order. */
static sc_status find_candidates(sc_decode *s, size_t row, size_t t, size_t first, size_t last, sc_error *error)
{
    const sc_decoding *q = s->q;
    const sc_kernels *kernels = s->plan->kernels;
    const int64_t token = sc_decode_forced(s, row, t);
    sc_best *best = &s->beams->best;
    best->count = 0;
    for (size_t i = first; i < last; i++) {
        const size_t slot = s->alive[i], beam = slot % q->width;
        float *scores = sc_decode_scores(s, i);
        if (!sc_scores_to_logs(kernels, q->scores, scores, s->V)) {
            return sc_decode_no_choice(s, slot, t, error);
        }
        if (token >= 0) {
            sc_best_add(best, (sc_candidate){s->sum[slot] + sc_score_of(q->scores, scores, token), beam, token});
        } else {
            sc_best_add_all(best, kernels, q->scores, scores, s->V, s->sum[slot], beam);
        }
    }
    sc_best_sort(best);
    return SC_OK;
}

/* What becomes of a row's candidates: results, and `next`. Returns how many go on. */
static size_t search(sc_decode *s, size_t row, size_t t)
{
    const sc_decoding *q = s->q;
    const sc_best *best = &s->beams->best;
    size_t going = 0;
    for (size_t i = 0; i < best->count; i++) {
        const sc_candidate *c = &best->at[i];
        const bool ended = c->token == q->end, on = !ended && going < q->width;
        if (on) {
            s->beams->next[going++] = *c;
        }
        if (ended ? i < q->width : on && t + 1 == q->max_length) {
            note(s, row, c, t + 1, ended);
        }
    }
    return going == 0 || t + 1 == q->max_length || decided(s, row, s->beams->next[0].sum, t + 1) ? 0 : going;
}

/* The slots of a row become those of its `count` successors: the first of a slot takes over the memory of its state,
 * any other gets a copy in memory that nobody goes on in. */
static void succeed(sc_decode *s, size_t row, size_t t, size_t count)
{
    sc_beams *b = s->beams;
    const size_t W = s->q->width;
    char **memory = s->memory + row * W;
    memset(b->taken, 0, W * sizeof *b->taken);
    for (size_t k = 0; k < count; k++) {
        const sc_candidate *c = &b->next[k];
        b->moved[k] = b->taken[c->beam] ? NULL : memory[c->beam];
        b->taken[c->beam] = true;
        s->sum[row * W + k] = c->sum;
        s->last[row * W + k] = c->token;
        b->history[t * s->slots + row * W + k] = (choice){c->token, row * W + c->beam};
    }
    size_t spare = 0;
    for (size_t k = 0; k < W; k++) {
        if (k < count && b->moved[k] != NULL) {
            continue;
        }
        while (b->taken[spare]) {
            spare++;
        }
        b->moved[k] = memory[spare++];
        if (k < count) {
            memcpy(b->moved[k], memory[b->next[k].beam], s->plan->step->row_bytes);
        }
    }
    memcpy((void *)memory, (const void *)b->moved, W * sizeof *memory);
}

sc_status sc_beams_step(sc_decode *s, size_t t, sc_error *error)
{
    const size_t W = s->q->width;
    sc_status status = reserve(s, t, error);
    for (size_t i = 1; status == SC_OK && i < s->n_outputs; i++) {
        const size_t bytes = s->ports[i].row_bytes;
        for (size_t k = 0; k < s->n_alive && s->beams->extras[i] != NULL; k++) {
            sc_decode_take_extra(s, i, k, s->beams->extras[i] + (t * s->slots + s->alive[k]) * bytes);
        }
    }
    size_t kept = 0, *next = s->sources; /* which are written anew before they are read */
    for (size_t first = 0, last; status == SC_OK && first < s->n_alive; first = last) {
        const size_t row = s->alive[first] / W;
        for (last = first; last < s->n_alive && s->alive[last] / W == row; last++) {
        }
        status = find_candidates(s, row, t, first, last, error);
        const size_t going = status == SC_OK ? search(s, row, t) : 0;
        if (going > 0) {
            succeed(s, row, t, going);
        }
        for (size_t k = 0; k < going; k++) {
            next[kept++] = row * W + k;
        }
    }
    memcpy(s->alive, next, kept * sizeof *next);
    s->n_alive = kept;
    return status;
}
