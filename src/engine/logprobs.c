/* Log probabilities: see logprobs.h. */
#include "engine/logprobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pantry_status pn_logprobs_init(struct pn_logprobs *l, bool wanted, int n_most, int n_vocab, struct pantry_error *err)
{
    *l = (struct pn_logprobs){.n_vocab = n_vocab, .n_most = n_most};
    if (n_most < 0 || n_most > PN_MAX_TOP_LOGPROBS)
        return pn_fail(err, PANTRY_INVALID, "top_logprobs: out of range (found %d, allowed 0..%d)", n_most,
                       PN_MAX_TOP_LOGPROBS);
    if (n_most && !wanted)
        return pn_fail(err, PANTRY_INVALID, "top_logprobs: out of range (found %d, allowed 0 without logprobs)",
                       n_most);
    if (!wanted)
        return PANTRY_OK;
    l->logits = malloc((size_t)n_vocab * sizeof *l->logits);
    return l->logits ? PANTRY_OK : pn_no_memory(err, "log probabilities");
}

void pn_logprobs_free(struct pn_logprobs *l)
{
    free(l->logits);
    l->logits = NULL;
}

void pn_logprobs_keep(struct pn_logprobs *l, const float *logits)
{
    if (l->logits)
        memcpy(l->logits, logits, (size_t)l->n_vocab * sizeof *logits);
}

/* Also for infinite logits: the distance of equal logits is 0. */
static double distance(float logit, float highest)
{
    return logit == highest ? 0 : isnan(logit) ? -INFINITY : (double)logit - (double)highest;
}

/* The ids come in ascending order, so a token goes after those that are equally likely. */
static void insert(struct pn_logprobs *l, int32_t id, float logit)
{
    int at = l->n_top < l->n_most ? l->n_top++ : l->n_most - 1;
    for (; at > 0 && l->top[at - 1].logprob < logit; at--)
        l->top[at] = l->top[at - 1];
    l->top[at] = (struct pantry_logprob){id, logit};
}

/* Stores logits, which pn_logprobs_take turns into log probabilities. */
static void find_top(struct pn_logprobs *l)
{
    l->n_top = 0;
    for (int32_t id = 0; id < l->n_vocab && l->n_most; id++) {
        float logit = l->logits[id];
        if (l->n_top < l->n_most ? logit > -INFINITY : logit > l->top[l->n_top - 1].logprob)
            insert(l, id, logit);
    }
}

void pn_logprobs_take(struct pn_logprobs *l, int32_t id)
{
    float highest = -INFINITY;
    double sum = 0;
    if (!l->logits || id < 0)
        return;
    for (int i = 0; i < l->n_vocab; i++)
        highest = l->logits[i] > highest ? l->logits[i] : highest;
    for (int i = 0; i < l->n_vocab; i++)
        sum += exp(distance(l->logits[i], highest));
    double log_sum = log(sum);
    l->logprob = (float)(distance(l->logits[id], highest) - log_sum);
    find_top(l);
    for (int i = 0; i < l->n_top; i++)
        l->top[i].logprob = (float)(distance(l->top[i].logprob, highest) - log_sum);
}

void pn_logprobs_skip(struct pn_logprobs *l)
{
    l->logprob = 0;
    l->n_top = 0;
}
