/* Finite automata of one rule: nondeterministic ones that grow edge by edge, and deterministic ones.
 *
 * The alphabet is numbers: bytes are 0 to 255, above them are calls of rules and tokens (pn_symbol_call and
 * pn_symbol_token). An automaton stays within the bounds of PN_FSA_..., or its construction fails. */
#ifndef PN_GRAMMAR_FSA_H
#define PN_GRAMMAR_FSA_H

#include "base/alloc.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_FSA_MAX_STATES = 1000000, PN_FSA_MAX_EDGES = 8000000, PN_SYMBOL_BYTES = 256 };

static inline uint32_t pn_symbol_call(uint32_t rule)
{
    return PN_SYMBOL_BYTES + 2 * rule;
}

static inline uint32_t pn_symbol_token(uint32_t label)
{
    return PN_SYMBOL_BYTES + 2 * label + 1;
}

/* ---- nondeterministic ---- */

struct pn_nfa_edge {
    uint32_t first, last; /* symbols; first > last: the empty string */
    uint32_t to;
    uint32_t next; /* edge of the same state; 0: none */
};

/* A zeroed struct is empty. */
struct pn_nfa {
    struct {
        uint32_t *data; /* first edge of each state; 0: none */
        size_t len, cap;
    } states;
    struct {
        struct pn_nfa_edge *data; /* edge 0 is unused */
        size_t len, cap;
    } edges;
    bool no_memory, too_large; /* then all later additions are ignored */
};

uint32_t pn_nfa_state(struct pn_nfa *nfa);
void pn_nfa_edge(struct pn_nfa *nfa, uint32_t from, uint32_t first, uint32_t last, uint32_t to);
void pn_nfa_empty(struct pn_nfa *nfa, uint32_t from, uint32_t to);
/* Paths for the code points first to last in UTF-8; the range has no surrogates. */
void pn_nfa_utf8(struct pn_nfa *nfa, uint32_t from, uint32_t first, uint32_t last, uint32_t to);
void pn_nfa_clear(struct pn_nfa *nfa); /* keeps the memory */
void pn_nfa_free(struct pn_nfa *nfa);

/* ---- without empty edges ---- */

struct pn_fsa_edge {
    uint32_t first, last, to;
};

/* State 0 is the start. The edges of a state are ascending; in a deterministic one they do not overlap. */
struct pn_fsa {
    uint32_t n_states;
    uint32_t *first; /* (n_states + 1): edges of state s are first[s] to first[s + 1] */
    struct pn_fsa_edge *edges;
    bool *final;
    bool deterministic;
};

void pn_fsa_free(struct pn_fsa *fsa);

/* The same language, by the subset construction. *work, the members of sets that it may visit, is counted down.
 * PANTRY_LIMIT: more than `max_states`, or no work is left. */
pantry_status pn_fsa_determinize(const struct pn_nfa *nfa, uint32_t start, uint32_t end, uint32_t max_states,
                                 int64_t *work, struct pn_fsa *out, struct pantry_error *err);
/* The same language, still nondeterministic. PANTRY_LIMIT: too many edges, or no work is left. */
pantry_status pn_fsa_without_empty(const struct pn_nfa *nfa, uint32_t start, uint32_t end, int64_t *work,
                                   struct pn_fsa *out, struct pantry_error *err);
/* Replaces a deterministic automaton by the smallest one. States from which no final state can be reached go; the start
 * stays. */
pantry_status pn_fsa_minimize(struct pn_fsa *fsa, struct pantry_error *err);
/* Strings of both deterministic automata. */
pantry_status pn_fsa_intersect(const struct pn_fsa *a, const struct pn_fsa *b, uint32_t max_states, struct pn_fsa *out,
                               struct pantry_error *err);
/* Strings of a that are not in b; both deterministic. */
pantry_status pn_fsa_subtract(const struct pn_fsa *a, const struct pn_fsa *b, uint32_t max_states, struct pn_fsa *out,
                              struct pantry_error *err);
/* Adds the states of the automaton to the nfa, from `from` to `to`. */
void pn_fsa_embed(const struct pn_fsa *fsa, struct pn_nfa *nfa, uint32_t from, uint32_t to);

/* ---- building one ---- */

/* Collects states in order; used by the constructions. A zeroed struct is empty. */
struct pn_fsa_builder {
    struct {
        struct pn_fsa_edge *data;
        size_t len, cap;
    } edges;
    struct {
        uint32_t *data;
        size_t len, cap;
    } first;
    struct {
        bool *data;
        size_t len, cap;
    } final;
};

/* Starts the next state. */
bool pn_fsa_begin(struct pn_fsa_builder *b, bool final);
/* Adds an edge to it; joins it with the one before where that has the same target and ends next to it. */
bool pn_fsa_add(struct pn_fsa_builder *b, uint32_t first, uint32_t last, uint32_t to);
/* Moves what was collected to `out`; frees it on failure. */
pantry_status pn_fsa_finish(struct pn_fsa_builder *b, bool deterministic, struct pn_fsa *out, struct pantry_error *err);
void pn_fsa_builder_free(struct pn_fsa_builder *b);

#endif
