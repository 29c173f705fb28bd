/* Making a model of the store from another one or from files: `pantry create` and /api/create. */
#ifndef PN_STORE_CREATE_H
#define PN_STORE_CREATE_H

#include "store/modelfile.h"
#include "store/store.h"

#include <jansson.h>

/* A file that a new model consists of: one on disk, or a blob that is in the store. */
struct pn_create_file {
    char *path;      /* the file, or its name where `digest` is set; owned */
    char digest[72]; /* "sha256:..." of a blob; "": a file */
};

struct pn_create_files {
    struct pn_create_file *data;
    size_t len, cap;
};

struct pn_create {
    char *from;                   /* a model of the store to begin with; NULL: none */
    struct pn_create_files files; /* GGUF files: a model or all its shards, and projectors; or those of a folder with
                                     safetensors files */
    struct pn_create_files adapters;
    struct pn_create_files drafts;      /* a GGUF file or all its shards; kept with the model, and not used yet */
    char *template, *system, *requires; /* NULL or "": none, or the base's */
    char *quantize;                     /* "q4_K_M": refused unless most of the model is in that type; NULL: any */
    json_t *licenses;                   /* array of texts, may be NULL like the next two */
    json_t *params;                     /* object; those of the base that are not in it stay */
    json_t *messages;                   /* array; replaces the base's */
};
void pn_create_free(struct pn_create *create);
void pn_create_free_files(struct pn_create_files *files);

/* What the library knows about files and templates; the store does not. */
struct pn_create_library {
    pantry_status (*check)(const char *path, struct pantry_error *err);
    pantry_status (*describe)(const char *path, char **json, struct pantry_error *err);
    pantry_status (*render)(const char *source, size_t source_len, const char *context_json, char **text, size_t *len,
                            struct pantry_error *err);
    void (*free)(void *memory);
};
#define PN_CREATE_LIBRARY                                                                                              \
    {                                                                                                                  \
        .check = pantry_check, .describe = pantry_describe, .render = pantry_template_render, .free = pantry_free      \
    }

struct pn_create_options {
    struct pn_fetch_options fetch;                /* progress of reading files, and cancelling */
    void (*status)(void *user, const char *line); /* "writing manifest"; may be NULL; `user` is fetch.user */
    struct pn_create_library library;
};

/* Reads a Modelfile's instructions; relative paths are below `folder`. A FROM that is neither a file nor a folder is a
 * name. Errors have line numbers. Call pn_create_free also after a failure. */
pantry_status pn_create_read(const char *file, const struct pn_modelfile *modelfile, const char *folder,
                             struct pn_create *out, struct pantry_error *err);

/* Adds the GGUF files of a file's path, of a pattern with '*', or of a folder; all shards of a model where the first is
 * named; of a folder with config.json or adapter_config.json and no GGUF file the parts of that model or adapter.
 * PANTRY_NOT_FOUND: there is no such file. */
pantry_status pn_create_add_files(struct pn_create_files *files, const char *path, struct pantry_error *err);

/* Makes the model, or fails and leaves the store as it was. A model that had the name loses it. */
pantry_status pn_store_create(const char *name, const struct pn_create *create, const struct pn_create_options *options,
                              struct pantry_error *err);

/* ---- blobs that clients send ---- */

struct pn_upload; /* a blob that is being written; becomes visible when it is complete and has its digest */

/* Whether the store has a blob, "sha256:..."; PANTRY_INVALID: that is not a digest. */
pantry_status pn_store_has_blob(const char *digest, bool *has, struct pantry_error *err);
/* `bytes`: its size, 0 if it is unknown. PANTRY_LIMIT: the disk has no room for it. */
pantry_status pn_upload_open(const char *digest, uint64_t bytes, struct pn_upload **out, struct pantry_error *err);
pantry_status pn_upload_write(struct pn_upload *upload, const void *bytes, size_t n, struct pantry_error *err);
/* Frees the upload. PANTRY_INVALID: the bytes have another digest. */
pantry_status pn_upload_commit(struct pn_upload *upload, struct pantry_error *err);
void pn_upload_abort(struct pn_upload *upload);

#endif
