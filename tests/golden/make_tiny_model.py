#!/usr/bin/env python3
"""Computes the logits of the tiny random models of tests/support/tiny_model.c, independently of pantry: NumPy in float64, from the
papers' formulas (RMSNorm, RoPE in both pairings, grouped-query attention, SwiGLU/GeGLU, Gemma 3's norms and windows).

    python3 tests/golden/make_tiny_model.py > tests/golden/tiny_model.h

The weights come from the same SplitMix64 generator in the same order, so only logits are in the tree. Made with
Python 3.11, NumPy 2.
"""

import math

import numpy as np

VOCAB, EMBD, HEADS, KV, DIM, FF, LAYERS = 64, 32, 4, 2, 8, 48, 3
N_TOKENS = 24
SHOWN = [0, 1, 7, 8, 15, 23]
MASK = (1 << 64) - 1


class Rng:
    def __init__(self, state):
        self.state = state

    def u64(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def unit(self, n):
        return np.array([(self.u64() >> 40) * 2.0**-24 for _ in range(n)], dtype=np.float32)

    def matrix(self, rows, cols):
        one = np.float32(1)
        values = (np.float32(2) * self.unit(rows * cols) - one) * np.float32(0.25)
        return values.reshape(rows, cols).astype(np.float64)

    def norm(self, n):
        return (np.float32(0.5) + self.unit(n)).astype(np.float64)


def rms(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float64(np.float32(1e-5))) * w


def rope(x, base, pairs):  # (tokens, heads, dim)
    t = np.arange(x.shape[0])[:, None, None]
    angle = t * base ** (-2.0 * np.arange(DIM // 2) / DIM)
    c, s = np.cos(angle), np.sin(angle)
    a, b = (x[..., 0::2], x[..., 1::2]) if pairs else (x[..., : DIM // 2], x[..., DIM // 2 :])
    out = np.empty_like(x)
    ra, rb = a * c - b * s, a * s + b * c
    if pairs:
        out[..., 0::2], out[..., 1::2] = ra, rb
    else:
        out[..., : DIM // 2], out[..., DIM // 2 :] = ra, rb
    return out


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(q, k, v, window):
    n = q.shape[0]
    out = np.zeros((n, HEADS, DIM))
    for h in range(HEADS):
        scores = q[:, h] @ k[:, h // (HEADS // KV)].T / math.sqrt(DIM)
        for i in range(n):
            first = max(0, i - window + 1) if window else 0
            s = scores[i, first : i + 1]
            p = np.exp(s - s.max())
            out[i, h] = (p / p.sum()) @ v[first : i + 1, h // (HEADS // KV)]
    return out.reshape(n, -1)


def logits(gemma, ids):
    rng = Rng(1234)
    embd = rng.matrix(VOCAB, EMBD)
    x = embd[ids] * (float(np.float32(math.sqrt(EMBD))) if gemma else 1.0)
    for layer in range(LAYERS):
        w = {"attn_norm": rng.norm(EMBD)}
        w["q"], w["k"], w["v"] = rng.matrix(HEADS * DIM, EMBD), rng.matrix(KV * DIM, EMBD), rng.matrix(KV * DIM, EMBD)
        w["o"] = rng.matrix(EMBD, HEADS * DIM)
        if gemma:
            w["qn"], w["kn"], w["post"] = rng.norm(DIM), rng.norm(DIM), rng.norm(EMBD)
        w["ffn_norm"] = rng.norm(EMBD)
        w["gate"], w["up"], w["down"] = rng.matrix(FF, EMBD), rng.matrix(FF, EMBD), rng.matrix(EMBD, FF)
        if gemma:
            w["post_ffw"] = rng.norm(EMBD)
        local = gemma and layer % 3 < 2
        base = 10000.0 if local or not gemma else 100000.0
        h = rms(x, w["attn_norm"])
        q, k, v = ((h @ w[n].T).reshape(len(ids), -1, DIM) for n in "qkv")
        if gemma:
            q, k = rms(q, w["qn"]), rms(k, w["kn"])
        q, k = rope(q, base, not gemma), rope(k, base, not gemma)
        y = attention(q, k, v, 8 if local else 0) @ w["o"].T
        x = x + (rms(y, w["post"]) if gemma else y)
        h = rms(x, w["ffn_norm"])
        act = gelu_tanh if gemma else silu
        y = (act(h @ w["gate"].T) * (h @ w["up"].T)) @ w["down"].T
        x = x + (rms(y, w["post_ffw"]) if gemma else y)
    x = rms(x, rng.norm(EMBD))
    return x @ (embd if gemma else rng.matrix(VOCAB, EMBD)).T


def main():
    ids = [(i * i * 7 + 3 * i + 5) % VOCAB for i in range(N_TOKENS)]
    print("/* Made by tests/golden/make_tiny_model.py: do not edit. */")
    print("/* clang-format off */")
    print("static const int32_t tiny_ids[%d] = {%s};" % (N_TOKENS, ", ".join(map(str, ids))))
    print("static const int tiny_shown[%d] = {%s};" % (len(SHOWN), ", ".join(map(str, SHOWN))))
    for name in ("llama", "gemma3"):
        print("static const float tiny_%s[%d][%d] = {" % (name, len(SHOWN), VOCAB))
        values = logits(name == "gemma3", np.array(ids))
        for i in SHOWN:
            row = ["%.8gf" % v if "." in "%.8g" % v or "e" in "%.8g" % v else "%.8g.0f" % v for v in values[i]]
            for j in range(0, VOCAB, 8):
                print(
                    "    %s%s," % ("{" if j == 0 else " ", ", ".join(row[j : j + 8]))
                    if j < VOCAB - 8
                    else "     %s}," % ", ".join(row[j:])
                )
        print("};")


if __name__ == "__main__":
    main()
