/* Convolutions, state spaces and delta rules against their formulas in double precision: results and states, for
 * several sequences with initial states, in one batch, in slices and token by token, on every device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "op_run.h"

static const int three[] = {9, 1, 4}, one[] = {13};
enum { MARGIN = 3 /* floats of a sequence's state before and after the operation's */ };

/* ---- comparing ---- */

struct expected {
    int n;         /* values of a row of the result */
    double *out;   /* (n_rows, n) */
    double *state; /* (n_lengths, n_state) */
};

static struct expected expect(const struct op_run *o, int n)
{
    size_t n_state = (size_t)o->n_lengths * (size_t)o->n_state;
    struct expected e = {.n = n};
    e.out = calloc((size_t)o->n_rows * (size_t)n, sizeof *e.out);
    e.state = calloc(n_state, sizeof *e.state);
    assert_non_null(e.out);
    assert_non_null(e.state);
    for (size_t i = 0; i < n_state; i++)
        e.state[i] = (double)o->states[i];
    return e;
}

static void check(struct op_run *o, pn_array result, struct expected *e, const char *what)
{
    static const int slices[] = {1000, 3, 1};
    struct pantry_error err = {0};
    size_t n_out = (size_t)o->n_rows * (size_t)e->n, n_state = (size_t)o->n_lengths * (size_t)o->n_state;
    float *out = malloc(n_out * sizeof *out), *states = malloc(n_state * sizeof *states);
    if (pn_graph_status(&o->graph, &err))
        fail_msg("%s: %s", what, err.text);
    for (int d = 0; d < op_n_devices; d++)
        for (int i = 0; i < 6; i++) {
            o->alternates = i >= 3;
            op_run_on(o, result, &op_devices[d], slices[i % 3], out, states);
            double y = op_distance(out, e->out, n_out), s = op_distance(states, e->state, n_state);
            if (!(y < 1e-11) || !(s < 1e-11))
                fail_msg("%s on %s (%d threads), slices of %d: NMSE %g, of the state %g", what, op_devices[d].name,
                         op_devices[d].n_threads, slices[i % 3], y, s);
            for (int q = 0; q < o->n_lengths; q++) { /* the states of other operations are unchanged */
                size_t end = (size_t)(q + 1) * (size_t)o->n_state, first = end - (size_t)o->n_state;
                assert_memory_equal(states + first, o->states + first, MARGIN * sizeof *states);
                assert_memory_equal(states + end - MARGIN, o->states + end - MARGIN, MARGIN * sizeof *states);
            }
        }
    free(out);
    free(states);
    free(e->out);
    free(e->state);
}

static double softplus(double x)
{
    return log1p(exp(x));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* ---- convolutions ---- */

static void convolutions(void **state)
{
    (void)state;
    static const struct {
        int channels, k;
    } cases[] = {{1, 1}, {7, 4}, {300, 3}, {256, 2}, {513, 4}, {5, 12}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int many = 0; many < 2; many++) {
            int n = cases[c].channels, k = cases[c].k, first = 2;
            struct op_run o;
            float *w;
            op_run_init(&o, 100 + c, n + 5, many ? three : one, many ? 3 : 1, 2 * MARGIN + (k - 1) * n);
            pn_array weight = op_run_weight(&o, PN_TYPE_F32, (const int64_t[]){1, 1, n * k}, -1, 1, &w);
            pn_array y = pn_conv(&o.graph, pn_slice(&o.graph, o.x, first, n), weight, MARGIN);
            struct expected e = expect(&o, n);
            const float *x = o.input + first;
            for (int q = 0, row = 0; q < o.n_lengths; q++) {
                double *past = e.state + q * o.n_state + MARGIN;
                for (int t = 0; t < o.lengths[q]; t++, row++, x += o.width) {
                    for (int i = 0; i < n; i++) {
                        double sum = (double)w[i * k + k - 1] * (double)x[i];
                        for (int j = 0; j < k - 1; j++)
                            sum += (double)w[i * k + j] * past[j * n + i];
                        e.out[row * n + i] = sum;
                    }
                    for (int j = 0; j < (k - 1) * n; j++)
                        past[j] = j < (k - 2) * n ? past[j + n] : (double)x[j - (k - 2) * n];
                }
            }
            check(&o, y, &e, "convolution");
            free(w);
            op_run_free(&o);
        }
}

/* ---- state spaces ---- */

struct space {
    int heads, dim, groups, n;
    bool each; /* a decay per value of the state (Mamba), not per head (Mamba 2) */
};

/* A row of the input is x (heads, dim), dt (heads), b and c (groups, n); dt goes through softplus. */
static void step_space(const struct space *s, const float *row, const float *a, const float *d, double *state,
                       double *y)
{
    const float *dt = row + s->heads * s->dim, *b = dt + s->heads, *c = b + s->groups * s->n;
    for (int h = 0; h < s->heads; h++)
        for (int i = 0; i < s->dim; i++) {
            int from = h / (s->heads / s->groups) * s->n;
            double step = softplus((double)dt[h]), x = (double)row[h * s->dim + i], sum = (double)d[h] * x;
            double *z = state + (h * s->dim + i) * s->n;
            for (int j = 0; j < s->n; j++) {
                z[j] = exp(step * (double)a[s->each ? h * s->n + j : h]) * z[j] + step * (double)b[from + j] * x;
                sum += z[j] * (double)c[from + j];
            }
            y[h * s->dim + i] = sum;
        }
}

static void check_space(const struct space *s, uint64_t seed, const int *lengths, int n_lengths)
{
    int inner = s->heads * s->dim, bc = s->groups * s->n;
    struct op_run o;
    float *wa, *wd;
    op_run_init(&o, seed, inner + s->heads + 2 * bc, lengths, n_lengths, 2 * MARGIN + inner * s->n);
    struct pn_graph *g = &o.graph;
    pn_array a =
        op_run_weight(&o, PN_TYPE_F32, (const int64_t[]){1, 1, s->heads * (s->each ? s->n : 1)}, -2, -0.01f, &wa);
    pn_array d = op_run_weight(&o, PN_TYPE_F32, (const int64_t[]){1, 1, s->heads}, -1, 1, &wd);
    pn_array x = pn_reshape(g, pn_slice(g, o.x, 0, inner), s->heads, s->dim);
    pn_array dt = pn_act(g, pn_slice(g, o.x, inner, s->heads), PN_ACT_FN_SOFTPLUS);
    pn_array b = pn_reshape(g, pn_slice(g, o.x, inner + s->heads, bc), s->groups, s->n);
    pn_array c = pn_reshape(g, pn_slice(g, o.x, inner + s->heads + bc, bc), s->groups, s->n);
    pn_array y = pn_ssm_scan(g, x, dt, b, c, a, d, MARGIN);
    struct expected e = expect(&o, inner);
    for (int q = 0, row = 0; q < o.n_lengths; q++)
        for (int t = 0; t < o.lengths[q]; t++, row++)
            step_space(s, o.input + row * o.width, wa, wd, e.state + q * o.n_state + MARGIN, e.out + row * inner);
    check(&o, y, &e, s->each ? "state space with decays per value" : "state space");
    free(wa);
    free(wd);
    op_run_free(&o);
}

static void state_spaces(void **state)
{
    (void)state;
    static const struct space cases[] = {
        {37, 1, 1, 16, true},  {1, 1, 1, 1, true},   {64, 1, 1, 7, true},   {6, 5, 3, 20, true},
        {6, 33, 2, 16, false}, {4, 64, 4, 7, false}, {3, 5, 1, 129, false}, {1, 70, 1, 8, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_space(&cases[i], 200 + i, three, 3);
        check_space(&cases[i], 300 + i, one, 1);
    }
}

/* ---- delta rules ---- */

struct rule {
    int heads_k, heads, dim_k, dim_v;
    bool gates; /* per key channel */
    bool interleaved;
};

/* A row of the input is q and k (heads_k, dim_k), v (heads, dim_v), gates, beta (heads); the gates go through softplus,
 * beta through a sigmoid, and k is scaled to a length of about 1. */
static void step_rule(const struct rule *r, const float *row, const float *a, double *state, double *y)
{
    int n = r->dim_k, keys = r->heads_k * n, n_gates = r->gates ? n : 1;
    const float *v = row + 2 * keys, *gate = v + r->heads * r->dim_v, *beta = gate + r->heads * n_gates;
    double unit = sqrt(3.0 / n);
    for (int h = 0; h < r->heads; h++) {
        int from = r->interleaved ? h / (r->heads / r->heads_k) : h % r->heads_k;
        const float *q = row + from * n, *k = row + keys + from * n;
        for (int i = 0; i < r->dim_v; i++) {
            double *s = state + (h * r->dim_v + i) * n, found = 0, sum = 0;
            for (int j = 0; j < n; j++) {
                s[j] *= exp((double)a[h] * softplus((double)gate[h * n_gates + (r->gates ? j : 0)]));
                found += s[j] * (double)k[j] * unit;
            }
            double change = sigmoid((double)beta[h]) * ((double)v[h * r->dim_v + i] - found);
            for (int j = 0; j < n; j++) {
                s[j] += change * (double)k[j] * unit;
                sum += s[j] * (double)q[j];
            }
            y[h * r->dim_v + i] = sum * 0.25;
        }
    }
}

static void check_rule(const struct rule *r, uint64_t seed, const int *lengths, int n_lengths)
{
    int keys = r->heads_k * r->dim_k, values = r->heads * r->dim_v, n_gates = r->heads * (r->gates ? r->dim_k : 1);
    struct op_run o;
    float *wa;
    op_run_init(&o, seed, 2 * keys + values + n_gates + r->heads, lengths, n_lengths, 2 * MARGIN + values * r->dim_k);
    struct pn_graph *g = &o.graph;
    pn_array a = op_run_weight(&o, PN_TYPE_F32, (const int64_t[]){1, 1, r->heads}, -1, -0.01f, &wa);
    pn_array q = pn_reshape(g, pn_slice(g, o.x, 0, keys), r->heads_k, r->dim_k);
    pn_array k = pn_scale(g, pn_reshape(g, pn_slice(g, o.x, keys, keys), r->heads_k, r->dim_k),
                          sqrtf(3.0f / (float)r->dim_k), 0);
    pn_array v = pn_reshape(g, pn_slice(g, o.x, 2 * keys, values), r->heads, r->dim_v);
    pn_array gate = pn_act(g, pn_slice(g, o.x, 2 * keys + values, n_gates), PN_ACT_FN_SOFTPLUS);
    if (r->gates)
        gate = pn_reshape(g, gate, r->heads, r->dim_k);
    pn_array beta = pn_act(g, pn_slice(g, o.x, 2 * keys + values + n_gates, r->heads), PN_ACT_FN_SIGMOID);
    pn_array y =
        pn_delta(g, q, k, v, gate, beta, a,
                 &(struct pn_recurrent_params){.offset = MARGIN, .scale = 0.25f, .interleaved = r->interleaved});
    struct expected e = expect(&o, values);
    for (int s = 0, row = 0; s < o.n_lengths; s++)
        for (int t = 0; t < o.lengths[s]; t++, row++)
            step_rule(r, o.input + row * o.width, wa, e.state + s * o.n_state + MARGIN, e.out + row * values);
    check(&o, y, &e, r->gates ? "delta rule with gates" : "delta rule");
    free(wa);
    op_run_free(&o);
}

static void delta_rules(void **state)
{
    (void)state;
    static const struct rule cases[] = {
        {2, 4, 16, 33, false, false}, {2, 4, 16, 33, false, true}, {1, 1, 1, 1, false, false},
        {3, 3, 9, 40, false, false},  {2, 6, 7, 5, false, true},   {4, 4, 16, 16, true, false},
        {2, 4, 13, 35, true, true},   {1, 2, 64, 64, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_rule(&cases[i], 400 + i, three, 3);
        check_rule(&cases[i], 500 + i, one, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(state_spaces),
        cmocka_unit_test(delta_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
