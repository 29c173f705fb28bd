"""pantry doctor: a healthy store, every kind of damage, and what --fix may do."""

import fcntl
import json
import os
import re
import stat
import subprocess
import tempfile

import service
import test_cli as cli
from terminal import Terminal


def setUpModule():
    cli.setUpModule()


def tearDownModule():
    cli.tearDownModule()


class Doctor(cli.Case):
    def setUp(self):
        self.home = tempfile.mkdtemp(dir=cli.FOLDER)
        self.env = {**cli.ENV, "PANTRY_HOME": self.home}
        self.good("import", cli.MODEL, "--name", "a", env=self.env)
        self.blobs = os.path.join(self.home, "models", "blobs")
        self.names = sorted(os.listdir(self.blobs), key=lambda name: os.path.getsize(os.path.join(self.blobs, name)))
        self.small, self.weights = (os.path.join(self.blobs, name) for name in self.names)  # configuration, model

    def manifest(self, name="a"):
        return os.path.join(self.home, "models", "manifests", "registry.ollama.ai", "library", name, "latest")

    def edit(self, name="a", **fields):
        """Another manifest with these fields changed; None removes one."""
        with open(self.manifest()) as file:
            root = json.load(file)
        root.update(fields)
        os.makedirs(os.path.dirname(self.manifest(name)), exist_ok=True)
        with open(self.manifest(name), "w") as file:
            json.dump({k: v for k, v in root.items() if v is not None}, file)

    def examine(self, *arguments):
        """(exit status, [(check, state, last part of the path, what)])"""
        status, out, err = cli.pantry("doctor", "--store", "--json", *arguments, env=self.env)
        self.assertEqual(err, "")
        report = json.loads(out)
        rows = [
            (check["check"], finding["state"], os.path.basename(finding["where"]), finding["what"])
            for check in report["checks"]
            for finding in check["findings"]
        ]
        for check in report["checks"]:
            for finding in check["findings"]:
                self.assertTrue(finding["mend"])
        self.assertEqual(report["wrong"], sum(row[1] == "wrong" for row in rows))
        self.assertEqual(report["leftover"], sum(row[1] == "leftover" for row in rows))
        self.assertEqual(report["fixed"], sum(row[1] == "fixed" for row in rows))
        self.assertEqual(report["ok"], report["wrong"] == 0)
        self.assertEqual(status, 0 if report["ok"] else 1)
        return status, rows

    def expect(self, rows, *arguments):
        """Findings as (check, state, name, part of the sentence)."""
        found = self.examine(*arguments)[1]
        self.assertEqual([row[:3] for row in found], [row[:3] for row in rows])
        for row, wanted in zip(found, rows):
            self.assertIn(wanted[3], row[3])

    def test_a_healthy_store(self):
        self.expect([])
        self.expect([], "--quick")
        out = self.good("doctor", "--store", env=self.env)
        self.assertRegex(out, rf"^store {re.escape(self.home)}/models: 1 model, 2 files, \d+ kB\n")
        for check in ("layout", "permissions", "locks", "manifests", "references", "downloads", "digests"):
            self.assertRegex(out, rf"(?m)^  {check} +ok$")
        self.assertTrue(out.endswith("\nnothing is wrong\n"))
        self.assertRegex(self.good("doctor", "--store", "--quick", env=self.env), r"(?m)^  digests +skipped$")

    def test_no_store_yet(self):
        self.env["PANTRY_HOME"] = os.path.join(self.home, "nothing")
        self.expect([])
        self.assertFalse(os.path.exists(self.env["PANTRY_HOME"]))

    def test_usage(self):
        self.bad(2, "doctor", "a", env=self.env)

    def test_a_damaged_blob(self):
        with open(self.weights, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        self.expect([("digests", "wrong", self.names[1], "is damaged: its contents have the digest ")])
        self.expect([], "--quick")
        status, out, _ = cli.pantry("doctor", "--store", "--fix", env=self.env)
        self.assertEqual(status, 1)
        self.assertIn(b"mend: pantry rm a; then pull or import it again\n1 thing is wrong\n", out)
        self.assertTrue(os.path.exists(self.weights))

    def test_missing_and_short_blobs(self):
        self.good("cp", "a", "b", env=self.env)
        os.truncate(self.weights, 100)
        os.unlink(self.small)
        rows = [
            ("references", "wrong", self.names[0], "is missing, and a part of "),
            ("references", "wrong", self.names[1], "has 100 bytes, and the manifest of "),
        ]
        self.expect(sorted(rows, key=lambda row: row[2]), "--quick")

    def test_manifests(self):
        layer = {"mediaType": "application/vnd.ollama.image.model", "size": os.path.getsize(self.weights)}
        digest = "sha256:" + self.names[1][7:]
        for fields, what in (
            ({"schemaVersion": 1}, "schemaVersion is not 2"),
            ({"layers": {}}, "layers is not an array of 1 to 256"),
            ({"layers": []}, "layers is not an array of 1 to 256"),
            ({"layers": [{**layer, "digest": "sha256:../../../x"}]}, "the digest of layer 0 is not sha256:"),
            ({"layers": [{**layer, "digest": digest, "size": -1}]}, "the size of layer 0 is not a number of bytes"),
            ({"layers": [{**layer, "digest": digest, "size": "1"}]}, "the size of layer 0 is not a number of bytes"),
            ({"layers": [{"digest": digest, "size": 1}]}, "layer 0 has no mediaType"),
            ({"config": {}}, "the configuration has no mediaType"),
        ):
            with self.subTest(what=what):
                self.edit("bad", **fields)
                self.expect([("manifests", "wrong", "latest", what)], "--quick")
        for text in ("", "[]", '{"a": 1, "a": 2}'):
            with open(self.manifest("bad"), "w") as file:
                file.write(text)
            self.expect([("manifests", "wrong", "latest", "not a JSON object")], "--quick")
        status, out, _ = cli.pantry("doctor", "--store", env=self.env)
        self.assertIn(b"mend: pantry rm bad; then pull or import it again\n", out)
        self.good("rm", "bad", env=self.env)
        self.edit("odd", layers=[{**layer, "mediaType": "application/x", "digest": digest}])
        self.expect([("references", "wrong", "latest", "has no model layer")])
        self.good("rm", "odd", env=self.env)
        self.edit("not a name")
        self.expect([("manifests", "wrong", "latest", "its path is not the name of a model")])

    def test_leftovers_and_fix(self):
        hex_ = "e" * 64
        for name, text in (
            (f"sha256-{hex_}", "unused"),
            ("sha256-" + "d" * 64 + "-partial", "part"),
            ("sha256-" + "c" * 64 + "-partial-data", "resumes"),
            ("sha256-" + "c" * 64 + "-partial-state", "resumes"),
            ("sha256-" + "b" * 64 + "-partial-state", "alone"),
            ("readme", "x"),
        ):
            with open(os.path.join(self.blobs, name), "w") as file:
                file.write(text)
        os.mkdir(os.path.join(self.home, "models", "fetch", "smollm2-135m"))
        with open(self.manifest() + "-partial", "w") as file:
            file.write("{")
        rows = [
            ("layout", "leftover", "readme", "is not a file of the store"),
            ("manifests", "leftover", "latest-partial", "unfinished manifest"),
            ("references", "leftover", f"sha256-{hex_}", "is not a part of any model (6 bytes)"),
            ("downloads", "leftover", "sha256-" + "b" * 64 + "-partial-state", "left by a process that ended"),
            ("downloads", "leftover", "sha256-" + "c" * 64 + "-partial-data", "is an unfinished download (7 bytes)"),
            ("downloads", "leftover", "sha256-" + "d" * 64 + "-partial", "left by a process that ended (4 bytes)"),
            ("downloads", "leftover", "smollm2-135m", "is an unfinished download"),
            ("digests", "wrong", f"sha256-{hex_}", "is damaged"),
        ]
        self.expect(rows)
        fixed = [0, 4, 6]  # what stays: files of others, downloads that go on
        self.expect([row if i in fixed else (row[0], "fixed", *row[2:]) for i, row in enumerate(rows[:-1])], "--fix")
        self.expect([rows[i] for i in fixed])
        self.assertEqual(self.good("check", "a", env=self.env), "a: ok\n")

    def test_an_unreadable_manifest_keeps_all_blobs(self):
        unused = os.path.join(self.blobs, "sha256-" + "e" * 64)
        with open(unused, "w") as file:
            file.write("x")
        self.edit("bad", layers={})
        self.expect([("manifests", "wrong", "latest", "layers")], "--quick", "--fix")
        self.assertTrue(os.path.exists(unused))

    def test_temporary_files_of_living_processes_stay(self):
        ended = subprocess.Popen(["true"])
        ended.wait()
        name = "sha256-" + "e" * 64 + "-partial-"
        for process in (os.getpid(), ended.pid):
            with open(os.path.join(self.blobs, f"{name}{process}-1"), "w") as file:
                file.write("x")
        self.expect([("downloads", "fixed", f"{name}{ended.pid}-1", "left by a process that ended")], "--fix")
        self.assertTrue(os.path.exists(os.path.join(self.blobs, f"{name}{os.getpid()}-1")))

    def test_locks_of_parts(self):
        """What a lock in fetch/locks is held for is at work; a lock that nobody holds is left over."""
        part, folder, locks = "e" * 64, "smollm2-135m", os.path.join(self.home, "models", "fetch", "locks")
        os.makedirs(os.path.join(self.home, "models", "fetch", folder))
        os.makedirs(locks, exist_ok=True)
        with open(os.path.join(self.blobs, f"sha256-{part}-partial"), "w") as file:
            file.write("x")
        held = [open(os.path.join(locks, name), "w") for name in (f"blob-{part}", f"fetch-{folder}")]
        for file in held:
            fcntl.flock(file, fcntl.LOCK_EX)
        self.expect([], "--fix")
        for file in held:
            file.close()
        rows = [
            ("locks", "leftover", f"blob-{part}", "is the lock of a process that ended"),
            ("locks", "leftover", f"fetch-{folder}", "is the lock of a process that ended"),
            ("downloads", "leftover", f"sha256-{part}-partial", "left by a process that ended"),
            ("downloads", "leftover", folder, "is an unfinished download"),
        ]
        self.expect(rows)
        self.expect([(row[0], "fixed", *row[2:]) for row in rows[:3]] + rows[3:], "--fix")
        self.expect(rows[3:])

    def test_links_of_shards(self):
        shards = os.path.join(self.home, "models", "shards")
        gone, whole = os.path.join(shards, "a" * 64), os.path.join(shards, "b" * 64)
        for folder, target in ((gone, "sha256-" + "e" * 64), (whole, self.names[1])):
            os.makedirs(folder)
            os.symlink(f"../../blobs/{target}", os.path.join(folder, "model-00001-of-00001.gguf"))
        self.expect([("references", "leftover", "a" * 64, "has links to blobs that are gone")])
        self.expect([("references", "fixed", "a" * 64, "has links to blobs that are gone")], "--fix")
        self.assertEqual(os.listdir(shards), ["b" * 64])

    def test_while_another_process_is_at_work(self):
        with open(os.path.join(self.blobs, "sha256-" + "e" * 64 + "-partial"), "w") as part:
            part.write("x")
        with open(os.path.join(self.home, "models", "fetch", "lock"), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.expect([], "--fix")
            self.assertIn("another pantry is changing the store", self.good("doctor", "--store", env=self.env))
        self.expect([("downloads", "leftover", os.path.basename(part.name), "left by a process that ended")])

    def test_permissions(self):
        keys = os.path.join(self.home, "keys.json")
        with open(keys, "w") as file:
            file.write("{}")
        os.chmod(keys, 0o640)
        os.chmod(self.blobs, 0o777)
        os.chmod(self.weights, 0o666)
        rows = [
            ("permissions", "wrong", "blobs", "every user of this machine may change it"),
            ("permissions", "wrong", "keys.json", "holds keys, and other users may access it"),
            ("permissions", "wrong", self.names[1], "every user of this machine may change it"),
        ]
        self.expect(rows)
        self.expect([(row[0], "fixed", *row[2:]) for row in rows], "--fix")
        self.expect([])
        self.assertEqual([stat.S_IMODE(os.stat(path).st_mode) for path in (keys, self.weights)], [0o600, 0o664])

    def test_layout(self):
        lock = os.path.join(self.home, "models", "fetch", "lock")
        os.unlink(lock)
        os.mkdir(lock)
        os.mkdir(os.path.join(self.blobs, "sha256-" + "e" * 64))
        os.symlink("nowhere", os.path.join(self.blobs, "sha256-" + "f" * 64))
        rows = [
            ("layout", "wrong", "sha256-" + "e" * 64, "is not a file"),
            ("layout", "wrong", "sha256-" + "f" * 64, "cannot be read"),
            ("locks", "wrong", "lock", "is a lock, and not a file"),
        ]
        self.assertEqual([row[:3] for row in self.examine("--quick")[1] if row[1] == "wrong"], [r[:3] for r in rows])

    def test_control_characters_in_names(self):
        with open(os.path.join(self.blobs, "x\033[31mred"), "w"):
            pass
        terminal = Terminal([cli.PANTRY, "doctor", "--store", "--quick"], self.env)
        self.addCleanup(terminal.close)
        self.assertEqual(terminal.ended(), 0)
        terminal.expect("nothing is wrong")
        self.assertIn("x?[31mred", terminal.raw)


class Machine(cli.Case):
    CHECKS = (
        "processor device gpu memory clock throttling temperature disk bandwidth decoding service".split()
    )  # and some of one system

    def examine(self, *arguments, env=None, ends=0):
        status, out, err = cli.pantry("doctor", "--machine", "--json", *arguments, env=env or self.env)
        self.assertEqual((status, err), (ends, ""))
        report = json.loads(out)
        for check in report["checks"]:
            self.assertEqual(check["group"], "machine")
            self.assertTrue(check["found"])
            self.assertEqual(len(check["findings"]), check["state"] in ("advice", "wrong"), check)
            for finding in check["findings"]:
                self.assertTrue(finding["what"] and finding["mend"])
        states = [check["state"] for check in report["checks"]]
        self.assertEqual((report["wrong"], report["advice"]), (states.count("wrong"), states.count("advice")))
        return {check["check"]: check for check in report["checks"]}

    def test_all_checks(self):
        checks = self.examine("--quick")
        self.assertLessEqual(set(self.CHECKS), set(checks))
        self.assertEqual(checks["decoding"]["state"], "skipped")
        self.assertRegex(checks["device"]["found"], r"^cpu \(\w+, \d+ threads?\) runs models$")
        self.assertEqual(checks["service"]["found"], "none runs at http://127.0.0.1:1")
        if os.path.exists("/proc/meminfo"):
            with open("/proc/meminfo") as file:
                total = int(re.search(r"MemTotal: +(\d+)", file.read()).group(1)) * 1024
            self.assertIn(f"{total / 1e9:.2g} GB, of which ", checks["memory"]["found"])

    def test_the_proof(self):
        check = self.examine()["decoding"]
        self.assertIn(check["state"], ("ok", "advice"))  # as busy as this machine is
        found = check["found"]
        match = re.search(r"on (.+): (\d+) tok/s, ([\d.]+) GB/s, (\d+) % of the ([\d.]+) GB/s", found)
        self.assertTrue(match, found)
        self.assertGreater(float(match.group(5)), 0)
        self.assertNotIn("expected", found)

    def test_slower_than_measured(self):
        home = os.path.join(cli.FOLDER, "fast-home")
        os.makedirs(home)
        env = {**cli.ENV, "PANTRY_HOME": home}
        device = re.search(r"^(cpu .*\)) runs", self.examine("--quick")["device"]["found"]).group(1)
        row = {
            "device": device,
            "read_bytes_per_second": 1e15,
            "decode_bytes_per_second": 1e15,
            "layer_seconds": 0.0,
            "operations_per_second": 1e15,
        }
        with open(os.path.join(home, "machine.json"), "w") as file:
            json.dump({"limits": [row]}, file)
        checks = self.examine(env=env)
        self.assertEqual(checks["decoding"]["state"], "advice")
        self.assertIn("much slower", checks["decoding"]["findings"][0]["what"])
        self.assertIn("were measured", checks["bandwidth"]["found"])

    def test_what_cannot_run(self):
        env = {**cli.ENV, "TMPDIR": "/nowhere/at/all"}
        self.assertEqual(self.examine(env=env, ends=1)["decoding"]["state"], "wrong")
        env = {**cli.ENV, "PANTRY_HOST": "http://localhost:99999"}
        self.assertEqual(self.examine("--quick", env=env, ends=1)["service"]["state"], "wrong")

    def test_the_disk(self):
        """--quick only looks for space; a folder that does not exist yet is fine."""
        env = {**cli.ENV, "PANTRY_HOME": os.path.join(cli.FOLDER, "not", "there", "yet")}
        found = self.examine("--quick", env=env)["disk"]
        self.assertRegex(found["found"], rf"^{re.escape(cli.FOLDER)}: [\d.]+ .B free$")
        self.assertFalse(os.path.exists(os.path.join(cli.FOLDER, "not")))
        self.assertRegex(self.examine(env=env)["disk"]["found"], r" free(, reads [\d.]+ .B/s)?$")
        self.assertEqual([name for name in os.listdir(cli.FOLDER) if name.startswith("speed-")], [])

    def test_a_service(self):
        server = service.Service({"a": cli.MODEL})
        self.addCleanup(server.stop)
        env = {**cli.ENV, "PANTRY_HOST": f"127.0.0.1:{server.port}"}
        version = subprocess.check_output([cli.PANTRY, "version"], text=True).split()[1]
        found = self.examine("--quick", env=env)["service"]["found"]
        self.assertEqual(found, f"http://127.0.0.1:{server.port}, version {version}, 0 models loaded")

    def test_as_text(self):
        out = self.good("doctor", "--machine", "--quick")
        self.assertTrue(out.startswith("machine\n"))
        for name in self.CHECKS:
            self.assertRegex(out, rf"(?m)^  {name} +(ok|advice|skipped) +\S")
        self.assertRegex(out, r"\nnothing is wrong(, \d+ pieces? of advice)?\n$")


class Configuration(cli.Case):
    def examine(self, text, ends=0, **more):
        path = os.path.join(cli.FOLDER, "doctor.toml")
        with open(path, "w") as file:
            file.write(text)
        env = {**cli.ENV, "PANTRY_CONFIG": path, **more}
        status, out, err = cli.pantry("doctor", "--config", "--json", env=env)
        self.assertEqual((status, err), (ends, ""))
        return {check["check"]: check for check in json.loads(out)["checks"]}

    def test_all_is_well(self):
        checks = self.examine('port = 12345\n[models."hf.co/you/toy"]\ncontext = 512\n')
        self.assertEqual(checks["file"]["state"], "ok")
        self.assertTrue(checks["file"]["found"].endswith("doctor.toml"))
        self.assertEqual(checks["models"]["found"], "1 model with settings, 0 aliases")

    def test_mistakes(self):
        """Whatever keeps the service from starting is wrong, with the line or the variable."""
        found = self.examine("port = 1\nport = 2\n", ends=1)["file"]
        self.assertEqual(found["state"], "wrong")
        self.assertIn("doctor.toml:2", found["findings"][0]["what"])
        found = self.examine("", ends=1, PANTRY_PORT="99999999")["file"]
        self.assertIn("PANTRY_PORT", found["findings"][0]["what"])

    def test_what_is_not_here(self):
        text = '[aliases]\nfast = "no-such-model:1"\n'
        found = self.examine(text)["models"]
        self.assertEqual(found["state"], "advice")
        self.assertEqual(found["findings"][0]["what"], "not here: no-such-model:1")
        text = '[adapters]\na = "/nowhere/at/all"\n'
        found = self.examine(text, ends=1)["adapters"]
        self.assertIn("/nowhere/at/all is neither a file", found["findings"][0]["what"])
