/* Byte tries: see trie.h. */
#include "text/tokenizer/trie.h"

#include "base/alloc.h"
#include "text/tokenizer/index.h"

#include <stdlib.h>
#include <string.h>

pantry_status pn_trie_init(struct pn_trie *trie, struct pantry_error *err)
{
    *trie = (struct pn_trie){.mask = 1023, .n_nodes = 1, .seed = pn_hash_seed()};
    trie->slots = calloc(trie->mask + 1, sizeof *trie->slots);
    if (!trie->slots || !pn_vec_reserve((void **)(void *)&trie->value, &trie->cap, 64, sizeof *trie->value)) {
        pn_trie_free(trie);
        return pn_no_memory(err, "a trie");
    }
    trie->value[0] = -1;
    return PANTRY_OK;
}

void pn_trie_free(struct pn_trie *trie)
{
    free(trie->slots);
    free(trie->value);
    *trie = (struct pn_trie){0};
}

static void place(struct pn_trie *trie, uint32_t key, uint32_t child)
{
    size_t i = pn_trie_hash(trie, key);
    while (trie->slots[i].key)
        i = (i + 1) & trie->mask;
    trie->slots[i] = (struct pn_trie_slot){.key = key, .child = child};
}

static bool grow(struct pn_trie *trie)
{
    size_t old = trie->mask + 1;
    struct pn_trie_slot *slots = trie->slots, *bigger = calloc(old * 2, sizeof *bigger);
    if (!bigger)
        return false;
    trie->slots = bigger;
    trie->mask = old * 2 - 1;
    for (size_t i = 0; i < old; i++)
        if (slots[i].key)
            place(trie, slots[i].key, slots[i].child);
    free(slots);
    return true;
}

pantry_status pn_trie_add(struct pn_trie *trie, const char *bytes, size_t len, int32_t value, struct pantry_error *err)
{
    if (len > PN_TRIE_MAX_LEN)
        return pn_fail(err, PANTRY_LIMIT, "token %d has %zu bytes; at most %d are allowed", value, len,
                       PN_TRIE_MAX_LEN);
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        uint32_t next = pn_trie_step(trie, node, byte);
        if (!next) {
            if (trie->n_nodes >= PN_TRIE_MAX_NODES - 1)
                return pn_fail(err, PANTRY_LIMIT, "the vocabulary is too large: more than %d prefixes",
                               PN_TRIE_MAX_NODES);
            if (trie->n_slots_used * 4 > trie->mask * 2 && !grow(trie))
                return pn_no_memory(err, "the vocabulary");
            if (!pn_vec_reserve((void **)(void *)&trie->value, &trie->cap, trie->n_nodes + 1, sizeof *trie->value))
                return pn_no_memory(err, "the vocabulary");
            next = (uint32_t)trie->n_nodes++;
            trie->value[next] = -1;
            if (node) {
                place(trie, (node << 8 | byte) + 1, next);
                trie->n_slots_used++;
            } else {
                trie->root[byte] = next;
            }
        }
        node = next;
    }
    if (len && trie->value[node] < 0)
        trie->value[node] = value;
    return PANTRY_OK;
}
