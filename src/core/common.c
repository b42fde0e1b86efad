/* Failing with a message, and memory. */
#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

void *sc_aligned_alloc(size_t bytes)
{
    /* aligned_alloc wants a multiple of the alignment; one line more makes a request of 0 bytes a valid pointer. */
    if (bytes > SIZE_MAX - 127) {
        return NULL;
    }
    return aligned_alloc(64, (bytes + 127) / 64 * 64);
}

void sc_aligned_free(void *memory)
{
    free(memory);
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
