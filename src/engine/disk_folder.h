/* The folder of the prefix cache: writing, reading and removing its files. Several processes may share it.
 *
 * A file appears under its name only when it is complete (a temporary file, then rename). It is not synced: after a
 * power failure the newest may be torn, which their digest shows, and losing them costs no more than reading a prompt
 * again. Files that are not what their name says are removed. Only files whose names this module makes are ever
 * touched.
 *
 * The limit counts what the files occupy. Each process checks it after having written a part of it, and removes what is
 * least useful: files that nothing leads to any more, then the least recently used, from the ends of prompts. */
#ifndef PN_ENGINE_DISK_FOLDER_H
#define PN_ENGINE_DISK_FOLDER_H

#include "engine/disk_file.h"

struct pn_disk_folder {
    char *path;
    int fd;
    uint64_t wanted;    /* the limit that was asked for; 0: the default */
    uint64_t limit;     /* the limit now */
    uint64_t unchecked; /* bytes written since the last check; of the thread that writes */
    bool checked;       /* there was one */
};

/* Creates the folder and its parents, for the user only. */
pantry_status pn_disk_folder_open(const char *path, uint64_t limit, struct pn_disk_folder **out,
                                  struct pantry_error *err);
void pn_disk_folder_close(struct pn_disk_folder *folder);

/* Whether there is a file of that name. */
bool pn_disk_folder_has(const struct pn_disk_folder *folder, const struct pn_disk_block *block);
/* Writes a sealed file. PANTRY_LIMIT: the disk is full. */
pantry_status pn_disk_folder_write(struct pn_disk_folder *folder, const struct pn_disk_block *block,
                                   const unsigned char *file, struct pantry_error *err);
/* Reads and checks a block's file into `file`, which has room for it. PANTRY_NOT_FOUND: there is none. PANTRY_FORMAT:
 * there was one that is not that block; it is removed. */
pantry_status pn_disk_folder_read(const struct pn_disk_folder *folder, struct pn_disk_block *block,
                                  unsigned char *file);
/* A block that was used, with all that it follows. */
void pn_disk_folder_touch(const struct pn_disk_folder *folder, const struct pn_disk_block *block);
void pn_disk_folder_remove(const struct pn_disk_folder *folder, const struct pn_disk_block *block);

struct pn_disk_usage {
    size_t files, removed;
    uint64_t bytes, removed_bytes; /* after, and of those removed */
};
/* Removes what exceeds the limit and what interrupted processes left. Does nothing while another process does it. */
pantry_status pn_disk_folder_trim(struct pn_disk_folder *folder, struct pn_disk_usage *usage, struct pantry_error *err);
/* The same if enough was written since the last time. */
void pn_disk_folder_keep_limit(struct pn_disk_folder *folder, struct pn_disk_usage *usage);
/* Removes all files of the cache, but not the folder. */
pantry_status pn_disk_folder_clear(struct pn_disk_folder *folder, struct pn_disk_usage *usage,
                                   struct pantry_error *err);

#endif
