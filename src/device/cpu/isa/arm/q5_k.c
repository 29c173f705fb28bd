/* Q5_K: d:2 dmin:2 scales:12 high:32 low:128 for 256 values, w = d scale q - dmin min. */
#include "device/cpu/isa/arm/unit.h"

#define UNIT_TYPE    PN_TYPE_Q5_K
#define UNIT_BYTES   176
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(const uint8_t *p, int n, float *s, float *m)
{
    (void)n;
    scales_k45(p + 4, load_half(p), load_half(p + 2), s, m);
}
PN_INLINE int8x16x2_t unit_q(const uint8_t *p, int j)
{
    const uint8_t *b = p + 48 + 32 * (j / 2);
    uint8x16_t q[2];
    for (int h = 0; h < 2; h++) {
        uint8x16_t low = vandq_u8(shift_right(load_u8(b + 16 * h), 4 * (j % 2)), vdupq_n_u8(15));
        uint8x16_t high = vandq_u8(shift_right(load_u8(p + 16 + 16 * h), j - 4), vdupq_n_u8(16));
        q[h] = vorrq_u8(low, high);
    }
    return pair_s8(q[0], q[1]);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(q5_k) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
