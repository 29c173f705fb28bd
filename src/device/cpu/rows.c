/* Row operations on the CPU. Those without a faster form here run their plain reference. */
#include "device/cpu/phases.h"

#include <math.h>
#include <string.h>

/* The part of a weight vector for `head`: the same for all heads, or one per head. */
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

/* ---- experts ---- */

static void route(const struct pn_cpu_run *run, const struct pn_step *step, const struct pn_op_args *a)
{
    const float *bias = pn_cpu_vector(run->program, &step->src[1]);
    for (int64_t r = a->row0; r < a->row1; r++)
        pn_route_row(&a->node->route, pn_view_at(a->src[0], r, 0), bias, pn_view_at(a->out, r, 0),
                     pn_view_at(a->out, r, 1));
}

static void each_scale(const struct pn_cpu_run *run, const struct pn_step *step, const struct pn_op_args *a)
{
    const float *by = pn_cpu_vector(run->program, &step->src[2]);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int j = 0; j < a->node->n1; j++) {
            float factor = by ? by[(int)pn_view_at(a->src[1], r, 1)[j]] : pn_view_at(a->src[1], r, 0)[j];
            run->program->device->kernels.scale_mul(pn_view_at(a->src[0], r, j), NULL, factor, pn_view_at(a->out, r, j),
                                                    a->node->n2);
        }
}

static void each_bias(const struct pn_cpu_run *run, const struct pn_step *step, const struct pn_op_args *a)
{
    const float *stack = pn_cpu_vector(run->program, &step->src[2]);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int j = 0; j < a->node->n1; j++) {
            const float *x = pn_view_at(a->src[0], r, j),
                        *bias = stack + (int64_t)pn_view_at(a->src[1], r, 1)[j] * a->node->n2;
            float *out = pn_view_at(a->out, r, j);
            for (int i = 0; i < a->node->n2; i++)
                out[i] = x[i] + bias[i];
        }
}

static void each_sum(const struct pn_op_args *a)
{
    int n_slots = pn_node(a->graph, a->node->src[0])->n1, n2 = a->node->n2;
    bool weighted = a->node->src[1] != PN_NONE;
    for (int64_t r = a->row0; r < a->row1; r++) {
        float *out = pn_view_at(a->out, r, 0);
        for (int j = 0; j < n_slots; j++) {
            const float *x = pn_view_at(a->src[0], r, j);
            float weight = weighted ? pn_view_at(a->src[1], r, 0)[j] : 1;
            for (int i = 0; i < n2; i++)
                out[i] = (j ? out[i] : 0) + weight * x[i];
        }
    }
}

/* ---- dispatch ---- */

/* Runs the operation if it has a faster form here. */
static bool run_fast(const struct pn_cpu_run *run, const struct pn_step *step, const struct pn_op_args *a)
{
    enum pn_op op = step->node->op;
    switch (op) {
    case PN_OP_RMS_NORM:
        rms_norm(run, step, a);
        return true;
    case PN_OP_LAYER_NORM:
        layer_norm(run, step, a);
        return true;
    case PN_OP_ADD:
    case PN_OP_MUL:
        binary(run, step, a, op == PN_OP_MUL);
        return true;
    case PN_OP_ACT:
        act(run, a);
        return true;
    case PN_OP_SOFTCAP:
        softcap(run, a);
        return true;
    case PN_OP_MIX:
        mix(a);
        return true;
    case PN_OP_ROUTE:
        route(run, step, a);
        return true;
    case PN_OP_EACH_SCALE:
        each_scale(run, step, a);
        return true;
    case PN_OP_EACH_BIAS:
        each_bias(run, step, a);
        return true;
    case PN_OP_EACH_SUM:
        each_sum(a);
        return true;
    default:
        return false;
    }
}

static void fail(struct pn_cpu_run *run, pantry_status status, const struct pantry_error *err)
{
    int expected = PANTRY_OK;
    if (atomic_compare_exchange_strong(&run->status, &expected, (int)status))
        run->error = *err;
}

void pn_cpu_row_op(struct pn_cpu_run *run, int worker, const struct pn_step *step, int64_t first, int64_t end)
{
    struct pn_op_args args = {
        .graph = run->program->plan->graph, .node = step->node, .row0 = first, .row1 = end, .batch = run->batch};
    args.out = pn_cpu_view(run, worker, &step->out);
    for (int i = 0; i < step->node->n_src; i++)
        args.src[i] = pn_cpu_view(run, worker, &step->src[i]);
    if (run_fast(run, step, &args))
        return;
    struct pantry_error err;
    pantry_status status = pn_op_reference(step->node->op)(&args, &err);
    if (status)
        fail(run, status, &err);
}
