/* Grammars of calls, in every dialect that has a shape: random texts of the grammar are calls to the dialect's own
 * parser, of tools that were offered, with arguments that are valid against their schemas; and calls as models write
 * them are texts of the grammar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tool_text.h"
#include "grammar/match.h"
#include "grammar/schema.h"

#include "grammar_walk.h"

enum { N_WALKS = 60, N_TOOLS = 2 };

static const char *const schemas[N_TOOLS] = {
    "{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"},"
    " \"days\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 14},"
    " \"unit\": {\"enum\": [\"celsius\", \"kelvin\"]}, \"on\": {\"type\": \"boolean\"},"
    " \"tags\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}, \"minItems\": 1, \"maxItems\": 3},"
    " \"place\": {\"$ref\": \"#/$defs/place\"},"
    " \"note\": {\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]},"
    " \"limit\": {\"type\": [\"number\", \"null\"]}},"
    " \"required\": [\"city\", \"on\"], \"additionalProperties\": false,"
    " \"$defs\": {\"place\": {\"type\": \"object\", \"properties\": {\"lat\": {\"type\": \"number\"},"
    " \"name\": {\"type\": \"string\"}}, \"required\": [\"lat\"], \"additionalProperties\": false}}}",
    "{\"type\": \"object\", \"properties\": {}, \"additionalProperties\": false}",
};
static const char *const names[N_TOOLS] = {"get_weather", "noop"};

struct fixture {
    json_t *tools;
    struct pn_grammar *valid[N_TOOLS];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct pn_schema_options closed = {.closed = true};
    f->tools = json_array();
    for (int i = 0; i < N_TOOLS; i++) {
        json_t *schema = json_loads(schemas[i], 0, NULL);
        assert_non_null(schema);
        json_array_append_new(f->tools, json_pack("{s:s, s:{s:s, s:o}}", "type", "function", "function", "name",
                                                  names[i], "parameters", schema));
        assert_int_equal(pn_schema_compile_text(schemas[i], strlen(schemas[i]), &closed, &f->valid[i], NULL), 0);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < N_TOOLS; i++)
        pn_grammar_free(f->valid[i]);
    json_decref(f->tools);
    free(f);
    return 0;
}

static struct pn_grammar *grammar_of(const struct pn_call_shape *shape, const json_t *tools, bool demanded)
{
    struct pn_tool_writer w = {.shape = *shape, .demanded = demanded};
    struct pn_grammar *g = NULL;
    struct pantry_error err = {0};
    pn_expr root;
    assert_int_equal(pn_expr_builder_new(&w.b, NULL), PANTRY_OK);
    pantry_status status = pn_tool_calls(&w, tools, true, &root, &err);
    if (!status)
        status = pn_grammar_compile(w.b, root, &g, &err);
    if (status)
        print_error("%s\n", err.text);
    assert_int_equal(status, PANTRY_OK);
    pn_expr_builder_free(w.b);
    return g;
}

/* ---- what the grammar allows ---- */

struct heard {
    const struct fixture *f;
    int n_calls, n_wrong;
    struct pn_buf content;
};

static void on_event(void *user, const struct pn_parse_event *e)
{
    struct heard *h = user;
    bool accepted = false;
    int i = 0;
    if (e->type == PN_EVENT_CONTENT)
        pn_buf_append(&h->content, e->text, e->len);
    if (e->type != PN_EVENT_TOOL_CALL)
        return;
    h->n_calls++;
    while (i < N_TOOLS && strcmp(names[i], e->name) != 0)
        i++;
    json_t *value = json_loads(e->arguments, JSON_ALLOW_NUL, NULL); /* spelled as the schema's grammar does it */
    char *text = json_dumps(value, 0);
    if (i < N_TOOLS && text)
        pn_grammar_accepts(h->f->valid[i], text, strlen(text), &accepted, NULL);
    free(text);
    json_decref(value);
    if (!accepted)
        print_error("arguments of %s: %s\n", e->name, e->arguments);
    h->n_wrong += !accepted;
}

static void random_texts_are_valid_calls(void **state)
{
    const struct fixture *f = *state;
    const struct pn_dialect *d;
    int n_shapes = 0, n_wrong = 0, n_several = 0;
    for (size_t i = 0; (d = pn_dialect_at(i)); i++) {
        struct pn_call_shape shape;
        struct walk w;
        if (!pn_dialect_call_shape(d, NULL, 0, &shape))
            continue;
        n_shapes++;
        struct pn_grammar *g = grammar_of(&shape, f->tools, true);
        walk_start(&w, g, 1000 + i);
        for (int k = 0; k < N_WALKS; k++) {
            const struct pn_parse_options o = {.prompt = "", .tools = f->tools, .tool_choice = PN_TOOL_REQUIRED};
            struct heard h = {.f = f};
            walk_once(&w);
            struct pn_parser *p = pn_parser_new(d, &o, on_event, &h);
            assert_int_equal(pn_parser_push(p, w.out.data, w.out.len, NULL), PANTRY_OK);
            assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
            pn_parser_free(p);
            bool wrong = h.n_wrong || !h.n_calls || h.content.len;
            if (wrong)
                print_error("%s: %d calls, content '%s' from\n%s\n\n", pn_dialect_name(d), h.n_calls,
                            h.content.len ? h.content.data : "", w.out.data);
            n_wrong += wrong;
            n_several += h.n_calls > 1;
            pn_buf_free(&h.content);
        }
        walk_end(&w);
        pn_grammar_free(g);
    }
    assert_int_equal(n_wrong, 0);
    assert_int_equal(n_shapes, 38); /* of 39: "plain" has no calls */
    assert_in_range(n_several, 100, 38 * N_WALKS);
}

static void dialects_without_a_shape_are_known(void **state)
{
    (void)state;
    struct pn_call_shape shape;
    const struct pn_dialect *d;
    for (size_t i = 0; (d = pn_dialect_at(i)); i++)
        assert_int_equal(pn_dialect_call_shape(d, NULL, 0, &shape), strcmp(pn_dialect_name(d), "plain") != 0);
}

/* ---- what models write ---- */

/* Calls of the recorded kind: the grammar has to have the ones of this tool alone. */
static void calls_that_models_write_are_allowed(void **state)
{
    const struct fixture *f = *state;
    static const struct {
        const char *dialect, *text;
    } rows[] = {
        {"harmony", "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
                    "{\"city\": \"Paris\", \"on\": true}"},
        {"harmony", "<|start|>assistant<|channel|>commentary to=functions.noop <|constrain|>json<|message|>{}"},
        {"gemma4", "<|tool_call>call:get_weather{city:<|\"|>Paris \"x\"<|\"|>,days:3,on:true,tags:[<|\"|>a<|\"|>],"
                   "place:{lat:-1.5,name:<|\"|>y<|\"|>},note:null}<tool_call|>"},
        {"gemma", "<start_function_call>call:noop{}<end_function_call>"},
        {"deepseek-v3.2", "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n"
                          "<｜DSML｜parameter name=\"city\" string=\"true\">Paris</｜DSML｜parameter>\n"
                          "<｜DSML｜parameter name=\"on\" string=\"false\">true</｜DSML｜parameter>\n"
                          "<｜DSML｜parameter name=\"note\" string=\"true\">hm</｜DSML｜parameter>\n"
                          "</｜DSML｜invoke>\n</｜DSML｜function_calls>"},
        {"deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>noop\n```json\n{}\n```"
                     "<｜tool▁call▁end｜>"},
        {"kimi-k3", "<|open|>tools<|sep|><|open|>call tool=\"get_weather\" index=\"0\"<|sep|>"
                    "<|open|>argument key=\"city\" type=\"string\"<|sep|>Paris<|close|>argument<|sep|>"
                    "<|open|>argument key=\"on\" type=\"boolean\"<|sep|>false<|close|>argument<|sep|>"
                    "<|open|>argument key=\"limit\" type=\"null\"<|sep|>null<|close|>argument<|sep|>"
                    "<|close|>call<|sep|>"},
        {"lfm2", "<|tool_call_start|>[get_weather(city=\"Paris\", on=True), noop()]<|tool_call_end|>"},
        {"olmo", "<function_calls>\nget_weather(city=\"Paris\", on=False)\nnoop()\n</function_calls>"},
        {"minicpm5",
         "<function name=\"get_weather\"><param name=\"city\">Pa<b>ris</param><param name=\"on\">true</param>"
         "</function>"},
        {"solar", "<|tool_calls|><|tool_call:begin|>id0<|tool_call:name|>noop<|tool_call:args|>{}<|tool_call:end|>"},
        {"muse",
         " to=get_weather<|message|><atem:function_calls>\n<atem:invoke name=\"get_weather\">\n"
         "<atem:parameter name=\"city\">Paris</atem:parameter>\n<atem:parameter name=\"on\">true</atem:parameter>\n"
         "</atem:invoke>\n</atem:function_calls>"},
        {"minimax-m3", "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"get_weather\">]<]minimax[>[<city>Paris"
                       "]<]minimax[>[</city>]<]minimax[>[<on>true]<]minimax[>[</on>]<]minimax[>[</invoke>\n"
                       "]<]minimax[>[</tool_call>"},
        {"hermes", "<tool_call>\n{\"name\": \"noop\", \"arguments\": {}}\n</tool_call>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pn_call_shape shape;
        bool accepted = false;
        assert_true(pn_dialect_call_shape(pn_dialect_find(rows[i].dialect), NULL, 0, &shape));
        struct pn_grammar *g = grammar_of(&shape, f->tools, true);
        assert_int_equal(pn_grammar_accepts(g, rows[i].text, strlen(rows[i].text), &accepted, NULL), PANTRY_OK);
        if (!accepted)
            print_error("%s: %s\n", rows[i].dialect, rows[i].text);
        assert_true(accepted);
        bool cut = true; /* a call that is not whole is not */
        pn_grammar_accepts(g, rows[i].text, strlen(rows[i].text) - 1, &cut, NULL);
        assert_false(cut);
        pn_grammar_free(g);
    }
}

static void after_a_trigger_the_rest_of_the_call_follows(void **state)
{
    const struct fixture *f = *state;
    const struct pn_dialect *d;
    for (size_t i = 0; (d = pn_dialect_at(i)); i++) {
        struct pn_call_shape shape;
        struct walk w;
        if (!pn_dialect_call_shape(d, NULL, 0, &shape) || !*shape.trigger)
            continue;
        struct pn_grammar *g = grammar_of(&shape, f->tools, false);
        walk_start(&w, g, i);
        walk_once(&w);
        const struct pn_parse_options o = {.prompt = "", .tools = f->tools, .tool_choice = PN_TOOL_AUTO};
        struct heard h = {.f = f};
        struct pn_buf text = {0};
        pn_buf_puts(&text, strcmp(pn_dialect_name(d), "muse") == 0 ? " to=noop<|message|>" : "");
        pn_buf_puts(&text, shape.trigger);
        pn_buf_append(&text, w.out.data, w.out.len);
        struct pn_parser *p = pn_parser_new(d, &o, on_event, &h);
        assert_int_equal(pn_parser_push(p, text.data, text.len, NULL), PANTRY_OK);
        assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
        pn_parser_free(p);
        if (!h.n_calls)
            print_error("%s: no call in %s\n", pn_dialect_name(d), text.data);
        assert_true(h.n_calls > 0 && !h.n_wrong);
        pn_buf_free(&h.content);
        pn_buf_free(&text);
        walk_end(&w);
        pn_grammar_free(g);
    }
}

/* ---- what cannot be kept ---- */

static void refusal(const char *dialect, const char *parameters, const char *mention)
{
    struct pn_tool_writer w = {.demanded = true};
    struct pantry_error err = {0};
    pn_expr root;
    json_t *tools =
        json_pack("[{s:{s:s, s:o}}]", "function", "name", "f", "parameters", json_loads(parameters, 0, NULL));
    assert_non_null(tools);
    assert_true(pn_dialect_call_shape(pn_dialect_find(dialect), NULL, 0, &w.shape));
    assert_int_equal(pn_expr_builder_new(&w.b, NULL), PANTRY_OK);
    assert_int_equal(pn_tool_calls(&w, tools, true, &root, &err), PANTRY_UNSUPPORTED);
    if (!strstr(err.text, mention))
        print_error("'%s' does not mention '%s'\n", err.text, mention);
    assert_non_null(strstr(err.text, mention));
    pn_expr_builder_free(w.b);
    json_decref(tools);
}

static void what_cannot_be_kept_is_refused_by_name(void **state)
{
    (void)state;
#define ONE(schema) "{\"type\": \"object\", \"properties\": {\"x\": " schema "}}"
    refusal("qwen3-coder", ONE("{\"type\": \"string\", \"pattern\": \"^a\"}"), "properties.x.pattern");
    refusal("gemma4", ONE("{\"type\": \"string\", \"maxLength\": 3}"), "properties.x.maxLength");
    refusal("gemma4", ONE("{\"type\": \"array\", \"uniqueItems\": true}"), "properties.x.uniqueItems");
    refusal("gemma4", ONE("{\"type\": \"object\", \"properties\": {\"y\": {\"allOf\": []}}}"),
            "properties.x.properties.y.allOf");
    refusal("gemma4",
            "{\"type\": \"object\", \"properties\": {\"x\": {\"$ref\": \"#/$defs/n\"}}, \"$defs\":"
            " {\"n\": {\"type\": \"object\", \"properties\": {\"n\": {\"$ref\": \"#/$defs/n\"}}}}}",
            "$ref");
    refusal("gemma4", "{\"type\": \"object\", \"properties\": {\"a:b\": {\"type\": \"string\"}}}", "a:b");
    refusal("lfm2", "{\"type\": \"object\", \"properties\": {\"a=b\": {\"type\": \"string\"}}}", "a=b");
    refusal("harmony", ONE("{\"disallow\": \"string\"}"), "disallow");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_texts_are_valid_calls, set_up, tear_down),
        cmocka_unit_test(dialects_without_a_shape_are_known),
        cmocka_unit_test_setup_teardown(calls_that_models_write_are_allowed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_trigger_the_rest_of_the_call_follows, set_up, tear_down),
        cmocka_unit_test(what_cannot_be_kept_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
