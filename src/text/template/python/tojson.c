/* JSON of values: Hugging Face's `tojson`, which is Python's json.dumps. */
#include "text/template/value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct writer {
    struct jj_buf *b;
    bool ascii, sort, indented;
    struct jj_str indent, item, key; /* separators */
};

static void put_string(struct writer *w, const struct jj_str *s)
{
    char text[16];
    size_t run = 0;
    pn_jj_putc(w->b, '"');
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        const char *escape = NULL;
        if (c == '"' || c == '\\')
            escape = c == '"' ? "\\\"" : "\\\\";
        else if (c < 0x20 || (w->ascii && c > 0x7E)) {
            static const char letters[] = "\bb\ff\nn\rr\tt";
            const char *l = c < 0x20 && c ? strchr(letters, (int)c) : NULL;
            if (l && (l - letters) % 2 == 0)
                snprintf(text, sizeof text, "\\%c", l[1]);
            else if (c < 0x10000)
                snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
            else
                snprintf(text, sizeof text, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((c - 0x10000) >> 10)),
                         (unsigned)(0xDC00 + ((c - 0x10000) & 0x3FF)));
            escape = w->ascii && c == 0x7F ? NULL : text;
        }
        if (escape) {
            pn_jj_put(w->b, s->p + run, i - run);
            pn_jj_puts(w->b, escape);
            run = i + used;
        }
    }
    pn_jj_put(w->b, s->p + run, s->n - run);
    pn_jj_putc(w->b, '"');
}

static void put_number(struct writer *w, jv v)
{
    if (v.t == JJ_FLOAT && !isfinite(v.u.d))
        pn_jj_puts(w->b, isnan(v.u.d) ? "NaN" : v.u.d > 0 ? "Infinity" : "-Infinity");
    else if (v.t == JJ_FLOAT)
        pn_jj_put_float(w->b, v.u.d);
    else
        pn_jj_put_int(w->b, v, 10, false);
}

static void new_line(struct writer *w, size_t level)
{
    if (!w->indented)
        return;
    pn_jj_putc(w->b, '\n');
    for (size_t i = 0; i < level; i++)
        pn_jj_put(w->b, w->indent.p, w->indent.n);
}

static void put_key(struct writer *w, jv key)
{
    struct jj_buf b = {.r = w->b->r}, *out = w->b;
    if (key.t == JJ_STR) {
        put_string(w, key.u.s);
        return;
    }
    if (key.t != JJ_NONE && !jj_is_number(key))
        pn_jj_raise(w->b->r, "TypeError", "keys must be str, int, float, bool or None, not %s", pn_jj_type_name(key));
    if (key.t == JJ_NONE || key.t == JJ_BOOL) {
        pn_jj_puts(&b, key.t == JJ_NONE ? "null" : key.u.b ? "true" : "false");
    } else {
        w->b = &b;
        put_number(w, key);
        w->b = out;
    }
    put_string(w, pn_jj_buf_str(&b).u.s);
}

static void put_value(struct writer *w, jv v, size_t level);

static void put_dict(struct writer *w, const struct jj_dict *d, size_t level)
{
    struct jj_run *r = w->b->r;
    jv items = pn_jj_list(r, d->n);
    for (size_t i = 0; i < d->n; i++)
        pn_jj_push(r, items, pn_jj_pair(r, d->e[i].key, d->e[i].value));
    if (w->sort) /* by (key, value), and keys differ */
        items = pn_jj_sorted(r, items, items.u.seq->v, false);
    pn_jj_putc(w->b, '{');
    for (size_t i = 0; i < d->n; i++) {
        const jv *pair = items.u.seq->v[i].u.seq->v;
        if (i)
            pn_jj_put(w->b, w->item.p, w->item.n);
        new_line(w, level + 1);
        put_key(w, pair[0]);
        pn_jj_put(w->b, w->key.p, w->key.n);
        put_value(w, pair[1], level + 1);
    }
    if (d->n)
        new_line(w, level);
    pn_jj_putc(w->b, '}');
}

static void put_list(struct writer *w, const struct jj_seq *s, size_t level)
{
    pn_jj_putc(w->b, '[');
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            pn_jj_put(w->b, w->item.p, w->item.n);
        new_line(w, level + 1);
        put_value(w, s->v[i], level + 1);
    }
    if (s->n)
        new_line(w, level);
    pn_jj_putc(w->b, ']');
}

static void put_value(struct writer *w, jv v, size_t level)
{
    pn_jj_enter(w->b->r);
    pn_jj_step(w->b->r, 1);
    switch (v.t) {
    case JJ_NONE:
        pn_jj_puts(w->b, "null");
        break;
    case JJ_BOOL:
        pn_jj_puts(w->b, v.u.b ? "true" : "false");
        break;
    case JJ_INT:
    case JJ_BIG:
    case JJ_FLOAT:
        put_number(w, v);
        break;
    case JJ_STR:
        put_string(w, v.u.s);
        break;
    case JJ_LIST:
    case JJ_TUPLE:
        put_list(w, v.u.seq, level);
        break;
    case JJ_DICT:
        put_dict(w, v.u.dict, level);
        break;
    default:
        pn_jj_raise(w->b->r, "TypeError", "Object of type %s is not JSON serializable", pn_jj_type_name(v));
    }
    pn_jj_leave(w->b->r);
}

static void set_separators(struct jj_run *r, struct writer *w, jv separators)
{
    w->item = (struct jj_str){.p = w->indented ? "," : ", ", .n = w->indented ? 1 : 2};
    w->key = (struct jj_str){.p = ": ", .n = 2};
    if (separators.t == JJ_MISSING || separators.t == JJ_NONE)
        return;
    if (!pn_jj_iterable(separators))
        pn_jj_raise(r, "TypeError", "cannot unpack non-iterable %s object", pn_jj_type_name(separators));
    const struct jj_seq *pair = pn_jj_to_list(r, separators).u.seq;
    if (pair->n != 2)
        pn_jj_raise(r, "ValueError",
                    pair->n < 2 ? "not enough values to unpack (expected 2, got %zu)"
                                : "too many values to unpack (expected 2)",
                    pair->n);
    for (size_t i = 0; i < 2; i++) {
        if (pair->v[i].t != JJ_STR)
            pn_jj_raise(r, "TypeError", "make_encoder() argument %zu must be str, not %s", i + 5,
                        pn_jj_type_name(pair->v[i]));
        *(i ? &w->key : &w->item) = *pair->v[i].u.s;
    }
}

jv pn_jj_filter_tojson(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
    jv a[4];
    pn_jj_bind(r, "tojson", args, 1, params, 4, 0, a);
    struct jj_buf b = {.r = r}, pad = {.r = r};
    struct writer w = {.b = &b, .indented = a[1].t != JJ_MISSING && a[1].t != JJ_NONE};
    w.ascii = a[0].t != JJ_MISSING && pn_jj_truth(r, a[0]);
    w.sort = a[3].t != JJ_MISSING && pn_jj_truth(r, a[3]);
    if (w.indented && a[1].t == JJ_STR)
        w.indent = *a[1].u.s;
    else if (w.indented && jj_is_int(a[1])) {
        pn_jj_pad(&pad, ' ', jj_as_int(a[1]));
        w.indent = (struct jj_str){.p = pad.n ? pad.p : "", .n = pad.n};
    } else if (w.indented) {
        pn_jj_raise(r, "TypeError", "can't multiply sequence by non-int of type '%s'", pn_jj_type_name(a[1]));
    }
    set_separators(r, &w, a[2]);
    put_value(&w, v, 0);
    return pn_jj_buf_str(&b);
}
