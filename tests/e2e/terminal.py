"""A program on a pseudo-terminal: type into it, wait for what it shows."""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from fcntl import ioctl

PATIENCE = float(os.environ.get("PATIENCE", "120"))  # seconds; only a broken program waits that long
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Terminal:
    def __init__(self, command, env, columns=80, lines=40):
        self.master, slave = pty.openpty()
        self.slave = slave  # kept open, to read its modes after the program ended
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(slave)
        self.raw = ""  # everything shown
        self.seen = 0  # how much of it was expected already
        self.partial = b""
        self.process = subprocess.Popen(
            command, env=env, stdin=slave, stdout=slave, stderr=slave, preexec_fn=self.become_leader, close_fds=True
        )

    def resize(self, columns, lines):
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def become_leader(self):
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # background scripts start with some of them ignored
        os.setsid()
        ioctl(0, termios.TIOCSCTTY, 0)

    def read(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.master], [], [], left)[0]:
            return False
        try:
            data = self.partial + os.read(self.master, 65536)
        except OSError:
            return False
        text = data.decode("utf-8", "ignore")
        cut = data[-3:]
        self.partial = b""
        for i in range(len(cut)):  # the read may cut a character
            if cut[i] >= 0xC0 and len(cut) - i < (2 if cut[i] < 0xE0 else 3 if cut[i] < 0xF0 else 4):
                self.partial = cut[i:]
        self.raw += text
        return True

    def text(self):
        return CONTROL.sub("", self.raw)

    def expect(self, wanted):
        """Waits until `wanted` (a text or a compiled pattern) is shown after the last match; returns the text before
        it."""
        deadline = time.monotonic() + PATIENCE
        pattern = re.compile(re.escape(wanted)) if isinstance(wanted, str) else wanted
        while True:
            text = self.text()
            found = pattern.search(text, self.seen)
            if found:
                before = text[self.seen : found.start()]
                self.seen = found.end()
                return before
            if not self.read(deadline):
                raise AssertionError(f"waited for {wanted!r}, saw {text[self.seen :][-2000:]!r}")

    def type(self, text):
        os.write(self.master, text.encode())

    def line(self, text):
        self.type(text + "\r")

    def ended(self):
        """Waits for the end; returns the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError("the program does not end")
            self.read(time.monotonic() + 0.05)
        return self.process.returncode

    def modes_now(self):
        return termios.tcgetattr(self.slave)

    def front(self):
        """The process group that has the terminal."""
        return os.tcgetpgrp(self.master)

    def wait_for(self, condition):
        """Waits for a condition that the terminal does not show, and reads its output meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain, saw {self.text()[self.seen :][-2000:]!r}")
            self.read(time.monotonic() + 0.001)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
