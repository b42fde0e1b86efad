/* Streams and pools: rows that keep their state from one frame to the next.
 *
 * Both are rows of memory (step->row_bytes each, zeros at the start) and workspaces that are laid out for single frames. A
 * step points every row at its state; nothing is copied together or apart. A stream belongs to one call at a time, and so does
 * each row of a pool: who finds it taken gets SC_BUSY, so that nobody ever waits and a fork finds no lock held. */
#include "live.h"

#include <string.h>

/* ---- Streams ------------------------------------------------------------------------------------------------------ */

struct sc_stream {
    sc_live rows;
    sc_workspace *space;
    sc_array *contexts; /* copies of what was given, by the graph's inputs; NULL before */
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
    sc_status status = sc_live_make(&stream->rows, plan, "the rows of a stream", rows, error);
    if (status != SC_OK) {
        sc_live_free(&stream->rows);
        sc_release(&plan->allocator, stream);
        return status;
    }
    stream->space = sc_workspace_take(plan, &stream->rows.workspaces); /* the one that was made ready */
    for (size_t m = 0; m < rows; m++) {
        stream->space->states[m] = sc_live_row(&stream->rows, m);
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
    sc_live_give(&stream->rows, stream->space);
    sc_live_free(&stream->rows);
    sc_release(&plan->allocator, stream->contexts);
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
    const sc_live *r = &stream->rows;
    if (inputs == NULL || outputs == NULL) {
        status = sc_fail(error, SC_BAD_ARGUMENT, "inputs and outputs must not be NULL");
    } else if (r->plan->has_contexts && stream->space->given == NULL) {
        status = sc_fail(error, SC_BAD_STATE, "the stream has no context yet: '%s' comes before the first step",
                         r->plan->step->contexts[0].info.name);
    } else {
        status = sc_live_check(r, stream->space->ports, r->count, inputs, outputs, error);
    }
    if (status == SC_OK) {
        status = sc_live_step(r, stream->space, stream->space->states, r->count, inputs, outputs, error);
    }
    end(stream);
    return status;
}

/* One block of copies of what is given, behind the list of the graph's inputs that says where each lies. */
static sc_array *copy_contexts(const sc_plan *plan, const sc_array *inputs)
{
    const sc_step_plan *step = plan->step;
    size_t bytes = 0;
    sc_reserve(&bytes, plan->n_inputs, sizeof *inputs);
    const size_t first = bytes;
    for (size_t i = 0; i < step->n_given; i++) {
        sc_reserve(&bytes, sc_given_bytes(plan, inputs, step->given[i].place), 1);
    }
    sc_array *copies = sc_allocate(&plan->allocator, bytes);
    if (copies == NULL) {
        return NULL;
    }
    memset(copies, 0, plan->n_inputs * sizeof *copies);
    bytes = first;
    for (size_t i = 0; i < step->n_given; i++) {
        const size_t place = step->given[i].place, size = sc_given_bytes(plan, inputs, place);
        if (inputs[place].data != NULL) {
            copies[place] = inputs[place];
            copies[place].data = memcpy((char *)copies + sc_reserve(&bytes, size, 1), inputs[place].data, size);
        }
    }
    return copies;
}

/* The new contexts get a workspace of their own, so that the stream has the old ones until nothing can fail any more.
 */
static sc_status set_context(sc_stream *stream, const sc_array *inputs, sc_error *error)
{
    sc_live *r = &stream->rows;
    const sc_plan *plan = r->plan;
    size_t rows = r->count;
    sc_status status = sc_live_check_contexts(r, inputs, &rows, error);
    if (status != SC_OK) {
        return status;
    }
    sc_array *contexts = copy_contexts(plan, inputs);
    if (contexts == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for contexts of %zu rows", r->count);
    }
    sc_workspace *space = NULL;
    status = sc_live_take(r, &space, error);
    if (status == SC_OK) {
        status = sc_live_context(r, space, contexts, r->count, error);
    }
    if (status == SC_OK) {
        sc_workspace *const old_space = stream->space;
        sc_array *const old_contexts = stream->contexts;
        memcpy((void *)space->states, (const void *)old_space->states, r->count * sizeof *space->states);
        stream->space = space;
        stream->contexts = contexts;
        space = old_space;
        contexts = old_contexts;
    }
    if (space != NULL) {
        sc_live_give(r, space);
    }
    sc_release(&plan->allocator, contexts);
    return status;
}

sc_status sc_stream_set_context(sc_stream *stream, const sc_array *inputs, sc_error *error)
{
    sc_status status = begin(stream, error);
    if (status == SC_OK) {
        if (inputs == NULL) {
            status = sc_fail(error, SC_BAD_ARGUMENT, "inputs must not be NULL");
        } else if (stream->rows.plan->has_contexts) {
            status = set_context(stream, inputs, error);
        }
        end(stream);
    }
    return status;
}

sc_status sc_stream_output_info(sc_stream *stream, size_t output, sc_info *info, sc_error *error)
{
    sc_status status = begin(stream, error);
    if (status == SC_OK) {
        status = sc_plan_step_output_info(stream->rows.plan, output, info, error);
        if (status == SC_OK && (!stream->rows.plan->has_contexts || stream->space->given != NULL)) {
            *info = stream->space->ports[output].info;
        }
        end(stream);
    }
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
    sc_live rows;
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
    if (plan->step->n_contexts > 0) {
        return sc_fail(error, SC_UNSUPPORTED,
                       "the model has contexts, such as '%s', which a pool's streams cannot have",
                       plan->step->contexts[0].info.name);
    }
    sc_pool *pool = sc_allocate_zeros(&plan->allocator, 1, sizeof *pool);
    if (pool == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory for a pool");
    }
    sc_status status = sc_live_make(&pool->rows, plan, "the capacity of a pool", capacity, error);
    if (status == SC_OK) {
        pool->places = sc_allocate_zeros(&plan->allocator, capacity, sizeof *pool->places);
        status = pool->places != NULL ? SC_OK : sc_fail(error, SC_NO_MEMORY, "out of memory for %zu streams", capacity);
    }
    if (status != SC_OK) {
        sc_live_free(&pool->rows);
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
    sc_live_free(&pool->rows);
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
    char *row = sc_live_row(&pool->rows, place);
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
    return sc_live_row(&pool->rows, (id & UINT32_MAX) - 1);
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
    sc_live *r = &pool->rows;
    if (count > r->count) {
        return sc_fail(error, SC_BUSY, "%zu streams in one step of a pool of %zu: one stands there twice", count, r->count);
    }
    sc_status status = sc_live_check(r, r->plan->step->outputs, count, inputs, outputs, error);
    if (status == SC_OK) {
        status = check_ids_apart(r->plan->step, ids, count, outputs, error);
    }
    if (status != SC_OK || count == 0) {
        return status;
    }
    sc_workspace *space;
    status = sc_live_take(r, &space, error);
    if (status != SC_OK) {
        return status;
    }
    size_t claimed = 0;
    for (; claimed < count && (status = claim(pool, ids[claimed], error)) == SC_OK; claimed++) {
        space->states[claimed] = row_of_stream(pool, ids[claimed]);
    }
    if (status == SC_OK) {
        status = sc_live_step(r, space, space->states, count, inputs, outputs, error);
    }
    while (claimed-- > 0) {
        let_go(pool, ids[claimed], PLACE_OPEN);
    }
    sc_live_give(r, space);
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
