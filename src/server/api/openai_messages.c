/* Messages and tools of OpenAI's API, as chat templates want them: see openai.h. */
#include "server/api/openai.h"

#include "base/status.h"
#include "server/api/image_part.h"

#include <stdio.h>
#include <string.h>

enum { WHERE = 80 }; /* bytes of a path to a field */

/* ---- content ---- */

static pantry_status part_text(json_t *part, const char *where, const char *const *types, const char **out,
                               struct pantry_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type)
        return pn_fail(err, PANTRY_INVALID, "%s: a part with a type is needed", where);
    while (*types && strcmp(*types, type) != 0)
        types++;
    if (!*types)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: parts of type \"%.40s\" are not supported (allowed text)", where,
                       type);
    *out = json_string_value(json_object_get(part, strcmp(type, "refusal") == 0 ? "refusal" : "text"));
    return *out ? PANTRY_OK : pn_fail(err, PANTRY_INVALID, "%s.text is required", where);
}

pantry_status pn_openai_text(json_t *content, const char *where, const char *const *types, json_t **out,
                             struct pantry_error *err)
{
    json_t *part;
    size_t i;
    struct pn_buf all = {0};
    pantry_status status = PANTRY_OK;
    if (json_is_string(content)) {
        *out = json_incref(content);
        return PANTRY_OK;
    }
    if (!json_is_array(content))
        return pn_fail(err, PANTRY_INVALID, "%s: wrong type (allowed a string or a list of parts)", where);
    json_array_foreach(content, i, part)
    {
        char at[WHERE + 24];
        const char *text;
        snprintf(at, sizeof at, "%s[%zu]", where, i);
        if ((status = part_text(part, at, types, &text, err)))
            break;
        if (i)
            pn_buf_putc(&all, '\n');
        pn_buf_puts(&all, text);
    }
    *out = status ? NULL : json_stringn(all.data ? all.data : "", all.len);
    if (!status && (all.failed || !*out))
        status = pn_no_memory(err, "a message");
    pn_buf_free(&all);
    return status;
}

/* ---- pictures ---- */

/* The URL of a part with a picture; false: it is another part. */
static bool picture_url(const json_t *part, const char **url)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *image = json_object_get(part, "image_url");
    *url = json_string_value(json_is_object(image) ? json_object_get(image, "url") : image);
    return type && (strcmp(type, "image_url") == 0 || strcmp(type, "input_image") == 0);
}

bool pn_openai_has_pictures(const json_t *content)
{
    const char *url;
    for (size_t i = 0; i < json_array_size(content); i++)
        if (picture_url(json_array_get(content, i), &url))
            return true;
    return false;
}

pantry_status pn_openai_parts(json_t *content, const char *where, const char *const *types, json_t **out,
                              struct pantry_error *err)
{
    json_t *part, *list = json_array();
    size_t i;
    pantry_status status = PANTRY_OK;
    json_array_foreach(content, i, part)
    {
        char at[WHERE + 24];
        const char *url, *text;
        json_t *made = NULL;
        snprintf(at, sizeof at, "%s[%zu]", where, i);
        if (picture_url(part, &url))
            status = pn_image_part_of_url(url, at, &made, err);
        else if (!(status = part_text(part, at, types, &text, err)))
            made = json_pack("{s:s, s:s}", "type", "text", "text", text);
        if (status)
            break;
        json_array_append_new(list, made);
    }
    *out = status ? NULL : list;
    if (status)
        json_decref(list);
    return status;
}

/* ---- tool calls ---- */

json_t *pn_openai_call_for_template(const char *id, const char *name, const char *arguments)
{
    json_t *parsed = *arguments ? json_loads(arguments, 0, NULL) : json_object();
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        parsed = json_string(arguments);
    }
    return json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id, "type", "function", "function", "name", name, "arguments",
                     parsed);
}

static pantry_status add_calls(json_t *given, const char *where, json_t *message, struct pantry_error *err)
{
    json_t *list = json_array(), *call;
    size_t i;
    json_object_set_new(message, "tool_calls", list);
    json_array_foreach(given, i, call)
    {
        json_t *function = json_object_get(call, "function");
        const char *id = json_string_value(json_object_get(call, "id"));
        const char *type = json_string_value(json_object_get(call, "type"));
        const char *name = json_string_value(json_object_get(function, "name"));
        const char *arguments = json_string_value(json_object_get(function, "arguments"));
        if (type && strcmp(type, "function") != 0)
            return pn_fail(err, PANTRY_UNSUPPORTED,
                           "%s.tool_calls[%zu].type: not supported (found \"%.40s\", allowed \"function\")", where, i,
                           type);
        if (!id || !name || !arguments)
            return pn_fail(err, PANTRY_INVALID,
                           "%s.tool_calls[%zu]: id, function.name and function.arguments (strings) are needed", where,
                           i);
        json_array_append_new(list, pn_openai_call_for_template(id, name, arguments));
    }
    return PANTRY_OK;
}

void pn_openai_name_result(json_t *result, const json_t *messages)
{
    const char *id = json_string_value(json_object_get(result, "tool_call_id"));
    if (!id || json_object_get(result, "name"))
        return;
    for (size_t m = json_array_size(messages); m-- > 0;) {
        json_t *calls = json_object_get(json_array_get(messages, m), "tool_calls"), *call;
        size_t i;
        json_array_foreach(calls, i, call)
        {
            if (strcmp(json_string_value(json_object_get(call, "id")), id) != 0)
                continue;
            json_object_set(result, "name", json_object_get(json_object_get(call, "function"), "name"));
            return;
        }
    }
}

/* ---- messages ---- */

static const struct {
    const char *role, *for_template;
} roles[] = {
    {"system", "system"}, {"developer", "system"}, {"user", "user"}, {"assistant", "assistant"}, {"tool", "tool"}};

static const char *role_of(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i].role, role) == 0)
            return roles[i].for_template;
    return NULL;
}

/* The content of an assistant's message may be missing where it calls tools. */
static pantry_status add_content(json_t *given, const char *where, bool assistant, json_t *message,
                                 struct pantry_error *err)
{
    static const char *const types[] = {"text", NULL}, *const answer_types[] = {"text", "refusal", NULL};
    json_t *content = json_object_get(given, "content"), *text = NULL;
    char at[WHERE + 16];
    snprintf(at, sizeof at, "%s.content", where);
    if (assistant && json_is_string(json_object_get(given, "refusal")) && (!content || json_is_null(content)))
        content = json_object_get(given, "refusal");
    if (!content || json_is_null(content)) {
        if (!assistant)
            return pn_fail(err, PANTRY_INVALID, "%s is required", at);
        text = json_string("");
    } else {
        bool pictures = !assistant && pn_openai_has_pictures(content);
        pantry_status status = pictures ? pn_openai_parts(content, at, types, &text, err)
                                        : pn_openai_text(content, at, assistant ? answer_types : types, &text, err);
        if (status)
            return status;
    }
    json_object_set_new(message, "content", text);
    return PANTRY_OK;
}

static pantry_status read_message(json_t *given, size_t index, json_t *out, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {{"role", PN_FIELD_READ, NULL},
                                                    {"content", PN_FIELD_READ, NULL},
                                                    {"name", PN_FIELD_READ, NULL},
                                                    {"tool_calls", PN_FIELD_READ, NULL},
                                                    {"tool_call_id", PN_FIELD_READ, NULL},
                                                    {"reasoning_content", PN_FIELD_READ, NULL},
                                                    {"refusal", PN_FIELD_READ, NULL},
                                                    {"annotations", PN_FIELD_IGNORED, NULL},
                                                    {"audio", PN_FIELD_REFUSED, NULL},
                                                    {"function_call", PN_FIELD_REFUSED, NULL},
                                                    {0}};
    static const char *const copied[] = {"name", "tool_call_id", "reasoning_content"};
    char where[WHERE], with_dot[WHERE + 1];
    snprintf(where, sizeof where, "messages[%zu]", index);
    snprintf(with_dot, sizeof with_dot, "%s.", where);
    const char *role = role_of(given);
    if (!json_is_object(given) || !role)
        return pn_fail(err, PANTRY_INVALID, "%s%s (allowed developer, system, user, assistant, tool)", with_dot,
                       "role: unknown");
    bool assistant = strcmp(role, "assistant") == 0;
    json_t *message = json_pack("{s:s}", "role", role), *calls = NULL;
    json_array_append_new(out, message);
    pantry_status status = pn_openai_check(given, fields, with_dot, err);
    if (!status)
        status = add_content(given, where, assistant, message, err);
    for (size_t i = 0; i < sizeof copied / sizeof *copied && !status; i++) {
        const char *text = NULL;
        if (!(status = pn_json_string(given, copied[i], &text, err)) && text)
            json_object_set_new(message, copied[i], json_string(text));
    }
    if (!status && assistant)
        status = pn_json_array(given, "tool_calls", &calls, err);
    if (!status && json_array_size(calls))
        status = add_calls(calls, where, message, err);
    if (!status && strcmp(role, "tool") == 0 && !json_object_get(message, "tool_call_id"))
        status = pn_fail(err, PANTRY_INVALID, "%stool_call_id is required", with_dot);
    pn_openai_name_result(message, out);
    return status;
}

pantry_status pn_openai_messages(json_t *given, json_t *out, struct pantry_error *err)
{
    json_t *message;
    size_t i;
    pantry_status status = PANTRY_OK;
    if (!json_array_size(given))
        return pn_fail(err, PANTRY_INVALID, "messages is required, with one message or more");
    json_array_foreach(given, i, message)
    {
        if ((status = read_message(message, i, out, err)))
            return status;
    }
    return PANTRY_OK;
}

/* ---- tools ---- */

/* Puts the path of the object before the name of its field. */
static void within(const char *where, struct pantry_error *err)
{
    struct pantry_error inner = *err;
    pn_fail(err, inner.status, "%s%s", where, inner.text);
}

/* {"type": "function", "function": {...}} for templates. Takes `function` over. */
static pantry_status add_tool(json_t *function, const char *where, json_t *out, json_t *strict,
                              struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {{"name", PN_FIELD_READ, NULL},
                                                    {"description", PN_FIELD_READ, NULL},
                                                    {"parameters", PN_FIELD_READ, NULL},
                                                    {"strict", PN_FIELD_READ, NULL},
                                                    {0}};
    json_array_append_new(out, json_pack("{s:s, s:o}", "type", "function", "function", function));
    if (!json_is_object(function) || !json_is_string(json_object_get(function, "name")))
        return pn_fail(err, PANTRY_INVALID, "%sname is required", where);
    bool is_strict = false;
    pantry_status status = pn_openai_check(function, fields, where, err);
    if (!status && (status = pn_json_bool(function, "strict", &is_strict, err)))
        within(where, err);
    if (status)
        return status;
    json_array_append_new(strict, json_boolean(is_strict));
    json_object_del(function, "strict");
    if (!json_is_object(json_object_get(function, "parameters")))
        json_object_set_new(function, "parameters", json_pack("{s:s, s:{}}", "type", "object", "properties"));
    return PANTRY_OK;
}

/* "none", "auto", "required", or the name of a function. */
static pantry_status read_choice(const json_t *choice, bool nested, struct pn_tool_rules *rules,
                                 struct pantry_error *err)
{
    const char *name = json_string_value(choice), *type = json_string_value(json_object_get(choice, "type"));
    rules->none = name && strcmp(name, "none") == 0;
    rules->required = json_is_object(choice) || (name && strcmp(name, "required") == 0);
    if (!choice || json_is_null(choice) || rules->none || (name && (rules->required || strcmp(name, "auto") == 0)))
        return PANTRY_OK;
    if (json_is_object(choice) && (!type || strcmp(type, "function") != 0))
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "tool_choice: not supported (found type \"%.40s\", allowed \"function\")", type ? type : "");
    const json_t *holder = nested ? json_object_get(choice, "function") : choice;
    rules->name = json_string_value(json_object_get(holder, "name"));
    return rules->name ? PANTRY_OK
                       : pn_fail(err, PANTRY_INVALID,
                                 "tool_choice: unknown (allowed \"none\", \"auto\", \"required\" or a function)");
}

/* The function of a tool: a member of its own, or all members but the type. Caller owns it. */
static pantry_status function_of(json_t *tool, bool nested, const char *where, json_t **out, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {
        {"type", PN_FIELD_READ, NULL}, {"function", PN_FIELD_READ, NULL}, {0}};
    const char *type = json_string_value(json_object_get(tool, "type"));
    if (!type || strcmp(type, "function") != 0)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%stype: not supported (found \"%.40s\", allowed \"function\")", where,
                       type ? type : "nothing");
    pantry_status status = nested ? pn_openai_check(tool, fields, where, err) : PANTRY_OK;
    if (status)
        return status;
    *out = json_copy(nested ? json_object_get(tool, "function") : tool);
    if (!nested)
        json_object_del(*out, "type");
    return PANTRY_OK;
}

static bool has_tool(const json_t *tools, const char *name)
{
    size_t i;
    json_t *tool;
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool)
    {
        if (strcmp(json_string_value(json_object_get(json_object_get(tool, "function"), "name")), name) == 0)
            return true;
    }
    return false;
}

pantry_status pn_openai_tools(json_t *body, bool nested, json_t **out, struct pn_tool_rules *rules,
                              struct pantry_error *err)
{
    json_t *given = NULL, *tool, *function = NULL;
    size_t i;
    bool parallel = true;
    pantry_status status = pn_json_array(body, "tools", &given, err);
    if (!status)
        status = read_choice(json_object_get(body, "tool_choice"), nested, rules, err);
    if (!status)
        status = pn_json_bool(body, "parallel_tool_calls", &parallel, err);
    rules->one = !parallel;
    if (!status && rules->required && !json_array_size(given))
        status = pn_fail(err, PANTRY_INVALID, "tool_choice: there are no tools to choose from");
    if (status || !json_array_size(given))
        return status;
    *out = json_array();
    rules->strict = json_array();
    json_array_foreach(given, i, tool)
    {
        char where[64];
        snprintf(where, sizeof where, "tools[%zu].", i);
        if ((status = function_of(tool, nested, where, &function, err)))
            return status;
        snprintf(where, sizeof where, "tools[%zu].%s", i, nested ? "function." : "");
        if ((status = add_tool(function, where, *out, rules->strict, err)))
            return status;
    }
    if (rules->name && !has_tool(*out, rules->name))
        return pn_fail(err, PANTRY_INVALID, "tool_choice: no tool is named \"%.100s\"", rules->name);
    if (rules->none) { /* a model that is shown no tools calls none */
        json_decref(*out);
        *out = NULL;
    }
    return PANTRY_OK;
}

/* ---- the form of the answer ---- */

pantry_status pn_openai_format(const json_t *format, const char *where, bool flat, pantry_grammar **out,
                               struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {
        {"type", PN_FIELD_READ, NULL},   {"name", PN_FIELD_READ, NULL},   {"description", PN_FIELD_READ, NULL},
        {"schema", PN_FIELD_READ, NULL}, {"strict", PN_FIELD_READ, NULL}, {0}};
    const char *type = json_string_value(json_object_get(format, "type"));
    char path[96];
    if (!format || json_is_null(format) || (type && strcmp(type, "text") == 0))
        return PANTRY_OK;
    if (!json_is_object(format))
        return pn_fail(err, PANTRY_INVALID, "%s: wrong type (allowed an object)", where);
    if (type && strcmp(type, "json_object") == 0)
        return pn_guide_object(out, err);
    if (!type || strcmp(type, "json_schema") != 0)
        return pn_fail(err, PANTRY_INVALID,
                       "%s.type: unknown type (allowed \"text\", \"json_object\", \"json_schema\")", where);
    json_t *holder = flat ? (json_t *)(uintptr_t)format : json_object_get(format, "json_schema");
    snprintf(path, sizeof path, "%s%s.", where, flat ? "" : ".json_schema");
    bool strict;
    const char *text;
    if (!json_is_object(holder))
        return pn_fail(err, PANTRY_INVALID, "%s.json_schema is required", where);
    pantry_status status = pn_openai_check(holder, fields, path, err);
    if (!status && ((status = pn_json_bool(holder, "strict", &strict, err)) ||
                    (status = pn_json_string(holder, "name", &text, err)) ||
                    (status = pn_json_string(holder, "description", &text, err))))
        within(path, err);
    snprintf(path, sizeof path, "%s%s.schema", where, flat ? "" : ".json_schema");
    const json_t *schema = json_object_get(holder, "schema");
    if (!status && !json_is_object(schema))
        status = pn_fail(err, PANTRY_INVALID, "%s is required", path);
    return status ? status : pn_guide_schema(schema, path, out, err);
}

pantry_status pn_openai_rule(struct pn_openai_call *call, const json_t *tools, const struct pn_tool_rules *rules,
                             struct pantry_error *err)
{
    pantry_status status = pn_guide_answer(call->loaded, tools, rules, &call->grammar, err);
    call->answer.grammar = call->grammar;
    if (rules->required)
        call->answer.tool_choice = PANTRY_TOOL_REQUIRED;
    return status;
}

/* ---- what the template gets ---- */

static pantry_status set_effort(const char *source, const char *effort, json_t *context, struct pantry_error *err)
{
    static const char *const levels[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    size_t i = 0;
    while (i < sizeof levels / sizeof *levels && strcmp(levels[i], effort) != 0)
        i++;
    if (i == sizeof levels / sizeof *levels)
        return pn_fail(err, PANTRY_INVALID,
                       "reasoning_effort: unknown (allowed none, minimal, low, medium, high, xhigh, max)");
    bool thinks = i > 0;
    if (thinks && !strstr(source, "think") && !strstr(source, "reasoning") && !strstr(source, ".Think"))
        return pn_fail(err, PANTRY_UNSUPPORTED, "reasoning_effort: this model does not reason (allowed none)");
    json_object_set_new(context, "enable_thinking", json_boolean(thinks));
    json_object_set_new(context, "thinking", json_boolean(thinks));
    if (thinks)
        json_object_set_new(context, "reasoning_effort", json_string(effort));
    return PANTRY_OK;
}

pantry_status pn_openai_context(const struct pn_loaded *loaded, json_t *messages, json_t *tools, const char *effort,
                                json_t *more, json_t **out, struct pantry_error *err)
{
    size_t n;
    const char *source = pantry_model_template(loaded->model, &n), *name;
    json_t *context = json_object(), *value;
    json_object_foreach(more, name, value) json_object_set(context, name, value);
    json_object_set_new(context, "messages", messages);
    json_object_set_new(context, "add_generation_prompt", json_true());
    if (tools)
        json_object_set_new(context, "tools", tools);
    *out = context;
    if (!source)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s is a base model: it has no chat template", loaded->name);
    if (tools && !pn_answer_takes_tools(source))
        return pn_fail(err, PANTRY_UNSUPPORTED, "tools: %s does not support tools", loaded->name);
    return effort ? set_effort(source, effort, context, err) : PANTRY_OK;
}
