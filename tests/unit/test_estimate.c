/* What a model needs: compared with the peak of a process that fills the whole context, and with hand calculations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pantry.h"
#include "sanitized.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char *program;

static struct pantry_estimate estimate_of(const char *spec, int n_context, const char *kv_type, uint64_t memory)
{
    struct pantry_estimate_options o = pantry_estimate_options_default();
    struct pantry_estimate e = {.size = sizeof e};
    struct pantry_error err;
    pantry_model *model;
    o.n_context = n_context;
    o.kv_type = kv_type;
    o.memory_bytes = memory;
    if (pantry_model_outline(spec, NULL, &model, &err) || pantry_model_estimate(model, &o, &e, &err))
        fail_msg("%s", err.text);
    pantry_model_free(model);
    return e;
}

/* ---- the peak of another process ---- */

/* Fills the context and prints the peak of this process in bytes. */
static int fill(const char *spec, int n_context, const char *kv_type)
{
    struct pantry_session_options session_options = pantry_session_options_default();
    struct pantry_generate_options o = pantry_generate_options_default();
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error err;
    pantry_model *model;
    pantry_session *session;
    struct rusage usage;
    int n = n_context - 4;
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    session_options.n_context = n_context;
    session_options.kv_type = kv_type;
    o.max_tokens = 4;
    o.ignore_eos = true;
    for (int i = 0; ids && i < n; i++)
        ids[i] = (int32_t)((uint32_t)i * 7919 % 40000);
    if (!ids || pantry_model_synthetic(spec, NULL, &model, &err) ||
        pantry_session_new(model, &session_options, &session, &err) ||
        pantry_generate(session, ids, (size_t)n, &o, &stats, &err))
        return 1;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    printf("%lld\n", (long long)usage.ru_maxrss);
#else
    printf("%lld\n", (long long)usage.ru_maxrss * 1024);
#endif
    pantry_session_free(session);
    pantry_model_free(model);
    free(ids);
    return 0;
}

static void covers_the_peak(void **state)
{
    (void)state;
#if PN_ASAN || PN_TSAN
    skip(); /* sanitizers take memory of their own */
#endif
    static const struct {
        const char *spec;
        int n_context;
        const char *kv_type;
    } runs[] = {{"smollm2-135m:q4_k_m", 512, "f16"},
                {"smollm2-135m:q4_0", 4096, "q8_0"},
                {"gemma3-270m:q4_k_m", 2048, "f16"},
                {"qwen2.5-0.5b:q4_0", 600, "f16"}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        char command[512];
        long long peak = 0;
        snprintf(command, sizeof command, "'%s' fill %s %d %s", program, runs[i].spec, runs[i].n_context,
                 runs[i].kv_type);
        FILE *pipe = popen(command, "r");
        assert_non_null(pipe);
        int n = fscanf(pipe, "%lld", &peak);
        assert_int_equal(pclose(pipe), 0);
        assert_int_equal(n, 1);
        double needed = (double)estimate_of(runs[i].spec, runs[i].n_context, runs[i].kv_type, 0).total_bytes;
        /* a busy machine takes shorter steps, whose scratch is smaller: the estimate is that of the longest */
        if (needed < (double)peak || needed > 1.06 * (double)peak)
            fail_msg("%s, %d tokens of %s: estimated %.1f MB, used %.1f MB", runs[i].spec, runs[i].n_context,
                     runs[i].kv_type, needed / 1e6, (double)peak / 1e6);
    }
}

/* ---- by hand ---- */

static void counts_keys_and_values(void **state)
{
    (void)state;
    struct pantry_estimate e = estimate_of("llama3.1-8b:q4_0", 8192, "f16", 0);
    double kv = 8192.0 * 32 * 2 * 8 * 128 * 2; /* tokens, layers, keys and values, heads, dim, bytes */
    assert_true((double)e.kv_bytes >= kv && (double)e.kv_bytes < kv * 1.02);
    assert_true(fabs(e.step_kv_bytes - kv) < kv * 0.001);
    e = estimate_of("llama3.1-8b:q4_0", 8192, "q8_0", 0);
    assert_true((double)e.kv_bytes >= kv * 34 / 64 && (double)e.kv_bytes < kv * 34 / 64 * 1.02);
    /* one layer of six sees everything, the others 1,024 tokens */
    e = estimate_of("gemma3-4b:q4_0", 32768, "f16", 0);
    double layer = 2.0 * 4 * 256 * 2;
    assert_true(fabs(e.step_kv_bytes / (layer * (5 * 32768.0 + 29 * 1024.0)) - 1) < 0.01);
    assert_true((double)e.kv_bytes < layer * (5 * 32768.0 + 29 * 2048.0) * 1.02);
    /* a state instead of keys and values in three of four layers */
    e = estimate_of("qwen3.5-35b-a3b:q4_0", 4096, "f16", 0);
    double state_floats = 30.0 * (32 * 128 * 128 + 3 * (32 * 128 + 2 * 16 * 128));
    assert_true(fabs((double)e.state_bytes / (2 * state_floats * 4) - 1) < 0.02);
    assert_true((double)e.kv_bytes < 4096.0 * 10 * 2 * 2 * 256 * 2 * 1.05);
}

/* Multiplications per token: the parameters of all matrices that a token of a prompt uses. */
static void counts_work(void **state)
{
    (void)state;
    struct pantry_estimate e = estimate_of("llama3.1-8b:q4_0", 1000, "f16", 0);
    double layer = 2 * 4096.0 * 4096 + 2 * 4096.0 * 1024 + 3 * 4096.0 * 14336;
    /* after the last attention only the last token goes on */
    assert_true(fabs(e.token_multiplies - (32 * layer - 3 * 4096.0 * 14336)) < 1);
    assert_true(fabs(e.prompt_attention_multiplies - 32 * 32 * 256 * (1000.0 * 1001 / 2)) < 1);
    e = estimate_of("qwen3-30b-a3b:q4_0", 1000, "f16", 0);
    layer = 2048 * (2 * 32 * 128 + 2 * 4 * 128.0) + 128 * 2048 + 8 * 3 * 2048.0 * 768; /* 8 of 128 experts */
    assert_true(fabs(e.token_multiplies / (48 * layer) - 1) < 1.0 / 48);
    assert_true(e.step_bytes * 6 < e.weight_bytes);
}

static void finds_the_longest_context(void **state)
{
    (void)state;
    const uint64_t gib = (uint64_t)1 << 30;
    struct pantry_estimate e = estimate_of("llama3.1-8b:q4_0", 4096, "f16", 8 * gib);
    assert_true(e.max_context > 4096 && e.max_context < e.n_context_train);
    struct pantry_estimate at = estimate_of("llama3.1-8b:q4_0", e.max_context, "f16", 0);
    struct pantry_estimate above = estimate_of("llama3.1-8b:q4_0", e.max_context + 33, "f16", 0);
    assert_true(at.total_bytes <= 8 * gib && above.total_bytes > 8 * gib);
    assert_int_equal(estimate_of("llama3.3-70b:q4_0", 4096, "f16", 8 * gib).max_context, 0);
    assert_int_equal(estimate_of("smollm2-135m:q4_0", 4096, "f16", 8 * gib).max_context, 8192);
}

static void refuses_bad_options(void **state)
{
    (void)state;
    struct pantry_estimate_options o = pantry_estimate_options_default();
    struct pantry_estimate e = {.size = sizeof e};
    struct pantry_error err;
    pantry_model *model;
    assert_int_equal(pantry_model_outline("smollm2-135m:q4_0", NULL, &model, &err), PANTRY_OK);
    o.n_context = -1;
    assert_int_equal(pantry_model_estimate(model, &o, &e, &err), PANTRY_INVALID);
    o.n_context = 512;
    o.kv_type = "q9";
    assert_int_not_equal(pantry_model_estimate(model, &o, &e, &err), PANTRY_OK);
    assert_non_null(strstr(err.text, "q9"));
    o.kv_type = NULL;
    e.size = 1;
    assert_int_equal(pantry_model_estimate(model, &o, &e, &err), PANTRY_INVALID);
    pantry_model_free(model);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covers_the_peak),     cmocka_unit_test(counts_keys_and_values),
        cmocka_unit_test(counts_work),         cmocka_unit_test(finds_the_longest_context),
        cmocka_unit_test(refuses_bad_options),
    };
    program = argv[0];
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2], atoi(argv[3]), argv[4]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
