/* Merging of symbols: byte-pair encoding with a table of merges (GPT-2, Hugging Face), by scores of the joined piece
 * (SentencePiece), or by ids (tiktoken).
 *
 * Always the best pair first, of equal ones the leftmost. Short words scan an array, long ones use a linked list and a
 * heap: O(n log n), no recursion. */
#ifndef PN_TEXT_TOKENIZER_BPE_H
#define PN_TEXT_TOKENIZER_BPE_H

#include "text/tokenizer/index.h"
#include "text/tokenizer/tokenizer.h"

enum pn_bpe_mode { PN_BPE_MERGES, PN_BPE_PIECES };

#define PN_NO_RANK UINT32_MAX

enum { PN_BYTE_PAIRS = 1 << 16 };

struct pn_bpe {
    enum pn_bpe_mode mode;
    bool bytes;         /* symbols are bytes, else characters */
    bool ignore_merges; /* a word that is a piece is not taken apart */
    bool byte_fallback; /* an unknown character becomes its bytes */
    bool fuse_unk;      /* neighbouring unknown characters become one token */
    int32_t unk;        /* -1: unknown characters are dropped */
    struct pn_index pieces;
    struct pn_pairs pairs;  /* MERGES */
    uint32_t *byte_pairs;   /* ranks of merges of two bytes, by left << 8 | right; NULL unless all bytes are tokens */
    uint32_t *rank;         /* PIECES: by id, the lower the earlier */
    size_t max_piece;       /* bytes of the longest piece */
    int32_t symbol_id[256]; /* of one byte: with `bytes` of any, else of an ASCII character */
    int32_t byte_id[256];   /* tokens <0x00> to <0xFF>, -1 where there is none */
    char prefix[32], suffix[32]; /* of symbols inside a word, and of the last one: continuing_subword_prefix, ... */
};

struct pn_bpe_scratch {
    struct pn_bpe_symbol *symbols;
    size_t cap;
    uint64_t *heap;
    size_t heap_cap;
};

void pn_bpe_free(struct pn_bpe *bpe);
void pn_bpe_scratch_free(struct pn_bpe_scratch *scratch);
/* Appends the tokens of one word. */
pantry_status pn_bpe_encode(const struct pn_bpe *bpe, struct pn_bpe_scratch *scratch, const char *word, size_t len,
                            struct pn_ids *out, struct pantry_error *err);
/* A rank for PN_BPE_PIECES: higher scores come first. */
uint32_t pn_bpe_rank_of_score(float score);

#endif
