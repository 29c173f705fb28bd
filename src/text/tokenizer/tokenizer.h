/* Tokenizers: text to token ids and back.
 *
 * A tokenizer is built from a vocabulary that a model file describes (pn_vocab), or from tokenizer.json or a
 * SentencePiece model (tokenizer_files.h). It is immutable afterwards and may be used by any number of threads. Ids and
 * text equal the reference implementations': Hugging Face tokenizers for byte-level BPE and WordPiece, SentencePiece
 * for its two kinds. Bytes that are not UTF-8 count as U+FFFD each, except if tokens are bytes (RWKV). Time is linear
 * in the text (times the logarithm of its longest word); nothing recurses. */
#ifndef PN_TEXT_TOKENIZER_TOKENIZER_H
#define PN_TEXT_TOKENIZER_TOKENIZER_H

#include "base/alloc.h"
#include "base/status.h"
#include "text/tokenizer/index.h"

enum pn_vocab_kind {
    PN_VOCAB_BPE,
    PN_VOCAB_SPM,
    PN_VOCAB_WORDPIECE,
    PN_VOCAB_UNIGRAM,
    PN_VOCAB_RWKV,
    PN_VOCAB_PLAMO, /* PLaMo 2 */
    PN_VOCAB_WORDS  /* whole words only */
};

/* Types of tokens, numbered as in GGUF. */
enum {
    PN_TOKEN_NORMAL = 1,
    PN_TOKEN_UNKNOWN = 2,
    PN_TOKEN_CONTROL = 3,
    PN_TOKEN_USER = 4,
    PN_TOKEN_UNUSED = 5,
    PN_TOKEN_BYTE = 6
};

/* How a control or user token is found in text. */
enum {
    PN_TOKEN_LSTRIP = 1,      /* takes the white space before it */
    PN_TOKEN_RSTRIP = 2,      /* takes the white space after it */
    PN_TOKEN_SINGLE_WORD = 4, /* only between characters that are not part of a word */
    PN_TOKEN_NORMALIZED = 8,  /* found in normalized text */
    PN_TOKEN_ADDED = 16,      /* added to the vocabulary: the model never produces it */
    PN_TOKEN_SCORED = 32,     /* matched by its score in the model, not searched for */
};

struct pn_pipeline; /* steps of a tokenizer.json */

/* -1: none */
struct pn_special_ids {
    int32_t bos, eos, eot, eom, unk, sep, pad, cls, mask;
    int32_t fim_pad, fim_repo, fim_sep; /* of fill-in-the-middle: padding and what starts another repository or file */
};

#define PN_NO_IDS                                                                                                      \
    {                                                                                                                  \
        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1                                                                 \
    }

struct pn_vocab_flags {
    bool add_bos, add_eos;
    bool add_space_prefix;         /* text starts with a blank */
    bool remove_extra_whitespaces; /* runs of blanks count as one, those at the ends as none */
    bool escape_whitespaces;       /* a blank is written U+2581 in tokens */
    bool space_suffix;             /* the blank goes after a word, not before it */
    bool byte_fallback;            /* BPE over characters, SPM, UNIGRAM */
    bool fuse_unk;
    bool lowercase, strip_accents; /* WORDPIECE; BPE that drops white space */
    bool byte_level;               /* BPE over bytes, spelled in GPT-2's alphabet */
    bool dna;                      /* BPE with DNA between tags */
    bool json;                     /* tokenizer.json: PN_TOKEN_ADDED, not the type, says what the model produces */
};

/* Members of a single kind of vocabulary. Strings are borrowed only while the tokenizer is made. */
struct pn_bpe_vocab {
    const struct pn_str *merges; /* "left right", in order; or with merge_pairs left and right alternate */
    size_t n_merges;             /* pairs, either way */
    bool merge_pairs;
    bool ignore_merges; /* a word that is a token is not taken apart */
    const char *pre;    /* GGUF pre-type */
    size_t pre_len;
    const char *prefix, *suffix; /* of symbols inside a word, and of its last one ("</w>"); NULL: nothing */
};

struct pn_spm_vocab {     /* SPM, UNIGRAM */
    const char *charsmap; /* precompiled, as SentencePiece stores it */
    size_t charsmap_len;
};

struct pn_wordpiece_vocab {
    const char *prefix, *first_prefix; /* of pieces inside a word ("##"), and of its first piece; NULL: nothing */
    size_t max_chars;                  /* of a word; 0: no limit */
};

struct pn_vocab {
    enum pn_vocab_kind kind;
    const struct pn_str *tokens; /* by id; the bytes stay borrowed by the tokenizer, the arrays do not */
    size_t n_tokens;
    const double *scores;         /* SPM, UNIGRAM, PLAMO */
    const uint8_t *types;         /* NULL: all normal */
    const uint8_t *attributes;    /* PN_TOKEN_LSTRIP...; NULL: none */
    struct pn_pipeline *pipeline; /* taken over by the tokenizer; NULL: steps follow from kind and pre-type */
    struct pn_pipeline *strings;  /* taken over: memory of the tokens; NULL: they outlive the tokenizer */
    struct pn_special_ids id;
    struct pn_vocab_flags flags;
    union { /* by kind */
        struct pn_bpe_vocab bpe;
        struct pn_spm_vocab spm;
        struct pn_wordpiece_vocab wordpiece;
    };
};

/* A vocabulary without tokens or special ids. */
struct pn_vocab pn_vocab_empty(void);
/* Fills in the defaults for tokenizer.ggml.model and tokenizer.ggml.pre of a GGUF file. PANTRY_UNSUPPORTED: the model
 * has no tokenizer, or a name is unknown. */
pantry_status pn_vocab_init(struct pn_vocab *vocab, const char *model, size_t model_len, const char *pre,
                            size_t pre_len, struct pantry_error *err);

struct pn_ids {
    int32_t *data;
    size_t len, cap;
};

struct pn_tokenizer;

/* Keeps pointers to the bytes of the tokens and copies everything else. Frees what it takes over on failure, too. */
pantry_status pn_tokenizer_new(const struct pn_vocab *vocab, struct pn_tokenizer **out, struct pantry_error *err);
void pn_tokenizer_free(struct pn_tokenizer *t);

enum {
    PN_TOKENIZE_SPECIAL = 1, /* control tokens are recognised in the text; user-defined ones always are */
    PN_TOKENIZE_BOS = 2,     /* add the tokens that the model puts around a text: BOS, EOS, [CLS] and [SEP] */
};

/* Appends the ids of a text to `out`, which the caller frees (data). */
pantry_status pn_tokenizer_encode(const struct pn_tokenizer *t, const char *text, size_t len, unsigned flags,
                                  struct pn_ids *out, struct pantry_error *err);

/* Appends the text of ids; with `special`, control tokens are printed. An id outside the vocabulary is PANTRY_INVALID.
 */
pantry_status pn_tokenizer_decode(const struct pn_tokenizer *t, const int32_t *ids, size_t n, bool special,
                                  struct pn_buf *out, struct pantry_error *err);

/* ---- streaming ---- */

/* The text of tokens as they arrive, in whole characters. All pushes and the flush together append the same text as
 * pn_tokenizer_decode does for all ids. After _new only `out` allocates memory. */
struct pn_detokenizer;

enum {
    PN_DETOKENIZE_SPECIAL = 1,  /* print control tokens */
    PN_DETOKENIZE_CONTINUE = 2, /* text came before, so a blank at the start is kept */
};

pantry_status pn_detokenizer_new(const struct pn_tokenizer *t, unsigned flags, struct pn_detokenizer **out,
                                 struct pantry_error *err);
pantry_status pn_detokenizer_push(struct pn_detokenizer *d, int32_t id, struct pn_buf *out, struct pantry_error *err);
/* Ends the text: an incomplete character becomes U+FFFD. The detokenizer can then be used again. */
void pn_detokenizer_flush(struct pn_detokenizer *d, struct pn_buf *out);
void pn_detokenizer_free(struct pn_detokenizer *d);

/* ---- the vocabulary ---- */

size_t pn_tokenizer_n_vocab(const struct pn_tokenizer *t);
int32_t pn_tokenizer_bos(const struct pn_tokenizer *t); /* -1: none, also below */
int32_t pn_tokenizer_eos(const struct pn_tokenizer *t);
/* The *n ids that the model puts before (or after) a text, borrowed. */
const int32_t *pn_tokenizer_around(const struct pn_tokenizer *t, bool after, size_t *n);
/* Whether generation ends with this token: EOS, the end of a turn or message, and tokens that models use as such. */
bool pn_tokenizer_is_eog(const struct pn_tokenizer *t, int32_t id);
/* PN_TOKEN_...; 0 outside the vocabulary. */
int pn_tokenizer_token_type(const struct pn_tokenizer *t, int32_t id);
/* The token as the file spells it, not NUL-terminated; NULL outside the vocabulary. */
const char *pn_tokenizer_token_text(const struct pn_tokenizer *t, int32_t id, size_t *len);
/* The token with this spelling in the file; -1: none. */
int32_t pn_tokenizer_find(const struct pn_tokenizer *t, const char *text, size_t len);
/* Appends the bytes that a token adds to a text (grammars match on them). Control tokens add nothing. */
pantry_status pn_tokenizer_token_bytes(const struct pn_tokenizer *t, int32_t id, struct pn_buf *out,
                                       struct pantry_error *err);

#endif
