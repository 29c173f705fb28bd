/* Short causal convolutions over the tokens of each sequence. */
#include "tensor/op/reference.h"

#include <stdlib.h>
#include <string.h>

pn_array pn_conv(struct pn_graph *g, pn_array x, pn_array weight, size_t offset)
{
    if (weight == PN_NONE || !pn_op_want_rows(g, x, "the operand of a convolution"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *w = pn_node(g, weight);
    if (w->rows != PN_ROWS_NONE || w->n1 != 1 || n->n1 != 1 || w->n2 % n->n2)
        return pn_graph_fail(g, PANTRY_FORMAT,
                             "a convolution of %d x %d channels cannot have a kernel of %d x %d values", n->n1, n->n2,
                             w->n1, w->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_CONV,
                                            .rows = n->rows,
                                            .n1 = 1,
                                            .n2 = n->n2,
                                            .n_src = 2,
                                            .src = {x, weight},
                                            .recurrent = {.offset = offset}});
}

/* One sequence: `past` are its last k - 1 inputs, before the step and after it. */
static void convolve(const struct pn_op_args *a, const struct pn_batch_seq *seq, int k, const float *weight,
                     const float *past, float *past_out)
{
    int channels = a->node->n2;
    for (int c = 0; c < channels; c++)
        for (int t = 0; t < seq->n; t++) {
            double sum = 0;
            for (int i = 0; i < k; i++) {
                int from = t - (k - 1) + i;
                float x = from < 0 ? past[(size_t)(from + k - 1) * (size_t)channels + (size_t)c]
                                   : pn_view_at(a->src[0], seq->start + from, 0)[c];
                sum += (double)x * (double)weight[(size_t)c * (size_t)k + (size_t)i];
            }
            pn_view_at(a->out, seq->start + t, 0)[c] = (float)sum;
        }
    for (int i = 0; i < k - 1; i++) { /* oldest first, so rows move towards the front */
        int from = seq->n - (k - 1) + i;
        float *to = past_out + (size_t)i * (size_t)channels;
        const float *x =
            from < 0 ? past + (size_t)(from + k - 1) * (size_t)channels : pn_view_at(a->src[0], seq->start + from, 0);
        memcpy(to, x, (size_t)channels * sizeof *to);
    }
}

pantry_status pn_ref_conv(const struct pn_op_args *a, struct pantry_error *err)
{
    const struct pn_weight *w = pn_op_weight(a, 1);
    float *weight = pn_ref_weight_row(w, 0);
    if (!weight)
        return pn_no_memory(err, w->name);
    for (int s = 0; s < a->batch->n_seqs; s++) {
        const struct pn_batch_seq *seq = &a->batch->seqs[s];
        convolve(a, seq, (int)(w->n_cols / a->node->n2), weight,
                 pn_batch_state_in(a->batch, seq, a->node->recurrent.offset),
                 pn_batch_state_out(a->batch, seq, a->node->recurrent.offset));
    }
    free(weight);
    return PANTRY_OK;
}
