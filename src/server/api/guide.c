/* Grammars of answers: see guide.h. */
#include "server/api/guide.h"

#include "base/status.h"
#include "server/json.h"

#include <stdlib.h>
#include <string.h>

static const struct pantry_grammar_options *closed(void)
{
    static struct pantry_grammar_options o = {.size = sizeof o, .closed = true};
    return &o;
}

/* A source that is wrong is the client's mistake, as one that is too large. */
static pantry_status blame(pantry_status status, const char *where, struct pantry_error *err)
{
    if (!status)
        return status;
    status = status == PANTRY_FORMAT || status == PANTRY_LIMIT ? PANTRY_INVALID : status;
    err->status = status;
    pn_fail_prefix(err, "%s", where);
    return status;
}

pantry_status pn_guide_schema(const json_t *schema, const char *where, pantry_grammar **out, struct pantry_error *err)
{
    char *text = json_dumps(schema, JSON_ENCODE_ANY);
    if (!text)
        return pn_no_memory(err, "a schema");
    pantry_status status = pantry_grammar_new(PANTRY_GRAMMAR_SCHEMA, text, strlen(text), closed(), out, err);
    free(text);
    return blame(status, where, err);
}

pantry_status pn_guide_object(pantry_grammar **out, struct pantry_error *err)
{
    return pantry_grammar_new(PANTRY_GRAMMAR_JSON_OBJECT, "", 0, NULL, out, err);
}

pantry_status pn_guide_fields(const json_t *body, pantry_grammar **out, struct pantry_error *err)
{
    const char *gbnf = NULL, *regex = NULL;
    json_t *schema = NULL;
    pantry_status status = pn_json_string(body, "grammar", &gbnf, err);
    if (!status)
        status = pn_json_string(body, "regex", &regex, err);
    if (!status)
        status = pn_json_object(body, "json_schema", &schema, err);
    gbnf = gbnf && *gbnf ? gbnf : NULL;
    regex = regex && *regex ? regex : NULL;
    const char *name = gbnf ? "grammar" : regex ? "regex" : "json_schema";
    if (!status && ((gbnf != NULL) + (regex != NULL) + (schema != NULL) + (*out != NULL)) > 1)
        return pn_fail(err, PANTRY_INVALID, "%s: not allowed with another form of the answer", name);
    if (!status && gbnf)
        status = blame(pantry_grammar_new(PANTRY_GRAMMAR_GBNF, gbnf, strlen(gbnf), NULL, out, err), name, err);
    if (!status && regex)
        status = blame(pantry_grammar_new(PANTRY_GRAMMAR_REGEX, regex, strlen(regex), NULL, out, err), name, err);
    if (!status && schema)
        status = pn_guide_schema(schema, name, out, err);
    return status;
}

/* Tools that are not strict take any object. */
static json_t *loosened(const json_t *tools, const json_t *strict)
{
    json_t *copy = json_deep_copy(tools), *tool;
    size_t i;
    json_array_foreach(copy, i, tool)
    {
        if (!json_is_true(json_array_get(strict, i)))
            json_object_del(json_object_get(tool, "function"), "parameters");
    }
    return copy;
}

static bool any_is_true(const json_t *list)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
    {
        if (json_is_true(v))
            return true;
    }
    return false;
}

/* The client's mistake, and about which field. */
static pantry_status blame_tools(pantry_status status, bool required, struct pantry_error *err)
{
    if (status == PANTRY_UNSUPPORTED && strncmp(err->text, "tools", 5) != 0)
        pn_fail_prefix(err, "%s", required ? "tool_choice" : "tools");
    if (status == PANTRY_FORMAT || status == PANTRY_LIMIT)
        err->status = status = PANTRY_INVALID;
    return status;
}

/* The grammar of calls that keep the rules; NULL where nothing has to be kept. */
static pantry_status guide_tools(const struct pn_loaded *loaded, const json_t *tools, const struct pn_tool_rules *rules,
                                 pantry_grammar **out, struct pantry_error *err)
{
    if (!rules->required && !any_is_true(rules->strict))
        return PANTRY_OK;
    json_t *own = rules->required ? json_incref((json_t *)(uintptr_t)tools) : loosened(tools, rules->strict);
    char *text = own ? json_dumps(own, 0) : NULL;
    json_decref(own);
    if (!text)
        return pn_no_memory(err, "tools");
    pantry_status status =
        pantry_grammar_for_tools(loaded->model, text, rules->name, rules->required, !rules->one, out, err);
    free(text);
    return blame_tools(status, rules->required, err);
}

/* The form or calls. Where a schema of a tool that is not strict cannot be expressed, its calls are free. */
static pantry_status form_or_calls(const struct pn_loaded *loaded, const json_t *tools,
                                   const struct pn_tool_rules *rules, const pantry_grammar *form, pantry_grammar **out,
                                   struct pantry_error *err)
{
    pantry_status status = PANTRY_UNSUPPORTED;
    for (int loose = 0; loose < 2 && status && status != PANTRY_NO_MEMORY; loose++) {
        json_t *own = loose ? loosened(tools, rules->strict) : json_incref((json_t *)(uintptr_t)tools);
        char *text = own ? json_dumps(own, 0) : NULL;
        json_decref(own);
        status = text ? pantry_grammar_for_answer(loaded->model, form, text, !rules->one, out, err)
                      : pn_no_memory(err, "tools");
        free(text);
    }
    return blame_tools(status, false, err);
}

pantry_status pn_guide_answer(const struct pn_loaded *loaded, const json_t *tools, const struct pn_tool_rules *rules,
                              pantry_grammar **grammar, struct pantry_error *err)
{
    bool may_call = !rules->none && json_array_size(tools);
    pantry_grammar *form = *grammar;
    if (!form && !may_call)
        return PANTRY_OK;
    *grammar = NULL;
    pantry_status status = !form || (may_call && rules->required)
                               ? guide_tools(loaded, tools, rules, grammar, err) /* a call has no form but its own */
                           : may_call ? form_or_calls(loaded, tools, rules, form, grammar, err)
                                      : pantry_grammar_for_answer(loaded->model, form, NULL, false, grammar, err);
    pantry_grammar_free(form);
    return status;
}
