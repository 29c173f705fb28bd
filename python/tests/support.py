"""What the tests of the package share: tiny made-up models, the program, and the real models of this machine."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PANTRY = os.path.abspath(os.environ.get("PANTRY", os.path.join(ROOT, "build", "pantry")))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import tiny_folder  # noqa: E402
import tiny_model  # noqa: E402

import pantry  # noqa: E402

CHAT = [{"role": "user", "content": "hi"}]


class Folder:
    """A temporary folder with a tiny model, and a home of its own for the program."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="pantry-python-")
        self.model = self.file("tiny.gguf")
        tiny_model.write(self.model)

    def file(self, name):
        return os.path.join(self.path, name)

    def write(self, name, text):
        with open(self.file(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.file(name)

    def environment(self):
        return {**os.environ, "PANTRY_HOME": self.file("home"), "PANTRY_MODELS": "", "PANTRY_FOREIGN": "0"}

    def program(self, *arguments, env=None):
        """Standard output."""
        done = subprocess.run([PANTRY, *arguments], env=env or self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    def generated(self, model, prompt, *more, env=None):
        """The object that `pantry generate --json` prints: a greedy continuation."""
        return json.loads(
            self.program("generate", model, "-p", prompt, "--raw", "--temp", "0", "--json", *more, env=env)
        )

    def remove(self):
        shutil.rmtree(self.path)


def real_model(name="smollm2:135m"):
    """(model, tokenizer) of this machine's store; skips the test without it."""
    try:
        return pantry.load(name, fetch=False)
    except pantry.errors.NotFoundError as error:
        raise unittest.SkipTest(f"{name} is not in the store") from error
