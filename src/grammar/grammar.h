/* Compiled grammars: rules as automata over bytes that call each other.
 *
 * A grammar is immutable and may be used by any number of threads. The states of all rules have one numbering. A string
 * belongs to the language if rule 0 leads from its start to a final state; a call of a rule consumes a string of that
 * rule, at least one byte of it: where a rule has the empty string, its caller goes on without a call. Every state can
 * reach a final state of its rule, so what has been consumed can always be completed. */
#ifndef PN_GRAMMAR_GRAMMAR_H
#define PN_GRAMMAR_GRAMMAR_H

#include "grammar/expr.h"

#include <stdatomic.h>

struct pn_byte_edge {
    uint32_t to;
    uint8_t first, last;
};

struct pn_call_edge { /* of a rule, or a token's label */
    uint32_t to, what;
};

enum { PN_STATE_FINAL = 1, PN_STATE_GOES_ON = 2 /* has edges */ };

/* A rule with counts repeats its body min to max times (max PN_EXPR_NO_MAX: no bound): at a final state, after at least
 * one byte, the count goes up and the body may start again. */
struct pn_grammar_rule {
    uint32_t start;
    bool counts;
    bool only_text;   /* stands for a token; used without a vocabulary only */
    bool start_final; /* rule 0: the empty string is in the language */
    int32_t min, max;
    const char *name; /* for people; NUL-terminated */
};

/* One token of the model: one of the ids, or the one that is spelled like this. */
struct pn_token_label {
    const char *text; /* NULL: ids */
    uint32_t n;
    const int32_t *ids;
    bool negate;
};

struct pn_grammar {
    atomic_int n_users;
    struct pn_arena arena; /* owns all below */
    uint32_t n_states, n_rules, n_labels;
    uint32_t *byte_first, *call_first, *token_first; /* (n_states + 1) */
    struct pn_byte_edge *bytes;                      /* ascending by `first` */
    struct pn_call_edge *calls, *tokens;
    uint32_t *rule_of; /* (n_states) */
    uint8_t *flags;    /* (n_states): PN_STATE_... */
    struct pn_grammar_rule *rules;
    struct pn_token_label *labels;
};

/* Compiles the language of `root`. The builder may be freed afterwards. PANTRY_FORMAT: a rule is not defined;
 * PANTRY_UNSUPPORTED: no string is in the language; PANTRY_LIMIT: too large. */
pantry_status pn_grammar_compile(const struct pn_expr_builder *b, pn_expr root, struct pn_grammar **out,
                                 struct pantry_error *err);
/* Another user of the same grammar. */
struct pn_grammar *pn_grammar_share(struct pn_grammar *grammar);
void pn_grammar_free(struct pn_grammar *grammar);

/* Appends the automaton in the language of Graphviz. */
void pn_grammar_dot(const struct pn_grammar *grammar, struct pn_buf *out);

#endif
