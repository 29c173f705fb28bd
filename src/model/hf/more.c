/* Metadata that a kind of config.json says in its own way: see hf.h. Sources: transformers' configurations. */
#include "model/hf/more.h"

#include "model/hf/hf.h"
#include "model/hf/storage.h"
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int n_layers(struct pn_hf *hf)
{
    int64_t n = pn_hf_int(hf, "num_hidden_layers n_layer n_layers num_layers", 0);
    return n < 0 ? 0 : n > PN_MAX_LAYERS ? PN_MAX_LAYERS : (int)n;
}

/* Room for a number per layer, on the stack of the caller. */
struct per_layer {
    int64_t value[PN_MAX_LAYERS];
};

/* ---- attention ---- */

void pn_hf_more_latent(struct pn_hf *hf)
{
    int64_t rank = pn_hf_int(hf, "kv_lora_rank", 512), rope = pn_hf_int(hf, "qk_rope_head_dim", 64),
            nope = pn_hf_int(hf, "qk_nope_head_dim", 128), v = pn_hf_int(hf, "v_head_dim", 128);
    const char *method = json_string_value(pn_hf_get(hf, "topk_method"));
    bool absorbed = pn_hfdir_tensor(hf->dir, "model.layers.0.self_attn.embed_q.weight") != NULL;
    pn_hf_put_int(hf, "attention.kv_lora_rank", rank);
    pn_hf_put_int(hf, "attention.q_lora_rank", pn_hf_int(hf, "q_lora_rank", 0));
    pn_hf_put_int(hf, "attention.key_length", absorbed ? rank + rope : nope + rope);
    pn_hf_put_int(hf, "attention.value_length", absorbed ? rank : v);
    pn_hf_put_int(hf, "attention.key_length_mla", nope + rope);
    pn_hf_put_int(hf, "attention.value_length_mla", v);
    pn_hf_put_int(hf, "attention.head_count_kv", absorbed ? 1 : pn_hf_int(hf, "num_attention_heads", 1));
    pn_hf_put_int(hf, "rope.dimension_count", rope);
    if (method && strcmp(method, "greedy") == 0) {
        pn_hf_put_int(hf, "expert_group_count", 0);
        pn_hf_put_int(hf, "expert_group_used_count", 0);
    }
}

void pn_hf_more_llama4(struct pn_hf *hf)
{
    pn_hf_put_int(hf, "feed_forward_length", pn_hf_int(hf, "intermediate_size_mlp intermediate_size", 0));
    hf->arch->window.kind = PN_WINDOW_CHUNKED;
    if (!pn_hf_bool(hf, "use_qk_norm", true))
        hf->arch->qk_norm = PN_QK_NORM_NONE;
    const json_t *tuning = pn_hf_get(hf, "attn_temperature_tuning");
    if (json_is_false(tuning) || (json_is_integer(tuning) && json_integer_value(tuning) == 0))
        hf->arch->temperature.unrotated_only = false;
    hf->arch->temperature.scale = (float)pn_hf_float(hf, "attn_scale", 0.1);
    hf->arch->temperature.length = (float)pn_hf_float(hf, "floor_scale", 8192);
}

/* The parameters of Apertus' activation function are tensors of one number. */
/* The layers that attend to pictures. */
void pn_hf_more_mllama(struct pn_hf *hf)
{
    const json_t *list = pn_hf_get(hf, "cross_attention_layers");
    int64_t layers[PN_MAX_LAYERS];
    size_t n = json_array_size(list) < PN_MAX_LAYERS ? json_array_size(list) : PN_MAX_LAYERS;
    for (size_t i = 0; i < n; i++)
        layers[i] = json_integer_value(json_array_get(list, i));
    pn_hf_put_ints(hf, "attention.cross_attention_layers", layers, n);
}

void pn_hf_more_xielu(struct pn_hf *hf)
{
    static const char *const names[] = {"alpha_p", "alpha_n", "beta"};
    static const float usual[] = {0, 0, 0.5f};
    float values[PN_MAX_LAYERS];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char key[64];
        for (int layer = 0; layer < n_layers(hf); layer++) {
            snprintf(key, sizeof key, "model.layers.%d.mlp.act_fn.%s", layer, names[i]);
            const struct pn_st_tensor *t = pn_hfdir_tensor(hf->dir, key);
            values[layer] = t && pn_hf_count(t) > 0 ? pn_hf_number(t, 0) : usual[i];
        }
        snprintf(key, sizeof key, "xielu.%s", names[i]);
        pn_hf_put_floats(hf, key, values, (size_t)n_layers(hf));
    }
}

void pn_hf_more_minicpm(struct pn_hf *hf)
{
    double width = pn_hf_float(hf, "dim_model_base", 0), depth = pn_hf_float(hf, "scale_depth", 0);
    if (pn_hf_get(hf, "scale_emb"))
        pn_hf_put_float(hf, "embedding_scale", pn_hf_float(hf, "scale_emb", 1));
    if (depth > 0 && n_layers(hf) > 0)
        pn_hf_put_float(hf, "residual_scale", depth / sqrt((double)n_layers(hf)));
    if (width > 0)
        pn_hf_put_float(hf, "logit_scale", pn_hf_float(hf, "hidden_size", width) / width);
    if (pn_hf_get(hf, "kv_lora_rank"))
        pn_hf_more_latent(hf);
}

/* ---- experts ---- */

/* The first number of a number or a list. */
static int64_t first_of(struct pn_hf *hf, const char *names, int64_t fallback)
{
    const json_t *value = pn_hf_get(hf, names);
    return json_is_array(value) ? json_integer_value(json_array_get(value, 0)) : pn_hf_int(hf, names, fallback);
}

void pn_hf_more_ernie(struct pn_hf *hf)
{
    pn_hf_put_int(hf, "expert_count", first_of(hf, "moe_num_experts", 0));
    pn_hf_put_int(hf, "leading_dense_block_count", first_of(hf, "moe_layer_start_index", 1));
    pn_hf_put_int(hf, "expert_shared_count", pn_hf_int(hf, "moe_num_shared_experts", 0));
}

void pn_hf_more_afmoe(struct pn_hf *hf)
{
    pn_hf_put_float(hf, "expert_weights_scale", pn_hf_float(hf, "route_scale", 1));
    pn_hf_put_bool(hf, "expert_weights_norm", pn_hf_bool(hf, "route_norm", true));
    hf->arch->embedding.sqrt_width = pn_hf_bool(hf, "mup_enabled", true);
}

/* ---- GPT's line ---- */

void pn_hf_more_gpt(struct pn_hf *hf)
{
    if (!pn_hf_get(hf, "n_inner intermediate_size"))
        pn_hf_put_int(hf, "feed_forward_length", 4 * pn_hf_int(hf, "hidden_size n_embd", 0));
    if (pn_hf_bool(hf, "multi_query", false))
        pn_hf_put_int(hf, "attention.head_count_kv", 1);
}

void pn_hf_more_neox(struct pn_hf *hf)
{
    pn_hf_put_int(hf, "attention.head_count_kv", pn_hf_int(hf, "num_attention_heads", 1));
}

void pn_hf_more_mpt(struct pn_hf *hf)
{
    const json_t *attention = pn_hf_get(hf, "attn_config");
    const json_t *clip = json_object_get(attention, "clip_qkv"), *most = json_object_get(attention, "alibi_bias_max");
    pn_hf_put_int(hf, "feed_forward_length",
                  pn_hf_int(hf, "expansion_ratio", 4) * pn_hf_int(hf, "d_model hidden_size", 0));
    if (!json_is_false(json_object_get(attention, "alibi")))
        pn_hf_put_float(hf, "attention.max_alibi_bias", json_is_number(most) ? json_number_value(most) : 8);
    if (json_is_number(clip))
        pn_hf_put_float(hf, "attention.clamp_kqv", json_number_value(clip));
}

void pn_hf_more_falcon(struct pn_hf *hf)
{
    int64_t heads = pn_hf_int(hf, "num_attention_heads n_head", 1);
    bool grouped = pn_hf_bool(hf, "new_decoder_architecture", false), one = pn_hf_bool(hf, "multi_query", true);
    pn_hf_put_int(hf, "attention.head_count_kv",
                  grouped ? pn_hf_int(hf, "num_kv_heads n_head_kv", heads)
                  : one   ? 1
                          : heads);
    pn_hf_put_int(hf, "feed_forward_length", pn_hf_int(hf, "ffn_hidden_size", 4 * pn_hf_int(hf, "hidden_size", 0)));
    if (pn_hf_bool(hf, "alibi", false))
        pn_hf_fail(hf, PANTRY_UNSUPPORTED, "config.json: Falcon with alibi is not supported");
    if (!grouped && !pn_hf_bool(hf, "parallel_attn", true))
        hf->arch->order = PN_ORDER_PRE;
}

/* ---- Gemma ---- */

static void put_sparsity(struct pn_hf *hf)
{
    const json_t *list = pn_hf_get(hf, "activation_sparsity_pattern");
    float values[PN_MAX_LAYERS];
    int n = n_layers(hf);
    for (int i = 0; i < n; i++) {
        double share =
            json_is_array(list) ? json_number_value(json_array_get(list, (size_t)i)) : json_number_value(list);
        /* the standard normal's quantile, by bisection of its distribution */
        double low = -8, high = 8;
        for (int step = 0; step < 80; step++) {
            double middle = (low + high) / 2;
            *(erfc(-middle / sqrt(2)) / 2 < share ? &low : &high) = middle;
        }
        values[i] = share > 0 ? (float)low : -INFINITY;
    }
    if (list)
        pn_hf_put_floats(hf, "activation_sparsity_scale", values, (size_t)n);
}

void pn_hf_more_gemma3n(struct pn_hf *hf)
{
    const json_t *lengths = pn_hf_get(hf, "intermediate_size");
    struct per_layer ff;
    int n = n_layers(hf);
    for (int i = 0; i < n && json_is_array(lengths); i++)
        ff.value[i] = json_integer_value(json_array_get(lengths, (size_t)i));
    if (json_is_array(lengths))
        pn_hf_put_ints(hf, "feed_forward_length", ff.value, (size_t)n);
    pn_hf_put_int(hf, "altup.num_inputs", pn_hf_int(hf, "altup_num_inputs", 4));
    pn_hf_put_int(hf, "altup.active_idx", pn_hf_int(hf, "altup_active_idx", 0));
    pn_hf_put_int(hf, "attention.shared_kv_layers", pn_hf_int(hf, "num_kv_shared_layers", 0));
    pn_hf_put_int(hf, "embedding_length_per_layer_input", pn_hf_int(hf, "hidden_size_per_layer_input", 256));
    put_sparsity(hf);
}

void pn_hf_more_gemma4(struct pn_hf *hf)
{
    int n = n_layers(hf);
    int64_t local = pn_hf_int(hf, "head_dim", 256), global = pn_hf_int(hf, "global_head_dim", 0),
            shared = pn_hf_int(hf, "num_kv_shared_layers", 0), ff = pn_hf_int(hf, "intermediate_size", 0);
    struct per_layer kv, lengths;
    bool wide = pn_hf_bool(hf, "use_double_wide_mlp", false), same = pn_hf_bool(hf, "attention_k_eq_v", false);
    for (int i = 0; i < n; i++) {
        bool is_local = strcmp(pn_hf_layer_type(hf, "layer_types", i), "sliding_attention") == 0;
        kv.value[i] = pn_hf_layer_int(hf, "num_key_value_heads", i, 1);
        if (same && !is_local)
            kv.value[i] = pn_hf_int(hf, "num_global_key_value_heads", kv.value[i]);
        lengths.value[i] = wide && i >= n - shared ? 2 * ff : ff;
        if (!is_local && !global)
            global = pn_hf_layer_int(hf, "head_dim", i, 512);
    }
    global = global ? global : local;
    pn_hf_put_int(hf, "attention.key_length", global);
    pn_hf_put_int(hf, "attention.value_length", global);
    pn_hf_put_int(hf, "attention.key_length_swa", local);
    pn_hf_put_int(hf, "attention.value_length_swa", local);
    pn_hf_put_int(hf, "rope.dimension_count_swa", local);
    pn_hf_put_int(hf, "attention.shared_kv_layers", shared);
    pn_hf_put_int(hf, "embedding_length_per_layer_input", pn_hf_int(hf, "hidden_size_per_layer_input", 0));
    pn_hf_put_ints(hf, "attention.head_count_kv", kv.value, (size_t)n);
    pn_hf_put_ints(hf, "feed_forward_length", lengths.value, (size_t)n);
}

/* ---- recurrent layers ---- */

/* Key/value heads of the layers with attention, none in the others. */
static void put_heads_kv(struct pn_hf *hf, const struct per_layer *attends)
{
    struct per_layer kv;
    int64_t heads = pn_hf_int(hf, "num_key_value_heads num_attention_heads", 1);
    for (int i = 0; i < n_layers(hf); i++)
        kv.value[i] = attends->value[i] ? heads : 0;
    pn_hf_put_ints(hf, "attention.head_count_kv", kv.value, (size_t)n_layers(hf));
}

/* Layers whose type, in a list of that name, is one of two. */
static struct per_layer layers_of(struct pn_hf *hf, const char *list, const char *type, const char *other)
{
    struct per_layer out = {{0}};
    for (int i = 0; i < n_layers(hf); i++) {
        const char *mine = pn_hf_layer_type(hf, list, i);
        out.value[i] = strcmp(mine, type) == 0 || strcmp(mine, other) == 0;
    }
    return out;
}

void pn_hf_more_delta(struct pn_hf *hf)
{
    int n = n_layers(hf);
    bool recurrent[PN_MAX_LAYERS];
    int64_t heads = pn_hf_int(hf, "linear_num_value_heads", 0);
    pn_hf_put_int(hf, "ssm.conv_kernel", pn_hf_int(hf, "linear_conv_kernel_dim", 4));
    pn_hf_put_int(hf, "ssm.state_size", pn_hf_int(hf, "linear_key_head_dim", 128));
    pn_hf_put_int(hf, "ssm.group_count", pn_hf_int(hf, "linear_num_key_heads", 16));
    pn_hf_put_int(hf, "ssm.time_step_rank", heads);
    pn_hf_put_int(hf, "ssm.inner_size", heads * pn_hf_int(hf, "linear_value_head_dim", 128));
    for (int i = 0; i < n; i++)
        recurrent[i] = strcmp(pn_hf_layer_type(hf, "layer_types", i), "linear_attention") == 0;
    if (pn_hf_get(hf, "layer_types"))
        pn_hf_put_bools(hf, "attention.recurrent_layers", recurrent, (size_t)n);
    hf->arch->recurrent.interleaved = true; /* value heads are not reordered */
}

void pn_hf_more_lfm2(struct pn_hf *hf)
{
    struct per_layer attends = layers_of(hf, "layer_types", "full_attention", "attention");
    const json_t *list = pn_hf_get(hf, "full_attn_idxs");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t at = json_integer_value(json_array_get(list, i));
        if (at >= 0 && at < n_layers(hf))
            attends.value[at] = 1;
    }
    put_heads_kv(hf, &attends);
    pn_hf_put_int(hf, "shortconv.l_cache", pn_hf_int(hf, "conv_L_cache", 3));
    pn_hf_put_int(hf, "feed_forward_length", 0); /* as the weights have it */
}

void pn_hf_more_mamba(struct pn_hf *hf)
{
    int64_t width = pn_hf_int(hf, "hidden_size d_model", 0), heads = pn_hf_int(hf, "num_heads", 0);
    int64_t inner = pn_hf_int(hf, "intermediate_size d_inner", (int64_t)(pn_hf_float(hf, "expand", 2) * (double)width));
    const json_t *rank = pn_hf_get(hf, "time_step_rank dt_rank");
    int64_t n_rank = json_is_integer(rank) ? json_integer_value(rank) : (width + 15) / 16;
    const char *type = json_string_value(pn_hf_get(hf, "model_type"));
    pn_hf_put_int(hf, "attention.head_count", 0);
    pn_hf_put_int(hf, "attention.head_count_kv", 0);
    pn_hf_put_int(hf, "feed_forward_length", 0);
    pn_hf_put_int(hf, "ssm.conv_kernel", pn_hf_int(hf, "conv_kernel d_conv", 4));
    pn_hf_put_int(hf, "ssm.state_size", pn_hf_int(hf, "state_size d_state", 16));
    pn_hf_put_int(hf, "ssm.inner_size", heads ? heads * pn_hf_int(hf, "head_dim", 64) : inner);
    pn_hf_put_int(hf, "ssm.time_step_rank", heads ? heads : n_rank);
    pn_hf_put_int(hf, "ssm.group_count", pn_hf_int(hf, "n_groups", 1));
    pn_hf_put_bool(hf, "ssm.dt_b_c_rms", type && strcmp(type, "falcon_mamba") == 0);
}

void pn_hf_more_jamba(struct pn_hf *hf)
{
    int64_t period = pn_hf_int(hf, "attn_layer_period", 8), offset = pn_hf_int(hf, "attn_layer_offset", 4);
    int64_t width = pn_hf_int(hf, "hidden_size", 0);
    struct per_layer attends;
    for (int i = 0; i < n_layers(hf); i++)
        attends.value[i] = period > 0 && i % period == offset;
    put_heads_kv(hf, &attends);
    pn_hf_put_int(hf, "ssm.conv_kernel", pn_hf_int(hf, "mamba_d_conv", 4));
    pn_hf_put_int(hf, "ssm.state_size", pn_hf_int(hf, "mamba_d_state", 16));
    pn_hf_put_int(hf, "ssm.inner_size", pn_hf_int(hf, "mamba_expand", 2) * width);
    const json_t *rank = pn_hf_get(hf, "mamba_dt_rank");
    pn_hf_put_int(hf, "ssm.time_step_rank", json_is_integer(rank) ? json_integer_value(rank) : (width + 15) / 16);
}

void pn_hf_more_granite_hybrid(struct pn_hf *hf)
{
    struct per_layer attends = layers_of(hf, "layer_types layers_block_type", "attention", "full_attention");
    const char *positions = json_string_value(pn_hf_get(hf, "position_embedding_type"));
    put_heads_kv(hf, &attends);
    pn_hf_put_bool(hf, "rope.scaling.finetuned", positions && strcmp(positions, "rope") == 0);
    pn_hf_put_int(hf, "ssm.conv_kernel", pn_hf_int(hf, "mamba_d_conv", 4));
    pn_hf_put_int(hf, "ssm.state_size", pn_hf_int(hf, "mamba_d_state", 256));
    pn_hf_put_int(hf, "ssm.group_count", pn_hf_int(hf, "mamba_n_groups", 1));
    pn_hf_put_int(hf, "ssm.inner_size", pn_hf_int(hf, "mamba_expand", 2) * pn_hf_int(hf, "hidden_size", 0));
    pn_hf_put_int(hf, "ssm.time_step_rank", pn_hf_int(hf, "mamba_n_heads", 128));
}

void pn_hf_more_nemotron_h(struct pn_hf *hf)
{
    const char *pattern = json_string_value(pn_hf_get(hf, "hybrid_override_pattern"));
    struct per_layer attends = layers_of(hf, "layer_types layers_block_type", "full_attention", "attention"),
                     feeds = layers_of(hf, "layer_types layers_block_type", "mlp", "-");
    int64_t heads = pn_hf_int(hf, "mamba_num_heads", 128), ff = pn_hf_int(hf, "intermediate_size", 0);
    for (int i = 0; pattern && i < n_layers(hf) && pattern[i]; i++) {
        attends.value[i] = pattern[i] == '*';
        feeds.value[i] = pattern[i] == '-';
        if (pattern[i] == 'E')
            pn_hf_fail(hf, PANTRY_UNSUPPORTED, "config.json: layers with experts are not supported in this kind");
    }
    for (int i = 0; i < n_layers(hf); i++)
        feeds.value[i] = feeds.value[i] ? ff : 0;
    put_heads_kv(hf, &attends);
    pn_hf_put_ints(hf, "feed_forward_length", feeds.value, (size_t)n_layers(hf));
    pn_hf_put_int(hf, "expert_count", 0);
    pn_hf_put_int(hf, "expert_used_count", 0);
    pn_hf_put_int(hf, "ssm.conv_kernel", pn_hf_int(hf, "conv_kernel", 4));
    pn_hf_put_int(hf, "ssm.state_size", pn_hf_int(hf, "ssm_state_size", 128));
    pn_hf_put_int(hf, "ssm.group_count", pn_hf_int(hf, "n_groups", 8));
    pn_hf_put_int(hf, "ssm.inner_size", heads * pn_hf_int(hf, "mamba_head_dim", 64));
    pn_hf_put_int(hf, "ssm.time_step_rank", heads);
}

/* ---- encoders ---- */

void pn_hf_more_bert(struct pn_hf *hf)
{
    pn_hf_put_bool(hf, "attention.causal", false);
}

void pn_hf_more_modern_bert(struct pn_hf *hf)
{
    pn_hf_put_bool(hf, "attention.causal", false);
    pn_hf_put_int(hf, "attention.sliding_window", pn_hf_int(hf, "local_attention", 128));
    pn_hf_put_int(hf, "attention.sliding_window_pattern", pn_hf_int(hf, "global_attn_every_n_layers", 3));
    pn_hf_put_float(hf, "rope.freq_base", pn_hf_float(hf, "global_rope_theta", 160000));
    pn_hf_put_float(hf, "rope.freq_base_swa", pn_hf_float(hf, "local_rope_theta", 10000));
}
