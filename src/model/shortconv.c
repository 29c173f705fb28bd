/* Short convolutions: alone (LFM2), and before the recurrences in other files. */
#include "model/blocks.h"

pn_array pn_builder_conv(struct pn_builder *b, int layer, const char *name, pn_array x, int k)
{
    if (x == PN_NONE)
        return PN_NONE;
    int n = pn_node(b->graph, x)->n2;
    if (n > INT32_MAX / k)
        return pn_graph_fail(b->graph, PANTRY_LIMIT, "%d channels with kernels of %d are too many", n, k);
    pn_array weight = pn_builder_vector(b, layer, name, "weight", 0, n * k);
    pn_array y = pn_conv(b->graph, x, weight, pn_builder_state(b, (size_t)(k - 1) * (size_t)n)); /* (tokens, n) */
    if (!pn_builder_has(b, layer, name, "bias"))
        return y;
    return pn_add(b->graph, y, pn_builder_vector(b, layer, name, "bias", 0, n));
}

/* out(c * conv(b * x)), where b, c and x are products of the input: Liquid AI, LFM2, 2025 */
pn_array pn_block_shortconv(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    int n = b->hp->n_embd;
    struct pn_graph *g = b->graph;
    pn_array all = pn_builder_product(b, layer, "shortconv.in_proj", x, 3 * n); /* (tokens, 3 n_embd): b, c, x */
    pn_array gated = pn_mul(g, pn_slice(g, all, 0, n), pn_slice(g, all, 2 * n, n));
    pn_array y = pn_builder_conv(b, layer, "shortconv.conv", gated, b->hp->recurrent.n_conv);
    return pn_builder_product(b, layer, "shortconv.out_proj", pn_mul(g, pn_slice(g, all, n, n), y), n);
}
