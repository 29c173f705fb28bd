/* OpenAI's API: models, fields, errors, and the table of its routes. */
#define _POSIX_C_SOURCE 200809L
#include "server/api/openai.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "server/api/anthropic.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- fields and errors ---- */

static bool is_neutral(const json_t *value, const char *neutral)
{
    if (json_is_null(value))
        return true;
    json_t *wanted = neutral ? json_loads(neutral, JSON_DECODE_ANY, NULL) : NULL;
    bool same = wanted && (json_equal(value, wanted) || (json_is_number(value) && json_is_number(wanted) &&
                                                         json_number_value(value) == json_number_value(wanted)));
    json_decref(wanted);
    return same;
}

pantry_status pn_openai_check(json_t *object, const struct pn_openai_field *fields, const char *where,
                              struct pantry_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        const struct pn_openai_field *f = fields;
        while (f->name && strcmp(f->name, name) != 0)
            f++;
        if (!f->name)
            return pn_fail(err, PANTRY_INVALID, "%s%.60s: unknown field", where, name);
        if (f->use == PN_FIELD_REFUSED && !is_neutral(value, f->neutral))
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s%s: not supported%s%s", where, name,
                           f->neutral ? ", other than " : "", f->neutral ? f->neutral : "");
    }
    return PANTRY_OK;
}

/* Sentences about a field begin "messages[0].content: " or "model is required". */
static size_t param_length(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.[]");
    return n && (strncmp(text + n, ": ", 2) == 0 || strncmp(text + n, " is required", 12) == 0) ? n : 0;
}

/* `rest` is the sentence after the name of the field. */
static const char *code_of(pantry_status status, const char *rest)
{
    static const struct {
        const char *begin, *code;
    } sentences[] = {{": unknown field", "unknown_parameter"},
                     {": wrong type", "invalid_type"},
                     {" is required", "missing_required_parameter"}};
    for (size_t i = 0; status == PANTRY_INVALID && i < sizeof sentences / sizeof *sentences; i++)
        if (strncmp(rest, sentences[i].begin, strlen(sentences[i].begin)) == 0)
            return sentences[i].code;
    return status == PANTRY_CONTEXT_FULL  ? "context_length_exceeded"
           : status == PANTRY_NOT_FOUND   ? "model_not_found"
           : status == PANTRY_UNSUPPORTED ? "unsupported_value"
           : status == PANTRY_INVALID     ? "invalid_value"
                                          : NULL;
}

json_t *pn_openai_error(const struct pantry_error *err, const char *prompt)
{
    json_t *value = pn_error_json(PN_ERRORS_OPENAI, pn_http_status_of(err->status), err->text);
    json_t *error = json_object_get(value, "error");
    size_t n = err->status == PANTRY_INVALID || err->status == PANTRY_UNSUPPORTED ? param_length(err->text) : 0;
    const char *code = code_of(err->status, err->text + n);
    const char *param = err->status == PANTRY_NOT_FOUND ? "model" : err->status == PANTRY_CONTEXT_FULL ? prompt : NULL;
    if (code)
        json_object_set_new(error, "code", json_string(code));
    if (n)
        json_object_set_new(error, "param", json_stringn(err->text, n));
    else if (param)
        json_object_set_new(error, "param", json_string(param));
    return value;
}

void pn_openai_fail(struct pn_exchange *x, const struct pantry_error *err, const char *prompt)
{
    int status = pn_http_status_of(err->status);
    if (status == 503)
        pn_http_set_header(x, "Retry-After", "5");
    pn_reply_json(x, status, pn_openai_error(err, prompt));
}

void pn_openai_id(char out[PN_OPENAI_ID], const char *prefix)
{
    static atomic_uint_fast64_t n;
    struct pn_rng rng = {pn_clock_ns() ^ (uint64_t)time(NULL) << 32 ^ atomic_fetch_add(&n, 1) << 56};
    unsigned long long high = pn_rng_u64(&rng), low = pn_rng_u64(&rng);
    snprintf(out, PN_OPENAI_ID, "%s%016llx%08llx", prefix, high, low & 0xffffffff);
}

/* ---- models ---- */

static json_t *model_json(const char *name, const char *path)
{
    struct stat st;
    const char *slash = strchr(name, '/');
    json_int_t created = stat(path, &st) == 0 ? (json_int_t)st.st_mtime : 0;
    return json_pack("{s:s, s:s, s:I, s:o}", "id", name, "object", "model", "created", created, "owned_by",
                     slash ? json_stringn(name, (size_t)(slash - name)) : json_string("library"));
}

void pn_openai_models(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)body, (void)tail;
    struct pn_stored *list;
    struct pantry_error err;
    size_t n;
    if (pn_http_header(x, "anthropic-version")) {
        pn_anthropic_models(x);
        return;
    }
    if (pn_store_list(&list, &n, &err)) {
        pn_openai_fail(x, &err, NULL);
        return;
    }
    json_t *models = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(models, model_json(list[i].name, list[i].path));
    pn_store_list_free(list, n);
    const struct pn_model_alias *aliases = pn_models_aliases(s->models, &n);
    for (size_t i = 0; i < n; i++) {
        char *name, *path;
        uint64_t bytes;
        if (!pn_models_find(s->models, aliases[i].name, &name, &path, &bytes, NULL))
            json_array_append_new(models, model_json(aliases[i].name, path));
        free(name);
        free(path);
    }
    pn_reply_json(x, 200, json_pack("{s:s, s:o}", "object", "list", "data", models));
}

void pn_openai_model(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)body;
    struct pantry_error err;
    char *name, *path;
    uint64_t bytes;
    if (pn_http_header(x, "anthropic-version")) {
        pn_anthropic_model(s, x, tail);
        return;
    }
    if (pn_models_find(s->models, tail, &name, &path, &bytes, &err)) {
        pn_openai_fail(x, &err, NULL);
        return;
    }
    pn_reply_json(x, 200, model_json(name, path));
    free(name);
    free(path);
}

/* ---- routes ---- */
