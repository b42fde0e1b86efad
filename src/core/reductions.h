/* What looks at all elements of a row before it gives any: softmax, log_softmax, normalisation; which are the greatest, and their share.
 * Included by kernels_body.h. The order of every sum depends on the number of elements alone. */
#ifndef SC_REDUCTIONS_H
#define SC_REDUCTIONS_H

/* ---- softmax ------------------------------------------------------------------------------------------------ */

/* log(s) for s >= 1, as k ln(2) + log(1 + u) of s = 2^k (1 + u). NaN stays. */
static vf log_from_one(float s)
{
    uint32_t bits;
    memcpy(&bits, &s, sizeof bits);
    const float k = (float)(int)(bits >> 23) - 127.0f;
    bits = (bits & 0x007fffffu) | 0x3f800000u;
    float m;
    memcpy(&m, &bits, sizeof m);
    return s < INFINITY ? vf_fma(vf_set(k), vf_set(0.693147182f), sc_log1p_unit(vf_set(m - 1.0f))) : vf_set(s);
}

/* softmax(x)_i = exp(x_i - max x) / sum over j of exp(x_j - max x); `log`: its logarithm, x_i - max x - log(sum). Lane v sums
 * x_v, x_{v+V}, ... and the lanes are added last. */
static void softmax(float *x, size_t n, bool log)
{
    vf top = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + SC_V <= n; i += SC_V) {
        top = vf_max(top, vf_load(x + i));
    }
    float highest = vf_hmax(top);
    for (; i < n; i++) {
        highest = x[i] > highest ? x[i] : highest;
    }
    const vf shift = vf_set(highest);
    vf total = vf_set(0.0f);
    for (i = 0; i + SC_V <= n; i += SC_V) {
        const vf z = vf_sub(vf_load(x + i), shift), e = vf_exp(z);
        vf_store(x + i, log ? z : e);
        total = vf_add(total, e);
    }
    float rest = 0.0f;
    if (i < n) {
        float last[SC_V];
        const vf z = vf_sub(vf_loadn(x + i, n - i), shift), e = vf_exp(z);
        vf_storen(x + i, log ? z : e, n - i);
        vf_store(last, e);
        for (size_t k = 0; k < n - i; k++) {
            rest += last[k];
        }
    }
    const float sum = vf_sum(total) + rest;
    const vf divisor = log ? log_from_one(sum) : vf_set(sum);
    for (i = 0; i + SC_V <= n; i += SC_V) {
        vf_store(x + i, log ? vf_sub(vf_load(x + i), divisor) : vf_div(vf_load(x + i), divisor));
    }
    if (i < n) {
        const vf z = vf_loadn(x + i, n - i);
        vf_storen(x + i, log ? vf_sub(z, divisor) : vf_div(z, divisor), n - i);
    }
}

/* ---- Normalisation -------------------------------------------------------------------------------------------- */

#define SC_STRETCH 512 /* elements that are summed in float; their sums are added in double */

typedef struct moments {
    double sum, squares;
} moments;

/* The sums of x[i] - shift and of its squares. Two vectors of each at once hide the addition's latency. */
static moments sums_of(const float *x, size_t n, float shift)
{
    const vf from = vf_set(shift), zero = vf_set(0.0f);
    moments all = {0};
    for (size_t first = 0; first < n; first += SC_STRETCH) {
        const size_t end = min_size(first + SC_STRETCH, n);
        vf sum[2] = {zero, zero}, squares[2] = {zero, zero};
        size_t i = first;
        for (; i + 2 * SC_V <= end; i += 2 * SC_V) {
            SC_EACH(2) {
                const vf d = vf_sub(vf_load(x + i + (size_t)e * SC_V), from);
                sum[e] = vf_add(sum[e], d);
                squares[e] = vf_fma(d, d, squares[e]);
            }
        }
        for (int e = 0; i < end; i += SC_V, e++) {
            const size_t count = min_size(SC_V, end - i);
            float part[SC_V] = {0};
            vf_storen(part, vf_sub(load_first(x + i, count), from), count); /* the other lanes would be -shift */
            const vf d = vf_load(part);
            sum[e] = vf_add(sum[e], d);
            squares[e] = vf_fma(d, d, squares[e]);
        }
        all.sum += (double)vf_sum(vf_add(sum[0], sum[1]));
        all.squares += (double)vf_sum(vf_add(squares[0], squares[1]));
    }
    return all;
}

/* y = (x - mean) scale w + b with, of n elements,
 *   layer:     mean and variance v of x;  scale = 1/sqrt(v + epsilon)
 *   variance:  the same scale, mean 0
 *   rms:       mean 0;  scale = 1/sqrt(sum x^2/n + epsilon)
 *   unit:      mean 0;  scale = 1/max(sqrt(sum x^2), epsilon)
 * The mean is a rounded one and a correction, what is left of the mean once that is taken off: so the variance neither
 * cancels, however large the mean, nor does x - mean. */
static void normalize(const sc_normalize *s)
{
    const bool centred = s->kind == SC_LAYER_NORM || s->kind == SC_VARIANCE_NORM;
    const double n = (double)s->n;
    const float mean = centred ? (float)(sums_of(s->x, s->n, 0.0f).sum / n) : 0.0f;
    const moments m = sums_of(s->x, s->n, mean);
    const double rest = centred ? m.sum / n : 0.0, square = m.squares / n - rest * rest;
    const double norm = s->kind == SC_UNIT_NORM ? sqrt(m.squares) : sqrt((square < 0.0 ? 0.0 : square) + s->epsilon);
    const bool least = s->kind == SC_UNIT_NORM && norm < s->epsilon;
    const vf scale = vf_set((float)(1.0 / (least ? s->epsilon : norm))), one = vf_set(1.0f), zero = vf_set(0.0f);
    const bool shifted = s->kind == SC_LAYER_NORM;
    const vf high = vf_set(shifted ? mean : 0.0f), low = vf_set(shifted ? (float)rest : 0.0f);
    for (size_t i = 0; i < s->n; i += SC_V) {
        const size_t count = min_size(SC_V, s->n - i);
        const vf d = vf_mul(vf_sub(vf_sub(load_first(s->x + i, count), high), low), scale);
        const vf w = s->w != NULL ? load_first(s->w + i, count) : one, b = s->b != NULL ? load_first(s->b + i, count) : zero;
        if (count == SC_V) {
            vf_store(s->y + i, vf_fma(d, w, b));
        } else {
            vf_storen(s->y + i, vf_fma(d, w, b), count);
        }
    }
}

/* ---- Normalisation of gates ------------------------------------------------------------------------------------- */

/* Parts of a packed row of four gates that have moments of their own: all of it, or every gate. (gcc warns of a loop of one
 * that it is asked to unroll, and unrolls this one by itself.) */
#define SC_EACH_PART(together) for (int e = 0; e < ((together) ? 1 : 4); e++)

/* x[0], or of all gates `together` the sum of the four, lane by lane */
SC_INLINE void join_gates(vf x[4], const bool together)
{
    if (together) {
        x[0] = vf_add(vf_add(x[0], x[1]), vf_add(x[2], x[3]));
    }
}

/* The sums of z - shift and of its squares, of every part. As in sums_of; four chains are there anyway. */
SC_INLINE void gate_sums(const float *z, size_t units, const float shift[4], const bool together, moments all[4])
{
    const size_t whole = units / SC_V, blocks = blocks_of(units);
    SC_EACH(4) all[e] = (moments){0};
    for (size_t first = 0; first < blocks; first += SC_STRETCH / SC_V) {
        const size_t end = min_size(first + SC_STRETCH / SC_V, blocks), full = min_size(end, whole);
        vf from[4], sum[4], squares[4];
        SC_EACH(4) {
            from[e] = vf_set(shift[together ? 0 : e]);
            sum[e] = squares[e] = vf_set(0.0f);
        }
        for (size_t j = first; j < full; j++) {
            SC_EACH(4) {
                const vf d = vf_sub(vf_load(z + (j * 4 + (size_t)e) * SC_V), from[e]);
                sum[e] = vf_add(sum[e], d);
                squares[e] = vf_fma(d, d, squares[e]);
            }
        }
        if (full < end) {
            float live[SC_V]; /* the other lanes would be -shift */
            for (size_t i = 0; i < SC_V; i++) {
                live[i] = i < units - whole * SC_V ? 1.0f : 0.0f;
            }
            SC_EACH(4) {
                const vf d = vf_mul(vf_load(live), vf_sub(vf_load(z + (full * 4 + (size_t)e) * SC_V), from[e]));
                sum[e] = vf_add(sum[e], d);
                squares[e] = vf_fma(d, d, squares[e]);
            }
        }
        join_gates(sum, together);
        join_gates(squares, together);
        SC_EACH_PART(together) {
            all[e].sum += (double)vf_sum(sum[e]);
            all[e].squares += (double)vf_sum(squares[e]);
        }
    }
}

/* One pass, from a guess of the mean: that of the first vectors. The sums cancel by (mean - guess)^2/variance, which is
 * nearly always less than 1; where it is more than SC_FAR, a second pass starts from the mean that the first one gave. */
#define SC_FAR 16.0

SC_INLINE void normalize_gate_row(const sc_gate_norm *s, float *z, const float *b, const bool together)
{
    const double n = (double)s->units * (together ? 4.0 : 1.0);
    const float guessed = (float)(min_size(s->units, SC_V) * (together ? 4 : 1));
    float shift[4];
    vf guess[4], high[4], low[4], scale[4];
    SC_EACH(4) guess[e] = vf_load(z + e * SC_V);
    join_gates(guess, together);
    SC_EACH_PART(together) shift[e] = vf_sum(guess[e]) / guessed;
    bool again = true;
    for (int pass = 0; pass < 2 && again; pass++) {
        moments all[4];
        gate_sums(z, s->units, shift, together, all);
        again = false;
        SC_EACH_PART(together) {
            const double rest = all[e].sum / n, square = all[e].squares / n, variance = square - rest * rest;
            high[e] = vf_set(shift[e]);
            low[e] = vf_set((float)rest);
            scale[e] = vf_set((float)(1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + s->epsilon)));
            again = again || rest * rest > SC_FAR * variance;
            shift[e] = (float)((double)shift[e] + rest);
        }
    }
    for (size_t i = 0, end = blocks_of(s->units) * 4 * SC_V; i < end; i += 4 * SC_V) {
        SC_EACH(4) {
            const size_t at = i + (size_t)e * SC_V;
            const int part = together ? 0 : e;
            const vf d = vf_mul(vf_sub(vf_sub(vf_load(z + at), high[part]), low[part]), scale[part]);
            vf_store(z + at, vf_fma(d, vf_load(s->w + at), vf_load(b + at)));
        }
    }
}

static void normalize_gates(const sc_gate_norm *s)
{
    for (size_t m = 0; m < s->rows; m++) {
        const float *b = s->each_b != NULL ? s->each_b[m] : s->b;
        if (s->together) {
            normalize_gate_row(s, s->z[m], b, true);
        } else {
            normalize_gate_row(s, s->z[m], b, false);
        }
    }
}

/* ---- The greatest ------------------------------------------------------------------------------------------------- */

#define SC_LOOK_BLOCK (16 * SC_V) /* elements among which the first of the greatest is looked for one by one */

/* vf_min and vf_max give their second operand for NaN: what was found so far. */
static sc_extremes extremes(const float *x, size_t n)
{
    sc_extremes e = {.least = INFINITY, .greatest = -INFINITY, .numbers = true};
    vf low = vf_set(INFINITY), none = vf_set(0.0f);
    for (size_t first = 0; first < n; first += SC_LOOK_BLOCK) {
        const size_t end = min_size(first + SC_LOOK_BLOCK, n);
        vf high = vf_set(-INFINITY);
        size_t i = first;
        for (; i + SC_V <= end; i += SC_V) {
            const vf v = vf_load(x + i);
            high = vf_max(v, high);
            low = vf_min(v, low);
            none = vf_select(vf_isnan(v), v, none);
        }
        float greatest = vf_hmax(high);
        for (; i < end; i++) {
            greatest = x[i] > greatest ? x[i] : greatest;
            e.least = x[i] < e.least ? x[i] : e.least;
            e.numbers = e.numbers && x[i] == x[i];
        }
        if (greatest > e.greatest) {
            e.greatest = greatest;
            e.first = first;
        }
    }
    while (e.first < n && x[e.first] != e.greatest) {
        e.first++;
    }
    float nans[SC_V];
    vf_store(nans, none);
    for (size_t v = 0; v < SC_V; v++) {
        e.numbers = e.numbers && nans[v] == nans[v];
    }
    const float least = -vf_hmax(vf_neg(low));
    e.least = least < e.least ? least : e.least;
    return e;
}

/* The place of the first element from `from` on that is above the limit; n where there is none. */
static size_t next_above(const float *x, size_t n, size_t from, float limit)
{
    while (from < n) {
        for (; from + 4 * SC_V <= n; from += 4 * SC_V) {
            const vf a = vf_max(vf_load(x + from), vf_load(x + from + SC_V));
            const vf b = vf_max(vf_load(x + from + 2 * SC_V), vf_load(x + from + 3 * SC_V));
            if (vf_hmax(vf_max(a, b)) > limit) {
                break;
            }
        }
        for (const size_t end = min_size(from + 4 * SC_V, n); from < end; from++) {
            if (x[from] > limit) {
                return from;
            }
        }
    }
    return n;
}

/* Lane v of either half sums every V-th element; the last ones are added apart. */
static double share_from(const float *x, size_t n, float least, bool counts)
{
    const vf limit = vf_set(least), zero = vf_set(0.0f), one = vf_set(1.0f);
    vd low = vd_set(0.0), high = vd_set(0.0);
    double rest = 0.0, lanes[SC_V / 2];
    size_t i = 0;
    for (; i + SC_V <= n; i += SC_V) {
        const vf v = vf_load(x + i);
        float part[SC_V];
        vf_store(part, vf_select(vf_le(limit, v), counts ? one : v, zero));
        low = vd_add(low, vd_of(part));
        high = vd_add(high, vd_of(part + SC_V / 2));
    }
    for (; i < n; i++) {
        rest += x[i] < least ? 0.0 : counts ? 1.0 : (double)x[i];
    }
    vd_store(lanes, vd_add(low, high));
    for (size_t v = 0; v < SC_V / 2; v++) {
        rest += lanes[v];
    }
    return rest;
}

#endif
