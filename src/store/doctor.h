/* Examining the store: what is wrong in it, where, and what mends it. */
#ifndef PN_STORE_DOCTOR_H
#define PN_STORE_DOCTOR_H

#include "store/store.h"

enum pn_finding_level {
    PN_FINDING_LEFTOVER, /* of something interrupted: harmless, but takes space */
    PN_FINDING_WRONG,
};

struct pn_finding {
    size_t check; /* of pn_store_checks */
    enum pn_finding_level level;
    char *where, *what; /* a path, a sentence */
    char *mend;         /* what to do about it */
    bool fixed;
};

struct pn_diagnosis {
    struct pn_finding *data;
    size_t len, cap;
    char *store;
    size_t n_models, n_blobs;
    uint64_t bytes; /* of the blobs */
    bool busy;      /* another process is changing the store, so unfinished work is not a finding */
};

struct pn_examine_options {
    struct pn_fetch_options fetch; /* progress of hashing (PN_FETCH_VERIFY), cancel */
    bool quick;                    /* compare the sizes of blobs, not their contents */
    bool fix;                      /* do what is safe: nothing of a model is lost */
};

/* Names of the checks, in their order; NULL ends them. */
extern const char *const pn_store_checks[];

/* Looks at everything in the store. A store that does not exist has no findings. Fails only if it cannot look
 * (PANTRY_NO_MEMORY, PANTRY_CANCELLED, no home folder); *out is filled as far as it came. Free it. */
pantry_status pn_store_examine(const struct pn_examine_options *options, struct pn_diagnosis *out,
                               struct pantry_error *err);
void pn_diagnosis_free(struct pn_diagnosis *diagnosis);

#endif
