/* The blobs of a model: see blobs.h. A blob is locked while it is downloaded and checked, one at a time: two models
 * that share some wait for these only. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/blobs.h"

#include "store/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *blob_path(const char *store, const char *hex)
{
    return pn_layout_path("%s/blobs/sha256-%s", store, hex);
}

static bool has_size(const char *store, const struct pn_layer *layer)
{
    struct stat st;
    char *blob = blob_path(store, layer->hex);
    bool same = blob && stat(blob, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == layer->bytes;
    free(blob);
    return same;
}

bool pn_blobs_are_here(const struct pn_blobs *b)
{
    for (size_t i = 0; i < b->layers.n; i++)
        if (!has_size(b->store, &b->layers.layer[i]))
            return false;
    return true;
}

/* ---- which are missing ---- */

static pantry_status find_missing(struct pn_blobs *b, struct pantry_error *err)
{
    b->n_missing = 0;
    for (size_t i = 0; i < b->layers.n; i++) {
        const struct pn_layer *layer = &b->layers.layer[i];
        char *blob = blob_path(b->store, layer->hex);
        bool here = blob && pn_job_has_blob(b->job, blob, layer->bytes, layer->hex);
        b->damaged[i] = !here && has_size(b->store, layer);
        free(blob);
        if (pn_job_cancelled(b->job))
            return pn_job_stopped(err);
        if (!here)
            b->missing[b->n_missing++] = i;
    }
    return PANTRY_OK;
}

static pantry_status need_space(struct pn_blobs *b, struct pantry_error *err)
{
    uint64_t space = 0;
    for (size_t i = 0; i < b->n_missing; i++) {
        b->total += b->layers.layer[b->missing[i]].bytes;
        space += pn_parts_space(b->store, &b->layers.layer[b->missing[i]]);
    }
    return pn_layout_need_space(b->store, space, err);
}

/* ---- one blob ---- */

struct tick {
    struct pn_blobs *blobs;
    const struct pn_layer *layer;
};

static void tick(void *user, uint64_t bytes)
{
    struct tick *t = user;
    struct pn_blobs *b = t->blobs;
    pn_job_blob(b->job, t->layer->hex, bytes, t->layer->bytes);
    pn_job_report(b->job, PN_FETCH_DOWNLOAD, b->done + bytes, b->total);
}

static pantry_status download(struct pn_blobs *b, size_t i, bool *resumed, struct pantry_error *err)
{
    const struct pn_layer *layer = &b->layers.layer[i];
    struct tick t = {b, layer};
    char *url = b->urls[i] ? strdup(b->urls[i]) : pn_registry_blob(b->registry, layer->hex);
    pantry_status status = url ? pn_parts_download(b->registry, url, b->store, layer, tick, &t, resumed, err)
                               : pn_no_memory(err, layer->hex);
    b->done += layer->bytes;
    free(url);
    return status;
}

pantry_status pn_blobs_publish(const char *store, const char *part, const char *hex, struct pantry_error *err)
{
    const struct pn_layer unfinished = {.bytes = 0};
    struct pn_layer named = unfinished;
    memcpy(named.hex, part, sizeof named.hex);
    char *blob = blob_path(store, hex), *data = pn_parts_data(store, &named);
    int fd = blob && data ? open(data, O_RDONLY | O_CLOEXEC) : -1;
    pantry_status status = PANTRY_OK;
    if (fd < 0)
        status = blob && data ? pn_fail(err, PANTRY_IO, "%s: %s", data, strerror(errno)) : pn_no_memory(err, part);
    else
        status = pn_layout_sync_file(fd, data, err);
    if (fd >= 0)
        close(fd);
    if (!status && rename(data, blob) != 0)
        status = pn_fail(err, PANTRY_IO, "%s: cannot rename: %s", data, strerror(errno));
    if (!status)
        pn_parts_remove(store, part); /* the state */
    free(blob);
    free(data);
    return status;
}

/* Hashing a small file is not worth a phase of its own in the progress. */
static bool has_digest(struct pn_blobs *b, const char *data, const struct pn_layer *layer)
{
    enum { SMALL = 8 << 20 };
    const struct pn_fetch_options silent = {.cancel = b->job->options->cancel};
    struct pn_job quiet = pn_job_new(b->job->name, &silent);
    return pn_job_has_blob(layer->bytes < SMALL ? &quiet : b->job, data, layer->bytes, layer->hex);
}

/* Compares a complete download with its digest: the only way to a blob. PANTRY_FORMAT if it is another file. */
static pantry_status check(struct pn_blobs *b, const struct pn_layer *layer, struct pantry_error *err)
{
    char *data = pn_parts_data(b->store, layer);
    if (!data)
        return pn_no_memory(err, layer->hex);
    pantry_status status;
    pn_job_blob(b->job, layer->hex, layer->bytes, layer->bytes);
    if (has_digest(b, data, layer)) {
        status = pn_blobs_publish(b->store, layer->hex, layer->hex, err);
    } else if (pn_job_cancelled(b->job)) {
        status = pn_job_stopped(err);
    } else {
        pn_parts_remove(b->store, layer->hex);
        status = pn_fail(err, PANTRY_FORMAT, "%s sent a blob that does not have its SHA-256 (%s); try again",
                         b->registry->name->host, layer->hex);
    }
    free(data);
    return status;
}

/* Small blobs change under the lock of the store. */
static pantry_status put_empty(struct pn_blobs *b, const struct pn_layer *layer, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1];
    int store = -1;
    pantry_status status = pn_job_lock_store(b->job, b->store, &store, err);
    if (!status)
        status = pn_blob_put(b->store, "", 0, hex, err);
    if (!status && strcmp(hex, layer->hex) != 0)
        status = pn_fail(err, PANTRY_FORMAT, "the manifest: blob %.12s cannot be empty", layer->hex);
    if (store >= 0)
        close(store);
    return status;
}

static pantry_status get_locked(struct pn_blobs *b, size_t i, struct pantry_error *err)
{
    const struct pn_layer *layer = &b->layers.layer[i];
    bool resumed = false, again;
    if (!b->damaged[i] && has_size(b->store, layer)) { /* from another process, which has checked it */
        b->done += layer->bytes;
        return PANTRY_OK;
    }
    if (!layer->bytes)
        return put_empty(b, layer, err);
    pantry_status status = download(b, i, &resumed, err);
    if (!status)
        status = check(b, layer, err);
    if (status == PANTRY_FORMAT && resumed) { /* what was there before may be damaged */
        b->done -= layer->bytes;
        if (!(status = download(b, i, &again, err)))
            status = check(b, layer, err);
    }
    return status;
}

static pantry_status get_one(struct pn_blobs *b, size_t i, struct pantry_error *err)
{
    struct pn_lock lock = PN_NO_LOCK;
    char key[sizeof "blob-" + PN_SHA256_HEX];
    snprintf(key, sizeof key, "blob-%s", b->layers.layer[i].hex);
    pantry_status status = pn_job_lock(b->job, b->store, key, &lock, err);
    if (!status)
        status = get_locked(b, i, err);
    pn_lock_release(&lock);
    return status;
}

/* ---- all of them ---- */

pantry_status pn_blobs_get(struct pn_blobs *b, struct pantry_error *err)
{
    pantry_status status = find_missing(b, err);
    if (!status)
        status = need_space(b, err);
    for (size_t i = 0; i < b->n_missing && !status; i++)
        status = get_one(b, b->missing[i], err);
    if (status || !b->n_missing)
        return status;
    char *blobs = pn_layout_path("%s/blobs", b->store);
    status = blobs ? pn_layout_sync_dir(blobs, err) : pn_no_memory(err, "the blobs");
    free(blobs);
    return status;
}
