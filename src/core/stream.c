/* Streams and pools: rows that keep their state from one frame to the next.
 *
 * Both are rows of memory (step->row_bytes each, zeros at the start) and workspaces that are laid out for single frames. A
 * step points every row at its state; nothing is copied together or apart. A stream belongs to one call at a time, and so does
 * each row of a pool: who finds it taken gets SC_BUSY, so that nobody ever waits and a fork finds no lock held. */
#include "call.h"
#include "state.h"

#include <string.h>

#define MOST_ROWS ((size_t)1 << 31)

/* ---- Rows ----------------------------------------------------------------------------------------------------- */

typedef struct live_rows {
    sc_plan *plan;
    size_t count;
    size_t alone; /* rows whose step one thread takes, whatever else happens */
    char *memory;
    sc_workspaces workspaces;
} live_rows;

static char *row_of(const live_rows *r, size_t row)
{
    return r->memory + row * r->plan->step->row_bytes;
}

/* Room in a workspace for what a step needs beside it, and its layout, which serves any number of these rows. */
static sc_status prepare(const live_rows *r, sc_workspace *space, sc_error *error)
{
    const sc_plan *plan = r->plan;
    space->arrays = sc_allocate(&plan->allocator, plan->n_inputs * sizeof *space->arrays);
    space->states = sc_allocate(&plan->allocator, r->count * sizeof *space->states);
    if (space->arrays == NULL || space->states == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
    }
    memcpy(space->arrays, plan->step->arrays, plan->n_inputs * sizeof *space->arrays);
    for (size_t i = 0; i < plan->step->n_inputs; i++) {
        space->arrays[plan->step->inputs[i].place].data = space; /* present; each step says where */
    }
    for (size_t v = 0; v < plan->n_values; v++) {
        space->ends[v] = SC_NONE; /* a step has no lengths */
    }
    sc_call c = {.plan = plan, .inputs = space->arrays, .space = space, .batch = r->count};
    sc_status status = sc_workspace_prepare(plan, space, c.inputs, c.batch, c.batch, error);
    if (status == SC_OK) {
        sc_call_schedule(&c, 1);
        status = sc_workspace_reserve(plan, space, c.schedule.threads, error);
        sc_call_finish(&c);
    }
    return status;
}

static sc_status take(live_rows *r, sc_workspace **space, sc_error *error)
{
    *space = sc_workspace_take(r->plan, &r->workspaces);
    if (*space == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a workspace");
    }
    const sc_status status = (*space)->states == NULL ? prepare(r, *space, error) : SC_OK;
    if (status != SC_OK) {
        sc_workspace_free(&r->plan->allocator, *space);
    }
    return status;
}

static void give(live_rows *r, sc_workspace *space)
{
    sc_workspace_give(r->plan, &r->workspaces, space);
}

/* After a failure too, rows_free takes back what there is. */
static sc_status rows_make(live_rows *r, const sc_plan *plan, const char *what, size_t count, sc_error *error)
{
    r->plan = (sc_plan *)plan; /* only the count of its users changes */
    sc_status status = sc_plan_check_step(plan, error);
    if (status != SC_OK) {
        return status;
    }
    if (count < 1 || count > MOST_ROWS) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s must be from 1 to %zu, found %zu", what, MOST_ROWS, count);
    }
    r->count = count;
    r->alone = sc_plan_rows_alone(plan, 1);
    r->memory = sc_allocate_zeros(&plan->allocator, count, plan->step->row_bytes);
    if (r->memory == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for the state of %zu rows", count);
    }
    sc_workspace *space;
    status = take(r, &space, error);
    if (status == SC_OK) {
        give(r, space); /* a first step then finds one */
    }
    return status;
}

static void rows_free(live_rows *r)
{
    sc_workspaces_free(r->plan, &r->workspaces);
    sc_release(&r->plan->allocator, r->memory);
}

/* ---- A step ----------------------------------------------------------------------------------------------------- */

static sc_status wrong_array(const char *what, const sc_port *port, const sc_array *found, size_t rows, sc_error *error)
{
    sc_info info = port->info;
    info.shape[port->batch_axis] = rows;
    if (found->rank == info.rank && memcmp(found->shape, info.shape, info.rank * sizeof(size_t)) == 0) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s '%s' of a step has no memory", what, info.name);
    }
    return sc_fail(error, SC_BAD_SHAPE, "%s '%s' of a step must have shape %s, found %s", what, info.name,
                   sc_shape_text(info.rank, info.shape).text, sc_shape_text(found->rank, found->shape).text);
}

static bool fits(const sc_port *port, const sc_array *found, size_t rows)
{
    bool same = found->rank == port->info.rank && (found->data != NULL || rows == 0);
    for (size_t d = 0; same && d < port->info.rank; d++) {
        same = found->shape[d] == (d == port->batch_axis ? rows : port->info.shape[d]);
    }
    return same;
}

static sc_status check_arrays(const sc_step_plan *step, size_t rows, const sc_array *inputs, const sc_array *outputs,
                              sc_error *error)
{
    for (size_t i = 0; i < step->n_inputs; i++) {
        const sc_port *port = &step->inputs[i];
        if (!fits(port, &inputs[i], rows)) {
            return wrong_array("input", port, &inputs[i], rows, error);
        }
        if (port->table_rows != SC_NONE) {
            const size_t count = rows * (port->row_bytes / sizeof(int64_t));
            const size_t bad = sc_bad_id(inputs[i].data, count, port->table_rows);
            if (bad < count) {
                return sc_fail(error, SC_BAD_INDEX, "input '%s': id %lld in row %zu, expected 0 to %zu", port->info.name,
                               (long long)((const int64_t *)inputs[i].data)[bad], bad * rows / count, port->table_rows - 1);
            }
        }
    }
    for (size_t i = 0; i < step->n_outputs; i++) {
        const sc_port *port = &step->outputs[i];
        if (!fits(port, &outputs[i], rows)) {
            return wrong_array("output", port, &outputs[i], rows, error);
        }
        for (size_t k = 0; k < step->n_inputs; k++) {
            if (sc_overlap(outputs[i].data, rows * port->row_bytes, inputs[k].data, rows * step->inputs[k].row_bytes)) {
                return sc_fail(error, SC_BAD_SHAPE, "output '%s' overlaps input '%s'", port->info.name,
                               step->inputs[k].info.name);
            }
        }
        for (size_t k = 0; k < i; k++) {
            if (sc_overlap(outputs[i].data, rows * port->row_bytes, outputs[k].data, rows * step->outputs[k].row_bytes)) {
                return sc_fail(error, SC_BAD_SHAPE, "outputs '%s' and '%s' overlap", step->outputs[k].info.name,
                               port->info.name);
            }
        }
    }
    return SC_OK;
}

/* One frame of the rows at `states`, with a workspace of theirs. The arrays have been checked. */
static sc_status step_rows(const live_rows *r, sc_workspace *space, char **states, size_t rows, const sc_array *inputs,
                           const sc_array *outputs, sc_error *error)
{
    const sc_step_plan *step = r->plan->step;
    for (size_t i = 0; i < step->n_inputs; i++) {
        space->arrays[step->inputs[i].place].data = inputs[i].data;
    }
    sc_call c;
    c.plan = r->plan;
    c.inputs = space->arrays;
    c.outputs = outputs;
    c.states = states;
    c.space = space;
    c.batch = rows;
    c.seconds = NULL;
    c.claimed = 0;
    c.schedule.threads = c.schedule.team = 1;
    if (rows > r->alone) {
        sc_call_schedule(&c, 1);
    }
    const sc_status status = sc_call_execute(&c, error);
    sc_call_finish(&c);
    return status;
}

/* ---- Streams ------------------------------------------------------------------------------------------------------ */

struct sc_stream {
    live_rows rows;
    sc_workspace *space;
    atomic_bool busy;
};

sc_status sc_stream_create(const sc_plan *plan, size_t rows, sc_stream **result, sc_error *error)
{
    if (plan == NULL || result == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_stream_create: plan and stream must not be NULL");
    }
    *result = NULL;
    sc_stream *stream = sc_allocate_zeros(&plan->allocator, 1, sizeof *stream);
    if (stream == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a stream");
    }
    sc_status status = rows_make(&stream->rows, plan, "the rows of a stream", rows, error);
    if (status != SC_OK) {
        rows_free(&stream->rows);
        sc_release(&plan->allocator, stream);
        return status;
    }
    stream->space = sc_workspace_take(plan, &stream->rows.workspaces); /* the one that was made ready */
    for (size_t m = 0; m < rows; m++) {
        stream->space->states[m] = row_of(&stream->rows, m);
        sc_state_begin(plan, stream->space->states[m]);
    }
    atomic_fetch_add(&stream->rows.plan->users, 1);
    *result = stream;
    return SC_OK;
}

void sc_stream_free(sc_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    sc_plan *plan = stream->rows.plan;
    give(&stream->rows, stream->space);
    rows_free(&stream->rows);
    sc_release(&plan->allocator, stream);
    sc_plan_free(plan);
}

size_t sc_stream_rows(const sc_stream *stream)
{
    return stream != NULL ? stream->rows.count : 0;
}

static sc_status begin(sc_stream *stream, sc_error *error)
{
    if (stream == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "stream must not be NULL");
    }
    return atomic_exchange_explicit(&stream->busy, true, memory_order_acquire)
               ? sc_fail(error, SC_BUSY, "another thread is using the stream")
               : SC_OK;
}

static void end(sc_stream *stream)
{
    atomic_store_explicit(&stream->busy, false, memory_order_release);
}

sc_status sc_stream_step(sc_stream *stream, const sc_array *inputs, const sc_array *outputs, sc_error *error)
{
    sc_status status = begin(stream, error);
    if (status != SC_OK) {
        return status;
    }
    const live_rows *r = &stream->rows;
    if (inputs == NULL || outputs == NULL) {
        status = sc_fail(error, SC_BAD_ARGUMENT, "inputs and outputs must not be NULL");
    } else {
        status = check_arrays(r->plan->step, r->count, inputs, outputs, error);
    }
    if (status == SC_OK) {
        status = step_rows(r, stream->space, stream->space->states, r->count, inputs, outputs, error);
    }
    end(stream);
    return status;
}

sc_status sc_stream_reset(sc_stream *stream, sc_error *error)
{
    const sc_status status = begin(stream, error);
    if (status == SC_OK) {
        sc_state_reset(stream->rows.plan, stream->space->states, stream->rows.count);
        end(stream);
    }
    return status;
}

/* What follows does one thing with the state while the stream is this call's. */
#define WITH_STREAM(call) \
    sc_status status = begin(stream, error); \
    if (status == SC_OK) { \
        const sc_plan *plan = stream->rows.plan; \
        char *const *rows = stream->space->states; \
        const size_t count = stream->rows.count; \
        status = call; \
        end(stream); \
    } \
    return status

sc_status sc_stream_get_state(sc_stream *stream, size_t state, const sc_array *to, sc_error *error)
{
    WITH_STREAM(sc_state_get(plan, rows, count, state, to, error));
}

sc_status sc_stream_set_state(sc_stream *stream, size_t state, const sc_array *from, sc_error *error)
{
    WITH_STREAM(sc_state_set(plan, rows, count, state, from, error));
}

sc_status sc_stream_save(sc_stream *stream, void *to, size_t size, sc_error *error)
{
    WITH_STREAM(sc_state_save(plan, rows, count, to, size, error));
}

sc_status sc_stream_load(sc_stream *stream, const void *from, size_t size, sc_error *error)
{
    WITH_STREAM(sc_state_load(plan, rows, count, from, size, error));
}

/* ---- Pools -------------------------------------------------------------------------------------------------------- */

/* A place is a generation, counted up when a stream is opened in it, and what becomes of it now. A stream's id is the
 * generation and the place's number, so that the id of a closed one fits no place. */
enum { PLACE_FREE, PLACE_OPEN, PLACE_BUSY };

struct sc_pool {
    live_rows rows;
    _Atomic uint64_t *places;
    atomic_size_t count;  /* that are open, or being opened */
    atomic_size_t next;   /* where a free place may be */
    atomic_size_t closed; /* so far; counted after the place is free, and before `count` says so */
};

static uint64_t place_value(uint64_t generation, unsigned what)
{
    return generation << 32 | what;
}

sc_status sc_pool_create(const sc_plan *plan, size_t capacity, sc_pool **result, sc_error *error)
{
    if (plan == NULL || result == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_pool_create: plan and pool must not be NULL");
    }
    *result = NULL;
    sc_pool *pool = sc_allocate_zeros(&plan->allocator, 1, sizeof *pool);
    if (pool == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a pool");
    }
    sc_status status = rows_make(&pool->rows, plan, "the capacity of a pool", capacity, error);
    if (status == SC_OK) {
        pool->places = sc_allocate_zeros(&plan->allocator, capacity, sizeof *pool->places);
        status = pool->places != NULL ? SC_OK : sc_fail(error, SC_NO_MEMORY, "out of memory for %zu streams", capacity);
    }
    if (status != SC_OK) {
        rows_free(&pool->rows);
        sc_release(&plan->allocator, pool);
        return status;
    }
    atomic_fetch_add(&pool->rows.plan->users, 1);
    *result = pool;
    return SC_OK;
}

void sc_pool_free(sc_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    sc_plan *plan = pool->rows.plan;
    rows_free(&pool->rows);
    sc_release(&plan->allocator, (void *)pool->places);
    sc_release(&plan->allocator, pool);
    sc_plan_free(plan);
}

size_t sc_pool_capacity(const sc_pool *pool)
{
    return pool != NULL ? pool->rows.count : 0;
}

size_t sc_pool_count(const sc_pool *pool)
{
    return pool != NULL ? atomic_load(&((sc_pool *)pool)->count) : 0;
}

/* Takes a free place: its number, or SC_NONE. */
static size_t take_place(sc_pool *pool, uint64_t *generation)
{
    const size_t capacity = pool->rows.count, from = atomic_fetch_add(&pool->next, 1);
    size_t closed;
    do {
        closed = atomic_load(&pool->closed);
        for (size_t i = 0; i < capacity; i++) {
            const size_t place = (from + i) % capacity;
            uint64_t found = atomic_load_explicit(&pool->places[place], memory_order_acquire);
            *generation = (found >> 32) + 1;
            if ((unsigned)found == PLACE_FREE && *generation <= UINT32_MAX && /* else its ids are used up */
                atomic_compare_exchange_strong(&pool->places[place], &found, place_value(*generation, PLACE_BUSY))) {
                return place;
            }
        }
    } while (atomic_load(&pool->closed) != closed); /* what was closed behind the search, it has not seen */
    return SC_NONE;
}

sc_status sc_pool_open(sc_pool *pool, sc_stream_id *id, sc_error *error)
{
    if (pool == NULL || id == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "pool and id must not be NULL");
    }
    const size_t capacity = pool->rows.count;
    size_t count = atomic_load(&pool->count);
    while (count < capacity && !atomic_compare_exchange_weak(&pool->count, &count, count + 1)) {
    }
    uint64_t generation = 0;
    const size_t place = count < capacity ? take_place(pool, &generation) : SC_NONE;
    if (place == SC_NONE) {
        if (count < capacity) {
            atomic_fetch_sub(&pool->count, 1);
        }
        return sc_fail(error, SC_FULL, "the pool has no room for another stream: its capacity is %zu", capacity);
    }
    char *row = row_of(&pool->rows, place);
    sc_state_reset(pool->rows.plan, &row, 1);
    atomic_store_explicit(&pool->places[place], place_value(generation, PLACE_OPEN), memory_order_release);
    *id = generation << 32 | (place + 1);
    return SC_OK;
}

/* Makes a stream this call's. */
static sc_status claim(sc_pool *pool, sc_stream_id id, sc_error *error)
{
    const uint64_t generation = id >> 32, number = id & UINT32_MAX;
    if (generation > 0 && number > 0 && number <= pool->rows.count) {
        uint64_t found = place_value(generation, PLACE_OPEN);
        if (atomic_compare_exchange_strong_explicit(&pool->places[number - 1], &found, place_value(generation, PLACE_BUSY),
                                                    memory_order_acquire, memory_order_relaxed)) {
            return SC_OK;
        }
        if (found == place_value(generation, PLACE_BUSY)) {
            return sc_fail(error, SC_BUSY, "stream %llu is in use by another call, or stands twice in this one",
                           (unsigned long long)id);
        }
    }
    return sc_fail(error, SC_BAD_STREAM, "the pool has no stream %llu: it was closed, or never opened", (unsigned long long)id);
}

static void let_go(sc_pool *pool, sc_stream_id id, unsigned what)
{
    atomic_store_explicit(&pool->places[(id & UINT32_MAX) - 1], place_value(id >> 32, what), memory_order_release);
}

static sc_status claim_one(sc_pool *pool, sc_stream_id id, sc_error *error)
{
    return pool != NULL ? claim(pool, id, error) : sc_fail(error, SC_BAD_ARGUMENT, "pool must not be NULL");
}

static char *row_of_stream(const sc_pool *pool, sc_stream_id id)
{
    return row_of(&pool->rows, (id & UINT32_MAX) - 1);
}

sc_status sc_pool_close(sc_pool *pool, sc_stream_id id, sc_error *error)
{
    const sc_status status = claim_one(pool, id, error);
    if (status == SC_OK) {
        let_go(pool, id, PLACE_FREE);
        atomic_fetch_add(&pool->closed, 1);
        atomic_fetch_sub(&pool->count, 1);
    }
    return status;
}

/* The streams are let go by their ids, after the outputs have been written. */
static sc_status check_ids_apart(const sc_step_plan *step, const sc_stream_id *ids, size_t count, const sc_array *outputs,
                                 sc_error *error)
{
    for (size_t i = 0; i < step->n_outputs; i++) {
        if (sc_overlap(outputs[i].data, count * step->outputs[i].row_bytes, ids, count * sizeof *ids)) {
            return sc_fail(error, SC_BAD_SHAPE, "output '%s' overlaps the ids", step->outputs[i].info.name);
        }
    }
    return SC_OK;
}

sc_status sc_pool_step(sc_pool *pool, const sc_stream_id *ids, size_t count, const sc_array *inputs, const sc_array *outputs,
                       sc_error *error)
{
    if (pool == NULL || inputs == NULL || outputs == NULL || (ids == NULL && count > 0)) {
        return sc_fail(error, SC_BAD_ARGUMENT, "pool, ids, inputs and outputs must not be NULL");
    }
    live_rows *r = &pool->rows;
    if (count > r->count) {
        return sc_fail(error, SC_BUSY, "%zu streams in one step of a pool of %zu: one stands there twice", count, r->count);
    }
    sc_status status = check_arrays(r->plan->step, count, inputs, outputs, error);
    if (status == SC_OK) {
        status = check_ids_apart(r->plan->step, ids, count, outputs, error);
    }
    if (status != SC_OK || count == 0) {
        return status;
    }
    sc_workspace *space;
    status = take(r, &space, error);
    if (status != SC_OK) {
        return status;
    }
    size_t claimed = 0;
    for (; claimed < count && (status = claim(pool, ids[claimed], error)) == SC_OK; claimed++) {
        space->states[claimed] = row_of_stream(pool, ids[claimed]);
    }
    if (status == SC_OK) {
        status = step_rows(r, space, space->states, count, inputs, outputs, error);
    }
    while (claimed-- > 0) {
        let_go(pool, ids[claimed], PLACE_OPEN);
    }
    give(r, space);
    return status;
}

#define WITH_ROW(call) \
    sc_status status = claim_one(pool, id, error); \
    if (status == SC_OK) { \
        const sc_plan *plan = pool->rows.plan; \
        char *const row = row_of_stream(pool, id); \
        status = call; \
        let_go(pool, id, PLACE_OPEN); \
    } \
    return status

sc_status sc_pool_reset(sc_pool *pool, sc_stream_id id, sc_error *error)
{
    WITH_ROW((sc_state_reset(plan, &row, 1), SC_OK));
}

sc_status sc_pool_get_state(sc_pool *pool, sc_stream_id id, size_t state, const sc_array *to, sc_error *error)
{
    WITH_ROW(sc_state_get(plan, &row, 1, state, to, error));
}

sc_status sc_pool_set_state(sc_pool *pool, sc_stream_id id, size_t state, const sc_array *from, sc_error *error)
{
    WITH_ROW(sc_state_set(plan, &row, 1, state, from, error));
}

sc_status sc_pool_save(sc_pool *pool, sc_stream_id id, void *to, size_t size, sc_error *error)
{
    WITH_ROW(sc_state_save(plan, &row, 1, to, size, error));
}

sc_status sc_pool_load(sc_pool *pool, sc_stream_id id, const void *from, size_t size, sc_error *error)
{
    WITH_ROW(sc_state_load(plan, &row, 1, from, size, error));
}
