/* Q4_K: d:2 dmin:2 scales:12 q:128 for 256 values, w = d scale q - dmin min. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q4_K
#define UNIT_BYTES   144
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)n;
    scales_k45(p + 4, load_half(p), load_half(p + 2), s, m);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    const uint8_t *b = p + 16 + 32 * (j / 2);
    uint8x16_t lo = load_u8(b), hi = load_u8(b + 16);
    if (j % 2)
        return pair_s8(vshrq_n_u8(lo, 4), vshrq_n_u8(hi, 4));
    return pair_s8(vandq_u8(lo, vdupq_n_u8(15)), vandq_u8(hi, vdupq_n_u8(15)));
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q4_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
