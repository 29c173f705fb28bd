/* The inputs of calls that read each text as a whole (embeddings, ranking), as token ids. All inputs are read before
 * the first step runs, so that a bad one is an error before any work is done. */
#ifndef PN_ENGINE_TEXTS_H
#define PN_ENGINE_TEXTS_H

#include "engine/handle.h"

struct pn_text {
    const int32_t *ids;
    int32_t *owned; /* to be freed; NULL: the ids are the caller's */
    int n;
    int second; /* where the second of two texts begins; n: there is only one */
};

struct pn_texts {
    struct pantry_model *model;
    const struct pantry_embed_options *options;
    struct pn_text *text; /* (n) */
    size_t n;
    int max_tokens;
    bool truncated; /* at least one text was cut */
};

/* Checks the options. The model and the options must outlive the texts. */
pantry_status pn_texts_init(struct pn_texts *t, struct pantry_model *model, const struct pantry_embed_options *options,
                            size_t n, struct pantry_error *err);
void pn_texts_free(struct pn_texts *t);
/* Reads one input into text `i`. */
pantry_status pn_texts_read(struct pn_texts *t, size_t i, const struct pantry_input *in, struct pantry_error *err);
/* Reads a query and a document into text `i`, as the model's ranking head expects them. */
pantry_status pn_texts_read_pair(struct pn_texts *t, size_t i, const struct pantry_input *query,
                                 const struct pantry_input *document, struct pantry_error *err);

#endif
