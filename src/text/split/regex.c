/* Regular expressions of tokenizers: see regex.h. */
#include "text/split/regex.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    MAX_PATTERN = 64 * 1024,
    MAX_CLASS_DEPTH = 16,
    MATCH_LIMIT = 4 * 1000 * 1000, /* internal steps of one search */
    JIT_STACK = 64 * 1024 * 1024,  /* reserved, not used, until a match needs it */
    CLOCK_EVERY = 64,              /* searches */
};

struct pn_regex {
    pcre2_code *code;
};

struct pn_regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *jit_stack;
    uint64_t deadline;
    unsigned searches;
};

/* ---- translation ---- */

/* White_Space and its complement, as the inside of a class. */
static const char space_ranges[] = "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
                                   "\\x{202f}\\x{205f}\\x{3000}";
static const char nonspace_ranges[] =
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";
/* Word characters of Unicode's UTS #18, which Oniguruma and Rust follow. */
#define WORD_RANGES "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
static const char word_ranges[] = WORD_RANGES;
/* Outside classes Oniguruma looks Latin-1 characters up in a table, in which superscripts and fractions are word
 * characters. */
static const char word_alone[] = WORD_RANGES "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";

struct translator {
    const char *p, *end;
    struct pn_buf out;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Copies \p{...}; names of scripts get their type, because PCRE2 takes a bare one as script extensions. */
static bool put_property(struct translator *t)
{
    static const char *const scripts[] = {"Han",        "Hiragana", "Katakana", "Hangul", "Latin",
                                          "Cyrillic",   "Greek",    "Arabic",   "Hebrew", "Thai",
                                          "Devanagari", "Bopomofo", "Bengali"};
    const char *close = memchr(t->p, '}', (size_t)(t->end - t->p));
    if (t->end - t->p < 4 || t->p[2] != '{' || !close)
        return false;
    const char *name = t->p + 3;
    bool negated = *name == '^';
    if (negated)
        name++;
    size_t n = (size_t)(close - name);
    const char *prefix = "";
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        if (strlen(scripts[i]) == n && !memcmp(scripts[i], name, n))
            prefix = "sc:";
    pn_buf_printf(&t->out, "\\%c{%s%s%.*s}", t->p[1], negated ? "^" : "", prefix, (int)n, name);
    t->p = close + 1;
    return true;
}

/* Copies an escape that means the same in and outside a class. */
static bool put_escape(struct translator *t)
{
    char c = t->p[1];
    if (c == 'p' || c == 'P')
        return put_property(t);
    if (c == 'u' || c == 'U') { /* \uXXXX, \u{X} */
        const char *hex = t->p + 2;
        size_t n = 0;
        if (hex < t->end && *hex == '{') {
            const char *close = memchr(hex, '}', (size_t)(t->end - hex));
            if (!close)
                return false;
            pn_buf_printf(&t->out, "\\x%.*s", (int)(close + 1 - hex), hex);
            t->p = close + 1;
            return true;
        }
        for (size_t want = c == 'u' ? 4 : 8; n < want; n++)
            if (hex + n >= t->end || !strchr("0123456789abcdefABCDEF", hex[n]))
                return false;
        pn_buf_printf(&t->out, "\\x{%.*s}", (int)n, hex);
        t->p = hex + n;
        return true;
    }
    pn_buf_append(&t->out, t->p, 2);
    t->p += 2;
    return true;
}

static bool put_class(struct translator *t, int depth);

/* One item of a class other than a nested class: a character, an escape or a POSIX class. */
static bool put_class_item(struct translator *t)
{
    if (*t->p == '[') { /* [:alpha:] */
        const char *close = t->p + 2;
        while (close + 1 < t->end && !(close[0] == ':' && close[1] == ']'))
            close++;
        if (close + 1 >= t->end)
            return false;
        pn_buf_append(&t->out, t->p, (size_t)(close + 2 - t->p));
        t->p = close + 2;
        return true;
    }
    if (*t->p != '\\' || t->p + 1 >= t->end) {
        pn_buf_putc(&t->out, *t->p++);
        return true;
    }
    const char *with = NULL;
    switch (t->p[1]) {
    case 's':
        with = space_ranges;
        break;
    case 'S':
        with = nonspace_ranges;
        break;
    case 'w':
        with = word_ranges;
        break;
    case 'd':
        with = "\\p{Nd}";
        break;
    case 'D':
        with = "\\P{Nd}";
        break;
    default:
        return put_escape(t);
    }
    pn_buf_puts(&t->out, with);
    t->p += 2;
    return true;
}

static bool at_nested_class(const struct translator *t)
{
    return *t->p == '[' && !(t->p + 1 < t->end && t->p[1] == ':');
}

static bool at_intersection(const struct translator *t)
{
    return t->p + 1 < t->end && t->p[0] == '&' && t->p[1] == '&';
}

/* One operand of &&: the union of plain items and nested classes, as an alternation of classes. */
static bool put_union(struct translator *t, int depth, bool first_literal)
{
    bool open = false, any = false;
    pn_buf_puts(&t->out, "(?:");
    while (t->p < t->end && (*t->p != ']' || (first_literal && !any)) && !at_intersection(t)) {
        if (at_nested_class(t)) {
            if (open)
                pn_buf_putc(&t->out, ']');
            if (any)
                pn_buf_putc(&t->out, '|');
            open = false;
            if (!put_class(t, depth + 1))
                return false;
        } else {
            if (!open) {
                if (any)
                    pn_buf_putc(&t->out, '|');
                pn_buf_putc(&t->out, '[');
            }
            open = true;
            if (!put_class_item(t))
                return false;
        }
        any = true;
    }
    if (open)
        pn_buf_putc(&t->out, ']');
    pn_buf_putc(&t->out, ')');
    return any && t->p < t->end;
}

/* A class without nesting or intersection stays one; others become look-aheads before one character. */
static bool is_plain_class(const char *p, const char *end)
{
    p++;
    if (p < end && *p == '^')
        p++;
    if (p < end && *p == ']')
        p++;
    for (; p < end && *p != ']'; p++) {
        if (*p == '\\')
            p++;
        else if (*p == '[' && p + 1 < end && p[1] == ':')
            while (p + 1 < end && !(p[0] == ':' && p[1] == ']'))
                p++;
        else if (*p == '[' || (*p == '&' && p + 1 < end && p[1] == '&'))
            return false;
    }
    return true;
}

static bool put_plain_class(struct translator *t)
{
    pn_buf_putc(&t->out, *t->p++);
    if (t->p < t->end && *t->p == '^')
        pn_buf_putc(&t->out, *t->p++);
    bool first = true;
    while (t->p < t->end && (*t->p != ']' || first)) {
        if (*t->p == ']')
            pn_buf_putc(&t->out, '\\');
        if (!put_class_item(t))
            return false;
        first = false;
    }
    if (t->p >= t->end)
        return false;
    pn_buf_putc(&t->out, *t->p++);
    return true;
}

static bool put_class(struct translator *t, int depth)
{
    if (depth > MAX_CLASS_DEPTH)
        return false;
    if (is_plain_class(t->p, t->end))
        return put_plain_class(t);
    t->p++;
    bool negated = t->p < t->end && *t->p == '^';
    if (negated)
        t->p++;
    /* [A&&B] is one character of A that is also in B; negated, any other character. */
    struct pn_buf rest = t->out;
    t->out = (struct pn_buf){0};
    bool ok = put_union(t, depth, true);
    struct pn_buf last = t->out;
    bool failed = last.failed;
    while (ok && at_intersection(t)) {
        t->p += 2;
        t->out = (struct pn_buf){0};
        ok = put_union(t, depth, false);
        struct pn_buf joined = {0};
        if (last.data && t->out.data)
            pn_buf_printf(&joined, "(?:(?=%s)%s)", t->out.data, last.data);
        failed |= t->out.failed || joined.failed;
        pn_buf_free(&last);
        pn_buf_free(&t->out);
        last = joined;
    }
    t->out = rest;
    t->out.failed |= failed;
    if (ok && last.data)
        pn_buf_printf(&t->out, negated ? "(?:(?!%s)(?s:.))" : "(?:%s)", last.data);
    pn_buf_free(&last);
    if (!ok || t->p >= t->end)
        return false;
    t->p++;
    return true;
}

static bool put_outside(struct translator *t)
{
    char c = t->p[1];
    if (c == 's' || c == 'S')
        pn_buf_printf(&t->out, "[%s%s]", c == 'S' ? "^" : "", space_ranges);
    else if (c == 'w' || c == 'W')
        pn_buf_printf(&t->out, "[%s%s]", c == 'W' ? "^" : "", word_alone);
    else if (c == 'b')
        pn_buf_printf(&t->out, "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))", word_alone, word_alone, word_alone,
                      word_alone);
    else if (c == 'B')
        pn_buf_printf(&t->out, "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))", word_alone, word_alone, word_alone,
                      word_alone);
    else
        return put_escape(t);
    t->p += 2;
    return true;
}

static bool translate(struct translator *t)
{
    while (t->p < t->end) {
        if (*t->p == '\\') {
            if (t->p + 1 >= t->end || !put_outside(t))
                return false;
        } else if (*t->p == '[') {
            if (!put_class(t, 0))
                return false;
        } else if (*t->p == '{' && t->p + 2 < t->end && t->p[1] == ',' && is_digit(t->p[2])) {
            pn_buf_puts(&t->out, "{0,"); /* Oniguruma's {,n} */
            t->p += 2;
        } else {
            pn_buf_putc(&t->out, *t->p++);
        }
    }
    return true;
}

/* ---- compiling and matching ---- */

pantry_status pn_regex_new(const char *pattern, size_t len, struct pn_regex **out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    struct translator t = {.p = pattern, .end = pattern + len, .out = {.limit = 32 * MAX_PATTERN}};
    struct pn_regex *re = NULL;
    int shown = len > 80 ? 80 : (int)len;
    if (len > MAX_PATTERN) {
        status =
            pn_fail(err, PANTRY_LIMIT, "a regular expression of %zu bytes; at most %d are allowed", len, MAX_PATTERN);
        goto fail;
    }
    if (!translate(&t) || t.out.over_limit) {
        status = pn_fail(err, PANTRY_FORMAT, "regular expression not understood: %.*s", shown, pattern);
        goto fail;
    }
    if (t.out.failed || !(re = calloc(1, sizeof *re))) {
        status = pn_no_memory(err, "a regular expression");
        goto fail;
    }
    int code;
    PCRE2_SIZE where;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit(context, 100);
    }
    re->code = pcre2_compile((PCRE2_SPTR)(t.out.data ? t.out.data : ""), t.out.len,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &where, context);
    pcre2_compile_context_free(context);
    if (!re->code && code == PCRE2_ERROR_HEAP_FAILED) {
        status = pn_no_memory(err, "a regular expression");
        goto fail;
    }
    if (!re->code) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        status = pn_fail(err, PANTRY_FORMAT, "regular expression %.*s: %s", shown, pattern, (const char *)text);
        goto fail;
    }
    pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE); /* if it is not allowed, the interpreter runs */
    *out = re;
    re = NULL;
fail:
    pn_regex_free(re);
    pn_buf_free(&t.out);
    return status;
}

void pn_regex_free(struct pn_regex *re)
{
    if (!re)
        return;
    pcre2_code_free(re->code);
    free(re);
}

pantry_status pn_regex_scratch_new(struct pn_regex_scratch **out, struct pantry_error *err)
{
    struct pn_regex_scratch *s = calloc(1, sizeof *s);
    if (s) {
        s->match = pcre2_match_data_create(1, NULL);
        s->context = pcre2_match_context_create(NULL);
        s->jit_stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK, NULL);
    }
    if (!s || !s->match || !s->context || !s->jit_stack) {
        pn_regex_scratch_free(s);
        return pn_no_memory(err, "matching regular expressions");
    }
    pcre2_set_match_limit(s->context, MATCH_LIMIT);
    pcre2_set_heap_limit(s->context, 64 * 1024); /* KiB */
    pcre2_jit_stack_assign(s->context, NULL, s->jit_stack);
    *out = s;
    return PANTRY_OK;
}

void pn_regex_scratch_free(struct pn_regex_scratch *scratch)
{
    if (!scratch)
        return;
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->jit_stack);
    free(scratch);
}

void pn_regex_scratch_start(struct pn_regex_scratch *scratch, size_t len)
{
    scratch->searches = 0;
    scratch->deadline = pn_clock_thread_ns() + 5000000000u + (uint64_t)len * 2000u;
}

pantry_status pn_regex_find(const struct pn_regex *re, struct pn_regex_scratch *scratch, const char *text, size_t len,
                            size_t start, size_t *match_start, size_t *match_end, struct pantry_error *err)
{
    if (++scratch->searches % CLOCK_EVERY == 0 && pn_clock_thread_ns() > scratch->deadline)
        return pn_fail(err, PANTRY_LIMIT, "the regular expression of the tokenizer takes too long on this text");
    int n = pcre2_match(re->code, (PCRE2_SPTR)text, len, start, PCRE2_NO_UTF_CHECK, scratch->match, scratch->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return PANTRY_NOT_FOUND;
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its state on the heap */
        n = pcre2_match(re->code, (PCRE2_SPTR)text, len, start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match,
                        scratch->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return PANTRY_NOT_FOUND;
    if (n < 0) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(n, why, sizeof why);
        return pn_fail(err, PANTRY_LIMIT, "the regular expression of the tokenizer gave up: %s", (const char *)why);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(scratch->match);
    *match_start = at[0];
    *match_end = at[1] < at[0] ? at[0] : at[1]; /* \K in a look-ahead can swap them */
    return PANTRY_OK;
}
