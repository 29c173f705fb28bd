"""convert and synth: files of other formats that give the same logits, the same tokens, and nothing after a failure."""

import json
import os
import resource
import shutil
import struct
import subprocess
import tempfile
import unittest

import service

IDS = "1 5 300 7 1000 2 40000 9"
TEXT = "Hello world, it's 2024:\n\tdef f(x): return  x+1  # \u00e9t\u00e9 \u4e2d\u6587"


def setUpModule():
    global FOLDER, MODEL
    FOLDER = tempfile.mkdtemp(prefix="pantry-convert-")
    MODEL = path("synth.gguf")
    with open(path("ids.txt"), "w") as f:
        f.write(IDS)
    pantry("synth", "smollm2-135m:q4_0", "-o", MODEL, "--layers", "2")


def tearDownModule():
    shutil.rmtree(FOLDER)


def path(name):
    return os.path.join(FOLDER, name)


def pantry(*arguments, status=0, **more):
    """Standard output; of a failure, the error."""
    env = {**os.environ, "PANTRY_HOME": path("home"), "PANTRY_FOREIGN": "0"}
    done = subprocess.run([service.PANTRY, *arguments], capture_output=True, text=True, env=env, timeout=600, **more)
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stderr if status else done.stdout


def logits(model):
    pantry("logits", model, "--ids", path("ids.txt"), "-o", path("logits.f32"))
    with open(path("logits.f32"), "rb") as f:
        data = f.read()
    return struct.unpack(f"{len(data) // 4}f", data)


def error(a, b):
    assert len(a) == len(b)
    return sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a)


class Formats(unittest.TestCase):
    def test_round_trip(self):
        """GGUF to MLX, to GGUF, to Hugging Face: rows of queries and keys change their order, numbers stay."""
        before = logits(MODEL)
        tokens = pantry("tokenize", MODEL, TEXT, "--json")
        report = json.loads(pantry("convert", MODEL, "-o", path("mlx"), "--json"))
        self.assertEqual(report["n_converted"], 0)
        self.assertEqual(report["n_kept"], 2 * 7 + 1)  # seven matrices per layer and the embedding
        with open(path("mlx/config.json")) as f:
            config = json.load(f)
        self.assertEqual(config["model_type"], "llama")
        self.assertEqual(config["quantization"]["mode"], "affine")
        self.assertLess(error(before, logits(path("mlx"))), 1e-6)
        self.assertEqual(pantry("tokenize", path("mlx"), TEXT, "--json"), tokens)

        report = json.loads(pantry("convert", path("mlx"), "-o", path("back.gguf"), "--json"))
        self.assertEqual(report["n_kept"], 2 * 7)  # affine groups of four bits are Q4_1, of eight bits nothing
        self.assertLess(error(before, logits(path("back.gguf"))), 1e-5)
        self.assertEqual(pantry("tokenize", path("back.gguf"), TEXT, "--json"), tokens)

        pantry("convert", MODEL, "-o", path("hf"), "--to", "hf", "--split-max-size", "20MB")
        self.assertTrue(os.path.exists(path("hf/model.safetensors.index.json")))
        self.assertLess(error(before, logits(path("hf"))), 1e-5)
        pantry("convert", path("hf"), "-o", path("q8.gguf"), "--type", "q8_0")
        self.assertLess(error(before, logits(path("q8.gguf"))), 1e-3)
        self.assertEqual(os.listdir(FOLDER).count("mlx"), 1)
        self.assertFalse([name for name in os.listdir(FOLDER) if "partial" in name])

    def test_new_numbers(self):
        """A type that is asked for: more bits are nearer."""
        before, last = logits(MODEL), 1
        pantry("convert", MODEL, "-o", path("plain"), "--to", "hf")
        for kind in ("affine4-g32", "affine8"):
            pantry("convert", path("plain"), "-o", path(kind), "--type", kind)
            now = error(before, logits(path(kind)))
            self.assertLess(now, last / 10)
            last = now

    def test_refusals(self):
        os.makedirs(path("exists"), exist_ok=True)
        for told, words in (
            ("is a GGUF file already", (MODEL, "-o", path("x.gguf"))),
            ("exists", (MODEL, "-o", path("exists"))),
            ("is not a format (allowed: gguf, mlx, hf)", (MODEL, "-o", path("x"), "--to", "onnx")),
            ("is not a type of such directories", (MODEL, "-o", path("x"), "--type", "q9")),
            ("is not a type of such directories", (MODEL, "-o", path("x"), "--to", "hf", "--type", "affine4")),
        ):
            self.assertIn(told, pantry("convert", *words, status=1))
        self.assertFalse(os.path.exists(path("x")))

    def test_full_disks(self):
        """A limit of file sizes stands for a full disk: the error says so, and nothing is left."""

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        for words in (
            ("convert", MODEL, "-o", path("full")),
            ("synth", "smollm2-135m:q4_0", "-o", path("full"), "--layers", "1"),
        ):
            self.assertIn("cannot be written", pantry(*words, status=1, preexec_fn=limit))
            self.assertFalse([name for name in os.listdir(FOLDER) if name.startswith("full")])


class Synth(unittest.TestCase):
    def test_shapes(self):
        self.assertIn("unknown synthetic model", pantry("synth", "abacus:q4_0", "-o", path("y.gguf"), status=1))
        self.assertIn(
            "allowed 1..30", pantry("synth", "smollm2-135m:q4_0", "-o", path("y.gguf"), "--layers", "31", status=1)
        )
        self.assertEqual(pantry("check", MODEL).strip().rsplit(" ", 1)[-1], "ok")
        self.assertFalse(os.path.exists(path("y.gguf")))


if __name__ == "__main__":
    unittest.main()
