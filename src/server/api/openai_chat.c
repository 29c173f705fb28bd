/* OpenAI's API: chat completions. */
#include "server/api/openai.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

static const struct pn_openai_field chat_fields[] = {
    {"model", PN_FIELD_READ, NULL},
    {"messages", PN_FIELD_READ, NULL},
    {"lora", PN_FIELD_READ, NULL},
    {"stream", PN_FIELD_READ, NULL},
    {"stream_options", PN_FIELD_READ, NULL},
    {"n", PN_FIELD_READ, NULL},
    {"max_tokens", PN_FIELD_READ, NULL},
    {"max_completion_tokens", PN_FIELD_READ, NULL},
    {"temperature", PN_FIELD_READ, NULL},
    {"top_p", PN_FIELD_READ, NULL},
    {"frequency_penalty", PN_FIELD_READ, NULL},
    {"presence_penalty", PN_FIELD_READ, NULL},
    {"seed", PN_FIELD_READ, NULL},
    {"stop", PN_FIELD_READ, NULL},
    {"logit_bias", PN_FIELD_READ, NULL},
    {"logprobs", PN_FIELD_READ, NULL},
    {"top_logprobs", PN_FIELD_READ, NULL},
    {"tools", PN_FIELD_READ, NULL},
    {"tool_choice", PN_FIELD_READ, NULL},
    {"parallel_tool_calls", PN_FIELD_READ, NULL},
    {"reasoning_effort", PN_FIELD_READ, NULL},
    {"response_format", PN_FIELD_READ, NULL},
    /* not OpenAI's, but of other local engines */
    PN_SAMPLER_FIELDS(PN_OPENAI_READ){"grammar", PN_FIELD_READ, NULL},
    {"regex", PN_FIELD_READ, NULL},
    {"json_schema", PN_FIELD_READ, NULL},
    {"chat_template_kwargs", PN_FIELD_READ, NULL},
    {"return_progress", PN_FIELD_READ, NULL},
    {"reasoning_control", PN_FIELD_IGNORED, NULL}, /* llama.cpp asks for it before; here it always works */
    {"metadata", PN_FIELD_IGNORED, NULL},
    {"prediction", PN_FIELD_IGNORED, NULL},
    {"prompt_cache_key", PN_FIELD_IGNORED, NULL},
    {"prompt_cache_options", PN_FIELD_IGNORED, NULL},
    {"prompt_cache_retention", PN_FIELD_IGNORED, NULL},
    {"safety_identifier", PN_FIELD_IGNORED, NULL},
    {"service_tier", PN_FIELD_IGNORED, NULL},
    {"store", PN_FIELD_IGNORED, NULL},
    {"user", PN_FIELD_IGNORED, NULL},
    {"audio", PN_FIELD_REFUSED, NULL},
    {"function_call", PN_FIELD_REFUSED, NULL},
    {"functions", PN_FIELD_REFUSED, "[]"},
    {"modalities", PN_FIELD_REFUSED, "[\"text\"]"},
    {"moderation", PN_FIELD_REFUSED, NULL},
    {"verbosity", PN_FIELD_REFUSED, "\"medium\""},
    {"web_search_options", PN_FIELD_REFUSED, NULL},
    {0},
};

static const char chunk_object[] = "chat.completion.chunk";

/* ---- replies ---- */

static const char *finish_reason(const struct pn_openai_choice *c)
{
    return c->made.stats.stop == PANTRY_STOP_LENGTH ? "length" : c->made.n_calls ? "tool_calls" : "stop";
}

/* `tokens` may be NULL. */
static json_t *logprobs_json(json_t *tokens)
{
    return tokens ? json_pack("{s:O, s:n}", "content", tokens, "refusal") : json_null();
}

/* Takes `delta` over. */
static bool write_chunk(struct pn_openai_choice *c, json_t *delta, json_t *logprobs, const char *finish)
{
    json_t *v = pn_openai_object(c->call, chunk_object);
    json_object_set_new(v, "choices",
                        json_pack("[{s:i, s:o, s:o, s:s?}]", "index", c->index, "delta", delta, "logprobs",
                                  logprobs_json(logprobs), "finish_reason", finish));
    if (c->call->include_usage)
        json_object_set_new(v, "usage", json_null());
    return pn_write_event(c->call->x, NULL, v);
}

static void begin(struct pn_openai_choice *c)
{
    pn_openai_begin(c->call);
    if (!c->begun)
        write_chunk(c, json_pack("{s:s, s:s, s:n}", "role", "assistant", "content", "", "refusal"), NULL, NULL);
    c->begun = true;
}

static bool stream_delta(struct pn_openai_choice *c, const struct pn_delta *d)
{
    begin(c);
    switch (d->kind) {
    case PN_DELTA_CONTENT:
        return write_chunk(c, json_pack("{s:o}", "content", pn_json_text(d->text, d->len)), d->logprobs, NULL);
    case PN_DELTA_REASONING:
        return write_chunk(c, json_pack("{s:o}", "reasoning_content", pn_json_text(d->text, d->len)), NULL, NULL);
    case PN_DELTA_TOOL_CALL: {
        json_t *call = pn_openai_tool_call(d);
        json_object_set_new(call, "index", json_integer((json_int_t)json_array_size(c->calls)));
        json_array_append(c->calls, call);
        return write_chunk(c, json_pack("{s:[o]}", "tool_calls", call), NULL, NULL);
    }
    case PN_DELTA_PROGRESS:
        return pn_openai_progress(c, chunk_object, d);
    case PN_DELTA_WAIT:
        break;
    }
    return pn_openai_ping(c->call);
}

static bool on_delta(void *user, const struct pn_delta *d)
{
    struct pn_openai_choice *c = user;
    pthread_mutex_lock(&c->call->lock);
    bool wanted = c->call->stream ? stream_delta(c, d) : pn_openai_keep(c, d);
    pthread_mutex_unlock(&c->call->lock);
    wanted = wanted && !atomic_load(&c->call->failed);
    return wanted && !(d->kind == PN_DELTA_TOOL_CALL && c->call->one_tool_call);
}

static void on_done(struct pn_openai_choice *c)
{
    if (!c->call->stream)
        return;
    pthread_mutex_lock(&c->call->lock);
    begin(c);
    write_chunk(c, json_object(), NULL, finish_reason(c));
    pthread_mutex_unlock(&c->call->lock);
}

static json_t *choice_json(struct pn_openai_choice *c)
{
    bool has_calls = json_array_size(c->calls) > 0;
    const char *text = c->content.data ? c->content.data : "";
    json_t *content = has_calls && !c->content.len ? json_null() : pn_json_text(text, c->content.len);
    json_t *message = json_pack("{s:s, s:o, s:n}", "role", "assistant", "content", content, "refusal");
    if (c->reasoning.len)
        json_object_set_new(message, "reasoning_content", pn_json_text(c->reasoning.data, c->reasoning.len));
    if (has_calls)
        json_object_set(message, "tool_calls", c->calls);
    return json_pack("{s:i, s:o, s:o, s:s}", "index", c->index, "message", message, "logprobs",
                     logprobs_json(c->logprobs), "finish_reason", finish_reason(c));
}

static void finish(struct pn_openai_call *call)
{
    if (call->stream) {
        pn_openai_end_stream(call, chunk_object);
        return;
    }
    json_t *v = pn_openai_object(call, "chat.completion"), *choices = json_array();
    for (size_t i = 0; i < call->n_choices; i++)
        json_array_append_new(choices, choice_json(&call->choices[i]));
    json_object_set_new(v, "choices", choices);
    json_object_set_new(v, "usage", pn_openai_usage(call));
    pn_reply_json(call->x, 200, v);
}

/* ---- requests ---- */

static pantry_status read_prompt(struct pn_openai_call *call, struct pantry_error *err)
{
    json_t *given = NULL, *messages = json_array(), *tools = NULL, *more = NULL;
    const char *effort = NULL;
    struct pn_tool_rules rules = {0};
    pantry_status status = pn_json_array(call->body, "messages", &given, err);
    if (!status)
        status = pn_openai_messages(given, messages, err);
    if (!status)
        status = pn_openai_tools(call->body, true, &tools, &rules, err);
    if (!status)
        status = pn_json_string(call->body, "reasoning_effort", &effort, err);
    if (!status)
        status = pn_json_object(call->body, "chat_template_kwargs", &more, err);
    if (!status)
        status =
            pn_openai_context(call->loaded, messages, json_incref(tools), effort, more, &call->answer.context, err);
    else
        json_decref(messages);
    if (!status)
        status = pn_openai_rule(call, tools, &rules, err);
    json_decref(tools);
    json_decref(rules.strict);
    return status;
}

static pantry_status read_form(struct pn_openai_call *call, struct pantry_error *err)
{
    const json_t *format = json_object_get(call->body, "response_format");
    pantry_status status = pn_openai_format(format, "response_format", false, &call->grammar, err);
    return status ? status : pn_guide_fields(call->body, &call->grammar, err);
}

static pantry_status read_logprobs(struct pn_openai_call *call, struct pantry_error *err)
{
    struct pn_answer_options *o = &call->answer;
    pantry_status status = pn_json_bool(call->body, "logprobs", &o->logprobs, err);
    if (!status)
        status = pn_json_int(call->body, "top_logprobs", 0, PN_OPENAI_MAX_TOP, &o->top_logprobs, err);
    if (!status && o->top_logprobs && !o->logprobs)
        status = pn_fail(err, PANTRY_INVALID, "top_logprobs: only allowed with logprobs");
    return status;
}

static pantry_status read_chat(struct pn_openai_call *call, struct pantry_error *err)
{
    bool parallel = true;
    int most = 0;
    pantry_status status = pn_openai_open(call, chat_fields, "chatcmpl-", err);
    if (!status)
        status = pn_json_int(call->body, "max_tokens", 1, 1 << 24, &most, err);
    if (!status)
        status = pn_json_int(call->body, "max_completion_tokens", 1, 1 << 24, &most, err);
    if (!status)
        status = pn_json_bool(call->body, "parallel_tool_calls", &parallel, err);
    if (!status)
        status = read_form(call, err);
    if (!status)
        status = read_logprobs(call, err);
    if (!status)
        status = pn_openai_read_progress(call, err);
    if (!status)
        status = read_prompt(call, err);
    if (most)
        call->answer.max_tokens = most;
    call->answer.delta = on_delta;
    call->one_tool_call = !parallel;
    return status ? status : pn_openai_choices(call, (size_t)call->n, err);
}

void pn_openai_chat(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_openai_call call = {.server = s, .x = x, .body = body, .prompt = "messages"};
    struct pantry_error err = {0};
    (void)tail;
    pantry_status status = read_chat(&call, &err);
    if (!status)
        status = pn_openai_make(&call, on_done, &err);
    if (status)
        pn_openai_end_failed(&call, &err);
    else
        finish(&call);
    pn_openai_close(&call);
}
