/* The methods of lists, tuples, dictionaries, numbers, ranges and loops. Those of strings are in str_methods.c. */
#include "text/template/ast.h"

#include <math.h>
#include <string.h>

/* CPython's message for a wrong number of arguments depends on how the method parses them. */
static void need_args(struct jj_run *r, jv self, const char *name, const struct jj_args *args, size_t min, size_t max)
{
    const char *type = self.t == JJ_UNDEFINED ? "" : pn_jj_type_name(self);
    size_t bound = args->n_pos < min ? min : max;
    if (args->n_kw)
        pn_jj_raise(r, "TypeError", "%s.%s() takes no keyword arguments", type, name);
    if (args->n_pos >= min && args->n_pos <= max)
        return;
    if (max == 0)
        pn_jj_raise(r, "TypeError", "%s.%s() takes no arguments (%zu given)", type, name, args->n_pos);
    if (min == 1 && max == 1)
        pn_jj_raise(r, "TypeError", "%s.%s() takes exactly one argument (%zu given)", type, name, args->n_pos);
    pn_jj_raise(r, "TypeError", "%s expected at %s %zu argument%s, got %zu", name, args->n_pos < min ? "least" : "most",
                bound, bound == 1 ? "" : "s", args->n_pos);
}

static jv blocked(struct jj_run *r, jv self, const struct jj_args *args)
{
    (void)self, (void)args;
    pn_jj_raise(r, "SecurityError", "this method is not safe to call");
}

static jv seq_count(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "count", args, 1, 1);
    int64_t n = 0;
    for (size_t i = 0; i < self.u.seq->n; i++)
        n += pn_jj_equal(r, self.u.seq->v[i], args->pos[0]);
    return jj_int(n);
}

static int64_t index_arg(struct jj_run *r, jv v, int64_t n)
{
    if (!jj_is_int(v))
        pn_jj_raise(r, "TypeError", "slice indices must be integers or have an __index__ method");
    int64_t i = jj_as_int(v);
    if (i < 0)
        i = i + n < 0 ? 0 : i + n;
    return i > n ? n : i;
}

static jv seq_index(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "index", args, 1, 3);
    int64_t n = (int64_t)self.u.seq->n;
    int64_t from = args->n_pos > 1 ? index_arg(r, args->pos[1], n) : 0;
    int64_t to = args->n_pos > 2 ? index_arg(r, args->pos[2], n) : n;
    for (int64_t i = from; i < to; i++)
        if (pn_jj_equal(r, self.u.seq->v[i], args->pos[0]))
            return jj_int(i);
    if (self.t == JJ_TUPLE)
        pn_jj_raise(r, "ValueError", "tuple.index(x): x not in tuple");
    pn_jj_raise(r, "ValueError", "%s is not in list", pn_jj_repr(r, args->pos[0]));
}

static jv list_copy(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "copy", args, 0, 0);
    return pn_jj_to_list(r, self);
}

static jv dict_get(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "get", args, 1, 2);
    jv *v = pn_jj_dict_get(r, self.u.dict, args->pos[0]);
    return v ? *v : args->n_pos > 1 ? args->pos[1] : jj_none();
}

static jv dict_view(struct jj_run *r, jv self, char kind)
{
    struct jj_view *view = pn_jj_alloc(r, sizeof *view);
    *view = (struct jj_view){.dict = self.u.dict, .kind = kind};
    return (jv){.t = JJ_VIEW, .u.view = view};
}

static jv dict_items(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "items", args, 0, 0);
    return dict_view(r, self, 'i');
}

static jv dict_keys(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "keys", args, 0, 0);
    return dict_view(r, self, 'k');
}

static jv dict_values(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "values", args, 0, 0);
    return dict_view(r, self, 'v');
}

static jv dict_copy(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "copy", args, 0, 0);
    struct jj_dict *copy = pn_jj_dict(r, self.u.dict->n);
    for (size_t i = 0; i < self.u.dict->n; i++)
        pn_jj_dict_set(r, copy, self.u.dict->e[i].key, self.u.dict->e[i].value);
    return jj_dict_value(copy);
}

static jv dict_fromkeys(struct jj_run *r, jv self, const struct jj_args *args)
{
    (void)self;
    need_args(r, self, "fromkeys", args, 1, 2);
    struct jj_dict *d = pn_jj_dict(r, 0);
    struct jj_iter *it = pn_jj_iter(r, args->pos[0]);
    jv key;
    while (pn_jj_next(r, it, &key))
        pn_jj_dict_set(r, d, key, args->n_pos > 1 ? args->pos[1] : jj_none());
    return jj_dict_value(d);
}

static jv int_bit_length(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "bit_length", args, 0, 0);
    struct jj_buf b = {.r = r};
    pn_jj_put_int(&b, self, 2, false);
    size_t digits = b.n - (b.p[0] == '-');
    return jj_int(b.p[b.n - 1] == '0' && digits == 1 ? 0 : (int64_t)digits);
}

static jv int_bit_count(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "bit_count", args, 0, 0);
    struct jj_buf b = {.r = r};
    int64_t ones = 0;
    pn_jj_put_int(&b, self, 2, false);
    for (size_t i = 0; i < b.n; i++)
        ones += b.p[i] == '1';
    return jj_int(ones);
}

static jv number_conjugate(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "conjugate", args, 0, 0);
    return self.t == JJ_BOOL ? jj_int(self.u.b) : self;
}

static jv float_is_integer(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "is_integer", args, 0, 0);
    return jj_bool(isfinite(self.u.d) && floor(self.u.d) == self.u.d);
}

static jv range_count(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "count", args, 1, 1);
    return jj_int(pn_jj_contains(r, args->pos[0], self));
}

static jv range_index(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "index", args, 1, 1);
    const struct jj_range *x = self.u.range;
    for (int64_t i = 0; i < x->n; i++)
        if (pn_jj_equal(r, jj_int(x->start + i * x->step), args->pos[0]))
            return jj_int(i);
    pn_jj_raise(r, "ValueError", "%s is not in range", pn_jj_repr(r, args->pos[0]));
}

static jv view_isdisjoint(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "isdisjoint", args, 1, 1);
    struct jj_iter *it = pn_jj_iter(r, args->pos[0]);
    jv item;
    while (pn_jj_next(r, it, &item))
        if (pn_jj_contains(r, item, self))
            return jj_bool(false);
    return jj_bool(true);
}

static jv loop_cycle(struct jj_run *r, jv self, const struct jj_args *args)
{
    if (args->n_pos == 0)
        pn_jj_raise(r, "TypeError", "no items for cycling given");
    return args->pos[self.u.loop->index0 % (int64_t)args->n_pos];
}

static jv loop_changed(struct jj_run *r, jv self, const struct jj_args *args)
{
    struct jj_loop *loop = self.u.loop;
    jv now = pn_jj_tuple(r, args->n_pos);
    for (size_t i = 0; i < args->n_pos; i++)
        pn_jj_push(r, now, args->pos[i]);
    if (loop->changed.t == JJ_TUPLE && pn_jj_equal(r, loop->changed, now))
        return jj_bool(false);
    loop->changed = now;
    return jj_bool(true);
}

static jv cycler_next(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "next", args, 0, 0);
    struct jj_cycler *c = self.u.cycler;
    jv v = c->v[c->pos];
    c->pos = (c->pos + 1) % c->n;
    return v;
}

static jv cycler_reset(struct jj_run *r, jv self, const struct jj_args *args)
{
    need_args(r, self, "reset", args, 0, 0);
    self.u.cycler->pos = 0;
    return jj_none();
}

static const struct jj_method_def list_methods[] = {
    {"append", blocked, true},  {"clear", blocked, true},    {"extend", blocked, true},   {"insert", blocked, true},
    {"pop", blocked, true},     {"remove", blocked, true},   {"reverse", blocked, true},  {"sort", blocked, true},
    {"copy", list_copy, false}, {"count", seq_count, false}, {"index", seq_index, false}, {NULL, NULL, false},
};
static const struct jj_method_def tuple_methods[] = {
    {"count", seq_count, false}, {"index", seq_index, false}, {NULL, NULL, false}};
static const struct jj_method_def dict_methods[] = {
    {"clear", blocked, true},           {"pop", blocked, true},
    {"popitem", blocked, true},         {"update", blocked, true},
    {"setdefault", blocked, true},      {"get", dict_get, false},
    {"items", dict_items, false},       {"keys", dict_keys, false},
    {"values", dict_values, false},     {"copy", dict_copy, false},
    {"fromkeys", dict_fromkeys, false}, {NULL, NULL, false},
};
static const struct jj_method_def int_methods[] = {
    {"bit_length", int_bit_length, false},
    {"bit_count", int_bit_count, false},
    {"conjugate", number_conjugate, false},
    {NULL, NULL, false},
};
static const struct jj_method_def float_methods[] = {
    {"is_integer", float_is_integer, false}, {"conjugate", number_conjugate, false}, {NULL, NULL, false}};
static const struct jj_method_def range_methods[] = {
    {"count", range_count, false}, {"index", range_index, false}, {NULL, NULL, false}};
static const struct jj_method_def view_methods[] = {{"isdisjoint", view_isdisjoint, false}, {NULL, NULL, false}};
static const struct jj_method_def loop_methods[] = {
    {"cycle", loop_cycle, false}, {"changed", loop_changed, false}, {NULL, NULL, false}};
static const struct jj_method_def cycler_methods[] = {
    {"next", cycler_next, false}, {"reset", cycler_reset, false}, {NULL, NULL, false}};

const struct jj_method_def *pn_jj_find_method(jv obj, const char *p, size_t n)
{
    const struct jj_method_def *def = NULL;
    switch (obj.t) {
    case JJ_STR:
        def = pn_jj_str_methods;
        break;
    case JJ_LIST:
        def = list_methods;
        break;
    case JJ_TUPLE:
        def = tuple_methods;
        break;
    case JJ_DICT:
        def = dict_methods;
        break;
    case JJ_BOOL:
    case JJ_INT:
    case JJ_BIG:
        def = int_methods;
        break;
    case JJ_FLOAT:
        def = float_methods;
        break;
    case JJ_RANGE:
        def = range_methods;
        break;
    case JJ_VIEW:
        def = obj.u.view->kind == 'v' ? NULL : view_methods;
        break;
    case JJ_LOOP:
        def = loop_methods;
        break;
    case JJ_CYCLER:
        def = cycler_methods;
        break;
    default:
        break;
    }
    for (; def && def->name; def++)
        if (strlen(def->name) == n && memcmp(def->name, p, n) == 0)
            return def;
    return NULL;
}
