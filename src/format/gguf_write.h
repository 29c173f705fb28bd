/* Writes GGUF v3 files: metadata, a list of tensors, then the tensors' bytes in that order.
 *
 * Everything about the file is known before the first byte is written, so data streams: memory holds the metadata only.
 * The file gets its name when it is complete; until then its bytes are in a file beside it, OUT.KEY.partial. With a key
 * that names the job (inputs and settings), that file stays after a failure and the next run with the same key goes on
 * after the last complete tensor.
 *
 *     struct pn_gguf_meta meta = {0};
 *     pn_gguf_str(&meta, "general.architecture", arch);
 *     pn_gguf_writer_new("out.gguf", &(struct pn_gguf_options){0}, &writer, err);
 *     pn_gguf_add(writer, "token_embd.weight", PN_TYPE_F16, 2, (const int64_t[]){32000, 4096}, err);
 *     pn_gguf_begin(writer, &meta, err);
 *     pn_gguf_write(writer, data, bytes, err);       // as often as needed, in the order of the tensors
 *     pn_gguf_finish(writer, err);
 *     pn_gguf_writer_free(writer);
 */
#ifndef PN_FORMAT_GGUF_WRITE_H
#define PN_FORMAT_GGUF_WRITE_H

#include "base/alloc.h"
#include "base/status.h"
#include "format/weights.h"

/* GGUF's numbers of value types. */
enum pn_gguf_type {
    PN_GGUF_U8,
    PN_GGUF_I8,
    PN_GGUF_U16,
    PN_GGUF_I16,
    PN_GGUF_U32,
    PN_GGUF_I32,
    PN_GGUF_F32,
    PN_GGUF_BOOL,
    PN_GGUF_STRING,
    PN_GGUF_ARRAY,
    PN_GGUF_U64,
    PN_GGUF_I64,
    PN_GGUF_F64,
    PN_GGUF_TYPES,
};

/* ---- metadata: bytes as they will be in the file. Zeroed: none. Memory that is out shows in pn_gguf_begin. ---- */

struct pn_gguf_meta {
    struct pn_buf bytes;
    uint64_t n;
};

void pn_gguf_meta_free(struct pn_gguf_meta *meta);
/* Any value, as its `n` bytes in the file. */
void pn_gguf_value(struct pn_gguf_meta *meta, const char *key, enum pn_gguf_type type, const void *bytes, size_t n);
void pn_gguf_u16(struct pn_gguf_meta *meta, const char *key, uint16_t value);
void pn_gguf_u32(struct pn_gguf_meta *meta, const char *key, uint32_t value);
void pn_gguf_i32(struct pn_gguf_meta *meta, const char *key, int32_t value);
void pn_gguf_u64(struct pn_gguf_meta *meta, const char *key, uint64_t value);
void pn_gguf_f32(struct pn_gguf_meta *meta, const char *key, float value);
void pn_gguf_bool(struct pn_gguf_meta *meta, const char *key, bool value);
void pn_gguf_str(struct pn_gguf_meta *meta, const char *key, const char *value);
/* `n` numbers or bools, as they are in memory. */
void pn_gguf_array(struct pn_gguf_meta *meta, const char *key, enum pn_gguf_type item, size_t n, const void *items);
void pn_gguf_strings(struct pn_gguf_meta *meta, const char *key, size_t n, const struct pn_str *items);
/* A value that a reader found, of any type and with the same width. */
void pn_gguf_copy(struct pn_gguf_meta *meta, const struct pn_meta *value);

/* ---- files ---- */

struct pn_gguf_options {
    size_t alignment;    /* of tensors, a power of two; 0: 32. Another one is written as general.alignment */
    uint64_t split_size; /* most bytes of a shard, unless one tensor has more; 0: one file */
    bool keep_shards;    /* the caller chooses each tensor's shard: pn_gguf_shard */
    bool temporary;      /* the file is needed only now: it need not reach the disk */
    const char *key;     /* names the job (a hash, say): its partial file is kept and resumed; NULL: it is not */
};

struct pn_gguf_writer;

/* The writer of `path`; shards are named after it: x.gguf gives x-00001-of-00003.gguf. Opens nothing yet. */
pantry_status pn_gguf_writer_new(const char *path, const struct pn_gguf_options *options, struct pn_gguf_writer **out,
                                 struct pantry_error *err);
/* The following tensors go to shard `number`, from 0, never below the one before. With keep_shards only. */
void pn_gguf_shard(struct pn_gguf_writer *writer, size_t number);
/* The next tensor; shape is outermost first. PANTRY_INVALID: rows that its type's blocks do not divide, a duplicate
 * name, a type that GGUF does not have. */
pantry_status pn_gguf_add(struct pn_gguf_writer *writer, const char *name, pn_type type, int n_dims,
                          const int64_t *shape, struct pantry_error *err);
/* Lays out the files and writes their headers. */
pantry_status pn_gguf_begin(struct pn_gguf_writer *writer, const struct pn_gguf_meta *meta, struct pantry_error *err);
/* After pn_gguf_begin: tensors that an earlier run with this key has written. The caller writes the others only. */
size_t pn_gguf_done(const struct pn_gguf_writer *writer);
/* The next bytes of the current tensor; after its last one the next tensor is the current one. */
pantry_status pn_gguf_write(struct pn_gguf_writer *writer, const void *bytes, size_t n, struct pantry_error *err);
/* Instead of all bytes: the files get holes in their place, which read as zeros. */
pantry_status pn_gguf_leave_hole(struct pn_gguf_writer *writer, struct pantry_error *err);
/* After the last byte: the files reach the disk and get their names, the first shard last. */
pantry_status pn_gguf_finish(struct pn_gguf_writer *writer, struct pantry_error *err);
/* Bytes of all files; after pn_gguf_begin. */
uint64_t pn_gguf_total(const struct pn_gguf_writer *writer);
/* Without pn_gguf_finish, removes the partial files, or keeps them if there is a key. Accepts NULL. */
void pn_gguf_writer_free(struct pn_gguf_writer *writer);

#endif
