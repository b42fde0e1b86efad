/* Executes a call: each team of workers takes a range of the batch's rows and runs the whole list of nodes for them, block by
 * block. Nothing is shared between rows, so that teams never wait for each other. A team is one worker unless schedule.c
 * finds that more should share each node. Where the values lie is workspace.c's business. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include "call.h"
#include "fpmode.h"
#include "threads.h"

#include <string.h>
#include <time.h>

/* Where the values lie that have a place in the workers' memory: the same for every block, and for every call of a layout. */
static void bind_inside(const sc_call *c, void **data, char *memory)
{
    const sc_plan *plan = c->plan;
    for (size_t v = 0; v < plan->n_values; v++) {
        const size_t root = plan->values[v].root;
        const bool absent = plan->values[root].kind == SC_LENGTHS && c->space->ends[root] == SC_NONE;
        data[v] = !absent && c->space->offsets[root] != SC_NONE ? memory + c->space->offsets[root] : NULL;
    }
}

/* Where the others lie, in the caller's memory; and lengths, which a call may leave out. A step has no lengths and no initial
 * states. */
static void bind_outside(const sc_call *c, sc_frame *frame)
{
    const sc_plan *plan = c->plan;
    const size_t count = c->states != NULL ? plan->n_outside_step : plan->n_outside;
    for (size_t i = 0; i < count; i++) {
        const size_t v = plan->outside[i];
        const sc_value *value = &plan->values[v];
        const struct sc_value *root = &plan->values[value->root];
        char *base = NULL;
        if (root->input != SC_NONE) {
            base = c->inputs[root->input].data;
        } else if (root->output != SC_NONE) {
            base = c->outputs[root->output].data;
        } else { /* lengths that a node makes */
            base = frame->memory + c->space->offsets[value->root];
        }
        if (root->kind == SC_LENGTHS && c->space->ends[value->root] == SC_NONE) {
            base = NULL;
        } else if (frame->row > 0 && base != NULL && root->batch_axis == 0 && (root->input != SC_NONE || root->output != SC_NONE) &&
                   !(root->mapped && c->sources != NULL)) {
            base += frame->row * sc_shape_size(&c->space->shapes[value->root], 0) * sc_element_bytes(root);
        }
        frame->data[v] = base;
    }
}

/* Outputs that do not lie where a node wrote them. */
static void copy_outputs(const sc_call *c, const sc_frame *frame)
{
    const sc_plan *plan = c->plan;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const size_t value = plan->outputs[i].value;
        if (plan->values[plan->values[value].root].output == i) {
            continue;
        }
        const size_t size = sc_shape_size(&frame->shapes[value], 0);
        const size_t bytes = size * sc_element_bytes(&plan->values[value]);
        if (plan->values[value].batch_axis == 0 && bytes > 0) {
            memcpy((char *)c->outputs[i].data + frame->row * bytes, frame->data[value], frame->rows * bytes);
        }
    }
}

/* Zeros past each row's end in an output, of which a row has T frames of so many parts. Where the batch is axis 0 all of a row
 * lie together, and that is one part; else they lie apart by the batch of the call. */
static void clear_rows(char *y, const int64_t *lengths, const sc_frame *frame, size_t T, size_t parts, size_t bytes,
                       bool batch_first)
{
    for (size_t m = 0; m < frame->rows; m++) {
        const size_t row = frame->row + m, n = (size_t)lengths[m];
        if (batch_first) {
            memset(y + (row * T + n) * bytes, 0, (T - n) * bytes);
            continue;
        }
        for (size_t part = n * parts; part < T * parts; part++) {
            memset(y + (part * frame->batch + row) * bytes, 0, bytes);
        }
    }
}

/* The same in all outputs, once nothing reads the values any more. */
static void clear_past_ends(const sc_call *c, const sc_frame *frame)
{
    const sc_plan *plan = c->plan;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const struct sc_output *output = &plan->outputs[i];
        const int64_t *lengths = output->lengths != SC_NONE ? frame->data[output->lengths] : NULL;
        if (lengths == NULL) {
            continue;
        }
        const sc_shape *shape = &frame->shapes[output->value];
        const sc_value *value = &plan->values[output->value];
        const bool batch_first = value->batch_axis == 0;
        const size_t last = batch_first ? 1 : value->batch_axis, T = shape->dim[sc_time_axis(value)];
        const size_t bytes = sc_shape_size(shape, last + 1) * sc_element_bytes(value);
        size_t parts = 1;
        for (size_t d = 1; d < last; d++) {
            parts *= shape->dim[d];
        }
        if (bytes > 0) {
            clear_rows(c->outputs[i].data, lengths, frame, T, parts, bytes, batch_first);
        }
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void run_node(const sc_call *c, sc_frame *frame, size_t number)
{
    const sc_node *node = &c->plan->nodes[number];
    const double start = c->seconds != NULL ? now() : 0.0;
    node->op->run(node, frame);
    if (c->seconds != NULL) {
        c->seconds[number] += now() - start;
    }
}

/* Runs the nodes [from, to) of one stage as a member of `team`, whose first member is worker `leader`: with enough nodes
 * each is one member's, with fewer than members each has several, who divide it where its op can be divided. */
static void run_stage(const sc_call *c, sc_frame *frame, const sc_team *team, size_t leader, size_t from, size_t to)
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
        run_node(c, frame, n);
    }
}

/* Runs all nodes, stage by stage, as a member of `team`. */
static void run_nodes(const sc_call *c, sc_frame *frame, sc_team *team, size_t leader)
{
    const sc_plan *plan = c->plan;
    if (team->members == 1) {
        frame->team = *team;
        frame->team_scratch = frame->scratch;
        for (size_t n = 0; n < plan->n_nodes; n++) {
            const sc_node *node = &plan->nodes[n];
            if (node->op->run != NULL && c->seconds != NULL) {
                run_node(c, frame, n);
            } else if (node->op->run != NULL) {
                node->op->run(node, frame);
            }
        }
        return;
    }
    for (size_t n = 0, next; n < plan->n_nodes; n = next) {
        for (next = n; next < plan->n_nodes && plan->nodes[next].stage == plan->nodes[n].stage; next++) {
        }
        run_stage(c, frame, team, leader, n, next);
        sc_meet(team);
    }
}

/* The first row of the number-th of so many teams. Rows of different lengths are dealt out by their frames, as each row's time
 * goes by these: sorted rows would leave the last team little to do. */
static size_t first_row(const sc_call *c, size_t number, size_t teams)
{
    const int64_t *lengths = NULL;
    for (size_t i = 0; i < c->plan->n_inputs && lengths == NULL && teams > 1; i++) {
        lengths = c->plan->values[c->plan->inputs[i]].kind == SC_LENGTHS ? c->inputs[i].data : NULL;
    }
    if (lengths == NULL || number == teams) {
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

/* Everything of a worker's frame but its block. Field by field: clearing the whole first takes longer than a small step. */
static void set_up(const sc_call *c, sc_frame *frame, size_t worker, size_t first)
{
    const sc_plan *plan = c->plan;
    sc_workspace *space = c->space;
    frame->plan = plan;
    frame->kernels = plan->kernels;
    frame->capacity = space->block_rows;
    frame->batch = c->batch;
    frame->turn = space->turn;
    frame->shapes = space->shapes;
    frame->data = space->data + worker * plan->n_values;
    frame->memory = space->memory + first * space->block_bytes;
    frame->scratch = space->memory + worker * space->block_bytes + space->scratch;
    frame->states = NULL;
    frame->sources = NULL;
    frame->stray = &space->stray;
    if (worker > 0 || !space->bound) {
        bind_inside(c, frame->data, frame->memory);
    }
    if (worker == 0) {
        space->frame = *frame;
        space->bound = true;
    }
}

static void run_block(const sc_call *c, sc_frame *frame, sc_team *team, size_t leader)
{
    frame->states = c->states != NULL ? c->states + frame->row : NULL;
    frame->sources = c->sources != NULL ? c->sources + frame->row : NULL;
    bind_outside(c, frame);
    run_nodes(c, frame, team, leader);
    if (team->member == 0 && c->plan->copies) {
        copy_outputs(c, frame);
    }
    if (team->member == 0 && (c->states == NULL || c->plan->has_contexts)) {
        clear_past_ends(c, frame);
    }
    sc_meet(team);
}

static void run_worker(void *context, size_t worker, size_t workers)
{
    sc_call *c = context;
    const sc_workspace *space = c->space;
    if (worker == 0) {
        c->workers = workers;
    }
    /* fewer workers than asked for cannot be those teams */
    const size_t members = workers == c->schedule.threads ? c->schedule.team : 1, teams = workers / members;
    const size_t number = worker / members, first = number * members;
    sc_team team;
    team.seats = space->seats + first;
    team.member = worker - first;
    team.members = members;
    team.met = 0;
    sc_frame frame;
    set_up(c, &frame, worker, first);
    const size_t begin = first_row(c, number, teams), end = first_row(c, number + 1, teams);
    const size_t blocks = (end - begin + space->block_rows - 1) / space->block_rows; /* as even as they go */
    for (size_t block = 0; block < blocks; block++) {
        frame.row = begin + block * (end - begin) / blocks;
        frame.rows = begin + (block + 1) * (end - begin) / blocks - frame.row;
        run_block(c, &frame, &team, first);
    }
}

/* One worker and one block, in a workspace that has had such a call before: most steps, and many small runs. */
static void run_alone(sc_call *c)
{
    sc_frame *frame = &c->space->frame;
    sc_team team;
    team.member = 0;
    team.members = 1;
    frame->batch = frame->rows = c->batch;
    frame->row = 0;
    frame->turn = c->space->turn;
    const sc_fp_mode before = sc_enter_fp_mode();
    run_block(c, frame, &team, 0);
    sc_leave_fp_mode(before);
    c->workers = 1;
}

void sc_call_schedule(sc_call *c, size_t time)
{
    const sc_plan *plan = c->plan;
    sc_workspace *space = c->space;
    c->claimed = 0;
    c->schedule.threads = c->schedule.team = 1;
    if (c->seconds != NULL || !sc_plan_divides(plan, c->batch, time)) {
        return;
    }
    /* The choice needs to know how many threads are to be had, and what it does not take goes back. */
    const size_t limit = sc_threads_claim((size_t)sc_plan_limit(plan), plan->threads == 0);
    if (space->schedule.threads == 0 || space->batch != c->batch || space->time != time || space->limit != limit) {
        space->batch = c->batch;
        space->time = time;
        space->limit = limit;
        space->schedule = sc_plan_schedule_of(plan, c->batch, time, limit);
    }
    c->schedule = space->schedule;
    c->claimed = c->schedule.threads;
    sc_threads_release(limit - c->claimed);
}

void sc_report_id(const sc_node *node, sc_frame *frame, size_t row, int64_t id)
{
    size_t none = SC_NONE;
    const size_t number = (size_t)(node - frame->plan->nodes);
    if (atomic_compare_exchange_strong(&frame->stray->node, &none, number)) { /* who is first */
        frame->stray->row = row;
        frame->stray->id = id;
    }
}

static sc_status stray_id(const sc_call *c, sc_error *error)
{
    const sc_stray *stray = &c->space->stray;
    const sc_node *node = &c->plan->nodes[atomic_load_explicit(&((sc_stray *)stray)->node, memory_order_relaxed)];
    return sc_fail(error, SC_BAD_INDEX, "layer '%s' (%s): id %lld in row %zu, expected 0 to %zu", node->layer, node->op->name,
                   (long long)stray->id, stray->row, node->id_rows - 1);
}

sc_status sc_call_execute(sc_call *c, sc_error *error)
{
    const size_t threads = c->schedule.threads;
    atomic_size_t *stray = &c->space->stray.node;
    c->space->turn++;
    atomic_store_explicit(stray, SC_NONE, memory_order_relaxed);
    if (threads == 1 && c->space->bound && c->batch <= c->space->block_rows) {
        run_alone(c);
    } else {
        const sc_status status = sc_workspace_reserve(c->plan, c->space, threads, error);
        if (status != SC_OK) {
            return status;
        }
        if (threads > 1) {
            memset(c->space->seats, 0, 2 * threads * sizeof *c->space->seats);
        }
        sc_parallel((int)threads, run_worker, c);
    }
    atomic_store_explicit(&((sc_plan *)c->plan)->last_threads, c->workers, memory_order_relaxed);
    return atomic_load_explicit(stray, memory_order_relaxed) == SC_NONE ? SC_OK : stray_id(c, error);
}
