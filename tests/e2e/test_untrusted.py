"""Failures of other services that are known, as tests: requests, media, pulls. docs/testing.md has the whole list."""

import gzip
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import unittest

import service
import tiny_model

NAME = "tiny"
MESSAGES = [{"role": "user", "content": "Hello"}]


def setUpModule():
    global FOLDER, MODELS, SERVICE
    FOLDER = tempfile.mkdtemp(prefix="pantry-untrusted-")
    path = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(path)
    MODELS = {NAME: path}
    SERVICE = service.Service(MODELS)


def tearDownModule():
    status = SERVICE.stop()
    shutil.rmtree(FOLDER)
    assert status == 0, status


class Case(unittest.TestCase):
    def refused(self, path, body, names):
        status, _, reply = SERVICE.request("POST", path, body)
        self.assertEqual(status, 400, (body, reply))
        self.assertIn(names, json.dumps(reply))


class Requests(Case):
    def test_a_million_answers(self):
        """26"""
        for n in (1000000, 1 << 31, 1 << 63, -1):
            self.refused(
                "/v1/chat/completions",
                {"model": NAME, "messages": MESSAGES, "n": n},
                "n",
            )
            self.refused("/v1/completions", {"model": NAME, "prompt": "Hello", "n": n}, "n")

    def test_counts(self):
        """27: negative and huge ones, in every API"""
        chat = {"model": NAME, "messages": MESSAGES}
        self.refused("/api/chat", {**chat, "options": {"num_ctx": 1 << 70}}, "too big")
        for wrong in (-1, -(1 << 31), -(1 << 63), 1 << 62, 1e300, 1.5, "1"):
            for field in ("max_tokens", "max_completion_tokens"):
                self.refused("/v1/chat/completions", {**chat, field: wrong}, field)
            self.refused("/v1/messages", {**chat, "max_tokens": wrong}, "max_tokens")
            self.refused(
                "/v1/responses",
                {"model": NAME, "input": "Hello", "max_output_tokens": wrong},
                "max_output_tokens",
            )
            self.refused(
                "/v1/chat/completions",
                {**chat, "logprobs": True, "top_logprobs": wrong},
                "top_logprobs",
            )
            self.refused(
                "/v1/embeddings",
                {"model": NAME, "input": "Hello", "dimensions": wrong},
                "dimensions",
            )
            for field in ("num_ctx", "num_batch"):
                self.refused("/api/chat", {**chat, "options": {field: wrong}}, field)
            if wrong != -1:  # -1 means: no limit, off, all
                for field in ("num_predict", "top_k", "repeat_last_n"):
                    self.refused("/api/chat", {**chat, "options": {field: wrong}}, field)
            self.refused(
                "/v1/rerank",
                {"model": NAME, "query": "a", "documents": ["b"], "top_n": wrong},
                "top_n",
            )

    def test_a_full_context(self):
        """28: the answer ends cleanly, and says why"""
        options = {"num_ctx": 200, "num_predict": 100000, "temperature": 0}
        status, _, reply = SERVICE.request(
            "POST",
            "/api/generate",
            {"model": NAME, "prompt": "Hello", "stream": False, "options": options},
        )
        self.assertEqual((status, reply["done"], reply["done_reason"]), (200, True, "length"))
        self.assertLessEqual(reply["prompt_eval_count"] + reply["eval_count"], 201)

    def test_constant_time(self):
        """30: there is nothing to measure in a test, so the source is read: hashes are compared by one function only"""
        with open(os.path.join(service.ROOT, "src/server/keys.c"), encoding="utf-8") as file:
            find = re.search(r"\nconst struct pn_key \*pn_keys_find\(.*?\n}\n", file.read(), re.S).group()
        self.assertIn("CRYPTO_memcmp(hash", find)
        self.assertNotRegex(find, r"\b(strcmp|memcmp|strncmp)\(|break|return .*\[i\]")


def parentheses(n):
    return "root ::= " + "(" * n + '"a"' + ")" * n


def chain(step, n=5000):
    """Rules that lead from one to the next."""
    return "\n".join(
        ["root ::= r0", *(f"r{i} ::= " + step.replace("{}", str(i + 1)) for i in range(n)), f'r{n} ::= "z"']
    )


def deep(n):
    schema = {"type": "string"}
    for _ in range(n):
        schema = {"type": "array", "items": schema}
    return schema


class Grammars(Case):
    CHAINS = ["r{}", '"a" r{} | "b"', 'r{} "a" | r{}', "r{} r{}", '(r{} | "x")*', '"a"? r{}']

    def ask(self, **fields):
        return SERVICE.request("POST", "/v1/completions", {"model": NAME, "prompt": "x", "max_tokens": 4, **fields})

    def is_alive(self):
        self.assertEqual(SERVICE.request("GET", "/health")[0], 200)

    def test_nested_parentheses_and_chains(self):
        """18: 400, or an answer where the grammar is fine"""
        self.refused("/v1/completions", {"model": NAME, "prompt": "x", "grammar": parentheses(60000)}, "grammar")
        for step in self.CHAINS:
            status, _, reply = self.ask(grammar=chain(step))
            self.assertIn(status, (200, 400), (step, reply))
            if status == 400:
                self.assertIn("grammar", reply["error"]["message"], step)
        self.is_alive()

    def test_empty_loops_end(self):
        """19"""
        for grammar in (
            'root ::= ("a"*)*',
            'root ::= (("a"*)*)*',
            'root ::= ("a"? | ""*)+',
            'root ::= x*\nx ::= x* | ""',
        ):
            status, _, reply = self.ask(grammar=grammar)
            self.assertEqual(status, 200, (grammar, reply))
            self.assertEqual(set(reply["choices"][0]["text"]) - {"a"}, set(), grammar)

    def test_deep_schemas_and_malformed_patterns(self):
        """20"""
        forms = [
            (deep(400), "deep"),
            ({"type": "string", "pattern": "(" * 400 + "a" + ")" * 400}, "pattern"),
            *(
                ({"type": "string", "pattern": p}, "pattern")
                for p in ("(", "[a", "a{2,1}", "*a", "\\", "(?<n>a", "a**")
            ),
        ]
        for schema, names in forms:
            whole = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            body = {"model": NAME, "messages": MESSAGES}
            self.refused("/v1/chat/completions", {**body, "response_format": whole}, names)
            self.refused("/api/chat", {**body, "format": schema}, names)
            text = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
            self.refused("/v1/responses", {"model": NAME, "input": "x", "text": text}, names)
            output = {"format": {"type": "json_schema", "schema": schema}}
            self.refused("/v1/messages", {**body, "max_tokens": 4, "output_config": output}, names)
        self.is_alive()

    def test_extremes_end_within_5_seconds_and_1_GiB(self):
        """of processor time, and of addresses"""

        def bound():
            resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

        sources = {
            "parentheses": parentheses(60000),
            "few parentheses": parentheses(200),
            **{f"chain {i}": chain(step) for i, step in enumerate(self.CHAINS)},
            "left recursion": 'root ::= root "+" root | root "*" root | "(" root ")" | [0-9]+',
            "left recursion through 5,000": "root ::= r0\n"
            + "\n".join(f'r{i} ::= r{(i + 1) % 5000} "x" | "y"' for i in range(5000)),
            "empty loops": 'root ::= (("a"*)* ("b"?)* )*',
            "repetitions": 'root ::= ("a"{1000000}){1000000}',
            "large repetitions": "root ::= [a-z]{0,1000000} [b-y]{0,1000000} root?",
            "ambiguous": 'root ::= root root | root root root | "a" | ""',
            "many alternatives": "root ::= " + " | ".join(f'"{i:x}" root?' for i in range(20000)),
        }
        strings = json.dumps(["", "a" * 300, "1+2*(3+4)*5", "z", "(" * 2000, "ab" * 200])
        with tempfile.TemporaryDirectory() as folder:
            strings_file = os.path.join(folder, "strings.json")
            with open(strings_file, "w") as file:
                file.write(strings)
            for name, source in sources.items():
                path = os.path.join(folder, "x.gbnf")
                with open(path, "w") as file:
                    file.write(source)
                command = [service.PANTRY, "grammar", "--gbnf", path, "--strings", strings_file]
                done = subprocess.run(command, preexec_fn=bound, capture_output=True, text=True)
                self.assertIn(done.returncode, (0, 1), (name, done.stderr[-300:]))
                if done.returncode == 0:
                    self.assertEqual({type(v) for v in json.loads(done.stdout)}, {bool}, name)
                else:
                    self.assertRegex(done.stderr, "^pantry: .", name)


class Media(Case):
    def test_pictures_are_not_fetched(self):
        """33: no request leaves, whatever the address says"""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            for host in (
                "127.0.0.1",
                "localhost",
                "[::ffff:127.0.0.1]",
                "169.254.169.254",
            ):
                url = f"http://{host}:{port}/x.png"
                parts = [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "What is it?"},
                ]
                self.refused(
                    "/v1/chat/completions",
                    {"model": NAME, "messages": [{"role": "user", "content": parts}]},
                    "image_url",
                )
                image = [{"type": "image", "source": {"type": "url", "url": url}}]
                body = {
                    "model": NAME,
                    "max_tokens": 3,
                    "messages": [{"role": "user", "content": image}],
                }
                self.refused("/v1/messages", body, "image")
                item = {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": url}],
                }
                self.refused("/v1/responses", {"model": NAME, "input": [item]}, "input_image")
                body = {
                    "model": NAME,
                    "messages": [{"role": "user", "content": "x", "images": [url]}],
                }
                self.refused("/api/chat", body, "images")
            with self.assertRaises(BlockingIOError):
                listener.accept()

    def test_slots(self):
        """35: no route writes a file that a client names"""
        for path in ("/slots/0?action=save", "/slots/0?action=restore", "/slots"):
            self.assertIn(SERVICE.request("POST", path, {"filename": "../../x"})[0], (404, 405))

    def test_compressed_bodies(self):
        """38: nothing is unpacked"""
        body = gzip.compress(json.dumps({"model": NAME, "messages": MESSAGES}).encode() + b" " * 1000000)
        status, _, reply = SERVICE.request("POST", "/api/chat", body, {"Content-Encoding": "gzip"})
        self.assertEqual(status, 400)
        self.assertIn("not JSON", reply["error"])

    def test_markup(self):
        """44: what a model or a client says is data, which no browser takes for a page"""
        bad = "<img src=x onerror=alert(1)>"
        for method, path, body in (
            ("POST", "/api/show", {"model": bad}),
            ("POST", "/v1/chat/completions", {"model": bad, "messages": MESSAGES}),
            (
                "POST",
                "/api/chat",
                {
                    "model": NAME,
                    "messages": [{"role": "user", "content": bad}],
                    "stream": False,
                },
            ),
            (
                "POST",
                "/apply-template",
                {"model": NAME, "messages": [{"role": "user", "content": bad}]},
            ),
            ("GET", "/%3Cimg%20src=x%20onerror=alert(1)%3E", None),
            ("GET", "/v1/models/%3Cimg%20src=x%20onerror=alert(1)%3E", None),
        ):
            _, headers, _ = SERVICE.request(method, path, body)
            self.assertRegex(headers["Content-Type"], "^application/json")
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        body = {"model": NAME, "messages": MESSAGES, "stream": True, "max_tokens": 2}
        for path, kind in (
            ("/v1/chat/completions", "text/event-stream"),
            ("/v1/messages", "text/event-stream"),
            ("/api/chat", "application/x-ndjson"),
        ):
            sent = body if path != "/api/chat" else {k: v for k, v in body.items() if k != "max_tokens"}
            _, headers, _ = SERVICE.request("POST", path, sent)
            self.assertTrue(headers["Content-Type"].startswith(kind), headers["Content-Type"])
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")


class Paths(Case):
    def test_errors_name_no_folder(self):
        """43: a damaged model, a damaged store, names that try to leave it"""
        s = service.Service(MODELS)
        self.addCleanup(s.stop)
        home = s.env["PANTRY_HOME"]
        blobs = os.path.join(home, "models", "blobs")
        blob = max(
            (os.path.join(blobs, name) for name in os.listdir(blobs)),
            key=os.path.getsize,
        )
        with open(blob, "r+b") as file:
            file.seek(4)
            file.write(b"\xff" * 60)
        body = {
            "model": NAME,
            "messages": MESSAGES,
            "max_tokens": 3,
            "prompt": "x",
            "input": "x",
            "content": "x",
        }
        calls = [
            ("/api/chat", ["model", "messages"]),
            ("/api/generate", ["model", "prompt"]),
            ("/api/embed", ["model", "input"]),
        ]
        calls += [
            ("/v1/chat/completions", ["model", "messages"]),
            ("/v1/messages", ["model", "messages", "max_tokens"]),
        ]
        calls += [
            ("/v1/responses", ["model", "input"]),
            ("/v1/embeddings", ["model", "input"]),
            ("/tokenize", ["model", "content"]),
        ]
        n = 0
        for name in (NAME, "../../etc/passwd", "nothing"):
            for path, fields in calls:
                sent = {**{field: body[field] for field in fields}, "model": name}
                status, _, reply = s.request("POST", path, sent)
                with self.subTest(path=path, model=name):
                    self.assertGreaterEqual(status, 400)
                    self.assertNotIn(s.folder, json.dumps(reply))
                    self.assertNotIn("blobs", json.dumps(reply))
                n += "sha256-" in json.dumps(reply)
        self.assertGreater(n, 5)  # they do say which file
        manifests = os.path.join(home, "models", "manifests")
        for folder, _, names in os.walk(manifests):
            for name in names:
                with open(os.path.join(folder, name), "w") as file:
                    file.write("{")
        for method, path, sent in (
            ("DELETE", "/api/delete", {"model": NAME}),
            ("POST", "/api/copy", {"source": NAME, "destination": "b"}),
        ):
            status, _, reply = s.request(method, path, sent)
            self.assertNotIn(s.folder, json.dumps(reply))


if __name__ == "__main__":
    unittest.main()
