/* Q5_0: d:2 high:4 low:16 for 32 values, w = d (q - 16). */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q5_0
#define UNIT_BYTES   (8 * 22)
#define UNIT_PARTS   1
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)m;
    load_halves(p, 22, n, s);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    p += 22 * j;
    return add_fifth_bit(nibbles(p + 6, 0), load32(p + 2), 16);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q5_0) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
