/* The matrix product x W^T with each storage type as W against double precision sums of the decoded weights: random
 * valid blocks, several shapes, 1 to 9 and 33 rows at once, on the reference device, with every instruction set that
 * this processor has and on an emulated GPU; and several products in a row, alone and in batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device/cpu/kernel.h"
#include "emulated.h"
#include "op_run.h"
#include "tensor/act.h"

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
    static const int at_once[] = {17, 3, 1, 16, N_ROWS, 2, 4, 5, 6, 7, 8, 9};
    int n_at_once = (int)(sizeof at_once / sizeof *at_once);
    if (op_is_gpu(device)) /* emulators are slow */
        n_at_once = strcmp(device->name, "cuda") == 0 ? 5 : 2;
    size_t n = (size_t)pn_node(&o->graph, y)->n2;
    float *got = malloc(N_ROWS * n * sizeof *got);
    for (int i = 0; i < n_at_once; i++) {
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
        double limit = kernels.matmul[type].x_format == PN_X_Q15 ? 1e-8 : 1e-11; /* 15 bits, or float32 */
        check_device(&o, y, &(struct op_device){"cpu", pn_cpu_isas[i].name, 1 + i % 2}, type, want, limit);
    }
    /* More than 16 rows are multiplied in half precision, but for weights that it may not hold. */
    bool exact = type == PN_TYPE_F32 || type == PN_TYPE_F64 || (type >= PN_TYPE_I8 && type <= PN_TYPE_I64);
    if (emulated_cuda())
        check_device(&o, y, &(struct op_device){"cuda", NULL, 1}, type, want, exact ? 1e-11 : 1e-6);
    if (emulated_metal() && !real_cuda())
        check_device(&o, y, &(struct op_device){"metal", NULL, 1}, type, want, exact ? 1e-11 : 1e-6);
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
    check_shape(PN_TYPE_BF16, 3, 8200); /* longer than a GPU's group keeps of a row */
}

/* ---- a token alone and in batches ---- */

enum { DEPTH = 4, WIDTH = 256, N_BATCH = 128 };

/* A factor with which the products of a layer are about twice the size of its operand. */
static float gain_of(const float *w, float size)
{
    double squares = 0;
    for (int i = 0; i < WIDTH * WIDTH; i++)
        squares += (double)w[i] * (double)w[i];
    return 2 / (size * (float)sqrt(squares / WIDTH));
}

/* y = tanh(s W_3 tanh(s W_2 ...)), which amplifies a difference of its input from layer to layer, as models do. Tokens
 * alone and in batches of every size must be as close to the sums in double precision: activations of 8 bits are 1e-4
 * to 1e-2 from them, and as far from one another, because another order of summation tips their rounding. */
static void check_batches(pn_type type)
{
    static const int at_once[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 32, 33, 64, N_BATCH};
    static const int all[] = {N_BATCH};
    enum { N = N_BATCH * WIDTH };
    struct op_run o;
    double *want = malloc(N * sizeof *want), *next = malloc(N * sizeof *next);
    float *got = malloc(N * sizeof *got);
    assert_true(want && next && got);
    op_run_init(&o, 3000 + (uint64_t)type, WIDTH, all, 1, 0);
    for (int i = 0; i < N; i++)
        want[i] = (double)o.input[i];
    pn_array y = o.x;
    for (int l = 0; l < DEPTH; l++) {
        float *w;
        pn_array weight = random_weight(&o, type, WIDTH, WIDTH, &w);
        float gain = gain_of(w, l == 0 ? 0.58f : 0.8f);
        y = pn_act(&o.graph, pn_scale(&o.graph, pn_matmul(&o.graph, y, weight), gain, 0), PN_ACT_FN_TANH);
        for (int t = 0; t < N_BATCH; t++)
            for (int i = 0; i < WIDTH; i++) {
                double sum = 0;
                for (int k = 0; k < WIDTH; k++)
                    sum += want[t * WIDTH + k] * (double)w[i * WIDTH + k];
                next[t * WIDTH + i] = tanh(sum * (double)gain);
            }
        memcpy(want, next, N * sizeof *want);
        free(w);
    }
    for (int i = 0; i < pn_cpu_n_isas; i++) {
        struct pn_cpu_kernels kernels;
        if (!pn_cpu_kernels_select(&kernels, pn_cpu_isas[i].name))
            continue;
        bool rounds = kernels.matmul[type].x_format == PN_X_Q15;
        for (size_t b = 0; b < sizeof at_once / sizeof *at_once; b += rounds ? 1 : 10) {
            op_run_on(&o, y, &(struct op_device){"cpu", pn_cpu_isas[i].name, 1 + i % 2}, at_once[b], got, NULL);
            double e = op_distance(got, want, N);
            if (!(e < (rounds ? 1e-7 : 1e-10)))
                fail_msg("%s on %s, %d at once: NMSE %g", pn_type_info(type)->name, kernels.isa, at_once[b], e);
        }
    }
    free(got);
    free(next);
    free(want);
    op_run_free(&o);
}

static void batches_do_not_matter(void **state)
{
    (void)state;
    struct pn_cpu_kernels best;
    assert_true(pn_cpu_kernels_select(&best, NULL));
    for (int t = 0; t < PN_TYPE_COUNT; t++)
        if (pn_type_info((pn_type)t)->planes == 1 &&
            (best.matmul[t].x_format == PN_X_Q15 || t == PN_TYPE_F16 || t == PN_TYPE_BF16))
            check_batches((pn_type)t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_of_every_type),
                                       cmocka_unit_test(batches_do_not_matter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
