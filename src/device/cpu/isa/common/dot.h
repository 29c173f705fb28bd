/* Tiles of float32 dot products: `rows` rows of one storage type times `cols` rows of float32, with vectors of both
 * kept in registers. These are the loops of float matrix products and of attention scores. */
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

/* Values i .. i + n of a row stored as f32, f16, bf16 or q8_0. n is VN, or less at the end of a row of a float type. */
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

/* out[i] = the sum of v[i], or += if `add`. */
PN_INLINE void store_sums(const vf v[DOT_ROWS], float *out, bool add)
{
#if defined(__AVX2__)
    __m256 h[DOT_ROWS];
    UNROLL
    for (int i = 0; i < DOT_ROWS; i++) {
#if defined(__AVX512F__)
        __m512 t = (__m512)v[i];
        h[i] = _mm256_add_ps(_mm512_castps512_ps256(t), _mm512_extractf32x8_ps(t, 1));
#else
        h[i] = (__m256)v[i];
#endif
    }
    h[0] = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h[0]), _mm256_extractf128_ps(h[0], 1));
    _mm_storeu_ps(out, add ? _mm_add_ps(_mm_loadu_ps(out), s) : s);
#elif defined(__aarch64__)
    float32x4_t s =
        vpaddq_f32(vpaddq_f32((float32x4_t)v[0], (float32x4_t)v[1]), vpaddq_f32((float32x4_t)v[2], (float32x4_t)v[3]));
    vst1q_f32(out, add ? vaddq_f32(vld1q_f32(out), s) : s);
#else
    for (int i = 0; i < DOT_ROWS; i++)
        out[i] = (add ? out[i] : 0) + vsum(v[i]);
#endif
}

/* out[c][r] = w_r . x_c over k values, or += if `add`. */
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
    UNROLL
    for (int c = 0; c < cols; c++) {
        if (rows == DOT_ROWS) {
            vf v[DOT_ROWS] = {acc[0][c], acc[1][c], acc[2][c], acc[3][c]};
            store_sums(v, out[c], add);
            continue;
        }
        UNROLL
        for (int r = 0; r < rows; r++)
            out[c][r] = (add ? out[c][r] : 0) + vsum(acc[r][c]);
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

/* Up to DOT_COLS columns, in tiles of DOT_COLS, 3, 2 and 1. */
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
