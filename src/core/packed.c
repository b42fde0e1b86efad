/* Packed weights, outside the plan that made them: as a tensor of a model file, from which other plans of the same instruction
 * set use them where they lie. It holds
 *
 *     64 bytes: "SCPACK01" | u64 floats behind them | 16 of the fingerprint of graph and tensors | 16 of a hash of the floats | 0
 *     the packed matrices, tables and biases in the order in which a plan asks for them, each from a multiple of 64 bytes on
 *
 * The fingerprint is worked out anew from the graph and the tensors: weights that were changed without the packed ones are
 * packed again. */
#include "packed.h"
#include "state.h"

#include <string.h>

#define LINE 16 /* floats of 64 bytes */

/* Changes with every layout that kernels pack, and with the order in which plans ask. */
static const char magic[8] = {'S', 'C', 'P', 'A', 'C', 'K', '0', '1'};

typedef struct header {
    char magic[8];
    uint64_t floats, fingerprint[2], hash[2], unused[2];
} header;

static size_t lines_of(size_t floats)
{
    return (floats + LINE - 1) / LINE * LINE;
}

bool sc_is_packed_name(const char *name)
{
    return strncmp(name, SC_PACKED_PREFIX, sizeof SC_PACKED_PREFIX - 1) == 0;
}

static header header_of(const sc_plan *plan, const float *packed, size_t floats)
{
    header h = {.floats = floats, .fingerprint = {plan->fingerprint[0], plan->fingerprint[1]}};
    memcpy(h.magic, magic, sizeof magic);
    sc_hash(h.hash, packed, floats * sizeof(float));
    return h;
}

void sc_packed_find(sc_builder *builder)
{
    for (size_t i = 0; i < builder->n_tensors; i++) {
        const sc_tensor *t = builder->tensors[i];
        if (strcmp(t->name, builder->plan->packed_name) != 0 || t->dtype != SC_F32 ||
            t->rank != 1 || t->shape[0] < LINE || t->data == NULL || (uintptr_t)t->data % 64 != 0) {
            continue;
        }
        const float *packed = (const float *)t->data + LINE;
        const header expected = header_of(builder->plan, packed, t->shape[0] - LINE);
        if (memcmp(t->data, &expected, sizeof expected) == 0) {
            builder->in_place = packed;
            builder->floats_in_place = t->shape[0] - LINE;
        }
    }
}

/* A list that doubles: a piece's number is a power of two when it is full. */
static bool note_piece(sc_plan *plan, const float *data, size_t floats)
{
    if ((plan->n_packed & (plan->n_packed - 1)) == 0) {
        const size_t room = plan->n_packed > 0 ? 2 * plan->n_packed : 1;
        sc_piece *grown = sc_plan_alloc(plan, room, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (plan->n_packed > 0) {
            memcpy(grown, plan->packed, plan->n_packed * sizeof *grown);
        }
        plan->packed = grown;
    }
    plan->packed[plan->n_packed++] = (sc_piece){.data = data, .floats = floats};
    return true;
}

float *sc_packed_room(sc_builder *builder, size_t floats, bool *fresh)
{
    sc_plan *plan = builder->plan;
    const size_t left = builder->floats_in_place - builder->used_in_place, lines = lines_of(floats);
    *fresh = builder->in_place == NULL || lines > left;
    float *data = *fresh ? sc_plan_alloc(plan, floats, sizeof(float)) : (float *)builder->in_place + builder->used_in_place;
    if (!*fresh) {
        builder->used_in_place += lines;
        plan->bytes_in_place += floats * sizeof(float);
    }
    return data != NULL && note_piece(plan, data, floats) ? data : NULL;
}

size_t sc_plan_bytes_in_place(const sc_plan *plan)
{
    return plan != NULL ? plan->bytes_in_place : 0;
}

const char *sc_plan_packed_name(const sc_plan *plan)
{
    return plan != NULL ? plan->packed_name : NULL;
}

size_t sc_plan_packed_floats(const sc_plan *plan)
{
    size_t floats = LINE;
    for (size_t i = 0; plan != NULL && i < plan->n_packed; i++) {
        floats += lines_of(plan->packed[i].floats);
    }
    return plan != NULL && plan->runnable ? floats : 0;
}

sc_status sc_plan_copy_packed(const sc_plan *plan, float *to, size_t floats, sc_error *error)
{
    if (plan == NULL || to == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "plan and memory for its packed weights must not be NULL");
    }
    if (!plan->runnable || floats != sc_plan_packed_floats(plan)) {
        return sc_fail(error, SC_BAD_SHAPE, "the packed weights are %zu floats, found room for %zu", sc_plan_packed_floats(plan),
                       floats);
    }
    float *at = to + LINE;
    for (size_t i = 0; i < plan->n_packed; i++) {
        const size_t count = plan->packed[i].floats, lines = lines_of(count);
        memcpy(at, plan->packed[i].data, count * sizeof(float));
        memset(at + count, 0, (lines - count) * sizeof(float));
        at += lines;
    }
    const header h = header_of(plan, to + LINE, floats - LINE);
    memcpy(to, &h, sizeof h);
    return SC_OK;
}
