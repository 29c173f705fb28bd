/* The % operator of strings: printf-style formatting. */
#include "text/template/python/spec.h"

#include <math.h>
#include <string.h>

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

static void percent_int(struct percent *f, struct jj_spec *s, jv v)
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
    char *digits = pn_jj_int_digits(f->r, v, decimal ? 10 : kind == 'o' ? 8 : 16, upper);
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
    pn_jj_put_number(&f->out, s, pn_jj_is_negative(v), prefix, digits);
}

static void percent_float(struct percent *f, struct jj_spec *s, jv v)
{
    double d;
    if (v.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(f->r, v);
    if (!jj_is_number(v))
        pn_jj_raise(f->r, "TypeError", "must be real number, not %s", pn_jj_type_name(v));
    if (!pn_jj_to_double(v, &d))
        pn_jj_raise(f->r, "OverflowError", "int too large to convert to float");
    char *digits = pn_jj_float_digits(f->r, d, s->type, s->precision < 0 ? 6 : s->precision, s->alternate);
    if (s->zero && !s->align) {
        s->fill = '0';
        s->align = '=';
    }
    pn_jj_put_number(&f->out, s, pn_jj_is_negative(jj_float(d)), "", digits);
}

static void percent_text(struct percent *f, struct jj_spec *s, jv v, bool markup)
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
    pn_jj_put_padded(&f->out, s, "", text.u.s->p, n, '>');
}

static void percent_one(struct percent *f, bool markup)
{
    struct jj_spec s = {.width = -1, .precision = -1};
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
