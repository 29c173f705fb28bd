/* MLX's affine groups of 2 bits: 32 values in 8 bytes, w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/arm/planes.h"

#define UNIT_TYPE    PN_TYPE_AFFINE2
#define UNIT_BYTES   64
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(unit_place p, int n, float *s, float *m)
{
    affine_scales(p, n, s, m);
}
PN_INLINE int8x16x2_t unit_q(unit_place p, int j)
{
    uint8x16_t v = vcombine_u8(vld1_u8(p.q + 8 * j), vdup_n_u8(0));
    return stream_values(2, v, v, 4);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine2) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
