/* The state of rows. Saved, it is
 *
 *     8 bytes "SCSTATE1" | 16 of the plan's fingerprint | u64 rows | u64 floats of a row | 16 of a hash of what follows |
 *     the float32 arrays of the first row, one after another in the order of the plan's step, then of the next row
 *
 * in little-endian order, frames of convolutions oldest first. It depends on no instruction set, nor on how rows lie in memory. */
#include "state.h"
#include "modelfile.h"

#include <string.h>

typedef struct header {
    char magic[8];
    uint64_t fingerprint[2], rows, floats, hash[2];
} header;

static const char magic[8] = {'S', 'C', 'S', 'T', 'A', 'T', 'E', '1'};

void sc_hash(uint64_t hash[2], const void *bytes, size_t count)
{
    const uint64_t odd = 0x9E3779B97F4A7C15u, other = 0xC2B2AE3D27D4EB4Fu;
    const unsigned char *at = bytes;
    uint64_t a = hash[0] ^ (uint64_t)count * odd, b = hash[1] + (uint64_t)count;
    for (; count > 0; at += 16) {
        uint64_t words[2] = {0, 0};
        const size_t part = count < 16 ? count : 16;
        memcpy(words, at, part);
        count -= part;
        a = (a ^ words[0]) * odd;
        b = (b ^ words[1]) * other;
        a ^= a >> 32;
        b ^= b >> 29;
    }
    hash[0] = (a ^ b >> 31) * other;
    hash[1] = (b ^ a << 7) * odd;
    hash[0] ^= hash[0] >> 30;
    hash[1] ^= hash[1] >> 27;
}

static size_t floats_of(const sc_state *s)
{
    return (s->frames > 0 ? s->frames : 1) * s->size;
}

/* One array of one row, to or from bytes that need not be aligned; returns where they end. A ring comes out with the oldest
 * frame first. */
static char *read_array(const sc_state *s, char *row, char *to)
{
    float *from = (float *)(void *)(row + s->at);
    const size_t oldest = s->frames > 0 ? *sc_ring_start(from, s->frames, s->size) : 0;
    const size_t newer = floats_of(s) - oldest * s->size;
    memcpy(to, from + oldest * s->size, newer * sizeof(float));
    memcpy(to + newer * sizeof(float), from, oldest * s->size * sizeof(float));
    return to + floats_of(s) * sizeof(float);
}

static const char *write_array(const sc_state *s, char *row, const char *from)
{
    float *to = (float *)(void *)(row + s->at);
    memcpy(to, from, floats_of(s) * sizeof(float));
    if (s->frames > 0) {
        *sc_ring_start(to, s->frames, s->size) = 0;
    }
    return from + floats_of(s) * sizeof(float);
}

size_t sc_state_bytes(const sc_plan *plan, size_t state)
{
    return floats_of(&plan->step->states[state]) * sizeof(float);
}

sc_status sc_state_check(const sc_plan *plan, size_t count, size_t state, const sc_array *array, sc_error *error)
{
    sc_info info;
    const sc_status status = sc_plan_step_state_info(plan, state, &info, error);
    if (status != SC_OK) {
        return status;
    }
    info.shape[0] = count;
    if (array == NULL || array->data == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "state '%s': there is no memory for it", info.name);
    }
    if (array->rank != info.rank || memcmp(array->shape, info.shape, info.rank * sizeof(size_t)) != 0) {
        return sc_fail(error, SC_BAD_SHAPE, "state '%s' must have shape %s, found %s", info.name,
                       sc_shape_text(info.rank, info.shape).text, sc_shape_text(array->rank, array->shape).text);
    }
    return SC_OK;
}

sc_status sc_state_get(const sc_plan *plan, char *const *rows, size_t count, size_t state, const sc_array *to, sc_error *error)
{
    const sc_status status = sc_state_check(plan, count, state, to, error);
    char *at = status == SC_OK ? to->data : NULL;
    for (size_t m = 0; status == SC_OK && m < count; m++) {
        at = read_array(&plan->step->states[state], rows[m], at);
    }
    return status;
}

sc_status sc_state_set(const sc_plan *plan, char *const *rows, size_t count, size_t state, const sc_array *from,
                       sc_error *error)
{
    const sc_status status = sc_state_check(plan, count, state, from, error);
    const char *at = status == SC_OK ? from->data : NULL;
    for (size_t m = 0; status == SC_OK && m < count; m++) {
        at = write_array(&plan->step->states[state], rows[m], at);
    }
    return status;
}

void sc_state_reset(const sc_plan *plan, char *const *rows, size_t count)
{
    for (size_t m = 0; m < count; m++) {
        memset(rows[m], 0, plan->step->row_bytes);
        sc_state_begin(plan, rows[m]);
    }
}

void sc_state_begin(const sc_plan *plan, char *row)
{
    for (size_t i = 0; i < plan->step->n_states; i++) {
        const sc_state *s = &plan->step->states[i];
        if (s->first != NULL) {
            memcpy(row + s->at, s->first, s->size * sizeof(float));
        }
    }
}

/* ---- As bytes ----------------------------------------------------------------------------------------------- */

size_t sc_plan_saved_bytes(const sc_plan *plan, size_t rows)
{
    size_t bytes = 0;
    if (plan == NULL || plan->step->status != SC_OK || !sc_mul(rows, plan->step->state_floats * sizeof(float), &bytes) ||
        !sc_add(bytes, sizeof(header), &bytes)) {
        return 0;
    }
    return bytes;
}

static sc_status check_size(const sc_plan *plan, size_t count, const void *memory, size_t size, sc_error *error)
{
    const size_t expected = sc_plan_saved_bytes(plan, count);
    if (!sc_little_endian()) {
        return sc_fail(error, SC_UNSUPPORTED, "states are saved and loaded on little-endian machines only");
    }
    if (memory == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "there is no memory for a saved state");
    }
    return size == expected ? SC_OK
                            : sc_fail(error, SC_BAD_STATE, "a saved state of %zu rows of this model has %zu bytes, found %zu",
                                      count, expected, size);
}

static header header_of(const sc_plan *plan, size_t count)
{
    header h = {.fingerprint = {plan->fingerprint[0], plan->fingerprint[1]}, .rows = count,
                .floats = plan->step->state_floats};
    memcpy(h.magic, magic, sizeof magic);
    return h;
}

sc_status sc_state_save(const sc_plan *plan, char *const *rows, size_t count, void *to, size_t size, sc_error *error)
{
    const sc_status status = check_size(plan, count, to, size, error);
    if (status != SC_OK) {
        return status;
    }
    const sc_step_plan *step = plan->step;
    header h = header_of(plan, count);
    char *at = (char *)to + sizeof h;
    for (size_t m = 0; m < count; m++) {
        for (size_t i = 0; i < step->n_states; i++) {
            at = read_array(&step->states[i], rows[m], at);
        }
    }
    sc_hash(h.hash, (char *)to + sizeof h, size - sizeof h);
    memcpy(to, &h, sizeof h);
    return SC_OK;
}

sc_status sc_state_load(const sc_plan *plan, char *const *rows, size_t count, const void *from, size_t size, sc_error *error)
{
    header found = {.rows = 0}, expected = header_of(plan, count);
    if (from != NULL && size >= sizeof found) {
        memcpy(&found, from, sizeof found);
    }
    if (memcmp(found.magic, magic, sizeof magic) != 0) {
        return from == NULL ? check_size(plan, count, from, size, error)
                            : sc_fail(error, SC_BAD_STATE, "not a saved state, or one of a newer seqcore");
    }
    if (memcmp(found.fingerprint, expected.fingerprint, sizeof found.fingerprint) != 0) {
        return sc_fail(error, SC_BAD_STATE, "the saved state is that of another model: graph or weights differ");
    }
    if (found.rows != expected.rows) {
        return sc_fail(error, SC_BAD_STATE, "the saved state has %llu rows, expected %zu", (unsigned long long)found.rows, count);
    }
    const sc_status status = check_size(plan, count, from, size, error);
    if (status != SC_OK) {
        return status;
    }
    sc_hash(expected.hash, (const char *)from + sizeof found, size - sizeof found);
    if (memcmp(&found, &expected, sizeof found) != 0) {
        return sc_fail(error, SC_BAD_STATE, "the saved state is damaged");
    }
    const sc_step_plan *step = plan->step;
    const char *at = (const char *)from + sizeof found;
    for (size_t m = 0; m < count; m++) {
        for (size_t i = 0; i < step->n_states; i++) {
            at = write_array(&step->states[i], rows[m], at);
        }
    }
    return SC_OK;
}
