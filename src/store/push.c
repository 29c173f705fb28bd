/* Pushing models to registries: the blobs that the registry lacks, then the manifest. See store.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/blobs.h"
#include "store/hub.h"
#include "store/send.h"

#include "base/file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct push {
    struct pn_job job;
    struct pn_model_name from, to;
    struct pn_registry registry;
    char *store, *text; /* the manifest, as it is */
    size_t len;
    struct pn_lock lock; /* keeps the blobs */
    struct pn_blobs blobs;
    char *scope, *mount_scope, *mount_from;
    bool has[PN_BLOBS_MAX];
    const struct pn_layer *layer; /* that is sent now */
    uint64_t done, total;         /* bytes of the blobs that the registry lacks */
};

static pantry_status read_model(struct push *p, struct pantry_error *err)
{
    char *path = pn_manifest_path(p->store, &p->from), *model = NULL;
    pantry_status status = path ? pn_manifest_model(p->store, &p->from, &model, err) : pn_no_memory(err, p->from.model);
    if (!status)
        status = pn_file_read(path, PN_MANIFEST_MAX, &p->text, &p->len, err);
    if (status == PANTRY_NOT_FOUND)
        status = pn_fail(err, status, "not in the store");
    if (!status)
        status = pn_layers_parse(p->text, p->len, &p->blobs.layers, err);
    if (!status && !pn_blobs_are_here(&p->blobs))
        status = pn_fail(err, PANTRY_NOT_FOUND, "a blob of the model is missing or cut off; pull it again");
    free(path);
    free(model);
    return status;
}

/* Nobody removes the blobs meanwhile. */
static pantry_status keep_blobs(struct push *p, struct pantry_error *err)
{
    struct pn_digest digests[PN_BLOBS_MAX];
    char key[sizeof "push-" + PN_SHA256_HEX] = "push-";
    char *full = pn_layout_path("%s/%s/%s:%s", p->to.host, p->to.space, p->to.model, p->to.tag);
    pantry_status status = full ? pn_sha256_bytes(full, strlen(full), key + 5, err) : pn_no_memory(err, p->to.model);
    free(full);
    for (size_t i = 0; i < p->blobs.layers.n; i++)
        memcpy(digests[i].hex, p->blobs.layers.layer[i].hex, sizeof digests[i].hex);
    if (!status)
        status = pn_job_lock(&p->job, p->store, key, &p->lock, err);
    return status ? status : pn_job_keep(&p->job, p->store, &p->lock, digests, p->blobs.layers.n, err);
}

/* ---- another repository of the registry that has the blobs ---- */

/* Takes the first other repository there whose model in the store names the model's file, too. */
static pantry_status find_mount(void *user, const char *path, const char *const parts[4], struct pantry_error *err)
{
    struct push *p = user;
    struct pn_digests digests = {0};
    (void)err;
    if (p->mount_from || strcmp(parts[0], p->to.host) != 0 ||
        (strcmp(parts[1], p->to.space) == 0 && strcmp(parts[2], p->to.model) == 0))
        return PANTRY_OK;
    pn_manifest_digests(path, &digests, NULL);
    for (size_t i = 0; i < digests.len && !p->mount_from; i++)
        for (size_t k = 0; k < p->blobs.layers.n && !p->mount_from; k++)
            if (strcmp(digests.data[i].hex, p->blobs.layers.layer[k].hex) == 0 && p->blobs.layers.layer[k].bytes > 1000)
                p->mount_from = pn_layout_path("%s/%s", parts[1], parts[2]);
    free(digests.data);
    return PANTRY_OK;
}

static pantry_status open_registry(struct push *p, const struct pn_push_options *o, struct pantry_error *err)
{
    pn_manifest_walk(p->store, find_mount, p, NULL);
    p->scope = pn_layout_path("repository:%s/%s:pull,push", p->to.space, p->to.model);
    if (p->mount_from)
        p->mount_scope = pn_layout_path("repository:%s:pull", p->mount_from);
    if (!p->scope || (p->mount_from && !p->mount_scope))
        return pn_no_memory(err, p->to.model);
    pantry_status status = pn_registry_open(&p->registry, &p->to, o->insecure, o->public_only, o->fetch.cancel, err);
    p->registry.scopes[0] = p->scope;
    p->registry.scopes[1] = p->mount_scope;
    return status;
}

/* ---- blobs ---- */

static void tick(void *user, uint64_t bytes)
{
    struct push *p = user;
    pn_job_blob(&p->job, p->layer->hex, bytes, p->layer->bytes);
    pn_job_report(&p->job, PN_FETCH_UPLOAD, p->done + bytes, p->total);
}

static pantry_status look_what_is_there(struct push *p, struct pantry_error *err)
{
    const struct pn_layers *layers = &p->blobs.layers;
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < layers->n && !status; i++) {
        status = pn_send_has(&p->registry, &layers->layer[i], &p->has[i], err);
        if (!status && !p->has[i])
            p->total += layers->layer[i].bytes;
    }
    return status;
}

static pantry_status send_blob(struct push *p, struct pantry_error *err)
{
    const struct pn_send upload = {.registry = &p->registry,
                                   .store = p->store,
                                   .layer = *p->layer,
                                   .mount_from = p->mount_from,
                                   .tick = tick,
                                   .user = p};
    char key[sizeof "upload-" + PN_SHA256_HEX];
    struct pn_lock lock = PN_NO_LOCK;
    bool has = false;
    pantry_status status = pn_send_key(&p->registry, p->layer->hex, key, err);
    if (!status)
        status = pn_job_lock(&p->job, p->store, key, &lock, err);
    if (!status) /* another process may have sent it meanwhile */
        status = pn_send_has(&p->registry, p->layer, &has, err);
    if (!status && !has)
        status = pn_send_blob(&upload, err);
    pn_lock_release(&lock);
    return status;
}

static pantry_status send_blobs(struct push *p, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < p->blobs.layers.n && !status; i++) {
        p->layer = &p->blobs.layers.layer[i];
        if (p->has[i]) {
            pn_job_blob(&p->job, p->layer->hex, p->layer->bytes, p->layer->bytes);
            pn_job_report(&p->job, PN_FETCH_UPLOAD, p->done, p->total);
        } else if (!(status = send_blob(p, err))) {
            tick(p, p->layer->bytes);
            p->done += p->layer->bytes;
        }
    }
    return status;
}

/* ---- the manifest ---- */

static bool read_text(void *user, uint64_t at, char *to, size_t n)
{
    memcpy(to, (const char *)user + at, n);
    return true;
}

/* Its own media type; registries compare it with the header. */
static char *type_line(const struct push *p)
{
    json_t *root = json_loadb(p->text, p->len, 0, NULL);
    const char *type = json_string_value(json_object_get(root, "mediaType"));
    bool oci = type && strcmp(type, PN_TYPE_OCI_MANIFEST) == 0;
    json_decref(root);
    return pn_layout_path("Content-Type: %s", oci ? PN_TYPE_OCI_MANIFEST : PN_TYPE_MANIFEST);
}

static pantry_status send_manifest(struct push *p, struct pantry_error *err)
{
    const struct pn_http_body body = {.method = "PUT", .bytes = p->len, .read = read_text, .user = p->text};
    struct pn_http_head head;
    char *type = type_line(p), *url = pn_registry_manifest_url(&p->registry);
    const char *const lines[] = {type, "Expect:", NULL};
    pn_job_report(&p->job, PN_FETCH_MANIFEST, 0, 0);
    pantry_status status =
        type && url ? pn_registry_ask(&p->registry, url, &body, lines, &head, err) : pn_no_memory(err, "a manifest");
    if (!status && head.status / 100 != 2)
        status = pn_registry_refused(&p->registry, "the manifest", &head, err);
    free(type);
    free(url);
    return status;
}

/* ---- all steps ---- */

static pantry_status push(struct push *p, const char *from, const struct pn_push_options *o, struct pantry_error *err)
{
    pantry_status status = pn_name_parse(from, &p->from, err);
    if (!status)
        status = pn_name_parse(o->to ? o->to : from, &p->to, err);
    if (!status && pn_hub_has(&p->to))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "Hugging Face is not a registry; give the name of one as DEST");
    if (!status)
        status = pn_layout_store(&p->store, err);
    if (status)
        return status;
    p->blobs = (struct pn_blobs){.job = &p->job, .registry = &p->registry, .store = p->store};
    if (!(status = read_model(p, err)) && !(status = keep_blobs(p, err)) && !(status = open_registry(p, o, err)))
        status = look_what_is_there(p, err);
    if (!status)
        status = send_blobs(p, err);
    if (!status)
        status = send_manifest(p, err);
    if (!status)
        pn_job_report(&p->job, PN_FETCH_DONE, p->total, p->total);
    return status;
}

pantry_status pn_store_push(const char *name, const struct pn_push_options *options, struct pantry_error *err)
{
    static const struct pn_push_options nothing;
    const struct pn_push_options *o = options ? options : &nothing;
    struct push *p = calloc(1, sizeof *p);
    if (!p)
        return pn_no_memory(err, name);
    *p = (struct push){.job = pn_job_new(o->to ? o->to : name, &o->fetch), .lock = PN_NO_LOCK};
    sigset_t before;
    pn_http_hold_signal(&before);
    pantry_status status = push(p, name, o, err);
    pn_http_release_signal(&before);
    if (status)
        pn_fail_prefix(err, "%.200s", name);
    pn_lock_release(&p->lock);
    pn_registry_close(&p->registry);
    free(p->scope);
    free(p->mount_scope);
    free(p->mount_from);
    free(p->text);
    free(p->store);
    free(p);
    return status;
}
