/* Arrays with several streams per row: stretching one to the length of another, and mixing them. */
#include "tensor/op/reference.h"

#include <math.h>

pn_array pn_match(struct pn_graph *g, pn_array x, pn_array like)
{
    if (!pn_op_want_rows(g, x, "the first operand of match") ||
        !pn_op_want_rows(g, like, "the second operand of match"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *l = pn_node(g, like);
    if (l->rows != n->rows || l->n2 != n->n2 || (l->n1 != n->n1 && l->n1 != 1))
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot stretch rows of %d x %d values to those of %d x %d", n->n1,
                             n->n2, l->n1, l->n2);
    return pn_graph_add(
        g,
        (struct pn_node){.op = PN_OP_MATCH, .rows = n->rows, .n1 = n->n1, .n2 = n->n2, .n_src = 2, .src = {x, like}});
}

static double squares(const float *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

pantry_status pn_ref_match(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int n2 = a->node->n2;
    bool one = pn_node(a->graph, a->node->src[1])->n1 == 1;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            double is = squares(x, n2), wanted = squares(pn_view_at(a->src[1], r, one ? 0 : h), n2);
            float factor = is > 0 ? (float)sqrt(wanted / is) : 0;
            for (int i = 0; i < n2; i++)
                out[i] = x[i] * factor;
        }
    return PANTRY_OK;
}

pn_array pn_mix(struct pn_graph *g, pn_array by, pn_array x)
{
    if (!pn_op_want_rows(g, by, "the first operand of mix") || !pn_op_want_rows(g, x, "the second operand of mix"))
        return PN_NONE;
    const struct pn_node *b = pn_node(g, by), *n = pn_node(g, x);
    if (b->rows != n->rows || b->n2 != n->n1)
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot mix rows of %d x %d values by %d x %d", n->n1, n->n2, b->n1,
                             b->n2);
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_MIX, .rows = n->rows, .n1 = b->n1, .n2 = n->n2, .n_src = 2, .src = {by, x}});
}

pantry_status pn_ref_mix(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int m = pn_node(a->graph, a->node->src[1])->n1;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            const float *by = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < a->node->n2; i++) {
                double sum = 0;
                for (int j = 0; j < m; j++)
                    sum += (double)by[j] * (double)pn_view_at(a->src[1], r, j)[i];
                out[i] = (float)sum;
            }
        }
    return PANTRY_OK;
}
