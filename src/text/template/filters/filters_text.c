/* Filters that make or change text and numbers. */
#include "text/template/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* str() of a value that is not a string; Markup stays Markup */
static struct jj_str *text_of(struct jj_run *r, jv v)
{
    struct jj_str *s = pn_jj_to_str(r, v).u.s;
    pn_jj_step(r, s->n / 64);
    return s;
}

static jv set_markup(jv v, bool markup)
{
    v.u.s->markup = markup;
    return v;
}

static void bind(struct jj_run *r, const char *name, const struct jj_args *args, const char *const *params, size_t n,
                 size_t required, jv *out)
{
    pn_jj_bind(r, name, args, 1, params, n, required, out);
}

static void bind_none(struct jj_run *r, const char *name, const struct jj_args *args)
{
    bind(r, name, args, NULL, 0, 0, NULL);
}

static jv call_method(struct jj_run *r, jv self, const char *name, const jv *pos, size_t n)
{
    const struct jj_args args = {.pos = pos, .n_pos = n};
    return pn_jj_find_method(self, name, strlen(name))->call(r, self, &args);
}

static int64_t int_or(struct jj_run *r, jv v, int64_t missing)
{
    if (v.t == JJ_MISSING)
        return missing;
    if (!jj_is_int(v))
        pn_jj_raise(r, "TypeError", "'%s' object cannot be interpreted as an integer", pn_jj_type_name(v));
    return jj_as_int(v);
}

static bool truth_or(struct jj_run *r, jv v, bool missing)
{
    return v.t == JJ_MISSING ? missing : pn_jj_truth(r, v);
}

static jv filter_upper(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_upper", args);
    return call_method(r, pn_jj_to_str(r, v), "upper", NULL, 0);
}

static jv filter_lower(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_lower", args);
    return pn_jj_lower(r, text_of(r, v));
}

static jv filter_capitalize(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_capitalize", args);
    return call_method(r, pn_jj_to_str(r, v), "capitalize", NULL, 0);
}

static jv filter_title(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_title", args);
    const struct jj_str *s = text_of(r, v);
    struct jj_buf b = {.r = r};
    bool start = true;
    size_t word = 0;
    for (size_t i = 0, used; i <= s->n; i += used) {
        uint32_t c = i < s->n ? pn_jj_decode(s->p + i, s->p + s->n, &used) : ' ';
        bool breaks = i == s->n || pn_jj_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
        if (breaks || start) { /* the rest of a word is lowered at once, because of a final sigma */
            pn_jj_put_lower(&b, s->p + word, i - word);
            if (i == s->n)
                break;
            if (breaks)
                pn_jj_put(&b, s->p + i, used);
            else
                pn_jj_put_upper(&b, s->p + i, used);
            word = i + used;
        }
        start = breaks;
    }
    return pn_jj_buf_str(&b);
}

static jv filter_trim(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"chars"};
    jv chars;
    bind(r, "do_trim", args, params, 1, 0, &chars);
    return call_method(r, pn_jj_to_str(r, v), "strip", &chars, chars.t != JJ_MISSING);
}

static jv filter_string(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "soft_str", args);
    return pn_jj_to_str(r, v);
}

static jv filter_safe(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_mark_safe", args);
    const struct jj_str *s = text_of(r, v);
    return set_markup(pn_jj_str(r, s->p, s->n), true);
}

static jv filter_escape(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "escape", args);
    return pn_jj_escape(r, v);
}

static jv filter_forceescape(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_forceescape", args);
    const struct jj_str *s = text_of(r, v);
    return pn_jj_escape(r, pn_jj_str(r, s->p, s->n));
}

static jv filter_replace(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"old", "new", "count"};
    jv a[3];
    bind(r, "do_replace", args, params, 3, 2, a);
    bool limited = a[2].t != JJ_MISSING && a[2].t != JJ_NONE;
    int64_t count = limited ? int_or(r, a[2], -1) : -1;
    jv text = pn_jj_to_str(r, v), old = pn_jj_to_str(r, a[0]), new_text = pn_jj_to_str(r, a[1]);
    if (!r->autoescape)
        return pn_jj_replace(r, text.u.s, old.u.s, new_text.u.s, count);
    if (old.u.s->markup || (new_text.u.s->markup && !text.u.s->markup))
        text = pn_jj_escape(r, text);
    if (text.u.s->markup)
        new_text = pn_jj_escape(r, new_text);
    return set_markup(pn_jj_replace(r, text.u.s, old.u.s, new_text.u.s, count), text.u.s->markup);
}

static jv filter_center(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"width"};
    jv width;
    bind(r, "do_center", args, params, 1, 0, &width);
    if (width.t == JJ_MISSING)
        width = jj_int(80);
    return call_method(r, pn_jj_to_str(r, v), "center", &width, 1);
}

static jv filter_format(struct jj_run *r, jv v, const struct jj_args *args)
{
    if (args->n_pos && args->n_kw)
        pn_jj_raise(r, "FilterArgumentError", "can't handle positional and keyword arguments at the same time");
    if (args->n_kw) {
        struct jj_dict *d = pn_jj_dict(r, args->n_kw);
        for (size_t i = 0; i < args->n_kw; i++)
            pn_jj_dict_set(r, d, pn_jj_str(r, args->kw[i].name->p, args->kw[i].name->n), args->kw[i].value);
        return pn_jj_percent(r, text_of(r, v), jj_dict_value(d));
    }
    jv tuple = pn_jj_tuple(r, args->n_pos);
    for (size_t i = 0; i < args->n_pos; i++)
        pn_jj_push(r, tuple, args->pos[i]);
    return pn_jj_percent(r, text_of(r, v), tuple);
}

static jv filter_indent(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"width", "first", "blank"};
    jv a[3];
    bind(r, "do_indent", args, params, 3, 0, a);
    if (v.t == JJ_LIST) /* Python starts with `s += newline`, which lists allow */
        pn_jj_no_attribute(r, v, "splitlines");
    if (v.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, v);
    if (v.t == JJ_TUPLE)
        pn_jj_raise(r, "TypeError", "can only concatenate tuple (not \"str\") to tuple");
    if (v.t != JJ_STR)
        pn_jj_raise(r, "TypeError", "unsupported operand type(s) for +=: '%s' and 'str'", pn_jj_type_name(v));
    struct jj_buf pad = {.r = r}, b = {.r = r}, text = {.r = r};
    if (a[0].t == JJ_STR)
        pn_jj_put_str(&pad, a[0]);
    else
        pn_jj_pad(&pad, ' ', int_or(r, a[0], 4));
    bool first = truth_or(r, a[1], false), blank = truth_or(r, a[2], false);
    pn_jj_put_str(&text, v);
    pn_jj_putc(&text, '\n');
    const struct jj_seq *lines = pn_jj_splitlines(r, pn_jj_buf_str(&text).u.s, false).u.seq;
    if (first)
        pn_jj_put(&b, pad.p, pad.n);
    for (size_t i = 0; i < lines->n; i++) {
        if (i)
            pn_jj_putc(&b, '\n');
        if (i && (blank || lines->v[i].u.s->n))
            pn_jj_put(&b, pad.p, pad.n);
        pn_jj_put_str(&b, lines->v[i]);
    }
    return set_markup(pn_jj_buf_str(&b), v.u.s->markup);
}

static jv filter_truncate(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"length", "killwords", "end", "leeway"};
    jv a[4];
    bind(r, "do_truncate", args, params, 4, 0, a);
    int64_t length = int_or(r, a[0], 255), leeway = a[3].t == JJ_NONE ? 5 : int_or(r, a[3], 5);
    jv end = a[2].t == JJ_MISSING ? pn_jj_cstr(r, "...") : a[2];
    int64_t n_end = pn_jj_len(r, end);
    if (length < n_end)
        pn_jj_raise(r, "AssertionError", "expected length >= %lld, got %lld", (long long)n_end, (long long)length);
    if (leeway < 0)
        pn_jj_raise(r, "AssertionError", "expected leeway >= 0, got %lld", (long long)leeway);
    if (pn_jj_len(r, v) <= length + leeway)
        return v;
    if (v.t != JJ_STR || end.t != JJ_STR)
        return pn_jj_binary(r, '+', pn_jj_slice(r, v, jj_none(), jj_int(length - n_end), jj_none()), end);
    const struct jj_str *s = v.u.s;
    size_t cut = pn_jj_offset(v.u.s, length - n_end);
    if (!truth_or(r, a[1], false))
        for (size_t i = cut; i-- > 0;)
            if (s->p[i] == ' ') {
                cut = i;
                break;
            }
    return pn_jj_binary(r, '+', pn_jj_sub(r, s, 0, cut), end);
}

static jv filter_wordcount(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_wordcount", args);
    const struct jj_str *s = text_of(r, v);
    int64_t words = 0;
    bool inside = false;
    for (size_t i = 0, used; i < s->n; i += used) {
        bool word = pn_jj_is_word(pn_jj_decode(s->p + i, s->p + s->n, &used));
        words += word && !inside;
        inside = word;
    }
    return jj_int(words);
}

/* ---- wordwrap: Python's textwrap with tabs and white space left alone ---- */

/* The characters of a line; zeros outside it. */
struct wrap_line {
    const uint32_t *c;
    size_t n;
};

static uint32_t char_at(const struct wrap_line *l, size_t i)
{
    return i < l->n ? l->c[i] : 0;
}

static bool is_wrap_space(uint32_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(const struct wrap_line *l, size_t i)
{
    uint32_t c = char_at(l, i);
    return c && pn_jj_is_word(c) && !pn_jj_is_digit(c);
}

/* Characters that a dash of two or more hyphens may follow. */
static bool is_before_dash(const struct wrap_line *l, size_t i)
{
    uint32_t c = char_at(l, i);
    return c && (pn_jj_is_word(c) || (c < 0x80 && strchr("!\"'&.,?", (int)c)));
}

/* The end of a dash at `i` before a word, or `i`. */
static size_t dash_end(const struct wrap_line *l, size_t i)
{
    size_t end = i;
    while (char_at(l, end) == '-')
        end++;
    return end - i >= 2 && end < l->n && pn_jj_is_word(l->c[end]) ? end : i;
}

/* Whether a word may be broken after the hyphen at `i`: letters on both sides, two of them (or a letter, a hyphen and
 * a letter). */
static bool breaks_after(const struct wrap_line *l, size_t i)
{
    if (i < 2 || !is_letter(l, i - 1) || !is_letter(l, i + 1))
        return false;
    bool before = is_letter(l, i - 2) || (i >= 3 && l->c[i - 2] == '-' && is_letter(l, i - 3));
    return before && (is_letter(l, i + 2) || (char_at(l, i + 2) == '-' && is_letter(l, i + 3)));
}

/* The end of the chunk that begins at `from`: white space, a dash, or a word up to where it may be broken. */
static size_t chunk_end(const struct wrap_line *l, size_t from, bool on_hyphens)
{
    size_t end = from;
    if (is_wrap_space(l->c[from])) {
        while (end < l->n && is_wrap_space(l->c[end]))
            end++;
        return end;
    }
    if (on_hyphens && from && is_before_dash(l, from - 1) && (end = dash_end(l, from)) > from)
        return end;
    for (end = from + 1; end < l->n && !is_wrap_space(l->c[end]); end++) {
        if (!on_hyphens || l->c[end] != '-')
            continue;
        if (breaks_after(l, end))
            return end + 1;
        if (is_before_dash(l, end - 1) && dash_end(l, end) > end)
            return end;
    }
    return end;
}

static jv wrap_chunks(struct jj_run *r, const struct jj_str *s, bool on_hyphens)
{
    jv chunks = pn_jj_list(r, 0);
    uint32_t *c = pn_jj_alloc(r, (s->n + 1) * sizeof *c);
    size_t *at = pn_jj_alloc(r, (s->n + 1) * sizeof *at), n = 0, used;
    for (size_t i = 0; i < s->n; i += used) {
        at[n] = i;
        c[n++] = pn_jj_decode(s->p + i, s->p + s->n, &used);
    }
    at[n] = s->n;
    const struct wrap_line line = {c, n};
    for (size_t from = 0, end; from < n; from = end) {
        end = chunk_end(&line, from, on_hyphens);
        pn_jj_push(r, chunks, pn_jj_str(r, s->p + at[from], at[end] - at[from]));
        pn_jj_step(r, 1);
    }
    return chunks;
}

static bool is_blank(jv chunk)
{
    const struct jj_str *s = chunk.u.s;
    size_t used;
    for (size_t i = 0; i < s->n; i += used)
        if (!pn_jj_is_space(pn_jj_decode(s->p + i, s->p + s->n, &used)))
            return false;
    return true;
}

/* Where to cut a word that is longer than a line, in characters: after its last hyphen if there is other text before
 * it. */
static int64_t cut_of(struct jj_str *word, int64_t room, bool on_hyphens)
{
    if (!on_hyphens || pn_jj_chars(word) <= room)
        return room;
    for (size_t k = pn_jj_offset(word, room); k-- > 1;) {
        if (word->p[k] != '-')
            continue;
        struct jj_str head = {.p = word->p, .n = k, .chars = -1};
        for (size_t c = 0; c < k; c++)
            if (word->p[c] != '-')
                return pn_jj_chars(&head) + 1;
        break;
    }
    return room;
}

static void wrap_line(struct jj_run *r, const struct jj_str *line, int64_t width, bool break_long, bool on_hyphens,
                      jv out)
{
    struct jj_seq *chunks = wrap_chunks(r, line, on_hyphens).u.seq;
    size_t i = 0;
    while (i < chunks->n) {
        struct jj_buf b = {.r = r};
        int64_t used = 0;
        if (is_blank(chunks->v[i]) && out.u.seq->n)
            i++;
        jv last = {.t = JJ_NONE};
        for (; i < chunks->n && used + pn_jj_chars(chunks->v[i].u.s) <= width; i++) {
            last = chunks->v[i];
            pn_jj_put_str(&b, last);
            used += pn_jj_chars(last.u.s);
        }
        if (i < chunks->n && pn_jj_chars(chunks->v[i].u.s) > width) { /* too long for any line */
            struct jj_str *word = chunks->v[i].u.s;
            if (break_long) { /* without room this is an empty piece, and white space before it stays */
                size_t at = pn_jj_offset(word, cut_of(word, width - used, on_hyphens));
                last = pn_jj_str(r, word->p, at);
                chunks->v[i] = pn_jj_str(r, word->p + at, word->n - at);
                pn_jj_put_str(&b, last);
            } else if (last.t == JJ_NONE) {
                last = chunks->v[i++];
                pn_jj_put_str(&b, last);
            }
        }
        if (last.t == JJ_STR && is_blank(last))
            b.n -= last.u.s->n;
        if (b.n)
            pn_jj_push(r, out, pn_jj_buf_str(&b));
        pn_jj_step(r, 1);
    }
}

static jv filter_wordwrap(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"width", "break_long_words", "wrapstring", "break_on_hyphens"};
    jv a[4];
    bind(r, "do_wordwrap", args, params, 4, 0, a);
    int64_t width = int_or(r, a[0], 79);
    bool break_long = truth_or(r, a[1], true), on_hyphens = truth_or(r, a[3], true);
    jv glue = a[2].t == JJ_MISSING || a[2].t == JJ_NONE ? pn_jj_cstr(r, "\n") : a[2];
    if (glue.t != JJ_STR)
        pn_jj_no_attribute(r, glue, "join");
    if (v.t != JJ_STR)
        pn_jj_no_attribute(r, v, "splitlines");
    if (width <= 0 && v.u.s->n)
        pn_jj_raise(r, "ValueError", "invalid width %lld (must be > 0)", (long long)width);
    const struct jj_seq *lines = pn_jj_splitlines(r, v.u.s, false).u.seq;
    struct jj_buf b = {.r = r};
    for (size_t i = 0; i < lines->n; i++) {
        jv wrapped = pn_jj_list(r, 0);
        wrap_line(r, lines->v[i].u.s, width, break_long, on_hyphens, wrapped);
        for (size_t k = 0; k < wrapped.u.seq->n || k == 0; k++) {
            if (i || k)
                pn_jj_put_str(&b, glue);
            if (k < wrapped.u.seq->n)
                pn_jj_put_str(&b, wrapped.u.seq->v[k]);
        }
    }
    return pn_jj_buf_str(&b);
}

/* ---- numbers ---- */

static jv filter_int(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"default", "base"};
    jv a[2];
    double d;
    bool ok = false;
    bind(r, "do_int", args, params, 2, 0, a);
    jv missing = a[0].t == JJ_MISSING ? jj_int(0) : a[0];
    int64_t base = int_or(r, a[1], 10);
    if (v.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, v);
    if (v.t == JJ_INT || v.t == JJ_BIG)
        return v;
    if (v.t == JJ_BOOL)
        return jj_int(v.u.b);
    if (v.t == JJ_FLOAT) {
        if (isinf(v.u.d))
            pn_jj_raise(r, "OverflowError", "cannot convert float infinity to integer");
        return isnan(v.u.d) ? missing : pn_jj_float_to_int(r, v.u.d);
    }
    if (v.t != JJ_STR)
        return missing;
    if (base == 0 || (base >= 2 && base <= 36)) {
        jv parsed = pn_jj_parse_int(r, v.u.s->p, v.u.s->n, (int)base, &ok);
        if (ok)
            return parsed;
    }
    if (!pn_jj_parse_float(v.u.s->p, v.u.s->n, &d) || !isfinite(d))
        return missing;
    return pn_jj_float_to_int(r, d);
}

static jv filter_float(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"default"};
    jv missing;
    double d;
    bind(r, "do_float", args, params, 1, 0, &missing);
    if (v.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, v);
    if (jj_is_number(v)) {
        if (!pn_jj_to_double(v, &d))
            pn_jj_raise(r, "OverflowError", "int too large to convert to float");
        return jj_float(d);
    }
    if (v.t == JJ_STR && pn_jj_parse_float(v.u.s->p, v.u.s->n, &d))
        return jj_float(d);
    return missing.t == JJ_MISSING ? jj_float(0) : missing;
}

static jv filter_abs(struct jj_run *r, jv v, const struct jj_args *args)
{
    if (args->n_pos || args->n_kw)
        pn_jj_raise(r, "TypeError", "abs() takes exactly one argument (%zu given)", args->n_pos + args->n_kw + 1);
    if (v.t == JJ_FLOAT)
        return jj_float(fabs(v.u.d));
    if (!jj_is_number(v))
        pn_jj_raise(r, "TypeError", "bad operand type for abs(): '%s'", pn_jj_type_name(v));
    bool negative = v.t == JJ_BIG ? v.u.big->negative : jj_as_int(v) < 0;
    return pn_jj_unary(r, negative ? '-' : '+', v);
}

static jv filter_round(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"precision", "method"};
    jv a[2];
    bind(r, "do_round", args, params, 2, 0, a);
    bool common = a[1].t == JJ_MISSING || pn_jj_is(a[1], "common"), up = pn_jj_is(a[1], "ceil");
    if (!common && !up && !pn_jj_is(a[1], "floor"))
        pn_jj_raise(r, "FilterArgumentError", "method must be common, ceil or floor");
    if (common) {
        if (!jj_is_number(v))
            pn_jj_raise(r, "TypeError", "type %s doesn't define __round__ method", pn_jj_type_name(v));
        if (a[0].t == JJ_NONE && v.t == JJ_FLOAT) {
            if (!isfinite(v.u.d))
                pn_jj_raise(r, isnan(v.u.d) ? "ValueError" : "OverflowError", "cannot convert float %s to integer",
                            isnan(v.u.d) ? "NaN" : "infinity");
            return pn_jj_float_to_int(r, pn_jj_round(r, v, 0).u.d);
        }
        return pn_jj_round(r, v, a[0].t == JJ_NONE ? 0 : int_or(r, a[0], 0));
    }
    jv unit = pn_jj_binary(r, 'P', jj_int(10), a[0].t == JJ_MISSING ? jj_int(0) : a[0]);
    jv scaled = pn_jj_binary(r, '*', v, unit);
    if (scaled.t == JJ_FLOAT) {
        if (!isfinite(scaled.u.d))
            pn_jj_raise(r, isnan(scaled.u.d) ? "ValueError" : "OverflowError", "cannot convert float %s to integer",
                        isnan(scaled.u.d) ? "NaN" : "infinity");
        scaled = pn_jj_float_to_int(r, up ? ceil(scaled.u.d) : floor(scaled.u.d));
    } else if (!jj_is_number(scaled)) {
        pn_jj_raise(r, "TypeError", "must be real number, not %s", pn_jj_type_name(scaled));
    }
    return pn_jj_binary(r, '/', scaled, unit);
}

static jv filter_filesizeformat(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"binary"}, units[] = "kMGTPEZY";
    jv binary_arg;
    bind(r, "do_filesizeformat", args, params, 1, 0, &binary_arg);
    bool binary = truth_or(r, binary_arg, false), good = false;
    double bytes = 0, base = binary ? 1024 : 1000, unit = base;
    if (v.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, v);
    if (jj_is_number(v))
        good = pn_jj_to_double(v, &bytes);
    else if (v.t == JJ_STR)
        good = pn_jj_parse_float(v.u.s->p, v.u.s->n, &bytes);
    else
        pn_jj_raise(r, "TypeError", "float() argument must be a string or a real number, not '%s'", pn_jj_type_name(v));
    if (!good)
        pn_jj_raise(r, "ValueError", "could not convert string to float: %s", pn_jj_repr(r, v));
    if (bytes == 1)
        return pn_jj_cstr(r, "1 Byte");
    if (bytes < base) {
        struct jj_buf b = {.r = r};
        if (!isfinite(bytes))
            pn_jj_raise(r, "OverflowError", "cannot convert float infinity to integer");
        pn_jj_put_int(&b, pn_jj_float_to_int(r, bytes), 10, false);
        pn_jj_puts(&b, " Bytes");
        return pn_jj_buf_str(&b);
    }
    size_t i = 0;
    for (;; i++) {
        unit *= base;
        if (bytes < unit || i == 7)
            break;
    }
    char prefix = binary && i == 0 ? 'K' : units[i];
    return pn_jj_cstr(r, pn_jj_sprintf(r, "%.1f %c%s", base * bytes / unit, prefix, binary ? "iB" : "B"));
}

/* ---- markup ---- */

static void quote_url(struct jj_buf *b, jv v, bool query)
{
    struct jj_buf text = {.r = b->r};
    pn_jj_put_str(&text, v);
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool safe = (c < 0x80 && pn_jj_is_alnum(c)) || (c && strchr("_.-~", c)) || (!query && c == '/');
        if (safe)
            pn_jj_putc(b, (char)c);
        else if (query && c == ' ')
            pn_jj_putc(b, '+');
        else
            pn_jj_puts(b, pn_jj_sprintf(b->r, "%%%02X", c));
    }
}

static jv filter_urlencode(struct jj_run *r, jv v, const struct jj_args *args)
{
    bind_none(r, "do_urlencode", args);
    struct jj_buf b = {.r = r};
    if (v.t == JJ_STR || !pn_jj_iterable(v)) {
        quote_url(&b, v, false);
        return pn_jj_buf_str(&b);
    }
    jv pair, items = v;
    if (v.t == JJ_DICT)
        items = call_method(r, v, "items", NULL, 0);
    struct jj_iter *it = pn_jj_iter(r, items);
    for (size_t i = 0; pn_jj_next(r, it, &pair); i++) {
        if (!pn_jj_iterable(pair))
            pn_jj_raise(r, "TypeError", "cannot unpack non-iterable %s object", pn_jj_type_name(pair));
        const struct jj_seq *kv = pn_jj_to_list(r, pair).u.seq;
        if (kv->n < 2)
            pn_jj_raise(r, "ValueError", "not enough values to unpack (expected 2, got %zu)", kv->n);
        if (kv->n > 2)
            pn_jj_raise(r, "ValueError", "too many values to unpack (expected 2)");
        if (i)
            pn_jj_putc(&b, '&');
        quote_url(&b, kv->v[0], true);
        pn_jj_putc(&b, '=');
        quote_url(&b, kv->v[1], true);
    }
    return pn_jj_buf_str(&b);
}

static jv filter_xmlattr(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const char *const params[] = {"autospace"};
    jv space;
    bind(r, "do_xmlattr", args, params, 1, 0, &space);
    struct jj_buf b = {.r = r};
    if (v.t != JJ_DICT)
        pn_jj_no_attribute(r, v, "items");
    for (size_t i = 0; i < v.u.dict->n; i++) {
        jv key = v.u.dict->e[i].key, value = v.u.dict->e[i].value;
        if (value.t == JJ_NONE || value.t == JJ_UNDEFINED)
            continue;
        if (key.t != JJ_STR)
            pn_jj_raise(r, "TypeError", "expected string or bytes-like object, got '%s'", pn_jj_type_name(key));
        for (size_t c = 0; c < key.u.s->n; c++)
            if (strchr(" \t\n\r\f\v/>=", key.u.s->p[c]) && key.u.s->p[c])
                pn_jj_raise(r, "ValueError", "Invalid character in attribute name: %s", pn_jj_repr(r, key));
        if (b.n || truth_or(r, space, true))
            pn_jj_putc(&b, ' ');
        pn_jj_put_str(&b, pn_jj_escape(r, key));
        pn_jj_puts(&b, "=\"");
        pn_jj_put_str(&b, pn_jj_escape(r, value));
        pn_jj_putc(&b, '"');
    }
    return set_markup(pn_jj_buf_str(&b), r->autoescape);
}

static const char *find_text(const char *p, const char *end, const char *what)
{
    return p < end ? pn_jj_search(p, (size_t)(end - p), what, strlen(what)) : NULL;
}

/* Without <!-- --> and <...>, white space collapsed, entities of escape() back to characters. */
static jv filter_striptags(struct jj_run *r, jv v, const struct jj_args *args)
{
    static const struct {
        const char *name, *text;
    } entities[] = {{"&amp;", "&"}, {"&lt;", "<"},   {"&gt;", ">"},         {"&quot;", "\""},
                    {"&#39;", "'"}, {"&#34;", "\""}, {"&nbsp;", "\xC2\xA0"}};
    bind_none(r, "do_striptags", args);
    const struct jj_str *s = text_of(r, v);
    struct jj_buf plain = {.r = r}, b = {.r = r};
    const char *p = s->p, *end = s->p + s->n;
    while (p < end) {
        const char *open = memchr(p, '<', (size_t)(end - p)), *close = NULL;
        if (open) {
            bool comment = end - open >= 4 && memcmp(open, "<!--", 4) == 0;
            const char *comment_end = comment ? find_text(open, end, "-->") : NULL;
            close = comment_end ? comment_end + 3 : find_text(open, end, ">");
            close = close && !comment_end ? close + 1 : close;
        }
        pn_jj_put(&plain, p, (size_t)((close ? open : end) - p));
        p = close ? close : end;
        pn_jj_step(r, 1);
    }
    jv words = call_method(r, pn_jj_buf_str(&plain), "split", NULL, 0);
    for (size_t i = 0; i < words.u.seq->n; i++) {
        if (i)
            pn_jj_putc(&b, ' ');
        const struct jj_str *w = words.u.seq->v[i].u.s;
        for (size_t at = 0; at < w->n;) {
            size_t e = 0, count = sizeof entities / sizeof *entities;
            while (w->p[at] == '&' && e < count &&
                   !(w->n - at >= strlen(entities[e].name) &&
                     memcmp(w->p + at, entities[e].name, strlen(entities[e].name)) == 0))
                e++;
            if (w->p[at] == '&' && e < count) {
                pn_jj_puts(&b, entities[e].text);
                at += strlen(entities[e].name);
            } else {
                pn_jj_putc(&b, w->p[at++]);
            }
        }
    }
    return pn_jj_buf_str(&b);
}

static jv filter_urlize(struct jj_run *r, jv v, const struct jj_args *args)
{
    (void)v, (void)args;
    pn_jj_throw(r, PANTRY_UNSUPPORTED, "the filter 'urlize' is not supported: it makes HTML links");
}

const struct jj_filter_def pn_jj_text_filters[] = {
    {"abs", filter_abs},
    {"capitalize", filter_capitalize},
    {"center", filter_center},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"filesizeformat", filter_filesizeformat},
    {"float", filter_float},
    {"forceescape", filter_forceescape},
    {"format", filter_format},
    {"indent", filter_indent},
    {"int", filter_int},
    {"lower", filter_lower},
    {"replace", filter_replace},
    {"round", filter_round},
    {"safe", filter_safe},
    {"string", filter_string},
    {"striptags", filter_striptags},
    {"title", filter_title},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", filter_upper},
    {"urlencode", filter_urlencode},
    {"urlize", filter_urlize},
    {"wordcount", filter_wordcount},
    {"wordwrap", filter_wordwrap},
    {"xmlattr", filter_xmlattr},
    {NULL, NULL},
};
