/* What steers an answer besides the common samplers: their order, forced and banned tokens and texts, DRY's breakers,
 * the budget of reasoning; and that requests are alike alone and together. Each sampler's numbers are compared with a
 * reference in tests/diff/samplers.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/handle.h"
#include "engine/sample.h"
#include "pantry.h"
#include "public.h"
#include "script_model.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct pantry_sampling greedy(void)
{
    return (struct pantry_sampling){.temperature = 0, .top_p = 1, .repeat_penalty = 1, .penalty_last_n = -1};
}

static struct pantry_request_options request(const int32_t *ids, size_t n)
{
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = ids;
    o.n_ids = n;
    o.sampling = greedy();
    return o;
}

/* The answer's text. */
static void text_of(pantry_model *model, const struct pantry_request_options *o, char out[512])
{
    pantry_request *r = submit(model, o);
    const struct pantry_event *e;
    size_t len = 0;
    while ((e = pantry_request_next(r, -1))->kind == PANTRY_EVENT_TOKEN) {
        assert_true(len + e->token->len < 512);
        memcpy(out + len, e->token->text, e->token->len);
        len += e->token->len;
    }
    assert_int_equal(e->status, PANTRY_OK);
    out[len] = '\0';
    pantry_request_free(r);
}

static void expect_text(pantry_model *model, const struct pantry_request_options *o, const char *text)
{
    char got[512];
    text_of(model, o, got);
    assert_string_equal(got, text);
}

/* ---- the order ---- */

static void orders_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *order, *says; /* NULL: fine */
    } cases[] = {
        {"temperature", NULL},
        {"", NULL},
        {"top_k;top_p;temp", NULL},
        {"penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature;adaptive_p", NULL},
        {"top_k;;top_p", "unknown name (found \"\""},
        {"top", "unknown name (found \"top\""},
        {"top_kk", "unknown name (found \"top_kk\""},
        {"top_p;top_k;top_p", "\"top_p\" comes twice"},
        {"temp;temperature", "\"temperature\" comes twice"},
        {"typ_p;typical_p", "\"typical_p\" comes twice"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_sampler s;
        struct pantry_error err = {0};
        struct pantry_samplers more = pantry_samplers_default();
        struct pantry_sampling o = greedy();
        o.more = &more;
        more.order = cases[i].order;
        assert_int_equal(pn_sampler_init(&s, &o, 4, &err), cases[i].says ? PANTRY_INVALID : PANTRY_OK);
        if (cases[i].says && !strstr(err.text, cases[i].says))
            fail_msg("%s", err.text);
        pn_sampler_free(&s);
    }
}

/* A sampler that is not named is not applied: without temperature, 0 is not greedy. */
static void only_named_samplers_apply(void **state)
{
    (void)state;
    struct pantry_samplers more = pantry_samplers_default();
    struct pantry_sampling o = greedy();
    struct pn_sampler s;
    int n_second = 0;
    o.more = &more;
    for (int named = 0; named < 2; named++) {
        more.order = named ? "top_k;temperature" : "top_k";
        o.top_k = 2;
        assert_int_equal(pn_sampler_init(&s, &o, 3, NULL), PANTRY_OK);
        assert_int_equal(pn_sampler_is_greedy(&s), named);
        n_second = 0;
        for (int i = 0; i < 200; i++) {
            float logits[] = {1, 3, 3.5f};
            s.options.seed = (uint64_t)i;
            int32_t id = pn_sampler_choose(&s, logits, NULL, 0);
            assert_true(id == 1 || id == 2);
            n_second += id == 1;
        }
        pn_sampler_free(&s);
        assert_true(named ? n_second == 0 : n_second > 40 && n_second < 120); /* e^-0.5: 38 % */
    }
}

static void ranges_are_checked(void **state)
{
    (void)state;
    struct pantry_samplers all[] = {pantry_samplers_default(), pantry_samplers_default(), pantry_samplers_default(),
                                    pantry_samplers_default(), pantry_samplers_default()};
    static const char *const says[] = {"mirostat (found 3", "typical_p (found -0.5", "xtc_probability (found 1.5",
                                       "adaptive_decay (found 1", "dry_base (found nan"};
    all[0].mirostat = 3;
    all[1].typical_p = -0.5f;
    all[2].xtc_probability = 1.5f;
    all[3].adaptive_decay = 1;
    all[4].dry_base = NAN;
    for (size_t i = 0; i < COUNT(all); i++) {
        struct pn_sampler s;
        struct pantry_error err = {0};
        struct pantry_sampling o = greedy();
        o.more = &all[i];
        assert_int_equal(pn_sampler_init(&s, &o, 4, &err), PANTRY_INVALID);
        if (!strstr(err.text, says[i]))
            fail_msg("%s", err.text);
    }
}

/* ---- forced and banned ---- */

static void infinite_biases_force_and_ban(void **state)
{
    (void)state;
    const struct pantry_logit_bias bias[] = {{3, INFINITY}, {1, INFINITY}, {1, -1}, {4, -INFINITY}, {0, 50}};
    struct pantry_sampling o = greedy();
    struct pn_sampler s;
    float logits[] = {9, 1, 8, 0.5f, 20, 7}, others[] = {1, 2, 9, 3, 4, 5};
    assert_int_equal(pn_sampler_init(&s, &o, 6, NULL), PANTRY_OK);
    assert_int_equal(pn_sampler_set_bias(&s, bias, COUNT(bias), NULL), PANTRY_OK);
    assert_int_equal(pn_sampler_choose(&s, logits, NULL, 0), 3); /* 0.5, where token 1 has 1 - 1 */
    assert_int_equal(pn_sampler_choose(&s, others, NULL, 0), 3);
    pn_sampler_free(&s);
    assert_int_equal(pn_sampler_init(&s, &o, 6, NULL), PANTRY_OK);
    assert_int_equal(pn_sampler_set_bias(&s, bias + 3, 1, NULL), PANTRY_OK);
    float ban[] = {9, 1, 8, 0.5f, 20, 7};
    assert_int_equal(pn_sampler_choose(&s, ban, NULL, 0), 0);
    pn_sampler_free(&s);
}

static const char *const said[] = {"ab", "cd", "x", "b", "c", "y"};

/* A banned text never comes, however it is divided into tokens; the next likely token does. */
static void banned_texts_never_come(void **state)
{
    (void)state;
    int32_t ids[COUNT(said)];
    pantry_model *model = load_on_ref(script_model("banned.gguf", said, COUNT(said), ids));
    static const int32_t prompt[] = {0};
    static const struct {
        const char *banned, *text;
    } cases[] = {
        {"none of it", "abcdxbcy"}, {"bcd", "ab?xbcy"},  {"a", "?cdxbcy"},
        {"xb", "abcdx?cy"},         {"xbc", "abcdxb?y"}, {"dxbcy", "abcdxbc?"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pantry_request_options o = request(prompt, 1);
        struct pantry_samplers more = pantry_samplers_default();
        more.banned = &cases[i].banned;
        more.n_banned = 1;
        o.sampling.more = &more;
        expect_text(model, &o, cases[i].text);
    }
    static const char *const empty[] = {"x", ""};
    struct pantry_request_options o = request(prompt, 1);
    struct pantry_samplers more = pantry_samplers_default();
    struct pantry_error err;
    pantry_request *r;
    more.banned = empty;
    more.n_banned = 2;
    o.sampling.more = &more;
    assert_int_equal(pantry_submit(model, &o, &r, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "banned_strings[1]"));
    pantry_model_free(model);
}

/* The text that an answer begins with counts as its tokens, and the script goes on after them. */
static void answers_begin_as_they_are_told(void **state)
{
    (void)state;
    int32_t ids[COUNT(said)];
    pantry_model *model = load_on_ref(script_model("begin.gguf", said, COUNT(said), ids));
    static const int32_t prompt[] = {0};
    struct pantry_request_options o = request(prompt, 1);
    struct answer a;
    o.begin = "yxy";
    expect_text(model, &o, "yxybcy");
    run_request(model, &o, &a);
    assert_int_equal(a.stats.n_generated, 6);
    o.max_tokens = 2;
    expect_text(model, &o, "yx");
    o.max_tokens = 0;
    o.logprobs = true;
    expect_text(model, &o, "yxybcy");
    pantry_model_free(model);
}

/* ---- DRY ---- */

static void breakers_end_repetitions(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a", "b:", "c", "d\n", "e"};
    int32_t id[COUNT(pieces)];
    pantry_model *model = load_on_ref(script_model("dry.gguf", pieces, COUNT(pieces), id));
    const struct pn_dry_options options = {.multiplier = 2, .base = 3, .allowed_length = 2, .last_n = -1};
    static const char *const none[] = {""}, *const long_one[] = {"d\ne"};
    /* a b c e | a b c: e would make four. With ":" as a breaker only c is left, which is too short. */
    const int32_t text[] = {id[0], id[1], id[2], id[4], id[0], id[1], id[2]};
    const int32_t other[] = {id[2], id[3], id[4], id[2], id[0], id[2], id[3], id[4], id[2]};
    struct pn_dry d;
    for (int given = 0; given < 2; given++) {
        assert_int_equal(pn_dry_init(&d, &options, given ? none : NULL, 0, model->tokenizer, 10, 64, NULL), PANTRY_OK);
        pn_dry_find(&d, text, COUNT(text));
        assert_true(pn_dry_penalty(&d, id[4]) == (given ? 6 : 0)); /* 2 * 3 ^ (3 - 2) */
        assert_true(pn_dry_penalty(&d, id[0]) == 0);
        pn_dry_clear(&d);
        assert_true(pn_dry_penalty(&d, id[4]) == 0);
        pn_dry_free(&d);
    }
    assert_int_equal(pn_dry_init(&d, &options, long_one, 1, model->tokenizer, 10, 64, NULL), PANTRY_OK);
    for (int n = 1; n <= (int)COUNT(other); n++) { /* the breaker ends in the token before the last: one is left */
        pn_dry_find(&d, other, n);
        assert_true(pn_dry_penalty(&d, id[0]) == 0);
        pn_dry_clear(&d);
    }
    pn_dry_free(&d);
    assert_int_equal(pn_dry_init(&d, &options, none, 0, NULL, 10, 64, NULL), PANTRY_OK);
    pn_dry_find(&d, other, COUNT(other));
    assert_true(pn_dry_penalty(&d, id[0]) == 18); /* four tokens */
    pn_dry_free(&d);
    pantry_model_free(model);
}

/* ---- reasoning ---- */

static const char *const thought[] = {"<think>", "a", "b", "c", "d", "\n", "</think>", "x", "y", "z", "w"};

static void budgets_end_reasoning(void **state)
{
    (void)state;
    int32_t ids[COUNT(thought)];
    pantry_model *model = load_on_ref(script_model("think.gguf", thought, COUNT(thought), ids));
    const int32_t plain[] = {0}, inside[] = {0, ids[0], ids[5]}, closed[] = {0, ids[0], ids[6]};
    pantry_cancel *now = pantry_cancel_new();
    struct pantry_request_options o = request(plain, 1);
    expect_text(model, &o, "abcd\nxyzw");
    o.think_budget = 4; /* tokens; the script ends it before the sixth */
    expect_text(model, &o, "abcd\n\n\nzw");
    o.think_budget = 5;
    expect_text(model, &o, "abcd\n\n\n\nw");
    o.think_budget = 6;
    expect_text(model, &o, "abcd\nxyzw");
    o.think_budget = 0;
    expect_text(model, &o, "\n\n\n\nxyzw");
    o.think_message = "w";
    expect_text(model, &o, "\nw\n\n\nxyzw"); /* the closing has six tokens */
    o = request(inside, 3);                  /* the prompt opens the reasoning */
    o.think_budget = 1;
    expect_text(model, &o, "b\n\n\nxyzw");
    o = request(closed, 3);
    o.think_budget = 0;
    expect_text(model, &o, "bcd\nxyzw");
    o = request(plain, 1);
    o.end_thinking = now;
    expect_text(model, &o, "abcd\nxyzw");
    pantry_cancel_set(now);
    expect_text(model, &o, "\n\n\n\nxyzw");
    pantry_cancel_free(now);
    pantry_model_free(model);
}

/* ---- alone and together ---- */

enum { TOGETHER = 16 };

static void set_options(struct pantry_request_options *o, struct pantry_samplers *more, int i)
{
    o->max_tokens = 24;
    o->ignore_eos = true;
    o->sampling = (struct pantry_sampling){.temperature = 0.7f + 0.1f * (float)i,
                                           .top_k = i % 3 ? 0 : 30,
                                           .top_p = i % 2 ? 1 : 0.95f,
                                           .repeat_penalty = i % 4 ? 1 : 1.2f,
                                           .penalty_last_n = 16,
                                           .seed = 100 + (uint64_t)i};
    *more = pantry_samplers_default();
    more->mirostat = i % 5 == 1 ? 1 : i % 5 == 2 ? 2 : 0;
    more->adaptive_target = i % 5 == 3 ? 0.3f : -1;
    more->xtc_probability = i % 5 == 4 ? 0.5f : 0;
    more->dry_multiplier = i % 2 ? 0.8f : 0;
    more->typical_p = i % 7 == 6 ? 0.9f : 1;
    o->sampling.more = more;
}

static void sixteen_answer_as_one_does(void **state)
{
    (void)state;
    pantry_model *model = load_on_ref(tiny_model("llama", GW_F32, "samplers.gguf"));
    static const int32_t prompt[] = {3, 1, 4, 1, 5};
    struct pantry_request_options o[TOGETHER];
    struct pantry_samplers more[TOGETHER];
    pantry_request *r[TOGETHER];
    static struct answer alone[TOGETHER], together;
    int n_alike = 0;
    for (int i = 0; i < TOGETHER; i++) {
        o[i] = request(prompt, COUNT(prompt));
        set_options(&o[i], &more[i], i);
        run_request(model, &o[i], &alone[i]);
        assert_int_equal(alone[i].n, 24);
        n_alike += i && memcmp(alone[i].ids, alone[0].ids, sizeof(int32_t) * 24) == 0;
    }
    assert_int_equal(n_alike, 0);
    for (int i = 0; i < TOGETHER; i++)
        r[i] = submit(model, &o[i]);
    for (int i = 0; i < TOGETHER; i++) {
        read_all(r[i], &together);
        assert_int_equal(together.n, 24);
        assert_memory_equal(together.ids, alone[i].ids, sizeof(int32_t) * 24);
        pantry_request_free(r[i]);
    }
    pantry_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_are_read),
        cmocka_unit_test(only_named_samplers_apply),
        cmocka_unit_test(ranges_are_checked),
        cmocka_unit_test(infinite_biases_force_and_ban),
        cmocka_unit_test(banned_texts_never_come),
        cmocka_unit_test(answers_begin_as_they_are_told),
        cmocka_unit_test(breakers_end_repetitions),
        cmocka_unit_test(budgets_end_reasoning),
        cmocka_unit_test(sixteen_answer_as_one_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
