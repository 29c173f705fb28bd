"""Models that are folders of safetensors files: in Hugging Face's cache, pulled from its repositories, made with create;
and adapters that are folders."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import test_cli as cli
import tiny_folder
import tiny_model
from registry_stub import Registry, digest
from service import Service

NAME = "hf.co/mlx-community/Tiny-4bit"
ANSWER = ("-p", "the rain", "-n", "12", "--temp", "0", "--raw")


def setUpModule():
    global FOLDER, WANTED
    cli.setUpModule()
    FOLDER = tiny_folder.write(os.path.join(cli.FOLDER, "folder"))
    WANTED = cli.pantry("generate", FOLDER, *ANSWER)[1].decode()
    assert WANTED.strip(), WANTED


def tearDownModule():
    cli.tearDownModule()


class Case(cli.Case):
    def setUp(self):
        self.home = tempfile.mkdtemp(dir=cli.FOLDER)
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        hub = f"http://localhost:{self.registry.port}"
        env = {k: v for k, v in cli.ENV.items() if not k.lower().endswith("_proxy")}
        self.env = {**env, "PANTRY_HOME": self.home, "HF_ENDPOINT": hub}

    def blobs(self):
        return sorted(os.listdir(os.path.join(self.home, "models", "blobs")))

    def manifest(self, *path):
        with open(os.path.join(self.home, "models", "manifests", *path)) as file:
            return json.load(file)

    def healthy(self):
        found = self.json("doctor", "--store", "--json", env=self.env)
        self.assertEqual((found["ok"], found["leftover"]), (True, 0), found)

    def put(self, name="mlx-community/Tiny-4bit", **more):
        self.registry.files[name] = {
            **tiny_folder.files(FOLDER),
            "README.md": b"Read me.",
            "empty.json": b"",
            ".gitattributes": b"*.safetensors lfs",
            "original/params.json": b"{}",
            "pytorch_model.bin": b"pickle",
            **more,
        }


class Pulling(Case):
    def test_all_files_of_a_repository(self):
        self.put()
        out = self.good("pull", NAME, env=self.env)
        self.assertIn("is in the store", out)
        layers = self.manifest("hf.co", "mlx-community", "Tiny-4bit", "latest")["layers"]
        files = tiny_folder.files(FOLDER)
        self.assertEqual(
            {layer["annotations"]["org.opencontainers.image.title"]: layer["digest"] for layer in layers},
            {name: digest(data) for name, data in files.items()},
        )
        self.assertEqual({layer["mediaType"] for layer in layers}, {"application/vnd.pantry.image.file"})
        self.assertEqual(len(self.blobs()), len(files) + 1)
        self.assertEqual(self.good("generate", NAME, *ANSWER, env=self.env), WANTED)
        row = self.json("list", "--json", env=self.env)
        row = next(r for r in row if r["name"] == NAME)
        self.assertEqual(row["size"], sum(map(len, files.values())))
        self.assertTrue(os.path.isdir(row["path"]))
        self.assertEqual(sorted(os.listdir(row["path"])), sorted(files))
        self.assertEqual(self.json("show", NAME, "--json", env=self.env)["architecture"], "llama")
        self.assertRegex(self.good("show", NAME, env=self.env), r"size +\d+ kB")
        self.healthy()
        self.registry.log.clear()
        self.good("pull", NAME, env=self.env)  # again: nothing to do
        self.assertEqual(self.registry.paths("/elsewhere/" + digest(files["model-00001-of-00002.safetensors"])), [])

    def test_copies_share_files_and_removing_counts(self):
        self.put()
        self.good("pull", NAME, env=self.env)
        self.good("cp", NAME, "mine", env=self.env)
        self.good("rm", NAME, env=self.env)
        self.assertEqual(self.good("generate", "mine", *ANSWER, env=self.env), WANTED)
        self.good("prune", env=self.env)
        self.assertEqual(self.good("generate", "mine", *ANSWER, env=self.env), WANTED)
        self.healthy()
        self.good("rm", "mine", env=self.env)
        self.good("prune", env=self.env)
        self.assertEqual(self.blobs(), [])
        self.assertEqual(os.listdir(os.path.join(self.home, "models", "shards")), [])
        self.healthy()

    def test_pushed_and_pulled_from_a_registry(self):
        self.put()
        self.good("pull", NAME, env=self.env)
        there = f"localhost:{self.registry.port}/me/tiny:1"
        self.good("push", NAME, there, env=self.env)
        self.good("rm", NAME, env=self.env)
        self.good("prune", env=self.env)
        self.good("pull", there, env=self.env)
        self.assertEqual(self.good("generate", there, *ANSWER, env=self.env), WANTED)
        self.healthy()

    def test_a_new_commit_replaces_the_old_files(self):
        self.put()
        self.good("pull", NAME, env=self.env)
        before = self.blobs()
        other = tiny_folder.files(tiny_folder.write(os.path.join(self.home, "other"), seed=2, files=1))
        self.registry.files["mlx-community/Tiny-4bit"] = other
        self.good("pull", NAME, env=self.env)
        self.assertNotEqual(self.good("generate", NAME, *ANSWER, env=self.env), WANTED)
        self.assertEqual(len(self.blobs()), len(other) + 1)
        self.assertTrue(set(before) - set(self.blobs()))
        self.healthy()

    def test_killed_and_resumed(self):
        self.put()
        self.registry.rate = 256 << 10
        process = subprocess.Popen([cli.PANTRY, "pull", NAME], env=self.env, stderr=subprocess.DEVNULL)
        while not self.registry.sent and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.registry.rate = 0
        self.assertTrue(self.json("doctor", "--store", "--json", env=self.env)["ok"])
        self.good("pull", NAME, env=self.env)
        self.assertEqual(self.good("generate", NAME, *ANSWER, env=self.env), WANTED)

    def test_what_does_not_fit(self):
        files = tiny_folder.files(FOLDER)
        self.put()
        self.assertIn("leave out the quant", self.bad(1, "pull", NAME + ":Q4_K_M", env=self.env))
        self.registry.files["a/weights"] = {k: v for k, v in files.items() if k != "config.json"}
        self.assertIn("has no GGUF file", self.bad(1, "pull", "hf.co/a/weights", env=self.env))
        self.registry.files["a/empty"] = {**files, "config.json": b""}
        self.assertIn("config.json of the repository is empty", self.bad(1, "pull", "hf.co/a/empty", env=self.env))
        self.put("a/both", **{"x-Q8_0.gguf": open(cli.MODEL, "rb").read()})
        self.good("pull", "hf.co/a/both", env=self.env)  # a GGUF file goes first
        self.assertEqual(len(self.manifest("hf.co", "a", "both", "latest")["layers"]), 1)
        self.put("a/copies", **{"model.safetensors": b"m", "consolidated.safetensors": b"c"})
        self.assertEqual(cli.pantry("pull", "hf.co/a/copies", env=self.env)[0], 0)
        titles = [
            layer["annotations"]["org.opencontainers.image.title"]
            for layer in self.manifest("hf.co", "a", "copies", "latest")["layers"]
        ]
        self.assertNotIn("consolidated.safetensors", titles)

    def test_through_the_service(self):
        self.put()
        service = Service({}, home=self.home, env={"HF_ENDPOINT": self.env["HF_ENDPOINT"]})
        try:
            # a client's pull reaches no private address, so it is pulled here
            self.good("pull", NAME, env=self.env)
            got, _, reply = service.request(
                "POST",
                "/api/generate",
                {
                    "model": NAME,
                    "prompt": "the rain",
                    "raw": True,
                    "stream": False,
                    "options": {"temperature": 0, "num_predict": 12},
                },
            )
            self.assertEqual((got, reply["response"].strip()), (200, WANTED.strip()))
            shown = service.request("POST", "/api/show", {"model": NAME})[2]
            self.assertEqual(shown["details"]["family"], "llama")
            tags = service.request("GET", "/api/tags")[2]["models"]
            self.assertEqual([row["name"] for row in tags], [NAME + ":latest"])
        finally:
            self.assertEqual(service.stop(), 0)


class Cache(Case):
    """Hugging Face's own."""

    def setUp(self):
        super().setUp()
        self.hub = os.path.join(self.home, "hub")
        self.env.update(HF_HUB_CACHE=self.hub, PANTRY_FOREIGN="1", HOME=self.home)
        for variable in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
            self.env.pop(variable, None)
        root = os.path.join(self.hub, "models--mlx-community--Tiny-4bit")
        self.blob_folder, self.snapshot = os.path.join(root, "blobs"), os.path.join(root, "snapshots", "c0ffee")
        os.makedirs(self.blob_folder)
        os.makedirs(self.snapshot)
        os.makedirs(os.path.join(root, "refs"))
        with open(os.path.join(root, "refs", "main"), "w") as file:
            file.write("c0ffee")
        for name, data in tiny_folder.files(FOLDER).items():
            with open(os.path.join(self.blob_folder, digest(data)[7:]), "wb") as file:
                file.write(data)
            os.symlink(f"../../blobs/{digest(data)[7:]}", os.path.join(self.snapshot, name))

    def names(self):
        return [row["name"] for row in self.json("list", "--json", env=self.env) if row["source"] == "huggingface"]

    def test_listed_and_run_in_place(self):
        self.assertEqual(self.names(), [NAME])
        rows = self.json("list", "--json", env=self.env)
        row = next(row for row in rows if row["name"] == NAME)
        self.assertEqual(row["path"], os.path.realpath(self.snapshot))
        self.assertEqual(row["size"], sum(map(len, tiny_folder.files(FOLDER).values())))
        for name in (NAME, "mlx-community/Tiny-4bit", NAME + ":latest"):
            self.assertEqual(self.good("generate", name, *ANSWER, env=self.env), WANTED)
        self.assertIn("belongs to Hugging Face", self.bad(1, "rm", NAME, env=self.env))
        self.assertFalse(os.path.exists(os.path.join(self.home, "models", "blobs")))

    def test_incomplete_ones_are_left_out(self):
        part = os.path.join(self.snapshot, "model-00002-of-00002.safetensors")
        target = os.readlink(part)
        os.remove(part)
        self.assertEqual(self.names(), [])  # the index names it
        os.symlink("../../blobs/" + "0" * 64, part)
        self.assertEqual(self.names(), [])
        os.remove(part)
        os.symlink("/etc/passwd", part)
        self.assertEqual(self.names(), [])  # it leads elsewhere
        os.remove(part)
        os.symlink(target, part)
        self.assertEqual(self.names(), [NAME])
        os.remove(os.path.join(self.snapshot, "config.json"))
        self.assertEqual(self.names(), [])

    def test_a_base_for_create(self):
        path = os.path.join(self.home, "Modelfile")
        with open(path, "w") as file:
            file.write(f"FROM {NAME}\nSYSTEM Be brief.\n")
        self.good("create", "mine", "-f", path, env=self.env)
        shutil.rmtree(self.hub)
        self.assertEqual(self.good("generate", "mine", *ANSWER, env=self.env), WANTED)
        self.assertEqual(self.good("show", "mine", "--system", env=self.env).strip(), "Be brief.")
        self.healthy()


class Creating(Case):
    def create(self, name, text, status=0):
        path = os.path.join(self.home, "Modelfile")
        with open(path, "w") as file:
            file.write(text)
        got, _, err = cli.pantry("create", name, "-f", path, env=self.env)
        self.assertEqual(got, status, err)
        return err

    def test_from_a_folder(self):
        self.create("mine", f"FROM {FOLDER}\nSYSTEM Be brief.\n")
        self.assertEqual(self.good("generate", "mine", *ANSWER, env=self.env), WANTED)
        self.create("next", "FROM mine\nPARAMETER num_predict 3\n")
        self.assertEqual(self.good("show", "next", "--system", env=self.env).strip(), "Be brief.")
        self.assertEqual(self.good("generate", "next", *ANSWER, env=self.env), WANTED)
        with open(os.path.join(self.home, "models", "blobs", self.config("next"))) as file:
            self.assertEqual(json.load(file)["model_format"], "safetensors")
        self.healthy()

    def config(self, name):
        manifest = self.manifest("registry.ollama.ai", "library", name, "latest")
        return manifest["config"]["digest"].replace(":", "-")

    def test_wrong_folders(self):
        empty = tempfile.mkdtemp(dir=self.home)
        self.assertIn("has no file *.gguf", self.create("mine", f"FROM {empty}\n", 1))
        broken = tiny_folder.write(os.path.join(self.home, "broken"))
        with open(os.path.join(broken, "model-00002-of-00002.safetensors"), "r+b") as file:
            file.truncate(1000)
        self.assertIn("model-00002-of-00002.safetensors", self.create("mine", f"FROM {broken}\n", 1))
        os.remove(os.path.join(broken, "model-00002-of-00002.safetensors"))
        self.assertIn("model-00002-of-00002.safetensors: is missing", self.create("mine", f"FROM {broken}\n", 1))
        self.assertEqual(self.blobs(), [])

    def test_adapters_that_are_folders(self):
        one, two = (
            tiny_folder.write_adapter(os.path.join(self.home, name), seed) for name, seed in (("a", 1), ("b", 2))
        )
        ask = lambda name, *more: self.good("generate", name, *ANSWER, *more, env=self.env)
        self.create("mine", f"FROM {FOLDER}\nADAPTER {one}\nADAPTER {two}\n")
        wanted = ask(FOLDER, "--adapter", one, "--adapter", two)
        self.assertNotEqual(wanted, WANTED)
        self.assertEqual(ask("mine"), wanted)
        self.create("other", f"FROM {FOLDER}\nADAPTER {two}\n")
        self.assertEqual(ask("other"), ask(FOLDER, "--adapter", two))
        self.assertEqual(len(self.good("show", "mine", "--modelfile", env=self.env).split("ADAPTER ")), 3)
        self.healthy()
        gguf = os.path.join(self.home, "lora.gguf")
        tiny_model.write_adapter(gguf)
        self.create("third", f"FROM {FOLDER}\nADAPTER {gguf}\nADAPTER {one}\n")
        self.assertEqual(ask("third"), ask(FOLDER, "--adapter", gguf, "--adapter", one))

    def test_by_a_service(self):
        service = Service({}, home=self.home)
        try:
            files = tiny_folder.files(FOLDER)
            for data in files.values():
                self.assertIn(service.request("POST", f"/api/blobs/{digest(data)}", data)[0], (200, 201))
            body = {"model": "sent", "files": {name: digest(data) for name, data in files.items()}, "stream": False}
            got, _, reply = service.request("POST", "/api/create", body)
            self.assertEqual((got, reply), (200, {"status": "success"}))
            del body["files"]["config.json"]
            got, _, reply = service.request("POST", "/api/create", {**body, "model": "worse"})
            self.assertEqual((got, "config.json" in reply["error"]), (400, True), reply)
        finally:
            self.assertEqual(service.stop(), 0)
        self.assertEqual(self.good("generate", "sent", *ANSWER, env=self.env), WANTED)


if __name__ == "__main__":
    unittest.main()
