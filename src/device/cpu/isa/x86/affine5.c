/* MLX's affine groups of 5 bits: 32 values in 20 bytes, w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/x86/planes.h"

#define UNIT_TYPE  PN_TYPE_AFFINE5
#define UNIT_BYTES 160
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 31

PN_INLINE void unit_scales(unit_place p, int n, struct unit_scales *u)
{
    affine_scales(p, n, u);
}
PN_INLINE __m256i unit_q(unit_place p, int j)
{
    return STREAM_VALUES(5, load128(p.q + 20 * j), load128(p.q + 20 * j + 4), 6);
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine5) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
