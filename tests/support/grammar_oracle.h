/* A slow reference for grammars: which strings an expression has, computed straight from the definition of each kind of
 * expression. It shares no code with the compiler and the matcher. */
#ifndef GRAMMAR_ORACLE_H
#define GRAMMAR_ORACLE_H

#include "grammar/expr.h"

/* Whether the whole text is in the language of `e`. Takes time and memory quadratic in the text and more, so texts
 * should have at most a few hundred bytes. All rules must be defined. Aborts without memory. */
bool oracle_accepts(const struct pn_expr_builder *b, pn_expr e, const char *text, size_t n);

#endif
