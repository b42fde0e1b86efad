/* Workspaces: pooled on the plan, so that a call whose shapes are those of the last one neither infers nor allocates.
 *
 * A worker takes its rows in blocks that bound its memory. Within a block, values that are never alive together share
 * memory; the same offsets serve every block and every worker. */
#include "workspace.h"

#include <string.h>

#define BLOCK_ROWS 48                    /* rows of a block at most, so that their states stay in L2, */
#define BLOCK_ROWS_LARGE 256             /* ... or, with weights that come slowly, so that they are read for more rows */
#define BLOCK_MIN_ROWS 32                /* and at least, so that weights are read for many rows at once */
#define BLOCK_BYTES ((size_t)16 << 20)   /* of a block's values, where BLOCK_MIN_ROWS allows */

/* ---- The pool ------------------------------------------------------------------------------------------- */

void sc_workspace_free(const sc_allocator *allocator, sc_workspace *space)
{
    if (space == NULL) {
        return;
    }
    sc_release(allocator, space->key);
    sc_release(allocator, space->shapes);
    sc_release(allocator, space->inputs);
    sc_release(allocator, space->offsets);
    sc_release(allocator, space->live);
    sc_release(allocator, space->ends);
    sc_release(allocator, space->data);
    sc_release(allocator, space->seats);
    sc_release(allocator, space->memory);
    sc_release(allocator, space->arrays);
    sc_release(allocator, space->outputs);
    sc_release(allocator, space->ports);
    sc_release(allocator, space->side);
    sc_release(allocator, space->copies);
    sc_release(allocator, space->sources);
    sc_release(allocator, space->held);
    sc_release(allocator, space->states);
    sc_release(allocator, space->before);
    sc_release(allocator, space);
}

void sc_workspaces_free(const sc_plan *plan, sc_workspaces *pool)
{
    for (size_t i = 0; i < SC_IDLE_WORKSPACES; i++) {
        sc_workspace_free(&plan->allocator, atomic_load(&pool->idle[i]));
    }
}

static size_t key_size(const sc_plan *plan)
{
    return plan->n_inputs * (SC_MAX_RANK + 1) + 1;
}

static sc_workspace *workspace_new(const sc_plan *plan)
{
    const sc_allocator *allocator = &plan->allocator;
    sc_workspace *space = sc_allocate_zeros(allocator, 1, sizeof *space);
    if (space == NULL) {
        return NULL;
    }
    size_t most = 1;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        most = plan->nodes[i].n_inputs > most ? plan->nodes[i].n_inputs : most;
    }
    space->key = sc_allocate(allocator, key_size(plan) * sizeof *space->key);
    space->shapes = sc_allocate(allocator, plan->n_values * sizeof *space->shapes);
    space->inputs = sc_allocate(allocator, most * sizeof *space->inputs);
    space->offsets = sc_allocate(allocator, plan->n_values * sizeof *space->offsets);
    space->live = sc_allocate(allocator, plan->n_values * sizeof *space->live);
    space->ends = sc_allocate(allocator, plan->n_values * sizeof *space->ends);
    if (space->key == NULL || space->shapes == NULL || space->inputs == NULL || space->offsets == NULL ||
        space->ends == NULL || space->live == NULL) {
        sc_workspace_free(allocator, space);
        return NULL;
    }
    return space;
}

/* Places that are taken and given by one exchange: no lock, which a process forked from the middle of a call would find held
 * for ever. */
sc_workspace *sc_workspace_take(const sc_plan *plan, sc_workspaces *pool)
{
    for (size_t i = 0; i < SC_IDLE_WORKSPACES; i++) {
        if (atomic_load_explicit(&pool->idle[i], memory_order_relaxed) != NULL) {
            sc_workspace *space = atomic_exchange_explicit(&pool->idle[i], NULL, memory_order_acquire);
            if (space != NULL) {
                return space;
            }
        }
    }
    return workspace_new(plan);
}

void sc_workspace_give(const sc_plan *plan, sc_workspaces *pool, sc_workspace *space)
{
    for (size_t i = 0; i < SC_IDLE_WORKSPACES; i++) {
        sc_workspace *none = NULL;
        if (atomic_load_explicit(&pool->idle[i], memory_order_relaxed) == NULL &&
            atomic_compare_exchange_strong_explicit(&pool->idle[i], &none, space, memory_order_release,
                                                    memory_order_relaxed)) {
            return;
        }
    }
    sc_workspace_free(&plan->allocator, space);
}

/* ---- Shapes and places ------------------------------------------------------------------------------------- */

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

/* The values of `batch` rows, with every size of 0 taken as 1, must be far from what a size_t can address: products
 * with gates and lanes, and sums over all values, are then safe. */
static bool addressable(const sc_shape *shape, size_t batch)
{
    size_t product = batch > 0 ? batch : 1;
    for (size_t d = 0; d < shape->rank; d++) {
        if (!sc_mul(product, shape->dim[d] > 0 ? shape->dim[d] : 1, &product)) {
            return false;
        }
    }
    return product <= (size_t)1 << 44;
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
        if (plan->values[number].kind == SC_MASK) { /* also when it is absent; what it is about stands before it */
            space->shapes[number].dim[1] = space->shapes[plan->values[number].of].dim[1];
        }
    }
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        for (size_t i = 0; i < node->n_inputs; i++) {
            space->inputs[i] = node->inputs[i] != SC_NONE ? space->shapes[node->inputs[i]] : (sc_shape){0};
            if (!addressable(&space->inputs[i], batch)) {
                return sc_fail(error, SC_BAD_SHAPE, "layer '%s': its input is too large", node->layer);
            }
        }
        sc_shape outputs[3] = {{0}, {0}, {0}};
        const sc_status status = node->op->infer(node, space->inputs, outputs, error);
        if (status != SC_OK) {
            return status;
        }
        for (size_t i = 0; i < 3; i++) {
            if (!addressable(&outputs[i], batch)) {
                return sc_fail(error, SC_BAD_SHAPE, "layer '%s': its output is too large", node->layer);
            }
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

/* Nodes of one stage may run at the same time: what one of them reads, another must not overwrite. */
static bool dead_before(const sc_plan *plan, const sc_value *value, size_t node)
{
    const size_t last = value->last_use == SC_NONE ? value->producer : value->last_use;
    return last < plan->n_nodes && plan->nodes[last].stage < plan->nodes[node].stage;
}

static size_t bytes_of(const sc_plan *plan, const sc_workspace *space, size_t v, size_t rows)
{
    return (rows * sc_shape_size(&space->shapes[v], 0) * sc_element_bytes(&plan->values[v]) + 63) / 64 * 64;
}

/* Gives every value that lives in block memory the lowest offset that no value alive at the same time has. `live` lists
 * the values that are alive, by offset: one pass per value. */
static sc_status place_values(const sc_plan *plan, sc_workspace *space, size_t rows, sc_error *error)
{
    size_t end = 0, n_live = 0, *live = space->live;
    for (size_t v = 0; v < plan->n_values; v++) {
        space->offsets[v] = SC_NONE;
        if (!in_block_memory(plan, v)) {
            continue;
        }
        const size_t bytes = bytes_of(plan, space, v, rows);
        size_t offset = 0, place = 0, kept = 0;
        bool found = false;
        for (size_t i = 0; i < n_live; i++) {
            const size_t u = live[i];
            if (dead_before(plan, &plan->values[u], plan->values[v].producer)) {
                continue; /* values are numbered as they are made: nothing later needs u */
            }
            live[kept++] = u;
            if (!found && offset + bytes <= space->offsets[u]) {
                found = true;
                place = kept - 1;
            } else if (!found) {
                const size_t after = space->offsets[u] + bytes_of(plan, space, u, rows);
                offset = after > offset ? after : offset;
            }
        }
        place = found ? place : kept;
        memmove(live + place + 1, live + place, (kept - place) * sizeof *live);
        live[place] = v;
        n_live = kept + 1;
        space->offsets[v] = offset;
        end = offset + bytes > end ? offset + bytes : end;
    }
    size_t scratch = 0;
    for (size_t n = 0; n < plan->n_nodes; n++) {
        const sc_node *node = &plan->nodes[n];
        for (size_t i = 0; i < node->n_inputs; i++) {
            space->inputs[i] = node->inputs[i] != SC_NONE ? space->shapes[node->inputs[i]] : (sc_shape){0};
        }
        const bool asks = node->op->scratch != NULL && plan->runnable; /* without weights its sizes are not known */
        const size_t bytes = asks ? node->op->scratch(node, space->inputs, rows) : 0;
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
        per_row += in_block_memory(plan, v) ? sc_shape_size(&space->shapes[v], 0) * sc_element_bytes(&plan->values[v]) : 0;
    }
    const size_t limit = plan->bytes > SC_LARGE_WEIGHTS ? BLOCK_ROWS_LARGE : BLOCK_ROWS;
    size_t most = BLOCK_BYTES / per_row;
    most = most < BLOCK_MIN_ROWS ? BLOCK_MIN_ROWS : most > limit ? limit : most;
    const size_t blocks = (rows + most - 1) / most;
    return blocks > 0 ? (rows + blocks - 1) / blocks : 0;
}

sc_status sc_workspace_prepare(const sc_plan *plan, sc_workspace *space, const sc_array *inputs, size_t batch, size_t rows,
                         sc_error *error)
{
    if (space->ready && same_key(plan, space, inputs, rows, false)) {
        return SC_OK;
    }
    space->ready = space->bound = false;
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

sc_status sc_workspace_reserve(const sc_plan *plan, sc_workspace *space, size_t workers, sc_error *error)
{
    size_t bytes = 0;
    if (!sc_mul(workers, space->block_bytes, &bytes)) {
        return sc_fail(error, SC_NO_MEMORY, "the inputs are too large");
    }
    const sc_allocator *allocator = &plan->allocator;
    if (bytes > space->memory_bytes || space->memory == NULL) {
        sc_release(allocator, space->memory);
        space->memory_bytes = 0;
        space->memory = sc_allocate(allocator, bytes);
        space->memory_bytes = space->memory != NULL ? bytes : 0;
        space->bound = false;
    }
    if (workers > space->data_workers) {
        sc_release(allocator, space->data);
        sc_release(allocator, space->seats);
        space->data = sc_allocate(allocator, workers * plan->n_values * sizeof *space->data);
        space->seats = sc_allocate(allocator, 2 * workers * sizeof *space->seats);
        space->bound = false;
        space->data_workers = space->data != NULL && space->seats != NULL ? workers : 0;
    }
    return space->memory != NULL && space->data_workers > 0
               ? SC_OK
               : sc_fail(error, SC_NO_MEMORY, "out of memory: %zu bytes of scratch", bytes);
}
