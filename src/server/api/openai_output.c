/* Output items of OpenAI's responses, and the events of a stream: see openai_responses.h. */
#include "server/api/openai_responses.h"

#include <string.h>
#include <time.h>

/* ---- events ---- */

/* Takes `event` over. Nothing is sent unless the response is a stream. */
static bool send_event(struct pn_openai_response *r, const char *type, json_t *event)
{
    if (!r->call.stream) {
        json_decref(event);
        return true;
    }
    json_object_set_new(event, "type", json_string(type));
    json_object_set_new(event, "sequence_number", json_integer(r->sequence++));
    return pn_write_event(r->call.x, type, event);
}

bool pn_openai_output_event(struct pn_openai_response *r, const char *type)
{
    return send_event(r, type, json_pack("{s:O}", "response", r->object));
}

void pn_openai_output_begin(struct pn_openai_response *r)
{
    if (!r->call.stream || r->call.streaming)
        return;
    pn_openai_begin(&r->call);
    pn_openai_output_event(r, "response.created");
    pn_openai_output_event(r, "response.in_progress");
}

static int item_index(const struct pn_openai_response *r)
{
    return (int)json_array_size(r->output) - 1;
}

static json_t *place(const struct pn_openai_response *r)
{
    return json_pack("{s:O, s:i}", "item_id", json_object_get(r->item, "id"), "output_index", item_index(r));
}

static json_t *part_place(const struct pn_openai_response *r)
{
    json_t *v = place(r);
    json_object_set_new(v, "content_index", json_integer(0));
    return v;
}

/* ---- items with text ---- */

/* Messages and reasoning have one part each. */
struct text_item {
    enum pn_delta_kind kind;
    const char *type, *prefix, *part, *delta, *done;
};

static const struct text_item message_item = {
    PN_DELTA_CONTENT, "message", "msg_", "output_text", "response.output_text.delta", "response.output_text.done"};
static const struct text_item reasoning_item = {PN_DELTA_REASONING,
                                                "reasoning",
                                                "rs_",
                                                "reasoning_text",
                                                "response.reasoning_text.delta",
                                                "response.reasoning_text.done"};

static const struct text_item *kind_of(const json_t *item)
{
    const char *type = json_string_value(json_object_get(item, "type"));
    return strcmp(type, message_item.type) == 0 ? &message_item : &reasoning_item;
}

/* Events have log probabilities without bytes. `tokens` may be NULL. */
static json_t *without_bytes(const json_t *tokens)
{
    json_t *list = tokens ? json_deep_copy(tokens) : json_array(), *token, *other;
    size_t i, k;
    json_array_foreach(list, i, token)
    {
        json_object_del(token, "bytes");
        json_array_foreach(json_object_get(token, "top_logprobs"), k, other) json_object_del(other, "bytes");
    }
    return list;
}

/* `logprobs` may be NULL. */
static json_t *part(const struct text_item *kind, const char *text, size_t len, json_t *logprobs)
{
    json_t *v = json_pack("{s:s, s:o}", "type", kind->part, "text", pn_json_text(text, len));
    if (kind == &message_item) {
        json_object_set_new(v, "annotations", json_array());
        json_object_set_new(v, "logprobs", logprobs ? json_incref(logprobs) : json_array());
    }
    return v;
}

static void open_item(struct pn_openai_response *r, const struct text_item *kind)
{
    char id[PN_OPENAI_ID];
    pn_openai_id(id, kind->prefix);
    r->item = json_pack("{s:s, s:s, s:s, s:[]}", "id", id, "type", kind->type, "status", "in_progress", "content");
    if (kind == &message_item)
        json_object_set_new(r->item, "role", json_string("assistant"));
    else
        json_object_set_new(r->item, "summary", json_array());
    json_array_append_new(r->output, r->item);
    send_event(r, "response.output_item.added",
               json_pack("{s:i, s:O}", "output_index", item_index(r), "item", r->item));
    json_t *v = part_place(r);
    json_object_set_new(v, "part", part(kind, "", 0, NULL));
    send_event(r, "response.content_part.added", v);
}

static bool close_item(struct pn_openai_response *r, const char *status)
{
    if (!r->item)
        return true;
    const struct text_item *kind = kind_of(r->item);
    const char *text = r->text.data ? r->text.data : "";
    json_t *v = part_place(r);
    json_object_set_new(v, "text", pn_json_text(text, r->text.len));
    if (kind == &message_item)
        json_object_set_new(v, "logprobs", without_bytes(r->logprobs));
    send_event(r, kind->done, v);
    json_t *whole = part(kind, text, r->text.len, r->logprobs);
    v = part_place(r);
    json_object_set(v, "part", whole);
    send_event(r, "response.content_part.done", v);
    json_array_append_new(json_object_get(r->item, "content"), whole);
    json_object_set_new(r->item, "status", json_string(status));
    if (kind == &reasoning_item && r->encrypted)
        json_object_set_new(r->item, "encrypted_content", pn_json_text(text, r->text.len));
    bool open = send_event(r, "response.output_item.done",
                           json_pack("{s:i, s:O}", "output_index", item_index(r), "item", r->item));
    r->item = NULL;
    json_decref(r->logprobs);
    r->logprobs = NULL;
    pn_buf_clear(&r->text);
    return open;
}

static bool add_text(struct pn_openai_response *r, const struct text_item *kind, const struct pn_delta *d)
{
    if (r->item && kind_of(r->item) != kind)
        close_item(r, "completed");
    if (!r->item)
        open_item(r, kind);
    pn_buf_append(&r->text, d->text, d->len);
    if (d->logprobs && !r->logprobs)
        r->logprobs = json_array();
    json_array_extend(r->logprobs, d->logprobs);
    json_t *v = part_place(r);
    json_object_set_new(v, "delta", pn_json_text(d->text, d->len));
    if (kind == &message_item)
        json_object_set_new(v, "logprobs", without_bytes(d->logprobs));
    return send_event(r, kind->delta, v) && !r->text.failed;
}

/* ---- calls ---- */

static bool add_call(struct pn_openai_response *r, const struct pn_delta *d)
{
    char id[PN_OPENAI_ID];
    close_item(r, "completed");
    pn_openai_id(id, "fc_");
    r->item = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "id", id, "type", "function_call", "status", "in_progress",
                        "call_id", pn_openai_call_id(d), "name", d->name, "arguments", "");
    json_array_append_new(r->output, r->item);
    send_event(r, "response.output_item.added",
               json_pack("{s:i, s:O}", "output_index", item_index(r), "item", r->item));
    json_t *v = place(r);
    json_object_set_new(v, "delta", json_string(d->arguments));
    send_event(r, "response.function_call_arguments.delta", v);
    v = place(r);
    json_object_set_new(v, "arguments", json_string(d->arguments));
    send_event(r, "response.function_call_arguments.done", v);
    json_object_set_new(r->item, "arguments", json_string(d->arguments));
    json_object_set_new(r->item, "status", json_string("completed"));
    bool open = send_event(r, "response.output_item.done",
                           json_pack("{s:i, s:O}", "output_index", item_index(r), "item", r->item));
    r->item = NULL;
    return open;
}

/* ---- public ---- */

bool pn_openai_output_take(struct pn_openai_response *r, const struct pn_delta *d)
{
    pn_openai_output_begin(r);
    switch (d->kind) {
    case PN_DELTA_CONTENT:
        return add_text(r, &message_item, d);
    case PN_DELTA_REASONING:
        return add_text(r, &reasoning_item, d);
    case PN_DELTA_TOOL_CALL:
        return add_call(r, d);
    case PN_DELTA_WAIT:
        break;
    }
    return !r->call.stream || pn_openai_ping(&r->call);
}

static json_t *usage(const struct pn_openai_call *call)
{
    const struct pn_answer *a = &call->choices[0].made;
    return json_pack("{s:i, s:{s:i, s:i}, s:i, s:{s:i}, s:i}", "input_tokens", a->stats.n_prompt,
                     "input_tokens_details", "cached_tokens", a->stats.n_cached, "cache_write_tokens", 0,
                     "output_tokens", a->stats.n_generated, "output_tokens_details", "reasoning_tokens", a->n_reasoning,
                     "total_tokens", a->stats.n_prompt + a->stats.n_generated);
}

void pn_openai_output_finish(struct pn_openai_response *r)
{
    bool cut = r->call.choices[0].made.stats.stop == PANTRY_STOP_LENGTH;
    pn_openai_output_begin(r);
    close_item(r, cut ? "incomplete" : "completed");
    json_object_set(r->object, "output", r->output);
    json_object_set_new(r->object, "status", json_string(cut ? "incomplete" : "completed"));
    if (cut)
        json_object_set_new(r->object, "incomplete_details", json_pack("{s:s}", "reason", "max_output_tokens"));
    else
        json_object_set_new(r->object, "completed_at", json_integer((json_int_t)time(NULL)));
    json_object_set_new(r->object, "usage", usage(&r->call));
}
