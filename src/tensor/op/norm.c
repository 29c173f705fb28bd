/* Normalizations over the last dimension. */
#include "tensor/op/reference.h"

#include <math.h>
#include <stdlib.h>

static bool fits(struct pn_graph *g, const struct pn_node *x, pn_array weight, const char *what)
{
    if (weight == PN_NONE)
        return true;
    const struct pn_node *w = pn_node(g, weight);
    if (pn_op_is_vector(g, weight, x->n2) || pn_op_is_vector(g, weight, (int64_t)x->n1 * x->n2))
        return true;
    pn_graph_fail(g, PANTRY_FORMAT, "%s of a norm over %d values has %d x %d", what, x->n2, w->n1, w->n2);
    return false;
}

static pn_array norm(struct pn_graph *g, enum pn_op op, pn_array x, pn_array weight, pn_array bias, float eps)
{
    if (!pn_op_want_rows(g, x, pn_op_name(op)))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (!fits(g, n, weight, "weight") || !fits(g, n, bias, "bias"))
        return PN_NONE;
    if (!(eps >= 0) || eps > 1)
        return pn_graph_fail(g, PANTRY_FORMAT, "epsilon %g of a norm is not between 0 and 1", (double)eps);
    return pn_graph_add(g, (struct pn_node){.op = op,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 3,
                                            .src = {x, weight, bias},
                                            .norm = {.eps = eps}});
}

pn_array pn_rms_norm(struct pn_graph *g, pn_array x, pn_array weight, float eps)
{
    return norm(g, PN_OP_RMS_NORM, x, weight, PN_NONE, eps);
}

pn_array pn_layer_norm(struct pn_graph *g, pn_array x, pn_array weight, pn_array bias, float eps)
{
    return norm(g, PN_OP_LAYER_NORM, x, weight, bias, eps);
}

static void norm_row(const float *x, float *out, int n, bool centred, float eps, const float *weight, const float *bias)
{
    double mean = 0, sum = 0;
    if (centred) {
        for (int i = 0; i < n; i++)
            mean += x[i];
        mean /= n;
    }
    for (int i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    double scale = 1 / sqrt(sum / n + (double)eps);
    for (int i = 0; i < n; i++)
        out[i] = (float)((x[i] - mean) * scale * (weight ? (double)weight[i] : 1) + (bias ? (double)bias[i] : 0));
}

static pantry_status run_norm(const struct pn_op_args *a, bool centred, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1), *b = pn_op_weight(a, 2);
    int n2 = a->node->n2;
    float *weight = w ? pn_ref_weight_row(w, 0) : NULL, *bias = b ? pn_ref_weight_row(b, 0) : NULL;
    pantry_status status = PANTRY_OK;
    if ((w && !weight) || (b && !bias)) {
        status = pn_no_memory(err, "the weights of a norm");
        goto done;
    }
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            norm_row(pn_view_at(a->src[0], r, h), pn_view_at(a->out, r, h), n2, centred, a->node->norm.eps,
                     weight ? weight + (w->n_cols == n2 ? 0 : (int64_t)h * n2) : NULL,
                     bias ? bias + (b->n_cols == n2 ? 0 : (int64_t)h * n2) : NULL);
done:
    free(weight);
    free(bias);
    return status;
}

pantry_status pn_ref_rms_norm(const struct pn_op_args *a, struct pantry_error *err)
{
    return run_norm(a, false, err);
}

pantry_status pn_ref_layer_norm(const struct pn_op_args *a, struct pantry_error *err)
{
    return run_norm(a, true, err);
}

pn_array pn_cutoff(struct pn_graph *g, pn_array x, float by)
{
    if (!pn_op_want_rows(g, x, "the operand of cutoff"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (!isfinite(by))
        return pn_graph_fail(g, PANTRY_FORMAT, "the cutoff of %g deviations is not a number", (double)by);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_CUTOFF,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 1,
                                            .src = {x},
                                            .scale = {.factor = by}});
}

static void cut(const float *x, float *out, int n, float by)
{
    double mean = 0, sum = 0;
    for (int i = 0; i < n; i++)
        mean += x[i];
    mean /= n;
    for (int i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    float least = (float)(mean + sqrt(sum / n) * (double)by);
    for (int i = 0; i < n; i++)
        out[i] = x[i] > least ? x[i] - least : 0;
}

pantry_status pn_ref_cutoff(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            cut(pn_view_at(a->src[0], r, h), pn_view_at(a->out, r, h), a->node->n2, a->node->scale.factor);
    return PANTRY_OK;
}
