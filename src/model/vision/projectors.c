/* Projectors: merged rows of the encoder become rows of the decoder. */
#include "model/vision/vision.h"

#include "tensor/weight.h"

#include <stdio.h>

static bool has(struct pn_builder *b, const char *name)
{
    return pn_builder_has(b, -1, name, "weight");
}

/* Two products with an activation between them: LLaVA 1.5's and Qwen2-VL's. GGUF files count Pixtral's from 1, and
 * those of InternVL after its norm. */
pn_array pn_vision_project_mlp(struct pn_builder *b, const struct pn_vision *v, pn_array x) /* (tokens, n_merged) */
{
    const char *first = has(b, "mm.1") ? "mm.1" : has(b, "mm.model.mlp.1") ? "mm.model.mlp.1" : "mm.0";
    const char *second = has(b, "mm.model.mlp.3") ? "mm.model.mlp.3" : "mm.2";
    x = pn_act(b->graph, pn_builder_project(b, -1, first, x, 0), v->project_act);
    return pn_builder_project(b, -1, second, x, 0); /* (tokens, n_out) */
}

/* One product: Idefics 3's, and Llama 3.2 Vision's. */
pn_array pn_vision_project_one(struct pn_builder *b, const struct pn_vision *v, pn_array x)
{
    (void)v;
    return pn_builder_project(b, -1, has(b, "mm.model.fc") ? "mm.model.fc" : "mm.0", x, 0); /* (tokens, n_out) */
}

/* The same as mlp after a norm (InternVL's) or a product that merges patches (Mistral 3's). */
pn_array pn_vision_project_merged(struct pn_builder *b, const struct pn_vision *v, pn_array x)
{
    const char *norm = has(b, "mm.model.mlp.0") ? "mm.model.mlp.0" : "mm.input_norm";
    if (v->family->merge != PN_MERGE_WEAVE)
        x = pn_layer_norm(b->graph, x, pn_builder_weight(b, -1, norm), pn_builder_optional(b, -1, norm, "bias"),
                          v->input_eps);
    else if (v->group > 1)
        x = pn_builder_product(b, -1, "mm.patch_merger.weight", x, v->n_embd);
    return pn_vision_project_mlp(b, v, x);
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
