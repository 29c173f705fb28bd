/* What the layers of a manifest are: see media.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/media.h"

#include <string.h>
#include <strings.h>

const char *pn_digest_hex(const char *digest)
{
    if (!digest || strncmp(digest, "sha256:", 7) != 0 || strlen(digest) != 7 + PN_SHA256_HEX)
        return NULL;
    return strspn(digest + 7, "0123456789abcdef") == PN_SHA256_HEX ? digest + 7 : NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

static const char *type_of(const json_t *layer)
{
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    return type ? type : "";
}

/* The file's name as the artifact gives it, or "". */
const char *pn_media_title(const json_t *layer)
{
    static const char *const keys[] = {PN_KEY_TITLE, "org.cncf.model.filepath"};
    const json_t *annotations = json_object_get(layer, "annotations");
    const char *title = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !title; i++)
        title = json_string_value(json_object_get(annotations, keys[i]));
    return title ? title : "";
}

static bool is_packed(const char *type)
{
    return strstr(type, "tar") || strstr(type, "gzip") || strstr(type, "zstd");
}

/* A file by itself whose name says that it is GGUF. */
bool pn_media_is_gguf(const json_t *layer)
{
    return ends_with(pn_media_title(layer), ".gguf") && !is_packed(type_of(layer));
}

static bool is_model(const json_t *layer)
{
    const char *type = type_of(layer);
    if (strcmp(type, PN_TYPE_MODEL) == 0 || strcmp(type, "application/vnd.docker.ai.gguf.v3") == 0)
        return true;
    bool own = strncmp(type, "application/vnd.ollama.", 23) == 0 || strncmp(type, "application/vnd.docker.", 23) == 0;
    return !own && pn_media_is_gguf(layer) && !strcasestr(pn_media_title(layer), "mmproj");
}

bool pn_media_is_known(const json_t *layer)
{
    static const char *const families[] = {"application/vnd.ollama.image.", "application/vnd.docker.ai.",
                                           "application/vnd.cncf.model.", "application/vnd.pantry.image."};
    const char *type = type_of(layer);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strncmp(type, families[i], strlen(families[i])) == 0)
            return true;
    return pn_media_is_gguf(layer);
}

/* Puts the numbered parts into their places. False: they are not the parts of one model. */
static bool order_parts(const json_t **models, size_t n)
{
    const json_t *ordered[PN_LAYERS_MAX] = {0};
    unsigned number, count;
    for (size_t i = 0; i < n; i++) {
        if (!pn_shards_name(pn_media_title(models[i]), &number, &count) || count != n || ordered[number - 1])
            return false;
        ordered[number - 1] = models[i];
    }
    memcpy(models, ordered, n * sizeof *models);
    return true;
}

static bool is_twice(const json_t *const *models, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_object_get(models[i], "digest"), json_object_get(models[k], "digest")))
                return true;
    return false;
}

/* ---- directories ---- */

bool pn_media_is_weights(const char *name)
{
    return ends_with(name, ".safetensors");
}

bool pn_media_is_part(const char *name)
{
    static const char *const ends[] = {".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken"};
    enum { MAX_NAME = 200 };
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
    size_t n = strlen(name), i = 0;
    while (i < sizeof ends / sizeof *ends && !ends_with(name, ends[i]))
        i++;
    return n <= MAX_NAME && *name != '.' && !name[strspn(name, letters)] &&
           (i < sizeof ends / sizeof *ends || strncmp(name, "LICENSE", 7) == 0);
}

static bool is_file(const json_t *layer)
{
    return strcmp(type_of(layer), PN_TYPE_FILE) == 0;
}

/* All files, each with a name of its own; config.json and weights are among them. */
static pantry_status find_files(const json_t *layers, const json_t **files, size_t *n, struct pantry_error *err)
{
    bool config = false, weights = false;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *title = pn_media_title(layer);
        if (!is_file(layer))
            continue;
        if (*n == PN_LAYERS_MAX)
            return pn_fail(err, PANTRY_LIMIT, "has more than %d files", PN_LAYERS_MAX);
        if (!pn_media_is_part(title))
            return pn_fail(err, PANTRY_FORMAT, "layer %zu: its title is not the name of a model's file", i);
        for (size_t k = 0; k < *n; k++)
            if (strcasecmp(pn_media_title(files[k]), title) == 0)
                return pn_fail(err, PANTRY_FORMAT, "has two files %s", title);
        config |= strcmp(title, "config.json") == 0;
        weights |= pn_media_is_weights(title);
        files[(*n)++] = layer;
    }
    if (*n && !(config && weights))
        return pn_fail(err, PANTRY_FORMAT, "has no file %s", config ? "with weights (*.safetensors)" : "config.json");
    return PANTRY_OK;
}

pantry_status pn_media_models(const json_t *layers, const json_t **models, size_t *n, bool *folder,
                              struct pantry_error *err)
{
    size_t size = json_array_size(layers);
    unsigned number, count;
    bool numbered = false;
    *n = 0;
    pantry_status status = find_files(layers, models, n, err);
    *folder = *n > 0;
    if (status || *folder)
        return status;
    for (size_t i = 0; i < size; i++) {
        const json_t *layer = json_array_get(layers, i);
        if (!is_model(layer))
            continue;
        if (*n == PN_LAYERS_MAX)
            return pn_fail(err, PANTRY_LIMIT, "has more than %d model layers", PN_LAYERS_MAX);
        numbered = numbered || pn_shards_name(pn_media_title(layer), &number, &count);
        models[(*n)++] = layer;
    }
    if (*n == 0)
        return pn_fail(err, PANTRY_FORMAT, "has no model layer");
    if (is_twice(models, *n))
        return pn_fail(err, PANTRY_FORMAT, "has a model layer more than once");
    if (*n > 1 && numbered && !order_parts(models, *n))
        return pn_fail(err, PANTRY_FORMAT, "has %zu model layers (allowed 1, or all parts of one)", *n);
    return PANTRY_OK;
}
