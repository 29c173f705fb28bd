"""`pantry launch`, `ps` and `stop`. The agents are stand-ins (fake_agent.py) that ask one question through the client
library of their API, with nothing but what they were started with."""

import json
import os
import re
import stat
import sys
import unittest

import spoken_model
import test_cli as cli
import tiny_model
from service import HERE, PANTRY, Service, client_library
from terminal import Terminal

AGENTS = "claude codex opencode aider goose crush qwen copilot droid cline".split()


def setUpModule():
    global SPOKEN, PROGRAMS
    cli.setUpModule()
    client_library("openai")
    client_library("anthropic")
    SPOKEN, PROGRAMS = (
        os.path.join(cli.FOLDER, "spoken.gguf"),
        os.path.join(cli.FOLDER, "bin"),
    )
    spoken_model.write(SPOKEN)
    tiny_model.write(cli.MODEL)
    os.mkdir(PROGRAMS)
    with open(os.path.join(HERE, "fake_agent.py")) as file:
        source = file.read()
    for name in AGENTS:
        path = os.path.join(PROGRAMS, name)
        with open(path, "w") as file:
            file.write(f"#!{sys.executable}\n{source}")
        os.chmod(path, 0o755)


def tearDownModule():
    cli.tearDownModule()


class Case(cli.Case):
    def setUp(self):
        self.service = Service({"spoken": SPOKEN, "tiny": cli.MODEL})
        self.addCleanup(lambda: self.service.process.poll() is None and self.service.stop())
        self.notes = os.path.join(self.service.folder, "notes")
        self.temporary = os.path.join(self.service.folder, "temporary")
        os.mkdir(self.temporary)

    @property
    def env(self):
        return {
            **cli.ENV,
            "PANTRY_HOST": self.service.url,
            "PANTRY_HOME": self.service.env["PANTRY_HOME"],
            "PATH": PROGRAMS + os.pathsep + os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": self.temporary,
            "FAKE_NOTES": self.notes,
            "ANTHROPIC_API_KEY": "of the user",
        }

    def launch(self, *arguments, status=0, **env):
        """(the agent's notes, standard error)"""
        got, _, err = cli.pantry("launch", *arguments, env={**self.env, **env})
        self.assertEqual(got, status, err)
        self.assertEqual(os.listdir(self.temporary), [])  # nothing is left
        with open(self.notes) as file:
            return json.load(file), err


class Launch(Case):
    def test_every_agent_gets_an_answer(self):
        listed = [line.split()[0] for line in self.good("launch").splitlines()]
        self.assertEqual(listed, AGENTS)
        for name in AGENTS:
            with self.subTest(name):
                notes, err = self.launch(name)
                self.assertEqual(
                    (notes["name"], notes["answer"]),
                    (name, spoken_model.SCRIPTS["hello"]),
                )
                self.assertIn("spoken:latest, 8,192 tokens of context", err.replace(" with", ""))
                given = json.dumps(notes["env"]) + json.dumps(notes["arguments"])
                self.assertEqual("8192" in given, name not in ("aider", "crush", "qwen", "copilot", "droid", "cline"))

    def test_claude(self):
        env = self.launch("claude", "--model", "spoken", "--", "-p", "a question")[0]
        self.assertEqual(env["arguments"], ["-p", "a question"])
        env = env["env"]
        self.assertEqual(env["ANTHROPIC_BASE_URL"], self.service.url)
        self.assertEqual((env["ANTHROPIC_API_KEY"], env["ANTHROPIC_AUTH_TOKEN"]), ("", "pantry"))
        for tier in ("OPUS", "SONNET", "HAIKU"):
            self.assertEqual(env[f"ANTHROPIC_DEFAULT_{tier}_MODEL"], "spoken")
        self.assertEqual(
            (
                env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"],
                env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"],
            ),
            ("8192", "2048"),
        )

    def test_arguments_replace_the_usual_one(self):
        self.assertEqual(self.launch("goose")[0]["arguments"], ["session"])
        self.assertEqual(self.launch("goose", "run", "x")[0]["arguments"], ["run", "x"])

    def test_status_is_passed_on(self):
        for agent in ("claude", "aider"):  # without and with something to clear away
            self.launch(agent, status=7, FAKE_STATUS="7")
        self.launch("aider", status=137, FAKE_SIGNAL="1")

    def test_print_changes_nothing(self):
        before = sorted(os.listdir(self.service.folder))
        for name in AGENTS:
            out = self.good("launch", name, "--print", "--", "a b")
            self.assertRegex(out, rf"(?m)^{name} .*'a b'$|^{name} 'a b'$")
            self.assertIn(self.service.url, out)
        self.assertEqual(self.service.request("GET", "/api/ps")[2]["models"], [])
        self.assertEqual(
            (os.listdir(self.temporary), sorted(os.listdir(self.service.folder))),
            ([], before),
        )
        out = self.good("launch", "claude", "--print", env={**self.env, "PATH": "/usr/bin:/bin"})
        self.assertIn("export ANTHROPIC_API_KEY=''\n", out)

    def test_no_file_of_the_user_changes(self):
        def tree():
            return sorted(
                (
                    os.path.join(folder, name),
                    os.stat(os.path.join(folder, name)).st_mtime_ns,
                )
                for folder, _, names in os.walk(cli.FOLDER)
                for name in names
                if "__pycache__" not in folder
            )

        before = tree()
        for name in ("claude", "crush", "droid", "cline"):
            self.launch(name)
        self.assertEqual(tree(), before)

    def test_own_service(self):
        nowhere = {"PANTRY_HOST": "127.0.0.1:1"}
        for name in ("crush", "copilot"):
            notes, err = self.launch(name, **nowhere)
            self.assertEqual(notes["answer"], spoken_model.SCRIPTS["hello"])
            self.assertIn("one starts for the agent", err)
            self.assertNotIn(re.search(r"pk-[0-9a-f]{64}", json.dumps(notes["env"])).group(), err)
        url = notes["env"]["COPILOT_PROVIDER_BASE_URL"].removesuffix("/v1")
        self.assertIn("no service runs", self.bad(1, "ps", env={**self.env, "PANTRY_HOST": url}))
        out = self.good("launch", "claude", "--print", env={**self.env, **nowhere})
        self.assertIn("export ANTHROPIC_BASE_URL=http://127.0.0.1:1\n", out)

    def test_keys(self):
        made = cli.pantry("key", "add", "mine", env=self.env)[1].decode()
        key = re.search(r"pk-[0-9a-f]{64}", made).group()
        notes, err = self.launch("claude", PANTRY_API_KEY=key)
        self.assertEqual(notes["env"]["ANTHROPIC_AUTH_TOKEN"], key)
        self.assertNotIn(key, err)
        for name in ("droid", "cline"):  # it is in a file, or named there
            notes, err = self.launch(name, PANTRY_API_KEY=key)
            self.assertEqual(notes["answer"], spoken_model.SCRIPTS["hello"])
            self.assertNotIn(key, err)
        token = self.launch("claude")[0]["env"]["ANTHROPIC_AUTH_TOKEN"]
        self.assertRegex(token, r"^pk-[0-9a-f]{64}$")
        self.assertNotEqual(token, key)
        listed = self.good("key", "list")
        self.assertIn("mine", listed)
        self.assertNotIn("launch", listed)
        wrong = {**self.env, "PANTRY_API_KEY": "pk-wrong"}
        self.assertIn("PANTRY_API_KEY", self.bad(1, "launch", "claude", env=wrong))
        self.assertIn("PANTRY_API_KEY", self.bad(1, "launch", "claude", "--print"))

    def test_refusals(self):
        self.assertIn("did you mean claude?", self.bad(2, "launch", "clade"))
        self.assertIn("does not call tools", self.bad(1, "launch", "claude", "--model", "tiny"))
        self.assertIn(
            "not a model of the service",
            self.bad(1, "launch", "claude", "--model", "nosuch"),
        )
        err = self.bad(1, "launch", "claude", env={**self.env, "PATH": "/usr/bin:/bin"})
        self.assertIn("Claude Code is not installed", err)
        self.assertEqual(os.listdir(self.temporary), [])

    def test_terminal(self):
        for agent in ("claude", "crush"):
            t = Terminal([PANTRY, "launch", agent], self.env)
            self.addCleanup(t.close)
            self.assertEqual(t.ended(), 0)
            self.assertEqual(t.modes_now(), t.modes)
            with open(self.notes) as file:
                self.assertTrue(json.load(file)["terminal"])


class PsAndStop(Case):
    def test_both(self):
        self.assertEqual(self.json("ps", "--json"), [])
        self.service.request("POST", "/api/generate", {"model": "spoken", "keep_alive": -1})
        self.service.request("POST", "/api/generate", {"model": "tiny", "keep_alive": "5m"})
        rows = {row["name"]: row for row in self.json("ps", "--json")}
        self.assertEqual(set(rows), {"spoken:latest", "tiny:latest"})
        row = rows["tiny:latest"]
        self.assertEqual((row["processor"], row["context"]), ("100% CPU", tiny_model.N_CONTEXT))
        self.assertEqual(row["size"], os.stat(cli.MODEL)[stat.ST_SIZE])
        self.assertRegex(row["id"], "^[0-9a-f]{64}$")
        out = self.good("ps")
        self.assertRegex(out, r"(?m)^spoken:latest +[0-9a-f]{12} +\S+ .B +100% CPU +8192  forever$")
        self.assertRegex(out, r"(?m)^tiny:latest .* +16384  [45] minutes from now$")
        self.assertEqual(self.good("stop", "tiny"), "stopped tiny\n")
        self.assertEqual([row["name"] for row in self.json("ps", "--json")], ["spoken:latest"])
        self.assertIn("not loaded", self.bad(1, "stop", "tiny"))
        self.good("stop", "spoken:latest")
        self.assertEqual(self.json("ps", "--json"), [])

    def test_without_a_service(self):
        for arguments in (["ps"], ["ps", "--json"], ["stop", "x"]):
            self.assertIn(
                "no service runs",
                self.bad(1, *arguments, env={**self.env, "PANTRY_HOST": "127.0.0.1:1"}),
            )
        self.bad(2, "ps", "x")
        self.bad(2, "stop")


if __name__ == "__main__":
    unittest.main()
