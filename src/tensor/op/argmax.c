/* The largest value of each row. */
#include "tensor/op/reference.h"

#include <math.h>

pn_array pn_argmax(struct pn_graph *g, pn_array x)
{
    if (!pn_op_want_rows(g, x, "the operand of argmax"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (n->n2 > PN_MAX_ARGMAX)
        return pn_graph_fail(g, PANTRY_UNSUPPORTED, "argmax of %d values (allowed: %d)", n->n2, PN_MAX_ARGMAX);
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_ARGMAX, .rows = n->rows, .n1 = n->n1, .n2 = 1, .n_src = 1, .src = {x}});
}

static int argmax(const float *x, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!isnan(x[i]) && (best < 0 || x[i] > x[best]))
            best = i;
    return best;
}

pantry_status pn_ref_argmax(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int n = pn_node(a->graph, a->node->src[0])->n2;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            *pn_view_at(a->out, r, h) = (float)argmax(pn_view_at(a->src[0], r, h), n);
    return PANTRY_OK;
}
