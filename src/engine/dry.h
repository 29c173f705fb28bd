/* DRY: makes tokens less likely that would go on repeating a sequence (p-e-w, 2024). */
#ifndef PN_ENGINE_DRY_H
#define PN_ENGINE_DRY_H

#include "engine/tail.h"

struct pn_dry_options {
    float multiplier, base;
    int allowed_length, last_n; /* last_n -1: all */
};

struct pn_dry {
    struct pn_dry_options options;
    struct pn_phrases breakers;
    struct pn_tail tail; /* of all tokens */
    int last_break;      /* tokens up to the last one in which a breaker ends */
    int32_t *lengths;    /* (n_context): of the suffix that each place repeats */
    int32_t *repeats;    /* (n_vocab): the longest repetition that a token would go on; 0 between calls */
    int32_t *tokens;     /* (n_context): those with repetitions, n_tokens */
    int n_tokens, n_context, n_vocab;
};

/* `tokenizer` NULL: nothing breaks a repetition. */
pantry_status pn_dry_init(struct pn_dry *dry, const struct pn_dry_options *options, const char *const *breakers,
                          size_t n_breakers, const struct pn_tokenizer *tokenizer, int n_vocab, int n_context,
                          struct pantry_error *err);
void pn_dry_free(struct pn_dry *dry);
/* Finds what the tokens so far repeat. Calls for one sequence come in order, with all of its tokens. */
void pn_dry_find(struct pn_dry *dry, const int32_t *ids, int n);
/* What a token's logit loses: 0 for most. */
float pn_dry_penalty(const struct pn_dry *dry, int32_t id);
/* Forgets what was found. */
void pn_dry_clear(struct pn_dry *dry);

#endif
