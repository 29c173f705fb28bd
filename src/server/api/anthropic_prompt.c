/* What a request of Anthropic's API gives the chat template, besides its messages: the system text, tools, thinking. */
#include "base/status.h"
#include "server/api/anthropic.h"

#include <stdio.h>
#include <string.h>

static bool is(const json_t *v, const char *text)
{
    const char *s = json_string_value(v);
    return s && strcmp(s, text) == 0;
}

/* ---- tools ---- */

static bool is_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    return n && n <= 128 && strspn(name, allowed) == n;
}

static bool has_tool(const json_t *list, const char *name)
{
    size_t i;
    json_t *tool;
    json_array_foreach((json_t *)(uintptr_t)list, i, tool)
    {
        if (is(json_object_get(json_object_get(tool, "function"), "name"), name))
            return true;
    }
    return false;
}

static bool only_direct(const json_t *callers)
{
    return !callers || (json_array_size(callers) == 1 && is(json_array_get(callers, 0), "direct"));
}

/* Arguments come in one piece, so that eager_input_streaming changes nothing. */
static pantry_status read_tool(const json_t *given, const char *where, json_t *list, json_t *are_strict,
                               struct pantry_error *err)
{
    static const char *const fields[] = {"type",
                                         "name",
                                         "description",
                                         "input_schema",
                                         "cache_control",
                                         "eager_input_streaming",
                                         "strict",
                                         "allowed_callers",
                                         NULL};
    const json_t *type = json_object_get(given, "type"), *schema = json_object_get(given, "input_schema");
    const char *name = json_string_value(json_object_get(given, "name")), *description = NULL;
    bool strict = false;
    if (json_is_string(type) && !is(type, "custom"))
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "%stype: \"%.60s\" is not supported: only tools of the client with an input_schema are", where,
                       json_string_value(type));
    pantry_status status = pn_json_known(given, where, fields, err);
    if (!status)
        status = pn_json_bool(given, "strict", &strict, err);
    if (!status)
        status = pn_json_string(given, "description", &description, err);
    if (status)
        return status;
    if (!is_name(name))
        return pn_fail(err, PANTRY_INVALID, "%sname: 1 to 128 letters, digits, \"_\" and \"-\" are required", where);
    if (!json_is_object(schema) || !is(json_object_get(schema, "type"), "object"))
        return pn_fail(err, PANTRY_INVALID, "%sinput_schema: a JSON schema of the type \"object\" is required", where);
    if (!only_direct(json_object_get(given, "allowed_callers")))
        return pn_fail(err, PANTRY_UNSUPPORTED, "%sallowed_callers: not supported (allowed [\"direct\"])", where);
    if (has_tool(list, name))
        return pn_fail(err, PANTRY_INVALID, "tools: Tool names must be unique (found \"%s\" twice)", name);
    json_t *function = json_pack("{s:s}", "name", name);
    if (description)
        json_object_set_new(function, "description", json_string(description));
    json_object_set(function, "parameters", (json_t *)(uintptr_t)schema);
    json_array_append_new(are_strict, json_boolean(strict));
    json_array_append_new(list, json_pack("{s:s, s:o}", "type", "function", "function", function));
    return PANTRY_OK;
}

static pantry_status read_choice(const json_t *choice, const json_t *list, struct pn_tool_rules *rules,
                                 struct pantry_error *err)
{
    static const char *const fields[] = {"type", "disable_parallel_tool_use", "name", NULL};
    const json_t *type = json_object_get(choice, "type");
    rules->none = is(type, "none");
    rules->required = is(type, "any") || is(type, "tool");
    if (is(type, "tool"))
        rules->name = json_string_value(json_object_get(choice, "name"));
    if (is(type, "tool") && !rules->name)
        return pn_fail(err, PANTRY_INVALID, "tool_choice.tool.name: Field required");
    if (rules->name && !has_tool(list, rules->name))
        return pn_fail(err, PANTRY_INVALID, "tool_choice.name: no tool is named \"%.100s\"", rules->name);
    if (!rules->none && !rules->required && !is(type, "auto"))
        return pn_fail(err, PANTRY_INVALID, "tool_choice.type: \"auto\", \"any\", \"tool\" or \"none\" is required");
    pantry_status status = pn_json_known(choice, "tool_choice.", fields, err);
    return status ? status : pn_json_bool(choice, "disable_parallel_tool_use", &rules->one, err);
}

/* Without a choice of tools the model is not told of them. */
static pantry_status read_tools(const json_t *body, struct pn_anthropic_prompt *out, struct pantry_error *err)
{
    json_t *tools = NULL, *choice = NULL, *list = json_array(), *given;
    size_t i;
    out->rules.strict = json_array();
    pantry_status status = pn_json_array(body, "tools", &tools, err);
    json_array_foreach(tools, i, given)
    {
        char where[40];
        snprintf(where, sizeof where, "tools.%zu.", i);
        if (!status)
            status = read_tool(given, where, list, out->rules.strict, err);
    }
    if (!status)
        status = pn_json_object(body, "tool_choice", &choice, err);
    if (!status && choice && !json_array_size(tools))
        status = pn_fail(err, PANTRY_INVALID, "tool_choice may only be specified while providing tools");
    if (!status && choice)
        status = read_choice(choice, list, &out->rules, err);
    if (!status && json_array_size(list) && !out->rules.none)
        json_object_set(out->context, "tools", list);
    json_decref(list);
    return status;
}

/* ---- thinking ---- */

/* Reasoning ends at its budget; a model that does not think needs none of it. */
static pantry_status read_enabled(const json_t *body, const json_t *thinking, struct pn_anthropic_prompt *out,
                                  struct pantry_error *err)
{
    int budget = 0, most = 0;
    pantry_status status = pn_json_int(thinking, "budget_tokens", 1024, 1 << 24, &budget, err);
    if (!status)
        status = pn_json_int(body, "max_tokens", 0, 1 << 24, &most, err);
    out->think_budget = budget;
    if (!status && !budget)
        status = pn_fail(err, PANTRY_INVALID, "thinking.enabled.budget_tokens: Field required");
    if (!status && most && budget >= most)
        status = pn_fail(err, PANTRY_INVALID, "`max_tokens` must be greater than `thinking.budget_tokens`");
    if (!status && out->continues)
        status = pn_fail(err, PANTRY_INVALID,
                         "messages: an answer with `thinking` cannot continue a message of the assistant");
    return status;
}

static pantry_status read_thinking(const json_t *body, struct pn_anthropic_prompt *out, struct pantry_error *err)
{
    static const char *const fields[] = {"type", "budget_tokens", "display", NULL};
    json_t *thinking = NULL;
    pantry_status status = pn_json_object(body, "thinking", &thinking, err);
    if (!status && thinking)
        status = pn_json_known(thinking, "thinking.", fields, err);
    if (status || !thinking)
        return status;
    const json_t *type = json_object_get(thinking, "type"), *display = json_object_get(thinking, "display");
    bool enabled = is(type, "enabled"), on = enabled || is(type, "adaptive");
    if (!on && !is(type, "disabled"))
        return pn_fail(err, PANTRY_INVALID, "thinking.type: \"enabled\", \"adaptive\" or \"disabled\" is required");
    if (json_is_string(display) && !is(display, "summarized") && !is(display, "omitted"))
        return pn_fail(err, PANTRY_INVALID, "thinking.display: \"summarized\" or \"omitted\" is required");
    out->omits = is(display, "omitted");
    json_object_set_new(out->context, "enable_thinking", json_boolean(on));
    json_object_set_new(out->context, "thinking", json_boolean(on));
    return enabled ? read_enabled(body, thinking, out, err) : PANTRY_OK;
}

/* {"type": "json_schema", "schema": {...}} */
static pantry_status read_format(const json_t *format, struct pn_anthropic_prompt *out, struct pantry_error *err)
{
    static const char *const fields[] = {"type", "schema", "name", NULL};
    if (!format || json_is_null(format))
        return PANTRY_OK;
    if (!is(json_object_get(format, "type"), "json_schema"))
        return pn_fail(err, PANTRY_INVALID, "output_config.format.type: \"json_schema\" is required");
    out->schema = json_object_get(format, "schema");
    if (!json_is_object(out->schema))
        return pn_fail(err, PANTRY_INVALID, "output_config.format.schema: a JSON schema is required");
    return pn_json_known(format, "output_config.format.", fields, err);
}

static pantry_status read_output(const json_t *body, struct pn_anthropic_prompt *out, struct pantry_error *err)
{
    static const char *const fields[] = {"effort", "format", NULL};
    json_t *output = NULL;
    const char *effort = NULL;
    pantry_status status = pn_json_object(body, "output_config", &output, err);
    if (!status && output)
        status = pn_json_known(output, "output_config.", fields, err);
    if (!status && output)
        status = pn_json_string(output, "effort", &effort, err);
    if (!status && effort)
        json_object_set_new(out->context, "reasoning_effort", json_string(effort));
    return status || !output ? status : read_format(json_object_get(output, "format"), out, err);
}

/* ---- all ---- */

pantry_status pn_anthropic_read_prompt(const json_t *body, struct pn_anthropic_prompt *out, struct pantry_error *err)
{
    json_t *list = json_array(), *system = json_object_get(body, "system");
    struct pn_buf text = {0};
    *out = (struct pn_anthropic_prompt){.context = json_pack("{s:o}", "messages", list), .think_budget = -1};
    if (!out->context)
        return pn_no_memory(err, "a prompt");
    pantry_status status = PANTRY_OK;
    if (system && !json_is_null(system))
        status = pn_anthropic_read_text(system, "system", &text, err);
    if (!status && text.failed)
        status = pn_no_memory(err, "a prompt");
    if (!status && text.len)
        json_array_append_new(list,
                              json_pack("{s:s, s:o}", "role", "system", "content", json_stringn(text.data, text.len)));
    pn_buf_free(&text);
    if (!status)
        status = pn_anthropic_read_messages(body, list, &out->continues, err);
    if (!status)
        status = read_tools(body, out, err);
    if (!status)
        status = read_thinking(body, out, err);
    if (!status)
        status = read_output(body, out, err);
    json_object_set_new(out->context, "add_generation_prompt", json_boolean(!out->continues));
    return status;
}
