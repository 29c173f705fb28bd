/* What the processor and the operating system support, asked at run time. */
#ifndef PN_ISA_FEATURES_H
#define PN_ISA_FEATURES_H

#include <stdbool.h>

enum pn_cpu_feature {
    PN_CPU_ANY,     /* what every processor of the architecture has */
    PN_CPU_AVX2,    /* with FMA, F16C, BMI2 and the state of 256-bit registers */
    PN_CPU_AVX512,  /* F, BW, VL, DQ, VNNI and the state of 512-bit registers */
    PN_CPU_DOTPROD, /* arm64: SDOT, UDOT */
    PN_CPU_I8MM,    /* arm64: SMMLA */
};

/* True for PN_CPU_ANY. */
bool pn_cpu_has(enum pn_cpu_feature feature);

#endif
