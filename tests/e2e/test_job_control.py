"""Job control: Ctrl-Z, `fg`, `bg`, Ctrl-C and Ctrl-\\ in the chat and in single answers, alone, below `sh -c`, in a pipe."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import unittest

import test_cli as cli
from terminal import Terminal

ANSWER = re.compile(r"[a-z]{3} ?[a-z]{2}")  # the words of the tiny model; no other output here looks like them
STOPPED = re.compile("Stopped|suspended")
SHELLS = [["sh", "-i"]]
if shutil.which("bash"):
    SHELLS.append(["bash", "--norc", "--noprofile", "-i"])


def setUpModule():
    cli.setUpModule()


def tearDownModule():
    cli.tearDownModule()


class Shell(cli.Case):
    def each_shell(self):
        """Yields a terminal with each shell in turn, at its prompt."""
        for command in SHELLS:
            t = Terminal(command, {**cli.ENV, "PS1": "shell> "})
            self.addCleanup(t.close)
            t.expect("shell> ")
            t.line(f"p={cli.PANTRY} m={cli.MODEL} endless='--temp 0 -n -1 --ctx 100000'; ulimit -c 0")
            t.expect("shell> ")
            yield t
            t.line("exit")
            t.ended()

    def status(self, t, wanted):
        t.line("echo =$?=")
        t.expect(f"\n={wanted}=")
        t.expect("shell> ")

    def echoes(self, t):
        return bool(t.modes_now()[3] & termios.ECHO)

    def stop(self, t):
        t.type("\x1a")
        t.expect(STOPPED)
        t.expect("shell> ")

    def resume(self, t, wanted):
        """`fg` first shows the command line."""
        t.line("fg")
        t.expect("\n")
        t.expect("\n")
        t.expect(wanted)


class Chat(Shell):
    def converse(self, t, command):
        shell = t.process.pid
        t.line(command)
        t.expect(">>> ")
        self.stop(t)
        self.assertEqual(t.front(), shell)
        self.resume(t, ">>> ")
        t.line("Hello")
        t.expect("Hello\n")
        t.expect(ANSWER)
        self.assertFalse(self.echoes(t))
        self.stop(t)
        if "sh" in t.process.args[0] and "bash" not in t.process.args[0]:  # others set modes themselves
            self.assertTrue(self.echoes(t))
        self.resume(t, ANSWER)
        t.wait_for(lambda: not self.echoes(t))
        t.type("\x03")
        t.expect("stopped")
        t.expect(">>> ")
        t.type("typed")
        t.expect("typed")
        self.stop(t)
        self.resume(t, ">>> typed")
        t.type("\x03")
        t.expect(">>> ")
        t.line("/bye")

    def test_alone(self):
        for t in self.each_shell():
            self.converse(t, "$p run $m $endless")
            t.expect("shell> ")
            self.status(t, 0)

    def test_below_another_shell(self):
        for t in self.each_shell():
            self.converse(t, """sh -c "$p run $m $endless; echo then \\$?" """)
            t.expect("then 0")
            t.expect("shell> ")
            self.status(t, 0)

    def test_in_the_background_until_it_wants_the_terminal(self):
        for t in self.each_shell():
            t.line("$p run $m $endless")
            t.expect(">>> ")
            t.line("Hello")
            t.expect("Hello\n")
            t.expect(ANSWER)
            self.stop(t)
            t.line("bg")
            t.expect("bg\n")
            t.expect("\n")
            t.expect(ANSWER)
            self.assertEqual(t.front(), t.process.pid)
            t.line("kill -INT %1")  # as Ctrl-C does: the answer ends, and the prompt needs the terminal
            t.expect("stopped")
            said = ""
            while not STOPPED.search(said):
                t.line("jobs")
                said = t.expect("shell> ")
            t.line("fg")
            t.expect(">>> ")
            t.line("/bye")
            t.expect("shell> ")
            self.status(t, 0)

    def test_quit_restores_the_terminal(self):
        for t in self.each_shell():
            t.line("$p run $m $endless")
            t.expect(">>> ")
            t.type("\x1c")
            t.expect("shell> ")
            self.status(t, 128 + signal.SIGQUIT)
            t.line("$p run $m $endless")
            t.expect(">>> ")
            t.line("Hello")
            t.expect("Hello\n")
            t.expect(ANSWER)
            t.type("\x1c")
            t.expect("shell> ")
            self.assertEqual(t.front(), t.process.pid)
            self.status(t, 128 + signal.SIGQUIT)

    def test_stop_and_interrupt_while_a_model_is_fetched(self):
        """A download stops, continues and ends with the chat. A script in place of pip waits for the test."""
        folder = tempfile.mkdtemp(dir=cli.FOLDER)
        gate, started = os.path.join(folder, "gate"), os.path.join(folder, "started")
        os.mkfifo(gate)
        writer = os.open(gate, os.O_RDWR)
        self.addCleanup(os.close, writer)
        python = os.path.join(folder, "python3")
        with open(python, "w") as file:
            file.write(
                f'#!/bin/sh\n[ "$1" = -c ] && exit 0\n: >{started}\nread word <{gate}\necho ERROR: $word\nexit 2\n'
            )
        os.chmod(python, 0o755)
        for t in self.each_shell():
            t.line(f'PATH={folder}:$PATH PANTRY_HOME={folder}/home sh -c "$p run $m; :"')
            t.expect(">>> ")
            t.line("/load smollm2:135m")
            t.wait_for(lambda: os.path.exists(started))
            self.stop(t)
            self.resume(t, "")
            os.write(writer, b"refused\n")
            t.expect("the download failed (refused)")
            t.expect(">>> ")
            os.remove(started)
            t.line("/load smollm2:135m")
            t.wait_for(lambda: os.path.exists(started))
            t.type("\x03")
            t.expect("the download was stopped")
            t.expect(">>> ")
            os.remove(started)
            t.line("/bye")
            t.expect("shell> ")

    def test_no_interrupt_is_lost(self):
        """Ctrl-C right after the prompt."""
        t = Terminal([cli.PANTRY, "run", cli.MODEL], cli.ENV)
        self.addCleanup(t.close)
        for _ in range(60):
            t.expect(">>> ")
            t.type("\x03")
            t.expect("leaves")

    def test_without_a_shell_nothing_stops(self):
        """As the first program of a terminal, or of tmux, it does not stop: nothing could continue it."""
        for command in ([cli.PANTRY, "run", cli.MODEL], ["sh", "-c", f"{cli.PANTRY} run {cli.MODEL}; exit $?"]):
            t = Terminal(command, cli.ENV)
            self.addCleanup(t.close)
            for _ in range(10):
                t.expect(">>> ")
                t.type("\x1a")
            t.expect(">>> ")
            t.line("/bye")
            self.assertEqual(t.ended(), 0)

    @unittest.skipUnless(os.path.isdir("/proc/self/task"), "needs /proc")
    def test_only_the_main_thread_takes_signals(self):
        t = Terminal([cli.PANTRY, "run", cli.MODEL, "--temp", "0", "-n", "4", "-t", "2"], cli.ENV)
        self.addCleanup(t.close)
        t.expect(">>> ")
        t.line("Hello")
        t.expect("4 tokens")
        t.expect(">>> ")
        tasks = f"/proc/{t.process.pid}/task"
        blocked = {}
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/status") as file:
                blocked[int(task)] = int(re.search(r"SigBlk:\s*([0-9a-f]+)", file.read()).group(1), 16)
        self.assertGreater(len(blocked), 2)  # the engine's thread and a worker
        for task, mask in blocked.items():
            for number in (signal.SIGINT, signal.SIGTSTP, signal.SIGWINCH, signal.SIGTERM):
                self.assertEqual(bool(mask >> (number - 1) & 1), task != t.process.pid, (task, number))


class OneAnswer(Shell):
    def test_stop_interrupt_and_quit(self):
        for t in self.each_shell():
            for key, number in (("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)):
                t.line("$p run $m Hello $endless")
                t.expect("endless\n")
                t.expect(ANSWER)
                self.stop(t)
                self.assertTrue(self.echoes(t) or "bash" in t.process.args[0])
                self.resume(t, ANSWER)
                t.wait_for(lambda: not self.echoes(t))
                t.type(key)
                t.expect("shell> ")
                self.status(t, 128 + number)

    def test_in_the_background(self):
        """It does not need the terminal, so it is not stopped."""
        for t in self.each_shell():
            for command in ("run $m Hello", "generate $m -p Hello", "bench $m -p 8 -r 1"):
                t.line(f"$p {command} -n 8 > {cli.FOLDER}/out 2>&1 & wait $!; echo =$?=")
                t.expect("\n=0=")
                t.expect("shell> ")
            t.line("$p run $m Hello --temp 0 -n 8 & wait $!; echo =$?=")
            t.expect("8 tokens")
            t.expect("=0=")
            t.expect("shell> ")

    def test_in_a_pipe(self):
        question = self.write("question", "Hello")
        for t in self.each_shell():
            t.line(f"$p run $m $endless < {question} | cat")
            t.expect("cat\n")
            t.expect(ANSWER)
            self.stop(t)
            self.resume(t, ANSWER)
            t.type("\x03")
            t.expect("shell> ")
            self.status(t, 128 + signal.SIGINT)

    def test_below_nohup(self):
        """An ignored hang-up stays ignored."""
        command = f'trap "" HUP; exec {cli.PANTRY} generate {cli.MODEL} -p Hello --temp 0 -n 300'
        program = subprocess.Popen(
            ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=cli.ENV
        )
        first = program.stdout.read(1)
        program.send_signal(signal.SIGHUP)
        self.assertGreater(len(first + program.communicate()[0]), 300)
        self.assertEqual(program.returncode, 0)


if __name__ == "__main__":
    unittest.main()
