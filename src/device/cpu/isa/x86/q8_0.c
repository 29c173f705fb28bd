/* Q8_0: d:2 q:32 for 32 values, w = d q. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q8_0
#define UNIT_BYTES (8 * 34)
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_SIGNED
#define UNIT_Q_MAX 128

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    u->s = load_halves(p, 34, n);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    return load256(p + 34 * j + 2);
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q8_0) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
