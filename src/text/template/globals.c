/* The global functions: range, dict, namespace, cycler, joiner, raise_exception, strftime_now. */
#include "text/template/value.h"

#include <string.h>

enum { MAX_RANGE = 100000 }; /* the sandbox's bound */

static int64_t range_argument(struct jj_run *r, jv v)
{
    if (v.t == JJ_UNDEFINED || !jj_is_int(v)) {
        if (v.t == JJ_BIG)
            pn_jj_raise(r, "OverflowError", "Python int too large to convert to C ssize_t");
        pn_jj_raise(r, "TypeError", "'%s' object cannot be interpreted as an integer", pn_jj_type_name(v));
    }
    return jj_as_int(v);
}

static jv call_range(struct jj_run *r, const struct jj_args *args)
{
    if (args->n_kw)
        pn_jj_raise(r, "TypeError", "safe_range() got an unexpected keyword argument '%.*s'", (int)args->kw[0].name->n,
                    args->kw[0].name->p);
    if (args->n_pos < 1 || args->n_pos > 3)
        pn_jj_raise(r, "TypeError", "range expected at %s argument%s, got %zu", args->n_pos ? "most 3" : "least 1",
                    args->n_pos ? "s" : "", args->n_pos);
    int64_t start = args->n_pos > 1 ? range_argument(r, args->pos[0]) : 0;
    int64_t stop = range_argument(r, args->pos[args->n_pos > 1]);
    int64_t step = args->n_pos > 2 ? range_argument(r, args->pos[2]) : 1;
    if (step == 0)
        pn_jj_raise(r, "ValueError", "range() arg 3 must not be zero");
    jv range = pn_jj_range(r, start, stop, step);
    if (range.u.range->n > MAX_RANGE)
        pn_jj_raise(r, "OverflowError", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                    MAX_RANGE);
    return range;
}

/* dict(...) of a mapping, or of pairs, and keywords. */
static struct jj_dict *build_dict(struct jj_run *r, const char *name, const struct jj_args *args)
{
    struct jj_dict *d = pn_jj_dict(r, args->n_kw);
    if (args->n_pos > 1)
        pn_jj_raise(r, "TypeError", "%s expected at most 1 argument, got %zu", name, args->n_pos);
    if (args->n_pos && args->pos[0].t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, args->pos[0]);
    if (args->n_pos && args->pos[0].t == JJ_DICT) {
        const struct jj_dict *from = args->pos[0].u.dict;
        for (size_t i = 0; i < from->n; i++)
            pn_jj_dict_set(r, d, from->e[i].key, from->e[i].value);
    } else if (args->n_pos) {
        struct jj_iter *it = pn_jj_iter(r, args->pos[0]);
        jv item;
        for (size_t i = 0; pn_jj_next(r, it, &item); i++) {
            if (!pn_jj_iterable(item))
                pn_jj_raise(r, "TypeError", "cannot convert dictionary update sequence element #%zu to a sequence", i);
            jv pair = pn_jj_to_list(r, item);
            if (pair.u.seq->n != 2)
                pn_jj_raise(r, "ValueError", "dictionary update sequence element #%zu has length %zu; 2 is required", i,
                            pair.u.seq->n);
            pn_jj_dict_set(r, d, pair.u.seq->v[0], pair.u.seq->v[1]);
        }
    }
    for (size_t i = 0; i < args->n_kw; i++)
        pn_jj_dict_set(r, d, pn_jj_str(r, args->kw[i].name->p, args->kw[i].name->n), args->kw[i].value);
    return d;
}

static jv call_dict(struct jj_run *r, const struct jj_args *args)
{
    return jj_dict_value(build_dict(r, "dict", args));
}

static jv call_namespace(struct jj_run *r, const struct jj_args *args)
{
    struct jj_namespace *ns = pn_jj_alloc(r, sizeof *ns);
    ns->attrs = build_dict(r, "dict", args);
    return (jv){.t = JJ_NAMESPACE, .u.ns = ns};
}

static jv call_cycler(struct jj_run *r, const struct jj_args *args)
{
    if (args->n_kw)
        pn_jj_raise(r, "TypeError", "Cycler.__init__() got an unexpected keyword argument '%.*s'",
                    (int)args->kw[0].name->n, args->kw[0].name->p);
    if (args->n_pos == 0)
        pn_jj_raise(r, "RuntimeError", "at least one item has to be provided");
    struct jj_cycler *c = pn_jj_alloc(r, sizeof *c);
    c->v = pn_jj_array(r, args->n_pos, sizeof *c->v);
    c->n = args->n_pos;
    memcpy(c->v, args->pos, args->n_pos * sizeof *c->v);
    return (jv){.t = JJ_CYCLER, .u.cycler = c};
}

static jv call_joiner(struct jj_run *r, const struct jj_args *args)
{
    static const char *const params[] = {"sep"};
    jv sep;
    pn_jj_bind(r, "Joiner.__init__", args, 1, params, 1, 0, &sep);
    struct jj_joiner *j = pn_jj_alloc(r, sizeof *j);
    j->sep = sep.t == JJ_MISSING ? pn_jj_cstr(r, ", ") : sep;
    return (jv){.t = JJ_JOINER, .u.joiner = j};
}

static jv call_lipsum(struct jj_run *r, const struct jj_args *args)
{
    (void)args;
    pn_jj_throw(r, PANTRY_UNSUPPORTED, "lipsum() makes random text and is not supported");
}

static jv call_raise(struct jj_run *r, const struct jj_args *args)
{
    static const char *const params[] = {"message"};
    jv message;
    pn_jj_bind(r, "raise_exception", args, 0, params, 1, 1, &message);
    struct jj_buf b = {.r = r};
    pn_jj_put_str(&b, message);
    pn_jj_putc(&b, '\0');
    pn_jj_throw(r, PANTRY_RAISED, "%s", b.p);
}

static jv call_strftime(struct jj_run *r, const struct jj_args *args)
{
    static const char *const params[] = {"format"};
    jv format;
    if (!args->n_pos && !args->n_kw)
        pn_jj_raise(r, "TypeError", "strftime() missing required argument 'format' (pos 1)");
    if (args->n_pos + args->n_kw > 1)
        pn_jj_raise(r, "TypeError", "strftime() takes at most 1 argument (%zu given)", args->n_pos + args->n_kw);
    pn_jj_bind(r, "strftime", args, 0, params, 1, 1, &format);
    if (format.t != JJ_STR)
        pn_jj_raise(r, "TypeError", "strftime() argument 1 must be str, not %s",
                    format.t == JJ_NONE ? "None" : pn_jj_type_name(format));
    return pn_jj_strftime(r, format.u.s);
}

static const struct jj_func globals[] = {
    {"range", call_range},   {"dict", call_dict},     {"namespace", call_namespace},   {"cycler", call_cycler},
    {"joiner", call_joiner}, {"lipsum", call_lipsum}, {"raise_exception", call_raise}, {"strftime_now", call_strftime},
};

const struct jj_func *pn_jj_find_global(const char *p, size_t n)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].name) == n && memcmp(globals[i].name, p, n) == 0)
            return &globals[i];
    return NULL;
}
