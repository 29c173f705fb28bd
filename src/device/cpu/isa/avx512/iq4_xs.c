/* IQ4_XS times q8 activations on AVX-512 with VNNI. */
#include "device/cpu/isa/avx512/kernels.h"
#include "device/cpu/isa/x86/iq4_xs.h"
#include "device/cpu/isa/x86/matmul_q8.h"

const struct pn_matmul_kernel pn_avx512_iq4_xs = {UNIT_TYPE, {{PN_ACT_Q8, matmul_few}, {PN_ACT_Q8, matmul_many}}};
