/* Row operations on the CPU. Those without a faster form here run their plain reference. */
#include "device/cpu/program.h"

#include <math.h>
#include <string.h>

/* The part of a weight vector that belongs to `head`: one for all, or one each. */
static const float *vector(const struct pn_cpu_run *run, const struct pn_place *at, int head, int n2)
{
    const float *v = pn_cpu_vector(run->program, at);
    return !v || pn_node(run->program->plan->graph, at->index)->n2 == n2 ? v : v + (int64_t)head * n2;
}

static void rms_norm(const struct pn_cpu_run *run, const struct pn_step *step, const struct pn_op_args *a)
{
    const struct pn_cpu_kernels *k = &run->program->device->kernels;
    int n2 = a->node->n2;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float scale = 1 / sqrtf(k->sum_squares(x, n2) / (float)n2 + a->node->norm.eps);
            k->scale_mul(x, vector(run, &step->src[1], h, n2), scale, pn_view_at(a->out, r, h), n2);
        }
}

static void layer_norm(const struct pn_cpu_run *run, const struct pn_step *step, const struct pn_op_args *a)
{
    int n2 = a->node->n2;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h), *w = vector(run, &step->src[1], h, n2),
                        *b = vector(run, &step->src[2], h, n2);
            float *y = pn_view_at(a->out, r, h), sum = 0, squares = 0;
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

static void binary(const struct pn_cpu_run *run, const struct pn_step *step, const struct pn_op_args *a, bool multiply)
{
    int n2 = a->node->n2;
    bool is_vector = step->src[1].space == PN_SPACE_WEIGHT;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            const float *y = is_vector ? vector(run, &step->src[1], h, n2) : pn_view_at(a->src[1], r, h);
            float *out = pn_view_at(a->out, r, h);
            if (multiply)
                for (int i = 0; i < n2; i++)
                    out[i] = x[i] * y[i];
            else
                for (int i = 0; i < n2; i++)
                    out[i] = x[i] + y[i];
        }
}

static void act(const struct pn_cpu_run *run, const struct pn_op_args *a)
{
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            run->program->device->kernels.act(a->node->fn, pn_view_at(a->src[0], r, h), pn_view_at(a->out, r, h),
                                              a->node->n2);
}

static void mix(const struct pn_op_args *a)
{
    int m = pn_node(a->graph, a->node->src[1])->n1;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *by = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            memset(out, 0, (size_t)a->node->n2 * sizeof *out);
            for (int j = 0; j < m; j++) {
                const float *x = pn_view_at(a->src[1], r, j);
                for (int i = 0; i < a->node->n2; i++)
                    out[i] += by[j] * x[i];
            }
        }
}

static void softcap(const struct pn_cpu_run *run, const struct pn_op_args *a)
{
    float cap = a->node->scale.factor;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float *y = pn_view_at(a->out, r, h);
            for (int i = 0; i < a->node->n2; i++)
                y[i] = x[i] / cap;
            run->program->device->kernels.act(PN_ACT_FN_TANH, y, y, a->node->n2);
            for (int i = 0; i < a->node->n2; i++)
                y[i] *= cap;
        }
}

static void fail(struct pn_cpu_run *run, pantry_status status, const struct pantry_error *err)
{
    int expected = PANTRY_OK;
    if (atomic_compare_exchange_strong(&run->status, &expected, (int)status))
        run->error = *err;
}

struct pn_op_args pn_cpu_op_args(const struct pn_cpu_run *run, int worker, const struct pn_step *step)
{
    struct pn_op_args args = {.graph = run->program->plan->graph, .node = step->node, .batch = run->batch};
    args.out = pn_cpu_view(run, worker, &step->out);
    for (int i = 0; i < step->node->n_src; i++)
        args.src[i] = pn_cpu_view(run, worker, &step->src[i]);
    return args;
}

void pn_cpu_row_op(struct pn_cpu_run *run, int worker, const struct pn_step *step, int64_t first, int64_t end)
{
    const struct pn_node *n = step->node;
    struct pn_op_args args = pn_cpu_op_args(run, worker, step);
    args.row0 = first;
    args.row1 = end;
    switch (n->op) {
    case PN_OP_RMS_NORM:
        rms_norm(run, step, &args);
        return;
    case PN_OP_LAYER_NORM:
        layer_norm(run, step, &args);
        return;
    case PN_OP_ADD:
    case PN_OP_MUL:
        binary(run, step, &args, n->op == PN_OP_MUL);
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
        if (pn_cpu_each_row_op(run, step, &args))
            return;
        struct pantry_error err;
        pantry_status status = pn_op_reference(n->op)(&args, &err);
        if (status)
            fail(run, status, &err);
    }
    }
}
