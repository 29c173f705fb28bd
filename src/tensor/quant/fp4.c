/* Four-bit floats (E2M1: sign, two exponent bits, one mantissa bit) under a small scale.
 *
 * Layout, offsets in bytes:
 *   MXFP4  scale:1 q:16, blocks of 32            scale E8M0: 2^(scale - 127), no sign, no zero
 *   NVFP4  scale:4 q:32, blocks of 64            a scale for 16 values, E4M3 without sign; 0x7F reads as zero
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
