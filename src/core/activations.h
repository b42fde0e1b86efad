/* Every elementwise activation of docs/design.md over vecmath.h: one function each, and vf_activate, which chooses.
 * softmax and log_softmax are not here, because they look at a whole axis: reductions.h.
 *
 * Largest errors over all float32 in ulp, as in vecmath.h: relative errors throughout, the far negative tails of gelu,
 * silu and softplus included. Results below FLT_MIN count as 0.
 *
 *                   scalar   avx2   avx512
 *   vf_expm1_neg      1.2     1.2     1.2     x <= 0; elu and selu multiply it by a constant: one ulp more
 *   vf_softplus       2.2     2.0     2.0
 *   vf_softsign       1.5     1.5     1.5
 *   vf_silu           3.0     3.0     2.2
 *   vf_gelu           7.5     6.5     6.5
 *   vf_gelu_tanh      3.2     3.2     2.7
 *   vf_celu           2.2     2.2     2.2
 *   vf_log_sigmoid    2.2     2.0     2.0
 *   vf_mish           4.5     4.5     4.5
 *   vf_tanh_shrink    5.0     5.0     5.0
 *   vf_squareplus     3.5     3.5     3.5     alpha 4
 *   vf_scaled_tanh    2.8     2.8     2.8     alpha 0.6, beta 1.5; a beta x below FLT_MIN counts as 0
 *
 * The others are their formula, rounded once per operation: linear, relu, relu6, leaky_relu, hard_sigmoid, hard_silu,
 * hard_tanh, hard_shrink, soft_shrink, threshold, sparse_plus, affine. */
#ifndef SC_ACTIVATIONS_H
#define SC_ACTIVATIONS_H

#include "activation_kind.h"
#include "vecmath.h"

/* max(x, 0); NaN stays. */
SC_INLINE vf vf_relu(vf x)
{
    return vf_max(vf_set(0.0f), x);
}

SC_INLINE vf vf_leaky_relu(vf alpha, vf x)
{
    return vf_select(vf_le(vf_set(0.0f), x), x, vf_mul(alpha, x));
}

/* clip(alpha*x + beta, 0, 1). */
SC_INLINE vf vf_hard_sigmoid(vf alpha, vf beta, vf x)
{
    return sc_clamp(vf_fma(alpha, x, beta), 0.0f, 1.0f);
}

/* x/(1 + |x|). Past 2^30 the quotient is 1, and infinity is never divided by itself. */
SC_INLINE vf vf_softsign(vf x)
{
    vf a = vf_min(vf_set(1073741824.0f), vf_abs(x));
    return vf_copysign(vf_div(a, vf_add(vf_set(1.0f), a)), x);
}

/* exp(x) - 1 for x <= 0 (a positive x counts as 0). 2^n - 1 is exact; below -18 the result is -1. */
SC_INLINE vf vf_expm1_neg(vf x)
{
    x = sc_clamp(x, -18.0f, 0.0f);
    sc_reduced z = sc_reduce(x, sc_multiple(x, SC_LOG2_E), true);
    vf s = vf_ldexp(vf_set(1.0f), z.n);
    return vf_fma(s, sc_expm1_reduced(z), vf_sub(s, vf_set(1.0f)));
}

SC_INLINE vf vf_elu(vf alpha, vf x)
{
    return vf_select(vf_lt(vf_set(0.0f), x), x, vf_mul(alpha, vf_expm1_neg(x)));
}

/* Scale 1.0507009873554805; times alpha 1.6732632423543772 below zero (Klambauer et al., 2017). */
SC_INLINE vf vf_selu(vf x)
{
    vf below = vf_mul(vf_set(1.75809934f), vf_expm1_neg(x));
    return vf_select(vf_lt(vf_set(0.0f), x), vf_mul(vf_set(1.05070099f), x), below);
}

/* log(1 + u) for u in 0..1 is 2 atanh(w), w = u/(2 + u), atanh(w) = w + w^3 P(w^2) with P minimax, 1.1e-10 = 2^-33 of
 * atanh. Since 2w = u - u*w, it is u minus a correction of at most 0.31 u: the errors of w hardly count. */
SC_INLINE vf sc_log1p_unit(vf u)
{
    vf w = vf_div(u, vf_add(vf_set(2.0f), u));
    vf square = vf_mul(w, w);
    vf p = vf_fma(vf_set(0.12123172f), square, vf_set(0.10721859f));
    p = vf_fma(p, square, vf_set(0.14307609f));
    p = vf_fma(p, square, vf_set(0.19999474f));
    p = vf_fma(p, square, vf_set(0.33333337f));
    return vf_fnma(w, vf_fnma(vf_add(square, square), p, u), u);
}

/* log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)). */
SC_INLINE vf vf_softplus(vf x)
{
    return vf_add(vf_max(vf_set(0.0f), x), sc_log1p_unit(vf_exp(vf_neg(vf_abs(x)))));
}

/* x / (1 + exp(-(z + z_low))). Below z = -64 the quotient is taken at z + 32 ln(2), where it is 2^32 times as large,
 * and x is divided by 2^32: so nothing underflows before the product does. 22.1796875 has few enough bits for an exact
 * sum; 0.00102227792 is the rest of 32 ln(2). */
SC_INLINE vf sc_gated(vf x, vf z, vf z_low)
{
    vm tail = vf_lt(z, vf_set(-64.0f));
    vf zero = vf_set(0.0f);
    vf high = sc_clamp(vf_add(z, vf_select(tail, vf_set(22.1796875f), zero)), -88.3f, 30.0f);
    vf low = vf_add(z_low, vf_select(tail, vf_set(0.00102227792f), zero));
    sc_reduced minus = sc_plus(sc_reduce(vf_neg(high), sc_multiple(high, -SC_LOG2_E), true), vf_neg(low));
    vf scaled = vf_mul(x, vf_select(tail, vf_set(2.32830644e-10f), vf_set(1.0f)));
    return vf_mul(scaled, sc_logistic_reduced(minus));
}

/* x sigmoid(x); 0 at minus infinity. */
SC_INLINE vf vf_silu(vf x)
{
    x = vf_max(vf_set(-200.0f), x);
    return sc_gated(x, x, vf_set(0.0f));
}

/* x (1 + tanh(y/2))/2 = x sigmoid(y), y = 2 sqrt(2/pi) (x + 0.044715 x^3). An error of y is a relative error of the
 * negative tail, so y is kept as a sum of two floats: y = x*v, v = c1 + c2 x^2, and the constants as well
 * (4.5e-8, 2.4e-9: what rounding them to float left). Past |x| = 12 only the limits are left. */
SC_INLINE vf vf_gelu_tanh(vf x)
{
    x = vf_max(vf_set(-12.0f), x);
    vf a = vf_min(vf_set(12.0f), x);
    const vf c1 = vf_set(1.59576917f), c2 = vf_set(0.0713548139f);
    vf square = vf_mul(a, a);
    vf p = vf_mul(c2, square);
    vf p_low = vf_add(vf_mul_error(c2, square, p), vf_mul(c2, vf_mul_error(a, a, square)));
    p_low = vf_add(p_low, vf_fma(vf_set(2.39883234e-9f), square, vf_set(-4.53406804e-8f)));
    vf v = vf_add(c1, p); /* Knuth's two-sum: either may be the larger */
    vf second = vf_sub(v, c1);
    vf v_low = vf_add(vf_sub(c1, vf_sub(v, second)), vf_sub(p, second));
    vf y = vf_mul(a, v);
    vf y_low = vf_fma(a, vf_add(v_low, p_low), vf_mul_error(a, v, y));
    return sc_gated(x, y, y_low);
}

/* x Phi(x). Phi(-a) = exp(-a^2/2) P(a)/Q(a), P/Q minimax on 0..13.3, 1.5e-8 = 2^-26 of Phi, every coefficient positive.
 * a^2 enters exp as a sum of two floats. Below -13.2 the result is less than FLT_MIN. */
SC_INLINE vf vf_gelu(vf x)
{
    vf a = vf_min(vf_set(13.2f), vf_abs(x));
    vf square = vf_mul(a, a), half = vf_set(-0.5f);
    sc_reduced z = sc_reduce(vf_mul(half, square), sc_multiple(square, -0.5f * SC_LOG2_E), true);
    z = sc_plus(z, vf_mul(half, vf_mul_error(a, a, square)));
    vf p = vf_fma(vf_set(0.0039940127f), a, vf_set(0.03980866f));
    p = vf_fma(p, a, vf_set(0.18078512f));
    p = vf_fma(p, a, vf_set(0.4349802f));
    p = vf_fma(p, a, vf_set(0.5f));
    vf q = vf_fma(vf_set(0.010011356f), a, vf_set(0.09979314f));
    q = vf_fma(q, a, vf_set(0.4630029f));
    q = vf_fma(q, a, vf_set(1.1923146f));
    q = vf_fma(q, a, vf_set(1.6678452f));
    q = vf_fma(q, a, vf_set(1.0f));
    vf ratio = vf_div(p, q), s = vf_ldexp(vf_set(1.0f), z.n), e = sc_expm1_reduced(z);
    vf tail = vf_mul(s, vf_fma(e, ratio, ratio));
    /* Below zero x is taken as -a, as minus infinity times 0 would be NaN, and 2^n comes last, as the tail alone can be
     * less than FLT_MIN. */
    vf product = vf_mul(a, ratio);
    vf below = vf_neg(vf_mul(s, vf_fma(e, product, product)));
    return vf_select(vf_lt(x, vf_set(0.0f)), below, vf_mul(x, vf_sub(vf_set(1.0f), tail)));
}

/* x if x > 0, else alpha (exp(x/alpha) - 1); alpha > 0. */
SC_INLINE vf vf_celu(vf alpha, vf x)
{
    return vf_select(vf_lt(vf_set(0.0f), x), x, vf_mul(alpha, vf_expm1_neg(vf_div(x, alpha))));
}

/* log(1/(1 + exp(-x))). */
SC_INLINE vf vf_log_sigmoid(vf x)
{
    return vf_neg(vf_softplus(vf_neg(x)));
}

/* x tanh(log(1 + exp(x))) = x n/(n + 2), n = exp(x) (exp(x) + 2). From 20 on the quotient is 1; below -20 it is that of silu,
 * which takes care of the tail. */
SC_INLINE vf vf_mish(vf x)
{
    vf e = vf_exp(vf_min(vf_set(20.0f), x)), two = vf_set(2.0f);
    vf n = vf_mul(e, vf_add(e, two));
    return vf_select(vf_lt(x, vf_set(-20.0f)), vf_silu(x), vf_mul(x, vf_div(n, vf_add(n, two))));
}

/* x clip(x + 3, 0, 6)/6; 0 at minus infinity. */
SC_INLINE vf vf_hard_silu(vf x)
{
    vf gate = vf_div(sc_clamp(vf_add(x, vf_set(3.0f)), 0.0f, 6.0f), vf_set(6.0f));
    return vf_mul(vf_max(vf_set(-3.0f), x), gate);
}

/* 0 if |x| <= alpha, else x. */
SC_INLINE vf vf_hard_shrink(vf alpha, vf x)
{
    return vf_select(vf_le(vf_abs(x), alpha), vf_set(0.0f), x);
}

/* x - clip(x, -alpha, alpha), alpha >= 0. */
SC_INLINE vf vf_soft_shrink(vf alpha, vf x)
{
    return vf_sub(x, vf_max(vf_neg(alpha), vf_min(alpha, x)));
}

/* x - tanh(x). Below 1, where the difference would cancel, x^3 P(x^2), minimax, 6.3e-8 = 2^-23.9. */
SC_INLINE vf vf_tanh_shrink(vf x)
{
    vf a = vf_min(vf_set(1.0f), vf_abs(x)), square = vf_mul(a, a);
    vf p = vf_fma(vf_set(0.0004210671f), square, vf_set(-0.002511648f));
    p = vf_fma(p, square, vf_set(0.008220378f));
    p = vf_fma(p, square, vf_set(-0.021660967f));
    p = vf_fma(p, square, vf_set(0.05393503f));
    p = vf_fma(p, square, vf_set(-0.13333131f));
    p = vf_fma(p, square, vf_set(0.3333333f));
    vf near = vf_copysign(vf_mul(vf_mul(square, a), p), x);
    return vf_select(vf_lt(vf_abs(x), vf_set(1.0f)), near, vf_sub(x, vf_tanh(x)));
}

/* beta if x <= alpha, else x. */
SC_INLINE vf vf_threshold(vf alpha, vf beta, vf x)
{
    return vf_select(vf_le(x, alpha), beta, x);
}

/* (x + s)/2, s = sqrt(x^2 + alpha), alpha >= 0; below zero, where that cancels, alpha/(2 (s - x)). Above 1, s is
 * |x| sqrt(1 + alpha/x^2), so that no square overflows. */
SC_INLINE vf vf_squareplus(vf alpha, vf x)
{
    vf a = vf_abs(x), half = vf_set(0.5f);
    vf far = vf_mul(a, vf_sqrt(vf_add(vf_set(1.0f), vf_div(vf_div(alpha, a), a))));
    vf s = vf_select(vf_lt(vf_set(1.0f), a), far, vf_sqrt(vf_fma(a, a, alpha)));
    vf below = vf_div(vf_mul(half, alpha), vf_add(a, s));
    return vf_select(vf_lt(x, vf_set(0.0f)), below, vf_fma(half, x, vf_mul(half, s)));
}

/* 0 up to -1, x from 1 on, (x + 1)^2/4 between. */
SC_INLINE vf vf_sparse_plus(vf x)
{
    vf u = sc_clamp(vf_add(x, vf_set(1.0f)), 0.0f, 2.0f);
    return vf_select(vf_lt(x, vf_set(1.0f)), vf_mul(vf_mul(u, u), vf_set(0.25f)), x);
}

/* alpha tanh(beta x): that beta*x is rounded moves tanh by as much at most, relatively. */
SC_INLINE vf vf_scaled_tanh(vf alpha, vf beta, vf x)
{
    return vf_mul(alpha, vf_tanh(vf_mul(beta, x)));
}

/* The activation `kind` (enum sc_activation) of x. SC_LINEAR returns x; so do those over an axis, their caller's affair. */
SC_INLINE vf vf_activate(int kind, vf alpha, vf beta, vf x)
{
    switch (kind) {
    case SC_TANH: return vf_tanh(x);
    case SC_SIGMOID: return vf_sigmoid(x);
    case SC_RELU: return vf_relu(x);
    case SC_HARD_SIGMOID: return vf_hard_sigmoid(alpha, beta, x);
    case SC_SOFTPLUS: return vf_softplus(x);
    case SC_SOFTSIGN: return vf_softsign(x);
    case SC_EXPONENTIAL: return vf_exp(x);
    case SC_SILU: return vf_silu(x);
    case SC_LEAKY_RELU: return vf_leaky_relu(alpha, x);
    case SC_ELU: return vf_elu(alpha, x);
    case SC_SELU: return vf_selu(x);
    case SC_GELU: return vf_gelu(x);
    case SC_GELU_TANH: return vf_gelu_tanh(x);
    case SC_RELU6: return sc_clamp(x, 0.0f, 6.0f);
    case SC_CELU: return vf_celu(alpha, x);
    case SC_LOG_SIGMOID: return vf_log_sigmoid(x);
    case SC_MISH: return vf_mish(x);
    case SC_HARD_SILU: return vf_hard_silu(x);
    case SC_HARD_TANH: return sc_clamp(x, -1.0f, 1.0f);
    case SC_HARD_SHRINK: return vf_hard_shrink(alpha, x);
    case SC_SOFT_SHRINK: return vf_soft_shrink(alpha, x);
    case SC_TANH_SHRINK: return vf_tanh_shrink(x);
    case SC_THRESHOLD: return vf_threshold(alpha, beta, x);
    case SC_SQUAREPLUS: return vf_squareplus(alpha, x);
    case SC_SPARSE_PLUS: return vf_sparse_plus(x);
    case SC_AFFINE: return vf_fma(alpha, x, beta);
    case SC_SCALED_TANH: return vf_scaled_tanh(alpha, beta, x);
    default: return x;
    }
}

#endif
