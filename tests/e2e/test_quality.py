"""quantize, imatrix and eval on a tiny model: what they print, what they refuse, and that the files run."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

import service
import tiny_model

TEXT = "the cat in the hat and a thing that is a hat in the thing " * 60


def setUpModule():
    global FOLDER, MODEL
    FOLDER = tempfile.mkdtemp(prefix="pantry-quality-")
    MODEL = path("tiny.gguf")
    tiny_model.write(MODEL)
    write("text.txt", TEXT)


def tearDownModule():
    shutil.rmtree(FOLDER)


def path(name):
    return os.path.join(FOLDER, name)


def write(name, text):
    with open(path(name), "w") as f:
        f.write(text)
    return path(name)


def pantry(*arguments, status=0):
    """Standard output; of a failure, the error."""
    env = {**os.environ, "PANTRY_HOME": path("home"), "PANTRY_FOREIGN": "0"}
    done = subprocess.run([service.PANTRY, *arguments], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stderr if status else done.stdout


def evaluate(*arguments):
    return json.loads(pantry("eval", *arguments, "--json"))


class Quantize(unittest.TestCase):
    def test_files_run(self):
        """Each output is a model whose logits are near the original's, the nearer the more bits it has."""
        pantry("eval", MODEL, "-f", path("text.txt"), "--ctx", "64", "--save-logits", path("base.logits"))
        before = 0
        for kind in ("Q8_0", "Q5_1", "Q4_0"):
            out = path(f"{kind}.gguf")
            pantry("quantize", MODEL, out, kind)
            self.assertEqual(pantry("check", out).strip().rsplit(" ", 1)[-1], "ok")
            found = evaluate(out, "--kl", path("base.logits"))["text"]
            self.assertGreater(found["divergence"], before)
            before = found["divergence"]
        self.assertLess(before, 1)
        self.assertEqual([f for f in os.listdir(FOLDER) if "partial" in f], [])

    def test_dry_run_writes_nothing(self):
        report = json.loads(pantry("quantize", MODEL, path("none.gguf"), "Q4_0", "--dry-run", "--json"))
        self.assertFalse(os.path.exists(path("none.gguf")))
        self.assertGreater(report["bytes_in"], report["bytes_out"])

    def test_importances(self):
        pantry("imatrix", MODEL, "-f", path("text.txt"), "-o", path("i.gguf"))
        pantry("quantize", MODEL, path("plain.gguf"), "Q4_0")
        pantry("quantize", MODEL, path("weighted.gguf"), "Q4_0", "--imatrix", path("i.gguf"))
        with open(path("plain.gguf"), "rb") as a, open(path("weighted.gguf"), "rb") as b:
            self.assertNotEqual(a.read(), b.read())

    def test_mistakes(self):
        for words, told in [
            ([MODEL, path("x.gguf"), "Q9_9"], "Q9_9"),
            ([path("missing.gguf"), path("x.gguf"), "Q4_0"], "missing.gguf"),
            ([MODEL, path("x.gguf"), "Q4_0", "--imatrix", path("text.txt")], "text.txt"),
            ([MODEL, path("x.gguf"), "Q4_0", "--tensor-type", "attn=Q9"], "Q9"),
            ([MODEL, MODEL, "Q4_0"], "tiny.gguf"),
        ]:
            self.assertIn(told, pantry("quantize", *words, status=1))
        self.assertFalse(os.path.exists(path("x.gguf")))


class Eval(unittest.TestCase):
    def test_text(self):
        found = evaluate(MODEL, "-f", path("text.txt"), "--ctx", "64", "--save-logits", path("own.logits"))["text"]
        self.assertGreater(found["perplexity"], 1)
        self.assertLess(found["perplexity"], 10 * len(tiny_model.vocabulary()[0]))
        own = evaluate(MODEL, "--kl", path("own.logits"))["text"]
        self.assertAlmostEqual(own["perplexity"], found["perplexity"], places=2)
        self.assertLess(own["divergence"], 1e-4)
        self.assertGreater(own["same_top"], 0.99)

    def test_tasks(self):
        """A choice that a model finds likelier wins; a generation counts if its text is in the answer."""
        answer = json.loads(pantry("generate", MODEL, "--raw", "-p", "the cat", "--temp", "0", "-n", "64", "--json"))
        said = answer["text"][2:6]
        tasks = [
            {"prompt": "the cat", "choices": [answer["text"][:8], "\u00e9\u00e8\u00ea\u00eb"], "answer": 0},
            {"prompt": "the cat", "choices": [answer["text"][:8], "\u00e9\u00e8\u00ea\u00eb"], "answer": 1},
            {"prompt": "the cat", "expect": said},
            {"prompt": "the cat", "expect": "12345"},
        ]
        file = write("tasks.jsonl", "\n\n".join(json.dumps(t) for t in tasks))
        found = evaluate(MODEL, "--tasks", file)
        self.assertEqual((found["choices"]["right"], found["choices"]["n"]), (1, 2))
        self.assertEqual((found["generation"]["right"], found["generation"]["n"]), (1, 2))
        self.assertAlmostEqual(found["generation"]["low"], 0.0945, places=3)  # Wilson, 1 of 2
        self.assertIn("(1 of 2; 95 %: 9.45 to 90.55)", pantry("eval", MODEL, "--tasks", file))

    def test_mistakes(self):
        good = json.dumps({"prompt": "a", "expect": "b"})
        for lines, told in [
            ("", "no task"),
            (good + "\n{", "line 2 is not JSON"),
            ('{"prompt": "a"}', 'line 1 needs "prompt" and either'),
            ('{"prompt": "a", "choices": ["b"], "answer": 0}', "line 1 needs 2 to 64 choices"),
            ('{"prompt": "a", "choices": ["b", "c"], "answer": 2}', "line 1 needs 2 to 64 choices"),
            ('{"prompt": "a", "choices": ["b", 1], "answer": 0}', "line 1 has a choice that is not a text"),
        ]:
            self.assertIn(told, pantry("eval", MODEL, "--tasks", write("bad.jsonl", lines), status=1))
        self.assertIn("too short", pantry("eval", MODEL, "-f", write("short.txt", "the"), status=1))
        self.assertIn("text.txt", pantry("eval", MODEL, "--kl", path("text.txt"), status=1))
        pantry("eval", MODEL, status=2)


if __name__ == "__main__":
    unittest.main()
