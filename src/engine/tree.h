/* The prefix tree: which token sequences have keys and values in memory, so that a prompt that begins like an earlier
 * or a running one reuses them.
 *
 * A node is one page: up to PN_PAGE_TOKENS ids that follow those of its parent. Only a leaf may hold fewer. Callers of
 * different keys never see each other's nodes. The tree holds one reference to the page of each node, and owns the
 * state kept at a node: what else a sequence needs to go on from there (see checkpoint.h).
 *
 * Where layers are recurrent or have windows, a sequence can go on only where there is a state; `pn_tree_match` then
 * returns prefixes that end at one, or as little before one as that state allows.
 *
 * One thread uses a tree at a time. */
#ifndef PN_ENGINE_TREE_H
#define PN_ENGINE_TREE_H

#include "base/status.h"
#include "tensor/batch.h"

/* What the tree does with pages and states; both belong to pools that it does not know. */
struct pn_tree_memory {
    void *user;
    void (*retain)(void *user, int32_t page);
    void (*release)(void *user, int32_t page);
    /* Whether the tree's reference to the page is the only one. */
    bool (*unshared)(void *user, int32_t page);
    void (*release_state)(void *user, int32_t state);
    /* How many tokens before its node a sequence can go on from a state too. NULL: none. */
    int (*back)(void *user, int32_t state);
    bool stateful; /* sequences go on from states only */
    bool thin;     /* of the states on the way to a new one the tree keeps the last few, and those where paths part */
};

struct pn_tree_match {
    int n_tokens;  /* tokens of the prefix that is in memory */
    int n_pages;   /* full pages of it, retained for the caller */
    int32_t copy;  /* page whose first n_tokens % PN_PAGE_TOKENS tokens end the prefix, retained; -1: none. Its other
                      tokens belong to others: the caller copies it and releases it */
    int32_t state; /* to go on from after n_tokens tokens, borrowed until the tree is next changed; -1: none */
    int n_known;   /* tokens of the longest prefix whose pages are in memory, with or without a state */
};

struct pn_tree;

pantry_status pn_tree_new(const struct pn_tree_memory *memory, struct pn_tree **out, struct pantry_error *err);
/* Releases all pages and states. NULL is fine. */
void pn_tree_free(struct pn_tree *tree);

/* Finds the longest prefix of `ids` (n) that is in memory for `key` (NULL: the common one) and marks it as used.
 * `pages` has room for n / PN_PAGE_TOKENS numbers. */
void pn_tree_match(struct pn_tree *tree, const char *key, const int32_t *ids, int n, int32_t *pages,
                   struct pn_tree_match *out);
/* How many tokens pn_tree_match would find; changes nothing. */
int pn_tree_find(const struct pn_tree *tree, const char *key, const int32_t *ids, int n);

/* Remembers that `pages` hold the keys and values of `ids` (n). Pages that the tree has already are left as they are.
 * `state` (-1: none) becomes the tree's, also on failure; it is released where the tree has one already. */
pantry_status pn_tree_insert(struct pn_tree *tree, const char *key, const int32_t *ids, int n, const int32_t *pages,
                             int32_t state, struct pantry_error *err);

/* Forgets the leaf that was used least recently and whose page nobody else holds. False: there is none. */
bool pn_tree_evict(struct pn_tree *tree);
/* Gives the least recently used state back, with the pages that led to nothing else. False: there is none. */
bool pn_tree_evict_state(struct pn_tree *tree);
/* Gives a state back that was inserted after `ids` (n), if it is still there, with the pages that led to nothing else.
 */
void pn_tree_drop_state(struct pn_tree *tree, const char *key, const int32_t *ids, int n, int32_t state);
/* Forgets what one key has. */
void pn_tree_drop_key(struct pn_tree *tree, const char *key);
/* Forgets everything. */
void pn_tree_clear(struct pn_tree *tree);

/* Pages and states the tree holds. */
int pn_tree_n_pages(const struct pn_tree *tree);
int pn_tree_n_states(const struct pn_tree *tree);

#endif
