/* The matrix product of one quantized type with q15 activations on x86-64. A type's file includes it last, after the
 * definitions that unit.h lists.
 *
 * One to four columns: rows are read directly. The bytes of a block are spread in registers and multiplied with both
 * planes of each column, and the sums are scaled in float32. More columns: panel.h. */
#ifndef PN_ISA_X86_MATMUL_Q15_H
#define PN_ISA_X86_MATMUL_Q15_H

#include "device/cpu/isa/x86/unit.h"

/* The largest tile of weights that are not packed. */
#define DIRECT_ROWS 4
#define DIRECT_COLS 4

#define UNIT_IS_SIGNED (UNIT_KIND == UNIT_SIGNED || UNIT_KIND == UNIT_SIGNED_MIN)
#define UNIT_HAS_MIN   (UNIT_KIND == UNIT_32 || UNIT_KIND == UNIT_SIGNED_MIN) /* float m */

struct x_column {
    const int8_t *high, *low;
    const float *d, *sum;
    float *y;
};

/* Column c from value k0 on, and the place of its results for rows r0 and following. */
PN_INLINE struct x_column x_column(const struct pn_matmul_args *a, int64_t c, int64_t k0, int64_t r0)
{
    int64_t from = a->x_index ? a->x_index[c] : c, to = a->y_index ? a->y_index[c] : c;
    const char *row = (const char *)a->x + (size_t)from * a->x_stride;
    return (struct x_column){pn_q15_high(row) + k0, pn_q15_low(row, a->k) + k0, pn_q15_d(row, a->k) + k0 / 32,
                             pn_q15_sum(row, a->k) + k0 / 16, a->y + (size_t)to * a->y_stride + r0};
}

/* Sums of four neighbouring products q (128 high + low); for UNIT_16, multiplied with `scale` (int16, by pairs of
 * products). */
PN_INLINE __m256i dot_bytes(__m256i q, __m256i high, __m256i low, __m256i scale)
{
    if (UNIT_IS_SIGNED) { /* |q| with the sign moved to the planes */
        high = _mm256_sign_epi8(high, q);
        low = _mm256_sign_epi8(low, q);
        q = _mm256_abs_epi8(q);
    }
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    if (UNIT_KIND != UNIT_16) {
        __m256i sum = _mm256_dpbusd_epi32(_mm256_setzero_si256(), q, high);
        return _mm256_dpbusd_epi32(_mm256_slli_epi32(sum, 7), q, low);
    }
#endif
    high = _mm256_madd_epi16(_mm256_maddubs_epi16(q, high), scale);
    low = _mm256_madd_epi16(_mm256_maddubs_epi16(q, low), scale);
    return _mm256_add_epi32(_mm256_slli_epi32(high, 7), low);
}

PN_INLINE float hsum256(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* int16 s0 .. s15 to (s0 s2 .. s14 | s1 s3 .. s15), so that one byte shuffle spreads the two scales of 32 values. */
PN_INLINE __m256i spread_order(__m256i scale)
{
    const __m256i even_odd =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(scale, even_odd), 0xd8);
}

/* The sums of n blocks of a column at p: of 16 values each, in order, or (float m) of 32 in the first vector. */
PN_INLINE void unit_sums(const float *p, int n, __m256 sums[2])
{
    sums[0] = _mm256_castsi256_ps(load_dwords(p, n < 4 ? 2 * n : 8));
    sums[1] = _mm256_castsi256_ps(load_dwords(p + (n < 4 ? 0 : 8), n < 4 ? 0 : 2 * n - 8));
    if (UNIT_HAS_MIN) {
        __m256d t = _mm256_castps_pd(_mm256_hadd_ps(sums[0], sums[1]));
        sums[0] = _mm256_castpd_ps(_mm256_permute4x64_pd(t, 0xd8));
    }
}

/* Eight int16 as float. */
PN_INLINE __m256 widen_halves(__m128i v)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(v));
}

/* acc[r][c] += the products of n blocks of the unit at p[r] with those of the columns at block `block`. */
PN_INLINE void few_unit(const unit_place *p, int rows, int n, const struct x_column *x, int cols, int64_t block,
                        __m256 acc[][DIRECT_COLS])
{
    float s[DIRECT_ROWS][DIRECT_COLS][8] __attribute__((aligned(32)));
    __m256i spread[DIRECT_ROWS];
    __m256 sums[DIRECT_COLS][2];
    if (UNIT_KIND != UNIT_SIGNED) {
        UNROLL
        for (int c = 0; c < cols; c++)
            unit_sums(x[c].sum + 2 * block, n, sums[c]);
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        struct unit_scales u;
        unit_scales(p[r], n, &u);
        if (UNIT_KIND == UNIT_16)
            spread[r] = spread_order(u.scale);
        UNROLL
        for (int c = 0; c < cols; c++) {
            __m256 d = _mm256_castsi256_ps(load_dwords(x[c].d + block, n));
            if (UNIT_KIND == UNIT_16) {
                __m256 m = _mm256_mul_ps(widen_halves(_mm256_castsi256_si128(u.min)), sums[c][0]);
                m = _mm256_fmadd_ps(widen_halves(_mm256_extracti128_si256(u.min, 1)), sums[c][1], m);
                acc[r][c] = _mm256_fmadd_ps(m, _mm256_set1_ps(u.dm), acc[r][c]);
                _mm256_store_ps(s[r][c], _mm256_mul_ps(d, _mm256_set1_ps(u.d)));
            } else {
                _mm256_store_ps(s[r][c], _mm256_mul_ps(d, u.s));
            }
            if (UNIT_HAS_MIN)
                acc[r][c] = _mm256_fmadd_ps(sums[c][0], u.m, acc[r][c]);
        }
    }
    for (int j = 0; j < n; j++) {
        __m256i high[DIRECT_COLS], low[DIRECT_COLS];
        UNROLL
        for (int c = 0; c < cols; c++) {
            high[c] = load256(x[c].high + 32 * (block + j));
            low[c] = load256(x[c].low + 32 * (block + j));
        }
        UNROLL
        for (int r = 0; r < rows; r++) {
            __m256i q = unit_q(p[r], j), scale = _mm256_set1_epi16(1);
            if (UNIT_KIND == UNIT_16)
                scale = _mm256_shuffle_epi8(spread[r], _mm256_set1_epi16((int16_t)(0x0100 + 0x0202 * j)));
            UNROLL
            for (int c = 0; c < cols; c++) {
                __m256 dot = _mm256_cvtepi32_ps(dot_bytes(q, high[c], low[c], scale));
                acc[r][c] = _mm256_fmadd_ps(dot, _mm256_broadcast_ss(&s[r][c][j]), acc[r][c]);
            }
        }
    }
}

/* Rows r0 .. r0 + rows times columns c0 .. c0 + cols; columns past the last repeat it. */
PN_INLINE void few_tile(const struct pn_matmul_args *a, int64_t r0, int rows, int64_t c0, int cols)
{
    unit_place p[DIRECT_ROWS];
    struct x_column x[DIRECT_COLS];
    __m256 acc[DIRECT_ROWS][DIRECT_COLS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        p[r] = unit_at(a, r0 + r, 0, UNIT_BYTES);
        UNROLL
        for (int c = 0; c < cols; c++)
            acc[r][c] = _mm256_setzero_ps();
    }
    for (int c = 0; c < cols; c++)
        x[c] = x_column(a, c0 + c < a->n_cols ? c0 + c : a->n_cols - 1, 0, r0);
    int64_t n_blocks = a->k / 32, b = 0;
    for (; b + 8 <= n_blocks; b += 8) {
        few_unit(p, rows, 8, x, cols, b, acc);
        UNROLL
        for (int r = 0; r < rows; r++) {
            /* prefetches the rows that are read next */
            for (int line = 0; line < UNIT_BYTES; line += 64)
                _mm_prefetch((const char *)unit_values(p[r]) + (size_t)rows * a->w_stride + line, _MM_HINT_T0);
            p[r] = unit_next(p[r], UNIT_BYTES);
        }
    }
    if (!UNIT_SUPER && b < n_blocks)
        few_unit(p, rows, (int)(n_blocks - b), x, cols, b, acc);
    UNROLL
    for (int c = 0; c < cols; c++) {
        UNROLL
        for (int r = 0; r < rows; r++)
            x[c].y[r] = hsum256(acc[r][c]);
    }
}

static void few_columns(const struct pn_matmul_args *a)
{
    int64_t r = 0;
    if (a->n_cols == 1)
        for (; r + 4 <= a->n_rows; r += 4)
            few_tile(a, r, 4, 0, 1);
    else if (a->n_cols == 2)
        for (; r + 2 <= a->n_rows; r += 2)
            few_tile(a, r, 2, 0, 2);
    else
        for (; r + 2 <= a->n_rows; r += 2)
            few_tile(a, r, 2, 0, 4);
    for (; r < a->n_rows; r++)
        for (int64_t c = 0; c < a->n_cols; c++)
            few_tile(a, r, 1, c, 1);
}

#include "device/cpu/isa/x86/panel.h"

/* The most columns for which rows are read directly. With more, unpacking them into a panel is faster
 * (bench/kernels). */
#if defined(__AVX512F__)
#define DIRECT_MOST (UNIT_KIND == UNIT_32 ? 1 : UNIT_KIND == UNIT_16 ? 3 : DIRECT_COLS)
#else
#define DIRECT_MOST DIRECT_COLS
#endif

static void matmul_q15(const struct pn_matmul_args *a)
{
    if (a->n_cols <= DIRECT_MOST)
        few_columns(a);
    else
        panel_columns(a);
}

#endif
