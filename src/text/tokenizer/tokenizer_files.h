/* Tokenizers from separate files: Hugging Face's tokenizer.json and SentencePiece's tokenizer.model. */
#ifndef PN_TEXT_TOKENIZER_TOKENIZER_FILES_H
#define PN_TEXT_TOKENIZER_TOKENIZER_FILES_H

#include "text/tokenizer/tokenizer.h"

/* Sees a vocabulary before the tokenizer is made of it; what it points to is gone afterwards. */
struct pn_vocab_visitor {
    pantry_status (*see)(void *user, const struct pn_vocab *vocab, struct pantry_error *err);
    void *user;
};

/* From the text of a tokenizer.json. `names` is what tokenizer_config.json says; it may be NULL. */
struct pn_token_names {
    const char *bos, *eos, *unk, *pad; /* NULL: not given */
    const int32_t *eog;                /* ids that end a generation, besides eos */
    size_t n_eog;
};
pantry_status pn_tokenizer_from_json(const char *json, size_t len, const struct pn_token_names *names,
                                     const struct pn_vocab_visitor *visitor, struct pn_tokenizer **out,
                                     struct pantry_error *err);

/* From the bytes of a SentencePiece model, which are not needed afterwards. */
pantry_status pn_tokenizer_from_sentencepiece(const char *data, size_t len, const struct pn_vocab_visitor *visitor,
                                              struct pn_tokenizer **out, struct pantry_error *err);

/* From a model's folder: tokenizer.json, with tokenizer_config.json and generation_config.json if they exist, or
 * tokenizer.model. Appends the chat template, if there is one, to `chat_template`, which may be NULL, as may be the
 * visitor here and above. */
pantry_status pn_tokenizer_from_hf(const char *dir, const struct pn_vocab_visitor *visitor, struct pn_tokenizer **out,
                                   struct pn_buf *chat_template, struct pantry_error *err);

#endif
