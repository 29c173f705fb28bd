/* Selective state spaces: Gu & Dao, Mamba, 2023; Dao & Gu, Transformers are SSMs (Mamba 2), 2024. */
#include "model/blocks.h"

static pn_array silu_conv(struct pn_builder *b, int layer, pn_array x)
{
    return pn_act(b->graph, pn_builder_conv(b, layer, "ssm_conv1d", x, b->hp->recurrent.n_conv), PN_ACT_FN_SILU);
}

/* A norm with the weight of that name; without weights if the model says so. */
static pn_array norm(struct pn_builder *b, int layer, const char *name, pn_array x)
{
    pn_array weight = pn_builder_optional(b, layer, name, "weight");
    if (weight == PN_NONE && !b->hp->recurrent.dt_b_c_rms)
        return x;
    return pn_rms_norm(b->graph, x, weight, b->hp->rms_eps);
}

/* Every channel is a head, with a decay per value of its state. */
pn_array pn_block_mamba(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    const struct pn_recurrent_hparams *hp = &b->hp->recurrent;
    struct pn_graph *g = b->graph;
    int inner = hp->n_inner, n = hp->n_state, rank = hp->n_rank;
    if (inner < 1 || n < 1 || rank < 1 || inner > INT32_MAX / 2 / n)
        return pn_graph_fail(g, PANTRY_FORMAT, "a state space of %d x %d values and rank %d is not supported", inner, n,
                             rank);
    pn_array xz = pn_builder_project(b, layer, "ssm_in", x, 2 * inner);    /* (tokens, 2 inner): x, z */
    pn_array y = silu_conv(b, layer, pn_slice(g, xz, 0, inner));           /* (tokens, inner) */
    pn_array dbc = pn_builder_product(b, layer, "ssm_x", y, rank + 2 * n); /* (tokens, rank + 2 n): dt, B, C */
    pn_array dt = norm(b, layer, "ssm_dt_norm", pn_slice(g, dbc, 0, rank));
    pn_array bs = norm(b, layer, "ssm_b_norm", pn_slice(g, dbc, rank, n));
    pn_array cs = norm(b, layer, "ssm_c_norm", pn_slice(g, dbc, rank + n, n));
    dt = pn_act(g, pn_builder_project(b, layer, "ssm_dt", dt, inner), PN_ACT_FN_SOFTPLUS); /* (tokens, inner) */
    y = pn_ssm_scan(g, pn_reshape(g, y, inner, 1), dt, bs, cs, pn_builder_vector(b, layer, "ssm_a", NULL, 0, inner * n),
                    pn_builder_vector(b, layer, "ssm_d", NULL, 0, inner),
                    pn_builder_state(b, (size_t)inner * (size_t)n));
    pn_array z = pn_act(g, pn_slice(g, xz, inner, inner), PN_ACT_FN_SILU);
    return pn_builder_project(b, layer, "ssm_out", pn_mul(g, z, pn_reshape(g, y, 1, inner)), b->hp->n_embd);
}

/* Heads of many channels with one decay each; the heads of a group share B and C. */
pn_array pn_block_mamba2(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    const struct pn_recurrent_hparams *hp = &b->hp->recurrent;
    struct pn_graph *g = b->graph;
    int inner = hp->n_inner, n = hp->n_state, heads = hp->n_rank, groups = hp->n_group;
    if (heads < 1 || groups < 1 || n < 1 || inner < 1 || inner % heads || inner % groups)
        return pn_graph_fail(g, PANTRY_FORMAT,
                             "a state space of %d channels in %d heads and %d groups is not supported", inner, heads,
                             groups);
    int mixed = inner + 2 * groups * n;
    pn_array all = pn_builder_project(b, layer, "ssm_in", x, inner + mixed + heads); /* z, (x, B, C), dt */
    pn_array xbc = silu_conv(b, layer, pn_slice(g, all, inner, mixed));              /* (tokens, mixed) */
    pn_array dt =
        pn_add(g, pn_slice(g, all, inner + mixed, heads), pn_builder_vector(b, layer, "ssm_dt", "bias", 0, heads));
    pn_array xs = pn_reshape(g, pn_slice(g, xbc, 0, inner), heads, inner / heads); /* (tokens, heads, dim) */
    pn_array bs = pn_reshape(g, pn_slice(g, xbc, inner, groups * n), groups, n);   /* (tokens, groups, n) */
    pn_array cs = pn_reshape(g, pn_slice(g, xbc, inner + groups * n, groups * n), groups, n);
    pn_array y = pn_ssm_scan(g, xs, pn_act(g, dt, PN_ACT_FN_SOFTPLUS), bs, cs,
                             pn_builder_vector(b, layer, "ssm_a", NULL, 0, heads),
                             pn_builder_vector(b, layer, "ssm_d", NULL, 0, heads),
                             pn_builder_state(b, (size_t)inner * (size_t)n)); /* (tokens, heads, dim) */
    pn_array z = pn_act(g, pn_slice(g, all, 0, inner), PN_ACT_FN_SILU);
    y = pn_mul(g, z, pn_reshape(g, y, 1, inner));
    if (b->arch->recurrent.layers != PN_RECURRENT_BESIDE || pn_builder_has(b, layer, "ssm_norm", "weight"))
        y = pn_rms_norm(g, pn_reshape(g, y, groups, inner / groups),
                        pn_builder_vector(b, layer, "ssm_norm", "weight", 0, inner), b->hp->rms_eps);
    return pn_builder_project(b, layer, "ssm_out", y, b->hp->n_embd);
}

pn_array pn_block_attention_mamba2(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    return pn_add(b->graph, pn_block_attention(b, layer, x), pn_block_mamba2(b, layer, x));
}
