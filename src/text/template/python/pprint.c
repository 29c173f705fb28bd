/* The `pprint` filter: Python's pprint.pformat, 80 columns wide. */
#include "text/template/value.h"

#include <string.h>

enum { WIDTH = 80 };

/* Sorts keys by value if they are comparable, else by the name of their type. */
static jv sorted_copy(struct jj_run *r, const struct jj_dict *d)
{
    jv items = pn_jj_list(r, d->n), *keys = pn_jj_array(r, d->n + 1, sizeof *keys);
    bool strings = true, numbers = true;
    for (size_t i = 0; i < d->n; i++) {
        strings = strings && d->e[i].key.t == JJ_STR;
        numbers = numbers && jj_is_number(d->e[i].key);
    }
    for (size_t i = 0; i < d->n; i++) {
        jv key = d->e[i].key;
        keys[i] = strings || numbers ? key : pn_jj_cstr(r, pn_jj_type_name(key));
        pn_jj_push(r, items, pn_jj_pair(r, key, d->e[i].value));
    }
    items = pn_jj_sorted(r, items, keys, false);
    struct jj_dict *sorted = pn_jj_dict(r, d->n);
    for (size_t i = 0; i < d->n; i++)
        pn_jj_dict_set(r, sorted, items.u.seq->v[i].u.seq->v[0], items.u.seq->v[i].u.seq->v[1]);
    return jj_dict_value(sorted);
}

/* The same value with all dictionaries sorted, so that repr() prints the same as pprint. */
static jv sort_all(struct jj_run *r, jv v)
{
    pn_jj_enter(r);
    pn_jj_step(r, 1);
    if (v.t == JJ_DICT) {
        v = sorted_copy(r, v.u.dict);
        for (size_t i = 0; i < v.u.dict->n; i++)
            v.u.dict->e[i].value = sort_all(r, v.u.dict->e[i].value);
    } else if (jj_is_seq(v)) {
        jv copy = v.t == JJ_LIST ? pn_jj_list(r, v.u.seq->n) : pn_jj_tuple(r, v.u.seq->n);
        for (size_t i = 0; i < v.u.seq->n; i++)
            pn_jj_push(r, copy, sort_all(r, v.u.seq->v[i]));
        v = copy;
    }
    pn_jj_leave(r);
    return v;
}

static int64_t chars_of(const char *p)
{
    struct jj_str s = {.p = p, .n = strlen(p), .chars = -1};
    return pn_jj_chars(&s);
}

static void line_break(struct jj_buf *b, int64_t indent)
{
    pn_jj_putc(b, '\n');
    pn_jj_pad(b, ' ', indent);
}

static void push_repr(struct jj_run *r, jv chunks, const char *p, size_t n)
{
    pn_jj_push(r, chunks, pn_jj_cstr(r, pn_jj_repr(r, pn_jj_str(r, p, n))));
}

/* Cuts a line that is too long after white space. */
static void cut_line(struct jj_run *r, jv chunks, const struct jj_str *line, int64_t width, int64_t last_width)
{
    const char *p = line->p, *end = p + line->n, *start = p;
    while (p < end) {
        const char *part = p;
        size_t used;
        while (p < end && !pn_jj_is_space(pn_jj_decode(p, end, &used)))
            p += used;
        while (p < end && pn_jj_is_space(pn_jj_decode(p, end, &used)))
            p += used;
        const char *candidate = pn_jj_repr(r, pn_jj_str(r, start, (size_t)(p - start)));
        if (chars_of(candidate) > (p == end ? last_width : width) && part > start) {
            push_repr(r, chunks, start, (size_t)(part - start));
            start = part;
        }
    }
    if (start < end)
        push_repr(r, chunks, start, (size_t)(end - start));
}

static void put_text(struct jj_buf *b, jv v, int64_t indent, int64_t allowance, int level)
{
    struct jj_run *r = b->r;
    jv chunks = pn_jj_list(r, 0);
    const struct jj_seq *lines = pn_jj_splitlines(r, v.u.s, true).u.seq;
    if (level == 1) {
        indent++;
        allowance++;
    }
    for (size_t i = 0; i < lines->n; i++) {
        int64_t width = WIDTH - indent, last = i + 1 == lines->n ? width - allowance : width;
        const struct jj_str *line = lines->v[i].u.s;
        const char *rep = pn_jj_repr(r, lines->v[i]);
        if (chars_of(rep) <= last)
            push_repr(r, chunks, line->p, line->n);
        else
            cut_line(r, chunks, line, width, last);
    }
    if (chunks.u.seq->n == 1) {
        pn_jj_put_repr(b, v);
        return;
    }
    if (level == 1)
        pn_jj_putc(b, '(');
    for (size_t i = 0; i < chunks.u.seq->n; i++) {
        if (i)
            line_break(b, indent);
        pn_jj_put_str(b, chunks.u.seq->v[i]);
    }
    if (level == 1)
        pn_jj_putc(b, ')');
}

static void put_pretty(struct jj_buf *b, jv v, int64_t indent, int64_t allowance, int level)
{
    struct jj_run *r = b->r;
    const char *rep = pn_jj_repr(r, v);
    level++;
    if (chars_of(rep) <= WIDTH - indent - allowance ||
        !(v.t == JJ_DICT || jj_is_seq(v) || (v.t == JJ_STR && v.u.s->n && !v.u.s->markup))) {
        pn_jj_puts(b, rep);
        return;
    }
    pn_jj_enter(r);
    if (v.t == JJ_STR) {
        put_text(b, v, indent, allowance, level);
    } else if (v.t == JJ_DICT) {
        pn_jj_putc(b, '{');
        for (size_t i = 0; i < v.u.dict->n; i++) {
            const char *key = pn_jj_repr(r, v.u.dict->e[i].key);
            if (i) {
                pn_jj_putc(b, ',');
                line_break(b, indent + 1);
            }
            pn_jj_puts(b, key);
            pn_jj_puts(b, ": ");
            put_pretty(b, v.u.dict->e[i].value, indent + 1 + chars_of(key) + 2,
                       i + 1 == v.u.dict->n ? allowance + 1 : 1, level);
        }
        pn_jj_putc(b, '}');
    } else {
        const char *close = v.t == JJ_LIST ? "]" : v.u.seq->n == 1 ? ",)" : ")";
        pn_jj_putc(b, v.t == JJ_LIST ? '[' : '(');
        for (size_t i = 0; i < v.u.seq->n; i++) {
            if (i) {
                pn_jj_putc(b, ',');
                line_break(b, indent + 1);
            }
            put_pretty(b, v.u.seq->v[i], indent + 1, i + 1 == v.u.seq->n ? allowance + (int64_t)strlen(close) : 1,
                       level);
        }
        pn_jj_puts(b, close);
    }
    pn_jj_leave(r);
}

jv pn_jj_filter_pprint(struct jj_run *r, jv v, const struct jj_args *args)
{
    struct jj_buf b = {.r = r};
    pn_jj_bind(r, "do_pprint", args, 1, NULL, 0, 0, NULL);
    put_pretty(&b, sort_all(r, v), 0, 0, 0);
    return pn_jj_buf_str(&b);
}
