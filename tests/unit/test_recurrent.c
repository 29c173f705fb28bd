/* Recurrent layers: slices of a prompt do not matter, rewinding and reuse equal a fresh session, and sessions do not
 * affect each other. The models are tiny hybrids of attention and all recurrent blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "engine/step.h"
#include "tiny_hybrid.h"

enum { VOCAB = HYBRID_VOCAB, N_IDS = 90 };

static int32_t ids[N_IDS];

static struct pn_runner *open_runner(const char *arch, const char *device, int n_threads)
{
    struct pantry_error err = {0};
    struct pn_weights *weights;
    struct pn_model *model;
    struct pn_device *d;
    struct pn_runner *runner;
    struct pn_rng rng = {77};
    if (pn_weights_open(tiny_hybrid(arch), &weights, &err) ||
        pn_model_new(weights, &(struct pn_rope_override){0}, &model, &err) ||
        pn_device_open(device, &(struct pn_device_options){.n_threads = n_threads}, &d, &err) ||
        pn_runner_new(model, &(struct pn_split){.devices = {d}, .n = 1}, &runner, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % VOCAB);
    return runner;
}

/* A sequence with its own or a shared memory. */
struct session {
    struct pn_seq_memory own;
    struct pn_seq seq;
    struct pn_step_builder step;
    int32_t ids[N_IDS];
};

static void open_shared(struct session *s, struct pn_seq_memory *memory)
{
    struct pantry_error err = {0};
    memcpy(s->ids, ids, sizeof ids);
    if (pn_step_init(&s->step, N_IDS, 1, &err) || pn_seq_init(&s->seq, memory, "", s->ids, N_IDS, &err) ||
        pn_seq_start(&s->seq, N_IDS - 1, &err))
        fail_msg("%s", err.text);
    s->seq.n_ids = N_IDS;
}

static void open_session(struct session *s, struct pn_runner *runner)
{
    struct pantry_error err = {0};
    struct pn_kv_pool *pool;
    memset(s, 0, sizeof *s);
    if (pn_runner_pool(runner, "f32", &pool, &err) || pn_seq_memory_init(&s->own, runner, pool, &err))
        fail_msg("%s", err.text);
    open_shared(s, &s->own);
}

static void close_session(struct session *s)
{
    pn_seq_release(&s->seq);
    pn_step_release(&s->step);
    if (s->own.tree)
        pn_seq_memory_release(&s->own);
}

/* Rewinds to what the prefix tree has of the first `n` tokens. */
static void rewind_to(struct session *s, int n)
{
    struct pantry_error err = {0};
    pn_seq_drop(&s->seq);
    if (pn_seq_start(&s->seq, n, &err))
        fail_msg("%s", err.text);
}

/* Runs tokens n_past .. end - 1, `slice` at a time; `out` is where position 0's logits would go. With `keep`, the state
 * after every slice is kept. */
static void feed_kept(struct session *s, int end, int slice, float (*out)[VOCAB], bool keep)
{
    struct pantry_error err = {0};
    while (s->seq.n_past < end) {
        int at = s->seq.n_past, n = end - at < slice ? end - at : slice;
        if (pn_step_run_seq(&s->step, &s->seq, n, n, out[at], &err))
            fail_msg("%s", err.text);
        if (keep)
            pn_seq_keep(&s->seq, false);
    }
}

static void feed(struct session *s, int end, int slice, float (*out)[VOCAB])
{
    feed_kept(s, end, slice, out, false);
}

static void check(const char *arch, const char *what, float (*got)[VOCAB], float (*wanted)[VOCAB], int first, int end)
{
    double e = nmse(got[first], wanted[first], (size_t)(end - first) * VOCAB);
    if (!(e < 1e-9))
        fail_msg("%s, %s: NMSE %g", arch, what, e);
}

/* ---- tests ---- */

static float whole[N_IDS][VOCAB], got[N_IDS][VOCAB], other[N_IDS][VOCAB];

static void slices_do_not_matter(void **state)
{
    (void)state;
    static const int slices[] = {1, 3, 32};
    for (int i = 0; i < N_HYBRIDS; i++) {
        struct pn_runner *ref = open_runner(tiny_hybrids[i], "ref", 1), *cpu = open_runner(tiny_hybrids[i], "cpu", 2);
        struct session s;
        open_session(&s, ref);
        feed(&s, N_IDS, N_IDS, whole);
        close_session(&s);
        for (int d = 0; d < 2; d++)
            for (size_t k = 0; k < sizeof slices / sizeof *slices; k++) {
                open_session(&s, d ? cpu : ref);
                feed(&s, N_IDS, slices[k], got);
                check(tiny_hybrids[i], d ? "slices on cpu" : "slices on ref", got, whole, 0, N_IDS);
                close_session(&s);
            }
        pn_runner_free(ref);
        pn_runner_free(cpu);
    }
}

static void rewinding_equals_a_fresh_session(void **state)
{
    (void)state;
    for (int i = 0; i < N_HYBRIDS; i++) {
        struct pn_runner *runner = open_runner(tiny_hybrids[i], "cpu", 2);
        struct session s;
        open_session(&s, runner);
        feed(&s, N_IDS, N_IDS, whole);
        close_session(&s);
        open_session(&s, runner);
        feed_kept(&s, 60, 20, got, true); /* leaves states after 20, 40 and 60 tokens */
        feed(&s, 70, 1, got);
        static const struct {
            int wanted, kept;
        } steps[] = {{69, 60}, {60, 60}, {59, 40}, {25, 20}, {40, 40}, {19, 0}, {0, 0}};
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            memset(got, 0, sizeof got);
            rewind_to(&s, steps[k].wanted);
            assert_int_equal(s.seq.n_past, steps[k].kept);
            feed(&s, 80, 1, got);
            check(tiny_hybrids[i], "after rewinding", got, whole, steps[k].kept, 80);
        }
        close_session(&s);
        pn_runner_free(runner);
    }
}

/* A prompt that shares a prefix with the tokens of a session. */
static void another_end_equals_a_fresh_session(void **state)
{
    (void)state;
    for (int i = 0; i < N_HYBRIDS; i++) {
        struct pn_runner *runner = open_runner(tiny_hybrids[i], "cpu", 2);
        struct session s;
        open_session(&s, runner);
        feed_kept(&s, 50, 25, got, true);
        feed(&s, 60, 1, got);
        for (int k = 30; k < N_IDS; k++)
            ids[k] = (ids[k] + 5) % VOCAB;
        memcpy(s.ids, ids, sizeof ids);
        rewind_to(&s, N_IDS - 1);
        assert_int_equal(s.seq.n_past, 25);
        feed(&s, N_IDS, 16, got);
        close_session(&s);
        open_session(&s, runner);
        feed(&s, N_IDS, N_IDS, whole);
        check(tiny_hybrids[i], "another end", got, whole, 25, N_IDS);
        close_session(&s);
        pn_runner_free(runner);
    }
}

/* Sequences that resume from each other's states in a shared memory. */
static void sessions_do_not_affect_each_other(void **state)
{
    (void)state;
    for (int i = 0; i < N_HYBRIDS; i++) {
        struct pn_runner *runner = open_runner(tiny_hybrids[i], "cpu", 2);
        struct session a, b = {0};
        open_session(&a, runner);
        feed(&a, N_IDS, N_IDS, whole);
        rewind_to(&a, 0);
        feed_kept(&a, 10, 10, got, true);
        open_shared(&b, &a.own);
        assert_int_equal(b.seq.n_past, 10);
        for (int at = 20; at <= N_IDS; at += 10) {
            feed_kept(&a, at, 4, got, true);
            feed_kept(&b, at - 5, 3, other, true);
        }
        check(tiny_hybrids[i], "first of two", got, whole, 0, N_IDS);
        check(tiny_hybrids[i], "second of two", other, whole, 10, N_IDS - 5);
        close_session(&b);
        close_session(&a);
        pn_runner_free(runner);
    }
}

/* States beyond the bound are evicted, the least recently used first, and slots are reused. */
static void states_are_bounded(void **state)
{
    (void)state;
    struct pn_runner *runner = open_runner("lfm2", "cpu", 2);
    struct session s;
    open_session(&s, runner);
    s.own.max_states = 4;
    feed_kept(&s, 80, 10, got, true);
    assert_int_equal(pn_tree_n_states(s.own.tree), 4);
    rewind_to(&s, 49);
    assert_int_equal(s.seq.n_past, 0); /* the first states were evicted */
    rewind_to(&s, N_IDS - 1);
    assert_int_equal(s.seq.n_past, 80);
    int used = runner->states->slots.n_used;
    for (int i = 0; i < 20; i++) {
        rewind_to(&s, 0);
        feed_kept(&s, N_IDS, 30, got, true);
    }
    assert_int_equal(runner->states->slots.n_used, used);
    close_session(&s);
    assert_int_equal(pn_states_used(runner->states), 0); /* all slots were given back */
    pn_runner_free(runner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_do_not_matter),
        cmocka_unit_test(rewinding_equals_a_fresh_session),
        cmocka_unit_test(another_end_equals_a_fresh_session),
        cmocka_unit_test(sessions_do_not_affect_each_other),
        cmocka_unit_test(states_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
