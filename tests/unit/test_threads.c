/* The pool of threads and the sleep below it: work is done once, barriers hold everybody, sleepers are woken. Pools are
 * smaller and larger than the machine, and waits shorter and longer than the spinning that comes before a sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os.h"
#include "base/threads.h"

enum { N_UNITS = 64, MAX_THREADS = 40, ROUNDS = 50 };

struct work {
    struct pn_pool *pool;
    atomic_int seen[N_UNITS];
    struct pn_claim claim;
    int stage[MAX_THREADS]; /* one a worker, read by the others between barriers */
    atomic_int wrong, calls;
    uint64_t late_ns; /* for how long one worker, another one each round, keeps the others waiting */
};

static void be_late(uint64_t ns)
{
    for (uint64_t start = pn_clock_ns(); pn_clock_ns() - start < ns;)
        ;
}

static void claim_and_meet(void *context, int worker)
{
    struct work *w = context;
    int64_t first, end;
    int n = pn_pool_size(w->pool);
    atomic_fetch_add(&w->calls, 1);
    while (pn_claim_next(&w->claim, N_UNITS, 5, &first, &end))
        for (int64_t i = first; i < end; i++)
            atomic_fetch_add(&w->seen[i], 1);
    for (int round = 1; round <= ROUNDS; round++) {
        if (w->late_ns && round % n == worker)
            be_late(w->late_ns);
        w->stage[worker] = round;
        pn_pool_barrier(w->pool);
        for (int i = 0; i < n; i++)
            if (w->stage[i] != round)
                atomic_fetch_add(&w->wrong, 1);
        pn_pool_barrier(w->pool);
    }
}

static void check_pool(int n_threads, int n_runs, uint64_t late_ns)
{
    struct pn_error err;
    struct work w = {.late_ns = late_ns};
    assert_int_equal(pn_pool_new(n_threads, &w.pool, &err), PN_OK);
    assert_int_equal(pn_pool_size(w.pool), n_threads);
    for (int run = 0; run < n_runs; run++) {
        atomic_store(&w.claim.next, 0);
        for (int i = 0; i < N_UNITS; i++)
            atomic_store(&w.seen[i], 0);
        pn_pool_run(w.pool, claim_and_meet, &w);
        for (int i = 0; i < N_UNITS; i++)
            assert_int_equal(w.seen[i], 1);
        if (late_ns)
            be_late(late_ns); /* the workers wait for the next run */
    }
    assert_int_equal(w.calls, n_threads * n_runs);
    assert_int_equal(w.wrong, 0);
    pn_pool_free(w.pool);
}

static void pools_share_work_and_meet(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++)
        check_pool(n, 20, 0);
}

static void more_workers_than_processors_meet(void **state)
{
    (void)state;
    int n = pn_os_processors();
    if (n < MAX_THREADS)
        check_pool(n + 1, 5, 0);
    check_pool(MAX_THREADS, 2, 0);
}

static void long_waits_end(void **state)
{
    (void)state;
    check_pool(2, 4, 400000);
    check_pool(3, 2, 400000);
}

static void nothing_runs_in_a_pool_that_is_not_used(void **state)
{
    (void)state;
    struct pn_error err;
    struct pn_pool *pool;
    for (int n = 1; n < 4; n++) {
        assert_int_equal(pn_pool_new(n, &pool, &err), PN_OK);
        pn_pool_free(pool);
    }
    assert_int_equal(pn_pool_new(0, &pool, &err), PN_INVALID);
    assert_null(pool);
    assert_int_equal(pn_pool_new(1025, &pool, &err), PN_INVALID);
    pn_pool_free(NULL);
}

/* Claims cover 0 .. n - 1 in order, each unit once, no claim larger than asked for. */
static void claims_cover_everything_once(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 20; n++)
        for (int64_t chunk = 1; chunk < 25; chunk++) {
            struct pn_claim claim = {0};
            int64_t first = -1, end = -1, next = 0;
            while (pn_claim_next(&claim, n, chunk, &first, &end)) {
                assert_int_equal(first, next);
                assert_int_equal(end, next + chunk < n ? next + chunk : n);
                next = end;
            }
            assert_int_equal(next, n);
            assert_false(pn_claim_next(&claim, n, chunk, &first, &end));
        }
}

static void pools_have_bounds(void **state)
{
    (void)state;
    struct pn_error err = {0};
    struct pn_pool *pool;
    assert_int_equal(pn_pool_new(-1, &pool, &err), PN_INVALID);
    assert_non_null(strstr(err.text, "cannot use -1 threads: 1 to 1024 are allowed"));
    pn_status status = pn_pool_new(1024, &pool, &err); /* fine, unless the machine has no room for them */
    assert_true(status == PN_OK || status == PN_IO);
    if (!status)
        assert_int_equal(pn_pool_size(pool), 1024);
    pn_pool_free(pool);
}

/* ---- signals ---- */

static void *blocked_here(void *set)
{
    pthread_sigmask(SIG_BLOCK, NULL, set);
    return NULL;
}

/* Signals of the process go to the program's threads. What a thread's own instructions raise is not held back. */
static void threads_leave_signals_to_the_program(void **state)
{
    (void)state;
    static const int others[] = {SIGINT, SIGTSTP, SIGCONT, SIGTERM, SIGHUP, SIGWINCH, SIGCHLD, SIGUSR1};
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t before, inside, after;
    pthread_t thread;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(pn_thread_start(&thread, blocked_here, &inside), 0);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(sigismember(&inside, others[i]), 1);
        assert_int_equal(sigismember(&after, others[i]), sigismember(&before, others[i]));
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        assert_int_equal(sigismember(&inside, own[i]), sigismember(&before, own[i]));
}

/* ---- sleeping ---- */

struct ball {
    atomic_uint word; /* whose turn it is: even or odd */
};

static void play(struct ball *b, unsigned mine)
{
    for (unsigned turn = mine; turn < 2000; turn += 2) {
        unsigned now;
        while ((now = atomic_load(&b->word)) != turn)
            pn_os_wait(&b->word, now);
        atomic_store(&b->word, turn + 1);
        pn_os_wake_all(&b->word);
    }
}

static void *other_player(void *ball)
{
    play(ball, 1);
    return NULL;
}

static void sleepers_are_woken(void **state)
{
    (void)state;
    struct ball b = {0};
    pthread_t other;
    pn_os_wait(&b.word, 1); /* is something else already: returns */
    assert_int_equal(pthread_create(&other, NULL, other_player, &b), 0);
    play(&b, 0);
    pthread_join(other, NULL);
    assert_int_equal(atomic_load(&b.word), 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_share_work_and_meet),
        cmocka_unit_test(more_workers_than_processors_meet),
        cmocka_unit_test(long_waits_end),
        cmocka_unit_test(nothing_runs_in_a_pool_that_is_not_used),
        cmocka_unit_test(claims_cover_everything_once),
        cmocka_unit_test(pools_have_bounds),
        cmocka_unit_test(threads_leave_signals_to_the_program),
        cmocka_unit_test(sleepers_are_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
