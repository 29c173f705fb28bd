/* NEON with SMMLA: the table of what this folder offers. */
#include "device/cpu/isa/neon_i8mm/kernels.h"
#include "device/cpu/isa/features.h"
#include "device/cpu/isa/isas.h"

#include <stddef.h>

static bool supported(void)
{
    return pn_cpu_has(PN_CPU_I8MM);
}

static const struct pn_matmul_kernel *const matmul[] = {
    &pn_neon_i8mm_q4_0,   &pn_neon_i8mm_q4_1,
    &pn_neon_i8mm_q5_0,   &pn_neon_i8mm_q5_1,
    &pn_neon_i8mm_q8_0,   &pn_neon_i8mm_q2_k,
    &pn_neon_i8mm_q3_k,   &pn_neon_i8mm_q4_k,
    &pn_neon_i8mm_q5_k,   &pn_neon_i8mm_q6_k,
    &pn_neon_i8mm_iq4_nl, &pn_neon_i8mm_iq4_xs,
    &pn_neon_i8mm_mxfp4,  NULL,
};

const struct pn_cpu_isa pn_isa_neon_i8mm = {"neon_i8mm", supported, matmul, NULL};
