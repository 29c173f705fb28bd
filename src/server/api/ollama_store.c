/* Ollama's API: what changes the store. */
#define _POSIX_C_SOURCE 200809L
#include "server/api/ollama.h"

#include "base/status.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Models of other programs are only read. */
static pantry_status check_own(const char *name, struct pantry_error *err)
{
    struct pn_stored model;
    if (pn_store_find(name, &model, NULL))
        return PANTRY_OK;
    bool own = strcmp(model.source, "pantry") == 0;
    pantry_status status =
        own ? PANTRY_OK
            : pn_fail(err, PANTRY_INVALID, "model '%.200s' is in the cache of %s, where pantry only reads", name,
                      model.source);
    pn_stored_free(&model);
    return status;
}

/* The model's name, in one of two fields. `change`: it must not be another program's. */
static pantry_status name_of(const json_t *body, bool change, const char **out, struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = pn_json_string(body, "name", out, err);
    if (!status)
        status = pn_json_string(body, "model", out, err);
    if (!status && (!*out || !**out))
        status = pn_fail(err, PANTRY_INVALID, "model is required");
    if (!status && change)
        status = check_own(*out, err);
    if (!status && !pn_store_is_name(*out))
        status = pn_fail(err, PANTRY_INVALID, "%.200s: not a model name", *out);
    return status;
}

static void reply_done(struct pn_exchange *x, pantry_status status, const struct pantry_error *err)
{
    if (status)
        pn_reply_error(x, PN_ERRORS_OLLAMA, err);
    else
        pn_http_send(x, 200, "text/plain; charset=utf-8", "", 0);
}

/* ---- pull ---- */

struct pull {
    struct pn_exchange *x;
    const char *name;
    const struct pn_catalog_entry *entry; /* NULL: from a registry */
    bool stream, begun, verifying;
    pantry_cancel *cancel;
};

static void put_status(struct pull *p, json_t *v)
{
    if (!p->stream) {
        json_decref(v);
        return;
    }
    if (!p->begun)
        pn_http_begin(p->x, 200, "application/x-ndjson");
    p->begun = true;
    if ((!pn_write_line(p->x, v) || !pn_http_is_open(p->x)) && p->cancel)
        pantry_cancel_set(p->cancel);
}

static void on_progress(void *user, const struct pn_fetch_progress *f)
{
    struct pull *p = user;
    if (f->phase == PN_FETCH_DOWNLOAD) {
        char status[300];
        json_t *v = json_pack("{s:I, s:I}", "total", (json_int_t)f->total, "completed", (json_int_t)f->done);
        snprintf(status, sizeof status, "pulling %.*s", p->entry ? 12 : 250, p->entry ? p->entry->sha256 : p->name);
        json_object_set_new(v, "status", json_string(status));
        if (p->entry)
            json_object_set_new(v, "digest", json_pack("s+", "sha256:", p->entry->sha256));
        put_status(p, v);
    } else if (f->phase == PN_FETCH_VERIFY && !p->verifying) {
        p->verifying = true;
        put_status(p, json_pack("{s:s}", "status", "verifying sha256 digest"));
    }
}

/* A client may name only the registries that everybody uses: the service connects to no other host for it. */
static pantry_status check_host(const char *name, struct pantry_error *err)
{
    static const char *const hosts[] = {"registry.ollama.ai", "hf.co", "huggingface.co"};
    const char *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : 0;
    if (!memchr(name, '.', n) && !memchr(name, ':', n) && !(n == 9 && strncmp(name, "localhost", 9) == 0))
        return PANTRY_OK; /* a namespace */
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strlen(hosts[i]) == n && strncmp(name, hosts[i], n) == 0)
            return PANTRY_OK;
    return pn_fail(err, PANTRY_INVALID, "%.200s: the service pulls from no other registry; use `pantry pull`", name);
}

static pantry_status fetch(struct pull *p, struct pantry_error *err)
{
    struct pn_pull_options options = {.fetch = {.progress = on_progress, .user = p, .cancel = p->cancel},
                                      .public_only = true};
    char *path = NULL;
    pantry_status status = check_host(p->name, err);
    if (status)
        return status;
    put_status(p, json_pack("{s:s}", "status", "pulling manifest"));
    status = pn_store_pull(p->name, &options, &path, err);
    free(path);
    if (status)
        pn_fail_prefix(err, "pull model manifest");
    return status;
}

void pn_ollama_pull(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    static const char *const refused[] = {"insecure", "username", "password", NULL};
    (void)s, (void)tail;
    struct pull p = {.x = x, .stream = true};
    struct pantry_error err;
    pantry_status status = name_of(body, false, &p.name, &err);
    if (!status)
        status = pn_json_refuse(body, refused, &err);
    if (!status)
        status = pn_json_bool(body, "stream", &p.stream, &err);
    if (!status && !(p.cancel = pantry_cancel_new()))
        status = pn_no_memory(&err, "a download");
    if (!status) {
        p.entry = pn_store_entry(p.name);
        status = fetch(&p, &err);
    }
    pantry_cancel_free(p.cancel);
    p.cancel = NULL;
    if (!status && p.stream)
        put_status(&p, json_pack("{s:s}", "status", "success"));
    else if (!status)
        pn_reply_json(x, 200, json_pack("{s:s}", "status", "success"));
    else if (p.begun)
        pn_write_line(x, pn_error_json(PN_ERRORS_OLLAMA, 500, err.text));
    else
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
}

/* ---- delete, copy ---- */

void pn_ollama_delete(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    const char *name;
    struct pantry_error err;
    pantry_status status = name_of(body, true, &name, &err);
    if (!status && !(status = pn_store_remove(name, NULL, &err)))
        pn_models_unload(s->models, name);
    reply_done(x, status, &err);
}

void pn_ollama_copy(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)s, (void)tail;
    const char *from = NULL, *to = NULL;
    struct pantry_error err;
    pantry_status status = pn_json_string(body, "source", &from, &err);
    if (!status)
        status = pn_json_string(body, "destination", &to, &err);
    if (!status && (!from || !to))
        status = pn_fail(&err, PANTRY_INVALID, "source and destination are required");
    if (!status)
        status = check_own(from, &err);
    if (!status && !pn_store_is_name(from))
        status = pn_fail(&err, PANTRY_INVALID, "%.200s: not a model name", from);
    if (!status && !pn_store_is_name(to))
        status = pn_fail(&err, PANTRY_INVALID, "%.200s: not a model name", to);
    if (!status && !(status = pn_store_copy(from, to, &err)))
        pn_models_unload(s->models, to);
    reply_done(x, status, &err);
}
