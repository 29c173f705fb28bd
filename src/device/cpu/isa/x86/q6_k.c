/* Q6_K: low:128 high:64 scale:16 d:2 for 256 values, w = d scale (q - 32), scales signed, for 16 values. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q6_K
#define UNIT_BYTES 210
#define UNIT_SUPER true
#define UNIT_KIND  UNIT_16
#define UNIT_Q_MAX 63

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    (void)n;
    u->scale = _mm256_cvtepi8_epi16(load128(p + 192));
    u->min = _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), u->scale), 5);
    u->d = u->dm = load_half(p + 208);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    int half = j / 4, k = j % 4;
    __m256i low = load256(p + 64 * half + 32 * (k % 2)), high = load256(p + 128 + 32 * half);
    low = _mm256_and_si256(k / 2 ? _mm256_srli_epi16(low, 4) : low, _mm256_set1_epi8(15));
    high = k < 2 ? _mm256_slli_epi16(high, 4 - 2 * k) : _mm256_srli_epi16(high, 2 * k - 4);
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(48)));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q6_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
