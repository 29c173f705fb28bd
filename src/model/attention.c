/* Attention blocks. */
#include "model/blocks.h"

#include <math.h>

static float score_scale(const struct pn_builder *b, int layer)
{
    const struct pn_hparams *hp = b->hp;
    if (hp->attn_scale > 0)
        return hp->attn_scale;
    if (b->arch->score.n_layers_wide && hp->n_layer == b->arch->score.n_layers_wide)
        return 1 / sqrtf((float)(hp->n_embd / hp->layers[layer].n_head));
    return 1 / sqrtf((float)hp->layers[layer].dim_k);
}

/* In the order of the rows of attn_qkv. */
enum projection { QUERY, KEY, VALUE };

/* Queries, keys or values, from their own weights or from a part of attn_qkv. */
static pn_array project(struct pn_builder *b, int layer, enum projection which, pn_array x, int n_head, int dim)
{
    static const char *const names[] = {[QUERY] = "attn_q", [KEY] = "attn_k", [VALUE] = "attn_v"};
    const char *name = names[which];
    const struct pn_hparams *hp = b->hp;
    const struct pn_layer_hparams *l = &hp->layers[layer];
    int n = n_head * dim;
    pn_array y; /* (tokens, n) */
    if (pn_builder_has(b, layer, "attn_qkv", "weight")) {
        int n_q = l->n_head * l->dim_k, n_k = l->n_head_kv * l->dim_k, n_v = l->n_head_kv * l->dim_v;
        int first = which == QUERY ? 0 : which == KEY ? n_q : n_q + n_k;
        y = pn_builder_project_rows(b, layer, "attn_qkv", x, first, n, n_q + n_k + n_v, true);
        if (y != PN_NONE && !pn_builder_has(b, layer, "attn_qkv", "bias") && pn_builder_has(b, layer, name, "bias"))
            y = pn_add(b->graph, y, pn_builder_vector(b, layer, name, "bias", 0, n));
    } else {
        y = pn_builder_project(b, layer, name, x, n);
    }
    if (hp->attn_clamp > 0)
        y = pn_clamp(b->graph, y, -hp->attn_clamp, hp->attn_clamp);
    return y;
}

static pn_array norm(struct pn_builder *b, pn_array x, pn_array weight, pn_array bias)
{
    if (b->hp->norm == PN_NORM_RMS)
        return pn_rms_norm(b->graph, x, weight, b->hp->rms_eps);
    return pn_layer_norm(b->graph, x, weight, bias, b->hp->norm_eps);
}

/* Normalizes queries or keys, per head (with one weight for all heads or one per head) or over all heads. */
static pn_array normalize(struct pn_builder *b, int layer, const char *name, pn_array x, int n_head, int dim)
{
    enum pn_qk_norm kind = b->arch->qk_norm;
    if (kind == PN_QK_NORM_LENGTH_AFTER)
        return pn_rms_norm(b->graph, x, PN_NONE, b->hp->rms_eps);
    bool maybe = kind == PN_QK_NORM_HEAD_MAYBE || kind == PN_QK_NORM_WHOLE_MAYBE;
    if (kind == PN_QK_NORM_NONE || (maybe && !pn_builder_has(b, layer, name, "weight")))
        return x;
    bool whole = kind == PN_QK_NORM_WHOLE || kind == PN_QK_NORM_WHOLE_MAYBE;
    bool shared = !whole && pn_builder_n_rows(b, layer, name) == 1;
    int n = shared ? dim : n_head * dim;
    pn_array weight = pn_builder_vector(b, layer, name, "weight", 0, n), bias = PN_NONE;
    if (pn_builder_has(b, layer, name, "bias"))
        bias = pn_builder_vector(b, layer, name, "bias", 0, n);
    if (whole)
        x = pn_reshape(b->graph, x, 1, n_head * dim);
    return pn_reshape(b->graph, norm(b, x, weight, bias), n_head, dim);
}

pn_array pn_builder_temperature(struct pn_builder *b, int layer, pn_array q)
{
    const struct pn_hparams *hp = b->hp;
    if (hp->temperature_scale == 0 || (b->arch->temperature.unrotated_only && pn_builder_rotates(b, layer)))
        return q;
    return pn_pos_scale(b->graph, q, hp->temperature_scale, hp->temperature_length, hp->temperature_offset);
}

/* While a model is trained, sequences are whole in the batch, and the cache is not used. */
static pn_array attend_to_batch(struct pn_builder *b, int layer, pn_array q, pn_array written, pn_array sinks,
                                const struct pn_attention_params *params)
{
    pn_array k = pn_node(b->graph, written)->src[0], v = pn_node(b->graph, written)->src[1];
    pn_array bias = b->hp->rel_buckets ? pn_builder_position_bias(b, layer) : PN_NONE;
    if (params->value_in_key)
        v = pn_slice(b->graph, k, 0, params->dim_v);
    return pn_attend(b->graph, q, k, v, sinks, bias, params); /* (tokens, n_head, dim_v) */
}

/* Attention over the keys and values that `written` writes. */
static pn_array attend_to(struct pn_builder *b, int layer, pn_array q, pn_array written, float scale)
{
    const struct pn_hparams *hp = b->hp;
    if (written == PN_NONE)
        return PN_NONE;
    struct pn_attention_params params = pn_node(b->graph, written)->attn; /* which cache, of what shape */
    params.scale = scale;
    params.softcap = b->arch->score.softcap ? hp->attn_softcap : 0;
    params.alibi = hp->alibi;
    params.window = hp->layers[layer].local ? hp->window : 0;
    params.window_kind = b->arch->window.kind;
    params.causal = hp->causal;
    params.shown = hp->layers[layer].cross;
    pn_array sinks = PN_NONE;
    if (pn_builder_has(b, layer, "attn_sinks", "weight"))
        sinks = pn_builder_vector(b, layer, "attn_sinks", "weight", 0, hp->layers[layer].n_head);
    if (b->trains)
        return attend_to_batch(b, layer, q, written, sinks, &params);
    if (hp->rel_buckets)
        return pn_attention_bias(b->graph, q, written, pn_builder_position_bias(b, layer), &params);
    return pn_attention(b->graph, q, written, sinks, &params); /* (tokens, n_head, dim_v) */
}

static pn_array write_and_attend(struct pn_builder *b, int layer, pn_array q, pn_array k, pn_array v, int dim_v,
                                 float scale)
{
    const struct pn_node *n = pn_node(b->graph, k);
    struct pn_cache_shape shape = {n->n1, n->n2, dim_v, .value_in_key = v == PN_NONE};
    struct pn_attention_params params = {.cache = b->n_caches,
                                         .n_head_kv = shape.n_head,
                                         .dim_k = shape.dim_k,
                                         .dim_v = shape.dim_v,
                                         .value_in_key = shape.value_in_key};
    b->caches[b->n_caches++] = shape;
    b->written[layer] = pn_cache_write(b->graph, k, v, &params);
    return attend_to(b, layer, q, b->written[layer], scale);
}

pn_array pn_builder_attend(struct pn_builder *b, int layer, pn_array q, pn_array k, pn_array v, float scale)
{
    if (q == PN_NONE || k == PN_NONE || v == PN_NONE)
        return PN_NONE;
    return write_and_attend(b, layer, q, k, v, pn_node(b->graph, v)->n2, scale);
}

pn_array pn_builder_attend_written(struct pn_builder *b, int layer, pn_array q, float scale)
{
    return q == PN_NONE ? PN_NONE : attend_to(b, layer, q, b->written[layer], scale);
}

pn_array pn_builder_attend_keys(struct pn_builder *b, int layer, pn_array q, pn_array k, int dim_v, float scale)
{
    if (q == PN_NONE || k == PN_NONE)
        return PN_NONE;
    return write_and_attend(b, layer, q, k, PN_NONE, dim_v, scale);
}

/* Queries or keys, normalized and rotated in the architecture's order. */
static pn_array normalize_and_rotate(struct pn_builder *b, int layer, const char *norm, pn_array x, int n_head)
{
    enum pn_qk_norm kind = b->arch->qk_norm;
    bool rotates = pn_builder_rotates(b, layer);
    bool after = kind == PN_QK_NORM_HEAD_AFTER || kind == PN_QK_NORM_LENGTH_AFTER;
    int dim = b->hp->layers[layer].dim_k;
    if (!after)
        x = normalize(b, layer, norm, x, n_head, dim);
    if (rotates)
        x = pn_builder_rotate(b, layer, x);
    if (kind == PN_QK_NORM_HEAD_AFTER || (kind == PN_QK_NORM_LENGTH_AFTER && rotates))
        x = normalize(b, layer, norm, x, n_head, dim);
    return x;
}

/* Attention over the layer's own keys and values, which are written to its cache, or over an earlier layer's. */
static pn_array attend(struct pn_builder *b, int layer, pn_array x, pn_array q, float scale)
{
    const struct pn_layer_hparams *l = &b->hp->layers[layer];
    struct pn_graph *g = b->graph;
    if (l->kv_layer != layer)
        return attend_to(b, layer, q, b->written[l->kv_layer], scale);
    bool value_is_key = b->arch->attn.value_is_key && !pn_builder_has(b, layer, "attn_v", "weight") &&
                        !pn_builder_has(b, layer, "attn_qkv", "weight");
    pn_array k = project(b, layer, KEY, x, l->n_head_kv, l->dim_k);
    pn_array v = value_is_key ? k : project(b, layer, VALUE, x, l->n_head_kv, l->dim_v);
    k = pn_reshape(g, k, l->n_head_kv, l->dim_k); /* (tokens, n_head_kv, dim_k) */
    v = pn_reshape(g, v, l->n_head_kv, l->dim_v); /* (tokens, n_head_kv, dim_v) */
    if (b->arch->attn.value_norm)
        v = pn_rms_norm(g, v, PN_NONE, b->hp->rms_eps);
    return pn_builder_attend(b, layer, q, normalize_and_rotate(b, layer, "attn_k_norm", k, l->n_head_kv), v, scale);
}

/* Multiplies heads, or each of their values, with a gate computed from the layer's input. */
static pn_array apply_gate(struct pn_builder *b, int layer, pn_array x, pn_array heads)
{
    const struct pn_layer_hparams *l = &b->hp->layers[layer];
    int n = pn_builder_n_rows(b, layer, "attn_gate");
    pn_array gate = pn_act(b->graph, pn_builder_product(b, layer, "attn_gate", x, 0),
                           b->arch->attn.gate_softplus ? PN_ACT_FN_SOFTPLUS : PN_ACT_FN_SIGMOID);
    if (n == l->n_head)
        return pn_mul_heads(b->graph, heads, gate);
    return pn_mul(b->graph, heads, pn_reshape(b->graph, gate, l->n_head, l->dim_v));
}

/* Grouped-query attention: Ainslie et al., 2023. Biases, head norms, windows and soft caps if the model has them. */
pn_array pn_block_attention(struct pn_builder *b, int layer, pn_array x) /* (tokens, n_embd) -> same */
{
    const struct pn_layer_hparams *l = &b->hp->layers[layer];
    struct pn_graph *g = b->graph;
    if (!l->n_head_kv) /* a pruned layer keeps only the last product */
        return pn_builder_product(b, layer, "attn_output", x, b->hp->n_embd);
    int per_query = b->arch->attn.query_gate ? 2 : 1;
    pn_array gate = PN_NONE, q = project(b, layer, QUERY, x, l->n_head, per_query * l->dim_k);
    q = pn_reshape(g, q, l->n_head, per_query * l->dim_k); /* (tokens, n_head, dim_k) */
    if (b->arch->attn.query_gate) {
        gate = pn_act(g, pn_slice(g, q, l->dim_k, l->dim_k), PN_ACT_FN_SIGMOID); /* (tokens, n_head, dim_k) */
        q = pn_slice(g, q, 0, l->dim_k);
    }
    q = pn_builder_temperature(b, layer, normalize_and_rotate(b, layer, "attn_q_norm", q, l->n_head));
    pn_array heads = attend(b, layer, x, q, score_scale(b, layer));
    if (gate != PN_NONE)
        heads = pn_mul(g, heads, gate);
    if (pn_builder_has(b, layer, "attn_gate", "weight"))
        heads = apply_gate(b, layer, x, heads);
    if (pn_builder_has(b, layer, "attn_sub_norm", "weight"))
        heads = pn_builder_norm(b, layer, "attn_sub_norm", pn_reshape(g, heads, 1, l->n_head * l->dim_v));
    const char *output = b->arch->names.attn_output ? b->arch->names.attn_output : "attn_output";
    heads = pn_builder_project(b, layer, output, heads, b->hp->n_embd);
    return b->hp->value_scale != 0 ? pn_scale(g, heads, b->hp->value_scale, 0) : heads;
}
