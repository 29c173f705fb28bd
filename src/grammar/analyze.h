/* What the compiler knows about rules before it builds automata. */
#ifndef PN_GRAMMAR_ANALYZE_H
#define PN_GRAMMAR_ANALYZE_H

#include "grammar/expr.h"

struct pn_rule_facts {
    uint32_t component; /* rules that reach each other share one */
    bool recursive;     /* reaches itself */
    bool nullable;      /* has the empty string */
    bool inlined;       /* its body is built wherever it is used */
    uint32_t weight;    /* about how many states its body makes, with what is inlined into it */
};

struct pn_facts {
    const struct pn_expr_builder *b;
    struct pn_rule_facts *rules; /* by rule */
    struct pn_arena arena;
};

/* All rules are defined. */
pantry_status pn_facts_find(const struct pn_expr_builder *b, pn_expr root, struct pn_facts *out,
                            struct pantry_error *err);
void pn_facts_free(struct pn_facts *facts);

/* Whether the empty string is in the language. */
bool pn_expr_nullable(const struct pn_facts *facts, pn_expr e);
/* About how many states the expression makes if its repetitions are expanded; at most PN_WEIGHT_MAX. */
uint32_t pn_expr_weight(const struct pn_facts *facts, pn_expr e);

enum { PN_WEIGHT_MAX = 1 << 30 };

#endif
