/* The files of the prefix cache on disk: their names, their bytes, and the keys that say what they belong to.
 *
 * A file is a block: a page of keys and values of one group of layers, or a checkpoint with the recurrent state. It is
 * for the tokens up to its end, and its key is a hash of all of them and of everything else that the numbers depend on
 * (disk_identity.h): key(n) = SHA-256(key of the pages before, ids of the last page). So a file is right for a prompt
 * if its key is, wherever it came from.
 *
 * The bytes: a header, the numbers as they are in memory, SHA-256 of both. In the machine's own byte order: another
 * order makes the version unknown. */
#ifndef PN_ENGINE_DISK_FILE_H
#define PN_ENGINE_DISK_FILE_H

#include "base/hash.h"
#include "tensor/batch.h"

enum { PN_DISK_VERSION = 1, PN_DISK_KEY = 20, PN_DISK_GROUPS = 4, PN_DISK_NAME = 112 };
enum { PN_DISK_HEADER = 224, PN_DISK_DIGEST = 32 }; /* bytes before and after the numbers */

struct pn_disk_key {
    unsigned char bytes[PN_DISK_KEY];
};

enum pn_disk_kind {
    PN_DISK_PAGE,      /* of layers that see everything */
    PN_DISK_WINDOW,    /* a page of layers with a window */
    PN_DISK_CHECKPOINT /* a sequence can resume after it; written after the pages that it needs */
};

struct pn_disk_block {
    struct pn_disk_key key, parent; /* of its tokens, and of those in the pages before its last one */
    enum pn_disk_kind kind;
    int group;                     /* of a page */
    int n;                         /* tokens up to its end ... */
    int32_t ids[PN_PAGE_TOKENS];   /* ... and those of its last page */
    int32_t first[PN_DISK_GROUPS]; /* of a checkpoint: the first page of each group that it needs */
    size_t bytes;                  /* of the numbers */
};

/* The number of ids in the last page of n tokens. */
static inline int pn_disk_n_ids(int n)
{
    return n ? (n - 1) % PN_PAGE_TOKENS + 1 : 0;
}

/* The key of some bytes. False: no memory. */
bool pn_disk_key_of(const void *bytes, size_t n, struct pn_disk_key *out);
/* The key of `parent`'s tokens followed by `ids` (n, at most a page). */
bool pn_disk_key_next(const struct pn_disk_key *parent, const int32_t *ids, int n, struct pn_disk_key *out);
bool pn_disk_key_equal(const struct pn_disk_key *a, const struct pn_disk_key *b);

/* The name of a block's file. */
void pn_disk_name(const struct pn_disk_block *block, char name[PN_DISK_NAME]);
/* Reads key, parent, kind, group and n from a name; false: it is not one that pn_disk_name makes. */
bool pn_disk_name_parse(const char *name, struct pn_disk_block *block);

/* Bytes of a block's file. */
static inline size_t pn_disk_file_size(size_t bytes)
{
    return PN_DISK_HEADER + bytes + PN_DISK_DIGEST;
}
/* Completes a file whose numbers are at `file` + PN_DISK_HEADER. False: no memory. */
bool pn_disk_file_seal(unsigned char *file, const struct pn_disk_block *block);
/* Reads the `size` bytes of a file; false unless every byte is as pn_disk_file_seal wrote it. */
bool pn_disk_file_parse(const unsigned char *file, size_t size, struct pn_disk_block *block);
/* Whether the file is that block: tokens, keys and size; then *block gets its `first`. */
bool pn_disk_file_is(const unsigned char *file, size_t size, struct pn_disk_block *block);

#endif
