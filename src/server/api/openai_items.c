/* Input items of OpenAI's responses, as messages: see openai_responses.h. */
#include "server/api/openai_responses.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

enum { WHERE = 48 };

static const char *const text_types[] = {"input_text", "output_text", "text", "refusal", "reasoning_text", NULL};

struct reading {
    json_t *messages;
    json_t *reasoning; /* a string for the next message of the assistant, or NULL */
};

/* ---- messages ---- */

static void add(struct reading *r, json_t *message)
{
    if (r->reasoning && strcmp(json_string_value(json_object_get(message, "role")), "assistant") == 0) {
        json_object_set_new(message, "reasoning_content", r->reasoning);
        r->reasoning = NULL;
    }
    json_array_append_new(r->messages, message);
}

static json_t *last_with_role(const struct reading *r, const char *role)
{
    size_t n = json_array_size(r->messages);
    json_t *m = n ? json_array_get(r->messages, n - 1) : NULL;
    return m && strcmp(json_string_value(json_object_get(m, "role")), role) == 0 ? m : NULL;
}

/* Templates know one system message, so instructions and what follows them become one. Takes `text` over. */
static void add_system(struct reading *r, json_t *text)
{
    json_t *before = last_with_role(r, "system");
    if (!before) {
        add(r, json_pack("{s:s, s:o}", "role", "system", "content", text));
        return;
    }
    json_object_set_new(
        before, "content",
        json_sprintf("%s\n\n%s", json_string_value(json_object_get(before, "content")), json_string_value(text)));
    json_decref(text);
}

static pantry_status add_message(struct reading *r, json_t *item, const char *where, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {{"type", PN_FIELD_READ, NULL},
                                                    {"role", PN_FIELD_READ, NULL},
                                                    {"content", PN_FIELD_READ, NULL},
                                                    {"id", PN_FIELD_IGNORED, NULL},
                                                    {"phase", PN_FIELD_IGNORED, NULL},
                                                    {"status", PN_FIELD_IGNORED, NULL},
                                                    {0}};
    const char *role = json_string_value(json_object_get(item, "role"));
    json_t *content = json_object_get(item, "content"), *text;
    char at[WHERE + 16];
    snprintf(at, sizeof at, "%s.", where);
    pantry_status status = pn_openai_check(item, fields, at, err);
    if (status)
        return status;
    snprintf(at, sizeof at, "%s.content", where);
    bool system = role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
    if (!role || (!system && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0))
        return pn_fail(err, PANTRY_INVALID, "%s.role: unknown (allowed developer, system, user, assistant)", where);
    if (!content)
        return pn_fail(err, PANTRY_INVALID, "%s is required", at);
    bool pictures = strcmp(role, "user") == 0 && pn_openai_has_pictures(content);
    status = pictures ? pn_openai_parts(content, at, text_types, &text, err)
                      : pn_openai_text(content, at, text_types, &text, err);
    if (status)
        return status;
    if (system)
        add_system(r, text);
    else
        add(r, json_pack("{s:s, s:o}", "role", role, "content", text));
    return PANTRY_OK;
}

/* ---- tools ---- */

static pantry_status add_call(struct reading *r, json_t *item, const char *where, struct pantry_error *err)
{
    const char *id = json_string_value(json_object_get(item, "call_id"));
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *arguments = json_string_value(json_object_get(item, "arguments"));
    if (!id || !name || !arguments)
        return pn_fail(err, PANTRY_INVALID, "%s: call_id, name and arguments (strings) are needed", where);
    json_t *message = r->reasoning ? NULL : last_with_role(r, "assistant"), *calls;
    if (!message) {
        message = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        add(r, message);
    }
    if (!(calls = json_object_get(message, "tool_calls"))) {
        calls = json_array();
        json_object_set_new(message, "tool_calls", calls);
    }
    json_array_append_new(calls, pn_openai_call_for_template(id, name, arguments));
    return PANTRY_OK;
}

static pantry_status add_result(struct reading *r, json_t *item, const char *where, struct pantry_error *err)
{
    const char *id = json_string_value(json_object_get(item, "call_id"));
    json_t *output = json_object_get(item, "output"), *text;
    char at[WHERE + 16];
    snprintf(at, sizeof at, "%s.output", where);
    if (!id || !output)
        return pn_fail(err, PANTRY_INVALID, "%s: call_id and output are needed", where);
    pantry_status status = pn_openai_text(output, at, text_types, &text, err);
    if (status)
        return status;
    json_t *message = json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", id, "content", text);
    pn_openai_name_result(message, r->messages);
    add(r, message);
    return PANTRY_OK;
}

static pantry_status add_reasoning(struct reading *r, json_t *item, const char *where, struct pantry_error *err)
{
    json_t *content = json_object_get(item, "content"), *encrypted = json_object_get(item, "encrypted_content");
    char at[WHERE + 16];
    snprintf(at, sizeof at, "%s.content", where);
    json_decref(r->reasoning);
    r->reasoning = NULL;
    if (content && !json_is_null(content) && !json_is_array(content))
        return pn_fail(err, PANTRY_INVALID, "%s: wrong type (allowed a list of parts)", at);
    if (json_array_size(content))
        return pn_openai_text(content, at, text_types, &r->reasoning, err);
    if (encrypted && !json_is_null(encrypted) && !json_is_string(encrypted))
        return pn_fail(err, PANTRY_INVALID, "%s.encrypted_content: wrong type (allowed a string)", where);
    if (encrypted && !json_is_null(encrypted))
        r->reasoning = json_incref(encrypted);
    return PANTRY_OK;
}

/* ---- items ---- */

static pantry_status add_item(struct reading *r, json_t *item, const char *where, struct pantry_error *err)
{
    static const struct {
        const char *type;
        pantry_status (*add)(struct reading *r, json_t *item, const char *where, struct pantry_error *err);
    } types[] = {{"message", add_message},
                 {"function_call", add_call},
                 {"function_call_output", add_result},
                 {"reasoning", add_reasoning}};
    const json_t *given = json_object_get(item, "type");
    const char *type = json_string_value(given);
    if ((!given || json_is_null(given)) && json_object_get(item, "role"))
        type = "message";
    if (!type)
        return pn_fail(err, PANTRY_INVALID, "%s: an object with a type or a role is needed", where);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].type, type) == 0)
            return types[i].add(r, item, where, err);
    return pn_fail(err, PANTRY_UNSUPPORTED,
                   "%s.type: not supported (found \"%.40s\", allowed message, function_call, function_call_output, "
                   "reasoning)",
                   where, type);
}

pantry_status pn_openai_items(json_t *items, json_t *messages, struct pantry_error *err)
{
    struct reading r = {.messages = messages};
    pantry_status status = PANTRY_OK;
    json_t *item;
    size_t i;
    json_array_foreach(items, i, item)
    {
        char where[WHERE];
        snprintf(where, sizeof where, "input[%zu]", i);
        if ((status = add_item(&r, item, where, err)))
            break;
    }
    json_decref(r.reasoning);
    return status;
}
