/* Numbers from booleans to integers of any size (big.c): order, hashes, text to number and back. */
#include "text/template/python/big.h"
#include "text/template/value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool pn_jj_to_double(jv v, double *out)
{
    if (v.t == JJ_FLOAT)
        *out = v.u.d;
    else if (v.t == JJ_BIG)
        return pn_jj_big_to_double(v.u.big, out);
    else
        *out = (double)jj_as_int(v);
    return true;
}

/* An integer against a float, exactly: every double beyond 2^63 is compared by its sign. */
static int int_float_cmp(int64_t a, double b, bool *unordered)
{
    if (isnan(b)) {
        *unordered = true;
        return 0;
    }
    if (b >= 0x1p63)
        return -1;
    if (b < -0x1p63)
        return 1;
    int64_t whole = (int64_t)b;
    double fraction = b - (double)whole;
    return a != whole ? (a > whole) - (a < whole) : (0 > fraction) - (0 < fraction);
}

int pn_jj_number_cmp(jv a, jv b, bool *unordered)
{
    if (a.t == JJ_FLOAT && b.t == JJ_FLOAT) {
        *unordered = isnan(a.u.d) || isnan(b.u.d);
        return (a.u.d > b.u.d) - (a.u.d < b.u.d);
    }
    if (a.t == JJ_BIG || b.t == JJ_BIG)
        return pn_jj_big_cmp(a, b, unordered);
    if (a.t == JJ_FLOAT)
        return -int_float_cmp(jj_as_int(b), a.u.d, unordered);
    if (b.t == JJ_FLOAT)
        return int_float_cmp(jj_as_int(a), b.u.d, unordered);
    int64_t x = jj_as_int(a), y = jj_as_int(b);
    return (x > y) - (x < y);
}

uint64_t pn_jj_number_hash(jv v)
{
    uint64_t h;
    if (v.t == JJ_BIG)
        return v.u.big->limb[0] * 0x9E3779B97F4A7C15u;
    if (v.t == JJ_FLOAT && !(floor(v.u.d) == v.u.d && fabs(v.u.d) < 0x1p63)) {
        if (isfinite(v.u.d) && fabs(v.u.d) >= 0x1p63) /* may equal a big integer: its lowest limb */
            return (uint64_t)(uint32_t)fmod(fabs(v.u.d), 0x1p32) * 0x9E3779B97F4A7C15u;
        memcpy(&h, &v.u.d, sizeof h);
    } else {
        h = (uint64_t)(v.t == JJ_FLOAT ? (int64_t)v.u.d : jj_as_int(v));
    }
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

/* ---- text to number ---- */

static void trim(const char **p, size_t *n)
{
    size_t used;
    while (*n && pn_jj_is_space(pn_jj_decode(*p, *p + *n, &used))) {
        *p += used;
        *n -= used;
    }
    while (*n) {
        size_t at = *n - 1;
        while (at && ((unsigned char)(*p)[at] & 0xC0) == 0x80)
            at--;
        if (!pn_jj_is_space(pn_jj_decode(*p + at, *p + *n, &used)))
            break;
        *n = at;
    }
}

static int digit(uint32_t c)
{
    if (c >= 'a' && c <= 'z')
        return (int)c - 'a' + 10;
    if (c >= 'A' && c <= 'Z')
        return (int)c - 'A' + 10;
    return pn_jj_digit_value(c);
}

static int prefix_base(const char *p, size_t n)
{
    if (n < 2 || p[0] != '0')
        return 0;
    char x = (char)(p[1] | 0x20);
    return x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 0;
}

jv pn_jj_parse_int(struct jj_run *r, const char *p, size_t n, int base, bool *ok)
{
    *ok = false;
    trim(&p, &n);
    bool negative = n && *p == '-', seen = false, underscore = false;
    if (n && (*p == '-' || *p == '+'))
        p++, n--;
    int prefix = prefix_base(p, n);
    if (prefix && (base == 0 || base == prefix)) {
        base = prefix;
        p += 2;
        n -= 2;
        if (n && *p == '_')
            p++, n--;
    } else if (base == 0) {
        base = 10;
    }
    char *digits = pn_jj_alloc(r, n + 1);
    size_t count = 0;
    for (size_t i = 0, used; i < n; i += used) {
        uint32_t c = pn_jj_decode(p + i, p + n, &used);
        if (c == '_' && seen && !underscore) {
            underscore = true;
            continue;
        }
        int d = digit(c);
        if (d < 0 || d >= base)
            return jj_none();
        digits[count++] = (char)d;
        seen = true;
        underscore = false;
    }
    if (!seen || underscore || (count > 4300 && (base & (base - 1))))
        return jj_none();
    *ok = true;
    return pn_jj_big_parse(r, digits, count, base, negative);
}

bool pn_jj_parse_float(const char *p, size_t n, double *out)
{
    char text[512];
    size_t count = 0;
    bool digits = false, underscore = false;
    trim(&p, &n);
    for (size_t i = 0, used; i < n; i += used) {
        uint32_t c = pn_jj_decode(p + i, p + n, &used);
        int d = pn_jj_digit_value(c);
        if (c == '_') {
            if (underscore || i == 0 || p[i - 1] < '0' || p[i - 1] > '9' || i + 1 == n || p[i + 1] < '0' ||
                p[i + 1] > '9')
                return false;
            underscore = true;
            continue;
        }
        underscore = false;
        digits = digits || d >= 0;
        char ascii = (char)(d >= 0 ? '0' + d : c < 0x80 ? (int)c : '?');
        if (count + 1 >= sizeof text || !strchr("0123456789+-.eEinfatyINFATY", ascii))
            return false;
        text[count++] = ascii;
    }
    text[count] = '\0';
    const char *body = text + (text[0] == '+' || text[0] == '-');
    static const char *const words[] = {"inf", "infinity", "nan"};
    for (size_t i = 0; i < 3; i++) {
        size_t k = 0;
        while (words[i][k] && (body[k] | 0x20) == words[i][k])
            k++;
        if (!words[i][k] && !body[k]) {
            *out = (i == 2 ? NAN : INFINITY) * (text[0] == '-' ? -1 : 1);
            return true;
        }
    }
    if (!digits || strpbrk(text, "ifatyINFATYn"))
        return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0';
}

void pn_jj_put_int(struct jj_buf *b, jv v, int base, bool upper)
{
    if (v.t == JJ_BIG) {
        pn_jj_big_put(b, v.u.big, base, upper);
        return;
    }
    char text[72], *p = text + sizeof text;
    int64_t i = jj_as_int(v);
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    do
        *--p = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[u % (unsigned)base];
    while (u /= (unsigned)base);
    if (i < 0)
        *--p = '-';
    pn_jj_put(b, p, (size_t)(text + sizeof text - p));
}

jv pn_jj_float_to_int(struct jj_run *r, double d)
{
    d = trunc(d);
    if (d >= -0x1p63 && d < 0x1p63)
        return jj_int((int64_t)d);
    return pn_jj_big_from_double(r, d);
}
