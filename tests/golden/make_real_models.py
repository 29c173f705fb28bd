#!/usr/bin/env python3
"""Makes the golden files of the two real models with llama.cpp (llama-cpp-python).

    python3 tests/golden/make_real_models.py NAME MODEL.gguf OUT.json

For each prompt: its ids, 64 greedy tokens with the two best logits at every step, and of the prompt's logits some values
of every position (all of them would be hundreds of megabytes): enough for an NMSE over the sampled columns. The file
records the hash of the model, the version of the tool and this command.

Logits are recorded twice: "logits" of the file as it is, where llama.cpp rounds its activations to 8 bits, and "exact" of
the same weights written as float32, where it does not. The distance between the two is llama.cpp's rounding noise.
"""

import hashlib
import json
import os
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

N_GENERATE = 64
N_COLUMNS = 64  # logits kept of each position
MAX_POSITIONS = 64  # positions kept of each prompt: the last ones


LONG = (
    "The history of computing is longer than most people think. Long before silicon, clerks with ruled paper and brass "
    "machines added columns of numbers by hand, and the errors they made cost ships and fortunes. "
)


def prompts(name):
    chat = {
        "smollm2": "<|im_start|>system\nYou are a helpful assistant who answers in one sentence.<|im_end|>\n"
        "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
        "gemma3": "<start_of_turn>user\nAnswer in one sentence.\n\nWhy is the sky blue?<end_of_turn>\n<start_of_turn>model\n",
    }[name]
    return {
        "english": "The capital of France is",
        "code": 'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    if n',
        "unicode": "你好,世界!今天天气很好 🌞🌊 and the translation is",
        "long": LONG * 16,
        "chat": chat,
    }


def write_f32(path, out):
    """The same model with all weights decoded to float32."""
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, arch)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub)
    for t in reader.tensors:
        writer.add_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def greedy(llm, last):
    """64 tokens after the contents of `llm`, whose last logits are given: ids, and per token the runner-up and its distance."""
    generated, margins = [], []
    for _ in range(N_GENERATE):
        two = np.argpartition(last, -2)[-2:]
        two = two[np.argsort(-last[two])]
        generated.append(int(two[0]))
        margins.append([int(two[1]), round(float(last[two[0]] - last[two[1]]), 6)])
        llm.eval([generated[-1]])
        last = np.array(llm.scores[llm.n_tokens - 1], dtype=np.float32)
    return generated, margins


def exact_logits(path, prompts_ids):
    """Logits of each prompt, and 64 greedy tokens, with float32 weights and cache."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "f32.gguf")
        write_f32(path, copy)
        llm = llama_cpp.Llama(
            copy,
            n_ctx=1024,
            n_batch=1024,
            n_ubatch=1024,
            logits_all=True,
            verbose=False,
            n_threads=2,
            type_k=0,
            type_v=0,
        )
        for ids in prompts_ids:
            llm.reset()
            llm.eval(ids)
            scores = np.array(llm.scores[: len(ids)], dtype=np.float32)
            yield scores, greedy(llm, scores[-1])


def main():
    name, path, out = sys.argv[1:4]
    digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
    llm = llama_cpp.Llama(path, n_ctx=2048, n_batch=2048, n_ubatch=2048, logits_all=True, verbose=False, n_threads=2)
    n_vocab = llm.n_vocab()
    rng = np.random.default_rng(7)
    columns = np.sort(rng.choice(n_vocab, N_COLUMNS, replace=False)).tolist()
    result = {
        "model": name,
        "sha256": digest,
        "tool": "llama-cpp-python " + llama_cpp.__version__,
        "command": "python3 tests/golden/make_real_models.py %s MODEL.gguf %s" % (name, out),
        "columns": columns,
        "prompts": {},
    }
    for key, text in prompts(name).items():
        ids = llm.tokenize(text.encode(), add_bos=True, special=True)
        llm.reset()
        llm.eval(ids)
        scores = np.array(llm.scores[: len(ids)], dtype=np.float32)
        first = max(0, len(ids) - MAX_POSITIONS)
        kept = scores[first:, columns]
        power = (scores[first:].astype(np.float64) ** 2).mean(axis=1)
        generated, margins = greedy(llm, scores[-1])
        result["prompts"][key] = {
            "text": text,
            "ids": ids,
            "greedy": generated,
            "runner_up": margins,
            "first_position": first,
            "logits": [[round(float(v), 4) for v in row] for row in kept],
            "mean_square": [round(float(v), 4) for v in power],
        }
        print(key, len(ids), "tokens", file=sys.stderr)
    entries = list(result["prompts"].values())
    del llm
    for entry, (scores, (tokens, margins)) in zip(entries, exact_logits(path, [e["ids"] for e in entries])):
        first = entry["first_position"]
        entry["exact_greedy"], entry["exact_runner_up"] = tokens, margins
        entry["exact"] = [[round(float(v), 4) for v in row] for row in scores[first:, columns]]
    with open(out, "w") as f:
        json.dump(result, f, separators=(",", ":"), ensure_ascii=True)
        f.write("\n")


if __name__ == "__main__":
    main()
