/* K types: super-blocks of 256 values, cut into sub-blocks whose scales (and minima) are small integers under one scale
 * (and one minimum) in half precision.
 *
 * Layout, offsets in bytes; s is the sub-block's number, d and dmin are in half precision:
 *   Q2_K  scale:16 low:64 d:2 dmin:2             x = d * (scale & 15) * q - dmin * (scale >> 4)    sub-blocks of 16
 *   Q3_K  high:32 low:64 scale:12 d:2            x = d * (scale - 32) * (q - 4)                    of 16
 *   Q4_K  d:2 dmin:2 scale:12 low:128            x = d * scale * q - dmin * min                    of 32
 *   Q5_K  d:2 dmin:2 scale:12 high:32 low:128    as Q4_K, five bits                                of 32
 *   Q6_K  low:128 high:64 scale:16 d:2           x = d * scale * (q - 32), scale signed            of 16
 *   Q8_K  d:4 q:256 sum:32                       x = d * q, d in float32; sums of 16 q, an aid for dot products
 *
 * Two-bit parts: byte 32h + l holds values 128h + 32k + l at bit 2k. Four-bit parts of Q4_K and Q5_K: byte 32c + l
 * holds 64c + l and, in its upper half, 64c + 32 + l. One-bit parts: bit k of byte l belongs to value 32k + l.
 *
 * The products are exact in float32 (11 bits of d, up to 8 of a scale, up to 6 of a level); only taking a minimum away
 * rounds. The encoders are in search/scaled.h. */
#include "tensor/quant/quant.h"

#include <math.h>

enum { SUPER = 256 };

/* ---- packed scales ---- */

/* Q3_K: sixteen six-bit numbers in twelve bytes: low halves in bytes 0..7, two upper bits each in bytes 8..11. */
static inline int scale3(const uint8_t *packed, int s)
{
    return (packed[s % 8] >> 4 * (s / 8) & 15) | (packed[8 + s % 4] >> 2 * (s / 4) & 3) << 4;
}

/* Q4_K and Q5_K: eight six-bit scales and eight six-bit minima in twelve bytes. The first four of each are in bytes
 * 0..3 and 4..7, whose two upper bits belong to the last four. The low halves of the last four share bytes 8..11. */
static inline void scale45(const uint8_t *packed, int s, int *scale, int *min)
{
    if (s < 4) {
        *scale = packed[s] & 63;
        *min = packed[s + 4] & 63;
    } else {
        *scale = (packed[s + 4] & 15) | packed[s - 4] >> 6 << 4;
        *min = packed[s + 4] >> 4 | packed[s] >> 6 << 4;
    }
}

/* ---- decoding ---- */

void pn_decode_q2_k(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 84) {
        float d = pn_quant_load_f16(b + 80), dmin = pn_quant_load_f16(b + 82);
        for (int s = 0; s < 16; s++, dst += 16) {
            const uint8_t *low = b + 16 + 32 * (s / 8) + 16 * (s % 2);
            int shift = s / 2 % 4 * 2;
            float scale = d * (float)(b[s] & 15), min = dmin * (float)(b[s] >> 4);
            for (int l = 0; l < 16; l++)
                dst[l] = scale * (float)(low[l] >> shift & 3) - min;
        }
    }
}

void pn_decode_q3_k(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 110) {
        float d = pn_quant_load_f16(b + 108);
        for (int s = 0; s < 16; s++, dst += 16) {
            const uint8_t *high = b + 16 * (s % 2), *low = b + 32 + 32 * (s / 8) + 16 * (s % 2);
            int shift = s / 2 % 4 * 2, bit = s / 2;
            float scale = d * (float)(scale3(b + 96, s) - 32);
            for (int l = 0; l < 16; l++)
                dst[l] = scale * (float)((low[l] >> shift & 3) + (high[l] >> bit & 1) * 4 - 4);
        }
    }
}

void pn_decode_q4_k(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 144) {
        float d = pn_quant_load_f16(b), dmin = pn_quant_load_f16(b + 2);
        for (int s = 0; s < 8; s++, dst += 32) {
            const uint8_t *low = b + 16 + 32 * (s / 2);
            int shift = s % 2 * 4, scale, min;
            scale45(b + 4, s, &scale, &min);
            float ds = d * (float)scale, dm = dmin * (float)min;
            for (int l = 0; l < 32; l++)
                dst[l] = ds * (float)(low[l] >> shift & 15) - dm;
        }
    }
}

void pn_decode_q5_k(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 176) {
        float d = pn_quant_load_f16(b), dmin = pn_quant_load_f16(b + 2);
        const uint8_t *high = b + 16;
        for (int s = 0; s < 8; s++, dst += 32) {
            const uint8_t *low = b + 48 + 32 * (s / 2);
            int shift = s % 2 * 4, scale, min;
            scale45(b + 4, s, &scale, &min);
            float ds = d * (float)scale, dm = dmin * (float)min;
            for (int l = 0; l < 32; l++)
                dst[l] = ds * (float)((low[l] >> shift & 15) | (high[l] >> s & 1) << 4) - dm;
        }
    }
}

void pn_decode_q6_k(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 210) {
        float d = pn_quant_load_f16(b + 208);
        for (int s = 0; s < 16; s++, dst += 16) {
            int half = s / 8, k = s / 2 % 4; /* k: the k-th 32 of the half's 128 values */
            const uint8_t *low = b + 64 * half + 32 * (k % 2) + 16 * (s % 2);
            const uint8_t *high = b + 128 + 32 * half + 16 * (s % 2);
            int low_shift = k / 2 * 4, high_shift = k * 2;
            float scale = d * (float)(int8_t)b[192 + s];
            for (int l = 0; l < 16; l++)
                dst[l] = scale * (float)(((low[l] >> low_shift & 15) | (high[l] >> high_shift & 3) << 4) - 32);
        }
    }
}

void pn_decode_q8_k(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 292, dst += SUPER) {
        float d;
        memcpy(&d, b, sizeof d);
        for (int j = 0; j < SUPER; j++)
            dst[j] = d * (float)(int8_t)b[4 + j];
    }
}

/* ---- encoding ---- */

/* A type of activations, not of weights: one scale from the extreme value, which becomes level -127. */
void pn_encode_q8_k(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 292, src += SUPER) {
        float extreme = 0;
        for (int j = 0; j < SUPER; j++)
            extreme = fabsf(src[j]) > fabsf(extreme) ? src[j] : extreme;
        float inverse = extreme != 0 ? -127 / extreme : 0, d = inverse != 0 ? 1 / inverse : 0;
        memcpy(b, &d, sizeof d);
        int16_t sum[16] = {0};
        for (int j = 0; j < SUPER; j++) {
            int level = pn_quant_nearest(src[j] * inverse, -127, 127);
            b[4 + j] = (uint8_t)level;
            sum[j / 16] = (int16_t)(sum[j / 16] + level);
        }
        memcpy(b + 260, sum, sizeof sum);
    }
}
