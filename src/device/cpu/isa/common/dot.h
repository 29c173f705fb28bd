/* Tiles of float32 dot products: `rows` rows of one storage type times `cols` rows of float32, with the vectors of both
 * shared in registers. The loops of float matrix products and of attention scores. */
#ifndef PN_ISA_DOT_H
#define PN_ISA_DOT_H

#include "device/cpu/isa/common/vec.h"

/* Columns of a tile: 4 rows x DOT_COLS accumulators, the row vectors and one column vector fill the register file. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define DOT_COLS 6
#elif defined(__AVX2__)
#define DOT_COLS 3
#else
#define DOT_COLS 2
#endif
#define DOT_ROWS 4

/* Values i .. i + n of a row stored as f32, f16, bf16 or q8_0 (n == VN, or less at the end of a row of a float type).
 */
PN_INLINE vf row_load(pn_type type, const char *row, int64_t i, int n)
{
    if (type == PN_TYPE_F32)
        return n == VN ? vload((const float *)(const void *)row + i)
                       : vload_part((const float *)(const void *)row + i, n);
    if (type == PN_TYPE_Q8_0) {
        const char *block = row + i / 32 * 34;
        return vload_i8((const int8_t *)block + 2 + i % 32) * load_half(block);
    }
    uint16_t t[VN] = {0};
    const uint16_t *p = (const uint16_t *)(const void *)row + i;
    if (n < VN) {
        memcpy(t, p, (size_t)n * 2);
        p = t;
    }
    return type == PN_TYPE_F16 ? vload_f16(p) : vload_bf16(p);
}

/* out[c][r] = w_r . x_c over k values (added to what is there if `add`). */
PN_INLINE void dot_tile(pn_type type, const char *w, size_t w_stride, int rows, const float *const *x, int cols,
                        int64_t k, float *const *out, bool add)
{
    vf acc[DOT_ROWS][DOT_COLS] = {{{0}}};
    int64_t i = 0;
    for (; i + VN <= k; i += VN) {
        vf v[DOT_ROWS];
        for (int r = 0; r < rows; r++)
            v[r] = row_load(type, w + r * w_stride, i, VN);
        for (int c = 0; c < cols; c++) {
            vf u = vload(x[c] + i);
            for (int r = 0; r < rows; r++)
                acc[r][c] = vfma(v[r], u, acc[r][c]);
        }
    }
    int rest = (int)(k - i);
    if (rest > 0 && type != PN_TYPE_Q8_0)
        for (int r = 0; r < rows; r++) {
            vf v = row_load(type, w + r * w_stride, i, rest);
            for (int c = 0; c < cols; c++)
                acc[r][c] = vfma(v, vload_part(x[c] + i, rest), acc[r][c]);
        }
    for (int c = 0; c < cols; c++)
        for (int r = 0; r < rows; r++) {
            float s = vsum(acc[r][c]);
            out[c][r] = add ? out[c][r] + s : s;
        }
}

/* All rows of a slice times up to DOT_COLS columns. */
PN_INLINE void dot_rows_cols(pn_type type, const char *w, size_t w_stride, int64_t n_rows, const float *const *x,
                             int cols, int64_t k, float *const *out, bool add)
{
    float *o[DOT_COLS];
    int64_t r = 0;
    for (int c = 0; c < cols; c++)
        o[c] = out[c];
    for (; r + DOT_ROWS <= n_rows; r += DOT_ROWS, w += DOT_ROWS * w_stride) {
        dot_tile(type, w, w_stride, DOT_ROWS, x, cols, k, o, add);
        for (int c = 0; c < cols; c++)
            o[c] += DOT_ROWS;
    }
    for (; r < n_rows; r++, w += w_stride) {
        dot_tile(type, w, w_stride, 1, x, cols, k, o, add);
        for (int c = 0; c < cols; c++)
            o[c]++;
    }
}

/* Any number of columns up to DOT_COLS, from tiles of DOT_COLS, 3, 2 and 1. */
PN_INLINE void dot_rows_type(pn_type type, const char *w, size_t w_stride, int64_t n_rows, const float *const *x,
                             int cols, int64_t k, float *const *out, bool add)
{
    if (cols == DOT_COLS) {
        dot_rows_cols(type, w, w_stride, n_rows, x, DOT_COLS, k, out, add);
        return;
    }
#if DOT_COLS > 3
    for (; cols >= 3; cols -= 3, x += 3, out += 3)
        dot_rows_cols(type, w, w_stride, n_rows, x, 3, k, out, add);
#endif
    if (cols == 2)
        dot_rows_cols(type, w, w_stride, n_rows, x, 2, k, out, add);
    else if (cols == 1)
        dot_rows_cols(type, w, w_stride, n_rows, x, 1, k, out, add);
}

/* type: f32, f16, bf16 or q8_0; cols: 1 .. DOT_COLS. */
static void dot_rows(pn_type type, const char *w, size_t w_stride, int64_t n_rows, const float *const *x, int cols,
                     int64_t k, float *const *out, bool add)
{
    if (type == PN_TYPE_F32)
        dot_rows_type(PN_TYPE_F32, w, w_stride, n_rows, x, cols, k, out, add);
    else if (type == PN_TYPE_F16)
        dot_rows_type(PN_TYPE_F16, w, w_stride, n_rows, x, cols, k, out, add);
    else if (type == PN_TYPE_BF16)
        dot_rows_type(PN_TYPE_BF16, w, w_stride, n_rows, x, cols, k, out, add);
    else
        dot_rows_type(PN_TYPE_Q8_0, w, w_stride, n_rows, x, cols, k, out, add);
}

#endif
