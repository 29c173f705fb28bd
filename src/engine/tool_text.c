/* Calls of tools as a dialect writes them: see tool_text.h. */
#include "engine/tool_text.h"

#include <string.h>

/* ---- calls ---- */

static pn_expr optional(const struct pn_tool_writer *w, pn_expr e)
{
    return pn_expr_repeat(w->b, e, 0, 1);
}

/* An id that the model makes up. */
static pn_expr any_id(const struct pn_tool_writer *w)
{
    static const struct pn_code_range letters[] = {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};
    return pn_expr_repeat(w->b, pn_expr_class(w->b, letters, sizeof letters / sizeof *letters, false), 1, 24);
}

/* Whether the syntax can tell where the name ends. */
static bool can_be_written(const struct pn_tool_writer *w, const char *name)
{
    if (w->shape.syntax == PN_ARGUMENTS_PYTHON)
        return !strpbrk(name, "([]{}\"', \n");
    if (w->shape.syntax == PN_ARGUMENTS_GEMMA)
        return !strpbrk(name, "{}<> \n");
    return true;
}

static pantry_status call(const struct pn_tool_writer *w, const json_t *function, pn_expr *out,
                          struct pantry_error *err)
{
    const struct pn_call_shape *s = &w->shape;
    const char *name = json_string_value(json_object_get(function, "name"));
    pn_expr inside, parts[8];
    size_t n = 0;
    if (!can_be_written(w, name))
        return pn_fail(err, PANTRY_UNSUPPORTED, "tools: %.100s: a name that this model's format of calls cannot write",
                       name);
    pantry_status status = pn_tool_arguments(w, json_object_get(function, "parameters"), name, &inside, err);
    if (status)
        return status;
    pn_expr written = pn_expr_literal(w->b, name, strlen(name));
    if (w->demanded && *s->lead_after) {
        parts[n++] = pn_tool_marker(w, s->lead);
        parts[n++] = written;
        parts[n++] = pn_tool_marker(w, s->lead_after);
    }
    parts[n++] = pn_tool_marker(w, s->before);
    if (*s->id_after) {
        const pn_expr id[] = {any_id(w), pn_tool_marker(w, s->id_after)};
        parts[n++] = pn_expr_seq(w->b, id, 2);
    }
    parts[n++] = s->name_in_json ? pn_expr_json_chars(w->b, written) : written;
    const pn_expr rest[] = {pn_tool_marker(w, s->after), inside, pn_tool_marker(w, s->end)};
    parts[n++] = pn_expr_seq(w->b, rest, 3);
    *out = pn_expr_seq(w->b, parts, n);
    return pn_expr_status(w->b, err);
}

static pantry_status any_call(const struct pn_tool_writer *w, const json_t *tools, pn_expr *out,
                              struct pantry_error *err)
{
    size_t i, n = 0;
    json_t *tool;
    pn_expr items[PN_MAX_TOOL_ITEMS];
    pantry_status status = PANTRY_OK;
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool)
    {
        const json_t *function = json_object_get(tool, "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        if (!name)
            return pn_fail(err, PANTRY_INVALID, "tools[%zu]: a function with a name is required", i);
        if (w->name && strcmp(w->name, name) != 0)
            continue;
        if (n == PN_MAX_TOOL_ITEMS)
            return pn_fail(err, PANTRY_LIMIT, "tools: too many (allowed %d)", PN_MAX_TOOL_ITEMS);
        if ((status = call(w, function, &items[n++], err)))
            return status;
    }
    if (!n)
        return pn_fail(err, PANTRY_INVALID, "tool_choice: no tool is named \"%.100s\"", w->name ? w->name : "");
    *out = pn_expr_choice(w->b, items, n);
    return PANTRY_OK;
}

/* After the trigger, which has come already: it begins the first text of a call. */
static void drop_trigger(struct pn_call_shape *s)
{
    char *at = *s->open ? s->open : s->before;
    size_t n = strlen(s->trigger);
    memmove(at, at + n, strlen(at + n) + 1);
}

pantry_status pn_tool_calls(const struct pn_tool_writer *given, const json_t *tools, bool parallel, pn_expr *out,
                            struct pantry_error *err)
{
    struct pn_tool_writer w = *given;
    const struct pn_call_shape *s = &w.shape;
    pn_expr one = PN_EXPR_NONE, parts[6];
    size_t n = 0;
    if (!w.demanded)
        drop_trigger(&w.shape);
    pantry_status status = any_call(&w, tools, &one, err);
    if (status)
        return status;
    if (w.demanded && *s->again)
        parts[n++] = optional(&w, pn_tool_marker(&w, s->again));
    if (w.demanded && *s->lead && !*s->lead_after)
        parts[n++] = pn_tool_marker(&w, s->lead);
    parts[n++] = pn_tool_marker(&w, s->open);
    parts[n++] = one;
    if (parallel && s->between && (w.demanded || s->list)) {
        const pn_expr next[] = {pn_tool_marker(&w, s->between), one};
        parts[n++] = pn_expr_repeat(w.b, pn_expr_seq(w.b, next, 2), 0, PN_EXPR_NO_MAX);
    }
    parts[n++] = pn_tool_marker(&w, s->close);
    *out = pn_expr_seq(w.b, parts, n);
    return pn_expr_status(w.b, err);
}
