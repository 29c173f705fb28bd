/* Attributes and items as jinja2's sandbox gives them out, slices, and the methods of everything but strings. */
#include "text/template/ast.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- binding arguments ---- */

void pn_jj_bind(struct jj_run *r, const char *name, const struct jj_args *args, size_t skip, const char *const *params,
                size_t n_params, size_t n_required, jv *out)
{
    for (size_t i = 0; i < n_params; i++)
        out[i] = (jv){.t = JJ_MISSING};
    if (args->n_pos > n_params) {
        if (n_params + skip == 0)
            pn_jj_raise(r, "TypeError", "%s() takes no arguments (%zu given)", name, args->n_pos);
        const char *from = n_required < n_params ? pn_jj_sprintf(r, "from %zu to ", n_required + skip) : "";
        pn_jj_raise(r, "TypeError", "%s() takes %s%zu positional argument%s but %zu %s given", name, from,
                    n_params + skip, n_params + skip == 1 ? "" : "s", args->n_pos + skip,
                    args->n_pos + skip == 1 ? "was" : "were");
    }
    for (size_t i = 0; i < args->n_pos; i++)
        out[i] = args->pos[i];
    for (size_t k = 0; k < args->n_kw; k++) {
        size_t i = 0;
        const struct jj_str *kw = args->kw[k].name;
        while (i < n_params && !(strlen(params[i]) == kw->n && memcmp(params[i], kw->p, kw->n) == 0))
            i++;
        if (i == n_params)
            pn_jj_raise(r, "TypeError", "%s() got an unexpected keyword argument '%.*s'", name, (int)kw->n, kw->p);
        if (out[i].t != JJ_MISSING)
            pn_jj_raise(r, "TypeError", "%s() got multiple values for argument '%s'", name, params[i]);
        out[i] = args->kw[k].value;
    }
    size_t missing[2], n_missing = 0; /* no function here requires more than two */
    for (size_t i = 0; i < n_required; i++)
        if (out[i].t == JJ_MISSING && n_missing < 2)
            missing[n_missing++] = i;
    if (n_missing == 1)
        pn_jj_raise(r, "TypeError", "%s() missing 1 required positional argument: '%s'", name, params[missing[0]]);
    if (n_missing)
        pn_jj_raise(r, "TypeError", "%s() missing 2 required positional arguments: '%s' and '%s'", name,
                    params[missing[0]], params[missing[1]]);
}

/* ---- methods of lists, tuples, dictionaries, numbers ---- */

/* What CPython says of a wrong number of arguments depends on how the method takes them. */
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

/* ---- properties ---- */

static bool is(const char *p, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(p, name, n) == 0;
}

/* Without a length of its own the rest of the iterator is read to know it. */
static int64_t loop_length(struct jj_run *r, struct jj_loop *loop)
{
    if (loop->length >= 0)
        return loop->length;
    if (pn_jj_has_len(loop->iterable))
        return loop->length = pn_jj_len(r, loop->iterable);
    jv rest = pn_jj_to_list(r, (jv){.t = JJ_ITER, .u.iter = loop->it});
    loop->it = pn_jj_iter(r, rest);
    return loop->length = (int64_t)rest.u.seq->n + loop->index0 + 1 + (loop->after.t != JJ_MISSING);
}

static bool loop_peek(struct jj_run *r, struct jj_loop *loop)
{
    jv item;
    if (loop->after.t == JJ_MISSING && pn_jj_next(r, loop->it, &item))
        loop->after = item;
    return loop->after.t != JJ_MISSING;
}

static bool loop_property(struct jj_run *r, struct jj_loop *loop, const char *p, size_t n, jv *out)
{
    if (is(p, n, "index"))
        *out = jj_int(loop->index0 + 1);
    else if (is(p, n, "index0"))
        *out = jj_int(loop->index0);
    else if (is(p, n, "first"))
        *out = jj_bool(loop->index0 == 0);
    else if (is(p, n, "last"))
        *out = jj_bool(!loop_peek(r, loop));
    else if (is(p, n, "length"))
        *out = jj_int(loop_length(r, loop));
    else if (is(p, n, "revindex"))
        *out = jj_int(loop_length(r, loop) - loop->index0);
    else if (is(p, n, "revindex0"))
        *out = jj_int(loop_length(r, loop) - loop->index0 - 1);
    else if (is(p, n, "depth"))
        *out = jj_int(loop->depth0 + 1);
    else if (is(p, n, "depth0"))
        *out = jj_int(loop->depth0);
    else if (is(p, n, "previtem"))
        *out = loop->index0 == 0 ? pn_jj_undefined_hint(r, "there is no previous item") : loop->before;
    else if (is(p, n, "nextitem"))
        *out = loop_peek(r, loop) ? loop->after : pn_jj_undefined_hint(r, "there is no next item");
    else
        return false;
    return true;
}

static bool macro_property(struct jj_run *r, const struct jj_macro *macro, const char *p, size_t n, jv *out)
{
    const struct jj_macro_def *def = macro->def;
    if (is(p, n, "name")) {
        *out = def->name;
    } else if (is(p, n, "arguments")) {
        *out = pn_jj_tuple(r, def->sig.params.n);
        for (size_t i = 0; i < def->sig.params.n; i++)
            pn_jj_push(r, *out, def->sig.params.v[i]->u.name.name);
    } else if (is(p, n, "catch_kwargs")) {
        *out = jj_bool(def->has_kwargs);
    } else if (is(p, n, "catch_varargs")) {
        *out = jj_bool(def->has_varargs);
    } else if (is(p, n, "caller")) {
        *out = jj_bool(def->has_caller);
    } else if (is(p, n, "explicit_caller")) {
        *out = jj_bool(def->explicit_caller);
    } else {
        return false;
    }
    return true;
}

static bool number_property(jv obj, const char *p, size_t n, jv *out)
{
    bool whole = obj.t != JJ_FLOAT;
    jv value = obj.t == JJ_BOOL ? jj_int(obj.u.b) : obj;
    if (is(p, n, "real") || (whole && is(p, n, "numerator")))
        *out = value;
    else if (is(p, n, "imag"))
        *out = whole ? jj_int(0) : jj_float(0);
    else if (whole && is(p, n, "denominator"))
        *out = jj_int(1);
    else
        return false;
    return true;
}

bool pn_jj_find_property(struct jj_run *r, jv obj, const char *p, size_t n, jv *out)
{
    jv *found = NULL;
    switch (obj.t) {
    case JJ_LOOP:
        return loop_property(r, obj.u.loop, p, n, out);
    case JJ_MACRO:
        return macro_property(r, obj.u.macro, p, n, out);
    case JJ_NAMESPACE:
        found = pn_jj_dict_find(r, obj.u.ns->attrs, p, n);
        break;
    case JJ_BOOL:
    case JJ_INT:
    case JJ_BIG:
    case JJ_FLOAT:
        return number_property(obj, p, n, out);
    case JJ_RANGE:
        if (is(p, n, "start"))
            *out = jj_int(obj.u.range->start);
        else if (is(p, n, "stop"))
            *out = jj_int(obj.u.range->stop);
        else if (is(p, n, "step"))
            *out = jj_int(obj.u.range->step);
        else
            return false;
        return true;
    case JJ_TUPLE:
        if (!obj.u.seq->group || !(is(p, n, "grouper") || is(p, n, "list")))
            return false;
        *out = obj.u.seq->v[is(p, n, "list")];
        return true;
    case JJ_CYCLER:
        if (is(p, n, "current"))
            *out = obj.u.cycler->v[obj.u.cycler->pos];
        else if (is(p, n, "pos"))
            *out = jj_int((int64_t)obj.u.cycler->pos);
        else
            return false;
        return true;
    case JJ_JOINER:
        if (is(p, n, "sep"))
            *out = obj.u.joiner->sep;
        else if (is(p, n, "used"))
            *out = jj_bool(obj.u.joiner->used);
        else
            return false;
        return true;
    case JJ_BLOCK:
        if (is(p, n, "name"))
            *out = obj.u.block->def->name;
        else if (is(p, n, "super"))
            *out = pn_jj_undefined_hint(
                r, pn_jj_sprintf(r, "there is no parent block called %s.", pn_jj_repr(r, obj.u.block->def->name)));
        else
            return false;
        return true;
    default:
        break;
    }
    if (found)
        *out = *found;
    return found != NULL;
}

/* Attributes that every Python object has, and those of the types that templates meet. The sandbox gives none out. */
static bool has_internal(jv obj, const char *p, size_t n)
{
    static const char *const always[] = {
        "__class__",   "__delattr__", "__dir__",           "__doc__",          "__eq__",
        "__format__",  "__ge__",      "__getattribute__",  "__getstate__",     "__gt__",
        "__hash__",    "__init__",    "__init_subclass__", "__le__",           "__lt__",
        "__ne__",      "__new__",     "__reduce__",        "__reduce_ex__",    "__repr__",
        "__setattr__", "__sizeof__",  "__str__",           "__subclasshook__",
    };
    static const char *const sized[] = {"__len__", "__iter__", "__contains__", "__getitem__"};
    static const char *const instance[] = {"__dict__", "__module__", "__weakref__"};
    static const char *const callable[] = {"__call__", "__name__", "__qualname__", "__self__", "__module__"};
    static const char *const function[] = {"__globals__", "__code__", "__closure__", "__defaults__", "__dict__"};
    if (obj.t == JJ_NAMESPACE)
        return is(p, n, "__class__") || is(p, n, "_Namespace__attrs");
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (is(p, n, always[i]))
            return true;
    bool container = obj.t == JJ_STR || jj_is_seq(obj) || obj.t == JJ_DICT || obj.t == JJ_RANGE;
    for (size_t i = 0; i < sizeof sized / sizeof *sized; i++)
        if (is(p, n, sized[i]) &&
            (container || ((obj.t == JJ_VIEW || obj.t == JJ_LOOP || obj.t == JJ_UNDEFINED) && i < 3)))
            return true;
    for (size_t i = 0; i < 3; i++)
        if (is(p, n, instance[i]) && (obj.t == JJ_LOOP || obj.t == JJ_MACRO || obj.t == JJ_CYCLER ||
                                      obj.t == JJ_JOINER || obj.t == JJ_SELF || obj.t == JJ_BLOCK))
            return true;
    for (size_t i = 0; i < sizeof callable / sizeof *callable; i++)
        if (is(p, n, callable[i]) && (obj.t == JJ_METHOD || obj.t == JJ_FUNC || (obj.t == JJ_MACRO && i == 0)))
            return true;
    for (size_t i = 0; i < sizeof function / sizeof *function; i++)
        if (is(p, n, function[i]) && obj.t == JJ_FUNC)
            return true;
    if (obj.t == JJ_UNDEFINED && n > 11 && memcmp(p, "_undefined_", 11) == 0)
        return true;
    return jj_is_number(obj) && (is(p, n, "__add__") || is(p, n, "__int__") || is(p, n, "__float__"));
}

/* getattr(obj, name) as the sandbox sees it; false: no such attribute. */
static bool find_attribute(struct jj_run *r, jv obj, const struct jj_str *name, jv *out)
{
    jv name_value = {.t = JJ_STR, .u.s = (struct jj_str *)name};
    if (pn_jj_find_property(r, obj, name->p, name->n, out)) {
        if (name->p[0] == '_')
            *out = pn_jj_undefined_unsafe(r, obj, pn_jj_str(r, name->p, name->n));
        return true;
    }
    const struct jj_method_def *def = pn_jj_find_method(obj, name->p, name->n);
    if ((def && def->mutates) || (!def && name->n && name->p[0] == '_' && has_internal(obj, name->p, name->n))) {
        *out = pn_jj_undefined_unsafe(r, obj, name_value);
        return true;
    }
    if (!def)
        return false;
    struct jj_method *method = pn_jj_alloc(r, sizeof *method);
    *method = (struct jj_method){.self = obj, .def = def};
    *out = (jv){.t = JJ_METHOD, .u.method = method};
    return true;
}

/* obj[key] without falling back to attributes; false: TypeError or LookupError. */
static bool find_item(struct jj_run *r, jv obj, jv key, jv *out)
{
    int64_t i = jj_is_int(key) ? jj_as_int(key) : 0;
    jv *found;
    switch (obj.t) {
    case JJ_UNDEFINED:
        pn_jj_raise_undefined(r, obj);
    case JJ_DICT:
        if (!pn_jj_hashable(key))
            return false;
        found = pn_jj_dict_get(r, obj.u.dict, key);
        if (found)
            *out = *found;
        return found != NULL;
    case JJ_LIST:
    case JJ_TUPLE:
    case JJ_RANGE:
    case JJ_STR: {
        if (!jj_is_int(key))
            return false;
        int64_t n = pn_jj_len(r, obj);
        i += i < 0 ? n : 0;
        if (i < 0 || i >= n)
            return false;
        if (jj_is_seq(obj)) {
            *out = obj.u.seq->v[i];
        } else if (obj.t == JJ_RANGE) {
            *out = jj_int(obj.u.range->start + i * obj.u.range->step);
        } else {
            size_t used, at = pn_jj_offset(obj.u.s, i);
            pn_jj_decode(obj.u.s->p + at, obj.u.s->p + obj.u.s->n, &used);
            pn_jj_step(r, at / 64);
            *out = pn_jj_sub(r, obj.u.s, at, at + used);
        }
        return true;
    }
    case JJ_SELF:
        for (size_t b = 0; key.t == JJ_STR && b < r->t->blocks.n; b++)
            if (pn_jj_equal(r, r->t->blocks.v[b]->name, key)) {
                struct jj_block_ref *ref = pn_jj_alloc(r, sizeof *ref);
                ref->def = r->t->blocks.v[b];
                *out = (jv){.t = JJ_BLOCK, .u.block = ref};
                return true;
            }
        return false;
    default:
        return false;
    }
}

jv pn_jj_getattr(struct jj_run *r, jv obj, const struct jj_str *name)
{
    jv out, key = {.t = JJ_STR, .u.s = (struct jj_str *)name};
    if (find_attribute(r, obj, name, &out) || find_item(r, obj, key, &out))
        return out;
    return pn_jj_undefined_attr(r, obj, key);
}

jv pn_jj_getitem(struct jj_run *r, jv obj, jv key)
{
    jv out;
    if (find_item(r, obj, key, &out) || (key.t == JJ_STR && find_attribute(r, obj, key.u.s, &out)))
        return out;
    return pn_jj_undefined_attr(r, obj, key);
}

_Noreturn void pn_jj_no_attribute(struct jj_run *r, jv v, const char *name)
{
    if (v.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, v);
    pn_jj_raise(r, "AttributeError", "'%s' object has no attribute '%s'", pn_jj_type_name(v), name);
}

/* ---- slices ---- */

static int64_t slice_index(struct jj_run *r, jv v, int64_t n, int64_t step, int64_t missing)
{
    if (v.t == JJ_NONE)
        return missing;
    if (v.t == JJ_BIG)
        v = jj_int(v.u.big->negative ? INT64_MIN / 2 : INT64_MAX / 2);
    if (!jj_is_int(v))
        pn_jj_raise(r, "TypeError", "slice indices must be integers or None or have an __index__ method");
    int64_t i = jj_as_int(v), low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    if (i < 0)
        i = i < -n ? low : i + n;
    return i < low ? low : i > high ? high : i;
}

static jv slice_str(struct jj_run *r, struct jj_str *s, int64_t start, int64_t step, int64_t count)
{
    if (step == 1 || count == 0) {
        size_t from = pn_jj_offset(s, count ? start : 0), to = count ? pn_jj_offset(s, start + count) : from;
        pn_jj_step(r, to / 64);
        return pn_jj_sub(r, s, from, to);
    }
    struct jj_buf b = {.r = r};
    bool ascii = (size_t)pn_jj_chars(s) == s->n;
    size_t *offsets = NULL;
    if (!ascii) {
        offsets = pn_jj_array(r, (size_t)pn_jj_chars(s) + 1, sizeof *offsets);
        for (size_t i = 0, c = 0; i < s->n; i++)
            if (((unsigned char)s->p[i] & 0xC0) != 0x80)
                offsets[c++] = i;
    }
    pn_jj_step(r, (size_t)count);
    for (int64_t i = 0; i < count; i++) {
        size_t at = ascii ? (size_t)(start + i * step) : offsets[start + i * step], used;
        pn_jj_decode(s->p + at, s->p + s->n, &used);
        pn_jj_put(&b, s->p + at, used);
    }
    jv out = pn_jj_buf_str(&b);
    out.u.s->markup = s->markup;
    return out;
}

jv pn_jj_slice(struct jj_run *r, jv obj, jv start, jv stop, jv step)
{
    if (obj.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, obj);
    if (obj.t == JJ_DICT)
        pn_jj_raise(r, "TypeError", "unhashable type: 'slice'");
    if (obj.t != JJ_STR && !jj_is_seq(obj) && obj.t != JJ_RANGE)
        pn_jj_raise(r, "TypeError", "'%s' object is not subscriptable", pn_jj_type_name(obj));
    if (step.t != JJ_NONE && !jj_is_int(step) && step.t != JJ_BIG)
        pn_jj_raise(r, "TypeError", "slice indices must be integers or None or have an __index__ method");
    int64_t n = pn_jj_len(r, obj), by = step.t == JJ_NONE  ? 1
                                        : step.t == JJ_BIG ? (step.u.big->negative ? -INT32_MAX : INT32_MAX)
                                                           : jj_as_int(step);
    if (by == 0)
        pn_jj_raise(r, "ValueError", "slice step cannot be zero");
    if (by > INT32_MAX)
        by = INT32_MAX;
    if (by < -INT32_MAX)
        by = -INT32_MAX;
    int64_t from = slice_index(r, start, n, by, by < 0 ? n - 1 : 0);
    int64_t to = slice_index(r, stop, n, by, by < 0 ? -1 : n);
    int64_t count = by > 0 ? (to > from ? (to - from - 1) / by + 1 : 0) : (from > to ? (from - to - 1) / -by + 1 : 0);
    if (obj.t == JJ_STR)
        return slice_str(r, obj.u.s, from, by, count);
    if (obj.t == JJ_RANGE) {
        const struct jj_range *x = obj.u.range;
        return pn_jj_range(r, x->start + from * x->step, x->start + to * x->step, x->step * by);
    }
    jv out = obj.t == JJ_LIST ? pn_jj_list(r, (size_t)count) : pn_jj_tuple(r, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        pn_jj_push(r, out, obj.u.seq->v[from + i * by]);
    pn_jj_step(r, (size_t)count);
    return out;
}
