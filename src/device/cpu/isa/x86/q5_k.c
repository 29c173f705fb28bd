/* Q5_K: d:2 dmin:2 scales:12 high:32 low:128 for 256 values, w = d scale q - dmin min. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q5_K
#define UNIT_BYTES 176
#define UNIT_SUPER true
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 31

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    (void)n;
    scales_k45(p + 4, load_half(p), load_half(p + 2), u);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    __m256i q = load256(p + 48 + 32 * (j / 2)), high = load256(p + 16);
    q = _mm256_and_si256(j % 2 ? _mm256_srli_epi16(q, 4) : q, _mm256_set1_epi8(15));
    high = j < 4 ? _mm256_slli_epi16(high, 4 - j) : _mm256_srli_epi16(high, j - 4);
    return _mm256_or_si256(q, _mm256_and_si256(high, _mm256_set1_epi8(16)));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q5_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
