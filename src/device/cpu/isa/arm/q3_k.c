/* Q3_K: high:32 low:64 scale:12 d:2 for 256 values, w = d (scale - 32) (q - 4), scales of six bits for 16 values. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q3_K
#define UNIT_BYTES   110
#define UNIT_PARTS   2
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)n;
    (void)m;
    uint32_t a = load32(p + 96), b = load32(p + 100), c = load32(p + 104);
    uint32_t packed[4] = {(a & 0x0f0f0f0f) | (c & 0x03030303) << 4, (b & 0x0f0f0f0f) | (c >> 2 & 0x03030303) << 4,
                          (a >> 4 & 0x0f0f0f0f) | (c >> 4 & 0x03030303) << 4,
                          (b >> 4 & 0x0f0f0f0f) | (c >> 6 & 0x03030303) << 4};
    scales_16(vsubq_s8(load_q(packed), vdupq_n_s8(32)), load_half(p + 108), s);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    const uint8_t *b = p + 32 + 32 * (j / 4);
    int8x16x2_t q;
    for (int h = 0; h < 2; h++) {
        uint8x16_t low = vandq_u8(shift_right(load_u8(b + 16 * h), 2 * (j % 4)), vdupq_n_u8(3));
        uint8x16_t high = vandq_u8(shift_right(load_u8(p + 16 * h), j - 2), vdupq_n_u8(4));
        q.val[h] = vsubq_s8(vreinterpretq_s8_u8(vorrq_u8(low, high)), vdupq_n_s8(4));
    }
    return q;
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q3_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
