/* What a model carries: see carried.h. The blobs are not trusted. */
#define _POSIX_C_SOURCE 200809L
#include "store/carried.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/model_files.h"
#include "store/foreign.h"
#include "store/media.h"
#include "store/modelfile.h"
#include "store/parameters.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_TEXT = 16 << 20 };

void pn_carried_free(struct pn_carried *c)
{
    free(c->system);
    free(c->template);
    free(c->default_template);
    json_decref(c->licenses);
    json_decref(c->params);
    json_decref(c->messages);
    json_decref(c->adapters);
    json_decref(c->projectors);
    json_decref(c->drafts);
    *c = (struct pn_carried){0};
}

/* ---- reading ---- */

struct carry {
    const char *root, *manifest;
    bool foreign; /* of another program: links must not lead out of `root` */
    struct pn_carried *out;
    struct pn_linked part[PN_LAYERS_MAX]; /* of an adapter that is a folder; the names are those of the layers */
    size_t n_parts;
};

static pantry_status read_text(struct carry *c, const char *type, const char *path, char **out, size_t *n,
                               struct pantry_error *err)
{
    pantry_status status = pn_file_read(path, MAX_TEXT, out, n, err);
    if (status) {
        pn_fail_prefix(err, "%s: the %s", c->manifest, type);
        return status;
    }
    json_t *checked = memchr(*out, '\0', *n) ? NULL : json_stringn(*out, *n);
    json_decref(checked);
    if (checked)
        return PANTRY_OK;
    free(*out);
    *out = NULL;
    return pn_fail(err, PANTRY_FORMAT, "%s: the %s is not UTF-8 text", c->manifest, type);
}

static pantry_status add_text(json_t **list, const char *text, struct pantry_error *err)
{
    if (!*list)
        *list = json_array();
    return json_array_append_new(*list, json_string(text)) == 0 ? PANTRY_OK : pn_no_memory(err, "a model");
}

static bool is_conversation(const json_t *v)
{
    size_t i;
    json_t *m;
    json_array_foreach(v, i, m)
    {
        if (!json_is_string(json_object_get(m, "role")) || !json_is_string(json_object_get(m, "content")))
            return false;
    }
    return json_is_array(v);
}

static pantry_status take_json(struct carry *c, const char *type, const char *text, size_t n, struct pantry_error *err)
{
    bool params = strcmp(type, "params") == 0;
    json_t *v = json_loadb(text, n, 0, NULL);
    if (params ? !json_is_object(v) : !is_conversation(v)) {
        json_decref(v);
        return pn_fail(err, PANTRY_FORMAT, "%s: the %s are not %s", c->manifest, type,
                       params ? "a JSON object" : "a JSON array of objects with role and content");
    }
    json_t **to = params ? &c->out->params : &c->out->messages;
    json_decref(*to);
    *to = v;
    return PANTRY_OK;
}

/* Where a text of that type goes; NULL: it is none of these. A template that create has taken is marked as such. */
static char **place_of(struct pn_carried *c, const char *type, const char *text, const json_t *layer)
{
    const json_t *mark = json_object_get(json_object_get(layer, "annotations"), PN_TEMPLATE_MARK);
    if (strcmp(type, "system") == 0)
        return &c->system;
    if (strcmp(type, "template") != 0)
        return NULL;
    return mark || strstr(text, "{%") ? &c->template : &c->default_template;
}

/* Where the path of a file of that type goes; NULL: it is none of these. */
static json_t **list_of(struct pn_carried *c, const char *type)
{
    return strcmp(type, "adapter") == 0     ? &c->adapters
           : strcmp(type, "projector") == 0 ? &c->projectors
           : strcmp(type, "draft") == 0     ? &c->drafts
                                            : NULL;
}

/* A text, which replaces an earlier one of its type. */
static pantry_status take_text(struct carry *c, const char *type, const json_t *layer, char *text, size_t n,
                               struct pantry_error *err)
{
    char **to = place_of(c->out, type, text, layer);
    if (to) {
        free(*to);
        *to = text;
        return PANTRY_OK;
    }
    pantry_status status =
        strcmp(type, "license") == 0 ? add_text(&c->out->licenses, text, err) : take_json(c, type, text, n, err);
    free(text);
    return status;
}

/* The parts of an adapter that is a folder are complete: its path. */
static pantry_status end_folder(struct carry *c, struct pantry_error *err)
{
    char *path = NULL;
    if (!c->n_parts)
        return PANTRY_OK;
    if (c->foreign)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: has an adapter of several files", c->manifest);
    pantry_status status = pn_folder_path(c->root, c->part, c->n_parts, &path, err);
    if (!status)
        status = add_text(&c->out->adapters, path, err);
    c->n_parts = 0;
    free(path);
    return status;
}

/* A part of an adapter that is a folder: adapter_config.json is the first. */
static pantry_status take_part(struct carry *c, const json_t *layer, const char *hex, struct pantry_error *err)
{
    const char *title = pn_media_title(layer);
    if (!pn_media_is_part(title))
        return pn_fail(err, PANTRY_FORMAT, "%s: the title of an adapter is not the name of its file", c->manifest);
    pantry_status status = strcmp(title, "adapter_config.json") == 0 ? end_folder(c, err) : PANTRY_OK;
    for (size_t i = 0; i < c->n_parts && !status; i++)
        if (strcmp(c->part[i].name, title) == 0)
            status = pn_fail(err, PANTRY_FORMAT, "%s: an adapter has two files %s", c->manifest, title);
    if (status)
        return status;
    c->part[c->n_parts].name = title;
    memcpy(c->part[c->n_parts++].digest.hex, hex, sizeof c->part->digest.hex);
    return PANTRY_OK;
}

static pantry_status take_layer(struct carry *c, const json_t *layer, struct pantry_error *err)
{
    static const char *const texts[] = {"system", "template", "license", "params", "messages"};
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    const char *hex = pn_digest_hex(json_string_value(json_object_get(layer, "digest")));
    size_t prefix = sizeof PN_TYPE_LAYER - 1, n, i = 0;
    if (!type || strncmp(type, PN_TYPE_LAYER, prefix) != 0)
        return PANTRY_OK;
    type += prefix;
    while (i < 5 && strcmp(texts[i], type) != 0)
        i++;
    json_t **files = list_of(c->out, type);
    if (i == 5 && !files)
        return PANTRY_OK;
    if (!hex)
        return pn_fail(err, PANTRY_FORMAT, "%s: the digest of the %s is not sha256: and 64 hexadecimal digits",
                       c->manifest, type);
    if (files == &c->out->adapters && *pn_media_title(layer) && !pn_media_is_gguf(layer))
        return take_part(c, layer, hex, err);
    char *path = pn_layout_path("%s/blobs/sha256-%s", c->root, hex), *text;
    uint64_t bytes;
    pantry_status status;
    if (!path)
        status = pn_no_memory(err, c->manifest);
    else if (c->foreign && !pn_look_inside(c->root, path, &bytes))
        status = pn_fail(err, PANTRY_FORMAT, "%s: the blob of the %s is missing or elsewhere", c->manifest, type);
    else if (i == 5)
        status = add_text(files, path, err);
    else if (!(status = read_text(c, type, path, &text, &n, err)))
        status = take_text(c, type, layer, text, n, err);
    free(path);
    return status;
}

/* The folder with manifests/HOST/NAMESPACE/MODEL/TAG and blobs/. Caller frees; NULL: out of memory. */
static char *root_of(const char *manifest)
{
    char *root = strdup(manifest), *slash;
    for (int i = 0; i < 5 && root && (slash = strrchr(root, '/')); i++)
        *slash = '\0';
    return root;
}

static pantry_status read_layers(const struct pn_stored *model, struct pn_carried *out, struct pantry_error *err)
{
    const char *manifest = model->manifest;
    json_t *root = NULL;
    char *folder = root_of(manifest);
    pantry_status status = folder ? pn_manifest_read(manifest, &root, err) : pn_no_memory(err, manifest);
    const json_t *layers = json_object_get(root, "layers");
    struct carry c = {.root = folder, .manifest = manifest, .foreign = model->source != pn_source_own, .out = out};
    for (size_t i = 0; i < json_array_size(layers) && i < PN_LAYERS_MAX && !status; i++)
        status = take_layer(&c, json_array_get(layers, i), err);
    if (!status)
        status = end_folder(&c, err);
    json_decref(root);
    free(folder);
    return status;
}

/* The model of a name, as pn_store_find, but of the own store also where its weights are missing. */
static pantry_status find_model(const char *text, struct pn_stored *model, struct pantry_error *err)
{
    struct pn_model_name name;
    char *store = NULL;
    *model = (struct pn_stored){.source = pn_source_own};
    if (pn_name_parse(text, &name, NULL) == PANTRY_OK) {
        pantry_status status = pn_layout_store(&store, err);
        if (!status && !(model->manifest = pn_manifest_path(store, &name)))
            status = pn_no_memory(err, text);
        free(store);
        if (status || access(model->manifest, F_OK) == 0)
            return status;
        pn_stored_free(model);
    }
    return pn_foreign_find(text, model, err);
}

pantry_status pn_carried_read(const char *name, struct pn_carried *out, struct pantry_error *err)
{
    struct pn_stored found;
    *out = (struct pn_carried){0};
    pantry_status status = find_model(name, &found, err);
    if (status)
        return status;
    if (found.manifest && (status = read_layers(&found, out, err)))
        pn_carried_free(out);
    pn_stored_free(&found);
    return status;
}

pantry_status pn_carried_find(const char *model, struct pn_carried *out, struct pantry_error *err)
{
    struct stat st;
    bool exists = stat(model, &st) == 0;
    *out = (struct pn_carried){0};
    if (!pn_store_is_name(model) || (exists && S_ISREG(st.st_mode)))
        return PANTRY_OK;
    pantry_status status = pn_carried_read(model, out, err);
    return status == PANTRY_NOT_FOUND && exists ? PANTRY_OK : status;
}

/* ---- using ---- */

const char *pn_carried_template(const struct pn_carried *c, const char *own)
{
    return c->template ? c->template : own ? own : c->default_template;
}

void pn_carried_adapters(const struct pn_carried *c, const char **out, size_t most)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(c->adapters) && n + 1 < most; i++)
        out[n++] = json_string_value(json_array_get(c->adapters, i));
    out[n] = NULL;
}

static bool is_system(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
}

json_t *pn_carried_conversation(const struct pn_carried *c, const json_t *messages)
{
    json_t *all = json_array();
    bool own = is_system(json_array_get(messages, 0));
    /* A system message stays the first: many templates take it nowhere else. */
    if (own)
        json_array_append(all, json_array_get(messages, 0));
    else if (c->system)
        json_array_append_new(all, json_pack("{s:s, s:s}", "role", "system", "content", c->system));
    for (size_t i = own && is_system(json_array_get(c->messages, 0)); i < json_array_size(c->messages); i++)
        json_array_append(all, json_array_get(c->messages, i));
    for (size_t i = own; i < json_array_size(messages); i++)
        json_array_append(all, json_array_get(messages, i));
    return all;
}

static void put_parameter(void *user, const char *name, const char *text)
{
    pn_modelfile_put(user, PN_MODELFILE_PARAMETER, name, text);
}

char *pn_carried_modelfile(const struct pn_carried *c, const char *name, const char *from, const char *template)
{
    struct pn_buf out = {0};
    size_t i;
    json_t *v;
    pn_buf_printf(&out,
                  "# Modelfile generated by \"pantry show\"\n"
                  "# To build a new Modelfile based on this, replace FROM with:\n# FROM %s\n\n",
                  name);
    pn_modelfile_put(&out, PN_MODELFILE_FROM, NULL, from);
    json_array_foreach(c->projectors, i, v) pn_modelfile_put(&out, PN_MODELFILE_FROM, NULL, json_string_value(v));
    if (template)
        pn_modelfile_put(&out, PN_MODELFILE_TEMPLATE, NULL, template);
    if (c->system)
        pn_modelfile_put(&out, PN_MODELFILE_SYSTEM, NULL, c->system);
    pn_parameters_each(c->params, put_parameter, &out);
    json_array_foreach(c->adapters, i, v) pn_modelfile_put(&out, PN_MODELFILE_ADAPTER, NULL, json_string_value(v));
    json_array_foreach(c->drafts, i, v) pn_modelfile_put(&out, PN_MODELFILE_DRAFT, NULL, json_string_value(v));
    json_array_foreach(c->licenses, i, v) pn_modelfile_put(&out, PN_MODELFILE_LICENSE, NULL, json_string_value(v));
    json_array_foreach(c->messages, i, v)
        pn_modelfile_put(&out, PN_MODELFILE_MESSAGE, json_string_value(json_object_get(v, "role")),
                         json_string_value(json_object_get(v, "content")));
    return pn_buf_take(&out);
}

static void put_line(void *user, const char *name, const char *text)
{
    bool bare = text[strspn(text, "+-.0123456789e")] == '\0' || strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    pn_buf_printf(user, bare ? "%-30s %s\n" : "%-30s \"%s\"\n", name, text);
}

char *pn_carried_parameters(const struct pn_carried *c)
{
    struct pn_buf out = {0};
    pn_parameters_each(c->params, put_line, &out);
    if (out.len)
        out.data[--out.len] = '\0';
    pn_buf_puts(&out, "");
    return pn_buf_take(&out);
}

char *pn_carried_license(const struct pn_carried *c)
{
    struct pn_buf out = {0};
    size_t i;
    json_t *v;
    if (!json_array_size(c->licenses))
        return NULL;
    json_array_foreach(c->licenses, i, v)
    {
        pn_buf_puts(&out, i ? "\n" : "");
        pn_buf_puts(&out, json_string_value(v));
    }
    return pn_buf_take(&out);
}

char *pn_carried_projector(const struct pn_carried *c, const char *path)
{
    const char *own = json_string_value(json_array_get(c->projectors, 0)), *slash = strrchr(path, '/');
    struct pn_names names;
    char *found = NULL;
    size_t n = 0;
    struct stat st;
    if (own)
        return strdup(own);
    if (stat(path, &st) != 0 || S_ISDIR(st.st_mode)) /* a directory has its own inside */
        return NULL;
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("./");
    if (!folder || pn_names_read(AT_FDCWD, folder, false, &names, NULL)) {
        free(folder);
        return NULL;
    }
    for (size_t i = 0; i < names.len; i++) {
        const char *name = names.data[i], *end = strstr(name, ".gguf");
        if (strncmp(name, "mmproj", 6) != 0 || !end || end[5])
            continue;
        free(found);
        found = n++ ? NULL : pn_layout_path("%s%s", folder, name);
    }
    pn_names_free(&names);
    free(folder);
    return n == 1 ? found : NULL;
}
