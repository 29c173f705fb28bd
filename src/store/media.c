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
static const char *title_of(const json_t *layer)
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
static bool is_gguf_file(const json_t *layer)
{
    return ends_with(title_of(layer), ".gguf") && !is_packed(type_of(layer));
}

static bool is_model(const json_t *layer)
{
    const char *type = type_of(layer);
    if (strcmp(type, PN_TYPE_MODEL) == 0 || strcmp(type, "application/vnd.docker.ai.gguf.v3") == 0)
        return true;
    bool own = strncmp(type, "application/vnd.ollama.", 23) == 0 || strncmp(type, "application/vnd.docker.", 23) == 0;
    return !own && is_gguf_file(layer) && !strcasestr(title_of(layer), "mmproj");
}

bool pn_media_is_known(const json_t *layer)
{
    static const char *const families[] = {"application/vnd.ollama.image.", "application/vnd.docker.ai.",
                                           "application/vnd.cncf.model."};
    const char *type = type_of(layer);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strncmp(type, families[i], strlen(families[i])) == 0)
            return true;
    return is_gguf_file(layer);
}

bool pn_media_part(const char *name, unsigned *number, unsigned *count)
{
    static const char pattern[] = "-#####-of-#####.gguf";
    size_t n = strlen(name), m = sizeof pattern - 1;
    if (n < m)
        return false;
    const char *end = name + n - m;
    unsigned values[2] = {0};
    for (size_t i = 0; i < m; i++) {
        if (pattern[i] != '#' ? end[i] != pattern[i] : end[i] < '0' || end[i] > '9')
            return false;
        if (pattern[i] == '#')
            values[i > 6] = values[i > 6] * 10 + (unsigned)(end[i] - '0');
    }
    *number = values[0];
    *count = values[1];
    return *number >= 1 && *number <= *count;
}

pantry_status pn_media_models(const json_t *layers, const json_t **models, size_t *n, struct pantry_error *err)
{
    size_t found = 0, in_place = 0, size = json_array_size(layers);
    const json_t *one = NULL;
    unsigned number, count;
    for (size_t i = 0; i < size; i++)
        if (is_model(json_array_get(layers, i))) {
            one = json_array_get(layers, i);
            found++;
        }
    *n = found;
    models[0] = one;
    if (found == 1)
        return PANTRY_OK;
    for (size_t i = 0; i < found && i < PN_LAYERS_MAX; i++)
        models[i] = NULL;
    for (size_t i = 0; i < size && found <= PN_LAYERS_MAX; i++) {
        const json_t *layer = json_array_get(layers, i);
        if (is_model(layer) && pn_media_part(title_of(layer), &number, &count) && count == found &&
            !models[number - 1]) {
            models[number - 1] = layer;
            in_place++;
        }
    }
    if (found > 0 && in_place == found)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_FORMAT, "has %zu model layers (allowed 1, or the numbered parts of one)", found);
}
