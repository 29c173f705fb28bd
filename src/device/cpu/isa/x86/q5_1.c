/* Q5_1: d:2 m:2 high:4 low:16 for 32 values, w = d q + m. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q5_1
#define UNIT_BYTES (8 * 24)
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 31

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    u->s = load_halves(p, 24, n);
    u->m = load_halves(p + 2, 24, n);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    p += 24 * j;
    return _mm256_or_si256(nibbles(p + 8), bits_to_bytes(load32(p + 4), 16));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q5_1) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
