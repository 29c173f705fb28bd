/* str.format and its specifications. */
#include "text/template/python/spec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- specifications ---- */

static char *repr_digits(struct jj_run *r, double d)
{
    struct jj_buf b = {.r = r};
    pn_jj_put_float(&b, fabs(d));
    pn_jj_putc(&b, '\0');
    return b.p;
}

/* Checks the types that allow a separator of thousands; a letter that is not a type is an error here, too, as in
 * Python. */
static void check_group(struct jj_run *r, const struct jj_spec *s, jv value)
{
    char type = s->type ? s->type : value.t == JJ_STR ? 's' : 'd';
    if (s->group && !strchr("deEfFgG%", type) && !(s->group == '_' && strchr("boxX", type)))
        pn_jj_raise(r, "ValueError", "Cannot specify '%c' with '%c'.", s->group, type);
}

/* Digits of a width or precision; -1 when there are none. */
static int64_t parse_count(struct jj_run *r, const char **p, const char *end)
{
    const char *start = *p;
    int64_t number = 0;
    while (*p < end && **p >= '0' && **p <= '9') {
        number = number * 10 + (*(*p)++ - '0');
        if (number > INT32_MAX)
            pn_jj_raise(r, "ValueError", "Too many decimal digits in format string");
    }
    return *p > start ? number : -1;
}

static void parse_align(struct jj_spec *s, const char **p, const char *end)
{
    size_t used = 0;
    if (*p == end)
        return;
    uint32_t first = pn_jj_decode(*p, end, &used);
    if (*p + used < end && strchr("<>=^", (*p)[used])) {
        s->fill = first;
        s->align = (unsigned char)(*p)[used];
        *p += used + 1;
    } else if (strchr("<>=^", **p)) {
        s->align = (unsigned char)*(*p)++;
    }
}

static void parse_flags(struct jj_spec *s, const char **p, const char *end, bool text)
{
    if (*p < end && strchr("+- ", **p))
        s->sign = *(*p)++;
    if (*p < end && **p == 'z') {
        s->no_negative_zero = true;
        ++*p;
    }
    if (*p < end && **p == '#') {
        s->alternate = true;
        ++*p;
    }
    if (*p < end && **p == '0' && !s->fill) {
        s->zero = true;
        s->fill = '0';
        if (!s->align)
            s->align = text ? '<' : '=';
        ++*p;
    }
}

static void parse_group(struct jj_run *r, struct jj_spec *s, const char **p, const char *end)
{
    if (*p == end || (**p != ',' && **p != '_'))
        return;
    s->group = *(*p)++;
    if (*p < end && (**p == ',' || **p == '_'))
        pn_jj_raise(r, "ValueError",
                    **p == s->group ? "Cannot specify '%c' with '%c'." : "Cannot specify both '%c' and '%c'.", ',',
                    **p == s->group ? **p : '_');
}

/* [[fill]align][sign][z][#][0][width][group][.precision][type] */
static struct jj_spec parse_spec(struct jj_run *r, const char *p, size_t n, jv value)
{
    struct jj_spec s = {.sign = '-', .precision = -1};
    const char *end = p + n;
    parse_align(&s, &p, end);
    parse_flags(&s, &p, end, value.t == JJ_STR);
    s.width = parse_count(r, &p, end);
    parse_group(r, &s, &p, end);
    if (p < end && *p == '.') {
        p++;
        s.precision = parse_count(r, &p, end);
        if (s.precision < 0)
            pn_jj_raise(r, "ValueError", "Format specifier missing precision");
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

static void format_text(struct jj_buf *b, struct jj_spec *s, jv v)
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
    pn_jj_put_padded(b, s, "", v.u.s->p, n, '<');
}

static void format_float(struct jj_buf *b, struct jj_spec *s, jv v)
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
        digits = pn_jj_float_digits(b->r, d, c, precision, s->alternate);
        if (!type && isfinite(d)) { /* like g, but always a float, with an exponent one digit earlier */
            char *e = pn_jj_float_digits(b->r, d, 'e', precision > 0 ? precision - 1 : 0, s->alternate);
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
    pn_jj_put_number(b, s, pn_jj_is_negative(jj_float(d)) && !(s->no_negative_zero && zero), "", digits);
}

static void format_int(struct jj_buf *b, struct jj_spec *s, jv v)
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
        pn_jj_put_padded(b, s, "", u, pn_jj_encode((uint32_t)jj_as_int(v), u), '<');
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
    pn_jj_put_number(b, s, pn_jj_is_negative(v), prefix, pn_jj_int_digits(b->r, v, base, type == 'X'));
}

static void format_value(struct jj_buf *b, jv v, const char *p, size_t n)
{
    if (n == 0) {
        pn_jj_put_str(b, v);
        return;
    }
    if (!jj_is_number(v) && v.t != JJ_STR)
        pn_jj_raise(b->r, "TypeError", "unsupported format string passed to %s.__format__", pn_jj_type_name(v));
    struct jj_spec s = parse_spec(b->r, p, n, v);
    if (v.t == JJ_STR)
        format_text(b, &s, v);
    else if (v.t == JJ_FLOAT)
        format_float(b, &s, v);
    else
        format_int(b, &s, v);
}

/* ---- fields ---- */

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
            v = f->r->calls->getitem(f->r, v, number ? jj_int(strtoll(name, NULL, 10)) : key);
            if (p < end && *p != '.' && *p != '[')
                pn_jj_raise(f->r, "ValueError", "Only '.' or '[' may follow ']' in format field specifier");
        } else {
            v = f->r->calls->getattr(f->r, v, key.u.s);
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
