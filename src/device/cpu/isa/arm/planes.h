/* How types with their scales in separate planes are read on arm64. Their files define UNIT_PLANES, the number of
 * planes, and include this header instead of unit.h; what they define after it stays the same. */
#ifndef PN_ISA_ARM_PLANES_H
#define PN_ISA_ARM_PLANES_H

#include "device/cpu/isa/arm/unit.h"

/* The number of the row's plane at p (float32, float16 or bfloat16) for each of n blocks. */
PN_INLINE void plane_floats(const uint8_t *p, pn_type type, int group, int64_t block, int n, float *out)
{
    int left = 0; /* blocks that share the last number */
    size_t at = (size_t)block * 32 / (size_t)group;
    float value = 0;
    for (int i = 0; i < n; i++, left--) {
        if (left == 0) {
            if (type == PN_TYPE_F32) {
                memcpy(&value, p + 4 * at, 4);
            } else if (type == PN_TYPE_F16) {
                value = load_half(p + 2 * at);
            } else {
                uint16_t half;
                memcpy(&half, p + 2 * at, 2);
                uint32_t bits = (uint32_t)half << 16;
                memcpy(&value, &bits, 4);
            }
            left = (int)((int64_t)(at + 1) * group / 32 - (block + i));
            at++;
        }
        out[i] = value;
    }
}

/* w = scale q + bias. */
PN_INLINE void affine_scales(unit_place p, int n, float *s, float *m)
{
    const struct pn_planes_row *f = p.form;
    plane_floats(p.scales, f->type[PN_PLANE_SCALES], f->group, p.block, n, s);
    plane_floats(p.biases, f->type[PN_PLANE_BIASES], f->group, p.block, n, m);
}

/* Nibbles in the order of values: the low one of a byte first. */
PN_INLINE uint8x16x2_t nibble_pairs(const uint8_t *p)
{
    uint8x16_t b = load_u8(p);
    return vzipq_u8(vandq_u8(b, vdupq_n_u8(15)), vshrq_n_u8(b, 4));
}

/* Eight values of a stream of `bits` bits that begins at byte `start` of v. The words of two bytes around each value
 * are shifted down; a byte past the end of v reads as zero and has no bits of the value. */
PN_INLINE uint8x8_t stream_eight(int bits, uint8x16_t v, int start)
{
    uint8_t at[16];
    int16_t down[8];
    UNROLL
    for (int i = 0; i < 8; i++) {
        at[2 * i] = (uint8_t)(start + bits * i / 8);
        at[2 * i + 1] = (uint8_t)(start + bits * i / 8 + 1);
        down[i] = (int16_t) - (bits * i % 8);
    }
    uint16x8_t word = vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(v, vld1q_u8(at))), vld1q_s16(down));
    return vmovn_u16(vandq_u16(word, vdupq_n_u16((uint16_t)((1 << bits) - 1))));
}

/* The 32 values of a stream of 2, 3, 5 or 6 bits that begins in `low`, and whose second half begins at byte `second` of
 * `high`. */
PN_INLINE int8x16x2_t stream_values(int bits, uint8x16_t low, uint8x16_t high, int second)
{
    return pair_s8(vcombine_u8(stream_eight(bits, low, 0), stream_eight(bits, low, bits)),
                   vcombine_u8(stream_eight(bits, high, second), stream_eight(bits, high, second + bits)));
}

#endif
