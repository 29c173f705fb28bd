/* The thread pool: see threads.h. Opening the gate `start` begins a run; the last worker to finish opens `end`. */
#include "base/threads.h"

#include "base/clock.h"
#include "base/os.h"

#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE = 128, SPINS_PER_LOOK = 32, BLOCKS_PER_TRY = 16 };
enum { MIN_SPIN_NS = 50000, MAX_SPIN_NS = 2000000 }; /* the least: what sleeping and waking cost */

/* Threads wait for each other at gates, which open by counting up. The gate learns how long to spin before sleeping, up
 * to the difference between equal shares of a large step: a sleeper may wake on a processor that shares a core with
 * another worker. A spin in vain halves the time, since the awaited thread is probably not running: once per round, not
 * once per thread that waits, or a single late worker of many would end spinning. Now and then a thread tries the
 * longest time, and success brings spinning back. A short sleep proves nothing, since yielding may be what ended it. */
struct gate {
    alignas(CACHE_LINE) atomic_uint round;
    alignas(CACHE_LINE) atomic_int sleepers;
    alignas(CACHE_LINE) atomic_uint spin_ns; /* seldom written */
    atomic_uint n_blocks;
};

struct worker {
    struct pn_pool *pool;
    pthread_t thread;
    int index;
};

struct pn_pool {
    struct gate start, end, barrier;
    alignas(CACHE_LINE) atomic_int running;
    alignas(CACHE_LINE) atomic_int arrived;
    alignas(CACHE_LINE) bool crowded; /* more threads than processors: spinning would block the others */
    atomic_bool stop;
    int size;
    pn_pool_work *work;
    void *context;
    struct worker *workers;
};

/* ---- gates ---- */

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static inline unsigned round_of(struct gate *g)
{
    return atomic_load_explicit(&g->round, memory_order_acquire);
}

static inline bool is_open(struct gate *g, unsigned seen)
{
    return round_of(g) != seen;
}

/* Either the opener sees the sleeper or the sleeper sees the new round: each writes before it reads. */
static void open_gate(struct gate *g)
{
    atomic_fetch_add(&g->round, 1);
    if (atomic_load(&g->sleepers))
        pn_os_wake_all(&g->round);
}

static void sleep_at(struct gate *g, unsigned seen)
{
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->round) == seen)
        pn_os_wait(&g->round, seen);
    atomic_fetch_sub(&g->sleepers, 1);
}

/* Spins for at most `spin_ns`. Returns whether the gate opened; *spun_ns: the time until then. */
static bool spin_at(struct gate *g, unsigned seen, unsigned spin_ns, uint64_t *spun_ns)
{
    uint64_t start = pn_clock_ns();
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (is_open(g, seen))
                return true;
            relax();
        }
        *spun_ns = pn_clock_ns() - start;
    } while (*spun_ns < spin_ns);
    return false;
}

static void wait_at(const struct pn_pool *pool, struct gate *g, unsigned seen)
{
    for (int i = 0; i < SPINS_PER_LOOK; i++) { /* usually enough, and needs no clock */
        if (is_open(g, seen))
            return;
        relax();
    }
    if (!pool->crowded) {
        unsigned spin_ns = atomic_load_explicit(&g->spin_ns, memory_order_relaxed), next;
        uint64_t spun_ns = 0;
        bool try = atomic_load_explicit(&g->n_blocks, memory_order_relaxed) % BLOCKS_PER_TRY == BLOCKS_PER_TRY - 1;
        bool opened = spin_at(g, seen, try ? MAX_SPIN_NS : spin_ns, &spun_ns);
        if (opened)
            next = 2 * spun_ns < spin_ns ? spin_ns : 2 * spun_ns < MAX_SPIN_NS ? 2 * (unsigned)spun_ns : MAX_SPIN_NS;
        else
            next = spin_ns / 2 < MIN_SPIN_NS ? MIN_SPIN_NS : spin_ns / 2;
        if (next != spin_ns)
            atomic_compare_exchange_strong_explicit(&g->spin_ns, &spin_ns, next, memory_order_relaxed,
                                                    memory_order_relaxed);
        if (opened && try)
            atomic_fetch_add_explicit(&g->n_blocks, 1, memory_order_relaxed);
        if (opened)
            return;
        atomic_fetch_add_explicit(&g->n_blocks, 1, memory_order_relaxed);
    }
    sleep_at(g, seen);
}

/* ---- threads ---- */

int pn_thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    /* Keep signals that the thread's own instructions raise, and those that profilers send to each thread. */
    static const int kept[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGSEGV, SIGSYS, SIGTRAP};
    sigset_t block, before;
    sigfillset(&block);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        sigdelset(&block, kept[i]);
    pthread_sigmask(SIG_BLOCK, &block, &before);
    int failed = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* ---- the pool ---- */

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    struct pn_pool *pool = self->pool;
    for (unsigned seen = 0;; seen++) { /* no run begins before all workers have finished the last */
        wait_at(pool, &pool->start, seen);
        if (atomic_load_explicit(&pool->stop, memory_order_relaxed))
            return NULL;
        pool->work(pool->context, self->index);
        if (atomic_fetch_sub_explicit(&pool->running, 1, memory_order_acq_rel) == 1)
            open_gate(&pool->end);
    }
}

pantry_status pn_pool_new(int n_threads, struct pn_pool **out, struct pantry_error *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024)
        return pn_fail(err, PANTRY_INVALID, "invalid number of threads (found %d, allowed 1 to 1024)", n_threads);
    struct pn_pool *pool = aligned_alloc(CACHE_LINE, (sizeof *pool + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (!pool)
        return pn_no_memory(err, "a thread pool");
    memset(pool, 0, sizeof *pool);
    pool->size = 1;
    pool->crowded = n_threads > pn_os_processors();
    atomic_init(&pool->start.spin_ns, MAX_SPIN_NS);
    atomic_init(&pool->end.spin_ns, MAX_SPIN_NS);
    atomic_init(&pool->barrier.spin_ns, MAX_SPIN_NS);
    pool->workers = calloc((size_t)n_threads, sizeof *pool->workers);
    if (!pool->workers) {
        pn_pool_free(pool);
        return pn_no_memory(err, "a thread pool");
    }
    while (pool->size < n_threads) {
        struct worker *w = &pool->workers[pool->size];
        *w = (struct worker){.pool = pool, .index = pool->size};
        int failed = pn_thread_start(&w->thread, worker_main, w);
        if (failed) {
            pn_pool_free(pool);
            return pn_fail(err, PANTRY_IO, "cannot start thread %d: %s", w->index + 1, strerror(failed));
        }
        pool->size++;
    }
    *out = pool;
    return PANTRY_OK;
}

void pn_pool_free(struct pn_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    open_gate(&pool->start);
    for (int i = 1; i < pool->size; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool->workers);
    free(pool);
}

void pn_pool_run(struct pn_pool *pool, pn_pool_work *work, void *context)
{
    unsigned seen = round_of(&pool->end);
    pool->work = work;
    pool->context = context;
    if (pool->size > 1) {
        atomic_store_explicit(&pool->running, pool->size - 1, memory_order_relaxed);
        open_gate(&pool->start);
    }
    work(context, 0);
    if (pool->size > 1)
        wait_at(pool, &pool->end, seen);
}

void pn_pool_barrier(struct pn_pool *pool)
{
    if (pool->size == 1)
        return;
    unsigned seen = round_of(&pool->barrier);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->size - 1) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        open_gate(&pool->barrier);
    }
    wait_at(pool, &pool->barrier, seen); /* open already for the last worker */
}
