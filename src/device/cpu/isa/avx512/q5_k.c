/* Q5_K times q8 activations on AVX-512 with VNNI. */
#include "device/cpu/isa/avx512/kernels.h"
#include "device/cpu/isa/x86/q5_k.h"
#include "device/cpu/isa/x86/matmul_q8.h"

const struct pn_matmul_kernel pn_avx512_q5_k = {UNIT_TYPE, {{PN_ACT_Q8, matmul_few}, {PN_ACT_Q8, matmul_many}}};
