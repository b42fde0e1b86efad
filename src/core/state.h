/* The state of rows as its owner reads, writes, saves and loads it: arrays in the order of the plan's step, or bytes. */
#ifndef SC_STATE_H
#define SC_STATE_H

#include "step.h"

/* Bytes of one array of a row; whether an array is one of them for so many rows. */
size_t sc_state_bytes(const sc_plan *plan, size_t state);
sc_status sc_state_check(const sc_plan *plan, size_t count, size_t state, const sc_array *array, sc_error *error);
/* All work on rows[count], each step->row_bytes of memory. */
sc_status sc_state_get(const sc_plan *plan, char *const *rows, size_t count, size_t state, const sc_array *to, sc_error *error);
sc_status sc_state_set(const sc_plan *plan, char *const *rows, size_t count, size_t state, const sc_array *from,
                       sc_error *error);
void sc_state_reset(const sc_plan *plan, char *const *rows, size_t count);
/* Gives a row of zeros the initial states that the network has of its own. */
void sc_state_begin(const sc_plan *plan, char *row);
sc_status sc_state_save(const sc_plan *plan, char *const *rows, size_t count, void *to, size_t size, sc_error *error);
/* Checks all bytes before it changes a row. */
sc_status sc_state_load(const sc_plan *plan, char *const *rows, size_t count, const void *from, size_t size, sc_error *error);

/* Mixes bytes into a hash of two words. It tells apart what differs by accident; whoever wants to can make two things alike. */
void sc_hash(uint64_t hash[2], const void *bytes, size_t count);

#endif
