/* Delta rules with gates: Yang et al., Gated Delta Networks, 2024; Kimi Linear (KDA), 2025. */
#include "model/blocks.h"

#include <math.h>

static pn_array project(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out)
{
    return b->arch->recurrent.scales ? pn_builder_project(b, layer, name, x, n_out)
                                     : pn_builder_product(b, layer, name, x, n_out);
}

/* x / sqrt(|x|^2 + eps) for each head; times `scale`. */
static pn_array unit(struct pn_builder *b, pn_array x, float scale)
{
    if (x == PN_NONE)
        return PN_NONE;
    float n = (float)pn_node(b->graph, x)->n2;
    return pn_scale(b->graph, pn_rms_norm(b->graph, x, PN_NONE, b->hp->rms_eps / n), scale / sqrtf(n), 0);
}

/* softplus(alpha + dt), sigmoid(beta): (tokens, n_embd) -> (tokens, heads). One product may compute both, per key head:
 * the betas of its value heads, then their alphas. */
static void gates(struct pn_builder *b, int layer, pn_array x, pn_array *alpha, pn_array *beta)
{
    struct pn_graph *g = b->graph;
    int heads_k = b->hp->recurrent.n_group, heads = b->hp->recurrent.n_rank, group = heads / heads_k;
    if (pn_builder_has(b, layer, "ssm_ba", "weight")) {
        pn_array both = pn_reshape(g, project(b, layer, "ssm_ba", x, 2 * heads), heads_k, 2 * group);
        *beta = pn_slice(g, both, 0, group);
        *alpha = pn_slice(g, both, group, group);
    } else {
        *beta = project(b, layer, "ssm_beta", x, heads);
        *alpha = project(b, layer, "ssm_alpha", x, heads);
    }
    *beta = pn_reshape(g, pn_act(g, *beta, PN_ACT_FN_SIGMOID), 1, heads);
    *alpha = pn_add(g, *alpha, pn_builder_vector(b, layer, "ssm_dt", "bias", 0, heads));
    *alpha = pn_reshape(g, pn_act(g, *alpha, PN_ACT_FN_SOFTPLUS), 1, heads);
}

/* One convolution for queries, keys and values; the output is normalized and gated. */
pn_array pn_block_delta(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    const struct pn_recurrent_hparams *hp = &b->hp->recurrent;
    struct pn_graph *g = b->graph;
    int heads_k = hp->n_group, heads = hp->n_rank, dim_k = hp->n_state;
    if (heads_k < 1 || heads < 1 || dim_k < 1 || heads % heads_k || hp->n_inner < 1 || hp->n_inner % heads)
        return pn_graph_fail(g, PANTRY_FORMAT, "%d values in %d heads with %d key heads of %d are not supported",
                             hp->n_inner, heads, heads_k, dim_k);
    int keys = heads_k * dim_k, values = hp->n_inner, dim_v = values / heads;
    pn_array qkv = project(b, layer, "attn_qkv", x, 2 * keys + values); /* (tokens, 2 keys + values) */
    pn_array z = project(b, layer, "attn_gate", x, values);             /* (tokens, values) */
    pn_array alpha, beta;                                               /* (tokens, heads) */
    gates(b, layer, x, &alpha, &beta);
    qkv = pn_act(g, pn_builder_conv(b, layer, "ssm_conv1d", qkv, hp->n_conv), PN_ACT_FN_SILU);
    pn_array q = unit(b, pn_reshape(g, pn_slice(g, qkv, 0, keys), heads_k, dim_k), 1);
    pn_array k = unit(b, pn_reshape(g, pn_slice(g, qkv, keys, keys), heads_k, dim_k), 1);
    pn_array v = pn_reshape(g, pn_slice(g, qkv, 2 * keys, values), heads, dim_v); /* (tokens, heads, dim_v) */
    struct pn_recurrent_params params = {
        .offset = pn_builder_state(b, (size_t)values * (size_t)dim_k),
        .scale = 1 / sqrtf((float)dim_k),
        .interleaved = b->arch->recurrent.interleaved,
    };
    pn_array y = pn_delta(g, q, k, v, alpha, beta, pn_builder_vector(b, layer, "ssm_a", NULL, 0, heads), &params);
    y = pn_rms_norm(g, y, pn_builder_vector(b, layer, "ssm_norm", "weight", 0, dim_v), b->hp->rms_eps);
    y = pn_mul(g, y, pn_act(g, pn_reshape(g, z, heads, dim_v), PN_ACT_FN_SILU));
    return project(b, layer, "ssm_out", y, b->hp->n_embd);
}

/* One convolution each for queries, keys and values; gates are low-rank. */
pn_array pn_block_kda(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    struct pn_graph *g = b->graph;
    static const char *const weights[] = {"attn_q", "attn_k", "attn_v"}, *const kernels[] = {"ssm_conv1d_q",
                                                                                             "ssm_conv1d_k",
                                                                                             "ssm_conv1d_v"};
    int heads = pn_builder_n_rows(b, layer, "ssm_beta"), dim = b->hp->recurrent.kda_dim, n = heads * dim;
    if (heads < 1 || dim < 1 || heads > INT32_MAX / dim)
        return pn_graph_fail(g, PANTRY_FORMAT, "%d heads of %d are not supported", heads, dim);
    pn_array qkv[3];
    for (int i = 0; i < 3; i++) {
        qkv[i] = pn_builder_conv(b, layer, kernels[i], pn_builder_product(b, layer, weights[i], x, n),
                                 b->hp->recurrent.n_conv);
        qkv[i] = pn_reshape(g, pn_act(g, qkv[i], PN_ACT_FN_SILU), heads, dim); /* (tokens, heads, dim) */
    }
    pn_array gate = pn_builder_product(b, layer, "ssm_f_b", pn_builder_product(b, layer, "ssm_f_a", x, dim), n);
    gate = pn_act(g, pn_add(g, gate, pn_builder_vector(b, layer, "ssm_dt", "bias", 0, n)), PN_ACT_FN_SOFTPLUS);
    pn_array beta = pn_act(g, pn_builder_product(b, layer, "ssm_beta", x, heads), PN_ACT_FN_SIGMOID);
    struct pn_recurrent_params params = {
        .offset = pn_builder_state(b, (size_t)n * (size_t)dim),
        .scale = 1 / sqrtf((float)dim),
    };
    pn_array y = pn_delta(g, unit(b, qkv[0], 1), unit(b, qkv[1], 1), qkv[2], pn_reshape(g, gate, heads, dim), beta,
                          pn_builder_vector(b, layer, "ssm_a", NULL, 0, heads), &params);
    y = pn_rms_norm(g, y, pn_builder_vector(b, layer, "ssm_norm", "weight", 0, dim), b->hp->rms_eps);
    pn_array z = pn_builder_product(b, layer, "ssm_g_b", pn_builder_product(b, layer, "ssm_g_a", x, dim), n);
    y = pn_mul(g, y, pn_act(g, pn_reshape(g, z, heads, dim), PN_ACT_FN_SIGMOID));
    return pn_builder_product(b, layer, "attn_output", y, b->hp->n_embd);
}
