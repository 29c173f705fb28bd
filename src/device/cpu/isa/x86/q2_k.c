/* Q2_K: scale:16 q:64 d:2 dmin:2 for 256 values, w = d (scale & 15) q - dmin (scale >> 4), scales for 16 values. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q2_K
#define UNIT_BYTES 84
#define UNIT_SUPER true
#define UNIT_KIND  UNIT_16
#define UNIT_Q_MAX 3

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    (void)n;
    __m256i both = _mm256_cvtepu8_epi16(load128(p));
    u->scale = _mm256_and_si256(both, _mm256_set1_epi16(15));
    u->min = _mm256_srli_epi16(both, 4);
    u->d = load_half(p + 80);
    u->dm = -load_half(p + 82);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    __m256i q = load256(p + 16 + 32 * (j / 4));
    return _mm256_and_si256(_mm256_srli_epi16(q, 2 * (j % 4)), _mm256_set1_epi8(3));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q2_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
