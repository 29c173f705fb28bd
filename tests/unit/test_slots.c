/* Blocks of memory: which is used next, which lose their memory, and how the budget counts them. The device has no
 * memory and records its calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/slots.h"

enum { MAX_BLOCKS = 1000, GRANULE = 4096 };

static struct {
    bool has_memory[MAX_BLOCKS]; /* according to the test */
    size_t stride;
    int n_calls, n_blocks; /* discarded */
} seen;

static pantry_status new_buffer(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err)
{
    (void)device;
    (void)err;
    static char somewhere;
    *out = (struct pn_buffer){.host = &somewhere, .size = size};
    return PANTRY_OK;
}

static void free_buffer(struct pn_device *device, struct pn_buffer *buffer)
{
    (void)device;
    *buffer = (struct pn_buffer){0};
}

static void discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size)
{
    (void)device;
    assert_true(size > 0 && offset % seen.stride == 0 && size % seen.stride == 0 && offset + size <= buffer->size);
    seen.n_calls++;
    for (size_t i = offset / seen.stride; i < (offset + size) / seen.stride; i++) {
        assert_true(seen.has_memory[i]); /* each once, and only blocks that were in use */
        seen.has_memory[i] = false;
        seen.n_blocks++;
    }
}

static const struct pn_device_class test_class = {
    .name = "test", .buffer_new = new_buffer, .buffer_free = free_buffer, .discard = discard};
static struct pn_device device = {.class = &test_class};

static void open_slots(struct pn_slots *s, size_t bytes, uint64_t most)
{
    struct pantry_error err;
    memset(&seen, 0, sizeof seen);
    if (pn_slots_init(s, &(struct pn_device *){&device}, &bytes, 1, most, UINT64_MAX, "the test", &err))
        fail_msg("%s", err.text);
    seen.stride = s->stride;
    assert_int_equal(s->n, most);
}

static int32_t take(struct pn_slots *s)
{
    int32_t slot = -1;
    assert_true(pn_slots_take(s, &slot));
    assert_in_range(slot, 0, s->n - 1);
    seen.has_memory[slot] = true;
    return slot;
}

/* Blocks are an odd number of memory pages apart. */
static void blocks_are_whole_pages_apart(void **state)
{
    (void)state;
    static const struct {
        size_t bytes, pages;
    } cases[] = {{0, 0},           {1, 1},           {GRANULE, 1},         {GRANULE + 1, 3},
                 {2 * GRANULE, 3}, {3 * GRANULE, 3}, {3 * GRANULE + 1, 5}, {100 * GRANULE, 101}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pn_slots s;
        open_slots(&s, cases[i].bytes, 10);
        assert_int_equal(s.stride, cases[i].pages * GRANULE);
        assert_int_equal(s.part[0].memory.size, 10 * s.stride);
        pn_slots_release(&s);
        pn_slots_release(&s); /* twice is allowed */
    }
}

/* A few free blocks keep their memory, up to 64 MiB; beyond that it is discarded, down to half. */
static void few_free_blocks_stay_warm(void **state)
{
    (void)state;
    enum { N = 100, WARM = 64 }; /* blocks of 255 pages: 64 of them fit in 64 MiB */
    struct pn_slots s;
    const struct pn_memory *budget = pn_memory_of_process();
    uint64_t touched = budget->touched;
    int32_t slots[N];
    open_slots(&s, 255 * GRANULE, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(slots[i] = take(&s), i);
    assert_false(pn_slots_take(&s, &slots[0]));
    assert_true(budget->touched == touched + N * seen.stride);
    for (int i = 0; i < WARM; i++)
        pn_slots_give(&s, slots[i]);
    assert_int_equal(seen.n_calls, 0);
    pn_slots_give(&s, slots[WARM]); /* one too many: of 65, 32 stay */
    assert_int_equal(seen.n_blocks, 33);
    assert_int_equal(seen.n_calls, 1); /* neighbours in one call */
    for (int i = 0; i <= WARM; i++)
        assert_int_equal(seen.has_memory[i], i >= 33); /* the ones freed first were discarded */
    assert_true(budget->touched == touched + (N - 33) * seen.stride);
    for (int i = WARM; i >= 33; i--)
        assert_int_equal(take(&s), i); /* warm ones first, the last one freed before the others */
    assert_true(budget->touched == touched + (N - 33) * seen.stride);
    for (int i = 32; i >= 0; i--) { /* then cold ones */
        int32_t slot = take(&s);
        assert_in_range(slot, 0, 32);
        assert_true(budget->touched == touched + (size_t)(N - i) * seen.stride);
    }
    assert_int_equal(seen.n_blocks, 33);
    pn_slots_release(&s);
    assert_true(budget->touched == touched);
}

/* If many blocks are in use, a quarter as many may stay warm. */
static void more_stays_warm_if_more_is_used(void **state)
{
    (void)state;
    enum { N = 1000 };
    static int32_t slots[N];
    struct pn_slots s;
    open_slots(&s, 255 * GRANULE, N);
    for (int i = 0; i < N; i++)
        slots[i] = take(&s);
    for (int i = 0; i < 200; i++) /* 800 in use: 200 may be warm */
        pn_slots_give(&s, slots[i]);
    assert_int_equal(seen.n_blocks, 0);
    pn_slots_give(&s, slots[200]); /* 799 in use: 199 may, and half of that stays */
    assert_int_equal(seen.n_blocks, 201 - 199 / 2);
    pn_slots_release(&s);
}

static void blocks_without_memory_cost_nothing(void **state)
{
    (void)state;
    struct pn_slots s;
    struct pantry_error err;
    const struct pn_memory *budget = pn_memory_of_process();
    uint64_t touched = budget->touched, taken = budget->taken;
    int32_t slots[300];
    open_slots(&s, 0, 300);
    assert_int_equal(pn_slots_promise(&s, 300, "the test", &err), PANTRY_OK);
    for (int i = 0; i < 300; i++)
        assert_true(pn_slots_take(&s, &slots[i]));
    for (int i = 0; i < 300; i++)
        pn_slots_give(&s, slots[i]);
    assert_true(budget->touched == touched && budget->taken == taken);
    assert_int_equal(seen.n_calls, 0);
    pn_slots_release(&s);
}

/* In any order: no block is taken twice, and the budget counts exactly the blocks with memory. */
static void any_order_counts_right(void **state)
{
    (void)state;
    const struct pn_memory *budget = pn_memory_of_process();
    uint64_t touched = budget->touched;
    struct pn_rng rng = {11};
    int n_discarded = 0;
    for (int round = 0; round < 30; round++) {
        static bool used[MAX_BLOCKS];
        static int32_t held[MAX_BLOCKS];
        int n = 20 + (int)(pn_rng_u64(&rng) % 500), n_held = 0;
        struct pn_slots s;
        memset(used, 0, sizeof used);
        open_slots(&s, (1 + pn_rng_u64(&rng) % 2000) * GRANULE, (uint64_t)n);
        for (int i = 0; i < 3000; i++) {
            bool fill = i / 500 % 2 == 0; /* alternately take more, then give more */
            if (n_held < n && pn_rng_u64(&rng) % 4 < (fill ? 3 : 1)) {
                int32_t slot = take(&s);
                assert_false(used[slot]);
                used[slot] = true;
                held[n_held++] = slot;
            } else if (n_held) {
                int k = (int)(pn_rng_u64(&rng) % (uint64_t)n_held);
                pn_slots_give(&s, held[k]);
                used[held[k]] = false;
                held[k] = held[--n_held];
            }
            for (int k = 0; k < n_held; k++)
                assert_true(seen.has_memory[held[k]]);
            if (i % 50 == 0) {
                size_t with_memory = 0;
                for (int k = 0; k < n; k++)
                    with_memory += seen.has_memory[k];
                assert_true(budget->touched == touched + with_memory * seen.stride);
            }
        }
        n_discarded += seen.n_blocks;
        pn_slots_release(&s);
        assert_true(budget->touched == touched);
    }
    assert_true(n_discarded > 1000);
}

/* ---- blocks with a part on each of several devices ---- */

enum { N_PARTS = 3 };
static int n_discarded[N_PARTS];
static size_t strides[N_PARTS];
static struct pn_device part_devices[N_PARTS];

static void count_discarded(struct pn_device *of, struct pn_buffer *buffer, size_t offset, size_t size)
{
    size_t stride = strides[of - part_devices];
    assert_true(size > 0 && offset % stride == 0 && size % stride == 0 && offset + size <= buffer->size);
    n_discarded[of - part_devices] += (int)(size / stride);
}

/* Every part loses its memory, and the budget counts all of them; a part without bytes is skipped. */
static void all_parts_lose_their_memory(void **state)
{
    (void)state;
    enum { N = 100 };
    static const size_t bytes[N_PARTS] = {100 * GRANULE, 0, 155 * GRANULE};
    struct pn_device_class class = test_class;
    struct pn_device *devices[N_PARTS];
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t touched = budget->touched, taken = budget->taken;
    struct pn_slots s;
    struct pantry_error err;
    int32_t slots[N];
    class.discard = count_discarded;
    for (int i = 0; i < N_PARTS; i++) {
        part_devices[i].class = &class;
        devices[i] = &part_devices[i];
        strides[i] = bytes[i] ? (bytes[i] / GRANULE | 1) * GRANULE : 0;
    }
    assert_int_equal(pn_slots_init(&s, devices, bytes, N_PARTS, N, UINT64_MAX, "the test", &err), PANTRY_OK);
    assert_int_equal(s.stride, 256 * GRANULE);
    for (int i = 0; i < N_PARTS; i++)
        assert_int_equal(s.part[i].memory.size, N * strides[i]);
    assert_int_equal(pn_slots_promise(&s, N, "the test", &err), PANTRY_OK);
    assert_true(budget->taken == taken + N * s.stride);
    for (int i = 0; i < N; i++)
        assert_true(pn_slots_take(&s, &slots[i]));
    assert_true(budget->touched == touched + N * s.stride);
    for (int i = 0; i < 65; i++) /* 64 MiB may stay warm: 64 blocks */
        pn_slots_give(&s, slots[i]);
    assert_true(n_discarded[0] == 33 && n_discarded[1] == 0 && n_discarded[2] == 33);
    assert_true(budget->touched == touched + (N - 33) * s.stride);
    pn_slots_release(&s);
    assert_true(budget->touched == touched && budget->taken == taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_whole_pages_apart),    cmocka_unit_test(few_free_blocks_stay_warm),
        cmocka_unit_test(more_stays_warm_if_more_is_used), cmocka_unit_test(blocks_without_memory_cost_nothing),
        cmocka_unit_test(any_order_counts_right),          cmocka_unit_test(all_parts_lose_their_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
