/* Keys, strings, numbers and times of TOML: see toml_scalar.h. */
#include "base/toml_scalar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NUMBER = 512 };

pantry_status pn_toml_fail(const struct pn_toml_reader *r, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pn_fail(r->err, PANTRY_FORMAT, "%s:%d: %s", r->name, r->line, text);
}

void pn_toml_skip_blanks(struct pn_toml_reader *r)
{
    while (*r->at == ' ' || *r->at == '\t')
        r->at++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_bare(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || is_digit(c) || c == '_' || c == '-';
}

/* ---- strings ---- */

static int hex_value(char c)
{
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static pantry_status read_code_point(struct pn_toml_reader *r, int n_digits, struct pn_buf *out)
{
    uint32_t value = 0;
    for (int i = 0; i < n_digits; i++) {
        int digit = hex_value(*r->at);
        if (digit < 0)
            return pn_toml_fail(r, "an escape needs %d hexadecimal digits", n_digits);
        value = value << 4 | (uint32_t)digit;
        r->at++;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return pn_toml_fail(r, "an escape names no character (found U+%X)", value);
    pn_buf_put_utf8(out, value);
    return PANTRY_OK;
}

/* At the character after a backslash. */
static pantry_status read_escape(struct pn_toml_reader *r, struct pn_buf *out)
{
    static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
    char c = *r->at;
    const char *known = c ? strchr(names, c) : NULL;
    if (!known && c != 'u' && c != 'U')
        return pn_toml_fail(r,
                            "unknown escape in a string (allowed \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX \\UXXXXXXXX)");
    r->at++;
    if (!known)
        return read_code_point(r, c == 'u' ? 4 : 8, out);
    pn_buf_putc(out, values[known - names]);
    return PANTRY_OK;
}

/* A backslash at the end of a line removes the white space that follows. At the character after it. */
static bool skip_line_end(struct pn_toml_reader *r)
{
    const char *p = r->at;
    while (*p == ' ' || *p == '\t')
        p++;
    if (*p != '\n' && !(*p == '\r' && p[1] == '\n'))
        return false;
    for (; *p == ' ' || *p == '\t' || *p == '\n' || (*p == '\r' && p[1] == '\n'); p++)
        r->line += *p == '\n';
    r->at = p;
    return true;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7F;
}

/* The quotes at `at` that end a string of several lines, of up to two more that belong to it. */
static bool ends_block(struct pn_toml_reader *r, char quote, struct pn_buf *out)
{
    int n = 0;
    while (n < 5 && r->at[n] == quote)
        n++;
    if (n < 3)
        return false;
    for (int i = 3; i < n; i++)
        pn_buf_putc(out, quote);
    r->at += n;
    return true;
}

static pantry_status read_block(struct pn_toml_reader *r, char quote, struct pn_buf *out)
{
    int began = r->line;
    r->at += 3;
    if (*r->at == '\n' || (*r->at == '\r' && r->at[1] == '\n')) {
        r->at += *r->at == '\r' ? 2 : 1;
        r->line++;
    }
    while (!ends_block(r, quote, out)) {
        pantry_status status = PANTRY_OK;
        char c = *r->at;
        if (r->at >= r->end)
            return pn_toml_fail(r, "the string that begins in line %d has no end", began);
        if (c == '\\' && quote == '"') {
            r->at++;
            if (!skip_line_end(r))
                status = read_escape(r, out);
        } else if (c == '\n' || (c == '\r' && r->at[1] == '\n')) {
            pn_buf_putc(out, '\n'); /* as tomllib reads it, whatever the file's line ends are */
            r->at += c == '\r' ? 2 : 1;
            r->line++;
        } else if (is_control(c)) {
            status = pn_toml_fail(r, "control character in a string (found 0x%02x)", (unsigned char)c);
        } else {
            pn_buf_putc(out, c);
            r->at++;
        }
        if (status)
            return status;
    }
    return PANTRY_OK;
}

static pantry_status read_line_string(struct pn_toml_reader *r, char quote, struct pn_buf *out)
{
    r->at++;
    while (*r->at != quote) {
        pantry_status status = PANTRY_OK;
        char c = *r->at;
        if (r->at >= r->end || c == '\n' || c == '\r')
            return pn_toml_fail(r, "the string has no end in this line");
        if (c == '\\' && quote == '"') {
            r->at++;
            status = read_escape(r, out);
        } else if (is_control(c)) {
            status = pn_toml_fail(r, "control character in a string (found 0x%02x)", (unsigned char)c);
        } else {
            pn_buf_putc(out, c);
            r->at++;
        }
        if (status)
            return status;
    }
    r->at++;
    return PANTRY_OK;
}

static pantry_status read_string(struct pn_toml_reader *r, bool blocks, const char **text, size_t *len)
{
    struct pn_buf out = {0};
    char quote = *r->at;
    bool block = r->at[1] == quote && r->at[2] == quote;
    pantry_status status = PANTRY_OK;
    if (block && !blocks)
        return pn_toml_fail(r, "a key cannot be a string of several lines");
    status = block ? read_block(r, quote, &out) : read_line_string(r, quote, &out);
    *len = out.len;
    *text = status ? NULL : pn_arena_copy(r->arena, out.data ? out.data : "", out.len);
    if (!status && (out.failed || !*text))
        status = pn_no_memory(r->err, r->name);
    pn_buf_free(&out);
    return status;
}

pantry_status pn_toml_read_key(struct pn_toml_reader *r, const char **key, size_t *len)
{
    const char *from = r->at;
    if (*r->at == '"' || *r->at == '\'')
        return read_string(r, false, key, len);
    while (is_bare(*r->at))
        r->at++;
    if (r->at == from)
        return pn_toml_fail(r, "a key is missing (allowed letters, digits, _, - or a string in quotes)");
    *len = (size_t)(r->at - from);
    *key = pn_arena_copy(r->arena, from, *len);
    return *key ? PANTRY_OK : pn_no_memory(r->err, r->name);
}

/* ---- numbers ---- */

/* Digits with single underscores between them; the length, 0 if there are none. */
static size_t span_digits(const char *p, int base)
{
    size_t n = 0;
    for (;;) {
        int digit = hex_value(p[n]);
        if (digit >= 0 && digit < base)
            n++;
        else if (n && p[n] == '_' && hex_value(p[n + 1]) >= 0 && hex_value(p[n + 1]) < base)
            n++;
        else
            return n;
    }
}

static pantry_status take_integer(const struct pn_toml_reader *r, const char *digits, size_t n, int base, bool negative,
                                  struct pn_toml *out)
{
    uint64_t value = 0, most = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        if (digits[i] == '_')
            continue;
        unsigned digit = (unsigned)hex_value(digits[i]);
        if (value > (most - digit) / (unsigned)base)
            return pn_toml_fail(r, "a whole number does not fit 64 bits");
        value = value * (unsigned)base + digit;
    }
    out->kind = PN_TOML_INTEGER;
    out->integer = negative ? (int64_t)(0 - value) : (int64_t)value;
    return PANTRY_OK;
}

static pantry_status take_float(const struct pn_toml_reader *r, const char *from, size_t n, struct pn_toml *out)
{
    char text[MAX_NUMBER];
    size_t len = 0;
    if (n >= sizeof text)
        return pn_toml_fail(r, "a number is too long (found %zu characters, allowed %d)", n, MAX_NUMBER - 1);
    for (size_t i = 0; i < n; i++)
        if (from[i] != '_')
            text[len++] = from[i];
    text[len] = '\0';
    out->kind = PN_TOML_FLOAT;
    out->number = strtod(text, NULL);
    return PANTRY_OK;
}

static bool is_word(const char *p, const char *word)
{
    return strncmp(p, word, strlen(word)) == 0;
}

static pantry_status read_number(struct pn_toml_reader *r, struct pn_toml *out)
{
    const char *from = r->at, *p = from;
    bool has_sign = *p == '+' || *p == '-', negative = *p == '-';
    p += has_sign;
    if (is_word(p, "inf") || is_word(p, "nan")) {
        r->at = p + 3;
        out->kind = PN_TOML_FLOAT;
        out->number = strtod(*p == 'i' ? "inf" : "nan", NULL);
        out->number = negative ? -out->number : out->number;
        return PANTRY_OK;
    }
    int base = *p != '0' || has_sign ? 10 : p[1] == 'x' ? 16 : p[1] == 'o' ? 8 : p[1] == 'b' ? 2 : 10;
    if (base != 10)
        p += 2;
    const char *digits = p;
    size_t n = span_digits(p, base);
    if (n == 0)
        return pn_toml_fail(r, "a value is missing or unknown (allowed a string in quotes, a number, a time, true, "
                               "false, [...], {...})");
    if (base == 10 && n > 1 && *p == '0')
        return pn_toml_fail(r, "a number begins with 0");
    p += n;
    bool real = false;
    if (base == 10 && *p == '.' && (n = span_digits(p + 1, 10))) {
        p += 1 + n;
        real = true;
    }
    if (base == 10 && (*p == 'e' || *p == 'E')) {
        size_t sign = p[1] == '+' || p[1] == '-';
        if ((n = span_digits(p + 1 + sign, 10))) {
            p += 1 + sign + n;
            real = true;
        }
    }
    r->at = p;
    return real ? take_float(r, from, (size_t)(p - from), out)
                : take_integer(r, digits, (size_t)(p - digits), base, negative, out);
}

/* ---- times ---- */

static int two_digits(const char *p)
{
    return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + p[1] - '0' : -1;
}

/* "23:59:59.999"; the length, 0 if it is none. */
static size_t span_time(const char *p)
{
    int hour = two_digits(p);
    if (hour < 0 || hour > 23 || p[2] != ':')
        return 0;
    int minute = two_digits(p + 3);
    if (minute < 0 || minute > 59 || p[5] != ':')
        return 0;
    int second = two_digits(p + 6);
    if (second < 0 || second > 59)
        return 0;
    size_t n = 8;
    if (p[n] == '.' && is_digit(p[n + 1]))
        for (n++; is_digit(p[n]);)
            n++;
    return n;
}

static size_t span_offset(const char *p)
{
    if (*p == 'Z' || *p == 'z')
        return 1;
    if (*p != '+' && *p != '-')
        return 0;
    int hour = two_digits(p + 1);
    if (hour < 0 || hour > 23 || p[3] != ':')
        return 0;
    int minute = two_digits(p + 4);
    return minute >= 0 && minute <= 59 ? 6 : 0;
}

static bool is_date(const char *p)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int century = two_digits(p), rest = century < 0 ? -1 : two_digits(p + 2);
    if (rest < 0 || p[4] != '-')
        return false;
    int year = century * 100 + rest, month = two_digits(p + 5);
    if (month < 1 || month > 12 || p[7] != '-')
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int day = two_digits(p + 8);
    return year > 0 && day >= 1 && day <= days[month - 1] + (leap && month == 2);
}

/* A date and what may follow it, or a time; the length, 0 if it is neither. */
static size_t span_moment(const char *p)
{
    if (!is_date(p))
        return span_time(p);
    size_t n = 10, time = p[n] == 'T' || p[n] == 't' || p[n] == ' ' ? span_time(p + n + 1) : 0;
    return time ? n + 1 + time + span_offset(p + n + 1 + time) : n;
}

/* ---- any of them ---- */

pantry_status pn_toml_read_scalar(struct pn_toml_reader *r, struct pn_toml *out)
{
    size_t n;
    if (*r->at == '"' || *r->at == '\'') {
        out->kind = PN_TOML_STRING;
        return read_string(r, true, &out->text, &out->len);
    }
    bool yes = is_word(r->at, "true");
    if (yes || is_word(r->at, "false")) {
        out->kind = PN_TOML_BOOL;
        out->truth = yes;
        r->at += yes ? 4 : 5;
        return PANTRY_OK;
    }
    if ((n = span_moment(r->at))) {
        out->kind = PN_TOML_TIME;
        out->len = n;
        out->text = pn_arena_copy(r->arena, r->at, n);
        r->at += n;
        return out->text ? PANTRY_OK : pn_no_memory(r->err, r->name);
    }
    return read_number(r, out);
}
