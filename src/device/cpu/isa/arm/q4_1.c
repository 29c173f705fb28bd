/* Q4_1: d:2 m:2 q:16 for 32 values, w = d q + m. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q4_1
#define UNIT_BYTES   (8 * 20)
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    load_halves(p, 20, n, s);
    load_halves(p + 2, 20, n, m);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    return nibbles(p + 20 * j + 4, 0);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q4_1) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
