/* Pulling models from registries: lock, manifest, blobs, hashes, and the manifest into the store last. See store.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/hub.h"
#include "store/parts.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct pull {
    struct pn_job job;
    struct pn_model_name name;
    struct pn_registry registry;
    char *home;
    struct pn_buf manifest;
    struct pn_layers layers;
    char *file_url;       /* of the only blob, from Hugging Face; NULL: blobs of a registry */
    uint64_t done, total; /* bytes of the blobs that are downloaded */
};

static char *blob_path(const struct pull *p, const struct pn_layer *layer)
{
    return pn_layout_path("%s/models/blobs/sha256-%s", p->home, layer->hex);
}

/* Is the store's manifest the same, with all blobs in place? */
static bool is_up_to_date(const struct pull *p)
{
    char *path = pn_manifest_path(p->home, &p->name), *text = NULL;
    size_t n = 0;
    bool same = path && pn_file_read(path, PN_MANIFEST_MAX, &text, &n, NULL) == PANTRY_OK && n == p->manifest.len &&
                memcmp(text, p->manifest.data, n) == 0;
    free(path);
    free(text);
    for (size_t i = 0; i < p->layers.n && same; i++) {
        struct stat st;
        char *blob = blob_path(p, &p->layers.layer[i]);
        same = blob && stat(blob, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == p->layers.layer[i].bytes;
        free(blob);
    }
    return same;
}

/* ---- blobs ---- */

static void tick(void *user, uint64_t bytes)
{
    struct pull *p = user;
    pn_job_report(&p->job, PN_FETCH_DOWNLOAD, p->done + bytes, p->total);
}

/* Syncs the complete file and gives it the blob's name. */
static pantry_status publish(const struct pull *p, const struct pn_layer *layer, const char *data,
                             struct pantry_error *err)
{
    char *blob = blob_path(p, layer);
    int fd = blob ? open(data, O_RDONLY | O_CLOEXEC) : -1;
    pantry_status status = PANTRY_OK;
    if (fd < 0)
        status = blob ? pn_fail(err, PANTRY_IO, "%s: %s", data, strerror(errno)) : pn_no_memory(err, data);
    else
        status = pn_layout_sync_file(fd, data, err);
    if (fd >= 0)
        close(fd);
    if (!status && rename(data, blob) != 0)
        status = pn_fail(err, PANTRY_IO, "%s: cannot rename: %s", data, strerror(errno));
    if (!status)
        pn_parts_remove(p->home, layer->hex); /* the state */
    free(blob);
    return status;
}

/* Compares a complete download with its digest: the only way to a blob. PANTRY_FORMAT if it is another file. */
static pantry_status check_blob(struct pull *p, const struct pn_layer *layer, struct pantry_error *err)
{
    char *data = pn_parts_data(p->home, layer);
    if (!data)
        return pn_no_memory(err, layer->hex);
    pantry_status status;
    if (pn_job_has_blob(&p->job, data, layer->bytes, layer->hex)) {
        status = publish(p, layer, data, err);
    } else if (pn_job_cancelled(&p->job)) {
        status = pn_job_stopped(err);
    } else {
        pn_parts_remove(p->home, layer->hex);
        status = pn_fail(err, PANTRY_FORMAT, "%s sent a blob that does not have its SHA-256 (%s); try again",
                         p->name.host, layer->hex);
    }
    free(data);
    return status;
}

static pantry_status put_empty(struct pull *p, const struct pn_layer *layer, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1];
    pantry_status status = pn_blob_put(p->home, "", 0, hex, err);
    if (!status && strcmp(hex, layer->hex) != 0)
        status = pn_fail(err, PANTRY_FORMAT, "the manifest: blob %.12s cannot be empty", layer->hex);
    return status;
}

static pantry_status download(struct pull *p, const struct pn_layer *layer, bool *resumed, struct pantry_error *err)
{
    char *url = p->file_url ? strdup(p->file_url) : pn_registry_blob(&p->registry, layer->hex);
    pantry_status status = url ? pn_parts_download(&p->registry, url, p->home, layer, tick, p, resumed, err)
                               : pn_no_memory(err, layer->hex);
    p->done += layer->bytes;
    free(url);
    return status;
}

/* The blobs that are not in the store yet, and the space for them. */
static pantry_status find_missing(struct pull *p, struct pn_layers *missing, struct pantry_error *err)
{
    missing->n = 0;
    uint64_t space = 0;
    for (size_t i = 0; i < p->layers.n; i++) {
        const struct pn_layer *layer = &p->layers.layer[i];
        char *blob = blob_path(p, layer);
        bool here = blob && pn_job_has_blob(&p->job, blob, layer->bytes, layer->hex);
        free(blob);
        if (pn_job_cancelled(&p->job))
            return pn_job_stopped(err);
        if (here)
            continue;
        missing->layer[missing->n++] = *layer;
        p->total += layer->bytes;
        space += pn_parts_space(p->home, layer);
    }
    return pn_layout_need_space(p->home, space, err);
}

/* All downloads first, then all checks, so that the progress has one phase of each. */
static pantry_status get_blobs(struct pull *p, struct pantry_error *err)
{
    struct pn_layers missing;
    bool resumed[PN_LAYERS_MAX + 1] = {false}, again;
    pantry_status status = find_missing(p, &missing, err);
    for (size_t i = 0; i < missing.n && !status; i++)
        if (missing.layer[i].bytes)
            status = download(p, &missing.layer[i], &resumed[i], err);
    for (size_t i = 0; i < missing.n && !status; i++) {
        const struct pn_layer *layer = &missing.layer[i];
        status = layer->bytes ? check_blob(p, layer, err) : put_empty(p, layer, err);
        if (status == PANTRY_FORMAT && resumed[i]) { /* what was there before may be damaged */
            p->done -= layer->bytes;
            if (!(status = download(p, layer, &again, err)))
                status = check_blob(p, layer, err);
        }
    }
    if (status || !missing.n)
        return status;
    char *blobs = pn_layout_path("%s/models/blobs", p->home);
    status = blobs ? pn_layout_sync_dir(blobs, err) : pn_no_memory(err, p->name.model);
    free(blobs);
    return status;
}

/* ---- all steps ---- */

/* The manifest of a model from Hugging Face is pantry's own. */
static pantry_status pull_file(struct pull *p, struct pantry_error *err)
{
    char *have = NULL;
    p->layers.n = 1;
    pantry_status status = pn_hub_find(&p->registry, &p->layers.layer[0], &p->file_url, err);
    if (status)
        return status;
    const struct pn_layer *layer = &p->layers.layer[0];
    bool same = pn_manifest_model(p->home, &p->name, &have, NULL) == PANTRY_OK && strstr(have, layer->hex);
    free(have);
    if (same)
        return PANTRY_OK;
    status = get_blobs(p, err);
    const struct pn_catalog_entry entry = {
        .name = p->job.name, .family = "unknown", .sha256 = layer->hex, .bytes = layer->bytes};
    return status ? status : pn_manifest_write(p->home, &p->name, &entry, NULL, 0, err);
}

static pantry_status pull_locked(struct pull *p, struct pantry_error *err)
{
    if (pn_hub_has(&p->name))
        return pull_file(p, err);
    pantry_status status = pn_registry_manifest(&p->registry, &p->manifest, err);
    if (!status)
        status = pn_layers_parse(p->manifest.data, p->manifest.len, &p->layers, err);
    if (status || is_up_to_date(p))
        return status;
    status = get_blobs(p, err);
    return status ? status : pn_manifest_put(p->home, &p->name, p->manifest.data, p->manifest.len, err);
}

/* Afterwards, blobs of a replaced manifest that no other names may go. */
static pantry_status pull_and_replace(struct pull *p, struct pantry_error *err)
{
    char *path = pn_manifest_path(p->home, &p->name);
    if (!path)
        return pn_no_memory(err, p->name.model);
    struct pn_digests replaced = {0};
    uint64_t bytes;
    pn_manifest_digests(path, &replaced, NULL);
    pantry_status status = pull_locked(p, err);
    if (!status && replaced.len)
        pn_references_drop(p->home, &replaced, &bytes, NULL); /* pruning removes what stays here */
    free(replaced.data);
    free(path);
    return status;
}

static pantry_status make_store(const char *home, struct pantry_error *err)
{
    char *blobs = pn_layout_path("%s/models/blobs", home), *work = pn_layout_path("%s/fetch", home);
    pantry_status status = blobs && work ? pn_layout_make_dirs(blobs, err) : pn_no_memory(err, "the store");
    if (!status)
        status = pn_layout_make_dirs(work, err);
    free(blobs);
    free(work);
    return status;
}

static pantry_status pull(struct pull *p, const char *text, const struct pn_pull_options *o, char **path,
                          struct pantry_error *err)
{
    int lock = -1;
    pantry_status status = pn_name_parse(text, &p->name, err);
    if (status || (status = pn_layout_home(&p->home, err)))
        return status;
    const pantry_cancel *cancel = o->fetch.cancel;
    if (!pn_hub_has(&p->name))
        status = pn_registry_open(&p->registry, &p->name, o->insecure, o->public_only, cancel, err);
    else if (pn_registry_is_safe(pn_hub_origin()))
        status = pn_registry_open_at(&p->registry, &p->name, pn_hub_origin(), o->public_only, cancel, err);
    else
        status = pn_fail(err, PANTRY_INVALID, "HF_ENDPOINT: is not an https address (found %.200s)", pn_hub_origin());
    if (!status)
        status = make_store(p->home, err);
    if (!status)
        status = pn_job_lock(&p->job, p->home, &lock, err);
    if (!status)
        status = pull_and_replace(p, err);
    if (!status)
        status = pn_manifest_model(p->home, &p->name, path, err);
    if (!status)
        pn_job_report(&p->job, PN_FETCH_DONE, p->total, p->total);
    if (lock >= 0)
        close(lock);
    if (status)
        pn_fail_prefix(err, "%.200s", text);
    return status;
}

/* A TLS connection that breaks while libcurl writes would end the process by SIGPIPE. This thread holds the signal and
 * drops it afterwards. */
static void hold_pipe_signal(sigset_t *before)
{
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, before);
}

static void release_pipe_signal(const sigset_t *before)
{
    sigset_t pipe, pending;
    int taken;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!sigismember(before, SIGPIPE) && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE))
        sigwait(&pipe, &taken);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

pantry_status pn_store_pull(const char *name, const struct pn_pull_options *options, char **path,
                            struct pantry_error *err)
{
    static const struct pn_pull_options nothing;
    const struct pn_pull_options *o = options ? options : &nothing;
    *path = NULL;
    if (pn_store_can_fetch(name))
        return pn_store_fetch(name, &o->fetch, path, err);
    struct pull p = {.job = pn_job_new(name, &o->fetch)};
    sigset_t before;
    hold_pipe_signal(&before);
    pantry_status status = pull(&p, name, o, path, err);
    release_pipe_signal(&before);
    pn_registry_close(&p.registry);
    pn_buf_free(&p.manifest);
    free(p.file_url);
    free(p.home);
    return status;
}
