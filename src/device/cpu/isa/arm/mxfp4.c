/* MXFP4: scale:1 q:16 for 32 values, w = 2^(scale - 127) level[q] / 2; the levels are doubled. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_MXFP4
#define UNIT_BYTES   (8 * 17)
#define UNIT_PARTS   1
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)m;
    for (int i = 0; i < n; i++) { /* 2^(e - 128); the first two are subnormal */
        uint32_t e = p[17 * i], bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
        memcpy(s + i, &bits, sizeof bits);
    }
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    static const int8_t level[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    return levels(level, p + 17 * j + 1);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(mxfp4) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
