/* The matrix product x W^T with each storage type as W against double precision sums of the decoded weights: random
 * valid blocks, several shapes, 1 to 9 and 33 rows at once, on the reference device and with every instruction set that
 * this processor has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device/cpu/kernel.h"
#include "op_run.h"

enum { N_ROWS = 33 };
static const int lengths[] = {N_ROWS};

/* ---- weights ---- */

/* A block of random bytes with finite values of moderate size. Integers and doubles are made from numbers, because
 * random bytes of these types rarely qualify. */
static void random_block(struct pn_rng *rng, pn_type type, unsigned char *at)
{
    const struct pn_type_info *info = pn_type_info(type);
    float v[256], number = 200 * pn_rng_float(rng) - 100;
    int16_t i16 = (int16_t)number;
    int32_t i32 = (int32_t)number;
    int64_t i64 = (int64_t)number;
    double f64 = (double)number;
    const void *made = type == PN_TYPE_I16   ? &i16
                       : type == PN_TYPE_I32 ? &i32
                       : type == PN_TYPE_I64 ? &i64
                       : type == PN_TYPE_F64 ? (const void *)&f64
                                             : NULL;
    if (made) {
        memcpy(at, made, info->bytes);
        return;
    }
    for (bool good = false; !good;) {
        float largest = 0;
        for (uint32_t i = 0; i < info->bytes; i++)
            at[i] = (unsigned char)pn_rng_u64(rng);
        pn_type_decode_row(type, at, v, info->block);
        good = true;
        for (uint32_t i = 0; i < info->block; i++) {
            good = good && isfinite(v[i]);
            largest = fmaxf(largest, fabsf(v[i]));
        }
        good = good && largest > 0.01f && largest < 1000;
    }
}

static pn_array random_weight(struct op_run *o, pn_type type, int64_t n_rows, int64_t n_cols, float **decoded)
{
    const struct pn_type_info *info = pn_type_info(type);
    size_t row = pn_type_row_bytes(type, (size_t)n_cols);
    struct pn_weight *w = pn_arena_alloc(&o->graph.arena, sizeof *w);
    unsigned char *data = pn_arena_alloc(&o->graph.arena, (size_t)n_rows * row);
    assert_non_null(w);
    assert_non_null(data);
    for (size_t at = 0; at < (size_t)n_rows * row; at += info->bytes)
        random_block(&o->rng, type, data + at);
    *decoded = malloc((size_t)n_rows * (size_t)n_cols * sizeof **decoded);
    assert_non_null(*decoded);
    pn_type_decode_row(type, data, *decoded, (size_t)n_rows * (size_t)n_cols);
    *w = pn_weight_plain("weight", type, 1, n_rows, n_cols, data);
    return pn_weight_leaf(&o->graph, w);
}

/* ---- products ---- */

static void check_device(const struct op_run *o, pn_array y, const struct op_device *device, pn_type type,
                         const double *want, double limit)
{
    static const int at_once[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, PN_FEW_COLS, PN_FEW_COLS + 1, N_ROWS};
    size_t n = (size_t)pn_node(&o->graph, y)->n2;
    float *got = malloc(N_ROWS * n * sizeof *got);
    for (size_t i = 0; i < sizeof at_once / sizeof *at_once; i++) {
        op_run_on(o, y, device, at_once[i], got, NULL);
        double e = op_distance(got, want, N_ROWS * n);
        if (!(e < limit))
            fail_msg("%s, %d x %d, on %s (%s), %d rows at once: NMSE %g, allowed %g", pn_type_info(type)->name, (int)n,
                     o->width, device->name, device->isa ? device->isa : "", at_once[i], e, limit);
    }
    free(got);
}

static void check_shape(pn_type type, int n_rows, int n_cols)
{
    struct op_run o;
    float *w;
    op_run_init(&o, 1000 + (uint64_t)type, n_cols, lengths, 1, 0);
    pn_array y = pn_matmul(&o.graph, o.x, random_weight(&o, type, n_rows, n_cols, &w));
    assert_int_equal(pn_graph_status(&o.graph, NULL), PANTRY_OK);
    double *want = calloc((size_t)(N_ROWS * n_rows), sizeof *want);
    for (int r = 0; r < N_ROWS; r++)
        for (int i = 0; i < n_rows; i++)
            for (int k = 0; k < n_cols; k++)
                want[r * n_rows + i] += (double)o.input[r * n_cols + k] * (double)w[i * n_cols + k];
    check_device(&o, y, &(struct op_device){"ref", NULL, 1}, type, want, 1e-11);
    for (int i = 0; i < pn_cpu_n_isas; i++) {
        struct pn_cpu_kernels kernels;
        if (!pn_cpu_kernels_select(&kernels, pn_cpu_isas[i].name))
            continue;
        double limit = kernels.matmul[type].form[PN_FEW].x_format == PN_X_Q8
                           ? 5e-4
                           : 1e-11; /* 8-bit activations, or float32 ones */
        check_device(&o, y, &(struct op_device){"cpu", pn_cpu_isas[i].name, 1 + i % 2}, type, want, limit);
    }
    free(want);
    free(w);
    op_run_free(&o);
}

static void products_of_every_type(void **state)
{
    (void)state;
    for (int t = 0; t < PN_TYPE_COUNT; t++) {
        int block = (int)pn_type_info((pn_type)t)->block;
        if (pn_type_info((pn_type)t)->planes > 1) /* test_weights.c */
            continue;
        check_shape((pn_type)t, 37, block == 1 ? 41 : 3 * block);
        check_shape((pn_type)t, 1, block == 1 ? 1 : block);
        check_shape((pn_type)t, 64, block == 1 ? 300 : 2 * block);
    }
}

/* Few and many columns have separate kernels, which may read activations in different formats. */
static void forms_go_by_columns(void **state)
{
    (void)state;
    const int K = 512, N = 24;
    const struct op_device mixed = {"cpu", "mixed", 2};
    static const pn_type types[] = {PN_TYPE_Q4_0, PN_TYPE_Q8_0, PN_TYPE_Q4_K, PN_TYPE_Q5_K, PN_TYPE_Q6_K};
    struct pn_cpu_kernels best;
    pn_cpu_kernels_select(&best, NULL);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct op_run o;
        float *w;
        op_run_init(&o, 2000 + t, K, lengths, 1, 0);
        pn_array y = pn_matmul(&o.graph, o.x, random_weight(&o, types[t], N, K, &w));
        double want[N_ROWS * 24] = {0};
        float got[N_ROWS * 24];
        for (int r = 0; r < N_ROWS; r++)
            for (int i = 0; i < N; i++)
                for (int k = 0; k < K; k++)
                    want[r * N + i] += (double)o.input[r * K + k] * (double)w[i * K + k];
        enum pn_columns exact = types[t] % 2 ? PN_MANY : PN_FEW;
        for (int at_once = 1; at_once <= N_ROWS; at_once += 8) {
            op_run_on(&o, y, &mixed, at_once, got, NULL);
            int n = pn_columns_of(at_once) == PN_MANY ? at_once : N_ROWS; /* the rest may be few columns */
            double e = op_distance(got, want, (size_t)(n * N));
            bool q8 = pn_columns_of(at_once) != exact && best.matmul[types[t]].form[PN_FEW].x_format == PN_X_Q8;
            if (q8 ? e < 1e-9 || e > 5e-4 : e > 1e-11)
                fail_msg("%s, %d columns: NMSE %g", pn_type_info(types[t])->name, at_once, e);
        }
        free(w);
        op_run_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_of_every_type), cmocka_unit_test(forms_go_by_columns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
