/* The product of a row's values with each other: attention.c, products.c. What stands for the weights is packed anew for
 * each row, so that the rest is the kernels' matmul. */
#ifndef SC_PRODUCTS_H
#define SC_PRODUCTS_H

#include "kernels.h"

#define SC_PRODUCT_CHUNK 64 /* rows that one matmul gets: their pointers lie on the stack */

/* out_i = a_i . w for at most SC_PRODUCT_CHUNK rows, which stand so many floats apart. `zeros`: w->units in packed order. */
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
