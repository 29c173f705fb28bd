/* Layers that attend to pictures: Alayrac et al., Flamingo, 2022, in the form of Llama 3.2 Vision. */
#include "model/blocks.h"

#include <math.h>

/* Heads, normalized: (tokens, n_head, dim). */
static pn_array heads(struct pn_builder *b, int layer, const char *name, const char *norm, pn_array x, int n_head)
{
    int dim = b->hp->layers[layer].dim_k;
    x = pn_reshape(b->graph, pn_builder_project(b, layer, name, x, n_head * dim), n_head, dim);
    return norm ? pn_rms_norm(b->graph, x, pn_builder_vector(b, layer, norm, "weight", 0, dim), b->hp->rms_eps) : x;
}

/* Pictures are in the rows that the step gives; tokens of text have rows of zeros, whose values are zeros too. So a
 * token of a text without pictures, which sees itself, gets nothing. After the rows comes a flag: whether a picture is
 * before the token. Without one, what it sees counts, but the feed-forward block does not (as in transformers). */
pn_array pn_builder_cross(struct pn_builder *b, int layer, pn_array x, bool last)
{
    struct pn_graph *g = b->graph;
    const struct pn_layer_hparams *l = &b->hp->layers[layer];
    int n_embd = b->hp->n_embd;
    pn_array flag = PN_NONE;
    if (b->weights->given_apart) {
        pn_array shown = pn_given(g, PN_NONE, 0, n_embd, false); /* (tokens, n_embd) */
        flag = pn_given(g, PN_NONE, n_embd, 1, false);           /* (tokens, 1) */
        pn_array q = heads(b, layer, "attn_q", "attn_q_norm", pn_builder_norm(b, layer, "attn_norm", x), l->n_head);
        pn_array k = heads(b, layer, "attn_k", "attn_k_norm", shown, l->n_head_kv);
        pn_array v = heads(b, layer, "attn_v", NULL, shown, l->n_head_kv);
        pn_array y = pn_builder_attend(b, layer, q, k, v, 1 / sqrtf((float)l->dim_k));
        pn_array again = pn_builder_attend_written(b, layer, k, 1);
        b->shown = b->shown == PN_NONE ? again : pn_add(g, b->shown, again);
        y = pn_builder_project(b, layer, "attn_output", y, n_embd);
        x = pn_add(g, pn_builder_gated(b, layer, "cross_attn_gate.weight", y), x);
    }
    if (last) { /* the other rows are not read any more */
        x = pn_output_rows(g, x);
        flag = flag == PN_NONE ? PN_NONE : pn_output_rows(g, flag);
    }
    if (flag == PN_NONE)
        return x;
    pn_array y = b->arch->block.mlp(b, layer, pn_builder_norm(b, layer, "ffn_norm", x));
    return pn_add(g, pn_builder_gated(b, layer, "cross_mlp_gate.weight", pn_mul_heads(g, y, flag)), x);
}
