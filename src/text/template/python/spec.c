/* Padding, signs and digits of formatted numbers, for % and str.format. */
#include "text/template/python/spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Digits with separators, which zero padding counts, too. */
static char *group_digits(struct jj_run *r, const char *digits, size_t n, size_t every, char separator, int64_t width)
{
    size_t whole = strspn(digits, every == 4 ? "0123456789abcdefABCDEF" : "0123456789");
    int64_t missing = width - (int64_t)(n - whole);
    struct jj_buf b = {.r = r};
    size_t zeros = 0;
    while ((int64_t)(whole + zeros + (whole + zeros - 1) / every) < missing)
        zeros++;
    /* a separator cannot come first: another zero takes its place, as in Python */
    size_t total = whole + zeros;
    for (size_t i = 0; i < total; i++) {
        if (i && (total - i) % every == 0)
            pn_jj_putc(&b, separator);
        pn_jj_putc(&b, i < zeros ? '0' : digits[i - zeros]);
    }
    pn_jj_put(&b, digits + whole, n - whole);
    pn_jj_putc(&b, '\0');
    return b.p;
}

void pn_jj_put_padded(struct jj_buf *b, const struct jj_spec *s, const char *head, const char *p, size_t n, char align)
{
    struct jj_str body = {.p = p, .n = n, .chars = -1};
    int64_t used = pn_jj_chars(&body) + (int64_t)strlen(head), space = s->width > used ? s->width - used : 0;
    uint32_t how = s->align ? s->align : (uint32_t)align;
    int64_t left = how == '>' ? space : how == '^' ? space / 2 : 0;
    uint32_t fill = s->fill ? s->fill : ' ';
    pn_jj_pad(b, fill, left);
    pn_jj_puts(b, head);
    if (how == '=')
        pn_jj_pad(b, fill, space);
    pn_jj_put(b, p, n);
    if (how == '<' || how == '^')
        pn_jj_pad(b, fill, space - left);
}

void pn_jj_put_number(struct jj_buf *b, const struct jj_spec *s, bool negative, const char *prefix, const char *digits)
{
    char head[8];
    const char *sign = negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
    snprintf(head, sizeof head, "%s%s", sign, prefix);
    bool radix = s->type == 'x' || s->type == 'X' || s->type == 'o' || s->type == 'b';
    if (s->group) {
        bool zero_fill = s->fill == '0' && s->align == '=';
        int64_t width = zero_fill ? s->width - (int64_t)strlen(head) : 0;
        digits = group_digits(b->r, digits, strlen(digits), radix ? 4 : 3, s->group, width);
    }
    pn_jj_put_padded(b, s, head, digits, strlen(digits), '>');
}

/* |d| in the format e, f or g (E, F, G) of C and Python. */
char *pn_jj_float_digits(struct jj_run *r, double d, char type, int64_t precision, bool alternate)
{
    if (precision > 100000)
        pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: a precision of %lld digits", (long long)precision);
    if (!isfinite(d)) {
        bool upper = type == 'E' || type == 'F' || type == 'G';
        return (char *)(isnan(d) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf"));
    }
    char format[16];
    snprintf(format, sizeof format, "%%%s.*%c", alternate ? "#" : "", type);
    d = fabs(d);
    int n = snprintf(NULL, 0, format, (int)precision, d);
    char *text = pn_jj_alloc(r, (size_t)n + 1);
    snprintf(text, (size_t)n + 1, format, (int)precision, d);
    pn_jj_step(r, (size_t)n / 16);
    return text;
}

/* |v| */
char *pn_jj_int_digits(struct jj_run *r, jv v, int base, bool upper)
{
    struct jj_buf b = {.r = r};
    pn_jj_put_int(&b, v, base, upper);
    pn_jj_putc(&b, '\0');
    return b.p[0] == '-' ? b.p + 1 : b.p;
}

bool pn_jj_is_negative(jv v)
{
    return v.t == JJ_BIG ? v.u.big->negative : v.t == JJ_FLOAT ? signbit(v.u.d) && !isnan(v.u.d) : jj_as_int(v) < 0;
}
