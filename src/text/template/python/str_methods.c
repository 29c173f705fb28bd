/* The methods of strings. Positions and widths count code points. */
#include "text/template/value.h"

#include <string.h>

/* ---- arguments ---- */

static void no_keywords(struct jj_run *r, const char *name, const struct jj_args *args)
{
    if (args->n_kw)
        pn_jj_raise(r, "TypeError", "str.%s() takes no keyword arguments", name);
}

/* The same for find() and similar methods, which take one to three. */
static void find_args(struct jj_run *r, const char *name, const struct jj_args *args)
{
    if (args->n_kw)
        pn_jj_raise(r, "TypeError", "%s() takes no keyword arguments", name);
    if (args->n_pos < 1 || args->n_pos > 3)
        pn_jj_raise(r, "TypeError", "%s() takes at %s (%zu given)", name,
                    args->n_pos ? "most 3 arguments" : "least 1 argument", args->n_pos);
}

static void no_args(struct jj_run *r, const char *name, const struct jj_args *args)
{
    no_keywords(r, name, args);
    if (args->n_pos)
        pn_jj_raise(r, "TypeError", "str.%s() takes no arguments (%zu given)", name, args->n_pos);
}

static void one_arg(struct jj_run *r, const char *name, const struct jj_args *args)
{
    no_keywords(r, name, args);
    if (args->n_pos != 1)
        pn_jj_raise(r, "TypeError", "str.%s() takes exactly one argument (%zu given)", name, args->n_pos);
}

static void some_args(struct jj_run *r, const char *name, const struct jj_args *args, size_t min, size_t max)
{
    no_keywords(r, name, args);
    size_t bound = args->n_pos < min ? min : max;
    if (args->n_pos < min || args->n_pos > max)
        pn_jj_raise(r, "TypeError", "%s expected at %s %zu argument%s, got %zu", name,
                    args->n_pos < min ? "least" : "most", bound, bound == 1 ? "" : "s", args->n_pos);
}

/* Arguments that have names, of a method written in C. */
static void named_args(struct jj_run *r, const char *name, const struct jj_args *args, const char *const *params,
                       size_t n, jv *out)
{
    size_t given = args->n_pos + args->n_kw;
    if (given > n)
        pn_jj_raise(r, "TypeError", "%s() takes at most %zu argument%s (%zu given)", name, n, n == 1 ? "" : "s", given);
    for (size_t k = 0; k < args->n_kw; k++) {
        const struct jj_str *kw = args->kw[k].name;
        size_t i = 0;
        while (i < n && !(strlen(params[i]) == kw->n && memcmp(params[i], kw->p, kw->n) == 0))
            i++;
        if (i == n)
            pn_jj_raise(r, "TypeError", "'%.*s' is an invalid keyword argument for %s()", (int)kw->n, kw->p, name);
    }
    pn_jj_bind(r, name, args, 0, params, n, 0, out);
}

/* The name of a type in errors about arguments. */
static const char *bad_type(jv v)
{
    return v.t == JJ_NONE ? "None" : pn_jj_type_name(v);
}

static int64_t int_arg(struct jj_run *r, jv v)
{
    if (v.t == JJ_BIG)
        pn_jj_raise(r, "OverflowError", "Python int too large to convert to C ssize_t");
    if (!jj_is_int(v))
        pn_jj_raise(r, "TypeError", "'%s' object cannot be interpreted as an integer", pn_jj_type_name(v));
    return jj_as_int(v);
}

/* The [start, end) of find(), count(), startswith()...: optional arguments 1 and 2, clipped as slices are. */
static void span_args(struct jj_run *r, const struct jj_args *args, struct jj_str *s, int64_t *start, int64_t *end)
{
    int64_t n = pn_jj_chars(s), at[2] = {0, n};
    for (size_t i = 0; i < 2; i++) {
        if (args->n_pos <= i + 1 || args->pos[i + 1].t == JJ_NONE)
            continue;
        if (!jj_is_int(args->pos[i + 1]))
            pn_jj_raise(r, "TypeError", "slice indices must be integers or None or have an __index__ method");
        at[i] = jj_as_int(args->pos[i + 1]);
        if (at[i] < 0)
            at[i] = at[i] + n < 0 ? 0 : at[i] + n;
    }
    *start = at[0];
    *end = at[1] > n ? n : at[1];
}

static jv keep(jv out, jv self)
{
    out.u.s->markup = self.u.s->markup;
    return out;
}

static jv built(struct jj_buf *b, jv self)
{
    return keep(pn_jj_buf_str(b), self);
}

/* ---- case ---- */

static jv str_upper(struct jj_run *r, jv self, const struct jj_args *args)
{
    no_args(r, "upper", args);
    struct jj_buf b = {.r = r};
    pn_jj_put_upper(&b, self.u.s->p, self.u.s->n);
    return built(&b, self);
}

static jv str_lower(struct jj_run *r, jv self, const struct jj_args *args)
{
    no_args(r, "lower", args);
    return pn_jj_lower(r, self.u.s);
}

static jv str_casefold(struct jj_run *r, jv self, const struct jj_args *args)
{
    no_args(r, "casefold", args);
    struct jj_buf b = {.r = r};
    pn_jj_put_fold(&b, self.u.s->p, self.u.s->n);
    return built(&b, self);
}

static jv str_capitalize(struct jj_run *r, jv self, const struct jj_args *args)
{
    no_args(r, "capitalize", args);
    struct jj_buf b = {.r = r};
    const struct jj_str *s = self.u.s;
    size_t used = 0;
    if (s->n)
        pn_jj_put_title_char(&b, pn_jj_decode(s->p, s->p + s->n, &used));
    pn_jj_put_lower_part(&b, s->p, s->n, used, s->n);
    return built(&b, self);
}

static bool is_cased(uint32_t c)
{
    return pn_jj_is_upper(c) || pn_jj_is_lower(c) || pn_jj_is_title(c);
}

static jv str_title(struct jj_run *r, jv self, const struct jj_args *args)
{
    no_args(r, "title", args);
    struct jj_buf b = {.r = r};
    const struct jj_str *s = self.u.s;
    bool inside = false;
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        if (inside)
            pn_jj_put_lower_part(&b, s->p, s->n, i, i + used);
        else
            pn_jj_put_title_char(&b, c);
        inside = is_cased(c);
    }
    return built(&b, self);
}

static jv str_swapcase(struct jj_run *r, jv self, const struct jj_args *args)
{
    no_args(r, "swapcase", args);
    struct jj_buf b = {.r = r};
    const struct jj_str *s = self.u.s;
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        if (pn_jj_is_upper(c))
            pn_jj_put_lower_part(&b, s->p, s->n, i, i + used);
        else if (pn_jj_is_lower(c))
            pn_jj_put_upper(&b, s->p + i, used);
        else
            pn_jj_put_char(&b, c);
    }
    return built(&b, self);
}

/* ---- questions ---- */

/* True for a non-empty text whose characters are all of the class. */
static jv all_are(struct jj_run *r, const char *name, jv self, const struct jj_args *args, bool (*is)(uint32_t c),
                  bool empty)
{
    no_args(r, name, args);
    const struct jj_str *s = self.u.s;
    bool good = s->n ? true : empty;
    for (size_t i = 0, used; good && i < s->n; i += used)
        good = is(pn_jj_decode(s->p + i, s->p + s->n, &used));
    return jj_bool(good);
}

static jv str_isalnum(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isalnum", self, args, pn_jj_is_alnum, false);
}

static jv str_isalpha(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isalpha", self, args, pn_jj_is_alpha, false);
}

static bool is_ascii(uint32_t c)
{
    return c < 0x80;
}

static jv str_isascii(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isascii", self, args, is_ascii, true);
}

static jv str_isdecimal(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isdecimal", self, args, pn_jj_is_decimal, false);
}

static jv str_isdigit(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isdigit", self, args, pn_jj_is_digit, false);
}

static jv str_isnumeric(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isnumeric", self, args, pn_jj_is_numeric, false);
}

static jv str_isspace(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isspace", self, args, pn_jj_is_space, false);
}

static jv str_isprintable(struct jj_run *r, jv self, const struct jj_args *args)
{
    return all_are(r, "isprintable", self, args, pn_jj_is_printable, true);
}

static jv str_isidentifier(struct jj_run *r, jv self, const struct jj_args *args)
{
    size_t used;
    const struct jj_str *s = self.u.s;
    jv rest = all_are(r, "isidentifier", self, args, pn_jj_is_id_continue, false);
    return jj_bool(rest.u.b && pn_jj_is_id_start(pn_jj_decode(s->p, s->p + s->n, &used)));
}

/* Whether some character is cased, and none has the other case. */
static jv one_case(struct jj_run *r, const char *name, jv self, const struct jj_args *args, bool (*is)(uint32_t c),
                   bool (*other)(uint32_t c))
{
    no_args(r, name, args);
    const struct jj_str *s = self.u.s;
    bool some = false;
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        if (other(c) || pn_jj_is_title(c))
            return jj_bool(false);
        some = some || is(c);
    }
    return jj_bool(some);
}

static jv str_isupper(struct jj_run *r, jv self, const struct jj_args *args)
{
    return one_case(r, "isupper", self, args, pn_jj_is_upper, pn_jj_is_lower);
}

static jv str_islower(struct jj_run *r, jv self, const struct jj_args *args)
{
    return one_case(r, "islower", self, args, pn_jj_is_lower, pn_jj_is_upper);
}

static jv str_istitle(struct jj_run *r, jv self, const struct jj_args *args)
{
    no_args(r, "istitle", args);
    const struct jj_str *s = self.u.s;
    bool some = false, inside = false;
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        bool capital = pn_jj_is_upper(c) || pn_jj_is_title(c), small = pn_jj_is_lower(c);
        if ((capital && inside) || (small && !inside))
            return jj_bool(false);
        inside = capital || small;
        some = some || inside;
    }
    return jj_bool(some);
}

/* ---- searching ---- */

static const char *find_bytes(const char *p, size_t n, const struct jj_str *what)
{
    return what->n == 0 ? p : n ? pn_jj_search(p, n, what->p, what->n) : NULL;
}

/* Every comparison counts as work, since the text may repeat itself. */
static const char *find_last(struct jj_run *r, const char *p, size_t n, const struct jj_str *what)
{
    if (what->n > n)
        return NULL;
    for (const char *at = p + (n - what->n);; at--) {
        if (what->n == 0)
            return at;
        if (*at == *what->p) {
            pn_jj_step(r, what->n / 64);
            if (memcmp(at, what->p, what->n) == 0)
                return at;
        }
        if (at == p)
            return NULL;
    }
}

static int64_t find(struct jj_run *r, const char *name, jv self, const struct jj_args *args, bool last)
{
    find_args(r, name, args);
    struct jj_str *s = self.u.s;
    int64_t start, end;
    span_args(r, args, s, &start, &end);
    if (args->pos[0].t != JJ_STR)
        pn_jj_raise(r, "TypeError", "must be str, not %s", pn_jj_type_name(args->pos[0]));
    if (start > end)
        return -1;
    pn_jj_step(r, s->n / 16);
    size_t from = pn_jj_offset(s, start), to = pn_jj_offset(s, end);
    const char *at = last ? find_last(r, s->p + from, to - from, args->pos[0].u.s)
                          : find_bytes(s->p + from, to - from, args->pos[0].u.s);
    if (!at)
        return -1;
    struct jj_str before = {.p = s->p, .n = (size_t)(at - s->p), .chars = -1};
    return pn_jj_chars(&before);
}

static jv str_find(struct jj_run *r, jv self, const struct jj_args *args)
{
    return jj_int(find(r, "find", self, args, false));
}

static jv str_rfind(struct jj_run *r, jv self, const struct jj_args *args)
{
    return jj_int(find(r, "rfind", self, args, true));
}

static jv found(struct jj_run *r, int64_t at)
{
    if (at < 0)
        pn_jj_raise(r, "ValueError", "substring not found");
    return jj_int(at);
}

static jv str_index(struct jj_run *r, jv self, const struct jj_args *args)
{
    return found(r, find(r, "index", self, args, false));
}

static jv str_rindex(struct jj_run *r, jv self, const struct jj_args *args)
{
    return found(r, find(r, "rindex", self, args, true));
}

static jv str_count(struct jj_run *r, jv self, const struct jj_args *args)
{
    find_args(r, "count", args);
    struct jj_str *s = self.u.s;
    int64_t start, end, count = 0;
    span_args(r, args, s, &start, &end);
    if (args->pos[0].t != JJ_STR)
        pn_jj_raise(r, "TypeError", "must be str, not %s", pn_jj_type_name(args->pos[0]));
    const struct jj_str *what = args->pos[0].u.s;
    if (start > end)
        return jj_int(0);
    if (what->n == 0)
        return jj_int(end - start + 1);
    pn_jj_step(r, s->n / 16);
    const char *p = s->p + pn_jj_offset(s, start), *stop = s->p + pn_jj_offset(s, end);
    for (; (p = find_bytes(p, (size_t)(stop - p), what)); p += what->n)
        count++;
    return jj_int(count);
}

static bool has_affix(const char *p, size_t n, const struct jj_str *affix, bool end)
{
    return affix->n <= n && memcmp(end ? p + n - affix->n : p, affix->p, affix->n) == 0;
}

static jv starts_or_ends(struct jj_run *r, const char *name, jv self, const struct jj_args *args, bool end)
{
    find_args(r, name, args);
    struct jj_str *s = self.u.s;
    int64_t from, to;
    span_args(r, args, s, &from, &to);
    jv what = args->pos[0];
    if (what.t != JJ_STR && what.t != JJ_TUPLE)
        pn_jj_raise(r, "TypeError", "%s first arg must be str or a tuple of str, not %s", name, pn_jj_type_name(what));
    size_t n = what.t == JJ_STR ? 1 : what.u.seq->n, a = 0, b = s->n;
    if (from > to)
        n = 0;
    else if (args->n_pos > 1) {
        a = pn_jj_offset(s, from);
        b = pn_jj_offset(s, to);
    }
    for (size_t i = 0; i < n; i++) {
        jv one = what.t == JJ_STR ? what : what.u.seq->v[i];
        if (one.t != JJ_STR)
            pn_jj_raise(r, "TypeError", "tuple for %s must only contain str, not %s", name, pn_jj_type_name(one));
        if (has_affix(s->p + a, b - a, one.u.s, end))
            return jj_bool(true);
    }
    return jj_bool(false);
}

static jv str_startswith(struct jj_run *r, jv self, const struct jj_args *args)
{
    return starts_or_ends(r, "startswith", self, args, false);
}

static jv str_endswith(struct jj_run *r, jv self, const struct jj_args *args)
{
    return starts_or_ends(r, "endswith", self, args, true);
}

/* ---- cutting ---- */

static jv strip(struct jj_run *r, const char *name, jv self, const struct jj_args *args, bool left, bool right)
{
    some_args(r, name, args, 0, 1);
    const struct jj_str *s = self.u.s, *set = NULL;
    if (args->n_pos && args->pos[0].t != JJ_NONE) {
        if (args->pos[0].t != JJ_STR)
            pn_jj_raise(r, "TypeError", "%s arg must be None or str", name);
        set = args->pos[0].u.s;
    }
    size_t from = 0, to = s->n, used;
    while (left && from < to) {
        pn_jj_step(r, set ? set->n / 16 : 0);
        uint32_t c = pn_jj_decode(s->p + from, s->p + to, &used);
        if (set ? !set->n || !pn_jj_search(set->p, set->n, s->p + from, used) : !pn_jj_is_space(c))
            break;
        from += used;
    }
    while (right && to > from) {
        size_t at = to - 1;
        pn_jj_step(r, set ? set->n / 16 : 0);
        while (at > from && ((unsigned char)s->p[at] & 0xC0) == 0x80)
            at--;
        uint32_t c = pn_jj_decode(s->p + at, s->p + to, &used);
        if (set ? !set->n || !pn_jj_search(set->p, set->n, s->p + at, used) : !pn_jj_is_space(c))
            break;
        to = at;
    }
    return pn_jj_sub(r, s, from, to);
}

static jv str_strip(struct jj_run *r, jv self, const struct jj_args *args)
{
    return strip(r, "strip", self, args, true, true);
}

static jv str_lstrip(struct jj_run *r, jv self, const struct jj_args *args)
{
    return strip(r, "lstrip", self, args, true, false);
}

static jv str_rstrip(struct jj_run *r, jv self, const struct jj_args *args)
{
    return strip(r, "rstrip", self, args, false, true);
}

static jv affix_arg(struct jj_run *r, const char *name, const struct jj_args *args)
{
    one_arg(r, name, args);
    if (args->pos[0].t != JJ_STR)
        pn_jj_raise(r, "TypeError", "%s() argument must be str, not %s", name, bad_type(args->pos[0]));
    return args->pos[0];
}

static jv str_removeprefix(struct jj_run *r, jv self, const struct jj_args *args)
{
    const struct jj_str *s = self.u.s, *affix = affix_arg(r, "removeprefix", args).u.s;
    return has_affix(s->p, s->n, affix, false) ? pn_jj_sub(r, s, affix->n, s->n) : self;
}

static jv str_removesuffix(struct jj_run *r, jv self, const struct jj_args *args)
{
    const struct jj_str *s = self.u.s, *affix = affix_arg(r, "removesuffix", args).u.s;
    return has_affix(s->p, s->n, affix, true) ? pn_jj_sub(r, s, 0, s->n - affix->n) : self;
}

static jv partition(struct jj_run *r, const char *name, jv self, const struct jj_args *args, bool last)
{
    one_arg(r, name, args);
    if (args->pos[0].t != JJ_STR)
        pn_jj_raise(r, "TypeError", "must be str, not %s", pn_jj_type_name(args->pos[0]));
    const struct jj_str *s = self.u.s, *sep = args->pos[0].u.s;
    if (sep->n == 0)
        pn_jj_raise(r, "ValueError", "empty separator");
    pn_jj_step(r, s->n / 16);
    const char *at = last ? find_last(r, s->p, s->n, sep) : find_bytes(s->p, s->n, sep);
    size_t cut = at ? (size_t)(at - s->p) : last ? 0 : s->n;
    jv t = pn_jj_tuple(r, 3);
    pn_jj_push(r, t, pn_jj_sub(r, s, 0, at ? cut : last ? 0 : s->n));
    pn_jj_push(r, t, at ? args->pos[0] : pn_jj_cstr(r, ""));
    pn_jj_push(r, t, pn_jj_sub(r, s, at ? cut + sep->n : last ? 0 : s->n, s->n));
    return t;
}

static jv str_partition(struct jj_run *r, jv self, const struct jj_args *args)
{
    return partition(r, "partition", self, args, false);
}

static jv str_rpartition(struct jj_run *r, jv self, const struct jj_args *args)
{
    return partition(r, "rpartition", self, args, true);
}

static jv reverse_list(jv list)
{
    struct jj_seq *s = list.u.seq;
    for (size_t i = 0; i < s->n / 2; i++) {
        jv swap = s->v[i];
        s->v[i] = s->v[s->n - 1 - i];
        s->v[s->n - 1 - i] = swap;
    }
    return list;
}

static jv split_space(struct jj_run *r, const struct jj_str *s, int64_t max)
{
    jv list = pn_jj_list(r, 0);
    size_t at = 0, used;
    for (;;) {
        while (at < s->n && pn_jj_is_space(pn_jj_decode(s->p + at, s->p + s->n, &used)))
            at += used;
        if (at == s->n)
            return list;
        if (max >= 0 && (int64_t)list.u.seq->n == max) {
            pn_jj_push(r, list, pn_jj_sub(r, s, at, s->n));
            return list;
        }
        size_t from = at;
        while (at < s->n && !pn_jj_is_space(pn_jj_decode(s->p + at, s->p + s->n, &used)))
            at += used;
        pn_jj_push(r, list, pn_jj_sub(r, s, from, at));
    }
}

static size_t char_before(const struct jj_str *s, size_t at, uint32_t *c)
{
    size_t b = at - 1, used;
    while (b > 0 && ((unsigned char)s->p[b] & 0xC0) == 0x80)
        b--;
    *c = pn_jj_decode(s->p + b, s->p + at, &used);
    return b;
}

static jv rsplit_space(struct jj_run *r, const struct jj_str *s, int64_t max)
{
    jv list = pn_jj_list(r, 0);
    size_t at = s->n, b;
    uint32_t c;
    for (;;) {
        while (at > 0 && (b = char_before(s, at, &c), pn_jj_is_space(c)))
            at = b;
        if (at == 0)
            return reverse_list(list);
        if (max >= 0 && (int64_t)list.u.seq->n == max) {
            pn_jj_push(r, list, pn_jj_sub(r, s, 0, at));
            return reverse_list(list);
        }
        size_t end = at;
        while (at > 0 && (b = char_before(s, at, &c), !pn_jj_is_space(c)))
            at = b;
        pn_jj_push(r, list, pn_jj_sub(r, s, at, end));
    }
}

static jv split(struct jj_run *r, const char *name, jv self, const struct jj_args *args, bool last)
{
    static const char *const params[] = {"sep", "maxsplit"};
    jv arg[2];
    named_args(r, name, args, params, 2, arg);
    int64_t max = arg[1].t == JJ_MISSING ? -1 : int_arg(r, arg[1]);
    const struct jj_str *s = self.u.s;
    pn_jj_step(r, s->n / 16);
    if (arg[0].t == JJ_MISSING || arg[0].t == JJ_NONE)
        return last ? rsplit_space(r, s, max) : split_space(r, s, max);
    if (arg[0].t != JJ_STR)
        pn_jj_raise(r, "TypeError", "must be str or None, not %s", pn_jj_type_name(arg[0]));
    const struct jj_str *sep = arg[0].u.s;
    if (sep->n == 0)
        pn_jj_raise(r, "ValueError", "empty separator");
    jv list = pn_jj_list(r, 0);
    size_t from = 0, to = s->n;
    while (max < 0 || (int64_t)list.u.seq->n < max) {
        const char *at = last ? find_last(r, s->p, to, sep) : find_bytes(s->p + from, to - from, sep);
        if (!at)
            break;
        size_t cut = (size_t)(at - s->p);
        pn_jj_step(r, 1);
        pn_jj_push(r, list, last ? pn_jj_sub(r, s, cut + sep->n, to) : pn_jj_sub(r, s, from, cut));
        if (last)
            to = cut;
        else
            from = cut + sep->n;
    }
    pn_jj_push(r, list, pn_jj_sub(r, s, from, to));
    return last ? reverse_list(list) : list;
}

static jv str_split(struct jj_run *r, jv self, const struct jj_args *args)
{
    return split(r, "split", self, args, false);
}

static jv str_rsplit(struct jj_run *r, jv self, const struct jj_args *args)
{
    return split(r, "rsplit", self, args, true);
}

static bool is_line_break(uint32_t c)
{
    return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

jv pn_jj_splitlines(struct jj_run *r, const struct jj_str *s, bool keep_ends)
{
    jv list = pn_jj_list(r, 0);
    for (size_t at = 0, used; at < s->n;) {
        size_t from = at, end;
        while (at < s->n && !is_line_break(pn_jj_decode(s->p + at, s->p + s->n, &used)))
            at += used;
        end = at;
        if (at < s->n) {
            bool crlf = s->p[at] == '\r' && at + 1 < s->n && s->p[at + 1] == '\n';
            pn_jj_decode(s->p + at, s->p + s->n, &used);
            at += crlf ? 2 : used;
        }
        pn_jj_push(r, list, pn_jj_sub(r, s, from, keep_ends ? at : end));
    }
    pn_jj_step(r, s->n / 16);
    return list;
}

static jv str_splitlines(struct jj_run *r, jv self, const struct jj_args *args)
{
    static const char *const params[] = {"keepends"};
    jv keep_ends;
    named_args(r, "splitlines", args, params, 1, &keep_ends);
    return pn_jj_splitlines(r, self.u.s, keep_ends.t != JJ_MISSING && int_arg(r, keep_ends) != 0);
}

/* ---- building ---- */

static jv str_join(struct jj_run *r, jv self, const struct jj_args *args)
{
    one_arg(r, "join", args);
    if (!pn_jj_iterable(args->pos[0]))
        pn_jj_raise(r, "TypeError", "can only join an iterable");
    struct jj_iter *it = pn_jj_iter(r, args->pos[0]);
    struct jj_buf b = {.r = r};
    jv item;
    for (size_t i = 0; pn_jj_next(r, it, &item); i++) {
        if (item.t != JJ_STR && !self.u.s->markup)
            pn_jj_raise(r, "TypeError", "sequence item %zu: expected str instance, %s found", i, pn_jj_type_name(item));
        if (i)
            pn_jj_put_str(&b, self);
        pn_jj_put_str(&b, self.u.s->markup ? pn_jj_escape(r, item) : item);
    }
    return built(&b, self);
}

jv pn_jj_replace(struct jj_run *r, const struct jj_str *s, const struct jj_str *old, const struct jj_str *new_text,
                 int64_t max)
{
    struct jj_buf b = {.r = r};
    const char *p = s->p, *end = s->p + s->n;
    pn_jj_step(r, s->n / 16);
    for (int64_t count = 0; max < 0 || count < max; count++) {
        if (old->n == 0) { /* between all characters, and at both ends */
            pn_jj_put(&b, new_text->p, new_text->n);
            if (p == end)
                break;
            size_t used;
            pn_jj_decode(p, end, &used);
            pn_jj_put(&b, p, used);
            p += used;
            pn_jj_step(r, 1);
            continue;
        }
        const char *at = find_bytes(p, (size_t)(end - p), old);
        if (!at)
            break;
        pn_jj_put(&b, p, (size_t)(at - p));
        pn_jj_put(&b, new_text->p, new_text->n);
        p = at + old->n;
        pn_jj_step(r, 1);
    }
    pn_jj_put(&b, p, (size_t)(end - p));
    return pn_jj_buf_str(&b);
}

static jv str_replace(struct jj_run *r, jv self, const struct jj_args *args)
{
    some_args(r, "replace", args, 2, 3);
    jv old = args->pos[0], new_text = args->pos[1];
    for (size_t i = 0; i < 2; i++)
        if (args->pos[i].t != JJ_STR)
            pn_jj_raise(r, "TypeError", "replace() argument %zu must be str, not %s", i + 1, bad_type(args->pos[i]));
    int64_t max = args->n_pos > 2 ? int_arg(r, args->pos[2]) : -1;
    if (self.u.s->markup)
        new_text = pn_jj_escape(r, new_text);
    return keep(pn_jj_replace(r, self.u.s, old.u.s, new_text.u.s, max), self);
}

static jv justify(struct jj_run *r, const char *name, jv self, const struct jj_args *args, int side)
{
    some_args(r, name, args, 1, 2);
    int64_t width = int_arg(r, args->pos[0]), n = pn_jj_chars(self.u.s);
    uint32_t fill = ' ';
    if (args->n_pos > 1) {
        if (args->pos[1].t != JJ_STR)
            pn_jj_raise(r, "TypeError", "The fill character must be a unicode character, not %s",
                        pn_jj_type_name(args->pos[1]));
        if (pn_jj_chars(args->pos[1].u.s) != 1)
            pn_jj_raise(r, "TypeError", "The fill character must be exactly one character long");
        size_t used;
        fill = pn_jj_decode(args->pos[1].u.s->p, args->pos[1].u.s->p + args->pos[1].u.s->n, &used);
    }
    if (width <= n)
        return self;
    int64_t margin = width - n, left = side < 0 ? 0 : side > 0 ? margin : margin / 2 + (margin & width & 1);
    struct jj_buf b = {.r = r};
    pn_jj_pad(&b, fill, left);
    pn_jj_put(&b, self.u.s->p, self.u.s->n);
    pn_jj_pad(&b, fill, margin - left);
    return built(&b, self);
}

static jv str_center(struct jj_run *r, jv self, const struct jj_args *args)
{
    return justify(r, "center", self, args, 0);
}

static jv str_ljust(struct jj_run *r, jv self, const struct jj_args *args)
{
    return justify(r, "ljust", self, args, -1);
}

static jv str_rjust(struct jj_run *r, jv self, const struct jj_args *args)
{
    return justify(r, "rjust", self, args, 1);
}

static jv str_zfill(struct jj_run *r, jv self, const struct jj_args *args)
{
    one_arg(r, "zfill", args);
    const struct jj_str *s = self.u.s;
    int64_t missing = int_arg(r, args->pos[0]) - pn_jj_chars(self.u.s);
    if (missing <= 0)
        return self;
    struct jj_buf b = {.r = r};
    size_t sign = s->n && (s->p[0] == '-' || s->p[0] == '+');
    pn_jj_put(&b, s->p, sign);
    pn_jj_pad(&b, '0', missing);
    pn_jj_put(&b, s->p + sign, s->n - sign);
    return built(&b, self);
}

static jv str_expandtabs(struct jj_run *r, jv self, const struct jj_args *args)
{
    static const char *const params[] = {"tabsize"};
    jv arg;
    named_args(r, "expandtabs", args, params, 1, &arg);
    int64_t size = arg.t == JJ_MISSING ? 8 : int_arg(r, arg), column = 0;
    const struct jj_str *s = self.u.s;
    struct jj_buf b = {.r = r};
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        if (c == '\t') {
            int64_t spaces = size > 0 ? size - column % size : 0;
            pn_jj_pad(&b, ' ', spaces);
            column += spaces;
        } else {
            pn_jj_put(&b, s->p + i, used);
            column = c == '\n' || c == '\r' ? 0 : column + 1;
        }
    }
    return built(&b, self);
}

static jv str_format(struct jj_run *r, jv self, const struct jj_args *args)
{
    return pn_jj_format(r, self.u.s, args);
}

static jv str_format_map(struct jj_run *r, jv self, const struct jj_args *args)
{
    if (args->n_kw)
        pn_jj_raise(r, "TypeError", "format_map() takes no keyword arguments");
    if (args->n_pos != 1)
        pn_jj_raise(r, "TypeError", "format_map() takes exactly one argument (%zu given)", args->n_pos);
    return pn_jj_format_map(r, self.u.s, args->pos[0]);
}

static jv str_encode(struct jj_run *r, jv self, const struct jj_args *args)
{
    (void)self, (void)args;
    pn_jj_throw(r, PANTRY_UNSUPPORTED, "str.encode() is not supported: templates have no bytes");
}

static jv str_translate(struct jj_run *r, jv self, const struct jj_args *args)
{
    one_arg(r, "translate", args);
    const struct jj_str *s = self.u.s;
    if (args->pos[0].t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, args->pos[0]);
    if (s->n && (jj_is_number(args->pos[0]) || args->pos[0].t == JJ_NONE))
        pn_jj_raise(r, "TypeError", "'%s' object is not subscriptable", pn_jj_type_name(args->pos[0]));
    struct jj_buf b = {.r = r};
    for (size_t i = 0, used; i < s->n; i += used) {
        uint32_t c = pn_jj_decode(s->p + i, s->p + s->n, &used);
        jv *to = args->pos[0].t == JJ_DICT ? pn_jj_dict_get(r, args->pos[0].u.dict, jj_int(c)) : NULL;
        if (!to)
            pn_jj_put(&b, s->p + i, used);
        else if (jj_is_int(*to) && jj_as_int(*to) >= 0 && jj_as_int(*to) <= 0x10FFFF)
            pn_jj_put_char(&b, (uint32_t)jj_as_int(*to));
        else if (to->t == JJ_STR)
            pn_jj_put_str(&b, *to);
        else if (to->t != JJ_NONE)
            pn_jj_raise(r, "TypeError", "character mapping must return integer, None or str");
    }
    return built(&b, self);
}

static jv str_maketrans(struct jj_run *r, jv self, const struct jj_args *args)
{
    (void)self;
    some_args(r, "maketrans", args, 1, 3);
    struct jj_dict *d = pn_jj_dict(r, 0);
    size_t used, used2;
    if (args->n_pos == 1) {
        if (args->pos[0].t != JJ_DICT)
            pn_jj_raise(r, "TypeError", "if you give only one argument to maketrans it must be a dict");
        const struct jj_dict *from = args->pos[0].u.dict;
        for (size_t i = 0; i < from->n; i++) {
            jv key = from->e[i].key;
            if (key.t == JJ_STR) {
                if (pn_jj_chars(key.u.s) != 1)
                    pn_jj_raise(r, "ValueError", "string keys in translate table must be of length 1");
                key = jj_int(pn_jj_decode(key.u.s->p, key.u.s->p + key.u.s->n, &used));
            }
            pn_jj_dict_set(r, d, key, from->e[i].value);
        }
        return jj_dict_value(d);
    }
    for (size_t i = 1; i < args->n_pos; i++)
        if (args->pos[i].t != JJ_STR)
            pn_jj_raise(r, "TypeError", "maketrans() argument %zu must be str, not %s", i + 1, bad_type(args->pos[i]));
    if (args->pos[0].t != JJ_STR)
        pn_jj_raise(r, "TypeError", "first maketrans argument must be a string if there is a second argument");
    struct jj_str *a = args->pos[0].u.s, *b = args->pos[1].u.s;
    if (pn_jj_chars(a) != pn_jj_chars(b))
        pn_jj_raise(r, "ValueError", "the first two maketrans arguments must have equal length");
    for (size_t i = 0, k = 0; i < a->n; i += used, k += used2) {
        uint32_t from = pn_jj_decode(a->p + i, a->p + a->n, &used), to = pn_jj_decode(b->p + k, b->p + b->n, &used2);
        pn_jj_dict_set(r, d, jj_int(from), jj_int(to));
    }
    for (size_t i = 0; args->n_pos > 2 && i < args->pos[2].u.s->n; i += used) {
        const struct jj_str *gone = args->pos[2].u.s;
        pn_jj_dict_set(r, d, jj_int(pn_jj_decode(gone->p + i, gone->p + gone->n, &used)), jj_none());
    }
    return jj_dict_value(d);
}

const struct jj_method_def pn_jj_str_methods[] = {
    {"capitalize", str_capitalize, false},
    {"casefold", str_casefold, false},
    {"center", str_center, false},
    {"count", str_count, false},
    {"encode", str_encode, false},
    {"endswith", str_endswith, false},
    {"expandtabs", str_expandtabs, false},
    {"find", str_find, false},
    {"format", str_format, false},
    {"format_map", str_format_map, false},
    {"index", str_index, false},
    {"isalnum", str_isalnum, false},
    {"isalpha", str_isalpha, false},
    {"isascii", str_isascii, false},
    {"isdecimal", str_isdecimal, false},
    {"isdigit", str_isdigit, false},
    {"isidentifier", str_isidentifier, false},
    {"islower", str_islower, false},
    {"isnumeric", str_isnumeric, false},
    {"isprintable", str_isprintable, false},
    {"isspace", str_isspace, false},
    {"istitle", str_istitle, false},
    {"isupper", str_isupper, false},
    {"join", str_join, false},
    {"ljust", str_ljust, false},
    {"lower", str_lower, false},
    {"lstrip", str_lstrip, false},
    {"maketrans", str_maketrans, false},
    {"partition", str_partition, false},
    {"removeprefix", str_removeprefix, false},
    {"removesuffix", str_removesuffix, false},
    {"replace", str_replace, false},
    {"rfind", str_rfind, false},
    {"rindex", str_rindex, false},
    {"rjust", str_rjust, false},
    {"rpartition", str_rpartition, false},
    {"rsplit", str_rsplit, false},
    {"rstrip", str_rstrip, false},
    {"split", str_split, false},
    {"splitlines", str_splitlines, false},
    {"startswith", str_startswith, false},
    {"strip", str_strip, false},
    {"swapcase", str_swapcase, false},
    {"title", str_title, false},
    {"translate", str_translate, false},
    {"upper", str_upper, false},
    {"zfill", str_zfill, false},
    {NULL, NULL, false},
};
