/* One and two bits per value, with one scale d in half precision per block.
 *
 * Layout, offsets in bytes:
 *   Q1_0   d:2 q:16, blocks of 128    x = q ? d : -d      bit j % 8 of byte j / 8
 *   Q2_0   d:2 q:16, blocks of 64     x = d * (q - 1)     bits 2 (j % 4) of byte j / 4
 *   TQ2_0  q:64 d:2, blocks of 256    x = d * (q - 1)     bits 2k of byte 32h + l: value 128h + 32k + l
 *   TQ1_0  q:52 d:2, blocks of 256    x = d * (t - 1)     t a base-3 digit, five per byte (four in the last four bytes)
 *
 * TQ1_0 stores the digits t0 t1 .. as the fraction 0.t0t1.. in base 3, scaled to 256 and rounded up, so that digit k is
 * the integer part of 3 * fraction(3^k * byte / 256): two multiplications in eight bits. The first 32 bytes hold values
 * 32k + l, the next 16 values 160 + 16k + l, the last four 240 + 4k + l. */
#include "tensor/quant/quant.h"

#include <math.h>

enum { SUPER = 256 };

/* ---- decoding ---- */

void pn_decode_q1_0(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= 128, b += 18, dst += 128) {
        uint32_t d = pn_bits_of_float(pn_quant_load_f16(b));
        for (int j = 0; j < 128; j += 8) {
            uint64_t negative = pn_quant_spread1((uint8_t)~b[2 + j / 8]);
            uint8_t sign[8];
            memcpy(sign, &negative, sizeof sign);
            for (int k = 0; k < 8; k++)
                dst[j + k] = pn_float_of_bits(d ^ (uint32_t)sign[k] << 31);
        }
    }
}

void pn_decode_q2_0(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= 64, b += 18, dst += 64) {
        float d = pn_quant_load_f16(b);
        for (int j = 0; j < 64; j += 8) {
            uint64_t levels = pn_quant_spread2(pn_quant_load16(b + 2 + j / 4));
            uint8_t level[8];
            memcpy(level, &levels, sizeof level);
            for (int k = 0; k < 8; k++)
                dst[j + k] = d * (float)(level[k] - 1);
        }
    }
}

void pn_decode_tq2_0(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 66) {
        float d = pn_quant_load_f16(b + 64);
        for (int k = 0; k < 8; k++, dst += 32)
            for (int l = 0; l < 32; l++)
                dst[l] = d * (float)((b[k / 4 * 32 + l] >> k % 4 * 2 & 3) - 1);
    }
}

/* `digits` rows of `count` values, from `count` bytes. */
static inline float *decode_digits(const uint8_t *q, int count, int digits, float d, float *restrict dst)
{
    int power = 1;
    for (int k = 0; k < digits; k++, power *= 3, dst += count)
        for (int l = 0; l < count; l++)
            dst[l] = d * (float)((uint8_t)(q[l] * power) * 3 / 256 - 1);
    return dst;
}

void pn_decode_tq1_0(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= SUPER, b += 54) {
        float d = pn_quant_load_f16(b + 52);
        dst = decode_digits(b, 32, 5, d, dst);
        dst = decode_digits(b + 32, 16, 5, d, dst);
        dst = decode_digits(b + 48, 4, 4, d, dst);
    }
}

/* ---- encoding ---- */

static float magnitude_of(const float *restrict x, int n)
{
    float magnitude = 0;
    for (int j = 0; j < n; j++)
        magnitude = fabsf(x[j]) > magnitude ? fabsf(x[j]) : magnitude;
    return magnitude;
}

/* Signs times the mean magnitude, which minimizes the squared error of one bit. */
void pn_encode_q1_0(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= 128, b += 18, src += 128) {
        float sum = 0;
        for (int j = 0; j < 128; j++)
            sum += fabsf(src[j]);
        pn_quant_store_f16(b, sum / 128);
        memset(b + 2, 0, 16);
        for (int j = 0; j < 128; j++)
            b[2 + j / 8] |= (uint8_t)((src[j] >= 0) << j % 8);
    }
}

/* The three ternary encoders use the greatest magnitude as the scale: weights trained to be ternary, the only ones
 * stored in these types, are encoded exactly. */
void pn_encode_q2_0(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= 64, b += 18, src += 64) {
        float d = magnitude_of(src, 64), id = d > 0 ? 1 / d : 0;
        pn_quant_store_f16(b, d);
        memset(b + 2, 0, 16);
        for (int j = 0; j < 64; j++)
            b[2 + j / 4] |= (uint8_t)((pn_quant_round_away(src[j] * id, 1) + 1) << j % 4 * 2);
    }
}

void pn_encode_tq2_0(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 66, src += SUPER) {
        float d = magnitude_of(src, SUPER), id = d > 0 ? 1 / d : 0;
        memset(b, 0, 64);
        for (int j = 0; j < SUPER; j++)
            b[j / 128 * 32 + j % 32] |= (uint8_t)((pn_quant_round_away(src[j] * id, 1) + 1) << j / 32 % 4 * 2);
        pn_quant_store_f16(b + 64, d);
    }
}

static const float *encode_digits(const float *restrict x, int count, int digits, float id, uint8_t *restrict q)
{
    for (int l = 0; l < count; l++) {
        int number = 0;
        for (int k = 0; k < 5; k++)
            number = number * 3 + (k < digits ? pn_quant_round_away(x[k * count + l] * id, 1) + 1 : 0);
        q[l] = (uint8_t)((number * 256 + 242) / 243);
    }
    return x + count * digits;
}

void pn_encode_tq1_0(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 54) {
        float d = magnitude_of(src, SUPER), id = d > 0 ? 1 / d : 0;
        src = encode_digits(src, 32, 5, id, b);
        src = encode_digits(src, 16, 5, id, b + 32);
        src = encode_digits(src, 4, 4, id, b + 48);
        pn_quant_store_f16(b + 52, d);
    }
}
