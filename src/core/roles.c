/* What a data input is when a graph is stepped: a context, which a whole sequence has once, or what an output was in
 * the step before. */
#include "plan.h"

#include <string.h>

static bool named(const sc_json *next)
{
    return next != NULL && next->type != SC_JSON_NULL;
}

sc_status sc_role_read(sc_builder *builder, const sc_json *entry, sc_value *value)
{
    sc_plan *plan = builder->plan;
    const sc_json *context = sc_json_get(entry, "context"), *next = sc_json_get(entry, "next");
    if ((context != NULL && context->type != SC_JSON_BOOL) || (named(next) && next->type != SC_JSON_STRING)) {
        return sc_fail(builder->error, SC_BAD_GRAPH,
                       "input '%s': context must be true or false, next the name of an output", value->name);
    }
    const bool carried = named(next);
    value->context = context != NULL && context->number != 0;
    value->next = carried ? next->string : NULL;
    if (!value->context && !carried) {
        return SC_OK;
    }
    if (value->kind != SC_DATA || (value->context && carried) || value->batch_axis != 0 ||
        (carried && value->dtype != SC_F32)) {
        return sc_fail(builder->error, SC_BAD_GRAPH,
                       "input '%s': of inputs of kind data whose batch is axis 0 one may be a context, and one of "
                       "float32 carried on (next); none is both",
                       value->name);
    }
    plan->has_contexts = plan->has_contexts || value->context;
    plan->carries = plan->carries || carried;
    return SC_OK;
}

/* Each output that an input is in the next step is there, once. Several inputs may be the same. */
static sc_status find_next(sc_builder *builder, sc_value *value)
{
    const sc_plan *plan = builder->plan;
    size_t found = 0;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        if (strcmp(plan->outputs[i].name, value->next) == 0) {
            value->next_output = i;
            found++;
        }
    }
    if (found != 1) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "input '%s' is output '%s' in the next step, and the graph has %s",
                       value->name, value->next, found == 0 ? "no such output" : "more than one of that name");
    }
    const sc_value *made = &plan->values[plan->outputs[value->next_output].value];
    return made->dtype == SC_F32
               ? SC_OK
               : sc_fail(builder->error, SC_BAD_GRAPH, "input '%s' is output '%s' in the next step, which is of int64",
                         value->name, value->next);
}

/* A context, or its mask, lies once in memory for all rows that share it, if all who read it can find it so. */
static void find_mapped(sc_plan *plan)
{
    for (size_t v = 0; v < plan->n_values; v++) {
        sc_value *value = &plan->values[v];
        value->mapped =
            value->kind == SC_MASK && value->input != SC_NONE ? plan->values[value->of].context : value->context;
        sc_value *root = &plan->values[value->root];
        root->mapped = root->mapped && value->root == v; /* no view of it */
    }
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        for (size_t i = 0; i < node->n_inputs; i++) {
            if (node->inputs[i] != SC_NONE && !(i < 32 && node->op->contexts >> i & 1)) {
                plan->values[node->inputs[i]].mapped = false;
            }
        }
    }
    for (size_t i = 0; i < plan->n_outputs; i++) {
        plan->values[plan->outputs[i].value].mapped = false;
    }
}

sc_status sc_roles_find(sc_builder *builder)
{
    sc_plan *plan = builder->plan;
    for (size_t i = 0; i < plan->n_inputs; i++) {
        sc_value *value = &plan->values[plan->inputs[i]];
        const sc_status status = value->next != NULL ? find_next(builder, value) : SC_OK;
        if (status != SC_OK) {
            return status;
        }
    }
    find_mapped(plan);
    return SC_OK;
}
