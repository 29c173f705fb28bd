"""Writes a model of random weights with a vocabulary of 151,936 tokens, for measurements without a network.

    python3 bench/synthetic_model.py FILE [LAYERS]

The shape is Qwen2.5-0.5B's (896 wide, 14 heads, 2 of them for keys and values), in Q8_0, by default with 12 of its 24
layers (330 MB). The tokens are the bytes, and made-up words, numbers, punctuation and Chinese characters in a mixture
like that of large vocabularies.
"""

import os
import random
import struct
import sys

N_VOCAB, N_EMBD, N_HEAD, N_HEAD_KV, N_FF = 151936, 896, 14, 2, 4864
U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
TYPE_F32, TYPE_Q8_0 = 0, 8
BLOCK = 32  # values of a block of Q8_0: a scale and as many bytes
SCALE = struct.pack("<e", 0.001)


def byte_letters():
    """GPT-2's letter for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in set(printable)]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def words(rng):
    """Texts without end, some of them more than once."""
    syllables = [a + b for a in "bcdfghjklmnprstvwz" for b in "aeiou"]
    while True:
        kind = rng.random()
        if kind < 0.7:
            word = "".join(rng.choice(syllables) for _ in range(rng.randint(1, 4))) + rng.choice(["", "n", "s", "r", "t"])
            word = rng.choice([word, word, word.capitalize(), word.upper()])
            yield rng.choice([" ", " ", ""]) + word
        elif kind < 0.85:
            yield "".join(chr(rng.randint(0x4E00, 0x9FA5)) for _ in range(rng.randint(1, 3)))
        elif kind < 0.9:
            yield str(rng.randint(10, 999))
        elif kind < 0.97:
            yield rng.choice(["", " "]) + "".join(rng.choice("{}[]()<>\"':;,./\\=+-*_#\n\t ") for _ in range(rng.randint(2, 5)))
        else:
            yield rng.choice(" \t\n") * rng.randint(2, 64)


def vocabulary():
    letters, rng = byte_letters(), random.Random(1)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [letters[b] for b in range(256)]
    known = set(tokens)
    for word in words(rng):
        token = "".join(letters[b] for b in word.encode())
        if token not in known:
            known.add(token)
            tokens.append(token)
        if len(tokens) == N_VOCAB:
            return tokens


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def metadata(n_layer):
    tokens = vocabulary()
    numbers = {
        "block_count": n_layer, "context_length": 32768, "embedding_length": N_EMBD, "feed_forward_length": N_FF,
        "attention.head_count": N_HEAD, "attention.head_count_kv": N_HEAD_KV,
    }  # fmt: skip
    rows = [
        ("general.architecture", STRING, string("llama")),
        ("general.name", STRING, string("Synthetic")),
        ("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-6)),
        ("tokenizer.ggml.model", STRING, string("gpt2")),
        ("tokenizer.ggml.pre", STRING, string("qwen2")),
        ("tokenizer.ggml.tokens", ARRAY, array(STRING, [string(t) for t in tokens])),
        ("tokenizer.ggml.token_type", ARRAY, array(I32, [struct.pack("<i", 3 if i < 3 else 1) for i in range(N_VOCAB)])),
        ("tokenizer.ggml.merges", ARRAY, array(STRING, [])),
        ("tokenizer.ggml.eos_token_id", U32, struct.pack("<I", 2)),
    ]
    rows += [(f"llama.{name}", U32, struct.pack("<I", value)) for name, value in numbers.items()]
    meta = b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in rows)
    return len(rows), meta


def shapes(n_layer):
    """(name, rows, columns; 0 rows: a vector of ones)"""
    kv = N_EMBD // N_HEAD * N_HEAD_KV
    yield "token_embd.weight", N_VOCAB, N_EMBD
    yield "output_norm.weight", 0, N_EMBD
    for i in range(n_layer):
        for name, rows, columns in (
            ("attn_norm", 0, N_EMBD), ("attn_q", N_EMBD, N_EMBD), ("attn_k", kv, N_EMBD), ("attn_v", kv, N_EMBD),
            ("attn_output", N_EMBD, N_EMBD), ("ffn_norm", 0, N_EMBD), ("ffn_gate", N_FF, N_EMBD),
            ("ffn_up", N_FF, N_EMBD), ("ffn_down", N_EMBD, N_FF),
        ):  # fmt: skip
            yield f"blk.{i}.{name}.weight", rows, columns


def write(path, n_layer=12):
    n_meta, meta = metadata(n_layer)
    infos, at, all_shapes = b"", 0, list(shapes(n_layer))
    for name, rows, columns in all_shapes:
        kind, shape = (TYPE_Q8_0, (columns, rows)) if rows else (TYPE_F32, (columns,))
        infos += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape)
        infos += struct.pack("<IQ", kind, at)
        at += rows * columns // BLOCK * (BLOCK + 2) if rows else 4 * columns
        at += -at % 32
    rng = random.Random(2)
    bytes_of = rng.randbytes(BLOCK * 200003)  # a prime above the number of rows, so that no two are equal
    blocks = b"".join(SCALE + bytes_of[i : i + BLOCK] for i in range(0, len(bytes_of), BLOCK))
    with open(path, "wb") as file:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(all_shapes), n_meta) + meta + infos
        file.write(head + b"\0" * (-len(head) % 32))
        for _, rows, columns in all_shapes:
            size = rows * columns // BLOCK * (BLOCK + 2) if rows else 4 * columns
            start = file.tell()
            if not rows:
                file.write(struct.pack(f"<{columns}f", *[1.0] * columns))
            for done in range(0, size if rows else 0, len(blocks)):
                file.write(blocks[: size - done])
            file.write(b"\0" * (-(file.tell() - start) % 32))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    write(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 12)
    print(f"{sys.argv[1]}: {os.path.getsize(sys.argv[1]) / 1e6:.0f} MB")
