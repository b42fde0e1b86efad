/* What this processor can do, and which kernel tables that allows. SEQCORE_ISA caps the choice. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "cgroup.h"
#include "kernels.h"
#include "threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#define SC_X86 1
#endif

static sc_cpu cpu;

#if defined(SC_X86)
typedef struct registers {
    unsigned a, b, c, d;
} registers;

static registers cpuid(unsigned leaf, unsigned subleaf)
{
    registers r = {0, 0, 0, 0};
    __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d); /* zeros where the leaf does not exist */
    return r;
}

static unsigned long long enabled_states(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
}

/* A register file counts only when the operating system saves it: XCR0 bits 1-2 (AVX), 5-7 (AVX-512), 17-18 (AMX). */
static void detect_x86(void)
{
    const registers one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
    const unsigned osxsave = 1u << 27;
    const unsigned long long saved = one.c & osxsave ? enabled_states() : 0;
    const int avx = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6, tiles = (saved & 0x60000) == 0x60000;
    const unsigned f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    cpu.fma = avx && (one.c >> 12 & 1);
    cpu.avx2 = avx && (seven.b >> 5 & 1);
    cpu.avx512 = zmm && (seven.b & f_dq_bw_vl) == f_dq_bw_vl;
    cpu.avx512_vnni = cpu.avx512 && (seven.c >> 11 & 1);
    cpu.avx512_bf16 = cpu.avx512 && (seven_one.a >> 5 & 1);
    cpu.amx_bf16 = tiles && (seven.d >> 22 & 1);
    cpu.amx_int8 = tiles && (seven.d >> 25 & 1);
}
#endif

static size_t cache_bytes(int name)
{
    const long bytes = sysconf(name);
    return bytes > 0 ? (size_t)bytes : 0;
}

int sc_allowed_cores(void)
{
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return CPU_COUNT(&set);
    }
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static const sc_kernels *const tables[] = { /* best first */
#if defined(SC_HAVE_AVX512)
    &sc_kernels_avx512,
#endif
#if defined(SC_HAVE_AVX2)
    &sc_kernels_avx2,
#endif
    &sc_kernels_scalar,
};

static bool has(const sc_kernels *table)
{
    if (strcmp(table->isa, "avx512") == 0) {
        return cpu.avx512 && cpu.fma;
    }
    if (strcmp(table->isa, "avx2") == 0) {
        return cpu.avx2 && cpu.fma;
    }
    return true;
}

static void detect(void)
{
#if defined(SC_X86)
    detect_x86();
#endif
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    cpu.l1d_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
    cpu.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
    cpu.l3_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
#endif
    const int allowed = sc_allowed_cores(), quota = sc_own_cgroup_cores();
    cpu.cores = quota > 0 && quota < allowed ? quota : allowed;
#if defined(_OPENMP)
    cpu.openmp = 1;
#endif
    /* The best table at or below the cap; a name that is no table caps nothing. */
    const char *cap = getenv("SEQCORE_ISA");
    const size_t count = sizeof tables / sizeof tables[0];
    size_t first = 0;
    for (size_t i = 0; cap != NULL && i < count; i++) {
        if (strcmp(tables[i]->isa, cap) == 0) {
            first = i;
        }
    }
    while (!has(tables[first])) {
        first++; /* ends at scalar */
    }
    cpu.isa = tables[first]->isa;
}

const sc_cpu *sc_cpu_info(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, detect);
    return &cpu;
}

/* Tables that this processor has; the scalar one always is among them. */
static const sc_kernels *usable(size_t index)
{
    sc_cpu_info();
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        if (has(tables[i]) && index-- == 0) {
            return tables[i];
        }
    }
    return NULL;
}

size_t sc_isa_count(void)
{
    size_t count = 0;
    while (usable(count) != NULL) {
        count++;
    }
    return count;
}

const char *sc_isa_name(size_t index)
{
    const sc_kernels *table = usable(index);
    return table != NULL ? table->isa : NULL;
}

const sc_kernels *sc_kernels_find(const char *isa)
{
    for (size_t i = 0; usable(i) != NULL; i++) {
        if (strcmp(usable(i)->isa, isa) == 0) {
            return usable(i);
        }
    }
    return NULL;
}
