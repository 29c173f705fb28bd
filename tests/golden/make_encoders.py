#!/usr/bin/env python3
"""Makes tiny_encoders.h: the expected results of the tiny encoders of tests/support/tiny_encoder.c.

    build/tests/test_embed --write FOLDER && python3 tests/golden/make_encoders.py FOLDER [--transformers]

Reads the files and computes every architecture in float64 with NumPy, following the papers and the models' published
code; it shares nothing with the C sources. With --transformers, the architectures in Hugging Face transformers (bert,
modern-bert, t5, bidirectional Gemma 3) are also compared with it; nothing is written if they differ."""

import argparse
import math
import pathlib
import sys

import gguf
import numpy as np

HEADS, LAYERS, WINDOW, FF = 4, 4, 8, 48
IDS = [2] + [5 + (i * 7919 + i * i * 31) % 52 for i in range(38)] + [3]  # as in test_embed.c
QUERY, TEXT = "where do foxes sleep", "a fox digs a den under roots"


def letters(text):  # the vocabulary of tests/support/tiny_encoder.c: one token per letter, word-initial ones first
    return [(5 if i == 0 else 31) + ord(c) - ord("a") for word in text.split() for i, c in enumerate(word)]


PAIR = [2] + letters(QUERY) + [3] + letters(TEXT) + [3]
KINDS = [0] * (len(letters(QUERY)) + 2) + [1] * (len(letters(TEXT)) + 1)
erf = np.vectorize(math.erf)


def load(path):
    return {
        t.name: np.array(t.data, dtype=np.float64).reshape([int(n) for n in t.shape[::-1]])
        for t in gguf.GGUFReader(path).tensors
    }


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Model:
    def __init__(self, w, prefix=""):
        self.w, self.prefix = w, prefix

    def get(self, layer, name, suffix="weight"):
        full = f"{name}.{suffix}" if layer is None else f"{self.prefix}blk.{layer}.{name}.{suffix}"
        return self.w.get(full)

    def linear(self, layer, name, x):
        y = x @ self.get(layer, name).T
        b = self.get(layer, name, "bias")
        return y if b is None else y + b

    def layer_norm(self, layer, name, x, eps=1e-5):
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * self.get(layer, name)
        b = self.get(layer, name, "bias")
        return y if b is None else y + b

    def rms_norm(self, layer, name, x, eps=1e-6):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.get(layer, name)

    def qkv(self, layer, x):
        if self.get(layer, "attn_qkv") is not None:
            return np.split(self.linear(layer, "attn_qkv", x), 3, axis=-1)
        return [self.linear(layer, "attn_" + n, x) for n in "qkv"]


def split(x):  # (n, d) -> (heads, n, dim)
    return x.reshape(len(x), HEADS, -1).swapaxes(0, 1)


def rotate(x, base):  # halves; (heads, n, dim)
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * base ** (-np.arange(half) / half)[None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)


def attend(q, k, v, scale, bias=0.0, window=None):
    n = q.shape[1]
    s = q @ k.swapaxes(1, 2) * scale + bias
    if window is not None:
        far = np.abs(np.arange(n)[:, None] - np.arange(n)[None]) > window // 2
        s = np.where(far[None], -np.inf, s)
    return (softmax(s) @ v).swapaxes(0, 1).reshape(n, -1)


def bert(m, arch, ids, kinds=None):
    types = m.get(None, "token_types")
    x = m.get(None, "token_embd")[ids] + types[kinds if kinds is not None and len(types) > 1 else [0] * len(ids)]
    if arch == "bert":
        x = x + m.get(None, "position_embd")[: len(ids)]
    x = m.layer_norm(None, "token_embd_norm", x)
    for i in range(LAYERS):
        q, k, v = m.qkv(i, x)
        if arch == "jina-bert-v2":
            q, k = m.layer_norm(i, "attn_q_norm", q), m.layer_norm(i, "attn_k_norm", k)
        q, k, v = split(q), split(k), split(v)
        bias = 0.0
        if arch == "jina-bert-v2":  # ALiBi of both sides; 4 heads: slopes 2^-2, 2^-4, 2^-6, 2^-8
            distance = np.abs(np.arange(len(ids))[:, None] - np.arange(len(ids))[None])
            bias = -np.array([2.0 ** (-2 * (h + 1)) for h in range(HEADS)])[:, None, None] * distance
        elif arch != "bert":
            q, k = rotate(q, 10000.0), rotate(k, 10000.0)
        a = m.linear(i, "attn_output", attend(q, k, v, q.shape[-1] ** -0.5, bias))
        y = m.layer_norm(i, "attn_output_norm", x + a)
        if arch == "jina-bert-v2":
            y = m.layer_norm(i, "attn_norm_2", y + x)
        x = m.layer_norm(i, "layer_output_norm", y + feed_forward(m, arch, i, y))
    return x


def feed_forward(m, arch, i, y):
    if arch == "nomic-bert":
        return m.linear(i, "ffn_down", silu(m.linear(i, "ffn_gate", y)) * m.linear(i, "ffn_up", y))
    if arch == "jina-bert-v2":  # GEGLU: the first half is activated
        gate, up = np.split(m.linear(i, "ffn_up", y), 2, axis=-1)
        return m.linear(i, "ffn_down", gelu(gate) * up)
    if m.get(i, "ffn_gate_inp") is None:
        return m.linear(i, "ffn_down", gelu(m.linear(i, "ffn_up", y)))
    weights = softmax(m.linear(i, "ffn_gate_inp", y))
    out = np.zeros_like(y)
    for t in range(len(y)):
        for e in np.argsort(-weights[t])[:2]:
            out[t] += weights[t, e] * (m.get(i, "ffn_down_exps")[e] @ gelu(m.get(i, "ffn_up_exps")[e] @ y[t]))
    return out


def modern(m, ids):
    x = m.layer_norm(None, "token_embd_norm", m.get(None, "token_embd")[ids])
    for i in range(LAYERS):
        local = i % 3 != 0
        q, k, v = map(split, m.qkv(i, m.layer_norm(i, "attn_norm", x) if i else x))
        base = 10000.0 if local else 160000.0
        a = attend(rotate(q, base), rotate(k, base), v, q.shape[-1] ** -0.5, window=WINDOW if local else None)
        x = x + m.linear(i, "attn_output", a)
        gate, up = np.split(m.linear(i, "ffn_up", m.layer_norm(i, "ffn_norm", x)), 2, axis=-1)
        x = x + m.linear(i, "ffn_down", gelu(gate) * up)
    return m.layer_norm(None, "output_norm", x)


def gemma(m, ids):
    x = m.get(None, "token_embd")[ids] * math.sqrt(32)
    for i in range(LAYERS):
        local = i % 2 == 0
        q, k, v = map(split, m.qkv(i, m.rms_norm(i, "attn_norm", x)))
        base = 10000.0 if local else 1000000.0
        q, k = rotate(m.rms_norm(i, "attn_q_norm", q), base), rotate(m.rms_norm(i, "attn_k_norm", k), base)
        a = attend(q, k, v, q.shape[-1] ** -0.5, window=WINDOW if local else None)
        x = x + m.rms_norm(i, "post_attention_norm", m.linear(i, "attn_output", a))
        y = m.rms_norm(i, "ffn_norm", x)
        y = m.linear(i, "ffn_down", gelu_tanh(m.linear(i, "ffn_gate", y)) * m.linear(i, "ffn_up", y))
        x = x + m.rms_norm(i, "post_ffw_norm", y)
    return m.rms_norm(None, "output_norm", x)


def t5_bucket(distance, n_buckets):  # key's position - query's
    half = n_buckets // 2
    exact = half // 2
    n = abs(distance)
    b = (
        n
        if n < exact
        else min(half - 1, exact + int(math.log(n / exact) / math.log(128 / exact) * (half - exact) + 1e-9))
    )
    return b + (half if distance > 0 else 0)


def t5(m, ids):
    x = m.get(None, "token_embd")[ids]
    table = m.get(0, "attn_rel_b")  # (buckets, heads)
    n = len(ids)
    buckets = np.array([[t5_bucket(j - i, len(table)) for j in range(n)] for i in range(n)])
    bias = table[buckets].transpose(2, 0, 1)
    for i in range(LAYERS):
        q, k, v = map(split, m.qkv(i, m.rms_norm(i, "attn_norm", x)))
        x = x + m.linear(i, "attn_o", attend(q, k, v, 1.0, bias))
        y = m.rms_norm(i, "ffn_norm", x)
        if m.get(i, "ffn_gate") is not None:
            y = gelu_tanh(m.linear(i, "ffn_gate", y)) * m.linear(i, "ffn_up", y)
        else:
            y = np.maximum(m.linear(i, "ffn_up", y), 0)
        x = x + m.linear(i, "ffn_down", y)
    return m.rms_norm(None, "enc.output_norm", x)


def states(m, arch, ids, kinds=None):
    if arch == "modern-bert":
        return modern(m, ids)
    if arch == "gemma-embedding":
        return gemma(m, ids)
    if arch.startswith("t5"):
        return t5(m, ids)
    return bert(m, arch, ids, kinds)


def embedding(m, x):
    y = x.mean(0)
    if m.get(None, "dense_2") is not None:
        y = m.linear(None, "dense_3", m.linear(None, "dense_2", y))
    return y


def score(m, arch, ids, kinds):
    x = states(m, arch, ids, kinds)
    if arch == "bert":
        y = np.tanh(m.linear(None, "cls", x.mean(0)))  # the file says mean
    else:
        y = m.layer_norm(None, "cls.norm", gelu(m.linear(None, "cls", x.mean(0))))
    return float(m.linear(None, "cls.output", y)[0])


# ---- Hugging Face ----


def transformers_states(m, arch):
    import torch
    import transformers as hf

    t = lambda a: torch.tensor(a, dtype=torch.float64)
    common = dict(
        vocab_size=64, hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=FF
    )
    sd = {}
    g = m.get
    if arch == "bert":
        model = hf.BertModel(
            hf.BertConfig(**common, max_position_embeddings=128, layer_norm_eps=1e-5), add_pooling_layer=False
        )
        names = {
            "attention.self.query": "attn_q",
            "attention.self.key": "attn_k",
            "attention.self.value": "attn_v",
            "attention.output.dense": "attn_output",
            "attention.output.LayerNorm": "attn_output_norm",
            "intermediate.dense": "ffn_up",
            "output.dense": "ffn_down",
            "output.LayerNorm": "layer_output_norm",
        }
        sd["embeddings.word_embeddings.weight"] = g(None, "token_embd")
        sd["embeddings.position_embeddings.weight"] = g(None, "position_embd")
        sd["embeddings.token_type_embeddings.weight"] = g(None, "token_types")
        for s in ("weight", "bias"):
            sd["embeddings.LayerNorm." + s] = g(None, "token_embd_norm", s)
            for i in range(LAYERS):
                for a, b in names.items():
                    sd[f"encoder.layer.{i}.{a}.{s}"] = g(i, b, s)
    elif arch == "modern-bert":
        model = hf.ModernBertModel(
            hf.ModernBertConfig(
                **common,
                max_position_embeddings=128,
                norm_eps=1e-5,
                local_attention=WINDOW,
                global_attn_every_n_layers=3,
                pad_token_id=0,
                bos_token_id=2,
                eos_token_id=3,
                cls_token_id=2,
                sep_token_id=3,
                attn_implementation="eager",
                global_rope_theta=160000.0,
                local_rope_theta=10000.0,
            )
        )
        names = {
            "attn_norm": "attn_norm",
            "attn.Wqkv": "attn_qkv",
            "attn.Wo": "attn_output",
            "mlp_norm": "ffn_norm",
            "mlp.Wi": "ffn_up",
            "mlp.Wo": "ffn_down",
        }
        sd["embeddings.tok_embeddings.weight"] = g(None, "token_embd")
        sd["embeddings.norm.weight"] = g(None, "token_embd_norm")
        sd["final_norm.weight"] = g(None, "output_norm")
        for i in range(LAYERS):
            for a, b in names.items():
                if g(i, b) is not None:
                    sd[f"layers.{i}.{a}.weight"] = g(i, b)
    elif arch.startswith("t5"):
        model = hf.T5EncoderModel(
            hf.T5Config(
                vocab_size=64,
                d_model=32,
                d_kv=8,
                d_ff=FF,
                num_layers=LAYERS,
                num_heads=HEADS,
                relative_attention_num_buckets=8,
                feed_forward_proj="relu" if arch == "t5encoder" else "gated-gelu",
            )
        )
        names = {
            "layer.0.layer_norm": "attn_norm",
            "layer.0.SelfAttention.q": "attn_q",
            "layer.0.SelfAttention.k": "attn_k",
            "layer.0.SelfAttention.v": "attn_v",
            "layer.0.SelfAttention.o": "attn_o",
            "layer.1.layer_norm": "ffn_norm",
            "layer.1.DenseReluDense.wi": "ffn_up",
            "layer.1.DenseReluDense.wi_0": "ffn_gate",
            "layer.1.DenseReluDense.wi_1": "ffn_up",
            "layer.1.DenseReluDense.wo": "ffn_down",
            "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b",
        }
        sd["shared.weight"] = sd["encoder.embed_tokens.weight"] = g(None, "token_embd")
        sd["encoder.final_layer_norm.weight"] = g(None, "enc.output_norm")
        wanted = model.state_dict()
        for i in range(LAYERS):
            for a, b in names.items():
                if f"encoder.block.{i}.{a}.weight" in wanted:
                    sd[f"encoder.block.{i}.{a}.weight"] = g(i, b)
    elif arch == "gemma-embedding":
        config = hf.Gemma3TextConfig(
            **common,
            num_key_value_heads=HEADS,
            head_dim=8,
            max_position_embeddings=128,
            rms_norm_eps=1e-6,
            sliding_window=WINDOW,
            query_pre_attn_scalar=8,
            use_bidirectional_attention=True,
            attn_implementation="eager",
            layer_types=["sliding_attention", "full_attention"] * 2,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            rope_parameters={
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            },
        )
        model = hf.Gemma3TextModel(config)
        names = {
            "input_layernorm": "attn_norm",
            "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k",
            "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output",
            "self_attn.q_norm": "attn_q_norm",
            "self_attn.k_norm": "attn_k_norm",
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "ffn_norm",
            "mlp.gate_proj": "ffn_gate",
            "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
            "post_feedforward_layernorm": "post_ffw_norm",
        }
        sd["embed_tokens.weight"] = g(None, "token_embd")
        sd["norm.weight"] = g(None, "output_norm") - 1  # this one counts from 1
        for i in range(LAYERS):
            for a, b in names.items():
                sd[f"layers.{i}.{a}.weight"] = g(i, b) - ("norm" in a)
    else:
        return None
    missing, unexpected = model.load_state_dict({k: t(v) for k, v in sd.items()}, strict=False)
    assert not unexpected and all("rotary" in k or "position_ids" in k or "embed_scale" in k for k in missing), (
        missing,
        unexpected,
    )
    model = model.double().eval()
    with torch.no_grad():
        return (
            model(input_ids=torch.tensor([IDS]), attention_mask=torch.ones(1, len(IDS), dtype=torch.long))
            .last_hidden_state[0]
            .numpy()
        )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--transformers", action="store_true")
    p.add_argument("--states", help="also save all states there, ARCH.npy")
    a = p.parse_args()
    out = [
        "/* Made by tests/golden/make_encoders.py: what the tiny encoders answer, computed in float64. */",
        "static const struct {",
        "    const char *arch;",
        "    float mean[32]; /* the embedding by mean pooling */",
        "    float first[32], last[32]; /* states of the first and the last token */",
        "} golden_encoders[] = {",
    ]
    scores = []
    for path in sorted(pathlib.Path(a.folder).glob("*.gguf")):
        arch = path.stem
        m = Model(load(path), "enc." if arch.startswith("t5") else "")
        x = states(m, arch, IDS)
        if a.states:
            np.save(pathlib.Path(a.states) / (arch + ".npy"), x)
        if a.transformers:
            y = transformers_states(m, arch)
            if y is not None:
                e = float(((x - y) ** 2).sum() / (y**2).sum())
                print(f"{arch}: NMSE {e:.2g} beside transformers")
                if e > 1e-9:  # it keeps some constants in float32
                    sys.exit("they differ")
        row = lambda v: (
            "{"
            + ", ".join(
                f"{float(f):.8g}f" if "." in f"{float(f):.8g}" or "e" in f"{float(f):.8g}" else f"{float(f):.8g}.0f"
                for f in v
            )
            + "}"
        )
        out.append(f'    {{"{arch}",\n     {row(embedding(m, x))},\n     {row(x[0])},\n     {row(x[-1])}}},')
        if m.get(None, "cls.output") is not None:
            scores.append(f'    {{"{arch}", {score(m, arch, PAIR, KINDS):.8g}f}},')
    out += [
        "};",
        "",
        "/* Scores of a query and a text: see make_encoders.py. */",
        "static const struct {",
        "    const char *arch;",
        "    float score;",
        "} golden_scores[] = {",
        *scores,
        "};",
    ]
    pathlib.Path(__file__).with_name("tiny_encoders.h").write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
