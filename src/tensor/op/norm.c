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

/* ---- gradients ---- */

static pn_array norm_back(struct pn_graph *g, enum pn_op op, pn_array x, pn_array dy, pn_array weight, float eps)
{
    if (!pn_op_want_rows(g, x, pn_op_name(op)) || !pn_op_want_rows(g, dy, pn_op_name(op)))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *d = pn_node(g, dy);
    if (n->rows != d->rows || n->n1 != d->n1 || n->n2 != d->n2)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operands of %s differ in shape", pn_op_name(op));
    return pn_graph_add(g, (struct pn_node){.op = op,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 3,
                                            .src = {x, dy, weight},
                                            .norm = {.eps = eps}});
}

pn_array pn_rms_norm_back(struct pn_graph *g, pn_array x, pn_array dy, pn_array weight, float eps)
{
    return norm_back(g, PN_OP_RMS_NORM_BACK, x, dy, weight, eps);
}

pn_array pn_layer_norm_back(struct pn_graph *g, pn_array x, pn_array dy, pn_array weight, float eps)
{
    return norm_back(g, PN_OP_LAYER_NORM_BACK, x, dy, weight, eps);
}

/* With z = (x - mean) / s and d = dy * weight: (d - mean(d) - z mean(d z)) / s; without centring, mean(d) drops out. */
static void norm_back_row(const float *x, const float *dy, float *out, int n, bool centred, float eps,
                          const float *weight)
{
    double mean = 0, squares = 0, sum = 0, dot = 0;
    for (int i = 0; centred && i < n; i++)
        mean += (double)x[i] / n;
    for (int i = 0; i < n; i++) {
        double z = (double)x[i] - mean, d = (double)dy[i] * (weight ? (double)weight[i] : 1);
        squares += z * z;
        dot += d * z;
        sum += centred ? d : 0;
    }
    double scale = 1 / sqrt(squares / n + (double)eps);
    for (int i = 0; i < n; i++) {
        double z = (double)x[i] - mean, d = (double)dy[i] * (weight ? (double)weight[i] : 1);
        out[i] = (float)((d - sum / n - z * scale * scale * dot / n) * scale);
    }
}

static pantry_status run_norm_back(const struct pn_op_args *a, bool centred, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 2);
    int n2 = a->node->n2;
    float *weight = w ? pn_ref_weight_row(w, 0) : NULL;
    if (w && !weight)
        return pn_no_memory(err, "the weights of a norm");
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            norm_back_row(pn_view_at(a->src[0], r, h), pn_view_at(a->src[1], r, h), pn_view_at(a->out, r, h), n2,
                          centred, a->node->norm.eps, weight ? weight + (w->n_cols == n2 ? 0 : (int64_t)h * n2) : NULL);
    free(weight);
    return PANTRY_OK;
}

pantry_status pn_ref_rms_norm_back(const struct pn_op_args *a, struct pantry_error *err)
{
    return run_norm_back(a, false, err);
}

pantry_status pn_ref_layer_norm_back(const struct pn_op_args *a, struct pantry_error *err)
{
    return run_norm_back(a, true, err);
}

static void back(struct pn_grad *t, pn_array y, pn_array dy, bool centred)
{
    struct pn_node n = *pn_node(t->g, y);
    if (pn_grad_wants(t, n.src[0]))
        pn_grad_add(
            t, n.src[0],
            norm_back(t->g, centred ? PN_OP_LAYER_NORM_BACK : PN_OP_RMS_NORM_BACK, n.src[0], dy, n.src[1], n.norm.eps));
    if (pn_grad_wants(t, n.src[1])) {
        pn_array z = centred ? pn_layer_norm(t->g, n.src[0], PN_NONE, PN_NONE, n.norm.eps)
                             : pn_rms_norm(t->g, n.src[0], PN_NONE, n.norm.eps);
        pn_grad_add(t, n.src[1], pn_column_sum(t->g, pn_mul(t->g, dy, z), pn_node(t->g, n.src[1])->n2));
    }
    if (pn_grad_wants(t, n.src[2]))
        pn_grad_add(t, n.src[2], pn_column_sum(t->g, dy, pn_node(t->g, n.src[2])->n2));
}

void pn_back_rms_norm(struct pn_grad *t, pn_array y, pn_array dy)
{
    back(t, y, dy, false);
}

void pn_back_layer_norm(struct pn_grad *t, pn_array y, pn_array dy)
{
    back(t, y, dy, true);
}

pn_array pn_cutoff_back(struct pn_graph *g, pn_array x, pn_array dy, float by)
{
    pn_array y = norm_back(g, PN_OP_CUTOFF_BACK, x, dy, PN_NONE, 0);
    if (y != PN_NONE)
        g->data[y].scale.factor = by;
    return y;
}

/* The bound depends on x as well, through the mean and the deviation. */
static void cut_back(const float *x, const float *dy, float *out, int n, float by)
{
    double mean = 0, squares = 0, sum = 0;
    for (int i = 0; i < n; i++)
        mean += (double)x[i] / n;
    for (int i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double deviation = sqrt(squares / n);
    float least = (float)(mean + deviation * (double)by);
    for (int i = 0; i < n; i++)
        sum += x[i] > least ? (double)dy[i] : 0;
    for (int i = 0; i < n; i++) {
        double slope = 1 + (deviation > 0 ? (double)by * ((double)x[i] - mean) / deviation : 0);
        out[i] = (float)((x[i] > least ? (double)dy[i] : 0) - sum / n * slope);
    }
}

pantry_status pn_ref_cutoff_back(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            cut_back(pn_view_at(a->src[0], r, h), pn_view_at(a->src[1], r, h), pn_view_at(a->out, r, h), a->node->n2,
                     a->node->scale.factor);
    return PANTRY_OK;
}

void pn_back_cutoff(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    pn_grad_add(t, n.src[0], pn_cutoff_back(t->g, n.src[0], dy, n.scale.factor));
}
