/* Executes a plan: checks the call's arguments, then each team of workers takes a range of the batch's rows and runs the
 * whole list of nodes for them, block by block. Nothing is shared between rows, so that teams never wait for each other. A
 * team is one worker unless schedule.c finds that more should share each node. Where the values lie is workspace.c's
 * business. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include "threads.h"
#include "workspace.h"

#include <string.h>
#include <time.h>

/* What the workers of one call share. */
typedef struct call {
    const sc_plan *plan;
    const sc_array *inputs, *outputs;
    sc_workspace *space;
    size_t batch;
    sc_schedule schedule;
    size_t workers;  /* that the team had */
    double *seconds; /* of each node, to be added to; NULL when nobody asks */
} call;

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
                    return sc_fail(error, SC_BAD_SHAPE, "input '%s' has a batch of %zu, the inputs before it have %zu",
                                   value->name, found->shape[d], *batch);
                }
            } else if (expected->dim[d] != SC_UNKNOWN && expected->dim[d] != found->shape[d]) {
                return sc_fail(error, SC_BAD_SHAPE, "input '%s' must have size %zu in axis %zu, found %zu", value->name,
                               expected->dim[d], d, found->shape[d]);
            }
        }
    }
    return *batch != SC_UNKNOWN ? SC_OK : sc_fail(error, SC_BAD_SHAPE, "the graph has no input with data");
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
        const size_t T = inputs[plan->values[value->of].input].shape[1];
        for (size_t m = 0; m < batch; m++) {
            if (lengths[m] < 0 || (uint64_t)lengths[m] > T) {
                return sc_fail(error, SC_BAD_SHAPE, "lengths of input '%s': row %zu has length %lld, expected 0 to %zu",
                               plan->values[value->of].name, m, (long long)lengths[m], T);
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

/* Lengths count frames of a value's second axis, one number a row of the batch: a graph from a file may claim that of any
 * value, and a kernel would believe it. */
static bool lengths_fit(const sc_workspace *space, size_t lengths, size_t value)
{
    const sc_shape *shape = &space->shapes[value];
    return shape->rank >= 2 && shape->dim[0] == 1 && shape->dim[1] == space->ends[lengths];
}

static sc_status check_node_lengths(const sc_plan *plan, const sc_workspace *space, const sc_node *node,
                                    const sc_array *inputs, size_t batch, sc_error *error)
{
    const bool given = node->n_lengths > 0 && node->lengths[0] != SC_NONE && space->ends[node->lengths[0]] != SC_NONE;
    for (size_t i = 0; i < node->n_lengths; i++) {
        const size_t lengths = node->lengths[i];
        const bool other = lengths != SC_NONE && space->ends[lengths] != SC_NONE;
        if (other && node->refuses_lengths) {
            return sc_fail(error, SC_UNSUPPORTED, "layer '%s' (%s) cannot take rows of different lengths", node->layer,
                           node->op->name);
        }
        if (other != given || (given && !same_lengths(plan, inputs, batch, node->lengths[0], lengths))) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the lengths of its inputs 1 and %zu differ",
                           node->layer, node->op->name, i + 1);
        }
        const size_t input = i < node->n_inputs ? node->inputs[i] : SC_NONE;
        if (other && node->op->run != NULL && (input == SC_NONE || !lengths_fit(space, lengths, input))) {
            return sc_fail(error, SC_BAD_SHAPE, "layer '%s' (%s): the lengths '%s' are not those of its input",
                           node->layer, node->op->name, plan->values[lengths].name);
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
            space->ends[plan->inputs[i]] = space->shapes[value->of].dim[1];
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
        if (lengths != SC_NONE && space->ends[lengths] != SC_NONE && !lengths_fit(space, lengths, plan->outputs[i].value)) {
            return sc_fail(error, SC_BAD_SHAPE, "output '%s': the lengths '%s' are not its own", plan->outputs[i].name,
                           plan->values[lengths].name);
        }
    }
    return SC_OK;
}

/* Ids travel from an input to a table through views alone, so that the input can be checked before anything runs. Ids past a
 * row's end are not read, here as in the layer. */
static sc_status check_ids(const sc_plan *plan, const sc_workspace *space, const sc_array *inputs, size_t batch,
                           sc_error *error)
{
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        if (node->op != &sc_op_embedding) {
            continue;
        }
        const sc_array *input = &inputs[plan->values[plan->values[node->inputs[0]].root].input];
        const size_t given = node->n_lengths > 0 && node->lengths[0] != SC_NONE
                                 ? plan->values[plan->values[node->lengths[0]].root].input : SC_NONE;
        const int64_t *lengths = given != SC_NONE ? inputs[given].data : NULL;
        const uint64_t rows = sc_embedding_rows(node);
        const sc_shape *shape = &space->shapes[node->inputs[0]]; /* the layer's own view of the ids */
        const size_t size = sc_shape_size(shape, 0), frame = sc_shape_size(shape, 2); /* ids of a row, and of a frame */
        for (size_t m = 0; m < batch && size > 0; m++) {
            const int64_t *ids = (const int64_t *)input->data + m * size;
            const size_t end = lengths != NULL ? (size_t)lengths[m] * frame : size;
            for (size_t i = 0; i < end; i++) {
                if ((uint64_t)ids[i] >= rows) { /* negative ones too */
                    return sc_fail(error, SC_BAD_INDEX, "layer '%s' (embedding): id %lld in row %zu, expected 0 to %llu",
                                   node->layer, (long long)ids[i], m, (unsigned long long)(rows - 1));
                }
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

static bool overlap(const sc_array *a, size_t a_bytes, const sc_array *b, size_t b_bytes)
{
    const uintptr_t first = (uintptr_t)a->data, second = (uintptr_t)b->data;
    return first < second + b_bytes && second < first + a_bytes;
}

static sc_status check_outputs(const call *c, sc_error *error)
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
        const size_t bytes = array_bytes(found, sizeof(float));
        if (found->data == NULL && bytes > 0) {
            return sc_fail(error, SC_BAD_ARGUMENT, "output '%s' has no memory", plan->outputs[i].name);
        }
        for (size_t k = 0; k < plan->n_inputs; k++) {
            const sc_array *input = &c->inputs[k];
            if (input->data != NULL &&
                overlap(found, bytes, input, array_bytes(input, sc_element_bytes(&plan->values[plan->inputs[k]])))) {
                return sc_fail(error, SC_BAD_SHAPE, "output '%s' overlaps input '%s'", plan->outputs[i].name,
                               plan->values[plan->inputs[k]].name);
            }
        }
        for (size_t k = 0; k < i; k++) {
            if (overlap(found, bytes, &c->outputs[k], array_bytes(&c->outputs[k], sizeof(float)))) {
                return sc_fail(error, SC_BAD_SHAPE, "outputs '%s' and '%s' overlap", plan->outputs[k].name,
                               plan->outputs[i].name);
            }
        }
    }
    return SC_OK;
}

/* ---- The workers --------------------------------------------------------------------------------------------- */

/* Where each value of the block's rows lies. */
static void bind(const call *c, sc_frame *frame, char *memory)
{
    const sc_plan *plan = c->plan;
    const sc_workspace *space = c->space;
    for (size_t v = 0; v < plan->n_values; v++) {
        const sc_value *value = &plan->values[v];
        char *base = NULL;
        if (value->root != v) {
            frame->data[v] = frame->data[value->root];
            continue;
        }
        if (value->kind == SC_LENGTHS && space->ends[v] == SC_NONE) {
            frame->data[v] = NULL;
            continue;
        }
        if (space->offsets[v] != SC_NONE) {
            frame->data[v] = memory + space->offsets[v];
            continue;
        }
        base = value->input != SC_NONE ? c->inputs[value->input].data : c->outputs[value->output].data;
        if (base != NULL && value->batch_axis == 0) {
            base += frame->row * sc_shape_size(&space->shapes[v], 0) * sc_element_bytes(value);
        }
        frame->data[v] = base;
    }
}

/* Outputs that do not lie where a node wrote them. */
static void copy_outputs(const call *c, const sc_frame *frame)
{
    const sc_plan *plan = c->plan;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const size_t value = plan->outputs[i].value, size = sc_shape_size(&frame->shapes[value], 0);
        float *y = (float *)c->outputs[i].data + frame->row * size;
        if (plan->values[value].batch_axis == 0 && size > 0 && y != frame->data[value]) {
            memcpy(y, frame->data[value], frame->rows * size * sizeof(float));
        }
    }
}

/* Zeros past each row's end, once nothing reads the values any more. */
static void clear_past_ends(const call *c, const sc_frame *frame)
{
    const sc_plan *plan = c->plan;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const struct sc_output *output = &plan->outputs[i];
        const int64_t *lengths = output->lengths != SC_NONE ? frame->data[output->lengths] : NULL;
        if (lengths == NULL) {
            continue;
        }
        const sc_shape *shape = &frame->shapes[output->value];
        const size_t size = sc_shape_size(shape, 0), step = sc_shape_size(shape, 2);
        for (size_t m = 0; m < frame->rows; m++) {
            const size_t n = (size_t)lengths[m];
            float *y = (float *)c->outputs[i].data + (frame->row + m) * size;
            memset(y + n * step, 0, (shape->dim[1] - n) * step * sizeof(float));
        }
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Runs the nodes [from, to) of one stage as a member of `team`, whose first member is worker `leader`: with enough nodes
 * each is one member's, with fewer than members each has several, who divide it where its op can be divided. */
static void run_stage(const call *c, sc_frame *frame, const sc_team *team, size_t leader, size_t from, size_t to)
{
    const sc_plan *plan = c->plan;
    const size_t members = team->members;
    size_t busy = 0, number = 0;
    for (size_t n = from; n < to; n++) {
        busy += plan->nodes[n].op->run != NULL;
    }
    for (size_t n = from; n < to; n++) {
        const sc_node *node = &plan->nodes[n];
        if (node->op->run == NULL) {
            continue;
        }
        size_t first = busy >= members ? number % members : number * members / busy;
        size_t count = busy >= members ? 1 : (number + 1) * members / busy - first;
        number++;
        count = node->divides ? count : 1;
        if (team->member < first || team->member >= first + count) {
            continue;
        }
        /* seats keep the largest count: that of a later stage begins above it */
        sc_seat *seats = c->space->seats + c->schedule.threads + leader;
        frame->team = (sc_team){.seats = seats + first, .member = team->member - first, .members = count,
                                .met = team->met << 32};
        frame->team_scratch = frame->scratch - frame->team.member * c->space->block_bytes;
        const double start = c->seconds != NULL ? now() : 0.0;
        node->op->run(node, frame);
        if (c->seconds != NULL) {
            c->seconds[n] += now() - start;
        }
    }
}

/* The first row of the number-th of so many teams. Rows of different lengths are dealt out by their frames, as each row's time
 * goes by these: sorted rows would leave the last team little to do. */
static size_t first_row(const call *c, size_t number, size_t teams)
{
    const int64_t *lengths = NULL;
    for (size_t i = 0; i < c->plan->n_inputs && lengths == NULL; i++) {
        lengths = c->plan->values[c->plan->inputs[i]].kind == SC_LENGTHS ? c->inputs[i].data : NULL;
    }
    if (lengths == NULL || teams == 1 || number == teams) {
        return number * c->batch / teams;
    }
    double total = 0.0, before = 0.0;
    for (size_t m = 0; m < c->batch; m++) {
        total += (double)lengths[m];
    }
    size_t row = 0;
    for (; row < c->batch && before + (double)lengths[row] / 2 < total * (double)number / (double)teams; row++) {
        before += (double)lengths[row];
    }
    return row;
}

static void run_worker(void *context, size_t worker, size_t workers)
{
    call *c = context;
    const sc_plan *plan = c->plan;
    sc_workspace *space = c->space;
    if (worker == 0) {
        c->workers = workers;
    }
    /* fewer workers than asked for cannot be those teams */
    const size_t members = workers == c->schedule.threads ? c->schedule.team : 1, teams = workers / members;
    const size_t number = worker / members, first = number * members;
    sc_team team = {.seats = space->seats + first, .member = worker - first, .members = members};
    const size_t end = first_row(c, number + 1, teams);
    char *memory = space->memory + first * space->block_bytes;
    sc_frame frame = {.plan = plan,
                      .kernels = plan->kernels,
                      .capacity = space->block_rows,
                      .batch = c->batch,
                      .turn = space->turn,
                      .shapes = space->shapes,
                      .data = space->data + worker * plan->n_values,
                      .scratch = memory + team.member * space->block_bytes + space->scratch};
    for (frame.row = first_row(c, number, teams); frame.row < end; frame.row += frame.rows) {
        frame.rows = end - frame.row < space->block_rows ? end - frame.row : space->block_rows;
        bind(c, &frame, memory);
        for (size_t n = 0, next; n < plan->n_nodes; n = next) {
            for (next = n; next < plan->n_nodes && plan->nodes[next].stage == plan->nodes[n].stage; next++) {
            }
            run_stage(c, &frame, &team, first, n, next);
            sc_meet(&team);
        }
        if (team.member == 0) {
            copy_outputs(c, &frame);
            clear_past_ends(c, &frame);
        }
        sc_meet(&team);
    }
}

size_t sc_plan_last_threads(const sc_plan *plan)
{
    return atomic_load_explicit(&plan->last_threads, memory_order_relaxed);
}

/* The frames of the longest sequence among the inputs: the second axis of features (B, T, F) and of ids (B, T). */
static size_t call_time(const sc_plan *plan, const sc_array *inputs)
{
    size_t time = 1;
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const sc_value *value = &plan->values[plan->inputs[i]];
        const bool sequence = value->kind == SC_DATA && inputs[i].rank >= (value->dtype == SC_I64 ? 2 : 3);
        time = sequence && inputs[i].shape[1] > time ? inputs[i].shape[1] : time;
    }
    return time;
}

/* Whether there is anything to compute: a batch of 2^40 rows of nothing is legal, and nothing. */
static bool any_output(const call *c)
{
    for (size_t i = 0; i < c->plan->n_outputs; i++) {
        if (array_bytes(&c->outputs[i], 1) > 0) {
            return true;
        }
    }
    return false;
}

/* The schedule of the call, which the workspace keeps: its estimate goes over all nodes. */
static sc_schedule schedule_of(const call *c)
{
    const sc_plan *plan = c->plan;
    sc_workspace *space = c->space;
    const size_t time = call_time(plan, c->inputs), limit = (size_t)sc_plan_limit(plan);
    if (space->schedule.threads == 0 || space->batch != c->batch || space->time != time || space->limit != limit) {
        space->batch = c->batch;
        space->time = time;
        space->limit = limit;
        space->schedule = sc_plan_schedule(plan, c->batch, time);
    }
    return space->schedule;
}

/* Checks the inputs' shapes, takes a workspace and lays out the call in it. The workspace is the caller's to give back. */
static sc_status begin(call *c, sc_error *error)
{
    const sc_plan *plan = c->plan;
    if (plan == NULL || c->inputs == NULL || c->outputs == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan, inputs and outputs must not be NULL");
    }
    const sc_status status = check_inputs(plan, c->inputs, &c->batch, error);
    if (status != SC_OK) {
        return status;
    }
    c->space = sc_workspace_take(plan);
    if (c->space == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
    }
    c->schedule = c->seconds != NULL ? (sc_schedule){.threads = 1, .team = 1} : schedule_of(c);
    const size_t teams = c->schedule.threads / c->schedule.team;
    return sc_workspace_prepare(plan, c->space, c->inputs, c->batch, (c->batch + teams - 1) / teams, error);
}

static void end(const call *c)
{
    if (c->space != NULL) {
        sc_workspace_give(c->plan, c->space);
    }
}

static sc_status run_call(call *c, sc_error *error)
{
    const sc_plan *plan = c->plan;
    const size_t threads = c->schedule.threads;
    sc_status status = check_outputs(c, error);
    if (status == SC_OK) {
        status = check_lengths(plan, c->inputs, c->batch, error);
    }
    if (status == SC_OK) {
        status = follow_lengths(plan, c->space, c->inputs, c->batch, error);
    }
    if (status == SC_OK) {
        status = check_ids(plan, c->space, c->inputs, c->batch, error);
    }
    if (status == SC_OK && any_output(c)) {
        status = sc_workspace_reserve(plan, c->space, threads, error);
        if (status == SC_OK) {
            c->space->turn++;
            memset(c->space->seats, 0, 2 * threads * sizeof *c->space->seats);
            sc_parallel((int)threads, run_worker, c);
            atomic_store_explicit(&((sc_plan *)plan)->last_threads, c->workers, memory_order_relaxed);
        }
    }
    return status;
}

sc_status sc_plan_output_shapes(const sc_plan *plan, const sc_array *inputs, sc_array *outputs, sc_error *error)
{
    call c = {.plan = plan, .inputs = inputs, .outputs = outputs};
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
    call c = {.plan = plan, .inputs = inputs, .outputs = outputs, .seconds = seconds};
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
