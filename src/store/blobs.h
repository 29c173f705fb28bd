/* Gets the blobs of a model into the store: those that are missing, each by one process at a time. */
#ifndef PN_STORE_BLOBS_H
#define PN_STORE_BLOBS_H

#include "store/registry.h"

enum { PN_BLOBS_MAX = PN_LAYERS_MAX + 1 }; /* the layers and the configuration */

struct pn_blobs {
    struct pn_job *job;
    struct pn_registry *registry;
    const char *store;
    struct pn_layers layers;
    const char *urls[PN_BLOBS_MAX]; /* per layer; NULL: the registry's blob of that digest */
    /* its own: */
    size_t missing[PN_BLOBS_MAX], n_missing;
    bool damaged[PN_BLOBS_MAX]; /* per layer: it is there with other bytes */
    uint64_t done, total;       /* bytes of the missing ones */
};

/* Are all blobs there, with their sizes? */
bool pn_blobs_are_here(const struct pn_blobs *b);
/* Downloads, checks and publishes what is missing. Needs a lock that keeps the blobs (pn_job_keep). */
pantry_status pn_blobs_get(struct pn_blobs *b, struct pantry_error *err);
/* The last step of a blob whose digest is checked: syncs the file and gives it the blob's name. `part` names its
 * unfinished files, which go. */
pantry_status pn_blobs_publish(const char *store, const char *part, const char *hex, struct pantry_error *err);

#endif
