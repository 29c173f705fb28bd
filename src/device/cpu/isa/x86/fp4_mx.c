/* MXFP4 with its scales in a plane: w = 2^(scale - 127) level[q] / 2; the levels are doubled, and here 12 larger, so
 * that they are unsigned. */
#define UNIT_PLANES 2
#include "device/cpu/isa/x86/planes.h"

#define UNIT_TYPE  PN_TYPE_FP4_MX
#define UNIT_BYTES 128
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 24

PN_INLINE void unit_scales(unit_place p, int n, struct unit_scales *u)
{
    uint32_t bits[8] = {0};
    for (int i = 0; i < n; i++) { /* 2^(e - 128); the first two are subnormal, the last is not a number */
        uint32_t e = p.scales[p.block + i];
        bits[i] = e < 2 ? 0x00200000u << e : e == 255 ? 0x7fc00000u : (e - 1) << 23;
    }
    u->s = _mm256_castsi256_ps(load256(bits));
    u->m = _mm256_mul_ps(u->s, _mm256_set1_ps(-12));
}
PN_INLINE __m256i unit_q(unit_place p, int j)
{
    const __m256i level =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return _mm256_shuffle_epi8(level, nibble_pairs(p.q + 16 * j));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(fp4_mx) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
