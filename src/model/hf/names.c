/* Names of tensors that most directories have in common, and the search for rules: see hf.h. */
#include "model/hf/hf.h"

#include <string.h>

#define TO(from, to)                                                                                                   \
    {                                                                                                                  \
        from, to, PN_HF_SAME                                                                                           \
    }
#define GATED(path, gate, up, down)                                                                                    \
    TO(path "." gate, "ffn_gate"), TO(path "." up, "ffn_up"), TO(path "." down, "ffn_down")
#define SHARED(path)                                                                                                   \
    TO(path ".gate_proj", "ffn_gate_shexp"), TO(path ".up_proj", "ffn_up_shexp"),                                      \
        TO(path ".down_proj", "ffn_down_shexp")
#define STACK(path, gate, up, down)                                                                                    \
    TO(path "." gate, "ffn_gate_exps"), TO(path "." up, "ffn_up_exps"), TO(path "." down, "ffn_down_exps")
/* All experts' gate and up in one, as a parameter or as a module. */
#define FUSED_STACK(path)                                                                                              \
    {path ".gate_up_proj", "ffn_gate_exps.weight", PN_HF_FIRST},                                                       \
        {path ".gate_up_proj", "ffn_up_exps.weight", PN_HF_SECOND},                                                    \
        {path ".gate_up_proj.weight", "ffn_gate_exps.weight", PN_HF_FIRST},                                            \
    {                                                                                                                  \
        path ".gate_up_proj.weight", "ffn_up_exps.weight", PN_HF_SECOND                                                \
    }
#define EXPERTS(path)                                                                                                  \
    STACK(path ".experts.*", "gate_proj", "up_proj", "down_proj"), STACK(path ".experts.*", "w1", "w3", "w2"),         \
        STACK(path ".switch_mlp", "gate_proj", "up_proj", "down_proj"), TO(path ".switch_mlp.fc1", "ffn_up_exps"),     \
        TO(path ".switch_mlp.fc2", "ffn_down_exps"), TO(path ".experts.gate_proj", "ffn_gate_exps"),                   \
        TO(path ".experts.up_proj", "ffn_up_exps"), TO(path ".experts.down_proj.weight", "ffn_down_exps.weight"),      \
        TO(path ".experts.down_proj.bias", "ffn_down_exps.bias"),                                                      \
        TO(path ".experts.down_proj", "ffn_down_exps.weight"), FUSED_STACK(path ".experts"),                           \
        FUSED_STACK(path ".switch_mlp"), TO(path ".gate", "ffn_gate_inp"), TO(path ".router", "ffn_gate_inp"),         \
        TO(path ".router.layer", "ffn_gate_inp"), TO(path ".gate.e_score_correction_bias", "exp_probs_b.bias"),        \
        TO(path ".e_score_correction_bias", "exp_probs_b.bias"), TO(path ".expert_bias", "exp_probs_b.bias"),          \
        TO(path ".gate.expert_bias", "exp_probs_b.bias"), SHARED(path ".shared_expert"),                               \
        SHARED(path ".shared_experts"), SHARED(path ".shared_mlp"),                                                    \
        TO(path ".shared_expert_gate", "ffn_gate_inp_shexp")

static const struct pn_hf_name usual[] = {
    TO("embed_tokens", "token_embd"),
    TO("wte", "token_embd"),
    TO("word_embeddings", "token_embd"),
    TO("tok_embeddings", "token_embd"),
    TO("embed_in", "token_embd"),
    TO("embeddings", "token_embd"),
    TO("embedding", "token_embd"),
    TO("wpe", "position_embd"),
    TO("norm", "output_norm"),
    TO("ln_f", "output_norm"),
    TO("norm_f", "output_norm"),
    TO("final_layernorm", "output_norm"),
    TO("final_layer_norm", "output_norm"),
    TO("final_norm", "output_norm"),
    TO("lm_head", "output"),
    TO("embed_out", "output"),
    TO("output", "output"),

    TO("*.input_layernorm", "attn_norm"),
    TO("*.post_attention_layernorm", "ffn_norm"),
    TO("*.self_attn.q_proj", "attn_q"),
    TO("*.self_attn.k_proj", "attn_k"),
    TO("*.self_attn.v_proj", "attn_v"),
    TO("*.self_attn.o_proj", "attn_output"),
    TO("*.self_attn.dense", "attn_output"),
    TO("*.self_attn.out_proj", "attn_output"),
    TO("*.self_attn.qkv_proj", "attn_qkv"),
    TO("*.self_attn.W_pack", "attn_qkv"),
    TO("*.self_attn.q_norm", "attn_q_norm"),
    TO("*.self_attn.k_norm", "attn_k_norm"),
    TO("*.self_attn.q_layernorm", "attn_q_norm"),
    TO("*.self_attn.k_layernorm", "attn_k_norm"),
    TO("*.self_attn.query_layernorm", "attn_q_norm"),
    TO("*.self_attn.key_layernorm", "attn_k_norm"),
    TO("*.self_attn.q_layernorm.norms.*.weight", "attn_q_norm.weight"),
    TO("*.self_attn.k_layernorm.norms.*.weight", "attn_k_norm.weight"),
    TO("*.self_attn.sinks", "attn_sinks.weight"),
    TO("*.self_attn.q_a_proj", "attn_q_a"),
    TO("*.self_attn.q_a_layernorm", "attn_q_a_norm"),
    TO("*.self_attn.q_b_proj", "attn_q_b"),
    TO("*.self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    TO("*.self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    TO("*.self_attn.kv_b_proj", "attn_kv_b"),
    TO("*.self_attn.embed_q", "attn_k_b"),
    TO("*.self_attn.unembed_out", "attn_v_b"),
    GATED("*.mlp", "gate_proj", "up_proj", "down_proj"),
    TO("*.mlp.gate_up_proj", "ffn_up"),
    TO("*.mlp.fc1", "ffn_up"),
    TO("*.mlp.fc2", "ffn_down"),
    TO("*.mlp.c_fc", "ffn_up"),
    TO("*.mlp.c_proj", "ffn_down"),
    TO("*.mlp.dense_h_to_4h", "ffn_up"),
    TO("*.mlp.dense_4h_to_h", "ffn_down"),
    GATED("*.feed_forward", "gate_proj", "up_proj", "down_proj"),
    GATED("*.feed_forward", "w1", "w3", "w2"),
    EXPERTS("*.mlp"),
    EXPERTS("*.feed_forward"),
    EXPERTS("*.block_sparse_moe"),
    {"*.block_sparse_moe.input_linear", "ffn_gate_exps", PN_HF_FIRST},
    {"*.block_sparse_moe.input_linear", "ffn_up_exps", PN_HF_SECOND},
    TO("*.block_sparse_moe.output_linear", "ffn_down_exps"),
    SHARED("*.shared_mlp"),
    {"*.shared_mlp.input_linear", "ffn_gate_shexp", PN_HF_FIRST},
    {"*.shared_mlp.input_linear", "ffn_up_shexp", PN_HF_SECOND},
    TO("*.shared_mlp.output_linear", "ffn_down_shexp"),

    TO("*.norm", "attn_norm"),
    {"*.mixer.A_log", "ssm_a", PN_HF_DECAY},
    TO("*.mixer.D", "ssm_d"),
    TO("*.mixer.dt_bias", "ssm_dt.bias"),
    {"*.mixer.conv1d.weight", "ssm_conv1d.weight", PN_HF_KERNEL},
    TO("*.mixer.conv1d", "ssm_conv1d"),
    TO("*.mixer.in_proj", "ssm_in"),
    TO("*.mixer.x_proj", "ssm_x"),
    TO("*.mixer.dt_proj", "ssm_dt"),
    TO("*.mixer.out_proj", "ssm_out"),
    TO("*.mixer.norm", "ssm_norm"),
    {"*.mamba.A_log", "ssm_a", PN_HF_DECAY},
    TO("*.mamba.D", "ssm_d"),
    TO("*.mamba.dt_bias", "ssm_dt.bias"),
    {"*.mamba.conv1d.weight", "ssm_conv1d.weight", PN_HF_KERNEL},
    TO("*.mamba.conv1d", "ssm_conv1d"),
    TO("*.mamba.in_proj", "ssm_in"),
    TO("*.mamba.x_proj", "ssm_x"),
    TO("*.mamba.dt_proj", "ssm_dt"),
    TO("*.mamba.out_proj", "ssm_out"),
    TO("*.mamba.norm", "ssm_norm"),
    TO("*.mamba.dt_layernorm", "ssm_dt_norm"),
    TO("*.mamba.b_layernorm", "ssm_b_norm"),
    TO("*.mamba.c_layernorm", "ssm_c_norm"),

    {"*.self_attn.rotary_emb.inv_freq", NULL, PN_HF_LEFT_OUT},
    {"*.attention.rotary_emb.inv_freq", NULL, PN_HF_LEFT_OUT},
    {"*.attn.bias", NULL, PN_HF_LEFT_OUT},
    {"*.attn.masked_bias", NULL, PN_HF_LEFT_OUT},
    {"*.attention.bias", NULL, PN_HF_LEFT_OUT},
    {"*.attention.masked_bias", NULL, PN_HF_LEFT_OUT},
    {NULL, NULL, PN_HF_SAME},
};

const char *const pn_hf_ignored[] = {"vision_tower.",
                                     "vision_model.",
                                     "visual.",
                                     "multi_modal_projector.",
                                     "mm_projector.",
                                     "audio_tower.",
                                     "embed_vision.",
                                     "embed_audio.",
                                     "image_newline",
                                     "vision_embed_tokens.",
                                     "mtp.",
                                     "rotary_emb.",
                                     "audio_model.",
                                     "connector.",
                                     "patch_merger.",
                                     "talker.",
                                     "token2wav.",
                                     "vision_encoder.",
                                     NULL};

const struct pn_hf_name *pn_hf_usual_names(void)
{
    return usual;
}

static const struct pn_hf_name *find(const struct pn_hf_name *names, size_t n, const char *from)
{
    for (size_t i = 0; i < n && names[i].from; i++)
        if (strcmp(names[i].from, from) == 0)
            return &names[i];
    return NULL;
}

const struct pn_hf_name *pn_hf_rules(const struct pn_hf_row *row, const char *from)
{
    const struct pn_hf_name *own = row->names ? find(row->names, SIZE_MAX, from) : NULL;
    return own ? own : find(usual, sizeof usual / sizeof *usual, from);
}
