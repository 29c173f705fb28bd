/* More than a few columns: a tile of rows is unpacked once into a panel, in an order that needs no shuffle in the
 * integer product. For each 32 values and each group of rows, the panel has eight vectors with four neighbouring values
 * of every row, then the scales of the rows. A column's four bytes are broadcast against them. The format is the same
 * for every type, so the product is written once per instruction set (tile_avx2.h, tile_avx512.h). */
#ifndef PN_ISA_X86_PANEL_H
#define PN_ISA_X86_PANEL_H

/* Rows of a group, bytes of a vector over them. */
#if defined(__AVX512F__)
#define GROUP 16
#else
#define GROUP 8
#endif
#define GROUP_BYTES (4 * GROUP)

#define PANEL_ROWS   32  /* a multiple of two groups */
#define PANEL_K      512 /* values of a row */
#define PANEL_BLOCKS (PANEL_K / 32)
#define PANEL_SUMS   32768 /* floats */
#define FEW_COLS     64    /* up to here the weights are read in memory order */
#define MANY_COLS    1024  /* columns whose sums are kept at a time otherwise */

struct panel {
    uint8_t *data; /* groups of rows, PANEL_BLOCKS blocks each */
    float *sums;   /* BLOCK_SUMS for each column and block */
    int64_t sums_stride;
    size_t ahead; /* bytes from a row to its counterpart in the next panel */
    int n_blocks; /* filled blocks */
    int rows;
};
#define BLOCK_BYTES  ((size_t)BLOCK_VECTORS * GROUP_BYTES)
#define GROUP_STRIDE (BLOCK_BYTES * PANEL_BLOCKS)
_Static_assert(PANEL_ROWS * 13 * 4 * PANEL_BLOCKS + PANEL_SUMS * 4 <= PN_CPU_SCRATCH &&
                   PANEL_SUMS >= MANY_COLS * PANEL_BLOCKS * 2,
               "the panel and the sums fit the scratch memory");

/* 8 x 8 dwords. */
PN_INLINE void transpose8(__m256i v[8])
{
    __m256i t[8], u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        u[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        u[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
    }
}

/* Vector `at` of the block at out, for the eight rows that begin there. */
PN_INLINE void panel_put(uint8_t *out, int at, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)(out + (size_t)at * GROUP_BYTES), v);
}

PN_INLINE void panel_put_floats(uint8_t *out, int at, __m256 v)
{
    panel_put(out, at, _mm256_castps_si256(v));
}

/* The two int16 of each dword, as float. */
PN_INLINE __m256 low_halves(__m256i v)
{
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(v, 16), 16));
}
PN_INLINE __m256 high_halves(__m256i v)
{
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(v, 16));
}

#if defined(__AVX512F__)
#include "device/cpu/isa/x86/tile_avx512.h"
#else
#include "device/cpu/isa/x86/tile_avx2.h"
#endif

/* n blocks of eight rows: p[i] is the unit of the i-th. */
PN_INLINE void panel_pack_unit(const unit_place *p, int n, uint8_t *out)
{
    panel_pack_scales(p, n, out);
    for (int j = 0; j < n; j++) {
        __m256i v[8];
        for (int r = 0; r < 8; r++) {
            v[r] = unit_q(p[r], j);
#if defined(__AVX512F__) /* VNNI takes unsigned weights; the minima subtract the 128 again */
            if (UNIT_IS_SIGNED)
                v[r] = _mm256_xor_si256(v[r], _mm256_set1_epi8(-128));
#endif
        }
        transpose8(v);
        for (int i = 0; i < 8; i++)
            panel_put(out + (size_t)j * BLOCK_BYTES, i, v[i]);
    }
}

/* Rows r0 and following, from block b0 (a multiple of 8) on. Missing rows of a group repeat the last one. */
static void panel_pack(const struct pn_matmul_args *a, int64_t r0, int64_t b0, struct panel *panel)
{
    for (int r = 0; r < (panel->rows + 2 * GROUP - 1) / (2 * GROUP) * (2 * GROUP); r += 8) {
        unit_place p[8];
        for (int i = 0; i < 8; i++)
            p[i] = unit_at(a, r0 + (r + i < panel->rows ? r + i : panel->rows - 1), b0, UNIT_BYTES);
        uint8_t *out = panel->data + (size_t)(r / GROUP) * GROUP_STRIDE + (size_t)(r % GROUP) * 4;
        int b = 0;
        for (; b + 8 <= panel->n_blocks; b += 8, out += 8 * BLOCK_BYTES) {
            panel_pack_unit(p, 8, out);
            for (int i = 0; i < 8; i++) {
                for (int line = 0; line < UNIT_BYTES; line += 64) /* for the next panel */
                    _mm_prefetch((const char *)unit_values(p[i]) + panel->ahead + line, _MM_HINT_T0);
                p[i] = unit_next(p[i], UNIT_BYTES);
            }
        }
        if (!UNIT_SUPER && b < panel->n_blocks)
            panel_pack_unit(p, panel->n_blocks - b, out);
    }
}

/* The factors of the weights' minima: SUMS_FACTOR times the sums of 32 (or 16) values, for n blocks from b0 on of
 * columns c0 .. c0 + cols. */
static void panel_sums(const struct pn_matmul_args *a, int64_t c0, int64_t cols, int64_t b0, int64_t n,
                       const struct panel *panel)
{
    for (int64_t c = 0; c < cols; c++) {
        struct x_column x = x_column(a, c0 + c, 32 * b0, 0);
        float *sums = panel->sums + c * panel->sums_stride;
        for (int64_t b = 0; b < n; b++)
            if (BLOCK_SUMS == 2) {
                sums[2 * b] = x.sum[2 * b] * SUMS_FACTOR;
                sums[2 * b + 1] = x.sum[2 * b + 1] * SUMS_FACTOR;
            } else {
                sums[b] = (x.sum[2 * b] + x.sum[2 * b + 1]) * SUMS_FACTOR;
            }
    }
}

/* Rows r and following, blocks b and following: packs them and multiplies them with columns c0 .. c0 + cols. */
static void panel_step(const struct pn_matmul_args *a, int64_t r, int64_t b, int64_t c0, int64_t cols,
                       const float *sums, struct panel *panel)
{
    struct x_column x[TILE_COLS];
    panel_pack(a, r, b, panel);
    for (int64_t c = 0; c < cols; c += TILE_COLS) {
        int n = (int)(cols - c < TILE_COLS ? cols - c : TILE_COLS);
        for (int i = 0; i < n; i++)
            x[i] = x_column(a, c0 + c + i, 32 * b, r);
        panel_tile(panel, x, n, sums + c * panel->sums_stride, b > 0);
    }
}

/* Few columns: the outer loop is over rows, so that the weights are read in order. */
static void panel_few(const struct pn_matmul_args *a, struct panel *panel)
{
    int64_t n_blocks = a->k / 32;
    panel->sums_stride = BLOCK_SUMS * n_blocks;
    panel->ahead = 2 * GROUP * a->w_stride;
    if (BLOCK_SUMS > 0)
        panel_sums(a, 0, a->n_cols, 0, n_blocks, panel);
    for (int64_t r = 0; r < a->n_rows; r += 2 * GROUP) {
        panel->rows = (int)(a->n_rows - r < 2 * GROUP ? a->n_rows - r : 2 * GROUP);
        for (int64_t b = 0; b < n_blocks; b += PANEL_BLOCKS) {
            panel->n_blocks = (int)(n_blocks - b < PANEL_BLOCKS ? n_blocks - b : PANEL_BLOCKS);
            panel_step(a, r, b, 0, a->n_cols, panel->sums + b * BLOCK_SUMS, panel);
        }
    }
}

/* Many columns: the outer loop is over pieces of k, so that the activations of a piece stay in the cache for all
 * rows. */
static void panel_many(const struct pn_matmul_args *a, struct panel *panel)
{
    int64_t n_blocks = a->k / 32;
    panel->sums_stride = BLOCK_SUMS * PANEL_BLOCKS;
    panel->ahead = PANEL_ROWS * a->w_stride;
    for (int64_t c = 0; c < a->n_cols; c += MANY_COLS) {
        int64_t cols = a->n_cols - c < MANY_COLS ? a->n_cols - c : MANY_COLS;
        for (int64_t b = 0; b < n_blocks; b += PANEL_BLOCKS) {
            panel->n_blocks = (int)(n_blocks - b < PANEL_BLOCKS ? n_blocks - b : PANEL_BLOCKS);
            if (BLOCK_SUMS > 0)
                panel_sums(a, c, cols, b, panel->n_blocks, panel);
            for (int64_t r = 0; r < a->n_rows; r += PANEL_ROWS) {
                panel->rows = (int)(a->n_rows - r < PANEL_ROWS ? a->n_rows - r : PANEL_ROWS);
                panel_step(a, r, b, c, cols, panel->sums, panel);
            }
        }
    }
}

static void panel_columns(const struct pn_matmul_args *a)
{
    struct panel panel = {.data = a->scratch};
    panel.sums = (float *)(void *)(panel.data + GROUP_STRIDE * (PANEL_ROWS / GROUP));
    if (a->n_cols <= FEW_COLS && a->n_cols * (a->k / 32) * BLOCK_SUMS <= PANEL_SUMS)
        panel_few(a, &panel);
    else
        panel_many(a, &panel);
}

#endif
