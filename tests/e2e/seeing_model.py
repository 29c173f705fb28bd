"""Writes a tiny model that sees, as GGUF: a llama model with tokens for pictures, and a projector of Gemma 3's kind."""

import random
import struct
import zlib

import tiny_model
from tiny_model import ARRAY, F32, I32, STRING, TYPE_F32, U32, array, string

N_EMBD, N_HEAD, N_LAYER, N_FF, SIDE, PATCH = 16, 2, 2, 32, 28, 7
BOOL = 7
N_ROWS = 4  # of a picture: 4 x 4 patches, in groups of 2 x 2
SPECIAL = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for p in m.content %}{% if p.type == 'image' %}<start_of_image>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pack(rows):
    return len(rows), b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in rows)


def u32(value):
    return struct.pack("<I", value)


def text_metadata():
    tokens, merges = tiny_model.vocabulary()
    types = [3] * 3 + [1] * (len(tokens) - 3) + [3] * len(SPECIAL)
    rows = [
        ("general.architecture", STRING, string("llama")),
        ("llama.block_count", U32, u32(tiny_model.N_LAYER)),
        ("llama.context_length", U32, u32(2048)),
        ("llama.embedding_length", U32, u32(tiny_model.N_EMBD)),
        ("llama.feed_forward_length", U32, u32(tiny_model.N_FF)),
        ("llama.attention.head_count", U32, u32(tiny_model.N_HEAD)),
        ("llama.attention.head_count_kv", U32, u32(tiny_model.N_HEAD_KV)),
        ("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
        ("tokenizer.ggml.model", STRING, string("gpt2")),
        ("tokenizer.ggml.pre", STRING, string("gpt-2")),
        ("tokenizer.ggml.tokens", ARRAY, array(STRING, string, tokens + SPECIAL)),
        ("tokenizer.ggml.token_type", ARRAY, array(I32, lambda v: struct.pack("<i", v), types)),
        ("tokenizer.ggml.merges", ARRAY, array(STRING, string, merges)),
        ("tokenizer.ggml.bos_token_id", U32, u32(1)),
        ("tokenizer.ggml.eos_token_id", U32, u32(2)),
        ("tokenizer.chat_template", STRING, string(TEMPLATE)),
    ]
    return pack(rows)


def text_tensors(seed):
    """The tiny model's, with rows for the new tokens."""
    rows = []
    for name, kind, shape, data in tiny_model.tensors(random.Random(seed), True):
        if name in ("token_embd.weight", "output.weight"):
            shape = (shape[0] + len(SPECIAL), shape[1])
            data += b"\0" * (2 * len(SPECIAL) * shape[1])
        rows.append((name, kind, shape, data))
    return rows


def projector_metadata():
    f32 = lambda v: struct.pack("<f", v)
    rows = [
        ("general.architecture", STRING, string("clip")),
        ("clip.projector_type", STRING, string("gemma3")),
        ("clip.use_gelu", BOOL, b"\1"),
        ("clip.vision.image_size", U32, u32(SIDE)),
        ("clip.vision.patch_size", U32, u32(PATCH)),
        ("clip.vision.embedding_length", U32, u32(N_EMBD)),
        ("clip.vision.feed_forward_length", U32, u32(N_FF)),
        ("clip.vision.block_count", U32, u32(N_LAYER)),
        ("clip.vision.attention.head_count", U32, u32(N_HEAD)),
        ("clip.vision.attention.layer_norm_epsilon", F32, f32(1e-6)),
        ("clip.vision.projector.scale_factor", U32, u32(2)),
        ("clip.vision.image_mean", ARRAY, array(F32, f32, [0.5] * 3)),
        ("clip.vision.image_std", ARRAY, array(F32, f32, [0.5] * 3)),
    ]
    return pack(rows)


def projector_tensors(seed, n_out=tiny_model.N_EMBD):
    rng = random.Random(seed)
    rows = []

    def add(name, *shape, scale=0.4, around=0.0):
        n = 1
        for length in shape:
            n *= length
        values = [around + rng.gauss(0, scale) for _ in range(n)]
        rows.append((name, TYPE_F32, shape, struct.pack(f"<{n}f", *values)))

    def both(name, n_out, n_in, scale=0.4):
        add(f"{name}.weight", n_out, n_in, scale=scale)
        add(f"{name}.bias", n_out, scale=0.1)

    def norm(name):
        add(f"{name}.weight", N_EMBD, scale=0.1, around=1.0)
        add(f"{name}.bias", N_EMBD, scale=0.1)

    add("v.patch_embd.weight", N_EMBD, 3, PATCH, PATCH)
    add("v.patch_embd.bias", N_EMBD, scale=0.1)
    add("v.position_embd.weight", (SIDE // PATCH) ** 2, N_EMBD)
    for i in range(N_LAYER):
        norm(f"v.blk.{i}.ln1")
        norm(f"v.blk.{i}.ln2")
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            both(f"v.blk.{i}.{part}", N_EMBD, N_EMBD)
        both(f"v.blk.{i}.ffn_up", N_FF, N_EMBD)
        both(f"v.blk.{i}.ffn_down", N_EMBD, N_FF)
    norm("v.post_ln")
    add("mm.soft_emb_norm.weight", N_EMBD, scale=0.1, around=1.0)
    add("mm.input_projection.weight", N_EMBD, n_out, scale=1.0)
    return rows


def write(path, projector, seed=1, n_out=tiny_model.N_EMBD):
    tiny_model.write_file(path, text_tensors(seed), text_metadata())
    tiny_model.write_file(projector, projector_tensors(seed, n_out), projector_metadata())


def png(width, height, pixel):
    """A picture of RGB; pixel(x, y) -> (r, g, b)."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
