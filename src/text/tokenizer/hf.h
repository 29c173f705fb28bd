/* Reading a tokenizer.json, in two files: hf.c has the steps around the model, hf_model.c the model and its tokens. */
#ifndef PN_TEXT_TOKENIZER_HF_H
#define PN_TEXT_TOKENIZER_HF_H

#include "text/tokenizer/pipeline.h"
#include "text/tokenizer/tokenizer.h"
#include "text/unicode/unicode.h"

#include <jansson.h>

struct pn_hf {
    json_t *root;
    struct pn_pipeline *p;
    struct pantry_error *err;
    bool bytes_done;  /* a ByteLevel pre-tokenizer was read: later steps work on bytes */
    bool byte_tokens; /* the decoder has byte fallback: <0x00> to <0xFF> are bytes */
    /* the vocabulary */
    struct pn_vocab v;
    struct pn_str *tokens, *merges;
    size_t n_tokens;
    double *scores;
    uint8_t *types, *attributes;
};

/* Normalizers, pre-tokenizers and decoders. */
pantry_status pn_hf_read_before(struct pn_hf *hf);
/* Post-processors, which name ids: after the vocabulary. */
pantry_status pn_hf_read_around(struct pn_hf *hf);

#endif
