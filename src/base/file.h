/* Read-only file maps, and reading small files whole.
 *
 * Another process may truncate a mapped file while it is in use; reading beyond its new end raises SIGBUS. Our handler
 * then maps zero pages there and marks the map as damaged, so the model fails with an error and the process survives.
 * After reading from a map, check pn_map_damaged. */
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

/* Maps a regular file read-only. A zeroed struct is an unmapped map, which pn_map_close accepts. */
pantry_status pn_map_open(struct pn_map *map, const char *path, struct pantry_error *err);
void pn_map_close(struct pn_map *map);
/* True after a read hit a page that the file no longer has, until the map is closed. */
bool pn_map_damaged(const struct pn_map *map);
/* Tells the system that the whole map will be read soon. */
void pn_map_will_need(const struct pn_map *map);

/* Gives the pages of the map back to the system; reading them again reads the file. */
void pn_map_release(const struct pn_map *map);

/* Reads a whole file of at most `limit` bytes and appends a NUL; "-" is standard input. The caller frees *out. */
pantry_status pn_file_read(const char *path, size_t limit, char **out, size_t *size, struct pantry_error *err);

#endif
