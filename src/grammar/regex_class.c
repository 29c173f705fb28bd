/* Characters, escapes and classes of regular expressions: see regex_impl.h. */
#include "grammar/regex_impl.h"

#include "text/unicode/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct pn_code_range digits[] = {{'0', '9'}};
static const struct pn_code_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct pn_code_range spaces[] = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                              {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                              {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

static size_t here(const struct pn_re *re)
{
    return (size_t)(re->p - re->text);
}

static void no_memory(struct pn_re *re)
{
    pn_expr_fail(re->b, PANTRY_NO_MEMORY, "out of memory for a pattern");
}

bool pn_re_is_word(uint32_t c)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (c >= words[i].first && c <= words[i].last)
            return true;
    return false;
}

pn_expr pn_re_word(struct pn_re *re, bool negate)
{
    return pn_expr_class(re->b, words, sizeof words / sizeof *words, negate);
}

/* ---- escapes ---- */

static bool add_ranges(struct pn_re_ranges *out, const struct pn_code_range *ranges, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        ok = pn_vec_push(out, ranges[i]);
    return ok;
}

/* Adds the code points outside of the ranges, which become sorted. */
static bool add_others(struct pn_re *re, struct pn_re_ranges *out, struct pn_re_ranges *ranges)
{
    pn_expr e = pn_expr_class(re->b, ranges->data, ranges->len, true);
    if (e == PN_EXPR_NONE)
        return false;
    const struct pn_expr_node *node = pn_expr_get(re->b, e);
    return node->kind != PN_EXPR_CLASS || add_ranges(out, node->ranges, node->n);
}

/* \p{NAME}, whose brace is next. */
static bool read_property(struct pn_re *re, struct pn_re_ranges *found)
{
    size_t at = here(re);
    const char *name = re->p;
    size_t n = 1;
    if (pn_re_peek(re) == '{') {
        const char *close = memchr(re->p, '}', (size_t)(re->end - re->p));
        if (!close) {
            pn_re_fail(re, at, "the property is not closed: expected }");
            return false;
        }
        name = re->p + 1;
        n = (size_t)(close - name);
        re->p = close + 1;
    } else if (re->p < re->end) {
        re->p++;
    } else {
        n = 0;
    }
    if (pn_re_property(name, n, found))
        return true;
    char what[160];
    snprintf(what, sizeof what,
             "the property \"%.*s\" is not supported (allowed are general categories, Any, ASCII, "
             "Alphabetic, White_Space)",
             (int)(n < 40 ? n : 40), name);
    pn_re_fail(re, at, what);
    return false;
}

/* Adds the characters of \d \w \s \p and their negations. False: the escape is none of these, or an error. */
static bool read_class_escape(struct pn_re *re, struct pn_re_ranges *out)
{
    char c = re->p + 1 < re->end ? re->p[1] : '\0';
    struct pn_re_ranges found = {0};
    bool negate = c >= 'A' && c <= 'Z', ok;
    if (!c || !strchr("dwspDWSP", c))
        return false;
    re->p += 2;
    switch (c | 0x20) {
    case 'd':
        ok = add_ranges(&found, digits, sizeof digits / sizeof *digits);
        break;
    case 'w':
        ok = add_ranges(&found, words, sizeof words / sizeof *words);
        break;
    case 's':
        ok = add_ranges(&found, spaces, sizeof spaces / sizeof *spaces);
        break;
    default:
        ok = read_property(re, &found);
    }
    ok = ok && (negate ? add_others(re, out, &found) : add_ranges(out, found.data, found.len));
    free(found.data);
    if (!ok)
        no_memory(re);
    return ok;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool read_hex(struct pn_re *re, int n, uint32_t *c)
{
    size_t at = here(re);
    *c = 0;
    for (int i = 0; i < n; i++) {
        int digit = re->p < re->end ? hex(*re->p) : -1;
        if (digit < 0) {
            pn_re_fail(re, at, n == 2 ? "expected 2 hexadecimal digits" : "expected 4 hexadecimal digits");
            return false;
        }
        *c = *c << 4 | (uint32_t)digit;
        re->p++;
    }
    return true;
}

/* \u{...}, or \uXXXX, of which two may be a pair of surrogates; what follows the u is next. */
static bool read_unicode(struct pn_re *re, uint32_t *c)
{
    size_t at = here(re);
    uint32_t low;
    if (pn_re_peek(re) == '{') {
        int n = 0;
        for (*c = 0, re->p++; re->p < re->end && hex(*re->p) >= 0 && *c <= PN_MAX_CODE_POINT; re->p++, n++)
            *c = *c << 4 | (uint32_t)hex(*re->p);
        if (n == 0 || pn_re_peek(re) != '}' || *c > PN_MAX_CODE_POINT) {
            pn_re_fail(re, at, "expected \\u{...} with a code point");
            return false;
        }
        re->p++;
        return true;
    }
    if (!read_hex(re, 4, c))
        return false;
    if (*c >= 0xD800 && *c < 0xDC00 && re->end - re->p >= 6 && re->p[0] == '\\' && re->p[1] == 'u') {
        const char *before = re->p;
        re->p += 2;
        if (read_hex(re, 4, &low) && low >= 0xDC00 && low < 0xE000)
            *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
        else
            re->p = before;
    }
    return !pn_re_failed(re);
}

/* One character; the backslash is next. */
static bool read_char_escape(struct pn_re *re, uint32_t *c)
{
    static const char from[] = "tnrfvae", to[] = "\t\n\r\f\v\a\033";
    size_t at = here(re);
    unsigned n;
    if (++re->p == re->end) {
        pn_re_fail(re, at, "the pattern ends after a backslash");
        return false;
    }
    char kind = *re->p;
    const char *simple = kind ? strchr(from, kind) : NULL;
    *c = pn_utf8_get((const unsigned char *)re->p, &n);
    re->p += n;
    if (simple) {
        *c = (unsigned char)to[simple - from];
    } else if (kind == '0') {
        *c = 0;
    } else if (kind == 'x') {
        return read_hex(re, 2, c);
    } else if (kind == 'u') {
        return read_unicode(re, c);
    } else if (kind == 'c' && ((pn_re_peek(re) | 0x20) >= 'a' && (pn_re_peek(re) | 0x20) <= 'z')) {
        *c = *re->p++ & 31;
    } else if (pn_re_is_word(*c) && *c != '_') {
        pn_re_fail(re, at, "unknown escape");
        return false;
    }
    return true;
}

/* ---- expressions ---- */

static pn_expr from_ranges(struct pn_re *re, struct pn_re_ranges *ranges, bool negate)
{
    if (!pn_re_failed(re) && re->ignore_case && !pn_re_fold(ranges))
        no_memory(re);
    pn_expr e = pn_re_failed(re) ? PN_EXPR_NONE : pn_expr_class(re->b, ranges->data, ranges->len, negate);
    free(ranges->data);
    return e;
}

pn_expr pn_re_char(struct pn_re *re, uint32_t c)
{
    struct pn_re_ranges ranges = {0};
    struct pn_code_range range = {c, c};
    if (!pn_vec_push(&ranges, range))
        no_memory(re);
    return from_ranges(re, &ranges, false);
}

pn_expr pn_re_escape(struct pn_re *re)
{
    struct pn_re_ranges ranges = {0};
    uint32_t c;
    if (read_class_escape(re, &ranges))
        return from_ranges(re, &ranges, false);
    free(ranges.data);
    return !pn_re_failed(re) && read_char_escape(re, &c) ? pn_re_char(re, c) : PN_EXPR_NONE;
}

/* A member of a class: one character (true), or several, which are added. */
static bool read_member(struct pn_re *re, struct pn_re_ranges *ranges, uint32_t *c)
{
    unsigned n;
    if (*re->p != '\\') {
        *c = pn_utf8_get((const unsigned char *)re->p, &n);
        re->p += n;
        return true;
    }
    if (re->end - re->p >= 2 && re->p[1] == 'b') { /* a backspace */
        re->p += 2;
        *c = '\b';
        return true;
    }
    return !read_class_escape(re, ranges) && !pn_re_failed(re) && read_char_escape(re, c);
}

pn_expr pn_re_class(struct pn_re *re)
{
    struct pn_re_ranges ranges = {0};
    size_t start = here(re);
    re->p++;
    bool negate = pn_re_peek(re) == '^';
    re->p += negate;
    while (!pn_re_failed(re) && re->p < re->end && *re->p != ']') {
        size_t at = here(re);
        struct pn_code_range range = {0};
        if (!read_member(re, &ranges, &range.first))
            continue;
        range.last = range.first;
        if (re->end - re->p >= 2 && re->p[0] == '-' && re->p[1] != ']') {
            size_t before = ranges.len;
            re->p++;
            if (!read_member(re, &ranges, &range.last) && ranges.len > before) {
                range.last = range.first; /* a class such as \d: the hyphen is a character */
                if (!pn_vec_push(&ranges, ((struct pn_code_range){'-', '-'})))
                    no_memory(re);
            }
        }
        if (!pn_re_failed(re) && range.last < range.first)
            pn_re_fail(re, at, "the range ends before it begins");
        if (!pn_vec_push(&ranges, range))
            no_memory(re);
    }
    if (!pn_re_failed(re) && re->p == re->end)
        pn_re_fail(re, start, "the class is not closed: expected ]");
    re->p++;
    return from_ranges(re, &ranges, negate);
}
