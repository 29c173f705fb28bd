"""Models that run where they are: sharded files, folders, and the caches of other programs."""

import hashlib
import json
import os
import tempfile

import service
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

    def test_a_shard_alone_is_not_imported(self):
        shards = tiny_model.write_shards(os.path.join(self.folder, "m"), 2)
        for path in shards:
            self.assertIn(f"{path}: is one of 2 files of a model", self.bad(1, "import", path))

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


def tree(folder):
    """What there is below a folder: type, size and time of every file."""
    rows = []
    for at, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            st = os.lstat(os.path.join(at, name))
            rows.append((os.path.join(at, name), st.st_mode, st.st_size, st.st_mtime_ns, st.st_ino))
    return rows


class Caches(Case):
    """The caches of other programs, in a home folder of their own."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.folder, "home")
        self.ollama = os.path.join(self.home, ".ollama", "models")
        with open(cli.MODEL, "rb") as file:
            self.digest = hashlib.sha256(file.read()).hexdigest()
        blob = os.path.join(self.ollama, "blobs", "sha256-" + self.digest)
        self.link(blob)
        manifest = os.path.join(self.ollama, "manifests", "registry.ollama.ai", "library", "theirs", "latest")
        os.makedirs(os.path.dirname(manifest))
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + self.digest}
        with open(manifest, "w") as file:
            json.dump({"schemaVersion": 2, "layers": [{**layer, "size": os.path.getsize(blob)}]}, file)
        self.studio = self.link(os.path.join(self.home, ".lmstudio", "models", "pub", "repo", "tiny-F16.gguf"))
        self.link(os.path.join(os.path.dirname(self.studio), "mmproj-tiny.gguf"))
        hub = os.path.join(self.home, ".cache", "huggingface", "hub", "models--me--tiny-GGUF")
        os.makedirs(os.path.join(hub, "blobs"))
        os.makedirs(os.path.join(hub, "snapshots", "abc", "F16"))
        os.makedirs(os.path.join(hub, "refs"))
        with open(os.path.join(hub, "refs", "main"), "w") as file:
            file.write("abc")
        for i, path in enumerate(tiny_model.write_shards(os.path.join(self.folder, "tiny-F16"), 3)):
            os.rename(path, os.path.join(hub, "blobs", str(i)))
            os.symlink(f"../../../blobs/{i}", os.path.join(hub, "snapshots", "abc", "F16", os.path.basename(path)))
        self.link(os.path.join(self.home, ".cache", "llama.cpp", "me_tiny.gguf"))
        off = ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "XDG_CACHE_HOME")
        self.env = {k: v for k, v in cli.ENV.items() if k not in off}
        self.env.update(HOME=self.home, PANTRY_HOME=os.path.join(self.folder, "own"), PANTRY_FOREIGN="1")

    NAMES = {
        "theirs": "ollama",
        "lmstudio/pub/repo/tiny-F16.gguf": "lmstudio",
        "hf.co/me/tiny-GGUF:F16": "huggingface",
        "llama.cpp/me_tiny.gguf": "llama.cpp",
    }

    def link(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(cli.MODEL, path)
        return path

    def test_lists(self):
        rows = {row["name"]: row for row in self.json("list", "--json", env=self.env) if "sha256" not in row}
        self.assertEqual({name: row["source"] for name, row in rows.items()}, self.NAMES)
        for row in rows.values():
            self.assertTrue(os.path.samefile(os.path.commonpath([row["path"], self.home]), self.home))
            self.assertEqual(row["kind"], "chat")
        self.assertEqual(rows["theirs"]["size"], os.path.getsize(cli.MODEL))
        out = self.good("list", env=self.env)
        self.assertRegex(out, r"(?m)^NAME +KIND +SIZE +LICENSE +SOURCE +WHAT$")
        self.assertEqual(len({line.index(" chat ") for line in out.splitlines() if " chat " in line}), 1)  # one column
        self.assertRegex(out, rf"(?m)^theirs +chat +\d+ kB +ollama +\S*/sha256-{self.digest}$")
        self.assertIn("llama.cpp/me_tiny.gguf\n", self.good("list", "--names", env=self.env))
        off = {**self.env, "PANTRY_FOREIGN": "0"}
        self.assertEqual([row for row in self.json("list", "--json", env=off) if row["source"]], [])
        self.assertIn("neither a file, nor a folder", self.bad(1, "show", "theirs", env=off))

    def test_runs_in_place_and_changes_nothing(self):
        before, whole = tree(self.home), self.logits(cli.MODEL)
        for name in (*self.NAMES, "ollama/theirs", "pub/repo", "hf.co/me/tiny-GGUF", "me_tiny.gguf"):
            self.assertEqual(self.logits(name, self.env), whole, name)
            self.assertEqual(self.good("check", name, env=self.env), f"{name}: ok\n")
            message = self.bad(1, "rm", name, env=self.env)
            self.assertIn(f"{name}: belongs to", message)
            self.assertIn(self.home, message)
            self.assertIn("pantry import", self.bad(1, "cp", name, "mine", env=self.env))
        self.good("prune", env=self.env)
        self.assertEqual(tree(self.home), before)

    def create(self, text, name="mine", status=0):
        """Standard error."""
        recipe = os.path.join(self.folder, "Modelfile")
        with open(recipe, "w") as file:
            file.write(text)
        got, _, err = cli.pantry("create", name, "-f", recipe, env=self.env)
        self.assertEqual(got, status, err)
        return err

    def test_models_are_made_from_them(self):
        """By name or by path; they do not need the other program's files any more."""
        before, whole = tree(self.home), self.logits(cli.MODEL)
        for i, name in enumerate((*self.NAMES, self.studio, "ollama/theirs", "pub/repo")):
            self.create(f"FROM {name}\nSYSTEM Be brief.\n", f"mine{i}")
        self.assertEqual(tree(self.home), before)
        os.rename(self.home, self.home + ".away")
        for i in range(7):
            self.assertEqual(self.logits(f"mine{i}", self.env), whole)
            self.assertEqual(self.good("show", f"mine{i}", "--system", env=self.env).strip(), "Be brief.")
        self.assertIn("nothing is wrong", self.good("doctor", "--store", env=self.env))

    def test_models_of_ollama_hand_on_what_they_carry(self):
        template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        self.carry(system="Be brief.", template=template, params='{"num_predict": 3, "temperature": 0.5}', license="l")
        self.create("FROM theirs\nPARAMETER temperature 0\n")
        self.assertEqual(self.good("show", "mine", "--system", env=self.env).strip(), "Be brief.")
        self.assertEqual(self.good("show", "mine", "--template", env=self.env).strip(), template)
        self.assertEqual(self.good("show", "mine", "--license", env=self.env).strip(), "l")
        self.assertEqual(
            dict(line.split() for line in self.good("show", "mine", "--parameters", env=self.env).splitlines()),
            {"num_predict": "3", "temperature": "0"},
        )
        self.assertIn("nothing is wrong", self.good("doctor", "--store", env=self.env))

    def test_damaged_models_are_not_taken(self):
        blob = self.carry(system="Be brief.")
        with open(blob, "w") as file:
            file.write("Be brieg.")
        self.assertIn("is damaged", self.create("FROM theirs\n", status=1))
        os.unlink(blob)
        os.symlink(cli.MODEL, blob)  # outside the cache
        self.assertRegex(self.create("FROM theirs\n", status=1), "the blob sha256:[0-9a-f]{64} of 'theirs' is missing")
        self.assertEqual(self.json("doctor", "--store", "--json", env=self.env)["leftover"], 0)

    def test_a_service_makes_models_from_them(self):
        server = service.Service({}, env=self.env)
        self.addCleanup(server.stop)
        body = {"model": "mine", "from": "theirs", "system": "Be brief.", "stream": False}
        self.assertEqual(server.request("POST", "/api/create", body)[2], {"status": "success"})
        self.assertEqual(server.request("POST", "/api/show", {"model": "mine"})[2]["system"], "Be brief.")

    def test_the_own_store_goes_first(self):
        other = os.path.join(self.folder, "other.gguf")
        tiny_model.write(other, seed=2)
        self.good("import", other, "--name", "theirs", env=self.env)
        self.assertNotEqual(self.logits("theirs", self.env), self.logits(cli.MODEL))
        self.assertEqual(self.logits("ollama/theirs", self.env), self.logits(cli.MODEL))
        self.good("rm", "theirs", env=self.env)
        self.assertEqual(self.logits("theirs", self.env), self.logits(cli.MODEL))

    def carry(self, **texts):
        """Puts layers with these texts into the manifest of Ollama's model."""
        manifest = os.path.join(self.ollama, "manifests", "registry.ollama.ai", "library", "theirs", "latest")
        with open(manifest) as file:
            root = json.load(file)
        for kind, text in texts.items():
            digest = hashlib.sha256(text.encode()).hexdigest()
            with open(os.path.join(self.ollama, "blobs", "sha256-" + digest), "w") as file:
                file.write(text)
            layer = {"mediaType": "application/vnd.ollama.image." + kind, "digest": "sha256:" + digest}
            root["layers"].append({**layer, "size": len(text)})
        with open(manifest, "w") as file:
            json.dump(root, file)
        return os.path.join(self.ollama, "blobs", "sha256-" + digest)

    def test_what_ollamas_models_carry(self):
        template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        self.carry(system="Be brief.", template=template, params='{"num_predict": 3, "temperature": 0}')
        for name in ("theirs", "ollama/theirs"):
            self.assertEqual(self.good("show", name, "--system", env=self.env).strip(), "Be brief.")
            self.assertEqual(self.good("show", name, "--template", env=self.env).strip(), template)
            self.assertIn("num_predict", self.good("show", name, "--parameters", env=self.env))
        server = service.Service({}, env=self.env)
        self.addCleanup(server.stop)
        body = {"model": "theirs", "messages": [{"role": "user", "content": "the"}], "stream": False}
        answer = server.request("POST", "/api/chat", body)[2]
        self.assertEqual(answer["eval_count"], 3)
        plain = {**body, "model": "llama.cpp/me_tiny.gguf", "options": {"num_predict": 1}}
        plain = server.request("POST", "/api/chat", plain)[2]
        self.assertNotEqual(answer["prompt_eval_count"], plain["prompt_eval_count"])

    def test_what_they_carry_leads_nowhere_else(self):
        secret = os.path.join(self.folder, "secret")
        with open(secret, "w") as file:
            file.write("a secret")
        blob = self.carry(system="Be brief.")
        os.unlink(blob)
        os.symlink(secret, blob)
        for command in ("show", "run"):
            status, out, err = cli.pantry(command, "theirs", env=self.env)
            self.assertEqual(status, 1)
            self.assertIn("the blob of the system is missing or elsewhere", err)
            self.assertNotIn("a secret", out.decode() + err)

    def test_the_service(self):
        before = tree(self.home)
        server = service.Service({}, env=self.env)
        self.addCleanup(server.stop)
        names = {model["name"] for model in server.request("GET", "/api/tags")[2]["models"]}
        self.assertEqual(names, {name + ("" if name.count(":") else ":latest") for name in self.NAMES})
        ids = {model["id"] for model in server.request("GET", "/v1/models")[2]["data"]}
        self.assertEqual(ids, set(self.NAMES))
        answers = set()
        for name in (*names, *ids, "ollama/theirs", "pub/repo"):
            body = {"model": name, "prompt": "the", "stream": False, "options": {"temperature": 0, "num_predict": 8}}
            status, _, answer = server.request("POST", "/api/generate", body)
            self.assertEqual(status, 200, answer)
            answers.add(answer["response"])
        self.assertEqual(len(answers), 1)
        self.assertEqual(len(server.request("GET", "/api/ps")[2]["models"]), len(self.NAMES))
        for name in names:
            status, _, answer = server.request("DELETE", "/api/delete", {"model": name})
            self.assertEqual(status, 400)
            self.assertIn("where pantry only reads", answer["error"])
            self.assertNotIn(self.home, answer["error"])
            status, _, answer = server.request("POST", "/api/copy", {"source": name, "destination": "mine"})
            self.assertEqual(status, 400)
        self.assertEqual(server.request("POST", "/api/show", {"model": self.studio})[0], 404)
        self.assertEqual(tree(self.home), before)
