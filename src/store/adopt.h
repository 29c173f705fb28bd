/* Files of the user that become blobs: cloned or linked where the file system can, else copied. */
#ifndef PN_STORE_ADOPT_H
#define PN_STORE_ADOPT_H

#include "store/internal.h"

#include <sys/stat.h>

/* A file that was hashed. It stays open, so that it is known whether it changes before it becomes a blob. */
struct pn_adopted {
    const char *path; /* borrowed */
    int fd;           /* -1: not open */
    struct stat st;   /* before it was hashed */
    char hex[PN_SHA256_HEX + 1];
};

/* Opens and hashes a file of any size, without any lock. Reports progress to the job as PN_FETCH_VERIFY: `done` bytes
 * before this file of `total`. pn_adopt_close must follow, whatever this returns. */
pantry_status pn_adopt_hash(struct pn_job *job, const char *path, uint64_t done, uint64_t total,
                            struct pn_adopted *file, struct pantry_error *err);
/* Makes it a blob, unless there is one already. Needs the lock of the blob; the folder of the blobs must exist. A
 * linked blob is the user's file under a second name: programs replace model files, they do not write into them. */
pantry_status pn_adopt_put(struct pn_job *job, const char *store, const struct pn_adopted *file,
                           struct pantry_error *err);
void pn_adopt_close(struct pn_adopted *file);

#endif
