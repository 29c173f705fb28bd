/* How many prompt tokens fit in a step, learned from the time that steps took.
 *
 * Together with decoding sequences, prompts may make a step almost twice as long as it would be without them, and
 * longer where more prompts wait than sequences decode. Prompts in a step have a fixed cost (keys and values of the
 * past are read once per slice) and a cost per token: without the first, a slow slice of few tokens would mean that the
 * next one is as short, and as slow. A step of only prompts may take a second, so that cancelling one and starting
 * another is quick. */
#ifndef PN_ENGINE_PACE_H
#define PN_ENGINE_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum { PN_PACE_ROWS = 257 };

struct pn_pace {
    double decode[PN_PACE_ROWS]; /* ns of a step of this many sequences and no prompt */
    double alone;                /* ns per prompt token */
    bool guessed;                /* `alone` is from the size of the model */
    double fixed;                /* ns that prompts add to other steps, however few tokens; below 0: unknown */
};

/* Until a step has run, guesses from the size of the model. */
void pn_pace_init(struct pn_pace *pace, uint64_t n_params);
/* The tokens for n_prompts prompts beside n_decode sequences: at least 1 and at most `most`. */
int pn_pace_allowance(const struct pn_pace *pace, int n_decode, int n_prompts, int most);
/* Records that a step of n_decode sequences and n_prompt prompt tokens took `ns`. */
void pn_pace_learn(struct pn_pace *pace, int n_decode, int n_prompt, uint64_t ns);

#endif
