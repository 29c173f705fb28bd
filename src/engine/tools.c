/* The grammar of an answer that calls tools: see pantry_grammar_for_tools. */
#define _POSIX_C_SOURCE 200809L
#include "engine/handle.h"
#include "grammar/schema.h"
#include "text/dialect/call_shape.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 16, MAX_ITEMS = 512 };

struct writing {
    struct pn_expr_builder *b;
    struct pn_call_shape shape;
    const char *name; /* the only tool; NULL: any */
};

static pn_expr text(const struct writing *w, const char *t)
{
    return pn_expr_literal(w->b, t, strlen(t));
}

/* ---- arguments ---- */

/* Any text without `ends` in it. */
static pn_expr plain_text(const struct writing *w)
{
    pn_expr any = pn_expr_repeat(w->b, pn_expr_class(w->b, NULL, 0, true), 0, PN_EXPR_NO_MAX);
    const pn_expr with[] = {any, text(w, w->shape.ends), any};
    return pn_expr_not(w->b, pn_expr_seq(w->b, with, 3));
}

/* A string is written without quotes, so only those constraints on it can be kept that list its values. */
static pn_expr element_value(const struct writing *w, const json_t *schema, const json_t *root, const char *where,
                             struct pantry_error *err, pantry_status *status)
{
    static const char *const constraints[] = {"pattern", "format", "minLength", "maxLength"};
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum"), *v;
    pn_expr items[MAX_ITEMS], out = PN_EXPR_NONE;
    size_t i, n = 0;
    bool is_string = json_is_string(type) && strcmp(json_string_value(type), "string") == 0;
    for (i = 0; is_string && i < sizeof constraints / sizeof *constraints; i++)
        if (json_object_get(schema, constraints[i])) {
            *status = pn_fail(err, PANTRY_UNSUPPORTED, "%s.%s: not supported in this model's format of calls", where,
                              constraints[i]);
            return out;
        }
    json_array_foreach(values, i, v)
    {
        if (is_string && json_is_string(v) && n < MAX_ITEMS)
            items[n++] = text(w, json_string_value(v));
    }
    if (is_string && json_is_array(values))
        return pn_expr_choice(w->b, items, n);
    if (is_string)
        return plain_text(w);
    json_t *whole = json_copy((json_t *)(uintptr_t)schema); /* its references lead to the definitions of the root */
    for (i = 0; i < 2; i++) {
        static const char *const places[] = {"$defs", "definitions"};
        json_t *defs = json_object_get(root, places[i]);
        if (defs && json_is_object(whole) && !json_object_get(whole, places[i]))
            json_object_set(whole, places[i], defs);
    }
    *status = pn_schema_expr(w->b, whole, NULL, &out, err);
    if (*status)
        pn_fail_prefix(err, "%s", where);
    json_decref(whole);
    return out;
}

static bool is_required(const json_t *schema, const char *key)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(schema, "required"), i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), key) == 0)
            return true;
    }
    return false;
}

static pantry_status elements(const struct writing *w, const json_t *schema, const char *tool, pn_expr *out,
                              struct pantry_error *err)
{
    const char *key;
    json_t *property;
    pn_expr items[MAX_ITEMS];
    size_t n = 0;
    pantry_status status = PANTRY_OK;
    json_object_foreach(json_object_get(schema, "properties"), key, property)
    {
        char where[512];
        snprintf(where, sizeof where, "tools: %.100s: properties.%.200s", tool, key);
        if (n == MAX_ITEMS)
            return pn_fail(err, PANTRY_LIMIT, "tools: %.100s: too many properties (allowed %d)", tool, MAX_ITEMS);
        pn_expr value = element_value(w, property, schema, where, err, &status);
        if (status)
            return status;
        const pn_expr parts[] = {text(w, w->shape.key_before), text(w, key), text(w, w->shape.value_before), value,
                                 text(w, w->shape.value_after)};
        pn_expr element = pn_expr_seq(w->b, parts, sizeof parts / sizeof *parts);
        items[n++] = is_required(schema, key) ? element : pn_expr_repeat(w->b, element, 0, 1);
    }
    *out = pn_expr_seq(w->b, items, n);
    return PANTRY_OK;
}

static pantry_status arguments(const struct writing *w, const json_t *schema, const char *tool, pn_expr *out,
                               struct pantry_error *err)
{
    if (w->shape.elements)
        return elements(w, schema, tool, out, err);
    if (!json_is_object(schema) || !json_object_size(schema))
        return pn_schema_any(w->b, true, NULL, out, err);
    struct pantry_error why;
    const struct pn_schema_options options = {.closed = true};
    pantry_status status = pn_schema_expr(w->b, schema, &options, out, &why);
    return status ? pn_fail(err, status, "tools: %.100s: parameters: %.800s", tool, why.text) : PANTRY_OK;
}

/* ---- calls ---- */

static pantry_status call(const struct writing *w, const json_t *function, pn_expr *out, struct pantry_error *err)
{
    const char *name = json_string_value(json_object_get(function, "name"));
    const json_t *parameters = json_object_get(function, "parameters");
    pn_expr inside;
    pantry_status status = arguments(w, parameters, name, &inside, err);
    if (status)
        return status;
    pn_expr written = text(w, name);
    const pn_expr parts[] = {text(w, w->shape.before),
                             w->shape.name_in_json ? pn_expr_json_chars(w->b, written) : written,
                             text(w, w->shape.after), inside, text(w, w->shape.end)};
    *out = pn_expr_seq(w->b, parts, sizeof parts / sizeof *parts);
    return pn_expr_status(w->b, err);
}

static pantry_status any_call(const struct writing *w, const json_t *tools, pn_expr *out, struct pantry_error *err)
{
    size_t i, n = 0;
    json_t *tool;
    pn_expr items[MAX_ITEMS];
    pantry_status status = PANTRY_OK;
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool)
    {
        const json_t *function = json_object_get(tool, "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        if (!name)
            return pn_fail(err, PANTRY_INVALID, "tools[%zu]: a function with a name is required", i);
        if (w->name && strcmp(w->name, name) != 0)
            continue;
        if (n == MAX_ITEMS)
            return pn_fail(err, PANTRY_LIMIT, "tools: too many (allowed %d)", MAX_ITEMS);
        if ((status = call(w, function, &items[n++], err)))
            return status;
    }
    if (!n)
        return pn_fail(err, PANTRY_INVALID, "tool_choice: no tool is named \"%.100s\"", w->name ? w->name : "");
    *out = pn_expr_choice(w->b, items, n);
    return PANTRY_OK;
}

/* What follows the trigger: `whole` without it. The trigger begins every text of the grammar. */
static pn_expr calls(const struct writing *w, pn_expr one, bool parallel)
{
    const struct pn_call_shape *s = &w->shape;
    pn_expr more = PN_EXPR_NONE;
    if (parallel && s->between) {
        const pn_expr next[] = {text(w, s->between), one};
        more = pn_expr_repeat(w->b, pn_expr_seq(w->b, next, 2), 0, PN_EXPR_NO_MAX);
    }
    const pn_expr parts[] = {text(w, s->open), one, more == PN_EXPR_NONE ? pn_expr_empty(w->b) : more,
                             text(w, s->close)};
    return pn_expr_seq(w->b, parts, 4);
}

/* Lazily the trigger has come already: calls begin after it. */
static void drop_trigger(struct pn_call_shape *s)
{
    char *at = *s->open ? s->open : s->before;
    size_t n = strlen(s->trigger);
    memmove(at, at + n, strlen(at + n) + 1);
}

static pantry_status build(const struct writing *given, const json_t *tools, bool required, bool parallel,
                           struct pn_grammar **out, struct pantry_error *err)
{
    struct writing w = *given;
    pn_expr one = PN_EXPR_NONE;
    pantry_status status = pn_expr_builder_new(&w.b, err);
    if (status)
        return status;
    if (!required)
        drop_trigger(&w.shape);
    status = any_call(&w, tools, &one, err);
    pn_expr root = status ? PN_EXPR_NONE : calls(&w, one, parallel && (required || w.shape.list));
    if (!status)
        status = pn_grammar_compile(w.b, root, out, err);
    pn_expr_builder_free(w.b);
    return status;
}

/* ---- the last ones ---- */

static struct {
    pthread_mutex_t lock;
    struct {
        char *key;
        struct pn_grammar *grammar;
        uint64_t used;
    } entry[KEPT];
    uint64_t now;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct pn_grammar *find(const char *key)
{
    struct pn_grammar *found = NULL;
    pthread_mutex_lock(&cache.lock);
    for (int i = 0; i < KEPT && !found; i++)
        if (cache.entry[i].key && strcmp(cache.entry[i].key, key) == 0) {
            cache.entry[i].used = ++cache.now;
            found = pn_grammar_share(cache.entry[i].grammar);
        }
    pthread_mutex_unlock(&cache.lock);
    return found;
}

/* Takes over `key`. */
static void keep(char *key, struct pn_grammar *grammar)
{
    int oldest = 0;
    pthread_mutex_lock(&cache.lock);
    for (int i = 0; i < KEPT; i++)
        oldest = cache.entry[i].used < cache.entry[oldest].used ? i : oldest;
    free(cache.entry[oldest].key);
    pn_grammar_free(cache.entry[oldest].grammar);
    cache.entry[oldest].key = key;
    cache.entry[oldest].grammar = pn_grammar_share(grammar);
    cache.entry[oldest].used = ++cache.now;
    pthread_mutex_unlock(&cache.lock);
}

/* ---- the public call ---- */

static pantry_status make(const struct writing *w, const struct pn_dialect *dialect, const char *tools_json,
                          bool required, bool parallel, struct pn_grammar **out, struct pantry_error *err)
{
    json_error_t e;
    struct pn_buf key = {0};
    pn_buf_printf(&key, "%s %d %d %s\n%s", pn_dialect_name(dialect), required, parallel, w->name ? w->name : "",
                  tools_json);
    if (key.failed)
        return pn_no_memory(err, "a grammar");
    if ((*out = find(key.data))) {
        pn_buf_free(&key);
        return PANTRY_OK;
    }
    json_t *tools = json_loads(tools_json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    pantry_status status = json_is_array(tools) ? PANTRY_OK : pn_fail(err, PANTRY_FORMAT, "tools: not a JSON array");
    if (!status)
        status = build(w, tools, required, parallel, out, err);
    json_decref(tools);
    if (!status)
        keep(pn_buf_take(&key), *out);
    pn_buf_free(&key);
    return status;
}

pantry_status pantry_grammar_for_tools(const pantry_model *model, const char *tools_json, const char *name,
                                       bool required, bool parallel, pantry_grammar **grammar, struct pantry_error *err)
{
    struct pn_str source = model->runner->model->weights->chat_template;
    const struct pn_dialect *dialect = pn_dialect_detect(source.data ? source.data : "", source.len);
    struct writing w = {.name = name};
    *grammar = NULL;
    if (!pn_dialect_call_shape(dialect, &w.shape))
        return pn_fail(err, PANTRY_UNSUPPORTED, "calls of this model cannot be forced (its format is \"%s\")",
                       pn_dialect_name(dialect));
    if (!required && !*w.shape.trigger)
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "calls of this model cannot be strict, since no marker begins them (its format is \"%s\")",
                       pn_dialect_name(dialect));
    struct pantry_grammar *g = calloc(1, sizeof *g);
    if (!g)
        return pn_no_memory(err, "a grammar");
    pantry_status status = make(&w, dialect, tools_json, required, parallel, &g->grammar, err);
    if (!status && !required && !(g->trigger = strdup(w.shape.trigger)))
        status = pn_no_memory(err, "a grammar");
    if (status)
        pantry_grammar_free(g);
    else
        *grammar = g;
    return status;
}
