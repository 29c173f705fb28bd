/* Operations on arrays with several streams per row (mix, match), and the cutoff by deviation, against their formulas
 * in double precision on every device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "op_run.h"

enum { N = 3, M = 4, WIDE = 37 };

static const int lengths[] = {9, 14};

/* Runs `result` of `n` values per row on all devices and compares it with `wanted`. */
static void check(const struct op_run *o, pn_array result, int n, const double *wanted, double limit)
{
    float *out = malloc((size_t)o->n_rows * (size_t)n * sizeof *out);
    assert_non_null(out);
    assert_int_equal(pn_graph_status(&o->graph, NULL), PANTRY_OK);
    for (int d = 0; d < op_n_devices; d++)
        for (int slice = 1; slice < 20; slice += 6) {
            op_run_on(o, result, &op_devices[d], slice, out, NULL);
            double e = op_distance(out, wanted, (size_t)o->n_rows * (size_t)n);
            if (!(e < limit))
                fail_msg("%s in steps of %d: NMSE %g", op_devices[d].name, slice, e);
        }
    free(out);
}

static void mixes_streams(void **state)
{
    (void)state;
    struct op_run o;
    op_run_init(&o, 5, N * M + M * WIDE, lengths, 2, 0);
    struct pn_graph *g = &o.graph;
    pn_array by = pn_reshape(g, pn_slice(g, o.x, 0, N * M), N, M);
    pn_array x = pn_reshape(g, pn_slice(g, o.x, N * M, M * WIDE), M, WIDE);
    double *wanted = calloc((size_t)o.n_rows * N * WIDE, sizeof *wanted);
    assert_non_null(wanted);
    for (int r = 0; r < o.n_rows; r++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < M; j++)
                for (int k = 0; k < WIDE; k++) {
                    const float *row = o.input + r * o.width;
                    wanted[(r * N + i) * WIDE + k] += (double)row[i * M + j] * (double)row[N * M + j * WIDE + k];
                }
    check(&o, pn_mix(g, by, x), N * WIDE, wanted, 1e-12);
    assert_int_equal(pn_mix(g, x, by), PN_NONE); /* M x WIDE cannot mix N x M */
    free(wanted);
    op_run_free(&o);
}

/* Three streams of the length of a fourth. One of them is zero, and stays zero. */
static void matches_lengths(void **state)
{
    (void)state;
    struct op_run o;
    op_run_init(&o, 6, (N + 1) * WIDE, lengths, 2, 0);
    struct pn_graph *g = &o.graph;
    for (int i = 0; i < WIDE; i++)
        o.input[2 * o.width + i] = 0;
    for (int i = 0; i < WIDE; i++) /* shorter than 1 */
        o.input[5 * o.width + i] *= 0.01f;
    pn_array x = pn_reshape(g, pn_slice(g, o.x, 0, N * WIDE), N, WIDE);
    double *wanted = calloc((size_t)o.n_rows * N * WIDE, sizeof *wanted);
    assert_non_null(wanted);
    for (int r = 0; r < o.n_rows; r++)
        for (int i = 0; i < N; i++) {
            const float *row = o.input + r * o.width;
            double is = 0, like = 0;
            for (int k = 0; k < WIDE; k++) {
                is += pow((double)row[i * WIDE + k], 2);
                like += pow((double)row[N * WIDE + k], 2);
            }
            for (int k = 0; k < WIDE && is > 0; k++)
                wanted[(r * N + i) * WIDE + k] = (double)row[i * WIDE + k] * sqrt(like / is);
        }
    check(&o, pn_match(g, x, pn_slice(g, o.x, N * WIDE, WIDE)), N * WIDE, wanted, 1e-12);
    free(wanted);
    op_run_free(&o);
}

static void cuts_off(void **state)
{
    (void)state;
    struct op_run o;
    op_run_init(&o, 7, WIDE, lengths, 2, 0);
    double *wanted = calloc((size_t)o.n_rows * WIDE, sizeof *wanted);
    assert_non_null(wanted);
    for (int r = 0; r < o.n_rows; r++) {
        const float *row = o.input + r * o.width;
        double mean = 0, squares = 0;
        for (int k = 0; k < WIDE; k++)
            mean += (double)row[k] / WIDE;
        for (int k = 0; k < WIDE; k++)
            squares += pow((double)row[k] - mean, 2) / WIDE;
        for (int k = 0; k < WIDE; k++)
            wanted[r * WIDE + k] = fmax((double)row[k] - mean - 0.7 * sqrt(squares), 0);
    }
    check(&o, pn_cutoff(&o.graph, o.x, 0.7f), WIDE, wanted, 1e-10);
    assert_int_equal(pn_cutoff(&o.graph, o.x, INFINITY), PN_NONE);
    free(wanted);
    op_run_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mixes_streams), cmocka_unit_test(matches_lengths),
                                       cmocka_unit_test(cuts_off)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
