/* A pool of threads for short parallel work.
 *
 * The caller is worker 0. Within a run, workers meet at barriers and claim work in chunks, so that unequal cores finish
 * together. A thread that waits for a run or at a barrier first spins, for two milliseconds at most, so that the token
 * loop does not depend on the scheduler. Then it sleeps, so that an idle program uses no processor time and a busy
 * machine can run the awaited thread. */
#ifndef PN_BASE_THREADS_H
#define PN_BASE_THREADS_H

#include "base/status.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* Starts a thread that blocks signals meant for the process: handlers run in the program's own threads and interrupt
 * their waits. Returns 0 or an error number. */
int pn_thread_start(pthread_t *thread, void *(*run)(void *), void *argument);

struct pn_pool;

/* `n_threads` counts the caller: 1 makes a pool without threads. */
pantry_status pn_pool_new(int n_threads, struct pn_pool **out, struct pantry_error *err);
/* Must not be called during a run. */
void pn_pool_free(struct pn_pool *pool);

/* Runs work(context, worker) once on each worker and returns when all have. Not reentrant: one run at a time. */
typedef void pn_pool_work(void *context, int worker);
void pn_pool_run(struct pn_pool *pool, pn_pool_work *work, void *context);

/* Within a run: returns when all workers have arrived. All of them then see what each wrote before. */
void pn_pool_barrier(struct pn_pool *pool);

/* Claims the next of n units of work: a half-open range of at most `chunk`. A zeroed counter starts at 0. Returns 0
 * when none are left. */
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
