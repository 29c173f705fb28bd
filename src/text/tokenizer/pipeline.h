/* The steps of a tokenizer.json around its model: normalizers, pre-tokenizers, tokens around a text, decoder. */
#ifndef PN_TEXT_TOKENIZER_PIPELINE_H
#define PN_TEXT_TOKENIZER_PIPELINE_H

#include "base/alloc.h"
#include "text/split/pretokenize.h"
#include "text/unicode/normalize.h"

enum pn_normalizer_kind {
    PN_NORMALIZER_FORM,
    PN_NORMALIZER_LOWERCASE,
    PN_NORMALIZER_STRIP,
    PN_NORMALIZER_STRIP_ACCENTS,
    PN_NORMALIZER_REPLACE,
    PN_NORMALIZER_PREPEND,
    PN_NORMALIZER_BERT,
    PN_NORMALIZER_CHARSMAP,
    PN_NORMALIZER_NMT,
    PN_NORMALIZER_BYTES /* GPT-2's byte alphabet */
};

struct pn_normalizer {
    enum pn_normalizer_kind kind;
    enum pn_normal_form form;
    bool left, right; /* STRIP */
    struct pn_bert_options bert;
    struct pn_regex *regex; /* REPLACE: owned; NULL: `from` */
    const char *from, *to;  /* REPLACE, PREPEND */
    size_t from_len, to_len;
    struct pn_charsmap map;
};

enum pn_pre_kind { PN_PRE_SPLIT, PN_PRE_METASPACE, PN_PRE_PREFIX_BLANK };
enum pn_prepend { PN_PREPEND_NEVER, PN_PREPEND_FIRST, PN_PREPEND_ALWAYS };

struct pn_pre_step {
    enum pn_pre_kind kind;
    struct pn_split split;   /* SPLIT, and METASPACE that splits */
    enum pn_prepend prepend; /* METASPACE */
    bool cuts;               /* METASPACE splits */
    char mark[8];            /* METASPACE */
};

/* How ids become text. */
enum pn_decode_kind {
    PN_DECODE_BYTES,     /* byte alphabet: bytes of all tokens are one stream */
    PN_DECODE_SPM,       /* U+2581 is a blank, byte tokens make characters */
    PN_DECODE_WORDPIECE, /* blanks between words, "##" joins */
    PN_DECODE_SUFFIX,    /* a suffix ("</w>") is a blank, except at the end */
    PN_DECODE_WORDS,     /* blanks between tokens */
    PN_DECODE_RAW        /* the tokens' bytes as they are */
};

struct pn_decode_style {
    enum pn_decode_kind kind;
    bool strip_first; /* SPM: drop a blank at the start of the text */
    bool strip_marks; /* SPM: drop all marks of the first token */
    bool cleanup;     /* WORDPIECE: no blank before punctuation */
    char affix[32];   /* WORDPIECE, SUFFIX */
};

enum { PN_MAX_AROUND = 8 };

struct pn_pipeline {
    struct pn_arena arena; /* owns strings, also those of the tokens */
    struct pn_normalizer *norms;
    size_t n_norms, cap_norms;
    struct pn_pre_step *pres;
    size_t n_pres, cap_pres;
    int32_t before[PN_MAX_AROUND], after[PN_MAX_AROUND]; /* ids that the post-processor puts around a text */
    size_t n_before, n_after;
    struct pn_decode_style decode;
};

struct pn_pipeline_scratch {
    struct pn_buf text[2], rewritten[2];
    struct pn_pieces pieces[2];
};

void pn_pipeline_free(struct pn_pipeline *p);
void pn_pipeline_scratch_free(struct pn_pipeline_scratch *s);

/* Returns the normalized text: the given one, or one in a buffer of the scratch that is valid until the next call. */
pantry_status pn_pipeline_normalize(const struct pn_pipeline *p, struct pn_pipeline_scratch *s,
                                    struct pn_split_scratch *m, const char **text, size_t *len,
                                    struct pantry_error *err);
/* Returns the pieces of a normalized text; `first`: it is the start of the input. *out is the text that the pieces
 * refer to. */
pantry_status pn_pipeline_pretokenize(const struct pn_pipeline *p, struct pn_pipeline_scratch *s,
                                      struct pn_split_scratch *m, bool first, const char *text, size_t len,
                                      const char **out, const struct pn_pieces **pieces, struct pantry_error *err);

#endif
