# run-diff: --batch {build}/tools/tok_batch --n 2000
"""Compares tokenizers with their reference implementations on random and nasty strings.

    python tests/diff/tokenizers_compare.py --batch build/tools/tok_batch [--n 100000] [--only NAME] [--data ../shared/data]

References: Hugging Face tokenizers, sentencepiece, tiktoken, each built from the vocabulary of the same model file, or
trained here on a generated text. Every line of the output is one comparison; the exit status is 1 if any differs.
"""

# run-diff: --batch {build}/tools/tok_batch --n 2000
import argparse
import itertools
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import sentencepiece as spm
import sentencepiece.sentencepiece_model_pb2 as sp_pb2
import tiktoken
import tokenizers as hf
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

try:
    import llama_cpp
except ImportError:
    llama_cpp = None

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")

# ---- nasty strings ----


def assigned():
    return [c for c in range(0x20, 0x323B0) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]


# Blocks and scripts that came with Unicode 14 and 15: the libraries disagree about these for some years.
YOUNG = [
    (0x0870, 0x088E),
    (0x0890, 0x0891),
    (0x0898, 0x089F),
    (0x08B5, 0x08B5),
    (0x08C8, 0x08D2),
    (0x0C3C, 0x0C3C),
    (0x0C5D, 0x0C5D),
    (0x0CDD, 0x0CDD),
    (0x0CF3, 0x0CF3),
    (0x0ECE, 0x0ECE),
    (0x170D, 0x171F),
    (0x180F, 0x180F),
    (0x1AC1, 0x1ACE),
    (0x1B4C, 0x1B4C),
    (0x1B7D, 0x1B7E),
    (0x1DFA, 0x1DFA),
    (0x20C0, 0x20C0),
    (0x2C2F, 0x2C2F),
    (0x2C5F, 0x2C5F),
    (0x2E53, 0x2E5D),
    (0x9FFD, 0x9FFF),
    (0xA7C0, 0xA7C1),
    (0xA7D0, 0xA7D9),
    (0xA7F2, 0xA7F4),
    (0xFBC2, 0xFBC2),
    (0xFD40, 0xFD4F),
    (0xFDCF, 0xFDCF),
    (0xFDFE, 0xFDFF),
    (0x10570, 0x107BA),
    (0x10EFD, 0x10EFF),
    (0x10F70, 0x10F89),
    (0x11070, 0x11075),
    (0x110C2, 0x110C2),
    (0x11240, 0x11241),
    (0x116B9, 0x116B9),
    (0x11740, 0x11746),
    (0x11AB0, 0x11ABF),
    (0x11B00, 0x11B09),
    (0x11F00, 0x11F59),
    (0x12F90, 0x12FF2),
    (0x13430, 0x13455),
    (0x16A70, 0x16AC9),
    (0x1AFF0, 0x1B122),
    (0x1B132, 0x1B132),
    (0x1B155, 0x1B155),
    (0x1CF00, 0x1CFC3),
    (0x1D1E9, 0x1D1EA),
    (0x1D2C0, 0x1D2D3),
    (0x1DF00, 0x1DF2A),
    (0x1E030, 0x1E08F),
    (0x1E290, 0x1E2AE),
    (0x1E4D0, 0x1E4F9),
    (0x1E7E0, 0x1E7FE),
    (0x1F6DC, 0x1F6DD),
    (0x1F774, 0x1F77F),
    (0x1F7D9, 0x1F7D9),
    (0x1F7F0, 0x1F7F0),
    (0x1F6DE, 0x1F6DF),
    (0x1F979, 0x1F979),
    (0x1F9CC, 0x1F9CC),
    (0x1FA75, 0x1FAFF),
    (0x2A6DE, 0x2A6DF),
    (0x2B735, 0x2B739),
    (0x31350, 0x323AF),
]


class Strings:
    SPACES = " \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
    LOOKALIKES = [
        "<s>",
        "</s>",
        "<unk>",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|eot_id|>",
        "[CLS]",
        "[MASK]",
        "<0x0A>",
        "<0x41>",
        "<|",
        "|>",
        "<",
        "▁",
        "▁▁",
        "##",
        "Ġ",
        "Ċ",
        "</w>",
        "<0x-1>",
        "<0xZZ>",
        "\\x41",
    ]
    CODE = [
        "def f(x):\n    return x[1:-1]",
        "for (int i = 0; i < n; ++i) {\n\t\ta[i] += 0x1F;\n}",
        "\\n\\t\\u00e9",
        "SELECT * FROM t WHERE a='b''c';",
        '<div class="a">&amp;</div>',
        '{"k": [1, 2.5e-3, null]}',
        "x->y::z<T>",
        "https://example.org/a?b=c&d=%20#e",
        "#!/bin/sh\n",
        "    \n\t\n",
        "a_b__c",
        "'''",
        "I'm you're he'll WE'VE'd",
    ]
    WORDS = [
        "the",
        " of",
        "Hello",
        " World",
        "don't",
        "naïve",
        "Äpfel",
        "straße",
        "日本語",
        "中文字",
        "한국어",
        "Привет",
        "עברית",
        "العربية",
        "हिन्दी",
        "ไทย",
        "ភាសា",
        "🚀",
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "e\u0301",
        "ﬁ",
        "①",
        "½",
        "Ⅷ",
        "１２",
        "ſ",
        "İ",
        "ẞ",
        "café",
        "2024",
        "3.14",
        "1,000,000",
        "00",
        "...",
        "!!",
        "(){}[]",
        "--",
        "—",
        "“”",
        "'s",
        "'LL",
        "$",
        "€",
        "%",
    ]

    def __init__(self, seed):
        self.r = random.Random(seed)
        young = set()
        for a, b in YOUNG:
            young.update(range(a, b + 1))
        self.chars = [c for c in assigned() if c not in young]

    def piece(self):
        r = self.r
        k = r.randrange(12)
        if k == 0:
            return chr(r.choice(self.chars)) * r.randint(1, 3)
        if k == 1:
            base = r.randrange(0, 0x10000, 0x80)
            near = [c for c in range(base, base + 0x80) if c in self.char_set()]
            return "".join(chr(r.choice(near)) for _ in range(r.randint(1, 6))) if near else " "
        if k == 2:
            return "".join(r.choice(self.SPACES) for _ in range(r.randint(1, 5)))
        if k == 3:
            return r.choice(self.LOOKALIKES)
        if k == 4:
            return r.choice(self.CODE)
        if k == 5:
            return r.choice(["a", " ", "\n", "0", "é", "漢", "🙂", "\u0301", "(", "'", "-", "A"]) * r.randint(2, 40)
        if k == 6:
            return "".join(chr(r.randint(0x300, 0x36F)) for _ in range(r.randint(1, 4)))
        if k == 7:
            return "".join(chr(r.randint(0x20, 0x7E)) for _ in range(r.randint(1, 10)))
        if k == 8:
            return str(r.randint(0, 10 ** r.randint(1, 12)))
        if k == 9:
            return " " * r.randint(1, 4) + r.choice(self.WORDS)
        return r.choice(self.WORDS)

    def char_set(self):
        if not hasattr(self, "_set"):
            self._set = set(self.chars)
        return self._set

    def one(self):
        return "".join(self.piece() for _ in range(self.r.randint(1, 7)))

    def many(self, n):
        return [self.one() for _ in range(n)]

    def broken(self, n):
        """Bytes that are not UTF-8, and what replaces them: one U+FFFD per byte."""
        out = []
        for _ in range(n):
            data = bytearray(self.one().encode())
            for _ in range(self.r.randint(1, 4)):
                i = self.r.randrange(len(data) + 1)
                if self.r.random() < 0.5:
                    data[i : i + 1] = bytes([self.r.randrange(256)])
                else:
                    del data[i : i + 1]
            out.append(bytes(data))
        return out


def clean(data):
    """Valid characters stay; each other byte becomes U+FFFD."""
    out, i = [], 0
    while i < len(data):
        for n in (1, 2, 3, 4):
            try:
                out.append(data[i : i + n].decode("utf-8"))
                i += n
                break
            except UnicodeDecodeError:
                pass
        else:
            out.append("\ufffd")
            i += 1
    return "".join(out)


# ---- the program ----


class Program:
    def __init__(self, batch):
        self.batch = batch

    def ends(self, model):
        done = subprocess.run([self.batch, model, "ends"], capture_output=True, check=True)
        return [int(line) for line in done.stdout.split()]

    def run(self, model, texts, *flags):
        data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
        done = subprocess.run([self.batch, model, *flags], input=data, capture_output=True)
        if done.returncode:
            raise SystemExit(f"{model}: {done.stderr.decode()}")
        out, at, rows = done.stdout, 0, []
        for _ in texts:
            (n,) = struct.unpack_from("<I", out, at)
            at += 4
            if "decode" in flags:
                rows.append(out[at : at + n])
                at += n
            else:
                rows.append(list(struct.unpack_from(f"<{n}i", out, at)))
                at += 4 * n
        return rows


def disagreeing(normalizer, expected):
    """Characters that a normalizer's own tables, which may be years old, treat unlike `expected`."""
    chars = [chr(c) for c in assigned()]
    return {c for c in chars if normalizer.normalize_str("a" + c + "b") != "a" + expected(c) + "b"}


def bert_expects(c):
    if c in "\0\ufffd" or (unicodedata.category(c) in ("Cc", "Cf") and c not in "\t\n\r"):
        return ""
    if c in "\t\n\r" or c.isspace():
        return " "
    n = ord(c)
    if any(
        a <= n <= b
        for a, b in [
            (0x4E00, 0x9FFF),
            (0x3400, 0x4DBF),
            (0x20000, 0x2A6DF),
            (0x2A700, 0x2B73F),
            (0x2B740, 0x2B81F),
            (0x2B920, 0x2CEAF),
            (0xF900, 0xFAFF),
            (0x2F800, 0x2FA1F),
        ]
    ):
        c = " " + c + " "
    c = unicodedata.normalize("NFD", c)
    return "".join("".join(d) for d in c if unicodedata.category(d) != "Mn").lower()


def old_punctuation():
    split = pre_tokenizers.BertPreTokenizer()
    symbols = "$+<=>^`|~"
    return {
        chr(c)
        for c in assigned()
        if not chr(c).isspace()
        and (len(split.pre_tokenize_str("a" + chr(c))) == 2)
        != (unicodedata.category(chr(c))[0] == "P" or chr(c) in symbols)
    }


def old_marks():
    """Characters whose order among marks or whose decomposition the reference does not know: it leaves them as they are."""
    nfkd = normalizers.NFKD()
    return {
        chr(c)
        for c in assigned()
        if any(
            nfkd.normalize_str(t) != unicodedata.normalize("NFKD", t) for t in (chr(c) + "\u0334", "\u0345" + chr(c))
        )
    }


def no_accents(c):
    return "".join(d for d in unicodedata.normalize("NFD", c) if unicodedata.category(d)[0] != "M")


class Comparer:
    def __init__(self, program, n, seed, only):
        self.program, self.only, self.failed = program, only, False
        strings = Strings(seed)
        self.texts = strings.many(n)
        broken = strings.broken(max(1, n // 10))
        self.texts_bytes = [t.encode() for t in self.texts] + broken
        self.texts += [clean(b) for b in broken]

    def wants(self, name):
        return not self.only or self.only in name

    def compare(self, name, model, reference, *flags, texts=None, without=frozenset(), ties=False):
        """`without`: characters on which the reference goes by old tables; strings with one are left out. `ties`: the same
        tokens in another order have the same sum of scores, and only rounding decides between them: they are counted
        apart."""
        if not self.wants(name):
            return
        chosen = self.texts if texts is None else texts
        data = self.texts_bytes if texts is None else [t.encode() for t in texts]
        if without:
            keep = [i for i, t in enumerate(chosen) if without.isdisjoint(t)]
            name += f" ({len(without)} characters left out)"
            chosen, data = [chosen[i] for i in keep], [data[i] for i in keep]
        got = self.program.run(model, data, *flags)
        want = reference(chosen)
        wrong = [i for i in range(len(chosen)) if got[i] != want[i]]
        tied = [i for i in wrong if ties and sorted(got[i]) == sorted(want[i])]
        wrong = [i for i in wrong if i not in tied]
        print(
            f"{name}: {len(chosen)} strings, {len(wrong)} differences" + (f", {len(tied)} ties" if tied else ""),
            flush=True,
        )
        for i in wrong[:3]:
            print(f"    {chosen[i]!r}\n      got  {got[i]}\n      want {want[i]}")
        self.failed |= bool(wrong)


# ---- references out of GGUF files ----


class Gguf:
    def __init__(self, path):
        self.fields = gguf.GGUFReader(path).fields
        self.tokens = self.list("tokens")
        self.types = self.list("token_type") or [1] * len(self.tokens)
        self.merges = [tuple(m.split(" ", 1)) for m in self.list("merges") or []]
        self.scores = self.list("scores")

    def list(self, key):
        field = self.fields.get("tokenizer.ggml." + key)
        return field.contents() if field else None


def hf_bpe(g, pre, special):
    """A Hugging Face tokenizer with the vocabulary; `special` are the token types that it finds in text."""
    vocab = {t: i for i, t in enumerate(g.tokens)}
    tok = hf.Tokenizer(models.BPE(vocab=vocab, merges=g.merges, **pre.get("model", {})))
    tok.pre_tokenizer = pre_tokenizers.Sequence(pre["steps"])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t, k in zip(g.tokens, g.types) if k in special]
    )
    return tok


def split(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
PRE = {
    "gpt-2": {"steps": [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)], "regex": GPT2},
    "llama-bpe": {"steps": [split(LLAMA3), BYTES], "model": {"ignore_merges": True}, "regex": LLAMA3},
    "qwen2": {"steps": [split(QWEN2), BYTES], "regex": QWEN2},
    "falcon": {
        "steps": [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            pre_tokenizers.Digits(individual_digits=False),
            split("[0-9][0-9][0-9]"),
        ]
    },
    "deepseek-coder": {
        "steps": [
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            split("[一-龥ࠀ-一가-퟿]+"),
            pre_tokenizers.Digits(individual_digits=True),
            BYTES,
        ]
    },
}


def encode_hf(tok, special=False):
    def run(texts):
        return [e.ids for e in tok.encode_batch(texts, add_special_tokens=special)]

    return run


def byte_char_table():
    own = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table, n = {}, 0
    for b in range(256):
        if b in own:
            table[chr(b)] = b
        else:
            table[chr(256 + n)] = b
            n += 1
    return table


def tiktoken_of(name, g, regex):
    """An Encoding whose ranks are the ids; None where merging by id is not what the merges do."""
    table = byte_char_table()
    ranks = {}
    for i, (t, k) in enumerate(zip(g.tokens, g.types)):
        if k == 1 and all(c in table for c in t):
            ranks.setdefault(bytes(table[c] for c in t), i)
    if name != "llama-bpe":  # the others' single bytes come in another order than tiktoken wants ranks
        return None
    return tiktoken.Encoding(name, pat_str=regex, mergeable_ranks=ranks, special_tokens={})


def compare_bpe(c, data, work):
    for name, pre in PRE.items():
        path = os.path.join(data, "tokenizers", name + ".gguf")
        if not os.path.exists(path) or not c.wants("gguf " + name):
            continue
        g = Gguf(path)
        user, special = hf_bpe(g, pre, {4}), hf_bpe(g, pre, {3, 4})
        old = old_punctuation() if name == "falcon" else frozenset()
        c.compare(f"gguf {name}, tokenizers", path, encode_hf(user), without=old)
        c.compare(f"gguf {name}, tokenizers, special tokens", path, encode_hf(special), "special", without=old)
        enc = tiktoken_of(name, g, pre.get("regex"))
        if enc:
            c.compare(f"gguf {name}, tiktoken", path, lambda ts: [enc.encode_ordinary(t) for t in ts])
        saved = os.path.join(work, name + ".tokenizer.json")
        special.save(saved)
        c.compare(f"json {name}", saved, encode_hf(special), "special", without=old)
        c.compare(
            f"json {name}, decoded",
            saved,
            lambda ts: [
                special.decode(e.ids, skip_special_tokens=False).encode()
                for e in special.encode_batch(ts, add_special_tokens=False)
            ],
            "special",
            "decode",
            without=old,
        )


def sp_model(g, **flags):
    """A SentencePiece model with the vocabulary of a GGUF file."""
    m = sp_pb2.ModelProto()
    for t, s, k in zip(g.tokens, g.scores, g.types):
        m.pieces.add(piece=t, score=s, type=k)
    m.trainer_spec.model_type = 2
    m.trainer_spec.byte_fallback = True
    m.trainer_spec.vocab_size = len(g.tokens)
    m.normalizer_spec.name = "identity"
    m.normalizer_spec.add_dummy_prefix = flags.get("prefix", True)
    m.normalizer_spec.remove_extra_whitespaces = False
    m.normalizer_spec.escape_whitespaces = True
    return m


def hf_of_spm(g):
    """A Hugging Face tokenizer that merges as SentencePiece does."""
    merges = []
    ids = {t: i for i, t in enumerate(g.tokens)}
    for t, s, k in zip(g.tokens, g.scores, g.types):
        if k == 1 and len(t) > 1:
            merges += [
                (s, ids[t[:i]], ids[t[i:]], t[:i], t[i:]) for i in range(1, len(t)) if t[:i] in ids and t[i:] in ids
            ]
    merges.sort(key=lambda m: (-m[0], m[1], m[2]))
    tok = hf.Tokenizer(
        models.BPE(vocab=ids, merges=[m[3:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return tok


def compare_spm(c, data, work):
    path = os.path.join(data, "tokenizers", "llama-spm.gguf")
    if not os.path.exists(path) or not c.wants("llama-spm"):
        return
    g = Gguf(path)
    model = os.path.join(work, "llama.model")
    with open(model, "wb") as f:
        f.write(sp_model(g).SerializeToString())
    sp = spm.SentencePieceProcessor(model_file=model)
    c.compare("gguf llama-spm, sentencepiece", path, sp.encode)
    c.compare("model llama-spm, sentencepiece", model, sp.encode)
    c.compare(
        "model llama-spm, sentencepiece, decoded",
        model,
        lambda ts: [sp.decode(sp.encode(t)).encode() for t in ts],
        "decode",
    )
    tok = hf_of_spm(g)
    bos = g.tokens.index("<s>")
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    saved = os.path.join(work, "llama.tokenizer.json")
    tok.save(saved)
    c.compare("json llama-spm", saved, encode_hf(tok), "special")
    c.compare("json llama-spm with <s>", saved, encode_hf(tok, True), "special", "bos", texts=c.texts[:2000])


def hf_of_bert(g):
    back = [t if k == 3 else t[1:] if t.startswith("▁") else "##" + t for t, k in zip(g.tokens, g.types)]
    vocab = {t: i for i, t in enumerate(back)}
    tok = hf.Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    return tok


def compare_bert(c, data, work):
    path = os.path.join(data, "tokenizers", "bert-bge.gguf")
    if not os.path.exists(path) or not c.wants("bert"):
        return
    g = Gguf(path)
    tok = hf_of_bert(g)
    vocab = tok.get_vocab()
    old = disagreeing(tok.normalizer, bert_expects) | old_punctuation()
    c.compare("gguf bert-bge, tokenizers", path, encode_hf(tok), without=old)
    tok.add_special_tokens([AddedToken(t, special=True) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    saved = os.path.join(work, "bert.tokenizer.json")
    tok.save(saved)
    c.compare("json bert-bge", saved, encode_hf(tok), "special", without=old)
    c.compare(
        "json bert-bge with [CLS]", saved, encode_hf(tok, True), "special", "bos", texts=c.texts[:2000], without=old
    )
    c.compare(
        "json bert-bge, decoded",
        saved,
        lambda ts: [
            tok.decode(e.ids, skip_special_tokens=False).encode()
            for e in tok.encode_batch(ts, add_special_tokens=False)
        ],
        "special",
        "decode",
        without=old,
    )


# ---- references that are trained here ----


def corpus(strings, path):
    r = random.Random(7)
    stems = ["".join(r.choice("etaoinshrdlucmfw") for _ in range(r.randint(2, 8))) for _ in range(800)]
    with open(path, "w", encoding="utf-8") as f:
        for i in range(6000):
            line = " ".join(
                r.choice(stems) + r.choice(["", "s", "ing", "ed", ".", ","]) for _ in range(r.randint(3, 14))
            )
            if i % 7 == 0:
                line += " " + " ".join(r.choice(Strings.WORDS).strip() for _ in range(4))
            f.write(line + "\n")


def compare_trained(c, work):
    text = os.path.join(work, "corpus.txt")
    corpus(c, text)
    for kind in ("unigram", "bpe"):
        for name, extra in {
            "nmt_nfkc": {"normalization_rule_name": "nmt_nfkc"},
            "identity": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
            "fallback": {"normalization_rule_name": "nfkc_cf", "byte_fallback": True, "add_dummy_prefix": False},
            "user": {
                "user_defined_symbols": ["<sep>", "the", "▁▁", "\n"],
                "byte_fallback": True,
                "normalization_rule_name": "identity",
                "remove_extra_whitespaces": False,
            },
            "suffix": {"treat_whitespace_as_suffix": True},
        }.items():
            label = f"model {kind} {name}"
            if not c.wants(label) and not c.wants("t5"):
                continue
            prefix = os.path.join(work, f"{kind}_{name}")
            spm.SentencePieceTrainer.train(
                input=text,
                model_prefix=prefix,
                model_type=kind,
                vocab_size=1500,
                character_coverage=0.999,
                minloglevel=2,
                num_threads=1,
                **extra,
            )
            sp = spm.SentencePieceProcessor(model_file=prefix + ".model")
            c.compare(label + ", sentencepiece", prefix + ".model", sp.encode, ties=kind == "unigram")
            if kind == "unigram" and name == "nmt_nfkc":
                compare_t5(c, work, prefix + ".model")


def hf_of_unigram(m):
    tok = hf.Tokenizer(models.Unigram([(p.piece, p.score) for p in m.pieces], unk_id=0, byte_fallback=False))
    tok.normalizer = normalizers.Precompiled(m.normalizer_spec.precompiled_charsmap)
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tok.decoder = decoders.Metaspace()
    return tok


def compare_t5(c, work, model):
    """The same vocabulary as a T5 GGUF file and as a tokenizer.json with a precompiled map."""
    m = sp_pb2.ModelProto()
    with open(model, "rb") as f:
        m.ParseFromString(f.read())
    path = os.path.join(work, "t5.gguf")
    w = gguf.GGUFWriter(path, "t5")
    w.add_tokenizer_model("t5")
    w.add_tokenizer_pre("default")
    w.add_token_list([p.piece for p in m.pieces])
    w.add_token_scores([p.score for p in m.pieces])
    w.add_token_types([p.type for p in m.pieces])
    w.add_add_space_prefix(True)
    w.add_remove_extra_whitespaces(True)
    w.add_precompiled_charsmap(m.normalizer_spec.precompiled_charsmap)
    w.add_unk_token_id(0)
    w.add_eos_token_id(2)
    w.add_bos_token_id(1)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    sp = spm.SentencePieceProcessor(model_file=model)
    c.compare("gguf t5, sentencepiece", path, sp.encode)
    tok = hf_of_unigram(m)
    saved = os.path.join(work, "t5.tokenizer.json")
    tok.save(saved)
    c.compare("json t5", saved, encode_hf(tok), "special")


def compare_json_variety(c, work):
    """Small tokenizers with every kind of step."""
    r = random.Random(3)
    text = [" ".join(r.choice(Strings.WORDS) for _ in range(12)) for _ in range(3000)]
    special = ["<s>", "</s>", "<unk>"]
    steps = {
        "metaspace first": dict(pre=pre_tokenizers.Metaspace(prepend_scheme="first"), dec=decoders.Metaspace()),
        "metaspace whole": dict(
            pre=pre_tokenizers.Metaspace(prepend_scheme="always", split=False), dec=decoders.Metaspace()
        ),
        "metaspace never": dict(
            pre=pre_tokenizers.Metaspace(prepend_scheme="never"), dec=decoders.Metaspace(prepend_scheme="never")
        ),
        "nfkc lower strip": dict(
            norm=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()]),
            pre=pre_tokenizers.Whitespace(),
        ),
        "nfd accents": dict(
            norm=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
            pre=pre_tokenizers.WhitespaceSplit(),
        ),
        "nfc digits punctuation": dict(
            norm=normalizers.NFC(),
            pre=pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()]),
        ),
        "nfkd contiguous": dict(
            norm=normalizers.NFKD(),
            pre=pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Punctuation("contiguous")]
            ),
        ),
        "merged previous": dict(pre=pre_tokenizers.Split(" ", "merged_with_previous")),
        "merged next": dict(pre=pre_tokenizers.Split(Regex(r"\s"), "merged_with_next")),
        "contiguous": dict(pre=pre_tokenizers.Split(Regex(r"[aeiou]"), "contiguous")),
        "removed inverted": dict(pre=pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), "removed", invert=True)),
        "replace regex": dict(norm=normalizers.Replace(Regex(r"\s+"), " "), pre=pre_tokenizers.Split(" ", "isolated")),
        "byte level prefix": dict(pre=pre_tokenizers.ByteLevel(add_prefix_space=True), dec=decoders.ByteLevel()),
        "suffix": dict(
            model=dict(end_of_word_suffix="</w>"), pre=pre_tokenizers.BertPreTokenizer(), dec=decoders.BPEDecoder()
        ),
        "subword prefix": dict(
            model=dict(continuing_subword_prefix="##"), pre=pre_tokenizers.BertPreTokenizer(), dec=decoders.WordPiece()
        ),
        "fuse unk": dict(model=dict(fuse_unk=True), pre=pre_tokenizers.WhitespaceSplit()),
        "byte normalizer": dict(
            norm=normalizers.Sequence([normalizers.NFC(), normalizers.ByteLevel()]),
            pre=pre_tokenizers.Split(Regex("\u0120?[^\u0120]+"), "isolated"),
            dec=decoders.ByteLevel(),
        ),
        "byte normalizer alone": dict(
            norm=normalizers.ByteLevel(), pre=pre_tokenizers.Whitespace(), dec=decoders.ByteLevel()
        ),
        "words": dict(words=True, norm=normalizers.Lowercase(), pre=pre_tokenizers.Whitespace()),
        "words of bytes": dict(
            words=True, pre=pre_tokenizers.ByteLevel(add_prefix_space=False), dec=decoders.ByteLevel()
        ),
    }
    for name, s in steps.items():
        if not c.wants("json " + name):
            continue
        words = s.get("words", False)
        tok = hf.Tokenizer(
            models.WordLevel(unk_token="<unk>") if words else models.BPE(unk_token="<unk>", **s.get("model", {}))
        )
        if "norm" in s:
            tok.normalizer = s["norm"]
        tok.pre_tokenizer = s["pre"]
        if "dec" in s:
            tok.decoder = s["dec"]
        alphabet = pre_tokenizers.ByteLevel.alphabet() if name.startswith("byte") else []
        extra = {k: v for k, v in s.get("model", {}).items() if k != "fuse_unk"}
        tok.train_from_iterator(
            text,
            trainers.WordLevelTrainer(vocab_size=700, special_tokens=special, show_progress=False)
            if words
            else trainers.BpeTrainer(
                vocab_size=700, special_tokens=special, show_progress=False, initial_alphabet=alphabet, **extra
            ),
        )
        tok.add_tokens(
            [
                AddedToken("World", normalized=True),
                AddedToken("of", normalized=True, single_word=True),
                AddedToken("[MASK]", lstrip=True, normalized=False),
                AddedToken("<|im_end|>", rstrip=True),
            ]
        )
        tok.add_special_tokens([AddedToken("<|eot_id|>", lstrip=True, rstrip=True, special=True)])
        saved = os.path.join(work, re.sub(r"\W", "_", name) + ".json")
        tok.save(saved)
        old = frozenset()
        if "accents" in name:
            old |= disagreeing(s["norm"], no_accents)
        if "nf" in name or name == "byte normalizer":
            old |= old_marks()
        if name in ("nfc digits punctuation", "nfkd contiguous", "suffix", "subword prefix"):
            old |= old_punctuation()
        c.compare("json " + name, saved, encode_hf(tok), "special", without=old)
        c.compare(
            "json " + name + ", decoded",
            saved,
            lambda ts: [
                tok.decode(e.ids, skip_special_tokens=False).encode()
                for e in tok.encode_batch(ts, add_special_tokens=False)
            ],
            "special",
            "decode",
            without=old,
        )
    if c.wants("json unigram"):
        tok = hf.Tokenizer(models.Unigram())
        tok.pre_tokenizer = pre_tokenizers.Metaspace()
        tok.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
        tok.decoder = decoders.Metaspace()
        tok.train_from_iterator(
            text,
            trainers.UnigramTrainer(vocab_size=500, special_tokens=special, unk_token="<unk>", show_progress=False),
        )
        saved = os.path.join(work, "unigram.json")
        tok.save(saved)
        c.compare("json unigram", saved, encode_hf(tok), "special")


# ---- RWKV: the longest token that fits, which is all there is to it ----


def compare_rwkv(c, work):
    if not c.wants("gguf rwkv"):
        return
    r = random.Random(11)
    tokens = [bytes([b]) for b in range(256)]
    seen = set(tokens)
    for w in Strings.WORDS + Strings.CODE:
        b = w.encode()
        for _ in range(6):
            i = r.randrange(len(b))
            t = b[i : i + r.randint(2, 9)]
            if len(t) > 1 and t not in seen:
                seen.add(t)
                tokens.append(t)

    def escape(t):
        return "".join(
            chr(b)
            if 0x20 <= b < 0x7F and b not in b"\\"
            else "\\n"
            if b == 10
            else "\\t"
            if b == 9
            else f"\\x{b:02x}"
            if b != 0x5C
            else "\\\\"
            for b in t
        )

    path = os.path.join(work, "rwkv.gguf")
    w = gguf.GGUFWriter(path, "rwkv6")
    w.add_tokenizer_model("rwkv")
    w.add_token_list(["<s>"] + [escape(t) for t in tokens])
    w.add_token_types([3] + [1] * len(tokens))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    ids = {t: i + 1 for i, t in enumerate(tokens)}
    longest = max(map(len, tokens))

    def reference(_):
        rows = []
        for data in c.texts_bytes:
            row, i = [], 0
            while i < len(data):
                n = next(k for k in range(min(longest, len(data) - i), 0, -1) if data[i : i + k] in ids)
                row.append(ids[data[i : i + n]])
                i += n
            rows.append(row)
        return rows

    c.compare("gguf rwkv, longest match", path, reference)


# ---- llama.cpp, where it is installed: kinds that nothing else knows, and which tokens end a generation ----


def write_gguf(path, model, tokens, types, scores=None, merges=None, pre=None):
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model(model)
    if pre:
        w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    if scores:
        w.add_token_scores(scores)
    if merges:
        w.add_token_merges(merges)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


class LlamaCpp:
    def __init__(self, path):
        self.model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model.model)
        self.ids = (llama_cpp.llama_token * (1 << 16))()

    def encode(self, texts):
        rows = []
        for t in texts:
            data = t if isinstance(t, bytes) else t.encode()
            n = llama_cpp.llama_tokenize(self.vocab, data, len(data), self.ids, len(self.ids), False, True)
            rows.append(list(self.ids[:n]))
        return rows

    def ends(self):
        n = llama_cpp.llama_vocab_n_tokens(self.vocab)
        return [i for i in range(n) if llama_cpp.llama_vocab_is_eog(self.vocab, i)]


def compare_llama(c, data, work):
    if not llama_cpp:
        print("llama.cpp is not installed: left out")
        return
    r = random.Random(5)
    if c.wants("gguf plamo2"):
        tokens = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"]
        types, scores = [2, 3, 3, 3], [0.0] * 4
        tokens += [f"<0x{b:02X}>" for b in range(256)]
        types += [6] * 256
        scores += [0.0] * 256
        seen = set(tokens)
        for text in Strings(77).many(3000):
            for _ in range(3):
                i = r.randrange(len(text))
                piece = text[i : i + r.choice([1, 1, 2, 2, 3, 4, 6, 9])]
                if piece not in seen and "\ufeff" not in piece:
                    seen.add(piece)
                    tokens.append(piece)
                    types.append(1)
                    scores.append(round(-r.random() * 20, r.choice([0, 1, 6])))
        path = os.path.join(work, "plamo2.gguf")
        write_gguf(path, "plamo2", tokens, types, scores)
        c.compare("gguf plamo2, llama.cpp", path, LlamaCpp(path).encode, "special", texts=c.texts)
    if c.wants("gguf hybriddna"):
        g = Gguf(os.path.join(data, "tokenizers", "gpt-2.gguf"))
        letters = ["".join(x) for x in itertools.product("ACGT", repeat=6)]
        tokens = g.tokens + ["<dna>", "</dna>", "<oov>"] + [x + "\ue000" for x in letters]
        path = os.path.join(work, "hybriddna.gguf")
        write_gguf(path, "hybriddna", tokens, [1] * len(tokens), merges=[" ".join(m) for m in g.merges], pre="gpt-2")
        parts = ["<dna>", "</dna>", "ACGT", "acgtac", "CCCCCC", "the cat", "N", "<dna", " ", "\n", "é", "<oov>"]
        texts = ["".join(r.choice(parts) for _ in range(r.randint(1, 12))) for _ in range(len(c.texts))]
        c.compare("gguf hybriddna, llama.cpp", path, LlamaCpp(path).encode, "special", texts=texts)
    for name in ("llama-bpe", "qwen2", "gpt-2", "falcon", "deepseek-coder", "llama-spm", "phi-3", "bert-bge"):
        path = os.path.join(data, "tokenizers", name + ".gguf")
        if not os.path.exists(path) or not c.wants("end of generation"):
            continue
        g = Gguf(path)
        ours, theirs = c.program.ends(path), LlamaCpp(path).ends()
        # </s> that is ordinary text to a vocabulary does not end an answer that strikes something out in HTML.
        want = [i for i in theirs if not (g.tokens[i] == "</s>" and g.types[i] == 1)]
        print(
            f"end of generation, {name}: {[g.tokens[i] for i in ours]}, {len(set(ours) ^ set(want))} differences"
            + (f", </s> is left out: {set(theirs) - set(want)}" if want != theirs else ""),
            flush=True,
        )
        if ours != want:
            print(f"      got  {ours}\n      want {want}")
            c.failed = True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", required=True)
    parser.add_argument("--n", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--only", default="")
    parser.add_argument("--data", default=os.environ.get("PANTRY_TEST_DATA", "../shared/data"))
    args = parser.parse_args()
    c = Comparer(Program(args.batch), args.n, args.seed, args.only)
    with tempfile.TemporaryDirectory() as work:
        compare_bpe(c, args.data, work)
        compare_spm(c, args.data, work)
        compare_bert(c, args.data, work)
        compare_trained(c, work)
        compare_json_variety(c, work)
        compare_rwkv(c, work)
        compare_llama(c, args.data, work)
    sys.exit(1 if c.failed else 0)


if __name__ == "__main__":
    main()
