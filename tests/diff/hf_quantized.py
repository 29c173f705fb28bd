"""Directories with quantized weights, against the same model with the numbers that those weights stand for.

    python tests/diff/hf_quantized.py PANTRY [SCHEME ...]

needs numpy and safetensors, and torch for the types that numpy lacks. The dequantizers here are written from the formats' definitions; where
bitsandbytes or compressed_tensors is installed, it packs the weights, so that its own layout is what is read."""

import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from safetensors.torch import save_file
except ImportError as missing:
    print(f"hf_quantized: {missing}")
    sys.exit(77)

N, FF, VOCAB, HEADS, KV = 128, 256, 96, 4, 2
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": N,
    "intermediate_size": FF,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV,
    "num_hidden_layers": 2,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
IDS = list(range(3, 27))
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
E2M1 = np.concatenate([E2M1, -E2M1])
rng = np.random.default_rng(5)


def linears():
    kv = N // HEADS * KV
    shapes = {
        "self_attn.q_proj": (N, N),
        "self_attn.k_proj": (kv, N),
        "self_attn.v_proj": (kv, N),
        "self_attn.o_proj": (N, N),
    }
    shapes |= {"mlp.gate_proj": (FF, N), "mlp.up_proj": (FF, N), "mlp.down_proj": (N, FF)}
    return {f"model.layers.{i}.{name}": shape for i in range(2) for name, shape in shapes.items()}


def common():
    t = {"model.embed_tokens.weight": rng.normal(size=(VOCAB, N)), "lm_head.weight": rng.normal(size=(VOCAB, N)) / 8}
    t["model.norm.weight"] = 1 + rng.normal(size=N) / 4
    for i in range(2):
        for name in "input_layernorm", "post_attention_layernorm":
            t[f"model.layers.{i}.{name}.weight"] = 1 + rng.normal(size=N) / 4
    return {k: torch.tensor(v.astype(np.float32)) for k, v in t.items()}


def words(values, bits, axis):
    """Integers packed into words along an axis, low bits first, as one stream."""
    v = np.moveaxis(values.astype(np.uint64), axis, -1)
    stream = ((v[..., None] >> np.arange(bits, dtype=np.uint64)) & 1).reshape(*v.shape[:-1], -1)
    packed = (stream.reshape(*stream.shape[:-1], -1, 32) << np.arange(32, dtype=np.uint64)).sum(-1)
    return torch.tensor(np.moveaxis(packed, -1, axis).astype(np.uint32).astype(np.int64).astype(np.int32))


def half(a):
    return a.astype(np.float16).astype(np.float32)


def gptq(bits, order, version):
    def make(shape):
        out, n_in, group = *shape, 32
        groups = n_in // group
        q = rng.integers(0, 2**bits, (n_in, out))
        zero = rng.integers(1, 2**bits, (groups, out))
        scale = half(rng.uniform(0.002, 0.02, (groups, out)) * 16 / 2**bits)
        index = np.arange(n_in) // group
        if order:
            index = rng.permutation(index)
        value = (q - zero[index]) * scale[index]
        stored = zero - (version == 1)
        return {
            "qweight": words(q, bits, 0),
            "qzeros": words(stored, bits, 1),
            "scales": torch.tensor(scale, dtype=torch.float16),
            "g_idx": torch.tensor(index, dtype=torch.int32),
        }, value.T

    config = {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": order}
    return make, config | ({"checkpoint_format": "gptq_v2"} if version == 2 else {})


def awq():
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def pack(values):
        v = values.reshape(values.shape[0], -1, 8)[:, :, order].astype(np.uint64)
        packed = (v << (4 * np.arange(8, dtype=np.uint64))).sum(-1)
        return torch.tensor(packed.astype(np.uint32).astype(np.int64).astype(np.int32))

    def make(shape):
        out, n_in, group = *shape, 64
        groups = n_in // group
        q, zero = rng.integers(0, 16, (n_in, out)), rng.integers(0, 16, (groups, out))
        scale = half(rng.uniform(0.002, 0.02, (groups, out)))
        index = np.arange(n_in) // group
        value = (q - zero[index]) * scale[index]
        return {"qweight": pack(q), "qzeros": pack(zero), "scales": torch.tensor(scale, dtype=torch.float16)}, value.T

    return make, {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}


def compressed_ints(bits, group, zeros):
    def make(shape):
        out, n_in = shape
        size = group or n_in
        q = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)
        zero = rng.integers(-4, 4, (out, n_in // size)) if zeros else np.zeros((out, n_in // size), int)
        scale = half(rng.uniform(0.002, 0.02, (out, n_in // size)) * 16 / 2**bits)
        value = (q - np.repeat(zero, size, 1)) * np.repeat(scale, size, 1)
        try:
            from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
        except ImportError:
            try:
                from compressed_tensors.compressors.quantized_compressors.pack_quantized import pack_to_int32
            except ImportError:
                pack_to_int32 = None
        if pack_to_int32:
            packed = pack_to_int32(torch.tensor(q, dtype=torch.int8), bits)
            packed_zero = pack_to_int32(torch.tensor(zero, dtype=torch.int8), bits, packed_dim=0)
        else:
            packed, packed_zero = words(q + 2 ** (bits - 1), bits, 1), words(zero + 2 ** (bits - 1), bits, 0)
        t = {
            "weight_packed": packed,
            "weight_scale": torch.tensor(scale, dtype=torch.float16),
            "weight_shape": torch.tensor(shape, dtype=torch.int64),
        }
        return t | ({"weight_zero_point": packed_zero.contiguous()} if zeros else {}), value

    return make, {"quant_method": "compressed-tensors", "format": "pack-quantized"}


def nibbles(q):
    return torch.tensor((q[..., 0::2] | q[..., 1::2] << 4).astype(np.uint8))


def compressed_nvfp4():
    def make(shape):
        out, n_in = shape
        q = rng.integers(0, 16, shape)
        scale = torch.tensor(rng.uniform(8, 400, (out, n_in // 16)).astype(np.float32)).to(torch.float8_e4m3fn)
        total = np.float32(rng.uniform(8000, 20000))
        value = E2M1[q] * np.repeat(scale.float().numpy() / total, 16, 1)
        return {"weight_packed": nibbles(q), "weight_scale": scale, "weight_global_scale": torch.tensor([total])}, value

    return make, {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}


def int8(rows):
    def make(shape):
        q = rng.integers(-128, 128, shape)
        scale = rng.uniform(0.0002, 0.002, (shape[0] if rows else 1, 1)).astype(np.float32)
        return {"weight": torch.tensor(q, dtype=torch.int8), "weight_scale": torch.tensor(scale)}, q * scale

    return make, {"quant_method": "compressed-tensors", "format": "int-quantized"}


def fp8(kind):
    def make(shape):
        q = torch.tensor(rng.normal(size=shape).astype(np.float32)).to(torch.float8_e4m3fn)
        value = q.float().numpy()
        if kind == "block":
            b = 48  # which does not divide the shapes
            s = rng.uniform(0.02, 0.2, [-(-n // b) for n in shape]).astype(np.float32)
            value = value * s[np.arange(shape[0])[:, None] // b, np.arange(shape[1])[None] // b]
            return {"weight": q, "weight_scale_inv": torch.tensor(s)}, value
        s = rng.uniform(0.02, 0.2, (shape[0], 1) if kind == "row" else ()).astype(np.float32)
        return {"weight": q, "weight_scale": torch.tensor(s)}, value * s

    return make, {"quant_method": "fp8", "weight_block_size": [48, 48]} if kind == "block" else {"quant_method": "fp8"}


def bnb8():
    def make(shape):
        q, scb = rng.integers(-127, 128, shape), rng.uniform(0.02, 0.2, shape[0]).astype(np.float32)
        t = {"weight": torch.tensor(q, dtype=torch.int8), "SCB": torch.tensor(scb)}
        return t, q * scb[:, None] / np.float32(127)

    return make, {"quant_method": "bitsandbytes", "load_in_8bit": True}


def bnb4(kind, nested):
    import bitsandbytes.functional as F

    def make(shape):
        w = torch.tensor(rng.normal(size=shape).astype(np.float32) / 8)
        packed, state = F.quantize_4bit(w, blocksize=64, compress_statistics=nested, quant_type=kind)
        value = F.dequantize_4bit(packed, state).float().numpy()
        return {"weight": packed} | {"weight." + k: v for k, v in state.as_dict(packed=True).items()}, value

    return make, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}


SCHEMES = {
    "gptq4": lambda: gptq(4, False, 1),
    "gptq4-order": lambda: gptq(4, True, 1),
    "gptq4-v2": lambda: gptq(4, False, 2),
    "gptq8": lambda: gptq(8, False, 1),
    "gptq8-order": lambda: gptq(8, True, 1),
    "gptq3": lambda: gptq(3, False, 1),
    "gptq2": lambda: gptq(2, False, 1),
    "awq": awq,
    "int4-group": lambda: compressed_ints(4, 32, False),
    "int4-channel": lambda: compressed_ints(4, 0, False),
    "int4-zeros": lambda: compressed_ints(4, 64, True),
    "int8-group": lambda: compressed_ints(8, 64, False),
    "nvfp4": compressed_nvfp4,
    "int8-rows": lambda: int8(True),
    "int8-tensor": lambda: int8(False),
    "fp8-block": lambda: fp8("block"),
    "fp8-row": lambda: fp8("row"),
    "fp8-tensor": lambda: fp8("tensor"),
    "bnb-int8": bnb8,
    "bnb-nf4": lambda: bnb4("nf4", False),
    "bnb-nf4-nested": lambda: bnb4("nf4", True),
    "bnb-fp4": lambda: bnb4("fp4", False),
    "gpt-oss": None,
}


def experts(plain, packed):
    """gpt-oss: blocks of mxfp4 beside the plain weights, which are (in, out) with gate and up alternating."""
    n_experts = 4
    shapes = {
        "self_attn.q_proj": (N, N),
        "self_attn.k_proj": (N // 2, N),
        "self_attn.v_proj": (N // 2, N),
        "self_attn.o_proj": (N, N),
    }
    for i in range(2):
        at = f"model.layers.{i}."
        both = {at + f"{k}.weight": rng.normal(size=v) / 8 for k, v in shapes.items()}
        both |= {at + f"{k}.bias": rng.normal(size=v[0]) / 8 for k, v in shapes.items()}
        both |= {
            at + "self_attn.sinks": rng.normal(size=HEADS),
            at + "mlp.router.weight": rng.normal(size=(n_experts, N)),
        }
        both |= {
            at + "mlp.router.bias": rng.normal(size=n_experts),
            at + "mlp.experts.down_proj_bias": rng.normal(size=(n_experts, N)),
        }
        both[at + "mlp.experts.gate_up_proj_bias"] = rng.normal(size=(n_experts, 2 * FF))
        for name, (rows, cols) in {"gate_up_proj": (2 * FF, N), "down_proj": (N, FF)}.items():
            q, s = rng.integers(0, 16, (n_experts, rows, cols)), rng.integers(119, 123, (n_experts, rows, cols // 32))
            value = E2M1[q] * np.repeat(np.float32(2) ** (s - 127), 32, 2)
            plain[at + f"mlp.experts.{name}"] = torch.tensor(np.ascontiguousarray(value.swapaxes(1, 2), np.float32))
            packed[at + f"mlp.experts.{name}_blocks"] = nibbles(q).reshape(n_experts, rows, cols // 32, 16).contiguous()
            packed[at + f"mlp.experts.{name}_scales"] = torch.tensor(s.astype(np.uint8))
        for tensors in plain, packed:
            tensors |= {k: torch.tensor(v.astype(np.float32)) for k, v in both.items()}
    more = dict(model_type="gpt_oss", num_local_experts=n_experts, num_experts_per_tok=2, sliding_window=8)
    more |= dict(layer_types=["sliding_attention", "full_attention"])
    return CONFIG | more, {"quant_method": "mxfp4"}


def logits(pantry, folder, tensors, config):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "ids.txt").write_text(" ".join(map(str, IDS)))
    out = folder / "out.f32"
    command = [pantry, "logits", folder, "--ids", folder / "ids.txt", "-o", out, "--isa", "generic", "--kv-type", "f32"]
    subprocess.run(command, check=True)
    return np.fromfile(out, np.float32)


def main():
    pantry, wrong = sys.argv[1], 0
    for name in sys.argv[2:] or SCHEMES:
        config = CONFIG
        try:
            make, quantization = SCHEMES[name]() if name != "gpt-oss" else (None, None)
        except ImportError as e:
            print(f"{name}: skipped ({e})")
            continue
        plain, packed = common(), {}
        packed |= plain
        if not make:
            config, quantization = experts(plain, packed)
        for module, shape in linears().items() if make else ():
            stored, value = make(shape)
            packed |= {f"{module}.{leaf}": t.contiguous() for leaf, t in stored.items()}
            plain[module + ".weight"] = torch.tensor(np.ascontiguousarray(value, dtype=np.float32))
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            want = logits(pantry, folder / "plain", plain, config)
            try:
                got = logits(pantry, folder / "packed", packed, config | {"quantization_config": quantization})
            except subprocess.CalledProcessError:
                wrong += 1
                continue
        error = ((got - want) ** 2).sum() / (want**2).sum()
        bound = 1e-6 if "order" in name else 1e-10  # scattered groups become float16
        wrong += not error < bound
        print(f"{name}: {error:.1e}{'' if error < bound else ', too large'}", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
