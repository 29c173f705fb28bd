/* The pace of steps: see pace.h. */
#include "engine/pace.h"

static const double alone_ns = 1e9;           /* of a step of prompts alone */
static const double least_beside_ns = 5e6;    /* pauses that nobody notices are always allowed */
static const double stretch = 0.8;            /* of the step's time without prompts, allowed on top of it */
static const double macs_per_ns = 100;        /* a guess */
enum { LEAST_ALONE = 32, FIRST_BESIDE = 16 }; /* tokens */

void pn_pace_init(struct pn_pace *p, uint64_t n_params)
{
    *p = (struct pn_pace){.alone = (double)n_params / macs_per_ns};
}

/* Steps vary: the newest counts a quarter. */
static void blend(double *average, double value)
{
    *average = *average > 0 ? *average + (value - *average) / 4 : value;
}

/* A step of `n` sequences; of the nearest smaller number known where that one was not seen. */
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
