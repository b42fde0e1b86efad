/* What a plan tells of itself. A NULL plan has nothing. */
#include "live.h"

#include <string.h>

size_t sc_plan_inputs(const sc_plan *plan)
{
    return plan != NULL ? plan->n_inputs : 0;
}

size_t sc_plan_outputs(const sc_plan *plan)
{
    return plan != NULL ? plan->n_outputs : 0;
}

sc_dtype sc_plan_input_dtype(const sc_plan *plan, size_t input)
{
    return input < sc_plan_inputs(plan) ? plan->values[plan->inputs[input]].dtype : SC_F32;
}

sc_dtype sc_plan_output_dtype(const sc_plan *plan, size_t output)
{
    return output < sc_plan_outputs(plan) ? plan->values[plan->outputs[output].value].dtype : SC_F32;
}

const char *sc_plan_isa(const sc_plan *plan)
{
    return plan != NULL ? plan->kernels->isa : NULL;
}

size_t sc_plan_nodes(const sc_plan *plan)
{
    return plan != NULL ? plan->n_nodes : 0;
}

const char *sc_plan_node_layer(const sc_plan *plan, size_t node)
{
    return node < sc_plan_nodes(plan) ? plan->nodes[node].layer : NULL;
}

size_t sc_plan_bytes(const sc_plan *plan)
{
    return plan != NULL ? plan->bytes : 0;
}

size_t sc_plan_last_threads(const sc_plan *plan)
{
    return plan != NULL ? atomic_load_explicit(&((sc_plan *)plan)->last_threads, memory_order_relaxed) : 0;
}

static sc_info info_of(const sc_plan *plan, size_t value, const char *name)
{
    sc_info info = {.name = name, .dtype = plan->values[value].dtype, .optional = plan->values[value].kind != SC_DATA};
    info.rank = plan->shapes[value].rank;
    memcpy(info.shape, plan->shapes[value].dim, sizeof info.shape);
    info.shape[plan->values[value].batch_axis] = SC_UNKNOWN;
    return info;
}

sc_status sc_plan_input_info(const sc_plan *plan, size_t input, sc_info *info, sc_error *error)
{
    if (info == NULL || input >= sc_plan_inputs(plan)) {
        return sc_fail(error, SC_BAD_ARGUMENT, "a plan with more than %zu inputs, and an info, must be given", input);
    }
    const size_t value = plan->inputs[input];
    *info = info_of(plan, value, plan->values[value].name);
    return SC_OK;
}

sc_status sc_plan_output_info(const sc_plan *plan, size_t output, sc_info *info, sc_error *error)
{
    if (info == NULL || output >= sc_plan_outputs(plan)) {
        return sc_fail(error, SC_BAD_ARGUMENT, "a plan with more than %zu outputs, and an info, must be given", output);
    }
    *info = info_of(plan, plan->outputs[output].value, plan->outputs[output].name);
    return SC_OK;
}

sc_status sc_plan_value_shape(const sc_plan *plan, const char *value, size_t *rank, size_t shape[SC_MAX_RANK],
                              sc_error *error)
{
    if (plan == NULL || value == NULL || rank == NULL || shape == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan, value, rank and shape must not be NULL");
    }
    const size_t number = sc_plan_find(plan, value);
    if (number == SC_NONE) {
        return sc_fail(error, SC_BAD_ARGUMENT, "the graph has no value '%s'", value);
    }
    *rank = plan->shapes[number].rank;
    memcpy(shape, plan->shapes[number].dim, sizeof plan->shapes[number].dim);
    shape[plan->values[number].batch_axis] = SC_UNKNOWN;
    return SC_OK;
}

sc_status sc_plan_step_output_sizes(const sc_plan *plan, const sc_array *inputs, size_t output, sc_info *info, sc_error *error)
{
    sc_status status = sc_plan_step_output_info(plan, output, info, error);
    if (status != SC_OK || !plan->has_contexts) {
        return status;
    }
    if (inputs == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_plan_step_output_sizes: the contexts are missing");
    }
    sc_live live = {.plan = (sc_plan *)plan}; /* one row: contexts decide about sizes, not how many rows there are */
    sc_workspace *space = NULL;
    status = sc_live_make(&live, plan, "rows", 1, error);
    if (status == SC_OK) {
        status = sc_live_take(&live, &space, error);
    }
    if (status == SC_OK) {
        status = sc_live_context(&live, space, inputs, SC_UNKNOWN, error);
    }
    if (status == SC_OK) {
        *info = space->ports[output].info;
    }
    if (space != NULL) {
        sc_live_give(&live, space);
    }
    sc_live_free(&live);
    return status;
}
