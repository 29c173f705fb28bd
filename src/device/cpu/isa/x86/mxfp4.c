/* MXFP4: scale:1 q:16 for 32 values, w = 2^(scale - 127) level[q] / 2; the levels are doubled, and here 12 larger, so
 * that they are unsigned. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_MXFP4
#define UNIT_BYTES (8 * 17)
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 24

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    uint32_t bits[8] = {0};
    for (int i = 0; i < n; i++) { /* 2^(e - 128); the first two are subnormal */
        uint32_t e = p[17 * i];
        bits[i] = e < 2 ? 0x00200000u << e : (e - 1) << 23;
    }
    u->s = _mm256_castsi256_ps(load256(bits));
    u->m = _mm256_mul_ps(u->s, _mm256_set1_ps(-12));
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    const __m256i level =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return _mm256_shuffle_epi8(level, nibbles(p + 17 * j + 1));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(mxfp4) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
