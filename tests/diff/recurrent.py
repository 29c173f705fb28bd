# run-diff: {build}/pantry
"""Recurrent and hybrid architectures against llama.cpp on tiny random models: logits of whole prompts. Both keep keys and
values as float32: rounded to float16 they tip routers whose logits are nearly equal (NMSE 2e-4 for one token of jamba).

usage: recurrent.py PANTRY [ARCH...]     exit status 0: they agree; 77: llama_cpp cannot be imported
"""

import os
import subprocess
import sys
import tempfile

import numpy as np

try:
    import gguf
    import llama_cpp
except ImportError as missing:
    print(f"recurrent: skipped: {missing}")
    sys.exit(77)

VOCAB, EMBD, FF, HEADS, HEADS_KV, DIM = 96, 64, 96, 4, 2, 16
IDS = np.random.default_rng(7).integers(0, VOCAB, 75).tolist()


class Model:
    """A GGUF file with seeded weights; matrices are named as in the file, shapes outermost first."""

    def __init__(self, arch, path, layers):
        self.w = gguf.GGUFWriter(path, arch)
        self.arch, self.rng, self.layers = arch, np.random.default_rng(11), layers
        self.w.add_string("tokenizer.ggml.model", "none")
        self.u("vocab_size", VOCAB)
        self.u("context_length", 256)
        self.u("embedding_length", EMBD)
        self.u("block_count", layers)
        self.f("attention.layer_norm_rms_epsilon", 1e-5)
        self.matrix("token_embd.weight", VOCAB, EMBD, scale=1)
        self.matrix("output.weight", VOCAB, EMBD)

    def u(self, key, value):
        self.w.add_uint32(f"{self.arch}.{key}", value)

    def f(self, key, value):
        self.w.add_float32(f"{self.arch}.{key}", value)

    def list(self, key, values):
        self.w.add_array(f"{self.arch}.{key}", values)

    def tensor(self, name, values):
        self.w.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))

    def matrix(self, name, *shape, scale=0.3):
        self.tensor(name, self.rng.uniform(-scale, scale, shape))

    def near(self, name, centre, *shape):
        self.tensor(name, centre + self.rng.uniform(-0.5, 0.5, shape))

    def heads(self, attends):
        self.list("attention.head_count", [HEADS] * self.layers)
        self.list("attention.head_count_kv", [HEADS_KV if a else 0 for a in attends])
        self.u("attention.key_length", DIM)
        self.u("attention.value_length", DIM)

    def attention(self, i, gate=False, norms=False):
        self.matrix(f"blk.{i}.attn_q.weight", HEADS * DIM * (2 if gate else 1), EMBD)
        self.matrix(f"blk.{i}.attn_k.weight", HEADS_KV * DIM, EMBD)
        self.matrix(f"blk.{i}.attn_v.weight", HEADS_KV * DIM, EMBD)
        self.matrix(f"blk.{i}.attn_output.weight", EMBD, HEADS * DIM)
        if norms:
            self.near(f"blk.{i}.attn_q_norm.weight", 1, DIM)
            self.near(f"blk.{i}.attn_k_norm.weight", 1, DIM)

    def mlp(self, i, gate=True):
        if gate:
            self.matrix(f"blk.{i}.ffn_gate.weight", FF, EMBD)
        self.matrix(f"blk.{i}.ffn_up.weight", FF, EMBD)
        self.matrix(f"blk.{i}.ffn_down.weight", EMBD, FF)

    def experts(self, i, n=8, ff=32, bias=False, shared=False, shared_gate=False):
        self.matrix(f"blk.{i}.ffn_gate_inp.weight", n, EMBD)
        self.matrix(f"blk.{i}.ffn_gate_exps.weight", n, ff, EMBD)
        self.matrix(f"blk.{i}.ffn_up_exps.weight", n, ff, EMBD)
        self.matrix(f"blk.{i}.ffn_down_exps.weight", n, EMBD, ff)
        if bias:
            self.matrix(f"blk.{i}.exp_probs_b.bias", n)
        if shared:
            self.matrix(f"blk.{i}.ffn_gate_shexp.weight", ff, EMBD)
            self.matrix(f"blk.{i}.ffn_up_shexp.weight", ff, EMBD)
            self.matrix(f"blk.{i}.ffn_down_shexp.weight", EMBD, ff)
        if shared_gate:
            self.matrix(f"blk.{i}.ffn_gate_inp_shexp.weight", EMBD)

    def ssm(self, inner, state, rank, conv=4, groups=0):
        self.u("ssm.conv_kernel", conv)
        self.u("ssm.inner_size", inner)
        self.u("ssm.state_size", state)
        self.u("ssm.time_step_rank", rank)
        if groups:
            self.u("ssm.group_count", groups)

    def mamba(self, i, inner, state, rank, norms=False):
        b = f"blk.{i}."
        self.matrix(b + "ssm_in.weight", 2 * inner, EMBD)
        self.matrix(b + "ssm_conv1d.weight", inner, 4)
        self.matrix(b + "ssm_conv1d.bias", inner)
        self.matrix(b + "ssm_x.weight", rank + 2 * state, inner)
        self.matrix(b + "ssm_dt.weight", inner, rank)
        self.matrix(b + "ssm_dt.bias", inner)
        self.near(b + "ssm_a", -1, inner, state)
        self.near(b + "ssm_d", 1, inner)
        self.matrix(b + "ssm_out.weight", EMBD, inner)
        if norms:
            self.near(b + "ssm_dt_norm.weight", 1, rank)
            self.near(b + "ssm_b_norm.weight", 1, state)
            self.near(b + "ssm_c_norm.weight", 1, state)

    def mamba2(self, i, inner, state, heads, groups):
        b, mixed = f"blk.{i}.", inner + 2 * groups * state
        self.matrix(b + "ssm_in.weight", inner + mixed + heads, EMBD)
        self.matrix(b + "ssm_conv1d.weight", mixed, 4)
        self.matrix(b + "ssm_conv1d.bias", mixed)
        self.matrix(b + "ssm_dt.bias", heads)
        self.near(b + "ssm_a", -1, heads, 1)
        self.near(b + "ssm_d", 1, heads, 1)
        self.near(b + "ssm_norm.weight", 1, groups, inner // groups)
        self.matrix(b + "ssm_out.weight", EMBD, inner)

    def delta(self, i, dim, heads_k, heads, together):
        b, keys, values = f"blk.{i}.", dim * heads_k, dim * heads
        self.matrix(b + "attn_qkv.weight", 2 * keys + values, EMBD)
        self.matrix(b + "attn_gate.weight", values, EMBD)
        self.matrix(b + "ssm_conv1d.weight", 2 * keys + values, 4)
        self.matrix(b + "ssm_dt.bias", heads)
        self.near(b + "ssm_a", -1, heads)
        if together:
            self.matrix(b + "ssm_ba.weight", 2 * heads, EMBD)
        else:
            self.matrix(b + "ssm_beta.weight", heads, EMBD)
            self.matrix(b + "ssm_alpha.weight", heads, EMBD)
        self.near(b + "ssm_norm.weight", 1, dim)
        self.matrix(b + "ssm_out.weight", EMBD, values)

    def kda(self, i, dim, heads):
        b, n = f"blk.{i}.", dim * heads
        for part in "qkv":
            self.matrix(b + f"attn_{part}.weight", n, EMBD)
            self.matrix(b + f"ssm_conv1d_{part}.weight", 1, n, 1, 4)
        self.matrix(b + "ssm_f_a.weight", dim, EMBD)
        self.matrix(b + "ssm_f_b.weight", n, dim)
        self.matrix(b + "ssm_g_a.weight", dim, EMBD)
        self.matrix(b + "ssm_g_b.weight", n, dim)
        self.matrix(b + "ssm_beta.weight", heads, EMBD)
        self.near(b + "ssm_a", -1, 1, 1, heads, 1)
        self.matrix(b + "ssm_dt.bias", n)
        self.near(b + "ssm_norm.weight", 1, dim)
        self.matrix(b + "attn_output.weight", EMBD, n)

    def norm(self, name, n=EMBD):
        self.near(f"{name}.weight", 1, n)

    def close(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def mamba(path):
    m = Model("mamba", path, 2)
    m.ssm(2 * EMBD, 16, 8)
    m.u("feed_forward_length", 0)
    m.u("attention.head_count", 0)
    for i in range(2):
        m.norm(f"blk.{i}.attn_norm")
        m.mamba(i, 2 * EMBD, 16, 8)
    m.norm("output_norm")
    m.close()


def mamba2(path):
    m = Model("mamba2", path, 2)
    m.ssm(2 * EMBD, 16, 8, groups=2)
    m.u("feed_forward_length", 0)
    m.u("attention.head_count", 0)
    for i in range(2):
        m.norm(f"blk.{i}.attn_norm")
        m.mamba2(i, 2 * EMBD, 16, 8, 2)
    m.norm("output_norm")
    m.close()


def jamba(path):
    m = Model("jamba", path, 3)
    m.ssm(2 * EMBD, 16, 8)
    m.heads([False, True, False])
    m.u("feed_forward_length", FF)
    m.u("expert_count", 8)
    m.u("expert_used_count", 2)
    for i in range(3):
        m.norm(f"blk.{i}.attn_norm")
        m.norm(f"blk.{i}.ffn_norm")
        m.attention(i) if i == 1 else m.mamba(i, 2 * EMBD, 16, 8, norms=True)
        m.experts(i, ff=FF) if i == 2 else m.mlp(i)
    m.norm("output_norm")
    m.close()


def nemotron_h(path):
    m = Model("nemotron_h", path, 4)
    m.ssm(2 * EMBD, 16, 8, groups=2)
    m.heads([False, False, True, False])
    m.list("feed_forward_length", [0, FF, 0, 0])
    m.f("attention.layer_norm_epsilon", 1e-5)
    for i in range(4):
        m.norm(f"blk.{i}.attn_norm")
        if i == 1:
            m.mlp(i, gate=False)
        elif i == 2:
            m.attention(i)
        else:
            m.mamba2(i, 2 * EMBD, 16, 8, 2)
    m.norm("output_norm")
    m.close()


def hybrid_delta(path, arch, together, experts):
    m = Model(arch, path, 3)
    m.ssm(8 * 16, 16, 8, groups=4)
    m.u("attention.head_count", HEADS)
    m.u("attention.head_count_kv", HEADS_KV)
    m.u("attention.key_length", DIM)
    m.u("attention.value_length", DIM)
    m.u("full_attention_interval", 3)
    m.u("rope.dimension_count", 8)
    m.u("feed_forward_length", FF)
    if arch != "qwen3next":
        m.list("rope.dimension_sections", [2, 1, 1, 0])
    if experts:
        m.u("expert_count", 8)
        m.u("expert_used_count", 2)
        m.u("expert_feed_forward_length", 32)
        m.u("expert_shared_feed_forward_length", 32)
    for i in range(3):
        m.norm(f"blk.{i}.attn_norm")
        m.norm(f"blk.{i}.post_attention_norm")
        m.attention(i, gate=True, norms=True) if i == 2 else m.delta(i, 16, 4, 8, together)
        m.experts(i, shared=True, shared_gate=True) if experts else m.mlp(i)
    m.norm("output_norm")
    m.close()


def lfm2moe(path):
    m = Model("lfm2moe", path, 4)
    m.heads([False, True, False, True])
    m.u("shortconv.l_cache", 3)
    m.u("feed_forward_length", FF)
    m.u("expert_feed_forward_length", 32)
    m.u("expert_count", 8)
    m.u("expert_used_count", 2)
    m.u("expert_gating_func", 2)
    m.u("leading_dense_block_count", 2)
    for i in range(4):
        m.norm(f"blk.{i}.attn_norm")
        m.norm(f"blk.{i}.ffn_norm")
        if i % 2:
            m.attention(i, norms=True)
        else:
            m.matrix(f"blk.{i}.shortconv.conv.weight", EMBD, 3)
            m.matrix(f"blk.{i}.shortconv.in_proj.weight", 3 * EMBD, EMBD)
            m.matrix(f"blk.{i}.shortconv.out_proj.weight", EMBD, EMBD)
        m.experts(i, bias=True) if i >= 2 else m.mlp(i)
    m.norm("token_embd_norm")
    m.close()


def kimi_linear(path):
    m = Model("kimi-linear", path, 3)
    rank, rope, k, v = 32, 8, 24, 16
    m.list("attention.head_count", [HEADS] * 3)
    m.list("attention.head_count_kv", [0, 1, 0])
    m.u("attention.key_length", rank + rope)
    m.u("attention.value_length", rank)
    m.u("attention.key_length_mla", k)
    m.u("attention.value_length_mla", v)
    m.u("attention.kv_lora_rank", rank)
    m.u("rope.dimension_count", rope)
    m.u("ssm.conv_kernel", 4)
    m.u("kda.head_dim", 16)
    m.u("feed_forward_length", FF)
    m.u("expert_feed_forward_length", 32)
    m.u("expert_shared_count", 1)
    m.u("expert_count", 8)
    m.u("expert_used_count", 2)
    m.u("expert_gating_func", 2)
    m.f("expert_weights_scale", 2.5)
    m.u("leading_dense_block_count", 1)
    for i in range(3):
        m.norm(f"blk.{i}.attn_norm")
        m.norm(f"blk.{i}.ffn_norm")
        if i == 1:
            m.matrix(f"blk.{i}.attn_q.weight", HEADS * k, EMBD)
            m.matrix(f"blk.{i}.attn_kv_a_mqa.weight", rank + rope, EMBD)
            m.norm(f"blk.{i}.attn_kv_a_norm", rank)
            m.matrix(f"blk.{i}.attn_k_b.weight", HEADS, rank, k - rope)
            m.matrix(f"blk.{i}.attn_v_b.weight", HEADS, v, rank)
            m.matrix(f"blk.{i}.attn_output.weight", EMBD, HEADS * v)
        else:
            m.kda(i, 16, HEADS)
        m.experts(i, bias=True, shared=True) if i else m.mlp(i)
    m.norm("output_norm")
    m.close()


MODELS = {
    "mamba": mamba,
    "mamba2": mamba2,
    "jamba": jamba,
    "nemotron_h": nemotron_h,
    "qwen3next": lambda path: hybrid_delta(path, "qwen3next", True, True),
    "qwen35": lambda path: hybrid_delta(path, "qwen35", False, False),
    "qwen35moe": lambda path: hybrid_delta(path, "qwen35moe", False, True),
    "lfm2moe": lfm2moe,
    "kimi-linear": kimi_linear,
}


def peer_logits(path):
    model = llama_cpp.Llama(
        path,
        n_ctx=256,
        n_batch=256,
        n_ubatch=256,
        n_gpu_layers=0,
        logits_all=True,
        verbose=False,
        flash_attn=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
    )
    model.eval(IDS)
    return np.array(model.scores[: len(IDS)], dtype=np.float64)


def compare(models, limit=1e-9):
    """Makes each model, and fails if our logits are further than that from the peer's."""
    pantry, wanted = sys.argv[1], sys.argv[2:] or list(models)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        ids = os.path.join(folder, "ids.txt")
        with open(ids, "w") as f:
            f.write("\n".join(map(str, IDS)) + "\n")
        for arch in wanted:
            path, out = os.path.join(folder, arch + ".gguf"), os.path.join(folder, "out.f32")
            models[arch](path)
            peer = peer_logits(path)
            command = [pantry, "logits", path, "--ids", ids, "-o", out, "--kv-type", "f32", "--ctx", "256"]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                print(f"{arch}: {run.stderr.strip()}")
                failed += 1
                continue
            ours = np.fromfile(out, dtype=np.float32).reshape(peer.shape)
            error = np.sum((ours - peer) ** 2) / np.sum(peer**2)
            print(f"{arch}: NMSE {error:.2g}")
            failed += not error < limit
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    compare(MODELS)
