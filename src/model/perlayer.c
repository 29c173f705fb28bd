/* Per-layer embeddings (Gemma 3n, 2025): each layer receives a short vector per token beside the residual stream.
 *
 * The vectors of all layers are a row of a second table plus a projection of the token's embedding. Each layer gates
 * its vector with the stream, projects it to n_embd, and adds it. */
#include "model/blocks.h"

#include <math.h>

pn_array pn_builder_layer_inputs(struct pn_builder *b, pn_array x) /* (tokens, n_embd) -> (tokens, n_layer, n) */
{
    struct pn_graph *g = b->graph;
    int n_layer = b->hp->n_layer;
    uint64_t before = b->used_bytes;
    pn_array inputs = pn_embed(g, pn_builder_weight(b, -1, "per_layer_token_embd"));
    b->used_bytes = before; /* one row of it, not all */
    if (inputs == PN_NONE)
        return PN_NONE;
    int all = pn_node(g, inputs)->n2, n = all / n_layer;
    if (all % n_layer || (b->hp->n_embd_layer && n != b->hp->n_embd_layer))
        return pn_graph_fail(g, PANTRY_FORMAT, "per_layer_token_embd.weight has rows of %d values for %d layers of %d",
                             all, n_layer, b->hp->n_embd_layer ? b->hp->n_embd_layer : n);
    inputs = pn_scale(g, pn_reshape(g, inputs, n_layer, n), sqrtf((float)n), 0);
    pn_array projected = pn_builder_project(b, -1, "per_layer_model_proj", x, all);
    projected = pn_reshape(g, pn_scale(g, projected, 1 / sqrtf((float)b->hp->n_embd), 0), n_layer, n);
    projected =
        pn_rms_norm(g, projected, pn_builder_vector(b, -1, "per_layer_proj_norm", "weight", 0, n), b->hp->rms_eps);
    return pn_scale(g, pn_add(g, projected, inputs), sqrtf(0.5f), 0);
}

pn_array pn_builder_layer_input(struct pn_builder *b, int layer, pn_array x) /* (rows, n_embd) -> same, to be added */
{
    struct pn_graph *g = b->graph;
    if (b->layer_inputs == PN_NONE || x == PN_NONE)
        return PN_NONE;
    int n = pn_node(g, b->layer_inputs)->n2;
    pn_array input = pn_slice(g, pn_reshape(g, b->layer_inputs, 1, b->hp->n_layer * n), layer * n, n);
    if (pn_node(g, x)->rows == PN_ROWS_OUTPUTS)
        input = pn_output_rows(g, input);
    pn_array gate = pn_act(g, pn_builder_project(b, layer, "inp_gate", x, n), b->hp->act);
    x = pn_builder_project(b, layer, "proj", pn_mul(g, gate, input), b->hp->n_embd);
    return pn_builder_norm(b, layer, "post_norm", x);
}
