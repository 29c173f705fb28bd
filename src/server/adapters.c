/* Adapters in the names of models: see adapters.h. */
#define _POSIX_C_SOURCE 200809L
#include "server/adapters.h"

#include "base/status.h"
#include "store/carried.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SCALE = 1000, MAX_CARRIED = 64 };

void pn_adapted_free(struct pn_adapted *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->paths[i]);
    free(a->paths);
    free(a->name);
    *a = (struct pn_adapted){0};
}

const char *pn_adapters_begin(const char *name, const char *from)
{
    return strchr(from ? from + 1 : name, '+');
}

static const struct pn_adapter_setting *configured(const struct pn_adapter_list *list, const char *name)
{
    for (size_t i = 0; i < list->len; i++)
        if (strcmp(list->data[i].name, name) == 0)
            return &list->data[i];
    return NULL;
}

/* A plain decimal number: neither "inf" nor "0x1". */
static bool read_scale(const char *text, float *out)
{
    char *end;
    if (!*text || text[strspn(text, "+-.0123456789eE")])
        return false;
    *out = strtof(text, &end);
    return *end == '\0' && isfinite(*out);
}

/* ---- one adapter ---- */

static pantry_status add_path(struct pn_adapted *out, const char *path, float scale, struct pantry_error *err)
{
    size_t size = strlen(path) + 32;
    char *text = malloc(size);
    if (text)
        snprintf(text, size, "%s=%.9g", path, (double)scale);
    if (!text || !pn_vec_reserve((void **)(void *)&out->paths, &out->cap, out->n + 2, sizeof *out->paths)) {
        free(text);
        return pn_no_memory(err, "an adapter");
    }
    out->paths[out->n++] = text;
    out->paths[out->n] = NULL;
    return PANTRY_OK;
}

/* The adapters that a model of the store carries, or its own file. */
static pantry_status add_stored(struct pn_adapted *out, const char *name, float scale, struct pantry_error *err)
{
    struct pn_stored stored;
    struct pn_carried carried;
    pantry_status status = pn_store_find(name, &stored, err);
    if (status)
        return status;
    if (!(status = pn_carried_read(name, &carried, err))) {
        const char *paths[MAX_CARRIED + 1];
        pn_carried_adapters(&carried, paths, MAX_CARRIED + 1);
        if (!paths[0])
            status = add_path(out, stored.path, scale, err);
        for (size_t i = 0; paths[i] && !status; i++)
            status = add_path(out, paths[i], scale, err);
        pn_carried_free(&carried);
    }
    pn_stored_free(&stored);
    return status;
}

static pantry_status add_configured(struct pn_adapted *out, const struct pn_adapter_setting *s, float scale,
                                    struct pantry_error *err)
{
    if (*s->path != '/')
        return add_stored(out, s->path, scale, err);
    if (access(s->path, R_OK) != 0)
        return pn_fail(err, PANTRY_NOT_FOUND, "the adapter %s cannot be read: %s", s->name, strerror(errno));
    return add_path(out, s->path, scale, err);
}

/* By name alone: *known is false where nobody has that name. */
static pantry_status add_named(const struct pn_adapter_list *list, const char *name, float scale, bool *known,
                               struct pn_adapted *out, struct pantry_error *err)
{
    const struct pn_adapter_setting *s = configured(list, name);
    pantry_status status = s                        ? add_configured(out, s, scale, err)
                           : pn_store_is_name(name) ? add_stored(out, name, scale, err)
                                                    : PANTRY_NOT_FOUND;
    *known = s || status != PANTRY_NOT_FOUND;
    return status;
}

static pantry_status add_adapter(const struct pn_adapter_list *list, char *part, struct pn_adapted *out,
                                 struct pn_buf *name, struct pantry_error *err)
{
    char *colon = strrchr(part, ':');
    float scale = 1;
    bool known;
    pantry_status status = add_named(list, part, 1, &known, out, err);
    if (!known && colon && read_scale(colon + 1, &scale)) {
        if (fabsf(scale) > (float)MAX_SCALE)
            return pn_fail(err, PANTRY_INVALID, "+%.100s: the scale must be between -%d and %d", part, MAX_SCALE,
                           MAX_SCALE);
        *colon = '\0';
        status = add_named(list, part, scale, &known, out, err);
    }
    if (!known)
        return pn_fail(err, PANTRY_NOT_FOUND, "adapter '%.200s' not found", part);
    if (!status && scale == 1)
        pn_buf_printf(name, "+%s", part);
    else if (!status)
        pn_buf_printf(name, "+%s:%.9g", part, (double)scale);
    return status;
}

void pn_adapted_hide(const struct pn_adapted *a, struct pantry_error *err)
{
    for (size_t i = 0; i < a->n; i++) {
        const char *path = a->paths[i];
        size_t n = (size_t)(strrchr(path, '=') - path), folder = n;
        while (folder && path[folder - 1] != '/')
            folder--;
        for (char *at = err->text; folder && *at; at++)
            if (strncmp(at, path, n) == 0)
                memmove(at, at + folder, strlen(at + folder) + 1);
    }
}

/* ---- names ---- */

pantry_status pn_adapters_resolve(const struct pn_adapter_list *list, const char *base, const char *text,
                                  struct pn_adapted *out, struct pantry_error *err)
{
    struct pn_buf name = {0};
    pantry_status status = PANTRY_OK;
    *out = (struct pn_adapted){0};
    pn_buf_puts(&name, base);
    for (int i = 0; *text == '+' && !status; i++) {
        size_t n = strcspn(text + 1, "+");
        char *part = strndup(text + 1, n);
        if (i == PN_ADAPTERS_MAX)
            status = pn_fail(err, PANTRY_INVALID, "too many adapters (allowed %d)", PN_ADAPTERS_MAX);
        else
            status = part ? add_adapter(list, part, out, &name, err) : pn_no_memory(err, "an adapter");
        free(part);
        text += n + 1;
    }
    if (!status && (name.failed || !(out->name = pn_buf_take(&name))))
        status = pn_no_memory(err, "an adapter");
    pn_buf_free(&name);
    return status;
}

/* "model" and "model:latest" are one. */
static bool is_for(const struct pn_adapter_setting *s, const char *base)
{
    static const char latest[] = ":latest";
    size_t n = s->model ? strlen(s->model) : 0;
    return !base || !s->model || (strncmp(base, s->model, n) == 0 && (!base[n] || strcmp(base + n, latest) == 0)) ||
           (strncmp(base, s->model, strlen(base)) == 0 && strcmp(s->model + strlen(base), latest) == 0);
}

void pn_adapters_put(const struct pn_adapter_list *list, const float *scales, const char *base, struct pn_buf *out)
{
    for (size_t i = 0; i < list->len; i++)
        if (scales[i] != 0 && is_for(&list->data[i], base))
            pn_buf_printf(out, "+%s:%.9g", list->data[i].name, (double)scales[i]);
}

bool pn_adapters_have(const char *name, const char *adapter)
{
    size_t n = strlen(adapter);
    for (const char *at = pn_adapters_begin(name, NULL); at; at = pn_adapters_begin(name, at))
        if (strncmp(at + 1, adapter, n) == 0 && (!at[1 + n] || strchr("+:", at[1 + n])))
            return true;
    return false;
}
