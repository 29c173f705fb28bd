"""Models that run where they are: sharded files, folders, and the caches of other programs."""

import os
import tempfile

import test_cli as cli
import tiny_model

IDS = "1, 84, 104, 101, 3, 35"


def setUpModule():
    cli.setUpModule()


def tearDownModule():
    cli.tearDownModule()


class Case(cli.Case):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=cli.FOLDER)

    def logits(self, model, env=None):
        out = os.path.join(self.folder, "logits.f32")
        self.good("logits", model, "--ids", "-", "-o", out, stdin=IDS, env=env)
        with open(out, "rb") as file:
            return file.read()


class Files(Case):
    def test_any_shard_and_the_folder_are_the_whole_model(self):
        whole = self.logits(cli.MODEL)
        shards = tiny_model.write_shards(os.path.join(self.folder, "m"), 4)
        for name in ("mmproj-F16.gguf", "model-mmproj-Q8_0.gguf"):
            with open(os.path.join(self.folder, name), "wb") as file:
                file.write(b"GGUF")
        for path in (*shards, self.folder, self.folder + "/"):
            self.assertEqual(self.logits(path), whole, path)
            self.assertEqual(self.good("check", path), f"{path}: ok\n")
        self.assertEqual(self.json("show", shards[2], "--json")["n_tensors"], 21)
        self.assertEqual(self.good("tokenize", self.folder, "the"), self.good("tokenize", cli.MODEL, "the"))

    def test_shards_by_a_bare_name(self):
        shards = tiny_model.write_shards(os.path.join(cli.FOLDER, "bare"), 2)
        self.assertEqual(self.logits(os.path.basename(shards[1])), self.logits(cli.MODEL))

    def test_missing_and_wrong_shards(self):
        shards = tiny_model.write_shards(os.path.join(self.folder, "m"), 3)
        os.rename(shards[0], shards[0] + ".away")
        for path in (shards[1], shards[2], self.folder):
            self.assertIn(f"{shards[0]}: is missing; it is shard 1 of 3", self.bad(1, "show", path))
        os.rename(shards[0] + ".away", shards[0])
        os.rename(shards[1], shards[1] + ".away")
        for path in (shards[0], shards[2], self.folder):
            self.assertIn(f"{shards[1]}: is missing; it is shard 2 of 3", self.bad(1, "show", path))
        os.link(shards[2], shards[1])
        self.assertIn("so its name must end in -00003-of-00003.gguf", self.bad(1, "show", shards[1]))
        for path in (shards[0], shards[2], self.folder):
            self.assertIn("m-00002-of-00003.gguf: does not match the number in its name", self.bad(1, "show", path))

    def test_a_folder_with_several_models(self):
        for name in ("b.gguf", "a.gguf"):
            os.link(cli.MODEL, os.path.join(self.folder, name))
        message = self.bad(1, "generate", self.folder, "-p", "x", "-n", "1")
        self.assertIn(f"{self.folder}: has 2 models; name one of its files (a.gguf, b.gguf)", message)
        self.assertEqual(self.logits(os.path.join(self.folder, "b.gguf")), self.logits(cli.MODEL))
