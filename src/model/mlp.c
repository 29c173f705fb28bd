/* Feed-forward blocks. */
#include "model/blocks.h"

#include <math.h>

/* gpt-oss: act(min(gate, limit)) * (clamp(up, -limit, limit) + 1) */
static pn_array limited_gate(struct pn_builder *b, pn_array gate, pn_array up, float limit)
{
    struct pn_graph *g = b->graph;
    gate = pn_act(g, pn_clamp(g, gate, -INFINITY, limit), b->hp->act);
    up = pn_scale(g, pn_clamp(g, up, -limit, limit), 1, 1);
    return pn_mul(g, gate, up);
}

pn_array pn_builder_gate(struct pn_builder *b, pn_array gate, pn_array up, float limit)
{
    struct pn_graph *g = b->graph;
    if (b->arch->ffn.swiglu_limit > 0)
        return limited_gate(b, gate, up, b->arch->ffn.swiglu_limit);
    if (limit <= 0)
        return pn_mul(g, pn_act(g, gate, b->hp->act), up);
    up = pn_clamp(g, up, -limit, limit);
    if (b->arch->ffn.limit_first)
        return pn_mul(g, pn_act(g, pn_clamp(g, gate, -INFINITY, limit), b->hp->act), up);
    return pn_mul(g, pn_clamp(g, pn_act(g, gate, b->hp->act), -INFINITY, limit), up);
}

/* down(act(up(x))) */
pn_array pn_block_mlp(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    pn_array h = pn_builder_project_ffn(b, layer, "ffn_up", x, b->hp->layers[layer].n_ff); /* (tokens, n_ff) */
    h = pn_act(b->graph, h, b->arch->ffn.plain_relu ? PN_ACT_FN_RELU : b->hp->act);
    pn_array inverse = pn_builder_inverse(b, layer, "ffn.act", "scales");
    if (inverse != PN_NONE)
        h = pn_mul(b->graph, h, inverse);
    return pn_builder_project_ffn(b, layer, "ffn_down", h, b->hp->n_embd);
}

/* down(xielu(up(x))), xielu(h) = p max(h, 0)^2 + b h + n (elu(h) - h): Huang & Schlag, Deriving Activation Functions
 * Using Integration, 2024. */
pn_array pn_block_xielu_mlp(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    const struct pn_layer_hparams *l = &b->hp->layers[layer];
    struct pn_graph *g = b->graph;
    pn_array h = pn_builder_project_ffn(b, layer, "ffn_up", x, l->n_ff); /* (tokens, n_ff) */
    pn_array squares = pn_scale(g, pn_act(g, h, PN_ACT_FN_RELU2), l->xielu_p, 0);
    pn_array below = pn_scale(g, pn_act(g, h, PN_ACT_FN_ELU), l->xielu_n, 0);
    h = pn_add(g, pn_add(g, squares, below), pn_scale(g, h, l->xielu_beta - l->xielu_n, 0));
    return pn_builder_project_ffn(b, layer, "ffn_down", h, b->hp->n_embd);
}

/* down(act(gate(x)) * up(x)): Shazeer, GLU Variants Improve Transformer, 2020. Gate and up may be stored as one. */
pn_array pn_block_gated_mlp(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    int n_ff = b->hp->layers[layer].n_ff;
    pn_array gate, up; /* (tokens, n_ff) */
    bool fused = n_ff > 0 && !pn_builder_has(b, layer, "ffn_gate", "weight") &&
                 pn_builder_n_rows(b, layer, "ffn_up") == 2 * n_ff;
    if (fused) {
        gate = pn_builder_project_rows(b, layer, "ffn_up", x, 0, n_ff, 2 * n_ff, b->arch->ffn.scales);
        up = pn_builder_project_rows(b, layer, "ffn_up", x, n_ff, n_ff, 2 * n_ff, b->arch->ffn.scales);
    } else {
        gate = pn_builder_project_ffn(b, layer, "ffn_gate", x, n_ff);
        up = pn_builder_project_ffn(b, layer, "ffn_up", x, n_ff);
    }
    pn_array h;
    float sparsity = b->hp->layers[layer].sparsity;
    if (sparsity > -INFINITY)
        gate = pn_cutoff(b->graph, gate, sparsity);
    h = pn_builder_gate(b, gate, up, b->hp->layers[layer].limit);
    if (pn_builder_has(b, layer, "ffn_sub_norm", "weight"))
        h = pn_builder_norm(b, layer, "ffn_sub_norm", h);
    return pn_builder_project_ffn(b, layer, "ffn_down", h, b->hp->n_embd);
}

/* Gated if the file has a gate. */
pn_array pn_block_any_mlp(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    int n_ff = b->hp->layers[layer].n_ff;
    bool fused = n_ff > 0 && pn_builder_n_rows(b, layer, "ffn_up") == 2 * n_ff;
    bool gated = fused || pn_builder_has(b, layer, "ffn_gate", "weight");
    return gated ? pn_block_gated_mlp(b, layer, x) : pn_block_mlp(b, layer, x);
}
