/* Attributes and items as jinja2's sandbox allows them, and slices. */
#include "text/template/ast.h"

#include <string.h>

/* getattr(obj, name) in the sandbox; false: no such attribute. */
static bool find_attribute(struct jj_run *r, jv obj, const struct jj_str *name, jv *out)
{
    jv name_value = {.t = JJ_STR, .u.s = (struct jj_str *)name};
    if (pn_jj_find_property(r, obj, name->p, name->n, out)) {
        if (name->p[0] == '_')
            *out = pn_jj_undefined_unsafe(r, obj, pn_jj_str(r, name->p, name->n));
        return true;
    }
    const struct jj_method_def *def = pn_jj_find_method(obj, name->p, name->n);
    if ((def && def->mutates) || (!def && name->n && name->p[0] == '_' && pn_jj_has_internal(obj, name->p, name->n))) {
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
