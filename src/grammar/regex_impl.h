/* What the files of the regular expressions share: items of the parsed pattern, and characters.
 *
 * A part of a pattern without assertions (anchors, word boundaries, lookaround) is an expression at once. What is left
 * is a tree of alternatives, sequences and groups, from which regex_assert.c makes expressions when the whole is known.
 */
#ifndef PN_GRAMMAR_REGEX_IMPL_H
#define PN_GRAMMAR_REGEX_IMPL_H

#include "grammar/regex.h"

enum pn_re_kind {
    PN_RE_EXPR,     /* e */
    PN_RE_BEGIN,    /* ^ */
    PN_RE_END,      /* $ */
    PN_RE_BOUNDARY, /* \b; with negate \B */
    PN_RE_AHEAD,    /* (?=...); with negate (?!...) */
    PN_RE_BEHIND,   /* (?<=...); with negate (?<!...) */
    PN_RE_GROUP     /* a group with assertions in it; optional: followed by ? */
};

struct pn_re_item {
    enum pn_re_kind kind;
    bool negate, optional;
    pn_expr e;
    struct pn_re_choice *group; /* of the arena */
    size_t at;                  /* byte of the pattern */
};

struct pn_re_seq {
    struct pn_re_item *items;
    size_t n;
};

struct pn_re_choice {
    struct pn_re_seq *seqs;
    size_t n;
};

struct pn_re {
    struct pn_expr_builder *b;
    const char *text, *p, *end;
    struct pn_arena arena;
    int depth;
    size_t n_copied; /* items, while groups are multiplied out */
    bool ignore_case, dot_all;
    pn_expr any; /* all strings of code points */
};

/* The error at a byte of the pattern; returns PN_EXPR_NONE. */
pn_expr pn_re_fail(struct pn_re *re, size_t at, const char *what);
static inline bool pn_re_failed(const struct pn_re *re)
{
    return pn_expr_status(re->b, NULL) != PANTRY_OK;
}
static inline char pn_re_peek(const struct pn_re *re)
{
    return re->p < re->end ? *re->p : '\0';
}

/* ---- regex_class.c ---- */

/* Ranges that grow. */
struct pn_re_ranges {
    struct pn_code_range *data;
    size_t len, cap;
};

/* [...], whose bracket is next. */
pn_expr pn_re_class(struct pn_re *re);
/* An escape that stands for a character or a class; the backslash is next. */
pn_expr pn_re_escape(struct pn_re *re);
/* One character, in both cases if case is ignored. */
pn_expr pn_re_char(struct pn_re *re, uint32_t c);
/* The characters of \w, and all others. */
pn_expr pn_re_word(struct pn_re *re, bool negate);
bool pn_re_is_word(uint32_t c);

/* ---- regex_property.c ---- */

/* Adds the characters of a Unicode property (of \p{NAME}); false: not supported. */
bool pn_re_property(const char *name, size_t n, struct pn_re_ranges *out);
/* Adds the other case of every character of the ranges. */
bool pn_re_fold(struct pn_re_ranges *ranges);

/* ---- regex_assert.c ---- */

/* The strings that the choice matches, with `open` anything before and after. */
pn_expr pn_re_resolve(struct pn_re *re, const struct pn_re_choice *choice, bool open);

#endif
