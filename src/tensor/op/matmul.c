/* Matrix products with a weight. */
#include "tensor/op/reference.h"

#include <stdlib.h>

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
