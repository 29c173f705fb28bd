/* An instruction set of arm64: the products of this folder. The functions of common/ need no more than plain NEON, and
 * generic/ already has them with it, as every arm64 compiler may use NEON. */
#include "device/cpu/isa/common/products.h"
#include "device/cpu/isa/isa.h"

void PN_ISA_NAME(install)(struct pn_cpu_kernels *kernels)
{
    install_products(kernels);
}
