/* Parses an answer, whole or as it streams in, with the help of its context: the tools, and whether it continues a
 * message. */
#include "text/dialect/dialect_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- whole characters ---- */

struct pn_answer {
    struct pn_parser *parser;
    pn_parse_fn *fn;
    void *user;
    struct pn_buf text[PN_EVENT_TOOL_CALL]; /* not reported: the beginning of a character, per kind of text */
    struct pn_buf clean;
    bool failed;
};

/* The length without a last character that more bytes may complete. */
static size_t whole_characters(const struct pn_buf *text)
{
    size_t n = text->len;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)text->data[n - back];
        if (c >= 0xC0)
            return back < (c < 0xE0 ? 2u : c < 0xF0 ? 3u : 4u) ? n - back : n;
        if (c < 0x80)
            break;
    }
    return n;
}

/* Reports the first n bytes of a text. */
static void report(struct pn_answer *a, enum pn_parse_event_type type, size_t n)
{
    struct pn_buf *text = &a->text[type];
    a->failed |= text->failed;
    if (a->failed || !n)
        return;
    pn_buf_clear(&a->clean);
    pn_utf8_put(&a->clean, text->data, n);
    if ((a->failed = a->clean.failed))
        return;
    memmove(text->data, text->data + n, text->len - n);
    text->len -= n;
    a->fn(a->user, &(struct pn_parse_event){.type = type, .text = a->clean.data, .len = a->clean.len});
}

static void relay(void *user, const struct pn_parse_event *event)
{
    struct pn_answer *a = user;
    if (event->type == PN_EVENT_TOOL_CALL) {
        a->fn(a->user, event);
        return;
    }
    pn_buf_append(&a->text[event->type], event->text, event->len);
    report(a, event->type, whole_characters(&a->text[event->type]));
}

pantry_status pn_answer_push(struct pn_answer *a, const char *text, size_t len, struct pantry_error *err)
{
    pantry_status status = pn_parser_push(a->parser, text, len, err);
    return !status && a->failed ? pn_no_memory(err, "an answer's text") : status;
}

pantry_status pn_answer_finish(struct pn_answer *a, struct pantry_error *err)
{
    pantry_status status = pn_parser_finish(a->parser, err);
    for (int type = 0; type < PN_EVENT_TOOL_CALL; type++)
        report(a, (enum pn_parse_event_type)type, a->text[type].len);
    return !status && a->failed ? pn_no_memory(err, "an answer's text") : status;
}

void pn_answer_free(struct pn_answer *a)
{
    if (!a)
        return;
    pn_parser_free(a->parser);
    for (int type = 0; type < PN_EVENT_TOOL_CALL; type++)
        pn_buf_free(&a->text[type]);
    pn_buf_free(&a->clean);
    free(a);
}

/* ---- the beginning ---- */

/* A message's text: a string, or the text parts of a list. Caller frees. */
static char *message_text(const json_t *content)
{
    struct pn_buf text = {0};
    size_t i;
    const json_t *part;
    if (json_is_string(content))
        pn_buf_puts(&text, json_string_value(content));
    json_array_foreach(content, i, part)
    {
        const char *s = json_string_value(json_object_get(part, "text"));
        pn_buf_puts(&text, s ? s : "");
    }
    return pn_buf_take(&text);
}

static bool writes_reasoning(const struct pn_dialect *dialect, const char *source, size_t len)
{
    const char *open = dialect->think[0].open ? dialect->think[0].open : "<think>";
    return pn_text_find(source, len, 0, open) < len;
}

static bool mentions_reasoning(const struct pn_dialect *dialect, const char *source, size_t len)
{
    return (dialect->think[0].close && pn_text_find(source, len, 0, dialect->think[0].close) < len) || dialect->step ||
           pn_text_find(source, len, 0, "</think") < len || pn_text_find(source, len, 0, "reasoning") < len ||
           strncmp(dialect->name, "kimi", 4) == 0;
}

pantry_status pn_answer_new(const char *template_source, size_t template_len, const json_t *context, const char *prompt,
                            size_t prompt_len, const struct pn_parse_options *options, pn_parse_fn *fn, void *user,
                            struct pn_answer **out, struct pantry_error *err)
{
    const struct pn_dialect *dialect = pn_dialect_detect(template_source, template_len);
    struct pn_parse_options o = *options;
    char *content = NULL;
    *out = NULL;
    o.prompt = prompt;
    o.prompt_len = prompt_len;
    o.tools = json_object_get(context, "tools");
    /* Without a generation prompt the answer continues the assistant's last message. */
    const json_t *messages = json_object_get(context, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (role && strcmp(role, "assistant") == 0 && !json_is_true(json_object_get(context, "add_generation_prompt"))) {
        const char *reasoning = json_string_value(json_object_get(last, "reasoning_content"));
        content = message_text(json_object_get(last, "content"));
        if (!content)
            return pn_no_memory(err, "the message to go on with");
        o.continues = true;
        if (reasoning && o.reasoning_in_content &&
            (!writes_reasoning(dialect, template_source, template_len) ||
             (prompt_len && *reasoning && pn_text_find(prompt, prompt_len, 0, reasoning) == prompt_len)))
            reasoning = NULL; /* the prompt does not show it either */
        o.continued_reasoning = reasoning;
        o.continued_content = content;
        /* No content yet: a model that reasons is still reasoning. */
        if (!*content && ((reasoning && *reasoning) || mentions_reasoning(dialect, template_source, template_len)))
            o.continued_content = NULL;
    }
    struct pn_answer *a = calloc(1, sizeof *a);
    if (a) {
        a->fn = fn;
        a->user = user;
        a->parser = pn_parser_new(dialect, &o, relay, a);
    }
    free(content);
    if (!a || !a->parser) {
        pn_answer_free(a);
        return pn_no_memory(err, "an answer's parser");
    }
    *out = a;
    return PANTRY_OK;
}

/* ---- at once ---- */

struct collector {
    struct pn_buf content, reasoning;
    json_t *calls;
    bool failed;
};

static void collect(void *user, const struct pn_parse_event *event)
{
    struct collector *c = user;
    if (event->type != PN_EVENT_TOOL_CALL) {
        pn_buf_append(event->type == PN_EVENT_CONTENT ? &c->content : &c->reasoning, event->text, event->len);
        return;
    }
    json_t *arguments = pn_json_load(event->arguments, strlen(event->arguments));
    json_t *call = json_pack("{s:s, s:o}", "name", event->name, "arguments", arguments);
    if (call && event->id && json_object_set_new(call, "id", json_string(event->id)) != 0)
        json_object_del(call, "id"); /* an id must be a string */
    if (!call || json_array_append_new(c->calls, call) != 0)
        c->failed = true;
}

static json_t *string_of(const struct pn_buf *text)
{
    return text->failed ? NULL : json_stringn(text->data ? text->data : "", text->len);
}

pantry_status pn_parse_rendered(const char *template_source, size_t template_len, const json_t *context,
                                const char *prompt, size_t prompt_len, const char *raw, size_t raw_len,
                                const struct pn_parse_options *options, json_t **out, struct pantry_error *err)
{
    struct collector c = {.calls = json_array()};
    struct pn_answer *answer = NULL;
    pantry_status status = c.calls ? PANTRY_OK : pn_no_memory(err, "a parsed answer");
    *out = NULL;
    if (!status)
        status = pn_answer_new(template_source, template_len, context, prompt, prompt_len, options, collect, &c,
                               &answer, err);
    if (!status)
        status = pn_answer_push(answer, raw, raw_len, err);
    if (!status)
        status = pn_answer_finish(answer, err);
    if (status)
        goto fail;
    json_t *content = string_of(&c.content), *reasoning = string_of(&c.reasoning);
    *out = json_pack("{s:o, s:o, s:O}", "content", content, "reasoning_content", reasoning, "tool_calls", c.calls);
    if (!*out || c.failed) {
        json_decref(*out);
        *out = NULL;
        status = pn_no_memory(err, "a parsed answer");
    }
fail:
    pn_answer_free(answer);
    json_decref(c.calls);
    pn_buf_free(&c.content);
    pn_buf_free(&c.reasoning);
    return status;
}
