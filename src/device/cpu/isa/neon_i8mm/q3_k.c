/* Q3_K times q8 activations on NEON with SMMLA. */
#include "device/cpu/isa/neon_i8mm/kernels.h"
#include "device/cpu/isa/arm/q3_k.h"
#include "device/cpu/isa/arm/matmul_q8.h"

const struct pn_matmul_kernel pn_neon_i8mm_q3_k = {UNIT_TYPE, {{PN_ACT_Q8, matmul_few}, {PN_ACT_Q8, matmul_many}}};
