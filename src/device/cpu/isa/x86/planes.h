/* How types with their scales in separate planes are read on x86-64. Their files define UNIT_PLANES, the number of
 * planes, and include this header instead of unit.h; what they define after it stays the same. */
#ifndef PN_ISA_X86_PLANES_H
#define PN_ISA_X86_PLANES_H

#include "device/cpu/isa/x86/unit.h"

/* The numbers of n blocks, one by one: for a group of any size, and at the end of a row. */
static __attribute__((noinline)) __m256 plane_each(const uint8_t *p, pn_type type, int group, int64_t block, int n)
{
    float t[8] __attribute__((aligned(32))) = {0};
    for (int i = 0; i < n && i < 8; i++) {
        size_t at = (size_t)(block + i) * 32 / (size_t)group;
        if (type == PN_TYPE_F32) {
            memcpy(t + i, p + 4 * at, 4);
        } else if (type == PN_TYPE_F16) {
            t[i] = load_half(p + 2 * at);
        } else {
            uint32_t bits = (uint32_t)load16(p + 2 * at) << 16;
            memcpy(t + i, &bits, 4);
        }
    }
    return _mm256_load_ps(t);
}

/* A number of the row's plane at p (float32, float16 or bfloat16) for each of n blocks. */
PN_INLINE __m256 plane_floats(const uint8_t *p, pn_type type, int group, int64_t block, int n)
{
    if (n < 8 || (group != 32 && group != 64 && group != 128))
        return plane_each(p, type, group, block, n);
    int shift = group >> 6; /* 2^shift blocks share a number */
    __m256 v;
    if (type == PN_TYPE_F32) {
        v = _mm256_castsi256_ps(load_dwords(p + 4 * (block >> shift), 8 >> shift));
    } else {
        const uint8_t *at = p + 2 * (block >> shift);
        __m128i h = shift == 0   ? load128(at)
                    : shift == 1 ? _mm_loadl_epi64((const __m128i *)(const void *)at)
                                 : _mm_cvtsi32_si128((int)load32(at));
        v = type == PN_TYPE_F16 ? _mm256_cvtph_ps(h)
                                : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
    }
    if (shift == 1)
        v = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    else if (shift == 2)
        v = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
    return v;
}

/* w = scale q + bias. */
PN_INLINE void affine_scales(unit_place p, int n, struct unit_scales *u)
{
    const struct pn_planes_row *f = p.form;
    u->s = plane_floats(p.scales, f->type[PN_PLANE_SCALES], f->group, p.block, n);
    u->m = plane_floats(p.biases, f->type[PN_PLANE_BIASES], f->group, p.block, n);
}

/* Nibbles in the order of values: the low one of a byte first. */
PN_INLINE __m256i nibble_pairs(const uint8_t *p)
{
    __m128i b = load128(p), low = _mm_and_si128(b, _mm_set1_epi8(15)),
            high = _mm_and_si128(_mm_srli_epi16(b, 4), _mm_set1_epi8(15));
    return _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
}

/* Shuffle that brings the two bytes around value i of a stream of `bits` bits, which begins at byte `start`, to word i;
 * the second one may be missing where it has no bits of the value. */
#define STREAM_AT(bits, start, i)   (start) + (bits) * (i) / 8
#define STREAM_NEXT(bits, start, i) ((start) + (bits) * (i) / 8 < 15 ? (start) + (bits) * (i) / 8 + 1 : -1)
#define STREAM_WORD(bits, start, i) STREAM_AT(bits, start, i), STREAM_NEXT(bits, start, i)
#define STREAM_LANE(bits, start)                                                                                       \
    STREAM_WORD(bits, start, 0), STREAM_WORD(bits, start, 1), STREAM_WORD(bits, start, 2),                             \
        STREAM_WORD(bits, start, 3), STREAM_WORD(bits, start, 4), STREAM_WORD(bits, start, 5),                         \
        STREAM_WORD(bits, start, 6), STREAM_WORD(bits, start, 7)
/* The power of two that moves value i to the top of its word. */
#define STREAM_UP(bits, i) (int16_t)(1 << (16 - (bits) - (bits) * (i) % 8))
#define STREAM_UPS(bits)                                                                                               \
    STREAM_UP(bits, 0), STREAM_UP(bits, 1), STREAM_UP(bits, 2), STREAM_UP(bits, 3), STREAM_UP(bits, 4),                \
        STREAM_UP(bits, 5), STREAM_UP(bits, 6), STREAM_UP(bits, 7)

/* The 32 values of a stream of 2, 3, 5 or 6 bits that begins in `low`, and whose second half begins at byte `second` of
 * `high`. */
#define STREAM_VALUES(bits, low, high, second)                                                                         \
    stream_values(bits, _mm256_set_m128i(high, low),                                                                   \
                  _mm256_setr_epi8(STREAM_LANE(bits, 0), STREAM_LANE(bits, second)),                                   \
                  _mm256_setr_epi8(STREAM_LANE(bits, bits), STREAM_LANE(bits, (second) + (bits))),                     \
                  _mm256_setr_epi16(STREAM_UPS(bits), STREAM_UPS(bits)))

PN_INLINE __m256i stream_values(int bits, __m256i v, __m256i even, __m256i odd, __m256i up)
{
    __m256i a = _mm256_srli_epi16(_mm256_mullo_epi16(_mm256_shuffle_epi8(v, even), up), 16 - bits);
    __m256i b = _mm256_srli_epi16(_mm256_mullo_epi16(_mm256_shuffle_epi8(v, odd), up), 16 - bits);
    return _mm256_packus_epi16(a, b);
}

#endif
