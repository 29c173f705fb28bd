/* MLX's affine groups of 3 bits: 32 values in 12 bytes, w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/arm/planes.h"

#define UNIT_TYPE    PN_TYPE_AFFINE3
#define UNIT_BYTES   96
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(unit_place p, int n, float *s, float *m)
{
    affine_scales(p, n, s, m);
}
PN_INLINE int8x16x2_t unit_q(unit_place p, int j)
{
    const uint8_t *at = p.q + 12 * j;
    uint8x8_t end = vreinterpret_u8_u32(vdup_n_u32(load32(at + 8)));
    uint8x16_t v = vcombine_u8(vld1_u8(at), end);
    return stream_values(3, v, v, 6);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine3) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
