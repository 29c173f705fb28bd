"""Compares the grammars of JSON schemas with Python's jsonschema.

Random walks through the automaton, and answers that random logits make of what the masks allow, token by token, have to
be valid instances, each of them written by json.dumps has to be accepted,
and so has every valid mutant; invalid mutants have to be rejected. Schemas: the shared rows, if they are there, and
generated ones."""
# run-diff: --batch {build}/tools/schema_rows --n 400

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys

try:
    from jsonschema import Draft202012Validator
except ImportError:
    print("jsonschema is not installed")
    sys.exit(77)

NAMES = ["a", "b", "name", "kind", "x y", 'q"t', "é", "value", "items", "0"]
WORDS = ["", "a", "ab", "abc", "x1", "naïve", "日本", "tab\t", 'q"', "😀", "b\\s", "2024-02-29", "\x01"]
PATTERNS = ["^a", "b$", "^[a-c]*$", "x|y", "^.{2}$", "[^a]", "\\d+", "^(ab)+$", "é"]
FORMATS = ["date", "uuid", "ipv4", "email", "unknown"]


def scalar(rng):
    return rng.choice([None, True, False, 0, 1, -1, 2, 7, 10, 1.5, -0.25, 100, 1e-05, *WORDS])


def number_schema(rng):
    s = {"type": rng.choice(["number", "integer"])}
    low = rng.choice([-10, -1, 0, 1, 2.5, 1e-06, 99, 0.1])
    if rng.random() < 0.6:
        s[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.6:
        s[rng.choice(["maximum", "exclusiveMaximum"])] = low + rng.choice([2, 5, 0.75, 1000, 1e17])
    if rng.random() < 0.2:
        s["multipleOf"] = rng.choice([2, 3, 5, 0.5, 0.25, 10, 60, 997, 1000])
    return s


def string_schema(rng):
    s = {"type": "string"}
    low = rng.randrange(4)
    if rng.random() < 0.4:
        s["minLength"] = low
    if rng.random() < 0.4:
        s["maxLength"] = low + rng.randrange(6)
    if rng.random() < 0.3:
        s["pattern"] = rng.choice(PATTERNS)
    if rng.random() < 0.15:
        s["format"] = rng.choice(FORMATS)
    return s


def array_schema(rng, depth):
    s = {"type": "array"}
    if rng.random() < 0.4:
        s["prefixItems"] = [schema(rng, depth - 1) for _ in range(rng.randrange(1, 3))]
    if rng.random() < 0.7:
        s["items"] = schema(rng, depth - 1)
    low = rng.randrange(3)
    if rng.random() < 0.4:
        s["minItems"] = low
    if rng.random() < 0.4:
        s["maxItems"] = low + rng.randrange(4)
    if rng.random() < 0.15:
        s["contains"] = schema(rng, 0)
        if rng.random() < 0.5:
            s["maxContains"] = rng.randrange(1, 3)
    if rng.random() < 0.1:
        s["items"] = {"enum": rng.sample(WORDS, 4)}
        s.pop("prefixItems", None)
        s["uniqueItems"] = True
    return s


def object_schema(rng, depth):
    names = rng.sample(NAMES, rng.randrange(5))
    s = {"type": "object", "properties": {name: schema(rng, depth - 1) for name in names}}
    if names and rng.random() < 0.6:
        s["required"] = rng.sample(names, rng.randrange(1, len(names) + 1))
    if rng.random() < 0.6:
        s["additionalProperties"] = rng.choice([False, False, schema(rng, 0)])
    if rng.random() < 0.15:
        s["patternProperties"] = {rng.choice(PATTERNS): schema(rng, 0)}
    if rng.random() < 0.1:
        s["propertyNames"] = {"maxLength": rng.randrange(1, 6)}
    if rng.random() < 0.1:
        s[rng.choice(["minProperties", "maxProperties"])] = rng.randrange(1, 3)
    if names and rng.random() < 0.1:
        s["dependentRequired"] = {rng.choice(names): [rng.choice(NAMES)]}
    return s


def combination(rng, depth):
    kind = rng.randrange(7)
    parts = [schema(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
    if kind == 0:
        return {"anyOf": parts}
    if kind == 1:
        return {"oneOf": parts}
    if kind == 2:
        return {"allOf": [schema(rng, depth - 1), string_schema(rng) if rng.random() < 0.5 else {}]}
    if kind == 3:
        return {"type": ["string", "integer", "boolean"], "not": schema(rng, 0)}
    if kind == 4:
        return {"if": schema(rng, 0), "then": schema(rng, 0), "else": schema(rng, depth - 1)}
    if kind == 5:
        return {"enum": [scalar(rng) for _ in range(rng.randrange(1, 5))]}
    return {"const": rng.choice([scalar(rng), [scalar(rng)], {rng.choice(NAMES): scalar(rng)}])}


def schema(rng, depth):
    kind = rng.random()
    if depth <= 0 or kind < 0.35:
        return rng.choice(
            [
                number_schema,
                string_schema,
                lambda r: {"type": r.choice(["null", "boolean", ["integer", "null"]])},
                lambda r: {"enum": r.sample(WORDS, 3)},
            ]
        )(rng)
    if kind < 0.55:
        return array_schema(rng, depth)
    if kind < 0.85:
        return object_schema(rng, depth)
    return combination(rng, depth)


def shared_schemas():
    root = os.path.join(os.environ.get("PANTRY_TEST_DATA", "../shared/data"), "grammar")
    rows = []
    for name in ("suite.json", "tools.json"):
        if os.path.exists(os.path.join(root, name)):
            with open(os.path.join(root, name)) as file:
                rows += [row["schema"] for row in json.load(file)]
    return rows


def mutants(rng, value):
    """Values that differ from this one in one scalar, with the same order of keys."""
    paths = []

    def find(v, path):
        if isinstance(v, (dict, list)):
            for key in v if isinstance(v, dict) else range(len(v)):
                find(v[key], path + [key])
        else:
            paths.append(path)

    find(value, [])
    for path in rng.sample(paths, min(len(paths), 3)):
        copy = json.loads(json.dumps(value))
        at = copy
        for key in path[:-1]:
            at = at[key]
        if path:
            at[path[-1]] = scalar(rng)
        else:
            copy = scalar(rng)
        yield copy


def repeats_key(text):
    """Whether an object in the text has a key twice."""
    found = []

    def pairs(items):
        found.append(len({key for key, _ in items}) != len(items))
        return dict(items)

    json.loads(text, object_pairs_hook=pairs)
    return any(found)


def exact(value):
    """False for values whose numbers are spelled in a way that a grammar may leave out."""
    if isinstance(value, dict):
        return all(exact(v) for v in value.values())
    if isinstance(value, list):
        return all(exact(v) for v in value)
    if isinstance(value, float):
        digits = repr(value).split("e")[0].replace(".", "").replace("-", "").strip("0")
        return math.isfinite(value) and not value.is_integer() and len(digits) <= 15
    return not isinstance(value, int) or abs(value) < 10**15


def uses(schema_json, *words):
    return any(f'"{word}"' in schema_json for word in words)


def spellings(value):
    yield json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    yield json.dumps(value, ensure_ascii=False)


def ask(tool, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run([tool], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{tool} ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def python_patterns(one):
    r"""The schema with patterns that mean the same in Python, where \d is any digit and $ may precede a line feed."""

    def translated(pattern):
        return pattern.replace("\\d", "[0-9]").replace("$", "\\Z")

    if isinstance(one, list):
        return [python_patterns(v) for v in one]
    if not isinstance(one, dict):
        return one
    out = {k: python_patterns(v) for k, v in one.items()}
    if isinstance(one.get("pattern"), str):
        out["pattern"] = translated(one["pattern"])
    if isinstance(one.get("patternProperties"), dict):
        out["patternProperties"] = {translated(k): v for k, v in out["patternProperties"].items()}
    return out


class Check:
    def __init__(self):
        self.wrong = 0
        self.walks = self.samples = self.cut = self.texts = 0

    def say(self, *words):
        self.wrong += 1
        if self.wrong <= 20:
            print(*words)

    def valid_walks(self, rng, one, answer):
        """Checks that walks are valid; returns texts with the verdict that the grammar should give, or None."""
        validator = Draft202012Validator(python_patterns(one))
        text = json.dumps(one)
        # The grammar may refuse some of what these allow.
        narrow = uses(text, "format") or (uses(text, "uniqueItems") and uses(text, "prefixItems"))
        wanted = []
        self.walks += len(answer["walks"])
        self.samples += len(answer["samples"])
        self.cut += answer["n_cut"]
        for walk in answer["walks"] + answer["samples"]:
            value = json.loads(walk)
            if not validator.is_valid(value):
                self.say("INVALID", walk[:300], "FOR", text[:600])
                continue
            if not repeats_key(walk) and exact(value):
                wanted += [(spelling, True) for spelling in spellings(value)]
            for mutant in mutants(rng, value):
                valid = validator.is_valid(mutant)
                if not valid or (exact(mutant) and not repeats_key(walk) and not narrow):
                    wanted += [(spelling, valid) for spelling in spellings(mutant)]
        return wanted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", required=True)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--walks", type=int, default=30)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    schemas = shared_schemas()
    schemas += [schema(rng, 3) for _ in range(args.n)]
    counts = {"walks": args.walks, "samples": args.samples}
    walks = ask(args.batch, [{"schema": s, **counts, "seed": args.seed + i} for i, s in enumerate(schemas)])
    check, rows, expected = Check(), [], []
    for one, answer in zip(schemas, walks):
        if "error" in answer:
            continue
        try:
            wanted = check.valid_walks(rng, one, answer)
        except re.error:  # Python's patterns have no \p
            continue
        rows.append({"schema": one, "strings": [text for text, _ in wanted]})
        expected.append(wanted)
    for row, wanted, answer in zip(rows, expected, ask(args.batch, rows)):
        for (text, verdict), accepted in zip(wanted, answer["accepts"]):
            check.texts += 1
            if accepted != verdict:
                check.say(
                    "VALID, REJECTED" if verdict else "INVALID, ACCEPTED", text[:300], "FOR", str(row["schema"])[:600]
                )
    refused = len(schemas) - len(rows)
    print(
        f"{len(schemas)} schemas, {refused} refused, {check.walks} walks, {check.samples} samples ({check.cut} more did not"
        f" end), {check.texts} texts, {check.wrong} wrong"
    )
    few = len(rows) < 100 or check.samples < 5 * len(rows) * args.samples // 10
    return 1 if check.wrong or refused > len(schemas) // 3 or few else 0


if __name__ == "__main__":
    sys.exit(main())
