"""Writes a tiny llama model as GGUF: random weights from a seed, a byte-level vocabulary, a chat template.

Only letters and spaces have an output row that is not zero, so that greedy text is readable ASCII and never ends by
itself: a test can count on --max-tokens, and on an answer that is long enough to be interrupted.
"""

import random
import struct

N_EMBD, N_HEAD, N_HEAD_KV, N_FF, N_LAYER, N_CONTEXT = 32, 4, 2, 64, 2, 16384
U16, U32, F32, STRING, ARRAY, I32 = 2, 4, 6, 8, 9, 5
TYPE_F32, TYPE_F16 = 0, 1
CONTROLS = []  # further control tokens
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'user' and m.content == 'raise' %}{{ raise_exception('Do not say raise!') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_letters():
    """GPT-2's letter for each byte: printable ones are themselves, the others follow from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {}, 256
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(extra)
            extra += 1
    return letters


def vocabulary():
    """(tokens, merges): three special tokens, the bytes, and a few merges."""
    letters = byte_letters()
    merges = ["t h", "th e", "\u0120 a", "i n"]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [letters[b] for b in range(256)]
    return tokens + [merge.replace(" ", "") for merge in merges] + CONTROLS, merges


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind, pack, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(pack(v) for v in values)


def metadata(template=True, more=()):
    tokens, merges = vocabulary()
    i32 = lambda v: struct.pack("<i", v)
    u32 = lambda v: struct.pack("<I", v)
    rows = [
        ("general.architecture", STRING, string("llama")),
        ("general.name", STRING, string("Tiny Test")),
        ("general.license", STRING, string("mit")),
        ("llama.block_count", U32, u32(N_LAYER)),
        ("llama.context_length", U32, u32(N_CONTEXT)),
        ("llama.embedding_length", U32, u32(N_EMBD)),
        ("llama.feed_forward_length", U32, u32(N_FF)),
        ("llama.attention.head_count", U32, u32(N_HEAD)),
        ("llama.attention.head_count_kv", U32, u32(N_HEAD_KV)),
        ("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
        ("llama.rope.freq_base", F32, struct.pack("<f", 10000.0)),
        ("tokenizer.ggml.model", STRING, string("gpt2")),
        ("tokenizer.ggml.pre", STRING, string("gpt-2")),
        ("tokenizer.ggml.tokens", ARRAY, array(STRING, string, tokens)),
        ("tokenizer.ggml.token_type", ARRAY, array(I32, i32, [3 if t in tokens[:3] + CONTROLS else 1 for t in tokens])),
        ("tokenizer.ggml.merges", ARRAY, array(STRING, string, merges)),
        ("tokenizer.ggml.bos_token_id", U32, u32(1)),
        ("tokenizer.ggml.eos_token_id", U32, u32(2)),
        ("tokenizer.chat_template", STRING, string(TEMPLATE)),
    ]
    if not template:
        rows.pop()
    rows += more
    return len(rows), b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in rows)


def tensors(rng, weights):
    """(name, type, shape outermost first, bytes)"""
    kv = N_EMBD // N_HEAD * N_HEAD_KV
    n_vocab = len(vocabulary()[0])
    rows = []

    def norm(name):
        rows.append((name, TYPE_F32, (N_EMBD,), struct.pack(f"<{N_EMBD}f", *[1.0] * N_EMBD)))

    def matrix(name, n_out, n_in, scale, keep=lambda row: True):
        values = [rng.gauss(0, scale) if keep(i // n_in) else 0.0 for i in range(n_out * n_in)]
        rows.append((name, TYPE_F16, (n_out, n_in), struct.pack(f"<{n_out * n_in}e", *values)))

    def writes_letter(row):
        byte = row - 3
        return byte == 32 or 97 <= byte < 123

    matrix("token_embd.weight", n_vocab, N_EMBD, 1.0)
    if weights:
        norm("output_norm.weight")
        matrix("output.weight", n_vocab, N_EMBD, 0.5, writes_letter)
        for i in range(N_LAYER):
            norm(f"blk.{i}.attn_norm.weight")
            matrix(f"blk.{i}.attn_q.weight", N_EMBD, N_EMBD, 0.3)
            matrix(f"blk.{i}.attn_k.weight", kv, N_EMBD, 0.3)
            matrix(f"blk.{i}.attn_v.weight", kv, N_EMBD, 0.3)
            matrix(f"blk.{i}.attn_output.weight", N_EMBD, N_EMBD, 0.3)
            norm(f"blk.{i}.ffn_norm.weight")
            matrix(f"blk.{i}.ffn_gate.weight", N_FF, N_EMBD, 0.3)
            matrix(f"blk.{i}.ffn_up.weight", N_FF, N_EMBD, 0.3)
            matrix(f"blk.{i}.ffn_down.weight", N_EMBD, N_FF, 0.3)
    return rows


def write_file(path, rows, metadata):
    n_metadata, meta = metadata
    infos, data = b"", b""
    for name, kind, shape, values in rows:
        infos += string(name) + struct.pack("<I", len(shape))
        infos += b"".join(struct.pack("<Q", n) for n in reversed(shape))
        infos += struct.pack("<IQ", kind, len(data))
        data += values + b"\0" * (-len(values) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(rows), n_metadata) + meta + infos
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32) + data)


def write(path, weights=True, seed=1, template=True):
    """`weights` False: a file with only a vocabulary. `template` False: a base model."""
    write_file(path, tensors(random.Random(seed), weights) if weights else [], metadata(template))


def write_adapter(path, seed=1, rank=4):
    """A LoRA of some of its weights, in llama.cpp's format."""
    rng, rows = random.Random(seed), []
    shapes = {"attn_q": (N_EMBD, N_EMBD), "ffn_up": (N_FF, N_EMBD), "ffn_down": (N_EMBD, N_FF)}
    for i in range(N_LAYER):
        for name, (n_out, n_in) in shapes.items():
            for half, shape in (("a", (rank, n_in)), ("b", (n_out, rank))):
                n = shape[0] * shape[1]
                values = struct.pack(f"<{n}f", *[rng.gauss(0, 0.3) for _ in range(n)])
                rows.append((f"blk.{i}.{name}.weight.lora_{half}", TYPE_F32, shape, values))
    more = [
        ("general.type", STRING, string("adapter")),
        ("general.architecture", STRING, string("llama")),
        ("adapter.type", STRING, string("lora")),
        ("adapter.lora.alpha", F32, struct.pack("<f", rank)),
    ]
    meta = b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in more)
    write_file(path, rows, (len(more), meta))


def write_shards(stem, count, seed=1):
    """The same model in `count` files, as llama.cpp's gguf-split writes them; returns their paths."""
    n_metadata, meta = metadata()
    rows, paths = tensors(random.Random(seed), True), []
    for i in range(count):
        split = b""
        for key, kind, value in (
            ("split.no", U16, struct.pack("<H", i)),
            ("split.count", U16, struct.pack("<H", count)),
            ("split.tensors.count", I32, struct.pack("<i", len(rows))),
        ):
            split += string(key) + struct.pack("<I", kind) + value
        paths.append(f"{stem}-{i + 1:05}-of-{count:05}.gguf")
        mine = rows[len(rows) * i // count : len(rows) * (i + 1) // count]
        write_file(paths[-1], mine, (3 + (n_metadata if i == 0 else 0), split + (meta if i == 0 else b"")))
    return paths


if __name__ == "__main__":
    import sys

    write(sys.argv[1])
