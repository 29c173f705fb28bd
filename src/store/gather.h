/* The files of a model that is being made, on their way to be blobs. They are hashed and copied without the lock of the
 * store, so that no other command waits for that; a note of their digests keeps others from removing them meanwhile. */
#ifndef PN_STORE_GATHER_H
#define PN_STORE_GATHER_H

#include "store/adopt.h"

struct pn_gathered {
    char *path;
    char expected[PN_SHA256_HEX + 1]; /* the digest that it must have, or "" */
    struct pn_adopted file;
};

struct pn_gather {
    struct pn_job *job;
    const char *store;
    struct pn_gathered *data;
    size_t len, cap;
    uint64_t total; /* bytes of all files */
    struct pn_lock note;
};

/* Adds a file, once. `expected` NULL: any digest. */
pantry_status pn_gather_add(struct pn_gather *g, const char *path, const char *expected, struct pantry_error *err);
/* Opens and hashes all. */
pantry_status pn_gather_hash(struct pn_gather *g, struct pantry_error *err);
/* A file that was added; NULL: none. */
const struct pn_adopted *pn_gather_find(const struct pn_gather *g, const char *path);
/* Notes that nobody may remove these blobs and `others`, once. Needs the lock of the store. */
pantry_status pn_gather_note(struct pn_gather *g, const struct pn_digests *others, struct pantry_error *err);
/* Makes all files blobs; waits for downloads of the same ones. */
pantry_status pn_gather_put(struct pn_gather *g, struct pantry_error *err);
/* Ends the note; the files stay open. */
void pn_gather_release(struct pn_gather *g);
void pn_gather_free(struct pn_gather *g);

#endif
