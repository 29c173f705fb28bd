/* Q5_0: d:2 high:4 low:16 for 32 values, w = d (q - 16). */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q5_0
#define UNIT_BYTES (8 * 22)
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 31

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    u->s = load_halves(p, 22, n);
    u->m = _mm256_mul_ps(u->s, _mm256_set1_ps(-16));
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    p += 22 * j;
    return _mm256_or_si256(nibbles(p + 6), bits_to_bytes(load32(p + 2), 16));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q5_0) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
