/* Feed-forward blocks. */
#include "model/blocks.h"

/* down(act(gate(x)) * up(x)): Shazeer, GLU Variants Improve Transformer, 2020 */
pn_array pn_block_gated_mlp(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    int n_ff = b->hp->layers[layer].n_ff;
    pn_array gate = pn_builder_project_ffn(b, layer, "ffn_gate", x, n_ff); /* (tokens, n_ff) */
    pn_array up = pn_builder_project_ffn(b, layer, "ffn_up", x, n_ff);     /* (tokens, n_ff) */
    pn_array h = pn_mul(b->graph, pn_act(b->graph, gate, b->arch->act), up);
    return pn_builder_project_ffn(b, layer, "ffn_down", h, b->hp->n_embd);
}
