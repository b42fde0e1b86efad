/* The team of workers: OpenMP where the compiler has it, else one thread. Also the mode in which they compute, and fork. */
#include "threads.h"
#include "fpmode.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#if defined(_OPENMP)
#include <omp.h>
#endif

/* ---- How many threads --------------------------------------------------------------------------------- */

static atomic_int default_threads; /* 0: not set yet */

sc_status sc_set_num_threads(int threads, sc_error *error)
{
    if (threads < 1) {
        return sc_fail(error, SC_BAD_ARGUMENT, "threads must be 1 or more, found %d", threads);
    }
    atomic_store(&default_threads, threads);
    return SC_OK;
}

#if defined(_OPENMP)
static int environment_threads; /* 0: it does not say */

/* Once, as another thread of the process may change its environment later. OMP_NUM_THREADS may be a list, one number a level;
 * the first counts. */
static void read_environment(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    const long asked = text != NULL ? strtol(text, NULL, 10) : 0;
    environment_threads = asked > 0 && asked < 65536 ? (int)asked : 0;
}

int sc_get_num_threads(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_environment);
    const int set = atomic_load(&default_threads), cores = sc_cpu_info()->cores;
    int threads = set > 0 ? set : environment_threads;
    if (threads == 0) {
        const int now = cores > 1 ? sc_allowed_cores() : 1; /* less where this thread was bound to some of them */
        threads = now < cores ? now : cores;
    }
    /* Less than OpenMP begins with: somebody has limited it since, omp_set_num_threads or threadpoolctl. */
    const int openmp = omp_get_max_threads(), initial = environment_threads > 0 ? environment_threads : omp_get_num_procs();
    return openmp < initial && openmp < threads ? openmp : threads;
}
#else
int sc_get_num_threads(void)
{
    const int set = atomic_load(&default_threads);
    return set > 0 ? set : 1;
}
#endif

/* ---- Threads shared out to calls -------------------------------------------------------------------------- */

static atomic_size_t in_use; /* by all calls that run */

size_t sc_threads_claim(size_t wanted, bool shared)
{
    size_t used = atomic_load_explicit(&in_use, memory_order_relaxed), granted;
    do {
        const size_t left = used < wanted ? wanted - used : 0;
        granted = !shared ? wanted : left > 1 ? left : 1;
    } while (!atomic_compare_exchange_weak_explicit(&in_use, &used, used + granted, memory_order_relaxed,
                                                    memory_order_relaxed));
    return granted;
}

void sc_threads_give_back(size_t count)
{
    atomic_fetch_sub_explicit(&in_use, count, memory_order_relaxed);
}

/* ---- Meeting ---------------------------------------------------------------------------------------------- */

#define SPINS 1000 /* some tens of us: then a member has no core of its own, and this one is offered to it */

static void spin_pause(void)
{
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void sc_meet_others(sc_team *team)
{
    team->met++;
    atomic_store_explicit(&team->seats[team->member].met, team->met, memory_order_release);
    for (size_t i = 0; i < team->members; i++) {
        /* another member may already wait at the next meeting: one ahead, never behind */
        for (size_t spins = 0; atomic_load_explicit(&team->seats[i].met, memory_order_acquire) < team->met; spins++) {
            if (spins < SPINS) {
                spin_pause();
            } else {
                sched_yield();
            }
        }
    }
}

/* ---- The team ------------------------------------------------------------------------------------------- */

/* libgomp's workers do not live in a forked child, and its first region there would wait for them for ever. Giving the team
 * back before the fork makes parent and child start a new one. */
static void before_fork(void)
{
#if defined(_OPENMP)
    omp_pause_resource_all(omp_pause_soft);
#endif
}

/* The calls of other threads do not go on in the child, and the forking thread is in none. */
static void in_child(void)
{
    atomic_store(&in_use, 0);
}

/* When the library is loaded, not at the first call: the team may be one that the host and seqcore share, so that the host has
 * used it before, and its child is the first to call. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, NULL, in_child);
}

void sc_parallel(int threads, void (*work)(void *context, size_t worker, size_t workers), void *context)
{
#if defined(_OPENMP)
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        {
            const sc_fp_mode before = sc_enter_fp_mode();
            work(context, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads());
            sc_leave_fp_mode(before);
        }
        return;
    }
#else
    (void)threads;
#endif
    const sc_fp_mode before = sc_enter_fp_mode();
    work(context, 0, 1);
    sc_leave_fp_mode(before);
}
