/* The machine's read bandwidth, which limits decoding. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "base/clock.h"
#include "base/os.h"
#include "base/threads.h"

#include "pantry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MEASURE_MIB = 256, PASSES = 6, MAX_THREADS = 1024, UNROLL = 8, AHEAD = 256 };

struct reading {
    const uint64_t *words;
    size_t n_words;
    int n_threads;
    uint64_t sums[MAX_THREADS]; /* keeps the compiler from dropping the loop */
};

/* Independent sums per cache line, and prefetches well ahead, so the core has as many reads in flight as it can. */
static void read_share(void *context, int worker)
{
    struct reading *r = context;
    size_t share = r->n_words / (size_t)r->n_threads / UNROLL * UNROLL;
    const uint64_t *p = r->words + share * (size_t)worker;
    uint64_t sum[UNROLL] = {0};
    for (size_t i = 0; i < share; i += UNROLL) {
        __builtin_prefetch(p + i + AHEAD);
        for (size_t j = 0; j < UNROLL; j++)
            sum[j] += p[i + j];
    }
    for (size_t j = 0; j < UNROLL; j++)
        r->sums[worker] += sum[j];
}

/* Large pages if the system has them, so that memory is the limit and not the page table. */
static uint64_t *words_new(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    madvise(p, bytes, MADV_HUGEPAGE);
#endif
    memset(p, 1, bytes); /* untouched pages would all map the same zero page */
    return p;
}

static double measure(int n_threads)
{
    double best = 0;
    size_t bytes = (size_t)MEASURE_MIB << 20;
    struct pn_pool *pool = NULL;
    struct reading *r = calloc(1, sizeof *r);
    uint64_t *words = words_new(bytes);
    if (r && words && pn_pool_new(n_threads, &pool, NULL) == PANTRY_OK) {
        *r = (struct reading){.words = words, .n_words = bytes / sizeof *words, .n_threads = n_threads};
        for (int pass = 0; pass < PASSES; pass++) {
            uint64_t start = pn_clock_ns();
            pn_pool_run(pool, read_share, r);
            double rate = (double)bytes / ((double)(pn_clock_ns() - start) * 1e-9);
            best = rate > best ? rate : best;
        }
    }
    pn_pool_free(pool);
    if (words)
        munmap(words, bytes);
    free(r);
    return best;
}

double pantry_read_bandwidth(int n_threads)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static double known[MAX_THREADS + 1];
    if (n_threads < 1)
        n_threads = pn_os_physical_cores();
    if (n_threads > MAX_THREADS)
        n_threads = MAX_THREADS;
    pthread_mutex_lock(&lock);
    if (known[n_threads] == 0)
        known[n_threads] = measure(n_threads);
    double result = known[n_threads];
    pthread_mutex_unlock(&lock);
    return result;
}
