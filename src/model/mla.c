/* Multi-head latent attention: DeepSeek-V2, 2024.
 *
 * Keys and values of all heads are projections of one short vector per token, and the cache keeps only that vector: the
 * key matrix is applied to queries, and the value matrix to the result of attention ("absorbed"). Each key begins with
 * the vector, which is also the value, so the cache holds it once. Older files store both matrices as one; for them
 * keys and values are expanded. */
#include "model/blocks.h"

#include <math.h>

struct dims {
    int n_head, rank, k, v, rope, nope; /* k = nope + rope */
};

static pn_array queries(struct pn_builder *b, int layer, pn_array x, const struct dims *d) /* -> (tokens, n_head, k) */
{
    pn_array q;
    if (pn_builder_has(b, layer, "attn_q_a", "weight")) {
        q = pn_builder_project(b, layer, "attn_q_a", x, b->hp->mla.q_rank);
        q = pn_builder_project(b, layer, "attn_q_b", pn_builder_norm(b, layer, "attn_q_a_norm", q), d->n_head * d->k);
    } else {
        q = pn_builder_project(b, layer, "attn_q", x, d->n_head * d->k);
    }
    return pn_reshape(b->graph, q, d->n_head, d->k);
}

static pn_array rotated(struct pn_builder *b, int layer, pn_array x)
{
    return pn_builder_rotates(b, layer) ? pn_builder_rotate(b, layer, x) : x;
}

/* Attention over the short vectors. latent (tokens, rank), k_rope (tokens, 1, rope). */
static pn_array absorbed(struct pn_builder *b, int layer, pn_array q_nope, pn_array q_rope, pn_array latent,
                         pn_array k_rope, const struct dims *d, float scale) /* -> (tokens, n_head, v) */
{
    struct pn_graph *g = b->graph;
    pn_array k_b = pn_builder_stack(b, layer, "attn_k_b", 0, 0, d->n_head, d->n_head); /* (n_head, rank, nope) */
    pn_array v_b = pn_builder_stack(b, layer, "attn_v_b", 0, 0, d->n_head, d->n_head); /* (n_head, v, rank) */
    pn_array q = pn_concat(g, pn_matmul_each(g, q_nope, k_b, PN_NONE), q_rope); /* (tokens, n_head, rank + rope) */
    pn_array k = pn_concat(g, latent, k_rope);                                  /* (tokens, 1, rank + rope) */
    pn_array heads = pn_builder_attend_keys(b, layer, pn_builder_temperature(b, layer, q), k, d->rank, scale);
    return pn_matmul_each(g, heads, v_b, PN_NONE);
}

static pn_array expanded(struct pn_builder *b, int layer, pn_array q_nope, pn_array q_rope, pn_array latent,
                         pn_array k_rope, const struct dims *d, float scale) /* -> (tokens, n_head, v) */
{
    struct pn_graph *g = b->graph;
    pn_array kv = pn_builder_project(b, layer, "attn_kv_b", latent, d->n_head * (d->nope + d->v));
    kv = pn_reshape(g, kv, d->n_head, d->nope + d->v);
    pn_array k = pn_concat(g, pn_slice(g, kv, 0, d->nope), k_rope); /* (tokens, n_head, k) */
    pn_array v = pn_slice(g, kv, d->nope, d->v);                    /* (tokens, n_head, v) */
    pn_array q = pn_concat(g, q_nope, q_rope);
    return pn_builder_attend(b, layer, pn_builder_temperature(b, layer, q), k, v, scale);
}

pn_array pn_block_mla(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    const struct pn_hparams *hp = b->hp;
    struct pn_graph *g = b->graph;
    struct dims d = {.n_head = hp->layers[layer].n_head,
                     .rank = hp->mla.kv_rank,
                     .k = hp->mla.dim_k ? hp->mla.dim_k : hp->dim_k,
                     .v = hp->mla.dim_v ? hp->mla.dim_v : hp->dim_v,
                     .rope = hp->rope.n_rot};
    d.nope = d.k - d.rope;
    if (d.rank < 1)
        return pn_graph_fail(g, PANTRY_FORMAT,
                             "%s.attention.kv_lora_rank is missing; the model cannot be built without it",
                             b->arch->name);
    if (d.nope < 1 || d.rope < 2)
        return pn_graph_fail(g, PANTRY_FORMAT,
                             "heads of %d values, %d of them rotated, do not fit a latent vector of %d", d.k, d.rope,
                             d.rank);
    float scale = pn_builder_rope_score_scale(b) / sqrtf((float)d.k);
    pn_array q = queries(b, layer, x, &d);
    pn_array q_nope = pn_slice(g, q, 0, d.nope);                         /* (tokens, n_head, nope) */
    pn_array q_rope = rotated(b, layer, pn_slice(g, q, d.nope, d.rope)); /* (tokens, n_head, rope) */
    pn_array kv = pn_builder_project(b, layer, "attn_kv_a_mqa", x, d.rank + d.rope);
    pn_array k_rope = rotated(b, layer, pn_slice(g, kv, d.rank, d.rope));                      /* (tokens, 1, rope) */
    pn_array latent = pn_builder_norm(b, layer, "attn_kv_a_norm", pn_slice(g, kv, 0, d.rank)); /* (tokens, rank) */
    bool is_absorbed = pn_builder_has(b, layer, "attn_k_b", "weight");
    pn_array heads = (is_absorbed ? absorbed : expanded)(b, layer, q_nope, q_rope, latent, k_rope, &d, scale);
    return pn_builder_project(b, layer, "attn_output", heads, hp->n_embd);
}
