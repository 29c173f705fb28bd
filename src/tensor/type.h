/* Storage types: how numbers are stored in memory. The table is type.def; decoders are in quant/. */
#ifndef PN_TENSOR_TYPE_H
#define PN_TENSOR_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum pn_type {
#define PN_TYPE(NAME, name, number, block, bytes, planes) PN_TYPE_##NAME,
#define PN_TYPE_PLANES(NAME, name, block, bytes, planes)  PN_TYPE_##NAME,
#include "tensor/type.def"
#undef PN_TYPE
    PN_TYPE_COUNT
} pn_type;

/* Decodes `n` values (a multiple of the block) from `src` to float32. Exact: equal to the definition of the format
 * evaluated in float32, bit for bit. `src` needs no alignment. */
typedef void pn_decode_fn(const void *src, float *dst, size_t n);
/* Encodes `n` float32 values (a multiple of the block). NULL for types without an encoder. */
typedef void pn_encode_fn(const float *src, void *dst, size_t n);
/* The same for the least sum of weights[i] * (error of value i)^2. */
typedef void pn_encode_weighted_fn(const float *src, const float *weights, void *dst, size_t n);

/* The planes of a row: values, then scales and biases (or zero points), if the type has them. */
enum { PN_PLANE_VALUES, PN_PLANE_SCALES, PN_PLANE_BIASES, PN_MAX_PLANES = 4 };

/* A row of a type with several planes. */
struct pn_planes_row {
    const void *at[PN_MAX_PLANES]; /* start of the row in each plane */
    pn_type type[PN_MAX_PLANES];   /* type of each plane; of the values: the type itself */
    int group;                     /* values that share a scale: a multiple of the block */
};

/* Decodes values first .. first + n - 1 (multiples of the block) of a row; exact, like pn_decode_fn. */
typedef void pn_decode_planes_fn(const struct pn_planes_row *row, size_t first, float *dst, size_t n);

struct pn_type_info {
    const char *name; /* "q4_k" */
    int gguf;         /* number in GGUF files; -1: none */
    uint32_t block;   /* values per block */
    uint32_t bytes;   /* bytes per block, of the values */
    uint32_t planes;
    pn_decode_fn *decode; /* NULL with several planes */
    pn_encode_fn *encode;
    pn_decode_planes_fn *decode_planes;     /* NULL with one */
    pn_encode_weighted_fn *encode_weighted; /* NULL: weights make no difference */
};

const struct pn_type_info *pn_type_info(pn_type type);
/* False if no type has the GGUF number or name. */
bool pn_type_from_gguf(uint32_t number, pn_type *out);
bool pn_type_from_name(const char *name, pn_type *out);

/* Bytes of `n` values in the first plane; `n` must be a multiple of the block. */
static inline size_t pn_type_row_bytes(pn_type type, size_t n)
{
    const struct pn_type_info *t = pn_type_info(type);
    return n / t->block * t->bytes;
}

/* For types with one plane. */
static inline void pn_type_decode_row(pn_type type, const void *src, float *dst, size_t n)
{
    pn_type_info(type)->decode(src, dst, n);
}

/* Encodes `n` values (a multiple of the block) of a type with an encoder. `weights`: how much each squared error
 * counts, n of them; NULL: all the same. */
void pn_type_encode(pn_type type, const float *src, const float *weights, void *dst, size_t n);

/* Converts between a float and its bits. */
static inline float pn_float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t pn_bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* IEEE half precision and bfloat16: exact to float32, rounded to nearest even from it. */
static inline float pn_f16_to_f32(uint16_t h)
{
    /* Computes all three cases and selects with masks, so that loops vectorize. Subnormals go through an integer, so
     * that a processor that flushes float32 subnormals to zero does not lose them. */
    uint32_t magnitude = h & 0x7FFFu, sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t special = -(uint32_t)(magnitude >= 0x7C00), tiny = -(uint32_t)(magnitude < 0x400);
    uint32_t normal = (magnitude << 13) + (112u << 23) + (special & 112u << 23);
    uint32_t subnormal = pn_bits_of_float((float)(int32_t)magnitude * 0x1p-24f);
    return pn_float_of_bits(sign | (subnormal & tiny) | (normal & ~tiny));
}

static inline float pn_bf16_to_f32(uint16_t b)
{
    return pn_float_of_bits((uint32_t)b << 16);
}

uint16_t pn_f32_to_f16(float f);
uint16_t pn_f32_to_bf16(float f);

#endif
