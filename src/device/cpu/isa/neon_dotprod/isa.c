/* NEON with SDOT: the table of what this folder offers. */
#include "device/cpu/isa/neon_dotprod/kernels.h"
#include "device/cpu/isa/features.h"
#include "device/cpu/isa/isas.h"

#include <stddef.h>

static bool supported(void)
{
    return pn_cpu_has(PN_CPU_DOTPROD);
}

static const struct pn_matmul_kernel *const matmul[] = {
    &pn_neon_dotprod_q4_0,   &pn_neon_dotprod_q4_1,
    &pn_neon_dotprod_q5_0,   &pn_neon_dotprod_q5_1,
    &pn_neon_dotprod_q8_0,   &pn_neon_dotprod_q2_k,
    &pn_neon_dotprod_q3_k,   &pn_neon_dotprod_q4_k,
    &pn_neon_dotprod_q5_k,   &pn_neon_dotprod_q6_k,
    &pn_neon_dotprod_iq4_nl, &pn_neon_dotprod_iq4_xs,
    &pn_neon_dotprod_mxfp4,  NULL,
};

const struct pn_cpu_isa pn_isa_neon_dotprod = {"neon_dotprod", supported, matmul, NULL};
