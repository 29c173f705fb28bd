/* Byte tries: find the strings of a set that start at a place in a text.
 *
 * Children are found in one hash table keyed by (node, byte). Strings are at most PN_TRIE_MAX_LEN bytes, so a walk is
 * bounded and matching a text takes linear time. */
#ifndef PN_TEXT_TOKENIZER_TRIE_H
#define PN_TEXT_TOKENIZER_TRIE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_TRIE_MAX_LEN = 1024, PN_TRIE_MAX_NODES = 1 << 24 };

struct pn_trie {
    struct pn_trie_slot {
        uint32_t key; /* (node << 8 | byte) + 1; 0 is free */
        uint32_t child;
    } * slots;
    size_t mask, n_slots_used;
    uint64_t seed;
    int32_t *value; /* by node; -1: none */
    size_t n_nodes, cap;
    uint32_t root[256]; /* children of the root; 0: none */
};

pantry_status pn_trie_init(struct pn_trie *trie, struct pantry_error *err);
/* The first value of a string stays. */
pantry_status pn_trie_add(struct pn_trie *trie, const char *bytes, size_t len, int32_t value, struct pantry_error *err);
void pn_trie_free(struct pn_trie *trie);

static inline size_t pn_trie_hash(const struct pn_trie *trie, uint32_t key)
{
    return (size_t)(((key ^ trie->seed) * 0x9E3779B97F4A7C15u) >> 32) & trie->mask;
}

/* Child of `node` (0 is the root) by `byte`; 0 when there is none. */
static inline uint32_t pn_trie_step(const struct pn_trie *trie, uint32_t node, unsigned char byte)
{
    if (!node)
        return trie->root[byte];
    uint32_t key = (node << 8 | byte) + 1;
    for (size_t i = pn_trie_hash(trie, key);; i = (i + 1) & trie->mask) {
        if (trie->slots[i].key == key)
            return trie->slots[i].child;
        if (!trie->slots[i].key)
            return 0;
    }
}

#endif
