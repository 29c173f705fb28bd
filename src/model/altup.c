/* Alternating updates (Baykal et al., AltUp, 2023) as in Gemma 3n: the residual stream is several rows of n_embd
 * values. A layer computes one of them, the active row; the others are predicted before it and corrected after it. A
 * low-rank bypass runs beside attention (Menghani et al., LAuReL, 2024). */
#include "model/blocks.h"

#include <math.h>

/* Rows first .. first + n - 1 of the stream (tokens, n_inputs, n_embd). */
static pn_array part(struct pn_builder *b, pn_array stream, int first, int n)
{
    int n_embd = b->hp->n_embd;
    pn_array flat = pn_reshape(b->graph, stream, 1, b->hp->altup.n_inputs * n_embd);
    return pn_reshape(b->graph, pn_slice(b->graph, flat, first * n_embd, n * n_embd), n, n_embd);
}

/* x (tokens, n) -> (tokens, times, n) */
static pn_array repeated(struct pn_builder *b, pn_array x, int times)
{
    pn_array y = x;
    for (int i = 1; i < times; i++)
        y = pn_concat(b->graph, y, x);
    return y == PN_NONE ? PN_NONE : pn_reshape(b->graph, y, times, pn_node(b->graph, x)->n2);
}

pn_array pn_block_altup_widen(struct pn_builder *b, int layer, pn_array x) /* -> (tokens, n_inputs, n_embd) */
{
    struct pn_graph *g = b->graph;
    int n_more = b->hp->altup.n_inputs - 1, n_embd = b->hp->n_embd;
    pn_array stack = pn_builder_stack(b, layer, "altup_proj", 0, 0, n_more, n_more);
    pn_array more = pn_match(g, pn_matmul_each(g, repeated(b, x, n_more), stack, PN_NONE), x);
    pn_array all = pn_concat(g, x, pn_reshape(g, more, 1, n_more * n_embd));
    return pn_reshape(g, all, n_more + 1, n_embd);
}

pn_array pn_block_altup_narrow(struct pn_builder *b, int layer, pn_array x) /* -> (rows, n_embd) */
{
    struct pn_graph *g = b->graph;
    int n_more = b->hp->altup.n_inputs - 1;
    pn_array first = part(b, x, 0, 1);
    pn_array stack = pn_builder_stack(b, layer, "altup_unembd_proj", 0, 0, n_more, n_more);
    pn_array more = pn_matmul_each(g, part(b, x, 1, n_more), stack, PN_NONE);
    more = pn_match(g, more, part(b, x, b->hp->altup.active, 1));
    return pn_scale(g, pn_add(g, first, pn_each_sum(g, more, PN_NONE)), 1 / (float)(n_more + 1), 0);
}

/* The relation of each row of the stream to `x`: (rows, n_embd) -> (rows, n_inputs). */
static pn_array modalities(struct pn_builder *b, int layer, pn_array x)
{
    struct pn_graph *g = b->graph;
    x = pn_scale(g, pn_builder_norm(b, layer, "altup_router_norm", x), 1 / (float)b->hp->n_embd, 0);
    return pn_act(g, pn_builder_product(b, layer, "altup_router", x, b->hp->altup.n_inputs), PN_ACT_FN_TANH);
}

static pn_array predict(struct pn_builder *b, int layer, pn_array stream) /* (tokens, n_inputs, n_embd) -> same */
{
    struct pn_graph *g = b->graph;
    int n = b->hp->altup.n_inputs;
    pn_array by = modalities(b, layer, part(b, stream, b->hp->altup.active, 1));
    by = pn_reshape(g, pn_builder_product(b, layer, "altup_predict_coef", by, n * n), n, n);
    return pn_add(g, pn_mix(g, by, stream), stream);
}

/* Moves all rows by the layer's change of the active one. */
static pn_array correct(struct pn_builder *b, int layer, pn_array predicted, pn_array made)
{
    struct pn_graph *g = b->graph;
    int n = b->hp->altup.n_inputs;
    pn_array by = pn_builder_product(b, layer, "altup_correct_coef", modalities(b, layer, made), n);
    by = pn_reshape(g, pn_scale(g, by, 1, 1), n, 1);
    pn_array wrong = pn_add(g, pn_scale(g, part(b, predicted, b->hp->altup.active, 1), -1, 0), made);
    return pn_add(g, pn_mix(g, by, wrong), predicted);
}

static pn_array laurel(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    pn_array y =
        pn_builder_product(b, layer, "laurel_r", pn_builder_product(b, layer, "laurel_l", x, 0), b->hp->n_embd);
    return pn_add(b->graph, pn_builder_norm(b, layer, "laurel_post_norm", y), x);
}

/* Adds the layer's input to all rows but the first. */
static pn_array add_input(struct pn_builder *b, int layer, pn_array stream)
{
    struct pn_graph *g = b->graph;
    int n = b->hp->altup.n_inputs, n_embd = b->hp->n_embd;
    pn_array active = part(b, stream, b->hp->altup.active, 1);
    active = pn_mul(g, active, pn_builder_vector(b, layer, "altup_correct_scale", "weight", 0, n_embd));
    pn_array input = repeated(b, pn_builder_layer_input(b, layer, active), n - 1);
    pn_array rest = pn_reshape(g, pn_add(g, part(b, stream, 1, n - 1), input), 1, (n - 1) * n_embd);
    return pn_reshape(g, pn_concat(g, part(b, stream, 0, 1), rest), n, n_embd);
}

pn_array pn_block_altup(struct pn_builder *b, int layer, pn_array stream) /* (tokens, n_inputs, n_embd) -> same */
{
    struct pn_graph *g = b->graph;
    pn_array predicted = predict(b, layer, stream);
    pn_array active = part(b, predicted, b->hp->altup.active, 1); /* (tokens, n_embd) */
    pn_array x = pn_builder_norm(b, layer, "attn_norm", active);
    pn_array beside = laurel(b, layer, x);
    x = pn_builder_norm(b, layer, "post_attention_norm", b->arch->block.attention(b, layer, x));
    if (layer == b->hp->n_layer - 1) { /* the other rows are not read any more */
        x = pn_output_rows(g, x);
        beside = pn_output_rows(g, beside);
        predicted = pn_output_rows(g, predicted);
        active = part(b, predicted, b->hp->altup.active, 1);
    }
    x = pn_scale(g, pn_add(g, pn_add(g, x, active), beside), sqrtf(0.5f), 0);
    pn_array y = b->arch->block.mlp(b, layer, pn_builder_norm(b, layer, "ffn_norm", x));
    x = pn_add(g, pn_builder_norm(b, layer, "post_ffw_norm", y), x);
    return add_input(b, layer, correct(b, layer, predicted, x));
}
