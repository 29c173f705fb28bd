/* Q3_K: high:32 low:64 scale:12 d:2 for 256 values, w = d (scale - 32) (q - 4), scales of six bits for 16 values. */
#include "device/cpu/isa/x86/unit.h"

#define UNIT_TYPE  PN_TYPE_Q3_K
#define UNIT_BYTES 110
#define UNIT_SUPER true
#define UNIT_KIND  UNIT_16
#define UNIT_Q_MAX 7

PN_INLINE void unit_scales(const uint8_t *p, int n, struct unit_scales *u)
{
    (void)n;
    uint32_t a = load32(p + 96), b = load32(p + 100), c = load32(p + 104);
    __m128i low = _mm_setr_epi32((int)(a & 0x0f0f0f0f), (int)(b & 0x0f0f0f0f), (int)(a >> 4 & 0x0f0f0f0f),
                                 (int)(b >> 4 & 0x0f0f0f0f));
    __m128i high = _mm_setr_epi32((int)(c & 0x03030303), (int)(c >> 2 & 0x03030303), (int)(c >> 4 & 0x03030303),
                                  (int)(c >> 6 & 0x03030303));
    __m128i scale = _mm_sub_epi8(_mm_or_si128(low, _mm_slli_epi16(high, 4)), _mm_set1_epi8(32));
    u->scale = _mm256_cvtepi8_epi16(scale);
    u->min = _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), u->scale), 2);
    u->d = u->dm = load_half(p + 108);
}
PN_INLINE __m256i unit_q(const uint8_t *p, int j)
{
    __m256i low = load256(p + 32 + 32 * (j / 4)), high = load256(p);
    low = _mm256_and_si256(_mm256_srli_epi16(low, 2 * (j % 4)), _mm256_set1_epi8(3));
    high = j < 2 ? _mm256_slli_epi16(high, 2 - j) : _mm256_srli_epi16(high, j - 2);
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(4)));
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q3_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
