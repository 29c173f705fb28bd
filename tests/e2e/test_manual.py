"""The manual and the shell completions, as installed.

Interactive shells run on a pseudo-terminal. Each test skips where its tool is not installed."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import test_cli as cli  # noqa: E402
from terminal import Terminal  # noqa: E402

COMPLETIONS = os.path.join(cli.ROOT, "docs", "completions")
START_OF_LINE, END_OF_LINE = "\x01", "\x05"


def has_man():
    """True with man-db, which has --warnings; other systems have another man, or only a placeholder."""
    if not shutil.which("man"):
        return False
    return subprocess.run(["man", "--version"], capture_output=True, text=True).stdout.startswith("man 2")


def setUpModule():
    global FOLDER, ENV
    FOLDER = tempfile.mkdtemp(prefix="pantry-manual-")
    open(os.path.join(FOLDER, "my model.gguf"), "w").close()
    open(os.path.join(FOLDER, "notes.txt"), "w").close()
    path = os.path.join(FOLDER, "bin")
    os.mkdir(path)
    os.symlink(cli.PANTRY, os.path.join(path, "pantry"))
    shutil.copy(os.path.join(COMPLETIONS, "pantry.zsh"), os.path.join(path, "_pantry"))
    ENV = {k: v for k, v in os.environ.items() if k not in ("INPUTRC", "ZDOTDIR", "MANOPT", "MANPATH")}
    ENV.update(
        PATH=path + os.pathsep + ENV["PATH"],
        PANTRY_HOME=os.path.join(FOLDER, "home"),
        HOME=FOLDER,
        TERM="dumb",
        LC_ALL="C.UTF-8",
    )


def tearDownModule():
    shutil.rmtree(FOLDER)


class Manual(unittest.TestCase):
    def test_files_are_up_to_date(self):
        done = subprocess.run(
            [sys.executable, os.path.join(cli.ROOT, "tools", "manual"), "--check", cli.PANTRY],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @unittest.skipUnless(has_man(), "man-db is not installed")
    def test_pages_render_without_warnings(self):
        pages = glob.glob(os.path.join(cli.ROOT, "docs", "man", "*.1"))
        self.assertEqual(len(pages), 1 + len(cli.COMMANDS))
        for page in pages:
            done = subprocess.run(
                ["man", "--warnings", page], capture_output=True, text=True, env={**ENV, "MANPAGER": "cat"}
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), page)
            for heading in ("NAME", "SYNOPSIS", "DESCRIPTION" if page.endswith("run.1") else "EXIT STATUS", "EXAMPLES"):
                self.assertIn("\n" + heading + "\n", done.stdout)


class Shell(unittest.TestCase):
    """A shell that has read the completions, at its first prompt."""

    def start(self, command, *lines):
        if not shutil.which(command[0]):
            self.skipTest(f"{command[0]} is not installed")
        os.chdir(FOLDER)
        self.addCleanup(os.chdir, cli.ROOT)
        self.shell = Terminal(command, ENV, columns=200)
        self.addCleanup(self.shell.close)
        for line in lines:
            self.shell.line(line)
        self.shell.line("echo read''y")
        self.shell.expect("\nready")

    def completed(self, text):
        """The command line after `text` and the tab key; the shell prints it instead of running it."""
        self.shell.type(text + "\t")
        self.shell.type(START_OF_LINE + "echo '<'" + END_OF_LINE + "'>'\r")
        self.shell.expect("\n<")
        return self.shell.expect(">").rstrip()

    def check_completions(self):
        self.assertEqual(self.completed("pantry gener"), "pantry generate")
        self.assertEqual(self.completed("pantry help tok"), "pantry help tokenize")
        self.assertEqual(self.completed("pantry run smol"), "pantry run smollm2:135m")
        self.assertEqual(self.completed("pantry run smollm2:1"), "pantry run smollm2:135m")
        self.assertEqual(self.completed("pantry show my"), "pantry show my model.gguf")
        self.assertEqual(self.completed("pantry run --max"), "pantry run --max-tokens")
        self.assertEqual(self.completed("pantry run --temp 0 -c 64 smol"), "pantry run --temp 0 -c 64 smollm2:135m")
        self.assertEqual(self.completed("pantry run --kv-type q"), "pantry run --kv-type q8_0")
        self.assertEqual(self.completed("pantry run --kv-type=q"), "pantry run --kv-type=q8_0")
        self.assertEqual(
            self.completed("pantry generate smollm2:135m -f no"), "pantry generate smollm2:135m -f notes.txt"
        )
        self.assertEqual(self.completed("pantry show --template no"), "pantry show --template notes.txt")
        self.assertEqual(self.completed("pantry check smollm2:135m gemma3:2"), "pantry check smollm2:135m gemma3:270m")

    def test_bash(self):
        self.start(
            ["bash", "--norc", "--noprofile", "-i"],
            "bind 'set enable-bracketed-paste off'",
            f"source {COMPLETIONS}/pantry.bash",
        )
        self.check_completions()

    def test_zsh(self):
        self.start(
            ["zsh", "-f", "-i"],
            "unsetopt zle_bracketed_paste; bindkey -e",
            f"fpath=({FOLDER}/bin $fpath)",
            "autoload -Uz compinit; compinit -u -D",
        )
        self.check_completions()

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish(self):
        for text, wanted in (
            ("pantry gener", "generate"),
            ("pantry run smol", "smollm2:135m"),
            ("pantry run --kv-type q", "q8_0"),
            ("pantry help tok", "tokenize"),
            ("pantry generate smollm2:135m -f no", "notes.txt"),
        ):
            done = subprocess.run(
                ["fish", "--no-config", "-c", f"source {COMPLETIONS}/pantry.fish; complete -C '{text}'"],
                capture_output=True,
                text=True,
                env=ENV,
                cwd=FOLDER,
            )
            self.assertEqual(done.stdout.split("\t")[0].strip(), wanted, done.stderr)


if __name__ == "__main__":
    unittest.main()
