/* Manifests and small blobs in Ollama's format; their contents are not trusted. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/media.h"

#include "base/alloc.h"
#include "base/file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char type_license[] = "application/vnd.ollama.image.license";

char *pn_manifest_path(const char *store, const struct pn_model_name *name)
{
    return pn_layout_path("%s/manifests/%s/%s/%s/%s", store, name->host, name->space, name->model, name->tag);
}

/* The path of a layer's blob; checks that it is a file of the layer's size. */
static pantry_status layer_blob(const char *models, const char *manifest, const json_t *layer, char **path,
                                struct pantry_error *err)
{
    const char *hex = pn_digest_hex(json_string_value(json_object_get(layer, "digest")));
    if (!hex)
        return pn_fail(err, PANTRY_FORMAT, "%s: the digest of the model layer is not sha256: and 64 hexadecimal digits",
                       manifest);
    const json_t *size = json_object_get(layer, "size");
    if (!json_is_integer(size) || json_integer_value(size) <= 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: the size of the model layer is not a positive integer", manifest);
    *path = pn_layout_path("%s/blobs/sha256-%s", models, hex);
    if (!*path)
        return pn_no_memory(err, manifest);
    struct stat st;
    pantry_status status = PANTRY_OK;
    if (stat(*path, &st) != 0)
        status = pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", *path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size != json_integer_value(size))
        status = pn_fail(err, PANTRY_FORMAT, "%s: is not a file of %lld bytes, the size in its manifest", *path,
                         (long long)json_integer_value(size));
    if (status) {
        free(*path);
        *path = NULL;
    }
    return status;
}

/* The layers with the model's weights: one, all shards in their order, or the files of a folder. */
struct weights {
    struct pn_linked file[PN_LAYERS_MAX];
    size_t n;
    bool folder;
    char *path; /* of the last one's blob */
    uint64_t bytes;
};

static pantry_status take_weights(const char *models, const char *manifest, const json_t *layer, struct weights *out,
                                  struct pantry_error *err)
{
    struct pn_linked *file = &out->file[out->n++];
    free(out->path);
    out->path = NULL;
    pantry_status status = layer_blob(models, manifest, layer, &out->path, err);
    if (status)
        return status;
    memcpy(file->digest.hex, json_string_value(json_object_get(layer, "digest")) + 7, sizeof file->digest.hex);
    file->name = pn_media_title(layer);
    out->bytes += (uint64_t)json_integer_value(json_object_get(layer, "size"));
    return PANTRY_OK;
}

/* The names borrow from the layers. */
static pantry_status find_weights(const char *models, const char *manifest, const json_t *layers, struct weights *out,
                                  struct pantry_error *err)
{
    const json_t *layer[PN_LAYERS_MAX];
    size_t n = 0;
    if (!json_is_array(layers) || json_array_size(layers) > PN_LAYERS_MAX)
        return pn_fail(err, PANTRY_FORMAT, "%s: layers is not an array of at most %d", manifest, PN_LAYERS_MAX);
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (!json_is_string(json_object_get(json_array_get(layers, i), "mediaType")))
            return pn_fail(err, PANTRY_FORMAT, "%s: layer %zu has no mediaType", manifest, i);
    pantry_status status = pn_media_models(layers, layer, &n, &out->folder, err);
    if (status)
        pn_fail_prefix(err, "%s", manifest);
    for (size_t i = 0; i < n && !status; i++)
        status = take_weights(models, manifest, layer[i], out, err);
    return status;
}

/* The path of a file, or of a folder of links. */
static pantry_status path_of(const char *store, struct weights *w, char **path, struct pantry_error *err)
{
    struct pn_digest blobs[PN_LAYERS_MAX];
    if (w->folder)
        return pn_folder_path(store, w->file, w->n, path, err);
    if (w->n == 1) {
        *path = w->path;
        w->path = NULL;
        return PANTRY_OK;
    }
    for (size_t i = 0; i < w->n; i++)
        blobs[i] = w->file[i].digest;
    return pn_shards_path(store, blobs, w->n, path, err);
}

pantry_status pn_layers_weights(const char *store, const char *name, const json_t *layers, char **path, uint64_t *bytes,
                                struct pantry_error *err)
{
    struct weights w = {.n = 0};
    *path = NULL;
    pantry_status status = find_weights(store, name, layers, &w, err);
    if (!status)
        status = path_of(store, &w, path, err);
    *bytes = w.bytes;
    free(w.path);
    return status;
}

pantry_status pn_manifest_read(const char *path, json_t **out, struct pantry_error *err)
{
    char *text = NULL;
    size_t size;
    *out = NULL;
    pantry_status status = pn_file_read(path, PN_MANIFEST_MAX, &text, &size, err);
    if (status)
        return status;
    json_error_t why;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!json_is_object(root)) {
        json_decref(root);
        return pn_fail(err, PANTRY_FORMAT, "%s: not a JSON object: %s", path, why.text);
    }
    *out = root;
    return PANTRY_OK;
}

/* Elsewhere than in the own store a model is one file: only that one has folders of links. */
pantry_status pn_manifest_model_in(const char *models, const char *manifest, char **path, struct pantry_error *err)
{
    json_t *root = NULL;
    struct weights w = {.n = 0};
    *path = NULL;
    pantry_status status = pn_manifest_read(manifest, &root, err);
    if (!status)
        status = find_weights(models, manifest, json_object_get(root, "layers"), &w, err);
    if (!status && (w.n > 1 || w.folder))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: has more than one model layer", manifest);
    if (!status)
        status = path_of(models, &w, path, err);
    json_decref(root);
    free(w.path);
    return status;
}

pantry_status pn_manifest_weights(const char *store, const struct pn_model_name *name, char **path, uint64_t *bytes,
                                  struct pantry_error *err)
{
    json_t *root = NULL;
    *path = NULL;
    char *manifest = pn_manifest_path(store, name);
    pantry_status status = manifest ? pn_manifest_read(manifest, &root, err) : pn_no_memory(err, name->model);
    if (!status)
        status = pn_layers_weights(store, manifest, json_object_get(root, "layers"), path, bytes, err);
    json_decref(root);
    free(manifest);
    return status;
}

pantry_status pn_manifest_model(const char *store, const struct pn_model_name *name, char **path,
                                struct pantry_error *err)
{
    uint64_t bytes;
    return pn_manifest_weights(store, name, path, &bytes, err);
}

static pantry_status add_digest(const char *path, const json_t *layer, struct pn_digests *digests,
                                struct pantry_error *err)
{
    const char *hex = pn_digest_hex(json_string_value(json_object_get(layer, "digest")));
    if (!hex)
        return pn_fail(err, PANTRY_FORMAT, "%s: a digest is not sha256: and 64 hexadecimal digits", path);
    struct pn_digest digest;
    memcpy(digest.hex, hex, sizeof digest.hex);
    return pn_vec_push(digests, digest) ? PANTRY_OK : pn_no_memory(err, path);
}

pantry_status pn_manifest_digests(const char *path, struct pn_digests *digests, struct pantry_error *err)
{
    size_t before = digests->len;
    json_t *root;
    pantry_status status = pn_manifest_read(path, &root, err);
    if (status)
        return status;
    json_t *layers = json_object_get(root, "layers"), *config = json_object_get(root, "config");
    if (!json_is_array(layers) || json_array_size(layers) > PN_LAYERS_MAX)
        status = pn_fail(err, PANTRY_FORMAT, "%s: layers is not an array of at most %d", path, PN_LAYERS_MAX);
    else if (config)
        status = add_digest(path, config, digests, err);
    for (size_t i = 0; i < json_array_size(layers) && !status; i++)
        status = add_digest(path, json_array_get(layers, i), digests, err);
    if (status)
        digests->len = before;
    json_decref(root);
    return status;
}

pantry_status pn_blob_put(const char *store, const void *bytes, size_t n, char hex[PN_SHA256_HEX + 1],
                          struct pantry_error *err)
{
    pantry_status status = pn_sha256_bytes(bytes, n, hex, err);
    if (status)
        return status;
    char *path = pn_layout_path("%s/blobs/sha256-%s", store, hex);
    if (!path)
        return pn_no_memory(err, "a blob");
    struct pn_durable file;
    if (!(status = pn_durable_open(&file, path, err))) {
        status = pn_durable_write(&file, bytes, n, err);
        if (!status)
            status = pn_durable_commit(&file, hex, err);
        pn_durable_abort(&file);
    }
    free(path);
    return status;
}

/* Ollama's configuration blob of a model. */
static pantry_status put_config(const char *store, const struct pn_catalog_entry *entry, const char *format,
                                char hex[PN_SHA256_HEX + 1], size_t *size, struct pantry_error *err)
{
    json_t *config = json_pack("{s:s, s:s, s:[s], s:s, s:s, s:{s:s, s:[s+]}}", "model_format", format, "model_family",
                               entry->family, "model_families", entry->family, "architecture", "amd64", "os", "linux",
                               "rootfs", "type", "layers", "diff_ids", "sha256:", entry->sha256);
    char *text = config ? json_dumps(config, JSON_COMPACT) : NULL;
    json_decref(config);
    if (!text)
        return pn_no_memory(err, entry->name);
    *size = strlen(text);
    pantry_status status = pn_blob_put(store, text, *size, hex, err);
    free(text);
    return status;
}

json_t *pn_manifest_layer(const char *type, const char *hex, uint64_t size, const char *title)
{
    json_t *v = json_pack("{s:s, s:s+, s:I}", "mediaType", type, "digest", "sha256:", hex, "size", (json_int_t)size);
    if (v && title)
        json_object_set_new(v, "annotations", json_pack("{s:s}", PN_KEY_TITLE, title));
    return v;
}

pantry_status pn_manifest_put(const char *store, const struct pn_model_name *name, const char *text, size_t n,
                              struct pantry_error *err)
{
    char *path = pn_manifest_path(store, name);
    if (!path)
        return pn_no_memory(err, name->model);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    pantry_status status = pn_layout_make_dirs(path, err);
    *slash = '/';
    struct pn_durable file = {.fd = -1};
    if (!status)
        status = pn_durable_open(&file, path, err);
    if (!status)
        status = pn_durable_write(&file, text, n, err);
    if (!status)
        status = pn_durable_commit(&file, NULL, err);
    pn_durable_abort(&file);
    free(path);
    return status;
}

pantry_status pn_manifest_compose(const char *store, const struct pn_catalog_entry *entry,
                                  const struct pn_manifest_layer *layers, size_t n, char **text,
                                  struct pantry_error *err)
{
    char config[PN_SHA256_HEX + 1];
    size_t config_bytes = 0;
    *text = NULL;
    const char *format = n && strcmp(layers[0].type, PN_TYPE_FILE) == 0 ? "safetensors" : "gguf";
    pantry_status status = put_config(store, entry, format, config, &config_bytes, err);
    if (status)
        return status;
    json_t *root = json_pack("{s:i, s:s, s:o, s:[]}", "schemaVersion", 2, "mediaType", PN_TYPE_MANIFEST, "config",
                             pn_manifest_layer(PN_TYPE_CONFIG, config, config_bytes, NULL), "layers");
    json_t *array = json_object_get(root, "layers");
    bool failed = !root;
    for (size_t i = 0; i < n && !failed; i++)
        failed = json_array_append_new(
            array, pn_manifest_layer(layers[i].type, layers[i].hex, layers[i].bytes, layers[i].title));
    if (!failed)
        *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return *text ? PANTRY_OK : pn_no_memory(err, entry->name);
}

pantry_status pn_manifest_write(const char *store, const struct pn_model_name *name,
                                const struct pn_catalog_entry *entry, const char *license, uint64_t license_bytes,
                                struct pantry_error *err)
{
    const struct pn_manifest_layer layers[] = {
        {.type = PN_TYPE_MODEL, .hex = entry->sha256, .bytes = entry->bytes},
        {.type = type_license, .hex = license, .bytes = license_bytes},
    };
    char *text = NULL;
    pantry_status status = pn_manifest_compose(store, entry, layers, license ? 2 : 1, &text, err);
    if (!status)
        status = pn_manifest_put(store, name, text, strlen(text), err);
    free(text);
    return status;
}
