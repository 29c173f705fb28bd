/* Reading the merges of a BPE vocabulary into its table of pairs: see bpe.h.
 *
 * A file spells each merge out, so that a quarter of a million of them means half a million look-ups of strings. They
 * run in blocks, each step for the whole block before the next, so that memory for one look-up is fetched while others
 * are computed. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>

enum { BLOCK = 64 };

struct half { /* of a merge */
    const char *data;
    size_t len; /* 0: not a half of a merge */
    uint64_t key;
    int32_t id;
};

struct block {
    struct half half[2 * BLOCK]; /* left and right alternate */
    uint32_t rank[BLOCK];
    int32_t joined[BLOCK];
    size_t n;
    char *room; /* for halves in bytes */
    size_t used, size;
    int32_t guess; /* the token that the last merge made */
};

static void find_halves(const struct pn_tokenizer *t, struct block *b)
{
    const struct pn_index *index = &t->tokens.pieces;
    for (size_t i = 0; i < 2 * b->n; i++) {
        b->half[i].key = pn_index_key(index, b->half[i].data, b->half[i].len);
        __builtin_prefetch(&index->slots[pn_index_place(index, b->half[i].key)]);
    }
    for (size_t i = 0; i < 2 * b->n; i++)
        b->half[i].id = pn_index_find_key(index, b->half[i].data, b->half[i].len, b->half[i].key);
}

/* What the right half adds to the left one: the prefix of pieces inside a word is not repeated. */
static size_t skipped(const struct pn_tokenizer *t, const struct half *right)
{
    size_t prefix = t->bpe.merge.prefix[0] ? strlen(t->bpe.merge.prefix) : 0;
    return prefix < right->len ? prefix : right->len;
}

static bool is_joined(const struct pn_str *piece, const struct half *a, const struct half *b, size_t skip)
{
    return piece->len == a->len + b->len - skip && !memcmp(piece->data, a->data, a->len) &&
           !memcmp(piece->data + a->len, b->data + skip, b->len - skip);
}

/* The token of two joined halves. Files list merges in the order of their tokens, so the guess is usually right. */
static pantry_status find_joined(const struct pn_tokenizer *t, struct block *b, const struct half *left, int32_t *id,
                                 struct pantry_error *err)
{
    const struct half *right = left + 1;
    size_t skip = skipped(t, right), len = left->len + right->len - skip;
    *id = -1;
    if (len > t->tokens.max_piece)
        return PANTRY_OK;
    for (int32_t guess = b->guess; guess <= b->guess + 1 && (size_t)guess < t->tokens.n; guess++)
        if (is_joined(&t->tokens.piece[guess], left, right, skip) && pn_token_is_matched(t, (size_t)guess)) {
            *id = b->guess = guess;
            return PANTRY_OK;
        }
    char room[256], *joined = len <= sizeof room ? room : malloc(len);
    if (!joined)
        return pn_no_memory(err, "the merges of the tokenizer");
    memcpy(joined, left->data, left->len);
    memcpy(joined + left->len, right->data + skip, right->len - skip);
    *id = pn_index_find(&t->tokens.pieces, joined, len);
    if (*id >= 0)
        b->guess = *id;
    if (joined != room)
        free(joined);
    return PANTRY_OK;
}

static pantry_status add_block(struct pn_tokenizer *t, struct block *b, struct pantry_error *err)
{
    find_halves(t, b);
    for (size_t i = 0; i < b->n; i++) {
        const struct half *left = &b->half[2 * i];
        b->joined[i] = -1;
        if (left[0].id < 0 || left[1].id < 0)
            continue;
        pantry_status status = find_joined(t, b, left, &b->joined[i], err);
        if (status)
            return status;
        __builtin_prefetch(&t->bpe.merge.pairs.slots[pn_pairs_hash(&t->bpe.merge.pairs, left[0].id, left[1].id) &
                                                     t->bpe.merge.pairs.mask],
                           1);
    }
    for (size_t i = 0; i < b->n; i++) {
        const struct half *left = &b->half[2 * i];
        if (b->joined[i] < 0)
            continue;
        pn_pairs_add(&t->bpe.merge.pairs, b->rank[i],
                     (struct pn_merge){.left = left[0].id, .right = left[1].id, .id = b->joined[i]});
        if (t->bpe.merge.byte_pairs && left[0].len == 1 && left[1].len == 1) {
            uint32_t *rank =
                &t->bpe.merge.byte_pairs[(size_t)(unsigned char)left[0].data[0] << 8 | (unsigned char)left[1].data[0]];
            *rank = b->rank[i] < *rank ? b->rank[i] : *rank;
        }
    }
    b->n = b->used = 0;
    return PANTRY_OK;
}

/* One half, as bytes if the file spells it in the byte alphabet. */
static struct half read_half(const struct pn_tokenizer *t, struct block *b, const char *text, size_t len)
{
    struct half half = {.data = text, .len = len};
    if (!t->bpe.merge.bytes)
        return half;
    half.data = b->room + b->used;
    if (!pn_bytes_decode(text, len, b->room + b->used, &half.len))
        half.len = 0;
    b->used += half.len;
    return half;
}

static pantry_status init_tables(struct pn_tokenizer *t, const struct pn_bpe_vocab *v, struct block *b,
                                 struct pantry_error *err)
{
    size_t longest = 0;
    if (v->n_merges > PN_MAX_MERGES)
        return pn_fail(err, PANTRY_LIMIT, "the tokenizer has %zu merges; at most %d are allowed", v->n_merges,
                       PN_MAX_MERGES);
    for (size_t i = 0; i < v->n_merges * (v->merge_pairs ? 2 : 1); i++)
        if (v->merges[i].len > longest)
            longest = v->merges[i].len;
    b->size = 2 * longest + 16 * 1024;
    b->room = malloc(b->size);
    if (!b->room || !pn_pairs_init(&t->bpe.merge.pairs, v->n_merges))
        return pn_no_memory(err, "the merges of the tokenizer");
    for (size_t i = 0; i < 256; i++)
        if (!t->bpe.merge.bytes || t->bpe.merge.symbol_id[i] < 0)
            return PANTRY_OK;
    t->bpe.merge.byte_pairs = malloc(PN_BYTE_PAIRS * sizeof *t->bpe.merge.byte_pairs);
    if (!t->bpe.merge.byte_pairs)
        return pn_no_memory(err, "the merges of the tokenizer");
    for (size_t i = 0; i < PN_BYTE_PAIRS; i++)
        t->bpe.merge.byte_pairs[i] = PN_NO_RANK;
    return PANTRY_OK;
}

pantry_status pn_bpe_read_merges(struct pn_tokenizer *t, const struct pn_bpe_vocab *v, struct pantry_error *err)
{
    struct block b = {0};
    pantry_status status = init_tables(t, v, &b, err);
    for (size_t i = 0; i < v->n_merges && !status; i++) {
        const struct pn_str *a = &v->merges[v->merge_pairs ? 2 * i : i];
        size_t left = a->len, right = v->merge_pairs ? a[1].len : 0;
        const char *right_text = v->merge_pairs ? a[1].data : NULL;
        if (!v->merge_pairs) {
            right_text = a->len > 1 ? memchr(a->data + 1, ' ', a->len - 1) : NULL;
            if (!right_text)
                continue; /* a merge without two parts never applies */
            left = (size_t)(right_text - a->data);
            right_text++;
            right = a->len - left - 1;
        }
        if (b.n == BLOCK || b.size - b.used < left + right)
            status = add_block(t, &b, err);
        b.rank[b.n] = (uint32_t)i;
        b.half[2 * b.n] = read_half(t, &b, a->data, left);
        b.half[2 * b.n + 1] = read_half(t, &b, right_text, right);
        b.n++;
    }
    if (!status)
        status = add_block(t, &b, err);
    free(b.room);
    return status;
}
