/* All searches, as one table: see search.h. */
#ifndef PN_QUANT_SEARCH_ALL_H
#define PN_QUANT_SEARCH_ALL_H

#include "tensor/quant/search/search.h"

#include "tensor/quant/search/codebook.h"
#include "tensor/quant/search/fp4.h"
#include "tensor/quant/search/scaled.h"

const struct pn_search PN_SEARCH = {
#define PN_SEARCH_ENTRY(name) .name = search_##name,
    PN_SEARCHES(PN_SEARCH_ENTRY)
#undef PN_SEARCH_ENTRY
};

#endif
