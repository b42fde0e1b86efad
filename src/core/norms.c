/* Ops that make elements comparable along axes: normalize (layer, RMS, unit and group normalisation) and softmax.
 * Elements that share their statistics are a set. A set that is not contiguous is gathered, computed and scattered, so that
 * the kernels know nothing of axes. */
#include "plan.h"

#include <string.h>

/* ---- Sets ---------------------------------------------------------------------------------------------------------- */

typedef struct set_params {
    sc_axes axes;        /* of the sets; of a grouped normalisation, the one that is divided */
    bool grouped;
    bool every_channel;  /* each is a group */
    size_t groups;
    sc_norm kind;
    double epsilon;
    sc_spread spread;
    const float *w[SC_SPREAD_WEIGHTS]; /* W and b, or NULL where they are 1 and 0 */
} set_params;

typedef struct axis {
    size_t size, step, weight_step;
} axis;

/* Axes to walk, the last one fastest. */
typedef struct walk {
    size_t rank, count;
    axis axes[SC_MAX_RANK + 1];
} walk;

/* Where the elements of a row are: which sets there are, and the elements within one. */
typedef struct sets {
    walk which, within;
    bool contiguous; /* each set is */
    bool along_time; /* a set's elements come from all frames */
} sets;

static void walk_on(walk *w, axis a)
{
    w->axes[w->rank++] = a;
    w->count *= a.size;
}

static bool is_axis_of_sets(const set_params *p, size_t d)
{
    for (size_t k = 0; k < p->axes.count; k++) {
        if (p->axes.at[k] == d) {
            return !p->grouped;
        }
    }
    return p->grouped;
}

static size_t groups_of(const set_params *p, size_t channels)
{
    return p->every_channel ? channels : p->groups;
}

static sets sets_of(const set_params *p, const sc_shape *shape)
{
    sets s = {.which.count = 1, .within.count = 1, .contiguous = true};
    size_t step[SC_MAX_RANK], weight_step[SC_MAX_RANK], inner = 1, weights = 1;
    for (size_t d = shape->rank; d-- > 1; inner *= shape->dim[d], weights *= p->spread.size[d]) {
        step[d] = inner;
        weight_step[d] = p->spread.size[d] > 1 ? weights : 0;
    }
    for (size_t d = 1; d < shape->rank; d++) {
        axis a = {.size = shape->dim[d], .step = step[d], .weight_step = weight_step[d]};
        if (p->grouped && d == p->axes.at[0]) {
            const size_t groups = groups_of(p, a.size), each = groups > 0 ? a.size / groups : 0;
            s.contiguous = s.contiguous && s.within.rank == 0;
            walk_on(&s.which, (axis){.size = groups, .step = each * a.step, .weight_step = each * a.weight_step});
            a.size = each;
            walk_on(&s.within, a);
        } else if (is_axis_of_sets(p, d)) {
            walk_on(&s.within, a);
            s.along_time = s.along_time || d == 1;
        } else {
            s.contiguous = s.contiguous && s.within.rank == 0;
            walk_on(&s.which, a);
        }
    }
    return s;
}

/* Where the i-th position of a walk is: its step, or that of its weights. */
static size_t place(const walk *w, size_t i, bool of_weights)
{
    size_t at = 0;
    for (size_t k = w->rank; k-- > 0; i /= w->axes[k].size) {
        at += i % w->axes[k].size * (of_weights ? w->axes[k].weight_step : w->axes[k].step);
    }
    return at;
}

/* Copies the first n elements of a set, or of its weights, to where they are contiguous. */
static void gather(const walk *w, float *to, const float *from, size_t n, bool of_weights)
{
    const axis *last = &w->axes[w->rank - 1];
    const size_t step = of_weights ? last->weight_step : last->step;
    for (size_t i = 0; i < n; i += last->size) {
        const float *part = from + place(w, i, of_weights);
        const size_t count = n - i < last->size ? n - i : last->size;
        for (size_t k = 0; k < count; k++) {
            to[i + k] = part[k * step];
        }
    }
}

static void scatter(const walk *w, float *to, const float *from)
{
    const axis *last = &w->axes[w->rank - 1];
    for (size_t i = 0; i < w->count; i += last->size) {
        float *part = to + place(w, i, false);
        for (size_t k = 0; k < last->size; k++) {
            part[k * last->step] = from[i + k];
        }
    }
}

/* Scratch: a set, and the weights of its elements. */
static size_t set_scratch(const sc_node *node, const sc_shape *in, size_t rows)
{
    (void)rows;
    const sets s = sets_of(node->params, &in[0]);
    size_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        sc_reserve(&bytes, s.within.count, sizeof(float));
    }
    return bytes;
}

/* Calls each() for every set of the block, of which this worker has a part: n elements, and the set's number within its row.
 * Sets along time end with their row; past its end is 0. */
static void for_sets(const sc_node *node, sc_frame *frame,
                     void (*each)(const sc_node *, sc_frame *, const sets *, size_t set, const float *x, float *y, size_t n))
{
    const sc_shape *shape = sc_in_shape(node, frame, 0);
    const sets s = sets_of(node->params, shape);
    const size_t row = sc_shape_size(shape, 1), total = frame->rows * shape->dim[0] * s.which.count;
    const int64_t *lengths = s.along_time ? sc_lengths(node, frame) : NULL;
    float *room = (float *)(void *)frame->scratch;
    const size_t end = s.within.count > 0 ? sc_part(&frame->team, total, 1) : 0;
    for (size_t i = sc_part(&frame->team, total, 0); i < end; i++) {
        const size_t m = i / s.which.count, set = i % s.which.count, at = m * row + place(&s.which, set, false);
        const size_t n = lengths != NULL ? s.within.count / shape->dim[1] * (size_t)lengths[m] : s.within.count;
        const float *x = sc_in(node, frame, 0) + at;
        float *y = sc_out(node, frame, 0) + at, *result = s.contiguous ? y : room;
        if (!s.contiguous) {
            gather(&s.within, room, x, n, false);
            x = room;
        }
        memset(result + n, 0, (s.within.count - n) * sizeof(float));
        if (n > 0) {
            each(node, frame, &s, set, x, result, n);
        }
        if (!s.contiguous) {
            scatter(&s.within, y, room);
        }
    }
}

static sc_status set_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    const set_params *p = node->params;
    out[0] = in[0];
    const size_t channels = p->grouped ? in[0].dim[p->axes.at[0]] : SC_UNKNOWN;
    if (channels != SC_UNKNOWN && !p->every_channel && (channels % p->groups != 0 || channels < p->groups)) {
        return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): %zu channels do not divide into %zu groups", node->layer,
                       node->op->name, channels, p->groups);
    }
    return sc_spread_fits(node, &p->spread, &in[0], error);
}

static const char *set_moves(const sc_plan *plan, const sc_node *node, const sc_motion *in, sc_motion out[3])
{
    (void)plan;
    const set_params *p = node->params;
    out[0] = in[0];
    if (in[0] != SC_MOVING || !(p->grouped || is_axis_of_sets(p, 1))) {
        return NULL;
    }
    return "it looks at the whole sequence before it gives a frame";
}

/* ---- normalize ------------------------------------------------------------------------------------------------------ */

static sc_status normalize_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    static const char *const kinds[] = {
        [SC_LAYER_NORM] = "layer", [SC_VARIANCE_NORM] = "variance", [SC_RMS_NORM] = "rms", [SC_UNIT_NORM] = "unit", NULL};
    set_params *p = sc_new_params(builder, node, sizeof *p);
    if (p == NULL) {
        return sc_no_memory(builder);
    }
    int kind = 0;
    const sc_json *groups = sc_json_get(attributes, "groups");
    p->every_channel = groups != NULL && groups->type == SC_JSON_NUMBER && groups->number == -1;
    sc_status status = p->every_channel ? SC_OK : sc_attr_size(builder, node, attributes, "groups", 0, &p->groups);
    p->grouped = p->every_channel || p->groups > 0;
    if (status == SC_OK) {
        status = sc_attr_axes(builder, node, attributes, &p->axes);
    }
    if (status == SC_OK) {
        status = sc_attr_choice(builder, node, attributes, "kind", kinds, &kind);
    }
    if (status == SC_OK) {
        status = sc_attr_number(builder, node, attributes, "epsilon", 0, &p->epsilon);
    }
    p->kind = (sc_norm)kind;
    if (status == SC_OK && p->grouped && p->axes.at[0] == 1 && node->n_lengths > 0) {
        node->refuses_lengths = true; /* its frames are channels */
    }
    return status == SC_OK && p->grouped && p->axes.count != 1
               ? sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (normalize): groups divide one axis, found %zu", node->layer,
                         p->axes.count)
               : status;
}

static sc_status normalize_pack(sc_builder *builder, sc_node *node, const sc_shape *in)
{
    static const char *const roles[] = {"W", "b", NULL};
    set_params *p = node->params;
    const sc_status status = sc_spread_weights(builder, node, &p->axes, &in[0], roles, p->w, &p->spread);
    if (status == SC_OK && p->w[0] != NULL && p->spread.count == 1 && p->w[0][0] == 1.0f && p->w[1][0] == 0.0f) {
        p->w[0] = p->w[1] = NULL;
    }
    return status;
}

static void normalize_each(const sc_node *node, sc_frame *frame, const sets *s, size_t set, const float *x, float *y, size_t n)
{
    const set_params *p = node->params;
    const float *w[2] = {p->w[0], p->w[1]};
    const bool as_they_are = !p->grouped && p->spread.count == s->within.count; /* one for each element, in their order */
    for (size_t k = 0; k < 2 && w[0] != NULL && !as_they_are; k++) {
        size_t bytes = 0;
        sc_reserve(&bytes, s->within.count, sizeof(float));
        const size_t at = k == 0 ? bytes : 2 * bytes;
        float *to = (float *)(void *)(frame->scratch + at);
        gather(&s->within, to, w[k] + place(&s->which, set, true), n, true);
        w[k] = to;
    }
    frame->kernels->normalize(&(sc_normalize){.kind = p->kind, .epsilon = p->epsilon, .n = n, .x = x, .y = y, .w = w[0],
                                              .b = w[1]});
}

static void normalize_run(const sc_node *node, sc_frame *frame)
{
    for_sets(node, frame, normalize_each);
}

const sc_op sc_op_normalize = {.name = "normalize", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = normalize_parse,
                               .infer = set_infer, .pack = normalize_pack, .scratch = set_scratch, .run = normalize_run,
                               .moves = set_moves, .divides = true};

/* ---- softmax -------------------------------------------------------------------------------------------------------- */

static sc_status softmax_parse(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    set_params *p = sc_new_params(builder, node, sizeof *p);
    return p == NULL ? sc_no_memory(builder) : sc_attr_axes(builder, node, attributes, &p->axes);
}

static void softmax_each(const sc_node *node, sc_frame *frame, const sets *s, size_t set, const float *x, float *y, size_t n)
{
    (void)node;
    (void)s;
    (void)set;
    if (x != y) {
        memcpy(y, x, n * sizeof(float));
    }
    frame->kernels->activate((sc_activation_spec){.kind = SC_SOFTMAX}, y, n);
}

static void softmax_run(const sc_node *node, sc_frame *frame)
{
    for_sets(node, frame, softmax_each);
}

const sc_op sc_op_softmax = {.name = "softmax", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .parse = softmax_parse,
                             .infer = set_infer, .scratch = set_scratch, .run = softmax_run, .moves = set_moves,
                             .divides = true};
