/* The mode in which numbers are computed: denormals count as zero. A saturated forget gate decays c into denormals, which cost ten
 * times a normal operation. */
#ifndef SC_FPMODE_H
#define SC_FPMODE_H

#if defined(__SSE2__)
#include <immintrin.h>

#define SC_FTZ_DAZ 0x8040u
typedef unsigned sc_fp_mode;

/* Writing the register waits for what is under way: not where the caller, an audio host say, is in this mode already. */
static inline sc_fp_mode sc_flush_denormals(void)
{
    const sc_fp_mode before = _mm_getcsr();
    if ((before & SC_FTZ_DAZ) != SC_FTZ_DAZ) {
        _mm_setcsr(before | SC_FTZ_DAZ);
    }
    return before;
}

static inline void sc_restore_denormals(sc_fp_mode before)
{
    if ((before & SC_FTZ_DAZ) != SC_FTZ_DAZ) {
        _mm_setcsr(before);
    }
}
#elif defined(__aarch64__)
typedef unsigned long sc_fp_mode;

static inline sc_fp_mode sc_flush_denormals(void)
{
    sc_fp_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | 1ul << 24)); /* FZ */
    return before;
}

static inline void sc_restore_denormals(sc_fp_mode before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
}
#else
typedef unsigned sc_fp_mode;

static inline sc_fp_mode sc_flush_denormals(void)
{
    return 0;
}

static inline void sc_restore_denormals(sc_fp_mode before)
{
    (void)before;
}
#endif
#endif
