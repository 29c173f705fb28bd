/* MLX's affine groups of 4 bits: 32 values in 16 bytes, w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/arm/planes.h"

#define UNIT_TYPE    PN_TYPE_AFFINE4
#define UNIT_BYTES   128
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(unit_place p, int n, float *s, float *m)
{
    affine_scales(p, n, s, m);
}
PN_INLINE int8x16x2_t unit_q(unit_place p, int j)
{
    uint8x16x2_t q = nibble_pairs(p.q + 16 * j);
    return pair_s8(q.val[0], q.val[1]);
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine4) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
