/* What the files of the tokenizer share; everybody else uses tokenizer.h. */
#ifndef PN_TEXT_TOKENIZER_TOKENIZER_IMPL_H
#define PN_TEXT_TOKENIZER_TOKENIZER_IMPL_H

#include "text/tokenizer/bpe.h"
#include "text/tokenizer/pipeline.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/trie.h"

#include <stdatomic.h>

#define PN_SPACE_MARK "\xE2\x96\x81" /* U+2581, a blank in SentencePiece's tokens */

/* Words seen lately and their tokens. Most words have up to 15 bytes and few tokens: they are compared as two numbers,
 * the length on top of the second, two to a cache line. Others have a line each. */
struct pn_short_word {
    uint64_t low, high;
    int32_t ids[3];
    uint32_t n;
};

struct pn_long_word {
    uint8_t len, n;
    char word[30];
    int32_t ids[8];
};

enum { PN_SHORT_WORD_BYTES = 15, PN_MAX_SHORT_WORDS = 1 << 16, PN_LONG_WORDS = 1 << 12 };

struct pn_word_cache {
    struct pn_short_word *words; /* in pairs, the one used last first */
    struct pn_long_word *long_words;
    size_t n; /* short ones: a power of two that grows with the texts */
};

/* What one call of encode works with. Kept in the tokenizer between calls. */
struct pn_encode_state {
    struct pn_bpe_scratch bpe;
    struct pn_split_scratch split;
    struct pn_pipeline_scratch pipeline;
    struct pn_pieces pieces[2];
    struct pn_buf clean, normal[2];
    struct pn_word_cache cache;
    void *path; /* of the Viterbi search */
    size_t path_cap;
};

/* The bytes that special tokens start with. */
struct pn_starts {
    bool at[256];
    unsigned n;
    unsigned char last; /* the only one when n is 1 */
};

struct pn_tokenizer {
    struct pn_vocab v;       /* flags and special ids; its arrays are gone */
    size_t n_vocab, n_table; /* tokens; room in the next two */
    struct pn_str *text;     /* by id: as in the file */
    struct pn_str *piece;    /* by id: as text is compared with it and as it is printed */
    uint8_t *type, *attribute, *eog;
    struct pn_buf bytes;           /* what pieces point into, where they are not the text */
    struct pn_index special_texts; /* control, unknown and byte tokens */
    struct pn_trie special;        /* control, user and unknown tokens, to find in text */
    struct pn_trie normal_special; /* those of them that are found in normalized text */
    struct pn_starts starts[2][2]; /* of these two; user tokens alone, or all */
    struct pn_bpe bpe;             /* BPE, SPM; its index of pieces serves the other kinds too */
    struct pn_trie trie;           /* UNIGRAM, RWKV, PLAMO */
    double *score, unk_score;      /* UNIGRAM */
    int32_t *cost;                 /* PLAMO */
    struct {
        bool used;
        int32_t open, close, unknown;
    } dna;
    char *charsmap;  /* owned copy */
    bool plain[128]; /* SPM, UNIGRAM: ASCII characters that normalizing leaves alone */
    struct pn_split *splits;
    size_t n_splits;
    unsigned pretype_flags;
    bool cut_at_marks;            /* no piece reaches over a blank: words may be merged apart */
    bool joins[256];              /* except behind these bytes */
    char mark[4];                 /* the blank in pieces */
    struct pn_pipeline *pipeline; /* owned; NULL unless from a tokenizer.json */
    struct pn_pipeline *strings;  /* owned */
    int32_t before[PN_MAX_AROUND], after[PN_MAX_AROUND];
    size_t n_before, n_after;
    struct pn_decode_style decode;
    _Atomic(struct pn_encode_state *) spare;
};

/* Whether text may be matched with the token: not those that only the program or byte fallback puts in. */
bool pn_token_is_matched(const struct pn_tokenizer *t, size_t id);
/* Fills the table of pairs, when pieces are indexed. */
pantry_status pn_bpe_read_merges(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err);

/* Appends the tokens of one word, out of the cache where it has been seen lately; `left` >= `len` bytes may be read. */
pantry_status pn_encode_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                             size_t left, struct pn_ids *out, struct pantry_error *err);

/* Models: append the tokens of one word of normalized text, or (_encode) of a whole text. */
pantry_status pn_unigram_init(struct pn_tokenizer *t, const double *scores, struct pantry_error *err);
pantry_status pn_unigram_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                              struct pn_ids *out, struct pantry_error *err);
pantry_status pn_wordpiece_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                                struct pn_ids *out, struct pantry_error *err);
pantry_status pn_wordpiece_encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                                  struct pn_ids *out, struct pantry_error *err);
pantry_status pn_rwkv_init(struct pn_tokenizer *t, struct pantry_error *err);
pantry_status pn_rwkv_encode(const struct pn_tokenizer *t, const char *text, size_t len, struct pn_ids *out,
                             struct pantry_error *err);

pantry_status pn_plamo_init(struct pn_tokenizer *t, const double *scores, struct pantry_error *err);
pantry_status pn_plamo_encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                              struct pn_ids *out, struct pantry_error *err);

/* Appends the tokens of text without special tokens, cut as the pre-type says; and of text with DNA in it. */
pantry_status pn_encode_pieces(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                               struct pn_ids *out, struct pantry_error *err);
pantry_status pn_dna_encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err);
void pn_dna_init(struct pn_tokenizer *t);
/* Whether the file marks a token as letters of DNA; the mark is its last three bytes. */
bool pn_dna_is_marked(const struct pn_str *text);

/* Appends the text as SentencePiece normalizes it: mapped characters, blanks marked, squeezed where the model says so,
 * and one in front with `blank_first`. */
pantry_status pn_sentencepiece_normalize(const struct pn_tokenizer *t, const char *text, size_t len, bool blank_first,
                                         struct pn_buf *out, struct pantry_error *err);

void pn_sentencepiece_find_plain(struct pn_tokenizer *t);

/* Value of a byte token's text, "<0x00>" to "<0xFF>", or -1. */
int pn_byte_token_value(const char *text, size_t len);

/* Finds special ids, end-of-generation tokens and types that files leave out. */
void pn_vocab_find_special(struct pn_tokenizer *t);

#endif
