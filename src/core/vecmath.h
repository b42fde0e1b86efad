/* exp, tanh and sigmoid over whichever simd_*.h was included before. The other activations are in activations.h.
 *
 * Largest errors over all float32, in ulp of the result, measured against double libm by tests/c/test_vecmath.c, which
 * holds the same table. A result below FLT_MIN counts as 0: the core runs with subnormals flushed.
 *
 *               scalar   avx2   avx512
 *   vf_exp        1.0     1.0     1.0
 *   vf_tanh       1.4     1.4     1.4
 *   vf_sigmoid    2.6     2.6     1.7     the worst near -16.5, where 1 + 2^24 is no longer exact
 *
 * NaN gives NaN; tanh is odd and within -1..1, sigmoid within 0..1, both with their limits at infinity; exp overflows
 * to infinity where it must. A lane's result depends on that lane alone. Coefficients: tests/golden/fit_vecmath.py. */
#ifndef SC_VECMATH_H
#define SC_VECMATH_H
#ifndef SC_V
#error "include a simd_*.h first"
#endif

#include <stdbool.h>

#define SC_UNROLL _Pragma("GCC unroll 16")

/* x = n ln(2) + r, n integral, |r| <= ln(2)/2. `first` is r but for the last correction: good enough for the inner
 * terms of a polynomial, which so start a multiply-add earlier. */
typedef struct sc_reduced {
    vf n, first, r;
} sc_reduced;

/* x*scale to the nearest integer, |x*scale| <= 2^22: adding 1.5 * 2^23 leaves no fraction bits. */
SC_INLINE vf sc_multiple(vf x, float scale)
{
    const vf bias = vf_set(12582912.0f);
    return vf_sub(vf_fma(x, vf_set(scale), bias), bias);
}

#define SC_LOG2_E 1.44269504f /* log2(e), to the nearest float */

/* Cody and Waite's reduction, n being sc_multiple(x, SC_LOG2_E). With one rounding n*high is exact inside the
 * multiply-add, so `high` is ln(2) to the nearest float, 1.90e-9 too large; `fine` takes that back. Without, n*high
 * must be exact by itself, so `high` has 9 bits, and the second step is always needed. */
SC_INLINE sc_reduced sc_reduce(vf x, vf n, bool fine)
{
    const float high = SC_FUSED ? 0.693147182f : 0.693359375f;
    const float low = SC_FUSED ? -1.90465430e-9f : -2.12194440e-4f;
    sc_reduced z;
    z.n = n;
    z.r = vf_fnma(n, vf_set(high), x);
    z.first = z.r;
    if (fine || !SC_FUSED)
        z.r = vf_fnma(n, vf_set(low), z.r);
    if (!SC_FUSED)
        z.first = z.r;
    return z;
}

/* The reduction of n ln(2) + r + low, for a low that does not take r beyond its range. */
SC_INLINE sc_reduced sc_plus(sc_reduced z, vf low)
{
    z.r = vf_add(z.r, low);
    z.first = z.r;
    return z;
}

/* (exp(r) - 1 - r)/r^2 for |r| <= 0.3467; minimax, 3.1e-9 = 2^-28.3 of exp(r). In two halves (Estrin), because this is
 * on the path from gate to state: three multiply-adds deep, where Horner's rule is four. */
SC_INLINE vf sc_exp_polynomial(vf r)
{
    vf square = vf_mul(r, r);
    vf start = vf_fma(vf_set(0.16666521f), r, vf_set(0.49999994f));
    vf rest = vf_fma(vf_set(0.0013821055f), square, vf_fma(vf_set(0.008368675f), r, vf_set(0.041668262f)));
    return vf_fma(rest, square, start);
}

/* exp(r) - 1 = r + r^2 P(r). */
SC_INLINE vf sc_expm1_reduced(sc_reduced z)
{
    return vf_fma(sc_exp_polynomial(z.first), vf_mul(z.r, z.r), z.r);
}

/* Keeps x within low..high; NaN stays NaN. */
SC_INLINE vf sc_clamp(vf x, float low, float high)
{
    return vf_max(vf_set(low), vf_min(vf_set(high), x));
}

/* 0 below ln(FLT_MIN) = -87.33655, infinity above ln(FLT_MAX) = 88.72283. */
SC_INLINE vf vf_exp(vf x)
{
    vf kept = sc_clamp(x, -87.3365402f, 88.7228317f);
    sc_reduced z = sc_reduce(kept, sc_multiple(kept, SC_LOG2_E), true);
    /* 1 + r + r^2 P(r), where what rounding 1 + r takes away goes to the small term: 0.8 ulp instead of 1.03. */
    vf sum = vf_add(vf_set(1.0f), z.r);
    vf low = vf_sub(z.r, vf_sub(sum, vf_set(1.0f)));
    vf y = vf_ldexp(vf_add(sum, vf_fma(sc_exp_polynomial(z.r), vf_mul(z.r, z.r), low)), z.n);
    /* Not "x > limit", so that NaN comes here as well and passes through the product. */
    y = vf_select(vf_le(x, vf_set(88.7228317f)), y, vf_mul(x, vf_set(3.40282347e+38f)));
    return vf_select(vf_lt(x, vf_set(-87.3365402f)), vf_set(0.0f), y);
}

/* 1 + exp(n ln(2) + r) for n in -126..127. With s = 2^n and q = exp(r) - 1 it is (1 + s) + s*q, and 1 + s is exact for
 * |n| <= 23, so one rounding is left; *low is what that took away. */
SC_INLINE vf sc_one_plus_exp(sc_reduced z, vf *low)
{
    vf q = sc_expm1_reduced(z);
    vf s = vf_ldexp(vf_set(1.0f), z.n);
    vf base = vf_add(vf_set(1.0f), s);
    vf sum = vf_fma(s, q, base);
    *low = vf_fma(s, q, vf_sub(base, sum));
    return sum;
}

/* 1/(1 + exp(n ln(2) + r)). */
SC_INLINE vf sc_logistic_reduced(sc_reduced z)
{
    vf low, d = sc_one_plus_exp(z, &low);
    return vf_reciprocal(d, low);
}

/* ---- Several vectors at once ----
 *
 * sigmoid and tanh of one vector are a chain of some 60 cycles that keeps a sixth of the machine busy, and the processor
 * does not look far enough ahead to find the next vector by itself. So they take a few, stage by stage. */
#define SC_EACH(n) SC_UNROLL for (int e = 0; e < (n); e++)
#define SC_AT_ONCE 4 /* vectors at most */

/* x = 1/(1 + exp(-x)). Above 17.4 the result is 1; below -87.4 it is less than FLT_MIN. */
SC_INLINE void vf_sigmoids(vf *x, const int n)
{
    sc_reduced z[SC_AT_ONCE];
    vf d[SC_AT_ONCE], low[SC_AT_ONCE];
    SC_EACH(n) {
        x[e] = sc_clamp(x[e], -88.3f, 30.0f);
        z[e] = sc_reduce(vf_neg(x[e]), sc_multiple(x[e], -SC_LOG2_E), true);
    }
    SC_EACH(n) d[e] = sc_one_plus_exp(z[e], &low[e]);
    SC_EACH(n) x[e] = vf_reciprocal(d[e], low[e]);
}

/* x = tanh(x). For |x| >= 0.55, 1 - 2/(1 + exp(2|x|)): the error of the quotient, which is at most 0.5, shrinks before it
 * is subtracted. n is at most 26 there, so the coarse reduction is within 5e-8 of exp(2|x|) and far less of the result.
 * Below, x + x^3 P(x^2), minimax, 1.1e-9 = 2^-29.7 of tanh. From 9.02 on the nearest float is 1. */
SC_INLINE void vf_tanhs(vf *x, const int n)
{
    vf a[SC_AT_ONCE], far[SC_AT_ONCE], near[SC_AT_ONCE];
    sc_reduced z[SC_AT_ONCE];
    SC_EACH(n) {
        a[e] = vf_min(vf_set(9.02f), vf_abs(x[e]));
        z[e] = sc_reduce(vf_add(a[e], a[e]), sc_multiple(a[e], 2.0f * SC_LOG2_E), false);
    }
    SC_EACH(n) {
        vf low, d = sc_one_plus_exp(z[e], &low);
        far[e] = vf_sub(vf_set(1.0f), vf_div(vf_set(2.0f), d));
    }
    SC_EACH(n) {
        vf square = vf_mul(a[e], a[e]);
        vf start = vf_fma(vf_set(0.13332544f), square, vf_set(-0.33333316f));
        vf rest = vf_fma(vf_set(-0.0062428494f), square, vf_set(0.021050714f));
        rest = vf_fma(rest, square, vf_set(-0.053847548f));
        vf p = vf_fma(rest, vf_mul(square, square), start);
        near[e] = vf_fma(vf_mul(square, a[e]), p, a[e]);
    }
    SC_EACH(n) x[e] = vf_copysign(vf_select(vf_lt(a[e], vf_set(0.55f)), near[e], far[e]), x[e]);
}

SC_INLINE vf vf_sigmoid(vf x)
{
    vf_sigmoids(&x, 1);
    return x;
}

SC_INLINE vf vf_tanh(vf x)
{
    vf_tanhs(&x, 1);
    return x;
}

#endif
