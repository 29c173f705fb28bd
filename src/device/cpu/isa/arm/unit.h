/* How the quantized types are read on arm64. A unit is 256 values of a row: a super-block, or eight blocks of 32 (fewer
 * at the end of a row). A type's file includes this header, defines what follows, and includes matmul_q15.h:
 *
 *   UNIT_TYPE, UNIT_BYTES  the type, and the bytes from one unit to the next
 *   UNIT_PARTS             scales per 32 values: 1, or 2 (one per 16)
 *   UNIT_HAS_MIN           whether w = s q + m, or only s q
 *   unit_scales(p, n, s, m)  s and m (if any) of the first n <= 8 blocks of the unit at p; never reads past them
 *   unit_q(p, j)           the j-th 32 signed bytes q, in order
 *
 * p is a unit_place (common/place.h). */
#ifndef PN_ISA_ARM_UNIT_H
#define PN_ISA_ARM_UNIT_H

#include "device/cpu/isa/common/place.h"

PN_INLINE int8x16_t load_q(const void *p)
{
    return vld1q_s8(p);
}
PN_INLINE uint8x16_t load_u8(const void *p)
{
    return vld1q_u8(p);
}
PN_INLINE uint32_t load32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

PN_INLINE int8x16x2_t pair_s8(uint8x16_t a, uint8x16_t b)
{
    return (int8x16x2_t){{vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)}};
}

/* Sixteen bytes of nibbles: the low ones, then the high ones, less `offset`. */
PN_INLINE int8x16x2_t nibbles(const void *p, int8_t offset)
{
    uint8x16_t b = load_u8(p);
    int8x16x2_t q = pair_s8(vandq_u8(b, vdupq_n_u8(15)), vshrq_n_u8(b, 4));
    q.val[0] = vsubq_s8(q.val[0], vdupq_n_s8(offset));
    q.val[1] = vsubq_s8(q.val[1], vdupq_n_s8(offset));
    return q;
}

/* Adds 16 to byte i where bit i is set, then subtracts `offset`. */
PN_INLINE int8x16x2_t add_fifth_bit(int8x16x2_t q, uint32_t bits, int8_t offset)
{
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    for (int h = 0; h < 2; h++) {
        uint8_t low = (uint8_t)(bits >> 16 * h), high = (uint8_t)(bits >> (16 * h + 8));
        uint8x16_t set = vtstq_u8(vcombine_u8(vdup_n_u8(low), vdup_n_u8(high)), load_u8(bit));
        int8x16_t sixteen = vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(16)));
        q.val[h] = vsubq_s8(vaddq_s8(q.val[h], sixteen), vdupq_n_s8(offset));
    }
    return q;
}

/* The n halves at p, p + stride, ... as float. */
PN_INLINE void load_halves(const uint8_t *p, size_t stride, int n, float *out)
{
    for (int i = 0; i < n; i++)
        out[i] = load_half(p + (size_t)i * stride);
}

/* The eight scales and minima of six bits in twelve bytes that Q4_K and Q5_K share. */
PN_INLINE void scales_k45(const uint8_t *p, float d, float dmin, float *s, float *m)
{
    uint32_t a = load32(p), b = load32(p + 4), c = load32(p + 8);
    uint32_t packed[4] = {a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | ((a >> 6 & 0x03030303) << 4), b & 0x3f3f3f3f,
                          (c >> 4 & 0x0f0f0f0f) | ((b >> 6 & 0x03030303) << 4)};
    uint8x16_t bytes = load_u8(packed);
    uint16x8_t scale = vmovl_u8(vget_low_u8(bytes)), min = vmovl_u8(vget_high_u8(bytes));
    vst1q_f32(s, vmulq_n_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(scale))), d));
    vst1q_f32(s + 4, vmulq_n_f32(vcvtq_f32_u32(vmovl_u16(vget_high_u16(scale))), d));
    vst1q_f32(m, vmulq_n_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(min))), -dmin));
    vst1q_f32(m + 4, vmulq_n_f32(vcvtq_f32_u32(vmovl_u16(vget_high_u16(min))), -dmin));
}

/* Sixteen signed bytes times d. */
PN_INLINE void scales_16(int8x16_t scale, float d, float *s)
{
    int16x8_t low = vmovl_s8(vget_low_s8(scale)), high = vmovl_s8(vget_high_s8(scale));
    vst1q_f32(s, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), d));
    vst1q_f32(s + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))), d));
    vst1q_f32(s + 8, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), d));
    vst1q_f32(s + 12, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))), d));
}

/* Levels by nibble. */
PN_INLINE int8x16x2_t levels(const int8_t *level, const void *p)
{
    uint8x16_t b = load_u8(p);
    int8x16_t t = vld1q_s8(level);
    return (int8x16x2_t){{vqtbl1q_s8(t, vandq_u8(b, vdupq_n_u8(15))), vqtbl1q_s8(t, vshrq_n_u8(b, 4))}};
}
PN_INLINE int8x16x2_t levels_iq4(const void *p)
{
    static const int8_t level[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return levels(level, p);
}

/* v shifted right by n (left by -n), for an n that the compiler knows only after inlining. */
PN_INLINE uint8x16_t shift_right(uint8x16_t v, int n)
{
    return vshlq_u8(v, vdupq_n_s8((int8_t)-n));
}

#endif
