/* Regular expressions as in ECMA-262 (with u) and, where they agree, Python and PCRE. */
#ifndef PN_GRAMMAR_REGEX_H
#define PN_GRAMMAR_REGEX_H

#include "grammar/expr.h"

enum pn_regex_mode {
    PN_REGEX_FULL,  /* the whole string matches */
    PN_REGEX_SEARCH /* some part of the string matches: `pattern` of JSON schemas */
};

/* Builds the expression of the strings that match. Its result is regular, without rules. A mistake, or a construct that
 * cannot be expressed (a backreference, say), is an error with its column, here and in the builder. */
pantry_status pn_regex_parse(struct pn_expr_builder *b, const char *pattern, size_t n, enum pn_regex_mode mode,
                             pn_expr *out, struct pantry_error *err);

#endif
