/* Packed weights that lie outside a plan (packed.c). */
#ifndef SC_PACKED_H
#define SC_PACKED_H

#include "plan.h"

#define SC_PACKED_PREFIX "__packed__."

typedef struct sc_piece {
    const float *data;
    size_t floats;
    sc_packing packing; /* of a source that lasts as long as the plan is made; else nothing */
} sc_piece;

/* Whether a tensor holds packed weights: it is none of the graph's. */
bool sc_is_packed_name(const char *name);

/* Finds packed weights among the tensors that fit the plan, whose fingerprint is known. */
void sc_packed_find(sc_builder *builder);
/* Whether every node got the piece that it had when they were packed: not where the caller's tensors share memory, which those of
 * a file do not. */
bool sc_packed_fits(const sc_builder *builder);

#endif
