"""Gemma 4, and encoders."""

from transformers_attention import layer_types
from transformers_cases import Case, first_half, second_half
from transformers_plain import TIED

NO_SIZES = dict(
    num_key_value_heads=...,
    head_dim=...,
    hidden_size=...,
    num_hidden_layers=...,
    num_attention_heads=...,
    intermediate_size=...,
    max_position_embeddings=...,
)


def gemma4_names(c):
    at, to = "layers.{}.", "blk.{}."
    return {
        "embed_tokens_per_layer": "per_layer_token_embd",
        "per_layer_model_projection": "per_layer_model_proj",
        "per_layer_projection_norm": "per_layer_proj_norm",
        at + "per_layer_input_gate": to + "inp_gate",
        at + "per_layer_projection": to + "proj",
        at + "post_per_layer_input_norm": to + "post_norm",
        at + "layer_scalar": (to + "layer_output_scale.weight", None, {"scale": 0.25, "offset": 0.75}),
        at + "post_attention_layernorm": to + "post_attention_norm",
        at + "pre_feedforward_layernorm": to + "ffn_norm",
        at + "post_feedforward_layernorm": to + "post_ffw_norm",
        at + "post_feedforward_layernorm_1": to + "post_ffw_norm_1",
        at + "post_feedforward_layernorm_2": to + "post_ffw_norm_2",
        at + "pre_feedforward_layernorm_2": to + "pre_ffw_norm_2",
        at + "router.scale": (to + "ffn_gate_inp.scale", None, {"scale": 0.5, "offset": 1}),
        at + "router.per_expert_scale": (to + "ffn_down_exps.scale", None, {"scale": 0.5, "offset": 1}),
        at + "router.proj": (to + "ffn_gate_inp", None, {"scale": 2}),
        at + "experts.gate_up_proj": [
            (to + "ffn_gate_exps.weight", first_half(1)),
            (to + "ffn_up_exps.weight", second_half(1)),
        ],
        at + "experts.down_proj": to + "ffn_down_exps.weight",
    }


def proportional(b, c):
    """Full layers rotate a quarter of their pairs; the factors of the others are infinite."""
    b.constant("rope_freqs.weight", [1.0] * 4 + [1e30] * 12)


def gemma4_keys(c):
    local = [t == "sliding_attention" for t in c.layer_types]
    keys = {
        "attention.key_length": 32,
        "attention.value_length": 32,
        "attention.key_length_swa": 16,
        "attention.value_length_swa": 16,
        "rope.dimension_count": 32,
        "rope.dimension_count_swa": 16,
        "rope.freq_base": 1000000.0,
        "rope.freq_base_swa": 10000.0,
        "attention.shared_kv_layers": c.num_kv_shared_layers,
        "final_logit_softcapping": c.final_logit_softcapping,
        "embedding_length_per_layer_input": c.hidden_size_per_layer_input or 0,
        "attention.sliding_window": c.sliding_window,
        "attention.sliding_window_pattern": local,
        "expert_used_count": c.top_k_experts,
    }
    if c.attention_k_eq_v:
        keys["attention.head_count_kv"] = [2 if t else 1 for t in local]
    if c.use_double_wide_mlp:
        first = c.num_hidden_layers - c.num_kv_shared_layers
        keys["feed_forward_length"] = [
            c.intermediate_size * (1 if i < first else 2) for i in range(c.num_hidden_layers)
        ]
    return keys


GEMMA4 = TIED | dict(
    num_hidden_layers=6,
    layer_types=layer_types(2, 6),
    global_head_dim=32,
    sliding_window=8,
    final_logit_softcapping=8.0,
)


def t5_names(c):
    at, to = "block.{}.layer.", "enc.blk.{}."
    return {
        "shared": "token_embd",
        "encoder.shared": "token_embd",
        "final_layer_norm": "enc.output_norm",
        at + "0.SelfAttention.q": to + "attn_q",
        at + "0.SelfAttention.k": to + "attn_k",
        at + "0.SelfAttention.v": to + "attn_v",
        at + "0.SelfAttention.o": to + "attn_o",
        at + "0.SelfAttention.relative_attention_bias": to + "attn_rel_b",
        at + "0.layer_norm": to + "attn_norm",
        at + "1.layer_norm": to + "ffn_norm",
        at + "1.DenseReluDense.wi_0": to + "ffn_gate",
        at + "1.DenseReluDense.wi_1": to + "ffn_up",
        at + "1.DenseReluDense.wo": to + "ffn_down",
    }


def t5_keys(c):
    return {
        "context_length": 512,
        "feed_forward_length": c.d_ff,
        "attention.key_length": c.d_kv,
        "attention.value_length": c.d_kv,
        "attention.head_count_kv": c.num_heads,
        "rope.freq_base": None,
        "attention.layer_norm_rms_epsilon": c.layer_norm_epsilon,
        "attention.layer_norm_epsilon": None,
        "attention.relative_buckets_count": c.relative_attention_num_buckets,
    }


CASES = {
    "gemma4": Case(
        "gemma4",
        "Gemma4ForCausalLM",
        GEMMA4
        | dict(
            vocab_size_per_layer_input=64,
            hidden_size_per_layer_input=16,
            num_kv_shared_layers=2,
            use_double_wide_mlp=True,
        ),
        gemma4_names,
        gemma4_keys,
        proportional,
    ),
    "gemma4-moe": Case(
        "gemma4",
        "Gemma4ForCausalLM",
        GEMMA4
        | dict(
            hidden_size_per_layer_input=0,
            attention_k_eq_v=True,
            num_global_key_value_heads=1,
            enable_moe_block=True,
            num_experts=8,
            top_k_experts=3,
            moe_intermediate_size=24,
        ),
        gemma4_names,
        gemma4_keys,
        proportional,
    ),
    "modern-bert": Case(
        "modern-bert",
        "ModernBertModel",
        dict(
            hidden_size=64,
            intermediate_size=48,
            num_hidden_layers=5,
            num_key_value_heads=...,
            head_dim=...,
            local_attention=16,
            pad_token_id=0,
        ),
        {
            "embeddings.tok_embeddings": "token_embd",
            "embeddings.norm": "token_embd_norm",
            "layers.{}.attn.Wqkv": "blk.{}.attn_qkv",
            "layers.{}.attn.Wo": "blk.{}.attn_output",
            "layers.{}.attn_norm": "blk.{}.attn_norm",
            "layers.{}.mlp_norm": "blk.{}.ffn_norm",
            "layers.{}.mlp.Wi": "blk.{}.ffn_up",
            "layers.{}.mlp.Wo": "blk.{}.ffn_down",
            "final_norm": "output_norm",
        },
        lambda c: {
            "attention.layer_norm_epsilon": c.norm_eps,
            "attention.layer_norm_rms_epsilon": None,
            "attention.sliding_window": 16,
            "attention.sliding_window_pattern": 3,
            "rope.freq_base": 160000.0,
            "rope.freq_base_swa": 10000.0,
        },
        prefix="",
        encodes=True,
    ),
    "t5encoder": Case(
        "t5encoder",
        "T5EncoderModel",
        NO_SIZES
        | dict(
            d_model=48,
            d_kv=16,
            d_ff=80,
            num_layers=3,
            num_heads=4,
            pad_token_id=0,
            relative_attention_num_buckets=8,
            feed_forward_proj="gated-gelu",
        ),
        t5_names,
        t5_keys,
        prefix="encoder.",
        encodes=True,
        ranges={"attn_q": (0.0625, 0), "attn_rel_b": (2, 0)},
    ),
}
