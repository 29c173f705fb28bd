#!/usr/bin/env python3
"""Writes a GGUF file with random weights in the shape of Llama 3.2 1B: python3 bench/shape.py VOCABULARY.gguf OUT.gguf

Types are those of Q4_K_M's smaller half: Q4_K, and Q6_K for the embeddings. The tokenizer is that of VOCABULARY.gguf, so
that servers take texts. For speed only: what it says means nothing."""

import random
import struct
import sys

N_LAYER, N_EMBD, N_FF, N_HEAD, N_HEAD_KV = 16, 2048, 8192, 32, 8
U32, F32, STRING, ARRAY = 4, 6, 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TYPE_F32, TYPE_Q4_K, TYPE_Q6_K = 0, 12, 14
ALIGNMENT = 32


def skip(data, at, kind):
    """Where the value that begins at `at` ends."""
    if kind == STRING:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    if kind != ARRAY:
        return at + SIZES[kind]
    inner, n = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner in SIZES:
        return at + n * SIZES[inner]
    for _ in range(n):
        at = skip(data, at, inner)
    return at


def tokenizer_of(path):
    """(rows of its metadata, number of tokens)"""
    with open(path, "rb") as f:
        data = f.read(16 << 20)
    n_rows = struct.unpack_from("<Q", data, 16)[0]
    at, rows, n_vocab = 24, [], 0
    for _ in range(n_rows):
        start, end = at, skip(data, at, STRING)
        key = data[at + 8 : end].decode()
        kind = struct.unpack_from("<I", data, end)[0]
        at = skip(data, end + 4, kind)
        if key.startswith("tokenizer."):
            rows.append(data[start:at])
        if key == "tokenizer.ggml.tokens":
            n_vocab = struct.unpack_from("<Q", data, end + 8)[0]
    return rows, n_vocab


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def metadata(rows):
    add = lambda key, kind, value: rows.append(string(key) + struct.pack("<I", kind) + value)
    u32 = {
        "block_count": N_LAYER,
        "context_length": 8192,
        "embedding_length": N_EMBD,
        "feed_forward_length": N_FF,
        "attention.head_count": N_HEAD,
        "attention.head_count_kv": N_HEAD_KV,
        "rope.dimension_count": N_EMBD // N_HEAD,
    }
    add("general.architecture", STRING, string("llama"))
    for key, value in u32.items():
        add("llama." + key, U32, struct.pack("<I", value))
    add("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5))
    add("llama.rope.freq_base", F32, struct.pack("<f", 500000.0))


def tensors(n_vocab):
    """(name, type, rows, columns); no rows: a vector"""
    kv = N_EMBD // N_HEAD * N_HEAD_KV
    yield "token_embd.weight", TYPE_Q6_K, n_vocab, N_EMBD
    yield "output_norm.weight", TYPE_F32, 0, N_EMBD
    for i in range(N_LAYER):
        for name, n, k in (
            ("attn_q", N_EMBD, N_EMBD),
            ("attn_k", kv, N_EMBD),
            ("attn_v", kv, N_EMBD),
            ("attn_output", N_EMBD, N_EMBD),
            ("ffn_gate", N_FF, N_EMBD),
            ("ffn_up", N_FF, N_EMBD),
            ("ffn_down", N_EMBD, N_FF),
        ):
            yield f"blk.{i}.{name}.weight", TYPE_Q4_K, n, k
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", TYPE_F32, 0, N_EMBD


def row(rng, kind, k):
    if kind == TYPE_F32:
        return struct.pack(f"<{k}f", *[1.0] * k)
    if kind == TYPE_Q4_K:  # scales of about 32 and values of about 7.5, less as much
        return b"".join(struct.pack("<ee", 1e-4, 7.5e-4) + rng.randbytes(140) for _ in range(k // 256))
    return b"".join(rng.randbytes(192) + bytes([16] * 16) + struct.pack("<e", 1e-4) for _ in range(k // 256))


def write(vocabulary, path):
    rows, n_vocab = tokenizer_of(vocabulary)
    metadata(rows)
    rng = random.Random(1)
    listed, at = [], 0
    for name, kind, n, k in tensors(n_vocab):
        size = {TYPE_F32: k * 4, TYPE_Q4_K: k // 256 * 144, TYPE_Q6_K: k // 256 * 210}[kind] * max(n, 1)
        shape = (k, n) if n else (k,)
        listed.append(string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, at))
        at += (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(rows)) + b"".join(rows) + b"".join(listed))
        for _, kind, n, k in tensors(n_vocab):
            f.write(bytes(-f.tell() % ALIGNMENT))
            some = [row(rng, kind, k) for _ in range(min(n, 64))] or [row(rng, kind, k)]
            for i in range(max(n, 1)):
                f.write(some[i * 37 % len(some)])


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2])
