/* Projectors: merged rows of the encoder become rows of the decoder. */
#include "model/vision/vision.h"

#include "tensor/weight.h"

#include <stdio.h>

/* Two products with an activation between them: LLaVA 1.5's and Qwen2-VL's. */
pn_array pn_vision_project_mlp(struct pn_builder *b, const struct pn_vision *v, pn_array x) /* (tokens, n_merged) */
{
    x = pn_act(b->graph, pn_builder_project(b, -1, "mm.0", x, 0), v->project_act);
    return pn_builder_project(b, -1, "mm.2", x, 0); /* (tokens, n_out) */
}

/* Qwen3-VL's: the same for the last states, and after a norm for those of earlier layers (Meng et al., DeepStack,
 * 2024).
 */
pn_array pn_vision_project_deep(struct pn_builder *b, const struct pn_vision *v, pn_array x) /* (tokens, n_merged) */
{
    char name[48];
    int n = v->group * v->group * v->n_embd;
    pn_array y = pn_vision_project_mlp(b, v, pn_slice(b->graph, x, 0, n));
    for (int i = 0; i < v->n_deep; i++) {
        snprintf(name, sizeof name, "v.deepstack.%d.norm", v->deep_name[i]);
        pn_array z = pn_builder_norm(b, -1, name, pn_slice(b->graph, x, (i + 1) * n, n));
        snprintf(name, sizeof name, "v.deepstack.%d.fc1", v->deep_name[i]);
        z = pn_act(b->graph, pn_builder_project(b, -1, name, z, 0), v->project_act);
        snprintf(name, sizeof name, "v.deepstack.%d.fc2", v->deep_name[i]);
        y = pn_concat(b->graph, y, pn_builder_project(b, -1, name, z, 0));
    }
    return y; /* (tokens, n_out) */
}

/* One product: Llama 3.2 Vision's. */
pn_array pn_vision_project_linear(struct pn_builder *b, const struct pn_vision *v, pn_array x)
{
    (void)v;
    return pn_builder_project(b, -1, "mm.0", x, 0);
}

/* A matrix that is stored as (in, out), as (out, in). */
static pn_array turned(struct pn_builder *b, const char *name)
{
    const struct pn_tensor_info *t = pn_weights_tensor(b->weights, name);
    float *values;
    if (!t || t->n_dims != 2 || t->places || pn_type_info(t->type)->block != 1)
        return pn_graph_fail(b->graph, PANTRY_FORMAT, "tensor %s is missing or not a plain matrix", name);
    int64_t n_in = t->shape[0], n_out = t->shape[1];
    const struct pn_weight *w = pn_weight_constant(b->arena, t->name, n_out, n_in, &values);
    float *row = pn_arena_array(b->arena, (size_t)n_out, sizeof *row);
    if (!w || !row)
        return pn_graph_fail(b->graph, PANTRY_NO_MEMORY, "out of memory for the graph");
    for (int64_t i = 0; i < n_in; i++) {
        pn_type_decode_row(t->type, (const char *)t->data + (size_t)i * pn_type_row_bytes(t->type, (size_t)n_out), row,
                           (size_t)n_out);
        for (int64_t j = 0; j < n_out; j++)
            values[j * n_in + i] = row[j];
    }
    return pn_weight_leaf(b->graph, w);
}

/* Gemma 3's: a norm and one product. */
pn_array pn_vision_project_gemma(struct pn_builder *b, const struct pn_vision *v, pn_array x)
{
    x = pn_rms_norm(b->graph, x, pn_builder_weight(b, -1, "mm.soft_emb_norm"), v->eps);
    return pn_matmul(b->graph, x, turned(b, "mm.input_projection.weight"));
}
