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
 * All of it is exact in float32. Encoders are in search/codebook.h and search/scaled.h. */
#include "tensor/quant/iquants_grid.h"
#include "tensor/quant/quant.h"

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
