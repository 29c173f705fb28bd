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
#include "base/str.h"
#include "tensor/type.h"

#define PN_MAX_DIMS 4

struct pn_name_index;

struct pn_tensor_info {
    const char *name;           /* NUL-terminated UTF-8 without control characters, owned by the weights' arena */
    pn_type type;               /* PN_TYPE_COUNT when the type is unknown: only after pn_weights_inspect */
    uint32_t number;            /* the type as GGUF numbers it, known or not */
    int n_dims;                 /* 1 to PN_MAX_DIMS */
    int64_t shape[PN_MAX_DIMS]; /* outermost first, as in NumPy; the last is contiguous; unused ones are 1 */
    const void *data;           /* in the map; NULL when the type is unknown */
    size_t bytes;               /* 0 when the type is unknown */
    size_t map;                 /* which of the weights' maps `data` points into */
};

/* Metadata keeps GGUF's names and types: formats that have others are translated to them. */
enum pn_meta_type { PN_META_UINT, PN_META_INT, PN_META_FLOAT, PN_META_BOOL, PN_META_STRING, PN_META_ARRAY };

struct pn_meta {
    const char *key; /* NUL-terminated UTF-8 without control characters */
    enum pn_meta_type type;
    enum pn_meta_type item; /* of an array; arrays of arrays are refused by the readers */
    unsigned width;         /* bytes of a stored number or bool, or of each in an array; 0 for strings */
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        struct pn_str s;
    };
    size_t n;                   /* items of an array */
    const struct pn_str *items; /* of an array of strings, else NULL */
    const void *raw;            /* other arrays: as they lie in the file, unaligned; read with pn_meta_item_* */
};

struct pn_weights {
    struct pn_arena arena;
    char *path;          /* as given, for messages */
    const char *format;  /* "gguf v3" */
    struct pn_map *maps; /* one a shard */
    size_t n_maps;
    struct pn_tensor_info *tensors; /* in the order of the file */
    size_t n_tensors;
    struct pn_meta *meta; /* in the order of the file; of several shards, the first one's */
    size_t n_meta;
    struct pn_name_index *tensor_index, *meta_index; /* name -> position */
    struct pn_str chat_template;                     /* empty when there is none */
};

/* Opens a GGUF file (v2, v3; for `x-00001-of-00003.gguf` all its shards). Tells by the content what `path` is. A tensor
 * of a storage type that type.def does not have is PANTRY_UNSUPPORTED, so every tensor that callers get can be used.
 */
pantry_status pn_weights_open(const char *path, struct pn_weights **out, struct pantry_error *err);
/* The same for looking at a file (show, tokenize): tensors of unknown storage types stay, marked as such. */
pantry_status pn_weights_inspect(const char *path, struct pn_weights **out, struct pantry_error *err);
/* Refuses the first tensor of an unknown storage type by name: what pn_weights_open does after pn_weights_inspect. */
pantry_status pn_weights_require_types(const struct pn_weights *weights, struct pantry_error *err);
/* For `pantry check`: all that pn_weights_open checks, then reads every page once and compares the lengths of the
 * vocabulary's arrays. */
pantry_status pn_weights_check(const char *path, struct pantry_error *err);
void pn_weights_close(struct pn_weights *weights);
/* True once a mapped file was cut short while in use. */
bool pn_weights_damaged(const struct pn_weights *weights);

/* NULL when there is none. */
const struct pn_tensor_info *pn_weights_tensor(const struct pn_weights *weights, const char *name);
const struct pn_meta *pn_weights_meta(const struct pn_weights *weights, const char *key);

/* Typed reads. A key that is not there leaves *out and returns PANTRY_NOT_FOUND without touching `err`; one of the
 * wrong type or outside the range of *out is PANTRY_FORMAT with a sentence. Integers of any width and sign convert when
 * they fit; pn_meta_f32 takes finite floats only. */
pantry_status pn_meta_u32(const struct pn_weights *weights, const char *key, uint32_t *out, struct pantry_error *err);
pantry_status pn_meta_i64(const struct pn_weights *weights, const char *key, int64_t *out, struct pantry_error *err);
pantry_status pn_meta_f32(const struct pn_weights *weights, const char *key, float *out, struct pantry_error *err);
pantry_status pn_meta_bool(const struct pn_weights *weights, const char *key, bool *out, struct pantry_error *err);
pantry_status pn_meta_str(const struct pn_weights *weights, const char *key, struct pn_str *out,
                          struct pantry_error *err);

/* Item `i` of an array; the caller looks at `item` and `n` first. Never fails: an integer that does not fit becomes the
 * nearest that does, integers become doubles, bools 0 and 1, and any other kind or an `i` beyond the end is 0. */
uint64_t pn_meta_item_u64(const struct pn_meta *meta, size_t i);
int64_t pn_meta_item_i64(const struct pn_meta *meta, size_t i);
double pn_meta_item_f64(const struct pn_meta *meta, size_t i);
bool pn_meta_item_bool(const struct pn_meta *meta, size_t i);
struct pn_str pn_meta_item_str(const struct pn_meta *meta, size_t i);

#endif
