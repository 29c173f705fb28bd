/* What each folder of isa/ defines; kernels.c lists those that belong to the architecture it is compiled for. */
#ifndef PN_ISA_ISAS_H
#define PN_ISA_ISAS_H

#include "device/cpu/kernel.h"

extern const struct pn_cpu_isa pn_isa_generic;
#if defined(__x86_64__)
extern const struct pn_cpu_isa pn_isa_avx2, pn_isa_avx512;
#elif defined(__aarch64__)
extern const struct pn_cpu_isa pn_isa_neon, pn_isa_neon_dotprod, pn_isa_neon_i8mm;
#endif

#endif
