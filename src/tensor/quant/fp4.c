/* Four-bit floats (E2M1: sign, two exponent bits, one mantissa bit) under a small scale.
 *
 * Layout, offsets in bytes:
 *   MXFP4  scale:1 q:16, blocks of 32            scale E8M0: 2^(scale - 127), no sign, no zero
 *   NVFP4  scale:4 q:32, blocks of 64            a scale per 16 values, E4M3 without sign; 0x7F reads as zero
 * Byte j of a group of 2m values holds value j and, in its upper half, value j + m. Levels are kept doubled (integers
 * 0..12), and scales halved to match. Index 8, minus zero, reads as plus zero.
 *
 * Encoders are in search/fp4.h.
 *
 * Open Compute Project, Microscaling Formats (MX) 1.0, 2023; NVIDIA's NVFP4. */
#include "tensor/quant/fp4.h"
#include "tensor/quant/quant.h"

static const float level[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

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
        decode(dst, pn_half_e8m0(b[0]), b + 1, 16);
}

void pn_decode_nvfp4(const void *restrict src, float *restrict dst, size_t n)
{
    for (const uint8_t *b = src; n > 0; n -= 64, b += 36)
        for (int s = 0; s < 4; s++, dst += 16)
            decode(dst, pn_half_e4m3(b[s]), b + 4 + 8 * s, 8);
}
