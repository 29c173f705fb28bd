/* Typed decisions: see decisions.h. Both APIs become a request of pantry_decide, which has the shape of /v1/systemone.
 */
#include "server/api/decisions.h"

#include "base/alloc.h"
#include "base/status.h"
#include "server/api/ollama.h"
#include "server/api/openai.h"
#include "server/api/openai_responses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHERE = 96 };

/* The reply of pantry_decide. */
static pantry_status decide(const struct pn_loaded *l, const struct pn_exchange *x, const json_t *request, json_t **out,
                            struct pantry_error *err)
{
    struct pantry_decide_options o = pantry_decide_options_default();
    char *text = json_dumps(request, JSON_COMPACT), *reply = NULL;
    if (!text)
        return pn_no_memory(err, "a decision");
    o.cache_key = pn_http_owner(x);
    pantry_status status = pantry_decide(l->model, text, &o, &reply, err);
    free(text);
    if (status)
        return status;
    *out = json_loads(reply, 0, NULL);
    pantry_free(reply);
    return *out ? PANTRY_OK : pn_no_memory(err, "a decision");
}

static json_int_t tokens(const json_t *reply, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(reply, "usage"), name));
}

static void count(struct pn_server *s, const json_t *reply)
{
    pn_server_count(s, &(struct pantry_stats){.n_prompt = (int)tokens(reply, "input_tokens"),
                                              .n_cached = (int)tokens(reply, "cached_tokens")});
}

static pantry_status model_of(const json_t *body, const char **model, struct pantry_error *err)
{
    pantry_status status = pn_json_string(body, "model", model, err);
    return status || *model ? status : pn_fail(err, PANTRY_INVALID, "model is required");
}

/* ---- /v1/systemone ---- */

static pantry_status systemone(struct pn_server *s, struct pn_exchange *x, json_t *body, struct pn_loaded **loaded,
                               struct pn_keep_alive *keep, bool *has_keep, struct pantry_error *err)
{
    static const char *const known[] = {"model", "state", "questions", "keep_alive", NULL};
    const json_t *stay = json_object_get(body, "keep_alive");
    const char *model = NULL;
    json_t *reply = NULL;
    pantry_status status = pn_json_known(body, "", known, err);
    if (!status)
        status = model_of(body, &model, err);
    if (!status && stay && !json_is_null(stay)) {
        status = pn_ollama_duration(stay, keep, err);
        *has_keep = true;
    }
    if (!status)
        status = pn_models_hold(s->models, model, loaded, NULL, err);
    if (status)
        return status;
    json_t *request = json_pack("{s:O*, s:O*}", "state", json_object_get(body, "state"), "questions",
                                json_object_get(body, "questions"));
    status = decide(*loaded, x, request, &reply, err);
    json_decref(request);
    if (status)
        return status;
    count(s, reply);
    pn_reply_json(x, 200,
                  json_pack("{s:s, s:O, s:{s:I, s:i}}", "model", model, "answers", json_object_get(reply, "answers"),
                            "usage", "input_tokens", tokens(reply, "input_tokens"), "output_tokens", 0));
    json_decref(reply);
    return PANTRY_OK;
}

void pn_decide_systemone(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_loaded *loaded = NULL;
    struct pn_keep_alive keep;
    struct pantry_error err = {0};
    bool has_keep = false;
    (void)tail;
    if (systemone(s, x, body, &loaded, &keep, &has_keep, &err))
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
    if (loaded)
        pn_models_release(s->models, loaded, has_keep ? &keep : NULL);
}

/* ---- /v1/decisions: questions ---- */

/* Parts of JSON become parts of text. The content may be a string. Caller owns the result. */
static json_t *with_json_as_text(const json_t *content)
{
    if (!json_is_array(content))
        return json_incref((json_t *)(uintptr_t)content);
    json_t *list = json_array(), *part;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)content, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *data = json_object_get(part, "data");
        char *text = type && strcmp(type, "input_json") == 0 && (json_is_object(data) || json_is_array(data))
                         ? json_dumps(data, JSON_COMPACT)
                         : NULL;
        json_array_append_new(list,
                              text ? json_pack("{s:s, s:s}", "type", "input_text", "text", text) : json_incref(part));
        free(text);
    }
    return list;
}

static pantry_status read_instructions(const json_t *question, const char *where, json_t **out,
                                       struct pantry_error *err)
{
    static const char *const types[] = {"input_text", NULL};
    char at[WHERE + 16];
    json_t *content = with_json_as_text(json_object_get(question, "instructions"));
    snprintf(at, sizeof at, "%s.instructions", where);
    pantry_status status =
        content ? pn_openai_text(content, at, types, out, err) : pn_fail(err, PANTRY_INVALID, "%s is required", at);
    json_decref(content);
    if (!status && !json_string_length(*out))
        status = pn_fail(err, PANTRY_INVALID, "%s is required", at);
    return status;
}

/* The text of a choice: a string, or a boolean, which is another choice than the string. */
static const char *choice_text(const json_t *value)
{
    return json_is_boolean(value) ? (json_is_true(value) ? "true" : "false") : json_string_value(value);
}

static pantry_status read_choices(const json_t *question, const char *where, json_t **out, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {
        {"value", PN_FIELD_READ, NULL}, {"description", PN_FIELD_READ, NULL}, {0}};
    json_t *list = NULL, *choice;
    size_t i;
    pantry_status status = pn_json_array(question, "choices", &list, err);
    *out = json_object();
    json_array_foreach(list, i, choice)
    {
        char at[WHERE + 32];
        const char *description = NULL, *value = choice_text(json_object_get(choice, "value"));
        snprintf(at, sizeof at, "%s.choices[%zu].", where, i);
        if (!json_is_object(choice) || !value)
            return pn_fail(err, PANTRY_INVALID, "%svalue is required, as a string or a boolean", at);
        if (!status)
            status = pn_openai_check(choice, fields, at, err);
        if (!status)
            status = pn_json_string(choice, "description", &description, err);
        if (!status && json_object_get(*out, value))
            status = pn_fail(err, PANTRY_INVALID, "%svalue: duplicate \"%.40s\", as the model reads it", at, value);
        if (status)
            return status;
        json_object_set_new(*out, value, description ? json_string(description) : json_null());
    }
    size_t n = json_object_size(*out);
    return n >= 2 && n <= 255
               ? status
               : pn_fail(err, PANTRY_INVALID, "%s.choices: wrong size (found %zu, allowed 2 to 255)", where, n);
}

/* [{"label", "description"}] as texts. */
static pantry_status read_levels(const json_t *question, const char *where, json_t **out, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {
        {"label", PN_FIELD_READ, NULL}, {"description", PN_FIELD_READ, NULL}, {0}};
    json_t *list = NULL, *level;
    size_t i;
    pantry_status status = pn_json_array(question, "levels", &list, err);
    *out = json_array();
    json_array_foreach(list, i, level)
    {
        char at[WHERE + 32];
        const char *description = NULL, *label = NULL;
        snprintf(at, sizeof at, "%s.levels[%zu].", where, i);
        if (!status)
            status = pn_json_string(level, "label", &label, err);
        if (!status && (!label || !*label))
            status = pn_fail(err, PANTRY_INVALID, "%slabel is required", at);
        if (!status)
            status = pn_openai_check(level, fields, at, err);
        if (!status)
            status = pn_json_string(level, "description", &description, err);
        if (status)
            return status;
        json_array_append_new(*out, description ? json_sprintf("%s (%s)", label, description) : json_string(label));
    }
    size_t n = json_array_size(*out);
    return !status && (n < 2 || n > 10)
               ? pn_fail(err, PANTRY_INVALID, "%s.levels: wrong size (found %zu, allowed 2 to 10)", where, n)
               : status;
}

static const struct type {
    const char *name, *engine, *field;
    pantry_status (*read)(const json_t *question, const char *where, json_t **out, struct pantry_error *err);
} question_types[] = {{"predicate", "noul", "", NULL},
                      {"choice", "choice", "choices", read_choices},
                      {"score", "score", "levels", read_levels}};

static const struct type *type_of(const json_t *question)
{
    const char *name = json_string_value(json_object_get(question, "type"));
    for (size_t i = 0; name && i < sizeof question_types / sizeof *question_types; i++)
        if (strcmp(question_types[i].name, name) == 0)
            return &question_types[i];
    return NULL;
}

static pantry_status read_question(json_t *question, const char *where, json_t **out, struct pantry_error *err)
{
    const struct type *type = type_of(question);
    json_t *instructions = NULL, *criteria = NULL;
    const char *name = NULL;
    char at[WHERE + 2];
    if (!type)
        return pn_fail(err, PANTRY_INVALID, "%s.type: unknown (allowed predicate, choice, score)", where);
    const struct pn_openai_field fields[] = {{"type", PN_FIELD_READ, NULL},
                                             {"name", PN_FIELD_READ, NULL},
                                             {"instructions", PN_FIELD_READ, NULL},
                                             {type->field, PN_FIELD_READ, NULL},
                                             {0}};
    snprintf(at, sizeof at, "%s.", where);
    pantry_status status = pn_openai_check(question, fields, at, err);
    if (!status)
        status = pn_json_string(question, "name", &name, err);
    if (!status)
        status = read_instructions(question, where, &instructions, err);
    if (!status && type->read)
        status = type->read(question, where, &criteria, err);
    if (!status)
        *out = json_pack("{s:s, s:O, s:O*}", "type", type->engine, "instructions", instructions, "criteria", criteria);
    json_decref(instructions);
    json_decref(criteria);
    return status;
}

/* An object whose names are the questions' numbers. */
static pantry_status read_questions(const json_t *body, json_t **out, struct pantry_error *err)
{
    json_t *list = NULL, *question, *read = NULL;
    size_t i;
    pantry_status status = pn_json_array(body, "questions", &list, err);
    if (!status && (json_array_size(list) < 1 || json_array_size(list) > 400))
        status =
            pn_fail(err, PANTRY_INVALID, "questions: wrong size (found %zu, allowed 1 to 400)", json_array_size(list));
    *out = json_object();
    json_array_foreach(list, i, question)
    {
        char where[WHERE], number[24];
        snprintf(where, sizeof where, "questions[%zu]", i);
        snprintf(number, sizeof number, "%zu", i);
        if (!status)
            status = read_question(question, where, &read, err);
        if (!status)
            json_object_set_new(*out, number, read);
    }
    return status;
}

/* ---- /v1/decisions: input and answers ---- */

static pantry_status read_input(const json_t *body, json_t *request, struct pantry_error *err)
{
    json_t *input = json_object_get(body, "input"), *items, *messages, *item;
    size_t i;
    if (json_is_string(input) && json_string_length(input)) {
        json_object_set(request, "state", input);
        return PANTRY_OK;
    }
    if (!json_array_size(input))
        return pn_fail(err, PANTRY_INVALID, "input is required, as a text or a list of items");
    items = json_array();
    messages = json_array();
    json_array_foreach(input, i, item)
    {
        json_t *copy = json_copy(item);
        static const char *const parts[] = {"content", "output"};
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
            if (json_object_get(item, parts[k]))
                json_object_set_new(copy, parts[k], with_json_as_text(json_object_get(item, parts[k])));
        json_array_append_new(items, copy);
    }
    pantry_status status = pn_openai_items(items, messages, err);
    json_object_set_new(request, "messages", messages);
    json_decref(items);
    return status;
}

static json_t *probabilities_json(const json_t *question, const json_t *answer, bool choice)
{
    json_t *list = json_array(), *given, *all = json_object_get(answer, "probabilities");
    size_t i;
    json_array_foreach(json_object_get(question, choice ? "choices" : "levels"), i, given)
    {
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        json_t *value = json_object_get(given, choice ? "value" : "label");
        json_t *p = json_object_get(all, choice ? choice_text(value) : number);
        json_array_append_new(list,
                              choice ? json_pack("{s:O, s:O}", "value", value, "probability", p)
                                     : json_pack("{s:O, s:i, s:O}", "label", value, "value", (int)i, "probability", p));
    }
    return list;
}

static json_t *answer_json(const json_t *question, const json_t *answer)
{
    const struct type *type = type_of(question);
    json_t *name = json_object_get(question, "name"), *given;
    json_t *v = json_pack("{s:s, s:O?}", "type", type->name, "name", json_is_null(name) ? NULL : name);
    size_t i;
    if (!type->read) {
        json_object_set(v, "probability", json_object_get(answer, "noul"));
        return v;
    }
    bool choice = type->read == read_choices;
    json_object_set(v, "confidence", json_object_get(answer, "confidence"));
    json_object_set_new(v, "probabilities", probabilities_json(question, answer, choice));
    if (!choice)
        json_object_set(v, "score", json_object_get(answer, "score"));
    json_array_foreach(json_object_get(question, "choices"), i, given)
    {
        json_t *value = json_object_get(given, "value");
        if (choice && strcmp(choice_text(value), json_string_value(json_object_get(answer, "choice"))) == 0)
            json_object_set(v, "choice", value);
    }
    return v;
}

static void reply_openai(struct pn_exchange *x, const json_t *body, const json_t *reply)
{
    json_t *answers = json_array(), *question;
    json_int_t n = tokens(reply, "input_tokens");
    size_t i;
    json_array_foreach(json_object_get(body, "questions"), i, question)
    {
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        json_array_append_new(answers,
                              answer_json(question, json_object_get(json_object_get(reply, "answers"), number)));
    }
    pn_reply_json(x, 200,
                  json_pack("{s:O, s:o, s:{s:I, s:{s:I, s:i}, s:i, s:{s:i}, s:I}}", "model",
                            json_object_get(body, "model"), "answers", answers, "usage", "input_tokens", n,
                            "input_tokens_details", "cached_tokens", tokens(reply, "cached_tokens"),
                            "cache_write_tokens", 0, "output_tokens", 0, "output_tokens_details", "reasoning_tokens", 0,
                            "total_tokens", n));
}

static pantry_status openai(struct pn_server *s, struct pn_exchange *x, json_t *body, struct pn_loaded **loaded,
                            struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {{"model", PN_FIELD_READ, NULL},
                                                    {"input", PN_FIELD_READ, NULL},
                                                    {"questions", PN_FIELD_READ, NULL},
                                                    {"prompt_cache_key", PN_FIELD_IGNORED, NULL},
                                                    {"prompt_cache_options", PN_FIELD_IGNORED, NULL},
                                                    {"safety_identifier", PN_FIELD_IGNORED, NULL},
                                                    {0}};
    json_t *request = json_object(), *questions = NULL, *reply = NULL;
    const char *model = NULL;
    pantry_status status = pn_openai_check(body, fields, "", err);
    if (!status)
        status = model_of(body, &model, err);
    if (!status)
        status = read_input(body, request, err);
    if (!status)
        status = read_questions(body, &questions, err);
    json_object_set_new(request, "questions", questions);
    if (!status)
        status = pn_models_hold(s->models, model, loaded, NULL, err);
    if (!status)
        status = decide(*loaded, x, request, &reply, err);
    json_decref(request);
    if (status)
        return status;
    count(s, reply);
    reply_openai(x, body, reply);
    json_decref(reply);
    return PANTRY_OK;
}

void pn_decide_openai(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_loaded *loaded = NULL;
    struct pantry_error err = {0};
    (void)tail;
    if (openai(s, x, body, &loaded, &err))
        pn_openai_fail(x, &err, "input");
    if (loaded)
        pn_models_release(s->models, loaded, NULL);
}
