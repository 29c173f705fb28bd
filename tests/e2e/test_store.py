"""Changes of the store: rm, cp and prune, with other programs' files in it."""

import os
import tempfile
import time

import test_cli as cli
import tiny_model


def setUpModule():
    cli.setUpModule()


def tearDownModule():
    cli.tearDownModule()


class Store(cli.Case):
    def setUp(self):
        self.home = tempfile.mkdtemp(dir=cli.FOLDER)
        self.env = {**cli.ENV, "PANTRY_HOME": self.home}
        self.good("import", cli.MODEL, "--name", "a", env=self.env)

    def blobs(self):
        return sorted(os.listdir(os.path.join(self.home, "models", "blobs")))

    def names(self):
        return [row["name"] for row in self.json("list", "--json", env=self.env) if "sha256" not in row]

    def test_copies_and_removes(self):
        before = self.blobs()
        self.assertEqual(self.good("cp", "a", "me/b:1", env=self.env), "me/b:1 is now a name of a\n")
        self.assertEqual(self.blobs(), before)
        self.assertEqual(self.names(), ["a", "me/b:1"])
        self.assertEqual(self.good("rm", "a", env=self.env), "removed a (0 bytes)\n")
        self.assertEqual(self.good("check", "me/b:1", env=self.env), "me/b:1: ok\n")
        self.assertRegex(self.good("rm", "me/b:1", env=self.env), r"^removed me/b:1 \(\d+ kB\)\n$")
        self.assertEqual((self.names(), self.blobs()), ([], []))
        self.assertEqual(os.listdir(os.path.join(self.home, "models", "manifests")), [])

    def test_removes_several_and_reports_the_others(self):
        self.good("cp", "a", "b", env=self.env)
        status, out, err = cli.pantry("rm", "a", "nosuch", "../b", "b", env=self.env)
        self.assertEqual(status, 1)
        self.assertEqual([line.split(b" (")[0] for line in out.splitlines()], [b"removed a", b"removed b"])
        self.assertIn("nosuch: not in the store", err)
        self.assertIn("../b: not a model name", err)
        self.assertIn("nosuch: not in the store", self.bad(1, "cp", "nosuch", "c", env=self.env))

    def test_importing_over_a_name_leaves_nothing_of_the_old_model(self):
        other = os.path.join(self.home, "other.gguf")
        tiny_model.write(other, seed=2)
        self.good("cp", "a", "b", env=self.env)
        before = self.blobs()
        self.good("import", other, "--name", "a", env=self.env)  # b still has the old one
        self.assertLess(set(before), set(self.blobs()))
        self.good("import", other, "--name", "b", env=self.env)
        self.assertEqual(len(self.blobs()), len(before))
        self.assertEqual(set(before) & set(self.blobs()), set())
        self.assertEqual(self.good("check", "b", env=self.env), "b: ok\n")

    def test_prunes(self):
        blobs = os.path.join(self.home, "models", "blobs")
        before = self.blobs()
        for name, size, age in (
            ("f" * 64, 1000, 0),
            ("e" * 64 + "-partial", 2000, 0),
            ("d" * 64 + "-partial", 3000, 2),
        ):
            path = os.path.join(blobs, f"sha256-{name}")
            with open(path, "wb") as file:
                file.write(b"x" * size)
            os.utime(path, (time.time() - age * 86400,) * 2)
        bad = os.path.join(self.home, "models", "manifests", "registry.ollama.ai", "library", "bad", "latest")
        os.makedirs(os.path.dirname(bad))
        with open(bad, "w") as file:
            file.write('{"layers": [{"digest": "sha256:../../../x"}]}')
        status, out, err = cli.pantry("prune", env=self.env)
        self.assertEqual((status, out), (1, b"removed 1 file (3.0 kB)\n"))
        self.assertIn("no blob was removed", err)
        self.assertIn("bad/latest", err)
        self.good("rm", "bad", env=self.env)
        self.assertEqual(self.good("prune", env=self.env), "removed 1 file (1.0 kB)\n")
        self.assertEqual(self.blobs(), sorted([*before, f"sha256-{'e' * 64}-partial"]))
        self.assertEqual(self.good("check", "a", env=self.env), "a: ok\n")
