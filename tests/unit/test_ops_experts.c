/* Experts against their formulas in double precision: every method of choosing them, and products with stacks of
 * matrices in several storage types, one token or many, on every device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"
#include "emulated.h"
#include "op_run.h"

static const int many[] = {21}, two[] = {1, 2};
enum { MAX_EXPERTS = 64 };

/* ---- choosing ---- */

static void gate_all(const struct pn_route_params *p, const float *logits, double *gated)
{
    double highest = -INFINITY, sum = 0;
    for (int e = 0; e < p->n_expert; e++)
        highest = fmax(highest, (double)logits[e]);
    for (int e = 0; e < p->n_expert; e++)
        sum += exp((double)logits[e] - highest);
    for (int e = 0; e < p->n_expert; e++)
        gated[e] = p->gate == PN_GATE_SOFTMAX   ? exp((double)logits[e] - highest) / sum
                   : p->gate == PN_GATE_SIGMOID ? 1 / (1 + exp(-(double)logits[e]))
                                                : (double)logits[e];
}

/* The count of the `n` numbers that are larger than number i, or equal and before it. */
static int place(const double *v, int n, int i)
{
    int ahead = 0;
    for (int j = 0; j < n; j++)
        ahead += v[j] > v[i] || (v[j] == v[i] && j < i);
    return ahead;
}

/* Ranks become -inf outside the chosen groups: those with the highest best rank (DeepSeek-V2's softmax) or the highest
 * sum of the two best (others). */
static void mask_groups(const struct pn_route_params *p, double *rank)
{
    int size = p->n_expert / p->n_groups, n_best = p->gate == PN_GATE_SOFTMAX ? 1 : 2;
    double score[MAX_EXPERTS];
    for (int g = 0; g < p->n_groups; g++) {
        score[g] = 0;
        for (int i = 0; i < size; i++)
            score[g] += place(rank + g * size, size, i) < n_best ? rank[g * size + i] : 0;
    }
    for (int g = 0; g < p->n_groups; g++)
        if (place(score, p->n_groups, g) >= p->n_groups_used)
            for (int i = 0; i < size; i++)
                rank[g * size + i] = -INFINITY;
}

static void choose(const struct pn_route_params *p, const float *logits, const float *bias, double *weights,
                   int *numbers)
{
    double gated[MAX_EXPERTS], rank[MAX_EXPERTS], sum = 0;
    gate_all(p, logits, gated);
    for (int e = 0; e < p->n_expert; e++)
        rank[e] = gated[e] + (bias ? (double)bias[e] : 0);
    if (p->n_groups > 1)
        mask_groups(p, rank);
    for (int e = 0; e < p->n_expert; e++) {
        int at = place(rank, p->n_expert, e);
        if (at < p->n_used) {
            numbers[at] = e;
            weights[at] = p->gate == PN_GATE_SOFTMAX_CHOSEN ? exp(gated[e]) : gated[e];
        }
    }
    for (int i = 0; i < p->n_used; i++)
        sum += weights[i];
    for (int i = 0; i < p->n_used; i++)
        weights[i] *= (double)p->scale / (p->renormalize || p->gate == PN_GATE_SOFTMAX_CHOSEN ? sum : 1);
}

static void check_route(const struct pn_route_params *p, bool biased, uint64_t seed)
{
    struct op_run o;
    float *bias = NULL, *out;
    op_run_init(&o, seed, p->n_expert + 3, many, 1, 0);
    for (int i = 0; i < o.n_rows * o.width; i++)
        o.input[i] *= 4;
    pn_array b =
        biased ? op_run_weight(&o, PN_TYPE_F32, (const int64_t[]){1, 1, p->n_expert}, -0.5f, 0.5f, &bias) : PN_NONE;
    pn_array route = pn_route(&o.graph, pn_slice(&o.graph, o.x, 3, p->n_expert), b, p);
    assert_int_equal(pn_graph_status(&o.graph, NULL), PANTRY_OK);
    out = malloc((size_t)o.n_rows * 2 * (size_t)p->n_used * sizeof *out);
    for (int d = 0; d < op_n_devices; d++)
        for (int slice = 1; slice < 40; slice += 20) {
            op_run_on(&o, route, &op_devices[d], slice, out, NULL);
            for (int r = 0; r < o.n_rows; r++) {
                const float *got = out + r * 2 * p->n_used;
                double weights[MAX_EXPERTS];
                int numbers[MAX_EXPERTS];
                choose(p, o.input + r * o.width + 3, bias, weights, numbers);
                for (int i = 0; i < p->n_used; i++) {
                    assert_int_equal((int)got[p->n_used + i], numbers[i]);
                    if (!(fabs((double)got[i] - weights[i]) <= 1e-6 * fabs(weights[i])))
                        fail_msg("gate %d, %d of %d experts, %d groups: weight %g, not %g", (int)p->gate, p->n_used,
                                 p->n_expert, p->n_groups, (double)got[i], weights[i]);
                }
            }
        }
    free(out);
    free(bias);
    op_run_free(&o);
}

static void routes(void **state)
{
    (void)state;
    static const struct {
        int n_expert, n_used, n_groups, n_groups_used;
    } cases[] = {{7, 3, 0, 0}, {12, 5, 4, 2}, {16, 4, 8, 3}, {1, 1, 1, 1}, {5, 5, 0, 0}, {6, 2, 6, 2}, {64, 8, 1, 1}};
    static const enum pn_gate gates[] = {PN_GATE_SOFTMAX, PN_GATE_SIGMOID, PN_GATE_SOFTMAX_CHOSEN};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned way = 0; way < 12; way++)
            check_route(&(struct pn_route_params){.gate = gates[way / 4],
                                                  .n_expert = cases[i].n_expert,
                                                  .n_used = cases[i].n_used,
                                                  .n_groups = cases[i].n_groups,
                                                  .n_groups_used = cases[i].n_groups_used,
                                                  .renormalize = way & 1,
                                                  .scale = way & 1 ? 2.5f : 1},
                        way & 2, 100 * i + way);
}

/* ---- multiplying ---- */

struct mixture {
    pn_type type;
    int n_expert, n_used, n_embd, n_ff;
    bool dressed; /* with biases and scales; weights applied to the inputs */
};

struct stacks {
    float *up, *down, *up_bias, *down_bias, *scale;
};

/* One slot: down(relu(up x + bias)) (+ bias), with the slot's weight on either side. */
static void add_slot(const struct mixture *m, const struct stacks *s, const float *x, int e, double weight, double *y)
{
    double h[1024];
    for (int i = 0; i < m->n_ff; i++) {
        const float *row = s->up + ((size_t)e * (size_t)m->n_ff + (size_t)i) * (size_t)m->n_embd;
        double sum = 0;
        for (int j = 0; j < m->n_embd; j++)
            sum += (double)row[j] * (double)x[j];
        if (m->dressed)
            sum = weight * (sum * (double)s->scale[e] + (double)s->up_bias[e * m->n_ff + i]);
        h[i] = sum > 0 ? sum : 0;
    }
    for (int i = 0; i < m->n_embd; i++) {
        const float *row = s->down + ((size_t)e * (size_t)m->n_embd + (size_t)i) * (size_t)m->n_ff;
        double sum = m->dressed ? (double)s->down_bias[e * m->n_embd + i] : 0;
        for (int j = 0; j < m->n_ff; j++)
            sum += (double)row[j] * h[j];
        y[i] += m->dressed ? sum : weight * sum;
    }
}

static pn_array write_down(struct op_run *o, const struct mixture *m, const struct pn_route_params *p, struct stacks *s)
{
    struct pn_graph *g = &o->graph;
    int e = m->n_expert;
    float low = -0.2f, high = 0.2f;
    pn_array route = pn_route(g, pn_slice(g, o->x, 0, e), PN_NONE, p);
    pn_array up = op_run_weight(o, m->type, (const int64_t[]){e, m->n_ff, m->n_embd}, low, high, &s->up);
    pn_array down = op_run_weight(o, m->type, (const int64_t[]){e, m->n_embd, m->n_ff}, low, high, &s->down);
    pn_array h = pn_matmul_each(g, pn_slice(g, o->x, e, m->n_embd), up, route);
    if (m->dressed) {
        h = pn_each_scale(g, h, route, op_run_weight(o, PN_TYPE_F32, (const int64_t[]){1, 1, e}, 0.5f, 2, &s->scale));
        h = pn_each_bias(g, h, route,
                         op_run_weight(o, PN_TYPE_F32, (const int64_t[]){1, e, m->n_ff}, -1, 1, &s->up_bias));
        h = pn_each_scale(g, h, route, PN_NONE);
    }
    pn_array y = pn_matmul_each(g, pn_act(g, h, PN_ACT_FN_RELU), down, route);
    if (m->dressed)
        y = pn_each_bias(g, y, route,
                         op_run_weight(o, PN_TYPE_F16, (const int64_t[]){1, e, m->n_embd}, -1, 1, &s->down_bias));
    return pn_each_sum(g, y, m->dressed ? PN_NONE : route);
}

/* The error allowed for rounding activations to 15 bits twice; float types and plain kernels do not round. A GPU rounds
 * all to half precision, but for weights in float32. */
static double allowed(const struct op_device *d, pn_type type)
{
    if (op_is_gpu(d))
        return type == PN_TYPE_F32 ? 1e-11 : 1e-6;
    bool rounds = (!d->isa || strcmp(d->isa, "mixed") == 0) && d->name[0] == 'c' && type != PN_TYPE_F32 &&
                  type != PN_TYPE_F16 && type != PN_TYPE_BF16;
    return rounds ? 1e-8 : 1e-11;
}

static void check_mixture(const struct mixture *m, uint64_t seed, const int *lengths, int n_lengths)
{
    struct pn_route_params p = {.gate = PN_GATE_SIGMOID, .n_expert = m->n_expert, .n_used = m->n_used, .scale = 1};
    struct op_run o;
    struct stacks s = {0};
    struct pantry_error err = {0};
    op_run_init(&o, seed, m->n_expert + m->n_embd, lengths, n_lengths, 0);
    pn_array y = write_down(&o, m, &p, &s);
    if (pn_graph_status(&o.graph, &err))
        fail_msg("%s", err.text);
    size_t n = (size_t)o.n_rows * (size_t)m->n_embd;
    double *want = calloc(n, sizeof *want), weights[MAX_EXPERTS];
    float *got = malloc(n * sizeof *got);
    for (int r = 0; r < o.n_rows; r++) {
        int numbers[MAX_EXPERTS];
        choose(&p, o.input + r * o.width, NULL, weights, numbers);
        for (int i = 0; i < m->n_used; i++)
            add_slot(m, &s, o.input + r * o.width + m->n_expert, numbers[i], weights[i], want + r * m->n_embd);
    }
    for (int d = 0; d < op_n_devices; d++)
        for (int slice = 1; slice < 40; slice += 20) {
            op_run_on(&o, y, &op_devices[d], slice, got, NULL);
            double e = op_distance(got, want, n), limit = allowed(&op_devices[d], m->type);
            if (!(e < limit))
                fail_msg("%d of %d experts in %s on %s (%d threads), slices of %d: NMSE %g, allowed %g", m->n_used,
                         m->n_expert, pn_type_info(m->type)->name, op_devices[d].name, op_devices[d].n_threads, slice,
                         e, limit);
        }
    free(want);
    free(got);
    free(s.up), free(s.down), free(s.up_bias), free(s.down_bias), free(s.scale);
    op_run_free(&o);
}

static void mixtures(void **state)
{
    (void)state;
    static const struct mixture cases[] = {
        {PN_TYPE_F32, 7, 3, 37, 51, false},   {PN_TYPE_F32, 7, 3, 37, 51, true},  {PN_TYPE_F16, 5, 5, 33, 130, true},
        {PN_TYPE_BF16, 1, 1, 16, 7, false},   {PN_TYPE_Q8_0, 9, 2, 96, 64, true}, {PN_TYPE_Q4_0, 6, 4, 64, 160, false},
        {PN_TYPE_Q4_K, 4, 2, 256, 512, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_mixture(&cases[i], 700 + i, many, 1);
        check_mixture(&cases[i], 800 + i, two, 2);
    }
}

/* ---- at the borders ---- */

/* A router's weights for one row of logits; all devices must agree. */
static void route_one(const struct pn_route_params *p, const float *logits, const float *bias, float *out)
{
    static const int one_row[] = {1};
    struct op_run o;
    struct pn_weight w = pn_weight_plain("bias", PN_TYPE_F32, 1, 1, p->n_expert, bias);
    float got[2 * MAX_EXPERTS];
    op_run_init(&o, 1, p->n_expert, one_row, 1, 0);
    memcpy(o.input, logits, (size_t)p->n_expert * sizeof *logits);
    pn_array route = pn_route(&o.graph, o.x, bias ? pn_weight_leaf(&o.graph, &w) : PN_NONE, p);
    for (int d = 0; d < op_n_devices; d++) {
        op_run_on(&o, route, &op_devices[d], 1, d ? got : out, NULL);
        if (d)
            assert_memory_equal(got, out, (size_t)p->n_used * 2 * sizeof *got);
    }
    op_run_free(&o);
}

/* Among equals the first wins; the same for groups. */
static void equals_are_chosen_in_order(void **state)
{
    (void)state;
    float out[16], zeros[8] = {0}, bias[8] = {0, 0, 0.5f, 0, 0, 0.5f, 0, 0.5f};
    struct pn_route_params p = {.gate = PN_GATE_SIGMOID, .n_expert = 8, .n_used = 4, .scale = 1};
    static const float plain[] = {0, 1, 2, 3}, biased[] = {2, 5, 7, 0}, grouped[] = {2, 5, 3, 4};
    route_one(&p, zeros, NULL, out);
    assert_memory_equal(out + 4, plain, sizeof plain);
    route_one(&p, zeros, bias, out);
    assert_memory_equal(out + 4, biased, sizeof biased);
    static const float high[] = {20, 30, 25, 40, 20, 20, 20, 35}, by_logits[] = {3, 7, 1, 2};
    for (p.n_groups = 0; p.n_groups < 2; p.n_groups++) { /* no equals: one group means no groups, and logits decide */
        route_one(&p, high, NULL, out);
        assert_memory_equal(out + 4, by_logits, sizeof by_logits);
    }
    p.n_groups = 4;
    p.n_groups_used = 2;
    route_one(&p, zeros, NULL, out);
    assert_memory_equal(out + 4, plain, sizeof plain);
    route_one(&p, zeros, bias, out); /* the sums of 2 3, 4 5 and 6 7 are equal: the first two groups */
    assert_memory_equal(out + 4, grouped, sizeof grouped);
    p.gate = PN_GATE_SOFTMAX; /* only the best counts, and three groups are equal */
    route_one(&p, zeros, bias, out);
    assert_memory_equal(out + 4, grouped, sizeof grouped);
}

/* Two middling experts beat a good and a bad one, except if only the best of a group counts. The second best may equal
 * the best, or come before it. */
static void groups_are_ranked_by_their_best(void **state)
{
    (void)state;
    static const float logits[] = {3, -9, -9, 1, 1.5f, -9, 2, 2, -9};
    struct pn_route_params p = {.gate = PN_GATE_SIGMOID, .n_expert = 9, .n_used = 1, .scale = 1};
    float out[2];
    p.n_groups = 3;
    p.n_groups_used = 1;
    route_one(&p, logits, NULL, out);
    assert_int_equal((int)out[1], 6);
    p.gate = PN_GATE_SOFTMAX;
    route_one(&p, logits, NULL, out);
    assert_int_equal((int)out[1], 0);
    p.gate = PN_GATE_SOFTMAX_CHOSEN; /* by the logits themselves: 3 - 9, 1 + 1.5, 2 + 2 */
    route_one(&p, logits, NULL, out);
    assert_int_equal((int)out[1], 6);
    static const float before[] = {2, 3, -9, -9, 2.5f, 2};
    p = (struct pn_route_params){.gate = PN_GATE_SIGMOID, .n_expert = 6, .n_used = 1, .scale = 1};
    p.n_groups = 2;
    p.n_groups_used = 1;
    route_one(&p, before, NULL, out);
    assert_int_equal((int)out[1], 1);
}

/* Tiny weights are divided by the smallest normal half, not by their sum. */
static void sums_have_a_floor(void **state)
{
    (void)state;
    static const float tiny[] = {-20, -21, -22, -30}, small[] = {-9, -10, -11, -12};
    struct pn_route_params p = {.gate = PN_GATE_SIGMOID, .n_expert = 4, .n_used = 3, .renormalize = true, .scale = 3};
    float out[6];
    for (int way = 0; way < 2; way++) {
        const float *logits = way ? small : tiny;
        double sum = 0;
        route_one(&p, logits, NULL, out);
        for (int i = 0; i < 3; i++)
            sum += 1 / (1 + exp(-(double)logits[i]));
        sum = fmax(sum, ldexp(1, -14));
        for (int i = 0; i < 3; i++)
            assert_true(fabs((double)out[i] * sum * (1 + exp(-(double)logits[i])) / 3 - 1) < 1e-6);
    }
}

static struct pn_weight zeros_of(int64_t n_mat, int64_t n_rows, int64_t n_cols)
{
    static const float nothing[1] = {0}; /* nothing reads it */
    return pn_weight_plain("stack", PN_TYPE_F32, n_mat, n_rows, n_cols, nothing);
}

/* Whether a route with these parameters, of up to 4,096 logits, is accepted. */
static bool routes_with(int n_expert, int n_used, int n_groups, int n_groups_used, int n_logits, int n_bias)
{
    struct pn_graph g;
    struct pn_weight table = zeros_of(1, 1, n_logits), b = zeros_of(1, 1, n_bias);
    struct pn_route_params p = {.n_expert = n_expert, .n_used = n_used, .scale = 1};
    p.n_groups = n_groups;
    p.n_groups_used = n_groups_used;
    pn_graph_init(&g);
    pn_array x = pn_embed(&g, pn_weight_leaf(&g, &table));
    pn_array y = pn_route(&g, x, n_bias ? pn_weight_leaf(&g, &b) : PN_NONE, &p);
    bool good = y != PN_NONE;
    assert_int_equal(pn_graph_status(&g, NULL), good ? PANTRY_OK : PANTRY_FORMAT);
    pn_graph_free(&g);
    return good;
}

static void wrong_routes_are_errors(void **state)
{
    (void)state;
    assert_true(routes_with(1, 1, 0, 0, 1, 0));
    assert_true(routes_with(8, 8, 0, 0, 8, 8));
    assert_true(routes_with(4096, 256, 64, 4, 4096, 4096));
    assert_false(routes_with(0, 0, 0, 0, 0, 0));
    assert_false(routes_with(8, 0, 0, 0, 8, 0));
    assert_false(routes_with(8, 9, 0, 0, 8, 0));
    assert_false(routes_with(4097, 1, 0, 0, 4097, 0));
    assert_false(routes_with(4096, 257, 0, 0, 4096, 0));
    assert_false(routes_with(8, 2, 0, 0, 7, 0));
    assert_false(routes_with(8, 2, 0, 0, 9, 0));
    assert_false(routes_with(8, 2, 0, 0, 8, 7));
    assert_false(routes_with(8, 2, 0, 0, 8, 9));
    assert_true(routes_with(8, 4, 4, 2, 8, 0));
    assert_false(routes_with(8, 5, 4, 2, 8, 0)); /* two groups have four */
    assert_true(routes_with(8, 8, 4, 4, 8, 0));
    assert_false(routes_with(8, 4, 4, 0, 8, 0));
    assert_false(routes_with(8, 4, 4, 5, 8, 0));
    assert_false(routes_with(8, 2, 3, 2, 8, 0));
    assert_false(routes_with(130, 2, 65, 2, 130, 0));
    assert_true(routes_with(8, 2, 1, 0, 8, 0)); /* one group means no groups */
}

/* All operations on a route of 2 of 4 experts, with one parameter changed; rows are 12 wide. */
enum change {
    NOTHING,
    WRONG_COLUMNS,
    WRONG_MATRICES,
    WRONG_SLOTS,
    WRONG_SCALES,
    WRONG_BIAS_ROWS,
    WRONG_BIAS_COLUMNS,
    WRONG_SUM_SLOTS,
    NO_ROUTE,
    N_CHANGES
};

static pantry_status builds(enum change c, bool routed)
{
    struct pn_graph g;
    struct pn_weight table = zeros_of(1, 1, 12),
                     stack = zeros_of(c == WRONG_MATRICES ? 5
                                      : routed            ? 4
                                                          : 2,
                                      3, c == WRONG_COLUMNS ? 5 : 6),
                     by = zeros_of(1, 1, c == WRONG_SCALES ? 3 : 4),
                     bias = zeros_of(1, c == WRONG_BIAS_ROWS ? 5 : 4, c == WRONG_BIAS_COLUMNS ? 4 : 3);
    pn_graph_init(&g);
    pn_array x = pn_embed(&g, pn_weight_leaf(&g, &table));
    pn_array route =
        pn_route(&g, pn_slice(&g, x, 0, 4), PN_NONE, &(struct pn_route_params){.n_expert = 4, .n_used = 2, .scale = 1});
    if (c == NO_ROUTE)
        route = pn_slice(&g, x, 0, 4);
    pn_array in =
        c == WRONG_SLOTS ? pn_reshape(&g, pn_concat(&g, x, pn_slice(&g, x, 0, 6)), 3, 6) : pn_reshape(&g, x, 2, 6);
    pn_array y = pn_matmul_each(&g, in, pn_weight_leaf(&g, &stack), routed ? route : PN_NONE);
    if (routed) {
        y = pn_each_scale(&g, y, route, pn_weight_leaf(&g, &by));
        y = pn_each_bias(&g, y, route, pn_weight_leaf(&g, &bias));
        y = pn_each_sum(&g, c == WRONG_SUM_SLOTS ? pn_reshape(&g, y, 3, 2) : y, route);
    }
    pantry_status status = pn_graph_status(&g, NULL);
    assert_int_equal(y == PN_NONE, status != PANTRY_OK);
    pn_graph_free(&g);
    return status;
}

static void wrong_experts_are_errors(void **state)
{
    (void)state;
    assert_int_equal(builds(NOTHING, true), PANTRY_OK);
    assert_int_equal(builds(NOTHING, false), PANTRY_OK);
    for (int c = 1; c < N_CHANGES; c++)
        assert_int_equal(builds((enum change)c, true), c == NO_ROUTE ? PANTRY_INTERNAL : PANTRY_FORMAT);
    for (int c = 1; c <= WRONG_SLOTS; c++)
        assert_int_equal(builds((enum change)c, false), PANTRY_FORMAT);
}

/* The case gives the number of tokens per expert, from none to all. Matrices have gaps between them, as in a file with
 * other tensors in between, and some experts have fewer rows than there are threads. */
static void shares_of_experts(void **state)
{
    (void)state;
    enum { EXPERTS = 5, IN = 32, OUT = 70, TOKENS = 21, GAP = 3 * 34 };
    static const struct op_device threads[] = {
        {"ref", NULL, 1}, {"cpu", NULL, 1}, {"cpu", "generic", 4}, {"cpu", NULL, 7}, {"cuda", NULL, 1}};
    int n_threads = (int)(sizeof threads / sizeof *threads) - !emulated_cuda();
    for (int way = 0; way < 6; way++) {
        struct op_run o;
        float *decoded, got[TOKENS * 2 * OUT];
        double want[TOKENS * 2 * OUT];
        op_run_init(&o, 600 + (uint64_t)way, EXPERTS + IN, many, 1, 0);
        for (int r = 0; r < TOKENS; r++) /* first of two: 4 always, 0 for one token, 1 for half; second: 3 or 2 */
            for (int e = 0; e < EXPERTS; e++) {
                int first = way % 3 == 0 ? 4 : way % 3 == 1 ? (r == 9 ? 0 : 4) : r % 2 ? 1 : 4, second = r < 4 ? 3 : 2;
                o.input[r * o.width + e] = e == first ? 2 : e == second ? 1 : -1;
            }
        pn_type type = way < 3 ? PN_TYPE_F32 : PN_TYPE_Q8_0;
        size_t bytes = pn_type_row_bytes(type, IN) * OUT;
        pn_array packed = op_run_weight(&o, type, (const int64_t[]){EXPERTS, OUT, IN}, -1, 1, &decoded);
        struct pn_weight stack = *pn_node(&o.graph, packed)->weight;
        unsigned char *spread = malloc(EXPERTS * (bytes + GAP));
        assert_non_null(spread);
        memset(spread, 0xFF, EXPERTS * (bytes + GAP));
        for (int e = 0; e < EXPERTS; e++)
            memcpy(spread + (size_t)e * (bytes + GAP), pn_weight_at(&stack, 0, e, 0), bytes);
        stack.plane[0].data = spread;
        stack.plane[0].mat_bytes = bytes + GAP;
        struct pn_route_params p = {.n_expert = EXPERTS, .n_used = 2, .scale = 1};
        pn_array route = pn_route(&o.graph, pn_slice(&o.graph, o.x, 0, EXPERTS), PN_NONE, &p);
        pn_array y =
            pn_matmul_each(&o.graph, pn_slice(&o.graph, o.x, EXPERTS, IN), pn_weight_leaf(&o.graph, &stack), route);
        for (int r = 0; r < TOKENS; r++)
            for (int j = 0; j < 2; j++)
                for (int i = 0; i < OUT; i++) {
                    int first = way % 3 == 0   ? 4
                                : way % 3 == 1 ? (r == 9 ? 0 : 4)
                                : r % 2        ? 1
                                               : 4,
                        e = j ? (r < 4 ? 3 : 2) : first;
                    double sum = 0;
                    for (int k = 0; k < IN; k++)
                        sum += (double)decoded[(e * OUT + i) * IN + k] * (double)o.input[r * o.width + EXPERTS + k];
                    want[(r * 2 + j) * OUT + i] = sum;
                }
        for (int d = 0; d < n_threads; d++)
            for (int slice = 1; slice < 40; slice += 20) {
                op_run_on(&o, y, &threads[d], slice, got, NULL);
                double e = op_distance(got, want, TOKENS * 2 * OUT);
                if (!(e < allowed(&threads[d], type)))
                    fail_msg("way %d on %s, %d threads, slices of %d: NMSE %g", way, threads[d].name,
                             threads[d].n_threads, slice, e);
            }
        free(decoded);
        free(spread);
        op_run_free(&o);
    }
}

/* Without a route, slot j uses matrix j. The slots of one token are adjacent, those of two tokens are not. */
static void a_matrix_for_each_slot(void **state)
{
    (void)state;
    enum { SLOTS = 5, IN = 32, OUT = 34, GAP = 7 };
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_Q8_0};
    for (int way = 0; way < 2; way++) {
        struct op_run o;
        float *w, got[21 * SLOTS * OUT];
        double want[21 * SLOTS * OUT] = {0};
        op_run_init(&o, 900, GAP + SLOTS * IN, many, 1, 0);
        struct pn_graph *g = &o.graph;
        pn_array stack = op_run_weight(&o, types[way], (const int64_t[]){SLOTS, OUT, IN}, -1, 1, &w);
        pn_array y = pn_matmul_each(g, pn_reshape(g, pn_slice(g, o.x, GAP, SLOTS * IN), SLOTS, IN), stack, PN_NONE);
        for (int r = 0; r < o.n_rows; r++)
            for (int j = 0; j < SLOTS; j++)
                for (int i = 0; i < OUT; i++)
                    for (int k = 0; k < IN; k++)
                        want[(r * SLOTS + j) * OUT + i] +=
                            (double)o.input[r * o.width + GAP + j * IN + k] * (double)w[(j * OUT + i) * IN + k];
        for (int d = 0; d < op_n_devices; d++)
            for (int slice = 1; slice < 40; slice += 20) {
                op_run_on(&o, y, &op_devices[d], slice, got, NULL);
                assert_true(op_distance(got, want, (size_t)o.n_rows * SLOTS * OUT) <
                            allowed(&op_devices[d], types[way]));
            }
        free(w);
        op_run_free(&o);
    }
}

/* The cpu device numbers the slots of all tokens, so with a route they must be contiguous. */
static void operands_in_pieces(void **state)
{
    (void)state;
    for (int spare = 0; spare < 2; spare++) {
        struct op_run o;
        float *w;
        struct pantry_error err = {0};
        struct pn_device *d;
        struct pn_plan *plan;
        struct pn_program *program = NULL;
        op_run_init(&o, 901, 12 + spare, many, 1, 0);
        struct pn_graph *g = &o.graph;
        pn_array route = pn_route(g, pn_slice(g, o.x, 0, 3), PN_NONE,
                                  &(struct pn_route_params){.n_expert = 3, .n_used = 2, .scale = 1});
        pn_array stack = op_run_weight(&o, PN_TYPE_F32, (const int64_t[]){3, 5, 6}, -1, 1, &w);
        pn_array y = pn_matmul_each(g, pn_reshape(g, pn_slice(g, o.x, 0, 12), 2, 6), stack, route);
        assert_int_equal(pn_device_open("cpu", &(struct pn_device_options){1, NULL}, &d, &err), PANTRY_OK);
        assert_int_equal(pn_device_plan(d, g, op_plan_spec(&y, 4), &plan, &err),
                         spare ? PANTRY_UNSUPPORTED : PANTRY_OK);
        assert_int_equal(plan == NULL, spare);
        if (spare)
            assert_non_null(strstr(err.text, "1 thread): operation matmul_each is not supported"));
        else
            assert_int_equal(d->class->compile(d, plan, &program, &err), PANTRY_OK);
        d->class->program_free(d, program);
        pn_plan_free(plan);
        pn_device_close(d);
        free(w);
        op_run_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes),
        cmocka_unit_test(mixtures),
        cmocka_unit_test(equals_are_chosen_in_order),
        cmocka_unit_test(groups_are_ranked_by_their_best),
        cmocka_unit_test(sums_have_a_floor),
        cmocka_unit_test(wrong_routes_are_errors),
        cmocka_unit_test(wrong_experts_are_errors),
        cmocka_unit_test(shares_of_experts),
        cmocka_unit_test(a_matrix_for_each_slot),
        cmocka_unit_test(operands_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
