/* Affine groups, as MLX stores them: value = q * scale + bias, with one scale and one bias per group of values along a
 * row, in planes of their own. The q of a row are one stream of bits, low bits first: values of 3, 5 and 6 bits cross
 * byte and word boundaries, but 32 of them always end at one. */
#include "tensor/quant/quant.h"

static void decode(const struct pn_planes_row *row, int bits, size_t first, float *dst, size_t n)
{
    const uint8_t *q = row->at[PN_PLANE_VALUES];
    size_t block = 32, bytes = (size_t)bits * block / 8, group = (size_t)row->group;
    unsigned mask = (1u << bits) - 1;
    const struct pn_type_info *scales = row->type[PN_PLANE_SCALES], *biases = row->type[PN_PLANE_BIASES];
    for (size_t i = 0; i < n; i += block) {
        const uint8_t *p = q + (first + i) / block * bytes;
        size_t g = (first + i) / group;
        float scale, bias;
        scales->decode((const char *)row->at[PN_PLANE_SCALES] + g * scales->bytes, &scale, 1);
        biases->decode((const char *)row->at[PN_PLANE_BIASES] + g * biases->bytes, &bias, 1);
        uint32_t stream = 0;
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
