"""pantry push and the service's /api/push, to a registry of this process that misbehaves, and to Debian's docker-registry
where it is there."""

import json
import os
import random
import shutil
import signal
import subprocess
import unittest

import service
import test_cli as cli
import test_pull
from registry_stub import Registry, digest

MIB = 1 << 20


def setUpModule():
    test_pull.setUpModule()


def tearDownModule():
    test_pull.tearDownModule()


class Push(test_pull.Pull):
    """A store with two models from a registry; `target` is another, empty one."""

    def setUp(self):
        super().setUp()
        self.large = random.Random(2).randbytes(35 * MIB + 77)
        self.registry.add("you/large:1", test_pull.TINY, [("projector", self.large)])
        self.pull("library/toy:1")
        self.target = Registry()
        self.addCleanup(self.target.close)

    def dest(self, name="library/toy:1", host="localhost"):
        return f"{host}:{self.target.port}/{name}"

    def push(self, name="library/toy:1", to=None, *more):
        return self.good("push", self.name(name), to or self.dest(name), *more, env=self.env)

    def refused_push(self, name="library/toy:1", to=None):
        err = self.bad(1, "push", self.name(name), to or self.dest(name), env=self.env)
        self.assertEqual(self.target.manifests, {})
        return err

    def assert_there(self, name="library/toy:1", to=None):
        self.assertEqual(self.target.manifests[to or name], self.registry.manifests[name])
        root = json.loads(self.registry.manifests[name])
        for layer in [*root["layers"], root["config"]]:
            self.assertEqual(digest(self.target.blobs[layer["digest"]]), layer["digest"])
        folder = os.path.join(self.home, "models", "fetch")
        self.assertEqual([n for n in os.listdir(folder) if n.startswith("upload")], [])
        self.assertEqual(os.listdir(os.path.join(folder, "locks")), [])

    def calls(self, method, part=""):
        return [path for path, _ in self.target.log if path.startswith(method + " ") and part in path]


class Good(Push):
    def test_what_was_pushed_can_be_pulled(self):
        self.assertIn("is in the registry", self.push())
        self.assert_there()
        self.assertEqual(self.target.log[-1][0], "PUT /v2/library/toy/manifests/1")
        sent = self.target.log[-1][1]
        self.assertEqual(sent["Content-Type"], "application/vnd.docker.distribution.manifest.v2+json")
        self.good("pull", self.dest(), env={**self.env, "PANTRY_HOME": os.path.join(self.home, "other")})

    def test_one_name_is_enough(self):
        self.good("push", self.name(), env=self.env)  # its own registry has all of it
        self.assertEqual(
            [path for path, _ in self.registry.log if path.startswith("P")], ["PUT /v2/library/toy/manifests/1"]
        )

    def test_what_is_there_is_not_sent_again(self):
        self.push()
        self.target.log.clear()
        self.push()
        self.assertEqual(len(self.calls("HEAD")), 4)
        self.assertEqual(self.calls("P"), [])
        self.assertEqual(
            [path for path, _ in self.target.log if path[:2] in ("PO", "PA", "PU")], ["PUT /v2/library/toy/manifests/1"]
        )

    def test_large_blobs_go_in_chunks(self):
        self.pull("you/large:1")
        self.push("you/large:1")
        self.assert_there("you/large:1")
        ranges = [h["Content-Range"] for p, h in self.target.log if p.startswith("PATCH") and "Content-Range" in h]
        self.assertIn(f"{16 * MIB}-{32 * MIB - 1}", ranges)
        self.assertIn(f"{32 * MIB}-{len(self.large) - 1}", ranges)
        self.assertEqual(self.target.got, len(self.large) + len(test_pull.TINY) + 2)

    def test_blobs_of_another_repository_are_linked(self):
        self.push(to=self.dest("a/first:1"))
        self.good("cp", self.name(), self.dest("a/first:1"), env=self.env)
        for blob in self.target.blobs:
            self.target.repositories[blob] = ["a/first"]
        self.target.log.clear()
        self.target.got = 0
        self.push(to=self.dest("b/second:2"))
        self.assert_there(to="b/second:2")
        self.assertEqual(self.target.got, 0)
        self.assertEqual(len(self.calls("POST", "mount=")), 4)

    def test_no_chunks(self):
        self.target.chunks = False
        self.push()
        self.assert_there()

    def test_a_token_for_pushing(self):
        self.target.token = "secret"
        self.push()
        self.assert_there()
        asked = [path for path, _ in self.target.log if path.startswith("/token")]
        self.assertEqual(len(asked), 1)
        self.assertIn("scope=repository%3Alibrary%2Ftoy%3Apull%2Cpush", asked[0])

    def test_the_token_goes_to_no_other_host(self):
        other = Registry()
        self.addCleanup(other.close)
        other.uploads = self.target.uploads
        other.blobs = self.target.blobs
        self.target.token, self.target.elsewhere = "secret", f"http://127.0.0.1:{other.port}"
        other.elsewhere = self.target.elsewhere
        self.push()
        self.assert_there()
        self.assertTrue(other.log)
        self.assertEqual([headers for _, headers in other.log if "Authorization" in headers], [])

    def test_progress(self):
        self.pull("you/large:1")
        lines = [json.loads(line) for line in self.push("you/large:1", None, "--json").splitlines()]
        self.assertEqual(lines[0], {"status": "retrieving manifest"})
        self.assertEqual([line["status"] for line in lines[-2:]], ["pushing manifest", "success"])
        large = [line for line in lines if line.get("digest") == digest(self.large)]
        self.assertEqual({line["status"] for line in large}, {f"pushing {digest(self.large)[7:19]}"})
        done = [line["completed"] for line in large]
        self.assertEqual(done, sorted(done))
        self.assertEqual((done[-1], large[0]["total"]), (len(self.large), len(self.large)))


class Interrupted(Push):
    def setUp(self):
        super().setUp()
        self.pull("you/large:1")

    def test_connections_that_break(self):
        self.target.drop = [5 * MIB, 200000]
        self.target.refuse = [503]
        self.push("you/large:1")
        self.assert_there("you/large:1")
        self.assertLess(self.target.got, len(self.large) + len(test_pull.TINY) + MIB)

    def test_killed_and_resumed(self):
        def kill(path):
            if self.target.got > 20 * MIB and child:
                child[0].send_signal(signal.SIGKILL)

        child = []
        self.target.hook = kill
        child.append(
            subprocess.Popen(
                [cli.PANTRY, "push", self.name("you/large:1"), self.dest("you/large:1")],
                env=self.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        self.assertEqual(child[0].wait(60), -signal.SIGKILL)
        child.clear()
        before = self.target.got
        self.assertGreater(before, 16 * MIB)
        self.push("you/large:1")
        self.assert_there("you/large:1")
        self.assertLess(self.target.got - before, len(self.large) - 16 * MIB + len(test_pull.TINY) + 3)

    def test_a_session_that_the_registry_forgot(self):
        def forget(path):
            if self.target.got > 20 * MIB and not forgotten:
                forgotten.append(path)
                self.target.uploads.clear()

        forgotten = []
        self.target.hook = forget
        self.push("you/large:1")
        self.assertTrue(forgotten)
        self.assert_there("you/large:1")


class Bad(Push):
    def test_refusals(self):
        self.target.refuse = [403]
        self.assertIn("needs an account that may do this, and pantry has none: DENIED, not you", self.refused_push())
        self.target.refuse = [400]
        self.assertIn("refuses a blob (status 400: DENIED, not you)", self.refused_push())

    def test_a_damaged_blob_does_not_arrive(self):
        path = os.path.join(self.home, "models", "blobs", digest(test_pull.TINY).replace(":", "-"))
        with open(path, "r+b") as file:
            file.write(b"!")
        self.assertIn("DIGEST_INVALID", self.refused_push())
        os.truncate(path, 100)
        self.assertRegex(self.refused_push(), "not a file of|cut off")

    def test_names(self):
        self.assertIn("not in the store", self.bad(1, "push", "you/nosuch", self.dest(), env=self.env))
        self.assertIn("Hugging Face is not a registry", self.bad(1, "push", self.name(), "hf.co/you/toy", env=self.env))
        self.assertIn("not a model name", self.bad(1, "push", self.name(), "../x", env=self.env))
        self.bad(2, "push", env=self.env)
        self.bad(2, "push", "a", "b", "c", env=self.env)
        self.assertEqual(self.target.log, [])

    def test_addresses_for_uploads(self):
        for elsewhere in ("file://", "ftp://localhost", "http://user@localhost"):
            self.target.elsewhere = elsewhere
            self.assertIn("gave an upload the address", self.refused_push())


class DockerRegistry(Push, test_pull.DockerRegistry):
    def setUp(self):
        super().setUp()
        self.good("pull", self.name("you/large:1"), env=self.env)

    test_pulls_what_was_pushed = None

    def test_there_and_back(self):
        for name in ("library/toy:1", "you/large:1"):
            there = f"localhost:{self.port}/{name}"
            self.good("push", self.name(name), there, env=self.env)
            self.good("push", self.name(name), there, env=self.env)
            env = {**self.env, "PANTRY_HOME": os.path.join(self.home, "other")}
            self.good("pull", there, env=env)
            self.assertEqual(self.good("check", there, env=env), f"{there}: ok\n")
            accept = "application/vnd.docker.distribution.manifest.v2+json"
            got = self.request("GET", f"/v2/{name.replace(':', '/manifests/')}", Accept=accept).read()
            self.assertEqual(got, self.registry.manifests[name])
        self.good("cp", self.name(), f"localhost:{self.port}/library/toy:1", env=self.env)
        self.good("push", self.name(), f"localhost:{self.port}/mounted/toy:2", env=self.env)

    def test_killed_anywhere(self):
        seed = random.Random(9)
        there = f"localhost:{self.port}/you/large:1"
        for _ in range(12):
            child = subprocess.Popen(
                [cli.PANTRY, "push", self.name("you/large:1"), there],
                env=self.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                child.wait(seed.uniform(0.0, 0.3))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
        self.good("push", self.name("you/large:1"), there, env=self.env)
        env = {**self.env, "PANTRY_HOME": os.path.join(self.home, "other")}
        self.good("pull", there, env=env)


class Service(Push):
    """Ollama's own client."""

    @classmethod
    def setUpClass(cls):
        cls.ollama = service.client_library("ollama")

    def setUp(self):
        super().setUp()
        self.good("cp", self.name(), self.dest(), env=self.env)
        os.environ["PANTRY_HOME"], before = self.home, os.environ.get("PANTRY_HOME")
        self.server = service.Service(None, "--registry", f"localhost:{self.target.port}")
        self.addCleanup(self.server.stop)
        if before is None:
            del os.environ["PANTRY_HOME"]
        else:
            os.environ["PANTRY_HOME"] = before
        self.client = self.ollama.Client(self.server.url)
        self.addCleanup(self.client.close)

    def test_push(self):
        states = list(self.client.push(self.dest(), stream=True))
        self.assert_there()
        self.assertEqual(states[0].status, "retrieving manifest")
        self.assertEqual([s.status for s in states[-2:]], ["pushing manifest", "success"])
        for s in states[1:-2]:
            self.assertEqual(s.status, f"pushing {s.digest[7:19]}")
            self.assertLessEqual(s.completed, s.total)
        self.assertEqual({s.digest for s in states if s.digest and s.completed == s.total}, set(self.target.blobs))
        self.assertEqual(self.client.push(self.dest()).status, "success")

    def test_pull(self):
        self.client.push(self.dest())
        self.good("rm", self.name(), self.dest(), env=self.env)
        states = list(self.client.pull(self.dest(), stream=True))
        self.assertEqual(
            (states[0].status, states[-2].status, states[-1].status),
            ("pulling manifest", "writing manifest", "success"),
        )
        digests = {s.digest for s in states if s.digest and s.completed == s.total}
        self.assertEqual(digests, set(self.target.blobs))
        self.assertIn(self.dest(), [m.model for m in self.client.list().models])

    def test_errors(self):
        with self.assertRaises(self.ollama.ResponseError) as caught:
            self.client.push(f"localhost:{self.registry.port}/library/toy:1")
        self.assertIn("pushes to no other registry; use `pantry push`", caught.exception.error)
        self.target.refuse = [403]
        with self.assertRaises(self.ollama.ResponseError) as caught:
            list(self.client.push(self.dest(), stream=True))
        self.assertIn("needs an account", caught.exception.error)
        with self.assertRaises(self.ollama.ResponseError):
            self.client.push(self.dest("you/nosuch:1"))
        self.assertEqual(self.target.manifests, {})


if __name__ == "__main__":
    unittest.main()
