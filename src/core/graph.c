/* Reads a graph into a plan: names become numbers, attributes become structs, shapes are inferred, weights are checked and packed.
 * What a node may say and mean is the op's business (ops.c, layers.c, recurrent.c). */
#include "plan.h"

#include <string.h>

#define MAX_NODES 10000 /* far past real graphs; bounds the time that a hostile one takes */

size_t sc_shape_size(const sc_shape *shape, size_t from)
{
    size_t product = 1;
    for (size_t i = from; i < shape->rank; i++) {
        if (shape->dim[i] == SC_UNKNOWN) {
            return SC_UNKNOWN;
        }
        product *= shape->dim[i];
    }
    return product;
}

sc_status sc_rank_error(const sc_node *node, const char *expected, const sc_shape *found, sc_error *error)
{
    return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): input must be %s, found %zu axes", node->layer, node->op->name,
                   expected, found->rank);
}

/* Where `name` stands in the table of names, or the empty place where it belongs: FNV-1a, open addressing. */
static size_t *name_slot(const sc_plan *plan, const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    }
    size_t slot = (size_t)hash & plan->name_mask;
    while (plan->names[slot] != 0 && strcmp(plan->values[plan->names[slot] - 1].name, name) != 0) {
        slot = (slot + 1) & plan->name_mask;
    }
    return &plan->names[slot];
}

size_t sc_plan_find(const sc_plan *plan, const char *name)
{
    return *name_slot(plan, name) - 1; /* 0, for none, becomes SC_NONE */
}

/* A new value; the array has room for all that the graph can name. */
static sc_status add_value(sc_builder *builder, const sc_json *name, sc_kind kind, sc_dtype dtype, size_t *number)
{
    sc_plan *plan = builder->plan;
    if (name == NULL || name->type != SC_JSON_STRING || name->string[0] == '\0') {
        return sc_fail(builder->error, SC_BAD_GRAPH, "a value of the graph has no name");
    }
    if (sc_plan_find(plan, name->string) != SC_NONE) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "the graph names two values '%s'", name->string);
    }
    *number = plan->n_values++;
    *name_slot(plan, name->string) = *number + 1;
    plan->values[*number] = (sc_value){.name = name->string, .kind = kind, .dtype = dtype, .input = SC_NONE,
                                       .producer = SC_NONE, .root = *number, .last_use = SC_NONE, .output = SC_NONE};
    return SC_OK;
}

/* The value that `name` names, or SC_NONE for null (when that is allowed) */
static sc_status use_value(sc_builder *builder, const char *who, const sc_json *name, bool optional, size_t *number)
{
    *number = SC_NONE;
    if (optional && (name == NULL || name->type == SC_JSON_NULL)) {
        return SC_OK;
    }
    if (name == NULL || name->type != SC_JSON_STRING) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "%s: an input is not the name of a value", who);
    }
    *number = sc_plan_find(builder->plan, name->string);
    if (*number == SC_NONE) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "%s: input '%s' is not a value that stands before it", who, name->string);
    }
    return SC_OK;
}

static sc_status read_shape(sc_builder *builder, const sc_json *entry, sc_value *value, sc_shape *shape)
{
    const sc_json *dims = sc_json_get(entry, "shape");
    const sc_json *axis = sc_json_get(entry, "batch_axis");
    if (dims == NULL || dims->type != SC_JSON_ARRAY || dims->count + 1 > SC_MAX_RANK ||
        (axis != NULL && (!sc_json_size(axis, &value->batch_axis) || value->batch_axis > dims->count))) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "input '%s': shape must be a list of at most %d sizes", value->name,
                       SC_MAX_RANK - 1);
    }
    const sc_json *dim = dims->child;
    for (size_t i = 0; i < dims->count + 1; i++) {
        if (i == value->batch_axis) {
            shape->dim[i] = 1;
            continue;
        }
        if (dim->type == SC_JSON_NULL) {
            shape->dim[i] = SC_UNKNOWN;
        } else if (!sc_json_size(dim, &shape->dim[i]) || shape->dim[i] > ((size_t)1 << 32)) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "input '%s': a size must be null or a whole number up to 2^32",
                           value->name);
        }
        dim = dim->next;
    }
    shape->rank = dims->count + 1;
    return SC_OK;
}

static sc_status read_input(sc_builder *builder, const sc_json *entry)
{
    static const char *const kinds[] = {"data", "lengths", "state", "mask", NULL};
    static const char *const dtypes[] = {"float32", "int64", NULL};
    sc_plan *plan = builder->plan;
    const sc_json *kind = sc_json_get(entry, "kind");
    const int kind_number = kind != NULL && kind->type == SC_JSON_STRING ? sc_index_of(kind->string, kinds) : -1;
    if (kind_number < 0) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "an input of the graph must be of kind data, lengths, state or mask");
    }
    const sc_json *dtype = sc_json_get(entry, "dtype");
    int dtype_number = kind_number == SC_LENGTHS ? SC_I64 : SC_F32;
    if (kind_number == SC_DATA) {
        dtype_number = dtype != NULL && dtype->type == SC_JSON_STRING ? sc_index_of(dtype->string, dtypes) : -1;
        if (dtype_number < 0) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "an input's dtype must be float32 or int64");
        }
    }
    size_t number = 0;
    sc_status status = add_value(builder, sc_json_get(entry, "name"), (sc_kind)kind_number, (sc_dtype)dtype_number, &number);
    if (status != SC_OK) {
        return status;
    }
    plan->values[number].input = plan->n_inputs;
    plan->inputs[plan->n_inputs++] = number;
    if (kind_number == SC_DATA || kind_number == SC_STATE) {
        status = read_shape(builder, entry, &plan->values[number], &plan->shapes[number]);
    }
    if (status == SC_OK) {
        status = sc_role_read(builder, entry, &plan->values[number]);
    }
    if (status != SC_OK || kind_number == SC_DATA || kind_number == SC_STATE) {
        return status;
    }
    plan->shapes[number] = (sc_shape){.rank = 1, .dim = {1}};
    size_t of = SC_NONE;
    status = use_value(builder, plan->values[number].name, sc_json_get(entry, "of"), false, &of);
    const bool foreign = status == SC_OK && (plan->values[of].kind != SC_DATA || plan->shapes[of].rank < 2);
    if (status == SC_OK && !foreign && kind_number == SC_MASK && plan->values[of].batch_axis != 0) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "mask '%s': '%s' has its batch in axis %zu, and masks are of inputs whose "
                       "batch is axis 0", plan->values[number].name, plan->values[of].name, plan->values[of].batch_axis);
    }
    if (foreign) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "%s '%s' belong to '%s', which has no time axis", kind->string,
                       plan->values[number].name, plan->values[of].name);
    }
    plan->values[number].of = of;
    if (status == SC_OK && kind_number == SC_MASK) {
        plan->shapes[number] = (sc_shape){.rank = 2, .dim = {1, plan->shapes[of].dim[1]}};
    }
    return status;
}

/* Lengths: absent, one name, or a list as long as the inputs */
static sc_status read_lengths(sc_builder *builder, sc_node *node, const sc_json *entry)
{
    const sc_json *names = sc_json_get(entry, "lengths");
    if (names == NULL || names->type == SC_JSON_NULL) {
        return SC_OK;
    }
    const bool list = names->type == SC_JSON_ARRAY;
    node->n_lengths = list ? names->count : 1;
    node->lengths = sc_plan_alloc(builder->plan, node->n_lengths, sizeof(size_t));
    if (node->lengths == NULL) {
        return sc_no_memory(builder);
    }
    const sc_json *name = list ? names->child : names;
    for (size_t i = 0; i < node->n_lengths; i++, name = name->next) {
        const sc_status status = use_value(builder, node->layer, name, true, &node->lengths[i]);
        if (status != SC_OK) {
            return status;
        }
        if (node->lengths[i] != SC_NONE && builder->plan->values[node->lengths[i]].kind != SC_LENGTHS) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s': '%s' is not a lengths value", node->layer,
                           name->string);
        }
    }
    return SC_OK;
}

/* Why a node cannot read a value as input i; NULL when it can. */
static const char *unfit(const sc_plan *plan, const sc_node *node, const sc_value *value, size_t i)
{
    const sc_op *op = node->op;
    /* A state may be absent at a call: only those who can do without may read it, and not as a mask. */
    const bool mask = i < 32 ? op->masks >> i & 1 : op->masks == UINT32_MAX;
    const bool state = op->states && !mask && (i > 0 || op->batch_in == 1);
    /* What computes has one dtype. A view reads nothing, and what carries elements takes both, but no mixture. */
    const sc_dtype wanted = op->carries ? plan->values[node->inputs[0]].dtype : op->ids ? SC_I64 : SC_F32;
    const bool fits = value->dtype == wanted || op->view || op->any_dtype || (op->one_hot && i == 0);
    if (value->kind == SC_LENGTHS || (value->dtype == SC_I64 && !fits)) {
        return "integers";
    }
    const bool kind = (value->kind == SC_STATE && !state) || (value->kind == SC_MASK && !mask);
    if (kind || !fits) {
        return "of a kind that it cannot take";
    }
    const bool several = op == &sc_op_batch_first && value->batch_axis > 0;
    return value->batch_axis != op->batch_in && !several ? "of another batch axis than it reads" : NULL;
}

static sc_status read_node_inputs(sc_builder *builder, sc_node *node, const sc_json *entry)
{
    sc_plan *plan = builder->plan;
    const sc_json *names = sc_json_get(entry, "inputs");
    node->n_inputs = names != NULL && names->type == SC_JSON_ARRAY ? names->count : 0;
    if (node->n_inputs < node->op->min_inputs || node->n_inputs > node->op->max_inputs) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): %zu inputs", node->layer, node->op->name,
                       node->n_inputs);
    }
    node->inputs = sc_plan_alloc(plan, node->n_inputs, sizeof(size_t));
    if (node->inputs == NULL) {
        return sc_no_memory(builder);
    }
    const sc_json *name = names->child;
    for (size_t i = 0; i < node->n_inputs; i++, name = name->next) {
        const sc_status status = use_value(builder, node->layer, name, i >= node->op->min_inputs, &node->inputs[i]);
        if (status != SC_OK) {
            return status;
        }
        const sc_value *value = node->inputs[i] != SC_NONE ? &plan->values[node->inputs[i]] : NULL;
        const char *why = value != NULL ? unfit(plan, node, value, i) : NULL;
        if (why != NULL) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): input '%s' is %s", node->layer, node->op->name,
                           value->name, why);
        }
    }
    return read_lengths(builder, node, entry);
}

static sc_status read_node_outputs(sc_builder *builder, sc_node *node, const sc_json *entry)
{
    sc_plan *plan = builder->plan;
    const sc_json *names = sc_json_get(entry, "outputs");
    if (names == NULL || names->type != SC_JSON_ARRAY || names->count < 1 || names->count > node->op->outputs) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): outputs must be a list of 1 to %zu names",
                       node->layer, node->op->name, node->op->outputs);
    }
    const size_t number = (size_t)(node - plan->nodes);
    const sc_json *name = names->child;
    for (size_t i = 0; i < 3; i++) {
        node->outputs[i] = SC_NONE;
        if (i >= names->count) {
            continue;
        }
        if (name->type != SC_JSON_NULL || node->op->outputs == 1) { /* an op of several checks what is wanted */
            const bool same = i == 0 && (node->op->view || node->op->carries);
            const sc_dtype own = node->op->gives_ids >> i & 1 ? SC_I64 : SC_F32;
            const sc_dtype dtype = same ? plan->values[node->inputs[0]].dtype : own;
            const sc_status status = add_value(builder, name, SC_DATA, dtype, &node->outputs[i]);
            if (status != SC_OK) {
                return status;
            }
            sc_value *value = &plan->values[node->outputs[i]];
            value->producer = number;
            value->batch_axis = node->op->batch_out;
            if (node->op->view) {
                value->root = plan->values[node->inputs[0]].root;
            }
        }
        name = name->next;
    }
    node->lengths_out = SC_NONE;
    const sc_json *lengths_out = sc_json_get(entry, "lengths_out");
    if (lengths_out == NULL || lengths_out->type == SC_JSON_NULL) {
        return SC_OK;
    }
    if (!node->op->maps_lengths || node->n_lengths != 1 || node->lengths[0] == SC_NONE) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "layer '%s' (%s): lengths_out without lengths to map", node->layer,
                       node->op->name);
    }
    const sc_status status = add_value(builder, lengths_out, SC_LENGTHS, SC_I64, &node->lengths_out);
    if (status == SC_OK) {
        plan->values[node->lengths_out].producer = number;
        plan->shapes[node->lengths_out] = (sc_shape){.rank = 1, .dim = {1}};
    }
    return status;
}

/* Infers the node's output shapes from its inputs' (already in plan->shapes). */
static sc_status infer_node(sc_builder *builder, sc_node *node, sc_shape *inputs)
{
    sc_plan *plan = builder->plan;
    for (size_t i = 0; i < node->n_inputs; i++) {
        inputs[i] = node->inputs[i] != SC_NONE ? plan->shapes[node->inputs[i]] : (sc_shape){0};
    }
    sc_shape outputs[3] = {{0}, {0}, {0}};
    const sc_status status = node->op->infer(node, inputs, outputs, builder->error);
    for (size_t i = 0; status == SC_OK && i < 3; i++) {
        if (node->outputs[i] != SC_NONE) {
            plan->shapes[node->outputs[i]] = outputs[i];
        }
    }
    return status;
}

static bool made_in(const sc_plan *plan, size_t value, size_t stage)
{
    if (value == SC_NONE) {
        return false;
    }
    const size_t producer = plan->values[plan->values[value].root].producer;
    return producer != SC_NONE && plan->nodes[producer].stage == stage;
}

/* A node that needs nothing of the stage of the node before it belongs to that stage: the two directions of a bidirectional
 * layer, branches. */
static void set_stage(sc_plan *plan, sc_node *node)
{
    node->stage = node == plan->nodes ? 0 : node[-1].stage;
    bool needs = false;
    for (size_t i = 0; i < node->n_inputs; i++) {
        needs = needs || made_in(plan, node->inputs[i], node->stage);
    }
    for (size_t i = 0; i < node->n_lengths; i++) {
        needs = needs || made_in(plan, node->lengths[i], node->stage);
    }
    node->stage += needs;
}

static sc_status read_node(sc_builder *builder, const sc_json *entry)
{
    sc_plan *plan = builder->plan;
    const sc_json *op = sc_json_get(entry, "op");
    const sc_json *layer = sc_json_get(entry, "layer");
    if (op == NULL || op->type != SC_JSON_STRING || layer == NULL || layer->type != SC_JSON_STRING) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "a node of the graph lacks 'op' or 'layer'");
    }
    sc_node *node = &plan->nodes[plan->n_nodes++];
    node->layer = layer->string;
    node->op = sc_op_find(op->string);
    node->weights = sc_json_get(entry, "weights");
    if (node->op == NULL) {
        return sc_fail(builder->error, SC_UNSUPPORTED, "layer '%s': operation '%s' is not known", node->layer, op->string);
    }
    node->refuses_lengths = node->op->refuses_lengths;
    node->divides = node->op->divides;
    sc_status status = read_node_inputs(builder, node, entry);
    if (status == SC_OK) {
        status = read_node_outputs(builder, node, entry);
    }
    if (status == SC_OK && node->op->parse != NULL) {
        status = node->op->parse(builder, node, sc_json_get(entry, "attrs"));
    }
    if (status != SC_OK) {
        return status;
    }
    node->checks_ids = node->id_rows > 0 && plan->values[plan->values[node->inputs[0]].root].input == SC_NONE;
    plan->checks_ids = plan->checks_ids || node->checks_ids;
    sc_shape *inputs = sc_plan_alloc(plan, node->n_inputs, sizeof *inputs);
    if (inputs == NULL) {
        return sc_no_memory(builder);
    }
    const double work = plan->work;
    status = infer_node(builder, node, inputs);
    if (status == SC_OK && node->op->pack != NULL) {
        status = node->op->pack(builder, node, inputs);
    }
    node->work = plan->work - work;
    node->per_frame = inputs[0].rank > (node->id_rows > 0 ? 1 : 2);
    set_stage(plan, node);
    return status;
}

static sc_status read_output(sc_builder *builder, const sc_json *entry)
{
    sc_plan *plan = builder->plan;
    struct sc_output *output = &plan->outputs[plan->n_outputs];
    const sc_json *name = sc_json_get(entry, "name");
    if (name == NULL || name->type != SC_JSON_STRING) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "an output of the graph has no name");
    }
    output->name = name->string;
    sc_status status = use_value(builder, "the graph's outputs", sc_json_get(entry, "value"), false, &output->value);
    if (status == SC_OK) {
        status = use_value(builder, "the graph's outputs", sc_json_get(entry, "lengths"), true, &output->lengths);
    }
    if (status != SC_OK) {
        return status;
    }
    const sc_value *value = &plan->values[output->value];
    if (value->kind != SC_DATA || (value->input != SC_NONE && value->batch_axis != 0) ||
        (output->lengths != SC_NONE &&
         (plan->values[output->lengths].kind != SC_LENGTHS || plan->shapes[output->value].rank < 2))) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "output '%s' cannot be an output of a graph", value->name);
    }
    if (value->batch_axis > 0 && value->output != SC_NONE) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "'%s' has its batch in axis %zu and cannot be two outputs", value->name,
                       value->batch_axis);
    }
    /* The first output of a storage that a node writes gives that node its memory; any other is copied at the end. */
    sc_value *root = &plan->values[value->root];
    if (root->producer != SC_NONE && root->output == SC_NONE) {
        root->output = plan->n_outputs;
    }
    plan->n_outputs++;
    return SC_OK;
}

/* last_use of every storage, so that memory can be used again; outputs live to the end */
static void find_last_uses(sc_plan *plan)
{
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        for (size_t i = 0; i < node->n_inputs; i++) {
            if (node->inputs[i] != SC_NONE) {
                plan->values[plan->values[node->inputs[i]].root].last_use = n;
            }
        }
        for (size_t i = 0; i < node->n_lengths; i++) {
            if (node->lengths[i] != SC_NONE) {
                plan->values[plan->values[node->lengths[i]].root].last_use = n;
            }
        }
    }
    for (size_t i = 0; i < plan->n_outputs; i++) {
        plan->values[plan->values[plan->outputs[i].value].root].last_use = plan->n_nodes;
        if (plan->outputs[i].lengths != SC_NONE) {
            plan->values[plan->values[plan->outputs[i].lengths].root].last_use = plan->n_nodes;
        }
    }
}

static sc_status list_outside(sc_builder *builder)
{
    sc_plan *plan = builder->plan;
    plan->outside = sc_plan_alloc(plan, plan->n_values, sizeof *plan->outside);
    if (plan->outside == NULL) {
        return sc_no_memory(builder);
    }
    for (int lengths_and_states = 0; lengths_and_states < 2; lengths_and_states++) {
        for (size_t v = 0; v < plan->n_values; v++) {
            const sc_value *root = &plan->values[plan->values[v].root];
            const bool outside = root->producer == SC_NONE || root->output != SC_NONE || root->kind == SC_LENGTHS;
            if (outside && (root->kind != SC_DATA) == lengths_and_states) {
                plan->outside[plan->n_outside++] = v;
                plan->n_outside_step += !lengths_and_states || plan->has_contexts; /* which may have lengths */
            }
        }
    }
    for (size_t i = 0; i < plan->n_outputs; i++) {
        plan->copies = plan->copies || plan->values[plan->values[plan->outputs[i].value].root].output != i;
    }
    return SC_OK;
}

/* The parts of a row whose batch is not axis 0 lie apart by the batch of the whole call: only the caller's memory has room for
 * that. */
static sc_status check_batch_axes(sc_builder *builder)
{
    const sc_plan *plan = builder->plan;
    for (size_t i = 0; i < plan->n_values; i++) {
        const sc_value *value = &plan->values[i];
        if (value->batch_axis > 0 && value->input == SC_NONE && value->output == SC_NONE) {
            return sc_fail(builder->error, SC_BAD_GRAPH, "'%s' has its batch in axis %zu, but is no output of the graph",
                           value->name, value->batch_axis);
        }
    }
    return SC_OK;
}

static sc_status for_each(sc_builder *builder, const sc_json *list, sc_status (*read)(sc_builder *, const sc_json *))
{
    for (const sc_json *entry = list->child; entry != NULL; entry = entry->next) {
        const sc_status status = read(builder, entry);
        if (status != SC_OK) {
            return status;
        }
    }
    return SC_OK;
}

sc_status sc_graph_read(sc_builder *builder, const sc_json *graph)
{
    sc_plan *plan = builder->plan;
    const sc_json *format = sc_json_get(graph, "format"), *version = sc_json_get(graph, "version");
    const sc_json *inputs = sc_json_get(graph, "inputs"), *nodes = sc_json_get(graph, "nodes");
    const sc_json *outputs = sc_json_get(graph, "outputs"), *sizes = sc_json_get(graph, "sizes");
    if (format == NULL || format->type != SC_JSON_STRING || strcmp(format->string, "seqcore") != 0 || version == NULL ||
        version->type != SC_JSON_NUMBER || version->number < 1) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "the graph is not of format seqcore, version 1");
    }
    if (version->number != 1) {
        return sc_fail(builder->error, SC_UNSUPPORTED, "the graph is of version %g, written for a newer seqcore; %s reads 1",
                       version->number, sc_version());
    }
    if (inputs == NULL || inputs->type != SC_JSON_ARRAY || nodes == NULL || nodes->type != SC_JSON_ARRAY ||
        outputs == NULL || outputs->type != SC_JSON_ARRAY) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "the graph lacks its lists of inputs, nodes and outputs");
    }
    if (sizes != NULL && sizes->type != SC_JSON_ARRAY) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "the graph's sizes must be a list");
    }
    const size_t rules = sizes != NULL ? sizes->count : 0;
    if (inputs->count > MAX_NODES || nodes->count > MAX_NODES || outputs->count > MAX_NODES || rules > MAX_NODES) {
        return sc_fail(builder->error, SC_BAD_GRAPH, "the graph has more than %d nodes, inputs or outputs", MAX_NODES);
    }
    const size_t values = inputs->count + 4 * nodes->count; /* three outputs and lengths_out */
    size_t names = 16;
    while (names < 2 * values) {
        names *= 2;
    }
    plan->name_mask = names - 1;
    plan->names = sc_plan_alloc(plan, names, sizeof *plan->names);
    plan->values = sc_plan_alloc(plan, values, sizeof *plan->values);
    plan->shapes = sc_plan_alloc(plan, values, sizeof *plan->shapes);
    plan->nodes = sc_plan_alloc(plan, nodes->count, sizeof *plan->nodes);
    plan->inputs = sc_plan_alloc(plan, inputs->count, sizeof *plan->inputs);
    plan->outputs = sc_plan_alloc(plan, outputs->count, sizeof *plan->outputs);
    plan->rules = sc_plan_alloc(plan, rules, sizeof *plan->rules);
    if (plan->names == NULL || plan->values == NULL || plan->shapes == NULL || plan->nodes == NULL ||
        plan->inputs == NULL || plan->outputs == NULL || plan->rules == NULL) {
        return sc_no_memory(builder);
    }
    sc_status status = for_each(builder, inputs, read_input);
    if (status == SC_OK && sizes != NULL) {
        status = for_each(builder, sizes, sc_size_rule_read);
    }
    if (status == SC_OK) {
        status = for_each(builder, nodes, read_node);
    }
    if (status == SC_OK) {
        status = for_each(builder, outputs, read_output);
    }
    if (status == SC_OK) {
        find_last_uses(plan);
        status = check_batch_axes(builder);
    }
    if (status == SC_OK) {
        status = sc_roles_find(builder);
    }
    if (status == SC_OK) {
        status = list_outside(builder);
    }
    return status;
}
