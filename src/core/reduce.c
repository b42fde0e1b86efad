/* Reduce: the mean, sum, maximum or minimum over some axes of a value. Sums are made in double precision, position by position in
 * ascending order, and rounded once. Along time a row has its own frames only. */
#include "plan.h"

#include <math.h>
#include <string.h>

#define CHUNK 64 /* results at a time, whose sums stay in L1 */

enum reduction { MEAN, SUM, MAX, MIN };

typedef struct reduce_params {
    int function;
    bool keepdims;
    bool reduced[SC_MAX_RANK];
} reduce_params;

static sc_status reduce_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"mean", "sum", "max", "min", NULL};
    reduce_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = sc_attr_choice(builder, node, attributes, "function", names, &p->function);
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "keepdims", &p->keepdims);
    }
    sc_axes axes = {0};
    if (status == SC_OK) {
        status = sc_attr_axes(builder, node, attributes, &axes);
    }
    for (size_t i = 0; i < axes.count; i++) {
        p->reduced[axes.at[i]] = true;
    }
    return status;
}

static sc_status reduce_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)error;
    const reduce_params *p = node->params;
    out[0] = (sc_shape){0};
    for (size_t d = 0; d < in[0].rank; d++) {
        if (!p->reduced[d] || p->keepdims) {
            out[0].dim[out[0].rank++] = p->reduced[d] ? 1 : in[0].dim[d];
        }
    }
    return SC_OK;
}

static const char *reduce_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && ((const reduce_params *)node->params)->reduced[1] ? "it needs the whole sequence" : NULL;
}

/* The positions that become one result, for `n` results that lie side by side: axes outside in, the last one innermost. */
typedef struct walk {
    enum reduction function;
    sc_shape over;
    size_t stride[SC_MAX_RANK];
} walk;

/* to = to op x, over the innermost axis */
static void gather_run(const walk *w, double *to, size_t n, const float *x)
{
    const size_t last = w->over.rank - 1;
    for (size_t i = 0; i < w->over.dim[last]; i++, x += w->stride[last]) {
        for (size_t k = 0; k < n; k++) {
            const double a = to[k], b = x[k];
            switch (w->function) { /* a NaN of either stays */
            case MEAN:
            case SUM: to[k] = a + b; break;
            case MAX: to[k] = b > a || b != b ? b : a; break;
            case MIN: to[k] = b < a || b != b ? b : a; break;
            }
        }
    }
}

/* n results, side by side; zeros of nothing */
static void reduce_each(const walk *w, const float *x, float *y, size_t n)
{
    const size_t count = sc_shape_size(&w->over, 0), last = w->over.rank - 1;
    if (count == 0) {
        memset(y, 0, n * sizeof(float));
        return;
    }
    double to[CHUNK];
    for (size_t from = 0; from < n; from += CHUNK) {
        const size_t some = n - from < CHUNK ? n - from : CHUNK;
        for (size_t k = 0; k < some; k++) {
            to[k] = w->function == MAX ? -INFINITY : w->function == MIN ? INFINITY : 0;
        }
        for (size_t i = 0; i < count / w->over.dim[last]; i++) {
            gather_run(w, to, some, x + from + sc_offset(&w->over, last, w->stride, i));
        }
        for (size_t k = 0; k < some; k++) {
            y[from + k] = (float)(w->function == MEAN ? to[k] / (double)count : to[k]);
        }
    }
}

static void reduce_run(const sc_node *node, sc_frame *frame)
{
    const reduce_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const int64_t *lengths = p->reduced[1] ? sc_lengths(node, frame) : NULL;
    walk w = {.function = (enum reduction)p->function};
    sc_shape kept = {.rank = 1, .dim = {1}}; /* axes of a row that stay, but those at the end, which lie side by side */
    size_t stride[SC_MAX_RANK] = {0}, n = 1, d = in->rank;
    for (; d > 1 && !p->reduced[d - 1]; d--) {
        n *= in->dim[d - 1];
    }
    for (size_t axis = 1; axis < d; axis++) {
        if (p->reduced[axis]) {
            w.over.dim[w.over.rank] = in->dim[axis];
            w.stride[w.over.rank++] = sc_shape_size(in, axis + 1);
        } else {
            kept.dim[kept.rank] = in->dim[axis];
            stride[kept.rank++] = sc_shape_size(in, axis + 1);
        }
    }
    const size_t rows = frame->rows * in->dim[0], row = sc_shape_size(in, 1), runs = sc_shape_size(&kept, 1);
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    for (size_t m = 0; m < rows; m++, x += row) {
        if (lengths != NULL) {
            w.over.dim[0] = (size_t)lengths[m];
        }
        for (size_t i = 0; i < runs; i++, y += n) {
            reduce_each(&w, x + sc_offset(&kept, kept.rank, stride, i), y, n);
        }
    }
}

const sc_op sc_op_reduce = {.name = "reduce", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = reduce_parse,
                            .infer = reduce_infer, .run = reduce_run, .moves = reduce_moves};
