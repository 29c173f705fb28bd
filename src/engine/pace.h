/* How many tokens of prompts a step may carry: learned from how long steps took.
 *
 * Beside sequences that are being written, prompts may make a step almost twice as long as it would be
 * without them; alone they may take a second, so that cancelling one and starting another is quick. */
#ifndef PN_ENGINE_PACE_H
#define PN_ENGINE_PACE_H

#include <stdint.h>

enum { PN_PACE_ROWS = 257 };

struct pn_pace {
    double decode[PN_PACE_ROWS]; /* ns of a step of so many sequences and no prompt */
    double alone, beside;        /* ns per token of a prompt, in steps without and with such sequences */
};

/* Guesses from the size of the model until a step has run. */
void pn_pace_init(struct pn_pace *pace, uint64_t n_params);
/* At least 1 and at most `most`. */
int pn_pace_allowance(const struct pn_pace *pace, int n_decode, int most);
/* A step of n_decode sequences' next tokens and n_prompt tokens of prompts took `ns`. */
void pn_pace_learn(struct pn_pace *pace, int n_decode, int n_prompt, uint64_t ns);

#endif
