/* A vocabulary of whole words (WordLevel). It has nothing to set up, and is used only with the steps of a
 * tokenizer.json. */
#include "text/tokenizer/tokenizer_impl.h"

static pantry_status word(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                          struct pn_ids *out, struct pantry_error *err)
{
    (void)s;
    int32_t id = pn_index_find(&t->tokens.pieces, text, len);
    if (id < 0)
        id = t->id.unk;
    if (id < 0)
        return pn_fail(err, PANTRY_INVALID, "the vocabulary has neither the word \"%.*s\" nor one for unknown words",
                       len > 64 ? 64 : (int)len, text);
    return pn_vec_push(out, id) ? PANTRY_OK : pn_no_memory(err, "tokenizing");
}

const struct pn_model_ops pn_whole_words_ops = {.word = word, .decode = {.kind = PN_DECODE_SPM}};
