/* The pace of steps: see pace.h. */
#include "engine/pace.h"

static const double alone_ns = 1e9;           /* budget of a step of prompts only */
static const double least_beside_ns = 2e6;    /* always allowed: too short to notice */
static const double stretch = 0.8;            /* extra time allowed for prompts, relative to the step without them */
static const double most_stretch = 4;         /* ... if more prompts wait than sequences decode */
static const double least_share = 0.25;       /* of the budget, for tokens, however large the fixed cost is */
static const double macs_per_ns = 100;        /* a guess */
enum { LEAST_ALONE = 32, FIRST_BESIDE = 16 }; /* tokens */

void pn_pace_init(struct pn_pace *p, uint64_t n_params)
{
    *p = (struct pn_pace){.alone = (double)n_params / macs_per_ns, .fixed = -1, .guessed = true};
}

/* Steps vary, so the newest one has a weight of a quarter. */
static void blend(double *average, double value)
{
    *average = *average > 0 ? *average + (value - *average) / 4 : value;
}

/* A step that was interrupted must not give prompts more time while it is the newest, so the usual time grows slowly.
 */
static void blend_usual(double *average, double value)
{
    double most = *average * 1.25;
    blend(average, *average > 0 && value > most ? most : value);
}

/* The time of a step of `n` sequences, or of the nearest smaller number seen so far. */
static double decode_ns(const struct pn_pace *p, int n)
{
    while (n > 0 && !(p->decode[n] > 0))
        n--;
    return p->decode[n];
}

/* Time for prompts beside n_decode sequences. */
static double budget_ns(const struct pn_pace *p, int n_decode, int n_prompts)
{
    double relative = stretch * 2 * n_prompts / n_decode;
    relative = relative < stretch ? stretch : relative > most_stretch ? most_stretch : relative;
    double ns = relative * decode_ns(p, n_decode < PN_PACE_ROWS ? n_decode : PN_PACE_ROWS - 1);
    return ns < least_beside_ns ? least_beside_ns : ns;
}

int pn_pace_allowance(const struct pn_pace *p, int n_decode, int n_prompts, int most)
{
    double budget = alone_ns, n;
    int least = n_decode ? 1 : LEAST_ALONE;
    if (n_decode) {
        budget = budget_ns(p, n_decode, n_prompts);
        double left = budget - p->fixed;
        budget = left < least_share * budget ? least_share * budget : left;
    }
    n = (n_decode == 0 || p->fixed >= 0) && p->alone > 0 ? budget / p->alone : (double)FIRST_BESIDE;
    n = n < least ? least : n;
    return n < most ? (int)n : most;
}

static void learn_each(struct pn_pace *p, double ns)
{
    if (p->guessed)
        p->alone = 0;
    p->guessed = false;
    blend(&p->alone, ns);
}

/* If tokens beside sequences cost less than expected, each does; if they cost more, the rest is the fixed cost. */
static void learn_beside(struct pn_pace *p, double extra, int n_prompt)
{
    double rest = extra - p->alone * n_prompt;
    if (p->guessed || rest < 0)
        learn_each(p, extra / n_prompt);
    rest = rest < 0 ? 0 : rest;
    p->fixed = p->fixed < 0 ? rest : p->fixed + (rest - p->fixed) / 4;
}

void pn_pace_learn(struct pn_pace *p, int n_decode, int n_prompt, uint64_t ns)
{
    int i = n_decode < PN_PACE_ROWS ? n_decode : PN_PACE_ROWS - 1;
    if (!n_prompt) {
        blend_usual(&p->decode[i], (double)ns);
    } else if (!n_decode) {
        learn_each(p, (double)ns / n_prompt);
    } else {
        double extra = (double)ns - decode_ns(p, i);
        learn_beside(p, extra > 0 ? extra : (double)ns / 16, n_prompt);
    }
}
