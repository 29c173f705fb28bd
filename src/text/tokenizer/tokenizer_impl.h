/* Shared by the files of the tokenizer; other rooms use tokenizer.h. */
#ifndef PN_TEXT_TOKENIZER_TOKENIZER_IMPL_H
#define PN_TEXT_TOKENIZER_TOKENIZER_IMPL_H

#include "text/tokenizer/bpe.h"
#include "text/tokenizer/pipeline.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/trie.h"

#include <stdatomic.h>

#define PN_SPACE_MARK "\xE2\x96\x81" /* U+2581, a blank in SentencePiece's tokens */

/* Recent words and their tokens. Most words have up to 15 bytes and few tokens: they are compared as two numbers, with
 * the length in the top byte of the second, and two share a cache line. Longer words have a line each. */
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
    struct pn_short_word *words; /* in pairs, the most recently used first */
    struct pn_long_word *long_words;
    size_t n; /* short ones: a power of two that grows with the texts */
};

/* The working memory of one call of encode, kept in the tokenizer between calls. */
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

/* ---- the tokens (tokens.c) ---- */

struct pn_tokens {
    size_t n, n_table;    /* tokens; room in the next two */
    struct pn_str *text;  /* by id: as in the file */
    struct pn_str *piece; /* by id: as text is compared with it and as it is printed */
    uint8_t *type, *attribute, *eog;
    struct pn_buf bytes;    /* memory of the pieces that differ from the text */
    struct pn_index pieces; /* tokens that text is matched with, by piece */
    struct pn_index others; /* control, unknown and byte tokens, by text */
    size_t max_piece;       /* bytes of the longest piece that text is matched with */
    int32_t byte_id[256];   /* tokens <0x00> to <0xFF>, -1 where there is none */
};

#define PN_DNA_MARK "\xEE\x80\x80" /* ends the tokens that are letters of DNA */

/* Copies the tokens and indexes them. `spells_bytes`: "<0x00>" is a byte even if its type says otherwise. */
pantry_status pn_tokens_init(struct pn_tokenizer *t, const struct pn_vocab *v, bool spells_bytes,
                             struct pantry_error *err);
void pn_tokens_free(struct pn_tokens *tokens);
/* Whether text may be matched with the token. False for tokens that only the program or byte fallback adds. */
bool pn_token_is_matched(const struct pn_tokenizer *t, size_t id);
/* Value of a byte token's text, "<0x00>" to "<0xFF>", or -1. */
int pn_byte_token_value(const char *text, size_t len);

/* Finds special ids, tokens that end a generation, and types that files leave out (vocabulary.c). */
void pn_vocab_find_special(struct pn_tokenizer *t);

/* ---- special tokens in text (special.c) ---- */

/* The bytes that special tokens start with. */
struct pn_starts {
    bool at[256];
    unsigned n;
    unsigned char last; /* the only one when n is 1 */
};

struct pn_specials {
    struct pn_trie given;          /* control, user and unknown tokens, to find in text as it was given */
    struct pn_trie normal;         /* those that are found in normalized text */
    struct pn_starts starts[2][2]; /* of these two; of user tokens, or of all */
};

struct pn_special_match {
    int32_t id;
    size_t start, end; /* with the white space that the token takes */
};

pantry_status pn_specials_init(struct pn_tokenizer *t, struct pantry_error *err);
/* The first special token from `from` on; false when there is none. `normal`: the text is normalized; `control`: all
 * special tokens count, not only user tokens. */
bool pn_specials_next(const struct pn_tokenizer *t, bool normal, bool control, const char *text, size_t len,
                      size_t from, struct pn_special_match *match);

/* ---- models ---- */

/* A kind of vocabulary. */
struct pn_model_ops {
    /* Makes the model from the description, once the tokens are indexed. May be NULL. */
    pantry_status (*init)(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err);
    void (*ready)(struct pn_tokenizer *t); /* called when special tokens are known; may be NULL */
    void (*free)(struct pn_tokenizer *t);  /* may be NULL */
    /* Replaces a text between special tokens by its normal form, in a buffer of the state. NULL: it stays as it is. */
    pantry_status (*normalize)(const struct pn_tokenizer *t, struct pn_encode_state *s, bool blank_first,
                               const char **text, size_t *len, struct pantry_error *err);
    /* Appends the tokens of a normalized text. NULL: the model knows only words. */
    pantry_status (*encode)(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err);
    /* Appends the tokens of a word. NULL: the model knows only texts. */
    pantry_status (*word)(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                          struct pn_ids *out, struct pantry_error *err);
    struct pn_decode_style decode; /* unless a tokenizer.json says it */
    bool spells_bytes;             /* "<0x00>" is a byte token even if the file gives it another type */
    bool takes_bytes;              /* text need not be UTF-8 */
    bool framed;                   /* [CLS] and [SEP] go around a text, not BOS and EOS */
};

extern const struct pn_model_ops pn_bpe_ops, pn_spm_ops, pn_unigram_ops, pn_wordpiece_ops, pn_rwkv_ops, pn_plamo_ops,
    pn_whole_words_ops;

struct pn_bpe_model {
    struct pn_bpe merge;
    bool whole_words;    /* a word that is a token is not taken apart */
    bool whole_newlines; /* nor is a run of line breaks */
    bool small_letters;  /* text is lowercased */
    struct pn_split *splits;
    size_t n_splits;
    struct {
        bool used;
        int32_t open, close, unknown;
    } dna;
};

/* SentencePiece's normalizer. */
struct pn_spm_normalizer {
    char *charsmap; /* owned */
    size_t charsmap_len;
    bool plain[128]; /* ASCII characters that normalizing leaves alone */
};

struct pn_spm_model {
    struct pn_spm_normalizer normalizer;
    struct pn_bpe merge;
};

struct pn_unigram_model {
    struct pn_spm_normalizer normalizer;
    struct pn_trie trie;
    double *score, unk_score;
};

struct pn_wordpiece_model {
    char prefix[PN_MAX_AFFIX], first_prefix[PN_MAX_AFFIX];
    size_t max_chars; /* of a word; 0: no limit */
};

struct pn_rwkv_model {
    struct pn_trie trie;
};

struct pn_plamo_model {
    struct pn_trie trie;
    int32_t *cost;
};

struct pn_tokenizer {
    const struct pn_model_ops *ops;
    struct pn_tokens tokens;
    struct pn_special_ids id;
    struct pn_vocab_flags flags;
    struct pn_specials special;
    char mark[4];                 /* the blank in pieces */
    bool cut_at_marks;            /* no piece contains a blank after its start, so words are merged separately */
    bool joins[256];              /* except after these bytes */
    struct pn_pipeline *pipeline; /* owned; NULL unless from a tokenizer.json */
    struct pn_pipeline *strings;  /* owned */
    int32_t before[PN_MAX_AROUND], after[PN_MAX_AROUND];
    size_t n_before, n_after;
    struct pn_decode_style decode;
    union { /* by model */
        struct pn_bpe_model bpe;
        struct pn_spm_model spm;
        struct pn_unigram_model unigram;
        struct pn_wordpiece_model wordpiece;
        struct pn_rwkv_model rwkv;
        struct pn_plamo_model plamo;
    };
    _Atomic(struct pn_encode_state *) spare;
};

/* ---- words (words.c) ---- */

/* A state for a text of `len` bytes, NULL when memory is out; given back for the next call. */
struct pn_encode_state *pn_encode_state_take(const struct pn_tokenizer *t, size_t len);
void pn_encode_state_give(const struct pn_tokenizer *t, struct pn_encode_state *s);
void pn_encode_state_free(struct pn_encode_state *s);

/* Finds out whether text may be cut at its blanks. */
void pn_words_find_joins(struct pn_tokenizer *t);
/* Appends the tokens of one word, from the cache if it is recent; `left` >= `len` bytes may be read. */
pantry_status pn_encode_word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *word, size_t len,
                             size_t left, struct pn_ids *out, struct pantry_error *err);
/* Appends the tokens of normalized text, a word at a time where the vocabulary allows it. */
pantry_status pn_encode_cut(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err);
/* Appends the tokens of the pieces that the splits of a byte-pair vocabulary make of a text. */
pantry_status pn_encode_pieces(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                               struct pn_ids *out, struct pantry_error *err);

/* ---- what models share ---- */

/* Fills the table of pairs, when pieces are indexed. */
pantry_status pn_bpe_read_merges(struct pn_tokenizer *t, const struct pn_bpe_vocab *v, struct pantry_error *err);

void pn_dna_init(struct pn_tokenizer *t);
pantry_status pn_dna_encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err);

pantry_status pn_spm_normalizer_init(struct pn_spm_normalizer *m, const struct pn_spm_vocab *v,
                                     struct pantry_error *err);
/* Notes the plain characters, when special tokens are known. */
void pn_spm_normalizer_ready(struct pn_spm_normalizer *m, const struct pn_tokenizer *t);
/* The text as SentencePiece normalizes it, in a buffer of the state: mapped characters, blanks marked, squeezed where
 * the model says so, and one in front with `blank_first`. */
pantry_status pn_spm_normalize(const struct pn_spm_normalizer *m, const struct pn_tokenizer *t,
                               struct pn_encode_state *s, bool blank_first, const char **text, size_t *len,
                               struct pantry_error *err);
/* The text with blanks as the vocabulary has them, in a buffer of the state. */
pantry_status pn_mark_blanks(const struct pn_tokenizer *t, struct pn_encode_state *s, bool blank_first,
                             const char **text, size_t *len, struct pantry_error *err);

#endif
