/* Reproducibility: the next token depends on the model, the options, the seed and the text so far, and not on how the
 * text was made. All sessions of a model store and rotate keys the same way. The `ref` device computes each token
 * alone, so rounding does not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/handle.h"
#include "engine/sample.h"
#include "tiny_model.h"

#include "pantry.h"

enum { N_PROMPT = 7, N_MADE = 48, N_ALL = N_PROMPT + N_MADE };
static const int32_t prompt[N_PROMPT] = {3, 17, 42, 8, 25, 60, 1};

/* ---- random numbers by index ---- */

static void indexed_numbers_equal_the_stream(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct pn_rng rng = {seed * 0x123456789ABCDEFu};
        uint64_t start = rng.state;
        for (uint64_t i = 0; i < 100; i++)
            assert_true(pn_rng_u64(&rng) == pn_random_at(start, i));
    }
    assert_true(pn_random_at(0, 0) == 0xE220A8397B1DCDAFu); /* Vigna's splitmix64.c, started at 0 */
    assert_true(pn_random_at(0, 2) == 0x06C45D188009454Fu);
    assert_true(pn_random_unit(UINT64_MAX) < 1 && pn_random_unit(0) == 0);
}

/* Pearson's chi-squared over its degrees of freedom, for equally likely cases: about 1, and above 1.6 less than once in
 * 10,000 times. */
static double unevenness(const int *counts, int n_cases, int n)
{
    double expected = (double)n / n_cases, sum = 0;
    for (int i = 0; i < n_cases; i++)
        sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    return sum / (n_cases - 1);
}

static int draw(struct pn_sampler *s, uint64_t seed, int position, int n_vocab)
{
    static const int32_t text[4096];
    float logits[64] = {0};
    s->options.seed = seed;
    int id = pn_sampler_choose(s, logits, text, position);
    assert_in_range(id, 0, n_vocab - 1);
    return id;
}

/* Uniform over positions, over seeds, and over pairs of neighbours of either. */
static void draws_are_even(void **state)
{
    (void)state;
    enum { VOCAB = 64, N = 4096 };
    struct pantry_sampling o = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};
    struct pn_sampler s;
    int by_position[VOCAB] = {0}, by_seed[VOCAB] = {0}, positions[64] = {0}, seeds[64] = {0};
    assert_int_equal(pn_sampler_init(&s, &o, VOCAB, NULL), PANTRY_OK);
    for (int i = 0; i < N; i++) {
        by_position[draw(&s, 7, i, VOCAB)]++;
        by_seed[draw(&s, (uint64_t)i, 100, VOCAB)]++;
        positions[draw(&s, 7, i, VOCAB) / 8 * 8 + draw(&s, 7, (i + 1) % N, VOCAB) / 8]++;
        seeds[draw(&s, (uint64_t)i, 5, VOCAB) / 8 * 8 + draw(&s, (uint64_t)i + 1, 5, VOCAB) / 8]++;
    }
    assert_true(unevenness(by_position, VOCAB, N) < 1.6 && unevenness(by_position, VOCAB, N) > 0.5);
    assert_true(unevenness(by_seed, VOCAB, N) < 1.6 && unevenness(by_seed, VOCAB, N) > 0.5);
    assert_true(unevenness(positions, 64, N) < 1.6);
    assert_true(unevenness(seeds, 64, N) < 1.6);
    pn_sampler_free(&s);
}

/* ---- continuations ---- */

struct made {
    int32_t ids[N_ALL];
    int n;
};

static bool keep(void *user, const struct pantry_token *token)
{
    struct made *made = user;
    if (token->id >= 0 && made->n < N_ALL)
        made->ids[made->n++] = token->id;
    return true;
}

static pantry_model *load(const char *arch, struct pantry_model_options o)
{
    struct pantry_error error;
    pantry_model *model;
    char file[32];
    snprintf(file, sizeof file, "%s.gguf", arch);
    o.device = "ref";
    if (pantry_model_load(tiny_model(arch, GW_F32, file), &o, &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static pantry_session *open_session(pantry_model *model, int n_batch)
{
    struct pantry_session_options o = {.size = sizeof o, .n_batch = n_batch, .n_context = 200};
    struct pantry_error error;
    pantry_session *session;
    if (pantry_session_new(model, &o, &session, &error))
        fail_msg("%s", error.text);
    return session;
}

/* Continues after the first n tokens of `text` up to N_ALL; `out` gets the new ones. */
static void go_on(pantry_session *session, const int32_t *text, int n, uint64_t seed, struct made *out)
{
    struct pantry_generate_options o = pantry_generate_options_default();
    struct pantry_error error;
    o.sampling = (struct pantry_sampling){
        .temperature = 1.5f, .top_k = 40, .top_p = 0.98f, .repeat_penalty = 1.1f, .penalty_last_n = 16, .seed = seed};
    o.max_tokens = N_ALL - n;
    o.ignore_eos = true;
    o.callback = keep;
    o.user = out;
    out->n = 0;
    if (pantry_generate(session, text, (size_t)n, &o, NULL, &error))
        fail_msg("%s", error.text);
    assert_int_equal(out->n, N_ALL - n);
}

static void check_tail(const char *how, int cut, const struct made *got, const int32_t *text)
{
    for (int i = 0; i < got->n; i++)
        if (got->ids[i] != text[cut + i])
            fail_msg("%s at %d: token %d is %d, not %d", how, cut, cut + i, got->ids[i], text[cut + i]);
}

static void the_text_decides_not_its_history(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "gemma3"};
    for (int a = 0; a < 2; a++) {
        pantry_model *model = load(archs[a], pantry_model_options_default());
        pantry_session *session = open_session(model, 0), *beside = open_session(model, 0);
        int32_t text[N_ALL];
        struct made made, again;
        memcpy(text, prompt, sizeof prompt);
        go_on(session, prompt, N_PROMPT, 11, &made);
        memcpy(text + N_PROMPT, made.ids, N_MADE * sizeof *text);
        for (int cut = N_ALL - 1; cut >= N_PROMPT; cut -= 3) { /* rewinds in the same session, then continues */
            go_on(session, text, cut, 11, &again);
            check_tail("rewound", cut, &again, text);
            go_on(beside, text + N_ALL - cut, cut, 99, &again); /* another conversation in between */
        }
        for (int n_batch = 1; n_batch <= 16; n_batch += 5) { /* in slices, from the start */
            pantry_session *fresh = open_session(model, n_batch);
            go_on(fresh, text, N_PROMPT + 20, 11, &again);
            check_tail("in pieces", N_PROMPT + 20, &again, text);
            pantry_session_free(fresh);
        }
        go_on(session, prompt, N_PROMPT, 12, &again); /* another seed, another text */
        int n_same = 0;
        for (int i = 0; i < N_MADE; i++)
            n_same += again.ids[i] == made.ids[i];
        assert_true(n_same < N_MADE / 2);
        pantry_session_free(session);
        pantry_session_free(beside);
        pantry_model_free(model);
    }
}

/* ---- settings shared by all sessions of a model ---- */

static void sessions_share_the_type_of_keys(void **state)
{
    (void)state;
    static const char *const types[] = {"f16", "f32", "q8_0"};
    struct pantry_error error;
    pantry_session *session, *other;
    struct pantry_model_options o = pantry_model_options_default();
    for (int settled_by_load = 0; settled_by_load < 2; settled_by_load++)
        for (int i = 0; i < 2; i++) {
            o.kv_type = settled_by_load ? types[i] : NULL;
            pantry_model *model = load("llama", o);
            struct pantry_session_options wanted = {.size = sizeof wanted,
                                                    .kv_type = settled_by_load ? NULL : types[i]};
            assert_int_equal(pantry_session_new(model, &wanted, &session, &error), PANTRY_OK);
            for (int j = 0; j < 2; j++) {
                wanted.kv_type = types[j];
                pantry_status status = pantry_session_new(model, &wanted, &other, &error);
                assert_int_equal(status, i == j ? PANTRY_OK : PANTRY_INVALID);
                if (i != j)
                    assert_non_null(strstr(error.text, types[i]));
                pantry_session_free(other);
            }
            assert_int_equal(pantry_session_new(model, NULL, &other, &error), PANTRY_OK);
            assert_ptr_equal(other->sched, session->sched);
            pantry_session_free(other);
            pantry_session_free(session);
            pantry_model_free(model);
        }
    pantry_model *model;
    o.kv_type = "q8_0"; /* heads of 8 values are not whole blocks: an error when the model is loaded */
    assert_int_equal(pantry_model_load(tiny_model("llama", GW_F32, "llama.gguf"), &o, &model, &error), PANTRY_INVALID);
    o.kv_type = "q4_0";
    assert_int_equal(pantry_model_load(tiny_model("llama", GW_F32, "llama.gguf"), &o, &model, &error), PANTRY_INVALID);
    o.kv_type = NULL;
    o.n_context = 77;
    model = load("llama", o);
    assert_int_equal(pantry_session_new(model, NULL, &session, &error), PANTRY_OK);
    assert_int_equal(pantry_session_n_context(session), 77);
    pantry_session_free(session);
    pantry_model_free(model);
    o.n_context = -1;
    assert_int_equal(pantry_model_load(tiny_model("llama", GW_F32, "llama.gguf"), &o, &model, &error), PANTRY_INVALID);
}

/* LongRoPE: one set of factors for contexts of up to 64 tokens, another for longer ones. */
static const char *long_rope_model(void)
{
    struct gw g;
    static const float longer[] = {1, 3, 9, 27}, shorter[] = {1, 1, 1, 1};
    static const int64_t shape[] = {TINY_HEAD_DIM / 2};
    tiny_model_init(&g, "llama", GW_F32);
    gw_u32(&g, "llama.rope.scaling.original_context_length", 64);
    gw_floats(&g, "rope_factors_long.weight", GW_F32, 1, shape, longer);
    gw_floats(&g, "rope_factors_short.weight", GW_F32, 1, shape, shorter);
    const char *path = gw_file(&g, "longrope.gguf");
    gw_free(&g);
    return path;
}

/* The logits after the prompt in a session of `n_context` tokens. The model was loaded for `loaded_for` tokens (0: any)
 * and already has a session of `first` tokens (0: none). */
static pantry_status rotated(int loaded_for, int first, int n_context, float *logits)
{
    struct pantry_model_options o = pantry_model_options_default();
    struct pantry_error error;
    pantry_model *model;
    pantry_session *earlier = NULL, *session = NULL;
    o.device = "ref";
    o.n_context = loaded_for;
    if (pantry_model_load(long_rope_model(), &o, &model, &error))
        fail_msg("%s", error.text);
    if (first)
        assert_int_equal(pantry_session_new(model,
                                            &(struct pantry_session_options){
                                                .size = sizeof(struct pantry_session_options), .n_context = first},
                                            &earlier, &error),
                         PANTRY_OK);
    pantry_status status = pantry_session_new(
        model, &(struct pantry_session_options){.size = sizeof(struct pantry_session_options), .n_context = n_context},
        &session, &error);
    if (!status) {
        static float all[N_PROMPT * TINY_VOCAB];
        assert_int_equal(pantry_logits(session, prompt, N_PROMPT, NULL, 0, all, &error), PANTRY_OK);
        memcpy(logits, all + (N_PROMPT - 1) * TINY_VOCAB, TINY_VOCAB * sizeof *logits);
    }
    pantry_session_free(earlier);
    pantry_session_free(session);
    pantry_model_free(model);
    return status;
}

static void sessions_share_the_rotation(void **state)
{
    (void)state;
    static float shorter[TINY_VOCAB], longer[TINY_VOCAB], got[TINY_VOCAB];
    assert_int_equal(rotated(0, 0, 64, shorter), PANTRY_OK);
    assert_int_equal(rotated(0, 0, 65, longer), PANTRY_OK);
    assert_memory_not_equal(shorter, longer, sizeof longer);
    assert_int_equal(rotated(100, 0, 50, got), PANTRY_OK); /* as the model was loaded for */
    assert_memory_equal(got, longer, sizeof got);
    assert_int_equal(rotated(0, 200, 50, got), PANTRY_OK); /* as the first session */
    assert_memory_equal(got, longer, sizeof got);
    assert_int_equal(rotated(0, 30, 64, got), PANTRY_OK);
    assert_memory_equal(got, shorter, sizeof got);
    assert_int_equal(rotated(64, 0, 65, got), PANTRY_INVALID);
    assert_int_equal(rotated(0, 10, 65, got), PANTRY_INVALID);
    assert_int_equal(rotated(65, 10, 250, got), PANTRY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(indexed_numbers_equal_the_stream), cmocka_unit_test(draws_are_even),
        cmocka_unit_test(the_text_decides_not_its_history), cmocka_unit_test(sessions_share_the_type_of_keys),
        cmocka_unit_test(sessions_share_the_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
