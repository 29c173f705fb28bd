/* str() and repr() of every value, exactly as Python prints them, and HTML escaping. */
#include "text/template/ast.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counts the digits of "d.ddde..." up by one in the last place. False: they are all nines. */
static bool count_up(char *text)
{
    for (char *p = text + strcspn(text, "e"); p-- > text;) {
        if (*p == '.')
            continue;
        if (*p < '9') {
            ++*p;
            return true;
        }
        *p = '0';
    }
    return false;
}

/* The shortest decimal digits that read back as `d` (which is finite); returns their count, *exp10 is the power of the
 * first digit. Doubles are less dense above a power of two than below it, so digits other than the nearest may work. */
static int shortest_digits(double d, char digits[18], int *exp10)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, d);
        if (strtod(text, NULL) == d || (frexp(d, exp10) == 0.5 && count_up(text) && strtod(text, NULL) == d))
            break;
    }
    int n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    *exp10 = *p ? (int)strtol(p + 1, NULL, 10) : 0;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return n;
}

/* Python's repr of a float: shortest digits, exponents below -4 and from 16. */
void pn_jj_put_float(struct jj_buf *b, double d)
{
    if (isnan(d)) {
        pn_jj_puts(b, "nan");
        return;
    }
    if (signbit(d))
        pn_jj_putc(b, '-');
    if (isinf(d)) {
        pn_jj_puts(b, "inf");
        return;
    }
    char digits[40], exponent[16];
    int e, n = shortest_digits(fabs(d), digits, &e);
    if (e < -4 || e >= 16) {
        pn_jj_putc(b, digits[0]);
        if (n > 1) {
            pn_jj_putc(b, '.');
            pn_jj_put(b, digits + 1, (size_t)n - 1);
        }
        snprintf(exponent, sizeof exponent, "e%c%02d", e < 0 ? '-' : '+', abs(e));
        pn_jj_puts(b, exponent);
    } else if (e < 0) {
        pn_jj_puts(b, "0.");
        pn_jj_pad(b, '0', -e - 1);
        pn_jj_put(b, digits, (size_t)n);
    } else {
        int whole = n < e + 1 ? n : e + 1;
        pn_jj_put(b, digits, (size_t)whole);
        pn_jj_pad(b, '0', e + 1 - whole);
        pn_jj_putc(b, '.');
        if (n > e + 1)
            pn_jj_put(b, digits + e + 1, (size_t)(n - e - 1));
        else
            pn_jj_putc(b, '0');
    }
}

static void put_repr_char(struct jj_buf *b, uint32_t c, char quote, bool ascii)
{
    char text[16];
    if (c == (unsigned char)quote || c == '\\') {
        pn_jj_putc(b, '\\');
        pn_jj_putc(b, (char)c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        pn_jj_puts(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else if (c < 0x80 ? c >= 0x20 && c != 0x7F : !ascii && pn_jj_is_printable(c)) {
        pn_jj_put_char(b, c);
    } else {
        snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        pn_jj_puts(b, text);
    }
}

static void put_str_repr(struct jj_buf *b, const struct jj_str *s, bool ascii)
{
    char quote = s->n && memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n) ? '"' : '\'';
    pn_jj_putc(b, quote);
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        put_repr_char(b, c, quote, ascii);
    }
    pn_jj_putc(b, quote);
}

static void put_seq(struct jj_buf *b, const struct jj_seq *s, const char *open, const char *close)
{
    pn_jj_puts(b, open);
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            pn_jj_puts(b, ", ");
        pn_jj_put_repr(b, s->v[i]);
    }
    if (*open == '(' && s->n == 1)
        pn_jj_putc(b, ',');
    pn_jj_puts(b, close);
}

static void put_dict(struct jj_buf *b, const struct jj_dict *d, char kind)
{
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            pn_jj_puts(b, ", ");
        if (kind == 'i')
            pn_jj_putc(b, '(');
        if (kind != 'v')
            pn_jj_put_repr(b, d->e[i].key);
        if (kind == 'd')
            pn_jj_puts(b, ": ");
        if (kind == 'i')
            pn_jj_puts(b, ", ");
        if (kind != 'k')
            pn_jj_put_repr(b, d->e[i].value);
        if (kind == 'i')
            pn_jj_putc(b, ')');
    }
}

static void put_range(struct jj_buf *b, const struct jj_range *x)
{
    char text[100];
    if (x->step == 1)
        snprintf(text, sizeof text, "range(%lld, %lld)", (long long)x->start, (long long)x->stop);
    else
        snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)x->start, (long long)x->stop,
                 (long long)x->step);
    pn_jj_puts(b, text);
}

static void put_object(struct jj_buf *b, jv v)
{
    switch (v.t) {
    case JJ_ITER:
        if (v.u.iter->name)
            pn_jj_puts(b, pn_jj_sprintf(b->r, "<generator object %s at 0x%012zx>", v.u.iter->name, (size_t)v.u.iter));
        else
            pn_jj_puts(b, pn_jj_sprintf(b->r, "<%s object at 0x%012zx>", v.u.iter->type, (size_t)v.u.iter));
        return;
    case JJ_MACRO:
        pn_jj_puts(b, "<Macro ");
        if (v.u.macro->def->name.t == JJ_NONE)
            pn_jj_puts(b, "anonymous");
        else
            pn_jj_put_repr(b, v.u.macro->def->name);
        pn_jj_putc(b, '>');
        return;
    case JJ_METHOD:
        pn_jj_puts(b, pn_jj_sprintf(b->r, "<built-in method %s of %s object at 0x%012zx>", v.u.method->def->name,
                                    pn_jj_type_name(v.u.method->self), (size_t)v.u.method->self.u.s));
        return;
    case JJ_FUNC:
        if (strcmp(pn_jj_type_name(v), "type") != 0)
            pn_jj_puts(b, pn_jj_sprintf(b->r, "<function %s at 0x%012zx>", v.u.func->name, (size_t)v.u.func));
        else if (strcmp(v.u.func->name, "dict") == 0)
            pn_jj_puts(b, "<class 'dict'>");
        else
            pn_jj_puts(b,
                       pn_jj_sprintf(b->r, "<class 'jinja2.utils.%c%s'>", v.u.func->name[0] - 32, v.u.func->name + 1));
        return;
    case JJ_LOOP:
        pn_jj_puts(b, pn_jj_sprintf(b->r, "<LoopContext %lld/%lld>", (long long)v.u.loop->index0 + 1,
                                    (long long)pn_jj_loop_length(b->r, v.u.loop)));
        return;
    case JJ_SELF:
        pn_jj_puts(b, "<TemplateReference None>");
        return;
    default:
        pn_jj_puts(b, pn_jj_sprintf(b->r, "<%s at 0x%012zx>", pn_jj_object_repr(v), (size_t)v.u.seq));
    }
}

void pn_jj_put_repr(struct jj_buf *b, jv v)
{
    pn_jj_enter(b->r);
    pn_jj_step(b->r, 1);
    switch (v.t) {
    case JJ_MISSING:
    case JJ_UNDEFINED:
        pn_jj_puts(b, "Undefined");
        break;
    case JJ_NONE:
        pn_jj_puts(b, "None");
        break;
    case JJ_BOOL:
        pn_jj_puts(b, v.u.b ? "True" : "False");
        break;
    case JJ_INT:
    case JJ_BIG:
        pn_jj_put_int(b, v, 10, false);
        break;
    case JJ_FLOAT:
        pn_jj_put_float(b, v.u.d);
        break;
    case JJ_STR:
        if (v.u.s->markup)
            pn_jj_puts(b, "Markup(");
        put_str_repr(b, v.u.s, false);
        if (v.u.s->markup)
            pn_jj_putc(b, ')');
        break;
    case JJ_LIST:
        put_seq(b, v.u.seq, "[", "]");
        break;
    case JJ_TUPLE:
        put_seq(b, v.u.seq, "(", ")");
        break;
    case JJ_DICT:
        pn_jj_putc(b, '{');
        put_dict(b, v.u.dict, 'd');
        pn_jj_putc(b, '}');
        break;
    case JJ_VIEW:
        pn_jj_puts(b, pn_jj_type_name(v));
        pn_jj_puts(b, "([");
        put_dict(b, v.u.view->dict, v.u.view->kind);
        pn_jj_puts(b, "])");
        break;
    case JJ_RANGE:
        put_range(b, v.u.range);
        break;
    case JJ_NAMESPACE:
        pn_jj_puts(b, "<Namespace {");
        put_dict(b, v.u.ns->attrs, 'd');
        pn_jj_puts(b, "}>");
        break;
    default:
        put_object(b, v);
    }
    pn_jj_leave(b->r);
}

void pn_jj_put_str(struct jj_buf *b, jv v)
{
    if (v.t == JJ_STR)
        pn_jj_put(b, v.u.s->p, v.u.s->n);
    else if (v.t != JJ_UNDEFINED)
        pn_jj_put_repr(b, v);
}

jv pn_jj_to_str(struct jj_run *r, jv v)
{
    if (v.t == JJ_STR)
        return v;
    struct jj_buf b = {.r = r};
    pn_jj_put_str(&b, v);
    return pn_jj_buf_str(&b);
}

char *pn_jj_repr(struct jj_run *r, jv v)
{
    struct jj_buf b = {.r = r};
    pn_jj_put_repr(&b, v);
    pn_jj_putc(&b, '\0');
    return b.p;
}

void pn_jj_put_ascii_escaped(struct jj_buf *b, const char *p, size_t n)
{
    for (size_t i = 0, used; i < n; i += used) {
        uint32_t c = pn_jj_decode(p + i, p + n, &used);
        if (c < 0x80)
            pn_jj_putc(b, (char)c);
        else
            put_repr_char(b, c, 0, true);
    }
}

jv pn_jj_escape(struct jj_run *r, jv v)
{
    v = pn_jj_to_str(r, v);
    if (v.u.s->markup)
        return v;
    struct jj_buf b = {.r = r};
    for (size_t i = 0; i < v.u.s->n; i++) {
        char c = v.u.s->p[i];
        const char *safe = c == '&'    ? "&amp;"
                           : c == '<'  ? "&lt;"
                           : c == '>'  ? "&gt;"
                           : c == '\'' ? "&#39;"
                           : c == '"'  ? "&#34;"
                                       : NULL;
        if (safe)
            pn_jj_puts(&b, safe);
        else
            pn_jj_putc(&b, c);
    }
    jv out = pn_jj_buf_str(&b);
    out.u.s->markup = true;
    return out;
}
