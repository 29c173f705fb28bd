/* The encoders that search, by the best instruction set of this machine: see search/search.h. */
#include "tensor/quant/search/search.h"

#include "tensor/quant/quant.h"

static const struct pn_search *searches(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx2"))
        return &pn_search_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &pn_search_avx2;
#endif
    return &pn_search_generic;
}

#define SEARCH(name)                                                                                                   \
    void pn_encode_weighted_##name(const float *src, const float *weights, void *dst, size_t n)                        \
    {                                                                                                                  \
        searches()->name(src, weights, dst, n);                                                                        \
    }
PN_SEARCHES(SEARCH)

/* Types whose encoders always search. The legacy types do so for weights only. */
#define ENCODER(name)                                                                                                  \
    void pn_encode_##name(const float *src, void *dst, size_t n)                                                       \
    {                                                                                                                  \
        searches()->name(src, NULL, dst, n);                                                                           \
    }
ENCODER(q2_k)
ENCODER(q3_k)
ENCODER(q4_k)
ENCODER(q5_k)
ENCODER(q6_k)
ENCODER(iq4_nl)
ENCODER(iq4_xs)
ENCODER(iq2_xxs)
ENCODER(iq2_xs)
ENCODER(iq2_s)
ENCODER(iq3_xxs)
ENCODER(iq3_s)
ENCODER(iq1_s)
ENCODER(iq1_m)
ENCODER(mxfp4)
ENCODER(nvfp4)
