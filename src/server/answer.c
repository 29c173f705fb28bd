/* Answers: see answer.h. */
#include "server/answer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "server/json.h"
#include "server/replay.h"
#include "server/running.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_ID = 9, POLL_MS = 100, WAITS = 10 /* polls without an event, after which a stream shows that it lives */ };

struct pn_answer_options pn_answer_defaults(const struct pn_loaded *loaded)
{
    static atomic_uint_fast64_t n;
    struct pn_rng rng = {pn_clock_ns() ^ atomic_fetch_add(&n, 1) << 48};
    const struct pn_parameters *p = &loaded->parameters;
    struct pn_answer_options o = {.sampling = p->sampling,
                                  .max_tokens = p->max_tokens,
                                  .n_context = p->n_context,
                                  .n_batch = p->n_batch,
                                  .more = p->more,
                                  .breakers = p->breakers,
                                  .banned = p->banned,
                                  .think_budget = -1,
                                  .n_stop = p->stop.n};
    memcpy(o.stop, p->stop.item, sizeof *o.stop * p->stop.n);
    if (p->order)
        snprintf(o.order, sizeof o.order, "%s", p->order);
    if (!p->has_seed)
        o.sampling.seed = pn_rng_u64(&rng) >> 32;
    return o;
}

bool pn_answer_takes_tools(const char *template)
{
    return strstr(template, "tools") || strstr(template, ".Tools");
}

bool pn_answer_takes_levels(const char *template)
{
    return strstr(template, "reasoning_effort") || strstr(template, ".ThinkLevel");
}

/* A conversation begins with what the model carries. Caller decrefs. */
static json_t *whole_context(const struct pn_loaded *loaded, json_t *context)
{
    const struct pn_carried *c = &loaded->carried;
    if (!context || (!c->system && !c->messages))
        return json_incref(context);
    json_t *copy = json_copy(context);
    json_object_set_new(copy, "messages", pn_carried_conversation(c, json_object_get(context, "messages")));
    return copy;
}

/* ---- prompts ---- */

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Shows where the answer continues the last message: what the template puts after it would end the answer. */
static const char mark[] = "PN_THE_ANSWER_GOES_ON_HERE";

static json_t *marked(const json_t *context)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)context), *messages = json_copy(json_object_get(context, "messages"));
    size_t i = json_array_size(messages) - 1;
    json_t *last = json_copy(json_array_get(messages, i));
    const char *said = json_string_value(json_object_get(last, "content"));
    int n = said ? (int)strlen(said) : 0;
    while (n && is_white(said[n - 1])) /* templates may trim, and a model does not go on after white space */
        n--;
    json_object_set_new(last, "content", json_sprintf("%.*s%s", n, said ? said : "", mark));
    json_array_set_new(messages, i, last);
    json_object_set_new(copy, "messages", messages);
    return copy;
}

static pantry_status cut_at_mark(char *text, size_t *len, struct pantry_error *err)
{
    size_t n = sizeof mark - 1;
    for (size_t at = *len >= n ? *len - n + 1 : 0; at-- > 0;)
        if (memcmp(text + at, mark, n) == 0) {
            *len = at;
            text[at] = '\0';
            return PANTRY_OK;
        }
    return pn_fail(err, PANTRY_UNSUPPORTED, "the prompt does not show the last message, so no answer can continue it");
}

/* The text of a context. */
static pantry_status render(const struct pn_loaded *loaded, const json_t *given, bool continues, char **text,
                            size_t *len, struct pantry_error *err)
{
    json_t *context = continues ? marked(given) : json_incref((json_t *)(uintptr_t)given);
    char *json = context ? json_dumps(context, 0) : NULL;
    json_decref(context);
    if (!json)
        return pn_no_memory(err, "a prompt");
    pantry_status status = pantry_model_render(loaded->model, json, text, len, err);
    free(json);
    if (!status && continues && (status = cut_at_mark(*text, len, err))) {
        pantry_free(*text);
        *text = NULL;
    }
    return status;
}

pantry_status pn_answer_render(const struct pn_loaded *loaded, const struct pn_answer_options *o, char **text,
                               size_t *len, struct pantry_error *err)
{
    if (o->context) {
        json_t *context = whole_context(loaded, o->context);
        pantry_status status = render(loaded, context, o->continues, text, len, err);
        json_decref(context);
        return status;
    }
    *len = o->len;
    *text = malloc(o->len + 1);
    if (!*text)
        return pn_no_memory(err, "a prompt");
    memcpy(*text, o->text, o->len);
    (*text)[o->len] = '\0';
    return PANTRY_OK;
}

static pantry_status tokenize(const struct pn_loaded *loaded, const struct pn_answer_options *o, int32_t **ids,
                              size_t *n, struct pantry_error *err)
{
    unsigned flags = (o->plain ? 0u : PANTRY_TOKENIZE_SPECIAL) | PANTRY_TOKENIZE_BOS;
    return pantry_tokenize(pantry_model_tokenizer(loaded->model), o->text, o->len, flags, ids, n, err);
}

static pantry_status copy_ids(const struct pn_answer_options *o, int32_t **ids, size_t *n, struct pantry_error *err)
{
    *n = o->n_ids;
    *ids = malloc((o->n_ids + 1) * sizeof **ids);
    if (!*ids)
        return pn_no_memory(err, "a prompt");
    memcpy(*ids, o->ids, o->n_ids * sizeof **ids);
    return PANTRY_OK;
}

struct prompt {
    char *text; /* of a context, else NULL */
    size_t len;
    int32_t *ids;
    size_t n;
    struct pn_replay replay; /* of a context */
    pantry_prompt *seen;     /* with pictures; else NULL */
};

static bool has_pictures(const json_t *context)
{
    json_t *message, *part;
    size_t i, k;
    json_array_foreach(json_object_get(context, "messages"), i, message)
    {
        json_array_foreach(json_object_get(message, "content"), k, part)
        {
            const char *type = json_string_value(json_object_get(part, "type"));
            if (type && strcmp(type, "image") == 0)
                return true;
        }
    }
    return false;
}

bool pn_answer_sees(const struct pn_loaded *loaded)
{
    return loaded->info.sees;
}

/* Models that see get their prompts from the library, also without pictures: templates want their texts in parts. */
static pantry_status see(const struct pn_loaded *loaded, const json_t *context, struct prompt *p,
                         struct pantry_error *err)
{
    char *json = json_dumps(context, 0);
    if (!json)
        return pn_no_memory(err, "a prompt");
    pantry_status status = pantry_prompt_chat(loaded->model, json, &p->seen, &p->text, &p->len, err);
    free(json);
    if ((status == PANTRY_FORMAT || status == PANTRY_LIMIT) && has_pictures(context)) /* the caller's picture */
        return err ? err->status = PANTRY_INVALID : PANTRY_INVALID;
    if (status)
        return status;
    const int32_t *ids = pantry_prompt_ids(p->seen, &p->n);
    struct pn_answer_options all = {.ids = ids, .n_ids = p->n};
    return copy_ids(&all, &p->ids, &p->n, err);
}

static pantry_status read_prompt(const struct pn_loaded *loaded, const struct pn_answer_options *o,
                                 const struct pn_exchange *x, struct prompt *p, struct pantry_error *err)
{
    *p = (struct prompt){0};
    if (!o->context && o->ids)
        return copy_ids(o, &p->ids, &p->n, err);
    if (!pantry_model_tokenizer(loaded->model))
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s has no tokenizer", loaded->name);
    if (!o->context)
        return tokenize(loaded, o, &p->ids, &p->n, err);
    pantry_status status = pn_replay_start(&p->replay, loaded, x ? pn_http_owner(x) : NULL, o->context, err);
    bool pictures = has_pictures(o->context);
    if (!status && pictures && o->continues)
        return pn_fail(err, PANTRY_UNSUPPORTED, "an answer cannot be continued in a conversation with pictures");
    if (!status && pictures && !pn_answer_sees(loaded))
        return pn_fail(err, PANTRY_UNSUPPORTED, "messages: this model does not see pictures (image, image_url)");
    if (!status && (pictures || (!p->replay.has_tools && !o->continues && pn_answer_sees(loaded))))
        return see(loaded, p->replay.context, p, err);
    if (!status)
        status = render(loaded, p->replay.context, o->continues, &p->text, &p->len, err);
    return status ? status : pn_replay_tokens(&p->replay, p->text, p->len, &p->ids, &p->n, err);
}

static void prompt_free(struct prompt *p)
{
    pn_replay_free(&p->replay);
    pantry_free(p->text);
    pantry_free(p->ids);
    pantry_prompt_free(p->seen);
}

pantry_status pn_answer_tokens(const struct pn_loaded *loaded, const struct pn_answer_options *o,
                               const struct pn_exchange *x, int32_t **ids, size_t *n, struct pantry_error *err)
{
    struct pn_answer_options own = *o;
    struct prompt p;
    own.context = whole_context(loaded, o->context);
    pantry_status status = read_prompt(loaded, &own, x, &p, err);
    if (!status) {
        *ids = p.ids;
        *n = p.n;
        p.ids = NULL;
    }
    prompt_free(&p);
    json_decref(own.context);
    return status;
}

/* ---- answers ---- */

struct making {
    const struct pn_loaded *loaded;
    const struct pn_answer_options *options;
    struct pn_exchange *x;
    const pantry_cancel *end_thinking; /* NULL: nobody can ask for it */
    pantry_parser *parser;             /* NULL: all is content */
    struct pn_answer *out;
    struct pn_replay *replay;
    const pantry_prompt *seen; /* the prompt, where it has pictures */
    int n_taken;               /* tokens */
    int n_read;                /* of the prompt, as told */
    json_t *logprobs;          /* of the tokens since the last part, or NULL */
    struct pn_buf ids;         /* of the answer, where there are several stop texts, or it may outgrow the context */
    bool unwanted, repeats;    /* repeats: the parser tells what the message that is continued has already */
};

/* JSON has no infinity; this is what OpenAI sends for a token that is impossible. */
static const double impossible = -9999;

static json_t *logprob_json(const struct pn_loaded *loaded, int32_t id, float logprob)
{
    char *text = NULL;
    size_t len = 0;
    const pantry_tokenizer *tokenizer = pantry_model_tokenizer(loaded->model);
    json_t *bytes = json_array();
    pantry_detokenize(tokenizer, &id, 1, PANTRY_DETOKENIZE_SPECIAL, &text, &len, NULL);
    for (size_t i = 0; i < len; i++)
        json_array_append_new(bytes, json_integer((unsigned char)text[i]));
    json_t *v = json_pack("{s:o, s:f, s:o}", "token", pn_json_text(text ? text : "", len), "logprob",
                          logprob >= (float)impossible ? (double)logprob : impossible, "bytes", bytes);
    pantry_free(text);
    return v;
}

static void note_logprobs(struct making *m, const struct pantry_token *token)
{
    if (!m->logprobs || token->id < 0)
        return;
    json_t *v = logprob_json(m->loaded, token->id, token->logprob), *top = json_array();
    for (int i = 0; i < token->n_top; i++)
        json_array_append_new(top, logprob_json(m->loaded, token->top[i].id, token->top[i].logprob));
    json_object_set_new(v, "top_logprobs", top);
    json_array_append_new(m->logprobs, v);
}

/* Nine letters and digits, as some templates require. */
static void make_id(char out[CALL_ID + 1])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static atomic_uint_fast64_t counter;
    struct pn_rng rng = {pn_clock_ns() ^ atomic_fetch_add(&counter, 1) << 48};
    for (int i = 0; i < CALL_ID; i++)
        out[i] = letters[pn_rng_u64(&rng) % (sizeof letters - 1)];
    out[CALL_ID] = '\0';
}

static void hand_out(struct making *m, const struct pn_delta *delta)
{
    if (m->unwanted)
        return;
    struct pn_delta whole = *delta;
    char id[CALL_ID + 1];
    m->out->n_calls += delta->kind == PN_DELTA_TOOL_CALL;
    if (delta->kind == PN_DELTA_REASONING) {
        m->out->n_reasoning = m->n_taken;
        pn_replay_note_reasoning(m->replay, delta->text, delta->len);
    } else if (delta->kind == PN_DELTA_CONTENT) {
        whole.logprobs = m->logprobs;
        pn_replay_note_content(m->replay, delta->text, delta->len);
    } else if (delta->kind == PN_DELTA_TOOL_CALL) {
        if (!delta->id) {
            make_id(id);
            whole.id = id;
            whole.id_is_made = true;
        }
        pn_replay_note_call(m->replay, whole.id, delta->name, delta->arguments);
    }
    m->unwanted = !m->options->delta(m->options->user, &whole);
    if (delta->kind != PN_DELTA_WAIT && delta->kind != PN_DELTA_PROGRESS)
        json_array_clear(m->logprobs);
}

static void on_part(void *user, const struct pantry_parse_event *e)
{
    struct making *m = user;
    struct pn_delta delta = {.text = e->text, .len = e->len, .name = e->name, .arguments = e->arguments, .id = e->id};
    delta.kind = e->kind == PANTRY_PARSE_REASONING   ? PN_DELTA_REASONING
                 : e->kind == PANTRY_PARSE_TOOL_CALL ? PN_DELTA_TOOL_CALL
                                                     : PN_DELTA_CONTENT;
    if (!m->repeats)
        hand_out(m, &delta);
}

static pantry_status make_parser(const struct pn_loaded *loaded, struct making *m, const char *prompt, size_t len,
                                 struct pantry_error *err)
{
    size_t n;
    const char *source = pantry_model_template(loaded->model, &n);
    if (!source || !m->options->context || m->options->whole)
        return PANTRY_OK;
    char *json = json_dumps(m->options->context, 0);
    if (!json)
        return pn_no_memory(err, "an answer");
    m->repeats = m->options->continues;
    pantry_status status =
        pantry_parser_new(source, n, json, prompt, len, 0, m->options->tool_choice, on_part, m, &m->parser, err);
    m->repeats = false;
    free(json);
    return status;
}

/* The stop text that came. The engine does not show it, but the tokens that it was in. */
static const char *find_stop(const struct pn_loaded *loaded, const struct making *m)
{
    const struct pn_answer_options *o = m->options;
    const int32_t *ids = (const int32_t *)(const void *)m->ids.data;
    const char *found = NULL;
    char *text;
    size_t len, first = SIZE_MAX;
    if (o->n_stop == 1)
        return o->stop[0];
    if (m->ids.failed || !ids ||
        pantry_detokenize(pantry_model_tokenizer(loaded->model), ids, m->ids.len / sizeof *ids, 0, &text, &len, NULL))
        return NULL;
    for (size_t i = 0; i < o->n_stop; i++) {
        size_t n = strlen(o->stop[i]);
        for (size_t at = 0; n && at + n <= len && at < first; at++)
            if (memcmp(text + at, o->stop[i], n) == 0) {
                first = at;
                found = o->stop[i];
            }
    }
    pantry_free(text);
    return found;
}

static pantry_status take(struct making *m, const struct pantry_token *token, struct pantry_error *err)
{
    m->n_taken += token->id >= 0;
    if (token->id >= 0)
        pn_replay_note_token(m->replay, token->id);
    note_logprobs(m, token);
    m->out->logprob += (double)token->logprob;
    if ((m->options->n_stop > 1 || m->options->shift) && token->id >= 0)
        pn_buf_append(&m->ids, &token->id, sizeof token->id);
    if (m->parser)
        return pantry_parser_push(m->parser, token->text, token->len, err);
    if (token->len)
        hand_out(m, &(struct pn_delta){.kind = PN_DELTA_CONTENT, .text = token->text, .len = token->len});
    return PANTRY_OK;
}

/* Tells how far the prompt is read, if that has changed. */
static void tell_progress(struct making *m, const pantry_request *r)
{
    struct pn_delta delta = {.kind = PN_DELTA_PROGRESS};
    if (!m->options->progress)
        return;
    pantry_request_progress(r, &delta.n_read, &delta.n_cached);
    if (delta.n_read > m->n_read)
        hand_out(m, &delta);
    m->n_read = delta.n_read;
}

static pantry_status read_events(const struct pn_loaded *loaded, struct making *m, pantry_request *r,
                                 struct pantry_error *err)
{
    const struct pantry_event *event;
    pantry_status status = PANTRY_OK;
    int n_waits = 0;
    while (!(event = pantry_request_next(r, POLL_MS)) || event->kind != PANTRY_EVENT_END) {
        if (!m->n_taken)
            tell_progress(m, r);
        if (event && loaded->n_made)
            atomic_fetch_add(loaded->n_made, 1);
        if (event && !status && !m->unwanted)
            status = take(m, event->token, err);
        n_waits = event ? 0 : n_waits + 1;
        if (n_waits && n_waits % WAITS == 0)
            hand_out(m, &(struct pn_delta){.kind = PN_DELTA_WAIT});
        if (m->x && !m->unwanted)
            m->unwanted = !pn_http_is_open(m->x);
        if (m->unwanted || status)
            pantry_request_cancel(r);
    }
    m->out->stats = *event->stats;
    m->out->stop = event->stats->stop == PANTRY_STOP_TEXT ? find_stop(loaded, m) : NULL;
    if (!status && event->status)
        status = pn_fail(err, event->status, "%s", event->message);
    return status;
}

static pantry_status submit(const struct making *m, const int32_t *ids, size_t n, int max_tokens, pantry_request **r,
                            struct pantry_error *err)
{
    const struct pn_answer_options *o = m->options;
    struct pantry_request_options request = pantry_request_options_default();
    struct pantry_samplers more = o->more;
    more.order = *o->order ? o->order : NULL;
    more.dry_breaker = o->breakers.given ? o->breakers.item : NULL;
    more.n_dry_breaker = o->breakers.n;
    more.banned = o->banned.item;
    more.n_banned = o->banned.n;
    request.ids = ids;
    request.n_ids = n;
    request.sampling = o->sampling;
    request.sampling.more = &more;
    request.max_tokens = max_tokens;
    request.n_context = o->n_context;
    request.n_batch = o->n_batch;
    request.stop = o->stop;
    request.n_stop = o->n_stop;
    request.logprobs = o->logprobs;
    request.top_logprobs = o->top_logprobs;
    request.logit_bias = o->logit_bias;
    request.n_logit_bias = o->n_logit_bias;
    request.think_budget = o->think_budget;
    request.think_message = o->think_message;
    request.end_thinking = m->end_thinking;
    request.begin = o->begin;
    request.grammar = o->grammar;
    request.control_tokens = m->parser != NULL;
    request.prompt = m->seen;
    request.cache_key = m->x ? pn_http_owner(m->x) : NULL;
    return pantry_submit(m->loaded->model, &request, r, err);
}

/* ---- more than the context holds ---- */

static size_t context_of(const struct making *m)
{
    return (size_t)(m->options->n_context ? m->options->n_context : m->loaded->n_context);
}

/* Leaves `n_out` tokens out after those that stay. */
static void leave_out(const struct making *m, struct prompt *p, size_t n_out)
{
    size_t n_keep = (size_t)m->options->n_keep, most = context_of(m) / 2;
    n_keep = n_keep < most ? n_keep : most;
    n_out = n_out < p->n - n_keep ? n_out : p->n - n_keep;
    memmove(p->ids + n_keep, p->ids + n_keep + n_out, (p->n - n_keep - n_out) * sizeof *p->ids);
    p->n -= n_out;
}

/* Cuts a prompt that is longer than the context, so that there is room for the answer, in half of it at most. */
static void cut_prompt(struct making *m, struct prompt *p)
{
    size_t n_context = context_of(m), room = (size_t)m->options->max_tokens, before = p->n;
    if (!m->options->cut || p->n <= n_context || p->seen) /* a picture cannot be cut */
        return;
    room = room && room < n_context / 2 ? room : n_context / 2;
    leave_out(m, p, p->n - (n_context - room));
    m->out->n_cut = (int)(before - p->n);
}

/* How many tokens may come yet where the answer ended because the context is full; 0: it ended for another reason. Ten
 * contexts are the most, as in Ollama, since a model need not end. */
static int left_to_make(const struct making *m)
{
    const struct pn_answer_options *o = m->options;
    int made = m->out->stats.n_generated, most = 10 * (int)context_of(m);
    most = o->max_tokens && o->max_tokens < most ? o->max_tokens : most;
    bool full = o->shift && !m->unwanted && !m->seen && m->out->stats.stop == PANTRY_STOP_LENGTH;
    return full && made < most ? most - made : 0;
}

/* The prompt becomes all tokens so far without some older ones; `n_taken` of the answer are in it already. */
static pantry_status shift(struct making *m, struct prompt *p, size_t *n_taken, struct pantry_error *err)
{
    const int32_t *made = (const int32_t *)(const void *)m->ids.data;
    size_t n = m->ids.len / sizeof *made, n_new = n - *n_taken, n_context = context_of(m);
    int32_t *ids = m->ids.failed || !n_new ? NULL : realloc(p->ids, (p->n + n_new) * sizeof *ids);
    if (!ids)
        return pn_no_memory(err, "a longer answer");
    p->ids = ids;
    memcpy(p->ids + p->n, made + *n_taken, n_new * sizeof *ids);
    p->n += n_new;
    *n_taken = n;
    size_t before = p->n,
           n_keep = (size_t)m->options->n_keep < n_context / 2 ? (size_t)m->options->n_keep : n_context / 2;
    leave_out(m, p, (n_context - n_keep + 1) / 2);
    m->out->n_shifted += (int)(before - p->n);
    return PANTRY_OK;
}

/* The answer as a whole was made by several requests. */
static void add_stats(struct pantry_stats *sum, const struct pantry_stats *next)
{
    sum->n_generated += next->n_generated;
    sum->decode_seconds += next->prefill_seconds + next->decode_seconds;
    sum->stop = next->stop;
}

/* Runs requests until the answer has ended: one, and more where it outgrows the context. */
static pantry_status run_requests(struct making *m, struct prompt *p, struct pantry_error *err)
{
    pantry_request *r = NULL;
    size_t n_taken = 0;
    pantry_status status = submit(m, p->ids, p->n, m->options->max_tokens, &r, err);
    if (!status)
        status = read_events(m->loaded, m, r, err);
    for (int left; !status && (left = left_to_make(m));) {
        struct pantry_stats so_far = m->out->stats;
        pantry_request_free(r);
        r = NULL;
        if (!(status = shift(m, p, &n_taken, err)) && !(status = submit(m, p->ids, p->n, left, &r, err)))
            status = read_events(m->loaded, m, r, err);
        if (!status)
            add_stats(&so_far, &m->out->stats);
        m->out->stats = so_far;
    }
    pantry_request_free(r);
    return status;
}

/* An answer of a chat can be told to end its reasoning while it is made. */
static pantry_status run_named(struct making *m, struct prompt *p, struct pantry_error *err)
{
    struct pn_running running;
    if (!m->x || !m->options->context)
        return run_requests(m, p, err);
    pantry_status status = pn_running_add(&running, m->x, m->options->id, err);
    if (status)
        return status;
    m->end_thinking = running.end_thinking;
    status = run_requests(m, p, err);
    pn_running_remove(&running);
    return status;
}

pantry_status pn_answer_make(const struct pn_loaded *loaded, const struct pn_answer_options *o, struct pn_exchange *x,
                             struct pn_answer *out, struct pantry_error *err)
{
    struct pn_answer_options own = *o;
    struct prompt prompt;
    struct making m = {.loaded = loaded, .options = &own, .x = x, .out = out, .replay = &prompt.replay};
    *out = (struct pn_answer){0};
    m.logprobs = o->logprobs ? json_array() : NULL;
    own.context = whole_context(loaded, o->context);
    pantry_status status = read_prompt(loaded, &own, x, &prompt, err);
    m.seen = prompt.seen;
    if (!status)
        cut_prompt(&m, &prompt);
    out->stats.n_prompt = (int)prompt.n;
    if (!status)
        status = make_parser(loaded, &m, prompt.text, prompt.len, err);
    if (!status)
        status = run_named(&m, &prompt, err);
    if (!status && m.parser)
        status = pantry_parser_finish(m.parser, err);
    if (!status && m.parser)
        pn_replay_keep(&prompt.replay, prompt.text, prompt.len, out->stats.stop == PANTRY_STOP_END && !m.unwanted);
    pantry_parser_free(m.parser);
    json_decref(m.logprobs);
    json_decref(own.context);
    pn_buf_free(&m.ids);
    prompt_free(&prompt);
    return status;
}
