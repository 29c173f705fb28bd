/* Chooses the kernels: the one place that knows which instruction sets exist. */
#include "device/cpu/isa/isas.h"

#include <string.h>

const struct pn_cpu_isa *const pn_cpu_isas[] = {
    &pn_isa_generic,
#if defined(__x86_64__)
    &pn_isa_avx2,
    &pn_isa_avx512,
#elif defined(__aarch64__)
    &pn_isa_neon,
    &pn_isa_neon_dotprod,
    &pn_isa_neon_i8mm,
#endif
};
const int pn_cpu_n_isas = (int)(sizeof pn_cpu_isas / sizeof *pn_cpu_isas);

bool pn_cpu_kernels_select(struct pn_cpu_kernels *kernels, const char *highest)
{
    int last = pn_cpu_n_isas - 1;
    if (highest) {
        while (last >= 0 && strcmp(pn_cpu_isas[last]->name, highest) != 0)
            last--;
        if (last < 0 || !pn_cpu_isas[last]->supported())
            return false;
    }
    memset(kernels, 0, sizeof *kernels);
    for (int i = 0; i <= last; i++) {
        const struct pn_cpu_isa *isa = pn_cpu_isas[i];
        if (!isa->supported())
            continue;
        if (isa->install)
            isa->install(kernels);
        for (const struct pn_matmul_kernel *const *m = isa->matmul; m && *m; m++)
            kernels->matmul[(*m)->type] = **m;
        kernels->isa = isa->name;
    }
    return true;
}
