/* What convolution.c and pooling.c share: where windows over time lie, and running ops that change the time axis.
 * A row is as if alone with its own frames; only its length decides how many it makes. */
#ifndef SC_WINDOW_H
#define SC_WINDOW_H

#include "plan.h"

enum sc_padding { SC_VALID, SC_SAME, SC_CAUSAL, SC_EXPLICIT };

typedef struct sc_window {
    size_t size, stride, dilation;
    int padding;
    size_t left, right; /* explicit: frames of padding; else 0 */
    bool ceil;          /* explicit: a last window may end past the padding at the end, but not begin in it */
} sc_window;

/* Reads size_key, strides and padding; the dilation is the caller's, and known by then. */
sc_status sc_window_parse(sc_builder *builder, sc_node *node, const sc_json *attributes, const char *size_key, sc_window *w);

static inline size_t sc_window_span(const sc_window *w)
{
    return (w->size - 1) * w->dilation + 1;
}

/* Frames out of n frames in, SC_UNKNOWN of SC_UNKNOWN, or where they cannot be counted. valid and explicit: the windows that fit
 * with the padding; same and causal: ceil(n / stride) */
size_t sc_window_frames(const sc_window *w, size_t n);
/* Frames of padding before the first of n. */
size_t sc_window_left(const sc_window *w, size_t n);

/* The frames that a node makes of n; SC_UNKNOWN of SC_UNKNOWN, or where they cannot be counted. */
typedef size_t sc_frames_of(const sc_node *node, size_t n);
/* Makes `made` frames y of a row's n frames x. Members of frame->team divide the row. */
typedef void sc_run_row(const sc_node *node, sc_frame *frame, const float *x, size_t n, float *y, size_t made);

/* The node's lengths out are its lengths in: branches can be merged again. */
void sc_lengths_stay(sc_builder *builder, const sc_node *node);
/* (B, T, C) -> (B, T', channels) */
sc_status sc_time_infer(const sc_node *node, sc_frames_of *frames_of, size_t channels, const sc_shape *in, sc_shape *out,
                        sc_error *error);
/* Every row of the frame, each as long as it is; zeros past its end, and the rows' new lengths. */
void sc_time_run(const sc_node *node, sc_frame *frame, sc_frames_of *frames_of, sc_run_row *run_row);

#endif
