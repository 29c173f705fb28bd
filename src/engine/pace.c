/* The pace of steps: see pace.h. */
#include "engine/pace.h"

static const double alone_ns = 1e9;           /* budget of a step of prompts only */
static const double least_beside_ns = 5e6;    /* always allowed: too short to notice */
static const double stretch = 0.8;            /* extra time allowed for prompts, relative to the step without them */
static const double macs_per_ns = 100;        /* a guess */
enum { LEAST_ALONE = 32, FIRST_BESIDE = 16 }; /* tokens */

void pn_pace_init(struct pn_pace *p, uint64_t n_params)
{
    *p = (struct pn_pace){.alone = (double)n_params / macs_per_ns};
}

/* Steps vary, so the newest one has a weight of a quarter. */
static void blend(double *average, double value)
{
    *average = *average > 0 ? *average + (value - *average) / 4 : value;
}

/* The time of a step of `n` sequences, or of the nearest smaller number seen so far. */
static double decode_ns(const struct pn_pace *p, int n)
{
    while (n > 0 && !(p->decode[n] > 0))
        n--;
    return p->decode[n];
}

int pn_pace_allowance(const struct pn_pace *p, int n_decode, int most)
{
    double each = n_decode ? p->beside : p->alone, budget = alone_ns;
    int n = FIRST_BESIDE, least = n_decode ? 1 : LEAST_ALONE;
    if (n_decode) {
        budget = stretch * decode_ns(p, n_decode < PN_PACE_ROWS ? n_decode : PN_PACE_ROWS - 1);
        budget = budget < least_beside_ns ? least_beside_ns : budget;
    }
    if (each > 0)
        n = budget / each < most ? (int)(budget / each) : most;
    n = n < least ? least : n;
    return n < most ? n : most;
}

void pn_pace_learn(struct pn_pace *p, int n_decode, int n_prompt, uint64_t ns)
{
    int i = n_decode < PN_PACE_ROWS ? n_decode : PN_PACE_ROWS - 1;
    if (!n_prompt) {
        blend(&p->decode[i], (double)ns);
    } else if (!n_decode) {
        blend(&p->alone, (double)ns / n_prompt);
    } else {
        double extra = (double)ns - decode_ns(p, i);
        blend(&p->beside, (extra > 0 ? extra : (double)ns / 16) / n_prompt);
    }
}
