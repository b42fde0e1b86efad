/* Reduce: what some axes of a value make together, such as their mean or their maximum; and cumsum. Sums are made in double
 * precision, position by position in ascending order, and rounded once. Along time a row has its own frames only. */
#include "plan.h"

#include <math.h>
#include <string.h>

#define CHUNK 64 /* results at a time, whose sums stay in L1 */

enum reduction { MEAN, SUM, MAX, MIN, PROD, NORM1, NORM2, LOGSUMEXP, VAR, STD };

typedef struct reduce_params {
    int function;
    bool keepdims;
    size_t correction; /* of var and std: the divisor is so much less than the number of elements */
    bool reduced[SC_MAX_RANK];
} reduce_params;

static sc_status reduce_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const names[] = {"mean", "sum", "max", "min", "prod", "norm1", "norm2", "logsumexp", "var", "std", NULL};
    reduce_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = sc_attr_choice(builder, node, attributes, "function", names, &p->function);
    if (status == SC_OK) {
        status = sc_attr_bool(builder, node, attributes, "keepdims", &p->keepdims);
    }
    sc_axes axes = {0};
    if (status == SC_OK && p->function >= VAR) {
        status = sc_attr_size(builder, node, attributes, "correction", 0, &p->correction);
        if (status == SC_OK && p->correction > 1) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (reduce): correction must be 0 or 1", node->layer);
        }
    }
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
    size_t correction;
    sc_shape over;
    size_t stride[SC_MAX_RANK];
} walk;

/* to = to op x, over the innermost axis; of functions that take two passes, `from` is what the first gave */
static void gather_run(const walk *w, enum reduction function, double *to, const double *from, size_t n, const float *x)
{
    const size_t last = w->over.rank - 1;
    for (size_t i = 0; i < w->over.dim[last]; i++, x += w->stride[last]) {
        for (size_t k = 0; k < n; k++) {
            const double a = to[k], b = x[k];
            switch (function) { /* a NaN of either stays */
            case MEAN:
            case SUM: to[k] = a + b; break;
            case MAX: to[k] = b > a || b != b ? b : a; break;
            case MIN: to[k] = b < a || b != b ? b : a; break;
            case PROD: to[k] = a * b; break;
            case NORM1: to[k] = a + fabs(b); break;
            case NORM2: to[k] = a + b * b; break;
            case LOGSUMEXP: to[k] = a + exp(b - from[k]); break;
            case VAR:
            case STD: to[k] = a + (b - from[k]) * (b - from[k]); break;
            }
        }
    }
}

/* One pass over all positions of at most CHUNK results */
static void gather(const walk *w, enum reduction function, double *to, const double *from, size_t n, const float *x)
{
    const size_t last = w->over.rank - 1, runs = sc_shape_size(&w->over, 0) / w->over.dim[last];
    for (size_t k = 0; k < n; k++) {
        to[k] = function == MAX ? -INFINITY : function == MIN ? INFINITY : function == PROD ? 1 : 0;
    }
    for (size_t i = 0; i < runs; i++) {
        gather_run(w, function, to, from, n, x + sc_offset(&w->over, last, w->stride, i));
    }
}

static double finished(const walk *w, double gathered, double from, double count)
{
    switch (w->function) {
    case MEAN: return gathered / count;
    case NORM2: return sqrt(gathered);
    case LOGSUMEXP: return log(gathered) + from;
    case VAR: return gathered / (count - (double)w->correction);
    case STD: return sqrt(gathered / (count - (double)w->correction));
    default: return gathered;
    }
}

/* n results, side by side; zeros of nothing. A variance is of the differences from the mean; exponentials are of those from the
 * maximum, if that is finite, so that none overflows. */
static void reduce_each(const walk *w, const float *x, float *y, size_t n)
{
    const size_t count = sc_shape_size(&w->over, 0);
    if (count == 0) {
        memset(y, 0, n * sizeof(float));
        return;
    }
    double to[CHUNK], from[CHUNK] = {0};
    for (size_t first = 0; first < n; first += CHUNK) {
        const size_t some = n - first < CHUNK ? n - first : CHUNK;
        if (w->function >= LOGSUMEXP) {
            gather(w, w->function == LOGSUMEXP ? MAX : SUM, from, NULL, some, x + first);
            for (size_t k = 0; k < some; k++) {
                const double top = isinf(from[k]) ? 0 : from[k];
                from[k] = w->function == LOGSUMEXP ? top : from[k] / (double)count;
            }
        }
        gather(w, w->function, to, from, some, x + first);
        for (size_t k = 0; k < some; k++) {
            y[first + k] = (float)finished(w, to[k], from[k], (double)count);
        }
    }
}

static void reduce_run(const sc_node *node, sc_frame *frame)
{
    const reduce_params *p = node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const int64_t *lengths = p->reduced[1] ? sc_lengths(node, frame) : NULL;
    walk w = {.function = (enum reduction)p->function, .correction = p->correction};
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

/* ---- Running sums ----------------------------------------------------------------------------------------------- */

static sc_status cumsum_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    size_t *axis = sc_new_params(builder, node, sizeof *axis);
    return axis == NULL ? sc_no_memory(builder)
                        : sc_attr_axis(builder, node, attributes, builder->plan->shapes[node->inputs[0]].rank, axis);
}

static sc_status cumsum_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    (void)node;
    (void)error;
    out[0] = in[0];
    return SC_OK;
}

/* y[.., i, ..] = x[.., 0, ..] + .. + x[.., i, ..] */
static void cumsum_run(const sc_node *node, sc_frame *frame)
{
    const size_t axis = *(const size_t *)node->params;
    const sc_shape *in = sc_in_shape(node, frame, 0);
    const size_t size = in->dim[axis], n = sc_shape_size(in, axis + 1);
    size_t runs = frame->rows;
    for (size_t d = 0; d < axis; d++) {
        runs *= in->dim[d];
    }
    const float *x = sc_in(node, frame, 0);
    float *y = sc_out(node, frame, 0);
    for (size_t m = 0; m < runs; m++, x += size * n, y += size * n) {
        for (size_t first = 0; first < n; first += CHUNK) {
            const size_t some = n - first < CHUNK ? n - first : CHUNK;
            double sum[CHUNK] = {0};
            for (size_t i = 0; i < size; i++) {
                for (size_t k = 0; k < some; k++) {
                    sum[k] += (double)x[i * n + first + k];
                    y[i * n + first + k] = (float)sum[k];
                }
            }
        }
    }
}

/* The sum so far is a double, and a stream's state is of floats. */
static const char *cumsum_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    out[0] = in[0];
    return in[0] == SC_MOVING && *(const size_t *)node->params == 1 ? "it sums all frames so far" : NULL;
}

const sc_op sc_op_cumsum = {.name = "cumsum", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = cumsum_parse,
                            .infer = cumsum_infer, .run = cumsum_run, .moves = cumsum_moves};
