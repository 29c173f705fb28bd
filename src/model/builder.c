/* Weights by name: see blocks.h. */
#include "model/blocks.h"

#include <limits.h>
#include <stdio.h>

static const struct pn_tensor_info *find(const struct pn_builder *b, int layer, const char *name, const char *suffix,
                                         char *full, size_t size)
{
    if (layer < 0)
        snprintf(full, size, "%s.%s", name, suffix);
    else
        snprintf(full, size, "blk.%d.%s.%s", layer, name, suffix);
    return pn_weights_tensor(b->weights, full);
}

static pn_array leaf(struct pn_builder *b, const struct pn_tensor_info *t)
{
    int64_t rows = t->n_dims > 1 ? t->shape[t->n_dims - 2] : 1, cols = t->shape[t->n_dims - 1];
    if (rows > INT32_MAX || cols > INT32_MAX)
        return pn_graph_fail(b->graph, PN_LIMIT, "tensor %s is too large", t->name);
    struct pn_weight *w = pn_arena_alloc(b->arena, sizeof *w);
    if (!w)
        return pn_graph_fail(b->graph, PN_NO_MEMORY, "out of memory for the graph");
    *w = (struct pn_weight){
        .name = t->name, .type = t->type, .n_mat = 1, .n_rows = rows, .n_cols = cols, .data = t->data};
    for (int i = 0; i < t->n_dims - 2; i++)
        w->n_mat *= t->shape[i];
    return pn_weight_leaf(b->graph, w);
}

pn_array pn_builder_optional(struct pn_builder *b, int layer, const char *name, const char *suffix)
{
    char full[128];
    const struct pn_tensor_info *t = find(b, layer, name, suffix, full, sizeof full);
    if (!t)
        return PN_NONE;
    b->used_bytes += t->bytes;
    return leaf(b, t);
}

pn_array pn_builder_weight(struct pn_builder *b, int layer, const char *name)
{
    char full[128];
    const struct pn_tensor_info *t = find(b, layer, name, "weight", full, sizeof full);
    if (!t)
        return pn_graph_fail(b->graph, PN_FORMAT, "tensor %s is missing, which architecture %s needs", full,
                             b->arch->name);
    b->used_bytes += t->bytes;
    return leaf(b, t);
}

/* A tensor of one float that scales a product (weights whose own scales do not reach far enough have it). */
static pn_array scaled(struct pn_builder *b, int layer, const char *name, pn_array y)
{
    char full[128];
    float factor;
    const struct pn_tensor_info *t = find(b, layer, name, "scale", full, sizeof full);
    if (!t || y == PN_NONE)
        return y;
    if (t->n_dims != 1 || t->shape[0] != 1)
        return pn_graph_fail(b->graph, PN_FORMAT, "tensor %s must be one number", full);
    pn_type_decode_row(t->type, t->data, &factor, 1);
    return pn_scale(b->graph, y, factor, 0);
}

static pn_array product(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out)
{
    pn_array w = pn_builder_weight(b, layer, name);
    if (w != PN_NONE && n_out && pn_node(b->graph, w)->n1 != n_out)
        return pn_graph_fail(b->graph, PN_FORMAT, "tensor %s has %d rows where %d are needed",
                             pn_node(b->graph, w)->weight->name, pn_node(b->graph, w)->n1, n_out);
    return pn_matmul(b->graph, x, w);
}

pn_array pn_builder_project(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out)
{
    pn_array y = scaled(b, layer, name, product(b, layer, name, x, n_out));
    pn_array bias = pn_builder_optional(b, layer, name, "bias");
    return bias == PN_NONE ? y : pn_add(b->graph, y, bias);
}

pn_array pn_builder_project_ffn(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out)
{
    pn_array y = product(b, layer, name, x, n_out);
    pn_array bias = pn_builder_optional(b, layer, name, "bias");
    if (bias != PN_NONE)
        y = pn_add(b->graph, y, bias);
    return b->arch->ffn_scales ? scaled(b, layer, name, y) : y;
}

pn_array pn_builder_norm(struct pn_builder *b, int layer, const char *name, pn_array x)
{
    pn_array weight = pn_builder_weight(b, layer, name);
    if (b->arch->norm == PN_NORM_RMS)
        return pn_rms_norm(b->graph, x, weight, b->hp->rms_eps);
    return pn_layer_norm(b->graph, x, weight, pn_builder_optional(b, layer, name, "bias"), b->hp->norm_eps);
}
