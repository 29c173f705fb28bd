/* Random grammars over a few characters: recursion of all kinds, empty loops, repetitions that count, intersections,
 * complements and JSON strings. */
#ifndef RANDOM_GRAMMAR_H
#define RANDOM_GRAMMAR_H

#include "base/random.h"
#include "grammar/expr.h"

/* Defines n_rules rules named r0, r1, ...; returns the start. */
pn_expr random_grammar(struct pn_expr_builder *b, struct pn_rng *rng, int n_rules);

#endif
