/* The states of a running grammar: sets of places in its rules, each with the set where its rule was called.
 *
 * This is Earley's recognizer (1970) with two changes. A place refers to the set of its origin by content, not by
 * position: equal sets are stored once and have one number, so that a set can serve as the state of an automaton, whose
 * steps are remembered. And what follows from a set alone, the rules that it calls, is not a part of its content. A set
 * is never empty but for PN_SET_DEAD, and what led to any other set can be completed.
 *
 * Sets only accumulate. When there are too many, the owner moves those it needs to a new collection (pn_sets_move). One
 * thread at a time may use a collection. */
#ifndef PN_GRAMMAR_SETS_H
#define PN_GRAMMAR_SETS_H

#include "grammar/grammar.h"

enum {
    PN_SET_NONE = 0, /* a failure: see `status` of the collection */
    PN_SET_DEAD = 1, /* no string of the language goes on like this */
    PN_SET_OUT = 2,  /* stands for unknown callers: what is complete there leaves the rule */
    PN_SET_START = 3
};

#define PN_STATE_LEFT  UINT32_MAX /* a place after the end of a rule that PN_SET_OUT called */
#define PN_ORIGIN_SELF UINT32_MAX

struct pn_place {
    uint32_t state;  /* of the grammar */
    uint32_t origin; /* the set where the state's rule was called */
    uint32_t count;  /* of a rule that counts */
};

struct pn_set_call {
    uint32_t rule, to;
    uint32_t origin, count; /* of the calling place; PN_ORIGIN_SELF: its rule was called in this very set */
};

struct pn_set {
    struct pn_place *places;   /* ascending */
    struct pn_set_call *calls; /* ascending by rule */
    uint32_t *starts;          /* start states of the rules that it calls */
    uint32_t n_places, n_calls, n_starts;
    bool accepts;       /* the string so far is in the language */
    bool left;          /* has PN_STATE_LEFT */
    bool has_tokens;    /* some place has an edge with a token */
    uint32_t *next[16]; /* sets by high and low half of a byte; PN_SET_NONE: not computed yet */
};

struct pn_sets {
    const struct pn_grammar *grammar; /* borrowed */
    bool text_mode;                   /* tokens stand for their spelling */
    struct pn_arena arena;
    struct {
        struct pn_set *data;
        size_t len, cap;
    } sets;
    uint32_t *slots; /* sets by content; 0: free */
    size_t n_slots;
    struct {
        struct pn_place *data; /* of the set in hand */
        size_t len, cap;
    } places;
    uint32_t *place_slots, *rule_stamp, place_stamp; /* finds places that the set in hand has; (n_rules) */
    size_t n_place_slots;
    uint32_t *place_stamps;
    uint32_t rule_stamp_now;
    struct {
        struct pn_set_call *data;
        size_t len, cap;
    } calls;
    struct {
        uint32_t *data;
        size_t len, cap;
    } starts;
    int64_t work;         /* places that may still be visited; the owner sets it before each task */
    size_t max_bytes;     /* of memory; more is a failure */
    pantry_status status; /* of the last failure */
};

pantry_status pn_sets_init(struct pn_sets *s, const struct pn_grammar *grammar, bool text_mode,
                           struct pantry_error *err);
void pn_sets_free(struct pn_sets *s);
size_t pn_sets_bytes(const struct pn_sets *s);

/* All return PN_SET_NONE after a failure: PANTRY_LIMIT when the work, the memory or the places of a set are used up. */
uint32_t pn_sets_step_slow(struct pn_sets *s, uint32_t set, unsigned char byte);
static inline uint32_t pn_sets_step(struct pn_sets *s, uint32_t set, unsigned char byte)
{
    const uint32_t *block = s->sets.data[set].next[byte >> 4];
    uint32_t known = block ? block[byte & 15] : PN_SET_NONE;
    return known ? known : pn_sets_step_slow(s, set, byte);
}
/* The set after a token: the labels for which `has_label` is set apply. */
uint32_t pn_sets_token(struct pn_sets *s, uint32_t set, const bool *has_label);
/* The set of both sets' places. */
uint32_t pn_sets_union(struct pn_sets *s, uint32_t a, uint32_t b);
/* The set that has just these places, and what follows from them. */
uint32_t pn_sets_places(struct pn_sets *s, const struct pn_place *places, size_t n);
/* The set after a rule that `origin` called has ended. */
uint32_t pn_sets_return(struct pn_sets *s, uint32_t rule, uint32_t origin);

/* Fills in the error of a failure. */
pantry_status pn_sets_error(const struct pn_sets *s, struct pantry_error *err);
/* Moves n sets, and those that they refer to, to an empty collection of the same grammar; the numbers in `ids` change.
 */
pantry_status pn_sets_move(struct pn_sets *to, const struct pn_sets *from, uint32_t *ids, size_t n,
                           struct pantry_error *err);

#endif
