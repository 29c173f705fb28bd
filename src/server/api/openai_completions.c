/* OpenAI's API: completions of a text. */
#include "server/api/openai.h"

#include "base/status.h"
#include "server/api/fill.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_MAX_TOKENS = 16 };

static const struct pn_openai_field completion_fields[] = {
    {"model", PN_FIELD_READ, NULL},
    {"prompt", PN_FIELD_READ, NULL},
    {"lora", PN_FIELD_READ, NULL},
    {"suffix", PN_FIELD_READ, NULL},
    {"echo", PN_FIELD_READ, NULL},
    {"stream", PN_FIELD_READ, NULL},
    {"stream_options", PN_FIELD_READ, NULL},
    {"n", PN_FIELD_READ, NULL},
    {"max_tokens", PN_FIELD_READ, NULL},
    {"temperature", PN_FIELD_READ, NULL},
    {"top_p", PN_FIELD_READ, NULL},
    {"frequency_penalty", PN_FIELD_READ, NULL},
    {"presence_penalty", PN_FIELD_READ, NULL},
    {"seed", PN_FIELD_READ, NULL},
    {"stop", PN_FIELD_READ, NULL},
    {"logit_bias", PN_FIELD_READ, NULL},
    {"logprobs", PN_FIELD_READ, NULL},
    /* not OpenAI's, but of other local engines */
    PN_SAMPLER_FIELDS(PN_OPENAI_READ){"grammar", PN_FIELD_READ, NULL},
    {"regex", PN_FIELD_READ, NULL},
    {"json_schema", PN_FIELD_READ, NULL},
    {"return_progress", PN_FIELD_READ, NULL},
    {"best_of", PN_FIELD_READ, NULL},
    {"user", PN_FIELD_IGNORED, NULL},
    {0},
};

static const char completion_object[] = "text_completion";

struct prompt {
    char *text; /* what echo shows */
    size_t len;
    int32_t *ids; /* NULL: the text is the prompt */
    size_t n_ids;
    struct pn_buf filled; /* with a suffix: the prompt */
};

struct completion {
    struct pn_openai_call call; /* first, so that one is the other */
    struct prompt *prompts;
    size_t n_prompts;
    bool echo;
    int max_tokens; /* 0: the prompt alone */
    int n_wanted;   /* of the answers to each prompt, which are call.n: the likeliest */
    bool logprobs;  /* are wanted; otherwise they only rank */
};

/* ---- prompts ---- */

static bool is_ids(const json_t *v)
{
    return json_is_array(v) && json_is_integer(json_array_get(v, 0));
}

static pantry_status read_ids(const struct pn_loaded *loaded, json_t *list, struct prompt *p, struct pantry_error *err)
{
    const pantry_tokenizer *tokenizer = pantry_model_tokenizer(loaded->model);
    json_t *id;
    size_t i;
    p->n_ids = json_array_size(list);
    p->ids = malloc(p->n_ids * sizeof *p->ids);
    if (!p->ids)
        return pn_no_memory(err, "a prompt");
    json_array_foreach(list, i, id)
    {
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value >= loaded->info.n_vocab)
            return pn_fail(err, PANTRY_INVALID, "prompt: wrong token id (allowed integers from 0 to %d)",
                           (int)loaded->info.n_vocab - 1);
        p->ids[i] = (int32_t)value;
    }
    if (!tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s has no tokenizer", loaded->name);
    return pantry_detokenize(tokenizer, p->ids, p->n_ids, PANTRY_DETOKENIZE_SPECIAL, &p->text, &p->len, err);
}

static pantry_status read_prompt(const struct pn_loaded *loaded, json_t *v, struct prompt *p, struct pantry_error *err)
{
    if (is_ids(v))
        return read_ids(loaded, v, p, err);
    if (!json_is_string(v))
        return pn_fail(err, PANTRY_INVALID, "prompt: wrong type (allowed a string, token ids, or a list of either)");
    p->len = json_string_length(v);
    p->text = malloc(p->len + 1);
    if (!p->text)
        return pn_no_memory(err, "a prompt");
    memcpy(p->text, json_string_value(v), p->len + 1);
    return PANTRY_OK;
}

static pantry_status read_prompts(struct completion *c, struct pantry_error *err)
{
    json_t *v = json_object_get(c->call.body, "prompt");
    bool list = json_is_array(v) && !is_ids(v);
    size_t n = list ? json_array_size(v) : 1;
    if (!v || json_is_null(v) || n == 0)
        return pn_fail(err, PANTRY_INVALID, "prompt is required");
    if (n > PN_OPENAI_MAX_PROMPTS)
        return pn_fail(err, PANTRY_INVALID, "prompt: too many (found %zu, allowed %d)", n, PN_OPENAI_MAX_PROMPTS);
    c->prompts = calloc(n, sizeof *c->prompts);
    if (!c->prompts)
        return pn_no_memory(err, "prompts");
    c->n_prompts = n;
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < n && !status; i++)
        status = read_prompt(c->call.loaded, list ? json_array_get(v, i) : v, &c->prompts[i], err);
    return status;
}

/* ---- fill in the middle ---- */

static pantry_status add_suffix(struct completion *c, struct pantry_error *err)
{
    const char *suffix = NULL;
    pantry_status status = pn_json_string(c->call.body, "suffix", &suffix, err);
    if (status || !suffix || !*suffix)
        return status;
    for (size_t i = 0; i < c->n_prompts && !status; i++) {
        struct prompt *p = &c->prompts[i];
        if (p->ids)
            return pn_fail(err, PANTRY_UNSUPPORTED, "suffix: not supported after token ids (allowed after texts)");
        status = pn_fill_prompt(c->call.loaded, "suffix", p->text, p->len, suffix, &p->filled, err);
    }
    return status;
}

/* ---- replies ---- */

static const struct prompt *prompt_of(const struct pn_openai_choice *c)
{
    return &((const struct completion *)c->call)->prompts[c->index / c->call->n];
}

static int n_characters(const json_t *text)
{
    int n = 0;
    for (const char *at = json_string_value(text); at && *at; at++)
        n += (*at & 0xC0) != 0x80;
    return n;
}

/* The older shape of log probabilities: a list of each kind. `tokens` may be NULL. */
static json_t *logprobs_json(struct pn_openai_choice *c, json_t *tokens)
{
    json_t *texts = json_array(), *values = json_array(), *tops = json_array(), *offsets = json_array(), *token, *other;
    size_t i, k;
    if (!((const struct completion *)c->call)->logprobs)
        tokens = NULL;
    json_array_foreach(tokens, i, token)
    {
        json_t *top = json_object();
        json_array_append(texts, json_object_get(token, "token"));
        json_array_append(values, json_object_get(token, "logprob"));
        json_array_append_new(offsets, json_integer(c->n_shown));
        c->n_shown += n_characters(json_object_get(token, "token"));
        json_array_foreach(json_object_get(token, "top_logprobs"), k, other)
            json_object_set(top, json_string_value(json_object_get(other, "token")), json_object_get(other, "logprob"));
        json_array_append_new(tops, top);
    }
    json_t *v = json_pack("{s:o, s:o, s:o, s:o}", "tokens", texts, "token_logprobs", values, "top_logprobs", tops,
                          "text_offset", offsets);
    if (!c->options.top_logprobs)
        json_object_set_new(v, "top_logprobs", json_null());
    if (tokens)
        return v;
    json_decref(v);
    return json_null();
}

static json_t *choice_json(struct pn_openai_choice *c, const char *text, size_t len, json_t *logprobs, bool ended)
{
    const char *finish = c->made.stats.stop == PANTRY_STOP_LENGTH ? "length" : "stop";
    return json_pack("{s:o, s:i, s:o, s:s?}", "text", pn_json_text(text, len), "index", c->index, "logprobs",
                     logprobs_json(c, logprobs), "finish_reason", ended ? finish : NULL);
}

static bool write_chunk(struct pn_openai_choice *c, const char *text, size_t len, json_t *logprobs, bool ended)
{
    json_t *v = pn_openai_object(c->call, completion_object);
    json_object_set_new(v, "choices", json_pack("[o]", choice_json(c, text, len, logprobs, ended)));
    if (c->call->include_usage)
        json_object_set_new(v, "usage", json_null());
    return pn_write_event(c->call->x, NULL, v);
}

static void begin(struct pn_openai_choice *c)
{
    const struct prompt *p = prompt_of(c);
    if (c->call->stream)
        pn_openai_begin(c->call);
    if (c->begun || !((struct completion *)c->call)->echo)
        return;
    c->begun = true;
    if (c->call->stream)
        write_chunk(c, p->text, p->len, NULL, false);
    else
        pn_buf_append(&c->content, p->text, p->len);
}

static bool on_delta(void *user, const struct pn_delta *d)
{
    struct pn_openai_choice *c = user;
    bool wanted = true;
    pthread_mutex_lock(&c->call->lock);
    begin(c);
    if (!c->call->stream)
        wanted = pn_openai_keep(c, d);
    else if (d->kind == PN_DELTA_WAIT)
        wanted = pn_openai_ping(c->call);
    else if (d->kind == PN_DELTA_PROGRESS)
        wanted = pn_openai_progress(c, completion_object, d);
    else
        wanted = write_chunk(c, d->text, d->len, d->logprobs, false);
    pthread_mutex_unlock(&c->call->lock);
    return wanted && !atomic_load(&c->call->failed);
}

static void on_done(struct pn_openai_choice *c)
{
    pthread_mutex_lock(&c->call->lock);
    begin(c);
    if (c->call->stream)
        write_chunk(c, "", 0, NULL, true);
    pthread_mutex_unlock(&c->call->lock);
}

/* The mean log probability of its tokens, which does not favour short answers. */
static double rank(const struct pn_openai_choice *c)
{
    return c->made.stats.n_generated ? c->made.logprob / c->made.stats.n_generated : -INFINITY;
}

/* The best answer to a prompt that has not been taken; they keep their order where they are equal. */
static struct pn_openai_choice *take_best(struct pn_openai_choice *list, int n, bool *taken)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || rank(&list[i]) > rank(&list[best])))
            best = i;
    taken[best] = true;
    return &list[best];
}

static void finish(struct completion *completion)
{
    struct pn_openai_call *call = &completion->call;
    if (call->stream) {
        pn_openai_end_stream(call, completion_object);
        return;
    }
    json_t *v = pn_openai_object(call, completion_object), *choices = json_array();
    for (size_t p = 0; p < completion->n_prompts; p++) {
        bool taken[PN_OPENAI_MAX_BEST] = {false};
        struct pn_openai_choice *list = &call->choices[p * (size_t)call->n];
        for (int i = 0; i < completion->n_wanted; i++) {
            struct pn_openai_choice *c = call->n > completion->n_wanted ? take_best(list, call->n, taken) : &list[i];
            const char *text = c->content.data ? c->content.data : "";
            c->index = (int)p * completion->n_wanted + i;
            json_array_append_new(choices, choice_json(c, text, c->content.len, c->logprobs, true));
        }
    }
    json_object_set_new(v, "choices", choices);
    json_object_set_new(v, "usage", pn_openai_usage(call));
    pn_reply_json(call->x, 200, v);
}

/* ---- requests ---- */

/* The number of likely tokens; 0: only those that were chosen. */
static pantry_status read_logprobs(struct completion *c, struct pantry_error *err)
{
    struct pn_answer_options *o = &c->call.answer;
    int top = -1;
    pantry_status status = pn_json_int(c->call.body, "logprobs", 0, PN_OPENAI_MAX_TOP, &top, err);
    if (!status && top >= 0 && c->echo)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "logprobs: not supported with echo");
    c->logprobs = top >= 0;
    o->logprobs = c->logprobs || c->call.n > c->n_wanted;
    o->top_logprobs = top > 0 ? top : 0;
    return status;
}

/* More answers than are wanted, to choose from. They share the memory of their prompt. */
static pantry_status read_best(struct completion *c, struct pantry_error *err)
{
    int best = c->call.n;
    c->n_wanted = c->call.n;
    pantry_status status = pn_json_int(c->call.body, "best_of", 1, PN_OPENAI_MAX_BEST, &best, err);
    if (!status && best < c->n_wanted)
        status = pn_fail(err, PANTRY_INVALID, "best_of: out of range (found %d, allowed %d, which is n, or more)", best,
                         c->n_wanted);
    if (!status && best > c->n_wanted && c->call.stream)
        status = pn_fail(err, PANTRY_INVALID, "best_of: not allowed with stream, since the best is known at the end");
    c->call.n = status ? c->call.n : best;
    return status;
}

static pantry_status read_completion(struct completion *c, struct pantry_error *err)
{
    struct pn_openai_call *call = &c->call;
    c->max_tokens = DEFAULT_MAX_TOKENS;
    pantry_status status = pn_openai_open(call, completion_fields, "cmpl-", err);
    if (!status && call->loaded->parameters.has_limit)
        c->max_tokens = call->answer.max_tokens ? call->answer.max_tokens : 1 << 24;
    if (!status)
        status = pn_json_int(call->body, "max_tokens", 0, 1 << 24, &c->max_tokens, err);
    if (!status)
        status = pn_json_bool(call->body, "echo", &c->echo, err);
    if (!status)
        status = read_best(c, err);
    if (!status)
        status = read_logprobs(c, err);
    if (!status)
        status = pn_openai_read_progress(call, err);
    if (!status)
        status = pn_guide_fields(call->body, &call->grammar, err);
    call->answer.grammar = call->grammar;
    if (!status)
        status = read_prompts(c, err);
    if (!status)
        status = add_suffix(c, err);
    call->answer.max_tokens = c->max_tokens;
    call->answer.delta = on_delta;
    if (!status)
        status = pn_openai_choices(call, c->n_prompts * (size_t)call->n, err);
    for (size_t i = 0; i < call->n_choices; i++) {
        const struct prompt *p = prompt_of(&call->choices[i]);
        struct pn_answer_options *o = &call->choices[i].options;
        o->ids = p->ids;
        o->n_ids = p->n_ids;
        o->text = p->filled.data ? p->filled.data : p->text;
        o->len = p->filled.data ? p->filled.len : p->len;
    }
    return status;
}

/* With max_tokens 0 there is nothing to make. */
static pantry_status only_count(struct pn_openai_call *call, struct pantry_error *err)
{
    for (size_t i = 0; i < call->n_choices; i++) {
        struct pn_openai_choice *c = &call->choices[i];
        int32_t *ids;
        size_t n;
        pantry_status status = pn_answer_tokens(call->loaded, &c->options, call->x, &ids, &n, err);
        if (status)
            return status;
        pantry_free(ids);
        c->made.stats.n_prompt = (int)n;
        c->made.stats.stop = PANTRY_STOP_LENGTH;
        on_done(c);
    }
    return PANTRY_OK;
}

void pn_openai_completions(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct completion c = {.call = {.server = s, .x = x, .body = body, .prompt = "prompt"}};
    struct pantry_error err = {0};
    (void)tail;
    pantry_status status = read_completion(&c, &err);
    if (!status)
        status = c.max_tokens ? pn_openai_make(&c.call, on_done, &err) : only_count(&c.call, &err);
    if (status)
        pn_openai_end_failed(&c.call, &err);
    else
        finish(&c);
    for (size_t i = 0; i < c.n_prompts; i++) {
        pantry_free(c.prompts[i].text);
        free(c.prompts[i].ids);
        pn_buf_free(&c.prompts[i].filled);
    }
    free(c.prompts);
    pn_openai_close(&c.call);
}
