/* Searches for types whose groups of values are entries of a codebook: IQ1, IQ2 and IQ3.
 *
 * With scale s, an entry g costs sum(w (x - s g)^2) = sum(w x^2) - s (2 sum(w x g) - s sum(w g^2)). The two sums do not
 * depend on s, so they are computed once for all entries, and one pass finds the best entry for each of several scales
 * in a geometric row. As a function of s, the best cost is an envelope of few parabolas, so these entries are (nearly)
 * all that any scale can choose: everything that follows looks at them only. Scales are odd multiples of the block's.
 * Each sub-block is fitted alone, then multiples near the fitted scales are tried, and a regression improves the
 * block's scale. */
#ifndef PN_QUANT_SEARCH_CODEBOOK_H
#define PN_QUANT_SEARCH_CODEBOOK_H

#include "tensor/quant/search/book.h"
#include "tensor/quant/search/unit.h"

enum { SCALES = 8, SHIFTS = 2, MOST_GROUPS = 8, MOST_ENTRIES = 2048, BOOK_ROUNDS = 4 };

enum shift_kind { NO_SHIFT, SHIFT_PER_SUB, SHIFT_PER_GROUP };
enum sign_kind { SIGNED_LEVELS, FREE_SIGNS, EVEN_SIGNS };

struct layout {
    enum pn_book_id book;
    int size;           /* values of a sub-block */
    int top;            /* the largest scale is 2 * top + 1 */
    float unit;         /* the block's scale is stored divided by it */
    float first, ratio; /* scales that are searched: the largest magnitude times these */
    enum sign_kind signs;
    enum shift_kind shift; /* levels are shifted by 1/8 up or down */
    float last;            /* the last scale, which a constant sub-block needs; 0: as `ratio` says */
};

/* The entries worth choosing in a group, per shift: for each of the scales the best. */
struct entries {
    float a[SHIFTS][SCALES], b[SHIFTS][SCALES]; /* sum(w x y) and sum(w y^2), y the entry's levels */
    int16_t index[SHIFTS][SCALES];
};

struct sub {
    float x[MOST_SIZE], w[MOST_SIZE]; /* magnitudes, unless levels are signed */
    float scale[SCALES];
    uint8_t negative[MOST_SIZE / 8]; /* signs of eight values each */
    bool odd[MOST_SIZE / 8];         /* of eight signs that must be even, one more has to change */
    struct entries group[MOST_GROUPS];
};

/* The choice of entries for one scale. */
struct choice {
    float gain; /* 2 a - s b: s times it is the reduction of the error */
    float a, b;
    int16_t index[MOST_GROUPS];
    bool down[MOST_GROUPS];
};

/* ---- one sub-block ---- */

/* Per entry: 2 sum(w x g) and sum(w g^2); with shifts sum(w (g + 1/8)^2), and `down` for - 1/8. */
struct sums_of_entries {
    float a[MOST_ENTRIES], b[MOST_ENTRIES], down[MOST_ENTRIES];
};

PN_INLINE void group_sums(const struct pn_book *book, bool flip, bool shifts, const float *x, const float *w,
                          struct sums_of_entries *sums)
{
    float total = 0;
    for (int k = 0; k < book->dim; k++)
        total += w[k];
    for (int j = 0; j < book->n; j += VN) {
        vf sa = vset(0), sb = vset(0), sg = vset(0), least = vset(INFINITY);
        for (int k = 0; k < book->dim; k++) {
            vf level = vload(book->level + k * book->n + j), part = level * (w[k] * x[k]);
            sa += part;
            if (flip)
                least = vmin(part, least);
            vf wl = level * w[k];
            sb += wl * level;
            if (shifts)
                sg += wl;
        }
        if (flip)
            sa -= least + least;
        vstore(sums->a + j, sa + sa);
        if (shifts) {
            vf middle = sb + total / 64;
            vstore(sums->b + j, middle + sg * 0.25f);
            vstore(sums->down + j, middle - sg * 0.25f);
        } else {
            vstore(sums->b + j, sb);
        }
    }
}

/* The entries with the largest a - s b for each scale; of equal ones the first. */
PN_INLINE void best_entries(const float *a, const float *b, int n, const float s[SCALES], int16_t index[SCALES])
{
    vf best[SCALES];
    vi at[SCALES], number = viset(0);
    for (int k = 0; k < VN; k++)
        number[k] = k;
    for (int c = 0; c < SCALES; c++) {
        best[c] = vset(-INFINITY);
        at[c] = viset(0);
    }
    for (int j = 0; j < n; j += VN, number += VN) {
        vf va = vload(a + j), vb = vload(b + j);
        for (int c = 0; c < SCALES; c++) {
            vf u = va - vb * s[c];
            vi better = u > best[c];
            best[c] = vselect(better, u, best[c]);
            at[c] = viselect(better, number, at[c]);
        }
    }
    for (int c = 0; c < SCALES; c++) {
        float value[VN];
        int32_t place[VN];
        vstore(value, best[c]);
        vistore(place, at[c]);
        int winner = 0;
        for (int k = 1; k < VN; k++)
            if (value[k] > value[winner] || (value[k] == value[winner] && place[k] < place[winner]))
                winner = k;
        index[c] = (int16_t)place[winner];
    }
}

/* Splits values into signs and magnitudes. */
PN_INLINE void split_signs(const struct pn_book *book, const struct layout *layout, struct sub *sub)
{
    for (int e = 0; e < layout->size / 8; e++) {
        float *x = sub->x + 8 * e, *w = sub->w + 8 * e, least = INFINITY, mean = 0;
        int changed = 0, parity = 0;
        sub->negative[e] = 0;
        for (int k = 0; k < 8; k++) {
            int negative = x[k] < 0;
            sub->negative[e] |= (uint8_t)(negative << k);
            parity ^= negative;
            x[k] = fabsf(x[k]);
            mean += x[k] / 8;
        }
        sub->odd[e] = layout->signs == EVEN_SIGNS && parity;
        if (!sub->odd[e] || book->dim == 8)
            continue;
        /* Eight values in two entries: the sign whose change costs least, before the entries are known. */
        for (int k = 0; k < 8; k++) {
            float cost = w[k] * x[k] * (x[k] > mean / 2 ? x[k] : mean / 2);
            if (cost < least) {
                least = cost;
                changed = k;
            }
        }
        x[changed] = -x[changed];
        sub->negative[e] ^= (uint8_t)(1 << changed);
    }
}

/* Finds the entries of all groups. */
PN_INLINE void prepare(const struct pn_book *book, const struct layout *layout, const float *x, const float *w,
                       struct sub *sub)
{
    static _Thread_local struct sums_of_entries sums;
    float *s = sub->scale, largest = 0;
    memcpy(sub->x, x, sizeof(float) * (size_t)layout->size);
    memcpy(sub->w, w, sizeof(float) * (size_t)layout->size);
    for (int j = 0; j < layout->size; j++)
        largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
    s[0] = largest * layout->first;
    for (int c = 1; c < SCALES; c++)
        s[c] = s[c - 1] * layout->ratio;
    if (layout->last > 0)
        s[SCALES - 1] = largest * layout->last;
    if (layout->signs != SIGNED_LEVELS)
        split_signs(book, layout, sub);
    for (int g = 0; g < layout->size / book->dim; g++) {
        const float *gx = sub->x + g * book->dim, *gw = sub->w + g * book->dim;
        struct entries *out = &sub->group[g];
        bool flip = layout->signs == EVEN_SIGNS && book->dim == 8 && sub->odd[g];
        float wx = 0;
        for (int k = 0; k < book->dim; k++)
            wx += gw[k] * gx[k];
        group_sums(book, flip, layout->shift != NO_SHIFT, gx, gw, &sums);
        for (int shift = 0; shift < (layout->shift == NO_SHIFT ? 1 : 2); shift++) {
            const float *b = shift ? sums.down : sums.b;
            float more = layout->shift == NO_SHIFT ? 0 : shift ? -0.125f * wx : 0.125f * wx;
            best_entries(sums.a, b, book->n, s, out->index[shift]);
            for (int c = 0; c < SCALES; c++) {
                out->a[shift][c] = 0.5f * sums.a[out->index[shift][c]] + more;
                out->b[shift][c] = b[out->index[shift][c]];
            }
        }
    }
}

/* Adds the best entry of group g with the given shift to a choice. */
PN_INLINE void add_group(const struct sub *sub, int g, int shift, float s, struct choice *out)
{
    const struct entries *e = &sub->group[g];
    int best = 0;
    float gain = -INFINITY;
    for (int c = 0; c < SCALES; c++) {
        float here = 2 * e->a[shift][c] - s * e->b[shift][c];
        if (here > gain) {
            gain = here;
            best = c;
        }
    }
    out->a += e->a[shift][best];
    out->b += e->b[shift][best];
    out->gain += 2 * e->a[shift][best] - s * e->b[shift][best];
    out->index[g] = e->index[shift][best];
    out->down[g] = shift;
}

/* The best entries for scale s. */
PN_INLINE struct choice choose_entries(const struct pn_book *book, const struct layout *layout, const struct sub *sub,
                                       float s)
{
    int groups = layout->size / book->dim;
    struct choice up = {0}, down = {0};
    for (int g = 0; g < groups; g++) {
        if (layout->shift == SHIFT_PER_GROUP) {
            struct choice first = {0}, second = {0};
            add_group(sub, g, 0, s, &first);
            add_group(sub, g, 1, s, &second);
            add_group(sub, g, second.gain > first.gain, s, &up);
            continue;
        }
        add_group(sub, g, 0, s, &up);
        if (layout->shift == SHIFT_PER_SUB)
            add_group(sub, g, 1, s, &down);
    }
    return layout->shift == SHIFT_PER_SUB && down.gain > up.gain ? down : up;
}

/* The scale with the least error: each of the searched ones, improved by two regressions. */
PN_INLINE float fit_book(const struct pn_book *book, const struct layout *layout, const struct sub *sub)
{
    float best = 0, gain = 0;
    for (int c = 0; c < SCALES; c++) {
        float at = sub->scale[c];
        for (int again = 0; again < 2; again++) {
            struct choice choice = choose_entries(book, layout, sub, at);
            if (!(choice.a > 0 && choice.b > 0))
                break;
            at = choice.a / choice.b;
            if (at * choice.a > gain) {
                gain = at * choice.a;
                best = at;
            }
        }
    }
    return best;
}

/* ---- a block ---- */

struct coded {
    float d; /* as stored */
    int code[16];
    int16_t index[64]; /* of the entries */
    bool down[32];     /* of groups of eight, or of sub-blocks */
    uint8_t negative[32];
};

/* The entries and signs of sub-block i. */
PN_INLINE void take_choice(const struct pn_book *book, const struct layout *layout, const struct sub *sub, int i,
                           int code, const struct choice *choice, struct coded *out)
{
    int groups = layout->size / book->dim, eights = layout->size / 8;
    out->code[i] = code;
    for (int g = 0; g < groups; g++)
        out->index[i * groups + g] = choice->index[g];
    for (int e = 0; e < eights; e++) {
        out->down[i * eights + e] = choice->down[e];
        out->negative[i * eights + e] = sub->negative[e];
        if (layout->signs != EVEN_SIGNS || book->dim != 8 || !sub->odd[e])
            continue;
        float least = INFINITY;
        int changed = 0;
        for (int k = 0; k < 8; k++) {
            float cost = sub->x[8 * e + k] * sub->w[8 * e + k] * book->level[k * book->n + choice->index[e]];
            if (cost < least) {
                least = cost;
                changed = k;
            }
        }
        out->negative[i * eights + e] ^= (uint8_t)(1 << changed);
    }
}

/* Tries codes near scale / d of a sub-block; returns the best one. */
PN_INLINE int best_code(const struct pn_book *book, const struct layout *layout, const struct sub *sub, float scale,
                        float d, struct choice *best)
{
    float gain = -INFINITY;
    int around = pn_quant_floor((scale / d - 1) * 0.5f, 0, (float)layout->top), code = 0;
    int first = around > 0 ? around - 1 : 0, last = around + 2 < layout->top ? around + 2 : layout->top;
    *best = (struct choice){0};
    for (int c = first; c <= last; c++) {
        float s = d * (float)(2 * c + 1);
        struct choice choice = choose_entries(book, layout, sub, s);
        if (s * choice.gain > gain || c == first) {
            gain = s * choice.gain;
            code = c;
            *best = choice;
        }
    }
    return code;
}

PN_INLINE void encode_coded(const struct layout *layout, const float *x, const float *weights, struct coded *out)
{
    const struct pn_book *book = pn_book(layout->book);
    static _Thread_local struct sub subs[16];
    int count = 256 / layout->size;
    float w[256], scale[16], largest = 0, best = -INFINITY;
    for (int j = 0; j < 256; j++)
        w[j] = 1;
    if (weights)
        normalize_weights(weights, w, 256);
    memset(out, 0, sizeof *out);
    for (int i = 0; i < count; i++) {
        prepare(book, layout, x + i * layout->size, w + i * layout->size, &subs[i]);
        scale[i] = fit_book(book, layout, &subs[i]);
        largest = scale[i] > largest ? scale[i] : largest;
    }
    float d = largest / (float)(2 * layout->top + 1);
    for (int round = 0; round < BOOK_ROUNDS; round++) {
        uint8_t half[2];
        struct coded trial = {.d = pn_quant_store_f16(half, d / layout->unit)};
        float gain = 0, a = 0, b = 0, unit = trial.d * layout->unit;
        if (!(unit > 0) || (round > 0 && trial.d == out->d))
            return;
        for (int i = 0; i < count; i++) {
            struct choice choice;
            int code = best_code(book, layout, &subs[i], scale[i], unit, &choice);
            float multiple = (float)(2 * code + 1);
            take_choice(book, layout, &subs[i], i, code, &choice, &trial);
            gain += unit * multiple * choice.gain;
            a += multiple * choice.a;
            b += multiple * multiple * choice.b;
        }
        if (!(gain > best))
            return;
        best = gain;
        *out = trial;
        d = b > 0 ? a / b : d;
    }
}

/* ---- packing ---- */

static void pack_iq2_xxs(const struct coded *c, uint8_t *b)
{
    pn_quant_store_f16(b, c->d);
    for (int i = 0; i < 8; i++) {
        uint32_t aux = (uint32_t)c->code[i] << 28;
        for (int k = 0; k < 4; k++) {
            b[2 + 8 * i + k] = (uint8_t)c->index[4 * i + k];
            aux |= (uint32_t)(c->negative[4 * i + k] & 127) << 7 * k;
        }
        memcpy(b + 6 + 8 * i, &aux, sizeof aux);
    }
}

/* Two codes of four bits per byte. */
PN_INLINE void pack_codes(const int *code, int n, uint8_t *b)
{
    for (int i = 0; i < n / 2; i++)
        b[i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
}

static void pack_iq2_xs(const struct coded *c, uint8_t *b)
{
    pn_quant_store_f16(b, c->d);
    for (int i = 0; i < 32; i++) {
        uint16_t q = (uint16_t)(c->index[i] | (c->negative[i] & 127) << 9);
        memcpy(b + 2 + 2 * i, &q, sizeof q);
    }
    pack_codes(c->code, 16, b + 66);
}

static void pack_iq2_s(const struct coded *c, uint8_t *b)
{
    pn_quant_store_f16(b, c->d);
    memset(b + 66, 0, 8);
    for (int i = 0; i < 32; i++) {
        b[2 + i] = (uint8_t)c->index[i];
        b[34 + i] = c->negative[i];
        b[66 + i / 4] |= (uint8_t)(c->index[i] >> 8 << i % 4 * 2);
    }
    pack_codes(c->code, 16, b + 74);
}

static void pack_iq3_xxs(const struct coded *c, uint8_t *b)
{
    pn_quant_store_f16(b, c->d);
    for (int i = 0; i < 64; i++)
        b[2 + i] = (uint8_t)c->index[i];
    for (int i = 0; i < 8; i++) {
        uint32_t aux = (uint32_t)c->code[i] << 28;
        for (int k = 0; k < 4; k++)
            aux |= (uint32_t)(c->negative[4 * i + k] & 127) << 7 * k;
        memcpy(b + 66 + 4 * i, &aux, sizeof aux);
    }
}

static void pack_iq3_s(const struct coded *c, uint8_t *b)
{
    pn_quant_store_f16(b, c->d);
    memset(b + 66, 0, 8);
    for (int i = 0; i < 64; i++) {
        b[2 + i] = (uint8_t)c->index[i];
        b[66 + i / 8] |= (uint8_t)(c->index[i] >> 8 << i % 8);
    }
    memcpy(b + 74, c->negative, 32);
    pack_codes(c->code, 8, b + 106);
}

static void pack_iq1_s(const struct coded *c, uint8_t *b)
{
    pn_quant_store_f16(b, c->d);
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)c->index[i];
    for (int i = 0; i < 8; i++) {
        uint16_t aux = (uint16_t)(c->code[i] << 12 | (c->down[4 * i] ? 0x8000 : 0));
        for (int k = 0; k < 4; k++)
            aux |= (uint16_t)(c->index[4 * i + k] >> 8 << 3 * k);
        memcpy(b + 34 + 2 * i, &aux, sizeof aux);
    }
}

static void pack_iq1_m(const struct coded *c, uint8_t *b)
{
    uint16_t half, scales[4] = {0};
    memset(b + 32, 0, 16);
    for (int i = 0; i < 32; i++) {
        b[i] = (uint8_t)c->index[i];
        b[32 + i / 2] |= (uint8_t)((c->index[i] >> 8 | (c->down[i] ? 8 : 0)) << i % 2 * 4);
    }
    uint8_t stored[2];
    pn_quant_store_f16(stored, c->d);
    memcpy(&half, stored, sizeof half);
    for (int i = 0; i < 16; i++)
        scales[i / 4] |= (uint16_t)(c->code[i] << i % 4 * 3);
    for (int i = 0; i < 4; i++)
        scales[i] |= (uint16_t)((half >> 4 * i & 15) << 12);
    memcpy(b + 48, scales, sizeof scales);
}

#define BOOK_SEARCH(name, bytes, ...)                                                                                  \
    static void search_##name(const float *x, const float *weights, void *blocks, size_t n)                            \
    {                                                                                                                  \
        static const struct layout layout = {__VA_ARGS__};                                                             \
        struct coded coded;                                                                                            \
        for (uint8_t *b = blocks; n > 0; n -= 256, b += bytes, x += 256) {                                             \
            encode_coded(&layout, x, weights, &coded);                                                                 \
            pack_##name(&coded, b);                                                                                    \
            weights = weights ? weights + 256 : NULL;                                                                  \
        }                                                                                                              \
    }
BOOK_SEARCH(iq2_xxs, 66, PN_BOOK_IQ2_XXS, 32, 15, 0.125f, 0.45f / 43, 1.3f, EVEN_SIGNS, NO_SHIFT, 0)
BOOK_SEARCH(iq2_xs, 74, PN_BOOK_IQ2_XS, 16, 15, 0.125f, 0.5f / 43, 1.28f, EVEN_SIGNS, NO_SHIFT, 0)
BOOK_SEARCH(iq2_s, 82, PN_BOOK_IQ2_S, 16, 15, 0.125f, 0.5f / 43, 1.28f, FREE_SIGNS, NO_SHIFT, 0)
BOOK_SEARCH(iq3_xxs, 98, PN_BOOK_IQ3_XXS, 32, 15, 0.25f, 0.6f / 62, 1.18f, EVEN_SIGNS, NO_SHIFT, 0)
BOOK_SEARCH(iq3_s, 110, PN_BOOK_IQ3_S, 32, 15, 1, 0.6f / 15, 1.2f, FREE_SIGNS, NO_SHIFT, 1)
BOOK_SEARCH(iq1_s, 50, PN_BOOK_IQ1, 32, 7, 1, 0.3f, 1.2f, SIGNED_LEVELS, SHIFT_PER_SUB, 0)
BOOK_SEARCH(iq1_m, 56, PN_BOOK_IQ1, 16, 7, 1, 0.35f, 1.2f, SIGNED_LEVELS, SHIFT_PER_GROUP, 0)

#endif
