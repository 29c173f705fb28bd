/* Merging of symbols: byte-pair encoding with a table of merges (GPT-2, Hugging Face), by scores of the joined piece
 * (SentencePiece), or by ids (tiktoken).
 *
 * The best pair merges first, the leftmost among equals. Short words scan an array, long ones use a linked list and a
 * heap: O(n log n), no recursion. */
#ifndef PN_TEXT_TOKENIZER_BPE_H
#define PN_TEXT_TOKENIZER_BPE_H

#include "text/tokenizer/index.h"
#include "text/tokenizer/tokenizer.h"

enum pn_bpe_mode { PN_BPE_MERGES, PN_BPE_PIECES };

#define PN_NO_RANK UINT32_MAX

enum { PN_BYTE_PAIRS = 1 << 16, PN_MAX_AFFIX = 32 };

struct pn_bpe {
    enum pn_bpe_mode mode;
    bool bytes;         /* symbols are bytes, else characters */
    bool byte_fallback; /* an unknown character becomes its bytes */
    bool fuse_unk;      /* neighbouring unknown characters become one token */
    int32_t unk;        /* -1: unknown characters are dropped */
    const struct pn_index *pieces;
    const int32_t *byte_id; /* tokens <0x00> to <0xFF>, -1 where there is none */
    size_t max_piece;       /* bytes of the longest piece */
    struct pn_pairs pairs;  /* MERGES */
    uint32_t *byte_pairs;   /* ranks of merges of two bytes, by left << 8 | right; NULL unless all bytes are tokens */
    uint32_t *rank;         /* PIECES: by id; lower ranks merge first */
    int32_t symbol_id[256]; /* by byte: of any byte with `bytes`, else of an ASCII character */
    char prefix[PN_MAX_AFFIX], suffix[PN_MAX_AFFIX]; /* of symbols inside a word, and of its last one */
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
/* Copies a prefix or suffix of pieces; NULL is none. */
pantry_status pn_copy_affix(char (*to)[PN_MAX_AFFIX], const char *from, struct pantry_error *err);
/* A rank for PN_BPE_PIECES: higher scores come first. */
uint32_t pn_bpe_rank_of_score(float score);

#endif
