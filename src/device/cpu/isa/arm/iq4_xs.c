/* IQ4_XS: d:2 high:2 low:4 q:128 for 256 values, w = d (scale - 32) level[q] with scales of six bits for 32 values. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_IQ4_XS
#define UNIT_BYTES   136
#define UNIT_PARTS   1
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)n;
    (void)m;
    float d = load_half(p);
    uint32_t high = load32(p) >> 16;
    for (int j = 0; j < 8; j++) {
        int low = p[4 + j / 2] >> 4 * (j % 2) & 15;
        s[j] = d * (float)((low | (int)(high >> 2 * j & 3) << 4) - 32);
    }
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    return levels_iq4(p + 8 + 16 * j);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(iq4_xs) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
