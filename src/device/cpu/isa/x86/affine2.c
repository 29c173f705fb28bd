/* MLX's affine groups of 2 bits: 32 values in 8 bytes, w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/x86/planes.h"

#define UNIT_TYPE  PN_TYPE_AFFINE2
#define UNIT_BYTES 64
#define UNIT_SUPER false
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 3

PN_INLINE void unit_scales(unit_place p, int n, struct unit_scales *u)
{
    affine_scales(p, n, u);
}
PN_INLINE __m256i unit_q(unit_place p, int j)
{
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)(p.q + 8 * j));
    return STREAM_VALUES(2, v, v, 4);
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine2) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
