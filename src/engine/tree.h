/* The prefix tree: which token sequences have keys and values in memory, so that a prompt that begins like an earlier
 * or running one reuses them.
 *
 * A node is one page: PN_PAGE_TOKENS ids that follow those of its parent; only a leaf may have fewer. Callers with
 * different keys never see each other's nodes. The tree holds one reference to each node's page and owns the node's
 * state: whatever else a sequence needs to resume there (see checkpoint.h).
 *
 * If layers are recurrent or have windows, a sequence can resume only from a state. `pn_tree_match` then returns
 * prefixes that end at a state, or as far before it as the state allows.
 *
 * One thread uses a tree at a time. */
#ifndef PN_ENGINE_TREE_H
#define PN_ENGINE_TREE_H

#include "base/status.h"
#include "tensor/batch.h"

/* Operations on pages and states, which belong to pools that the tree does not know. */
struct pn_tree_memory {
    void *user;
    void (*retain)(void *user, int32_t page);
    void (*release)(void *user, int32_t page);
    /* Whether the tree has the only reference to the page. */
    bool (*unshared)(void *user, int32_t page);
    void (*release_state)(void *user, int32_t state);
    /* How many tokens before its node a sequence can still resume from a state. NULL: none. */
    int (*back)(void *user, int32_t state);
    bool stateful; /* sequences resume only from states */
    bool thin;     /* of the states before a new one, keep only the last few and those where paths fork */
};

struct pn_tree_match {
    int n_tokens;  /* length of the prefix in memory */
    int n_pages;   /* its full pages, retained for the caller */
    int32_t copy;  /* page whose first n_tokens % PN_PAGE_TOKENS tokens end the prefix, retained; -1: none. Its other
                      tokens belong to others, so the caller copies it, then releases it */
    int32_t state; /* to resume from after n_tokens tokens, borrowed until the tree changes; -1: none */
    int n_known;   /* length of the longest prefix whose pages are in memory, with or without a state */
};

struct pn_tree;

pantry_status pn_tree_new(const struct pn_tree_memory *memory, struct pn_tree **out, struct pantry_error *err);
/* Releases all pages and states. NULL is allowed. */
void pn_tree_free(struct pn_tree *tree);

/* Finds the longest prefix of `ids` (n) in memory for `key` (NULL: the shared one) and marks it as used. `pages` has
 * room for n / PN_PAGE_TOKENS numbers. */
void pn_tree_match(struct pn_tree *tree, const char *key, const int32_t *ids, int n, int32_t *pages,
                   struct pn_tree_match *out);
/* The number of tokens that pn_tree_match would find; changes nothing. */
int pn_tree_find(const struct pn_tree *tree, const char *key, const int32_t *ids, int n);

/* A state on a path, after n tokens. */
struct pn_tree_point {
    int n;
    int32_t page, state; /* of its node; borrowed until the tree changes */
    bool forks;          /* several paths continue from there */
};
struct pn_tree_path {
    int n_pages;                  /* full pages in memory */
    struct pn_tree_point *points; /* the last `room` states, in order */
    int n_points, room;
};
/* Finds the pages of `ids` (n) in memory: `pages` has room for n / PN_PAGE_TOKENS numbers, borrowed until the tree
 * changes. Changes nothing. */
void pn_tree_trace(const struct pn_tree *tree, const char *key, const int32_t *ids, int n, int32_t *pages,
                   struct pn_tree_path *path);

/* Inserts `ids` (n), whose keys and values are in `pages`. Nodes that exist keep their pages. Takes over `state` (-1:
 * none), also on failure; releases it if the node has one already. */
pantry_status pn_tree_insert(struct pn_tree *tree, const char *key, const int32_t *ids, int n, const int32_t *pages,
                             int32_t state, struct pantry_error *err);

/* Drops the least recently used leaf whose page has no other references. False: there is none. */
bool pn_tree_evict(struct pn_tree *tree);
/* Drops the least recently used state, with the pages that led only to it. False: there is none. */
bool pn_tree_evict_state(struct pn_tree *tree);
/* Drops a state that was inserted after `ids` (n), if it is still there, with the pages that led only to it. */
void pn_tree_drop_state(struct pn_tree *tree, const char *key, const int32_t *ids, int n, int32_t state);
/* Drops all nodes of one key. */
void pn_tree_drop_key(struct pn_tree *tree, const char *key);
/* Drops everything. */
void pn_tree_clear(struct pn_tree *tree);

/* The number of pages and states in the tree. */
int pn_tree_n_pages(const struct pn_tree *tree);
int pn_tree_n_states(const struct pn_tree *tree);

#endif
