/* From a name to a model: the own store first, then the caches of other programs. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* *exists: a manifest has that name. A damaged one still takes precedence over other caches. */
static pantry_status find_own(const char *text, struct pn_stored *out, bool *exists, struct pantry_error *err)
{
    struct pn_model_name name;
    char *store;
    *out = (struct pn_stored){.source = pn_source_own};
    pantry_status status = pn_layout_store(&store, err);
    if (status)
        return status;
    if (!(status = pn_name_parse(text, &name, err)) &&
        (!(out->name = pn_name_text(&name)) || !(out->manifest = pn_manifest_path(store, &name))))
        status = pn_no_memory(err, text);
    *exists = !status && access(out->manifest, F_OK) == 0;
    if (!status)
        status = pn_manifest_weights(store, &name, &out->path, &out->bytes, err);
    if (status)
        pn_stored_free(out);
    free(store);
    return status;
}

static pantry_status not_found(const char *model, struct pantry_error *err)
{
    char *store;
    pantry_status status = pn_layout_store(&store, err);
    if (status)
        return status;
    if (pn_store_can_fetch(model))
        status = pn_fail(err, PANTRY_NOT_FOUND, "%s: not in the store yet (%s); run it to fetch it", model, store);
    else
        status = pn_fail(err, PANTRY_NOT_FOUND, "%.200s: neither a file, nor a folder, nor a model in the store (%s)",
                         model, store);
    free(store);
    return status;
}

pantry_status pn_store_find(const char *name, struct pn_stored *out, struct pantry_error *err)
{
    *out = (struct pn_stored){0};
    pantry_status status = PANTRY_NOT_FOUND;
    bool is_name = pn_store_is_name(name), exists = false;
    if (is_name)
        status = find_own(name, out, &exists, err);
    if (status == PANTRY_NOT_FOUND && !exists)
        status = pn_foreign_find(name, out, err);
    return status == PANTRY_NOT_FOUND && is_name ? not_found(name, err) : status;
}

pantry_status pn_store_resolve(const char *model, char **path, struct pantry_error *err)
{
    *path = NULL;
    struct pn_stored found;
    struct stat st;
    bool exists = stat(model, &st) == 0;
    int why = errno;
    /* A name takes precedence over a folder of that name; a file takes precedence over both. */
    if (!(exists && S_ISREG(st.st_mode))) {
        pantry_status status = pn_store_find(model, &found, err);
        if (status == PANTRY_OK) {
            *path = found.path;
            found.path = NULL;
            pn_stored_free(&found);
        }
        if (status != PANTRY_NOT_FOUND || (!exists && pn_store_is_name(model)))
            return status;
    }
    if (!exists)
        return pn_fail(err, why == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%.400s: %s", model, strerror(why));
    *path = strdup(model);
    return *path ? PANTRY_OK : pn_no_memory(err, "the path of the model");
}
