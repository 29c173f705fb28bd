/* Every entry of the kernel table, with no more than the compiler's default instructions. All storage types are decoded
 * and multiplied as float32. */
#include "device/cpu/isa/common/attention.h"
#include "device/cpu/isa/common/elementwise.h"
#include "device/cpu/isa/common/matmul_f32.h"
#include "device/cpu/isa/isa.h"

void PN_ISA_NAME(install)(struct pn_cpu_kernels *kernels)
{
    install_matmul_f32(kernels);
    install_elementwise(kernels);
    install_attention(kernels);
}
