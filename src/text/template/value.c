/* Basic values: strings by code points, lists, and the names of types in Python. */
#include "text/template/value.h"

#include <string.h>

/* ---- strings ---- */

jv pn_jj_str(struct jj_run *r, const char *p, size_t n)
{
    struct jj_str *s = pn_jj_alloc(r, sizeof *s);
    *s = (struct jj_str){.p = p, .n = n, .chars = -1};
    return (jv){.t = JJ_STR, .u.s = s};
}

jv pn_jj_cstr(struct jj_run *r, const char *text)
{
    return pn_jj_str(r, text, strlen(text));
}

jv pn_jj_sub(struct jj_run *r, const struct jj_str *of, size_t from, size_t to)
{
    jv v = pn_jj_str(r, of->p + from, to - from);
    v.u.s->markup = of->markup;
    return v;
}

bool pn_jj_is(jv v, const char *text)
{
    size_t n = strlen(text);
    return v.t == JJ_STR && v.u.s->n == n && memcmp(v.u.s->p, text, n) == 0;
}

int64_t pn_jj_chars(struct jj_str *s)
{
    if (s->chars >= 0)
        return s->chars;
    size_t count = 0;
    for (size_t i = 0; i < s->n; i++)
        count += ((unsigned char)s->p[i] & 0xC0) != 0x80;
    return s->chars = (int64_t)count;
}

size_t pn_jj_offset(struct jj_str *s, int64_t index)
{
    if ((size_t)pn_jj_chars(s) == s->n)
        return (size_t)index;
    size_t at = 0;
    for (; at < s->n; at++)
        if (((unsigned char)s->p[at] & 0xC0) != 0x80 && index-- == 0)
            break;
    return at;
}

/* ---- lists ---- */

static jv new_seq(struct jj_run *r, enum jj_type t, size_t cap)
{
    struct jj_seq *s = pn_jj_alloc(r, sizeof *s);
    s->v = pn_jj_array(r, cap ? cap : 1, sizeof *s->v);
    s->cap = cap;
    return (jv){.t = t, .u.seq = s};
}

jv pn_jj_list(struct jj_run *r, size_t cap)
{
    return new_seq(r, JJ_LIST, cap);
}

jv pn_jj_tuple(struct jj_run *r, size_t n)
{
    return new_seq(r, JJ_TUPLE, n);
}

void pn_jj_push(struct jj_run *r, jv list, jv item)
{
    struct jj_seq *s = list.u.seq;
    if (s->n == s->cap) {
        size_t cap = s->cap < 4 ? 8 : s->cap * 2;
        jv *v = pn_jj_array(r, cap, sizeof *v);
        memcpy(v, s->v, s->n * sizeof *v);
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = item;
}

jv pn_jj_pair(struct jj_run *r, jv a, jv b)
{
    jv t = pn_jj_tuple(r, 2);
    pn_jj_push(r, t, a);
    pn_jj_push(r, t, b);
    return t;
}

/* ---- types ---- */

const char *pn_jj_type_name(jv v)
{
    switch (v.t) {
    case JJ_MISSING:
        return "MissingType";
    case JJ_UNDEFINED:
        return "Undefined";
    case JJ_NONE:
        return "NoneType";
    case JJ_BOOL:
        return "bool";
    case JJ_INT:
    case JJ_BIG:
        return "int";
    case JJ_FLOAT:
        return "float";
    case JJ_STR:
        return v.u.s->markup ? "Markup" : "str";
    case JJ_LIST:
        return "list";
    case JJ_TUPLE:
        return v.u.seq->group ? "_GroupTuple" : "tuple";
    case JJ_DICT:
        return "dict";
    case JJ_VIEW:
        return v.u.view->kind == 'k' ? "dict_keys" : v.u.view->kind == 'v' ? "dict_values" : "dict_items";
    case JJ_RANGE:
        return "range";
    case JJ_ITER:
        return v.u.iter->type;
    case JJ_NAMESPACE:
        return "Namespace";
    case JJ_MACRO:
        return "Macro";
    case JJ_METHOD:
        return "builtin_function_or_method";
    case JJ_FUNC:
        return strcmp(v.u.func->name, "dict") == 0 || strcmp(v.u.func->name, "namespace") == 0 ||
                       strcmp(v.u.func->name, "cycler") == 0 || strcmp(v.u.func->name, "joiner") == 0
                   ? "type"
                   : "function";
    case JJ_LOOP:
        return "LoopContext";
    case JJ_CYCLER:
        return "Cycler";
    case JJ_JOINER:
        return "Joiner";
    case JJ_SELF:
        return "TemplateReference";
    case JJ_BLOCK:
        return "BlockReference";
    }
    return "object";
}

const char *pn_jj_object_repr(jv v)
{
    switch (v.t) {
    case JJ_NONE:
        return "None";
    case JJ_BOOL:
        return "bool object";
    case JJ_INT:
    case JJ_BIG:
        return "int object";
    case JJ_FLOAT:
        return "float object";
    case JJ_STR:
        return v.u.s->markup ? "markupsafe.Markup object" : "str object";
    case JJ_LIST:
        return "list object";
    case JJ_TUPLE:
        return v.u.seq->group ? "jinja2.filters._GroupTuple object" : "tuple object";
    case JJ_DICT:
        return "dict object";
    case JJ_VIEW:
        return v.u.view->kind == 'k'   ? "dict_keys object"
               : v.u.view->kind == 'v' ? "dict_values object"
                                       : "dict_items object";
    case JJ_RANGE:
        return "range object";
    case JJ_ITER:
        return strcmp(v.u.iter->type, "generator") == 0              ? "generator object"
               : strcmp(v.u.iter->type, "list_reverseiterator") == 0 ? "list_reverseiterator object"
                                                                     : "reversed object";
    case JJ_NAMESPACE:
        return "jinja2.utils.Namespace object";
    case JJ_MACRO:
        return "jinja2.runtime.Macro object";
    case JJ_METHOD:
        return "builtin_function_or_method object";
    case JJ_FUNC:
        return strcmp(pn_jj_type_name(v), "type") == 0 ? "type object" : "function object";
    case JJ_LOOP:
        return "jinja2.runtime.LoopContext object";
    case JJ_CYCLER:
        return "jinja2.utils.Cycler object";
    case JJ_JOINER:
        return "jinja2.utils.Joiner object";
    case JJ_SELF:
        return "jinja2.runtime.TemplateReference object";
    case JJ_BLOCK:
        return "jinja2.runtime.BlockReference object";
    case JJ_MISSING:
    case JJ_UNDEFINED:
        break;
    }
    return "jinja2.runtime.Undefined object";
}
