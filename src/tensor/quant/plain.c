/* Types that hold one value an element: floats and integers. */
#include "tensor/quant/quant.h"

#include <string.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float pn_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1F, mantissa = h & 0x3FF;
    if (exponent == 0) /* zero and subnormals: mantissa * 2^-24 is exact */
        return float_of(sign | bits_of((float)mantissa * 0x1p-24f));
    if (exponent == 31)
        return float_of(sign | 0x7F800000u | mantissa << 13);
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t pn_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF)); /* NaN stays NaN */
    if (magnitude >= 0x477FF000)                                      /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 rounds at the last subnormal bit */
        float rounded = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(rounded) - bits_of(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | (magnitude - (112u << 23) + 0xFFF + odd) >> 13);
}

uint16_t pn_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
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
    void pn_decode_##name(const void *src, float *dst, size_t n)                                                       \
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
DECODER(i32, int32_t, (float)v)

#define ENCODER(name, element, expression)                                                                             \
    void pn_encode_##name(const float *src, void *dst, size_t n)                                                       \
    {                                                                                                                  \
        unsigned char *p = dst;                                                                                        \
        for (size_t i = 0; i < n; i++) {                                                                               \
            element v = (expression);                                                                                  \
            memcpy(p + i * sizeof v, &v, sizeof v);                                                                    \
        }                                                                                                              \
    }

ENCODER(f16, uint16_t, pn_f32_to_f16(src[i]))
ENCODER(bf16, uint16_t, pn_f32_to_bf16(src[i]))
