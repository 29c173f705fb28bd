/* Reads GBNF by recursive descent: see gbnf.h. */
#include "grammar/gbnf.h"

#include "text/unicode/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 250, MAX_TEXT = 64 << 20, SHOWN_NAME = 100 };

struct expr_list {
    pn_expr *data;
    size_t len, cap;
};

struct reader {
    struct pn_expr_builder *b;
    const char *text, *p, *end;
    int depth;
};

/* The error at a place: its line and column count from 1, columns in characters. */
static pn_expr fail_at(struct reader *r, const char *at, const char *what)
{
    int line = 1, column = 1;
    for (const char *p = r->text; p < at; p++) {
        if (*p == '\n') {
            line++;
            column = 0;
        }
        column += (*p & 0xC0) != 0x80;
    }
    return pn_expr_fail(r->b, PANTRY_FORMAT, "line %d, column %d: %s", line, column, what);
}

static pn_expr fail(struct reader *r, const char *what)
{
    return fail_at(r, r->p, what);
}

static bool failed(const struct reader *r)
{
    return pn_expr_status(r->b, NULL) != PANTRY_OK;
}

static char peek(const struct reader *r)
{
    return r->p < r->end ? *r->p : '\0';
}

/* Blanks and comments, with `lines` also ends of lines. */
static void skip(struct reader *r, bool lines)
{
    while (r->p < r->end) {
        char c = *r->p;
        if (c == '#')
            while (r->p < r->end && *r->p != '\n' && *r->p != '\r')
                r->p++;
        else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r')))
            r->p++;
        else
            return;
    }
}

static bool in_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static struct pn_str read_name(struct reader *r)
{
    const char *start = r->p;
    while (r->p < r->end && in_name(*r->p))
        r->p++;
    return (struct pn_str){start, (size_t)(r->p - start)};
}

/* ---- characters ---- */

static bool read_hex(struct reader *r, int digits, uint32_t *c)
{
    const char *start = r->p;
    *c = 0;
    for (int i = 0; i < digits; i++) {
        char d = peek(r);
        int value = d >= '0' && d <= '9'   ? d - '0'
                    : d >= 'a' && d <= 'f' ? d - 'a' + 10
                    : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                           : -1;
        if (value < 0 || r->p == r->end) {
            fail_at(r, start,
                    digits == 2   ? "expected 2 hexadecimal digits after \\x"
                    : digits == 4 ? "expected 4 hexadecimal digits after \\u"
                                  : "expected 8 hexadecimal digits after \\U");
            return false;
        }
        *c = *c << 4 | (uint32_t)value;
        r->p++;
    }
    if (*c > PN_MAX_CODE_POINT || (*c >= 0xD800 && *c < 0xE000)) {
        fail_at(r, start, "the escape is not a character");
        return false;
    }
    return true;
}

/* One character of a literal or class, escaped or not. */
static bool read_char(struct reader *r, uint32_t *c)
{
    static const char from[] = "trn\\\"[]-^", to[] = "\t\r\n\\\"[]-^";
    if (*r->p != '\\') {
        unsigned n;
        *c = pn_utf8_get((const unsigned char *)r->p, &n);
        r->p += n;
        return true;
    }
    char kind = r->p + 1 < r->end ? r->p[1] : '\0';
    const char *simple = kind ? strchr(from, kind) : NULL;
    if (simple) {
        r->p += 2;
        *c = (unsigned char)to[simple - from];
        return true;
    }
    if (kind != 'x' && kind != 'u' && kind != 'U') {
        fail(r, "unknown escape (allowed \\x \\u \\U \\t \\r \\n \\\\ \\\" \\[ \\] \\- \\^)");
        return false;
    }
    r->p += 2;
    return read_hex(r, kind == 'x' ? 2 : kind == 'u' ? 4 : 8, c);
}

static pn_expr read_literal(struct reader *r)
{
    const char *start = r->p++;
    struct pn_buf bytes = {0};
    uint32_t c;
    while (r->p < r->end && *r->p != '"') {
        if (!read_char(r, &c))
            break;
        pn_buf_put_utf8(&bytes, c);
    }
    if (r->p == r->end)
        fail_at(r, start, "the literal is not closed: expected \"");
    r->p++;
    if (bytes.failed)
        pn_expr_fail(r->b, PANTRY_NO_MEMORY, "out of memory for a grammar");
    pn_expr e = pn_expr_literal(r->b, bytes.data ? bytes.data : "", bytes.len);
    pn_buf_free(&bytes);
    return e;
}

static pn_expr read_class(struct reader *r)
{
    struct {
        struct pn_code_range *data;
        size_t len, cap;
    } ranges = {0};
    const char *start = r->p++;
    bool negate = peek(r) == '^';
    r->p += negate;
    while (r->p < r->end && *r->p != ']' && !failed(r)) {
        const char *at = r->p;
        struct pn_code_range range;
        if (!read_char(r, &range.first))
            break;
        range.last = range.first;
        if (peek(r) == '-' && r->p + 1 < r->end && r->p[1] != ']') {
            r->p++;
            if (!read_char(r, &range.last))
                break;
        }
        if (range.last < range.first)
            fail_at(r, at, "the range ends before it begins");
        if (!pn_vec_push(&ranges, range))
            pn_expr_fail(r->b, PANTRY_NO_MEMORY, "out of memory for a grammar");
    }
    if (r->p == r->end)
        fail_at(r, start, "the class is not closed: expected ]");
    r->p++;
    if (ranges.len == 0 && !negate)
        fail_at(r, start, "the class is empty");
    pn_expr e = pn_expr_class(r->b, ranges.data, ranges.len, negate);
    free(ranges.data);
    return e;
}

/* <[123]>, <text>, or one of them after `!`. */
static pn_expr read_token(struct reader *r)
{
    const char *start = r->p;
    bool negate = *r->p == '!';
    r->p += negate;
    if (peek(r) != '<')
        return fail(r, "expected a token such as <[123]> or <think> after !");
    const char *open = r->p++;
    if (peek(r) == '[') {
        int64_t id = 0;
        const char *digits = ++r->p;
        for (; peek(r) >= '0' && peek(r) <= '9' && id <= INT32_MAX; r->p++)
            id = 10 * id + (*r->p - '0');
        if (r->p == digits || id > INT32_MAX)
            return fail_at(r, digits, "expected the number of a token");
        if (r->end - r->p < 2 || r->p[0] != ']' || r->p[1] != '>')
            return fail(r, "expected ]> after the number of a token");
        r->p += 2;
        return pn_expr_token(r->b, &(int32_t){(int32_t)id}, 1, negate);
    }
    while (r->p < r->end && *r->p != '>' && *r->p != '\n')
        r->p++;
    if (peek(r) != '>')
        return fail_at(r, start, "the token is not closed: expected >");
    r->p++;
    return pn_expr_token_named(r->b, open, (size_t)(r->p - open), negate);
}

/* ---- repetitions ---- */

static bool read_number(struct reader *r, int *n)
{
    const char *start = r->p;
    int64_t value = 0;
    for (; peek(r) >= '0' && peek(r) <= '9'; r->p++)
        value = value > PN_EXPR_MAX_REPEAT ? value : 10 * value + (*r->p - '0');
    if (r->p == start)
        return false;
    if (value > PN_EXPR_MAX_REPEAT)
        fail_at(r, start, "the number of repetitions is too large (allowed 1000000)");
    *n = (int)value;
    return true;
}

/* {m}, {m,}, {m,n} or {,n} */
static pn_expr read_counts(struct reader *r, pn_expr item)
{
    const char *start = r->p++;
    int min = 0, max = PN_EXPR_NO_MAX;
    skip(r, true);
    bool has_min = read_number(r, &min), has_max = false;
    skip(r, true);
    if (peek(r) == ',') {
        r->p++;
        skip(r, true);
        has_max = read_number(r, &max);
        skip(r, true);
    } else {
        max = min;
    }
    if (failed(r))
        return PN_EXPR_NONE;
    if (!has_min && !has_max)
        return fail(r, "expected the number of repetitions");
    if (peek(r) != '}')
        return fail(r, "expected } after the number of repetitions");
    r->p++;
    if (max != PN_EXPR_NO_MAX && max < min)
        return fail_at(r, start, "the repetition has its minimum above its maximum");
    return pn_expr_repeat(r->b, item, min, max);
}

static pn_expr read_repetitions(struct reader *r, pn_expr item, bool nested)
{
    for (int n = 0; !failed(r); n++) {
        const char *before = r->p;
        skip(r, nested);
        char c = peek(r);
        if (c != '*' && c != '+' && c != '?' && c != '{') {
            r->p = before;
            return item;
        }
        if (n > MAX_NESTING)
            return fail(r, "too many repetitions of one item (allowed 250)");
        if (c == '{') {
            item = read_counts(r, item);
            continue;
        }
        r->p++;
        item = pn_expr_repeat(r->b, item, c == '+', c == '?' ? 1 : PN_EXPR_NO_MAX);
    }
    return PN_EXPR_NONE;
}

/* ---- alternatives ---- */

static pn_expr read_alternatives(struct reader *r, bool nested);

static pn_expr read_group(struct reader *r)
{
    const char *start = r->p++;
    if (++r->depth > MAX_NESTING)
        return fail_at(r, start, "parentheses are nested too deeply (allowed 250)");
    skip(r, true);
    pn_expr e = read_alternatives(r, true);
    r->depth--;
    if (failed(r))
        return PN_EXPR_NONE;
    if (peek(r) != ')')
        return r->p == r->end ? fail_at(r, start, "the parenthesis is not closed: expected )") : fail(r, "expected )");
    r->p++;
    return e;
}

/* An item without its repetitions; false: none begins here. */
static bool read_item(struct reader *r, pn_expr *item)
{
    char c = peek(r);
    if (c == '"') {
        *item = read_literal(r);
    } else if (c == '[') {
        *item = read_class(r);
    } else if (c == '(') {
        *item = read_group(r);
    } else if (c == '.') {
        r->p++;
        *item = pn_expr_class(r->b, NULL, 0, true);
    } else if (c == '<' || c == '!') {
        *item = read_token(r);
    } else if (in_name(c) && r->p < r->end) {
        struct pn_str name = read_name(r);
        *item = pn_expr_ref(r->b, pn_expr_rule(r->b, name.data, name.len));
    } else {
        return false;
    }
    return true;
}

static bool push(struct reader *r, struct expr_list *list, pn_expr e)
{
    if (failed(r))
        return false;
    if (!pn_vec_push(list, e))
        pn_expr_fail(r->b, PANTRY_NO_MEMORY, "out of memory for a grammar");
    return !failed(r);
}

static pn_expr read_sequence(struct reader *r, bool nested)
{
    struct expr_list items = {0};
    pn_expr item;
    while (read_item(r, &item)) {
        item = failed(r) ? PN_EXPR_NONE : read_repetitions(r, item, nested);
        if (!push(r, &items, item))
            break;
        skip(r, nested);
    }
    char c = peek(r);
    if (!failed(r) && items.len == 0 && (c == '*' || c == '+' || c == '?' || c == '{'))
        fail(r, "a repetition needs an item before it");
    pn_expr e = failed(r) ? PN_EXPR_NONE : pn_expr_seq(r->b, items.data, items.len);
    free(items.data);
    return e;
}

/* At the end of a line, whether the rule goes on with an alternative on the next. */
static bool goes_on(struct reader *r)
{
    const char *before = r->p;
    skip(r, true);
    if (peek(r) == '|')
        return true;
    r->p = before;
    return false;
}

static pn_expr read_alternatives(struct reader *r, bool nested)
{
    struct expr_list items = {0};
    do {
        if (items.len) {
            r->p++;
            skip(r, true);
        }
        if (!push(r, &items, read_sequence(r, nested)))
            break;
    } while (peek(r) == '|' || goes_on(r));
    pn_expr e = failed(r) ? PN_EXPR_NONE : pn_expr_choice(r->b, items.data, items.len);
    free(items.data);
    return e;
}

/* ---- rules ---- */

static void read_rule(struct reader *r)
{
    const char *start = r->p;
    struct pn_str name = read_name(r);
    if (name.len == 0) {
        fail(r, "expected the name of a rule");
        return;
    }
    skip(r, false);
    if (r->end - r->p < 3 || memcmp(r->p, "::=", 3) != 0) {
        fail(r, "expected ::= after the name of a rule");
        return;
    }
    r->p += 3;
    skip(r, true);
    int rule = pn_expr_rule(r->b, name.data, name.len);
    pn_expr body = read_alternatives(r, false);
    if (failed(r))
        return;
    if (r->p < r->end && *r->p != '\n' && *r->p != '\r')
        fail(r, "expected an item, | or the end of the line");
    else if (!pn_expr_define(r->b, rule, body))
        fail_at(r, start, "the rule is defined already");
}

/* The place where an undefined rule is used first. */
static void fail_undefined(struct reader *r, struct pn_str name)
{
    char what[SHOWN_NAME + 64];
    struct pn_buf text = {.limit = SHOWN_NAME};
    const char *at = r->text;
    for (const char *p = r->text; p + name.len <= r->end; p++)
        if ((p == r->text || !in_name(p[-1])) && memcmp(p, name.data, name.len) == 0 &&
            (p + name.len == r->end || !in_name(p[name.len]))) {
            at = p;
            break;
        }
    pn_buf_append(&text, name.data, name.len < SHOWN_NAME ? name.len : SHOWN_NAME);
    snprintf(what, sizeof what, "the rule \"%s\" is not defined", text.data ? text.data : "");
    pn_buf_free(&text);
    fail_at(r, at, what);
}

static void check_rules(struct reader *r, int first)
{
    int root = pn_expr_rule(r->b, "root", 4);
    if (failed(r))
        return;
    if (pn_expr_body(r->b, root) == PN_EXPR_NONE) {
        pn_expr_fail(r->b, PANTRY_FORMAT, "the grammar has no rule \"root\", where texts begin");
        return;
    }
    for (int i = first; i < pn_expr_n_rules(r->b); i++)
        if (pn_expr_body(r->b, i) == PN_EXPR_NONE) {
            fail_undefined(r, pn_expr_rule_name(r->b, i));
            return;
        }
}

pantry_status pn_gbnf_parse(struct pn_expr_builder *b, const char *text, size_t n, pn_expr *root,
                            struct pantry_error *err)
{
    struct reader r = {.b = b, .text = text, .p = text, .end = text + n};
    int first = pn_expr_n_rules(b);
    size_t valid = pn_utf8_valid_prefix(text, n);
    *root = PN_EXPR_NONE;
    if (n > MAX_TEXT)
        pn_expr_fail(b, PANTRY_LIMIT, "the grammar is too long (found %s bytes, allowed %s)", pn_digits(n).text,
                     pn_digits(MAX_TEXT).text);
    else if (valid < n)
        fail_at(&r, text + valid, "the grammar is not UTF-8");
    skip(&r, true);
    while (!failed(&r) && r.p < r.end) {
        read_rule(&r);
        skip(&r, true);
    }
    if (!failed(&r))
        check_rules(&r, first);
    if (!failed(&r))
        *root = pn_expr_ref(b, pn_expr_rule(b, "root", 4));
    return pn_expr_status(b, err);
}
