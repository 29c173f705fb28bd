"""Commands about models through a service on another machine: a name that only a proxy of this process resolves."""

import json
import os
import random
import socket
import socketserver
import tempfile
import threading
import unittest

import test_cli as cli
import tiny_model
from registry_stub import Registry
from service import PATIENCE, Service
from terminal import Terminal

FAR = "http://far.example:11434"
MIB = 1 << 20


def setUpModule():
    global BASE
    cli.setUpModule()
    BASE = os.path.join(cli.FOLDER, "base.gguf")
    tiny_model.write(BASE, template=False)


def tearDownModule():
    cli.tearDownModule()


class Proxy(socketserver.ThreadingTCPServer):
    """Passes what is for FAR to a service of this machine, whatever that answers; `paths` has what came."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.to, self.paths = port, []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class ProxyHandler(socketserver.StreamRequestHandler):
    def handle(self):
        method, url, _ = self.rfile.readline().decode().split()
        lines = []
        while (line := self.rfile.readline().decode().rstrip("\r\n")) != "":
            if line.split(":")[0].lower() not in ("host", "connection", "proxy-connection"):
                lines.append(line)
        length = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")]
        path = url.removeprefix(FAR)
        self.server.paths.append(f"{method} {path}")
        head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.server.to}", "Connection: close", *lines]
        with socket.create_connection(("127.0.0.1", self.server.to), PATIENCE) as to:
            to.sendall(("\r\n".join(head) + "\r\n\r\n").encode() + self.rfile.read(sum(length)))
            while piece := to.recv(1 << 16):
                self.wfile.write(piece)


class Remote(cli.Case):
    arguments = []

    def keys(self, home):
        """Makes keys before the service starts."""

    def setUp(self):
        home = tempfile.mkdtemp(dir=cli.FOLDER)
        self.keys(home)
        self.service = Service({"tiny": cli.MODEL, "me/base:1": BASE}, *self.arguments, home=home)
        self.addCleanup(lambda: self.service.process.poll() is None and self.service.stop())
        self.proxy = Proxy(self.service.port)
        self.addCleanup(self.proxy.close)
        env = {k: v for k, v in cli.ENV.items() if not k.lower().endswith("_proxy") and k != "PANTRY_API_KEY"}
        self.there = {**env, "PANTRY_HOME": self.service.env["PANTRY_HOME"]}  # on that machine
        self.home = tempfile.mkdtemp(dir=cli.FOLDER)
        self.env = {
            **env,
            "PANTRY_HOME": self.home,
            "PANTRY_HOST": FAR,
            "http_proxy": f"http://127.0.0.1:{self.proxy.server_address[1]}",
        }

    def same(self, *arguments):
        """The output is that of the command on the service's machine."""
        here, there = self.good(*arguments), self.good(*arguments, env=self.there)
        self.assertEqual(here, there)
        return here

    def tags(self):
        return sorted(m["name"] for m in self.service.request("GET", "/api/tags")[2]["models"])


class Reading(Remote):
    def test_list(self):
        out = self.same("list")
        self.assertRegex(out, r"\ntiny +chat +\d+ kB +pantry +in the store\n")
        self.assertRegex(out, r"\nme/base:1 +base ")
        self.assertEqual(
            json.loads(self.good("list", "--json")), json.loads(self.good("list", "--json", env=self.there))
        )
        self.proxy.paths.clear()
        self.same("list", "--names")
        self.assertEqual(self.proxy.paths, ["GET /", "GET /api/tags"])
        self.assertEqual(os.listdir(self.home), [])  # nothing is here

    def test_show(self):
        path = os.path.join(self.service.folder, "Modelfile")
        with open(path, "w") as file:
            file.write("FROM tiny\nSYSTEM Say little.\nPARAMETER temperature 0\nLICENSE be kind\n")
        self.good("create", "terse", "-f", path, env=self.there)
        for name in ("tiny", "me/base:1", "terse"):
            self.same("show", name)
            here, there = (json.loads(self.good("show", name, "--json", env=e)) for e in (self.env, self.there))
            self.assertEqual(here, there)
            for part in ("--modelfile", "--tensors", "--metadata"):
                self.same("show", name, part)
        for part in ("--system", "--parameters", "--license", "--template"):
            self.same("show", "terse", part)
        self.assertIn("model 'nosuch' not found", self.bad(1, "show", "nosuch"))
        self.proxy.paths.clear()
        self.assertIn("architecture", self.good("show", cli.MODEL))  # a file is of this machine
        self.assertEqual(self.proxy.paths, [])

    def test_an_unreachable_service_is_an_error(self):
        self.proxy.close()
        for arguments in (("list",), ("show", "tiny"), ("pull", "tiny"), ("cp", "a", "b"), ("rm", "a"), ("push", "a")):
            self.assertIn(FAR, self.bad(1, *arguments))

    def test_services_of_this_machine_are_not_asked(self):
        """Its models are those of the store, whether it runs or not."""
        self.proxy.paths.clear()
        for host in ("127.0.0.1:1", "0.0.0.0:1", "localhost:1", "unix:/nowhere/sock", "[::ffff:127.0.0.1]:1", ""):
            env = {**self.env, "PANTRY_HOME": self.there["PANTRY_HOME"], "PANTRY_HOST": host}
            self.assertEqual(self.good("list", env=env), self.good("list", env=self.there), host)
        self.assertEqual(self.proxy.paths, [])
        self.assertIn("PANTRY_HOST: wrong address", self.bad(1, "list", env={**self.env, "PANTRY_HOST": "a b"}))


class Changing(Remote):
    def setUp(self):
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        self.arguments = ["--registry", f"localhost:{self.registry.port}"]
        super().setUp()
        with open(cli.MODEL, "rb") as file:
            self.registry.add("you/toy:1", file.read(), [("projector", random.Random(1).randbytes(3 * MIB))])
        self.toy = f"localhost:{self.registry.port}/you/toy:1"

    def test_copies_and_removes(self):
        self.assertEqual(self.good("cp", "tiny", "me/b:1"), "me/b:1 is now a name of tiny\n")
        self.assertEqual(self.tags(), ["me/b:1", "me/base:1", "tiny:latest"])
        status, out, err = cli.pantry("rm", "tiny", "nosuch", "me/b:1", env=self.env)
        self.assertEqual((status, out), (1, b"removed tiny\nremoved me/b:1\n"))
        self.assertIn("nosuch", err)
        self.assertEqual(self.tags(), ["me/base:1"])
        self.assertIn("nosuch", self.bad(1, "cp", "nosuch", "c"))

    def test_pulls(self):
        self.registry.rate = 4 * MIB
        status, out, err = cli.pantry("pull", self.toy, env=self.env)
        self.assertEqual(status, 0, err)
        self.assertRegex(out.decode(), rf"^{self.toy} is in the store \(\d+ kB\): `pantry run {self.toy}`\n$")
        self.assertTrue(err.startswith(f"{self.toy}: the service at {FAR} fetches it\n"), err)
        self.assertRegex(err, rf"pulling {self.toy}: \d+% of 3.1 MB\n")
        self.assertEqual(self.tags(), [self.toy, "me/base:1", "tiny:latest"])
        self.assertEqual(os.listdir(self.home), [])
        self.assertIn("a service pulls no URLs", self.bad(1, "pull", "http://127.0.0.1/x.gguf"))
        self.assertIn("no other registry", self.bad(1, "pull", "localhost:1/you/toy:1"))

    def test_pulls_as_json(self):
        lines = [json.loads(line) for line in self.good("pull", self.toy, "--json").splitlines()]
        self.assertEqual((lines[0], lines[-1]), ({"status": "pulling manifest"}, {"status": "success"}))
        self.assertTrue(any(line.get("completed") == 3 * MIB and "digest" in line for line in lines))
        done = cli.pantry("pull", self.toy + "2", "--json", env=self.env)
        self.assertEqual(done[0], 1)
        self.assertIn("has no such model", json.loads(done[1].splitlines()[-1])["error"])

    def test_bars(self):
        """On a terminal: one per blob, with its size."""
        self.registry.rate = 4 * MIB
        t = Terminal([cli.PANTRY, "pull", self.toy], self.env)
        self.addCleanup(t.close)
        t.expect("is in the store")
        self.assertEqual(t.ended(), 0)
        self.assertRegex(t.text(), r"pulling [0-9a-f]{12} 100% ▕█+▏ 3\.1 MB of 3\.1 MB")

    def test_pushes(self):
        name = f"localhost:{self.registry.port}/me/new:1"
        self.good("cp", "tiny", name)
        status, out, err = cli.pantry("push", name, env=self.env)
        self.assertEqual(status, 0, err)
        self.assertIn("is in the registry", out.decode())
        self.assertIn("me/new:1", self.registry.manifests)

    def test_pushes_under_another_name(self):
        name = f"localhost:{self.registry.port}/me/other:1"
        before = self.tags()
        status, out, err = cli.pantry("push", "tiny", name, env=self.env)
        self.assertEqual(status, 0, err)
        self.assertIn(f"{name} is in the registry", out.decode())
        self.assertIn("me/other:1", self.registry.manifests)
        self.assertEqual(self.tags(), before)  # the name is in the registry only
        self.assertIn("no other registry", self.bad(1, "push", "tiny", "localhost:1/me/other:1"))
        got, _, reply = self.service.request("POST", "/api/push", {"model": "tiny", "destination": "a b"})
        self.assertEqual((got, reply["error"]), (400, "destination: a b: not a model name"))

    def test_creates(self):
        """From files of this machine, which the service is sent once."""
        folder = tempfile.mkdtemp(dir=cli.FOLDER)
        path, model, draft = (os.path.join(folder, name) for name in ("Modelfile", "m.gguf", "d.gguf"))
        tiny_model.write(model, seed=7)
        tiny_model.write(draft, seed=8)
        with open(path, "w") as file:
            file.write("FROM ./m.gguf\nDRAFT ./d.gguf\nSYSTEM Say little.\nPARAMETER num_predict 5\nMESSAGE user a\n")
            file.write('LICENSE """be\nkind"""\nPARAMETER stop one\nPARAMETER stop two\n')
        self.proxy.paths.clear()
        status, out, err = cli.pantry("create", "me/far:1", "-f", path, env=self.env)
        self.assertEqual((status, out), (0, b""), err)
        self.assertIn("decoding does not use drafts yet\n", err)
        self.assertRegex(err, "\nwriting manifest\nsuccess: `.* run me/far:1`\n$")
        self.assertEqual(len([p for p in self.proxy.paths if p.startswith("POST /api/blobs/sha256:")]), 2)
        self.assertEqual(os.listdir(self.home), [])
        self.good("create", "me/near:1", "-f", path, env=self.there)
        modelfiles = [self.good("show", name, "--modelfile", env=self.there) for name in ("me/far:1", "me/near:1")]
        self.assertEqual(modelfiles[0].replace("far", "near"), modelfiles[1])
        self.proxy.paths.clear()
        self.assertEqual(cli.pantry("create", "again", "--quiet", "-f", path, env=self.env), (0, b"", ""))
        self.assertEqual([p for p in self.proxy.paths if p.startswith("POST ")], ["POST /api/create"])
        self.assertIn("/nowhere.gguf", self.bad(1, "create", "x", "-f", self.modelfile("FROM /nowhere.gguf")))

    def modelfile(self, text):
        path = os.path.join(tempfile.mkdtemp(dir=cli.FOLDER), "Modelfile")
        with open(path, "w") as file:
            file.write(text + "\n")
        return path

    def test_creates_from_a_model_there(self):
        self.good("create", "terse", "-f", self.modelfile("FROM tiny\nSYSTEM Say little."))
        self.assertIn("terse:latest", self.tags())
        self.good("create", "pulled", "-f", self.modelfile(f"FROM {self.toy}"))
        self.assertIn(self.toy, self.tags())  # the service pulled the base
        self.assertIn("nosuch", self.bad(1, "create", "x", "-f", self.modelfile("FROM nosuch")))
        self.assertIn(
            "temperature", self.bad(1, "create", "x", "-f", self.modelfile("FROM a\nPARAMETER temperature x"))
        )


class Keys(Remote):
    def keys(self, home):
        def add(*arguments):
            return self.good("key", "add", *arguments, env={**cli.ENV, "PANTRY_HOME": home}).split()[-1]

        self.infer, self.manage = add("reader"), add("admin", "--scope", "manage")

    def test_what_a_key_may_not_do_is_an_error_with_advice(self):
        path = os.path.join(tempfile.mkdtemp(dir=cli.FOLDER), "Modelfile")
        with open(path, "w") as file:
            file.write(f"FROM {cli.MODEL}\n")
        changes = (("cp", "tiny", "b"), ("rm", "tiny"), ("pull", "nosuch/model"), ("push", "tiny"))
        self.assertIn("401", self.bad(1, "create", "b", "-f", path))  # HEAD has no text of an error
        for arguments in (("list",), ("show", "tiny"), *changes):
            err = self.bad(1, *arguments)
            self.assertIn("missing or wrong API key", err)
            self.assertIn("set PANTRY_API_KEY", err)
        env = {**self.env, "PANTRY_API_KEY": self.infer}
        self.assertIn("tiny", self.good("list", env=env))
        self.assertIn("architecture", self.good("show", "tiny", env=env))
        for arguments in changes:
            err = self.bad(1, *arguments, env=env)
            self.assertIn('this route needs "manage"', err)
            self.assertIn("pantry key add NAME --scope manage", err)
        self.good("cp", "tiny", "b", env={**self.env, "PANTRY_API_KEY": self.manage})


if __name__ == "__main__":
    unittest.main()
