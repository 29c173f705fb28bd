/* The codebooks of the IQ types: a stored index names a vector of eight (IQ1, IQ2) or four (IQ3) small levels.
 *
 * Each vector is packed into 16 bits, first level lowest: two bits per level for IQ1 and IQ2, four for IQ3. The values
 * of a packed level f: IQ1 f - 1; IQ2 8, 25, 43; IQ3_XXS 4, 12, ... 52, 62; IQ3_S 2f + 1. */
#ifndef PN_TENSOR_IQUANTS_GRID_H
#define PN_TENSOR_IQUANTS_GRID_H

#include "tensor/quant/quant.h"

extern const uint16_t pn_grid_iq2_xxs[256], pn_grid_iq2_xs[512], pn_grid_iq2_s[1024];
extern const uint16_t pn_grid_iq3_xxs[256], pn_grid_iq3_s[512];
extern const uint16_t pn_grid_iq1[2048];

/* The four four-bit fields of `packed`, one per byte. */
static inline uint32_t pn_grid_spread4(uint16_t packed)
{
    uint32_t v = packed;
    v = (v | v << 8) & 0x00FF00FFu;
    return (v | v << 4) & 0x0F0F0F0Fu;
}

/* Levels as bytes; no byte carries into the next. */
static inline uint64_t pn_grid_levels_iq2(uint16_t packed)
{
    uint64_t f = pn_quant_spread2(packed);
    return f * 17 + 0x0808080808080808u + (f >> 1 & 0x0101010101010101u);
}

static inline uint32_t pn_grid_levels_iq3_xxs(uint16_t packed)
{
    uint32_t f = pn_grid_spread4(packed), seven = (f + 0x01010101u) >> 3 & 0x01010101u;
    return f * 8 + 0x04040404u + seven * 2;
}

static inline uint32_t pn_grid_levels_iq3_s(uint16_t packed)
{
    return pn_grid_spread4(packed) * 2 + 0x01010101u;
}

/* The signs of eight levels from the seven stored ones: the eighth makes the number of negative levels even. */
static inline uint8_t pn_grid_signs(uint32_t seven)
{
    uint32_t parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (uint8_t)(seven | (parity & 1) << 7);
}

#endif
