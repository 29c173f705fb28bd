"""pantry create: Modelfiles, files that become models, and what such a model carries to run, generate and show.

PANTRY_KILLS: how many processes are killed at random points (40)."""

import hashlib
import json
import os
import re
import random
import signal
import subprocess
import tempfile
import time

import test_cli as cli
import tiny_model
from registry_stub import Registry

KILLS = int(os.environ.get("PANTRY_KILLS", "40"))
LIBRARY = ("models", "manifests", "registry.ollama.ai", "library")
JINJA = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[answer] "


def setUpModule():
    cli.setUpModule()


def tearDownModule():
    cli.tearDownModule()


class Create(cli.Case):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=cli.FOLDER)
        self.home = os.path.join(self.folder, "home")
        self.env = {**cli.ENV, "PANTRY_HOME": self.home}

    def create(self, name, text, status=0, folder=None):
        """Makes a model of a Modelfile; returns what is on standard error."""
        path = os.path.join(folder or self.folder, "Modelfile")
        with open(path, "w") as file:
            file.write(text)
        got, out, err = cli.pantry("create", name, "-f", path, env=self.env)
        self.assertEqual((got, out), (status, b""), err)
        return err

    def from_tiny(self, name="mine", more=""):
        return self.create(name, f"FROM {cli.MODEL}\n{more}")

    def show(self, what, name="mine"):
        return self.good("show", name, f"--{what}", env=self.env)

    def prompt_of(self, name, text="Hello", *options):
        """The prompt's tokens as text."""
        made = self.json("generate", name, "-p", text, "-n", "1", "--json", *options, env=self.env)
        letters = tiny_model.byte_letters()
        bytes_of = {i + 3: bytes([b]) for i, b in enumerate(range(256))}
        tokens, _ = tiny_model.vocabulary()
        back = {letter: bytes([b]) for b, letter in letters.items()}
        pieces = []
        for token in made["prompt_ids"]:
            if token < 3:
                pieces.append(tokens[token].encode())
            else:
                pieces.append(bytes_of.get(token) or b"".join(back[c] for c in tokens[token]))
        return b"".join(pieces).decode()

    def blobs(self):
        folder = os.path.join(self.home, "models", "blobs")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def manifest(self, name):
        with open(os.path.join(self.home, *LIBRARY, name, "latest")) as file:
            return json.load(file)

    def verify(self):
        """All manifests can be read, and their blobs are whole; returns the names."""
        names = []
        for root, _, files in os.walk(os.path.join(self.home, "models", "manifests")):
            for file in files:
                if file.endswith("-partial"):
                    continue
                with open(os.path.join(root, file)) as manifest:
                    parts = json.load(manifest)
                for layer in [parts["config"], *parts["layers"]]:
                    path = os.path.join(self.home, "models", "blobs", layer["digest"].replace(":", "-"))
                    with open(path, "rb") as blob:
                        content = blob.read()
                    self.assertEqual(len(content), layer["size"])
                    self.assertEqual("sha256:" + hashlib.sha256(content).hexdigest(), layer["digest"])
                names.append(os.path.relpath(root, os.path.join(self.home, *LIBRARY)))
        for name in self.blobs():
            if "partial" not in name:
                with open(os.path.join(self.home, "models", "blobs", name), "rb") as blob:
                    self.assertEqual("sha256-" + hashlib.sha256(blob.read()).hexdigest(), name)
        return sorted(names)


class Carried(Create):
    def test_system_and_messages_begin_the_conversation(self):
        self.from_tiny(more='SYSTEM """Be\nbrief."""\nMESSAGE user Hi\nMESSAGE assistant Ho\n')
        begins = (
            "<|im_start|>system\n%s<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
        )
        asks = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
        self.assertEqual(self.prompt_of("mine"), begins % "Be\nbrief." + asks)
        self.assertEqual(
            self.prompt_of("mine", "Hello", "--system", "Be long."),
            begins % "Be long." + asks,
        )
        self.assertEqual(self.prompt_of("mine", "Hello", "--raw"), "Hello")
        self.assertEqual(self.show("system"), "Be\nbrief.")

    def test_parameters_are_defaults(self):
        self.from_tiny(
            more="PARAMETER num_predict 3\nPARAMETER temperature 0\nPARAMETER seed 7\nPARAMETER num_ctx 64\n"
        )
        made = lambda *options: self.json("generate", "mine", "-p", "x", "--json", *options, env=self.env)
        self.assertEqual(
            (made()["n_generated"], made()["seed"], made()["text"]),
            (3, 7, made()["text"]),
        )
        self.assertEqual(made("-n", "5", "--seed", "8")["n_generated"], 5)
        self.assertEqual(made("-n", "5", "--seed", "8")["seed"], 8)
        self.assertEqual(made("-n", "-1")["stop_reason"], "length")  # at the end of the 64 tokens
        stop = made("-n", "8")["text"].strip()[1]
        self.from_tiny(
            "stops",
            f"PARAMETER temperature 0\nPARAMETER stop {stop}\nPARAMETER stop never\n",
        )
        self.assertEqual(
            self.json("generate", "stops", "-p", "x", "--json", env=self.env)["stop_reason"],
            "stop_string",
        )
        words = [line.split() for line in self.show("parameters").splitlines()]
        self.assertEqual(
            words,
            [
                ["num_predict", "3"],
                ["temperature", "0"],
                ["seed", "7"],
                ["num_ctx", "64"],
            ],
        )

    def test_template_replaces_the_file_s(self):
        self.from_tiny(more=f'SYSTEM Short.\nTEMPLATE """{JINJA}"""\n')
        self.assertEqual(self.prompt_of("mine"), "[system] Short.\n[user] Hello\n[answer] ")
        self.assertEqual(self.show("template"), JINJA)
        context = self.write("context.json", json.dumps({"messages": [{"role": "user", "content": "a"}]}))
        self.assertEqual(
            self.good("template", "mine", "--context", context, env=self.env),
            "[user] a\n[answer] ",
        )

    def test_template_may_be_in_go_s_language(self):
        turns = "{{ if .System }}<s>{{ .System }}</s>{{ end }}<u>{{ .Prompt }}</u><a>{{ .Response }}</a>"
        self.from_tiny(more=f'SYSTEM Short.\nMESSAGE user Hi\nMESSAGE assistant Ho\nTEMPLATE """{turns}"""\n')
        prompt = "<s>Short.</s><u>Hi</u><a>Ho</a><u>Hello</u><a>"
        self.assertEqual(self.prompt_of("mine"), prompt)
        self.from_tiny("all", 'TEMPLATE """{{ range .Messages }}[{{ .Role }}] {{ .Content }}\n{{ end }}[answer]"""\n')
        self.assertEqual(self.prompt_of("all"), "[user] Hello\n[answer]")
        self.create("next", "FROM all\nSYSTEM Short.\n")
        self.assertEqual(self.prompt_of("next"), "[system] Short.\n[user] Hello\n[answer]")

    def test_a_pulled_go_template_is_used_where_the_file_has_none(self):
        base = os.path.join(self.folder, "base.gguf")
        tiny_model.write(base, template=False)
        for name, path, prompt in (("a", base, "<u>Hello</u><a>"), ("b", cli.MODEL, None)):
            self.create(name, f"FROM {path}\nTEMPLATE <u>{{{{ .Prompt }}}}</u><a>{{{{ .Response }}}}\n")
            place = os.path.join(self.home, *LIBRARY, name, "latest")
            parts = self.manifest(name)
            for layer in parts["layers"]:
                layer.pop("annotations", None)  # as a registry sends it
            with open(place, "w") as file:
                json.dump(parts, file)
            own = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
            self.assertEqual(self.prompt_of(name), prompt or own)
            self.assertEqual(
                self.show("template", name),
                tiny_model.TEMPLATE if name == "b" else "<u>{{ .Prompt }}</u><a>{{ .Response }}",
            )

    def test_a_chat_carries_it_too(self):
        self.from_tiny(more="SYSTEM Short.\nPARAMETER num_predict 2\nPARAMETER temperature 0\n")
        plain = self.good("run", "mine", "Hello", env=self.env)
        asked = (
            "run",
            cli.MODEL,
            "Hello",
            "--system",
            "Short.",
            "-n",
            "2",
            "--temp",
            "0",
        )
        self.assertEqual(plain, self.good(*asked, env=self.env))

    def test_builds_on_another_model(self):
        self.from_tiny(
            "base",
            "SYSTEM One.\nPARAMETER temperature 0\nPARAMETER top_k 5\nLICENSE First.\n",
        )
        before = self.blobs()
        self.create("mine", "FROM base\nSYSTEM Two.\nPARAMETER top_k 6\nLICENSE Second.\n")
        self.assertEqual(self.show("system"), "Two.")
        self.assertEqual(self.show("license"), "First.\nSecond.")
        self.assertEqual(self.show("parameters").split(), ["temperature", "0", "top_k", "6"])
        weights = [layer for layer in self.manifest("mine")["layers"] if layer["mediaType"].endswith("image.model")]
        self.assertEqual(weights[0]["digest"].replace(":", "-") in before, True)
        self.good("rm", "base", env=self.env)
        self.assertEqual(self.good("check", "mine", env=self.env), "mine: ok\n")
        self.assertEqual(self.verify(), ["mine"])
        self.good("cp", "mine", "other", env=self.env)
        self.assertEqual(self.show("system", "other"), "Two.")
        self.good("rm", "mine", "other", env=self.env)
        self.assertEqual(self.blobs(), [])

    def test_modelfile_makes_the_same_model(self):
        self.from_tiny(
            more=f'SYSTEM """ a "quoted"\ntext """\nTEMPLATE """{JINJA}"""\nPARAMETER stop "<|x|>"\nPARAMETER stop "two '
            'words"\nPARAMETER temperature 0.25\nMESSAGE user """one\ntwo"""\nMESSAGE assistant ok\nLICENSE "MIT\n"\n'
        )
        text = self.show("modelfile")
        self.create("again", text)
        layers = lambda name: [(layer["mediaType"], layer["digest"]) for layer in self.manifest(name)["layers"]]
        self.assertEqual(sorted(layers("again")), sorted(layers("mine")))
        self.assertIn("# FROM mine\n", text)

    def test_show_has_it_all(self):
        self.from_tiny(more="SYSTEM Short.\nPARAMETER temperature 0.5\nMESSAGE user Hi\n")
        out = self.good("show", "mine", env=self.env)
        self.assertRegex(out, r"(?s)System\n  Short\.\n\nParameters\n  temperature +0\.5\n")
        shown = self.json("show", "mine", "--json", env=self.env)
        self.assertEqual(shown["messages"], [{"role": "user", "content": "Hi"}])
        for what in ("system", "parameters"):
            err = self.bad(1, "show", cli.MODEL, f"--{what}", env=self.env)
            self.assertIn("sets no", err)


class Files(Create):
    def test_a_base_that_is_not_there_is_pulled(self):
        registry = Registry()
        self.addCleanup(registry.close)
        with open(cli.MODEL, "rb") as file:
            registry.add("me/toy:1", file.read(), [("system", b"Be kind.")])
        base = f"localhost:{registry.port}/me/toy:1"
        err = self.create("mine", f"FROM {base}\nPARAMETER top_k 3\n")
        self.assertIn(f"{base} is not in the store; pulling it from localhost:{registry.port}\n", err)
        self.assertEqual((self.show("system").strip(), self.show("parameters").split()), ("Be kind.", ["top_k", "3"]))
        self.assertNotIn("pulling", self.create("mine", f"FROM {base}\n"))
        self.assertIn("has no such model", self.create("mine", f"FROM localhost:{registry.port}/me/no:1\n", 1))
        self.env.update(https_proxy="http://127.0.0.1:1", HTTPS_PROXY="http://127.0.0.1:1")  # nothing leaves
        err = self.create("mine", "FROM nobody-has-this\n", 1)
        self.assertIn("nobody-has-this is not in the store; pulling it from registry.ollama.ai\n", err)
        self.assertNotIn("pull it first", err)

    def test_links_or_clones_the_file(self):
        path = os.path.join(self.folder, "a.gguf")
        tiny_model.write(path)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        self.assertIn(
            f"creating new layer sha256:{digest}",
            self.create("mine", "FROM ./a.gguf\n"),
        )
        blob = os.stat(os.path.join(self.home, "models", "blobs", f"sha256-{digest}"))
        self.assertEqual(blob.st_size, os.stat(path).st_size)
        # A clone has an inode of its own; without clones the blob is the file.
        self.assertTrue(blob.st_ino == os.stat(path).st_ino or blob.st_nlink == 1)
        os.remove(path)
        self.assertEqual(self.good("check", "mine", env=self.env), "mine: ok\n")
        self.assertEqual(
            self.manifest("mine")["layers"][0]["mediaType"],
            "application/vnd.ollama.image.model",
        )

    def test_copies_where_it_cannot_link(self):
        other = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.addCleanup(lambda: subprocess.run(["rm", "-rf", other]))
        path = os.path.join(other, "a.gguf")
        tiny_model.write(path)
        self.create("mine", f"FROM {path}\n")
        self.assertEqual(self.verify(), ["mine"])
        self.assertEqual([name for name in self.blobs() if "partial" in name], [])

    def test_shards(self):
        for pattern in (
            "./m-00001-of-00003.gguf",
            "./m-*.gguf",
            ".",
            "./m-00003-of-00003.gguf",
        ):
            with self.subTest(pattern):
                paths = tiny_model.write_shards(os.path.join(self.folder, "m"), 3)
                self.create("mine", f"FROM {pattern}\nSYSTEM Short.\n")
                for path in paths:
                    os.remove(path)
                self.assertEqual(self.good("check", "mine", env=self.env), "mine: ok\n")
                whole = self.json(
                    "generate",
                    cli.MODEL,
                    "-p",
                    "x",
                    "-n",
                    "4",
                    "--temp",
                    "0",
                    "--raw",
                    "--json",
                )
                mine = self.json(
                    "generate",
                    "mine",
                    "-p",
                    "x",
                    "-n",
                    "4",
                    "--temp",
                    "0",
                    "--raw",
                    "--json",
                    env=self.env,
                )
                self.assertEqual(mine["ids"], whole["ids"])
                row = [row for row in self.json("list", "--json", env=self.env) if row["name"] == "mine"][0]
                self.assertEqual(
                    row["size"],
                    sum(layer["size"] for layer in self.manifest("mine")["layers"][:3]),
                )
                self.create("again", self.show("modelfile"))
                self.good("rm", "mine", env=self.env)
                self.assertEqual(self.good("check", "again", env=self.env), "again: ok\n")
                self.good("rm", "again", env=self.env)
                self.assertEqual(self.blobs(), [])
                self.assertEqual(os.listdir(os.path.join(self.home, "models", "shards")), [])

    def test_refuses_what_it_cannot_make(self):
        tiny_model.write_shards(os.path.join(self.folder, "m"), 2)
        os.remove(os.path.join(self.folder, "m-00002-of-00002.gguf"))
        hf = os.path.join(self.folder, "hf")
        os.mkdir(hf)
        open(os.path.join(hf, "model.safetensors"), "wb").close()
        two = os.path.join(self.folder, "two")
        os.mkdir(two)
        for name in ("a.gguf", "b.gguf"):
            tiny_model.write(os.path.join(two, name))
        base = os.path.join(self.folder, "base.gguf")
        tiny_model.write(base, template=False)
        junk = os.path.join(self.folder, "junk.gguf")
        with open(junk, "w") as file:
            file.write("GGUFjunk")
        good = f"FROM {cli.MODEL}\n"
        for text, words in (
            (
                "FROM ./m-00001-of-00002.gguf",
                "line 1: FROM: .*m-00002-of-00002.gguf: is missing; it is shard 2 of 2",
            ),
            ("FROM ./hf", "not a folder of safetensors files with a config.json"),
            ("FROM ./two", "several models"),
            ("FROM ./none.gguf", "none.gguf: No such file"),
            ("FROM nobody/nothing", "nobody/nothing"),
            (f"FROM {junk}", "junk.gguf"),
            (good + "TEMPLATE {{ .Prompt", "the template: template:1: "),
            (good + "TEMPLATE {{ .System }}{{ html .Prompt }}", 'the function "html" is not supported'),
            (good + "TEMPLATE {% for %}", "the template: "),
            (good + "TEMPLATE Hello", "shows no message"),
            (
                good + "\nPARAMETER temperature hot",
                "line 3: PARAMETER: parameter temperature: wrong type",
            ),
            (
                good + "PARAMETER top_p 2",
                r"line 2: PARAMETER: parameter top_p: out of range \(found 2, allowed 0..1\)",
            ),
            (good + "PARAMETER tfs_z 2", "tfs_z: not supported"),
            (good + "PARAMETER heat 1", "heat: not supported"),
            (good + "DRAFT ./small.gguf", "line 2: DRAFT: .*small.gguf"),
            (good + f"DRAFT {cli.MODEL}\nDRAFT {base}", "a second draft model"),
            (good + f"DRAFT {junk}", "junk.gguf"),
            (good + "RENDERER qwen3", "line 2: RENDERER: not supported"),
            (good + "REQUIRES soon", "line 2: REQUIRES: not a version"),
            (good + "FROM other", "names a model"),
            (f"FROM {base}\nSYSTEM x", "SYSTEM: the model has no chat template"),
            (f"FROM {base}\nMESSAGE user x", "MESSAGE: the model has no chat template"),
            (good + "ADAPTER ./none.gguf", "line 2: ADAPTER: .*none.gguf"),
        ):
            with self.subTest(text):
                self.assertRegex(self.create("mine", text + "\n", status=1), words)
                self.assertEqual((self.verify(), self.blobs()), ([], []))
        self.assertIn("not a model name", self.bad(2, "create", "../x", env=self.env))

    def test_an_adapter_is_kept_and_used(self):
        path = os.path.join(self.folder, "lora.gguf")
        tiny_model.write(path, seed=2)
        self.from_tiny(more=f"ADAPTER {path}\n")
        self.assertIn(b"adapter", json.dumps(self.manifest("mine")).encode())
        self.assertIn("ADAPTER ", self.show("modelfile"))
        for command in (
            ("generate", "mine", "-p", "x"),
            ("run", "mine", "x"),
            ("embed", "mine", "x"),
        ):
            self.assertIn("is not a LoRA adapter", self.bad(1, *command, env=self.env))  # it is a whole model

    def test_a_draft_is_kept_and_changes_no_answer(self):
        path = os.path.join(self.folder, "draft.gguf")
        tiny_model.write(path, seed=3)
        ask = lambda name: self.good("generate", name, "-p", "x", "-n", "8", "--temp", "0", env=self.env)
        plain = self.create("plain", f"FROM {cli.MODEL}\n")
        self.assertNotIn("draft", plain)
        said = self.create("mine", f"FROM {cli.MODEL}\nDRAFT {path}\n")
        self.assertIn("decoding does not use drafts yet", said)
        kinds = [layer["mediaType"].rsplit(".", 1)[1] for layer in self.manifest("mine")["layers"]]
        self.assertEqual(kinds, ["model", "draft"])
        self.assertEqual(ask("mine"), ask("plain"))
        blob = re.search(r"^DRAFT (\S+)$", self.show("modelfile"), re.M).group(1)
        with open(path, "rb") as one, open(blob, "rb") as other:
            self.assertEqual(one.read(), other.read())
        self.assertIn(blob, self.good("show", "mine", env=self.env))
        self.good("cp", "mine", "copy", env=self.env)
        self.good("rm", "mine", env=self.env)
        self.assertEqual([layer["mediaType"].rsplit(".", 1)[1] for layer in self.manifest("copy")["layers"]], kinds)
        self.create("next", "FROM copy\nSYSTEM Briefly.\n")
        self.assertIn("DRAFT ", self.good("show", "next", "--modelfile", env=self.env))
        self.assertEqual(self.verify(), ["copy", "next", "plain"])

    def test_reads_standard_input_and_is_quiet(self):
        out = cli.pantry("create", "mine", "--quiet", "-f", "-", stdin=f"from {cli.MODEL}\n", env=self.env)
        self.assertEqual(out, (0, b"", ""))
        self.assertEqual(self.verify(), ["mine"])

    def test_quantize_names_the_type_that_is_there(self):
        made = lambda kind: cli.pantry("create", "mine", "-q", kind, "-f", "-", stdin=f"FROM {cli.MODEL}", env=self.env)
        self.assertEqual(made("F16")[0], 0)
        self.assertIn('(found "q4_K_M", allowed f16)', made("q4_K_M")[2])
        self.assertEqual(made("f16x")[0], 1)

    def test_a_new_version_drops_the_old_one(self):
        self.from_tiny(more="SYSTEM One.\n")
        before = self.blobs()
        self.from_tiny(more="SYSTEM Two.\n")
        self.assertEqual(len(self.blobs()), len(before))
        self.assertEqual(self.show("system"), "Two.")
        self.assertEqual(self.good("prune", env=self.env), "removed 0 files (0 bytes)\n")


class Killed(Create):
    def test_killed_anywhere_leaves_a_whole_store(self):
        path = os.path.join(self.folder, "big.gguf")
        pad = (
            "pad.weight",
            tiny_model.TYPE_F32,
            (1 << 20,),
            bytes(4 << 20),
        )  # reading it takes a while
        tiny_model.write_file(path, [*tiny_model.tensors(random.Random(1), True), pad], tiny_model.metadata())
        self.from_tiny("base", "SYSTEM One.\n")
        modelfiles = {
            "small": "FROM base\nSYSTEM Two.\nPARAMETER top_k 4\n",
            "big": f"FROM {path}\nSYSTEM Three.\n",
        }
        for name, text in modelfiles.items():
            with open(os.path.join(self.folder, name), "w") as file:
                file.write(text)
        commands = [("create", name, "-f", os.path.join(self.folder, name)) for name in modelfiles]
        commands += [
            ("cp", "base", "copy"),
            ("cp", "small", "copy"),
            ("rm", "copy"),
            ("rm", "small"),
            ("rm", "big"),
        ]
        seed = random.Random(11)
        for i in range(KILLS):
            command = seed.choice(commands)
            child = subprocess.Popen(
                [cli.PANTRY, *command],
                env=self.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(seed.uniform(0, 0.03))
            child.send_signal(signal.SIGKILL)
            child.wait()
            with self.subTest(i=i, command=command):
                self.assertIn("base", self.verify())
                self.assertEqual(self.show("system", "base"), "One.")
        for name in modelfiles:
            self.good("create", name, "-f", os.path.join(self.folder, name), env=self.env)
        self.good("prune", env=self.env)
        self.assertLessEqual({"base", "big", "small"}, set(self.verify()))
        used = set()
        for name in self.verify():
            parts = self.manifest(name)
            used |= {layer["digest"].replace(":", "-") for layer in [parts["config"], *parts["layers"]]}
        self.assertEqual({name for name in self.blobs() if "partial" not in name}, used)
