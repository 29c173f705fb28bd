/* AVX-512 (F, BW, VL, DQ) with VNNI: the table of what this folder offers. */
#include "device/cpu/isa/avx512/kernels.h"
#include "device/cpu/isa/common/attention.h"
#include "device/cpu/isa/common/elementwise.h"
#include "device/cpu/isa/common/matmul_f32.h"
#include "device/cpu/isa/features.h"
#include "device/cpu/isa/isas.h"

static bool supported(void)
{
    return pn_cpu_has(PN_CPU_AVX512);
}

static const struct pn_matmul_kernel *const matmul[] = {
    &pn_avx512_q4_0,   &pn_avx512_q4_1,
    &pn_avx512_q5_0,   &pn_avx512_q5_1,
    &pn_avx512_q8_0,   &pn_avx512_q2_k,
    &pn_avx512_q3_k,   &pn_avx512_q4_k,
    &pn_avx512_q5_k,   &pn_avx512_q6_k,
    &pn_avx512_iq4_nl, &pn_avx512_iq4_xs,
    &pn_avx512_mxfp4,  NULL,
};

static void install(struct pn_cpu_kernels *kernels)
{
    for (int t = 0; t < PN_TYPE_COUNT; t++)
        kernels->matmul[t] =
            (struct pn_matmul_kernel){(pn_type)t, {{PN_ACT_F32, matmul_f32}, {PN_ACT_F32, matmul_f32}}};
    install_elementwise(kernels);
    install_attention(kernels);
}

const struct pn_cpu_isa pn_isa_avx512 = {"avx512", supported, matmul, install};
