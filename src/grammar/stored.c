/* Masks that are kept: see stored.h. */
#include "grammar/stored.h"

#include <stdlib.h>

void pn_stored_mask_release(struct pn_stored_mask *mask)
{
    if (!mask || atomic_fetch_sub_explicit(&mask->n_users, 1, memory_order_acq_rel) != 1)
        return;
    free(mask->bits);
    free(mask->ids);
    free(mask);
}

struct pn_stored_mask *pn_stored_mask_share(struct pn_stored_mask *mask)
{
    atomic_fetch_add_explicit(&mask->n_users, 1, memory_order_relaxed);
    return mask;
}

size_t pn_stored_mask_bytes(const struct pn_grammar_vocabulary *v, const struct pn_stored_mask *mask)
{
    return sizeof *mask + (mask->bits ? v->n_words * sizeof *mask->bits : 0) +
           (mask->ids ? mask->n_allowed * sizeof *mask->ids : 0);
}
