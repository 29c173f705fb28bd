/* The stack of layers of decoders and encoders: embeddings, layers, states, logits. */
#include "model/blocks.h"

#include <math.h>
#include <stdio.h>

static const char *attention_post_norm(const struct pn_builder *b)
{
    return b->arch->names.attn_post_norm ? b->arch->names.attn_post_norm : "post_attention_norm";
}

/* Files of one model may use either name. */
static const char *ffn_post_norm(const struct pn_builder *b, int layer)
{
    const char *name = b->arch->names.ffn_post_norm;
    return name && pn_builder_has(b, layer, name, "weight") ? name : "post_ffw_norm";
}

static const char *ffn_norm(const struct pn_builder *b)
{
    return b->arch->names.ffn_norm ? b->arch->names.ffn_norm : "ffn_norm";
}

/* x + y, with y scaled by the residual scale if there is one. */
static pn_array join(struct pn_builder *b, pn_array y, pn_array x)
{
    if (b->hp->residual_scale != 0)
        y = pn_scale(b->graph, y, b->hp->residual_scale, 0);
    return pn_add(b->graph, y, x);
}

/* x + block(norm(x)), with the norm before, after or both. */
static pn_array residual(struct pn_builder *b, int layer, pn_array x, pn_block_fn *block, const char *norm,
                         const char *post_norm)
{
    enum pn_layer_order order = b->arch->order;
    bool bare = order == PN_ORDER_POST || (b->arch->norm.skip_first && layer == 0 && block == b->arch->block.attention);
    pn_array y = bare ? x : pn_builder_norm(b, layer, norm, x);
    b->stream = x;
    y = block(b, layer, y);
    if (order == PN_ORDER_SANDWICH || order == PN_ORDER_POST)
        y = pn_builder_norm(b, layer, post_norm, y);
    return join(b, y, x);
}

/* Attention and feed-forward side by side: Wang & Komatsuzaki, GPT-J, 2021. One norm may serve both. */
static pn_array parallel(struct pn_builder *b, int layer, pn_array x, bool last)
{
    pn_array normed = pn_builder_norm(b, layer, "attn_norm", x), for_attention = normed;
    if (pn_builder_has(b, layer, "attn_norm_2", "weight"))
        for_attention = pn_builder_norm(b, layer, "attn_norm_2", x);
    pn_array for_mlp =
        pn_builder_has(b, layer, ffn_norm(b), "weight") ? pn_builder_norm(b, layer, ffn_norm(b), x) : normed;
    pn_array attention = b->arch->block.attention(b, layer, for_attention);
    if (last) { /* the other rows are not read any more */
        attention = pn_output_rows(b->graph, attention);
        for_mlp = pn_output_rows(b->graph, for_mlp);
        x = pn_output_rows(b->graph, x);
    }
    pn_array mlp = b->arch->block.mlp(b, layer, for_mlp);
    return join(b, mlp, join(b, attention, x));
}

/* Norms after the sums: Vaswani et al., 2017. Some models have a second one after attention. */
static pn_array sum_norm(struct pn_builder *b, int layer, pn_array x, bool last)
{
    pn_array y = b->arch->block.attention(b, layer, x);
    if (last) { /* the other rows are not read any more */
        y = pn_output_rows(b->graph, y);
        x = pn_output_rows(b->graph, x);
    }
    y = pn_builder_norm(b, layer, "attn_output_norm", join(b, y, x));
    if (pn_builder_has(b, layer, "attn_norm_2", "weight"))
        y = pn_builder_norm(b, layer, "attn_norm_2", pn_add(b->graph, y, x));
    return pn_builder_norm(b, layer, "layer_output_norm", join(b, b->arch->block.mlp(b, layer, y), y));
}

static pn_block_fn *first_block(const struct pn_builder *b, int layer)
{
    const struct pn_layer_hparams *l = &b->hp->layers[layer];
    if (l->recurrent)
        return b->arch->recurrent.block;
    return b->arch->recurrent.single_block && l->n_ff ? b->arch->block.mlp : b->arch->block.attention;
}

/* True if a layer of a pruned model has the part. */
static bool has_attention(const struct pn_builder *b, int layer)
{
    return !b->arch->block.optional || b->hp->layers[layer].n_head > 0;
}

static bool has_mlp(const struct pn_builder *b, int layer)
{
    return !b->arch->recurrent.single_block && (!b->arch->block.optional || b->hp->layers[layer].n_ff > 0);
}

/* After the last layer only the requested rows are read, and in its second half; but pictures add to all rows. */
static bool is_last(const struct pn_builder *b, int layer)
{
    return layer == b->hp->n_layer - 1 && layer >= b->weights->n_given_deep;
}

static pn_array layer_of(struct pn_builder *b, int layer, pn_array x)
{
    enum pn_layer_order order = b->arch->order;
    bool last = is_last(b, layer);
    if (b->hp->layers[layer].cross)
        return pn_builder_cross(b, layer, x, last);
    if (b->arch->block.layer)
        return b->arch->block.layer(b, layer, x);
    if (order == PN_ORDER_SUM_NORM)
        return sum_norm(b, layer, x, last);
    if (order == PN_ORDER_PARALLEL || (order == PN_ORDER_FROM_FILE && b->hp->parallel_residual) ||
        (order == PN_ORDER_FROM_NORMS && !pn_builder_has(b, layer, ffn_norm(b), "weight")))
        return parallel(b, layer, x, last);
    b->layer_input = x;
    if (has_attention(b, layer))
        x = residual(b, layer, x, first_block(b, layer), "attn_norm", attention_post_norm(b));
    if (last) { /* the other rows are not read any more */
        x = pn_output_rows(b->graph, x);
        b->layer_input = pn_output_rows(b->graph, b->layer_input);
    }
    if (has_mlp(b, layer))
        x = residual(b, layer, x, b->arch->block.mlp, ffn_norm(b), ffn_post_norm(b, layer));
    if (b->layer_inputs != PN_NONE)
        x = pn_add(b->graph, pn_builder_layer_input(b, layer, x), x);
    return pn_builder_scaled(b, layer, "layer_output_scale", "weight", x);
}

static pn_array embedding(struct pn_builder *b) /* (tokens, n_embd) */
{
    struct pn_graph *g = b->graph;
    uint64_t before = b->used_bytes;
    pn_array x = pn_embed(g, pn_builder_weight(b, -1, "token_embd"));
    b->used_bytes = before; /* one row of it, not all */
    if (x != PN_NONE && pn_node(g, x)->n2 != b->hp->n_embd)
        return pn_graph_fail(g, PANTRY_FORMAT,
                             "tensor token_embd.weight has rows of %d values, but embedding_length is %d",
                             pn_node(g, x)->n2, b->hp->n_embd);
    if (b->arch->embedding.sqrt_width)
        x = pn_scale(g, x, sqrtf((float)b->hp->n_embd), 0);
    if (b->hp->embedding_scale != 0)
        x = pn_scale(g, x, b->hp->embedding_scale, 0);
    int n_given = b->weights->n_given / (1 + b->weights->n_given_deep);
    if (n_given && n_given != b->hp->n_embd)
        return pn_graph_fail(g, PANTRY_FORMAT, "pictures become rows of %d values, but embedding_length is %d", n_given,
                             b->hp->n_embd);
    if (b->weights->n_given && !b->weights->given_apart) /* pictures, which are not scaled */
        x = pn_given(g, x, 0, b->hp->n_embd, false);
    /* Nothing else tells such a model the position of a token. */
    bool needs_positions = b->arch->rope.where == PN_ROPE_NEVER && b->hp->alibi == 0 && !b->arch->recurrent.block &&
                           !b->arch->attn.position_bias;
    if (needs_positions || pn_builder_has(b, -1, "position_embd", "weight")) {
        x = pn_add(g, x, pn_pos_embed(g, pn_builder_weight(b, -1, "position_embd")));
        b->used_bytes = before;
    }
    if (b->arch->encoder && pn_builder_has(b, -1, "token_types", "weight"))
        x = pn_add(g, x, pn_kind_embed(g, pn_builder_weight(b, -1, "token_types")));
    return b->arch->norm.embedding ? pn_builder_norm(b, -1, "token_embd_norm", x) : x;
}

pn_array pn_model_logits(struct pn_builder *b, pn_array x) /* (outputs, n_embd) -> (outputs, n_vocab) */
{
    const struct pn_hparams *hp = b->hp;
    bool tied = b->arch->logits.tied || !pn_weights_tensor(b->weights, "output.weight");
    pn_array logits = pn_builder_project(b, -1, tied ? "token_embd" : "output", x, hp->n_vocab);
    if (b->arch->logits.scaling != PN_LOGITS_UNSCALED && hp->logit_scale != 0)
        logits = pn_scale(b->graph, logits,
                          b->arch->logits.scaling == PN_LOGITS_TIMES_SCALE ? hp->logit_scale : 1 / hp->logit_scale, 0);
    if (b->arch->logits.softcap && hp->final_softcap > 0)
        logits = pn_softcap(b->graph, logits, hp->final_softcap);
    return logits;
}

pn_array pn_model_loss(struct pn_builder *b, pn_array x, pn_array targets)
{
    const struct pn_hparams *hp = b->hp;
    bool tied = b->arch->logits.tied || !pn_weights_tensor(b->weights, "output.weight");
    const char *name = tied ? "token_embd" : "output";
    float factor = 1, softcap = b->arch->logits.softcap && hp->final_softcap > 0 ? hp->final_softcap : 0;
    if (b->arch->logits.scaling != PN_LOGITS_UNSCALED && hp->logit_scale != 0)
        factor = b->arch->logits.scaling == PN_LOGITS_TIMES_SCALE ? hp->logit_scale : 1 / hp->logit_scale;
    x = pn_builder_scaled(b, -1, name, "scale", x); /* of the weight: the bias, which is added after it, stays */
    pn_array bias = pn_builder_optional(b, -1, name, "bias");
    return pn_cross_entropy(b->graph, x, pn_builder_weight(b, -1, name), bias, targets, factor, softcap);
}

pn_array pn_model_states(struct pn_builder *b)
{
    char context[32];
    b->graph->context = context;
    b->graph->layer = -1;
    snprintf(context, sizeof context, "embedding");
    pn_array x = embedding(b);
    if (b->hp->n_embd_layer > 0 || b->arch->block.widen || pn_builder_has(b, -1, "per_layer_token_embd", "weight"))
        b->layer_inputs = pn_builder_layer_inputs(b, x);
    if (b->arch->block.widen)
        x = b->arch->block.widen(b, -1, x);
    for (int layer = 0; layer < b->hp->n_layer; layer++) {
        snprintf(context, sizeof context, "layer %d", layer);
        b->graph->layer = layer;
        x = layer_of(b, layer, x);
        if (layer < b->weights->n_given_deep) /* Meng et al., DeepStack, 2024 */
            x = pn_given(b->graph, x, (layer + 1) * b->hp->n_embd, b->hp->n_embd, true);
        if (b->hp->loop_norm && (layer + 1) % b->hp->n_stored == 0 && layer + 1 < b->hp->n_layer)
            x = pn_builder_norm(b, -1, "output_norm", x);
    }
    snprintf(context, sizeof context, "output");
    b->graph->layer = b->hp->n_layer;
    if (!is_last(b, b->hp->n_layer - 1))
        x = pn_output_rows(b->graph, x);
    if (b->arch->block.narrow)
        x = b->arch->block.narrow(b, -1, x);
    if (b->arch->order != PN_ORDER_SUM_NORM) /* which ends in a norm */
        x = pn_builder_norm(b, -1, b->arch->names.output_norm ? b->arch->names.output_norm : "output_norm", x);
    b->graph->context = NULL;
    return x;
}
