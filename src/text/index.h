/* Hash tables of a vocabulary: byte strings to token ids, and pairs of ids to merges.
 *
 * Open addressing in one block each, so that a vocabulary of 150,000 tokens is indexed in milliseconds. The seed
 * differs from run to run, so a file cannot be made to collide; nothing that is computed depends on it. */
#ifndef PN_TEXT_INDEX_H
#define PN_TEXT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct pn_view { /* borrowed bytes */
    const char *data;
    uint32_t len;
};

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

struct pn_index {
    struct pn_index_slot {
        uint32_t tag, id; /* id + 1; 0 is free */
    } * slots;
    size_t mask;
    uint64_t seed;
    const struct pn_view *strings; /* by id */
};

uint64_t pn_hash_seed(void);
/* Room for `n` strings; `strings` is borrowed. False when memory is out. */
bool pn_index_init(struct pn_index *index, const struct pn_view *strings, size_t n);
/* False when an equal string is there: the first one stays. */
bool pn_index_add(struct pn_index *index, int32_t id);
void pn_index_free(struct pn_index *index);

static inline int32_t pn_index_find_hashed(const struct pn_index *index, const char *data, size_t len, uint64_t hash)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    for (size_t i = hash & index->mask;; i = (i + 1) & index->mask) {
        const struct pn_index_slot *slot = &index->slots[i];
        if (!slot->id)
            return -1;
        if (slot->tag == tag) {
            const struct pn_view *s = &index->strings[slot->id - 1];
            if (s->len == len && !memcmp(s->data, data, len))
                return (int32_t)(slot->id - 1);
        }
    }
}

/* -1 when there is none. */
static inline int32_t pn_index_find(const struct pn_index *index, const char *data, size_t len)
{
    return pn_index_find_hashed(index, data, len, pn_hash_bytes(data, len, index->seed));
}

/* ---- pairs ---- */

struct pn_pairs {
    struct pn_pair_slot {
        uint64_t key; /* left id + 1 in the high half, right id + 1 in the low; 0 is free */
        uint32_t rank;
        int32_t id; /* of the merged token */
    } * slots;
    size_t mask;
    uint64_t seed;
};

bool pn_pairs_init(struct pn_pairs *pairs, size_t n);
/* A pair that is there keeps its first rank. */
void pn_pairs_add(struct pn_pairs *pairs, int32_t left, int32_t right, uint32_t rank, int32_t id);
void pn_pairs_free(struct pn_pairs *pairs);

/* Where the search for a pair starts. */
static inline size_t pn_pairs_place(const struct pn_pairs *pairs, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)(left + 1) << 32) | (uint32_t)(right + 1);
    return pn_hash_mix(key ^ pairs->seed, 0x9E3779B97F4A7C15u) & pairs->mask;
}

static inline const struct pn_pair_slot *pn_pairs_find(const struct pn_pairs *pairs, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)(left + 1) << 32) | (uint32_t)(right + 1);
    for (size_t i = pn_pairs_place(pairs, left, right);; i = (i + 1) & pairs->mask) {
        if (pairs->slots[i].key == key)
            return &pairs->slots[i];
        if (!pairs->slots[i].key)
            return NULL;
    }
}

#endif
