/* Q8_0: d:2 q:32 for 32 values, w = d q. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q8_0
#define UNIT_BYTES   (8 * 34)
#define UNIT_PARTS   1
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)m;
    load_halves(p, 34, n, s);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    p += 34 * j + 2;
    return (int8x16x2_t){{load_q(p), load_q(p + 16)}};
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q8_0) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
