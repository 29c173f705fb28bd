"""Golden logits of tiny random models, computed by Hugging Face transformers: an oracle that shares nothing with GGUF
programs. See README.md beside this file.

    python tests/golden/make_transformers.py [NAME ...]

writes tests/golden/transformers/NAME.json: a model's metadata and tensors as its GGUF file would have them, and the
logits of some positions. Weights are not recorded: here and in tests/unit/test_transformers.c they come from one
generator, seeded by the tensor's GGUF name. The way from a GGUF tensor back to the parameter of transformers is the
inverse of a conversion to GGUF; it is in transformers_*.py, one entry per architecture."""

import argparse
import json
import math
import os
import pathlib
import re
import sys
import traceback

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

import transformers_attention
import transformers_others
import transformers_plain
import transformers_recurrent

CASES = (
    transformers_attention.CASES | transformers_plain.CASES | transformers_recurrent.CASES | transformers_others.CASES
)
OUT = pathlib.Path(__file__).parent / "transformers"
N_IDS = 48
POSITIONS = [0, 1, 3, 7, 12, 20, 28, 33, 40, 47]
MASK = (1 << 64) - 1


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def bits(text, n):
    """Ten bits of each of the first n numbers of splitmix64, seeded by a text."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(text)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(54)).astype(np.int64)


def uniform(name, shape, scale, offset):
    """offset + scale * [-1, 1); exact in F32, as scale and offset have few bits."""
    return (offset + scale * (bits(name, math.prod(shape)) / 512 - 1)).astype(np.float32).reshape(shape)


def default_range(name, shape):
    """Scale and offset that keep activations near 1: norms around 1, rows of matrices of length near 1."""
    if name == "token_embd.weight":
        return 1, 0
    if name.endswith(".bias") or not name.endswith(".weight"):
        return 0.25, 0
    if len(shape) == 1 or "_norm" in name:
        return 0.5, 1
    return 2.0 ** round(math.log2(math.sqrt(3 / shape[-1]))), 0


class Builder:
    """Fills a model's parameters from the GGUF side and remembers what was filled."""

    def __init__(self, model):
        self.params = {}
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.params[name] = tensor.detach().numpy()  # shares its memory with the model
        self.missing = {}
        for name, array in self.params.items():
            self.missing.setdefault(array.__array_interface__["data"][0], name)  # tied parameters count once
            array[...] = np.nan
        self.tensors = []

    def has(self, name):
        return name in self.params

    def filled(self, name):
        """True if a parameter is complete; missing parts are noted."""
        array = self.params[name]
        full = not np.isnan(array).any()
        if full:
            self.missing.pop(array.__array_interface__["data"][0], None)
        return full

    def add(self, gguf, name, view=None, value=None, scale=None, offset=None):
        """A GGUF tensor that becomes (a part of) a parameter. view: the parameter's array -> a view of it in the order
        of the GGUF tensor, or (view, shape of the GGUF tensor). value: GGUF's numbers -> the parameter's."""
        array = self.params[name]
        part = view(array) if view else array
        part, shape = part if isinstance(part, tuple) else (part, part.shape)
        assert np.shares_memory(part, array), f"{gguf}: the view of {name} is a copy"
        numbers = self.plain(gguf, shape, scale, offset)
        part[...] = (value(numbers) if value else numbers).reshape(part.shape)
        self.filled(name)

    def plain(self, gguf, shape, scale=None, offset=None):
        """A GGUF tensor whose numbers the caller distributes."""
        shape = [int(n) for n in shape]
        default = default_range(gguf, shape)
        scale, offset = default[0] if scale is None else scale, default[1] if offset is None else offset
        assert all(t[0] != gguf for t in self.tensors), f"{gguf} stands there twice"
        self.tensors.append([gguf, shape, scale, offset])
        return uniform(gguf, shape, scale, offset)

    def constant(self, gguf, values):
        """A GGUF tensor that a conversion computes from the configuration."""
        values = [float(np.float32(v)) for v in values]
        self.tensors.append([gguf, [len(values)], [float(f"{v:.9g}") for v in values]])

    def done(self, ignore=()):
        left = [n for n in self.missing.values() if not any(part in n for part in ignore)]
        assert not left, f"no GGUF tensor for {left}"
        for n in self.missing.values():
            self.params[n][...] = 0


def as_metadata(value):
    if isinstance(value, (list, tuple)):
        return [as_metadata(v) for v in value]
    return float(f"{np.float32(value):.9g}") if isinstance(value, float) else value


def by_rule(tensors):
    """Tensors that differ in their layer only become one, [name with *, shape, scale, offset, layers]."""
    groups = {}
    for name, *rule in tensors:
        layer = re.match(r"blk\.(\d+)\.", name)
        if layer is None or len(rule) < 3:
            groups[name] = ([name, *rule], None)
            continue
        name = name.replace(layer[0], "blk.*.", 1)
        groups.setdefault((name, str(rule)), ([name, *rule], []))[1].append(int(layer[1]))
    return [rule if layers is None else [*rule, layers] for rule, layers in groups.values()]


def dump(golden):
    """One line per key, tensor and position."""

    def block(items):
        return ",\n".join("  " + i for i in items)

    compact = lambda v: json.dumps(v, separators=(",", ":"))
    lines = [f'"{k}": {json.dumps(v)}' for k, v in golden.items() if k not in ("metadata", "tensors", "logits")]
    lines.append('"metadata": {\n' + block(f'"{k}": {compact(v)}' for k, v in golden["metadata"].items()) + "\n}")
    lines.append('"tensors": [\n' + block(compact(t) for t in by_rule(golden["tensors"])) + "\n]")
    rows = (f'"{p}": [' + ",".join(f"{x:.7g}" for x in row) + "]" for p, row in golden["logits"].items())
    lines.append('"logits": {\n' + block(rows) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def run(case):
    torch.manual_seed(0)
    config = case.config()
    config._attn_implementation = "eager"
    model = case.make(config)
    model.config._experts_implementation = "eager"
    model.eval()
    builder = Builder(model)
    text = config.get_text_config()
    case.fill(builder, text)
    builder.done(case.ignore)
    n_ids, n_vocab = case.n_ids or N_IDS, text.vocab_size
    ids = bits("ids", n_ids) % n_vocab
    with torch.no_grad():
        logits = case.run(model, torch.tensor(ids)[None]).to(torch.float32).numpy()
    assert logits.shape == (n_ids, text.hidden_size if case.encodes else n_vocab) and np.isfinite(logits).all(), (
        logits.shape
    )
    spread = logits.std(axis=1).mean()
    assert 1e-2 < spread < 1e3 and logits.std(axis=0).mean() > spread / 10, "these logits would show nothing"
    metadata = {"general.architecture": case.arch}
    metadata |= {f"{case.arch}.{k}": as_metadata(v) for k, v in case.metadata(text).items() if v is not None}
    return {
        "class": type(model).__name__,
        "transformers": transformers.__version__,
        "n_ids": n_ids,
        "n_vocab": n_vocab,
        **({"n_context": case.n_context} if case.n_context else {}),
        **({"encodes": True} if case.encodes else {}),
        "metadata": metadata,
        "tensors": builder.tensors,
        "logits": {p: logits[p] for p in case.positions or POSITIONS},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all of them if none is named")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    OUT.mkdir(exist_ok=True)
    failed = 0
    for name in args.names or CASES:
        try:
            (OUT / f"{name}.json").write_text(dump(run(CASES[name])))
            print(name, flush=True)
        except Exception:  # continue with the others
            print(f"{name}: {traceback.format_exc()}", file=sys.stderr, flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
