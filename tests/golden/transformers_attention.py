"""Decoders of the llama line: attention in every layer, a gated feed-forward part or experts after it."""

import math

from transformers_cases import Case, experts, first_half, rotated_pairs, second_half, turned

MOE = dict(num_experts=8, num_local_experts=8, num_experts_per_tok=3, moe_intermediate_size=24)
EVEN = dict(hidden_size=64, head_dim=...)  # the head's length follows from the others
PAIRS, HALVES = rotated_pairs, {}


def windows(c):
    return {
        "attention.sliding_window": c.sliding_window,
        "attention.sliding_window_pattern": [t == "sliding_attention" for t in c.layer_types],
    }


def layer_types(period, n):
    return ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(n)]


def llama3_factors(b, c):
    """The divisor of each pair's frequency: Llama 3.1."""
    r, half = c.rope_parameters, c.head_dim // 2
    low, high, context = r["low_freq_factor"], r["high_freq_factor"], r["original_max_position_embeddings"]
    factors = []
    for i in range(half):
        turns = context * r["rope_theta"] ** (-i / half) / (2 * math.pi)
        keep = min(max((turns - low) / (high - low), 0), 1)
        factors.append(1 / ((1 - keep) / r["factor"] + keep))
    b.constant("rope_freqs.weight", factors)


LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=96,
)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)


def yarn_keys(c):
    r = c.rope_parameters
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": r["factor"],
        "rope.scaling.original_context_length": r["original_max_position_embeddings"],
        "rope.scaling.yarn_beta_fast": r.get("beta_fast"),
        "rope.scaling.yarn_beta_slow": r.get("beta_slow"),
    }


SHARED = {
    "layers.{}.mlp.shared_experts.gate_proj": "blk.{}.ffn_gate_shexp",
    "layers.{}.mlp.shared_experts.up_proj": "blk.{}.ffn_up_shexp",
    "layers.{}.mlp.shared_experts.down_proj": "blk.{}.ffn_down_shexp",
}
SHARED_GATED = {name.replace("experts", "expert"): gguf for name, gguf in SHARED.items()} | {
    "layers.{}.mlp.shared_expert_gate": "blk.{}.ffn_gate_inp_shexp"
}
ROUTER_BIAS = {"layers.{}.mlp.gate.e_score_correction_bias": "blk.{}.exp_probs_b.bias"}
POST_NORMS = {
    "layers.{}.post_attention_layernorm": "blk.{}.post_attention_norm",
    "layers.{}.post_feedforward_layernorm": "blk.{}.post_ffw_norm",
}
GRANITE = dict(embedding_multiplier=6.0, logits_scaling=4.0, residual_multiplier=0.25, attention_multiplier=0.125)


def granite_keys(c):
    return {
        "attention.scale": c.attention_multiplier,
        "embedding_scale": c.embedding_multiplier,
        "residual_scale": c.residual_multiplier,
        "logit_scale": c.logits_scaling,
    }


def routing_keys(c):
    return {
        "expert_gating_func": 2,
        "expert_weights_norm": c.norm_topk_prob,
        "expert_weights_scale": c.routed_scaling_factor,
        "expert_group_count": c.n_group,
        "expert_group_used_count": c.topk_group,
        "expert_shared_count": c.n_shared_experts,
    }


def gpt_oss_names(c):
    path = "layers.{}.mlp.experts."
    return experts(gate="router") | {
        "layers.{}.post_attention_layernorm": "blk.{}.post_attention_norm",
        "layers.{}.self_attn.sinks": "blk.{}.attn_sinks.weight",
        path + "gate_up_proj": [
            ("blk.{}.ffn_gate_exps.weight", lambda a: turned(a)[:, 0::2]),
            ("blk.{}.ffn_up_exps.weight", lambda a: turned(a)[:, 1::2]),
        ],
        path + "down_proj": ("blk.{}.ffn_down_exps.weight", turned),
        path + "gate_up_proj_bias": [
            ("blk.{}.ffn_gate_exps.bias", lambda a: a[:, 0::2]),
            ("blk.{}.ffn_up_exps.bias", lambda a: a[:, 1::2]),
        ],
        path + "down_proj_bias": "blk.{}.ffn_down_exps.bias",
    }


def llama4_names(c):
    path, to = "layers.{}.feed_forward.", "blk.{}.ffn_"
    return rotated_pairs(c) | {
        "layers.{}.self_attn.q_proj": "blk.{}.attn_q",
        "layers.{}.self_attn.k_proj": "blk.{}.attn_k",
        path + "gate_proj": to + "gate",
        path + "up_proj": to + "up",
        path + "down_proj": to + "down",
        path + "shared_expert.gate_proj": to + "gate_shexp",
        path + "shared_expert.up_proj": to + "up_shexp",
        path + "shared_expert.down_proj": to + "down_shexp",
        path + "router": to + "gate_inp",
        path + "experts.gate_up_proj": [
            (to + "gate_exps.weight", lambda a: first_half(1)(turned(a))),
            (to + "up_exps.weight", lambda a: second_half(1)(turned(a))),
        ],
        path + "experts.down_proj": (to + "down_exps.weight", turned),
    }


LLAMA4 = dict(
    hidden_size=32,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_hidden_layers=4,
    intermediate_size=16,
    intermediate_size_mlp=48,
    num_local_experts=4,
    num_experts_per_tok=1,
    interleave_moe_layer_step=2,
    max_position_embeddings=16384,
    rms_norm_eps=1e-5,
)


def glm4_names(c):
    return {
        "layers.{}.post_attention_layernorm": "blk.{}.ffn_norm",
        "layers.{}.post_self_attn_layernorm": "blk.{}.post_attention_norm",
        "layers.{}.post_mlp_layernorm": "blk.{}.post_ffw_norm",
        "layers.{}.mlp.gate_up_proj": "blk.{}.ffn_up",
    }


def mla_names(c):
    path, to = "layers.{}.self_attn.", "blk.{}.attn_"
    return (
        experts()
        | SHARED
        | ROUTER_BIAS
        | {
            path + "q_a_proj": to + "q_a",
            path + "q_a_layernorm": to + "q_a_norm",
            path + "q_b_proj": to + "q_b",
            path + "kv_a_proj_with_mqa": to + "kv_a_mqa",
            path + "kv_a_layernorm": to + "kv_a_norm",
            path + "kv_b_proj": [
                (to + "k_b", lambda a: turned(by_head(a, c)[:, : c.qk_nope_head_dim])),
                (to + "v_b", lambda a: by_head(a, c)[:, c.qk_nope_head_dim :]),
            ],
        }
    )


def by_head(a, c):
    return a.reshape(c.num_attention_heads, c.qk_nope_head_dim + c.v_head_dim, -1)


def mla_keys(c):
    rope = c.qk_rope_head_dim
    keys = routing_keys(c) if hasattr(c, "n_group") else {}
    r = c.rope_parameters
    if r["rope_type"] == "yarn":
        keys |= yarn_keys(c) | {"rope.scaling.yarn_log_multiplier": 0.1 * r["mscale_all_dim"]}
    return keys | {
        "attention.head_count_kv": 1,
        "attention.q_lora_rank": c.q_lora_rank,
        "attention.kv_lora_rank": c.kv_lora_rank,
        "attention.key_length": c.kv_lora_rank + rope,
        "attention.value_length": c.kv_lora_rank,
        "attention.key_length_mla": c.qk_nope_head_dim + rope,
        "attention.value_length_mla": c.v_head_dim,
        "rope.dimension_count": rope,
        "leading_dense_block_count": c.first_k_dense_replace,
    }


MLA = dict(
    head_dim=...,
    num_key_value_heads=4,
    q_lora_rank=24,
    kv_lora_rank=32,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=12,
    n_routed_experts=8,
    num_experts_per_tok=3,
    moe_intermediate_size=24,
    n_shared_experts=2,
    first_k_dense_replace=1,
)

CASES = {
    "llama-llama3": Case(
        "llama",
        "LlamaForCausalLM",
        dict(rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True),
        PAIRS,
        extra=llama3_factors,
    ),
    "llama-linear": Case(
        "llama",
        "LlamaForCausalLM",
        dict(
            **EVEN, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0), tie_word_embeddings=True
        ),
        PAIRS,
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "llama-yarn": Case("llama", "LlamaForCausalLM", dict(rope_parameters=YARN | dict(beta_fast=8.0)), PAIRS, yarn_keys),
    "llama-moe": Case("llama", "MixtralForCausalLM", MOE, lambda c: rotated_pairs(c) | experts()),
    "mistral3": Case(
        "mistral3",
        "Ministral3ForCausalLM",
        dict(
            rope_parameters=YARN
            | dict(
                beta_fast=8.0,
                beta_slow=1.0,
                mscale=1.0,
                mscale_all_dim=1.0,
                llama_4_scaling_beta=0.5,
                original_max_position_embeddings=16,
            )
        ),
        PAIRS,
        lambda c: yarn_keys(c) | {"rope.scaling.yarn_log_multiplier": 1.0, "attention.temperature_scale": 0.5},
    ),
    "mistral4": Case(
        "mistral4",
        "Mistral4ForCausalLM",
        MLA
        | dict(
            rope_parameters=YARN
            | dict(
                beta_fast=8.0,
                beta_slow=1.0,
                mscale=1.0,
                mscale_all_dim=1.0,
                llama_4_scaling_beta=0.5,
                partial_rotary_factor=1 / 3,
                original_max_position_embeddings=16,
            )
        ),
        mla_names,
        lambda c: mla_keys(c) | {"attention.temperature_scale": 0.5, "expert_gating_func": 1},
    ),
    "llama4": Case(
        "llama4",
        "Llama4ForCausalLM",
        LLAMA4,
        llama4_names,
        lambda c: {"feed_forward_length": c.intermediate_size_mlp},
        n_ids=8300,
        positions=[0, 1, 5, 100, 4000, 8190, 8191, 8192, 8193, 8220, 8299],
        ranges={"attn_q": (1, 0), "attn_k": (0.5, 0)},
    ),
    "smollm3": Case("smollm3", "SmolLM3ForCausalLM", dict(num_hidden_layers=5), PAIRS),
    "arcee": Case("arcee", "ArceeForCausalLM", {}, PAIRS),
    "seed-oss": Case(
        "seed_oss",
        "SeedOssForCausalLM",
        dict(attention_dropout=0.0, residual_dropout=0.0),
        {"layers.{}.post_attention_layernorm": "blk.{}.post_attention_norm"},
    ),
    "granite": Case("granite", "GraniteForCausalLM", EVEN | GRANITE, PAIRS, granite_keys),
    "granitemoe": Case(
        "granitemoe",
        "GraniteMoeSharedForCausalLM",
        EVEN | GRANITE | MOE | dict(shared_intermediate_size=40),
        lambda c: (
            rotated_pairs(c)
            | experts("block_sparse_moe", "router")
            | {
                "layers.{}.shared_mlp.input_linear": [
                    ("blk.{}.ffn_gate_shexp", first_half(0)),
                    ("blk.{}.ffn_up_shexp", second_half(0)),
                ],
                "layers.{}.shared_mlp.output_linear": "blk.{}.ffn_down_shexp",
            }
        ),
        granite_keys,
    ),
    "exaone4": Case(
        "exaone4", "Exaone4ForCausalLM", dict(sliding_window=None, layer_types=["full_attention"] * 3), POST_NORMS
    ),
    "exaone4-hybrid": Case(
        "exaone4",
        "Exaone4ForCausalLM",
        dict(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=64,
            num_attention_heads=2,
            num_key_value_heads=1,
            sliding_window=8,
            layer_types=layer_types(4, 64),
        ),
        POST_NORMS,
        windows,
    ),
    "olmo2": Case("olmo2", "Olmo2ForCausalLM", EVEN, POST_NORMS),
    "olmo3": Case(
        "olmo2",
        "Olmo3ForCausalLM",
        EVEN
        | dict(
            num_hidden_layers=5,
            sliding_window=8,
            layer_types=layer_types(4, 5),
            rope_parameters={
                "sliding_attention": dict(rope_type="default", rope_theta=10000.0),
                "full_attention": YARN | dict(beta_fast=8.0, beta_slow=1.0),
            },
        ),
        POST_NORMS,
        lambda c: (
            windows(c)
            | {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 4.0,
                "rope.scaling.yarn_beta_fast": 8.0,
                "rope.scaling.original_context_length": 32,
            }
        ),
    ),
    "olmoe": Case("olmoe", "OlmoeForCausalLM", EVEN | MOE, experts()),
    "glm4": Case(
        "glm4",
        "Glm4ForCausalLM",
        dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
        glm4_names,
        {"rope.dimension_count": 8},
    ),
    "glm4moe": Case(
        "glm4moe",
        "Glm4MoeForCausalLM",
        dict(
            **MOE,
            n_routed_experts=8,
            n_shared_experts=1,
            n_group=1,
            topk_group=1,
            routed_scaling_factor=1.5,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            use_qk_norm=True,
            attention_bias=True,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5),
        ),
        experts() | SHARED | ROUTER_BIAS | {"layers.{}.post_attention_layernorm": "blk.{}.post_attention_norm"},
        lambda c: routing_keys(c) | {"rope.dimension_count": 8, "leading_dense_block_count": 1},
    ),
    "ernie4_5": Case("ernie4_5", "Ernie4_5ForCausalLM", {}, HALVES),
    "ernie4_5-moe": Case(
        "ernie4_5-moe",
        "Ernie4_5_MoeForCausalLM",
        EVEN | dict(moe_num_experts=8, moe_k=3, moe_intermediate_size=24, moe_num_shared_experts=2),
        experts()
        | SHARED
        | {"layers.{}.mlp.gate.moe_statics.e_score_correction_bias": ("blk.{}.exp_probs_b.bias", lambda a: a[0])},
        lambda c: {
            "expert_count": 8,
            "expert_used_count": 3,
            "leading_dense_block_count": 1,
            "interleave_moe_layer_step": 1,
            "expert_shared_count": 2,
        },
    ),
    "hunyuan-dense": Case(
        "hunyuan-dense",
        "HunYuanDenseV1ForCausalLM",
        {},
        {
            "layers.{}.self_attn.query_layernorm": "blk.{}.attn_q_norm",
            "layers.{}.self_attn.key_layernorm": "blk.{}.attn_k_norm",
        },
    ),
    "hunyuan-moe": Case(
        "hunyuan-moe",
        "HunYuanMoEV1ForCausalLM",
        dict(num_experts=8, moe_topk=3),
        experts()
        | {
            "layers.{}.mlp.gate.wg": "blk.{}.ffn_gate_inp",
            "layers.{}.mlp.shared_mlp.gate_proj": "blk.{}.ffn_gate_shexp",
            "layers.{}.mlp.shared_mlp.up_proj": "blk.{}.ffn_up_shexp",
            "layers.{}.mlp.shared_mlp.down_proj": "blk.{}.ffn_down_shexp",
            "layers.{}.self_attn.query_layernorm": "blk.{}.attn_q_norm",
            "layers.{}.self_attn.key_layernorm": "blk.{}.attn_k_norm",
        },
        lambda c: {"expert_used_count": 3},
    ),
    "minimax-m2": Case(
        "minimax-m2",
        "MiniMaxM2ForCausalLM",
        dict(
            num_local_experts=8,
            num_experts_per_tok=3,
            intermediate_size=24,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5),
        ),
        experts() | {"layers.{}.mlp.e_score_correction_bias": "blk.{}.exp_probs_b.bias"},
        {"rope.dimension_count": 8, "expert_gating_func": 2},
    ),
    "dots1": Case(
        "dots1",
        "Dots1ForCausalLM",
        dict(
            **MOE,
            n_routed_experts=8,
            n_shared_experts=2,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
        ),
        experts() | SHARED | ROUTER_BIAS,
        lambda c: routing_keys(c) | {"leading_dense_block_count": 1},
    ),
    "qwen2": Case("qwen2", "Qwen2ForCausalLM", EVEN),
    "qwen2moe": Case(
        "qwen2moe",
        "Qwen2MoeForCausalLM",
        EVEN | MOE | dict(shared_expert_intermediate_size=40),
        experts() | SHARED_GATED,
    ),
    "qwen2vl": Case(
        "qwen2vl",
        "Qwen2VLForConditionalGeneration",
        EVEN | dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[2, 3, 3])),
        HALVES,
        {"rope.dimension_sections": [2, 3, 3, 0]},
        ignore=("visual",),
        prefix="model.language_model.",
        vision=dict(depth=1, embed_dim=32, hidden_size=64, num_heads=2),
    ),
    "qwen3": Case("qwen3", "Qwen3ForCausalLM", dict(tie_word_embeddings=True)),
    "qwen3moe": Case(
        "qwen3moe", "Qwen3MoeForCausalLM", dict(**MOE, norm_topk_prob=True, mlp_only_layers=[1]), experts()
    ),
    "qwen3vl": Case(
        "qwen3vl",
        "Qwen3VLForConditionalGeneration",
        dict(
            rope_parameters=dict(
                rope_type="default", rope_theta=10000.0, mrope_section=[3, 3, 2], mrope_interleaved=True
            )
        ),
        HALVES,
        {"rope.dimension_sections": [3, 3, 2, 0]},
        ignore=("visual",),
        prefix="model.language_model.",
        vision=dict(
            depth=1, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=48, deepstack_visual_indexes=[]
        ),
    ),
    "gpt-oss": Case(
        "gpt-oss",
        "GptOssForCausalLM",
        dict(
            num_local_experts=8,
            num_experts_per_tok=3,
            intermediate_size=24,
            sliding_window=8,
            rope_parameters=YARN | dict(beta_fast=8.0, beta_slow=1.0, truncate=False),
        ),
        gpt_oss_names,
        lambda c: yarn_keys(c) | {"attention.sliding_window": 8, "expert_feed_forward_length": 24},
        ranges={"ffn_gate_exps.weight": (4, 0), "attn_sinks": (1, 0)},
    ),
    "deepseek2-v3": Case(
        "deepseek2",
        "DeepseekV3ForCausalLM",
        dict(
            **MLA,
            n_group=4,
            topk_group=2,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
            rope_parameters=YARN | dict(beta_fast=8.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0),
        ),
        mla_names,
        mla_keys,
    ),
    "deepseek2-v2-lite": Case(
        "deepseek2",
        "DeepseekV2ForCausalLM",
        MLA
        | dict(
            q_lora_rank=None,
            n_group=1,
            topk_group=1,
            topk_method="greedy",
            norm_topk_prob=False,
            routed_scaling_factor=1.0,
            rope_parameters=YARN | dict(beta_fast=8.0, beta_slow=1.0, mscale=0.707, mscale_all_dim=0.707),
        ),
        mla_names,
        lambda c: mla_keys(c) | {"expert_gating_func": 1},
    ),
    "deepseek2-v2": Case(
        "deepseek2",
        "DeepseekV2ForCausalLM",
        MLA
        | dict(
            n_group=4,
            topk_group=2,
            topk_method="group_limited_greedy",
            norm_topk_prob=False,
            routed_scaling_factor=16.0,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0),
        ),
        mla_names,
        lambda c: mla_keys(c) | {"expert_gating_func": 1},
    ),
}
