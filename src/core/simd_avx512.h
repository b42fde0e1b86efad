/* The vector operations over AVX-512 (F, VL, BW, DQ): sixteen lanes. What each must do is said in simd_scalar.h.
 * Needs -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma. */
#ifndef SC_SIMD_AVX512_H
#define SC_SIMD_AVX512_H
#ifdef SC_V
#error "one simd_*.h in a translation unit"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define SC_V 16
#define SC_FUSED 1
#define SC_INLINE static inline __attribute__((always_inline))

typedef __m512 vf;
typedef __m512d vd;
typedef __mmask16 vm;

SC_INLINE __mmask16 sc_first_lanes(size_t n) { return (__mmask16)((1u << n) - 1u); }

SC_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
SC_INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
SC_INLINE vf vf_loadn(const float *p, size_t n) { return _mm512_maskz_loadu_ps(sc_first_lanes(n), p); }
SC_INLINE void vf_storen(float *p, vf a, size_t n) { _mm512_mask_storeu_ps(p, sc_first_lanes(n), a); }
SC_INLINE vf vf_set(float value) { return _mm512_set1_ps(value); }
SC_INLINE vf vf_bcast(const float *p) { return _mm512_set1_ps(*p); }

SC_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
SC_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
SC_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
SC_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
SC_INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
SC_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
SC_INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
SC_INLINE vf vf_mul_error(vf a, vf b, vf p) { return _mm512_fmsub_ps(a, b, p); }
/* One Newton step from an estimate within 2^-14 leaves 2^-28; the step is also where `low` costs one instruction.
 * d above 2^126 may give 0, as the result is below FLT_MIN. */
SC_INLINE vf vf_reciprocal(vf d, vf low)
{
    vf y = _mm512_rcp14_ps(d);
    vf rest = _mm512_fnmadd_ps(y, low, _mm512_fnmadd_ps(y, d, _mm512_set1_ps(1.0f)));
    return _mm512_fmadd_ps(y, rest, y);
}
SC_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
SC_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }

SC_INLINE vf vf_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
SC_INLINE vf vf_neg(vf a) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a); }
/* The ternary table 0xE4 takes each bit from `sign` where the third operand is 1, else from `magnitude`. */
SC_INLINE vf vf_copysign(vf magnitude, vf sign)
{
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(sign), _mm512_castps_si512(magnitude),
                                                         _mm512_set1_epi32(INT32_MIN), 0xE4));
}

SC_INLINE vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
SC_INLINE vm vf_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
SC_INLINE vm vf_isnan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
SC_INLINE vf vf_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }

SC_INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SC_INLINE vf vf_ldexp(vf x, vf n) { return _mm512_scalef_ps(x, n); }

SC_INLINE float vf_sum(vf a)
{
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 r = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    r = _mm_add_ps(r, _mm_movehl_ps(r, r));
    return _mm_cvtss_f32(_mm_add_ss(r, _mm_shuffle_ps(r, r, 1)));
}

SC_INLINE float vf_hmax(vf a)
{
    __m256 half = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 r = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    r = _mm_max_ps(r, _mm_movehl_ps(r, r));
    return _mm_cvtss_f32(_mm_max_ss(r, _mm_shuffle_ps(r, r, 1)));
}

/* Pairs of rows, then pairs of pairs, within quarters of 128 bits; then the quarters, of which 0x88 takes the even ones of two
 * vectors and 0xdd the odd ones. */
SC_INLINE void vf_transpose(vf rows[SC_V])
{
    vf pairs[SC_V], fours[SC_V];
    _Pragma("GCC unroll 16") for (int i = 0; i < SC_V; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < SC_V; i += 4) {
        _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++) {
            const __m512d low = _mm512_castps_pd(pairs[i + k]), high = _mm512_castps_pd(pairs[i + k + 2]);
            fours[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            fours[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    _Pragma("GCC unroll 16") for (int k = 0; k < 4; k++) {
        const vf even = _mm512_shuffle_f32x4(fours[k], fours[k + 4], 0x88), odd = _mm512_shuffle_f32x4(fours[k], fours[k + 4], 0xdd);
        const vf even_too = _mm512_shuffle_f32x4(fours[k + 8], fours[k + 12], 0x88);
        const vf odd_too = _mm512_shuffle_f32x4(fours[k + 8], fours[k + 12], 0xdd);
        rows[k] = _mm512_shuffle_f32x4(even, even_too, 0x88);
        rows[k + 4] = _mm512_shuffle_f32x4(odd, odd_too, 0x88);
        rows[k + 8] = _mm512_shuffle_f32x4(even, even_too, 0xdd);
        rows[k + 12] = _mm512_shuffle_f32x4(odd, odd_too, 0xdd);
    }
}

SC_INLINE void vd_store(double *p, vd a) { _mm512_storeu_pd(p, a); }
SC_INLINE vd vd_set(double value) { return _mm512_set1_pd(value); }
SC_INLINE vd vd_of(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
SC_INLINE vd vd_ofn(const float *p, size_t n)
{
    return _mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8)sc_first_lanes(n), p));
}
SC_INLINE vd vd_add(vd a, vd b) { return _mm512_add_pd(a, b); }
SC_INLINE vd vd_max(vd a, vd b) { return _mm512_max_pd(a, b); }

#endif
