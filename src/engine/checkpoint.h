/* Checkpoints: what a sequence needs to go on from an earlier point, besides the pages of layers that see everything:
 * the recurrent state there, and the pages that windows reach back to. They are kept at nodes of the prefix tree, which
 * knows them by number. Pages are shared, not copied.
 *
 * The engine's thread alone touches them. */
#ifndef PN_ENGINE_CHECKPOINT_H
#define PN_ENGINE_CHECKPOINT_H

#include "engine/kv.h"
#include "engine/state.h"

struct pn_checkpoint {
    int n;                   /* tokens before it */
    int32_t state;           /* slot of recurrent state; -1: none */
    int first[PN_KV_GROUPS]; /* the first page of each group that it holds; of group 0 it holds none */
    uint32_t serial;         /* another one each time the number is given out */
    int32_t next_unused;
    bool used;
};

struct pn_checkpoints {
    struct pn_kv_pool *pool;
    struct pn_state_pool *states; /* NULL: no layer is recurrent */
    struct pn_checkpoint *all;    /* (n_room) */
    int32_t *pages;               /* (n_room, width): of all groups together */
    int n_room;
    int width, start[PN_KV_GROUPS]; /* pages that one may hold; where those of a group begin */
    int32_t unused;                 /* a list; -1: none */
    uint32_t n_given;
    uint64_t page_bytes; /* of the pages that they hold, those that several hold counted for each */
};

void pn_checkpoints_init(struct pn_checkpoints *c, struct pn_kv_pool *pool, struct pn_state_pool *states);
/* None may be in use. */
void pn_checkpoints_release(struct pn_checkpoints *c);

/* A checkpoint after n tokens of a sequence whose page tables are `tables`, one each `table` entries, and which has the
 * pages from first[g] on. It shares these pages and takes `state` over. -1: memory is out, and nothing has happened. */
int32_t pn_checkpoint_new(struct pn_checkpoints *c, const int32_t *tables, int table, const int *first, int n,
                          int32_t state);
void pn_checkpoint_release(struct pn_checkpoints *c, int32_t number);
/* Page i of a sequence, in a group with a window; it must be one that the checkpoint holds. */
int32_t pn_checkpoint_page(const struct pn_checkpoints *c, int32_t number, int group, int i);
/* How many tokens before the checkpoint a sequence can go on from it too. */
int pn_checkpoint_back(const struct pn_checkpoints *c, int32_t number);

#endif
