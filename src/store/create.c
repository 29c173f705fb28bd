/* Making models: see create.h.
 *
 * Files are hashed and become blobs without the lock of the store, which is held to look at the base, and at the end to
 * write texts and the manifest, which comes last. Blobs that a failed call has made are removed again, and those that a
 * killed one has made are found by pruning. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/create.h"

#include "base/alloc.h"
#include "store/carried.h"
#include "store/foreign.h"
#include "store/gather.h"
#include "store/media.h"
#include "store/parameters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct making {
    struct pn_job job;
    const struct pn_create *create;
    const struct pn_create_options *options;
    struct pn_model_name name;
    char *store;
    json_t *layers, *config;      /* of the new manifest */
    struct pn_digests made;       /* blobs that may be new */
    struct pn_gather gather;      /* files that become blobs */
    bool own;                     /* the base is of the own store */
    struct pn_create_files found; /* of a base that another program has as files */
    struct pn_carried base;       /* what the base carries */
    char *weights;                /* the path of the model's file, or of its first shard, once it is known */
    json_t *description;          /* of the weights */
};

static void say(const struct making *m, const char *what, const char *hex)
{
    char line[120];
    snprintf(line, sizeof line, "%s%s%s", what, hex ? " sha256:" : "", hex ? hex : "");
    if (m->options->status)
        m->options->status(m->options->fetch.user, line);
}

/* ---- layers ---- */

static pantry_status note_made(struct making *m, const char *hex, struct pantry_error *err)
{
    struct pn_digest digest;
    memcpy(digest.hex, hex, sizeof digest.hex);
    return pn_vec_push(&m->made, digest) ? PANTRY_OK : pn_no_memory(err, m->job.name);
}

static bool is_type(const json_t *layer, const char *type)
{
    const char *text = json_string_value(json_object_get(layer, "mediaType"));
    size_t n = sizeof PN_TYPE_LAYER - 1;
    return text && strncmp(text, PN_TYPE_LAYER, n) == 0 && strcmp(text + n, type) == 0;
}

static void remove_layers(struct making *m, const char *type)
{
    for (size_t i = json_array_size(m->layers); i-- > 0;)
        if (is_type(json_array_get(m->layers, i), type))
            json_array_remove(m->layers, i);
}

/* `type` is one of Ollama's, or a whole media type. */
static pantry_status add_layer(struct making *m, const char *type, const char *hex, uint64_t bytes, const char *title,
                               struct pantry_error *err)
{
    char media[80];
    snprintf(media, sizeof media, "%s%s", strchr(type, '/') ? "" : PN_TYPE_LAYER, type);
    if (json_array_size(m->layers) == PN_LAYERS_MAX)
        return pn_fail(err, PANTRY_LIMIT, "too many parts (allowed %d)", PN_LAYERS_MAX);
    return json_array_append_new(m->layers, pn_manifest_layer(media, hex, bytes, title)) == 0
               ? PANTRY_OK
               : pn_no_memory(err, m->job.name);
}

static pantry_status add_text(struct making *m, const char *type, const char *text, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1];
    size_t n = strlen(text);
    pantry_status status = pn_sha256_bytes(text, n, hex, err);
    if (!status)
        status = note_made(m, hex, err);
    if (!status)
        status = pn_blob_put(m->store, text, n, hex, err);
    if (!status)
        status = add_layer(m, type, hex, n, NULL, err);
    if (!status)
        say(m, "creating new layer", hex);
    return status;
}

static pantry_status add_json(struct making *m, const char *type, const json_t *v, struct pantry_error *err)
{
    char *text = json_dumps(v, JSON_COMPACT);
    if (!text)
        return pn_no_memory(err, m->job.name);
    remove_layers(m, type);
    pantry_status status = add_text(m, type, text, err);
    free(text);
    return status;
}

/* ---- the base ---- */

/* The blob of a layer of another program's manifest, in the folder `models`. */
static pantry_status take_foreign_layer(struct making *m, const char *models, const json_t *layer,
                                        struct pantry_error *err)
{
    const char *hex = pn_digest_hex(json_string_value(json_object_get(layer, "digest")));
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    const char *title = json_string_value(json_object_get(json_object_get(layer, "annotations"), PN_KEY_TITLE));
    uint64_t bytes = 0;
    if (!hex || !type || !pn_media_is_known(layer))
        return pn_fail(err, PANTRY_UNSUPPORTED, "%.200s: has a layer of an unknown type", m->create->from);
    char *path = pn_layout_path("%s/blobs/sha256-%s", models, hex);
    if (!path)
        return pn_no_memory(err, m->job.name);
    pantry_status status = PANTRY_OK;
    if (!pn_look_inside(models, path, &bytes))
        status = pn_fail(err, PANTRY_NOT_FOUND, "the blob sha256:%s of '%.200s' is missing", hex, m->create->from);
    else if (json_array_append_new(m->layers, pn_manifest_layer(type, hex, bytes, title)) != 0)
        status = pn_no_memory(err, m->job.name);
    else
        status = pn_gather_add(&m->gather, path, hex, err);
    free(path);
    return status;
}

static pantry_status take_foreign_layers(struct making *m, const char *manifest, struct pantry_error *err)
{
    enum { LEVELS = 5 }; /* manifests/host/namespace/model/tag */
    char *folder = strdup(manifest), *models = NULL;
    json_t *root = NULL, *layer;
    size_t i;
    for (int level = 0; folder && level < LEVELS; level++)
        *strrchr(folder, '/') = '\0';
    models = folder ? realpath(folder, NULL) : NULL;
    pantry_status status = models ? pn_manifest_read(manifest, &root, err) : pn_no_memory(err, manifest);
    json_array_foreach(json_object_get(root, "layers"), i, layer)
    {
        if (!status && i == PN_LAYERS_MAX)
            status = pn_fail(err, PANTRY_LIMIT, "too many parts (allowed %d)", PN_LAYERS_MAX);
        if (!status)
            status = take_foreign_layer(m, models, layer, err);
    }
    json_decref(root);
    free(folder);
    free(models);
    return status;
}

/* Where the base is: in the own store, or in the cache of another program, whose files are then taken. */
static pantry_status find_base(struct making *m, struct pantry_error *err)
{
    const char *from = m->create->from;
    struct pn_model_name base;
    struct pn_stored other;
    if (pn_name_parse(from, &base, NULL) == PANTRY_OK) {
        char *manifest = pn_manifest_path(m->store, &base);
        if (!manifest)
            return pn_no_memory(err, from);
        m->own = access(manifest, F_OK) == 0;
        free(manifest);
    }
    if (m->own)
        return PANTRY_OK;
    pantry_status status = pn_foreign_find(from, &other, err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_NOT_FOUND, "model '%.200s' not found; pull it first", from);
    if (status)
        return status;
    status =
        other.manifest ? take_foreign_layers(m, other.manifest, err) : pn_create_add_files(&m->found, other.path, err);
    if (!status)
        status = pn_carried_read(from, &m->base, err);
    pn_stored_free(&other);
    return status;
}

/* The layers of a model of the store, and its configuration. Needs the lock. */
static pantry_status take_base(struct making *m, struct pantry_error *err)
{
    struct pn_model_name base;
    json_t *root = NULL;
    uint64_t bytes;
    pantry_status status = pn_name_parse(m->create->from, &base, err);
    if (status)
        return status;
    char *manifest = pn_manifest_path(m->store, &base);
    if (!manifest)
        return pn_no_memory(err, m->create->from);
    status = pn_manifest_weights(m->store, &base, &m->weights, &bytes, err);
    if (!status)
        status = pn_manifest_read(manifest, &root, err);
    if (!status)
        status = pn_carried_read(m->create->from, &m->base, err);
    json_t *layer;
    size_t i;
    json_array_foreach(json_object_get(root, "layers"), i, layer)
    {
        json_array_append(m->layers, layer);
        const char *hex = pn_digest_hex(json_string_value(json_object_get(layer, "digest")));
        if (hex)
            say(m, "using existing layer", hex);
    }
    json_decref(root);
    free(manifest);
    return status;
}

/* ---- files ---- */

static char *blob_of(const struct making *m, const char *digest)
{
    return pn_layout_path("%s/blobs/%.6s-%s", m->store, digest, digest + 7);
}

/* The path where a file can be read before it is a blob. Caller frees. */
static char *readable(const struct making *m, const struct pn_create_file *f)
{
    return *f->digest ? blob_of(m, f->digest) : strdup(f->path);
}

static json_t *describe(const struct making *m, const char *path, struct pantry_error *err)
{
    char *text = NULL;
    if (m->options->library.describe(path, &text, err))
        return NULL;
    json_t *v = json_loads(text, JSON_ALLOW_NUL, NULL);
    m->options->library.free(text);
    if (!v)
        pn_no_memory(err, path);
    return v;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A file that belongs to a folder keeps its name. */
static bool is_part(const struct pn_create_file *f)
{
    size_t n = strlen(f->path);
    return pn_media_is_part(base_of(f->path)) && !(n > 5 && strcasecmp(f->path + n - 5, ".gguf") == 0);
}

/* Makes the file, which is a blob by now, a layer. */
static pantry_status add_file(struct making *m, const struct pn_create_file *f, const char *type,
                              struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1];
    uint64_t bytes = 0;
    pantry_status status;
    if (*f->digest) {
        struct stat st;
        char *path = blob_of(m, f->digest);
        memcpy(hex, f->digest + 7, sizeof hex);
        status =
            !path ? pn_no_memory(err, f->path)
            : stat(path, &st) != 0 || !S_ISREG(st.st_mode)
                ? pn_fail(err, PANTRY_NOT_FOUND, "%.200s: the store has no blob %s; send it first", f->path, f->digest)
                : PANTRY_OK;
        bytes = status ? 0 : (uint64_t)st.st_size;
        free(path);
    } else {
        const struct pn_adopted *file = pn_gather_find(&m->gather, f->path);
        memcpy(hex, file->hex, sizeof hex);
        bytes = (uint64_t)file->st.st_size;
        status = PANTRY_OK;
    }
    if (!status)
        status = add_layer(m, type, hex, bytes, is_part(f) ? base_of(f->path) : NULL, err);
    if (!status)
        say(m, *f->digest ? "using existing layer" : "creating new layer", hex);
    return status;
}

static pantry_status gather(struct making *m, const struct pn_create_files *files, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < files->len && !status; i++)
        if (!*files->data[i].digest)
            status = pn_gather_add(&m->gather, files->data[i].path, NULL, err);
    return status;
}

/* Files of the model, sorted by kind: a projector has an architecture of its own. */
static pantry_status is_projector(const struct making *m, const struct pn_create_file *f, bool *out,
                                  struct pantry_error *err)
{
    unsigned number, count;
    *out = false;
    if (pn_shards_name(f->path, &number, &count) && count > 1)
        return PANTRY_OK;
    char *path = readable(m, f);
    struct stat st;
    pantry_status status = path ? PANTRY_OK : pn_no_memory(err, f->path);
    if (!status && *f->digest && stat(path, &st) != 0)
        status = pn_fail(err, PANTRY_NOT_FOUND, "%.200s: the store has no blob %s; send it first", f->path, f->digest);
    json_t *d = status ? NULL : describe(m, path, err);
    if (!status && !d)
        status = err && err->status ? err->status : PANTRY_FORMAT;
    const char *architecture = json_string_value(json_object_get(d, "architecture"));
    *out = architecture && strcmp(architecture, "clip") == 0;
    json_decref(d);
    free(path);
    return status;
}

/* One file, or all shards of one model in their order. */
static pantry_status check_set(const struct pn_create_file *const *files, size_t n, struct pantry_error *err)
{
    unsigned number, count;
    for (size_t i = 0; i < n; i++) {
        bool shard = pn_shards_name(files[i]->path, &number, &count) && count > 1;
        if (n == 1 && !shard)
            return PANTRY_OK;
        if (!shard)
            return pn_fail(err, PANTRY_INVALID, "several models (%.150s and %.150s); name one file", files[0]->path,
                           files[i ? i : 1]->path);
        if (count != n || number != i + 1)
            return pn_fail(err, PANTRY_INVALID,
                           "%.200s: not all shards of one model are there (found %zu files, expected %u)",
                           files[i]->path, n, count);
    }
    return PANTRY_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct pn_create_file *const *)a)->path, (*(const struct pn_create_file *const *)b)->path);
}

/* The weights' path in the store, from the layers. */
static pantry_status find_weights(struct making *m, struct pantry_error *err)
{
    uint64_t bytes;
    return pn_layers_weights(m->store, m->job.name, m->layers, &m->weights, &bytes, err);
}

/* The layers of a base of another program are known; its weights are blobs by now. */
static pantry_status check_foreign(struct making *m, struct pantry_error *err)
{
    json_t *layer;
    size_t i;
    json_array_foreach(m->layers, i, layer)
        say(m, "creating new layer", pn_digest_hex(json_string_value(json_object_get(layer, "digest"))));
    pantry_status status = find_weights(m, err);
    if (!status && (status = m->options->library.check(m->weights, err)))
        pn_fail_prefix(err, "%.200s", m->create->from);
    return status;
}

/* A directory of Hugging Face or MLX: all its files, each under its name. */
static pantry_status take_folder(struct making *m, const struct pn_create_files *files, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < files->len && !status; i++) {
        if (!is_part(&files->data[i]))
            status =
                pn_fail(err, PANTRY_INVALID, "%.200s: not a file of a model in safetensors files", files->data[i].path);
        else
            status = add_file(m, &files->data[i], PN_TYPE_FILE, err);
    }
    if (!status && (status = find_weights(m, err)) == PANTRY_FORMAT)
        status = err->status = PANTRY_INVALID; /* the files are the caller's */
    if (!status)
        say(m, "parsing safetensors", NULL);
    return status ? status : m->options->library.check(m->weights, err);
}

static bool has_safetensors(const struct pn_create_files *files)
{
    for (size_t i = 0; i < files->len; i++)
        if (pn_media_is_weights(files->data[i].path))
            return true;
    return false;
}

static pantry_status take_files(struct making *m, const struct pn_create_files *files, struct pantry_error *err)
{
    if (has_safetensors(files))
        return take_folder(m, files, err);
    const struct pn_create_file **models = calloc(files->len + 1, sizeof *models);
    size_t n = 0;
    pantry_status status = models ? PANTRY_OK : pn_no_memory(err, m->job.name);
    for (size_t i = 0; i < files->len && !status; i++) {
        bool projector;
        status = is_projector(m, &files->data[i], &projector, err);
        if (!status && projector)
            status = add_file(m, &files->data[i], "projector", err);
        else if (!status)
            models[n++] = &files->data[i];
    }
    if (!status && !n)
        status = pn_fail(err, PANTRY_INVALID, "%s: no model among the files", m->job.name);
    if (!status) {
        qsort(models, n, sizeof *models, by_name);
        status = check_set(models, n, err);
    }
    for (size_t i = 0; i < n && !status; i++)
        status = add_file(m, models[i], "model", err);
    if (!status)
        status = find_weights(m, err);
    if (!status) {
        say(m, "parsing GGUF", NULL);
        if ((status = m->options->library.check(m->weights, err)))
            pn_fail_prefix(err, "%.200s", models[0]->path);
    }
    free(models);
    return status;
}

/* Files that belong to the model, each a layer of that type; they replace the base's. */
static pantry_status take_others(struct making *m, const struct pn_create_files *files, const char *type,
                                 struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    if (files->len)
        remove_layers(m, type);
    for (size_t i = 0; i < files->len && !status; i++) {
        char *path = readable(m, &files->data[i]);
        if (!path)
            status = pn_no_memory(err, m->job.name);
        else if (!is_part(&files->data[i])) /* parts of a folder say nothing alone */
            status = m->options->library.check(path, err);
        if (!status)
            status = add_file(m, &files->data[i], type, err);
        free(path);
    }
    return status;
}

/* A draft is one file: nothing keeps the order of shards. */
static pantry_status take_drafts(struct making *m, struct pantry_error *err)
{
    const struct pn_create_files *files = &m->create->drafts;
    if (files->len > 1)
        return pn_fail(err, PANTRY_INVALID, "a second draft model (%.150s after %.150s)", files->data[1].path,
                       files->data[0].path);
    if (files->len)
        say(m, "the draft model is kept with the model; decoding does not use drafts yet", NULL);
    return take_others(m, files, "draft", err);
}

/* ---- texts ---- */

/* Renders one message; a template may refuse it, but must be one. */
static pantry_status check_template(const struct making *m, const char *text, struct pantry_error *err)
{
    static const char context[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], "
                                  "\"add_generation_prompt\": true, \"bos_token\": \"\", \"eos_token\": \"\"}";
    if (!strstr(text, "{{") && !strstr(text, "{%"))
        return pn_fail(err, PANTRY_INVALID, "the template shows no message; it needs tags such as {{ }}");
    char *rendered = NULL;
    size_t len;
    struct pantry_error why = {0};
    pantry_status status = m->options->library.render(text, strlen(text), context, &rendered, &len, &why);
    m->options->library.free(rendered);
    if (!status || status == PANTRY_RAISED)
        return PANTRY_OK;
    return pn_fail(err, status == PANTRY_FORMAT ? PANTRY_INVALID : status, "the template: %s", why.text);
}

/* A system message or a conversation is shown by a template. */
static pantry_status need_template(const struct making *m, const char *what, struct pantry_error *err)
{
    if (json_is_string(json_object_get(m->description, "template")))
        return PANTRY_OK;
    size_t i;
    json_t *layer;
    json_array_foreach(m->layers, i, layer) if (is_type(layer, "template")) return PANTRY_OK;
    return pn_fail(err, PANTRY_UNSUPPORTED, "%s: the model has no chat template to show it in; add a TEMPLATE", what);
}

/* What the catalog recommends for the base, and what the base set, unless the new model sets it. */
static pantry_status take_parameters(struct making *m, struct pantry_error *err)
{
    json_t *params = json_object();
    const struct pn_catalog_entry *entry = m->own ? pn_store_entry(m->create->from) : NULL;
    if (entry && entry->temperature > 0) {
        char number[20]; /* 0.7, and not the nearest float of it */
        snprintf(number, sizeof number, "%g", (double)entry->temperature);
        json_object_set_new(params, "temperature", json_real(strtod(number, NULL)));
        snprintf(number, sizeof number, "%g", (double)entry->top_p);
        json_object_set_new(params, "top_p", json_real(strtod(number, NULL)));
    }
    json_object_update(params, m->base.params);
    json_object_update(params, m->create->params);
    struct pn_parameters scratch = {0};
    pantry_status status = pn_parameters_read(params, &scratch, err);
    if (!status && json_object_size(params) && !json_equal(params, m->base.params))
        status = add_json(m, "params", params, err);
    json_decref(params);
    return status;
}

static pantry_status take_texts(struct making *m, struct pantry_error *err)
{
    const struct pn_create *c = m->create;
    pantry_status status = PANTRY_OK;
    size_t i;
    json_t *text;
    if (c->template && *c->template) {
        remove_layers(m, "template");
        status = add_text(m, "template", c->template, err);
        json_object_set_new(json_array_get(m->layers, json_array_size(m->layers) - 1), "annotations",
                            json_pack("{s:s}", PN_TEMPLATE_MARK, "checked"));
    }
    if (!status && c->system && *c->system && !(status = need_template(m, "SYSTEM", err))) {
        remove_layers(m, "system");
        status = add_text(m, "system", c->system, err);
    }
    if (!status && json_array_size(c->messages) && !(status = need_template(m, "MESSAGE", err)))
        status = add_json(m, "messages", c->messages, err);
    json_array_foreach(c->licenses, i, text)
    {
        if (!status)
            status = add_text(m, "license", json_string_value(text), err);
    }
    return status ? status : take_parameters(m, err);
}

/* ---- the model ---- */

static pantry_status write_manifest(struct making *m, struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1], *text = NULL;
    size_t n = 0, i;
    const char *family = json_string_value(json_object_get(m->description, "architecture"));
    json_t *diffs = json_array(), *layer, *root = NULL;
    json_array_foreach(m->layers, i, layer) json_array_append(diffs, json_object_get(layer, "digest"));
    bool folder = false;
    json_array_foreach(m->layers, i, layer) folder |=
        strcmp(json_string_value(json_object_get(layer, "mediaType")), PN_TYPE_FILE) == 0;
    json_t *config =
        json_pack("{s:s, s:s, s:[s], s:s, s:s, s:{s:s, s:o}}", "model_format", folder ? "safetensors" : "gguf",
                  "model_family", family ? family : "unknown", "model_families", family ? family : "unknown",
                  "architecture", "amd64", "os", "linux", "rootfs", "type", "layers", "diff_ids", diffs);
    if (config && m->create->requires && *m->create->requires)
        json_object_set_new(config, "requires", json_string(m->create->requires));
    pantry_status status = PANTRY_OK;
    if (!config || !(text = json_dumps(config, JSON_COMPACT)))
        status = pn_no_memory(err, m->job.name);
    if (!status)
        status = pn_sha256_bytes(text, n = strlen(text), hex, err);
    if (!status)
        status = note_made(m, hex, err);
    if (!status)
        status = pn_blob_put(m->store, text, n, hex, err);
    free(text);
    text = NULL;
    say(m, "writing manifest", NULL);
    if (!status) {
        root = json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", PN_TYPE_MANIFEST, "config",
                         pn_manifest_layer(PN_TYPE_CONFIG, hex, n, NULL), "layers", m->layers);
        text = root ? json_dumps(root, JSON_COMPACT) : NULL;
        status = text ? pn_manifest_put(m->store, &m->name, text, strlen(text), err) : pn_no_memory(err, m->job.name);
    }
    free(text);
    json_decref(config);
    json_decref(root);
    return status;
}

/* The storage type of most bytes. */
static const char *main_type(const json_t *description)
{
    const char *name, *best = "unknown";
    json_t *type;
    json_int_t most = -1;
    json_object_foreach(json_object_get(description, "types"), name, type)
    {
        json_int_t bytes = json_integer_value(json_object_get(type, "bytes"));
        if (bytes > most) {
            most = bytes;
            best = name;
        }
    }
    return best;
}

/* Nothing is converted, so only the type that is there already may be asked for: "q4_K_M" is a mix of mostly q4_k. */
static pantry_status check_type(const struct making *m, struct pantry_error *err)
{
    const char *wanted = m->create->quantize, *type = main_type(m->description);
    size_t n = strlen(type);
    if (!wanted || !*wanted ||
        (strncasecmp(wanted, type, n) == 0 && (!wanted[n] || (wanted[n] == '_' && strchr("SML", wanted[n + 1])))))
        return PANTRY_OK;
    return pn_fail(err, PANTRY_UNSUPPORTED, "quantize: models are not converted yet (found \"%.40s\", allowed %s)",
                   wanted, type);
}

/* What can be done before anybody has to wait: all files are read. */
static pantry_status prepare(struct making *m, struct pantry_error *err)
{
    pantry_status status = m->create->from ? find_base(m, err) : PANTRY_OK;
    if (!status)
        status = gather(m, &m->found, err);
    if (!status)
        status = gather(m, &m->create->files, err);
    if (!status)
        status = gather(m, &m->create->adapters, err);
    if (!status)
        status = gather(m, &m->create->drafts, err);
    return status ? status : pn_gather_hash(&m->gather, err);
}

static pantry_status add_digest(struct pn_digests *list, const char *hex, struct pantry_error *err)
{
    struct pn_digest digest;
    if (!hex)
        return PANTRY_OK;
    memcpy(digest.hex, hex, sizeof digest.hex);
    return pn_vec_push(list, digest) ? PANTRY_OK : pn_no_memory(err, "the files of a model");
}

/* Takes the base, and notes all blobs that must stay until the manifest names them. Needs the lock. */
static pantry_status begin(struct making *m, struct pantry_error *err)
{
    const struct pn_create_files *const lists[] = {&m->create->files, &m->create->adapters, &m->create->drafts};
    struct pn_digests others = {0};
    pantry_status status = m->own ? take_base(m, err) : PANTRY_OK;
    for (size_t i = 0; i < json_array_size(m->layers) && !status; i++)
        status = add_digest(
            &others, pn_digest_hex(json_string_value(json_object_get(json_array_get(m->layers, i), "digest"))), err);
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (size_t i = 0; i < lists[l]->len && !status; i++)
            status = add_digest(&others, pn_digest_hex(lists[l]->data[i].digest), err);
    for (size_t i = 0; i < m->gather.len && !status; i++)
        status = note_made(m, m->gather.data[i].file.hex, err);
    if (!status)
        status = pn_gather_note(&m->gather, &others, err);
    free(others.data);
    return status;
}

/* The files become blobs, and what the model is becomes known. */
static pantry_status take_parts(struct making *m, struct pantry_error *err)
{
    pantry_status status = pn_gather_put(&m->gather, err);
    if (!status && m->create->from && !m->own)
        status = m->found.len ? take_files(m, &m->found, err) : check_foreign(m, err);
    else if (!status && !m->create->from)
        status = take_files(m, &m->create->files, err);
    if (!status && !(m->description = describe(m, m->weights, err)))
        status = err->status ? err->status : PANTRY_FORMAT;
    if (!status)
        status = check_type(m, err);
    if (!status)
        status = take_others(m, &m->create->adapters, "adapter", err);
    return status ? status : take_drafts(m, err);
}

/* Under the lock. */
static pantry_status finish(struct making *m, struct pantry_error *err)
{
    struct pn_digests replaced = {0};
    uint64_t bytes;
    char *manifest = pn_manifest_path(m->store, &m->name);
    pantry_status status = manifest ? PANTRY_OK : pn_no_memory(err, m->job.name);
    if (!status)
        pn_manifest_digests(manifest, &replaced, NULL);
    if (!status)
        status = take_texts(m, err);
    if (!status)
        status = write_manifest(m, err);
    if (!status) {
        pn_gather_release(&m->gather);                         /* the manifest names all now */
        pn_references_drop(m->store, &replaced, &bytes, NULL); /* pruning removes what stays here */
    }
    free(replaced.data);
    free(manifest);
    return status;
}

static pantry_status with_lock(struct making *m, pantry_status (*step)(struct making *m, struct pantry_error *err),
                               struct pantry_error *err)
{
    int lock = -1;
    pantry_status status = pn_job_lock_store(&m->job, m->store, &lock, err);
    if (!status)
        status = step(m, err);
    if (lock >= 0)
        close(lock);
    return status;
}

/* Removes what a failed call has made. Pruning removes what stays here. */
static pantry_status undo(struct making *m, struct pantry_error *err)
{
    uint64_t bytes;
    pn_gather_release(&m->gather);
    return pn_references_drop(m->store, &m->made, &bytes, err);
}

static pantry_status make(struct making *m, struct pantry_error *err)
{
    pantry_status status = prepare(m, err);
    if (!status)
        status = with_lock(m, begin, err);
    if (!status)
        status = take_parts(m, err);
    if (!status)
        status = with_lock(m, finish, err);
    if (status && m->made.len) {
        m->job.options = pn_job_new(NULL, NULL).options; /* also after it was cancelled */
        with_lock(m, undo, NULL);
    }
    return status;
}

static pantry_status check_digests(const struct pn_create_files *files, struct pantry_error *err)
{
    for (size_t i = 0; i < files->len; i++) {
        const struct pn_create_file *f = &files->data[i];
        if (*f->digest && !pn_digest_hex(f->digest))
            return pn_fail(err, PANTRY_INVALID,
                           "%.200s: not a digest (found \"%.80s\", allowed sha256: and 64 hexadecimal digits)", f->path,
                           f->digest);
    }
    return PANTRY_OK;
}

/* What can be refused before anything is read or written. */
static pantry_status check_first(const struct making *m, struct pantry_error *err)
{
    const struct pn_create *c = m->create;
    struct pn_parameters scratch = {0};
    if (!c->from && !c->files.len)
        return pn_fail(err, PANTRY_INVALID, "neither 'from' or 'files' was specified");
    if (c->from && c->files.len)
        return pn_fail(err, PANTRY_INVALID, "both 'from' and 'files' were specified");
    pantry_status status = c->template && *c->template ? check_template(m, c->template, err) : PANTRY_OK;
    if (!status)
        status = pn_parameters_read(c->params, &scratch, err);
    const struct pn_create_files *const lists[] = {&c->files, &c->adapters, &c->drafts};
    for (size_t l = 0; l < sizeof lists / sizeof *lists && !status; l++)
        status = check_digests(lists[l], err);
    return status;
}

pantry_status pn_store_create(const char *name, const struct pn_create *create, const struct pn_create_options *options,
                              struct pantry_error *err)
{
    struct making m = {.create = create, .options = options, .job = pn_job_new(name, &options->fetch)};
    struct pantry_error scratch;
    err = err ? err : &scratch;
    *err = (struct pantry_error){0};
    pantry_status status = pn_name_parse(name, &m.name, err);
    if (!status)
        status = check_first(&m, err);
    if (!status)
        status = pn_layout_store(&m.store, err);
    if (!status && !(m.layers = json_array()))
        status = pn_no_memory(err, name);
    if (!status)
        status = pn_layout_make_store(m.store, err);
    m.gather = (struct pn_gather){.job = &m.job, .store = m.store, .note = PN_NO_LOCK};
    if (!status)
        status = make(&m, err);
    pn_gather_free(&m.gather);
    pn_create_free_files(&m.found);
    pn_carried_free(&m.base);
    json_decref(m.layers);
    json_decref(m.description);
    free(m.made.data);
    free(m.weights);
    free(m.store);
    return status;
}
