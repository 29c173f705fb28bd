/* Tokenizers from model files. */
#ifndef PN_ENGINE_GGUF_TOKENIZER_H
#define PN_ENGINE_GGUF_TOKENIZER_H

#include "format/weights.h"
#include "text/tokenizer/tokenizer.h"

/* Makes the tokenizer described by the metadata (tokenizer.ggml.*). It borrows the bytes of its tokens from the
 * weights, which must outlive it. PANTRY_UNSUPPORTED: the model has none, but can still run on ids. */
pantry_status pn_vocab_from_weights(const struct pn_weights *weights, struct pn_tokenizer **out,
                                    struct pantry_error *err);

#endif
