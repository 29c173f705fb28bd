"""Tiny random models of transformers, saved as directories, against transformers' own logits.

    python tests/diff/hf_directories.py PANTRY [NAME ...]

needs torch, transformers and safetensors. The configurations are those of tests/golden; weights come from one seed per model and are the same
on both sides, since pantry reads the directory that transformers wrote. Prints the error of each model; fails above a bound."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))

try:
    import numpy as np
    import torch
    import transformers

    import transformers_attention
    import transformers_others
    import transformers_plain
    import transformers_recurrent
except ImportError as missing:
    print(f"hf_directories: {missing}")
    sys.exit(77)

CASES = (
    transformers_attention.CASES | transformers_plain.CASES | transformers_recurrent.CASES | transformers_others.CASES
)
BOUND = 1e-6  # float32 against float32
SLOW = {"exaone4-hybrid"}
LONG = {"phi3-long"}  # transformers changes the factors in the middle of a text


def randomize(model, seed):
    """Every parameter and buffer that is saved becomes random, so that a wrong formula shows."""
    generator = torch.Generator().manual_seed(seed)
    done = set()
    with torch.no_grad():
        for name, p in model.state_dict().items():
            if not p.is_floating_point() or p.data_ptr() in done:
                continue
            done.add(p.data_ptr())
            noise = torch.rand(p.shape, generator=generator, dtype=torch.float32) * 2 - 1
            last = name.rsplit(".", 1)[-1]
            if "A_log" in name:
                p.copy_(noise * 0.5)
            elif p.dim() <= 1 or "norm" in name.lower():
                near_one = last in ("weight", "D") and "norm" in name.lower()
                gemma = p.abs().max() == 0 and near_one  # kept as the difference from one
                p.copy_(noise * 0.5 + (1 if near_one and not gemma else 0))
            elif "embed" in name or "wte" in name:
                p.copy_(noise)
            else:
                fan_in = p.shape[1] if p.dim() == 2 else p.shape[-1]
                p.copy_(noise * (3 / fan_in) ** 0.5)


def compare(pantry, name, case, folder):
    config = case.config()
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = case.make(config)
    model.config._experts_implementation = "eager"
    model.eval()
    randomize(model, sum(map(ord, name)))
    model.save_pretrained(folder)
    text = config.get_text_config()
    n_ids = case.n_ids or 48
    ids = torch.randint(text.vocab_size, (n_ids,), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        want = case.run(model, ids[None]).to(torch.float32).numpy()
    (folder / "ids.txt").write_text(" ".join(map(str, ids.tolist())))
    out = folder / "logits.f32"
    command = [pantry, "logits", folder, "--ids", folder / "ids.txt", "-o", out, "--isa", "generic", "--kv-type", "f32"]
    command += ["--ctx", str(case.n_context)] if case.n_context else []
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return result.stderr.strip()
    got = np.fromfile(out, np.float32)
    if got.size != want.size:
        return f"{got.size} numbers instead of {want.size}"
    error = float(((got.reshape(want.shape) - want) ** 2).sum() / (want**2).sum())
    return error if error < BOUND else f"NMSE {error:.1e}"


def main():
    pantry, names = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    right, wrong = 0, 0
    for name in names or [n for n, c in CASES.items() if not c.encodes and n not in SLOW | LONG]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = compare(pantry, name, CASES[name], pathlib.Path(folder))
            except Exception:
                result = traceback.format_exc(limit=-1).strip().replace("\n", " ")
        right, wrong = right + isinstance(result, float), wrong + isinstance(result, str)
        print(f"{name}: {result:.1e}" if isinstance(result, float) else f"{name}: {result}", flush=True)
    print(f"{right} models agree, {wrong} do not")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
