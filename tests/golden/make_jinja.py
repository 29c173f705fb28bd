#!/usr/bin/env python3
"""Records jinja2's output of each program in jinja.json.

usage: make_jinja.py [FILE ...]

Each FILE is a JSON list of programs to add. The context and the environment are those of tests/diff/jinja_programs.py. A row is [program,
output], or [program, null, error] where jinja2 raises. Programs with varying output are left out. Needs: jinja2 3.1.6.
"""

import json
import os
import sys
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "diff"))
from jinja_programs import ADDRESS, CONTEXT, reference  # noqa: E402

FILE = os.path.join(HERE, "jinja.json")


def record(source):
    kind, text = reference(source)
    if kind == "skip" or ADDRESS.search(text) or "random" in source:
        return None
    return [source, text] if kind == "output" else [source, None, text]


def main():
    warnings.simplefilter("ignore")
    sources = []
    if os.path.exists(FILE):
        with open(FILE, encoding="utf-8") as file:
            sources = [row[0] for row in json.load(file)["rows"]]
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            sources += json.load(file)
    rows = [row for row in map(record, dict.fromkeys(sources)) if row]
    with open(FILE, "w", encoding="utf-8") as file:
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        file.write(f'{{"context": {json.dumps(CONTEXT)},\n"rows": [\n{lines}\n]}}\n')
    print(f"{len(rows)} programs")


if __name__ == "__main__":
    main()
