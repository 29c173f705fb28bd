/* Attention blocks. */
#include "model/blocks.h"

#include <math.h>

static float score_scale(const struct pn_builder *b, int layer)
{
    const struct pn_hparams *hp = b->hp;
    if (hp->attn_scale > 0)
        return hp->attn_scale;
    if (b->arch->layers_wide_head && hp->n_layer == b->arch->layers_wide_head)
        return 1 / sqrtf((float)(hp->n_embd / hp->layers[layer].n_head));
    return 1 / sqrtf((float)hp->dim_k);
}

/* Grouped-query attention: Ainslie et al., 2023. Biases, head norms, windows and soft caps where the model has them. */
pn_array pn_block_attention(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    const struct pn_hparams *hp = b->hp;
    const struct pn_layer_hparams *l = &hp->layers[layer];
    struct pn_graph *g = b->graph;
    pn_array q = pn_builder_project(b, layer, "attn_q", x, l->n_head * hp->dim_k);
    pn_array k = pn_builder_project(b, layer, "attn_k", x, l->n_head_kv * hp->dim_k);
    pn_array v = pn_builder_project(b, layer, "attn_v", x, l->n_head_kv * hp->dim_v);
    q = pn_reshape(g, q, l->n_head, hp->dim_k);    /* (tokens, n_head, dim_k) */
    k = pn_reshape(g, k, l->n_head_kv, hp->dim_k); /* (tokens, n_head_kv, dim_k) */
    v = pn_reshape(g, v, l->n_head_kv, hp->dim_v); /* (tokens, n_head_kv, dim_v) */
    if (b->arch->qk_norm) {
        q = pn_builder_norm(b, layer, "attn_q_norm", q);
        k = pn_builder_norm(b, layer, "attn_k_norm", k);
    }
    if (pn_builder_rotates(b, layer)) {
        pn_array table = pn_builder_rope_table(b, layer);
        q = pn_rope(g, q, table, b->arch->rope);
        k = pn_rope(g, k, table, b->arch->rope);
    }
    if (b->arch->attn_temperature && hp->attn_temperature_scale != 0)
        q = pn_pos_scale(g, q, hp->attn_temperature_scale, (float)hp->rope.n_context_original, 0);
    struct pn_attention_params params = {
        .cache = b->n_caches,
        .n_head_kv = l->n_head_kv,
        .dim_k = hp->dim_k,
        .dim_v = hp->dim_v,
        .scale = score_scale(b, layer),
        .softcap = b->arch->attn_softcap ? hp->attn_softcap : 0,
        .window = l->local ? hp->window : 0,
        .causal = true,
    };
    b->caches[b->n_caches++] = (struct pn_cache_shape){l->n_head_kv, hp->dim_k, hp->dim_v};
    pn_array written = pn_cache_write(g, k, v, &params);
    pn_array heads = pn_attention(g, q, written, &params); /* (tokens, n_head, dim_v) */
    return pn_builder_project(b, layer, "attn_output", heads, hp->n_embd);
}
