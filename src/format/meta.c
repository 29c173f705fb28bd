/* Lookup by name and typed reading of metadata: see weights.h. Readers of formats use it, too. */
#include "format/names.h"
#include "format/weights.h"

#include <float.h>
#include <math.h>
#include <string.h>

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
