/* What the matchers of one grammar and one vocabulary share: states, steps and masks.
 *
 * The mask of a set is put together from those of its places. What a token does within the rule of a place depends on
 * that place alone, so this part is computed once, by walking the trie, and kept (struct pn_local). Only tokens that
 * leave the rule depend on its callers: where they leave it, the walk goes on below that node of the trie from the
 * callers' set. The result is kept per set. Counts that are too far from their bounds for any token to reach them are
 * alike.
 *
 * Sets and masks accumulate up to a bound of memory. Then a new generation starts; each matcher moves what it needs
 * when it is used next, and the old one goes with its last user. */
#ifndef PN_GRAMMAR_MASKS_H
#define PN_GRAMMAR_MASKS_H

#include "grammar/sets.h"
#include "grammar/stored.h"
#include "grammar/vocabulary_impl.h"

struct pn_local { /* of a place */
    uint32_t state, count;
    struct pn_stored_mask *mask; /* tokens that stay in the rule, or end with it */
    uint32_t *leaves;            /* nodes of the trie where the rule may end, with others below */
    uint32_t n_leaves;
};

struct pn_of_set {
    struct pn_stored_mask *mask; /* NULL: not computed yet */
    uint32_t alike;              /* the set with alike counts; 0: not looked for yet */
    uint16_t loops, looked_at;   /* kinds of bytes that lead back to the set; kinds for which this is known */
};

struct pn_generation {
    int n_users; /* under the lock, like all here */
    struct pn_sets sets;
    struct {
        struct pn_of_set *data; /* by set */
        size_t len, cap;
    } of_set;
    size_t n_bytes; /* of masks */
};

struct pn_masks {
    atomic_int n_users;
    struct pn_masks *next; /* in the vocabulary's list, the last used first */
    struct pn_grammar *grammar;
    struct pn_grammar_vocabulary *vocabulary; /* borrowed */
    uint64_t **labels;                        /* (n_labels): bits of the tokens of each */
    bool *has_label;                          /* (n_labels): of the token in hand */
    pthread_mutex_t lock;                     /* for all below */
    struct pn_generation *generation;
    struct pn_local *locals; /* by hash of state and count; mask NULL: free */
    size_t n_locals, n_local_slots;
    size_t local_bytes;
    uint32_t *stack; /* (longest + 2): sets of the walk */
    uint64_t *bits;  /* (n_words): of the mask in hand */
    struct {
        uint32_t *data;
        size_t len, cap;
    } leaves;
};

/* Those of the grammar, for another user; made at the first time. */
pantry_status pn_masks_find(struct pn_grammar *grammar, struct pn_grammar_vocabulary *vocabulary, struct pn_masks **out,
                            struct pantry_error *err);
void pn_masks_release(struct pn_masks *k);
void pn_masks_free_all(struct pn_masks *list);

/* The rest is called under the lock. */

/* Makes `generation` the current one, which it enters again within its bounds; moves the n sets in `ids`. */
pantry_status pn_masks_enter(struct pn_masks *k, struct pn_generation **generation, uint32_t *ids, size_t n,
                             struct pantry_error *err);
void pn_generation_release(struct pn_generation *g);
/* The mask of a set, for another user. */
pantry_status pn_masks_of_set(struct pn_masks *k, struct pn_generation *g, uint32_t set, struct pn_stored_mask **out,
                              struct pantry_error *err);
/* The set after a token; PN_SET_DEAD: it is not allowed. PN_SET_NONE: a failure of the sets. */
uint32_t pn_masks_step(struct pn_masks *k, struct pn_generation *g, uint32_t set, int32_t token);

#endif
