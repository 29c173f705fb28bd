/* Looking rows up: token embeddings, learned positions, the rows whose results are wanted; and joining rows. */
#include "tensor/op/reference.h"

#include <string.h>

pn_array pn_embed(struct pn_graph *g, pn_array table)
{
    if (table == PN_NONE)
        return PN_NONE;
    const struct pn_node *t = pn_node(g, table);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_EMBED,
                                            .rows = PN_ROWS_TOKENS,
                                            .n1 = 1,
                                            .n2 = t->n2,
                                            .n_src = 1,
                                            .src = {table, PN_NONE, PN_NONE, PN_NONE}});
}

pn_status pn_ref_embed(const struct pn_op_args *a, struct pn_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 0);
    size_t bytes = pn_type_row_bytes(w->type, (size_t)w->n_cols);
    for (int64_t r = a->row0; r < a->row1; r++) {
        int32_t id = a->batch->ids[r];
        if (id < 0 || id >= w->n_rows)
            return pn_fail(err, PN_INVALID, "token id %d is not in the vocabulary of %lld", id, (long long)w->n_rows);
        pn_type_decode_row(w->type, (const char *)w->data + (size_t)id * bytes, pn_view_at(a->out, r, 0),
                           (size_t)w->n_cols);
    }
    return PN_OK;
}

pn_array pn_pos_embed(struct pn_graph *g, pn_array table)
{
    if (table == PN_NONE)
        return PN_NONE;
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_POS_EMBED,
                                            .rows = PN_ROWS_TOKENS,
                                            .n1 = 1,
                                            .n2 = pn_node(g, table)->n2,
                                            .n_src = 1,
                                            .src = {table, PN_NONE, PN_NONE, PN_NONE}});
}

pn_status pn_ref_pos_embed(const struct pn_op_args *a, struct pn_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 0);
    size_t bytes = pn_type_row_bytes(w->type, (size_t)w->n_cols);
    for (int64_t r = a->row0; r < a->row1; r++) {
        int32_t position = a->batch->pos[r];
        if (position < 0 || position >= w->n_rows)
            return pn_fail(err, PN_INVALID, "position %d is beyond the %lld that the model has learned", position,
                           (long long)w->n_rows);
        pn_type_decode_row(w->type, (const char *)w->data + (size_t)position * bytes, pn_view_at(a->out, r, 0),
                           (size_t)w->n_cols);
    }
    return PN_OK;
}

pn_array pn_output_rows(struct pn_graph *g, pn_array x)
{
    if (!pn_op_want_rows(g, x, "the operand of rows"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ROWS,
                                            .rows = PN_ROWS_OUTPUTS,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 1,
                                            .src = {x, PN_NONE, PN_NONE, PN_NONE}});
}

pn_status pn_ref_rows(const struct pn_op_args *a, struct pn_error *err)
{
    (void)err;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            memcpy(pn_view_at(a->out, r, h), pn_view_at(a->src[0], a->batch->out_rows[r], h),
                   (size_t)a->node->n2 * sizeof(float));
    return PN_OK;
}

pn_array pn_concat(struct pn_graph *g, pn_array a, pn_array b)
{
    if (!pn_op_want_rows(g, a, "the first operand of concat") || !pn_op_want_rows(g, b, "the second operand of concat"))
        return PN_NONE;
    const struct pn_node *x = pn_node(g, a), *y = pn_node(g, b);
    if (x->rows != y->rows || (y->n1 != x->n1 && y->n1 != 1))
        return pn_graph_fail(g, PN_FORMAT, "cannot join rows of %d x %d and of %d x %d values", x->n1, x->n2, y->n1,
                             y->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_CONCAT,
                                            .rows = x->rows,
                                            .n1 = x->n1,
                                            .n2 = x->n2 + y->n2,
                                            .n_src = 2,
                                            .src = {a, b, PN_NONE, PN_NONE}});
}

pn_status pn_ref_concat(const struct pn_op_args *a, struct pn_error *err)
{
    (void)err;
    const struct pn_node *x = pn_node(a->graph, a->node->src[0]), *y = pn_node(a->graph, a->node->src[1]);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            float *out = pn_view_at(a->out, r, h);
            memcpy(out, pn_view_at(a->src[0], r, h), (size_t)x->n2 * sizeof *out);
            memcpy(out + x->n2, pn_view_at(a->src[1], r, y->n1 == 1 ? 0 : h), (size_t)y->n2 * sizeof *out);
        }
    return PN_OK;
}
