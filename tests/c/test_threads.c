/* sc_threads_claim: the threads that all calls of a process share, claimed and given back by many threads at once, and in a
 * forked child. The bound is what keeps a server's threads from multiplying by the cores. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "threads.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLERS 8
#define WANTED 4
#define ROUNDS 20000

static atomic_size_t held, held_by_many; /* by callers, and by those of them that have more than one */

static void release_in_pieces(size_t granted, size_t round)
{
    const size_t first = round % (granted + 1);
    sc_threads_release(first);
    sc_threads_release(granted - first);
}

static void *claim_often(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < ROUNDS; i++) {
        const size_t granted = sc_threads_claim(WANTED, true), many = granted > 1 ? granted : 0;
        CHECK(granted >= 1 && granted <= WANTED, "%zu", granted);
        const size_t all = atomic_fetch_add(&held, granted) + granted;
        CHECK(all <= WANTED + CALLERS - 1, "%zu threads of %d, with %d callers", all, WANTED, CALLERS);
        const size_t teams = atomic_fetch_add(&held_by_many, many) + many;
        CHECK(teams <= WANTED, "teams of %zu threads", teams);
        atomic_fetch_sub(&held_by_many, many);
        atomic_fetch_sub(&held, granted);
        release_in_pieces(granted, i);
    }
    return NULL;
}

/* Who says how many threads it takes gets them, and the others see that. */
static void *claim_its_own(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < ROUNDS; i++) {
        const size_t wanted = 1 + i % 7;
        CHECK(sc_threads_claim(wanted, false) == wanted, "%zu", wanted);
        const size_t granted = sc_threads_claim(WANTED, true), left = wanted < WANTED ? WANTED - wanted : 1;
        CHECK(granted >= 1 && granted <= left, "%zu beside %zu", granted, wanted);
        release_in_pieces(granted, i);
        release_in_pieces(wanted, i);
    }
    return NULL;
}

static void run_callers(void *(*work)(void *))
{
    pthread_t callers[CALLERS];
    for (size_t i = 0; i < CALLERS; i++) {
        CHECK(pthread_create(&callers[i], NULL, work, NULL) == 0, "pthread_create");
    }
    for (size_t i = 0; i < CALLERS; i++) {
        CHECK(pthread_join(callers[i], NULL) == 0, "pthread_join");
    }
    CHECK(sc_threads_claim(WANTED, true) == WANTED, "not all were given back");
    CHECK(sc_threads_claim(WANTED, true) == 1, "more was given back than claimed");
    sc_threads_release(WANTED + 1);
}

/* What calls of the parent held, nobody gives back in the child. */
static void fork_while_held(void)
{
    CHECK(sc_threads_claim(WANTED, true) == WANTED, "all");
    const pid_t child = fork();
    if (child == 0) {
        _exit(sc_threads_claim(WANTED, true) == WANTED ? 0 : 1);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the child: %d", status);
    CHECK(sc_threads_claim(WANTED, true) == 1, "the parent lost its claim");
    sc_threads_release(WANTED + 1);
}

int main(void)
{
    run_callers(claim_often);
    run_callers(claim_its_own);
    fork_while_held();
    printf("test_threads: all passed\n");
    return 0;
}
