/* GBNF, the notation of llama.cpp: docs/grammars.md describes it. */
#ifndef PN_GRAMMAR_GBNF_H
#define PN_GRAMMAR_GBNF_H

#include "grammar/expr.h"

/* Reads all rules into the builder; *root is the rule "root". A mistake is an error with its line and column, here and
 * in the builder. */
pantry_status pn_gbnf_parse(struct pn_expr_builder *b, const char *text, size_t n, pn_expr *root,
                            struct pantry_error *err);

#endif
