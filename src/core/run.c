/* A run of whole sequences: checks the call's arguments and lays it out; workers.c executes it. */
#include "call.h"

#include <string.h>

/* ---- The call's arguments ----------------------------------------------------------------------------------- */

/* Checks every input against the graph and finds the batch. */
static sc_status check_inputs(const sc_plan *plan, const sc_array *inputs, size_t *batch, sc_error *error)
{
    *batch = SC_UNKNOWN;
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const sc_value *value = &plan->values[plan->inputs[i]];
        const sc_shape *expected = &plan->shapes[plan->inputs[i]];
        const sc_array *found = &inputs[i];
        if (found->data == NULL && value->kind != SC_DATA) {
            continue;
        }
        if (found->data == NULL) {
            return sc_fail(error, SC_BAD_SHAPE, "input '%s' is missing", value->name);
        }
        if (found->rank != expected->rank) {
            return sc_fail(error, SC_BAD_SHAPE, "input '%s' must have %zu axes (batch included), found %zu", value->name,
                           expected->rank, found->rank);
        }
        for (size_t d = 0; d < found->rank; d++) {
            if (d == value->batch_axis) {
                *batch = *batch == SC_UNKNOWN ? found->shape[d] : *batch;
                if (found->shape[d] != *batch) {
                    return sc_fail(error, SC_BAD_SHAPE, "input '%s' has a batch of %zu (axis %zu), the inputs before it "
                                   "have %zu", value->name, found->shape[d], d, *batch);
                }
            } else if (expected->dim[d] != SC_UNKNOWN && expected->dim[d] != found->shape[d]) {
                return sc_fail(error, SC_BAD_SHAPE, "input '%s' must have size %zu in axis %zu, found %zu", value->name,
                               expected->dim[d], d, found->shape[d]);
            }
        }
    }
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const sc_value *value = &plan->values[plan->inputs[i]];
        if (value->kind != SC_MASK || inputs[i].data == NULL) {
            continue;
        }
        const sc_value *of = &plan->values[value->of];
        if (inputs[i].shape[1] != inputs[of->input].shape[1]) {
            return sc_fail(error, SC_BAD_SHAPE, "mask of input '%s' has %zu frames, the input has %zu", of->name,
                           inputs[i].shape[1], inputs[of->input].shape[1]);
        }
    }
    return *batch != SC_UNKNOWN ? sc_size_rules_check(plan, inputs, error)
                                : sc_fail(error, SC_BAD_SHAPE, "the graph has no input with data");
}

static void output_shape(const sc_plan *plan, const sc_workspace *space, size_t i, size_t batch, sc_array *output)
{
    const size_t value = plan->outputs[i].value;
    output->rank = space->shapes[value].rank;
    memcpy(output->shape, space->shapes[value].dim, sizeof output->shape);
    output->shape[plan->values[value].batch_axis] *= batch;
}

/* ---- The call's contents ----------------------------------------------------------------------------------- */

static sc_status check_lengths(const sc_plan *plan, const sc_array *inputs, size_t batch, sc_error *error)
{
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const sc_value *value = &plan->values[plan->inputs[i]];
        if (value->kind != SC_LENGTHS || inputs[i].data == NULL) {
            continue;
        }
        const int64_t *lengths = inputs[i].data;
        const sc_value *of = &plan->values[value->of];
        const size_t T = inputs[of->input].shape[sc_time_axis(of)];
        for (size_t m = 0; m < batch; m++) {
            if (lengths[m] < 0 || (uint64_t)lengths[m] > T) {
                return sc_fail(error, SC_BAD_SHAPE, "lengths of input '%s': row %zu has length %lld, expected 0 to %zu",
                               of->name, m, (long long)lengths[m], T);
            }
        }
    }
    return SC_OK;
}

/* Equal lengths: the same value, or two inputs with the same contents */
static bool same_lengths(const sc_plan *plan, const sc_array *inputs, size_t batch, size_t a, size_t b)
{
    const size_t first = plan->values[a].root, second = plan->values[b].root;
    if (first == second) {
        return true;
    }
    const size_t one = plan->values[first].input, other = plan->values[second].input;
    return one != SC_NONE && other != SC_NONE &&
           memcmp(inputs[one].data, inputs[other].data, batch * sizeof(int64_t)) == 0;
}

/* Lengths count frames along a value's time axis, one number a row of the batch: a graph from a file may claim that of any
 * value, and a kernel would believe it. */
static bool lengths_fit(const sc_plan *plan, const sc_workspace *space, size_t lengths, size_t value)
{
    const sc_shape *shape = &space->shapes[value];
    const sc_value *v = &plan->values[value];
    return shape->rank >= 2 && shape->dim[v->batch_axis] == 1 && shape->dim[sc_time_axis(v)] == space->ends[lengths];
}

/* An input without lengths that is there for every frame of the others, or is not there. */
static bool repeats(const sc_workspace *space, const sc_node *node, size_t i)
{
    if (!node->op->broadcasts || i >= node->n_inputs || node->lengths[i] != SC_NONE) {
        return false;
    }
    if (node->inputs[i] == SC_NONE) {
        return true;
    }
    const sc_shape *shape = &space->shapes[node->inputs[i]];
    return shape->rank < space->shapes[node->outputs[0]].rank || (shape->rank > 1 && shape->dim[1] == 1);
}

static sc_status check_node_lengths(const sc_plan *plan, const sc_workspace *space, const sc_node *node,
                                    const sc_array *inputs, size_t batch, sc_error *error)
{
    size_t first = SC_NONE;
    bool given = false;
    for (size_t i = 0; i < node->n_lengths; i++) {
        const size_t lengths = node->lengths[i], input = i < node->n_inputs ? node->inputs[i] : SC_NONE;
        const bool other = lengths != SC_NONE && space->ends[lengths] != SC_NONE;
        if (repeats(space, node, i)) {
            continue;
        }
        if (first == SC_NONE) {
            first = i;
            given = other;
        }
        if (other && node->refuses_lengths) {
            return sc_fail(error, SC_UNSUPPORTED, "layer '%s' (%s) cannot take rows of different lengths", node->layer,
                           node->op->name);
        }
        if (!node->op->lengths_apart &&
            (other != given || (given && !same_lengths(plan, inputs, batch, node->lengths[first], lengths)))) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the lengths of its inputs %zu and %zu differ",
                           node->layer, node->op->name, first + 1, i + 1);
        }
        const bool reads = node->op->run != NULL || node->lengths_out != SC_NONE;
        if (other && reads && (input == SC_NONE || !lengths_fit(plan, space, lengths, input))) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the lengths '%s' are not those of its input",
                           node->layer, node->op->name, plan->values[lengths].name);
        }
        if (other && node->op->broadcasts && space->shapes[input].rank < space->shapes[node->outputs[0]].rank) {
            return sc_fail(error, SC_UNSUPPORTED, "layer '%s' (%s): input %zu has lengths, and fewer axes than another: its "
                           "frames are not frames of the result", node->layer, node->op->name, i + 1);
        }
    }
    return SC_OK;
}

/* Which lengths this call has, and that every node can serve them. */
static sc_status follow_lengths(const sc_plan *plan, sc_workspace *space, const sc_array *inputs, size_t batch,
                                sc_error *error)
{
    for (size_t v = 0; v < plan->n_values; v++) {
        space->ends[v] = SC_NONE;
    }
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const sc_value *value = &plan->values[plan->inputs[i]];
        if (value->kind == SC_LENGTHS && inputs[i].data != NULL) {
            space->ends[plan->inputs[i]] = space->shapes[value->of].dim[sc_time_axis(&plan->values[value->of])];
        }
    }
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        const sc_status status = check_node_lengths(plan, space, node, inputs, batch, error);
        if (status != SC_OK) {
            return status;
        }
        if (node->lengths_out != SC_NONE && space->ends[node->lengths[0]] != SC_NONE) {
            space->ends[node->lengths_out] = space->shapes[node->outputs[0]].dim[1];
        }
    }
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const size_t lengths = plan->outputs[i].lengths;
        if (lengths != SC_NONE && space->ends[lengths] != SC_NONE &&
            !lengths_fit(plan, space, lengths, plan->outputs[i].value)) {
            return sc_fail(error, SC_BAD_SHAPE, "output '%s': the lengths '%s' are not its own", plan->outputs[i].name,
                           plan->values[lengths].name);
        }
    }
    return SC_OK;
}

/* How many frames of a value, `of`, have ids that a node reads: of each row, NULL for all. Frames that are folded, rows of their own,
 * end where those of the input do. */
static const int64_t *ends_of_ids(const sc_plan *plan, const sc_node *node, size_t *of, const sc_array *inputs)
{
    size_t lengths = node->n_lengths > 0 ? node->lengths[0] : SC_NONE;
    *of = node->inputs[0];
    bool folded = false;
    while (plan->values[*of].producer != SC_NONE && lengths == SC_NONE) {
        const sc_node *view = &plan->nodes[plan->values[*of].producer];
        folded = folded || view->op == &sc_op_fold;
        *of = view->inputs[0];
    }
    for (size_t i = 0; folded && i < plan->n_inputs; i++) {
        const sc_value *value = &plan->values[plan->inputs[i]];
        lengths = value->kind == SC_LENGTHS && value->of == *of ? plan->inputs[i] : lengths;
    }
    const size_t given = lengths != SC_NONE ? plan->values[plan->values[lengths].root].input : SC_NONE;
    return given != SC_NONE ? inputs[given].data : NULL;
}

/* Ids of an input that a table reads through views alone are checked before anything runs; those that an op made or moved, where
 * they are read. Ids past a row's end are not read, here as in the layer. */
sc_status sc_call_ids(const sc_plan *plan, const sc_workspace *space, const sc_array *inputs, size_t batch, bool contexts,
                      sc_error *error)
{
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        const size_t source = node->id_rows > 0 ? plan->values[plan->values[node->inputs[0]].root].input : SC_NONE;
        if (source == SC_NONE || (contexts && !plan->values[plan->inputs[source]].context)) {
            continue;
        }
        const sc_array *input = &inputs[source];
        size_t of = SC_NONE;
        const int64_t *ends = ends_of_ids(plan, node, &of, inputs);
        const sc_shape *shape = &space->shapes[of];
        const size_t size = sc_shape_size(shape, 0), frame = sc_shape_size(shape, 2); /* ids of a row, and of a frame */
        for (size_t m = 0; m < batch && size > 0; m++) {
            const int64_t *ids = (const int64_t *)input->data + m * size;
            const size_t end = ends != NULL ? (size_t)ends[m] * frame : size, bad = sc_bad_id(ids, end, node->id_rows);
            if (bad < end) {
                return sc_fail(error, SC_BAD_INDEX, "layer '%s' (%s): id %lld in row %zu, expected 0 to %zu", node->layer,
                               node->op->name, (long long)ids[bad], m, node->id_rows - 1);
            }
        }
    }
    return SC_OK;
}

static size_t array_bytes(const sc_array *array, size_t element)
{
    size_t bytes = element;
    for (size_t d = 0; d < array->rank; d++) {
        bytes *= array->shape[d];
    }
    return bytes;
}

static size_t output_element(const sc_plan *plan, size_t output)
{
    return sc_element_bytes(&plan->values[plan->outputs[output].value]);
}

static sc_status check_outputs(const sc_call *c, sc_error *error)
{
    const sc_plan *plan = c->plan;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        sc_array expected = {0};
        output_shape(plan, c->space, i, c->batch, &expected);
        const sc_array *found = &c->outputs[i];
        if (found->rank != expected.rank || memcmp(found->shape, expected.shape, expected.rank * sizeof(size_t)) != 0) {
            return sc_fail(error, SC_BAD_SHAPE, "output '%s' must have shape %s, found %s", plan->outputs[i].name,
                           sc_shape_text(expected.rank, expected.shape).text, sc_shape_text(found->rank, found->shape).text);
        }
        const size_t bytes = array_bytes(found, output_element(plan, i));
        if (found->data == NULL && bytes > 0) {
            return sc_fail(error, SC_BAD_ARGUMENT, "output '%s' has no memory", plan->outputs[i].name);
        }
        for (size_t k = 0; k < plan->n_inputs; k++) {
            const sc_array *input = &c->inputs[k];
            if (input->data != NULL &&
                sc_overlap(found->data, bytes, input->data,
                           array_bytes(input, sc_element_bytes(&plan->values[plan->inputs[k]])))) {
                return sc_fail(error, SC_BAD_SHAPE, "output '%s' overlaps input '%s'", plan->outputs[i].name,
                               plan->values[plan->inputs[k]].name);
            }
        }
        for (size_t k = 0; k < i; k++) {
            const sc_array *other = &c->outputs[k];
            if (sc_overlap(found->data, bytes, other->data, array_bytes(other, output_element(plan, k)))) {
                return sc_fail(error, SC_BAD_SHAPE, "outputs '%s' and '%s' overlap", plan->outputs[k].name,
                               plan->outputs[i].name);
            }
        }
    }
    return SC_OK;
}

/* The frames of the longest sequence among the inputs: of features (B, T, F) or (T, B, F), and of ids (B, T) or (T, B). */
static size_t call_time(const sc_plan *plan, const sc_array *inputs)
{
    size_t time = 1;
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const sc_value *value = &plan->values[plan->inputs[i]];
        const bool sequence = value->kind == SC_DATA && inputs[i].rank >= (value->dtype == SC_I64 ? 2 : 3);
        const size_t frames = sequence ? inputs[i].shape[sc_time_axis(value)] : 0;
        time = frames > time ? frames : time;
    }
    return time;
}

/* Whether there is anything to compute: a batch of 2^40 rows of nothing is legal, and nothing. */
static bool any_output(const sc_call *c)
{
    for (size_t i = 0; i < c->plan->n_outputs; i++) {
        if (array_bytes(&c->outputs[i], 1) > 0) {
            return true;
        }
    }
    return false;
}

/* Checks the inputs' shapes, takes a workspace and lays out the call in it. The workspace is the caller's to give back. */
static sc_status begin(sc_call *c, sc_error *error)
{
    const sc_plan *plan = c->plan;
    if (plan == NULL || c->inputs == NULL || c->outputs == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan, inputs and outputs must not be NULL");
    }
    const sc_status status = check_inputs(plan, c->inputs, &c->batch, error);
    if (status != SC_OK) {
        return status;
    }
    c->space = sc_workspace_take(plan, &((sc_plan *)plan)->workspaces);
    if (c->space == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
    }
    sc_call_schedule(c, call_time(plan, c->inputs));
    const size_t teams = c->schedule.threads / c->schedule.team;
    return sc_workspace_prepare(plan, c->space, c->inputs, c->batch, (c->batch + teams - 1) / teams, error);
}

static void end(const sc_call *c)
{
    if (c->space != NULL) {
        sc_call_finish(c);
        sc_workspace_give(c->plan, &((sc_plan *)c->plan)->workspaces, c->space); /* the pool is the part of a plan that changes */
    }
}

sc_status sc_call_lengths(const sc_plan *plan, sc_workspace *space, const sc_array *inputs, size_t batch, sc_error *error)
{
    const sc_status status = check_lengths(plan, inputs, batch, error);
    return status == SC_OK ? follow_lengths(plan, space, inputs, batch, error) : status;
}

static sc_status run_call(sc_call *c, sc_error *error)
{
    const sc_plan *plan = c->plan;
    sc_status status = check_outputs(c, error);
    if (status == SC_OK) {
        status = sc_call_lengths(plan, c->space, c->inputs, c->batch, error);
    }
    if (status == SC_OK) {
        status = sc_call_ids(plan, c->space, c->inputs, c->batch, false, error);
    }
    return status == SC_OK && any_output(c) ? sc_call_execute(c, error) : status;
}

sc_status sc_plan_output_shapes(const sc_plan *plan, const sc_array *inputs, sc_array *outputs, sc_error *error)
{
    sc_call c = {.plan = plan, .inputs = inputs, .outputs = outputs};
    const sc_status status = begin(&c, error);
    for (size_t i = 0; status == SC_OK && i < plan->n_outputs; i++) {
        output_shape(plan, c.space, i, c.batch, &outputs[i]);
    }
    end(&c);
    return status;
}

static sc_status run(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, double *seconds, sc_error *error)
{
    if (plan != NULL && !plan->runnable) {
        return sc_fail(error, SC_BAD_WEIGHTS, "the plan was made for shapes only and has no weights");
    }
    sc_call c = {.plan = plan, .inputs = inputs, .outputs = outputs, .seconds = seconds};
    sc_status status = begin(&c, error);
    if (status == SC_OK) {
        status = run_call(&c, error);
    }
    end(&c);
    return status;
}

sc_status sc_plan_run(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, sc_error *error)
{
    return run(plan, inputs, outputs, NULL, error);
}

sc_status sc_plan_profile(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, double *seconds,
                          sc_error *error)
{
    if (seconds == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "seconds must not be NULL");
    }
    return run(plan, inputs, outputs, seconds, error);
}
