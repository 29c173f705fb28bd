/* The searches with AVX512, on x86-64 only. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,avx512f"))), apply_to = function)
#else
#pragma GCC target("avx2,avx512f")
#endif
#define VN        16
#define PN_SEARCH pn_search_avx512
#include "tensor/quant/search/all.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int pn_search_avx512_is_for_x86_64;
#endif
