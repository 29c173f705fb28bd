"""The program as its users see it: commands, exit statuses, JSON, and the chat on a terminal.

All tests use a tiny model that tiny_model.py writes; nothing is fetched. PANTRY names the program to test.
"""

import array
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import tiny_model  # noqa: E402
from terminal import Terminal  # noqa: E402

PANTRY = os.path.abspath(os.environ.get("PANTRY", os.path.join(ROOT, "build", "pantry")))
COMMANDS = (
    "run serve ps top stop launch config key generate list pull push search import create cp rm prune doctor"
    " convert tune fuse quantize imatrix eval show fit bench synth embed rank decide tokenize template parse grammar logits check help version"
).split()


def setUpModule():
    global FOLDER, MODEL, VOCABULARY, ENV
    FOLDER = tempfile.mkdtemp(prefix="pantry-e2e-")
    MODEL, VOCABULARY = os.path.join(FOLDER, "tiny.gguf"), os.path.join(FOLDER, "vocabulary.gguf")
    tiny_model.write(MODEL)
    tiny_model.write(VOCABULARY, weights=False)
    ENV = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LS_COLORS", "EDITRC")}
    ENV.update(PANTRY_HOME=os.path.join(FOLDER, "home"), HOME=FOLDER, TERM="xterm", LC_ALL="C.UTF-8")
    ENV.pop("PANTRY_MODELS", None)
    ENV["PANTRY_FOREIGN"] = "0"  # this machine's models are not the tests'
    ENV["PANTRY_HOST"] = "127.0.0.1:1"  # no service runs there


def tearDownModule():
    shutil.rmtree(FOLDER)


def pantry(*arguments, stdin=b"", env=None):
    """(exit status, standard output as bytes, standard error as text); `stdin` None is /dev/null."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run([PANTRY, *arguments], **source, capture_output=True, env=env or ENV, cwd=FOLDER, timeout=300)
    return done.returncode, done.stdout, done.stderr.decode()


class Case(unittest.TestCase):
    own_env = None  # tests with another environment set `env`

    @property
    def env(self):
        return self.own_env or ENV

    @env.setter
    def env(self, value):
        self.own_env = value

    @property
    def model(self):
        return MODEL

    def good(self, *arguments, **options):
        status, out, err = pantry(*arguments, **{"env": self.env, **options})
        self.assertEqual(status, 0, err)
        return out.decode()

    def bad(self, status, *arguments, **options):
        """Must fail with `status`, no output, and a message on standard error; returns the message."""
        got, out, err = pantry(*arguments, **{"env": self.env, **options})
        self.assertEqual((got, out), (status, b""), err)
        self.assertNotEqual(err, "")
        return err

    def json(self, *arguments, **options):
        return json.loads(self.good(*arguments, **options))

    def write(self, name, content):
        path = os.path.join(FOLDER, name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path


class Help(Case):
    def test_lists_all_commands(self):
        for arguments in ([], ["help"], ["--help"], ["-h"]):
            out = self.good(*arguments)
            self.assertEqual(re.findall(r"^  ([a-z]+)  +\S", out, re.M)[: len(COMMANDS)], COMMANDS)

    def test_every_command_explains_itself_with_an_example(self):
        for name in COMMANDS:
            out = self.good(name, "--help")
            self.assertIn(f"Usage: pantry {name}", out)
            self.assertRegex(out, rf"(?s)Example:\n.*pantry {name}")
            self.assertEqual(out, self.good("help", name))

    def test_documentation_names_every_command_and_option(self):
        def read(*path):
            with open(os.path.join(ROOT, "docs", *path)) as file:
                return file.read().replace("\\-", "-")

        page = read("commands.md")
        for name in COMMANDS:
            manual = read("man", f"pantry-{name}.1")
            self.assertIn(f"## pantry {name}", page)
            self.assertIn(f"pantry-{name}", read("man", "pantry.1"))
            for option in re.findall(r"--[a-z-]+", self.good(name, "--help").split("Example:")[0]):
                self.assertIn(option, page, name)
                self.assertIn(option, manual, name)

    def test_commands_as_json(self):
        commands = {command["name"]: command for command in self.json("help", "--json")["commands"]}
        self.assertEqual(list(commands), COMMANDS)
        options = {option["name"]: option for group in commands["run"]["options"] for option in group["options"]}
        self.assertEqual(
            options["temp"],
            {
                "name": "temp",
                "kind": "number",
                "value": "T",
                "parameter": "temperature",
                "min": 0,
                "max": 100,
                "help": options["temp"]["help"],
            },
        )
        self.assertEqual(options["kv-type"]["choices"].split(), ["f16", "q8_0", "f32"])
        self.assertEqual(options["help"]["letter"], "h")
        self.bad(2, "help", "--json", "run")

    def test_version(self):
        with open(os.path.join(ROOT, "include", "pantry.h")) as header:
            version = re.search(r'PANTRY_VERSION "(.*)"', header.read()).group(1)
        self.assertEqual(self.good("version"), f"pantry {version}\n")
        self.assertEqual(self.good("--version"), f"pantry {version}\n")
        self.assertEqual(self.json("version", "--json"), {"version": version})


class Misuse(Case):
    def test_unknown_command(self):
        self.assertIn("did you mean `pantry generate`?", self.bad(2, "generat"))
        self.assertNotIn("did you mean", self.bad(2, "xyzzy"))

    def test_unknown_option(self):
        err = self.bad(2, "generate", MODEL, "--tmep", "0")
        self.assertIn("did you mean --temp?", err)
        self.assertIn("usage: pantry generate", err)
        self.assertEqual(err.count("\n"), 2)
        self.assertIn("did you mean --temp?", self.bad(2, "generate", MODEL, "-temp", "0"))

    def test_values(self):
        for arguments in (
            ["--temp"],
            ["--temp", "hot"],
            ["--temp=nan"],
            ["--temp", "-1"],
            ["-n", "1.5"],
            ["-n", "99999999999"],
            ["--top-p", "1.1"],
            ["--seed", "-1"],
            ["--raw=yes"],
            ["--kv-type", "f1"],
        ):
            self.bad(2, "generate", MODEL, "-p", "x", *arguments)

    def test_devices(self):
        for device, words in (("gpu7", '"gpu7"'), ("cpu:0", "layer 1"), ("cpu:0-9,ref:1-", "found 0 to 9"), ("", '""')):
            self.assertIn(words, self.bad(1, "generate", MODEL, "-p", "x", "--device", device))

    def test_arguments(self):
        for arguments in (
            ["generate"],
            ["generate", MODEL],
            ["generate", MODEL, "x"],
            ["generate", MODEL, "-p", "x", "-f", "y"],
            ["generate", MODEL, "-p", "x", "--raw", "--system", "y"],
            ["tokenize", MODEL],
            ["tokenize", MODEL, "two", "texts"],
            ["tokenize", MODEL, "text", "--file", "f"],
            ["template", MODEL],
            ["template", "--context", "c"],
            ["parse", MODEL],
            ["logits", MODEL],
            ["logits", MODEL, "--ids", "-"],
            ["embed"],
            ["embed", MODEL, "x", "-f", "y"],
            ["embed", MODEL, "x", "--dimensions", "0"],
            ["embed", MODEL, "x", "--pooling", "max"],
            ["rank", MODEL],
            ["decide", MODEL],
            ["decide", MODEL, "q", "x", "-f", "y"],
            ["decide", MODEL, "q", "x", "y"],
            ["decide", MODEL, "q", "x", "-c", "a", "-l", "b"],
            ["rank", MODEL, "q", "x", "-f", "y"],
            ["check"],
            ["show"],
            ["show", MODEL, MODEL],
            ["show", MODEL, "--json", "--license"],
            ["bench"],
            ["version", "x"],
            ["list", "x"],
            ["list", "--json", "--names"],
            ["pull"],
            ["pull", "a", "b"],
            ["rm"],
            ["cp", "a"],
            ["cp", "a", "b", "c"],
            ["prune", "x"],
            ["help", "nothing"],
        ):
            self.assertIn("usage: pantry", self.bad(2, *arguments))

    def test_missing_model(self):
        for command in (["run"], ["show"], ["bench"], ["tokenize"]):
            err = self.bad(1, command[0], "no-such-model", *(["x"] if command[0] in ("run", "tokenize") else []))
            self.assertIn("no-such-model", err)

    def test_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PANTRY, "version"], stdout=full, stderr=subprocess.PIPE, env=ENV)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


class Check(Case):
    def setUp(self):
        with open(MODEL, "rb") as file:
            self.cut = self.write("cut.gguf", file.read()[:5000])

    def test_text(self):
        self.assertEqual(self.good("check", MODEL), f"{MODEL}: ok\n")
        status, out, err = pantry("check", MODEL, self.cut, "missing.gguf")
        self.assertEqual(status, 1)
        lines = out.decode().splitlines()
        self.assertEqual(lines[0], f"{MODEL}: ok")
        self.assertTrue(lines[1].startswith(f"{self.cut}: error: "))
        self.assertTrue(lines[2].startswith("missing.gguf: error: "))
        self.assertIn("2 of 3 files are bad", err)

    def test_json(self):
        self.assertEqual(self.json("check", "--json", MODEL), [{"file": MODEL, "ok": True}])
        status, out, _ = pantry("check", "--json", self.cut)
        (row,) = json.loads(out)
        self.assertEqual((status, row["file"], row["ok"]), (1, self.cut, False))
        self.assertTrue(row["error"])


class Show(Case):
    def test_sections(self):
        out = self.good("show", MODEL)
        for wanted in ("Model\n", "Tokenizer\n", "Template\n", "License\n", "llama", "Tiny Test", "f16", "mit"):
            self.assertIn(wanted, out)

    def test_parts(self):
        self.assertEqual(self.good("show", MODEL, "--template"), tiny_model.TEMPLATE)
        self.assertEqual(self.good("show", MODEL, "--license"), "mit")
        rows = tiny_model.tensors(tiny_model.random.Random(1), True)
        tensors = self.good("show", MODEL, "--tensors").splitlines()
        self.assertEqual(len(tensors), len(rows))
        self.assertTrue(any("(64, 32) blk.1.ffn_gate.weight" in line for line in tensors))
        self.assertIn("llama.block_count = 2\n", self.good("show", MODEL, "--metadata"))

    def test_json(self):
        root = self.json("show", MODEL, "--json")
        self.assertEqual(root["architecture"], "llama")
        self.assertEqual(root["template"], tiny_model.TEMPLATE)
        self.assertEqual(root["n_tensors"], len(root["tensors"]))
        self.assertIs(root["runs"], True)
        self.assertIsInstance(self.json("show", VOCABULARY, "--json")["runs"], str)

    def test_control_characters_reach_no_terminal(self):
        with open(MODEL, "rb") as file:
            evil = self.write("evil.gguf", file.read().replace(b"Tiny Test", b"Tiny\x1b[5mX"))
        terminal = Terminal([PANTRY, "show", evil], ENV)
        self.addCleanup(terminal.close)
        self.assertEqual(terminal.ended(), 0)
        terminal.expect("License")
        self.assertIn("Tiny?[5mX", terminal.raw)


class Tokenize(Case):
    text = "the cat, a <|im_end|> naïve 汉字 😀\r\n\n\ttab"

    def ids(self, *arguments, **options):
        return [int(word) for word in self.good("tokenize", VOCABULARY, *arguments, **options).split()]

    def test_forms(self):
        ids = self.ids(self.text)
        self.assertEqual(self.good("tokenize", VOCABULARY, self.text), " ".join(map(str, ids)) + "\n")
        self.assertEqual(self.json("tokenize", VOCABULARY, self.text, "--json"), ids)
        self.assertEqual(self.ids("--file", self.write("text", self.text)), ids)
        self.assertEqual(self.ids("--file", "-", stdin=self.text), ids)
        self.assertEqual(self.ids("-", stdin=self.text), ids)
        self.assertEqual(self.ids(""), [])
        self.assertEqual(self.json("tokenize", VOCABULARY, "", "--json"), [])

    def test_folders_of_hugging_face(self):
        folder = os.path.join(FOLDER, "words")
        os.mkdir(folder)
        self.assertIn("neither tokenizer.json nor tokenizer.model", self.bad(1, "tokenize", folder, "a cat"))
        vocabulary = {
            "model": {"type": "WordLevel", "vocab": {"a": 0, "cat": 1, "?": 2}, "unk_token": "?"},
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "added_tokens": [],
        }
        with open(os.path.join(folder, "tokenizer.json"), "w") as file:
            json.dump(vocabulary, file)
        self.assertEqual(self.good("tokenize", folder, "a cat dog"), "0 1 2\n")
        self.assertEqual(self.good("tokenize", folder, "--decode", "0 1"), "a cat")
        with open(os.path.join(folder, "tokenizer.json"), "w") as file:
            file.write("{")
        self.assertIn("tokenizer.json", self.bad(1, "tokenize", folder, "a cat"))

    def test_flags(self):
        self.assertNotIn(2, self.ids(self.text))
        self.assertEqual(self.ids(self.text, "--special").count(2), 1)
        self.assertEqual(self.ids("x", "--bos")[-1], self.ids("x")[-1])

    def test_decode(self):
        ids = " ".join(map(str, self.ids(self.text)))
        self.assertEqual(pantry("tokenize", VOCABULARY, "--decode", "--file", "-", stdin=ids)[1].decode(), self.text)
        self.assertEqual(pantry("tokenize", VOCABULARY, "--decode", *ids.split())[1].decode(), self.text)
        self.assertEqual(self.json("tokenize", VOCABULARY, "--decode", "--json", ids), self.text)
        self.assertEqual(self.good("tokenize", VOCABULARY, "--decode", "--special", "2"), "<|im_end|>")
        self.bad(1, "tokenize", VOCABULARY, "--decode", "1 x")
        self.bad(1, "tokenize", VOCABULARY, "--decode", "99999")


class Template(Case):
    context = {"messages": [{"role": "user", "content": "Hi\n"}], "add_generation_prompt": True}
    rendered = "<|im_start|>user\nHi\n<|im_end|>\n<|im_start|>assistant\n"

    def test_exact(self):
        context = self.write("context.json", json.dumps(self.context))
        template = self.write("template.jinja", tiny_model.TEMPLATE)
        self.assertEqual(self.good("template", "--template", template, "--context", context), self.rendered)
        for model in (MODEL, VOCABULARY):
            self.assertEqual(
                self.good("template", model, "--context", "-", stdin=json.dumps(self.context)), self.rendered
            )

    def test_errors(self):
        raises = json.dumps({"messages": [{"role": "user", "content": "raise"}]})
        template = self.write("template.jinja", tiny_model.TEMPLATE)
        for where in ([MODEL], ["--template", template]):
            self.assertEqual(
                self.bad(1, "template", *where, "--context", "-", stdin=raises), "template error: Do not say raise!\n"
            )
        self.bad(1, "template", MODEL, "--context", "-", stdin="{")
        self.bad(1, "template", MODEL, "--context", "-", stdin="[]")
        self.bad(1, "template", "--template", self.write("bad.jinja", "{% if %}"), "--context", "-", stdin="{}")
        self.bad(1, "template", MODEL, "--context", "missing.json")


class Grammar(Case):
    def strings(self, kind, source, strings, *arguments):
        path = self.write("grammar.txt", source)
        return self.json(
            "grammar", kind, path, "--strings", self.write("strings.json", json.dumps(strings)), *arguments
        )

    def test_strings(self):
        self.assertEqual(self.strings("--gbnf", 'root ::= "a" root | "b"', ["aab", "a", "b\0"]), [True, False, False])
        self.assertEqual(self.strings("--regex", "[a-z]{2,3}", ["ab", "abcd"]), [True, False])
        schema = '{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}'
        spellings = ['{"a": 1, "b": 2}', '{"a":1,"b":2}', '{"a": "x"}']
        self.assertEqual(self.strings("--json-schema", schema, spellings), [True, True, False])
        self.assertEqual(
            self.strings("--json-schema", schema, spellings, "--whitespace", "compact"), [False, True, False]
        )

    def test_any_json(self):
        strings = self.write("strings.json", '["[1, {}]", "[1,]"]')
        self.assertEqual(self.json("grammar", "--any-json", "--strings", strings), [True, False])

    def test_drawing(self):
        out = self.good("grammar", "--gbnf", self.write("g.gbnf", 'root ::= "x"{2}'), "--dot")
        self.assertTrue(out.startswith("digraph grammar {") and "doublecircle" in out, out)

    def test_mistakes(self):
        bad = self.write("bad.gbnf", 'root ::= "a" b')
        self.assertIn('line 1, column 14: the rule "b" is not defined', self.bad(1, "grammar", "--gbnf", bad))
        self.bad(1, "grammar", "--regex", self.write("bad.regex", "[abc"))
        good = self.write("good.regex", "a")
        self.bad(1, "grammar", "--regex", good, "--strings", self.write("strings.json", "[1]"))
        self.bad(1, "grammar", "--regex", good, "--strings", self.write("strings.json", "{}"))
        self.bad(2, "grammar", "--regex", good, "--gbnf", bad)
        self.bad(2, "grammar")


class Parse(Case):
    def parse(self, raw, *arguments):
        context = self.write("context.json", json.dumps(Template.context))
        template = self.write("template.jinja", tiny_model.TEMPLATE)
        return self.json("parse", "--template", template, "--context", context, "--json", *arguments, stdin=raw)

    def test_reasoning(self):
        parts = self.parse("<think>hm</think>yes")
        self.assertEqual((parts["content"], parts["reasoning_content"], parts["tool_calls"]), ("yes", "hm", []))
        parts = self.parse("<think>hm</think>yes", "--reasoning-in-content")
        self.assertIn("hm", parts["content"])
        self.assertFalse(parts["reasoning_content"])

    def test_errors(self):
        context = self.write("context.json", "{")
        self.bad(1, "parse", MODEL, "--context", context, stdin="x")
        self.bad(2, "parse", MODEL, "--context", "-", stdin="x")
        self.bad(2, "parse", MODEL, "--context", context, "--tool-choice", "maybe")


class Embed(Case):
    width = tiny_model.N_EMBD

    def test_plain(self):
        rows = [
            [float(x) for x in line.split()] for line in self.good("embed", MODEL, "one text", "another").splitlines()
        ]
        self.assertEqual([len(row) for row in rows], [self.width] * 2)
        for row in rows:
            self.assertAlmostEqual(sum(x * x for x in row), 1, 5)
        self.assertNotEqual(rows[0], rows[1])
        lines = self.good("embed", MODEL, stdin="one text\r\n\nanother").splitlines()
        self.assertEqual([[float(x) for x in line.split()] for line in lines], rows)
        path = self.write("lines.txt", "one text\nanother\n")
        self.assertEqual(self.good("embed", MODEL, "--file", path).splitlines(), lines)

    def test_json(self):
        value = self.json("embed", MODEL, "one text", "another", "--json", "--dimensions", "5")
        self.assertEqual(sorted(value), ["dimensions", "embeddings", "pooling", "tokens", "truncated"])
        self.assertEqual((value["dimensions"], value["pooling"], value["truncated"]), (5, "last", False))
        self.assertEqual([len(row) for row in value["embeddings"]], [5, 5])
        self.assertEqual(len(value["tokens"]), 2)

    def test_states(self):
        value = self.json("embed", MODEL, "40 41 42", "50,51", "--ids", "--pooling", "none", "--json")
        self.assertEqual([len(rows) for rows in value["embeddings"]], [3, 2])
        out = os.path.join(FOLDER, "states.f32")
        self.assertEqual(
            self.good("embed", MODEL, "--ids", "--pooling", "none", "-o", out, stdin="40 41 42\n[50, 51]"), ""
        )
        values = array.array("f")
        with open(out, "rb") as file:
            values.frombytes(file.read())
        self.assertEqual(len(values), 5 * self.width)
        self.assertAlmostEqual(values[-1], value["embeddings"][1][1][-1], 5)

    def test_errors(self):
        self.assertIn("no text", self.bad(1, "embed", MODEL, stdin="\n"))
        self.assertIn("40 tokens", self.bad(1, "embed", MODEL, "x " * 20, "--max-tokens", "4"))
        self.assertTrue(self.json("embed", MODEL, "x " * 20, "--max-tokens", "4", "--truncate", "--json")["truncated"])
        self.bad(1, "embed", MODEL, "--ids", "1 two")
        self.bad(1, "embed", MODEL, "x", "--dimensions", str(self.width + 1))
        self.bad(1, "embed", VOCABULARY, "x")
        self.bad(1, "embed", MODEL, "x", "-o", os.path.join(FOLDER, "no", "such"))


class Rank(Case):
    def test_order(self):
        texts = ["nothing alike", "the same text", "something else"]
        ranked = self.json("rank", MODEL, "the same text", *texts, "--json")
        self.assertEqual((ranked[0]["index"], ranked[0]["text"]), (1, "the same text"))
        self.assertAlmostEqual(ranked[0]["score"], 1, 4)
        self.assertEqual(sorted(row["index"] for row in ranked), [0, 1, 2])
        self.assertEqual(ranked, sorted(ranked, key=lambda row: -row["score"]))
        out = self.good("rank", MODEL, "the same text", "--top", "1", stdin="\n".join(texts))
        self.assertEqual(out.split(None, 1), ["1.0000", "the same text\n"])


class Logits(Case):
    ids = list(range(40, 60))

    def logits(self, *arguments):
        out = os.path.join(FOLDER, "logits.f32")
        self.good("logits", MODEL, "--ids", "-", "-o", out, *arguments, stdin=", ".join(map(str, self.ids)))
        values = array.array("f")
        with open(out, "rb") as file:
            values.frombytes(file.read())
        self.assertEqual(len(values), len(self.ids) * len(tiny_model.vocabulary()[0]))
        return values

    def assertNear(self, a, b, limit):
        error = sum((x - y) ** 2 for x, y in zip(a, b))
        self.assertLess(error, limit * sum(x * x for x in a))

    def test_devices_and_slices_agree(self):
        whole = self.logits()
        self.assertNear(whole, self.logits("--device", "ref"), 1e-4)
        self.assertNear(whole, self.logits("--device", "cpu:0,ref:1"), 1e-4)
        self.assertNear(whole, self.logits("--slices", "1,7"), 1e-4)
        self.assertNear(whole, self.logits("--slices", "1"), 1e-4)

    def test_errors(self):
        out = os.path.join(FOLDER, "no.f32")
        for ids in ("", "1 -2", "1 two", "999999"):
            self.bad(1, "logits", MODEL, "--ids", "-", "-o", out, stdin=ids)
            self.assertFalse(os.path.exists(out))
        self.bad(1, "logits", MODEL, "--ids", "-", "-o", os.path.join(FOLDER, "no", "such"), stdin="1")
        self.bad(1, "logits", VOCABULARY, "--ids", "-", "-o", out, stdin="1")
        self.bad(2, "logits", MODEL, "--ids", "-", "-o", out, "--slices", "0", stdin="1")


class Generate(Case):
    greedy = ["-p", "Say something", "-n", "12", "--temp", "0"]

    def test_json(self):
        root = self.json("generate", MODEL, *self.greedy, "--json")
        self.assertEqual(root["n_generated"], 12)
        self.assertEqual(len(root["ids"]), 12)
        self.assertEqual(root["n_prompt"], len(root["prompt_ids"]))
        self.assertEqual(root["stop_reason"], "length")
        self.assertRegex(root["text"], "^[a-z ]+$")
        for rate in ("prefill_tokens_per_second", "decode_tokens_per_second", "first_token_seconds"):
            self.assertGreater(root[rate], 0)

    def test_text_and_ids_agree_with_json(self):
        root = self.json("generate", MODEL, *self.greedy, "--json")
        self.assertEqual(self.good("generate", MODEL, *self.greedy), root["text"] + "\n")
        self.assertEqual(self.good("generate", MODEL, *self.greedy, "--ids").split(), [str(i) for i in root["ids"]])

    def test_template_or_raw(self):
        special = self.json(
            "tokenize",
            MODEL,
            "--special",
            "--json",
            "<|im_start|>user\nSay something<|im_end|>\n<|im_start|>assistant\n",
        )
        self.assertEqual(self.json("generate", MODEL, *self.greedy, "--json")["prompt_ids"], special)
        raw = self.json("generate", MODEL, *self.greedy, "--json", "--raw")["prompt_ids"]
        self.assertEqual(raw[-13:], self.json("tokenize", MODEL, "--json", "Say something")[-13:])
        self.assertLess(len(raw), len(special))
        system = self.json("generate", MODEL, *self.greedy, "--json", "--system", "Be brief")["prompt_ids"]
        self.assertGreater(len(system), len(special))

    def test_seed(self):
        def texts(*seed):
            return self.json("generate", MODEL, "-p", "x", "-n", "20", "--temp", "1.5", "--json", *seed)

        one = texts("--seed", "7")
        self.assertEqual(one["ids"], texts("--seed", "7")["ids"])
        self.assertEqual(one["seed"], 7)
        self.assertNotEqual(one["ids"], texts("--seed", "8")["ids"])
        drawn = texts()
        self.assertEqual(drawn["ids"], texts("--seed", str(drawn["seed"]))["ids"])

    def test_stop(self):
        text = self.json("generate", MODEL, *self.greedy, "--json")["text"]
        stop = text[4:6]
        root = self.json("generate", MODEL, *self.greedy, "--json", "--stop", stop)
        self.assertEqual((root["text"], root["stop_reason"]), (text[: text.index(stop)], "stop_string"))

    def test_input(self):
        prompt = self.write("prompt", "Say something")
        wanted = self.good("generate", MODEL, *self.greedy)
        self.assertEqual(self.good("generate", MODEL, "-f", prompt, *self.greedy[2:]), wanted)
        self.assertEqual(self.good("generate", MODEL, "-f", "-", *self.greedy[2:], stdin="Say something"), wanted)
        self.assertIn("UTF-8", self.bad(1, "generate", MODEL, "-f", "-", "-n", "1", stdin=b"\xff\xfe"))
        self.assertIn("Do not say raise!", self.bad(1, "generate", MODEL, "-p", "raise"))
        self.bad(1, "generate", MODEL, "-p", "far too long for it", "--ctx", "4")
        self.bad(1, "generate", VOCABULARY, "-p", "x")

    def test_figures(self):
        status, out, err = pantry("generate", MODEL, *self.greedy, "--verbose")
        self.assertEqual(status, 0)
        for wanted in ("load time:", "prompt rate:", "answer rate:", "GB/s", "stopped by:           length"):
            self.assertIn(wanted, err)
        self.assertEqual(pantry("generate", MODEL, *self.greedy)[2], "")

    def test_interrupt_ends_it(self):
        process = subprocess.Popen(
            [PANTRY, "generate", MODEL, "-p", "x", "--temp", "0", "-n", "-1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENV,
        )
        self.assertTrue(process.stdout.read(5))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
        self.assertEqual(process.returncode, -signal.SIGINT)


class Bench(Case):
    def test_json(self):
        root = self.json("bench", MODEL, "-p", "16", "-n", "8", "-r", "2", "--json")
        for figure in ("prefill_tokens_per_second", "decode_tokens_per_second", "first_token_seconds"):
            self.assertGreater(root[figure]["median"], 0)
            self.assertGreaterEqual(root[figure]["deviation"], 0)
        self.assertEqual((root["n_prompt"], root["n_decode"], root["repeats"]), (16, 8, 2))
        self.assertGreater(root["read_bandwidth_bytes"], 1e8)
        self.assertGreater(root["load_seconds"], 0)

    def test_text(self):
        out = self.good("bench", MODEL, "-p", "16", "-n", "8", "-r", "1")
        self.assertRegex(out, r"prefill +16 tokens +[\d.]+ tok/s")
        self.assertRegex(out, r"decode +8 tokens +[\d.]+ tok/s .* % of the read bandwidth")


class List(Case):
    def test_lists_the_default_model(self):
        self.assertIn("smollm2:135m", self.good("list"))
        self.assertEqual(self.good("list", "--names").split(), [row["name"] for row in self.json("list", "--json")])
        row = next(r for r in self.json("list", "--json") if r["name"] == "smollm2:135m")
        self.assertIsNone(row["path"])
        self.assertEqual(len(row["sha256"]), 64)


class RunOnce(Case):
    """`run` without a terminal."""

    options = ["--temp", "0", "-n", "10", "--repeat-penalty", "1.1"]

    def ids(self, prompt):
        return self.good("generate", self.model, "-p", prompt, *self.options)

    def test_prompt_from_arguments_pipe_and_both(self):
        self.assertEqual(self.good("run", self.model, "Say", "it", *self.options), self.ids("Say it"))
        self.assertEqual(self.good("run", self.model, *self.options, stdin="Say it\n"), self.ids("Say it"))
        self.assertEqual(
            self.good("run", self.model, "Say it", *self.options, stdin="a text\n"), self.ids("a text\n\nSay it")
        )

    def test_asks_a_question_when_nobody_does(self):
        out = self.good("run", self.model, "-n", "10", stdin=None)
        self.assertTrue(out.startswith(">>> "))
        self.assertIn("pantry run", out)
        self.assertEqual(out, self.good("run", self.model, "-n", "10", stdin=None))

    def test_figures_go_to_standard_error_without_colour(self):
        status, out, err = pantry("run", self.model, "x", *self.options, env=self.env)
        self.assertEqual(status, 0)
        self.assertRegex(err, r"^10 tokens · [\d.]+ tok/s · \d+ % of [\d.]+ GB/s\n")
        self.assertNotIn("\x1b", out.decode() + err)

    def test_failure(self):
        self.assertIn("Do not say raise!", self.bad(1, "run", self.model, "raise"))
        self.bad(1, "run", VOCABULARY, "x")
        status, _, err = pantry("run", self.model, "far too long for it", "--ctx", "4", env=self.env)
        self.assertEqual(status, 1)
        self.assertIn("--ctx", err)


class Chat(Case):
    """`run` on a terminal."""

    def chat(self, *arguments, env=None, **options):
        terminal = Terminal([PANTRY, "run", self.model, *arguments], env or self.env, **options)
        self.addCleanup(terminal.close)
        terminal.expect(">>> ")
        return terminal

    def leave(self, terminal):
        terminal.line("/bye")
        self.assertEqual(terminal.ended(), 0)
        self.assertEqual(terminal.modes_now(), terminal.modes)

    def test_answers_and_reuses_the_conversation(self):
        t = self.chat("--temp", "0", "-n", "12", "--verbose")
        t.line("Hello")
        t.expect("(0 reused)")
        t.expect(">>> ")
        t.line("Again")
        reused = re.search(r"prompt tokens: +(\d+) \((\d+) reused\)", t.expect("prompt time:")).groups()
        self.assertGreater(int(reused[1]), 12)
        self.leave(t)

    def test_interrupt_stops_the_answer_and_keeps_it(self):
        t = self.chat("--temp", "0", "-n", "-1")
        t.line("Hello")
        t.expect("\n")
        t.expect(re.compile("[a-z]{3}"))
        t.type("\x03")
        t.expect("stopped")
        t.expect(">>> ")
        t.line("/set verbose")
        t.line("/set parameter num_predict 3")
        t.line("Go on")
        reused = re.search(r"\((\d+) reused\)", t.expect("prompt time:")).group(1)
        self.assertGreater(int(reused), 20)  # more than the first message: the partial answer is there
        self.leave(t)

    def test_interrupt_at_the_prompt_hints_and_end_of_input_leaves(self):
        t = self.chat()
        t.type("\x03")
        t.expect("/bye leaves")
        t.expect(">>> ")
        t.type("some text")
        t.expect("some text")
        t.type("\x03")
        self.assertNotIn("leaves", t.expect(">>> "))
        t.type("\x04")
        self.assertEqual(t.ended(), 0)
        self.assertEqual(t.modes_now(), t.modes)

    def test_message_of_several_lines(self):
        t = self.chat("-n", "3", "--verbose")
        t.line("x")
        one = int(re.search(r"prompt tokens: +(\d+)", t.expect("(0 reused)")).group(1))
        t.expect(">>> ")
        t.line("/clear")
        t.expect(">>> ")
        t.line('"""x')
        t.expect("... ")
        t.line("")
        t.expect("... ")
        t.line("/bye")
        t.expect("... ")
        t.line('y"""')
        two = int(re.search(r"prompt tokens: +(\d+)", t.expect("reused)")).group(1))
        self.assertEqual(two - one, len("\n\n/bye\ny"))
        t.expect(">>> ")
        self.leave(t)

    def test_paste_of_several_lines(self):
        t = self.chat("-n", "3", "--verbose")
        self.assertIn("\x1b[?2004h", t.raw)
        t.type("\x1b[200~pasted one\rtwo 汉字\x1b[201~")
        t.expect("two 汉字")
        t.line("")
        t.expect("(0 reused)")
        t.expect(">>> ")
        self.leave(t)
        with open(os.path.join(self.env["PANTRY_HOME"], "history"), encoding="utf-8") as file:
            self.assertIn("pasted\\040one\\012two", file.read())

    def test_settings(self):
        t = self.chat("--temp", "0.25")
        t.line("/show parameters")
        t.expect("temperature           0.25")
        t.line("/set parameter temperature 0.5")
        t.line("/show parameters")
        t.expect("temperature           0.5\n")
        t.line("/set parameter temperatur 1")
        t.expect("did you mean temperature?")
        t.line("/set parameter top_p 7")
        t.expect("top_p: wrong value")
        t.line("/set system Be kind.")
        t.line("/show system")
        t.expect("/show system\nBe kind.\n")
        t.line('/set system """Be')
        t.expect("... ")
        t.line('brief."""')
        t.line("/show system")
        t.expect("/show system\nBe\nbrief.\n")
        t.line("/set system")
        t.line("/show system")
        t.expect("no system message")
        t.line("/show template")
        t.expect("raise_exception('Do not say raise!')")
        t.line("/show license")
        t.expect("mit")
        t.line("/show info")
        t.expect("Tiny Test")
        t.line("/hlep")
        t.expect("did you mean /help?")
        t.line("/?")
        t.expect("/clear")
        t.expect(">>> ")
        self.leave(t)

    def test_another_model(self):
        t = self.chat()
        t.line("/load no-such-model")
        t.expect("pantry: ")
        t.expect(">>> ")
        t.line(f"/load {self.model}")
        t.expect("now talking to")
        t.expect(">>> ")
        self.leave(t)

    def test_history(self):
        t = self.chat("-n", "2")
        t.line("remember me")
        t.expect(">>> ")
        t.line("/set nohistory")
        t.expect(">>> ")
        t.line("forget me")
        t.expect(">>> ")
        self.leave(t)
        path = os.path.join(self.env["PANTRY_HOME"], "history")
        with open(path) as file:
            history = file.read()
        self.assertIn("remember\\040me", history)
        self.assertNotIn("forget", history)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        t = self.chat("-n", "2")
        t.type("\x1b[A\x1b[A")  # up over /set nohistory
        t.expect("remember me")
        t.line("")
        t.expect(">>> ")
        self.leave(t)

    def test_template_error_and_full_context_leave_the_conversation_as_it_was(self):
        t = self.chat("-n", "2", "--ctx", "64")
        t.line("raise")
        t.expect("Do not say raise!")
        t.expect(">>> ")
        t.line("many words " * 12)
        t.expect("/clear starts over")
        t.expect(">>> ")
        t.line("ok")
        t.expect("2 tokens")
        t.expect(">>> ")
        t.line("/set parameter num_ctx 512")
        t.line("many words " * 12)
        t.expect("2 tokens")
        t.expect(">>> ")
        self.leave(t)

    def test_full_context_ends_an_answer_with_a_word_about_it(self):
        t = self.chat("--temp", "0", "--ctx", "48")
        t.line("Hello")
        t.expect("the context is full")
        t.expect(">>> ")
        self.leave(t)

    def test_wraps_at_words(self):
        t = self.chat("--temp", "0", "-n", "300", columns=40)
        t.line("Hello")
        t.expect("\n")
        answer = t.expect(" tokens ")
        self.assertLessEqual(max(map(len, answer.split("\n"))), 40)
        t.expect(">>> ")
        self.leave(t)

    def test_colours(self):
        sgr = re.compile(r"\x1b\[[0-9;]*m")
        t = self.chat("-n", "2")
        t.line("Hello")
        t.expect(">>> ")
        self.assertRegex(t.raw, sgr)
        self.leave(t)
        t = self.chat("-n", "2", env={**self.env, "NO_COLOR": "1"})
        t.line("Hello")
        t.expect(">>> ")
        self.assertNotRegex(t.raw, sgr)
        self.leave(t)

    def test_killed_in_an_answer_it_restores_the_terminal(self):
        t = self.chat("--temp", "0", "-n", "-1")
        t.line("Hello")
        t.expect("\n")
        t.expect(re.compile("[a-z]{3}"))
        self.assertNotEqual(t.modes_now(), t.modes)
        t.process.send_signal(signal.SIGTERM)
        self.assertEqual(t.ended(), -signal.SIGTERM)
        self.assertEqual(t.modes_now(), t.modes)

    def test_works_in_the_c_locale(self):
        t = self.chat("-n", "2", env={**self.env, "LC_ALL": "C"})
        t.line("naïve 汉字")
        t.expect("naïve 汉字")
        t.expect("2 tokens")
        t.expect(">>> ")
        self.leave(t)


if __name__ == "__main__":
    unittest.main()
