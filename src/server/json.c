/* JSON: see json.h. */
#include "server/json.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

/* ---- texts ---- */

/* Bytes of the UTF-8 character at `s`, of `n` that are there; 0: it is none. */
static size_t character(const unsigned char *s, size_t n)
{
    size_t len = *s < 0x80 ? 1 : (*s & 0xE0) == 0xC0 ? 2 : (*s & 0xF0) == 0xE0 ? 3 : (*s & 0xF8) == 0xF0 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    uint32_t c = len == 1 ? *s : (uint32_t)(*s & (0x7F >> len));
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (s[i] & 0x3F);
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    return c < least[len] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000) ? 0 : len;
}

json_t *pn_json_text(const char *text, size_t len)
{
    json_t *whole = json_stringn(text, len);
    if (whole)
        return whole;
    struct pn_buf out = {0};
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = character((const unsigned char *)text + i, len - i);
        if (n)
            pn_buf_append(&out, text + i, n);
        else
            pn_buf_puts(&out, "\xEF\xBF\xBD");
    }
    whole = out.failed || !out.data ? NULL : json_stringn(out.data, out.len);
    pn_buf_free(&out);
    return whole;
}

/* ---- fields ---- */

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

/* The field, or NULL where it is missing or null. */
static json_t *field(const json_t *object, const char *name)
{
    json_t *v = json_object_get(object, name);
    return json_is_null(v) ? NULL : v;
}

static pantry_status wrong(const json_t *v, const char *name, const char *wanted, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_INVALID, "%s: wrong type (found %s, allowed %s)", name, type_name(v), wanted);
}

pantry_status pn_json_bool(const json_t *object, const char *name, bool *out, struct pantry_error *err)
{
    const json_t *v = field(object, name);
    if (!v)
        return PANTRY_OK;
    if (!json_is_boolean(v))
        return wrong(v, name, "a boolean", err);
    *out = json_is_true(v);
    return PANTRY_OK;
}

pantry_status pn_json_int(const json_t *object, const char *name, int least, int most, int *out,
                          struct pantry_error *err)
{
    const json_t *v = field(object, name);
    if (!v)
        return PANTRY_OK;
    double x = json_number_value(v);
    if (!json_is_number(v))
        return wrong(v, name, "an integer", err);
    if (!(x >= least && x <= most) || x != (double)(int)x)
        return pn_fail(err, PANTRY_INVALID, "%s: out of range (found %g, allowed integers from %d to %d)", name, x,
                       least, most);
    *out = (int)x;
    return PANTRY_OK;
}

pantry_status pn_json_seed(const json_t *object, const char *name, uint64_t *out, struct pantry_error *err)
{
    const json_t *v = field(object, name);
    if (!v)
        return PANTRY_OK;
    double x = json_number_value(v);
    bool whole = json_is_integer(v) || (json_is_real(v) && fabs(x) <= 0x1p53 && x == floor(x));
    if (!whole)
        return wrong(v, name, "an integer", err);
    *out = json_is_integer(v) ? (uint64_t)json_integer_value(v) : (uint64_t)(int64_t)x;
    return PANTRY_OK;
}

pantry_status pn_json_float(const json_t *object, const char *name, double least, double most, float *out,
                            struct pantry_error *err)
{
    const json_t *v = field(object, name);
    if (!v)
        return PANTRY_OK;
    double x = json_number_value(v);
    if (!json_is_number(v))
        return wrong(v, name, "a number", err);
    if (!(x >= least && x <= most))
        return pn_fail(err, PANTRY_INVALID, "%s: out of range (found %g, allowed %g to %g)", name, x, least, most);
    *out = (float)x;
    return PANTRY_OK;
}

pantry_status pn_json_string(const json_t *object, const char *name, const char **out, struct pantry_error *err)
{
    const json_t *v = field(object, name);
    if (!v)
        return PANTRY_OK;
    if (!json_is_string(v))
        return wrong(v, name, "a string", err);
    *out = json_string_value(v);
    return PANTRY_OK;
}

pantry_status pn_json_strings(const json_t *object, const char *name, size_t most, const char **out, size_t *n,
                              struct pantry_error *err)
{
    const json_t *v = field(object, name);
    if (!v)
        return PANTRY_OK;
    size_t len = json_is_array(v) ? json_array_size(v) : 1;
    if (!json_is_array(v) && !json_is_string(v))
        return wrong(v, name, "a string or a list of strings", err);
    if (len > most)
        return pn_fail(err, PANTRY_INVALID, "%s: too many (found %zu, allowed %zu)", name, len, most);
    for (size_t i = 0; i < len; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(item))
            return wrong(item, name, "strings", err);
        out[i] = json_string_value(item);
    }
    *n = len;
    return PANTRY_OK;
}

pantry_status pn_json_array(const json_t *object, const char *name, json_t **out, struct pantry_error *err)
{
    json_t *v = field(object, name);
    if (v && !json_is_array(v))
        return wrong(v, name, "an array", err);
    *out = v;
    return PANTRY_OK;
}

pantry_status pn_json_object(const json_t *object, const char *name, json_t **out, struct pantry_error *err)
{
    json_t *v = field(object, name);
    if (v && !json_is_object(v))
        return wrong(v, name, "an object", err);
    *out = v;
    return PANTRY_OK;
}

static bool is_nothing(const json_t *v)
{
    return !v || json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0) || (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0);
}

pantry_status pn_json_refuse(const json_t *object, const char *const *names, struct pantry_error *err)
{
    for (; *names; names++)
        if (!is_nothing(field(object, *names)))
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s: not supported", *names);
    return PANTRY_OK;
}

pantry_status pn_json_known(const json_t *object, const char *where, const char *const *names, struct pantry_error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)object, key, v)
    {
        const char *const *name = names;
        while (*name && strcmp(*name, key) != 0)
            name++;
        if (!*name && !is_nothing(field(object, key)))
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s%.60s: not supported", where, key);
    }
    return PANTRY_OK;
}
