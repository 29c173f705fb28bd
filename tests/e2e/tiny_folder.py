"""A tiny model as Hugging Face and mlx_lm lay models out: config.json, tokenizer files, safetensors with an index; and
an adapter of it in mlx_lm's form."""

import json
import os
import random
import struct

import tiny_model as tiny

HEAD = tiny.N_EMBD // tiny.N_HEAD


def safetensors(path, tensors, metadata=None):
    """`tensors`: {name: (shape, numbers)}, written as float32."""
    header, data = {"__metadata__": metadata or {"format": "pt"}}, b""
    for name, (shape, numbers) in tensors.items():
        values = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def put(folder, name, value):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file)


def weights(seed):
    rng = random.Random(seed)
    rows = {}

    def matrix(name, n_out, n_in, scale=0.3):
        rows[name] = ((n_out, n_in), [rng.gauss(0, scale) for _ in range(n_out * n_in)])

    def norm(name):
        rows[name] = ((tiny.N_EMBD,), [1.0] * tiny.N_EMBD)

    n_vocab, kv = len(tiny.vocabulary()[0]), HEAD * tiny.N_HEAD_KV
    matrix("model.embed_tokens.weight", n_vocab, tiny.N_EMBD, 1.0)
    for i in range(tiny.N_LAYER):
        block = f"model.layers.{i}."
        norm(block + "input_layernorm.weight")
        for name, n_out in (("q", tiny.N_EMBD), ("k", kv), ("v", kv), ("o", tiny.N_EMBD)):
            matrix(f"{block}self_attn.{name}_proj.weight", n_out, tiny.N_EMBD)
        norm(block + "post_attention_layernorm.weight")
        matrix(block + "mlp.gate_proj.weight", tiny.N_FF, tiny.N_EMBD)
        matrix(block + "mlp.up_proj.weight", tiny.N_FF, tiny.N_EMBD)
        matrix(block + "mlp.down_proj.weight", tiny.N_EMBD, tiny.N_FF)
    norm("model.norm.weight")
    matrix("lm_head.weight", n_vocab, tiny.N_EMBD, 0.5)
    return rows


def tokenizer():
    tokens, merges = tiny.vocabulary()
    special = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        | {"special": True}
        for i, token in enumerate(tokens[:3])
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges},
    }


def write(folder, seed=1, files=2):
    """The weights are in `files` files, with an index if there are several."""
    os.makedirs(folder, exist_ok=True)
    put(
        folder,
        "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": tiny.N_EMBD,
            "intermediate_size": tiny.N_FF,
            "num_hidden_layers": tiny.N_LAYER,
            "num_attention_heads": tiny.N_HEAD,
            "num_key_value_heads": tiny.N_HEAD_KV,
            "max_position_embeddings": tiny.N_CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "vocab_size": len(tiny.vocabulary()[0]),
        },
    )
    put(folder, "tokenizer.json", tokenizer())
    put(
        folder,
        "tokenizer_config.json",
        {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": tiny.TEMPLATE},
    )
    rows, index = list(weights(seed).items()), {}
    for i in range(files):
        name = "model.safetensors" if files == 1 else f"model-{i + 1:05}-of-{files:05}.safetensors"
        mine = dict(rows[len(rows) * i // files : len(rows) * (i + 1) // files])
        safetensors(os.path.join(folder, name), mine)
        index.update(dict.fromkeys(mine, name))
    if files > 1:
        put(folder, "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    return folder


def write_adapter(folder, seed=1, rank=4, scale=2.0):
    os.makedirs(folder, exist_ok=True)
    rng, rows = random.Random(seed), {}
    for i in range(tiny.N_LAYER):
        for name, n_out, n_in in (
            ("self_attn.q_proj", tiny.N_EMBD, tiny.N_EMBD),
            ("mlp.up_proj", tiny.N_FF, tiny.N_EMBD),
        ):
            stem = f"model.layers.{i}.{name}.lora_"
            rows[stem + "a"] = ((n_in, rank), [rng.gauss(0, 0.3) for _ in range(n_in * rank)])
            rows[stem + "b"] = ((rank, n_out), [rng.gauss(0, 0.3) for _ in range(rank * n_out)])
    safetensors(os.path.join(folder, "adapters.safetensors"), rows)
    put(
        folder,
        "adapter_config.json",
        {
            "fine_tune_type": "lora",
            "lora_parameters": {"rank": rank, "scale": scale, "dropout": 0.0},
            "num_layers": tiny.N_LAYER,
        },
    )
    return folder


def files(folder):
    """{name: bytes}"""
    out = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            out[name] = file.read()
    return out
