/* Replies of Anthropic's API: a message in one piece, or as the events that build it up. */
#include "server/api/anthropic.h"

#include "base/clock.h"
#include "base/random.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Thinking blocks are signed where they come from; here there is nothing to prove, but clients keep no block without.
 */
static const char signature[] = "pantry";

/* ---- names ---- */

/* A prefix and n random letters and digits. */
static void make_id(char out[40], const char *prefix, int n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static atomic_uint_fast64_t counter;
    struct pn_rng rng = {pn_clock_ns() ^ atomic_fetch_add(&counter, 1) << 48};
    size_t at = strlen(prefix);
    memcpy(out, prefix, at);
    for (int i = 0; i < n; i++)
        out[at++] = letters[pn_rng_u64(&rng) % (sizeof letters - 1)];
    out[at] = '\0';
}

void pn_anthropic_reply_init(struct pn_anthropic_reply *r, struct pn_exchange *x)
{
    char request[40];
    *r = (struct pn_anthropic_reply){.x = x, .content = json_array()};
    make_id(r->id, "msg_", 24);
    make_id(request, "req_", 24);
    pn_http_set_header(x, "request-id", request);
}

void pn_anthropic_reply_free(struct pn_anthropic_reply *r)
{
    json_decref(r->content);
    pn_buf_free(&r->text);
}

/* ---- the message ---- */

static json_t *usage_of(const struct pn_anthropic_reply *r)
{
    const struct pantry_stats *s = &r->answer.stats;
    return json_pack("{s:i, s:i, s:i, s:i}", "input_tokens", s->n_prompt - s->n_cached, "cache_creation_input_tokens",
                     0, "cache_read_input_tokens", s->n_cached, "output_tokens", r->silent ? 0 : s->n_generated);
}

/* Takes the stop reason over. */
static json_t *message_of(const struct pn_anthropic_reply *r, json_t *stop_reason, const char *stop_sequence)
{
    json_t *usage = usage_of(r);
    json_object_set_new(usage, "cache_creation",
                        json_pack("{s:i, s:i}", "ephemeral_5m_input_tokens", 0, "ephemeral_1h_input_tokens", 0));
    json_object_set_new(usage, "service_tier", json_string("standard"));
    return json_pack("{s:s, s:s, s:s, s:s, s:O, s:o, s:s?, s:o}", "id", r->id, "type", "message", "role", "assistant",
                     "model", r->model, "content", r->content, "stop_reason", stop_reason, "stop_sequence",
                     stop_sequence, "usage", usage);
}

static const char *stop_reason(const struct pn_anthropic_reply *r, const struct pn_answer_options *o)
{
    const struct pantry_stats *s = &r->answer.stats;
    if (s->stop == PANTRY_STOP_LENGTH)
        return s->n_generated < o->max_tokens ? "model_context_window_exceeded" : "max_tokens";
    if (r->answer.n_calls)
        return "tool_use";
    return s->stop == PANTRY_STOP_TEXT ? "stop_sequence" : "end_turn";
}

/* ---- events ---- */

static bool put_event(struct pn_anthropic_reply *r, const char *type, json_t *value)
{
    if (!r->stream) {
        json_decref(value);
        return true;
    }
    json_t *event = json_pack("{s:s}", "type", type);
    if (event && value)
        json_object_update(event, value);
    json_decref(value);
    return pn_write_event(r->x, type, event);
}

static bool begin(struct pn_anthropic_reply *r)
{
    if (!r->stream || r->begun)
        return true;
    r->begun = true;
    pn_http_set_header(r->x, "Cache-Control", "no-cache");
    pn_http_begin(r->x, 200, "text/event-stream; charset=utf-8");
    return put_event(r, "message_start", json_pack("{s:o}", "message", message_of(r, json_null(), NULL)));
}

static bool start_block(struct pn_anthropic_reply *r, json_t *block)
{
    return begin(r) &&
           put_event(r, "content_block_start", json_pack("{s:i, s:o}", "index", r->n_blocks, "content_block", block));
}

static bool put_delta(struct pn_anthropic_reply *r, const char *type, const char *field, json_t *value)
{
    return put_event(r, "content_block_delta",
                     json_pack("{s:i, s:{s:s, s:o}}", "index", r->n_blocks, "delta", "type", type, field, value));
}

static bool stop_block(struct pn_anthropic_reply *r)
{
    return put_event(r, "content_block_stop", json_pack("{s:i}", "index", r->n_blocks++));
}

/* ---- texts ---- */

static bool close_text(struct pn_anthropic_reply *r)
{
    bool ok = true, thinking = r->block == PN_BLOCK_THINKING;
    if (r->open) {
        const char *text = r->text.data ? r->text.data : "";
        json_t *whole = r->stream ? NULL : pn_json_text(text, r->text.len);
        if (thinking)
            ok = put_delta(r, "signature_delta", "signature", json_string(signature));
        if (whole && thinking)
            json_array_append_new(r->content, json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking", whole,
                                                        "signature", signature));
        else if (whole)
            json_array_append_new(r->content, json_pack("{s:s, s:o}", "type", "text", "text", whole));
        ok = ok && stop_block(r);
    }
    r->open = false;
    r->block = PN_BLOCK_NONE;
    r->text.len = 0;
    return ok;
}

static bool is_white(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r\n", text[i]) || !text[i])
            return false;
    return true;
}

static bool show_text(struct pn_anthropic_reply *r, const char *text, size_t len)
{
    bool thinking = r->block == PN_BLOCK_THINKING;
    if (!r->stream)
        return true;
    return put_delta(r, thinking ? "thinking_delta" : "text_delta", thinking ? "thinking" : "text",
                     pn_json_text(text, len));
}

static bool add_text(struct pn_anthropic_reply *r, enum pn_anthropic_block block, const char *text, size_t len)
{
    bool ok = r->block == block || close_text(r), hidden = block == PN_BLOCK_THINKING && r->omits;
    r->block = block;
    if (!r->open) {
        pn_buf_append(&r->text, text, len);
        if (r->text.failed || is_white(r->text.data ? r->text.data : "", r->text.len))
            return ok && !r->text.failed;
        r->open = true;
        json_t *empty = block == PN_BLOCK_THINKING
                            ? json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", "")
                            : json_pack("{s:s, s:s}", "type", "text", "text", "");
        ok = ok && start_block(r, empty);
        if (hidden)
            r->text.len = 0;
        return ok && (hidden || show_text(r, r->text.data, r->text.len));
    }
    if (hidden)
        return ok;
    if (!r->stream)
        pn_buf_append(&r->text, text, len);
    return ok && !r->text.failed && show_text(r, text, len);
}

/* ---- calls ---- */

/* An id that the model wrote stays readable: "toolu_" is taken off again before the template sees it. */
static bool add_call(struct pn_anthropic_reply *r, const struct pn_delta *d)
{
    json_t *input = json_loads(d->arguments, JSON_DECODE_ANY, NULL);
    bool is_object = json_is_object(input), ok = close_text(r);
    json_t *name = pn_json_text(d->name, strlen(d->name));
    json_t *v = json_pack("{s:s, s:o, s:o, s:{}}", "type", "tool_use", "id", json_sprintf("toolu_%s", d->id), "name",
                          name, "input");
    if (!is_object)
        input = json_pack("{s:o}", "arguments", input ? input : json_string(d->arguments));
    if (r->stream) {
        char *text = is_object ? NULL : json_dumps(input, JSON_COMPACT);
        ok = ok && start_block(r, v) &&
             put_delta(r, "input_json_delta", "partial_json", json_string(text ? text : d->arguments)) && stop_block(r);
        free(text);
        json_decref(input);
        return ok;
    }
    json_object_set_new(v, "input", input);
    json_array_append_new(r->content, v);
    r->n_blocks++;
    return true;
}

bool pn_anthropic_delta(void *user, const struct pn_delta *d)
{
    struct pn_anthropic_reply *r = user;
    if (d->kind == PN_DELTA_WAIT)
        return begin(r) && put_event(r, "ping", NULL);
    if (r->silent)
        return true;
    switch (d->kind) {
    case PN_DELTA_CONTENT:
        return add_text(r, PN_BLOCK_TEXT, d->text, d->len);
    case PN_DELTA_REASONING:
        return add_text(r, PN_BLOCK_THINKING, d->text, d->len);
    case PN_DELTA_TOOL_CALL:
        return add_call(r, d) && !r->one_call;
    case PN_DELTA_WAIT:
        break;
    }
    return true;
}

/* ---- ends ---- */

void pn_anthropic_finish(struct pn_anthropic_reply *r, const struct pn_answer_options *o)
{
    const char *reason = r->silent ? "max_tokens" : stop_reason(r, o);
    const char *sequence = strcmp(reason, "stop_sequence") == 0 ? r->answer.stop : NULL;
    bool ok = begin(r) && close_text(r);
    if (!r->stream) {
        pn_reply_json(r->x, 200, message_of(r, json_string(reason), sequence));
        return;
    }
    ok = ok && put_event(r, "message_delta",
                         json_pack("{s:{s:s, s:s?}, s:o}", "delta", "stop_reason", reason, "stop_sequence", sequence,
                                   "usage", usage_of(r)));
    if (ok)
        put_event(r, "message_stop", NULL);
}

void pn_anthropic_fail(struct pn_anthropic_reply *r, const struct pantry_error *err)
{
    struct pantry_error told = *err;
    /* Agents look for these words to know that they must shorten their conversation. */
    if (err->status == PANTRY_CONTEXT_FULL)
        snprintf(told.text, sizeof told.text, "prompt is too long: %.900s", err->text);
    if (!r->begun && !r->error_code) {
        pn_reply_error(r->x, PN_ERRORS_ANTHROPIC, &told);
        return;
    }
    int status = pn_http_status_of(err->status);
    json_t *v = pn_error_json(PN_ERRORS_ANTHROPIC, status, told.text);
    if (r->error_code)
        json_object_set_new(json_object_get(v, "error"), "details", json_pack("{s:s}", "error_code", r->error_code));
    if (r->begun)
        pn_write_event(r->x, "error", v);
    else
        pn_reply_json(r->x, status, v);
}
