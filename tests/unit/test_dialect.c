/* The dialects: answers in each of them are split correctly, no matter how the stream is cut into chunks; nothing is
 * lost, and hostile input costs linear time. */
#include "base/alloc.h"
#include "base/file.h"
#include "dialect_samples.h"
#include "text/dialect/dialect_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_SAMPLES (sizeof samples / sizeof *samples)

struct result {
    struct pn_buf content, reasoning, calls;
};

static void collect(void *user, const struct pn_parse_event *event)
{
    struct result *r = user;
    if (event->type == PN_EVENT_CONTENT)
        pn_buf_append(&r->content, event->text, event->len);
    else if (event->type == PN_EVENT_REASONING)
        pn_buf_append(&r->reasoning, event->text, event->len);
    else
        pn_buf_printf(&r->calls, "%s%s(%s)#%s", r->calls.len ? ";" : "", event->name, event->arguments,
                      event->id ? event->id : "");
}

static void result_free(struct result *r)
{
    pn_buf_free(&r->content);
    pn_buf_free(&r->reasoning);
    pn_buf_free(&r->calls);
}

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}

/* chunk 0: all at once; otherwise pieces of 1 to `chunk` bytes. */
static struct result parse(const struct pn_dialect *dialect, const struct pn_parse_options *options, const char *text,
                           size_t len, uint32_t chunk)
{
    struct result r = {0};
    struct pn_parser *p = pn_parser_new(dialect, options, collect, &r);
    assert_non_null(p);
    for (size_t i = 0; i < len;) {
        size_t n = chunk ? 1 + random_below(chunk) : len;
        n = n < len - i ? n : len - i;
        /* a copy of exactly this size, so that a sanitizer sees reads beyond it */
        char *piece = malloc(n);
        memcpy(piece, text + i, n);
        assert_int_equal(pn_parser_push(p, piece, n, NULL), PANTRY_OK);
        free(piece);
        i += n;
    }
    assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
    pn_parser_free(p);
    return r;
}

static bool same(const struct pn_buf *a, const struct pn_buf *b)
{
    return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

static json_t *tools(void)
{
    json_t *t = json_loads(sample_tools, 0, NULL);
    assert_non_null(t);
    return t;
}

static struct pn_parse_options options_of(const struct sample *s, const json_t *t)
{
    return (struct pn_parse_options){.prompt = s->prompt, .prompt_len = s->prompt ? strlen(s->prompt) : 0, .tools = t};
}

struct answer {
    json_t *content, *reasoning, *calls;
    struct pn_buf text[2];
};

static void collect_json(void *user, const struct pn_parse_event *event)
{
    struct answer *a = user;
    if (event->type != PN_EVENT_TOOL_CALL) {
        pn_buf_append(&a->text[event->type == PN_EVENT_REASONING], event->text, event->len);
        return;
    }
    json_t *arguments = json_loads(event->arguments, JSON_DECODE_ANY, NULL);
    assert_non_null(arguments);
    json_array_append_new(a->calls, json_pack("{s:s, s:o}", "name", event->name, "arguments", arguments));
}

static void samples_are_split(void **state)
{
    (void)state;
    json_t *t = tools();
    size_t wrong = 0;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const struct sample *s = &samples[i];
        const struct pn_dialect *dialect = pn_dialect_find(s->dialect);
        assert_non_null(dialect);
        struct pn_parse_options o = options_of(s, t);
        struct answer a = {.calls = json_array()};
        struct pn_parser *p = pn_parser_new(dialect, &o, collect_json, &a);
        assert_int_equal(pn_parser_push(p, s->output, strlen(s->output), NULL), PANTRY_OK);
        assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
        pn_parser_free(p);
        pn_buf_puts(&a.text[0], "");
        pn_buf_puts(&a.text[1], "");
        const char *content = a.text[0].data ? a.text[0].data : "", *reasoning = a.text[1].data ? a.text[1].data : "";
        json_t *expected = s->calls ? json_loads(s->calls, 0, NULL) : json_array();
        assert_non_null(expected);
        if (strcmp(content, s->content) != 0 || strcmp(reasoning, s->reasoning) != 0 ||
            !json_equal(expected, a.calls)) {
            char *calls = json_dumps(a.calls, 0);
            print_error("%s: %s\n  content   [%s]\n  reasoning [%s]\n  calls %s\n", s->dialect, s->output, content,
                        reasoning, calls);
            free(calls);
            wrong++;
        }
        json_decref(expected);
        json_decref(a.calls);
        pn_buf_free(&a.text[0]);
        pn_buf_free(&a.text[1]);
    }
    json_decref(t);
    assert_int_equal(wrong, 0);
}

static void every_dialect_has_samples(void **state)
{
    (void)state;
    const struct pn_dialect *dialect;
    for (size_t i = 0; (dialect = pn_dialect_at(i)); i++) {
        size_t n = 0;
        for (size_t k = 0; k < N_SAMPLES; k++)
            n += strcmp(samples[k].dialect, pn_dialect_name(dialect)) == 0;
        if (n < 5 && strcmp(pn_dialect_name(dialect), "plain") != 0)
            fail_msg("%s has %zu samples", pn_dialect_name(dialect), n);
    }
}

static bool has_nested(const json_t *calls)
{
    size_t i;
    const json_t *call, *value;
    const char *key;
    json_array_foreach(calls, i, call) json_object_foreach(json_object_get(call, "arguments"), key, value)
    {
        if (json_is_object(value) || json_is_array(value))
            return true;
    }
    return false;
}

static bool has_other_script(const char *text)
{
    for (; text && *text; text++)
        if ((unsigned char)*text >= 0x80)
            return true;
    return false;
}

enum { SINGLE = 1, PARALLEL = 2, NESTED = 4, OTHER_SCRIPT = 8, CUT_OFF = 16, REASONING = 32, ALL_KINDS = 63 };

/* The name of a sample. */
static unsigned kinds_of(const struct sample *s)
{
    json_t *calls = s->calls ? json_loads(s->calls, 0, NULL) : json_array();
    assert_non_null(calls);
    size_t n = json_array_size(calls);
    unsigned kinds = (n == 1 ? SINGLE : n ? PARALLEL : 0) | (has_nested(calls) ? NESTED : 0);
    if (n && has_other_script(s->calls))
        kinds |= OTHER_SCRIPT;
    if (n && *s->reasoning)
        kinds |= REASONING;
    if (!n && (strchr(s->content, '{') || strchr(s->content, '<') || strchr(s->content, '[')))
        kinds |= CUT_OFF;
    json_decref(calls);
    return kinds;
}

static void every_dialect_has_every_kind_of_sample(void **state)
{
    (void)state;
    const struct pn_dialect *dialect;
    size_t missing = 0;
    for (size_t i = 0; (dialect = pn_dialect_at(i)); i++) {
        unsigned kinds = 0;
        for (size_t k = 0; k < N_SAMPLES; k++)
            if (strcmp(samples[k].dialect, pn_dialect_name(dialect)) == 0)
                kinds |= kinds_of(&samples[k]);
        if (kinds != ALL_KINDS && (dialect->calls[0].parse || dialect->step)) {
            print_error("%s lacks samples of kinds %#x\n", pn_dialect_name(dialect), ALL_KINDS & ~kinds);
            missing++;
        }
    }
    assert_int_equal(missing, 0);
}

static void check_split(const struct pn_dialect *dialect, const struct pn_parse_options *o, const char *text,
                        size_t len)
{
    static const uint32_t chunks[] = {1, 3, 9, 40};
    struct result whole = parse(dialect, o, text, len, 0);
    for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) {
        struct result r = parse(dialect, o, text, len, chunks[k]);
        if (!same(&whole.content, &r.content) || !same(&whole.reasoning, &r.reasoning) || !same(&whole.calls, &r.calls))
            fail_msg("%s, chunks of %u: %.*s\n[%s] [%s] [%s]\n[%s] [%s] [%s]", pn_dialect_name(dialect), chunks[k],
                     (int)len, text, whole.content.data, whole.reasoning.data, whole.calls.data, r.content.data,
                     r.reasoning.data, r.calls.data);
        result_free(&r);
    }
    result_free(&whole);
}

static void splits_do_not_matter(void **state)
{
    (void)state;
    json_t *t = tools();
    random_state = 11;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        struct pn_parse_options o = options_of(&samples[i], t);
        for (int flags = 0; flags < 4; flags++) {
            o.reasoning_in_content = flags & 1;
            o.tool_choice = flags & 2 ? PN_TOOL_NONE : PN_TOOL_AUTO;
            check_split(pn_dialect_find(samples[i].dialect), &o, samples[i].output, strlen(samples[i].output));
        }
    }
    json_decref(t);
}

/* Two pieces, cut before byte `cut`. */
static struct result parse_cut(const struct pn_dialect *dialect, const struct pn_parse_options *options,
                               const char *text, size_t len, size_t cut)
{
    struct result r = {0};
    struct pn_parser *p = pn_parser_new(dialect, options, collect, &r);
    assert_int_equal(pn_parser_push(p, text, cut, NULL), PANTRY_OK);
    assert_int_equal(pn_parser_push(p, text + cut, len - cut, NULL), PANTRY_OK);
    assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
    pn_parser_free(p);
    return r;
}

static void check_every_cut(const struct pn_dialect *dialect, const struct pn_parse_options *o, const char *text,
                            size_t len)
{
    struct result whole = parse(dialect, o, text, len, 0);
    for (size_t cut = 1; cut < len; cut++) {
        struct result r = parse_cut(dialect, o, text, len, cut);
        if (!same(&whole.content, &r.content) || !same(&whole.reasoning, &r.reasoning) || !same(&whole.calls, &r.calls))
            fail_msg("%s, cut at %zu: %.*s\n[%s] [%s] [%s]\n[%s] [%s] [%s]", pn_dialect_name(dialect), cut, (int)len,
                     text, whole.content.data, whole.reasoning.data, whole.calls.data, r.content.data, r.reasoning.data,
                     r.calls.data);
        result_free(&r);
    }
    result_free(&whole);
}

static void every_cut_gives_the_same(void **state)
{
    (void)state;
    json_t *t = tools();
    for (size_t i = 0; i < N_SAMPLES; i++) {
        struct pn_parse_options o = options_of(&samples[i], t);
        o.reasoning_in_content = i % 2;
        check_every_cut(pn_dialect_find(samples[i].dialect), &o, samples[i].output, strlen(samples[i].output));
    }
    json_decref(t);
}

/* The recorded answers of data/dialects, in the dialect of their template, with the tools that were offered. */
static void every_cut_of_recorded_answers_gives_the_same(void **state)
{
    (void)state;
    const char *root = getenv("PANTRY_TEST_DATA");
    char path[1024];
    size_t i, size;
    snprintf(path, sizeof path, "%s/dialects/cases.json", root ? root : "../shared/data");
    json_t *rows = json_load_file(path, 0, NULL), *row;
    if (!rows)
        skip();
    json_array_foreach(rows, i, row)
    {
        const json_t *output = json_object_get(row, "output");
        char *source = NULL;
        snprintf(path, sizeof path, "%s/chat-templates/%s", root ? root : "../shared/data",
                 json_string_value(json_object_get(row, "template")));
        assert_int_equal(pn_file_read(path, 1 << 20, &source, &size, NULL), PANTRY_OK);
        struct pn_parse_options o = {.tools = json_object_get(json_object_get(row, "context"), "tools")};
        check_every_cut(pn_dialect_detect(source, size), &o, json_string_value(output), json_string_length(output));
        free(source);
    }
    json_decref(rows);
}

/* Text that begins no marker is reported as it arrives, in every dialect, not at the end of the answer. */
static void text_is_not_held_back(void **state)
{
    (void)state;
    static const char text[] = "It rains. Is it so? Yes, it is";
    json_t *t = tools();
    const struct pn_dialect *dialect;
    for (size_t i = 0; (dialect = pn_dialect_at(i)); i++) {
        struct pn_parse_options o = {.tools = t};
        struct result r = {0};
        if (dialect->step || strcmp(pn_dialect_name(dialect), "functionary-v3.2") == 0)
            continue; /* messages with headers; any first line may name a tool */
        struct pn_parser *p = pn_parser_new(dialect, &o, collect, &r);
        for (size_t n = 0; n < sizeof text - 1; n++) {
            assert_int_equal(pn_parser_push(p, text + n, 1, NULL), PANTRY_OK);
            if (text[n] != ' ' && r.content.len + r.reasoning.len != n + 1)
                fail_msg("%s: %zu of %zu bytes", pn_dialect_name(dialect), r.content.len + r.reasoning.len, n + 1);
        }
        assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
        pn_parser_free(p);
        result_free(&r);
    }
    json_decref(t);
}

/* A sample with pieces of it or of another one overwritten, removed and inserted. */
static size_t mutate(char *text, size_t len, size_t cap)
{
    for (uint32_t n = 1 + random_below(4); n && len > 1; n--) {
        const char *from = samples[random_below(N_SAMPLES)].output;
        size_t from_len = strlen(from), start = random_below((uint32_t)from_len), at = random_below((uint32_t)len);
        size_t piece = 1 + random_below((uint32_t)(from_len - start > 24 ? 24 : from_len - start));
        switch (random_below(4)) {
        case 0:
            len = at + 1;
            break;
        case 1:
            piece = piece < len - at ? piece : len - at;
            memmove(text + at, text + at + piece, len - at - piece);
            len -= piece;
            break;
        case 2:
            if (len + piece > cap)
                break;
            memmove(text + at + piece, text + at, len - at);
            memcpy(text + at, from + start, piece);
            len += piece;
            break;
        default:
            text[at] = "<>[]{}\"\\|:,\n a\xc3"[random_below(15)];
        }
    }
    return len;
}

static void splits_of_damaged_answers_do_not_matter(void **state)
{
    (void)state;
    json_t *t = tools();
    char text[4096];
    random_state = 5;
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < N_SAMPLES; i++) {
            size_t len = strlen(samples[i].output);
            assert_true(len < sizeof text / 2);
            memcpy(text, samples[i].output, len);
            len = mutate(text, len, sizeof text);
            struct pn_parse_options o = options_of(&samples[i], t);
            check_split(pn_dialect_find(samples[i].dialect), &o, text, len);
        }
    }
    json_decref(t);
}

/* The length of a marker or frame at `at`, which may be missing from the report. */
static size_t markup_at(const struct pn_dialect *dialect, const char *text, size_t len, size_t at)
{
    static const char *const common[] = {"<think>", "</think>", "<thinking>", "</thinking>", NULL};
    const char *known[64];
    size_t n = 0, best = 0;
    for (int i = 0; common[i]; i++)
        known[n++] = common[i];
    for (int i = 0; i < 6 && dialect->think[i].open; i++) {
        known[n++] = dialect->think[i].open;
        known[n++] = dialect->think[i].close;
    }
    for (int i = 0; i < 14 && dialect->drop[i].text; i++)
        known[n++] = dialect->drop[i].text;
    if (dialect->drop_at_start)
        known[n++] = dialect->drop_at_start;
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(known[i]);
        if (k > best && k <= len - at && memcmp(text + at, known[i], k) == 0)
            best = k;
    }
    return best;
}

static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Whether the report contains all of the input, in order, except markup and white space. */
static bool is_all_there(const struct pn_dialect *dialect, const char *text, size_t len, const struct pn_buf *reported)
{
    size_t k = 0;
    for (size_t i = 0; i < len;) {
        while (k < reported->len && is_white(reported->data[k]))
            k++;
        size_t n = markup_at(dialect, text, len, i);
        if (is_white(text[i]))
            i++;
        else if (n && !(k + n <= reported->len && memcmp(reported->data + k, text + i, n) == 0))
            i += n;
        else if (k < reported->len && reported->data[k] == text[i])
            i++, k++;
        else
            return false;
    }
    while (k < reported->len && is_white(reported->data[k]))
        k++;
    return k == reported->len;
}

static void collect_in_order(void *user, const struct pn_parse_event *event)
{
    struct result *r = user;
    if (event->type == PN_EVENT_TOOL_CALL)
        pn_buf_puts(&r->calls, event->name);
    else
        pn_buf_append(&r->content, event->text, event->len);
}

/* Every sample cut off after every byte: no error, and as long as no call was complete, every byte is reported.
 * Dialects that are messages with headers are left out: a header is not text. */
static void cut_answers_are_never_lost(void **state)
{
    (void)state;
    json_t *t = tools();
    size_t checked = 0;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const struct pn_dialect *dialect = pn_dialect_find(samples[i].dialect);
        struct pn_parse_options o = options_of(&samples[i], t);
        for (size_t len = 0; len <= strlen(samples[i].output); len++) {
            struct result r = {0};
            struct pn_parser *p = pn_parser_new(dialect, &o, collect_in_order, &r);
            assert_int_equal(pn_parser_push(p, samples[i].output, len, NULL), PANTRY_OK);
            assert_int_equal(pn_parser_finish(p, NULL), PANTRY_OK);
            pn_parser_free(p);
            if (!r.calls.len && !dialect->step) {
                checked++;
                if (!is_all_there(dialect, samples[i].output, len, &r.content))
                    fail_msg("%s: %.*s\nreported as %.*s", samples[i].dialect, (int)len, samples[i].output,
                             (int)r.content.len, r.content.data ? r.content.data : "");
            }
            result_free(&r);
        }
    }
    json_decref(t);
    assert_true(checked > 10000);
}

/* Without tools, and with the reasoning in the content, plain text passes through every dialect unchanged. */
static void text_is_never_lost(void **state)
{
    (void)state;
    static const char *const texts[] = {"Hello",
                                        "  two\n\nlines \n",
                                        "a < b && c > d",
                                        "{\"a\": [1, 2",
                                        "\xff\xfe broken",
                                        "x",
                                        " ",
                                        "```json\n{\"name\": 1}\n```",
                                        "<tool",
                                        "[TOOL",
                                        "\\"};
    const struct pn_dialect *dialect;
    random_state = 3;
    for (size_t i = 0; (dialect = pn_dialect_at(i)); i++) {
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            struct pn_parse_options o = {.reasoning_in_content = true};
            struct result r = parse(dialect, &o, texts[k], strlen(texts[k]), 1);
            if (r.content.len != strlen(texts[k]) || memcmp(r.content.data, texts[k], r.content.len) != 0)
                fail_msg("%s: [%s] became [%s]", pn_dialect_name(dialect), texts[k], r.content.data);
            result_free(&r);
        }
    }
}

/* A megabyte of anything is split in linear time; quadratic time would take minutes. */
static void megabytes_take_linear_time(void **state)
{
    (void)state;
    static const char *const units[] = {"a",
                                        " ",
                                        "\n",
                                        "<",
                                        "{",
                                        "[",
                                        "\"",
                                        "\\",
                                        "<tool_call>",
                                        "{\"a\":",
                                        "[[",
                                        "]<]minimax[>[<a>",
                                        "🌧",
                                        "</think>",
                                        "<think>",
                                        "}{",
                                        "<|",
                                        "[TOOL_CALLS]{\"",
                                        "</param>",
                                        "functools",
                                        "0",
                                        ">>>run\n",
                                        "</parameter> "};
    static const char *const starts[] = {"", "<tool_call>{\"name\": \"run\", \"arguments\": {\"code\": \"",
                                         "<tool_call>\n<function=run>\n<parameter=code>\n"};
    const size_t size = 1 << 19;
    json_t *t = tools();
    char *text = malloc(size + 128);
    const struct pn_dialect *dialect;
    random_state = 17;
    for (size_t i = 0; (dialect = pn_dialect_at(i)); i++) {
        for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
            const char *start = starts[(i + k) % 3];
            size_t len = strlen(start), n = strlen(units[k]), total = (i + k) % 8 ? size / 16 : size;
            memcpy(text, start, len);
            for (; len + n < total; len += n)
                memcpy(text + len, units[k], n);
            struct pn_parse_options o = {.tools = t};
            struct result r = parse(dialect, &o, text, len, (i + k) % 2 ? 16 : 0);
            assert_true(r.content.len + r.reasoning.len + r.calls.len <= 7 * len + 64);
            result_free(&r);
        }
    }
    free(text);
    json_decref(t);
}

static void detection(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{{ '<|start|>assistant<|channel|>analysis<|message|>' }}", "harmony"},
        {"{{ '<tool_call>\\n{\"name\": ' }}", "hermes"},
        {"<tool_call>\\n<function=' + n + '>\\n<parameter=", "qwen3-coder"},
        {"<think> <tool_call>\\n<function=' + n + '>\\n<parameter=", "qwen3.5"},
        {"[INST] [TOOL_CALLS] [/INST]", "mistral"},
        {"<|start_header_id|> <|python_tag|>", "llama3"},
        {"<｜Assistant｜><think>\\n", "deepseek"},
        {"<｜Assistant｜><｜tool▁calls▁begin｜> '<think></think>'", "deepseek-v3.1"},
        {"{% set dsml_token = '｜DSML｜' %} function_calls", "deepseek-v3.2"},
        {"<tool_call> <arg_key> <arg_value> <|assistant|>", "glm"},
        {"<role>ASSISTANT</role> <arg_key> <arg_value>", "ling"},
        {"<|start_of_role|>assistant<|end_of_role|>", "granite"},
        {"<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "command-r"},
        {"<|CHATBOT_TOKEN|> <|START_ACTION|>", "cohere"},
        {"<|tool_calls_section_begin|>", "kimi-k2"},
        {"<minimax:tool_call>", "minimax-m2"},
        {"<start_of_turn>model", "gemma"},
        {"{% for m in messages %}{{ m.content }}{% endfor %}", "plain"},
        {"", "plain"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(pn_dialect_name(pn_dialect_detect(rows[i][0], strlen(rows[i][0]))), rows[i][1]);
}

static void all_at_once(const char *source, const char *context_text, const char *raw, unsigned flags,
                        const char *expected)
{
    json_t *context = json_loads(context_text, 0, NULL), *out, *want = json_loads(expected, 0, NULL);
    struct pn_parse_options o = {.reasoning_in_content = flags & 1};
    assert_non_null(context);
    assert_non_null(want);
    assert_int_equal(pn_parse_rendered(source, strlen(source), context, "", 0, raw, strlen(raw), &o, &out, NULL),
                     PANTRY_OK);
    if (!json_equal(out, want))
        fail_msg("%s -> %s", raw, json_dumps(out, 0));
    json_decref(context);
    json_decref(out);
    json_decref(want);
}

static void begun_messages_go_on(void **state)
{
    (void)state;
    static const char think[] = "{{ '<think>' + reasoning + '</think>' }}<tool_call>";
    all_at_once(think,
                "{\"messages\": [{\"role\": \"assistant\", \"content\": \"Good \", \"reasoning_content\": \"Hm.\"}]}",
                "day", 0, "{\"content\": \"Good day\", \"reasoning_content\": \"Hm.\", \"tool_calls\": []}");
    all_at_once(think, "{\"messages\": [{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"Let\"}]}",
                " me see\n</think>\n\nYes", 0,
                "{\"content\": \"Yes\", \"reasoning_content\": \"Let me see\", \"tool_calls\": []}");
    all_at_once(
        think, "{\"messages\": [{\"role\": \"assistant\", \"content\": \"Good \", \"reasoning_content\": \"Hm.\"}]}",
        "day", 1, "{\"content\": \"<think>Hm.</think>Good day\", \"reasoning_content\": \"\", \"tool_calls\": []}");
    all_at_once("<tool_call>",
                "{\"messages\": [{\"role\": \"assistant\", \"content\": [{\"text\": \"1 \"}, {\"text\": \"2 \"}]}]}",
                "3", 0, "{\"content\": \"1 2 3\", \"reasoning_content\": \"\", \"tool_calls\": []}");
    all_at_once(think,
                "{\"messages\": [{\"role\": \"assistant\", \"content\": \"Old\"}], \"add_generation_prompt\": true}",
                "New", 0, "{\"content\": \"New\", \"reasoning_content\": \"\", \"tool_calls\": []}");
}

/* Command R may call only offered tools; other calls are text. */
static void unknown_tools_are_text(void **state)
{
    (void)state;
    static const char source[] = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
                      context[] =
                          "{\"messages\": [], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", "
                          "\"parameters\": {\"type\": \"object\"}}}]}";
    all_at_once(source, context, "Action:```json\n[{\"tool_name\": \"f\", \"parameters\": {\"x\": 1}}]```", 0,
                "{\"content\": \"\", \"reasoning_content\": \"\", \"tool_calls\": [{\"name\": \"f\", \"arguments\": "
                "{\"x\": 1}}]}");
    all_at_once(
        source, context, "Action:```json\n[{\"tool_name\": \"g\", \"parameters\": {\"x\": 1}}]```", 0,
        "{\"content\": \"Action:```json\\n[{\\\"tool_name\\\": \\\"g\\\", \\\"parameters\\\": {\\\"x\\\": 1}}]```\", "
        "\"reasoning_content\": \"\", \"tool_calls\": []}");
}

/* Reasoning that stays in the content is shown if the prompt shows it, and not if the template omits it. */
static void hidden_reasoning_stays_hidden(void **state)
{
    (void)state;
    static const char shown[] =
        "{% for m in messages %}<think>{{ m.reasoning_content }}</think>{{ m.content }}{% endfor %}",
                      hidden[] = "{% for m in messages %}<think>{{ m.thoughts }}</think>{{ m.content }}{% endfor %}";
    json_t *context = json_pack("{s:[{s:s, s:s, s:s}]}", "messages", "role", "assistant", "content", "Good ",
                                "reasoning_content", "Hm.");
    const struct pn_parse_options options = {.reasoning_in_content = true};
    for (int i = 0; i < 2; i++) {
        const char *source = i ? hidden : shown;
        json_t *out = NULL;
        assert_int_equal(pn_parse_all(source, strlen(source), context, "day", 3, &options, &out, NULL), PANTRY_OK);
        assert_string_equal(json_string_value(json_object_get(out, "content")),
                            i ? "Good day" : "<think>Hm.</think>Good day");
        json_decref(out);
    }
    json_decref(context);
}

#define ONE_TOOL(parameters)                                                                                           \
    "{\"messages\": [], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", "                         \
    "\"parameters\": " parameters "}}]}"
#define QWEN        "<tool_call><function=' <parameter="
#define CALL(value) "<tool_call>\n<function=f>\n<parameter=x>\n" value "\n</parameter>\n</function>\n</tool_call>"
#define EXPECT(value)                                                                                                  \
    "{\"content\": \"\", \"reasoning_content\": \"\", \"tool_calls\": [{\"name\": \"f\", \"arguments\": "              \
    "{\"x\": " value "}}]}"
#define X(schema) ONE_TOOL("{\"type\": \"object\", \"properties\": {\"x\": " schema "}}")

static void values_have_the_schemas_type(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {X("{\"type\": \"string\"}"), CALL("42"), EXPECT("\"42\"")},
        {X("{\"type\": \"integer\"}"), CALL("42"), EXPECT("42")},
        {X("{\"type\": \"integer\"}"), CALL("many"), EXPECT("\"many\"")},
        {X("{\"type\": \"number\"}"), CALL("-2.5e3"), EXPECT("-2500.0")},
        {X("{\"type\": \"integer\"}"), CALL("123456789012345678901234567890"), EXPECT("1.2345678901234568e29")},
        {X("{\"type\": \"boolean\"}"), CALL("True"), EXPECT("true")},
        {X("{\"type\": [\"string\", \"null\"]}"), CALL("null"), EXPECT("null")},
        {X("{\"type\": [\"null\", \"string\"]}"), CALL("nullify"), EXPECT("\"nullify\"")},
        {X("{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"object\"}]}"), CALL("{\"a\": 1}"), EXPECT("{\"a\": 1}")},
        {X("{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"object\"}]}"), CALL("{a"), EXPECT("\"{a\"")},
        {X("{\"enum\": [\"1\", \"2\"]}"), CALL("1"), EXPECT("\"1\"")},
        {X("{\"const\": 1}"), CALL("1"), EXPECT("1")},
        {X("{\"items\": {}}"), CALL("['a', None]"), EXPECT("[\"a\", null]")},
        {X("{\"properties\": {}}"), CALL("{'a': None}"), EXPECT("{\"a\": null}")},
        {X("{\"items\": {}}"), CALL("\"a\""), EXPECT("\"a\"")},      /* it is not text */
        {X("{\"properties\": {}}"), CALL("\"a\""), EXPECT("\"a\"")}, /* it is not text */
        {X("{\"items\": {}, \"nullable\": true}"), CALL("None"), EXPECT("null")},
        {X("{\"type\": \"array\"}"), CALL("['a', None]"), EXPECT("[\"a\", null]")},
        {X("{\"type\": \"object\"}"), CALL("{'a': (1, 2.5)}"), EXPECT("{\"a\": [1, 2.5]}")},
        {X("{}"), CALL("\"quoted\""), EXPECT("\"\\\"quoted\\\"\"")},
        {ONE_TOOL("{\"$defs\": {\"n\": {\"type\": \"integer\"}}, \"properties\": {\"x\": {\"$ref\": \"#/$defs/n\"}}}"),
         CALL("7"), EXPECT("7")},
        {ONE_TOOL(
             "{\"$defs\": {\"n\": {\"$ref\": \"#/$defs/n\"}}, \"properties\": {\"x\": {\"$ref\": \"#/$defs/n\"}}}"),
         CALL("7"), EXPECT("7")},
        {X("{\"type\": \"string\"}"), CALL("a </parameter> b"), EXPECT("\"a </parameter> b\"")},
        {X("{\"type\": \"string\"}"), CALL(""), EXPECT("\"\"")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        all_at_once(QWEN, rows[i][0], rows[i][1], 0, rows[i][2]);
}

static void broken_calls_are_content(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "<tool_call>no JSON</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": }}</tool_call>",
        "<tool_call>{\"name\": 1}</tool_call>",
        "<tool_call>{\"name\": \"\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"\\ud800\"}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"abc",
        "say <tool_call>",
        "<tool_cal",
        "</tool_call>",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *want = json_pack("{s:s, s:s, s:[]}", "content", rows[i], "reasoning_content", "", "tool_calls");
        char *text = json_dumps(want, 0);
        all_at_once("<tool_call>", X("{}"), rows[i], 0, text);
        free(text);
        json_decref(want);
    }
    /* and a good call after a broken one is still a call */
    all_at_once("<tool_call>", X("{}"),
                "<tool_call>{\"name\" <tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}", 0,
                "{\"content\": \"<tool_call>{\\\"name\\\" \", \"reasoning_content\": \"\", \"tool_calls\": "
                "[{\"name\": \"f\", \"arguments\": {\"x\": 1}}]}");
    /* line ends inside a string belong to it */
    all_at_once("<tool_call>", X("{}"), "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"a\nb\"}}</tool_call>", 0,
                EXPECT("\"a\\nb\""));
    /* without tools nothing is a call */
    all_at_once("<tool_call>", "{\"messages\": []}", "<tool_call>{\"name\": \"f\"}</tool_call>", 0,
                "{\"content\": \"<tool_call>{\\\"name\\\": \\\"f\\\"}</tool_call>\", \"reasoning_content\": \"\", "
                "\"tool_calls\": []}");
}

/* Text like a call after the marker of code, when no tool takes code. */
static void broken_code_is_content(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "<|python_tag|>{\"name\": 1}",
        "<|python_tag|>{\"name\": \"f\" \"x\"}",
        "<|python_tag|>{\"name\": \"f\",",
        "<|python_tag|>f.",
        "<|python_tag|>{",
        "<|python_tag|>",
        "<|python_tag|>{\"a\": 1} more",
        "<|python_tag|> f(x=",
        "<|python_tag|>{}{}",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *want = json_pack("{s:s, s:s, s:[]}", "content", rows[i], "reasoning_content", "", "tool_calls");
        char *text = json_dumps(want, 0);
        all_at_once("<|python_tag|>", X("{}"), rows[i], 0, text);
        free(text);
        json_decref(want);
    }
}

/* Values may nest this deep; with deeper ones the call is content. */
static void values_nest_to_a_limit(void **state)
{
    (void)state;
#define NS "]<]minimax[>["
    static const struct {
        const char *dialect, *before, *open, *inside, *close, *after;
        int most;
    } rows[] = {
        {"hermes", "<tool_call>{\"name\": \"noop\", \"arguments\": {\"a\": ", "[", "1", "]", "}}</tool_call>", 254},
        {"hermes", "<tool_call>{\"name\": \"noop\", \"arguments\": {\"a\": ", "{\"b\":", "1", "}", "}}</tool_call>",
         254},
        {"minimax-m3", NS "<tool_call>" NS "<invoke name=\"noop\">", NS "<a>", "1", NS "</a>",
         NS "</invoke>" NS "</tool_call>", 32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int n = rows[i].most - 1; n < rows[i].most + 2; n++) {
            struct pn_buf text = {0};
            json_t *t = tools();
            struct pn_parse_options o = {.tools = t};
            pn_buf_puts(&text, rows[i].before);
            for (int k = 0; k < n; k++)
                pn_buf_puts(&text, rows[i].open);
            pn_buf_puts(&text, rows[i].inside);
            for (int k = 0; k < n; k++)
                pn_buf_puts(&text, rows[i].close);
            pn_buf_puts(&text, rows[i].after);
            struct result r = parse(pn_dialect_find(rows[i].dialect), &o, text.data, text.len, 0);
            if ((r.calls.len > 0) != (n <= rows[i].most) || (n > rows[i].most && !same(&r.content, &text)))
                fail_msg("%s, %d levels: [%s] [%s]", rows[i].dialect, n, r.calls.data, r.content.data);
            result_free(&r);
            pn_buf_free(&text);
            json_decref(t);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_tools_are_text),
        cmocka_unit_test(detection),
        cmocka_unit_test(every_dialect_has_samples),
        cmocka_unit_test(every_dialect_has_every_kind_of_sample),
        cmocka_unit_test(samples_are_split),
        cmocka_unit_test(splits_do_not_matter),
        cmocka_unit_test(every_cut_gives_the_same),
        cmocka_unit_test(every_cut_of_recorded_answers_gives_the_same),
        cmocka_unit_test(text_is_not_held_back),
        cmocka_unit_test(splits_of_damaged_answers_do_not_matter),
        cmocka_unit_test(cut_answers_are_never_lost),
        cmocka_unit_test(text_is_never_lost),
        cmocka_unit_test(megabytes_take_linear_time),
        cmocka_unit_test(begun_messages_go_on),
        cmocka_unit_test(hidden_reasoning_stays_hidden),
        cmocka_unit_test(values_have_the_schemas_type),
        cmocka_unit_test(broken_calls_are_content),
        cmocka_unit_test(broken_code_is_content),
        cmocka_unit_test(values_nest_to_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
