/* Calls of OpenAI's API that make answers: see openai.h. */
#include "server/api/openai.h"

#include "base/clock.h"
#include "base/status.h"
#include "server/api/lora.h"
#include "server/api/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_WORKERS = 8 };

/* ---- reading ---- */

static pantry_status read_stream(struct pn_openai_call *call, struct pantry_error *err)
{
    static const struct pn_openai_field fields[] = {
        {"include_usage", PN_FIELD_READ, NULL}, {"include_obfuscation", PN_FIELD_IGNORED, NULL}, {0}};
    json_t *options = NULL;
    pantry_status status = pn_json_bool(call->body, "stream", &call->stream, err);
    if (!status)
        status = pn_json_object(call->body, "stream_options", &options, err);
    if (status || !options)
        return status;
    if (!call->stream)
        return pn_fail(err, PANTRY_INVALID, "stream_options: only allowed with stream");
    status = pn_openai_check(options, fields, "stream_options.", err);
    return status ? status : pn_json_bool(options, "include_usage", &call->include_usage, err);
}

/* OpenAI's ranges are narrower than those of the sampler. */
static pantry_status check_ranges(const json_t *body, struct pantry_error *err)
{
    static const struct {
        const char *name;
        double least, most;
    } ranges[] = {{"temperature", 0, 2}, {"frequency_penalty", -2, 2}, {"presence_penalty", -2, 2}};
    pantry_status status = PANTRY_OK;
    float value;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && !status; i++)
        status = pn_json_float(body, ranges[i].name, ranges[i].least, ranges[i].most, &value, err);
    return status;
}

/* A bias is a number; false bans the token, as in llama.cpp, and true forbids all others. */
static pantry_status add_bias(struct pn_openai_call *call, json_int_t id, const json_t *value, struct pantry_error *err)
{
    double bias = json_is_true(value) ? INFINITY : json_is_false(value) ? -INFINITY : json_number_value(value);
    if (id < 0 || id >= call->loaded->info.n_vocab)
        return pn_fail(err, PANTRY_INVALID, "logit_bias: not a token (found %lld, allowed 0 to %d)", (long long)id,
                       call->loaded->info.n_vocab - 1);
    if (!json_is_boolean(value) && (!json_is_number(value) || bias < -100 || bias > 100))
        return pn_fail(err, PANTRY_INVALID, "logit_bias: wrong value (allowed numbers from -100 to 100)");
    call->bias[call->answer.n_logit_bias++] = (struct pantry_logit_bias){.id = (int32_t)id, .bias = (float)bias};
    return PANTRY_OK;
}

/* {"50256": -100}, or as in llama.cpp [[50256, -100], [1, false]]: ids of tokens. */
static pantry_status read_bias(struct pn_openai_call *call, struct pantry_error *err)
{
    json_t *given = json_object_get(call->body, "logit_bias"), *value;
    const char *key;
    size_t i;
    pantry_status status = PANTRY_OK;
    size_t n = json_is_array(given) ? json_array_size(given) : json_object_size(given);
    if (!json_is_array(given))
        status = pn_json_object(call->body, "logit_bias", &given, err);
    if (status || !n)
        return status;
    call->answer.logit_bias = call->bias = calloc(n, sizeof *call->bias);
    if (!call->bias)
        return pn_no_memory(err, "an answer");
    json_array_foreach(given, i, value)
    {
        if (json_array_size(value) != 2 || !json_is_integer(json_array_get(value, 0)))
            return pn_fail(err, PANTRY_INVALID, "logit_bias: wrong entry (allowed [id, bias])");
        if ((status = add_bias(call, json_integer_value(json_array_get(value, 0)), json_array_get(value, 1), err)))
            return status;
    }
    json_object_foreach(given, key, value)
    {
        char *end;
        long id = strtol(key, &end, 10);
        if (end == key || *end)
            return pn_fail(err, PANTRY_INVALID, "logit_bias: not a token (found \"%.20s\", allowed \"0\" to \"%d\")",
                           key, call->loaded->info.n_vocab - 1);
        if ((status = add_bias(call, id, value, err)))
            return status;
    }
    return PANTRY_OK;
}

pantry_status pn_openai_open(struct pn_openai_call *call, const struct pn_openai_field *fields, const char *id_prefix,
                             struct pantry_error *err)
{
    pthread_mutex_init(&call->lock, NULL);
    pn_openai_id(call->id, id_prefix);
    call->created = (json_int_t)time(NULL);
    call->began = pn_clock_ns();
    call->n = 1;
    pantry_status status = pn_openai_check(call->body, fields, "", err);
    if (!status)
        status = pn_json_string(call->body, "model", &call->model, err);
    if (!status && !call->model)
        status = pn_fail(err, PANTRY_INVALID, "model is required");
    if (!status)
        status = read_stream(call, err);
    if (!status)
        status = pn_json_int(call->body, "n", 1, PN_OPENAI_MAX_N, &call->n, err);
    if (!status)
        status = check_ranges(call->body, err);
    if (!status)
        status = pn_lora_hold(call->server, call->model, call->body, &call->loaded, NULL, err);
    if (status)
        return status;
    call->answer = pn_answer_defaults(call->loaded);
    call->answer.id = call->id;
    status = pn_read_sampling(call->body, "max_tokens", &call->answer, err);
    return status ? status : read_bias(call, err);
}

void pn_openai_close(struct pn_openai_call *call)
{
    for (size_t i = 0; i < call->n_choices; i++) {
        pn_buf_free(&call->choices[i].content);
        pn_buf_free(&call->choices[i].reasoning);
        json_decref(call->choices[i].calls);
        json_decref(call->choices[i].logprobs);
        json_decref(call->choices[i].options.context);
    }
    free(call->choices);
    free(call->bias);
    pantry_grammar_free(call->grammar);
    json_decref(call->answer.context);
    if (call->loaded)
        pn_models_release(call->server->models, call->loaded, NULL);
    pthread_mutex_destroy(&call->lock);
}

/* ---- choices ---- */

pantry_status pn_openai_choices(struct pn_openai_call *call, size_t n, struct pantry_error *err)
{
    call->choices = calloc(n, sizeof *call->choices);
    if (!call->choices)
        return pn_no_memory(err, "answers");
    call->n_choices = n;
    for (size_t i = 0; i < n; i++) {
        struct pn_openai_choice *c = &call->choices[i];
        *c = (struct pn_openai_choice){.call = call, .index = (int)i, .options = call->answer, .calls = json_array()};
        c->logprobs = c->options.logprobs ? json_array() : NULL;
        c->options.sampling.seed += i % (size_t)call->n;
        c->options.user = c;
        /* A copy of its own: jansson's reference counts are not for several threads. */
        if (call->answer.context && !(c->options.context = json_deep_copy(call->answer.context)))
            return pn_no_memory(err, "answers");
    }
    return PANTRY_OK;
}

struct making {
    struct pn_openai_call *call;
    void (*done)(struct pn_openai_choice *choice);
    atomic_size_t next;
    pthread_mutex_t lock; /* around the error */
    struct pantry_error *err;
};

static void *work(void *user)
{
    struct making *m = user;
    struct pantry_error err;
    size_t i;
    while (!atomic_load(&m->call->failed) && (i = atomic_fetch_add(&m->next, 1)) < m->call->n_choices) {
        struct pn_openai_choice *c = &m->call->choices[i];
        err = (struct pantry_error){0};
        if (!pn_answer_make(m->call->loaded, &c->options, m->call->x, &c->made, &err)) {
            m->done(c);
            continue;
        }
        pthread_mutex_lock(&m->lock);
        if (!atomic_exchange(&m->call->failed, true))
            *m->err = err;
        pthread_mutex_unlock(&m->lock);
    }
    return NULL;
}

pantry_status pn_openai_make(struct pn_openai_call *call, void (*done)(struct pn_openai_choice *choice),
                             struct pantry_error *err)
{
    struct making m = {.call = call, .done = done, .err = err};
    pthread_t threads[MAX_WORKERS - 1];
    size_t n = 0;
    pthread_mutex_init(&m.lock, NULL);
    while (n < MAX_WORKERS - 1 && n + 1 < call->n_choices && pthread_create(&threads[n], NULL, work, &m) == 0)
        n++;
    work(&m);
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&m.lock);
    for (size_t i = 0; i < call->n_choices; i++)
        pn_server_count(call->server, &call->choices[i].made.stats);
    return atomic_load(&call->failed) ? err->status : PANTRY_OK;
}

json_t *pn_openai_call_id(const struct pn_delta *d)
{
    return json_sprintf("%s%s", d->id_is_made ? "call_" : "", d->id);
}

json_t *pn_openai_tool_call(const struct pn_delta *d)
{
    return json_pack("{s:o, s:s, s:{s:s, s:s}}", "id", pn_openai_call_id(d), "type", "function", "function", "name",
                     d->name, "arguments", d->arguments);
}

bool pn_openai_keep(struct pn_openai_choice *c, const struct pn_delta *d)
{
    switch (d->kind) {
    case PN_DELTA_CONTENT:
        pn_buf_append(&c->content, d->text, d->len);
        json_array_extend(c->logprobs, d->logprobs);
        break;
    case PN_DELTA_REASONING:
        pn_buf_append(&c->reasoning, d->text, d->len);
        break;
    case PN_DELTA_TOOL_CALL:
        json_array_append_new(c->calls, pn_openai_tool_call(d));
        break;
    case PN_DELTA_PROGRESS:
    case PN_DELTA_WAIT:
        break;
    }
    return !c->content.failed && !c->reasoning.failed;
}

/* ---- replies ---- */

json_t *pn_openai_object(const struct pn_openai_call *call, const char *object)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", call->id, "object", object, "created", call->created, "model",
                     call->model, "system_fingerprint", "fp_pantry_" PANTRY_VERSION);
}

/* Prompts are counted once, however many answers they get. */
json_t *pn_openai_usage(const struct pn_openai_call *call)
{
    int n_prompt = 0, n_cached = 0, n_generated = 0, n_reasoning = 0;
    for (size_t i = 0; i < call->n_choices; i++) {
        const struct pn_answer *a = &call->choices[i].made;
        if (i % (size_t)call->n == 0) {
            n_prompt += a->stats.n_prompt;
            n_cached += a->stats.n_cached;
        }
        n_generated += a->stats.n_generated;
        n_reasoning += a->n_reasoning;
    }
    return json_pack("{s:i, s:i, s:i, s:{s:i}, s:{s:i}}", "prompt_tokens", n_prompt, "completion_tokens", n_generated,
                     "total_tokens", n_prompt + n_generated, "prompt_tokens_details", "cached_tokens", n_cached,
                     "completion_tokens_details", "reasoning_tokens", n_reasoning);
}

void pn_openai_begin(struct pn_openai_call *call)
{
    if (call->streaming)
        return;
    call->streaming = true;
    pn_http_set_header(call->x, "Cache-Control", "no-cache");
    pn_http_begin(call->x, 200, "text/event-stream");
}

bool pn_openai_ping(struct pn_openai_call *call)
{
    static const char ping[] = ": ping\n\n";
    return pn_http_write(call->x, ping, sizeof ping - 1);
}

bool pn_openai_progress(const struct pn_openai_choice *c, const char *object, const struct pn_delta *d)
{
    double ms = (double)(pn_clock_ns() - c->call->began) / 1e6;
    json_t *v = pn_openai_object(c->call, object);
    json_object_set_new(v, "choices", json_array());
    json_object_set_new(v, "prompt_progress",
                        json_pack("{s:i, s:i, s:i, s:f}", "total", c->made.stats.n_prompt, "cache", d->n_cached,
                                  "processed", d->n_read, "time_ms", ms));
    return pn_write_event(c->call->x, NULL, v);
}

pantry_status pn_openai_read_progress(struct pn_openai_call *call, struct pantry_error *err)
{
    pantry_status status = pn_json_bool(call->body, "return_progress", &call->answer.progress, err);
    return !status && call->answer.progress && !call->stream
               ? pn_fail(err, PANTRY_INVALID, "return_progress: only allowed with stream")
               : status;
}

void pn_openai_end_stream(struct pn_openai_call *call, const char *object)
{
    static const char end[] = "data: [DONE]\n\n";
    if (call->include_usage) {
        json_t *v = pn_openai_object(call, object);
        json_object_set_new(v, "choices", json_array());
        json_object_set_new(v, "usage", pn_openai_usage(call));
        pn_write_event(call->x, NULL, v);
    }
    pn_http_write(call->x, end, sizeof end - 1);
}

void pn_openai_end_failed(struct pn_openai_call *call, const struct pantry_error *err)
{
    if (call->streaming)
        pn_write_event(call->x, NULL, pn_openai_error(err, call->prompt));
    else
        pn_openai_fail(call->x, err, call->prompt);
}
