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

static void reply_done(struct pn_exchange *x, pantry_status status, const struct pantry_error *err)
{
    if (status)
        pn_reply_error(x, PN_ERRORS_OLLAMA, err);
    else
        pn_http_send(x, 200, "text/plain; charset=utf-8", "", 0);
}

/* ---- delete, copy ---- */

void pn_ollama_delete(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    const char *name;
    struct pantry_error err;
    pantry_status status = pn_ollama_field_name(body, &name, &err);
    if (!status)
        status = check_own(name, &err);
    if (!status)
        status = pn_ollama_name(body, &name, &err);
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
