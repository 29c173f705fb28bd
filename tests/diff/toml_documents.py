"""Compares base/toml.c with Python's tomllib on generated documents, right ones and mutants of them.

Both must accept the same documents and read the same values."""
# run-diff: --batch {build}/tools/toml_json --n 4000

import argparse
import datetime
import json
import math
import random
import subprocess
import sys

try:
    import tomllib
except ImportError:
    print("this Python has no tomllib")
    sys.exit(77)

KEYS = ["a", "b", "c", "d-1", "e_2", '"q r"', "'s.t'", '"\\u00e9"', "1", "true"]
TEXTS = ["", "x", "héllo", "tab\tin", "a b", "#no", "[x]", "1 = 2", "😀"]
LIMIT = 1 << 63


def basic(rng, text):
    out = "".join(f"\\u{ord(c):04x}" if rng.random() < 0.1 and ord(c) < 0x10000 else c for c in text)
    return '"' + out.replace("\t", rng.choice(["\t", "\\t"])) + '"'


def scalar(rng):
    kind = rng.randrange(9)
    text = rng.choice(TEXTS)
    if kind == 0:
        return basic(rng, text)
    if kind == 1:
        return f"'{text}'"
    if kind == 2:
        inside = rng.choice(
            [
                text,
                f"\n{text}\n",
                f"{text} \\\n   \n {text}",
                f'"{text}""',
                "\\\\ \\n \\U0001F600",
            ]
        )
        return f'"""{inside}"""'
    if kind == 3:
        return f"'''{rng.choice([text, chr(10) + text, chr(13) + chr(10) + text, 'a' + chr(39) + text])}'''"
    if kind == 4:
        return rng.choice(
            [
                "0",
                "+1",
                "-17",
                "1_000",
                "0xDEAD_beef",
                "0o755",
                "0b1101",
                str(rng.randrange(-LIMIT, LIMIT)),
            ]
        )
    if kind == 5:
        return rng.choice(
            [
                "0.5",
                "-1e9",
                "6.26e-2_0",
                "inf",
                "-inf",
                "nan",
                "+nan",
                "1_0.0_1",
                repr(rng.uniform(-9, 9)),
            ]
        )
    if kind == 6:
        return rng.choice(["true", "false"])
    day = f"{rng.randrange(1, 9999):04d}-{rng.randrange(1, 14):02d}-{rng.randrange(1, 32):02d}"
    clock = f"{rng.randrange(25):02d}:{rng.randrange(60):02d}:{rng.randrange(61):02d}" + rng.choice(
        ["", ".5", ".123456"]
    )
    zone = rng.choice(["", "Z", "z", "+01:30", "-08:00"])
    return rng.choice([day, clock, day + rng.choice("T t") + clock + zone])


def value(rng, depth=0):
    if depth < 3 and rng.random() < 0.15:
        items = [value(rng, depth + 1) for _ in range(rng.randrange(4))]
        space = rng.choice(["", " ", "\n", " # c\n"])
        return (
            "[" + space + f",{space}".join(items) + (space + "," if items and rng.random() < 0.3 else "") + space + "]"
        )
    if depth < 3 and rng.random() < 0.15:
        return "{" + ", ".join(f"{key(rng)} = {value(rng, depth + 1)}" for _ in range(rng.randrange(3))) + "}"
    return scalar(rng)


def key(rng):
    return rng.choice([".", " . "]).join(rng.choice(KEYS) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def document(rng):
    lines = []
    for _ in range(rng.randrange(12)):
        kind = rng.random()
        if kind < 0.2:
            lines.append(f"[{key(rng)}]")
        elif kind < 0.3:
            lines.append(f"[[{key(rng)}]]")
        elif kind < 0.4:
            lines.append(rng.choice(["", "# comment", "  ", "\t# é"]))
        else:
            lines.append(f"{key(rng)}{rng.choice(['=', ' = '])}{value(rng)}{rng.choice(['', ' ', ' # end'])}")
    return rng.choice(["\n", "\r\n"]).join(lines) + rng.choice(["", "\n"])


def mutant(rng, text):
    """The document with a character more, fewer or another."""
    at, char = (
        rng.randrange(len(text) + 1),
        rng.choice("\n\r\t\"'[]{}=.,#\\_-+0189eExTZ: \x00\x7f\x1f"),
    )
    return text[:at] + rng.choice(["", char]) + text[at + rng.choice([0, 1]) :]


def plain(v):
    """A value of tomllib as the program writes it; None: one that only tomllib reads."""
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, list):
        return [plain(x) for x in v]
    if isinstance(v, bool):
        return {"type": "bool", "value": "true" if v else "false"}
    if isinstance(v, int):
        return {"type": "integer", "value": str(v)}
    if isinstance(v, float):
        return {"type": "float", "value": v}
    if isinstance(v, str):
        return {"type": "string", "value": v}
    return {"type": "time", "value": v}


def moment(text):
    text = text.replace("t", "T").replace("z", "Z").replace("Z", "+00:00")
    for kind in (datetime.date, datetime.time, datetime.datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            pass
    return text


def same(ours, theirs):
    if isinstance(theirs, dict) and theirs.keys() != {"type", "value"} or isinstance(ours, list):
        if isinstance(theirs, list):
            return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
        return isinstance(ours, dict) and ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(theirs, list) or not isinstance(ours, dict) or ours.get("type") != theirs["type"]:
        return False
    mine, other = ours["value"], theirs["value"]
    if theirs["type"] == "float":
        return float(mine) == other or (math.isnan(float(mine)) and math.isnan(other))
    return moment(mine) == other if theirs["type"] == "time" else mine == other


def has_large(v):
    if isinstance(v, dict):
        return any(map(has_large, v.values()))
    return any(map(has_large, v)) if isinstance(v, list) else isinstance(v, int) and not -LIMIT <= v < LIMIT


def read(text):
    """(value as the program writes it, error)"""
    try:
        v = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as e:
        return None, str(e)
    return (None, "a number is too large for 64 bits") if has_large(v) else (plain(v), None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", required=True)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    documents = []
    for _ in range(options.n):
        text = document(rng)
        documents += [text, mutant(rng, text), mutant(rng, mutant(rng, text))]
    feed = "\n".join(json.dumps(text, ensure_ascii=False) for text in documents)
    done = subprocess.run([options.batch], input=feed.encode(), stdout=subprocess.PIPE, check=True)
    rows = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert len(rows) == len(documents), (len(rows), len(documents))
    n_right = 0
    for text, row in zip(documents, rows):
        expected, error = read(text)
        n_right += error is None
        if (error is None) != ("value" in row) or (error is None and not same(row["value"], expected)):
            print(f"--- document\n{text!r}\n--- tomllib: {error or expected}\n--- ours: {row}")
            return 1
    print(f"{len(documents)} documents, {n_right} of them right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
