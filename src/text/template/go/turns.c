/* Variables and turns of Ollama's templates: see turns.h. */
#include "text/template/go/turns.h"

#include "base/alloc.h"

#include <string.h>

/* ---- messages ---- */

static const char *role_of(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role ? role : "";
}

static const char *content_of(const json_t *message)
{
    const char *text = json_string_value(json_object_get(message, "content"));
    return text ? text : "";
}

/* Text, or the texts among parts. */
static json_t *text_of(const json_t *content)
{
    struct pn_buf out = {0};
    size_t i;
    json_t *part;
    if (json_is_string(content))
        return json_incref((json_t *)(uintptr_t)content);
    json_array_foreach(content, i, part)
    {
        const char *text = json_string_value(json_object_get(part, "text"));
        pn_buf_puts(&out, text ? text : "");
    }
    json_t *v = json_stringn(out.data ? out.data : "", out.len);
    pn_buf_free(&out);
    return v;
}

/* Arguments that came as a text are the object in it. */
static json_t *calls_of(const json_t *calls)
{
    json_t *list = json_array(), *given;
    size_t i;
    json_array_foreach(calls, i, given)
    {
        json_t *call = json_copy(given), *function = json_copy(json_object_get(given, "function"));
        const char *text = json_string_value(json_object_get(function, "arguments"));
        json_t *arguments = text ? json_loads(text, 0, NULL) : NULL;
        if (arguments)
            json_object_set_new(function, "arguments", arguments);
        json_object_set_new(function, "index", json_integer((json_int_t)i));
        json_object_set_new(call, "function", function);
        json_array_append_new(list, call);
    }
    return list;
}

static json_t *message_of(const json_t *given)
{
    json_t *m = json_copy((json_t *)(uintptr_t)given), *v;
    json_object_set_new(m, "content", text_of(json_object_get(given, "content")));
    if ((v = json_object_get(m, "reasoning_content")) && !json_object_get(m, "thinking"))
        json_object_set(m, "thinking", v);
    if ((v = json_object_get(m, "name")) && !json_object_get(m, "tool_name"))
        json_object_set(m, "tool_name", v);
    if ((v = json_object_get(m, "tool_calls")))
        json_object_set_new(m, "tool_calls", calls_of(v));
    return m;
}

/* Joins two texts with an empty line between them. */
static json_t *joined(const char *a, const char *b)
{
    return json_sprintf("%s%s%s", a, *a && *b ? "\n\n" : "", b);
}

/* Messages of one role in a row are one, except for results of tools. */
static json_t *collate(const json_t *messages)
{
    json_t *list = json_array(), *given;
    size_t i;
    json_array_foreach(messages, i, given)
    {
        json_t *last = json_array_get(list, json_array_size(list) - 1), *m = message_of(given);
        if (last && strcmp(role_of(last), role_of(m)) == 0 && strcmp(role_of(m), "tool") != 0) {
            json_object_set_new(last, "content", joined(content_of(last), content_of(m)));
            json_decref(m);
        } else {
            json_array_append_new(list, m);
        }
    }
    return list;
}

static json_t *system_of(const json_t *messages)
{
    json_t *all = json_string(""), *m;
    size_t i;
    json_array_foreach(messages, i, m)
    {
        if (strcmp(role_of(m), "system") != 0)
            continue;
        json_t *more = joined(json_string_value(all), content_of(m));
        json_decref(all);
        all = more;
    }
    return all;
}

/* ---- turns ---- */

void pn_go_turns_start(struct pn_go_turns *turns, const json_t *context, bool at_once)
{
    const json_t *think = json_object_get(context, "enable_thinking"), *tools = json_object_get(context, "tools");
    const json_t *level = json_object_get(context, "reasoning_effort");
    *turns = (struct pn_go_turns){.at_once = at_once};
    turns->messages = collate(json_object_get(context, "messages"));
    turns->shared = json_pack("{s:s, s:b, s:b, s:s}", "Response", "", "Think", json_is_true(think), "IsThinkSet",
                              think != NULL, "ThinkLevel", json_is_string(level) ? json_string_value(level) : "");
    if (json_array_size(tools))
        json_object_set(turns->shared, "Tools", (json_t *)(uintptr_t)tools);
}

/* Up to one message of the system, the user and the assistant each. */
static json_t *next_turn(struct pn_go_turns *turns)
{
    json_t *root = json_copy(turns->shared);
    const char *prompt = "", *response = "", *system = "";
    size_t n = json_array_size(turns->messages);
    for (; turns->at < n; turns->at++) {
        const json_t *m = json_array_get(turns->messages, turns->at);
        const char *role = role_of(m), *text = content_of(m);
        if (strcmp(role, "system") == 0) {
            if (*prompt || *response)
                break;
            system = text;
        } else if (strcmp(role, "user") == 0) {
            if (*response)
                break;
            prompt = text;
        } else if (strcmp(role, "assistant") == 0) {
            response = text;
        }
    }
    json_object_set_new(root, "System", json_string(system));
    json_object_set_new(root, "Prompt", json_string(prompt));
    json_object_set_new(root, "Response", json_string(response));
    turns->last = turns->at >= n;
    return root;
}

json_t *pn_go_turns_next(struct pn_go_turns *turns)
{
    if (turns->last || !turns->shared)
        return NULL;
    if (!turns->at_once)
        return next_turn(turns);
    json_t *root = json_copy(turns->shared);
    json_object_set_new(root, "System", system_of(turns->messages));
    json_object_set(root, "Messages", turns->messages);
    turns->last = true;
    return root;
}

void pn_go_turns_end(struct pn_go_turns *turns)
{
    json_decref(turns->shared);
    json_decref(turns->messages);
}
