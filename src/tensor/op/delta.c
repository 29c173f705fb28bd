/* The gated delta rule: Yang et al., Gated Delta Networks, 2024. With a gate for each key channel: Kimi Linear, 2025.
 */
#include "tensor/op/reference.h"

#include <math.h>
#include <stdlib.h>

pn_array pn_delta(struct pn_graph *g, pn_array q, pn_array k, pn_array v, pn_array gate, pn_array beta, pn_array a,
                  const struct pn_recurrent_params *params)
{
    if (a == PN_NONE || !pn_op_want_rows(g, q, "the queries") || !pn_op_want_rows(g, k, "the keys") ||
        !pn_op_want_rows(g, v, "the values") || !pn_op_want_rows(g, gate, "the gate") ||
        !pn_op_want_rows(g, beta, "beta"))
        return PN_NONE;
    const struct pn_node *nq = pn_node(g, q), *nk = pn_node(g, k), *nv = pn_node(g, v), *ng = pn_node(g, gate),
                         *nb = pn_node(g, beta), *na = pn_node(g, a);
    bool scalar = ng->n1 == 1 && ng->n2 == nv->n1, vector = ng->n1 == nv->n1 && ng->n2 == nk->n2;
    if (nq->n1 != nk->n1 || nq->n2 != nk->n2 || nv->n1 % nk->n1 || !(scalar || vector))
        return pn_graph_fail(g, PANTRY_FORMAT,
                             "queries of %d x %d, keys of %d x %d, values of %d x %d and gates of %d x %d do not fit",
                             nq->n1, nq->n2, nk->n1, nk->n2, nv->n1, nv->n2, ng->n1, ng->n2);
    if (nb->n1 != 1 || nb->n2 != nv->n1 || na->rows != PN_ROWS_NONE || na->n1 != 1 || na->n2 != nv->n1)
        return pn_graph_fail(g, PANTRY_FORMAT, "%d heads have %d x %d betas and %d x %d decays", nv->n1, nb->n1, nb->n2,
                             na->n1, na->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_DELTA,
                                            .rows = nv->rows,
                                            .n1 = nv->n1,
                                            .n2 = nv->n2,
                                            .n_src = 6,
                                            .src = {q, k, v, gate, beta, a},
                                            .recurrent = *params});
}

struct head {
    int dim_k, dim_v;
    bool gates; /* one per key channel */
    float decay, beta, scale;
    const float *q, *k, *v, *gate;
};

static void step(const struct head *h, float *state, float *y)
{
    for (int j = 0; j < h->dim_v; j++) {
        float *s = state + (size_t)j * (size_t)h->dim_k;
        double found = 0, sum = 0;
        for (int i = 0; i < h->dim_k; i++) {
            s[i] = (float)((double)s[i] * exp((double)h->decay * (double)h->gate[h->gates ? i : 0]));
            found += (double)s[i] * (double)h->k[i];
        }
        double change = ((double)h->v[j] - found) * (double)h->beta;
        for (int i = 0; i < h->dim_k; i++) {
            s[i] = (float)((double)s[i] + change * (double)h->k[i]);
            sum += (double)s[i] * (double)h->q[i];
        }
        y[j] = (float)(sum * (double)h->scale);
    }
}

pantry_status pn_ref_delta(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_node *nk = pn_node(a->graph, a->node->src[1]), *ng = pn_node(a->graph, a->node->src[3]);
    int heads = a->node->n1, heads_k = nk->n1;
    float *decay = pn_ref_weight_row(pn_op_weight(a, 5), 0);
    if (!decay)
        return pn_no_memory(err, "a delta rule");
    struct head at = {.dim_k = nk->n2, .dim_v = a->node->n2, .scale = a->node->recurrent.scale};
    at.gates = ng->n1 != 1 || ng->n2 != heads;
    for (int s = 0; s < a->batch->n_seqs; s++) {
        const struct pn_batch_seq *seq = &a->batch->seqs[s];
        float *state = pn_ref_state(a, seq, (size_t)heads * (size_t)at.dim_v * (size_t)at.dim_k);
        for (int64_t r = seq->start; r < seq->start + seq->n; r++)
            for (int h = 0; h < heads; h++) {
                int from = a->node->recurrent.interleaved ? h / (heads / heads_k) : h % heads_k;
                at.q = pn_view_at(a->src[0], r, from);
                at.k = pn_view_at(a->src[1], r, from);
                at.v = pn_view_at(a->src[2], r, h);
                at.gate = at.gates ? pn_view_at(a->src[3], r, h) : pn_view_at(a->src[3], r, 0) + h;
                at.beta = pn_view_at(a->src[4], r, 0)[h];
                at.decay = decay[h];
                step(&at, state + (size_t)h * (size_t)at.dim_v * (size_t)at.dim_k, pn_view_at(a->out, r, h));
            }
    }
    free(decay);
    return PANTRY_OK;
}
