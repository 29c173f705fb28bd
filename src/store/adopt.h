/* Files of the user that become blobs: cloned or linked where the file system can, else copied. */
#ifndef PN_STORE_ADOPT_H
#define PN_STORE_ADOPT_H

#include "store/internal.h"

/* Makes a file of any size a blob, unless there is one already; `hex` gets its digest, *bytes its size. Reports
 * progress to the job as PN_FETCH_VERIFY: `done` bytes before this file of `total`. The folder of the blobs must exist.
 * A linked blob is the user's file under a second name: programs replace model files, they do not write into them. */
pantry_status pn_adopt_file(struct pn_job *job, const char *store, const char *path, uint64_t done, uint64_t total,
                            char hex[PN_SHA256_HEX + 1], uint64_t *bytes, struct pantry_error *err);

#endif
