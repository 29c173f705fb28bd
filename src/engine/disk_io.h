/* The threads of the prefix cache on disk: one reads, one writes, and the engine's thread never waits for either.
 *
 * A prefix is saved in two steps: the writer finds out which of its blocks the folder lacks; the engine's thread copies
 * those into buffers, which the writer writes. It is loaded by the reader, which looks for the longest prefix in the
 * folder and reads it into buffers, which the engine's thread copies into pages. The number of buffers is fixed, so
 * that the side that is faster waits.
 *
 * All calls are the engine thread's. */
#ifndef PN_ENGINE_DISK_IO_H
#define PN_ENGINE_DISK_IO_H

#include "engine/disk_search.h"

#include <stdatomic.h>

/* A file in memory. */
struct pn_disk_buffer {
    struct pn_disk_buffer *next;
    struct pn_disk_block block;
    unsigned char *file;       /* its numbers begin at PN_DISK_HEADER */
    struct pn_disk_load *load; /* that it was read for */
};

/* A block to save. */
struct pn_disk_item {
    struct pn_disk_block block;
    int32_t slot; /* a page, or the state of a checkpoint; -1: none */
    bool missing; /* in the folder */
};

/* A prefix to save. */
struct pn_disk_save {
    struct pn_disk_save *next, *next_check;
    struct pn_disk_key root;
    int32_t *ids; /* (n) */
    int n;
    struct pn_disk_item *items; /* (n_items) in the order of writing */
    int n_items, done;
    /* under the lock */
    bool checked, abandoned;
};

/* A prefix to load. */
struct pn_disk_load {
    struct pn_disk_load *next, *next_read;
    struct pn_disk_key root;
    int32_t *ids; /* (n) */
    int n;
    int n_have, n_resumes; /* pages in memory; tokens that a sequence can resume from without the disk */
    double token_ns;       /* what reading a token of a prompt costs; 0: unknown */
    /* under the lock */
    int n_found; /* tokens that were read; 0: nothing better than what is in memory */
    int n_ready; /* buffers to copy */
    bool done, abandoned;
    /* of the engine's side */
    int32_t *pages; /* (groups, table) that were copied; -1: none */
    int table;
    int32_t state;
    int32_t first[PN_KV_GROUPS]; /* of the checkpoint */
    bool has_checkpoint, failed;
};

struct pn_disk_io;

/* `wake` is called by both threads when there is something for the engine to do. */
pantry_status pn_disk_io_new(struct pn_disk_folder *folder, const struct pn_disk_shape *shape, void (*wake)(void *user),
                             void *user, struct pn_disk_io **out, struct pantry_error *err);
/* Ends the threads; what was not written is lost. Nothing may be saved or loaded any more. */
void pn_disk_io_free(struct pn_disk_io *io);

/* Makes a save or a load of a copy of `ids` (n). NULL: no memory. */
struct pn_disk_save *pn_disk_save_new(const int32_t *ids, int n, int n_items);
struct pn_disk_load *pn_disk_load_new(const int32_t *ids, int n, int n_groups);

/* Begins to save or to load; false: the threads cannot start. */
bool pn_disk_io_check(struct pn_disk_io *io, struct pn_disk_save *save);
bool pn_disk_io_read(struct pn_disk_io *io, struct pn_disk_load *load);
/* Frees them, as soon as the thread is done with them. */
void pn_disk_io_drop_save(struct pn_disk_io *io, struct pn_disk_save *save);
void pn_disk_io_drop_load(struct pn_disk_io *io, struct pn_disk_load *load);

/* A buffer for a block of a checked save. NULL: not checked yet, or all buffers are in use. */
struct pn_disk_buffer *pn_disk_io_take(struct pn_disk_io *io, struct pn_disk_save *save);
/* Writes a filled buffer. */
void pn_disk_io_write(struct pn_disk_io *io, struct pn_disk_buffer *buffer);
bool pn_disk_io_is_checked(struct pn_disk_io *io, const struct pn_disk_save *save);
/* Whether a write failed since the last call. */
bool pn_disk_io_has_failed(struct pn_disk_io *io);
/* The next buffer that was read; NULL: none. */
struct pn_disk_buffer *pn_disk_io_next(struct pn_disk_io *io);
void pn_disk_io_give(struct pn_disk_io *io, struct pn_disk_buffer *buffer);
/* Whether all of a load has been read and copied, and how many tokens. */
bool pn_disk_io_is_loaded(struct pn_disk_io *io, const struct pn_disk_load *load, int *n);

/* Counts what the writer has done; waits at most `ns` until it is more than `seen`. */
unsigned pn_disk_io_progress(struct pn_disk_io *io);
void pn_disk_io_wait(struct pn_disk_io *io, unsigned seen, uint64_t ns);
/* Whether buffers wait to be written. */
bool pn_disk_io_is_writing(struct pn_disk_io *io);

/* ---- counters of the process ---- */

struct pn_disk_counters {
    atomic_uint_fast64_t lookups, hits, tokens_loaded, bytes_loaded, files_rejected;
    atomic_uint_fast64_t bytes_written, files_written, files_removed, failures;
    atomic_uint_fast64_t pending; /* prefixes and blocks that will be written */
};
extern struct pn_disk_counters pn_disk_counters;

#endif
