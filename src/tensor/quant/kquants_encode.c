/* Encoders of the K types: least squared error over scales, minima and levels together.
 *
 * A super-block is encoded in two steps. First every sub-block is fitted alone with real-valued scale and minimum: a
 * grid of candidate scales, each followed by the linear regression of the values on the levels it gives. Then the
 * super-block's own scale (and minimum) is taken from the largest, and integer scales near the fitted ones are tried
 * for each sub-block; a regression over the whole super-block improves its scale, and the step is repeated. All values
 * have the same weight.
 *
 * Layouts are described in kquants.c. Levels are kept as floats, so that loops vectorize; no input makes a level leave
 * its range. */
#include "tensor/quant/quant.h"

#include <math.h>

enum { SUPER = 256, LANES = 8, ROUNDS = 3 };

/* The levels of one kind of sub-block: `count` sub-blocks of `size` values, levels lo..hi, integer scales scale_lo ..
 * scale_hi. */
struct shape {
    int count, size;
    float lo, hi, scale_lo, scale_hi;
};

/* An encoded super-block: x = d * scale[s] * level - dmin * min[s]. */
struct super {
    float d, dmin, error;
    float scale[16], min[16];
    float level[SUPER];
};

/* ---- one sub-block ---- */

/* Sums over eight lanes, in a fixed order. */
static inline float total(const float lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Nearest levels of x for x = scale * level - min; returns the squared error. A NaN becomes the lowest level. */
static float quantize(const struct shape *shape, const float *restrict x, float scale, float min, float *restrict level)
{
    float inverse = scale != 0 ? 1 / scale : 0, lo = shape->lo, hi = shape->hi, lane[LANES] = {0};
    for (int j = 0; j < shape->size; j += LANES)
        for (int k = 0; k < LANES; k++) {
            float q = (x[j + k] + min) * inverse;
            q = q > lo ? q : lo;
            q = q < hi ? q : hi;
            q = q + 0x1.8p23f - 0x1.8p23f; /* rounds to the nearest integer, as no fraction bits are left */
            float e = x[j + k] + min - scale * q;
            level[j + k] = q;
            lane[k] += e * e;
        }
    return total(lane);
}

struct sums {
    float q, qq, xq, x;
};

static struct sums regression_sums(const float *restrict x, const float *restrict level, int n)
{
    float q[LANES] = {0}, qq[LANES] = {0}, xq[LANES] = {0}, sx[LANES] = {0};
    for (int j = 0; j < n; j += LANES)
        for (int k = 0; k < LANES; k++) {
            q[k] += level[j + k];
            qq[k] += level[j + k] * level[j + k];
            xq[k] += x[j + k] * level[j + k];
            sx[k] += x[j + k];
        }
    return (struct sums){total(q), total(qq), total(xq), total(sx)};
}

/* The scale with the least squared error of x - scale * level, level in lo..hi with lo < 0. */
static float fit_scale(const struct shape *shape, const float *restrict x)
{
    float extreme = 0, best = 0, best_gain = 0, level[32];
    for (int j = 0; j < shape->size; j++)
        extreme = fabsf(x[j]) > fabsf(extreme) ? x[j] : extreme;
    if (extreme == 0)
        return 0;
    /* The candidates put the extreme value between three quarters of the range and one level outside it, on either end.
     * Larger scales would sometimes fit a little better alone, but the super-block's scale has to reach them. */
    float step = (1 - 0.25f * shape->lo) / 18;
    for (int i = 0; i <= 18; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            float at = -0.75f * shape->lo + step * (float)i;
            quantize(shape, x, extreme / (at * (float)sign), 0, level);
            struct sums s = regression_sums(x, level, shape->size);
            float gain = s.qq > 0 ? s.xq * s.xq / s.qq : 0; /* the reduction of the squared error */
            if (gain > best_gain) {
                best_gain = gain;
                best = s.xq / s.qq;
            }
        }
    return best;
}

/* Scale and minimum (both >= 0) with the least squared error of x - (scale * level - min), level in 0..hi. */
static float fit_affine(const struct shape *shape, const float *restrict x, float *min)
{
    float least = x[0], most = x[0], n = (float)shape->size, level[32];
    for (int j = 1; j < shape->size; j++) {
        least = x[j] < least ? x[j] : least;
        most = x[j] > most ? x[j] : most;
    }
    least = least < 0 ? least : 0;
    *min = -least;
    float range = most - least, best = range / shape->hi;
    if (!(range > 0))
        return 0;
    float best_error = quantize(shape, x, best, -least, level);
    for (float top = shape->hi - 1.5f; top <= shape->hi + 1.5f; top += 0.125f) {
        quantize(shape, x, range / top, -least, level);
        struct sums s = regression_sums(x, level, shape->size);
        float det = n * s.qq - s.q * s.q;
        if (!(det > 0))
            continue;
        float scale = (n * s.xq - s.x * s.q) / det, m = (s.q * s.xq - s.qq * s.x) / det;
        if (m < 0) {
            m = 0;
            scale = s.xq / s.qq;
        }
        float error = quantize(shape, x, scale, m, level);
        if (scale > 0 && error < best_error) {
            best_error = error;
            best = scale;
            *min = m;
        }
    }
    return best;
}

/* ---- a super-block ---- */

/* Chooses integer scales near scale[s] / d and minima near min[s] / dmin, and with them all levels. */
static void choose(const struct shape *shape, const float *x, const float *scale, const float *min, struct super *out)
{
    out->error = 0;
    for (int s = 0; s < shape->count; s++, x += shape->size) {
        float best = INFINITY, level[32];
        int around = out->d != 0 ? pn_quant_nearest(scale[s] / out->d, shape->scale_lo, shape->scale_hi) : 0;
        int below = out->dmin != 0 ? pn_quant_nearest(min[s] / out->dmin, 0, shape->scale_hi) : 0;
        int reach = out->dmin != 0; /* 0: no minima in this type or super-block */
        out->scale[s] = out->min[s] = 0;
        memset(out->level + s * shape->size, 0, sizeof(float) * (size_t)shape->size);
        for (int a = around - 1; a <= around + 1; a++)
            for (int m = below - reach; m <= below + reach; m++) {
                if ((float)a < shape->scale_lo || (float)a > shape->scale_hi || m < 0 || (float)m > shape->scale_hi)
                    continue;
                float error = quantize(shape, x, out->d * (float)a, out->dmin * (float)m, level);
                if (error < best) {
                    best = error;
                    out->scale[s] = (float)a;
                    out->min[s] = (float)m;
                    memcpy(out->level + s * shape->size, level, sizeof(float) * (size_t)shape->size);
                }
            }
        out->error += best;
    }
}

/* Regression of all values on scale * level and min: a better d and dmin for the chosen integers. */
static void improve(const struct shape *shape, const float *x, struct super *block)
{
    float a = 0, b = 0, c = 0, p = 0, r = 0;
    for (int s = 0; s < shape->count; s++) {
        struct sums sum = regression_sums(x + s * shape->size, block->level + s * shape->size, shape->size);
        float scale = block->scale[s], min = block->min[s];
        a += scale * scale * sum.qq;
        b += scale * min * sum.q;
        c += min * min * (float)shape->size;
        p += scale * sum.xq;
        r += min * sum.x;
    }
    float det = a * c - b * b;
    if (block->dmin != 0 && det > 0) {
        float d = (c * p - b * r) / det, dmin = (b * p - a * r) / det;
        if (d > 0 && dmin > 0) {
            block->d = d;
            block->dmin = dmin;
        }
    } else if (a > 0) {
        block->d = (p + block->dmin * b) / a;
    }
}

static float as_f16(float f)
{
    uint8_t stored[2];
    return pn_quant_store_f16(stored, f);
}

static void encode_super(const struct shape *shape, const float *x, struct super *out)
{
    float scale[16], min[16] = {0}, largest = 0, deepest = 0;
    for (int s = 0; s < shape->count; s++) {
        const float *sub = x + s * shape->size;
        scale[s] = shape->lo < 0 ? fit_scale(shape, sub) : fit_affine(shape, sub, &min[s]);
        largest = fabsf(scale[s]) > fabsf(largest) ? scale[s] : largest;
        deepest = min[s] > deepest ? min[s] : deepest;
    }
    /* Signed scales reach one further below zero than above, so the largest becomes negative. */
    struct super next = {.d = largest / (shape->scale_lo < 0 ? shape->scale_lo : shape->scale_hi),
                         .dmin = deepest / shape->scale_hi};
    *out = next;
    out->error = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        next.d = as_f16(next.d);
        next.dmin = as_f16(next.dmin);
        if (round > 0 && next.d == out->d && next.dmin == out->dmin)
            return;
        choose(shape, x, scale, min, &next);
        if (!(next.error < out->error))
            return;
        *out = next;
        improve(shape, x, &next);
    }
}

/* ---- packing ---- */

static void pack2(const uint8_t q[SUPER], uint8_t *low)
{
    for (int h = 0; h < 2; h++, q += 128, low += 32)
        for (int l = 0; l < 32; l++)
            low[l] = (uint8_t)((q[l] & 3) | (q[l + 32] & 3) << 2 | (q[l + 64] & 3) << 4 | (q[l + 96] & 3) << 6);
}

/* The highest bit, `bit`, of the levels. */
static void pack1(const uint8_t q[SUPER], int bit, uint8_t *high)
{
    memset(high, 0, 32);
    for (int j = 0; j < SUPER; j++)
        high[j % 32] |= (uint8_t)(q[j] >> bit << j / 32);
}

static void pack_scales45(const struct super *block, uint8_t *packed)
{
    memset(packed, 0, 12);
    for (int s = 0; s < 4; s++) {
        int scale = (int)block->scale[s], min = (int)block->min[s];
        int scale4 = (int)block->scale[s + 4], min4 = (int)block->min[s + 4];
        packed[s] = (uint8_t)(scale | scale4 >> 4 << 6);
        packed[s + 4] = (uint8_t)(min | min4 >> 4 << 6);
        packed[s + 8] = (uint8_t)((scale4 & 15) | (min4 & 15) << 4);
    }
}

/* Levels as unsigned numbers. */
static void unsigned_levels(const struct shape *shape, const struct super *block, uint8_t q[SUPER])
{
    for (int j = 0; j < SUPER; j++)
        q[j] = (uint8_t)(block->level[j] - shape->lo);
}

void pn_encode_q2_k(const float *restrict src, void *restrict dst, size_t n)
{
    static const struct shape shape = {16, 16, 0, 3, 0, 15};
    struct super block;
    uint8_t q[SUPER];
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 84, src += SUPER) {
        encode_super(&shape, src, &block);
        unsigned_levels(&shape, &block, q);
        for (int s = 0; s < 16; s++)
            b[s] = (uint8_t)((int)block.scale[s] | (int)block.min[s] << 4);
        pack2(q, b + 16);
        pn_quant_store_f16(b + 80, block.d);
        pn_quant_store_f16(b + 82, block.dmin);
    }
}

void pn_encode_q3_k(const float *restrict src, void *restrict dst, size_t n)
{
    static const struct shape shape = {16, 16, -4, 3, -32, 31};
    struct super block;
    uint8_t q[SUPER];
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 110, src += SUPER) {
        encode_super(&shape, src, &block);
        unsigned_levels(&shape, &block, q);
        pack1(q, 2, b);
        pack2(q, b + 32);
        memset(b + 96, 0, 12);
        for (int s = 0; s < 16; s++) {
            int scale = (int)block.scale[s] + 32;
            b[96 + s % 8] |= (uint8_t)((scale & 15) << 4 * (s / 8));
            b[104 + s % 4] |= (uint8_t)(scale >> 4 << 2 * (s / 4));
        }
        pn_quant_store_f16(b + 108, block.d);
    }
}

void pn_encode_q4_k(const float *restrict src, void *restrict dst, size_t n)
{
    static const struct shape shape = {8, 32, 0, 15, 0, 63};
    struct super block;
    uint8_t q[SUPER];
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 144, src += SUPER) {
        encode_super(&shape, src, &block);
        unsigned_levels(&shape, &block, q);
        pn_quant_store_f16(b, block.d);
        pn_quant_store_f16(b + 2, block.dmin);
        pack_scales45(&block, b + 4);
        for (int j = 0; j < 128; j++)
            b[16 + j] = (uint8_t)(q[j / 32 * 64 + j % 32] | q[j / 32 * 64 + j % 32 + 32] << 4);
    }
}

void pn_encode_q5_k(const float *restrict src, void *restrict dst, size_t n)
{
    static const struct shape shape = {8, 32, 0, 31, 0, 63};
    struct super block;
    uint8_t q[SUPER];
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 176, src += SUPER) {
        encode_super(&shape, src, &block);
        unsigned_levels(&shape, &block, q);
        pn_quant_store_f16(b, block.d);
        pn_quant_store_f16(b + 2, block.dmin);
        pack_scales45(&block, b + 4);
        pack1(q, 4, b + 16);
        for (int j = 0; j < 128; j++)
            b[48 + j] = (uint8_t)((q[j / 32 * 64 + j % 32] & 15) | (q[j / 32 * 64 + j % 32 + 32] & 15) << 4);
    }
}

void pn_encode_q6_k(const float *restrict src, void *restrict dst, size_t n)
{
    static const struct shape shape = {16, 16, -32, 31, -128, 127};
    struct super block;
    uint8_t q[SUPER], high[SUPER];
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 210, src += SUPER) {
        encode_super(&shape, src, &block);
        unsigned_levels(&shape, &block, q);
        for (int j = 0; j < SUPER; j++)
            high[j] = q[j] >> 4;
        for (int j = 0; j < 128; j++)
            b[j] = (uint8_t)((q[j / 64 * 128 + j % 64] & 15) | (q[j / 64 * 128 + j % 64 + 64] & 15) << 4);
        pack2(high, b + 128);
        for (int s = 0; s < 16; s++)
            b[192 + s] = (uint8_t)(int)block.scale[s];
        pn_quant_store_f16(b + 208, block.d);
    }
}

/* A type of activations, not of weights: one scale from the extreme value, which becomes level -127. */
void pn_encode_q8_k(const float *restrict src, void *restrict dst, size_t n)
{
    for (uint8_t *b = dst; n > 0; n -= SUPER, b += 292, src += SUPER) {
        float extreme = 0;
        for (int j = 0; j < SUPER; j++)
            extreme = fabsf(src[j]) > fabsf(extreme) ? src[j] : extreme;
        float inverse = extreme != 0 ? -127 / extreme : 0, d = inverse != 0 ? 1 / inverse : 0;
        memcpy(b, &d, sizeof d);
        int16_t sum[16] = {0};
        for (int j = 0; j < SUPER; j++) {
            int level = pn_quant_nearest(src[j] * inverse, -127, 127);
            b[4 + j] = (uint8_t)level;
            sum[j / 16] = (int16_t)(sum[j / 16] + level);
        }
        memcpy(b + 260, sum, sizeof sum);
    }
}
