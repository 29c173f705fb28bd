/* A sequence: tokens, the pages with their keys and values, and its recurrent state. Of layers with a window it has
 * only the pages that the window still reaches. What sequences of a model hold is shared through the prefix tree; pages
 * and states are taken from it when nothing else is free.
 *
 * The engine's thread alone touches sequences and their memory. */
#ifndef PN_ENGINE_SEQUENCE_H
#define PN_ENGINE_SEQUENCE_H

#include "engine/checkpoint.h"
#include "engine/runner.h"
#include "engine/tree.h"

/* What all sequences of a model share. */
struct pn_seq_memory {
    struct pn_runner *runner;
    struct pn_kv_pool *pool;
    struct pn_tree *tree;
    bool stateful;                     /* sequences go on from checkpoints: layers are recurrent or have windows */
    struct pn_checkpoints checkpoints; /* the states of the tree */
    int max_states;                    /* that the tree may keep */
    int32_t n_promised[PN_KV_GROUPS];  /* pages that were taken from the budget, some at a time */
};

struct pn_seq {
    struct pn_seq_memory *memory;
    const char *key; /* of the prefix tree, borrowed */
    int32_t *ids;    /* (n_context), borrowed: all tokens; those from n_past on are not in memory yet */
    int n_ids, n_past, n_context;
    int32_t pages;           /* where its page tables begin: those of all groups, each `table` entries, */
    int table;               /* one per PN_PAGE_TOKENS positions */
    int n_pages;             /* of each group, those given back at the beginning included */
    int first[PN_KV_GROUPS]; /* the first page of each group that is not given back */
    int32_t state;           /* slot of recurrent state after n_past tokens; -1: none */
    int32_t next;            /* slot for the state after the next step, where others hold `state` too; -1: the same */
    int n_known; /* tokens that the tree knew at the start, even if the sequence could not go on from there */
    /* The checkpoint that the tree keeps only until the sequence is further; -1: none. */
    int32_t passing;
    int n_passing; /* tokens before it */
    uint32_t passing_serial;
};

pantry_status pn_seq_memory_init(struct pn_seq_memory *m, struct pn_runner *runner, struct pn_kv_pool *pool,
                                 struct pantry_error *err);
void pn_seq_memory_release(struct pn_seq_memory *m);
/* Gives the memory of pages that are not in use back to the budget: nothing runs. */
void pn_seq_memory_settle(struct pn_seq_memory *m);
/* Gives memory that only saves time back to the budget: pages that are not in use, then one that the tree gives up.
 * False: there is none. */
bool pn_seq_memory_shrink(struct pn_seq_memory *m);
/* A page or a state, if need be one that the prefix tree gives up. */
pantry_status pn_seq_page_new(struct pn_seq_memory *m, int group, int32_t *page, struct pantry_error *err);
pantry_status pn_seq_state_new(struct pn_seq_memory *m, int32_t *state, struct pantry_error *err);

/* An empty sequence over `ids`, which has room for n_context tokens. */
pantry_status pn_seq_init(struct pn_seq *s, struct pn_seq_memory *m, const char *key, int32_t *ids, int n_context,
                          struct pantry_error *err);
void pn_seq_release(struct pn_seq *s);
/* Takes what the tree has of the first `n` of the sequence's ids, or less where memory for a copy of a page is missing.
 * The sequence must hold nothing. PANTRY_NO_MEMORY: no state is free even for an empty one; it then still holds
 * nothing.
 */
pantry_status pn_seq_start(struct pn_seq *s, int n, struct pantry_error *err);
/* Gives all pages and the state back; the ids stay. */
void pn_seq_drop(struct pn_seq *s);
/* Makes room for `n` more tokens and the state after them. PANTRY_NO_MEMORY: all pages or states are in use by
 * sequences that run. */
pantry_status pn_seq_grow(struct pn_seq *s, int n, struct pantry_error *err);
/* `n` more tokens are in memory. Pages behind windows go back. */
void pn_seq_advance(struct pn_seq *s, int n);
/* The page table of a group, until another sequence begins. */
const int32_t *pn_seq_pages(const struct pn_seq *s, int group);
/* The sequence's next `n` tokens for a step, which starts where pn_step_add says. */
struct pn_batch_seq pn_seq_batch(const struct pn_seq *s, int n);
/* What the sequence holds, as pn_kv_page_weight counts it. */
uint64_t pn_seq_bytes(const struct pn_seq *s);
/* Remembers the sequence in the prefix tree as it is now. Best effort: without memory nothing is remembered. Where no
 * layer is recurrent, a page that is not full is remembered only with `partly`: others go on from it with a copy. What
 * windows need is then kept for good; without `partly` only until this sequence is remembered again. */
void pn_seq_keep(struct pn_seq *s, bool partly);
/* The same for a sequence that ends here: it must be released next. */
void pn_seq_keep_last(struct pn_seq *s);

/* PANTRY_INVALID: one of the ids is not in the model's vocabulary. */
pantry_status pn_seq_check_ids(const struct pn_model *model, const int32_t *ids, size_t n, struct pantry_error *err);

#endif
