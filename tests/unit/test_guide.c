/* Answers within grammars: of models that say something else, at any temperature, token by token and with the forced
 * tokens read ahead; triggers, reasoning, and where an answer ends. */
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
#include "pantry.h"
#include "public.h"
#include "script_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static pantry_grammar *grammar(enum pantry_grammar_kind kind, const char *source)
{
    struct pantry_error error;
    pantry_grammar *g;
    if (pantry_grammar_new(kind, source, strlen(source), NULL, &g, &error))
        fail_msg("%s", error.text);
    return g;
}

static struct pantry_request_options request(const int32_t *ids, size_t n, const pantry_grammar *g)
{
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = ids;
    o.n_ids = n;
    o.sampling = (struct pantry_sampling){.temperature = 0, .top_p = 1, .repeat_penalty = 1, .penalty_last_n = -1};
    o.grammar = g;
    return o;
}

struct text {
    char at[512];
    size_t len;
    int n; /* tokens */
    struct pantry_stats stats;
};

static void text_of(pantry_model *model, const struct pantry_request_options *o, struct text *out)
{
    pantry_request *r = submit(model, o);
    const struct pantry_event *e;
    *out = (struct text){0};
    while ((e = pantry_request_next(r, -1))->kind == PANTRY_EVENT_TOKEN) {
        assert_true(out->len + e->token->len < sizeof out->at);
        memcpy(out->at + out->len, e->token->text, e->token->len);
        out->len += e->token->len;
        out->n += e->token->id >= 0;
    }
    if (e->status)
        fail_msg("%s", e->message);
    out->stats = *e->stats;
    pantry_request_free(r);
}

static void expect(pantry_model *model, const struct pantry_request_options *o, const char *text, enum pantry_stop stop)
{
    struct text got;
    text_of(model, o, &got);
    assert_string_equal(got.at, text);
    assert_int_equal(got.stats.stop, stop);
    assert_int_equal(got.stats.n_generated, got.n);
}

/* The model wants to say this; the grammars want something else. */
static const char *const said[] = {"ab", "c", "x", "1", "23", " ", "y"};
static const int32_t prompt[] = {0};

static void the_model_chooses_within_the_grammar(void **state)
{
    (void)state;
    int32_t ids[COUNT(said)];
    pantry_model *model = load_on_ref(script_model("guide.gguf", said, COUNT(said), ids));
    static const struct {
        const char *gbnf, *text;
        enum pantry_stop stop;
    } cases[] = {
        {"root ::= \"abcx123 y\"", "abcx123 y", PANTRY_STOP_END},
        {"root ::= [a-c]* \"1\"", "abcab1", PANTRY_STOP_END}, /* x is not allowed; of equal ones the first */
        {"root ::= \"abc\" (\"1\" | \"y\")", "abc1", PANTRY_STOP_END},
        {"root ::= [0-9]+", "1", PANTRY_STOP_LENGTH},
        {"root ::= \"y\"?", "", PANTRY_STOP_END}, /* the end comes before y among equal ones */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        pantry_grammar *g = grammar(PANTRY_GRAMMAR_GBNF, cases[i].gbnf);
        struct pantry_request_options o = request(prompt, 1, g);
        o.max_tokens = cases[i].stop == PANTRY_STOP_LENGTH ? 1 : 0;
        expect(model, &o, cases[i].text, cases[i].stop);
        pantry_grammar_free(g);
    }
    pantry_model_free(model);
}

/* Every text obeys, whatever the temperature, the seed and the samplers; the same seed gives the same text beside
 * others. */
static void all_texts_obey(void **state)
{
    (void)state;
    int32_t ids[COUNT(said)];
    pantry_model *model = load_on_ref(script_model("obey.gguf", said, COUNT(said), ids));
    static const char *const sources[] = {"root ::= (\"ab\" | \"c\" | \" \"){2,6} [xy]",
                                          "root ::= [0-9]{1,3} (\" \" root)?", "root ::= \"x\" [a-cx-y ]{3} \"1\""};
    for (size_t s = 0; s < COUNT(sources); s++) {
        pantry_grammar *g = grammar(PANTRY_GRAMMAR_GBNF, sources[s]);
        int n_whole = 0;
        for (int seed = 0; seed < 60; seed++) {
            struct pantry_samplers more = pantry_samplers_default();
            struct pantry_request_options o = request(prompt, 1, g);
            struct text alone;
            bool accepted;
            o.sampling = (struct pantry_sampling){.temperature = 20,
                                                  .top_p = seed % 2 ? 1 : 0.7f,
                                                  .repeat_penalty = 1,
                                                  .top_k = seed % 3 ? 0 : 2,
                                                  .seed = (uint64_t)seed};
            more.mirostat = seed % 5 == 4 ? 2 : 0;
            o.sampling.more = &more;
            o.max_tokens = 60;
            text_of(model, &o, &alone);
            if (alone.stats.stop == PANTRY_STOP_LENGTH)
                continue;
            n_whole++;
            assert_int_equal(alone.stats.stop, PANTRY_STOP_END);
            assert_int_equal(pantry_grammar_accepts(g, alone.at, alone.len, &accepted, NULL), PANTRY_OK);
            if (!accepted)
                fail_msg("%s: '%s'", sources[s], alone.at);
        }
        assert_true(n_whole > 30);
        pantry_grammar_free(g);
    }
    pantry_model_free(model);
}

/* Forced bytes become the tokens that the tokenizer makes of the text, several in one step; the text and the tokens are
 * those that single steps give. */
static void forced_text_is_read_ahead(void **state)
{
    (void)state;
    static const char *const letters[] = {"x", "a", "b", "c", "1", " ", "y"};
    int32_t ids[COUNT(letters)];
    struct text got;
    struct pn_sched_stats before, after;
    pantry_model *model = load_on_ref(script_model("ahead.gguf", letters, COUNT(letters), ids));
    pantry_grammar *g = grammar(PANTRY_GRAMMAR_GBNF, "root ::= [xy] \"abcabcabcabcabc11 \" [xy]");
    struct pantry_request_options o = request(prompt, 1, g);
    text_of(model, &o, &got); /* warms up */
    assert_int_equal(pn_sched_stats(model->sched, &before, NULL), PANTRY_OK);
    text_of(model, &o, &got);
    assert_int_equal(pn_sched_stats(model->sched, &after, NULL), PANTRY_OK);
    assert_string_equal(got.at, "xabcabcabcabcabc11 x");
    assert_int_equal(got.n, 20);
    assert_true(after.steps - before.steps < 8); /* 20 tokens */
    pantry_grammar_free(g);
    pantry_model_free(model);
}

/* ---- triggers ---- */

static const char *const calling[] = {"a", "<c", ">", "x", "b", "<", "c>", "b", "x", "y"};

/* The grammar holds after the trigger, each time; the trigger may be divided over tokens and have text after it. */
static void triggers_begin_the_grammar(void **state)
{
    (void)state;
    int32_t ids[COUNT(calling)];
    pantry_model *model = load_on_ref(script_model("trigger.gguf", calling, COUNT(calling), ids));
    pantry_grammar *g = grammar(PANTRY_GRAMMAR_GBNF, "root ::= [yb] \".\"?");
    struct pantry_request_options o = request(prompt, 1, g);
    char trigger[] = "<c>";
    g->trigger = trigger;
    /* After the first <c>, "x" is not allowed, then of "b" and "y" the likeliest; ... */
    struct text got;
    text_of(model, &o, &got);
    assert_non_null(strstr(got.at, "a<c>"));
    for (const char *at = got.at; (at = strstr(at, "<c>")); at += 3)
        assert_true(at[3] == 'y' || at[3] == 'b');
    assert_int_equal(got.stats.stop, PANTRY_STOP_END);
    g->trigger = NULL;
    pantry_grammar_free(g);
    pantry_model_free(model);
}

/* ---- reasoning ---- */

static const char *const thought[] = {"<think>", "a", "</think>", "x", "1", "2", "y"};

static void reasoning_comes_before_the_grammar(void **state)
{
    (void)state;
    int32_t ids[COUNT(thought)];
    pantry_model *model = load_on_ref(script_model("reason.gguf", thought, COUNT(thought), ids));
    const int32_t inside[] = {0, ids[0]};
    pantry_grammar *g = grammar(PANTRY_GRAMMAR_GBNF, "root ::= [0-9]{2}");
    struct pantry_request_options o = request(inside, 2, g);
    expect(model, &o, "a11", PANTRY_STOP_END); /* for x the first digit, then the script's */
    o = request(prompt, 1, g);
    expect(model, &o, "11", PANTRY_STOP_END); /* nothing says that the model reasons: the grammar holds at once */
    pantry_grammar_free(g);
    pantry_model_free(model);
}

static void without_a_tokenizer_there_is_no_grammar(void **state)
{
    (void)state;
    static float table[SCRIPT_CONTEXT * 4];
    struct gw g;
    struct pantry_error error;
    pantry_request *r;
    script_model_init(&g, table, 4);
    pantry_model *model = load_on_ref(gw_file(&g, "mute.gguf"));
    gw_free(&g);
    pantry_grammar *some = grammar(PANTRY_GRAMMAR_JSON, "");
    struct pantry_request_options o = request(prompt, 1, some);
    assert_int_equal(pantry_submit(model, &o, &r, &error), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "no tokenizer"));
    pantry_grammar_free(some);
    pantry_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_chooses_within_the_grammar),
        cmocka_unit_test(all_texts_obey),
        cmocka_unit_test(forced_text_is_read_ahead),
        cmocka_unit_test(triggers_begin_the_grammar),
        cmocka_unit_test(reasoning_comes_before_the_grammar),
        cmocka_unit_test(without_a_tokenizer_there_is_no_grammar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
