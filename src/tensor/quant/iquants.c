/* IQ types: blocks of 256 values whose groups of eight (or four) are entries of a codebook, with separate signs and
 * small scales; and IQ4, whose values are indices into a table of 16 unevenly spaced levels.
 *
 * Layout, offsets in bytes; g is a codebook level, s the number of a sub-block, d the scale in half precision:
 *   IQ2_XXS  d:2, 8 x { index:4, signs and scale:4 }          x = d * (0.5 + scale) / 4 * g
 *   IQ2_XS   d:2, 32 x { index 9 bits, signs 7 bits }, scale:8 the same, a scale per 16 values
 *   IQ2_S    d:2 index:32 sign:32 high:8 scale:8              the same, two upper index bits in `high`
 *   IQ3_XXS  d:2 index:64, 8 x { signs and scale:4 }          x = d * (0.5 + scale) / 2 * g
 *   IQ3_S    d:2 index:64 high:8 sign:32 scale:4              x = d * (1 + 2 * scale) * g
 *   IQ1_S    d:2 index:32, 8 x { high, scale, shift:2 }       x = d * (1 + 2 * scale) * (g +- 1/8)
 *   IQ1_M    index:32 high:16 scale:8, d spread over `scale`  the same, a scale per 16 values, a shift per 8
 *   IQ4_NL   d:2 q:16, blocks of 32                           x = d * level[q]
 *   IQ4_XS   d:2 high:2 low:4 q:128                           x = d * (scale - 32) * level[q]
 * "Signs and scale": four times seven sign bits, the lowest first, and a scale in the upper four bits.
 *
 * All of it is exact in float32. Only IQ4 has encoders. */
#include "tensor/quant/iquants_grid.h"
#include "tensor/quant/quant.h"

#include <math.h>

enum { SUPER = 256, GROUP = 8 };

/* ---- codebook types, decoding ---- */

/* Eight levels (bytes of `levels`, lowest first) times one scale; bit k of `signs` negates the k-th. */
static inline void put8(float *restrict dst, float scale, uint64_t levels, uint8_t signs)
{
    uint64_t negative = pn_quant_spread1(signs);
    uint8_t level[GROUP], sign[GROUP];
    memcpy(level, &levels, sizeof level);
    memcpy(sign, &negative, sizeof sign);
    for (int k = 0; k < GROUP; k++)
        dst[k] = pn_float_of_bits(pn_bits_of_float(scale * (float)level[k]) ^ (uint32_t)sign[k] << 31);
}

void pn_decode_iq2_xxs(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 66) {
        float d = pn_quant_load_f16(b);
        for (const uint8_t *sub = b + 2; sub < b + 66; sub += 8) {
            uint32_t aux = pn_quant_load32(sub + 4);
            float scale = d * (0.5f + (float)(aux >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++, dst += GROUP)
                put8(dst, scale, pn_grid_levels_iq2(pn_grid_iq2_xxs[sub[i]]), pn_grid_signs(aux >> 7 * i & 127));
        }
    }
}

void pn_decode_iq2_xs(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 74) {
        float d = pn_quant_load_f16(b);
        for (int i = 0; i < 32; i++, dst += GROUP) {
            uint32_t q = pn_quant_load16(b + 2 + 2 * i);
            float scale = d * (0.5f + (float)(b[66 + i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            put8(dst, scale, pn_grid_levels_iq2(pn_grid_iq2_xs[q & 511]), pn_grid_signs(q >> 9));
        }
    }
}

void pn_decode_iq2_s(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 82) {
        float d = pn_quant_load_f16(b);
        for (int i = 0; i < 32; i++, dst += GROUP) {
            int index = b[2 + i] | (b[66 + i / 4] >> i % 4 * 2 & 3) << 8;
            float scale = d * (0.5f + (float)(b[74 + i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            put8(dst, scale, pn_grid_levels_iq2(pn_grid_iq2_s[index]), b[34 + i]);
        }
    }
}

void pn_decode_iq3_xxs(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 98) {
        float d = pn_quant_load_f16(b);
        for (int i = 0; i < 32; i++, dst += GROUP) {
            uint32_t aux = pn_quant_load32(b + 66 + i / 4 * 4);
            uint64_t first = pn_grid_levels_iq3_xxs(pn_grid_iq3_xxs[b[2 + 2 * i]]);
            uint64_t second = pn_grid_levels_iq3_xxs(pn_grid_iq3_xxs[b[3 + 2 * i]]);
            float scale = d * (0.5f + (float)(aux >> 28)) * 0.5f;
            put8(dst, scale, first | second << 32, pn_grid_signs(aux >> i % 4 * 7 & 127));
        }
    }
}

void pn_decode_iq3_s(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 110) {
        float d = pn_quant_load_f16(b);
        for (int i = 0; i < 32; i++, dst += GROUP) {
            int high = b[66 + i / 4] >> i % 4 * 2;
            uint64_t first = pn_grid_levels_iq3_s(pn_grid_iq3_s[b[2 + 2 * i] | (high & 1) << 8]);
            uint64_t second = pn_grid_levels_iq3_s(pn_grid_iq3_s[b[3 + 2 * i] | (high & 2) << 7]);
            float scale = d * (float)(1 + 2 * (b[106 + i / 8] >> i / 4 % 2 * 4 & 15));
            put8(dst, scale, first | second << 32, b[74 + i]);
        }
    }
}

/* Eight levels -1, 0, 1, each plus `shift`, times one scale. */
static inline void put8_shifted(float *restrict dst, float scale, uint16_t packed, float shift)
{
    uint64_t levels = pn_quant_spread2(packed);
    uint8_t level[GROUP];
    memcpy(level, &levels, sizeof level);
    for (int k = 0; k < GROUP; k++)
        dst[k] = scale * ((float)(level[k] - 1) + shift);
}

void pn_decode_iq1_s(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 50) {
        float d = pn_quant_load_f16(b);
        for (int i = 0; i < 32; i++, dst += GROUP) {
            int aux = pn_quant_load16(b + 34 + i / 4 * 2);
            float scale = d * (float)(1 + 2 * (aux >> 12 & 7));
            put8_shifted(dst, scale, pn_grid_iq1[b[2 + i] | (aux >> i % 4 * 3 & 7) << 8],
                         aux & 0x8000 ? -0.125f : 0.125f);
        }
    }
}

void pn_decode_iq1_m(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 56) {
        /* The block's scale: the upper four bits of each of four words, lowest first. */
        uint32_t half = 0;
        for (int w = 0; w < 4; w++)
            half |= (uint32_t)(b[49 + 2 * w] >> 4) << 4 * w;
        float d = pn_f16_to_f32((uint16_t)half);
        for (int i = 0; i < 32; i++, dst += GROUP) {
            int aux = b[32 + i / 2] >> i % 2 * 4;
            int scales = pn_quant_load16(b + 48 + i / 8 * 2);
            float scale = d * (float)(1 + 2 * (scales >> i / 2 % 4 * 3 & 7));
            put8_shifted(dst, scale, pn_grid_iq1[b[i] | (aux & 7) << 8], aux & 8 ? -0.125f : 0.125f);
        }
    }
}

/* ---- IQ4 ---- */

static const float level4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* 32 values: byte j holds value j and, in its upper half, value j + 16. */
static inline void decode4(float *restrict dst, float scale, const uint8_t *q)
{
    for (int j = 0; j < 16; j++) {
        dst[j] = scale * level4[q[j] & 15];
        dst[j + 16] = scale * level4[q[j] >> 4];
    }
}

void pn_decode_iq4_nl(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= 32, b += 18, dst += 32)
        decode4(dst, pn_quant_load_f16(b), b + 2);
}

void pn_decode_iq4_xs(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 136) {
        float d = pn_quant_load_f16(b);
        int high = pn_quant_load16(b + 2);
        for (int s = 0; s < 8; s++, dst += 32) {
            int scale = (b[4 + s / 2] >> s % 2 * 4 & 15) | (high >> 2 * s & 3) << 4;
            decode4(dst, d * (float)(scale - 32), b + 8 + 16 * s);
        }
    }
}

/* ---- IQ4, encoding ---- */

/* The index of the level nearest to v: the number of midpoints between neighbours that are below it. */
static inline int nearest_level4(float v)
{
    static const float middle[15] = {-115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                     7,       19,     31.5f, 45.5f, 61,  79,     101};
    int index = 0;
    for (int k = 0; k < 15; k++)
        index += v > middle[k];
    return index;
}

/* Nearest levels of 32 values for x = scale * level; returns the sum of squared errors and, optionally, the sums for a
 * regression of x on the levels. */
static float quantize4(const float *restrict x, float scale, uint8_t q[32], float *xl, float *ll)
{
    float inverse = scale != 0 ? 1 / scale : 0, error = 0;
    *xl = *ll = 0;
    for (int j = 0; j < 32; j++)
        q[j] = (uint8_t)nearest_level4(x[j] * inverse);
    for (int j = 0; j < 32; j++) {
        float l = level4[q[j]], e = x[j] - scale * l;
        error += e * e;
        *xl += x[j] * l;
        *ll += l * l;
    }
    return error;
}

/* The scale with the least squared error: tries the extreme value near either end of the levels, each followed by a
 * regression. */
static float fit_scale4(const float *restrict x)
{
    float extreme = 0, best = 0, best_gain = 0, xl, ll;
    uint8_t q[32];
    for (int j = 0; j < 32; j++)
        extreme = fabsf(x[j]) > fabsf(extreme) ? x[j] : extreme;
    if (extreme == 0)
        return 0;
    for (float at = 88; at <= 140; at += 4)
        for (int sign = -1; sign <= 1; sign += 2) {
            quantize4(x, extreme / (at * (float)sign), q, &xl, &ll);
            if (ll > 0 && xl * xl / ll > best_gain) {
                best_gain = xl * xl / ll;
                best = xl / ll;
            }
        }
    return best;
}

static void pack_halves(const uint8_t q[32], uint8_t *packed)
{
    for (int j = 0; j < 16; j++)
        packed[j] = (uint8_t)(q[j] | q[j + 16] << 4);
}

void pn_encode_iq4_nl(const float *restrict src, void *restrict dst, size_t n)
{
    uint8_t q[32];
    float xl, ll;
    for (uint8_t *b = dst; n > 0; n -= 32, b += 18, src += 32) {
        quantize4(src, pn_quant_store_f16(b, fit_scale4(src)), q, &xl, &ll);
        pack_halves(q, b + 2);
    }
}

/* Integer scales near scale[s] / d; the levels go to q. Returns the squared error and the regression of x on
 * scale * level, the better d. */
static float choose4(const float *restrict x, const float scale[8], float d, int chosen[8], uint8_t q[256],
                     float *better)
{
    float error = 0, xq = 0, qq = 0;
    for (int s = 0; s < 8; s++, x += 32) {
        float best = INFINITY, best_xl = 0, best_ll = 0;
        int around = d != 0 ? pn_quant_nearest(scale[s] / d, -32, 31) : 0;
        chosen[s] = 0;
        memset(q + 32 * s, 8, 32);
        for (int a = around > -32 ? around - 1 : -32; a <= around + 1 && a <= 31; a++) {
            uint8_t trial[32];
            float xl, ll, e = quantize4(x, d * (float)a, trial, &xl, &ll);
            if (e < best) {
                best = e;
                best_xl = xl;
                best_ll = ll;
                chosen[s] = a;
                memcpy(q + 32 * s, trial, sizeof trial);
            }
        }
        error += best;
        xq += (float)chosen[s] * best_xl;
        qq += (float)(chosen[s] * chosen[s]) * best_ll;
    }
    *better = qq > 0 ? xq / qq : d;
    return error;
}

void pn_encode_iq4_xs(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 136, src += SUPER) {
        float scale[8], largest = 0, better, error = INFINITY;
        for (int s = 0; s < 8; s++) {
            scale[s] = fit_scale4(src + 32 * s);
            largest = fabsf(scale[s]) > fabsf(largest) ? scale[s] : largest;
        }
        better = largest / -32;
        memset(b, 0, 136);
        for (int round = 0; round < 3; round++) {
            uint8_t q[SUPER], half[2];
            int chosen[8];
            float d = pn_quant_store_f16(half, better), e = choose4(src, scale, d, chosen, q, &better);
            if (!(e < error))
                break;
            error = e;
            memset(b, 0, 8);
            memcpy(b, half, sizeof half);
            for (int s = 0; s < 8; s++) {
                int code = chosen[s] + 32;
                b[2 + s / 4] |= (uint8_t)(code >> 4 << s % 4 * 2);
                b[4 + s / 2] |= (uint8_t)((code & 15) << s % 2 * 4);
                pack_halves(q + 32 * s, b + 8 + 16 * s);
            }
        }
    }
}
