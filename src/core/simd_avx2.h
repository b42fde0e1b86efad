/* The vector operations over AVX2 and FMA: eight lanes. What each must do is said in simd_scalar.h.
 * Needs -mavx2 -mfma. */
#ifndef SC_SIMD_AVX2_H
#define SC_SIMD_AVX2_H
#ifdef SC_V
#error "one simd_*.h in a translation unit"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define SC_V 8
#define SC_FUSED 1
#define SC_INLINE static inline __attribute__((always_inline))

typedef __m256 vf;
typedef __m256d vd;
typedef __m256 vm; /* a lane is chosen by its sign bit */

SC_INLINE __m256i sc_first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

SC_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
SC_INLINE void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
SC_INLINE vf vf_loadn(const float *p, size_t n) { return _mm256_maskload_ps(p, sc_first_lanes(n)); }
SC_INLINE void vf_storen(float *p, vf a, size_t n) { _mm256_maskstore_ps(p, sc_first_lanes(n), a); }
SC_INLINE vf vf_set(float value) { return _mm256_set1_ps(value); }
SC_INLINE vf vf_bcast(const float *p) { return _mm256_broadcast_ss(p); }

SC_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
SC_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
SC_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
SC_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
SC_INLINE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
SC_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
SC_INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
SC_INLINE vf vf_mul_error(vf a, vf b, vf p) { return _mm256_fmsub_ps(a, b, p); }
SC_INLINE vf vf_reciprocal(vf d, vf low)
{
    (void)low;
    return _mm256_div_ps(_mm256_set1_ps(1.0f), d);
}
SC_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
SC_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }

SC_INLINE vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
SC_INLINE vf vf_neg(vf a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a); }
SC_INLINE vf vf_copysign(vf magnitude, vf sign)
{
    return _mm256_or_ps(vf_abs(magnitude), _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}

SC_INLINE vm vf_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
SC_INLINE vm vf_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
SC_INLINE vm vf_isnan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
SC_INLINE vf vf_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }

SC_INLINE vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SC_INLINE vf vf_ldexp(vf x, vf n)
{
    __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent));
}

SC_INLINE float vf_sum(vf a)
{
    __m128 r = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    r = _mm_add_ps(r, _mm_movehl_ps(r, r));
    return _mm_cvtss_f32(_mm_add_ss(r, _mm_shuffle_ps(r, r, 1)));
}

SC_INLINE float vf_hmax(vf a)
{
    __m128 r = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    r = _mm_max_ps(r, _mm_movehl_ps(r, r));
    return _mm_cvtss_f32(_mm_max_ss(r, _mm_shuffle_ps(r, r, 1)));
}

/* Pairs of rows, then pairs of pairs, within halves of 128 bits; then the halves. */
SC_INLINE void vf_transpose(vf rows[SC_V])
{
    vf pairs[SC_V], fours[SC_V];
    _Pragma("GCC unroll 16") for (int i = 0; i < SC_V; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < SC_V; i += 4) {
        _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++) {
            const __m256d low = _mm256_castps_pd(pairs[i + k]), high = _mm256_castps_pd(pairs[i + k + 2]);
            fours[i + 2 * k] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
            fours[i + 2 * k + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
        }
    }
    _Pragma("GCC unroll 16") for (int k = 0; k < 4; k++) {
        rows[k] = _mm256_permute2f128_ps(fours[k], fours[k + 4], 0x20);
        rows[k + 4] = _mm256_permute2f128_ps(fours[k], fours[k + 4], 0x31);
    }
}

SC_INLINE void vd_store(double *p, vd a) { _mm256_storeu_pd(p, a); }
SC_INLINE vd vd_set(double value) { return _mm256_set1_pd(value); }
SC_INLINE vd vd_of(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
SC_INLINE vd vd_ofn(const float *p, size_t n)
{
    return _mm256_cvtps_pd(_mm_maskload_ps(p, _mm256_castsi256_si128(sc_first_lanes(n))));
}
SC_INLINE vd vd_add(vd a, vd b) { return _mm256_add_pd(a, b); }
SC_INLINE vd vd_max(vd a, vd b) { return _mm256_max_pd(a, b); }

#endif
