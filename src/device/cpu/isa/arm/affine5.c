/* MLX's affine groups of 5 bits: 32 values in 20 bytes, w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/arm/planes.h"

#define UNIT_TYPE    PN_TYPE_AFFINE5
#define UNIT_BYTES   160
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(unit_place p, int n, float *s, float *m)
{
    affine_scales(p, n, s, m);
}
PN_INLINE int8x16x2_t unit_q(unit_place p, int j)
{
    return stream_values(5, load_u8(p.q + 20 * j), load_u8(p.q + 20 * j + 4), 6);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine5) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
