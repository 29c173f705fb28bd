#!/usr/bin/env python3
"""Records results of Hugging Face tokenizers in tokenizers.json, with every kind of step of a tokenizer.json.

usage: make_tokenizers.py

The models are trained on whole texts, not on words, so their merges cross every boundary of a step: a wrong boundary gives other ids. A
case is a model with its steps; its rows are [ids, decoded] per text, without the additions of a post-processor and, if different, with
them. Needs: tokenizers 0.23.
"""

import json
import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers.json")

TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    "a",
    "the cat",
    " the cat",
    "the  cat ",
    "   the   cat   ",
    "the\tcat\nthe\r\ncat\n\n",
    "The CAT sat. The cat, sat!",
    "don't I'm we'LL he's",
    "123 4567 1a2b3c 00 3.14",
    "a1 1a ab12cd",
    "naïve café Äpfel straße",
    "cafe\u0301 nai\u0308ve e\u0301\u0323",
    "ﬁ ① ½ Ⅷ １２ ﬀ",
    "日本語の中文字",
    "中a文 b",
    "한국어 각",
    "Привет мир",
    "हिन्दी ไทย",
    "🚀 👩‍👩‍👧 🇩🇪",
    "(a) [b] {c} <d>",
    "a² ½ ¹³ ①b ª¼¾ ·",
    "...!!??",
    "a-b_c.d,e;f:g",
    "“x” — ‘y’ …",
    "hello▁world ▁",
    "ĠtheĊ",
    "##a</w>",
    "a\u00a0b\u3000c\u2028d",
    "x\u200by\u200dz\ufeff",
    "İıſẞ",
    "aaaaaaaaaaaaaaaa",
    "ababababab",
    "eeee eee ee e",
    "the World of of. World",
    "[MASK] a [MASK]  b[MASK]",
    "a <|im_end|>  b <|eot_id|>  c",
    "of<|eot_id|>of roof of",
    "<s>a</s>",
    "<unk>",
    "a\x01b\x07c\ufffd",
    "WORLD World world",
    "zq",
    "zzqq zq",
    "a zq b",
    "$5 + 3 = 8% ^ ~`|",
    "\n\n  the\n  cat",
    "1,000,000.00 -1",
    "f(x)[1:-1]",
]


def learned(vocab_size, bytes_=False, **extra):
    """Merges over whole texts: no pre-tokenizer but the byte alphabet."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", **extra))
    if bytes_:
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = [t for t in TEXTS if "zq" not in t] * 3
    tok.train_from_iterator(
        text,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<unk>", "<s>", "</s>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if bytes_ else [],
            **extra,
        ),
    )
    return json.loads(tok.to_str())["model"]


def unigram(byte_fallback=False):
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)] + (
        [(f"<0x{b:02X}>", -9.0) for b in range(256)] if byte_fallback else []
    )
    words = [
        "▁",
        "▁the",
        "▁cat",
        "the",
        "th",
        "he",
        "cat",
        "ca",
        "at",
        "a",
        "b",
        "c",
        "e",
        "t",
        "h",
        "ab",
        "aba",
        "bab",
        "aa",
        "aaa",
        "ee",
        "▁e",
        "1",
        "2",
        "3",
        "12",
        "123",
        ".",
        ",",
        "!",
        "é",
        "n",
        "s",
        "▁s",
        "sa",
        "d",
        "o",
        "of",
        "▁of",
        "w",
        "r",
        "l",
        "ld",
        "orld",
        "日本",
        "語",
        "▁▁",
        "'",
        "-",
        "T",
        "C",
        "A",
    ]
    pieces += [(w, -2.0 - 0.37 * (i * 7 % 13)) for i, w in enumerate(words)]
    return json.loads(Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=byte_fallback)).to_str())["model"]


def wordpiece(**options):
    words = [
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "the",
        "th",
        "##e",
        "cat",
        "ca",
        "##t",
        "##at",
        "a",
        "##a",
        "b",
        "##b",
        "##ab",
        "c",
        "##c",
        "ab",
        "1",
        "##1",
        "12",
        "##2",
        "##3",
        "don",
        "'",
        "t",
        "s",
        "##s",
        ".",
        ",",
        "!",
        "cafe",
        "café",
        "naive",
        "na",
        "##ive",
        "##ïve",
        "日",
        "本",
        "語",
        "##本",
        "world",
        "of",
        "x",
        "##x",
        "(",
        ")",
        "e",
        "##ee",
        "ee",
        "$",
        "5",
    ]
    return json.loads(
        Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]", **options)).to_str()
    )["model"]


def words():
    names = [
        "<unk>",
        "the",
        "cat",
        "a",
        "b",
        "c",
        "of",
        "World",
        "sat",
        "The",
        ".",
        ",",
        "!",
        "123",
        "hello",
        " ",
        "  ",
        "1",
        "e",
        "\n",
    ]
    return json.loads(Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>")).to_str())[
        "model"
    ]


def added():
    return [
        AddedToken("World", normalized=True),
        AddedToken("of", normalized=True, single_word=True),
        AddedToken("[MASK]", lstrip=True, normalized=False),
        AddedToken("<|im_end|>", rstrip=True, normalized=False),
        AddedToken("cat", normalized=False, single_word=True),
    ]


def cases():
    N, P, D = normalizers, pre_tokenizers, decoders
    split, byte = P.Split, P.ByteLevel
    spm = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    yield "bpe", {}
    for n in (
        N.NFC(),
        N.NFD(),
        N.NFKC(),
        N.NFKD(),
        N.Lowercase(),
        N.Strip(),
        N.Strip(right=False),
        N.Strip(left=False),
        N.Prepend("▁"),
        N.Replace(" ", "▁"),
        N.Replace("aa", "b"),
        N.Replace(Regex(r"\s+"), " "),
        N.Replace(Regex("[0-9]"), ""),
        N.Nmt(),
        N.Sequence([N.NFD(), N.StripAccents()]),
        N.Sequence([N.NFD(), N.StripAccents(), N.Lowercase(), N.Strip()]),
        N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
        N.BertNormalizer(),
        N.BertNormalizer(lowercase=False),
        N.BertNormalizer(clean_text=False, strip_accents=True, lowercase=False),
        N.BertNormalizer(handle_chinese_chars=False, strip_accents=False),
    ):
        yield "bpe", {"normalizer": n}
    for p in (
        P.Whitespace(),
        P.WhitespaceSplit(),
        P.BertPreTokenizer(),
        P.Digits(individual_digits=True),
        P.Digits(individual_digits=False),
        P.Punctuation("isolated"),
        P.Punctuation("removed"),
        P.Punctuation("merged_with_previous"),
        P.Punctuation("merged_with_next"),
        P.Punctuation("contiguous"),
        split(" ", "isolated"),
        split(" ", "removed"),
        split(" ", "merged_with_previous"),
        split(" ", "merged_with_next"),
        split(" ", "contiguous"),
        split(Regex("[aeiou]"), "merged_with_previous"),
        split(Regex("[aeiou]"), "merged_with_next"),
        split(Regex("[aeiou]+"), "contiguous"),
        split(Regex(r"\w+|[^\w\s]+"), "removed", invert=True),
        split(Regex(r"\w+"), "isolated", invert=True),
        split(Regex(r"a|"), "isolated"),
        split(Regex(r"[^\w\s]+"), "isolated"),
        split(Regex(r"\b"), "isolated"),
        P.CharDelimiterSplit("a"),
        P.Metaspace(),
        P.Metaspace(prepend_scheme="never"),
        P.Metaspace(prepend_scheme="first"),
        P.Metaspace(split=False),
        P.Sequence([P.WhitespaceSplit(), P.Digits(individual_digits=True), P.Punctuation()]),
    ):
        yield "bpe", {"pre_tokenizer": p}
    yield "bpe", {"pre_tokenizer": P.Metaspace(), "decoder": D.Metaspace()}
    yield (
        "bpe",
        {
            "pre_tokenizer": P.Metaspace(prepend_scheme="first"),
            "decoder": D.Metaspace(prepend_scheme="first"),
            "special": ["<|eot_id|>"],
        },
    )
    yield "bpe", {"added": added(), "special": ["<|eot_id|>"]}
    yield "bpe", {"added": added(), "normalizer": N.Lowercase(), "special": ["<|eot_id|>"]}
    plain = [AddedToken("World", normalized=False), AddedToken("of", normalized=False, single_word=True)]
    yield (
        "bpe",
        {
            "added": plain,
            "normalizer": N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
            "decoder": spm,
            "special": ["<|eot_id|>"],
        },
    )
    yield (
        "bpe",
        {
            "post": processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]),
            "special": ["<s>", "</s>"],
        },
    )
    for p in (
        byte(add_prefix_space=False),
        byte(add_prefix_space=True),
        byte(add_prefix_space=False, use_regex=False),
        P.Sequence([split(Regex(r"\p{N}{1,3}"), "isolated"), byte(add_prefix_space=False, use_regex=False)]),
        P.Sequence([P.Digits(individual_digits=True), byte(add_prefix_space=False)]),
    ):
        yield "bytes", {"pre_tokenizer": p, "decoder": D.ByteLevel(), "special": ["<s>", "</s>"]}
    yield "bytes", {"normalizer": N.ByteLevel(), "pre_tokenizer": P.Whitespace(), "decoder": D.ByteLevel()}
    yield (
        "bytes",
        {
            "normalizer": N.NFC(),
            "pre_tokenizer": byte(add_prefix_space=False),
            "decoder": D.ByteLevel(),
            "added": added(),
        },
    )
    yield (
        "bytes",
        {
            "pre_tokenizer": byte(add_prefix_space=False),
            "decoder": D.ByteLevel(),
            "post": processors.ByteLevel(trim_offsets=False),
        },
    )
    yield "fused", {"pre_tokenizer": P.WhitespaceSplit()}
    yield "fused", {}
    yield "fallback", {"normalizer": N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), "decoder": spm}
    yield "suffix", {"pre_tokenizer": P.WhitespaceSplit(), "decoder": D.BPEDecoder()}
    yield "prefix", {"pre_tokenizer": P.WhitespaceSplit(), "decoder": D.WordPiece()}
    yield "unigram", {"pre_tokenizer": P.Metaspace(), "decoder": D.Metaspace()}
    yield (
        "unigram",
        {
            "normalizer": N.Sequence([N.Nmt(), N.NFKC()]),
            "pre_tokenizer": P.Metaspace(prepend_scheme="never"),
            "decoder": D.Metaspace(prepend_scheme="never"),
        },
    )
    yield "unigram", {}
    yield "unigram fallback", {"pre_tokenizer": P.Metaspace(), "decoder": D.Sequence([D.ByteFallback(), D.Metaspace()])}
    bert = {"normalizer": N.BertNormalizer(), "pre_tokenizer": P.BertPreTokenizer()}
    yield (
        "wordpiece",
        {
            **bert,
            "decoder": D.WordPiece(),
            "post": processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1)),
            "special": ["[CLS]", "[SEP]", "[UNK]"],
        },
    )
    yield "wordpiece", {**bert, "decoder": D.WordPiece(cleanup=False)}
    yield "wordpiece", {"pre_tokenizer": P.Whitespace(), "decoder": D.WordPiece(prefix="##", cleanup=True)}
    yield "wordpiece short", {"pre_tokenizer": P.WhitespaceSplit(), "decoder": D.WordPiece()}
    yield "words", {"pre_tokenizer": P.Whitespace()}
    yield "words", {"pre_tokenizer": split(" ", "isolated"), "normalizer": N.Lowercase()}


def run(tok, text, around):
    ids = tok.encode(text, add_special_tokens=around).ids
    return [ids, tok.decode(ids, skip_special_tokens=False)]


def record(model, steps):
    tok = Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": None,
                "pre_tokenizer": None,
                "post_processor": None,
                "decoder": None,
                "model": model,
            }
        )
    )
    for name, step in steps.items():
        if name == "added":
            tok.add_tokens(step)
        elif name == "special":
            tok.add_special_tokens(
                [
                    AddedToken(t, special=True, normalized=False, lstrip=t == "<|eot_id|>", rstrip=t == "<|eot_id|>")
                    for t in step
                ]
            )
        else:
            setattr(tok, "post_processor" if name == "post" else name, step)
    made = json.loads(tok.to_str())
    case = {k: made[k] for k in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder") if made[k]}
    case["rows"] = [run(tok, t, False) for t in TEXTS]
    if "post" in steps:
        case["around"] = [run(tok, t, True) for t in TEXTS]
    return case


def main():
    fallback = learned(150, fuse_unk=True)
    fallback["byte_fallback"] = True
    for b in range(256):
        fallback["vocab"].setdefault(f"<0x{b:02X}>", len(fallback["vocab"]))
    made = {
        "bpe": learned(330),
        "bytes": learned(420, bytes_=True),
        "fused": learned(170, fuse_unk=True),
        "fallback": fallback,
        "suffix": learned(300, end_of_word_suffix="</w>"),
        "prefix": learned(300, continuing_subword_prefix="##"),
        "unigram": unigram(),
        "unigram fallback": unigram(True),
        "wordpiece": wordpiece(),
        "wordpiece short": wordpiece(max_input_chars_per_word=5),
        "words": words(),
    }
    rows = []
    for name, steps in cases():
        rows.append({"model": name, **record(made[name], steps)})
    with open(FILE, "w", encoding="utf-8") as file:
        dump = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))  # noqa: E731
        models_ = ",\n".join(f"{dump(k)}:{dump(v)}" for k, v in made.items())
        file.write(
            f'{{"texts":{dump(TEXTS)},\n"models":{{\n{models_}\n}},\n"cases":[\n'
            + ",\n".join(map(dump, rows))
            + "\n]}\n"
        )
    print(f"{len(rows)} cases of {len(TEXTS)} texts")


if __name__ == "__main__":
    main()
