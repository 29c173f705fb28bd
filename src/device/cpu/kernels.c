/* Chooses the kernels: installs every instruction set that this processor has, in rising order of preference. */
#include "device/cpu/kernel.h"

#include <string.h>

#define PN_INSTRUCTION_SET(name, feature) pn_isa_install_fn pn_##name##_install;
#include "device/cpu/isa/isas.def"
#undef PN_INSTRUCTION_SET

#define PN_INSTRUCTION_SET(name, feature) {#name, feature, pn_##name##_install},
const struct pn_cpu_isa pn_cpu_isas[] = {
#include "device/cpu/isa/isas.def"
};
#undef PN_INSTRUCTION_SET
const int pn_cpu_n_isas = (int)(sizeof pn_cpu_isas / sizeof *pn_cpu_isas);

bool pn_cpu_kernels_select(struct pn_cpu_kernels *kernels, const char *highest)
{
    int last = pn_cpu_n_isas - 1;
    if (highest) {
        while (last >= 0 && strcmp(pn_cpu_isas[last].name, highest) != 0)
            last--;
        if (last < 0 || !pn_cpu_has(pn_cpu_isas[last].needs))
            return false;
    }
    memset(kernels, 0, sizeof *kernels);
    for (int i = 0; i <= last; i++) {
        const struct pn_cpu_isa *isa = &pn_cpu_isas[i];
        if (!pn_cpu_has(isa->needs))
            continue;
        isa->install(kernels);
        kernels->isa = isa->name;
    }
    return true;
}
