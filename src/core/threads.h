/* The team of workers of one call. */
#ifndef SC_THREADS_H
#define SC_THREADS_H

#include "common.h"

#include <stdatomic.h>

/* Calls work(context, worker, workers) on up to `threads` workers at once, workers numbered from 0; `workers` is how many
 * were granted, the same in each. They compute in the mode of fpmode.h, and the caller's is restored. One parallel region;
 * none when `threads` is 1. */
void sc_parallel(int threads, void (*work)(void *context, size_t worker, size_t workers), void *context);

/* Threads of the sc_get_num_threads() that all calls of the process share: `wanted` of them, or, when `shared`, as many as other
 * calls leave, at least one. They are given back in as many pieces as the caller likes. */
size_t sc_threads_claim(size_t wanted, bool shared);
void sc_threads_give_back(size_t count);
static inline void sc_threads_release(size_t count)
{
    if (count > 0) {
        sc_threads_give_back(count);
    }
}

/* cpu.c: cores on which the calling thread may run now. */
int sc_allowed_cores(void);

/* Workers that do one thing together. Each has a seat, a cache line of its own, where the others see how often it has met
 * them. */
typedef struct sc_seat {
    _Alignas(64) _Atomic uint64_t met;
} sc_seat;

typedef struct sc_team {
    sc_seat *seats; /* of the members */
    size_t member, members;
    uint64_t met; /* how often; the same in all members, and never below what was a seat's before */
} sc_team;

/* Where the member's part of n things begins (ahead = 0) or ends (1). */
static inline size_t sc_part(const sc_team *team, size_t n, size_t ahead)
{
    return (team->member + ahead) * n / team->members;
}

/* Returns when all members have called it as often: what they wrote before is seen after. Nothing for a team of one. */
void sc_meet_others(sc_team *team);
static inline void sc_meet(sc_team *team)
{
    if (team->members > 1) {
        sc_meet_others(team);
    }
}

#endif
