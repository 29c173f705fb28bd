/* Searches for types whose sub-blocks are scale * level - min: legacy, K and IQ4 types.
 *
 * A super-block is encoded in two steps. First every sub-block is fitted alone with real-valued scale and minimum: a
 * grid of candidate scales, each followed by the linear regression of the values on the levels it gives. Then the
 * super-block's own scale (and minimum) is taken from the largest, and integer scales near the fitted ones are tried
 * for each sub-block; a regression over the whole super-block improves its scale, and the step is repeated. Blocks with
 * a scale of their own need only the first step.
 *
 * Layouts are described in legacy.c, kquants.c and iquants.c. */
#ifndef PN_QUANT_SEARCH_SCALED_H
#define PN_QUANT_SEARCH_SCALED_H

#include "tensor/quant/search/unit.h"

enum { SUPER = 256, ROUNDS = 3 };

/* The levels of one kind of sub-block: `count` sub-blocks of `size` values (count 16: blocks of their own), levels
 * lo..hi, integer scales scale_lo .. scale_hi. */
struct shape {
    int count, size;
    float lo, hi, scale_lo, scale_hi;
    enum {
        PLAIN,
        UNEVEN,
        MINIMA,
        ANY_MINIMA
    } kind; /* UNEVEN: IQ4's table; MINIMA: x = scale * level - min, min >= 0 */
};

static const float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

PN_INLINE vf level_of(const struct shape *shape, vf v)
{
    if (shape->kind != UNEVEN) /* NaN becomes the lowest */
        return vround(vmin(vmax(v, vset(shape->lo)), vset(shape->hi)));
    vf level = vset(iq4_levels[0]);
    for (int k = 1; k < 16; k++) {
        vi above = v > vset((iq4_levels[k] + iq4_levels[k - 1]) / 2);
        level += (vf)(above & (vi)vset(iq4_levels[k] - iq4_levels[k - 1]));
    }
    return level;
}

/* ---- VN sub-blocks, from lane `at` of the unit ---- */

/* The weighted squared error with these scales and minima. */
PN_INLINE vf error_of(const struct shape *shape, const struct unit *u, int at, vf scale, vf min)
{
    vf inverse = vinverse(scale), error = vset(0);
    for (int j = 0; j < shape->size; j++) {
        vf x = vload(u->x[j] + at);
        if (shape->kind >= MINIMA)
            x += min;
        vf e = x - scale * level_of(shape, x * inverse);
        error += vload(u->w[j] + at) * e * e;
    }
    return error;
}

struct sums {
    vf q, qq, xq;
};

PN_INLINE struct sums sums_of(const struct shape *shape, const struct unit *u, int at, vf inverse, vf min)
{
    struct sums s = {vset(0), vset(0), vset(0)};
    for (int j = 0; j < shape->size; j++) {
        vf x = vload(u->x[j] + at);
        vf q = level_of(shape, (shape->kind >= MINIMA ? x + min : x) * inverse), wq = vload(u->w[j] + at) * q;
        if (shape->kind >= MINIMA)
            s.q += wq;
        s.qq += wq * q;
        s.xq += wq * x;
    }
    return s;
}

/* The scale with the least error of x - scale * level. */
PN_INLINE vf fit_scale(const struct shape *shape, const struct unit *u, int at)
{
    vf extreme = vset(0), best = vset(0), gain = vset(0), zero = vset(0);
    for (int j = 0; j < shape->size; j++) {
        vf x = vload(u->x[j] + at);
        extreme = vselect(vabs(x) > vabs(extreme), x, extreme);
    }
    vf inverse = vinverse(extreme);
    /* The candidates put the extreme value between three quarters of the range and one level outside it, on either
     * end. Larger scales would sometimes fit a little better alone, but the super-block's scale has to reach them. */
    float first = shape->kind == UNEVEN ? 86 : -0.75f * shape->lo;
    float step = shape->kind == UNEVEN ? 3 : (1 - 0.25f * shape->lo) / 18;
    for (int i = 0; i <= 18; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            struct sums s = sums_of(shape, u, at, inverse * ((first + step * (float)i) * (float)sign), zero);
            vf g = s.xq * s.xq / vmax(s.qq, vset(0x1p-100f)); /* the reduction of the squared error */
            vi better = g > gain;
            gain = vselect(better, g, gain);
            best = vselect(better, s.xq / vselect(better, s.qq, vset(1)), best);
        }
    return best;
}

/* Scale (>= 0) and minimum with the least error of x - (scale * level - min), level in 0..hi. */
PN_INLINE vf fit_affine(const struct shape *shape, const struct unit *u, int at, vf *min)
{
    vf least = vload(u->x[0] + at), most = least, sw = vset(0), sx = vset(0), zero = vset(0);
    for (int j = 0; j < shape->size; j++) {
        vf x = vload(u->x[j] + at), w = vload(u->w[j] + at);
        least = vmin(x, least);
        most = vmax(x, most);
        sw += w;
        sx += w * x;
    }
    if (shape->kind != ANY_MINIMA)
        least = vmin(least, zero);
    vf range = most - least, best = range / shape->hi, start = zero - least, inverse = vinverse(range);
    vf best_error = error_of(shape, u, at, best, start);
    *min = start;
    for (float top = shape->hi - 1.5f; top <= shape->hi + 1.5f; top += 0.125f) {
        struct sums s = sums_of(shape, u, at, inverse * top, start);
        vf det = sw * s.qq - s.q * s.q;
        vi solvable = det > zero;
        vf over = 1 / vselect(solvable, det, vset(1));
        vf scale = (sw * s.xq - sx * s.q) * over, m = (s.q * s.xq - s.qq * sx) * over;
        if (shape->kind != ANY_MINIMA) {
            vi below = m < zero;
            scale = vselect(below, s.xq / vmax(s.qq, vset(0x1p-100f)), scale);
            m = vselect(below, zero, m);
        }
        vf error = error_of(shape, u, at, scale, m);
        vi better = solvable & (scale > zero) & (error < best_error);
        best_error = vselect(better, error, best_error);
        best = vselect(better, scale, best);
        *min = vselect(better, m, *min);
    }
    vi flat = range > zero;
    return vselect(flat, best, zero);
}

/* The levels as unsigned numbers, value by value. */
PN_INLINE void put_levels(const struct shape *shape, const struct unit *u, int at, vf scale, vf min,
                          uint8_t q[SUBS][MOST_SIZE])
{
    vf inverse = vinverse(scale);
    for (int j = 0; j < shape->size; j++) {
        vf x = vload(u->x[j] + at);
        vf v = (shape->kind >= MINIMA ? x + min : x) * inverse;
        int32_t number[VN];
        if (shape->kind == UNEVEN) {
            vi index = viset(0);
            for (int k = 1; k < 16; k++)
                index -= v > vset((iq4_levels[k] + iq4_levels[k - 1]) / 2);
            vistore(number, index);
        } else {
            float level[VN];
            vstore(level, level_of(shape, v) - shape->lo);
            for (int k = 0; k < VN; k++)
                number[k] = (int32_t)level[k];
        }
        for (int k = 0; k < VN; k++)
            q[at + k][j] = (uint8_t)number[k];
    }
}

/* ---- super-blocks: one of 16 sub-blocks, or two of eight ---- */

/* x = d * scale[s] * level - dmin * min[s] */
struct supers {
    float d[2], dmin[2], error[2];
    float scale[SUBS], min[SUBS];
    uint8_t q[SUBS][MOST_SIZE];
};

struct trial {
    float d[SUBS], dmin[SUBS];    /* in: of each sub-block's super-block */
    float scale[SUBS], min[SUBS]; /* out: integers */
    float error[SUBS];
};

PN_INLINE vf quotient(vf a, vf b, float lo, float hi)
{
    return vround(vmin(vmax(a * vinverse(b), vset(lo)), vset(hi)));
}

/* Chooses integer scales near scale[s] / d and minima near min[s] / dmin. */
PN_INLINE void choose(const struct shape *shape, const struct unit *u, const float *scale, const float *min,
                      struct trial *t)
{
    for (int at = 0; at < SUBS; at += VN) {
        vf d = vload(t->d + at), dmin = vload(t->dmin + at), zero = vset(0);
        vf around = quotient(vload(scale + at), d, shape->scale_lo, shape->scale_hi), below = zero;
        vf best = vset(INFINITY), best_scale = zero, best_min = zero;
        int reach = shape->kind >= MINIMA ? 1 : 0;
        if (shape->kind >= MINIMA)
            below = quotient(vload(min + at), dmin, 0, shape->scale_hi);
        for (int a = -1; a <= 1; a++)
            for (int m = -reach; m <= reach; m++) {
                vf s = vmin(vmax(around + (float)a, vset(shape->scale_lo)), vset(shape->scale_hi));
                vf k = vmin(vmax(below + (float)m, zero), vset(shape->scale_hi));
                vf error = error_of(shape, u, at, d * s, dmin * k);
                vi better = error < best;
                best = vselect(better, error, best);
                best_scale = vselect(better, s, best_scale);
                best_min = vselect(better, k, best_min);
            }
        vstore(t->scale + at, best_scale);
        vstore(t->min + at, best_min);
        vstore(t->error + at, best);
    }
}

/* Regression of all values on scale * level and min: a better d and dmin for the chosen integers. */
PN_INLINE void improve(const struct shape *shape, const struct unit *u, const struct trial *t, int part, float *d,
                       float *dmin)
{
    float a = 0, b = 0, c = 0, p = 0, r = 0, sums[5][SUBS];
    for (int at = 0; at < SUBS; at += VN) {
        vf scale = vload(t->scale + at), min = vload(t->min + at), sw = vset(0), sx = vset(0);
        struct sums s = sums_of(shape, u, at, vinverse(vload(t->d + at) * scale), vload(t->dmin + at) * min);
        for (int j = 0; shape->kind >= MINIMA && j < shape->size; j++) {
            sw += vload(u->w[j] + at);
            sx += vload(u->w[j] + at) * vload(u->x[j] + at);
        }
        vstore(sums[0] + at, scale * scale * s.qq);
        vstore(sums[1] + at, scale * min * s.q);
        vstore(sums[2] + at, min * min * sw);
        vstore(sums[3] + at, scale * s.xq);
        vstore(sums[4] + at, min * sx);
    }
    for (int s = part * shape->count; s < (part + 1) * shape->count; s++) {
        a += sums[0][s];
        b += sums[1][s];
        c += sums[2][s];
        p += sums[3][s];
        r += sums[4][s];
    }
    float det = a * c - b * b;
    if (*dmin != 0 && det > 0) {
        float better = (c * p - b * r) / det, better_min = (b * p - a * r) / det;
        if (better > 0 && better_min > 0) {
            *d = better;
            *dmin = better_min;
        }
    } else if (a > 0) {
        *d = (p + *dmin * b) / a;
    }
}

PN_INLINE float as_f16(float f)
{
    uint8_t stored[2];
    return pn_quant_store_f16(stored, f);
}

/* The real-valued scales and minima of all sub-blocks. */
PN_INLINE void fit(const struct shape *shape, const struct unit *u, float *scale, float *min)
{
    for (int at = 0; at < SUBS; at += VN) {
        vf m = vset(0);
        vstore(scale + at, shape->kind >= MINIMA ? fit_affine(shape, u, at, &m) : fit_scale(shape, u, at));
        vstore(min + at, m);
    }
}

PN_INLINE void encode_supers(const struct shape *shape, const struct unit *u, struct supers *out)
{
    float scale[SUBS], min[SUBS], d[2], dmin[2];
    int parts = SUBS / shape->count;
    bool going[2] = {true, parts > 1};
    fit(shape, u, scale, min);
    for (int p = 0; p < parts; p++) {
        float largest = 0, deepest = 0;
        for (int s = p * shape->count; s < (p + 1) * shape->count; s++) {
            largest = fabsf(scale[s]) > fabsf(largest) ? scale[s] : largest;
            deepest = min[s] > deepest ? min[s] : deepest;
        }
        /* Signed scales reach one further below zero than above, so the largest becomes negative. */
        d[p] = largest / (shape->scale_lo < 0 ? shape->scale_lo : shape->scale_hi);
        dmin[p] = deepest / shape->scale_hi;
        out->d[p] = out->dmin[p] = 0;
        out->error[p] = INFINITY;
    }
    memset(out->scale, 0, sizeof out->scale);
    memset(out->min, 0, sizeof out->min);
    for (int round = 0; round < ROUNDS && (going[0] || going[1]); round++) {
        struct trial t;
        for (int s = 0; s < SUBS; s++) {
            int p = s / shape->count;
            t.d[s] = d[p] = as_f16(d[p]);
            t.dmin[s] = dmin[p] = as_f16(dmin[p]);
        }
        choose(shape, u, scale, min, &t);
        for (int p = 0; p < parts; p++) {
            float error = 0;
            for (int s = p * shape->count; s < (p + 1) * shape->count; s++)
                error += t.error[s];
            going[p] = going[p] && error < out->error[p];
            if (!going[p])
                continue;
            size_t first = (size_t)(p * shape->count), bytes = sizeof(float) * (size_t)shape->count;
            out->d[p] = d[p];
            out->dmin[p] = dmin[p];
            out->error[p] = error;
            memcpy(out->scale + first, t.scale + first, bytes);
            memcpy(out->min + first, t.min + first, bytes);
            improve(shape, u, &t, p, &d[p], &dmin[p]);
        }
    }
    for (int at = 0; at < SUBS; at += VN) {
        float s[VN], m[VN];
        for (int k = 0; k < VN; k++) {
            s[k] = out->d[(at + k) / shape->count] * out->scale[at + k];
            m[k] = out->dmin[(at + k) / shape->count] * out->min[at + k];
        }
        put_levels(shape, u, at, vload(s), vload(m), out->q);
    }
}

/* Encodes super-blocks with `pack`, which gets the position of the super-block in `supers`. */
typedef void pack_fn(const struct supers *supers, int part, uint8_t *block);

PN_INLINE void encode_all(const struct shape *shape, pack_fn *pack, size_t bytes, const float *x, const float *weights,
                          uint8_t *b, size_t n)
{
    struct unit u;
    struct supers supers;
    int parts = SUBS / shape->count;
    for (; n > 0; x += SUPER * parts, weights = weights ? weights + SUPER * parts : NULL) {
        int here = n >= (size_t)(SUPER * parts) ? parts : 1;
        for (int p = 0; p < parts; p++) { /* a missing second super-block repeats the first */
            int from = p < here ? p : 0;
            unit_fill(&u, p * shape->count, shape->count, shape->size, x + SUPER * from,
                      weights ? weights + SUPER * from : NULL);
        }
        encode_supers(shape, &u, &supers);
        for (int p = 0; p < here; p++, b += bytes)
            pack(&supers, p, b);
        n -= (size_t)(SUPER * here);
    }
}

/* ---- packing ---- */

PN_INLINE void pack2(const uint8_t q[SUPER], uint8_t *low)
{
    for (int h = 0; h < 2; h++, q += 128, low += 32)
        for (int l = 0; l < 32; l++)
            low[l] = (uint8_t)((q[l] & 3) | (q[l + 32] & 3) << 2 | (q[l + 64] & 3) << 4 | (q[l + 96] & 3) << 6);
}

/* The highest bit, `bit`, of the levels. */
PN_INLINE void pack1(const uint8_t q[SUPER], int bit, uint8_t *high)
{
    for (int j = 0; j < 32; j++) {
        int byte = 0;
        for (int k = 0; k < 8; k++)
            byte |= (q[32 * k + j] >> bit & 1) << k;
        high[j] = (uint8_t)byte;
    }
}

PN_INLINE void pack_scales45(const float *scale, const float *min, uint8_t *packed)
{
    for (int s = 0; s < 4; s++) {
        int low = (int)scale[s], low_min = (int)min[s], high = (int)scale[s + 4], high_min = (int)min[s + 4];
        packed[s] = (uint8_t)(low | high >> 4 << 6);
        packed[s + 4] = (uint8_t)(low_min | high_min >> 4 << 6);
        packed[s + 8] = (uint8_t)((high & 15) | (high_min & 15) << 4);
    }
}

/* The levels of a super-block in order. */
PN_INLINE void in_order(const struct supers *supers, int part, int count, int size, uint8_t q[SUPER])
{
    for (int s = 0; s < count; s++)
        memcpy(q + s * size, supers->q[part * count + s], (size_t)size);
}

static void pack_q2_k(const struct supers *supers, int part, uint8_t *b)
{
    uint8_t q[SUPER];
    in_order(supers, part, 16, 16, q);
    for (int s = 0; s < 16; s++)
        b[s] = (uint8_t)((int)supers->scale[s] | (int)supers->min[s] << 4);
    pack2(q, b + 16);
    pn_quant_store_f16(b + 80, supers->d[0]);
    pn_quant_store_f16(b + 82, supers->dmin[0]);
}

static void pack_q3_k(const struct supers *supers, int part, uint8_t *b)
{
    uint8_t q[SUPER];
    in_order(supers, part, 16, 16, q);
    pack1(q, 2, b);
    pack2(q, b + 32);
    memset(b + 96, 0, 12);
    for (int s = 0; s < 16; s++) {
        int scale = (int)supers->scale[s] + 32;
        b[96 + s % 8] |= (uint8_t)((scale & 15) << 4 * (s / 8));
        b[104 + s % 4] |= (uint8_t)(scale >> 4 << 2 * (s / 4));
    }
    pn_quant_store_f16(b + 108, supers->d[0]);
}

PN_INLINE void pack_halves(const uint8_t *first, const uint8_t *second, int n, uint8_t *packed)
{
    for (int j = 0; j < n; j++)
        packed[j] = (uint8_t)((first[j] & 15) | (second[j] & 15) << 4);
}

static void pack_q4_k(const struct supers *supers, int part, uint8_t *b)
{
    pn_quant_store_f16(b, supers->d[part]);
    pn_quant_store_f16(b + 2, supers->dmin[part]);
    pack_scales45(supers->scale + 8 * part, supers->min + 8 * part, b + 4);
    for (int s = 0; s < 8; s += 2)
        pack_halves(supers->q[8 * part + s], supers->q[8 * part + s + 1], 32, b + 16 + 16 * s);
}

static void pack_q5_k(const struct supers *supers, int part, uint8_t *b)
{
    uint8_t q[SUPER];
    in_order(supers, part, 8, 32, q);
    pn_quant_store_f16(b, supers->d[part]);
    pn_quant_store_f16(b + 2, supers->dmin[part]);
    pack_scales45(supers->scale + 8 * part, supers->min + 8 * part, b + 4);
    pack1(q, 4, b + 16);
    for (int s = 0; s < 8; s += 2)
        pack_halves(q + 32 * s, q + 32 * s + 32, 32, b + 48 + 16 * s);
}

static void pack_q6_k(const struct supers *supers, int part, uint8_t *b)
{
    uint8_t q[SUPER], high[SUPER];
    in_order(supers, part, 16, 16, q);
    for (int j = 0; j < SUPER; j++)
        high[j] = q[j] >> 4;
    for (int h = 0; h < 2; h++)
        pack_halves(q + 128 * h, q + 128 * h + 64, 64, b + 64 * h);
    pack2(high, b + 128);
    for (int s = 0; s < 16; s++)
        b[192 + s] = (uint8_t)(int)supers->scale[s];
    pn_quant_store_f16(b + 208, supers->d[0]);
}

static void pack_iq4_xs(const struct supers *supers, int part, uint8_t *b)
{
    pn_quant_store_f16(b, supers->d[part]);
    memset(b + 2, 0, 6);
    for (int s = 0; s < 8; s++) {
        int code = (int)supers->scale[8 * part + s] + 32;
        const uint8_t *q = supers->q[8 * part + s];
        b[2 + s / 4] |= (uint8_t)(code >> 4 << s % 4 * 2);
        b[4 + s / 2] |= (uint8_t)((code & 15) << s % 2 * 4);
        pack_halves(q, q + 16, 16, b + 8 + 16 * s);
    }
}

#define SUPER_SEARCH(name, bytes, ...)                                                                                 \
    static void search_##name(const float *x, const float *weights, void *blocks, size_t n)                            \
    {                                                                                                                  \
        static const struct shape shape = {__VA_ARGS__};                                                               \
        encode_all(&shape, pack_##name, bytes, x, weights, blocks, n);                                                 \
    }
SUPER_SEARCH(q2_k, 84, 16, 16, 0, 3, 0, 15, MINIMA)
SUPER_SEARCH(q3_k, 110, 16, 16, -4, 3, -32, 31, PLAIN)
SUPER_SEARCH(q4_k, 144, 8, 32, 0, 15, 0, 63, MINIMA)
SUPER_SEARCH(q5_k, 176, 8, 32, 0, 31, 0, 63, MINIMA)
SUPER_SEARCH(q6_k, 210, 16, 16, -32, 31, -128, 127, PLAIN)
SUPER_SEARCH(iq4_xs, 136, 8, 32, -127, 113, -32, 31, UNEVEN)

/* ---- blocks with a scale of their own ---- */

PN_INLINE void pack_high(const uint8_t q[32], uint8_t *high)
{
    uint32_t bits = 0;
    for (int j = 0; j < 32; j++)
        bits |= (uint32_t)(q[j] >> 4) << j;
    memcpy(high, &bits, sizeof bits);
}

/* d, then the minimum if there is one, the fifth bits if there are any, and the low bits. */
PN_INLINE void encode_blocks(const struct shape *shape, bool five, const float *x, const float *weights, uint8_t *b,
                             size_t n)
{
    struct unit u;
    float scale[SUBS], min[SUBS];
    uint8_t q[SUBS][MOST_SIZE];
    for (; n > 0; x += 32 * SUBS, weights = weights ? weights + 32 * SUBS : NULL) {
        int here = n >= 32 * SUBS ? SUBS : (int)(n / 32);
        for (int s = 0; s < SUBS; s++) { /* missing blocks repeat the first */
            int from = s < here ? s : 0;
            unit_fill(&u, s, 1, 32, x + 32 * from, weights ? weights + 32 * from : NULL);
        }
        fit(shape, &u, scale, min);
        for (int s = 0; s < SUBS; s++) {
            scale[s] = as_f16(scale[s]);
            min[s] = as_f16(min[s]);
        }
        for (int at = 0; at < SUBS; at += VN)
            put_levels(shape, &u, at, vload(scale + at), vload(min + at), q);
        for (int s = 0; s < here; s++) {
            pn_quant_store_f16(b, scale[s]);
            b += 2;
            if (shape->kind >= MINIMA) {
                pn_quant_store_f16(b, -min[s]);
                b += 2;
            }
            if (five) {
                pack_high(q[s], b);
                b += 4;
            }
            pack_halves(q[s], q[s] + 16, 16, b);
            b += 16;
        }
        n -= (size_t)(32 * here);
    }
}

#define BLOCK_SEARCH(name, five, ...)                                                                                  \
    static void search_##name(const float *x, const float *weights, void *blocks, size_t n)                            \
    {                                                                                                                  \
        static const struct shape shape = {__VA_ARGS__};                                                               \
        encode_blocks(&shape, five, x, weights, blocks, n);                                                            \
    }
BLOCK_SEARCH(q4_0, false, 16, 32, -8, 7, 0, 0, PLAIN)
BLOCK_SEARCH(q4_1, false, 16, 32, 0, 15, 0, 0, ANY_MINIMA)
BLOCK_SEARCH(q5_0, true, 16, 32, -16, 15, 0, 0, PLAIN)
BLOCK_SEARCH(q5_1, true, 16, 32, 0, 31, 0, 0, ANY_MINIMA)
BLOCK_SEARCH(iq4_nl, false, 16, 32, -127, 113, 0, 0, UNEVEN)

#endif
