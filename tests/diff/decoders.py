# run-diff: {build}/pantry
"""Decoder architectures with a shape of their own against llama.cpp on tiny random models: layers that read other
layers' keys, several streams, embeddings for each layer, thinned-out layers, limits, factors of long contexts.

usage: decoders.py PANTRY [MODEL...]     exit status 0: they agree; 77: llama_cpp cannot be imported
"""

import numpy as np

import recurrent
from recurrent import DIM, EMBD, FF, HEADS, HEADS_KV, VOCAB, Model


def start(arch, path, layers, heads=HEADS, heads_kv=HEADS_KV, ff=FF, **numbers):
    m = Model(arch, path, layers)
    for key, value in {
        "attention.head_count": heads,
        "attention.head_count_kv": heads_kv,
        "feed_forward_length": ff,
    }.items():
        m.list(key, value) if isinstance(value, list) else m.u(key, value)
    for key, value in {"attention.key_length": DIM, "attention.value_length": DIM, **numbers}.items():
        m.f(key, value) if isinstance(value, float) else m.u(key, value)
    return m


def attention(m, i, heads=HEADS, heads_kv=HEADS_KV, dim=DIM, keys=True, values=True, norms=False):
    b = f"blk.{i}."
    m.matrix(b + "attn_q.weight", heads * dim, EMBD)
    if keys:
        m.matrix(b + "attn_k.weight", heads_kv * dim, EMBD)
    if values:
        m.matrix(b + "attn_v.weight", heads_kv * dim, EMBD)
    m.matrix(b + "attn_output.weight", EMBD, heads * dim)
    if norms:  # small, so that scores without a scale stay small
        m.tensor(b + "attn_q_norm.weight", 0.2 + 0.1 * m.rng.random(dim))
        m.norm(b + "attn_k_norm", dim)


def norms(m, i, *names, scale=1.0):
    for name in names:
        m.tensor(f"blk.{i}.{name}.weight", scale * (1 + 0.4 * m.rng.random(EMBD)))


def layer_inputs(m, n):
    m.matrix("per_layer_token_embd.weight", VOCAB, n * m.layers)
    m.matrix("per_layer_model_proj.weight", n * m.layers, EMBD)
    m.norm("per_layer_proj_norm", n)


def layer_input(m, i, n):
    m.matrix(f"blk.{i}.inp_gate.weight", n, EMBD)
    m.matrix(f"blk.{i}.proj.weight", EMBD, n)
    norms(m, i, "post_norm", scale=0.3)


def gemma4(path, shared, experts):
    layers, dims, kv, n = 7, {True: DIM, False: 2 * DIM}, {True: 2, False: 1}, 8
    local = [i % 5 != 4 for i in range(layers)]
    m = start(
        "gemma4",
        path,
        layers,
        heads_kv=[kv[x] for x in local],
        ff=[FF * 2 if i >= layers - shared else FF for i in range(layers)],
        **{
            "attention.key_length": 2 * DIM,
            "attention.value_length": 2 * DIM,
            "attention.key_length_swa": DIM,
            "attention.value_length_swa": DIM,
            "rope.dimension_count": 2 * DIM,
            "rope.dimension_count_swa": DIM,
            "rope.freq_base": 1e6,
            "rope.freq_base_swa": 1e4,
            "attention.sliding_window": 20,
            "attention.shared_kv_layers": shared,
            "final_logit_softcapping": 30.0,
            "embedding_length_per_layer_input": 0 if experts else n,
            "expert_count": 8 if experts else 0,
            "expert_used_count": 2 if experts else 0,
            "expert_feed_forward_length": 32,
        },
    )
    m.list("attention.sliding_window_pattern", local)
    m.tensor("rope_freqs.weight", [1.0] * 4 + [1e30] * (DIM - 4))
    if not experts:
        layer_inputs(m, n)
    for i in range(layers):
        own = i < layers - shared
        norms(m, i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        attention(m, i, heads_kv=kv[local[i]], dim=dims[local[i]], keys=own, values=own and local[i], norms=True)
        m.tensor(f"blk.{i}.layer_output_scale.weight", [0.7 + 0.05 * i])
        for part in ("gate", "up"):
            m.matrix(f"blk.{i}.ffn_{part}.weight", FF if own else 2 * FF, EMBD)
        m.matrix(f"blk.{i}.ffn_down.weight", EMBD, FF if own else 2 * FF)
        if not experts:
            layer_input(m, i, n)
        elif i:
            norms(m, i, "pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2")
            m.experts(i)
            m.near(f"blk.{i}.ffn_gate_inp.scale", 3, EMBD)
            m.near(f"blk.{i}.ffn_down_exps.scale", 1, 8)
    m.norm("output_norm")
    m.close()


def gemma3n(path):
    layers, n = 23, 256
    m = start(
        "gemma3n",
        path,
        layers,
        **{
            "attention.sliding_window": 20,
            "attention.shared_kv_layers": 3,
            "embedding_length_per_layer_input": n,
            "rope.freq_base": 1e6,
            "altup.num_inputs": 4,
            "altup.active_idx": 0,
        },
    )
    m.list("attention.sliding_window_pattern", [i % 5 != 4 for i in range(layers)])
    # The published model's deviation is of all n values; the peer divides by n - 1.
    more = 1.6448533535003662 * np.sqrt(FF / (FF - 1))
    m.list("activation_sparsity_scale", [float(more) if i < 10 else float("-inf") for i in range(layers)])
    m.matrix("altup_proj.weight", 3, EMBD, EMBD)
    m.matrix("altup_unembd_proj.weight", 3, EMBD, EMBD)
    layer_inputs(m, n)
    for i in range(layers):
        norms(m, i, "attn_norm", "ffn_norm", "altup_correct_scale", "altup_router_norm")
        norms(m, i, "post_attention_norm", "post_ffw_norm", "laurel_post_norm", scale=0.3)
        attention(m, i, norms=True)
        m.mlp(i)
        layer_input(m, i, n)
        m.matrix(f"blk.{i}.altup_correct_coef.weight", 4, 4)
        m.matrix(f"blk.{i}.altup_predict_coef.weight", 16, 4, scale=0.15)
        m.matrix(f"blk.{i}.altup_router.weight", 4, EMBD, scale=4)
        m.matrix(f"blk.{i}.laurel_l.weight", 64, EMBD)
        m.matrix(f"blk.{i}.laurel_r.weight", EMBD, 64)
    m.norm("output_norm")
    m.close()


def step35(path):
    heads, local = [4, 6, 6, 4, 6], [False, True, True, False, True]
    m = start(
        "step35",
        path,
        5,
        heads,
        [2] * 5,
        **{
            "attention.sliding_window": 20,
            "rope.dimension_count": DIM,
            "rope.freq_base": 5e6,
            "rope.freq_base_swa": 1e4,
            "expert_count": 8,
            "expert_used_count": 2,
            "expert_gating_func": 2,
            "expert_feed_forward_length": 32,
            "expert_shared_feed_forward_length": 32,
            "expert_weights_scale": 2.5,
            "leading_dense_block_count": 1,
        },
    )
    m.w.add_bool("step35.expert_weights_norm", True)
    m.list("attention.sliding_window_pattern", local)
    m.list("swiglu_clamp_exp", [0.0, 0.0, 0.5, 0.7, 0.3])
    m.list("swiglu_clamp_shexp", [0.0, 0.0, 0.0, 0.5, 0.3])
    m.near("rope_freqs.weight", 2, DIM // 2)
    for i in range(5):
        norms(m, i, "attn_norm", "ffn_norm")
        attention(m, i, heads[i], norms=True)
        m.matrix(f"blk.{i}.attn_gate.weight", heads[i], EMBD)
        m.experts(i, bias=True, shared=True) if i else m.mlp(i)
    m.norm("output_norm")
    m.close()


def spark2_5(path):
    heads, local = [4, 6, 4], [False, True, True]
    m = start(
        "spark2_5",
        path,
        3,
        heads,
        [2, 3, 1],
        **{
            "attention.sliding_window": 20,
            "rope.dimension_count": DIM,
            "rope.dimension_count_swa": DIM // 2,
            "rope.freq_base": 1e6,
            "rope.freq_base_swa": 1e4,
        },
    )
    m.list("attention.sliding_window_pattern", local)
    for i, kv in enumerate([2, 3, 1]):
        norms(m, i, "attn_norm", "ffn_norm")
        attention(m, i, heads[i], kv)
        m.matrix(f"blk.{i}.attn_gate.weight", heads[i], EMBD)
        m.mlp(i)
    m.norm("output_norm")
    m.close()


def apertus(path):
    m = start("apertus", path, 3, **{"rope.dimension_count": DIM})
    for name, values in {
        "alpha_n": [0.9, 1.1, 1.3],
        "alpha_p": [0.7, 0.8, 0.6],
        "beta": [0.5] * 3,
        "eps": [-1e-6] * 3,
    }.items():
        m.w.add_array("xielu." + name, values)
    for i in range(3):
        norms(m, i, "attn_norm", "ffn_norm")
        attention(m, i, norms=True)
        m.mlp(i, gate=False)
    m.norm("output_norm")
    m.close()


def deci(path):
    heads_kv = [2, 2, 0, 1]
    m = start("deci", path, 4, [HEADS] * 4, heads_kv, [FF] * 4)
    for i, kv in enumerate(heads_kv):
        norms(m, i, "attn_norm", "ffn_norm")
        attention(m, i, heads_kv=kv) if kv else m.matrix(f"blk.{i}.attn_output.weight", EMBD, EMBD)
        m.mlp(i)
    m.norm("output_norm")
    m.close()


def nanbeige(path):
    m = start("nanbeige", path, 2, num_loops=3)
    for i in range(2):
        norms(m, i, "attn_norm", "ffn_norm")
        attention(m, i)
        m.mlp(i)
    m.norm("output_norm")
    m.close()


def phi3(path, original):
    m = start(
        "phi3",
        path,
        2,
        **{
            "rope.scaling.original_context_length": original,
            "rope.dimension_count": DIM,
            "rope.scaling.attn_factor": 1.2,
        },
    )
    m.w.add_string("phi3.rope.scaling.type", "longrope")
    m.near("rope_factors_long.weight", 4, DIM // 2)
    m.near("rope_factors_short.weight", 1.5, DIM // 2)
    for i in range(2):
        norms(m, i, "attn_norm", "ffn_norm")
        m.matrix(f"blk.{i}.attn_qkv.weight", (HEADS + 2 * HEADS_KV) * DIM, EMBD)
        m.matrix(f"blk.{i}.attn_output.weight", EMBD, HEADS * DIM)
        m.matrix(f"blk.{i}.ffn_up.weight", 2 * FF, EMBD)
        m.matrix(f"blk.{i}.ffn_down.weight", EMBD, FF)
    m.norm("output_norm")
    m.close()


MODELS = {
    "gemma4": lambda path: gemma4(path, 2, False),
    "gemma4-experts": lambda path: gemma4(path, 0, True),
    "gemma3n": gemma3n,
    "step35": step35,
    "spark2_5": spark2_5,
    "apertus": apertus,
    "deci": deci,
    "nanbeige": nanbeige,
    "phi3-short": lambda path: phi3(path, 256),
    "phi3-long": lambda path: phi3(path, 64),
}

if __name__ == "__main__":
    recurrent.compare(MODELS, limit=1e-6)  # the peer looks GELU up in a table of float16
