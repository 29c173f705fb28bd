/* Hash tables of a vocabulary: see index.h. */
#include "text/tokenizer/index.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <stdlib.h>

uint64_t pn_hash_seed(void)
{
    struct pn_rng rng = {.state = pn_clock_ns() ^ (uint64_t)(uintptr_t)&rng};
    return pn_rng_u64(&rng);
}

/* A power of two of which `n` is at most three quarters. */
static bool slots_for(size_t n, size_t *out)
{
    size_t cap = 16;
    while (cap / 4 * 3 < n) {
        if (cap > SIZE_MAX / 64)
            return false;
        cap *= 2;
    }
    *out = cap;
    return true;
}

bool pn_index_init(struct pn_index *index, const struct pn_str *strings, size_t n)
{
    size_t cap;
    if (n > UINT32_MAX - 1 || !slots_for(n, &cap))
        return false;
    *index = (struct pn_index){.mask = cap - 1, .seed = pn_hash_seed(), .strings = strings};
    index->slots = pn_table_new(cap, sizeof *index->slots);
    return index->slots != NULL;
}

static void add(struct pn_index *index, int32_t id, uint64_t key)
{
    const struct pn_str *s = &index->strings[id];
    size_t i = pn_index_place(index, key);
    for (; index->slots[i].key; i = (i + 1) & index->mask) {
        const struct pn_str *other = &index->strings[index->slots[i].id];
        if (index->slots[i].key == key &&
            (s->len <= PN_KEY_BYTES || (other->len == s->len && !memcmp(other->data, s->data, s->len))))
            return;
    }
    index->slots[i] = (struct pn_index_slot){.key = key, .id = (uint32_t)id};
}

void pn_index_add(struct pn_index *index, const int32_t *ids, size_t n)
{
    enum { BLOCK = 32 }; /* prefetched together */
    uint64_t keys[BLOCK];
    for (size_t start = 0; start < n; start += BLOCK) {
        size_t count = n - start < BLOCK ? n - start : BLOCK;
        for (size_t i = 0; i < count; i++) {
            const struct pn_str *s = &index->strings[ids[start + i]];
            keys[i] = pn_index_key(index, s->data, s->len);
            __builtin_prefetch(&index->slots[pn_index_place(index, keys[i])], 1);
        }
        for (size_t i = 0; i < count; i++)
            if (keys[i])
                add(index, ids[start + i], keys[i]);
    }
}

void pn_index_free(struct pn_index *index)
{
    pn_table_free(index->slots, index->mask + 1, sizeof *index->slots);
    *index = (struct pn_index){0};
}

bool pn_pairs_init(struct pn_pairs *pairs, size_t n)
{
    size_t cap;
    if (n > PN_MAX_MERGES || !slots_for(n, &cap))
        return false;
    *pairs = (struct pn_pairs){.mask = cap - 1, .seed = pn_hash_seed(), .n = n};
    pairs->slots = pn_table_new(cap, sizeof *pairs->slots);
    pairs->merges = pn_table_new(n + 1, sizeof *pairs->merges);
    return pairs->slots && pairs->merges;
}

void pn_pairs_add(struct pn_pairs *pairs, uint32_t rank, struct pn_merge merge)
{
    uint64_t hash = pn_pairs_hash(pairs, merge.left, merge.right);
    uint32_t tag = pn_pairs_tag(hash);
    size_t i = hash & pairs->mask;
    for (; pairs->slots[i]; i = (i + 1) & pairs->mask) {
        const struct pn_merge *other = &pairs->merges[(pairs->slots[i] & PN_MAX_MERGES) - 1];
        if ((pairs->slots[i] ^ tag) <= PN_MAX_MERGES && other->left == merge.left && other->right == merge.right)
            return;
    }
    pairs->slots[i] = tag | (rank + 1);
    pairs->merges[rank] = merge;
}

void pn_pairs_free(struct pn_pairs *pairs)
{
    pn_table_free(pairs->slots, pairs->mask + 1, sizeof *pairs->slots);
    pn_table_free(pairs->merges, pairs->n + 1, sizeof *pairs->merges);
    *pairs = (struct pn_pairs){0};
}
