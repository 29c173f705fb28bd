/* A sequence: tokens, the pages with their keys and values, and its recurrent state. Of layers with a window it has
 * only the pages that the window still reaches. Sequences of a model share pages and states through the prefix tree,
 * which gives some up when nothing else is free.
 *
 * Only the engine's thread uses sequences and their memory. */
#ifndef PN_ENGINE_SEQUENCE_H
#define PN_ENGINE_SEQUENCE_H

#include "engine/checkpoint.h"
#include "engine/runner.h"
#include "engine/tree.h"

/* Shared by all sequences of a model. */
struct pn_seq_memory {
    struct pn_runner *runner;
    struct pn_kv_pool *pool;
    struct pn_tree *tree;
    bool stateful; /* layers are recurrent or have windows, so sequences resume only from checkpoints */
    struct pn_checkpoints checkpoints; /* of the tree's nodes */
    int max_states;                    /* kept by the tree */
    int32_t n_promised[PN_KV_GROUPS];  /* pages taken from the budget so far */
    /* Releases pages and states that the disk cache still references; false if it has none. NULL without a disk cache.
     */
    bool (*spare)(void *user);
    void *spare_user;
};

struct pn_seq {
    struct pn_seq_memory *memory;
    const char *key; /* of the prefix tree, borrowed */
    int32_t *ids;    /* (n_context), borrowed: all tokens; from n_past on they are not in memory yet */
    int32_t *keys;   /* (n_context), borrowed: what the tree knows them by; `ids`, except where pictures stand */
    int n_ids, n_past, n_context;
    int32_t pages;           /* where its page tables begin, one per group, each with `table` entries, */
    int table;               /* one per PN_PAGE_TOKENS positions */
    int n_pages;             /* of each group, including those given back at the beginning */
    int first[PN_KV_GROUPS]; /* the first page of each group that was not given back */
    int32_t state;           /* slot of recurrent state after n_past tokens; -1: none */
    int32_t next;            /* slot for the state after the next step if others hold `state` too; -1: the same */
    int n_known;             /* tokens known to the tree at the start, even if the sequence could not resume there */
    /* The temporary checkpoint, which the tree keeps until the next one; -1: none. */
    int32_t passing;
    int n_passing; /* tokens before it */
    uint32_t passing_serial;
};

pantry_status pn_seq_memory_init(struct pn_seq_memory *m, struct pn_runner *runner, struct pn_kv_pool *pool,
                                 struct pantry_error *err);
void pn_seq_memory_release(struct pn_seq_memory *m);
/* Returns the memory of unused pages to the budget. Call it when nothing runs. */
void pn_seq_memory_settle(struct pn_seq_memory *m);
/* Returns memory that only saves time to the budget: unused pages, else one that the tree gives up. False: there is
 * none. */
bool pn_seq_memory_shrink(struct pn_seq_memory *m);
/* Takes a page or a state, if necessary one that the prefix tree gives up. */
pantry_status pn_seq_page_new(struct pn_seq_memory *m, int group, int32_t *page, struct pantry_error *err);
pantry_status pn_seq_state_new(struct pn_seq_memory *m, int32_t *state, struct pantry_error *err);

/* Puts a prefix of n tokens that came from elsewhere into the tree: `tables` are its pages of each group, `table`
 * entries each, from first[g] on (group 0: the tree has the others). Shares the pages and takes over `state` (-1:
 * none). With a checkpoint if sequences resume only from one. */
pantry_status pn_seq_adopt(struct pn_seq_memory *m, const char *key, const int32_t *ids, int n, const int32_t *tables,
                           int table, const int *first, int32_t state, struct pantry_error *err);

/* Makes an empty sequence over `ids`, which has room for n_context tokens. */
pantry_status pn_seq_init(struct pn_seq *s, struct pn_seq_memory *m, const char *key, int32_t *ids, int n_context,
                          struct pantry_error *err);
void pn_seq_release(struct pn_seq *s);
/* Resumes an empty sequence from the longest prefix of its first `n` ids in the tree, or a shorter one if memory for
 * copying a page is missing. PANTRY_NO_MEMORY: no state is free even for an empty sequence, which is unchanged. */
pantry_status pn_seq_start(struct pn_seq *s, int n, struct pantry_error *err);
/* Gives all pages and the state back; the ids stay. */
void pn_seq_drop(struct pn_seq *s);
/* Makes room for `n` more tokens and the state after them. PANTRY_NO_MEMORY: running sequences use all pages or states.
 */
pantry_status pn_seq_grow(struct pn_seq *s, int n, struct pantry_error *err);
/* `n` more tokens are in memory. Gives back pages that windows no longer reach. */
void pn_seq_advance(struct pn_seq *s, int n);
/* The sequence's next `n` tokens for a step; pn_step_add sets the start. */
struct pn_batch_seq pn_seq_batch(const struct pn_seq *s, int n);
/* Bytes of the sequence's pages, as pn_kv_page_weight counts them. */
uint64_t pn_seq_bytes(const struct pn_seq *s);
/* Puts the current sequence into the prefix tree, unless memory is short. If no layer is recurrent, a page that is not
 * full is included only with `partly`; others resume from a copy of it. With `partly` the pages that windows need stay;
 * without it, only until this sequence is put into the tree again. */
void pn_seq_keep(struct pn_seq *s, bool partly);
/* The same for a sequence that ends here. Release it next. */
void pn_seq_keep_last(struct pn_seq *s);

/* PANTRY_INVALID: one of the ids is not in the model's vocabulary. */
pantry_status pn_seq_check_ids(const struct pn_model *model, const int32_t *ids, size_t n, struct pantry_error *err);

#endif
