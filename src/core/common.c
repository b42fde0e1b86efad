/* Failing with a message, and memory. */
#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_(number) #number
#define TEXT(number) TEXT_(number)

const char *sc_version(void)
{
    return TEXT(SC_VERSION_MAJOR) "." TEXT(SC_VERSION_MINOR) "." TEXT(SC_VERSION_PATCH);
}

sc_status sc_fail(sc_error *error, sc_status status, const char *format, ...)
{
    if (error != NULL) {
        error->status = status;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

sc_text sc_shape_text(size_t rank, const size_t *shape)
{
    sc_text t;
    const size_t size = sizeof t.text;
    if (rank > SC_MAX_RANK) { /* of a careless caller's: there is no more of the shape to read */
        snprintf(t.text, size, "rank %zu", rank);
        return t;
    }
    size_t at = (size_t)snprintf(t.text, size, "(");
    for (size_t i = 0; i < rank && at < size; i++) {
        const char *separator = i == 0 ? "" : ", ";
        at += (size_t)(shape[i] == SC_UNKNOWN ? snprintf(t.text + at, size - at, "%s?", separator)
                                              : snprintf(t.text + at, size - at, "%s%zu", separator, shape[i]));
    }
    if (at < size) {
        snprintf(t.text + at, size - at, rank == 1 ? ",)" : ")");
    }
    return t;
}

const sc_allocator sc_c_library = {NULL, NULL, NULL};

void *sc_allocate(const sc_allocator *allocator, size_t bytes)
{
    /* aligned_alloc wants a multiple of the alignment; one line more makes a request of 0 bytes a valid pointer. */
    if (bytes > SIZE_MAX - 127) {
        return NULL;
    }
    const size_t rounded = (bytes + 127) / 64 * 64;
    if (allocator->allocate == NULL) {
        return aligned_alloc(64, rounded);
    }
    void *memory = allocator->allocate(allocator->context, 64, rounded);
    if ((uintptr_t)memory % 64 != 0) { /* kernels would fault on it */
        allocator->release(allocator->context, memory);
        return NULL;
    }
    return memory;
}

void *sc_allocate_zeros(const sc_allocator *allocator, size_t count, size_t size)
{
    size_t bytes = 0;
    void *memory = sc_mul(count, size, &bytes) ? sc_allocate(allocator, bytes) : NULL;
    return memory != NULL ? memset(memory, 0, bytes) : NULL;
}

void sc_release(const sc_allocator *allocator, void *memory)
{
    if (memory == NULL) {
        return;
    }
    if (allocator->release == NULL) {
        free(memory);
    } else {
        allocator->release(allocator->context, memory);
    }
}

void *sc_arena_take(sc_arena *arena, size_t count, size_t size)
{
    size_t bytes = 0;
    char *at = arena->block != NULL ? arena->block + arena->used : NULL;
    if (!sc_mul(count, size, &bytes) || !sc_add(bytes, 63, &bytes) || !sc_add(arena->used, bytes / 64 * 64, &arena->used)) {
        arena->unfit = true;
    }
    return at;
}

void *sc_arena_make(sc_arena *arena, const sc_allocator *allocator)
{
    arena->block = !arena->unfit ? sc_allocate(allocator, arena->used) : NULL;
    arena->used = 0;
    return arena->block;
}

bool sc_mul(size_t a, size_t b, size_t *result)
{
    if (a != 0 && b > SIZE_MAX / a) {
        return false;
    }
    *result = a * b;
    return true;
}

bool sc_add(size_t a, size_t b, size_t *result)
{
    if (b > SIZE_MAX - a) {
        return false;
    }
    *result = a + b;
    return true;
}
