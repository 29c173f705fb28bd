"""Decoders of other families: layer norms, parallel blocks, learned positions, ALiBi, extended rotation, soft caps."""

import math

from transformers_attention import EVEN, layer_types
from transformers_cases import Case

PARTIAL = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)
HEADS = 4


def qkv(b, c, gguf, name, part):
    """Queries of all heads, then keys, then values, from a weight with another order. part: the weight, split by groups
    of heads -> its three parts."""
    array = b.params[name]
    numbers = b.plain(gguf, array.shape)
    at = 0
    for view in part(array):
        n = math.prod(view.shape[:-1] if array.ndim > 1 else view.shape)
        view[...] = numbers[at : at + n].reshape(view.shape)
        at += n
    assert at == array.shape[0]
    b.filled(name)


def by_head(c):
    """Each head's query, key and value together."""

    def part(a):
        split = a.reshape(c.num_attention_heads, 3, -1, *a.shape[1:])
        return [split[:, i] for i in range(3)]

    return part


def falcon_groups(c):
    """Each group's queries, then its key and value."""
    n_kv = c.num_kv_heads if c.new_decoder_architecture else 1

    def part(a):
        split = a.reshape(n_kv, c.num_attention_heads // n_kv + 2, -1, *a.shape[1:])
        return [split[:, :-2], split[:, -2], split[:, -1]]

    return part


def fused(path, groups):
    def extra(b, c):
        for layer in range(c.num_hidden_layers):
            for last in ("weight", "bias"):
                name = path.format(layer) + last
                if b.has(name):
                    qkv(b, c, f"blk.{layer}.attn_qkv.{last}", name, groups(c))

    return extra


BLOOM_MLP = {"mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}


def layers(path, names):
    return {f"{path}.{{}}.{hf}": f"blk.{{}}.{gguf}" for hf, gguf in names.items()}


def conv1d(a):
    """GPT-2 keeps the transposed weight."""
    return a.swapaxes(0, 1) if a.ndim == 2 else a


def without_rope(c):
    return {
        "rope.freq_base": None,
        "attention.head_count_kv": c.num_attention_heads,
        "feed_forward_length": 4 * c.hidden_size,
    }


def stacked_norms(b, c):
    """StableLM 2 12B has one norm per head."""
    for layer in range(c.num_hidden_layers):
        for which, n in ("q", c.num_attention_heads), ("k", c.num_key_value_heads):
            numbers = b.plain(f"blk.{layer}.attn_{which}_norm.weight", [n, c.hidden_size // c.num_attention_heads])
            for head in range(n):
                name = f"model.layers.{layer}.self_attn.{which}_layernorm.norms.{head}.weight"
                b.params[name][...] = numbers[head]
                b.filled(name)


def longrope_factors(b, c):
    r = c.rope_parameters
    b.constant("rope_factors_long.weight", r["long_factor"])
    b.constant("rope_factors_short.weight", r["short_factor"])


def longrope_keys(c):
    r = c.rope_parameters
    context = r["original_max_position_embeddings"]
    scale = c.max_position_embeddings / context
    return {
        "rope.scaling.original_context_length": context,
        "rope.dimension_count": 16,
        "rope.scaling.attn_factor": math.sqrt(1 + math.log(scale) / math.log(context)),
    }


def longrope(context):
    return dict(
        rope_type="longrope",
        rope_theta=10000.0,
        original_max_position_embeddings=context,
        short_factor=[1.0, 1.0, 1.125, 1.25, 1.5, 1.5, 1.75, 2.0],
        long_factor=[1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0],
    )


PHI3 = {"layers.{}.self_attn.qkv_proj": "blk.{}.attn_qkv", "layers.{}.mlp.gate_up_proj": "blk.{}.ffn_up"}


def plus_one(names):
    """Norms whose weight in the file is the parameter plus one."""
    return {hf: (gguf, None, {"value": lambda a: a - 1}) for hf, gguf in names.items()}


GEMMA_NORMS = plus_one(
    {
        "norm": "output_norm",
        "layers.{}.input_layernorm": "blk.{}.attn_norm",
        "layers.{}.self_attn.q_norm": "blk.{}.attn_q_norm",
        "layers.{}.self_attn.k_norm": "blk.{}.attn_k_norm",
    }
)
GEMMA2_NORMS = GEMMA_NORMS | plus_one(
    {
        "layers.{}.post_attention_layernorm": "blk.{}.post_attention_norm",
        "layers.{}.pre_feedforward_layernorm": "blk.{}.ffn_norm",
        "layers.{}.post_feedforward_layernorm": "blk.{}.post_ffw_norm",
    }
)
TIED = dict(tie_word_embeddings=True)

CASES = {
    "gpt2": Case(
        "gpt2",
        "GPT2LMHeadModel",
        TIED
        | dict(
            n_embd=64,
            n_layer=3,
            n_head=4,
            n_positions=128,
            hidden_size=...,
            num_hidden_layers=...,
            num_attention_heads=...,
            num_key_value_heads=...,
            head_dim=...,
            intermediate_size=...,
            max_position_embeddings=...,
        ),
        {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
        | layers("h", {"ln_1": "attn_norm", "ln_2": "ffn_norm"})
        | {
            "h.{}.attn.c_attn": ("blk.{}.attn_qkv", conv1d),
            "h.{}.attn.c_proj": ("blk.{}.attn_output", conv1d),
            "h.{}.mlp.c_fc": ("blk.{}.ffn_up", conv1d),
            "h.{}.mlp.c_proj": ("blk.{}.ffn_down", conv1d),
        },
        without_rope,
        prefix="transformer.",
    ),
    "gptneox": Case(
        "gptneox",
        "GPTNeoXForCausalLM",
        EVEN | dict(rope_parameters=PARTIAL),
        {"embed_in": "token_embd", "final_layer_norm": "output_norm"}
        | layers("layers", BLOOM_MLP | {"attention.dense": "attn_output"}),
        {"rope.dimension_count": 8, "use_parallel_residual": True, "attention.head_count_kv": HEADS},
        fused("gpt_neox.layers.{}.attention.query_key_value.", by_head),
        prefix="gpt_neox.",
    ),
    "falcon-7b": Case(
        "falcon",
        "FalconForCausalLM",
        TIED | EVEN | dict(multi_query=True),
        {"word_embeddings": "token_embd", "ln_f": "output_norm"}
        | layers("h", BLOOM_MLP | {"self_attention.dense": "attn_output", "input_layernorm": "attn_norm"}),
        {"attention.head_count_kv": 1, "feed_forward_length": 256},
        fused("transformer.h.{}.self_attention.query_key_value.", falcon_groups),
        prefix="transformer.",
    ),
    "falcon-40b": Case(
        "falcon",
        "FalconForCausalLM",
        EVEN | dict(new_decoder_architecture=True, num_kv_heads=2),
        {"word_embeddings": "token_embd", "ln_f": "output_norm"}
        | layers(
            "h", BLOOM_MLP | {"self_attention.dense": "attn_output", "ln_attn": "attn_norm_2", "ln_mlp": "attn_norm"}
        ),
        {"attention.head_count_kv": 2, "feed_forward_length": 256},
        fused("transformer.h.{}.self_attention.query_key_value.", falcon_groups),
        prefix="transformer.",
    ),
    "phi2": Case(
        "phi2",
        "PhiForCausalLM",
        EVEN | dict(rope_parameters=PARTIAL, num_key_value_heads=4),
        {"final_layernorm": "output_norm"}
        | layers("layers", {"self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}),
        {"rope.dimension_count": 8},
    ),
    "mpt": Case(
        "mpt",
        "MptForCausalLM",
        TIED
        | dict(
            d_model=64,
            n_layers=3,
            n_heads=4,
            max_seq_len=128,
            hidden_size=...,
            num_hidden_layers=...,
            num_attention_heads=...,
            num_key_value_heads=...,
            head_dim=...,
            intermediate_size=...,
            max_position_embeddings=...,
            attn_config=dict(alibi=True, alibi_bias_max=8, clip_qkv=1.0),
        ),
        {"wte": "token_embd", "norm_f": "output_norm"}
        | layers(
            "blocks",
            {
                "norm_1": "attn_norm",
                "norm_2": "ffn_norm",
                "attn.Wqkv": "attn_qkv",
                "attn.out_proj": "attn_output",
                "ffn.up_proj": "ffn_up",
                "ffn.down_proj": "ffn_down",
            },
        ),
        {
            "block_count": 3,
            "embedding_length": 64,
            "attention.head_count": 4,
            "feed_forward_length": 256,
            "context_length": 128,
            "attention.max_alibi_bias": 8.0,
            "attention.clamp_kqv": 1.0,
        },
        prefix="transformer.",
    ),
    "bloom": Case(
        "bloom",
        "BloomForCausalLM",
        TIED
        | dict(
            hidden_size=64,
            n_layer=3,
            n_head=4,
            num_hidden_layers=...,
            num_attention_heads=...,
            num_key_value_heads=...,
            head_dim=...,
            intermediate_size=...,
            max_position_embeddings=...,
        ),
        {"word_embeddings": "token_embd", "word_embeddings_layernorm": "token_embd_norm", "ln_f": "output_norm"}
        | layers(
            "h",
            BLOOM_MLP
            | {
                "self_attention.dense": "attn_output",
                "input_layernorm": "attn_norm",
                "post_attention_layernorm": "ffn_norm",
            },
        ),
        lambda c: without_rope(c) | {"context_length": 128},
        fused("transformer.h.{}.self_attention.query_key_value.", by_head),
        prefix="transformer.",
    ),
    "starcoder2": Case(
        "starcoder2", "Starcoder2ForCausalLM", EVEN, layers("layers", {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"})
    ),
    "stablelm": Case(
        "stablelm",
        "StableLmForCausalLM",
        EVEN | dict(rope_parameters=PARTIAL, use_qkv_bias=True),
        {},
        {"rope.dimension_count": 8, "use_parallel_residual": False},
    ),
    "stablelm-12b": Case(
        "stablelm",
        "StableLmForCausalLM",
        EVEN | dict(rope_parameters=PARTIAL, use_parallel_residual=True, qk_layernorm=True),
        {},
        {"rope.dimension_count": 8, "use_parallel_residual": True},
        stacked_norms,
    ),
    "command-r": Case(
        "command-r",
        "CohereForCausalLM",
        TIED | EVEN | dict(logit_scale=0.25),
        {},
        {"logit_scale": 0.25, "rope.scaling.type": "none"},
    ),
    "command-r-plus": Case(
        "command-r",
        "CohereForCausalLM",
        TIED | EVEN | dict(logit_scale=0.25, use_qk_norm=True),
        {},
        {"logit_scale": 0.25, "rope.scaling.type": "none"},
    ),
    "cohere2": Case(
        "cohere2",
        "Cohere2ForCausalLM",
        TIED | EVEN | dict(logit_scale=0.25, num_hidden_layers=5, sliding_window=8, layer_types=layer_types(4, 5)),
        {},
        lambda c: {
            "logit_scale": 0.25,
            "attention.sliding_window": 8,
            "rope.dimension_count": 16,
            "rope.scaling.type": "none",
        },
    ),
    "phi3-short": Case(
        "phi3",
        "Phi3ForCausalLM",
        EVEN | dict(rope_parameters=longrope(64), original_max_position_embeddings=64),
        PHI3,
        longrope_keys,
        longrope_factors,
        n_context=64,
    ),
    "phi3-long": Case(
        "phi3",
        "Phi3ForCausalLM",
        EVEN | dict(rope_parameters=longrope(32), original_max_position_embeddings=32),
        PHI3,
        longrope_keys,
        longrope_factors,
    ),
    "gemma": Case(
        "gemma",
        "GemmaForCausalLM",
        TIED,
        GEMMA_NORMS | plus_one({"layers.{}.post_attention_layernorm": "blk.{}.ffn_norm"}),
    ),
    "gemma2": Case(
        "gemma2",
        "Gemma2ForCausalLM",
        TIED
        | dict(sliding_window=8, query_pre_attn_scalar=16, attn_logit_softcapping=4.0, final_logit_softcapping=8.0),
        GEMMA2_NORMS,
        {"attention.sliding_window": 8, "attn_logit_softcapping": 4.0, "final_logit_softcapping": 8.0},
    ),
    "gemma3": Case(
        "gemma3",
        "Gemma3ForCausalLM",
        TIED
        | dict(
            num_hidden_layers=7,
            sliding_window=8,
            query_pre_attn_scalar=16,
            rope_parameters={
                "sliding_attention": dict(rope_type="default", rope_theta=10000.0),
                "full_attention": dict(rope_type="linear", rope_theta=1000000.0, factor=8.0),
            },
        ),
        GEMMA2_NORMS,
        {"attention.sliding_window": 8, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
}
