/* Truth, equality, order and membership; dictionaries, which compare keys like values; and the stable sort. */
#include "text/template/value.h"

#include <string.h>

/* ---- equality, order ---- */

bool pn_jj_truth(struct jj_run *r, jv v)
{
    switch (v.t) {
    case JJ_MISSING:
    case JJ_UNDEFINED:
    case JJ_NONE:
        return false;
    case JJ_BOOL:
        return v.u.b;
    case JJ_INT:
        return v.u.i != 0;
    case JJ_FLOAT:
        return v.u.d != 0;
    case JJ_STR:
        return v.u.s->n != 0;
    default:
        return !pn_jj_has_len(v) || pn_jj_len(r, v) != 0;
    }
}

bool pn_jj_same(jv a, jv b)
{
    if (a.t != b.t)
        return false;
    switch (a.t) {
    case JJ_NONE:
        return true;
    case JJ_BOOL:
        return a.u.b == b.u.b;
    case JJ_INT:
        return a.u.i == b.u.i; /* Python shares small integers and the constants of one template */
    case JJ_FLOAT:
        return a.u.d == b.u.d;
    case JJ_STR:
        return a.u.s == b.u.s ||
               (a.u.s->n == b.u.s->n && a.u.s->markup == b.u.s->markup && memcmp(a.u.s->p, b.u.s->p, a.u.s->n) == 0);
    default:
        return a.u.seq == b.u.seq;
    }
}

static bool dict_equal(struct jj_run *r, const struct jj_dict *a, const struct jj_dict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        jv *other = pn_jj_dict_get(r, b, a->e[i].key);
        if (!other || !pn_jj_equal(r, a->e[i].value, *other))
            return false;
    }
    return true;
}

/* Views of keys and items compare as sets. */
static bool view_equal(struct jj_run *r, const struct jj_view *a, const struct jj_view *b)
{
    if (a->kind == 'v' || b->kind == 'v' || a->kind != b->kind || a->dict->n != b->dict->n)
        return a == b;
    if (a->kind == 'i')
        return dict_equal(r, a->dict, b->dict);
    for (size_t i = 0; i < a->dict->n; i++)
        if (!pn_jj_dict_get(r, b->dict, a->dict->e[i].key))
            return false;
    return true;
}

static bool container_equal(struct jj_run *r, jv a, jv b)
{
    bool equal = true;
    pn_jj_enter(r);
    if (jj_is_seq(a)) {
        equal = a.u.seq->n == b.u.seq->n;
        for (size_t i = 0; equal && i < a.u.seq->n; i++)
            equal = pn_jj_equal(r, a.u.seq->v[i], b.u.seq->v[i]);
    } else {
        equal = a.t == JJ_DICT ? dict_equal(r, a.u.dict, b.u.dict) : view_equal(r, a.u.view, b.u.view);
    }
    pn_jj_leave(r);
    return equal;
}

bool pn_jj_equal(struct jj_run *r, jv a, jv b)
{
    pn_jj_step(r, 1);
    if (jj_is_number(a) && jj_is_number(b)) {
        bool unordered = false;
        return pn_jj_number_cmp(a, b, &unordered) == 0 && !unordered;
    }
    if (a.t != b.t)
        return false;
    switch (a.t) {
    case JJ_UNDEFINED:
    case JJ_NONE:
        return true;
    case JJ_STR:
        pn_jj_step(r, a.u.s->n == b.u.s->n ? a.u.s->n / 64 : 0);
        return a.u.s->n == b.u.s->n && memcmp(a.u.s->p, b.u.s->p, a.u.s->n) == 0;
    case JJ_LIST:
    case JJ_TUPLE:
        return a.u.seq == b.u.seq || container_equal(r, a, b);
    case JJ_DICT:
    case JJ_VIEW:
        return container_equal(r, a, b);
    case JJ_RANGE:
        return a.u.range->n == b.u.range->n &&
               (a.u.range->n == 0 ||
                (a.u.range->start == b.u.range->start && (a.u.range->n == 1 || a.u.range->step == b.u.range->step)));
    case JJ_METHOD:
        return a.u.method->def == b.u.method->def && pn_jj_same(a.u.method->self, b.u.method->self);
    default:
        return a.u.seq == b.u.seq;
    }
}

static int bytes_cmp(const struct jj_str *a, const struct jj_str *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int c = n ? memcmp(a->p, b->p, n) : 0; /* UTF-8 sorts like code points */
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

static bool order(const char *op, int c)
{
    return op[0] == '<' ? (op[1] ? c <= 0 : c < 0) : (op[1] ? c >= 0 : c > 0);
}

bool pn_jj_compare(struct jj_run *r, const char *op, jv a, jv b)
{
    pn_jj_step(r, 1);
    if (jj_is_number(a) && jj_is_number(b)) {
        bool unordered = false;
        int c = pn_jj_number_cmp(a, b, &unordered);
        return !unordered && order(op, c);
    }
    if (a.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, a);
    if (b.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, b);
    if (a.t == JJ_STR && b.t == JJ_STR)
        return order(op, bytes_cmp(a.u.s, b.u.s));
    if (jj_is_seq(a) && a.t == b.t) {
        const struct jj_seq *x = a.u.seq, *y = b.u.seq;
        size_t i = 0;
        while (i < x->n && i < y->n && pn_jj_equal(r, x->v[i], y->v[i]))
            i++;
        if (i == x->n || i == y->n)
            return order(op, (x->n > y->n) - (x->n < y->n));
        pn_jj_enter(r);
        bool result = pn_jj_compare(r, op, x->v[i], y->v[i]);
        pn_jj_leave(r);
        return result;
    }
    pn_jj_raise(r, "TypeError", "'%s' not supported between instances of '%s' and '%s'", op, pn_jj_type_name(a),
                pn_jj_type_name(b));
}

static bool str_contains(struct jj_run *r, const struct jj_str *in, const struct jj_str *what)
{
    pn_jj_step(r, in->n / 16);
    return what->n == 0 || (in->n && pn_jj_search(in->p, in->n, what->p, what->n) != NULL);
}

static bool view_contains(struct jj_run *r, const struct jj_view *view, jv item)
{
    if (view->kind == 'k')
        return pn_jj_dict_get(r, view->dict, item) != NULL;
    if (view->kind == 'i') {
        if (item.t != JJ_TUPLE || item.u.seq->n != 2)
            return false;
        jv *value = pn_jj_dict_get(r, view->dict, item.u.seq->v[0]);
        return value && pn_jj_equal(r, *value, item.u.seq->v[1]);
    }
    for (size_t i = 0; i < view->dict->n; i++)
        if (pn_jj_equal(r, view->dict->e[i].value, item))
            return true;
    return false;
}

bool pn_jj_contains(struct jj_run *r, jv item, jv container)
{
    jv got;
    switch (container.t) {
    case JJ_STR:
        if (item.t != JJ_STR)
            pn_jj_raise(r, "TypeError", "'in <string>' requires string as left operand, not %s", pn_jj_type_name(item));
        return str_contains(r, container.u.s, item.u.s);
    case JJ_DICT:
        return pn_jj_dict_get(r, container.u.dict, item) != NULL;
    case JJ_VIEW:
        return view_contains(r, container.u.view, item);
    default:
        break;
    }
    if (!pn_jj_iterable(container))
        pn_jj_raise(r, "TypeError", "argument of type '%s' is not iterable", pn_jj_type_name(container));
    struct jj_iter *it = pn_jj_iter(r, container);
    while (pn_jj_next(r, it, &got))
        if (pn_jj_equal(r, got, item))
            return true;
    return false;
}

/* ---- dictionaries ---- */

enum { SMALL_DICT = 8 };

struct jj_dict *pn_jj_dict(struct jj_run *r, size_t cap)
{
    struct jj_dict *d = pn_jj_alloc(r, sizeof *d);
    if (cap)
        d->e = pn_jj_array(r, cap, sizeof *d->e);
    d->cap = cap;
    return d;
}

static uint64_t hash_bytes(const char *p, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a with a final mix */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001B3u;
    h ^= h >> 29;
    return h * 0xBF58476D1CE4E5B9u;
}

bool pn_jj_hashable(jv v)
{
    if (v.t == JJ_LIST || v.t == JJ_DICT || (v.t == JJ_VIEW && v.u.view->kind != 'v'))
        return false;
    if (v.t != JJ_TUPLE)
        return true;
    for (size_t i = 0; i < v.u.seq->n; i++)
        if (!pn_jj_hashable(v.u.seq->v[i]))
            return false;
    return true;
}

static uint64_t hash(struct jj_run *r, jv v)
{
    if (v.t == JJ_STR)
        return hash_bytes(v.u.s->p, v.u.s->n);
    if (jj_is_number(v))
        return pn_jj_number_hash(v);
    if (v.t == JJ_TUPLE) {
        uint64_t h = 0x345678;
        pn_jj_enter(r);
        for (size_t i = 0; i < v.u.seq->n; i++)
            h = (h ^ hash(r, v.u.seq->v[i])) * 0x9E3779B97F4A7C15u;
        pn_jj_leave(r);
        pn_jj_step(r, v.u.seq->n);
        return h;
    }
    if (!pn_jj_hashable(v))
        pn_jj_raise(r, "TypeError", "unhashable type: '%s'", pn_jj_type_name(v));
    return (uint64_t)v.t; /* functions, ranges...: rare as keys, so equality decides */
}

static struct jj_entry *find(struct jj_run *r, const struct jj_dict *d, jv key, uint64_t h)
{
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->e[i].hash == h && pn_jj_equal(r, d->e[i].key, key))
                return &d->e[i];
        return NULL;
    }
    size_t mask = d->index_size - 1;
    for (size_t at = h & mask; d->index[at]; at = (at + 1) & mask) {
        struct jj_entry *e = &d->e[d->index[at] - 1];
        pn_jj_step(r, 1);
        if (e->hash == h && pn_jj_equal(r, e->key, key))
            return e;
    }
    return NULL;
}

static void reindex(struct jj_run *r, struct jj_dict *d)
{
    size_t size = d->index_size ? d->index_size * 2 : 4 * SMALL_DICT;
    while (size < d->n * 2)
        size *= 2;
    d->index = pn_jj_array(r, size, sizeof *d->index);
    d->index_size = size;
    for (size_t i = 0; i < d->n; i++) {
        size_t at = d->e[i].hash & (size - 1);
        while (d->index[at])
            at = (at + 1) & (size - 1);
        d->index[at] = (uint32_t)i + 1;
    }
}

void pn_jj_dict_set(struct jj_run *r, struct jj_dict *d, jv key, jv value)
{
    uint64_t h = hash(r, key);
    struct jj_entry *e = find(r, d, key, h);
    if (e) {
        e->value = value;
        return;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        struct jj_entry *grown = pn_jj_array(r, cap, sizeof *grown);
        if (d->n)
            memcpy(grown, d->e, d->n * sizeof *grown);
        d->e = grown;
        d->cap = cap;
    }
    d->e[d->n++] = (struct jj_entry){.key = key, .value = value, .hash = h};
    if (d->n > SMALL_DICT && d->n * 2 > d->index_size) {
        reindex(r, d);
    } else if (d->index) {
        size_t mask = d->index_size - 1, at = h & mask;
        while (d->index[at])
            at = (at + 1) & mask;
        d->index[at] = (uint32_t)d->n;
    }
}

jv *pn_jj_dict_get(struct jj_run *r, const struct jj_dict *d, jv key)
{
    struct jj_entry *e = find(r, d, key, hash(r, key));
    return e ? &e->value : NULL;
}

jv *pn_jj_dict_find(struct jj_run *r, const struct jj_dict *d, const char *p, size_t n)
{
    struct jj_str s = {.p = p, .n = n, .chars = -1};
    return pn_jj_dict_get(r, d, (jv){.t = JJ_STR, .u.s = &s});
}

/* ---- sorting ---- */

/* Bottom-up merge over indices, stable: asks only whether the later item is less than the earlier one. */
static void merge(struct jj_run *r, const jv *keys, const size_t *from, size_t *to, size_t lo, size_t mid, size_t hi)
{
    size_t a = lo, b = mid;
    for (size_t i = lo; i < hi; i++) {
        bool take_b = a == mid;
        if (!take_b && b < hi)
            take_b = pn_jj_compare(r, "<", keys[from[b]], keys[from[a]]);
        to[i] = take_b ? from[b++] : from[a++];
    }
}

jv pn_jj_sorted(struct jj_run *r, jv list, const jv *keys, bool reverse)
{
    size_t n = list.u.seq->n;
    size_t *from = pn_jj_array(r, n + 1, sizeof *from), *to = pn_jj_array(r, n + 1, sizeof *to);
    for (size_t i = 0; i < n; i++)
        from[i] = reverse ? n - 1 - i : i; /* reversed twice, so that equal items keep their order */
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            merge(r, keys, from, to, lo, mid, hi);
        }
        size_t *swap = from;
        from = to;
        to = swap;
    }
    jv sorted = pn_jj_list(r, n);
    for (size_t i = 0; i < n; i++)
        pn_jj_push(r, sorted, list.u.seq->v[from[reverse ? n - 1 - i : i]]);
    return sorted;
}
