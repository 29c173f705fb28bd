/* Row operations on the CPU. Those without a faster form here run their plain reference. */
#include "device/cpu/program.h"

#include <math.h>
#include <string.h>

static inline float *at(struct pn_strided v, int64_t row, int64_t head)
{
    return v.data + row * v.stride0 + head * v.stride1;
}

/* The part of a weight vector that belongs to `head`: one for all, or one each. */
static const float *vector(const struct cpu_run *run, pn_array w, int head, int n2)
{
    if (w == PN_NONE)
        return NULL;
    const float *v = run->program->vectors[w];
    return pn_node(run->program->plan->graph, w)->n2 == n2 ? v : v + (int64_t)head * n2;
}

static void rms_norm(const struct cpu_run *run, const struct pn_op_args *a)
{
    const struct pn_cpu_kernels *k = &run->program->device->kernels;
    int n2 = a->node->n2;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = at(a->src[0], r, h);
            float scale = 1 / sqrtf(k->sum_squares(x, n2) / (float)n2 + a->node->norm.eps);
            k->scale_mul(x, vector(run, a->node->src[1], h, n2), scale, at(a->out, r, h), n2);
        }
}

static void layer_norm(const struct cpu_run *run, const struct pn_op_args *a)
{
    int n2 = a->node->n2;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = at(a->src[0], r, h), *w = vector(run, a->node->src[1], h, n2),
                        *b = vector(run, a->node->src[2], h, n2);
            float *y = at(a->out, r, h), sum = 0, squares = 0;
            for (int i = 0; i < n2; i++)
                sum += x[i];
            float mean = sum / (float)n2;
            for (int i = 0; i < n2; i++)
                squares += (x[i] - mean) * (x[i] - mean);
            float scale = 1 / sqrtf(squares / (float)n2 + a->node->norm.eps);
            for (int i = 0; i < n2; i++)
                y[i] = (x[i] - mean) * scale * (w ? w[i] : 1) + (b ? b[i] : 0);
        }
}

static void binary(const struct cpu_run *run, const struct pn_op_args *a, bool multiply)
{
    int n2 = a->node->n2;
    bool is_vector = pn_op_weight(a, 1) != NULL;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = at(a->src[0], r, h);
            const float *y = is_vector ? vector(run, a->node->src[1], h, n2) : at(a->src[1], r, h);
            float *out = at(a->out, r, h);
            if (multiply)
                for (int i = 0; i < n2; i++)
                    out[i] = x[i] * y[i];
            else
                for (int i = 0; i < n2; i++)
                    out[i] = x[i] + y[i];
        }
}

static void act(const struct cpu_run *run, const struct pn_op_args *a)
{
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            run->program->device->kernels.act(a->node->fn, at(a->src[0], r, h), at(a->out, r, h), a->node->n2);
}

static void mix(const struct pn_op_args *a)
{
    int m = pn_node(a->graph, a->node->src[1])->n1;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *by = at(a->src[0], r, h);
            float *out = at(a->out, r, h);
            memset(out, 0, (size_t)a->node->n2 * sizeof *out);
            for (int j = 0; j < m; j++) {
                const float *x = at(a->src[1], r, j);
                for (int i = 0; i < a->node->n2; i++)
                    out[i] += by[j] * x[i];
            }
        }
}

static void softcap(const struct cpu_run *run, const struct pn_op_args *a)
{
    float cap = a->node->scale.factor;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = at(a->src[0], r, h);
            float *y = at(a->out, r, h);
            for (int i = 0; i < a->node->n2; i++)
                y[i] = x[i] / cap;
            run->program->device->kernels.act(PN_ACT_FN_TANH, y, y, a->node->n2);
            for (int i = 0; i < a->node->n2; i++)
                y[i] *= cap;
        }
}

static void fail(struct cpu_run *run, pn_status status, const struct pn_error *err)
{
    int expected = PN_OK;
    if (atomic_compare_exchange_strong(&run->status, &expected, (int)status))
        run->error = *err;
}

void cpu_row_op(struct cpu_run *run, int phase, int worker, pn_array a, int64_t first, int64_t end)
{
    const struct pn_graph *g = run->program->plan->graph;
    const struct pn_node *n = pn_node(g, a);
    struct pn_op_args args = {.graph = g, .node = n, .row0 = first, .row1 = end, .batch = run->batch};
    args.out = cpu_view(run, phase, worker, a);
    for (int i = 0; i < n->n_src; i++)
        if (n->src[i] != PN_NONE && pn_node(g, n->src[i])->rows != PN_ROWS_NONE)
            args.src[i] = cpu_view(run, phase, worker, n->src[i]);
    switch (n->op) {
    case PN_OP_RMS_NORM:
        rms_norm(run, &args);
        return;
    case PN_OP_LAYER_NORM:
        layer_norm(run, &args);
        return;
    case PN_OP_ADD:
    case PN_OP_MUL:
        binary(run, &args, n->op == PN_OP_MUL);
        return;
    case PN_OP_ACT:
        act(run, &args);
        return;
    case PN_OP_SOFTCAP:
        softcap(run, &args);
        return;
    case PN_OP_MIX:
        mix(&args);
        return;
    default: {
        if (cpu_each_row_op(run, &args))
            return;
        struct pn_error err;
        pn_status status = pn_op_reference(n->op)(&args, &err);
        if (status)
            fail(run, status, &err);
    }
    }
}
