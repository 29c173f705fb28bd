/* Models by name in pantry.h. */
#include "store/carried.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ADAPTERS = 64 };

struct pantry_stored {
    char *path;
    char *projector;
    struct pn_carried carried;
    const char *adapters[MAX_ADAPTERS + 1];
};

struct report {
    pantry_fetch_callback *callback;
    void *user;
};

static void show(void *user, const struct pn_fetch_progress *progress)
{
    const struct report *report = user;
    if (report->callback && progress->phase == PN_FETCH_DOWNLOAD)
        report->callback(report->user, progress->done, progress->total);
}

/* Downloads what the name says, or fails with NOT_FOUND as it was found. */
static pantry_status fetch_model(const char *name, const pantry_cancel *cancel, struct report *report, char **path,
                                 struct pantry_error *err)
{
    const struct pn_catalog_entry *entry = pn_store_entry(name);
    struct pn_pull_options options = {.fetch = {.progress = show, .user = report, .cancel = cancel}};
    if (entry)
        return pn_store_fetch(entry->name, &options.fetch, path, err);
    char *place = pn_store_place(name);
    if (!place)
        return PANTRY_NOT_FOUND;
    free(place);
    return pn_store_pull(name, &options, path, err);
}

pantry_status pantry_find(const char *name, bool fetch, const pantry_cancel *cancel, pantry_fetch_callback *callback,
                          void *user, pantry_stored **out, struct pantry_error *err)
{
    struct report report = {callback, user};
    pantry_stored *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return pn_no_memory(err, "a model's name");
    pantry_status status = pn_store_resolve(name, &s->path, err);
    if (status == PANTRY_NOT_FOUND && fetch)
        status = fetch_model(name, cancel, &report, &s->path, err);
    if (!status)
        status = pn_carried_find(name, &s->carried, err);
    if (status) {
        pantry_stored_free(s);
        return status;
    }
    s->projector = pn_carried_projector(&s->carried, s->path);
    pn_carried_adapters(&s->carried, s->adapters, MAX_ADAPTERS + 1);
    *out = s;
    return PANTRY_OK;
}

const char *pantry_stored_path(const pantry_stored *s)
{
    return s->path;
}

const char *pantry_stored_template(const pantry_stored *s)
{
    return s->carried.template;
}

const char *pantry_stored_default_template(const pantry_stored *s)
{
    return s->carried.default_template;
}

const char *pantry_stored_projector(const pantry_stored *s)
{
    return s->projector;
}

const char *pantry_stored_adapter(const pantry_stored *s, size_t i)
{
    for (size_t k = 0; k < i && k < MAX_ADAPTERS; k++)
        if (!s->adapters[k])
            return NULL;
    return i < MAX_ADAPTERS ? s->adapters[i] : NULL;
}

static bool are_messages(const json_t *list)
{
    size_t i;
    json_t *message;
    json_array_foreach(list, i, message)
    {
        if (!json_is_object(message))
            return false;
    }
    return json_is_array(list);
}

pantry_status pantry_stored_conversation(const pantry_stored *s, const char *messages_json, char **json,
                                         struct pantry_error *err)
{
    json_error_t error;
    json_t *given = json_loads(messages_json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!given)
        return pn_fail(err, PANTRY_FORMAT, "the messages: line %d: %s", error.line, error.text);
    if (!are_messages(given)) {
        json_decref(given);
        return pn_fail(err, PANTRY_FORMAT, "the messages must be an array of objects");
    }
    json_t *all = pn_carried_conversation(&s->carried, given);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(given);
    json_decref(all);
    if (!text)
        return pn_no_memory(err, "the messages");
    *json = text;
    return PANTRY_OK;
}

void pantry_stored_free(pantry_stored *s)
{
    if (!s)
        return;
    free(s->path);
    free(s->projector);
    pn_carried_free(&s->carried);
    free(s);
}
