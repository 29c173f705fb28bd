/* Plans with several inputs and results, their limits, and linear planning time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "device/device.h"
#include "tensor/op.h"

enum { N = 12, N_TOKENS = 6, N_OUT = 20 };

/* A graph with two inputs: an embedding is mixed with rows from the caller; a second input, one row per sequence, is
 * added to the mean of some of them. Three results have different kinds of rows; a fourth, with a row per token, is
 * also an operand. */
struct two_inputs {
    struct pn_graph graph;
    float table[10 * N], weight[N_OUT * N];
    struct pn_weight table_w, weight_w;
    pn_array given, offsets, mixed, logits, hidden, means;
};

static void fill(struct pn_rng *rng, float *v, int n)
{
    for (int i = 0; i < n; i++)
        v[i] = 2 * pn_rng_float(rng) - 1;
}

static void write_down(struct two_inputs *t)
{
    struct pn_rng rng = {77};
    struct pn_graph *g = &t->graph;
    fill(&rng, t->table, 10 * N);
    fill(&rng, t->weight, N_OUT * N);
    t->table_w = pn_weight_plain("table", PN_TYPE_F32, 1, 10, N, t->table);
    t->weight_w = pn_weight_plain("weight", PN_TYPE_F32, 1, N_OUT, N, t->weight);
    pn_graph_init(g);
    t->given = pn_input(g, "given", PN_ROWS_TOKENS, 3, N / 3);
    t->offsets = pn_input(g, "offsets", PN_ROWS_SEQS, 1, N);
    pn_array x = pn_embed(g, pn_weight_leaf(g, &t->table_w));
    t->mixed = pn_add(g, x, pn_reshape(g, t->given, 1, N)); /* (tokens, N) */
    t->logits = pn_scale(g, pn_matmul(g, pn_output_rows(g, t->mixed), pn_weight_leaf(g, &t->weight_w)), 2, 1);
    t->hidden = pn_act(g, pn_hidden_rows(g, t->mixed), PN_ACT_FN_RELU);             /* (hidden, N) */
    t->means = pn_mul(g, pn_mean_rows(g, pn_hidden_rows(g, t->mixed)), t->offsets); /* (sequences, N) */
    assert_int_equal(pn_graph_status(g, NULL), PANTRY_OK);
}

/* Two sequences of the tokens 0-3 and 4-5; logits of 3 and 5, hidden states of 0, 2 and 4. */
static const int32_t ids[] = {1, 2, 3, 4, 5, 9}, positions[] = {0, 1, 2, 3, 0, 1}, outputs[] = {3, 5},
                     hidden[] = {0, 2, 4}, page[] = {0};
static const struct pn_batch_seq seqs[] = {{.start = 0, .n = 4}, {.start = 4, .n = 2}};
static const struct pn_batch_seq one[] = {{.start = 0, .n = 1}};

static struct pn_batch batch_of(int n_tokens)
{
    return (struct pn_batch){.n_tokens = n_tokens,
                             .ids = ids,
                             .pos = positions,
                             .n_seqs = n_tokens == 1 ? 1 : 2,
                             .seqs = n_tokens == 1 ? one : seqs,
                             .tables = page,
                             .n_outputs = n_tokens == 1 ? 1 : 2,
                             .out_rows = n_tokens == 1 ? hidden : outputs,
                             .n_hidden = n_tokens == 1 ? 1 : 3,
                             .hidden_rows = hidden};
}

/* Computes the expected results directly. */
static void expect(const struct two_inputs *t, const struct pn_batch *b, const float *given, const float *offsets,
                   double *mixed, double *logits, double *states, double *means)
{
    for (int r = 0; r < b->n_tokens; r++)
        for (int i = 0; i < N; i++)
            mixed[r * N + i] = (double)t->table[ids[r] * N + i] + (double)given[r * N + i];
    for (int r = 0; r < b->n_outputs; r++)
        for (int o = 0; o < N_OUT; o++) {
            double sum = 0;
            for (int i = 0; i < N; i++)
                sum += mixed[b->out_rows[r] * N + i] * (double)t->weight[o * N + i];
            logits[r * N_OUT + o] = 2 * sum + 1;
        }
    for (int r = 0; r < b->n_hidden; r++)
        for (int i = 0; i < N; i++)
            states[r * N + i] = mixed[b->hidden_rows[r] * N + i] > 0 ? mixed[b->hidden_rows[r] * N + i] : 0;
    for (int s = 0; s < b->n_seqs; s++)
        for (int i = 0; i < N; i++) {
            double sum = 0;
            int n = 0;
            for (int r = 0; r < b->n_hidden; r++)
                if (b->hidden_rows[r] >= b->seqs[s].start && b->hidden_rows[r] < b->seqs[s].start + b->seqs[s].n) {
                    sum += mixed[b->hidden_rows[r] * N + i];
                    n++;
                }
            means[s * N + i] = sum / n * (double)offsets[s * N + i];
        }
}

static void near(const float *got, const double *wanted, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        if (!((double)got[i] > wanted[i] - 1e-5 && (double)got[i] < wanted[i] + 1e-5))
            fail_msg("%s: value %d is %g, not %g", what, i, (double)got[i], wanted[i]);
}

static void run_two_inputs(const char *device, int n_threads, int n_tokens)
{
    struct two_inputs t;
    struct pantry_error err = {0};
    struct pn_device *d;
    struct pn_plan *plan;
    struct pn_program *program;
    struct pn_buffer scratch = {0};
    struct pn_rng rng = {5};
    float given[N_TOKENS * N], offsets[2 * N], mixed[N_TOKENS * N], logits[2 * N_OUT], states[3 * N], means[2 * N];
    double wanted_mixed[N_TOKENS * N], wanted_logits[2 * N_OUT], wanted_states[3 * N], wanted_means[2 * N];
    write_down(&t);
    fill(&rng, given, N_TOKENS * N);
    fill(&rng, offsets, 2 * N);
    const pn_array inputs[] = {t.offsets, t.given}, results[] = {t.logits, t.means, t.mixed, t.hidden};
    struct pn_plan_spec spec = {.inputs = inputs,
                                .n_inputs = 2,
                                .results = results,
                                .n_results = 4,
                                .max_rows = {0, N_TOKENS, 2, 3, 2},
                                .max_pages = 2};
    if (pn_device_open(device, &(struct pn_device_options){n_threads, NULL}, &d, &err) ||
        pn_device_plan(d, &t.graph, spec, &plan, &err) || d->class->compile(d, plan, &program, &err) ||
        pn_scratch_fit(&scratch, d, d->class->scratch_bytes(program), &err))
        fail_msg("%s", err.text);
    struct pn_batch b = batch_of(n_tokens);
    b.inputs = (const void *[]){offsets, given};
    b.results = (void *[]){logits, means, mixed, states};
    for (int round = 0; round < 2; round++) { /* the second run uses memory left by the first */
        memset(logits, 0xff, sizeof logits);
        memset(states, 0xff, sizeof states);
        memset(means, 0xff, sizeof means);
        memset(mixed, 0xff, sizeof mixed);
        if (pn_device_run(d, program, &scratch, &b, &err))
            fail_msg("%s", err.text);
        expect(&t, &b, given, offsets, wanted_mixed, wanted_logits, wanted_states, wanted_means);
        near(mixed, wanted_mixed, n_tokens * N, "the sum of embedding and input");
        near(logits, wanted_logits, b.n_outputs * N_OUT, "logits");
        near(states, wanted_states, b.n_hidden * N, "hidden states");
        near(means, wanted_means, b.n_seqs * N, "means");
        fill(&rng, given, N_TOKENS * N);
    }
    d->class->program_free(d, program);
    d->class->buffer_free(d, &scratch);
    pn_plan_free(plan);
    pn_device_close(d);
    pn_graph_free(&t.graph);
}

static void two_inputs_and_results_of_all_kinds_of_rows(void **state)
{
    (void)state;
    for (int n_tokens = 1; n_tokens <= N_TOKENS; n_tokens += N_TOKENS - 1) {
        run_two_inputs("ref", 1, n_tokens);
        run_two_inputs("cpu", 1, n_tokens);
        run_two_inputs("cpu", 3, n_tokens);
    }
}

/* A product, its activation and the gated product are results themselves: none is fused away. */
static void results_are_not_fused_away(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct two_inputs t;
        struct pantry_error err = {0};
        struct pn_device *d;
        struct pn_plan *plan = NULL;
        struct pn_program *program = NULL;
        struct pn_buffer scratch = {0};
        float out[3][N_OUT];
        memset(out, 0xff, sizeof out); /* clear the results of the previous device */
        write_down(&t);
        struct pn_graph *g = &t.graph;
        pn_array x = pn_embed(g, pn_weight_leaf(g, &t.table_w)), w = pn_weight_leaf(g, &t.weight_w);
        pn_array gate = pn_matmul(g, x, w), act = pn_act(g, gate, PN_ACT_FN_RELU);
        const pn_array results[] = {pn_mul(g, act, pn_matmul(g, x, w)), act, gate};
        struct pn_plan_spec spec = {.results = results, .n_results = 3, .max_rows = {0, 1, 1, 1, 1}};
        if (pn_device_open(i ? "cpu" : "ref", &(struct pn_device_options){2, NULL}, &d, &err) ||
            pn_device_plan(d, g, spec, &plan, &err) || d->class->compile(d, plan, &program, &err) ||
            pn_scratch_fit(&scratch, d, d->class->scratch_bytes(program), &err))
            fail_msg("%s", err.text);
        struct pn_batch b = batch_of(1);
        b.results = (void *[]){out[0], out[1], out[2]};
        if (pn_device_run(d, program, &scratch, &b, &err))
            fail_msg("%s", err.text);
        for (int o = 0; o < N_OUT; o++) {
            double sum = 0;
            for (int j = 0; j < N; j++)
                sum += (double)t.table[ids[0] * N + j] * (double)t.weight[o * N + j];
            double relu = sum > 0 ? sum : 0, wanted[] = {relu * sum, relu, sum};
            for (int r = 0; r < 3; r++)
                near(&out[r][o], &wanted[r], 1, "a result that others read");
        }
        d->class->program_free(d, program);
        d->class->buffer_free(d, &scratch);
        pn_plan_free(plan);
        pn_device_close(d);
        pn_graph_free(g);
    }
}

/* ---- errors ---- */

static bool has_no_act(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    (void)device;
    (void)graph;
    return node->op != PN_OP_ACT;
}

static void want_refusal(const struct pn_graph *g, const struct pn_plan_spec *spec, pantry_status status,
                         const char *text)
{
    struct pantry_error err = {0};
    struct pn_plan *plan;
    assert_int_equal(pn_plan_new(g, spec, &plan, &err), status);
    assert_string_equal(err.text, text);
    assert_null(plan);
}

static void invalid_specs_are_errors(void **state)
{
    (void)state;
    struct two_inputs t;
    write_down(&t);
    const pn_array inputs[] = {t.given, t.offsets, t.given}, results[] = {t.logits, t.means, t.logits};
    struct pn_plan_spec good = {.inputs = inputs,
                                .n_inputs = 2,
                                .results = results,
                                .n_results = 2,
                                .max_rows = {0, 4, 4, 4, 4}},
                        bad = good;
    struct pn_plan *plan;
    assert_int_equal(pn_plan_new(&t.graph, &good, &plan, NULL), PANTRY_OK);
    pn_plan_free(plan);
    bad.n_inputs = 1;
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "the plan needs the input \"offsets\", which is not given");
    bad = good, bad.n_results = 1, bad.n_inputs = 1; /* but logits alone do not need it */
    assert_int_equal(pn_plan_new(&t.graph, &bad, &plan, NULL), PANTRY_OK);
    pn_plan_free(plan);
    bad = good, bad.n_inputs = 3;
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "input 2 of a plan is not an input of the graph, or a duplicate");
    bad = good, bad.inputs = results;
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "input 0 of a plan is not an input of the graph, or a duplicate");
    const pn_array wrong[] = {t.offsets, PN_NONE, results[0], t.given};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bad = good, bad.given = &wrong[i], bad.n_given = 1;
        want_refusal(&t.graph, &bad, PANTRY_INTERNAL,
                     "given array 0 of a plan is a leaf, a view, a result or a duplicate");
    }
    bad = good, bad.n_results = 3;
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "results 0 and 2 of a plan are the same array");
    bad = good, bad.n_results = 0;
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "a plan without results");
    bad = good, bad.results = inputs;
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "result 0 of a plan must be computed");
    bad = good, bad.results = (pn_array[]){PN_NONE, t.means};
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "result 0 of a plan must be computed");
    bad = good, bad.max_rows[PN_ROWS_SEQS] = 0;
    want_refusal(&t.graph, &bad, PANTRY_INTERNAL, "the plan has an array of sequences, but allows none");
    bad = good, bad.results = (pn_array[]){t.hidden}, bad.n_results = 1, bad.can = has_no_act,
    bad.device_name = "a device";
    want_refusal(&t.graph, &bad, PANTRY_UNSUPPORTED, "a device: operation act is not supported");
    bad.results = &t.logits; /* unneeded operations are not checked */
    assert_int_equal(pn_plan_new(&t.graph, &bad, &plan, NULL), PANTRY_OK);
    pn_plan_free(plan);
    bad = good, bad.max_rows[PN_ROWS_TOKENS] = INT32_MAX;
    assert_int_equal(pn_plan_new(&t.graph, &bad, &plan, NULL), PANTRY_OK); /* large, but within the address space */
    assert_true(plan->memory >= (size_t)INT32_MAX * N * sizeof(float));
    pn_plan_free(plan);
    pn_graph_free(&t.graph);
}

static void steps_beyond_the_limits_of_a_plan(void **state)
{
    (void)state;
    struct two_inputs t;
    write_down(&t);
    const pn_array inputs[] = {t.given, t.offsets}, results[] = {t.logits, t.means};
    struct pn_plan_spec spec = {.inputs = inputs,
                                .n_inputs = 2,
                                .results = results,
                                .n_results = 2,
                                .max_rows = {0, N_TOKENS, 2, 3, 2},
                                .max_pages = 2};
    struct pn_plan *plan;
    struct pantry_error err;
    assert_int_equal(pn_plan_new(&t.graph, &spec, &plan, NULL), PANTRY_OK);
    struct pn_batch good = batch_of(N_TOKENS), b = good;
    assert_int_equal(pn_plan_check(plan, &good, &err), PANTRY_OK);
    b.n_tokens = N_TOKENS + 1;
    assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
    assert_string_equal(err.text, "a step of 7 tokens does not fit a plan for 6");
    b = good, b.n_outputs = 3;
    assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
    b = good, b.n_hidden = 4;
    assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
    b = good, b.n_hidden = -1;
    assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
    b = good, b.n_seqs = 3;
    assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
    static const int32_t lists[][2] = {{3, 6}, {-1, 3}, {3, 3}, {5, 3}};
    for (int i = 0; i < 4; i++) {
        b = good, b.out_rows = lists[i];
        assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
        assert_string_equal(err.text, "the outputs of a step must rise and be among its 6 tokens");
        b = good, b.hidden_rows = lists[i], b.n_hidden = 2;
        assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
        assert_string_equal(err.text, "the hidden states of a step must rise and be among its 6 tokens");
    }
    static const struct pn_batch_seq wrong[][2] = {{{.start = 0, .n = 4}, {.start = 3, .n = 3}},
                                                   {{.start = 0, .n = 4}, {.start = 4, .n = 3}},
                                                   {{.start = 0, .n = 4}, {.start = 4, .n = 0}},
                                                   {{.start = 4, .n = 2}, {.start = 0, .n = 4}},
                                                   {{.start = 0, .n = 4, .past = -1}, {.start = 4, .n = 2}}};
    for (int i = 0; i < 5; i++) {
        b = good, b.seqs = wrong[i];
        assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
    }
    static const struct pn_batch_seq long_seqs[] = {{.start = 0, .n = 4, .past = PN_PAGE_TOKENS - 4},
                                                    {.start = 4, .n = 2, .past = PN_PAGE_TOKENS - 1}};
    b = good, b.seqs = long_seqs;
    assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_INTERNAL);
    assert_string_equal(err.text, "a step of 3 pages does not fit a plan for 2");
    b.n_seqs = 1;
    assert_int_equal(pn_plan_check(plan, &b, &err), PANTRY_OK);
    pn_plan_free(plan);
    pn_graph_free(&t.graph);
}

/* A device rejects such a step too, instead of writing out of bounds. */
static void devices_check_steps(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct two_inputs t;
        struct pantry_error err = {0};
        struct pn_device *d;
        struct pn_plan *plan = NULL;
        struct pn_program *program = NULL;
        struct pn_buffer scratch = {0};
        float out[N_TOKENS * N];
        write_down(&t);
        struct pn_plan_spec spec = {
            .inputs = &t.given, .n_inputs = 1, .results = &t.mixed, .n_results = 1, .max_rows = {0, 4, 2, 3, 2}};
        if (pn_device_open(i ? "cpu" : "ref", &(struct pn_device_options){2, NULL}, &d, &err) ||
            pn_device_plan(d, &t.graph, spec, &plan, &err) || d->class->compile(d, plan, &program, &err) ||
            pn_scratch_fit(&scratch, d, d->class->scratch_bytes(program), &err))
            fail_msg("%s", err.text);
        struct pn_batch b = batch_of(N_TOKENS);
        b.inputs = (const void *[]){out};
        b.results = (void *[]){out};
        assert_int_equal(pn_device_run(d, program, &scratch, &b, &err), PANTRY_INTERNAL);
        assert_string_equal(err.text, "a step of 6 tokens does not fit a plan for 4");
        d->class->program_free(d, program);
        d->class->buffer_free(d, &scratch);
        pn_plan_free(plan);
        pn_device_close(d);
        pn_graph_free(&t.graph);
    }
}

/* ---- how long planning takes ---- */

/* A decoder's layers: the work per layer does not depend on their number. */
static pn_array layers(struct pn_graph *g, int n, const struct pn_weight *w)
{
    pn_array x = pn_embed(g, pn_weight_leaf(g, w)), weight = pn_weight_leaf(g, w);
    struct pn_attention_params p = {.n_head_kv = 2, .dim_k = N / 2, .dim_v = N / 2, .scale = 1, .causal = true};
    for (int i = 0; i < n; i++) {
        pn_array h = pn_rms_norm(g, x, PN_NONE, 1e-5f), heads[3];
        for (int k = 0; k < 3; k++)
            heads[k] = pn_reshape(g, pn_matmul(g, h, weight), 2, N / 2);
        pn_array y = pn_attention(g, heads[0], pn_cache_write(g, heads[1], heads[2], &p), PN_NONE, &p);
        x = pn_add(g, x, pn_matmul(g, y, weight));
        h = pn_rms_norm(g, x, PN_NONE, 1e-5f);
        pn_array gate = pn_act(g, pn_matmul(g, h, weight), PN_ACT_FN_SILU);
        x = pn_add(g, x, pn_matmul(g, pn_mul(g, gate, pn_matmul(g, h, weight)), weight));
    }
    return pn_matmul(g, x, weight);
}

/* One array with n readers, each with its own product: the work lists grow with n. */
static pn_array fan(struct pn_graph *g, int n, const struct pn_weight *w)
{
    pn_array x = pn_embed(g, pn_weight_leaf(g, w)), weight = pn_weight_leaf(g, w), sum = x;
    for (int i = 0; i < n; i++)
        sum = pn_add(g, sum, i % 2 ? pn_matmul(g, x, weight) : pn_matmul(g, pn_slice(g, x, 0, N), weight));
    return sum;
}

static uint64_t work_of(pn_array (*graph)(struct pn_graph *, int, const struct pn_weight *), int n, bool fuse,
                        int *n_phases)
{
    struct pn_graph g;
    struct pantry_error err;
    struct pn_plan *plan;
    float values[N * N] = {0};
    struct pn_weight w = pn_weight_plain("weight", PN_TYPE_F32, 1, N, N, values);
    pn_graph_init(&g);
    pn_array result = graph(&g, n, &w);
    struct pn_plan_spec spec = {.results = &result, .n_results = 1, .max_rows = {0, 1, 1, 1, 1}, .fuse = fuse};
    if (pn_plan_new(&g, &spec, &plan, &err))
        fail_msg("%s", err.text);
    uint64_t work = plan->work;
    *n_phases = plan->n_phases;
    pn_plan_free(plan);
    pn_graph_free(&g);
    return work;
}

static void planning_is_linear(void **state)
{
    (void)state;
    int n_phases;
    for (int fuse = 0; fuse < 2; fuse++) {
        uint64_t once = work_of(layers, 500, fuse, &n_phases), twice = work_of(layers, 1000, fuse, &n_phases);
        if (twice < once * 19 / 10 || twice > once * 21 / 10)
            fail_msg("%llu steps for 500 layers, %llu for 1000", (unsigned long long)once, (unsigned long long)twice);
        if (fuse)
            assert_int_equal(n_phases, 5 * 1000 + 1);
        assert_true(twice < 1000 * 16 * 20); /* 16 nodes per layer, each visited a few times */
        once = work_of(fan, 1000, fuse, &n_phases), twice = work_of(fan, 2000, fuse, &n_phases);
        if (twice > once * 5 / 2) /* a heap's logarithm on top */
            fail_msg("%llu steps for 1000 readers, %llu for 2000", (unsigned long long)once, (unsigned long long)twice);
    }
}

static void graphs_are_bounded(void **state)
{
    (void)state;
    struct pn_graph g;
    struct pantry_error err;
    float values[4] = {0};
    struct pn_weight w = pn_weight_plain("weight", PN_TYPE_F32, 1, 1, 4, values);
    pn_graph_init(&g);
    for (int i = 0; i < PN_MAX_NODES; i++)
        pn_weight_leaf(&g, &w);
    assert_int_equal(pn_graph_status(&g, &err), PANTRY_OK);
    assert_int_equal(pn_weight_leaf(&g, &w), PN_NONE);
    assert_int_equal(pn_graph_status(&g, &err), PANTRY_LIMIT);
    pn_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_inputs_and_results_of_all_kinds_of_rows),
        cmocka_unit_test(results_are_not_fused_away),
        cmocka_unit_test(invalid_specs_are_errors),
        cmocka_unit_test(steps_beyond_the_limits_of_a_plan),
        cmocka_unit_test(devices_check_steps),
        cmocka_unit_test(planning_is_linear),
        cmocka_unit_test(graphs_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
