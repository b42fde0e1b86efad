/* One call of sc_plan_decode, as decode.c and beam.c see it. */
#ifndef SC_DECODE_H
#define SC_DECODE_H

#include "choice.h"
#include "live.h"

typedef struct sc_beams sc_beams;

typedef struct sc_decode {
    const sc_decoding *q;
    const sc_decoded *to;
    const sc_plan *plan;
    const sc_port *ports; /* of the step's outputs */
    size_t n_outputs;
    sc_live live;
    sc_workspace *space;
    void *block; /* what follows */
    size_t slots, V;
    bool sums;     /* log-probabilities are wanted */
    char **memory; /* per slot: its state */
    int64_t *last; /* ... the token that it is fed next */
    double *sum;   /* ... its log-probability */
    size_t *alive; /* slots that go on, in ascending order */
    size_t n_alive;
    int64_t *tokens;   /* what the step is fed, */
    sc_array *outputs; /* ... and gives: of those that are alive, in their order */
    size_t *sources;   /* the row of each of them */
    float *weights;    /* of a draw */
    sc_beams *beams;   /* a search; NULL: every slot goes its own way */
} sc_decode;

/* ---- decode.c ---- */

/* The token that is forced on a row at step t, or -1. */
int64_t sc_decode_forced(const sc_decode *s, size_t row, size_t t);
sc_status sc_decode_no_choice(const sc_decode *s, size_t slot, size_t t, sc_error *error);
double sc_decode_ranked(const sc_decoding *q, double sum, size_t length);
static inline float *sc_decode_scores(const sc_decode *s, size_t i)
{
    return (float *)s->outputs[0].data + i * s->V;
}
/* Whether an output of the step is wanted with the results. */
static inline bool sc_decode_wants(const sc_decode *s, size_t output)
{
    return output > 0 && s->to->extras != NULL && s->to->extras[output - 1] != NULL;
}
/* Copies what an output gave for the i-th of those that are alive. */
void sc_decode_take_extra(const sc_decode *s, size_t output, size_t i, char *to);
/* Writes what a result is beside its tokens and extras, and what stands behind their end; length 0 where there is none.
 */
void sc_decode_end(const sc_decode *s, size_t number, size_t length, bool ended, double score);

/* ---- beam.c ---- */

/* Takes its memory from the arena, for W beams a row. */
void sc_beams_take(sc_decode *s, sc_arena *arena);
void sc_beams_begin(sc_decode *s);
/* After step t: its outputs become candidates, these beams and results. */
sc_status sc_beams_step(sc_decode *s, size_t t, sc_error *error);
void sc_beams_write(const sc_decode *s);
void sc_beams_free(const sc_decode *s);

#endif
