/* Parses regular expressions: see regex.h. Quantifiers are greedy, lazy or neither: the language is the same. */
#include "grammar/regex_impl.h"

#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 200, MAX_PATTERN = 1 << 20 };

struct item_list {
    struct pn_re_item *data;
    size_t len, cap;
};

struct seq_list {
    struct pn_re_seq *data;
    size_t len, cap;
};

static struct pn_re_choice *read_choice(struct pn_re *re);

pn_expr pn_re_fail(struct pn_re *re, size_t at, const char *what)
{
    size_t column = 1;
    for (size_t i = 0; i < at; i++)
        column += (re->text[i] & 0xC0) != 0x80;
    return pn_expr_fail(re->b, PANTRY_FORMAT, "pattern, column %zu: %s", column, what);
}

static pn_expr unsupported(struct pn_re *re, size_t at, const char *what)
{
    size_t column = 1;
    for (size_t i = 0; i < at; i++)
        column += (re->text[i] & 0xC0) != 0x80;
    return pn_expr_fail(re->b, PANTRY_UNSUPPORTED, "pattern, column %zu: %s is not supported", column, what);
}

static size_t here(const struct pn_re *re)
{
    return (size_t)(re->p - re->text);
}

static bool next_is(struct pn_re *re, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(re->end - re->p) < n || memcmp(re->p, text, n) != 0)
        return false;
    re->p += n;
    return true;
}

static void no_memory(struct pn_re *re)
{
    pn_expr_fail(re->b, PANTRY_NO_MEMORY, "out of memory for a pattern");
}

/* ---- quantifiers ---- */

static bool read_number(const char **p, const char *end, int64_t *n)
{
    const char *start = *p;
    *n = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p)
        *n = *n > PN_EXPR_MAX_REPEAT ? *n : 10 * *n + (**p - '0');
    return *p > start;
}

/* {m}, {m,}, {m,n} or {,n}; false, and nothing is read: the brace is a character. */
static bool read_counts(struct pn_re *re, int64_t *min, int64_t *max)
{
    const char *p = re->p + 1;
    bool has_min = read_number(&p, re->end, min);
    *max = *min;
    if (p < re->end && *p == ',') {
        p++;
        bool has_max = read_number(&p, re->end, max);
        if (!has_max)
            *max = PN_EXPR_NO_MAX;
        if (!has_min && !has_max)
            return false;
    } else if (!has_min) {
        return false;
    }
    if (p == re->end || *p != '}')
        return false;
    re->p = p + 1;
    return true;
}

static bool read_quantifier(struct pn_re *re, int64_t *min, int64_t *max)
{
    switch (pn_re_peek(re)) {
    case '*':
        *min = 0, *max = PN_EXPR_NO_MAX;
        break;
    case '+':
        *min = 1, *max = PN_EXPR_NO_MAX;
        break;
    case '?':
        *min = 0, *max = 1;
        break;
    case '{':
        return read_counts(re, min, max);
    default:
        return false;
    }
    re->p++;
    return true;
}

/* An item with a quantifier, if one follows. */
static void quantify(struct pn_re *re, struct pn_re_item *item)
{
    size_t at = here(re);
    int64_t min, max;
    if (!read_quantifier(re, &min, &max))
        return;
    if (pn_re_peek(re) == '+')
        unsupported(re, here(re), "a possessive quantifier");
    if (pn_re_peek(re) == '?')
        re->p++;
    if (min > PN_EXPR_MAX_REPEAT || max > PN_EXPR_MAX_REPEAT)
        pn_re_fail(re, at, "the number of repetitions is too large (allowed 1000000)");
    else if (max != PN_EXPR_NO_MAX && max < min)
        pn_re_fail(re, at, "the repetition has its minimum above its maximum");
    else if (item->kind == PN_RE_EXPR)
        item->e = pn_expr_repeat(re->b, item->e, (int)min, (int)max);
    else if (item->kind != PN_RE_GROUP)
        pn_re_fail(re, at, "there is nothing to repeat");
    else if (min == 0 && max == 1)
        item->optional = true;
    else if (min != 1 || max != 1)
        unsupported(re, at, "repeating a group with an anchor or lookaround in it");
    char c = pn_re_peek(re);
    if (c == '*' || c == '+' || c == '?')
        pn_re_fail(re, here(re), "there is nothing to repeat");
}

/* ---- groups ---- */

static void skip_name(struct pn_re *re, size_t at)
{
    const char *start = re->p;
    while (re->p < re->end && *re->p != '>')
        re->p++;
    if (re->p == re->end || re->p == start)
        pn_re_fail(re, at, "the name of the group is not closed: expected >");
    re->p++;
}

/* Flags after (?: i ignores case, s lets the dot match ends of lines, u is the only mode there is. True: they apply to
 * what follows; false: to this group only. */
static bool read_flags(struct pn_re *re, size_t at)
{
    bool on = true;
    for (; re->p < re->end && *re->p != ')' && *re->p != ':'; re->p++) {
        if (*re->p == '-')
            on = false;
        else if (*re->p == 'i')
            re->ignore_case = on;
        else if (*re->p == 's')
            re->dot_all = on;
        else if (*re->p != 'u' && *re->p != 'a') {
            unsupported(re, at, "this kind of group or flag");
            return false;
        }
    }
    if (re->p == re->end)
        pn_re_fail(re, at, "the group is not closed: expected )");
    return pn_re_peek(re) == ')';
}

/* What a group's beginning says. False: there is no group, only flags for what follows. */
static bool read_group_kind(struct pn_re *re, struct pn_re_item *item)
{
    item->kind = PN_RE_GROUP;
    if (!next_is(re, "?") || next_is(re, ":"))
        return true;
    if (next_is(re, "=") || next_is(re, "!")) {
        item->kind = PN_RE_AHEAD;
        item->negate = re->p[-1] == '!';
    } else if (next_is(re, "<=") || next_is(re, "<!")) {
        item->kind = PN_RE_BEHIND;
        item->negate = re->p[-1] == '!';
    } else if (next_is(re, "<") || next_is(re, "P<")) {
        skip_name(re, item->at);
    } else if (next_is(re, "#")) {
        while (re->p < re->end && *re->p != ')')
            re->p++;
        return false;
    } else if (next_is(re, ">")) {
        unsupported(re, item->at, "an atomic group");
    } else if (next_is(re, "P=") || next_is(re, "P>")) {
        unsupported(re, item->at, "a reference to a group");
    } else if (next_is(re, "(")) {
        unsupported(re, item->at, "a condition");
    } else if (read_flags(re, item->at)) {
        return false;
    } else {
        re->p++; /* the colon */
    }
    return true;
}

static bool is_plain(const struct pn_re_choice *choice)
{
    for (size_t i = 0; i < choice->n; i++)
        for (size_t k = 0; k < choice->seqs[i].n; k++)
            if (choice->seqs[i].items[k].kind != PN_RE_EXPR)
                return false;
    return true;
}

static pn_expr plain_expr(struct pn_re *re, const struct pn_re_choice *choice)
{
    pn_expr *seqs = pn_arena_array(&re->arena, choice->n + 1, sizeof *seqs);
    if (!seqs) {
        no_memory(re);
        return PN_EXPR_NONE;
    }
    for (size_t i = 0; i < choice->n; i++) {
        pn_expr *items = pn_arena_array(&re->arena, choice->seqs[i].n + 1, sizeof *items);
        if (!items) {
            no_memory(re);
            return PN_EXPR_NONE;
        }
        for (size_t k = 0; k < choice->seqs[i].n; k++)
            items[k] = choice->seqs[i].items[k].e;
        seqs[i] = pn_expr_seq(re->b, items, choice->seqs[i].n);
    }
    return pn_expr_choice(re->b, seqs, choice->n);
}

/* False: the parentheses held flags or a comment. */
static bool read_group(struct pn_re *re, struct pn_re_item *item)
{
    bool ignore_case = re->ignore_case, dot_all = re->dot_all;
    re->p++;
    bool is_group = read_group_kind(re, item);
    if (is_group && ++re->depth > MAX_NESTING)
        pn_re_fail(re, item->at, "groups are nested too deeply (allowed 200)");
    if (is_group && !pn_re_failed(re)) {
        item->group = read_choice(re);
        re->depth--;
    }
    if (!pn_re_failed(re) && pn_re_peek(re) != ')')
        pn_re_fail(re, item->at, "the group is not closed: expected )");
    if (pn_re_failed(re))
        return true;
    re->p++;
    if (is_group) {
        re->ignore_case = ignore_case;
        re->dot_all = dot_all;
    }
    if (item->kind == PN_RE_GROUP && is_group && is_plain(item->group)) {
        item->kind = PN_RE_EXPR;
        item->e = plain_expr(re, item->group);
    }
    return is_group;
}

/* ---- items ---- */

static pn_expr read_dot(struct pn_re *re)
{
    const struct pn_code_range line_feed = {'\n', '\n'};
    re->p++;
    return pn_expr_class(re->b, &line_feed, re->dot_all ? 0 : 1, true);
}

static void read_escape(struct pn_re *re, struct pn_re_item *item)
{
    char c = re->p + 1 < re->end ? re->p[1] : '\0';
    if (c == 'b' || c == 'B') {
        item->kind = PN_RE_BOUNDARY;
        item->negate = c == 'B';
    } else if (c == 'A') {
        item->kind = PN_RE_BEGIN;
    } else if (c == 'z' || c == 'Z') {
        item->kind = PN_RE_END;
    } else if (c == 'k' || (c >= '1' && c <= '9')) {
        unsupported(re, item->at, "a back reference");
    } else {
        item->e = pn_re_escape(re);
        return;
    }
    re->p += 2;
}

/* False: nothing was read that becomes an item. */
static bool read_item(struct pn_re *re, struct pn_re_item *item)
{
    unsigned n;
    *item = (struct pn_re_item){.at = here(re)};
    switch (*re->p) {
    case '(':
        if (!read_group(re, item))
            return false;
        break;
    case '[':
        item->e = pn_re_class(re);
        break;
    case '.':
        item->e = read_dot(re);
        break;
    case '^':
    case '$':
        item->kind = *re->p++ == '^' ? PN_RE_BEGIN : PN_RE_END;
        break;
    case '\\':
        read_escape(re, item);
        break;
    case '*':
    case '+':
    case '?':
        pn_re_fail(re, item->at, "there is nothing to repeat");
        break;
    default:
        item->e = pn_re_char(re, pn_utf8_get((const unsigned char *)re->p, &n));
        re->p += n;
    }
    if (!pn_re_failed(re))
        quantify(re, item);
    return true;
}

static struct pn_re_seq read_seq(struct pn_re *re)
{
    struct item_list items = {0};
    struct pn_re_seq seq = {0};
    struct pn_re_item item;
    while (!pn_re_failed(re) && re->p < re->end && *re->p != '|' && *re->p != ')')
        if (read_item(re, &item) && !pn_vec_push(&items, item))
            no_memory(re);
    seq.n = items.len;
    seq.items = pn_arena_array(&re->arena, items.len + 1, sizeof *seq.items);
    if (!seq.items)
        no_memory(re);
    else if (items.len)
        memcpy(seq.items, items.data, items.len * sizeof *items.data);
    free(items.data);
    return seq;
}

/* Never NULL without an error. */
static struct pn_re_choice *read_choice(struct pn_re *re)
{
    struct seq_list seqs = {0};
    struct pn_re_choice *choice = pn_arena_alloc(&re->arena, sizeof *choice);
    do {
        re->p += seqs.len > 0;
        struct pn_re_seq seq = read_seq(re);
        if (!pn_vec_push(&seqs, seq))
            no_memory(re);
    } while (!pn_re_failed(re) && pn_re_peek(re) == '|');
    if (!choice || !(choice->seqs = pn_arena_array(&re->arena, seqs.len + 1, sizeof *choice->seqs))) {
        no_memory(re);
    } else if (seqs.len) {
        memcpy(choice->seqs, seqs.data, seqs.len * sizeof *seqs.data);
        choice->n = seqs.len;
    }
    free(seqs.data);
    return choice;
}

pantry_status pn_regex_parse(struct pn_expr_builder *b, const char *pattern, size_t n, enum pn_regex_mode mode,
                             pn_expr *out, struct pantry_error *err)
{
    struct pn_re re = {.b = b, .text = pattern, .p = pattern, .end = pattern + n};
    size_t valid = n > MAX_PATTERN ? 0 : pn_utf8_valid_prefix(pattern, n);
    *out = PN_EXPR_NONE;
    re.any = pn_expr_repeat(b, pn_expr_class(b, NULL, 0, true), 0, PN_EXPR_NO_MAX);
    if (n > MAX_PATTERN)
        pn_expr_fail(b, PANTRY_LIMIT, "the pattern is too long (found %s bytes, allowed %s)", pn_digits(n).text,
                     pn_digits(MAX_PATTERN).text);
    else if (valid < n)
        pn_re_fail(&re, valid, "the pattern is not UTF-8");
    struct pn_re_choice *choice = pn_re_failed(&re) ? NULL : read_choice(&re);
    if (!pn_re_failed(&re) && re.p < re.end)
        pn_re_fail(&re, here(&re), "no group is open: unexpected )");
    if (!pn_re_failed(&re))
        *out = mode == PN_REGEX_FULL && is_plain(choice) ? plain_expr(&re, choice)
                                                         : pn_re_resolve(&re, choice, mode == PN_REGEX_SEARCH);
    pn_arena_free(&re.arena);
    if (pn_expr_status(b, NULL))
        *out = PN_EXPR_NONE;
    return pn_expr_status(b, err);
}
