/* What every model format becomes: named tensors over mapped files, and typed metadata.
 *
 * Nothing is copied: tensor data and strings point into the maps, which live as long as the pn_weights. A reader of a
 * format checks everything here once (names unique, shapes without overflow, data inside the file and aligned), so that
 * later code can trust shape and data. */
#ifndef PN_FORMAT_WEIGHTS_H
#define PN_FORMAT_WEIGHTS_H

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"
#include "tensor/type.h"

#define PN_MAX_DIMS 4

struct pn_tensor_info {
    const char *name; /* NUL-terminated, owned by the weights' arena */
    pn_type type;
    int n_dims;
    int64_t shape[PN_MAX_DIMS]; /* outermost first, as in NumPy; the last is contiguous; unused ones are 1 */
    const void *data;           /* in the map */
    size_t bytes;
};

/* Metadata keeps GGUF's names and types: formats that have others are translated to them. */
enum pn_meta_type { PN_META_UINT, PN_META_INT, PN_META_FLOAT, PN_META_BOOL, PN_META_STRING, PN_META_ARRAY };

struct pn_str { /* borrowed bytes, not NUL-terminated */
    const char *data;
    size_t len;
};

struct pn_meta {
    const char *key; /* NUL-terminated */
    enum pn_meta_type type;
    enum pn_meta_type item; /* of an array; arrays of arrays are refused by the readers */
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        struct pn_str s;
    };
    size_t n;          /* items of an array */
    const void *items; /* array: uint64_t, int64_t, double, bool or struct pn_str [n], decoded once */
};

struct pn_weights {
    struct pn_arena arena;
    char *path;          /* as given, for messages */
    const char *format;  /* "gguf v3" */
    struct pn_map *maps; /* one a shard */
    size_t n_maps;
    struct pn_tensor_info *tensors;
    size_t n_tensors;
    struct pn_meta *meta;
    size_t n_meta;
    void *tensor_index, *meta_index; /* hash tables name -> position */
    struct pn_str chat_template;     /* empty when there is none */
};

/* Opens a GGUF file (v2, v3; for `x-00001-of-00003.gguf` all its shards). Tells by the content what `path` is. */
pn_status pn_weights_open(const char *path, struct pn_weights **out, struct pn_error *err);
void pn_weights_close(struct pn_weights *weights);
/* True once a mapped file was cut short while in use. */
bool pn_weights_damaged(const struct pn_weights *weights);

/* NULL when there is none. */
const struct pn_tensor_info *pn_weights_tensor(const struct pn_weights *weights, const char *name);
const struct pn_meta *pn_weights_meta(const struct pn_weights *weights, const char *key);

/* Typed reads. A key that is not there leaves *out and returns PN_NOT_FOUND without touching `err`; one of the wrong
 * type or outside the range of *out is PN_FORMAT with a sentence. Integers of any width and sign convert when they fit.
 */
pn_status pn_meta_u32(const struct pn_weights *weights, const char *key, uint32_t *out, struct pn_error *err);
pn_status pn_meta_i64(const struct pn_weights *weights, const char *key, int64_t *out, struct pn_error *err);
pn_status pn_meta_f32(const struct pn_weights *weights, const char *key, float *out, struct pn_error *err);
pn_status pn_meta_bool(const struct pn_weights *weights, const char *key, bool *out, struct pn_error *err);
pn_status pn_meta_str(const struct pn_weights *weights, const char *key, struct pn_str *out, struct pn_error *err);

#endif
