/* The register tile of the panel product on AVX2: two groups of 8 rows times 4 columns. Products of bytes are summed as
 * int16 for as many steps as cannot overflow (|x| <= 127), then widened, with integer scales if the type has them, and
 * scaled in float32. */
#ifndef PN_ISA_X86_TILE_AVX2_H
#define PN_ISA_X86_TILE_AVX2_H

/* Offsets in a block (32 values of one group), in vectors: q, then the scales of the kind. */
#define AT_SCALE      8  /* float s or d */
#define AT_MIN        9  /* float m (UNIT_16: of the first 16 values, then of the others) */
#define AT_MUL        11 /* (int16 scale, the same) of the first 16 values; then of the others */
#define BLOCK_VECTORS (UNIT_KIND == UNIT_16 ? 13 : UNIT_HAS_MIN ? 10 : 9)
#define BLOCK_SUMS    (UNIT_KIND == UNIT_16 ? 2 : UNIT_HAS_MIN)
#define SUMS_FACTOR   1.0f

#define TILE_COLS 4

/* Steps of four values whose products fit in int16: 2 * 127 * UNIT_Q_MAX each. */
#define RUN (UNIT_Q_MAX <= 15 ? (UNIT_KIND == UNIT_16 ? 4 : 8) : UNIT_Q_MAX <= 31 ? 4 : UNIT_Q_MAX <= 63 ? 2 : 1)

/* The scales of n blocks of the units at p. */
PN_INLINE void panel_pack_scales(const unit_place *p, int n, uint8_t *out)
{
    __m256i first[8], second[8];
    float d[8] __attribute__((aligned(32))), dm[8] __attribute__((aligned(32)));
    for (int r = 0; r < 8; r++) {
        struct unit_scales u;
        unit_scales(p[r], n, &u);
        first[r] = UNIT_KIND == UNIT_16 ? u.scale : _mm256_castps_si256(u.s);
        second[r] = UNIT_KIND == UNIT_16 ? u.min : UNIT_HAS_MIN ? _mm256_castps_si256(u.m) : first[r];
        if (UNIT_KIND == UNIT_16) {
            d[r] = u.d;
            dm[r] = u.dm;
        }
    }
    transpose8(first);
    if (UNIT_KIND != UNIT_SIGNED)
        transpose8(second);
    const __m256i low = _mm256_set1_epi32(0x01000100), high = _mm256_set1_epi32(0x03020302);
    const __m256i lane =
        _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c);
    for (int j = 0; j < n; j++, out += BLOCK_BYTES) {
        if (UNIT_KIND == UNIT_16) {
            panel_put(out, AT_SCALE, load256(d));
            panel_put_floats(out, AT_MIN, _mm256_mul_ps(low_halves(second[j]), _mm256_load_ps(dm)));
            panel_put_floats(out, AT_MIN + 1, _mm256_mul_ps(high_halves(second[j]), _mm256_load_ps(dm)));
            panel_put(out, AT_MUL, _mm256_shuffle_epi8(first[j], _mm256_add_epi8(low, lane)));
            panel_put(out, AT_MUL + 1, _mm256_shuffle_epi8(first[j], _mm256_add_epi8(high, lane)));
        } else {
            panel_put(out, AT_SCALE, first[j]);
            if (UNIT_HAS_MIN)
                panel_put(out, AT_MIN, second[j]);
        }
    }
}

/* tot[g][c] = the sums of q x over 32 values of 8 rows, x one plane of a column; those of 16 values times their int16
 * scales for UNIT_16. */
PN_INLINE void tile_plane(const uint8_t *p, const struct x_column *x, int cols, int b, bool low,
                          __m256i tot[2][TILE_COLS])
{
    UNROLL
    for (int run = 0; run < 8 / RUN; run++) {
        __m256i acc[2][TILE_COLS], mul[2];
        UNROLL
        for (int g = 0; g < 2; g++)
            mul[g] = UNIT_KIND == UNIT_16 ? load256(p + g * GROUP_STRIDE + (AT_MUL + run * RUN / 4) * GROUP_BYTES)
                                          : _mm256_set1_epi16(1);
        UNROLL
        for (int i = 0; i < RUN; i++) {
            int step = run * RUN + i;
            __m256i w[2];
            UNROLL
            for (int g = 0; g < 2; g++)
                w[g] = load256(p + g * GROUP_STRIDE + step * GROUP_BYTES);
            UNROLL
            for (int c = 0; c < cols; c++) {
                __m256i v = _mm256_set1_epi32((int)load32((low ? x[c].low : x[c].high) + 32 * b + 4 * step));
                UNROLL
                for (int g = 0; g < 2; g++) {
                    __m256i t;
                    if (UNIT_IS_SIGNED)
                        t = _mm256_maddubs_epi16(_mm256_abs_epi8(w[g]), _mm256_sign_epi8(v, w[g]));
                    else
                        t = _mm256_maddubs_epi16(w[g], v);
                    acc[g][c] = i == 0 ? t : _mm256_add_epi16(acc[g][c], t);
                    KEEP_ORDER(acc[g][c]);
                }
            }
        }
        UNROLL
        for (int g = 0; g < 2; g++) {
            UNROLL
            for (int c = 0; c < cols; c++) {
                __m256i t = _mm256_madd_epi16(acc[g][c], mul[g]);
                tot[g][c] = run == 0 ? t : _mm256_add_epi32(tot[g][c], t);
                KEEP_ORDER(tot[g][c]);
            }
        }
    }
}

PN_INLINE void tile_columns(const struct panel *panel, const uint8_t *p, const struct x_column *x, int cols,
                            const float *sums, __m256 f[2][TILE_COLS])
{
    UNROLL
    for (int g = 0; g < 2; g++) {
        UNROLL
        for (int c = 0; c < cols; c++)
            f[g][c] = _mm256_setzero_ps();
    }
    for (int b = 0; b < panel->n_blocks; b++, p += BLOCK_BYTES) {
        __m256i tot[2][TILE_COLS];
        __m256 high[2][TILE_COLS];
        tile_plane(p, x, cols, b, false, tot);
        UNROLL
        for (int g = 0; g < 2; g++) {
            UNROLL
            for (int c = 0; c < cols; c++) /* as float: int32 has no room for all scales */
                high[g][c] = _mm256_mul_ps(_mm256_cvtepi32_ps(tot[g][c]), _mm256_set1_ps(128));
        }
        tile_plane(p, x, cols, b, true, tot);
        UNROLL
        for (int g = 0; g < 2; g++) {
            const uint8_t *extra = p + g * GROUP_STRIDE;
            __m256 s = _mm256_castsi256_ps(load256(extra + AT_SCALE * GROUP_BYTES));
            UNROLL
            for (int c = 0; c < cols; c++) {
                __m256 d = _mm256_broadcast_ss(x[c].d + b);
                __m256 t = _mm256_mul_ps(_mm256_add_ps(high[g][c], _mm256_cvtepi32_ps(tot[g][c])), d);
                f[g][c] = _mm256_fmadd_ps(t, s, f[g][c]);
                UNROLL
                for (int i = 0; i < BLOCK_SUMS; i++) {
                    __m256 m = _mm256_castsi256_ps(load256(extra + (AT_MIN + i) * GROUP_BYTES));
                    __m256 sum = _mm256_broadcast_ss(sums + c * panel->sums_stride + BLOCK_SUMS * b + i);
                    f[g][c] = _mm256_fmadd_ps(sum, m, f[g][c]);
                }
            }
        }
    }
}

/* Adds to (or sets) y for rows r .. of the panel. */
PN_INLINE void tile_store(const struct panel *panel, int r, const struct x_column *x, int cols, __m256 f[2][TILE_COLS],
                          bool add)
{
    for (int g = 0; g < 2; g++, r += GROUP) {
        int rows = panel->rows - r < GROUP ? panel->rows - r : GROUP;
        for (int c = 0; c < cols; c++) {
            float *y = x[c].y + r;
            if (rows == GROUP) {
                _mm256_storeu_ps(y, add ? _mm256_add_ps(_mm256_loadu_ps(y), f[g][c]) : f[g][c]);
                continue;
            }
            float t[GROUP];
            _mm256_storeu_ps(t, f[g][c]);
            for (int i = 0; i < rows; i++)
                y[i] = add ? y[i] + t[i] : t[i];
        }
    }
}

PN_INLINE void tile_rows(const struct panel *panel, const struct x_column *x, int cols, const float *sums, bool add)
{
    __m256 f[2][TILE_COLS];
    for (int r = 0; r < panel->rows; r += 2 * GROUP) {
        tile_columns(panel, panel->data + (size_t)(r / GROUP) * GROUP_STRIDE, x, cols, sums, f);
        tile_store(panel, r, x, cols, f, add);
    }
}

static void panel_tile(const struct panel *panel, const struct x_column *x, int cols, const float *sums, bool add)
{
    if (cols == TILE_COLS) {
        tile_rows(panel, x, TILE_COLS, sums, add);
        return;
    }
    for (; cols >= 2; cols -= 2, x += 2, sums += 2 * panel->sums_stride)
        tile_rows(panel, x, 2, sums, add);
    if (cols > 0)
        tile_rows(panel, x, 1, sums, add);
}

#endif
