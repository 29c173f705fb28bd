/* A pool of threads for short parallel work.
 *
 * The caller is worker 0. Inside a run, workers meet at barriers and claim work in chunks, so that unequal cores end
 * together. Whoever waits, for a run or at a barrier, spins for two milliseconds at most, so that the token loop does
 * not wait for the scheduler, then sleeps, so that an idle program uses no processor and a busy machine gets it for the
 * thread that is waited for. */
#ifndef PN_BASE_THREADS_H
#define PN_BASE_THREADS_H

#include "base/status.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* Starts a thread that takes no signal meant for the process: handlers run in a thread of the program that uses the
 * library, and interrupt what that thread waits in. 0, or why it failed. */
int pn_thread_start(pthread_t *thread, void *(*run)(void *), void *argument);

struct pn_pool;

/* `n_threads` counts the caller: 1 makes a pool without threads. */
pantry_status pn_pool_new(int n_threads, struct pn_pool **out, struct pantry_error *err);
/* Waits for nobody: must not be called during a run. */
void pn_pool_free(struct pn_pool *pool);
int pn_pool_size(const struct pn_pool *pool);

/* Runs work(context, worker) once on each worker and returns when all have. Not reentrant: one run at a time. */
typedef void pn_pool_work(void *context, int worker);
void pn_pool_run(struct pn_pool *pool, pn_pool_work *work, void *context);

/* Inside a run: returns when all workers are here. What they wrote before, all see after. */
void pn_pool_barrier(struct pn_pool *pool);

/* The next of n units of work to be claimed: a half-open range of at most `chunk`. A zeroed counter starts at the
 * front. */
struct pn_claim {
    atomic_int_fast64_t next;
};
static inline int pn_claim_next(struct pn_claim *claim, int64_t n, int64_t chunk, int64_t *first, int64_t *end)
{
    int64_t at = atomic_fetch_add_explicit(&claim->next, chunk, memory_order_relaxed);
    if (at >= n)
        return 0;
    *first = at;
    *end = at + chunk < n ? at + chunk : n;
    return 1;
}

#endif
