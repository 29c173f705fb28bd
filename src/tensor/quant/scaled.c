/* Small numbers with a scale per group of values along a row, in a separate plane.
 *
 *   FP4_MX  E2M1 by pairs, the low half of a byte first; scales E8M0 per 32 values (MLX's mxfp4, Hugging Face's mxfp4)
 *   FP4_NV  the same; scales E4M3 per 16 values, times one float32 for the whole tensor in the third plane
 *   FP8_MX  E4M3; scales E8M0 per 32 values (MLX's mxfp8)
 *   FP8     E4M3; float scales
 *   INT8    signed bytes; float scales
 *   CODES4  indices by pairs, the high half of a byte first, into sixteen float32 in the third plane; float scales
 *           (bitsandbytes' nf4 and fp4)
 *
 * Open Compute Project, 8-bit Floating Point (OFP8), 2023, and Microscaling Formats (MX) 1.0, 2023; Dettmers et al.,
 * QLoRA, 2023. */
#include "tensor/quant/quant.h"

#include <math.h>

static const float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* 2^(e - 127); 0 is subnormal, 255 is not a number. */
static float of_e8m0(uint8_t e)
{
    return e == 0 ? 0x1p-127f : e == 255 ? NAN : pn_float_of_bits((uint32_t)e << 23);
}

/* No infinities; the largest magnitude is not a number. */
static float of_e4m3(uint8_t e)
{
    uint32_t exponent = e >> 3 & 15, mantissa = e & 7;
    float value = (e & 0x7F) == 0x7F ? NAN
                  : exponent         ? pn_float_of_bits((exponent + 120) << 23 | mantissa << 20)
                                     : (float)mantissa * 0x1p-9f;
    return e & 0x80 ? -value : value;
}

/* Value i of a plane of float32, float16 or bfloat16. */
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

static const uint8_t *bytes_of(const struct pn_planes_row *row, int plane)
{
    return row->at[plane];
}

/* The values from `first` on that share a scale, at most n. */
static size_t run_of(const struct pn_planes_row *row, size_t first, size_t n)
{
    size_t left = (size_t)row->group - first % (size_t)row->group;
    return left < n ? left : n;
}

static float low_first(const uint8_t *q, size_t i)
{
    return e2m1[q[i / 2] >> (i % 2 ? 4 : 0) & 15];
}

void pn_decode_planes_fp4_mx(const struct pn_planes_row *row, size_t first, float *dst, size_t n)
{
    const uint8_t *q = bytes_of(row, PN_PLANE_VALUES), *scales = bytes_of(row, PN_PLANE_SCALES);
    for (size_t i = first; i < first + n; i++)
        *dst++ = low_first(q, i) * of_e8m0(scales[i / (size_t)row->group]);
}

void pn_decode_planes_fp4_nv(const struct pn_planes_row *row, size_t first, float *dst, size_t n)
{
    const uint8_t *q = bytes_of(row, PN_PLANE_VALUES), *scales = bytes_of(row, PN_PLANE_SCALES);
    float factor = value_of(row, PN_PLANE_BIASES, 0);
    for (size_t i = first; i < first + n; i++)
        *dst++ = low_first(q, i) * (of_e4m3(scales[i / (size_t)row->group]) * factor);
}

void pn_decode_planes_fp8_mx(const struct pn_planes_row *row, size_t first, float *dst, size_t n)
{
    const uint8_t *q = bytes_of(row, PN_PLANE_VALUES), *scales = bytes_of(row, PN_PLANE_SCALES);
    for (size_t i = first; i < first + n; i++)
        *dst++ = of_e4m3(q[i]) * of_e8m0(scales[i / (size_t)row->group]);
}

void pn_decode_planes_fp8(const struct pn_planes_row *row, size_t first, float *dst, size_t n)
{
    const uint8_t *q = bytes_of(row, PN_PLANE_VALUES);
    for (size_t i = first, run, end = first + n; i < end; i += run) {
        float scale = value_of(row, PN_PLANE_SCALES, i / (size_t)row->group);
        run = run_of(row, i, end - i);
        for (size_t j = 0; j < run; j++)
            *dst++ = of_e4m3(q[i + j]) * scale;
    }
}

void pn_decode_planes_int8(const struct pn_planes_row *row, size_t first, float *dst, size_t n)
{
    const uint8_t *q = bytes_of(row, PN_PLANE_VALUES);
    for (size_t i = first, run, end = first + n; i < end; i += run) {
        float scale = value_of(row, PN_PLANE_SCALES, i / (size_t)row->group);
        run = run_of(row, i, end - i);
        for (size_t j = 0; j < run; j++)
            *dst++ = (float)(int8_t)q[i + j] * scale;
    }
}

void pn_decode_planes_codes4(const struct pn_planes_row *row, size_t first, float *dst, size_t n)
{
    const uint8_t *q = bytes_of(row, PN_PLANE_VALUES);
    float codes[16];
    pn_decode_f32(row->at[PN_PLANE_BIASES], codes, 16);
    for (size_t i = first, run, end = first + n; i < end; i += run) {
        float scale = value_of(row, PN_PLANE_SCALES, i / (size_t)row->group);
        run = run_of(row, i, end - i);
        for (size_t j = i; j < i + run; j++)
            *dst++ = codes[q[j / 2] >> (j % 2 ? 0 : 4) & 15] * scale;
    }
}
