/* Q4_0: d:2 q:16 for 32 values, w = d (q - 8). */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q4_0
#define UNIT_BYTES (8 * 18)
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 15

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    u->s = load_halves(p, 18, n);
    u->m = _mm256_mul_ps(u->s, _mm256_set1_ps(-8));
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    return nibbles(p + 18 * j + 2);
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q4_0) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
