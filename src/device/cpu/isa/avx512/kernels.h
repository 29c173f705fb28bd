/* The matrix products of this folder, one file each; isa.c lists them. */
#ifndef PN_ISA_AVX512_KERNELS_H
#define PN_ISA_AVX512_KERNELS_H

#include "device/cpu/kernel.h"

extern const struct pn_matmul_kernel pn_avx512_q4_0;
extern const struct pn_matmul_kernel pn_avx512_q4_1;
extern const struct pn_matmul_kernel pn_avx512_q5_0;
extern const struct pn_matmul_kernel pn_avx512_q5_1;
extern const struct pn_matmul_kernel pn_avx512_q8_0;
extern const struct pn_matmul_kernel pn_avx512_q2_k;
extern const struct pn_matmul_kernel pn_avx512_q3_k;
extern const struct pn_matmul_kernel pn_avx512_q4_k;
extern const struct pn_matmul_kernel pn_avx512_q5_k;
extern const struct pn_matmul_kernel pn_avx512_q6_k;
extern const struct pn_matmul_kernel pn_avx512_iq4_nl;
extern const struct pn_matmul_kernel pn_avx512_iq4_xs;
extern const struct pn_matmul_kernel pn_avx512_mxfp4;

#endif
