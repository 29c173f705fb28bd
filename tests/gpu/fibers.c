/* Thread groups as fibers: see fibers.h. */
#define _DARWIN_C_SOURCE
#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 700
#include "fibers.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STACK = 128 << 10 };

enum state { READY, IN_WARP, AT_BARRIER, ENDED };

static const char *const state_names[] = {"runs", "waits for its warp", "waits at a barrier", "has ended"};

struct fiber {
    ucontext_t context;
    enum state state;
    int where;   /* the barrier's place */
    int n_given; /* exchanges so far */
    /* Two slots in turn: a lane gives the next value only after all lanes gave this one, and the one after that only
     * after all lanes have read this one. */
    unsigned char slot[2][PN_FIBERS_SLOT];
};

static struct {
    struct fiber *fibers;
    char *stacks;
    int n, at;
    ucontext_t scheduler;
    void (*body)(void *);
    void *argument;
    uint64_t random;
    char error[200];
} group;

const char *pn_fibers_error(void)
{
    return group.error;
}

int pn_fiber_thread(void)
{
    return group.at;
}

static void wait_as(enum state state)
{
    struct fiber *f = &group.fibers[group.at];
    f->state = state;
    swapcontext(&f->context, &group.scheduler);
}

void pn_fiber_barrier(int where)
{
    group.fibers[group.at].where = where;
    wait_as(AT_BARRIER);
}

void pn_fiber_give(const void *value, size_t size)
{
    struct fiber *f = &group.fibers[group.at];
    if (size > PN_FIBERS_SLOT)
        abort();
    memcpy(f->slot[f->n_given++ % 2], value, size);
    wait_as(IN_WARP);
}

const void *pn_fiber_given(int lane)
{
    int turn = (group.fibers[group.at].n_given - 1) % 2;
    return group.fibers[group.at / PN_FIBERS_WARP * PN_FIBERS_WARP + lane % PN_FIBERS_WARP].slot[turn];
}

static void begin(void)
{
    group.body(group.argument);
    group.fibers[group.at].state = ENDED;
}

static int fail(const char *what, int i, int j)
{
    snprintf(group.error, sizeof group.error, "%s: thread %d %s, thread %d %s", what, i,
             state_names[group.fibers[i].state], j, state_names[group.fibers[j].state]);
    return -1;
}

/* Lets warps run on whose lanes have all given a value. Returns how many, or -1. */
static int release_warps(void)
{
    int released = 0;
    for (int first = 0; first < group.n; first += PN_FIBERS_WARP) {
        int in_warp = 0, waiting = first, other = first;
        int end = first + PN_FIBERS_WARP < group.n ? first + PN_FIBERS_WARP : group.n;
        for (int i = first; i < end; i++)
            if (group.fibers[i].state == IN_WARP) {
                in_warp++;
                waiting = i;
            } else {
                other = i;
            }
        if (in_warp == 0)
            continue;
        if (in_warp < PN_FIBERS_WARP)
            return fail("only some lanes of a warp exchange values", waiting, other);
        for (int i = first; i < end; i++)
            group.fibers[i].state = READY;
        released++;
    }
    return released;
}

/* Lets the group run on from a barrier. Returns whether it goes on, or -1. */
static int release_group(void)
{
    int here = -1, ended = -1;
    for (int i = 0; i < group.n; i++)
        *(group.fibers[i].state == ENDED ? &ended : &here) = i;
    if (here < 0)
        return 0;
    if (ended >= 0)
        return fail("only some threads reach a barrier", here, ended);
    for (int i = 0; i < group.n; i++) {
        if (group.fibers[i].where != group.fibers[0].where) {
            snprintf(group.error, sizeof group.error, "thread 0 waits at the barrier of line %d, thread %d of line %d",
                     group.fibers[0].where, i, group.fibers[i].where);
            return -1;
        }
        group.fibers[i].state = READY;
    }
    return 1;
}

/* The threads in the order in which they run until they wait. */
static void arrange(int *turn, enum pn_fibers_order order)
{
    for (int i = 0; i < group.n; i++)
        turn[i] = order == PN_FIBERS_REVERSED ? group.n - 1 - i : i;
    if (order != PN_FIBERS_SHUFFLED)
        return;
    for (int i = group.n - 1; i > 0; i--) {
        group.random = group.random * 6364136223846793005u + 1442695040888963407u;
        int j = (int)((group.random >> 33) % (unsigned)(i + 1)), kept = turn[i];
        turn[i] = turn[j];
        turn[j] = kept;
    }
}

static int prepare(int threads)
{
    group.error[0] = 0;
    if (threads < 1 || threads > PN_FIBERS_MAX || threads % PN_FIBERS_WARP) {
        snprintf(group.error, sizeof group.error, "a group has 32 to %d threads in whole warps, not %d", PN_FIBERS_MAX,
                 threads);
        return -1;
    }
    if (!group.fibers)
        group.fibers = calloc(PN_FIBERS_MAX, sizeof *group.fibers);
    if (!group.stacks)
        group.stacks = malloc((size_t)PN_FIBERS_MAX * STACK);
    if (!group.fibers || !group.stacks) {
        snprintf(group.error, sizeof group.error, "out of memory");
        return -1;
    }
    group.n = threads;
    for (int i = 0; i < threads; i++) {
        struct fiber *f = &group.fibers[i];
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = group.stacks + (size_t)i * STACK;
        f->context.uc_stack.ss_size = STACK;
        f->context.uc_link = &group.scheduler;
        makecontext(&f->context, begin, 0);
        f->state = READY;
        f->n_given = 0;
    }
    return 0;
}

int pn_fibers_run(void (*body)(void *), void *context, int threads, enum pn_fibers_order order)
{
    int turn[PN_FIBERS_MAX];
    if (prepare(threads) < 0)
        return -1;
    group.body = body;
    group.argument = context;
    for (;;) {
        arrange(turn, order);
        for (int i = 0; i < threads; i++)
            if (group.fibers[turn[i]].state == READY) {
                group.at = turn[i];
                swapcontext(&group.scheduler, &group.fibers[turn[i]].context);
            }
        int on = release_warps();
        if (on == 0)
            on = release_group();
        if (on <= 0)
            return on;
    }
}
