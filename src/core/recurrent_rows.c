/* The rows of a recurrent layer's time loop: their order, which of their frames count, and what they leave behind. */
#include "recurrent_run.h"

#include <string.h>

static size_t count_steps(const rnn_run *r, size_t row, size_t end)
{
    size_t count = 0;
    for (size_t t = 0; t < end; t++) {
        count += r->mask[row * r->T + t] != 0.0f;
    }
    return count;
}

static void sort_rows(rnn_run *r, const int64_t *lengths)
{
    for (size_t m = 0; m < r->rows; m++) {
        const size_t end = lengths != NULL ? (size_t)lengths[m] : r->T, n = r->mask != NULL ? count_steps(r, m, end) : end;
        size_t place = m;
        for (; place > 0 && r->lengths[place - 1] < n; place--) {
            r->lengths[place] = r->lengths[place - 1];
            r->ends[place] = r->ends[place - 1];
            r->order[place] = r->order[place - 1];
        }
        r->lengths[place] = n;
        r->ends[place] = end;
        r->order[place] = m;
    }
}

static void list_steps(rnn_run *r)
{
    for (size_t m = 0; m < r->rows; m++) {
        const float *mask = r->mask + r->order[m] * r->T;
        uint32_t *steps = r->steps + m * r->T;
        for (size_t n = 0, s = 0; n < r->ends[m]; n++) {
            if (mask[frame_of(r, r->ends[m], n)] != 0.0f) {
                steps[s++] = (uint32_t)n;
            }
        }
    }
}

void sc_rnn_sort_rows(rnn_run *r, const int64_t *lengths)
{
    sort_rows(r, lengths);
    if (r->mask != NULL) {
        list_steps(r);
    }
}

/* The output of every masked frame: that of the frame before, in the order of processing, or zeros. `before` is the output
 * before the first frame, NULL for zeros. */
static void fill_masked(const rnn_run *r, size_t m, const float *before)
{
    const size_t N = r->p->outputs, first = r->own.out_first, bytes = r->own.out_units * sizeof(float), end = r->ends[m];
    const uint32_t *steps = r->steps + m * r->T;
    for (size_t n = 0, s = 0; n < end; n++) {
        const size_t t = r->p->realign ? frame_of(r, end, n) : n;
        float *y = r->output + (r->order[m] * r->T + t) * N + first;
        if (s < r->lengths[m] && steps[s] == n) {
            before = y;
            s++;
        } else if (before == NULL || r->p->zero_output) {
            memset(y, 0, bytes);
        } else {
            memcpy(y, before, bytes);
        }
    }
}

/* What row m puts out last, from the worker's first output on: NULL for zeros, or `before` when all its frames were masked.
 * A row without any frame puts out its state, as it does without a mask. */
static const float *last_output(const rnn_run *r, size_t m, const float *before)
{
    const size_t n = r->lengths[m];
    if (r->mask == NULL || r->ends[m] == 0) {
        return r->h[m] + r->own.out_first;
    }
    const bool ends_masked = n == 0 || r->steps[m * r->T + n - 1] + (size_t)1 < r->ends[m];
    if (ends_masked && r->p->zero_output) {
        return NULL;
    }
    return n == 0 ? before : r->h[m] + r->own.out_first;
}

static void copy_or_clear(float *to, const float *from, size_t bytes)
{
    if (from == NULL) {
        memset(to, 0, bytes);
    } else if (to != from) {
        memcpy(to, from, bytes);
    }
}

void sc_rnn_finish(const rnn_run *r, const sc_node *node, const sc_frame *frame)
{
    const size_t N = r->p->outputs, first = r->own.out_first, bytes = r->own.out_units * sizeof(float);
    float *y = r->p->sequences ? NULL : sc_out(node, frame, 0);
    float *h = sc_out(node, frame, 1), *c = sc_out(node, frame, 2);
    if (sc_row_state(node, frame, 0) != NULL) {
        sc_meet(r->team); /* the others may still read the state of before */
    }
    for (size_t m = 0; m < r->rows; m++) {
        const size_t row = r->order[m], n = r->ends[m];
        float *state = sc_row_state(node, frame, row);
        float *kept = state != NULL && r->p->keeps_output ? sc_rnn_kept_output(r->p, state) + first : NULL;
        if (r->mask != NULL && r->output != NULL) {
            fill_masked(r, m, kept);
        }
        if (y != NULL) {
            copy_or_clear(y + row * N + first, last_output(r, m, kept), bytes);
        }
        if (kept != NULL) {
            copy_or_clear(kept, last_output(r, m, kept), bytes);
        }
        if (state != NULL) {
            copy_or_clear(state + first, r->h[m] + first, bytes);
        }
        if (h != NULL) {
            memcpy(h + row * N + first, r->h[m] + first, bytes);
        }
        if (c != NULL) {
            memcpy(c + row * r->p->units + r->own.first, r->c[m], r->own.units * sizeof(float));
        }
        if (r->output != NULL && r->team->member == 0) {
            memset(r->output + (row * r->T + n) * N, 0, (r->T - n) * N * sizeof(float));
        }
    }
}
