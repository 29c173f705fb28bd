/* What the two halves of the compiler share: compile.c builds automata, assemble.c joins them. */
#ifndef PN_GRAMMAR_COMPILE_H
#define PN_GRAMMAR_COMPILE_H

#include "grammar/fsa.h"
#include "grammar/grammar.h"

/* A rule that has been built. */
struct pn_built_rule {
    struct pn_fsa fsa;
    struct pn_grammar_rule is; /* but for its start */
    pn_expr source;            /* a REF's rule, a REPEAT, a TOKEN, or the root */
    bool json;                 /* written as in a JSON string */
};

/* Joins the rules and removes what leads nowhere. Takes over `arena`, which owns names and labels, when it succeeds. */
pantry_status pn_grammar_assemble(const struct pn_built_rule *rules, uint32_t n_rules,
                                  const struct pn_token_label *labels, uint32_t n_labels, struct pn_arena *arena,
                                  struct pn_grammar **out, struct pantry_error *err);

#endif
