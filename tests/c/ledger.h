/* An allocator that keeps count, and fails when it is told to. */
#ifndef LEDGER_H
#define LEDGER_H

#include "check.h"

#include <stdlib.h>
#include <string.h>

typedef struct ledger {
    size_t calls, live; /* allocations so far, and those that were not released */
    size_t fail_at;     /* the call that fails; 0 for none */
    size_t off;         /* by so many bytes is memory misaligned */
} ledger;

static void *allocate(void *context, size_t alignment, size_t bytes)
{
    ledger *l = context;
    CHECK(alignment >= 8 && (alignment & (alignment - 1)) == 0 && bytes > 0, "%zu bytes, aligned to %zu", bytes,
          alignment);
    if (++l->calls == l->fail_at) {
        return NULL;
    }
    char *memory = aligned_alloc(alignment, (bytes + l->off + alignment - 1) / alignment * alignment);
    CHECK(memory != NULL, "%zu", bytes);
    memset(memory, 0xA5, bytes); /* nobody relies on zeros */
    l->live++;
    return memory + l->off;
}

static void release(void *context, void *memory)
{
    ledger *l = context;
    CHECK(memory != NULL && l->live > 0, "release of nothing");
    l->live--;
    free((char *)memory - l->off);
}

/* Once more when the first time there was no memory; nothing else may fail. For where `l` is a ledger and `failures` counts. */
#define TWICE(call)                                                                \
    do {                                                                           \
        sc_error error;                                                            \
        sc_status status_ = (call);                                                \
        if (status_ == SC_NO_MEMORY) {                                             \
            check_message(&error, "memory");                                       \
            failures++;                                                            \
            status_ = (call);                                                      \
        }                                                                          \
        CHECK(status_ == SC_OK, "fail_at %zu: %s", l->fail_at, error.message);     \
    } while (0)

#endif
