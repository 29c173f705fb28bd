/* Filters over sequences and mappings. Generators of jinja2 are lazy here, too: they can be walked once, and raise
 * their errors when walked. */
#include "text/template/value.h"

#include "base/clock.h"
#include "base/random.h"

#include <string.h>

static void bind(struct jj_run *r, const char *name, const struct jj_args *args, const char *const *params, size_t n,
                 size_t required, jv *out)
{
    pn_jj_bind(r, name, args, 1, params, n, required, out);
}

static bool truth_or(struct jj_run *r, jv v, bool missing)
{
    return v.t == JJ_MISSING ? missing : pn_jj_truth(r, v);
}

static jv or_none(jv v)
{
    return v.t == JJ_MISSING ? jj_none() : v;
}

static int64_t int_arg(struct jj_run *r, jv v)
{
    if (!jj_is_int(v))
        pn_jj_raise(r, "TypeError", "'%s' object cannot be interpreted as an integer", pn_jj_type_name(v));
    return jj_as_int(v);
}

/* ---- attribute paths: "a.b.0" ---- */

static bool is_digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return n > 0;
}

/* Follows one path; a default replaces undefined values on the way. */
static jv follow(struct jj_run *r, jv item, const char *p, size_t n, jv fallback)
{
    const char *end = p + n;
    for (;;) {
        const char *dot = p < end ? memchr(p, '.', (size_t)(end - p)) : NULL;
        size_t part = (size_t)((dot ? dot : end) - p);
        bool ok = false;
        jv key = pn_jj_str(r, p, part);
        if (is_digits(p, part))
            key = pn_jj_parse_int(r, p, part, 10, &ok);
        item = pn_jj_getitem(r, item, key);
        if (item.t == JJ_UNDEFINED && fallback.t != JJ_NONE)
            item = fallback;
        if (!dot)
            return item;
        p = dot + 1;
    }
}

static jv get_path(struct jj_run *r, jv item, jv path, jv fallback)
{
    if (path.t == JJ_NONE)
        return item;
    if (path.t == JJ_STR)
        return follow(r, item, path.u.s->p, path.u.s->n, fallback);
    item = pn_jj_getitem(r, item, path);
    return item.t == JJ_UNDEFINED && fallback.t != JJ_NONE ? fallback : item;
}

static jv ignore_case(struct jj_run *r, jv v)
{
    return v.t == JJ_STR ? pn_jj_lower(r, v.u.s) : v;
}

/* ---- whole sequences ---- */

static jv filter_length(struct jj_run *r, jv v, const struct jj_args *args)
{
    if (args->n_pos || args->n_kw)
        pn_jj_raise(r, "TypeError", "len() takes exactly one argument (%zu given)", args->n_pos + args->n_kw + 1);
    return jj_int(pn_jj_len(r, v));
}

static jv filter_list(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind(r, "sync_do_list", args, NULL, 0, 0, NULL);
    return pn_jj_to_list(r, v);
}

static jv filter_default(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"default_value", "boolean"};
    jv a[2];
    bind(r, "do_default", args, params, 2, 0, a);
    if (v.t == JJ_UNDEFINED || (truth_or(r, a[1], false) && !pn_jj_truth(r, v)))
        return a[0].t == JJ_MISSING ? pn_jj_cstr(r, "") : a[0];
    return v;
}

static jv filter_first(struct jj_run *r, jv v, const struct jj_args *args)
{
    jv item;
    bind(r, "sync_do_first", args, NULL, 0, 0, NULL);
    if (pn_jj_next(r, pn_jj_iter(r, v), &item))
        return item;
    return pn_jj_undefined_hint(r, "No first item, sequence was empty.");
}

static jv filter_last(struct jj_run *r, jv v, const struct jj_args *args)
{
    bool ok;
    jv item;
    bind(r, "do_last", args, NULL, 0, 0, NULL);
    if (v.t == JJ_UNDEFINED)
        return pn_jj_undefined_hint(r, "No last item, sequence was empty.");
    jv back = pn_jj_reversed(r, v, &ok);
    if (!ok)
        pn_jj_raise(r, "TypeError", "'%s' object is not reversible", pn_jj_type_name(v));
    if (pn_jj_next(r, back.u.iter, &item))
        return item;
    return pn_jj_undefined_hint(r, "No last item, sequence was empty.");
}

static jv filter_random(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind(r, "do_random", args, NULL, 0, 0, NULL);
    int64_t n = pn_jj_len(r, v);
    if (n == 0)
        return pn_jj_undefined_hint(r, "No random item, sequence was empty.");
    struct pn_rng rng = {.state = pn_clock_ns()};
    return pn_jj_getitem(r, v, jj_int((int64_t)(pn_rng_u64(&rng) % (uint64_t)n)));
}

static jv filter_reverse(struct jj_run *r, jv v, const struct jj_args *args)
{
    bool ok;
    bind(r, "do_reverse", args, NULL, 0, 0, NULL);
    if (v.t == JJ_STR)
        return pn_jj_slice(r, v, jj_none(), jj_none(), jj_int(-1));
    jv back = pn_jj_reversed(r, v, &ok);
    if (ok)
        return back;
    if (!pn_jj_iterable(v))
        pn_jj_raise(r, "FilterArgumentError", "argument must be iterable");
    jv list = pn_jj_to_list(r, v);
    back = pn_jj_reversed(r, list, &ok);
    return v.t == JJ_UNDEFINED ? back : pn_jj_to_list(r, back);
}

static jv filter_join(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"d", "attribute"};
    jv a[2], item;
    bind(r, "sync_do_join", args, params, 2, 0, a);
    jv glue = a[0].t == JJ_MISSING ? pn_jj_cstr(r, "") : pn_jj_to_str(r, a[0]), list = pn_jj_list(r, 0);
    struct jj_iter *it = pn_jj_iter(r, v);
    bool markup = r->autoescape && glue.u.s->markup;
    while (pn_jj_next(r, it, &item)) {
        item = get_path(r, item, or_none(a[1]), jj_none());
        item = pn_jj_to_str(r, item);
        markup = markup || (r->autoescape && item.u.s->markup);
        pn_jj_push(r, list, item);
    }
    struct jj_buf b = {.r = r};
    for (size_t i = 0; i < list.u.seq->n; i++) {
        if (i)
            pn_jj_put_str(&b, markup ? pn_jj_escape(r, glue) : glue);
        pn_jj_put_str(&b, markup ? pn_jj_escape(r, list.u.seq->v[i]) : list.u.seq->v[i]);
    }
    jv out = pn_jj_buf_str(&b);
    out.u.s->markup = markup;
    return out;
}

static jv filter_sum(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"attribute", "start"};
    jv a[2], item;
    bind(r, "sync_do_sum", args, params, 2, 0, a);
    jv total = a[1].t == JJ_MISSING ? jj_int(0) : a[1];
    struct jj_iter *it = pn_jj_iter(r, v);
    if (total.t == JJ_STR)
        pn_jj_raise(r, "TypeError", "sum() can't sum strings [use ''.join(seq) instead]");
    while (pn_jj_next(r, it, &item))
        total = pn_jj_binary(r, '+', total, get_path(r, item, or_none(a[0]), jj_none()));
    return total;
}

static jv min_or_max(struct jj_run *r, jv v, const struct jj_args *args, const char *op)
{
    static const char *const params[] = {"case_sensitive", "attribute"};
    jv a[2], item, best, best_key;
    bind(r, *op == '<' ? "do_min" : "do_max", args, params, 2, 0, a);
    bool fold = !truth_or(r, a[0], false);
    struct jj_iter *it = pn_jj_iter(r, v);
    if (!pn_jj_next(r, it, &best))
        return pn_jj_undefined_hint(r, "No aggregated item, sequence was empty.");
    best_key = get_path(r, best, or_none(a[1]), jj_none());
    best_key = fold ? ignore_case(r, best_key) : best_key;
    while (pn_jj_next(r, it, &item)) {
        jv key = get_path(r, item, or_none(a[1]), jj_none());
        key = fold ? ignore_case(r, key) : key;
        if (pn_jj_compare(r, op, key, best_key)) {
            best = item;
            best_key = key;
        }
    }
    return best;
}

static jv filter_min(struct jj_run *r, jv v, const struct jj_args *args)
{
    return min_or_max(r, v, args, "<");
}

static jv filter_max(struct jj_run *r, jv v, const struct jj_args *args)
{
    return min_or_max(r, v, args, ">");
}

/* ---- sorting ---- */

static jv filter_dictsort(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"case_sensitive", "by", "reverse"};
    jv a[3];
    bind(r, "do_dictsort", args, params, 3, 0, a);
    bool by_value = pn_jj_is(a[1], "value"), fold = !truth_or(r, a[0], false);
    if (a[1].t != JJ_MISSING && !by_value && !pn_jj_is(a[1], "key"))
        pn_jj_raise(r, "FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
    if (v.t != JJ_DICT)
        pn_jj_no_attribute(r, v, "items");
    const struct jj_dict *d = v.u.dict;
    jv items = pn_jj_list(r, d->n), *keys = pn_jj_array(r, d->n + 1, sizeof *keys);
    for (size_t i = 0; i < d->n; i++) {
        jv key = by_value ? d->e[i].value : d->e[i].key;
        keys[i] = fold ? ignore_case(r, key) : key;
        pn_jj_push(r, items, pn_jj_pair(r, d->e[i].key, d->e[i].value));
    }
    return pn_jj_sorted(r, items, keys, truth_or(r, a[2], false));
}

/* The values of "a,b.c" of an item, as a list. */
static jv sort_key(struct jj_run *r, jv item, jv attribute, bool fold)
{
    jv key = pn_jj_list(r, 1);
    if (attribute.t != JJ_STR) {
        jv v = get_path(r, item, attribute, jj_none());
        pn_jj_push(r, key, fold ? ignore_case(r, v) : v);
        return key;
    }
    const char *p = attribute.u.s->p, *end = p + attribute.u.s->n;
    for (;;) {
        const char *comma = p < end ? memchr(p, ',', (size_t)(end - p)) : NULL;
        jv v = follow(r, item, p, (size_t)((comma ? comma : end) - p), jj_none());
        pn_jj_push(r, key, fold ? ignore_case(r, v) : v);
        if (!comma)
            return key;
        p = comma + 1;
    }
}

static jv filter_sort(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"reverse", "case_sensitive", "attribute"};
    jv a[3];
    bind(r, "do_sort", args, params, 3, 0, a);
    jv list = pn_jj_to_list(r, v), *keys = pn_jj_array(r, list.u.seq->n + 1, sizeof *keys);
    for (size_t i = 0; i < list.u.seq->n; i++)
        keys[i] = sort_key(r, list.u.seq->v[i], or_none(a[2]), !truth_or(r, a[1], false));
    return pn_jj_sorted(r, list, keys, truth_or(r, a[0], false));
}

static jv filter_groupby(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"attribute", "default", "case_sensitive"};
    jv a[3];
    bind(r, "sync_do_groupby", args, params, 3, 1, a);
    bool fold = !truth_or(r, a[2], false);
    jv list = pn_jj_to_list(r, v), out = pn_jj_list(r, 0), group = {.t = JJ_MISSING}, last = {.t = JJ_MISSING};
    size_t n = list.u.seq->n;
    jv *keys = pn_jj_array(r, n + 1, sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        keys[i] = get_path(r, list.u.seq->v[i], a[0], or_none(a[1]));
        keys[i] = fold ? ignore_case(r, keys[i]) : keys[i];
    }
    list = pn_jj_sorted(r, list, keys, false);
    for (size_t i = 0; i < n; i++) {
        jv item = list.u.seq->v[i], real = get_path(r, item, a[0], or_none(a[1]));
        jv key = fold ? ignore_case(r, real) : real;
        if (last.t == JJ_MISSING || !pn_jj_equal(r, last, key)) {
            group = pn_jj_pair(r, real, pn_jj_list(r, 0));
            group.u.seq->group = true;
            pn_jj_push(r, out, group);
            last = key;
        }
        pn_jj_push(r, group.u.seq->v[1], item);
    }
    return out;
}

/* ---- generators ---- */

struct unique_state {
    struct jj_iter *it;
    struct jj_dict *seen;
    jv attribute;
    bool fold;
};

static bool next_unique(struct jj_run *r, struct jj_iter *it, jv *out)
{
    struct unique_state *s = it->state;
    if (!s->it)
        s->it = pn_jj_iter(r, it->src);
    while (pn_jj_next(r, s->it, out)) {
        jv key = get_path(r, *out, s->attribute, jj_none());
        key = s->fold ? ignore_case(r, key) : key;
        if (!pn_jj_dict_get(r, s->seen, key)) {
            pn_jj_dict_set(r, s->seen, key, jj_none());
            return true;
        }
    }
    return false;
}

static jv filter_unique(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"case_sensitive", "attribute"};
    jv a[2];
    bind(r, "sync_do_unique", args, params, 2, 0, a);
    struct unique_state *s = pn_jj_alloc(r, sizeof *s);
    s->seen = pn_jj_dict(r, 0);
    s->attribute = or_none(a[1]);
    s->fold = !truth_or(r, a[0], false);
    return pn_jj_generator(r, "sync_do_unique", v, s, next_unique);
}

static bool next_item_pair(struct jj_run *r, struct jj_iter *it, jv *out)
{
    if (it->src.t == JJ_UNDEFINED)
        return false;
    if (it->src.t != JJ_DICT)
        pn_jj_raise(r, "TypeError", "Can only get item pairs from a mapping.");
    const struct jj_dict *d = it->src.u.dict;
    if (it->pos >= d->n)
        return false;
    *out = pn_jj_pair(r, d->e[it->pos].key, d->e[it->pos].value);
    it->pos++;
    return true;
}

static jv filter_items(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind(r, "do_items", args, NULL, 0, 0, NULL);
    return pn_jj_generator(r, "do_items", v, NULL, next_item_pair);
}

struct batch_state {
    struct jj_iter *it;
    jv n, fill, pending;
    jv list; /* slice: all values */
};

static bool next_batch(struct jj_run *r, struct jj_iter *it, jv *out)
{
    struct batch_state *s = it->state;
    jv item, batch = pn_jj_list(r, 0);
    if (!s->it)
        s->it = pn_jj_iter(r, it->src);
    if (it->done)
        return false;
    if (s->pending.t != JJ_MISSING)
        pn_jj_push(r, batch, s->pending);
    s->pending = (jv){.t = JJ_MISSING};
    while (pn_jj_next(r, s->it, &item)) {
        if (pn_jj_equal(r, jj_int((int64_t)batch.u.seq->n), s->n)) {
            s->pending = item;
            *out = batch;
            return true;
        }
        pn_jj_push(r, batch, item);
    }
    it->done = true;
    if (batch.u.seq->n == 0)
        return false;
    if (s->fill.t != JJ_NONE && pn_jj_compare(r, "<", jj_int((int64_t)batch.u.seq->n), s->n)) {
        int64_t missing = int_arg(r, s->n) - (int64_t)batch.u.seq->n;
        pn_jj_step(r, (size_t)missing);
        for (int64_t i = 0; i < missing; i++)
            pn_jj_push(r, batch, s->fill);
    }
    *out = batch;
    return true;
}

static jv filter_batch(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"linecount", "fill_with"};
    jv a[2];
    bind(r, "do_batch", args, params, 2, 1, a);
    struct batch_state *s = pn_jj_alloc(r, sizeof *s);
    s->n = a[0];
    s->fill = or_none(a[1]);
    return pn_jj_generator(r, "do_batch", v, s, next_batch);
}

static bool next_slice(struct jj_run *r, struct jj_iter *it, jv *out)
{
    struct batch_state *s = it->state;
    if (s->list.t == JJ_MISSING) {
        s->list = pn_jj_to_list(r, it->src);
        pn_jj_binary(r, 'F', jj_int(1), s->n);
    }
    int64_t slices = int_arg(r, s->n), n = (int64_t)s->list.u.seq->n, i = (int64_t)it->pos++;
    if (slices <= 0 || i >= slices)
        return false;
    int64_t each = n / slices, extra = n % slices;
    int64_t start = i * each + (i < extra ? i : extra), end = start + each + (i < extra);
    *out = pn_jj_list(r, (size_t)(end - start));
    for (int64_t k = start; k < end; k++)
        pn_jj_push(r, *out, s->list.u.seq->v[k]);
    if (s->fill.t != JJ_NONE && i >= extra)
        pn_jj_push(r, *out, s->fill);
    return true;
}

static jv filter_slice(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"slices", "fill_with"};
    jv a[2];
    bind(r, "sync_do_slice", args, params, 2, 1, a);
    struct batch_state *s = pn_jj_alloc(r, sizeof *s);
    s->n = a[0];
    s->fill = or_none(a[1]);
    return pn_jj_generator(r, "sync_do_slice", v, s, next_slice);
}

/* ---- map, select, reject ---- */

struct apply_state {
    struct jj_iter *it;
    struct jj_args args;
    bool negate, by_attribute;
};

static _Noreturn void no_such(struct jj_run *r, const char *what, jv name)
{
    const char *quoted = pn_jj_repr(r, name);
    if (name.t == JJ_UNDEFINED)
        pn_jj_raise(r, "TemplateRuntimeError", "No %s named %s. (%s; did you forget to quote the callable name?)", what,
                    quoted, pn_jj_undefined_message(r, name.u.undef));
    if (!pn_jj_hashable(name))
        pn_jj_raise(r, "TypeError", "unhashable type: '%s'", pn_jj_type_name(name));
    pn_jj_raise(r, "TemplateRuntimeError", "No %s named %s.", what, quoted);
}

static struct jj_args rest_of(const struct jj_args *args, size_t skip)
{
    struct jj_args rest = *args;
    rest.pos += skip;
    rest.n_pos -= skip;
    return rest;
}

static const struct jj_arg *keyword(const struct jj_args *args, const char *name)
{
    for (size_t i = 0; i < args->n_kw; i++)
        if (args->kw[i].name->n == strlen(name) && memcmp(args->kw[i].name->p, name, strlen(name)) == 0)
            return &args->kw[i];
    return NULL;
}

static jv map_one(struct jj_run *r, const struct jj_args *args, jv item)
{
    const struct jj_arg *attribute = args->n_pos == 0 ? keyword(args, "attribute") : NULL;
    if (attribute) {
        const struct jj_arg *fallback = keyword(args, "default");
        for (size_t i = 0; i < args->n_kw; i++)
            if (&args->kw[i] != attribute && &args->kw[i] != fallback)
                pn_jj_raise(r, "FilterArgumentError", "Unexpected keyword argument %s",
                            pn_jj_repr(r, pn_jj_str(r, args->kw[i].name->p, args->kw[i].name->n)));
        return get_path(r, item, attribute->value, fallback ? fallback->value : jj_none());
    }
    if (args->n_pos == 0)
        pn_jj_raise(r, "FilterArgumentError", "map requires a filter argument");
    jv name = args->pos[0];
    const struct jj_filter_def *def = name.t == JJ_STR ? pn_jj_find_filter(name.u.s->p, name.u.s->n) : NULL;
    if (!def)
        no_such(r, "filter", name);
    struct jj_args rest = rest_of(args, 1);
    pn_jj_enter(r);
    jv out = def->fn(r, item, &rest);
    pn_jj_leave(r);
    return out;
}

static bool next_mapped(struct jj_run *r, struct jj_iter *it, jv *out)
{
    struct apply_state *s = it->state;
    jv item;
    if (!s->it) {
        if (!pn_jj_truth(r, it->src))
            return false;
        s->it = pn_jj_iter(r, it->src);
    }
    if (!pn_jj_next(r, s->it, &item))
        return false;
    *out = map_one(r, &s->args, item);
    return true;
}

static jv new_apply(struct jj_run *r, const char *name, jv v, const struct jj_args *args, bool negate,
                    bool by_attribute, bool (*next)(struct jj_run *, struct jj_iter *, jv *))
{
    struct apply_state *s = pn_jj_alloc(r, sizeof *s);
    s->args = *args;
    s->negate = negate;
    s->by_attribute = by_attribute;
    return pn_jj_generator(r, name, v, s, next);
}

static jv filter_map(struct jj_run *r, jv v, const struct jj_args *args)
{
    return new_apply(r, "sync_do_map", v, args, false, false, next_mapped);
}

static bool selected(struct jj_run *r, const struct apply_state *s, jv item)
{
    size_t off = s->by_attribute;
    if (s->by_attribute)
        item = get_path(r, item, s->args.pos[0], jj_none());
    if (s->args.n_pos <= off)
        return pn_jj_truth(r, item);
    jv name = s->args.pos[off];
    const struct jj_test_def *def = name.t == JJ_STR ? pn_jj_find_test(name.u.s->p, name.u.s->n) : NULL;
    if (!def)
        no_such(r, "test", name);
    struct jj_args rest = rest_of(&s->args, off + 1);
    return def->fn(r, item, &rest);
}

static bool next_selected(struct jj_run *r, struct jj_iter *it, jv *out)
{
    struct apply_state *s = it->state;
    if (!s->it) {
        if (!pn_jj_truth(r, it->src))
            return false;
        if (s->by_attribute && s->args.n_pos == 0)
            pn_jj_raise(r, "FilterArgumentError", "Missing parameter for attribute name");
        s->it = pn_jj_iter(r, it->src);
    }
    while (pn_jj_next(r, s->it, out))
        if (selected(r, s, *out) != s->negate)
            return true;
    return false;
}

static jv filter_select(struct jj_run *r, jv v, const struct jj_args *args)
{
    return new_apply(r, "select_or_reject", v, args, false, false, next_selected);
}

static jv filter_reject(struct jj_run *r, jv v, const struct jj_args *args)
{
    return new_apply(r, "select_or_reject", v, args, true, false, next_selected);
}

static jv filter_selectattr(struct jj_run *r, jv v, const struct jj_args *args)
{
    return new_apply(r, "select_or_reject", v, args, false, true, next_selected);
}

static jv filter_rejectattr(struct jj_run *r, jv v, const struct jj_args *args)
{
    return new_apply(r, "select_or_reject", v, args, true, true, next_selected);
}

static jv filter_attr(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"name"};
    jv name, out;
    bind(r, "do_attr", args, params, 1, 1, &name);
    if (name.t != JJ_STR)
        pn_jj_raise(r, "TypeError", "attribute name must be string, not '%s'", pn_jj_type_name(name));
    if (v.t == JJ_DICT) { /* an attribute only, never an item */
        out = pn_jj_getattr(r, jj_dict_value(pn_jj_dict(r, 0)), name.u.s);
        return out.t == JJ_UNDEFINED && !out.u.undef->security ? pn_jj_undefined_attr(r, v, name)
               : out.t == JJ_METHOD                            ? pn_jj_getattr(r, v, name.u.s)
                                                               : out;
    }
    return pn_jj_getattr(r, v, name.u.s);
}

static const struct jj_filter_def seq_filters[] = {
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"first", filter_first},
    {"groupby", filter_groupby},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"pprint", pn_jj_filter_pprint},
    {"random", filter_random},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"reverse", filter_reverse},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"sum", filter_sum},
    {"tojson", pn_jj_filter_tojson},
    {"unique", filter_unique},
    {NULL, NULL},
};

const struct jj_filter_def *pn_jj_find_filter(const char *p, size_t n)
{
    const struct jj_filter_def *tables[] = {pn_jj_text_filters, seq_filters};
    for (size_t t = 0; t < 2; t++)
        for (const struct jj_filter_def *f = tables[t]; f->name; f++)
            if (strlen(f->name) == n && memcmp(f->name, p, n) == 0)
                return f;
    return NULL;
}
