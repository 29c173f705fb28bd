/* The decoder: embeddings, layers, logits. */
#include "model/blocks.h"

#include <math.h>
#include <stdio.h>

/* x + block(norm(x)), with a second norm after the block where the architecture has it. */
static pn_array residual(struct pn_builder *b, int layer, pn_array x, pn_block_fn *block, const char *norm,
                         const char *post_norm)
{
    pn_array y = block(b, layer, pn_builder_norm(b, layer, norm, x));
    if (b->arch->post_norms)
        y = pn_builder_norm(b, layer, post_norm, y);
    return pn_add(b->graph, y, x);
}

static pn_array output(struct pn_builder *b, pn_array x) /* (outputs, n_embd) -> (outputs, n_vocab) */
{
    bool tied = b->arch->tied_output || !pn_weights_tensor(b->weights, "output.weight");
    pn_array logits = pn_builder_project(b, -1, tied ? "token_embd" : "output", x, b->hp->n_vocab);
    if (b->arch->final_softcap && b->hp->final_softcap > 0)
        logits = pn_softcap(b->graph, logits, b->hp->final_softcap);
    return logits;
}

pn_array pn_model_decoder(struct pn_builder *b)
{
    struct pn_graph *g = b->graph;
    char context[32];
    g->context = context;
    snprintf(context, sizeof context, "embedding");
    uint64_t before = b->used_bytes;
    pn_array x = pn_embed(g, pn_builder_weight(b, -1, "token_embd")); /* (tokens, n_embd) */
    b->used_bytes = before;                                           /* one row of it, not all */
    if (x != PN_NONE && pn_node(g, x)->n2 != b->hp->n_embd)
        return pn_graph_fail(g, PN_FORMAT, "tensor token_embd.weight has rows of %d values, but embedding_length is %d",
                             pn_node(g, x)->n2, b->hp->n_embd);
    if (b->arch->scale_embedding)
        x = pn_scale(g, x, sqrtf((float)b->hp->n_embd), 0);
    for (int layer = 0; layer < b->hp->n_layer; layer++) {
        snprintf(context, sizeof context, "layer %d", layer);
        x = residual(b, layer, x, b->arch->attention, "attn_norm", "post_attention_norm");
        if (layer == b->hp->n_layer - 1)
            x = pn_output_rows(g, x); /* nobody reads the other rows any more */
        x = residual(b, layer, x, b->arch->mlp, "ffn_norm", "post_ffw_norm");
    }
    snprintf(context, sizeof context, "output");
    x = output(b, pn_builder_norm(b, -1, "output_norm", x));
    g->context = NULL;
    return x;
}
