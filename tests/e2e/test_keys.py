"""API keys: `pantry key`, which key a route takes, and that keys share nothing."""

import glob
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from unittest import mock

import service
import tiny_model

NAME = "tiny"
OPEN = {("GET", "/"), ("GET", "/health"), ("GET", "/v1/health"), ("GET", "/openapi.json")}
MANAGE = {
    *(("POST", f"/api/{name}") for name in ("pull", "push", "copy", "create", "blobs/")),
    ("GET", "/metrics"),
    ("POST", "/lora-adapters"),
    ("DELETE", "/api/delete"),
    ("HEAD", "/api/blobs/"),
}
# The model stays, and no registry is asked.
OTHERS = {"/api/pull": "localhost/no/pull", "/api/push": "localhost/no/push", "/api/delete": "nothing"}
BODY = {"model": NAME, "messages": [{"role": "user", "content": "Hello"}], "prompt": "Hello", "input": "Hello"}


def setUpModule():
    global FOLDER, MODELS
    FOLDER = tempfile.mkdtemp(prefix="pantry-keys-")
    path = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(path)
    MODELS = {NAME: path}


def tearDownModule():
    shutil.rmtree(FOLDER)


def routes():
    """[(method, path)] of the service's tables"""
    found = []
    for path in glob.glob(os.path.join(service.ROOT, "src/server/**/*.c"), recursive=True):
        with open(path, encoding="utf-8") as file:
            found += re.findall(r'^    \{"([A-Z]+)", "([^"]+)", \w+, PN_', file.read(), re.M)
    return found


def bearer(key):
    return {"Authorization": f"Bearer {key}"} if key else {}


def pantry(env, *arguments):
    return subprocess.run([service.PANTRY, *arguments], env=env, capture_output=True, text=True, timeout=60)


class Service(service.Service):
    def add(self, name, scope="infer"):
        done = pantry(self.env, "key", "add", name, "--scope", scope)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def remove(self, name):
        assert pantry(self.env, "key", "rm", name).returncode == 0

    @property
    def file(self):
        return os.path.join(self.env["PANTRY_HOME"], "keys.json")


class Case(unittest.TestCase):
    def setUp(self):
        self.service = Service(MODELS, quiet=False)
        self.addCleanup(self.service.stop)

    def status(self, method, path, key=None, body=None, **more):
        return self.service.request(method, path, body, {**bearer(key), **more})[0]


class Admission(Case):
    def test_every_route_and_key(self):
        """Which key opens which route; what is refused has no effect."""
        s = self.service
        infer, manage, removed = s.add("infer"), s.add("manage", "manage"), s.add("removed", "manage")
        s.remove("removed")
        wrong = "pk-" + "0" * 64
        keys = {None: 0, wrong: 0, removed: 0, "": 0, infer[:-1]: 0, infer + "0": 0, "x" * 9000: 0, infer: 1, manage: 2}
        table = routes()
        self.assertGreater(len(table), 28)
        self.assertLessEqual(OPEN | MANAGE, set(table))
        for key, level in keys.items():
            for method, path in table:
                needs = 0 if (method, path) in OPEN else 2 if (method, path) in MANAGE else 1
                tail = path + "nothing" if path.endswith("/") and path != "/" else path
                body = None if method == "GET" else {**BODY, "model": OTHERS.get(path, NAME)}
                for headers in (bearer(key), {"x-api-key": key or ""}):
                    status, got, reply = s.request(method, tail, body, headers)
                    with self.subTest(method=method, path=path, level=level, key=(key or "")[:5]):
                        self.assertEqual(status == 401, level == 0 and needs > 0)
                        self.assertEqual(status == 403, level == 1 and needs > 1)
                        self.assertEqual(got["WWW-Authenticate"], "Bearer" if status == 401 else None)
                        if status == 401 and path.startswith("/v1/messages"):
                            self.assertEqual(reply["error"]["type"], "authentication_error")
                        elif status in (401, 403) and method != "HEAD":
                            self.assertIn("error", reply)
            if not level:
                self.assertEqual(s.request("GET", "/api/ps", None, bearer(infer))[2]["models"], [])
                self.assertIn("pantry_prompt_tokens_total 0\n", s.request("GET", "/metrics", None, bearer(manage))[2])

    def test_every_host_origin_method_route_and_key(self):
        """What must not come in does not, whatever else is right about it; no page of others may read a reply."""
        s = self.service
        keys = {None: 0, "pk-" + "0" * 64: 0, s.add("infer"): 1, s.add("manage", "manage"): 2}
        hosts = {"localhost:11434": True, "evil.example": False}
        origins = {None: True, "http://localhost:3000": True, "http://evil.example": False}
        table = routes()

        def is_tail(route, path):
            return route.endswith("/") and route != "/" and path.startswith(route) and path != route

        paths = {path + "nothing" if path.endswith("/") and path != "/" else path for _, path in table}
        n = 0
        for path, method, host, origin, key in itertools.product(
            sorted(paths), ("GET", "POST", "PUT", "DELETE", "PATCH"), hosts, origins, keys
        ):
            route = next(((m, p) for m, p in table if m == method and (p == path or is_tail(p, path))), None)
            needs = 0 if route in OPEN else 2 if route in MANAGE else 1
            body = None if method == "GET" else {"model": "nothing"}  # what comes in fails at once
            headers = {**bearer(key), "Host": host, **({"Origin": origin} if origin else {})}
            status, got, _ = s.request(method, path, body, headers)
            n += 1
            with self.subTest(method=method, path=path, host=host, origin=origin, level=keys[key]):
                self.assertEqual(
                    got["Access-Control-Allow-Origin"], origin if hosts[host] and origins[origin] else None
                )
                if not hosts[host] or not origins[origin]:
                    self.assertEqual(status, 403)
                elif not route:
                    self.assertEqual(status, 405)
                elif keys[key] < needs:
                    self.assertEqual(status, 403 if keys[key] else 401)
                else:
                    self.assertNotIn(status, (401, 403, 405, 415))
        self.assertGreater(n, 2500)

    def test_head_preflight_and_unknown_paths(self):
        self.service.add("a")
        self.assertEqual(self.status("HEAD", "/api/tags"), 401)
        self.assertEqual(self.status("HEAD", "/health"), 200)
        self.assertEqual(self.status("OPTIONS", "/api/chat", Origin="http://localhost"), 204)
        self.assertEqual(self.status("GET", "/nothing"), 404)
        self.assertEqual(self.status("GET", "/api/chat"), 405)

    def test_a_refusal_does_not_wait_for_the_body(self):
        self.service.add("a")
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=60) as s:
            s.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
            self.assertIn(b" 401 ", s.recv(4096))

    def test_headers(self):
        """A bearer token goes before x-api-key; other schemes do not count."""
        key = self.service.add("a")
        self.assertEqual(self.status("GET", "/api/tags", Authorization=f"bearer  {key} "), 200)
        self.assertEqual(self.status("GET", "/api/tags", Authorization=f"Basic {key}"), 401)
        self.assertEqual(self.status("GET", "/api/tags", Authorization=key), 401)
        self.assertEqual(self.status("GET", "/api/tags", "wrong", **{"x-api-key": key}), 401)
        self.assertEqual(self.status("GET", "/api/tags", key, **{"x-api-key": "wrong"}), 200)
        self.assertEqual(self.status("GET", f"/api/tags?key={key}&api_key={key}"), 401)

    def test_changes_while_it_runs(self):
        s = self.service
        self.assertEqual(self.status("GET", "/api/tags"), 200)
        key, other = s.add("a"), s.add("b")
        self.assertEqual((self.status("GET", "/api/tags"), self.status("GET", "/api/tags", key)), (401, 200))
        s.remove("a")
        self.assertEqual((self.status("GET", "/api/tags", key), self.status("GET", "/api/tags", other)), (401, 200))
        s.remove("b")
        self.assertEqual(self.status("GET", "/api/tags"), 200)

    def test_a_damaged_file_lets_nobody_in(self):
        s = self.service
        key = s.add("a", "manage")
        with open(s.file, encoding="utf-8") as file:
            good = file.read()
        for bad in ("", "{}", good[:-20], good.replace("infer", "open").replace("manage", "open")):
            with open(s.file, "w", encoding="utf-8") as file:
                file.write(bad)
            for given in (None, key):
                status, _, reply = s.request("GET", "/api/tags", None, bearer(given))
                self.assertEqual(status, 500)
                self.assertNotIn(s.env["PANTRY_HOME"], reply["error"])
            self.assertEqual(self.status("GET", "/health"), 200)
            for action in ("list", "add"):
                done = pantry(s.env, "key", action)
                self.assertEqual(done.returncode, 1)
                self.assertIn(s.file, done.stderr)
            done = pantry(s.env, "serve", "--port", "0")
            self.assertEqual(done.returncode, 1)
            self.assertIn(s.file, done.stderr)
        with open(s.file, "w", encoding="utf-8") as file:
            file.write(good)
        self.assertEqual(self.status("GET", "/api/tags", key), 200)
        os.chmod(s.file, 0o644)
        self.assertEqual(self.status("GET", "/api/tags", key), 500)
        s.errors.seek(0)
        errors = [line["error"] for line in map(json.loads, s.errors) if "error" in line]
        self.assertEqual(len(errors), 9)
        self.assertIn(s.file, errors[0])

    def test_the_log_shows_no_key(self):
        s = self.service
        key = s.add("a")
        for given in (key, key[:-1] + "!", "pk-" + "1" * 64):
            self.status("GET", "/api/tags", given)
            self.status("POST", "/api/chat", given, BODY, **{"x-api-key": given})
        s.process.send_signal(signal.SIGTERM)
        self.assertEqual(s.process.wait(60), 0)
        s.errors.seek(0)
        log = s.errors.read()
        self.assertEqual(log.count('"method"'), 6)
        for secret in (key[3:20], "1" * 16, "pk-", "Bearer"):
            self.assertNotIn(secret, log)


class Isolation(Case):
    def cached(self, key, path="/v1/chat/completions"):
        content = "the same beginning " * 60
        body = {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 1}
        status, _, reply = self.service.request("POST", path, body, bearer(key))
        self.assertEqual(status, 200, reply)
        if path == "/v1/messages":
            return reply["usage"]["cache_read_input_tokens"]
        return reply["usage"]["prompt_tokens_details"]["cached_tokens"]

    def test_keys_share_no_prefix(self):
        s = self.service
        self.cached(None)
        self.assertGreater(self.cached(None), 500)
        a, b = s.add("a"), s.add("b")
        self.assertEqual(self.cached(a), 0)
        self.assertGreater(self.cached(a), 500)
        self.assertEqual(self.cached(b), 0)
        self.assertEqual(self.cached(s.add("c"), "/v1/messages"), 0)
        self.assertGreater(self.cached(b), 500)
        s.remove("a")
        self.assertEqual(self.cached(s.add("a", "manage")), 0)  # another key of that name

    def test_responses_belong_to_a_key(self):
        s = self.service
        a, b = s.add("a"), s.add("b", "manage")
        body = {"model": NAME, "input": "Hello", "max_output_tokens": 4}
        kept = s.request("POST", "/v1/responses", body, bearer(a))[2]["id"]
        path = f"/v1/responses/{kept}"
        self.assertEqual(self.status("GET", path, b), 404)
        self.assertEqual(self.status("DELETE", path, b), 404)
        status, _, reply = s.request("POST", "/v1/responses", {**body, "previous_response_id": kept}, bearer(b))
        self.assertEqual((status, reply["error"]["code"]), (400, "previous_response_not_found"))
        self.assertEqual(self.status("POST", "/v1/responses", a, {**body, "previous_response_id": kept}), 200)
        self.assertEqual(self.status("GET", path, a), 200)
        self.assertEqual(self.status("DELETE", path, a), 200)
        self.assertEqual(self.status("GET", path, a), 404)


class Commands(unittest.TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp(dir=FOLDER)
        self.env = {**os.environ, "PANTRY_HOME": os.path.join(folder, "home")}

    def pantry(self, *arguments):
        return pantry(self.env, *arguments)

    def test_key(self):
        first = self.pantry("key", "add")
        self.assertRegex(first.stdout, r"^pk-[0-9a-f]{64}\n$")
        self.assertRegex(first.stderr, "key-1 .* infer")
        second = self.pantry("key", "add", "admin", "--scope", "manage").stdout.strip()
        rows = json.loads(self.pantry("key", "list", "--json").stdout)
        self.assertEqual([(r["name"], r["scope"]) for r in rows], [("key-1", "infer"), ("admin", "manage")])
        self.assertEqual(rows[1]["last"], second[-4:])
        text = self.pantry("key", "list").stdout
        self.assertRegex(text, rf"admin +manage +\d{{4}}-\S+Z +\.\.\.{second[-4:]}")
        self.assertNotIn(second[-5:], text)
        self.assertEqual(self.pantry("key", "add", "admin").returncode, 1)
        self.assertEqual(self.pantry("key", "rm", "key-1").returncode, 0)
        self.assertEqual(self.pantry("key", "rm", "key-1").returncode, 1)
        self.assertEqual(len(json.loads(self.pantry("key", "list", "--json").stdout)), 1)

    def test_misuse(self):
        for arguments in (
            (),
            ("what",),
            ("rm",),
            ("list", "x"),
            ("add", "x", "y"),
            ("add", "--scope", "open"),
            ("add", "--json"),
            ("list", "--scope", "infer"),
        ):
            self.assertEqual(self.pantry("key", *arguments).returncode, 2, arguments)
        self.assertEqual(json.loads(self.pantry("key", "list", "--json").stdout), [])

    def test_addresses_need_a_key_or_public(self):
        done = self.pantry("serve", "--host", "0.0.0.0", "--port", "0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("key add", done.stderr)
        self.assertIn("--public", done.stderr)
        self.pantry("key", "add", "a")
        with mock.patch.dict(os.environ, self.env):
            s = Service(None, "--host", "0.0.0.0")
        self.addCleanup(s.stop)
        self.assertEqual(s.request("GET", "/api/tags")[0], 401)
        s.remove("a")
        self.assertEqual(s.request("GET", "/api/tags")[0], 401)  # without a key nobody may
        self.assertEqual(s.request("GET", "/api/tags", None, bearer(s.add("b")))[0], 200)


if __name__ == "__main__":
    unittest.main()
