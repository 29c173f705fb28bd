/* Embeddings of a request's inputs, for all APIs. */
#ifndef PN_SERVER_API_EMBED_H
#define PN_SERVER_API_EMBED_H

#include "server/json.h"
#include "server/models.h"

struct pn_embed_call {
    int dimensions; /* 0: all */
    bool truncate;  /* inputs that are too long; false: they are an error */
    bool raw;       /* rows are not normalized */
};

/* `input` is a text, a list of texts, or, with OpenAI, token ids or lists of them. The caller frees *out with
 * pantry_embeddings_free. PANTRY_INVALID: it is something else, or there are none. */
pantry_status pn_embed_inputs(const struct pn_loaded *loaded, const json_t *input, const struct pn_embed_call *call,
                              struct pantry_embeddings *out, struct pantry_error *err);
json_t *pn_embed_row(const struct pantry_embeddings *e, size_t row);
/* Tokens of all inputs. */
int pn_embed_n_tokens(const struct pantry_embeddings *e);

#endif
