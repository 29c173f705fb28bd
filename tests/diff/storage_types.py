#!/usr/bin/env python3
"""Storage types against the gguf package's reference dequantizers, bit for bit, and against ggml's quantizers.

Compiles src/tensor into a shared object of its own, then for every type:
  decode   random blocks (every byte random, scales also from a list of special values) must give the same bits as
           gguf.quants.dequantize; NaN equals NaN. Types that package cannot decode are defined here in numpy.
  encode   legacy and ternary types must give the bytes of gguf.quants.quantize and of ggml; for the others the error on
           seven kinds of data must be at most 1% above ggml's own. ggml comes from an installed llama_cpp package or
           from --ggml libggml-base.so; without it that part is left out.

Run from the repository root:  python tests/diff/storage_types.py [--gguf DIR] [--ggml FILE] [--golden]
  --gguf DIR   a checkout's gguf-py, where the installed package is too old to know Q2_0
  --golden     prints the table of tests/unit/test_type_golden.h instead: CRC-32 of decoded, seeded random blocks
"""

import argparse
import ctypes
import glob
import importlib.util
import os
import subprocess
import sys
import tempfile
import zlib

import numpy as np


class Info(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("gguf", ctypes.c_int),
        ("block", ctypes.c_uint32),
        ("bytes", ctypes.c_uint32),
        ("planes", ctypes.c_uint32),
        ("decode", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("encode", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    ]


def build(folder):
    """The types as a shared object, and one Info for each."""
    out = os.path.join(folder, "types.so")
    cc = os.environ.get("CC", "cc").split()
    subprocess.run(
        [
            *cc,
            "-std=c17",
            "-O3",
            "-fno-trapping-math",
            "-fno-math-errno",
            "-ffp-contract=off",
            "-fPIC",
            "-shared",
            "-Isrc",
            "-o",
            out,
            "src/tensor/type.c",
            *sorted(glob.glob("src/tensor/quant/**/*.c", recursive=True)),
            "-lm",
        ],
        check=True,
    )
    lib = ctypes.CDLL(out)
    lib.pn_type_info.restype = ctypes.POINTER(Info)
    with open("src/tensor/type.def") as table:
        count = sum(line.startswith("PN_TYPE(") for line in table)
    return [lib.pn_type_info(i).contents for i in range(count)]


def decode(info, blocks):
    blocks = np.ascontiguousarray(blocks, np.uint8)
    out = np.empty(blocks.size // info.bytes * info.block, np.float32)
    info.decode(blocks.ctypes.data, out.ctypes.data, out.size)
    return out


def encode(info, values):
    values = np.ascontiguousarray(values, np.float32)
    out = np.empty(values.size // info.block * info.bytes, np.uint8)
    info.encode(values.ctypes.data, out.ctypes.data, values.size)
    return out


# ---- the reference ----

PLAIN = {"f64": "<f8", "i8": "i1", "i16": "<i2", "i32": "<i4", "i64": "<i8"}


def reference(gguf, name, blocks):
    """float32 values of `blocks` ((count, bytes) of uint8) by the gguf package, or by definition where it has none."""
    with np.errstate(all="ignore"):
        if name in PLAIN:
            return blocks.reshape(-1).view(PLAIN[name]).astype(np.float32)
        if name == "q8_1":
            d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            return (d * blocks[:, 4:].copy().view(np.int8).astype(np.float32)).reshape(-1)
        if name == "q8_k":
            d = blocks[:, :4].copy().view(np.float32)
            return (d * blocks[:, 4:260].copy().view(np.int8).astype(np.float32)).reshape(-1)
        if name == "q1_0":
            d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
            return np.where(bits == 1, d, -d).reshape(-1)
        if name == "q2_0":
            d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            q = (blocks[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8)) & 3
            return ((q.reshape(len(blocks), -1).astype(np.float32) - 1) * d).reshape(-1)
        kind = gguf.constants.GGMLQuantizationType[name.upper()]
        return gguf.quants.dequantize(blocks, kind).reshape(-1)


# gguf 0.19 on PyPI still has the size of a Q8_1 with float32 scales; ggml and later versions of gguf have 36.
OLD_Q8_1 = {"q8_1": (32, 40)}

# Where a block keeps floats that scale it: (offset, bytes of the float).
SCALES = {
    "q2_k": [(80, 2), (82, 2)],
    "q3_k": [(108, 2)],
    "q6_k": [(208, 2)],
    "q4_k": [(0, 2), (2, 2)],
    "q5_k": [(0, 2), (2, 2)],
    "q4_1": [(0, 2), (2, 2)],
    "q5_1": [(0, 2), (2, 2)],
    "q8_k": [(0, 4)],
    "tq1_0": [(52, 2)],
    "tq2_0": [(64, 2)],
    "iq1_m": [],
    "mxfp4": [],
    "nvfp4": [],
}
HALVES = [
    0x0000,
    0x8000,
    0x0001,
    0x8001,
    0x03FF,
    0x0400,
    0x3C00,
    0xBC00,
    0x7BFF,
    0xFBFF,
    0x7C00,
    0xFC00,
    0x7E00,
    0xFE01,
    0x2E66,
]
SINGLES = [
    0x00000000,
    0x80000000,
    0x00000001,
    0x807FFFFF,
    0x00800000,
    0x3F800000,
    0x7F7FFFFF,
    0x7F800000,
    0xFF800000,
    0x7FC00000,
]


def special_blocks(info, rng):
    """Random blocks whose scales run through every pair of special values."""
    name = info.name.decode()
    places = [] if info.block == 1 else SCALES.get(name, [(0, 2)])
    if name == "iq1_m":  # the scale's bits are the upper halves of bytes 49, 51, 53, 55
        blocks = rng.integers(0, 256, (len(HALVES), info.bytes), np.uint8)
        for k in range(4):
            digit = np.array(HALVES) >> 4 * k & 15
            blocks[:, 49 + 2 * k] = blocks[:, 49 + 2 * k] & 15 | digit << 4
        return blocks
    if not places:
        return np.empty((0, info.bytes), np.uint8)
    lists = [HALVES if size == 2 else SINGLES for _, size in places]
    grid = np.stack(np.meshgrid(*lists, indexing="ij"), -1).reshape(-1, len(places))
    blocks = rng.integers(0, 256, (len(grid), info.bytes), np.uint8)
    for k, (at, size) in enumerate(places):
        blocks[:, at : at + size] = grid[:, k].astype("<u2" if size == 2 else "<u4").view(np.uint8).reshape(-1, size)
    return blocks


def all_inputs(info, rng):
    """Every 8- and 16-bit value for plain types; random, uniform and special blocks for the rest."""
    if info.block == 1 and info.bytes <= 2:
        return np.arange(256**info.bytes, dtype="u%d" % info.bytes).view(np.uint8).reshape(-1, info.bytes)
    count = 2000 if info.block > 1 else 200000
    same = np.repeat(np.arange(256, dtype=np.uint8)[:, None], info.bytes, axis=1)
    return np.concatenate([rng.integers(0, 256, (count, info.bytes), np.uint8), same, special_blocks(info, rng)])


def check_decode(gguf, ggml, info, rng):
    name = info.name.decode()
    blocks = all_inputs(info, rng)
    want, got = reference(gguf, name, blocks), decode(info, blocks)
    if ggml and name in ggml.decoders and not np.array_equal(ggml.decode(info, blocks), want, equal_nan=True):
        print(f"decode {name}: the definition here is not ggml's")
        return False
    same = (want.view(np.uint32) == got.view(np.uint32)) | (np.isnan(want) & np.isnan(got))
    bad = int((~same).sum())
    print(f"decode {name:8} {len(blocks):7} blocks  {bad} of {want.size} values differ")
    if bad:
        at = int(np.argmin(same))
        print(f"  first: value {at}: gguf {want[at]!r}, here {got[at]!r}")
    return bad == 0


# ---- encoders ----


class Ggml:
    """ggml's own quantizers and dequantizers."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.ggml_quantize_chunk.restype = ctypes.c_size_t
        self.lib.ggml_quantize_chunk.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        self.lib.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
        self.direct = {b"q8_1": self.lib.quantize_row_q8_1_ref, b"q8_k": self.lib.quantize_row_q8_K_ref}
        self.decoders = {
            "q8_k": self.lib.dequantize_row_q8_K,
            "q1_0": self.lib.dequantize_row_q1_0,
            "q2_0": self.lib.dequantize_row_q2_0,
        }  # what the gguf package lacks

    def decode(self, info, blocks):
        out = np.empty(blocks.shape[0] * info.block, np.float32)
        self.decoders[info.name.decode()](
            blocks.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(out.size)
        )
        return out

    def encode(self, info, values):
        values = np.ascontiguousarray(values, np.float32)
        out = np.empty(values.size // info.block * info.bytes, np.uint8)
        if info.name in self.direct:  # types that ggml_quantize_chunk does not know
            self.direct[info.name](
                values.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(values.size)
            )
        else:
            # Some types want importances: equal ones.
            equal = np.ones(values.size, np.float32) if self.lib.ggml_quantize_requires_imatrix(info.gguf) else None
            self.lib.ggml_quantize_chunk(
                info.gguf,
                values.ctypes.data,
                out.ctypes.data,
                0,
                1,
                values.size,
                None if equal is None else equal.ctypes.data,
            )
        return out


def find_ggml():
    """The ggml library of an installed llama_cpp package, if there is one."""
    spec = importlib.util.find_spec("llama_cpp")
    if not spec:
        return None
    folder = os.environ.get("LLAMA_CPP_LIB_PATH", os.path.join(os.path.dirname(spec.origin), "lib"))
    found = sorted(glob.glob(os.path.join(folder, "libggml-base.*")) + glob.glob(os.path.join(folder, "libllama.*")))
    return found[0] if found else None


def samples():
    """Rows of normal, heavy-tailed, outlier-ridden, one-sided, sparse and constant data."""
    rng = np.random.default_rng(7)
    n = 256 * 512
    normal = rng.standard_normal(n)
    return {
        "normal": normal * 0.02,
        "heavy": rng.standard_t(3, n) * 0.02,
        "outliers": normal * np.where(rng.random(n) < 0.01, 20, 1),
        "positive": np.abs(normal) + 0.5,
        "sparse": normal * (rng.random(n) < 0.1),
        "uniform": rng.random(n) - 0.5,
        "drift": normal * np.exp(np.repeat(rng.standard_normal(n // 16), 16)),
    }


UNENCODED = {"i8", "i16", "i32", "i64", "f64"}  # ggml has no encoder
SAME_AS_GGUF = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f32", "f16", "bf16", "tq1_0", "tq2_0"}
SAME_AS_GGML = SAME_AS_GGUF | {"q8_1", "q8_k", "q1_0", "q2_0"}


def check_encode(gguf, ggml, info):
    name, ok = info.name.decode(), True
    if not info.encode or (ggml is None and name not in SAME_AS_GGUF):
        return True
    for kind, values in samples().items():
        values = values.astype(np.float32) + np.float32(0)  # no minus zeros: which zero is least is left open
        ours = encode(info, values)
        line = f"encode {name:8} {kind:9}"
        norm = np.sqrt(np.mean(values.astype(np.float64) ** 2))
        error = np.sqrt(np.mean((decode(info, ours).astype(np.float64) - values) ** 2)) / norm
        line += f" {error:.3e}"
        if name in SAME_AS_GGUF:
            number = gguf.constants.GGMLQuantizationType(info.gguf)
            with np.errstate(all="ignore"):
                want = gguf.quants.quantize(values, number).view(np.uint8).reshape(-1)
            differ = int((want != ours).sum())
            line += f"  gguf: {differ} bytes differ"
            ok = ok and differ == 0
        if ggml is not None and name not in UNENCODED:
            theirs = ggml.encode(info, values)
            if name in SAME_AS_GGML:
                line += f"  ggml: {int((theirs != ours).sum())} bytes differ"
                ok = ok and np.array_equal(theirs, ours)
            peer = decode(info, theirs).astype(np.float64)
            peer = np.sqrt(np.mean((peer - values) ** 2)) / norm
            line += f"  ggml {peer:.3e} ratio {error / peer if peer > 0 else float(error > 0):.4f}"
            if error > peer * 1.01:
                line += " WORSE"
                ok = False
        print(line)
    return ok


# ---- golden values for the C tests ----


def seeded_bytes(seed, count):
    """The splitmix64 stream that tests/unit/test_type.c makes too, as little-endian bytes; `count` a multiple of 8."""
    mask = np.uint64
    with np.errstate(over="ignore"):
        z = mask(seed) + mask(0x9E3779B97F4A7C15) * np.arange(1, count // 8 + 1, dtype=np.uint64)
        z = (z ^ (z >> mask(30))) * mask(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> mask(27))) * mask(0x94D049BB133111EB)
        return (z ^ (z >> mask(31))).view(np.uint8)


def seeded_values(seed, count):
    """Bell-shaped values with a heavy tail, all exact in float32: sums of uniform numbers, cubed now and then."""
    words = seeded_bytes(seed, count * 8).view(np.uint64)
    parts = (words[:, None] >> np.array([0, 16, 32, 48], np.uint64)) & np.uint64(0xFFFF)
    bell = parts.astype(np.int64).sum(1) - 2 * 0xFFFF
    scale = np.where(words % np.uint64(64) == 0, np.float32(2.0**-13), np.float32(2.0**-17))
    return (bell.astype(np.float32) * scale).astype(np.float32)


def crc(values):
    bits = np.ascontiguousarray(values).view(np.uint32).copy()
    bits[(bits & 0x7FFFFFFF) > 0x7F800000] = 0x7FC00000
    return zlib.crc32(bits.tobytes())


def print_golden(gguf, ggml, infos, versions):
    print("/* Golden values of the storage types, printed by `python tests/diff/storage_types.py --golden` with")
    print(f" * {versions}.")
    print(
        " * decode: CRC-32 of 512 seeded random blocks (4096 values of plain types) decoded by gguf.quants.dequantize,"
    )
    print(
        " *   or by the format's definition in numpy for Q8_1, Q8_K, Q1_0, Q2_0 and plain types; every NaN as 0x7FC00000."
    )
    print(
        " * encode: CRC-32 of the bytes that gguf.quants.quantize makes of 8192 seeded values; 0 where it has no encoder or"
    )
    print(" *   encodes differently.")
    print(" * error: relative RMS error of ggml_quantize_chunk on the same values; 0 where there is none. */")
    print("static const struct golden golden[] = {")
    values = seeded_values(1000, 8192)
    norm = np.sqrt(np.mean(values.astype(np.float64) ** 2))
    for info in infos:
        name = info.name.decode()
        count = 512 if info.block > 1 else 4096
        size = (count * info.bytes + 7) // 8 * 8
        blocks = seeded_bytes(info.gguf, size)[: count * info.bytes].reshape(count, info.bytes)
        decoded = crc(reference(gguf, name, blocks))
        encoded, error = 0, 0.0
        if name in SAME_AS_GGUF:
            kind = gguf.constants.GGMLQuantizationType(info.gguf)
            encoded = zlib.crc32(gguf.quants.quantize(values, kind).tobytes())
        if info.encode and name not in UNENCODED:
            back = reference(gguf, name, ggml.encode(info, values).reshape(-1, info.bytes)).astype(np.float64)
            error = np.sqrt(np.mean((back - values) ** 2)) / norm
        print(f'    {{"{name}", 0x{decoded:08x}, 0x{encoded:08x}, {error:.6g}}},')
    print("};")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--gguf")
    args.add_argument("--ggml")
    args.add_argument("--golden", action="store_true")
    args.add_argument("--versions", default="gguf and ggml of unknown version", help="provenance, for --golden")
    args = args.parse_args()
    if args.gguf:
        sys.path.insert(0, args.gguf)
    import gguf
    import gguf.quants

    ggml = args.ggml or find_ggml()
    ggml = Ggml(ggml) if ggml else None
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        infos = build(folder)
        if args.golden:
            if ggml is None:
                sys.exit("--golden needs ggml")
            print_golden(gguf, ggml, infos, args.versions)
            return
        for info in infos:
            if info.gguf not in [int(kind) for kind in gguf.constants.GGML_QUANT_SIZES]:
                print(f"table: this gguf package does not know {info.name.decode()}")
                ok = check_decode(gguf, ggml, info, np.random.default_rng(info.gguf)) and ok
                continue
            kind = gguf.constants.GGMLQuantizationType(info.gguf)
            sizes = gguf.constants.GGML_QUANT_SIZES[kind]
            if sizes == OLD_Q8_1.get(info.name.decode()):
                sizes = (info.block, info.bytes)
            if kind.name.lower() != info.name.decode() or sizes != (info.block, info.bytes):
                print(f"table: {info.name.decode()} is {kind.name} {sizes} in gguf")
                ok = False
            ok = check_decode(gguf, ggml, info, np.random.default_rng(info.gguf)) and ok
        for info in infos:
            ok = check_encode(gguf, ggml, info) and ok
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
