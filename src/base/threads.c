/* The pool: see threads.h. A run is announced by raising `generation`; it has ended when `running` is 0. */
#include "base/threads.h"

#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE = 128, SPINS_BEFORE_YIELD = 4096 };
static const uint64_t park_after_ns = 300000;

struct worker {
    struct pn_pool *pool;
    pthread_t thread;
    int index;
};

struct pn_pool {
    alignas(CACHE_LINE) atomic_uint generation;
    alignas(CACHE_LINE) atomic_int running;
    alignas(CACHE_LINE) atomic_int arrived;
    alignas(CACHE_LINE) atomic_uint barrier_round;
    alignas(CACHE_LINE) int size;
    pn_pool_work *work;
    void *context;
    atomic_bool stop;
    atomic_int parked;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct worker *workers;
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Spins, giving way now and then: with more threads than processors the one we wait for must get its turn. */
static inline void spin(unsigned *n)
{
    if (++*n % SPINS_BEFORE_YIELD == 0)
        sched_yield();
    else
        relax();
}

static void park(struct pn_pool *pool, unsigned seen)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->parked, 1);
    while (atomic_load(&pool->generation) == seen && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->parked, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    struct pn_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        unsigned n = 0;
        uint64_t since = 0;
        while (atomic_load_explicit(&pool->generation, memory_order_acquire) == seen && !atomic_load(&pool->stop)) {
            spin(&n);
            if (n % 256)
                continue;
            uint64_t now = pn_clock_ns();
            if (!since)
                since = now;
            else if (now - since > park_after_ns)
                park(pool, seen);
        }
        if (atomic_load(&pool->stop))
            return NULL;
        seen = atomic_load_explicit(&pool->generation, memory_order_acquire);
        pool->work(pool->context, self->index);
        atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
    }
}

pn_status pn_pool_new(int n_threads, struct pn_pool **out, struct pn_error *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024)
        return pn_fail(err, PN_INVALID, "cannot use %d threads: 1 to 1024 are allowed", n_threads);
    struct pn_pool *pool = aligned_alloc(CACHE_LINE, (sizeof *pool + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (!pool)
        return pn_no_memory(err, "a thread pool");
    memset(pool, 0, sizeof *pool);
    pool->size = 1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->workers = calloc((size_t)n_threads, sizeof *pool->workers);
    if (!pool->workers) {
        pn_pool_free(pool);
        return pn_no_memory(err, "a thread pool");
    }
    while (pool->size < n_threads) {
        struct worker *w = &pool->workers[pool->size];
        *w = (struct worker){.pool = pool, .index = pool->size};
        int failed = pthread_create(&w->thread, NULL, worker_main, w);
        if (failed) {
            pn_pool_free(pool);
            return pn_fail(err, PN_IO, "cannot start thread %d: %s", w->index + 1, strerror(failed));
        }
        pool->size++;
    }
    *out = pool;
    return PN_OK;
}

void pn_pool_free(struct pn_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 1; i < pool->size; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

int pn_pool_size(const struct pn_pool *pool)
{
    return pool->size;
}

void pn_pool_run(struct pn_pool *pool, pn_pool_work *work, void *context)
{
    pool->work = work;
    pool->context = context;
    if (pool->size > 1) {
        atomic_store_explicit(&pool->running, pool->size - 1, memory_order_relaxed);
        atomic_fetch_add(&pool->generation, 1);
        if (atomic_load(&pool->parked)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_broadcast(&pool->wake);
            pthread_mutex_unlock(&pool->lock);
        }
    }
    work(context, 0);
    unsigned n = 0;
    while (atomic_load_explicit(&pool->running, memory_order_acquire))
        spin(&n);
}

void pn_pool_barrier(struct pn_pool *pool)
{
    if (pool->size == 1)
        return;
    unsigned round = atomic_load_explicit(&pool->barrier_round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->size - 1) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->barrier_round, round + 1, memory_order_release);
        return;
    }
    unsigned n = 0;
    while (atomic_load_explicit(&pool->barrier_round, memory_order_acquire) == round)
        spin(&n);
}
