/* Opening, looking up and typed reading of weights, whatever their format: see weights.h. */
#include "format/weights.h"

#include "format/gguf.h"
#include "format/names.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static bool starts_with(const struct pn_map *map, const char *magic)
{
    size_t n = strlen(magic);
    return map->size >= n && memcmp(map->data, magic, n) == 0;
}

/* A file without GGUF's magic: says what people usually have there instead. */
static pantry_status refuse_content(const char *path, const struct pn_map *map, struct pantry_error *err)
{
    static const struct {
        const char *magic, *what;
    } known[] = {
        {"version https://git-lfs", "is a Git LFS pointer, not the model itself; fetch it with `git lfs pull`"},
        {"lmgg", "is a GGML file from before GGUF; it must be converted again from the original model"},
        {"fmgg", "is a GGML file from before GGUF; it must be converted again from the original model"},
        {"tjgg", "is a GGML file from before GGUF; it must be converted again from the original model"},
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
        return pn_fail(err, PANTRY_FORMAT, "%s: begins with zeros, so its download has probably never finished", path);
    if (map->size < 4 && memcmp(map->data, "GGUF", map->size) == 0)
        return pn_fail(err, PANTRY_FORMAT, "%s: has only %zu bytes; it was probably cut off while downloading", path,
                       map->size);
    return pn_fail(err, PANTRY_FORMAT, "%s: is not a GGUF model (those begin with the letters GGUF)", path);
}

pantry_status pn_weights_inspect(const char *path, struct pn_weights **out, struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = PANTRY_OK;
    struct pn_weights *w = calloc(1, sizeof *w);
    if (!w)
        return pn_no_memory(err, path);
    w->path = pn_arena_copy(&w->arena, path, strlen(path));
    w->maps = calloc(1, sizeof *w->maps);
    if (!w->path || !w->maps) {
        status = pn_no_memory(err, path);
        goto fail;
    }
    if ((status = pn_map_open(&w->maps[0], path, err)))
        goto fail;
    w->n_maps = 1;
    status = starts_with(&w->maps[0], "GGUF") ? pn_gguf_read(w, err) : refuse_content(path, &w->maps[0], err);
    /* What was read from pages that went away is zeros: whatever they were taken for, this is the cause. */
    if (pn_weights_damaged(w))
        status = pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", path);
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
            return pn_fail(err, PANTRY_UNSUPPORTED,
                           "%s: tensor %s has storage type %u, which this version does not know", w->path,
                           w->tensors[i].name, w->tensors[i].number);
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

/* Each of the vocabulary's arrays has an item a token: a shorter one would be read beyond its end by a careless
 * program, and always means that something was lost. */
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

pantry_status pn_weights_check(const char *path, struct pantry_error *err)
{
    enum { STEP = 4096 }; /* no system has smaller pages */
    struct pn_weights *w;
    pantry_status status = pn_weights_open(path, &w, err);
    if (status)
        return status;
    status = check_vocabulary(w, err);
    for (size_t m = 0; m < w->n_maps && !status; m++) {
        const volatile unsigned char *data = w->maps[m].data;
        pn_map_will_need(&w->maps[m]);
        for (size_t at = 0; at < w->maps[m].size; at += STEP)
            (void)data[at];
        if (pn_map_damaged(&w->maps[m]))
            status = pn_fail(err, PANTRY_IO,
                             "%s: parts of it cannot be read; the file was cut short or the disk is failing", path);
    }
    pn_weights_close(w);
    return status;
}

/* ---- looking up ---- */

const struct pn_tensor_info *pn_weights_tensor(const struct pn_weights *w, const char *name)
{
    size_t at = pn_name_index_find(w->tensor_index, name);
    return at == SIZE_MAX ? NULL : &w->tensors[at];
}

const struct pn_meta *pn_weights_meta(const struct pn_weights *w, const char *key)
{
    size_t at = pn_name_index_find(w->meta_index, key);
    return at == SIZE_MAX ? NULL : &w->meta[at];
}

static const char *kind_text(enum pn_meta_type type)
{
    static const char *const text[] = {
        [PN_META_UINT] = "an integer", [PN_META_INT] = "an integer",  [PN_META_FLOAT] = "a floating-point number",
        [PN_META_BOOL] = "a bool",     [PN_META_STRING] = "a string", [PN_META_ARRAY] = "an array",
    };
    return text[type];
}

static pantry_status wrong_type(const struct pn_weights *w, const struct pn_meta *m, enum pn_meta_type wanted,
                                struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "%s: %s is %s, but must be %s", w->path, m->key, kind_text(m->type),
                   kind_text(wanted));
}

pantry_status pn_meta_i64(const struct pn_weights *w, const char *key, int64_t *out, struct pantry_error *err)
{
    const struct pn_meta *m = pn_weights_meta(w, key);
    if (!m)
        return PANTRY_NOT_FOUND;
    if (m->type == PN_META_INT)
        return *out = m->i, PANTRY_OK;
    if (m->type != PN_META_UINT)
        return wrong_type(w, m, PN_META_INT, err);
    if (m->u > INT64_MAX)
        return pn_fail(err, PANTRY_FORMAT, "%s: %s is %s, which is out of range", w->path, key, pn_digits(m->u).text);
    *out = (int64_t)m->u;
    return PANTRY_OK;
}

pantry_status pn_meta_u32(const struct pn_weights *w, const char *key, uint32_t *out, struct pantry_error *err)
{
    int64_t i;
    pantry_status status = pn_meta_i64(w, key, &i, err);
    if (status)
        return status;
    if (i < 0 || i > UINT32_MAX)
        return pn_fail(err, PANTRY_FORMAT, "%s: %s is %jd, but must be 0 to 4,294,967,295", w->path, key, (intmax_t)i);
    *out = (uint32_t)i;
    return PANTRY_OK;
}

pantry_status pn_meta_f32(const struct pn_weights *w, const char *key, float *out, struct pantry_error *err)
{
    const struct pn_meta *m = pn_weights_meta(w, key);
    if (!m)
        return PANTRY_NOT_FOUND;
    if (m->type != PN_META_FLOAT)
        return wrong_type(w, m, PN_META_FLOAT, err);
    if (!(fabs(m->f) <= (double)FLT_MAX)) /* NaN too */
        return pn_fail(err, PANTRY_FORMAT, "%s: %s is %g, but must be a finite 32-bit number", w->path, key, m->f);
    *out = (float)m->f;
    return PANTRY_OK;
}

pantry_status pn_meta_bool(const struct pn_weights *w, const char *key, bool *out, struct pantry_error *err)
{
    const struct pn_meta *m = pn_weights_meta(w, key);
    if (!m)
        return PANTRY_NOT_FOUND;
    if (m->type != PN_META_BOOL)
        return wrong_type(w, m, PN_META_BOOL, err);
    *out = m->b;
    return PANTRY_OK;
}

pantry_status pn_meta_str(const struct pn_weights *w, const char *key, struct pn_str *out, struct pantry_error *err)
{
    const struct pn_meta *m = pn_weights_meta(w, key);
    if (!m)
        return PANTRY_NOT_FOUND;
    if (m->type != PN_META_STRING)
        return wrong_type(w, m, PN_META_STRING, err);
    *out = m->s;
    return PANTRY_OK;
}

/* ---- items of arrays ---- */

static uint64_t load_uint(const unsigned char *p, unsigned width)
{
    uint64_t u = 0;
    memcpy(&u, p, width <= sizeof u ? width : 0); /* little-endian */
    return u;
}

static int64_t load_int(const unsigned char *p, unsigned width)
{
    uint64_t u = load_uint(p, width), sign = (uint64_t)1 << (8 * width - 1);
    return (int64_t)((u ^ sign) - sign);
}

static double load_float(const unsigned char *p, unsigned width)
{
    float f;
    double d;
    if (width == sizeof d)
        return memcpy(&d, p, sizeof d), d;
    memcpy(&f, p, sizeof f);
    return (double)f;
}

/* NULL for an item that is not there or not a number. */
static const unsigned char *item_at(const struct pn_meta *m, size_t i)
{
    return m->raw && i < m->n ? (const unsigned char *)m->raw + i * m->width : NULL;
}

uint64_t pn_meta_item_u64(const struct pn_meta *m, size_t i)
{
    const unsigned char *p = item_at(m, i);
    if (!p || m->item == PN_META_FLOAT)
        return 0;
    if (m->item != PN_META_INT)
        return load_uint(p, m->width);
    int64_t v = load_int(p, m->width);
    return v < 0 ? 0 : (uint64_t)v;
}

int64_t pn_meta_item_i64(const struct pn_meta *m, size_t i)
{
    const unsigned char *p = item_at(m, i);
    if (!p || m->item == PN_META_FLOAT)
        return 0;
    if (m->item == PN_META_INT)
        return load_int(p, m->width);
    uint64_t v = load_uint(p, m->width);
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

double pn_meta_item_f64(const struct pn_meta *m, size_t i)
{
    const unsigned char *p = item_at(m, i);
    if (!p)
        return 0;
    switch (m->item) {
    case PN_META_FLOAT:
        return load_float(p, m->width);
    case PN_META_INT:
        return (double)load_int(p, m->width);
    default:
        return (double)load_uint(p, m->width);
    }
}

bool pn_meta_item_bool(const struct pn_meta *m, size_t i)
{
    const unsigned char *p = item_at(m, i);
    return p && m->item != PN_META_FLOAT && load_uint(p, m->width) != 0;
}

struct pn_str pn_meta_item_str(const struct pn_meta *m, size_t i)
{
    return m->items && i < m->n ? m->items[i] : (struct pn_str){0};
}
