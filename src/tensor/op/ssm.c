/* Selective state spaces: Gu & Dao, Mamba, 2023; Dao & Gu, Transformers are SSMs (Mamba 2), 2024. */
#include "tensor/op/reference.h"

#include <math.h>
#include <stdlib.h>

pn_array pn_ssm_scan(struct pn_graph *g, pn_array x, pn_array dt, pn_array b, pn_array c, pn_array a, pn_array d,
                     size_t offset)
{
    if (a == PN_NONE || d == PN_NONE || !pn_op_want_rows(g, x, "the input of a state space") ||
        !pn_op_want_rows(g, dt, "its steps") || !pn_op_want_rows(g, b, "its B") || !pn_op_want_rows(g, c, "its C"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *nb = pn_node(g, b), *nc = pn_node(g, c), *ndt = pn_node(g, dt);
    bool fits = nb->n1 == nc->n1 && nb->n2 == nc->n2 && n->n1 % nb->n1 == 0 && ndt->n1 == 1 && ndt->n2 == n->n1;
    if (!fits)
        return pn_graph_fail(g, PANTRY_FORMAT,
                             "%d heads, %d steps, B of %d x %d and C of %d x %d do not fit a state space", n->n1,
                             ndt->n2, nb->n1, nb->n2, nc->n1, nc->n2);
    if ((!pn_op_is_vector(g, a, n->n1) && !pn_op_is_vector(g, a, (int64_t)n->n1 * nb->n2)) ||
        !pn_op_is_vector(g, d, n->n1))
        return pn_graph_fail(g, PANTRY_FORMAT, "a state space of %d heads x %d has %d decays and %d skips", n->n1,
                             nb->n2, pn_node(g, a)->n2, pn_node(g, d)->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_SSM_SCAN,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 6,
                                            .src = {x, dt, b, c, a, d},
                                            .recurrent = {.offset = offset}});
}

/* One token of one head; `decay` has one number, or one per value of a state row. */
static void step(const float *x, int dim, float dt, const float *b, const float *c, int n, const float *decay,
                 bool decays, float skip, float *state, float *y)
{
    for (int i = 0; i < dim; i++) {
        float *s = state + (size_t)i * (size_t)n;
        double sum = 0;
        for (int j = 0; j < n; j++) {
            double kept = (double)s[j] * exp((double)dt * (double)decay[decays ? j : 0]);
            s[j] = (float)(kept + (double)dt * (double)x[i] * (double)b[j]);
            sum += (double)s[j] * (double)c[j];
        }
        y[i] = (float)(sum + (double)skip * (double)x[i]);
    }
}

pantry_status pn_ref_ssm_scan(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *wa = pn_op_weight(a, 4);
    int heads = a->node->n1, dim = a->node->n2;
    int groups = pn_node(a->graph, a->node->src[2])->n1, n = pn_node(a->graph, a->node->src[2])->n2;
    bool decays = wa->n_cols != heads;
    float *decay = pn_ref_weight_row(wa, 0), *skip = pn_ref_weight_row(pn_op_weight(a, 5), 0);
    pantry_status status = decay && skip ? PANTRY_OK : pn_no_memory(err, "a state space");
    for (int s = 0; s < a->batch->n_seqs && !status; s++) {
        const struct pn_batch_seq *seq = &a->batch->seqs[s];
        float *state = pn_ref_state(a, seq, (size_t)heads * (size_t)dim * (size_t)n);
        for (int64_t r = seq->start; r < seq->start + seq->n; r++)
            for (int h = 0; h < heads; h++) {
                int group = h / (heads / groups);
                step(pn_view_at(a->src[0], r, h), dim, pn_view_at(a->src[1], r, 0)[h], pn_view_at(a->src[2], r, group),
                     pn_view_at(a->src[3], r, group), n, decay + (size_t)h * (decays ? (size_t)n : 1), decays, skip[h],
                     state + (size_t)h * (size_t)dim * (size_t)n, pn_view_at(a->out, r, h));
            }
    }
    free(decay);
    free(skip);
    return status;
}
