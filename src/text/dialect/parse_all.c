/* Parses a whole answer with the help of its context: the tools, and whether it continues a message. */
#include "text/dialect/dialect_impl.h"

#include <stdlib.h>
#include <string.h>

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

/* The collected text as a string; invalid UTF-8 becomes U+FFFD. */
static json_t *text_of(struct pn_buf *text)
{
    struct pn_buf clean = {0};
    pn_utf8_put(&clean, text->data ? text->data : "", text->len);
    json_t *string = clean.failed || text->failed ? NULL : json_stringn(clean.data ? clean.data : "", clean.len);
    pn_buf_free(&clean);
    return string;
}

static pantry_status parse_with(const struct pn_dialect *dialect, const struct pn_parse_options *options,
                                const char *raw, size_t raw_len, json_t **out, struct pantry_error *err)
{
    struct collector c = {.calls = json_array()};
    pantry_status status = PANTRY_OK;
    *out = NULL;
    struct pn_parser *parser = pn_parser_new(dialect, options, collect, &c);
    if (!parser || !c.calls) {
        status = pn_no_memory(err, "an answer's parser");
        goto fail;
    }
    status = pn_parser_push(parser, raw, raw_len, err);
    if (!status)
        status = pn_parser_finish(parser, err);
    if (status)
        goto fail;
    json_t *content = text_of(&c.content), *reasoning = text_of(&c.reasoning);
    *out = json_pack("{s:o, s:o, s:O}", "content", content, "reasoning_content", reasoning, "tool_calls", c.calls);
    if (!*out || c.failed) {
        json_decref(*out);
        *out = NULL;
        status = pn_no_memory(err, "a parsed answer");
    }
fail:
    pn_parser_free(parser);
    json_decref(c.calls);
    pn_buf_free(&c.content);
    pn_buf_free(&c.reasoning);
    return status;
}

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

pantry_status pn_parse_rendered(const char *template_source, size_t template_len, const json_t *context,
                                const char *prompt, size_t prompt_len, const char *raw, size_t raw_len,
                                const struct pn_parse_options *options, json_t **out, struct pantry_error *err)
{
    const struct pn_dialect *dialect = pn_dialect_detect(template_source, template_len);
    struct pn_parse_options o = *options;
    char *content = NULL;
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
    pantry_status status = parse_with(dialect, &o, raw, raw_len, out, err);
    free(content);
    return status;
}
