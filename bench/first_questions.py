#!/usr/bin/env python3
"""Asks models the first ten questions of a new user and prints the answers as a page of Markdown, for docs/catalog.md:

    python3 bench/first_questions.py build/pantry smollm2:135m qwen2.5-coder:1.5b

Each question is asked greedily (--temp 0) and with the sampling of `pantry run` and a fixed seed. Answers are cut after
160 tokens. Nothing is scored: the reader of the page judges.
"""
import subprocess
import sys

QUESTIONS = (
    "What is the capital of France?",
    "What is the capital of Australia?",
    "Write a haiku about the sea.",
    "What is 17 + 25?",
    "What is 12 times 12?",
    "Write a short C function that returns the larger of two integers.",
    "Say hello in French, German and Spanish.",
    "Why is the sky blue? Answer in one sentence.",
    "Name three fruits.",
    'Translate "Good morning, how are you?" into German.',
)
WAYS = (("likeliest token", ["--temp", "0"]), ("default sampling, seed 1", ["--seed", "1"]))
LIMIT = 160


def answer(program, model, question, options):
    done = subprocess.run([program, "generate", model, "-p", question, "-n", str(LIMIT), *options], capture_output=True,
                          text=True, check=True)
    return done.stdout.strip()


def quote(text):
    return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))


def main(program, models):
    for model in models:
        print(f"### {model}\n")
        for question in QUESTIONS:
            print(f"**{question}**\n")
            answers = [(name, answer(program, model, question, options)) for name, options in WAYS]
            if answers[0][1] == answers[1][1]:
                answers = [("both ways", answers[0][1])]
            for name, text in answers:
                print(f"{name}:\n\n{quote(text)}\n", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: first_questions.py PROGRAM MODEL...")
    main(sys.argv[1], sys.argv[2:])
