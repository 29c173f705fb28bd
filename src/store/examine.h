/* The checks of doctor.c, and what they share (examine.c). */
#ifndef PN_STORE_EXAMINE_H
#define PN_STORE_EXAMINE_H

#include "base/model_files.h"
#include "store/doctor.h"
#include "store/internal.h"

/* A blob that a manifest names. */
struct pn_needed {
    struct pn_digest digest;
    uint64_t bytes;
    char *name; /* of the model */
    bool bad;   /* it is missing or has another size */
};

/* What the checks share. */
struct pn_examination {
    const struct pn_examine_options *options;
    struct pn_diagnosis *out;
    const char *store;
    char *home;   /* pantry's own folder; NULL: there is none */
    size_t check; /* that runs */
    int lock;     /* of the store; -1: another process has it */
    bool no_memory, cancelled;
    bool manifests_unclear; /* one of them cannot be read, so any blob may be in use */
    struct {
        struct pn_needed *data;
        size_t len, cap;
    } needed;
};

/* Adds a finding; `where` and `mend` are copied, the sentence is printf's. Returns it, or NULL without memory. */
struct pn_finding *pn_examine_add(struct pn_examination *x, enum pn_finding_level level, const char *where,
                                  const char *mend, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* May the store be changed: asked for, and nobody else is at work? */
bool pn_examine_may_fix(const struct pn_examination *x);
/* Removes a file of models/blobs, under the lock of its blob. False: somebody is at work on it, or it cannot be
 * removed. */
bool pn_examine_remove_blob(const struct pn_examination *x, const char *name);
/* The entries of a folder of the store; none if it does not exist or cannot be read. Free the names. */
void pn_examine_names(struct pn_examination *x, const char *folder, struct pn_names *names);

/* ---- doctor_files.c ---- */
void pn_examine_layout(struct pn_examination *x);
void pn_examine_permissions(struct pn_examination *x);
void pn_examine_locks(struct pn_examination *x);
void pn_examine_downloads(struct pn_examination *x);

/* ---- doctor_manifests.c ---- */
void pn_examine_manifests(struct pn_examination *x);
void pn_examine_references(struct pn_examination *x);

/* ---- doctor_digests.c ---- */
void pn_examine_digests(struct pn_examination *x);

#endif
