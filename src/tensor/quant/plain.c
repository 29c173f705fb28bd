/* Types with one value per block: floats and integers. */
#include "tensor/quant/quant.h"

uint16_t pn_f32_to_f16(float f)
{
    uint32_t u = pn_bits_of_float(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF)); /* NaN stays NaN */
    if (magnitude >= 0x477FF000)                                      /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 rounds at the last subnormal bit */
        float rounded = pn_float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (pn_bits_of_float(rounded) - pn_bits_of_float(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | (magnitude - (112u << 23) + 0xFFF + odd) >> 13);
}

uint16_t pn_f32_to_bf16(float f)
{
    uint32_t u = pn_bits_of_float(f);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

void pn_decode_f32(const void *src, float *dst, size_t n)
{
    memcpy(dst, src, n * sizeof *dst);
}

void pn_encode_f32(const float *src, void *dst, size_t n)
{
    memcpy(dst, src, n * sizeof *src);
}

/* One loop for each type of element: load without alignment, convert. */
#define DECODER(name, element, expression)                                                                             \
    void pn_decode_##name(const void *restrict src, float *restrict dst, size_t n)                                     \
    {                                                                                                                  \
        const unsigned char *p = src;                                                                                  \
        for (size_t i = 0; i < n; i++) {                                                                               \
            element v;                                                                                                 \
            memcpy(&v, p + i * sizeof v, sizeof v);                                                                    \
            dst[i] = (expression);                                                                                     \
        }                                                                                                              \
    }

DECODER(f16, uint16_t, pn_f16_to_f32(v))
DECODER(bf16, uint16_t, pn_bf16_to_f32(v))
DECODER(f64, double, (float)v)
DECODER(i8, int8_t, (float)v)
DECODER(i16, int16_t, (float)v)
DECODER(i32, int32_t, (float)v)
DECODER(i64, int64_t, (float)v)

#define ENCODER(name, element, expression)                                                                             \
    void pn_encode_##name(const float *restrict src, void *restrict dst, size_t n)                                     \
    {                                                                                                                  \
        unsigned char *p = dst;                                                                                        \
        for (size_t i = 0; i < n; i++) {                                                                               \
            element v = (expression);                                                                                  \
            memcpy(p + i * sizeof v, &v, sizeof v);                                                                    \
        }                                                                                                              \
    }

ENCODER(f16, uint16_t, pn_f32_to_f16(src[i]))
ENCODER(bf16, uint16_t, pn_f32_to_bf16(src[i]))
ENCODER(f64, double, (double)src[i])
