/* The models of the own store, then those of other programs. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

struct listing {
    struct pn_stored_list list;
    const char *store;
    bool failed;
};

static pantry_status add_model(void *user, const char *path, const char *const parts[4], struct pantry_error *err)
{
    struct listing *listing = user;
    struct pn_model_name name;
    struct pn_stored stored = {.source = pn_source_own};
    char *text = pn_layout_path("%s/%s/%s:%s", parts[0], parts[1], parts[2], parts[3]);
    if (!listing->failed && text && pn_name_parse(text, &name, NULL) == PANTRY_OK &&
        pn_manifest_weights(listing->store, &name, &stored.path, &stored.bytes, NULL) == PANTRY_OK) {
        stored.name = pn_name_text(&name);
        stored.manifest = strdup(path);
        listing->failed |= !stored.name || !stored.manifest || !pn_vec_push(&listing->list, stored);
    }
    if (!stored.name || listing->failed)
        pn_stored_free(&stored);
    free(text);
    return listing->failed ? pn_no_memory(err, "the list of models") : PANTRY_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pn_stored *)a)->name, ((const struct pn_stored *)b)->name);
}

pantry_status pn_store_list_own(struct pn_stored_list *list, struct pantry_error *err)
{
    struct listing listing = {0};
    char *store = NULL;
    pantry_status status = pn_layout_store(&store, err);
    if (status)
        return status;
    listing.store = store;
    status = pn_manifest_walk(store, add_model, &listing, err);
    if (status == PANTRY_IO)
        status = PANTRY_OK; /* a folder that cannot be read has no models */
    if (status)
        pn_store_list_free(listing.list.data, listing.list.len);
    else
        *list = listing.list;
    if (!status && list->len)
        qsort(list->data, list->len, sizeof *list->data, by_name);
    free(store);
    return status;
}

pantry_status pn_store_list(struct pn_stored **out, size_t *n, struct pantry_error *err)
{
    struct pn_stored_list own = {0}, others = {0};
    *out = NULL;
    *n = 0;
    pantry_status status = pn_store_list_own(&own, err);
    if (!status)
        status = pn_foreign_list(&others, err);
    if (!status && !pn_vec_reserve((void **)(void *)&own.data, &own.cap, own.len + others.len, sizeof *own.data))
        status = pn_no_memory(err, "the list of models");
    if (status) {
        pn_store_list_free(own.data, own.len);
        pn_store_list_free(others.data, others.len);
        return status;
    }
    if (others.len)
        memcpy(own.data + own.len, others.data, others.len * sizeof *others.data);
    free(others.data);
    *out = own.data;
    *n = own.len + others.len;
    return PANTRY_OK;
}
