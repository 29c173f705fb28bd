/* Ollama's Go templates: the language, the variables, whole templates as its library has them, errors and bounds. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "text/template/go/go.h"
#include "text/template/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pantry_status render(const char *source, const char *context, char **out, struct pantry_error *err)
{
    struct go_template *t;
    size_t n;
    *out = NULL;
    json_t *json = json_loads(context, 0, NULL);
    assert_non_null(json);
    pantry_status status = pn_go_parse(source, strlen(source), &t, err);
    if (!status) {
        status = pn_go_render(t, json, 1000000, 1 << 20, 86400, out, &n, err);
        pn_go_free(t);
    }
    json_decref(json);
    return status;
}

static void assert_renders(const char *source, const char *context, const char *wanted)
{
    char *out;
    struct pantry_error err = {0};
    if (render(source, context, &out, &err))
        fail_msg("%s: %s", source, err.text);
    if (strcmp(out, wanted) != 0)
        fail_msg("%s: '%s' instead of '%s'", source, out, wanted);
    free(out);
}

/* With two messages, a tool and .Messages somewhere, so that it is rendered once. */
static void assert_says(const char *source, const char *wanted)
{
    static const char context[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"sys\"}, {\"role\": \"user\", \"content\": \"hi <b>\"},"
        "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": "
        "\"{\\\"b\\\": 1, \\\"a\\\": \\\"<\\\"}\"}}]}], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": "
        "\"f\", \"parameters\": {\"required\": [\"a\", \"b\"], \"properties\": {\"b\": {\"type\": \"integer\"}, \"a\": "
        "{\"type\": \"string\"}}}}}]}";
    char text[2000];
    snprintf(text, sizeof text, "%s{{ if false }}{{ .Messages }}{{ end }}", source);
    assert_renders(text, context, wanted);
}

static void the_language(void **state)
{
    (void)state;
    static const struct {
        const char *source, *wanted;
    } rows[] = {
        {"a {{ .System }} b", "a sys b"},
        {"a {{- .System -}} b", "asysb"},
        {"a\n {{- /* no }} */ -}} \n b", "ab"},
        {"{{/* note */}}x", "x"},
        {"{{ \"a\\n\\\"\" }}{{ `b\\` }}", "a\n\"b\\"},
        {"{{ 12 }} {{ -3 }} {{ 1.5 }} {{ true }} {{ nil }}", "12 -3 1.5 true "},
        {"{{ if .System }}y{{ else }}n{{ end }}", "y"},
        {"{{ if .Nothing }}y{{ else if eq .System \"sys\" }}z{{ else }}n{{ end }}", "z"},
        {"{{ if not .Nothing }}y{{ end }}", "y"},
        {"{{ if and .System .Tools (not .Nothing) }}y{{ end }}", "y"},
        {"{{ or .Nothing .System }} {{ and .System 0 }}", "sys 0"},
        {"{{ range .Messages }}[{{ .Role }}]{{ end }}", "[system][user][assistant]"},
        {"{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Role }} {{ end }}", "0system 1user 2assistant "},
        {"{{ range $m := .Messages }}{{ $m.Role }} {{ end }}", "system user assistant "},
        {"{{ range .Nothing }}a{{ else }}b{{ end }}", "b"},
        {"{{ range .Messages }}{{ if eq .Role \"user\" }}{{ continue }}{{ end }}{{ .Role }} {{ end }}",
         "system assistant "},
        {"{{ range .Messages }}{{ if eq .Role \"user\" }}{{ break }}{{ end }}{{ .Role }} {{ end }}.", "system ."},
        {"{{ range .Messages }}{{ $.System }}{{ end }}", "syssyssys"},
        {"{{ with .System }}<{{ . }}>{{ end }}{{ with .Nothing }}a{{ else }}b{{ end }}", "<sys>b"},
        {"{{ with $x := .System }}{{ $x }}{{ end }}", "sys"},
        {"{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ end }}{{ $x }}", "2"},
        {"{{ $last := \"\" }}{{ range .Messages }}{{ $last = .Role }}{{ end }}{{ $last }}", "assistant"},
        {"{{ len .Messages }} {{ len .System }} {{ len .Nothing }}", "3 3 0"},
        {"{{ (index .Messages 1).Role }} {{ index .Messages 1 | json }}",
         "user {\"role\":\"user\",\"content\":\"hi \\u003cb\\u003e\"}"},
        {"{{ range $i, $_ := .Messages }}{{ eq (len (slice $.Messages $i)) 1 }} {{ end }}", "false false true "},
        {"{{ slice .System 1 }} {{ slice .System 0 2 }}", "ys sy"},
        {"{{ eq 1 2 1 }} {{ ne 1 2 }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt \"a\" \"b\" }} {{ ge 2.5 2 }} {{ eq nil .Nothing "
         "}}",
         "true true true true false true true"},
        {"{{ .System | len }} {{ .System | eq \"sys\" }}", "3 true"},
        {"{{ print .System 1 2 \"x\" }}", "sys1 2x"},
        {"{{ currentDate }}", "1970-01-02"},
        {"{{ range .Tools }}{{ .Function.Name }} {{ .Function.Parameters.Required }}{{ end }}", "f [a b]"},
        {"{{ range .Tools }}{{ range $k, $p := .Function.Parameters.Properties }}{{ $k }}:{{ $p.Type }} {{ end }}{{ "
         "end }}",
         "a:string b:integer "},
        {"{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Name }}{{ .Function.Arguments }}{{ .Function.Index "
         "}}{{ end }}{{ end }}",
         "f{\"b\":1,\"a\":\"\\u003c\"}0"},
        {"{{ .Think }} {{ .IsThinkSet }} [{{ .ThinkLevel }}]", "false false []"},
        {"{ } }} {% x", "{ } }} {% x"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_says(rows[i].source, rows[i].wanted);
}

#define CONTEXT(messages) "{\"messages\": [" messages "]}"
#define SAYS(role, text)  "{\"role\": \"" role "\", \"content\": \"" text "\"}"

/* Templates without .Messages are rendered turn by turn. */
static void turns(void **state)
{
    (void)state;
    static const char chatml[] =
        "{{ if .System }}<s>{{ .System }}\n{{ end }}{{ if .Prompt }}<u>{{ .Prompt }}\n{{ end }}<a>"
        "{{ .Response }}<end>\n";
    assert_renders(chatml, CONTEXT(SAYS("user", "q")), "<u>q\n<a>");
    assert_renders(chatml, CONTEXT(SAYS("system", "s") "," SAYS("user", "q")), "<s>s\n<u>q\n<a>");
    assert_renders(chatml, CONTEXT(SAYS("user", "q") "," SAYS("assistant", "r") "," SAYS("user", "p")),
                   "<u>q\n<a>r<end>\n<u>p\n<a>");
    assert_renders(chatml, CONTEXT(SAYS("user", "q") "," SAYS("assistant", "r")), "<u>q\n<a>r");
    assert_renders(chatml, CONTEXT(SAYS("user", "q") "," SAYS("system", "s") "," SAYS("user", "p")),
                   "<u>q\n<a><end>\n<s>s\n<u>p\n<a>");
    assert_renders(chatml, CONTEXT(SAYS("user", "q") "," SAYS("user", "p")), "<u>q\n\np\n<a>");
    assert_renders(chatml, CONTEXT(""), "<a>");
    /* what is after the response is left out of the last turn, and so is what depends on it */
    assert_renders("{{ .Prompt }}:{{ if .Response }}{{ .Response }}<end>{{ end }}!", CONTEXT(SAYS("user", "q")), "q:");
    /* a template without a response gets one */
    assert_renders("[{{ .Prompt }}]", CONTEXT(SAYS("user", "q") "," SAYS("assistant", "r") "," SAYS("user", "p")),
                   "[q]r[p]");
    assert_renders("{{ .System }}|{{ range .Messages }}{{ .Content }};{{ end }}",
                   CONTEXT(SAYS("system", "a") "," SAYS("system", "b") "," SAYS("tool", "c") "," SAYS("tool", "d")),
                   "a\n\nb|a\n\nb;c;d;");
    assert_renders(
        "{{ range .Messages }}{{ .Content }}{{ end }}",
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": "
        "\"text\", \"text\": \"b\"}]}]}",
        "ab");
    assert_renders("{{ .Think }}{{ .IsThinkSet }}{{ .ThinkLevel }}{{ range .Messages }}{{ .Thinking }}{{ end }}",
                   "{\"messages\": [{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"t\"}], "
                   "\"enable_thinking\": true, \"reasoning_effort\": \"low\"}",
                   "truetruelowt");
}

/* The shape of the templates for models with tools. */
static void a_whole_template(void **state)
{
    (void)state;
    static const char source[] =
        "{{- if or .System .Tools }}<|im_start|>system\n"
        "{{- if .System }}\n{{ .System }}\n{{- end }}\n"
        "{{- if .Tools }}\n\n# Tools\n<tools>\n{{- range .Tools }}\n{\"type\": \"function\", \"function\": {{ "
        ".Function }}}"
        "\n{{- end }}\n</tools>\n{{- end }}<|im_end|>\n{{ end }}\n"
        "{{- range $i, $_ := .Messages }}\n"
        "{{- $last := eq (len (slice $.Messages $i)) 1 -}}\n"
        "{{- if eq .Role \"user\" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n"
        "{{ else if eq .Role \"assistant\" }}<|im_start|>assistant\n"
        "{{ if .Content }}{{ .Content }}\n{{- else if .ToolCalls }}<tool_call>\n"
        "{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", \"arguments\": {{ .Function.Arguments }}}\n{{ end "
        "}}</tool_call>\n{{- end }}{{ if not $last }}<|im_end|>\n{{ end }}\n"
        "{{- else if eq .Role \"tool\" }}<|im_start|>user\n<tool_response>\n{{ .Content "
        "}}\n</tool_response><|im_end|>\n"
        "{{ end }}\n"
        "{{- if and (ne .Role \"assistant\") $last }}<|im_start|>assistant\n{{ end }}\n{{- end }}";
    assert_true(pn_go_is_template(source, strlen(source)));
    assert_renders(source, CONTEXT(SAYS("user", "q")), "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
    assert_renders(
        source,
        "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}], \"messages\": [" SAYS(
            "system", "s") "," SAYS("user", "q") ","
                                                 "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": "
                                                 "[{\"function\": {\"name\": \"f\", "
                                                 "\"arguments\": {\"x\": 1}}}]}," SAYS("tool", "r") "," SAYS(
                                                     "assistant", "so") "]}",
        "<|im_start|>system\ns\n\n# Tools\n<tools>\n{\"type\": \"function\", \"function\": {\"name\":\"f\"}}\n"
        "</tools><|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{\"name\": "
        "\"f\", \"arguments\": {\"x\":1}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nr\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\nso");
}

static void errors(void **state)
{
    (void)state;
    static const struct {
        const char *source, *why;
        pantry_status status;
    } rows[] = {
        {"{{ if .x }}", "template:1: {{ end }} is missing", PANTRY_FORMAT},
        {"a\n{{ end }}", "template:2: {{ end }} without a beginning", PANTRY_FORMAT},
        {"{{ else }}", "{{ else }} without a beginning", PANTRY_FORMAT},
        {"{{ range .x }}{{ else }}{{ else }}{{ end }}", "{{ end }} is missing", PANTRY_FORMAT},
        {"{{ .x ", "unexpected \"\" in a tag", PANTRY_FORMAT},
        {"{{ .x ) }}", "unexpected \")", PANTRY_FORMAT},
        {"{{ }}", "a value is missing", PANTRY_FORMAT},
        {"{{ (.x }}", "\")\" is missing", PANTRY_FORMAT},
        {"{{ .x .y }}", "only functions take arguments", PANTRY_FORMAT},
        {"{{ .x | .y }}", "only functions take arguments", PANTRY_FORMAT},
        {"{{ \"a }}", "a text without an end", PANTRY_FORMAT},
        {"{{ \"\\q\" }}", "unknown escape", PANTRY_FORMAT},
        {"{{ 1x }}", "not a number", PANTRY_FORMAT},
        {"{{ not }}", "not takes another number of arguments (found 0)", PANTRY_FORMAT},
        {"{{ eq 1 }}", "eq takes another number", PANTRY_FORMAT},
        {"{{ break }}", "outside of a range", PANTRY_FORMAT},
        {"{{ html .x }}", "template:1: the function \"html\" is not supported", PANTRY_UNSUPPORTED},
        {"{{ define \"x\" }}{{ end }}", "define is not supported", PANTRY_UNSUPPORTED},
        {"{{ $x }}", "undefined variable", PANTRY_FORMAT},
        {"{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "undefined variable", PANTRY_FORMAT},
        {"{{ index .Messages 7 }}", "index out of range", PANTRY_INVALID},
        {"{{ slice .Messages 7 }}", "slice out of range", PANTRY_INVALID},
        {"{{ slice .Messages -1 }}", "slice out of range", PANTRY_INVALID},
        {"{{ slice \"\xc3\xa9\" 1 }}", "slice inside a character", PANTRY_INVALID},
        {"{{ len 1 }}", "len of a value that has none", PANTRY_INVALID},
        {"{{ range 3 }}{{ end }}", "range over a value that has no items", PANTRY_INVALID},
        {"{{ lt 1 \"a\" }}", "no order", PANTRY_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *out;
        struct pantry_error err = {0};
        pantry_status status = render(rows[i].source, "{\"messages\": []}", &out, &err);
        if (status != rows[i].status || !strstr(err.text, rows[i].why))
            fail_msg("%s: %d: '%s' lacks '%s'", rows[i].source, status, err.text, rows[i].why);
        assert_null(out);
    }
}

static void bounds(void **state)
{
    (void)state;
    char *out;
    struct pantry_error err = {0};
    char deep[3000] = "";
    for (int i = 0; i < 200; i++)
        strcat(deep, "{{if 1}}");
    assert_int_equal(render(deep, "{}", &out, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "nested too deeply"));
    strcpy(deep, "{{ .x | eq ");
    for (int i = 0; i < 200; i++)
        strcat(deep, "(");
    assert_int_equal(render(deep, "{}", &out, &err), PANTRY_FORMAT);
    /* many messages, in loops within loops */
    json_t *messages = json_array(), *context = json_pack("{s:o}", "messages", messages);
    for (int i = 0; i < 200; i++)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", i % 2 ? "user" : "tool", "content", "x"));
    char *json = json_dumps(context, 0);
    json_decref(context);
    assert_int_equal(
        render("{{ range .Messages }}{{ range $.Messages }}{{ range $.Messages }}{{ end }}{{ end }}{{ end }}", json,
               &out, &err),
        PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "too many steps"));
    assert_int_equal(render("{{ $x := \"0123456789\" }}{{ range .Messages }}{{ $x = print $x $x }}{{ end }}{{ $x }}",
                            json, &out, &err),
                     PANTRY_LIMIT);
    assert_int_equal(render("{{ range .Messages }}{{ range $.Messages }}0123456789012345678901234567890123456789"
                            "{{ end }}{{ end }}",
                            json, &out, &err),
                     PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "too much text"));
    free(json);
}

static void languages_are_told_apart(void **state)
{
    (void)state;
    static const char *const go[] = {"{{ .Prompt }}",
                                     "{{- if .System }}x{{ end }}",
                                     "{{range $i, $m := .Messages}}{{ end }}",
                                     "{{ $x := 1 }}",
                                     "{{ $.System }}",
                                     "{{ json .Tools }}",
                                     "{{-\n.System }}",
                                     "a {b} {{ if or .System .Tools }}",
                                     "{{/* note */}}",
                                     "{{.}}"};
    static const char *const jinja[] = {"{{ messages[0].content }}",
                                        "{% for m in messages %}{{ m }}{% endfor %}",
                                        "{{ bos_token }}",
                                        "plain",
                                        "{{ '.x' }}",
                                        "{{ .5 }}",
                                        "{{ $x }}",
                                        "{{ not x }}",
                                        "{{ not .5 }}",
                                        "{{ range(3) }}",
                                        "{{ not (x) }}",
                                        "{{ ends }}",
                                        "{{ notes }}",
                                        "",
                                        "{{",
                                        "{{-",
                                        "{{ if .x }}{% if y %}"};
    for (size_t i = 0; i < sizeof go / sizeof *go; i++)
        if (!pn_go_is_template(go[i], strlen(go[i])))
            fail_msg("%s", go[i]);
    for (size_t i = 0; i < sizeof jinja / sizeof *jinja; i++)
        if (pn_go_is_template(jinja[i], strlen(jinja[i])))
            fail_msg("%s", jinja[i]);
    struct pn_template *t;
    json_t *context = json_loads("{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}]}", 0, NULL);
    char *out;
    size_t n;
    assert_int_equal(pn_template_parse("<{{ .Prompt }}>", 15, &t, NULL), PANTRY_OK);
    assert_int_equal(pn_template_render(t, context, NULL, &out, &n, NULL), PANTRY_OK);
    assert_string_equal(out, "<q>");
    assert_int_equal(n, 3);
    free(out);
    pn_template_free(t);
    json_decref(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_language), cmocka_unit_test(turns),  cmocka_unit_test(a_whole_template),
        cmocka_unit_test(errors),       cmocka_unit_test(bounds), cmocka_unit_test(languages_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
