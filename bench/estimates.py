"""What `pantry fit` says beside what happens.

python3 bench/estimates.py memory [--models NAME,...] [--contexts N,...] [--most SECONDS]
    The peak of a process that fills its context and answers a few tokens, next to the estimate: at most 5 % above it,
    never below. Models are names of the store (PANTRY_HOME), or SHAPE:TYPE[:LAYERS], which `pantry synth` writes.
python3 bench/estimates.py speed [--shapes SHAPE:TYPE,...] [--learn SHAPE:TYPE,...] [--rounds N] [--tries N]
    Measures the machine, lets `bench` run the shapes to learn from, predicts the others, then measures those: decode
    within 10 %, prefill within 20 %. All in a PANTRY_HOME of its own. Results of `bench` that say "busy" do not count;
    such a shape is tried again.

--program NAME is the program (build/pantry); --json FILE keeps all rows. Exit status 1 if a bound is broken."""

import argparse
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import time

MODELS = (
    "smollm2:135m,gemma3:270m,qwen2.5-coder:1.5b,"
    "smollm2-360m:q8_0,qwen2.5-0.5b:q4_k_m,qwen3-0.6b:q6_k,gemma3-1b:q4_k_m,llama3.2-1b:q4_k_m:8,"
    "qwen3-30b-a3b:q4_k_m:3,qwen3.5-35b-a3b:q4_k_m:4,gpt-oss-20b:mxfp4:4,llama3.1-8b:q4_k_m:4"
)
CONTEXTS = "512,4096,32768"
LEARN = "smollm2-135m:q4_k_m,qwen2.5-0.5b:q4_k_m,llama3.2-1b:q4_k_m,smollm2-135m:q8_0,llama3.2-1b:q8_0"
SHAPES = (
    "smollm2-360m:q4_k_m,gemma3-270m:q4_k_m,qwen3-0.6b:q4_k_m,qwen3-0.6b:q8_0,"
    "qwen2.5-1.5b:q4_k_m,gemma3-1b:q4_k_m,smollm2-1.7b:q4_k_m,qwen3-1.7b:q8_0"
)


def pantry(args, *words, home=None, allowed=(0,)):
    env = {**os.environ, "PANTRY_HOST": "127.0.0.1:1"}
    if home:
        env["PANTRY_HOME"] = home
    done = subprocess.run([args.program, *words], capture_output=True, text=True, env=env)
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()[-300:]}")
    return done.stdout


def peak_of(args, words, most):
    """(bytes, prompt tokens) of a run; None if it takes longer than `most` seconds."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([args.program, *words], stdout=out, stderr=subprocess.DEVNULL)
        end = time.monotonic() + most
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                process.kill()
                os.wait4(process.pid, 0)
                return None
            time.sleep(0.02)
        out.seek(0)
        text = out.read()
    if status:
        raise RuntimeError(f"{' '.join(words)}: exit status {status}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, json.loads(text)["n_prompt"]


def prompt_of(args, path, n_tokens, folder):
    """A file whose text has about n_tokens tokens, of all parts of the vocabulary, no more."""
    name = os.path.join(folder, "prompt.txt")
    rng = random.Random(1)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 8))) for _ in range(n_tokens)]
    n = len(words)
    while True:
        with open(name, "w") as file:
            file.write(" ".join(words[:n]))
        found = len(json.loads(pantry(args, "tokenize", path, "--file", name, "--json")))
        if found <= n_tokens - 2:
            return name
        n = min(n - 1, int(n * (n_tokens - 2) / found))


def memory(args):
    rows = []
    with tempfile.TemporaryDirectory(prefix="pantry-estimates-") as folder:
        for name in args.models.split(","):
            path, model = name, name
            if "-" in name.split(":")[0] and name.count(":") >= 1 and not is_stored(args, name):
                shape, layers = ":".join(name.split(":")[:2]), (name.split(":") + [""])[2]
                path = os.path.join(folder, "model.gguf")
                pantry(args, "synth", shape, "-o", path, *(["--layers", layers] if layers else []))
            for context in map(int, args.contexts.split(",")):
                for kv in ("f16", "q8_0"):
                    rows += memory_row(args, model, path, context, kv, folder)
    bad = [r for r in rows if not 1 <= r["ratio"] <= 1.05]
    print(f"{len(rows) - len(bad)} of {len(rows)} within 5 % and not below")
    return rows, bad


def is_stored(args, name):
    return any(row["name"] == name for row in json.loads(pantry(args, "list", "--json")))


def memory_row(args, model, path, context, kv, folder):
    words = ("--ctx", str(context), "--kv-type", kv)
    found = json.loads(pantry(args, "fit", path, "--chip", "M4", "--memory", "128G", *words, "--json", allowed=(0, 1)))
    if found["context"] < context or context > found["trained_context"]:
        return []
    prompt = prompt_of(args, path, context - 6, folder)
    run = ["generate", path, "--raw", "-f", prompt, "-n", "4", "--temp", "0", "--json", *words]
    measured = peak_of(args, run, args.most)
    if measured is None:
        print(f"{model:26} {context:6} {kv:5} left out: more than {args.most} s")
        return []
    peak, n = measured
    row = {"model": model, "context": context, "kv": kv, "tokens": n, "peak": peak, "need": found["need_bytes"]}
    row["ratio"] = row["need"] / peak
    row["memory"] = found["memory"]
    mark = "" if 1 <= row["ratio"] <= 1.05 else "  <-- " + ("below" if row["ratio"] < 1 else "above")
    print(f"{model:26} {context:6} {kv:5} {n:6} tokens  peak {peak / 1e6:8.1f} MB  estimate {row['need'] / 1e6:8.1f} MB"
          f"  {100 * (row['ratio'] - 1):+5.1f} %{mark}", flush=True)
    return [row]


def bench(args, home, shape):
    """The result of a run that no other program disturbed, if there is one in a few tries."""
    words = ("bench", "--synthetic", shape, "-p", "256", "-n", "32", "-r", str(args.rounds), "--json")
    for _ in range(args.tries):
        found = json.loads(pantry(args, *words, home=home))
        if not found["busy"]:
            break
    return found


def speed(args):
    rows = []
    with tempfile.TemporaryDirectory(prefix="pantry-estimates-") as home:
        pantry(args, "fit", "smollm2-135m:q4_0", "--measure", home=home)
        if not os.path.exists(os.path.join(home, "machine.json")):
            print("the machine is busy, so its limits were not kept: every prediction measures them again")
        for shape in args.learn.split(","):
            bench(args, home, shape)
        for shape in args.shapes.split(","):
            # `bench` decodes after its prompt: its rate is that of a context of the prompt and half of the answer
            fit = json.loads(pantry(args, "fit", shape, "--ctx", "272", "--json", home=home))
            with tempfile.TemporaryDirectory(prefix="pantry-other-") as other:  # it must not learn from these
                found = bench(args, other, shape)
            decode, prefill = (found[k]["median"] for k in ("decode_tokens_per_second", "prefill_tokens_per_second"))
            row = {"shape": shape, "busy": found["busy"], "decode": decode, "prefill": prefill, "fit": fit}
            row["decode_off"] = fit["decode_tokens_per_second_full"] / decode - 1
            row["prefill_off"] = fit["prefill_tokens_per_second"] / prefill - 1
            rows.append(row)
            print(f"{shape:22} decode {decode:7.1f}, said {fit['decode_tokens_per_second_full']:7.1f}"
                  f" ({100 * row['decode_off']:+5.1f} %, sure to {100 * fit['decode_error']:.0f} %)"
                  f"  prefill {prefill:7.1f}, said {fit['prefill_tokens_per_second']:7.1f}"
                  f" ({100 * row['prefill_off']:+5.1f} %){'  busy' if found['busy'] else ''}", flush=True)
    bad = [r for r in rows if abs(r["decode_off"]) > 0.10 or abs(r["prefill_off"]) > 0.20]
    print(f"{len(rows) - len(bad)} of {len(rows)}: decode within 10 %, prefill within 20 %")
    return rows, bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("--program", default="build/pantry")
    parser.add_argument("--json")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--contexts", default=CONTEXTS)
    parser.add_argument("--most", type=float, default=600)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--learn", default=LEARN)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tries", type=int, default=3)
    args = parser.parse_args()
    rows, bad = memory(args) if args.what == "memory" else speed(args)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
