/* Executes a plan. Each worker takes a range of the batch's rows and runs the whole list of nodes for them, block by block:
 * nothing is shared between rows, so that no barrier is needed and a block's values stay in the worker's own cache.
 *
 * A workspace holds the shapes and offsets for one set of input shapes, and memory for the workers. Workspaces are pooled on
 * the plan; a call whose shapes are those of the last one neither infers nor allocates. */
#include "plan.h"
#include "threads.h"

#include <string.h>

#define BLOCK_ROWS 256                   /* rows of a block at most: past that the tiles gain nothing */
#define BLOCK_MIN_ROWS 32                /* and at least, so that weights are read for many rows at once */
#define BLOCK_BYTES ((size_t)16 << 20)   /* of a block's values, where BLOCK_MIN_ROWS allows */
#define WORK_PER_THREAD 4e5              /* multiply-adds that pay for waking one more worker: bench/threads.py */
#define IDLE_WORKSPACES 64               /* kept per plan */

struct sc_workspace {
    sc_workspace *next;
    bool ready;              /* the layout below belongs to `key` */
    size_t *key;             /* per input: present, then its dims for one row; then the block's rows */
    size_t block_rows;
    sc_shape *shapes;        /* per value, for one row */
    sc_shape *inputs;        /* of one node */
    size_t *offsets;         /* per value: bytes into a worker's memory, or SC_NONE when it lies elsewhere */
    size_t block_bytes;      /* of a worker: values, then scratch */
    size_t scratch;          /* its offset */
    size_t *ends;            /* per value: the most that these lengths can be; SC_NONE when the call has none */
    void **data;             /* per worker and value */
    size_t data_workers;
    char *memory;
    size_t memory_bytes;
};

/* What the workers of one call share. */
typedef struct call {
    const sc_plan *plan;
    const sc_array *inputs, *outputs;
    sc_workspace *space;
    size_t batch;
} call;

/* ---- The pool ------------------------------------------------------------------------------------------- */

static void workspace_free(sc_workspace *space)
{
    if (space == NULL) {
        return;
    }
    sc_aligned_free(space->key);
    sc_aligned_free(space->shapes);
    sc_aligned_free(space->inputs);
    sc_aligned_free(space->offsets);
    sc_aligned_free(space->ends);
    sc_aligned_free(space->data);
    sc_aligned_free(space->memory);
    sc_aligned_free(space);
}

void sc_workspaces_free(sc_plan *plan)
{
    while (plan->idle != NULL) {
        sc_workspace *next = plan->idle->next;
        workspace_free(plan->idle);
        plan->idle = next;
    }
}

static size_t key_size(const sc_plan *plan)
{
    return plan->n_inputs * (SC_MAX_RANK + 1) + 1;
}

static sc_workspace *workspace_new(const sc_plan *plan)
{
    sc_workspace *space = sc_aligned_alloc(sizeof *space);
    if (space == NULL) {
        return NULL;
    }
    memset(space, 0, sizeof *space);
    size_t most = 1;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        most = plan->nodes[i].n_inputs > most ? plan->nodes[i].n_inputs : most;
    }
    space->key = sc_aligned_alloc(key_size(plan) * sizeof *space->key);
    space->shapes = sc_aligned_alloc(plan->n_values * sizeof *space->shapes);
    space->inputs = sc_aligned_alloc(most * sizeof *space->inputs);
    space->offsets = sc_aligned_alloc(plan->n_values * sizeof *space->offsets);
    space->ends = sc_aligned_alloc(plan->n_values * sizeof *space->ends);
    if (space->key == NULL || space->shapes == NULL || space->inputs == NULL || space->offsets == NULL ||
        space->ends == NULL) {
        workspace_free(space);
        return NULL;
    }
    return space;
}

static sc_workspace *workspace_take(const sc_plan *plan)
{
    sc_plan *pool = (sc_plan *)plan; /* the pool is the one part of a plan that changes */
    pthread_mutex_lock(&pool->lock);
    sc_workspace *space = pool->idle;
    if (space != NULL) {
        pool->idle = space->next;
    }
    pthread_mutex_unlock(&pool->lock);
    return space != NULL ? space : workspace_new(plan);
}

static void workspace_give(const sc_plan *plan, sc_workspace *space)
{
    sc_plan *pool = (sc_plan *)plan;
    size_t idle = 0;
    pthread_mutex_lock(&pool->lock);
    for (const sc_workspace *w = pool->idle; w != NULL; w = w->next) {
        idle++;
    }
    if (idle < IDLE_WORKSPACES) {
        space->next = pool->idle;
        pool->idle = space;
        space = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    workspace_free(space);
}

/* ---- The call's shapes ------------------------------------------------------------------------------------ */

static size_t element_bytes(const sc_value *value)
{
    return value->dtype == SC_I64 ? sizeof(int64_t) : sizeof(float);
}

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

static bool same_key(const sc_plan *plan, const sc_workspace *space, const sc_array *inputs, size_t block_rows, bool write)
{
    size_t *key = space->key;
    bool same = true;
#define SC_KEY(item) \
    do { \
        const size_t item_ = (item); \
        same = same && *key == item_; \
        if (write) { \
            *key = item_; \
        } \
        key++; \
    } while (0)
    for (size_t i = 0; i < plan->n_inputs; i++) {
        SC_KEY(inputs[i].data != NULL);
        for (size_t d = 0; d < SC_MAX_RANK; d++) {
            const bool used = d < inputs[i].rank && d != plan->values[plan->inputs[i]].batch_axis && inputs[i].data != NULL;
            SC_KEY(used ? inputs[i].shape[d] : 0);
        }
    }
    SC_KEY(block_rows);
#undef SC_KEY
    return same;
}

/* Shapes of all values for one row. Products are checked here, once for all that is computed from them later: with every
 * size of 0 taken as 1, the bytes of `batch` rows must be addressable with room to spare. */
static sc_status infer_shapes(const sc_plan *plan, sc_workspace *space, const sc_array *inputs, size_t batch, sc_error *error)
{
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const size_t number = plan->inputs[i];
        space->shapes[number] = plan->shapes[number];
        if (inputs[i].data != NULL || plan->values[number].kind == SC_DATA) {
            memcpy(space->shapes[number].dim, inputs[i].shape, sizeof inputs[i].shape);
            space->shapes[number].dim[plan->values[number].batch_axis] = 1;
        }
    }
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        for (size_t i = 0; i < node->n_inputs; i++) {
            space->inputs[i] = node->inputs[i] != SC_NONE ? space->shapes[node->inputs[i]] : (sc_shape){0};
            size_t bytes = 64 * (batch > 0 ? batch : 1);
            for (size_t d = 0; d < space->inputs[i].rank; d++) {
                const size_t dim = space->inputs[i].dim[d];
                if (!sc_mul(bytes, dim > 0 ? dim : 1, &bytes)) {
                    return sc_fail(error, SC_BAD_SHAPE, "layer '%s': its input is too large", node->layer);
                }
            }
        }
        sc_shape outputs[3] = {{0}, {0}, {0}};
        const sc_status status = node->op->infer(node, space->inputs, outputs, error);
        if (status != SC_OK) {
            return status;
        }
        for (size_t i = 0; i < 3; i++) {
            if (node->outputs[i] != SC_NONE) {
                space->shapes[node->outputs[i]] = outputs[i];
            }
        }
        if (node->lengths_out != SC_NONE) {
            space->shapes[node->lengths_out] = (sc_shape){.rank = 1, .dim = {1}};
        }
    }
    return SC_OK;
}

static bool in_block_memory(const sc_plan *plan, size_t v)
{
    const sc_value *value = &plan->values[v];
    return value->producer != SC_NONE && value->root == v && value->output == SC_NONE;
}

static size_t last_node_of(const sc_value *value)
{
    return value->last_use == SC_NONE ? value->producer : value->last_use;
}

/* Gives every value that lives in block memory the lowest offset that no value alive at the same time has. */
static sc_status place_values(const sc_plan *plan, sc_workspace *space, size_t rows, sc_error *error)
{
    size_t end = 0;
    for (size_t v = 0; v < plan->n_values; v++) {
        space->offsets[v] = SC_NONE;
        if (!in_block_memory(plan, v)) {
            continue;
        }
        const sc_value *value = &plan->values[v];
        const size_t bytes = (rows * sc_shape_size(&space->shapes[v], 0) * element_bytes(value) + 63) / 64 * 64;
        size_t offset = 0;
        for (size_t u = 0; u < v; u++) {
            if (space->offsets[u] == SC_NONE || last_node_of(&plan->values[u]) < value->producer) {
                continue; /* values are numbered as they are made: u was made no later than v */
            }
            const size_t other =
                (rows * sc_shape_size(&space->shapes[u], 0) * element_bytes(&plan->values[u]) + 63) / 64 * 64;
            if (offset < space->offsets[u] + other && space->offsets[u] < offset + bytes) {
                offset = space->offsets[u] + other;
                u = SC_NONE; /* from the start again: the new place may collide with an earlier one */
            }
        }
        space->offsets[v] = offset;
        end = offset + bytes > end ? offset + bytes : end;
    }
    size_t scratch = 0;
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        for (size_t i = 0; i < node->n_inputs; i++) {
            space->inputs[i] = node->inputs[i] != SC_NONE ? space->shapes[node->inputs[i]] : (sc_shape){0};
        }
        const size_t bytes = node->op->scratch != NULL ? node->op->scratch(node, space->inputs, rows) : 0;
        scratch = bytes > scratch ? bytes : scratch;
    }
    space->scratch = end;
    space->block_rows = rows;
    return sc_add(end, scratch, &space->block_bytes) ? SC_OK : sc_fail(error, SC_BAD_SHAPE, "the inputs are too large");
}

/* Rows that a worker takes at a time. */
static size_t choose_block_rows(const sc_plan *plan, const sc_workspace *space, size_t rows)
{
    size_t per_row = 1;
    for (size_t v = 0; v < plan->n_values; v++) {
        per_row += in_block_memory(plan, v) ? sc_shape_size(&space->shapes[v], 0) * sizeof(float) : 0;
    }
    size_t most = BLOCK_BYTES / per_row;
    most = most < BLOCK_MIN_ROWS ? BLOCK_MIN_ROWS : most > BLOCK_ROWS ? BLOCK_ROWS : most;
    const size_t blocks = (rows + most - 1) / most;
    return blocks > 0 ? (rows + blocks - 1) / blocks : 0;
}

/* The layout for these inputs; `rows`: of the worker with the most. */
static sc_status prepare(const sc_plan *plan, sc_workspace *space, const sc_array *inputs, size_t batch, size_t rows,
                         sc_error *error)
{
    if (space->ready && same_key(plan, space, inputs, rows, false)) {
        return SC_OK;
    }
    space->ready = false;
    sc_status status = infer_shapes(plan, space, inputs, batch, error);
    if (status == SC_OK) {
        status = place_values(plan, space, choose_block_rows(plan, space, rows), error);
    }
    if (status == SC_OK) {
        same_key(plan, space, inputs, rows, true);
        space->ready = true;
    }
    return status;
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
        if (other && node->op->run != NULL && (i >= node->n_inputs || !lengths_fit(space, lengths, node->inputs[i]))) {
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
static sc_status check_ids(const sc_plan *plan, const sc_array *inputs, size_t batch, sc_error *error)
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
        size_t size = 1, frame = 1; /* ids of a row, and of a frame */
        for (size_t d = 1; d < input->rank; d++) {
            size *= input->shape[d];
            frame *= d > 1 ? input->shape[d] : 1;
        }
        for (size_t m = 0; m < batch; m++) {
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
            return sc_fail(error, SC_BAD_SHAPE, "output '%s' does not have the shape of the result", plan->outputs[i].name);
        }
        const size_t bytes = array_bytes(found, sizeof(float));
        if (found->data == NULL && bytes > 0) {
            return sc_fail(error, SC_BAD_ARGUMENT, "output '%s' has no memory", plan->outputs[i].name);
        }
        for (size_t k = 0; k < plan->n_inputs; k++) {
            const sc_array *input = &c->inputs[k];
            if (input->data != NULL &&
                overlap(found, bytes, input, array_bytes(input, element_bytes(&plan->values[plan->inputs[k]])))) {
                return sc_fail(error, SC_BAD_ARGUMENT, "output '%s' overlaps input '%s'", plan->outputs[i].name,
                               plan->values[plan->inputs[k]].name);
            }
        }
        for (size_t k = 0; k < i; k++) {
            if (overlap(found, bytes, &c->outputs[k], array_bytes(&c->outputs[k], sizeof(float)))) {
                return sc_fail(error, SC_BAD_ARGUMENT, "outputs '%s' and '%s' overlap", plan->outputs[k].name,
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
            base += frame->row * sc_shape_size(&space->shapes[v], 0) * element_bytes(value);
        }
        frame->data[v] = base;
    }
}

/* Outputs that do not lie where a node wrote them, and zeros past each row's end. */
static void deliver(const call *c, const sc_frame *frame)
{
    const sc_plan *plan = c->plan;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const struct sc_output *output = &plan->outputs[i];
        const sc_shape *shape = &frame->shapes[output->value];
        const size_t size = sc_shape_size(shape, 0);
        if (plan->values[output->value].batch_axis != 0 || size == 0) {
            continue;
        }
        float *y = (float *)c->outputs[i].data + frame->row * size;
        if (y != frame->data[output->value]) {
            memcpy(y, frame->data[output->value], frame->rows * size * sizeof(float));
        }
        const int64_t *lengths = output->lengths != SC_NONE ? frame->data[output->lengths] : NULL;
        for (size_t m = 0; m < frame->rows && lengths != NULL; m++) {
            const size_t step = sc_shape_size(shape, 2), n = (size_t)lengths[m];
            memset(y + m * size + n * step, 0, (shape->dim[1] - n) * step * sizeof(float));
        }
    }
}

static void run_worker(void *context, size_t worker, size_t workers)
{
    const call *c = context;
    const sc_plan *plan = c->plan;
    sc_workspace *space = c->space;
    const size_t end = (worker + 1) * c->batch / workers;
    char *memory = space->memory + worker * space->block_bytes;
    sc_frame frame = {.plan = plan,
                      .kernels = plan->kernels,
                      .batch = c->batch,
                      .shapes = space->shapes,
                      .data = space->data + worker * plan->n_values,
                      .scratch = memory + space->scratch};
    for (frame.row = worker * c->batch / workers; frame.row < end; frame.row += frame.rows) {
        frame.rows = end - frame.row < space->block_rows ? end - frame.row : space->block_rows;
        bind(c, &frame, memory);
        for (size_t n = 0; n < plan->n_nodes; n++) {
            if (plan->nodes[n].op->run != NULL) {
                plan->nodes[n].op->run(&plan->nodes[n], &frame);
            }
        }
        deliver(c, &frame);
    }
}

static sc_status reserve(const sc_plan *plan, sc_workspace *space, size_t workers, sc_error *error)
{
    size_t bytes = 0;
    if (!sc_mul(workers, space->block_bytes, &bytes)) {
        return sc_fail(error, SC_NO_MEMORY, "the inputs are too large");
    }
    if (bytes > space->memory_bytes || space->memory == NULL) {
        sc_aligned_free(space->memory);
        space->memory_bytes = 0;
        space->memory = sc_aligned_alloc(bytes);
        space->memory_bytes = space->memory != NULL ? bytes : 0;
    }
    if (workers > space->data_workers) {
        sc_aligned_free(space->data);
        space->data = sc_aligned_alloc(workers * plan->n_values * sizeof *space->data);
        space->data_workers = space->data != NULL ? workers : 0;
    }
    return space->memory != NULL && space->data != NULL
               ? SC_OK
               : sc_fail(error, SC_NO_MEMORY, "out of memory: %zu bytes of scratch", bytes);
}

/* Rows are whole to a worker, and a worker must be worth waking. */
int sc_plan_threads(const sc_plan *plan, size_t batch, size_t time)
{
    const size_t limit = (size_t)(plan->threads > 0 ? plan->threads : sc_get_num_threads());
    const double worth = plan->work * (double)batch * (double)(time > 0 ? time : 1) / WORK_PER_THREAD;
    size_t threads = limit < batch ? limit : batch;
    threads = worth < (double)threads ? (size_t)worth : threads;
    return threads < 1 ? 1 : (int)threads;
}

static size_t call_time(const sc_plan *plan, const sc_array *inputs)
{
    size_t time = 1;
    for (size_t i = 0; i < plan->n_inputs; i++) {
        const bool sequence = plan->values[plan->inputs[i]].kind == SC_DATA && inputs[i].rank > 1 &&
                              plan->shapes[plan->inputs[i]].dim[1] == SC_UNKNOWN;
        time = sequence && inputs[i].shape[1] > time ? inputs[i].shape[1] : time;
    }
    return time;
}

static sc_status run_call(call *c, sc_error *error)
{
    const sc_plan *plan = c->plan;
    const size_t threads = (size_t)sc_plan_threads(plan, c->batch, call_time(plan, c->inputs));
    sc_status status = prepare(plan, c->space, c->inputs, c->batch, (c->batch + threads - 1) / threads, error);
    if (status == SC_OK) {
        status = check_outputs(c, error);
    }
    if (status == SC_OK) {
        status = check_lengths(plan, c->inputs, c->batch, error);
    }
    if (status == SC_OK) {
        status = follow_lengths(plan, c->space, c->inputs, c->batch, error);
    }
    if (status == SC_OK) {
        status = check_ids(plan, c->inputs, c->batch, error);
    }
    if (status == SC_OK && c->batch > 0) {
        status = reserve(plan, c->space, threads, error);
        if (status == SC_OK) {
            sc_parallel((int)threads, run_worker, c);
        }
    }
    return status;
}

static sc_status begin(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, call *c, sc_error *error)
{
    if (plan == NULL || inputs == NULL || outputs == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan, inputs and outputs must not be NULL");
    }
    *c = (call){.plan = plan, .inputs = inputs, .outputs = outputs};
    const sc_status status = check_inputs(plan, inputs, &c->batch, error);
    if (status != SC_OK) {
        return status;
    }
    c->space = workspace_take(plan);
    return c->space != NULL ? SC_OK : sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
}

sc_status sc_plan_output_shapes(const sc_plan *plan, const sc_array *inputs, sc_array *outputs, sc_error *error)
{
    call c;
    sc_status status = begin(plan, inputs, outputs, &c, error);
    if (status != SC_OK) {
        return status;
    }
    const size_t threads = (size_t)sc_plan_threads(plan, c.batch, call_time(plan, inputs));
    status = prepare(plan, c.space, inputs, c.batch, (c.batch + threads - 1) / threads, error);
    for (size_t i = 0; status == SC_OK && i < plan->n_outputs; i++) {
        output_shape(plan, c.space, i, c.batch, &outputs[i]);
    }
    workspace_give(plan, c.space);
    return status;
}

sc_status sc_plan_run(const sc_plan *plan, const sc_array *inputs, const sc_array *outputs, sc_error *error)
{
    if (plan != NULL && !plan->runnable) {
        return sc_fail(error, SC_BAD_WEIGHTS, "the plan was made for shapes only and has no weights");
    }
    call c;
    sc_status status = begin(plan, inputs, outputs, &c, error);
    if (status != SC_OK) {
        return status;
    }
    status = run_call(&c, error);
    workspace_give(plan, c.space);
    return status;
}
