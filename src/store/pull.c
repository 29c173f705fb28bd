/* Pulling models: from registries, from repositories of Hugging Face, from URLs. The lock of the model's name, the
 * manifest, the blobs, and the manifest into the store last. See store.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/blobs.h"
#include "store/hub.h"
#include "store/parts.h"

#include "base/file.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pull {
    struct pn_job job;
    const struct pn_pull_options *options;
    struct pn_model_name name;
    struct pn_registry registry;
    char *store;
    struct pn_lock lock;       /* of the name; it keeps the blobs */
    struct pn_buf manifest;    /* of a registry */
    struct pn_hub_model files; /* of a repository or a URL */
    struct pn_blobs blobs;
};

/* ---- the manifest into the store ---- */

/* Is the store's manifest the same, with all blobs in place? */
static bool is_up_to_date(const struct pull *p)
{
    char *path = pn_manifest_path(p->store, &p->name), *text = NULL, *model = NULL;
    size_t n = 0;
    bool same = path && pn_file_read(path, PN_MANIFEST_MAX, &text, &n, NULL) == PANTRY_OK && n == p->manifest.len &&
                memcmp(text, p->manifest.data, n) == 0 && pn_blobs_are_here(&p->blobs) &&
                pn_manifest_model(p->store, &p->name, &model, NULL) == PANTRY_OK;
    free(path);
    free(text);
    free(model);
    return same;
}

static pantry_status keep_blobs(struct pull *p, struct pantry_error *err)
{
    struct pn_digest digests[PN_BLOBS_MAX];
    const struct pn_layers *layers = &p->blobs.layers;
    for (size_t i = 0; i < layers->n; i++)
        memcpy(digests[i].hex, layers->layer[i].hex, sizeof digests[i].hex);
    return pn_job_keep(&p->job, p->store, &p->lock, digests, layers->n, err);
}

/* Writes the manifest, and removes the blobs that only the replaced one named. */
static pantry_status commit_locked(struct pull *p, struct pantry_error *err)
{
    char *path = pn_manifest_path(p->store, &p->name), *text = NULL;
    size_t n = p->manifest.len;
    struct pn_digests replaced = {0};
    uint64_t bytes;
    pantry_status status = PANTRY_OK;
    if (!path)
        return pn_no_memory(err, p->name.model);
    pn_manifest_digests(path, &replaced, NULL);
    if (!pn_blobs_are_here(&p->blobs))
        status = pn_fail(err, PANTRY_IO, "a blob vanished from the store while the model was pulled; try again");
    else if (p->files.n)
        status = pn_hub_manifest(p->store, p->job.name, &p->files, &text, err);
    if (!status)
        n = text ? strlen(text) : n;
    const char *written = text ? text : p->manifest.data;
    if (!status)
        status = pn_manifest_put(p->store, &p->name, written, n, err);
    if (!status && replaced.len)
        pn_references_drop(p->store, &replaced, &bytes, NULL); /* pruning removes what stays here */
    free(replaced.data);
    free(path);
    free(text);
    return status;
}

static pantry_status commit(struct pull *p, struct pantry_error *err)
{
    int store = -1;
    pn_job_report(&p->job, PN_FETCH_MANIFEST, 0, 0);
    pantry_status status = pn_job_lock_store(&p->job, p->store, &store, err);
    if (!status)
        status = commit_locked(p, err);
    if (store >= 0)
        close(store);
    return status;
}

/* ---- sources ---- */

static pantry_status pull_from_registry(struct pull *p, struct pantry_error *err)
{
    pantry_status status = pn_registry_manifest(&p->registry, &p->manifest, err);
    if (!status)
        status = pn_layers_parse(p->manifest.data, p->manifest.len, &p->blobs.layers, err);
    if (status || is_up_to_date(p))
        return status;
    if (!(status = keep_blobs(p, err)) && !(status = pn_blobs_get(&p->blobs, err)))
        status = commit(p, err);
    return status;
}

/* Does the store's manifest name these files and no others? */
static bool has_files(const struct pull *p)
{
    char *path = pn_manifest_path(p->store, &p->name), *model = NULL;
    struct pn_digests digests = {0};
    bool same = path && pn_manifest_digests(path, &digests, NULL) == PANTRY_OK && digests.len == p->files.n + 1 &&
                pn_blobs_are_here(&p->blobs) && pn_manifest_model(p->store, &p->name, &model, NULL) == PANTRY_OK;
    for (size_t i = 0; i < p->files.n && same; i++)
        same = strcmp(digests.data[i + 1].hex, p->files.file[i].layer.hex) == 0; /* after the configuration */
    free(digests.data);
    free(path);
    free(model);
    return same;
}

static pantry_status put_small(struct pull *p, struct pantry_error *err)
{
    int store = -1;
    pantry_status status = pn_job_lock_store(&p->job, p->store, &store, err);
    if (!status)
        status = pn_hub_put_small(p->store, &p->files, err);
    if (store >= 0)
        close(store);
    return status;
}

static pantry_status pull_from_hub(struct pull *p, struct pantry_error *err)
{
    pantry_status status = pn_hub_find(&p->registry, p->options, &p->files, err);
    if (!status)
        status = pn_hub_read_small(&p->registry, &p->files, err);
    struct pn_layers *layers = &p->blobs.layers;
    for (size_t i = 0; i < p->files.n && !status; i++) {
        p->blobs.urls[layers->n] = p->files.file[i].url;
        if (!pn_layers_add(layers, p->files.file[i].layer.hex, p->files.file[i].layer.bytes))
            status = pn_fail(err, PANTRY_FORMAT, "%s: has two sizes", p->files.file[i].path);
    }
    if (status || has_files(p))
        return status;
    if (!(status = keep_blobs(p, err)) && !(status = put_small(p, err)) && !(status = pn_blobs_get(&p->blobs, err)))
        status = commit(p, err);
    return status;
}

/* The digest of a URL's file is known after the download only; until then that of the URL names its parts. */
static pantry_status pull_from_url(struct pull *p, const char *url, struct pantry_error *err)
{
    struct pn_url_file file = {.job = &p->job, .registry = &p->registry, .store = p->store, .url = url};
    struct pn_layers *layers = &p->blobs.layers;
    pantry_status status = pn_url_download(&file, err);
    if (!status) {
        p->files.file[0] = (struct pn_hub_file){.layer = file.layer};
        p->files.n = 1;
        pn_layers_add(layers, file.layer.hex, file.layer.bytes);
        status = keep_blobs(p, err);
    }
    if (!status)
        status = pn_blobs_publish(p->store, file.part, file.layer.hex, err);
    if (!status)
        status = commit(p, err);
    pn_lock_release(&file.lock);
    return status;
}

static pantry_status lock_name(struct pull *p, struct pantry_error *err)
{
    char *full = pn_layout_path("%s/%s/%s:%s", p->name.host, p->name.space, p->name.model, p->name.tag);
    char key[sizeof "name-" + PN_SHA256_HEX] = "name-";
    pantry_status status = full ? pn_sha256_bytes(full, strlen(full), key + 5, err) : pn_no_memory(err, p->name.model);
    free(full);
    return status ? status : pn_job_lock(&p->job, p->store, key, &p->lock, err);
}

static pantry_status pull(struct pull *p, const char *text, char **path, struct pantry_error *err)
{
    pantry_status status = pn_source_name(text, p->options, &p->name, err);
    if (status || (status = pn_layout_store(&p->store, err)))
        return status;
    p->blobs = (struct pn_blobs){.job = &p->job, .registry = &p->registry, .store = p->store};
    status = pn_source_open(text, p->options, &p->name, &p->registry, err);
    if (!status)
        status = pn_layout_make_store(p->store, err);
    if (!status)
        status = lock_name(p, err);
    if (!status)
        status = pn_store_is_url(text)  ? pull_from_url(p, text, err)
                 : pn_hub_has(&p->name) ? pull_from_hub(p, err)
                                        : pull_from_registry(p, err);
    if (!status)
        status = pn_manifest_model(p->store, &p->name, path, err);
    if (!status)
        pn_job_report(&p->job, PN_FETCH_DONE, p->blobs.total, p->blobs.total);
    pn_lock_release(&p->lock);
    if (status)
        pn_fail_prefix(err, "%.200s", text);
    return status;
}

pantry_status pn_store_pull(const char *name, const struct pn_pull_options *options, char **path,
                            struct pantry_error *err)
{
    static const struct pn_pull_options nothing;
    const struct pn_pull_options *o = options ? options : &nothing;
    *path = NULL;
    if (pn_store_can_fetch(name))
        return pn_store_fetch(name, &o->fetch, path, err);
    struct pull *p = calloc(1, sizeof *p);
    if (!p)
        return pn_no_memory(err, name);
    *p = (struct pull){.job = pn_job_new(name, &o->fetch), .options = o, .lock = PN_NO_LOCK};
    sigset_t before;
    pn_http_hold_signal(&before);
    pantry_status status = pull(p, name, path, err);
    pn_http_release_signal(&before);
    pn_registry_close(&p->registry);
    pn_hub_free(&p->files);
    pn_buf_free(&p->manifest);
    free(p->store);
    free(p);
    return status;
}
