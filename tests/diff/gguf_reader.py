#!/usr/bin/env python3
"""The GGUF reader against the gguf package: metadata (keys, types, every value), tensors (names, types, shapes, offsets,
sizes, bytes).

Files: those named on the command line, or the ones of ../shared/data (elsewhere with PANTRY_TEST_DATA) where it is there;
and always some that the package writes with random content.

Run from the repository root:  python tests/diff/gguf_reader.py [FILE...]
"""

import glob
import os
import random
import subprocess
import sys
import tempfile

import gguf
import numpy as np

KIND = {
    "UINT8": "uint8",
    "INT8": "int8",
    "UINT16": "uint16",
    "INT16": "int16",
    "UINT32": "uint32",
    "INT32": "int32",
    "UINT64": "uint64",
    "INT64": "int64",
    "FLOAT32": "float32",
    "FLOAT64": "float64",
    "BOOL": "bool8",
    "STRING": "string0",
    "ARRAY": "array",
}


def build(folder):
    out = os.path.join(folder, "gguf_dump")
    cc = os.environ.get("CC", "cc").split()
    build = os.environ.get("BUILD", "build")  # `make all` made these
    objects = [
        o for room in ("base", "tensor", "format") for o in glob.glob(f"{build}/src/{room}/**/*.o", recursive=True)
    ]
    subprocess.run(
        [
            *cc,
            "-std=c17",
            "-O2",
            "-D_DEFAULT_SOURCE",
            "-Isrc",
            "-Iinclude",
            "-o",
            out,
            "tests/diff/gguf_dump.c",
            *objects,
            "-ljansson",
            "-lcrypto",
            "-lyaml",
            "-lm",
            "-pthread",
        ],
        check=True,
    )
    return out


def c_hex(x):
    """printf's %a."""
    x = float(x)
    if np.isnan(x):
        return "-nan" if np.signbit(x) else "nan"
    if np.isinf(x):
        return "-inf" if x < 0 else "inf"
    if x == 0:
        return "-0x0p+0" if np.signbit(x) else "0x0p+0"
    mantissa, exponent = x.hex().split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}"


def show(kind, part):
    if kind == "string0":
        return bytes(part).hex()
    if kind.startswith("float"):
        return c_hex(part[0])
    return str(int(part[0]))


def fnv(data):
    data = data.tobytes()
    if len(data) > 2048:
        data = data[:1024] + data[-1024:]
    h = 14695981039346656037
    for b in data:
        h = (h ^ b) * 1099511628211 % 2**64
    return f"{h:x}"


def expected(path):
    r = gguf.GGUFReader(path)
    yield f"format gguf v{int(r.fields['GGUF.version'].parts[-1][0])}"
    for f in r.fields.values():
        if f.name.startswith("GGUF."):
            continue
        kind = KIND[f.types[0].name]
        if kind != "array":
            yield f"meta {f.name} {kind} {show(kind, f.parts[f.data[0]])}"
            continue
        item = KIND[gguf.GGUFValueType(int(f.parts[3][0])).name]
        line = [f"meta {f.name} array {item} {len(f.data)}", *(show(item, f.parts[i]) for i in f.data)]
        yield " ".join(line)
    for t in r.tensors:
        shape = " ".join(str(int(n)) for n in reversed(t.shape))
        yield f"tensor {t.name} {int(t.tensor_type)} {shape} : {t.data_offset} {t.n_bytes} {fnv(t.data)}"


def write_random(path, seed):
    rng = random.Random(seed)
    w = gguf.GGUFWriter(path, "llama")
    if seed % 3 == 0:
        w.add_custom_alignment(rng.choice([8, 64, 4096]))
    value = {
        gguf.GGUFValueType.UINT8: lambda: rng.randrange(2**8),
        gguf.GGUFValueType.INT8: lambda: rng.randrange(-(2**7), 2**7),
        gguf.GGUFValueType.UINT16: lambda: rng.randrange(2**16),
        gguf.GGUFValueType.INT16: lambda: rng.randrange(-(2**15), 2**15),
        gguf.GGUFValueType.UINT32: lambda: rng.randrange(2**32),
        gguf.GGUFValueType.INT32: lambda: rng.randrange(-(2**31), 2**31),
        gguf.GGUFValueType.UINT64: lambda: rng.randrange(2**64),
        gguf.GGUFValueType.INT64: lambda: rng.randrange(-(2**63), 2**63),
        gguf.GGUFValueType.FLOAT32: lambda: rng.gauss(0, 1e10) * rng.choice([1, 1e-48, 0, -0.0, float("inf")]),
        gguf.GGUFValueType.FLOAT64: lambda: rng.gauss(0, 1e100) * rng.choice([1, 1e-400, 1e-300]),
        gguf.GGUFValueType.BOOL: lambda: rng.random() < 0.5,
        gguf.GGUFValueType.STRING: lambda: "".join(
            chr(rng.choice([rng.randrange(1, 0x250), rng.randrange(0x4E00, 0x9FFF), rng.randrange(0x1F300, 0x1F600)]))
            for _ in range(rng.randrange(1, 30))
        ),
    }
    for i in range(60):
        t = rng.choice(list(value))
        if rng.random() < 0.4:
            items = [value[t]() for _ in range(rng.randrange(1, 50))]
            w.add_key_value(f"array.{i}", items, gguf.GGUFValueType.ARRAY, sub_type=t)
        else:
            w.add_key_value(f"value.{i}", value[t](), t)
    types = [
        gguf.GGMLQuantizationType.F32,
        gguf.GGMLQuantizationType.F16,
        gguf.GGMLQuantizationType.Q8_0,
        gguf.GGMLQuantizationType.Q4_0,
        gguf.GGMLQuantizationType.Q6_K,
    ]
    for i in range(40):
        t = rng.choice(types)
        block, size = gguf.GGML_QUANT_SIZES[t]
        shape = [rng.randrange(1, 5) for _ in range(rng.randrange(0, 4))] + [block * rng.randrange(1, 9)]
        raw = [*shape[:-1], shape[-1] // block * size]
        data = np.frombuffer(rng.randbytes(int(np.prod(raw))), dtype=np.uint8).reshape(raw)
        if t == gguf.GGMLQuantizationType.F32:
            w.add_tensor(f"tensor.{i}", data.view(np.float32))
        elif t == gguf.GGMLQuantizationType.F16:
            w.add_tensor(f"tensor.{i}", data.view(np.float16))
        else:
            w.add_tensor(f"tensor.{i}", data, raw_dtype=t)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def compare(dump, path):
    got = subprocess.run([dump, path], capture_output=True, text=True)
    if got.returncode:
        print(f"{path}: refused: {got.stderr.strip()}")
        return False
    ours, theirs = got.stdout.splitlines(), list(expected(path))
    for a, b in zip(ours, theirs):
        if a != b:
            print(f"{path}:\n  ours   {a[:300]}\n  theirs {b[:300]}")
            return False
    if len(ours) != len(theirs):
        print(f"{path}: {len(ours)} items, but the package has {len(theirs)}")
        return False
    print(f"{os.path.basename(path)}: {len(ours)} items equal")
    return True


def main():
    data = os.environ.get("PANTRY_TEST_DATA", "../shared/data")
    files = sys.argv[1:] or sorted(glob.glob(os.path.join(data, "*", "*.gguf")))
    with tempfile.TemporaryDirectory() as folder:
        dump = build(folder)
        if not sys.argv[1:]:
            for seed in range(20):
                files.append(os.path.join(folder, f"random-{seed}.gguf"))
                write_random(files[-1], seed)
        wrong = [f for f in files if not compare(dump, f)]
    print(f"{len(files) - len(wrong)} of {len(files)} files equal")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
