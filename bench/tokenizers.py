"""Encoding speed of pantry, Hugging Face tokenizers and llama.cpp, side by side: one thread, the same text, interleaved.

    python bench/tokenizers.py --batch build/tools/tok_batch [--mb 10] [--rounds 3] [--data ../shared/data]

The text is made here from a seed: English-like prose, code, several scripts, numbers, emoji, white space. Each program
gets it in pieces of 64 KiB, cut at lines, and counts its tokens; ids are compared. llama.cpp is timed on a part of the text
(--llama-mb), because it takes long. Times are processor
times of encoding alone, without loading.
"""
import argparse
import os
import random
import struct
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "diff"))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]

import tokenizers_compare as ref  # noqa: E402


def mixed_text(size, seed=1):
    r = random.Random(seed)
    common = ["the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not",
              "he", "his", "but", "at", "are", "this", "have", "from", "or", "had", "an", "they", "which", "one", "you",
              "were", "all", "her", "she", "there", "would", "their", "we", "him", "been", "has", "when", "who", "will"]
    stems = ["".join(r.choice(["ka", "lo", "mi", "ter", "en", "st", "ra", "tion", "al", "pre", "un", "de", "con", "s"])
                     for _ in range(r.randint(1, 4))) for _ in range(20000)]
    code = ["for (size_t i = 0; i < n; i++) {", "    return self.value[index] + 1;", "def forward(self, x):",
            "if (!buffer) goto fail;", "#include <stdio.h>", "const result = await fetch(url);", "}", "\t\tx += 0x1F;"]
    other = ["这是一个测试句子，用来测量速度。", "日本語の文章もここにあります。", "Привет, как у тебя дела сегодня?", "مرحبا بالعالم",
             "नमस्ते दुनिया", "안녕하세요 세계", "Größe, Übung und Straße", "🚀🎉 emoji 👩‍👩‍👧 ok", "ภาษาไทยไม่มีช่องว่าง"]
    out, n = [], 0
    while n < size:
        k = r.random()
        if k < 0.70:
            words = [r.choice(common) if r.random() < 0.5 else r.choice(stems) for _ in range(r.randint(6, 18))]
            line = " ".join(words).capitalize() + r.choice([".", "?", "!", ", isn't it.", f" ({r.randint(1, 99999)})."])
        elif k < 0.85:
            line = r.choice(code)
        elif k < 0.97:
            line = r.choice(other) + " " + r.choice(other)
        else:
            line = " " * r.randint(0, 8) + str(r.random())
        out.append(line + r.choice(["\n", "\n", "\n\n"]))
        n += len(out[-1].encode())
    return "".join(out)


def pieces(text, size=64 * 1024):
    out, part, n = [], [], 0
    for line in text.splitlines(keepends=True):
        part.append(line)
        n += len(line.encode())
        if n >= size:
            out.append("".join(part))
            part, n = [], 0
    return out + (["".join(part)] if part else [])


def time_pantry(batch, model, parts):
    data = b"".join(struct.pack("<I", len(p.encode())) + p.encode() for p in parts)
    done = subprocess.run([batch, model, "time"], input=data, capture_output=True, check=True)
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    return sum(float(r[0]) for r in rows), sum(int(r[2]) for r in rows)


def time_hf(tok, parts):
    start, n = time.thread_time(), 0
    for p in parts:
        n += len(tok.encode(p, add_special_tokens=False).ids)
    return time.thread_time() - start, n


def time_llama(model, parts):
    start, n = time.thread_time(), 0
    for p in parts:
        n += len(model.tokenize(p.encode(), add_bos=False, special=False))
    return time.thread_time() - start, n


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", required=True)
    parser.add_argument("--mb", type=float, default=10)
    parser.add_argument("--llama-mb", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", default="llama-bpe,qwen2,gpt-2")
    parser.add_argument("--data", default=os.environ.get("PANTRY_TEST_DATA", "../shared/data"))
    args = parser.parse_args()
    parts = pieces(mixed_text(int(args.mb * 1e6)))
    few = pieces(mixed_text(int(args.llama_mb * 1e6)))
    size, size_few = (sum(len(p.encode()) for p in x) / 1e6 for x in (parts, few))
    try:
        import llama_cpp
    except ImportError:
        llama_cpp = None
    for name in args.models.split(","):
        path = os.path.join(args.data, "tokenizers", name + ".gguf")
        tok = ref.hf_bpe(ref.Gguf(path), ref.PRE[name], {4})
        llama = llama_cpp.Llama(path, vocab_only=True, verbose=False) if llama_cpp else None
        best = {}
        for _ in range(args.rounds):
            for program, run, mb in (("pantry", lambda: time_pantry(args.batch, path, parts), size),
                                     ("tokenizers", lambda: time_hf(tok, parts), size),
                                     ("llama.cpp", (lambda: time_llama(llama, few)) if llama else None, size_few)):
                if run:
                    seconds, n = run()
                    speed = mb / seconds
                    best.setdefault(program, []).append((speed, n))
        ours = max(best["pantry"])[0]
        for program, rows in best.items():
            speed, n = max(rows)
            print(f"{name:10} {program:10} {speed:8.1f} MB/s best of {len(rows)} "
                  f"(all: {', '.join(f'{s:.1f}' for s, _ in rows)}), {n} tokens, pantry is {ours / speed:.1f}x", flush=True)


if __name__ == "__main__":
    main()
