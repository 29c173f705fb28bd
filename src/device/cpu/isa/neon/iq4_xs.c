/* IQ4_XS times q8 activations on plain NEON. */
#include "device/cpu/isa/neon/kernels.h"
#include "device/cpu/isa/arm/iq4_xs.h"
#include "device/cpu/isa/arm/matmul_q8.h"

const struct pn_matmul_kernel pn_neon_iq4_xs = {UNIT_TYPE, {{PN_ACT_Q8, matmul_few}, {PN_ACT_Q8, matmul_many}}};
