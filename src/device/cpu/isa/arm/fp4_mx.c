/* MXFP4 with its scales in a plane: w = 2^(scale - 127) level[q] / 2; the levels are doubled. */
#define UNIT_PLANES 2
#include "device/cpu/isa/arm/planes.h"

#define UNIT_TYPE    PN_TYPE_FP4_MX
#define UNIT_BYTES   128
#define UNIT_PARTS   1
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(unit_place p, int n, float *s, float *m)
{
    (void)m;
    for (int i = 0; i < n; i++) { /* 2^(e - 128); the first two are subnormal, the last is not a number */
        uint32_t e = p.scales[p.block + i], bits = e < 2 ? 0x00200000u << e : e == 255 ? 0x7fc00000u : (e - 1) << 23;
        memcpy(s + i, &bits, sizeof bits);
    }
}
PN_INLINE int8x16x2_t unit_q(unit_place p, int j)
{
    static const int8_t level[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    uint8x16x2_t q = nibble_pairs(p.q + 16 * j);
    int8x16_t t = vld1q_s8(level);
    return (int8x16x2_t){{vqtbl1q_s8(t, q.val[0]), vqtbl1q_s8(t, q.val[1])}};
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(fp4_mx) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
