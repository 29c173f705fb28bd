/* The two files of an unfinished blob: its data, and what is there of each part.
 *
 * The state is text of fixed width: a line each for the version, the size, the part size and the remote file's ETag,
 * then the number of bytes per part, from its beginning. Data is written before its number, so after a kill the numbers
 * are true; after a power failure they may not be, which the digest shows. */
#ifndef PN_STORE_PARTFILE_H
#define PN_STORE_PARTFILE_H

#include "store/internal.h"

enum { PN_ETAG_MAX = 126 };

struct pn_partfile {
    char *data_path, *state_path;
    int data, state; /* descriptors, -1: not open */
    uint64_t bytes, part_bytes;
    size_t n;
    uint64_t *have; /* per part */
    char etag[PN_ETAG_MAX + 1];
};

/* Opens both files and reads the state, or starts with no bytes if it does not match. Reserves the space. A zeroed
 * struct with descriptors of -1 is not open. */
pantry_status pn_partfile_open(struct pn_partfile *f, const char *store, const char *hex, uint64_t bytes,
                               struct pantry_error *err);
void pn_partfile_close(struct pn_partfile *f); /* the files stay */
/* Forgets all bytes; the ETag is that of the file that is downloaded from now on. */
pantry_status pn_partfile_restart(struct pn_partfile *f, const char *etag, struct pantry_error *err);
/* Writes data at an offset of the file. */
pantry_status pn_partfile_write(struct pn_partfile *f, uint64_t at, const char *bytes, size_t n,
                                struct pantry_error *err);
/* Notes have[part] in the state. */
pantry_status pn_partfile_mark(struct pn_partfile *f, size_t part, struct pantry_error *err);

static inline uint64_t pn_partfile_start(const struct pn_partfile *f, size_t part)
{
    return part * f->part_bytes;
}
/* Bytes of a part: the last one may be shorter. */
static inline uint64_t pn_partfile_length(const struct pn_partfile *f, size_t part)
{
    uint64_t start = pn_partfile_start(f, part);
    return f->bytes - start < f->part_bytes ? f->bytes - start : f->part_bytes;
}
uint64_t pn_partfile_present(const struct pn_partfile *f);

#endif
