#!/usr/bin/env python3
"""`pantry eval` against llama.cpp: the perplexity of the same text in the same windows, and the file of importances that
`pantry imatrix` writes, read by the gguf package and taken by llama.cpp's quantizer.

llama.cpp rounds activations to 8 bits before products with quantized weights; pantry does not. So both read the weights widened
to F32, where they agree within 0.05 %, and pantry reads the quantized file as well as the widened one. What llama.cpp
loses on the quantized file is its own: 0.02 to 1.1 % on IQ4_XS, depending on the text; 2 % would mean another file.

Run from the repository root:  python tests/diff/perplexity.py [MODEL.gguf TEXT] [--windows N]
The default model is smollm2:135m in the store, the default text the documentation. Needs the packages gguf and llama_cpp;
without llama_cpp or a model there is nothing to compare (exit status 77).
"""

import argparse
import ctypes
import glob
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

PANTRY = os.environ.get("PANTRY") or os.path.join(os.environ.get("BUILD", "build"), "pantry")
CONTEXT = 512


def perplexity(llama, path, text, windows):
    """As llama.cpp's tool: windows of 512, the second half counts, the first token is the beginning token if asked."""
    model = llama.Llama(path, n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, verbose=False, n_gpu_layers=0)
    ids = model.tokenize(text, add_bos=True, special=False)
    adds = llama.llama_vocab_get_add_bos(llama.llama_model_get_vocab(model.model))
    nll = []
    for i in range(min(windows, len(ids) // CONTEXT)):
        window = list(ids[i * CONTEXT : (i + 1) * CONTEXT])
        targets = window[CONTEXT // 2 + 1 :]
        if adds:
            window[0] = model.token_bos()
        model.reset()
        model.eval(window)
        logits = model.scores[CONTEXT // 2 : CONTEXT - 1].astype(np.float64)
        top = logits.max(axis=1)
        log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        nll.extend(log_sum - logits[np.arange(len(targets)), targets])
    return float(np.exp(np.mean(nll))), len(nll)


def check_importances(llama, path, text_path, windows, folder):
    import gguf

    out = os.path.join(folder, "imatrix.gguf")
    subprocess.run(
        [PANTRY, "imatrix", path, "-f", text_path, "-o", out, "--windows", str(windows)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    reader = gguf.GGUFReader(out)
    sums = {t.name[: -len(".in_sum2")]: t for t in reader.tensors if t.name.endswith(".in_sum2")}
    counts = {t.name[: -len(".counts")]: t for t in reader.tensors if t.name.endswith(".counts")}
    assert sums.keys() == counts.keys() and sums, "no entries"
    weights = {t.name: t for t in gguf.GGUFReader(path).tensors}
    wanted = {n for n in weights if n.startswith("blk.") and len(weights[n].shape) > 1}
    assert set(sums) == wanted, wanted ^ set(sums)
    for name, t in sums.items():
        assert int(t.shape[0]) == int(weights[name].shape[0]), name
        assert np.all(np.isfinite(t.data)) and np.all(t.data >= 0), name
        if len(weights[name].shape) == 2:
            assert np.all(counts[name].data == windows * CONTEXT), name

    class Data(ctypes.Structure):
        _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]

    means = {n: np.ascontiguousarray(t.data / counts[n].data, np.float32).reshape(-1) for n, t in sums.items()}
    keep = (Data * (len(means) + 1))()
    for i, (name, values) in enumerate(means.items()):
        keep[i] = Data(name.encode(), values.ctypes.data, values.size)
    params = llama.llama_model_quantize_default_params()
    if not params:
        print(f"importances: {len(sums)} entries; this llama_cpp has no quantizer")
        return out, None
    params.ftype = 30  # IQ4_XS
    params.allow_requantize = True
    params.nthread = 2
    params.imatrix = ctypes.cast(keep, type(params.imatrix))
    made = os.path.join(folder, "theirs.gguf")
    assert llama.llama_model_quantize(path.encode(), made.encode(), ctypes.byref(params)) == 0
    print(f"importances: {len(sums)} entries, taken by llama.cpp's quantizer")
    return out, made


def stored_model():
    home = os.environ.get("PANTRY_HOME", os.path.expanduser("~/.pantry"))
    found = glob.glob(os.path.join(home, "models/blobs/sha256-b179c9523d0e*"))
    return found[0] if found else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default=stored_model())
    parser.add_argument("text", nargs="?", default="docs/DESIGN.md")
    parser.add_argument("--windows", type=int, default=4)
    if not importlib.util.find_spec("llama_cpp"):
        print("no llama_cpp package: nothing to compare")
        return 77
    args = parser.parse_args()
    if not args.model:
        print("no model: nothing to compare")
        return 77
    import llama_cpp as llama

    with open(args.text, "rb") as f:
        text = f.read()
    with tempfile.TemporaryDirectory() as folder:
        command = [PANTRY, "eval", "-f", args.text, "--windows", str(args.windows), "--json"]

        def ours(model):
            run = subprocess.run([*command, model], check=True, capture_output=True, text=True)
            return json.loads(run.stdout)["text"]

        def agree(name, model):
            """pantry and llama.cpp on a quantized file and on a copy in F32."""
            wide = os.path.join(folder, "wide.gguf")
            subprocess.run([PANTRY, "quantize", model, wide, "F32"], check=True, stdout=subprocess.DEVNULL)
            got, (wanted, n), a, (b, _) = (
                ours(wide),
                perplexity(llama, wide, text, args.windows),
                ours(model),
                theirs_of(model),
            )
            a, c = a["perplexity"], got["perplexity"]
            print(
                f"{name}: F32 {c:.4f}, llama.cpp {wanted:.4f} ({c / wanted - 1:+.5f}); as stored {a:.4f}, llama.cpp {b:.4f}"
            )
            return (
                got["n_tokens"] == n and abs(c / wanted - 1) < 5e-4 and abs(a / c - 1) < 5e-4 and abs(a / b - 1) < 2e-2
            )

        def theirs_of(model):
            return perplexity(llama, model, text, args.windows)

        ok = agree("perplexity", args.model)
        quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        llama.llama_log_set(quiet, ctypes.c_void_p(0))
        imatrix, theirs = check_importances(llama, args.model, args.text, args.windows, folder)
        mine = os.path.join(folder, "ours.gguf")
        subprocess.run(
            [PANTRY, "quantize", args.model, mine, "IQ4_XS", "--imatrix", imatrix],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        if theirs:
            a, b = ours(mine)["perplexity"], ours(theirs)["perplexity"]
            print(f"IQ4_XS with importances: {a:.4f}, llama.cpp's file {b:.4f}, ratio {a / b:.5f}")
        ok = agree("IQ4_XS with importances", mine) and ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
