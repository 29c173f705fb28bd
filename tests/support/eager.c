/* Eager evaluation of graphs: see eager.h. */
#include "eager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

static int push(struct eager *e, pn_array array, bool outputs, int n1, int n2)
{
    assert_true(e->n < EAGER_MAX);
    if (array == PN_NONE)
        fail_msg("%s", e->run.graph.error.text);
    size_t n = (size_t)e->run.n_rows * (size_t)n1 * (size_t)n2;
    double *v = calloc(n, sizeof *v);
    assert_non_null(v);
    e->values[e->n] = (struct eager_value){array, pn_node(&e->run.graph, array)->op, outputs, n1, n2, v};
    return e->n++;
}

static int push_like(struct eager *e, pn_array array, const struct eager_value *x)
{
    return push(e, array, x->outputs, x->n1, x->n2);
}

/* Value i of head h in row r. */
static double *at(const struct eager_value *x, int r, int h, int i)
{
    return &x->v[((size_t)r * (size_t)x->n1 + (size_t)h) * (size_t)x->n2 + (size_t)i];
}

static size_t count(const struct eager *e, const struct eager_value *x)
{
    return (size_t)e->run.n_rows * (size_t)x->n1 * (size_t)x->n2;
}

void eager_init(struct eager *e, uint64_t seed, int width, const int *lengths, int n_lengths)
{
    e->n = 0;
    op_run_init(&e->run, seed, width, lengths, n_lengths, 0);
    push(e, e->run.x, false, 1, width);
    for (size_t i = 0; i < count(e, &e->values[0]); i++)
        e->values[0].v[i] = (double)e->run.input[i];
}

void eager_free(struct eager *e)
{
    for (int i = 0; i < e->n; i++)
        free(e->values[i].v);
    op_run_free(&e->run);
}

int eager_matmul(struct eager *e, int x, int n_out)
{
    const struct eager_value *a = &e->values[x];
    int k = a->n1 * a->n2;
    float *w;
    pn_type type = pn_rng_float(&e->run.rng) < 0.5f ? PN_TYPE_F32 : PN_TYPE_F16;
    pn_array weight = op_run_weight(&e->run, type, (int64_t[]){1, n_out, k}, -0.5f, 0.5f, &w);
    int y = push(e, pn_matmul(&e->run.graph, a->array, weight), a->outputs, 1, n_out);
    for (int r = 0; r < e->run.n_rows; r++)
        for (int o = 0; o < n_out; o++)
            for (int i = 0; i < k; i++)
                *at(&e->values[y], r, 0, o) += a->v[r * k + i] * (double)w[o * k + i];
    free(w);
    return y;
}

int eager_binary(struct eager *e, int a, int b, bool multiply)
{
    const struct eager_value *x = &e->values[a], *z = &e->values[b];
    pn_array array = (multiply ? pn_mul : pn_add)(&e->run.graph, x->array, z->array);
    int y = push_like(e, array, x);
    for (size_t i = 0; i < count(e, x); i++)
        e->values[y].v[i] = multiply ? x->v[i] * z->v[i] : x->v[i] + z->v[i];
    return y;
}

int eager_vector(struct eager *e, int a, bool each_head, bool multiply)
{
    const struct eager_value *x = &e->values[a];
    float *w;
    int n = each_head ? x->n1 * x->n2 : x->n2;
    pn_array weight = op_run_weight(&e->run, PN_TYPE_F16, (int64_t[]){1, 1, n}, -1, 1, &w);
    int y = push_like(e, (multiply ? pn_mul : pn_add)(&e->run.graph, x->array, weight), x);
    for (int r = 0; r < e->run.n_rows; r++)
        for (int i = 0; i < x->n1 * x->n2; i++) {
            double value = x->v[r * x->n1 * x->n2 + i], by = (double)w[i % n];
            e->values[y].v[r * x->n1 * x->n2 + i] = multiply ? value * by : value + by;
        }
    free(w);
    return y;
}

int eager_scale(struct eager *e, int x, float factor, float offset)
{
    const struct eager_value *a = &e->values[x];
    int y = push_like(e, pn_scale(&e->run.graph, a->array, factor, offset), a);
    for (size_t i = 0; i < count(e, a); i++)
        e->values[y].v[i] = a->v[i] * (double)factor + (double)offset;
    return y;
}

int eager_softcap(struct eager *e, int x, float cap)
{
    const struct eager_value *a = &e->values[x];
    int y = push_like(e, pn_softcap(&e->run.graph, a->array, cap), a);
    for (size_t i = 0; i < count(e, a); i++)
        e->values[y].v[i] = (double)cap * tanh(a->v[i] / (double)cap);
    return y;
}

int eager_clamp(struct eager *e, int x, float low, float high)
{
    const struct eager_value *a = &e->values[x];
    int y = push_like(e, pn_clamp(&e->run.graph, a->array, low, high), a);
    for (size_t i = 0; i < count(e, a); i++)
        e->values[y].v[i] = fmin(fmax(a->v[i], (double)low), (double)high);
    return y;
}

static double activated(enum pn_act_fn fn, double x)
{
    switch (fn) {
    case PN_ACT_FN_SILU:
        return x / (1 + exp(-x));
    case PN_ACT_FN_GELU:
        return x * erfc(-x / sqrt(2)) / 2;
    case PN_ACT_FN_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case PN_ACT_FN_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case PN_ACT_FN_RELU:
        return fmax(x, 0);
    case PN_ACT_FN_RELU2:
        return fmax(x, 0) * fmax(x, 0);
    case PN_ACT_FN_TANH:
        return tanh(x);
    case PN_ACT_FN_SIGMOID:
        return 1 / (1 + exp(-x));
    case PN_ACT_FN_SOFTPLUS:
        return fmax(x, 0) + log1p(exp(-fabs(x)));
    case PN_ACT_FN_ELU:
        return x > 0 ? x : expm1(x);
    default:
        fail_msg("activation %d has no formula here", (int)fn);
        return 0;
    }
}

int eager_act(struct eager *e, int x, enum pn_act_fn fn)
{
    const struct eager_value *a = &e->values[x];
    int y = push_like(e, pn_act(&e->run.graph, a->array, fn), a);
    for (size_t i = 0; i < count(e, a); i++)
        e->values[y].v[i] = activated(fn, a->v[i]);
    return y;
}

int eager_rms_norm(struct eager *e, int x)
{
    const struct eager_value *a = &e->values[x];
    float eps = 1e-5f, *w;
    pn_array weight = op_run_weight(&e->run, PN_TYPE_F32, (int64_t[]){1, 1, a->n2}, 0.5f, 1.5f, &w);
    int y = push_like(e, pn_rms_norm(&e->run.graph, a->array, weight, eps), a);
    for (int r = 0; r < e->run.n_rows; r++)
        for (int h = 0; h < a->n1; h++) {
            double sum = 0;
            for (int i = 0; i < a->n2; i++)
                sum += *at(a, r, h, i) * *at(a, r, h, i);
            for (int i = 0; i < a->n2; i++)
                *at(&e->values[y], r, h, i) = *at(a, r, h, i) / sqrt(sum / a->n2 + (double)eps) * (double)w[i];
        }
    free(w);
    return y;
}

int eager_concat(struct eager *e, int a, int b)
{
    const struct eager_value *x = &e->values[a], *z = &e->values[b];
    int y = push(e, pn_concat(&e->run.graph, x->array, z->array), x->outputs, x->n1, x->n2 + z->n2);
    for (int r = 0; r < e->run.n_rows; r++)
        for (int h = 0; h < x->n1; h++) {
            for (int i = 0; i < x->n2; i++)
                *at(&e->values[y], r, h, i) = *at(x, r, h, i);
            for (int i = 0; i < z->n2; i++)
                *at(&e->values[y], r, h, x->n2 + i) = *at(z, r, z->n1 == 1 ? 0 : h, i);
        }
    return y;
}

int eager_mul_heads(struct eager *e, int x, int by)
{
    const struct eager_value *a = &e->values[x], *f = &e->values[by];
    int y = push_like(e, pn_mul_heads(&e->run.graph, a->array, f->array), a);
    for (int r = 0; r < e->run.n_rows; r++)
        for (int h = 0; h < a->n1; h++)
            for (int i = 0; i < a->n2; i++)
                *at(&e->values[y], r, h, i) = *at(a, r, h, i) * f->v[r * a->n1 + h];
    return y;
}

int eager_reshape(struct eager *e, int x, int n1, int n2)
{
    const struct eager_value *a = &e->values[x];
    int y = push(e, pn_reshape(&e->run.graph, a->array, n1, n2), a->outputs, n1, n2);
    for (size_t i = 0; i < count(e, a); i++)
        e->values[y].v[i] = a->v[i];
    return y;
}

int eager_slice(struct eager *e, int x, int offset, int n2)
{
    const struct eager_value *a = &e->values[x];
    int y = push(e, pn_slice(&e->run.graph, a->array, offset, n2), a->outputs, a->n1, n2);
    for (int r = 0; r < e->run.n_rows; r++)
        for (int h = 0; h < a->n1; h++)
            for (int i = 0; i < n2; i++)
                *at(&e->values[y], r, h, i) = *at(a, r, h, offset + i);
    return y;
}

int eager_outputs(struct eager *e, int x)
{
    const struct eager_value *a = &e->values[x];
    int y = push(e, pn_output_rows(&e->run.graph, a->array), true, a->n1, a->n2);
    for (size_t i = 0; i < count(e, a); i++)
        e->values[y].v[i] = a->v[i];
    return y;
}

static void check_on(const struct eager *e, int result, int device, int slice, const char *what)
{
    const struct eager_value *x = &e->values[result];
    const struct op_device *d = &op_devices[device];
    size_t n = count(e, x);
    float *out = calloc(n, sizeof *out);
    assert_non_null(out);
    op_run_on(&e->run, x->array, d, slice, out, NULL);
    double distance = op_distance(out, x->v, n);
    if (distance > 1e-9)
        fail_msg("%s on %s (%s, %d threads), %d rows per step: %g from the formula", what, d->name,
                 d->isa ? d->isa : "best", d->n_threads, slice, distance);
    free(out);
}

void eager_check(const struct eager *e, int result, const char *what)
{
    for (int d = 0; d < op_n_devices; d++)
        for (int slice = 1; slice < 8; slice += 4)
            check_on(e, result, d, slice, what);
}

void eager_check_two(const struct eager *e, int result, int turn, const char *what)
{
    check_on(e, result, turn % op_n_devices, turn & 4 ? 5 : 1, what);
    check_on(e, result, (turn + 1) % op_n_devices, turn & 4 ? 1 : 5, what);
}
