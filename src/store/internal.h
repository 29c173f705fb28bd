/* Shared between the files of store/. */
#ifndef PN_STORE_INTERNAL_H
#define PN_STORE_INTERNAL_H

#include "base/hash.h"
#include "store/store.h"

#include <jansson.h>

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

/* "-partial" ends the file name of an unfinished manifest, so it is not a valid end of a tag. */
bool pn_name_is_partial(const char *tag);

/* A model's name from a file's name: "/x/Tiny Model-Q4.gguf" gives "tiny-model-q4". Caller frees; NULL: out of
 * memory. */
char *pn_name_of_file(const char *path);

/* Fills in missing parts: the catalog's tag for a model of the catalog, else "latest". */
pantry_status pn_name_parse(const char *text, struct pn_model_name *name, struct pantry_error *err);

/* ---- catalog.c ---- */

const struct pn_catalog_entry *pn_catalog_find(const char *model, const char *tag); /* tag NULL: the first */

/* ---- layout.c: folders, locks, durable files ---- */

/* The user's home folder; NULL: there is none. */
const char *pn_layout_user(void);
/* PANTRY_HOME or ~/.pantry. Caller frees. */
pantry_status pn_layout_home(char **home, struct pantry_error *err);
/* The folder of the store, which has everything about models: PANTRY_MODELS, or models in that of pantry. Caller
 * frees. */
pantry_status pn_layout_store(char **store, struct pantry_error *err);
/* Makes the folders of the store that downloads need. */
pantry_status pn_layout_make_store(const char *store, struct pantry_error *err);
/* printf to a fresh string; NULL when memory is out. */
char *pn_layout_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Creates a folder and its parents, each made durable. */
pantry_status pn_layout_make_dirs(const char *path, struct pantry_error *err);
pantry_status pn_layout_sync_file(int fd, const char *path, struct pantry_error *err);
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
/* Takes the lock of the store, under which manifests, blobs and unfinished downloads change. PANTRY_IO if another
 * process still has it after two seconds. */
pantry_status pn_layout_lock(const char *store, int *fd, struct pantry_error *err);

/* ---- locks.c: locks of parts of the store ---- */

/* A file of fetch/locks that one process or thread at a time has locked. A download holds its lock as long as it takes,
 * and the lock of the store only while it changes manifests and looks which blobs are in use. A caller that has the
 * lock of the store does not wait for another one. */
struct pn_lock {
    int fd; /* -1: not held */
    char *path;
};
/* clang-format off */
#define PN_NO_LOCK {.fd = -1}
/* clang-format on */

/* Takes a lock if it is free: PANTRY_OK with lock->fd, which is -1 if somebody else has it. `key` is a file name:
 * "name-" and the hash of a model's name, "blob-" and the digest of a blob that is written, "fetch-" and a folder of
 * fetch/. */
pantry_status pn_lock_try(const char *store, const char *key, struct pn_lock *lock, struct pantry_error *err);
void pn_lock_release(struct pn_lock *lock); /* of one that is not held: nothing */
/* Removes the files of locks whose holders died. */
void pn_locks_tidy(const char *store);

struct pn_digest {
    char hex[PN_SHA256_HEX + 1];
};
struct pn_digests {
    struct pn_digest *data;
    size_t len, cap;
};
/* Notes blobs that nobody may remove while the lock is held. Needs the lock of the store. */
pantry_status pn_lock_keep(struct pn_lock *lock, const struct pn_digest *blobs, size_t n, struct pantry_error *err);
/* Appends what the holder of one lock has noted; nothing if nobody holds it. */
pantry_status pn_lock_kept(const char *store, const char *key, struct pn_digests *blobs, struct pantry_error *err);
/* Appends what the holders of all locks have noted. Needs the lock of the store. */
pantry_status pn_locks_kept(const char *store, struct pn_digests *blobs, struct pantry_error *err);

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

/* "sha256:" and 64 lower-case digits: the digits, or NULL. The only way from a manifest to a file name. */
const char *pn_digest_hex(const char *digest);

/* ---- manifest.c ---- */

enum { PN_MANIFEST_MAX = 1 << 20 /* bytes */, PN_LAYERS_MAX = 256 };
#define PN_TYPE_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define PN_TYPE_CONFIG   "application/vnd.docker.container.image.v1+json"
#define PN_TEMPLATE_MARK "pantry.template"               /* annotation of a template that create has checked */
#define PN_TYPE_LAYER    "application/vnd.ollama.image." /* and model, template, system, ... */

/* Reads a manifest as JSON; its contents are checked no further than being an object. */
pantry_status pn_manifest_read(const char *path, json_t **root, struct pantry_error *err);
/* The JSON of a layer. */
json_t *pn_manifest_layer(const char *type, const char *hex, uint64_t size, const char *title);

/* The path of the weights in the manifest of `name`, the blob, the first of several shards or a folder, and their size;
 * checks that all exist and have the manifest's sizes. */
pantry_status pn_manifest_weights(const char *store, const struct pn_model_name *name, char **path, uint64_t *bytes,
                                  struct pantry_error *err);
pantry_status pn_manifest_model(const char *store, const struct pn_model_name *name, char **path,
                                struct pantry_error *err);
/* The same for the layers of a manifest of the store; `name` is for errors. */
pantry_status pn_layers_weights(const char *store, const char *name, const json_t *layers, char **path, uint64_t *bytes,
                                struct pantry_error *err);
/* The same for any folder in Ollama's layout and a manifest in it, which the caller checked to be one of its files. */
pantry_status pn_manifest_model_in(const char *models, const char *manifest, char **path, struct pantry_error *err);
/* Writes the configuration blob and then the manifest; `license` is the digest of a licence blob or NULL. */
pantry_status pn_manifest_write(const char *store, const struct pn_model_name *name,
                                const struct pn_catalog_entry *entry, const char *license, uint64_t license_bytes,
                                struct pantry_error *err);
struct pn_manifest_layer {
    const char *type, *hex;
    uint64_t bytes;
    const char *title; /* the file's name, NULL: none */
};
/* Writes the configuration blob; *text gets the manifest, which is not written. Caller frees *text. */
pantry_status pn_manifest_compose(const char *store, const struct pn_catalog_entry *entry,
                                  const struct pn_manifest_layer *layers, size_t n, char **text,
                                  struct pantry_error *err);
/* The manifest's file; NULL: out of memory. Caller frees. */
char *pn_manifest_path(const char *store, const struct pn_model_name *name);
/* Writes the text of a manifest, atomically. */
pantry_status pn_manifest_put(const char *store, const struct pn_model_name *name, const char *text, size_t n,
                              struct pantry_error *err);

/* Appends the digests of all blobs that a manifest names. Fails, with *digests as it was, if one of them is unclear. */
pantry_status pn_manifest_digests(const char *path, struct pn_digests *digests, struct pantry_error *err);

/* Stores a small blob; `hex` gets its digest. */
pantry_status pn_blob_put(const char *store, const void *bytes, size_t n, char hex[PN_SHA256_HEX + 1],
                          struct pantry_error *err);

/* ---- shards.c: models of several files ---- */

/* The loader finds the shards of a model by their names, and blobs have other ones: so models/shards/<digest of all>/
 * has links with such names. Returns the first one's path; makes the folder if it is not there yet. */
pantry_status pn_shards_path(const char *store, const struct pn_digest *blobs, size_t n, char **path,
                             struct pantry_error *err);
/* A blob and the name that a link gives it. */
struct pn_linked {
    struct pn_digest digest;
    const char *name;
};
/* The same for a model that is a folder of files: the path of models/shards/<digest of all> with these links. */
pantry_status pn_folder_path(const char *store, const struct pn_linked *files, size_t n, char **path,
                             struct pantry_error *err);
/* Removes the folders with links to blobs that are gone, and unfinished ones. Needs the lock. */
void pn_shards_sweep(const char *store);
/* Reads N and M of a name that ends in "-0000N-of-0000M.gguf". */
bool pn_shards_name(const char *path, unsigned *number, unsigned *count);

/* ---- references.c: which blobs are in use ---- */

/* Calls `visit` for every file that may be a manifest; parts: host, namespace, model, tag. Unfinished ones
 * ("-partial") are left out. Goes on after a failure and returns the first: of `visit`, or PANTRY_IO for a folder that
 * cannot be read. */
typedef pantry_status pn_manifest_visit(void *user, const char *path, const char *const parts[4],
                                        struct pantry_error *err);
pantry_status pn_manifest_walk(const char *store, pn_manifest_visit *visit, void *user, struct pantry_error *err);

/* The blobs that the manifests name or running downloads need, sorted. Fails if a manifest cannot be read: it may name
 * any blob. Needs the lock of the store if blobs are removed by it. */
pantry_status pn_references_read(const char *store, struct pn_digests *used, struct pantry_error *err);
bool pn_references_have(const struct pn_digests *used, const char *hex);
/* Removes those of `blobs` that no manifest names; *bytes gets their size. Needs the lock. */
pantry_status pn_references_drop(const char *store, const struct pn_digests *blobs, uint64_t *bytes,
                                 struct pantry_error *err);

/* ---- stored.c ---- */

extern const char pn_source_own[]; /* pn_stored.source of the own models */

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
pantry_status pn_pip_run(const struct pn_pip *pip, struct pantry_error *err);

/* ---- pip_helper.c ---- */

/* The same, in the helper process if there is one. */
pantry_status pn_pip_download(const struct pn_pip *pip, struct pantry_error *err);

/* ---- job.c: what long calls share ---- */

struct pn_job {
    const char *name;                       /* for the reports */
    const struct pn_fetch_options *options; /* never NULL */
    struct pn_fetch_progress progress;
    uint64_t tick_ns, tick_done; /* of the last call of the callback */
    const char *digest;          /* of the blob at hand, for the next report */
    uint64_t blob_done, blob_total;
    char watched[PN_SHA256_HEX + 1]; /* the blob that another process downloads */
};
struct pn_job pn_job_new(const char *name, const struct pn_fetch_options *options);
bool pn_job_cancelled(const struct pn_job *job);
pantry_status pn_job_stopped(struct pantry_error *err); /* the error after cancelling */
/* Calls the progress callback, at most ten times per second within a phase. */
void pn_job_report(struct pn_job *job, enum pn_fetch_phase phase, uint64_t done, uint64_t total);
/* Says which blob the next reports are about; a blob's end is always reported. */
void pn_job_blob(struct pn_job *job, const char *digest, uint64_t done, uint64_t total);
/* Waits for a lock (locks.c), as long as it takes, and reports what its holder has downloaded meanwhile. */
pantry_status pn_job_lock(struct pn_job *job, const char *store, const char *key, struct pn_lock *lock,
                          struct pantry_error *err);
/* Waits for the lock of the store, which others hold for moments only. */
pantry_status pn_job_lock_store(struct pn_job *job, const char *store, int *lock, struct pantry_error *err);
/* Notes, under the lock of the store, which blobs must stay while `lock` is held. */
pantry_status pn_job_keep(struct pn_job *job, const char *store, struct pn_lock *lock, const struct pn_digest *blobs,
                          size_t n, struct pantry_error *err);
/* The digest of a file; reads it all and reports that. */
pantry_status pn_job_hash(struct pn_job *job, const char *path, uint64_t bytes, char hex[PN_SHA256_HEX + 1],
                          struct pantry_error *err);
/* True for a file of that size and digest; reads it all. False also after cancelling. */
bool pn_job_has_blob(struct pn_job *job, const char *path, uint64_t bytes, const char *sha256);

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
