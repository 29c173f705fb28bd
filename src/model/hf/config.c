/* Metadata from config.json: see hf.h. */
#include "model/hf/hf.h"

#include <stdio.h>
#include <string.h>

/* Pairs "key=name" and "key~name" of a row. */
static void put_listed(struct pn_hf *hf, const char *pairs)
{
    for (size_t n; pairs && *pairs; pairs += n + (pairs[n] == ' ')) {
        char pair[128];
        n = strcspn(pairs, " ");
        snprintf(pair, sizeof pair, "%.*s", (int)n, pairs);
        size_t at = strcspn(pair, "=~");
        bool real = pair[at] == '~';
        pair[at] = '\0';
        const char *name = pair + at + 1;
        const json_t *value = pn_hf_get(hf, name);
        if (json_is_boolean(value))
            pn_hf_put_bool(hf, pair, json_is_true(value));
        else if (value && real)
            pn_hf_put_float(hf, pair, pn_hf_float(hf, name, 0));
        else if (value)
            pn_hf_put_int(hf, pair, pn_hf_int(hf, name, 0));
    }
}

static const char usual[] =
    "block_count=num_hidden_layers block_count=n_layer block_count=n_layers block_count=num_layers "
    "context_length=max_position_embeddings context_length=n_positions context_length=max_seq_len "
    "context_length=seq_length context_length=max_sequence_length "
    "embedding_length=hidden_size embedding_length=n_embd embedding_length=d_model "
    "feed_forward_length=intermediate_size feed_forward_length=n_inner feed_forward_length=ffn_dim "
    "attention.head_count=num_attention_heads attention.head_count=n_head attention.head_count=n_heads "
    "attention.head_count_kv=num_attention_heads attention.head_count_kv=n_head attention.head_count_kv=n_heads "
    "attention.head_count_kv=num_key_value_heads "
    "attention.key_length=head_dim attention.value_length=head_dim "
    "attn_logit_softcapping~attn_logit_softcapping final_logit_softcapping~final_logit_softcapping "
    "expert_count=num_local_experts expert_count=num_experts expert_count=n_routed_experts "
    "expert_count=moe_num_experts "
    "expert_used_count=num_experts_per_tok expert_used_count=moe_k expert_used_count=moe_topk "
    "expert_used_count=top_k_experts expert_used_count=num_experts_per_token "
    "expert_feed_forward_length=moe_intermediate_size expert_shared_count=n_shared_experts "
    "expert_weights_norm=norm_topk_prob expert_weights_scale~routed_scaling_factor "
    "expert_group_count=n_group expert_group_used_count=topk_group "
    "leading_dense_block_count=first_k_dense_replace leading_dense_block_count=num_dense_layers "
    "full_attention_interval=full_attention_interval";

/* The activation function, by transformers' names. */
static void read_act(struct pn_hf *hf)
{
    static const struct {
        const char *name;
        enum pn_act_fn fn;
    } known[] = {{"silu", PN_ACT_FN_SILU},
                 {"swish", PN_ACT_FN_SILU},
                 {"gelu", PN_ACT_FN_GELU},
                 {"gelu_python", PN_ACT_FN_GELU},
                 {"gelu_new", PN_ACT_FN_GELU_TANH},
                 {"gelu_fast", PN_ACT_FN_GELU_TANH},
                 {"gelu_pytorch_tanh", PN_ACT_FN_GELU_TANH},
                 {"quick_gelu", PN_ACT_FN_GELU_QUICK},
                 {"relu", PN_ACT_FN_RELU},
                 {"relu2", PN_ACT_FN_RELU2}};
    const char *name = json_string_value(
        pn_hf_get(hf, "hidden_activation hidden_act activation_function activation mlp_hidden_act ffn_act_fn"));
    if (!name || (hf->row->flags & PN_HF_FIXED_ACT))
        return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) {
            hf->arch->ffn.act = known[i].fn;
            return;
        }
    pn_hf_fail(hf, PANTRY_UNSUPPORTED, "config.json: the activation function \"%.40s\" is not supported", name);
}

static void read_gates(struct pn_hf *hf)
{
    const char *name = json_string_value(pn_hf_get(hf, "scoring_func score_func scoring_function"));
    bool sigmoid = name ? strcmp(name, "sigmoid") == 0 : hf->row->flags & PN_HF_SIGMOID;
    if (name || (hf->row->flags & (PN_HF_SIGMOID | PN_HF_SOFTMAX)))
        pn_hf_put_int(hf, "expert_gating_func", sigmoid ? 2 : 1);
}

static void read_epsilons(struct pn_hf *hf)
{
    static const char rms[] = "rms_norm_eps norm_eps layer_norm_epsilon layernorm_epsilon layer_norm_eps norm_epsilon "
                              "layer_norm_rms_eps block_norm_eps",
                      layer[] = "layer_norm_eps layer_norm_epsilon norm_epsilon norm_eps layernorm_epsilon "
                                "rms_norm_eps";
    pn_hf_put_float(hf, "attention.layer_norm_rms_epsilon", pn_hf_float(hf, rms, 1e-5));
    pn_hf_put_float(hf, "attention.layer_norm_epsilon", pn_hf_float(hf, layer, 1e-5));
}

void pn_hf_read_config(struct pn_hf *hf)
{
    pn_hf_put_str(hf, "general.architecture", hf->arch->name);
    put_listed(hf, usual);
    if (!pn_hf_get(hf, "max_position_embeddings n_positions max_seq_len seq_length max_sequence_length"))
        pn_hf_put_int(hf, "context_length", 1 << 20);
    read_epsilons(hf);
    if (pn_hf_get(hf, "query_pre_attn_scalar")) {
        double s = pn_hf_float(hf, "query_pre_attn_scalar", 1);
        if (!(s > 0))
            pn_hf_fail(hf, PANTRY_FORMAT, "config.json: query_pre_attn_scalar is %g, but must be above 0", s);
        else
            pn_hf_put_float(hf, "attention.scale", 1 / __builtin_sqrt(s));
    }
    read_act(hf);
    read_gates(hf);
    pn_hf_read_windows(hf);
    pn_hf_read_rotation(hf);
    put_listed(hf, hf->row->keys);
    if (hf->row->more && !hf->status)
        hf->row->more(hf);
}
