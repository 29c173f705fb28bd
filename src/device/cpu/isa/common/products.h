/* The matrix products of the instruction set, one file per storage type. */
#ifndef PN_ISA_PRODUCTS_H
#define PN_ISA_PRODUCTS_H

#include "device/cpu/isa/isa.h"

static void install_products(struct pn_cpu_kernels *kernels)
{
#define PN_KERNEL(name) kernels->matmul[PN_ISA_NAME(name).type] = PN_ISA_NAME(name);
#include "device/cpu/isa/kernels.def"
#undef PN_KERNEL
}

#endif
