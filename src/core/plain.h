/* Products with a matrix that lies as it is, row-major, and packing. Included by kernels_body.h.
 *
 * A matrix that a call makes, the frames that an attention looks at, is used by as many rows as look at it: by one in a
 * step. Packing it would take longer than the product. Its columns are vectors as they lie (times), its rows are turned
 * round in registers (times_transposed), and the sums are those of a packed one, bit for bit: one chain from 0 for each
 * element, k ascending. */
#ifndef SC_PLAIN_H
#define SC_PLAIN_H

#define SC_CHAINS 4 /* vectors of results whose chains go on side by side */
#define SC_SHARES 4 /* rows that share a part of the matrix in registers */

/* The first n floats at p; masked loads and stores are slow on some processors. */
SC_INLINE vf load_first(const float *p, size_t n)
{
    return n == SC_V ? vf_load(p) : vf_loadn(p, n);
}

/* Of `count` rows, `ld` floats apart, the first `some` values, transposed: lane n of block[k] is value k of row n. Both
 * are at most SC_V. */
SC_INLINE void load_transposed(vf block[SC_V], const float *from, size_t ld, size_t count, size_t some)
{
    if (count == SC_V && some == SC_V) {
        SC_UNROLL for (size_t n = 0; n < SC_V; n++) {
            block[n] = vf_load(from + n * ld);
        }
    } else {
        SC_UNROLL for (size_t n = 0; n < SC_V; n++) {
            block[n] = n < count ? vf_loadn(from + n * ld, some) : vf_set(0.0f);
        }
    }
    vf_transpose(block);
}

/* sum + a[0] block[0] + a[1] block[1] ... of the first `some` */
SC_INLINE vf chain_block(vf sum, const float *a, const vf block[SC_V], size_t some)
{
    if (some == SC_V) {
        SC_UNROLL for (size_t k = 0; k < SC_V; k++) {
            sum = vf_fma(vf_bcast(a + k), block[k], sum);
        }
        return sum;
    }
    SC_UNROLL for (size_t k = 0; k < SC_V; k++) { /* by numbers that the compiler knows, or the block would lie in memory */
        sum = k < some ? vf_fma(vf_bcast(a + k), block[k], sum) : sum;
    }
    return sum;
}

/* ---- Packing ------------------------------------------------------------------------------------------------ */

static size_t packed_floats(size_t rows, size_t units, size_t gates)
{
    return rows * gates * blocks_of(units) * SC_V;
}

static void pack(float *data, const float *source, size_t ld, size_t rows, size_t units, size_t gates, bool paired)
{
    const size_t half = (rows + 1) / 2;
    const size_t blocks = blocks_of(units);
    const size_t panel_blocks = gates == 1 ? SC_GATES : 1;
    for (size_t first = 0; first < blocks; first += panel_blocks) {
        const size_t end = min_size(first + panel_blocks, blocks);
        for (size_t place = 0; place < rows; place++) {
            const size_t k = paired ? place / 2 + place % 2 * half : place;
            for (size_t block = first; block < end; block++) {
                const float *from = source + k * ld + block * SC_V;
                for (size_t g = 0; g < gates; g++, data += SC_V, from += units) {
                    vf_store(data, load_first(from, min_size(SC_V, units - block * SC_V)));
                }
            }
        }
    }
}

static void pack_transposed(float *data, const float *source, size_t ld, size_t rows, size_t units)
{
    const size_t blocks = blocks_of(units);
    for (size_t first = 0; first < blocks; first += SC_GATES) {
        const size_t vectors = min_size(SC_GATES, blocks - first), row = vectors * SC_V;
        float *panel = data + first * SC_V * rows;
        for (size_t v = 0; v < vectors; v++) {
            const size_t n = (first + v) * SC_V, count = min_size(SC_V, units - n);
            for (size_t k = 0; k < rows; k += SC_V) {
                vf block[SC_V];
                const size_t some = min_size(SC_V, rows - k);
                load_transposed(block, source + n * ld + k, ld, count, some);
                SC_UNROLL for (size_t i = 0; i < SC_V; i++) {
                    if (i < some) {
                        vf_store(panel + (k + i) * row + v * SC_V, block[i]);
                    }
                }
            }
        }
    }
}

/* ---- Products --------------------------------------------------------------------------------------------------- */

/* Row m, the columns of `vectors` vectors; `n` of them in the last one. */
SC_INLINE void times_panel(const sc_plain *s, size_t m, size_t column, const int vectors, size_t n)
{
    const float *a = s->a[m], *b = s->b + column;
    vf sum[SC_GATES];
    SC_UNROLL for (int v = 0; v < vectors; v++) {
        sum[v] = vf_set(0.0f);
    }
    for (size_t k = 0; k < s->K; k++, b += s->ld) {
        const vf x = vf_bcast(a + k);
        SC_UNROLL for (int v = 0; v < vectors; v++) {
            sum[v] = vf_fma(x, v < vectors - 1 ? vf_load(b + v * SC_V) : load_first(b + v * SC_V, n), sum[v]);
        }
    }
    float *y = s->out[m] + column;
    SC_UNROLL for (int v = 0; v < vectors; v++) {
        if (v < vectors - 1 || n == SC_V) {
            vf_store(y + v * SC_V, sum[v]);
        } else {
            vf_storen(y + v * SC_V, sum[v], n);
        }
    }
}

static void times(const sc_plain *s)
{
    const size_t blocks = blocks_of(s->N);
    for (size_t first = 0; first < blocks; first += SC_GATES) {
        const size_t vectors = min_size(SC_GATES, blocks - first), column = first * SC_V;
        const size_t n = min_size(SC_V, s->N - column - (vectors - 1) * SC_V);
        for (size_t m = 0; m < s->rows; m++) {
            if (vectors == 4 && n == SC_V) {
                times_panel(s, m, column, 4, SC_V);
            } else if (vectors == 4) {
                times_panel(s, m, column, 4, n);
            } else if (vectors == 3) {
                times_panel(s, m, column, 3, n);
            } else if (vectors == 2) {
                times_panel(s, m, column, 2, n);
            } else {
                times_panel(s, m, column, 1, n);
            }
        }
    }
}

/* Rows [m, m + rows) of a, rows of b from n on: at most SC_SHARES, and SC_CHAINS vectors of them. */
static void transposed_tile(const sc_plain *s, size_t m, size_t rows, size_t n)
{
    const size_t chains = min_size(SC_CHAINS, blocks_of(s->N - n));
    vf sums[SC_CHAINS][SC_SHARES];
    for (size_t c = 0; c < chains; c++) {
        for (size_t i = 0; i < rows; i++) {
            sums[c][i] = vf_set(0.0f);
        }
    }
    for (size_t k = 0; k < s->K; k += SC_V) {
        const size_t some = min_size(SC_V, s->K - k);
        for (size_t c = 0; c < chains; c++) {
            const size_t at = n + c * SC_V;
            vf block[SC_V];
            load_transposed(block, s->b + at * s->ld + k, s->ld, min_size(SC_V, s->N - at), some);
            for (size_t i = 0; i < rows; i++) {
                sums[c][i] = chain_block(sums[c][i], s->a[m + i] + k, block, some);
            }
        }
    }
    for (size_t c = 0; c < chains; c++) {
        const size_t at = n + c * SC_V;
        for (size_t i = 0; i < rows; i++) {
            vf_storen(s->out[m + i] + at, sums[c][i], min_size(SC_V, s->N - at));
        }
    }
}

static void times_transposed(const sc_plain *s)
{
    for (size_t m = 0; m < s->rows; m += SC_SHARES) {
        for (size_t n = 0; n < s->N; n += SC_CHAINS * SC_V) {
            transposed_tile(s, m, min_size(SC_SHARES, s->rows - m), n);
        }
    }
}

/* Rows of b from n on: at most SC_CHAINS vectors of them. */
static void additive_tile(const sc_additive *s, size_t n)
{
    const size_t chains = min_size(SC_CHAINS, blocks_of(s->N - n));
    const vf scale = vf_set(s->scale);
    vf sums[SC_CHAINS];
    for (size_t c = 0; c < chains; c++) {
        sums[c] = vf_set(0.0f);
    }
    for (size_t k = 0; k < s->K; k += SC_V) {
        const size_t some = min_size(SC_V, s->K - k);
        const vf a = load_first(s->a + k, some);
        for (size_t c = 0; c < chains; c++) {
            const size_t at = n + c * SC_V, count = min_size(SC_V, s->N - at);
            const float *b = s->b + at * s->ld + k;
            float shares[SC_V * SC_V];
            for (size_t i = 0; i < count; i++) {
                vf_store(shares + i * SC_V, vf_tanh(vf_mul(scale, vf_add(a, load_first(b + i * s->ld, some)))));
            }
            vf block[SC_V];
            load_transposed(block, shares, SC_V, count, SC_V);
            sums[c] = chain_block(sums[c], s->w + k, block, some);
        }
    }
    for (size_t c = 0; c < chains; c++) {
        const size_t at = n + c * SC_V;
        vf_storen(s->out + at, sums[c], min_size(SC_V, s->N - at));
    }
}

static void additive(const sc_additive *s)
{
    for (size_t n = 0; n < s->N; n += SC_CHAINS * SC_V) {
        additive_tile(s, n);
    }
}

#endif
