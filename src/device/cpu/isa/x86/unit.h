/* How the quantized types are read on x86-64 (AVX2 and above). A unit is 256 values of a row: a super-block, or eight
 * blocks of 32 (fewer at the end of a row). A type's file includes this header, defines what follows, and includes
 * matmul_q15.h:
 *
 *   UNIT_TYPE, UNIT_BYTES  the type, and the bytes from one unit to the next
 *   UNIT_SUPER             whether a unit is one super-block, so that rows have whole units
 *   UNIT_KIND              how its values w follow from its bytes q:
 *     UNIT_32      w = s[j] q + m[j]                  j: which 32 values; q unsigned, at most UNIT_Q_MAX
 *     UNIT_16      w = d scale[i] q + dm min[i]       i: which 16 values; scale and min are 16-bit integers
 *     UNIT_SIGNED      w = s[j] q                     q signed
 *     UNIT_SIGNED_MIN  w = s[j] q + m[j]              q signed
 *   unit_scales(p, n)      the scales of the first n <= 8 blocks of the unit at p; never reads past them
 *   unit_q(p, j)           the j-th 32 bytes q, in order
 *
 * p is a unit_place (common/place.h). */
#ifndef PN_ISA_X86_UNIT_H
#define PN_ISA_X86_UNIT_H

#include "device/cpu/isa/common/place.h"

#define UNIT_32         1
#define UNIT_16         2
#define UNIT_SIGNED     3
#define UNIT_SIGNED_MIN 4

struct unit_scales {
    __m256 s, m;        /* all kinds but UNIT_16; UNIT_SIGNED has no m */
    __m256i scale, min; /* UNIT_16: sixteen int16 each */
    float d, dm;
};

/* Keeps a sum in its register. Compilers would turn a chain of integer additions into a tree, for which a register tile
 * has no room. */
#define KEEP_ORDER(v) __asm__("" : "+x"(v))

PN_INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
PN_INLINE __m128i load128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}
PN_INLINE uint16_t load16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
PN_INLINE uint32_t load32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The first n dwords at p; never touches memory past them. */
PN_INLINE __m256i load_dwords(const void *p, int n)
{
    if (n == 8)
        return load256(p);
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_epi32(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index));
}

/* The halves at p, p + stride, ... (n of them, zeros after) as float. */
PN_INLINE __m256 load_halves(const uint8_t *p, size_t stride, int n)
{
    __m128i h = _mm_setzero_si128();
    if (n == 8) {
        h = _mm_cvtsi32_si128(load16(p));
        h = _mm_insert_epi16(h, load16(p + stride), 1);
        h = _mm_insert_epi16(h, load16(p + 2 * stride), 2);
        h = _mm_insert_epi16(h, load16(p + 3 * stride), 3);
        h = _mm_insert_epi16(h, load16(p + 4 * stride), 4);
        h = _mm_insert_epi16(h, load16(p + 5 * stride), 5);
        h = _mm_insert_epi16(h, load16(p + 6 * stride), 6);
        h = _mm_insert_epi16(h, load16(p + 7 * stride), 7);
    } else {
        uint16_t t[8] = {0};
        for (int i = 0; i < n; i++)
            t[i] = load16(p + (size_t)i * stride);
        h = load128(t);
    }
    return _mm256_cvtph_ps(h);
}

/* Sixteen bytes of nibbles: the low ones, then the high ones. */
PN_INLINE __m256i nibbles(const void *p)
{
    __m128i b = load128(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(b, 4), b), _mm256_set1_epi8(15));
}

/* Byte i is `value` where bit i is set, else zero. */
PN_INLINE __m256i bits_to_bytes(uint32_t bits, int8_t value)
{
    const __m256i which = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3,
                                           3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i b = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), which), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(b, bit), _mm256_set1_epi8(value));
}

/* The eight scales and minima of six bits in twelve bytes that Q4_K and Q5_K share. */
PN_INLINE void scales_k45(const uint8_t *p, float d, float dmin, struct unit_scales *u)
{
    uint32_t a = load32(p), b = load32(p + 4), c = load32(p + 8);
    uint32_t high_scale = (c & 0x0f0f0f0f) | ((a >> 6 & 0x03030303) << 4);
    uint32_t high_min = (c >> 4 & 0x0f0f0f0f) | ((b >> 6 & 0x03030303) << 4);
    __m128i all = _mm_setr_epi32((int)(a & 0x3f3f3f3f), (int)high_scale, (int)(b & 0x3f3f3f3f), (int)high_min);
    u->s = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(all)), _mm256_set1_ps(d));
    all = _mm_unpackhi_epi64(all, all);
    u->m = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(all)), _mm256_set1_ps(-dmin));
}

/* Levels of IQ4_NL and IQ4_XS by nibble. */
PN_INLINE __m256i levels_iq4(const void *p)
{
    const __m256i level = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113));
    return _mm256_shuffle_epi8(level, nibbles(p));
}

#endif
