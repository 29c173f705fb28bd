/* Every access of a kernel to memory. Kernels are compiled with the compiler's instrumentation for races, whose calls
 * arrive here instead of in its own runtime; so do those of its check of alignment.
 *
 * An access must be inside of memory that the kernel has: a resident buffer, its arguments, its group's memory, its own
 * stack. Each four bytes have a record of the last accesses, which finds those that nothing orders: of two threads of a
 * group without a barrier between, of two groups, of two dispatches. METAL_EMULATOR_RACES=0 turns the records off. */
#include "emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CELL = 4 };

struct access {
    uint32_t dispatch; /* 0: none */
    uint32_t group;
    uint16_t thread, epoch, warp_epoch;
    uint16_t bytes; /* of the cell, as bits */
};
/* The last write, the last read, and the last read before it of another thread. */
struct emu_cell {
    struct access write, read, read_before;
};

static size_t cells_bytes(size_t bytes)
{
    return (bytes + CELL - 1) / CELL * sizeof(struct emu_cell);
}

struct emu_cell *emu_new_cells(size_t bytes)
{
    void *p =
        mmap(NULL, cells_bytes(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        emu_misuse("out of memory for the records of %zu bytes", bytes);
    return p;
}

void emu_free_cells(struct emu_cell *cells, size_t bytes)
{
    if (cells)
        munmap(cells, cells_bytes(bytes));
}

static bool watch_races(void)
{
    static int watch = -1;
    if (watch < 0) {
        const char *set = getenv("METAL_EMULATOR_RACES");
        watch = !set || strcmp(set, "0") != 0;
    }
    return watch;
}

/* ---- order ---- */

static bool same_thread(const struct access *a)
{
    return a->dispatch == emu_now.dispatch && a->group == emu_now.group && a->thread == emu_now.thread;
}

static bool is_ordered(const struct access *a)
{
    if (a->dispatch != emu_now.dispatch)
        return !a->dispatch || !emu_is_concurrent(a->dispatch);
    if (a->group != emu_now.group)
        return false;
    return a->thread == emu_now.thread || a->epoch < emu_now.epoch ||
           (a->thread / EMU_WARP == emu_now.thread / EMU_WARP && a->warp_epoch < emu_now.warp_epoch);
}

static void race(const struct access *a, const char *what, const char *before, const char *address, const char *where,
                 size_t offset)
{
    if (a->dispatch != emu_now.dispatch)
        emu_fault("missing barrier between dispatches: it %s %s + %zu (%p), which kernel %s %s in dispatch %u, and "
                  "nothing orders the two",
                  what, where, offset, (const void *)address, emu_kernel_of(a->dispatch), before, a->dispatch);
    if (a->group != emu_now.group)
        emu_fault("race between groups: it %s %s + %zu (%p), which group %u %s", what, where, offset,
                  (const void *)address, a->group, before);
    emu_fault("missing barrier in the group: it %s %s + %zu (%p), which thread %u %s", what, where, offset,
              (const void *)address, a->thread, before);
}

static void check_order(struct emu_cell *c, uint16_t bytes, bool write, const char *address, const char *where,
                        size_t offset)
{
    if ((c->write.bytes & bytes) && !is_ordered(&c->write))
        race(&c->write, write ? "writes" : "reads", "writes", address, where, offset);
    if (write && (c->read.bytes & bytes) && !is_ordered(&c->read))
        race(&c->read, "writes", "reads", address, where, offset);
    if (write && (c->read_before.bytes & bytes) && !is_ordered(&c->read_before))
        race(&c->read_before, "writes", "reads", address, where, offset);
    struct access *a = write ? &c->write : &c->read;
    if (same_thread(a) && a->epoch == emu_now.epoch && a->warp_epoch == emu_now.warp_epoch) {
        a->bytes |= bytes;
        return;
    }
    if (!write && !same_thread(a))
        c->read_before = *a;
    *a = (struct access){emu_now.dispatch, emu_now.group, emu_now.thread, emu_now.epoch, emu_now.warp_epoch, bytes};
}

static void check_cells(struct emu_cell *cells, size_t offset, size_t size, bool write, const char *address,
                        const char *where)
{
    for (size_t at = offset; at < offset + size;) {
        size_t cell = at / CELL, end = (cell + 1) * CELL < offset + size ? (cell + 1) * CELL : offset + size;
        uint16_t bytes = (uint16_t)(((1u << (end - at)) - 1) << at % CELL);
        check_order(&cells[cell], bytes, write, address, where, at);
        at = end;
    }
}

/* ---- place ---- */

static void check_shared(int i, size_t size, bool write, const char *address)
{
    size_t length = emu_now.command->shared[i];
    ptrdiff_t at_byte = address - emu_now.shared[i];
    size_t offset = (size_t)at_byte;
    if (at_byte < 0 || offset > length || size > length - offset)
        emu_fault("out of bounds: it %s threadgroup memory %d at %td of %zu bytes", write ? "writes" : "reads", i,
                  at_byte, length);
    struct emu_cell *cells = emu_now.shared_cells[i];
    for (size_t at = offset / CELL; !write && at <= (offset + size - 1) / CELL; at++)
        if (cells[at].write.dispatch != emu_now.dispatch || cells[at].write.group != emu_now.group)
            emu_fault("it reads threadgroup memory %d + %zu, which its group has not written", i, at * CELL);
    /* What other groups did with it before does not count: each has its own. */
    for (size_t at = offset / CELL; at <= (offset + size - 1) / CELL; at++) {
        struct access *list[] = {&cells[at].write, &cells[at].read, &cells[at].read_before};
        for (size_t k = 0; k < 3; k++)
            if (list[k]->group != emu_now.group)
                *list[k] = (struct access){0};
    }
    check_cells(cells, offset, size, write, address, "threadgroup memory");
}

/* Bound to the dispatch, or named by its command buffer. */
static bool is_used(const struct buffer *b)
{
    const struct command *c = emu_now.command;
    bool used = false;
    for (int i = 0; i < EMU_MAX_BINDINGS && !used; i++)
        used = c->buffers[i] == b;
    for (size_t i = 0; i < c->n_used && !used; i++)
        used = c->used[i] == b;
    return used;
}

static void check_buffer(struct buffer *b, size_t size, bool write, const char *address)
{
    size_t offset = (size_t)(address - b->gpu);
    if (size > b->size - offset)
        emu_fault("out of bounds: it %s %zu bytes at %zu of a buffer of %zu bytes", write ? "writes" : "reads", size,
                  offset, b->size);
    if (b->n_sets == 0 && !is_used(b))
        emu_fault("not resident: it %s a buffer of %zu bytes that no residency set of the queue has, and that its "
                  "command buffer does not use",
                  write ? "writes" : "reads", b->size);
    if (b->wrapped && write)
        emu_fault("it writes at %zu of a buffer that wraps the host's memory, which may be read-only", offset);
    if (b->wrapped || !watch_races())
        return;
    if (!b->cells)
        b->cells = emu_new_cells(b->size);
    check_cells(b->cells, offset, size, write, address, "buffer");
}

static bool inside(const char *p, size_t size, const char *start, const char *end)
{
    return p >= start && p < end && size <= (size_t)(end - p);
}

static void nowhere(const char *p, size_t size, bool write)
{
    const char *what = write ? "writes" : "reads";
    struct buffer *host = emu_buffer_at_host(p);
    if (host && host->host != host->gpu)
        emu_fault("wrong address: it %s %p, the host's address of a buffer", what, (const void *)p);
    for (size_t near = 1; near <= EMU_PAGE; near += 256) {
        struct buffer *b = emu_buffer_at(p - near), *after = emu_buffer_at(p + near);
        if (b && !b->wrapped)
            emu_fault("out of bounds: it %s %zu bytes at %zu of a buffer of %zu bytes", what, size,
                      (size_t)(p - b->gpu), b->size);
        if (after && !after->wrapped)
            emu_fault("out of bounds: it %s %zu bytes at -%td of a buffer of %zu bytes", what, size, after->gpu - p,
                      after->size);
    }
    emu_fault("wrong address: it %s %zu bytes at %p, where it has no memory", what, size, (const void *)p);
}

static void check(const void *address, size_t size, bool write)
{
    static struct buffer *last; /* most accesses go on where the one before was */
    const char *p = address;
    const struct command *c = emu_now.command;
    if (!c)
        return;
    if (inside(p, size, emu_now.stack, emu_now.stack_end))
        return;
    if (last && last->base.n_refs > 0 && last->wrapped && !write && last->n_sets > 0 &&
        inside(p, size, last->gpu, last->gpu + last->size))
        return;
    for (int i = 0; i < EMU_MAX_BINDINGS; i++) {
        const char *shared = emu_now.shared[i];
        if (shared && inside(p, 1, shared - EMU_MARGIN, shared + c->shared[i] + EMU_MARGIN)) {
            check_shared(i, size, write, p);
            return;
        }
        if (c->bytes[i] && inside(p, size, c->bytes[i], c->bytes[i] + c->n_bytes[i])) {
            if (write)
                emu_fault("it writes to its arguments, which are constant");
            return;
        }
    }
    struct buffer *b = emu_buffer_at(p);
    if (b) {
        last = b;
        check_buffer(b, size, write, p);
        return;
    }
    if (inside(p, size, c->module->start, c->module->end)) {
        if (write)
            emu_fault("it writes to a constant of the program");
        return;
    }
    nowhere(p, size, write);
}

/* ---- what instrumented code calls ---- */

#define EXPORT __attribute__((visibility("default")))
#define ACCESSES(n)                                                                                                    \
    EXPORT void __tsan_read##n(void *p);                                                                               \
    EXPORT void __tsan_write##n(void *p);                                                                              \
    EXPORT void __tsan_unaligned_read##n(void *p);                                                                     \
    EXPORT void __tsan_unaligned_write##n(void *p);                                                                    \
    void __tsan_read##n(void *p)                                                                                       \
    {                                                                                                                  \
        check(p, n, false);                                                                                            \
    }                                                                                                                  \
    void __tsan_write##n(void *p)                                                                                      \
    {                                                                                                                  \
        check(p, n, true);                                                                                             \
    }                                                                                                                  \
    void __tsan_unaligned_read##n(void *p)                                                                             \
    {                                                                                                                  \
        check(p, n, false);                                                                                            \
    }                                                                                                                  \
    void __tsan_unaligned_write##n(void *p)                                                                            \
    {                                                                                                                  \
        check(p, n, true);                                                                                             \
    }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

EXPORT void __tsan_read_range(void *p, unsigned long size);
EXPORT void __tsan_write_range(void *p, unsigned long size);
EXPORT void *__tsan_memcpy(void *to, const void *from, unsigned long size);
EXPORT void *__tsan_memmove(void *to, const void *from, unsigned long size);
EXPORT void *__tsan_memset(void *to, int byte, unsigned long size);
EXPORT void __tsan_func_entry(void *caller);
EXPORT void __tsan_func_exit(void);
EXPORT void __tsan_init(void);

void __tsan_read_range(void *p, unsigned long size)
{
    check(p, size, false);
}

void __tsan_write_range(void *p, unsigned long size)
{
    check(p, size, true);
}

void *__tsan_memmove(void *to, const void *from, unsigned long size)
{
    check(from, size, false);
    check(to, size, true);
    return memmove(to, from, size);
}

void *__tsan_memcpy(void *to, const void *from, unsigned long size)
{
    return __tsan_memmove(to, from, size);
}

void *__tsan_memset(void *to, int byte, unsigned long size)
{
    check(to, size, true);
    return memset(to, byte, size);
}

void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void)
{
}

void __tsan_init(void)
{
}

/* What the compiler passes about a pointer that is not aligned as its type wants. */
struct mismatch {
    const char *file;
    uint32_t line, column;
    const struct {
        uint16_t kind, info;
        char name[];
    } * type;
    unsigned char log2_alignment, kind;
};
EXPORT void __ubsan_handle_type_mismatch_v1(const struct mismatch *m, const void *p);

void __ubsan_handle_type_mismatch_v1(const struct mismatch *m, const void *p)
{
    emu_fault("misaligned: %s:%u uses %p as %s, which needs multiples of %d", m->file, m->line, p, m->type->name,
              1 << m->log2_alignment);
}
