/* The memory budget: its bounds, what counts, and that promised memory exists. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "engine/slots.h"
#include "sanitized.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static struct pn_os_memory machine; /* as seen by the budgets below */

static void look(struct pn_os_memory *out)
{
    *out = machine;
}

static struct pn_memory budget_of(uint64_t total, uint64_t available)
{
    machine = (struct pn_os_memory){total, available, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    return (struct pn_memory){.lock = PTHREAD_MUTEX_INITIALIZER, .look = look};
}

static void assert_refused(struct pn_memory *m, uint64_t bytes, const char *sentence)
{
    struct pantry_error err = {0};
    uint64_t before = m->taken;
    assert_int_equal(pn_memory_take(m, bytes, "a test", &err), PANTRY_NO_MEMORY);
    assert_string_equal(err.text, sentence);
    assert_true(m->taken == before);
}

/* ---- the rule ---- */

static void taken_memory_is_not_left(void **state)
{
    (void)state;
    struct pn_memory m = budget_of(16 * GIB, 4 * GIB);
    uint64_t all = 4 * GIB - 64 * MIB; /* less a margin for uncounted memory */
    assert_true(pn_memory_left(&m) == all);
    assert_int_equal(pn_memory_take(&m, 1 * GIB, "a test", NULL), PANTRY_OK);
    assert_true(pn_memory_left(&m) == all - GIB);
    assert_refused(&m, 3 * GIB,
                   "a test needs 3.0 GiB of memory, but 2.9 GiB are left of the 16.0 GiB that this machine has");
    pn_memory_give(&m, 1 * GIB);
    assert_int_equal(pn_memory_take(&m, all, "a test", NULL), PANTRY_OK);
    assert_refused(&m, 1, "a test needs 0 KiB of memory, but 0 KiB are left of the 16.0 GiB that this machine has");
}

/* Touched memory is already missing from the system's free memory, so it must not be subtracted twice. */
static void touched_memory_counts_once(void **state)
{
    (void)state;
    struct pn_memory m = budget_of(16 * GIB, 4 * GIB);
    assert_int_equal(pn_memory_take(&m, 2 * GIB, "a test", NULL), PANTRY_OK);
    uint64_t left = pn_memory_left(&m);
    for (int i = 0; i < 4; i++) {
        pn_memory_touch(&m, (int64_t)GIB / 2);
        machine.available -= GIB / 2;
        assert_true(pn_memory_left(&m) == left);
    }
    pn_memory_touch(&m, -(int64_t)GIB);
    machine.available += GIB;
    assert_true(pn_memory_left(&m) == left);
    machine.available = GIB; /* another program started */
    assert_true(pn_memory_left(&m) < left);
}

static void the_tightest_bound_counts(void **state)
{
    (void)state;
    struct pn_memory m = budget_of(16 * GIB, 4 * GIB);
    machine.group_limit = 1 * GIB;
    machine.group_left = 900 * MIB;
    assert_true(pn_memory_left(&m) == (900 - 32) * MIB);
    assert_refused(&m, 3 * GIB,
                   "a test needs 3.0 GiB of memory, but 868 MiB are left of the 1.0 GiB that the control group allows");
    machine.group_left = 0;
    assert_true(pn_memory_left(&m) == 0);
    machine.group_limit = 64 * GIB; /* more than main memory: no bound */
    assert_true(pn_memory_left(&m) == 4 * GIB - 64 * MIB);
    pn_memory_set_limit(&m, 100 * MIB);
    assert_refused(&m, 101 * MIB,
                   "a test needs 101 MiB of memory, but 100 MiB are left of the 100 MiB that pantry may use");
    pn_memory_set_limit(&m, 0);
    assert_true(pn_memory_left(&m) == 4 * GIB - 64 * MIB);
    machine = (struct pn_os_memory){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    assert_true(pn_memory_left(&m) == UINT64_MAX); /* unknown */
    assert_int_equal(pn_memory_take(&m, 1ull << 50, "a test", NULL), PANTRY_OK);
}

/* Mapped weights count in full against the user's limit. Against the system's they count with the bytes that one token
 * reads, at most half, so that a model larger than memory still loads and leaves room. */
static void weights_count_differently_per_bound(void **state)
{
    (void)state;
    struct pn_memory m = budget_of(8 * GIB, 8 * GIB);
    uint64_t margin = 64 * MIB;
    assert_int_equal(pn_memory_add_weights(&m, 5 * GIB, 1 * GIB, "a model", NULL), PANTRY_OK);
    assert_true(pn_memory_left(&m) == 7 * GIB - margin);
    assert_int_equal(pn_memory_add_weights(&m, 60 * GIB, 50 * GIB, "a model", NULL), PANTRY_OK);
    assert_true(pn_memory_left(&m) == 4 * GIB - margin);
    pn_memory_remove_weights(&m, 60 * GIB, 50 * GIB);
    assert_true(pn_memory_left(&m) == 7 * GIB - margin);
    assert_int_equal(pn_memory_add_weights(&m, 3 * GIB, 2 * GIB, "a model", NULL), PANTRY_OK);
    assert_true(pn_memory_left(&m) == 5 * GIB - margin);
    assert_true(m.weight_bytes == 8 * GIB && m.step_bytes == 3 * GIB);
    pn_memory_remove_weights(&m, 3 * GIB, 2 * GIB);
    assert_true(pn_memory_left(&m) == 7 * GIB - margin);
    assert_true(m.weight_bytes == 5 * GIB && m.step_bytes == GIB);
    pn_memory_set_limit(&m, 6 * GIB);
    assert_true(pn_memory_left(&m) == 1 * GIB);
    struct pantry_error err = {0};
    assert_int_equal(pn_memory_add_weights(&m, 2 * GIB, 1, "b.gguf: the model", &err), PANTRY_NO_MEMORY);
    assert_string_equal(
        err.text, "b.gguf: the model needs 2.0 GiB of memory, but 1.0 GiB are left of the 6.0 GiB that pantry may use");
    assert_int_equal(pn_memory_add_weights(&m, 1 * GIB, 1, "a model", NULL), PANTRY_OK);
    assert_true(pn_memory_left(&m) == 0);
}

static void addresses_follow_the_bounds(void **state)
{
    (void)state;
    struct pn_memory m = budget_of(8 * GIB, 1 * GIB);
    assert_true(pn_memory_addresses(&m) == 8 * GIB);
    machine.group_limit = 2 * GIB;
    assert_true(pn_memory_addresses(&m) == 2 * GIB);
    pn_memory_set_limit(&m, 1 * GIB);
    assert_true(pn_memory_addresses(&m) == 1 * GIB);
    machine.addresses = 1 * GIB; /* ulimit -v: other code needs addresses too */
    assert_true(pn_memory_addresses(&m) == GIB / 4);
}

/* ---- blocks ---- */

static size_t discarded; /* bytes */
static int n_calls;

static void count_discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size)
{
    assert_true(offset + size <= buffer->size);
    discarded += size;
    n_calls++;
    pn_host_discard(device, buffer, offset, size);
}

static const struct pn_device_class counting = {
    .buffer_new = pn_host_buffer_new, .buffer_free = pn_host_buffer_free, .discard = count_discard};
static struct pn_device device = {.class = &counting};

static void blocks_are_promised_and_returned(void **state)
{
    (void)state;
    struct pn_memory m = budget_of(GIB, GIB);
    struct pn_slots s;
    struct pantry_error err = {0};
    int32_t slot, got[4];
    assert_int_equal(
        pn_slots_init(&s, &(struct pn_device *){&device}, &(size_t){5000}, 1, 100, 3 * 12288, "blocks", &err),
        PANTRY_OK);
    s.budget = &m;
    assert_int_equal(s.stride, 12288); /* an odd number of granules */
    assert_int_equal(s.n, 3);
    assert_int_equal(pn_slots_promise(&s, 2, "two blocks", &err), PANTRY_OK);
    assert_true(m.taken == 2 * 12288);
    assert_int_equal(pn_slots_promise(&s, 2, "two more", &err), PANTRY_NO_MEMORY);
    assert_string_equal(err.text, "two more needs 24 KiB of memory, but only 12 KiB of addresses are left");
    assert_true(m.taken == 2 * 12288);
    for (int i = 0; i < 3; i++)
        assert_true(pn_slots_take(&s, &got[i]));
    assert_false(pn_slots_take(&s, &slot));
    assert_true(m.touched == 3 * 12288);
    pn_slots_give(&s, got[0]);
    pn_slots_give(&s, got[2]);
    assert_true(pn_slots_take(&s, &slot));
    assert_int_equal(slot, got[2]); /* the one freed last is the warmest */
    pn_slots_unpromise(&s, 2);
    assert_true(m.taken == 0);
    pn_slots_release(&s);
    assert_true(m.touched == 0);
}

/* A few freed blocks keep their memory, many give most of it back, and every block can be used again. */
static void freed_blocks_return_to_the_system(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct pn_memory m = budget_of(8 * GIB, 8 * GIB);
    struct pn_slots s;
    static int32_t got[N];
    const size_t bytes = 257 * 4096; /* 1 MiB and a granule */
    assert_int_equal(
        pn_slots_init(&s, &(struct pn_device *){&device}, &(size_t){bytes}, 1, N, UINT64_MAX, "blocks", NULL),
        PANTRY_OK);
    s.budget = &m;
    discarded = 0, n_calls = 0;
    for (int i = 0; i < N; i++) {
        assert_true(pn_slots_take(&s, &got[i]));
        *((int *)(void *)((char *)s.part[0].memory.host + (size_t)got[i] * s.stride)) = i;
    }
    assert_true(m.touched == N * bytes);
    for (int i = 0; i < 30; i++)
        pn_slots_give(&s, got[i]);
    assert_int_equal(discarded, 0); /* all of them stay warm */
    for (int i = 30; i < N; i++)
        pn_slots_give(&s, got[i]);
    size_t warm = N * bytes - discarded;
    assert_true(warm <= 64 * MIB && warm >= 16 * MIB);
    assert_true(m.touched == warm);
    assert_true(n_calls < 60); /* neighbours in one call */
    int n_kept = 0;
    for (int i = 0; i < N; i++) { /* discarded memory is zero */
        int value = *((int *)(void *)((char *)s.part[0].memory.host + (size_t)got[i] * s.stride));
        assert_true(value == i || value == 0);
        n_kept += value != 0;
    }
    assert_true((size_t)n_kept * bytes == warm);
    static bool seen[N];
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < N; i++) {
        int32_t slot;
        assert_true(pn_slots_take(&s, &slot));
        assert_true(slot >= 0 && slot < N && !seen[slot]);
        seen[slot] = true;
    }
    assert_true(m.touched == N * bytes);
    pn_slots_release(&s);
    assert_true(m.touched == 0);
}

/* ---- a real control group ---- */

static bool put(const char *folder, const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    bool ok = f && fputs(text, f) >= 0;
    return f && fclose(f) == 0 && ok;
}

/* Shadow memory of sanitizers is larger than the margin. */
static const bool sanitized = PN_ASAN || PN_TSAN;

/* A new group below this process's own, limited to 256 MiB; false where that is not allowed. */
static bool make_group(char folder[512])
{
    char line[400], own[300] = "";
    bool v1 = access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) == 0;
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, v1 ? "%*d:memory:%299s" : "0::%299s", own) == 1)
            break;
    if (f)
        fclose(f);
    if (!*own)
        return false;
    snprintf(folder, 512, "/sys/fs/cgroup%s%s/pantry-test-%d", v1 ? "/memory" : "", own, (int)getpid());
    if (mkdir(folder, 0755) != 0)
        return false;
    if (put(folder, v1 ? "memory.limit_in_bytes" : "memory.max", "268435456\n"))
        return true;
    rmdir(folder);
    return false;
}

/* In the group: takes all memory and writes to it. More is refused, and the promised memory exists. */
static int fill_group(const char *folder)
{
    char pid[32];
    struct pn_slots s;
    struct pantry_error err = {0};
    struct pn_memory *m = pn_memory_of_process();
    snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (!put(folder, "cgroup.procs", pid))
        return 2;
    if (pn_slots_init(&s, &(struct pn_device *){&device}, &(size_t){MIB}, 1, 1024, pn_memory_addresses(m), "blocks",
                      &err))
        return 3;
    uint64_t left = pn_memory_left(m);
    if (left > 256 * MIB || left < 128 * MIB)
        return 4;
    int32_t n = (int32_t)(left / s.stride), slot;
    if (pn_slots_promise(&s, n + 1, "a block more", &err) != PANTRY_NO_MEMORY || !strstr(err.text, "control group"))
        return 5;
    if (pn_slots_promise(&s, n, "all blocks", &err))
        return 6;
    for (int32_t i = 0; i < n && pn_slots_take(&s, &slot); i++)
        memset((char *)s.part[0].memory.host + (size_t)slot * s.stride, i + 1, s.stride);
    pn_slots_release(&s);
    return 0;
}

static void a_full_group_is_not_killed(void **state)
{
    (void)state;
    char folder[512];
    int status = 0;
    if (sanitized || !make_group(folder))
        skip();
    pid_t child = fork();
    if (child == 0)
        _exit(fill_group(folder));
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(rmdir(folder), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        skip(); /* cannot join the group */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_memory_is_not_left),          cmocka_unit_test(touched_memory_counts_once),
        cmocka_unit_test(the_tightest_bound_counts),         cmocka_unit_test(weights_count_differently_per_bound),
        cmocka_unit_test(addresses_follow_the_bounds),       cmocka_unit_test(blocks_are_promised_and_returned),
        cmocka_unit_test(freed_blocks_return_to_the_system), cmocka_unit_test(a_full_group_is_not_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
