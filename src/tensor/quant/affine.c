/* MLX's affine groups: value = q * scale + bias, with a scale and a bias per group of values along a row, in separate
 * planes. The q of a row are one stream of bits, low bits first: q of 3, 5 and 6 bits cross the borders of bytes and
 * words, but every 32 of them end at one. */
#include "tensor/quant/quant.h"

/* Value i of a plane of scales or biases, which are float32, float16 or bfloat16. */
static float value_of(const struct pn_planes_row *row, int plane, size_t i)
{
    const char *at = row->at[plane];
    float value;
    if (row->type[plane] == PN_TYPE_F32)
        pn_decode_f32(at + i * sizeof(float), &value, 1);
    else if (row->type[plane] == PN_TYPE_F16)
        pn_decode_f16(at + i * sizeof(uint16_t), &value, 1);
    else
        pn_decode_bf16(at + i * sizeof(uint16_t), &value, 1);
    return value;
}

static inline __attribute__((always_inline)) void decode(const struct pn_planes_row *row, int bits, size_t first,
                                                         float *dst, size_t n)
{
    const uint8_t *q = row->at[PN_PLANE_VALUES];
    size_t block = 32, bytes = (size_t)bits * block / 8, group = (size_t)row->group;
    unsigned mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i += block) {
        const uint8_t *p = q + (first + i) / block * bytes;
        size_t g = (first + i) / group;
        float scale = value_of(row, PN_PLANE_SCALES, g), bias = value_of(row, PN_PLANE_BIASES, g);
        uint32_t stream = 0;
        if (bits == 8) {
            for (size_t j = 0; j < block; j++)
                dst[i + j] = (float)p[j] * scale + bias;
            continue;
        }
        if (bits == 4) { /* without the stream, compilers use vectors */
            for (size_t j = 0; j < block / 2; j++) {
                dst[i + 2 * j] = (float)(p[j] & 15) * scale + bias;
                dst[i + 2 * j + 1] = (float)(p[j] >> 4) * scale + bias;
            }
            continue;
        }
        for (int j = 0, have = 0; j < (int)block; j++, have -= bits, stream >>= bits) {
            for (; have < bits; have += 8)
                stream |= (uint32_t)*p++ << have;
            dst[i + (size_t)j] = (float)(stream & mask) * scale + bias;
        }
    }
}

#define DECODER(bits)                                                                                                  \
    void pn_decode_planes_affine##bits(const struct pn_planes_row *row, size_t first, float *dst, size_t n)            \
    {                                                                                                                  \
        decode(row, bits, first, dst, n);                                                                              \
    }

DECODER(2)
DECODER(3)
DECODER(4)
DECODER(5)
DECODER(6)
DECODER(8)
