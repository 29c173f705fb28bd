/* Log probabilities of the model's own distribution: the log-softmax of a row of logits as the model gave it, before a
 * bias, penalties and other sampling options change it. Allocates only when made. */
#ifndef PN_ENGINE_LOGPROBS_H
#define PN_ENGINE_LOGPROBS_H

#include "base/status.h"

#include "pantry.h"

enum { PN_MAX_TOP_LOGPROBS = 20 };

struct pn_logprobs {
    float *logits; /* (n_vocab): the row, unchanged; NULL: nobody asks for log probabilities */
    int n_vocab, n_most;

    /* of the token that was taken last, and the likeliest ones in its place, best first: up to n_most */
    float logprob;
    int n_top;
    struct pantry_logprob top[PN_MAX_TOP_LOGPROBS];
};

/* Without `wanted` the other calls do nothing. */
pantry_status pn_logprobs_init(struct pn_logprobs *l, bool wanted, int n_most, int n_vocab, struct pantry_error *err);
void pn_logprobs_free(struct pn_logprobs *l);
/* Copies the row, before the sampler changes it. */
void pn_logprobs_keep(struct pn_logprobs *l, const float *logits);
/* The token `id` was taken from that row (-1: none). NaN counts as a probability of 0; tokens of probability 0 are not
 * among the likeliest. */
void pn_logprobs_take(struct pn_logprobs *l, int32_t id);

#endif
