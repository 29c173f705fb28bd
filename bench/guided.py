"""What a form of the answer costs: decoding with and without one, in turns A B B A, and the time to compile.

    python3 bench/guided.py [MODEL | --synthetic] [--rounds N] [-n TOKENS] [-t THREADS]

Needs no network: --synthetic (the default) makes a model of random weights with 151,936 tokens in a temporary folder
(bench/synthetic_model.py). Builds build/pantry and build/bench/grammar_masks where they are missing.

Three pairs. The grammar of the first allows every character, so that both answers say the same, token for token (it is
checked); what it costs is a mask per token. The second is a schema whose strings are free, the third one with bounds
and lists of values; both are compared with a plain answer, by the time of a step of the model, since a grammar forces
tokens without one. Printed are the medians of all rounds in ms per step, and the median of the ratios of neighbours:
the goal is below 1.02. An answer's first tokens pay for masks that are made at the first time; --warm leaves that out
by making the same answer of twice the tokens and subtracting.

Then, of a typical set of tools and of each tool alone: the time to compile, and the mean time of mask and step per
token of a call, the first time and later (processor time of one thread).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PANTRY, MASKS = (os.path.join(ROOT, "build", *name) for name in (("pantry",), ("bench", "grammar_masks")))


def an_object(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


TEXT = {"type": "string"}
PEOPLE = an_object(people={"type": "array", "items": an_object(name=TEXT, story=TEXT), "minItems": 60})
BOUNDED = an_object(
    rows={
        "type": "array",
        "minItems": 60,
        "items": an_object(
            title={"type": "string", "maxLength": 60},
            kind={"enum": ["bug", "feature", "question", "other"]},
            score={"type": "integer", "minimum": 0, "maximum": 100},
            tags={"type": "array", "items": {"type": "string", "pattern": "^[a-z-]{1,12}$"}, "maxItems": 4},
        ),
    }
)
# Tools of a coding agent, and a call of each.
TOOLS = [
    ("read_file", an_object(path=TEXT, first={"type": "integer", "minimum": 1}), {"path": "src/main.c", "first": 1}),
    ("write_file", an_object(path=TEXT, content=TEXT), {"path": "a.txt", "content": "One line.\nAnother \"line\".\n"}),
    (
        "edit_file",
        an_object(path=TEXT, edits={"type": "array", "items": an_object(old=TEXT, new=TEXT), "minItems": 1}),
        {"path": "src/a.c", "edits": [{"old": "int x;", "new": "int y = 1;"}, {"old": "x++", "new": "y++"}]},
    ),
    ("run", an_object(command=TEXT, seconds={"type": "integer", "minimum": 1, "maximum": 600}),
     {"command": "make -j4 test", "seconds": 120}),
    ("search", an_object(pattern=TEXT, where={"enum": ["names", "contents", "history"]}, regex={"type": "boolean"}),
     {"pattern": "pn_[a-z]+", "where": "contents", "regex": True}),
    (
        "todo",
        an_object(items={"type": "array", "items": an_object(text=TEXT, state={"enum": ["open", "doing", "done"]})}),
        {"items": [{"text": "Read the code", "state": "done"}, {"text": "Write a test", "state": "doing"}]},
    ),
    ("ask", an_object(question={"type": "string", "maxLength": 200}, options={"type": "array", "items": TEXT}),
     {"question": "Which one?", "options": ["this", "that"]}),
    ("fetch", an_object(url={"type": "string", "format": "uri"}, method={"enum": ["GET", "POST"]}),
     {"url": "https://example.org/a?b=c", "method": "GET"}),
]  # fmt: skip


def decode(model, options, n_tokens):
    """(seconds, steps, text)"""
    command = [PANTRY, "generate", model, "--json", "--raw", "--seed", "7", "-n", str(n_tokens), "-p", "Tell me of people."]
    done = subprocess.run([*command, *options], capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.stderr.decode())
    made = json.loads(done.stdout)
    if made["n_generated"] < n_tokens // 2:
        sys.exit(f"the answer ended after {made['n_generated']} tokens: another model, or another seed, is needed")
    return made["decode_seconds"], made["decode_seconds"] * made["decode_tokens_per_second"], made["text"]


def per_step(model, options, args):
    seconds, steps, text = decode(model, options, args.n)
    if args.warm:
        more, more_steps, text = decode(model, options, 2 * args.n)
        seconds, steps = more - seconds, more_steps - steps
    return 1000 * seconds / steps, text


def compare(name, model, args, form, same):
    more = ["-t", str(args.t)] if args.t else []
    arms, ratios = {"a": [], "b": []}, []
    for i in range(args.rounds):
        now = {}
        for arm in ("ab", "ba")[i % 2]:
            now[arm] = per_step(model, [*more, *(form if arm == "b" else [])], args)
            arms[arm].append(now[arm])
        ratios.append(now["b"][0] / now["a"][0])
    if same and len({text for arm in arms.values() for _, text in arm}) != 1:
        sys.exit("the texts differ")
    plain, guided = (statistics.median(ms for ms, _ in arms[arm]) for arm in "ab")
    low, high = min(ratios), max(ratios)
    print(f"{name:<28} {plain:9.3f} {guided:9.3f}    {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")


def tool_cases():
    calls = [an_object(name={"const": name}, arguments=schema) for name, schema, _ in TOOLS]
    cases = [
        {"kind": "schema", "source": json.dumps(schema), "text": json.dumps(call)} for _, schema, call in TOOLS
    ]
    name, _, call = max(TOOLS, key=lambda tool: len(json.dumps(tool[2])))
    whole = {"anyOf": calls}
    text = json.dumps({"name": name, "arguments": call})
    return [{"kind": "schema", "source": json.dumps(whole), "text": text}, *cases]


def compiling(model, folder):
    path = os.path.join(folder, "cases.json")
    with open(path, "w") as file:
        json.dump(tool_cases(), file)
    done = subprocess.run([MASKS, model, path, "--rounds", "20"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    print(f"\n{done.stderr.strip()}, once per model")
    print(f"{'':<28} {'compile':>9} {'states':>9} {'first, us':>11} {'later, us':>11}")
    names = [f"{len(TOOLS)} tools", *(name for name, *_ in TOOLS)]
    for name, line in zip(names, done.stdout.splitlines()):
        row = json.loads(line)
        later = row["mask_us"] + row["step_us"]
        print(f"{name:<28} {row['compile_ms']:6.2f} ms {row['states']:9} {row['cold_us']:11.1f} {later:11.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a GGUF file; without one: --synthetic")
    parser.add_argument("--synthetic", action="store_true", help="a model of random weights with 151,936 tokens")
    parser.add_argument("--layers", type=int, default=12, help="of the synthetic model")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warm", action="store_true", help="leave out what only an answer's first tokens pay")
    parser.add_argument("-n", type=int, default=256, help="tokens of an answer")
    parser.add_argument("-t", type=int, default=0, help="threads")
    args = parser.parse_args()
    if not all(os.path.exists(path) for path in (PANTRY, MASKS)):
        subprocess.run(["make", "-C", ROOT, "build/pantry", "build/bench/grammar_masks"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        model = args.model
        if not model or args.synthetic:
            model = os.path.join(folder, "synthetic.gguf")
            subprocess.run([sys.executable, os.path.join(HERE, "synthetic_model.py"), model, str(args.layers)], check=True)
        forms = {"gbnf": "root ::= [^\\x00]*\n", "people": json.dumps(PEOPLE), "bounded": json.dumps(BOUNDED)}
        for name, text in forms.items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
            forms[name] = os.path.join(folder, name)
        print(f"{'':<28} {'plain, ms':>9} {'form, ms':>9}    ratio (range)")
        compare("any text (the same answer)", model, args, ["--grammar", forms["gbnf"]], True)
        compare("a schema, free strings", model, args, ["--json-schema", forms["people"]], False)
        compare("a schema, bounded", model, args, ["--json-schema", forms["bounded"]], False)
        compiling(model, folder)


if __name__ == "__main__":
    main()
