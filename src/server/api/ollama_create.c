/* Ollama's API: making models, and the blobs that they are made of. */
#define _POSIX_C_SOURCE 200809L
#include "server/api/ollama.h"

#include "base/status.h"
#include "store/create.h"

#include <stdlib.h>
#include <string.h>

/* ---- create: fields ---- */

/* {"name.gguf": "sha256:..."} */
static pantry_status read_files(const json_t *body, const char *field, struct pn_create_files *out,
                                struct pantry_error *err)
{
    enum { MOST = 128 };
    json_t *files = NULL, *digest;
    const char *name;
    pantry_status status = pn_json_object(body, field, &files, err);
    if (!status && json_object_size(files) > MOST)
        return pn_fail(err, PANTRY_LIMIT, "%s: too many (found %zu, allowed %d)", field, json_object_size(files), MOST);
    json_object_foreach(files, name, digest)
    {
        const char *text = json_string_value(digest);
        struct pn_create_file file = {0};
        if (status)
            break;
        if (!text || strlen(text) >= sizeof file.digest)
            return pn_fail(err, PANTRY_INVALID, "%s.%.100s: not a digest (allowed sha256: and 64 hexadecimal digits)",
                           field, name);
        strcpy(file.digest, text);
        if (!(file.path = strdup(name)) || !pn_vec_push(out, file)) {
            free(file.path);
            return pn_no_memory(err, field);
        }
    }
    return status;
}

static pantry_status read_text(const json_t *body, const char *field, char **out, struct pantry_error *err)
{
    const char *text = NULL;
    pantry_status status = pn_json_string(body, field, &text, err);
    if (!status && text && !(*out = strdup(text)))
        status = pn_no_memory(err, field);
    return status;
}

/* One text or a list of them. */
static pantry_status read_licenses(const json_t *body, json_t **out, struct pantry_error *err)
{
    enum { MOST = 64 };
    const char *texts[MOST];
    size_t n = 0;
    pantry_status status = pn_json_strings(body, "license", MOST, texts, &n, err);
    if (!status && !(*out = json_array()))
        status = pn_no_memory(err, "license");
    for (size_t i = 0; i < n && !status; i++)
        if (*texts[i] && json_array_append_new(*out, json_string(texts[i])) != 0)
            status = pn_no_memory(err, "license");
    return status;
}

static pantry_status read_messages(const json_t *body, json_t **out, struct pantry_error *err)
{
    json_t *messages = NULL, *m;
    size_t i;
    pantry_status status = pn_json_array(body, "messages", &messages, err);
    if (status)
        return status;
    json_array_foreach(messages, i, m)
    {
        static const char *const roles[] = {"system", "user", "assistant"};
        const char *role = json_string_value(json_object_get(m, "role"));
        size_t r = 0;
        while (r < 3 && !(role && strcmp(roles[r], role) == 0))
            r++;
        if (r == 3)
            return pn_fail(err, PANTRY_INVALID, "messages[%zu].role: allowed system, user, assistant", i);
        if (!json_is_string(json_object_get(m, "content")))
            return pn_fail(err, PANTRY_INVALID, "messages[%zu].content: a text is needed", i);
        if (json_array_size(json_object_get(m, "images")) || json_array_size(json_object_get(m, "tool_calls")))
            return pn_fail(err, PANTRY_UNSUPPORTED, "messages[%zu]: only a role and a content can be kept", i);
    }
    *out = json_incref(messages);
    return PANTRY_OK;
}

static pantry_status read_create(const json_t *body, struct pn_create *out, const char **name, bool *stream,
                                 struct pantry_error *err)
{
    static const char *const known[] = {"model",    "name",     "stream",   "from",        "files",
                                        "adapters", "template", "license",  "system",      "parameters",
                                        "messages", "quantize", "requires", "draft_files", NULL};
    json_t *parameters = NULL;
    pantry_status status = pn_json_known(body, "", known, err);
    if (!status)
        status = pn_json_string(body, "name", name, err);
    if (!status)
        status = pn_json_string(body, "model", name, err);
    if (!status && (!*name || !pn_store_is_name(*name)))
        status = pn_fail(err, PANTRY_INVALID, *name ? "%.200s: invalid model name" : "model is required", *name);
    if (!status)
        status = pn_json_bool(body, "stream", stream, err);
    if (!status)
        status = read_text(body, "quantize", &out->quantize, err);
    if (!status)
        status = read_text(body, "from", &out->from, err);
    if (!status && out->from && !*out->from) {
        free(out->from);
        out->from = NULL;
    }
    if (!status && out->from && !pn_store_is_name(out->from))
        status = pn_fail(err, PANTRY_INVALID, "from: %.200s: not a model name", out->from);
    if (!status)
        status = read_files(body, "files", &out->files, err);
    if (!status)
        status = read_files(body, "adapters", &out->adapters, err);
    if (!status)
        status = read_files(body, "draft_files", &out->drafts, err);
    if (!status)
        status = read_text(body, "template", &out->template, err);
    if (!status)
        status = read_text(body, "system", &out->system, err);
    if (!status)
        status = read_text(body, "requires", &out->requires, err);
    if (!status)
        status = read_licenses(body, &out->licenses, err);
    if (!status)
        status = pn_json_object(body, "parameters", &parameters, err);
    out->params = json_incref(parameters);
    return status ? status : read_messages(body, &out->messages, err);
}

/* ---- create ---- */

struct creation {
    struct pn_exchange *x;
    bool stream, begun;
    pantry_cancel *cancel;
};

static void put_status(void *user, const char *line)
{
    struct creation *c = user;
    if (!c->stream)
        return;
    if (!c->begun)
        pn_http_begin(c->x, 200, "application/x-ndjson");
    c->begun = true;
    if ((!pn_write_line(c->x, json_pack("{s:s}", "status", line)) || !pn_http_is_open(c->x)) && c->cancel)
        pantry_cancel_set(c->cancel);
}

/* A base that is nowhere yet is pulled. */
static pantry_status find_base(struct pn_server *s, struct creation *c, const char *from, struct pantry_error *err)
{
    struct pn_stored found;
    pantry_status status = pn_store_find(from, &found, err);
    if (status == PANTRY_OK)
        pn_stored_free(&found);
    return status == PANTRY_NOT_FOUND ? pn_ollama_fetch(s, c->x, from, c->stream, &c->begun, c->cancel, err) : status;
}

void pn_ollama_create(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    struct creation c = {.x = x, .stream = true};
    struct pn_create create = {0};
    struct pantry_error err = {0};
    const char *name = NULL;
    pantry_status status = read_create(body, &create, &name, &c.stream, &err);
    if (!status && !(c.cancel = pantry_cancel_new()))
        status = pn_no_memory(&err, "a model");
    if (!status && create.from)
        status = find_base(s, &c, create.from, &err);
    struct pn_create_options options = {
        .fetch = {.user = &c, .cancel = c.cancel}, .status = put_status, .library = PN_CREATE_LIBRARY};
    if (!status && !(status = pn_store_create(name, &create, &options, &err)))
        pn_models_unload(s->models, name);
    if (!status && c.stream)
        put_status(&c, "success");
    else if (!status)
        pn_reply_json(x, 200, json_pack("{s:s}", "status", "success"));
    else if (c.begun)
        pn_write_line(x, pn_error_json(PN_ERRORS_OLLAMA, 500, err.text));
    else
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
    pn_create_free(&create);
    pantry_cancel_free(c.cancel);
}

/* ---- blobs ---- */

void pn_ollama_has_blob(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)s, (void)body;
    struct pantry_error err;
    bool has;
    if (pn_store_has_blob(tail, &has, &err))
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
    else
        pn_http_send(x, has ? 200 : 404, "text/plain; charset=utf-8", "", 0);
}

static pantry_status receive(struct pn_exchange *x, struct pn_upload *upload, struct pantry_error *err)
{
    static const size_t most = 1 << 17;
    char *bytes = malloc(most);
    pantry_status status = bytes ? PANTRY_OK : pn_no_memory(err, "a blob");
    for (long n = 1; !status && n != 0;) {
        n = pn_http_read(x, bytes, most);
        if (n > 0)
            status = pn_upload_write(upload, bytes, (size_t)n, err);
        else if (n < 0)
            status = pn_fail(err, PANTRY_CANCELLED, "the client left before the end of the blob");
    }
    free(bytes);
    return status;
}

void pn_ollama_put_blob(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)s, (void)body;
    struct pantry_error err = {0};
    struct pn_upload *upload = NULL;
    bool has = false;
    pantry_status status = pn_store_has_blob(tail, &has, &err);
    if (!status && !has)
        status = pn_upload_open(tail, pn_http_length(x), &upload, &err);
    if (!status && !has && !(status = receive(x, upload, &err))) {
        status = pn_upload_commit(upload, &err);
        upload = NULL;
    }
    pn_upload_abort(upload);
    if (status)
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
    else
        pn_http_send(x, has ? 200 : 201, "text/plain; charset=utf-8", "", 0);
}
