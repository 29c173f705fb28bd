/* Runs the threads of a group as fibers on one processor. A fiber runs until it waits: for the lanes of its warp in an
 * exchange, or for its group at a barrier. METAL_EMULATOR_ORDER says in which order groups, warps and lanes go. */
#include "emulator.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STACK = 128 << 10, GUARD = 4096, SLOT = 16 };
enum state { RUNNABLE, IN_EXCHANGE, IN_WARP_BARRIER, AT_BARRIER, ENDED };

struct fiber {
    void *sp;
    enum state state;
    const char *file;
    int line;
    struct emu_thread thread;
};

struct emu_now emu_now;
static struct fiber fibers[EMU_MAX_THREADS];
static unsigned char slots[EMU_MAX_THREADS][SLOT];
static uint16_t warp_epochs[EMU_MAX_THREADS / EMU_WARP];
static char *stacks;
static unsigned n_threads, current;
static void *scheduler;
static char *fault_text;

/* Saves the registers that a call keeps, and continues where `to` was saved. */
void emu_switch(void **save, void *to);
#if defined(__x86_64__)
__asm__(".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,@function\nemu_switch:\n"
        "    push %rbp\n    push %rbx\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
        "    mov %rsp, (%rdi)\n    mov %rsi, %rsp\n"
        "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbx\n    pop %rbp\n    ret\n"
        ".size emu_switch, .-emu_switch\n");
enum { SAVED = 8, ENTRY = 6 }; /* words of a new fiber's stack: six registers, where to begin, where to return to */
#elif defined(__aarch64__)
__asm__(
    ".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,%function\nemu_switch:\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n    stp d8, d9, [sp, #96]\n"
    "    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
    "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
    "    ldp x19, x20, [sp]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n    ldp d8, d9, [sp, #96]\n"
    "    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n    ret\n"
    ".size emu_switch, .-emu_switch\n");
enum { SAVED = 20, ENTRY = 11 };
#endif

static void wait_as(enum state state, const char *file, int line)
{
    struct fiber *f = &fibers[current];
    f->state = state;
    f->file = file;
    f->line = line;
    emu_switch(&f->sp, scheduler);
}

static void begin(void)
{
    emu_now.command->kernel->run(&fibers[current].thread);
    wait_as(ENDED, "", 0);
    abort();
}

void emu_fault(const char *format, ...)
{
    char *what, *all;
    va_list args;
    va_start(args, format);
    if (vasprintf(&what, format, args) < 0 ||
        asprintf(&all, "kernel %s, group (%u, %u, %u), thread %u: %s", emu_now.command->kernel->name,
                 emu_now.group_at[0], emu_now.group_at[1], emu_now.group_at[2], emu_now.thread, what) < 0)
        abort();
    va_end(args);
    free(what);
    fault_text = all;
    wait_as(ENDED, "", 0);
    abort();
}

/* ---- what kernels call ---- */

unsigned emu_lane(void)
{
    return current % EMU_WARP;
}

void emu_exchange(const void *mine, void *other, unsigned n, unsigned from, const char *file, int line)
{
    if (n > SLOT)
        emu_fault("%s:%d: an exchange of %u bytes (allowed 1..%d)", file, line, n, SLOT);
    memcpy(slots[current], mine, n);
    wait_as(IN_EXCHANGE, file, line); /* until all have published */
    unsigned lane = current / EMU_WARP * EMU_WARP + from % EMU_WARP;
    if (lane >= n_threads)
        emu_fault("%s:%d: an exchange with lane %u, but the warp has %u", file, line, from % EMU_WARP,
                  n_threads % EMU_WARP);
    memcpy(other, slots[lane], n);
    wait_as(IN_EXCHANGE, file, line); /* until all have read */
}

void emu_gather(const void *mine, void *all, unsigned n, const char *file, int line)
{
    unsigned first = current / EMU_WARP * EMU_WARP;
    if (n > SLOT || n_threads - first < EMU_WARP)
        emu_fault("%s:%d: %u bytes from each lane of a warp of %u", file, line, n, n_threads - first);
    memcpy(slots[current], mine, n);
    wait_as(IN_EXCHANGE, file, line);
    for (unsigned lane = 0; lane < EMU_WARP; lane++)
        memcpy((char *)all + (size_t)lane * n, slots[first + lane], n);
    wait_as(IN_EXCHANGE, file, line);
}

void emu_group_barrier(const char *file, int line)
{
    wait_as(AT_BARRIER, file, line);
}

void emu_warp_barrier(const char *file, int line)
{
    wait_as(IN_WARP_BARRIER, file, line);
}

/* ---- one group ---- */

static const char *const state_names[] = {"running", "in an exchange", "at a barrier of the warp", "at a barrier",
                                          "ended"};

/* Threads `a` and `b` should be at the same place. */
static void divergent(unsigned a, unsigned b)
{
    const struct fiber *x = &fibers[a], *y = &fibers[b];
    if (asprintf(&fault_text,
                 "kernel %s, group (%u, %u, %u): threads diverge: thread %u is %s (%s:%d), thread %u is %s (%s:%d)",
                 emu_now.command->kernel->name, emu_now.group_at[0], emu_now.group_at[1], emu_now.group_at[2], a,
                 state_names[x->state], x->file, x->line, b, state_names[y->state], y->file, y->line) < 0)
        abort();
}

static unsigned random_below(unsigned n)
{
    static uint32_t state = 12345;
    state = state * 1664525u + 1013904223u;
    return (unsigned)((uint64_t)state * n >> 32);
}

static void order_of(unsigned *list, unsigned n)
{
    enum emu_order order = emu_order();
    for (unsigned i = 0; i < n; i++)
        list[i] = order == EMU_REVERSED ? n - 1 - i : i;
    for (unsigned i = n; order == EMU_SHUFFLED && i > 1; i--) {
        unsigned j = random_below(i), swap = list[j];
        list[j] = list[i - 1];
        list[i - 1] = swap;
    }
}

static void run_fiber(unsigned i)
{
    current = i;
    emu_now.thread = (uint16_t)i;
    emu_now.warp_epoch = warp_epochs[i / EMU_WARP];
    emu_now.stack = stacks + (size_t)i * (STACK + GUARD) + GUARD;
    emu_now.stack_end = emu_now.stack + STACK;
    emu_switch(&scheduler, fibers[i].sp);
}

/* Until all lanes of the warp ended or wait for the group. */
static void run_warp(unsigned warp, const unsigned *lanes)
{
    unsigned first = warp * EMU_WARP, end = first + EMU_WARP < n_threads ? first + EMU_WARP : n_threads;
    for (;;) {
        for (unsigned k = 0; k < EMU_WARP && !fault_text; k++)
            if (first + lanes[k] < end && fibers[first + lanes[k]].state == RUNNABLE)
                run_fiber(first + lanes[k]);
        unsigned inside = end;
        for (unsigned i = first; i < end; i++)
            if (fibers[i].state == IN_EXCHANGE || fibers[i].state == IN_WARP_BARRIER)
                inside = i;
        if (fault_text || inside == end)
            return;
        for (unsigned i = first; i < end; i++)
            if (fibers[i].state != fibers[inside].state || fibers[i].line != fibers[inside].line ||
                strcmp(fibers[i].file, fibers[inside].file) != 0) {
                divergent(inside, i);
                return;
            }
        if (fibers[inside].state == IN_WARP_BARRIER)
            warp_epochs[warp]++;
        for (unsigned i = first; i < end; i++)
            fibers[i].state = RUNNABLE;
    }
}

/* All threads that live are at one barrier: lets them go on. False if all ended, or some did not come. */
static bool pass_barrier(void)
{
    for (unsigned i = 1; i < n_threads; i++)
        if (fibers[i].state != fibers[0].state || fibers[i].line != fibers[0].line ||
            strcmp(fibers[i].file, fibers[0].file) != 0) {
            divergent(0, i);
            return false;
        }
    if (fibers[0].state == ENDED)
        return false;
    for (unsigned i = 0; i < n_threads; i++)
        fibers[i].state = RUNNABLE;
    emu_now.epoch++;
    return true;
}

static void set_up(unsigned i, const struct emu_thread *bindings)
{
    const unsigned *groups = emu_now.command->groups, *threads = emu_now.command->threads, *at = emu_now.group_at;
    unsigned x = i % threads[0], y = i / threads[0] % threads[1], z = i / threads[0] / threads[1];
    const unsigned values[EMU_N_KINDS][3] = {
        [EMU_thread_position_in_grid] = {at[0] * threads[0] + x, at[1] * threads[1] + y, at[2] * threads[2] + z},
        [EMU_threadgroup_position_in_grid] = {at[0], at[1], at[2]},
        [EMU_thread_position_in_threadgroup] = {x, y, z},
        [EMU_thread_index_in_threadgroup] = {i},
        [EMU_simdgroup_index_in_threadgroup] = {i / EMU_WARP},
        [EMU_thread_index_in_simdgroup] = {i % EMU_WARP},
        [EMU_threads_per_threadgroup] = {threads[0], threads[1], threads[2]},
        [EMU_threadgroups_per_grid] = {groups[0], groups[1], groups[2]},
        [EMU_simdgroups_per_threadgroup] = {(n_threads + EMU_WARP - 1) / EMU_WARP},
        [EMU_threads_per_simdgroup] = {EMU_WARP},
        [EMU_threads_per_grid] = {groups[0] * threads[0], groups[1] * threads[1], groups[2] * threads[2]}};
    struct fiber *f = &fibers[i];
    f->thread = *bindings;
    memcpy(f->thread.values, values, sizeof values);
    f->state = RUNNABLE;
    uintptr_t *top = (uintptr_t *)(stacks + (size_t)(i + 1) * (STACK + GUARD)) - 2;
    memset(top - SAVED, 0, SAVED * sizeof *top);
    top[ENTRY - SAVED] = (uintptr_t)begin;
    f->sp = top - SAVED;
}

static void run_group(const struct emu_thread *bindings)
{
    unsigned warps[EMU_MAX_THREADS / EMU_WARP], lanes[EMU_WARP], n_warps = (n_threads + EMU_WARP - 1) / EMU_WARP;
    order_of(warps, n_warps);
    order_of(lanes, EMU_WARP);
    emu_now.epoch = 0;
    memset(warp_epochs, 0, sizeof warp_epochs);
    for (unsigned i = 0; i < n_threads; i++)
        set_up(i, bindings);
    do {
        for (unsigned w = 0; w < n_warps && !fault_text; w++)
            run_warp(warps[w], lanes);
    } while (!fault_text && pass_barrier());
}

static void make_stacks(void)
{
    size_t size = (size_t)EMU_MAX_THREADS * (STACK + GUARD);
    stacks = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED)
        emu_misuse("out of memory for stacks");
    for (size_t i = 0; i < EMU_MAX_THREADS; i++)
        mprotect(stacks + i * (STACK + GUARD), GUARD, PROT_NONE);
}

char *emu_run_groups(const struct emu_thread *bindings)
{
    const struct command *c = emu_now.command;
    n_threads = c->threads[0] * c->threads[1] * c->threads[2];
    fault_text = NULL;
    if (!stacks)
        make_stacks();
    unsigned n = c->groups[0] * c->groups[1] * c->groups[2], *order = malloc(n * sizeof *order);
    if (!order)
        abort();
    order_of(order, n);
    for (unsigned i = 0; i < n && !fault_text; i++) {
        emu_now.group = order[i];
        emu_now.group_at[0] = order[i] % c->groups[0];
        emu_now.group_at[1] = order[i] / c->groups[0] % c->groups[1];
        emu_now.group_at[2] = order[i] / c->groups[0] / c->groups[1];
        run_group(bindings);
    }
    free(order);
    return fault_text;
}
