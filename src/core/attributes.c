/* What an op asks of its node while a plan is built: attributes from the JSON, weights from the tensors, packing.
 * Every refusal names the layer, the attribute or weight, and what was expected. */
#include "fpmode.h"
#include "plan.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MAX_PACKED_BYTES ((size_t)1 << 46) /* keeps sums and products of sizes far from overflow */

sc_status sc_no_memory(sc_builder *builder)
{
    return sc_fail(builder->error, SC_NO_MEMORY, "out of memory while the plan was built");
}

void *sc_new_params(sc_builder *builder, sc_node *node, size_t size)
{
    return node->params = sc_plan_alloc(builder->plan, 1, size);
}

/* ---- Attributes ------------------------------------------------------------------------------------- */

int sc_index_of(const char *text, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

static sc_status attribute_error(sc_builder *builder, const sc_node *node, const char *key, const char *expected)
{
    return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): attribute '%s' must be %s", node->layer, node->op->name,
                   key, expected);
}

sc_status sc_attr_size(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, size_t min,
                       size_t *value)
{
    /* 2^24 of anything is past every real layer and keeps products of two attributes far from overflow. */
    if (!sc_json_size(sc_json_get(attributes, key), value) || *value < min || *value > ((size_t)1 << 24)) {
        return attribute_error(builder, node, key, min > 0 ? "a whole number from 1 to 2^24" : "a whole number up to 2^24");
    }
    return SC_OK;
}

sc_status sc_attr_integer(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, int64_t *value)
{
    const sc_json *found = sc_json_get(attributes, key);
    const double most = 9007199254740992.0; /* 2^53, to which a double counts */
    if (found == NULL || found->type != SC_JSON_NUMBER || !(found->number >= -most && found->number <= most) ||
        found->number != (double)(int64_t)found->number) {
        return attribute_error(builder, node, key, "a whole number");
    }
    *value = (int64_t)found->number;
    return SC_OK;
}

sc_status sc_attr_axis(sc_builder *builder, const sc_node *node, const sc_json *attributes, size_t limit, size_t *axis)
{
    if (!sc_json_size(sc_json_get(attributes, "axis"), axis) || *axis < 1 || *axis >= limit) {
        return attribute_error(builder, node, "axis", "an axis of its input, counted from 0, and not the batch");
    }
    return SC_OK;
}

sc_status sc_attr_bool(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, bool *value)
{
    const sc_json *found = sc_json_get(attributes, key);
    if (found == NULL || found->type != SC_JSON_BOOL) {
        return attribute_error(builder, node, key, "true or false");
    }
    *value = found->number != 0;
    return SC_OK;
}

sc_status sc_attr_number(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, double min,
                         double *value)
{
    const sc_json *found = sc_json_get(attributes, key);
    if (found == NULL || found->type != SC_JSON_NUMBER || !(found->number >= min && found->number <= FLT_MAX)) {
        return attribute_error(builder, node, key, min == 0 ? "a number from 0 on" : "a float32 number");
    }
    *value = found->number;
    return SC_OK;
}

sc_status sc_attr_real(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, bool *given,
                       double *value)
{
    static const char *const names[] = {"inf", "-inf", "nan", NULL};
    static const double numbers[] = {INFINITY, -INFINITY, NAN};
    const sc_json *found = sc_json_get(attributes, key);
    const int name = found != NULL && found->type == SC_JSON_STRING ? sc_index_of(found->string, names) : -1;
    *given = found != NULL && found->type != SC_JSON_NULL;
    if (name >= 0) {
        *value = numbers[name];
        return SC_OK;
    }
    const bool number = *given && found->type == SC_JSON_NUMBER && fabs(found->number) <= FLT_MAX;
    *value = number ? found->number : 0;
    return number || (found != NULL && !*given)
               ? SC_OK
               : attribute_error(builder, node, key, "a float32 number, \"inf\", \"-inf\", \"nan\", or null where there is none");
}

sc_status sc_attr_axes(sc_builder *builder, const sc_node *node, const sc_json *attributes, sc_axes *axes)
{
    const size_t rank = builder->plan->shapes[node->inputs[0]].rank;
    const sc_json *found = sc_json_get(attributes, "axes");
    bool good = found != NULL && found->type == SC_JSON_ARRAY && found->count >= 1 && found->count < rank;
    *axes = (sc_axes){0};
    for (const sc_json *axis = good ? found->child : NULL; axis != NULL && good; axis = axis->next) {
        const double number = axis->type == SC_JSON_NUMBER ? axis->number : 0;
        const double place = number < 0 ? number + (double)rank : number;
        const double least = axes->count > 0 ? (double)axes->at[axes->count - 1] + 1 : 1;
        good = place >= least && place < (double)rank && place == (double)(size_t)place;
        if (good) {
            axes->at[axes->count++] = (size_t)place;
        }
    }
    return good ? SC_OK : attribute_error(builder, node, "axes", "a list of different axes of the input, ascending, without the batch");
}

sc_status sc_attr_choice(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key,
                         const char *const *names, int *value)
{
    const sc_json *found = sc_json_get(attributes, key);
    if (found == NULL || found->type != SC_JSON_STRING || (*value = sc_index_of(found->string, names)) < 0) {
        return attribute_error(builder, node, key, "one of the names in docs/design.md");
    }
    return SC_OK;
}

sc_status sc_attr_one_hot(sc_builder *builder, sc_node *node, const sc_json *attributes)
{
    const sc_status status = sc_json_get(attributes, "one_hot") != NULL
                                 ? sc_attr_size(builder, node, attributes, "one_hot", 0, &node->id_rows) : SC_OK;
    const bool ids = builder->plan->values[node->inputs[0]].dtype == SC_I64;
    if (status == SC_OK && ids != (node->id_rows > 0)) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): attribute 'one_hot' is the number of rows that ids "
                       "name, and absent where input 0 is no ids; found %zu", node->layer, node->op->name, node->id_rows);
    }
    return status;
}

sc_status sc_attr_activation(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key,
                             sc_activation_spec *value)
{
    return sc_attr_activation_of(builder, node, sc_json_get(attributes, key), key, value);
}

sc_status sc_attr_activation_of(sc_builder *builder, const sc_node *node, const sc_json *found, const char *key,
                                sc_activation_spec *value)
{
    static const char *const names[SC_ACTIVATIONS + 1] = {
        [SC_LINEAR] = "linear", [SC_TANH] = "tanh", [SC_SIGMOID] = "sigmoid", [SC_RELU] = "relu",
        [SC_HARD_SIGMOID] = "hard_sigmoid", [SC_SOFTPLUS] = "softplus", [SC_SOFTSIGN] = "softsign",
        [SC_EXPONENTIAL] = "exponential", [SC_SILU] = "silu", [SC_LEAKY_RELU] = "leaky_relu", [SC_ELU] = "elu",
        [SC_SELU] = "selu", [SC_GELU] = "gelu", [SC_GELU_TANH] = "gelu_tanh", [SC_RELU6] = "relu6",
        [SC_CELU] = "celu", [SC_LOG_SIGMOID] = "log_sigmoid", [SC_MISH] = "mish", [SC_HARD_SILU] = "hard_silu",
        [SC_HARD_TANH] = "hard_tanh", [SC_HARD_SHRINK] = "hard_shrink", [SC_SOFT_SHRINK] = "soft_shrink",
        [SC_TANH_SHRINK] = "tanh_shrink", [SC_THRESHOLD] = "threshold", [SC_SQUAREPLUS] = "squareplus",
        [SC_SPARSE_PLUS] = "sparse_plus", [SC_AFFINE] = "affine", [SC_SCALED_TANH] = "scaled_tanh",
        [SC_SOFTMAX] = "softmax", [SC_LOG_SOFTMAX] = "log_softmax",
    };
    const sc_json *kind = found != NULL && found->type == SC_JSON_ARRAY && found->count == 3 ? found->child : NULL;
    if (kind == NULL || kind->type != SC_JSON_STRING || kind->next->type != SC_JSON_NUMBER ||
        kind->next->next->type != SC_JSON_NUMBER) {
        return attribute_error(builder, node, key, "an activation: [kind, alpha, beta]");
    }
    const int number = sc_index_of(kind->string, names);
    if (number < 0) {
        return sc_fail(builder->error, SC_UNSUPPORTED, "layer '%s' (%s): %s '%s' is not known", node->layer,
                       node->op->name, key, kind->string);
    }
    value->kind = (enum sc_activation)number;
    value->alpha = (float)kind->next->number;
    value->beta = (float)kind->next->next->number;
    const bool positive = value->kind != SC_CELU || value->alpha > 0.0f; /* what their formulas divide by, or take roots of */
    const bool whole = (value->kind != SC_SQUAREPLUS && value->kind != SC_SOFT_SHRINK) || value->alpha >= 0.0f;
    return positive && whole ? SC_OK : attribute_error(builder, node, key, "an activation whose alpha is in its range");
}

/* ---- Weights ---------------------------------------------------------------------------------------- */

size_t sc_tensor_place(const sc_builder *builder, const char *name)
{
    size_t from = 0, to = builder->n_tensors;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        const int order = strcmp(builder->tensors[middle]->name, name);
        if (order == 0) {
            return middle;
        }
        from = order < 0 ? middle + 1 : from;
        to = order < 0 ? to : middle;
    }
    return SC_NONE;
}

/* The tensor of a weight's role; NULL in a plan of shapes only, where it may be missing. */
static sc_status named_tensor(sc_builder *builder, const sc_node *node, const char *role, const sc_tensor **tensor)
{
    const sc_json *name = sc_json_get(node->weights, role);
    if (name == NULL || name->type != SC_JSON_STRING) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): weight '%s' is not named in the graph", node->layer,
                       node->op->name, role);
    }
    const size_t place = sc_tensor_place(builder, name->string);
    *tensor = place != SC_NONE ? builder->tensors[place] : NULL;
    if (*tensor != NULL || !builder->plan->runnable) {
        return SC_OK;
    }
    return sc_fail(builder->error, SC_BAD_WEIGHTS, "layer '%s' (%s): weight '%s' is missing (tensor '%s')", node->layer,
                   node->op->name, role, name->string);
}

static sc_status weight_error(sc_builder *builder, const sc_node *node, const char *role, size_t rank, const size_t *shape,
                              const sc_tensor *found, const char *hint)
{
    return sc_fail(builder->error, SC_BAD_WEIGHTS, "layer '%s' (%s): weight '%s' must be float32 of shape %s%s, found %s%s",
                   node->layer, node->op->name, role, sc_shape_text(rank, shape).text, hint,
                   found->dtype == SC_F32 ? "" : "int64 ", sc_shape_text(found->rank, found->shape).text);
}

/* A node that reads more has pieces of its own of the rest. */
static void note_read(sc_builder *builder, const sc_node *node, const sc_tensor *found)
{
    builder->n_read = builder->reads == node ? builder->n_read : 0;
    builder->reads = node;
    if (builder->n_read < SC_NODE_TENSORS) {
        builder->read[builder->n_read++] = found;
    }
}

sc_status sc_weight(sc_builder *builder, const sc_node *node, const char *role, size_t rank, const size_t *shape,
                    const float **data)
{
    *data = NULL;
    const sc_tensor *found = NULL;
    const sc_status status = named_tensor(builder, node, role, &found);
    if (status != SC_OK || found == NULL) {
        return status;
    }
    bool fits = found->dtype == SC_F32 && found->rank == rank && found->data != NULL;
    for (size_t i = 0; fits && i < rank; i++) {
        fits = shape[i] == SC_UNKNOWN || shape[i] == found->shape[i];
    }
    if (!fits) {
        return weight_error(builder, node, role, rank, shape, found, "");
    }
    *data = found->data;
    note_read(builder, node, found);
    return SC_OK;
}

/* ---- Weights that repeat along axes ------------------------------------------------------------------ */

/* Merges a weight's shape into the common one; false when they differ in an axis where neither is 1. */
static bool join_shapes(const sc_axes *axes, const sc_shape *in, const sc_tensor *found, sc_spread *spread)
{
    bool fits = found->dtype == SC_F32 && found->rank == axes->count && found->data != NULL;
    for (size_t k = 0; fits && k < axes->count; k++) {
        const size_t size = found->shape[k], axis = in->dim[axes->at[k]], common = spread->size[axes->at[k]];
        fits = size > 0 && (size == 1 || ((axis == SC_UNKNOWN || axis == size) && (common == 1 || common == size)));
        spread->size[axes->at[k]] = size > common ? size : common;
    }
    return fits;
}

/* Copies a weight into plan memory in the common shape. */
static const float *spread_out(sc_builder *builder, const sc_axes *axes, const sc_tensor *from, const sc_spread *spread)
{
    bool fresh = true;
    float *to = sc_packed_room(builder, NULL, spread->count, &fresh);
    const float *data = from->data;
    for (size_t i = 0; to != NULL && fresh && i < spread->count; i++) {
        size_t at = 0, left = i, step = 1;
        for (size_t k = axes->count; k-- > 0;) {
            const size_t size = spread->size[axes->at[k]];
            at += from->shape[k] > 1 ? left % size * step : 0;
            left /= size;
            step *= from->shape[k];
        }
        to[i] = data[at];
    }
    return to;
}

sc_status sc_spread_weights(sc_builder *builder, const sc_node *node, const sc_axes *axes, const sc_shape *in,
                            const char *const *roles, const float **data, sc_spread *spread)
{
    const sc_tensor *found[SC_SPREAD_WEIGHTS] = {NULL};
    size_t n = 0, shape[SC_MAX_RANK];
    for (size_t d = 0; d < SC_MAX_RANK; d++) {
        spread->size[d] = 1;
    }
    for (size_t k = 0; k < axes->count; k++) {
        shape[k] = in->dim[axes->at[k]];
    }
    for (; roles[n] != NULL; n++) {
        data[n] = NULL;
        const sc_status status = named_tensor(builder, node, roles[n], &found[n]);
        if (status != SC_OK) {
            return status;
        }
        if (found[n] != NULL && !join_shapes(axes, in, found[n], spread)) {
            return weight_error(builder, node, roles[n], axes->count, shape, found[n], " or 1 in an axis, and like the others");
        }
    }
    spread->count = 1;
    for (size_t d = 0; d < SC_MAX_RANK; d++) {
        size_t product = 0;
        if (!sc_mul(spread->count, spread->size[d], &product) || product > MAX_PACKED_BYTES / sizeof(float)) {
            return sc_no_memory(builder);
        }
        spread->count = product;
    }
    for (size_t i = 0; i < n; i++) {
        if (found[i] == NULL) {
            return SC_OK; /* a plan of shapes only */
        }
    }
    for (size_t i = 0; i < n; i++) {
        data[i] = spread_out(builder, axes, found[i], spread);
        if (data[i] == NULL) {
            return sc_no_memory(builder);
        }
    }
    return SC_OK;
}

sc_status sc_spread_fits(const sc_node *node, const sc_spread *spread, const sc_shape *in, sc_error *error)
{
    for (size_t d = 1; d < in->rank; d++) {
        if (spread->size[d] > 1 && in->dim[d] != spread->size[d] && in->dim[d] != SC_UNKNOWN) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): axis %zu of the input must have size %zu, found %zu",
                           node->layer, node->op->name, d, spread->size[d], in->dim[d]);
        }
    }
    return SC_OK;
}

/* ---- Packing ----------------------------------------------------------------------------------------- */

static bool packable(size_t rows, size_t units, size_t gates)
{
    size_t product = 0;
    return sc_mul(rows, units, &product) && sc_mul(product, gates * 64, &product) && product <= MAX_PACKED_BYTES;
}

static sc_status pack_matrix(sc_builder *builder, const float *source, size_t ld, size_t rows, size_t units, size_t gates,
                             bool paired, sc_matrix *matrix)
{
    const sc_kernels *kernels = builder->plan->kernels;
    if (!packable(rows, units, gates)) {
        return sc_no_memory(builder);
    }
    const size_t floats = kernels->packed_floats(rows, units, gates);
    bool fresh = true;
    const sc_packing packing = {.source = source, .ld = ld, .rows = rows, .units = units, .gates = gates, .paired = paired};
    float *data = sc_packed_room(builder, &packing, floats, &fresh);
    if (data == NULL) {
        return sc_no_memory(builder);
    }
    if (fresh) {
        kernels->pack(data, source, ld, rows, units, gates, paired);
    }
    *matrix = (sc_matrix){.data = data, .rows = rows, .units = units, .gates = gates, .paired = paired};
    builder->plan->work += (double)rows * (double)units * (double)gates;
    return SC_OK;
}

sc_status sc_pack_matrix(sc_builder *builder, const float *source, size_t ld, size_t rows, size_t units, size_t gates,
                         sc_matrix *matrix)
{
    return pack_matrix(builder, source, ld, rows, units, gates, false, matrix);
}

/* Pairing serves what a single row reads from L2: in L1 it gains nothing, past L2 many rows lose more by it. */
#define LEAST_PAIRED ((size_t)64 << 10)
#define MOST_PAIRED ((size_t)2 << 20)

sc_status sc_pack_recurrent(sc_builder *builder, const float *source, size_t ld, size_t rows, size_t units, size_t gates,
                            sc_matrix *matrix)
{
    const double bytes = (double)rows * (double)units * (double)gates * sizeof(float);
    const bool paired = bytes >= (double)LEAST_PAIRED && bytes <= (double)MOST_PAIRED;
    return pack_matrix(builder, source, ld, rows, units, gates, paired, matrix);
}

/* What a sum of a bias and 0 * w, for all w of a column, is before the one that counts: the bias, but that a -0 is 0 from
 * the first w on that has no sign. */
static float start_of(float bias, const float *column, size_t ld, size_t rows)
{
    for (size_t k = 0; k < rows && bias == 0.0f && signbit(bias); k++) {
        bias = signbit(column[k * ld]) ? bias : 0.0f;
    }
    return bias;
}

/* Not inlined: all of it is computed in the mode that is set around it, that of the workers. */
static __attribute__((noinline)) void fill_table(const sc_kernels *kernels, const sc_packing *p, const sc_gate_norm *norm,
                                                 float *table, float *start, float *row)
{
    const size_t columns = p->units * p->gates, floats = kernels->packed_floats(1, p->units, p->gates);
    for (size_t n = 0; n < columns; n++) {
        start[n] = start_of(p->plus[n], p->source + n, p->ld, p->rows);
    }
    kernels->pack(row, start, columns, 1, p->units, p->gates, false);
    for (size_t k = 0; k < p->rows; k++, table += floats) {
        kernels->pack(table, p->source + k * p->ld, p->ld, 1, p->units, p->gates, false);
        for (size_t i = 0; i < floats; i++) {
            table[i] = row[i] + table[i];
        }
        if (norm != NULL) {
            sc_gate_norm of_row = *norm;
            of_row.rows = 1;
            of_row.z = &table;
            kernels->normalize_gates(&of_row);
        }
    }
}

sc_status sc_pack_table(sc_builder *builder, const float *source, const float *bias, size_t ld, size_t rows, size_t units,
                        size_t gates, const sc_gate_norm *norm, const float **table)
{
    const sc_kernels *kernels = builder->plan->kernels;
    if (!packable(rows, units, gates)) {
        return sc_no_memory(builder);
    }
    const size_t floats = kernels->packed_floats(1, units, gates);
    const sc_packing packing = {.source = source, .ld = ld, .rows = rows, .units = units, .gates = gates, .plus = bias};
    bool fresh = true;
    float *data = sc_packed_room(builder, norm == NULL ? &packing : NULL, rows * floats, &fresh);
    if (data == NULL) {
        return sc_no_memory(builder);
    }
    if (fresh) {
        float *start = sc_allocate(&builder->plan->allocator, 2 * floats * sizeof(float));
        if (start == NULL) {
            return sc_no_memory(builder);
        }
        const sc_fp_mode before = sc_enter_fp_mode();
        fill_table(kernels, &packing, norm, data, start, start + floats);
        sc_leave_fp_mode(before);
        sc_release(&builder->plan->allocator, start);
    }
    *table = data;
    return SC_OK;
}

sc_status sc_pack_row(sc_builder *builder, const float *source, size_t units, size_t gates, const float **row)
{
    const double work = builder->plan->work;
    sc_matrix matrix = {0};
    const sc_status status = sc_pack_matrix(builder, source, units * gates, 1, units, gates, &matrix);
    builder->plan->work = work; /* a bias is no matmul */
    *row = matrix.data;
    return status;
}
