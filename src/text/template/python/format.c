/* printf-style formatting, str.format with its specifications. */
#include "text/template/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What both kinds of formatting know of a number or text before it is padded. */
struct spec {
    uint32_t fill, align; /* align: '<', '>', '^', '=' or 0 */
    char sign;            /* '-', '+', ' ' */
    bool alternate, zero, no_negative_zero;
    int64_t width, precision; /* -1: not given */
    char group;               /* ',' or '_' or 0 */
    char type;                /* 0: not given */
};

static void put_padded(struct jj_buf *b, const struct spec *s, const char *head, const char *p, size_t n, char align)
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

/* Digits with separators; zero padding counts them too. */
static char *group_digits(struct jj_run *r, const char *digits, size_t n, size_t every, char separator, int64_t width)
{
    size_t whole = strspn(digits, every == 4 ? "0123456789abcdefABCDEF" : "0123456789");
    int64_t missing = width - (int64_t)(n - whole);
    struct jj_buf b = {.r = r};
    size_t zeros = 0;
    while ((int64_t)(whole + zeros + (whole + zeros - 1) / every) < missing)
        zeros++;
    /* a separator can't come first: one more zero takes its place, as in Python */
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

static void put_number(struct jj_buf *b, const struct spec *s, bool negative, const char *prefix, const char *digits)
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
    put_padded(b, s, head, digits, strlen(digits), '>');
}

/* ---- numbers to digits ---- */

/* |d| in one of e f g (E F G) as C and Python write it. */
static char *float_digits(struct jj_run *r, double d, char type, int64_t precision, bool alternate)
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

static char *repr_digits(struct jj_run *r, double d)
{
    struct jj_buf b = {.r = r};
    pn_jj_put_float(&b, fabs(d));
    pn_jj_putc(&b, '\0');
    return b.p;
}

/* |v| */
static char *int_digits(struct jj_run *r, jv v, int base, bool upper)
{
    struct jj_buf b = {.r = r};
    pn_jj_put_int(&b, v, base, upper);
    pn_jj_putc(&b, '\0');
    return b.p[0] == '-' ? b.p + 1 : b.p;
}

static bool is_negative(jv v)
{
    return v.t == JJ_BIG ? v.u.big->negative : v.t == JJ_FLOAT ? signbit(v.u.d) && !isnan(v.u.d) : jj_as_int(v) < 0;
}

/* ---- % ---- */

struct percent {
    struct jj_run *r;
    struct jj_buf out;
    const char *start, *p, *end;
    jv args;
    size_t next;
    bool single_used, mapping;
};

static jv next_arg(struct percent *f)
{
    if (f->args.t == JJ_TUPLE) {
        if (f->next < f->args.u.seq->n)
            return f->args.u.seq->v[f->next++];
    } else if (!f->single_used) {
        f->single_used = true;
        return f->args;
    }
    pn_jj_raise(f->r, "TypeError", "not enough arguments for format string");
}

static jv keyed_arg(struct percent *f)
{
    const char *key = ++f->p;
    int depth = 1;
    if (!f->mapping)
        pn_jj_raise(f->r, "TypeError", "format requires a mapping");
    while (f->p < f->end && depth > 0) {
        depth += *f->p == '(' ? 1 : *f->p == ')' ? -1 : 0;
        f->p++;
    }
    if (depth > 0)
        pn_jj_raise(f->r, "ValueError", "incomplete format key");
    jv name = pn_jj_str(f->r, key, (size_t)(f->p - 1 - key));
    if (f->args.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(f->r, f->args);
    jv *v = f->args.t == JJ_DICT ? pn_jj_dict_get(f->r, f->args.u.dict, name) : NULL;
    if (!v && f->args.t == JJ_LIST)
        pn_jj_raise(f->r, "TypeError", "list indices must be integers or slices, not str");
    if (!v)
        pn_jj_raise(f->r, "KeyError", "%s", pn_jj_repr(f->r, name));
    f->single_used = true;
    return *v;
}

static int64_t star_or_number(struct percent *f)
{
    int64_t n = 0;
    if (f->p < f->end && *f->p == '*') {
        f->p++;
        jv v = next_arg(f);
        if (v.t == JJ_BIG)
            pn_jj_raise(f->r, "OverflowError", "Python int too large to convert to C ssize_t");
        if (!jj_is_int(v))
            pn_jj_raise(f->r, "TypeError", "* wants int");
        n = jj_as_int(v);
        return n > INT32_MAX ? INT32_MAX : n < -INT32_MAX ? -INT32_MAX : n;
    }
    while (f->p < f->end && *f->p >= '0' && *f->p <= '9') {
        n = n * 10 + (*f->p++ - '0');
        if (n > INT32_MAX)
            pn_jj_raise(f->r, "ValueError", "width too big");
    }
    return n;
}

static void percent_int(struct percent *f, struct spec *s, jv v)
{
    char kind = s->type;
    bool decimal = kind == 'd' || kind == 'i' || kind == 'u';
    if (v.t == JJ_FLOAT && decimal) {
        if (!isfinite(v.u.d))
            pn_jj_raise(f->r, isnan(v.u.d) ? "ValueError" : "OverflowError", "cannot convert float %s to integer",
                        isnan(v.u.d) ? "NaN" : "infinity");
        v = pn_jj_float_to_int(f->r, v.u.d);
    }
    if (v.t == JJ_UNDEFINED && decimal)
        pn_jj_raise_undefined(f->r, v);
    if (!jj_is_number(v) || v.t == JJ_FLOAT)
        pn_jj_raise(f->r, "TypeError", "%%%c format: %s is required, not %s", kind,
                    decimal ? "a real number" : "an integer", pn_jj_type_name(v));
    bool upper = kind == 'X';
    char *digits = int_digits(f->r, v, decimal ? 10 : kind == 'o' ? 8 : 16, upper);
    size_t n = strlen(digits);
    if (s->precision > (int64_t)n) {
        struct jj_buf b = {.r = f->r};
        pn_jj_pad(&b, '0', s->precision - (int64_t)n);
        pn_jj_puts(&b, digits);
        pn_jj_putc(&b, '\0');
        digits = b.p;
    }
    const char *prefix = !s->alternate || decimal ? "" : kind == 'o' ? "0o" : upper ? "0X" : "0x";
    if (s->zero && !s->align) {
        s->fill = '0';
        s->align = '=';
    }
    put_number(&f->out, s, is_negative(v), prefix, digits);
}

static void percent_float(struct percent *f, struct spec *s, jv v)
{
    double d;
    if (v.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(f->r, v);
    if (!jj_is_number(v))
        pn_jj_raise(f->r, "TypeError", "must be real number, not %s", pn_jj_type_name(v));
    if (!pn_jj_to_double(v, &d))
        pn_jj_raise(f->r, "OverflowError", "int too large to convert to float");
    char *digits = float_digits(f->r, d, s->type, s->precision < 0 ? 6 : s->precision, s->alternate);
    if (s->zero && !s->align) {
        s->fill = '0';
        s->align = '=';
    }
    put_number(&f->out, s, is_negative(jj_float(d)), "", digits);
}

static void percent_text(struct percent *f, struct spec *s, jv v, bool markup)
{
    struct jj_buf b = {.r = f->r};
    if (s->type == 'c') {
        if (v.t == JJ_BIG || (jj_is_int(v) && (jj_as_int(v) < 0 || jj_as_int(v) > 0x10FFFF)))
            pn_jj_raise(f->r, "OverflowError", "%%c arg not in range(0x110000)");
        if (jj_is_int(v))
            pn_jj_put_char(&b, (uint32_t)jj_as_int(v));
        else if (v.t == JJ_STR && pn_jj_chars(v.u.s) == 1)
            pn_jj_put_str(&b, v);
        else
            pn_jj_raise(f->r, "TypeError", "%%c requires int or char");
    } else if (s->type == 's') {
        pn_jj_put_str(&b, markup ? pn_jj_escape(f->r, v) : v);
    } else {
        pn_jj_put_repr(&b, v);
    }
    if (s->type == 'a') {
        struct jj_buf ascii = {.r = f->r};
        pn_jj_put_ascii_escaped(&ascii, b.p, b.n);
        b = ascii;
    }
    jv text = pn_jj_buf_str(&b);
    size_t n = text.u.s->n;
    if (s->precision >= 0 && s->type != 'c' && s->precision < pn_jj_chars(text.u.s))
        n = pn_jj_offset(text.u.s, s->precision);
    s->fill = ' ';
    put_padded(&f->out, s, "", text.u.s->p, n, '>');
}

static void percent_one(struct percent *f, bool markup)
{
    struct spec s = {.width = -1, .precision = -1};
    const char *begin = f->p;
    jv v = {.t = JJ_MISSING};
    if (f->p < f->end && *f->p == '(')
        v = keyed_arg(f);
    for (; f->p < f->end && strchr("-+ #0", *f->p); f->p++) {
        s.align = *f->p == '-' ? '<' : s.align;
        s.sign = *f->p == '+' ? '+' : *f->p == ' ' && !s.sign ? ' ' : s.sign;
        s.alternate = s.alternate || *f->p == '#';
        s.zero = s.zero || *f->p == '0';
    }
    s.width = star_or_number(f);
    if (s.width < 0) {
        s.align = '<';
        s.width = -s.width;
    }
    if (f->p < f->end && *f->p == '.') {
        f->p++;
        s.precision = star_or_number(f);
        if (s.precision < 0)
            s.precision = 0;
    }
    while (f->p < f->end && strchr("hlL", *f->p))
        f->p++;
    if (f->p == f->end)
        pn_jj_raise(f->r, "ValueError", "incomplete format");
    s.type = *f->p++;
    if (s.type == '%' && f->p == begin + 1) {
        pn_jj_putc(&f->out, '%');
        return;
    }
    if (v.t == JJ_MISSING)
        v = next_arg(f);
    if (strchr("diuxXo", s.type)) {
        percent_int(f, &s, v);
    } else if (strchr("eEfFgG", s.type)) {
        percent_float(f, &s, v);
    } else if (strchr("srac", s.type)) {
        percent_text(f, &s, v, markup);
    } else {
        size_t used;
        uint32_t c = pn_jj_decode(f->p - 1, f->end, &used);
        struct jj_str before = {.p = f->start, .n = (size_t)(f->p - 1 - f->start), .chars = -1};
        pn_jj_raise(f->r, "ValueError", "unsupported format character '%.*s' (0x%x) at index %lld", 1,
                    c >= 32 && c < 127 ? f->p - 1 : "?", (unsigned)c, (long long)pn_jj_chars(&before));
    }
}

jv pn_jj_percent(struct jj_run *r, struct jj_str *format, jv args)
{
    struct percent f = {
        .r = r, .out = {.r = r}, .start = format->p, .p = format->p, .end = format->p + format->n, .args = args};
    f.mapping = args.t == JJ_DICT || args.t == JJ_LIST || args.t == JJ_RANGE || args.t == JJ_UNDEFINED;
    while (f.p < f.end) {
        const char *percent = memchr(f.p, '%', (size_t)(f.end - f.p));
        pn_jj_put(&f.out, f.p, (size_t)((percent ? percent : f.end) - f.p));
        f.p = percent ? percent + 1 : f.end;
        pn_jj_step(r, 1);
        if (percent) {
            if (f.p == f.end)
                pn_jj_raise(r, "ValueError", "incomplete format");
            percent_one(&f, format->markup);
        }
    }
    bool left = args.t == JJ_TUPLE ? f.next < args.u.seq->n : !f.single_used && !f.mapping;
    if (left)
        pn_jj_raise(r, "TypeError", "not all arguments converted during string formatting");
    jv out = pn_jj_buf_str(&f.out);
    out.u.s->markup = format->markup;
    return out;
}

/* ---- specifications of str.format ---- */

/* Which types a separator of thousands goes with; a letter that is no type is refused here, too, as in Python. */
static void check_group(struct jj_run *r, const struct spec *s, jv value)
{
    char type = s->type ? s->type : value.t == JJ_STR ? 's' : 'd';
    if (s->group && !strchr("deEfFgG%", type) && !(s->group == '_' && strchr("boxX", type)))
        pn_jj_raise(r, "ValueError", "Cannot specify '%c' with '%c'.", s->group, type);
}

static struct spec parse_spec(struct jj_run *r, const char *p, size_t n, jv value)
{
    struct spec s = {.width = -1, .precision = -1, .sign = '-'};
    const char *end = p + n;
    size_t used = 0;
    if (n) {
        uint32_t first = pn_jj_decode(p, end, &used);
        if (p + used < end && strchr("<>=^", p[used])) {
            s.fill = first;
            s.align = (unsigned char)p[used];
            p += used + 1;
        } else if (strchr("<>=^", *p)) {
            s.align = (unsigned char)*p++;
        }
    }
    if (p < end && strchr("+- ", *p))
        s.sign = *p++;
    if (p < end && *p == 'z') {
        s.no_negative_zero = true;
        p++;
    }
    if (p < end && *p == '#') {
        s.alternate = true;
        p++;
    }
    if (p < end && *p == '0' && !s.fill) {
        s.zero = true;
        s.fill = '0';
        if (!s.align && value.t != JJ_STR)
            s.align = '=';
        else if (!s.align)
            s.align = '<';
        p++;
    }
    for (int part = 0; part < 2; part++) {
        int64_t number = 0;
        const char *start = p;
        if (part == 1) {
            if (p == end || *p != '.')
                break;
            start = ++p;
        }
        while (p < end && *p >= '0' && *p <= '9') {
            number = number * 10 + (*p++ - '0');
            if (number > INT32_MAX)
                pn_jj_raise(r, "ValueError", "Too many decimal digits in format string");
        }
        if (part == 1 && p == start)
            pn_jj_raise(r, "ValueError", "Format specifier missing precision");
        if (p > start)
            *(part ? &s.precision : &s.width) = number;
        if (part == 0 && p < end && (*p == ',' || *p == '_')) {
            s.group = *p++;
            if (p < end && (*p == ',' || *p == '_'))
                pn_jj_raise(r, "ValueError",
                            *p == s.group ? "Cannot specify '%c' with '%c'." : "Cannot specify both '%c' and '%c'.",
                            ',', *p == s.group ? *p : '_');
        }
    }
    if (p + 1 < end || (p < end && (unsigned char)*p >= 0x80))
        pn_jj_raise(r, "ValueError", "Invalid format specifier");
    if (p < end)
        s.type = *p;
    check_group(r, &s, value);
    return s;
}

static _Noreturn void unknown_code(struct jj_run *r, char code, jv v)
{
    pn_jj_raise(r, "ValueError", "Unknown format code '%c' for object of type '%s'", code, pn_jj_type_name(v));
}

static void format_text(struct jj_buf *b, struct spec *s, jv v)
{
    if (s->type && s->type != 's')
        unknown_code(b->r, s->type, v);
    if (s->sign != '-')
        pn_jj_raise(b->r, "ValueError", "%s not allowed in string format specifier", s->sign == ' ' ? "Space" : "Sign");
    if (s->no_negative_zero)
        pn_jj_raise(b->r, "ValueError", "Negative zero coercion (z) not allowed in string format specifier");
    if (s->alternate)
        pn_jj_raise(b->r, "ValueError", "Alternate form (#) not allowed in string format specifier");
    if (s->align == '=')
        pn_jj_raise(b->r, "ValueError", "'=' alignment not allowed in string format specifier");
    size_t n = v.u.s->n;
    if (s->precision >= 0 && s->precision < pn_jj_chars(v.u.s))
        n = pn_jj_offset(v.u.s, s->precision);
    put_padded(b, s, "", v.u.s->p, n, '<');
}

static void format_float(struct jj_buf *b, struct spec *s, jv v)
{
    double d;
    char *digits, type = s->type;
    if (!pn_jj_to_double(v, &d))
        pn_jj_raise(b->r, "OverflowError", "int too large to convert to float");
    if (type && !strchr("eEfFgGn%", type))
        unknown_code(b->r, type, v);
    if (type == '%')
        d *= 100;
    if (!type && s->precision < 0) {
        digits = repr_digits(b->r, d);
        int n = (int)strcspn(digits, "e.");
        if (s->alternate && digits[n] == 'e')
            digits = pn_jj_sprintf(b->r, "%.*s.%s", n, digits, digits + n);
    } else {
        char c = type == '%' ? 'f' : !type || type == 'n' ? 'g' : type;
        int64_t precision = s->precision < 0 ? 6 : s->precision;
        digits = float_digits(b->r, d, c, precision, s->alternate);
        if (!type && isfinite(d)) { /* like g, but it looks like a float, and one digit earlier an exponent */
            char *e = float_digits(b->r, d, 'e', precision > 0 ? precision - 1 : 0, s->alternate);
            int exponent = (int)strtol(strchr(e, 'e') + 1, NULL, 10);
            precision = precision > 0 ? precision : 1;
            if (!strpbrk(digits, ".e") && exponent < precision - 1)
                digits = pn_jj_sprintf(b->r, "%s.0", digits);
            else if (!strchr(digits, 'e') && exponent >= precision - 1) {
                char *dot = s->alternate ? NULL : strchr(e, '.');
                size_t tail = dot ? strcspn(dot, "e") : 0;
                while (dot && tail > 1 && dot[tail - 1] == '0') {
                    memmove(dot + tail - 1, dot + tail, strlen(dot + tail) + 1);
                    tail--;
                }
                if (dot && tail == 1)
                    memmove(dot, dot + 1, strlen(dot + 1) + 1);
                digits = e;
            }
        }
    }
    if (type == '%')
        digits = pn_jj_sprintf(b->r, "%s%%", digits);
    bool zero = digits[strcspn(digits, "123456789in")] == '\0' || digits[strspn(digits, "0.")] == 'e';
    put_number(b, s, is_negative(jj_float(d)) && !(s->no_negative_zero && zero), "", digits);
}

static void format_int(struct jj_buf *b, struct spec *s, jv v)
{
    char type = s->type;
    if (type && strchr("eEfFgG%", type)) {
        format_float(b, s, v);
        return;
    }
    if (type && !strchr("bcdoxXn", type))
        unknown_code(b->r, type, v);
    if (s->precision >= 0)
        pn_jj_raise(b->r, "ValueError", "Precision not allowed in integer format specifier");
    if (type == 'c') {
        char u[5] = {0};
        if (v.t == JJ_BIG)
            pn_jj_raise(b->r, "OverflowError", "Python int too large to convert to C long");
        if (jj_as_int(v) < 0 || jj_as_int(v) > 0x10FFFF)
            pn_jj_raise(b->r, "OverflowError", "%%c arg not in range(0x110000)");
        put_padded(b, s, "", u, pn_jj_encode((uint32_t)jj_as_int(v), u), '<');
        return;
    }
    if (s->no_negative_zero)
        pn_jj_raise(b->r, "ValueError", "Negative zero coercion (z) not allowed in integer format specifier");
    int base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
    const char *prefix = !s->alternate || base == 10 ? ""
                         : type == 'b'               ? "0b"
                         : type == 'o'               ? "0o"
                         : type == 'X'               ? "0X"
                                                     : "0x";
    put_number(b, s, is_negative(v), prefix, int_digits(b->r, v, base, type == 'X'));
}

static void format_value(struct jj_buf *b, jv v, const char *p, size_t n)
{
    if (n == 0) {
        pn_jj_put_str(b, v);
        return;
    }
    if (!jj_is_number(v) && v.t != JJ_STR)
        pn_jj_raise(b->r, "TypeError", "unsupported format string passed to %s.__format__", pn_jj_type_name(v));
    struct spec s = parse_spec(b->r, p, n, v);
    if (v.t == JJ_STR)
        format_text(b, &s, v);
    else if (v.t == JJ_FLOAT)
        format_float(b, &s, v);
    else
        format_int(b, &s, v);
}

/* ---- str.format ---- */

struct formatter {
    struct jj_run *r;
    const struct jj_args *args;
    jv map;       /* of format_map */
    int64_t next; /* automatic field number; -1 once fields are numbered by hand */
    bool markup;
};

static jv first_value(struct formatter *f, const char *p, size_t n)
{
    bool ok = n > 0;
    for (size_t i = 0; i < n; i++)
        ok = ok && p[i] >= '0' && p[i] <= '9';
    if (n == 0 || ok) {
        int64_t index = f->next;
        if (n == 0) {
            if (f->next < 0)
                pn_jj_raise(f->r, "ValueError",
                            "cannot switch from manual field specification to automatic field numbering");
            f->next++;
        } else {
            if (f->next > 0)
                pn_jj_raise(f->r, "ValueError",
                            "cannot switch from manual field specification to automatic field numbering");
            f->next = -1;
            index = n > 9 ? INT64_MAX : strtol(p, NULL, 10);
        }
        if (!f->args || index >= (int64_t)f->args->n_pos)
            pn_jj_raise(f->r, "IndexError", "tuple index out of range");
        return f->args->pos[index];
    }
    jv name = pn_jj_str(f->r, p, n);
    if (!f->args) {
        jv *v = f->map.t == JJ_DICT ? pn_jj_dict_get(f->r, f->map.u.dict, name) : NULL;
        if (v)
            return *v;
    } else {
        for (size_t i = 0; i < f->args->n_kw; i++)
            if (f->args->kw[i].name->n == n && memcmp(f->args->kw[i].name->p, p, n) == 0)
                return f->args->kw[i].value;
    }
    pn_jj_raise(f->r, "KeyError", "%s", pn_jj_repr(f->r, name));
}

/* name(.attr | [item])* */
static jv field_value(struct formatter *f, const char *p, const char *end)
{
    const char *start = p;
    while (p < end && *p != '.' && *p != '[')
        p++;
    jv v = first_value(f, start, (size_t)(p - start));
    while (p < end) {
        bool item = *p == '[';
        const char *name = ++p;
        while (p < end && (item ? *p != ']' : *p != '.' && *p != '['))
            p++;
        if (item && p == end)
            pn_jj_raise(f->r, "ValueError", "Missing ']' in format string");
        size_t n = (size_t)(p - name);
        if (n == 0)
            pn_jj_raise(f->r, "ValueError", "Empty attribute in format string");
        jv key = pn_jj_str(f->r, name, n);
        if (item) {
            p++;
            bool number = strspn(name, "0123456789") >= n && n < 19;
            v = pn_jj_getitem(f->r, v, number ? jj_int(strtoll(name, NULL, 10)) : key);
            if (p < end && *p != '.' && *p != '[')
                pn_jj_raise(f->r, "ValueError", "Only '.' or '[' may follow ']' in format field specifier");
        } else {
            v = pn_jj_getattr(f->r, v, key.u.s);
        }
    }
    return v;
}

static void run_format(struct formatter *f, struct jj_buf *b, const char *p, const char *end, int depth);

static const char *replacement(struct formatter *f, struct jj_buf *b, const char *p, const char *end, int depth)
{
    const char *start = p, *name_end, *spec = NULL;
    int open = 1;
    bool bracket = false;
    char conversion = 0;
    while (p < end && (bracket || (*p != '}' && *p != ':' && *p != '!'))) {
        bracket = *p == '[' ? true : *p == ']' ? false : bracket;
        if (*p == '{')
            pn_jj_raise(f->r, "ValueError", "unexpected '{' in field name");
        p++;
    }
    name_end = p;
    if (p < end && *p == '!') {
        if (p + 1 == end)
            pn_jj_raise(f->r, "ValueError", "end of string while looking for conversion specifier");
        conversion = p[1];
        p += 2;
        if (p < end && *p != ':' && *p != '}')
            pn_jj_raise(f->r, "ValueError", "expected ':' after conversion specifier");
    }
    if (p < end && *p == ':') {
        spec = ++p;
        while (p < end && open > 0) {
            open += *p == '{' ? 1 : *p == '}' ? -1 : 0;
            p += open > 0;
        }
    }
    if (p >= end)
        pn_jj_raise(f->r, "ValueError",
                    spec || p > start ? "expected '}' before end of string"
                                      : "Single '{' encountered in format string");
    jv v = field_value(f, start, name_end);
    struct jj_buf text = {.r = f->r};
    if (conversion == 'r' || conversion == 'a') {
        pn_jj_put_repr(&text, v);
        v = pn_jj_buf_str(&text);
    } else if (conversion == 's') {
        v = pn_jj_to_str(f->r, v);
    } else if (conversion) {
        pn_jj_raise(f->r, "ValueError", "Unknown conversion specifier %c", conversion);
    }
    if (conversion == 'a') {
        struct jj_buf ascii = {.r = f->r};
        pn_jj_put_ascii_escaped(&ascii, v.u.s->p, v.u.s->n);
        v = pn_jj_buf_str(&ascii);
    }
    struct jj_buf inner = {.r = f->r}, *out = b, escaped = {.r = f->r};
    if (spec)
        run_format(f, &inner, spec, p, depth - 1);
    if (f->markup)
        out = &escaped;
    format_value(out, v, inner.p, inner.n);
    if (f->markup) {
        jv done = pn_jj_buf_str(&escaped);
        done.u.s->markup = v.t == JJ_STR && v.u.s->markup;
        pn_jj_put_str(b, pn_jj_escape(f->r, done));
    }
    return p + 1;
}

static void run_format(struct formatter *f, struct jj_buf *b, const char *p, const char *end, int depth)
{
    if (depth < 0)
        pn_jj_raise(f->r, "ValueError", "Max string recursion exceeded");
    while (p < end) {
        pn_jj_step(f->r, 1);
        if (*p != '{' && *p != '}') {
            const char *start = p;
            while (p < end && *p != '{' && *p != '}')
                p++;
            pn_jj_put(b, start, (size_t)(p - start));
        } else if (p + 1 < end && p[1] == *p) {
            pn_jj_putc(b, *p);
            p += 2;
        } else if (*p == '}') {
            pn_jj_raise(f->r, "ValueError", "Single '}' encountered in format string");
        } else if (p + 1 == end) {
            pn_jj_raise(f->r, "ValueError", "Single '{' encountered in format string");
        } else {
            p = replacement(f, b, p + 1, end, depth);
        }
    }
}

jv pn_jj_format(struct jj_run *r, struct jj_str *format, const struct jj_args *args)
{
    struct formatter f = {.r = r, .args = args, .markup = format->markup};
    struct jj_buf b = {.r = r};
    run_format(&f, &b, format->p, format->p + format->n, 2);
    jv out = pn_jj_buf_str(&b);
    out.u.s->markup = format->markup;
    return out;
}

jv pn_jj_format_map(struct jj_run *r, struct jj_str *format, jv map)
{
    struct formatter f = {.r = r, .map = map, .markup = format->markup};
    struct jj_buf b = {.r = r};
    run_format(&f, &b, format->p, format->p + format->n, 2);
    jv out = pn_jj_buf_str(&b);
    out.u.s->markup = format->markup;
    return out;
}
