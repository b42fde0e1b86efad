/* The best path of tags through a sequence, by Viterbi: a linear-chain conditional random field, decoded.
 *
 * Sums are in double precision: of float32 numbers they are exact, or nearly so, over any number of frames, so that
 * equal paths are equal and the lowest tag wins by rule and not by rounding; every instruction set gives the same
 * bits. What is kept of each frame are these sums and no back pointers: the loop over N x N is then an addition and a
 * maximum, and the way back finds each predecessor once more, in N additions for a frame. */
#include "plan.h"

#include <math.h>
#include <string.h>

/* Multiply-adds that a sum takes the time of: half the lanes; conversion, addition and maximum in place of one */
#define SUM_WORK 6.0

typedef struct crf_params {
    size_t tags;
    size_t padded;      /* tags, up to whole vectors */
    sc_matrix w;        /* w[i][j] from tag i to tag j */
    const float *into;  /* into[j*N + i], the same: all that leads to one tag is contiguous */
    const float *start, *end;
} crf_params;

static sc_status crf_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    crf_params *p = sc_new_params(builder, node, sizeof *p);
    return p == NULL ? sc_no_memory(builder) : sc_attr_size(builder, node, attributes, "tags", 1, &p->tags);
}

/* (B, T, N) and a mask (B, T) or none -> tags (B, T), score (B) */
static sc_status crf_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const size_t N = ((const crf_params *)node->params)->tags;
    if (in[0].rank != 3) {
        return sc_rank_error(node, "(batch, time, tags)", &in[0], error);
    }
    if (in[0].dim[2] != N && in[0].dim[2] != SC_UNKNOWN) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (crf): input must have a score for each of %zu tags, found %zu",
                       node->layer, N, in[0].dim[2]);
    }
    out[0] = (sc_shape){.rank = 2, .dim = {in[0].dim[0], in[0].dim[1]}};
    out[1] = (sc_shape){.rank = 1, .dim = {in[0].dim[0]}};
    return sc_mask_fits(node, 1, in, error);
}

/* A weight of numbers and -inf, which forbids. */
static sc_status scores_of(sc_builder *builder, const sc_node *node, const char *role, size_t rank, size_t N,
                           const float **data)
{
    const sc_status status = sc_weight(builder, node, role, rank, (size_t[]){N, N}, data);
    const size_t count = status == SC_OK && *data != NULL ? (rank == 2 ? N * N : N) : 0;
    for (size_t i = 0; i < count; i++) {
        if (!((*data)[i] < INFINITY)) {
            return sc_fail(builder->error, SC_BAD_WEIGHTS, "layer '%s' (crf): weight '%s' must hold numbers, or -inf "
                           "for what is forbidden, found %g", node->layer, role, (double)(*data)[i]);
        }
    }
    return status;
}

/* A row of N floats in the plan's memory; NULL when there is none. */
static const float *keep_row(sc_builder *builder, const float *source, size_t N)
{
    bool fresh = true;
    float *row = sc_packed_room(builder, &(sc_packing){.source = source, .ld = N, .rows = 1}, N, &fresh);
    if (row != NULL && fresh) {
        memcpy(row, source, N * sizeof(float));
    }
    return row;
}

static const float *keep_transposed(sc_builder *builder, const float *w, size_t N)
{
    bool fresh = true;
    float *into = sc_packed_room(builder, NULL, N * N, &fresh);
    for (size_t k = 0; into != NULL && fresh && k < N * N; k++) {
        into[k] = w[k % N * N + k / N];
    }
    return into;
}

static sc_status crf_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    (void)in;
    crf_params *p = node->params;
    const size_t N = p->tags;
    const float *w = NULL, *start = NULL, *end = NULL;
    sc_status status = scores_of(builder, node, "W", 2, N, &w);
    if (status == SC_OK) {
        status = scores_of(builder, node, "start", 1, N, &start);
    }
    if (status == SC_OK) {
        status = scores_of(builder, node, "end", 1, N, &end);
    }
    if (status != SC_OK || w == NULL || start == NULL || end == NULL) {
        return status;
    }
    const double work = builder->plan->work;
    status = sc_pack_matrix(builder, w, N, N, N, 1, &p->w); /* which bounds N x N */
    if (status != SC_OK) {
        return status;
    }
    builder->plan->work = work + SUM_WORK * (double)N * (double)N;
    p->padded = builder->plan->kernels->packed_floats(1, N, 1);
    p->into = keep_transposed(builder, w, N);
    p->start = p->into != NULL ? keep_row(builder, start, N) : NULL;
    p->end = p->start != NULL ? keep_row(builder, end, N) : NULL;
    return p->end != NULL ? SC_OK : sc_no_memory(builder);
}

/* The sums of all frames of one row. A frame is written in whole vectors, over where the next one will be. */
static size_t crf_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)rows;
    const crf_params *p = node->params;
    size_t bytes = 0;
    sc_reserve(&bytes, in[0].dim[1] * p->tags + p->padded, sizeof(double));
    return bytes;
}

static bool counts(const float *mask, size_t t)
{
    return mask == NULL || mask[t] != 0.0f;
}

/* The first of the greatest best[i] + w[i], and what it is. */
static size_t first_best(const double *best, const float *w, size_t N, double *score)
{
    size_t first = 0;
    *score = best[0] + (double)w[0];
    for (size_t i = 1; i < N; i++) {
        const double sum = best[i] + (double)w[i];
        if (sum > *score) {
            *score = sum;
            first = i;
        }
    }
    return first;
}

/* best[0][j] = start[j] + x[0][j];  best[t][j] = (maximum over i of best[t-1][i] + w[i][j]) + x[t][j], over the frames
 * that count: how many. *usable: none of their numbers is NaN or +inf. */
static size_t go_forth(const crf_params *p, const sc_kernels *kernels, const float *x, const float *mask, size_t T,
                       double *best, bool *usable)
{
    const size_t N = p->tags;
    size_t frames = 0;
    *usable = true;
    for (size_t t = 0; t < T; t++, x += N) {
        if (!counts(mask, t)) {
            continue;
        }
        bool good = true;
        for (size_t j = 0; j < N; j++) {
            good &= x[j] < INFINITY;
        }
        *usable &= good;
        double *now = best + frames++ * N;
        if (frames > 1) {
            kernels->viterbi(&(sc_viterbi){.w = &p->w, .best = now - N, .x = x, .next = now});
            continue;
        }
        for (size_t j = 0; j < N; j++) {
            now[j] = (double)p->start[j] + (double)x[j];
        }
    }
    return frames;
}

/* Tags from the last frame that counts to the first; what does not count keeps its 0. */
static void go_back(const crf_params *p, const double *best, const float *mask, size_t T, size_t frames, size_t last,
                    int64_t *tags)
{
    const size_t N = p->tags;
    size_t tag = last;
    double score = 0;
    for (size_t t = T; frames > 0; ) {
        if (!counts(mask, --t)) {
            continue;
        }
        tags[t] = (int64_t)tag;
        if (--frames > 0) {
            tag = first_best(best + (frames - 1) * N, p->into + tag * N, N, &score);
        }
    }
}

/* One row; its tags, of all `most` frames, are NULL where nobody wants them. Returns its score. */
static double decode(const crf_params *p, const sc_kernels *kernels, const float *x, const float *mask, size_t T,
                     size_t most, double *best, int64_t *tags)
{
    bool usable = true;
    double score = 0;
    const size_t frames = go_forth(p, kernels, x, mask, T, best, &usable);
    if (tags != NULL) {
        memset(tags, 0, most * sizeof *tags);
    }
    if (frames == 0) {
        return 0;
    }
    const size_t last = first_best(best + (frames - 1) * p->tags, p->end, p->tags, &score);
    const bool none = !usable || score == -INFINITY;
    if (tags != NULL && !none) {
        go_back(p, best, mask, T, frames, last, tags);
    }
    for (size_t t = 0; tags != NULL && none && t < T; t++) {
        tags[t] = counts(mask, t) ? -1 : 0;
    }
    return usable ? score : NAN;
}

static void crf_run(const sc_node *node, sc_frame *frame)
{
    const crf_params *p = node->params;
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const size_t rows = frame->rows * shape->dim[0], T = shape->dim[1], N = p->tags;
    const int64_t *lengths = sc_lengths(node, frame);
    const float *x = sc_in(node, frame, 0), *mask = sc_in(node, frame, 1);
    int64_t *tags = node->outputs[0] != SC_NONE ? frame->data[node->outputs[0]] : NULL;
    float *scores = sc_out(node, frame, 1);
    double *best = (double *)(void *)frame->scratch;
    const size_t end = sc_part(&frame->team, rows, 1);
    for (size_t m = sc_part(&frame->team, rows, 0); m < end; m++) {
        const size_t own = lengths != NULL ? (size_t)lengths[m] : T;
        const float *counted = mask != NULL ? mask + m * T : NULL;
        int64_t *to = tags != NULL ? tags + m * T : NULL;
        const double score = decode(p, frame->kernels, x + m * T * N, counted, own, T, best, to);
        if (scores != NULL) {
            scores[m] = (float)score;
        }
    }
}

static const char *crf_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = out[1] = in[0];
    return in[0] == SC_MOVING || !sc_mask_moves_with(node, in, 1, 0)
               ? "the best path is known when the sequence has ended, and may then be another one from its start"
               : NULL;
}

const sc_op sc_op_crf = {.name = "crf", .min_inputs = 1, .max_inputs = 2, .outputs = 2, .gives_ids = 1,
                         .masks = 1u << 1, .parse = crf_parse, .infer = crf_infer, .pack = crf_pack,
                         .scratch = crf_scratch, .run = crf_run, .moves = crf_moves, .divides = true};
