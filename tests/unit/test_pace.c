/* How many prompt tokens fit in a step: guessed at first, then learned from the times of steps. The expected numbers
 * are computed by hand from pace.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/random.h"
#include "engine/pace.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { MS = 1000 * 1000 };

static struct pn_pace fresh(uint64_t n_params)
{
    struct pn_pace p;
    pn_pace_init(&p, n_params);
    return p;
}

/* A second of prompts, at 100 parameters per nanosecond. */
static void large_models_begin_with_short_steps(void **state)
{
    (void)state;
    static const struct {
        uint64_t n_params;
        int most, allowed;
    } cases[] = {
        {0, 512, 32},
        {1000, 512, 512},
        {1000 * MS, 512, 100},
        {1000 * MS, 100, 100},
        {1000 * MS, 99, 99},
        {2500ull * MS, 512, 40},
        {4000ull * MS, 512, 32},
        {1000ull * 1000 * MS, 512, 32},
        {1000ull * 1000 * MS, 7, 7},
        {1000, 1, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_pace p = fresh(cases[i].n_params);
        assert_int_equal(pn_pace_allowance(&p, 0, 1, cases[i].most), cases[i].allowed);
    }
}

/* Next to decoding sequences, the first try is 16 tokens. */
static void first_steps_with_sequences_are_short(void **state)
{
    (void)state;
    struct pn_pace p = fresh(1000 * MS);
    assert_int_equal(pn_pace_allowance(&p, 1, 1, 512), 16);
    assert_int_equal(pn_pace_allowance(&p, 256, 1, 512), 16);
    assert_int_equal(pn_pace_allowance(&p, 1, 1, 9), 9);
    pn_pace_learn(&p, 1, 0, 50 * MS); /* the cost of a prompt beside it is still unknown */
    assert_int_equal(pn_pace_allowance(&p, 1, 1, 512), 16);
}

/* The first step replaces the guess; after that the newest one has a weight of a quarter. */
static void prompts_alone_are_learned(void **state)
{
    (void)state;
    struct pn_pace p = fresh(1000 * MS); /* 10 ms per token */
    pn_pace_learn(&p, 0, 100, 800 * MS); /* 8 ms */
    assert_int_equal(pn_pace_allowance(&p, 0, 1, 512), 125);
    pn_pace_learn(&p, 0, 10, 40 * MS); /* 4 ms: now 7 */
    assert_int_equal(pn_pace_allowance(&p, 0, 1, 512), 142);
    pn_pace_learn(&p, 3, 10, 5000ull * MS); /* says nothing about the cost of a token */
    pn_pace_learn(&p, 3, 0, 5000ull * MS);
    assert_int_equal(pn_pace_allowance(&p, 0, 1, 512), 142);
    for (int i = 0; i < 100; i++)
        pn_pace_learn(&p, 0, 1, 1000 * MS);
    assert_int_equal(pn_pace_allowance(&p, 0, 1, 512), 32); /* never fewer */
}

/* Sequences whose step takes 10 ms alone, prompts of 0.2 ms per token. */
static struct pn_pace beside(void)
{
    struct pn_pace p = fresh(1000 * MS);
    pn_pace_learn(&p, 0, 100, 20 * MS);
    pn_pace_learn(&p, 4, 0, 10 * MS);
    pn_pace_learn(&p, 4, 20, 14 * MS);
    return p;
}

/* A step may take 0.8 times longer than without prompts, and always 2 ms longer. */
static void prompts_with_sequences_are_learned(void **state)
{
    (void)state;
    struct pn_pace p = beside();
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 40);
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 30), 30);
    pn_pace_learn(&p, 4, 0, 12 * MS); /* 10 + 2 / 4 = 10.5 ms; 8.4 for prompts */
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 42);
    pn_pace_learn(&p, 4, 10, 33 * MS / 2); /* 4 ms more than the tokens cost: 1 ms fixed */
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 37);
    /* For unseen numbers of sequences the nearest smaller one is used; if there is none, 2 ms are allowed. */
    assert_int_equal(pn_pace_allowance(&p, 5, 1, 512), 37);
    assert_int_equal(pn_pace_allowance(&p, 256, 1, 512), 37);
    assert_int_equal(pn_pace_allowance(&p, 3, 1, 512), 5);
    pn_pace_learn(&p, 2, 0, 1 * MS);
    assert_int_equal(pn_pace_allowance(&p, 3, 1, 512), 5); /* 0.8 ms is less than 2 */
    pn_pace_learn(&p, 6, 0, 21 * MS);
    assert_int_equal(pn_pace_allowance(&p, 6, 1, 512), 79); /* 16.8 - 1 */
    assert_int_equal(pn_pace_allowance(&p, 5, 1, 512), 37);
}

/* A step without prompts that another process interrupted says little about the next one: if its time counted in full,
 * the prompts beside it could make all steps several times as long. */
static void interrupted_steps_give_no_time(void **state)
{
    (void)state;
    struct pn_pace p = beside();
    pn_pace_learn(&p, 4, 0, 1000 * MS); /* counts as 12.5: 10.625 ms */
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 42);
    for (int i = 0; i < 400; i++) /* one of four */
        pn_pace_learn(&p, 4, 0, i % 4 == 3 ? 100 * MS : 10 * MS);
    assert_in_range(pn_pace_allowance(&p, 4, 1, 512), 40, 44);
    for (int i = 0; i < 40; i++) /* steps that stay long, as contexts grow, are believed */
        pn_pace_learn(&p, 4, 0, 30 * MS);
    assert_in_range(pn_pace_allowance(&p, 4, 1, 512), 115, 120);
}

/* However large the fixed cost is, a quarter of the time is for tokens: fewer would not make the step much shorter. */
static void slow_slices_do_not_shrink_to_nothing(void **state)
{
    (void)state;
    struct pn_pace p = beside();
    for (int i = 0; i < 100; i++)
        pn_pace_learn(&p, 4, 1, 1000 * MS);
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 10);
    for (int i = 0; i < 100; i++)
        pn_pace_learn(&p, 4, 20, 14 * MS);
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 39); /* not quite 40 */
    for (int i = 0; i < 100; i++)
        pn_pace_learn(&p, 0, 1, 1000 * MS);
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 1); /* at least one */
}

/* More prompts than sequences are half of the clients or more: they get up to four times the step's time. */
static void many_prompts_get_more_time(void **state)
{
    (void)state;
    struct pn_pace p = beside();
    assert_int_equal(pn_pace_allowance(&p, 4, 2, 512), 40);
    assert_int_equal(pn_pace_allowance(&p, 4, 3, 512), 60);
    assert_int_equal(pn_pace_allowance(&p, 4, 4, 512), 80);
    assert_int_equal(pn_pace_allowance(&p, 4, 100, 512), 200);
}

/* If tokens beside sequences were cheaper than expected, the next ones are too; a sixteenth of a step that was faster
 * than others without prompts counts for them. */
static void lucky_steps_cost_something(void **state)
{
    (void)state;
    struct pn_pace p = fresh(1000 * MS);
    pn_pace_learn(&p, 4, 0, 40 * MS);
    pn_pace_learn(&p, 4, 10, 32 * MS); /* 0.2 ms per token, and nothing fixed is known to be */
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 160);
    p = beside();
    pn_pace_learn(&p, 4, 20, 12 * MS); /* 0.1 ms: 0.2 - 0.1 / 4 */
    assert_int_equal(pn_pace_allowance(&p, 4, 1, 512), 45);
}

static void numbers_of_sequences_are_bounded(void **state)
{
    (void)state;
    struct {
        struct pn_pace pace;
        double guard[4];
    } p = {fresh(1000 * MS), {7, 7, 7, 7}};
    const int last = PN_PACE_ROWS - 1;
    pn_pace_learn(&p.pace, last, 0, 10 * MS);
    pn_pace_learn(&p.pace, last + 1000, 0, 12 * MS);   /* counts as the largest number: 10.5 ms */
    pn_pace_learn(&p.pace, last + 1, 10, 27 * MS / 2); /* 0.3 ms per token */
    assert_int_equal(pn_pace_allowance(&p.pace, last, 1, 512), 28);
    assert_int_equal(pn_pace_allowance(&p.pace, last + 5, 1, 512), 28);
    for (int i = 0; i < 4; i++)
        assert_true(p.guard[i] == 7);
}

/* Whatever the times were, the allowance is at least one token and at most the maximum. */
static void allowances_stay_in_bounds(void **state)
{
    (void)state;
    struct pn_rng rng = {5};
    for (int i = 0; i < 200; i++) {
        struct pn_pace p = fresh(pn_rng_u64(&rng) >> (pn_rng_u64(&rng) % 64));
        for (int k = 0; k < 50; k++) {
            int n_decode = (int)(pn_rng_u64(&rng) % 300), n_prompt = (int)(pn_rng_u64(&rng) % 5000);
            int most = 1 + (int)(pn_rng_u64(&rng) % 4096);
            int n = pn_pace_allowance(&p, n_decode, (int)(pn_rng_u64(&rng) % 300), most);
            assert_in_range(n, !n_decode && most >= 32 ? 32 : 1, most);
            pn_pace_learn(&p, n_decode, n_prompt, pn_rng_u64(&rng) >> (pn_rng_u64(&rng) % 64));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_models_begin_with_short_steps), cmocka_unit_test(first_steps_with_sequences_are_short),
        cmocka_unit_test(prompts_alone_are_learned),           cmocka_unit_test(prompts_with_sequences_are_learned),
        cmocka_unit_test(interrupted_steps_give_no_time),      cmocka_unit_test(slow_slices_do_not_shrink_to_nothing),
        cmocka_unit_test(many_prompts_get_more_time),          cmocka_unit_test(lucky_steps_cost_something),
        cmocka_unit_test(numbers_of_sequences_are_bounded),    cmocka_unit_test(allowances_stay_in_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
