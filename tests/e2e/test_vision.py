"""Pictures on every path: the program, the three APIs, and, where the test data has them, transformers' logits."""

import array
import base64
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import seeing_model  # noqa: E402
import service  # noqa: E402
import tiny_model  # noqa: E402

DATA = os.environ.get("PANTRY_TEST_DATA", os.path.join(os.path.dirname(service.ROOT), "shared", "data"))
PICTURES = {
    "red": seeing_model.png(40, 30, lambda x, y: (255, 7 * y, 0)),
    "blue": seeing_model.png(33, 50, lambda x, y: (0, 5 * x, 255)),
}
QUESTION = "what is this?"


def encoded(name):
    return base64.b64encode(PICTURES[name]).decode()


def pantry(*arguments, fails=False):
    done = subprocess.run([service.PANTRY, *arguments], capture_output=True, text=True, timeout=service.PATIENCE)
    if (done.returncode != 0) != fails:
        raise AssertionError(f"{arguments}: {done.returncode} {done.stderr}")
    return done.stderr if fails else done.stdout


def setUpModule():
    global FOLDER, MODEL, MMPROJ, BLIND, FILES, SERVICE
    FOLDER = tempfile.TemporaryDirectory(prefix="pantry-vision-")
    join = lambda *names: os.path.join(FOLDER.name, *names)
    os.mkdir(join("sees"))
    MODEL, MMPROJ, BLIND = join("sees", "model.gguf"), join("sees", "mmproj-model.gguf"), join("blind.gguf")
    seeing_model.write(MODEL, MMPROJ)
    tiny_model.write(BLIND)
    FILES = {}
    for name, data in PICTURES.items():
        FILES[name] = join(f"my {name}.png")
        with open(FILES[name], "wb") as file:
            file.write(data)
    home = join("home")
    with open(join("Modelfile"), "w") as file:
        file.write(f"FROM {MODEL}\nFROM {MMPROJ}\n")
    env = {**os.environ, "PANTRY_HOME": home}
    env.pop("PANTRY_MODELS", None)
    subprocess.run(
        [service.PANTRY, "create", "sees", "-f", join("Modelfile")], env=env, check=True, capture_output=True
    )
    SERVICE = service.Service({"blind": BLIND}, home=home)


def tearDownModule():
    status = SERVICE.stop()
    FOLDER.cleanup()
    if status:
        raise AssertionError(f"the server ended with {status}")


def context(*parts):
    path = os.path.join(FOLDER.name, "context.json")
    with open(path, "w") as file:
        json.dump({"messages": [{"role": "user", "content": list(parts)}], "add_generation_prompt": True}, file)
    return path


IMAGE, TEXT = {"type": "image"}, {"type": "text", "text": QUESTION}


class Program(unittest.TestCase):
    def run_with(self, *arguments):
        return pantry("run", "--local", MODEL, "--temp", "0", "-n", "12", *arguments).strip()

    def test_answers_depend_on_the_picture(self):
        answers = {name: self.run_with("--image", FILES[name], QUESTION) for name in FILES}
        self.assertNotEqual(answers["red"], answers["blue"])
        self.assertNotEqual(answers["red"], self.run_with(QUESTION))
        self.assertEqual(answers["red"], self.run_with("--image", FILES["red"], QUESTION))

    def test_paths_in_the_text(self):
        path = FILES["red"]
        answer = self.run_with(f"'{path}' {QUESTION}")
        self.assertEqual(answer, self.run_with("--image", path, f" {QUESTION}"))
        self.assertEqual(answer, self.run_with(f"{path.replace(' ', chr(92) + ' ')} {QUESTION}"))

    def test_tokens(self):
        ids = json.loads(
            pantry("tokenize", MODEL, "--json", "--context", context(IMAGE, TEXT), "--image", FILES["red"])
        )
        self.assertEqual(ids.count(max(ids)), seeing_model.N_ROWS)
        self.assertEqual(len(tiny_model.vocabulary()[0]) + 2, max(ids))

    def logits(self, *arguments):
        out = os.path.join(FOLDER.name, "logits")
        files = [part for name in ("red", "blue") for part in ("--image", FILES[name])]
        pantry("logits", MODEL, "--context", context(IMAGE, TEXT, IMAGE), *files, "-o", out, *arguments)
        with open(out, "rb") as file:
            return array.array("f", file.read())

    def test_slices_and_devices_agree(self):
        """A picture is never cut, whatever the slices are."""
        whole = self.logits("--device", "ref")
        for arguments in (["--slices", "1"], ["--slices", "3,7"], ["--device", "ref", "--slices", "5"]):
            self.assertLess(nmse(whole, self.logits(*arguments)), 1e-4, arguments)

    def test_refusals(self):
        ask = ["tokenize", MODEL, "--context", context(IMAGE, TEXT)]
        two = [part for name in FILES for part in ("--image", FILES[name])]
        self.assertIn("1 places for pictures", pantry(*ask, *two, fails=True))
        damaged = os.path.join(FOLDER.name, "damaged.png")
        with open(damaged, "wb") as file:
            file.write(PICTURES["red"][:-20])
        self.assertIn("image/png", pantry(*ask, "--image", damaged, fails=True))
        blind = pantry("run", "--local", BLIND, "--image", FILES["red"], QUESTION, fails=True)
        self.assertIn("cannot see pictures", blind)
        wrong = os.path.join(FOLDER.name, "wrong.gguf")
        seeing_model.write(os.path.join(FOLDER.name, "unused.gguf"), wrong, n_out=24)
        ask = ["logits", BLIND, "--mmproj", wrong, "--ids", ids_file(), "-o", damaged]
        self.assertIn("24 values", pantry(*ask, fails=True))


def ids_file():
    path = os.path.join(FOLDER.name, "ids")
    with open(path, "w") as file:
        file.write("5 6 7")
    return path


class Apis(unittest.TestCase):
    def ask(self, path, **body):
        status, _, reply = SERVICE.request("POST", path, {"model": "sees", **body})
        self.assertEqual(status, 200, reply)
        return reply

    def ollama(self, name, **more):
        messages = [{"role": "user", "content": QUESTION, "images": [encoded(name)]}]
        reply = self.ask("/api/chat", messages=messages, stream=False, options={"temperature": 0, "num_predict": 12})
        return reply["message"]["content"]

    def test_all_paths_agree(self):
        for name in PICTURES:
            expected = self.ollama(name)
            options = {"temperature": 0, "num_predict": 12}
            reply = self.ask("/api/generate", prompt=QUESTION, images=[encoded(name)], stream=False, options=options)
            self.assertEqual(reply["response"], expected)
            url = "data:image/png;base64," + encoded(name)
            parts = [{"type": "image_url", "image_url": {"url": url}}, TEXT]
            reply = self.ask(
                "/v1/chat/completions", messages=[{"role": "user", "content": parts}], max_tokens=12, temperature=0
            )
            self.assertEqual(reply["choices"][0]["message"]["content"], expected)
            parts = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": QUESTION}]
            reply = self.ask(
                "/v1/responses", input=[{"role": "user", "content": parts}], max_output_tokens=12, temperature=0
            )
            self.assertEqual(reply["output"][0]["content"][0]["text"], expected)
            source = {"type": "base64", "media_type": "image/png", "data": encoded(name)}
            parts = [{"type": "image", "source": source}, TEXT]
            reply = self.ask(
                "/v1/messages", messages=[{"role": "user", "content": parts}], max_tokens=12, temperature=0
            )
            self.assertEqual(reply["content"][0]["text"], expected)
            run = ["run", "--local", MODEL, "--temp", "0", "-n", "12", "--image", FILES[name], QUESTION]
            self.assertEqual(pantry(*run).strip(), expected.strip())
        self.assertNotEqual(self.ollama("red"), self.ollama("blue"))

    def test_follow_up_reads_nothing_again(self):
        first = [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded("blue")}},
                    TEXT,
                ],
            }
        ]
        reply = self.ask("/v1/messages", messages=first, max_tokens=4, temperature=0)
        answer = reply["content"][0]["text"]
        more = first + [{"role": "assistant", "content": answer}, {"role": "user", "content": "and now?"}]
        usage = self.ask("/v1/messages", messages=more, max_tokens=4, temperature=0)["usage"]
        self.assertGreater(usage["cache_read_input_tokens"], seeing_model.N_ROWS + len(QUESTION) // 2)

    def refused(self, path, **body):
        status, _, reply = SERVICE.request("POST", path, {"model": "sees", **body})
        self.assertGreaterEqual(status, 400)
        self.assertLess(status, 500, reply)
        return json.dumps(reply)

    def test_refusals(self):
        image = lambda data: [{"role": "user", "content": "x", "images": [data]}]
        self.assertIn("base64", self.refused("/api/chat", messages=image("***")))
        self.assertIn("not a PNG", self.refused("/api/chat", messages=image("aGVsbG8=")))
        parts = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}]
        refusal = self.refused("/v1/chat/completions", messages=[{"role": "user", "content": parts}])
        self.assertIn("not fetched", refusal)
        source = {"type": "url", "url": "http://127.0.0.1/a.png"}
        parts = [{"type": "image", "source": source}]
        self.assertIn(
            "base64", self.refused("/v1/messages", max_tokens=3, messages=[{"role": "user", "content": parts}])
        )
        self.assertIn("does not see", self.refused("/api/chat", model="blind", messages=image(encoded("red"))))

    def test_capability(self):
        for name, sees in (("sees", True), ("blind", False)):
            shown = SERVICE.request("POST", "/api/show", {"model": name})[2]
            self.assertEqual("vision" in shown["capabilities"], sees)


def nmse(expected, found):
    tail = found[-len(expected) :]
    return sum((a - b) ** 2 for a, b in zip(expected, tail)) / sum(a * a for a in expected)


class Transformers(unittest.TestCase):
    """Ids and logits of tiny random models, as transformers computed them."""

    def test_cases(self):
        root = os.path.join(DATA, "vision")
        families = (
            [f for f in sorted(os.listdir(root)) if os.path.exists(os.path.join(root, f, "cases.json"))]
            if os.path.isdir(root)
            else []
        )
        if not families:
            self.skipTest("the test data has no vision")
        path = os.path.join(FOLDER.name, "context.json")
        for family in families:
            folder = os.path.join(root, family)
            with open(os.path.join(folder, "cases.json")) as file:
                cases = json.load(file)
            for case in cases:
                with self.subTest(family=family, case=case["name"]):
                    self.check(folder, case, path)

    def check(self, folder, case, path):
        with open(path, "w") as file:
            json.dump(case["context"], file)
        images = os.path.join(os.path.dirname(folder), "images")
        ask = [os.path.join(folder, "model"), "--context", path]
        for name in case["images"]:
            ask += ["--image", os.path.join(images, name)]
        self.assertEqual(json.loads(pantry("tokenize", *ask, "--json")), case["input_ids"])
        out = os.path.join(FOLDER.name, "logits")
        pantry("logits", *ask, "-o", out)
        with open(os.path.join(folder, case["logits"]), "rb") as file:
            expected = array.array("f", file.read())
        with open(out, "rb") as file:
            found = array.array("f", file.read())
        lossy = any(name.endswith(".jpg") for name in case["images"])
        self.assertLess(nmse(expected, found), 1e-2 if lossy else 1e-3)


if __name__ == "__main__":
    unittest.main()
