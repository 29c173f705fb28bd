/* Q4_1: d:2 m:2 q:16 for 32 values, w = d q + m. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q4_1
#define UNIT_BYTES (8 * 20)
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 15

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    u->s = load_halves(p, 20, n);
    u->m = load_halves(p + 2, 20, n);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    return nibbles(p + 20 * j + 4);
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q4_1) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
