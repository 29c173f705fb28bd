/* Q2_K: scale:16 q:64 d:2 dmin:2 for 256 values, w = d (scale & 15) q - dmin (scale >> 4), scales for 16 values. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q2_K
#define UNIT_BYTES   84
#define UNIT_PARTS   2
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)n;
    uint8x16_t both = load_u8(p);
    scales_16(vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), load_half(p + 80), s);
    scales_16(vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), -load_half(p + 82), m);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    const uint8_t *b = p + 16 + 32 * (j / 4);
    int shift = 2 * (j % 4);
    return pair_s8(vandq_u8(shift_right(load_u8(b), shift), vdupq_n_u8(3)),
                   vandq_u8(shift_right(load_u8(b + 16), shift), vdupq_n_u8(3)));
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q2_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
