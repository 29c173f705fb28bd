"""Adapters that requests choose: base+adapter, the field "lora", /lora-adapters. Answers equal those of the command line
with --adapter, also when requests with different adapters run together."""

import concurrent.futures
import json
import os
import subprocess
import tempfile
import unittest

import test_cli as cli
import tiny_model
from service import PANTRY, Service

N = 24
PROMPT = "the rain in the plain"


def setUpModule():
    global FOLDER, HOME, A, B, SERVICE
    cli.setUpModule()
    FOLDER = cli.FOLDER
    HOME = tempfile.mkdtemp(dir=FOLDER)
    A, B = (os.path.join(FOLDER, f"{name}.gguf") for name in "ab")
    tiny_model.write_adapter(A, seed=11)
    tiny_model.write_adapter(B, seed=12)
    config = os.path.join(FOLDER, "config.toml")
    with open(config, "w") as file:
        file.write('[aliases]\nnick = "tiny"\n[adapters]\n')
        file.write(f'a = "{A}"\nb = {{path = "{B}", model = "tiny"}}\nstored = "lora:1"\n')
        file.write(f'broken = "{cli.MODEL}"\ngone = "/nowhere/at-all"\n')
    for name, path in (("lora:1", A), ("lora:2", B), ("2", A)):
        subprocess.run(
            [PANTRY, "import", path, "--name", name],
            env={**cli.ENV, "PANTRY_HOME": HOME},
            check=True,
            capture_output=True,
        )
    made = os.path.join(FOLDER, "Modelfile")
    with open(made, "w") as file:
        file.write(f"FROM {cli.MODEL}\nADAPTER {A}\n")
    env = {**cli.ENV, "PANTRY_HOME": HOME}
    subprocess.run([PANTRY, "create", "made", "-f", made], env=env, check=True, capture_output=True)
    SERVICE = Service({"tiny": cli.MODEL}, env={"PANTRY_CONFIG": config}, home=HOME)


def tearDownModule():
    status = SERVICE.stop()
    cli.tearDownModule()
    if status:
        raise AssertionError(f"the server ended with {status}")


def by_cli(*adapters, model=None, prompt=PROMPT):
    """The answer of the command line."""
    more = [word for adapter in adapters for word in ("--adapter", adapter)]
    done = subprocess.run(
        [PANTRY, "generate", model or cli.MODEL, "-p", prompt, "-n", str(N), "--temp", "0", "--raw", *more],
        env={**cli.ENV, "PANTRY_HOME": HOME},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.removesuffix("\n")


def ask(model, prompt=PROMPT, status=200, **more):
    body = {"model": model, "prompt": prompt, "raw": True, "stream": False, **more}
    got, _, reply = SERVICE.request("POST", "/api/generate", {**body, "options": {"temperature": 0, "num_predict": N}})
    if got != status:
        raise AssertionError(reply)
    return reply["response"] if got == 200 else reply["error"]


class Case(unittest.TestCase):
    maxDiff = None

    def same(self, answer, *adapters):
        # the command ends its output with a line end; the model may, too
        self.assertEqual(answer.rstrip("\n"), by_cli(*adapters).rstrip("\n"))


class Names(Case):
    def test_answers_differ_and_equal_those_of_the_command(self):
        plain, a, b = ask("tiny"), ask("tiny+a"), ask("tiny+b")
        self.assertEqual(len({plain, a, b}), 3)
        self.same(plain)
        self.same(a, A)
        self.same(b, B)

    def test_several_with_scales(self):
        self.same(ask("tiny+a:0.5"), f"{A}=0.5")
        self.same(ask("tiny+a:0.5+b:-1"), f"{A}=0.5", f"{B}=-1")
        self.same(ask("tiny+a+b"), A, B)
        self.same(ask("tiny+a:0"))
        self.same(ask("nick:latest+a"), A)

    def test_models_of_the_store(self):
        self.same(ask("tiny+stored"), A)
        self.same(ask("tiny+lora:1"), A)
        self.same(ask("tiny+lora:2"), B)  # a tag that is there, and not a scale
        self.same(ask("tiny+lora:2:0.25"), f"{B}=0.25")
        self.same(ask("tiny+made"), A)  # what another model carries
        self.same(ask("tiny+2"), A)
        self.same(ask("made"), A)
        self.assertEqual(by_cli(model="made"), by_cli(A))
        self.same(ask("made+b"), A, B)

    def test_errors_name_what_is_wrong(self):
        for name, words in (
            ("tiny+nosuch", "adapter 'nosuch' not found"),
            ("tiny+a:big", "adapter 'a:big' not found"),
            ("tiny+a:1e9", "the scale must be between"),
            ("tiny+", "adapter '' not found"),
            ("tiny++a", "adapter '' not found"),
            ("nosuch+a", "model 'nosuch+a' not found"),
            ("tiny+gone", "the adapter gone cannot be read"),
            ("tiny" + "+a" * 9, "too many adapters"),
        ):
            with self.subTest(name):
                got, _, reply = SERVICE.request("POST", "/api/generate", {"model": name, "prompt": "x"})
                self.assertIn(got, (400, 404))
                self.assertIn(words, reply["error"])
        self.assertIn("is not a LoRA adapter", ask("tiny+broken", status=400))
        self.assertNotIn(FOLDER, ask("tiny+broken", status=400))

    def test_every_api_takes_them(self):
        want = by_cli(A)
        body = {"prompt": PROMPT, "max_tokens": N, "temperature": 0}
        reply = SERVICE.request("POST", "/v1/completions", {"model": "tiny+a", **body})[2]
        self.assertEqual(reply["choices"][0]["text"].rstrip("\n"), want.rstrip("\n"))
        messages = [{"role": "user", "content": "Hi"}]
        chat = lambda model: SERVICE.request(
            "POST", "/v1/chat/completions", {"model": model, "messages": messages, "temperature": 0, "max_tokens": N}
        )[2]["choices"][0]["message"]["content"]
        said = lambda model: SERVICE.request(
            "POST", "/v1/messages", {"model": model, "messages": messages, "temperature": 0, "max_tokens": N}
        )[2]["content"][0]["text"]
        self.assertNotEqual(chat("tiny"), chat("tiny+a"))
        self.assertEqual(said("tiny+a"), chat("tiny+a"))
        vector = lambda model: SERVICE.request("POST", "/api/embed", {"model": model, "input": "x"})[2]["embeddings"]
        self.assertNotEqual(vector("tiny"), vector("tiny+a"))

    def test_ps_and_unloading(self):
        ask("tiny+a")
        names = lambda: {row["name"] for row in SERVICE.request("GET", "/api/ps")[2]["models"]}
        self.assertIn("tiny+a", {name.removesuffix(":latest") for name in names()})
        ask("tiny+a", keep_alive=0)
        SERVICE.request("POST", "/api/copy", {"source": "tiny", "destination": "again"})
        ask("again+b")
        self.assertIn("again+b", {name.removesuffix(":latest") for name in names()})
        SERVICE.request("DELETE", "/api/delete", {"model": "again"})
        self.assertFalse([name for name in names() if name.startswith("again")])
        self.assertEqual(SERVICE.request("GET", "/health")[0], 200)


class LlamaCpp(Case):
    """The field and the route of llama.cpp's server."""

    def tearDown(self):
        self.assertEqual(SERVICE.request("POST", "/lora-adapters", b"[]")[2], {"success": True})

    def test_lists(self):
        got, _, rows = SERVICE.request("GET", "/lora-adapters")
        self.assertEqual(got, 200)
        self.assertEqual([row["id"] for row in rows], list(range(5)))
        self.assertEqual(rows[0], {"id": 0, "name": "a", "path": "a.gguf", "scale": 0.0})
        self.assertEqual(rows[1], {"id": 1, "name": "b", "path": "b.gguf", "scale": 0.0, "model": "tiny"})
        self.assertEqual(rows[2]["path"], "lora:1")

    def test_the_field(self):
        self.same(ask("tiny", lora=[{"id": 0, "scale": 1}]), A)
        self.same(ask("tiny", lora=[{"id": 0, "scale": 0.5}, {"id": 1, "scale": 2}]), f"{A}=0.5", f"{B}=2")
        self.same(ask("tiny", lora=[]))
        for path, more in (
            ("/v1/completions", {"prompt": PROMPT}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}]}),
        ):
            text = lambda **lora: json.dumps(
                SERVICE.request("POST", path, {"model": "tiny", "max_tokens": N, "temperature": 0, **more, **lora})[2][
                    "choices"
                ]
            )
            self.assertNotEqual(text(), text(lora=[{"id": 1, "scale": 1}]))

    def test_wrong_fields(self):
        for lora, words in (
            ([{"id": 9, "scale": 1}], r"lora\[0\].id: no such adapter \(there are 5"),
            ([{"id": -1, "scale": 1}], "no such adapter"),
            ([{"id": 0}], "scale: a number is needed"),
            ([{"id": 0, "scale": 1e6}], "scale"),
            ([7], "no such adapter"),
            ("a", "lora"),
        ):
            with self.subTest(lora):
                self.assertRegex(ask("tiny", status=400, lora=lora), words)
        self.assertRegex(ask("tiny+a", status=400, lora=[{"id": 1, "scale": 1}]), "chooses adapters, too")
        self.same(ask("tiny+a", lora=[]), A)
        for body in (b"{}", b"7", b"[{}]", b'[{"id": 5, "scale": 1}]'):
            self.assertEqual(SERVICE.request("POST", "/lora-adapters", body)[0], 400)

    def test_scales_for_all_requests(self):
        post = lambda *rows: SERVICE.request("POST", "/lora-adapters", json.dumps(rows).encode())
        self.assertEqual(post({"id": 0, "scale": 0.5})[2], {"success": True})
        self.assertEqual(SERVICE.request("GET", "/lora-adapters")[2][0]["scale"], 0.5)
        self.same(ask("tiny"), f"{A}=0.5")
        self.same(ask("tiny+b"), B)  # a name that chooses
        self.same(ask("tiny", lora=[]))  # a request that chooses none
        self.assertEqual(post({"id": 1, "scale": 1})[0], 200)  # those that are left out get 0
        self.same(ask("tiny"), B)
        self.same(ask("made"), A)  # "b" is for tiny alone
        self.assertEqual(post()[0], 200)
        self.same(ask("tiny"))


class Together(Case):
    def test_concurrent_requests_equal_serial_ones(self):
        """And share no prefix: all begin with the same text."""
        models = ["tiny", "tiny+a", "tiny+b", "tiny+a:0.5", "tiny+a+b", "made"]
        prompts = [PROMPT * 20 + f" number {i}" for i in range(4)]
        cases = [(model, prompt) for prompt in prompts for model in models]
        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            together = list(pool.map(lambda case: ask(*case), cases))
        for model in models:
            ask(model, keep_alive=0)  # the next ones begin with what is on disk
        serial = [ask(*case) for case in cases]
        self.assertEqual(together, serial)
        adapters = {"tiny": (), "tiny+a": (A,), "tiny+b": (B,), "tiny+a+b": (A, B), "made": (A,)}
        for (model, prompt), answer in list(zip(cases, serial))[: len(models)]:
            if model in adapters:
                want = by_cli(*adapters[model], prompt=prompt)
                self.assertEqual(answer.rstrip("\n"), want.rstrip("\n"), model)

    def test_the_prefixes_on_disk_are_apart(self):
        prompt = "one two three " * 40
        before = {model: ask(model, prompt) for model in ("tiny", "tiny+a", "tiny+b")}
        self.assertEqual(len(set(before.values())), 3)
        again = Service(
            None,
            env={"PANTRY_HOME": HOME, "PANTRY_CONFIG": SERVICE.env["PANTRY_CONFIG"]},
            home=HOME,
        )
        try:
            for model in ("tiny+a", "tiny", "tiny+b"):  # in another order
                got, _, reply = again.request(
                    "POST",
                    "/api/generate",
                    {
                        "model": model,
                        "prompt": prompt,
                        "raw": True,
                        "stream": False,
                        "options": {"temperature": 0, "num_predict": N},
                    },
                )
                self.assertEqual((got, reply["response"]), (200, before[model]), model)
        finally:
            again.stop()


if __name__ == "__main__":
    unittest.main()
