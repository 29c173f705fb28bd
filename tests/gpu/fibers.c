/* Fibers that behave like the threads of a GPU: see fibers.h. */
#define _GNU_SOURCE 1
#include "gpu/fibers.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STACK = 64 << 10, MAX_SHARED = 64 << 10 };
enum wait { RUNS, WAITS_FOR_WARP, WAITS_FOR_GROUP, ENDED };

struct fiber {
    void *sp;
    enum wait wait;
    int line;           /* of the call that it waits in */
    unsigned value[2];  /* what it gave to the last two exchanges */
    unsigned exchanges; /* ... and how many it has made */
};

static struct {
    char *stacks, *shared; /* shared: MAX_SHARED bytes, then a guard page */
    struct fiber fibers[PN_EMULATED_MAX_THREADS];
    struct fiber *current;
    void *scheduler;
    struct pn_emulated_state *state;
    pn_emulated_kernel *run;
    const void *args;
    int n;
    const char *complaint;
} emulator;

/* Saves what a function must keep, changes the stack, and returns on the new one: switch_to(&from, to). */
void pn_emulator_switch(void **from, void *to);
#if defined(__x86_64__)
__asm__(".globl pn_emulator_switch\n"
        ".hidden pn_emulator_switch\n"
        ".type pn_emulator_switch, @function\n"
        "pn_emulator_switch:\n"
        "    push %rbp\n    push %rbx\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
        "    mov %rsp, (%rdi)\n    mov %rsi, %rsp\n"
        "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbx\n    pop %rbp\n    ret\n");
enum { SAVED = 6, RETURN_AT = 6 };
#elif defined(__aarch64__)
__asm__(
    ".globl pn_emulator_switch\n"
    ".hidden pn_emulator_switch\n"
    ".type pn_emulator_switch, %function\n"
    "pn_emulator_switch:\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, "
    "#144]\n"
    "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
    "    ldp x19, x20, [sp]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, "
    "#144]\n"
    "    add sp, sp, #160\n    ret\n");
enum { SAVED = 20, RETURN_AT = 11 };
#else
#error "fibers need a context switch for this processor"
#endif

static void stop(enum wait wait, int line)
{
    struct fiber *f = emulator.current;
    f->wait = wait;
    f->line = line;
    pn_emulator_switch(&f->sp, emulator.scheduler);
}

static void begin(void)
{
    emulator.run(emulator.args);
    stop(ENDED, 0);
    abort();
}

static void barrier(int line)
{
    stop(WAITS_FOR_GROUP, line);
}

static unsigned exchange(unsigned value, unsigned from, int line)
{
    struct fiber *f = emulator.current;
    unsigned turn = f->exchanges++ & 1;
    ptrdiff_t warp = (f - emulator.fibers) / PN_EMULATED_WARP * PN_EMULATED_WARP;
    f->value[turn] = value;
    stop(WAITS_FOR_WARP, line);
    return emulator.fibers[warp + (ptrdiff_t)(from % PN_EMULATED_WARP)].value[turn];
}

static bool set_up(void)
{
    if (emulator.stacks)
        return true;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), stacks = (size_t)STACK * PN_EMULATED_MAX_THREADS;
    char *map = mmap(NULL, stacks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *shared = mmap(NULL, MAX_SHARED + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || shared == MAP_FAILED || mprotect(shared + MAX_SHARED, page, PROT_NONE))
        return false;
    emulator.stacks = map;
    emulator.shared = shared;
    return true;
}

static void start(int i)
{
    struct fiber *f = &emulator.fibers[i];
    uint64_t *top = (uint64_t *)(void *)(emulator.stacks + (size_t)STACK * (size_t)(i + 1)) - 2;
    uint64_t *sp = top - SAVED - 1;
    memset(sp, 0, (SAVED + 1) * sizeof *sp);
    sp[RETURN_AT] = (uint64_t)(uintptr_t)begin;
    *f = (struct fiber){.sp = sp, .wait = RUNS};
}

/* Runs the threads of one warp until all wait for the group or have ended. */
static void run_warp(int first, const unsigned short *order)
{
    int last = first + PN_EMULATED_WARP < emulator.n ? first + PN_EMULATED_WARP : emulator.n;
    while (!emulator.complaint) {
        int in_warp = 0, elsewhere = 0, line = 0;
        for (int k = 0; k < last - first; k++) {
            struct fiber *f = &emulator.fibers[first + order[k] % (last - first)];
            if (f->wait != RUNS)
                continue;
            emulator.current = f;
            emulator.state->thread.x = (unsigned)(f - emulator.fibers);
            pn_emulator_switch(&emulator.scheduler, f->sp);
        }
        for (int i = first; i < last; i++) {
            struct fiber *f = &emulator.fibers[i];
            if (f->wait != WAITS_FOR_WARP) {
                elsewhere++;
                continue;
            }
            if (in_warp++ && f->line != line)
                emulator.complaint = "lanes of a warp exchange values in different places";
            line = f->line;
        }
        if (in_warp == 0)
            return;
        if (elsewhere)
            emulator.complaint = "part of a warp exchanges values";
        for (int i = first; i < last; i++)
            emulator.fibers[i].wait = RUNS;
    }
}

/* Runs one group to its end. */
static void run_group(const unsigned short *warps, const unsigned short *lanes)
{
    int n_warps = (emulator.n + PN_EMULATED_WARP - 1) / PN_EMULATED_WARP;
    for (int i = 0; i < emulator.n; i++)
        start(i);
    while (!emulator.complaint) {
        int ended = 0, line = 0;
        for (int w = 0; w < n_warps; w++)
            run_warp(warps[w] * PN_EMULATED_WARP, lanes);
        for (int i = 0; i < emulator.n && !emulator.complaint; i++) {
            struct fiber *f = &emulator.fibers[i];
            if (f->wait == ENDED)
                ended++;
            else if (line && f->line != line)
                emulator.complaint = "threads of a group wait at different barriers";
            else
                line = f->line;
        }
        if (ended == emulator.n)
            return;
        if (ended)
            emulator.complaint = "part of a group reaches a barrier";
        for (int i = 0; i < emulator.n; i++)
            emulator.fibers[i].wait = RUNS;
    }
}

/* The numbers below n in the wanted order. */
static void arrange(unsigned short *list, int n, int order, unsigned *seed)
{
    for (int i = 0; i < n; i++)
        list[i] = (unsigned short)(order == PN_EMULATED_REVERSED ? n - 1 - i : i);
    for (int i = n - 1; i > 0 && order == PN_EMULATED_SHUFFLED; i--) {
        *seed = *seed * 1664525u + 1013904223u;
        int j = (int)((*seed >> 8) % (unsigned)(i + 1));
        unsigned short t = list[i];
        list[i] = list[j];
        list[j] = t;
    }
}

int pn_emulate(struct pn_emulated_state *state, pn_emulated_kernel *run, const void *args, const unsigned groups[3],
               int threads, size_t shared, int order)
{
    unsigned short warps[PN_EMULATED_MAX_THREADS / PN_EMULATED_WARP], lanes[PN_EMULATED_WARP];
    unsigned seed = 1;
    shared = (shared + 15) / 16 * 16;
    if (threads < 1 || threads > PN_EMULATED_MAX_THREADS || threads % PN_EMULATED_WARP || shared > MAX_SHARED ||
        !set_up()) {
        fprintf(stderr, "emulator: a group of %d threads with %zu bytes cannot run\n", threads, shared);
        return 1;
    }
    emulator.state = state;
    emulator.run = run;
    emulator.args = args;
    emulator.n = threads;
    emulator.complaint = NULL;
    *state = (struct pn_emulated_state){.groups = {groups[0], groups[1], groups[2]},
                                        .threads = {(unsigned)threads, 1, 1},
                                        .shared = (float *)(void *)(emulator.shared + MAX_SHARED - shared),
                                        .barrier = barrier,
                                        .exchange = exchange};
    for (unsigned z = 0; z < groups[2]; z++)
        for (unsigned y = 0; y < groups[1]; y++)
            for (unsigned x = 0; x < groups[0] && !emulator.complaint; x++) {
                state->group = (struct pn_emulated_place){x, y, z};
                memset(state->shared, 0xA5, shared); /* nobody may rely on it */
                arrange(warps, threads / PN_EMULATED_WARP, order, &seed);
                arrange(lanes, PN_EMULATED_WARP, order, &seed);
                run_group(warps, lanes);
                if (emulator.complaint)
                    fprintf(stderr, "emulator: %s (group %u, %u, %u, line %d)\n", emulator.complaint, x, y, z,
                            emulator.current->line);
            }
    return emulator.complaint != NULL;
}
