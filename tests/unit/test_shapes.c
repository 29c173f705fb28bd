/* The shapes of known models: their parameters are the published ones, their files have the size of their types, and
 * all can be built. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/shapes.h"

#include "pantry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* As the models' cards and safetensors say, written from memory; in millions where only that is published (text only).
 */
static const struct {
    const char *name;
    uint64_t n_params;
    double millions;
} published[] = {
    {"smollm2-135m", 134515008, 0},    {"smollm2-360m", 361821120, 0},  {"smollm2-1.7b", 1711376384, 0},
    {"llama3.2-1b", 1235814400, 0},    {"llama3.2-3b", 3212749824, 0},  {"llama3.1-8b", 8030261248, 0},
    {"llama3.3-70b", 70553706496, 0},  {"mistral-7b", 7248023552, 0},   {"mistral-small-22b", 22247282688, 0},
    {"mistral-small-24b", 0, 23572},   {"phi4-14b", 14659507200, 0},    {"qwen2.5-0.5b", 494032768, 0},
    {"qwen2.5-1.5b", 1543714304, 0},   {"qwen2.5-3b", 3085938688, 0},   {"qwen2.5-7b", 7615616512, 0},
    {"qwen2.5-14b", 14770033664, 0},   {"qwen2.5-32b", 32763876352, 0}, {"qwen2.5-72b", 72706203648, 0},
    {"qwen3-0.6b", 596049920, 0},      {"qwen3-1.7b", 1720574976, 0},   {"qwen3-4b", 4022468096, 0},
    {"qwen3-8b", 8190735360, 0},       {"qwen3-14b", 14768307200, 0},   {"qwen3-32b", 32762123264, 0},
    {"qwen3-30b-a3b", 30532122624, 0}, {"qwen3.5-35b-a3b", 0, 34660},   {"gemma3-270m", 268098176, 0},
    {"gemma3-1b", 999885952, 0},       {"gemma3-4b", 0, 3880},          {"gemma3-12b", 0, 11766},
    {"gemma3-27b", 0, 27009},          {"gpt-oss-20b", 0, 20910},       {"gpt-oss-120b", 0, 116830},
};

struct sum {
    uint64_t n_params, bytes, matrices;
};

static void no_text(void *user, const char *key, const char *value)
{
    (void)user;
    (void)key;
    (void)value;
}

static void no_u32(void *user, const char *key, uint32_t value)
{
    (void)user;
    (void)value;
    assert_true(strchr(key, '.') && strlen(key) < 64);
}

static void no_f32(void *user, const char *key, float value)
{
    (void)user;
    (void)key;
    assert_true(value > 0);
}

static void no_ints(void *user, const char *key, size_t n, const int32_t *values)
{
    (void)user;
    (void)key;
    assert_true(n > 0 && values[0] > 0);
}

static void add(void *user, const char *name, pn_type type, int n_dims, const uint32_t *shape, bool ones)
{
    struct sum *sum = user;
    uint64_t n = 1;
    for (int d = 0; d < n_dims; d++)
        n *= shape[d];
    assert_true(strlen(name) < 64 && n > 0);
    assert_true(!ones || n_dims == 1);
    assert_int_equal(shape[n_dims - 1] % pn_type_info(type)->block, 0);
    sum->n_params += n;
    sum->bytes += n / shape[n_dims - 1] * pn_type_row_bytes(type, shape[n_dims - 1]);
    sum->matrices += n_dims > 1;
}

static struct sum sum_of(const char *spec)
{
    struct sum sum = {0};
    const struct pn_shape_sink sink = {&sum, no_text, no_u32, no_f32, no_ints, add};
    struct pn_shape_spec parsed;
    struct pantry_error err;
    if (pn_shape_parse(spec, &parsed, &err))
        fail_msg("%s", err.text);
    pn_shape_describe(&parsed, spec, &sink);
    return sum;
}

static void parameters_are_the_published_ones(void **state)
{
    (void)state;
    char spec[64];
    for (size_t i = 0; i < COUNT(published); i++) {
        assert_string_equal(pn_shape_name(i), published[i].name);
        snprintf(spec, sizeof spec, "%s:f16", published[i].name);
        uint64_t n = sum_of(spec).n_params;
        if (published[i].n_params && n != published[i].n_params)
            fail_msg("%s has %llu parameters", spec, (unsigned long long)n);
        if (!published[i].n_params && fabs((double)n / 1e6 / published[i].millions - 1) > 0.002)
            fail_msg("%s has %llu parameters", spec, (unsigned long long)n);
    }
    assert_null(pn_shape_name(COUNT(published)));
}

/* Sizes of published files, whose mixes differ a little in which matrices get the larger type. */
static void sizes_are_near_published_files(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        double gb;
    } files[] = {{"llama3.2-1b:q8_0", 1.32},      {"llama3.2-1b:q4_k_m", 0.81}, {"llama3.1-8b:q4_k_m", 4.92},
                 {"llama3.1-8b:q6_k", 6.60},      {"llama3.1-8b:f16", 16.07},   {"llama3.3-70b:q4_k_m", 42.52},
                 {"qwen3-30b-a3b:q4_k_m", 18.56}, {"gpt-oss-20b:mxfp4", 12.1},  {"qwen2.5-7b:q5_k_m", 5.44}};
    for (size_t i = 0; i < COUNT(files); i++) {
        double gb = (double)sum_of(files[i].spec).bytes / 1e9;
        if (fabs(gb / files[i].gb - 1) > 0.02)
            fail_msg("%s has %.2f GB", files[i].spec, gb);
    }
}

/* The engine takes all tensors of each shape, and misses none. */
static void all_shapes_build(void **state)
{
    (void)state;
    char spec[64];
    for (size_t i = 0; i < COUNT(published); i++) {
        struct pantry_model_info info = {.size = sizeof info};
        struct pantry_error err;
        pantry_model *model;
        snprintf(spec, sizeof spec, "%s:q4_0", published[i].name);
        if (pantry_model_outline(spec, NULL, &model, &err))
            fail_msg("%s", err.text);
        pantry_model_info(model, &info, NULL);
        struct sum sum = sum_of(spec);
        assert_true(info.n_params == sum.n_params);
        assert_true(info.size_bytes == sum.bytes);
        assert_true(info.generates);
        pantry_model_free(model);
    }
}

static void types_that_rows_do_not_fit_are_replaced(void **state)
{
    (void)state;
    struct pn_shape_spec spec;
    struct pantry_error err;
    for (size_t i = 0; pn_shape_mix_name(i); i++) { /* rows of 576 and 1536 values; add() checks the blocks */
        char name[64];
        snprintf(name, sizeof name, "smollm2-135m:%s", pn_shape_mix_name(i));
        assert_int_equal(sum_of(name).matrices, 30 * 7 + 1);
    }
    assert_int_equal(pn_shape_parse("smollm2-135m:q9", &spec, &err), PANTRY_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_the_published_ones),
        cmocka_unit_test(sizes_are_near_published_files),
        cmocka_unit_test(all_shapes_build),
        cmocka_unit_test(types_that_rows_do_not_fit_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
