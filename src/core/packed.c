/* Packed weights, outside the plan that made them: as a tensor of a model file, from which other plans of the same instruction
 * set use them where they lie. It holds
 *
 *     64 bytes: "SCPACK02" | u64 floats behind them | 16 of the fingerprint of graph and tensors | 16 of a hash of the floats |
 *               8 of a hash of which piece each node gets | 0
 *     the packed matrices, tables and biases in the order in which a plan asks for them, each from a multiple of 64 bytes on
 *
 * The fingerprint is worked out anew from the graph and the tensors: weights that were changed without the packed ones are
 * packed again. */
#include "modelfile.h"
#include "packed.h"
#include "state.h"

#include <string.h>

#define LINE 16 /* floats of 64 bytes */

/* Changes with every layout that kernels pack, and with the order in which plans ask. */
static const char magic[8] = {'S', 'C', 'P', 'A', 'C', 'K', '0', '2'};

typedef struct header {
    char magic[8];
    uint64_t floats, fingerprint[2], hash[2], order, unused;
} header;

static size_t lines_of(size_t floats)
{
    return (floats + LINE - 1) / LINE * LINE;
}

bool sc_is_packed_name(const char *name)
{
    return strncmp(name, SC_PACKED_PREFIX, sizeof SC_PACKED_PREFIX - 1) == 0;
}

static header header_of(const sc_plan *plan, const float *packed, size_t floats, uint64_t order)
{
    header h = {.floats = floats, .fingerprint = {plan->fingerprint[0], plan->fingerprint[1]}, .order = order};
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
        const header *found = t->data;
        if (memcmp(found->fingerprint, builder->plan->fingerprint, sizeof found->fingerprint) != 0) {
            continue; /* another graph's, or of other weights: there is no need to hash them */
        }
        const float *packed = (const float *)t->data + LINE;
        const uint64_t order = found->order; /* is known when all nodes are packed: sc_packed_fits */
        const header expected = header_of(builder->plan, packed, t->shape[0] - LINE, order);
        if (memcmp(t->data, &expected, sizeof expected) == 0) {
            builder->in_place = packed;
            builder->order_in_place = order;
            builder->floats_in_place = t->shape[0] - LINE;
        }
    }
}

bool sc_packed_fits(const sc_builder *builder)
{
    return builder->in_place == NULL || builder->order_in_place == builder->plan->packed_order;
}

static bool same_packing(const sc_packing *a, const sc_packing *b)
{
    return a->source == b->source && a->ld == b->ld && a->rows == b->rows && a->units == b->units && a->gates == b->gates &&
           a->paired == b->paired && a->plus == b->plus;
}

static uint64_t mixed(uint64_t hash, uint64_t part) /* FNV-1a of words, whose high bits reach the low ones */
{
    hash = (hash ^ part) * 1099511628211u;
    return hash ^ hash >> 32;
}

/* Where a packing stands in the table, or the empty place where it belongs: open addressing. */
static size_t *place_of(const sc_builder *builder, const sc_packing *packing)
{
    const size_t parts[] = {(uintptr_t)packing->source, packing->ld, packing->rows, packing->units, packing->gates};
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        hash = mixed(hash, parts[i]);
    }
    size_t place = (size_t)hash & builder->place_mask;
    while (builder->places[place] != 0 &&
           !same_packing(&builder->plan->packed[builder->places[place] - 1].packing, packing)) {
        place = (place + 1) & builder->place_mask;
    }
    return &builder->places[place];
}

/* Room for twice as many pieces, where a power of two fills it, in the list and in the table, of which half stays empty. */
static bool grow(sc_builder *builder)
{
    sc_plan *plan = builder->plan;
    const size_t room = plan->n_packed > 0 ? 2 * plan->n_packed : 1;
    sc_piece *grown = sc_plan_alloc(plan, room, sizeof *grown);
    builder->places = sc_plan_alloc(plan, 2 * room, sizeof *builder->places);
    builder->place_mask = 2 * room - 1;
    if (grown == NULL || builder->places == NULL) {
        return false;
    }
    if (plan->n_packed > 0) {
        memcpy(grown, plan->packed, plan->n_packed * sizeof *grown);
    }
    plan->packed = grown;
    for (size_t i = 0; i < plan->n_packed; i++) {
        if (grown[i].packing.source != NULL) {
            *place_of(builder, &grown[i].packing) = i + 1;
        }
    }
    return true;
}

/* Whether a source is a part of a tensor that the node read: what an op puts together for a while may lie where something else lay. */
static bool lasts(const sc_builder *builder, const float *source)
{
    for (size_t i = 0; i < builder->n_read; i++) {
        const sc_tensor *t = builder->read[i];
        size_t bytes = 0;
        if (sc_tensor_bytes(t->shape, t->rank, sizeof(float), &bytes) && (uintptr_t)source - (uintptr_t)t->data < bytes) {
            return true;
        }
    }
    return false;
}

float *sc_packed_room(sc_builder *builder, const sc_packing *packing, size_t floats, bool *fresh)
{
    sc_plan *plan = builder->plan;
    const bool shared = packing != NULL && lasts(builder, packing->source) &&
                        (packing->plus == NULL || lasts(builder, packing->plus));
    const size_t known = shared && plan->n_packed > 0 ? *place_of(builder, packing) : 0;
    *fresh = false;
    plan->packed_order = mixed(mixed(plan->packed_order, known > 0 ? known : plan->n_packed + 1), floats);
    if (known > 0) {
        return (float *)plan->packed[known - 1].data;
    }
    if ((plan->n_packed & (plan->n_packed - 1)) == 0 && !grow(builder)) {
        return NULL;
    }
    const size_t left = builder->floats_in_place - builder->used_in_place, lines = lines_of(floats);
    *fresh = builder->in_place == NULL || lines > left;
    float *data = *fresh ? sc_plan_alloc(plan, floats, sizeof(float)) : (float *)builder->in_place + builder->used_in_place;
    if (data == NULL) {
        return NULL;
    }
    if (!*fresh) {
        builder->used_in_place += lines;
        plan->bytes_in_place += floats * sizeof(float);
    }
    plan->bytes += floats * sizeof(float);
    sc_piece *piece = &plan->packed[plan->n_packed++];
    *piece = (sc_piece){.data = data, .floats = floats};
    if (shared) {
        piece->packing = *packing;
        *place_of(builder, packing) = plan->n_packed;
    }
    return data;
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
    const header h = header_of(plan, to + LINE, floats - LINE, plan->packed_order);
    memcpy(to, &h, sizeof h);
    return SC_OK;
}
