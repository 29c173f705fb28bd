"""pantry pull from Hugging Face, OCI artifacts and URLs; models that are pulled at first use; pantry search."""

import json
import os
import re
import threading
import unittest

import test_cli as cli
import test_pull
import tiny_model
from registry_stub import PREFIX, Registry, digest
from terminal import Terminal


def setUpModule():
    global PARTS
    test_pull.setUpModule()
    PARTS = []
    for path in tiny_model.write_shards(os.path.join(cli.FOLDER, "parts"), 3):
        with open(path, "rb") as file:
            PARTS.append(file.read())


def tearDownModule():
    test_pull.tearDownModule()


class Source(test_pull.Pull):
    ANSWER = ("-p", "x", "-n", "4", "--temp", "0")

    def setUp(self):
        super().setUp()
        self.hub = f"http://localhost:{self.registry.port}"
        self.env.update(HF_ENDPOINT=self.hub)
        self.tiny = test_pull.TINY

    def repository(self, name="you/Toy-GGUF", **files):
        self.registry.files[name] = {path.replace("__", "/") + ".gguf": data for path, data in files.items()}

    def layers(self, host, space, tag):
        with open(os.path.join(self.home, "models", "manifests", host, *space.split("/"), tag), "rb") as file:
            return [(x["mediaType"].replace(PREFIX, ""), x["digest"]) for x in json.load(file)["layers"]]

    def assert_runs(self, name):
        wanted = self.good("generate", cli.MODEL, *self.ANSWER)
        self.assertEqual(self.good("generate", name, *self.ANSWER, env=self.env), wanted)


class HuggingFace(Source):
    def test_all_parts_of_a_model(self):
        files = {f"Q8_0/Toy-Q8_0-0000{i + 1}-of-00003.gguf": part for i, part in enumerate(PARTS)}
        self.registry.files["you/Toy-GGUF"] = {**files, "Toy-Q4_K_M.gguf": b"GGUF"}
        name = "hf.co/you/Toy-GGUF:Q8_0"
        self.good("pull", name, env=self.env)
        self.assertEqual(self.layers("hf.co", "you/Toy-GGUF", "Q8_0"), [("model", digest(part)) for part in PARTS])
        self.assertEqual(len(self.blobs()), 4)
        self.assert_runs(name)
        rows = self.json("list", "--json", env=self.env)
        self.assertEqual([row["size"] for row in rows if row["name"] == name], [sum(map(len, PARTS))])
        self.registry.log.clear()
        self.good("pull", name, env=self.env)
        self.assertEqual(len(self.registry.log), 1)
        self.good("rm", name, env=self.env)
        self.assertEqual(os.listdir(os.path.join(self.home, "models", "shards")), [])
        self.assertEqual(self.blobs(), [])

    def test_lists_of_several_pages(self):
        """What is needed may be on any page; the next one is at the same server, or it is an error."""
        files = {f"Q8_0/Toy-Q8_0-0000{i + 1}-of-00003.gguf": part for i, part in enumerate(PARTS)}
        others = {f"Toy-Q{i}_0.gguf": b"GGUF" for i in range(2, 7)}
        self.registry.files["you/Toy-GGUF"] = {**others, **files, "mmproj-Q8_0.gguf": b"GGUF p"}
        self.registry.page, name = 2, "hf.co/you/Toy-GGUF:Q8_0"
        for where in ("", self.hub):  # relative or not
            self.registry.pages = where
            self.registry.log.clear()
            self.good("pull", name, env=self.env)
            wanted = [*(("model", digest(part)) for part in PARTS), ("projector", digest(b"GGUF p"))]
            self.assertEqual(self.layers("hf.co", "you/Toy-GGUF", "Q8_0"), wanted)
            self.assertEqual(len(self.registry.paths("/tree/main")), 5)
            self.good("rm", name, env=self.env)
        other = Registry()
        self.addCleanup(other.close)
        for where in (f"http://localhost:{other.port}", f"http://127.0.0.1:{self.registry.port}", "ftp://localhost"):
            self.registry.pages = where
            self.assertIn(f"goes on at another server ({where}/", self.bad(1, "pull", name, env=self.env))
        self.assertEqual(other.log, [])
        self.registry.pages, self.registry.endless = "", True
        self.registry.log.clear()
        self.assertIn("more than 50 pages", self.bad(1, "pull", name, env=self.env))
        self.assertEqual(len(self.registry.log), 50)

    def test_a_missing_part(self):
        self.registry.files["you/Toy-GGUF"] = {"a/x-00001-of-00002.gguf": PARTS[0]}
        err = self.bad(1, "pull", "hf.co/you/Toy-GGUF", env=self.env)
        self.assertIn("a/x-00002-of-00002.gguf: is not in the repository", err)

    def test_the_projector_comes_along(self):
        near, far = b"GGUF, eight bits", b"GGUF, many bits"
        self.registry.files["you/Toy-GGUF"] = {
            "mmproj-F32.gguf": far,
            "Toy-Q4_K_M.gguf": self.tiny,
            "mmproj-Q8_0.gguf": near,
            "x/mmproj-Q4_0.gguf": b"G",
        }
        self.good("pull", "hf.co/you/Toy-GGUF", env=self.env)
        self.assertEqual(
            self.layers("hf.co", "you/Toy-GGUF", "latest"), [("model", digest(self.tiny)), ("projector", digest(near))]
        )
        self.assert_runs("hf.co/you/Toy-GGUF")

    def test_several_that_fit(self):
        self.repository(**{"Toy-Q6_K": self.tiny, "Toy-Q8_0": b"GGUF another"})
        name = "hf.co/you/Toy-GGUF"
        err = self.bad(1, "pull", name, env=self.env)
        self.assertIn("2 files fit; add a quant to the name, as in :Q4_K_M (Toy-Q6_K.gguf, Toy-Q8_0.gguf)", err)
        terminal = Terminal([cli.PANTRY, "pull", name], self.env)
        self.addCleanup(terminal.close)
        terminal.expect("1  Toy-Q6_K.gguf")
        terminal.expect("Which one (1-2)?")
        terminal.line("3")
        terminal.expect("Which one (1-2)?")
        terminal.line("1")
        terminal.expect("is in the store")
        self.assertEqual(self.layers("hf.co", "you/Toy-GGUF", "latest"), [("model", digest(self.tiny))])

    def test_a_token_goes_to_its_host_only(self):
        other = Registry()
        self.addCleanup(other.close)
        self.repository(**{"Toy-Q4_K_M": self.tiny})
        env = {**self.env, "HF_TOKEN": "hf_secret"}
        self.registry.token = "hf_secret"  # it answers nobody else
        self.assertIn("HF_TOKEN", self.bad(1, "pull", "hf.co/you/Toy-GGUF", env=self.env))
        self.registry.storage = f"http://127.0.0.1:{other.port}"
        other.blobs = self.registry.blobs
        self.good("pull", "hf.co/you/Toy-GGUF", env=env)
        self.assertTrue(other.log)
        self.assertEqual([headers for _, headers in other.log if "Authorization" in headers], [])
        for bad in ("hf\r\nX: y", "two words"):
            self.bad(1, "pull", "hf.co/you/Toy-GGUF", env={**self.env, "HF_TOKEN": bad})
        # nor to a registry
        other.add("library/toy:1", self.tiny)
        self.good("pull", f"localhost:{other.port}/library/toy:1", env=env)
        self.assertEqual([headers for _, headers in other.log if "Authorization" in headers], [])


class Artifacts(Source):
    def artifact(self, *layers, name="ai/toy:latest", config="application/vnd.docker.ai.model.config.v0.1+json"):
        rows = []
        for kind, title, data in layers:
            self.registry.blobs[digest(data)] = data
            row = {"mediaType": kind, "digest": digest(data), "size": len(data)}
            rows.append({**row, "annotations": {"org.cncf.model.filepath": title}} if title else row)
        self.registry.blobs[digest(b"{}")] = b"{}"
        self.registry.manifests[name] = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "layers": rows,
                "config": {"mediaType": config, "digest": digest(b"{}"), "size": 2},
            }
        ).encode()

    def test_those_of_docker(self):
        gguf = "application/vnd.docker.ai.gguf.v3"
        self.artifact((gguf, "", self.tiny), ("application/vnd.docker.ai.license", "", b"be kind"))
        self.pull("ai/toy:latest")
        self.assert_whole("ai/toy:latest")
        self.assert_runs(self.name("ai/toy:latest"))
        self.artifact(*[(gguf, f"m-0000{i + 1}-of-00003.gguf", part) for i, part in enumerate(PARTS)])
        self.pull("ai/toy:latest")
        self.assert_runs(self.name("ai/toy:latest"))
        self.good("push", self.name("ai/toy:latest"), self.name("other/toy:2"), env=self.env)
        self.assertEqual(self.registry.manifests["other/toy:2"], self.registry.manifests["ai/toy:latest"])
        self.assertEqual(self.registry.log[-1][1]["Content-Type"], "application/vnd.oci.image.manifest.v1+json")

    def test_others(self):
        for kind in ("application/vnd.cncf.model.weight.v1.raw", "application/octet-stream"):
            self.artifact((kind, "weights/toy.gguf", self.tiny), (kind, "mmproj-toy.gguf", b"GGUF a projector"))
            self.pull("ai/toy:latest")
            self.assert_runs(self.name("ai/toy:latest"))
            self.good("rm", self.name("ai/toy:latest"), env=self.env)
        self.artifact(("application/vnd.oci.image.layer.v1.tar+gzip", "toy.gguf", self.tiny))
        self.assertIn("is not a model: layer 0", self.refused("ai/toy:latest"))
        self.artifact(("application/vnd.cncf.model.weight.v1.raw", "model.safetensors", self.tiny))
        self.assertIn("has no model layer", self.refused("ai/toy:latest"))


class Urls(Source):
    def setUp(self):
        super().setUp()
        self.registry.plain["Some Toy-Q8_0.gguf"] = self.registry.plain["Some%20Toy-Q8_0.gguf"] = self.tiny
        self.url = f"http://localhost:{self.registry.port}/files/"

    def test_a_file(self):
        self.assertIn("is in the store", self.good("pull", self.url + "Some%20Toy-Q8_0.gguf", env=self.env))
        self.assertEqual(len(self.blobs()), 2)
        self.assert_runs("some-20toy-q8_0")
        self.good("pull", self.url + "Some%20Toy-Q8_0.gguf?download=true", "--name", "you/toy:8", env=self.env)
        self.assert_runs("you/toy:8")
        self.good("rm", "you/toy:8", "some-20toy-q8_0", env=self.env)
        self.assertEqual(self.blobs(), [])

    def test_a_large_one_in_parts(self):
        large = b"GGUF" + test_pull.LARGE
        self.registry.plain["x.gguf"] = large
        self.registry.cut = [3 * test_pull.MIB, 5 * test_pull.MIB]
        self.good("pull", self.url + "x.gguf", env=self.env)
        self.assertIn(digest(large).replace(":", "-"), self.blobs())

    def test_errors(self):
        self.registry.plain["web.gguf"] = b"<html>"
        self.registry.plain["short.gguf"] = b"GG"
        self.assertIn("is not a GGUF file", self.bad(1, "pull", self.url + "web.gguf", env=self.env))
        self.assertIn("has only 2 bytes", self.bad(1, "pull", self.url + "short.gguf", env=self.env))
        self.assertIn("is not an https address", self.bad(1, "pull", "http://example.org/x.gguf", env=self.env))
        self.assertIn("not a model name", self.bad(1, "pull", self.url + "x.bin", env=self.env))
        self.bad(2, "pull", "you/toy", "--name", "x", env=self.env)
        self.assertEqual(self.blobs(), [])


class FirstUse(Source):
    def test_a_missing_model_is_pulled(self):
        self.repository(**{"Toy-Q4_K_M": self.tiny})
        for name, place in (("hf.co/you/Toy-GGUF", "hf.co"), (self.name(), f"localhost:{self.registry.port}")):
            status, out, err = cli.pantry("generate", name, *self.ANSWER, env=self.env)
            self.assertEqual(status, 0, err)
            self.assertIn(f"{name} is not in the store; pulling it from {place}\n", err)
            self.assertNotIn("\r", err)
            self.assert_runs(name)  # now it is there
        self.registry.log.clear()
        self.assertNotIn("pulling", cli.pantry("run", self.name(), "x", env=self.env)[2])
        self.assertEqual(self.registry.log, [])

    def test_names_without_a_place_are_not(self):
        for name in ("nosuch", "nosuch:1b"):
            err = self.bad(1, "generate", name, *self.ANSWER, env=self.env)
            self.assertNotIn("pulling", err)
            self.assertIn(f"pull {name}` asks registry.ollama.ai", err)


class Progress(Source):
    def test_json(self):
        lines = [
            json.loads(x) for x in self.good("pull", self.name("you/large:1"), "--json", env=self.env).splitlines()
        ]
        self.assertEqual(lines[0], {"status": "pulling manifest"})
        self.assertEqual([x["status"] for x in lines[-2:]], ["writing manifest", "success"])
        self.assertIn({"status": "verifying sha256 digest"}, lines)
        for data in (self.tiny, test_pull.LARGE):
            of_blob = [x for x in lines if x.get("digest") == digest(data)]
            self.assertEqual({x["status"] for x in of_blob}, {f"pulling {digest(data)[7:19]}"})
            self.assertEqual((of_blob[-1]["completed"], of_blob[-1]["total"]), (len(data), len(data)))

    def test_json_of_a_failure(self):
        status, out, err = cli.pantry("pull", self.name("you/nosuch"), "--json", env=self.env)
        self.assertEqual(status, 1)
        self.assertIn("has no such model", json.loads(out.splitlines()[-1])["error"])
        self.assertIn("has no such model", err)

    def test_a_bar_per_file(self):
        terminal = Terminal([cli.PANTRY, "pull", self.name("you/large:1")], self.env)
        self.addCleanup(terminal.close)
        terminal.expect("is in the store")
        for data in (self.tiny, test_pull.LARGE, b"{}"):
            self.assertRegex(terminal.text(), re.escape(f"pulling {digest(data)[7:19]}") + r" 100% [^\r\n]*\r?\n")


class Locks(Source):
    def test_two_models_at_once(self):
        """A second model arrives while the first is held up."""
        self.registry.add("a/slow:1", test_pull.LARGE)
        blob, started, go = digest(test_pull.LARGE), threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def hold(path):
            if blob in path and "slow" in path:
                started.set()
                go.wait(60)

        self.registry.hook = hold
        slow = test_pull.Interrupted.start(self, "a/slow:1")
        self.assertTrue(started.wait(60))
        self.pull("library/toy:1")
        self.assert_runs(self.name("library/toy:1"))
        self.good("prune", env=self.env)
        self.good("rm", self.name("library/toy:1"), env=self.env)
        go.set()
        self.assertEqual(slow.wait(60), 0, slow.stderr.read())
        self.assert_whole("a/slow:1")

    def test_a_blob_that_both_need_comes_once(self):
        self.registry.add("a/one:1", self.tiny, [("projector", test_pull.LARGE)])
        self.registry.add("b/two:1", self.tiny + b"x", [("projector", test_pull.LARGE)])
        children = [test_pull.Interrupted.start(self, name) for name in ("a/one:1", "b/two:1") * 3]
        for child in children:
            self.assertEqual(child.wait(120), 0, child.stderr.read())
        self.assert_whole("a/one:1")
        self.assert_whole("b/two:1")
        self.assertEqual(self.registry.sent, 2 * len(self.tiny) + 1 + len(test_pull.LARGE) + 2)
        self.assertEqual(os.listdir(os.path.join(self.home, "models", "fetch", "locks")), [])

    def test_pruning_leaves_what_a_pull_has_so_far(self):
        """The first blob is published; the answer to the last one waits."""
        last, started, go = digest(b"{}"), threading.Event(), threading.Event()
        self.addCleanup(go.set)
        self.pull("library/toy:1")
        self.registry.add("c/more:1", self.tiny, [("license", b"be kind"), ("params", b"more parameters")])
        last = digest(b"more parameters")

        def hold(path):
            if last in path:
                started.set()
                go.wait(60)

        self.registry.hook = hold
        child = test_pull.Interrupted.start(self, "c/more:1")
        self.assertTrue(started.wait(60))
        self.good("rm", self.name("library/toy:1"), env=self.env)
        self.good("prune", env=self.env)
        self.assertIn(digest(self.tiny).replace(":", "-"), self.blobs())
        sent = self.registry.sent
        go.set()
        self.assertEqual(child.wait(60), 0, child.stderr.read())
        self.assert_whole("c/more:1")
        self.assertEqual(self.registry.sent - sent, len(b"more parameters"))


class Search(Source):
    def test_the_catalog(self):
        names = [row["name"] for row in self.json("search", "qwen", "CODER", "--json", env=self.env)]
        self.assertIn("qwen2.5-coder:1.5b", names)
        self.assertNotIn("smollm2:135m", names)
        self.assertIn("smollm2:135m", self.good("search", "smollm2", env=self.env))
        self.assertEqual(self.json("search", "nothing of this kind", "--json", env=self.env), [])
        self.assertIn("--hub", cli.pantry("search", "nothing of this kind", env=self.env)[2])
        self.assertEqual(self.registry.log, [])
        self.bad(2, "search", env=self.env)

    def test_the_hub(self):
        asked = []
        rows = [
            {"id": "you/Toy-GGUF", "downloads": 1234567, "likes": 8, "lastModified": "2025-01-31T01:02:03.000Z"},
            {"id": "you/Shut-GGUF", "downloads": 5, "gated": "manual"},
            {"id": "../evil"},
            {"id": 7},
            {"id": "a/b:c"},
            {"id": "a/b/c"},
            5,
            {},
            {"id": "a/\u001b[2J"},
            {"id": "last/one", "downloads": -1, "likes": "x", "lastModified": "soon"},
        ]
        self.registry.found = lambda query: (asked.append(query), rows)[1]
        found = self.json("search", "--hub", "toy", "& 8b", "--json", "--limit", "7", env=self.env)
        self.assertEqual([(asked[0][key]) for key in ("search", "filter", "limit")], ["toy & 8b", "gguf", "7"])
        self.assertEqual(
            found,
            [
                {
                    "name": "hf.co/you/Toy-GGUF",
                    "source": "hub",
                    "downloads": 1234567,
                    "likes": 8,
                    "updated": "2025-01-31",
                    "gated": False,
                },
                {
                    "name": "hf.co/you/Shut-GGUF",
                    "source": "hub",
                    "downloads": 5,
                    "likes": 0,
                    "updated": "",
                    "gated": True,
                },
                {"name": "hf.co/last/one", "source": "hub", "downloads": 0, "likes": 0, "updated": "", "gated": False},
            ],
        )
        self.assertRegex(self.good("search", "--hub", "toy", env=self.env), r"hf.co/you/Toy-GGUF +1.2 M +8  2025-01-31")

    def test_answers_that_are_none(self):
        for answer in ({}, None, "x"):
            self.registry.found = lambda query, answer=answer: answer
            self.assertIn("is not an array", self.bad(1, "search", "--hub", "toy", env=self.env))


if __name__ == "__main__":
    unittest.main()
