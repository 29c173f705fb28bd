/* Products and the element-wise operations after them: biases, residuals, activations, gates, scales and soft caps,
 * with each kind of second operand and in each order, against their formulas in double precision. With one token and
 * with several, on the reference device and on one to five threads, for matrices that no tile, chunk or number of
 * workers divides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "op_run.h"

enum { MAX_TOKENS = 20 };

/* A row of the input: x (k), then a residual (n). */
struct product {
    struct op_run o;
    pn_type type;
    int k, n;
    pn_array x, residual;
    float *w, *gate, *bias, *gate_bias, *factors;
    pn_array aw, agate, abias, agate_bias, afactors;
};

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double product_of(const struct product *p, const float *w, int t, int i)
{
    double sum = 0;
    for (int j = 0; j < p->k; j++)
        sum += (double)w[i * p->k + j] * (double)p->o.input[t * p->o.width + j];
    return sum;
}

/* ---- forms ---- */

/* A form's computation, and the expected value i of token t. */
struct form {
    const char *name;
    pn_array (*make)(struct product *p);
    double (*want)(const struct product *p, double up, double gate, double residual, int i);
};

static pn_array up(struct product *p)
{
    return pn_matmul(&p->o.graph, p->x, p->aw);
}

static pn_array gate(struct product *p)
{
    return pn_matmul(&p->o.graph, p->x, p->agate);
}

static pn_array make_plain(struct product *p)
{
    return up(p);
}

static double want_plain(const struct product *p, double u, double g, double r, int i)
{
    (void)p, (void)g, (void)r, (void)i;
    return u;
}

static pn_array make_bias(struct product *p)
{
    return pn_add(&p->o.graph, up(p), p->abias);
}

static double want_bias(const struct product *p, double u, double g, double r, int i)
{
    (void)g, (void)r;
    return u + (double)p->bias[i];
}

static pn_array make_residual(struct product *p)
{
    return pn_add(&p->o.graph, p->residual, pn_add(&p->o.graph, up(p), p->abias));
}

static double want_residual(const struct product *p, double u, double g, double r, int i)
{
    (void)g;
    return u + (double)p->bias[i] + r;
}

static pn_array make_residual_last(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    return pn_mul(g, pn_mul(g, up(p), p->afactors), p->residual);
}

static double want_residual_last(const struct product *p, double u, double g, double r, int i)
{
    (void)g;
    return u * (double)p->factors[i] * r;
}

static pn_array make_act(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    return pn_act(g, pn_add(g, up(p), p->abias), PN_ACT_FN_SILU);
}

static double want_act(const struct product *p, double u, double g, double r, int i)
{
    (void)g, (void)r;
    return silu(u + (double)p->bias[i]);
}

static pn_array make_cap(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    return pn_softcap(g, pn_scale(g, up(p), 1.5f, -0.25f), 0.75f);
}

static double want_cap(const struct product *p, double u, double g, double r, int i)
{
    (void)p, (void)g, (void)r, (void)i;
    return 0.75 * tanh((1.5 * u - 0.25) / 0.75);
}

static pn_array make_gate(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    pn_array a = gate(p), b = up(p);
    return pn_mul(g, pn_act(g, a, PN_ACT_FN_SILU), b);
}

static double want_gate(const struct product *p, double u, double g, double r, int i)
{
    (void)p, (void)r, (void)i;
    return silu(g) * u;
}

/* Everything at once, with the gate as the second factor and its product first. */
static pn_array make_gate_dressed(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    pn_array a = pn_scale(g, pn_add(g, gate(p), p->agate_bias), 1.25f, 0.125f);
    pn_array b = pn_add(g, pn_scale(g, up(p), 0.5f, 0), p->abias);
    pn_array y = pn_mul(g, b, pn_act(g, a, PN_ACT_FN_GELU_QUICK));
    return pn_add(g, pn_mul(g, y, p->afactors), p->residual);
}

static double want_gate_dressed(const struct product *p, double u, double g, double r, int i)
{
    g = (g + (double)p->gate_bias[i]) * 1.25 + 0.125;
    return (0.5 * u + (double)p->bias[i]) * (g / (1 + exp(-1.702 * g))) * (double)p->factors[i] + r;
}

/* The gate's product comes second; its activation is relu. */
static pn_array make_gate_after(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    pn_array b = up(p), a = gate(p);
    return pn_scale(g, pn_mul(g, pn_act(g, a, PN_ACT_FN_RELU), b), -2, 1);
}

static double want_gate_after(const struct product *p, double u, double g, double r, int i)
{
    (void)p, (void)r, (void)i;
    return fmax(g, 0) * u * -2 + 1;
}

/* A product with two readers must not become part of an epilogue. */
static pn_array make_twice(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    pn_array y = up(p);
    return pn_add(g, pn_mul(g, y, y), pn_act(g, y, PN_ACT_FN_TANH));
}

static double want_twice(const struct product *p, double u, double g, double r, int i)
{
    (void)p, (void)g, (void)r, (void)i;
    return u * u + tanh(u);
}

/* More operations than an epilogue holds. */
static pn_array make_long(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    pn_array y = up(p);
    for (int i = 0; i < 9; i++)
        y = i % 3 == 0 ? pn_add(g, y, p->abias) : i % 3 == 1 ? pn_scale(g, y, 0.5f, 0.25f) : pn_add(g, p->residual, y);
    return y;
}

static double want_long(const struct product *p, double u, double g, double r, int i)
{
    (void)g;
    for (int s = 0; s < 3; s++)
        u = (u + (double)p->bias[i]) * 0.5 + 0.25 + r;
    return u;
}

/* The sum of two products of one operand, neither of which gates the other. */
static pn_array make_both(struct product *p)
{
    struct pn_graph *g = &p->o.graph;
    return pn_add(g, pn_act(g, up(p), PN_ACT_FN_SIGMOID), pn_mul(g, gate(p), p->afactors));
}

static double want_both(const struct product *p, double u, double g, double r, int i)
{
    (void)r;
    return 1 / (1 + exp(-u)) + g * (double)p->factors[i];
}

static const struct form forms[] = {
    {"plain", make_plain, want_plain},
    {"bias", make_bias, want_bias},
    {"residual", make_residual, want_residual},
    {"factors", make_residual_last, want_residual_last},
    {"activation", make_act, want_act},
    {"scale and soft cap", make_cap, want_cap},
    {"gate", make_gate, want_gate},
    {"dressed gate", make_gate_dressed, want_gate_dressed},
    {"gate after", make_gate_after, want_gate_after},
    {"read twice", make_twice, want_twice},
    {"long", make_long, want_long},
    {"two that meet", make_both, want_both},
};

/* ---- running ---- */

static void product_init(struct product *p, uint64_t seed, pn_type type, int k, int n, bool after_rows)
{
    static const int lengths[] = {MAX_TOKENS};
    *p = (struct product){.type = type, .k = k, .n = n};
    op_run_init(&p->o, seed, k + n, lengths, 1, 0);
    struct pn_graph *g = &p->o.graph;
    float most = 2 / sqrtf((float)k);
    p->aw = op_run_weight(&p->o, type, (const int64_t[]){1, n, k}, -most, most, &p->w);
    p->agate = op_run_weight(&p->o, type, (const int64_t[]){1, n, k}, -most, most, &p->gate);
    p->abias = op_run_weight(&p->o, PN_TYPE_F16, (const int64_t[]){1, 1, n}, -1, 1, &p->bias);
    p->agate_bias = op_run_weight(&p->o, PN_TYPE_F32, (const int64_t[]){1, 1, n}, -1, 1, &p->gate_bias);
    p->afactors = op_run_weight(&p->o, PN_TYPE_F32, (const int64_t[]){1, 1, n}, -2, 2, &p->factors);
    pn_array all = after_rows ? pn_output_rows(g, p->o.x) : p->o.x;
    p->x = pn_slice(g, all, 0, k);
    p->residual = pn_scale(g, pn_slice(g, all, k, n), 1, 0);
}

static void product_free(struct product *p)
{
    free(p->w);
    free(p->gate);
    free(p->bias);
    free(p->gate_bias);
    free(p->factors);
    op_run_free(&p->o);
}

/* Tokens `first` and following, `n_tokens` of them; if only some are outputs, every second one. */
static void check_on(const struct product *p, pn_array y, const struct form *form, const struct op_device *d,
                     int n_tokens, bool some)
{
    int32_t ids[MAX_TOKENS], pos[MAX_TOKENS] = {0}, rows[MAX_TOKENS];
    struct pn_batch_seq seq = {.n = n_tokens};
    struct pantry_error err = {0};
    struct pn_batch b = {.n_tokens = n_tokens, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &seq, .out_rows = rows};
    float *got = malloc((size_t)(MAX_TOKENS * p->n) * sizeof *got);
    double *want = malloc((size_t)(MAX_TOKENS * p->n) * sizeof *want);
    assert_true(got && want);
    for (int t = 0; t < n_tokens; t++)
        ids[t] = (3 * t + n_tokens) % MAX_TOKENS;
    for (int t = 0; t < n_tokens; t += some ? 2 : 1)
        rows[b.n_outputs++] = t;
    b.results = (void *[]){got};
    for (int r = 0; r < b.n_outputs; r++)
        for (int i = 0; i < p->n; i++) {
            int t = ids[rows[r]];
            want[r * p->n + i] = form->want(p, product_of(p, p->w, t, i), product_of(p, p->gate, t, i),
                                            (double)p->o.input[t * p->o.width + p->k + i], i);
            got[r * p->n + i] = NAN;
        }
    if (op_step(&p->o.graph, y, d, &b, &err))
        fail_msg("%s", err.text);
    double e = op_distance(got, want, (size_t)(b.n_outputs * p->n));
    double limit = p->type == PN_TYPE_F32 || d->isa || d->name[0] == 'r' ? 1e-11 : 1e-8;
    if (!(e < limit))
        fail_msg("%s, %s, %d x %d, on %s (%d threads), %d tokens: NMSE %g", form->name, pn_type_info(p->type)->name,
                 p->n, p->k, d->name, d->n_threads, n_tokens, e);
    free(got);
    free(want);
}

static const struct op_device devices[] = {{"ref", NULL, 1}, {"cpu", NULL, 1},      {"cpu", NULL, 2}, {"cpu", NULL, 3},
                                           {"cpu", NULL, 4}, {"cpu", "generic", 3}, {"cpu", NULL, 5}};
enum { N_DEVICES = sizeof devices / sizeof *devices };

static void check(const struct form *form, uint64_t seed, pn_type type, int k, int n, bool some)
{
    static const int tokens[] = {2, 3, 5, 8, 13, 16, 20};
    struct product p;
    product_init(&p, seed, type, k, n, some);
    pn_array y = form->make(&p);
    for (int d = 0; d < N_DEVICES; d++) {
        check_on(&p, y, form, &devices[d], 1, some);
        check_on(&p, y, form, &devices[d], tokens[(seed + (uint64_t)d) % 7], some);
    }
    product_free(&p);
}

static void every_form(void **state)
{
    (void)state;
    static const int sizes[][2] = {{7, 1}, {33, 17}, {32, 130}, {64, 200}};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (int i = 0; i < 4; i++)
            check(&forms[f], 10 * f + (uint64_t)i, i < 2 ? PN_TYPE_F32 : PN_TYPE_Q8_0, sizes[i][0], sizes[i][1],
                  f % 2 == (size_t)i % 2);
}

/* Long enough for the largest chunks of one token and of several. */
static void long_products(void **state)
{
    (void)state;
    for (int f = 6; f < 9; f++) {
        check(&forms[f], 70 + (uint64_t)f, PN_TYPE_F32, 8, 2500, false);
        check(&forms[f], 80 + (uint64_t)f, PN_TYPE_Q8_0, 32, 1100, true);
    }
}

/* Like two layers: the result of the first one is added and multiplied in much later. */
static void residuals_of_earlier_phases(void **state)
{
    (void)state;
    enum { N = 64, TOKENS = 6 };
    static const int lengths[] = {TOKENS};
    for (int i = 0; i < 2; i++) {
        struct op_run o;
        float *w[3], got[TOKENS * N];
        double want[TOKENS * N];
        op_run_init(&o, 97, N, lengths, 1, 0);
        struct pn_graph *g = &o.graph;
        pn_array x = pn_scale(g, o.x, 2, 0.5f), y = x, factors = pn_act(g, o.x, PN_ACT_FN_SIGMOID);
        for (int l = 0; l < 3; l++) {
            pn_array a =
                op_run_weight(&o, i ? PN_TYPE_Q8_0 : PN_TYPE_F32, (const int64_t[]){1, N, N}, -0.2f, 0.2f, &w[l]);
            y = pn_matmul(g, y, a);
            y = l == 1 ? pn_mul(g, y, factors) : pn_add(g, x, y);
        }
        for (int t = 0; t < TOKENS; t++) {
            const float *in = o.input + t * N;
            double h[N], next[N];
            for (int j = 0; j < N; j++)
                h[j] = 2 * (double)in[j] + 0.5;
            for (int l = 0; l < 3; l++) {
                for (int j = 0; j < N; j++) {
                    next[j] = 0;
                    for (int k = 0; k < N; k++)
                        next[j] += (double)w[l][j * N + k] * h[k];
                    next[j] = l == 1 ? next[j] / (1 + exp(-(double)in[j])) : next[j] + 2 * (double)in[j] + 0.5;
                }
                for (int j = 0; j < N; j++)
                    h[j] = want[t * N + j] = next[j];
            }
        }
        for (int d = 0; d < N_DEVICES; d++)
            for (int slice = 1; slice < 8; slice += 5) {
                op_run_on(&o, y, &devices[d], slice, got, NULL);
                assert_true(op_distance(got, want, TOKENS * N) < (i ? 1e-8 : 1e-11));
            }
        for (int l = 0; l < 3; l++)
            free(w[l]);
        op_run_free(&o);
    }
}

/* Each number of columns from 1 to 20 with several storage types. */
static void every_number_of_columns(void **state)
{
    (void)state;
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0, PN_TYPE_Q4_0};
    for (int i = 0; i < 4; i++) {
        struct product p;
        product_init(&p, 90 + (uint64_t)i, types[i], 96, 45, false);
        pn_array y = make_bias(&p);
        for (int n = 1; n <= MAX_TOKENS; n++)
            check_on(&p, y, &forms[1], &devices[n % 2 ? 3 : 1], n, false);
        product_free(&p);
    }
}

/* An operand with gaps between heads, as after a slice, is read as one row. */
static void gathered_operands(void **state)
{
    (void)state;
    enum { HEADS = 3, DIM = 32, WIDE = 40, N = 21 };
    static const int lengths[] = {9};
    for (int i = 0; i < 2; i++) {
        struct op_run o;
        float *w, got[9 * N];
        double want[9 * N];
        op_run_init(&o, 95, HEADS * WIDE, lengths, 1, 0);
        struct pn_graph *g = &o.graph;
        pn_array a = op_run_weight(&o, i ? PN_TYPE_Q8_0 : PN_TYPE_F32, (const int64_t[]){1, N, HEADS * DIM}, -1, 1, &w);
        pn_array y = pn_matmul(g, pn_slice(g, pn_reshape(g, o.x, HEADS, WIDE), 5, DIM), a);
        for (int r = 0; r < 9; r++)
            for (int j = 0; j < N; j++) {
                want[r * N + j] = 0;
                for (int k = 0; k < HEADS * DIM; k++)
                    want[r * N + j] +=
                        (double)w[j * HEADS * DIM + k] * (double)o.input[r * o.width + k / DIM * WIDE + 5 + k % DIM];
            }
        for (int d = 0; d < N_DEVICES; d++)
            for (int slice = 1; slice < 10; slice += 4) {
                op_run_on(&o, y, &devices[d], slice, got, NULL);
                assert_true(op_distance(got, want, 9 * N) < (i ? 1e-8 : 1e-11));
            }
        free(w);
        op_run_free(&o);
    }
}

/* Eight products of one operand, of different sizes and types, are one phase; a ninth begins another. */
static void many_products_of_one_operand(void **state)
{
    (void)state;
    enum { K = 32, MOST = 9 };
    static const int lengths[] = {6};
    struct op_run o;
    float *w[MOST];
    op_run_init(&o, 96, K, lengths, 1, 0);
    struct pn_graph *g = &o.graph;
    pn_array parts[MOST], y = PN_NONE;
    int n = 0, at = 0;
    for (int i = 0; i < MOST; i++) {
        int rows = 5 + 16 * i;
        pn_type type = i % 3 == 2 ? PN_TYPE_F16 : PN_TYPE_F32;
        parts[i] = pn_matmul(g, o.x, op_run_weight(&o, type, (const int64_t[]){1, rows, K}, -1, 1, &w[i]));
        n += rows;
    }
    for (int i = 0; i < MOST; i++)
        y = i ? pn_concat(g, y, parts[i]) : parts[0];
    double *want = calloc((size_t)(6 * n), sizeof *want);
    float *got = malloc((size_t)(6 * n) * sizeof *got);
    assert_true(got && want);
    for (int i = 0; i < MOST; at += 5 + 16 * i++)
        for (int r = 0; r < 6; r++)
            for (int j = 0; j < 5 + 16 * i; j++)
                for (int k = 0; k < K; k++)
                    want[r * n + at + j] += (double)w[i][j * K + k] * (double)o.input[r * K + k];
    for (int d = 0; d < N_DEVICES; d++)
        for (int slice = 1; slice < 8; slice += 5) {
            op_run_on(&o, y, &devices[d], slice, got, NULL);
            assert_true(op_distance(got, want, (size_t)(6 * n)) < 1e-11);
        }
    for (int i = 0; i < MOST; i++)
        free(w[i]);
    free(want);
    free(got);
    op_run_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),
        cmocka_unit_test(long_products),
        cmocka_unit_test(residuals_of_earlier_phases),
        cmocka_unit_test(every_number_of_columns),
        cmocka_unit_test(gathered_operands),
        cmocka_unit_test(many_products_of_one_operand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
