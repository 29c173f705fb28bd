/* Attributes that are not methods: those that templates may read, and those that only Python has. */
#include "text/template/ast.h"

#include <string.h>

static bool is(const char *p, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(p, name, n) == 0;
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
        *out = jj_bool(!pn_jj_loop_peek(r, loop));
    else if (is(p, n, "length"))
        *out = jj_int(pn_jj_loop_length(r, loop));
    else if (is(p, n, "revindex"))
        *out = jj_int(pn_jj_loop_length(r, loop) - loop->index0);
    else if (is(p, n, "revindex0"))
        *out = jj_int(pn_jj_loop_length(r, loop) - loop->index0 - 1);
    else if (is(p, n, "depth"))
        *out = jj_int(loop->depth0 + 1);
    else if (is(p, n, "depth0"))
        *out = jj_int(loop->depth0);
    else if (is(p, n, "previtem"))
        *out = loop->index0 == 0 ? pn_jj_undefined_hint(r, "there is no previous item") : loop->before;
    else if (is(p, n, "nextitem"))
        *out = pn_jj_loop_peek(r, loop) ? loop->after : pn_jj_undefined_hint(r, "there is no next item");
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

static bool range_property(const struct jj_range *range, const char *p, size_t n, jv *out)
{
    if (is(p, n, "start"))
        *out = jj_int(range->start);
    else if (is(p, n, "stop"))
        *out = jj_int(range->stop);
    else if (is(p, n, "step"))
        *out = jj_int(range->step);
    else
        return false;
    return true;
}

static bool cycler_property(const struct jj_cycler *cycler, const char *p, size_t n, jv *out)
{
    if (is(p, n, "current"))
        *out = cycler->v[cycler->pos];
    else if (is(p, n, "pos"))
        *out = jj_int((int64_t)cycler->pos);
    else
        return false;
    return true;
}

static bool joiner_property(const struct jj_joiner *joiner, const char *p, size_t n, jv *out)
{
    if (is(p, n, "sep"))
        *out = joiner->sep;
    else if (is(p, n, "used"))
        *out = jj_bool(joiner->used);
    else
        return false;
    return true;
}

static bool block_property(struct jj_run *r, const struct jj_block_def *def, const char *p, size_t n, jv *out)
{
    if (is(p, n, "name"))
        *out = def->name;
    else if (is(p, n, "super"))
        *out =
            pn_jj_undefined_hint(r, pn_jj_sprintf(r, "there is no parent block called %s.", pn_jj_repr(r, def->name)));
    else
        return false;
    return true;
}

bool pn_jj_find_property(struct jj_run *r, jv obj, const char *p, size_t n, jv *out)
{
    jv *found;
    switch (obj.t) {
    case JJ_LOOP:
        return loop_property(r, obj.u.loop, p, n, out);
    case JJ_MACRO:
        return macro_property(r, obj.u.macro, p, n, out);
    case JJ_NAMESPACE:
        found = pn_jj_dict_find(r, obj.u.ns->attrs, p, n);
        if (found)
            *out = *found;
        return found != NULL;
    case JJ_BOOL:
    case JJ_INT:
    case JJ_BIG:
    case JJ_FLOAT:
        return number_property(obj, p, n, out);
    case JJ_RANGE:
        return range_property(obj.u.range, p, n, out);
    case JJ_TUPLE:
        if (!obj.u.seq->group || !(is(p, n, "grouper") || is(p, n, "list")))
            return false;
        *out = obj.u.seq->v[is(p, n, "list")];
        return true;
    case JJ_CYCLER:
        return cycler_property(obj.u.cycler, p, n, out);
    case JJ_JOINER:
        return joiner_property(obj.u.joiner, p, n, out);
    case JJ_BLOCK:
        return block_property(r, obj.u.block->def, p, n, out);
    default:
        return false;
    }
}

/* Attributes that every Python object has, and those of the types that templates meet. */
bool pn_jj_has_internal(jv obj, const char *p, size_t n)
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
