/* Shared between the files of store/. */
#ifndef PN_STORE_INTERNAL_H
#define PN_STORE_INTERNAL_H

#include "base/hash.h"
#include "store/store.h"

/* ---- name.c ---- */

enum { PN_NAME_PART_MAX = 80 };

/* A complete name. Every part consists of letters, digits, '.', '_' and '-' and starts with a letter, digit or '_', so
 * it is safe as a file name. */
struct pn_model_name {
    char host[PN_NAME_PART_MAX + 1], space[PN_NAME_PART_MAX + 1];
    char model[PN_NAME_PART_MAX + 1], tag[PN_NAME_PART_MAX + 1];
};

/* The shortest form of the name, without the parts that pn_name_parse fills in. Caller frees; NULL: out of memory. */
char *pn_name_text(const struct pn_model_name *name);

/* Fills in missing parts: the catalog's tag for a model of the catalog, else "latest". */
pantry_status pn_name_parse(const char *text, struct pn_model_name *name, struct pantry_error *err);

/* ---- catalog.c ---- */

const struct pn_catalog_entry *pn_catalog_find(const char *model, const char *tag); /* tag NULL: the first */

/* ---- layout.c: folders, locks, durable files ---- */

/* PANTRY_HOME or ~/.pantry. Caller frees. */
pantry_status pn_layout_home(char **home, struct pantry_error *err);
/* printf to a fresh string; NULL when memory is out. */
char *pn_layout_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Creates a folder and its parents, each made durable. */
pantry_status pn_layout_make_dirs(const char *path, struct pantry_error *err);
pantry_status pn_layout_sync_dir(const char *path, struct pantry_error *err);
/* Removes a file, or a folder with its contents; does not follow links. A missing one is fine. */
void pn_layout_remove(const char *path);
/* Bytes of all regular files below a folder. */
uint64_t pn_layout_bytes_below(const char *path);
/* PANTRY_LIMIT, with needed and free space, if the file system of `path` has less. */
pantry_status pn_layout_need_space(const char *path, uint64_t bytes, struct pantry_error *err);
/* Takes the exclusive lock if it is free: PANTRY_OK with *fd, which is -1 if another process has the lock. Closing *fd
 * releases it. */
pantry_status pn_layout_try_lock(const char *path, int *fd, struct pantry_error *err);

/* A file that becomes visible as `path` only when it is complete and on the disk: it is written as `path`-partial. */
struct pn_durable {
    int fd;
    char *path, *partial;
    uint64_t written;
    struct pn_sha256 hash;
};

pantry_status pn_durable_open(struct pn_durable *file, const char *path, struct pantry_error *err);
pantry_status pn_durable_write(struct pn_durable *file, const void *bytes, size_t n, struct pantry_error *err);
/* Syncs, compares the digest (NULL: any) and renames. Closes the file either way. */
pantry_status pn_durable_commit(struct pn_durable *file, const char *sha256, struct pantry_error *err);
/* Closes and removes a file that was not committed; does nothing for a zeroed or committed one. */
void pn_durable_abort(struct pn_durable *file);

/* ---- manifest.c ---- */

/* The path of the model blob in the manifest of `name`; checks that it exists and has the manifest's size. */
pantry_status pn_manifest_model(const char *home, const struct pn_model_name *name, char **path,
                                struct pantry_error *err);
/* Writes the configuration blob and then the manifest; `license` is the digest of a licence blob or NULL. */
pantry_status pn_manifest_write(const char *home, const struct pn_model_name *name,
                                const struct pn_catalog_entry *entry, const char *license, uint64_t license_bytes,
                                struct pantry_error *err);
/* Stores a small blob; `hex` gets its digest. */
pantry_status pn_blob_put(const char *home, const void *bytes, size_t n, char hex[PN_SHA256_HEX + 1],
                          struct pantry_error *err);

/* ---- wheel.c ---- */

/* Passes the bytes of one member of a zip to `sink`. Names in the archive never become file names. PANTRY_FORMAT if the
 * member is missing, a duplicate, not a plain file, or longer than `limit`. */
typedef pantry_status pn_wheel_sink(void *user, const void *bytes, size_t n, struct pantry_error *err);
pantry_status pn_wheel_read(const char *path, const char *member, uint64_t limit, pn_wheel_sink *sink, void *user,
                            struct pantry_error *err);

/* The only member whose name ends with `suffix`, and its size; *member is NULL if there is none, PANTRY_FORMAT if there
 * are several. Caller frees *member. */
pantry_status pn_wheel_find(const char *path, const char *suffix, char **member, uint64_t *bytes,
                            struct pantry_error *err);

/* ---- pip.c ---- */

struct pn_pip {
    const char *const *packages; /* NULL-terminated */
    const char *folder;          /* destination of the wheels */
    const char *scratch;         /* pip's TMPDIR, emptied before and after */
    const pantry_cancel *cancel;
    void (*tick)(void *user); /* about ten times a second while it runs */
    void *user;
};

/* Runs `python3 -m pip download` and waits for it. Cancelling ends the child. */
pantry_status pn_pip_download(const struct pn_pip *pip, struct pantry_error *err);

/* ---- fetch.c ---- */

/* pn_store_fetch for any entry, in the catalog or not (for tests). */
pantry_status pn_store_fetch_entry(const struct pn_catalog_entry *entry, const struct pn_fetch_options *options,
                                   char **path, struct pantry_error *err);
/* The same from local wheels; nothing is downloaded. */
pantry_status pn_store_import_entry(const struct pn_catalog_entry *entry, const char *const *files, size_t n,
                                    const struct pn_fetch_options *options, char **path, struct pantry_error *err);

/* The file with that name among `files`, in any folder; NULL if there is none. */
const char *pn_import_find(const char *const *files, size_t n, const char *name);

#endif
