/* Four-bit floats (E2M1: sign, two exponent bits, one mantissa bit) under a small scale.
 *
 * Layout, offsets in bytes:
 *   MXFP4  scale:1 q:16, blocks of 32            scale E8M0: 2^(scale - 127), no sign, no zero
 *   NVFP4  scale:4 q:32, blocks of 64            a scale per 16 values, E4M3 without sign; 0x7F reads as zero
 * Byte j of a group of 2m values holds value j and, in its upper half, value j + m. Levels are kept doubled (integers
 * 0..12), and scales halved to match. Index 8, minus zero, reads as plus zero.
 *
 * Open Compute Project, Microscaling Formats (MX) 1.0, 2023; NVIDIA's NVFP4. */
#include "tensor/quant/quant.h"

#include <math.h>

static const float level[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Half of 2^(e - 127); 2^-128 and 2^-127 are subnormal. */
static inline float half_e8m0(uint8_t e)
{
    return pn_float_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of the unsigned E4M3 float; exact in float32. The top bit is ignored, except that 0x7F alone is zero. */
static inline float half_e4m3(uint8_t e)
{
    uint32_t exponent = e >> 3 & 15, mantissa = e & 7;
    if (e == 0x7F)
        return 0;
    if (exponent == 0)
        return (float)mantissa * 0x1p-10f;
    return pn_float_of_bits((exponent + 119) << 23 | mantissa << 20);
}

/* ---- decoding ---- */

static inline void decode(float *restrict dst, float scale, const uint8_t *q, int half)
{
    for (int j = 0; j < half; j++) {
        dst[j] = scale * level[q[j] & 15];
        dst[j + half] = scale * level[q[j] >> 4];
    }
}

void pn_decode_mxfp4(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= 32, b += 17, dst += 32)
        decode(dst, half_e8m0(b[0]), b + 1, 16);
}

void pn_decode_nvfp4(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= 64, b += 36)
        for (int s = 0; s < 4; s++, dst += 16)
            decode(dst, half_e4m3(b[s]), b + 4 + 8 * s, 8);
}

/* ---- encoding ---- */

/* The nearest of the sixteen levels; of two equally near, the smaller magnitude. Returns the squared error. */
static float encode(const float *restrict x, int n, float scale, uint8_t *restrict q)
{
    float inverse = scale > 0 ? 1 / scale : 0, error = 0;
    for (int j = 0; j < n; j++) {
        float a = fabsf(x[j]) * inverse;
        int index = (a > 0.5f) + (a > 1.5f) + (a > 2.5f) + (a > 3.5f) + (a > 5) + (a > 7) + (a > 10);
        q[j] = (uint8_t)(index | (x[j] < 0 && index > 0) << 3);
    }
    for (int j = 0; j < n; j++) {
        float e = x[j] - scale * level[q[j]];
        error += e * e;
    }
    return error;
}

static void pack(const uint8_t *q, int half, uint8_t *packed)
{
    for (int j = 0; j < half; j++)
        packed[j] = (uint8_t)(q[j] | q[j + half] << 4);
}

static float magnitude_of(const float *restrict x, int n)
{
    float magnitude = 0;
    for (int j = 0; j < n; j++)
        magnitude = fabsf(x[j]) > magnitude ? fabsf(x[j]) : magnitude;
    return magnitude;
}

/* Encodes n values with each of the scale codes first..last and keeps the best encoding. */
static uint8_t encode_best(const float *x, int n, int first, int last, float scale_of(uint8_t), uint8_t *packed)
{
    float best = INFINITY;
    uint8_t q[32], code = 0;
    memset(packed, 0, (size_t)n / 2);
    for (int c = first; c <= last; c++) {
        float error = encode(x, n, scale_of((uint8_t)c), q);
        if (error < best) {
            best = error;
            code = (uint8_t)c;
            pack(q, n / 2, packed);
        }
    }
    return code;
}

void pn_encode_mxfp4(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= 32, b += 17, src += 32) {
        /* The power of two below the magnitude is level 4; tries one octave around it. */
        int exponent = (int)(pn_bits_of_float(magnitude_of(src, 32)) >> 23) - 2;
        int first = exponent < 1 ? 0 : exponent - 1, last = exponent < -1 ? 0 : exponent + 1;
        b[0] = encode_best(src, 32, first, last < 254 ? last : 254, half_e8m0, b + 1);
    }
}

/* The largest E4M3 code whose float is not above f. */
static int e4m3_below(float f)
{
    int code = 0;
    for (int step = 64; step > 0; step /= 2)
        if (code + step < 0x7F && 2 * half_e4m3((uint8_t)(code + step)) <= f)
            code += step;
    return code;
}

void pn_encode_nvfp4(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= 64, b += 36)
        for (int s = 0; s < 4; s++, src += 16) {
            int code = e4m3_below(magnitude_of(src, 16) / 6);
            int first = code < 3 ? 0 : code - 3, last = code + 4;
            b[s] = encode_best(src, 16, first, last < 0x7E ? last : 0x7E, half_e4m3, b + 4 + 8 * s);
        }
}
