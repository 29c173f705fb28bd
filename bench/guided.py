"""What a grammar costs while decoding: the same text from the same seed, with and without a grammar, in turns A B B A.

usage: bench/guided.py MODEL [ROUNDS]     (needs build/pantry)

The grammar of the first pair allows every character, so that both say the same; its cost is a mask per token. The
second pair is a schema, beside a plain answer of as many tokens.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

PANTRY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build", "pantry")
SCHEMA = {
    "type": "object",
    "properties": {
        "people": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer"}},
                "required": ["name", "age"],
            },
            "minItems": 60,
        }
    },
    "required": ["people"],
}


def seconds_per_token(model, *options):
    command = [PANTRY, "generate", model, "--json", "--seed", "7", "-n", "200", "-p", "Tell me of people.", *options]
    made = json.loads(subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout)
    return 1 / made["decode_tokens_per_second"], made["text"]


def compare(name, model, rounds, a, b, same):
    plain, guided = [], []
    for i in range(rounds):
        for arm in ("ab", "ba")[i % 2]:
            time, text = seconds_per_token(model, *(a if arm == "a" else b))
            (plain if arm == "a" else guided).append((time, text))
    if same and len({text for _, text in plain + guided}) != 1:
        sys.exit("the texts differ")
    ratio = statistics.median(g[0] / p[0] for p, g in zip(plain, guided))
    times = [1e3 * statistics.median(t for t, _ in arm) for arm in (plain, guided)]
    print(f"{name}: {times[0]:.2f} ms per token without, {times[1]:.2f} with; median ratio {ratio:.3f}")


def main():
    model, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        files = {"gbnf": 'root ::= [^\\x00]*\n', "schema": json.dumps(SCHEMA)}
        for name, text in files.items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        any_text = ["--grammar", os.path.join(folder, "gbnf")]
        compare("any text", model, rounds, [], any_text, True)
        compare("a schema", model, rounds, [], ["--json-schema", os.path.join(folder, "schema")], False)


if __name__ == "__main__":
    main()
