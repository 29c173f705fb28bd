/* The tests of `is`. */
#include "text/template/value.h"

#include <string.h>

static void need(struct jj_run *r, const char *name, const struct jj_args *args, size_t n)
{
    if (args->n_kw)
        pn_jj_raise(r, "TypeError", "test_%s() got an unexpected keyword argument '%.*s'", name,
                    (int)args->kw[0].name->n, args->kw[0].name->p);
    if (args->n_pos > n)
        pn_jj_raise(r, "TypeError", "test_%s() takes %zu positional argument%s but %zu were given", name, n + 1,
                    n ? "s" : "", args->n_pos + 1);
    if (args->n_pos < n)
        pn_jj_raise(r, "TypeError", "test_%s() missing 1 required positional argument: '%s'", name,
                    strcmp(name, "in") == 0            ? "seq"
                    : strcmp(name, "divisibleby") == 0 ? "num"
                                                       : "other");
}

/* One of Python's comparison functions. */
static jv other(struct jj_run *r, const char *name, const struct jj_args *args)
{
    if (args->n_kw || args->n_pos != 1)
        pn_jj_raise(r, "TypeError", "%s expected 2 arguments, got %zu", name, args->n_pos + 1);
    return args->pos[0];
}

static bool has_remainder(struct jj_run *r, jv v, jv by, int64_t rest)
{
    return pn_jj_equal(r, pn_jj_binary(r, '%', v, by), jj_int(rest));
}

static bool test_odd(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "odd", args, 0);
    return has_remainder(r, v, jj_int(2), 1);
}

static bool test_even(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "even", args, 0);
    return has_remainder(r, v, jj_int(2), 0);
}

static bool test_divisibleby(struct jj_run *r, jv v, const struct jj_args *args)
{
    if (args->n_kw == 1 && args->n_pos == 0 && args->kw[0].name->n == 3 && memcmp(args->kw[0].name->p, "num", 3) == 0)
        return has_remainder(r, v, args->kw[0].value, 0);
    need(r, "divisibleby", args, 1);
    return has_remainder(r, v, args->pos[0], 0);
}

static bool test_defined(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "defined", args, 0);
    return v.t != JJ_UNDEFINED;
}

static bool test_undefined(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "undefined", args, 0);
    return v.t == JJ_UNDEFINED;
}

static void need_hashable(struct jj_run *r, jv v)
{
    if (!pn_jj_hashable(v))
        pn_jj_raise(r, "TypeError", "unhashable type: '%s'", pn_jj_type_name(v));
}

static bool test_filter(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "filter", args, 0);
    need_hashable(r, v);
    return v.t == JJ_STR && r->calls->find_filter(v.u.s->p, v.u.s->n);
}

static bool test_test(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "test", args, 0);
    need_hashable(r, v);
    return v.t == JJ_STR && pn_jj_find_test(v.u.s->p, v.u.s->n);
}

static bool test_none(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "none", args, 0);
    return v.t == JJ_NONE;
}

static bool test_boolean(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "boolean", args, 0);
    return v.t == JJ_BOOL;
}

static bool test_false(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "false", args, 0);
    return v.t == JJ_BOOL && !v.u.b;
}

static bool test_true(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "true", args, 0);
    return v.t == JJ_BOOL && v.u.b;
}

static bool test_integer(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "integer", args, 0);
    return v.t == JJ_INT || v.t == JJ_BIG;
}

static bool test_float(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "float", args, 0);
    return v.t == JJ_FLOAT;
}

static bool test_number(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "number", args, 0);
    return jj_is_number(v);
}

static bool is_case(struct jj_run *r, jv v, const char *method)
{
    const struct jj_args none = {0};
    jv text = pn_jj_to_str(r, v);
    return pn_jj_find_method(text, method, strlen(method))->call(r, text, &none).u.b;
}

static bool test_lower(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "lower", args, 0);
    return is_case(r, v, "islower");
}

static bool test_upper(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "upper", args, 0);
    return is_case(r, v, "isupper");
}

static bool test_string(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "string", args, 0);
    return v.t == JJ_STR;
}

static bool test_mapping(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "mapping", args, 0);
    return v.t == JJ_DICT;
}

/* Has a length and `__getitem__`. */
static bool test_sequence(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "sequence", args, 0);
    return v.t == JJ_STR || jj_is_seq(v) || v.t == JJ_DICT || v.t == JJ_RANGE || v.t == JJ_UNDEFINED;
}

static bool test_iterable(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "iterable", args, 0);
    return pn_jj_iterable(v) || v.t == JJ_SELF;
}

static bool test_callable(struct jj_run *r, jv v, const struct jj_args *args)
{
    if (args->n_kw) /* Python's own function */
        pn_jj_raise(r, "TypeError", "callable() takes no keyword arguments");
    if (args->n_pos)
        pn_jj_raise(r, "TypeError", "callable() takes exactly one argument (%zu given)", args->n_pos + 1);
    return v.t == JJ_METHOD || v.t == JJ_FUNC || v.t == JJ_MACRO || v.t == JJ_LOOP || v.t == JJ_JOINER ||
           v.t == JJ_BLOCK || v.t == JJ_UNDEFINED;
}

static bool test_sameas(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "sameas", args, 1);
    return pn_jj_same(v, args->pos[0]);
}

static bool test_escaped(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "escaped", args, 0);
    return v.t == JJ_STR && v.u.s->markup;
}

static bool test_in(struct jj_run *r, jv v, const struct jj_args *args)
{
    need(r, "in", args, 1);
    return pn_jj_contains(r, v, args->pos[0]);
}

static bool test_eq(struct jj_run *r, jv v, const struct jj_args *args)
{
    return pn_jj_equal(r, v, other(r, "eq", args));
}

static bool test_ne(struct jj_run *r, jv v, const struct jj_args *args)
{
    return !pn_jj_equal(r, v, other(r, "ne", args));
}

static bool test_lt(struct jj_run *r, jv v, const struct jj_args *args)
{
    return pn_jj_compare(r, "<", v, other(r, "lt", args));
}

static bool test_le(struct jj_run *r, jv v, const struct jj_args *args)
{
    return pn_jj_compare(r, "<=", v, other(r, "le", args));
}

static bool test_gt(struct jj_run *r, jv v, const struct jj_args *args)
{
    return pn_jj_compare(r, ">", v, other(r, "gt", args));
}

static bool test_ge(struct jj_run *r, jv v, const struct jj_args *args)
{
    return pn_jj_compare(r, ">=", v, other(r, "ge", args));
}

static const struct jj_test_def defs[] = {
    {"odd", test_odd},
    {"even", test_even},
    {"divisibleby", test_divisibleby},
    {"defined", test_defined},
    {"undefined", test_undefined},
    {"filter", test_filter},
    {"test", test_test},
    {"none", test_none},
    {"boolean", test_boolean},
    {"false", test_false},
    {"true", test_true},
    {"integer", test_integer},
    {"float", test_float},
    {"lower", test_lower},
    {"upper", test_upper},
    {"string", test_string},
    {"mapping", test_mapping},
    {"number", test_number},
    {"sequence", test_sequence},
    {"iterable", test_iterable},
    {"callable", test_callable},
    {"sameas", test_sameas},
    {"escaped", test_escaped},
    {"in", test_in},
    {"==", test_eq},
    {"eq", test_eq},
    {"equalto", test_eq},
    {"!=", test_ne},
    {"ne", test_ne},
    {">", test_gt},
    {"gt", test_gt},
    {"greaterthan", test_gt},
    {">=", test_ge},
    {"ge", test_ge},
    {"<", test_lt},
    {"lt", test_lt},
    {"lessthan", test_lt},
    {"<=", test_le},
    {"le", test_le},
};

const struct jj_test_def *pn_jj_find_test(const char *p, size_t n)
{
    for (size_t i = 0; i < sizeof defs / sizeof *defs; i++)
        if (strlen(defs[i].name) == n && memcmp(defs[i].name, p, n) == 0)
            return &defs[i];
    return NULL;
}
