"""Changes of the store: rm, cp and prune, with other programs' files in it."""

import fcntl
import os
import tempfile
import time

import test_cli as cli
import tiny_model
from registry_stub import Registry
from service import Service


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


class Folder(cli.Case):
    """PANTRY_MODELS and `models` of the file: everything about models is there, the rest in the folder of pantry."""

    def setUp(self):
        folder = tempfile.mkdtemp(dir=cli.FOLDER)
        self.home, self.models = os.path.join(folder, "home"), os.path.join(folder, "deep", "models")
        self.base = {**cli.ENV, "PANTRY_HOME": self.home}
        self.env = {**self.base, "PANTRY_MODELS": self.models}

    def names(self, env=None):
        rows = self.json("list", "--json", env=env or self.env)
        return [(row["name"], row["source"]) for row in rows if "sha256" not in row]

    def configure(self, text):
        os.makedirs(self.home, exist_ok=True)
        with open(os.path.join(self.home, "config.toml"), "w") as file:
            file.write(text)

    def test_every_command_uses_it(self):
        registry = Registry()
        self.addCleanup(registry.close)
        with open(cli.MODEL, "rb") as file:
            registry.add("library/toy:1", file.read())
        name = f"localhost:{registry.port}/library/toy:1"
        self.good("import", cli.MODEL, "--name", "a")
        self.good("cp", "a", "b")
        self.good("rm", "a")
        self.good("pull", name)
        modelfile = cli.FOLDER + "/Modelfile"
        with open(modelfile, "w") as file:
            file.write("FROM b\nPARAMETER temperature 0\n")
        self.good("create", "c", "-f", modelfile)
        self.assertEqual(self.names(), [("b", "pantry"), ("c", "pantry"), (name, "pantry")])
        self.assertEqual(self.names(self.base), [])
        self.assertEqual(sorted(os.listdir(self.models)), ["blobs", "fetch", "manifests"])
        self.assertFalse(os.path.exists(os.path.join(self.home, "models")))
        self.assertEqual(self.good("check", "c"), "c: ok\n")
        out = self.good("doctor", "--store")
        self.assertRegex(out, rf"^store {self.models}: 3 models, \d files, \d+ kB\n")
        self.assertIn("nothing is wrong", out)
        unused = os.path.join(self.models, "blobs", "sha256-" + "f" * 64)
        with open(unused, "wb") as file:
            file.write(b"x" * 1000)
        self.assertIn("1 leftover", self.good("doctor", "--store", "--quick"))
        self.assertEqual(self.good("prune"), "removed 1 file (1.0 kB)\n")
        self.assertFalse(os.path.exists(unused))
        self.assertIn(f"in the store ({self.models})", self.bad(1, "show", "nosuch"))

    def test_two_homes_share_its_lock(self):
        self.good("import", cli.MODEL, "--name", "a")
        other = {**self.env, "PANTRY_HOME": self.home + "2"}
        with open(os.path.join(self.models, "fetch", "lock"), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertIn("another pantry is changing the store", self.bad(1, "rm", "a", env=other))
        self.good("rm", "a", env=other)
        self.assertEqual(self.names(), [])

    def test_the_file_says_where_it_is(self):
        for text in (f'models = "{self.models}"\n', f'[models]\nfolder = "{self.models}"\n[models.a]\ncontext = 8\n'):
            self.configure(text)
            self.good("import", cli.MODEL, "--name", "a", env=self.base)
            self.assertIn("manifests", os.listdir(self.models))
            self.assertEqual(self.names(), [("a", "pantry")])
            other = {**self.base, "PANTRY_MODELS": self.models + "2"}  # the variable goes first
            self.assertEqual(self.names(other), [])
            self.good("rm", "a", env=self.base)

    def test_a_damaged_file_is_an_error(self):
        for text, what in (("models = 'x'", "1: models: wrong value"), ("models 1", "1: models: a key goes on")):
            self.configure(text)
            self.assertIn(f"{self.home}/config.toml:{what}", self.bad(1, "list", env=self.base))
            self.assertIn("COMMAND", self.good("help", env=self.base))
            self.assertIn("pantry", self.good("version", env=self.base))
        self.configure("port = 'x'\n")  # of the service
        self.assertEqual(self.names(self.base), [])

    def test_the_folder_of_ollama(self):
        """Its models are the own ones, once each, and not only read."""
        self.good("import", cli.MODEL, "--name", "a")
        ollama = {**self.base, "PANTRY_FOREIGN": "1", "OLLAMA_MODELS": self.models}
        self.assertIn(("a", "ollama"), self.names(ollama))
        self.assertIn("only reads", self.bad(1, "rm", "a", env=ollama))
        both = {**ollama, "PANTRY_MODELS": self.models}
        self.assertEqual([row for row in self.names(both) if row[0].endswith("a")], [("a", "pantry")])
        self.good("rm", "a", env=both)

    def test_a_service_uses_it(self):
        """In its sandbox: it reads, copies and makes models there, wherever the setting comes from."""
        for how in ("variable", "option", "file"):
            env = {"PANTRY_MODELS": self.models} if how == "variable" else {}
            self.configure(f'models = "{self.models}"\n' if how == "file" else "")
            self.good("import", cli.MODEL, "--name", "a")
            arguments = ("--models", self.models) if how == "option" else ()
            server = Service({}, *arguments, env=env, home=self.home)
            self.addCleanup(lambda s=server: s.process.poll() is None and s.stop())
            self.assertEqual(server.request("POST", "/api/copy", {"source": "a", "destination": "b"})[0], 200)
            made = {"model": "c", "from": "b", "system": "", "parameters": {"num_ctx": 64}, "stream": False}
            self.assertEqual(server.request("POST", "/api/create", made)[2], {"status": "success"})
            asked = {"model": "c", "prompt": "x", "stream": False, "options": {"num_predict": 2}}
            self.assertEqual(server.request("POST", "/api/generate", asked)[0], 200)
            self.assertEqual(server.stop(), 0)
            self.assertEqual([name for name, _ in self.names()], ["a", "b", "c"])
            self.assertFalse(os.path.exists(os.path.join(self.home, "models")))
            self.good("rm", "a", "b", "c")
