/* Choosing the next token from its logits. The random number depends only on the seed and the token's position, so that
 * rewinding, batching and speculation change nothing. Allocates only in pn_sampler_init. */
#ifndef PN_ENGINE_SAMPLE_H
#define PN_ENGINE_SAMPLE_H

#include "base/status.h"

#include "pantry.h"

struct pn_candidate {
    int32_t id;
    float logit;
};

struct pn_sampler {
    struct pantry_sampling options;
    int n_vocab;
    struct pn_candidate *candidates; /* (n_vocab) */
    float *p;                        /* (n_vocab) */
    uint16_t *n_seen;                /* (n_vocab), all 0 between calls */
    struct pantry_logit_bias *bias;  /* (n_bias) */
    size_t n_bias;
};

pantry_status pn_sampler_init(struct pn_sampler *sampler, const struct pantry_sampling *options, int n_vocab,
                              struct pantry_error *err);
/* Copies `bias`. Once per sampler. PANTRY_INVALID: an id or a value is out of range. */
pantry_status pn_sampler_set_bias(struct pn_sampler *sampler, const struct pantry_logit_bias *bias, size_t n,
                                  struct pantry_error *err);
void pn_sampler_free(struct pn_sampler *sampler);
/* Whether it always takes the likeliest token, independent of earlier ones. */
bool pn_sampler_is_greedy(const struct pn_sampler *sampler);
/* Chooses a token; changes `logits` (n_vocab). `recent` are all tokens so far, in order: their number is the position.
 * Applies bias, penalties, top-k, top-p, min-p, then temperature. -1 if all logits are NaN. */
int32_t pn_sampler_choose(struct pn_sampler *sampler, float *logits, const int32_t *recent, int n_recent);

#endif
