/* Recurrent layers: how a prompt is cut does not matter, rewinding and reuse equal a fresh session, and sessions do not
 * disturb one another. The models are tiny hybrids of all recurrent blocks with attention. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "engine/session.h"
#include "engine/state.h"
#include "tiny_hybrid.h"

enum { VOCAB = HYBRID_VOCAB, N_IDS = 90 };

static int32_t ids[N_IDS];

static struct pn_runner *open_runner(const char *arch, const char *device, int n_threads)
{
    struct pn_error err = {0};
    struct pn_weights *weights;
    struct pn_model *model;
    struct pn_device *d;
    struct pn_runner *runner;
    struct pn_rng rng = {77};
    if (pn_weights_open(tiny_hybrid(arch), &weights, &err) ||
        pn_model_new(weights, &(struct pn_rope_wish){0}, &model, &err) ||
        pn_device_open(device, &(struct pn_device_options){.n_threads = n_threads}, &d, &err) ||
        pn_runner_new(model, d, &runner, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % VOCAB);
    return runner;
}

static void open_session(struct pn_session *s, struct pn_runner *runner)
{
    struct pn_error err = {0};
    if (pn_session_init(s, runner, &(struct pantry_session_options){.kv_type = "f32"}, &err))
        fail_msg("%s", err.text);
}

/* Feeds tokens n_past .. end - 1, `slice` at a time; out is where position 0's logits would go. */
static void feed(struct pn_session *s, int end, int slice, float (*out)[VOCAB])
{
    struct pn_error err = {0};
    while (s->n_past < end) {
        int at = s->n_past, n = end - at < slice ? end - at : slice;
        if (pn_session_feed(s, ids + at, n, n, out[at], &err))
            fail_msg("%s", err.text);
    }
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
        struct pn_session s;
        open_session(&s, ref);
        feed(&s, N_IDS, N_IDS, whole);
        pn_session_release(&s);
        for (int d = 0; d < 2; d++)
            for (size_t k = 0; k < sizeof slices / sizeof *slices; k++) {
                open_session(&s, d ? cpu : ref);
                feed(&s, N_IDS, slices[k], got);
                check(tiny_hybrids[i], d ? "slices on cpu" : "slices on ref", got, whole, 0, N_IDS);
                pn_session_release(&s);
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
        struct pn_session s;
        open_session(&s, runner);
        feed(&s, N_IDS, N_IDS, whole);
        pn_session_release(&s);
        open_session(&s, runner);
        feed(&s, 60, 20, got); /* leaves copies after 20, 40 and 60 tokens */
        feed(&s, 70, 1, got);
        static const struct {
            int wanted, kept;
        } steps[] = {{69, 60}, {60, 60}, {59, 40}, {25, 20}, {19, 0}, {0, 0}};
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            memset(got, 0, sizeof got);
            pn_session_rewind(&s, steps[k].wanted);
            assert_int_equal(s.n_past, steps[k].kept);
            feed(&s, 80, 1, got);
            check(tiny_hybrids[i], "after rewinding", got, whole, steps[k].kept, 80);
        }
        pn_session_release(&s);
        pn_runner_free(runner);
    }
}

/* A prompt that shares a prefix with what a session holds. */
static void another_end_equals_a_fresh_session(void **state)
{
    (void)state;
    for (int i = 0; i < N_HYBRIDS; i++) {
        struct pn_runner *runner = open_runner(tiny_hybrids[i], "cpu", 2);
        struct pn_session s;
        open_session(&s, runner);
        feed(&s, 50, 25, got);
        feed(&s, 60, 1, got);
        for (int k = 30; k < N_IDS; k++)
            ids[k] = (ids[k] + 5) % VOCAB;
        pn_session_rewind(&s, pn_session_common(&s, ids, N_IDS));
        assert_int_equal(s.n_past, 25);
        feed(&s, N_IDS, 16, got);
        pn_session_release(&s);
        open_session(&s, runner);
        feed(&s, N_IDS, N_IDS, whole);
        check(tiny_hybrids[i], "another end", got, whole, 25, N_IDS);
        pn_session_release(&s);
        pn_runner_free(runner);
    }
}

static void sessions_do_not_disturb_one_another(void **state)
{
    (void)state;
    for (int i = 0; i < N_HYBRIDS; i++) {
        struct pn_runner *runner = open_runner(tiny_hybrids[i], "cpu", 2);
        struct pn_session a, b;
        open_session(&a, runner);
        feed(&a, N_IDS, N_IDS, whole);
        pn_session_release(&a);
        open_session(&a, runner);
        open_session(&b, runner);
        for (int at = 10; at <= N_IDS; at += 10) {
            feed(&a, at, 4, got);
            feed(&b, at - 5, 3, other);
        }
        check(tiny_hybrids[i], "first of two", got, whole, 0, N_IDS);
        check(tiny_hybrids[i], "second of two", other, whole, 0, N_IDS - 5);
        pn_session_release(&a);
        pn_session_release(&b);
        pn_runner_free(runner);
    }
}

static void copies_are_bounded_and_thinned(void **state)
{
    (void)state;
    struct pn_runner *runner = open_runner("lfm2", "cpu", 2);
    struct pn_session s;
    open_session(&s, runner);
    feed(&s, N_IDS, 2, got);
    assert_int_equal(s.states.n, PN_MAX_CHECKPOINTS);
    for (int i = 1; i < s.states.n; i++)
        assert_true(s.states.checkpoints[i].at > s.states.checkpoints[i - 1].at);
    assert_int_equal(s.states.checkpoints[s.states.n - 1].at, N_IDS);
    int used = runner->states->slots.n_used;
    pn_session_release(&s);
    assert_int_equal(runner->states->slots.n_free, used); /* every slot came back */
    for (int i = 0; i < 20; i++) {
        open_session(&s, runner);
        feed(&s, N_IDS, 30, got);
        pn_session_release(&s);
    }
    assert_int_equal(runner->states->slots.n_used, used); /* and was used again */
    pn_runner_free(runner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_do_not_matter),
        cmocka_unit_test(rewinding_equals_a_fresh_session),
        cmocka_unit_test(another_end_equals_a_fresh_session),
        cmocka_unit_test(sessions_do_not_disturb_one_another),
        cmocka_unit_test(copies_are_bounded_and_thinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
