"""Models in other formats: logits of what pantry writes, in pantry, llama.cpp and mlx_lm.

    python tests/diff/convert.py PANTRY [DATA]

DATA (or PANTRY_TEST_DATA) has mlx/models with directories and mlx/ids.txt. llama.cpp comes from an installed llama_cpp package, mlx_lm from
mlx-lm; what is missing is not compared, and without both there is nothing to compare (exit status 77). llama.cpp rounds activations to 8 bits
and mlx_lm computes in the types of the weights, so bounds differ by kind."""

# run-diff: {build}/pantry

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError as missing:
    print(f"convert: {missing}")
    sys.exit(77)

PANTRY = sys.argv[1] if len(sys.argv) > 1 else "build/pantry"
DATA = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("PANTRY_TEST_DATA", "../shared/data")) / "mlx"
IDS = DATA / "ids.txt"
SAME, LOSSY, PEER = 1e-5, 1e-5, 5e-3
# The small vocabulary lacks a token that llama.cpp looks up in models with this in their name.
NOT_IN_LLAMA = ("phi3",)

LLAMA = """
import sys, numpy as np, llama_cpp as lc
quiet = lc.llama_log_callback(lambda *_: None)
lc.llama_log_set(quiet, None)
ids = [int(i) for i in open(sys.argv[2]).read().split()]
m = lc.llama_model_load_from_file(sys.argv[1].encode(), lc.llama_model_default_params())
if not m: sys.exit("not loaded")
p = lc.llama_context_default_params(); p.n_ctx = p.n_batch = 256; p.type_k = p.type_v = 0; p.flash_attn_type = 0
c = lc.llama_init_from_model(m, p)
b = lc.llama_batch_init(len(ids), 0, 1); b.n_tokens = len(ids)
for i, t in enumerate(ids):
    b.token[i] = t; b.pos[i] = i; b.n_seq_id[i] = 1; b.seq_id[i][0] = 0; b.logits[i] = 1
assert lc.llama_decode(c, b) == 0
n = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(m))
np.concatenate([np.ctypeslib.as_array(lc.llama_get_logits_ith(c, i), (n,)) for i in range(len(ids))]).tofile(sys.argv[3])
"""

MLX = """
import sys, numpy as np, pathlib, mlx.core as mx
from mlx_lm.utils import load_model
mx.set_default_device(mx.cpu)
ids = [int(i) for i in open(sys.argv[2]).read().split()]
m, _ = load_model(pathlib.Path(sys.argv[1]))
np.array(m(mx.array([ids]))[0].astype(mx.float32)).tofile(sys.argv[3])
"""


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]


class Failed(Exception):
    pass


def logits(model, folder, peer=None):
    out = folder / "logits.f32"
    problem = (
        run(sys.executable, "-c", peer, model, IDS, out)
        if peer
        else run(PANTRY, "logits", model, "--ids", IDS, "-o", out)
    )
    if problem:
        raise Failed(problem)
    return np.fromfile(out, np.float32).astype(float)


def distance(a, b):
    return ((a - b) ** 2).sum() / (a**2).sum() if a.shape == b.shape else float("inf")


def compare(source, folder, has_llama, has_mlx):
    """The errors by name of comparison, and the bound of each."""
    before = logits(source, folder)
    gguf, mlx, hf = folder / "x.gguf", folder / "mlx", folder / "hf"
    for out, more in ((gguf, ()), (mlx, ("--to", "mlx")), (hf, ("--to", "hf"))):
        problem = run(PANTRY, "convert", source, "-o", out, *more)
        if problem:
            raise Failed(problem)
    yield "gguf", distance(before, logits(gguf, folder)), LOSSY
    yield "mlx", distance(before, logits(mlx, folder)), SAME
    yield "hf", distance(before, logits(hf, folder)), LOSSY
    if has_llama and not any(n in source.name for n in NOT_IN_LLAMA):
        yield "llama.cpp", distance(before, logits(gguf, folder, LLAMA)), PEER
    if has_mlx:
        try:
            logits(source, folder, MLX)
        except Failed:
            return  # mlx_lm cannot read the original either
        yield "mlx_lm", distance(before, logits(mlx, folder, MLX)), PEER


def main():
    has_llama, has_mlx = (importlib.util.find_spec(n) is not None for n in ("llama_cpp", "mlx_lm"))
    if not IDS.exists() or not (has_llama or has_mlx):
        print("convert: needs DATA, and llama_cpp or mlx_lm")
        return 77
    failed = 0
    sources = sorted(p for p in (DATA / "models").iterdir() if json.loads((p / "config.json").read_text()))
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            try:
                for name, error, bound in compare(source, pathlib.Path(folder), has_llama, has_mlx):
                    failed += not error < bound
                    print(
                        f"{source.name:28} {name:10} {error:.2e}{'' if error < bound else '  ABOVE ' + str(bound)}",
                        flush=True,
                    )
            except Failed as problem:
                failed += 1
                print(f"{source.name:28} FAILED {problem}", flush=True)
    print(f"{len(sources)} directories, {failed} failures")
    return 1 if failed else 0


sys.exit(main())
