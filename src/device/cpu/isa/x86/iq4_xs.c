/* IQ4_XS: d:2 high:2 low:4 q:128 for 256 values, w = d (scale - 32) level[q] with scales of six bits for 32 values. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_IQ4_XS
#define UNIT_BYTES 136
#define UNIT_SUPER true
#define UNIT_KIND  UNIT_SIGNED
#define UNIT_Q_MAX 127

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    (void)n;
    const __m256i shift_low = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i shift_high = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)load32(p + 4)), shift_low);
    __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(load16(p + 2)), shift_high);
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    u->s = _mm256_mul_ps(_mm256_cvtepi32_ps(scale), _mm256_set1_ps(load_half(p)));
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    return levels_iq4(p + 8 + 16 * j);
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(iq4_xs) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
