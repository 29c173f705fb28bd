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
    uint8_t e[8] = {0};
    memcpy(e, p.scales + p.block, (size_t)n);
    __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)e));
    /* 0 is subnormal, 255 not a number: both have this bit below the exponent */
    __m256i ends =
        _mm256_or_si256(_mm256_cmpeq_epi32(v, _mm256_setzero_si256()), _mm256_cmpeq_epi32(v, _mm256_set1_epi32(255)));
    v = _mm256_or_si256(_mm256_slli_epi32(v, 23), _mm256_and_si256(ends, _mm256_set1_epi32(0x00400000)));
    u->s = _mm256_mul_ps(_mm256_castsi256_ps(v), _mm256_set1_ps(0.5f));
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
