#!/usr/bin/env python3
"""Times pantry beside llama.cpp on the same file: interleaved A B B A, medians, read bandwidth before and after.

    python3 bench/compare.py MODEL.gguf... [-p 256] [-n 64] [-t THREADS] [-r 5]

llama.cpp runs through the package llama-cpp-python (pip install llama-cpp-python builds it for this machine). Every round
is a separate process, so neither side profits from the other's caches; each process warms up once. Prints one Markdown
row per model, and the raw rounds as JSON on standard error.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

PEER = r"""
import ctypes, json, sys, time
import llama_cpp as L
path, p, n, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
quiet = L.llama_log_callback(lambda *a: None)
L.llama_log_set(quiet, ctypes.c_void_p(0))
start = time.perf_counter()
mp = L.llama_model_default_params()
model = L.llama_model_load_from_file(path.encode(), mp)
cp = L.llama_context_default_params()
cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_threads, cp.n_threads_batch = p + n + 64, 512, 512, threads, threads
ctx = L.llama_init_from_model(model, cp)
load = time.perf_counter() - start
vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
ids = [(i * 7919 + 13) % (vocab - 300) + 200 for i in range(p)]
def decode(tokens):
    a = (L.llama_token * len(tokens))(*tokens)
    if L.llama_decode(ctx, L.llama_batch_get_one(a, len(tokens))):
        sys.exit("llama_decode failed")
    L.llama_get_logits(ctx)[0]
def once():
    L.llama_memory_clear(L.llama_get_memory(ctx), True)
    start = time.perf_counter()
    for at in range(0, p, 512):
        decode(ids[at:at + 512])
    prefill = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(n):
        decode([ids[i % p]])
    return prefill, time.perf_counter() - start
once()
prefill, dec = once()
print(json.dumps({"load": load, "prefill": p / prefill, "decode": n / dec}))
"""


def ours(binary, path, a):
    out = subprocess.run(
        [binary, "bench", path, "-p", str(a.p), "-n", str(a.n), "-t", str(a.t), "-r", "1", "--json"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    r = json.loads(out.stdout)
    return {
        "load": r["load_seconds"],
        "prefill": r["prefill_tokens_per_second"]["median"],
        "decode": r["decode_tokens_per_second"]["median"],
        "bytes": r["bytes_per_token"],
        "bandwidth": r["read_bandwidth_bytes"],
    }


def theirs(path, a):
    out = subprocess.run(
        [sys.executable, "-c", PEER, path, str(a.p), str(a.n), str(a.t)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return json.loads(out.stdout)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("models", nargs="+")
    p.add_argument("-p", type=int, default=256)
    p.add_argument("-n", type=int, default=64)
    p.add_argument("-t", type=int, default=os.cpu_count())
    p.add_argument("-r", type=int, default=5, help="rounds of A B B A")
    p.add_argument("--pantry", default=os.path.join(os.path.dirname(__file__), "..", "build", "pantry"))
    a = p.parse_args()
    print("| model | | pantry | llama.cpp | ratio |")
    print("|---|---|---|---|---|")
    for path in a.models:
        rounds = {"pantry": [], "peer": []}
        for _ in range(a.r):
            for who in ("pantry", "peer", "peer", "pantry"):
                rounds[who].append(ours(a.pantry, path, a) if who == "pantry" else theirs(path, a))
        print(json.dumps({os.path.basename(path): rounds}), file=sys.stderr)
        median = lambda who, key: statistics.median(r[key] for r in rounds[who])
        name = os.path.basename(path)
        for key, unit in (("prefill", "tok/s"), ("decode", "tok/s"), ("load", "s")):
            x, y = median("pantry", key), median("peer", key)
            ratio = y / x if key == "load" else x / y
            digits = 4 if key == "load" else 1
            print("| %s | %s | %.*f %s | %.*f %s | %.2f |" % (name, key, digits, x, unit, digits, y, unit, ratio))
        share = statistics.median(r["decode"] * r["bytes"] / r["bandwidth"] for r in rounds["pantry"])
        gbs = statistics.median(r["bandwidth"] for r in rounds["pantry"]) / 1e9
        print("| %s | share of read bandwidth | %.0f %% of %.1f GB/s | | |" % (name, 100 * share, gbs))


if __name__ == "__main__":
    main()
