/* Predictions of speed and their correction by own runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "monitor/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct pn_limits limits = {"cpu", 2e10, 1e10, 1e-4, 1e12};

static struct pn_work work_of(const char *type, double bytes)
{
    struct pn_work w = {.bytes = bytes, .multiplies = bytes * 512, .n_layer = 20, .n_prompt = 512};
    snprintf(w.model, sizeof w.model, "%s-%.0f", type, bytes / 1e6);
    snprintf(w.type, sizeof w.type, "%s", type);
    return w;
}

/* A run that took `factor` times as long as the limits say. */
static struct pn_run run_of(const char *type, double bytes, double factor)
{
    struct pn_run r = {.work = work_of(type, bytes), .device = "cpu"};
    r.step_seconds = factor * (bytes / limits.decode + 20 * limits.layer_seconds);
    r.prompt_seconds = factor * 2 * r.work.multiplies / limits.operations;
    return r;
}

static bool near(double a, double b, double tolerance)
{
    return fabs(a / b - 1) < tolerance;
}

static void without_runs_the_limits_count(void **state)
{
    (void)state;
    struct pn_work w = work_of("q4_k", 1e9);
    struct pn_prediction p;
    pn_predict(&limits, NULL, 0, &w, &p);
    assert_true(near(p.step_seconds, 0.1 + 0.002, 1e-9));
    assert_true(near(p.prompt_seconds, 2 * 512e9 / 1e12, 1e-9));
    assert_true(p.n_runs == 0 && near(p.step_error, 0.5, 1e-9) && near(p.prompt_error, 0.5, 1e-9));
    w.multiplies = 1; /* the weights are read once at least */
    pn_predict(&limits, NULL, 0, &w, &p);
    assert_true(near(p.prompt_seconds, p.step_seconds, 1e-9));
}

static void near_runs_count_more(void **state)
{
    (void)state;
    struct pn_run runs[] = {run_of("q4_k", 1e9, 1.5), run_of("q4_k", 1e10, 1.1), run_of("q8_0", 1e9, 3)};
    struct pn_work w = work_of("q4_k", 1e9), between = work_of("q4_k", 3.1e9), other = work_of("q8_0", 1.1e9);
    struct pn_prediction p, far;
    pn_predict(&limits, runs, 3, &w, &p);
    assert_int_equal(p.n_runs, 3);
    assert_string_equal(p.nearest, "q4_k-1000");
    assert_true(near(p.step_seconds / (0.1 + 0.002), 1.5, 0.03));
    assert_true(near(p.prompt_seconds / 1.024, 1.5, 0.03));
    pn_predict(&limits, runs, 2, &between, &far);
    double factor = far.step_seconds / (0.31 + 0.002);
    assert_true(factor > 1.2 && factor < 1.4);
    assert_true(far.step_error > p.step_error && far.step_error < 0.5);
    pn_predict(&limits, runs, 3, &other, &p);
    assert_true(near(p.step_seconds / (0.11 + 0.002), 3, 0.06));
    /* one run of the same model: as sure as it gets */
    pn_predict(&limits, runs, 1, &w, &p);
    assert_true(near(p.step_error, 0.05, 1e-6));
}

static void other_devices_and_busy_runs(void **state)
{
    (void)state;
    struct pn_run runs[] = {run_of("q4_k", 1e9, 2), run_of("q4_k", 1e9, 1.25), run_of("q4_k", 1e9, 9)};
    struct pn_work w = work_of("q4_k", 1e9);
    struct pn_prediction p;
    runs[0].busy = true;
    strcpy(runs[2].device, "another");
    pn_predict(&limits, runs, 3, &w, &p);
    assert_int_equal(p.n_runs, 1);
    assert_true(near(p.step_seconds / 0.102, 1.25, 1e-6));
    pn_predict(&limits, runs, 1, &w, &p); /* better than nothing */
    assert_int_equal(p.n_runs, 1);
    assert_true(near(p.step_seconds / 0.102, 2, 1e-6));
}

static void runs_are_kept(void **state)
{
    (void)state;
    struct pn_run run = run_of("q4_k", 1e9, 2), back;
    run.busy = true;
    json_t *json = pn_run_json(&run);
    assert_true(pn_run_read(json, &back));
    assert_memory_equal(&back.work.bytes, &run.work.bytes, sizeof run.work.bytes);
    assert_string_equal(back.work.model, run.work.model);
    assert_string_equal(back.work.type, "q4_k");
    assert_true(back.busy && back.step_seconds == run.step_seconds && back.prompt_seconds == run.prompt_seconds &&
                back.work.multiplies == run.work.multiplies && back.work.n_layer == 20 && back.work.n_prompt == 512);
    static const struct {
        const char *key;
        const char *value;
    } bad[] = {{"bytes", "0"},     {"step_seconds", "-1"}, {"prompt_seconds", "\"x\""}, {"layers", "-1"},
               {"prompt", "0"},    {"device", "7"},        {"multiplies", "0"},         {"type", "null"},
               {"prompt", "1e10"}, {"layers", "1000000"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *damaged = json_copy(json);
        json_object_set_new(damaged, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
        if (pn_run_read(damaged, &back))
            fail_msg("%s: %s was read", bad[i].key, bad[i].value);
        json_decref(damaged);
    }
    json_object_set_new(json, "type", json_string("a type with a long name"));
    assert_false(pn_run_read(json, &back));
    json_decref(json);
    assert_false(pn_run_read(NULL, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_runs_the_limits_count),
        cmocka_unit_test(near_runs_count_more),
        cmocka_unit_test(other_devices_and_busy_runs),
        cmocka_unit_test(runs_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
