/* Models end to end on tiny random weights: logits against an independent implementation, on both devices, in one
 * batch, in slices and token by token, with every instruction set and cache type; and files that loading refuses. */
#define _GNU_SOURCE 1 /* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "golden/tiny_model.h"
#include "pantry.h"
#include "tiny_model.h"

enum { N_IDS = sizeof tiny_ids / sizeof *tiny_ids, N_SHOWN = sizeof tiny_shown / sizeof *tiny_shown };

struct setup {
    const char *arch, *device, *isa, *kv_type;
    int n_threads;
};

static void logits_of(const char *path, const struct setup *s, const int *slices, size_t n_slices, float *out)
{
    struct pantry_error error = {0};
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    struct pantry_model_options options = {
        .size = sizeof options, .device = s->device, .isa = s->isa, .n_threads = s->n_threads};
    struct pantry_session_options wanted = {.size = sizeof wanted, .kv_type = s->kv_type};
    if (pantry_model_load(path, &options, &model, &error) || pantry_session_new(model, &wanted, &session, &error) ||
        pantry_logits(session, tiny_ids, N_IDS, slices, n_slices, out, &error))
        fail_msg("%s", error.text);
    pantry_session_free(session);
    pantry_model_free(model);
}

static void check_golden(const struct setup *s, uint32_t type, double limit)
{
    float logits[N_IDS][TINY_VOCAB];
    bool gemma = strcmp(s->arch, "gemma3") == 0;
    logits_of(tiny_model(s->arch, type, "tiny.gguf"), s, NULL, 0, logits[0]);
    for (int i = 0; i < N_SHOWN; i++) {
        double e = nmse(logits[tiny_shown[i]], gemma ? tiny_gemma3[i] : tiny_llama[i], TINY_VOCAB);
        if (!(e < limit))
            fail_msg("%s on %s: NMSE %g at position %d, allowed %g", s->arch, s->device, e, tiny_shown[i], limit);
    }
}

static void ref_equals_the_papers(void **state)
{
    (void)state;
    check_golden(&(struct setup){.arch = "llama", .device = "ref"}, GW_F32, 1e-10);
    check_golden(&(struct setup){.arch = "gemma3", .device = "ref"}, GW_F32, 1e-10);
}

static void cpu_equals_the_papers(void **state)
{
    (void)state;
    static const char *const isas[] = {"generic", NULL};
    for (int threads = 1; threads <= 3; threads++)
        for (size_t i = 0; i < 2; i++) {
            struct setup s = {.device = "cpu", .isa = isas[i], .n_threads = threads, .kv_type = "f32"};
            s.arch = "llama";
            check_golden(&s, GW_F32, 1e-9);
            s.arch = "gemma3";
            check_golden(&s, GW_F32, 1e-9);
        }
}

/* On float weights the CPU device differs from the oracle only by rounding (and its f16 cache). */
static void cpu_equals_ref(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "gemma3"};
    static const struct {
        const char *kv_type;
        double limit;
    } caches[] = {{"f32", 1e-9}, {"f16", 1e-5}, {NULL, 1e-5}};
    float a[N_IDS][TINY_VOCAB], b[N_IDS][TINY_VOCAB];
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < sizeof caches / sizeof *caches; j++) {
            const char *path = tiny_model(archs[i], GW_F16, "tiny16.gguf");
            logits_of(path, &(struct setup){.device = "ref"}, NULL, 0, a[0]);
            logits_of(path, &(struct setup){.device = "cpu", .kv_type = caches[j].kv_type, .n_threads = 2}, NULL, 0,
                      b[0]);
            double e = nmse(b[0], a[0], N_IDS * TINY_VOCAB);
            if (!(e < caches[j].limit))
                fail_msg("%s, cache %s: NMSE %g", archs[i], caches[j].kv_type, e);
        }
}

static void slices_do_not_matter(void **state)
{
    (void)state;
    static const int whole[] = {N_IDS}, odd[] = {1, 7, 3, 13},
                     single[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const char *const archs[] = {"llama", "gemma3"}, *const devices[] = {"ref", "cpu"};
    float a[N_IDS][TINY_VOCAB], b[N_IDS][TINY_VOCAB];
    for (size_t i = 0; i < 4; i++) {
        struct setup s = {.arch = archs[i % 2], .device = devices[i / 2], .n_threads = 2, .kv_type = "f32"};
        const char *path = tiny_model(s.arch, GW_F32, "tiny.gguf");
        logits_of(path, &s, whole, 1, a[0]);
        logits_of(path, &s, odd, 4, b[0]);
        assert_true(nmse(b[0], a[0], N_IDS * TINY_VOCAB) < 1e-9);
        logits_of(path, &s, single, N_IDS, b[0]);
        assert_true(nmse(b[0], a[0], N_IDS * TINY_VOCAB) < 1e-9);
    }
}

/* ---- longer contexts ---- */

static void stretched(const char *path, const struct pantry_model_options *options, float *out)
{
    struct pantry_error error = {0};
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    if (pantry_model_load(path, options, &model, &error) || pantry_session_new(model, NULL, &session, &error) ||
        pantry_logits(session, tiny_ids, N_IDS, NULL, 0, out, &error))
        fail_msg("%s", error.text);
    pantry_session_free(session);
    pantry_model_free(model);
}

/* The base for which the slowest pair of a head (index n/2 - 1) is 4 times slower: 10000^(6/8) 4 = base^(6/8). */
static void ntk_slows_the_slowest_pair_by_the_factor(void **state)
{
    (void)state;
    float a[N_IDS][TINY_VOCAB], b[N_IDS][TINY_VOCAB], plain[N_IDS][TINY_VOCAB];
    const char *path = tiny_model("llama", GW_F32, "tiny.gguf");
    stretched(path, &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .device = "ref"},
              plain[0]);
    stretched(
        path,
        &(struct pantry_model_options){
            .size = sizeof(struct pantry_model_options), .device = "ref", .rope_scaling = "ntk", .rope_factor = 4},
        a[0]);
    float base = powf(powf(10000, 6.0f / 8) * 4, 8.0f / 6);
    stretched(path,
              &(struct pantry_model_options){
                  .size = sizeof(struct pantry_model_options), .device = "ref", .rope_freq_base = base},
              b[0]);
    assert_true(nmse(a[0], b[0], N_IDS * TINY_VOCAB) < 1e-9);
    assert_true(nmse(plain[0], b[0], N_IDS * TINY_VOCAB) > 1e-6);
}

/* A user's setting gives the same result as the same value in a file. */
static void a_user_setting_equals_the_file_setting(void **state)
{
    (void)state;
    static const char *const types[] = {"linear", "ntk", "yarn"};
    float a[N_IDS][TINY_VOCAB], b[N_IDS][TINY_VOCAB], before[N_IDS][TINY_VOCAB];
    stretched(tiny_model("llama", GW_F32, "tiny.gguf"),
              &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .device = "ref"}, before[0]);
    for (size_t i = 0; i < 3; i++) {
        struct gw g;
        tiny_model_init(&g, "llama", GW_F32);
        gw_str(&g, "llama.rope.scaling.type", types[i]);
        gw_f32(&g, "llama.rope.scaling.factor", 4);
        const char *said = gw_file(&g, "said.gguf");
        gw_free(&g);
        stretched(said, &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .device = "ref"},
                  a[0]);
        stretched(tiny_model("llama", GW_F32, "tiny.gguf"),
                  &(struct pantry_model_options){.size = sizeof(struct pantry_model_options),
                                                 .device = "ref",
                                                 .rope_scaling = types[i],
                                                 .rope_factor = 4},
                  b[0]);
        assert_true(nmse(a[0], b[0], N_IDS * TINY_VOCAB) == 0);
        assert_true(nmse(a[0], before[0], N_IDS * TINY_VOCAB) > 1e-6); /* and each is different */
        memcpy(before, a, sizeof a);
    }
}

static void a_factor_makes_the_context_longer(void **state)
{
    (void)state;
    struct pantry_error error = {0};
    struct pantry_model_info info = {.size = sizeof info};
    pantry_model *model;
    const char *path = tiny_model("llama", GW_F32, "tiny.gguf");
    assert_int_equal(
        pantry_model_load(path,
                          &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .rope_factor = 4},
                          &model, &error),
        PANTRY_OK);
    pantry_model_info(model, &info, NULL);
    assert_int_equal(info.n_context_train, 4 * TINY_CONTEXT);
    pantry_model_free(model);
    assert_int_equal(pantry_model_load(path,
                                       &(struct pantry_model_options){.size = sizeof(struct pantry_model_options),
                                                                      .rope_scaling = "abacus"},
                                       &model, &error),
                     PANTRY_INVALID);
    assert_non_null(strstr(error.text, "abacus"));
    assert_int_equal(pantry_model_load(
                         path,
                         &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .rope_factor = -1},
                         &model, &error),
                     PANTRY_INVALID);
    assert_int_equal(pantry_model_load(path,
                                       &(struct pantry_model_options){.size = sizeof(struct pantry_model_options),
                                                                      .rope_freq_base = 0.5f},
                                       &model, &error),
                     PANTRY_INVALID);
}

/* ---- files that loading refuses ---- */

static void refuses(struct gw *g, const char *file, pantry_status status, const char *words)
{
    struct pantry_error error = {0};
    pantry_model *model = NULL;
    pantry_status got = pantry_model_load(gw_file(g, file), NULL, &model, &error);
    gw_free(g);
    if (got != status || model || !strstr(error.text, words))
        fail_msg("status %d, \"%s\" where %d with \"%s\" was expected", got, error.text, status, words);
}

static void refuses_models_that_cannot_be_built(void **state)
{
    (void)state;
    struct gw g;
    gw_init(&g);
    gw_str(&g, "general.architecture", "abacus");
    refuses(&g, "unknown.gguf", PANTRY_UNSUPPORTED, "architecture \"abacus\" is not supported");

    gw_init(&g);
    gw_str(&g, "general.architecture", "llama");
    refuses(&g, "nokeys.gguf", PANTRY_FORMAT, "llama.block_count is missing");

    static const struct {
        const char *key;
        uint32_t value;
        const char *words;
    } bad[] = {{"llama.block_count", 4000000000u, "llama.block_count is 4000000000"},
               {"llama.block_count", 0, "llama.block_count is 0"},
               {"llama.attention.head_count", 0, "llama.attention.head_count is 0"},
               {"llama.attention.head_count_kv", 0, "llama.attention.head_count_kv is 0"},
               {"llama.attention.head_count_kv", 3, "which is not a multiple of its"},
               {"llama.embedding_length", 0, "llama.embedding_length is 0"},
               {"llama.attention.key_length", 0, "llama.attention.key_length is 0"},
               {"llama.context_length", 0, "llama.context_length is 0"},
               {"llama.rope.dimension_count", 7, "must be even"},
               {"llama.block_count", 4, "tensor blk.3.attn_norm.weight is missing"},
               {"llama.embedding_length", 48, "embedding_length is 48"},
               {"llama.feed_forward_length", 47, "blk.0.ffn_gate.weight has 48 rows, but 47 are needed"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct gw good;
        tiny_model_init(&good, "llama", GW_F32);
        /* Overwrite the number after the key: key, type (4 bytes), value. */
        char *at = memmem(good.meta.data, good.meta.len, bad[i].key, strlen(bad[i].key));
        if (at)
            memcpy(at + strlen(bad[i].key) + 4, &bad[i].value, 4);
        else
            gw_u32(&good, bad[i].key, bad[i].value);
        refuses(&good, "bad.gguf", PANTRY_FORMAT, bad[i].words);
    }
}

/* Hides a tensor: changes the first letter of its name. */
static void lose(const struct pn_buf *in, const char *name)
{
    char *at = memmem(in->data, in->len, name, strlen(name));
    assert_non_null(at);
    *at = '_';
}

static void refuses_models_without_a_tensor(void **state)
{
    (void)state;
    static const char *const keys[] = {"block_count", "embedding_length", "context_length", "attention.head_count",
                                       "attention.layer_norm_rms_epsilon"};
    static const char *const tensors[] = {"token_embd",   "blk.0.attn_norm",   "blk.0.attn_q",   "blk.1.attn_k",
                                          "blk.2.attn_v", "blk.1.attn_output", "blk.2.ffn_norm", "blk.0.ffn_gate",
                                          "blk.1.ffn_up", "blk.2.ffn_down",    "output_norm"};
    struct gw g;
    char full[64], words[128];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        tiny_model_init(&g, "llama", GW_F32);
        snprintf(full, sizeof full, "llama.%s", keys[i]);
        lose(&g.meta, full);
        snprintf(words, sizeof words, "%s is missing", full);
        refuses(&g, "bad.gguf", PANTRY_FORMAT, words);
    }
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        tiny_model_init(&g, "llama", GW_F32);
        snprintf(full, sizeof full, "%s.weight", tensors[i]);
        lose(&g.infos, full);
        snprintf(words, sizeof words, "tensor %s is missing", full);
        refuses(&g, "bad.gguf", PANTRY_FORMAT, words);
    }
}

/* A bias is optional, but if two of three layers have one, the third lost it. */
static void refuses_a_layer_that_lost_a_bias(void **state)
{
    (void)state;
    static const float zeros[TINY_EMBD];
    static const int64_t n = TINY_EMBD;
    struct gw g;
    tiny_model_init(&g, "llama", GW_F32);
    gw_floats(&g, "blk.0.attn_output.bias", GW_F32, 1, &n, zeros);
    gw_floats(&g, "blk.2.attn_output.bias", GW_F32, 1, &n, zeros);
    refuses(&g, "bad.gguf", PANTRY_FORMAT, "layer 1: tensor blk.1.attn_output.bias is missing, but layer 0 has it");
}

static void refuses_unknown_devices(void **state)
{
    (void)state;
    struct pantry_error error;
    pantry_model *model;
    const char *path = tiny_model("llama", GW_F32, "tiny.gguf");
    assert_int_equal(pantry_model_load(path,
                                       &(struct pantry_model_options){.size = sizeof(struct pantry_model_options),
                                                                      .device = "abacus"},
                                       &model, &error),
                     PANTRY_NOT_FOUND);
    assert_non_null(strstr(error.text, "abacus"));
    assert_int_equal(
        pantry_model_load(path,
                          &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .isa = "abacus"},
                          &model, &error),
        PANTRY_INVALID);
    assert_int_equal(pantry_model_load(
                         path,
                         &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .n_threads = 5000},
                         &model, &error),
                     PANTRY_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_equals_the_papers),
        cmocka_unit_test(cpu_equals_the_papers),
        cmocka_unit_test(cpu_equals_ref),
        cmocka_unit_test(slices_do_not_matter),
        cmocka_unit_test(ntk_slows_the_slowest_pair_by_the_factor),
        cmocka_unit_test(a_user_setting_equals_the_file_setting),
        cmocka_unit_test(a_factor_makes_the_context_longer),
        cmocka_unit_test(refuses_models_that_cannot_be_built),
        cmocka_unit_test(refuses_models_without_a_tensor),
        cmocka_unit_test(refuses_a_layer_that_lost_a_bias),
        cmocka_unit_test(refuses_unknown_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
