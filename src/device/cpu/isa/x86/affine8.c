/* MLX's affine groups of 8 bits: w = scale q + bias; scales and biases in planes. */
#define UNIT_PLANES 3
#include "device/cpu/isa/x86/planes.h"

#define UNIT_TYPE  PN_TYPE_AFFINE8
#define UNIT_BYTES 256
#define UNIT_SUPER false
#if defined(__AVX512VNNI__)
#define UNIT_KIND  UNIT_32
#define UNIT_Q_MAX 255
#define OFFSET     0
#else /* two products with bytes above 128 do not fit in int16: q - 128, which the bias makes up for */
#define UNIT_KIND  UNIT_SIGNED_MIN
#define UNIT_Q_MAX 128
#define OFFSET     128
#endif

PN_INLINE void unit_scales(unit_place p, int n, struct unit_scales *u)
{
    affine_scales(p, n, u);
    if (OFFSET)
        u->m = _mm256_fmadd_ps(u->s, _mm256_set1_ps(OFFSET), u->m);
}
PN_INLINE __m256i unit_q(unit_place p, int j)
{
    __m256i q = load256(p.q + 32 * j);
    return OFFSET ? _mm256_xor_si256(q, _mm256_set1_epi8(-128)) : q;
}

#include "device/cpu/isa/x86/matmul_q15.h"

const struct pn_matmul_kernel PN_ISA_NAME(affine8) = {UNIT_TYPE, PN_X_Q15, matmul_q15};
