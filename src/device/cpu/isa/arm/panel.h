/* Many columns: a tile of rows is unpacked once into a panel, eight rows together, in the order of the integer product,
 * followed by the scales of the rows. The format is the same for every type, so the product is written once for SDOT
 * (tile_dot.h) and once for SMMLA (tile_mmla.h). These order the bytes of a block (panel_pack_block) and multiply
 * (panel_tile). */
#ifndef PN_ISA_ARM_PANEL_H
#define PN_ISA_ARM_PANEL_H

#define GROUP          8
#define PANEL_MIN_COLS 4
#define PANEL_ROWS     32
#define PANEL_K        512
#define PANEL_COLS     1024 /* columns whose sums are kept in scratch at a time */
#define PANEL_BLOCKS   (PANEL_K / 32)

/* A block of eight rows: 256 bytes q, then for each part 8 floats s, then (UNIT_HAS_MIN) m. */
#define AT_SCALE     256
#define AT_MIN       (AT_SCALE + 32 * UNIT_PARTS)
#define BLOCK_BYTES  ((size_t)AT_MIN + (UNIT_HAS_MIN ? 32 * UNIT_PARTS : 0))
#define GROUP_STRIDE (BLOCK_BYTES * PANEL_BLOCKS)
#define COLUMN_SUMS  (PANEL_BLOCKS * UNIT_PARTS)

struct panel {
    uint8_t *data; /* groups of rows, PANEL_BLOCKS blocks each */
    float *sums;   /* UNIT_HAS_MIN: the sum of each part, for each column */
    int n_blocks;  /* filled blocks */
    int rows;
};
_Static_assert(PANEL_ROWS / GROUP * (256 + 128) * PANEL_BLOCKS + PANEL_COLS * PANEL_BLOCKS * 2 * 4 <= PN_CPU_SCRATCH,
               "the panel and the sums fit the scratch memory");

#if defined(__ARM_FEATURE_MATMUL_INT8)
#include "device/cpu/isa/arm/tile_mmla.h"
#else
#include "device/cpu/isa/arm/tile_dot.h"
#endif

/* n blocks of eight rows: p[i] is the unit of the i-th. */
PN_INLINE void panel_pack_unit(const unit_place *p, int n, uint8_t *out)
{
    float s[8][16], m[8][16];
    for (int r = 0; r < 8; r++)
        unit_scales(p[r], n, s[r], m[r]);
    for (int j = 0; j < n; j++, out += BLOCK_BYTES) {
        int8x16x2_t q[8];
        float *scales = (float *)(void *)(out + AT_SCALE);
        for (int r = 0; r < 8; r++)
            q[r] = unit_q(p[r], j);
        panel_pack_block(q, (int8_t *)out);
        for (int part = 0; part < UNIT_PARTS; part++)
            for (int r = 0; r < 8; r++) {
                scales[8 * part + r] = s[r][UNIT_PARTS * j + part];
                if (UNIT_HAS_MIN)
                    scales[8 * (UNIT_PARTS + part) + r] = m[r][UNIT_PARTS * j + part];
            }
    }
}

/* Rows r0 and following, from block b0 (a multiple of 8) on. Missing rows of a group repeat the last one. */
static void panel_pack(const struct pn_matmul_args *a, int64_t r0, int64_t b0, struct panel *panel)
{
    for (int r = 0; r < panel->rows; r += GROUP) {
        unit_place p[8];
        for (int i = 0; i < 8; i++)
            p[i] = unit_at(a, r0 + (r + i < panel->rows ? r + i : panel->rows - 1), b0, UNIT_BYTES);
        uint8_t *out = panel->data + (size_t)(r / GROUP) * GROUP_STRIDE;
        int b = 0;
        for (; b + 8 <= panel->n_blocks; b += 8, out += 8 * BLOCK_BYTES) {
            panel_pack_unit(p, 8, out);
            for (int i = 0; i < 8; i++)
                p[i] = unit_next(p[i], UNIT_BYTES);
        }
        if (b < panel->n_blocks)
            panel_pack_unit(p, panel->n_blocks - b, out);
    }
}

static void panel_sums(const struct pn_matmul_args *a, int64_t c0, int64_t cols, int64_t b0, const struct panel *panel)
{
    for (int64_t c = 0; c < cols; c++) {
        struct x_column x = x_column(a, c0 + c, 32 * b0, 0);
        float sums[16];
        for (int b = 0; b < panel->n_blocks; b += 8) {
            int n = panel->n_blocks - b < 8 ? panel->n_blocks - b : 8;
            part_sums(x.sum + 2 * b, n, sums);
            memcpy(panel->sums + c * COLUMN_SUMS + b * UNIT_PARTS, sums, (size_t)(8 * UNIT_PARTS) * sizeof *sums);
        }
    }
}

/* All columns of a chunk with the rows of the panel. */
static void panel_multiply(const struct pn_matmul_args *a, int64_t r0, int64_t c0, int64_t cols, int64_t b0,
                           const struct panel *panel)
{
    struct x_column x[TILE_COLS];
    for (int64_t c = 0; c < cols; c += TILE_COLS) {
        int n = (int)(cols - c < TILE_COLS ? cols - c : TILE_COLS);
        for (int i = 0; i < n; i++)
            x[i] = x_column(a, c0 + c + i, 32 * b0, r0);
        panel_tile(panel, x, n, panel->sums + c * COLUMN_SUMS, b0 > 0);
    }
}

static void panel_columns(const struct pn_matmul_args *a)
{
    struct panel panel = {.data = a->scratch};
    panel.sums = (float *)(void *)(panel.data + GROUP_STRIDE * (PANEL_ROWS / GROUP));
    int64_t n_blocks = a->k / 32;
    for (int64_t c = 0; c < a->n_cols; c += PANEL_COLS) {
        int64_t cols = a->n_cols - c < PANEL_COLS ? a->n_cols - c : PANEL_COLS;
        for (int64_t b = 0; b < n_blocks; b += PANEL_BLOCKS) {
            panel.n_blocks = (int)(n_blocks - b < PANEL_BLOCKS ? n_blocks - b : PANEL_BLOCKS);
            if (UNIT_HAS_MIN)
                panel_sums(a, c, cols, b, &panel);
            for (int64_t r = 0; r < a->n_rows; r += PANEL_ROWS) {
                panel.rows = (int)(a->n_rows - r < PANEL_ROWS ? a->n_rows - r : PANEL_ROWS);
                panel_pack(a, r, b, &panel);
                panel_multiply(a, r, c, cols, b, &panel);
            }
        }
    }
}

#endif
