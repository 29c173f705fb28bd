/* The register tile of the panel product with SDOT: 8 rows times 8 columns, 16 accumulators. A panel vector holds four
 * neighbouring values of four rows; SDOT multiplies it with one lane, four values, of a column. */
#ifndef PN_ISA_ARM_TILE_DOT_H
#define PN_ISA_ARM_TILE_DOT_H

#define TILE_COLS 8

/* out: for each four values, four rows, then the other four. */
PN_INLINE void panel_pack_block(const int8x16x2_t q[8], int8_t *out)
{
    for (int h = 0; h < 2; h++)
        for (int r = 0; r < 8; r += 4) {
            int32x4_t a = vreinterpretq_s32_s8(q[r].val[h]), b = vreinterpretq_s32_s8(q[r + 1].val[h]);
            int32x4_t c = vreinterpretq_s32_s8(q[r + 2].val[h]), d = vreinterpretq_s32_s8(q[r + 3].val[h]);
            int64x2_t ab0 = vreinterpretq_s64_s32(vtrn1q_s32(a, b)), ab1 = vreinterpretq_s64_s32(vtrn2q_s32(a, b));
            int64x2_t cd0 = vreinterpretq_s64_s32(vtrn1q_s32(c, d)), cd1 = vreinterpretq_s64_s32(vtrn2q_s32(c, d));
            int8_t *to = out + 128 * h + 4 * r;
            vst1q_s8(to, vreinterpretq_s8_s64(vtrn1q_s64(ab0, cd0)));
            vst1q_s8(to + 32, vreinterpretq_s8_s64(vtrn1q_s64(ab1, cd1)));
            vst1q_s8(to + 64, vreinterpretq_s8_s64(vtrn2q_s64(ab0, cd0)));
            vst1q_s8(to + 96, vreinterpretq_s8_s64(vtrn2q_s64(ab1, cd1)));
        }
}

/* acc[g][c] += 16 values of 8 rows times those of one plane of the columns. */
PN_INLINE void tile_16(const int8_t *w, const struct x_column *x, int cols, int64_t k, bool low,
                       int32x4_t acc[2][TILE_COLS])
{
    int8x16_t v[TILE_COLS];
    UNROLL
    for (int c = 0; c < cols; c++)
        v[c] = vld1q_s8((low ? x[c].low : x[c].high) + k);
#define STEP(lane)                                                                                                     \
    do {                                                                                                               \
        int8x16_t w0 = vld1q_s8(w + 32 * (lane)), w1 = vld1q_s8(w + 32 * (lane) + 16);                                 \
        UNROLL                                                                                                         \
        for (int c = 0; c < cols; c++) {                                                                               \
            acc[0][c] = vdotq_laneq_s32(acc[0][c], w0, v[c], lane);                                                    \
            acc[1][c] = vdotq_laneq_s32(acc[1][c], w1, v[c], lane);                                                    \
        }                                                                                                              \
    } while (0)
    STEP(0);
    STEP(1);
    STEP(2);
    STEP(3);
#undef STEP
}

/* Values of the high plane count 128 times. */
PN_INLINE void tile_shift(int cols, int32x4_t acc[2][TILE_COLS])
{
    UNROLL
    for (int c = 0; c < cols; c++) {
        acc[0][c] = vshlq_n_s32(acc[0][c], 7);
        acc[1][c] = vshlq_n_s32(acc[1][c], 7);
    }
}

PN_INLINE void tile_scale(const uint8_t *block, int part, const struct x_column *x, int cols, int b, const float *sums,
                          int32x4_t acc[2][TILE_COLS], float32x4_t f[2][TILE_COLS])
{
    UNROLL
    for (int g = 0; g < 2; g++) {
        float32x4_t s = vld1q_f32((const float *)(const void *)(block + AT_SCALE + 32 * part + 16 * g)), m = s;
        if (UNIT_HAS_MIN)
            m = vld1q_f32((const float *)(const void *)(block + AT_MIN + 32 * part + 16 * g));
        UNROLL
        for (int c = 0; c < cols; c++) {
            float32x4_t t = vmulq_n_f32(vcvtq_f32_s32(acc[g][c]), x[c].d[b]);
            f[g][c] = vfmaq_f32(f[g][c], t, s);
            if (UNIT_HAS_MIN)
                f[g][c] = vfmaq_n_f32(f[g][c], m, sums[c * COLUMN_SUMS + UNIT_PARTS * b + part]);
            acc[g][c] = vdupq_n_s32(0);
        }
    }
}

PN_INLINE void tile_group(const struct panel *panel, int r, const struct x_column *x, int cols, const float *sums,
                          bool add)
{
    const uint8_t *p = panel->data + (size_t)(r / GROUP) * GROUP_STRIDE;
    float32x4_t f[2][TILE_COLS];
    int32x4_t acc[2][TILE_COLS];
    for (int c = 0; c < cols; c++) {
        f[0][c] = f[1][c] = vdupq_n_f32(0);
        acc[0][c] = acc[1][c] = vdupq_n_s32(0);
    }
    for (int b = 0; b < panel->n_blocks; b++, p += BLOCK_BYTES) {
        UNROLL
        for (int part = 0; part < UNIT_PARTS; part++) {
            UNROLL
            for (int plane = 0; plane < 2; plane++) {
                UNROLL
                for (int h = part; h < part + 3 - UNIT_PARTS; h++)
                    tile_16((const int8_t *)p + 128 * h, x, cols, 32 * b + 16 * h, plane == 1, acc);
                if (plane == 0)
                    tile_shift(cols, acc);
            }
            tile_scale(p, part, x, cols, b, sums, acc, f);
        }
    }
    int rows = panel->rows - r < GROUP ? panel->rows - r : GROUP;
    for (int c = 0; c < cols; c++) {
        float *y = x[c].y + r;
        float t[GROUP];
        vst1q_f32(t, f[0][c]);
        vst1q_f32(t + 4, f[1][c]);
        for (int i = 0; i < rows; i++)
            y[i] = add ? y[i] + t[i] : t[i];
    }
}

static void panel_tile(const struct panel *panel, const struct x_column *x, int cols, const float *sums, bool add)
{
    for (int r = 0; r < panel->rows; r += GROUP) {
        int c = 0;
        if (cols == TILE_COLS) {
            tile_group(panel, r, x, TILE_COLS, sums, add);
            continue;
        }
        for (; c + 4 <= cols; c += 4)
            tile_group(panel, r, x + c, 4, sums + c * COLUMN_SUMS, add);
        for (; c < cols; c++)
            tile_group(panel, r, x + c, 1, sums + c * COLUMN_SUMS, add);
    }
}

#endif
