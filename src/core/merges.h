/* What merges.c and logic.c share: several values become one, element by element. Axes of size 1 repeat, but the batch; a value
 * of fewer axes gets some of size 1 after its batch, as in Keras. */
#ifndef SC_MERGES_H
#define SC_MERGES_H

#include "plan.h"

/* The size of a value's axis d as one of `rank` axes */
static inline size_t sc_aligned(const sc_shape *shape, size_t rank, size_t d)
{
    const size_t missing = rank - shape->rank;
    return d == 0 ? shape->dim[0] : d <= missing ? 1 : shape->dim[d - missing];
}

/* Where a value has its elements along the axes of `whole`: its strides, 0 along what repeats; and how many it has of a row. */
size_t sc_merge_strides(const sc_shape *whole, const sc_shape *shape, size_t *stride);

/* y = y op x for n elements; step is 1, or 0 for an x that repeats */
typedef void sc_merge_function(float *y, const float *x, size_t n, size_t step);

#define SC_MERGE(name, expression) \
    static void name(float *y, const float *x, size_t n, size_t step) \
    { \
        if (step == 0) { \
            const float b = n > 0 ? x[0] : 0; \
            for (size_t i = 0; i < n; i++) { \
                const float a = y[i]; \
                (void)a; \
                y[i] = (expression); \
            } \
            return; \
        } \
        for (size_t i = 0; i < n; i++) { \
            const float a = y[i], b = x[i]; \
            (void)a; \
            y[i] = (expression); \
        } \
    }

/* The shape of all inputs together. */
sc_status sc_merge_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error);
/* The first value, and then function() of what is there and each of the others. */
void sc_merge(const sc_node *node, sc_frame *frame, sc_merge_function *function);

#endif
