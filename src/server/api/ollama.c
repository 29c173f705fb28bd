/* Ollama's API: answers. Models are in ollama_models.c. Fields and replies are those of its documentation. */
#include "server/api/sampling.h"
#include "server/api/fill.h"
#include "server/api/guide.h"
#include "server/api/ollama.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "server/api/lora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOP_LOGPROBS = 20 };

/* ---- fields ---- */

pantry_status pn_ollama_duration(const json_t *v, struct pn_keep_alive *out, struct pantry_error *err)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"h", 3600}, {"m", 60}, {"s", 1}};
    double seconds = json_number_value(v);
    const char *text = json_string_value(v);
    if (text) {
        bool negative = *text == '-';
        const char *at = text + negative;
        seconds = 0;
        do {
            char *end;
            double n = strtod(at, &end);
            size_t u = 0;
            while (u < sizeof units / sizeof *units && strncmp(end, units[u].unit, strlen(units[u].unit)) != 0)
                u++;
            bool number = (*at >= '0' && *at <= '9') || *at == '.'; /* not "nan" or "inf" */
            if (!number || end == at ||
                (u == sizeof units / sizeof *units && !(*end == '\0' && n == 0 && seconds == 0)))
                return pn_fail(err, PANTRY_INVALID,
                               "keep_alive: not a duration (found \"%.60s\", allowed \"5m\", \"1h30m\", "
                               "seconds, or -1)",
                               text);
            seconds += u < sizeof units / sizeof *units ? n * units[u].seconds : 0;
            at = end + (u < sizeof units / sizeof *units ? strlen(units[u].unit) : 0);
        } while (*at);
        seconds = negative ? -seconds : seconds;
    } else if (!json_is_number(v)) {
        return pn_fail(err, PANTRY_INVALID, "keep_alive: wrong type (allowed a number of seconds or a duration)");
    }
    static const double longest = 1e9; /* 30 years: nanoseconds of more may not fit a number */
    *out = (struct pn_keep_alive){.forever = !(seconds >= 0 && seconds <= longest), .seconds = seconds};
    return PANTRY_OK;
}

/* Hints about how to run a model, which pantry decides itself; they change no answer. */
pantry_status pn_ollama_options(const json_t *fields, struct pn_answer_options *o, struct pantry_error *err)
{
    static const char *const known[] = {"grammar",
                                        "regex",
                                        "seed",
                                        "stop",
                                        "num_predict",
                                        "num_ctx",
                                        "num_batch",
                                        "num_keep",
                                        /* hints: */ "num_gpu",
                                        "main_gpu",
                                        "use_mmap",
                                        "num_thread",
                                        "numa",
                                        "low_vram",
                                        "use_mlock"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)fields, name, value)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], name) != 0)
            i++;
        if (i == sizeof known / sizeof *known && !pn_is_sampling(name))
            return pn_fail(err, PANTRY_UNSUPPORTED, "options.%.60s: not supported", name);
    }
    const char *text;
    pantry_status status = pn_read_sampling(fields, "num_predict", o, err);
    if (!status)
        status = pn_json_string(fields, "grammar", &text, err);
    if (!status)
        status = pn_json_string(fields, "regex", &text, err);
    if (!status)
        status = pn_json_int(fields, "num_ctx", 0, 1 << 24, &o->n_context, err);
    if (!status)
        status = pn_json_int(fields, "num_batch", 0, 4096, &o->n_batch, err);
    return status;
}

/* ---- one call ---- */

struct call {
    struct pn_server *server;
    struct pn_exchange *x;
    json_t *body;
    bool chat, stream, raw;
    bool truncate; /* leave out the oldest messages where they do not fit */
    int n_left_out;
    bool figures; /* all of them are wanted, also those that Ollama does not have */
    struct pn_loaded *loaded;
    bool loaded_now;
    const char *model;
    struct pn_keep_alive keep;
    bool has_keep;
    json_t *think; /* borrowed; NULL: not given */
    struct pn_answer_options answer;
    pantry_grammar *grammar;                  /* of the field `format`, or NULL */
    struct pn_buf content, reasoning, filled; /* filled: a prompt with a suffix */
    json_t *calls, *logprobs;                 /* logprobs: of the content, if they are wanted */
    uint64_t began;
    bool streaming; /* the reply has begun */
};

static json_t *chunk(const struct call *c)
{
    char now[40];
    pn_time_text(now, 0);
    json_t *v = json_pack("{s:s, s:s}", "model", c->model, "created_at", now);
    return v;
}

/* What the parts of an answer look like: {"message": {...}} or {"response": ...}. Takes `calls` over. */
static void set_parts(const struct call *c, json_t *v, const char *content, size_t len, const char *thinking,
                      size_t n_thinking, json_t *calls)
{
    json_t *to = v;
    if (c->chat) {
        to = json_pack("{s:s}", "role", "assistant");
        json_object_set_new(v, "message", to);
    }
    json_object_set_new(to, c->chat ? "content" : "response", pn_json_text(content, len));
    if (n_thinking)
        json_object_set_new(to, "thinking", pn_json_text(thinking, n_thinking));
    if (calls)
        json_object_set_new(to, "tool_calls", calls);
}

static json_t *call_json(const struct pn_delta *d, int index)
{
    json_t *arguments = json_loads(d->arguments, JSON_DECODE_ANY, NULL);
    json_t *v = json_pack("{s:{s:i, s:s, s:o}}", "function", "index", index, "name", d->name, "arguments",
                          arguments ? arguments : json_object());
    if (v)
        json_object_set_new(v, "id", json_sprintf("%s%s", d->id_is_made ? "call_" : "", d->id));
    return v;
}

static void begin_stream(struct call *c)
{
    if (!c->streaming)
        pn_http_begin(c->x, 200, "application/x-ndjson");
    c->streaming = true;
}

static bool on_delta(void *user, const struct pn_delta *d)
{
    struct call *c = user;
    json_t *call = d->kind == PN_DELTA_TOOL_CALL ? call_json(d, (int)json_array_size(c->calls)) : NULL;
    if (call)
        json_array_append(c->calls, call);
    if (!c->stream || d->kind == PN_DELTA_WAIT) {
        if (d->kind == PN_DELTA_CONTENT) {
            pn_buf_append(&c->content, d->text, d->len);
            json_array_extend(c->logprobs, d->logprobs);
        }
        if (d->kind == PN_DELTA_REASONING)
            pn_buf_append(&c->reasoning, d->text, d->len);
        json_decref(call);
        return !c->content.failed && !c->reasoning.failed;
    }
    begin_stream(c);
    json_t *v = chunk(c);
    bool content = d->kind == PN_DELTA_CONTENT, reasoning = d->kind == PN_DELTA_REASONING;
    set_parts(c, v, content ? d->text : "", content ? d->len : 0, d->text, reasoning ? d->len : 0,
              call ? json_pack("[o]", call) : NULL);
    if (content && json_array_size(d->logprobs))
        json_object_set_new(v, "logprobs", json_copy(d->logprobs));
    json_object_set_new(v, "done", json_false());
    return pn_write_line(c->x, v);
}

static json_int_t ns(double seconds)
{
    return (json_int_t)(seconds * 1e9);
}

static void add_figures(json_t *v, const struct call *c, const struct pantry_stats *s)
{
    json_object_set_new(v, "total_duration", json_integer((json_int_t)(pn_clock_ns() - c->began)));
    json_object_set_new(v, "load_duration", json_integer(ns(c->loaded_now ? c->loaded->load_seconds : 0)));
    json_object_set_new(v, "prompt_eval_count", json_integer(s->n_prompt));
    json_object_set_new(v, "prompt_eval_duration", json_integer(ns(s->prefill_seconds)));
    json_object_set_new(v, "eval_count", json_integer(s->n_generated));
    json_object_set_new(v, "eval_duration", json_integer(ns(s->decode_seconds)));
    if (c->figures)
        json_object_set_new(v, "figures",
                            json_pack("{s:i, s:i, s:f, s:i, s:s}", "cached", s->n_cached, "steps", s->n_steps,
                                      "bytes_per_token", s->bytes_per_token, "context", c->loaded->n_context,
                                      "stopped_by", pantry_stop_name(s->stop)));
}

static const char *reason(const struct pantry_stats *s)
{
    return s->stop == PANTRY_STOP_LENGTH ? "length" : "stop";
}

/* Before the end of the reply, so that a client that asks what is loaded next hears of this call. */
static void release(struct call *c)
{
    if (c->loaded)
        pn_models_release(c->server->models, c->loaded, c->has_keep ? &c->keep : NULL);
    c->loaded = NULL;
}

static void finish(struct call *c, const struct pn_answer *a)
{
    json_t *v = chunk(c);
    bool has_calls = !c->stream && json_array_size(c->calls);
    set_parts(c, v, c->content.data ? c->content.data : "", c->content.len, c->reasoning.data, c->reasoning.len,
              has_calls ? json_incref(c->calls) : NULL);
    json_object_set_new(v, "done", json_true());
    json_object_set_new(v, "done_reason", json_string(reason(&a->stats)));
    if (json_array_size(c->logprobs))
        json_object_set(v, "logprobs", c->logprobs);
    if (c->n_left_out)
        json_object_set_new(v, "truncated_messages", json_integer(c->n_left_out));
    if (a->n_cut)
        json_object_set_new(v, "truncated_tokens", json_integer(a->n_cut));
    if (a->n_shifted)
        json_object_set_new(v, "shifted_tokens", json_integer(a->n_shifted));
    add_figures(v, c, &a->stats);
    release(c);
    if (!c->stream) {
        pn_reply_json(c->x, 200, v);
        return;
    }
    begin_stream(c);
    pn_write_line(c->x, v);
}

static void fail(struct call *c, const struct pantry_error *err)
{
    if (c->streaming)
        pn_write_line(c->x, pn_error_json(PN_ERRORS_OLLAMA, 500, err->text));
    else
        pn_reply_error(c->x, PN_ERRORS_OLLAMA, err);
}

/* ---- prompts ---- */

/* think: true, false, or a level. */
static pantry_status check_think(const json_t *think, struct pantry_error *err)
{
    static const char *const levels[] = {"low", "medium", "high", "max"};
    const char *level = json_string_value(think);
    size_t i = 0;
    if (!think || json_is_boolean(think))
        return PANTRY_OK;
    if (!level)
        return pn_fail(err, PANTRY_INVALID, "think: wrong type (allowed true, false or a level)");
    while (i < sizeof levels / sizeof *levels && strcmp(levels[i], level) != 0)
        i++;
    return i < sizeof levels / sizeof *levels
               ? PANTRY_OK
               : pn_fail(err, PANTRY_INVALID,
                         "invalid think value: \"%.60s\" (must be \"high\", \"medium\", \"low\", \"max\", true, or "
                         "false)",
                         level);
}

/* Levels are those of the template. */
static pantry_status set_thinking(struct call *c, json_t *context, struct pantry_error *err)
{
    const char *level = json_string_value(c->think), *template;
    size_t n;
    if (!c->think)
        return PANTRY_OK;
    bool on = level || json_is_true(c->think);
    template = pantry_model_template(c->loaded->model, &n);
    if (on && !pn_ollama_thinks(template))
        return pn_fail(err, PANTRY_UNSUPPORTED, "\"%.200s\" does not support thinking", c->model);
    if (level && !pn_answer_takes_levels(template))
        return pn_fail(err, PANTRY_UNSUPPORTED, "think value \"%s\" is not supported for this model", level);
    json_object_set_new(context, "enable_thinking", json_boolean(on));
    json_object_set_new(context, "thinking", json_boolean(on));
    if (level)
        json_object_set_new(context, "reasoning_effort", json_string(level));
    return PANTRY_OK;
}

static pantry_status check_message(const json_t *m, size_t i, bool sees, struct pantry_error *err)
{
    static const char *const texts[] = {"role", "content", "thinking", "tool_name", "tool_call_id"};
    json_t *images = NULL, *calls = NULL, *call;
    const char *text;
    size_t k;
    pantry_status status = PANTRY_OK;
    if (!json_is_object(m) || !json_is_string(json_object_get(m, "role")))
        return pn_fail(err, PANTRY_INVALID, "messages[%zu]: an object with a role is needed", i);
    for (k = 0; k < sizeof texts / sizeof *texts && !status; k++)
        status = pn_json_string(m, texts[k], &text, err);
    if (!status)
        status = pn_json_array(m, "images", &images, err);
    if (!status)
        status = pn_json_array(m, "tool_calls", &calls, err);
    json_array_foreach(calls, k, call)
    {
        const json_t *function = json_object_get(call, "function");
        if (!status)
            status = pn_json_string(call, "id", &text, err);
        if (!status && (!json_is_string(json_object_get(function, "name")) ||
                        !json_is_object(json_object_get(function, "arguments"))))
            status = pn_fail(err, PANTRY_INVALID,
                             "tool_calls[%zu]: a function with a name and an object of arguments is needed", k);
    }
    if (status) {
        char where[40];
        snprintf(where, sizeof where, "messages[%zu]", i);
        pn_fail_prefix(err, "%s", where);
        return status;
    }
    if (json_array_size(images) && !sees)
        return pn_fail(err, PANTRY_UNSUPPORTED, "messages[%zu].images: this model does not see images", i);
    return PANTRY_OK;
}

/* Pictures come before a message's text. */
static void show_images(json_t *message, const json_t *images)
{
    json_t *parts = json_array(), *image;
    size_t i;
    json_object_del(message, "images");
    json_array_foreach((json_t *)(uintptr_t)images, i, image)
        json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "image", "data", image));
    if (i)
        json_array_append_new(parts,
                              json_pack("{s:s, s:O}", "type", "text", "text", json_object_get(message, "content")));
    if (i)
        json_object_set(message, "content", parts);
    json_decref(parts);
}

/* Ollama's tool calls have arguments as objects and results a tool_name; templates know these names too. */
static json_t *message_of(json_t *given)
{
    json_t *m = json_copy(given), *v;
    if ((v = json_object_get(m, "thinking")) && json_is_string(v)) {
        json_object_set(m, "reasoning_content", v);
        json_object_del(m, "thinking");
    }
    if ((v = json_object_get(m, "tool_name")) && !json_object_get(m, "name"))
        json_object_set(m, "name", v);
    v = json_object_get(m, "content");
    if (!v || json_is_null(v))
        json_object_set_new(m, "content", json_string(""));
    show_images(m, json_object_get(given, "images"));
    return m;
}

/* A text of the assistant at the end is one that the answer continues. */
static bool is_begun(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    const char *text = json_string_value(json_object_get(message, "content"));
    return role && strcmp(role, "assistant") == 0 && text && text[strspn(text, " \t\r\n")] &&
           !json_array_size(json_object_get(message, "tool_calls"));
}

static pantry_status chat_context(struct call *c, struct pantry_error *err)
{
    json_t *messages = json_object_get(c->body, "messages"), *tools = NULL, *given;
    size_t i, n;
    const char *template = pantry_model_template(c->loaded->model, &n);
    bool sees = pn_answer_sees(c->loaded);
    pantry_status status = pn_json_array(c->body, "tools", &tools, err);
    if (!status && !template)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "\"%.200s\" does not support chat", c->model);
    if (!status && json_array_size(tools) && !pn_answer_takes_tools(template))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%.200s does not support tools", c->model);
    if (status)
        return status;
    json_t *list = json_array(), *context = json_pack("{s:o}", "messages", list);
    c->answer.context = context;
    if (tools)
        json_object_set(context, "tools", tools);
    json_array_foreach(messages, i, given)
    {
        if ((status = check_message(given, i, sees, err)))
            return status;
        json_array_append_new(list, message_of(given));
    }
    c->answer.continues = is_begun(json_array_get(list, json_array_size(list) - 1));
    json_object_set_new(context, "add_generation_prompt", json_boolean(!c->answer.continues));
    return set_thinking(c, context, err);
}

/* What goes between the prompt and the suffix. */
static pantry_status fill_context(struct call *c, const char *prompt, const char *suffix, const char *system,
                                  struct pantry_error *err)
{
    if (c->raw || (system && *system) || json_is_true(c->think) || json_is_string(c->think))
        return pn_fail(err, PANTRY_INVALID, "suffix: not allowed with raw, system or think");
    if (c->answer.cut || c->answer.shift)
        return pn_fail(err, PANTRY_INVALID, "suffix: not allowed with truncate or shift");
    pantry_status status = pn_fill_prompt(c->loaded, "suffix", prompt, strlen(prompt), suffix, &c->filled, err);
    c->answer.text = c->filled.data;
    c->answer.len = c->filled.len;
    return status;
}

static pantry_status generate_context(struct call *c, struct pantry_error *err)
{
    const char *prompt = "", *system = NULL, *suffix = NULL;
    size_t n;
    json_t *images = NULL;
    pantry_status status = pn_json_string(c->body, "prompt", &prompt, err);
    if (!status)
        status = pn_json_array(c->body, "images", &images, err);
    if (!status && json_array_size(images) && !pn_answer_sees(c->loaded))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "images: this model does not see images");
    if (!status)
        status = pn_json_string(c->body, "system", &system, err);
    if (!status)
        status = pn_json_string(c->body, "suffix", &suffix, err);
    if (!status)
        status = pn_json_bool(c->body, "raw", &c->raw, err);
    if (!status && json_array_size(images) && (c->raw || (suffix && *suffix)))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "images: not allowed with raw or suffix");
    if (!status && suffix && *suffix)
        return fill_context(c, prompt, suffix, system, err);
    if (!status && c->raw && system && *system)
        status = pn_fail(err, PANTRY_INVALID, "raw mode does not support template, system, or context");
    if (!status && system && *system && !pantry_model_template(c->loaded->model, &n))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "system: \"%.200s\" has no chat template to show it in", c->model);
    if (status)
        return status;
    if (c->raw || !pantry_model_template(c->loaded->model, &n)) {
        if (json_is_true(c->think) || json_is_string(c->think))
            return pn_fail(err, PANTRY_UNSUPPORTED, "think: not supported without a chat template");
        c->answer.text = prompt;
        c->answer.len = strlen(prompt);
        return PANTRY_OK;
    }
    json_t *messages = json_array();
    c->answer.context = json_pack("{s:o, s:b}", "messages", messages, "add_generation_prompt", 1);
    if (system && (*system || !c->loaded->carried.system))
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
    json_t *message = json_pack("{s:s, s:s}", "role", "user", "content", prompt);
    json_array_append_new(messages, message);
    show_images(message, images);
    return set_thinking(c, c->answer.context, err);
}

/* ---- the calls ---- */

/* Also of a call that only loads the model, where they have no effect. */
static pantry_status check_types(const struct call *c, struct pantry_error *err)
{
    const char *text = NULL;
    bool flag = false;
    json_t *tools = NULL, *images = NULL, *tool, *image;
    size_t i;
    pantry_status status = pn_json_string(c->body, "system", &text, err);
    if (!status)
        status = pn_json_string(c->body, "suffix", &text, err);
    if (!status)
        status = check_think(c->think, err);
    if (!status)
        status = pn_json_bool(c->body, "raw", &flag, err);
    if (!status)
        status = pn_json_bool(c->body, "_debug_render_only", &flag, err);
    if (!status)
        status = pn_json_array(c->body, "images", &images, err);
    json_array_foreach(images, i, image)
    {
        if (!status && !json_is_string(image))
            status = pn_fail(err, PANTRY_INVALID, "images[%zu]: base64 is needed", i);
    }
    if (!status)
        status = pn_json_array(c->body, "tools", &tools, err);
    json_array_foreach(tools, i, tool)
    {
        if (!status && !json_is_string(json_object_get(json_object_get(tool, "function"), "name")))
            status = pn_fail(err, PANTRY_INVALID, "tools[%zu]: an object with a function that has a name is needed", i);
    }
    return status;
}

static pantry_status read_logprobs(struct call *c, struct pantry_error *err)
{
    struct pn_answer_options *o = &c->answer;
    pantry_status status = pn_json_bool(c->body, "logprobs", &o->logprobs, err);
    if (!status)
        status = pn_json_int(c->body, "top_logprobs", 0, MAX_TOP_LOGPROBS, &o->top_logprobs, err);
    if (!status && o->top_logprobs && !o->logprobs)
        status = pn_fail(err, PANTRY_INVALID, "top_logprobs: only allowed with logprobs");
    c->logprobs = o->logprobs ? json_array() : NULL;
    return status;
}

/* "json", or a schema. */
static pantry_status read_format(struct call *c, struct pantry_error *err)
{
    const json_t *format = json_object_get(c->body, "format");
    const char *name = json_string_value(format);
    pantry_status status = PANTRY_OK;
    if (!format || json_is_null(format) || (name && !*name))
        status = PANTRY_OK;
    else if (json_is_object(format))
        status = pn_guide_schema(format, "format", &c->grammar, err);
    else if (name && strcmp(name, "json") == 0)
        status = pn_guide_object(&c->grammar, err);
    else
        status = pn_fail(err, PANTRY_INVALID, "format: unknown (allowed \"json\" or a JSON schema)");
    if (!status)
        status = pn_guide_fields(json_object_get(c->body, "options"), &c->grammar, err);
    const struct pn_answer_options *o = &c->answer;
    if (!status && o->shift && (c->grammar || o->begin || o->think_budget >= 0))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "shift: not supported together with a form of the answer");
    return status;
}

/* What stays where tokens are left out, and whether any are. */
static pantry_status read_keep(const json_t *options, struct pn_answer_options *o, struct pantry_error *err)
{
    enum { USUAL = 4 }; /* as in Ollama */
    const json_t *limit = json_object_get(options, "num_predict");
    if (json_is_integer(limit) && json_integer_value(limit) == -2) /* until the context is full */
        o->shift = false;
    o->n_keep = USUAL;
    pantry_status status = pn_json_int(options, "num_keep", -1, 1 << 24, &o->n_keep, err);
    o->n_keep = o->n_keep < 0 ? 1 << 24 : o->n_keep; /* the prompt, as far as possible */
    return status;
}

static pantry_status read_call(struct call *c, struct pantry_error *err)
{
    static const char *const of_chat[] = {"model",
                                          "messages",
                                          "tools",
                                          "stream",
                                          "think",
                                          "keep_alive",
                                          "options",
                                          "logprobs",
                                          "top_logprobs",
                                          "truncate",
                                          "shift",
                                          "figures",
                                          "_debug_render_only",
                                          "format",
                                          "lora",
                                          NULL};
    static const char *const of_generate[] = {
        "model",      "images",  "prompt",   "suffix",  "system",       "raw",      "stream", "think",
        "keep_alive", "options", "logprobs", "figures", "top_logprobs", "truncate", "shift",  "_debug_render_only",
        "format",     "lora",    NULL};
    const char *prompt = NULL;
    json_t *messages = NULL;
    json_t *options = NULL, *keep = json_object_get(c->body, "keep_alive");
    pantry_status status = pn_json_string(c->body, "model", &c->model, err);
    c->stream = true;
    c->think = json_object_get(c->body, "think");
    c->think = json_is_null(c->think) ? NULL : c->think;
    if (!status && !c->model)
        return pn_fail(err, PANTRY_INVALID, "model is required");
    if (!status)
        status = pn_json_known(c->body, "", c->chat ? of_chat : of_generate, err);
    if (!status)
        status = c->chat ? pn_json_array(c->body, "messages", &messages, err)
                         : pn_json_string(c->body, "prompt", &prompt, err);
    if (!status)
        status = pn_json_bool(c->body, "stream", &c->stream, err);
    if (!status)
        status = check_types(c, err);
    if (!status)
        status = pn_json_bool(c->body, "figures", &c->figures, err);
    if (!status && keep && !json_is_null(keep)) {
        status = pn_ollama_duration(keep, &c->keep, err);
        c->has_keep = true;
    }
    if (!status)
        status = pn_lora_hold(c->server, c->model, c->body, &c->loaded, &c->loaded_now, err);
    if (status)
        return status;
    c->answer = pn_answer_defaults(c->loaded);
    c->answer.delta = on_delta;
    c->answer.user = c;
    if (!(status = pn_json_object(c->body, "options", &options, err)) && options)
        status = pn_ollama_options(options, &c->answer, err);
    if (!status)
        status = read_logprobs(c, err);
    if (!status)
        status = pn_json_bool(c->body, "truncate", c->chat ? &c->truncate : &c->answer.cut, err);
    if (!status)
        status = pn_json_bool(c->body, "shift", &c->answer.shift, err);
    if (!status)
        status = read_keep(options, &c->answer, err);
    if (!status)
        status = read_format(c, err);
    return status;
}

/* Without a prompt a call only loads the model, or unloads it. */
static bool only_loads(const struct call *c)
{
    const json_t *v = json_object_get(c->body, c->chat ? "messages" : "prompt");
    return !v || json_is_null(v) || (c->chat ? json_array_size(v) == 0 : json_string_length(v) == 0);
}

static void reply_loaded(struct call *c)
{
    bool unload = c->has_keep && !c->keep.forever && c->keep.seconds == 0;
    json_t *v = chunk(c);
    set_parts(c, v, "", 0, NULL, 0, NULL);
    json_object_set_new(v, "done", json_true());
    json_object_set_new(v, "done_reason", json_string(unload ? "unload" : "load"));
    release(c);
    pn_reply_json(c->x, 200, v);
}

static pantry_status reply_rendered(struct call *c, struct pantry_error *err)
{
    char *text;
    size_t len;
    pantry_status status = pn_answer_render(c->loaded, &c->answer, &text, &len, err);
    if (status)
        return status;
    json_t *v = chunk(c);
    json_object_set_new(v, "_debug_info", json_pack("{s:o}", "rendered_template", pn_json_text(text, len)));
    pn_reply_json(c->x, 200, v);
    pantry_free(text);
    return PANTRY_OK;
}

/* Leaves the oldest message out that is not the system's, and results of its calls. False: only the last is left. */
static bool leave_out(struct call *c)
{
    json_t *list = json_object_get(c->answer.context, "messages");
    size_t at = 0;
    const char *role;
    while (at < json_array_size(list) &&
           (role = json_string_value(json_object_get(json_array_get(list, at), "role"))) && strcmp(role, "system") == 0)
        at++;
    if (at + 1 >= json_array_size(list))
        return false;
    do {
        json_array_remove(list, at);
        c->n_left_out++;
        role = json_string_value(json_object_get(json_array_get(list, at), "role"));
    } while (at + 1 < json_array_size(list) && role && strcmp(role, "tool") == 0);
    return true;
}

static pantry_status answer(struct call *c, struct pantry_error *err)
{
    const struct pn_tool_rules rules = {0};
    bool render_only = false;
    struct pn_answer a;
    pantry_status status = c->chat ? chat_context(c, err) : generate_context(c, err);
    if (!status)
        status = pn_json_bool(c->body, "_debug_render_only", &render_only, err);
    if (!status && render_only)
        return reply_rendered(c, err);
    if (!status && c->answer.context)
        status = pn_guide_answer(c->loaded, json_object_get(c->answer.context, "tools"), &rules, &c->grammar, err);
    c->answer.grammar = c->grammar;
    if (!status)
        do
            status = pn_answer_make(c->loaded, &c->answer, c->x, &a, err);
        while (status == PANTRY_CONTEXT_FULL && c->truncate && leave_out(c));
    if (status)
        return status;
    pn_server_count(c->server, &a.stats);
    finish(c, &a);
    return PANTRY_OK;
}

static void run(struct pn_server *s, struct pn_exchange *x, json_t *body, bool chat)
{
    struct call c = {.server = s, .x = x, .body = body, .chat = chat, .calls = json_array(), .began = pn_clock_ns()};
    struct pantry_error err;
    pantry_status status = read_call(&c, &err);
    if (!status && only_loads(&c))
        reply_loaded(&c);
    else if (!status)
        status = answer(&c, &err);
    if (status)
        fail(&c, &err);
    release(&c);
    pantry_grammar_free(c.grammar);
    json_decref(c.answer.context);
    json_decref(c.calls);
    pn_buf_free(&c.content);
    pn_buf_free(&c.reasoning);
    pn_buf_free(&c.filled);
    json_decref(c.logprobs);
}

void pn_ollama_generate(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    run(s, x, body, false);
}

void pn_ollama_chat(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    run(s, x, body, true);
}
