/* A mask of tokens that is kept, by several users at once. */
#ifndef PN_GRAMMAR_STORED_H
#define PN_GRAMMAR_STORED_H

#include "grammar/vocabulary_impl.h"

struct pn_stored_mask {
    atomic_int n_users;
    size_t n_allowed;
    uint64_t *bits; /* (n_words); NULL where few tokens are allowed: then */
    int32_t *ids;   /* (n_allowed), ascending */
};

struct pn_stored_mask *pn_stored_mask_share(struct pn_stored_mask *mask);
void pn_stored_mask_release(struct pn_stored_mask *mask);
size_t pn_stored_mask_bytes(const struct pn_grammar_vocabulary *vocabulary, const struct pn_stored_mask *mask);

#endif
