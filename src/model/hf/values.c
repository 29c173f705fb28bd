/* Values of config.json, metadata, and errors: see hf.h. */
#include "model/hf/hf.h"

#include <stdio.h>
#include <string.h>

void pn_hf_fail(struct pn_hf *hf, pantry_status status, const char *format, ...)
{
    va_list args;
    if (hf->status)
        return;
    va_start(args, format);
    hf->status = pn_vfail(hf->err, status, format, args);
    va_end(args);
}

/* ---- reading ---- */

const json_t *pn_hf_get(const struct pn_hf *hf, const char *names)
{
    for (size_t n; *names; names += n + (names[n] == ' ')) {
        char name[64];
        n = strcspn(names, " ");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        const json_t *value = json_object_get(hf->config, name);
        if (value && !json_is_null(value))
            return value;
    }
    return NULL;
}

int64_t pn_hf_int(struct pn_hf *hf, const char *names, int64_t fallback)
{
    const json_t *value = pn_hf_get(hf, names);
    if (!value)
        return fallback;
    if (json_is_integer(value))
        return json_integer_value(value);
    double real = json_real_value(value);
    if (json_is_real(value) && real > -9e15 && real < 9e15 && real == (double)(int64_t)real)
        return (int64_t)real;
    pn_hf_fail(hf, PANTRY_FORMAT, "config.json: %s is not an integer", names);
    return fallback;
}

double pn_hf_float(struct pn_hf *hf, const char *names, double fallback)
{
    const json_t *value = pn_hf_get(hf, names);
    if (!value)
        return fallback;
    if (json_is_number(value))
        return json_number_value(value);
    pn_hf_fail(hf, PANTRY_FORMAT, "config.json: %s is not a number", names);
    return fallback;
}

bool pn_hf_bool(const struct pn_hf *hf, const char *names, bool fallback)
{
    const json_t *value = pn_hf_get(hf, names);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

int64_t pn_hf_layer_int(struct pn_hf *hf, const char *name, int layer, int64_t fallback)
{
    char number[16];
    snprintf(number, sizeof number, "%d", layer);
    const json_t *own = json_object_get(json_object_get(pn_hf_get(hf, "per_layer_config"), number), name);
    return json_is_integer(own) ? json_integer_value(own) : pn_hf_int(hf, name, fallback);
}

const char *pn_hf_layer_type(const struct pn_hf *hf, const char *name, int i)
{
    const char *type = json_string_value(json_array_get(pn_hf_get(hf, name), (size_t)i));
    return type ? type : "";
}

/* ---- writing ---- */

static struct pn_meta *put(struct pn_hf *hf, const char *key)
{
    char full[160];
    bool general = strncmp(key, "general.", 8) == 0 || strncmp(key, "xielu.", 6) == 0;
    int n = snprintf(full, sizeof full, "%s%s%s", general ? "" : hf->arch->name, general ? "" : ".", key);
    for (size_t i = 0; i < hf->meta.len; i++)
        if (strcmp(hf->meta.data[i].key, full) == 0) {
            hf->meta.data[i] = (struct pn_meta){.key = hf->meta.data[i].key};
            return &hf->meta.data[i];
        }
    struct pn_meta meta = {.key = pn_arena_copy(&hf->w->arena, full, (size_t)n)};
    if (meta.key && pn_vec_push(&hf->meta, meta))
        return &hf->meta.data[hf->meta.len - 1];
    pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for metadata");
    return NULL;
}

void pn_hf_put_int(struct pn_hf *hf, const char *key, int64_t value)
{
    struct pn_meta *m = put(hf, key);
    if (!m)
        return;
    m->type = PN_META_INT;
    m->width = 8;
    m->i = value;
}

void pn_hf_put_float(struct pn_hf *hf, const char *key, double value)
{
    struct pn_meta *m = put(hf, key);
    if (!m)
        return;
    m->type = PN_META_FLOAT;
    m->width = 8;
    m->f = value;
}

void pn_hf_put_bool(struct pn_hf *hf, const char *key, bool value)
{
    struct pn_meta *m = put(hf, key);
    if (!m)
        return;
    m->type = PN_META_BOOL;
    m->width = 1;
    m->b = value;
}

void pn_hf_put_str(struct pn_hf *hf, const char *key, const char *value)
{
    struct pn_meta *m = put(hf, key);
    const char *copy = pn_arena_copy(&hf->w->arena, value, strlen(value));
    if (!m || !copy) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for metadata");
        return;
    }
    m->type = PN_META_STRING;
    m->s = (struct pn_str){copy, strlen(value)};
}

/* An array of n items, whose bytes the caller fills in, low ones first. */
static unsigned char *put_array(struct pn_hf *hf, const char *key, enum pn_meta_type item, unsigned width, size_t n)
{
    struct pn_meta *m = put(hf, key);
    unsigned char *raw = pn_arena_array(&hf->w->arena, n + 1, width);
    if (!m || !raw) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for metadata");
        return NULL;
    }
    m->type = PN_META_ARRAY;
    m->item = item;
    m->width = width;
    m->n = n;
    m->raw = raw;
    return raw;
}

void pn_hf_put_ints(struct pn_hf *hf, const char *key, const int64_t *values, size_t n)
{
    unsigned char *raw = put_array(hf, key, PN_META_INT, 8, n);
    for (size_t i = 0; raw && i < n; i++)
        for (int b = 0; b < 8; b++)
            raw[8 * i + (size_t)b] = (unsigned char)((uint64_t)values[i] >> 8 * b);
}

void pn_hf_put_floats(struct pn_hf *hf, const char *key, const float *values, size_t n)
{
    unsigned char *raw = put_array(hf, key, PN_META_FLOAT, 4, n);
    for (size_t i = 0; raw && i < n; i++)
        for (int b = 0; b < 4; b++)
            raw[4 * i + (size_t)b] = (unsigned char)(pn_bits_of_float(values[i]) >> 8 * b);
}

void pn_hf_put_bools(struct pn_hf *hf, const char *key, const bool *values, size_t n)
{
    unsigned char *raw = put_array(hf, key, PN_META_BOOL, 1, n);
    for (size_t i = 0; raw && i < n; i++)
        raw[i] = values[i];
}
