/* Hash tables of a vocabulary: byte strings to token ids, and pairs of ids to merges.
 *
 * Open addressing in one block each, so that a vocabulary of 150,000 tokens is indexed in milliseconds. The seed
 * differs per run, so a file cannot force collisions; no result depends on it. */
#ifndef PN_TEXT_TOKENIZER_INDEX_H
#define PN_TEXT_TOKENIZER_INDEX_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t pn_hash_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide r = (wide)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

static inline uint64_t pn_hash_bytes(const char *data, size_t len, uint64_t seed)
{
    uint64_t h = seed ^ len * 0x9E3779B97F4A7C15u, word;
    for (; len >= 8; data += 8, len -= 8) {
        memcpy(&word, data, 8);
        h = pn_hash_mix(h ^ word, 0xA0761D6478BD642Fu);
    }
    word = 0;
    if (len >= 4) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + len - 4, 4);
        word = (uint64_t)high << 32 | low;
    } else if (len) {
        word = (uint64_t)(unsigned char)data[0] << 16 | (uint64_t)(unsigned char)data[len / 2] << 8 |
               (unsigned char)data[len - 1];
    }
    return pn_hash_mix(h ^ word, 0xE7037ED1A0B428DBu);
}

/* ---- strings ---- */

/* Strings of up to 7 bytes, which most tokens have, are their own keys: the bytes, and the length on top. Keys of
 * longer ones are a hash with the top bit set, and the strings are compared. Empty strings are not in the table. */
enum { PN_KEY_BYTES = 7 };
#define PN_KEY_IS_HASH ((uint64_t)1 << 63)

struct pn_index {
    struct pn_index_slot {
        uint64_t key; /* 0 is free */
        uint32_t id;
    } * slots;
    size_t mask;
    uint64_t seed;
    const struct pn_str *strings; /* by id */
};

uint64_t pn_hash_seed(void);
/* Room for `n` strings; `strings` is borrowed. False when memory is out. */
bool pn_index_init(struct pn_index *index, const struct pn_str *strings, size_t n);
/* Duplicates are left out: the first string stays. */
void pn_index_add(struct pn_index *index, const int32_t *ids, size_t n);
void pn_index_free(struct pn_index *index);

static inline uint64_t pn_index_key(const struct pn_index *index, const char *data, size_t len)
{
    if (len > PN_KEY_BYTES)
        return pn_hash_bytes(data, len, index->seed) | PN_KEY_IS_HASH;
    if (len >= 4) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + len - 4, 4);
        return (uint64_t)len << 56 | (uint64_t)high << (8 * (len - 4)) | low;
    }
    if (!len)
        return 0;
    return (uint64_t)len << 56 | (uint64_t)(unsigned char)data[len - 1] << (8 * (len - 1)) |
           (uint64_t)(unsigned char)data[len / 2] << (8 * (len / 2)) | (unsigned char)data[0];
}

/* Where the search for a key starts. */
static inline size_t pn_index_place(const struct pn_index *index, uint64_t key)
{
    return (size_t)pn_hash_mix(key ^ index->seed, 0x9E3779B97F4A7C15u) & index->mask;
}

static inline int32_t pn_index_find_key(const struct pn_index *index, const char *data, size_t len, uint64_t key)
{
    for (size_t i = pn_index_place(index, key);; i = (i + 1) & index->mask) {
        const struct pn_index_slot *slot = &index->slots[i];
        if (slot->key == key) {
            const struct pn_str *s = &index->strings[slot->id];
            if (len <= PN_KEY_BYTES ? len > 0 : s->len == len && !memcmp(s->data, data, len))
                return (int32_t)slot->id;
        }
        if (!slot->key)
            return -1;
    }
}

/* -1 when there is none. */
static inline int32_t pn_index_find(const struct pn_index *index, const char *data, size_t len)
{
    return pn_index_find_key(index, data, len, pn_index_key(index, data, len));
}

/* ---- pairs ---- */

/* Merges in the order of their ranks, and a hash table of them. A slot has the merge's number + 1 in the low bits (0:
 * free) and bits of the hash above, so that most pairs that do not merge are rejected without a look at `merges`. */
struct pn_merge {
    int32_t left, right, id;
};

enum { PN_MERGE_BITS = 24, PN_MAX_MERGES = (1 << PN_MERGE_BITS) - 1 };

struct pn_pairs {
    uint32_t *slots;
    size_t mask;
    uint64_t seed;
    struct pn_merge *merges; /* by rank */
    size_t n;
};

/* Room for the merges of ranks below `n`, at most PN_MAX_MERGES. False when memory is out. */
bool pn_pairs_init(struct pn_pairs *pairs, size_t n);
/* A duplicate pair keeps its first rank. */
void pn_pairs_add(struct pn_pairs *pairs, uint32_t rank, struct pn_merge merge);
void pn_pairs_free(struct pn_pairs *pairs);

static inline uint64_t pn_pairs_hash(const struct pn_pairs *pairs, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return pn_hash_mix(key ^ pairs->seed, 0x9E3779B97F4A7C15u);
}

static inline uint32_t pn_pairs_tag(uint64_t hash)
{
    return (uint32_t)(hash >> 32) & ~(uint32_t)PN_MAX_MERGES;
}

/* The rank of the merge of two tokens, UINT32_MAX when there is none. */
static inline uint32_t pn_pairs_find(const struct pn_pairs *pairs, int32_t left, int32_t right)
{
    uint64_t hash = pn_pairs_hash(pairs, left, right);
    uint32_t tag = pn_pairs_tag(hash);
    for (size_t i = hash & pairs->mask; pairs->slots[i]; i = (i + 1) & pairs->mask) {
        uint32_t rank = (pairs->slots[i] & PN_MAX_MERGES) - 1;
        if ((pairs->slots[i] ^ tag) <= PN_MAX_MERGES && pairs->merges[rank].left == left &&
            pairs->merges[rank].right == right)
            return rank;
    }
    return UINT32_MAX;
}

#endif
