/* The register tile of the panel product on AVX-512 with VNNI: two groups of 16 rows times 12 columns, 24 accumulators.
 * vpdpbusd adds four products of an unsigned with a signed byte to an int32: those of the high plane, then, after a
 * shift, those of the low one. Signed weights get 128 added; the sums of the activations subtract it again. */
#ifndef PN_ISA_X86_TILE_AVX512_H
#define PN_ISA_X86_TILE_AVX512_H

#define TILE_COLS 12

_Static_assert(UNIT_KIND != UNIT_SIGNED_MIN, "unsigned bytes have room here");

/* UNIT_16 has a scale per 16 values, so a block is two parts. */
#define PARTS         (UNIT_KIND == UNIT_16 ? 2 : 1)
#define AT_SCALE      8                  /* float s of each part */
#define AT_MIN        (AT_SCALE + PARTS) /* float m of each part */
#define BLOCK_VECTORS (AT_MIN + (UNIT_KIND == UNIT_SIGNED ? 0 : PARTS))
#define BLOCK_SUMS    PARTS
#define SUMS_FACTOR   (UNIT_KIND == UNIT_SIGNED ? -128.0f : 1.0f)

/* The scales of n blocks of the units at p. */
PN_INLINE void panel_pack_scales(const unit_place *p, int n, uint8_t *out)
{
    __m256i first[8], second[8];
    float d[8] __attribute__((aligned(32))), dm[8] __attribute__((aligned(32)));
    for (int r = 0; r < 8; r++) {
        struct unit_scales u;
        unit_scales(p[r], n, &u);
        first[r] = UNIT_KIND == UNIT_16 ? u.scale : _mm256_castps_si256(u.s);
        second[r] = UNIT_KIND == UNIT_16 ? u.min : UNIT_KIND == UNIT_32 ? _mm256_castps_si256(u.m) : first[r];
        if (UNIT_KIND == UNIT_16) {
            d[r] = u.d;
            dm[r] = u.dm;
        }
    }
    transpose8(first);
    if (UNIT_KIND != UNIT_SIGNED)
        transpose8(second);
    for (int j = 0; j < n; j++, out += BLOCK_BYTES) {
        if (UNIT_KIND == UNIT_16) {
            __m256 dv = _mm256_load_ps(d), dmv = _mm256_load_ps(dm);
            panel_put_floats(out, AT_SCALE, _mm256_mul_ps(low_halves(first[j]), dv));
            panel_put_floats(out, AT_SCALE + 1, _mm256_mul_ps(high_halves(first[j]), dv));
            panel_put_floats(out, AT_MIN, _mm256_mul_ps(low_halves(second[j]), dmv));
            panel_put_floats(out, AT_MIN + 1, _mm256_mul_ps(high_halves(second[j]), dmv));
        } else {
            panel_put(out, AT_SCALE, first[j]);
            if (UNIT_KIND == UNIT_32)
                panel_put(out, AT_MIN, second[j]);
        }
    }
}

/* acc[g][c] += 16 rows of group g times one plane of column c, for a part of the block at p. */
PN_INLINE void tile_plane(const uint8_t *p, const struct x_column *x, int cols, int64_t k, int part, bool low,
                          __m512i acc[2][TILE_COLS])
{
    UNROLL
    for (int i = 0; i < 8 / PARTS; i++) {
        int step = part * (8 / PARTS) + i;
        __m512i w[2];
        UNROLL
        for (int g = 0; g < 2; g++)
            w[g] = _mm512_loadu_si512(p + g * GROUP_STRIDE + step * GROUP_BYTES);
        UNROLL
        for (int c = 0; c < cols; c++) {
            __m512i v = _mm512_set1_epi32((int)load32((low ? x[c].low : x[c].high) + k + 4 * step));
            UNROLL
            for (int g = 0; g < 2; g++)
                acc[g][c] = _mm512_dpbusd_epi32(acc[g][c], w[g], v);
        }
    }
}

/* f[g][c] += 16 rows of group g times column c over the blocks of the panel. */
PN_INLINE void tile_columns(const struct panel *panel, const uint8_t *p, const struct x_column *x, int cols,
                            const float *sums, __m512 f[2][TILE_COLS])
{
    for (int b = 0; b < panel->n_blocks; b++, p += BLOCK_BYTES) {
        UNROLL
        for (int part = 0; part < PARTS; part++) {
            __m512i acc[2][TILE_COLS];
            UNROLL
            for (int c = 0; c < cols; c++)
                acc[0][c] = acc[1][c] = _mm512_setzero_si512();
            tile_plane(p, x, cols, 32 * b, part, false, acc);
            UNROLL
            for (int c = 0; c < cols; c++) {
                UNROLL
                for (int g = 0; g < 2; g++)
                    acc[g][c] = _mm512_slli_epi32(acc[g][c], 7);
            }
            tile_plane(p, x, cols, 32 * b, part, true, acc);
            UNROLL
            for (int g = 0; g < 2; g++) {
                const uint8_t *extra = p + g * GROUP_STRIDE;
                __m512 s = _mm512_loadu_ps(extra + (AT_SCALE + part) * GROUP_BYTES), m = s;
                if (UNIT_KIND != UNIT_SIGNED)
                    m = _mm512_loadu_ps(extra + (AT_MIN + part) * GROUP_BYTES);
                UNROLL
                for (int c = 0; c < cols; c++) {
                    __m512 d = _mm512_set1_ps(x[c].d[b]), t = _mm512_cvtepi32_ps(acc[g][c]);
                    __m512 sum = _mm512_set1_ps(sums[c * panel->sums_stride + PARTS * b + part]);
                    if (UNIT_KIND == UNIT_SIGNED)
                        t = _mm512_fmadd_ps(t, d, sum);
                    else
                        t = _mm512_mul_ps(t, d);
                    f[g][c] = _mm512_fmadd_ps(t, s, f[g][c]);
                    if (UNIT_KIND != UNIT_SIGNED)
                        f[g][c] = _mm512_fmadd_ps(sum, m, f[g][c]);
                }
            }
        }
    }
}

/* Rows r and following of the panel: adds to y, or sets it. */
PN_INLINE void tile_groups(const struct panel *panel, int r, const struct x_column *x, int cols, const float *sums,
                           bool add)
{
    __m512 f[2][TILE_COLS];
    __mmask16 mask[2];
    for (int g = 0; g < 2; g++) {
        int rows = panel->rows - r - g * GROUP;
        mask[g] = (__mmask16)(rows >= GROUP ? 0xffff : rows > 0 ? (1u << rows) - 1 : 0);
        for (int c = 0; c < cols; c++)
            f[g][c] = add ? _mm512_maskz_loadu_ps(mask[g], x[c].y + r + g * GROUP) : _mm512_setzero_ps();
    }
    tile_columns(panel, panel->data + (size_t)(r / GROUP) * GROUP_STRIDE, x, cols, sums, f);
    for (int g = 0; g < 2; g++)
        for (int c = 0; c < cols; c++)
            _mm512_mask_storeu_ps(x[c].y + r + g * GROUP, mask[g], f[g][c]);
}

PN_INLINE void tile_rows(const struct panel *panel, const struct x_column *x, int cols, const float *sums, bool add)
{
    for (int r = 0; r < panel->rows; r += 2 * GROUP)
        tile_groups(panel, r, x, cols, sums, add);
}

static void panel_tile(const struct panel *panel, const struct x_column *x, int cols, const float *sums, bool add)
{
    if (cols == TILE_COLS) {
        tile_rows(panel, x, TILE_COLS, sums, add);
        return;
    }
    for (; cols >= 4; cols -= 4, x += 4, sums += 4 * panel->sums_stride)
        tile_rows(panel, x, 4, sums, add);
    for (; cols >= 2; cols -= 2, x += 2, sums += 2 * panel->sums_stride)
        tile_rows(panel, x, 2, sums, add);
    if (cols > 0)
        tile_rows(panel, x, 1, sums, add);
}

#endif
