/* IQ4_NL: d:2 q:16 for 32 values, w = d level[q]. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_IQ4_NL
#define UNIT_BYTES   (8 * 18)
#define UNIT_PARTS   1
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)m;
    load_halves(p, 18, n, s);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    return levels_iq4(p + 18 * j + 2);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(iq4_nl) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
