/* MLX's affine groups of 8 bits: 32 values in 32 bytes, w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/arm/planes.h"

#define UNIT_TYPE    PN_TYPE_AFFINE8
#define UNIT_BYTES   256
#define UNIT_PARTS   1
#define UNIT_HAS_MIN true

PN_INLINE void unit_scales(unit_place p, int n, float *s, float *m)
{
    affine_scales(p, n, s, m);
    for (int i = 0; i < n; i++) /* of q - 128, which has a sign */
        m[i] += 128 * s[i];
}
PN_INLINE int8x16x2_t unit_q(unit_place p, int j)
{
    const uint8_t *at = p.q + 32 * j;
    uint8x16_t middle = vdupq_n_u8(128);
    return pair_s8(veorq_u8(load_u8(at), middle), veorq_u8(load_u8(at + 16), middle));
}

#include "device/cpu/isa/arm/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine8) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
