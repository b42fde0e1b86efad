/* The team of workers of one call. */
#ifndef SC_THREADS_H
#define SC_THREADS_H

#include "common.h"

/* Calls work(context, worker, workers) on up to `threads` workers at once, workers numbered from 0; `workers` is how many
 * were granted, the same in each. Denormals count as zero inside and the caller's mode is restored. One parallel region;
 * none when `threads` is 1. */
void sc_parallel(int threads, void (*work)(void *context, size_t worker, size_t workers), void *context);

#endif
