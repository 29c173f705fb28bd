/* The samplers that collect, shorten and change the list of candidates. */
#ifndef PN_ENGINE_TRUNCATE_H
#define PN_ENGINE_TRUNCATE_H

#include "engine/sample.h"

enum pn_draw { PN_DRAW_TOKEN, PN_DRAW_XTC };

/* A number in [0, 1) for this token and purpose, by seed, position and attempt. */
float pn_sampler_random(const struct pn_sampler *s, enum pn_draw purpose);
/* Puts all tokens that are possible into the list. */
void pn_sampler_collect(struct pn_sampler *s);
/* s->p: the probabilities of the candidates, times the sum that is returned. */
double pn_sampler_weigh(struct pn_sampler *s);

pn_sampler_step pn_sample_top_k, pn_sample_top_p, pn_sample_min_p, pn_sample_typical_p, pn_sample_top_n_sigma,
    pn_sample_xtc, pn_sample_temperature, pn_sample_mirostat, pn_sample_adaptive_p;

#endif
