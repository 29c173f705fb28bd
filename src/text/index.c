/* Hash tables of a vocabulary: see index.h. */
#include "text/index.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdlib.h>

uint64_t pn_hash_seed(void)
{
    struct pn_rng rng = {.state = pn_clock_ns() ^ (uint64_t)(uintptr_t)&rng};
    return pn_rng_u64(&rng);
}

/* A power of two that `n` fill to at most three quarters. */
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

bool pn_index_init(struct pn_index *index, const struct pn_view *strings, size_t n)
{
    size_t cap;
    if (n > UINT32_MAX - 1 || !slots_for(n, &cap))
        return false;
    *index = (struct pn_index){.mask = cap - 1, .seed = pn_hash_seed(), .strings = strings};
    index->slots = calloc(cap, sizeof *index->slots);
    return index->slots != NULL;
}

bool pn_index_add(struct pn_index *index, int32_t id)
{
    const struct pn_view *s = &index->strings[id];
    uint64_t hash = pn_hash_bytes(s->data, s->len, index->seed);
    uint32_t tag = (uint32_t)(hash >> 32);
    size_t i = hash & index->mask;
    for (; index->slots[i].id; i = (i + 1) & index->mask) {
        const struct pn_view *other = &index->strings[index->slots[i].id - 1];
        if (index->slots[i].tag == tag && other->len == s->len && !memcmp(other->data, s->data, s->len))
            return false;
    }
    index->slots[i] = (struct pn_index_slot){.tag = tag, .id = (uint32_t)id + 1};
    return true;
}

void pn_index_free(struct pn_index *index)
{
    free(index->slots);
    *index = (struct pn_index){0};
}

bool pn_pairs_init(struct pn_pairs *pairs, size_t n)
{
    size_t cap;
    if (!slots_for(n, &cap))
        return false;
    *pairs = (struct pn_pairs){.mask = cap - 1, .seed = pn_hash_seed()};
    pairs->slots = calloc(cap, sizeof *pairs->slots);
    return pairs->slots != NULL;
}

void pn_pairs_add(struct pn_pairs *pairs, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t key = ((uint64_t)(uint32_t)(left + 1) << 32) | (uint32_t)(right + 1);
    size_t i = pn_pairs_place(pairs, left, right);
    for (; pairs->slots[i].key; i = (i + 1) & pairs->mask)
        if (pairs->slots[i].key == key)
            return;
    pairs->slots[i] = (struct pn_pair_slot){.key = key, .rank = rank, .id = id};
}

void pn_pairs_free(struct pn_pairs *pairs)
{
    free(pairs->slots);
    *pairs = (struct pn_pairs){0};
}
