"""Embeddings, ranks, decisions, adapters, tuning, fetching."""

import array
import json
import os
import subprocess
import sys
import unittest

import pantry
from pantry import embed, generate, load, rank
from support import Folder, tiny_folder, tiny_model

import registry_stub  # isort: skip; support knows its folder

TEXTS = ["the hat", "a cat in the hall", "q"]


def setUpModule():
    global FOLDER, MODEL, TOKENIZER
    FOLDER = Folder()
    MODEL, TOKENIZER = load(FOLDER.model)


def tearDownModule():
    FOLDER.remove()


class Vectors(unittest.TestCase):
    def test_equal_the_program(self):
        out = FOLDER.file("rows.f32")
        FOLDER.program("embed", FOLDER.model, "--out", out, *TEXTS)
        rows, said = embed(MODEL, TEXTS), array.array("f")
        with open(out, "rb") as file:
            said.frombytes(file.read())
        self.assertEqual((len(rows), rows.shape), (3, (3, MODEL.info.n_embedding)))
        self.assertEqual([value for row in rows for value in row], list(said))
        self.assertEqual(rows[-1], rows[2])
        self.assertEqual(rows[:2], rows.tolist()[:2])
        with self.assertRaises(IndexError):
            rows[3]

    def test_options(self):
        self.assertAlmostEqual(sum(x * x for x in embed(MODEL, "the hat", dimensions=8)[0]), 1, places=5)
        self.assertEqual(embed(MODEL, "the hat", dimensions=8).shape, (1, 8))
        states = embed(MODEL, ["the hat", "q"], pooling="none")
        self.assertEqual(len(states), sum(states.n_tokens(2)))
        self.assertEqual(embed(MODEL, [TOKENIZER.encode("the hat")])[0], embed(MODEL, ["the hat"])[0])
        with self.assertRaisesRegex(pantry.errors.InvalidError, "pooling"):
            embed(MODEL, TEXTS, pooling="max")
        with self.assertRaises(pantry.errors.ContextFullError):
            embed(MODEL, ["the hat " * 50], max_tokens=4)
        self.assertTrue(embed(MODEL, ["the hat " * 50], max_tokens=4, truncate=True).truncated)

    def test_numpy_shares_the_memory(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        rows = embed(MODEL, TEXTS)
        shared = numpy.asarray(rows)
        self.assertEqual((shared.dtype, shared.shape), (numpy.dtype("float32"), rows.shape))
        shared[0, 0] = 7
        self.assertEqual(rows[0][0], 7)
        del rows
        self.assertEqual(shared[0, 0], 7)  # it keeps them

    def test_ranks_are_cosines_without_a_head(self):
        rows = embed(MODEL, TEXTS)
        scores = rank(MODEL, TEXTS[0], TEXTS[1:])
        for score, row in zip(scores, rows[1:]):
            self.assertAlmostEqual(score, sum(a * b for a, b in zip(rows[0], row)), places=5)

    def test_decisions(self):
        asked = {"state": "the hat", "questions": {"hat": {"type": "noul", "instructions": "is it a hat?"}}}
        answer = pantry.decide(MODEL, asked)["answers"]["hat"]
        self.assertTrue(0 <= answer["noul"] <= 1)
        with self.assertRaises(pantry.errors.InvalidError):
            pantry.decide(MODEL, {})


class Adapters(unittest.TestCase):
    def test_equal_the_program(self):
        path = FOLDER.file("lora.gguf")
        tiny_model.write_adapter(path)
        said = FOLDER.generated(FOLDER.model, "the hat", "-n", "16", "--adapter", path)["text"]
        for how in ({"adapter_path": path}, {"adapters": [path]}, {"adapters": [path + "=1.0"]}):
            model, tokenizer = load(FOLDER.model, **how)
            self.assertEqual(generate(model, tokenizer, "the hat", max_tokens=16), said)
        self.assertNotEqual(generate(MODEL, TOKENIZER, "the hat", max_tokens=16), said)

    def test_config_comes_with_the_model(self):
        _, _, config = load(FOLDER.model, return_config=True)
        self.assertEqual(config["architecture"], "llama")


class Tuning(unittest.TestCase):
    def setUp(self):
        rows = [{"prompt": f"say {i}", "completion": "the hat " * (1 + i % 3)} for i in range(6)]
        self.data = FOLDER.write("rows.jsonl", "\n".join(map(json.dumps, rows)) + "\n")

    def tune(self, out, **options):
        given = {"iters": 8, "batch_size": 2, "learning_rate": 0.01, "n_layers": -1, "seed": 1, **options}
        return pantry.tune(FOLDER.model, self.data, FOLDER.file(out), **given)

    def test_trains_an_adapter(self):
        events = []
        last = self.tune("adapter", callback=events.append, iters=20)
        losses = [event.loss for event in events if event.kind == "step"]
        self.assertEqual((len(losses), last.kind, events[0].kind), (20, events[-1].kind, "planned"))
        self.assertLess(losses[-1], losses[0])
        model, tokenizer = load(FOLDER.model, adapter_path=FOLDER.file("adapter"))
        self.assertNotEqual(generate(model, tokenizer, "say 1", max_tokens=16),
                            generate(MODEL, TOKENIZER, "say 1", max_tokens=16))  # fmt: skip
        pantry.export_adapter(FOLDER.model, FOLDER.file("adapter"), "gguf", FOLDER.file("a.gguf"))
        self.assertTrue(os.path.exists(FOLDER.file("a.gguf")))

    def test_ends_when_asked(self):
        seen = []

        def stop(event):
            seen.append(event)
            return event.kind != "step"

        with self.assertRaises(pantry.errors.CancelledError):
            self.tune("stopped", callback=stop)
        self.assertEqual(sum(event.kind == "step" for event in seen), 1)
        cancel = pantry.Cancel()
        cancel.set()
        with self.assertRaises(pantry.errors.CancelledError):
            self.tune("cancelled", cancel=cancel)
        with self.assertRaises(ZeroDivisionError):
            self.tune("raised", callback=lambda event: 1 / 0)

    def test_config(self):
        text = f"model: {FOLDER.model}\ntrain: true\ndata: {self.data}\niters: 3\nbatch_size: 1\nnum_layers: -1\n"
        last = pantry.tune(config=FOLDER.write("lora.yaml", text), adapter_path=FOLDER.file("yaml"), batch_size=2)
        self.assertEqual(last.n_iters, 3)
        with self.assertRaisesRegex(pantry.errors.InvalidError, "model"):
            pantry.tune(data=self.data)
        with self.assertRaisesRegex(TypeError, "nonsense"):
            self.tune("x", nonsense=1)
        with self.assertRaisesRegex(pantry.errors.FormatError, "rows.jsonl"):
            FOLDER.write("rows.jsonl", '{"nothing": 1}\n')
            self.tune("x")

    def test_fuses(self):
        folder, adapter = FOLDER.file("hf"), FOLDER.file("hf-adapter")
        tiny_folder.write(folder)
        tiny_folder.write_adapter(adapter)
        pantry.fuse(folder, adapter, FOLDER.file("fused"))
        texts = []
        for path, how in ((FOLDER.file("fused"), {}), (folder, {"adapter_path": adapter}), (folder, {})):
            model, tokenizer = load(path, **how)
            texts.append(generate(model, tokenizer, "the hat", max_tokens=16))
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])


class Fetching(unittest.TestCase):
    def test_a_name_that_says_where_it_is(self):
        registry = registry_stub.Registry()
        self.addCleanup(registry.close)
        with open(FOLDER.model, "rb") as file:
            registry.add("library/toy:1", file.read())
        code = (
            "import sys, pantry; seen = [];"
            "m, t = pantry.load(sys.argv[1], progress=lambda *n: seen.append(n));"
            "print(*seen[-1], m.info.architecture); pantry.load(sys.argv[1], fetch=False)"
        )
        name = f"127.0.0.1:{registry.port}/library/toy:1"
        done = subprocess.run(
            [sys.executable, "-c", code, name], env=FOLDER.environment(), capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        got, total, architecture = done.stdout.split()
        self.assertEqual((got, architecture), (total, "llama"))
        self.assertGreaterEqual(int(total), os.path.getsize(FOLDER.model))


if __name__ == "__main__":
    unittest.main()
