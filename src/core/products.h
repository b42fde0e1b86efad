/* Products of a row's values with each other: attention.c, products.c. What stands for the weights is another one for each row: many rows
 * multiply it packed, by the kernels' matmul; few as it lies. */
#ifndef SC_PRODUCTS_H
#define SC_PRODUCTS_H

#include "kernels.h"

#define SC_PRODUCT_CHUNK 64 /* rows that one product gets: their pointers lie on the stack */
#define SC_PACKED_FROM 8    /* rows from which packing is quicker (docs/experiments.md, "Decoding") */

/* out_i = a_i . w for `rows` rows, which stand so many floats apart, at most SC_PRODUCT_CHUNK. `zeros`: w->units in packed order. */
static inline void sc_product(const sc_kernels *kernels, const sc_matrix *w, const float *zeros, size_t rows, const float *a,
                              size_t a_step, float *out, size_t out_step)
{
    const float *from[SC_PRODUCT_CHUNK];
    float *to[SC_PRODUCT_CHUNK];
    for (size_t i = 0; i < rows; i++) {
        from[i] = a + i * a_step;
        to[i] = out + i * out_step;
    }
    kernels->matmul(&(sc_matmul){.rows = rows, .a = from, .w = w, .bias = zeros, .out = to, .exact = true});
}

#endif
