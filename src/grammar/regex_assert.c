/* Anchors, word boundaries and lookaround: see regex_impl.h.
 *
 * Groups with assertions are multiplied out, so that only sequences of expressions and assertions remain. Before ^ and
 * after $ everything has to be empty. A lookahead is an intersection with all that follows, a lookbehind one with all
 * that comes before; \b becomes one of both, or nothing, by what is known of its neighbours. */
#include "grammar/regex_impl.h"

#include "grammar/analyze.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SEQUENCES = 2000, MAX_COPIED = 1000000 };

/* Where a sequence may go on beyond its ends, and which anchors mean something there. */
struct frame {
    bool open_left, open_right, has_begin, has_end;
};

struct flat { /* sequences without groups */
    struct pn_re_seq *data;
    size_t len, cap;
};

static void no_memory(struct pn_re *re)
{
    pn_expr_fail(re->b, PANTRY_NO_MEMORY, "out of memory for a pattern");
}

static pn_expr refuse(struct pn_re *re, const struct pn_re_item *item, const char *what)
{
    size_t column = 1;
    for (size_t i = 0; i < item->at; i++)
        column += (re->text[i] & 0xC0) != 0x80;
    return pn_expr_fail(re->b, PANTRY_UNSUPPORTED, "pattern, column %zu: %s is not supported", column, what);
}

/* ---- multiplying out ---- */

static bool add_seq(struct pn_re *re, struct flat *out, const struct pn_re_seq *a, const struct pn_re_seq *b)
{
    struct pn_re_seq both = {.n = a->n + b->n};
    re->n_copied += both.n + 1;
    if (out->len >= MAX_SEQUENCES || re->n_copied > MAX_COPIED) {
        pn_re_fail(re, 0, "the pattern has too many combinations of alternatives with anchors or lookaround");
        return false;
    }
    both.items = pn_arena_array(&re->arena, both.n + 1, sizeof *both.items);
    if (!both.items || !pn_vec_push(out, both)) {
        no_memory(re);
        return false;
    }
    if (a->n)
        memcpy(both.items, a->items, a->n * sizeof *a->items);
    if (b->n)
        memcpy(both.items + a->n, b->items, b->n * sizeof *b->items);
    return true;
}

static void flatten(struct pn_re *re, const struct pn_re_choice *choice, struct flat *out);

/* Appends each way through an item to each of the sequences from `first` on. */
static void append(struct pn_re *re, struct flat *seqs, const struct pn_re_item *item)
{
    struct flat ways = {0}, old = *seqs;
    struct pn_re_seq none = {0}, alone = {.items = (struct pn_re_item *)(uintptr_t)item, .n = 1};
    *seqs = (struct flat){0};
    if (item->kind == PN_RE_GROUP) {
        flatten(re, item->group, &ways);
        if (item->optional)
            add_seq(re, &ways, &none, &none);
    } else {
        add_seq(re, &ways, &none, &alone);
    }
    for (size_t i = 0; i < old.len; i++)
        for (size_t k = 0; k < ways.len && !pn_re_failed(re); k++)
            add_seq(re, seqs, &old.data[i], &ways.data[k]);
    free(ways.data);
    free(old.data);
}

static void flatten(struct pn_re *re, const struct pn_re_choice *choice, struct flat *out)
{
    struct pn_re_seq none = {0};
    for (size_t i = 0; i < choice->n && !pn_re_failed(re); i++) {
        struct flat seqs = {0};
        add_seq(re, &seqs, &none, &none);
        for (size_t k = 0; k < choice->seqs[i].n && !pn_re_failed(re); k++)
            append(re, &seqs, &choice->seqs[i].items[k]);
        for (size_t k = 0; k < seqs.len && !pn_re_failed(re); k++)
            add_seq(re, out, &seqs.data[k], &none);
        free(seqs.data);
    }
}

/* ---- anchors ---- */

static bool is_nullable(struct pn_re *re, pn_expr e)
{
    return pn_expr_nullable(&(struct pn_facts){.b = re->b}, e);
}

/* Removes what has to be empty before an anchor at `at` (or after it). False: it cannot be empty. */
static bool empty_out(struct pn_re *re, struct pn_re_seq *seq, size_t at, bool before)
{
    size_t kept = 0;
    for (size_t i = 0; i < seq->n; i++) {
        bool beyond = before ? i < at : i > at;
        if (i != at && beyond && seq->items[i].kind == PN_RE_EXPR) {
            if (!is_nullable(re, seq->items[i].e))
                return false;
        } else if (i != at) {
            seq->items[kept++] = seq->items[i];
        }
    }
    seq->n = kept;
    return true;
}

static bool resolve_anchors(struct pn_re *re, struct pn_re_seq *seq, const struct frame *frame)
{
    for (size_t i = 0; i < seq->n;) {
        const struct pn_re_item *item = &seq->items[i];
        bool begins = item->kind == PN_RE_BEGIN;
        if (!begins && item->kind != PN_RE_END) {
            i++;
            continue;
        }
        if (begins ? !frame->has_begin : !frame->has_end) {
            refuse(re, item, begins ? "^ in a lookahead" : "$ in a lookbehind");
            return false;
        }
        if (!empty_out(re, seq, i, begins))
            return false;
        i = 0;
    }
    return true;
}

/* ---- word boundaries ---- */

enum kind { WORD, OTHER, UNKNOWN };

static enum kind kind_of_class(const struct pn_expr_node *node)
{
    bool word = false, other = false;
    for (uint32_t i = 0; i < node->n; i++)
        for (uint32_t c = node->ranges[i].first; c <= node->ranges[i].last && !(word && other); c++) {
            if (c >= 0x80)
                other = true;
            else if (pn_re_is_word(c))
                word = true;
            else
                other = true;
            if (c >= 0x80)
                break;
        }
    return word && other ? UNKNOWN : word ? WORD : OTHER;
}

/* The kind of the first (or last) character of every string of an expression; UNKNOWN also if one is empty. */
static enum kind edge_kind(struct pn_re *re, pn_expr e, bool last)
{
    const struct pn_expr_node *node = pn_expr_get(re->b, e);
    enum kind kind = UNKNOWN;
    if (is_nullable(re, e))
        return UNKNOWN;
    switch ((enum pn_expr_kind)node->kind) {
    case PN_EXPR_LITERAL:
        return pn_re_is_word((unsigned char)node->bytes[last ? node->n - 1 : 0]) ? WORD : OTHER;
    case PN_EXPR_CLASS:
        return kind_of_class(node);
    case PN_EXPR_SEQ:
        return edge_kind(re, node->items[last ? node->n - 1 : 0], last);
    case PN_EXPR_CHOICE:
        for (uint32_t i = 0; i < node->n; i++) {
            enum kind other = edge_kind(re, node->items[i], last);
            if (other == UNKNOWN || (i && other != kind))
                return UNKNOWN;
            kind = other;
        }
        return kind;
    case PN_EXPR_REPEAT:
        return edge_kind(re, node->item, last);
    default:
        return UNKNOWN;
    }
}

/* The kind of the character next to item `at`; the end of a text that does not go on counts as OTHER. */
static enum kind neighbour(struct pn_re *re, const struct pn_re_seq *seq, size_t at, bool after, bool ends)
{
    for (size_t i = at; after ? ++i < seq->n : i-- > 0;)
        if (seq->items[i].kind == PN_RE_EXPR && seq->items[i].e != pn_expr_empty(re->b))
            return edge_kind(re, seq->items[i].e, !after);
    return ends ? OTHER : UNKNOWN;
}

/* False: the sequence matches nothing, or an error. */
static bool resolve_boundaries(struct pn_re *re, struct pn_re_seq *seq, const struct frame *frame)
{
    for (size_t i = 0; i < seq->n; i++) {
        struct pn_re_item *item = &seq->items[i];
        if (item->kind != PN_RE_BOUNDARY)
            continue;
        enum kind before = neighbour(re, seq, i, false, frame->has_begin),
                  after = neighbour(re, seq, i, true, frame->has_end);
        if (before == UNKNOWN && after == UNKNOWN) {
            refuse(re, item, "\\b or \\B between parts that may or may not begin or end with a word");
            return false;
        }
        if (before != UNKNOWN && after != UNKNOWN && (before == after) != item->negate)
            return false;
        bool looks_back = after != UNKNOWN;
        bool wants_word = ((looks_back ? after : before) == WORD) == item->negate;
        struct pn_re_item *word = pn_arena_alloc(&re->arena, sizeof *word);
        struct pn_re_seq *only = pn_arena_alloc(&re->arena, sizeof *only);
        struct pn_re_choice *group = pn_arena_alloc(&re->arena, sizeof *group);
        if (!word || !only || !group) {
            no_memory(re);
            return false;
        }
        *word = (struct pn_re_item){.kind = PN_RE_EXPR, .e = pn_re_word(re, false)};
        *only = (struct pn_re_seq){word, 1};
        *group = (struct pn_re_choice){only, 1};
        item->kind = looks_back ? PN_RE_BEHIND : PN_RE_AHEAD;
        item->negate = !wants_word;
        item->group = group;
    }
    return true;
}

/* ---- lookaround ---- */

static pn_expr resolve(struct pn_re *re, const struct pn_re_choice *choice, const struct frame *frame);

/* What has to follow (or to come before) a lookaround, up to the end of the text. */
static pn_expr condition(struct pn_re *re, const struct pn_re_item *item)
{
    const struct frame ahead = {.open_right = true, .has_end = true}, behind = {.open_left = true, .has_begin = true};
    pn_expr e = resolve(re, item->group, item->kind == PN_RE_AHEAD ? &ahead : &behind);
    return item->negate ? pn_expr_not(re->b, e) : e;
}

static pn_expr pair(struct pn_re *re, pn_expr x, pn_expr y)
{
    const pn_expr both[] = {x, y};
    return pn_expr_seq(re->b, both, 2);
}

/* All lookbehinds come before all lookaheads. */
static pn_expr build(struct pn_re *re, const struct pn_re_seq *seq)
{
    pn_expr left = pn_expr_empty(re->b), right = left;
    size_t middle = 0;
    for (size_t i = 0; i < seq->n; i++)
        if (seq->items[i].kind == PN_RE_BEHIND)
            middle = i + 1;
    for (size_t i = 0; i < middle; i++) {
        const struct pn_re_item *item = &seq->items[i];
        if (item->kind == PN_RE_AHEAD)
            return refuse(re, item, "a lookahead before a lookbehind or a word boundary");
        left = item->kind == PN_RE_EXPR ? pair(re, left, item->e) : pn_expr_and(re->b, left, condition(re, item));
    }
    for (size_t i = seq->n; i-- > middle;) {
        const struct pn_re_item *item = &seq->items[i];
        right = item->kind == PN_RE_EXPR ? pair(re, item->e, right) : pn_expr_and(re->b, right, condition(re, item));
    }
    return pair(re, left, right);
}

static pn_expr resolve_seq(struct pn_re *re, const struct pn_re_seq *from, const struct frame *frame)
{
    struct pn_re_seq seq = {.items = pn_arena_array(&re->arena, from->n + 2, sizeof *seq.items)};
    const struct pn_re_item any = {.kind = PN_RE_EXPR, .e = re->any};
    if (!seq.items) {
        no_memory(re);
        return PN_EXPR_NONE;
    }
    if (frame->open_left)
        seq.items[seq.n++] = any;
    if (from->n)
        memcpy(seq.items + seq.n, from->items, from->n * sizeof *from->items);
    seq.n += from->n;
    if (frame->open_right)
        seq.items[seq.n++] = any;
    if (!resolve_anchors(re, &seq, frame) || !resolve_boundaries(re, &seq, frame))
        return pn_expr_nothing(re->b);
    return build(re, &seq);
}

static pn_expr resolve(struct pn_re *re, const struct pn_re_choice *choice, const struct frame *frame)
{
    struct flat seqs = {0};
    flatten(re, choice, &seqs);
    pn_expr *items = pn_arena_array(&re->arena, seqs.len + 1, sizeof *items);
    if (!items)
        no_memory(re);
    for (size_t i = 0; i < seqs.len && !pn_re_failed(re); i++)
        items[i] = resolve_seq(re, &seqs.data[i], frame);
    pn_expr e = pn_re_failed(re) ? PN_EXPR_NONE : pn_expr_choice(re->b, items, seqs.len);
    free(seqs.data);
    return e;
}

pn_expr pn_re_resolve(struct pn_re *re, const struct pn_re_choice *choice, bool open)
{
    const struct frame frame = {.open_left = open, .open_right = open, .has_begin = true, .has_end = true};
    return resolve(re, choice, &frame);
}
