/* The lexer: text and tags to tokens, with trim_blocks and lstrip_blocks on, as jinja2 reads them. */
#include "text/template/ast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *pn_jj_token_text(enum jj_token_type type)
{
    static const char *const text[] = {
#define JJ_X(name, text) text,
        JJ_TOKEN_LIST(JJ_X)
#undef JJ_X
    };
    return text[type];
}

_Noreturn void pn_jj_syntax_error(struct jj_run *r, int line, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pn_jj_throw(r, PANTRY_FORMAT, "template:%d: %s", line, text);
}

void pn_jj_lexer_init(struct jj_lexer *lx, struct jj_run *r, const char *source, size_t len)
{
    char *copy = pn_jj_alloc(r, len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (source[i] == '\r') {
            copy[n++] = '\n';
            i += i + 1 < len && source[i + 1] == '\n';
        } else {
            copy[n++] = source[i];
        }
    }
    if (n && copy[n - 1] == '\n')
        n--;
    *lx = (struct jj_lexer){.r = r, .src = copy, .len = n, .line = 1, .line_starting = true};
}

static int count_lines(const char *p, size_t n)
{
    int lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += p[i] == '\n';
    return lines;
}

static size_t skip_space(const struct jj_lexer *lx, size_t at)
{
    while (at < lx->len) {
        size_t used;
        if (!pn_jj_is_space(pn_jj_decode(lx->src + at, lx->src + lx->len, &used)))
            break;
        at += used;
    }
    return at;
}

/* The end of src[from, to) without trailing white space. */
static size_t trim_end(const struct jj_lexer *lx, size_t from, size_t to)
{
    while (to > from) {
        size_t at = to - 1, used;
        while (at > from && ((unsigned char)lx->src[at] & 0xC0) == 0x80)
            at--;
        if (!pn_jj_is_space(pn_jj_decode(lx->src + at, lx->src + to, &used)))
            break;
        to = at;
    }
    return to;
}

static bool starts(const struct jj_lexer *lx, size_t at, const char *text)
{
    size_t n = strlen(text);
    return at <= lx->len && lx->len - at >= n && memcmp(lx->src + at, text, n) == 0;
}

/* The end of the text before a tag: "-" strips all white space, lstrip_blocks the white space before the tag on its
 * line. */
static size_t strip_before(const struct jj_lexer *lx, size_t from, size_t to, char sign, bool lstrip)
{
    if (sign == '-')
        return trim_end(lx, from, to);
    if (sign == '+' || !lstrip)
        return to;
    size_t line = to;
    while (line > from && lx->src[line - 1] != '\n')
        line--;
    if ((line > from || lx->line_starting) && line < to && skip_space(lx, line) >= to)
        return line;
    return to;
}

static struct jj_token make_token(enum jj_token_type type, int line)
{
    return (struct jj_token){.type = type, .line = line};
}

static jv shared_str(struct jj_lexer *lx, const char *p, size_t n)
{
    jv v = pn_jj_str(lx->r, p, n);
    pn_jj_chars(v.u.s); /* counted now, because threads share it later */
    return v;
}

/* `{%- raw -%}` at `at`: sets the end of the tag; false: another tag. */
static bool match_word_tag(const struct jj_lexer *lx, size_t at, const char *word, bool is_end, size_t *end)
{
    if (!starts(lx, at, "{%"))
        return false;
    at += 2;
    if (starts(lx, at, "-") || starts(lx, at, "+"))
        at++;
    at = skip_space(lx, at);
    if (!starts(lx, at, word))
        return false;
    at = skip_space(lx, at + strlen(word));
    if (starts(lx, at, "-%}")) {
        *end = skip_space(lx, at + 3);
        return true;
    }
    if (is_end && starts(lx, at, "+%}")) {
        *end = at + 3;
        return true;
    }
    if (!starts(lx, at, "%}"))
        return false;
    *end = at + 2;
    if (is_end && starts(lx, *end, "\n"))
        ++*end;
    return true;
}

static char sign_at(const struct jj_lexer *lx, size_t at)
{
    return starts(lx, at, "-") || starts(lx, at, "+") ? lx->src[at] : 0;
}

/* Ends the text src[from, to) and moves to `next`; false: the text is empty. */
static bool take_text(struct jj_lexer *lx, size_t from, size_t to, size_t text_end, size_t next, struct jj_token *out)
{
    *out = make_token(JJ_T_DATA, lx->line);
    lx->line += count_lines(lx->src + from, to - from);
    lx->pos = next;
    if (text_end > from)
        out->value = shared_str(lx, lx->src + from, text_end - from);
    return text_end > from;
}

/* After `{#`: skips past the end of the comment. */
static void skip_comment(struct jj_lexer *lx)
{
    for (size_t at = lx->pos; at + 2 <= lx->len; at++) {
        const char *close = pn_jj_search(lx->src + at, lx->len - at, "#}", 2);
        if (!close)
            break;
        size_t end = (size_t)(close - lx->src), begin = lx->pos;
        bool minus = end > begin && close[-1] == '-', plus = end > begin && close[-1] == '+';
        end += 2;
        if (minus)
            end = skip_space(lx, end);
        else if (!plus && starts(lx, end, "\n"))
            end++;
        lx->line += count_lines(lx->src + begin, end - begin);
        lx->pos = end;
        lx->line_starting = lx->src[end - 1] == '\n';
        return;
    }
    if (lx->pos < lx->len)
        pn_jj_syntax_error(lx->r, lx->line, "Missing end of comment tag");
}

/* The body of {% raw %}, whose begin tag ends at lx->pos; false if it is empty. */
static bool read_raw(struct jj_lexer *lx, struct jj_token *out)
{
    size_t from = lx->pos, end = 0, at = from;
    for (;; at++) {
        const char *open = at + 2 <= lx->len ? pn_jj_search(lx->src + at, lx->len - at, "{%", 2) : NULL;
        if (!open) {
            if (from < lx->len)
                pn_jj_syntax_error(lx->r, lx->line, "Missing end of raw directive");
            return false;
        }
        at = (size_t)(open - lx->src);
        pn_jj_step(lx->r, 1);
        if (match_word_tag(lx, at, "endraw", true, &end))
            break;
    }
    size_t text_end = strip_before(lx, from, at, sign_at(lx, at + 2), true);
    bool some = take_text(lx, from, end, text_end, end, out);
    lx->line_starting = lx->src[end - 1] == '\n';
    return some;
}

/* Text up to the next tag, and the tag's begin; false: no token (comments, empty text). */
static bool read_data(struct jj_lexer *lx, struct jj_token *out)
{
    size_t from = lx->pos, at = from, end;
    while (at + 1 < lx->len && !(lx->src[at] == '{' && strchr("{%#", lx->src[at + 1]) && lx->src[at + 1])) {
        const char *brace = memchr(lx->src + at + 1, '{', lx->len - at - 1);
        at = brace ? (size_t)(brace - lx->src) : lx->len;
    }
    if (at + 1 >= lx->len) {
        if (from == lx->len) {
            *out = make_token(JJ_T_EOF, lx->line);
            return true;
        }
        bool some = take_text(lx, from, lx->len, lx->len, lx->len, out);
        lx->line_starting = false;
        return some;
    }
    char kind = lx->src[at + 1];
    char sign = sign_at(lx, at + 2);
    size_t text_end = strip_before(lx, from, at, sign, kind != '{');
    bool raw = match_word_tag(lx, at, "raw", false, &end);
    bool some = take_text(lx, from, at, text_end, raw ? end : at + 2 + (sign != 0), out);
    lx->line_starting = false;
    if (raw) {
        lx->line += count_lines(lx->src + at, end - at);
        lx->line_starting = lx->src[end - 1] == '\n';
        struct jj_token body;
        if (!read_raw(lx, &body))
            return some;
        if (some)
            lx->pending = body;
        else
            *out = body;
        lx->has_pending = some;
        return true;
    }
    if (kind == '#') {
        skip_comment(lx);
        return some;
    }
    lx->state = kind == '%' ? JJ_IN_BLOCK : JJ_IN_VARIABLE;
    struct jj_token begin = make_token(kind == '%' ? JJ_T_BLOCK_BEGIN : JJ_T_VARIABLE_BEGIN, lx->line);
    if (some)
        lx->pending = begin;
    else
        *out = begin;
    lx->has_pending = some;
    return true;
}

/* ---- literals ---- */

static bool is_digit(const struct jj_lexer *lx, size_t at)
{
    return at < lx->len && lx->src[at] >= '0' && lx->src[at] <= '9';
}

/* digits, single underscores between them; returns where they end */
static size_t scan_digits(const struct jj_lexer *lx, size_t at)
{
    while (is_digit(lx, at))
        at += lx->src[at + 1 < lx->len ? at + 1 : at] == '_' && is_digit(lx, at + 2) ? 2 : 1;
    return at;
}

static size_t scan_float(const struct jj_lexer *lx, size_t at)
{
    size_t start = at, mark;
    if (at > 0 && lx->src[at - 1] == '.')
        return start;
    at = scan_digits(lx, at);
    if (at == start)
        return start;
    bool fraction = starts(lx, at, ".") && is_digit(lx, at + 1);
    if (fraction)
        at = scan_digits(lx, at + 1);
    mark = at;
    if (starts(lx, at, "e") || starts(lx, at, "E")) {
        at++;
        if (starts(lx, at, "+") || starts(lx, at, "-"))
            at++;
        if (is_digit(lx, at))
            return scan_digits(lx, at);
    }
    return fraction ? mark : start;
}

static int digit_in_base(char c, int base)
{
    int d = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return d < base ? d : -1;
}

static size_t scan_integer(const struct jj_lexer *lx, size_t at, int *base)
{
    *base = 10;
    if (!is_digit(lx, at))
        return at;
    if (lx->src[at] != '0')
        return scan_digits(lx, at);
    char x = (char)(at + 1 < lx->len ? lx->src[at + 1] | 0x20 : 0);
    int b = x == 'b' ? 2 : x == 'o' ? 8 : x == 'x' ? 16 : 0;
    if (b) {
        size_t p = at + 2;
        for (;;) {
            size_t q = p + (p < lx->len && lx->src[p] == '_');
            if (q >= lx->len || digit_in_base(lx->src[q], b) < 0)
                break;
            p = q + 1;
        }
        if (p > at + 2) {
            *base = b;
            return p;
        }
    }
    at++;
    while (starts(lx, at, "0") || starts(lx, at, "_0"))
        at += lx->src[at] == '_' ? 2 : 1;
    return at;
}

static char *without_underscores(struct jj_lexer *lx, size_t from, size_t to, size_t *n)
{
    char *digits = pn_jj_alloc(lx->r, to - from + 1);
    *n = 0;
    for (size_t i = from; i < to; i++)
        if (lx->src[i] != '_')
            digits[(*n)++] = lx->src[i];
    return digits;
}

/* The digits of \xHH, \uHHHH, \UHHHHHHHH at p; false: some are missing. */
static bool read_hex(const char *p, const char *end, size_t count, uint32_t *code)
{
    *code = 0;
    if ((size_t)(end - p) < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        int d = digit_in_base(p[i], 16);
        if (d < 0)
            return false;
        *code = *code << 4 | (uint32_t)d;
    }
    return true;
}

/* Reads one escape; p is after the backslash. Returns its end. */
static const char *unescape(struct jj_lexer *lx, struct jj_buf *b, const char *p, const char *end)
{
    static const char letters[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    char c = *p++;
    uint32_t code = 0;
    if (c == '\n')
        return p;
    for (const char *l = letters; *l; l += 2)
        if (c == *l) {
            pn_jj_putc(b, l[1]);
            return p;
        }
    if (c >= '0' && c <= '7') {
        code = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && p < end && *p >= '0' && *p <= '7'; i++)
            code = code * 8 + (uint32_t)(*p++ - '0');
        pn_jj_put_char(b, code);
        return p;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        if (!read_hex(p, end, count, &code))
            pn_jj_syntax_error(lx->r, lx->line, "truncated \\%c%.*s escape", c, (int)count, "XXXXXXXX");
        if (code > 0x10FFFF)
            pn_jj_syntax_error(lx->r, lx->line, "illegal Unicode character");
        pn_jj_put_char(b, code);
        return p + count;
    }
    if (c == 'N')
        pn_jj_syntax_error(lx->r, lx->line, "\\N{...} escapes are not supported");
    pn_jj_putc(b, '\\');
    if ((unsigned char)c < 0x80) {
        pn_jj_putc(b, c);
        return p;
    }
    /* jinja2 first turns the character into an escape, whose backslash then joins this one */
    size_t used;
    struct jj_buf escaped = {.r = lx->r};
    pn_jj_decode(p - 1, end, &used);
    pn_jj_put_ascii_escaped(&escaped, p - 1, used);
    pn_jj_put(b, escaped.p + 1, escaped.n - 1);
    return p - 1 + used;
}

/* The string literal at lx->pos; false if it is not closed. */
static bool read_string(struct jj_lexer *lx, struct jj_token *out)
{
    char quote = lx->src[lx->pos];
    size_t at = lx->pos + 1;
    bool escapes = false;
    for (; at < lx->len && lx->src[at] != quote; at++)
        if (lx->src[at] == '\\') {
            escapes = true;
            at++;
        }
    if (at >= lx->len)
        return false;
    const char *p = lx->src + lx->pos + 1, *end = lx->src + at;
    *out = make_token(JJ_T_STRING, lx->line);
    if (escapes) {
        struct jj_buf b = {.r = lx->r};
        while (p < end) {
            const char *slash = memchr(p, '\\', (size_t)(end - p));
            pn_jj_put(&b, p, (size_t)((slash ? slash : end) - p));
            p = slash ? unescape(lx, &b, slash + 1, end) : end;
        }
        out->value = shared_str(lx, b.n ? b.p : "", b.n);
    } else {
        out->value = shared_str(lx, p, (size_t)(end - p));
    }
    lx->line += count_lines(lx->src + lx->pos, at + 1 - lx->pos);
    lx->pos = at + 1;
    return true;
}

/* ---- inside a tag ---- */

static bool read_number(struct jj_lexer *lx, struct jj_token *out)
{
    int base;
    size_t n, end = scan_float(lx, lx->pos);
    if (end > lx->pos) {
        *out = make_token(JJ_T_FLOAT, lx->line);
        double d;
        char *digits = without_underscores(lx, lx->pos, end, &n);
        pn_jj_parse_float(digits, n, &d);
        out->value = jj_float(d);
    } else if ((end = scan_integer(lx, lx->pos, &base)) > lx->pos) {
        *out = make_token(JJ_T_INTEGER, lx->line);
        bool ok;
        char *digits = without_underscores(lx, lx->pos, end, &n);
        out->value = pn_jj_parse_int(lx->r, digits + (base == 10 ? 0 : 2), n - (base == 10 ? 0 : 2), base, &ok);
        if (!ok)
            pn_jj_syntax_error(lx->r, lx->line, "Exceeds the limit (4300 digits) for integer string conversion");
    } else {
        return false;
    }
    lx->pos = end;
    return true;
}

static bool read_name(struct jj_lexer *lx, struct jj_token *out)
{
    size_t at = lx->pos, used;
    bool valid = true;
    while (at < lx->len) {
        uint32_t c = pn_jj_decode(lx->src + at, lx->src + lx->len, &used);
        if (!pn_jj_is_word(c) && !pn_jj_is_id_continue(c))
            break;
        valid = valid && (at == lx->pos ? pn_jj_is_id_start(c) : pn_jj_is_id_continue(c));
        at += used;
    }
    if (at == lx->pos)
        return false;
    if (!valid)
        pn_jj_syntax_error(lx->r, lx->line, "Invalid character in identifier");
    *out = make_token(JJ_T_NAME, lx->line);
    out->value = shared_str(lx, lx->src + lx->pos, at - lx->pos);
    lx->pos = at;
    return true;
}

static void balance(struct jj_lexer *lx, char c)
{
    char close = c == '{' ? '}' : c == '(' ? ')' : c == '[' ? ']' : 0;
    if (close) {
        if (lx->n_open == lx->cap_open) {
            char *grown = pn_jj_alloc(lx->r, lx->cap_open * 2 + 16);
            memcpy(grown, lx->open ? lx->open : "", lx->n_open);
            lx->open = grown;
            lx->cap_open = lx->cap_open * 2 + 16;
        }
        lx->open[lx->n_open++] = close;
    } else if (c == '}' || c == ')' || c == ']') {
        if (lx->n_open == 0)
            pn_jj_syntax_error(lx->r, lx->line, "unexpected '%c'", c);
        char expected = lx->open[--lx->n_open];
        if (expected != c)
            pn_jj_syntax_error(lx->r, lx->line, "unexpected '%c', expected '%c'", c, expected);
    }
}

static bool read_operator(struct jj_lexer *lx, struct jj_token *out)
{
    for (size_t n = 2; n >= 1; n--)
        for (int t = 0; t <= JJ_T_SEMICOLON; t++) {
            const char *text = pn_jj_token_text((enum jj_token_type)t);
            if (strlen(text) == n && starts(lx, lx->pos, text)) {
                balance(lx, *text);
                *out = make_token((enum jj_token_type)t, lx->line);
                lx->pos += n;
                return true;
            }
        }
    return false;
}

/* The end of the tag, unless brackets are open. */
static bool read_tag_end(struct jj_lexer *lx, struct jj_token *out)
{
    bool block = lx->state == JJ_IN_BLOCK;
    size_t at = lx->pos;
    if (lx->n_open)
        return false;
    bool minus = starts(lx, at, "-"), plus = block && starts(lx, at, "+");
    at += minus || plus;
    if (!starts(lx, at, block ? "%}" : "}}"))
        return false;
    at += 2;
    if (minus)
        at = skip_space(lx, at);
    else if (block && !plus && starts(lx, at, "\n"))
        at++;
    *out = make_token(block ? JJ_T_BLOCK_END : JJ_T_VARIABLE_END, lx->line);
    lx->line += count_lines(lx->src + lx->pos, at - lx->pos);
    lx->line_starting = lx->src[at - 1] == '\n';
    lx->pos = at;
    lx->state = JJ_IN_DATA;
    return true;
}

static _Noreturn void unexpected_char(struct jj_lexer *lx)
{
    size_t used;
    pn_jj_decode(lx->src + lx->pos, lx->src + lx->len, &used);
    struct jj_str before = {.p = lx->src, .n = lx->pos, .chars = -1};
    pn_jj_syntax_error(lx->r, lx->line, "unexpected char %s at %lld",
                       pn_jj_repr(lx->r, pn_jj_str(lx->r, lx->src + lx->pos, used)), (long long)pn_jj_chars(&before));
}

struct jj_token pn_jj_lexer_next(struct jj_lexer *lx)
{
    struct jj_token token;
    if (lx->has_pending) {
        lx->has_pending = false;
        return lx->pending;
    }
    for (;;) {
        pn_jj_step(lx->r, 1);
        if (lx->state == JJ_IN_DATA) {
            if (read_data(lx, &token))
                return token;
            continue;
        }
        if (read_tag_end(lx, &token))
            return token;
        if (lx->pos >= lx->len)
            return make_token(JJ_T_EOF, lx->line);
        size_t after = skip_space(lx, lx->pos);
        if (after > lx->pos) {
            lx->line += count_lines(lx->src + lx->pos, after - lx->pos);
            lx->pos = after;
            continue;
        }
        char c = lx->src[lx->pos];
        if (read_number(lx, &token) || read_name(lx, &token))
            return token;
        if ((c == '\'' || c == '"') && read_string(lx, &token))
            return token;
        if (read_operator(lx, &token))
            return token;
        unexpected_char(lx);
    }
}
