/* The encoder's graph: Dosovitskiy et al., An image is worth 16x16 words, 2021, in the forms of CLIP, SigLIP and
 * Qwen2-VL. */
#include "model/vision/vision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Rows and columns rotate half of the pairs each, with the same frequencies (Qwen2-VL, 2024, section 2.1), or rows with
 * the 1st, 3rd, ... and columns with the 2nd, 4th, ... (Pixtral, 2024). */
static pn_array rotation(struct pn_builder *b, const struct pn_vision *v)
{
    int dim = v->n_embd / v->n_head, quarter = dim / 4;
    float inv_freq[PN_MAX_HEAD_DIM / 2];
    struct pn_rope_split split = {.n = {quarter, quarter}};
    if (dim % 4 || dim > PN_MAX_HEAD_DIM)
        return pn_graph_fail(b->graph, PANTRY_UNSUPPORTED, "heads of %d values cannot be rotated in two directions",
                             dim);
    for (int i = 0; i < 2 * quarter; i++) {
        int which = 2 * (i % quarter) + (v->interleaved ? i / quarter : 0);
        inv_freq[i] = powf(v->theta, -(float)which / (float)(2 * quarter));
    }
    return pn_rope_table(b->graph, inv_freq, NULL, 0, dim, 1, &split);
}

/* Queries, keys or values (which: 0, 1, 2): (tokens, n_head, dim). */
static pn_array heads(struct pn_builder *b, const struct pn_vision *v, int layer, int which, pn_array x)
{
    static const char *const names[] = {"attn_q", "attn_k", "attn_v"};
    int n = v->n_embd, dim = n / v->n_head;
    if (pn_builder_has(b, layer, "attn_qkv", "weight"))
        x = pn_builder_project_rows(b, layer, "attn_qkv", x, which * n, n, 3 * n, false);
    else
        x = pn_builder_project(b, layer, names[which], x, n);
    static const char *const norms[] = {"attn_q_norm", "attn_k_norm", "attn_v_norm"};
    if (which < 2 && pn_builder_has(b, layer, norms[which], "weight")) /* of all heads together: InternVL */
        x = pn_rms_norm(b->graph, x, pn_builder_weight(b, layer, norms[which]), 1e-6f);
    x = pn_reshape(b->graph, x, v->n_head, dim);
    if (!pn_vision_rotates(v) || which == 2)
        return x;
    return pn_rope(b->graph, x, b->rope_global, v->neighbours ? PN_ROPE_PAIRS : PN_ROPE_HALVES);
}

static pn_array attention(struct pn_builder *b, const struct pn_vision *v, int layer, pn_array x)
{
    pn_array q = heads(b, v, layer, 0, x), k = heads(b, v, layer, 1, x), values = heads(b, v, layer, 2, x);
    float scale = 1 / sqrtf((float)v->n_embd / (float)v->n_head);
    pn_array y = pn_builder_attend(b, layer, q, k, values, scale); /* (tokens, n_head, dim) */
    y = pn_builder_project(b, layer, "attn_out", y, v->n_embd);
    return pn_builder_gated(b, layer, "gate_attn", y);
}

/* Gated where the file has a gate. Some files name the first product ffn_down, by its place in the file. */
static pn_array mlp(struct pn_builder *b, const struct pn_vision *v, int layer, pn_array x)
{
    bool swapped = pn_builder_n_cols(b, layer, "ffn_up") != v->n_embd;
    const char *up = swapped ? "ffn_down" : "ffn_up", *down = swapped ? "ffn_up" : "ffn_down";
    pn_array y = pn_builder_project(b, layer, up, x, 0);
    if (pn_builder_has(b, layer, "ffn_gate", "weight"))
        y = pn_mul(b->graph, pn_act(b->graph, pn_builder_project(b, layer, "ffn_gate", x, 0), v->act), y);
    else
        y = pn_act(b->graph, y, v->act);
    y = pn_builder_project(b, layer, down, y, v->n_embd);
    return pn_builder_gated(b, layer, "gate_ffn", y);
}

/* Norms outside of layers: of the family's kind, also where layers have another. */
static pn_array outer_norm(struct pn_builder *b, const struct pn_vision *v, const char *name, float eps, pn_array x)
{
    pn_array weight = pn_builder_weight(b, -1, name);
    if (v->family->norm == PN_NORM_RMS)
        return pn_rms_norm(b->graph, x, weight, eps);
    return pn_layer_norm(b->graph, x, weight, pn_builder_optional(b, -1, name, "bias"), eps);
}

/* Patches as embeddings: a product with their pixels, and what is added to each. */
static pn_array embedding(struct pn_builder *b, const struct pn_vision *v) /* (tokens, n_embd) */
{
    int n_pixels = 3 * v->frames * v->patch * v->patch;
    pn_array x = pn_given(b->graph, PN_NONE, 0, n_pixels, false);
    pn_array second = PN_NONE; /* of a kernel for two frames, which are the same in a picture */
    if (pn_weights_tensor(b->weights, "v.patch_embd.weight.1"))
        second = pn_builder_product(b, -1, "v.patch_embd.weight.1", x, v->n_embd);
    x = pn_builder_project(b, -1, "v.patch_embd", x, v->n_embd);
    if (second != PN_NONE)
        x = pn_add(b->graph, x, second);
    if (pn_vision_has_table(v))
        x = pn_add(b->graph, x, pn_given(b->graph, PN_NONE, n_pixels, v->n_embd, false));
    if (pn_builder_has(b, -1, "v.pre_ln", "weight"))
        x = outer_norm(b, v, "v.pre_ln", v->pre_eps, x);
    if (v->n_tiles) /* padding is 0 */
        x = pn_mul_heads(b->graph, x, pn_given(b->graph, PN_NONE, n_pixels + 2 * v->n_embd, 1, false));
    return x;
}

/* What a block adds to the stream, scaled where the file has scales. */
static pn_array scaled(struct pn_builder *b, int layer, const char *name, pn_array y, int n)
{
    return pn_builder_has(b, layer, name, "weight")
               ? pn_mul(b->graph, y, pn_builder_vector(b, layer, name, "weight", 0, n))
               : y;
}

/* The states that count, side by side: after[i] are those of i layers. */
static pn_array tapped(struct pn_builder *b, const struct pn_vision *v, const pn_array *after)
{
    pn_array all = after[v->n_taps ? v->taps[0] : v->n_layer];
    for (int i = 1; i < v->n_taps; i++)
        all = pn_concat(b->graph, all, after[v->taps[i]]);
    if (v->post_norm) /* in the projector, where that merges first */
        all = outer_norm(b, v, v->family->merge == PN_MERGE_WEAVE ? "mm.input_norm" : "v.post_ln", v->post_eps, all);
    for (int i = 0; i < v->n_deep; i++)
        all = pn_concat(b->graph, all, after[v->deep[i] + 1]);
    return all;
}

static pn_array states(struct pn_builder *b, const struct pn_vision *v) /* (outputs, pn_vision_n_states) */
{
    char context[48];
    b->graph->context = context;
    b->graph->layer = -1;
    snprintf(context, sizeof context, "the vision encoder");
    if (pn_vision_rotates(v))
        b->rope_global = rotation(b, v);
    pn_array x = embedding(b, v), after[PN_MAX_LAYERS + 1] = {x};
    for (int layer = 0; layer < v->n_layer; layer++) {
        if (v->n_local && layer == v->n_local)
            x = pn_given(b->graph, outer_norm(b, v, "v.post_ln", v->post_eps, x),
                         3 * v->frames * v->patch * v->patch + v->n_embd, v->n_embd, true);
        snprintf(context, sizeof context, "layer %d of the vision encoder", layer);
        b->graph->layer = layer;
        pn_array y = attention(b, v, layer, pn_builder_norm(b, layer, "ln1", x));
        x = pn_add(b->graph, x, scaled(b, layer, "ls1", y, v->n_embd));
        y = mlp(b, v, layer, pn_builder_norm(b, layer, "ln2", x));
        x = pn_add(b->graph, x, scaled(b, layer, "ls2", y, v->n_embd));
        after[layer + 1] = x;
    }
    b->graph->layer = v->n_layer;
    x = tapped(b, v, after);
    x = pn_output_rows(b->graph, x);
    b->graph->context = NULL;
    return x;
}

/* What the blocks of decoders ask about, for an encoder. */
static pantry_status describe(struct pn_model *m, const struct pn_vision *v, struct pantry_error *err)
{
    struct pn_hparams *hp = &m->hp;
    m->arch = (struct pn_arch){.name = "vision", .encoder = true, .names = {.layer_prefix = "v."}};
    m->arch.window.kind = PN_WINDOW_LISTED;
    *hp = (struct pn_hparams){.n_vocab = 1,
                              .n_embd = v->n_embd,
                              .n_layer = v->n_layer,
                              .n_stored = v->n_layer,
                              .norm_eps = v->eps,
                              .rms_eps = v->eps,
                              .window = v->window,
                              .norm = v->norm,
                              .act = v->act};
    hp->layers = pn_arena_array(&m->arena, (size_t)v->n_layer, sizeof *hp->layers);
    if (!hp->layers)
        return pn_no_memory(err, "a vision encoder");
    for (int i = 0; i < v->n_layer; i++)
        hp->layers[i] = (struct pn_layer_hparams){.n_head = v->n_head,
                                                  .n_head_kv = v->n_head,
                                                  .dim_k = v->n_embd / v->n_head,
                                                  .dim_v = v->n_embd / v->n_head,
                                                  .kv_layer = i,
                                                  .local = v->window > 0 && !v->full[i]};
    return PANTRY_OK;
}

static pantry_status build(struct pn_model *m, struct pn_vision *v, struct pantry_error *err)
{
    struct pn_builder b;
    pantry_status status = describe(m, v, err);
    if (status || (status = pn_model_builder(m, &b, err)))
        return status;
    m->results[PN_RESULT_STATES] = states(&b, v);
    pn_array merged = pn_given(b.graph, PN_NONE, 0, pn_vision_n_merged(v), false);
    pn_array rows = pn_output_rows(b.graph, v->family->project(&b, v, merged));
    for (int i = 0; i < PN_N_RESULTS; i++)
        if (i != PN_RESULT_STATES)
            m->results[i] = i == PN_RESULT_EMBEDDINGS ? rows : PN_NONE;
    m->step_bytes = b.used_bytes;
    m->n_caches = b.n_caches;
    if ((status = pn_graph_status(&m->graph, err)))
        return pn_fail_prefix(err, "%s", m->weights->path);
    v->n_out = pn_node(&m->graph, rows)->n2;
    return PANTRY_OK;
}

pantry_status pn_vision_model(struct pn_vision *v, struct pn_model **out, struct pantry_error *err)
{
    *out = NULL;
    struct pn_model *m = calloc(1, sizeof *m);
    if (!m)
        return pn_no_memory(err, "a vision encoder");
    m->weights = v->weights;
    pn_graph_init(&m->graph);
    pn_model_count(m);
    pantry_status status = build(m, v, err);
    v->lent = !status;
    m->weights = status ? NULL : m->weights;
    if (status)
        pn_model_free(m);
    else
        *out = m;
    return status;
}
