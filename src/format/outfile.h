/* Files that get their name when they are complete: until then their bytes are in a file beside them, PATH.KEY.partial.
 * So nobody sees half a file, and an interruption leaves nothing under the final name. */
#ifndef PN_FORMAT_OUTFILE_H
#define PN_FORMAT_OUTFILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Zeroed but for fd, which is -1: a file without a name. */
struct pn_outfile {
    char *path, *partial;
    int fd; /* -1: not open */
};

/* Takes `path` (NULL: memory was out). `key` names the job in the partial file's name; NULL: the process does. False
 * when out of memory. */
bool pn_outfile_name(struct pn_outfile *file, char *path, const char *key);
/* Opens the partial file for reading and writing, and keeps the bytes that it has. */
pantry_status pn_outfile_open(struct pn_outfile *file, struct pantry_error *err);
pantry_status pn_outfile_write(struct pn_outfile *file, const void *bytes, size_t n, struct pantry_error *err);
/* Closes the file; `sync`: its bytes reach the disk first. */
pantry_status pn_outfile_close(struct pn_outfile *file, bool sync, struct pantry_error *err);
/* Gives the file its name. */
pantry_status pn_outfile_rename(struct pn_outfile *file, struct pantry_error *err);
/* An error that says what the system said (errno). */
pantry_status pn_outfile_error(const struct pn_outfile *file, struct pantry_error *err);
/* Closes the file; `remove`: without its partial file. */
void pn_outfile_free(struct pn_outfile *file, bool remove);

/* Writes a file FOLDER/NAME, complete or not at all. */
pantry_status pn_outfile_bytes(const char *folder, const char *name, const void *bytes, size_t n,
                               struct pantry_error *err);
pantry_status pn_outfile_text(const char *folder, const char *name, const char *text, struct pantry_error *err);

#endif
