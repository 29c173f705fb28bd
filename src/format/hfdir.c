/* Directories of Hugging Face and MLX: see hfdir.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "format/hfdir.h"

#include "base/model_files.h"
#include "format/names.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_JSON = 64 << 20, MAX_SHARDS = 4096 };

static const char index_name[] = "model.safetensors.index.json";

/* ---- files ---- */

static bool exists(const char *dir, const char *name)
{
    char *path = NULL;
    struct stat st;
    bool there = asprintf(&path, "%s/%s", dir, name) >= 0 && stat(path, &st) == 0;
    free(path);
    return there;
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

static bool is_weights(const char *name)
{
    return ends(name, ".safetensors") && strncmp(name, "adapter", 7) != 0;
}

bool pn_is_hfdir(const char *folder)
{
    struct pn_names names;
    bool found = exists(folder, index_name);
    if (!exists(folder, "config.json") || pn_names_read(AT_FDCWD, folder, false, &names, NULL))
        return false;
    for (size_t i = 0; i < names.len; i++)
        found |= is_weights(names.data[i]);
    pn_names_free(&names);
    return found;
}

pantry_status pn_hfdir_json(const char *dir, const char *name, json_t **out, struct pantry_error *err)
{
    char *path = NULL, *text = NULL;
    size_t len;
    json_error_t e;
    *out = NULL;
    if (!exists(dir, name))
        return PANTRY_NOT_FOUND;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return pn_no_memory(err, dir);
    pantry_status status = pn_file_read(path, MAX_JSON, &text, &len, err);
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    if (!status && !(*out = json_loadb(text, len, flags, &e)) && json_error_code(&e) == json_error_numeric_overflow)
        *out = json_loadb(text, len, flags | JSON_DECODE_INT_AS_REAL, &e); /* "model_max_length": 1e30 as an integer */
    if (!status && !*out)
        status = pn_fail(err, PANTRY_FORMAT, "%s: is not JSON: line %d, column %d: %s", path, e.line, e.column, e.text);
    if (!status && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        status = pn_fail(err, PANTRY_FORMAT, "%s: is not a JSON object", path);
    }
    free(text);
    free(path);
    return status;
}

/* ---- shards ---- */

/* Maps one file and reads its tensors. `why`: the file that names it, or "". */
static pantry_status read_file(struct pn_weights *w, const char *name, const char *why, struct pantry_error *err)
{
    struct pn_hfdir *hf = w->hf;
    struct pn_buf path = {0};
    pn_buf_printf(&path, "%s/%s", hf->dir, name);
    struct pn_map *maps = path.failed ? NULL : realloc(w->maps, (w->n_maps + 1) * sizeof *maps);
    const char *writer = NULL;
    if (!maps) {
        pn_buf_free(&path);
        return pn_no_memory(err, hf->dir);
    }
    w->maps = maps;
    maps[w->n_maps] = (struct pn_map){0};
    pantry_status status = pn_map_open(&maps[w->n_maps], path.data, err);
    if (status == PANTRY_NOT_FOUND) {
        status = pn_fail(err, PANTRY_NOT_FOUND, "%s: is missing%s%s", path.data, *why ? "; it is named by " : "", why);
    } else if (!status) {
        w->n_maps++;
        status =
            pn_safetensors_read(&maps[w->n_maps - 1], w->n_maps - 1, path.data, &w->arena, &hf->tensors, &writer, err);
        hf->mlx |= writer && strcmp(writer, "mlx") == 0;
    }
    pn_buf_free(&path);
    return status;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different file names of an index, sorted. The caller frees *out; the names belong to the index. */
static pantry_status files_of_index(const struct pn_hfdir *hf, const json_t *map, const char ***out, size_t *n,
                                    struct pantry_error *err)
{
    const char **files = malloc((json_object_size(map) + 1) * sizeof *files), *tensor;
    const json_t *file;
    size_t len = 0, kept = 0;
    *out = files;
    if (!files)
        return pn_no_memory(err, hf->dir);
    json_object_foreach((json_t *)(uintptr_t)map, tensor, file)
    {
        const char *name = json_string_value(file);
        if (!name || !ends(name, ".safetensors") || strchr(name, '/') || pn_name_problem(name, strlen(name), 255))
            return pn_fail(err, PANTRY_FORMAT,
                           "%s/%s: the file of tensor \"%.80s\" is not a name of a safetensors file", hf->dir,
                           index_name, pn_name_problem(tensor, strlen(tensor), 1023) ? "?" : tensor);
        files[len++] = name;
    }
    qsort(files, len, sizeof *files, by_text);
    for (size_t i = 0; i < len; i++)
        if (kept == 0 || strcmp(files[kept - 1], files[i]) != 0)
            files[kept++] = files[i];
    *n = kept;
    if (kept == 0 || kept > MAX_SHARDS)
        return pn_fail(err, PANTRY_FORMAT, "%s/%s: names %zu files (allowed 1 to %d)", hf->dir, index_name, kept,
                       MAX_SHARDS);
    return PANTRY_OK;
}

/* Every tensor of the index is in its file. */
static pantry_status check_index(const struct pn_hfdir *hf, const json_t *map, const char **files, size_t n,
                                 struct pantry_error *err)
{
    const char *tensor;
    const json_t *file;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, file)
    {
        const struct pn_st_tensor *t = pn_hfdir_tensor(hf, tensor);
        const char *name = json_string_value(file);
        if (!t || t->map >= n || strcmp(files[t->map], name) != 0)
            return pn_fail(err, PANTRY_FORMAT, "%s: tensor %.200s is missing from %s; %s names it", hf->dir,
                           pn_name_problem(tensor, strlen(tensor), 1023) ? "with an invalid name" : tensor, name,
                           index_name);
    }
    return PANTRY_OK;
}

static pantry_status index_tensors(struct pn_weights *w, struct pantry_error *err)
{
    struct pn_hfdir *hf = w->hf;
    struct pn_name_index *index = pn_name_index_new(&w->arena, hf->tensors.len);
    if (!index)
        return pn_no_memory(err, hf->dir);
    for (size_t i = 0; i < hf->tensors.len; i++)
        index->entries[i] = (struct pn_name_entry){hf->tensors.data[i].name, i};
    hf->index = index;
    const struct pn_name_entry *twice = pn_name_index_sort(index);
    return twice ? pn_fail(err, PANTRY_FORMAT, "%s: several files have a tensor %s", hf->dir, twice->name) : PANTRY_OK;
}

static pantry_status read_indexed(struct pn_weights *w, const json_t *index, struct pantry_error *err)
{
    const json_t *map = json_object_get(index, "weight_map");
    const char **files = NULL;
    size_t n = 0;
    if (!json_is_object(map))
        return pn_fail(err, PANTRY_FORMAT, "%s/%s: has no weight_map", w->hf->dir, index_name);
    pantry_status status = files_of_index(w->hf, map, &files, &n, err);
    for (size_t i = 0; i < n && !status; i++)
        status = read_file(w, files[i], index_name, err);
    if (!status)
        status = index_tensors(w, err);
    if (!status)
        status = check_index(w->hf, map, files, n, err);
    free((void *)(uintptr_t)files);
    return status;
}

/* All safetensors files of a folder without an index. */
static pantry_status read_unindexed(struct pn_weights *w, struct pantry_error *err)
{
    struct pn_names names;
    pantry_status status = PANTRY_OK;
    if (exists(w->hf->dir, "model.safetensors")) {
        status = read_file(w, "model.safetensors", "", err);
        return status ? status : index_tensors(w, err);
    }
    if ((status = pn_names_read(AT_FDCWD, w->hf->dir, false, &names, err)))
        return status;
    for (size_t i = 0; i < names.len && !status; i++) {
        unsigned number, count;
        const char *dash = strstr(names.data[i], "-of-");
        if (!is_weights(names.data[i]))
            continue;
        status = read_file(w, names.data[i], "", err);
        if (!status && dash && dash - names.data[i] > 6 && sscanf(dash - 6, "-%5u-of-%5u", &number, &count) == 2 &&
            number != w->n_maps)
            status = pn_fail(err, PANTRY_FORMAT, "%s: shard %zu of %u is missing", w->hf->dir, w->n_maps, count);
    }
    pn_names_free(&names);
    return status ? status : index_tensors(w, err);
}

/* ---- the directory ---- */

pantry_status pn_hfdir_read(struct pn_weights *w, struct pantry_error *err)
{
    json_t *index = NULL;
    struct pn_hfdir *hf = calloc(1, sizeof *hf);
    if (!hf)
        return pn_no_memory(err, w->path);
    w->hf = hf;
    hf->dir = w->path;
    pantry_status status = pn_hfdir_json(hf->dir, "config.json", &hf->config, err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_FORMAT, "%s: config.json is missing", hf->dir);
    if (status)
        return status;
    status = pn_hfdir_json(hf->dir, index_name, &index, err);
    if (!status)
        status = read_indexed(w, index, err);
    else if (status == PANTRY_NOT_FOUND)
        status = read_unindexed(w, err);
    json_decref(index);
    w->format = hf->mlx ? "mlx" : "safetensors";
    return status;
}

void pn_hfdir_free(struct pn_hfdir *hf)
{
    if (!hf)
        return;
    json_decref(hf->config);
    free(hf->tensors.data);
    free(hf);
}

const struct pn_st_tensor *pn_hfdir_tensor(const struct pn_hfdir *hf, const char *name)
{
    size_t at = pn_name_index_find(hf->index, name);
    return at == SIZE_MAX ? NULL : &hf->tensors.data[at];
}

/* ---- changes ---- */

static bool alike(const struct pn_st_tensor *a, const struct pn_st_tensor *b)
{
    return a->n_dims == b->n_dims && memcmp(a->shape, b->shape, (size_t)a->n_dims * sizeof *a->shape) == 0;
}

pantry_status pn_hfdir_replace(struct pn_weights *w, const char *path, struct pantry_error *err)
{
    struct pn_st_tensors changes = {0};
    struct pn_map *maps = realloc(w->maps, (w->n_maps + 1) * sizeof *maps);
    if (!maps)
        return pn_no_memory(err, path);
    w->maps = maps;
    maps[w->n_maps] = (struct pn_map){0};
    pantry_status status = pn_map_open(&maps[w->n_maps], path, err);
    if (status)
        return status;
    w->n_maps++;
    status = pn_safetensors_read(&maps[w->n_maps - 1], w->n_maps - 1, path, &w->arena, &changes, NULL, err);
    for (size_t i = 0; i < changes.len && !status; i++) {
        struct pn_st_tensor *t = (struct pn_st_tensor *)(uintptr_t)pn_hfdir_tensor(w->hf, changes.data[i].name);
        if (!t)
            status = pn_fail(err, PANTRY_FORMAT, "%s: changes tensor %s, which the model does not have", path,
                             changes.data[i].name);
        else if (!alike(t, &changes.data[i]))
            status = pn_fail(err, PANTRY_FORMAT, "%s: tensor %s has another shape than the model's", path, t->name);
        else
            *t = changes.data[i];
    }
    free(changes.data);
    return status;
}
