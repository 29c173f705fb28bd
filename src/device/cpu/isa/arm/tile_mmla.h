/* The register tile of the panel product with SMMLA: 8 rows times 8 columns as 4 x 4 accumulators of two rows times two
 * columns each. SMMLA multiplies eight values of two rows with eight values of two columns. */
#ifndef PN_ISA_ARM_TILE_MMLA_H
#define PN_ISA_ARM_TILE_MMLA_H

#define TILE_COLS 8

PN_INLINE int8x16_t low_pair(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
PN_INLINE int8x16_t high_pair(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

/* out: for each eight values, the pairs of rows. */
PN_INLINE void panel_pack_block(const int8x16x2_t q[8], int8_t *out)
{
    for (int h = 0; h < 2; h++)
        for (int r = 0; r < 8; r += 2) {
            vst1q_s8(out + 128 * h + 8 * r, low_pair(q[r].val[h], q[r + 1].val[h]));
            vst1q_s8(out + 128 * h + 64 + 8 * r, high_pair(q[r].val[h], q[r + 1].val[h]));
        }
}

/* acc[i][j] += 16 values of the i-th two rows times those of one plane of the j-th two columns. */
PN_INLINE void tile_16(const int8_t *w, const struct x_column *x, int pairs, int64_t k, bool low,
                       int32x4_t acc[4][TILE_COLS / 2])
{
    int8x16_t v[2][TILE_COLS / 2];
    UNROLL
    for (int j = 0; j < pairs; j++) {
        int8x16_t a = vld1q_s8((low ? x[2 * j].low : x[2 * j].high) + k);
        int8x16_t b = vld1q_s8((low ? x[2 * j + 1].low : x[2 * j + 1].high) + k);
        v[0][j] = low_pair(a, b);
        v[1][j] = high_pair(a, b);
    }
    UNROLL
    for (int h = 0; h < 2; h++) {
        UNROLL
        for (int i = 0; i < 4; i++) {
            int8x16_t rows = vld1q_s8(w + 64 * h + 16 * i);
            UNROLL
            for (int j = 0; j < pairs; j++)
                acc[i][j] = vmmlaq_s32(acc[i][j], rows, v[h][j]);
        }
    }
}

/* (a, a, b, b) and (a, b, a, b) of two neighbouring floats. */
PN_INLINE float32x4_t spread_rows(const uint8_t *p)
{
    float32x2_t v = vld1_f32((const float *)(const void *)p);
    return vcombine_f32(vdup_lane_f32(v, 0), vdup_lane_f32(v, 1));
}
PN_INLINE float32x4_t spread_columns(float a, float b)
{
    float32x2_t v = vset_lane_f32(b, vdup_n_f32(a), 1);
    return vcombine_f32(v, v);
}

/* Values of the high plane count 128 times. */
PN_INLINE void tile_shift(int pairs, int32x4_t acc[4][TILE_COLS / 2])
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        UNROLL
        for (int j = 0; j < pairs; j++)
            acc[i][j] = vshlq_n_s32(acc[i][j], 7);
    }
}

PN_INLINE void tile_scale(const uint8_t *block, int part, const struct x_column *x, int pairs, int b, const float *sums,
                          int32x4_t acc[4][TILE_COLS / 2], float32x4_t f[4][TILE_COLS / 2])
{
    UNROLL
    for (int j = 0; j < pairs; j++) {
        float32x4_t d = spread_columns(x[2 * j].d[b], x[2 * j + 1].d[b]), sum = d;
        const float *column = sums + 2 * j * COLUMN_SUMS + UNIT_PARTS * b + part;
        if (UNIT_HAS_MIN)
            sum = spread_columns(column[0], x[2 * j].high == x[2 * j + 1].high ? column[0] : column[COLUMN_SUMS]);
        UNROLL
        for (int i = 0; i < 4; i++) {
            float32x4_t s = spread_rows(block + AT_SCALE + 32 * part + 8 * i);
            f[i][j] = vfmaq_f32(f[i][j], vcvtq_f32_s32(acc[i][j]), vmulq_f32(s, d));
            if (UNIT_HAS_MIN)
                f[i][j] = vfmaq_f32(f[i][j], spread_rows(block + AT_MIN + 32 * part + 8 * i), sum);
            acc[i][j] = vdupq_n_s32(0);
        }
    }
}

/* Eight rows times 2 * pairs columns; if `odd`, the last one is not written to y. */
PN_INLINE void tile_group(const struct panel *panel, int r, const struct x_column *x, int pairs, bool odd,
                          const float *sums, bool add)
{
    const uint8_t *p = panel->data + (size_t)(r / GROUP) * GROUP_STRIDE;
    float32x4_t f[4][TILE_COLS / 2];
    int32x4_t acc[4][TILE_COLS / 2];
    UNROLL
    for (int i = 0; i < 4; i++) {
        UNROLL
        for (int j = 0; j < pairs; j++) {
            f[i][j] = vdupq_n_f32(0);
            acc[i][j] = vdupq_n_s32(0);
        }
    }
    for (int b = 0; b < panel->n_blocks; b++, p += BLOCK_BYTES) {
        UNROLL
        for (int part = 0; part < UNIT_PARTS; part++) {
            UNROLL
            for (int plane = 0; plane < 2; plane++) {
                UNROLL
                for (int h = part; h < part + 3 - UNIT_PARTS; h++)
                    tile_16((const int8_t *)p + 128 * h, x, pairs, 32 * b + 16 * h, plane == 1, acc);
                if (plane == 0)
                    tile_shift(pairs, acc);
            }
            tile_scale(p, part, x, pairs, b, sums, acc, f);
        }
    }
    int rows = panel->rows - r < GROUP ? panel->rows - r : GROUP;
    UNROLL
    for (int c = 0; c < 2 * pairs; c++) {
        if (odd && c == 2 * pairs - 1)
            break;
        float t[GROUP];
        float32x4_t a = f[0][c / 2], b = f[1][c / 2], e = f[2][c / 2], g = f[3][c / 2];
        vst1q_f32(t, c % 2 ? vuzp2q_f32(a, b) : vuzp1q_f32(a, b));
        vst1q_f32(t + 4, c % 2 ? vuzp2q_f32(e, g) : vuzp1q_f32(e, g));
        float *y = x[c].y + r;
        for (int i = 0; i < rows; i++)
            y[i] = add ? y[i] + t[i] : t[i];
    }
}

static void panel_tile(const struct panel *panel, const struct x_column *x, int cols, const float *sums, bool add)
{
    for (int r = 0; r < panel->rows; r += GROUP) {
        if (cols == TILE_COLS) {
            tile_group(panel, r, x, TILE_COLS / 2, false, sums, add);
            continue;
        }
        int c = 0;
        for (; c + 2 <= cols; c += 2)
            tile_group(panel, r, x + c, 1, false, sums + c * COLUMN_SUMS, add);
        if (c < cols) { /* the last column also replaces its missing neighbour */
            struct x_column twice[2] = {x[c], x[c]};
            tile_group(panel, r, twice, 1, true, sums + c * COLUMN_SUMS, add);
        }
    }
}

#endif
