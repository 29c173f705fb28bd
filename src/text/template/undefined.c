/* Undefined values, and the errors for using them. */
#include "text/template/value.h"

static jv new_undefined(struct jj_run *r, struct jj_undefined value)
{
    struct jj_undefined *u = pn_jj_alloc(r, sizeof *u);
    *u = value;
    return (jv){.t = JJ_UNDEFINED, .u.undef = u};
}

jv pn_jj_undefined_name(struct jj_run *r, jv name)
{
    return new_undefined(r, (struct jj_undefined){.name = name});
}

jv pn_jj_undefined_attr(struct jj_run *r, jv obj, jv name)
{
    return new_undefined(r, (struct jj_undefined){.obj = obj, .name = name});
}

jv pn_jj_undefined_hint(struct jj_run *r, const char *hint)
{
    return new_undefined(r, (struct jj_undefined){.hint = hint});
}

jv pn_jj_undefined_unsafe(struct jj_run *r, jv obj, jv name)
{
    const char *hint =
        pn_jj_sprintf(r, "access to attribute %s of '%s' object is unsafe.", pn_jj_repr(r, name), pn_jj_type_name(obj));
    return new_undefined(r, (struct jj_undefined){.hint = hint, .obj = obj, .name = name, .security = true});
}

const char *pn_jj_undefined_message(struct jj_run *r, const struct jj_undefined *u)
{
    if (u->hint)
        return u->hint;
    if (u->obj.t == JJ_MISSING)
        return pn_jj_sprintf(r, "%s is undefined", pn_jj_repr(r, u->name));
    if (u->name.t != JJ_STR)
        return pn_jj_sprintf(r, "%s has no element %s", pn_jj_object_repr(u->obj), pn_jj_repr(r, u->name));
    return pn_jj_sprintf(r, "'%s' has no attribute %s", pn_jj_object_repr(u->obj), pn_jj_repr(r, u->name));
}

_Noreturn void pn_jj_raise_undefined(struct jj_run *r, jv undefined)
{
    const struct jj_undefined *u = undefined.u.undef;
    pn_jj_raise(r, u->security ? "SecurityError" : "UndefinedError", "%s", pn_jj_undefined_message(r, u));
}
