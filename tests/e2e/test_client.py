"""The command line as a client of a service: the chat's own tests once more through a service, and what differs.

The models are tiny ones; the services are of this machine.
"""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import unittest

import spoken_model
import test_cli as cli
import tiny_model
from service import PANTRY, PATIENCE, Service, has_model
from terminal import Terminal


def setUpModule():
    global SPOKEN, BASE
    cli.setUpModule()
    SPOKEN, BASE = (
        os.path.join(cli.FOLDER, "spoken.gguf"),
        os.path.join(cli.FOLDER, "base.gguf"),
    )
    spoken_model.write(SPOKEN)
    tiny_model.write(BASE, template=False)


def tearDownModule():
    cli.tearDownModule()


class Served:
    """A service of its own for every test: nothing is in its memory yet."""

    arguments = []

    def setUp(self):
        self.service = Service({"tiny": cli.MODEL, "spoken": SPOKEN, "base": BASE}, *self.arguments)
        self.addCleanup(lambda: self.service.process.poll() is None and self.service.stop())

    @property
    def env(self):
        return {
            **cli.ENV,
            "PANTRY_HOST": self.service.url,
            "PANTRY_HOME": self.service.env["PANTRY_HOME"],
        }

    @property
    def model(self):
        return "tiny"

    def run_pantry(self, *arguments, env=None, **options):
        return cli.pantry(*arguments, env=env or self.env, **options)


class RunOnce(Served, cli.RunOnce):
    pass


class Chat(Served, cli.Chat):
    def test_says_where_it_is(self):
        t = self.chat()
        self.assertIn(f"service at {self.service.url}", t.text())
        self.leave(t)
        self.assertEqual(
            [m["name"] for m in self.service.request("GET", "/api/ps")[2]["models"]],
            ["tiny:latest"],
        )


class Same(Served, cli.Case):
    """The same bytes as in this process."""

    greedy = ["--temp", "0", "--repeat-penalty", "1.1"]

    def compare(self, model, *arguments, **options):
        through = self.run_pantry("run", model, *arguments, **options)
        alone = self.run_pantry("run", "--local", model, *arguments, **options)
        self.assertEqual(through[:2], alone[:2])
        self.assertEqual(through[0], 0, through[2])
        return through

    def test_answers(self):
        for prompt in ("Hello", "naïve 汉字", " x\n\ny "):
            self.compare("tiny", prompt, *self.greedy, "-n", "40")
        self.assertEqual(self.service.metric("requests_total") > 3, True)

    def test_scripts(self):
        for name in spoken_model.SCRIPTS:
            with self.subTest(name):
                out = self.compare("spoken", f"say {name}", "--temp", "0")[1].decode()
                self.assertEqual(out, spoken_model.SCRIPTS[name] + "\n")

    def test_options(self):
        for options in (
            ["--seed", "7", "--temp", "2"],
            ["--top-k", "5", "--seed", "1", "--temp", "1"],
            ["--min-p", "0.2", "--seed", "1", "--temp", "2"],
            ["--system", "Be brief.", *self.greedy],
            ["--nothink", *self.greedy],
        ):
            self.compare("tiny", "Hello", "-n", "20", *options)
        self.compare("spoken", "say names", "--temp", "0", "--stop", "STOP")
        err = self.compare("tiny", "Hello", "-n", "9", *self.greedy)[2]
        self.assertIn("the answer was cut at the number of tokens that you set", err)

    def test_what_a_model_carries(self):
        """Its parameters hold where the user sets nothing, its limit too, and its system message."""
        path = os.path.join(self.service.folder, "Modelfile")
        with open(path, "w") as file:
            file.write("FROM tiny\nSYSTEM Say little.\nPARAMETER temperature 0\nPARAMETER num_predict 5\n")
        self.good("create", "terse", "-f", path)
        for where in ([], ["--local"]):
            status, out, err = self.run_pantry("run", "terse", "Hello", *where)
            self.assertEqual(status, 0, err)
            self.assertIn("5 tokens", err)
            self.assertIn("9 tokens", self.run_pantry("run", "terse", "Hello", "-n", "9", *where)[2])
            if where:
                self.assertEqual(out, served)
            served = out

    def test_loops(self):
        through = self.compare("spoken", "say endless", "--temp", "0")
        self.assertIn("the text repeats itself", through[2])
        self.assertTrue(self.service.becomes_idle())

    def test_base_model(self):
        status, _, err = self.compare("base", "x", *self.greedy, "-n", "8")
        self.assertIn("base model", err)

    def test_reasoning_on_a_terminal(self):
        shown = {}
        for where in ([], ["--local"]):
            t = Terminal([PANTRY, "run", "spoken", *where, "--temp", "0"], self.env)
            self.addCleanup(t.close)
            t.expect(">>> ")
            start = len(t.raw)
            t.line("say thought")
            t.expect("Good morning!")
            shown[tuple(where)] = t.raw[start:].split("Good morning!")[0]
            t.expect(">>> ")
            t.line("say hello")
            t.expect("Hello there, how are you today?")
            t.line("/bye")
            self.assertEqual(t.ended(), 0)
        self.assertEqual(shown[()], shown[("--local",)])
        self.assertIn("\x1b[2m", shown[()])

    def test_figures(self):
        names = [
            re.findall(
                r"^([a-z ]+): ",
                self.run_pantry("run", *where, "tiny", "Hello", *self.greedy, "-n9", "--verbose")[2],
                re.M,
            )
            for where in ([], ["--local"])
        ]
        self.assertEqual(names[0], names[1])
        self.assertIn("read per token", names[0])

    def test_real_model(self):
        if not has_model("smollm2:135m"):
            self.skipTest("smollm2:135m is not in the store")
        service = Service(None)
        self.addCleanup(service.stop)
        env = {**service.env, "PANTRY_HOST": service.url}
        ask = ["smollm2:135m", "Name three fruits.", "--temp", "0", "-n", "24"]
        through, alone = (self.run_pantry("run", *where, *ask, env=env) for where in ([], ["--local"]))
        self.assertEqual(through[:2], alone[:2])


class Choosing(Served, cli.Case):
    """Which of the two answers."""

    def served(self):
        return [m["name"] for m in self.service.request("GET", "/api/ps")[2]["models"]]

    def test_files_and_local_options_stay_in_this_process(self):
        for arguments in (
            [cli.MODEL],
            ["tiny", "--local"],
            ["tiny", "--threads", "1"],
            ["tiny", "--kv-type", "f32"],
        ):
            status, _, err = self.run_pantry("run", *arguments, "x", "-n", "1")
            self.assertEqual(status, 0, err)
            self.assertEqual(
                "is not used" in err,
                "--local" not in arguments and cli.MODEL not in arguments,
            )
        self.assertEqual(self.served(), [])
        self.good("run", "tiny", "x", "-n", "1", "--ctx", "512")
        self.assertEqual(self.served(), ["tiny:latest"])

    def test_variables(self):
        host = self.service.url.removeprefix("http://")
        without = {k: v for k, v in self.env.items() if k != "PANTRY_HOST"}
        for env in (
            {"OLLAMA_HOST": host},
            {"PANTRY_HOST": host, "OLLAMA_HOST": "127.0.0.1:1"},
            {"PANTRY_HOST": f"0.0.0.0:{self.service.port}"},
        ):
            before = self.service.metric("requests_total")
            self.good("run", "tiny", "x", "-n", "1", env={**without, **env})
            self.assertGreater(self.service.metric("requests_total"), before + 2)
        self.assertIn(
            "wrong address",
            self.bad(1, "run", "tiny", "x", env={**without, "PANTRY_HOST": "a b"}),
        )
        self.good("run", "tiny", "x", "-n", "1", env={**without, "PANTRY_HOST": "127.0.0.1:1"})


class Failures(Served, cli.Case):
    def test_unknown_model(self):
        err = self.bad(1, "run", "nosuch:model", "x")
        self.assertIn("nosuch:model", err)
        self.assertIn("list` shows the models", err)

    def test_keys(self):
        made = self.run_pantry("key", "add", "one")[1].decode()
        key = re.search(r"pk-[0-9a-f]{64}", made).group()
        self.assertIn("PANTRY_API_KEY", self.bad(1, "run", "tiny", "x"))
        self.assertIn(
            "PANTRY_API_KEY",
            self.bad(1, "run", "tiny", "x", env={**self.env, "PANTRY_API_KEY": "pk-wrong"}),
        )
        self.assertIn(
            "not an API key",
            self.bad(1, "run", "tiny", "x", env={**self.env, "PANTRY_API_KEY": "a\nb"}),
        )
        self.good("run", "tiny", "x", "-n", "1", env={**self.env, "PANTRY_API_KEY": key})

    def test_interrupt_frees_the_service(self):
        t = Terminal([PANTRY, "run", "spoken", "--temp", "0", "-n", "-1"], self.env)
        self.addCleanup(t.close)
        t.expect(">>> ")
        t.line("say endless")
        t.expect("more more")
        t.type("\x03")
        t.expect("stopped")
        t.expect(">>> ")
        self.assertTrue(self.service.becomes_idle())
        t.line("say hello")
        t.expect("Hello there")
        t.line("/bye")
        self.assertEqual(t.ended(), 0)

    def test_service_that_dies_in_an_answer(self):
        t = Terminal([PANTRY, "run", "spoken", "--temp", "0", "-n", "-1"], self.env)
        self.addCleanup(t.close)
        t.expect(">>> ")
        t.line("say endless")
        t.expect("more more")
        self.service.stop(signal.SIGKILL)
        t.expect("before the answer was complete")
        t.expect(">>> ")
        t.line("say hello")
        t.expect("pantry: ")
        t.expect(">>> ")
        t.line("/bye")
        self.assertEqual(t.ended(), 0)


class Replies(cli.Case):
    """What a service may send: a server that answers with given bytes."""

    def ask(self, *replies, show=True):
        """`pantry run` with a server that says that it is pantry, then sends `replies`, one per connection."""
        shown = json.dumps({"template": "x", "capabilities": ["completion"]}).encode()
        plain = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
        wanted = [
            plain % (17, b"pantry is running"),
            *([plain % (len(shown), shown)] if show else []),
            *replies,
        ]
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(PATIENCE)

        def serve():
            for reply in wanted:
                connection, _ = listener.accept()
                with connection:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        data += connection.recv(65536)
                    head, _, body = data.partition(b"\r\n\r\n")
                    length = int(dict(re.findall(rb"(?mi)^([a-z-]+): *(.*?)\r?$", head)).get(b"Content-Length", 0))
                    while len(body) < length:
                        body += connection.recv(65536)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        env = {**cli.ENV, "PANTRY_HOST": "127.0.0.1:%d" % listener.getsockname()[1]}
        done = cli.pantry("run", "some", "x", env=env)
        thread.join(PATIENCE)
        listener.close()
        return done

    def stream(
        self,
        *lines,
        head=b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n",
    ):
        return head + b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)

    def test_stream(self):
        said, end = (
            {"message": {"content": "Hi"}},
            {"message": {"content": " you"}, "done": True, "eval_count": 2},
        )
        status, out, err = self.ask(self.stream(said, b"\n", json.dumps(end).encode()))
        self.assertEqual((status, out), (0, b"Hi you\n"), err)
        for last, words in (
            ({"error": "it broke"}, "it broke"),
            (b"<html>\n", "not JSON"),
            (b"[1]\n", "not JSON"),
            (b"", "too early"),
            (b'{"message": ', "not JSON"),
        ):
            status, out, err = self.ask(self.stream(said, last))
            self.assertEqual((status, out), (1, b"Hi\n"))
            self.assertIn(words, err)

    def test_refusals(self):
        for code, body, words in (
            (503, b'{"error": "the service is full"}', "the service is full"),
            (403, b'{"error": {"message": "not you"}}', "not you"),
            (500, b"oops", "status 500"),
            (200, b"", "too early"),
        ):
            reply = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (code, len(body), body)
            status, out, err = self.ask(reply)
            self.assertEqual((status, out), (1, b""))
            self.assertIn(words, err)

    def test_wrong_types(self):
        shown = {"message": 7, "done": "yes", "eval_count": "x", "figures": []}
        end = {
            "done": True,
            "eval_count": -5,
            "prompt_eval_count": 1e300,
            "figures": {"cached": "a"},
        }
        self.assertEqual(self.ask(self.stream(shown, end))[0], 0)


if __name__ == "__main__":
    unittest.main()
