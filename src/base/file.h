/* Files mapped read-only, and whole small files.
 *
 * A mapped file may be cut short by another process while it is in use; reading beyond its new end raises SIGBUS. The
 * handler installed by the first map puts zero pages under the reader and marks the map as damaged, so the model that
 * uses it fails with an error and the process lives on. Whoever reads a map over time asks pn_map_damaged afterwards.
 */
#ifndef PN_BASE_FILE_H
#define PN_BASE_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct pn_map {
    const unsigned char *data; /* page-aligned; NULL for an empty file */
    size_t size;
    int slot; /* in the table that the SIGBUS handler reads */
};

/* Maps a regular file read-only. A zeroed struct is an unmapped map; pn_map_close takes it. */
pantry_status pn_map_open(struct pn_map *map, const char *path, struct pantry_error *err);
void pn_map_close(struct pn_map *map);
/* True once a read hit a page that the file no longer has. Stays true until the map is closed. */
bool pn_map_damaged(const struct pn_map *map);
/* Tells the system that the whole map is about to be read, front to back. */
void pn_map_will_need(const struct pn_map *map);

/* Reads a whole file of at most `limit` bytes, appending a NUL; "-" is standard input. Caller frees *out. */
pantry_status pn_file_read(const char *path, size_t limit, char **out, size_t *size, struct pantry_error *err);

#endif
