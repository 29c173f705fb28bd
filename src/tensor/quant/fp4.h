/* The scales of four-bit floats: see fp4.c. */
#ifndef PN_QUANT_FP4_H
#define PN_QUANT_FP4_H

#include "tensor/type.h"

/* Half of 2^(e - 127); 2^-128 and 2^-127 are subnormal. */
static inline float pn_half_e8m0(uint8_t e)
{
    return pn_float_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of the unsigned E4M3 float; exact in float32. The top bit is ignored, except that 0x7F alone is zero. */
static inline float pn_half_e4m3(uint8_t e)
{
    uint32_t exponent = e >> 3 & 15, mantissa = e & 7;
    if (e == 0x7F)
        return 0;
    if (exponent == 0)
        return (float)mantissa * 0x1p-10f;
    return pn_float_of_bits((exponent + 119) << 23 | mantissa << 20);
}

#endif
