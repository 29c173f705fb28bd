/* Finding prefixes in the folder of the prefix cache. */
#ifndef PN_ENGINE_DISK_SEARCH_H
#define PN_ENGINE_DISK_SEARCH_H

#include "engine/disk_folder.h"
#include "engine/kv.h"

/* The sizes of a model's blocks. */
struct pn_disk_shape {
    const struct pn_kv_pool *pool; /* how far its windows reach */
    size_t page_bytes[PN_KV_GROUPS], state_bytes;
    bool stateful;  /* sequences resume only from checkpoints ... */
    bool recurrent; /* ... which are after any number of tokens; otherwise after full pages */
};

/* Tokens and the keys of their full pages. */
struct pn_disk_chain {
    const int32_t *ids; /* (n), borrowed */
    int n;
    struct pn_disk_key *keys; /* (n / PN_PAGE_TOKENS + 1): of so many pages, the root first */
};

/* False: no memory. Free with pn_disk_chain_free, also after a failure. */
bool pn_disk_chain_init(struct pn_disk_chain *chain, const struct pn_disk_key *root, const int32_t *ids, int n);
void pn_disk_chain_free(struct pn_disk_chain *chain);
/* Sets the keys and ids of a block with `n`, which the chain must have. False: no memory. */
bool pn_disk_chain_fill(const struct pn_disk_chain *chain, struct pn_disk_block *block);

/* The block that ends page `i` of a prefix of n tokens in a group. */
struct pn_disk_block pn_disk_page_block(const struct pn_disk_shape *shape, int group, int i, int n);

/* The tokens of the pages that the folder has in a row, after those in memory (n_have pages). */
int pn_disk_find_pages(const struct pn_disk_folder *folder, const struct pn_disk_shape *shape,
                       const struct pn_disk_chain *chain, int n_have);
/* The longest prefix of at most n and more than `least` tokens with a checkpoint in the folder; 0: none. */
int pn_disk_find_checkpoint(const struct pn_disk_folder *folder, const struct pn_disk_shape *shape,
                            const struct pn_disk_chain *chain, int n, int least, struct pn_disk_block *block);
/* Whether the pages that a checkpoint needs make sense, and are in the folder or (the first n_have of layers that see
 * everything) in memory. */
bool pn_disk_is_complete(const struct pn_disk_folder *folder, const struct pn_disk_shape *shape,
                         const struct pn_disk_chain *chain, const struct pn_disk_block *checkpoint, int n_have);

#endif
