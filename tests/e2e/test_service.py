"""The service itself: who may come in, what is refused, and that nothing is left behind."""

import http.client
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import service
import tiny_model

NAME = "tiny"


def setUpModule():
    global FOLDER, MODELS
    FOLDER = tempfile.mkdtemp(prefix="pantry-service-")
    path = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(path)
    MODELS = {NAME: path}


def tearDownModule():
    shutil.rmtree(FOLDER)


class Service(service.Service):
    def call(self, method, path, body=None, headers=None):
        """(status, body, headers)"""
        status, got, text = self.request(method, path, body, headers)
        return status, text, got

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body):
        return self.call("POST", path, body)


class Case(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.service = Service(MODELS, *cls.options)

    @classmethod
    def tearDownClass(cls):
        status = cls.service.stop()
        assert status == 0, status

    def chat(self, content="Hello", n=8, **more):
        options = {"num_predict": n, "temperature": 0}
        body = {"model": NAME, "messages": [{"role": "user", "content": content}], "options": options, "stream": False}
        return self.service.post("/api/chat", {**body, **more})

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.service.port), timeout=60)
        self.addCleanup(s.close)
        return s

    def wait_until(self, condition, seconds=30):
        """Polls, as the process is another one."""
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "this took too long")
            time.sleep(0.02)


def receive(s):
    data = b""
    while True:
        try:
            part = s.recv(65536)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part


class Admission(Case):
    HOSTS = {"127.0.0.1": True, "localhost:11434": True, "evil.example": False, "127.0.0.1.evil.example": False}
    ORIGINS = {
        None: True,
        "http://localhost:3000": True,
        "http://evil.example": False,
        "null": False,
        "https://localhost.evil.example": False,
    }
    TYPES = {"application/json": True, "text/plain": False, "application/x-www-form-urlencoded": False, None: False}
    ROUTES = [
        ("POST", "/api/chat"),
        ("POST", "/api/generate"),
        ("POST", "/api/embed"),
        ("POST", "/api/pull"),
        ("POST", "/api/show"),
        ("POST", "/v1/rerank"),
        ("POST", "/tokenize"),
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("GET", "/metrics"),
        ("GET", "/"),
    ]

    def status(self, method, path, host, origin, kind):
        name = "localhost/no/pull" if path == "/api/pull" else NAME  # no test asks a registry
        body = json.dumps({"model": name}) if method == "POST" else ""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        if origin is not None:
            lines.append(f"Origin: {origin}")
        if kind and method == "POST":
            lines.append(f"Content-Type: {kind}")
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=60) as s:
            s.sendall("\r\n".join([*lines, "", body]).encode())
            reply = receive(s).decode()
        allowed = "access-control-allow-origin" in reply.lower()
        return int(reply.split(" ", 2)[1]), allowed

    def test_every_combination(self):
        """Hosts, origins, types and routes: what may not come in has no effect, and no page may read the reply."""
        n = 0
        for (method, path), host, origin, kind in itertools.product(self.ROUTES, self.HOSTS, self.ORIGINS, self.TYPES):
            if method == "GET" and kind:
                continue
            status, readable = self.status(method, path, host, origin, kind)
            with self.subTest(method=method, path=path, host=host, origin=origin, type=kind):
                if not self.HOSTS[host] or not self.ORIGINS[origin]:
                    self.assertEqual(status, 403)
                    self.assertFalse(readable)
                elif method == "POST" and origin and not self.TYPES[kind]:
                    self.assertEqual(status, 415)
                else:
                    self.assertNotIn(status, (403, 415))
                    self.assertEqual(readable, origin is not None)
            n += 1
        self.assertGreater(n, 500)

    def test_preflight(self):
        good = {"Origin": "http://localhost:5173", "Access-Control-Request-Method": "POST"}
        status, _, headers = self.service.call("OPTIONS", "/api/chat", headers=good)
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (204, good["Origin"]))
        self.assertIn("POST", headers["Access-Control-Allow-Methods"])
        bad = {**good, "Origin": "https://evil.example"}
        status, _, headers = self.service.call("OPTIONS", "/api/chat", headers=bad)
        self.assertEqual(status, 403)
        self.assertIsNone(headers["Access-Control-Allow-Origin"])

    def test_paths_and_methods(self):
        for path in ("/nothing", "/api", "/api/chat/", "/api/../api/tags", "//", "/api/chat%00"):
            self.assertEqual(self.service.get(path)[0], 404, path)
        for method, path in (("GET", "/api/chat"), ("DELETE", "/api/tags"), ("PUT", "/api/chat")):
            self.assertEqual(self.service.call(method, path)[0], 405, path)
        self.assertEqual(self.service.call("HEAD", "/")[0], 200)
        self.assertEqual(self.service.get("/health")[1], {"status": "ok"})


class Bodies(Case):
    def raw(self, head, body=b""):
        s = self.connect()
        s.sendall(head.encode() + body)
        return receive(s)

    def test_what_is_no_json_object(self):
        for body in (b"", b"{", b"[]", b"7", b'"x"', b'{"model": "a", "model": "b"}', b"\xff\xfe", b'{"a": NaN}'):
            status, reply, _ = self.service.post("/api/chat", body)
            self.assertEqual(status, 400, body)
            self.assertIn("body", reply["error"])

    def test_depth(self):
        for depth, expected in ((200, "model is required"), (300, "nests deeper"), (100000, "nests deeper")):
            body = b'{"x": ' + b"[" * depth + b"]" * depth + b"}"
            status, reply, _ = self.service.post("/api/chat", body)
            self.assertEqual(status, 400)
            self.assertIn(expected, reply["error"])

    def test_too_large(self):
        head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        reply = self.raw(head + "Content-Length: 999999999999\r\n\r\n")
        self.assertIn(b" 413 ", reply.split(b"\r\n")[0])
        reply = self.raw(head + f"X: {'a' * 200000}\r\n\r\n")
        self.assertIn(reply.split(b" ")[1], (b"413", b"431"))

    def test_numbers_out_of_range(self):
        for name, value in (("num_predict", -3), ("num_ctx", -1), ("top_p", 2), ("temperature", -1), ("top_k", 1.5)):
            status, reply, _ = self.chat(options={name: value})
            self.assertEqual(status, 400)
            self.assertTrue(reply["error"].startswith(name), reply)

    def test_context_full(self):
        status, reply, _ = self.chat("word " * 300, options={"num_ctx": 200, "num_predict": 4})
        self.assertEqual(status, 400)
        self.assertRegex(reply["error"], r"\d+ tokens, .* 200")

    def test_unknown_models(self):
        for name in ("nothing", "../../etc/passwd", "/etc/passwd", "tiny.gguf", "a/b/c/d/e", "x" * 5000):
            status, reply, _ = self.service.post("/api/chat", {"model": name, "messages": []})
            self.assertEqual(status, 404, name)
            self.assertNotIn(self.service.folder, reply["error"])


class Overflow(Case):
    """What the context cannot hold is left out only where that is asked for, and the reply says how much."""

    def generate(self, prompt, status=200, **more):
        options = {"num_ctx": 100, "temperature": 0, **more.pop("options", {})}
        body = {"model": NAME, "prompt": prompt, "raw": True, "stream": False, "options": options, **more}
        got = self.service.post("/api/generate", body)
        self.assertEqual(got[0], status, got)
        return got[1]

    def ids(self, text):
        return self.service.post("/tokenize", {"model": NAME, "content": text})[1]["tokens"]

    def go_on(self, ids, n):
        """n tokens after `ids`: (their ids, their text)"""
        body = {"model": NAME, "prompt": ids, "max_tokens": n, "temperature": 0, "logprobs": 1}
        choice = self.service.post("/v1/completions", body)[1]["choices"][0]
        return [i for token in choice["logprobs"]["tokens"] for i in self.ids(token)], choice["text"]

    def test_shift(self):
        """Each time half of the tokens after the first ones are left out, and the answer follows from the others."""
        prompt = "abcdefghij" * 3
        for keep in (None, 10, -1):
            options = {"num_predict": 200} | ({} if keep is None else {"num_keep": keep})
            reply = self.generate(prompt, options=options, shift=True)
            ids, text, made, left_out = self.ids(prompt), "", 0, 0
            kept = {None: 4, 10: 10, -1: 50}[keep]
            while made < 200:
                n = min(200 - made, 101 - len(ids))
                more, part = self.go_on(ids, n)
                ids, text, made = ids + more, text + part, made + n
                if made < 200:
                    n_out = (100 - kept + 1) // 2
                    ids, left_out = ids[:kept] + ids[kept + n_out :], left_out + n_out
            self.assertEqual((reply["eval_count"], reply["done_reason"]), (200, "length"))
            self.assertEqual(reply["shifted_tokens"], left_out)
            self.assertEqual(reply["response"], text)
            self.assertEqual(reply["prompt_eval_count"], len(self.ids(prompt)))

    def test_a_shifted_stream(self):
        body = {"model": NAME, "messages": [{"role": "user", "content": "Hello"}], "shift": True}
        status, text, _ = self.service.post(
            "/api/chat", {**body, "options": {"num_ctx": 100, "num_predict": 150, "temperature": 0}}
        )
        lines = [json.loads(line) for line in text.splitlines()]
        self.assertEqual((status, lines[-1]["eval_count"]), (200, 150))
        self.assertGreater(lines[-1]["shifted_tokens"], 0)
        self.assertGreater(sum(line["message"]["content"] != "" for line in lines), 100)

    def test_without_end(self):
        """A model that does not end stops after ten contexts; one that was told to fill the context, there."""
        self.assertEqual(self.generate("abc", shift=True)["eval_count"], 1000)
        reply = self.generate("abc", shift=True, options={"num_predict": -2})
        self.assertEqual((reply["eval_count"], reply.get("shifted_tokens")), (101 - len(self.ids("abc")), None))

    def test_only_where_it_is_asked_for(self):
        for more in ({}, {"shift": False}):
            reply = self.generate("abc", **more)
            self.assertEqual((reply["eval_count"], reply["done_reason"]), (101 - len(self.ids("abc")), "length"))
            self.assertNotIn("shifted_tokens", reply)

    def test_truncate(self):
        prompt = "abcdefghij" * 20
        self.assertIn("allowed 100", str(self.generate(prompt, 400)))
        self.assertIn("allowed 100", str(self.generate(prompt, 400, truncate=False, shift=True)))
        ids = self.ids(prompt)
        for options, room, kept in (({"num_predict": 8}, 8, 4), ({"num_predict": 90, "num_keep": 20}, 50, 20)):
            reply = self.generate(prompt, truncate=True, options=options)
            n_out = len(ids) - (100 - room)
            self.assertEqual((reply["truncated_tokens"], reply["prompt_eval_count"]), (n_out, 100 - room))
            n = min(options["num_predict"], room + 1)
            self.assertEqual(reply["response"], self.go_on(ids[:kept] + ids[kept + n_out :], n)[1])
        self.assertNotIn("truncated_tokens", self.generate("abc", truncate=True))


class Clients(Case):
    options = ("--max-requests", "2", "--read-timeout", "2")

    def begin(self, n=100000):
        """A stream of which the first line has arrived."""
        body = json.dumps({"model": NAME, "prompt": "Hello", "options": {"num_predict": n, "num_ctx": 16000}}).encode()
        s = self.connect()
        s.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertIn(b"200 OK", s.recv(4096))
        return s

    def test_a_client_that_leaves(self):
        for _ in range(3):
            self.begin().close()
            self.wait_until(lambda: self.service.metric("requests_running") == 0)

    def test_too_many_requests(self):
        first, second = self.begin(), self.begin()
        status, reply, headers = self.chat()
        self.assertEqual((status, headers["Retry-After"]), (503, "1"))
        self.assertIn("busy", reply["error"])
        first.close()
        second.close()
        self.wait_until(lambda: self.chat()[0] == 200)

    def test_slow_requests(self):
        """One that sends a byte now and then is closed as soon as one that sends nothing; others do not notice."""
        slow = [self.connect() for _ in range(50)]
        for s in slow:
            s.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        began = time.monotonic()
        open_ones = list(slow)
        while open_ones and time.monotonic() - began < 20:
            for s in list(open_ones):
                try:
                    s.sendall(b"x")
                    s.setblocking(False)
                    if s.recv(100) == b"":
                        open_ones.remove(s)
                except BlockingIOError:
                    pass
                except OSError:
                    open_ones.remove(s)
                finally:
                    s.setblocking(True)
            self.assertEqual(self.chat(n=1)[0], 200)
        self.assertEqual(open_ones, [])

    def test_a_slow_reader_stalls_nobody(self):
        s = self.begin()
        for _ in range(5):
            self.assertEqual(self.chat()[0], 200)
        s.close()
        self.wait_until(lambda: self.service.metric("requests_running") == 0)


class Together(Case):
    def resources(self):
        pid = self.service.process.pid
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    @unittest.skipUnless(os.path.exists("/proc/self/fd"), "needs /proc")
    def test_many_clients(self):
        """Each greedy answer equals the one it gets alone; descriptors and threads return to the start."""
        prompts = [f"Tell me about {i}" for i in range(8)]
        alone = [self.chat(p, n=24)[1]["message"]["content"] for p in prompts]
        before = self.resources()
        wrong, n_done = [], [0]

        def client(seed):
            for i in range(6):
                k = (seed * 7 + i) % len(prompts)
                if (seed + i) % 5 == 0:
                    body = {"model": NAME, "prompt": prompts[k], "options": {"num_predict": 4000}}
                    data = json.dumps(body).encode()
                    with socket.create_connection(("127.0.0.1", self.service.port)) as s:
                        head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                        s.sendall(head % len(data) + data)
                        s.recv(10)
                    continue
                status, reply, _ = self.chat(prompts[k], n=24)
                n_done[0] += 1
                if status != 200 or reply["message"]["content"] != alone[k]:
                    wrong.append((k, status, reply))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assertGreater(n_done[0], 100)
        self.wait_until(lambda: self.service.metric("requests_running") == 0)
        self.wait_until(lambda: self.resources() <= (before[0] + 2, before[1] + 2))

    def test_clients_that_leave_at_once(self):
        """Some before their stream begins; the sanitizers find what is not freed."""
        body = json.dumps({"model": NAME, "prompt": "Hello", "stream": True, "max_tokens": 16}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.chat(n=1)
        for i in range(60):
            with socket.create_connection(("127.0.0.1", self.service.port)) as s:
                s.sendall(head + body)
                if i % 3 == 0:
                    s.recv(10)
        self.assertTrue(self.service.becomes_idle())
        self.assertEqual(self.chat(n=1)[0], 200)

    @unittest.skipUnless(os.path.exists("/proc/self/fd"), "needs /proc")
    def test_clients_that_leave_at_random(self):
        """40 clients, of which a fifth leaves after some lines: the others' answers are those that they get alone."""
        prompts = [f"Write about {i}" for i in range(10)]
        alone = [self.chat(p, n=20)[1]["message"]["content"] for p in prompts]
        before = self.resources()
        wrong, n_left = [], [0]

        def client(seed):
            rng = random.Random(seed)
            for _ in range(5):
                k, lines = rng.randrange(len(prompts)), rng.randrange(20) if rng.random() < 0.2 else None
                messages = [{"role": "user", "content": prompts[k]}]
                options = {"num_predict": 20 if lines is None else 4000, "temperature": 0}
                c = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=service.PATIENCE)
                c.request("POST", "/api/chat", json.dumps({"model": NAME, "messages": messages, "options": options}))
                reply, text = c.getresponse(), ""
                for i, line in enumerate(reply):
                    if i == lines:
                        n_left[0] += 1
                        break
                    text += json.loads(line)["message"]["content"]
                if lines is None and text != alone[k]:
                    wrong.append((k, text))
                c.close()

        threads = [threading.Thread(target=client, args=(i,)) for i in range(40)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assertGreater(n_left[0], 10)
        self.assertTrue(self.service.becomes_idle())
        self.wait_until(lambda: self.resources() <= (before[0] + 2, before[1] + 2))

    @unittest.skipUnless(os.path.exists("/proc/self/smaps"), "needs /proc")
    def test_memory_comes_back(self):
        """After 300 requests at once and without the model, the server holds little more than when it started."""
        with open(service.PANTRY, "rb") as f:
            program = f.read()
        if b"__asan_init" in program or b"__tsan_init" in program:
            self.skipTest("the allocators of sanitizers keep what is freed")
        s = Service(MODELS)

        def held():
            with open(f"/proc/{s.process.pid}/status") as f:
                return int(re.search(r"RssAnon:\s+(\d+) kB", f.read()).group(1))

        def client(i):
            for k in range(2):
                body = {"model": NAME, "prompt": f"Say {i} {k} " * 20, "stream": True, "max_tokens": 16}
                self.assertEqual(s.post("/v1/completions", body)[0], 200)

        before = held()
        threads = [threading.Thread(target=client, args=(i,)) for i in range(150)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertTrue(s.becomes_idle())
        self.assertEqual(s.post("/api/generate", {"model": NAME, "keep_alive": 0})[0], 200)
        self.wait_until(lambda: held() - before < 1536, seconds=10)
        self.assertEqual(s.stop(), 0)

    def test_a_system_text_is_read_once(self):
        """8 conversations with one system text of 2,000 tokens, started together, read little more than one does."""
        read = lambda: self.service.metric("prompt_tokens_total")

        def together(name, n):
            before, system = read(), f"You are {name}. " + "Be kind and brief. " * 116

            def ask(i):
                messages = [{"role": "system", "content": system}, {"role": "user", "content": f"{i}?"}]
                self.assertEqual(self.chat(messages=messages, n=2)[0], 200)

            threads = [threading.Thread(target=ask, args=(i,)) for i in range(n)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            return read() - before

        one, eight = together("Ann", 1), together("Bob", 8)
        self.assertGreater(one, 1900)
        self.assertLessEqual(eight, 1.15 * one)

    def test_prefixes_are_shared(self):
        long = "the same beginning " * 60
        self.chat(long + "A", n=1)
        before = self.service.metric("prompt_tokens_total")
        self.chat(long + "B", n=1)
        self.assertLess(self.service.metric("prompt_tokens_total") - before, 80)


class Life(unittest.TestCase):
    def test_stopping_finishes_streams(self):
        s = Service(MODELS)
        replies = []

        def ask():
            options = {"num_predict": 200, "temperature": 0}  # sampled, it could end before
            body = {"model": NAME, "prompt": "Hello", "options": options, "stream": False}
            replies.append(s.post("/api/generate", body))

        thread = threading.Thread(target=ask)
        thread.start()
        while s.process.poll() is None and s.metric("requests_running") == 0 and not replies:
            time.sleep(0.005)
        self.assertEqual(s.stop(signal.SIGINT), 0)
        thread.join()
        self.assertEqual(replies[0][0], 200)
        self.assertEqual(replies[0][1]["eval_count"], 200)

    def test_keep_alive(self):
        s = Service(MODELS, "--keep-alive", "-1")
        self.addCleanup(s.stop)
        body = {"model": NAME, "prompt": "Hello", "options": {"num_predict": 2}, "stream": False}
        s.post("/api/generate", body)
        self.assertEqual(len(s.get("/api/ps")[1]["models"]), 1)
        status, reply, _ = s.post("/api/generate", {"model": NAME, "keep_alive": 0, "stream": False})
        self.assertEqual((status, reply["done_reason"]), (200, "unload"))
        end = time.monotonic() + 20
        while s.get("/api/ps")[1]["models"]:
            self.assertLess(time.monotonic(), end)
        for forever in (-1, "-1m", 1e300, "1e300h"):
            self.assertEqual(s.post("/api/generate", {**body, "keep_alive": forever})[0], 200)
            self.assertGreater(s.get("/api/ps")[1]["models"][0]["expires_at"], "2099")
        for wrong in ("soon", "5x", {}, [1], "nans", "infm", "", "5m-"):
            self.assertEqual(s.post("/api/generate", {**body, "keep_alive": wrong})[0], 400, wrong)

    def refused(self, *options):
        r = subprocess.run([service.PANTRY, "serve", *options], capture_output=True, text=True, timeout=60)
        return r.returncode, r.stderr

    def test_addresses(self):
        status, text = self.refused("--host", "0.0.0.0", "--port", "0")
        self.assertEqual(status, 1)
        self.assertIn("--public", text)
        self.assertEqual(self.refused("--host", "127.0.0.1:x")[0], 2)
        s = Service(MODELS, "--host", "localhost")
        self.addCleanup(s.stop)
        status, text = self.refused("--host", f"127.0.0.1:{s.port}")
        self.assertEqual(status, 1)
        self.assertIn(f"127.0.0.1:{s.port}", text)

    def test_log(self):
        s = Service(MODELS, quiet=False)
        s.get("/api/tags")
        s.get("/nothing")
        s.process.send_signal(signal.SIGTERM)
        s.process.wait(60)
        s.errors.seek(0)
        lines = [e for e in map(json.loads, s.errors) if "event" not in e]
        s.stop()
        self.assertEqual(
            [(e["method"], e["path"], e["status"]) for e in lines],
            [("GET", "/api/tags", 200), ("GET", "/nothing", 404)],
        )


if __name__ == "__main__":
    unittest.main()
