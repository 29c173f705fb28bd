/* Gradients against central differences, on random shapes: each operation's rule on the reference device, and the
 * other devices against it.
 *
 * An operand of an operation is input * w + b with vectors w and b that are trained, so that their gradients show those
 * of the operand. The loss is the sum over random numbers times the result, summed in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"
#include "op_run.h"
#include "tensor/grad.h"

enum { MAX_LEAVES = 16, MAX_WIDTH = 400, N_SEQS = 2, MAX_TOKENS = 12, PROBES = 5 };

struct check {
    struct op_run o;
    int lengths[N_SEQS], width_used;
    pn_array leaf[MAX_LEAVES];
    int n_leaves;
    int32_t ids[MAX_TOKENS], pos[MAX_TOKENS], rows[MAX_TOKENS];
    struct pn_batch_seq seqs[N_SEQS];
    struct pn_batch b;
    float targets[MAX_TOKENS];
    pn_array targets_leaf;
    long probed, skipped;
};

static int n_shapes; /* checked so far */

static int pick(struct check *c, int low, int high)
{
    return low + (int)(pn_rng_u64(&c->o.rng) % (uint64_t)(high - low + 1));
}

static void begin(struct check *c, uint64_t seed)
{
    memset(c, 0, sizeof *c);
    c->lengths[0] = 2 + (int)(seed % 5);
    c->lengths[1] = 1 + (int)(seed / 5 % 5);
    op_run_init(&c->o, 7000 + seed, MAX_WIDTH, c->lengths, N_SEQS, 0);
    int n = 0;
    for (int s = 0; s < N_SEQS; s++) {
        c->seqs[s] = (struct pn_batch_seq){.start = n, .n = c->lengths[s], .n_context = c->lengths[s]};
        for (int i = 0; i < c->lengths[s]; i++, n++) {
            c->ids[n] = n;
            c->pos[n] = i;
        }
    }
    c->b = (struct pn_batch){
        .n_tokens = n, .ids = c->ids, .pos = c->pos, .n_seqs = N_SEQS, .seqs = c->seqs, .out_rows = c->rows};
    for (int i = 0; i < n; i += 1 + i % 2)
        c->rows[c->b.n_outputs++] = i;
    c->targets_leaf = PN_NONE;
}

static void end(struct check *c)
{
    op_run_free(&c->o);
}

/* A trained float32 weight. */
static pn_array weight(struct check *c, int n_mat, int n_rows, int n_cols, float low, float high)
{
    float *decoded;
    pn_array a = op_run_weight(&c->o, PN_TYPE_F32, (const int64_t[]){n_mat, n_rows, n_cols}, low, high, &decoded);
    free(decoded);
    assert_true(c->n_leaves < MAX_LEAVES);
    return c->leaf[c->n_leaves++] = a;
}

/* An operand of n1 x n2 values per token that depends on trained numbers. */
static pn_array operand(struct check *c, int n1, int n2)
{
    struct pn_graph *g = &c->o.graph;
    assert_true(c->width_used + n1 * n2 <= MAX_WIDTH);
    pn_array x = pn_slice(g, c->o.x, c->width_used, n1 * n2);
    c->width_used += n1 * n2;
    x = pn_add(g, pn_mul(g, x, weight(c, 1, 1, n1 * n2, 0.5f, 1.5f)), weight(c, 1, 1, n1 * n2, -1, 1));
    return pn_reshape(g, x, n1, n2);
}

/* Computes `results` on a device with the seeds and targets as inputs. */
static void compute(struct check *c, const struct op_device *d, const pn_array *results, int n, pn_array seed,
                    const float *seeds, float **out)
{
    struct pantry_error err = {0};
    struct pn_device *device;
    struct pn_plan *plan = NULL;
    struct pn_program *program = NULL;
    struct pn_buffer scratch = {0};
    const struct pn_device_options options = {.n_threads = d->n_threads,
                                              .isa = d->isa && strcmp(d->isa, "mixed") == 0 ? NULL : d->isa};
    pn_array inputs[2] = {seed, c->targets_leaf};
    const void *given[2] = {seeds, c->targets};
    struct pn_plan_spec spec = {.inputs = inputs,
                                .n_inputs = c->targets_leaf == PN_NONE ? 1 : 2,
                                .results = results,
                                .n_results = n,
                                .max_rows = {0, MAX_TOKENS, MAX_TOKENS, 1, N_SEQS, 1}};
    if (pn_device_open(d->name, &options, &device, &err) || pn_device_plan(device, &c->o.graph, spec, &plan, &err) ||
        device->class->compile(device, plan, &program, &err) ||
        pn_scratch_fit(&scratch, device, device->class->scratch_bytes(program), &err))
        fail_msg("%s", err.text);
    device->class->fill(device, &scratch, 0, 0xff, scratch.size);
    c->b.inputs = given;
    c->b.results = (void *const *)out;
    if (pn_device_run(device, program, &scratch, &c->b, &err))
        fail_msg("%s", err.text);
    device->class->program_free(device, program);
    device->class->buffer_free(device, &scratch);
    pn_plan_free(plan);
    pn_device_close(device);
}

static size_t values_of(const struct check *c, pn_array a)
{
    const struct pn_node *n = pn_node(&c->o.graph, a);
    return (size_t)pn_batch_n_rows(&c->b, n->rows) * (size_t)n->n1 * (size_t)n->n2;
}

static double loss(struct check *c, pn_array y, pn_array seed, const float *seeds)
{
    size_t n = values_of(c, y);
    float *out[1] = {malloc((n + 1) * sizeof(float))};
    double sum = 0;
    assert_non_null(out[0]);
    compute(c, &op_devices[0], &y, 1, seed, seeds, out);
    for (size_t i = 0; i < n; i++)
        sum += (double)seeds[i] * (double)out[0][i];
    free(out[0]);
    return sum;
}

/* The slope along one number by differences of fourth order. *kinked: two step lengths disagree, or the slopes on both
 * sides differ by as much for half the step, so there is a kink at or near this number. */
static double slope(struct check *c, pn_array y, pn_array seed, const float *seeds, float *at, bool *kinked)
{
    double estimates[2], bends[2], middle = loss(c, y, seed, seeds);
    float was = *at;
    for (int pass = 0; pass < 2; pass++) {
        double f[4];
        float h = pass ? 0.01f : 0.02f, steps[4] = {-2 * h, -h, h, 2 * h};
        for (int i = 0; i < 4; i++) {
            *at = was + steps[i];
            f[i] = loss(c, y, seed, seeds);
        }
        estimates[pass] = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * (double)h);
        bends[pass] = fabs(f[2] - 2 * middle + f[1]) / (double)h;
    }
    *at = was;
    *kinked = fabs(estimates[0] - estimates[1]) > 2e-3 * (1 + fabs(estimates[0])) ||
              (bends[1] > 0.7 * bends[0] && bends[1] > 2e-3);
    return estimates[1];
}

static float *number_of(const struct check *c, int leaf, size_t i)
{
    return (float *)(uintptr_t)pn_node(&c->o.graph, c->leaf[leaf])->weight->plane[0].data + i;
}

static void probe(struct check *c, const char *what, pn_array y, pn_array seed, const float *seeds, int leaf,
                  const float *grad, size_t n)
{
    double largest = 1e-3;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)grad[i]));
    for (int p = 0; p < PROBES; p++) {
        bool kinked;
        size_t i = (size_t)(pn_rng_u64(&c->o.rng) % n);
        double want = slope(c, y, seed, seeds, number_of(c, leaf, i), &kinked);
        c->probed++;
        c->skipped += kinked;
        if (!kinked && !(fabs((double)grad[i] - want) <= 3e-3 * fmax(largest, fabs(want)) + 1e-3))
            fail_msg("%s: the gradient of number %zu of leaf %d is %.7g, but differences give %.7g", what, i, leaf,
                     (double)grad[i], want);
    }
}

/* NMSE; numbers near 0 count as 0.03, since some gradients cancel out (a bias of all keys changes no probability). */
static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0, all = 1e-3 * (double)n;
    for (size_t i = 0; i < n; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        all += (double)b[i] * (double)b[i];
    }
    return sum / all;
}

/* Checks the gradients of everything that `y` depends on. */
static void check(struct check *c, pn_array y, const char *what)
{
    struct pn_graph *g = &c->o.graph;
    struct pantry_error err = {0};
    if (pn_graph_status(g, &err))
        fail_msg("%s: %s", what, err.text);
    struct pn_node n = *pn_node(g, y);
    pn_array seed = pn_input(g, "seed", n.rows, n.n1, n.n2), results[MAX_LEAVES];
    bool *trained = calloc(g->len, sizeof *trained);
    pn_array *grads = calloc(g->len, sizeof *grads);
    float *seeds = malloc((values_of(c, y) + 1) * sizeof *seeds), *out[MAX_LEAVES], *other[MAX_LEAVES];
    assert_true(trained && grads && seeds);
    for (size_t i = 0; i < values_of(c, y); i++)
        seeds[i] = 2 * pn_rng_float(&c->o.rng) - 1;
    for (size_t i = 1; n.op == PN_OP_CROSS_ENTROPY && i < values_of(c, y); i += 2)
        seeds[i] = 0; /* the second number is for the gradient only */
    for (int i = 0; i < c->n_leaves; i++)
        trained[c->leaf[i]] = true;
    /* all nodes are in layer 0: every second time it is computed again */
    if (pn_grad_append(g, y, seed, n_shapes % 2, trained, grads, &err))
        fail_msg("%s: %s", what, err.text);
    for (int i = 0; i < c->n_leaves; i++) {
        results[i] = grads[c->leaf[i]];
        assert_int_not_equal(results[i], PN_NONE);
        out[i] = malloc((values_of(c, results[i]) + 1) * sizeof(float));
        other[i] = malloc((values_of(c, results[i]) + 1) * sizeof(float));
        assert_true(out[i] && other[i]);
    }
    compute(c, &op_devices[0], results, c->n_leaves, seed, seeds, out);
    for (int d = 1; d < op_n_devices; d++) {
        if (op_is_gpu(&op_devices[d]))
            continue; /* no kernels compute gradients */
        compute(c, &op_devices[d], results, c->n_leaves, seed, seeds, other);
        for (int i = 0; i < c->n_leaves; i++)
            if (!(distance(other[i], out[i], values_of(c, results[i])) < 1e-8))
                fail_msg("%s: leaf %d on device %d (%s): NMSE %g", what, i, d, op_devices[d].name,
                         distance(other[i], out[i], values_of(c, results[i])));
    }
    for (int i = 0; i < c->n_leaves; i++) {
        probe(c, what, y, seed, seeds, i, out[i], values_of(c, results[i]));
        free(out[i]);
        free(other[i]);
    }
    n_shapes++;
    free(trained);
    free(grads);
    free(seeds);
}

/* ---- cases: each makes an array that depends on trained numbers ---- */

typedef pn_array case_fn(struct check *c, uint64_t round);

static pn_array products(struct check *c, uint64_t round)
{
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0, PN_TYPE_Q4_K};
    int n = round % 4 == 3 ? 256 : round % 4 == 2 ? 64 : pick(c, 1, 60), m = pick(c, 1, 30);
    pn_array x = operand(c, 1, n), y;
    if (round % 2) { /* a base with another type, which is not trained */
        float *decoded;
        y = op_run_weight(&c->o, types[round % 4], (const int64_t[]){1, m, n}, -1, 1, &decoded);
        free(decoded);
    } else {
        y = weight(c, 1, m, n, -1, 1);
    }
    return pn_matmul(&c->o.graph, x, y);
}

static pn_array sums(struct check *c, uint64_t round)
{
    struct pn_graph *g = &c->o.graph;
    int n1 = pick(c, 1, 4), n2 = pick(c, 1, 20);
    pn_array x = operand(c, n1, n2);
    pn_array y = round % 3 == 0 ? operand(c, n1, n2) : weight(c, 1, 1, round % 3 == 1 ? n2 : n1 * n2, -1, 1);
    return pn_scale(g, round % 2 ? pn_mul(g, x, y) : pn_add(g, x, y), 0.7f, 0.3f);
}

static pn_array heads(struct check *c, uint64_t round)
{
    int n1 = pick(c, 1, 4), n2 = pick(c, 1, 12);
    return pn_mul_heads(&c->o.graph, operand(c, n1, n2), round % 2 ? operand(c, 1, n1) : operand(c, n1, 1));
}

static pn_array activations(struct check *c, uint64_t round)
{
    return pn_act(&c->o.graph, operand(c, pick(c, 1, 3), pick(c, 1, 20)), (enum pn_act_fn)(round % PN_ACT_FN_COUNT));
}

static pn_array bounds(struct check *c, uint64_t round)
{
    pn_array x = operand(c, pick(c, 1, 3), pick(c, 2, 20));
    return round % 2 ? pn_softcap(&c->o.graph, x, 0.8f) : pn_clamp(&c->o.graph, x, -0.5f, 0.7f);
}

/* Keys are whole numbers, taken from the input; a row whose first one is negative stays. */
static pn_array dropouts(struct check *c, uint64_t round)
{
    struct pn_graph *g = &c->o.graph;
    pn_array keys = pn_scale(g, pn_slice(g, c->o.x, MAX_WIDTH - 2, 2), 1000, round % 4 ? 2000 : 0);
    return pn_dropout(g, operand(c, pick(c, 1, 3), pick(c, 1, 20)), keys, 0.1f * (float)(round % 8), (uint32_t)round);
}

static pn_array views(struct check *c, uint64_t round)
{
    struct pn_graph *g = &c->o.graph;
    int n1 = pick(c, 1, 3), n2 = pick(c, 4, 12);
    pn_array x = operand(c, n1, n2), part = pn_slice(g, x, 1, 2);
    pn_array joined = pn_concat(g, x, round % 2 ? part : operand(c, 1, 3));
    return pn_add(g, joined, pn_scale(g, pn_reshape(g, pn_scale(g, joined, 1, 0), n1, pn_node(g, joined)->n2), 2, 0));
}

static pn_array norms(struct check *c, uint64_t round)
{
    struct pn_graph *g = &c->o.graph;
    int n1 = pick(c, 1, 3), n2 = pick(c, 2, 20), n = round % 3 == 0 ? n2 : n1 * n2;
    pn_array x = operand(c, n1, n2), w = round % 3 == 2 ? PN_NONE : weight(c, 1, 1, n, 0.5f, 1.5f);
    if (round % 2)
        return pn_rms_norm(g, x, w, 1e-5f);
    return pn_layer_norm(g, x, w, w == PN_NONE ? w : weight(c, 1, 1, n, -1, 1), 1e-5f);
}

static pn_array cutoffs(struct check *c, uint64_t round)
{
    return pn_cutoff(&c->o.graph, operand(c, 1, pick(c, 6, 30)), round % 2 ? 0.3f : -0.4f);
}

static pn_array rotations(struct check *c, uint64_t round)
{
    static const float inv_freq[] = {1, 0.5f, 0.1f, 0.02f};
    struct pn_graph *g = &c->o.graph;
    int n_rot = 2 * pick(c, 1, 4);
    pn_array x = operand(c, pick(c, 1, 3), n_rot + 2 * pick(c, 0, 2));
    pn_array y = pn_rope(g, x, pn_rope_table(g, inv_freq, NULL, 0, n_rot, 1.1f, NULL),
                         round % 2 ? PN_ROPE_PAIRS : PN_ROPE_HALVES);
    return round % 4 < 2 ? y : pn_pos_scale(g, y, 0.3f, 2, 1);
}

static pn_array chosen_rows(struct check *c, uint64_t round)
{
    struct pn_graph *g = &c->o.graph;
    pn_array x = operand(c, pick(c, 1, 3), pick(c, 1, 9));
    (void)round;
    return pn_act(g, pn_output_rows(g, x), PN_ACT_FN_TANH);
}

static pn_array experts(struct check *c, uint64_t round)
{
    struct pn_graph *g = &c->o.graph;
    int n_expert = pick(c, 3, 6), n_used = pick(c, 1, 3), n = pick(c, 2, 10), m = pick(c, 2, 10);
    struct pn_route_params params = {.gate = (enum pn_gate)(round % 3),
                                     .n_expert = n_expert,
                                     .n_used = n_used,
                                     .renormalize = round / 3 % 2,
                                     .scale = 1.3f};
    pn_array route = pn_route(g, pn_scale(g, operand(c, 1, n_expert), 3, 0), PN_NONE, &params);
    pn_array y = pn_matmul_each(g, operand(c, 1, n), weight(c, n_expert, m, n, -1, 1), route);
    if (round % 2)
        y = pn_each_bias(g, y, route, weight(c, 1, n_expert, m, -1, 1));
    y = pn_act(g, y, PN_ACT_FN_SILU);
    if (round % 5 == 4)
        y = pn_each_scale(g, y, route, PN_NONE);
    y = pn_matmul_each(g, y, weight(c, n_expert, n, m, -1, 1), route);
    return pn_each_sum(g, y, round % 5 == 4 ? PN_NONE : route);
}

static pn_array attentions(struct check *c, uint64_t round)
{
    int n_kv = pick(c, 1, 2), group = pick(c, 1, 3), dim_k = pick(c, 2, 8), dim_v = pick(c, 2, 8);
    struct pn_attention_params params = {.scale = 0.6f,
                                         .softcap = round % 3 == 1 ? 1.5f : 0,
                                         .alibi = round % 7 == 3 ? 4 : 0,
                                         .window = round % 4 == 2 ? 3 : 0,
                                         .window_kind = round % 8 == 2 ? PN_WINDOW_CHUNKED : PN_WINDOW_SLIDING,
                                         .causal = round % 5 != 4};
    pn_array q = operand(c, n_kv * group, dim_k), k = operand(c, n_kv, dim_k), v = operand(c, n_kv, dim_v);
    pn_array sinks = round % 2 ? weight(c, 1, 1, n_kv * group, -1, 1) : PN_NONE;
    return pn_attend(&c->o.graph, q, k, v, sinks, PN_NONE, &params);
}

static pn_array losses(struct check *c, uint64_t round)
{
    struct pn_graph *g = &c->o.graph;
    int n = round % 2 ? 64 : pick(c, 2, 20), n_vocab = pick(c, 2, 150);
    float *decoded;
    pn_array x = pn_output_rows(g, operand(c, 1, n)), bias = PN_NONE;
    pn_array w =
        op_run_weight(&c->o, round % 2 ? PN_TYPE_Q8_0 : PN_TYPE_F32, (const int64_t[]){1, n_vocab, n}, -1, 1, &decoded);
    free(decoded);
    if (round % 3 == 1) {
        bias = op_run_weight(&c->o, PN_TYPE_F32, (const int64_t[]){1, 1, n_vocab}, -1, 1, &decoded);
        free(decoded);
    }
    for (int i = 0; i < MAX_TOKENS; i++)
        c->targets[i] = (float)pick(c, 0, n_vocab - 1);
    c->targets_leaf = pn_input(g, "targets", PN_ROWS_OUTPUTS, 1, 1);
    return pn_cross_entropy(g, x, w, bias, c->targets_leaf, 0.7f, round % 4 > 1 ? 2.5f : 0);
}

static const struct {
    const char *name;
    case_fn *make;
    int rounds;
} cases[] = {{"matmul", products, 20},      {"add and mul", sums, 18},         {"mul_heads", heads, 12},
             {"act", activations, 30},      {"softcap and clamp", bounds, 16}, {"views and concat", views, 14},
             {"norms", norms, 18},          {"cutoff", cutoffs, 10},           {"rope and pos_scale", rotations, 16},
             {"rows", chosen_rows, 8},      {"experts", experts, 24},          {"attend", attentions, 30},
             {"cross_entropy", losses, 20}, {"dropout", dropouts, 16}};

static void gradients_equal_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        long probed = 0, skipped = 0;
        for (int round = 0; round < cases[i].rounds; round++) {
            struct check c;
            begin(&c, (uint64_t)(i * 100 + (size_t)round));
            check(&c, cases[i].make(&c, (uint64_t)round), cases[i].name);
            end(&c);
            probed += c.probed;
            skipped += c.skipped;
        }
        if (skipped * 3 > probed)
            fail_msg("%s: %ld of %ld probes are at kinks", cases[i].name, skipped, probed);
    }
    assert_true(n_shapes >= 200);
}

/* ---- refusals ---- */

static void names_what_has_no_rule(void **state)
{
    (void)state;
    struct check c;
    struct pantry_error err = {0};
    begin(&c, 1);
    struct pn_graph *g = &c.o.graph;
    pn_array y = pn_match(g, operand(&c, 1, 4), operand(&c, 1, 4));
    pn_array seed = pn_input(g, "seed", PN_ROWS_TOKENS, 1, 4);
    bool *trained = calloc(g->len, sizeof *trained);
    pn_array *grads = calloc(g->len, sizeof *grads);
    assert_true(trained && grads);
    assert_int_equal(pn_grad_append(g, y, seed, 0, trained, grads, &err), PANTRY_INVALID);
    trained[c.leaf[0]] = true;
    assert_int_equal(pn_grad_append(g, y, seed, 0, trained, grads, &err), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(err.text, "match"));
    free(trained);
    free(grads);
    end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_equal_differences),
        cmocka_unit_test(names_what_has_no_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
