"""Decoders with recurrent layers: short convolutions, state spaces, delta rules; and hybrids of them and attention."""

import math

import numpy as np

from transformers_attention import EVEN, GRANITE, MOE, SHARED_GATED, granite_keys, mla_names
from transformers_cases import Case, experts, first_half, pairs, second_half
from transformers_plain import TIED, plus_one

LINEAR, FULL = "linear_attention", "full_attention"


def kernel(a):
    """Each channel of a convolution has one input."""
    return a[:, 0] if a.ndim == 3 else a


def decay(view=None):
    """Files have the decay itself, not its logarithm."""
    return ("blk.{}.ssm_a", view, {"value": lambda a: np.log(-a), "scale": 0.5, "offset": -1})


def skip(view=None):
    return ("blk.{}.ssm_d", view, {"scale": 0.5, "offset": 1})


def column(a):
    return a[:, None]


def mamba(path):
    to = "blk.{}.ssm_"
    return {
        path + "A_log": decay(),
        path + "D": skip(),
        path + "conv1d": (to + "conv1d", kernel),
        path + "in_proj": to + "in",
        path + "x_proj": to + "x",
        path + "dt_proj": to + "dt",
        path + "out_proj": to + "out",
        path + "dt_layernorm": to + "dt_norm",
        path + "b_layernorm": to + "b_norm",
        path + "c_layernorm": to + "c_norm",
    }


def mamba2(path, groups):
    return mamba(path) | {
        path + "A_log": decay(column),
        path + "D": skip(column),
        path + "dt_bias": "blk.{}.ssm_dt.bias",
        path + "norm": ("blk.{}.ssm_norm", lambda a: a.reshape(groups, -1)),
    }


def heads_kv(c, attention=FULL):
    return [c.num_key_value_heads if t == attention else 0 for t in c.layer_types]


def mamba_keys(c):
    return {
        "context_length": 1 << 20,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": c.layer_norm_epsilon,
        "attention.layer_norm_epsilon": None,
        "attention.key_length": None,
        "attention.value_length": None,
        "ssm.conv_kernel": c.conv_kernel,
        "ssm.inner_size": 2 * c.hidden_size,
        "ssm.state_size": c.state_size,
    }


MAMBA = TIED | dict(
    num_attention_heads=...,
    num_key_value_heads=...,
    head_dim=...,
    intermediate_size=...,
    max_position_embeddings=...,
    state_size=8,
    num_hidden_layers=2,
)
BACKBONE = {"embeddings": "token_embd", "norm_f": "output_norm", "layers.{}.norm": "blk.{}.attn_norm"}


def granite_hybrid_names(c):
    return (
        experts("block_sparse_moe", "router")
        | mamba2("layers.{}.mamba.", 1)
        | {
            "layers.{}.self_attn.q_proj": ("blk.{}.attn_q", pairs(c.num_attention_heads)),
            "layers.{}.self_attn.k_proj": ("blk.{}.attn_k", pairs(c.num_key_value_heads)),
            "layers.{}.shared_mlp.input_linear": [
                ("blk.{}.ffn_gate_shexp", first_half(0)),
                ("blk.{}.ffn_up_shexp", second_half(0)),
            ],
            "layers.{}.shared_mlp.output_linear": "blk.{}.ffn_down_shexp",
        }
    )


def granite_hybrid_keys(c):
    return granite_keys(c) | {
        "attention.head_count_kv": heads_kv(c),
        "rope.scaling.finetuned": False,
        "ssm.conv_kernel": c.mamba_d_conv,
        "ssm.state_size": c.mamba_d_state,
        "ssm.group_count": 1,
        "ssm.inner_size": 2 * c.hidden_size,
        "ssm.time_step_rank": c.mamba_n_heads,
    }


def nemotron_names(c):
    path = "layers.{}.mixer."
    return (
        BACKBONE
        | mamba2(path, c.n_groups)
        | {
            path + "q_proj": "blk.{}.attn_q",
            path + "k_proj": "blk.{}.attn_k",
            path + "v_proj": "blk.{}.attn_v",
            path + "o_proj": "blk.{}.attn_output",
            path + "up_proj": "blk.{}.ffn_up",
            path + "down_proj": "blk.{}.ffn_down",
        }
    )


def nemotron_keys(c):
    return {
        "attention.head_count_kv": heads_kv(c),
        "expert_count": None,
        "expert_used_count": None,
        "expert_feed_forward_length": None,
        "attention.layer_norm_rms_epsilon": c.layer_norm_epsilon,
        "attention.layer_norm_epsilon": None,
        "feed_forward_length": [c.intermediate_size if t == "mlp" else 0 for t in c.layer_types],
        "ssm.conv_kernel": c.conv_kernel,
        "ssm.state_size": c.ssm_state_size,
        "ssm.group_count": c.n_groups,
        "ssm.inner_size": c.mamba_num_heads * c.mamba_head_dim,
        "ssm.time_step_rank": c.mamba_num_heads,
    }


def lfm2_names(c):
    attention, conv, ffn = "layers.{}.self_attn.", "layers.{}.conv.", "layers.{}.feed_forward."
    return experts("feed_forward") | {
        "embedding_norm": "token_embd_norm",
        "layers.{}.operator_norm": "blk.{}.attn_norm",
        "layers.{}.ffn_norm": "blk.{}.ffn_norm",
        attention + "out_proj": "blk.{}.attn_output",
        attention + "q_layernorm": "blk.{}.attn_q_norm",
        attention + "k_layernorm": "blk.{}.attn_k_norm",
        conv + "conv": ("blk.{}.shortconv.conv", kernel),
        conv + "in_proj": "blk.{}.shortconv.in_proj",
        conv + "out_proj": "blk.{}.shortconv.out_proj",
        ffn + "w1": "blk.{}.ffn_gate",
        ffn + "w3": "blk.{}.ffn_up",
        ffn + "w2": "blk.{}.ffn_down",
        ffn + "expert_bias": "blk.{}.exp_probs_b.bias",
    }


def lfm2_keys(c):
    return {"attention.head_count_kv": heads_kv(c), "shortconv.l_cache": c.conv_L_cache}


# ---- gated delta nets ----

DELTA = dict(
    linear_conv_kernel_dim=4,
    linear_key_head_dim=8,
    linear_value_head_dim=12,
    linear_num_key_heads=2,
    linear_num_value_heads=6,
    layer_types=[LINEAR, LINEAR, FULL, LINEAR],
    num_hidden_layers=4,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5),
)
DELTA_NORMS = plus_one(
    {
        "norm": "output_norm",
        "layers.{}.input_layernorm": "blk.{}.attn_norm",
        "layers.{}.post_attention_layernorm": "blk.{}.post_attention_norm",
        "layers.{}.self_attn.q_norm": "blk.{}.attn_q_norm",
        "layers.{}.self_attn.k_norm": "blk.{}.attn_k_norm",
    }
)


def delta_keys(c):
    return {
        "ssm.conv_kernel": c.linear_conv_kernel_dim,
        "ssm.state_size": c.linear_key_head_dim,
        "ssm.group_count": c.linear_num_key_heads,
        "ssm.time_step_rank": c.linear_num_value_heads,
        "ssm.inner_size": c.linear_num_value_heads * c.linear_value_head_dim,
        "full_attention_interval": 4,
        "attention.recurrent_layers": [t == LINEAR for t in c.layer_types],
        "rope.dimension_count": 8,
    }


def delta_names(c):
    path = "layers.{}.linear_attn."
    return DELTA_NORMS | {
        path + "A_log": decay(),
        path + "dt_bias": "blk.{}.ssm_dt.bias",
        path + "conv1d": ("blk.{}.ssm_conv1d", kernel),
        path + "norm": "blk.{}.ssm_norm",
        path + "out_proj": "blk.{}.ssm_out",
        path + "in_proj_ba": "blk.{}.ssm_ba",
    }


def by_key_head(b, c):
    """Qwen3-Next stores queries, keys, values and gates together, per key head."""
    n_k, dim_k = c.linear_num_key_heads, c.linear_key_head_dim
    values = c.linear_num_value_heads // n_k * c.linear_value_head_dim
    for layer in (i for i, t in enumerate(c.layer_types) if t == LINEAR):
        name = f"model.layers.{layer}.linear_attn.in_proj_qkvz.weight"
        split = b.params[name].reshape(n_k, 2 * dim_k + 2 * values, -1)
        cuts = [split[:, :dim_k], split[:, dim_k : 2 * dim_k], split[:, 2 * dim_k : 2 * dim_k + values]]
        rows = sum(math.prod(p.shape[:2]) for p in cuts)
        numbers, at = b.plain(f"blk.{layer}.attn_qkv.weight", [rows, c.hidden_size]), 0
        for cut in cuts:
            n = math.prod(cut.shape[:2])
            cut[...] = numbers[at : at + n].reshape(cut.shape)
            at += n
        gate = split[:, 2 * dim_k + values :]
        gate[...] = b.plain(f"blk.{layer}.attn_gate.weight", [n_k * values, c.hidden_size]).reshape(gate.shape)


def tiled(c, dim, axis=0):
    """View: the value heads of a key head are not adjacent."""

    def view(a):
        n_k = c.linear_num_key_heads
        shape = a.shape[:axis] + (n_k, c.linear_num_value_heads // n_k, dim) + a.shape[axis + 1 :]
        return a.reshape(shape).swapaxes(axis, axis + 1), a.shape

    return view


def qwen35_names(c):
    path, dim = "layers.{}.linear_attn.", c.linear_value_head_dim
    return delta_names(c) | {
        path + "A_log": decay(tiled(c, 1)),
        path + "dt_bias": ("blk.{}.ssm_dt.bias", tiled(c, 1)),
        path + "in_proj_z": ("blk.{}.attn_gate", tiled(c, dim)),
        path + "in_proj_b": ("blk.{}.ssm_beta", tiled(c, 1)),
        path + "in_proj_a": ("blk.{}.ssm_alpha", tiled(c, 1)),
        path + "out_proj": ("blk.{}.ssm_out", tiled(c, dim, 1)),
    }


def tiled_values(b, c):
    """Of queries, keys and values in one, only the values are reordered."""
    keys = 2 * c.linear_num_key_heads * c.linear_key_head_dim
    for layer in (i for i, t in enumerate(c.layer_types) if t == LINEAR):
        for gguf, name in ("attn_qkv", "in_proj_qkv"), ("ssm_conv1d", "conv1d"):
            array = kernel(b.params[f"model.layers.{layer}.linear_attn.{name}.weight"])
            numbers = b.plain(f"blk.{layer}.{gguf}.weight", array.shape)
            array[:keys] = numbers[:keys]
            values = tiled(c, c.linear_value_head_dim)(array[keys:])[0]
            values[...] = numbers[keys:].reshape(values.shape)


QWEN35 = DELTA | dict(rope_parameters=DELTA["rope_parameters"] | dict(mrope_section=[2, 1, 1], mrope_interleaved=True))


def qwen35_keys(c):
    return delta_keys(c) | {"rope.dimension_sections": [2, 1, 1, 0]}


def kimi_names(c):
    path = "layers.{}.self_attn."
    n = c.linear_num_heads * c.linear_head_dim
    part = lambda i: lambda a: kernel(a)[i * n : (i + 1) * n]
    return mla_names(c) | {
        path + "conv1d": [("blk.{}.ssm_conv1d_" + "qkv"[i], part(i)) for i in range(3)],
        path + "forget_gate.dt_bias": "blk.{}.ssm_dt.bias",
        path + "forget_gate.A_log": decay(lambda a: a[0, 0]),
        path + "forget_gate.f_a_proj": "blk.{}.ssm_f_a",
        path + "forget_gate.f_b_proj": "blk.{}.ssm_f_b",
        path + "b_proj": "blk.{}.ssm_beta",
        path + "g_a_proj": "blk.{}.ssm_g_a",
        path + "g_b_proj": "blk.{}.ssm_g_b",
        path + "o_norm": "blk.{}.ssm_norm",
    }


def kimi_keys(c):
    rope = c.qk_rope_head_dim
    return {
        "attention.head_count_kv": [1 if t == FULL else 0 for t in c.layer_types],
        "kda.head_dim": c.linear_head_dim,
        "ssm.conv_kernel": c.linear_conv_kernel_dim,
        "attention.kv_lora_rank": c.kv_lora_rank,
        "attention.key_length": c.kv_lora_rank + rope,
        "attention.value_length": c.kv_lora_rank,
        "attention.key_length_mla": c.qk_nope_head_dim + rope,
        "attention.value_length_mla": c.v_head_dim,
        "rope.dimension_count": rope,
        "expert_gating_func": 2,
        "expert_weights_scale": c.routed_scaling_factor,
        "leading_dense_block_count": 1,
        "expert_shared_count": c.n_shared_experts,
    }


def jamba_names(c):
    path = "layers.{}.feed_forward."
    return (
        experts("feed_forward", "router")
        | mamba("layers.{}.mamba.")
        | {
            "final_layernorm": "output_norm",
            "layers.{}.pre_ff_layernorm": "blk.{}.ffn_norm",
            path + "gate_proj": "blk.{}.ffn_gate",
            path + "up_proj": "blk.{}.ffn_up",
            path + "down_proj": "blk.{}.ffn_down",
        }
    )


def jamba_keys(c):
    kv = [
        c.num_key_value_heads if i % c.attn_layer_period == c.attn_layer_offset else 0
        for i in range(c.num_hidden_layers)
    ]
    return {
        "attention.head_count_kv": kv,
        "ssm.conv_kernel": c.mamba_d_conv,
        "ssm.state_size": c.mamba_d_state,
        "ssm.inner_size": 2 * c.hidden_size,
        "ssm.time_step_rank": c.mamba_dt_rank,
    }


CASES = {
    "lfm2": Case(
        "lfm2",
        "Lfm2ForCausalLM",
        TIED | EVEN | dict(block_auto_adjust_ff_dim=False, layer_types=["conv", FULL, "conv"]),
        lfm2_names,
        lfm2_keys,
    ),
    "lfm2moe": Case(
        "lfm2moe",
        "Lfm2MoeForCausalLM",
        TIED | EVEN | MOE | dict(num_dense_layers=1, layer_types=["conv", FULL, "conv"]),
        lfm2_names,
        lambda c: lfm2_keys(c) | {"expert_gating_func": 2, "leading_dense_block_count": 1},
    ),
    "granitehybrid": Case(
        "granitehybrid",
        "GraniteMoeHybridForCausalLM",
        EVEN
        | GRANITE
        | MOE
        | dict(
            shared_intermediate_size=40,
            mamba_n_heads=8,
            mamba_n_groups=1,
            mamba_d_state=8,
            layer_types=[LINEAR, FULL, LINEAR],
        ),
        granite_hybrid_names,
        granite_hybrid_keys,
    ),
    "mamba": Case(
        "mamba",
        "MambaForCausalLM",
        MAMBA,
        lambda c: BACKBONE | mamba("layers.{}.mixer."),
        lambda c: mamba_keys(c) | {"ssm.time_step_rank": c.time_step_rank},
        prefix="backbone.",
    ),
    "falcon-mamba": Case(
        "mamba",
        "FalconMambaForCausalLM",
        MAMBA,
        lambda c: BACKBONE | mamba("layers.{}.mixer."),
        lambda c: mamba_keys(c) | {"ssm.time_step_rank": c.time_step_rank, "ssm.dt_b_c_rms": True},
        prefix="backbone.",
    ),
    # transformers normalizes all groups together, so there is one only
    "mamba2": Case(
        "mamba2",
        "Mamba2ForCausalLM",
        MAMBA | dict(num_heads=8, head_dim=12, n_groups=1),
        lambda c: BACKBONE | mamba2("layers.{}.mixer.", 1),
        lambda c: mamba_keys(c) | {"ssm.time_step_rank": 8, "ssm.group_count": 1},
        prefix="backbone.",
    ),
    "jamba": Case(
        "jamba",
        "JambaForCausalLM",
        EVEN
        | dict(
            num_hidden_layers=4,
            num_experts=8,
            num_experts_per_tok=2,
            attn_layer_period=3,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=1,
            mamba_d_state=8,
            mamba_dt_rank=4,
            use_mamba_kernels=False,
        ),
        jamba_names,
        jamba_keys,
    ),
    "nemotron_h": Case(
        "nemotron_h",
        "NemotronHForCausalLM",
        dict(
            layers_block_type=[LINEAR, "mlp", FULL, LINEAR, "mlp"],
            num_hidden_layers=...,
            ssm_state_size=8,
            mamba_num_heads=6,
            mamba_head_dim=8,
            n_groups=2,
            use_mamba_kernels=False,
        ),
        nemotron_names,
        nemotron_keys,
    ),
    "qwen3next": Case(
        "qwen3next",
        "Qwen3NextForCausalLM",
        MOE | DELTA | dict(shared_expert_intermediate_size=40),
        lambda c: delta_names(c) | experts() | SHARED_GATED,
        delta_keys,
        by_key_head,
    ),
    "qwen35": Case("qwen35", "Qwen3_5ForCausalLM", QWEN35, qwen35_names, qwen35_keys, tiled_values),
    "qwen35moe": Case(
        "qwen35moe",
        "Qwen3_5MoeForCausalLM",
        MOE | QWEN35 | dict(shared_expert_intermediate_size=40, intermediate_size=...),
        lambda c: qwen35_names(c) | experts() | SHARED_GATED,
        qwen35_keys,
        tiled_values,
    ),
    "kimi-linear": Case(
        "kimi-linear",
        "KimiLinearForCausalLM",
        MOE
        | dict(
            head_dim=...,
            num_key_value_heads=4,
            kv_lora_rank=32,
            qk_nope_head_dim=16,
            qk_rope_head_dim=8,
            v_head_dim=12,
            n_shared_experts=2,
            linear_head_dim=8,
            linear_num_heads=4,
            layer_types=[LINEAR, FULL, LINEAR],
            routed_scaling_factor=2.5,
        ),
        kimi_names,
        kimi_keys,
    ),
}
