/* Writes valid and invalid GGUF files for tests: tiny models, every kind of metadata, and every wrong claim.
 *
 * Add metadata and tensors in file order, then call gw_bytes or gw_file. Tensors with data get a valid layout;
 * gw_tensor_claim writes any description, and gw_data fills the data region by hand. For anything else, edit the bytes.
 * If memory runs out, the test program ends.
 *
 *     struct gw g;
 *     gw_init(&g);
 *     gw_str(&g, "general.architecture", "llama");
 *     gw_u32(&g, "llama.block_count", 2);
 *     gw_random(&g, "token_embd.weight", GW_F16, 2, (const int64_t[]){128, 64}, 0.05f, &rng); // shape outermost first
 *     const char *path = gw_file(&g, "tiny.gguf");
 *     gw_free(&g);
 */
#ifndef PN_TESTS_GGUF_WRITER_H
#define PN_TESTS_GGUF_WRITER_H

#include "base/alloc.h"
#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers of storage types and of metadata's value types in the file. */
enum { GW_F32 = 0, GW_F16 = 1, GW_Q4_0 = 2, GW_Q8_0 = 8 };
enum {
    GW_UINT8,
    GW_INT8,
    GW_UINT16,
    GW_INT16,
    GW_UINT32,
    GW_INT32,
    GW_FLOAT32,
    GW_BOOL,
    GW_STRING,
    GW_ARRAY,
    GW_UINT64,
    GW_INT64,
    GW_FLOAT64,
};

struct gw {
    struct pn_buf meta, infos, data; /* the parts of the file after its header */
    uint32_t version;                /* 3 */
    uint64_t n_meta, n_tensors;      /* counted; change them for a wrong claim */
    size_t alignment;                /* 32, for the layout; the caller writes general.alignment */
    bool pad_end;                    /* true: the last tensor is padded too */
};

void gw_init(struct gw *g);
void gw_free(struct gw *g);

/* ---- metadata ---- */

void gw_u8(struct gw *g, const char *key, uint8_t value);
void gw_i8(struct gw *g, const char *key, int8_t value);
void gw_u16(struct gw *g, const char *key, uint16_t value);
void gw_i16(struct gw *g, const char *key, int16_t value);
void gw_u32(struct gw *g, const char *key, uint32_t value);
void gw_i32(struct gw *g, const char *key, int32_t value);
void gw_u64(struct gw *g, const char *key, uint64_t value);
void gw_i64(struct gw *g, const char *key, int64_t value);
void gw_f32(struct gw *g, const char *key, float value);
void gw_f64(struct gw *g, const char *key, double value);
void gw_bool(struct gw *g, const char *key, bool value);
void gw_str(struct gw *g, const char *key, const char *value);
void gw_strings(struct gw *g, const char *key, size_t n, const char *const *values);
/* `n` items of `width` bytes each. */
void gw_array(struct gw *g, const char *key, uint32_t item_type, uint64_t n, const void *items, size_t width);
/* Any bytes as the value of any type; counts as one key. */
void gw_value(struct gw *g, const char *key, uint32_t type, const void *bytes, size_t n);
/* The same with a key of any bytes. */
void gw_value_raw(struct gw *g, const void *key, size_t key_len, uint32_t type, const void *bytes, size_t n);

/* ---- tensors; shapes are outermost first ---- */

/* Data as stored: `bytes` bytes. */
void gw_tensor(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, const void *data,
               size_t bytes);
/* F32 or F16 from float32. */
void gw_floats(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, const float *data);
/* F32 or F16, uniform in [-scale, scale). */
void gw_random(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, float scale,
               struct pn_rng *rng);
/* F32 or F16, all `value`: norms, biases. */
void gw_constant(struct gw *g, const char *name, uint32_t type, int n_dims, const int64_t *shape, float value);
/* A description without data. `dims` are written as given: innermost first. */
void gw_tensor_claim(struct gw *g, const void *name, size_t name_len, uint32_t type, uint32_t n_dims,
                     const uint64_t *dims, size_t n_written, uint64_t offset);
/* Bytes in the data region, without padding. */
void gw_data(struct gw *g, const void *data, size_t bytes);

/* ---- files ---- */

/* The whole file; the caller frees *out with pn_buf_free. */
void gw_bytes(const struct gw *g, struct pn_buf *out);
/* Offset of the data region. */
size_t gw_data_start(const struct gw *g);
/* A path in a temporary folder of this process; the folder is removed with its files at exit. Valid until then. */
const char *gw_temp(const char *name);
/* Writes bytes or the file of `g` there; returns the path. */
const char *gw_put(const char *name, const void *bytes, size_t n);
const char *gw_file(const struct gw *g, const char *name);

#endif
