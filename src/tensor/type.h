/* Storage types: how numbers lie in memory. The table is type.def; decoders are in quant/. */
#ifndef PN_TENSOR_TYPE_H
#define PN_TENSOR_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum pn_type {
#define PN_TYPE(NAME, name, number, block, bytes, planes) PN_TYPE_##NAME,
#include "tensor/type.def"
#undef PN_TYPE
    PN_TYPE_COUNT
} pn_type;

/* Decodes `n` values (a multiple of the block) from `src` to float32. Exact: equal to the definition of the format
 * evaluated in float32, bit for bit. `src` needs no alignment. */
typedef void pn_decode_fn(const void *src, float *dst, size_t n);
/* Encodes `n` float32 values (a multiple of the block). NULL for types nothing converts to. */
typedef void pn_encode_fn(const float *src, void *dst, size_t n);

struct pn_type_info {
    const char *name; /* "q4_k" */
    int gguf;         /* number in GGUF files */
    uint32_t block;   /* values per block */
    uint32_t bytes;   /* bytes per block */
    uint32_t planes;
    pn_decode_fn *decode;
    pn_encode_fn *encode;
};

const struct pn_type_info *pn_type_info(pn_type type);
/* False when no type has that GGUF number or name. */
bool pn_type_from_gguf(uint32_t number, pn_type *out);
bool pn_type_from_name(const char *name, pn_type *out);

/* Bytes of a row of `n` values; `n` must be a multiple of the block. */
static inline size_t pn_type_row_bytes(pn_type type, size_t n)
{
    const struct pn_type_info *t = pn_type_info(type);
    return n / t->block * t->bytes;
}

static inline void pn_type_decode_row(pn_type type, const void *src, float *dst, size_t n)
{
    pn_type_info(type)->decode(src, dst, n);
}

/* IEEE half precision and bfloat16, both exact towards float32, round to nearest even back. */
float pn_f16_to_f32(uint16_t h);
uint16_t pn_f32_to_f16(float f);
static inline float pn_bf16_to_f32(uint16_t b)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)b << 16};
    return v.f;
}
uint16_t pn_f32_to_bf16(float f);

#endif
