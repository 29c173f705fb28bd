#!/usr/bin/env python3
"""`pantry quantize` against llama.cpp's llama_model_quantize: the storage type of every tensor, for every mix.

Small synthetic models with the shapes that the rules look at (grouped queries, eight experts, rows that blocks do not
divide, tied outputs, 80 layers) and any GGUF files given. Types are compared by name; the bytes are not.

Run from the repository root:  python tests/diff/quantize_types.py [FILE.gguf ...]
Needs the packages gguf and llama_cpp; without llama_cpp there is nothing to compare (exit status 77).
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

PANTRY = os.environ.get("PANTRY", "build/pantry")
MIXES = {
    "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13,
    "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21,
    "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27, "IQ2_S": 28, "IQ2_M": 29,
    "IQ4_XS": 30, "IQ1_M": 31, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38, "F16": 1, "BF16": 32,
}  # fmt: skip
SHAPES = [
    # layers, width, heads, key heads, inner, experts, tied
    (16, 256, 8, 2, 512, 0, True),
    (11, 256, 4, 4, 512, 0, False),
    (9, 288, 9, 3, 320, 0, True),
    (8, 256, 4, 1, 256, 8, False),
    (6, 256, 4, 2, 256, 4, False),
    (80, 32, 4, 1, 32, 0, False),
]


def write_model(path, shape):
    import gguf

    layers, width, heads, kv_heads, inner, experts, tied = shape
    rng = np.random.default_rng(layers)
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(layers)
    w.add_context_length(128)
    w.add_embedding_length(width)
    w.add_feed_forward_length(inner)
    w.add_head_count(heads)
    w.add_head_count_kv(kv_heads)
    w.add_layer_norm_rms_eps(1e-5)
    if experts:
        w.add_expert_count(experts)
        w.add_expert_used_count(2)
    w.add_tokenizer_model("none")
    w.add_vocab_size(64)

    def add(name, *dims):
        w.add_tensor(name, (rng.standard_normal(dims) * 0.02).astype(np.float32))

    add("token_embd.weight", 64, width)
    add("output_norm.weight", width)
    if not tied:
        add("output.weight", 64, width)
    for i in range(layers):
        p = f"blk.{i}."
        add(p + "attn_norm.weight", width)
        add(p + "attn_q.weight", width, width)
        add(p + "attn_k.weight", width // heads * kv_heads, width)
        add(p + "attn_v.weight", width // heads * kv_heads, width)
        add(p + "attn_output.weight", width, width)
        add(p + "ffn_norm.weight", width)
        stack = (experts,) if experts else ()
        end = "_exps.weight" if experts else ".weight"
        if experts:
            add(p + "ffn_gate_inp.weight", experts, width)
        add(p + "ffn_gate" + end, *stack, inner, width)
        add(p + "ffn_up" + end, *stack, inner, width)
        add(p + "ffn_down" + end, *stack, width, inner)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def theirs(llama, path, number, folder, importances):
    params = llama.llama_model_quantize_default_params()
    params.ftype = number
    params.nthread = 2
    params.allow_requantize = True
    keep = None
    if importances:
        fields = {f[0] for f in params._fields_}
        assert "imatrix" in fields

        class Data(ctypes.Structure):
            _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]

        keep = (Data * (len(importances) + 1))()
        for i, (name, values) in enumerate(importances.items()):
            keep[i] = Data(name.encode(), values.ctypes.data, values.size)
        params.imatrix = ctypes.cast(keep, type(params.imatrix))
    out = os.path.join(folder, "theirs.gguf")
    status = llama.llama_model_quantize(path.encode(), out.encode(), ctypes.byref(params))
    if status != 0:
        return None
    import gguf

    return {t.name: t.tensor_type.name.lower() for t in gguf.GGUFReader(out).tensors}


def ours(path, mix, imatrix):
    command = [PANTRY, "quantize", path, "unused", mix, "--dry-run", "--json"]
    if imatrix:
        command += ["--imatrix", imatrix]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {t["name"]: t["to"] for t in json.loads(run.stdout)["tensors"]}


def write_importances(path, names_and_columns):
    """llama.cpp's older format, written by hand."""
    values = {name: np.ones(n, np.float32) for name, n in names_and_columns.items()}
    with open(path, "wb") as f:
        f.write(np.int32(len(values)).tobytes())
        for name, v in values.items():
            f.write(np.int32(len(name)).tobytes() + name.encode() + np.int32(1).tobytes())
            f.write(np.int32(v.size).tobytes() + v.tobytes())
        f.write(np.int32(1).tobytes() + np.int32(4).tobytes() + b"text")
    return values


def compare(llama, path, label, folder, mixes):
    import gguf

    columns = {
        t.name: int(t.shape[0]) * (int(t.shape[2]) if len(t.shape) > 2 else 1)
        for t in gguf.GGUFReader(path).tensors
        if len(t.shape) > 1
    }
    imatrix = os.path.join(folder, "imatrix.dat")
    values = write_importances(imatrix, columns)
    bad = 0
    for mix, number in mixes.items():
        for with_importance in (False, True):
            want = theirs(llama, path, number, folder, values if with_importance else None)
            if want is None:  # mixes that llama.cpp makes only with importances, and unusual shapes
                continue
            got = ours(path, mix, imatrix if with_importance else None)
            differ = [(n, want[n], got.get(n)) for n in want if want[n] != got.get(n)]
            bad += bool(differ)
            if differ:
                print(f"{label} {mix}{' with importances' if with_importance else ''}: {differ[:3]} ({len(differ)})")
    print(f"{label}: {len(mixes)} mixes compared", flush=True)
    return bad


def main():
    if not importlib.util.find_spec("llama_cpp"):
        print("no llama_cpp package: nothing to compare")
        return 77
    import llama_cpp as llama

    if not llama.llama_model_quantize_default_params():
        print("this llama_cpp has no quantizer: nothing to compare")
        return 77

    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            path = os.path.join(folder, "model.gguf")
            write_model(path, shape)
            bad += compare(llama, path, f"shape {shape}", folder, MIXES)
        for path in sys.argv[1:]:
            few = {m: MIXES[m] for m in ("Q4_K_M", "Q3_K_L", "Q8_0")}
            bad += compare(llama, path, os.path.basename(path), folder, few)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
