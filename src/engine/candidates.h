/* Lists of tokens that may come next: selecting and sorting parts of them. Nothing here allocates. */
#ifndef PN_ENGINE_CANDIDATES_H
#define PN_ENGINE_CANDIDATES_H

#include <stdbool.h>
#include <stdint.h>

struct pn_candidate {
    int32_t id;
    float logit;
};

/* Moves the k best of n to the front, in no order. Higher logits come first, equal ones by id. */
void pn_candidates_select(struct pn_candidate *c, int n, int k);
/* Sorts c[0..n), best first. */
void pn_candidates_sort(struct pn_candidate *c, int n);
/* Makes sure that the best `k` of n are sorted at the front: `done` of them are. Returns how many are sorted now, which
 * is at most n and may be more than k. */
int pn_candidates_sort_front(struct pn_candidate *c, int n, int done, int k);
/* The k-th highest of n values, in any order; changes the order of `values`. */
float pn_kth_highest(float *values, int n, int k);

#endif
