/* What every file of the core shares: failing with a message, and memory.
 * Nothing here knows about graphs or kernels. */
#ifndef SC_COMMON_H
#define SC_COMMON_H

#include "seqcore/seqcore.h"

#include <stdbool.h>

#if defined(__GNUC__)
#define SC_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define SC_PRINTF(text, first)
#endif

/* Writes one line into `error` (when not NULL) and returns `status`, so that a failure is one statement. */
sc_status sc_fail(sc_error *error, sc_status status, const char *format, ...) SC_PRINTF(3, 4);

/* 64-byte aligned memory, or NULL. An allocator of zeros is the C library's. */
void *sc_allocate(const sc_allocator *allocator, size_t bytes);
void *sc_allocate_zeros(const sc_allocator *allocator, size_t count, size_t size);
void sc_release(const sc_allocator *allocator, void *memory); /* NULL is allowed */
extern const sc_allocator sc_c_library;

/* Pieces of one block of memory. Whoever takes them takes all of them twice: without a block, to count its bytes, and from it. */
typedef struct sc_arena {
    char *block; /* NULL: counting */
    size_t used;
    bool unfit;  /* more bytes than can be counted */
} sc_arena;
/* The next piece, 64-byte aligned; NULL while bytes are counted. */
void *sc_arena_take(sc_arena *arena, size_t count, size_t size);
/* The block, once all has been counted, from which all is taken again; NULL when there is no memory. */
void *sc_arena_make(sc_arena *arena, const sc_allocator *allocator);

/* "(2, 3, ?)": a shape in a message; SC_UNKNOWN is ?. Cut when it does not fit. */
typedef struct sc_text {
    char text[128];
} sc_text;
sc_text sc_shape_text(size_t rank, const size_t *shape);

/* false when a product or sum does not fit in size_t; then *result is not written. */
bool sc_mul(size_t a, size_t b, size_t *result);
bool sc_add(size_t a, size_t b, size_t *result);

#endif
