/* Q6_K: low:128 high:64 scale:16 d:2 for 256 values, w = d scale (q - 32), scales signed, for 16 values. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q6_K
#define UNIT_BYTES   210
#define UNIT_PARTS   2
#define UNIT_HAS_MIN false

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)n;
    (void)m;
    scales_16(load_q(p + 192), load_half(p + 208), s);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    int half = j / 4, k = j % 4;
    const uint8_t *low = p + 64 * half + 32 * (k % 2), *high = p + 128 + 32 * half;
    int8x16x2_t q;
    for (int h = 0; h < 2; h++) {
        uint8x16_t a = vandq_u8(shift_right(load_u8(low + 16 * h), 4 * (k / 2)), vdupq_n_u8(15));
        uint8x16_t b = vandq_u8(shift_right(load_u8(high + 16 * h), 2 * k - 4), vdupq_n_u8(48));
        q.val[h] = vsubq_s8(vreinterpretq_s8_u8(vorrq_u8(a, b)), vdupq_n_s8(32));
    }
    return q;
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q6_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
