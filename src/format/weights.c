/* Opening, closing and checking weights of any format: see weights.h. */
#define _POSIX_C_SOURCE 200809L
#include "format/weights.h"

#include "base/model_files.h"
#include "format/gguf.h"
#include "format/hfdir.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- opening ---- */

static bool starts_with(const struct pn_map *map, const char *magic)
{
    size_t n = strlen(magic);
    return map->size >= n && memcmp(map->data, magic, n) == 0;
}

/* Readers by the first bytes of their files. */
static const struct {
    const char *magic;
    pantry_status (*read)(struct pn_weights *weights, struct pantry_error *err);
} readers[] = {{"GGUF", pn_gguf_read}};

/* The error for a file that no reader takes: names the usual mistakes. */
static pantry_status refuse_content(const char *path, const struct pn_map *map, struct pantry_error *err)
{
    static const struct {
        const char *magic, *what;
    } known[] = {
        {"version https://git-lfs", "is a Git LFS pointer, not the model itself; fetch it with `git lfs pull`"},
        {"lmgg", "is a GGML file, the format before GGUF; convert the original model again"},
        {"fmgg", "is a GGML file, the format before GGUF; convert the original model again"},
        {"tjgg", "is a GGML file, the format before GGUF; convert the original model again"},
        {"PK\x03\x04", "is a zip archive (a wheel or PyTorch weights), not a GGUF model; `pantry import` takes wheels"},
        {"<!DOCTYPE", "is a web page, not a model; the download went to the wrong address"},
        {"<!doctype", "is a web page, not a model; the download went to the wrong address"},
        {"<html", "is a web page, not a model; the download went to the wrong address"},
    };
    if (map->size == 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: is an empty file, not a GGUF model", path);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (starts_with(map, known[i].magic))
            return pn_fail(err, PANTRY_FORMAT, "%s: %s", path, known[i].what);
    if (map->size > 8 && map->data[8] == '{')
        return pn_fail(err, PANTRY_FORMAT, "%s: looks like a safetensors file, not a GGUF model", path);
    if (map->size >= 4 && memcmp(map->data, "\0\0\0", 4) == 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: begins with zeros; its download probably did not finish", path);
    if (map->size < 4 && memcmp(map->data, "GGUF", map->size) == 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: has only %zu bytes; it was probably cut off while downloading", path,
                       map->size);
    return pn_fail(err, PANTRY_FORMAT, "%s: is not a GGUF model (those begin with the letters GGUF)", path);
}

static pantry_status read_content(struct pn_weights *w, struct pantry_error *err)
{
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (starts_with(&w->maps[0], readers[i].magic))
            return readers[i].read(w, err);
    return refuse_content(w->path, &w->maps[0], err);
}

/* The folder of a safetensors file, if it is a model's; else NULL. */
static char *folder_of(const char *path)
{
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/');
    char *folder = n > 12 && strcmp(path + n - 12, ".safetensors") == 0
                       ? strndup(slash ? path : ".", slash ? (size_t)(slash - path) : 1)
                       : NULL;
    if (folder && pn_is_hfdir(folder))
        return folder;
    free(folder);
    return NULL;
}

/* What to open: the given file, the only model of a folder, or the folder itself. */
static pantry_status find_file(struct pn_weights *w, const char *path, bool *is_hfdir, struct pantry_error *err)
{
    struct stat st;
    char *inside = folder_of(path);
    *is_hfdir = inside != NULL;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        pantry_status status = pn_folder_model(path, &inside, err);
        *is_hfdir = (status == PANTRY_NOT_FOUND || status == PANTRY_UNSUPPORTED) && pn_is_hfdir(path);
        if (status && !*is_hfdir)
            return status;
    }
    const char *file = inside ? inside : path;
    size_t n = strlen(file);
    while (*is_hfdir && n > 1 && file[n - 1] == '/')
        n--;
    w->path = pn_arena_copy(&w->arena, file, n);
    free(inside);
    return w->path ? PANTRY_OK : pn_no_memory(err, path);
}

static pantry_status read_file(struct pn_weights *w, struct pantry_error *err)
{
    if (!(w->maps = calloc(1, sizeof *w->maps)))
        return pn_no_memory(err, w->path);
    pantry_status status = pn_map_open(&w->maps[0], w->path, err);
    if (status)
        return status;
    w->n_maps = 1;
    return read_content(w, err);
}

pantry_status pn_weights_inspect(const char *path, struct pn_weights **out, struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = PANTRY_OK;
    struct pn_weights *w = calloc(1, sizeof *w);
    if (!w)
        return pn_no_memory(err, path);
    bool is_hfdir;
    if ((status = find_file(w, path, &is_hfdir, err)))
        goto fail;
    status = (is_hfdir ? pn_hfdir_read : read_file)(w, err);
    /* Pages that went away read as zeros, which may have caused any other error. */
    if (pn_weights_damaged(w))
        status = pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", w->path);
    if (status)
        goto fail;
    *out = w;
    return PANTRY_OK;
fail:
    pn_weights_close(w);
    return status;
}

pantry_status pn_weights_require_types(const struct pn_weights *w, struct pantry_error *err)
{
    for (size_t i = 0; i < w->n_tensors; i++)
        if (w->tensors[i].type == PN_TYPE_COUNT)
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s: tensor %s has storage type %u, which is not supported",
                           w->path, w->tensors[i].name, w->tensors[i].number);
    return PANTRY_OK;
}

pantry_status pn_weights_open(const char *path, struct pn_weights **out, struct pantry_error *err)
{
    pantry_status status = pn_weights_inspect(path, out, err);
    if (!status && (status = pn_weights_require_types(*out, err))) {
        pn_weights_close(*out);
        *out = NULL;
    }
    return status;
}

void pn_weights_close(struct pn_weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_maps; i++)
        pn_map_close(&w->maps[i]);
    free(w->maps);
    free(w->tensors);
    free(w->meta);
    pn_hfdir_free(w->hf);
    pn_arena_free(&w->arena);
    free(w);
}

bool pn_weights_damaged(const struct pn_weights *w)
{
    for (size_t i = 0; i < w->n_maps; i++)
        if (pn_map_damaged(&w->maps[i]))
            return true;
    return false;
}

/* ---- checking ---- */

/* Each of the vocabulary's arrays has one item per token. A shorter one means that data was lost, and a careless
 * program would read beyond its end. */
static pantry_status check_vocabulary(const struct pn_weights *w, struct pantry_error *err)
{
    static const char *const parallel[] = {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"};
    const struct pn_meta *tokens = pn_weights_meta(w, "tokenizer.ggml.tokens");
    if (!tokens)
        return PANTRY_OK;
    if (tokens->type != PN_META_ARRAY || tokens->item != PN_META_STRING)
        return pn_fail(err, PANTRY_FORMAT, "%s: tokenizer.ggml.tokens is not an array of strings", w->path);
    for (size_t i = 0; i < sizeof parallel / sizeof *parallel; i++) {
        const struct pn_meta *m = pn_weights_meta(w, parallel[i]);
        if (m && m->type != PN_META_ARRAY)
            return pn_fail(err, PANTRY_FORMAT, "%s: %s is not an array", w->path, parallel[i]);
        if (m && m->n != tokens->n)
            return pn_fail(err, PANTRY_FORMAT, "%s: %s has %s items, but there are %s tokens", w->path, parallel[i],
                           pn_digits(m->n).text, pn_digits(tokens->n).text);
    }
    return PANTRY_OK;
}

pantry_status pn_weights_check_all(const struct pn_weights *w, struct pantry_error *err)
{
    enum { STEP = 4096 }; /* the smallest page size of any system */
    pantry_status status = check_vocabulary(w, err);
    for (size_t m = 0; m < w->n_maps && !status; m++) {
        const volatile unsigned char *data = w->maps[m].data;
        pn_map_will_need(&w->maps[m]);
        for (size_t at = 0; at < w->maps[m].size; at += STEP)
            (void)data[at];
        if (pn_map_damaged(&w->maps[m]))
            status = pn_fail(err, PANTRY_IO,
                             "%s: parts of it cannot be read; the file was cut short or the disk is failing", w->path);
    }
    return status;
}

pantry_status pn_weights_check(const char *path, struct pantry_error *err)
{
    struct pn_weights *w;
    pantry_status status = pn_weights_open(path, &w, err);
    if (status)
        return status;
    status = pn_weights_check_all(w, err);
    pn_weights_close(w);
    return status;
}
