/* A made-up vocabulary for models without real weights. */
#ifndef PN_ENGINE_SYNTHETIC_VOCAB_H
#define PN_ENGINE_SYNTHETIC_VOCAB_H

#include "format/gguf_write.h"

/* Adds a tokenizer of `n` tokens: byte-level BPE with merges of letters, so that any text can be read and written;
 * words of four letters fill it up to `n`. It has a chat template (ChatML). */
pantry_status pn_synthetic_vocab(struct pn_gguf_meta *meta, uint32_t n, struct pantry_error *err);

#endif
