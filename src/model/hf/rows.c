/* One row per kind of config.json: see hf.h. Names that most kinds share are in names.c, keys in config.c. */
#include "model/hf/hf.h"

#include "model/hf/more.h"

#include <string.h>

#define TO(from, to)                                                                                                   \
    {                                                                                                                  \
        from, to, PN_HF_SAME                                                                                           \
    }
#define NAMES(...)                                                                                                     \
    (const struct pn_hf_name[])                                                                                        \
    {                                                                                                                  \
        __VA_ARGS__,                                                                                                   \
        {                                                                                                              \
            NULL, NULL, PN_HF_SAME                                                                                     \
        }                                                                                                              \
    }
/* post_attention_layernorm comes after attention, not before the feed-forward block. */
#define POST_ATTENTION TO("*.post_attention_layernorm", "post_attention_norm")
#define POST_NORMS     POST_ATTENTION, TO("*.post_feedforward_layernorm", "post_ffw_norm")
#define SANDWICH       POST_NORMS, TO("*.pre_feedforward_layernorm", "ffn_norm")
#define PLUS_ONE(from, to)                                                                                             \
    {                                                                                                                  \
        from, to, PN_HF_PLUS_ONE                                                                                       \
    }
#define GEMMA_NORMS                                                                                                    \
    PLUS_ONE("norm", "output_norm"), PLUS_ONE("*.input_layernorm", "attn_norm"),                                       \
        PLUS_ONE("*.self_attn.q_norm", "attn_q_norm"), PLUS_ONE("*.self_attn.k_norm", "attn_k_norm")
#define GEMMA2_NORMS                                                                                                   \
    GEMMA_NORMS, PLUS_ONE("*.post_attention_layernorm", "post_attention_norm"),                                        \
        PLUS_ONE("*.pre_feedforward_layernorm", "ffn_norm"), PLUS_ONE("*.post_feedforward_layernorm", "post_ffw_norm")
#define DELTA                                                                                                          \
    {"norm", "output_norm", PN_HF_PLUS_ONE_HF}, {"*.input_layernorm", "attn_norm", PN_HF_PLUS_ONE_HF},                 \
        {"*.post_attention_layernorm", "post_attention_norm", PN_HF_PLUS_ONE_HF},                                      \
        {"*.self_attn.q_norm", "attn_q_norm", PN_HF_PLUS_ONE_HF},                                                      \
        {"*.self_attn.k_norm", "attn_k_norm", PN_HF_PLUS_ONE_HF}, {"*.linear_attn.A_log", "ssm_a", PN_HF_DECAY},       \
        TO("*.linear_attn.dt_bias", "ssm_dt.bias"),                                                                    \
        {"*.linear_attn.conv1d.weight", "ssm_conv1d.weight", PN_HF_KERNEL}, TO("*.linear_attn.norm", "ssm_norm"),      \
        TO("*.linear_attn.out_proj", "ssm_out"), TO("*.linear_attn.in_proj_ba", "ssm_ba"),                             \
        {"*.linear_attn.in_proj_qkvz", "attn_qkv", PN_HF_BY_KEY},                                                      \
        {"*.linear_attn.in_proj_qkvz", "attn_gate", PN_HF_BY_KEY_Z}, TO("*.linear_attn.in_proj_qkv", "attn_qkv"),      \
        TO("*.linear_attn.in_proj_z", "attn_gate"), TO("*.linear_attn.in_proj_b", "ssm_beta"),                         \
        TO("*.linear_attn.in_proj_a", "ssm_alpha")
#define FALCON                                                                                                         \
    {"*.self_attention.query_key_value", "attn_qkv", PN_HF_BY_GROUP}, TO("*.self_attention.dense", "attn_output"),     \
        TO("*.ln_attn", "attn_norm_2"), TO("*.ln_mlp", "attn_norm")
#define GPT2(change)                                                                                                   \
    TO("*.ln_1", "attn_norm"), TO("*.ln_2", "ffn_norm"), {"*.attn.c_attn", "attn_qkv", change},                        \
        {"*.attn.c_proj", "attn_output", change}, {"*.mlp.c_fc", "ffn_up", change},                                    \
    {                                                                                                                  \
        "*.mlp.c_proj", "ffn_down", change                                                                             \
    }
#define LFM2                                                                                                           \
    TO("embedding_norm", "token_embd_norm"), TO("*.operator_norm", "attn_norm"), TO("*.ffn_norm", "ffn_norm"),         \
        {"*.conv.conv.weight", "shortconv.conv.weight", PN_HF_KERNEL}, TO("*.conv.in_proj", "shortconv.in_proj"),      \
        TO("*.conv.out_proj", "shortconv.out_proj")
#define BERT_LAYER                                                                                                     \
    TO("embeddings.word_embeddings", "token_embd"), TO("embeddings.position_embeddings", "position_embd"),             \
        TO("embeddings.token_type_embeddings", "token_types"), TO("embeddings.LayerNorm", "token_embd_norm"),          \
        TO("*.attention.self.query", "attn_q"), TO("*.attention.self.key", "attn_k"),                                  \
        TO("*.attention.self.value", "attn_v"), TO("*.attention.output.dense", "attn_output"),                         \
        TO("*.attention.output.LayerNorm", "attn_output_norm"), TO("*.intermediate.dense", "ffn_up"),                  \
        TO("*.output.dense", "ffn_down"), TO("*.output.LayerNorm", "layer_output_norm"),                               \
        {"embeddings.position_ids", NULL, PN_HF_LEFT_OUT}, {"pooler.dense", NULL, PN_HF_LEFT_OUT},                     \
    {                                                                                                                  \
        "cls.predictions.bias", NULL, PN_HF_LEFT_OUT                                                                   \
    }

static const char granite_keys[] = "attention.scale~attention_multiplier embedding_scale~embedding_multiplier "
                                   "residual_scale~residual_multiplier logit_scale~logits_scaling "
                                   "expert_used_count=num_experts_per_tok";

static const struct pn_hf_row rows[] = {
    /* Llama's line */
    {"llama mistral mixtral ministral internlm3 aquila yi solar granite_llama devstral helium_llama", "llama",
     .flags = PN_HF_HALVES | PN_HF_WINDOW, .defaults = "{'rms_norm_eps': 1e-6}",
     .written = "{'hidden_act': 'silu', 'attention_bias': false, 'mlp_bias': false}"},
    {"mllama mllama_text_model", "mllama", .flags = PN_HF_HALVES, .more = pn_hf_more_mllama,
     .names = NAMES(TO("*.cross_attn.q_proj", "attn_q"), TO("*.cross_attn.k_proj", "attn_k"),
                    TO("*.cross_attn.v_proj", "attn_v"), TO("*.cross_attn.o_proj", "attn_output"),
                    TO("*.cross_attn.q_norm", "attn_q_norm"), TO("*.cross_attn.k_norm", "attn_k_norm"),
                    TO("*.cross_attn_attn_gate", "cross_attn_gate.weight"),
                    TO("*.cross_attn_mlp_gate", "cross_mlp_gate.weight"))},
    {"ministral3", "mistral3", .flags = PN_HF_HALVES | PN_HF_WINDOW},
    {"mistral4", "mistral4", .more = pn_hf_more_latent, .flags = PN_HF_SOFTMAX},
    {"llama4_text llama4", "llama4", .flags = PN_HF_SIGMOID, .more = pn_hf_more_llama4,
     .names = NAMES({"*.feed_forward.experts.gate_up_proj", "ffn_gate_exps.weight", PN_HF_TURNED_FIRST},
                    {"*.feed_forward.experts.gate_up_proj", "ffn_up_exps.weight", PN_HF_TURNED_SECOND},
                    {"*.feed_forward.experts.down_proj", "ffn_down_exps.weight", PN_HF_TURNED})},
    {"smollm3", "smollm3", .flags = PN_HF_HALVES},
    {"arcee", "arcee", .flags = PN_HF_HALVES},
    {"internlm2", "internlm2", .flags = PN_HF_HALVES,
     .names = NAMES(TO("*.attention_norm", "attn_norm"), TO("*.ffn_norm", "ffn_norm"),
                    {"*.attention.wqkv", "attn_qkv", PN_HF_BY_GROUP}, TO("*.attention.wo", "attn_output"))},
    {"baichuan", "baichuan", .flags = PN_HF_HALVES},
    {"apertus", "apertus",
     .names = NAMES(TO("*.attention_layernorm", "attn_norm"), TO("*.feedforward_layernorm", "ffn_norm"),
                    {"*.mlp.act_fn.alpha_p", NULL, PN_HF_LEFT_OUT}, {"*.mlp.act_fn.alpha_n", NULL, PN_HF_LEFT_OUT},
                    {"*.mlp.act_fn.beta", NULL, PN_HF_LEFT_OUT}, {"*.mlp.act_fn.eps", NULL, PN_HF_LEFT_OUT}),
     .flags = PN_HF_FIXED_ACT, .more = pn_hf_more_xielu},
    {"seed_oss", "seed_oss", .names = NAMES(POST_ATTENTION)},
    {"nanbeige", "nanbeige", .flags = PN_HF_HALVES},

    /* Qwen */
    {"qwen2", "qwen2", .flags = PN_HF_WINDOW, .written = "{'hidden_act': 'silu', 'use_sliding_window': false}"},
    {"qwen", "qwen", .flags = PN_HF_FIXED_ACT,
     .names = NAMES(TO("*.ln_1", "attn_norm"), TO("*.ln_2", "ffn_norm"), TO("*.attn.c_attn", "attn_qkv"),
                    TO("*.attn.c_proj", "attn_output"), TO("*.mlp.w1", "ffn_up"), TO("*.mlp.w2", "ffn_gate"),
                    TO("*.mlp.c_proj", "ffn_down"))},
    {"qwen2_moe", "qwen2moe", .flags = PN_HF_WINDOW},
    {"qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text", "qwen2vl", .flags = PN_HF_WINDOW},
    {"qwen3", "qwen3", .flags = PN_HF_WINDOW,
     .written = "{'hidden_act': 'silu', 'use_sliding_window': false, 'attention_bias': false}"},
    {"qwen3_moe", "qwen3moe", .flags = PN_HF_WINDOW,
     .written = "{'hidden_act': 'silu', 'use_sliding_window': false, 'attention_bias': false, 'norm_topk_prob': true, "
                "'decoder_sparse_step': 1, 'mlp_only_layers': []}"},
    {"qwen3_vl qwen3_vl_text", "qwen3vl", .flags = 0},
    {"qwen3_vl_moe qwen3_vl_moe_text", "qwen3vlmoe",
     .names = NAMES({"*.mlp.experts.gate_up_proj", "ffn_gate_exps.weight", PN_HF_TURNED_FIRST},
                    {"*.mlp.experts.gate_up_proj", "ffn_up_exps.weight", PN_HF_TURNED_SECOND},
                    {"*.mlp.experts.down_proj", "ffn_down_exps.weight", PN_HF_TURNED})},
    {"qwen3_next", "qwen3next", .names = NAMES(DELTA), .more = pn_hf_more_delta},
    {"qwen3_5 qwen3_5_text", "qwen35", .names = NAMES(DELTA), .more = pn_hf_more_delta},
    {"qwen3_5_moe qwen3_5_moe_text", "qwen35moe", .names = NAMES(DELTA), .more = pn_hf_more_delta},
    {"pangu_embedded PanguEmbedded", "pangu-embedded", .flags = 0},
    {"orion", "orion", .flags = 0},

    /* OLMo */
    {"olmo", "olmo", .keys = "attention.clamp_kqv~clip_qkv", .flags = PN_HF_HALVES},
    {"olmo2 olmo3", "olmo2", .names = NAMES(POST_NORMS), .written = "{'hidden_act': 'silu', 'attention_bias': false}"},
    {"olmoe", "olmoe", .keys = "attention.clamp_kqv~clip_qkv"},

    /* Gemma */
    {"gemma", "gemma", .flags = PN_HF_FIXED_ACT,
     .written = "{'hidden_act': 'gelu_pytorch_tanh', 'hidden_activation': 'gelu_pytorch_tanh'}",
     .names = NAMES(GEMMA_NORMS, PLUS_ONE("*.post_attention_layernorm", "ffn_norm"))},
    {"gemma2", "gemma2", .names = NAMES(GEMMA2_NORMS),
     .defaults = "{'query_pre_attn_scalar': 256, 'sliding_window': 4096, 'attn_logit_softcapping': 50.0, "
                 "'final_logit_softcapping': 30.0}"},
    {"gemma3_text gemma3", "gemma3", .names = NAMES(GEMMA2_NORMS),
     .written = "{'hidden_activation': 'gelu_pytorch_tanh', 'rope_local_base_freq': 10000.0, "
                "'sliding_window_pattern': 6, 'attn_logit_softcapping': null, 'final_logit_softcapping': null}",
     .defaults = "{'num_attention_heads': 8, 'num_key_value_heads': 4, 'head_dim': 256, 'rope_theta': 1000000.0, "
                 "'query_pre_attn_scalar': 256, 'rms_norm_eps': 1e-6, 'sliding_window': 4096, "
                 "'max_position_embeddings': 131072, 'rope_local_base_freq': 10000.0}"},
    {"gemma3n_text gemma3n", "gemma3n", .more = pn_hf_more_gemma3n,
     .names = NAMES(SANDWICH, TO("embed_tokens_per_layer", "per_layer_token_embd"),
                    TO("per_layer_model_projection", "per_layer_model_proj"),
                    TO("per_layer_projection_norm", "per_layer_proj_norm"), TO("altup_projections.*", "altup_proj"),
                    TO("altup_unembed_projections.*", "altup_unembd_proj"), TO("*.per_layer_input_gate", "inp_gate"),
                    TO("*.per_layer_projection", "proj"), TO("*.post_per_layer_input_norm", "post_norm"),
                    TO("*.altup.correct_output_scale", "altup_correct_scale.weight"),
                    TO("*.altup.correction_coefs", "altup_correct_coef"),
                    TO("*.altup.prediction_coefs", "altup_predict_coef"), TO("*.altup.modality_router", "altup_router"),
                    TO("*.altup.router_norm", "altup_router_norm"), TO("*.laurel.linear_left", "laurel_l"),
                    TO("*.laurel.linear_right", "laurel_r"), TO("*.laurel.post_laurel_norm", "laurel_post_norm"))},
    {"gemma4_text gemma4", "gemma4", .more = pn_hf_more_gemma4,
     .names = NAMES(
         SANDWICH, TO("embed_tokens_per_layer", "per_layer_token_embd"),
         TO("per_layer_model_projection", "per_layer_model_proj"),
         TO("per_layer_projection_norm", "per_layer_proj_norm"), TO("*.per_layer_input_gate", "inp_gate"),
         TO("*.per_layer_projection", "proj"), TO("*.post_per_layer_input_norm", "post_norm"),
         TO("*.layer_scalar", "layer_output_scale.weight"), TO("*.post_feedforward_layernorm_1", "post_ffw_norm_1"),
         TO("*.post_feedforward_layernorm_2", "post_ffw_norm_2"), TO("*.pre_feedforward_layernorm_2", "pre_ffw_norm_2"),
         TO("*.router.scale", "ffn_gate_inp.scale"), TO("*.router.per_expert_scale", "ffn_down_exps.scale"),
         TO("*.router.proj", "ffn_gate_inp"), {"*.experts.gate_up_proj", "ffn_gate_exps.weight", PN_HF_FIRST},
         {"*.experts.gate_up_proj", "ffn_up_exps.weight", PN_HF_SECOND},
         TO("*.experts.down_proj", "ffn_down_exps.weight"), {"*.moe.gate_up_proj", "ffn_gate_exps.weight", PN_HF_FIRST},
         {"*.moe.gate_up_proj", "ffn_up_exps.weight", PN_HF_SECOND}, TO("*.moe.down_proj", "ffn_down_exps.weight"),
         TO("*.experts.switch_glu.gate_proj", "ffn_gate_exps"), TO("*.experts.switch_glu.up_proj", "ffn_up_exps"),
         TO("*.experts.switch_glu.down_proj", "ffn_down_exps"))},

    /* GPT and its line */
    {"gpt2", "gpt2", .names = NAMES(GPT2(PN_HF_TURNED)), .more = pn_hf_more_gpt},
    {"gpt_bigcode", "starcoder", .names = NAMES(GPT2(PN_HF_SAME)), .more = pn_hf_more_gpt},
    {"mpt", "mpt", .more = pn_hf_more_mpt,
     .names =
         NAMES(TO("*.norm_1", "attn_norm"), TO("*.norm_2", "ffn_norm"), TO("*.attn.Wqkv", "attn_qkv"),
               TO("*.attn.out_proj", "attn_output"), TO("*.attn.q_ln", "attn_q_norm"), TO("*.attn.k_ln", "attn_k_norm"),
               TO("*.ffn.up_proj", "ffn_up"), TO("*.ffn.down_proj", "ffn_down"))},
    {"bloom", "bloom", .more = pn_hf_more_gpt, .flags = PN_HF_FIXED_ACT,
     .names = NAMES(TO("word_embeddings_layernorm", "token_embd_norm"),
                    {"*.self_attention.query_key_value", "attn_qkv", PN_HF_BY_HEAD},
                    TO("*.self_attention.dense", "attn_output"))},
    {"starcoder2", "starcoder2", .flags = PN_HF_WINDOW},
    {"gpt_neox", "gptneox", .more = pn_hf_more_neox, .keys = "use_parallel_residual=use_parallel_residual",
     .defaults = "{'rotary_pct': 0.25, 'use_parallel_residual': true}",
     .names =
         NAMES({"*.attention.query_key_value", "attn_qkv", PN_HF_BY_HEAD}, TO("*.attention.dense", "attn_output"))},
    {"falcon", "falcon", .names = NAMES(FALCON), .more = pn_hf_more_falcon},
    {"nemotron", "nemotron", .defaults = "{'partial_rotary_factor': 0.5}",
     .names =
         NAMES(PLUS_ONE("norm.weight", "output_norm.weight"), PLUS_ONE("*.input_layernorm.weight", "attn_norm.weight"),
               PLUS_ONE("*.post_attention_layernorm.weight", "ffn_norm.weight"))},
    {"jais2", "jais2", .flags = 0},
    {"stablelm", "stablelm", .defaults = "{'partial_rotary_factor': 0.25}",
     .keys = "use_parallel_residual=use_parallel_residual"},

    /* Phi */
    {"phi", "phi2", .defaults = "{'partial_rotary_factor': 0.5}"},
    {"phi3 phi4mm", "phi3", .flags = PN_HF_WINDOW},
    {"phimoe", "phimoe", .flags = 0},

    /* EXAONE */
    {"exaone", "exaone",
     .names = NAMES(TO("*.ln_1", "attn_norm"), TO("*.ln_2", "ffn_norm"), TO("*.attn.attention.q_proj", "attn_q"),
                    TO("*.attn.attention.k_proj", "attn_k"), TO("*.attn.attention.v_proj", "attn_v"),
                    TO("*.attn.attention.out_proj", "attn_output"), TO("*.mlp.c_fc_0", "ffn_gate"),
                    TO("*.mlp.c_fc_1", "ffn_up"), TO("*.mlp.c_proj", "ffn_down"))},
    {"exaone4", "exaone4", .names = NAMES(POST_NORMS)},
    {"exaone_moe", "exaone-moe", .flags = PN_HF_SIGMOID},

    /* Cohere */
    {"cohere", "command-r", .keys = "logit_scale~logit_scale", .defaults = "{'logit_scale': 0.0625}"},
    {"cohere2", "cohere2", .keys = "logit_scale~logit_scale",
     .defaults = "{'logit_scale': 0.0625, 'sliding_window_pattern': 4}"},

    /* Granite and MiniCPM */
    {"granitemoe granitemoeshared", "granitemoe", .keys = granite_keys, .flags = PN_HF_HALVES},
    {"granite", "granite", .keys = granite_keys, .flags = PN_HF_HALVES},
    {"granitemoehybrid", "granitehybrid", .keys = granite_keys, .flags = PN_HF_HALVES,
     .more = pn_hf_more_granite_hybrid},
    {"minicpm", "minicpm", .flags = PN_HF_HALVES, .more = pn_hf_more_minicpm},
    {"minicpm3", "minicpm3", .more = pn_hf_more_minicpm},

    /* GLM */
    {"glm", "chatglm", .names = NAMES(TO("*.mlp.gate_up_proj", "ffn_up")),
     .defaults = "{'partial_rotary_factor': 0.5}"},
    {"glm4", "glm4", .defaults = "{'partial_rotary_factor': 0.5}",
     .names =
         NAMES(TO("*.post_self_attn_layernorm", "post_attention_norm"), TO("*.post_mlp_layernorm", "post_ffw_norm"))},
    {"glm4_moe", "glm4moe", .names = NAMES(POST_ATTENTION), .flags = PN_HF_SIGMOID,
     .defaults = "{'partial_rotary_factor': 0.5}"},

    /* ERNIE */
    {"ernie4_5", "ernie4_5", .flags = 0},
    {"ernie4_5_moe", "ernie4_5-moe", .more = pn_hf_more_ernie,
     .names = NAMES(TO("*.mlp.gate.moe_statics.e_score_correction_bias", "exp_probs_b.bias"),
                    TO("*.mlp.moe_statics.e_score_correction_bias", "exp_probs_b.bias"))},

    /* Hunyuan */
    {"hunyuan_v1_dense", "hunyuan-dense", .flags = 0},
    {"hunyuan_v1_moe hunyuan", "hunyuan-moe", .names = NAMES(TO("*.mlp.gate.wg", "ffn_gate_inp"))},

    /* Other mixtures of experts */
    {"dots1", "dots1", .flags = PN_HF_SIGMOID},
    {"minimax_m2", "minimax-m2", .flags = PN_HF_SIGMOID},
    {"afmoe", "afmoe", .flags = PN_HF_SIGMOID, .more = pn_hf_more_afmoe,
     .names = NAMES(POST_ATTENTION, TO("*.pre_mlp_layernorm", "ffn_norm"), TO("*.post_mlp_layernorm", "post_ffw_norm"),
                    TO("*.self_attn.gate_proj", "attn_gate"), TO("*.mlp.router.gate", "ffn_gate_inp"))},
    {"bailing_moe", "bailingmoe",
     .names = NAMES(TO("*.attention.query_key_value", "attn_qkv"), TO("*.attention.dense", "attn_output")),
     .flags = PN_HF_HALVES},
    {"bailing_moe_v2", "bailingmoe2", .flags = PN_HF_SIGMOID,
     .names = NAMES(TO("*.attention.query_key_value", "attn_qkv"), TO("*.attention.dense", "attn_output"),
                    TO("*.attention.query_layernorm", "attn_q_norm"), TO("*.attention.key_layernorm", "attn_k_norm"))},
    {"gpt_oss", "gpt-oss", .flags = PN_HF_FIXED_ACT,
     .names = NAMES(POST_ATTENTION, {"*.mlp.experts.gate_up_proj", "ffn_gate_exps.weight", PN_HF_TURNED_EVEN},
                    {"*.mlp.experts.gate_up_proj", "ffn_up_exps.weight", PN_HF_TURNED_ODD},
                    {"*.mlp.experts.gate_up_proj_bias", "ffn_gate_exps.bias", PN_HF_EVEN},
                    {"*.mlp.experts.gate_up_proj_bias", "ffn_up_exps.bias", PN_HF_ODD},
                    {"*.mlp.experts.down_proj", "ffn_down_exps.weight", PN_HF_TURNED},
                    TO("*.mlp.experts.down_proj_bias", "ffn_down_exps.bias"),
                    TO("*.mlp.experts.down_proj.weight", "ffn_down_exps.weight"),
                    TO("*.mlp.experts.down_proj.bias", "ffn_down_exps.bias"))},

    /* DeepSeek, and others with multi-head latent attention */
    {"deepseek", "deepseek", .flags = PN_HF_HALVES},
    {"deepseek_v2", "deepseek2", .more = pn_hf_more_latent, .flags = PN_HF_SOFTMAX},
    {"deepseek_v3 kimi_k2 glm4_moe_lite", "deepseek2", .more = pn_hf_more_latent, .flags = PN_HF_SIGMOID},

    /* Recurrent and hybrid models */
    {"lfm2", "lfm2", .names = NAMES(LFM2), .more = pn_hf_more_lfm2},
    {"lfm2_moe", "lfm2moe", .names = NAMES(LFM2), .more = pn_hf_more_lfm2, .flags = PN_HF_SIGMOID},
    {"mamba falcon_mamba", "mamba", .more = pn_hf_more_mamba},
    {"mamba2", "mamba2", .more = pn_hf_more_mamba},
    {"jamba", "jamba", .more = pn_hf_more_jamba,
     .names = NAMES(TO("*.pre_ff_layernorm", "ffn_norm"), TO("*.feed_forward.router", "ffn_gate_inp"))},
    {"nemotron_h", "nemotron_h", .more = pn_hf_more_nemotron_h,
     .names = NAMES(TO("*.mixer.q_proj", "attn_q"), TO("*.mixer.k_proj", "attn_k"), TO("*.mixer.v_proj", "attn_v"),
                    TO("*.mixer.o_proj", "attn_output"), TO("*.mixer.up_proj", "ffn_up"),
                    TO("*.mixer.down_proj", "ffn_down"))},

    /* Encoders */
    {"bert", "bert", .names = NAMES(BERT_LAYER), .more = pn_hf_more_bert},
    {"modernbert", "modern-bert", .more = pn_hf_more_modern_bert,
     .names = NAMES(TO("embeddings.tok_embeddings", "token_embd"), TO("embeddings.norm", "token_embd_norm"),
                    TO("*.attn.Wqkv", "attn_qkv"), TO("*.attn.Wo", "attn_output"), TO("*.attn_norm", "attn_norm"),
                    TO("*.mlp_norm", "ffn_norm"), TO("*.mlp.Wi", "ffn_up"), TO("*.mlp.Wo", "ffn_down"))},
};

const struct pn_hf_row *pn_hf_row(const char *type)
{
    size_t len = strlen(type), n;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (const char *at = rows[i].types; *at; at += n + (at[n] == ' ')) {
            n = strcspn(at, " ");
            if (n == len && memcmp(at, type, n) == 0)
                return &rows[i];
        }
    return NULL;
}

const struct pn_hf_row *pn_hf_row_of(const char *arch)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].arch, arch) == 0)
            return &rows[i];
    return NULL;
}

#define SIZES(feed_forward, n_head_kv, n_context)                                                                      \
    "{\"hidden_size\": 4096, \"intermediate_size\": " feed_forward ", \"num_hidden_layers\": 32, "                     \
    "\"num_attention_heads\": 32, \"num_key_value_heads\": " n_head_kv ", \"max_position_embeddings\": " n_context     \
    ", \"vocab_size\": 32000}"

const char *pn_hf_usual_sizes(const char *type)
{
    static const struct {
        const char *type, *sizes;
    } usual[] = {
        {"llama", SIZES("11008", "32", "2048")},
        {"mistral", SIZES("14336", "8", "131072")},
    };
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (strcmp(usual[i].type, type) == 0)
            return usual[i].sizes;
    return NULL;
}
