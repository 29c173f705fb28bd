/* Checkpoints: what a sequence needs to resume from an earlier point besides the pages of layers that see everything:
 * the recurrent state, and the pages that windows reach back to. They belong to nodes of the prefix tree, which refers
 * to them by number. Pages are shared, not copied.
 *
 * Only the engine's thread uses them. */
#ifndef PN_ENGINE_CHECKPOINT_H
#define PN_ENGINE_CHECKPOINT_H

#include "engine/kv.h"
#include "engine/state.h"

struct pn_checkpoint {
    int n;                   /* tokens before it */
    int32_t state;           /* slot of recurrent state; -1: none */
    int first[PN_KV_GROUPS]; /* the first page it holds of each group; none of group 0 */
    uint32_t serial;         /* differs each time the number is reused */
    int32_t next_unused;
    bool used;
};

struct pn_checkpoints {
    struct pn_kv_pool *pool;
    struct pn_state_pool *states; /* NULL: no layer is recurrent */
    struct pn_checkpoint *all;    /* (n_room) */
    int32_t *pages;               /* (n_room, width): of all groups together */
    int n_room;
    int width, start[PN_KV_GROUPS]; /* pages per checkpoint; where those of a group begin */
    int32_t unused;                 /* a list; -1: none */
    uint32_t n_given;
    uint64_t page_bytes; /* of all held pages; shared ones count once per checkpoint */
};

void pn_checkpoints_init(struct pn_checkpoints *c, struct pn_kv_pool *pool, struct pn_state_pool *states);
/* None may be in use. */
void pn_checkpoints_release(struct pn_checkpoints *c);

/* Makes a checkpoint after n tokens of a sequence. `tables` are its page tables, one per group, `table` entries each;
 * it has the pages from first[g] on. Shares these pages and takes over `state`. -1: out of memory, nothing changed. */
int32_t pn_checkpoint_new(struct pn_checkpoints *c, const int32_t *tables, int table, const int *first, int n,
                          int32_t state);
void pn_checkpoint_release(struct pn_checkpoints *c, int32_t number);
/* Page i of a sequence in a group with a window. The checkpoint must hold it. */
int32_t pn_checkpoint_page(const struct pn_checkpoints *c, int32_t number, int group, int i);
/* How many tokens before the checkpoint a sequence can still resume. */
int pn_checkpoint_back(const struct pn_checkpoints *c, int32_t number);

#endif
