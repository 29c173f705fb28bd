/* The probabilities of texts that may follow a prompt, token by token.
 *
 * The texts of a prompt form a tree: a node is a beginning that some of them share, an edge the token after it. One
 * request per node reads the likeliest tokens there, further ones the tokens that are not among them. All requests of
 * a prompt share its pages, and run together. */
#ifndef PN_ENGINE_CHOOSE_H
#define PN_ENGINE_CHOOSE_H

#include "pantry.h"

struct pn_label {
    int32_t *ids; /* (n_ids) */
    size_t n_ids;
    double logprob; /* out: of exactly these tokens, and of the end where a longer label begins with them */
};

struct pn_choosing {
    const int32_t *ids; /* the prompt (n_ids) */
    size_t n_ids;
    struct pn_label *labels;
    size_t n_labels;
    int n_cached; /* out: tokens of the prompt that were in memory */
};

struct pn_choose_options {
    const char *cache_key;
    const pantry_cancel *cancel;
    const int32_t *ends; /* (n_ends) tokens that end an answer */
    size_t n_ends;
};

/* Fills all labels of all prompts. PANTRY_INVALID: a label has no tokens, or two have the same. */
pantry_status pn_choose(pantry_model *model, struct pn_choosing *list, size_t n,
                        const struct pn_choose_options *options, struct pantry_error *err);

#endif
