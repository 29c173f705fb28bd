/* Which files of the prefix cache are removed: part of disk_folder.h. */
#ifndef PN_ENGINE_DISK_TRIM_H
#define PN_ENGINE_DISK_TRIM_H

#include "engine/disk_file.h"

#include <stdint.h>

/* Temporary files begin like this. */
#define PN_DISK_TEMPORARY "temporary-"

/* A file of the folder. */
struct pn_disk_entry {
    struct pn_disk_block block; /* as its name says */
    uint64_t bytes;
    int64_t used; /* ns: when it was used last */
    bool orphan;  /* the page before it is missing */
};

/* Sorts files by usefulness, the least useful first: orphans, then by last use. A page is used when anything that
 * follows it is, and what follows goes before it. False: no memory. */
bool pn_disk_rank(struct pn_disk_entry *entries, size_t n);

#endif
