/* GGUF types that hold the numbers of types in planes: see convert.h.
 *
 * MLX's affine groups of 4 and 5 bits are Q4_1 and Q5_1 if their scales and biases are half precision numbers, which
 * those of bfloat16 mostly are; longer groups repeat them. Four-bit floats have the same levels and scales in both. */
#include "engine/convert.h"
#include "tensor/weight.h"

#include <math.h>

enum { BLOCK = 32 };

static float scale_of(const struct pn_weight *w, int plane, const void *row, size_t i)
{
    const unsigned char *at = row;
    float value;
    pn_type type = w->plane[plane].type;
    pn_type_decode_row(type, at + i * pn_type_info(type)->bytes, &value, 1);
    return value;
}

static bool is_half(float value)
{
    return isfinite(value) && pn_f16_to_f32(pn_f32_to_f16(value)) == value;
}

/* All scales and biases fit half precision. */
static bool halves(const struct pn_weight *w)
{
    size_t groups = (size_t)(w->n_cols / w->group);
    for (int64_t m = 0; m < w->n_mat; m++)
        for (int64_t r = 0; r < w->n_rows; r++)
            for (int p = PN_PLANE_SCALES; p <= PN_PLANE_BIASES; p++) {
                const void *row = pn_weight_at(w, p, m, r);
                for (size_t g = 0; g < groups; g++)
                    if (!is_half(scale_of(w, p, row, g)))
                        return false;
            }
    return true;
}

/* E4M3 scales without a sign or NaN, and no factor for the tensor. */
static bool plain_e4m3(const struct pn_weight *w)
{
    size_t groups = (size_t)(w->n_cols / w->group);
    for (int64_t m = 0; m < w->n_mat; m++) {
        if (scale_of(w, PN_PLANE_BIASES, pn_weight_at(w, PN_PLANE_BIASES, m, 0), 0) != 1.0f)
            return false;
        for (int64_t r = 0; r < w->n_rows; r++) {
            const unsigned char *scales = pn_weight_at(w, PN_PLANE_SCALES, m, r);
            for (size_t g = 0; g < groups; g++)
                if (scales[g] >= 0x7F)
                    return false;
        }
    }
    return true;
}

pn_type pn_exact_type(const struct pn_tensor_info *t)
{
    const struct pn_weight *w = t->places;
    if (!w || w->n_planes < 2 || w->group < 1)
        return PN_TYPE_COUNT;
    switch (w->type) {
    case PN_TYPE_AFFINE4:
        return w->group % BLOCK == 0 && halves(w) ? PN_TYPE_Q4_1 : PN_TYPE_COUNT;
    case PN_TYPE_AFFINE5:
        return w->group % BLOCK == 0 && halves(w) ? PN_TYPE_Q5_1 : PN_TYPE_COUNT;
    case PN_TYPE_FP4_MX:
        return w->group == BLOCK ? PN_TYPE_MXFP4 : PN_TYPE_COUNT;
    case PN_TYPE_FP4_NV:
        return w->group == 16 && w->n_cols % 64 == 0 && plain_e4m3(w) ? PN_TYPE_NVFP4 : PN_TYPE_COUNT;
    case PN_TYPE_FP8_MX: /* three bits of mantissa, and the exponent's range is bfloat16's */
        return PN_TYPE_BF16;
    default:
        return PN_TYPE_COUNT;
    }
}

/* Value j and value j + half of 2 * half codes of four bits, low half of a byte first, share a byte. */
static void pair_codes(const unsigned char *from, unsigned char *to, int half)
{
    for (int j = 0; j < half; j++) {
        int low = from[j / 2] >> (j % 2 * 4) & 15, high = from[(j + half) / 2] >> ((j + half) % 2 * 4) & 15;
        to[j] = (unsigned char)(low | high << 4);
    }
}

static void put_half(unsigned char *to, float value)
{
    uint16_t h = pn_f32_to_f16(value);
    to[0] = (unsigned char)h;
    to[1] = (unsigned char)(h >> 8);
}

static unsigned code5(const unsigned char *q, int i)
{
    int bit = 5 * i;
    unsigned two = q[bit / 8] | (unsigned)(bit / 8 + 1 < 5 * BLOCK / 8 ? q[bit / 8 + 1] : 0) << 8;
    return two >> (bit % 8) & 31;
}

static void affine_row(const struct pn_weight *w, const unsigned char *q, const void *scales, const void *biases,
                       unsigned char *dst)
{
    bool five = w->type == PN_TYPE_AFFINE5;
    for (int64_t i = 0; i < w->n_cols; i += BLOCK, q += five ? 20 : 16) {
        size_t g = (size_t)(i / w->group);
        put_half(dst, scale_of(w, PN_PLANE_SCALES, scales, g));
        put_half(dst + 2, scale_of(w, PN_PLANE_BIASES, biases, g));
        dst += 4;
        if (five) { /* the fifth bits, then the low ones */
            uint32_t high = 0;
            for (int j = 0; j < BLOCK; j++)
                high |= (uint32_t)(code5(q, j) >> 4) << j;
            for (int b = 0; b < 4; b++)
                *dst++ = (unsigned char)(high >> 8 * b);
            for (int j = 0; j < BLOCK / 2; j++)
                dst[j] = (unsigned char)((code5(q, j) & 15) | (code5(q, j + BLOCK / 2) & 15) << 4);
        } else {
            pair_codes(q, dst, BLOCK / 2);
        }
        dst += BLOCK / 2;
    }
}

void pn_exact_row(const struct pn_tensor_info *t, int64_t mat, int64_t row, pn_type to, void *dst)
{
    const struct pn_weight *w = t->places;
    const unsigned char *q = pn_weight_at(w, PN_PLANE_VALUES, mat, row);
    const unsigned char *scales = pn_weight_at(w, PN_PLANE_SCALES, mat, row);
    unsigned char *out = dst;
    if (to == PN_TYPE_MXFP4) {
        for (int64_t i = 0; i < w->n_cols; i += BLOCK, q += 16, out += 17) {
            out[0] = scales[i / BLOCK];
            pair_codes(q, out + 1, 16);
        }
    } else if (to == PN_TYPE_NVFP4) {
        for (int64_t i = 0; i < w->n_cols; i += 64, out += 36)
            for (int s = 0; s < 4; s++, q += 8) {
                out[s] = scales[i / 16 + s];
                pair_codes(q, out + 4 + 8 * s, 8);
            }
    } else {
        affine_row(w, q, scales, pn_weight_at(w, PN_PLANE_BIASES, mat, row), out);
    }
}
