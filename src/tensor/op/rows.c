/* Looking up rows: token embeddings, learned positions, the requested rows; joining rows, and their mean over a
 * sequence. */
#include "tensor/op/reference.h"

#include <string.h>

static pn_array lookup(struct pn_graph *g, enum pn_op op, pn_array table)
{
    if (table == PN_NONE)
        return PN_NONE;
    return pn_graph_add(
        g, (struct pn_node){
               .op = op, .rows = PN_ROWS_TOKENS, .n1 = 1, .n2 = pn_node(g, table)->n2, .n_src = 1, .src = {table}});
}

pn_array pn_embed(struct pn_graph *g, pn_array table)
{
    return lookup(g, PN_OP_EMBED, table);
}

pantry_status pn_ref_embed(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 0);
    for (int64_t r = a->row0; r < a->row1; r++) {
        int32_t id = a->batch->ids[r];
        if (id < 0 || id >= w->n_rows)
            return pn_fail(err, PANTRY_INVALID, "token id %d is not in the vocabulary of %lld", id,
                           (long long)w->n_rows);
        pn_weight_decode(w, 0, id, 0, w->n_cols, pn_view_at(a->out, r, 0));
    }
    return PANTRY_OK;
}

pn_array pn_given(struct pn_graph *g, pn_array x, int offset, int n, bool add)
{
    if (x != PN_NONE && (!pn_op_want_rows(g, x, "the operand of given") || pn_node(g, x)->n2 != n))
        return pn_graph_fail(g, PANTRY_INTERNAL, "given rows have %d values, unlike the rows they replace", n);
    struct pn_node node = {
        .op = PN_OP_GIVEN, .rows = PN_ROWS_TOKENS, .n1 = 1, .n2 = n, .n_src = x != PN_NONE, .given = {offset, add}};
    node.src[0] = x;
    return pn_graph_add(g, node);
}

pantry_status pn_ref_given(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    size_t n = (size_t)a->node->n2;
    for (int64_t r = a->row0; r < a->row1; r++) {
        int32_t row = a->batch->given ? a->batch->given[r] : -1;
        const float *from =
            row < 0 ? NULL : a->batch->rows + (size_t)row * a->batch->rows_stride + a->node->given.offset;
        const float *x = a->node->n_src ? pn_view_at(a->src[0], r, 0) : NULL;
        float *out = pn_view_at(a->out, r, 0);
        for (size_t i = 0; i < n; i++)
            out[i] = (from ? from[i] : 0) + (x && (!from || a->node->given.add) ? x[i] : 0);
    }
    return PANTRY_OK;
}

pn_array pn_pos_embed(struct pn_graph *g, pn_array table)
{
    return lookup(g, PN_OP_POS_EMBED, table);
}

pantry_status pn_ref_pos_embed(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 0);
    for (int64_t r = a->row0; r < a->row1; r++) {
        int32_t position = a->batch->pos[r];
        if (position < 0 || position >= w->n_rows)
            return pn_fail(err, PANTRY_INVALID, "position %d is beyond the %lld that the model has learned", position,
                           (long long)w->n_rows);
        pn_weight_decode(w, 0, position, 0, w->n_cols, pn_view_at(a->out, r, 0));
    }
    return PANTRY_OK;
}

pn_array pn_kind_embed(struct pn_graph *g, pn_array table)
{
    return lookup(g, PN_OP_KIND_EMBED, table);
}

pantry_status pn_ref_kind_embed(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 0);
    for (int64_t r = a->row0; r < a->row1; r++) {
        int32_t kind = a->batch->kinds && w->n_rows > 1 ? a->batch->kinds[r] : 0;
        if (kind < 0 || kind >= w->n_rows)
            return pn_fail(err, PANTRY_INVALID, "token kind %d is not one of %lld", kind, (long long)w->n_rows);
        pn_weight_decode(w, 0, kind, 0, w->n_cols, pn_view_at(a->out, r, 0));
    }
    return PANTRY_OK;
}

static pn_array rows_of(struct pn_graph *g, pn_array x, enum pn_rows rows)
{
    if (!pn_op_want_rows(g, x, "the operand of rows"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (n->rows != PN_ROWS_TOKENS)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operand of rows must be tokens, not %s", pn_rows_name(n->rows));
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_ROWS, .rows = rows, .n1 = n->n1, .n2 = n->n2, .n_src = 1, .src = {x}});
}

pn_array pn_output_rows(struct pn_graph *g, pn_array x)
{
    return rows_of(g, x, PN_ROWS_OUTPUTS);
}

pn_array pn_hidden_rows(struct pn_graph *g, pn_array x)
{
    return rows_of(g, x, PN_ROWS_HIDDEN);
}

pantry_status pn_ref_rows(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    const int32_t *list = pn_batch_list(a->batch, a->node->rows);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            memcpy(pn_view_at(a->out, r, h), pn_view_at(a->src[0], list[r], h), (size_t)a->node->n2 * sizeof(float));
    return PANTRY_OK;
}

pn_array pn_mean_rows(struct pn_graph *g, pn_array x)
{
    if (!pn_op_want_rows(g, x, "the operand of mean_rows"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (n->rows != PN_ROWS_OUTPUTS && n->rows != PN_ROWS_HIDDEN)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operand of mean_rows must be outputs");
    return pn_graph_add(
        g, (struct pn_node){
               .op = PN_OP_MEAN_ROWS, .rows = PN_ROWS_SEQS, .n1 = n->n1, .n2 = n->n2, .n_src = 1, .src = {x}});
}

/* The count of numbers below `limit` in the sorted `list`. */
static int32_t count_below(const int32_t *list, int64_t n, int64_t limit)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (list[middle] < limit)
            low = middle + 1;
        else
            high = middle;
    }
    return (int32_t)low;
}

pantry_status pn_ref_mean_rows(const struct pn_op_args *a, struct pantry_error *err)
{
    int n2 = a->node->n2;
    enum pn_rows rows = pn_node(a->graph, a->node->src[0])->rows;
    const int32_t *list = pn_batch_list(a->batch, rows);
    int64_t n = pn_batch_n_rows(a->batch, rows);
    for (int64_t r = a->row0; r < a->row1; r++) {
        const struct pn_batch_seq *seq = &a->batch->seqs[r];
        int32_t first = count_below(list, n, seq->start), end = count_below(list, n, (int64_t)seq->start + seq->n);
        if (first == end)
            return pn_fail(err, PANTRY_INTERNAL, "sequence %lld has no outputs", (long long)r);
        for (int h = 0; h < a->node->n1; h++)
            for (int i = 0; i < n2; i++) {
                double sum = 0;
                for (int32_t o = first; o < end; o++)
                    sum += (double)pn_view_at(a->src[0], o, h)[i];
                pn_view_at(a->out, r, h)[i] = (float)(sum / (double)(end - first));
            }
    }
    return PANTRY_OK;
}

pn_array pn_concat(struct pn_graph *g, pn_array a, pn_array b)
{
    if (!pn_op_want_rows(g, a, "the first operand of concat") || !pn_op_want_rows(g, b, "the second operand of concat"))
        return PN_NONE;
    const struct pn_node *x = pn_node(g, a), *y = pn_node(g, b);
    if (x->rows != y->rows || (y->n1 != x->n1 && y->n1 != 1))
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot join rows of %d x %d and of %d x %d values", x->n1, x->n2, y->n1,
                             y->n2);
    return pn_graph_add(
        g, (struct pn_node){
               .op = PN_OP_CONCAT, .rows = x->rows, .n1 = x->n1, .n2 = x->n2 + y->n2, .n_src = 2, .src = {a, b}});
}

pantry_status pn_ref_concat(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    const struct pn_node *x = pn_node(a->graph, a->node->src[0]), *y = pn_node(a->graph, a->node->src[1]);
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++) {
            float *out = pn_view_at(a->out, r, h);
            memcpy(out, pn_view_at(a->src[0], r, h), (size_t)x->n2 * sizeof *out);
            memcpy(out + x->n2, pn_view_at(a->src[1], r, y->n1 == 1 ? 0 : h), (size_t)y->n2 * sizeof *out);
        }
    return PANTRY_OK;
}

pn_array pn_after(struct pn_graph *g, pn_array x, pn_array y)
{
    if (!pn_op_want_rows(g, x, "the operand of after") || !pn_op_want_rows(g, y, "what after waits for"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (pn_node(g, y)->rows != n->rows)
        return pn_graph_fail(g, PANTRY_INTERNAL, "an array of %s waits for %s", pn_rows_name(n->rows),
                             pn_rows_name(pn_node(g, y)->rows));
    return pn_graph_add(
        g, (struct pn_node){.op = PN_OP_AFTER, .rows = n->rows, .n1 = n->n1, .n2 = n->n2, .n_src = 2, .src = {x, y}});
}

pantry_status pn_ref_after(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    for (int64_t r = a->row0; r < a->row1; r++)
        for (int h = 0; h < a->node->n1; h++)
            memcpy(pn_view_at(a->out, r, h), pn_view_at(a->src[0], r, h), (size_t)a->node->n2 * sizeof(float));
    return PANTRY_OK;
}

/* ---- gradients ---- */

pn_array pn_rows_back(struct pn_graph *g, pn_array x)
{
    if (!pn_op_want_rows(g, x, "the operand of rows_back"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x);
    if (n->rows != PN_ROWS_OUTPUTS && n->rows != PN_ROWS_HIDDEN)
        return pn_graph_fail(g, PANTRY_INTERNAL, "the operand of rows_back must be outputs");
    return pn_graph_add(
        g, (struct pn_node){
               .op = PN_OP_ROWS_BACK, .rows = PN_ROWS_TOKENS, .n1 = n->n1, .n2 = n->n2, .n_src = 1, .src = {x}});
}

pantry_status pn_ref_rows_back(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    enum pn_rows rows = pn_node(a->graph, a->node->src[0])->rows;
    const int32_t *list = pn_batch_list(a->batch, rows);
    int64_t n = pn_batch_n_rows(a->batch, rows), at = count_below(list, n, a->row0);
    size_t bytes = (size_t)a->node->n2 * sizeof(float);
    for (int64_t r = a->row0; r < a->row1; r++) {
        bool listed = at < n && list[at] == r;
        for (int h = 0; h < a->node->n1; h++)
            if (listed)
                memcpy(pn_view_at(a->out, r, h), pn_view_at(a->src[0], at, h), bytes);
            else
                memset(pn_view_at(a->out, r, h), 0, bytes);
        at += listed;
    }
    return PANTRY_OK;
}

void pn_back_rows(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array x = pn_node(t->g, y)->src[0];
    pn_grad_add(t, x, pn_rows_back(t->g, dy));
}

void pn_back_concat(struct pn_grad *t, pn_array y, pn_array dy)
{
    pn_array a = pn_node(t->g, y)->src[0], b = pn_node(t->g, y)->src[1];
    int first = pn_node(t->g, a)->n2, second = pn_node(t->g, b)->n2;
    if (pn_grad_wants(t, a))
        pn_grad_add(t, a, pn_slice(t->g, dy, 0, first));
    if (pn_grad_wants(t, b)) {
        pn_array db = pn_slice(t->g, dy, first, second);
        bool one = pn_node(t->g, b)->n1 == 1 && pn_node(t->g, db)->n1 > 1;
        pn_grad_add(t, b, one ? pn_each_sum(t->g, db, PN_NONE) : db);
    }
}
