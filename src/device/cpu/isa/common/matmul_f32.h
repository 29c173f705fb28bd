/* The matrix product with float32 activations, for every storage type. Float types are read in place while the columns
 * are few. Otherwise a tile of rows at a time is decoded for all columns. */
#ifndef PN_ISA_MATMUL_F32_H
#define PN_ISA_MATMUL_F32_H

#include "device/cpu/isa/common/dot.h"

#define F32_TILE_ROWS 16
#define F32_TILE_K    512

static const float *f32_column(const struct pn_matmul_args *a, int64_t c)
{
    int64_t row = a->x_index ? a->x_index[c] : c;
    return (const float *)(const void *)((const char *)a->x + (size_t)row * a->x_stride);
}

static float *f32_output(const struct pn_matmul_args *a, int64_t c)
{
    int64_t row = a->y_index ? a->y_index[c] : c;
    return a->y + (size_t)row * a->y_stride;
}

/* Rows r0 .. r0 + rows, values k0 .. k0 + k, of weights of `type` at w, times all columns. */
static void f32_tile(const struct pn_matmul_args *a, pn_type type, const char *w, size_t w_stride, int64_t r0,
                     int64_t rows, int64_t k0, int64_t k)
{
    for (int64_t c = 0; c < a->n_cols; c += DOT_COLS) {
        const float *x[DOT_COLS];
        float *out[DOT_COLS];
        int cols = (int)(a->n_cols - c < DOT_COLS ? a->n_cols - c : DOT_COLS);
        for (int j = 0; j < cols; j++) {
            x[j] = f32_column(a, c + j) + k0;
            out[j] = f32_output(a, c + j) + r0;
        }
        dot_rows(type, w, w_stride, rows, x, cols, k, out, k0 > 0);
    }
}

/* k values of a row of any type, as float32. */
static void f32_decode(pn_type type, const char *row, float *out, int64_t k)
{
    if (type != PN_TYPE_F16 && type != PN_TYPE_BF16) {
        pn_type_info(type)->decode(row, out, (size_t)k);
        return;
    }
    int64_t i = 0;
    if (type == PN_TYPE_F16)
        for (; i + VN <= k; i += VN)
            vstore(out + i, row_load(PN_TYPE_F16, row, i, VN));
    else
        for (; i + VN <= k; i += VN)
            vstore(out + i, row_load(PN_TYPE_BF16, row, i, VN));
    if (i < k)
        vstore_part(out + i, row_load(type, row, i, (int)(k - i)), (int)(k - i));
}

/* Values k0 .. k0 + k of row r of a type with several planes. */
static void f32_decode_planes(const struct pn_matmul_args *a, int64_t r, int64_t k0, float *out, int64_t k)
{
    struct pn_planes_row row = a->planes->first;
    for (uint32_t p = 0; p < pn_type_info(a->type)->planes; p++)
        row.at[p] = (const char *)row.at[p] + (size_t)r * a->planes->stride[p];
    pn_type_info(a->type)->decode_planes(&row, (size_t)k0, out, (size_t)k);
}

static void matmul_f32(const struct pn_matmul_args *a)
{
    const char *w = a->w;
    bool is_float = a->type == PN_TYPE_F32 || a->type == PN_TYPE_F16 || a->type == PN_TYPE_BF16;
    if (is_float && a->n_cols <= 4 * DOT_COLS) { /* rows in order; a second tile of columns finds them in the cache */
        int64_t step = a->n_cols <= DOT_COLS ? a->n_rows : DOT_ROWS;
        for (int64_t r = 0; r < a->n_rows; r += step)
            f32_tile(a, a->type, w + (size_t)r * a->w_stride, a->w_stride, r,
                     a->n_rows - r < step ? a->n_rows - r : step, 0, a->k);
        return;
    }
    const struct pn_type_info *info = pn_type_info(a->type);
    int64_t block = info->block, step = block < F32_TILE_K ? F32_TILE_K / block * block : block;
    int64_t tile_rows = (int64_t)(PN_CPU_SCRATCH / sizeof(float)) / step;
    tile_rows = tile_rows < F32_TILE_ROWS ? tile_rows : F32_TILE_ROWS;
    float *panel = a->scratch;
    for (int64_t r = 0; r < a->n_rows; r += tile_rows) {
        int64_t rows = a->n_rows - r < tile_rows ? a->n_rows - r : tile_rows;
        for (int64_t k0 = 0; k0 < a->k; k0 += step) {
            int64_t k = a->k - k0 < step ? a->k - k0 : step;
            const char *first = w + (size_t)r * a->w_stride + (size_t)(k0 / block) * info->bytes;
            if (a->type == PN_TYPE_F32) {
                f32_tile(a, PN_TYPE_F32, first, a->w_stride, r, rows, k0, k);
                continue;
            }
            for (int64_t i = 0; i < rows && a->planes; i++)
                f32_decode_planes(a, r + i, k0, panel + i * k, k);
            for (int64_t i = 0; i < rows && !a->planes; i++)
                f32_decode(a->type, first + (size_t)i * a->w_stride, panel + i * k, k);
            f32_tile(a, PN_TYPE_F32, (const char *)panel, (size_t)k * sizeof(float), r, rows, k0, k);
        }
    }
}

static void install_matmul_f32(struct pn_cpu_kernels *kernels)
{
    for (int t = 0; t < PN_TYPE_COUNT; t++)
        kernels->matmul[t] = (struct pn_matmul_kernel){(pn_type)t, {{PN_X_F32, matmul_f32}, {PN_X_F32, matmul_f32}}};
}

#endif
