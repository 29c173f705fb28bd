/* Encoders that search for the least weighted squared error; search.c chooses the instruction set.
 *
 * Each takes `n` values (a multiple of the block) and as many weights, or NULL: then all values have the same weight.
 * Weights that are not finite or not positive count as very small ones. */
#ifndef PN_QUANT_SEARCH_H
#define PN_QUANT_SEARCH_H

#include <stddef.h>

typedef void pn_search_fn(const float *values, const float *weights, void *blocks, size_t n);

/* The types whose encoders search. */
/* clang-format off */
#define PN_SEARCHES(X) \
    X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q2_k) X(q3_k) X(q4_k) X(q5_k) \
    X(q6_k) X(iq4_nl) X(iq4_xs) X(iq2_xxs) X(iq2_xs) X(iq2_s) X(iq3_xxs) X(iq3_s) \
    X(iq1_s) X(iq1_m) X(mxfp4) X(nvfp4)
/* clang-format on */

struct pn_search {
#define PN_SEARCH_MEMBER(name) pn_search_fn *name;
    PN_SEARCHES(PN_SEARCH_MEMBER)
#undef PN_SEARCH_MEMBER
};

extern const struct pn_search pn_search_generic;
#if defined(__x86_64__)
extern const struct pn_search pn_search_avx2, pn_search_avx512;
#endif

#endif
