/* pantry_parser against pantry_parse: an answer that streams in, in any pieces, gives the same texts and calls. The
 * recorded answers are those of data/dialects; that part is skipped where the data is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/random.h"
#include "pantry.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* An answer and all that it was asked with. */
struct question {
    const char *source, *context, *prompt, *raw;
    size_t source_len, prompt_len, raw_len;
    unsigned flags;
    enum pantry_tool_choice choice;
};

static json_t *whole(const struct question *q)
{
    struct pantry_error error;
    char *text = NULL;
    if (pantry_parse(q->source, q->source_len, q->context, q->raw, q->raw_len, q->flags, q->choice, &text, &error))
        fail_msg("%s", error.text);
    json_t *out = json_loads(text, JSON_ALLOW_NUL, NULL);
    assert_non_null(out);
    pantry_free(text);
    return out;
}

/* ---- streaming ---- */

struct parts {
    struct pn_buf text[2]; /* content, reasoning */
    json_t *calls;
    int n; /* events */
};

static void collect(void *user, const struct pantry_parse_event *event)
{
    struct parts *p = user;
    p->n++;
    if (event->kind != PANTRY_PARSE_TOOL_CALL) {
        json_t *string = json_stringn(event->text, event->len);
        assert_non_null(string); /* it is UTF-8 */
        json_decref(string);
        assert_true(event->len > 0 && !event->text[event->len]);
        assert_true(!event->name && !event->arguments && !event->id);
        pn_buf_append(&p->text[event->kind == PANTRY_PARSE_REASONING], event->text, event->len);
        return;
    }
    assert_true(!event->text && !event->len);
    json_t *call = json_pack("{s:s, s:o}", "name", event->name, "arguments",
                             json_loads(event->arguments, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
    assert_non_null(call);
    if (event->id)
        json_object_set_new(call, "id", json_string(event->id));
    json_array_append_new(p->calls, call);
}

static json_t *object_of(struct parts *p)
{
    json_t *out = json_object();
    for (int i = 0; i < 2; i++) {
        json_object_set_new(out, i ? "reasoning_content" : "content",
                            json_stringn(p->text[i].data ? p->text[i].data : "", p->text[i].len));
        pn_buf_free(&p->text[i]);
    }
    json_object_set_new(out, "tool_calls", p->calls);
    return out;
}

static pantry_parser *open_parser(const struct question *q, struct parts *parts)
{
    struct pantry_error error;
    pantry_parser *parser;
    *parts = (struct parts){.calls = json_array()};
    if (pantry_parser_new(q->source, q->source_len, q->context, q->prompt, q->prompt_len, q->flags, q->choice, collect,
                          parts, &parser, &error))
        fail_msg("%s", error.text);
    return parser;
}

/* In pieces of 1 to `most` bytes, the first one of `first` bytes (0: it is like the others). */
static json_t *streamed(const struct question *q, size_t first, size_t most, struct pn_rng *rng)
{
    struct parts parts;
    pantry_parser *parser = open_parser(q, &parts);
    for (size_t at = 0, n; at < q->raw_len; at += n) {
        n = at == 0 && first ? first : 1 + (size_t)(pn_rng_u64(rng) % most);
        n = n < q->raw_len - at ? n : q->raw_len - at;
        char *piece = malloc(n); /* of exactly this size, so that a sanitizer sees every byte read beyond it */
        memcpy(piece, q->raw + at, n);
        assert_int_equal(pantry_parser_push(parser, piece, n, NULL), PANTRY_OK);
        free(piece);
    }
    assert_int_equal(pantry_parser_finish(parser, NULL), PANTRY_OK);
    pantry_parser_free(parser);
    return object_of(&parts);
}

static void check_one(const struct question *q, const json_t *expected, size_t first, size_t most, struct pn_rng *rng)
{
    json_t *got = streamed(q, first, most, rng);
    if (!json_equal(expected, got))
        fail_msg("%.*s\n first piece of %zu bytes, others up to %zu\n  expected %s\n  got      %s", (int)q->raw_len,
                 q->raw, first, most, json_dumps(expected, 0), json_dumps(got, 0));
    json_decref(got);
}

/* Every cut into two, and pieces of several lengths. */
static void check(const struct question *q)
{
    static const size_t lengths[] = {1, 2, 5, 17, 64};
    struct pn_rng rng = {q->raw_len};
    json_t *expected = whole(q);
    for (size_t cut = 0; cut < q->raw_len; cut++)
        check_one(q, expected, cut, q->raw_len, &rng);
    for (size_t i = 0; i < COUNT(lengths); i++)
        check_one(q, expected, 0, lengths[i], &rng);
    json_decref(expected);
}

/* ---- recorded answers ---- */

static const char *member(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

/* As pantry_parse does it: the prompt of the context, or of a simpler one, or none. */
static char *render(const char *source, size_t len, const char *context_json, size_t *prompt_len)
{
    json_t *context = json_loads(context_json, 0, NULL);
    char *prompt = NULL;
    for (int simpler = 0; simpler < 4 && !prompt; simpler++) {
        json_t *copy = json_deep_copy(context);
        if (simpler & 1)
            json_object_del(copy, "tools");
        if (simpler & 2)
            json_object_set_new(copy, "messages", json_pack("[{s:s, s:s}]", "role", "user", "content", "?"));
        char *text = json_dumps(copy, 0);
        if (pantry_template_render(source, len, text, &prompt, prompt_len, NULL))
            prompt = NULL;
        free(text);
        json_decref(copy);
    }
    *prompt_len = prompt ? *prompt_len : 0;
    json_decref(context);
    return prompt;
}

static void recorded_answers_stream(void **state)
{
    (void)state;
    const char *root = getenv("PANTRY_TEST_DATA");
    char path[1024];
    size_t i;
    root = root ? root : "../shared/data";
    snprintf(path, sizeof path, "%s/dialects/cases.json", root);
    json_t *row, *rows = json_load_file(path, 0, NULL);
    if (!rows)
        skip();
    json_array_foreach(rows, i, row)
    {
        const json_t *output = json_object_get(row, "output");
        char *source, *text = json_dumps(json_object_get(row, "context"), 0);
        struct question q = {.context = text,
                             .raw = json_string_value(output),
                             .raw_len = json_string_length(output),
                             .flags = strcmp(member(row, "reasoning"), "in-content") == 0 ? 1 : 0,
                             .choice = strcmp(member(row, "tool_choice"), "required") == 0 ? PANTRY_TOOL_REQUIRED
                                                                                           : PANTRY_TOOL_AUTO};
        snprintf(path, sizeof path, "%s/chat-templates/%s", root, member(row, "template"));
        assert_int_equal(pn_file_read(path, 1 << 20, &source, &q.source_len, NULL), PANTRY_OK);
        q.source = source;
        char *prompt = render(source, q.source_len, text, &q.prompt_len);
        q.prompt = prompt ? prompt : "";
        check(&q);
        pantry_free(prompt);
        free(source);
        free(text);
    }
    json_decref(rows);
}

/* ---- made answers ---- */

#define MESSAGES(more) "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}" more "]"
#define TOOLS          ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]}"
#define CALL           "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5, \"\303\266\"]}}\n</tool_call>"

static const char hermes[] =
    "{% for m in messages %}{{ m.role }}: {% if m.reasoning_content %}<think>{{ m.reasoning_content }}{% endif %}"
    "{{ m.content }}{% endfor %}{# <tool_call>{\"name\": <function-name>, \"arguments\": <args-json-object>} #}";

static struct question question(const char *context, const char *prompt, const char *raw)
{
    return (struct question){.source = hermes,
                             .source_len = sizeof hermes - 1,
                             .context = context,
                             .prompt = prompt,
                             .prompt_len = strlen(prompt),
                             .raw = raw,
                             .raw_len = strlen(raw)};
}

static void made_answers_stream(void **state)
{
    (void)state;
    static const struct {
        const char *context, *raw;
    } cases[] = {
        {MESSAGES("") TOOLS, "<think>why</think>\n\nthat" CALL "\n" CALL},
        {MESSAGES("") "}", CALL},
        {"{}", ""},
        {MESSAGES(",{\"role\":\"assistant\",\"content\":\"It \"}") TOOLS, "rains." CALL},
        {MESSAGES(",{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"I \"}") TOOLS, "see</think>x"},
        {MESSAGES(",{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}") "}", "b"},
        /* Bytes that are not UTF-8, and characters that are cut off. */
        {"{}", "<think>\303\266 \342\202\254 \360\237\215\207</think>\303\266 \342\202\254 \360\237\215\207"},
        {"{}", "<think>\360\237\215</think>\360\237\215x\342\202"},
        {"{}", "\200\303\303\266\300\200\377\365\200\200\200\200 \355\240\200 \360\200\200\200\303"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (unsigned flags = 0; flags < 2; flags++)
            for (int choice = 0; choice < 4; choice++) { /* 3 counts as AUTO */
                struct question q = question(cases[i].context, "", cases[i].raw);
                char *prompt = render(q.source, q.source_len, q.context, &q.prompt_len);
                assert_non_null(prompt);
                q.prompt = prompt;
                q.flags = flags;
                q.choice = (enum pantry_tool_choice)choice;
                check(&q);
                pantry_free(prompt);
            }
}

/* The prompt is the one that is given: nothing is rendered again. */
static void the_prompt_counts(void **state)
{
    (void)state;
    static const struct {
        const char *prompt, *content, *reasoning;
    } cases[] = {
        {"<|im_start|>assistant\n<think>\n", "b", "a"},
        {"<|im_start|>assistant\n<think>\n\n</think>\n\n", "a</think>b", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_rng rng = {1};
        struct question q = question("{}", cases[i].prompt, "a</think>b");
        json_t *got = streamed(&q, 0, 3, &rng);
        assert_string_equal(member(got, "content"), cases[i].content);
        assert_string_equal(member(got, "reasoning_content"), cases[i].reasoning);
        json_decref(got);
    }
}

/* What a message had before is reported before anything is pushed; text that is decided comes at once. */
static void parts_come_early(void **state)
{
    (void)state;
    struct parts parts;
    struct question q = question(MESSAGES(",{\"role\":\"assistant\",\"content\":\"It \"}") TOOLS, "It ", "");
    pantry_parser *parser = open_parser(&q, &parts);
    assert_int_equal(parts.n, 1);
    assert_string_equal(parts.text[0].data, "It ");
    assert_int_equal(pantry_parser_push(parser, "rains", 5, NULL), PANTRY_OK);
    assert_string_equal(parts.text[0].data, "It rains");
    assert_int_equal(pantry_parser_push(parser, "", 0, NULL), PANTRY_OK);
    assert_int_equal(parts.n, 2);
    assert_int_equal(pantry_parser_push(parser, CALL, sizeof CALL - 1, NULL), PANTRY_OK);
    assert_int_equal(json_array_size(parts.calls), 1); /* not only at the end */
    pantry_parser_free(parser);                        /* without an end */
    json_decref(object_of(&parts));
}

static void mistakes_are_told(void **state)
{
    (void)state;
    struct pantry_error error = {0};
    struct parts parts;
    pantry_parser *parser = (pantry_parser *)&parts;
    assert_int_equal(pantry_parser_new("", 0, "[]", "", 0, 0, PANTRY_TOOL_AUTO, collect, &parts, &parser, &error),
                     PANTRY_FORMAT);
    assert_string_equal(error.text, "the context is not a JSON object: line 1, column 1: it is another value");
    assert_null(parser);
    assert_int_equal(pantry_parser_new("", 0, "{", "", 0, 0, PANTRY_TOOL_AUTO, collect, &parts, &parser, NULL),
                     PANTRY_FORMAT);
    struct question q = question("{}", "", "");
    parser = open_parser(&q, &parts);
    assert_int_equal(pantry_parser_push(parser, "a", 1, &error), PANTRY_OK);
    assert_int_equal(pantry_parser_finish(parser, &error), PANTRY_OK);
    assert_int_equal(pantry_parser_push(parser, "b", 1, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "the parser has ended"));
    assert_int_equal(pantry_parser_finish(parser, NULL), PANTRY_INVALID);
    pantry_parser_free(parser);
    pantry_parser_free(NULL);
    assert_int_equal(parts.n, 1);
    json_decref(object_of(&parts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_answers_stream), cmocka_unit_test(made_answers_stream),
        cmocka_unit_test(the_prompt_counts),       cmocka_unit_test(parts_come_early),
        cmocka_unit_test(mistakes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
