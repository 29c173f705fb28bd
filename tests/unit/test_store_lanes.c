/* How many connections a download has. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/lanes.h"

enum { PART = 4 << 20 };
static const uint64_t second = 1000000000;

/* Parts come one after the other, `rate` bytes per second in all. */
static void come(struct pn_lanes *l, int n, double rate, uint64_t *clock)
{
    for (int i = 0; i < n; i++) {
        *clock += (uint64_t)(PART / rate * 1e9);
        pn_lanes_ended(l, PART, *clock);
    }
}

static void shrinks_after_failures(void **state)
{
    (void)state;
    struct pn_lanes l = pn_lanes_new(4);
    assert_int_equal(l.now, 4);
    for (int i = 3; i > 0; i--) {
        pn_lanes_failed(&l);
        assert_int_equal(l.now, i);
    }
    pn_lanes_failed(&l);
    assert_int_equal(l.now, 1);
}

/* Each connection brings as much as the others. */
static void grows_where_that_is_faster(void **state)
{
    (void)state;
    struct pn_lanes l = pn_lanes_new(4);
    uint64_t clock = second;
    for (int i = 0; i < 3; i++)
        pn_lanes_failed(&l);
    come(&l, 2, 1e6, &clock);
    assert_int_equal(l.now, 1); /* one part shows nothing */
    for (int i = 0; i < 40; i++)
        come(&l, 1, 1e6 * l.now, &clock);
    assert_int_equal(l.now, 4);
    come(&l, 100, 4e6, &clock);
    assert_int_equal(l.now, 4);
}

/* The line is full with one connection: a second one is tried, ever less often. */
static void stays_where_that_brings_nothing(void **state)
{
    (void)state;
    struct pn_lanes l = pn_lanes_new(4);
    uint64_t clock = second;
    int tries = 0, most = 0;
    for (int i = 0; i < 3; i++)
        pn_lanes_failed(&l);
    for (int i = 0, before = 1; i < 400; i++) {
        come(&l, 1, 1e6, &clock);
        tries += before == 1 && l.now == 2;
        before = l.now;
        most = l.now > most ? l.now : most;
    }
    assert_int_equal(most, 2);
    assert_in_range(tries, 2, 6);
    assert_int_equal(l.wait, 64);
}

/* A server that refuses a second connection. */
static void failures_of_a_try_make_it_rarer(void **state)
{
    (void)state;
    struct pn_lanes l = pn_lanes_new(2);
    uint64_t clock = second;
    int tries = 0;
    pn_lanes_failed(&l);
    for (int i = 0; i < 400; i++) {
        come(&l, 1, 1e6, &clock);
        if (l.now == 2) {
            tries++;
            pn_lanes_failed(&l);
        }
    }
    assert_int_equal(l.now, 1);
    assert_in_range(tries, 2, 12);
}

/* Times that stand still divide by nothing. */
static void time_may_stand_still(void **state)
{
    (void)state;
    struct pn_lanes l = pn_lanes_new(4);
    pn_lanes_failed(&l);
    for (int i = 0; i < 100; i++)
        pn_lanes_ended(&l, PART, second);
    assert_int_equal(l.now, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shrinks_after_failures),
        cmocka_unit_test(grows_where_that_is_faster),
        cmocka_unit_test(stays_where_that_brings_nothing),
        cmocka_unit_test(failures_of_a_try_make_it_rarer),
        cmocka_unit_test(time_may_stand_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
