/* Every entry of the kernel table without any instruction set beyond the compiler's default. All storage types are
 * decoded and multiplied as float32. */
#include "device/cpu/isa/common/attention.h"
#include "device/cpu/isa/common/elementwise.h"
#include "device/cpu/isa/common/matmul_f32.h"
#include "device/cpu/isa/isas.h"

static bool supported(void)
{
    return true;
}

static void install(struct pn_cpu_kernels *kernels)
{
    for (int t = 0; t < PN_TYPE_COUNT; t++)
        kernels->matmul[t] =
            (struct pn_matmul_kernel){(pn_type)t, {{PN_ACT_F32, matmul_f32}, {PN_ACT_F32, matmul_f32}}};
    install_elementwise(kernels);
    install_attention(kernels);
}

const struct pn_cpu_isa pn_isa_generic = {"generic", supported, NULL, install};
