/* Mixtures of experts: Shazeer et al., 2017; shared experts and group routing as in DeepSeek-V3, 2024. */
#include "model/blocks.h"

#include <math.h>

/* Rows of tokens times the matrices of their experts, with scales and biases if the file has them. */
static pn_array project(struct pn_builder *b, int layer, const char *name, pn_array x, pn_array route, int first, int n)
{
    const struct pn_moe_hparams *moe = &b->hp->moe;
    pn_array stack = pn_builder_stack(b, layer, name, first, n, moe->n_expert, b->hp->layers[layer].n_used);
    pn_array y = pn_matmul_each(b->graph, x, stack, route); /* (tokens, n_used, n_out) */
    y = pn_builder_adapt_each(b, layer, name, x, route, first, n, y);
    if (y != PN_NONE && b->arch->ffn.scales && pn_builder_has(b, layer, name, "scale"))
        y = pn_each_scale(b->graph, y, route, pn_builder_vector(b, layer, name, "scale", 0, moe->n_expert));
    if (y != PN_NONE && pn_builder_has(b, layer, name, "bias"))
        y = pn_each_bias(b->graph, y, route, pn_builder_optional(b, layer, name, "bias"));
    return y;
}

static pn_array chosen(struct pn_builder *b, int layer, pn_array logits) /* (tokens, n_expert) -> (tokens, 2, n_used) */
{
    const struct pn_moe_hparams *moe = &b->hp->moe;
    pn_array bias = PN_NONE;
    if (pn_builder_has(b, layer, "exp_probs_b", "bias") || pn_builder_has(b, layer, "exp_probs_b", NULL))
        bias = pn_builder_vector(b, layer, "exp_probs_b", "bias", 0, moe->n_expert);
    return pn_route(b->graph, logits, bias,
                    &(struct pn_route_params){.gate = moe->gate,
                                              .n_expert = moe->n_expert,
                                              .n_used = b->hp->layers[layer].n_used,
                                              .n_groups = moe->n_groups,
                                              .n_groups_used = moe->n_groups_used,
                                              .renormalize = moe->renormalize,
                                              .scale = moe->scale});
}

static pn_array route_of(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> (tokens, 2, n_used) */
{
    return chosen(b, layer, pn_builder_project_ffn(b, layer, "ffn_gate_inp", x, b->hp->moe.n_expert));
}

static pn_array weigh(struct pn_builder *b, pn_array x, pn_array route)
{
    return b->arch->moe.weigh_inputs ? pn_each_scale(b->graph, x, route, PN_NONE) : x;
}

static pn_array experts(struct pn_builder *b, int layer, pn_array x, pn_array route) /* (tokens, n_embd) -> same */
{
    struct pn_graph *g = b->graph;
    pn_array h; /* (tokens, n_used, n_ff) */
    int both = pn_builder_n_rows(b, layer, "ffn_gate_up_exps");
    if (both) { /* gate and up, stored as one */
        pn_array gate = weigh(b, project(b, layer, "ffn_gate_up_exps", x, route, 0, both / 2), route);
        pn_array up = weigh(b, project(b, layer, "ffn_gate_up_exps", x, route, both / 2, both - both / 2), route);
        h = pn_builder_gate(b, gate, up, b->hp->layers[layer].limit_experts);
    } else if (pn_builder_has(b, layer, "ffn_gate_exps", "weight")) {
        pn_array gate = weigh(b, project(b, layer, "ffn_gate_exps", x, route, 0, 0), route);
        pn_array up = weigh(b, project(b, layer, "ffn_up_exps", x, route, 0, 0), route);
        h = pn_builder_gate(b, gate, up, b->hp->layers[layer].limit_experts);
    } else {
        h = pn_act(g, weigh(b, project(b, layer, "ffn_up_exps", x, route, 0, 0), route), b->hp->act);
    }
    pn_array y = project(b, layer, "ffn_down_exps", h, route, 0, 0); /* (tokens, n_used, n_embd) */
    return pn_each_sum(g, y, b->arch->moe.weigh_inputs ? PN_NONE : route);
}

/* The expert that all tokens share, weighted by its own gate if there is one. Gate and up may be stored as one. */
static pn_array shared_expert(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    pn_array up = pn_builder_project_ffn(b, layer, "ffn_up_shexp", x, 0), h;
    int n_up = pn_builder_n_rows(b, layer, "ffn_up_shexp"), n_down = pn_builder_n_cols(b, layer, "ffn_down_shexp");
    float limit = b->hp->layers[layer].limit;
    if (pn_builder_has(b, layer, "ffn_gate_shexp", "weight"))
        h = pn_builder_gate(b, pn_builder_project_ffn(b, layer, "ffn_gate_shexp", x, 0), up, limit);
    else if (n_up == 2 * n_down)
        h = pn_builder_gate(b, pn_slice(b->graph, up, 0, n_down), pn_slice(b->graph, up, n_down, n_down), limit);
    else
        h = pn_act(b->graph, up, b->hp->act);
    pn_array y = pn_builder_project_ffn(b, layer, "ffn_down_shexp", h, b->hp->n_embd);
    if (!pn_builder_has(b, layer, "ffn_gate_inp_shexp", "weight"))
        return y;
    pn_array gate = pn_builder_project_ffn(b, layer, "ffn_gate_inp_shexp", x, 1); /* (tokens, 1) */
    return pn_mul_heads(b->graph, y, pn_act(b->graph, gate, PN_ACT_FN_SIGMOID));
}

static bool counts_fit(struct pn_builder *b, int layer)
{
    int n_used = b->hp->layers[layer].n_used;
    if (b->hp->moe.n_expert > 0 && n_used > 0)
        return true;
    pn_graph_fail(b->graph, PANTRY_FORMAT, "there is a router, but %s.expert_count is %d and expert_used_count %d",
                  b->arch->name, b->hp->moe.n_expert, n_used);
    return false;
}

/* Experts may use a shorter vector than the stream. */
static pn_array routed_experts(struct pn_builder *b, int layer, pn_array x)
{
    pn_array route = route_of(b, layer, b->arch->moe.see_layer_input ? b->layer_input : x);
    if (!pn_builder_has(b, layer, "ffn_latent_down", "weight"))
        return experts(b, layer, x, route);
    pn_array y = experts(b, layer, pn_builder_product(b, layer, "ffn_latent_down", x, 0), route);
    return pn_builder_product(b, layer, "ffn_latent_up", y, b->hp->n_embd);
}

pn_array pn_block_moe(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    struct pn_graph *g = b->graph;
    if (!pn_builder_has(b, layer, "ffn_gate_inp", "weight"))
        return (b->arch->block.dense ? b->arch->block.dense : pn_block_gated_mlp)(b, layer, x);
    if (!counts_fit(b, layer))
        return PN_NONE;
    pn_array y = routed_experts(b, layer, x);
    if (b->arch->moe.with_mlp && pn_builder_has(b, layer, "ffn_up", "weight"))
        y = pn_scale(g, pn_add(g, pn_block_gated_mlp(b, layer, x), y), sqrtf(0.5f), 0);
    if (pn_builder_has(b, layer, "ffn_up_shexp", "weight")) {
        y = pn_add(g, y, shared_expert(b, layer, x));
        if (b->arch->moe.shared_average)
            y = pn_scale(g, y, 0.5f, 0);
    }
    return y;
}

/* Experts of the layer's input, beside a feed-forward block after attention: Snowflake Arctic. */
pn_array pn_block_moe_early(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    if (!counts_fit(b, layer))
        return PN_NONE;
    pn_array y = pn_block_gated_mlp(b, layer, x), early = pn_builder_norm(b, layer, "ffn_norm_exps", b->layer_input);
    return pn_add(b->graph, y, experts(b, layer, early, route_of(b, layer, early)));
}

/* Experts and a feed-forward block in parallel; the router sees the stream, with its own scale. */
pn_array pn_block_moe_beside(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    struct pn_graph *g = b->graph;
    int n_embd = b->hp->n_embd;
    pn_array y = pn_block_gated_mlp(b, layer, x);
    if (!pn_builder_has(b, layer, "ffn_gate_inp", "weight"))
        return y;
    if (!counts_fit(b, layer))
        return PN_NONE;
    pn_array stream = pn_scale(g, pn_rms_norm(g, b->stream, PN_NONE, b->hp->rms_eps), 1 / sqrtf((float)n_embd), 0);
    stream = pn_mul(g, stream, pn_builder_vector(b, layer, "ffn_gate_inp", "scale", 0, n_embd));
    pn_array route = chosen(b, layer, pn_builder_product(b, layer, "ffn_gate_inp", stream, b->hp->moe.n_expert));
    pn_array z = experts(b, layer, pn_builder_norm(b, layer, "pre_ffw_norm_2", b->stream), route);
    return pn_add(g, pn_builder_norm(b, layer, "post_ffw_norm_1", y), pn_builder_norm(b, layer, "post_ffw_norm_2", z));
}
