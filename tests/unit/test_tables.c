/* Page tables: spans are taken and given back without overlap, the host's copy keeps its values when it grows, and
 * every device has them after pn_tables_send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/tables.h"

enum { MAX_SPANS = 40, N_ROUNDS = 20000 };

static int n_buffers, n_writes, buffers_left = -1;

static pantry_status near_buffer(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err)
{
    if (buffers_left == 0)
        return pn_no_memory(err, "a buffer");
    buffers_left -= buffers_left > 0;
    n_buffers++;
    return pn_host_buffer_new(device, size, out, err);
}

/* A buffer without a host address. */
static pantry_status far_buffer(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err)
{
    pantry_status status = near_buffer(device, size, out, err);
    out->host = NULL;
    return status;
}

static void free_buffer(struct pn_device *device, struct pn_buffer *buffer)
{
    n_buffers--;
    pn_host_buffer_free(device, buffer);
}

static void count_write(struct pn_device *device, struct pn_buffer *to, size_t offset, const void *from, size_t size)
{
    n_writes++;
    pn_host_write(device, to, offset, from, size);
}

static const struct pn_device_class near_class = {.buffer_new = near_buffer,
                                                  .buffer_free = free_buffer,
                                                  .write = count_write},
                                    far_class = {
                                        .buffer_new = far_buffer, .buffer_free = free_buffer, .write = count_write};
static struct pn_device near_device = {.class = &near_class}, other_device = {.class = &near_class},
                        far_device = {.class = &far_class};

struct span {
    int32_t at, n, mark;
};

static void take(struct pn_tables *t, struct span *s, int32_t n, int32_t mark)
{
    struct pantry_error err;
    *s = (struct span){.n = n, .mark = mark};
    if (pn_tables_take(t, n, &s->at, &err))
        fail_msg("%s", err.text);
    assert_true(s->at >= 0 && s->at + n <= t->n);
    for (int32_t i = 0; i < n; i++)
        pn_tables_at(t, s->at)[i] = mark + i;
    pn_tables_changed(t, s->at, n);
}

/* Checks the copies of the devices, or the host's (NULL). */
static void check(const struct pn_tables *t, const struct span *spans, int n, const int32_t *base)
{
    for (int k = 0; k < n; k++)
        for (int32_t i = 0; i < spans[k].n; i++)
            assert_int_equal((base ? base : pn_tables_at(t, 0))[spans[k].at + i], spans[k].mark + i);
}

static void run(struct pn_device *const *devices, int n_parts, uint64_t seed)
{
    struct pn_tables t;
    struct span spans[MAX_SPANS];
    struct pn_rng rng = {seed};
    int n = 0;
    pn_tables_init(&t, devices, n_parts);
    for (int round = 0; round < N_ROUNDS; round++) {
        if (n < MAX_SPANS && pn_rng_u64(&rng) % 100 < 52) {
            int32_t size = 1 + (int32_t)(pn_rng_u64(&rng) % (round % 100 ? 300 : 3000));
            take(&t, &spans[n++], size, round * 7);
        } else if (n) {
            struct span *s = &spans[pn_rng_u64(&rng) % (uint64_t)n];
            pn_tables_give(&t, s->at, s->n);
            *s = spans[--n];
        }
        if (n) { /* one more page */
            struct span *s = &spans[pn_rng_u64(&rng) % (uint64_t)n];
            s->mark++;
            for (int32_t i = 0; i < s->n; i++)
                pn_tables_at(&t, s->at)[i] = s->mark + i;
            pn_tables_changed(&t, s->at, s->n);
        }
        if (round % 50)
            continue;
        check(&t, spans, n, NULL);
        pn_tables_send(&t);
        for (int p = 0; p < n_parts; p++)
            check(&t, spans, n, pn_tables_base(&t, p));
    }
    assert_in_range(t.n, 4096, 1 << 17); /* 40 spans of up to 3,000 entries: freed ones are reused */
    while (n)
        pn_tables_give(&t, spans[n - 1].at, spans[n - 1].n), n--;
    assert_true(t.n_free == 1 && t.free[0].at == 0 && t.free[0].n == t.n && t.n_taken == 0);
    pn_tables_release(&t);
    assert_int_equal(n_buffers, 0);
}

static void spans_are_reused(void **state)
{
    (void)state;
    struct pn_device *const near_one[] = {&near_device}, *const far_one[] = {&far_device},
                            *const both[] = {&near_device, &far_device, &other_device},
                            *const turned[] = {&far_device, &near_device};
    run(near_one, 1, 1);
    assert_int_equal(n_writes, 0); /* the host's copy is the device's */
    run(far_one, 1, 2);
    run(both, 3, 3);
    run(turned, 2, 4);
    assert_true(n_writes > 0);
}

static void only_changes_are_sent(void **state)
{
    (void)state;
    struct pn_device *const devices[] = {&near_device, &far_device};
    struct pn_tables t;
    struct span a, b;
    pn_tables_init(&t, devices, 2);
    take(&t, &a, 2000, 100);
    take(&t, &b, 700, 9000);
    pn_tables_send(&t);
    n_writes = 0;
    pn_tables_send(&t);
    assert_int_equal(n_writes, 0);
    pn_tables_at(&t, a.at)[255] = 1;
    pn_tables_at(&t, a.at)[256] = 2;
    pn_tables_changed(&t, a.at + 255, 2);
    pn_tables_changed(&t, a.at, 0);
    pn_tables_send(&t);
    assert_int_equal(n_writes, 2); /* it crosses from one line into the next */
    assert_int_equal(pn_tables_base(&t, 1)[a.at + 255], 1);
    assert_int_equal(pn_tables_base(&t, 1)[a.at + 256], 2);
    pn_tables_release(&t);
}

/* Without memory nothing is taken, and existing spans stay valid. */
static void failures_change_nothing(void **state)
{
    (void)state;
    struct pn_device *const devices[] = {&near_device, &far_device};
    struct pantry_error err;
    struct pn_tables t;
    struct span a;
    int32_t at;
    pn_tables_init(&t, devices, 2);
    take(&t, &a, 3000, 5);
    for (int left = 0; left < 2; left++) {
        buffers_left = left;
        assert_int_equal(pn_tables_take(&t, 3000, &at, &err), PANTRY_NO_MEMORY);
        assert_int_equal(n_buffers, 2);
    }
    buffers_left = -1;
    assert_int_equal(pn_tables_take(&t, 1 << 28, &at, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, ", allowed 268435456)"));
    pn_tables_send(&t);
    check(&t, &a, 1, NULL);
    check(&t, &a, 1, pn_tables_base(&t, 1));
    assert_int_equal(pn_tables_take(&t, 1096, &at, &err), PANTRY_OK); /* the rest of the first 4,096 */
    assert_int_equal(at, 3000);
    assert_int_equal(t.n, 4096);
    pn_tables_release(&t);
    assert_int_equal(n_buffers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_reused),
        cmocka_unit_test(only_changes_are_sent),
        cmocka_unit_test(failures_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
