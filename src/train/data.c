/* Reading data sets: see data.h. */
#define _POSIX_C_SOURCE 200809L
#include "train/data.h"

#include "base/file.h"
#include "base/random.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 30, MAX_ROW = 1 << 24 };

/* ---- conversations ---- */

/* Sets the text of a special token, as templates know it. */
static bool set_token(json_t *context, const char *key, const struct pn_tokenizer *t, int32_t id)
{
    size_t n = 0;
    const char *text = id >= 0 ? pn_tokenizer_token_text(t, id, &n) : NULL;
    json_t *value = json_stringn(text ? text : "", text ? n : 0);
    return value && json_object_set_new(context, key, value) == 0;
}

/* Appends the ids of the first `n` messages of a list. */
static pantry_status encode_messages(const struct pn_train_text *how, json_t *messages, size_t n, json_t *tools,
                                     bool prompts, struct pn_ids *out, struct pantry_error *err)
{
    char *text = NULL;
    size_t len = 0;
    json_t *context = json_object(), *list = json_array();
    bool ok = context && list;
    for (size_t i = 0; i < n && ok; i++)
        ok = json_array_append(list, json_array_get(messages, i)) == 0;
    ok = ok && json_object_set(context, "messages", list) == 0 &&
         (!tools || json_object_set(context, "tools", tools) == 0) &&
         json_object_set_new(context, "add_generation_prompt", json_boolean(prompts)) == 0 &&
         set_token(context, "bos_token", how->tokenizer, pn_tokenizer_bos(how->tokenizer)) &&
         set_token(context, "eos_token", how->tokenizer, pn_tokenizer_eos(how->tokenizer));
    pantry_status status =
        ok ? pn_template_render(how->template, context, NULL, &text, &len, err) : pn_no_memory(err, "a conversation");
    if (!status)
        status = pn_tokenizer_encode(how->tokenizer, text, len, PN_TOKENIZE_SPECIAL, out, err);
    json_decref(context);
    json_decref(list);
    free(text);
    return status;
}

static const char *role_of(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role ? role : "";
}

static const char *prompt_of(const struct pn_train_text *how)
{
    return how->prompt ? how->prompt : "prompt";
}

static const char *completion_of(const struct pn_train_text *how)
{
    return how->completion ? how->completion : "completion";
}

static const char *chat_of(const struct pn_train_text *how)
{
    return how->chat ? how->chat : "messages";
}

static const char *text_of(const struct pn_train_text *how)
{
    return how->text ? how->text : "text";
}

static pantry_status read_messages(const struct pn_train_text *how, json_t *messages, json_t *tools, struct pn_ids *out,
                                   size_t *offset, struct pantry_error *err)
{
    size_t n = json_array_size(messages);
    if (n == 0)
        return pn_fail(err, PANTRY_FORMAT, "\"%s\" is not a list of messages", chat_of(how));
    for (size_t i = 0; i < n; i++)
        if (!json_is_string(json_object_get(json_array_get(messages, i), "role")))
            return pn_fail(err, PANTRY_FORMAT, "message %zu has no \"role\"", i + 1);
    if (!how->template)
        return pn_fail(err, PANTRY_UNSUPPORTED, "the model has no chat template, so a row must be a \"text\"");
    pantry_status status = encode_messages(how, messages, n, tools, false, out, err);
    if (status || !how->mask_prompt)
        return status;
    struct pn_ids prompt = {0};
    bool answer = strcmp(role_of(json_array_get(messages, n - 1)), "assistant") == 0;
    status = encode_messages(how, messages, n - 1, tools, answer, &prompt, err);
    *offset = prompt.len;
    free(prompt.data);
    return status;
}

static pantry_status read_pair(const struct pn_train_text *how, const json_t *row, struct pn_ids *out, size_t *offset,
                               struct pantry_error *err)
{
    json_t *prompt = json_object_get(row, prompt_of(how)), *completion = json_object_get(row, completion_of(how));
    if (!json_is_string(prompt) || !json_is_string(completion))
        return pn_fail(err, PANTRY_FORMAT, "\"%s\" is not a text",
                       json_is_string(prompt) ? completion_of(how) : prompt_of(how));
    json_t *messages = json_pack("[{s:s, s:O}, {s:s, s:O}]", "role", "user", "content", prompt, "role", "assistant",
                                 "content", completion);
    pantry_status status = messages ? read_messages(how, messages, json_object_get(row, "tools"), out, offset, err)
                                    : pn_no_memory(err, "a conversation");
    json_decref(messages);
    return status;
}

static pantry_status read_text(const struct pn_train_text *how, const json_t *text, struct pn_ids *out,
                               struct pantry_error *err)
{
    int32_t eos = pn_tokenizer_eos(how->tokenizer);
    if (!json_is_string(text))
        return pn_fail(err, PANTRY_FORMAT, "\"%s\" is not a text", text_of(how));
    if (how->mask_prompt)
        return pn_fail(err, PANTRY_INVALID, "a \"%s\" has no prompt, which --mask-prompt could leave out",
                       text_of(how));
    pantry_status status = pn_tokenizer_encode(how->tokenizer, json_string_value(text), json_string_length(text),
                                               PN_TOKENIZE_SPECIAL | PN_TOKENIZE_BOS, out, err);
    if (!status && eos >= 0 && (out->len == 0 || out->data[out->len - 1] != eos) && !pn_vec_push(out, eos))
        status = pn_no_memory(err, "token ids");
    return status;
}

/* ---- rows ---- */

static pantry_status add_row(const char *line, size_t len, size_t number, const struct pn_train_text *how,
                             struct pn_train_data *out, struct pantry_error *err)
{
    json_error_t why;
    struct pn_ids ids = {0};
    size_t offset = 0;
    json_t *row = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    pantry_status status;
    if (!row)
        status = pn_fail(err, PANTRY_FORMAT, "is not JSON (column %d: %.80s)", why.column, why.text);
    else if (!json_is_object(row))
        status = pn_fail(err, PANTRY_FORMAT, "is not a JSON object");
    else if (json_object_get(row, prompt_of(how)) && json_object_get(row, completion_of(how)))
        status = read_pair(how, row, &ids, &offset, err);
    else if (json_object_get(row, chat_of(how)))
        status =
            read_messages(how, json_object_get(row, chat_of(how)), json_object_get(row, "tools"), &ids, &offset, err);
    else if (json_object_get(row, text_of(how)))
        status = read_text(how, json_object_get(row, text_of(how)), &ids, err);
    else
        status = pn_fail(err, PANTRY_FORMAT, "has neither \"%s\" nor \"%s\" and \"%s\" nor \"%s\"", chat_of(how),
                         prompt_of(how), completion_of(how), text_of(how));
    if (!status && (ids.len == 0 || ids.len > MAX_ROW))
        status = pn_fail(err, PANTRY_FORMAT, "has %zu tokens (allowed 1 to %d)", ids.len, MAX_ROW);
    struct pn_train_row one = {ids.data, (int32_t)ids.len, (int32_t)(offset < ids.len ? offset : ids.len + 1),
                               (int32_t)(number < INT32_MAX ? number : INT32_MAX)};
    if (!status && !pn_vec_push(out, one))
        status = pn_no_memory(err, "a data set");
    if (status)
        free(ids.data);
    json_decref(row);
    return status;
}

static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

pantry_status pn_train_data_parse(const char *path, const char *text, size_t len, const struct pn_train_text *how,
                                  struct pn_train_data *out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    size_t number = 1, n;
    for (size_t at = 0; at < len && !status; at += n + 1, number++) {
        const char *end = memchr(text + at, '\n', len - at);
        n = end ? (size_t)(end - text) - at : len - at;
        if (!is_blank(text + at, n) && (status = add_row(text + at, n, number, how, out, err)))
            pn_fail_prefix(err, "%s:%zu", path, number);
    }
    return status;
}

pantry_status pn_train_data_read(const char *path, const struct pn_train_text *how, struct pn_train_data *out,
                                 struct pantry_error *err)
{
    char *text = NULL;
    size_t len = 0;
    *out = (struct pn_train_data){.path = strdup(path)};
    if (!out->path)
        return pn_no_memory(err, path);
    pantry_status status = pn_file_read(path, MAX_FILE, &text, &len, err);
    if (!status)
        status = pn_train_data_parse(path, text, len, how, out, err);
    if (!status && out->len == 0)
        status = pn_fail(err, PANTRY_FORMAT, "%s: has no rows", path);
    free(text);
    return status;
}

/* ---- choices of rows ---- */

enum pn_long_rows pn_long_rows_find(const char *name)
{
    static const char *const names[PN_LONG_COUNT] = {"cut", "skip", "refuse"};
    int i = 0;
    while (i < PN_LONG_COUNT && strcmp(names[i], name) != 0)
        i++;
    return (enum pn_long_rows)i;
}

pantry_status pn_train_data_limit(struct pn_train_data *data, enum pn_long_rows how, int max_length,
                                  struct pantry_error *err)
{
    size_t kept = 0, n_long = 0;
    const struct pn_train_row *first = NULL;
    for (size_t i = 0; i < data->len; i++)
        if (data->data[i].n > max_length) {
            first = first ? first : &data->data[i];
            n_long++;
        }
    if (how == PN_LONG_CUT || n_long == 0)
        return PANTRY_OK;
    if (how == PN_LONG_REFUSE)
        return pn_fail(err, PANTRY_LIMIT, "%s:%d: has %d tokens (allowed %d), the first of %zu rows that are too long",
                       data->path, (int)first->line, (int)first->n, max_length, n_long);
    for (size_t i = 0; i < data->len; i++) {
        if (data->data[i].n > max_length)
            free(data->data[i].ids);
        else
            data->data[kept++] = data->data[i];
    }
    data->len = kept;
    data->n_left_out = n_long;
    return kept ? PANTRY_OK
                : pn_fail(err, PANTRY_LIMIT, "%s: all its rows have more than %d tokens", data->path, max_length);
}

pantry_status pn_train_data_split(struct pn_train_data *data, double share, bool random, uint64_t seed,
                                  struct pn_train_data *out, struct pantry_error *err)
{
    size_t n = data->len, left = 0, moved = (size_t)(share * (double)n + 0.5);
    if (n < 2)
        return pn_fail(err, PANTRY_INVALID, "%s: has too few rows to split (found %zu, needed 2)", data->path, n);
    moved = moved < 1 ? 1 : moved > n - 1 ? n - 1 : moved;
    bool *goes = calloc(n, sizeof *goes);
    *out = (struct pn_train_data){.path = strdup(data->path), .data = calloc(moved, sizeof *out->data), .cap = moved};
    if (!goes || !out->path || !out->data) {
        free(goes);
        return pn_no_memory(err, "a data set");
    }
    for (size_t i = 0, chosen = 0; i < n; i++) { /* each of the remaining rows is as likely (Fan et al., 1962) */
        uint64_t dice = random ? pn_random_at(seed ^ 0x73706c6974, i) % (n - i) : n - i - 1;
        goes[i] = dice < moved - chosen;
        chosen += goes[i];
    }
    for (size_t i = 0; i < n; i++)
        if (goes[i])
            out->data[out->len++] = data->data[i];
        else
            data->data[left++] = data->data[i];
    data->len = left;
    free(goes);
    return PANTRY_OK;
}

void pn_train_data_free(struct pn_train_data *data)
{
    for (size_t i = 0; i < data->len; i++)
        free(data->data[i].ids);
    free(data->data);
    free(data->path);
    *data = (struct pn_train_data){0};
}
