/* Ollama's API: pulling models and pushing them, with a stream of status lines. */
#define _POSIX_C_SOURCE 200809L
#include "server/api/ollama.h"

#include "base/status.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pantry_status pn_ollama_field_name(const json_t *body, const char **out, struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = pn_json_string(body, "name", out, err);
    if (!status)
        status = pn_json_string(body, "model", out, err);
    if (!status && (!*out || !**out))
        status = pn_fail(err, PANTRY_INVALID, "model is required");
    return status;
}

pantry_status pn_ollama_name(const json_t *body, const char **out, struct pantry_error *err)
{
    pantry_status status = pn_ollama_field_name(body, out, err);
    if (!status && !pn_store_is_name(*out))
        status = pn_fail(err, PANTRY_INVALID, "%.200s: not a model name", *out);
    return status;
}

/* ---- status lines ---- */

struct transfer {
    struct pn_exchange *x;
    const char *name;
    const char *to;                       /* of a push: the name in the registry; NULL: the same */
    const struct pn_catalog_entry *entry; /* NULL: from a registry */
    bool stream, begun, verifying, insecure, public_only;
    pantry_cancel *cancel;
};

static void put_status(struct transfer *t, json_t *v)
{
    if (!t->stream) {
        json_decref(v);
        return;
    }
    if (!t->begun)
        pn_http_begin(t->x, 200, "application/x-ndjson");
    t->begun = true;
    if ((!pn_write_line(t->x, v) || !pn_http_is_open(t->x)) && t->cancel)
        pantry_cancel_set(t->cancel);
}

/* The line of a blob, or of the whole where the blobs are not known. */
static void put_bytes(struct transfer *t, const char *verb, const struct pn_fetch_progress *f)
{
    char status[300];
    const char *digest = f->digest ? f->digest : t->entry ? t->entry->sha256 : NULL;
    json_int_t total = (json_int_t)(f->digest ? f->blob_total : f->total);
    json_int_t done = (json_int_t)(f->digest ? f->blob_done : f->done);
    json_t *v = json_pack("{s:I, s:I}", "total", total, "completed", done);
    snprintf(status, sizeof status, "%s %.*s", verb, digest ? 12 : 250, digest ? digest : t->name);
    json_object_set_new(v, "status", json_string(status));
    if (digest)
        json_object_set_new(v, "digest", json_pack("s+", "sha256:", digest));
    put_status(t, v);
}

static void on_progress(void *user, const struct pn_fetch_progress *f)
{
    struct transfer *t = user;
    if (f->phase == PN_FETCH_DOWNLOAD)
        put_bytes(t, "pulling", f);
    else if (f->phase == PN_FETCH_UPLOAD)
        put_bytes(t, "pushing", f);
    else if (f->phase == PN_FETCH_VERIFY && !t->verifying)
        put_status(t, json_pack("{s:s}", "status", "verifying sha256 digest"));
    t->verifying |= f->phase == PN_FETCH_VERIFY;
}

static void on_pull(void *user, const struct pn_fetch_progress *f)
{
    on_progress(user, f);
    if (f->phase == PN_FETCH_MANIFEST)
        put_status(user, json_pack("{s:s}", "status", "writing manifest"));
}

static void on_push(void *user, const struct pn_fetch_progress *f)
{
    on_progress(user, f);
    if (f->phase == PN_FETCH_MANIFEST)
        put_status(user, json_pack("{s:s}", "status", "pushing manifest"));
}

/* ---- both ---- */

/* A client may name only the registries that everybody uses and those of `pantry serve --registry`: the service
 * connects to no other host for it. Only the latter may have private addresses. */
static pantry_status check_host(const struct pn_server *s, struct transfer *t, const char *verb,
                                struct pantry_error *err)
{
    static const char *const hosts[] = {"registry.ollama.ai", "hf.co", "huggingface.co", "docker.io"};
    const char *name = t->to ? t->to : t->name, *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : 0;
    bool is_host = (slash && strchr(slash + 1, '/')) || memchr(name, '.', n) || memchr(name, ':', n) ||
                   (n == 9 && strncmp(name, "localhost", 9) == 0);
    t->public_only = true;
    if (!is_host)
        return PANTRY_OK; /* a namespace, or none */
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strlen(hosts[i]) == n && strncmp(name, hosts[i], n) == 0)
            return PANTRY_OK;
    for (const char *const *r = atomic_load(&s->registries); r && *r; r++)
        if (strlen(*r) == n && strncmp(name, *r, n) == 0) {
            t->public_only = false;
            return PANTRY_OK;
        }
    return pn_fail(err, PANTRY_INVALID,
                   "%.200s: the service %s no other registry; use `pantry %.4s`, or `pantry serve --registry HOST`",
                   name, verb, verb);
}

static pantry_status read_request(const struct pn_server *s, struct transfer *t, const json_t *body, const char *verb,
                                  struct pantry_error *err)
{
    static const char *const refused[] = {"username", "password", NULL};
    pantry_status status = pn_ollama_name(body, &t->name, err);
    if (!status)
        status = pn_json_refuse(body, refused, err);
    if (!status)
        status = pn_json_bool(body, "stream", &t->stream, err);
    if (!status)
        status = pn_json_bool(body, "insecure", &t->insecure, err);
    if (!status)
        status = check_host(s, t, verb, err);
    if (!status && t->insecure && t->public_only)
        status = pn_fail(err, PANTRY_INVALID, "insecure: only for registries of `pantry serve --registry`");
    if (!status && !(t->cancel = pantry_cancel_new()))
        status = pn_no_memory(err, "a transfer");
    return status;
}

static void reply(struct transfer *t, pantry_status status, const struct pantry_error *err)
{
    pantry_cancel_free(t->cancel);
    t->cancel = NULL;
    if (!status && t->stream)
        put_status(t, json_pack("{s:s}", "status", "success"));
    else if (!status)
        pn_reply_json(t->x, 200, json_pack("{s:s}", "status", "success"));
    else if (t->begun)
        pn_write_line(t->x, pn_error_json(PN_ERRORS_OLLAMA, 500, err->text));
    else
        pn_reply_error(t->x, PN_ERRORS_OLLAMA, err);
}

static pantry_status pull(struct transfer *t, char **path, struct pantry_error *err)
{
    const struct pn_pull_options options = {.fetch = {.progress = on_pull, .user = t, .cancel = t->cancel},
                                            .insecure = t->insecure,
                                            .public_only = t->public_only};
    t->entry = pn_store_entry(t->name);
    put_status(t, json_pack("{s:s}", "status", "pulling manifest"));
    pantry_status status = pn_store_pull(t->name, &options, path, err);
    if (status)
        pn_fail_prefix(err, "pull model manifest");
    return status;
}

void pn_ollama_pull(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    struct transfer t = {.x = x, .stream = true};
    struct pantry_error err;
    char *path = NULL;
    pantry_status status = read_request(s, &t, body, "pulls from", &err);
    if (!status)
        status = pull(&t, &path, &err);
    free(path);
    reply(&t, status, &err);
}

pantry_status pn_ollama_fetch(struct pn_server *s, struct pn_exchange *x, const char *name, bool stream, bool *begun,
                              pantry_cancel *cancel, struct pantry_error *err)
{
    struct transfer t = {.x = x, .name = name, .stream = stream, .begun = *begun, .cancel = cancel};
    char *path = NULL;
    pantry_status status = check_host(s, &t, "pulls from", err);
    if (!status)
        status = pull(&t, &path, err);
    free(path);
    *begun = t.begun;
    return status;
}

void pn_ollama_push(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    struct transfer t = {.x = x, .stream = true};
    struct pantry_error err;
    pantry_status status = pn_json_string(body, "destination", &t.to, &err);
    if (!status && t.to && !pn_store_is_name(t.to))
        status = pn_fail(&err, PANTRY_INVALID, "destination: %.200s: not a model name", t.to);
    if (!status)
        status = read_request(s, &t, body, "pushes to", &err);
    if (!status) {
        const struct pn_push_options options = {.fetch = {.progress = on_push, .user = &t, .cancel = t.cancel},
                                                .to = t.to,
                                                .insecure = t.insecure,
                                                .public_only = t.public_only};
        put_status(&t, json_pack("{s:s}", "status", "retrieving manifest"));
        status = pn_store_push(t.name, &options, &err);
    }
    reply(&t, status, &err);
}
