"""pantry pull, from a registry of this process that misbehaves, and from Debian's docker-registry where it is there."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

import test_cli as cli
from registry_stub import PREFIX, Registry, digest

MIB = 1 << 20
KILLS = os.path.join(cli.ROOT, "tests", "tools", "kill_pulls.py")


def setUpModule():
    global TINY, LARGE
    cli.setUpModule()
    with open(cli.MODEL, "rb") as file:
        TINY = file.read()
    LARGE = random.Random(1).randbytes(23 * MIB + 12345)


def tearDownModule():
    cli.tearDownModule()


class Pull(cli.Case):
    def setUp(self):
        self.home = tempfile.mkdtemp(dir=cli.FOLDER)
        self.env = {k: v for k, v in cli.ENV.items() if not k.lower().endswith("_proxy")}
        self.env.update(PANTRY_HOME=self.home)
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        self.registry.add("library/toy:1", TINY, [("license", b"be kind"), ("params", b'{"temperature": 0}')])
        self.registry.add("you/large:1", TINY, [("projector", LARGE)])

    def name(self, model="library/toy:1", host="localhost"):
        return f"{host}:{self.registry.port}/{model}"

    def blobs(self):
        folder = os.path.join(self.home, "models", "blobs")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def pull(self, model="library/toy:1"):
        return self.good("pull", self.name(model), env=self.env)

    def refused(self, model="library/toy:1"):
        err = self.bad(1, "pull", self.name(model), env=self.env)
        self.assertEqual([name for name in self.blobs() if "partial" not in name and self.is_wrong(name)], [])
        self.assertNotIn("is in the store", err)
        return err

    def is_wrong(self, name):
        with open(os.path.join(self.home, "models", "blobs", name), "rb") as file:
            return f"sha256-{hashlib.sha256(file.read()).hexdigest()}" != name

    def assert_whole(self, model):
        """All blobs have their digests, nothing else is left, and the manifest is the registry's."""
        self.assertEqual([name for name in self.blobs() if self.is_wrong(name)], [])
        space, tag = model.split(":")
        path = os.path.join(self.home, "models", "manifests", f"localhost:{self.registry.port}", space, tag)
        with open(path, "rb") as file:
            manifest = file.read()
        self.assertEqual(manifest, self.registry.manifests[model])
        root = json.loads(manifest)
        wanted = {layer["digest"].replace(":", "-") for layer in [*root["layers"], root["config"]]}
        self.assertLessEqual(wanted, set(self.blobs()))


class Good(Pull):
    def test_others_watch_a_download(self):
        """A second pull shows what the first one has downloaded, and downloads nothing itself."""
        seen, asked = threading.Event(), []

        def wait(path):
            if digest(LARGE) in path:
                asked.append(path)
                if len(asked) > 3 and not seen.wait(60):
                    raise AssertionError("nobody saw it")

        self.registry.hook = wait
        first = subprocess.Popen([cli.PANTRY, "pull", self.name("you/large:1")], env=self.env, stderr=subprocess.PIPE)
        self.addCleanup(first.stderr.close)
        command = [cli.PANTRY, "pull", "--json", self.name("you/large:1")]
        while not asked:
            self.assertIsNone(first.poll())
        second = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE)
        self.addCleanup(second.stdout.close)
        lines = []
        for text in second.stdout:
            lines.append(json.loads(text))
            if lines[-1].get("digest") == digest(LARGE) and 0 < lines[-1]["completed"] < len(LARGE):
                seen.set()
        self.assertTrue(seen.is_set(), lines)
        self.assertIn({"status": "waiting for another download"}, lines)
        self.assertEqual({line["total"] for line in lines if line.get("digest") == digest(LARGE)}, {len(LARGE)})
        self.assertEqual((first.wait(300), second.wait(300)), (0, 0), first.stderr.read())
        self.assert_whole("you/large:1")
        self.assertEqual(self.registry.sent, len(TINY) + len(LARGE) + 2)

    def test_a_model_runs_after_it(self):
        self.assertIn("is in the store", self.pull())
        self.assert_whole("library/toy:1")
        self.assertEqual(self.good("check", self.name(), env=self.env), f"{self.name()}: ok\n")
        wanted = self.good("generate", cli.MODEL, "-p", "x", "-n", "4", "--temp", "0")
        self.assertEqual(self.good("generate", self.name(), "-p", "x", "-n", "4", "--temp", "0", env=self.env), wanted)
        accept = self.registry.log[0][1]["Accept"]
        self.assertIn("application/vnd.docker.distribution.manifest.v2+json", accept)
        self.assertIn("application/vnd.oci.image.manifest.v1+json", accept)

    def test_a_second_pull_asks_only_for_the_manifest(self):
        self.pull()
        self.registry.log.clear()
        self.pull()
        self.assertEqual(self.registry.paths(), ["/v2/library/toy/manifests/1"])

    def test_a_new_version_replaces_the_old_one(self):
        self.pull()
        self.registry.log.clear()
        self.registry.add("library/toy:1", TINY, [("license", b"be kinder")])
        self.pull()
        self.assert_whole("library/toy:1")
        self.assertEqual(self.registry.paths("/blobs/"), [f"/v2/library/toy/blobs/{digest(b'be kinder')}"])
        self.assertEqual(len(self.blobs()), 3)  # the old licence and the parameters are gone

    def test_large_blobs_come_in_parts_and_at_once(self):
        self.registry.rate = 4 * MIB
        starts = []
        self.registry.hook = lambda path: starts.append(time.monotonic()) if digest(LARGE) in path else None
        self.pull("you/large:1")
        starts.sort()  # one after the other, parts of a second or more could not begin closer together
        self.assertLess(min(b - a for a, b in zip(starts, starts[1:])), 0.9)
        self.assert_whole("you/large:1")
        ranges = [h["Range"] for p, h in self.registry.log if digest(LARGE) in p]
        self.assertEqual(len(ranges), 6)
        self.assertEqual(self.registry.sent, len(TINY) + len(LARGE) + 2)

    def test_progress(self):
        self.registry.rate = 8 * MIB
        err = cli.pantry("pull", self.name("you/large:1"), env=self.env)[2]
        self.assertRegex(err, r"pulling localhost:\d+/you/large:1: 0% of 24 MB\n")
        self.assertRegex(err, r"pulling localhost:\d+/you/large:1: 75% of 24 MB\n")
        self.assertEqual(err.count("% of 24 MB"), 5)
        self.assertEqual(err.count("checking the SHA-256 of localhost"), 1)

    def test_without_ranges_or_etags(self):
        self.registry.ranges = self.registry.etags = False
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertEqual(len(self.registry.paths(digest(LARGE))), 1)

    def test_connections_that_break_are_continued(self):
        self.registry.cut = [100000, 2 * MIB, 3 * MIB, 50]
        self.registry.fail = [503, 500]
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertLess(self.registry.sent, len(TINY) + len(LARGE) + MIB)

    def test_connections_come_back_after_failures(self):
        self.registry.fail = [503, 503, 503]  # one is left
        self.registry.rate = 32 * MIB
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertEqual(max(self.registry.overlap[:5]), 0)
        self.assertGreater(max(self.registry.overlap), 0)

    def test_without_ranges_a_break_starts_again(self):
        self.registry.ranges = False
        self.registry.add("you/large:1", LARGE)
        self.registry.cut = [5 * MIB, 7 * MIB]
        self.pull("you/large:1")
        self.assert_whole("you/large:1")

    def test_machines_that_disagree_about_the_etag(self):
        self.registry.etag = lambda: f'"{random.random()}"'
        self.pull("you/large:1")
        self.assert_whole("you/large:1")

    def test_empty_and_repeated_layers(self):
        self.registry.add("library/toy:2", TINY, [("license", b""), ("template", b"same"), ("system", b"same")])
        self.pull("library/toy:2")
        self.assert_whole("library/toy:2")

    def test_a_damaged_blob_in_the_store_is_replaced(self):
        self.pull()
        path = os.path.join(self.home, "models", "blobs", digest(TINY).replace(":", "-"))
        with open(path, "r+b") as file:
            file.write(b"!")
        shutil.rmtree(os.path.join(self.home, "models", "manifests"))
        self.pull()
        self.assert_whole("library/toy:1")

    def test_a_catalog_name_stays_one(self):
        env = {**self.env, "PATH": "/nowhere"}
        self.assertIn("pip", cli.pantry("pull", "smollm2:135m", env=env)[2])


class Tokens(Pull):
    def test_an_anonymous_token_is_fetched_and_used(self):
        self.registry.token = "secret.token"
        self.pull()
        self.assert_whole("library/toy:1")
        asked = [path for path, _ in self.registry.log if path.startswith("/token")]
        self.assertEqual(len(asked), 1)
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(asked[0]).query)
        self.assertEqual(query, {"service": ["stub"], "scope": ["repository:x/y:pull"]})

    def test_a_token_that_expires_is_renewed(self):
        """More often than a pull without progress may ask for one. Each token is good for two requests."""
        self.registry.token = "first"
        self.registry.add("you/large:1", LARGE * 5)
        count, blob = [], digest(LARGE * 5)

        def expire(path):
            if path.startswith("/token"):
                count.append(0)
            elif blob in path and count:
                count[-1] += 1
                if count[-1] == 3:
                    self.registry.token = f"token{len(count)}"

        self.registry.hook = expire
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertGreater(len(self.registry.paths("/token")), 8)

    def test_a_foreign_realm_gets_nothing(self):
        """CVE-2025-51471."""
        other = Registry()
        self.addCleanup(other.close)
        for realm in (
            f"http://127.0.0.1:{other.port}/token",
            f"http://localhost.evil.example:{other.port}/token",
            f"http://user@localhost:{other.port}/token",
            "file:///etc/passwd",
            "token",
        ):
            self.registry.token, self.registry.realm = "secret", realm
            self.assertIn("for a token", self.refused())
        self.assertEqual(other.log, [])

    def test_a_token_goes_to_no_other_host(self):
        other = Registry()
        self.addCleanup(other.close)
        other.blobs = self.registry.blobs
        self.registry.token = "secret"
        self.registry.redirect = f"http://127.0.0.1:{other.port}/elsewhere/"
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertGreater(len(other.log), 6)
        self.assertEqual([headers for _, headers in other.log if "Authorization" in headers], [])

    def test_tokens_that_are_no_tokens(self):
        for token in ("a\r\nX-Evil: 1", "", "x" * 20000, "two words"):
            self.registry.token = token or " "
            self.assertIn("without a valid token", self.refused())

    def test_a_private_model(self):
        self.registry.hook = lambda path: setattr(self.registry, "token", random.random())  # none is ever right
        self.assertRegex(self.refused(), "needs an account|without a valid token")


class Bad(Pull):
    def manifest(self, **changes):
        root = json.loads(self.registry.manifests["library/toy:1"])
        root.update(changes)
        self.registry.manifests["library/toy:bad"] = json.dumps(root).encode()
        return self.refused("library/toy:bad")

    def test_manifests(self):
        """Items 36 and 40 of the list of attacks: digests that are paths, arrays that are not."""
        layer = json.loads(self.registry.manifests["library/toy:1"])["layers"][0]
        for bad in ("../../../../../x", "sha256:../../x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, 7, None):
            self.assertIn("digest", self.manifest(layers=[{**layer, "digest": bad}]))
        for bad in (-1, 1.5, "5", None, 1 << 60):
            self.assertIn("size", self.manifest(layers=[{**layer, "size": bad}]))
        for bad in ({}, None, "x", [layer] * 257):
            self.assertIn("layers is not an array", self.manifest(layers=bad))
        self.assertIn("has no model layer", self.manifest(layers=[]))
        self.assertIn("more than once", self.manifest(layers=[layer, layer]))
        self.assertIn("two sizes", self.manifest(layers=[layer, {**layer, "mediaType": PREFIX + "x", "size": 5}]))
        for bad in ([], [1], [[layer]], [None, layer]):
            self.manifest(layers=bad)
        other = {**layer, "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}
        self.assertIn("is not a model", self.manifest(layers=[other]))
        self.assertIn("an index", self.manifest(manifests=[]))
        for text in (b"", b"{", b"[]", b"null", b'{"layers": [], "layers": []}', b"[" * 100000):
            self.registry.manifests["library/toy:bad"] = text
            self.assertIn("not a JSON object", self.refused("library/toy:bad"))
        self.registry.manifests["library/toy:bad"] = b" " * (2 * MIB)
        self.assertIn("longer than 1048576 bytes", self.refused("library/toy:bad"))
        self.assertEqual(self.blobs(), [])
        self.assertEqual(sorted(os.listdir(self.home)), ["models"])

    def test_a_wrong_digest(self):
        self.registry.blobs[digest(TINY)] = TINY[:-1] + b"?"
        self.assertIn("does not have its SHA-256", self.refused())
        self.assertNotIn(digest(TINY).replace(":", "-"), " ".join(self.blobs()))

    def test_wrong_lengths(self):
        self.registry.blobs[digest(TINY)] = TINY + b"more"
        self.assertIn("sent another range or size", self.refused())
        self.registry.ranges = False
        self.assertIn("sent more than", self.refused())
        self.registry.ranges = True
        del self.registry.blobs[digest(TINY)]
        self.assertIn("status 404", self.refused())

    def test_statuses(self):
        for status in (403, 404, 410, 416, 206):
            self.registry.fail = [status] * 50
            self.assertRegex(self.refused(), f"status {status}|another range")
        self.registry.fail = []
        self.pull()

    def test_redirects(self):
        port = self.registry.port
        for target, error in (
            (f"http://localhost:{port}/v2/library/toy/blobs/", "more than 5 redirects"),
            ("file:///etc/passwd?", "without a valid http or https address"),
            ("ftp://localhost/", "without a valid http or https address"),
        ):
            self.registry.redirect = target
            self.assertIn(error, self.refused())

    def test_names(self):
        self.assertIn("has no such model", self.refused("library/nosuch:1"))
        for name in ("../x", "a/b/c/d", "http://localhost/x/y", f"localhost:{self.registry.port}/../x/y:1"):
            self.assertIn("not a model name", self.bad(1, "pull", name, env=self.env))

    def test_other_hosts_use_https(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            first = []

            def take():
                connection = server.accept()[0]
                first.append(connection.recv(5))
                connection.close()
                server.close()

            threading.Thread(target=take, daemon=True).start()
            host = socket.gethostname()
            try:
                socket.getaddrinfo(host, None, socket.AF_INET)
            except OSError:
                self.skipTest("this machine does not know its own name")
            self.bad(1, "pull", f"0.0.0.0:{server.getsockname()[1]}/x/y", env=self.env)
            self.assertEqual(first[0][:1], b"\x16")  # a TLS record
        self.assertIn("is in the store", self.good("pull", self.name(host="0.0.0.0"), "--insecure", env=self.env))


class Interrupted(Pull):
    def start(self, model="you/large:1"):
        child = subprocess.Popen(
            [cli.PANTRY, "pull", self.name(model)], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.addCleanup(lambda: (child.kill(), child.communicate()))
        return child

    def wait_for(self, n_bytes):
        end = time.time() + 60
        while self.registry.sent < n_bytes:
            self.assertLess(time.time(), end)
            time.sleep(0.005)

    def test_killed_anywhere(self):
        done = subprocess.run(
            [sys.executable, KILLS, "40", "7"], env={**os.environ, "PANTRY": cli.PANTRY}, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_killed_while_checking_and_publishing(self):
        seed = random.Random(8)
        start = time.time()
        self.pull("you/large:1")
        whole = time.time() - start
        for _ in range(20):
            self.good("rm", self.name("you/large:1"), env=self.env)
            child = self.start()
            time.sleep(seed.uniform(0.3, 1.1) * whole)
            child.send_signal(signal.SIGKILL)
            child.communicate()
            for name in self.blobs():
                self.assertTrue("partial" in name or not self.is_wrong(name), name)
            self.pull("you/large:1")
            self.assert_whole("you/large:1")
            self.assertEqual([name for name in self.blobs() if "partial" in name], [])

    def test_goes_on_where_it_was(self):
        self.registry.rate = 3 * MIB
        child = self.start()
        self.wait_for(12 * MIB)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        self.registry.sent, self.registry.rate = 0, 0
        self.registry.log.clear()
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertLess(self.registry.sent, len(LARGE) - 8 * MIB)
        self.assertEqual({h.get("If-Range") for p, h in self.registry.log if digest(LARGE) in p}, {'"one"'})

    def test_a_remote_file_that_changed_is_not_spliced(self):
        for etags in (True, False):
            with self.subTest(etags=etags):
                shutil.rmtree(self.home)
                self.registry.etags, self.registry.etag = etags, "one"
                self.registry.sent, self.registry.rate = 0, 3 * MIB
                right = self.registry.blobs[digest(LARGE)]
                self.registry.blobs[digest(LARGE)] = bytes(len(LARGE))  # the wrong file at first
                child = self.start()
                self.wait_for(9 * MIB)
                child.send_signal(signal.SIGKILL)
                child.communicate()
                self.registry.blobs[digest(LARGE)], self.registry.etag = right, "two"
                self.registry.rate = 0
                self.pull("you/large:1")
                self.assert_whole("you/large:1")

    def test_ctrl_c(self):
        self.registry.rate = 2 * MIB
        child = self.start()
        self.wait_for(MIB)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
        self.assertEqual(child.returncode, -signal.SIGINT)
        self.assertIn(b"the download was stopped", err)
        self.registry.rate = 0
        self.pull("you/large:1")
        self.assert_whole("you/large:1")

    def test_many_at_once_download_once(self):
        self.registry.rate = 8 * MIB
        children = [self.start() for _ in range(16)]
        for child in children:
            out, err = child.communicate(timeout=120)
            self.assertEqual(child.returncode, 0, err)
        self.assert_whole("you/large:1")
        self.assertEqual(self.registry.sent, len(TINY) + len(LARGE) + 2)

    def test_the_state_of_a_complete_blob_goes(self):
        """A process may die after its data became the blob, and before the state is removed."""
        self.pull("you/large:1")
        os.unlink(
            os.path.join(self.home, "models", "manifests", f"localhost:{self.registry.port}", "you", "large", "1")
        )
        left = digest(LARGE).replace(":", "-") + "-partial-state"
        with open(os.path.join(self.home, "models", "blobs", left), "w") as file:
            file.write("pantry 1\n")
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertNotIn(left, self.blobs())

    def test_damaged_leftovers(self):
        folder = os.path.join(self.home, "models", "blobs")
        os.makedirs(folder)
        stem = os.path.join(folder, digest(LARGE).replace(":", "-") + "-partial-")
        size = len(LARGE)
        head = f"pantry 1\n{size:020d}\n{4 * MIB:020d}\n" + '"one"'.ljust(126) + "\n"
        full = "".join(f"{min(4 * MIB, size - at):020d}\n" for at in range(0, size, 4 * MIB))
        for state, data in (
            (head + full, bytes(size)),  # complete, it says
            (head + full, b""),
            (head + "9" * 20 + "\n" + full[21:], bytes(size)),
            (head + full[:-1], bytes(size)),
            (head + full + "0", bytes(size)),
            ("x" * 100000, bytes(size)),
            ("", bytes(size + 1)),
        ):
            with open(stem + "state", "w") as file:
                file.write(state)
            with open(stem + "data", "wb") as file:
                file.write(data)
            self.pull("you/large:1")
            self.assert_whole("you/large:1")
            self.assertEqual([name for name in self.blobs() if "partial" in name], [])
            self.good("rm", self.name("you/large:1"), env=self.env)
        os.symlink("/dev/null", stem + "data")
        self.bad(1, "pull", self.name("you/large:1"), env=self.env)


class HuggingFace(Pull):
    def setUp(self):
        super().setUp()
        self.env.update(HF_ENDPOINT=f"http://localhost:{self.registry.port}/")
        self.registry.files["you/Toy-GGUF"] = {
            "README.md": b"# Toy",
            "Toy-Q4_K_M.gguf": TINY,
            "the large one/Toy Q8_0.gguf": LARGE,
            "mmproj-Toy-Q8_0.gguf": b"a projector",
        }

    def test_one_file_of_a_repository(self):
        name = "hf.co/you/Toy-GGUF:Q4_K_M"
        self.assertIn(f"{name} is in the store", self.good("pull", name, env=self.env))
        self.assertEqual(self.good("check", name, env=self.env), f"{name}: ok\n")
        self.assertIn(name, [row["name"] for row in self.json("list", "--json", env=self.env)])
        self.registry.log.clear()
        self.good("pull", name, env=self.env)
        self.assertEqual(self.registry.paths(), ["/api/models/you/Toy-GGUF/tree/main?recursive=true"])
        self.good("pull", "hf.co/you/Toy-GGUF", env=self.env)  # the usual one
        self.assertEqual(self.registry.paths("resolve"), [])

    def test_a_large_file_with_an_odd_name(self):
        self.registry.cut = [5 * MIB]
        self.good("pull", "huggingface.co/you/Toy-GGUF:q8_0", env=self.env)
        self.assertIn(digest(LARGE).replace(":", "-"), self.blobs())
        self.assertEqual([name for name in self.blobs() if self.is_wrong(name)], [])
        self.assertIn("/you/Toy-GGUF/resolve/main/the%20large%20one/Toy%20Q8_0.gguf", self.registry.paths())

    def test_a_new_version_replaces_the_old_one(self):
        self.registry.files["you/Toy-GGUF"]["Toy-Q4_K_M.gguf"] = b"GGUF, but not for long"
        self.good("pull", "hf.co/you/Toy-GGUF", env=self.env)
        self.registry.files["you/Toy-GGUF"]["Toy-Q4_K_M.gguf"] = TINY
        self.good("pull", "hf.co/you/Toy-GGUF", env=self.env)
        self.assertEqual(len(self.blobs()), 3)  # with the projector and the configuration
        self.assertIn(digest(TINY).replace(":", "-"), self.blobs())

    def test_errors(self):
        def bad(name):
            return self.bad(1, "pull", name, env=self.env)

        self.assertIn("no GGUF file for Q2_K", bad("hf.co/you/Toy-GGUF:Q2_K"))
        self.assertIn("no such repository", bad("hf.co/you/nosuch"))
        self.registry.files["you/Toy-GGUF"]["b/Toy-Q4_K_M.gguf"] = TINY
        self.assertIn("2 files fit", bad("hf.co/you/Toy-GGUF:Q4_K_M"))
        self.env["HF_ENDPOINT"] = "http://example.org"
        self.assertIn("HF_ENDPOINT: is not an https address", bad("hf.co/you/Toy-GGUF"))
        self.assertEqual(self.blobs(), [])


class DockerRegistry(Pull):
    """Debian's docker-registry; the models are pushed with plain requests."""

    def setUp(self):
        super().setUp()
        program = shutil.which("docker-registry")
        if not program:
            self.skipTest("docker-registry is not installed")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = os.path.join(self.home, "registry.yml")
        with open(config, "w") as file:
            file.write(
                "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: "
                f"{self.home}/registry}}}}\nhttp: {{addr: '127.0.0.1:{self.port}'}}\n"
            )
        server = subprocess.Popen(
            [program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env
        )
        self.addCleanup(lambda: (server.kill(), server.wait()))
        for _ in range(200):
            try:
                return self.request("GET", "/v2/").close()
            except OSError:
                time.sleep(0.05)
        self.fail("docker-registry did not start")

    def request(self, method, path, data=None, **headers):
        url = urllib.parse.urljoin(f"http://127.0.0.1:{self.port}", path)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            urllib.request.Request(url, data, headers, method=method)
        )

    def push(self, name, tag):
        manifest = self.registry.manifests[f"{name}:{tag}"]
        root = json.loads(manifest)
        for layer in [*root["layers"], root["config"]]:
            place = self.request("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
            mark = "&" if "?" in place else "?"
            self.request(
                "PUT",
                f"{place}{mark}digest={layer['digest']}",
                self.registry.blobs[layer["digest"]],
                Content_Type="application/octet-stream",
            )
        self.request("PUT", f"/v2/{name}/manifests/{tag}", manifest, Content_Type=root["mediaType"])

    def test_pulls_what_was_pushed(self):
        self.push("you/large", "1")
        self.push("library/toy", "1")
        for name in ("you/large:1", "library/toy:1"):
            model = f"localhost:{self.port}/{name}"
            self.good("pull", model, env=self.env)
            self.assertEqual(self.good("check", model, env=self.env), f"{model}: ok\n")
        self.assertEqual([name for name in self.blobs() if self.is_wrong(name)], [])
        self.assertRegex(
            self.bad(1, "pull", f"localhost:{self.port}/you/nosuch", env=self.env), re.compile("has no such model")
        )


if __name__ == "__main__":
    unittest.main()
