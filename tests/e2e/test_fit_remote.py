"""pantry fit of models that are elsewhere: only the heads of their files are fetched. And the questions before a pull."""

import json
import os
import unittest

import test_cli as cli
import test_pull
import tiny_folder
import tiny_model
from terminal import Terminal

MIB = 1 << 20


def setUpModule():
    global LARGE, FOLDER
    test_pull.setUpModule()
    path = os.path.join(cli.FOLDER, "large.gguf")
    status, _, error = cli.pantry("synth", "smollm2-135m:q4_0", "-o", path, "--layers", "1")
    assert status == 0, error
    with open(path, "rb") as file:
        LARGE = file.read()
    FOLDER = os.path.join(cli.FOLDER, "outline-folder")
    tiny_folder.write(FOLDER)


def tearDownModule():
    test_pull.tearDownModule()


class Remote(test_pull.Pull):
    CHIP = ("--chip", "M4", "--memory", "16G", "--ctx", "512")

    def setUp(self):
        super().setUp()
        self.hub = f"http://localhost:{self.registry.port}"
        self.scratch = os.path.join(self.home, "tmp")
        os.mkdir(self.scratch)
        self.env.update(HF_ENDPOINT=self.hub, TMPDIR=self.scratch, PANTRY_FOREIGN="0")

    def fit(self, name, *more, status=0):
        out = self.pantry(status, "fit", name, *self.CHIP, "--json", *more)
        return json.loads(out)

    def pantry(self, status, *words):
        got, out, error = cli.pantry(*words, env=self.env)
        self.assertEqual(got, status, error)
        self.assertEqual(os.listdir(self.scratch), [], "the outline is still there")
        self.assertFalse(os.path.exists(os.path.join(self.home, "models", "blobs")), "something was stored")
        return out.decode()

    def local(self, data):
        path = os.path.join(self.home, "here.gguf")
        with open(path, "wb") as file:
            file.write(data)
        found = self.fit(path)
        os.unlink(path)
        return found

    def assert_like(self, found, wanted, data):
        for key in ("need_bytes", "memory", "weight_types", "context", "max_context", "decode_tokens_per_second"):
            self.assertEqual(found[key], wanted[key], key)
        self.assertEqual(found["download_bytes"], len(data))
        self.assertLess(found["fetched_bytes"], len(data) / 3)

    def test_hugging_face(self):
        self.registry.files["you/Toy-GGUF"] = {"Toy-Q4_0.gguf": LARGE, "Toy-Q8_0.gguf": b"GGUF"}
        found = self.fit("hf.co/you/Toy-GGUF:Q4_0")
        self.assert_like(found, self.local(LARGE), LARGE)
        self.assertLess(self.registry.sent, len(LARGE) / 3)
        self.assertIn(" to download", self.pantry(0, "fit", "hf.co/you/Toy-GGUF:Q4_0", *self.CHIP))

    def test_registry_and_url(self):
        self.registry.add("library/large:1", LARGE)
        self.registry.token = "secret"
        self.assert_like(self.fit(self.name("library/large:1")), self.local(LARGE), LARGE)
        self.registry.token = None
        self.registry.plain["large.gguf"] = LARGE
        self.assert_like(self.fit(f"{self.hub}/files/large.gguf"), self.local(LARGE), LARGE)

    def test_several_parts(self):
        parts = []
        for path in tiny_model.write_shards(os.path.join(self.home, "parts"), 3):
            with open(path, "rb") as file:
                parts.append(file.read())
            os.unlink(path)
        files = {f"Q8_0/Toy-Q8_0-0000{i + 1}-of-00003.gguf": part for i, part in enumerate(parts)}
        self.registry.files["you/Toy-GGUF"] = files
        found = self.fit("hf.co/you/Toy-GGUF:Q8_0")
        self.assertEqual(found["download_bytes"], sum(map(len, parts)))
        self.assertEqual(found["memory"]["weights"], self.local(test_pull.TINY)["memory"]["weights"])

    def test_a_folder_of_safetensors(self):
        files = {}
        for name in os.listdir(FOLDER):
            with open(os.path.join(FOLDER, name), "rb") as file:
                files[name] = file.read()
        self.registry.files["you/Toy"] = files
        wanted = self.fit(FOLDER)
        found = self.fit("hf.co/you/Toy")
        self.assertEqual(found["memory"], wanted["memory"])
        self.assertEqual(self.registry.paths("tokenizer"), [])
        self.assertGreater(found["need_bytes"], 0)

    def test_without_ranges(self):
        self.registry.ranges = False
        self.registry.files["you/Toy-GGUF"] = {"Toy-Q4_0.gguf": LARGE}
        self.assertIn("gives no ranges", self.refuse("hf.co/you/Toy-GGUF:Q4_0"))
        self.assertLess(self.registry.sent, len(LARGE) / 2)

    def refuse(self, name):
        error = self.bad(1, "fit", name, *self.CHIP, env=self.env)
        self.assertEqual(os.listdir(self.scratch), [])
        return error

    def test_bad_files(self):
        cases = {
            "Text-Q4_0.gguf": (b"no model at all" * 1000, "is not a GGUF file"),
            "Cut-Q4_0.gguf": (LARGE[:100_000], "ends within its head"),
            "Count-Q4_0.gguf": (LARGE[:24] + b"\xff" * 8 + LARGE[32:], "damaged"),
            "Short-Q4_0.gguf": (LARGE[: 5 * MIB], "past the end"),
        }
        for name, (data, told) in cases.items():
            self.registry.files["you/Toy-GGUF"] = {name: data}
            with self.subTest(name):
                error = self.refuse("hf.co/you/Toy-GGUF:Q4_0")
                self.assertRegex(error, told if name != "Short-Q4_0.gguf" else "byte|bytes")
        self.registry.files["you/Toy"] = {"config.json": b"{}", "model.safetensors": b"\xff" * 64}
        self.assertIn("is not a safetensors file", self.refuse("hf.co/you/Toy"))

    def test_unknown_names(self):
        self.assertIn("no such model", self.refuse(self.name("library/none:1")))
        self.assertIn("no such repository", self.refuse("hf.co/you/none"))
        self.registry.log.clear()
        self.refuse("no-such-model")  # without a place or a tag nobody is asked
        self.assertEqual(self.registry.log, [])


class Questions(test_pull.Pull):
    """What is asked on a terminal before a model that will not fit, or it tells about a slow one."""

    def setUp(self):
        super().setUp()
        self.env.update(HF_ENDPOINT=f"http://localhost:{self.registry.port}", PANTRY_FOREIGN="0")
        self.registry.files["you/Toy-GGUF"] = {"Toy-Q8_0.gguf": LARGE, "Toy-Q4_K_M.gguf": test_pull.TINY}

    def keep(self, decode):
        limits = {
            "device": self.device(),
            "read_bytes_per_second": 2e9,
            "decode_bytes_per_second": decode,
            "layer_seconds": 0.0,
            "operations_per_second": 1e12,
        }
        with open(os.path.join(self.home, "machine.json"), "w") as file:
            json.dump({"limits": [limits]}, file)

    def device(self):
        return self.json("bench", cli.MODEL, "-p", "8", "-n", "4", "-r", "1", "--json", env=self.env)["device"]

    def start(self, *words):
        terminal = Terminal([cli.PANTRY, *words], self.env, columns=200)
        self.addCleanup(terminal.close)
        return terminal

    def test_too_large(self):
        """The nearest is the smaller quant of the repository; n stops, i takes it."""
        for answer in ("n", "", "x"):
            terminal = self.start("run", "--local", "--memory", "20M", "hf.co/you/Toy-GGUF:Q8_0", "hello")
            terminal.expect("will not fit")
            terminal.expect("hf.co/you/Toy-GGUF:Q4_K_M would: ")
            terminal.expect("instead (i), or stop (n)? [n]")
            terminal.line(answer)
            self.assertEqual(terminal.process.wait(60), 1)
            self.assertEqual(self.blobs(), [])
        terminal = self.start("run", "--local", "--memory", "20M", "hf.co/you/Toy-GGUF:Q8_0", "hello", "-n", "2")
        terminal.expect("or stop (n)? [n]")
        terminal.line("i")
        terminal.expect("pulling")
        self.assertEqual(terminal.process.wait(60), 0)
        self.assertEqual(len(self.blobs()), 2)

    def test_slow(self):
        self.keep(1e6)
        terminal = self.start("pull", "hf.co/you/Toy-GGUF:Q8_0")
        terminal.expect("hf.co/you/Toy-GGUF:Q8_0 will be slow on this machine: about ")
        terminal.expect("is in the store")
        self.assertEqual(terminal.process.wait(60), 0)

    def test_scripts_hear_nothing(self):
        """Neither a question nor a warning, and no request more than before."""
        self.keep(1e6)
        status, _, error = cli.pantry("pull", "hf.co/you/Toy-GGUF:Q8_0", env=self.env)
        self.assertEqual(status, 0, error)
        self.assertNotIn("slow", error)
        self.assertEqual(len(self.registry.paths("/tree/main")), 1)

    def test_small_models_ask_nothing(self):
        self.keep(1e12)
        self.good("pull", "hf.co/you/Toy-GGUF:Q4_K_M", env=self.env)
        self.registry.log.clear()
        terminal = self.start("run", "--local", "hf.co/you/Toy-GGUF:Q4_K_M", "hello", "-n", "2")
        self.assertEqual(terminal.process.wait(60), 0)
        self.assertEqual(self.registry.log, [])


if __name__ == "__main__":
    unittest.main()
