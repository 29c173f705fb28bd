/* From a Modelfile to what a new model consists of: see create.h. */
#define _POSIX_C_SOURCE 200809L
#include "store/create.h"

#include "store/foreign.h"
#include "store/media.h"
#include "store/parameters.h"

#include <errno.h>
#include <fnmatch.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void pn_create_free_files(struct pn_create_files *files)
{
    for (size_t i = 0; i < files->len; i++)
        free(files->data[i].path);
    free(files->data);
    *files = (struct pn_create_files){0};
}

void pn_create_free(struct pn_create *c)
{
    free(c->from);
    free(c->template);
    free(c->system);
    free(c->requires);
    free(c->quantize);
    pn_create_free_files(&c->files);
    pn_create_free_files(&c->adapters);
    pn_create_free_files(&c->drafts);
    json_decref(c->licenses);
    json_decref(c->params);
    json_decref(c->messages);
    *c = (struct pn_create){0};
}

/* ---- files ---- */

static const char all_gguf[] = "*.gguf";

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Takes `path` over. A file that is there already is not added again: patterns and lists of shards overlap. */
static pantry_status add_file(struct pn_create_files *files, char *path, struct pantry_error *err)
{
    for (size_t i = 0; path && i < files->len; i++)
        if (strcmp(files->data[i].path, path) == 0) {
            free(path);
            return PANTRY_OK;
        }
    if (files->len == PN_LAYERS_MAX / 2) {
        free(path);
        return pn_fail(err, PANTRY_LIMIT, "too many files (allowed %d)", PN_LAYERS_MAX / 2);
    }
    if (!path || !pn_vec_push(files, ((struct pn_create_file){.path = path}))) {
        free(path);
        return pn_no_memory(err, "the files of a model");
    }
    return PANTRY_OK;
}

/* A shard stands for all of them. */
static pantry_status add_path(struct pn_create_files *files, const char *path, struct pantry_error *err)
{
    unsigned number, count;
    if (!pn_shards_name(path, &number, &count))
        return add_file(files, strdup(path), err);
    int stem = (int)(strlen(path) - strlen("-00001-of-00001.gguf"));
    if (count > PN_LAYERS_MAX / 2)
        return pn_fail(err, PANTRY_LIMIT, "%s: too many shards (allowed %d)", path, PN_LAYERS_MAX / 2);
    pantry_status status = PANTRY_OK;
    for (unsigned i = 1; i <= count && !status; i++) {
        struct stat st;
        char *shard = pn_layout_path("%.*s-%05u-of-%05u.gguf", stem, path, i, count);
        if (shard && stat(shard, &st) != 0) {
            status = pn_fail(err, PANTRY_NOT_FOUND, "%s: is missing; it is shard %u of %u", shard, i, count);
            free(shard);
        } else {
            status = add_file(files, shard, err);
        }
    }
    return status;
}

/* The files of a folder that fit a pattern; NULL: all parts of a model in safetensors files. */
static pantry_status add_matches(struct pn_create_files *files, const char *folder, const char *pattern,
                                 struct pantry_error *err)
{
    DIR *dir = opendir(folder);
    pantry_status status = PANTRY_OK;
    if (!dir)
        return pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", folder, strerror(errno));
    for (struct dirent *e; !status && (e = readdir(dir));) {
        struct stat st;
        char *path = pn_layout_path("%s/%s", folder, e->d_name);
        bool fits = pattern ? fnmatch(pattern, e->d_name, 0) == 0 : pn_media_is_part(e->d_name);
        if (!path)
            status = pn_no_memory(err, folder);
        else if (e->d_name[0] != '.' && fits && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
                 (pattern || st.st_size > 0))
            status = add_path(files, path, err);
        free(path);
    }
    closedir(dir);
    return status;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct pn_create_file *)a)->path, ((const struct pn_create_file *)b)->path);
}

/* Has the folder this file? */
static bool has_file(const char *folder, const char *name)
{
    struct stat st;
    char *path = pn_layout_path("%s/%s", folder, name);
    bool has = path && stat(path, &st) == 0;
    free(path);
    return has;
}

/* A folder, or the part of a path before the last '/' with the pattern after it. A folder without GGUF files may be a
 * model, or an adapter, of safetensors files. */
static pantry_status add_folder(struct pn_create_files *files, const char *folder, const char *pattern,
                                struct pantry_error *err)
{
    size_t before = files->len;
    bool parts = has_file(folder, "config.json") || has_file(folder, "adapter_config.json");
    pantry_status status = add_matches(files, folder, pattern, err);
    if (!status && files->len == before && parts && strcmp(pattern, all_gguf) == 0)
        status = add_matches(files, folder, NULL, err);
    if (!status && files->len == before)
        status =
            pn_fail(err, PANTRY_NOT_FOUND,
                    "%s: has no file %s, and is not a folder of safetensors files with a config.json", folder, pattern);
    if (files->len > before) /* folders have no order */
        qsort(files->data + before, files->len - before, sizeof *files->data, by_path);
    return status;
}

pantry_status pn_create_add_files(struct pn_create_files *files, const char *path, struct pantry_error *err)
{
    struct stat st;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? add_folder(files, path, all_gguf, err) : add_path(files, path, err);
    int why = errno;
    if (!strchr(name, '*'))
        return pn_fail(err, why == ENOENT || why == ENOTDIR ? PANTRY_NOT_FOUND : PANTRY_IO, "%.400s: %s", path,
                       strerror(why));
    char *folder = slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : strdup(".");
    pantry_status status = folder ? add_folder(files, folder, name, err) : pn_no_memory(err, path);
    free(folder);
    return status;
}

/* ---- instructions ---- */

struct recipe {
    const char *file, *folder;
    struct pn_create *out;
};

/* A path below the Modelfile's folder, or below the user's with "~/". Caller frees. */
static char *place_of(const struct recipe *r, const char *path)
{
    const char *home = getenv("HOME");
    if (strncmp(path, "~/", 2) == 0 && home)
        return pn_layout_path("%s/%s", home, path + 2);
    return *path == '/' || strcmp(r->folder, ".") == 0 ? strdup(path) : pn_layout_path("%s/%s", r->folder, path);
}

/* Says that a text means a file, and not a model of the store. */
static bool is_path(const char *text)
{
    return *text == '/' || *text == '.' || *text == '~' || ends_with(text, ".gguf") || strchr(text, '*');
}

/* The complete name of a model of another program: lmstudio/PUBLISHER/REPO/FILE. */
static bool is_foreign(const char *text)
{
    struct pn_stored model;
    if (*text == '/' || *text == '.' || *text == '~' || pn_foreign_find(text, &model, NULL) != PANTRY_OK)
        return false;
    pn_stored_free(&model);
    return true;
}

static pantry_status take_from(struct recipe *r, const char *value, struct pantry_error *err)
{
    struct stat st;
    char *path = place_of(r, value);
    if (!path)
        return pn_no_memory(err, value);
    bool exists = stat(path, &st) == 0, is_file = exists && S_ISREG(st.st_mode);
    pantry_status status = PANTRY_OK;
    bool is_name = pn_store_is_name(value) || (!exists && is_foreign(value));
    if (is_file || (is_path(value) && !is_name) || (exists && !is_name)) {
        status = pn_create_add_files(&r->out->files, path, err);
    } else if (!is_name) {
        status = pn_fail(err, PANTRY_NOT_FOUND, "%.200s: neither a file, nor a folder, nor a model's name", value);
    } else if (r->out->from) {
        status = pn_fail(err, PANTRY_INVALID, "a second model (%.200s after %.200s)", value, r->out->from);
    } else if (!(r->out->from = strdup(value))) {
        status = pn_no_memory(err, value);
    }
    free(path);
    return status;
}

static pantry_status take_text(char **to, const char *value, struct pantry_error *err)
{
    free(*to); /* the last one counts, as in Ollama */
    *to = strdup(value);
    return *to ? PANTRY_OK : pn_no_memory(err, "a Modelfile");
}

/* "0.14.0": up to three numbers, and anything after '-'. */
static pantry_status take_version(char **to, const char *value, struct pantry_error *err)
{
    const char *c = *value == 'v' ? value + 1 : value, *start = c;
    int dots = 0;
    for (; (*c >= '0' && *c <= '9') || *c == '.'; c++)
        dots += *c == '.';
    if (c == start || dots > 2 || (*c && *c != '-'))
        return pn_fail(err, PANTRY_INVALID, "not a version (found \"%.60s\", allowed for example 0.14.0)", value);
    return take_text(to, start, err);
}

static pantry_status append(json_t **to, json_t *value, struct pantry_error *err)
{
    if (!*to)
        *to = json_array();
    return json_array_append_new(*to, value) == 0 ? PANTRY_OK : pn_no_memory(err, "a Modelfile");
}

static pantry_status take_line(struct recipe *r, const struct pn_modelfile_line *l, struct pantry_error *err)
{
    struct pn_create *c = r->out;
    char *path = NULL;
    pantry_status status;
    switch (l->kind) {
    case PN_MODELFILE_FROM:
        return take_from(r, l->value, err);
    case PN_MODELFILE_PARAMETER:
        if (!c->params && !(c->params = json_object()))
            return pn_no_memory(err, "a Modelfile");
        return pn_parameters_add(c->params, l->name, l->value, err);
    case PN_MODELFILE_TEMPLATE:
        return take_text(&c->template, l->value, err);
    case PN_MODELFILE_SYSTEM:
        return take_text(&c->system, l->value, err);
    case PN_MODELFILE_ADAPTER:
    case PN_MODELFILE_DRAFT:
        path = place_of(r, l->value);
        status = path ? pn_create_add_files(l->kind == PN_MODELFILE_DRAFT ? &c->drafts : &c->adapters, path, err)
                      : pn_no_memory(err, l->value);
        free(path);
        return status;
    case PN_MODELFILE_LICENSE:
        return *l->value ? append(&c->licenses, json_string(l->value), err) : PANTRY_OK;
    case PN_MODELFILE_MESSAGE:
        return append(&c->messages, json_pack("{s:s, s:s}", "role", l->name, "content", l->value), err);
    case PN_MODELFILE_REQUIRES:
        return take_version(&c->requires, l->value, err);
    default:
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "not supported: how prompts are written and answers are read follows from the model's template");
    }
}

pantry_status pn_create_read(const char *file, const struct pn_modelfile *modelfile, const char *folder,
                             struct pn_create *out, struct pantry_error *err)
{
    struct recipe r = {.file = file, .folder = folder, .out = out};
    *out = (struct pn_create){0};
    for (size_t i = 0; i < modelfile->len; i++) {
        const struct pn_modelfile_line *l = &modelfile->data[i];
        struct pantry_error why = {0};
        pantry_status status = take_line(&r, l, &why);
        if (status)
            return pn_fail(err, status, "%s: line %d: %s: %s", file, l->line, pn_modelfile_instruction(l->kind),
                           why.text);
    }
    if (out->from && out->files.len)
        return pn_fail(err, PANTRY_INVALID, "%s: FROM names a model (%.200s) and files", file, out->from);
    return PANTRY_OK;
}
