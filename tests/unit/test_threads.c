/* The thread pool and its sleeping: work is done once, barriers hold all workers, sleepers are woken. Pools are smaller
 * and larger than the machine, waits shorter and longer than the spinning before a sleep. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

#include "base/clock.h"
#include "base/os.h"
#include "base/threads.h"

enum { N_UNITS = 64, MAX_THREADS = 40, ROUNDS = 50 };

struct work {
    struct pn_pool *pool;
    atomic_int seen[N_UNITS];
    struct pn_claim claim;
    int n_threads;
    int stage[MAX_THREADS]; /* one per worker, read by the others between barriers */
    atomic_int wrong, calls;
    uint64_t late_ns; /* how long one worker, a different one each round, keeps the others waiting */
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
    int n = w->n_threads;
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
    struct pantry_error err;
    struct work w = {.n_threads = n_threads, .late_ns = late_ns};
    assert_int_equal(pn_pool_new(n_threads, &w.pool, &err), PANTRY_OK);
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

static void unused_pools_run_nothing(void **state)
{
    (void)state;
    struct pantry_error err;
    struct pn_pool *pool;
    for (int n = 1; n < 4; n++) {
        assert_int_equal(pn_pool_new(n, &pool, &err), PANTRY_OK);
        pn_pool_free(pool);
    }
    assert_int_equal(pn_pool_new(0, &pool, &err), PANTRY_INVALID);
    assert_null(pool);
    assert_int_equal(pn_pool_new(1025, &pool, &err), PANTRY_INVALID);
    pn_pool_free(NULL);
}

/* Claims cover 0 .. n - 1 in order, each unit once, none larger than the chunk. */
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
    struct pantry_error err = {0};
    struct pn_pool *pool;
    assert_int_equal(pn_pool_new(-1, &pool, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "invalid number of threads (found -1, allowed 1 to 1024)"));
    pantry_status status = pn_pool_new(1024, &pool, &err); /* succeeds if the machine has room for them */
    assert_true(status == PANTRY_OK || status == PANTRY_IO);
    pn_pool_free(pool);
}

/* ---- signals ---- */

static void *blocked_here(void *set)
{
    pthread_sigmask(SIG_BLOCK, NULL, set);
    return NULL;
}

/* Signals of the process go to the program's threads. Signals raised by a thread's own instructions are not blocked. */
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
    atomic_uint word; /* whose turn: even or odd */
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
    pn_os_wait(&b.word, 1); /* differs already: returns */
    assert_int_equal(pthread_create(&other, NULL, other_player, &b), 0);
    play(&b, 0);
    pthread_join(other, NULL);
    assert_int_equal(atomic_load(&b.word), 2000);
}

#ifdef __linux__
/* ---- how long a wait spins, and which threads are woken ----
 *
 * The pool's system calls are wrapped (the program's definitions override libc's). They count sleeps and wake-ups per
 * thread, and each thread's clock advances by 2,000 ns with each reading, so nothing depends on the speed of the
 * machine. */

enum { CALLER, WORKER, STEP_NS = 2000 };

static _Thread_local int role = WORKER;
static atomic_int fake_cpus; /* 0: the machine's */
static atomic_int sleeps[2], wakes, looks[2];
static atomic_int go_at; /* the worker continues at this clock reading of the caller */
static atomic_bool go;

static void wait_for(atomic_int *counter, int at_least)
{
    while (atomic_load(counter) < at_least)
        sched_yield();
}

long syscall(long number, ...)
{
    static long (*_Atomic real)(long, ...);
    void *word, *timeout = NULL; /* only these two calls occur here */
    va_list args;
    va_start(args, number);
    assert_true(number == SYS_futex);
    word = va_arg(args, void *);
    int what = va_arg(args, int), value = va_arg(args, int);
    bool waits = (what & FUTEX_CMD_MASK) == FUTEX_WAIT;
    if (waits)
        timeout = va_arg(args, void *);
    va_end(args);
    if (!real) {
        long (*found)(long, ...);
        void *symbol = dlsym(RTLD_NEXT, "syscall");
        memcpy(&found, &symbol, sizeof found);
        real = found;
    }
    assert_true(waits || (what & FUTEX_CMD_MASK) == FUTEX_WAKE);
    atomic_fetch_add(waits ? &sleeps[role] : &wakes, 1);
    return real(number, word, what, value, timeout);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    static int (*_Atomic real)(clockid_t, struct timespec *);
    if (!atomic_load(&fake_cpus)) {
        if (!real) {
            int (*found)(clockid_t, struct timespec *);
            void *symbol = dlsym(RTLD_NEXT, "clock_gettime");
            memcpy(&found, &symbol, sizeof found);
            real = found;
        }
        return real(clock, t);
    }
    int look = atomic_fetch_add(&looks[role], 1);
    if (role == CALLER && look == atomic_load(&go_at)) {
        int before = atomic_load(&sleeps[WORKER]);
        atomic_store(&go, true);
        wait_for(&sleeps[WORKER], before + 1); /* it opened the gate and waits for the next run */
    }
    *t = (struct timespec){0, (long)look * STEP_NS};
    return 0;
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    int n = atomic_load(&fake_cpus);
    if (!n) {
        static int (*_Atomic real)(pid_t, size_t, cpu_set_t *);
        if (!real) {
            int (*found)(pid_t, size_t, cpu_set_t *);
            void *symbol = dlsym(RTLD_NEXT, "sched_getaffinity");
            memcpy(&found, &symbol, sizeof found);
            real = found;
        }
        return real(pid, size, set);
    }
    CPU_ZERO_S(size, set);
    for (int i = 0; i < n; i++)
        CPU_SET_S(i, size, set);
    return 0;
}

static struct pn_pool *pool_on(int cpus, int n_threads)
{
    struct pn_pool *pool;
    role = CALLER;
    atomic_store(&fake_cpus, cpus);
    for (int i = 0; i < 2; i++) {
        atomic_store(&sleeps[i], 0);
        atomic_store(&looks[i], 0);
    }
    atomic_store(&wakes, 0);
    atomic_store(&go_at, -1);
    assert_int_equal(pn_pool_new(n_threads, &pool, NULL), PANTRY_OK);
    return pool;
}

static void end_pool(struct pn_pool *pool)
{
    pn_pool_free(pool);
    atomic_store(&fake_cpus, 0);
}

struct meeting {
    struct pn_pool *pool;
    int sleeps[2]; /* sleeps that must have begun before this one continues; 0: continues at once */
    bool barriers;
};

static void meet(void *context, int worker)
{
    const struct meeting *m = context;
    wait_for(&sleeps[!worker], m->sleeps[worker]);
    if (!m->barriers)
        return;
    for (int first = 0; first < 4; first++) { /* the second one waits until the first sleeps */
        if (first % 2 != worker)
            wait_for(&sleeps[!worker], m->sleeps[0] + 1 + first / 2);
        pn_pool_barrier(m->pool);
    }
}

/* All sleepers are woken, and no wake-up is sent without a sleeper. One processor: no spinning. */
static void only_sleepers_are_woken(void **state)
{
    (void)state;
    struct pn_pool *pool = pool_on(1, 2);
    wait_for(&sleeps[WORKER], 1);                                 /* at the start */
    pn_pool_run(pool, meet, &(struct meeting){.sleeps = {0, 1}}); /* the caller sleeps at the end */
    assert_int_equal(atomic_load(&wakes), 2);
    wait_for(&sleeps[WORKER], 2);
    pn_pool_run(pool, meet, &(struct meeting){.sleeps = {3, 0}}); /* it does not */
    assert_int_equal(atomic_load(&wakes), 3);
    assert_int_equal(atomic_load(&sleeps[CALLER]), 1);
    assert_int_equal(atomic_load(&looks[CALLER]) + atomic_load(&looks[WORKER]), 0);
    pn_pool_run(pool, meet, &(struct meeting){.sleeps = {4, 0}});
    assert_int_equal(atomic_load(&wakes), 4);
    end_pool(pool);
    assert_int_equal(atomic_load(&wakes), 5);
}

/* The same at barriers, in either order of arrival. */
static void sleepers_at_barriers_are_woken(void **state)
{
    (void)state;
    struct pn_pool *pool = pool_on(1, 2);
    wait_for(&sleeps[WORKER], 1);
    atomic_store(&sleeps[WORKER], 0);
    struct meeting m = {.pool = pool, .barriers = true};
    pn_pool_run(pool, meet, &m);
    assert_true(atomic_load(&wakes) >= 5); /* the start and four barriers, and perhaps the end */
    end_pool(pool);
}

/* A gate that is already open costs no clock reading. Each spin in vain halves the next one, down to 50,000 ns; every
 * sixteenth is as long as the first. */
static void spins_in_vain_get_shorter(void **state)
{
    (void)state;
    struct pn_pool *pool = pool_on(8, 2);
    int spin_ns = 2000000, before = 0;
    for (int block = 0; block < 34; block++) {
        wait_for(&sleeps[WORKER], block + 1);
        int now = atomic_load(&looks[WORKER]), ns = block % 16 == 15 ? 2000000 : spin_ns;
        assert_int_equal(now - before, 1 + (ns + STEP_NS - 1) / STEP_NS);
        before = now;
        spin_ns = spin_ns / 2 < 50000 ? 50000 : spin_ns / 2;
        pn_pool_run(pool, meet, &(struct meeting){.sleeps = {block + 2, 0}});
        assert_int_equal(atomic_load(&looks[CALLER]), 0);
        assert_int_equal(atomic_load(&sleeps[CALLER]), 0);
    }
    end_pool(pool);
}

static void let_the_caller_wait(void *context, int worker)
{
    const int *caller_sleeps = context;
    if (!worker)
        return;
    while (!atomic_load(&go) && atomic_load(&sleeps[CALLER]) < *caller_sleeps)
        sched_yield();
}

/* If a gate opens while the caller spins, later spins last twice that time, at most two milliseconds. */
static void successful_spins_get_longer(void **state)
{
    (void)state;
    static const struct {
        int opens_at, times, looks; /* opens_at 0: not before the caller sleeps */
    } steps[] = {
        {0, 1, 1001},  {0, 1, 501},  {0, 1, 251},              /* 2 ms, halved each time */
        {10, 1, 11},   {0, 1, 126},                            /* soon: nothing to learn */
        {40, 1, 41},   {0, 1, 81},                             /* late: twice 80 us */
        {20, 1, 21},   {0, 1, 41},                             /* half of it: unchanged */
        {0, 9, 26},                                            /* the shortest */
        {40, 1, 41},   {0, 1, 81},   {0, 1, 41},  {0, 13, 26}, /* the sixteenth spins longer, and learns 80 us */
        {600, 1, 601}, {0, 1, 1001}, {0, 1, 501}, /* the thirty-second too; twice 1.2 ms is more than the longest */
    };
    struct pn_pool *pool = pool_on(8, 2);
    int worker_sleeps = 1;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        for (int k = 0; k < steps[i].times; k++) {
            wait_for(&sleeps[WORKER], worker_sleeps++);
            int before = atomic_load(&looks[CALLER]), caller_sleeps = atomic_load(&sleeps[CALLER]) + 1;
            atomic_store(&go, false);
            atomic_store(&go_at, steps[i].opens_at ? before + steps[i].opens_at : -1);
            pn_pool_run(pool, let_the_caller_wait, &caller_sleeps);
            if (atomic_load(&looks[CALLER]) - before != steps[i].looks)
                fail_msg("step %zu: %d looks", i, atomic_load(&looks[CALLER]) - before);
        }
    end_pool(pool);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_share_work_and_meet),
        cmocka_unit_test(more_workers_than_processors_meet),
        cmocka_unit_test(long_waits_end),
        cmocka_unit_test(unused_pools_run_nothing),
        cmocka_unit_test(claims_cover_everything_once),
        cmocka_unit_test(pools_have_bounds),
        cmocka_unit_test(threads_leave_signals_to_the_program),
        cmocka_unit_test(sleepers_are_woken),
#ifdef __linux__
        cmocka_unit_test(only_sleepers_are_woken),
        cmocka_unit_test(sleepers_at_barriers_are_woken),
        cmocka_unit_test(spins_in_vain_get_shorter),
        cmocka_unit_test(successful_spins_get_longer),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
