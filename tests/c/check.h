/* What the C tests share: a check that ends the program, exact allocations and repeatable damage.
 *
 * Every function is inline because no test uses all of them. No test framework: a failure prints where and what was
 * found, and exits with 1. */
#ifndef SC_TEST_CHECK_H
#define SC_TEST_CHECK_H

#include "seqcore/seqcore.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition, ...)                                               \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__);                                   \
            fprintf(stderr, "\n");                                          \
            exit(1);                                                        \
        }                                                                   \
    } while (0)


/* An allocation of exactly this size, so that a sanitizer sees the first byte read beyond it. */
static inline char *exact_copy(const void *bytes, size_t count)
{
    char *copy = malloc(count > 0 ? count : 1);
    CHECK(copy != NULL, "%zu", count);
    memcpy(copy, bytes, count);
    return copy;
}

static inline char *repeat(const char *unit, size_t times, size_t *bytes)
{
    size_t length = strlen(unit);
    char *all = malloc(length * times + 1);
    CHECK(all != NULL, "%zu", times);
    for (size_t i = 0; i < times; i++) {
        memcpy(all + i * length, unit, length);
    }
    *bytes = length * times;
    return all;
}

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static inline size_t random_below(size_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)((random_state >> 11) % limit);
}

static inline void check_message(const sc_error *error, const char *cause)
{
    CHECK(strstr(error->message, cause) != NULL, "expected \"%s\", found \"%s\"", cause, error->message);
    CHECK(strchr(error->message, '\n') == NULL && strlen(error->message) + 1 < sizeof error->message, "%s",
          error->message);
}

/* Changes, swaps, removes or repeats some bytes; returns the new size, at most count + 64. */
static inline size_t damage(char *bytes, size_t count)
{
    static const char tokens[] = "{}[]\",:0123456789.-eE\\u \x80\xC3\xF0\xFF";
    for (size_t edits = 1 + random_below(3); edits > 0 && count > 64; edits--) {
        size_t at = random_below(count), span = 1 + random_below(16);
        span = span < count - at ? span : count - at;
        switch (random_below(6)) {
        case 0: bytes[at] = (char)random_below(256); break;
        case 1: bytes[at] = (char)(bytes[at] ^ 1 << random_below(8)); break;
        case 2: bytes[at] = tokens[random_below(sizeof tokens - 1)]; break;
        case 3: memmove(bytes + at, bytes + at + span, count - at - span); count -= span; break;
        case 4: memmove(bytes + at + span, bytes + at, count - at); count += span; break;
        default: memmove(bytes + random_below(count - span), bytes + at, span); break;
        }
    }
    return count;
}

/* A call that succeeds, or fails with this status and a message that says this; its last argument is &error. */
#define OK(call)                                                                \
    do {                                                                        \
        sc_error error;                                                         \
        const sc_status status_ = (call);                                       \
        CHECK(status_ == SC_OK, "status %d: %s", (int)status_, error.message); \
    } while (0)
#define REFUSED(expected, cause, call)                                                                          \
    do {                                                                                                        \
        sc_error error = {.status = SC_OK};                                                                     \
        const sc_status status_ = (call);                                                                       \
        CHECK(status_ == (expected) && error.status == status_, "status %d: %s", (int)status_, error.message); \
        check_message(&error, cause);                                                                           \
    } while (0)

#endif
