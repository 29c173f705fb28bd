#!/usr/bin/env python3
"""The encoders against ggml's quantizers: weighted squared error with and without importance weights, and speed.

For every type that ggml can make: random matrices (normal and heavy-tailed) and, with --model, tensors of a GGUF file.
The error of ours divided by ggml's must be at most 1.02. Types that ggml makes only with an importance matrix get
weights of 1 on both sides. Speed: values per second of one thread, interleaved, medians.

Run from the repository root:  python tests/diff/quantizers.py [--ggml libggml-base.so] [--model FILE.gguf] [--speed]
ggml comes from an installed llama_cpp package or from --ggml; without it there is nothing to compare (exit status 77).
"""

import argparse
import ctypes
import statistics
import sys
import tempfile
import time

import numpy as np
import storage_types

NEED_WEIGHTS = {"iq2_xxs", "iq2_xs", "iq1_s", "iq1_m"}
TYPES = (
    "q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq1_s iq1_m iq2_xxs iq2_xs iq2_s iq3_xxs iq3_s iq4_nl iq4_xs "
    "tq1_0 tq2_0 mxfp4 nvfp4 q1_0 q2_0"
).split()


class Ours:
    def __init__(self, folder):
        self.types = {info.name.decode(): (i, info) for i, info in enumerate(storage_types.build(folder))}
        self.lib = ctypes.CDLL(folder + "/types.so")
        self.lib.pn_type_encode.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
        ]

    def encode(self, name, values, weights):
        number, info = self.types[name]
        out = np.empty(values.size // info.block * info.bytes, np.uint8)
        if weights is None:
            self.lib.pn_type_encode(number, values.ctypes.data, None, out.ctypes.data, values.size)
            return out
        for r in range(len(values)):
            self.lib.pn_type_encode(
                number,
                values[r].ctypes.data,
                weights.ctypes.data if weights is not None else None,
                out.ctypes.data + r * (out.size // len(values)),
                values.shape[1],
            )
        return out

    def decode(self, name, blocks):
        return storage_types.decode(self.types[name][1], blocks)


def ggml_encode(ggml, info, values, weights):
    out = np.empty(values.size // info.block * info.bytes, np.uint8)
    if weights is None and info.name.decode() in NEED_WEIGHTS:
        weights = np.ones(values.shape[1], np.float32)
    ggml.lib.ggml_quantize_chunk(
        info.gguf,
        values.ctypes.data,
        out.ctypes.data,
        0,
        len(values),
        values.shape[1],
        weights.ctypes.data if weights is not None else None,
    )
    return out


def matrices(model, rows):
    rng = np.random.default_rng(5)
    yield "normal", (rng.standard_normal((rows, 1024)) * 0.02).astype(np.float32)
    yield "heavy", (rng.standard_t(4, (rows, 1024)) * 0.02).astype(np.float32)
    if not model:
        return
    import gguf

    reader = gguf.GGUFReader(model)
    for t in reader.tensors:
        if t.name in ("blk.3.attn_output.weight", "blk.7.ffn_up.weight", "blk.5.ffn_down.weight", "token_embd.weight"):
            data = gguf.quants.dequantize(t.data[:rows], t.tensor_type).astype(np.float32)
            if data.shape[1] % 256 == 0:
                yield t.name, np.ascontiguousarray(data)


def error(values, back, weights):
    e = (values.astype(np.float64) - back.reshape(values.shape)) ** 2
    return float((e * (weights if weights is not None else 1)).sum())


def compare(ours, ggml, name, data):
    info, worst, parts = ours.types[name][1], 0, []
    for label, values in data:
        rng = np.random.default_rng(len(label))
        importance = (rng.standard_normal(values.shape[1]) ** 2 + 0.01).astype(np.float32)
        for weights in (None, importance):
            mine = error(values, ours.decode(name, ours.encode(name, values, weights)), weights)
            theirs = error(values, ours.decode(name, ggml_encode(ggml, info, values, weights)), weights)
            least = 1e-7 * error(values, np.zeros_like(values), weights)  # values that a type holds exactly
            ratio = (mine + least) / (theirs + least)
            worst = max(worst, ratio)
            parts.append(f"{label.split('.weight')[0]}{'*' if weights is not None else ''} {ratio:.3f}")
    print(f"{name:8} {'ok ' if worst <= 1.02 else 'BAD'} {'  '.join(parts)}", flush=True)
    return worst <= 1.02


def speed(ours, ggml, name, values):
    info = ours.types[name][1]
    weights = np.ones(values.shape[1], np.float32)
    ratios = []
    for w in (None, weights):
        mine, theirs = [], []
        for _ in range(5):
            start = time.perf_counter()
            ours.encode(name, values, w)
            mine.append(time.perf_counter() - start)
            start = time.perf_counter()
            ggml_encode(ggml, info, values, w)
            theirs.append(time.perf_counter() - start)
        mine, theirs = statistics.median(mine), statistics.median(theirs)
        ratios.append(
            f"{values.size / mine / 1e6:8.2f} M/s, ggml {values.size / theirs / 1e6:8.2f}: {theirs / mine:6.2f}x"
        )
    print(f"{name:8} {ratios[0]}   weighted {ratios[1]}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ggml")
    parser.add_argument("--model")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--types", nargs="*", default=TYPES)
    args = parser.parse_args()
    path = args.ggml or storage_types.find_ggml()
    if not path:
        print("no ggml library: nothing to compare")
        return 77
    ggml = storage_types.Ggml(path)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(folder)
        data = list(matrices(args.model, args.rows))
        if args.speed:
            for name in args.types:
                speed(ours, ggml, name, data[0][1])
            return 0
        results = [compare(ours, ggml, name, data) for name in args.types]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
