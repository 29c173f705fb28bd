/* The matrix product of one quantized type with q15 activations on arm64. A type's file includes it last, after the
 * definitions that unit.h lists.
 *
 * Few columns, and all columns without SDOT: rows are read directly and their bytes spread in registers. Many columns:
 * panel.h. */
#ifndef PN_ISA_ARM_MATMUL_Q15_H
#define PN_ISA_ARM_MATMUL_Q15_H

#include "device/cpu/isa/arm/unit.h"

#define FEW_ROWS 2
#define FEW_COLS 4

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

/* acc + sums of four products of signed bytes each (any four: all are summed in the end). */
PN_INLINE int32x4_t dot_bytes(int32x4_t acc, int8x16_t q, int8x16_t x)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, q, x);
#else /* two products of at most 128 * 127 fit in int16 */
    int16x8_t t = vmull_s8(vget_low_s8(q), vget_low_s8(x));
    return vpadalq_s16(acc, vmlal_s8(t, vget_high_s8(q), vget_high_s8(x)));
#endif
}

/* sums[i] = the sum of the i-th part, for n blocks; zeros up to eight blocks. */
PN_INLINE void part_sums(const float *sum, int n, float sums[16])
{
    if (n < 8)
        memset(sums, 0, 16 * sizeof *sums);
    for (int i = 0; i < n; i++)
        if (UNIT_PARTS == 1) {
            sums[i] = sum[2 * i] + sum[2 * i + 1];
        } else {
            sums[2 * i] = sum[2 * i];
            sums[2 * i + 1] = sum[2 * i + 1];
        }
}

/* acc[r][c] += the products of n blocks of the unit at p[r] with those of the columns at block `block`. */
PN_INLINE void few_unit(const unit_place *p, int rows, int n, const struct x_column *x, int cols, int64_t block,
                        float32x4_t acc[][FEW_COLS])
{
    float s[FEW_ROWS][16], m[16];
    float sums[FEW_COLS][16];
    if (UNIT_HAS_MIN) {
        UNROLL
        for (int c = 0; c < cols; c++)
            part_sums(x[c].sum + 2 * block, n, sums[c]);
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        if (UNIT_HAS_MIN && n < 8)
            memset(m, 0, sizeof m);
        unit_scales(p[r], n, s[r], m);
        if (UNIT_HAS_MIN) {
            UNROLL
            for (int c = 0; c < cols; c++)
                for (int i = 0; i < 8 * UNIT_PARTS; i += 4)
                    acc[r][c] = vfmaq_f32(acc[r][c], vld1q_f32(m + i), vld1q_f32(sums[c] + i));
        }
    }
    for (int j = 0; j < n; j++) {
        int8x16_t high[FEW_COLS][2], low[FEW_COLS][2];
        UNROLL
        for (int c = 0; c < cols; c++) {
            UNROLL
            for (int h = 0; h < 2; h++) {
                high[c][h] = vld1q_s8(x[c].high + 32 * (block + j) + 16 * h);
                low[c][h] = vld1q_s8(x[c].low + 32 * (block + j) + 16 * h);
            }
        }
        UNROLL
        for (int r = 0; r < rows; r++) {
            int8x16x2_t q = unit_q(p[r], j);
            UNROLL
            for (int c = 0; c < cols; c++) {
                float d = x[c].d[block + j];
                int32x4_t t = dot_bytes(vdupq_n_s32(0), q.val[0], high[c][0]);
                if (UNIT_PARTS == 2) {
                    t = dot_bytes(vshlq_n_s32(t, 7), q.val[0], low[c][0]);
                    acc[r][c] = vfmaq_n_f32(acc[r][c], vcvtq_f32_s32(t), d * s[r][2 * j]);
                    t = dot_bytes(vdupq_n_s32(0), q.val[1], high[c][1]);
                    t = dot_bytes(vshlq_n_s32(t, 7), q.val[1], low[c][1]);
                    acc[r][c] = vfmaq_n_f32(acc[r][c], vcvtq_f32_s32(t), d * s[r][2 * j + 1]);
                } else {
                    t = dot_bytes(t, q.val[1], high[c][1]);
                    t = dot_bytes(vshlq_n_s32(t, 7), q.val[0], low[c][0]);
                    t = dot_bytes(t, q.val[1], low[c][1]);
                    acc[r][c] = vfmaq_n_f32(acc[r][c], vcvtq_f32_s32(t), d * s[r][j]);
                }
            }
        }
    }
}

/* Rows r0 .. r0 + rows times `cols` columns, whole rows. */
PN_INLINE void few_tile(const struct pn_matmul_args *a, int64_t r0, int rows, int64_t c0, int cols)
{
    unit_place p[FEW_ROWS];
    struct x_column x[FEW_COLS];
    float32x4_t acc[FEW_ROWS][FEW_COLS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        p[r] = unit_at(a, r0 + r, 0, UNIT_BYTES);
        UNROLL
        for (int c = 0; c < cols; c++)
            acc[r][c] = vdupq_n_f32(0);
    }
    for (int c = 0; c < cols; c++)
        x[c] = x_column(a, c0 + c, 0, r0);
    int64_t n_blocks = a->k / 32, b = 0;
    for (; b + 8 <= n_blocks; b += 8) {
        few_unit(p, rows, 8, x, cols, b, acc);
        UNROLL
        for (int r = 0; r < rows; r++) {
            __builtin_prefetch(unit_values(p[r]) + (size_t)rows * a->w_stride);
            p[r] = unit_next(p[r], UNIT_BYTES);
        }
    }
    if (b < n_blocks)
        few_unit(p, rows, (int)(n_blocks - b), x, cols, b, acc);
    UNROLL
    for (int c = 0; c < cols; c++) {
        UNROLL
        for (int r = 0; r < rows; r++)
            x[c].y[r] = vaddvq_f32(acc[r][c]);
    }
}

PN_INLINE void few_rows(const struct pn_matmul_args *a, int64_t r0, int rows)
{
    int64_t c = 0;
    for (; c + 4 <= a->n_cols; c += 4)
        few_tile(a, r0, rows, c, 4);
    for (; c + 2 <= a->n_cols; c += 2)
        few_tile(a, r0, rows, c, 2);
    if (c < a->n_cols)
        few_tile(a, r0, rows, c, 1);
}

static void few_columns(const struct pn_matmul_args *a)
{
    int64_t r = 0;
    for (; r + FEW_ROWS <= a->n_rows; r += FEW_ROWS)
        few_rows(a, r, FEW_ROWS);
    for (; r < a->n_rows; r++)
        few_rows(a, r, 1);
}

#if defined(__ARM_FEATURE_DOTPROD)
#include "device/cpu/isa/arm/panel.h"

static void matmul_q15(const struct pn_matmul_args *a)
{
    if (a->n_cols < PANEL_MIN_COLS)
        few_columns(a);
    else
        panel_columns(a);
}
#else
static void matmul_q15(const struct pn_matmul_args *a)
{
    few_columns(a);
}
#endif

#endif
