/* The vector type and its operations, in plain C: four lanes of float that any compiler can turn into what its
 * processor has. This header is also the contract; simd_avx2.h and simd_avx512.h give the same names over registers.
 * A translation unit includes exactly one of the three. Nothing here is a mathematical function: see vecmath.h.
 *
 *   SC_V                    lanes: 4 scalar, 8 avx2, 16 avx512
 *   SC_INLINE               static, and inlined always
 *   vf, vm                  a vector of SC_V floats; a mask of SC_V lanes
 *   vf_load, vf_store       SC_V floats at any address
 *   vf_loadn, vf_storen     the first n lanes, n in 0..SC_V; no byte past them is touched, the other lanes load 0
 *   vf_set(v), vf_bcast(p)  one value, or the float at p, in every lane
 *   vf_add sub mul div      IEEE 754
 *   vf_fma(a, b, c)         a*b + c;   vf_fnma(a, b, c): c - a*b. One rounding; in this header two, because a software
 *                           fused multiply-add costs a hundred times as much and the compiler must not choose
 *   SC_FUSED                1 where vf_fma rounds once, else 0
 *   vf_sqrt                 IEEE 754
 *   vf_reciprocal(d, low)   1/(d + low), where low is what rounding d took away, |low| <= ulp(d)/2. avx512: within 0.6
 *                           ulp; the others, where it would cost too much, ignore low and round 1/d correctly
 *   vf_mul_error(a, b, p)   a*b - p, where p = vf_mul(a, b): what the multiplication rounded away, exactly
 *   vf_min, vf_max(a, b)    a < b ? a : b and a > b ? a : b, so when either is NaN or both are 0 the answer is b
 *   vf_abs, vf_neg          the sign bit alone, NaN too
 *   vf_copysign(m, s)       magnitude of m, sign of s
 *   vf_lt, vf_le, vf_isnan  masks; a comparison with NaN is false
 *   vf_select(m, a, b)      m ? a : b, lane by lane
 *   vf_round(x)             nearest integer, ties to even, for |x| <= 2^22
 *   vf_ldexp(x, n)          x * 2^n for integral n; x and the result must be normal numbers
 *   vf_sum, vf_hmax         over all lanes, by halves: lane i with i + SC_V/2, then i + SC_V/4, ...
 *   vf_transpose(rows)      SC_V vectors in place: lane k of vector n becomes lane n of vector k
 *   vd                      a vector of SC_V/2 doubles
 *   vd_store, vd_set(v)     as of vf
 *   vd_of, vd_ofn           the SC_V/2 floats at p as doubles, or the first n of them, n in 0..SC_V/2, as vf_loadn
 *   vd_add, vd_max          as vf_add, vf_max */
#ifndef SC_SIMD_SCALAR_H
#define SC_SIMD_SCALAR_H
#ifdef SC_V
#error "one simd_*.h in a translation unit"
#endif

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SC_V 4
#define SC_FUSED 0
#if defined(__GNUC__)
#define SC_INLINE static inline __attribute__((always_inline))
#else
#define SC_INLINE static inline
#endif

typedef struct vf { float lane[SC_V]; } vf;
typedef struct vd { double lane[SC_V / 2]; } vd;
typedef struct vm { uint32_t lane[SC_V]; } vm; /* 0 or all ones */

SC_INLINE uint32_t sc_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

SC_INLINE float sc_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* One lane of r at a time: `expression` may use i. Unrolled by hand, which gcc then turns into SSE or NEON. */
#define SC_LANES(type, name, parameters, expression)                                                                   \
    SC_INLINE type name parameters                                                                                     \
    {                                                                                                                  \
        type r;                                                                                                        \
        { enum { i = 0 }; r.lane[i] = (expression); }                                                                  \
        { enum { i = 1 }; r.lane[i] = (expression); }                                                                  \
        { enum { i = 2 }; r.lane[i] = (expression); }                                                                  \
        { enum { i = 3 }; r.lane[i] = (expression); }                                                                  \
        return r;                                                                                                      \
    }

SC_LANES(vf, vf_load, (const float *p), p[i])
SC_LANES(vf, vf_loadn, (const float *p, size_t n), i < n ? p[i] : 0.0f)
SC_LANES(vf, vf_set, (float value), value)
SC_LANES(vf, vf_bcast, (const float *p), *p)
SC_LANES(vf, vf_add, (vf a, vf b), a.lane[i] + b.lane[i])
SC_LANES(vf, vf_sub, (vf a, vf b), a.lane[i] - b.lane[i])
SC_LANES(vf, vf_mul, (vf a, vf b), a.lane[i] * b.lane[i])
SC_LANES(vf, vf_div, (vf a, vf b), a.lane[i] / b.lane[i])
SC_LANES(vf, vf_sqrt, (vf a), sqrtf(a.lane[i]))
SC_LANES(vf, vf_fma, (vf a, vf b, vf c), a.lane[i] * b.lane[i] + c.lane[i])
SC_LANES(vf, vf_fnma, (vf a, vf b, vf c), c.lane[i] - a.lane[i] * b.lane[i])
SC_LANES(vf, vf_mul_error, (vf a, vf b, vf p), (float)((double)a.lane[i] * b.lane[i] - p.lane[i]))
SC_LANES(vf, vf_reciprocal, (vf d, vf low), ((void)low, 1.0f / d.lane[i]))
SC_LANES(vf, vf_min, (vf a, vf b), a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i])
SC_LANES(vf, vf_max, (vf a, vf b), a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
SC_LANES(vf, vf_abs, (vf a), sc_float(sc_bits(a.lane[i]) & 0x7fffffffu))
SC_LANES(vf, vf_neg, (vf a), sc_float(sc_bits(a.lane[i]) ^ 0x80000000u))
SC_LANES(vf, vf_copysign, (vf magnitude, vf sign),
         sc_float((sc_bits(magnitude.lane[i]) & 0x7fffffffu) | (sc_bits(sign.lane[i]) & 0x80000000u)))
SC_LANES(vm, vf_lt, (vf a, vf b), 0u - (uint32_t)(a.lane[i] < b.lane[i]))
SC_LANES(vm, vf_le, (vf a, vf b), 0u - (uint32_t)(a.lane[i] <= b.lane[i]))
SC_LANES(vm, vf_isnan, (vf a), 0u - (uint32_t)(a.lane[i] != a.lane[i]))
SC_LANES(vf, vf_select, (vm m, vf a, vf b),
         sc_float((sc_bits(a.lane[i]) & m.lane[i]) | (sc_bits(b.lane[i]) & ~m.lane[i])))
/* Adding 1.5 * 2^23 leaves no fraction bits, so the addition itself rounds to the nearest integer, which then stands
 * in the low bits of the sum; shifted by 23 it is a difference of exponents, and the constant's own bits are gone. */
#define SC_INTEGER_BIAS 12582912.0f
SC_LANES(vf, vf_round, (vf a), (a.lane[i] + SC_INTEGER_BIAS) - SC_INTEGER_BIAS)
SC_LANES(vf, vf_ldexp, (vf x, vf n), sc_float(sc_bits(x.lane[i]) + (sc_bits(n.lane[i] + SC_INTEGER_BIAS) << 23)))

#undef SC_LANES

#define SC_HALF_LANES(name, parameters, expression)                                                                    \
    SC_INLINE vd name parameters                                                                                       \
    {                                                                                                                  \
        vd r;                                                                                                          \
        { enum { i = 0 }; r.lane[i] = (expression); }                                                                  \
        { enum { i = 1 }; r.lane[i] = (expression); }                                                                  \
        return r;                                                                                                      \
    }

SC_HALF_LANES(vd_set, (double value), value)
SC_HALF_LANES(vd_of, (const float *p), (double)p[i])
SC_HALF_LANES(vd_ofn, (const float *p, size_t n), i < n ? (double)p[i] : 0.0)
SC_HALF_LANES(vd_add, (vd a, vd b), a.lane[i] + b.lane[i])
SC_HALF_LANES(vd_max, (vd a, vd b), a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])

#undef SC_HALF_LANES

SC_INLINE void vd_store(double *p, vd a)
{
    memcpy(p, a.lane, sizeof a.lane);
}

SC_INLINE void vf_store(float *p, vf a)
{
    memcpy(p, a.lane, sizeof a.lane);
}

SC_INLINE void vf_storen(float *p, vf a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = a.lane[i];
}

SC_INLINE float vf_sum(vf a)
{
    return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]);
}

SC_INLINE float vf_hmax(vf a)
{
    float even = a.lane[0] > a.lane[2] ? a.lane[0] : a.lane[2];
    float odd = a.lane[1] > a.lane[3] ? a.lane[1] : a.lane[3];
    return even > odd ? even : odd;
}

SC_INLINE void vf_transpose(vf rows[SC_V])
{
    for (int n = 0; n < SC_V; n++) {
        for (int k = 0; k < n; k++) {
            const float other = rows[n].lane[k];
            rows[n].lane[k] = rows[k].lane[n];
            rows[k].lane[n] = other;
        }
    }
}

#endif
