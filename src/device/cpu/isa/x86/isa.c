/* An instruction set of x86-64: the functions of common/ with its vectors, and the products of this folder. */
#include "device/cpu/isa/common/attention.h"
#include "device/cpu/isa/common/elementwise.h"
#include "device/cpu/isa/common/matmul_f32.h"
#include "device/cpu/isa/common/products.h"
#include "device/cpu/isa/isa.h"

void PN_ISA_NAME(install)(struct pn_cpu_kernels *kernels)
{
    install_matmul_f32(kernels);
    install_elementwise(kernels);
    install_attention(kernels);
    install_products(kernels);
}
