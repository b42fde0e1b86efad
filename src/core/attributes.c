/* What an op asks of its node while a plan is built: attributes from the JSON, weights from the tensors, packing.
 * Every refusal names the layer, the attribute or weight, and what was expected. */
#include "plan.h"

#include <float.h>
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

sc_status sc_attr_number(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key, float *value)
{
    const sc_json *found = sc_json_get(attributes, key);
    if (found == NULL || found->type != SC_JSON_NUMBER || !(found->number >= -FLT_MAX && found->number <= FLT_MAX)) {
        return attribute_error(builder, node, key, "a number within float32's range");
    }
    *value = (float)found->number;
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

sc_status sc_attr_choice(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key,
                         const char *const *names, int *value)
{
    const sc_json *found = sc_json_get(attributes, key);
    if (found == NULL || found->type != SC_JSON_STRING || (*value = sc_index_of(found->string, names)) < 0) {
        return attribute_error(builder, node, key, "one of the names in docs/design.md");
    }
    return SC_OK;
}

sc_status sc_attr_activation(sc_builder *builder, const sc_node *node, const sc_json *attributes, const char *key,
                             sc_activation_spec *value)
{
    static const char *const names[SC_ACTIVATIONS + 1] = {
        [SC_LINEAR] = "linear", [SC_TANH] = "tanh", [SC_SIGMOID] = "sigmoid", [SC_RELU] = "relu",
        [SC_HARD_SIGMOID] = "hard_sigmoid", [SC_SOFTPLUS] = "softplus", [SC_SOFTSIGN] = "softsign",
        [SC_EXPONENTIAL] = "exponential", [SC_SILU] = "silu", [SC_LEAKY_RELU] = "leaky_relu", [SC_ELU] = "elu",
        [SC_SELU] = "selu", [SC_GELU] = "gelu", [SC_GELU_TANH] = "gelu_tanh", [SC_SOFTMAX] = "softmax",
    };
    const sc_json *found = sc_json_get(attributes, key);
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
    return SC_OK;
}

/* ---- Weights ---------------------------------------------------------------------------------------- */

static const sc_tensor *find_tensor(const sc_builder *builder, const char *name)
{
    size_t from = 0, to = builder->n_tensors;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        const int order = strcmp(builder->tensors[middle]->name, name);
        if (order == 0) {
            return builder->tensors[middle];
        }
        from = order < 0 ? middle + 1 : from;
        to = order < 0 ? to : middle;
    }
    return NULL;
}

sc_status sc_weight(sc_builder *builder, const sc_node *node, const char *role, size_t rank, const size_t *shape,
                    const float **data)
{
    *data = NULL;
    const sc_json *name = sc_json_get(node->weights, role);
    if (name == NULL || name->type != SC_JSON_STRING) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): weight '%s' is not named in the graph", node->layer,
                       node->op->name, role);
    }
    const sc_tensor *found = find_tensor(builder, name->string);
    if (found == NULL) {
        if (!builder->plan->runnable) {
            return SC_OK;
        }
        return sc_fail(builder->error, SC_BAD_WEIGHTS, "layer '%s' (%s): weight '%s' is missing (tensor '%s')",
                       node->layer, node->op->name, role, name->string);
    }
    bool fits = found->dtype == SC_F32 && found->rank == rank && found->data != NULL;
    for (size_t i = 0; fits && i < rank; i++) {
        fits = shape[i] == SC_UNKNOWN || shape[i] == found->shape[i];
    }
    if (!fits) {
        return sc_fail(builder->error, SC_BAD_WEIGHTS, "layer '%s' (%s): weight '%s' must be float32 of shape %s, found %s%s",
                       node->layer, node->op->name, role, sc_shape_text(rank, shape).text,
                       found->dtype == SC_F32 ? "" : "int64 ", sc_shape_text(found->rank, found->shape).text);
    }
    *data = found->data;
    return SC_OK;
}

static sc_status pack_matrix(sc_builder *builder, const float *source, size_t ld, size_t rows, size_t units, size_t gates,
                             bool paired, sc_matrix *matrix)
{
    const sc_kernels *kernels = builder->plan->kernels;
    size_t product = 0;
    if (!sc_mul(rows, units, &product) || !sc_mul(product, gates * 64, &product) || product > MAX_PACKED_BYTES) {
        return sc_no_memory(builder);
    }
    const size_t floats = kernels->packed_floats(rows, units, gates);
    bool fresh = true;
    float *data = sc_packed_room(builder, floats, &fresh);
    if (data == NULL) {
        return sc_no_memory(builder);
    }
    if (fresh) {
        kernels->pack(data, source, ld, rows, units, gates, paired);
    }
    *matrix = (sc_matrix){.data = data, .rows = rows, .units = units, .gates = gates, .paired = paired};
    builder->plan->bytes += floats * sizeof(float);
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

sc_status sc_pack_row(sc_builder *builder, const float *source, size_t units, size_t gates, const float **row)
{
    const double work = builder->plan->work;
    sc_matrix matrix = {0};
    const sc_status status = sc_pack_matrix(builder, source, units * gates, 1, units, gates, &matrix);
    builder->plan->work = work; /* a bias is no matmul */
    *row = matrix.data;
    return status;
}
