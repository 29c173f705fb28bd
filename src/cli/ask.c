/* Questions to a service and its answers: see ask.h. */
#include "cli/ask.h"

#include "base/clock.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>

/* ---- questions ---- */

static json_t *texts_of(const struct pn_text_list *list)
{
    json_t *texts = json_array();
    for (size_t i = 0; i < list->n; i++)
        json_array_append_new(texts, json_string(list->item[i]));
    return texts;
}

/* What the user set; the rest is the service's choice for the model. */
static json_t *options_of(const struct pn_question *q, bool chat)
{
    struct pn_cli_sampler own = *q->sampler, *s = &own;
    json_t *options = json_object();
    for (size_t i = 0; i < PN_N_SAMPLING_FIELDS; i++) {
        const struct pn_sampling_field *f = &pn_sampling_fields[i];
        const void *at = pn_sampling_at(f, &s->sampling, &s->more);
        if (!pn_cli_sampling_is_unset(s, f))
            json_object_set_new(options, f->name,
                                f->whole ? json_integer(*(const int *)at) : json_real((double)*(const float *)at));
    }
    if (s->order)
        json_object_set_new(options, "samplers", json_string(s->order));
    bool none = s->breakers.n == 1 && strcmp(s->breakers.item[0], "none") == 0;
    if (s->breakers.n)
        json_object_set_new(options, "dry_sequence_breakers", none ? json_array() : texts_of(&s->breakers));
    if (s->banned.n)
        json_object_set_new(options, "banned_strings", texts_of(&s->banned));
    if (s->form.gbnf)
        json_object_set_new(options, "grammar", json_string(s->form.text));
    if (s->form.regex)
        json_object_set_new(options, "regex", json_string(s->form.text));
    if (s->think_budget >= 0)
        json_object_set_new(options, "think_budget", json_integer(s->think_budget));
    if (s->think_message)
        json_object_set_new(options, "think_message", json_string(s->think_message));
    json_object_set_new(options, "seed", json_integer((json_int_t)s->sampling.seed));
    int most = pn_cli_sampler_most(q->sampler, chat);
    json_object_set_new(options, "num_predict", json_integer(most > 0 ? most : -1));
    if (q->n_context)
        json_object_set_new(options, "num_ctx", json_integer(q->n_context));
    if (s->stop.n)
        json_object_set_new(options, "stop", texts_of(&s->stop));
    return options;
}

/* Ollama's messages have a text, and pictures beside it. */
static void put_images_beside(json_t *message)
{
    json_t *parts = json_incref(json_object_get(message, "content")), *part, *images = json_array();
    size_t i;
    json_array_foreach(parts, i, part)
    {
        json_t *data = json_object_get(part, "data"), *text = json_object_get(part, "text");
        if (data)
            json_array_append(images, data);
        else if (text)
            json_object_set(message, "content", text);
    }
    if (json_array_size(images))
        json_object_set(message, "images", images);
    json_decref(images);
    json_decref(parts);
}

/* The messages with Ollama's name of the reasoning, and its form of pictures. */
static json_t *messages_of(const json_t *messages)
{
    json_t *list = json_array(), *given;
    size_t i;
    json_array_foreach(messages, i, given)
    {
        json_t *m = json_copy(given), *reasoning = json_object_get(m, "reasoning_content");
        if (reasoning) {
            json_object_set(m, "thinking", reasoning);
            json_object_del(m, "reasoning_content");
        }
        if (json_is_array(json_object_get(m, "content")))
            put_images_beside(m);
        json_array_append_new(list, m);
    }
    return list;
}

json_t *pn_ask_body(const struct pn_question *q, const char *model, bool chat, bool can_think)
{
    json_t *body =
        json_pack("{s:s, s:b, s:b, s:o}", "model", model, "stream", 1, "figures", 1, "options", options_of(q, chat));
    if (!body)
        return NULL;
    if (q->sampler->form.schema)
        json_object_set_new(body, "format", json_loads(q->sampler->form.text, JSON_ALLOW_NUL, NULL));
    if (!chat) {
        json_object_set_new(body, "prompt", pn_cli_json_text(q->text, q->len));
        json_object_set_new(body, "raw", json_true());
        return body;
    }
    json_t *messages = messages_of(q->messages);
    if (q->no_system) /* an empty one keeps that of the model away */
        json_array_insert_new(messages, 0, json_pack("{s:s, s:s}", "role", "system", "content", ""));
    json_object_set_new(body, "messages", messages);
    if (q->think == PN_THINK_OFF || (q->think == PN_THINK_ON && can_think))
        json_object_set_new(body, "think", json_boolean(q->think == PN_THINK_ON));
    return body;
}

/* ---- answers ---- */

void pn_take_start(struct pn_taking *t, const struct pn_question *q, bool chat, bool opened, struct pn_answer *answer)
{
    *t =
        (struct pn_taking){.question = q, .answer = answer, .opened = opened, .inside = opened, .began = pn_clock_ns()};
    t->most = pn_cli_sampler_most(q->sampler, chat);
    *answer = (struct pn_answer){.stats = {.size = sizeof answer->stats}};
}

/* Equal pieces get equal ids. */
static int32_t id_of(const char *text, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return (int32_t)(hash & 0x7FFFFFFF);
}

static void put_piece(struct pn_taking *t, int32_t id, const char *text, size_t len)
{
    if (!t->unwanted && len)
        t->unwanted = !t->question->piece(t->question->user, id, text, len);
}

static void put_tag(struct pn_taking *t, const char *tag)
{
    put_piece(t, -1, tag, strlen(tag));
}

static void take_text(struct pn_taking *t, const json_t *value, bool reasoning)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (!text || !len)
        return;
    if (reasoning != t->inside) {
        if (!reasoning || !t->opened)
            put_tag(t, reasoning ? "<think>\n" : "\n</think>\n\n");
        t->inside = reasoning;
    }
    t->last = pn_clock_ns();
    t->first = t->first ? t->first : t->last;
    t->answer->stats.first_token_seconds = (double)(t->first - t->began) * 1e-9;
    t->n_pieces++;
    put_piece(t, id_of(text, len), text, len);
}

/* A model may call tools that nobody offered; the call is shown. */
static void take_calls(struct pn_taking *t, const json_t *calls)
{
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call)
    {
        char *text = json_dumps(json_object_get(call, "function"), JSON_COMPACT);
        if (text) {
            put_tag(t, "<tool_call>\n");
            put_tag(t, text);
            put_tag(t, "\n</tool_call>\n");
        }
        free(text);
    }
}

static double seconds_of(const json_t *object, const char *name)
{
    return (double)json_integer_value(json_object_get(object, name)) * 1e-9;
}

static int count_of(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));
    return n > 0 && n < 1 << 30 ? (int)n : 0;
}

static enum pantry_stop stop_of(const json_t *object)
{
    const char *by = json_string_value(json_object_get(json_object_get(object, "figures"), "stopped_by"));
    const char *reason = json_string_value(json_object_get(object, "done_reason"));
    for (int stop = PANTRY_STOP_END; by && stop <= PANTRY_STOP_CALLBACK; stop++)
        if (strcmp(pantry_stop_name((enum pantry_stop)stop), by) == 0)
            return (enum pantry_stop)stop;
    return reason && strcmp(reason, "length") == 0 ? PANTRY_STOP_LENGTH : PANTRY_STOP_END;
}

static void take_end(struct pn_taking *t, const json_t *object)
{
    struct pn_answer *answer = t->answer;
    struct pantry_stats *s = &answer->stats;
    const json_t *figures = json_object_get(object, "figures");
    s->n_prompt = count_of(object, "prompt_eval_count");
    s->n_cached = count_of(figures, "cached");
    s->n_generated = count_of(object, "eval_count");
    s->load_seconds = seconds_of(object, "load_duration");
    s->prefill_seconds = seconds_of(object, "prompt_eval_duration");
    s->decode_seconds = seconds_of(object, "eval_duration");
    s->bytes_per_token = json_number_value(json_object_get(figures, "bytes_per_token"));
    s->n_steps = count_of(figures, "steps");
    s->stop = stop_of(object);
    answer->n_context = t->question->n_context ? t->question->n_context : count_of(figures, "context");
    answer->filled = s->stop == PANTRY_STOP_LENGTH && answer->n_context &&
                     s->n_prompt + s->n_generated >= answer->n_context - 1 && (!t->most || s->n_generated < t->most);
    t->done = true;
}

bool pn_take_object(void *user, json_t *object)
{
    struct pn_taking *t = user;
    const json_t *message = json_object_get(object, "message");
    take_text(t, json_object_get(message, "thinking"), true);
    take_text(t, json_object_get(message, "content"), false);
    take_calls(t, json_object_get(message, "tool_calls"));
    take_text(t, json_object_get(object, "response"), false);
    if (json_is_true(json_object_get(object, "done")))
        take_end(t, object);
    return !t->unwanted;
}

void pn_take_cut(const struct pn_taking *t, enum pantry_stop stop)
{
    struct pantry_stats *s = &t->answer->stats;
    s->n_generated = t->n_pieces;
    s->n_steps = t->n_pieces > 1 ? t->n_pieces - 1 : 0;
    s->decode_seconds = (double)(t->last - t->first) * 1e-9;
    s->prefill_seconds = t->first ? (double)(t->first - t->began) * 1e-9 : 0;
    s->stop = stop;
}
