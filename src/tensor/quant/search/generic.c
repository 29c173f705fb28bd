/* The searches with the compiler's own instruction set: SSE2 or NEON. */
#define VN        4
#define PN_SEARCH pn_search_generic
#include "tensor/quant/search/all.h"
