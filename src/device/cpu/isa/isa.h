/* For the files that the build compiles once per instruction set, with PN_ISA as its name: their external names, and
 * the symbols that fill the kernel table. */
#ifndef PN_ISA_ISA_H
#define PN_ISA_ISA_H

#include "device/cpu/kernel.h"

/* PN_ISA_NAME(q4_k) is pn_avx2_q4_k when PN_ISA is avx2. */
#define PN_ISA_NAME(name)        PN_ISA_EXPAND(PN_ISA, name)
#define PN_ISA_EXPAND(isa, name) PN_ISA_JOIN(isa, name)
#define PN_ISA_JOIN(isa, name)   pn_##isa##_##name

/* In isa.c of each folder: installs the entries that this instruction set improves. */
pn_isa_install_fn PN_ISA_NAME(install);

#define PN_KERNEL(name) extern const struct pn_matmul_kernel PN_ISA_NAME(name);
#include "device/cpu/isa/kernels.def"
#undef PN_KERNEL

#endif
