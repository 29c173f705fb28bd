/* Decoders and encoders of the storage types; only type.c and tests call them by name. */
#ifndef PN_TENSOR_QUANT_H
#define PN_TENSOR_QUANT_H

#include "tensor/type.h"

#include <string.h>

#define PN_TYPE(NAME, name, number, block, bytes, planes) pn_decode_fn pn_decode_##name;
#define PN_TYPE_PLANES(NAME, name, block, bytes, planes)  pn_decode_planes_fn pn_decode_planes_##name;
#include "tensor/type.def"
#undef PN_TYPE

pn_encode_fn pn_encode_f32, pn_encode_f16, pn_encode_bf16, pn_encode_f64;
pn_encode_fn pn_encode_q4_0, pn_encode_q4_1, pn_encode_q5_0, pn_encode_q5_1, pn_encode_q8_0, pn_encode_q8_1;
pn_encode_fn pn_encode_tq1_0, pn_encode_tq2_0, pn_encode_q1_0, pn_encode_q2_0;
pn_encode_fn pn_encode_q2_k, pn_encode_q3_k, pn_encode_q4_k, pn_encode_q5_k, pn_encode_q6_k, pn_encode_q8_k;
pn_encode_fn pn_encode_iq2_xxs, pn_encode_iq2_xs, pn_encode_iq2_s, pn_encode_iq3_xxs, pn_encode_iq3_s;
pn_encode_fn pn_encode_iq1_s, pn_encode_iq1_m, pn_encode_iq4_nl, pn_encode_iq4_xs, pn_encode_mxfp4, pn_encode_nvfp4;
/* Types without an encoder. */
#define pn_encode_i8  NULL
#define pn_encode_i16 NULL
#define pn_encode_i32 NULL
#define pn_encode_i64 NULL

pn_encode_weighted_fn pn_encode_weighted_q4_0, pn_encode_weighted_q4_1, pn_encode_weighted_q5_0,
    pn_encode_weighted_q5_1;
pn_encode_weighted_fn pn_encode_weighted_q2_k, pn_encode_weighted_q3_k, pn_encode_weighted_q4_k,
    pn_encode_weighted_q5_k;
pn_encode_weighted_fn pn_encode_weighted_q6_k, pn_encode_weighted_iq4_nl, pn_encode_weighted_iq4_xs;
pn_encode_weighted_fn pn_encode_weighted_iq2_xxs, pn_encode_weighted_iq2_xs, pn_encode_weighted_iq2_s;
pn_encode_weighted_fn pn_encode_weighted_iq3_xxs, pn_encode_weighted_iq3_s, pn_encode_weighted_iq1_s;
pn_encode_weighted_fn pn_encode_weighted_iq1_m, pn_encode_weighted_mxfp4, pn_encode_weighted_nvfp4;
/* Types whose levels do not depend on weights, or only little. */
#define pn_encode_weighted_f32   NULL
#define pn_encode_weighted_f16   NULL
#define pn_encode_weighted_bf16  NULL
#define pn_encode_weighted_f64   NULL
#define pn_encode_weighted_i8    NULL
#define pn_encode_weighted_i16   NULL
#define pn_encode_weighted_i32   NULL
#define pn_encode_weighted_i64   NULL
#define pn_encode_weighted_q8_0  NULL
#define pn_encode_weighted_q8_1  NULL
#define pn_encode_weighted_q8_k  NULL
#define pn_encode_weighted_tq1_0 NULL
#define pn_encode_weighted_tq2_0 NULL
#define pn_encode_weighted_q1_0  NULL
#define pn_encode_weighted_q2_0  NULL

/* Loads and stores without alignment; files and memory are little-endian. */
static inline uint16_t pn_quant_load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t pn_quant_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float pn_quant_load_f16(const uint8_t *p)
{
    return pn_f16_to_f32(pn_quant_load16(p));
}

/* Stores `f` in half precision and returns the stored value. Values that are too large become the largest, so that a
 * finite row stays finite. */
static inline float pn_quant_store_f16(uint8_t *p, float f)
{
    f = f > 65504 ? 65504 : f;
    f = f < -65504 ? -65504 : f;
    uint16_t h = pn_f32_to_f16(f);
    memcpy(p, &h, sizeof h);
    return pn_f16_to_f32(h);
}

/* The bits of `packed`, lowest first, one per byte: 0 or 1. */
static inline uint64_t pn_quant_spread1(uint8_t packed)
{
    uint64_t v = packed * 0x0101010101010101u & 0x8040201008040201u; /* bit k alone in byte k */
    return (v + 0x7F7F7F7F7F7F7F7Fu) >> 7 & 0x0101010101010101u;
}

/* The eight two-bit fields of `packed`, lowest first, one per byte. */
static inline uint64_t pn_quant_spread2(uint16_t packed)
{
    uint64_t v = packed;
    v = (v | v << 24) & 0x000000FF000000FFu;
    v = (v | v << 12) & 0x000F000F000F000Fu;
    return (v | v << 6) & 0x0303030303030303u;
}

/* The integer nearest to `f` (ties to even), limited to [lo, hi] with |lo|, |hi| < 2^22; `lo` for NaN. Branch-free:
 * adding 1.5 * 2^23 leaves no fraction bits. */
static inline int pn_quant_nearest(float f, float lo, float hi)
{
    f = f > lo ? f : lo;
    f = f < hi ? f : hi;
    return (int)(f + 0x1.8p23f - 0x1.8p23f);
}

/* `f` limited to [lo, hi] and truncated to an integer; `lo` for NaN. */
static inline int pn_quant_floor(float f, float lo, float hi)
{
    f = f > lo ? f : lo;
    f = f < hi ? f : hi;
    return (int)f;
}

/* The integer nearest to `f`, ties away from zero, limited to [-limit, limit]; -limit for NaN. */
static inline int pn_quant_round_away(float f, float limit)
{
    f = f > -limit ? f : -limit;
    f = f < limit ? f : limit;
    int whole = (int)f;
    float rest = f - (float)whole; /* exact */
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

#endif
