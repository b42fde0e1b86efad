/* Rules for sizes that vary: which axes of inputs are equally long, how long, and as long as which row. Of what an exported program took for granted when
 * it was made: beyond it the network might be another one. */
#include "plan.h"

/* A rule's axes: [[input, axis], ...], batch included. */
static sc_status read_axes(sc_builder *builder, const sc_json *axes, sc_size_rule *rule)
{
    if (axes == NULL || axes->type != SC_JSON_ARRAY || axes->count < 1) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "sizes: a rule must have axes");
    }
    rule->axes = sc_plan_alloc(builder->plan, axes->count, sizeof *rule->axes);
    if (rule->axes == NULL) {
        return sc_no_memory(builder);
    }
    for (const sc_json *entry = axes->child; entry != NULL; entry = entry->next) {
        const sc_json *name = entry->type == SC_JSON_ARRAY && entry->count == 2 ? entry->child : NULL;
        sc_size_axis *at = &rule->axes[rule->n_axes++];
        at->value = name != NULL && name->type == SC_JSON_STRING ? sc_plan_find(builder->plan, name->string) : SC_NONE;
        const sc_value *value = at->value != SC_NONE ? &builder->plan->values[at->value] : NULL;
        if (value == NULL || value->kind != SC_DATA || value->input == SC_NONE || !sc_json_size(name->next, &at->axis) ||
            at->axis >= builder->plan->shapes[at->value].rank) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "sizes: a rule's axis must be the name of a data input and an axis of it");
        }
    }
    return SC_OK;
}

sc_status sc_size_rule_read(sc_builder *builder, const sc_json *entry)
{
    sc_size_rule *rule = &builder->plan->rules[builder->plan->n_rules++];
    const sc_json *least = sc_json_get(entry, "min"), *most = sc_json_get(entry, "max");
    const sc_json *multiple = sc_json_get(entry, "multiple");
    rule->most = SC_UNKNOWN;
    rule->multiple = 1;
    if ((least != NULL && !sc_json_size(least, &rule->least)) || (most != NULL && !sc_json_size(most, &rule->most)) ||
        (multiple != NULL && (!sc_json_size(multiple, &rule->multiple) || rule->multiple < 1))) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "sizes: min, max and multiple must be whole numbers");
    }
    const sc_json *longest = sc_json_get(entry, "longest");
    rule->longest = SC_NONE;
    if (longest != NULL) {
        rule->longest = longest->type == SC_JSON_STRING ? sc_plan_find(builder->plan, longest->string) : SC_NONE;
        const sc_value *value = rule->longest != SC_NONE ? &builder->plan->values[rule->longest] : NULL;
        if (value == NULL || value->kind != SC_DATA || value->input == SC_NONE || value->dtype != SC_I64 ||
            builder->plan->shapes[rule->longest].rank != 1) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "sizes: longest must be the name of an input of whole numbers (B,)");
        }
    }
    return read_axes(builder, sc_json_get(entry, "axes"), rule);
}

/* Whether the longest row is as long as the array: what lies behind it would else be frames that the program never had. */
static sc_status check_longest(const sc_plan *plan, const sc_size_rule *rule, const sc_array *inputs, size_t size, sc_error *error)
{
    const sc_value *value = &plan->values[rule->longest];
    const sc_array *array = &inputs[value->input];
    const int64_t *lengths = array->data;
    int64_t longest = -1;
    for (size_t m = 0; lengths != NULL && m < array->shape[0]; m++) {
        longest = lengths[m] > longest ? lengths[m] : longest;
    }
    if (longest < 0 || (uint64_t)longest == size) {
        return SC_OK;
    }
    const char *of = plan->values[rule->axes[0].value].name;
    return sc_fail(error, SC_BAD_SHAPE, "input '%s': the longest row has %lld, and '%s' has %zu in axis %zu: cut that to the "
                   "longest row", value->name, (long long)longest, of, size, rule->axes[0].axis);
}

sc_status sc_size_rules_check(const sc_plan *plan, const sc_array *inputs, sc_error *error)
{
    for (size_t i = 0; i < plan->n_rules; i++) {
        const sc_size_rule *rule = &plan->rules[i];
        const sc_value *first = &plan->values[rule->axes[0].value];
        const size_t size = inputs[first->input].shape[rule->axes[0].axis];
        for (size_t k = 1; k < rule->n_axes; k++) {
            const sc_value *other = &plan->values[rule->axes[k].value];
            const size_t found = inputs[other->input].shape[rule->axes[k].axis];
            if (found != size) {
                return sc_fail(error, SC_BAD_SHAPE, "input '%s' has size %zu in axis %zu, and input '%s' %zu in axis %zu: they "
                               "must be the same", first->name, size, rule->axes[0].axis, other->name, found, rule->axes[k].axis);
            }
        }
        if (size < rule->least || size > rule->most) {
            return sc_fail(error, SC_BAD_SHAPE, "input '%s' must have %s %zu in axis %zu, found %zu", first->name,
                           size < rule->least ? "at least" : "at most", size < rule->least ? rule->least : rule->most,
                           rule->axes[0].axis, size);
        }
        if (size % rule->multiple != 0) {
            return sc_fail(error, SC_BAD_SHAPE, "input '%s' must have a multiple of %zu in axis %zu, found %zu", first->name,
                           rule->multiple, rule->axes[0].axis, size);
        }
        const sc_status status = rule->longest != SC_NONE ? check_longest(plan, rule, inputs, size, error) : SC_OK;
        if (status != SC_OK) {
            return status;
        }
    }
    return SC_OK;
}
