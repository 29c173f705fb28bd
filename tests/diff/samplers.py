# run-diff: {build}/tools/sample_rows
"""Each sampler against a plain reference in numpy, on random logits: the candidates that are left and their
probabilities, and the token that the seed draws. Then how often tokens are drawn, with fixed seeds.

usage: samplers.py SAMPLE_ROWS     exit status 0: they agree
"""

import json
import subprocess
import sys

import numpy as np

M64 = (1 << 64) - 1
ORDER = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"
DEFAULTS = dict(
    temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1, frequency_penalty=0, presence_penalty=0,
    repeat_last_n=64, dynatemp_range=0, dynatemp_exponent=1, typical_p=1, top_n_sigma=0, xtc_probability=0,
    xtc_threshold=0.1, dry_multiplier=0, dry_base=1.75, dry_allowed_length=2, dry_penalty_last_n=-1, mirostat=0,
    mirostat_tau=5, mirostat_eta=0.1, adaptive_target=-1, adaptive_decay=0.9, seed=0, samplers=ORDER,
)  # fmt: skip
PLAIN = dict(temperature=1, top_k=0, top_p=1, min_p=0)


def random(seed, position, stream=0):
    z = ((seed ^ stream) + (position + 1) * 0x9E3779B97F4A7C15) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return ((z ^ (z >> 31)) >> 40) / (1 << 24)


class Reference:
    """One answer. A step has the candidates' ids and logits, best first where a sampler sorts them."""

    def __init__(self, options, recent):
        self.o = {**DEFAULTS, **options}
        self.recent = list(recent)
        self.mu = 2 * self.o["mirostat_tau"]
        decay = self.o["adaptive_decay"]
        self.total = 1 / (1 - decay)
        self.weight = self.o["adaptive_target"] * self.total

    def p(self):
        e = np.exp(self.l - self.l.max())
        return e / e.sum()

    def keep(self, which):
        self.ids, self.l = self.ids[which], self.l[which]

    def sort(self):
        self.keep(np.lexsort((self.ids, -self.l)))

    def penalties(self):
        n = self.o["repeat_last_n"]
        last = self.recent if n < 0 else self.recent[max(0, len(self.recent) - n) :] if n else []
        for i, id in enumerate(self.ids):
            count = last.count(id)
            if count:
                x = self.l[i]
                x = x / self.o["repeat_penalty"] if x > 0 else x * self.o["repeat_penalty"]
                self.l[i] = x - count * self.o["frequency_penalty"] - self.o["presence_penalty"]

    def dry(self):
        n, multiplier = self.o["dry_penalty_last_n"], self.o["dry_multiplier"]
        text = self.recent if n < 0 else self.recent[max(0, len(self.recent) - n) :]
        if not multiplier:
            return
        longest = {}
        for end in range(len(text) - 1):
            k = 0
            while k <= end and text[end - k] == text[-1 - k]:
                k += 1
            if k and k >= self.o["dry_allowed_length"]:
                longest[text[end + 1]] = max(longest.get(text[end + 1], 0), k)
        for i, id in enumerate(self.ids):
            if id in longest:
                self.l[i] -= multiplier * self.o["dry_base"] ** (longest[id] - self.o["dry_allowed_length"])

    def top_n_sigma(self):
        if self.o["top_n_sigma"] > 0:
            self.keep(self.l >= self.l.max() - self.o["top_n_sigma"] * self.l.std())

    def top_k(self):
        if 0 < self.o["top_k"] < len(self.l):
            self.sort()
            self.keep(slice(0, self.o["top_k"]))

    def typ_p(self):
        if self.o["typical_p"] >= 1:
            return
        p = self.p()
        surprise = -np.log(p)
        order = np.argsort(np.abs(surprise - (p * surprise).sum()), kind="stable")
        cut = np.searchsorted(np.cumsum(p[order]), self.o["typical_p"], side="right")
        self.keep(order[: cut + 1])

    def top_p(self):
        if self.o["top_p"] < 1:
            self.sort()
            cut = np.searchsorted(np.cumsum(self.p()), self.o["top_p"], side="left")
            self.keep(slice(0, cut + 1))

    def min_p(self):
        if self.o["min_p"] > 0:
            self.keep(self.l >= self.l.max() + np.log(self.o["min_p"]))

    def xtc(self):
        o = self.o
        if o["xtc_probability"] <= 0 or o["xtc_threshold"] > 0.5 or len(self.l) < 2:
            return
        if random(o["seed"], len(self.recent), 0xA24BAED4963EE407) > o["xtc_probability"]:
            return
        self.sort()
        above = int((self.p() >= o["xtc_threshold"]).sum())
        if above >= 2:
            self.keep(slice(above - 1, None))

    def temperature(self):
        t, r = self.o["temperature"], self.o["dynatemp_range"]
        if r > 0:
            if len(self.l) < 2:
                return
            p = self.p()
            share = -(p * np.log(p)).sum() / np.log(len(p))
            t = max(0, t - r) + (t + r - max(0, t - r)) * share ** self.o["dynatemp_exponent"]
        if t < 1e-6:
            self.sort()
            self.keep(slice(0, 1))
        else:
            self.l = (self.l - self.l.max()) / t

    def mirostat(self):
        if self.o["mirostat"] == 2:
            least = self.l.max() + np.log(np.exp(self.l - self.l.max()).sum()) - self.mu * np.log(2)
            self.keep(self.l >= min(least, self.l.max()))
            return
        self.sort()
        p = self.p()
        m = min(99, len(p) - 1)
        i = np.arange(m)
        t, b = np.log((i + 2) / (i + 1)), np.log(p[:m] / p[1 : m + 1])
        s = (t * b).sum() / (t * t).sum()
        e = s - 1
        k = (e * 2**self.mu / (1 - float(self.n_vocab) ** -e)) ** (1 / s)
        self.keep(slice(0, max(1, int(k)) if k < len(p) else len(p)))

    def adaptive_p(self):
        self.first = self.p()
        target = self.o["adaptive_target"]
        wanted = np.clip(2 * target - self.weight / self.total, 0, 1)
        d = np.abs(self.first - wanted) / 0.3
        self.l = 5 - 10 * d * d / (1 + d)

    def step(self, logits):
        self.n_vocab = len(logits)
        self.ids, self.l = np.arange(len(logits)), np.array(logits, dtype=np.float64)
        names = self.o["samplers"].split(";")
        if self.o["mirostat"]:
            names = [n for n in names if n in ("penalties", "dry", "temperature")] + ["mirostat"]
        elif self.o["adaptive_target"] >= 0:
            names.append("adaptive_p")
        for name in names:
            getattr(self, name)()
        p = self.p()
        at = np.searchsorted(np.cumsum(p), random(self.o["seed"], len(self.recent)), side="right")
        return dict(zip(self.ids.tolist(), p.tolist())), int(min(at, len(p) - 1)), p

    def take(self, id):
        at = list(self.ids).index(id)
        self.mu -= self.o["mirostat_eta"] * (-np.log2(self.p()[at]) - self.o["mirostat_tau"])
        if self.o["adaptive_target"] >= 0 and not self.o["mirostat"]:
            decay = self.o["adaptive_decay"]
            self.weight = self.first[at] + decay * self.weight
            self.total = 1 + decay * self.total
        self.recent.append(id)


CASES = {
    "temperature": [dict(temperature=t) for t in (0.2, 0.7, 1.5)],
    "dynamic temperature": [dict(temperature=1, dynatemp_range=r, dynatemp_exponent=e) for r in (0.5, 1, 3) for e in (1, 2)],
    "top_k": [dict(top_k=k) for k in (1, 2, 40, 300)],
    "top_p": [dict(top_p=p) for p in (0.1, 0.5, 0.9, 0.99)],
    "min_p": [dict(min_p=p) for p in (0.01, 0.1, 0.5)],
    "typical_p": [dict(typical_p=p) for p in (0.1, 0.5, 0.9)],
    "top_n_sigma": [dict(top_n_sigma=n) for n in (0.5, 1, 2)],
    "xtc": [dict(xtc_probability=p, xtc_threshold=t) for p in (0.5, 1) for t in (0.02, 0.1)],
    "penalties": [dict(repeat_penalty=1.3), dict(frequency_penalty=0.3, presence_penalty=-0.5, repeat_last_n=20)],
    "dry": [dict(dry_multiplier=0.8), dict(dry_multiplier=1, dry_base=2, dry_allowed_length=1, dry_penalty_last_n=30)],
    "mirostat": [dict(mirostat=v, mirostat_tau=t, mirostat_eta=0.3) for v in (1, 2) for t in (2, 4)],
    "adaptive_p": [dict(adaptive_target=t, adaptive_decay=d) for t in (0.05, 0.4, 0.9) for d in (0, 0.9)],
    "defaults": [{}, dict(temperature=1.2, typical_p=0.9, xtc_probability=0.5, repeat_penalty=1.1)],
    "orders": [dict(temperature=2, top_k=20, top_p=0.8, min_p=0.1, samplers=order, repeat_penalty=1.5)
               for order in ("temperature;top_p", "min_p;top_k;penalties", "top_p;penalties;temperature", "top_k;temperature;top_n_sigma;typ_p")],
}  # fmt: skip


def rows(rng, n, steps):
    scale = rng.choice([0.5, 2.0, 4.0])
    return (rng.standard_normal((steps, n)) * scale).astype(np.float32).tolist()


class Tool:
    def __init__(self, path):
        self.path = path

    def run_all(self, cases):
        lines = (json.dumps({"options": o, "rows": rows, "recent": recent}) + "\n" for o, rows, recent in cases)
        done = subprocess.run([self.path], input="".join(lines), stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def run(self, options, logits, recent):
        return self.run_all([(options, logits, recent)])[0]


def edge(p, id, u):
    """Whether the draw is so near to the end of a share that rounding decides."""
    return np.min(np.abs(np.cumsum(p) - u)) < 1e-5


def compare(tool, name, options, rng):
    n, steps = int(rng.choice([5, 60, 500])), 12
    logits = rows(rng, n, steps)
    few = min(n, 6)
    recent = rng.integers(0, few, 40).tolist()  # few ids, so that they repeat
    options = {**(PLAIN if name not in ("defaults", "orders") else {}), **options, "seed": int(rng.integers(1 << 60))}
    ref = Reference(options, recent)
    for i, got in enumerate(tool.run(options, logits, recent)):
        want, at, p = ref.step(logits[i])
        p_got = {int(k): v for k, v in got["p"].items()}
        missing = set(want) ^ set(p_got)
        # A candidate at the very limit of an option may fall on either side of it.
        if len(missing) > 1 or any(abs(p_got[k] - want[k]) > 2e-5 for k in want if k in p_got and not missing):
            return f"{name} {options}, row {i}: candidates differ ({len(p_got)}, reference {len(want)}; {sorted(missing)[:5]})"
        if missing:
            return None
        u = random(options["seed"], len(ref.recent))
        if got["id"] != ref.ids[at] and not edge(p, at, u):
            return f"{name} {options}, row {i}: drew {got['id']}, reference {ref.ids[at]}"
        ref.take(got["id"])
    return None


def frequencies(tool, name, options, rng):
    """Chi-square of 2,000 draws, each with a seed of its own, against the reference's probabilities."""
    logits = rows(rng, 12, 1)
    options = {**PLAIN, **options}
    counts, expected, draws = {}, {}, 2000
    every = options.get("xtc_probability", 0) > 0  # then the candidates depend on the seed
    seeds, want = rng.integers(1 << 60, size=draws).tolist(), None
    for seed, got in zip(seeds, tool.run_all([({**options, "seed": i}, logits, [1, 2, 3]) for i in seeds])):
        if every or not want:
            want, _, _ = Reference({**options, "seed": seed}, [1, 2, 3]).step(logits[0])
        counts[got[0]["id"]] = counts.get(got[0]["id"], 0) + 1
        for id, p in want.items():
            expected[id] = expected.get(id, 0) + p
    assert set(counts) <= set(expected), f"{name}: drew what the reference excludes"
    kept = [id for id in expected if expected[id] >= 5]
    chi = sum((counts.get(id, 0) - expected[id]) ** 2 / expected[id] for id in kept)
    limit = len(kept) + 4 * (2 * len(kept)) ** 0.5  # four standard deviations
    return (
        f"{name} {options}: chi-square {chi:.1f} of {len(kept)} tokens (allowed {limit:.1f})" if chi > limit else None
    )


def main():
    tool, rng, wrong, n = Tool(sys.argv[1]), np.random.default_rng(16), [], 0
    for name, cases in CASES.items():
        for options in cases:
            for _ in range(8):
                n += 1
                wrong.append(compare(tool, name, options, rng))
            if not options.get("mirostat") and "adaptive_target" not in options:
                wrong.append(frequencies(tool, name, options, rng))
    wrong = [w for w in wrong if w]
    print("\n".join(wrong[:20]))
    print(f"samplers: {n} answers of 12 tokens, {len(wrong)} differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
