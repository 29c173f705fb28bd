/* Iteration: one lazy iterator for everything that Python can loop over, lengths, and ranges. */
#include "text/template/ast.h"

#include <string.h>

static bool next_seq(struct jj_run *r, struct jj_iter *it, jv *out)
{
    (void)r;
    const struct jj_seq *s = it->src.u.seq;
    if (it->pos >= s->n)
        return false;
    *out = s->v[it->pos++];
    return true;
}

static bool next_char(struct jj_run *r, struct jj_iter *it, jv *out)
{
    const struct jj_str *s = it->src.u.s;
    if (it->pos >= s->n)
        return false;
    size_t used;
    pn_jj_decode(s->p + it->pos, s->p + s->n, &used);
    *out = pn_jj_str(r, s->p + it->pos, used);
    it->pos += used;
    return true;
}

static jv dict_item(struct jj_run *r, const struct jj_dict *d, size_t i, char kind)
{
    const struct jj_entry *e = &d->e[i];
    return kind == 'k' ? e->key : kind == 'v' ? e->value : pn_jj_pair(r, e->key, e->value);
}

static bool next_dict(struct jj_run *r, struct jj_iter *it, jv *out)
{
    bool view = it->src.t == JJ_VIEW;
    const struct jj_dict *d = view ? it->src.u.view->dict : it->src.u.dict;
    if (it->pos >= d->n)
        return false;
    *out = dict_item(r, d, it->pos++, view ? it->src.u.view->kind : 'k');
    return true;
}

static bool next_range(struct jj_run *r, struct jj_iter *it, jv *out)
{
    (void)r;
    const struct jj_range *range = it->src.u.range;
    if ((int64_t)it->pos >= range->n)
        return false;
    *out = jj_int(range->start + (int64_t)it->pos++ * range->step);
    return true;
}

static bool next_none(struct jj_run *r, struct jj_iter *it, jv *out)
{
    (void)r, (void)it, (void)out;
    return false;
}

bool pn_jj_iterable(jv v)
{
    return v.t == JJ_STR || jj_is_seq(v) || v.t == JJ_DICT || v.t == JJ_VIEW || v.t == JJ_RANGE || v.t == JJ_ITER ||
           v.t == JJ_UNDEFINED || v.t == JJ_LOOP;
}

/* Iterating over `loop` would take items from the running loop; it is not supported. */
static bool next_loop(struct jj_run *r, struct jj_iter *it, jv *out)
{
    (void)it, (void)out;
    pn_jj_raise(r, "TypeError", "iterating over 'loop' is not supported");
}

struct jj_iter *pn_jj_iter(struct jj_run *r, jv v)
{
    if (v.t == JJ_ITER)
        return v.u.iter;
    struct jj_iter *it = pn_jj_alloc(r, sizeof *it);
    it->src = v;
    switch (v.t) {
    case JJ_STR:
        it->type = "str_iterator";
        it->next = next_char;
        break;
    case JJ_LIST:
    case JJ_TUPLE:
        it->type = "list_iterator";
        it->next = next_seq;
        break;
    case JJ_DICT:
    case JJ_VIEW:
        it->type = "dict_iterator";
        it->next = next_dict;
        break;
    case JJ_RANGE:
        it->type = "range_iterator";
        it->next = next_range;
        break;
    case JJ_UNDEFINED:
        it->type = "generator";
        it->next = next_none;
        break;
    case JJ_LOOP:
        it->type = "LoopContext";
        it->next = next_loop;
        break;
    default:
        pn_jj_raise(r, "TypeError", "'%s' object is not iterable", pn_jj_type_name(v));
    }
    return it;
}

jv pn_jj_to_list(struct jj_run *r, jv v)
{
    jv item, list = pn_jj_list(r, pn_jj_has_len(v) && v.t != JJ_LOOP ? (size_t)pn_jj_len(r, v) : 0);
    struct jj_iter *it = pn_jj_iter(r, v);
    while (pn_jj_next(r, it, &item))
        pn_jj_push(r, list, item);
    return list;
}

/* ---- lengths ---- */

bool pn_jj_has_len(jv v)
{
    return v.t == JJ_STR || jj_is_seq(v) || v.t == JJ_DICT || v.t == JJ_VIEW || v.t == JJ_RANGE ||
           v.t == JJ_UNDEFINED || v.t == JJ_LOOP;
}

/* Reads the rest of an iterator that has no length. */
int64_t pn_jj_loop_length(struct jj_run *r, struct jj_loop *loop)
{
    if (loop->length >= 0)
        return loop->length;
    if (pn_jj_has_len(loop->iterable))
        return loop->length = pn_jj_len(r, loop->iterable);
    jv rest = pn_jj_to_list(r, (jv){.t = JJ_ITER, .u.iter = loop->it});
    loop->it = pn_jj_iter(r, rest);
    return loop->length = (int64_t)rest.u.seq->n + loop->index0 + 1 + (loop->after.t != JJ_MISSING);
}

bool pn_jj_loop_peek(struct jj_run *r, struct jj_loop *loop)
{
    jv item;
    if (loop->after.t == JJ_MISSING && pn_jj_next(r, loop->it, &item))
        loop->after = item;
    return loop->after.t != JJ_MISSING;
}

int64_t pn_jj_len(struct jj_run *r, jv v)
{
    switch (v.t) {
    case JJ_STR:
        return pn_jj_chars(v.u.s);
    case JJ_LIST:
    case JJ_TUPLE:
        return (int64_t)v.u.seq->n;
    case JJ_DICT:
        return (int64_t)v.u.dict->n;
    case JJ_VIEW:
        return (int64_t)v.u.view->dict->n;
    case JJ_RANGE:
        return v.u.range->n;
    case JJ_UNDEFINED:
        return 0;
    case JJ_LOOP:
        return pn_jj_loop_length(r, v.u.loop);
    default:
        pn_jj_raise(r, "TypeError", "object of type '%s' has no len()", pn_jj_type_name(v));
    }
}

/* ---- ranges, generators ---- */

jv pn_jj_range(struct jj_run *r, int64_t start, int64_t stop, int64_t step)
{
    struct jj_range *range = pn_jj_alloc(r, sizeof *range);
    *range = (struct jj_range){.start = start, .stop = stop, .step = step};
    uint64_t distance = 0, stride = step < 0 ? 0 - (uint64_t)step : (uint64_t)step;
    if (step > 0 && start < stop)
        distance = (uint64_t)stop - (uint64_t)start;
    else if (step < 0 && start > stop)
        distance = (uint64_t)start - (uint64_t)stop;
    uint64_t n = distance / stride + (distance % stride != 0);
    range->n = n > INT64_MAX ? INT64_MAX : (int64_t)n;
    return (jv){.t = JJ_RANGE, .u.range = range};
}

jv pn_jj_generator(struct jj_run *r, const char *name, jv src, void *state,
                   bool (*next)(struct jj_run *r, struct jj_iter *it, jv *out))
{
    struct jj_iter *it = pn_jj_alloc(r, sizeof *it);
    *it = (struct jj_iter){.next = next, .type = "generator", .name = name, .src = src, .state = state};
    return (jv){.t = JJ_ITER, .u.iter = it};
}

static bool next_reversed(struct jj_run *r, struct jj_iter *it, jv *out)
{
    jv src = it->src;
    if (it->pos == 0)
        return false;
    size_t i = --it->pos;
    if (jj_is_seq(src))
        *out = src.u.seq->v[i];
    else if (src.t == JJ_RANGE)
        *out = jj_int(src.u.range->start + (int64_t)i * src.u.range->step);
    else
        *out = dict_item(r, src.t == JJ_VIEW ? src.u.view->dict : src.u.dict, i,
                         src.t == JJ_VIEW ? src.u.view->kind : 'k');
    return true;
}

jv pn_jj_reversed(struct jj_run *r, jv v, bool *ok)
{
    *ok = jj_is_seq(v) || v.t == JJ_RANGE || v.t == JJ_DICT || v.t == JJ_VIEW;
    if (v.t == JJ_STR) {
        v = pn_jj_to_list(r, v);
        *ok = true;
    }
    if (!*ok)
        return jj_none();
    struct jj_iter *it = pn_jj_alloc(r, sizeof *it);
    *it = (struct jj_iter){.next = next_reversed, .src = v, .pos = (size_t)pn_jj_len(r, v)};
    it->type = v.t == JJ_LIST    ? "list_reverseiterator"
               : v.t == JJ_RANGE ? "range_iterator"
               : v.t == JJ_DICT  ? "dict_reversekeyiterator"
                                 : "reversed";
    return (jv){.t = JJ_ITER, .u.iter = it};
}
