/* Leaves, views and shared helpers of operations. */
#include "tensor/op/reference.h"

#include <stdlib.h>

bool pn_op_want_rows(struct pn_graph *g, pn_array a, const char *what)
{
    if (a == PN_NONE || g->error.status)
        return false;
    if (pn_node(g, a)->rows == PN_ROWS_NONE) {
        pn_graph_fail(g, PANTRY_INTERNAL, "%s is a weight where an activation is needed", what);
        return false;
    }
    return true;
}

float *pn_ref_weight_row(const struct pn_weight *w, int64_t row)
{
    float *values = malloc((size_t)w->n_cols * sizeof *values);
    if (values)
        pn_weight_decode(w, 0, row, 0, w->n_cols, values);
    return values;
}

float *pn_ref_state(const struct pn_op_args *a, const struct pn_batch_seq *seq, size_t n)
{
    const float *in = pn_batch_state_in(a->batch, seq, a->node->recurrent.offset);
    float *out = pn_batch_state_out(a->batch, seq, a->node->recurrent.offset);
    if (in != out)
        memcpy(out, in, n * sizeof *out);
    return out;
}

pn_array pn_weight_leaf(struct pn_graph *g, const struct pn_weight *w)
{
    if (!w)
        return PN_NONE;
    return pn_graph_add(
        g,
        (struct pn_node){
            .op = PN_OP_WEIGHT, .rows = PN_ROWS_NONE, .n1 = (int32_t)w->n_rows, .n2 = (int32_t)w->n_cols, .weight = w});
}

pn_array pn_input(struct pn_graph *g, const char *name, enum pn_rows rows, int n1, int n2)
{
    if (rows == PN_ROWS_NONE || n1 < 1 || n2 < 1)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the input \"%s\" cannot have rows of %d x %d values", name, n1, n2);
    return pn_graph_add(g,
                        (struct pn_node){.op = PN_OP_INPUT, .rows = rows, .n1 = n1, .n2 = n2, .input = {.name = name}});
}

bool pn_op_contiguous(const struct pn_graph *g, pn_array x)
{
    const struct pn_node *n = pn_node(g, x);
    return n->n1 == 1 || pn_view_of(g, x).stride1 == n->n2;
}

bool pn_op_is_vector(const struct pn_graph *g, pn_array a, int64_t n)
{
    const struct pn_node *w = pn_node(g, a);
    return w->op == PN_OP_WEIGHT && w->weight->n_mat == 1 && w->n1 == 1 && w->n2 == n;
}

const char *pn_op_what(const struct pn_graph *g, pn_array a)
{
    const struct pn_node *n = pn_node(g, a);
    return n->op == PN_OP_WEIGHT ? n->weight->name : pn_op_name(n->op);
}

pn_array pn_reshape(struct pn_graph *g, pn_array x, int n1, int n2)
{
    if (!pn_op_want_rows(g, x, "the operand of reshape"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if ((int64_t)n1 * n2 != (int64_t)n->n1 * n->n2)
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot read rows of %d x %d values as %d x %d", n->n1, n->n2, n1, n2);
    if (n->n1 == n1)
        return x;
    if (!pn_op_contiguous(g, x))
        return pn_graph_fail(g, PANTRY_INTERNAL, "a slice of %d heads cannot be read as rows of %d x %d without a copy",
                             n->n1, n1, n2);
    return pn_graph_add(
        g, (struct pn_node){
               .op = PN_OP_VIEW, .rows = n->rows, .n1 = n1, .n2 = n2, .n_src = 1, .src = {x}, .view = {.stride1 = n2}});
}

pn_array pn_slice(struct pn_graph *g, pn_array x, int offset, int n2)
{
    if (!pn_op_want_rows(g, x, "the operand of slice"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (offset < 0 || n2 < 1 || offset > n->n2 - n2)
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot take values %d to %d of %d", offset, offset + n2 - 1, n->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_VIEW,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n2,
                                            .n_src = 1,
                                            .src = {x},
                                            .view = {.offset = offset}});
}

void pn_back_view(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    bool reshaped = n.view.stride1 != 0;
    pn_grad_add(t, n.src[0], reshaped ? dy : pn_pad(t->g, dy, n.view.offset, pn_node(t->g, n.src[0])->n2));
}

pn_array pn_pad(struct pn_graph *g, pn_array x, int offset, int n2)
{
    if (!pn_op_want_rows(g, x, "the operand of pad"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (offset < 0 || offset > n2 - n->n2)
        return pn_graph_fail(g, PANTRY_INTERNAL, "%d values do not fit %d from %d on", n->n2, n2, offset);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_PAD,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n2,
                                            .n_src = 1,
                                            .src = {x},
                                            .view = {.offset = offset}});
}

pantry_status pn_ref_pad(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    size_t n = (size_t)pn_node(a->graph, a->node->src[0])->n2, offset = (size_t)a->node->view.offset;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            float *out = pn_view_at(a->out, r, h);
            memset(out, 0, offset * sizeof *out);
            memcpy(out + offset, pn_view_at(a->src[0], r, h), n * sizeof *out);
            memset(out + offset + n, 0, ((size_t)a->node->n2 - offset - n) * sizeof *out);
        }
    return PANTRY_OK;
}
