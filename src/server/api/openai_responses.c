/* OpenAI's API: responses. */
#include "server/api/openai_responses.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

static const struct pn_openai_field response_fields[] = {
    {"model", PN_FIELD_READ, NULL},
    {"input", PN_FIELD_READ, NULL},
    {"instructions", PN_FIELD_READ, NULL},
    {"previous_response_id", PN_FIELD_READ, NULL},
    {"stream", PN_FIELD_READ, NULL},
    {"stream_options", PN_FIELD_READ, NULL},
    {"max_output_tokens", PN_FIELD_READ, NULL},
    {"temperature", PN_FIELD_READ, NULL},
    {"top_p", PN_FIELD_READ, NULL},
    {"tools", PN_FIELD_READ, NULL},
    {"tool_choice", PN_FIELD_READ, NULL},
    {"parallel_tool_calls", PN_FIELD_READ, NULL},
    {"reasoning", PN_FIELD_READ, NULL},
    {"text", PN_FIELD_READ, NULL},
    {"include", PN_FIELD_READ, NULL},
    {"top_logprobs", PN_FIELD_READ, NULL},
    {"metadata", PN_FIELD_READ, NULL},
    {"store", PN_FIELD_READ, NULL},
    {"user", PN_FIELD_READ, NULL},
    /* not OpenAI's, but of other local engines */
    {"seed", PN_FIELD_READ, NULL},
    PN_SAMPLER_FIELDS(PN_OPENAI_READ){"max_tool_calls", PN_FIELD_IGNORED, NULL}, /* of tools that OpenAI runs itself */
    {"prompt_cache_key", PN_FIELD_IGNORED, NULL},
    {"prompt_cache_options", PN_FIELD_IGNORED, NULL},
    {"prompt_cache_retention", PN_FIELD_IGNORED, NULL},
    {"safety_identifier", PN_FIELD_IGNORED, NULL},
    {"service_tier", PN_FIELD_IGNORED, NULL},
    {"access_programs", PN_FIELD_REFUSED, NULL},
    {"background", PN_FIELD_REFUSED, "false"},
    {"background_options", PN_FIELD_REFUSED, NULL},
    {"context_management", PN_FIELD_REFUSED, "[]"},
    {"conversation", PN_FIELD_REFUSED, NULL},
    {"image", PN_FIELD_REFUSED, NULL},
    {"moderation", PN_FIELD_REFUSED, NULL},
    {"prompt", PN_FIELD_REFUSED, NULL},
    {"truncation", PN_FIELD_REFUSED, "\"disabled\""},
    {0},
};

static const struct pn_openai_field count_fields[] = {
    {"model", PN_FIELD_READ, NULL},
    {"input", PN_FIELD_READ, NULL},
    {"instructions", PN_FIELD_READ, NULL},
    {"previous_response_id", PN_FIELD_READ, NULL},
    {"tools", PN_FIELD_READ, NULL},
    {"tool_choice", PN_FIELD_READ, NULL},
    {"parallel_tool_calls", PN_FIELD_READ, NULL},
    {"reasoning", PN_FIELD_READ, NULL},
    {"text", PN_FIELD_READ, NULL},
    {"conversation", PN_FIELD_REFUSED, NULL},
    {"personality", PN_FIELD_REFUSED, NULL},
    {"truncation", PN_FIELD_REFUSED, "\"disabled\""},
    {0},
};

/* ---- fields ---- */

static pantry_status read_reasoning(json_t *body, const char **effort, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {{"effort", PN_FIELD_READ, NULL},
                                                    {"summary", PN_FIELD_REFUSED, "\"auto\""},
                                                    {"generate_summary", PN_FIELD_REFUSED, "\"auto\""},
                                                    {"context", PN_FIELD_REFUSED, "\"auto\""},
                                                    {"mode", PN_FIELD_REFUSED, "\"standard\""},
                                                    {0}};
    json_t *reasoning = NULL;
    pantry_status status = pn_json_object(body, "reasoning", &reasoning, err);
    if (status || !reasoning)
        return status;
    status = pn_openai_check(reasoning, fields, "reasoning.", err);
    return status ? status : pn_json_string(reasoning, "effort", effort, err);
}

static pantry_status read_text(json_t *body, pantry_grammar **grammar, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {
        {"format", PN_FIELD_READ, NULL}, {"verbosity", PN_FIELD_REFUSED, "\"medium\""}, {0}};
    json_t *text = NULL;
    pantry_status status = pn_json_object(body, "text", &text, err);
    if (status || !text)
        return status;
    status = pn_openai_check(text, fields, "text.", err);
    return status ? status : pn_openai_format(json_object_get(text, "format"), "text.format", true, grammar, err);
}

/* What OpenAI's own tools would add is never there. */
static pantry_status read_include(struct pn_openai_response *r, struct pantry_error *err)
{
    struct pn_answer_options *o = &r->call.answer;
    const char *names[32];
    size_t n = 0;
    pantry_status status = pn_json_strings(r->call.body, "include", sizeof names / sizeof *names, names, &n, err);
    for (size_t i = 0; i < n && !status; i++) {
        o->logprobs = o->logprobs || strcmp(names[i], "message.output_text.logprobs") == 0;
        r->encrypted = r->encrypted || strcmp(names[i], "reasoning.encrypted_content") == 0;
    }
    if (!status)
        status = pn_json_int(r->call.body, "top_logprobs", 0, PN_OPENAI_MAX_TOP, &o->top_logprobs, err);
    o->logprobs = o->logprobs || o->top_logprobs;
    return status;
}

/* ---- the prompt ---- */

/* All input items: those of the response before this one, then those of the request. */
static pantry_status gather_items(struct pn_openai_response *r, struct pantry_error *err)
{
    json_t *input = json_object_get(r->call.body, "input");
    const char *previous = NULL;
    pantry_status status = pn_json_string(r->call.body, "previous_response_id", &previous, err);
    if (status)
        return status;
    r->items = previous ? pn_openai_kept_items(r->call.x, previous) : json_array();
    if (!r->items) {
        r->previous_is_missing = true;
        return pn_fail(err, PANTRY_INVALID, "previous_response_id: response '%.60s' not found", previous);
    }
    if (json_is_string(input))
        json_array_append_new(r->items,
                              json_pack("{s:s, s:s, s:O}", "type", "message", "role", "user", "content", input));
    else if (json_is_array(input))
        json_array_extend(r->items, input);
    else if (input && !json_is_null(input))
        return pn_fail(err, PANTRY_INVALID, "input: wrong type (allowed a string or a list of items)");
    if (!json_array_size(r->items))
        return pn_fail(err, PANTRY_INVALID, "input is required");
    return PANTRY_OK;
}

static pantry_status read_prompt(struct pn_openai_response *r, struct pantry_error *err)
{
    struct pn_openai_call *call = &r->call;
    json_t *messages = json_array(), *tools = NULL;
    const char *effort = NULL, *instructions = NULL;
    struct pn_tool_rules rules = {0};
    pantry_status status = pn_json_string(call->body, "instructions", &instructions, err);
    if (!status)
        status = gather_items(r, err);
    if (instructions)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", instructions));
    if (!status)
        status = pn_openai_items(r->items, messages, err);
    if (!status)
        status = pn_openai_tools(call->body, false, &tools, &rules, err);
    if (!status)
        status = read_reasoning(call->body, &effort, err);
    if (!status)
        status = read_text(call->body, &call->grammar, err);
    if (!status)
        status =
            pn_openai_context(call->loaded, messages, json_incref(tools), effort, NULL, &call->answer.context, err);
    else
        json_decref(messages);
    if (!status)
        status = pn_openai_rule(call, tools, &rules, err);
    json_decref(tools);
    json_decref(rules.strict);
    return status;
}

/* ---- making a response ---- */

/* The field of the request, or a default, which it takes over. */
static void echo(json_t *object, const json_t *body, const char *name, json_t *otherwise)
{
    json_t *v = json_object_get(body, name);
    if (v && !json_is_null(v))
        json_object_set(object, name, v);
    else
        json_object_set(object, name, otherwise);
    json_decref(otherwise);
}

static json_t *response_object(const struct pn_openai_response *r)
{
    const struct pn_openai_call *c = &r->call;
    const json_t *reasoning = json_object_get(c->body, "reasoning");
    json_t *v =
        json_pack("{s:s, s:s, s:I, s:s, s:s, s:b, s:n, s:n, s:[], s:n, s:s, s:f, s:f}", "id", c->id, "object",
                  "response", "created_at", c->created, "status", "in_progress", "model", c->model, "background", 0,
                  "error", "incomplete_details", "output", "usage", "truncation", "disabled", "temperature",
                  (double)c->answer.sampling.temperature, "top_p", (double)c->answer.sampling.top_p);
    json_object_set_new(v, "text", json_pack("{s:{s:s}}", "format", "type", "text"));
    json_object_set_new(v, "reasoning",
                        json_pack("{s:O?, s:n}", "effort", json_object_get(reasoning, "effort"), "summary"));
    echo(v, c->body, "instructions", json_null());
    echo(v, c->body, "max_output_tokens", json_null());
    echo(v, c->body, "metadata", json_object());
    echo(v, c->body, "parallel_tool_calls", json_true());
    echo(v, c->body, "previous_response_id", json_null());
    echo(v, c->body, "tool_choice", json_string("auto"));
    echo(v, c->body, "tools", json_array());
    echo(v, c->body, "top_logprobs", json_integer(0));
    echo(v, c->body, "user", json_null());
    return v;
}

static bool on_delta(void *user, const struct pn_delta *d)
{
    const struct pn_openai_choice *c = user;
    bool wanted = pn_openai_output_take((struct pn_openai_response *)c->call, d);
    return wanted && !(d->kind == PN_DELTA_TOOL_CALL && c->call->one_tool_call);
}

static void on_done(struct pn_openai_choice *c)
{
    (void)c;
}

static pantry_status read_response(struct pn_openai_response *r, const struct pn_openai_field *fields,
                                   struct pantry_error *err)
{
    struct pn_openai_call *call = &r->call;
    bool parallel = true;
    int most = 0;
    r->store = true;
    pantry_status status = pn_openai_open(call, fields, "resp_", err);
    if (!status && call->include_usage)
        status = pn_fail(err, PANTRY_INVALID, "stream_options.include_usage: unknown field");
    if (!status)
        status = pn_json_int(call->body, "max_output_tokens", 1, 1 << 24, &most, err);
    if (!status)
        status = pn_json_bool(call->body, "parallel_tool_calls", &parallel, err);
    if (!status)
        status = pn_json_bool(call->body, "store", &r->store, err);
    if (!status)
        status = read_include(r, err);
    if (!status)
        status = read_prompt(r, err);
    if (most)
        call->answer.max_tokens = most;
    call->answer.delta = on_delta;
    call->one_tool_call = !parallel;
    return status ? status : pn_openai_choices(call, 1, err);
}

static void fail(struct pn_openai_response *r, const struct pantry_error *err)
{
    if (r->call.streaming) {
        json_object_set_new(r->object, "status", json_string("failed"));
        json_object_set_new(r->object, "error",
                            json_pack("{s:s, s:o}", "code", "server_error", "message", pn_error_message(err->text)));
        pn_openai_output_event(r, "response.failed");
        return;
    }
    json_t *v = pn_openai_error(err, r->call.prompt);
    if (r->previous_is_missing)
        json_object_set_new(json_object_get(v, "error"), "code", json_string("previous_response_not_found"));
    pn_reply_json(r->call.x, pn_http_status_of(err->status), v);
}

static void finish(struct pn_openai_response *r)
{
    pn_openai_output_finish(r);
    if (r->store) {
        json_array_extend(r->items, r->output);
        pn_openai_keep_response(r->call.x, r->call.id, r->object, r->items);
    }
    const char *status = json_string_value(json_object_get(r->object, "status"));
    if (!r->call.stream)
        pn_reply_json(r->call.x, 200, json_incref(r->object));
    else
        pn_openai_output_event(r, strcmp(status, "completed") == 0 ? "response.completed" : "response.incomplete");
}

static void close_response(struct pn_openai_response *r)
{
    json_decref(r->object);
    json_decref(r->items);
    json_decref(r->output);
    json_decref(r->logprobs);
    pn_buf_free(&r->text);
    pn_openai_close(&r->call);
}

/* ---- endpoints ---- */

void pn_openai_responses(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_openai_response r = {.call = {.server = s, .x = x, .body = body, .prompt = "input"},
                                   .output = json_array()};
    struct pantry_error err = {0};
    (void)tail;
    pantry_status status = read_response(&r, response_fields, &err);
    if (!status) {
        r.object = response_object(&r);
        status = pn_openai_make(&r.call, on_done, &err);
    }
    if (status)
        fail(&r, &err);
    else
        finish(&r);
    close_response(&r);
}

void pn_openai_count_input(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_openai_response r = {.call = {.server = s, .x = x, .body = body, .prompt = "input"}};
    struct pantry_error err = {0};
    int32_t *ids;
    size_t n;
    (void)tail;
    pantry_status status = read_response(&r, count_fields, &err);
    if (!status)
        status = pn_answer_tokens(r.call.loaded, &r.call.answer, x, &ids, &n, &err);
    if (status) {
        fail(&r, &err);
    } else {
        pantry_free(ids);
        pn_reply_json(x, 200,
                      json_pack("{s:s, s:I}", "object", "response.input_tokens", "input_tokens", (json_int_t)n));
    }
    close_response(&r);
}

static void reply_missing(struct pn_exchange *x, const char *id)
{
    char text[120];
    snprintf(text, sizeof text, "response '%.60s' not found", id);
    pn_reply_json(x, 404, pn_error_json(PN_ERRORS_OPENAI, 404, text));
}

void pn_openai_get_response(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    const char *stream = pn_http_query(x, "stream");
    (void)s, (void)body;
    json_t *v = pn_openai_kept_response(x, tail);
    if (v && stream && strcmp(stream, "false") != 0) {
        struct pantry_error err;
        pn_fail(&err, PANTRY_UNSUPPORTED, "stream: not supported for a response that is complete");
        pn_openai_fail(x, &err, NULL);
        json_decref(v);
        return;
    }
    if (v)
        pn_reply_json(x, 200, v);
    else
        reply_missing(x, tail);
}

void pn_openai_delete_response(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)s, (void)body;
    if (pn_openai_forget_response(x, tail))
        pn_reply_json(x, 200, json_pack("{s:s, s:s, s:b}", "id", tail, "object", "response", "deleted", 1));
    else
        reply_missing(x, tail);
}
