/* Choosing the next token from its logits. The random numbers depend only on the seed and the token's position, so that
 * rewinding, batching and speculation change nothing. Allocates only in the calls that set it up.
 *
 * Samplers run in the order of the options. Those at the beginning that only change logits (penalties, DRY) change the
 * row itself; the first of the others collects the candidates, and later ones change or shorten that list. */
#ifndef PN_ENGINE_SAMPLE_H
#define PN_ENGINE_SAMPLE_H

#include "engine/candidates.h"
#include "engine/dry.h"
#include "grammar/mask.h"

#include "pantry.h"

enum { PN_MAX_SAMPLERS = 16 };

struct pn_sampler;
typedef void pn_sampler_step(struct pn_sampler *s);

/* How mirostat and adaptive-p are doing. */
struct pn_sampler_state {
    float mu;            /* mirostat: the largest surprise, in bits */
    float weight, total; /* adaptive-p: sum of probabilities and of weights */
};

struct pn_sampler {
    struct pantry_sampling options;
    struct pantry_samplers more;
    int n_vocab;
    pn_sampler_step *order[PN_MAX_SAMPLERS];
    int n_order;
    struct pantry_logit_bias *bias; /* (n_bias) */
    size_t n_bias, n_forced;        /* n_forced: infinite ones */
    struct pn_dry dry;
    struct pn_phrases banned;
    struct pn_tail answer; /* its end, if texts are banned */
    int n_prompt;
    struct pn_sampler_state state, next; /* next: if the token that was just drawn is taken */

    /* memory of a call; NULL where no option needs it */
    float *maxima;                           /* of the blocks of the row */
    float *scratch;                          /* (n_vocab) at least as many as blocks */
    struct pn_candidate *candidates, *other; /* (n_vocab) */
    float *p, *first_p;                      /* (n_vocab) */
    uint16_t *n_seen;                        /* (n_vocab), all 0 between calls */

    /* of a call */
    const struct pn_mask *mask; /* NULL: any token may come */
    float *logits;
    const int32_t *recent;
    int n_recent, attempt;
    float highest;  /* of the row, or of the candidates */
    bool collected; /* from then on the list counts, not the row */
    bool sorted;    /* the list is, best first */
    int n;          /* candidates */
};

pantry_status pn_sampler_init(struct pn_sampler *sampler, const struct pantry_sampling *options, int n_vocab,
                              struct pantry_error *err);
/* Copies `bias`. Once per sampler. PANTRY_INVALID: an id or a value is out of range. */
pantry_status pn_sampler_set_bias(struct pn_sampler *sampler, const struct pantry_logit_bias *bias, size_t n,
                                  struct pantry_error *err);
/* For options about texts: what tokens mean (NULL: nothing), where the answer begins, and the most tokens. Once, before
 * the first token. Takes the texts from `options`. */
pantry_status pn_sampler_set_text(struct pn_sampler *sampler, const struct pantry_sampling *options,
                                  const struct pn_tokenizer *tokenizer, int n_prompt, int n_context,
                                  struct pantry_error *err);
void pn_sampler_free(struct pn_sampler *sampler);
/* Whether it always takes the likeliest token, independent of earlier ones. */
bool pn_sampler_is_greedy(const struct pn_sampler *sampler);
/* Chooses a token; changes `logits` (n_vocab). `recent` are all tokens so far, in order: their number is the position.
 * -1 if all logits are NaN. */
int32_t pn_sampler_choose(struct pn_sampler *sampler, float *logits, const int32_t *recent, int n_recent);
/* The same among the tokens of a mask (NULL: all), whose probabilities sum to 1. A token that it allows, even if no
 * logit of these is a number. */
int32_t pn_sampler_choose_from(struct pn_sampler *sampler, const struct pn_mask *mask, float *logits,
                               const int32_t *recent, int n_recent);

#endif
