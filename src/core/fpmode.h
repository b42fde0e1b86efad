/* The mode in which numbers are computed, whatever the host has set for itself: denormals count as zero, as a saturated forget
 * gate decays c into denormals, which cost ten times a normal operation; rounding is to nearest, in all workers, or bits would
 * depend on them; and nothing traps, as a sigmoid may overflow on its way to 0. */
#ifndef SC_FPMODE_H
#define SC_FPMODE_H

#if defined(__SSE2__)
#include <immintrin.h>

#define SC_FP_MODE 0x9FC0u /* FTZ, DAZ, all exceptions masked, to nearest */
#define SC_FP_FLAGS 0x3Fu  /* what has happened, and no mode */
typedef unsigned sc_fp_mode;

/* Writing the register waits for what is under way: not where the caller, an audio host say, is in this mode already. */
static inline sc_fp_mode sc_enter_fp_mode(void)
{
    const sc_fp_mode before = _mm_getcsr();
    if ((before & ~SC_FP_FLAGS) != SC_FP_MODE) {
        _mm_setcsr(SC_FP_MODE);
    }
    return before;
}

static inline void sc_leave_fp_mode(sc_fp_mode before)
{
    if ((before & ~SC_FP_FLAGS) != SC_FP_MODE) {
        _mm_setcsr(before);
    }
}
#elif defined(__aarch64__)
typedef unsigned long sc_fp_mode;

static inline sc_fp_mode sc_enter_fp_mode(void)
{
    sc_fp_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(1ul << 24)); /* FZ; to nearest, no traps */
    return before;
}

static inline void sc_leave_fp_mode(sc_fp_mode before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
}
#else
typedef unsigned sc_fp_mode;

static inline sc_fp_mode sc_enter_fp_mode(void)
{
    return 0;
}

static inline void sc_leave_fp_mode(sc_fp_mode before)
{
    (void)before;
}
#endif
#endif
