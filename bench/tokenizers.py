"""Encoding speed of pantry, Hugging Face tokenizers and llama.cpp, side by side: one thread, the same text, interleaved.

    python bench/tokenizers.py --batch build/tools/tok_batch [--mb 10] [--rounds 3] [--only NAME,...] [--data ../shared/data]

The text is generated from a seed: English-like prose, code, several scripts, numbers, emoji, white space. Each program
gets it in pieces of 64 KiB, cut at lines, and counts its tokens; special tokens are neither parsed nor added. Figures are
medians of the processor time of encoding alone. Loading, reading the text and making Python objects of ids are not
counted, and Hugging Face is called in its fastest way (whole batches, without offsets). llama.cpp is timed on a part of the
text (--llama-mb), because it is slow; a larger part gives the same speed.

With --long, pantry alone: seconds for 1 MB of one letter, blanks, digits and so on, which may take longer than other text
of that size only by a small factor.

Every kind of vocabulary is timed. Vocabularies without a file are made here: GPT-4o's and DeepSeek V3's expressions get
Llama 3's vocabulary, and a unigram vocabulary is trained on similar text.
"""
import argparse
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "diff"))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]

import gguf  # noqa: E402
import sentencepiece as spm  # noqa: E402
import tokenizers_compare as ref  # noqa: E402

try:
    import llama_cpp
except ImportError:
    llama_cpp = None


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


def make_gguf(path, model, g, pre=None, **arrays):
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model(model)
    if pre:
        w.add_tokenizer_pre(pre)
    w.add_token_list(g.tokens)
    w.add_token_types(g.types)
    if g.merges:
        w.add_token_merges([" ".join(m) for m in g.merges])
    if g.scores:
        w.add_token_scores(g.scores)
    if "charsmap" in arrays:
        w.add_precompiled_charsmap(arrays["charsmap"])
        w.add_add_space_prefix(True)
        w.add_remove_extra_whitespaces(True)
        w.add_unk_token_id(0)
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


class Kinds:
    """A model file and Hugging Face's tokenizer with the same vocabulary, by name."""
    names = ["llama-bpe", "qwen2", "gpt-2", "falcon", "deepseek-coder", "gpt-4o", "deepseek-v3", "llama-spm", "bert-bge",
             "unigram"]

    def __init__(self, data, work):
        self.data, self.work = data, work

    def path(self, name):
        return os.path.join(self.data, "tokenizers", name + ".gguf")

    def file(self, name):
        """A file for the kind, or for Llama 3's vocabulary with the pre-type of that name."""
        if os.path.exists(self.path(name)):
            return self.path(name)
        if name == "unigram":
            return self.unigram()[0]
        return make_gguf(os.path.join(self.work, name + ".gguf"), "gpt2", ref.Gguf(self.path("llama-bpe")), name)

    def make(self, name):
        if name in ref.PRE:
            return self.path(name), ref.hf_bpe(ref.Gguf(self.path(name)), ref.PRE[name], {4})
        if name == "llama-spm":
            return self.path(name), ref.hf_of_spm(ref.Gguf(self.path(name)))
        if name == "bert-bge":
            return self.path(name), ref.hf_of_bert(ref.Gguf(self.path(name)))
        if name == "unigram":
            return self.unigram()
        made, g = self.file(name), ref.Gguf(self.path("llama-bpe"))
        steps = {"gpt-4o": [ref.split(GPT4O)], "deepseek-v3": [ref.split(r) for r in DEEPSEEK_V3]}[name]
        return made, ref.hf_bpe(g, {"steps": steps + [ref.BYTES]}, {4})

    def unigram(self):
        prefix = os.path.join(self.work, "unigram")
        with open(prefix + ".txt", "w", encoding="utf-8") as f:
            f.write(mixed_text(2000000, seed=2))
        spm.SentencePieceTrainer.train(input=prefix + ".txt", model_prefix=prefix, model_type="unigram", vocab_size=8000,
                                       character_coverage=0.9999, minloglevel=2, num_threads=1)
        m = ref.sp_pb2.ModelProto()
        with open(prefix + ".model", "rb") as f:
            m.ParseFromString(f.read())

        class Pieces:
            tokens, types = [p.piece for p in m.pieces], [p.type for p in m.pieces]
            scores, merges = [p.score for p in m.pieces], None
        path = make_gguf(prefix + ".gguf", "t5", Pieces, charsmap=m.normalizer_spec.precompiled_charsmap)
        return path, ref.hf_of_unigram(m)


GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
               r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+"]


class Pantry:
    def __init__(self, batch, path):
        self.command = [batch, path, "time"]

    def run(self, parts):
        data = b"".join(struct.pack("<I", len(p.encode())) + p.encode() for p in parts)
        done = subprocess.run(self.command, input=data, capture_output=True, check=True)
        rows = [line.split() for line in done.stdout.decode().splitlines()]
        return sum(float(r[0]) for r in rows), sum(int(r[2]) for r in rows)


class HuggingFace:
    def __init__(self, tok, parts):
        ways = [tok.encode_batch_fast, tok.encode_batch, lambda texts, **k: [tok.encode(t, **k) for t in texts]]
        first = parts[:8]
        self.way = min(ways, key=lambda way: min(self.timed(way, first)[0] for _ in range(2)))

    @staticmethod
    def timed(way, parts):
        start = time.process_time()
        out = way(parts, add_special_tokens=False)
        return time.process_time() - start, sum(len(e) for e in out)

    def run(self, parts):
        return self.timed(self.way, parts)


class LlamaCpp:
    def __init__(self, path):
        self.model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model.model)
        self.ids = (llama_cpp.llama_token * (1 << 20))()

    def run(self, parts):
        texts, n = [p.encode() for p in parts], 0
        start = time.process_time()
        for text in texts:
            n += llama_cpp.llama_tokenize(self.vocab, text, len(text), self.ids, len(self.ids), False, False)
        return time.process_time() - start, n


RUNS = {"letter": "a", "blanks": " ", "line breaks": "\n", "digits": "7", "brackets": "(", "emoji": "\U0001F642",
        "accents": "e\u0301", "marks": "\u0301", "ideographs": "漢", "quotes": "'", "broken": b"\xff"}


def long_runs(batch, kinds, names):
    for name in names:
        path, worst = kinds.file(name), []
        for label, unit in RUNS.items():
            unit = unit if isinstance(unit, bytes) else unit.encode()
            text = unit * (1000000 // len(unit))
            data = struct.pack("<I", len(text)) + text
            done = subprocess.run([batch, path, "time"], input=data, capture_output=True, check=True)
            worst.append((float(done.stdout.split()[0]), label))
        worst.sort(reverse=True)
        print(f"{name:14} " + ", ".join(f"{label} {s:.3f} s" for s, label in worst[:4]), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", required=True)
    parser.add_argument("--mb", type=float, default=10)
    parser.add_argument("--llama-mb", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(Kinds.names))
    parser.add_argument("--no-llama", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--data", default=os.environ.get("PANTRY_TEST_DATA", "../shared/data"))
    args = parser.parse_args()
    if args.long:
        with tempfile.TemporaryDirectory() as work:
            long_runs(args.batch, Kinds(args.data, work), args.only.split(","))
        return
    parts = pieces(mixed_text(int(args.mb * 1e6)))
    few = pieces(mixed_text(int(args.llama_mb * 1e6)))
    with tempfile.TemporaryDirectory() as work:
        kinds = Kinds(args.data, work)
        for name in args.only.split(","):
            path, tok = kinds.make(name)
            programs = {"pantry": (Pantry(args.batch, path), parts), "tokenizers": (HuggingFace(tok, parts), parts)}
            if llama_cpp and not args.no_llama:
                programs["llama.cpp"] = (LlamaCpp(path), few)
            rows = {program: [] for program in programs}
            for turn in range(args.rounds):
                for program in (list(programs) if turn % 2 == 0 else reversed(list(programs))):
                    run, text = programs[program]
                    seconds, n = run.run(text)
                    rows[program].append((sum(len(p.encode()) for p in text) / 1e6 / seconds, n))
            ours = statistics.median(speed for speed, _ in rows["pantry"])
            for program, got in rows.items():
                speed = statistics.median(s for s, _ in got)
                print(f"{name:14} {program:10} {speed:7.2f} MB/s (of {', '.join(f'{s:.2f}' for s, _ in got)}), "
                      f"{got[0][1]} tokens, pantry is {ours / speed:.1f}x", flush=True)


if __name__ == "__main__":
    main()
