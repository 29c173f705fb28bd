/* The common form of all model formats: named tensors in mapped files, and typed metadata.
 *
 * Nothing is copied: tensor data and strings point into the maps, which live as long as the pn_weights. The reader of a
 * format checks everything once (names unique, shapes without overflow, data inside the file and aligned), so later
 * code can trust shapes and data. */
#ifndef PN_FORMAT_WEIGHTS_H
#define PN_FORMAT_WEIGHTS_H

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/type.h"

#define PN_MAX_DIMS 4

struct pn_name_index;
struct pn_weight;
struct pn_hfdir;
struct pn_arch;

struct pn_tensor_info {
    const char *name;           /* NUL-terminated UTF-8 without control characters, owned by the weights' arena */
    pn_type type;               /* PN_TYPE_COUNT when the type is unknown: only after pn_weights_inspect */
    uint32_t number;            /* GGUF's number of the type, known or not */
    int n_dims;                 /* 1 to PN_MAX_DIMS */
    int64_t shape[PN_MAX_DIMS]; /* outermost first, as in NumPy; the last is contiguous; unused ones are 1 */
    const void *data;           /* in the map; NULL when the type is unknown */
    size_t bytes;               /* 0 when the type is unknown */
    size_t map;                 /* index of the map that `data` points into */
    /* Where the numbers are, if they are not plain in `data`: in several planes, with gaps, or stacks of separate
     * tensors. `bytes` counts all of them. */
    const struct pn_weight *places;
};

/* Metadata uses GGUF's names and types; readers of other formats translate to them. */
enum pn_meta_type { PN_META_UINT, PN_META_INT, PN_META_FLOAT, PN_META_BOOL, PN_META_STRING, PN_META_ARRAY };

struct pn_meta {
    const char *key; /* NUL-terminated UTF-8 without control characters */
    enum pn_meta_type type;
    enum pn_meta_type item; /* of an array; readers refuse arrays of arrays */
    unsigned width;         /* bytes of a stored number or bool, or of an array's item; 0 for strings */
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        struct pn_str s;
    };
    size_t n;                   /* items of an array */
    const struct pn_str *items; /* of an array of strings, else NULL */
    const void *raw;            /* other arrays: as stored in the file, unaligned; read with pn_meta_item_* */
};

struct pn_weights {
    struct pn_arena arena;
    char *path;          /* of the file, of several shards the first, for messages */
    const char *format;  /* "gguf v3" */
    struct pn_map *maps; /* one per shard */
    size_t n_maps;
    struct pn_tensor_info *tensors; /* in the order of the file */
    size_t n_tensors;
    struct pn_meta *meta; /* in the order of the file; of several shards, the first one's */
    size_t n_meta;
    struct pn_name_index *tensor_index, *meta_index; /* name -> position */
    struct pn_str chat_template;                     /* empty when there is none */
    struct pn_hfdir *hf;                             /* of a Hugging Face or MLX directory, else NULL */
    int n_given;                /* values of rows that stand for tokens (pictures) in the graph; 0: there are none */
    bool given_apart;           /* ... stand for no tokens: layers of their own attend to them; a flag follows each */
    int n_given_deep;           /* ... of which as many follow for each of the first layers, which add them */
    const struct pn_arch *arch; /* the row of general.architecture as that directory needs it; NULL: as it is */
};

/* Opens a GGUF file (v2, v3; with any of `x-00001-of-00003.gguf` all its shards), the only one of a folder, or a
 * Hugging Face or MLX directory, whose tensors and metadata model/hf adds. The content decides the format, not the
 * name. A tensor of a storage type that is not in type.def gives PANTRY_UNSUPPORTED, so callers can use every tensor.
 */
pantry_status pn_weights_open(const char *path, struct pn_weights **out, struct pantry_error *err);
/* The same for inspecting a file (show, tokenize): tensors of unknown storage types are kept and marked. */
pantry_status pn_weights_inspect(const char *path, struct pn_weights **out, struct pantry_error *err);
/* An error that names the first tensor of an unknown storage type. pn_weights_open is inspect and this. */
pantry_status pn_weights_require_types(const struct pn_weights *weights, struct pantry_error *err);
/* For `pantry check`: does all checks of pn_weights_open, compares the lengths of the vocabulary's arrays, and reads
 * every page once. */
pantry_status pn_weights_check(const char *path, struct pantry_error *err);
/* The same of weights that are open. */
pantry_status pn_weights_check_all(const struct pn_weights *weights, struct pantry_error *err);
void pn_weights_close(struct pn_weights *weights);
/* True after a mapped file was truncated while in use. */
bool pn_weights_damaged(const struct pn_weights *weights);

/* NULL when there is none. */
const struct pn_tensor_info *pn_weights_tensor(const struct pn_weights *weights, const char *name);
const struct pn_meta *pn_weights_meta(const struct pn_weights *weights, const char *key);

/* Typed reads. A missing key returns PANTRY_NOT_FOUND and touches neither *out nor `err`; a value of the wrong type or
 * outside the range of *out returns PANTRY_FORMAT. Integers of any width and sign convert if they fit; pn_meta_f32
 * takes finite floats only. */
pantry_status pn_meta_u32(const struct pn_weights *weights, const char *key, uint32_t *out, struct pantry_error *err);
pantry_status pn_meta_i64(const struct pn_weights *weights, const char *key, int64_t *out, struct pantry_error *err);
pantry_status pn_meta_f32(const struct pn_weights *weights, const char *key, float *out, struct pantry_error *err);
pantry_status pn_meta_bool(const struct pn_weights *weights, const char *key, bool *out, struct pantry_error *err);
pantry_status pn_meta_str(const struct pn_weights *weights, const char *key, struct pn_str *out,
                          struct pantry_error *err);

/* Item `i` of an array; check `item` and `n` first. Never fails: an integer that does not fit becomes the nearest that
 * does, integers become doubles, bools 0 and 1; any other kind, or an `i` beyond the end, gives 0. */
uint64_t pn_meta_item_u64(const struct pn_meta *meta, size_t i);
int64_t pn_meta_item_i64(const struct pn_meta *meta, size_t i);
double pn_meta_item_f64(const struct pn_meta *meta, size_t i);
bool pn_meta_item_bool(const struct pn_meta *meta, size_t i);
struct pn_str pn_meta_item_str(const struct pn_meta *meta, size_t i);

#endif
