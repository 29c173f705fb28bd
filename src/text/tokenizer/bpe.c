/* Merging of symbols: see bpe.h. */
#include "text/tokenizer/bpe.h"

#include "base/alloc.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 40 /* symbols */, NONE = -1 };

struct pn_bpe_symbol {
    int32_t id;          /* -1: not a token by itself */
    uint32_t start, end; /* its bytes in the word */
    uint32_t rank;       /* of the pair with its right neighbour */
    int32_t merged;      /* what the pair becomes */
    int32_t prev, next;  /* long words only; next is -2 for symbols that were merged away */
};

void pn_bpe_free(struct pn_bpe *bpe)
{
    pn_pairs_free(&bpe->pairs);
    free(bpe->rank);
    free(bpe->byte_pairs);
    *bpe = (struct pn_bpe){0};
}

void pn_bpe_scratch_free(struct pn_bpe_scratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (struct pn_bpe_scratch){0};
}

pantry_status pn_copy_affix(char (*to)[PN_MAX_AFFIX], const char *from, struct pantry_error *err)
{
    if (!from)
        return PANTRY_OK;
    if (strlen(from) >= sizeof *to)
        return pn_fail(err, PANTRY_LIMIT, "a prefix or suffix of pieces has %zu bytes; at most %zu are allowed",
                       strlen(from), sizeof *to - 1);
    memcpy(*to, from, strlen(from) + 1);
    return PANTRY_OK;
}

uint32_t pn_bpe_rank_of_score(float score)
{
    uint32_t u;
    memcpy(&u, &score, sizeof u);
    if (u == 0x80000000u)
        u = 0;                                  /* -0 equals 0 */
    u = u & 0x80000000u ? ~u : u | 0x80000000u; /* now ordered as the floats are */
    u = ~u;
    return u == PN_NO_RANK ? PN_NO_RANK - 1 : u;
}

/* ---- symbols ---- */

/* Looks a character up, with the prefix and suffix that pieces inside and at the end of a word have. */
static int32_t find_affixed(const struct pn_bpe *bpe, const char *c, unsigned n, bool first, bool last)
{
    char piece[80];
    size_t len = 0;
    if (!first) {
        len = strlen(bpe->prefix);
        memcpy(piece, bpe->prefix, len);
    }
    memcpy(piece + len, c, n);
    len += n;
    if (last) {
        size_t m = strlen(bpe->suffix);
        memcpy(piece + len, bpe->suffix, m);
        len += m;
    }
    return pn_index_find(bpe->pieces, piece, len);
}

static inline struct pn_bpe_symbol symbol(int32_t id, size_t start, size_t end)
{
    return (struct pn_bpe_symbol){.id = id, .start = (uint32_t)start, .end = (uint32_t)end, .rank = PN_NO_RANK};
}

static size_t split_bytes(const struct pn_bpe *bpe, const char *word, size_t len, struct pn_bpe_symbol *s)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = bpe->symbol_id[(unsigned char)word[i]];
        if (id < 0)
            id = bpe->unk;
        if (id >= 0)
            s[n++] = symbol(id, i, i + 1);
    }
    return n;
}

static bool has_byte_tokens(const struct pn_bpe *bpe, const char *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (bpe->byte_id[(unsigned char)c[i]] < 0)
            return false;
    return true;
}

static size_t split_chars(const struct pn_bpe *bpe, const char *word, size_t len, struct pn_bpe_symbol *s)
{
    bool affixes = bpe->prefix[0] || bpe->suffix[0];
    struct pn_bpe_symbol unknown = {
        .id = -1}; /* emitted before the next character that is a token, as in the reference */
    size_t n = 0;
    for (size_t i = 0, end; i < len; i = end) {
        unsigned bytes = pn_utf8_len((unsigned char)word[i]);
        end = i + bytes < len ? i + bytes : len;
        bytes = (unsigned)(end - i);
        int32_t id = affixes      ? find_affixed(bpe, word + i, bytes, i == 0, end == len)
                     : bytes == 1 ? bpe->symbol_id[(unsigned char)word[i]]
                                  : pn_index_find(bpe->pieces, word + i, bytes);
        if (id >= 0 || bpe->mode == PN_BPE_PIECES) {
            if (unknown.id >= 0)
                s[n++] = unknown;
            unknown.id = -1;
            s[n++] = symbol(id, i, end);
        } else if (bpe->byte_fallback && has_byte_tokens(bpe, word + i, bytes)) {
            for (unsigned k = 0; k < bytes; k++)
                s[n++] = symbol(bpe->byte_id[(unsigned char)word[i + k]], i + k, i + k + 1);
        } else if (bpe->unk >= 0) {
            if (unknown.id >= 0 && !bpe->fuse_unk)
                s[n++] = unknown;
            unknown = symbol(bpe->unk, i, end);
        }
    }
    if (unknown.id >= 0)
        s[n++] = unknown;
    return n;
}

/* ---- merging ---- */

static inline void look_at_pair(const struct pn_bpe *bpe, const char *word, struct pn_bpe_symbol *left,
                                const struct pn_bpe_symbol *right)
{
    left->rank = PN_NO_RANK;
    if (bpe->mode == PN_BPE_MERGES) {
        left->rank = pn_pairs_find(&bpe->pairs, left->id, right->id);
        if (left->rank != PN_NO_RANK)
            left->merged = bpe->pairs.merges[left->rank].id;
    } else if (right->end - left->start <= bpe->max_piece) {
        int32_t id = pn_index_find(bpe->pieces, word + left->start, right->end - left->start);
        if (id >= 0) {
            left->rank = bpe->rank[id];
            left->merged = id;
        }
    }
}

static size_t merge_short(const struct pn_bpe *bpe, const char *word, struct pn_bpe_symbol *s, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        look_at_pair(bpe, word, &s[i], &s[i + 1]);
    for (;;) {
        size_t best = 0;
        uint32_t rank = PN_NO_RANK;
        for (size_t i = 0; i + 1 < n; i++)
            if (s[i].rank < rank) {
                rank = s[i].rank;
                best = i;
            }
        if (rank == PN_NO_RANK)
            return n;
        s[best].id = s[best].merged;
        s[best].end = s[best + 1].end;
        n--;
        memmove(&s[best + 1], &s[best + 2], (n - best - 1) * sizeof *s);
        if (best + 1 < n)
            look_at_pair(bpe, word, &s[best], &s[best + 1]);
        if (best > 0)
            look_at_pair(bpe, word, &s[best - 1], &s[best]);
    }
}

/* The same for a word of bytes when there is a table of byte pairs: on ids alone, in place. */
static size_t merge_bytes(const struct pn_bpe *bpe, const char *word, size_t n, int32_t *ids)
{
    uint32_t rank[SHORT_WORD];
    for (size_t i = 0; i < n; i++)
        ids[i] = bpe->symbol_id[(unsigned char)word[i]];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = bpe->byte_pairs[(size_t)(unsigned char)word[i] << 8 | (unsigned char)word[i + 1]];
    while (n > 1) {
        size_t best = 0;
        uint32_t lowest = PN_NO_RANK;
        for (size_t i = 0; i + 1 < n; i++) {
            best = rank[i] < lowest ? i : best;
            lowest = rank[i] < lowest ? rank[i] : lowest;
        }
        if (lowest == PN_NO_RANK)
            break;
        ids[best] = bpe->pairs.merges[lowest].id;
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            rank[i - 1] = rank[i];
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++)
            rank[i] = pn_pairs_find(&bpe->pairs, ids[i], ids[i + 1]);
    }
    return n;
}

/* The heap keeps rank and place of a pair in one number, the smallest on top; nodes have four children. An entry is
 * stale when the rank at its place has changed. */
static void heap_push(uint64_t *heap, size_t *n, uint64_t entry)
{
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 4] > entry; i = (i - 1) / 4)
        heap[i] = heap[(i - 1) / 4];
    heap[i] = entry;
}

static void heap_sift_down(uint64_t *heap, size_t n, size_t i, uint64_t entry)
{
    for (;;) {
        size_t child = i * 4 + 1, best = child;
        if (child >= n)
            break;
        for (size_t k = child + 1; k < n && k < child + 4; k++)
            if (heap[k] < heap[best])
                best = k;
        if (heap[best] >= entry)
            break;
        heap[i] = heap[best];
        i = best;
    }
    heap[i] = entry;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0];
    --*n;
    if (*n)
        heap_sift_down(heap, *n, 0, heap[*n]);
    return top;
}

static inline uint64_t heap_entry(const struct pn_bpe_symbol *s, int32_t i)
{
    return (uint64_t)s[i].rank << 32 | (uint32_t)i;
}

/* `heap` has room for three entries per symbol: one per initial pair, two per merge. */
static size_t merge_long(const struct pn_bpe *bpe, const char *word, struct pn_bpe_symbol *s, size_t n, uint64_t *heap)
{
    size_t in_heap = 0;
    for (size_t i = 0; i < n; i++) {
        s[i].prev = (int32_t)i - 1;
        s[i].next = i + 1 < n ? (int32_t)i + 1 : NONE;
        if (i + 1 < n) {
            look_at_pair(bpe, word, &s[i], &s[i + 1]);
            if (s[i].rank != PN_NO_RANK)
                heap[in_heap++] = heap_entry(s, (int32_t)i);
        }
    }
    for (size_t i = in_heap / 4 + 1; i-- > 0;)
        if (i < in_heap)
            heap_sift_down(heap, in_heap, i, heap[i]);
    while (in_heap) {
        uint64_t entry = heap_pop(heap, &in_heap);
        int32_t i = (int32_t)(uint32_t)entry;
        if (s[i].next < 0 || s[i].rank != (uint32_t)(entry >> 32))
            continue;
        struct pn_bpe_symbol *right = &s[s[i].next];
        s[i].id = s[i].merged;
        s[i].end = right->end;
        s[i].next = right->next;
        s[i].rank = PN_NO_RANK;
        right->next = -2;
        if (s[i].next >= 0) {
            s[s[i].next].prev = i;
            look_at_pair(bpe, word, &s[i], &s[s[i].next]);
            if (s[i].rank != PN_NO_RANK)
                heap_push(heap, &in_heap, heap_entry(s, i));
        }
        int32_t before = s[i].prev;
        if (before >= 0) {
            look_at_pair(bpe, word, &s[before], &s[i]);
            if (s[before].rank != PN_NO_RANK)
                heap_push(heap, &in_heap, heap_entry(s, before));
        }
    }
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (s[i].next != -2)
            s[left++] = s[i];
    return left;
}

/* ---- words ---- */

static bool put_unknown(const struct pn_bpe *bpe, const char *word, const struct pn_bpe_symbol *s, bool after_unk,
                        bool *is_unk, struct pn_ids *out)
{
    *is_unk = false;
    if (bpe->byte_fallback && has_byte_tokens(bpe, word + s->start, s->end - s->start)) {
        for (uint32_t k = s->start; k < s->end; k++)
            if (!pn_vec_push(out, bpe->byte_id[(unsigned char)word[k]]))
                return false;
        return true;
    }
    *is_unk = true;
    return bpe->unk < 0 || (after_unk && bpe->fuse_unk) || pn_vec_push(out, bpe->unk);
}

pantry_status pn_bpe_encode(const struct pn_bpe *bpe, struct pn_bpe_scratch *scratch, const char *word, size_t len,
                            struct pn_ids *out, struct pantry_error *err)
{
    if (len >= INT32_MAX)
        return pn_fail(err, PANTRY_LIMIT, "a word of %zu bytes", len);
    if (bpe->byte_pairs && len <= SHORT_WORD) {
        if (!pn_vec_reserve((void **)(void *)&out->data, &out->cap, out->len + len, sizeof *out->data))
            return pn_no_memory(err, "tokenizing");
        out->len += merge_bytes(bpe, word, len, out->data + out->len);
        return PANTRY_OK;
    }
    if (!pn_vec_reserve((void **)(void *)&scratch->symbols, &scratch->cap, len, sizeof *scratch->symbols))
        return pn_no_memory(err, "tokenizing");
    struct pn_bpe_symbol *s = scratch->symbols;
    size_t n = bpe->bytes ? split_bytes(bpe, word, len, s) : split_chars(bpe, word, len, s);
    if (n <= SHORT_WORD) {
        n = merge_short(bpe, word, s, n);
    } else {
        if (!pn_vec_reserve((void **)(void *)&scratch->heap, &scratch->heap_cap, 3 * n, sizeof *scratch->heap))
            return pn_no_memory(err, "tokenizing");
        n = merge_long(bpe, word, s, n, scratch->heap);
    }
    if (!pn_vec_reserve((void **)(void *)&out->data, &out->cap, out->len + n, sizeof *out->data))
        return pn_no_memory(err, "tokenizing");
    bool after_unk = false;
    for (size_t i = 0; i < n; i++) {
        if (s[i].id >= 0) {
            if (!pn_vec_push(out, s[i].id))
                return pn_no_memory(err, "tokenizing");
            after_unk = false;
        } else if (!put_unknown(bpe, word, &s[i], after_unk, &after_unk, out)) {
            return pn_no_memory(err, "tokenizing");
        }
    }
    return PANTRY_OK;
}
