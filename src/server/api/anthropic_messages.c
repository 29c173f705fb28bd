/* Messages of Anthropic's API as chat templates know them: blocks become texts, reasoning, calls and tool messages. */
#include "base/status.h"
#include "server/api/anthropic.h"

#include <stdio.h>
#include <string.h>

enum { PATH = 80 };

struct reading {
    json_t *list; /* the template's messages */
    /* The message that is being built, of consecutive ones of a role; NULL: there is none. */
    const char *role;
    struct pn_buf text, reasoning;
    json_t *calls;
    json_t *parts;   /* of a content with pictures, before `text` */
    json_t *names;   /* of all calls so far: id -> tool */
    json_t *pending; /* ids of the calls that have no result yet */
    const char *last_block;
};

/* ---- the message that is built ---- */

static json_t *text_of(const struct pn_buf *b)
{
    return json_stringn(b->data ? b->data : "", b->len);
}

/* With pictures, a content is a list of parts: the text so far becomes one. */
static void end_text(struct reading *r)
{
    if (r->text.len)
        json_array_append_new(r->parts, json_pack("{s:s, s:o}", "type", "text", "text", text_of(&r->text)));
    r->text.len = 0;
}

static pantry_status flush(struct reading *r, struct pantry_error *err)
{
    if (r->text.failed || r->reasoning.failed)
        return pn_no_memory(err, "the messages");
    if (r->role) {
        if (json_array_size(r->parts))
            end_text(r);
        json_t *m = json_pack("{s:s, s:o}", "role", r->role, "content",
                              json_array_size(r->parts) ? json_incref(r->parts) : text_of(&r->text));
        if (r->reasoning.len)
            json_object_set_new(m, "reasoning_content", text_of(&r->reasoning));
        if (json_array_size(r->calls))
            json_object_set(m, "tool_calls", r->calls);
        json_array_append_new(r->list, m);
    }
    json_decref(r->calls);
    r->calls = json_array();
    json_decref(r->parts);
    r->parts = json_array();
    r->text.len = r->reasoning.len = 0;
    r->role = NULL;
    return PANTRY_OK;
}

/* Texts of people are paragraphs; those of the model are what it said, cut where it called tools. */
static void add_text(struct reading *r, const char *text)
{
    if (r->text.len && strcmp(r->role, "assistant") != 0)
        pn_buf_puts(&r->text, "\n");
    pn_buf_puts(&r->text, text);
}

/* ---- blocks ---- */

static pantry_status need_string(const json_t *block, const char *name, const char *where, const char **out,
                                 struct pantry_error *err)
{
    *out = json_string_value(json_object_get(block, name));
    return *out ? PANTRY_OK : pn_fail(err, PANTRY_INVALID, "%s.%s: a string is required", where, name);
}

static pantry_status read_text(struct reading *r, const json_t *block, const char *where, struct pantry_error *err)
{
    const char *text;
    pantry_status status = need_string(block, "text", where, &text, err);
    if (!status)
        add_text(r, text);
    return status;
}

static pantry_status read_thinking(struct reading *r, const json_t *block, const char *where, struct pantry_error *err)
{
    const char *text;
    pantry_status status = need_string(block, "thinking", where, &text, err);
    if (!status)
        pn_buf_puts(&r->reasoning, text);
    return status;
}

/* Only the service that encrypted it can read it: to this model it says nothing. */
static pantry_status skip(struct reading *r, const json_t *block, const char *where, struct pantry_error *err)
{
    (void)r, (void)block, (void)where, (void)err;
    return PANTRY_OK;
}

/* Templates see the id that the model itself wrote; see add_call in anthropic_reply.c. */
static const char *bare_id(const char *id)
{
    return strncmp(id, "toolu_", 6) == 0 && id[6] ? id + 6 : id;
}

static pantry_status read_call(struct reading *r, const json_t *block, const char *where, struct pantry_error *err)
{
    const char *id, *name;
    json_t *input = json_object_get(block, "input"), *caller = json_object_get(block, "caller");
    const char *by = json_string_value(json_object_get(caller, "type"));
    pantry_status status = need_string(block, "id", where, &id, err);
    if (!status)
        status = need_string(block, "name", where, &name, err);
    if (status)
        return status;
    if (!json_is_object(input))
        return pn_fail(err, PANTRY_INVALID, "%s.input: an object is required", where);
    if (by && strcmp(by, "direct") != 0)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s.caller: \"%.60s\" is not supported (allowed \"direct\")", where,
                       by);
    if (json_object_get(r->pending, id))
        return pn_fail(err, PANTRY_INVALID, "%s.id: `tool_use` ids must be unique (found \"%.60s\" twice)", where, id);
    json_object_set_new(r->names, id, json_string(name));
    json_object_set_new(r->pending, id, json_true());
    json_array_append_new(r->calls, json_pack("{s:s, s:s, s:{s:s, s:O}}", "id", bare_id(id), "type", "function",
                                              "function", "name", name, "arguments", input));
    return PANTRY_OK;
}

static pantry_status read_result(struct reading *r, const json_t *block, const char *where, struct pantry_error *err)
{
    const char *id;
    bool failed = false;
    char inner[PATH + 16];
    struct pn_buf text = {0};
    const json_t *content = json_object_get(block, "content");
    pantry_status status = need_string(block, "tool_use_id", where, &id, err);
    if (status)
        return status;
    const char *name = json_string_value(json_object_get(r->names, id));
    if (!name || !json_object_get(r->pending, id))
        return pn_fail(err, PANTRY_INVALID,
                       "%s: unexpected `tool_use_id` found in `tool_result` blocks: %.60s. Each `tool_result` block "
                       "must have a corresponding `tool_use` block in the previous message.",
                       where, id);
    json_object_del(r->pending, id);
    status = pn_json_bool(block, "is_error", &failed, err);
    if (!status)
        status = flush(r, err);
    if (!status && failed)
        pn_buf_puts(&text, "Error: ");
    snprintf(inner, sizeof inner, "%s.content", where);
    if (!status && content && !json_is_null(content))
        status = pn_anthropic_read_text(content, inner, &text, err);
    if (!status && text.failed)
        status = pn_no_memory(err, "the messages");
    if (!status)
        json_array_append_new(r->list, json_pack("{s:s, s:s, s:s, s:o}", "role", "tool", "name", name, "tool_call_id",
                                                 bare_id(id), "content", text_of(&text)));
    pn_buf_free(&text);
    return status;
}

/* A picture in the request; one at a URL is not fetched. */
static pantry_status read_image(struct reading *r, const json_t *block, const char *where, struct pantry_error *err)
{
    const json_t *source = json_object_get(block, "source");
    const char *type = json_string_value(json_object_get(source, "type"));
    json_t *data = json_object_get(source, "data");
    if (!type || strcmp(type, "base64") != 0 || !json_is_string(data))
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "%s.source: an image must be in the request, with the type \"base64\" and its data", where);
    end_text(r);
    json_array_append_new(r->parts, json_pack("{s:s, s:O}", "type", "image", "data", data));
    return PANTRY_OK;
}

static const struct block_kind {
    const char *type;
    const char *roles;
    const char *fields[8];
    pantry_status (*read)(struct reading *r, const json_t *block, const char *where, struct pantry_error *err);
} kinds[] = {
    {"text", "user assistant system", {"type", "text", "cache_control"}, read_text},
    {"image", "user", {"type", "source", "cache_control"}, read_image},
    {"thinking", "assistant", {"type", "thinking", "signature"}, read_thinking},
    {"redacted_thinking", "assistant", {"type", "data"}, skip},
    {"tool_use", "assistant", {"type", "id", "name", "input", "cache_control", "caller"}, read_call},
    {"tool_result", "user", {"type", "tool_use_id", "content", "is_error", "cache_control"}, read_result},
};

static pantry_status read_block(struct reading *r, const char *role, const json_t *block, const char *where,
                                struct pantry_error *err)
{
    char inner[PATH + 16];
    const char *type = json_string_value(json_object_get(block, "type"));
    size_t i = 0;
    if (!type)
        return pn_fail(err, PANTRY_INVALID, "%s.type: a content block with a type is required", where);
    while (i < sizeof kinds / sizeof *kinds && strcmp(kinds[i].type, type) != 0)
        i++;
    if (i == sizeof kinds / sizeof *kinds)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s.type: \"%.60s\" blocks are not supported", where, type);
    if (!strstr(kinds[i].roles, role))
        return pn_fail(err, PANTRY_INVALID, "%s.type: `%s` blocks are not allowed in messages of the role \"%s\"",
                       where, type, role);
    snprintf(inner, sizeof inner, "%s.", where);
    pantry_status status = pn_json_known(block, inner, kinds[i].fields, err);
    if (!status && r->role && strcmp(r->role, role) != 0)
        status = flush(r, err);
    if (!status && kinds[i].read != read_result)
        r->role = role;
    r->last_block = kinds[i].type;
    return status ? status : kinds[i].read(r, block, where, err);
}

pantry_status pn_anthropic_read_text(const json_t *content, const char *where, struct pn_buf *out,
                                     struct pantry_error *err)
{
    char inner[PATH + 32];
    size_t i;
    json_t *block;
    if (json_is_string(content)) {
        pn_buf_puts(out, json_string_value(content));
        return PANTRY_OK;
    }
    if (!json_is_array(content))
        return pn_fail(err, PANTRY_INVALID, "%s: a string or a list of text blocks is required", where);
    json_array_foreach((json_t *)(uintptr_t)content, i, block)
    {
        const char *type = json_string_value(json_object_get(block, "type")), *text;
        snprintf(inner, sizeof inner, "%s.%zu", where, i);
        if (!type || strcmp(type, "text") != 0)
            return pn_fail(err, type ? PANTRY_UNSUPPORTED : PANTRY_INVALID,
                           "%s.type: \"%.60s\" blocks are not supported (allowed \"text\")", inner, type ? type : "");
        pantry_status status = need_string(block, "text", inner, &text, err);
        strcat(inner, ".");
        if (!status)
            status = pn_json_known(block, inner, kinds[0].fields, err);
        if (status)
            return status;
        pn_buf_printf(out, "%s%s", i ? "\n" : "", text);
    }
    return PANTRY_OK;
}

/* ---- messages ---- */

/* After a message with calls the next one has their results. */
static pantry_status check_results(const struct reading *r, size_t i, struct pantry_error *err)
{
    const char *id = json_object_iter_key(json_object_iter(r->pending));
    return id ? pn_fail(err, PANTRY_INVALID,
                        "messages.%zu: `tool_use` ids were found without `tool_result` blocks immediately after: "
                        "%.60s. Each `tool_use` block must have a corresponding `tool_result` block in the next "
                        "message.",
                        i, id)
              : PANTRY_OK;
}

static pantry_status read_message(struct reading *r, const json_t *message, size_t i, struct pantry_error *err)
{
    static const char *const fields[] = {"role", "content", NULL}, *const roles[] = {"user", "assistant", "system"};
    char where[PATH];
    const char *given = json_string_value(json_object_get(message, "role")), *role = NULL;
    const json_t *content = json_object_get(message, "content"), *block;
    size_t k, n = json_is_array(content) ? json_array_size(content) : json_is_string(content);
    for (k = 0; given && k < sizeof roles / sizeof *roles; k++)
        role = strcmp(roles[k], given) == 0 ? roles[k] : role;
    snprintf(where, sizeof where, "messages.%zu.", i);
    if (!role)
        return pn_fail(err, PANTRY_INVALID, "%srole: \"user\", \"assistant\" or \"system\" is required", where);
    if (!json_is_array(content) && !json_is_string(content))
        return pn_fail(err, PANTRY_INVALID, "%scontent: a string or a list of content blocks is required", where);
    pantry_status status = pn_json_known(message, where, fields, err);
    if (!status && json_is_string(content)) {
        json_t *whole = json_pack("{s:s, s:O}", "type", "text", "text", content);
        snprintf(where, sizeof where, "messages.%zu.content", i);
        status = read_block(r, role, whole, where, err);
        json_decref(whole);
    }
    for (k = 0; k < n && json_is_array(content) && !status; k++) {
        block = json_array_get(content, k);
        snprintf(where, sizeof where, "messages.%zu.content.%zu", i, k);
        status = read_block(r, role, block, where, err);
    }
    return status || strcmp(role, "assistant") == 0 ? status : check_results(r, i, err);
}

/* A last message of the assistant is one that the answer continues; an empty one says nothing. */
static pantry_status check_last(struct reading *r, bool *continues, struct pantry_error *err)
{
    size_t n = json_array_size(r->list);
    const json_t *m = json_array_get(r->list, n - 1), *content = json_object_get(m, "content");
    const char *role = json_string_value(json_object_get(m, "role")), *text = json_string_value(content);
    size_t len = json_string_length(content);
    *continues = role && strcmp(role, "assistant") == 0;
    if (!*continues)
        return PANTRY_OK;
    if (r->last_block && strcmp(r->last_block, "text") != 0)
        return pn_fail(err, PANTRY_INVALID, "messages: the final block in an assistant message cannot be `%s`",
                       r->last_block);
    if (len && strchr(" \t\r\n", text[len - 1]))
        return pn_fail(err, PANTRY_INVALID, "messages: final assistant content cannot end with trailing whitespace");
    if (!len) {
        json_array_remove(r->list, n - 1);
        *continues = false;
    }
    return PANTRY_OK;
}

pantry_status pn_anthropic_read_messages(const json_t *body, json_t *list, bool *continues, struct pantry_error *err)
{
    struct reading r = {
        .list = list, .calls = json_array(), .parts = json_array(), .names = json_object(), .pending = json_object()};
    json_t *messages = NULL, *message;
    size_t i;
    *continues = false;
    pantry_status status = pn_json_array(body, "messages", &messages, err);
    if (!status && !json_array_size(messages))
        status = pn_fail(err, PANTRY_INVALID, "messages: at least one message is required");
    json_array_foreach(messages, i, message)
    {
        if (!status)
            status = read_message(&r, message, i, err);
    }
    if (!status)
        status = check_results(&r, json_array_size(messages) - 1, err);
    if (!status)
        status = flush(&r, err);
    if (!status)
        status = check_last(&r, continues, err);
    pn_buf_free(&r.text);
    pn_buf_free(&r.reasoning);
    json_decref(r.calls);
    json_decref(r.parts);
    json_decref(r.names);
    json_decref(r.pending);
    return status;
}
