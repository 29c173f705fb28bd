/* Turns of the model in later prompts: see replay.h. */
#define _GNU_SOURCE      1 /* memmem */
#define _DARWIN_C_SOURCE 1
#include "server/replay.h"

#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ENDS = 16, MAX_OPEN = 1024, MAX_ANSWER = 1 << 20 };

struct pn_replay_turn {
    struct pn_said said;
    const json_t *message; /* of the context */
};

/* ---- what a turn means ---- */

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* White space is what clients and templates change: a run of it counts as one space, at the ends as none. */
static void put_plain(struct pn_buf *out, const char *text)
{
    bool white = false;
    size_t start = out->len;
    for (; *text; text++) {
        white = white || is_white(*text);
        if (is_white(*text))
            continue;
        if (white && out->len > start)
            pn_buf_putc(out, ' ');
        white = false;
        pn_buf_putc(out, *text);
    }
}

/* 1 and 1.0 are one number to most programs. */
static json_t *plain_numbers(json_t *v)
{
    const char *name;
    void *next;
    json_t *item;
    size_t i;
    double x = json_real_value(v);
    if (json_is_real(v) && x == floor(x) && fabs(x) < 1e15)
        return json_integer((json_int_t)x);
    json_array_foreach(v, i, item) json_array_set_new(v, i, plain_numbers(item));
    json_object_foreach_safe(v, next, name, item) json_object_set_new(v, name, plain_numbers(item));
    return json_incref(v);
}

/* Arguments that are not a JSON object are a text to templates and clients. */
static json_t *arguments_of(const char *text)
{
    json_t *v = *text ? json_loads(text, 0, NULL) : json_object();
    if (json_is_object(v))
        return v;
    json_decref(v);
    return json_string(text);
}

/* `calls` is [{"name", "arguments"}]. */
static bool meaning_of(const char *content, const json_t *calls, char hex[PN_SHA256_HEX + 1])
{
    struct pn_buf all = {0};
    json_t *copy = json_deep_copy(calls), *plain = copy ? plain_numbers(copy) : NULL;
    char *json = plain ? json_dumps(plain, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    put_plain(&all, content);
    pn_buf_putc(&all, '\n');
    pn_buf_puts(&all, json ? json : "");
    bool ok = json && !all.failed && !pn_sha256_bytes(all.data, all.len, hex, NULL);
    pn_buf_free(&all);
    free(json);
    json_decref(plain);
    json_decref(copy);
    return ok;
}

static bool is_same_text(const char *a, const char *b)
{
    struct pn_buf x = {0}, y = {0};
    put_plain(&x, a);
    put_plain(&y, b);
    bool same = !x.failed && !y.failed && x.len == y.len && (!x.len || memcmp(x.data, y.data, x.len) == 0);
    pn_buf_free(&x);
    pn_buf_free(&y);
    return same;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* [{"name", "arguments"}] of a message; NULL: it has no calls, or they are not of that shape. Caller owns it. */
static json_t *calls_of(const json_t *message)
{
    json_t *given = json_object_get(message, "tool_calls"), *list, *call;
    size_t i;
    if (strcmp(text_of(message, "role"), "assistant") != 0 || !json_array_size(given))
        return NULL;
    list = json_array();
    json_array_foreach(given, i, call)
    {
        json_t *function = json_object_get(call, "function");
        json_t *v = json_pack("{s:O, s:O}", "name", json_object_get(function, "name"), "arguments",
                              json_object_get(function, "arguments"));
        if (!v) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, v);
    }
    return list;
}

/* Without what the API that gave the id puts before it. */
static const char *bare_id(const char *id)
{
    return strncmp(id, "call_", 5) == 0 ? id + 5 : strncmp(id, "toolu_", 6) == 0 ? id + 6 : id;
}

/* ---- looking up ---- */

/* The message with the model's own arguments, and the reasoning if it was left out. */
static json_t *restored(const json_t *message, struct pn_said *said)
{
    json_t *copy = json_deep_copy(message), *said_calls = json_loads(said->calls, 0, NULL), *call;
    json_t *reasoning = json_object_get(message, "reasoning_content");
    bool has_reasoning = json_string_length(reasoning) > 0;
    size_t i;
    json_array_foreach(json_object_get(copy, "tool_calls"), i, call)
    {
        json_t *arguments = json_object_get(json_array_get(said_calls, i), "arguments");
        if (arguments)
            json_object_set(json_object_get(call, "function"), "arguments", arguments);
    }
    if (has_reasoning && !is_same_text(json_string_value(reasoning), said->reasoning))
        said->n_ids = 0; /* the client's version */
    else if (*said->reasoning && (said->is_same || has_reasoning))
        json_object_set_new(copy, "reasoning_content", json_string(said->reasoning));
    json_decref(said_calls);
    return copy;
}

static void look_up(struct pn_replay *r, json_t *messages, size_t i)
{
    json_t *message = json_array_get(messages, i), *calls = calls_of(message);
    const char *id =
        json_string_value(json_object_get(json_array_get(json_object_get(message, "tool_calls"), 0), "id"));
    struct pn_said_key key = {.owner = r->owner, .model = r->loaded->path, .position = (int)i};
    struct pn_replay_turn turn;
    key.id = id ? bare_id(id) : NULL;
    if (calls && meaning_of(text_of(message, "content"), calls, key.meaning) && pn_said_find(&key, &turn.said)) {
        json_t *copy = restored(message, &turn.said);
        turn.message = copy;
        if (copy)
            json_array_set_new(messages, i, copy);
        if (copy && turn.said.n_ids)
            r->turns[r->n_turns++] = turn;
        else
            pn_said_free(&turn.said);
    }
    json_decref(calls);
}

pantry_status pn_replay_start(struct pn_replay *r, const struct pn_loaded *loaded, const char *owner,
                              const json_t *context, struct pantry_error *err)
{
    json_t *messages = json_copy(json_object_get(context, "messages"));
    size_t n = json_array_size(messages);
    *r = (struct pn_replay){.loaded = loaded, .owner = owner, .calls = json_array()};
    r->key = (struct pn_said_key){.owner = owner, .model = loaded->path, .position = (int)n};
    r->has_tools = json_array_size(json_object_get(context, "tools")) > 0;
    r->context = json_copy((json_t *)(uintptr_t)context);
    r->turns = calloc(n + 1, sizeof *r->turns);
    if (!r->context || !r->turns || !r->calls) {
        json_decref(messages);
        return pn_no_memory(err, "a prompt");
    }
    for (size_t i = 0; i < n; i++)
        look_up(r, messages, i);
    if (messages)
        json_object_set_new(r->context, "messages", messages);
    return PANTRY_OK;
}

void pn_replay_free(struct pn_replay *r)
{
    for (size_t i = 0; i < r->n_turns; i++)
        pn_said_free(&r->turns[i].said);
    free(r->turns);
    json_decref(r->context);
    json_decref(r->calls);
    pn_buf_free(&r->ids);
    pn_buf_free(&r->content);
    pn_buf_free(&r->reasoning);
    *r = (struct pn_replay){0};
}

/* ---- putting in ---- */

/* The digest of a digest and what follows it, in two parts. */
static pantry_status chain(const char *before, const void *bytes, size_t n, const char *more,
                           char out[PN_SHA256_HEX + 1], struct pantry_error *err)
{
    struct pn_sha256 hash = {0};
    char hex[PN_SHA256_HEX + 1];
    pantry_status status = pn_sha256_start(&hash, err);
    if (status)
        return status;
    pn_sha256_update(&hash, before, PN_SHA256_HEX);
    pn_sha256_update(&hash, bytes, n);
    pn_sha256_update(&hash, more, strlen(more));
    if (!(status = pn_sha256_finish(&hash, hex, err)))
        memcpy(out, hex, sizeof hex);
    return status;
}

/* Texts of the tokens that end an answer. */
static size_t find_ends(const struct pn_loaded *loaded, char *ends[MAX_ENDS])
{
    const pantry_tokenizer *t = pantry_model_tokenizer(loaded->model);
    size_t n = 0, len;
    for (int32_t id = 0; id < loaded->info.n_vocab && n < MAX_ENDS; id++) {
        if (!pantry_token_ends_generation(t, id) ||
            pantry_detokenize(t, &id, 1, PANTRY_DETOKENIZE_SPECIAL, &ends[n], &len, NULL))
            continue;
        if (len)
            n++;
        else
            pantry_free(ends[n]);
    }
    return n;
}

static bool shows(const char *text, size_t len, const char *part)
{
    size_t n = strlen(part);
    while (n && is_white(*part))
        part++, n--;
    while (n && is_white(part[n - 1]))
        n--;
    return n == 0 || memmem(text, len, part, n) != NULL;
}

/* Whether the template wrote all of the turn: some leave earlier reasoning out. */
static bool shows_turn(const char *text, size_t len, const struct pn_replay_turn *turn)
{
    json_t *call;
    size_t i;
    json_array_foreach(json_object_get(turn->message, "tool_calls"), i, call)
    {
        if (!shows(text, len, text_of(json_object_get(call, "function"), "name")))
            return false;
    }
    return shows(text, len, text_of(turn->message, "content")) && shows(text, len, turn->said.reasoning);
}

struct placing {
    struct pn_replay *r;
    const char *text;
    size_t len, at;                /* at: where the text that is left begins */
    char chain[PN_SHA256_HEX + 1]; /* of all before it */
    char *ends[MAX_ENDS];
    size_t n_ends;
    struct pn_buf ids;
};

/* The text up to `end`, and `more`. */
static pantry_status add_text(struct placing *p, size_t end, const char *more, struct pantry_error *err)
{
    struct pn_buf text = {0};
    int32_t *ids;
    size_t n;
    pn_buf_append(&text, p->text + p->at, end - p->at);
    pn_buf_puts(&text, more);
    pantry_status status =
        text.failed ? pn_no_memory(err, "a prompt")
                    : pantry_tokenize(pantry_model_tokenizer(p->r->loaded->model), text.data ? text.data : "", text.len,
                                      PANTRY_TOKENIZE_SPECIAL, &ids, &n, err);
    pn_buf_free(&text);
    if (status)
        return status;
    pn_buf_append(&p->ids, ids, n * sizeof *ids);
    pantry_free(ids);
    p->at = end;
    return PANTRY_OK;
}

/* Where the turn that begins at `from` ends; p->len: it is not the template's form of the turn. */
static size_t end_of_turn(const struct placing *p, size_t from, const struct pn_replay_turn *turn)
{
    size_t end = p->len;
    for (size_t i = 0; i < p->n_ends; i++) {
        const char *found = memmem(p->text + from, end - from, p->ends[i], strlen(p->ends[i]));
        end = found ? (size_t)(found - p->text) : end;
    }
    for (size_t i = 0; i < turn->said.n_ids; i++)
        if (turn->said.ids[i] >= p->r->loaded->info.n_vocab)
            return p->len;
    return shows_turn(p->text + from, end - from, turn) ? end : p->len;
}

/* What the template puts before an answer may be more than it shows of an earlier one, such as an empty thought: the
 * model saw it, so it stays. */
static pantry_status place(struct placing *p, const struct pn_replay_turn *turn, struct pantry_error *err)
{
    const struct pn_said *s = &turn->said;
    char digest[PN_SHA256_HEX + 1];
    if (s->n_piece > p->len - p->at)
        return PANTRY_OK;
    size_t from = p->at + s->n_piece, n = 0;
    pantry_status status = chain(p->chain, p->text + p->at, s->n_piece, s->open, digest, err);
    if (status || strcmp(digest, s->prompt) != 0)
        return status;
    while (from + n < p->len && s->open[n] && p->text[from + n] == s->open[n])
        n++;
    size_t end = end_of_turn(p, from + n, turn);
    if (end == p->len || (*s->open && !n))
        return PANTRY_OK;
    if ((status = add_text(p, from, s->open, err)))
        return status;
    pn_buf_append(&p->ids, s->ids, s->n_ids * sizeof *s->ids);
    p->at = end;
    return chain(digest, s->ids, s->n_ids * sizeof *s->ids, "", p->chain, err);
}

pantry_status pn_replay_tokens(struct pn_replay *r, const char *text, size_t len, int32_t **ids, size_t *n,
                               struct pantry_error *err)
{
    struct placing p = {.r = r, .text = text, .len = len};
    pantry_status status = PANTRY_OK;
    memset(p.chain, '0', PN_SHA256_HEX);
    p.n_ends = r->n_turns ? find_ends(r->loaded, p.ends) : 0;
    for (size_t i = 0; i < r->n_turns && !status; i++)
        status = place(&p, &r->turns[i], err);
    r->said.n_piece = len - p.at;
    if (!status && r->has_tools)
        status = chain(p.chain, text + p.at, len - p.at, "", r->said.prompt, err);
    if (!status)
        status = add_text(&p, len, "", err);
    if (!status && p.ids.failed)
        status = pn_no_memory(err, "a prompt");
    for (size_t i = 0; i < p.n_ends; i++)
        pantry_free(p.ends[i]);
    if (status) {
        pn_buf_free(&p.ids);
        return status;
    }
    *n = p.ids.len / sizeof **ids;
    *ids = (int32_t *)(void *)pn_buf_take(&p.ids);
    return *ids ? PANTRY_OK : pn_no_memory(err, "a prompt");
}

/* ---- the answer ---- */

void pn_replay_note_token(struct pn_replay *r, int32_t id)
{
    if (r->has_tools && r->ids.len < MAX_ANSWER)
        pn_buf_append(&r->ids, &id, sizeof id);
}

static void note(struct pn_replay *r, struct pn_buf *to, const char *text, size_t len)
{
    if (r->has_tools && to->len < MAX_ANSWER)
        pn_buf_append(to, text, len);
}

void pn_replay_note_content(struct pn_replay *r, const char *text, size_t len)
{
    note(r, &r->content, text, len);
}

void pn_replay_note_reasoning(struct pn_replay *r, const char *text, size_t len)
{
    note(r, &r->reasoning, text, len);
}

void pn_replay_note_call(struct pn_replay *r, const char *id, const char *name, const char *arguments)
{
    if (!r->has_tools)
        return;
    if (!json_array_size(r->calls))
        snprintf(r->first_id, sizeof r->first_id, "%s", bare_id(id));
    json_array_append_new(r->calls, json_pack("{s:s, s:o}", "name", name, "arguments", arguments_of(arguments)));
}

/* What the template puts before an answer. It is in the prompt, but may not be in later ones. NULL: memory is out. */
static char *find_open(const struct pn_replay *r, const char *text, size_t len)
{
    json_t *context = json_copy(r->context);
    json_object_set_new(context, "add_generation_prompt", json_false());
    char *json = json_dumps(context, 0), *without = NULL;
    size_t n = 0;
    bool rendered = json && !pantry_model_render(r->loaded->model, json, &without, &n, NULL);
    bool begins = rendered && n <= len && memcmp(without, text, n) == 0 && len - n <= MAX_OPEN &&
                  len - n <= r->said.n_piece && !memchr(text + n, '\0', len - n);
    pantry_free(without);
    free(json);
    json_decref(context);
    return strdup(begins ? text + n : "");
}

void pn_replay_keep(struct pn_replay *r, const char *text, size_t len, bool whole)
{
    bool fits = r->ids.len < MAX_ANSWER && r->content.len < MAX_ANSWER && r->reasoning.len < MAX_ANSWER;
    bool failed = r->ids.failed || r->content.failed || r->reasoning.failed;
    if (!r->has_tools || !json_array_size(r->calls) || !fits || failed)
        return;
    struct pn_said said = r->said;
    said.ids = whole ? (int32_t *)(void *)r->ids.data : NULL;
    said.n_ids = whole ? r->ids.len / sizeof *said.ids : 0;
    said.calls = json_dumps(r->calls, JSON_COMPACT);
    said.open = find_open(r, text, len);
    said.reasoning = r->reasoning.data ? r->reasoning.data : "";
    r->key.id = r->first_id;
    if (said.calls && said.open && meaning_of(r->content.data ? r->content.data : "", r->calls, r->key.meaning)) {
        said.n_piece -= strlen(said.open);
        pn_said_keep(&r->key, &said);
    }
    free(said.calls);
    free(said.open);
}
