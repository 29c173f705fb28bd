/* Log probabilities of the model's own distribution: the log-softmax of a row of logits before a bias, penalties and
 * other sampling options change it. Allocates only in pn_logprobs_init. */
#ifndef PN_ENGINE_LOGPROBS_H
#define PN_ENGINE_LOGPROBS_H

#include "base/status.h"

#include "pantry.h"

enum { PN_MAX_TOP_LOGPROBS = 20 };

struct pn_logprobs {
    float *logits; /* (n_vocab): the row, unchanged; NULL: log probabilities are off */
    int n_vocab, n_most;

    /* of the last token taken, and up to n_most of the likeliest instead, best first */
    float logprob;
    int n_top;
    struct pantry_logprob top[PN_MAX_TOP_LOGPROBS];
};

/* Without `wanted` the other calls do nothing. */
pantry_status pn_logprobs_init(struct pn_logprobs *l, bool wanted, int n_most, int n_vocab, struct pantry_error *err);
void pn_logprobs_free(struct pn_logprobs *l);
/* Copies the row, before the sampler changes it. */
void pn_logprobs_keep(struct pn_logprobs *l, const float *logits);
/* Records that token `id` was taken from that row (-1: none). NaN counts as probability 0; tokens of probability 0 are
 * not among the likeliest. */
void pn_logprobs_take(struct pn_logprobs *l, int32_t id);
/* Records a token without a row: it was forced. */
void pn_logprobs_skip(struct pn_logprobs *l);

#endif
