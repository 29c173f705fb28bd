#!/usr/bin/env python3
"""Puts the service under load and measures it; `build/bench/clients` (make bench) is the clients.

    python3 bench/load.py leave MODEL.gguf [--clients 200 --seconds 300]   answers, memory, descriptors, threads
    python3 bench/load.py slow MODEL.gguf [--slow 1000 --seconds 20]       others beside a byte per second
    python3 bench/load.py shared MODEL.gguf                                8 conversations with one system text
    python3 bench/load.py beside MODEL.gguf                                a long prompt beside 7 that write
    python3 bench/load.py keys MODEL.gguf [--tries 1000]                   guesses of what another key has read
    python3 bench/load.py compare MODEL.gguf [--peer llama-server] [--clients 8 32] [--rounds 1]

`shape` in place of MODEL.gguf is a file with the shape of Llama 3.2 1B and random weights, made for the run. Without
llama-server on PATH the peer is bench/peer_server.py, with the package xllamacpp or llama_cpp (PYTHONPATH):

    make bench && PYTHONPATH=/path/to/site-packages python3 bench/load.py compare shape

Prints Markdown rows and plain sentences; exit status 1: an answer is wrong or a bound is not held. --port uses a
server that runs already."""

import argparse
import collections
import http.client
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import service  # noqa: E402

CLIENTS = os.path.join(ROOT, "build", "bench", "clients")
WORDS = (
    "time person year way day thing man world life hand part child eye woman place work week case point government "
    "company number group problem fact river stone light garden winter engine letter mountain bread music silver"
).split()
NEAR = 0.5  # two candidates are a near-tie if their log probabilities, alone, differ by less


def prose(seed, n):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(n))


def completion(prompt, n, stream=True, **more):
    body = {"model": "m", "prompt": prompt, "max_tokens": n, "temperature": 0, "stream": stream, **more}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return body


def run_clients(port, requests, n, *options):
    """`requests`: (body, key or None, milliseconds). The records of all requests."""
    with tempfile.NamedTemporaryFile("w", suffix=".requests") as f:
        for body, key, at in requests:
            f.write(f"/v1/completions\t{key or '-'}\t{at}\t{json.dumps(body)}\n")
        f.flush()
        command = [CLIENTS, "load", str(port), f.name, str(n), *map(str, options)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in out.decode("utf-8", "replace").splitlines()]


def text_of(record):
    """(text, tokens) of a reply, streamed or whole; None if it is not one."""
    reply = record["reply"]
    try:
        if "data: " not in reply:
            v = json.loads(reply[reply.index("{") : reply.rindex("}") + 1])
            return v["choices"][0]["text"], v["usage"]["completion_tokens"]
        text, n = "", None
        for part in reply.split("data: ")[1:]:
            if not part.startswith("{"):
                continue
            v = json.JSONDecoder().raw_decode(part)[0]
            text += "".join(c.get("text") or "" for c in v["choices"])
            n = (v.get("usage") or {}).get("completion_tokens", n)
        return (text, n) if n is not None else None
    except (ValueError, KeyError, IndexError):
        return None


class Peer:
    """llama.cpp's server with 8 slots."""

    def __init__(self, binary, path, a):
        import socket

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        context, threads = str(8 * a.context), str(a.threads or os.cpu_count())
        program = [sys.executable, binary] if binary.endswith(".py") else [binary]
        self.process = subprocess.Popen(
            [*program, "-m", path, "--port", str(self.port), "-np", "8", "-c", context, "-t", threads, "-tb",
             threads, "--no-webui", *a.peer_options.split()],
            stdout=subprocess.DEVNULL,
            stderr=None if binary.endswith(".py") else subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).read()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise SystemExit("llama.cpp's server does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def start(a, *options):
    given = [*(["--isa", a.isa] if a.isa else []), *(["--threads", str(a.threads)] if a.threads else [])]
    return service.Service({"m": a.model}, "--keep-alive", "-1", *given, *options)


def proc(pid):
    """Kilobytes in memory, those that are not of files, descriptors, threads."""
    with open(f"/proc/{pid}/status") as f:
        fields = dict(line.split(":", 1) for line in f)
    return {
        "KiB": int(fields["VmRSS"].split()[0]),
        "KiB not of files": int(fields["RssAnon"].split()[0]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(fields["Threads"]),
    }


# ---- answers while others leave ----


def at_rest(s):
    """What the server holds, with the model and the prefixes that it keeps, and after it was unloaded."""
    s.becomes_idle()
    time.sleep(3)  # longer than the server waits before it gives memory back
    loaded = proc(s.process.pid)
    s.request("POST", "/api/generate", {"model": "m", "keep_alive": 0})
    time.sleep(3)
    names = ("KiB", "KiB not of files")
    return {**{name + " with the model and kept prefixes": loaded[name] for name in names}, **proc(s.process.pid)}


def lead(s, prompt, expected, found, n):
    """The log probability by which the likeliest token led, alone, where two answers part; infinity: unknown."""
    body = completion(prompt, n, stream=False, logprobs=2)
    v = s.request("POST", "/v1/completions", body)[2]["choices"][0]["logprobs"]
    at = len(os.path.commonprefix([expected, found]))
    for i, (token, offset) in enumerate(zip(v["tokens"], v["text_offset"])):
        if offset - v["text_offset"][0] + len(token) > at:
            both = sorted(v["top_logprobs"][i].values(), reverse=True)
            return both[0] - both[1] if len(both) > 1 else math.inf
    return math.inf


def leave(a):
    s = start(a)
    prompts = [f"Story {i}. The {prose(i, 12)}" for i in range(a.prompts)]
    bodies = [completion(p, a.tokens, stream=i % 2 == 0) for i, p in enumerate(prompts)]
    alone = [text_of(r) for r in run_clients(s.port, [(b, None, 0) for b in bodies], 1, "-e", len(bodies), "-b")]
    load = [(b, None, 0) for b in bodies]
    # The start is the server after such a load: the first one fills what stays (buffers, caches of the allocator).
    run_clients(s.port, load, a.clients, "-t", max(10, a.seconds / 10), "-l", 200, "-s", 1)
    before = at_rest(s)
    records = run_clients(s.port, load, a.clients, "-t", a.seconds, "-l", 200, "-s", a.seed, "-b")
    idle = s.becomes_idle()
    after = at_rest(s)
    done = [r for r in records if not r["left"]]
    failed = [r for r in done if r["status"] != 200 or not text_of(r)]
    wrong = [(r["line"], text_of(r)[0]) for r in done if r not in failed and text_of(r) != alone[r["line"]]]
    seen = {}
    for line, text in set(wrong):
        seen[line, text] = lead(s, prompts[line], alone[line][0], text, a.tokens)
    leads = sorted(seen[key] for key in wrong)
    n_ties = sum(x < NEAR for x in leads)
    print(f"{a.clients} clients, {a.seconds:g} s: {len(records)} requests, {len(records) - len(done)} left, "
          f"{len(done)} answers, {len(failed)} failed ({collections.Counter(r['status'] for r in failed)})")  # fmt: skip
    print(f"different from the answer alone: {len(wrong)}, near-ties {n_ties}, others {len(wrong) - n_ties}; lead of the "
          f"likeliest token there: median {leads[len(leads) // 2] if leads else 0:.3f}, most {max(leads, default=0):.3f}")  # fmt: skip
    ok = idle and not failed and n_ties == len(wrong)
    for name in before:
        growth = after[name] / before[name] - 1
        ok = ok and (growth < 0.02 or "kept" in name)
        print(f"{name}: {before[name]} before, {after[name]} after ({growth:+.1%})")
    return s.stop() == 0 and ok


# ---- slow connections ----


def ttft(records):
    return statistics.median(r["first"] - r["start"] for r in records if r["status"] == 200)


def slow(a):
    s = start(a)
    load = [(completion(f"Note {i}: {prose(i, 40)}", 8), None, 0) for i in range(100000)]
    run_clients(s.port, load[:50], 4, "-t", 3)

    def measure():
        nonlocal load
        records = run_clients(s.port, load, 4, "-t", a.seconds)
        load = load[len(records) :]
        return ttft(records)

    rows = []
    for _ in range(a.rounds):
        without = [measure()]
        crowd = subprocess.Popen([CLIENTS, "slow", str(s.port), str(a.slow), "90"], stdout=subprocess.PIPE, text=True)
        crowd.stdout.readline()
        beside = [measure(), measure()]
        summary = json.loads(crowd.communicate()[0])
        without.append(measure())
        rows.append((statistics.mean(without), statistics.mean(beside), summary))
    ok = True
    for without, beside, summary in rows:
        print(f"median time to first token {without * 1e3:.1f} ms, beside {a.slow} slow connections {beside * 1e3:.1f} "
              f"({beside / without - 1:+.1%}); {summary['closed']} of {summary['opened']} closed after "
              f"{summary['first']} to {summary['last']} s")  # fmt: skip
        ok = ok and beside / without < 1.15 and summary["closed"] == summary["opened"]
    return s.stop() == 0 and ok


# ---- shared prefixes, long prompts ----


def text_of_tokens(s, n, seed):
    """A text of about n tokens."""
    words = int(n * 0.9)
    while True:
        text = prose(seed, words)
        found = len(s.request("POST", "/tokenize", {"model": "m", "content": text})[2]["tokens"])
        if abs(found - n) < 10:
            return text
        words += (n - found) if abs(n - found) < 50 else int((n - found) * 0.8)


def shared(a):
    s = start(a)
    read = lambda: s.metric("prompt_tokens_total")  # noqa: E731

    def together(seed, n):
        system = text_of_tokens(s, 2000, seed)
        load = [(completion(f"{system}\nQuestion {i}: what is {prose(90 + i, 6)}?", 32), None, 0) for i in range(n)]
        before = read()
        records = run_clients(s.port, load, n, "-e", 1)
        assert all(r["status"] == 200 for r in records), records
        return read() - before

    one = together(1, 1)
    eight = together(2, 8)
    print(f"prompt tokens read: {one:.0f} for one conversation, {eight:.0f} for eight ({eight / one:.3f} times)")
    return s.stop() == 0 and eight / one <= 1.15


def gaps(record, since=0.0, until=math.inf):
    t = [x for x in record["times"] if since <= x < until]
    return [y - x for x, y in zip(t, t[1:])]


def beside(a):
    s = start(a)
    worst = []
    for i in range(a.rounds):
        long = text_of_tokens(s, 4000, 100 + i)
        load = [(completion(f"Story {i} {k}: {prose(10 * i + k, 12)}", a.tokens), None, 0) for k in range(7)]
        load.append((completion(long, 1), None, 1000 * a.seconds / 5))
        records = sorted(run_clients(s.port, load, 8, "-e", 1, "-g"), key=lambda r: r["line"])
        entered, read = records[7]["start"], records[7]["end"]
        others = [r for r in records[:7] if r["times"][-1] > entered]
        usual = statistics.median(g for r in others for g in gaps(r, 0.5, entered))
        before = max(g for r in others for g in gaps(r, 0.5, entered))
        during = [g for r in others for g in gaps(r, entered, read)]
        worst.append(max(during) / usual)
        print(f"{len(others)} write, usual gap {usual * 1e3:.1f} ms, worst {before * 1e3:.1f}; a prompt of 4,000 tokens takes {read - entered:.2f}"
              f" s: median {statistics.median(during) * 1e3:.1f}, 99 % below {sorted(during)[len(during) * 99 // 100] * 1e3:.1f}, worst {max(during) * 1e3:.1f} ({worst[-1]:.1f} times)")  # fmt: skip
    return s.stop() == 0 and statistics.median(worst) <= 3


# ---- what another key has read ----


def keys(a):
    s = start(a)
    secret = []
    for name in ("victim", "attacker"):
        out = subprocess.run([service.PANTRY, "key", "add", name], env=s.env, check=True, capture_output=True, text=True)
        secret.append(next(w for w in out.stdout.split() if w.startswith("pk-")))

    def ask(key, prompt):
        c = http.client.HTTPConnection("127.0.0.1", s.port)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        began = time.perf_counter()
        c.request("POST", "/v1/completions", json.dumps(completion(prompt, 1, stream=False)), headers)
        reply = json.loads(c.getresponse().read())
        seconds = time.perf_counter() - began
        c.close()
        return seconds, reply["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)

    def accuracy(victim, tries, seed):
        """Guesses "read before" where an answer comes faster than the median one."""
        rng = random.Random(seed)
        truth, times, told = [], [], 0
        for i in range(tries):
            prompt, other = (f"{seed} {i} {kind} {prose(seed * 100000 + i, 100)}" for kind in ("a", "b"))
            truth.append(rng.random() < 0.5)
            ask(victim, prompt if truth[-1] else other)
            seconds, cached = ask(secret[1], prompt)
            times.append(seconds)
            told += cached > 16  # more than what all prompts begin with
        middle = statistics.median(times)
        return sum((t < middle) == known for t, known in zip(times, truth)) / tries, told

    control, _ = accuracy(secret[1], max(20, a.tries // 20), 1)
    found, told = accuracy(secret[0], a.tries, 2)
    error = 1.96 * 0.5 / math.sqrt(a.tries)
    print(f"guesses right of {a.tries}: {found:.1%} (50 % +- {error:.1%} expected), answers that tell cached tokens: {told}; "
          f"of what the same key has read: {control:.1%}")  # fmt: skip
    return s.stop() == 0 and abs(found - 0.5) <= error and not told


# ---- beside llama.cpp's server ----


def shape_file(folder):
    """A file with the shape of Llama 3.2 1B, with a small vocabulary that is filled up to the usual size."""
    import shape
    import tiny_model

    usual, vocabulary = tiny_model.vocabulary, os.path.join(folder, "vocabulary.gguf")
    tokens, merges = usual()
    tiny_model.vocabulary = lambda: (tokens + [f"<fill-{i}>" for i in range(128256 - len(tokens))], merges)
    tiny_model.write(vocabulary, weights=False)
    tiny_model.vocabulary = usual
    path = os.path.join(folder, "shape.gguf")
    shape.write(vocabulary, path)
    return path


def bandwidth(a):
    out = subprocess.run([os.path.join(ROOT, "build", "bench", "bandwidth"), str(a.threads or os.cpu_count())], stdout=subprocess.PIPE)
    return float(out.stdout or 0)


def compare(a):
    print("| clients | server | tok/s together | median time to first token | 90 % below | worst |")
    print("|---|---|---|---|---|---|")
    before = bandwidth(a)
    totals = collections.defaultdict(list)
    serial = 0
    for _ in range(a.rounds):
        for who in ("pantry", "llama.cpp", "llama.cpp", "pantry"):
            s = start(a) if who == "pantry" else Peer(a.peer, a.model, a)
            warm = [(completion(f"Warm {i}", 16), None, 0) for i in range(32)]
            run_clients(s.port, warm, 32, "-e", 1)
            for n in a.clients:
                texts = [f"{i} {prose(i, a.words)}" for i in range(serial, serial + 4096)]
                load = [(completion(text, a.tokens), None, 0) for text in texts]
                serial += 5000
                records = run_clients(s.port, load, n, "-t", a.seconds, "-b")
                good = [r for r in records if r["status"] == 200]
                seconds = max(r["end"] for r in good)
                first = sorted(r["first"] - r["start"] for r in good)
                total = sum(text_of(r)[1] for r in good) / seconds
                totals[who, n].append((total, statistics.median(first)))
                print(f"| {n} | {who} | {total:.0f} | {first[len(first) // 2] * 1e3:.0f} ms | "
                      f"{first[len(first) * 9 // 10] * 1e3:.0f} | {first[-1] * 1e3:.0f} |", flush=True)  # fmt: skip
                if len(good) != len(records):
                    print(f"{len(records) - len(good)} of {who}'s {len(records)} requests failed")
            s.stop()
    print(f"read bandwidth {before / 1e9:.1f} GB/s before, {bandwidth(a) / 1e9:.1f} after")
    ok = True
    for n in a.clients:
        ours, theirs = (
            [statistics.median(x[k] for x in totals[who, n]) for k in (0, 1)] for who in ("pantry", "llama.cpp")
        )
        speed, first = ours[0] / theirs[0], ours[1] / theirs[1]
        print(f"{n} clients: {speed:.2f} times the tok/s, {first:.2f} times the time to first token")
        ok = ok and speed >= 1.5 and first <= 0.7
    return ok


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mode", choices=["leave", "slow", "shared", "beside", "keys", "compare"])
    p.add_argument("model")
    p.add_argument("--clients", type=int, nargs="+")
    p.add_argument("--seconds", type=float)
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--threads", type=int, help="without it the server's own choice; llama.cpp's gets all processors")
    p.add_argument("--isa", help="generic: without rounding, so that no answer differs")
    p.add_argument("--prompts", type=int, default=40)
    p.add_argument("--tokens", type=int, help="of an answer; 64, beside a long prompt 1500")
    p.add_argument("--words", type=int, default=100, help="of a prompt (compare)")
    p.add_argument("--context", type=int, default=2048, help="of a request (compare)")
    p.add_argument("--slow", type=int, default=1000)
    p.add_argument("--tries", type=int, default=1000)
    p.add_argument("--peer", default=shutil.which("llama-server") or os.path.join(HERE, "peer_server.py"))
    p.add_argument("--peer-options", default="")
    a = p.parse_args()
    if a.mode == "leave":
        a.clients = (a.clients or [200])[0]
    a.clients = a.clients or [8, 32]
    a.tokens = a.tokens or {"beside": 1500}.get(a.mode, 64)
    a.seconds = a.seconds or {"leave": 300, "compare": 20}.get(a.mode, 10)
    if a.model != "shape":
        sys.exit(not globals()[a.mode](a))
    with tempfile.TemporaryDirectory(prefix="pantry-shape-") as folder:
        a.model, a.words = shape_file(folder), min(a.words, 25)  # a word has five tokens there
        good = globals()[a.mode](a)
    sys.exit(not good)


if __name__ == "__main__":
    main()
