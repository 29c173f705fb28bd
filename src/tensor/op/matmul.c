/* Matrix products with a weight. */
#include "tensor/op/reference.h"

#include <stdlib.h>
#include <string.h>

pn_array pn_matmul(struct pn_graph *g, pn_array x, pn_array weight)
{
    if (weight == PN_NONE || !pn_op_want_rows(g, x, "the left operand of a product"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *w = pn_node(g, weight);
    if (w->rows != PN_ROWS_NONE)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the right operand of a product is not a weight");
    if ((int64_t)n->n1 * n->n2 != w->n2)
        return pn_graph_fail(g, PANTRY_FORMAT, "%s takes rows of %d values, but gets %lld", w->weight->name, w->n2,
                             (long long)n->n1 * n->n2);
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_MATMUL, .rows = n->rows, .n1 = 1, .n2 = w->n1, .n_src = 2, .src = {x, weight}});
}

pantry_status pn_ref_matmul(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1);
    const struct pn_node *x = pn_node(a->graph, a->node->src[0]);
    for (int64_t i = 0; i < w->n_rows; i++) {
        float *row = pn_ref_weight_row(w, i);
        if (!row)
            return pn_no_memory(err, w->name);
        for (int64_t r = a->row0; r < a->row1; r++) {
            double sum = 0;
            for (int h = 0; h < x->n1; h++) {
                const float *v = pn_view_at(a->src[0], r, h), *u = row + (int64_t)h * x->n2;
                for (int j = 0; j < x->n2; j++)
                    sum += (double)v[j] * (double)u[j];
            }
            pn_view_at(a->out, r, 0)[i] = (float)sum;
        }
        free(row);
    }
    return PANTRY_OK;
}

/* ---- gradients ---- */

pn_array pn_matmul_back(struct pn_graph *g, pn_array dy, pn_array weight)
{
    if (!pn_op_want_rows(g, dy, "the operand of matmul_back") || weight == PN_NONE)
        return PN_NONE;
    const struct pn_node *n = pn_node(g, dy), *w = pn_node(g, weight);
    if (w->op != PN_OP_WEIGHT || (int64_t)n->n1 * n->n2 != w->n1)
        return pn_graph_fail(g, PANTRY_INTERNAL, "gradients of %d x %d values do not fit %s", n->n1, n->n2,
                             pn_op_what(g, weight));
    return pn_graph_add(
        g, (struct pn_node){
               .op = PN_OP_MATMUL_BACK, .rows = n->rows, .n1 = 1, .n2 = w->n2, .n_src = 2, .src = {dy, weight}});
}

pn_array pn_outer(struct pn_graph *g, pn_array dy, pn_array x)
{
    if (!pn_op_want_rows(g, dy, "the left operand of outer") || !pn_op_want_rows(g, x, "the right operand of outer"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, dy), *m = pn_node(g, x);
    if (n->rows != m->rows)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operands of outer have different rows");
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_OUTER,
                                            .rows = PN_ROWS_ONE,
                                            .n1 = n->n1 * n->n2,
                                            .n2 = m->n1 * m->n2,
                                            .n_src = 2,
                                            .src = {dy, x}});
}

void pn_back_matmul(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array x = pn_node(t->g, y)->src[0], weight = pn_node(t->g, y)->src[1];
    if (pn_grad_wants(t, x))
        pn_grad_add(t, x, pn_matmul_back(t->g, dy, weight));
    if (pn_grad_wants(t, weight))
        pn_grad_add(t, weight, pn_outer(t->g, dy, x));
}

/* Value i of a row whose heads are read as one. */
static float value_at(struct pn_strided v, const struct pn_node *n, int64_t row, int64_t i)
{
    return pn_view_at(v, row, i / n->n2)[i % n->n2];
}

pantry_status pn_ref_matmul_back(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1);
    const struct pn_node *n = pn_node(a->graph, a->node->src[0]);
    int64_t rows = a->row1 - a->row0;
    double *sum = calloc((size_t)rows * (size_t)w->n_cols + 1, sizeof *sum);
    float *row = malloc((size_t)w->n_cols * sizeof *row);
    if (!sum || !row) {
        free(sum);
        free(row);
        return pn_no_memory(err, w->name);
    }
    for (int64_t i = 0; i < w->n_rows; i++) {
        pn_weight_decode(w, 0, i, 0, w->n_cols, row);
        for (int64_t r = 0; r < rows; r++) {
            double d = (double)value_at(a->src[0], n, a->row0 + r, i);
            for (int64_t j = 0; j < w->n_cols; j++)
                sum[r * w->n_cols + j] += d * (double)row[j];
        }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < w->n_cols; j++)
            pn_view_at(a->out, a->row0 + r, 0)[j] = (float)sum[r * w->n_cols + j];
    free(sum);
    free(row);
    return PANTRY_OK;
}

pantry_status pn_ref_outer(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_node *n = pn_node(a->graph, a->node->src[0]), *m = pn_node(a->graph, a->node->src[1]);
    int64_t rows = pn_batch_n_rows(a->batch, n->rows);
    double *sum = malloc((size_t)a->node->n2 * sizeof *sum);
    if (!sum)
        return pn_no_memory(err, "a gradient");
    for (int64_t i = 0; i < a->node->n1; i++) {
        memset(sum, 0, (size_t)a->node->n2 * sizeof *sum);
        for (int64_t r = 0; r < rows; r++) {
            double d = (double)value_at(a->src[0], n, r, i);
            for (int64_t j = 0; j < a->node->n2; j++)
                sum[j] += d * (double)value_at(a->src[1], m, r, j);
        }
        for (int64_t j = 0; j < a->node->n2; j++)
            pn_view_at(a->out, 0, i)[j] = (float)sum[j];
    }
    free(sum);
    return PANTRY_OK;
}
