/* IQ4_NL: d:2 q:16 for 32 values, w = d level[q]. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_IQ4_NL
#define UNIT_BYTES (8 * 18)
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_SIGNED
#define UNIT_Q_MAX 127

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    u->s = load_halves(p, 18, n);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    return levels_iq4(p + 18 * j + 2);
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(iq4_nl) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
