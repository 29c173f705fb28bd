/* The table of chips (chips.def): what is known of a machine that is not at hand. */
#ifndef PN_MONITOR_CHIPS_H
#define PN_MONITOR_CHIPS_H

#include "base/status.h"

#include <stdbool.h>

enum pn_chip_kind { PN_CHIP_APPLE, PN_CHIP_GPU, PN_CHIP_CPU };

struct pn_chip {
    const char *name;
    enum pn_chip_kind kind;
    int n_cores;             /* of the GPU; 0: unknown */
    double nominal, reached; /* bytes per second: of the maker, and while a model decodes ... */
    double layer_seconds;    /* ... and the time per layer and token that does not depend on bytes */
    double operations;       /* per second, while a prompt is read */
    uint64_t most_memory;    /* bytes */
    double error;            /* how far speeds may be off, as a share */
    const char *source;      /* of the speeds */
};

/* Row i; NULL after the last. */
const struct pn_chip *pn_chip_row(size_t i);
/* The chip of a name as people write it ("M4 Max", "apple m4 max 32", "rtx4090"): letters of any case, blanks, hyphens
 * and a maker's name do not matter; a number of GPU cores may follow. PANTRY_NOT_FOUND: a list of all names. */
pantry_status pn_chip_find(const char *name, const struct pn_chip **out, struct pantry_error *err);
/* Memory that models can use, of `total` bytes: on a Mac, what the GPU may wire by default; of a card, all but what its
 * driver takes; of other machines, all but what the system needs. */
uint64_t pn_chip_usable(enum pn_chip_kind kind, uint64_t total);

#endif
