/* Blocks of 32 values with one scale (Q*_0) or a scale and a minimum (Q*_1), both in half precision.
 *
 * Layout, offsets in bytes, d the scale and m the minimum:
 *   Q4_0  d:2 low:16                 x = d * (q - 8)      low[j] holds the low four bits of value j and, in its
 *   Q4_1  d:2 m:2 low:16             x = d * q + m        upper half, of value j + 16
 *   Q5_0  d:2 high:4 low:16          x = d * (q - 16)     bit j of `high` is the fifth bit of value j
 *   Q5_1  d:2 m:2 high:4 low:16      x = d * q + m
 *   Q8_0  d:2 q:32                   x = d * q            q signed
 *   Q8_1  d:2 s:2 q:32               x = d * q            s = d * sum(q), an aid for dot products
 *
 * The products are exact in float32; only adding a minimum rounds. The encoders follow the usual rule of each format,
 * so that other programs encode the same weights to the same bytes. */
#include "tensor/quant/quant.h"

#include <math.h>

enum { BLOCK = 32, HALF = 16 };

/* ---- decoding ---- */

void pn_decode_q4_0(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= BLOCK, b += 18, dst += BLOCK) {
        float d = pn_quant_load_f16(b);
        for (int j = 0; j < HALF; j++) {
            dst[j] = d * (float)((b[2 + j] & 15) - 8);
            dst[j + HALF] = d * (float)((b[2 + j] >> 4) - 8);
        }
    }
}

void pn_decode_q4_1(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= BLOCK, b += 20, dst += BLOCK) {
        float d = pn_quant_load_f16(b), m = pn_quant_load_f16(b + 2);
        for (int j = 0; j < HALF; j++) {
            dst[j] = d * (float)(b[4 + j] & 15) + m;
            dst[j + HALF] = d * (float)(b[4 + j] >> 4) + m;
        }
    }
}

/* Values 8i .. 8i + 7 of the block, i = 0..3, as five bits in a byte each. */
static inline uint64_t unpack5(const uint8_t *high, const uint8_t *low, int i)
{
    uint64_t nibbles;
    memcpy(&nibbles, low + i % 2 * 8, sizeof nibbles);
    return (nibbles >> i / 2 * 4 & 0x0F0F0F0F0F0F0F0Fu) | pn_quant_spread1(high[i]) << 4;
}

void pn_decode_q5_0(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= BLOCK, b += 22) {
        float d = pn_quant_load_f16(b);
        for (int i = 0; i < 4; i++, dst += 8) {
            uint64_t levels = unpack5(b + 2, b + 6, i);
            for (int k = 0; k < 8; k++)
                dst[k] = d * (float)((int)(levels >> 8 * k & 0xFF) - 16);
        }
    }
}

void pn_decode_q5_1(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= BLOCK, b += 24) {
        float d = pn_quant_load_f16(b), m = pn_quant_load_f16(b + 2);
        for (int i = 0; i < 4; i++, dst += 8) {
            uint64_t levels = unpack5(b + 4, b + 8, i);
            for (int k = 0; k < 8; k++)
                dst[k] = d * (float)(int)(levels >> 8 * k & 0xFF) + m;
        }
    }
}

static inline void decode8(float d, const uint8_t *q, float *restrict dst)
{
    for (int j = 0; j < BLOCK; j++)
        dst[j] = d * (float)(int8_t)q[j];
}

void pn_decode_q8_0(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= BLOCK, b += 34, dst += BLOCK)
        decode8(pn_quant_load_f16(b), b + 2, dst);
}

void pn_decode_q8_1(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= BLOCK, b += 36, dst += BLOCK)
        decode8(pn_quant_load_f16(b), b + 4, dst);
}

/* ---- encoding ---- */

static inline float inverse(float d)
{
    return d == 0 ? 0 : 1 / d;
}

/* Symmetric: the value of greatest magnitude becomes the lowest level, -2^(bits-1), and the scale gets its sign, so
 * that all levels are used. Returns q in 0 .. 2^bits - 1. */
static float encode_symmetric(const float *restrict x, int bits, uint8_t q[BLOCK])
{
    float magnitude = 0, extreme = 0, half = (float)(1 << (bits - 1));
    for (int j = 0; j < BLOCK; j++)
        if (fabsf(x[j]) > magnitude) {
            magnitude = fabsf(x[j]);
            extreme = x[j];
        }
    float d = extreme / -half, id = inverse(d);
    for (int j = 0; j < BLOCK; j++)
        q[j] = (uint8_t)pn_quant_floor(x[j] * id + (half + 0.5f), 0, 2 * half - 1);
    return d;
}

/* Affine: from the smallest value to the greatest in 2^bits - 1 steps. */
static float encode_affine(const float *restrict x, int bits, uint8_t q[BLOCK], float *minimum)
{
    float lo = x[0], hi = x[0], top = (float)((1 << bits) - 1);
    for (int j = 1; j < BLOCK; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    float d = (hi - lo) / top, id = inverse(d);
    for (int j = 0; j < BLOCK; j++)
        q[j] = (uint8_t)pn_quant_floor((x[j] - lo) * id + 0.5f, 0, top);
    *minimum = lo;
    return d;
}

static void pack4(const uint8_t q[BLOCK], uint8_t *low)
{
    for (int j = 0; j < HALF; j++)
        low[j] = (uint8_t)((q[j] & 15) | q[j + HALF] << 4);
}

static void pack5(const uint8_t q[BLOCK], uint8_t *high, uint8_t *low)
{
    uint32_t bits = 0;
    for (int j = 0; j < BLOCK; j++)
        bits |= (uint32_t)(q[j] >> 4) << j;
    memcpy(high, &bits, sizeof bits);
    pack4(q, low);
}

void pn_encode_q4_0(const float *restrict src, void *restrict dst, size_t n)
{
    uint8_t q[BLOCK];
    for (uint8_t *b = dst; n > 0; n -= BLOCK, b += 18, src += BLOCK) {
        pn_quant_store_f16(b, encode_symmetric(src, 4, q));
        pack4(q, b + 2);
    }
}

void pn_encode_q5_0(const float *restrict src, void *restrict dst, size_t n)
{
    uint8_t q[BLOCK];
    for (uint8_t *b = dst; n > 0; n -= BLOCK, b += 22, src += BLOCK) {
        pn_quant_store_f16(b, encode_symmetric(src, 5, q));
        pack5(q, b + 2, b + 6);
    }
}

void pn_encode_q4_1(const float *restrict src, void *restrict dst, size_t n)
{
    uint8_t q[BLOCK];
    for (uint8_t *b = dst; n > 0; n -= BLOCK, b += 20, src += BLOCK) {
        float minimum;
        pn_quant_store_f16(b, encode_affine(src, 4, q, &minimum));
        pn_quant_store_f16(b + 2, minimum);
        pack4(q, b + 4);
    }
}

void pn_encode_q5_1(const float *restrict src, void *restrict dst, size_t n)
{
    uint8_t q[BLOCK];
    for (uint8_t *b = dst; n > 0; n -= BLOCK, b += 24, src += BLOCK) {
        float minimum;
        pn_quant_store_f16(b, encode_affine(src, 5, q, &minimum));
        pn_quant_store_f16(b + 2, minimum);
        pack5(q, b + 4, b + 8);
    }
}

/* Eight bits, rounded half away from zero; returns the scale and the sum of the levels. */
static float encode8(const float *restrict x, uint8_t *restrict q, int *sum)
{
    float magnitude = 0;
    for (int j = 0; j < BLOCK; j++)
        magnitude = fabsf(x[j]) > magnitude ? fabsf(x[j]) : magnitude;
    float d = magnitude / 127, id = inverse(d);
    *sum = 0;
    for (int j = 0; j < BLOCK; j++) {
        int level = pn_quant_round_away(x[j] * id, 127);
        *sum += level;
        q[j] = (uint8_t)level;
    }
    return d;
}

void pn_encode_q8_0(const float *restrict src, void *restrict dst, size_t n)
{
    int sum;
    for (uint8_t *b = dst; n > 0; n -= BLOCK, b += 34, src += BLOCK)
        pn_quant_store_f16(b, encode8(src, b + 2, &sum));
}

void pn_encode_q8_1(const float *restrict src, void *restrict dst, size_t n)
{
    int sum;
    for (uint8_t *b = dst; n > 0; n -= BLOCK, b += 36, src += BLOCK) {
        float d = encode8(src, b + 4, &sum);
        pn_quant_store_f16(b, d);
        pn_quant_store_f16(b + 2, d * (float)sum);
    }
}
