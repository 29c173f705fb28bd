"""pantry top: the screen in several sizes and kinds of terminals, its end in every case, and the streams."""

import json
import os
import re
import signal
import struct
import subprocess
import termios
import time
import unittest
from fcntl import ioctl

import service
import test_cli as cli
from screen import Screen
from terminal import PATIENCE, Terminal

KEYS = "q quit  space pause  +- interval  c cores  s sensors  ? help"
LABELS = "processor memory swap bandwidth GPU power heat fans service tokens absent".split()


def setUpModule():
    cli.setUpModule()


def tearDownModule():
    cli.tearDownModule()


class Top(Terminal):
    """The program on a terminal whose screen can be read."""

    def __init__(self, *arguments, columns=80, lines=24, **env):
        self.seen_screen, self.fed = Screen(columns, lines), 0
        super().__init__([cli.PANTRY, "top", *arguments], {**cli.ENV, **env}, columns, lines)

    def screen(self):
        end = len(self.raw)
        begun = re.search(r"\x1b(\[[0-9;?>]*|[()]?)$", self.raw[self.fed :])  # a sequence that is not complete yet
        end -= len(begun.group(0)) if begun else 0
        self.seen_screen.feed(self.raw[self.fed : end])
        self.fed = end
        return self.seen_screen

    def shows(self, condition):
        """Waits until the screen meets a condition; returns its lines."""
        self.wait_for(lambda: condition(self.screen().text()))
        return self.screen().text()

    def change(self, columns, lines):
        before = self.screen()
        self.seen_screen = Screen(columns, lines)
        self.seen_screen.alternate, self.seen_screen.cursor_hidden = before.alternate, before.cursor_hidden
        self.resize(columns, lines)


def is_drawn(text):
    return text[0].startswith("pantry top") and text[-1].startswith(KEYS[:20]) and any("service" in t for t in text)


class OnScreen(cli.Case):
    def top(self, *arguments, **options):
        t = Top(*arguments, **options)
        self.addCleanup(t.close)
        return t

    def check_restored(self, t):
        self.assertEqual(t.modes_now(), t.modes)
        t.wait_for(
            lambda: not (t.screen().alternate or t.screen().cursor_hidden)
        )  # the end of the output may come late

    def test_24x80(self):
        t = self.top()
        text = t.shows(lambda text: is_drawn(text) and "none runs at http://127.0.0.1:1" in "\n".join(text))
        self.assertTrue(t.screen().alternate and t.screen().cursor_hidden)
        self.assertEqual(text[-1], KEYS)
        self.assertRegex(text[0], r"^pantry top .* · [\d.]+ [kMGT]B +1 s$")
        self.assertEqual(len(text[0]), 80)
        for label in ("processor", "memory", "service"):
            self.assertEqual(sum(line.startswith(label) and "up to" not in line for line in text), 1, label)
        self.assertNotIn("tokens", "".join(text))
        t.type("q")
        self.assertEqual(t.ended(), 0)
        self.check_restored(t)

    @staticmethod
    def charts(text):
        return any(re.match(r"processor  up to", line) for line in text)

    def test_50x200_has_charts(self):
        t = self.top("--interval", "0.1", columns=200, lines=50)
        text = t.shows(
            lambda text: is_drawn(text) and self.charts(text) and any("memory  up to 100 %" in x for x in text)
        )
        self.assertEqual(len(text[0]), 200)
        self.assertEqual(text[49], KEYS)
        t.type("q")
        self.assertEqual(t.ended(), 0)

    def test_resize(self):
        t = self.top("--interval", "3600")  # so that only the change of size draws
        t.shows(is_drawn)
        for columns, lines in ((120, 40), (40, 10), (10, 2), (1, 1), (200, 50), (80, 24)):
            t.change(columns, lines)
            text = t.shows(lambda text: (text[0] + " ").startswith("pantry top"[:columns]) or text[-1] == "q")
            if lines > 5:
                t.shows(lambda text: text[-1] == KEYS[:columns].rstrip())
            self.assertLessEqual(max(len(line) for line in text), columns)
        t.type("q")
        self.assertEqual(t.ended(), 0)
        self.check_restored(t)

    def test_keys(self):
        t = self.top("--interval", "0.1")
        t.shows(is_drawn)
        t.type("c")
        t.shows(lambda text: any(re.match(r"   0 .{5} +[-\d]+", line) for line in text))
        t.type("c")
        t.shows(lambda text: not any(re.match(r"   0 .{5} +[-\d]+", line) for line in text))
        t.type("?")
        t.shows(lambda text: "q, Ctrl-C   leave" in text)
        t.type("h")
        t.shows(is_drawn)
        t.type("+")
        t.shows(lambda text: text[0].endswith(" 0.2 s"))
        for _ in range(3):
            t.type("-")  # not below the shortest
        t.shows(lambda text: text[0].endswith(" 0.1 s"))
        t.type(" ")
        t.shows(lambda text: text[0].endswith("paused"))
        t.type(" ")
        t.shows(lambda text: text[0].endswith(" 0.1 s"))
        t.type("x\x1b[A\x00")  # they do nothing
        t.type("Q")
        self.assertEqual(t.ended(), 0)

    def test_signals_restore_the_terminal(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            with self.subTest(number=number):
                t = self.top("--interval", "3600")
                t.shows(is_drawn)
                self.assertNotEqual(t.modes_now(), t.modes)
                if number == signal.SIGINT:
                    t.type("\x03")
                else:
                    t.process.send_signal(number)
                self.assertEqual(t.ended(), -number)
                t.wait_for(lambda: not t.screen().alternate)
                self.check_restored(t)

    def test_without_colours(self):
        t = self.top("--interval", "0.1")
        t.shows(is_drawn)
        t.wait_for(lambda: t.screen().colours)
        for env in ({"NO_COLOR": "1"}, {"TERM": "vt100"}, {"TERM": "xterm-mono"}):
            with self.subTest(**env):
                t = self.top("--interval", "0.1", **env)
                t.shows(lambda text: is_drawn(text) and self.charts(text))
                self.assertFalse(t.screen().colours)
                if env.get("TERM") == "vt100":
                    self.assertTrue(t.raw.isascii())
                t.type("q")
                self.assertEqual(t.ended(), 0)

    def test_ascii_where_the_locale_is(self):
        t = self.top(LC_ALL="C")
        t.shows(is_drawn)
        self.assertTrue(t.raw.isascii())
        t.type("q")
        self.assertEqual(t.ended(), 0)

    def test_terminals_without_a_cursor(self):
        for term in ("dumb", "", "no-such-terminal"):
            with self.subTest(term=term):
                t = self.top("--interval", "0.1", TERM=term)
                for _ in range(2):
                    t.expect("pantry top")
                    t.expect("service")
                self.assertNotIn("\x1b", t.raw)
                self.assertEqual(t.modes_now(), t.modes)
                t.type("\x03")
                self.assertEqual(t.ended(), -signal.SIGINT)

    @staticmethod
    def unread(t):
        return struct.unpack("i", ioctl(t.master, termios.FIONREAD, b"\0" * 4))[0]

    def test_a_slow_terminal(self):
        """Nothing is read for a while, so that writing blocks; afterwards it goes on, without the frames in between."""
        t = self.top("--interval", "0.1", columns=200, lines=50)
        t.shows(is_drawn)
        t.type("h" * 201)  # each draws more than a terminal takes without a reader
        deadline = time.monotonic() + PATIENCE
        while self.unread(t) < 2048 and time.monotonic() < deadline:
            pass
        self.assertGreaterEqual(self.unread(t), 2048)
        t.shows(lambda text: "q, Ctrl-C   leave" in text)
        t.type("q")
        self.assertEqual(t.ended(), 0)
        self.check_restored(t)

    def test_input_that_is_not_a_terminal(self):
        status, out, _ = cli.pantry("top", "--interval", "0.1", env=self.env)  # one sample into the pipe
        self.assertEqual(status, 0)
        self.assertEqual(out.decode().count("pantry top"), 1)


def sample(*arguments, env=None):
    status, out, err = cli.pantry("top", "--json", "--interval", "0.2", *arguments, env=env)
    assert status == 0, err
    return [json.loads(line) for line in out.decode().splitlines()]


class Streams(cli.Case):
    def test_json(self):
        rows = sample("--count", "3")
        self.assertEqual(len(rows), 3)
        for row in rows:
            self.assertGreaterEqual(row["seconds"], 0.1)  # half of the interval
            self.assertEqual(row["service"]["running"], False)
            for subject, why in row["absent"].items():
                self.assertTrue(why, subject)
                self.assertNotIn(subject, row["sources"])
            for key, subject in (("memory_bytes_per_second", "bandwidth"), ("pressure", "pressure"), ("load", "load")):
                self.assertEqual(key in row, subject not in row["absent"], key)
            for key, subject in (
                ("power", "power"),
                ("temperatures", "temperature"),
                ("fans", "fans"),
                ("gpus", "gpu"),
            ):
                self.assertEqual(bool(row[key]), subject not in row["absent"], key)
        self.assertGreater(rows[1]["time"], rows[0]["time"])
        self.assertEqual(len(sample("--once")), 1)

    @unittest.skipUnless(os.path.exists("/proc/meminfo"), "Linux")
    def test_agrees_with_proc(self):
        row = sample("--once")[0]
        with open("/proc/meminfo") as file:
            memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
        self.assertEqual(row["memory_total_bytes"], memory["MemTotal"])
        self.assertEqual(row["swap_total_bytes"], memory["SwapTotal"])
        self.assertLess(abs(row["memory_available_bytes"] - memory["MemAvailable"]), memory["MemTotal"] / 4)
        self.assertEqual(row["memory_used_bytes"], row["memory_total_bytes"] - row["memory_available_bytes"])
        with open("/proc/stat") as file:
            cores = len(re.findall(r"^cpu\d+ ", file.read(), re.M))
        self.assertEqual(len(row["cores"]), cores)
        self.assertTrue(0 <= row["load"] <= 1)

    def test_prometheus(self):
        status, out, err = cli.pantry("top", "--prometheus", "--once", "--interval", "0.2", env=self.env)
        self.assertEqual((status, err), (0, ""))
        types, seen = {}, set()
        for line in out.decode().splitlines():
            if line.startswith("# TYPE "):
                name = line.split()[2]
                self.assertNotIn(name, types)  # all samples of a name are together
                types[name] = line.split()[3]
            elif line and not line.startswith("#"):
                found = re.fullmatch(r'(pantry_machine_\w+)(\{\w+="[^"\\]*"(,\w+="[^"]*")*\})? (-?[\d.e+-]+)', line)
                self.assertTrue(found, line)
                self.assertIn(found.group(1), types)
                self.assertNotIn(line.rsplit(" ", 1)[0], seen)
                seen.add(line.rsplit(" ", 1)[0])
        self.assertIn("pantry_machine_load_ratio", seen)
        self.assertIn("pantry_machine_memory_total_bytes", seen)

    def test_once(self):
        out = self.good("top", "--once", "--interval", "0.2")
        for line in out.splitlines()[1:]:
            self.assertTrue(line.startswith(" ") or line.split()[0] in LABELS, line)
        for subject, why in sample("--once")[0]["absent"].items():
            if subject != "gpu_processes":
                self.assertIn(why[:60], out)

    def test_without_a_service(self):
        self.assertNotIn("service", sample("--once", "--no-service")[0])
        self.assertNotIn("service", self.good("top", "--once", "--no-service", "--interval", "0.2"))

    def test_misuse(self):
        self.bad(2, "top", "--json", "--prometheus")
        self.bad(2, "top", "--once", "--count", "2")
        self.bad(2, "top", "--interval", "0")
        self.bad(2, "top", "x")

    def test_a_stream_ends_by_its_signal(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            p = subprocess.Popen(
                [cli.PANTRY, "top", "--json", "--interval", "0.1"],
                env=cli.ENV,
                stdout=subprocess.PIPE,
                text=True,
                # A shell in the background ignores SIGINT, and so would the program.
                preexec_fn=lambda n=number: signal.signal(n, signal.SIG_DFL),
            )
            json.loads(p.stdout.readline())
            p.send_signal(number)
            self.assertEqual(p.wait(60), -number)
            for line in p.stdout.read().splitlines():
                json.loads(line)  # none is cut
            p.stdout.close()


class WithService(cli.Case):
    def test_models_and_tokens(self):
        server = service.Service({"tiny": cli.MODEL})
        self.addCleanup(server.stop)
        env = {**cli.ENV, "PANTRY_HOST": f"127.0.0.1:{server.port}"}
        row = sample("--once", env=env)[0]["service"]
        self.assertEqual((row["running"], row["models"], row["generated_tokens_per_second"]), (True, [], 0))
        for _ in range(2):
            body = {
                "model": "tiny",
                "prompt": "one two three",
                "stream": False,
                "options": {"num_predict": 7, "seed": 1},
            }
            done = server.request("POST", "/api/generate", body)[2]
        row = sample("--once", env=env)[0]["service"]
        self.assertEqual([m["name"] for m in row["models"]], ["tiny"])
        self.assertEqual(row["generated_tokens"], 2 * done["eval_count"])
        self.assertEqual(row["models"][0]["generated_tokens"], 2 * done["eval_count"])
        self.assertEqual(row["models"][0]["requests_running"], 0)
        self.assertEqual(row["requests_running"], 0)
        self.assertEqual(row["prompt_tokens"] + row["prompt_tokens_cached"], 2 * done["prompt_eval_count"])
        self.assertGreater(row["cached_share"], 0)
        version = subprocess.check_output([cli.PANTRY, "version"], text=True).split()[1]
        self.assertEqual(row["version"], version)
        out = self.good("top", "--once", "--interval", "0.2", env=env)
        self.assertRegex(out, rf"(?m)^service +http://127.0.0.1:{server.port} {re.escape(version)}  0 running$")
        self.assertRegex(out, r"(?m)^  tiny +0.0 tok/s +\d+ kB  context [\d,]+$")
        t = Top("--interval", "0.1", PANTRY_HOST=env["PANTRY_HOST"])
        self.addCleanup(t.close)
        t.shows(lambda text: any(line.startswith("  tiny ") for line in text))
        server.request("POST", "/api/generate", body)
        t.shows(lambda text: any(re.match(r"tokens +(?!0\.0)[\d.]+ tok/s", line) for line in text))
        t.type("q")
        self.assertEqual(t.ended(), 0)

    def test_keys(self):
        home = os.path.join(cli.FOLDER, "keys-home")
        env = {**cli.ENV, "PANTRY_HOME": home}
        key = {}
        for scope in ("infer", "manage"):
            out = self.good("key", "add", scope, "--scope", scope, env=env)
            key[scope] = re.search(r"pn-\S+|\b[A-Za-z0-9_-]{30,}\b", out).group(0)
        server = service.Service({"tiny": cli.MODEL}, home=home)
        self.addCleanup(server.stop)
        env = {**env, "PANTRY_HOST": f"127.0.0.1:{server.port}"}
        for name, why in (("none", "set PANTRY_API_KEY"), ("infer", "needs the scope manage"), ("manage", None)):
            own = {**env, "PANTRY_API_KEY": key[name]} if name in key else env
            row = sample("--once", env=own)[0]["service"]
            self.assertTrue(row["running"])
            if why:
                self.assertIn(why, row["absent"])
                self.assertNotIn("requests_running", row)
            else:
                self.assertNotIn("absent", row)
                self.assertIn("requests_running", row)
