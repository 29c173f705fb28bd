/* Searches for four-bit floats: several codes of the scale, each with the nearest levels. Layouts are in ../fp4.c. */
#ifndef PN_QUANT_SEARCH_FP4_H
#define PN_QUANT_SEARCH_FP4_H

#include "tensor/quant/fp4.h"
#include "tensor/quant/search/unit.h"

/* Where a magnitude rounds up to the next level (of two equally near, the smaller), in halves. */
static const float fp4_bounds[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10}, fp4_steps[7] = {1, 1, 1, 1, 2, 2, 4};

/* The weighted squared error of sub-blocks at..at + VN - 1 with these scales. */
PN_INLINE vf fp4_error(const struct unit *u, int at, int size, vf scale)
{
    vf inverse = vinverse(scale), error = vset(0);
    for (int j = 0; j < size; j++) {
        vf x = vabs(vload(u->x[j] + at)), a = x * inverse, level = vset(0);
        for (int k = 0; k < 7; k++)
            level += (vf)((a > vset(fp4_bounds[k])) & (vi)vset(fp4_steps[k]));
        vf e = x - scale * level;
        error += vload(u->w[j] + at) * e * e;
    }
    return error;
}

/* The indices of the nearest levels of sub-block s. */
PN_INLINE void fp4_levels(const struct unit *u, int s, int size, float scale, uint8_t *q)
{
    float inverse = scale > 0 ? 1 / scale : 0;
    for (int j = 0; j < size; j++) {
        float a = fabsf(u->x[j][s]) * inverse;
        int index = 0;
        for (int k = 0; k < 7; k++)
            index += a > fp4_bounds[k];
        q[j] = (uint8_t)(index | (u->x[j][s] < 0 && index > 0) << 3);
    }
}

/* The best of the codes first[s] .. last[s] for each sub-block. Where no error is finite, the code is 0 and the levels
 * are zero. */
PN_INLINE void fp4_search(const struct unit *u, int size, const int *first, const int *last, float scale_of(uint8_t),
                          uint8_t code[SUBS], uint8_t q[SUBS][MOST_SIZE])
{
    float best[SUBS];
    for (int s = 0; s < SUBS; s++) {
        best[s] = INFINITY;
        code[s] = 0;
    }
    for (int step = 0, more = 1; more; step++) {
        float scale[SUBS], error[SUBS];
        more = 0;
        for (int s = 0; s < SUBS; s++)
            scale[s] = first[s] + step <= last[s] ? scale_of((uint8_t)(first[s] + step)) : 0;
        for (int at = 0; at < SUBS; at += VN)
            vstore(error + at, fp4_error(u, at, size, vload(scale + at)));
        for (int s = 0; s < SUBS; s++) {
            if (first[s] + step > last[s])
                continue;
            more = 1;
            if (error[s] < best[s]) {
                best[s] = error[s];
                code[s] = (uint8_t)(first[s] + step);
            }
        }
    }
    for (int s = 0; s < SUBS; s++) {
        memset(q[s], 0, MOST_SIZE);
        if (best[s] < INFINITY)
            fp4_levels(u, s, size, scale_of(code[s]), q[s]);
    }
}

PN_INLINE float fp4_magnitude(const struct unit *u, int s, int size)
{
    float magnitude = 0;
    for (int j = 0; j < size; j++)
        magnitude = fabsf(u->x[j][s]) > magnitude ? fabsf(u->x[j][s]) : magnitude;
    return magnitude;
}

PN_INLINE void fp4_pack(const uint8_t *q, int half, uint8_t *packed)
{
    for (int j = 0; j < half; j++)
        packed[j] = (uint8_t)(q[j] | q[j + half] << 4);
}

/* The power of two below the magnitude is level 4; tries one octave around it. */
PN_INLINE void mxfp4_range(float magnitude, int *first, int *last)
{
    int exponent = (int)(pn_bits_of_float(magnitude) >> 23) - 2;
    *first = exponent < 1 ? 0 : exponent - 1;
    *last = exponent < -1 ? 0 : exponent + 1;
    *last = *last < 254 ? *last : 254;
}

/* Three codes below to four above the one that puts the magnitude at the largest level. */
PN_INLINE void nvfp4_range(float magnitude, int *first, int *last)
{
    int code = 0; /* the largest whose float is not above magnitude / 6 */
    for (int step = 64; step > 0; step /= 2)
        if (code + step < 0x7F && 2 * pn_half_e4m3((uint8_t)(code + step)) <= magnitude / 6)
            code += step;
    *first = code < 3 ? 0 : code - 3;
    *last = code + 4 < 0x7E ? code + 4 : 0x7E;
}

/* Sub-blocks of `size` values, `per` of them to a block: the codes of their scales, then their levels. */
PN_INLINE void encode_fp4(int size, int per, void range(float, int *, int *), float scale_of(uint8_t), const float *x,
                          const float *weights, uint8_t *b, size_t n)
{
    struct unit u;
    int first[SUBS], last[SUBS];
    uint8_t code[SUBS], q[SUBS][MOST_SIZE];
    while (n > 0) {
        int here = n >= (size_t)(size * SUBS) ? SUBS : (int)(n / (size_t)size);
        for (int s = 0; s < SUBS; s += per) { /* missing blocks repeat the first */
            int from = s < here ? s : 0;
            unit_fill(&u, s, per, size, x + size * from, weights ? weights + size * from : NULL);
        }
        for (int s = 0; s < SUBS; s++)
            range(fp4_magnitude(&u, s, size), &first[s], &last[s]);
        fp4_search(&u, size, first, last, scale_of, code, q);
        for (int s = 0; s < here; s++) {
            b[s % per] = code[s];
            fp4_pack(q[s], size / 2, b + per + s % per * size / 2);
            b += s % per == per - 1 ? per + per * size / 2 : 0;
        }
        n -= (size_t)(size * here);
        x += size * here;
        weights = weights ? weights + size * here : NULL;
    }
}

static void search_mxfp4(const float *x, const float *weights, void *blocks, size_t n)
{
    encode_fp4(32, 1, mxfp4_range, pn_half_e8m0, x, weights, blocks, n);
}

static void search_nvfp4(const float *x, const float *weights, void *blocks, size_t n)
{
    encode_fp4(16, 4, nvfp4_range, pn_half_e4m3, x, weights, blocks, n);
}

#endif
